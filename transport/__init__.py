"""The only code that opens sockets: HTTP with retries, sign-in, queues, blobs.

Nothing here knows what travels; the clients of the foreign systems are built on it.
"""
