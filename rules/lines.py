"""One line: what it costs exactly, what it is rounded to, and the sentence that says so.

The customer's line is rounded once, half up, after quantity, price and share were multiplied.
Microsoft's is its prorated unit, rounded, times the quantity. Both tell their inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from domain.charge import ChargeType, Reason
from domain.contract import Proration
from domain.money import Money, allocate, minor_units, plain, round_half_up
from domain.period import BillingCycle, Grid, Period, TermDuration
from rules.cycles import Instalments, Method, Rounding, divisor, months_in, round_unit, share


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPrice:
    """The price of one unit for one full cycle, exact, with what it was made from."""

    value: Fraction
    reasons: tuple[Reason, ...]
    cost: Decimal | None = None
    covers: int | None = None
    """Months that `value` pays for, where that is more than a cycle: a year billed monthly is 12."""
    until: date | None = None
    """It holds for the same term and product before this day; None: ask again for each cycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a line stands: what is served of which full period, in which term, and why."""

    kind: ChargeType
    service: Period
    full: Period
    grid: Grid
    term: TermDuration | None
    billing_cycle: BillingCycle
    split: Instalments | None = None
    """The lines that the price pays for, where they are several."""
    returned: bool = False
    """Given back after it was in use: a month that has begun is not given back."""

    @property
    def instalment(self) -> int | None:
        """Which of the lines of its price this is; None where it is only a part of one."""
        if self.split is None or self.service not in self.split.pieces:
            return None
        return self.split.pieces.index(self.service)


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

    def sentence(self, kind: ChargeType, service: Period) -> str:
        """Say what a customer can recompute with a pocket calculator."""
        return (
            f"{self.quantity} {_VERB[kind]} {self.factors}"
            f"({day_text(service.start)} to {_day_before(service.end)}{self.result}"
        )

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


def compute(method: Method, price: UnitPrice, place: Place, quantity: int) -> Line:
    """Compute the line for a quantity (negative: a credit) at the price of a full cycle."""
    service, full, split = place.service, place.full, place.split
    exact, amount = _money(method, price.value, place, quantity)
    value = plain(price.value)
    inputs = {"quantity": str(quantity), "unit_price": value}
    factor = within = ""
    rule = "proration.none"
    if service != full:
        days, cycle_days = service.days, divisor(method.proration, full, place.grid)
        inputs |= {"days": str(days), "cycle_days": str(cycle_days), "cycle": str(full)}
        within = f" of the cycle {full}"
        factor = f" × {min(days, cycle_days)}/{cycle_days} days"
        rule = f"proration.{method.proration.value}"
        if method.proration is Proration.MONTHS and place.grid.months:
            months = str(months_in(service, place.grid, returned=place.returned))
            inputs |= {"months": months, "cycle_months": str(place.grid.months)}
            factor = f" × {months}/{place.grid.months} months"
    if split is not None:
        inputs["parts"] = plain(split.total)
        factor += f" ÷ {plain(split.total, 6)}"
        if (nth := place.instalment) is not None:
            inputs["instalment"] = f"{nth + 1} of {len(split.pieces)}"
            factor += f", instalment {inputs['instalment']}"
    per = _PER.get(price.covers or 0) or _CYCLE_WORDS[place.billing_cycle]
    said = str(amount.amount)
    return Line(
        quantity=Decimal(quantity),
        unit_price=round_half_up(price.value / split.total if split else price.value, 10),
        exact=exact,
        amount=amount,
        factors=f"× {value} {method.currency} {per}{factor} ",
        result=f"{within}) = {said} {amount.currency}",
        reasons=(
            _term_reason(place.term, place.billing_cycle),
            *price.reasons,
            Reason(rule=rule, inputs=inputs),
            Reason(
                rule=f"rounding.{method.rounding.value}",
                inputs={"exact": plain(exact), "amount": said},
            ),
        ),
        price=price,
    )


@lru_cache
def _term_reason(term: TermDuration | None, billing_cycle: BillingCycle) -> Reason:
    inputs = {"term": term.value if term else "", "billing_cycle": billing_cycle.value}
    return Reason(rule="term", inputs=inputs)


def _money(method: Method, value: Fraction, place: Place, quantity: int) -> tuple[Fraction, Money]:
    """Return the exact and the rounded amount of a line; ours rounds once, Microsoft the unit."""
    currency, places, split = method.currency, minor_units(method.currency), place.split
    nth = place.instalment
    exact = quantity * value
    part = Fraction(1)
    if place.service != place.full or split is not None:
        part = share(
            method.proration, place.service, place.full, place.grid, returned=place.returned
        )
        if split is not None:
            part /= split.total
        exact *= part
    if method.rounding is Rounding.HALF_UP:
        if split is None or nth is None:
            return exact, Money.rounded(exact, currency)
        whole = Money.rounded(quantity * value, currency)
        return exact, whole.allocate(split.weights)[nth]
    if split is None or nth is None:
        unit = round_unit(method.rounding, value * part, places)
    else:
        year = round_half_up(round_unit(method.rounding, value, places), places)
        unit = Fraction(allocate(year, split.weights, places)[nth])
    return quantity * unit, Money.rounded(quantity * unit, currency)


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

day_text = lru_cache(maxsize=1 << 16)(str)
"""A date as text; thousands of lines share a few hundred days."""


@lru_cache(maxsize=1 << 16)
def _day_before(day: date) -> str:
    return str(day - timedelta(days=1))
