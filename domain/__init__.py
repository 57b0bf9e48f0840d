"""The words of the trade as frozen values: money, periods, customers, subscriptions, charges, runs.

Standard library only. Nothing here reads a clock, a file, a setting or a socket.
"""
