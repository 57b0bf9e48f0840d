"""Partner Center, its price host and Microsoft Graph's partner APIs, read into domain records."""
