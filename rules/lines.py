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
from rules.cycles import Instalments, Method, Rounding, Side, divisor, months_in, round_unit, share


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
    """A computed line; its text around the service is kept, as whole cycles repeat themselves."""

    quantity: Decimal
    unit_price: Decimal
    exact: Fraction
    amount: Money
    head: str
    tail: str
    reasons: tuple[Reason, ...]
    price: UnitPrice

    def sentence(self, service: Period) -> str:
        """Say what a customer can recompute with a pocket calculator."""
        return f"{self.head}({day_text(service.start)} to {_day_before(service.end)}{self.tail}"

    def capped(self, left: Decimal) -> Line:
        """Return the credit that takes no more than what is left of what was charged."""
        if -self.amount.amount <= left:
            return self
        amount = Money(-max(left, Decimal(0)), self.amount.currency)
        return replace(
            self,
            amount=amount,
            tail=f"{self.tail}, of which {-amount.amount:f} {amount.currency} had been charged",
            reasons=(*self.reasons, Reason(rule="credit.cap", inputs={"left": str(left)})),
        )


def compute(method: Method, price: UnitPrice, place: Place, quantity: int) -> Line:
    """Compute the line for a quantity (negative: a credit) at the price of a full cycle."""
    service, full, split = place.service, place.full, place.split
    exact, amount = _money(method, price.value, place, quantity)
    inputs = {
        "quantity": str(quantity),
        "unit_price": plain(price.value),
        "days": str(service.days),
        "cycle_days": str(divisor(method.proration, full, place.grid)),
    }
    factor = ""
    if service != full:
        inputs["cycle"] = str(full)
        days = min(service.days, int(inputs["cycle_days"]))
        factor = f" × {days}/{inputs['cycle_days']} days"
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
    within = "" if service == full else f" of the cycle {full}"
    term = {"term": place.term.value if place.term else "", "billing_cycle": place.billing_cycle}
    return Line(
        quantity=Decimal(quantity),
        unit_price=round_half_up(price.value / (split.total if split is not None else 1), 10),
        exact=exact,
        amount=amount,
        head=(
            f"{quantity} {_verb(method, place.kind, quantity)} × {plain(price.value)} "
            f"{method.currency} "
            f"{per}{factor} "
        ),
        tail=f"{within}) = {amount.amount:f} {amount.currency}",
        reasons=(
            Reason(rule="term", inputs=term),
            *price.reasons,
            Reason(rule=f"proration.{method.proration.value}", inputs=inputs),
            Reason(
                rule=f"rounding.{method.rounding.value}",
                inputs={"exact": plain(exact), "amount": str(amount.amount)},
            ),
        ),
        price=price,
    )


def _money(method: Method, value: Fraction, place: Place, quantity: int) -> tuple[Fraction, Money]:
    """Return the exact and the rounded amount of a line; ours rounds once, Microsoft the unit."""
    currency, places, split = method.currency, minor_units(method.currency), place.split
    nth = place.instalment
    part = share(
        method.proration, place.service, place.full, place.grid, returned=place.returned
    ) / (split.total if split is not None else 1)
    exact = quantity * value * part
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


def _verb(method: Method, kind: ChargeType, quantity: int) -> str:
    if method.side is Side.COST and kind in {ChargeType.ADD_QUANTITY, ChargeType.REMOVE_QUANTITY}:
        return "credited (the old total)" if quantity < 0 else "charged (the new total)"
    return _VERB[kind]


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
