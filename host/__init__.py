"""What stands in for Azure on a laptop and in tests: Azurite, and the host that runs functions.

Never deployed. It knows the functions as the platform does, by what they declare and by host.json,
and nothing else of the product.
"""
