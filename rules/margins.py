"""What each product of each customer costs and brings in.

Meters are told together as their product, because lines of an invoice put them together in their
own way. Cost in another currency than the sale is turned by the latest rate up to the month's end;
without a rate both are shown apart, and never added up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from domain.contract import ExchangeRate
from domain.money import Money
from domain.period import Period
from domain.reconciliation import Margin, Match, SoldLine
from domain.subscription import CostKind, CostLine

_Product = tuple[str, str]
"""A customer and a product:sku."""


def margins(
    lines: Sequence[CostLine],
    sold: Sequence[SoldLine],
    matches: Sequence[Match],
    rates: Sequence[ExchangeRate] = (),
    period: Period | None = None,
) -> tuple[Margin, ...]:
    """Return the margin of every customer and product that costs or brings in anything, by both."""
    known = _latest(rates, period)
    product_of = {key: match.product for match in matches for key in match.sold_lines}
    metered = {line.key: line.product_id for line in lines if line.kind is CostKind.USAGE}
    for match in matches:
        used = next((metered[key] for key in match.cost_lines if key in metered), None)
        if used is not None:
            product_of.update(dict.fromkeys(match.sold_lines, used))
    names: dict[_Product, str] = {}
    cost: dict[_Product, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    income: dict[_Product, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for line in lines:
        is_usage = line.kind is CostKind.USAGE
        place = line.customer_id, line.product_id if is_usage else line.sku
        names.setdefault(place, "Metered usage" if is_usage else line.name)
        cost[place][line.currency] += line.subtotal
    usage = set(metered.values())
    for one in sold:
        product = product_of.get(one.key, "")
        place = one.customer_id, product if product in usage else one.sku or product or one.name
        names.setdefault(place, one.name or one.sku)
        income[place][one.currency] += one.amount
    found: list[Margin] = []
    for place in sorted({*cost, *income}):
        found.extend(_of_one(place, names[place], cost[place], dict(income[place]), known))
    return tuple(found)


def _of_one(
    place: _Product,
    name: str,
    cost: Mapping[str, Decimal],
    income: dict[str, Decimal],
    rates: Mapping[tuple[str, str], Decimal],
) -> list[Margin]:
    costs: dict[str, Decimal] = defaultdict(Decimal)
    # Cost goes where the product is sold; sold in two currencies, it is not split by a guess.
    target = next(iter(income)) if len(income) == 1 else ""
    for currency, amount in cost.items():
        rate = rates.get((currency, target))
        if currency != target and target and rate is not None:
            costs[target] += Money.rounded(Fraction(amount) * Fraction(rate), target).amount
        else:
            costs[currency] += amount
    currencies = sorted({*costs, *income})
    apart = len(currencies) > 1
    zero = Decimal("0.00")
    return [
        Margin(
            customer_id=place[0],
            product=place[1],
            name=name,
            currency=currency,
            cost=costs.get(currency, zero),
            sold=income.get(currency, zero),
            margin=None if apart else income.get(currency, zero) - costs.get(currency, zero),
        )
        for currency in currencies
    ]


def _latest(rates: Sequence[ExchangeRate], period: Period | None) -> dict[tuple[str, str], Decimal]:
    """Return the one rate of each pair that the month ended with; two that disagree are none."""
    told: dict[tuple[str, str], dict[object, set[Decimal]]] = defaultdict(lambda: defaultdict(set))
    for rate in rates:
        if period is None or rate.on < period.end:
            told[rate.base, rate.quote][rate.on].add(rate.rate)
    found: dict[tuple[str, str], Decimal] = {}
    for pair, days in told.items():
        last = days[max(days, key=str)]
        if len(last) == 1:
            found[pair] = next(iter(last))
    return found
