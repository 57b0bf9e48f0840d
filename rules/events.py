"""One ordered, de-duplicated history per subscription, from every source that saw a part of it.

Snapshots say what is now, audit records who changed what in the last 90 days, Microsoft's lines
what it billed for. Two sources that tell the same make one event: for each subscription, day and
type the most trusted source that says anything is believed alone. Events of one day act in the
order of `EventType`, then as the source listed them; the order in which they arrive says nothing.

Limit: webhooks carry no content, so they only cause a new snapshot.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from domain.period import BillingCycle, TermDuration, add_months
from domain.problems import Finding, Severity
from domain.subscription import (
    CostKind,
    CostLine,
    EventSource,
    EventType,
    Subscription,
    SubscriptionEvent,
    SubscriptionKind,
)
from rules.states import as_of, opens

_TYPE_ORDER = {kind: place for place, kind in enumerate(EventType)}
_TRUST = {source: place for place, source in enumerate(EventSource)}
_CHANGES = {"addQuantity", "removeQuantity"}
_TOTALS = {"new", "renew", "cycleCharge"}
"""Lines that show how many seats there were when a cycle began."""


def order(events: Iterable[SubscriptionEvent]) -> list[SubscriptionEvent]:
    """Sort by day, then by the stated order of types, then as the source listed them.

    What the source did not number is ordered by what it says, so that arrival decides nothing.
    """
    return sorted(events, key=_place)


def _place(event: SubscriptionEvent) -> tuple[date, int, int, int, str]:
    number = -1 if event.quantity is None else event.quantity
    rest = "" if event.sku == event.reference_id == "" else f"{event.sku}/{event.reference_id}"
    return event.effective, _TYPE_ORDER[event.type], event.sequence, number, rest


def merge(events: Iterable[SubscriptionEvent]) -> list[SubscriptionEvent]:
    """Keep, for each subscription, day and type, the events of the most trusted source only."""
    groups: dict[tuple[str, date, EventType], dict[EventSource, list[SubscriptionEvent]]] = (
        defaultdict(lambda: defaultdict(list))
    )
    for event in events:
        groups[event.subscription_id, event.effective, event.type][event.source].append(event)
    kept: list[SubscriptionEvent] = []
    for by_source in groups.values():
        trusted = by_source[min(by_source, key=_TRUST.__getitem__)]
        kept.extend({event.key: event for event in order(trusted)}.values())
    return order(kept)


def from_cost_lines(lines: Iterable[CostLine]) -> list[SubscriptionEvent]:
    """Read the changes that Microsoft billed for out of its licence lines.

    A seat change is a pair: a credit of the old total and a charge of the new total for the
    remaining days. Exports have no order, so the pairs of one day are read as one step, from the
    total that is only credited to the total that is only charged. A term whose first line has no
    price is a free trial, or a free product: it starts nothing that is billed.
    """
    days: dict[tuple[str, date], list[CostLine]] = defaultdict(list)
    for line in lines:
        if line.kind is CostKind.LICENCE and line.charged is not None:
            days[line.subscription_id, line.charged.start].append(line)
    found: list[SubscriptionEvent] = []
    totals: dict[str, int] = {}
    for (subscription_id, day), group in sorted(days.items(), key=lambda one: one[0]):
        for line in group:
            if line.charge_type in _TOTALS and not line.is_credit:
                totals[subscription_id] = int(line.seats)
        events = order(_day_events(day, group, totals.get(subscription_id)))
        for event in events:
            if event.quantity is not None:
                totals[subscription_id] = event.quantity
        found.extend(events)
    return order(found)


def _day_events(
    day: date, lines: Sequence[CostLine], before: int | None
) -> Iterator[SubscriptionEvent]:
    changes = [line for line in lines if line.charge_type in _CHANGES]
    total = _changed_total(changes)
    if total is not None:
        yield _event(changes[0], day, EventType.SET_QUANTITY, total)
    converts = [line for line in lines if line.charge_type == "convert"]
    if converts and (event := _conversion(converts, day, before)):
        yield event
    for line in lines:
        match line.charge_type:
            case "new" if not line.is_credit:
                yield _begun(line, day, EventType.PURCHASE)
            case "renew" if not line.is_credit:
                yield _start(line, day, EventType.RENEW)
            case "cancelImmediate":
                yield _event(line, day, EventType.CANCEL, None)
            case _:
                pass  # a running cycle changes nothing; unknown types show in reconciliation


def _changed_total(changes: Sequence[CostLine]) -> int | None:
    """Return the total that is only charged; None where the changes of a day undo each other."""
    before = Counter(int(-line.seats) for line in changes if line.is_credit)
    after = Counter(int(line.seats) for line in changes if not line.is_credit)
    if len(changes) == 2 and not before and not any(line.subtotal for line in changes):
        # The pair of a free trial has no sign: the charge type tells which total is the new one.
        return max(after) if changes[0].charge_type == "addQuantity" else min(after)
    totals = list((after - before).elements())
    return totals[0] if len(totals) == 1 else None


@dataclass(frozen=True, slots=True)
class Legs:
    """The two sides of a subscription's conversions on one day, without what undoes itself."""

    given_back: tuple[CostLine, ...]
    charged: tuple[CostLine, ...]

    @property
    def within(self) -> bool:
        """Say whether the subscription itself became another product: no other one is needed."""
        skus = {line.sku for line in self.given_back} | {line.sku for line in self.charged}
        return bool(self.given_back and self.charged) and len(skus) > 1


def legs_of(converts: Iterable[CostLine]) -> Legs:
    """Tell the credits of the conversions of one subscription and day from the charges.

    Lines of a free trial are worth nothing and have no sign: beside a paid product, or a term that
    starts on the day, they are what was given back.
    """
    lines = sorted(converts, key=lambda line: line.key)
    back = [line for line in lines if line.is_credit]
    charged = [line for line in lines if not line.is_credit]
    free = [line for line in charged if not line.subtotal]
    if not back and len(charged) > 1 and free:
        target = max(charged, key=lambda line: (line.subtotal, _own_term(line), line.key))
        back = [line for line in free if line is not target]
        charged = [line for line in charged if line not in back]
    gone = Counter((line.sku, abs(line.seats)) for line in back)
    come = Counter((line.sku, abs(line.seats)) for line in charged)

    def left(side: Sequence[CostLine], counted: Counter[tuple[str, Decimal]]) -> list[CostLine]:
        kept = []
        for line in side:
            if counted[line.sku, abs(line.seats)] > 0:
                counted[line.sku, abs(line.seats)] -= 1
                kept.append(line)
        return kept

    return Legs(tuple(left(back, gone - come)), tuple(left(charged, come - gone)))


def _conversion(
    converts: Sequence[CostLine], day: date, before: int | None
) -> SubscriptionEvent | None:
    """Read what a day's conversions did to one subscription, by the legs that stand on it.

    Both legs: it became another product. A credit alone: all its seats moved away; with a charge of
    the same product: some stayed. A charge alone: seats arrived, and if there were none, it began.
    """
    legs = legs_of(converts)
    if not legs.charged:
        return _moved(legs.given_back[0], day, 0) if legs.given_back else None
    target = max(legs.charged, key=lambda line: (line.subtotal, line.key))
    if len(converts) == 1 and not target.subtotal and before == target.seats:
        return _moved(target, day, 0)  # all seats of a free trial, which show no sign
    if legs.within:
        if _own_term(target):
            return _start(target, day, EventType.CONVERT)
        return replace(_moved(target, day, int(target.seats)), sku=target.sku)
    if legs.given_back:
        return _moved(target, day, int(target.seats))
    if before is None or _own_term(target):
        return _begun(target, day, EventType.CONVERT)
    return _moved(target, day, before + int(target.seats))


def _own_term(line: CostLine) -> bool:
    return line.charged is not None and line.subscription_start == line.charged.start


def _moved(line: CostLine, day: date, total: int) -> SubscriptionEvent:
    """Seats that moved to or from another subscription leave a new total behind."""
    event = _event(line, day, EventType.CONVERT, total)
    return replace(event, reference_id=line.reference_id)


def _begun(line: CostLine, day: date, kind: EventType) -> SubscriptionEvent:
    """Where the term had begun before its first line, the term is what starts (`served_from`)."""
    return _start(line, min(line.subscription_start or day, day), kind)


def _event(line: CostLine, day: date, kind: EventType, quantity: int | None) -> SubscriptionEvent:
    return SubscriptionEvent(
        subscription_id=line.subscription_id,
        customer_id=line.customer_id,
        effective=day,
        type=kind,
        quantity=quantity,
        source=EventSource.COST_LINE,
    )


def _start(line: CostLine, day: date, kind: EventType) -> SubscriptionEvent:
    return replace(
        _event(line, day, kind, int(line.seats)),
        sku=line.sku,
        term=_term(line),
        billing_cycle=_billing_cycle(line),
        term_end=line.subscription_end,
        is_trial=not line.unit_price and not line.subtotal,
        reference_id=line.reference_id if kind is EventType.CONVERT else "",
    )


def _term(line: CostLine) -> TermDuration | None:
    text = line.term_and_billing_cycle.lower()
    for words, term in (
        (("one-month", "1 month", "monthly commitment"), TermDuration.MONTH),
        (("one-year", "1 year"), TermDuration.YEAR),
        (("three-year", "3 year"), TermDuration.THREE_YEARS),
        (("five-year", "5 year"), TermDuration.FIVE_YEARS),
    ):
        if any(word in text for word in words):
            return term
    return None


def _billing_cycle(line: CostLine) -> BillingCycle | None:
    return {
        "monthly": BillingCycle.MONTHLY,
        "annual": BillingCycle.ANNUAL,
        "triennial": BillingCycle.TRIENNIAL,
    }.get(line.billing_frequency.lower())


def history(
    subscription: Subscription,
    lines: Sequence[CostLine],
    events: Iterable[SubscriptionEvent],
) -> list[SubscriptionEvent]:
    """Return the whole known history of one seat subscription, beginning with its first term.

    Where its purchase lies before anything that was kept, the beginning is made from the oldest
    line of Microsoft (its term and its seats), else from the snapshot. A term that only the
    snapshot shows is a renewal.
    """
    billed = from_cost_lines(lines)
    if not _is_trial(subscription, lines):
        billed = [replace(event, is_trial=False) for event in billed]
    told = [*events, *billed]
    oldest = _oldest_line(lines)
    begins = subscription.start
    if oldest is not None and oldest.subscription_start is not None:
        begins = min(begins, oldest.subscription_start)
    opened = any(event.effective == subscription.start and _opens(event) for event in told)
    if subscription.start > begins and not opened:
        told.append(
            SubscriptionEvent(
                subscription_id=subscription.id,
                customer_id=subscription.customer_id,
                effective=subscription.start,
                type=EventType.RENEW,
                term=subscription.term,
                billing_cycle=subscription.billing_cycle,
                term_end=subscription.term_end,
                is_trial=subscription.is_trial,
                source=EventSource.SNAPSHOT,
            )
        )
    merged = merge(told)
    first = next((n for n, e in enumerate(merged) if _opens(e) or _arrives(e, begins)), None)
    if first is not None and merged[first].effective <= begins:
        return [_completed(merged[first], subscription), *merged[first + 1 :]]
    later = [event for event in merged if event.effective >= begins]
    return [_beginning(subscription, oldest, begins, merged), *later]


def served_from(lines: Iterable[CostLine]) -> date | None:
    """Return the first day that is billed, where the term had begun before it; else None.

    It began with another partner, or on the subscription from which an upgrade moved the seats. Term
    and charge cycles go on; only the days from here on are to be charged.
    """
    seats = [(line.charged.start, line) for line in lines if _is_seats(line) and line.charged]
    first = min((day for day, _ in seats), default=None)
    opening = [line for day, line in seats if day == first]
    running = {"cycleCharge", "renew"}.intersection(line.charge_type for line in opening)
    converted = any(line.is_credit and line.charge_type == "convert" for line in opening)
    begun = [
        line.subscription_start
        for line in opening
        if line.charge_type in {"new", "convert"} and not line.is_credit and line.subscription_start
    ]
    if first is None or running or converted or min(begun, default=first) >= first:
        return None
    return first


def _is_seats(line: CostLine) -> bool:
    return line.kind is CostKind.LICENCE and line.charged is not None


def _is_trial(subscription: Subscription, lines: Sequence[CostLine]) -> bool:
    """Say whether terms without a price are trials; of a free product, no line has a price."""
    own = [line for line in lines if line.kind is CostKind.LICENCE]
    return subscription.is_trial or any(
        line.unit_price or "trial" in line.term_and_billing_cycle.lower() for line in own
    )


def _opens(event: SubscriptionEvent) -> bool:
    """Say whether a term starts with the event, with a number of seats that is known."""
    return event.quantity is not None and opens(event)


def _arrives(event: SubscriptionEvent, begins: date) -> bool:
    """Say whether an upgrade made the subscription: nothing can be converted before it began."""
    return bool(
        event.type is EventType.CONVERT
        and event.sku
        and event.quantity is not None
        and event.effective == begins
    )


def _completed(event: SubscriptionEvent, subscription: Subscription) -> SubscriptionEvent:
    running = event.effective == subscription.start
    return replace(
        event,
        sku=event.sku or subscription.sku,
        term=event.term or subscription.term,
        billing_cycle=event.billing_cycle or subscription.billing_cycle,
        term_end=event.term_end or (subscription.term_end if running else None),
        anchor=_purchase_day(subscription, event.effective),
        is_trial=event.is_trial or (running and subscription.is_trial),
    )


def _beginning(
    subscription: Subscription,
    oldest: CostLine | None,
    begins: date,
    told: Sequence[SubscriptionEvent],
) -> SubscriptionEvent:
    """Make the first term: a purchase on the day it began, with the seats it had at first."""
    if oldest is not None and oldest.subscription_start == begins:
        quantity, sku = int(abs(oldest.billable_quantity)), oldest.sku
        term, cycle = _term(oldest), _billing_cycle(oldest)
        term_end = oldest.subscription_end
        is_trial = not oldest.unit_price and _is_trial(subscription, [oldest])
    else:
        # That all seats moved away says nothing of how many there had been.
        totals = [(e.effective < begins, e.quantity) for e in told if e.quantity]
        earlier = [total for before, total in totals if before]
        quantity = (earlier[-1:] or [total for _, total in totals] or [subscription.quantity])[0]
        # No line is older, so what begins is the term that the snapshot shows.
        sku, term, cycle = subscription.sku, None, None
        term_end, is_trial = subscription.term_end, subscription.is_trial
    return SubscriptionEvent(
        subscription_id=subscription.id,
        customer_id=subscription.customer_id,
        effective=begins,
        type=EventType.PURCHASE,
        quantity=quantity,
        sku=sku,
        term=term or subscription.term,
        billing_cycle=cycle or subscription.billing_cycle,
        term_end=term_end,
        anchor=_purchase_day(subscription, begins),
        is_trial=is_trial,
        source=EventSource.SNAPSHOT,
    )


def _oldest_line(lines: Iterable[CostLine]) -> CostLine | None:
    """Return the oldest line that shows how many seats there were before anything changed.

    A running cycle shows the seats at its start; of a change, its credit shows the old total. On
    one day the running cycle is older than the change, and a total that is credited and charged on
    one day lies between two changes.
    """
    seat_lines = [(line, line.charged) for line in lines if line.kind is CostKind.LICENCE]
    reached = {
        (charged.start, line.sku, line.seats)
        for line, charged in seat_lines
        if charged and line.charge_type in {*_CHANGES, "convert"} and not line.is_credit
    }
    shows = [
        (charged.start, line.is_credit, -line.seats, line)
        for line, charged in seat_lines
        if charged
        and (
            line.charge_type in _TOTALS
            or (line.is_credit and (charged.start, line.sku, -line.seats) not in reached)
        )
        and line.charge_type != "cancelImmediate"
    ]
    return min(shows, key=lambda show: show[:3])[3] if shows else None


def _purchase_day(subscription: Subscription, start: date) -> date | None:
    """Return the purchase day when the term starts on its clamped grid.

    A term that starts on 28 February may be anchored on the 31st: only the purchase day tells.
    """
    bought = subscription.created.date()
    months = (start.year - bought.year) * 12 + start.month - bought.month
    if bought.day > start.day and months >= 0 and add_months(bought, months) == start:
        return bought
    return None


def check_history(
    subscription: Subscription, events: Sequence[SubscriptionEvent], read_on: date
) -> list[Finding]:
    """Compare the end of the history with what Partner Center shows now."""
    if subscription.kind is not SubscriptionKind.LICENCE:
        return []
    # What Partner Center lists as alive has renewed, whatever its choice for the next end is.
    state = as_of(events, read_on)
    shown, known = subscription.quantity, state and state.quantity
    over = subscription.status in {"deleted", "expired"}
    if over or (state is not None and state.ended is not None) or known == shown:
        return []
    return [
        Finding(
            check="history.mismatch",
            severity=Severity.WARN,
            customer_id=subscription.customer_id,
            record=f"subscription {subscription.id}",
            sentence=(
                f"{subscription.name}: the known changes end at {known} seats, "
                f"Partner Center shows {shown}."
            ),
            hint="a change may have been missed; compare with the next invoice of Microsoft",
        )
    ]
