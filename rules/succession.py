"""One subscription after another: upgrades, migrations, transfers, and two alive where one is meant.

What moves seats from one subscription to another shows on both, or it is half told: then the money
of one side would be missing, and the customer is held. What merely looks like a succession (an old
monthly subscription still alive beside the new annual one) is told, because only a person knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations

from domain.charge import Charge
from domain.money import Money, total
from domain.period import Period
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
from rules.events import legs_of

SETTLED_DAYS = 92
"""Two subscriptions that both ran for a quarter, and were billed side by side, are meant."""

_ALIVE = {"active", "suspended"}


def check_conversions(lines: Iterable[CostLine]) -> list[Finding]:
    """Find the legs of conversions between subscriptions whose counterpart is missing.

    Both legs carry one ReferenceId and stand on one invoice; `lines` are those of the period.
    """
    groups: dict[tuple[str, str], dict[str, list[CostLine]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for line in lines:
        if line.kind is CostKind.LICENCE and line.charge_type == "convert" and line.charged:
            reference = line.reference_id or f"of {line.charged.start}"
            groups[line.customer_id, reference][line.subscription_id].append(line)
    found: list[Finding] = []
    for (_, reference), group in sorted(groups.items()):
        if len(group) > 1:
            continue
        for own in group.values():
            legs = legs_of(own)
            if not legs.within and (legs.given_back or legs.charged):
                found.append(_half(reference, legs.given_back or legs.charged, own[0]))
    return found


def _half(reference: str, legs: Sequence[CostLine], line: CostLine) -> Finding:
    there = "gives back" if legs[0].is_credit else "charges"
    missing = "charges them" if legs[0].is_credit else "gives back what they replace"
    return Finding(
        check="history.half_conversion",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"subscription {line.subscription_id} conversion {reference}",
        sentence=(
            f"Microsoft {there} {abs(legs[0].seats):f} seats of {line.name} for an upgrade on "
            f"{line.falls_on} (reference {reference}), and no line {missing}."
        ),
        hint="run sync again: both sides of an upgrade stand on one invoice; else ask Microsoft, or "
        "release it: what is on the invoice is billed",
    )


def migrations(subscriptions: Sequence[Subscription]) -> list[SubscriptionEvent]:
    """Return the events by which legacy subscriptions end where the one that replaced them begins.

    Partner Center names the old id on the new one (`migratedFromSubscriptionId`). What it shows as
    ended already is left to Microsoft's own lines.
    """
    known = {subscription.id: subscription for subscription in subscriptions}
    return [
        SubscriptionEvent(
            subscription_id=old.id,
            customer_id=old.customer_id,
            effective=new.created.date(),
            type=EventType.CONVERT,
            quantity=0,
            reference_id=new.id,
            source=EventSource.SNAPSHOT,
        )
        for new in subscriptions
        if (old := known.get(new.migrated_from)) is not None
        and old.status in _ALIVE
        and old.kind is SubscriptionKind.LICENCE
    ]


def transfer(
    history: Sequence[SubscriptionEvent], last_day: date
) -> tuple[list[SubscriptionEvent], list[SubscriptionEvent], date]:
    """Split a history where it moved to another partner: the old one's, the new one's, its first day.

    The old partner serves through `last_day` and gets the rest of the cycle back. For the new one
    term and charge cycles go on, and `rules.proration` charges them from the first day (its
    `served_from`). Each day is charged by exactly one of them.
    """
    first = last_day + timedelta(days=1)
    before = [event for event in history if event.effective < first]
    moved = [
        replace(
            event,
            effective=first,
            type=EventType.TRANSFER,
            quantity=None,
            sku="",
            term=None,
            billing_cycle=None,
            term_end=None,
            anchor=None,
            is_trial=False,
            sequence=0,
        )
        for event in before[-1:]
    ]
    return [*before, *moved], list(history), first


def overlaps(
    subscriptions: Sequence[Subscription], today: date, charges: Iterable[Charge] = ()
) -> list[Finding]:
    """Find pairs of one product of which the older was probably meant to end when the newer began.

    A change of term or billing plan is often made by buying anew; the old one then runs on and both
    are billed. It is likely where the newer began within the life of the older one, differs in term
    or plan, and has as many seats, or the older is already set not to renew. After `SETTLED_DAYS`
    side by side with both renewing it is taken as meant. `charges` tell the money.
    """
    asked = list(charges)
    alive = [
        one
        for one in subscriptions
        if one.kind is SubscriptionKind.LICENCE and one.status in _ALIVE and not one.is_trial
    ]
    alive.sort(key=lambda one: (one.created, one.id))
    return [
        _overlap(old, new, asked)
        for old, new in combinations(alive, 2)
        if old.customer_id == new.customer_id
        and old.sku == new.sku
        and (old.term, old.billing_cycle) != (new.term, new.billing_cycle)
        and (not old.auto_renew or old.quantity == new.quantity)
        and new.migrated_from != old.id
        and (not old.auto_renew or today < _began(new) + timedelta(days=SETTLED_DAYS))
        and _began(old) < _began(new) <= today
        and (old.term_end is None or _began(new) < old.term_end)
    ]


def _began(subscription: Subscription) -> date:
    """Return the day of purchase: the start of the running term moves with each renewal."""
    return subscription.created.date()


def _overlap(old: Subscription, new: Subscription, charges: Sequence[Charge]) -> Finding:
    both = Period(_began(new), max(old.term_end or _began(new), _began(new)))
    twice = [
        charge.amount
        for charge in charges
        if charge.subscription_id == old.id and charge.service.start >= both.start
    ]
    until = "without an end" if old.term_end is None else f"to {both.last_day}"
    if old.auto_renew and old.term_end is not None:
        until += ", and it renews then"
    return Finding(
        check="subscription.overlap",
        severity=Severity.WARN,
        customer_id=old.customer_id,
        record=f"subscriptions {old.id} and {new.id}",
        sentence=(
            f"{old.name}: {_plan(old)} ({old.id}) runs beside {_plan(new)} ({new.id}) "
            f"from {both.start} {until}; both are billed{_money(twice)}."
        ),
        hint=(
            "cancel the older one while its window is open, or switch its renewal off; "
            "if both are meant, there is nothing to do"
        ),
    )


def _plan(subscription: Subscription) -> str:
    term = subscription.term.value if subscription.term else "without a term"
    cycle = subscription.billing_cycle.value if subscription.billing_cycle else "not"
    seats = "seat" if subscription.quantity == 1 else "seats"
    return f"{subscription.quantity} {seats} {term} billed {cycle}"


def _money(amounts: Sequence[Money]) -> str:
    if not amounts:
        return ""
    return f" ({total(amounts, amounts[0].currency)} so far for the older one)"
