"""What was true on a day: one history folded into the state that it led to.

The fold is the same for every question: which product and how many seats ran, in which term, which
seats could still be given back, whether it was suspended, a trial, or over. Terms renew by
themselves at their end, as in rating (`rules.proration`), unless a history without renewal says not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from domain.period import BillingCycle, TermDuration
from domain.subscription import WINDOW_DAYS, EventType, SubscriptionEvent
from rules.terms import own_grid, term_end

_ENDS = {EventType.CANCEL, EventType.TRANSFER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Seats that came together, and may leave together while their window is open."""

    quantity: int
    opened: date

    @property
    def closes(self) -> date:
        """The first day on which it is too late to give them back."""
        return self.opened + timedelta(days=WINDOW_DAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One subscription on one day, after all that happened on it."""

    day: date
    sku: str
    term: TermDuration | None
    billing_cycle: BillingCycle | None
    term_start: date
    term_end: date | None
    """First day after the running term; None where there is no commitment."""
    anchor: date
    """Purchase day, on which the charge cycles are counted."""
    lots: tuple[Lot, ...]
    """All seats that run, oldest first; none once it is over."""
    is_trial: bool = False
    suspended: bool = False
    """It is billed all the same."""
    ended: date | None = None
    """First day without service; None while it runs."""
    ended_by: EventType | None = None
    """None where a term was left to run out."""

    @property
    def quantity(self) -> int:
        """The seats that run."""
        return sum(lot.quantity for lot in self.lots)

    @property
    def loose(self) -> tuple[Lot, ...]:
        """The seats that may still be given back on this day, by their windows."""
        return tuple(lot for lot in self.lots if lot.opened <= self.day < lot.closes)


def as_of(
    history: Sequence[SubscriptionEvent], day: date, *, auto_renew: bool = True
) -> State | None:
    """Return what was true at the end of a day; None where nothing had begun.

    `history` is one subscription's, ordered (`rules.events.order`). `auto_renew` says what happens
    at an end for which no renewal is known; a renewal further on shows that all before it happened.
    """
    state: State | None = None
    last_renewal = max(
        (event.effective for event in history if event.type is EventType.RENEW), default=date.min
    )

    def reach(state: State, on: date) -> State:
        """Renew, or run out, at each end of a term up to a day."""
        while state.ended is None and state.term_end is not None and state.term_end <= on:
            if not auto_renew and state.term_end > last_renewal:
                return replace(state, lots=(), ended=state.term_end)
            state = _renewed(state)
        return state

    for event in history:
        if event.effective > day:
            break
        if event.type is EventType.RENEW:
            # It is itself what happens at the end of the term before it.
            state = state and reach(state, event.effective - timedelta(days=1))
        elif state is not None:
            state = reach(state, event.effective)
        state = _after(state, event)
    return None if state is None else replace(reach(state, day), day=day)


def opens(event: SubscriptionEvent) -> bool:
    """Say whether a term starts with the event: a purchase, a renewal, a conversion to a new term."""
    return event.type in {EventType.PURCHASE, EventType.RENEW} or (
        event.type is EventType.CONVERT and event.term_end is not None
    )


def _after(state: State | None, event: SubscriptionEvent) -> State | None:
    if opens(event):
        return _begun(state, event)
    if state is None or state.ended is not None:
        return state
    if event.type in _ENDS:
        return replace(state, lots=(), ended=event.effective, ended_by=event.type)
    match event.type:
        case EventType.SUSPEND | EventType.RESUME:
            return replace(state, suspended=event.type is EventType.SUSPEND)
        case EventType.CONVERT if event.sku:
            # The new product inherits the window of the old one.
            opened = state.lots[0].opened if state.lots else event.effective
            total = state.quantity if event.quantity is None else event.quantity
            return replace(state, sku=event.sku, lots=(Lot(quantity=total, opened=opened),))
        case EventType.CONVERT:
            if event.quantity:
                return _with_total(state, event.quantity, event.effective)
            return replace(state, lots=(), ended=event.effective, ended_by=event.type)
        case EventType.SET_QUANTITY if event.quantity is not None:
            return _with_total(state, event.quantity, event.effective)
    return state


def _with_total(state: State, total: int, day: date) -> State:
    """Add a lot, or take seats from the newest lots: theirs are the windows that are open."""
    change = total - state.quantity
    lots = list(state.lots)
    if change > 0:
        lots.append(Lot(quantity=change, opened=day))
    while change < 0:
        lot = lots.pop()
        change += lot.quantity
        if change > 0:
            lots.append(replace(lot, quantity=change))
    return replace(state, lots=tuple(lots))


def _begun(before: State | None, event: SubscriptionEvent) -> State | None:
    start = event.effective
    quantity = event.quantity if event.quantity is not None or before is None else before.quantity
    if quantity is None:
        return before
    anchor, _ = own_grid(start, event.anchor or (before.anchor if before else start), 1)
    duration = event.term or (before.term if before else None)
    return State(
        day=start,
        sku=event.sku or (before.sku if before else ""),
        term=duration,
        billing_cycle=event.billing_cycle or (before.billing_cycle if before else None),
        term_start=start,
        term_end=event.term_end or term_end(start, anchor, duration),
        anchor=anchor,
        lots=(Lot(quantity=quantity, opened=start),),
        is_trial=event.is_trial,
        suspended=before.suspended if before else False,
    )


def _renewed(state: State) -> State:
    """Return the next term of the same length, which begins at the end of this one."""
    start = state.term_end or state.day
    anchor, _ = own_grid(start, state.anchor, 1)
    end = term_end(start, anchor, state.term)
    lots = (Lot(quantity=state.quantity, opened=start),)
    return replace(state, term_start=start, term_end=end, anchor=anchor, lots=lots, is_trial=False)
