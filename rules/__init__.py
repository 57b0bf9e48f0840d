"""Billing rules as pure functions: what happened, what it costs, what is asked, what is wrong."""
