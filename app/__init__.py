"""The rim: settings, wiring, the command line, and the triggers of Azure Functions."""
