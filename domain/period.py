"""Billing time: half-open periods of dates, terms, and charge cycles anchored on a day.

Partner Center's inclusive end days become exclusive at the wire, once; inside, `end` is the first
day that is not covered. Months are counted from the anchor, never from the previous cycle, so an
anchor on the 31st clamps in short months and springs back in long ones.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum


def add_months(anchor: date, months: int) -> date:
    """Return the anchor's day `months` later (or earlier), clamped to the end of that month."""
    index = anchor.year * 12 + anchor.month - 1 + months
    year, month = divmod(index, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(anchor.day, last))


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A half-open range of dates: `start` is in it, `end` is not."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            msg = f"a period cannot end ({self.end}) before it starts ({self.start})"
            raise ValueError(msg)

    @classmethod
    def month(cls, text: str) -> Period:
        """Return the calendar month written as YYYY-MM; ValueError when it is not one."""
        try:
            start = date.fromisoformat(f"{text}-01")
        except ValueError:
            msg = f"{text!r} is not a month written as YYYY-MM"
            raise ValueError(msg) from None
        if len(text) != 7:
            msg = f"{text!r} is not a month written as YYYY-MM"
            raise ValueError(msg)
        return cls(start, add_months(start, 1))

    @property
    def days(self) -> int:
        """The number of days covered."""
        return (self.end - self.start).days

    @property
    def last_day(self) -> date:
        """The last covered day, for people and for Microsoft's inclusive ends."""
        return self.end - timedelta(days=1)

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    def __str__(self) -> str:
        return f"{self.start} to {self.last_day}" if self.days else str(self.start)

    def intersect(self, other: Period) -> Period | None:
        """Return the days that both cover, or None."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Period(start, end) if start < end else None

    def split_at(self, day: date) -> tuple[Period, Period]:
        """Cut in two at `day`, which begins the second part; ValueError when it lies outside."""
        return Period(self.start, day), Period(day, self.end)


class TermDuration(StrEnum):
    """A commitment, as Microsoft writes it (ISO 8601)."""

    MONTH = "P1M"
    YEAR = "P1Y"
    THREE_YEARS = "P3Y"
    FIVE_YEARS = "P5Y"

    @property
    def months(self) -> int:
        """Its length in months."""
        return {"P1M": 1, "P1Y": 12, "P3Y": 36, "P5Y": 60}[self.value]


class BillingCycle(StrEnum):
    """How often a subscription is charged."""

    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    HALF_YEARLY = "half_yearly"
    ANNUAL = "annual"
    TRIENNIAL = "triennial"
    ONE_TIME = "one_time"

    @property
    def months(self) -> int | None:
        """Its length in months; None for a week, which is no number of months, and for one-time."""
        return {"monthly": 1, "quarterly": 3, "half_yearly": 6, "annual": 12, "triennial": 36}.get(
            self.value
        )

    def nth(self, anchor: date, n: int) -> date:
        """Return the start of the n-th cycle (from 0) after the anchor."""
        if self is BillingCycle.WEEKLY:
            return anchor + timedelta(weeks=n)
        if self.months is None:
            msg = f"{self.value} has no cycles"
            raise ValueError(msg)
        return add_months(anchor, n * self.months)
