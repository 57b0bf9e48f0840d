"""The verbs of the product: pull, bill, approve, and the ledger that makes each happen once.

Knows foreign systems only through the Protocols of `sync.ports`.
"""
