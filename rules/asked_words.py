"""The differences of the customer's side in words: what was seen, what it is worth, what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal

from domain.money import plain
from domain.period import Period
from domain.problems import Finding, Severity
from domain.reconciliation import Cause, Comparison, Difference, Remedy, SoldLine
from rules.matching import Ask, Place


def difference(place: Place, cause: Cause, currency: str, amount: Decimal) -> Difference:
    """Tell one step of a place: what is due beyond what was asked for, and what to do about it."""
    remedy = Remedy.BILL_CUSTOMER if amount > 0 else Remedy.CREDIT_CUSTOMER
    if cause in {Cause.TIMING, Cause.ROUNDING}:
        remedy = Remedy.NONE
    either: tuple[Ask | SoldLine, ...] = (*place.asks, *place.sold)
    subscriptions = place.subscriptions
    services = [one.service for one in either if one.service]
    name = next((one.name or one.sku for one in either if one.name or one.sku), "")
    service = services[0] if services else None
    about = f"{name}, {service}" if service else name
    return Difference(
        comparison=Comparison.CUSTOMER,
        cause=cause,
        remedy=remedy,
        customer_id=either[0].customer_id,
        subscription_id=subscriptions[0] if len(subscriptions) == 1 else "",
        product=product(place),
        service=service,
        currency=currency,
        amount=amount,
        sentence=f"{about}: {_says(place, cause, service)}; {_direction(cause, currency, amount)}",
        hint=_HINTS.get((cause, remedy)) or _BY_REMEDY[remedy],
        records=(
            *dict.fromkeys(key for ask in place.asks for key in ask.cost_lines),
            *dict.fromkeys(ask.charge_key for ask in place.asks if ask.charge_key),
            *(line.key for line in place.sold),
        ),
    )


def product(place: Place) -> str:
    """Return the product that a place is about, its name where there are several."""
    either: tuple[Ask | SoldLine, ...] = (*place.asks, *place.sold)
    products = {one.sku for one in place.asks or place.sold if one.sku}
    if len(products) == 1:
        return products.pop()
    return next((one.name for one in either if one.name), "")


def _says(place: Place, cause: Cause, service: Period | None) -> str:
    if not place.sold:
        return f"{_due(place.asks, service)} and the customer was not asked"
    asked = f"the customer was asked for {_asked(place, service)}"
    if not place.asks:
        return f"{asked} and nothing explains it"
    return f"{_due(place.asks, service)}, {asked} ({cause.value.replace('_', ' ')})"


def _due(asks: Sequence[Ask], service: Period | None) -> str:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for ask in asks:
        sums[ask.currency] += ask.cost if ask.amount is None else ask.amount
    seats = sum((ask.quantity for ask in asks), Decimal(0))
    counted = all(ask.counted for ask in asks)
    told = _side(sums, seats if counted else None, {ask.service for ask in asks}, service)
    billed = any(ask.amount is None for ask in asks)
    return f"Microsoft billed {told}" if billed else f"{told} {'are' if counted else 'is'} due"


def _asked(place: Place, service: Period | None) -> str:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for line in place.sold:
        sums[line.currency] += line.amount
    seats = [line.quantity for line in place.sold if line.quantity is not None]
    counted = bool(seats) and all(ask.counted for ask in place.asks)
    told = sum(seats, Decimal(0)) if counted else None
    return _side(sums, told, {line.service for line in place.sold}, service)


def _side(
    sums: Mapping[str, Decimal],
    seats: Decimal | None,
    days: AbstractSet[Period | None],
    service: Period | None,
) -> str:
    """Say seats and amounts, and the days where they are others than those of the place."""
    told = " and ".join(f"{amount} {currency}" for currency, amount in sorted(sums.items()))
    if seats is not None:
        told = f"{plain(seats)} for {told}"
    others = sorted(str(one) for one in days if one is not None and one != service)
    return f"{told} ({', '.join(others)})" if others else told


def _direction(cause: Cause, currency: str, amount: Decimal) -> str:
    worth = f"{abs(amount)} {currency}"
    if cause is Cause.TIMING:
        return f"{worth} belong to another month's bill"
    if cause is Cause.ROUNDING:
        return f"{worth} by rounding"
    return f"{worth} too {'little' if amount > 0 else 'much'}"


_BY_REMEDY = {
    Remedy.BILL_CUSTOMER: "bill the customer for the difference",
    Remedy.CREDIT_CUSTOMER: "credit the customer with the difference",
    Remedy.NONE: "nothing to do",
}
_HINTS = {
    (Cause.CREDIT_NOT_PASSED_ON, Remedy.CREDIT_CUSTOMER): (
        "Microsoft gave this credit: pass it on to the customer"
    ),
    (Cause.MISSING_SUBSCRIPTION, Remedy.BILL_CUSTOMER): (
        "bill the customer if the subscription is in use, else claim it back from Microsoft"
    ),
    (Cause.MISSING_SUBSCRIPTION, Remedy.CREDIT_CUSTOMER): (
        "check that the subscription still runs; credit the customer if it does not"
    ),
    (Cause.MISSING_INVOICE_LINE, Remedy.BILL_CUSTOMER): (
        "bill the customer if the charge is right, else claim it back from Microsoft"
    ),
    (Cause.MISSING_INVOICE_LINE, Remedy.CREDIT_CUSTOMER): (
        "check that the subscription still runs; Microsoft may bill it next month"
    ),
    (Cause.DUPLICATE, Remedy.CREDIT_CUSTOMER): "credit the line that was asked for twice",
    (Cause.CURRENCY, Remedy.CREDIT_CUSTOMER): "credit it and bill it in the customer's currency",
}


def ambiguous(place: Place) -> Finding:
    """Tell that lines of several subscriptions could only be compared together."""
    first = place.asks[0]
    names = ", ".join(place.subscriptions)
    return Finding(
        check="reconcile.ambiguous",
        severity=Severity.WARN,
        customer_id=first.customer_id,
        record=f"subscriptions {names}"[:200],
        sentence=(
            f"{len(place.sold)} lines of the customer for {first.name} may belong to "
            f"{len(place.subscriptions)} subscriptions ({names}): they are compared as one."
        ),
        hint="give the subscription id on the customer's lines to compare each for itself",
    )
