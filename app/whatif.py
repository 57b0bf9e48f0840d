"""Rate a scenario file: a quote, a forecast, and an outside check of the engine.

The format is section 8 of the design, in its first form: sell side, charge cycles, proration by
actual days, percent markups. A field that is not known, and a value that is not offered yet, is
refused with one sentence; nothing is ignored in silence.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from domain.charge import Charge, ChargeType, Reason
from domain.money import Money, allocate, minor_units, plain
from domain.period import BillingCycle, Period, TermDuration, add_months
from domain.problems import Finding, InputError, Severity
from domain.subscription import EventType, SubscriptionEvent
from rules.events import order
from rules.proration import PriceQuestion, UnitPrice, rate_history

MAX_BYTES = 16 * 1024 * 1024
MAX_YEARS = 40
MAX_PLACES = 18
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")


def _number(value: Any) -> Decimal:
    """Accept a number or the text of one; nothing that has passed through a float."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        msg = "must be a number or the text of one"
        raise ValueError(msg)  # noqa: TRY004 - pydantic reports ValueErrors
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        msg = f"{value[:30]!r} is not a number"
        raise ValueError(msg)
    number = Decimal(value)
    if not number.is_finite() or _places(number) > MAX_PLACES:
        msg = f"must be a number of at most {MAX_PLACES} decimals"
        raise ValueError(msg)
    return number


def _day(value: Any) -> date:
    """Accept a date as written in JSON; a number would be taken for a time stamp."""
    try:
        if isinstance(value, str) and len(value) == 10:
            return date.fromisoformat(value)
    except ValueError:
        pass
    msg = "must be a date written as 2026-02-15"
    raise ValueError(msg)


Amount = Annotated[Decimal, BeforeValidator(_number), Field(strict=True, ge=-(10**12), le=10**12)]
Day = Annotated[date, BeforeValidator(_day)]
Seats = Annotated[int, Field(strict=True, ge=0, le=10**7)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Contract(_Part):
    frequency: Literal["P1M"] = "P1M"
    anchor_day: Annotated[int, Field(strict=True, ge=1, le=31)] = 1
    timing: Literal["advance", "arrears"] = "advance"
    align: Literal["charge_cycle"] = "charge_cycle"
    proration: Literal["days"] = "days"
    rounding: Literal["half_up"] = "half_up"
    reductions: Literal["window", "any"] = "window"


class _Promotion(_Part):
    percent: Annotated[Amount, Field(gt=0, le=100)]
    until: Day | None = None


class _Event(_Part):
    date: Day
    type: Literal["set_quantity", "cancel", "convert", "renew"]
    quantity: Seats | None = None
    sku: str | None = None
    unit_price: Amount | None = None
    annual_price: Amount | None = None

    @model_validator(mode="after")
    def _fits(self) -> _Event:
        wanted = {
            "set_quantity": {"quantity"},
            "cancel": set(),
            "convert": {"sku", "unit_price", "annual_price", "quantity"},
            "renew": {"unit_price", "annual_price", "quantity", "sku"},
        }[self.type]
        given = {
            name
            for name in ("quantity", "sku", "unit_price", "annual_price")
            if getattr(self, name) is not None
        }
        if given - wanted:
            msg = f"a {self.type} has no {', '.join(sorted(given - wanted))}"
            raise ValueError(msg)
        if self.type == "set_quantity" and self.quantity is None:
            msg = "a set_quantity needs a quantity"
            raise ValueError(msg)
        if self.type == "convert" and (
            self.sku is None or (self.unit_price is None) == (self.annual_price is None)
        ):
            msg = "a convert needs a sku and one of unit_price and annual_price"
            raise ValueError(msg)
        return self


class _Subscription(_Part):
    id: Annotated[str, Field(min_length=1, max_length=100)]
    sku: str
    term: TermDuration | None
    billing_cycle: BillingCycle
    start: Day
    quantity: Seats
    unit_price: Annotated[Amount, Field(ge=0)] | None = None
    annual_price: Annotated[Amount, Field(ge=0)] | None = None
    custom_term_end: Day | None = None
    promotion: _Promotion | None = None
    auto_renew: Annotated[bool, Field(strict=True)] = True
    events: tuple[_Event, ...] | None = None

    @model_validator(mode="after")
    def _fits(self) -> _Subscription:
        if (self.unit_price is None) == (self.annual_price is None):
            msg = "needs one of unit_price and annual_price"
            raise ValueError(msg)
        if self.annual_price is not None and self.billing_cycle is not BillingCycle.MONTHLY:
            msg = "annual_price is for monthly billing; give unit_price for other cycles"
            raise ValueError(msg)
        one_time = self.billing_cycle is BillingCycle.ONE_TIME
        if one_time and (self.term is not None or self.events or self.custom_term_end):
            msg = "a one_time purchase has no term, no term end and no events"
            raise ValueError(msg)
        months = self.billing_cycle.months
        if self.term is not None and months is not None and months > self.term.months:
            msg = f"a term of {self.term} cannot be billed {self.billing_cycle}"
            raise ValueError(msg)
        ends = self.custom_term_end
        if ends is not None and (
            ends <= self.start or (self.term and ends > add_months(self.start, self.term.months))
        ):
            msg = "custom_term_end must lie inside the first term"
            raise ValueError(msg)
        for event in self.events or ():
            if event.date < self.start:
                msg = f"the {event.type} on {event.date} comes before the start {self.start}"
                raise ValueError(msg)
        return self


class _Usage(_Part):
    meter: Annotated[str, Field(min_length=1)]
    date: Day
    quantity: Amount
    unit_price: Amount
    cost: Amount | None = None


class _Match(_Part):
    kind: Literal["usage", "subscription"] | None = None


class _Rule(_Part):
    match: _Match = _Match()
    percent: Amount


class _Bill(_Part):
    start: Day = Field(alias="from")
    to: Day

    @model_validator(mode="after")
    def _fits(self) -> _Bill:
        if not self.start < self.to <= add_months(self.start, 12 * MAX_YEARS):
            msg = f"from must come before to, at most {MAX_YEARS} years"
            raise ValueError(msg)
        return self


class Scenario(_Part):
    """One scenario, checked."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    side: Literal["sell"] = "sell"
    as_of: Day | None = None
    contract: _Contract = _Contract()
    subscriptions: tuple[_Subscription, ...] | None = None
    usage: tuple[_Usage, ...] | None = None
    markup_rules: tuple[_Rule, ...] | None = None
    tax: None = None
    bill: _Bill

    @model_validator(mode="after")
    def _fits(self) -> Scenario:
        ids = [subscription.id for subscription in self.subscriptions or ()]
        if len(ids) != len(set(ids)):
            msg = "two subscriptions have one id"
            raise ValueError(msg)
        return self


def rate_file(path: Path) -> dict[str, Any] | list[dict[str, Any]]:
    """Read a scenario file and answer it; InputError names file and field of what is wrong."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES} bytes", hint="split the file")
        content = json.loads(
            path.read_text(encoding="utf-8"), parse_float=Decimal, object_pairs_hook=_once
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint="give the path of a JSON file") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON: {error}", hint="check the file") from None
    if isinstance(content, list):
        return [rate(_read(path, part, f"[{n}].")) for n, part in enumerate(content)]
    return rate(_read(path, content, ""))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says one thing twice: which of the two is meant, nobody knows."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)
        raise ValueError(f"the field {twice} stands twice in one object")
    return found


def _read(path: Path, content: Any, where: str) -> Scenario:
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = where + ".".join(str(part) for part in fault["loc"])
        what = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            what = "is not a field of this format"
        raise InputError(
            f"{path}: {field.rstrip('.') or 'the scenario'}: {what}",
            hint="the format is described in docs/whatif.md",
        ) from None


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
        "unit_price": str(charge.unit_price) if charge.unit_price == 0 else _price(charge),
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
    scenario: Scenario, subscription: _Subscription, window: Period, factor: Fraction
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


def _history(scenario: Scenario, subscription: _Subscription) -> list[SubscriptionEvent]:
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

    def __init__(self, subscription: _Subscription, factor: Fraction, currency: str) -> None:
        self.subscription = subscription
        self.factor = factor
        self.places = minor_units(currency)

    def __call__(self, question: PriceQuestion) -> UnitPrice | Finding:
        value, reason = self._listed(question)
        reasons = [reason]
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
        return UnitPrice(value=value, reasons=tuple(reasons))

    def _listed(self, question: PriceQuestion) -> tuple[Fraction, Reason]:
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
        if annual is None:
            value = Fraction(unit or 0)
            return value, Reason(rule="price.unit", inputs={"unit_price": plain(value)})
        instalments = allocate(annual, [1] * 12, max(self.places, _places(annual)))
        nth = question.cycle_index % 12
        return Fraction(instalments[nth]), Reason(
            rule="price.instalment",
            inputs={
                "annual_price": plain(annual),
                "instalment": f"{nth + 1} of 12",
                "unit_price": plain(instalments[nth]),
            },
        )


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _one_time(
    scenario: Scenario, subscription: _Subscription, window: Period, factor: Fraction
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
            unit_price=Money.rounded(price, scenario.currency).amount,
            exact=exact,
            amount=amount,
            why=f"{subscription.quantity} bought once on {day} × {plain(price)} = {amount}",
            reasons=(Reason(rule="price.unit", inputs={"unit_price": plain(price)}),),
        )
    ]


def _rate_usage(scenario: Scenario, window: Period) -> tuple[list[Charge], list[Finding]]:
    by_meter: dict[str, list[_Usage]] = defaultdict(list)
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
    scenario: Scenario, meter: str, lines: Sequence[_Usage], percent: Decimal
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
