"""Facts with sensible defaults: a test names only what matters to it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from domain.charge import Charge, ChargeType, Reason
from domain.contract import (
    BillingContract,
    ExchangeRate,
    MarkupMethod,
    MarkupRule,
    PriceListItem,
    TaxProfile,
    TaxTreatment,
)
from domain.customer import Account, Address, Agreement, Customer, DelegatedAdminRelationship
from domain.money import Money
from domain.period import BillingCycle, Period, TermDuration
from domain.problems import Finding
from domain.subscription import (
    CostKind,
    CostLine,
    EventType,
    Subscription,
    SubscriptionEvent,
    SubscriptionKind,
    UsageShare,
)
from domain.tax import TaxCategory, TaxDecision, TaxPart, TaxRounding
from invoice.assemble import Tax, assemble
from invoice.document import DocumentStatus, Invoice
from rules.cycles import Method
from rules.events import order
from rules.grouping import Billed
from rules.lines import UnitPrice
from rules.pricing import PriceBook
from rules.proration import PriceQuestion, rate_history
from rules.rating import Rated, rate_customer

CUSTOMER = "c1"
SEATS = "s1"
PRODUCT, SKU = "CFQ7TTC0LH18", "0001"
OFFER = f"{PRODUCT}:{SKU}"
ALWAYS = Period(date(2020, 1, 1), date(2040, 1, 1))


def day(text: str) -> date:
    """Read `2026-02-15`."""
    return date.fromisoformat(text)


def period(first: str, end: str) -> Period:
    """Half-open, as inside: the end is not covered."""
    return Period(day(first), day(end))


# --- what happened --------------------------------------------------------------------------------


def purchase(on: str, quantity: int = 10, **fields: Any) -> SubscriptionEvent:
    return an_event(
        on,
        EventType.PURCHASE,
        **{
            "quantity": quantity,
            "sku": OFFER,
            "term": TermDuration.YEAR,
            "billing_cycle": BillingCycle.MONTHLY,
            **fields,
        },
    )


def an_event(on: str, kind: EventType, **fields: Any) -> SubscriptionEvent:
    return SubscriptionEvent(
        **{
            "subscription_id": SEATS,
            "customer_id": CUSTOMER,
            "effective": day(on),
            "type": kind,
            **fields,
        }
    )


def seats(on: str, quantity: int, **fields: Any) -> SubscriptionEvent:
    """The new total from a day on."""
    return an_event(on, EventType.SET_QUANTITY, quantity=quantity, **fields)


def renew(on: str, **fields: Any) -> SubscriptionEvent:
    return an_event(on, EventType.RENEW, **fields)


def convert(on: str, sku: str, **fields: Any) -> SubscriptionEvent:
    return an_event(on, EventType.CONVERT, sku=sku, **fields)


def cancel(on: str) -> SubscriptionEvent:
    return an_event(on, EventType.CANCEL)


PriceOf = Callable[[PriceQuestion], Decimal | Fraction | int | Finding]


def rated(
    *events: SubscriptionEvent,
    window: Period | tuple[str, str],
    price: str | PriceOf = "30",
    currency: str = "USD",
    auto_renew: bool = True,
    covers: int | None = None,
    until: date | None = None,
    served_from: date | None = None,
    **method: Any,
) -> tuple[list[Charge], list[Finding]]:
    """Rate one history at one price, or at what a function answers."""

    def price_for(question: PriceQuestion) -> UnitPrice | Finding:
        value = Decimal(price) if isinstance(price, str) else price(question)
        if isinstance(value, Finding):
            return value
        reasons = (Reason(rule="price.test"),)
        return UnitPrice(value=Fraction(value), covers=covers, until=until, reasons=reasons)

    return rate_history(
        order(events),
        price_for=price_for,
        window=window if isinstance(window, Period) else period(*window),
        method=Method(currency=currency, **method),
        name="Seats",
        auto_renew=auto_renew,
        served_from=served_from,
    )


# --- who and how ----------------------------------------------------------------------------------


def a_customer(**fields: Any) -> Customer:
    return Customer(
        **{"id": CUSTOMER, "name": "Fabrikam Toys", "domain": "fabrikam.example", **fields}
    )


def a_contract(**fields: Any) -> BillingContract:
    return BillingContract(
        **{
            "key": "contract/c1",
            "customer_id": CUSTOMER,
            "account_id": "account-1",
            "account_name": "Fabrikam Toys Ltd",
            "currency": "USD",
            "starts": day("2026-10-01"),
            **fields,
        }
    )


SOMEWHERE = Address(line1="Musterweg 12", city="München", postal_code="80331", country="DE")
"""Where the tax profile of these builders is for."""


def an_account(**fields: Any) -> Account:
    return Account(
        **{"id": "account-1", "name": "Fabrikam Toys Ltd", "address": SOMEWHERE, **fields}
    )


def a_tax_profile(**fields: Any) -> TaxProfile:
    return TaxProfile(
        **{
            "key": "tax/c1",
            "country": "DE",
            "treatment": TaxTreatment.STANDARD,
            "rate_percent": Decimal(19),
            **fields,
        }
    )


def a_rule(value: str | None = "15", **fields: Any) -> MarkupRule:
    return MarkupRule(
        **{
            "key": "rule/all",
            "method": MarkupMethod.PERCENT,
            "value": None if value is None else Decimal(value),
            "valid": ALWAYS,
            **fields,
        }
    )


def a_price(unit_price: str | None = "12.00", **fields: Any) -> PriceListItem:
    return PriceListItem(
        **{
            "key": "price/1",
            "customer_id": "",
            "sku": OFFER,
            "term": TermDuration.YEAR,
            "billing_cycle": BillingCycle.MONTHLY,
            "currency": "USD",
            "unit_price": None if unit_price is None else Decimal(unit_price),
            "valid": ALWAYS,
            **fields,
        }
    )


def a_rate(rate: str = "1.2", on: str = "2026-10-01", **fields: Any) -> ExchangeRate:
    return ExchangeRate(
        **{
            "source": "ECB",
            "base": "EUR",
            "quote": "USD",
            "rate": Decimal(rate),
            "on": day(on),
            **fields,
        }
    )


def an_agreement(**fields: Any) -> Agreement:
    return Agreement(
        **{
            "customer_id": CUSTOMER,
            "type": "MicrosoftCustomerAgreement",
            "agreed_on": day("2025-01-07"),
            **fields,
        }
    )


def a_relationship(**fields: Any) -> DelegatedAdminRelationship:
    return DelegatedAdminRelationship(
        **{
            "id": "gdap-1",
            "name": "Fabrikam admin",
            "customer_id": CUSTOMER,
            "status": "active",
            "active_assignments": 1,
            "ends_on": day("2027-12-31"),
            **fields,
        }
    )


# --- Microsoft's side -----------------------------------------------------------------------------


def a_subscription(**fields: Any) -> Subscription:
    start = fields.get("start", day("2026-10-14"))
    return Subscription(
        **{
            "id": SEATS,
            "customer_id": CUSTOMER,
            "product_id": PRODUCT,
            "sku_id": SKU,
            "name": "Business Premium",
            "kind": SubscriptionKind.LICENCE,
            "status": "active",
            "quantity": 10,
            "created": datetime.combine(start, datetime.min.time(), UTC),
            "start": start,
            "term": TermDuration.YEAR,
            "billing_cycle": BillingCycle.MONTHLY,
            "auto_renew": True,
            **fields,
        }
    )


def a_line(
    charge_type: str = "cycleCharge",
    first: str = "2026-10-14",
    end: str = "2026-11-14",
    quantity: int | str = 10,
    unit: str = "10.00",
    **fields: Any,
) -> CostLine:
    """A seat line of Microsoft; a credit is written with a negative quantity, as a new sign of price.

    `unit` is the price of the whole cycle, `effective` (if given) the prorated one.
    """
    count = Decimal(quantity)
    effective = Decimal(fields.pop("effective", unit))
    made = CostLine(
        key=f"cost/I1/{charge_type}/{first}/{quantity}",
        invoice_id="I1",
        customer_id=CUSTOMER,
        customer_name="Fabrikam Toys",
        subscription_id=SEATS,
        product_id=PRODUCT,
        sku_id=SKU,
        name="Business Premium",
        kind=CostKind.LICENCE,
        charge_type=charge_type,
        charged=period(first, end),
        ordered_on=day(first),
        quantity=abs(count),
        billable_quantity=abs(count),
        unit_price=Decimal(unit),
        effective_unit_price=-effective if count < 0 else effective,
        subtotal=effective * count,
        tax=Decimal(0),
        currency="USD",
        pricing_currency="USD",
        term_and_billing_cycle="One-Year commitment for monthly/yearly billing",
        billing_frequency="Monthly",
        subscription_start=day("2026-10-14"),
        subscription_end=day("2027-10-14"),
    )
    return replace(made, **fields)


def a_change(
    charge_type: str, on: str, end: str, old: int, new: int, **fields: Any
) -> list[CostLine]:
    """The pair by which Microsoft bills a seat change: the old total back, the new total anew."""
    return [a_line(charge_type, on, end, count, **fields) for count in (-old, new)]


def a_pass_on(kind: CostKind, subtotal: str, **fields: Any) -> CostLine:
    """A line that is imported: usage, one-time, reservation or credit."""
    line = a_line(
        "customerCredit" if kind is CostKind.CREDIT else "new",
        "2026-10-01",
        "2026-11-01",
        1,
        key=f"cost/I1/{kind}/{subtotal}",
        kind=kind,
        subtotal=Decimal(subtotal),
        unit_price=Decimal(subtotal),
        effective_unit_price=Decimal(subtotal),
        subscription_id="plan-1",
        product_id="DZH318Z0BPS6",
        name="Azure plan",
        term_and_billing_cycle="",
        billing_frequency="",
        subscription_start=None,
        subscription_end=None,
    )
    return replace(line, **fields)


def a_share(cost: str, **fields: Any) -> UsageShare:
    return UsageShare(
        **{
            "entitlement_id": "azure-1",
            "entitlement_name": "Production",
            "meter_category": "Storage",
            "lines": 30,
            "quantity": Decimal(1),
            "cost": Decimal(cost),
            **fields,
        }
    )


def rated_customer(
    lines: Sequence[CostLine] = (),
    *,
    subscriptions: Sequence[Subscription] = (),
    rules: Sequence[MarkupRule] | None = None,
    prices: Sequence[PriceListItem] = (),
    rates: Sequence[ExchangeRate] = (),
    window: Period | None = None,
    billed: Billed | None = None,
    **terms: Any,
) -> Rated:
    """Rate October 2026 of one customer, or another window, at 15 percent or by other rules."""
    return rate_customer(
        contract=a_contract(**terms),
        subscriptions=subscriptions,
        told=(),
        cost_lines=lines,
        book=PriceBook(prices, (a_rule("15"),) if rules is None else rules, rates),
        window=window or Period.month("2026-10"),
        today=day("2026-11-09"),
        billed=billed,
    )


# --- charges and documents ------------------------------------------------------------------------


def a_charge(amount: str = "120.00", **fields: Any) -> Charge:
    currency = fields.pop("currency", "USD")
    first = fields.get("service", period("2026-10-14", "2026-11-14"))
    subscription = fields.get("subscription_id", SEATS)
    return Charge(
        **{
            "key": f"charge/{subscription}/cycle/{first.start}/0",
            "customer_id": CUSTOMER,
            "subscription_id": SEATS,
            "type": ChargeType.CYCLE,
            "name": "Business Premium",
            "sku": OFFER,
            "service": first,
            "full": first,
            "quantity": Decimal(10),
            "unit_price": Decimal(12),
            "exact": Fraction(Decimal(amount)),
            "amount": Money(Decimal(amount), currency),
            "why": f"10 running = {amount} {currency}",
            "reasons": (Reason(rule="price.test"),),
            **fields,
        }
    )


def vat(percent: str | Decimal, country: str = "DE") -> TaxPart:
    return TaxPart(name="VAT", jurisdiction=country, percent=Decimal(percent))


def a_tax(
    percent: str | Decimal = "0",
    *,
    rounding: TaxRounding = TaxRounding.LINE,
    point: str = "",
    right_from: date | None = None,
    **decision: Any,
) -> Tax:
    """What is decided of tax: VAT at a rate, or none because it is zero rated."""
    rate = Decimal(percent)
    return Tax(
        decision=TaxDecision(
            **{
                "category": TaxCategory.STANDARD if rate else TaxCategory.ZERO,
                "parts": (vat(rate),) if rate else (),
                **decision,
            }
        ),
        rounding=rounding,
        point=day(point) if point else None,
        right_from=right_from,
    )


def of_before(document: Invoice) -> Invoice:
    """The same document as it was stored before categories, parts and parties were kept."""
    lines = tuple(
        replace(line, tax_category=None, taxes=(), tax_note="") for line in document.lines
    )
    return replace(
        document,
        lines=lines,
        seller=None,
        buyer=None,
        seller_tax_id="",
        tax_point=None,
        tax_reasons=(),
    )


def drafted(
    charges: Sequence[Charge],
    documents: Sequence[Invoice] = (),
    *,
    month: str = "2026-10",
    percent: str = "0",
    **contract: Any,
) -> Invoice | None:
    """What is missing for a month, given the documents so far."""
    return assemble(
        customer=a_customer(),
        contract=a_contract(**contract),
        period=Period.month(month),
        proposed=charges,
        documents=documents,
        tax=a_tax(percent),
    )


def issued(document: Invoice | None, number: str = "INV-202610-0001") -> Invoice:
    """Approve and issue a draft."""
    assert document is not None
    due = document.period.end + timedelta(days=30)
    return replace(
        document,
        status=DocumentStatus.ISSUED,
        number=number,
        issued_on=document.period.end,
        due_on=due,
    )


def amounts(charges: Iterable[Charge]) -> list[str]:
    return [str(charge.amount.amount) for charge in charges]


def cycles(charges: Iterable[Charge]) -> list[tuple[str, int, Fraction]]:
    """What each charge is for: its type, its seats, and how much of a cycle."""
    return [(c.type.value, int(c.quantity), Fraction(c.service.days, c.full.days)) for c in charges]


def checks(findings: Iterable[Finding]) -> list[str]:
    return [finding.check for finding in findings]
