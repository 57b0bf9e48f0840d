"""One ordered, de-duplicated history per subscription, from every source that saw a part of it.

Snapshots say what is now, audit records who changed what in the last 90 days, Microsoft's lines
what it billed for. Two sources that tell the same make one event: for each subscription, day and
type the most trusted source that says anything is believed alone. Events of one day act in the
order of `EventType`, then as the source listed them.

Limit: webhooks carry no content, so they only cause a new snapshot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
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

    A seat change is a pair (credit of the old total, charge of the new total); the positive line
    tells the new total. Pairs of one day keep the order in which Microsoft lists them.
    """
    events: list[SubscriptionEvent] = []
    ordinals: dict[tuple[str, date, EventType], int] = defaultdict(int)
    for line in lines:
        if line.kind is not CostKind.LICENCE or line.charged is None:
            continue
        kind = _event_type(line)
        if kind is None:
            continue
        place = (line.subscription_id, line.charged.start, kind)
        starts = kind in {EventType.PURCHASE, EventType.RENEW, EventType.CONVERT}
        events.append(
            SubscriptionEvent(
                subscription_id=line.subscription_id,
                customer_id=line.customer_id,
                effective=line.charged.start,
                type=kind,
                quantity=None if kind is EventType.CANCEL else int(line.billable_quantity),
                sku=line.sku if starts else "",
                term=_term(line) if starts else None,
                billing_cycle=_billing_cycle(line) if starts else None,
                term_end=line.subscription_end if starts else None,
                source=EventSource.COST_LINE,
                sequence=ordinals[place],
            )
        )
        ordinals[place] += 1
    return order(events)


def _event_type(line: CostLine) -> EventType | None:
    positive = line.billable_quantity > 0
    match line.charge_type:
        case "new" if positive:
            return EventType.PURCHASE
        case "renew" if positive:
            return EventType.RENEW
        case "convert" if positive:
            return EventType.CONVERT
        case "convert":
            return EventType.CANCEL
        case "addQuantity" | "removeQuantity" if positive:
            return EventType.SET_QUANTITY
        case "cancelImmediate":
            return EventType.CANCEL
        case _:
            return None  # a running cycle changes nothing; unknown types are left to validation


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

    Where its purchase lies before anything that was kept, the beginning is made from the snapshot:
    its terms, and the oldest quantity that any source tells.
    """
    told = merge([*events, *from_cost_lines(lines)])
    starts = {EventType.PURCHASE, EventType.RENEW, EventType.CONVERT}
    if told and told[0].type in starts:
        return [_completed(told[0], subscription), *told[1:]]
    return [_beginning(subscription, lines, told), *told]


def _completed(event: SubscriptionEvent, subscription: Subscription) -> SubscriptionEvent:
    return replace(
        event,
        sku=event.sku or subscription.sku,
        term=event.term or subscription.term,
        billing_cycle=event.billing_cycle or subscription.billing_cycle,
        anchor=_purchase_day(subscription, event.effective),
    )


def _beginning(
    subscription: Subscription, lines: Sequence[CostLine], told: Sequence[SubscriptionEvent]
) -> SubscriptionEvent:
    start, term_end = subscription.start, subscription.term_end
    first_renewal = next((e for e in told if e.type is EventType.RENEW), None)
    if first_renewal is not None:
        # The snapshot shows the term after the renewal; what ran before ended on that day.
        months = (subscription.term or TermDuration.MONTH).months
        start, term_end = add_months(first_renewal.effective, -months), first_renewal.effective
    return SubscriptionEvent(
        subscription_id=subscription.id,
        customer_id=subscription.customer_id,
        effective=start,
        type=EventType.PURCHASE,
        quantity=_oldest_quantity(subscription, lines, told),
        sku=subscription.sku,
        term=subscription.term,
        billing_cycle=subscription.billing_cycle,
        term_end=term_end,
        anchor=_purchase_day(subscription, start),
        source=EventSource.SNAPSHOT,
    )


def _purchase_day(subscription: Subscription, start: date) -> date | None:
    """Return the purchase day when the term starts on its clamped grid.

    A term that starts on 28 February may be anchored on the 31st: only the purchase day tells.
    """
    bought = subscription.created.date()
    months = (start.year - bought.year) * 12 + start.month - bought.month
    if bought.day > start.day and months >= 0 and add_months(bought, months) == start:
        return bought
    return None


def _oldest_quantity(
    subscription: Subscription, lines: Sequence[CostLine], told: Sequence[SubscriptionEvent]
) -> int:
    """Return how many seats there were before the first change that is known."""
    observed: list[tuple[date, int, int]] = []
    for place, line in enumerate(lines):
        if line.charged is None or line.kind is not CostKind.LICENCE:
            continue
        if line.charge_type == "cycleCharge":
            observed.append((line.charged.start, place, int(line.billable_quantity)))
        elif line.billable_quantity < 0:
            observed.append((line.charged.start, place, -int(line.billable_quantity)))
    if observed:
        return min(observed)[2]
    first = next((e for e in told if e.quantity is not None), None)
    return subscription.quantity if first is None or first.quantity is None else first.quantity


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
        if event.type in {EventType.PURCHASE, EventType.RENEW, EventType.CONVERT}:
            cancelled = False
        cancelled = cancelled or event.type is EventType.CANCEL
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
