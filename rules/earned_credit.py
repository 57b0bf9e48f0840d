"""Partner earned credit: how much a metered line was lowered by it, and what it cost before.

Microsoft lowers the effective unit price of usage that the partner manages, by a percentage that
stands in the line's price adjustments and in each daily line of the full attribute set. Where
neither tells, the unit prices are compared with Microsoft's own formula: FLOOR(units x list price x
(1 - credit), 2) / units. What fits neither no credit nor the usual one is not known, and is told; nor
is it where line and days contradict, or where words that are not understood lowered the price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from domain.money import Money, minor_units, round_half_up
from domain.period import Period
from domain.subscription import CostKind, CostLine

USUAL_PERCENT = Decimal(15)
"""The only rate that Microsoft has published."""

_CENT = Fraction(1, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """The credit of one line: its percentage, who says so, and the line's cost before it."""

    percent: Decimal
    source: str
    before: Fraction
    """In the currency of the line; the cost itself where there was no credit."""


def earned(line: CostLine) -> Earned | None:
    """Return the credit in a metered line; None where it is not known."""
    daily = {share.earned_percent for share in line.shares if not share.benefit}
    if line.earned_percent is not None:
        if daily - {None, line.earned_percent}:
            return None
        percent, source = line.earned_percent, "invoice line"
    elif len(daily) == 1 and None not in daily:
        (told,) = daily
        percent, source = told or Decimal(0), "daily lines"
    else:
        found = _by_prices(line)
        if found is None or (found and line.adjustments):
            return None
        percent, source = found, "unit prices"
    if not 0 <= percent < 100:
        return None
    return Earned(percent=percent, source=source, before=_before(line, percent))


def _by_prices(line: CostLine) -> Decimal | None:
    listed, paid = Fraction(line.unit_price), Fraction(line.effective_unit_price)
    if listed == paid:
        return Decimal(0)
    units = Fraction(line.billable_quantity)
    usual = listed * Fraction(100 - USUAL_PERCENT) / 100
    # Below one unit of money a cent is too coarse to tell this credit from another reduction.
    floored = abs(paid * units - _cut(usual * units)) < _CENT / 100
    return USUAL_PERCENT if paid == usual or (floored and listed * units >= 1) else None


def _before(line: CostLine, percent: Decimal) -> Fraction:
    """Return what the line would have cost: by Microsoft's formula, else in proportion.

    The formula is taken where it explains the line to the cent; tiers or another reduction beside
    the credit leave the proportion, which is exact but for the cent that Microsoft cut off.
    """
    cost = Fraction(line.subtotal)
    if not percent or not cost:
        return cost
    left = 1 - Fraction(percent) / 100
    return _month_total(line, Fraction(1)) if _month_total(line, left) == cost else cost / left


def _month_total(line: CostLine, left: Fraction) -> Fraction:
    """ROUNDDOWN(ROUNDDOWN(units x price, 2) x rate, 2), Microsoft's rule for metered lines."""
    priced = _cut(Fraction(line.unit_price) * Fraction(line.billable_quantity) * left)
    return _cut(priced * Fraction(line.exchange_rate))


def _cut(value: Fraction) -> Fraction:
    return int(value * 100) * _CENT


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditOfMonth:
    """What partner earned credit came to in one calendar month."""

    month: str
    """YYYY-MM"""
    per_day: tuple[Money, ...]
    """By currency, over the days of the month, rounded half up."""


def newest_credit(lines: Iterable[CostLine]) -> CreditOfMonth | None:
    """Return the credit of the newest month in which any was earned; None where none is known.

    The newest month with usage may have none because access is lost already: the question is what
    having it was worth.
    """
    months: dict[str, dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for line in lines:
        if line.kind is not CostKind.USAGE or line.charged is None:
            continue
        found = earned(line)
        if found is not None and found.percent:
            month = f"{line.charged.start:%Y-%m}"
            months[month][line.currency] += found.before - Fraction(line.subtotal)
    for month in sorted(months, reverse=True):
        days = Period.month(month).days
        per_day = tuple(
            Money(round_half_up(sum_ / days, minor_units(currency)), currency)
            for currency, sum_ in sorted(months[month].items())
            if sum_ > 0
        )
        if per_day:
            return CreditOfMonth(month=month, per_day=per_day)
    return None
