"""Invoices and their reconciliation lines: the charges of a calendar month put on the wire.

A line belongs to the month of its billing event; its own dates run past it, for the charge cycle is
anchored on the purchase day. Tax is nil on every line: the partner holds a reseller exemption.
Some rows are untidy in the ways seen in the field (numbers as text, ChargeType in another case),
chosen by a hash of the row, so a rebuilt world is untidy in the same places.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

from emulator.catalogue import PRODUCTS, Price, Product, exchange_rate
from emulator.commerce import Subscription
from emulator.history import Charge, subtotal
from emulator.meters import AzurePlan, PlanUsage, Rate, plain
from emulator.tenants import Resource, Tenant, link
from emulator.terms import Span, add_months, midnight, month_of, stamp

FIRST_NUMBERED = date(2026, 10, 1)
FIRST_NUMBER = {"USD": 912345, "EUR": 912346}
SYMBOLS = {"USD": "$", "EUR": "€"}
PAID_AFTER = timedelta(days=60)
_AZURE = PRODUCTS["azure-plan"]

_TERM_TEXT = {
    "P1M": "One-Month commitment for monthly billing",
    "P1Y": "One-Year commitment for monthly/yearly billing",
    "P3Y": "Three-Year commitment for monthly/3 years/yearly billing",
    "NoTerm": "One-time purchase",
}
_FREQUENCY = {"monthly": "Monthly", "annual": "Annual", "triennial": "Triennial"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimePurchase:
    """A perpetual licence or a reservation: one line, no cycle, no place among subscriptions."""

    order_id: str
    at: datetime
    product: Product
    price: Price
    quantity: int
    reservation_order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """A customerCredit: money back for a stated reason, for a subscription."""

    order_id: str
    at: datetime
    product: Product
    subscription_id: str
    amount: Decimal
    reason: str
    period: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Everything of one customer that can end on an invoice."""

    tenant: Tenant
    subscriptions: list[Subscription]
    purchases: list[OneTimePurchase]
    credits: list[Credit]
    plans: list[AzurePlan]


Corrections = Mapping[str, Mapping[str, int]]
"""Percentages of consumption by Azure plan and meter, where an invoice was issued anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where lines stand: partner, month, currency and, once billed, the invoice's number."""

    partner_id: str
    mpn_id: str
    month: Span
    currency: str
    invoice: str
    corrected: Corrections = field(default_factory=dict)

    def line(self, tenant: Tenant, product: Product, **cells: Any) -> Resource:
        """A line with every published field; ``cells`` overrides what is blank by default."""
        pricing = cells.get("PricingCurrency", self.currency)
        if tenant.recon_reseller_id is not None:
            cells["Tier2MpnId"] = tenant.recon_reseller_id
        return {
            "PartnerId": self.partner_id,
            "CustomerId": tenant.id,
            "CustomerName": tenant.company,
            "CustomerDomainName": tenant.domain,
            "CustomerCountry": tenant.country,
            "InvoiceNumber": self.invoice,
            "MpnId": tenant.recon_mpn_id or self.mpn_id,
            "Tier2MpnId": tenant.reseller.mpn_id if tenant.reseller else "0",
            "OrderId": "",
            "OrderDate": "",
            "ProductId": product.product_id,
            "SkuId": product.sku_id,
            "AvailabilityId": "",
            "SkuName": product.title,
            "ProductName": product.title,
            "ChargeType": "new",
            "UnitPrice": Decimal(0),
            "Quantity": 1,
            "Subtotal": Decimal(0),
            "TaxTotal": Decimal("0.00"),
            "Total": cells.get("Subtotal", Decimal(0)),
            "Currency": self.currency,
            "PriceAdjustmentDescription": "[]",
            "PublisherName": product.publisher,
            "PublisherId": product.publisher_id,
            "SubscriptionDescription": product.title,
            "SubscriptionId": "",
            "SubscriptionStartDate": "",
            "SubscriptionEndDate": "",
            "ChargeStartDate": "",
            "ChargeEndDate": "",
            "TermAndBillingCycle": "",
            "BillingFrequency": "NA",
            "EffectiveUnitPrice": Decimal(0),
            "UnitType": product.unit,
            "AlternateId": cells.get("OrderId", ""),
            "BillableQuantity": 1,
            "PricingCurrency": pricing,
            "PCToBCExchangeRate": exchange_rate(pricing, self.currency, self.month.start),
            "PCToBCExchangeRateDate": stamp(self.month.last),
            "MeterDescription": "",
            "ReservationOrderId": "",
            "CreditReasonCode": "",
            "ReferenceId": "",
            "ProductQualifiers": json.dumps(list(product.qualifiers)),
            "PromotionId": "",
            "ProductCategory": product.category,
        } | cells


def month_lines(
    account: Account, frame: Frame, *, until: datetime, seed: int
) -> Iterable[Resource]:
    """All lines of one customer whose billing event lies in the frame's month, up to an instant."""
    tenant = account.tenant
    end = min(until, midnight(frame.month.end) - timedelta(microseconds=1))
    begin = midnight(frame.month.start)
    for subscription in account.subscriptions:
        replay = subscription.replay(end)
        if replay is not None:
            for charge in replay.charges:
                if charge.at >= begin:
                    yield _untidy(_seat_line(frame, tenant, subscription, charge))
    for purchase in account.purchases:
        if begin <= purchase.at <= end:
            yield _one_time_line(frame, tenant, purchase)
    for credit in account.credits:
        if begin <= credit.at <= end:
            yield _credit_line(frame, tenant, credit)
    for usage in plan_usages(
        account, frame.month, until=until, seed=seed, corrected=frame.corrected
    ):
        for rate, consumed in usage.by_rate().items():
            yield _meter_line(frame, tenant, usage.plan, rate, consumed)


def plan_usages(
    account: Account,
    month: Span,
    *,
    until: datetime,
    seed: int,
    corrected: Corrections | None = None,
) -> Iterable[PlanUsage]:
    """Consumption of a customer's Azure plans; a day shows up once the next one has begun."""
    yesterday = until.date() - timedelta(days=1)
    for plan in account.plans:
        if plan.created.date() < month.end and yesterday >= month.start:
            yield PlanUsage(
                plan,
                seed=seed,
                month=month,
                through=yesterday,
                corrected=(corrected or {}).get(plan.subscription_id),
            )


def _seat_line(
    frame: Frame, tenant: Tenant, subscription: Subscription, charge: Charge
) -> Resource:
    product, segment = charge.product, subscription.purchase.segment
    pricing = charge.price.currency
    exchange = exchange_rate(pricing, frame.currency, frame.month.start)
    reasons = ["Price for given billing period"]
    if charge.promotion is not None:
        reasons.append(f"{charge.promotion.percent:.1f}% discount by promotion")
    term = "One-Month commitment for trial" if product.trial else _TERM_TEXT[charge.term]
    if product.view == "software":
        term = {"P1Y": "1 Year Subscription", "P3Y": "3 Year Subscription"}[charge.term]
    return frame.line(
        tenant,
        product,
        Tier2MpnId=charge.partner_id or "0",
        OrderId=charge.order_id,
        OrderDate=stamp(charge.at),
        AvailabilityId=product.availability_id(segment, charge.term, charge.plan),
        ChargeType=charge.kind,
        UnitPrice=plain(charge.unit_price),
        Quantity=charge.quantity,
        BillableQuantity=charge.quantity,
        EffectiveUnitPrice=plain(charge.effective_price),
        Subtotal=charge.subtotal(exchange),
        PriceAdjustmentDescription=json.dumps(reasons),
        SubscriptionId=subscription.id,
        SubscriptionStartDate=stamp(charge.term_span.start),
        SubscriptionEndDate=stamp(charge.term_span.last),
        ChargeStartDate=stamp(charge.charged.start),
        ChargeEndDate=stamp(charge.charged.last),
        TermAndBillingCycle=term,
        BillingFrequency=_FREQUENCY[charge.plan],
        PricingCurrency=pricing,
        ReferenceId=charge.reference,
        PromotionId=charge.promotion.id if charge.promotion else "",
    )


def _one_time_line(frame: Frame, tenant: Tenant, purchase: OneTimePurchase) -> Resource:
    product, price = purchase.product, purchase.price
    exchange = exchange_rate(price.currency, frame.currency, frame.month.start)
    day = purchase.at.date()
    last, bounds = day, ("", "")
    if price.term == "P1Y":
        last = add_months(day, 12) - timedelta(days=1)
        bounds = (stamp(day), stamp(last))
    return frame.line(
        tenant,
        product,
        OrderId=purchase.order_id,
        OrderDate=stamp(purchase.at),
        AvailabilityId=product.availability_id(price.segment, price.term, price.plan),
        UnitPrice=price.amount,
        Quantity=purchase.quantity,
        BillableQuantity=purchase.quantity,
        EffectiveUnitPrice=price.amount,
        Subtotal=subtotal(price.amount, purchase.quantity, exchange),
        SubscriptionStartDate=bounds[0],
        SubscriptionEndDate=bounds[1],
        ChargeStartDate=stamp(day),
        ChargeEndDate=stamp(last),
        TermAndBillingCycle="1 Year" if price.term == "P1Y" else _TERM_TEXT["NoTerm"],
        PricingCurrency=price.currency,
        ReservationOrderId=purchase.reservation_order_id,
    )


def _credit_line(frame: Frame, tenant: Tenant, credit: Credit) -> Resource:
    return frame.line(
        tenant,
        credit.product,
        OrderId=credit.order_id,
        OrderDate=stamp(credit.at),
        ChargeType="customerCredit",
        UnitPrice=-credit.amount,
        EffectiveUnitPrice=-credit.amount,
        Subtotal=-credit.amount,
        SubscriptionId=credit.subscription_id,
        ChargeStartDate=stamp(credit.period.start),
        ChargeEndDate=stamp(credit.period.last),
        CreditReasonCode=credit.reason,
    )


def _meter_line(
    frame: Frame, tenant: Tenant, plan: AzurePlan, rate: Rate, consumed: Decimal
) -> Resource:
    meter = rate.meter
    exchange = exchange_rate("USD", frame.currency, frame.month.start)
    reasons = []
    if rate.sponsored:
        reasons.append("100.0% Azure credit applied")
    elif rate.earned:
        reasons.append("15.0% Partner earned credit for services managed")
    return frame.line(
        tenant,
        _AZURE,
        OrderId=plan.order_id,
        # The event is the close of the month; lines of a running month carry it already.
        OrderDate=stamp(frame.month.last),
        ProductId=meter.product_id,
        SkuId=meter.sku_id,
        AvailabilityId=meter.product_id[:8] + meter.sku_id,
        SkuName=meter.sku_name,
        ProductName=meter.product_name,
        PublisherName=meter.publisher,
        UnitPrice=meter.price,
        BillableQuantity=consumed,
        EffectiveUnitPrice=rate.effective(consumed),
        UnitType=meter.unit,
        Subtotal=rate.month_total(consumed, exchange),
        PriceAdjustmentDescription=json.dumps(reasons),
        SubscriptionId=plan.subscription_id,
        ChargeStartDate=stamp(frame.month.start),
        ChargeEndDate=stamp(frame.month.last),
        TermAndBillingCycle="Azure plan",
        PricingCurrency="USD",
        MeterDescription=f"{meter.product_name} - {meter.name}",
    )


def _untidy(line: Resource) -> Resource:
    mark = sha256(f"{line['OrderId']}/{line['ChargeStartDate']}/{line['Total']}".encode()).digest()
    if mark[0] % 19 == 0:
        line["ChargeType"] = line["ChargeType"][:1].upper() + line["ChargeType"][1:]
    if mark[1] % 13 == 0:
        for name in ("UnitPrice", "Quantity", "BillableQuantity"):
            line[name] = str(line[name])
    return line


def invoice_number(month: Span, currency: str) -> str:
    """The invoice of a month and currency; numbers run on by two a month."""
    months = (month.start.year - FIRST_NUMBERED.year) * 12 + (
        month.start.month - FIRST_NUMBERED.month
    )
    return f"G{FIRST_NUMBER[currency] + 2 * months:09d}"


def issue_date(month: Span, currency: str) -> datetime:
    """When a month's invoice appears: the 7th (US dollars) and the 8th (euro) of the next."""
    days = {"USD": 6, "EUR": 7}[currency]
    return midnight(month.end + timedelta(days=days)) + timedelta(
        hours=18, minutes=20, seconds=11, microseconds=123456
    )


def invoice_resource(month: Span, currency: str, total: Decimal, now: datetime) -> Resource:
    """The v1 Invoice; what was paid shows as a negative amount, about two months after issue."""
    number, issued = invoice_number(month, currency), issue_date(month, currency)
    path = f"/invoices/OneTime-{number}"
    return {
        "id": number,
        "invoiceDate": stamp(issued),
        "billingPeriodStartDate": stamp(month.start),
        "billingPeriodEndDate": f"{month.last.isoformat()}T23:59:59Z",
        "totalCharges": total,
        "paidAmount": -total if now >= issued + PAID_AFTER else Decimal("0.0"),
        "currencyCode": currency,
        "currencySymbol": SYMBOLS[currency],
        "pdfDownloadLink": f"/invoices/{number}/documents/statement",
        "invoiceDetails": [
            {
                "invoiceLineItemType": kind,
                "billingProvider": "one_time",
                "links": {"self": link(f"{path}/lineitems/OneTime/{name}")},
                "attributes": {"objectType": "InvoiceDetail"},
            }
            for kind, name in (
                ("billing_line_items", "BillingLineItems"),
                ("usage_line_items", "UsageLineItems"),
            )
        ],
        "amendments": [],
        "documentType": "invoice",
        "invoiceType": "OneTime",
        "links": {"self": link(path)},
        "attributes": {"objectType": "Invoice"},
    }


def months_between(first: date, last: date) -> list[Span]:
    """The calendar months from one holding a day to one holding another, both included."""
    months = [month_of(first)]
    while months[-1].end <= last:
        months.append(month_of(months[-1].end))
    return months
