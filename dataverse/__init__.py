"""The system of record: declared tables, their provisioning, and the store that reads and writes them.

Speaks the Dataverse Web API over `transport` and satisfies `sync.ports.Store` by shape.
"""
