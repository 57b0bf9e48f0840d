"""A document of ours as a standard invoice of Dynamics 365 Sales: how it is written and compared.

Pure. Sales keeps unit prices to the decimals of a setting and quantities to five, reckons amounts
itself and rounds in its own way, so a line is written in the form that leaves it nothing to round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from dataverse.provision.roles import Role
from dataverse.schema import KEY_LENGTH, Column, Kind, Row, Table
from invoice.document import DocumentKind, Invoice, InvoiceLine

SALES_INVOICE = Table(
    name="invoice",
    schema_name="csp_SalesInvoice",
    label="Invoice",
    plural="Invoices",
    description="The standard invoice of Dynamics 365 Sales, with a key of ours.",
    record=Invoice,
    columns=(
        Column(
            schema_name="csp_ExternalKey", label="External key", kind=Kind.TEXT, size=KEY_LENGTH
        ),
    ),
)
"""What the provisioner adds to the standard table: one column and the key on it."""

_KEPT = ("Create", "Read", "Write", "Append", "AppendTo")
SALES_ROLE = Role(
    key="projection",
    name="CSP Billing projection",
    description="What the worker needs beside its own role to write standard invoices.",
    privileges=(
        *(f"prv{right}Invoice" for right in _KEPT),
        # Whether lines have privileges of their own is not documented: what is not known is left out.
        *(f"prv{right}InvoiceDetail" for right in _KEPT),
        "prvReadPriceLevel",
        "prvAppendToPriceLevel",
    ),
)
"""Made only where the projection is switched on, and given by an administrator."""

_QUANTITY_DECIMALS = 5
HEAD_COLUMNS = (
    "invoiceid",
    "invoicenumber",
    "statecode",
    "ispricelocked",
    "totallineitemamount",
    "totaltax",
    "totalamount",
    "pricingerrorcode",
)
LINE_COLUMNS = ("lineitemnumber", "baseamount", "tax", "extendedamount", "pricingerrorcode")


def head_body(document: Invoice, binds: dict[str, str]) -> dict[str, Any]:
    """Return the header, with the links that it is given."""
    kind = "Credit note" if document.kind is DocumentKind.CREDIT_NOTE else "Invoice"
    service = f"{document.period.start} to {document.period.last_day}"
    note = f"{kind} for {document.customer_name}, {service}. {document.tax_note}".strip()
    body: dict[str, Any] = {
        "name": (document.number or document.key)[:300],
        "description": note[:2000],
        "ispricelocked": False,
        **binds,
    }
    if document.number:
        body["invoicenumber"] = document.number[:100]
    if document.due_on:
        body["duedate"] = document.due_on.isoformat()
    return body


def line_body(number: int, line: InvoiceLine, decimals: int) -> dict[str, Any]:
    """Return a write-in line; `decimals` are those that Sales keeps of a unit price."""
    quantity, price = priced(line, decimals)
    return {
        "lineitemnumber": number,
        "isproductoverridden": True,
        "productdescription": line.charge.name[:850],
        "description": line.charge.why[:2000],
        "quantity": quantity,
        "priceperunit": price,
        "tax": line.tax.amount,
    }


def priced(line: InvoiceLine, decimals: int) -> tuple[Decimal, Decimal]:
    """Return quantity and unit price as Sales multiplies them out to the amount of a line.

    Ours where they do so exactly within the decimals that Sales keeps; else one times the amount.
    """
    quantity, price = line.charge.quantity, line.charge.unit_price
    exact = (
        quantity > 0
        and _decimals(quantity) <= _QUANTITY_DECIMALS
        and _decimals(price) <= decimals
        and quantity * price == line.amount.amount
    )
    return (quantity, price) if exact else (Decimal(1), line.amount.amount)


def _decimals(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(0, -int(exponent))


def differences_of(document: Invoice, head: Row, lines: Iterable[Row]) -> Iterator[str]:
    """Say in words where the copy does not come to the same, the lines first."""
    theirs = {row["lineitemnumber"]: row for row in lines}
    for number, line in enumerate(document.lines, 1):
        row = theirs.pop(number, None)
        if row is None:
            yield f"line {number} is missing"
            continue
        ours = {
            "baseamount": line.amount.amount,
            "tax": line.tax.amount,
            "extendedamount": line.amount.amount + line.tax.amount,
        }
        yield from _compare(f"line {number}: ", ours, row)
    if theirs:
        yield f"{len(theirs)} lines are not ours"
    totals = {
        "totallineitemamount": document.subtotal.amount,
        "totaltax": document.tax.amount,
        "totalamount": document.total.amount,
    }
    yield from _compare("", totals, head)


def _compare(where: str, ours: dict[str, Decimal], row: Row) -> Iterator[str]:
    for column, amount in ours.items():
        if row[column] is None or Decimal(row[column]) != amount:
            yield f"{where}{column} is {shown(row[column])} instead of {amount}"
    if row["pricingerrorcode"]:
        yield f"{where}pricing error {row['pricingerrorcode']}"


def shown(amount: Any) -> str:
    """Return an amount of Sales as a sentence shows it."""
    return "empty" if amount is None else f"{Decimal(amount):.2f}"
