"""What a partner's downloaded files show: a verdict, a page and plain data that say the same.

The page is complete in itself. Everything is counted here from what the caller hands over; amounts of
different currencies are never added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.audit import Point, Weight
from domain.money import allocate, minor_units, plain, round_half_up

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One file: what it is, and how many of its rows count."""

    name: str
    kind: str
    rows: int
    taken: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceRow:
    """One of Microsoft's invoices as its lines show it. Money before tax, in `currency`."""

    invoice_id: str
    currency: str
    month: str
    """`October 2026`"""
    lines: int
    subtotal: Decimal
    tax: Decimal
    parts: Mapping[str, Decimal]
    """Subtotal by sort: seats, usage, marketplace, reservations, one_time, credits."""
    exact: Decimal
    rounded: Decimal
    """Explained within the rounding of the unit."""
    drift: Decimal
    """What that rounding comes to."""
    unchecked: Decimal
    """On lines without a price."""
    off: Decimal
    """On lines whose figures do not lead to their subtotal."""
    head: Decimal | None
    """What the head of the invoice says, where it was given."""
    daily_lines: int
    daily: Decimal | None
    """Sum of the daily usage; None where there is none to compare."""
    metered: Decimal
    """Sum of the metered lines that daily usage was compared with."""
    daily_drift: Decimal
    """The part of their difference that rounding explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """All that the audit found."""

    files: Sequence[FileRow]
    invoices: Sequence[InvoiceRow]
    points: Sequence[Point]
    customers: int
    unbilled: Mapping[str, Decimal]
    """Lines of a running month by currency: a forecast, part of no total."""
    sold: Mapping[str, Decimal] | None = None
    """What the partner's own invoices ask for, by currency; None where they were not given."""


PARTS = (
    ("seats", "Seats"),
    ("usage", "Azure usage"),
    ("marketplace", "Marketplace"),
    ("reservations", "Reservations and savings plans"),
    ("one_time", "One-time purchases"),
    ("credits", "Credits from Microsoft"),
)

_REMEDIES = {
    "claim": "Claim from Microsoft",
    "bill_customer": "Bill the customer",
    "credit_customer": "Credit the customer",
    "correct_accounting": "Correct the accounting",
    "restore_access": "Restore access in Azure",
    "correct_partner": "Correct the partner of record",
    "download_again": "Complete the files",
    "none": "Keep an eye on it",
}


_DIRECTIONS = {
    "claim": "billed too much",
    "bill_customer": "yours to bill",
    "credit_customer": "the customer's to get",
    "restore_access": "not earned",
    "download_again": "not to be found",
}


# --- what is said ---


def is_clean(report: AuditReport) -> bool:
    """Say whether nothing is missing, nothing is to do, and there was something to prove it on."""
    return bool(report.invoices) and not any(p.weight is not Weight.NOTE for p in report.points)


def verdict(report: AuditReport) -> str:
    """Say in one sentence whether Microsoft's bill is explained, and what needs a person."""
    missing = _weighing(report, Weight.INCOMPLETE)
    acts = _weighing(report, Weight.ACT)
    if not report.invoices:
        return "There are no lines of an invoice in these files: nothing is proven."
    billed = _listed(billed_by_currency(report))
    if missing:
        things = "one thing is" if len(missing) == 1 else f"{len(missing)} things are"
        rest = f"; besides, {_needs(acts)}" if acts else ""
        return f"Not reconcilable: {things} missing or unreadable{rest}."
    if acts:
        said = _needs(acts)
        return f"{said[0].upper()}{said[1:]}; the rest of Microsoft's {billed} is explained."
    return f"Every cent of Microsoft's {billed} is explained."


def _needs(acts: Sequence[Point]) -> str:
    worth = worth_by_currency(acts)
    places = f"{len(acts)} {'place needs' if len(acts) == 1 else 'places need'} you"
    return f"{_listed(worth)} in {places}" if worth else places


def worth_by_currency(points: Sequence[Point]) -> dict[str, Decimal]:
    """Add up what points are worth, whatever their direction."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for point in points:
        if point.amount and point.currency:
            sums[point.currency] += abs(point.amount)
    return dict(sorted(sums.items()))


def billed_by_currency(report: AuditReport) -> dict[str, Decimal]:
    """Add up what Microsoft billed before tax."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for invoice in report.invoices:
        sums[invoice.currency] += invoice.subtotal
    return dict(sorted(sums.items()))


def _listed(amounts: Mapping[str, Decimal]) -> str:
    said = [f"{figure(amount, currency)} {currency}" for currency, amount in amounts.items()]
    *first, last = said or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def figure(amount: Decimal, currency: str) -> str:
    """Write an amount with its currency's decimals, or more where it has more: no digit is hidden."""
    digits = len(plain(amount, 28).partition(".")[2])
    return f"{round_half_up(amount, max(digits, minor_units(currency))):,f}"


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s" if number else f"no {noun}s"


def _weighing(report: AuditReport, weight: Weight) -> list[Point]:
    return [point for point in report.points if point.weight is weight]


def by_worth(points: Sequence[Point]) -> list[Point]:
    """Sort by what is missing first, then by worth; equal ones in a stated order."""
    order = list(Weight)
    return sorted(
        points,
        key=lambda p: (
            order.index(p.weight),
            -abs(p.amount or Decimal(0)),
            p.check,
            p.customer_id,
            p.subscription_id,
            p.invoice_id,
            p.sentence,
        ),
    )


def remedy(point: Point) -> str:
    """Say what to do in a few words."""
    return _REMEDIES.get(point.remedy, point.remedy)


def direction(point: Point) -> str:
    """Say in a few words which way the money goes; nothing where the sentence says it."""
    if not point.amount:
        return ""
    if point.cause == "tax":
        return "total and tax disagree"
    return _DIRECTIONS.get(
        point.remedy, "at stake" if point.amount > 0 else "not billed by Microsoft"
    )


# --- as data ---


def summary(report: AuditReport) -> dict[str, Any]:
    """Return the page's content as JSON-ready data: money is text, counts are integers."""
    return {
        "verdict": verdict(report),
        "clean": is_clean(report),
        "reconcilable": not _weighing(report, Weight.INCOMPLETE) and bool(report.invoices),
        "customers": report.customers,
        "totals": [
            {
                "currency": currency,
                "microsoft": _text(amount, currency),
                "explained": _text(
                    sum((i.exact + i.rounded for i in _of(report, currency)), Decimal(0)), currency
                ),
                "needs_you": _text(
                    worth_by_currency(_weighing(report, Weight.ACT)).get(currency, Decimal(0)),
                    currency,
                ),
                "parts": {
                    name: _text(
                        sum(
                            (i.parts.get(name, Decimal(0)) for i in _of(report, currency)),
                            Decimal(0),
                        ),
                        currency,
                    )
                    for name, _ in PARTS
                },
            }
            for currency, amount in billed_by_currency(report).items()
        ],
        "invoices": [_invoice(one) for one in report.invoices],
        "points": [_point(one) for one in by_worth(report.points)],
        "unbilled": {c: _text(a, c) for c, a in sorted(report.unbilled.items())},
        "sold": None
        if report.sold is None
        else {c: _text(a, c) for c, a in sorted(report.sold.items())},
        "files": [
            {"name": f.name, "kind": f.kind, "rows": f.rows, "taken": f.taken, "note": f.note}
            for f in report.files
        ],
    }


def _invoice(one: InvoiceRow) -> dict[str, Any]:
    def text(amount: Decimal) -> str:
        return _text(amount, one.currency)

    return {
        "invoice": one.invoice_id,
        "currency": one.currency,
        "month": one.month,
        "lines": one.lines,
        "subtotal": text(one.subtotal),
        "tax": text(one.tax),
        "head": None if one.head is None else text(one.head),
        "parts": {name: text(one.parts.get(name, Decimal(0))) for name, _ in PARTS},
        "exact": text(one.exact),
        "rounding": text(one.rounded),
        "rounding_drift": text(one.drift),
        "unchecked": text(one.unchecked),
        "off": text(one.off),
        "usage_lines": one.daily_lines,
        "usage_daily": None if one.daily is None else text(one.daily),
        "usage_metered": text(one.metered),
        "usage_drift": text(one.daily_drift),
    }


def _point(one: Point) -> dict[str, Any]:
    return {
        "check": one.check,
        "cause": one.cause,
        "remedy": one.remedy,
        "weight": one.weight.value,
        "customer_id": one.customer_id,
        "customer": one.customer,
        "subscription": one.subscription_id,
        "product": one.product,
        "invoice": one.invoice_id,
        "currency": one.currency,
        "amount": None if one.amount is None else _text(one.amount, one.currency),
        "sentence": one.sentence,
        "hint": one.hint,
        "records": list(one.records),
    }


def _text(amount: Decimal, currency: str) -> str:
    return figure(amount, currency).replace(",", "")


def _of(report: AuditReport, currency: str) -> list[InvoiceRow]:
    return [one for one in report.invoices if one.currency == currency]


# --- as a page ---

_BAR = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """One part of a bill and its place on a bar of 1000 units."""

    name: str
    label: str
    amount: Decimal
    x: int
    width: int


def _bar(amounts: Mapping[str, Decimal]) -> list[_Slice]:
    """Lay the parts side by side; widths follow the amounts without their sign, none is invisible."""
    least = max((abs(Fraction(a)) for a in amounts.values()), default=Fraction(0)) / 100
    weights = [max(abs(Fraction(a)), least) if a else 0 for a in amounts.values()]
    shares = allocate(Decimal(_BAR), weights, 0) if any(weights) else [Decimal(0)] * len(weights)
    slices, x = [], 0
    for (name, label), width in zip(PARTS, map(int, shares), strict=True):
        slices.append(_Slice(name=name, label=label, amount=amounts[name], x=x, width=width))
        x += width
    return slices


def page(report: AuditReport) -> str:
    """Return the report as one HTML page, complete in itself: no script, no outside file."""
    missing = by_worth(_weighing(report, Weight.INCOMPLETE))
    acts = by_worth(_weighing(report, Weight.ACT))
    cards = []
    for currency, amount in billed_by_currency(report).items():
        rows = _of(report, currency)
        parts = {
            name: sum((i.parts.get(name, Decimal(0)) for i in rows), Decimal(0))
            for name, _ in PARTS
        }
        needs = worth_by_currency(acts).get(currency, Decimal(0))
        cards.append((currency, amount, _bar(parts), _proof(rows), needs))
    by_remedy: dict[str, list[Point]] = defaultdict(list)
    for point in acts:
        by_remedy[point.remedy].append(point)
    state = ("bad", "Not reconcilable") if missing or not report.invoices else ("ok", "Clean")
    if acts and not missing and report.invoices:
        state = ("held", "Needs you")
    return _template().render(
        report=report,
        verdict=verdict(report),
        state=state,
        cards=cards,
        missing=missing,
        acts=acts,
        groups=[
            (
                _REMEDIES.get(remedy, remedy),
                _listed(worth_by_currency(some)),
                worth_by_currency(some),
                some,
            )
            for remedy, some in by_remedy.items()
        ],
        notes=by_worth(_weighing(report, Weight.NOTE)),
        with_usage=[one for one in report.invoices if one.daily is not None],
    )


def _proof(rows: Sequence[InvoiceRow]) -> list[tuple[str, str, Decimal, bool]]:
    """Return how much of a currency is explained and how: name, words, amount, whether it is a worry."""

    def total(name: str) -> Decimal:
        return sum((getattr(one, name) for one in rows), Decimal(0))

    return [
        ("Exact", "Price × quantity × rate is the amount, to the cent", total("exact"), False),
        ("Rounding", "Within 0.01 for each unit, as Microsoft rounds", total("rounded"), False),
        ("No price", "Lines that carry no price to check them by", total("unchecked"), True),
        ("Off", "The line's own figures lead to another amount", total("off"), True),
    ]


_DIRECTING = dict.fromkeys(
    [0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd"
)
"""Characters that turn the writing round: in a name they would mirror the sentence behind it."""


def _shown(value: Any) -> Any:
    return value.translate(_DIRECTING) if type(value) is str else value


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - heavy

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    environment.filters["counted"] = _count
    environment.filters["zero"] = Decimal
    environment.filters["direction"] = direction
    environment.filters["share"] = lambda units: f"{Decimal(units) * 100 / _BAR}%"
    return environment.get_template("audit.html")
