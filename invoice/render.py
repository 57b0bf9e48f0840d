"""Draw a document: as text for a terminal and a diff, as one HTML page for a person.

The page is complete in itself (no script, no outside file) and every value is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from domain.money import plain
from domain.tax import TaxDecider
from invoice.document import DocumentKind, DocumentStatus, Invoice, InvoiceLine, numbers_in
from invoice.tax_words import notes, tax_lines

if TYPE_CHECKING:
    from jinja2 import Template

WIDTH = 98


def title(document: Invoice) -> str:
    """Name a document as people do: `Invoice INV-202610-0003`, `Draft of an invoice`."""
    kind = "Credit note" if document.kind is DocumentKind.CREDIT_NOTE else "Invoice"
    if document.status is DocumentStatus.DRAFT:
        return f"{kind} (draft)"
    return f"{kind} {document.number}"


def to_text(document: Invoice) -> str:
    """Return the document with a reason under each line, 98 columns wide."""
    out = [title(document)]
    for label, lines in parties(document):
        for n, told in enumerate(lines):
            out += wrap(
                told,
                WIDTH,
                initial_indent=f"{label if n == 0 else '':<8}",
                subsequent_indent=" " * 8,
            )
    out.append(f"Period  {document.period}")
    if document.issued_on:
        out.append(f"Issued  {document.issued_on}, due {document.due_on}")
    if point := tax_point(document):
        out.append(f"Taxed   as of {point} (tax point)")
    out += [f"{label:<8}{number}" for label, number in tax_ids(document)]
    out += [
        "",
        f"{'':>3} {'Product, and how its amount comes about':<56} {'Quantity':>10} {'Amount':>14} {'Tax':>11}",
    ]
    for line in document.lines:
        out.extend(_line_text(line))
    rule = "-" * WIDTH
    money = document.currency
    out += [
        rule,
        f"{'Subtotal':>71} {document.subtotal.amount:>14,f} {money}",
        *_tax_text(document),
        f"{total_name(document):>71} {document.total.amount:>14,f} {money}",
    ]
    for note in notes(document):
        out += ["", *wrap(note, WIDTH)]
    return "\n".join(out) + "\n"


def parties(document: Invoice) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield who sells and who buys, each as it is printed; what nobody entered is left out."""
    if document.seller:
        yield "From", document.seller.lines
    if document.buyer:
        yield "For", document.buyer.lines
    else:
        yield "For", (document.account_name or document.customer_name,)


def tax_ids(document: Invoice) -> Iterator[tuple[str, str]]:
    """Yield the numbers that decided the tax and stand in no block of a party."""
    for label, told, party in (
        ("Seller", document.seller_tax_id, document.seller),
        ("Tax id", document.buyer_tax_id, document.buyer),
    ):
        printed = party.tax_numbers if party else ()
        if not set(numbers_in(told)) <= set(printed):
            yield label, told


def total_name(document: Invoice) -> str:
    """Name what is asked for, which is not all where the accounting system adds the tax."""
    added = document.tax_decided_by is TaxDecider.ACCOUNTING
    return "Total before tax" if added and not document.tax else "Total"


def tax_point(document: Invoice) -> date | None:
    """Return the tax point where it is not the day of issue, which then says it."""
    return document.tax_point if document.tax_point != document.issued_on else None


def _tax_text(document: Invoice) -> Iterator[str]:
    for name, tax in tax_lines(document):
        *above, last = wrap(name, 71)
        yield from (f"{part:>71}" for part in above)
        yield f"{last:>71} {tax.amount:>14,f} {document.currency}"


def _line_text(line: InvoiceLine) -> list[str]:
    charge = line.charge
    head = (
        f"{line.position:>3} {charge.name[:56]:<56} {plain(charge.quantity):>10} "
        f"{line.amount.amount:>14,f} {line.tax.amount:>11,f}"
    )
    indent = " " * 6
    return [
        head,
        *wrap(charge.why, WIDTH, initial_indent=indent, subsequent_indent=indent),
    ]


def to_html(document: Invoice) -> str:
    """Return the document as one HTML page."""
    return _template("document.html").render(
        document=document,
        title=title(document),
        plain=plain,
        parties=list(parties(document)),
        tax_ids=list(tax_ids(document)),
        tax_point=tax_point(document),
        taxes=list(tax_lines(document)),
        notes=notes(document),
        total_name=total_name(document),
    )


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - heavy

    folder = Path(__file__).with_name("templates")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["money"] = lambda amount: f"{amount:,f}"
    return environment.get_template(name)
