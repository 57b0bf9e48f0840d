"""What Partner Center tells of its own accord: that a record changed, never how it stands now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A signed event of Partner Center, reduced to its name and to the ids of what it is about.

    It comes at least once and in no order, and says nothing of how the record stands now: that is
    read from the source.
    """

    name: str
    """In lower case: `subscription-updated`."""
    changed: str
    """When the record changed, as Microsoft writes it: its seven digits tell two changes apart."""
    resource: str = ""
    """The id of the record itself, readable; empty where the event names none."""
    customer_id: str = ""
    """Tenant id of the customer that the record belongs to, where the event tells it."""
    relationship_id: str = ""
    """Of a GDAP relationship; it does not tell whose that is."""
    invoice_id: str = ""
    azure_subscription_id: str = ""
    status: str = ""
    """Of a suspicion of fraud, as written: Active, Investigating or Resolved; else empty."""
    correlation: str = ""
    """Of a test event: which test."""
