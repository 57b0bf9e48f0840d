"""Draw a document: as text for a terminal and a diff, as one HTML page for a person.

The page is complete in itself (no script, no outside file) and every value is escaped.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from domain.money import plain
from invoice.document import DocumentKind, DocumentStatus, Invoice, InvoiceLine

if TYPE_CHECKING:
    from jinja2 import Template

WIDTH = 98


def title(document: Invoice) -> str:
    """Name a document as people do: `Invoice INV-202610-0003`, `Draft of an invoice`."""
    kind = "Credit note" if document.kind is DocumentKind.CREDIT_NOTE else "Invoice"
    if document.status is DocumentStatus.DRAFT:
        return f"{kind} (draft)"
    return f"{kind} {document.number}"


def tax_title(rate: Decimal) -> str:
    """Name a tax so that each line can be computed again; a document's note explains a zero."""
    return f"Tax, {plain(rate)} % of each line" if rate else "Tax"


def to_text(document: Invoice) -> str:
    """Return the document with a reason under each line, 98 columns wide."""
    out = [
        title(document),
        f"For     {document.account_name or document.customer_name}",
        f"Period  {document.period}",
    ]
    if document.issued_on:
        out.append(f"Issued  {document.issued_on}, due {document.due_on}")
    if document.buyer_tax_id:
        out.append(f"Tax id  {document.buyer_tax_id}")
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
        *(f"{tax_title(rate):>71} {tax.amount:>14,f} {money}" for rate, tax in document.taxed),
        f"{'Total':>71} {document.total.amount:>14,f} {money}",
    ]
    if document.tax_note:
        out += ["", *wrap(document.tax_note, WIDTH)]
    return "\n".join(out) + "\n"


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
        document=document, title=title(document), plain=plain, tax_title=tax_title
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
