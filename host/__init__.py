"""What stands in for Azure on a laptop and in tests; never deployed."""
