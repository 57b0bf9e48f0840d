"""One line: what it costs exactly, what it is rounded to, the sentence that says so, its charges.

The customer's line is rounded once, half up, after quantity, price and share were multiplied.
Microsoft's is its prorated unit, rounded, times the quantity. Both tell their inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from domain.charge import Charge, ChargeType, Reason, charge_of, reason_of
from domain.contract import Proration
from domain.money import Money, allocate, minor_units, plain, price_text, round_half_up
from domain.period import BillingCycle, Grid, Period, TermDuration
from domain.problems import Finding
from domain.record import stored_plainly
from rules.cycles import Instalments, Method, Rounding, divisor, round_unit, share, weighing


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPrice:
    """The price of one unit for one full cycle, exact, with what it was made from."""

    value: Fraction
    reasons: tuple[Reason, ...]
    cost: Decimal | None = None
    covers: int | None = None
    """Months that `value` pays for, where that is more than a cycle: a year billed monthly is 12."""
    until: date | None = None
    """It holds for the same term and product from the day it was asked for until before this one;
    None: ask again for each cycle."""
    doubt: Finding | None = None
    """Why a person should look before anybody is asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A computed line, without its kind and its days: whole cycles repeat themselves."""

    quantity: Decimal
    unit_price: Decimal
    exact: Fraction
    amount: Money
    factors: str
    result: str
    reasons: tuple[Reason, ...]
    price: UnitPrice

    def sentence(self, kind: ChargeType) -> tuple[str, str]:
        """Say what a customer can recompute with a pocket calculator; its days go in between."""
        return f"{self.quantity} {_VERB[kind]} {self.factors}(", self.result

    def capped(self, left: Decimal) -> Line:
        """Return the credit that takes no more than what is left of what was charged."""
        if -self.amount.amount <= left:
            return self
        amount = Money(-max(left, Decimal(0)), self.amount.currency)
        return replace(
            self,
            amount=amount,
            result=f"{self.result}, of which {-amount.amount:f} {amount.currency} had been charged",
            reasons=(*self.reasons, Reason(rule="credit.cap", inputs={"left": str(left)})),
        )


_line_of = stored_plainly(Line)


@dataclass(slots=True, kw_only=True)
class Charges:
    """The charges of one subscription as they are made from lines, each with its own key."""

    subscription_id: str
    customer_id: str
    name: str
    made: list[Charge] = field(default_factory=list)
    _last: dict[str, tuple[date, int]] = field(default_factory=dict)
    """The last day of each kind of key, and how many charges of that day came before."""

    def add(  # noqa: PLR0917 - what, why, of which product, under which key, for which days
        self,
        line: Line,
        kind: ChargeType,
        sku: str,
        slot: str,
        services: Sequence[Period],
        full: Period | None = None,
    ) -> None:
        """Make a charge of a line for each service; all but the first of them are mere cycles.

        Without a `full` period each service is a whole one.
        """
        before, after = line.sentence(kind)
        start = services[0].start
        day, ordinal = self._last.get(slot, (start, -1))
        ordinal = ordinal + 1 if day == start else 0
        for service in services:
            first_day, days = written(service)
            self.made.append(
                charge_of(
                    key=f"charge/{self.subscription_id}/{slot}/{first_day}/{ordinal}",
                    customer_id=self.customer_id,
                    subscription_id=self.subscription_id,
                    type=kind,
                    name=self.name,
                    sku=sku,
                    service=service,
                    full=full or service,
                    quantity=line.quantity,
                    unit_price=line.unit_price,
                    exact=line.exact,
                    amount=line.amount,
                    unit_cost=line.price.cost,
                    why=f"{before}{days}{after}",
                    reasons=line.reasons,
                )
            )
            self._last[slot] = (service.start, ordinal)
            ordinal = 0
            if kind is not ChargeType.CYCLE and service is not services[-1]:
                kind = ChargeType.CYCLE
                before, after = line.sentence(kind)


def compute(
    method: Method,
    price: UnitPrice,
    quantity: int,
    *,
    service: Period,
    full: Period,
    grid: Grid,
    term: TermDuration | None,
    billing_cycle: BillingCycle,
    split: Instalments | None = None,
    returned: bool = False,
) -> Line:
    """Compute the line for a quantity (negative: a credit) of what is served of a `full` period.

    `split` are the lines that the price pays for, where they are several. What is `returned` was in
    use before: a month that has begun is not given back.
    """
    currency = method.currency
    unit_price, value, priced = _shown(price.value.numerator, price.value.denominator, currency)
    inputs = {"quantity": str(quantity), "unit_price": value}
    rule, factor, within = "proration.none", "", ""
    served, whole = 1, 1
    nth = None if split is None else split.nth(service)
    proration = method.proration if nth is None else weighing(method.proration)
    if service is not full and service != full:
        served, whole = share(proration, service, full, grid, returned=returned)
        cycle = written(full)[1]
        inputs["days"] = str(service.days)
        inputs["cycle_days"] = str(divisor(proration, full, grid))
        inputs["cycle"] = cycle
        unit = "days"
        if proration is Proration.MONTHS and grid.months:
            inputs["months"], inputs["cycle_months"] = str(served), str(whole)
            unit = "months"
        rule = f"proration.{proration}"
        factor = f" × {served}/{whole} {unit}"
        within = f" of the cycle {cycle}"
    if split is not None:
        unit_price = round_half_up(price.value / split.total, 10)
        inputs["parts"] = plain(split.total)
        factor += f" ÷ {plain(split.total, 6)}"
        if nth is not None:
            inputs["instalment"] = f"{nth + 1} of {len(split.pieces)}"
            factor += f", instalment {inputs['instalment']}"
    exact, amount = _money(method, price.value, quantity, (served, whole), split=split, nth=nth)
    said = str(amount.amount)
    per = _PER.get(price.covers or 0) or _CYCLE_WORDS[billing_cycle]
    rounding = {"exact": plain(exact), "amount": said}
    return _line_of(
        quantity=Decimal(quantity),
        unit_price=unit_price,
        exact=exact,
        amount=amount,
        factors=f"× {priced} {currency} {per}{factor} ",
        result=f"{within}) = {said} {amount.currency}",
        reasons=(
            _term_reason(term, billing_cycle),
            *price.reasons,
            reason_of(rule=rule, inputs=inputs),
            reason_of(rule=f"rounding.{method.rounding}", inputs=rounding),
        ),
        price=price,
    )


# Thousands of lines share a few hundred prices; two integers are found faster than a Fraction.
@lru_cache(maxsize=1 << 16)
def _shown(above: int, below: int, currency: str) -> tuple[Decimal, str, str]:
    value = Fraction(above, below)
    return round_half_up(value, 10), plain(value), price_text(value, currency)


@lru_cache
def _term_reason(term: TermDuration | None, billing_cycle: BillingCycle) -> Reason:
    inputs = {"term": term.value if term else "", "billing_cycle": billing_cycle.value}
    return Reason(rule="term", inputs=inputs)


def _money(
    method: Method,
    value: Fraction,
    quantity: int,
    part: tuple[int, int],
    *,
    split: Instalments | None,
    nth: int | None,
) -> tuple[Fraction, Money]:
    """Return the exact and the rounded amount of a line; ours rounds once, Microsoft the unit."""
    # One fraction, reduced once: a product of fractions would reduce each of its steps.
    above, below = value.numerator * part[0], value.denominator * part[1]
    if split is not None:
        above, below = above * split.total.denominator, below * split.total.numerator
    exact = Fraction(quantity * above, below)
    if method.rounding is Rounding.HALF_UP:
        if split is None or nth is None:
            return exact, Money.rounded(exact, method.currency)
        whole = Money.rounded(quantity * value, method.currency)
        return exact, whole.allocate(split.weights)[nth]
    places = minor_units(method.currency)
    if split is None or nth is None:
        unit = round_unit(method.rounding, Fraction(above, below), places)
    else:
        year = round_half_up(round_unit(method.rounding, value, places), places)
        unit = Fraction(allocate(year, split.weights, places)[nth])
    return quantity * unit, Money.rounded(quantity * unit, method.currency)


_VERB = {
    ChargeType.NEW: "bought",
    ChargeType.CYCLE: "running",
    ChargeType.RENEW: "renewed",
    ChargeType.ADD_QUANTITY: "added",
    ChargeType.REMOVE_QUANTITY: "given back",
    ChargeType.CANCEL: "cancelled",
    ChargeType.CONVERT: "converted",
    ChargeType.TRANSFER: "transferred",
}
_CYCLE_WORDS = {
    BillingCycle.WEEKLY: "a week",
    BillingCycle.MONTHLY: "a month",
    BillingCycle.QUARTERLY: "a quarter",
    BillingCycle.HALF_YEARLY: "a half-year",
    BillingCycle.ANNUAL: "a year",
    BillingCycle.TRIENNIAL: "for three years",
}
_PER = {12: "a year", 36: "for three years"}


@lru_cache(maxsize=1 << 16)
def written(period: Period) -> tuple[str, str]:
    """Return the first day of a period and all its days as text: many lines share few periods."""
    return str(period.start), str(period)
