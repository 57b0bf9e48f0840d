"""Commitment terms and charge cycles: whole months counted from an anchor that clamps and springs back.

A cycle never drifts: the n-th one starts n months after the anchor, on the anchor's day or on the
last day of a shorter month. All ends here are exclusive; the wire shows Microsoft's inclusive ends.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

TERM_MONTHS = {"P1M": 1, "P1Y": 12, "P3Y": 36}
PLAN_MONTHS = {"monthly": 1, "annual": 12, "triennial": 36}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Half-open dates."""

    start: date
    end: date

    @property
    def days(self) -> int:
        """Length in days."""
        return (self.end - self.start).days

    @property
    def last(self) -> date:
        """The last included day, Microsoft's inclusive end."""
        return self.end - timedelta(days=1)


def add_months(anchor: date, months: int) -> date:
    """The anchor's day so many months on, clamped to the last day of a shorter month."""
    index = anchor.year * 12 + anchor.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(anchor.day, calendar.monthrange(year, month + 1)[1]))


def month_of(day: date) -> Span:
    """The calendar month holding a day."""
    first = day.replace(day=1)
    return Span(start=first, end=add_months(first, 1))


def midnight(day: date) -> datetime:
    """00:00 UTC of a day, when terms renew and cycles turn."""
    return datetime.combine(day, time(), UTC)


def stamp(moment: date | datetime) -> str:
    """The wire form of dates and instants, e.g. 2026-10-15T00:00:00Z."""
    if isinstance(moment, datetime):
        text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{text}.{moment.microsecond:06d}0Z" if moment.microsecond else f"{text}Z"
    return f"{moment.isoformat()}T00:00:00Z"


def ticks(at: datetime) -> int:
    """.NET ticks: hundreds of nanoseconds since the year 1."""
    span = at - datetime(1, 1, 1, tzinfo=UTC)
    return (span.days * 86_400 + span.seconds) * 10_000_000 + span.microseconds * 10
