"""One ordered, de-duplicated history per subscription, from every source that saw a part of it.

Snapshots say what is now, audit records who changed what in the last 90 days, Microsoft's lines
what it billed for. Two sources that tell the same make one event: for each subscription, day and
type the most trusted source that says anything is believed alone. Events of one day act in the
order of `EventType`, then as the source listed them.

Limit: webhooks carry no content, so they only cause a new snapshot.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date

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

_TYPE_ORDER = {kind: place for place, kind in enumerate(EventType)}
_TRUST = {source: place for place, source in enumerate(EventSource)}
_CHANGES = {"addQuantity", "removeQuantity"}


def order(events: Iterable[SubscriptionEvent]) -> list[SubscriptionEvent]:
    """Sort by day, then by the stated order of types, then as the source listed them."""
    return sorted(events, key=lambda e: (e.effective, _TYPE_ORDER[e.type], e.sequence))


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
        kept.extend({event.key: event for event in trusted}.values())
    return order(kept)


def from_cost_lines(lines: Iterable[CostLine]) -> list[SubscriptionEvent]:
    """Read the changes that Microsoft billed for out of its licence lines.

    A seat change is a pair: a credit of the old total and a charge of the new total for the
    remaining days. Exports have no order, so the pairs of one day are read as one step, from the
    total that is only credited to the total that is only charged.
    """
    days: dict[tuple[str, date], list[CostLine]] = defaultdict(list)
    for line in lines:
        if line.kind is CostKind.LICENCE and line.charged is not None:
            days[line.subscription_id, line.charged.start].append(line)
    found: list[SubscriptionEvent] = []
    for (_, day), group in days.items():
        found.extend(_day_events(day, group))
    return order(found)


def _day_events(day: date, lines: Sequence[CostLine]) -> Iterator[SubscriptionEvent]:
    changes = [line for line in lines if line.charge_type in _CHANGES]
    before = Counter(int(-line.seats) for line in changes if line.is_credit)
    after = Counter(int(line.seats) for line in changes if not line.is_credit)
    totals = list((after - before).elements())
    if len(totals) == 1:
        yield _event(changes[0], day, EventType.SET_QUANTITY, totals[0])
    # A free trial's line is worth nothing and has no sign: the dearest line is the target.
    converts = [line for line in lines if line.charge_type == "convert"]
    charged = [line for line in converts if not line.is_credit]
    if charged:
        yield _converted(max(charged, key=lambda line: line.subtotal), day)
    elif converts:
        yield _event(converts[0], day, EventType.CANCEL, None)  # into another subscription
    for line in lines:
        match line.charge_type:
            case "new" if not line.is_credit:
                yield _start(line, day, EventType.PURCHASE)
            case "renew" if not line.is_credit:
                yield _start(line, day, EventType.RENEW)
            case "cancelImmediate":
                yield _event(line, day, EventType.CANCEL, None)
            case _:
                pass  # a running cycle changes nothing; unknown types show in reconciliation


def _converted(target: CostLine, day: date) -> SubscriptionEvent:
    """A conversion starts a term of its own, or goes on in the running one with another product."""
    if target.subscription_start == day:
        return _start(target, day, EventType.CONVERT)
    return replace(_event(target, day, EventType.CONVERT, int(target.seats)), sku=target.sku)


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
    told = [*events, *from_cost_lines(lines)]
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
                source=EventSource.SNAPSHOT,
            )
        )
    merged = merge(told)
    first = next((n for n, event in enumerate(merged) if _opens(event)), None)
    if first is not None and merged[first].effective <= begins:
        return [_completed(merged[first], subscription), *merged[first + 1 :]]
    later = [event for event in merged if event.effective >= begins]
    return [_beginning(subscription, oldest, begins, merged), *later]


def _opens(event: SubscriptionEvent) -> bool:
    """Say whether a term starts with the event: a purchase, a renewal, a conversion to a new term."""
    return event.quantity is not None and (
        event.type in {EventType.PURCHASE, EventType.RENEW}
        or (event.type is EventType.CONVERT and event.term_end is not None)
    )


def _completed(event: SubscriptionEvent, subscription: Subscription) -> SubscriptionEvent:
    return replace(
        event,
        sku=event.sku or subscription.sku,
        term=event.term or subscription.term,
        billing_cycle=event.billing_cycle or subscription.billing_cycle,
        anchor=_purchase_day(subscription, event.effective),
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
    else:
        totals = [(e.effective < begins, e.quantity) for e in told if e.quantity is not None]
        earlier = [total for before, total in totals if before]
        quantity = (earlier[-1:] or [total for _, total in totals] or [subscription.quantity])[0]
        sku, term, cycle = subscription.sku, None, None
        term_end = subscription.term_end if subscription.start == begins else None
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
        (charged.start, line.seats)
        for line, charged in seat_lines
        if charged and line.charge_type in _CHANGES and not line.is_credit
    }
    shows = [
        (charged.start, line.is_credit, -line.seats, line)
        for line, charged in seat_lines
        if charged
        and (
            line.charge_type in {"new", "renew", "cycleCharge"}
            or (line.is_credit and (charged.start, -line.seats) not in reached)
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
    quantity: int | None = None
    cancelled = False
    for event in events:
        if event.effective > read_on:
            break
        if event.quantity is not None:
            quantity = event.quantity
        cancelled = event.type is EventType.CANCEL or (cancelled and not _opens(event))
    shown = subscription.quantity
    if cancelled or subscription.status in {"deleted", "expired"} or quantity == shown:
        return []
    return [
        Finding(
            check="history.mismatch",
            severity=Severity.WARN,
            customer_id=subscription.customer_id,
            record=f"subscription {subscription.id}",
            sentence=(
                f"{subscription.name}: the known changes end at {quantity} seats, "
                f"Partner Center shows {shown}."
            ),
            hint="a change may have been missed; compare with the next invoice of Microsoft",
        )
    ]
