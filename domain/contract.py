"""How one account is billed: the contract, its prices, its markup rules and its tax profile."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from domain.period import BillingCycle, Frequency, Grid, Period, TermDuration


class TaxTreatment(StrEnum):
    """How a customer's charges are taxed."""

    STANDARD = "standard"
    REVERSE_CHARGE = "reverse_charge"
    EXEMPT = "exempt"
    OUT_OF_SCOPE = "out_of_scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxProfile:
    """The tax of one customer with its evidence; a missing or lapsed profile holds the customer."""

    key: str
    country: str
    treatment: TaxTreatment
    rate_percent: Decimal = Decimal(0)
    """Applied when the treatment is standard."""
    evidence: str = ""
    """VAT number or certificate number."""
    valid_until: date | None = None
    """Last day of the evidence; None: no end."""
    wording: str = ""
    """Note printed on the invoice (reverse charge, exemption reason)."""


class Timing(StrEnum):
    """When a charge falls due: at the start or at the end of what it pays for."""

    ADVANCE = "advance"
    ARREARS = "arrears"


class Alignment(StrEnum):
    """Whose cycles the lines follow: Microsoft's, from the purchase day, or the contract's own."""

    CHARGE_CYCLE = "charge_cycle"
    CONTRACT = "contract"


class Proration(StrEnum):
    """What a part of a cycle costs."""

    DAYS = "days"
    """Its days, of the actual days of the cycle."""
    FIXED_30 = "fixed_30"
    """Its days, of 30 for each month of the cycle; never more than the whole."""
    MONTHS = "months"
    """Its months, one that has begun counting whole, of the months of the cycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingContract:
    """How the charges of one customer are billed to one account."""

    key: str
    customer_id: str
    account_id: str
    """Primary key of the Dataverse account row; empty when nobody mapped it."""
    account_name: str
    currency: str
    starts: date
    """First day whose service is billed by us."""
    ends: date | None = None
    frequency: Frequency = Frequency.MONTH
    anchor_day: int = 1
    """Day of the month on which a billing period starts (ISO weekday when billed weekly)."""
    anchor_month: int = 1
    """Month in which a billing period longer than a month starts."""
    timing: Timing = Timing.ADVANCE
    alignment: Alignment = Alignment.CHARGE_CYCLE
    proration: Proration = Proration.DAYS
    payment_days: int = 30
    tax_profile_key: str = ""
    expected_partner_id: str = ""
    """Partner of record that must stand on subscriptions and lines; empty: not checked."""
    excluded_skus: tuple[str, ...] = ()
    """product:sku that are not passed on (internal use), each still shown as excluded."""

    @property
    def grid(self) -> Grid:
        """The billing periods of this contract."""
        return Grid.of_contract(
            self.frequency, self.anchor_day, self.anchor_month, self.starts.year
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceListItem:
    """Agreed price of one product for one customer (or for all: empty customer), per billing cycle."""

    key: str
    customer_id: str
    sku: str
    term: TermDuration | None
    billing_cycle: BillingCycle
    currency: str
    unit_price: Decimal
    valid: Period


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPrice:
    """One row of Microsoft's price sheet: the partner's cost and the suggested retail price.

    Both are for one unit and `price_covers` months (the whole term, or one billing cycle).
    """

    product_id: str
    sku_id: str
    term: TermDuration | None
    billing_plan: str
    market: str
    currency: str
    segment: str
    unit_price: Decimal
    erp_price: Decimal | None
    valid: Period
    title: str = ""

    @property
    def sku(self) -> str:
        """Product and SKU as one word."""
        return f"{self.product_id}:{self.sku_id}"


class MarkupMethod(StrEnum):
    """How a price is made from a cost or from a published price."""

    PERCENT = "percent"
    """cost x (100 + value) / 100"""
    MARGIN = "margin"
    """cost x 100 / (100 - value)"""
    FIXED = "fixed"
    """value, per unit and billing cycle"""
    UPLIFT = "uplift"
    """cost + value, per unit and billing cycle"""
    ERP_MINUS = "erp_minus"
    """ERP price x (100 - value) / 100"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkupRule:
    """How to price what matches; empty match fields match everything. More named fields win."""

    key: str
    method: MarkupMethod
    value: Decimal
    valid: Period
    customer_id: str = ""
    kind: str = ""
    """licence, usage, one_time, reservation or credit."""
    sku: str = ""
    meter_category: str = ""

    @property
    def rank(self) -> int:
        """Its place: customer outweighs product, product outweighs family, family outweighs kind."""
        return (
            8 * bool(self.customer_id)
            + 4 * bool(self.sku)
            + 2 * bool(self.meter_category)
            + bool(self.kind)
        )
