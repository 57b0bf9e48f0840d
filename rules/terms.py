"""The running term of a subscription: its cycles, its lots of seats, and the windows of each.

A term keeps the purchase day for good where it starts on that day's grid. A lot is what came on one
day and may leave together within its seven days.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache

from domain.charge import ChargeType
from domain.period import BillingCycle, Grid, Period, TermDuration
from domain.subscription import WINDOW_DAYS, EventType, SubscriptionEvent


@dataclass(slots=True)
class Lot:
    """Seats that came on one day; newest last.

    `opened` starts their window; `priced_on` is the day of the price at which they were charged.
    """

    quantity: int
    opened: date
    priced_on: date

    def is_open(self, day: date) -> bool:
        """Say whether its seats may still be given back."""
        return day < self.opened + timedelta(days=WINDOW_DAYS)


@dataclass(slots=True)
class Term:
    """A running term; `grid` are its own charge cycles."""

    start: date
    end: date | None
    anchor: date
    grid: Grid
    first_type: ChargeType
    sku: str
    duration: TermDuration | None
    billing_cycle: BillingCycle
    is_trial: bool
    lots: list[Lot]

    @property
    def quantity(self) -> int:
        """All its seats."""
        return sum([lot.quantity for lot in self.lots])

    def loose(self, day: date) -> int:
        """Return how many of them may still be given back."""
        return sum([lot.quantity for lot in self.lots if lot.is_open(day)])

    def paid(self, months: int, day: date) -> Period:
        """Return the months that a price pays for around a day, counted from the term's start."""
        return Grid(months, self.grid.first, self.grid.day).around(day)

    def renewed(self, day: date, *, keeps_day: bool = False) -> Term:
        """Return the next term, unchanged but for its price and its windows."""
        anchor, grid = own_grid(day, self.anchor, self.grid.months, keeps_day=keeps_day)
        return Term(
            start=day,
            end=term_end(day, anchor, self.duration),
            anchor=anchor,
            grid=grid,
            first_type=ChargeType.RENEW,
            sku=self.sku,
            duration=self.duration,
            billing_cycle=self.billing_cycle,
            is_trial=False,
            lots=[Lot(self.quantity, day, day)],
        )

    def give_back(self, quantity: int) -> list[Lot]:
        """Take seats from the newest lots first: theirs are the windows that are still open."""
        taken = []
        while quantity > 0:
            lot = self.lots[-1]
            part = min(lot.quantity, quantity)
            taken.append(replace(lot, quantity=part))
            lot.quantity -= part
            quantity -= part
            if not lot.quantity and len(self.lots) > 1:
                self.lots.pop()
        return taken


def begin(event: SubscriptionEvent, before: Term | None, *, keeps_day: bool = False) -> Term | str:
    """Return the term that starts with an event, or the fault that stands in the way.

    What the event does not say is as it was before.
    """
    billing_cycle = event.billing_cycle or (before.billing_cycle if before else None)
    quantity = event.quantity
    if quantity is None and before is not None:
        quantity = before.quantity
    if billing_cycle is None or billing_cycle is BillingCycle.ONE_TIME or quantity is None:
        return "its cycle or quantity is not known"
    start = event.effective
    anchor = event.anchor or (before.anchor if before else start)
    anchor, grid = own_grid(start, anchor, billing_cycle.months or 0, keeps_day=keeps_day)
    duration = event.term or (before.duration if before else None)
    end = event.term_end or term_end(start, anchor, duration)
    if end is not None and end <= start:
        return f"its term ends on {end}, before it starts on {start}"
    return Term(
        start=start,
        end=end,
        anchor=anchor,
        grid=grid,
        first_type=FIRST_TYPES.get(event.type, ChargeType.RENEW),
        sku=event.sku or (before.sku if before else ""),
        duration=duration,
        billing_cycle=billing_cycle,
        is_trial=event.is_trial,
        lots=[Lot(quantity, start, start)],
    )


FIRST_TYPES = {EventType.PURCHASE: ChargeType.NEW, EventType.CONVERT: ChargeType.CONVERT}


# Thousands of terms start on the same few hundred days.
@lru_cache(maxsize=1 << 16)
def own_grid(
    start: date, anchor: date, months: int, *, keeps_day: bool = False
) -> tuple[date, Grid]:
    """Keep the purchase day where a term starts on its grid; else anchor anew, or keep it even so.

    Weeks (no months) start with the term unless they keep their day. Cycles above a month start with
    a term that is off their grid: a year is paid for from its first day.
    """
    if keeps_day and not months:
        return anchor, Grid.from_day(anchor, 0)
    if _on_grid(start, anchor) or (keeps_day and months == 1):
        return anchor, Grid(months, _month(start), anchor.day) if months else Grid.from_day(
            start, 0
        )
    return start, Grid.from_day(start, months)


def _on_grid(start: date, anchor: date) -> bool:
    return anchor.day == start.day or Grid(1, 0, anchor.day).nth(_month(start)).start == start


@lru_cache(maxsize=1 << 16)
def term_end(start: date, anchor: date, duration: TermDuration | None) -> date | None:
    """Return the first day after a full term; None where there is no commitment."""
    if duration is None:
        return None
    day = anchor.day if _on_grid(start, anchor) else start.day
    return Grid(duration.months, _month(start), day).nth(0).end


def starts_term(event: SubscriptionEvent) -> bool:
    """A conversion that brings its own end starts a term; another goes on in the running one."""
    return event.type is EventType.CONVERT and event.term_end is not None


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1
