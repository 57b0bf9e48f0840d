"""What customers were asked for, beside what Microsoft billed: the points that need a person.

The comparison itself is `rules.four_way`; here it is fed with what a file of own invoices tells, and
its differences, and what could not be compared, become points of the audit.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from app.audit import sold
from app.audit.material import Material
from domain.audit import Point, Weight
from domain.money import plain
from domain.problems import Finding
from domain.reconciliation import Cause, Comparison, Difference, Margin, Remedy, SoldLine
from domain.subscription import CostKind, CostLine
from rules import cost_checks
from rules.four_way import four_way

_MICROSOFTS = re.compile(
    r"microsoft|office|azure|windows|dynamics|m365|o365|\b365\b", re.IGNORECASE
)
"""Words by which a line that names no subscription may still be meant for Microsoft's product."""


def compare(material: Material, compared: sold.Sold) -> Iterable[Point]:
    """Compare what customers should be asked for with what they were asked for."""
    if compared.faults:
        more = f" and {len(compared.faults) - 1:,} more" if compared.faults[1:] else ""
        yield Point(
            check="sold.unreadable",
            cause="missing_rows",
            remedy="download_again",
            weight=Weight.INCOMPLETE,
            sentence=(
                f"{len(compared.faults):,} of your invoice lines cannot be read and are left out: "
                f"{compared.faults[0].removesuffix('.')}{more}."
            ),
            hint="mend the rows: see docs/audit.md for the columns",
        )
    for customer in compared.unknown:
        own = [line for line in compared.lines if line.customer_id == customer]
        yield Point(
            check="sold.unknown_customer",
            cause="missing_subscription",
            remedy=Remedy.NONE.value,
            weight=Weight.ACT,
            customer=customer,
            sentence=f"Your invoices name {customer} on {len(own):,} lines, and no line of Microsoft does.",
            hint="write the customer's name or tenant id as Partner Center does",
        )
    yield from _months_apart(material, compared)
    yield from _other_currencies(material, compared)
    names = {one.line.sku: one.line.name for one in material.billed}
    by_key = {line.key: line for line in compared.lines}
    products = {" ".join(one.line.name.casefold().split()) for one in material.billed}
    asked = {line.customer_id for line in compared.lines}
    never: dict[tuple[str, str], list[Difference]] = defaultdict(list)
    for lines, sides in _sides(material, compared):
        result = four_way(lines, sides)
        differences = [d for d in result.differences if d.comparison is Comparison.CUSTOMER]
        told = {(d.customer_id, d.product) for d in differences if d.remedy is not Remedy.NONE}
        for one in differences:
            if one.customer_id not in asked and one.remedy is Remedy.BILL_CUSTOMER:
                never[one.customer_id, one.currency].append(one)
            elif (line := _own_alone(one, by_key)) and _is_own(line, products):
                yield _own_service(one, line)
            else:
                yield _point_of(one, names)
        yield from (_ambiguous(finding) for finding in result.findings)
        for margin in result.margins:
            if margin.margin is not None and margin.margin < 0 < margin.sold:
                yield _below_cost(margin, known=(margin.customer_id, margin.product) in told)
    for (customer_id, currency), some in never.items():
        amount = sum((one.amount for one in some), Decimal(0))
        yield Point(
            check="sold.never_billed",
            cause="missing_invoice_line",
            remedy=Remedy.BILL_CUSTOMER.value,
            weight=Weight.ACT,
            customer_id=customer_id,
            currency=currency,
            amount=amount,
            sentence=(
                f"Your invoices never name this customer, for whom Microsoft billed "
                f"{cost_checks.money(amount, currency)} in {len(some):,} places, the largest: "
                f"{', '.join(sorted({names.get(one.product, one.product) for one in some[:3]}))}."
            ),
            hint="bill the customer; the worth is your cost, without a margin",
        )


def _sides(
    material: Material, compared: sold.Sold
) -> Iterator[tuple[list[CostLine], list[SoldLine]]]:
    """Yield what is to be compared with what: month by month where the invoices tell only months."""
    known = [line for line in compared.lines if line.customer_id not in compared.unknown]
    months = _months_of(material, compared)
    of_months = material.invoice_months
    there = {months[line.key] for line in known if line.key in months} & {*of_months.values()}
    dated = [line for line in known if months.get(line.key) in there]
    undated = [line for line in known if line.key not in months]

    def billed(wanted: Collection[date]) -> list[CostLine]:
        return [
            one.line
            for one in material.billed
            if of_months[one.line.invoice_id, one.line.currency] in wanted
        ]

    if undated or not compared.months:
        own = [*dated, *undated]
        yield _in_sums(billed({*of_months.values()} if undated else there), own)
        return
    for month in sorted(there):
        own = [line for line in dated if months[line.key] == month]
        yield _in_sums(billed({month}), own)


def _months_of(material: Material, compared: sold.Sold) -> dict[str, date]:
    """Return the month of each own line that tells one: that of Microsoft's invoice for its days."""
    of_months = material.invoice_months
    starts: dict[tuple[str, date], set[date]] = defaultdict(set)
    for one in material.billed:
        if one.line.charged:
            month = of_months[one.line.invoice_id, one.line.currency]
            starts[one.line.customer_id, one.line.charged.start].add(month)
    found = dict(compared.months)
    for line in compared.lines:
        if line.service:
            own = line.service.start.replace(day=1)
            near = starts[line.customer_id, line.service.start]
            found[line.key] = own if own in near or not near else min(near)
    return found


def _months_apart(material: Material, compared: sold.Sold) -> Iterator[Point]:
    """Tell months of which one side alone is there: they are compared with nothing."""
    own: dict[tuple[date, str], list[SoldLine]] = defaultdict(list)
    months = _months_of(material, compared)
    for line in compared.lines:
        if line.key in months:
            own[months[line.key], line.currency].append(line)
    billed: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for one in material.billed:
        month = material.invoice_months[one.line.invoice_id, one.line.currency]
        billed[month, one.line.currency] += one.line.subtotal
    there = {month for month, _ in own}
    if all(line.key in months for line in compared.lines):
        for (month, currency), amount in sorted(billed.items()):
            if month not in there:
                yield _not_compared(
                    f"Your invoices have no line of {month:%B %Y}, for which Microsoft billed "
                    f"{cost_checks.money(amount, currency)}: the month is compared with nothing.",
                    check="sold.month",
                    currency=currency,
                    hint="give your invoices of the month too, or leave Microsoft's file of it out",
                )
    for (month, currency), lines in sorted(own.items()):
        if month not in {known for known, _ in billed}:
            amount = sum((line.amount for line in lines), Decimal(0))
            yield _not_compared(
                f"{len(lines):,} of your lines over {cost_checks.money(amount, currency)} are for "
                f"{month:%B %Y}, of which there is no file of Microsoft.",
                check="sold.alone",
                currency=currency,
                hint="give the reconciliation file of the month too",
            )


def _other_currencies(material: Material, compared: sold.Sold) -> Iterator[Point]:
    """Tell own lines in a currency that Microsoft does not bill the customer in: no rate is known."""
    billed: dict[str, set[str]] = defaultdict(set)
    for one in material.billed:
        billed[one.line.customer_id].add(one.line.currency)
    asked: dict[str, set[str]] = defaultdict(set)
    for line in compared.lines:
        asked[line.customer_id].add(line.currency)
    groups: dict[str, list[SoldLine]] = defaultdict(list)
    for line in compared.lines:
        known = billed.get(line.customer_id)
        # Beside lines in the right currency it is a mistake, which the comparison tells.
        if known and not known & asked[line.customer_id]:
            groups[line.currency].append(line)
    for currency, lines in sorted(groups.items()):
        customers = {line.customer_id for line in lines}
        named = ", ".join(sorted({c for one in customers for c in billed[one]}))
        amount = sum((line.amount for line in lines), Decimal(0))
        yield _not_compared(
            f"{len(lines):,} of your lines for {len(customers):,} "
            f"{'customers' if customers - {lines[0].customer_id} else 'customer'} are in {currency} "
            f"({plain(amount)}), Microsoft bills them in {named}: seats and days are compared, "
            "prices and amounts are not.",
            check="sold.currency_apart",
            currency=currency,
            hint="give your invoices in Microsoft's currency to compare amounts",
        )


def _not_compared(sentence: str, **fields: Any) -> Point:
    return Point(
        cause="missing_rows",
        remedy="download_again",
        weight=Weight.INCOMPLETE,
        sentence=sentence,
        **fields,
    )


def _in_sums(
    lines: Iterable[CostLine], own: Sequence[SoldLine]
) -> tuple[list[CostLine], list[SoldLine]]:
    """Put seat lines of several service periods together where the own lines tell no days.

    Which of several cycles such a line pays for cannot be told: the sum is compared with the sum.
    """
    undated = {(line.customer_id, line.subscription_id) for line in own if line.service is None}
    dated = {(line.customer_id, line.subscription_id) for line in own if line.service}
    groups: dict[tuple[str, ...], list[CostLine]] = defaultdict(list)
    found: list[CostLine] = []
    for line in lines:
        place = line.customer_id, line.subscription_id
        by_product = (line.customer_id, "") in undated and place not in dated
        if line.kind is CostKind.LICENCE and (place in undated or by_product):
            groups[*place, line.sku, line.currency].append(line)
        else:
            found.append(line)
    summed: set[tuple[str, str]] = set()
    for some in groups.values():
        if len({line.charged for line in some}) == 1:
            found.extend(some)
            continue
        first = some[0]
        names = (first.subscription_id, first.sku, first.name.casefold())
        summed.update((first.customer_id, name) for name in names)
        found.append(
            replace(
                first,
                kind=CostKind.USAGE,
                charged=None,
                quantity=sum((line.quantity for line in some), Decimal(0)),
                subtotal=sum((line.subtotal for line in some), Decimal(0)),
            )
        )
    return found, _sums_of(own, summed)


def _sums_of(own: Sequence[SoldLine], summed: Collection[tuple[str, str]]) -> list[SoldLine]:
    groups: dict[tuple[str, ...], list[SoldLine]] = defaultdict(list)
    for line in own:
        name = line.subscription_id or line.sku or line.name.casefold()
        together = line.service is None and (line.customer_id, name) in summed
        what = (name, line.sku, line.currency) if together else ("", line.key)
        groups[line.customer_id, *what].append(line)
    return [
        some[0]
        if len(some) == 1
        else replace(
            some[0],
            amount=sum((line.amount for line in some), Decimal(0)),
            quantity=None,
            unit_price=None,
        )
        for some in groups.values()
    ]


def _ambiguous(finding: Finding) -> Point:
    return Point(
        check=finding.check,
        cause="ambiguous",
        remedy=Remedy.NONE.value,
        weight=Weight.ACT,
        customer_id=finding.customer_id,
        sentence=finding.sentence,
        hint=finding.hint,
    )


def _own_alone(one: Difference, by_key: Mapping[str, SoldLine]) -> SoldLine | None:
    """Return the own line that a difference is about, where nothing of Microsoft answers it."""
    lines = [by_key[key] for key in one.records if key in by_key]
    alone = len(lines) == len(one.records) == 1 and one.cause is not Cause.DUPLICATE
    return lines[0] if alone else None


def _is_own(line: SoldLine, products: Collection[str]) -> bool:
    """Say whether it names nothing that could be Microsoft's: a service of the partner, a discount."""
    name = " ".join(line.name.casefold().split())
    named = line.subscription_id or line.sku or name in products
    return not named and not _MICROSOFTS.search(name)


def _own_service(one: Difference, line: SoldLine) -> Point:
    return Point(
        check="sold.own",
        cause=one.cause.value,
        remedy=Remedy.NONE.value,
        weight=Weight.NOTE,
        customer_id=line.customer_id,
        product=line.name,
        currency=line.currency,
        sentence=(
            f"{line.name}, {cost_checks.money(line.amount, line.currency)} on {line.key}, is nothing "
            "that Microsoft bills: taken as yours and compared with nothing."
        ),
        hint="name the subscription or the product as Microsoft does if it is Microsoft's",
        records=(line.key,),
    )


def _below_cost(margin: Margin, *, known: bool) -> Point:
    """Tell what is sold below cost; only told where another point has the money already."""
    return Point(
        check="sold.below_cost",
        cause="price",
        remedy=Remedy.NONE.value,
        weight=Weight.NOTE if known else Weight.ACT,
        customer_id=margin.customer_id,
        product=margin.name,
        currency=margin.currency,
        amount=-(margin.margin or Decimal(0)),
        sentence=(
            f"{margin.name} is sold for {cost_checks.money(margin.sold, margin.currency)} and "
            f"costs {cost_checks.money(margin.cost, margin.currency)}."
        ),
        hint="raise the price, or find the lines that were not billed",
    )


def _point_of(one: Difference, names: dict[str, str]) -> Point:
    todo = one.remedy is not Remedy.NONE
    return Point(
        check=f"sold.{one.cause.value}",
        cause=one.cause.value,
        remedy=one.remedy.value,
        weight=Weight.ACT if todo else Weight.NOTE,
        customer_id=one.customer_id,
        subscription_id=one.subscription_id,
        product=names.get(one.product, one.product),
        currency=one.currency,
        amount=one.amount,
        sentence=f"{one.sentence[:1].upper()}{one.sentence[1:].removesuffix('.')}.",
        hint=one.hint,
        records=tuple(key for key in one.records if not key.startswith("cost/"))[:5],
    )
