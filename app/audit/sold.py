"""The partner's own invoices, from a CSV or JSON file with tolerant column names (docs/audit.md).

Customers are found by tenant id, by name or by domain among Microsoft's lines, products by id or by
name. What a row does not tell stays empty; what cannot be read is told and left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from domain.audit import BilledLine
from domain.period import Period
from domain.problems import Finding, InputError
from domain.reconciliation import SoldLine
from domain.subscription import CostKind
from partner_center import downloads
from partner_center.columns import Kind, NotOursError, folded, with_nearest
from partner_center.downloads import Layout

_COLUMNS = {
    "customer_id": "customerid tenantid customertenantid tenant microsoftid microsofttenantid",
    "customer": "customer customername client clientname account accountname company debtor customerdomainname domain",
    "subscription": "subscription subscriptionid microsoftsubscriptionid azureplan",
    "product_id": "productid",
    "sku_id": "skuid",
    "sku": "sku productsku offer offerid partnumber article articlenumber itemnumber productcode",
    "product": "product productname item itemname description skuname name linedescription",
    "start": "start servicestart servicefrom periodstart from chargestartdate startdate fromdate",
    "end": "end serviceend serviceto periodend to until chargeenddate enddate todate",
    "month": "month period billingperiod billingmonth serviceperiod",
    "quantity": "quantity qty seats licences licenses units billablequantity",
    "unit_price": "unitprice price priceperunit rate",
    "amount": "amount net netamount subtotal linetotal lineamount amountexcltax netto nettotal",
    "currency": "currency currencycode currencyisocode",
    "tax": "tax vat taxamount vatamount taxtotal",
    "invoice": "invoice invoicenumber invoiceno invoiceid document documentnumber documentno number",
}
_FIELDS = {name: field for field, names in _COLUMNS.items() for name in names.split()}
_MONTH = re.compile(r"(\d{4})-(\d{2})(?:-\d{2})?")
_AZURE = re.compile(r"(microsoft )?azure( plan| usage| consumption)?|usage", re.IGNORECASE)


def _kind_of(name: str, header: Sequence[str]) -> Kind:
    fields = {_FIELDS.get(folded(one)) for one in header}
    needed = (
        ("customer or customer id", {"customer", "customer_id"}),
        ("subscription, sku or product", {"subscription", "sku", "product", "product_id"}),
        ("amount", {"amount"}),
        ("currency", {"currency"}),
    )
    missing = [word for word, some in needed if not fields & some]
    if len(missing) > 2:
        raise NotOursError(
            f"{name} is no list of invoice lines: its columns are {', '.join(header[:6])}",
            hint="see docs/audit.md for the columns",
        )
    if missing:
        spare = [one for one in header if folded(one) not in _FIELDS]
        shown = ", ".join(with_nearest(one.replace(" or ", "|"), spare) for one in missing)
        raise InputError(f"{name} has no column {shown}", hint="see docs/audit.md for the columns")
    return Kind.SOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """Lines of the partner's invoices, and what could not be read."""

    lines: tuple[SoldLine, ...]
    faults: tuple[str, ...]
    """One sentence for each row that is left out."""
    unknown: tuple[str, ...]
    """Customers whom Microsoft's files do not know."""
    months: Mapping[str, date]
    """By key of a line: the month of the invoice, where the file tells it instead of service dates."""


def read(path: Path, billed: Sequence[BilledLine], *, order: str = "", decimal: str = "") -> Sold:
    """Read the partner's invoice lines; InputError where the file cannot be read as a whole."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    file = downloads.recognise(path, path.name, Layout(frozenset(_FIELDS), _kind_of))
    field_of = {column: _FIELDS.get(folded(column), "") for column in file.columns}
    field_of |= {
        column: _FIELDS[folded(written)]
        for column, written in zip(file.columns, file.header, strict=True)
        if folded(written) in _FIELDS
    }
    dates = {c for c, f in field_of.items() if f in ("start", "end")}
    numbers = {c for c, f in field_of.items() if f in ("quantity", "unit_price", "amount", "tax")}
    notation = downloads.notation_of(
        file, order=order, decimal=decimal, dates=dates, numbers=numbers
    )
    known = _Known(billed)
    lines: list[SoldLine] = []
    faults: list[str] = []
    months: dict[str, date] = {}
    for place, row in downloads.rows_of(file):
        if isinstance(row, Finding):
            faults.append(row.sentence.removeprefix("Microsoft's "))
            continue
        values: dict[str, str] = {}
        for column, value in row.items():
            name = field_of.get(column, "")
            if name and value not in (None, ""):
                text = str(value).strip()
                if column in dates:
                    text = notation.day(text)
                elif column in numbers and file.delimiter:
                    text = notation.number(text)
                values.setdefault(name, text)
        if not values:
            continue
        try:
            line = _line(values, f"{file.name} {place}", known)
            if line.service is None and (month := _month(values)):
                months[line.key] = month
            lines.append(line)
        except ValueError as error:
            faults.append(f"{place} of {file.name}: {error}.")
    if not lines and not faults:
        raise InputError(f"{file.name} holds no invoice lines")
    ids = {one.line.customer_id for one in billed}
    names = {line.customer_id for line in lines}
    return Sold(
        lines=tuple(lines),
        faults=tuple(faults),
        unknown=tuple(sorted(names - ids)),
        months=months,
    )


class _Known:
    """What Microsoft's lines know of customers and their Azure plans, by the ways to write them."""

    def __init__(self, billed: Sequence[BilledLine]) -> None:
        self.customers: dict[str, set[str]] = defaultdict(set)
        self.plans: dict[str, set[str]] = defaultdict(set)
        for one in billed:
            line = one.line
            self.customers[line.customer_id].add(line.customer_id)
            if line.customer_name.strip():
                self.customers[_plain(line.customer_name)].add(line.customer_id)
            if one.domain.strip():
                self.customers[_plain(one.domain)].add(line.customer_id)
            if line.kind is CostKind.USAGE and line.subscription_id:
                self.plans[line.customer_id].add(line.subscription_id)

    def customer(self, values: Mapping[str, str]) -> str:
        """Return the tenant id; the name as written where Microsoft's lines do not know it."""
        for written in (values.get("customer_id", ""), values.get("customer", "")):
            if not written.strip():
                continue
            found = self.customers.get(written.lower()) or self.customers.get(_plain(written))
            if found and len(found) > 1:
                raise ValueError(
                    f"{written} is the name of {len(found)} customers, give the tenant id"
                )
            if found:
                return next(iter(found))
        return values.get("customer_id") or values.get("customer") or ""


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def _line(values: Mapping[str, str], place: str, known: _Known) -> SoldLine:
    customer = known.customer(values)
    if not customer:
        raise ValueError("it names no customer")
    if not values.get("currency"):
        raise ValueError("it has no currency")
    product, sku_id = values.get("product_id", ""), values.get("sku_id", "")
    sku = f"{product}:{sku_id}" if product and sku_id else values.get("sku", "")
    name = values.get("product", "")
    subscription = values.get("subscription", "").lower()
    plans = known.plans.get(customer, set())
    azure = _AZURE.fullmatch(subscription or name.strip())
    if azure and len(plans) == 1:
        subscription = next(iter(plans))
    if not (subscription or sku or name):
        raise ValueError("it names neither subscription nor product")
    amount = _number(values, "amount")
    if amount is None:
        raise ValueError("it has no amount")
    quantity = _number(values, "quantity")
    if quantity and amount:  # programs write a credit with either sign
        quantity = quantity.copy_sign(amount)
    return SoldLine(
        key=place,
        customer_id=customer,
        currency=values["currency"].upper(),
        amount=amount,
        subscription_id=subscription,
        sku=sku if ":" in sku else "",
        name=name or ("" if ":" in sku else sku),
        service=_service(values),
        quantity=quantity,
        unit_price=_number(values, "unit_price"),
        tax=_number(values, "tax"),
        document=values.get("invoice", ""),
    )


def _number(values: Mapping[str, str], field: str) -> Decimal | None:
    text = values.get(field)
    if text is None:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{field} holds {text[:40]!r}, which is not a number") from None
    if not number.is_finite():
        raise ValueError(f"{field} holds {text[:40]!r}, which is not a number")
    return number


def _service(values: Mapping[str, str]) -> Period | None:
    start, end = _day(values, "start"), _day(values, "end")
    if start and end:
        if end < start:
            raise ValueError(f"the service ends on {end}, before it starts on {start}")
        return Period(start, end + timedelta(days=1))
    return None


def _month(values: Mapping[str, str]) -> date | None:
    text = values.get("month")
    if text is None:
        return None
    found = _MONTH.fullmatch(text)
    if found is None:
        raise ValueError(f"month holds {text[:40]!r}, which is not written as 2026-10")
    return Period.month(f"{found[1]}-{found[2]}").start


def _day(values: Mapping[str, str], field: str) -> date | None:
    text: Any = values.get(field)
    if text is None:
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise ValueError(f"{field} holds {text[:40]!r}, which is not a date") from None
