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
from functools import lru_cache


def add_months(anchor: date, months: int) -> date:
    """Return the anchor's day `months` later (or earlier), clamped to the end of that month."""
    return _day_of(anchor.year * 12 + anchor.month - 1 + months, anchor.day)


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
        return _TERM_MONTHS[self.value]


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
        return _CYCLE_MONTHS.get(self.value)


class Frequency(StrEnum):
    """How often an account is billed (ISO 8601)."""

    WEEK = "P1W"
    MONTH = "P1M"
    TWO_MONTHS = "P2M"
    QUARTER = "P3M"
    HALF_YEAR = "P6M"
    YEAR = "P1Y"
    THREE_YEARS = "P3Y"

    @property
    def months(self) -> int:
        """Its length in months; 0 for a week, which is no number of months."""
        return _FREQUENCY_MONTHS[self.value]


_TERM_MONTHS = {"P1M": 1, "P1Y": 12, "P3Y": 36, "P5Y": 60}
_CYCLE_MONTHS = {"monthly": 1, "quarterly": 3, "half_yearly": 6, "annual": 12, "triennial": 36}
_FREQUENCY_MONTHS = {"P1W": 0, "P1M": 1, "P2M": 2, "P3M": 3, "P6M": 6, "P1Y": 12, "P3Y": 36}


@dataclass(frozen=True, slots=True)
class Grid:
    """Periods of one length that touch each other, without end in both directions.

    `months` is their length; 0 stands for weeks. Month grids start on `day` of their months, clamped
    in short ones; `first` is the month (counted from year 0) in which one of them starts. Week
    grids start on the weekday of `first`, an ordinal day.
    """

    months: int
    first: int
    day: int = 1

    @classmethod
    def from_day(cls, anchor: date, months: int) -> Grid:
        """Return the periods of `months` (0: weeks), one of which starts on `anchor`."""
        if not months:
            return cls(0, anchor.toordinal())
        return cls(months, anchor.year * 12 + anchor.month - 1, anchor.day)

    @classmethod
    def of_contract(
        cls, frequency: Frequency, anchor_day: int, anchor_month: int = 1, anchor_year: int = 1
    ) -> Grid:
        """Return the periods of a contract: its day of the month (ISO weekday for weeks) and month.

        The year matters above a year. ValueError when the day does not exist: 1 to 31, or 1 to 7.
        """
        last = 31 if frequency.months else 7
        if not 1 <= anchor_day <= last or not 1 <= anchor_month <= 12:
            msg = f"there is no day {anchor_day} to bill on every {frequency.value}"
            raise ValueError(msg)
        if not frequency.months:
            return cls(0, anchor_day)  # 0001-01-01, ordinal 1, was a Monday
        return cls(frequency.months, anchor_year * 12 + anchor_month - 1, anchor_day)

    def nth(self, n: int) -> Period:
        """Return the n-th period after the one at `first`."""
        return _nth(self.months, self.first, self.day, n)

    def index_of(self, day: date) -> int:
        """Return which period covers a day."""
        if not self.months:
            return (day.toordinal() - self.first) // 7
        n = (day.year * 12 + day.month - 1 - self.first) // self.months
        return n if self.nth(n).start <= day else n - 1

    def around(self, day: date) -> Period:
        """Return the period that covers a day."""
        return self.nth(self.index_of(day))

    def finer(self, months: int) -> Grid:
        """Return shorter periods on the same days."""
        return Grid(months, self.first, self.day)


# Thousands of subscriptions share a few hundred cycles.
@lru_cache(maxsize=1 << 16)
def _nth(months: int, first: int, day: int, n: int) -> Period:
    if not months:
        start = date.fromordinal(first + 7 * n)
        return Period(start, start + timedelta(days=7))
    return Period(
        _day_of(first + n * months, day),
        _day_of(first + (n + 1) * months, day),
    )


def _day_of(month: int, day: int) -> date:
    year, index = divmod(month, 12)
    return date(year, index + 1, min(day, calendar.monthrange(year, index + 1)[1]))


def month_before(day: date) -> str:
    """Return the month before a day's, as YYYY-MM."""
    return f"{day.replace(day=1) - timedelta(days=1):%Y-%m}"
