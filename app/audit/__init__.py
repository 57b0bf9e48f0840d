"""Audit files that a partner downloaded from Partner Center: no credentials, settings or network.

The files are read in any form, Microsoft's lines are checked by themselves, against their own history
and against the daily usage, and, where the partner's own invoices are given, against what customers
were asked for. The answer is a report; the command writes it and says what it means.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

from app.audit import customers, reading, sold
from app.audit.material import Material
from domain.audit import BilledLine, Point, Weight
from domain.money import plain
from domain.problems import InputError
from domain.subscription import CostKind
from reports import audit as report
from reports.audit import AuditReport, FileRow, InvoiceRow
from rules import cost_checks, expected_lines, usage_drift

DONE, HOLDS = 0, 3


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
        points.extend(customers.compare(material, compared))
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
