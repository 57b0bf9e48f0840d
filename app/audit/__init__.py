"""Audit files that a partner downloaded from Partner Center: no credentials, settings or network.

The files are read in any form, Microsoft's lines are checked by themselves, against their own history
and against the daily usage, and, where the partner's own invoices are given, against what customers
were asked for. The answer is a report; the command writes it and says what it means.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.audit import reading, sold
from app.audit.reading import Material
from domain.audit import BilledLine, Point, Weight
from domain.money import plain
from domain.problems import Finding, InputError
from domain.reconciliation import Cause, Comparison, Difference, Margin, Remedy, SoldLine
from domain.subscription import CostKind, CostLine
from reports import audit as report
from reports.audit import AuditReport, FileRow, InvoiceRow
from rules import cost_checks, expected_lines, usage_drift
from rules.four_way import four_way

DONE, HOLDS = 0, 3
_MICROSOFTS = re.compile(
    r"microsoft|office|azure|windows|dynamics|m365|o365|\b365\b", re.IGNORECASE
)
"""Words by which a line that names no subscription may still be meant for Microsoft's product."""


def run(
    paths: Sequence[Path],
    *,
    invoices: Path | None,
    out: Path,
    as_json: bool,
    order: str = "",
    decimal: str = "",
) -> int:
    """Audit, write `audit.html` and `audit.json` into `out`, show the result; 0 clean, 3 not."""
    from app.audit import shown
    from app.screen import note, print_json

    found = audit(paths, invoices=invoices, order=order, decimal=decimal, note=note)
    data = report.summary(found)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "audit.html").write_text(report.page(found), encoding="utf-8")
        (out / "audit.json").write_text(
            json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    except OSError as error:
        raise InputError(
            f"--out {out}: {error.strerror or error}", hint="name a folder that can be written"
        ) from None
    if as_json:
        print_json(data)
    else:
        shown.tables(found, out / "audit.html")
    return DONE if report.is_clean(found) else HOLDS


def audit(
    paths: Sequence[Path],
    *,
    invoices: Path | None = None,
    order: str = "",
    decimal: str = "",
    note: Callable[[str], None] = lambda _: None,
) -> AuditReport:
    """Read the files and return what they show; InputError where one cannot be read as a whole."""
    with tempfile.TemporaryDirectory(prefix="csp-audit-") as folder:
        material = reading.read(paths, Path(folder), order=order, decimal=decimal, note=note)
    note(f"checking {len(material.billed):,} lines")
    points = [*material.points]
    arithmetic, explained = cost_checks.check_arithmetic(material.billed)
    points.extend(arithmetic)
    points.extend(_unchecked(material))
    points.extend(cost_checks.check_repeats(material.repeated))
    points.extend(cost_checks.check_exchange_rates(material.billed))
    points.extend(cost_checks.check_partner_ids(material.billed))
    points.extend(_earned_credit(material))
    repeated = {one.line.key for one in material.repeated}
    once = [one for one in material.billed if one.line.key not in repeated]
    points.extend(_incomplete_customers(expected_lines.check_expected(once, material.months), once))
    points.extend(expected_lines.check_months(material.months))
    points = _once(points)
    apart, drifts = usage_drift.check_usage(once, material.usage.sums, material.usage.days)
    points.extend(apart)
    points.extend(usage_drift.check_daily(material.usage.sums))
    asked = None
    if invoices is not None:
        note(f"comparing with {invoices.name}")
        compared = sold.read(invoices, material.billed, order=order, decimal=decimal)
        points.extend(_customers(material, compared))
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for line in compared.lines:
            sums[line.currency] += line.amount
        asked = dict(sums)
    names = {one.line.customer_id: one.line.customer_name for one in material.billed}
    unbilled: dict[str, Decimal] = defaultdict(Decimal)
    for one in material.unbilled:
        unbilled[one.line.currency] += one.line.subtotal
    return AuditReport(
        files=[
            FileRow(name=f.name, kind=f.kind, rows=f.rows, taken=f.taken, note=f.note)
            for f in material.files
        ],
        invoices=_invoices(material, explained, drifts),
        points=[
            one if one.customer else replace(one, customer=names.get(one.customer_id, ""))
            for one in points
        ],
        customers=len(names),
        unbilled=dict(unbilled),
        sold=asked,
    )


# --- Microsoft's side ------------------------------------------------------------------------------


def _once(points: Sequence[Point]) -> list[Point]:
    """Leave out what a line's own figures show where its history shows the same money."""

    def fault(one: Point) -> tuple[str, str, Decimal | None]:
        return one.subscription_id, one.currency, one.amount

    shown = {
        (*fault(one), place)
        for one in points
        if one.subscription_id and one.check.startswith("seats.")
        for place in one.records
    }
    return [
        one
        for one in points
        if one.check != "line.arithmetic"
        or not any((*fault(one), place) in shown for place in one.records)
    ]


def _unchecked(material: Material) -> Iterable[Point]:
    """Tell amounts on lines without a price: they are taken as they are."""
    groups: dict[tuple[str, str], list[BilledLine]] = defaultdict(list)
    for one in material.billed:
        how, _ = cost_checks.arithmetic_of(one.line)
        if how is cost_checks.Arithmetic.UNCHECKED:
            groups[one.line.invoice_id, one.line.currency].append(one)
    for (invoice, currency), some in groups.items():
        amount = sum((one.line.subtotal for one in some), Decimal(0))
        yield Point(
            check="line.no_price",
            cause="no_price",
            remedy="none",
            weight=Weight.ACT,
            invoice_id=invoice,
            currency=currency,
            amount=amount,
            sentence=(
                f"{len(some):,} {'lines' if some[1:] else 'line'} of {invoice} over {plain(amount)} "
                f"{currency} {'carry' if some[1:] else 'carries'} no effective price, quantity or "
                "rate to check the amount by."
            ),
            hint="export the file with all attributes",
            records=cost_checks.places(some),
        )


def _earned_credit(material: Material) -> Iterable[Point]:
    """Tell lost credit by Azure subscription where there is daily usage, else by metered lines."""
    with_usage = {(one.invoice_id, one.customer_id) for one in material.usage.sums}
    yield from cost_checks.check_earned_credit(
        one
        for one in material.billed
        if (one.line.invoice_id, one.line.customer_id) not in with_usage
    )
    for one in material.usage.unearned:
        name = one.entitlement_name or one.entitlement_id or "unknown"
        yield cost_checks.lost_credit(
            customer_id=one.customer_id,
            customer=one.customer_name,
            currency=one.currency,
            cost=one.cost,
            percent=one.percent,
            what=f"{one.lines:,} usage lines of the Azure subscription {name}",
            invoices={one.invoice_id},
        )


def _incomplete_customers(points: Sequence[Point], lines: Sequence[BilledLine]) -> list[Point]:
    """Make of a customer all of whose expected lines of an invoice are missing an incomplete file."""
    missing = {p.customer_id for p in points if p.cause == "missing_invoice_line"}
    months: dict[str, set[date]] = defaultdict(set)
    everywhere: dict[str, set[date]] = defaultdict(set)
    for one in lines:
        if one.line.kind is CostKind.LICENCE and one.line.charged:
            month = one.line.charged.start.replace(day=1)
            everywhere[one.line.currency].add(month)
            months[one.line.customer_id].add(month)
    currency_of = {one.line.customer_id: one.line.currency for one in lines}
    gone = {
        customer
        for customer in missing
        if any(
            min(months[customer], default=month) < month
            for month in everywhere[currency_of[customer]] - months[customer]
        )
    }
    return [
        replace(
            one,
            weight=Weight.INCOMPLETE,
            hint="no seat line of this customer is in a month that the files cover: download it again",
        )
        if one.customer_id in gone and one.cause == "missing_invoice_line"
        else one
        for one in points
    ]


def _part(one: BilledLine) -> str:
    if one.line.kind is CostKind.CREDIT:
        return "credits"
    if one.line.kind is CostKind.RESERVATION:
        return "reservations"
    if not cost_checks.is_microsofts(one.publisher):
        return "marketplace"
    return {CostKind.LICENCE: "seats", CostKind.USAGE: "usage"}.get(one.line.kind, "one_time")


def _invoices(
    material: Material,
    explained: dict[tuple[str, str], cost_checks.Explained],
    drifts: Sequence[usage_drift.Drift],
) -> list[InvoiceRow]:
    groups: dict[tuple[str, str], list[BilledLine]] = defaultdict(list)
    for one in material.billed:
        groups[one.line.invoice_id, one.line.currency].append(one)
    heads = {head.id: head.total for head in material.heads}
    daily = {(one.invoice_id, one.currency): one for one in drifts}
    rows = []
    for key, month in material.invoice_months.items():
        group = groups[key]
        parts: Counter[str] = Counter()
        for one in group:
            parts[_part(one)] += one.line.subtotal  # type: ignore[assignment]
        sums = explained[key]
        drift = daily.get(key)
        rows.append(
            InvoiceRow(
                invoice_id=key[0],
                currency=key[1],
                month=f"{month:%B %Y}",
                lines=len(group),
                subtotal=sum((one.line.subtotal for one in group), Decimal(0)),
                tax=sum((one.line.tax for one in group), Decimal(0)),
                parts={name: Decimal(amount) for name, amount in parts.items()},
                exact=sums.amounts[cost_checks.Arithmetic.EXACT],
                rounded=sums.amounts[cost_checks.Arithmetic.ROUNDING],
                drift=sums.drift,
                unchecked=sums.amounts[cost_checks.Arithmetic.UNCHECKED],
                off=sums.amounts[cost_checks.Arithmetic.OFF],
                head=heads.get(key[0]),
                daily_lines=drift.lines if drift else 0,
                daily=drift.daily if drift else None,
                metered=drift.metered if drift else Decimal(0),
                daily_drift=drift.explained if drift else Decimal(0),
            )
        )
    of = material.invoice_months
    return sorted(rows, key=lambda r: (of[r.invoice_id, r.currency], r.currency, r.invoice_id))


# --- the customers' side ---------------------------------------------------------------------------


def _customers(material: Material, compared: sold.Sold) -> Iterable[Point]:
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
