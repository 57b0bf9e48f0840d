"""Microsoft's invoices and their reconciliation lines.

A line is a charge, not a thing with an id: its key is made from its content, so that the same line
keeps its key whatever the order of lines and fields, and exact repeats are numbered. Amounts are
taken as they are: this is what Microsoft billed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, ClassVar

from domain.period import Period
from domain.problems import Finding, Severity
from domain.subscription import CostInvoice, CostKind, CostLine
from partner_center.wire import (
    Day,
    Id,
    Moment,
    Number,
    PartnerId,
    Text,
    Wire,
    customer_of,
    day_after,
    label,
    period_of,
    read,
)

# Harmonised in case; two were renamed by Microsoft. Others (legacy fees) stay as written.
_CHARGE_TYPES = {
    "new": "new",
    "purchase": "new",
    "cyclecharge": "cycleCharge",
    "renew": "renew",
    "addquantity": "addQuantity",
    "removequantity": "removeQuantity",
    "cancelimmediate": "cancelImmediate",
    "cancel": "cancelImmediate",
    "refund": "cancelImmediate",
    "convert": "convert",
    "customercredit": "customerCredit",
}


class InvoiceWire(Wire):
    """The head of an invoice, an adjustment note or a void note."""

    id: Text
    invoice_date: Moment
    billing_period_start_date: Day = None
    billing_period_end_date: Day = None
    total_charges: Number
    currency_code: Text
    document_type: Text = "invoice"
    amends_of: Text = ""
    invoice_type: Text = "OneTime"
    amendments: tuple[InvoiceWire, ...] = ()

    @property
    def is_void_note(self) -> bool:
        """Say whether it takes another invoice back."""
        return self.document_type.lower() == "void_note"

    @property
    def issued_on(self) -> date:
        """The day of its date, in UTC."""
        return self.invoice_date.astimezone(UTC).date()

    def to_domain(self) -> CostInvoice:
        """Translate; without a billing period it is the month before the invoice's date.

        Whether `totalCharges` includes tax is not documented (UNCONFIRMED); it is taken as the
        control total before tax, and a difference to the lines shows as a named residual.
        """
        issued = self.issued_on
        billed = period_of(self.billing_period_start_date, self.billing_period_end_date)
        if billed is None:
            last = issued.replace(day=1) - timedelta(days=1)
            billed = Period(last.replace(day=1), issued.replace(day=1))
        return CostInvoice(
            id=self.id,
            currency=self.currency_code.upper(),
            total=self.total_charges,
            issued_on=issued,
            billed=billed,
            is_note="note" in self.document_type.lower(),
        )


def _blocking(fault: Finding) -> Finding:
    """A head that cannot be read may be of the month that is billed: nothing is billed past it."""
    return replace(fault, severity=Severity.BLOCK)


def invoices_of(documents: Iterable[Any]) -> Iterator[CostInvoice | Finding]:
    """Translate invoices with their amendments; what has no lines of ours is told, not billed.

    An invoice that a void note amends has a total of zero: nothing is left of it to be billed.
    """
    wires: dict[str, InvoiceWire] = {}
    voided: dict[str, date] = {}
    for document in documents:
        name = label("invoice", document)
        found = read(InvoiceWire, document, lambda wire: wire, check="invoice", record=name)
        if isinstance(found, Finding):
            yield _blocking(found)
            continue
        for one in (found, *found.amendments):
            wires.setdefault(one.id, one)
            if one.is_void_note and (one.amends_of or one is not found):
                voided[one.amends_of or found.id] = one.issued_on
    for one in wires.values():
        record = f"invoice {one.id}"
        if one.invoice_type.lower() == "recurring":
            reason, hint = "is a legacy invoice", "Bill legacy subscriptions by hand."
        elif one.is_void_note:
            reason, hint = "was voided", "Bill the invoice that replaces it."
            if one.amends_of:
                reason = f"voids {one.amends_of}, which is taken back,"
        else:
            head = read(InvoiceWire, one, InvoiceWire.to_domain, check="invoice", record=record)
            if isinstance(head, Finding):
                yield _blocking(head)
            elif one.id in voided:
                yield replace(head, total=Decimal(0), voided_on=voided[one.id])
            else:
                yield head
            continue
        yield Finding(
            check="wire.invoice",
            severity=Severity.WARN,
            customer_id="",
            record=record,
            sentence=f"Microsoft's {record} of {one.total_charges} {one.currency_code} {reason}"
            " and is not billed on.",
            hint=hint,
        )


class CostLineWire(Wire):
    """A reconciliation line: Graph export, Partner Center CSV, or v1 one-time line item."""

    ALSO: ClassVar[Mapping[str, str]] = {
        "resellermpnid": "tier2_mpn_id",
        "totalforcustomer": "total",
    }

    customer_id: Id
    customer_name: Text = ""
    invoice_number: Text = ""
    mpn_id: PartnerId = ""
    tier2_mpn_id: PartnerId = ""
    order_id: Text = ""
    order_date: Day = None
    product_id: Text
    sku_id: Text = ""
    availability_id: Text = ""
    sku_name: Text = ""
    product_name: Text = ""
    charge_type: Text
    unit_price: Number = Decimal(0)
    effective_unit_price: Number = Decimal(0)
    quantity: Number | None = None
    billable_quantity: Number | None = None
    subtotal: Number
    tax_total: Number = Decimal(0)
    currency: Text
    subscription_description: Text = ""
    subscription_id: Id = ""
    subscription_start_date: Day = None
    subscription_end_date: Day = None
    charge_start_date: Day = None
    charge_end_date: Day = None
    term_and_billing_cycle: Text = ""
    billing_frequency: Text = ""
    alternate_id: Text = ""
    pricing_currency: Text = ""
    pc_to_bc_exchange_rate: Number = Decimal(1)
    price_adjustment_description: Text = ""
    publisher_name: Text = ""
    meter_description: Text = ""
    reservation_order_id: Text = ""
    credit_reason_code: Text = ""
    reference_id: Id = ""
    promotion_id: Text = ""

    @property
    def harmonised_charge_type(self) -> str:
        """The charge type in one spelling."""
        return _CHARGE_TYPES.get(self.charge_type.replace(" ", "").lower(), self.charge_type)

    @property
    def kind(self) -> CostKind:
        """What the line is about, by the fields that Microsoft fills for it.

        Older seat lines carry a reservation order id and a meter too, so a seat commitment in the
        term's text is believed first.
        """
        term = self.term_and_billing_cycle.lower()
        if self.harmonised_charge_type == "customerCredit":
            return CostKind.CREDIT
        if "commitment" in term:
            return CostKind.LICENCE
        azure = (term, self.subscription_description.lower())
        if "azure plan" in azure or self.meter_description:
            return CostKind.USAGE
        if any("savings plan" in name.lower() for name in self._names):
            return CostKind.SAVINGS_PLAN  # how its lines look otherwise is not published
        if self.reservation_order_id:
            return CostKind.RESERVATION
        if "subscription" in term:
            return CostKind.LICENCE
        frequency = self.billing_frequency.lower().replace("_", "").replace("-", "")
        if "one-time" in term or frequency in ("onetime", "none"):
            return CostKind.ONE_TIME
        # Nothing is said about a term: what has a subscription must not be billed a second time.
        return CostKind.LICENCE if self.subscription_id else CostKind.ONE_TIME

    @property
    def _names(self) -> tuple[str, ...]:
        return self.sku_name, self.product_name, self.subscription_description

    @property
    def adjustments(self) -> tuple[str, ...]:
        """The price adjustments: a JSON array written as text, or plain words."""
        text = self.price_adjustment_description
        try:
            found = json.loads(text or "[]")
        except ValueError:
            found = text
        return tuple(str(one) for one in (found if isinstance(found, list) else [found]) if one)

    @property
    def mark(self) -> str:
        """16 hex digits of what makes the line this line; names and notes are left out."""
        identity = [
            self.customer_id,
            self.subscription_id,
            self.order_id,
            self.order_date,
            self.product_id,
            self.sku_id,
            self.availability_id,
            self.harmonised_charge_type,
            self.charge_start_date,
            self.charge_end_date,
            *(
                None if number is None else number.normalize()
                for number in (
                    self.quantity,
                    self.billable_quantity,
                    self.unit_price,
                    self.effective_unit_price,
                    self.subtotal,
                    self.tax_total,
                )
            ),
            self.currency,
            self.alternate_id,
            self.meter_description,
            self.reservation_order_id,
            self.credit_reason_code,
            self.reference_id,
            self.promotion_id,
        ]
        return sha256("\n".join(str(part) for part in identity).encode()).hexdigest()[:16]

    def to_domain(self, invoice_id: str, repeats: Counter[str]) -> CostLine:
        """Translate; ValueError when it belongs to another invoice or has no quantity.

        `repeats` counts the lines so far that are exactly alike, within one invoice.
        """
        if invoice_id and self.invoice_number not in ("", invoice_id):
            raise ValueError(f"it belongs to invoice {self.invoice_number}, not {invoice_id}")
        quantity = self.billable_quantity if self.quantity is None else self.quantity
        if quantity is None:
            if self.kind is not CostKind.CREDIT:
                raise ValueError("it has no quantity")
            quantity = Decimal(1)
        charged = _charged(self.charge_start_date, self.charge_end_date)
        invoice = invoice_id or self.invoice_number or "unbilled"
        mark = self.mark
        repeats[mark] += 1
        return CostLine(
            key=f"cost/{invoice}/{mark}/{repeats[mark]}",
            invoice_id=invoice,
            customer_id=self.customer_id,
            customer_name=self.customer_name,
            subscription_id=self.subscription_id,
            product_id=self.product_id,
            sku_id=self.sku_id,
            name=self.sku_name or self.product_name,
            kind=self.kind,
            charge_type=self.harmonised_charge_type,
            charged=charged,
            ordered_on=self.order_date,
            quantity=quantity,
            billable_quantity=quantity
            if self.billable_quantity is None
            else self.billable_quantity,
            unit_price=self.unit_price,
            effective_unit_price=self.effective_unit_price,
            subtotal=self.subtotal,
            tax=self.tax_total,
            currency=self.currency.upper(),
            pricing_currency=self.pricing_currency.upper(),
            exchange_rate=self.pc_to_bc_exchange_rate,
            term_and_billing_cycle=self.term_and_billing_cycle,
            billing_frequency=self.billing_frequency,
            subscription_start=self.subscription_start_date,
            subscription_end=day_after(self.subscription_end_date),
            promotion_id=self.promotion_id,
            meter=self.meter_description,
            reservation_order_id=self.reservation_order_id,
            credit_reason=self.credit_reason_code,
            reference_id=self.reference_id,
            partner_id=self.mpn_id,
            reseller_id=self.tier2_mpn_id,
            publisher=self.publisher_name,
            adjustments=self.adjustments,
        )


def cost_lines_of(rows: Iterable[Any], invoice_id: str = "") -> Iterator[CostLine | Finding]:
    """Translate the lines of one invoice; a line that cannot be read is a finding in its place."""
    repeats: Counter[str] = Counter()
    for row in rows:
        if isinstance(row, Finding):
            yield row
            continue
        record = label(f"invoice {invoice_id or 'unbilled'} line", row)
        yield cost_line_of(row, record, repeats, invoice_id)


def cost_line_of(
    row: Any, record: str, repeats: Counter[str], invoice_id: str = ""
) -> CostLine | Finding:
    """Translate one line that a finding names as `record`; `repeats` as in `CostLineWire.to_domain`."""
    return read(
        CostLineWire,
        row,
        lambda wire: wire.to_domain(invoice_id, repeats),
        check="cost_line",
        record=record,
        customer_id=customer_of(row),
    )


def _charged(first: date | None, last: date | None) -> Period | None:
    if first is not None and last is not None and last < first:
        raise ValueError(f"the charge ends on {last}, before it starts on {first}")
    return period_of(first, last)
