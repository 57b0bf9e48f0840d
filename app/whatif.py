"""Rate a scenario: a quote, a forecast, and an outside check of the engine.

Sell side, charge cycles, proration by actual days, percent markups. The format is `app.scenario`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from app.scenario import Scenario, Subscription, Usage, places_of, read_file
from domain.charge import Charge, ChargeType, Reason
from domain.money import Money, allocate, minor_units, plain, round_half_up
from domain.period import BillingCycle, Period
from domain.problems import Finding, Severity
from domain.subscription import EventType, SubscriptionEvent
from rules.events import order
from rules.proration import PriceQuestion, UnitPrice, rate_history

EXACT_PLACES = 20
"""More decimals than a price, a discount and a markup make together; what is beyond is nothing."""


def rate_file(path: Path) -> dict[str, Any] | list[dict[str, Any]]:
    """Answer a scenario file; a list of scenarios with a list of answers."""
    scenarios = read_file(path)
    return [rate(one) for one in scenarios] if isinstance(scenarios, list) else rate(scenarios)


def rate(scenario: Scenario) -> dict[str, Any]:
    """Answer one scenario: its lines, totals and findings, as plain data."""
    window = Period(scenario.bill.start, scenario.bill.to)
    charges: list[Charge] = []
    findings: list[Finding] = []
    seat_rules = [r for r in scenario.markup_rules or () if r.match.kind != "usage"]
    for subscription in scenario.subscriptions or ():
        if len(seat_rules) > 1:
            findings.append(_tie(subscription.id, len(seat_rules)))
            continue
        factor = Fraction(1)
        if seat_rules:
            factor = (100 + Fraction(seat_rules[0].percent)) / 100
        found, faults = _rate_subscription(scenario, subscription, window, factor)
        charges.extend(found)
        findings.extend(faults)
    found, faults = _rate_usage(scenario, window)
    charges.extend(found)
    findings.extend(faults)
    subtotal = sum((c.amount.amount for c in charges), Money.zero(scenario.currency).amount)
    tax = Money.zero(scenario.currency).amount
    return {
        "lines": [_line(charge, tax) for charge in charges],
        "subtotal": str(subtotal),
        "tax": str(tax),
        "total": str(subtotal + tax),
        "findings": [
            {
                "check": f.check,
                "severity": f.severity.value,
                "record": f.record,
                "sentence": f.sentence,
                "hint": f.hint,
            }
            for f in findings
        ],
    }


def _line(charge: Charge, tax: Decimal) -> dict[str, Any]:
    return {
        "subscription": charge.subscription_id or None,
        "charge_type": charge.type.value,
        "name": charge.name,
        "service_start": str(charge.service.start),
        "service_end": str(charge.service.end),
        "days": charge.service.days,
        "cycle_days": charge.full.days,
        "quantity": plain(charge.quantity),
        "unit_price": _price(charge),
        "amount": str(charge.amount.amount),
        "tax": str(tax),
        "why": charge.why,
        "reasons": [{"rule": r.rule, "inputs": dict(r.inputs)} for r in charge.reasons],
    }


def _price(charge: Charge) -> str:
    """A unit price as people write it: at least the decimals of the currency."""
    text = plain(charge.unit_price)
    places = minor_units(charge.amount.currency)
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.ljust(places, '0')}" if places or decimals else whole


def _rate_subscription(
    scenario: Scenario, subscription: Subscription, window: Period, factor: Fraction
) -> tuple[list[Charge], list[Finding]]:
    if subscription.billing_cycle is BillingCycle.ONE_TIME:
        return _one_time(scenario, subscription, window, factor), []
    prices = _Prices(subscription, factor, scenario.currency)
    return rate_history(
        _history(scenario, subscription),
        price_for=prices,
        window=window,
        currency=scenario.currency,
        name=subscription.sku,
        auto_renew=subscription.auto_renew,
        enforce_windows=scenario.contract.reductions == "window",
    )


def _history(scenario: Scenario, subscription: Subscription) -> list[SubscriptionEvent]:
    purchase = SubscriptionEvent(
        subscription_id=subscription.id,
        customer_id="",
        effective=subscription.start,
        type=EventType.PURCHASE,
        quantity=subscription.quantity,
        sku=subscription.sku,
        term=subscription.term,
        billing_cycle=subscription.billing_cycle,
        term_end=subscription.custom_term_end,
    )
    events = [purchase]
    last_of_day: dict[tuple[date, str], SubscriptionEvent] = {}
    for place, event in enumerate(subscription.events or ()):
        if scenario.as_of is not None and event.date > scenario.as_of:
            continue
        known = replace(
            purchase,
            effective=event.date,
            type=EventType(event.type),
            quantity=event.quantity,
            sku=event.sku or "",
            term=None,
            billing_cycle=None,
            term_end=None,
            sequence=place,
        )
        if known.type is EventType.SET_QUANTITY:
            last_of_day[event.date, event.type] = known  # the last one listed wins
        else:
            events.append(known)
    return order([*events, *last_of_day.values()])


class _Prices:
    """The prices of one subscription over time: of the purchase, of renewals, of conversions."""

    def __init__(self, subscription: Subscription, factor: Fraction, currency: str) -> None:
        self.subscription = subscription
        self.factor = factor
        self.places = minor_units(currency)

    def __call__(self, question: PriceQuestion) -> UnitPrice | Finding:
        unit, annual = self._listed(question)
        value = Fraction((unit if annual is None else annual) or 0)
        reasons: list[Reason] = []
        if annual is None:
            reasons.append(Reason(rule="price.unit", inputs={"unit_price": plain(value)}))
        promotion = self.subscription.promotion
        if promotion and (promotion.until is None or question.on < promotion.until):
            value *= (100 - Fraction(promotion.percent)) / 100
            reasons.append(
                Reason(rule="price.promotion", inputs={"percent": plain(promotion.percent)})
            )
        if self.factor != 1:
            value *= self.factor
            percent = plain((self.factor - 1) * 100)
            reasons.append(Reason(rule="price.markup", inputs={"percent": percent}))
        if annual is not None:
            value, reason = self._instalment(annual, value, question.cycle_index % 12)
            reasons.append(reason)
        return UnitPrice(value=value, reasons=tuple(reasons))

    def _instalment(self, listed: Decimal, annual: Fraction, nth: int) -> tuple[Fraction, Reason]:
        """Split the year's price after discount and markup: the instalments sum to that, exactly."""
        exact = round_half_up(annual, EXACT_PLACES)
        places = max(self.places, places_of(exact.normalize()))
        value = allocate(exact, [1] * 12, places)[nth]
        return Fraction(value), Reason(
            rule="price.instalment",
            inputs={
                "annual_price": plain(listed),
                "annual_price_asked": plain(exact),
                "instalment": f"{nth + 1} of 12",
                "unit_price": plain(value),
            },
        )

    def _listed(self, question: PriceQuestion) -> tuple[Decimal | None, Decimal | None]:
        """Return unit price and annual price; one of them is None."""
        unit, annual = self.subscription.unit_price, self.subscription.annual_price
        for event in sorted(self.subscription.events or (), key=lambda event: event.date):
            if event.unit_price is None and event.annual_price is None:
                continue
            renewed = event.type == "renew" and event.date <= question.term_start
            converted = (
                event.type == "convert" and event.date <= question.on and event.sku == question.sku
            )
            if renewed or converted:
                unit, annual = event.unit_price, event.annual_price
        return unit, annual


def _one_time(
    scenario: Scenario, subscription: Subscription, window: Period, factor: Fraction
) -> list[Charge]:
    day = subscription.start
    if day not in window or not subscription.quantity:
        return []
    price = Fraction(subscription.unit_price or 0) * factor
    exact = subscription.quantity * price
    amount = Money.rounded(exact, scenario.currency)
    service = Period(day, day)
    return [
        Charge(
            key=f"charge/{subscription.id}/one_time/{day}",
            customer_id="",
            subscription_id=subscription.id,
            type=ChargeType.ONE_TIME,
            name=subscription.sku,
            sku=subscription.sku,
            service=service,
            full=service,
            quantity=Decimal(subscription.quantity),
            unit_price=round_half_up(price, 10),
            exact=exact,
            amount=amount,
            why=f"{subscription.quantity} bought once on {day} × {plain(price)} = {amount}",
            reasons=(Reason(rule="price.unit", inputs={"unit_price": plain(price)}),),
        )
    ]


def _rate_usage(scenario: Scenario, window: Period) -> tuple[list[Charge], list[Finding]]:
    by_meter: dict[str, list[Usage]] = defaultdict(list)
    for usage in scenario.usage or ():
        known = scenario.as_of is None or usage.date <= scenario.as_of
        if usage.date in window and known:
            by_meter[usage.meter].append(usage)
    rules = [r for r in scenario.markup_rules or () if r.match.kind in {None, "usage"}]
    named = [r for r in rules if r.match.kind] or rules
    charges: list[Charge] = []
    findings: list[Finding] = []
    for meter, lines in sorted(by_meter.items()):
        if len(named) != 1:
            findings.append(_no_rule(meter) if not named else _tie(meter, len(named)))
            continue
        charges.append(_meter_charge(scenario, meter, lines, named[0].percent))
    return charges, findings


def _meter_charge(
    scenario: Scenario, meter: str, lines: Sequence[Usage], percent: Decimal
) -> Charge:
    basis = sum(
        (
            Fraction(u.cost)
            if u.cost is not None
            else Fraction(u.quantity) * Fraction(u.unit_price)
            for u in lines
        ),
        Fraction(0),
    )
    exact = basis * (100 + Fraction(percent)) / 100
    amount = Money.rounded(exact, scenario.currency)
    days = [u.date for u in lines]
    service = Period(min(days), date.fromordinal(max(days).toordinal() + 1))
    inputs: Mapping[str, str] = {
        "lines": str(len(lines)),
        "basis": plain(basis),
        "percent": plain(percent),
    }
    return Charge(
        key=f"charge/usage/{meter}/{service.start}",
        customer_id="",
        subscription_id="",
        type=ChargeType.USAGE,
        name=meter,
        sku=meter,
        service=service,
        full=service,
        quantity=sum((u.quantity for u in lines), Decimal(0)),
        unit_price=amount.amount,
        exact=exact,
        amount=amount,
        why=f"{len(lines)} usage {'line' if len(lines) == 1 else 'lines'} of {meter}: {plain(basis)} × (100 + {plain(percent)}) / 100"
        f" = {amount}",
        reasons=(Reason(rule="usage.percent", inputs=inputs),),
    )


def _no_rule(meter: str) -> Finding:
    return Finding(
        check="price.missing",
        severity=Severity.HOLD,
        customer_id="",
        record=f"meter {meter}",
        sentence=f"No markup rule covers the usage of {meter}.",
        hint="add a rule with match kind usage",
    )


def _tie(record: str, count: int) -> Finding:
    return Finding(
        check="price.tie",
        severity=Severity.HOLD,
        customer_id="",
        record=record,
        sentence=f"{count} markup rules apply equally to {record}.",
        hint="keep one of them",
    )
