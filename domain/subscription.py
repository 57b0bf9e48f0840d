"""Subscriptions, what happened to them, and the lines by which Microsoft bills and meters them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from domain.period import BillingCycle, Period, TermDuration


class SubscriptionKind(StrEnum):
    """How a subscription is charged."""

    LICENCE = "licence"
    USAGE = "usage"
    ONE_TIME = "one_time"


WINDOW_DAYS = 7
"""Seats may be given back on days 1 to 7 of their purchase, renewal or addition (168 hours)."""


MARKETPLACE = "marketplace"
"""What a markup rule calls the products of other publishers, however they are billed."""


def sold_by_others(publisher: str) -> bool:
    """Say whether a publisher is not Microsoft; where none is named, it is."""
    return bool(publisher) and not publisher.lower().startswith("microsoft")


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTerm:
    """What somebody scheduled for the renewal; what is empty or None stays as it is."""

    sku: str = ""
    """product:sku"""
    quantity: int | None = None
    term: TermDuration | None = None
    billing_cycle: BillingCycle | None = None
    term_end: date | None = None
    """First day after the next term, where it is aligned with something else."""
    promotion_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A snapshot of one subscription as Partner Center shows it on the day of reading."""

    id: str
    customer_id: str
    product_id: str
    sku_id: str
    name: str
    kind: SubscriptionKind
    status: str
    """Open enum: active, suspended, deleted, expired, pending, disabled, ..."""
    quantity: int
    created: datetime
    start: date
    """First day of the running term."""
    term_end: date | None = None
    """First day after the running term; None where there is no commitment."""
    term: TermDuration | None = None
    billing_cycle: BillingCycle | None = None
    auto_renew: bool = False
    is_trial: bool = False
    promotion_id: str = ""
    partner_of_record: str = ""
    """Partner id (MPN, now PLA id) on the subscription; empty for a direct partner."""
    order_id: str = ""
    publisher: str = ""
    product_type: str = ""
    next_term: NextTerm | None = None
    migrated_from: str = ""
    """Id of the legacy subscription that this one replaced; empty where there was none."""
    segment: str = ""
    """Price segment of the product as Microsoft's catalogue names it; empty: it does not say."""

    @property
    def alive(self) -> bool:
        """Say whether it still runs or may run again; a suspended one is billed all the same."""
        return self.status.lower() not in {"deleted", "expired"}

    @property
    def key(self) -> str:
        """Identity from meaning."""
        return f"subscription/{self.id}"

    @property
    def sku(self) -> str:
        """Product and SKU as one word, as Microsoft writes offers: `CFQ7TTC0LH18:0001`."""
        return f"{self.product_id}:{self.sku_id}"

    @property
    def priced_as(self) -> str:
        """The kind by which a markup rule names it: licence, usage, one_time or marketplace."""
        return MARKETPLACE if sold_by_others(self.publisher) else self.kind.value


class EventType(StrEnum):
    """What changed. The order of the members is the order in which events of one day act."""

    PURCHASE = "purchase"
    RENEW = "renew"
    CONVERT = "convert"
    SET_QUANTITY = "set_quantity"
    SUSPEND = "suspend"
    RESUME = "resume"
    TRANSFER = "transfer"
    """It left for another partner: what was paid ahead is given back by the day."""
    CANCEL = "cancel"


class EventSource(StrEnum):
    """Where an event was seen; the order is the order of trust when two tell the same."""

    COST_LINE = "cost_line"
    AUDIT = "audit"
    SNAPSHOT = "snapshot"
    ENTERED = "entered"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionEvent:
    """One change of one subscription, effective on a day; `quantity` is the new total.

    A conversion without a product (`sku` empty) moves seats to or from another subscription.
    """

    subscription_id: str
    customer_id: str
    effective: date
    type: EventType
    quantity: int | None = None
    sku: str = ""
    """The new product:sku of a purchase, renewal or conversion; else empty."""
    term: TermDuration | None = None
    billing_cycle: BillingCycle | None = None
    term_end: date | None = None
    """First day after the term that this event starts, where it is not simply its length."""
    anchor: date | None = None
    """Purchase day that the charge cycles keep, where the term starts on a clamped day."""
    is_trial: bool = False
    """The term that this event starts is free."""
    reference_id: str = ""
    """Ties the legs of a conversion, as Microsoft writes it on both."""
    source: EventSource = EventSource.SNAPSHOT
    sequence: int = 0
    """Order among events of one type on one day, as the source listed them."""

    @property
    def key(self) -> str:
        """Identity from meaning: two sources that tell the same make one event."""
        number = "" if self.quantity is None else f"/{self.quantity}"
        return f"event/{self.subscription_id}/{self.effective}/{self.type}{number}/{self.sequence}"


class CostKind(StrEnum):
    """What a line of Microsoft's invoice is about."""

    LICENCE = "licence"
    USAGE = "usage"
    ONE_TIME = "one_time"
    RESERVATION = "reservation"
    CREDIT = "credit"
    SAVINGS_PLAN = "savings_plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostInvoice:
    """The head of one of Microsoft's invoices: one per currency and month."""

    id: str
    currency: str
    total: Decimal
    """Before tax, in `currency`; the control total of its lines."""
    issued_on: date
    billed: Period
    is_note: bool = False
    """It adjusts what invoices of before billed, and is not the invoice of the month."""
    voided_on: date | None = None
    """Day of the note that voided it: its total is zero, and its lines are withdrawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageShare:
    """The part of a metered cost line that was used in one place, as fine as its customer asks.

    `cost` is the exact sum of the daily lines, the key by which the line's subtotal is split: daily
    lines are rounded one by one, so they do not sum to the line.
    """

    entitlement_id: str
    entitlement_name: str
    meter_category: str
    lines: int
    quantity: Decimal
    cost: Decimal
    resource_group: str | None = None
    """As written; empty where there is none, None where nobody asked or the files do not say."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Value by tag name in lower case, of the tags that were asked for; empty: untagged."""
    earned_percent: Decimal | None = None
    """Partner earned credit by the daily lines; None: they do not say."""
    benefit: str = ""
    """What paid for it ahead: reservation or savings_plan; empty: nothing did, or it cost."""


_EARNED = re.compile(r"partner\s+earned\s+credit", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:[.,]\d+)?)\s*%")
_OTHER = re.compile(
    r"^(price for given |tiered price|you are getting |[\d.,]+\s*% (azure credit|tier \d+ discount))",
    re.IGNORECASE,
)
"""Adjustments of Microsoft that are no earned credit; what else may stand there is not published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One line of Microsoft's invoice (reconciliation line). Money in `currency`, before tax.

    `subtotal` is the truth of what Microsoft billed; `unit_price` is for a full billing cycle in
    `pricing_currency`; `effective_unit_price` is prorated and discounted.
    """

    key: str
    """Stable identity of the line within its invoice, made from its content."""
    invoice_id: str
    customer_id: str
    customer_name: str
    subscription_id: str
    product_id: str
    sku_id: str
    name: str
    kind: CostKind
    charge_type: str
    """As Microsoft writes it, harmonised in case: new, cycleCharge, renew, addQuantity, ..."""
    charged: Period | None
    """Days covered; None on lines without dates."""
    ordered_on: date | None
    quantity: Decimal
    billable_quantity: Decimal
    unit_price: Decimal
    effective_unit_price: Decimal
    subtotal: Decimal
    tax: Decimal
    currency: str
    pricing_currency: str = ""
    exchange_rate: Decimal = Decimal(1)
    term_and_billing_cycle: str = ""
    billing_frequency: str = ""
    subscription_start: date | None = None
    subscription_end: date | None = None
    """First day after the term."""
    promotion_id: str = ""
    meter: str = ""
    reservation_order_id: str = ""
    credit_reason: str = ""
    reference_id: str = ""
    partner_id: str = ""
    """Partner (MPN / PLA) id on the line."""
    reseller_id: str = ""
    """Indirect reseller's id; empty when direct (Microsoft writes 0 or -1)."""
    publisher: str = ""
    adjustments: tuple[str, ...] = ()
    """Why the effective unit price is not the listed one, in Microsoft's words."""
    shares: tuple[UsageShare, ...] = ()
    """Who used a metered line; empty on every other kind."""
    withdrawn_on: date | None = None
    """Day on which a newer version of the invoice no longer had it: kept to explain documents of
    before, and billed no more."""

    @property
    def is_marketplace(self) -> bool:
        """Say whether another publisher sells it; a line that names none is Microsoft's."""
        return sold_by_others(self.publisher)

    @property
    def earned_percent(self) -> Decimal | None:
        """Partner earned credit as the line tells it; None where it does not, or is not understood."""
        words = [one for one in self.adjustments if _EARNED.search(one)]
        if words:
            numbers = {n.replace(",", ".") for one in words for n in _PERCENT.findall(one)}
            told = {Decimal(number) for number in numbers}
            return told.pop() if len(told) == 1 else None
        known = self.adjustments and all(_OTHER.search(one) for one in self.adjustments)
        return Decimal(0) if known else None

    @property
    def falls_on(self) -> date | None:
        """The day that puts the line into a period; a credit belongs where it was granted."""
        if self.charged is None or (self.kind is CostKind.CREDIT and self.ordered_on):
            return self.ordered_on
        return self.charged.start

    @property
    def is_credit(self) -> bool:
        """Say whether the line gives back; where Microsoft puts the sign differs by line type.

        The end of a free trial is worth nothing and shows no sign: its charge type tells.
        """
        return (
            self.charge_type == "cancelImmediate"
            or min(self.subtotal, self.effective_unit_price, self.billable_quantity) < 0
        )

    @property
    def seats(self) -> Decimal:
        """Billed units, negative on a credit."""
        return -abs(self.billable_quantity) if self.is_credit else self.billable_quantity

    @property
    def sku(self) -> str:
        """Product and SKU as one word."""
        return f"{self.product_id}:{self.sku_id}"


def invoice_of(key: str) -> str:
    """Return the invoice that a cost line's key names; empty where it is no such key."""
    kind, _, rest = key.partition("/")
    return rest.partition("/")[0] if kind == "cost" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSummary:
    """Rated usage of one day, one Azure subscription and one meter category, summed exactly.

    Late usage and adjustments of a day come with later invoices: what a day came to is the sum.
    """

    customer_id: str
    plan_id: str
    """The Azure plan (Partner Center subscription)."""
    entitlement_id: str
    """The Azure subscription."""
    entitlement_name: str
    meter_category: str
    day: date
    currency: str
    lines: int
    quantity: Decimal
    cost: Decimal
    invoice_id: str = ""
    """Microsoft's invoice that has it; empty: not billed yet, or stored when this was not kept."""

    @property
    def key(self) -> str:
        """Identity from meaning; what names no invoice keeps the key under which it was stored."""
        where = f"{self.day}/{self.meter_category}/{self.currency}"
        if not self.invoice_id:
            return f"usage/{self.entitlement_id}/{where}"
        whose = f"{self.customer_id}/{self.plan_id}/{self.entitlement_id}"
        return f"usage/{self.invoice_id}/{whose}/{where}"
