"""The first page after a run: whether Microsoft's bill is accounted for, and who is on hold.

One reading of a period (`HealthReport`) becomes a sentence, a page and plain data that say the same.
Everything is taken from what the caller hands over and counted here; nothing is recomputed that the
run has decided, and where the run and the documents disagree the page says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.money import allocate, minor_units, plain, round_half_up
from domain.period import Period, add_months
from domain.problems import Finding, Severity
from domain.reconciliation import Cause, FourWay, Margin, Remedy, worth
from domain.renewal import Renewal
from domain.run import ControlTotal, Run, RunStatus
from invoice.document import DocumentKind, DocumentStatus, Invoice
from reports.differences import (
    TO_DO,
    by_customer,
    difference_as_data,
    margin_as_data,
    side_as_data,
    worth_said,
)
from reports.kinds import sold_by_kind

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """All that the page tells about one partner and period."""

    partner: str
    mode: str
    """embedded, emulator or cloud; only cloud holds real data."""
    as_of: date
    period: Period
    run: Run | None
    documents: Sequence[Invoice]
    findings: Sequence[Finding]
    customers: Mapping[str, str]
    """Name by tenant id, of every customer that the run looked at."""
    links: Mapping[str, str]
    """File name of a document's page by the document's key, relative to this page."""
    renewals: Sequence[Renewal] | None = None
    """Ends of terms ahead, the first one first; None where nobody looked."""
    sides: FourWay | None = None
    """The month reconciled four ways; None where nobody did."""
    held: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    """What Microsoft billed for a customer on hold and no document answers, by tenant id and currency."""


def verdict(report: HealthReport) -> str:
    """Say in one sentence what was billed, who is on hold and whether Microsoft's bill adds up."""
    documents = _standing(report)
    if report.run is None and not documents:
        month = _period_name(report.period)
        said = [f"nothing is billed for {month} yet: there is no billing run", _holds_said(report)]
    else:
        said = [
            f"{_documents_said(documents)} for {_count(len(report.customers), 'customer')}",
            _holds_said(report),
            _proof(report),
        ]
    sentence = "; ".join(said)
    return f"{sentence[0].upper()}{sentence[1:]}."


def summary(report: HealthReport) -> dict[str, Any]:
    """Return the page's content as JSON-ready data: money is text, counts are integers."""
    standing, holds = _standing(report), _holds(report)
    return {
        "partner": report.partner,
        "mode": report.mode,
        "as_of": report.as_of.isoformat(),
        "period": f"{report.period.start:%Y-%m}"
        if _is_month(report.period)
        else str(report.period),
        "customers": len(report.customers),
        "invoices": sum(d.kind is DocumentKind.INVOICE for d in standing),
        "credit_notes": sum(d.kind is DocumentKind.CREDIT_NOTE for d in standing),
        "charges": sum(len(d.lines) for d in standing),
        "held_customers": len(_held_customers(report)),
        "findings": {
            "hold": len(holds),
            "released": len(_released(report)),
            "warn": len(_warnings(report)),
        },
        "totals": [
            {"currency": total.currency}
            | {
                name: f"{getattr(total, name):f}"
                for name in ("microsoft", *(name for name, _ in _PARTS), "sold")
            }
            for total in _totals(report)
        ],
        "sold_by_kind": [
            {
                "currency": one.currency,
                "kind": one.kind,
                "lines": one.lines,
                "amount": f"{one.amount:f}",
            }
            for one in sold_by_kind(standing)
        ],
        "documents": [
            {
                "number": document.number,
                "key": document.key,
                "customer": document.customer_name,
                "kind": document.kind.value,
                "status": document.status.value,
                "currency": document.currency,
                "subtotal": f"{document.subtotal.amount:f}",
                "tax": f"{document.tax.amount:f}",
                "total": f"{document.total.amount:f}",
                "lines": len(document.lines),
                "file": report.links.get(document.key),
            }
            for document in _by_number(report.documents)
        ],
        "holds": [
            _hold_as_data(group, finding)
            for group in _groups(report, holds)
            for finding in group.findings
        ],
        "held": [
            {"customer": group.name, "amount": f"{amount:f}", "currency": currency}
            for group in _groups(report, holds)
            for currency, amount in group.worth.items()
        ],
        "released": [
            {
                **_hold_as_data(group, finding),
                "by": finding.released_by,
                "on": _day(finding.released_on),
                "until": _day(finding.released_until),
                "reason": finding.released_reason,
            }
            for group in _groups(report, _released(report))
            for finding in group.findings
        ],
        "renewals": [_renewal(report, renewal) for renewal in report.renewals or ()],
        "sides": [side_as_data(total) for total in report.sides.totals] if report.sides else [],
        "differences": [
            difference_as_data(one, report.customers)
            for one in (report.sides.differences if report.sides else ())
        ],
        "margins": [
            margin_as_data(one, report.customers)
            for one in (report.sides.margins if report.sides else ())
        ],
    }


def _hold_as_data(group: _Group, finding: Finding) -> dict[str, Any]:
    return {
        "customer": group.name,
        "finding": finding.id,
        "check": finding.check,
        "since": _day(finding.since),
        "sentence": finding.sentence,
        "hint": finding.hint,
        "link": finding.link,
    }


def _day(value: date | None) -> str | None:
    return value.isoformat() if value else None


def _renewal(report: HealthReport, renewal: Renewal) -> dict[str, Any]:
    def moment(value: datetime | None) -> str | None:
        return None if value is None else value.isoformat()

    then, difference = renewal.then, renewal.difference
    return {
        "customer": report.customers.get(renewal.customer_id, renewal.customer_id),
        "subscription": renewal.subscription_id,
        "name": renewal.name,
        "on": renewal.on.isoformat(),
        "at_end": renewal.at_end.value,
        "routine": renewal.is_routine,
        "quantity": renewal.now.quantity,
        "quantity_then": then.quantity if then else 0,
        "unit_price": _text(renewal.now.unit_price),
        "unit_price_then": _text(then.unit_price) if then else None,
        "difference": None if difference is None else f"{difference.amount:f}",
        "difference_months": renewal.months,
        "currency": None if difference is None else difference.currency,
        "change_by": moment(renewal.change_by),
        "return_by": moment(renewal.return_by),
        "sentence": renewal.sentence,
        "hint": renewal.hint,
    }


def _text(price: Decimal | None) -> str | None:
    return None if price is None else plain(price)


def page(report: HealthReport) -> str:
    """Return the report as one HTML page, complete in itself: no script, no outside file."""
    holds = _holds(report)
    warnings, released = _warnings(report), _released(report)
    return _template().render(
        report=report,
        run=report.run,
        period_name=_period_name(report.period),
        verdict=verdict(report),
        state=_state(report),
        totals=[(total, _bar(total), _margin(total)) for total in _totals(report)],
        notes=_disagreements(report),
        holds=_groups(report, holds),
        hold_count=len(holds),
        released=_groups(report, released),
        released_count=len(released),
        warnings=_groups(report, warnings),
        warning_count=len(warnings),
        documents=_by_number(report.documents),
        sums=_sums(_standing(report)),
        kinds=sold_by_kind(_standing(report)),
        renewals=[one for one in report.renewals or () if not one.is_routine],
        routine_count=sum(one.is_routine for one in report.renewals or ()),
        worth=_worth(report),
        todo=[d for d in report.sides.differences if d.remedy is not Remedy.NONE]
        if report.sides
        else [],
        worth_said=worth_said(report.sides.differences) if report.sides else "",
        to_do=TO_DO,
        margins=_margins(report),
    )


# --- what is said ---


def _period_name(period: Period) -> str:
    return f"{period.start:%B %Y}" if _is_month(period) else str(period)


def _is_month(period: Period) -> bool:
    return period.start.day == 1 and period.end == add_months(period.start, 1)


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s" if number else f"no {noun}s"


def _sentence(hint: str) -> str:
    return f"{hint[:1].upper()}{hint[1:]}{'' if hint.endswith(('.', '!', '?')) else '.'}"


def _figure(amount: Decimal, currency: str) -> str:
    """Write an amount with its currency's decimals, or more where it has more: no digit is hidden."""
    digits = len(plain(amount, 28).partition(".")[2])
    return f"{round_half_up(amount, max(digits, minor_units(currency))):,f}"


def _documents_said(documents: Sequence[Invoice]) -> str:
    notes = sum(d.kind is DocumentKind.CREDIT_NOTE for d in documents)
    drafts = sum(d.status is DocumentStatus.DRAFT for d in documents)
    said = _count(len(documents) - notes, "invoice")
    if notes:
        said += f" and {_count(notes, 'credit note')}"
    if drafts:
        many = "all" if drafts == len(documents) > 1 else f"{drafts:,}"
        said += f" ({many} still {'a draft' if drafts == 1 else 'drafts'})"
    return said


def _holds_said(report: HealthReport) -> str:
    held = _held_customers(report)
    said = f"{_count(len(held), 'customer')} on hold" if held else "no customer on hold"
    if report.run is not None:
        billed = {document.customer_id for document in _standing(report)}
        if neither := len(report.customers.keys() - billed - held):
            said += f", {neither:,} {'more ' if held else ''}without a document"
    if whole := sum(not finding.customer_id for finding in _holds(report)):
        said += f", {_count(whole, 'open point')} of the partner as a whole"
    return said


def _proof(report: HealthReport) -> str:
    run = report.run
    if run is None:
        return "there is no billing run, so nothing is proven about Microsoft's bill"
    if run.status is RunStatus.RUNNING:
        return "the run has not ended, so nothing is proven about Microsoft's bill yet"
    failed = "the run failed, so this is not the whole; " if run.status is RunStatus.FAILED else ""
    if not run.totals:
        return f"{failed}the run holds no totals, so nothing is proven about Microsoft's bill"
    said = [
        f"Microsoft's {_figure(total.microsoft, total.currency)} {total.currency} is not fully "
        f"accounted for: residual {_figure(total.residual, total.currency)}"
        for total in run.totals
        if total.residual
    ]
    if whole := [total for total in run.totals if not total.residual]:
        amounts = [
            f"{_figure(total.microsoft, total.currency)} {total.currency}" for total in whole
        ]
        *first, last = amounts
        listed = f"{', '.join(first)} and {last}" if first else last
        nothing = _figure(Decimal(0), whole[0].currency)
        said.append(f"every cent of Microsoft's {listed} is accounted for: residual {nothing}")
    if (loose := _unanswered(report)) and not any(total.residual for total in run.totals):
        said[-1] += f", but only in sum: no customer line answers {_count(loose, 'line')} of it"
    return failed + "; ".join(said)


def _state(report: HealthReport) -> tuple[str, str]:
    """Return the page's state, as a style and as the words that carry it without colour."""
    run = report.run
    if run is None:
        return "none", "No run yet"
    if run.status is RunStatus.RUNNING:
        return "none", "Run not ended"
    if run.status is RunStatus.FAILED:
        return "bad", "Run failed"
    if not run.totals:
        return "none", "Not proven"
    if any(total.residual for total in run.totals) or _unanswered(report):
        return "bad", "Not in balance"
    if _holds(report):
        return "held", "In balance, with holds"
    return "ok", "In balance"


def _disagreements(report: HealthReport) -> list[str]:
    """Name each currency whose documents are not what the run says was sold."""
    totals = _totals(report)
    if not totals:
        return []
    told = {total.currency: total.sold for total in totals}
    listed = {currency: sums[0] for currency, _, sums in _sums(_standing(report))}
    notes = []
    for currency in sorted(told.keys() | listed.keys()):
        documents = _figure(listed.get(currency, Decimal(0)), currency)
        if currency not in told:
            notes.append(
                f"The documents ask for {documents} {currency} before tax, a currency in which "
                "Microsoft billed nothing: no margin can be shown for it."
            )
        elif told[currency] != listed.get(currency, Decimal(0)):
            notes.append(
                f"The run says that {_figure(told[currency], currency)} {currency} was sold, the "
                f"documents add up to {documents} {currency}: bill the period again."
            )
    return notes


# --- what is counted ---


def _totals(report: HealthReport) -> tuple[ControlTotal, ...]:
    return report.run.totals if report.run else ()


def _standing(report: HealthReport) -> list[Invoice]:
    return [d for d in report.documents if d.status is not DocumentStatus.VOID]


def _by_number(documents: Sequence[Invoice]) -> list[Invoice]:
    """Order by number; drafts have none and follow, by customer."""
    return sorted(documents, key=lambda d: (not d.number, d.number, d.customer_name, d.key))


def _sums(documents: Sequence[Invoice]) -> list[tuple[str, int, tuple[Decimal, Decimal, Decimal]]]:
    """Add up by currency: lines, and subtotal, tax and total."""
    lines: dict[str, int] = defaultdict(int)
    sums: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    for document in documents:
        lines[document.currency] += len(document.lines)
        amounts = (document.subtotal.amount, document.tax.amount, document.total.amount)
        sums[document.currency] = [
            a + b for a, b in zip(sums[document.currency], amounts, strict=True)
        ]
    return [(currency, lines[currency], (s, t, a)) for currency, (s, t, a) in sorted(sums.items())]


def _holds(report: HealthReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.holds]


def _released(report: HealthReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.is_released]


def _warnings(report: HealthReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity is Severity.WARN]


def _held_customers(report: HealthReport) -> set[str]:
    return {finding.customer_id for finding in _holds(report) if finding.customer_id}


def _unanswered(report: HealthReport) -> int:
    """Count Microsoft's lines that no customer line answers: two of them may cancel out unseen."""
    return sum(finding.check == "reconcile.not_billed" for finding in report.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The findings of one customer, worst first."""

    name: str
    findings: tuple[Finding, ...]
    blocks: int
    worth: Mapping[str, Decimal]
    """What of Microsoft's bill waits for the customer, by currency."""


def _groups(report: HealthReport, findings: Sequence[Finding]) -> list[_Group]:
    """Group by customer, worst first: what nobody can release, the money, the number, the name."""
    groups = []
    for customer_id, own in groupby(
        sorted(findings, key=lambda f: (f.customer_id, f.severity is not Severity.BLOCK, f.key)),
        key=lambda f: f.customer_id,
    ):
        name = report.customers.get(customer_id, customer_id) or "The partner as a whole"
        listed = tuple(own)
        blocks = sum(finding.severity is Severity.BLOCK for finding in listed)
        worth = report.held.get(customer_id, {})
        groups.append(_Group(name=name, findings=listed, blocks=blocks, worth=worth))
    return sorted(groups, key=lambda g: (-g.blocks, -_most(g), -len(g.findings), g.name))


def _most(group: _Group) -> Decimal:
    """Currencies cannot be added: the largest amount in any of them decides the order."""
    return max((abs(amount) for amount in group.worth.values()), default=Decimal(0))


# --- the four sides ---


def _worth(report: HealthReport) -> list[tuple[Remedy, Cause, str, int, Decimal]]:
    """Add up the differences: what is to be done first, by what it is worth."""
    sums = worth(report.sides.differences) if report.sides else {}
    rows = [(*place, count, amount) for place, (count, amount) in sums.items()]
    return sorted(rows, key=lambda row: (row[0] is Remedy.NONE, -abs(row[4]), row[:3]))


def _margins(report: HealthReport) -> list[tuple[Margin, list[Margin]]]:
    """Return each customer's margin with those of its products; the smallest share first."""
    if report.sides is None:
        return []
    products: dict[tuple[str, str, bool], list[Margin]] = defaultdict(list)
    for one in report.sides.margins:
        products[one.customer_id, one.currency, one.margin is None].append(one)
    sums = by_customer(report.sides.margins)
    sums.sort(key=lambda one: (one.percent is not None, one.percent or 0, one.customer_id))
    return [(one, products[one.customer_id, one.currency, one.margin is None]) for one in sums]


# --- the equation as a table and a bar ---

_PARTS = (
    ("billed", "Passed on to customers, at your cost"),
    ("credited", "Credits from Microsoft, passed on to customers"),
    ("held", "Waiting: the customer is on hold, or billed later by contract"),
    ("excluded", "Not passed on, by agreement"),
    ("residual", "Not found again; it should be zero"),
)
_BAR = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One term of the equation and its place on a bar of 1000 units."""

    name: str
    says: str
    amount: Decimal
    x: int
    width: int


def _bar(total: ControlTotal) -> tuple[list[_Part], int]:
    """Lay the parts side by side, negative ones left of the zero whose place is returned too.

    Widths follow the amounts without their sign; a part that is not zero can always be seen.
    """
    amounts: dict[str, Decimal] = {name: getattr(total, name) for name, _ in _PARTS}
    least = max(abs(Fraction(amount)) for amount in amounts.values()) / 100
    weights = [max(abs(Fraction(a)), least) if a else 0 for a in amounts.values()]
    shares = allocate(Decimal(_BAR), weights, 0) if any(weights) else [Decimal(0)] * len(weights)
    widths = dict(zip(amounts, map(int, shares), strict=True))
    zero = sum(widths[name] for name in amounts if amounts[name] < 0)
    places: dict[str, int] = {}
    x = 0
    for name in sorted(amounts, key=lambda name: amounts[name] >= 0):
        places[name] = x
        x += widths[name]
    parts = [
        _Part(name=name, says=says, amount=amounts[name], x=places[name], width=widths[name])
        for name, says in _PARTS
    ]
    return parts, zero


def _margin(total: ControlTotal) -> tuple[Decimal, str]:
    """Return what stays with the partner, and that in percent of what was sold (one decimal)."""
    margin = total.sold - total.billed - total.credited
    if total.sold <= 0:
        return margin, ""
    return margin, f"{round_half_up(Fraction(margin) * 100 / Fraction(total.sold), 1)} %"


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - heavy

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    environment.filters["counted"] = _count
    environment.filters["sentence"] = _sentence
    environment.filters["share"] = lambda units: f"{Decimal(units) * 100 / _BAR}%"
    return environment.get_template("health.html")
