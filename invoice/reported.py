"""What an accounting system says of a document that was handed off to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum


class CopyState(StrEnum):
    """Where a document stands in the accounting system."""

    OPEN = "open"
    PAID = "paid"
    PARTLY_PAID = "partly_paid"
    """Closed there although something was left open."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One document as the accounting system has it now."""

    document_key: str
    state: CopyState
    on: date
    """The day of its last change there (UTC): of a paid one, the day on which that was noted."""
    total: Decimal
    same: bool
    """Whether it still comes to what was handed off."""
