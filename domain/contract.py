"""How one account is billed: the contract, its prices, its markup rules and its tax profile.

A price or a rule is written down here as it was agreed, even when it is impossible: what cannot be
meant is found by `rules.metering.fault_of` and `rules.pricing.item_fault` and told, not refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from domain.period import BillingCycle, Frequency, Grid, Period, TermDuration
from domain.tax import TaxDecider, TaxTreatment, number_key, printed_number

FOREVER = Period(date.min, date.max)
"""Valid without a first and without a last day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxProfile:
    """The tax of one customer with its evidence; a missing or lapsed profile holds the customer.

    Either the rules decide from the place, the number and what the customer is, or a person stated
    treatment, rate and evidence.
    """

    key: str
    country: str
    """Of the billed entity (ISO 3166), not of its tenant."""
    region: str = ""
    """State or province, by code or name, where the tax depends on it."""
    locality: str = ""
    """City or county, where the tax depends on it."""
    treatment: TaxTreatment = TaxTreatment.BY_RULES
    tax_number: str = ""
    """The customer's VAT or GST number, with its prefix."""
    business: bool = False
    """It buys as a business; where the law asks for a number, this alone shows nothing."""
    rate_percent: Decimal = Decimal(0)
    """Applied when the stated treatment is standard."""
    evidence: str = ""
    """VAT number or certificate number of a stated treatment."""
    valid_until: date | None = None
    """Last day of the stated evidence; None: no end."""
    wording: str = ""
    """Note printed on the invoice (reverse charge, exemption reason)."""
    right_from: date | None = None
    """Service from this day on that was taxed at another rate was taxed wrongly, and is corrected;
    None: what was invoiced was right in its time."""

    @property
    def checked_number(self) -> str:
        """The tax number that it rests on, as its check is kept; empty: none.

        A stated reverse charge rests on its evidence, which is also what the invoice prints.
        """
        stated = self.evidence if self.treatment is TaxTreatment.REVERSE_CHARGE else ""
        return printed_number(stated or self.tax_number)

    @property
    def check_key(self) -> str:
        """Key of what is known of that number; empty: there is none."""
        number = self.checked_number
        return number_key(self.country, number) if number else ""


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


class UsageGroup(StrEnum):
    """What one line of an invoice says about usage."""

    SERVICE = "service"
    """A meter category of an Azure subscription."""
    SUBSCRIPTION = "azure_subscription"
    RESOURCE_GROUP = "resource_group"
    TAG = "tag"
    ONE_LINE = "one_line"


class Untagged(StrEnum):
    """Where usage goes that has no value of the tag."""

    GROUP = "group"
    """Into one group of its own."""
    RESOURCE_GROUP = "resource_group"
    """Into its resource group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageGrouping:
    """How metered usage is put together into lines; it moves no money between customers."""

    by: UsageGroup = UsageGroup.SERVICE
    tag: str = ""
    """Name of the tag, in whatever case; its values count as they are written."""
    untagged: Untagged = Untagged.GROUP
    untagged_name: str = "untagged"
    """What the group of untagged usage is called on the invoice."""

    @property
    def needs_resource_group(self) -> bool:
        """Say whether usage must be read by resource group."""
        by_tag = self.by is UsageGroup.TAG and self.untagged is Untagged.RESOURCE_GROUP
        return by_tag or self.by is UsageGroup.RESOURCE_GROUP

    @property
    def tag_key(self) -> str:
        """The name of the tag as shares carry it; empty where usage is not put together by tag."""
        return self.tag.strip().lower() if self.by is UsageGroup.TAG else ""


class EarnedCredit(StrEnum):
    """Whose the partner earned credit is."""

    PASSED_ON = "passed_on"
    """The markup is on the cost after the credit."""
    KEPT = "kept"
    """The markup is on the cost before the credit, which stays with the partner."""


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
    bill_day: int | None = None
    """From this day of the following month on a month is billed, 1 to 28; None: as for all."""
    tax_profile_key: str = ""
    tax_decider: TaxDecider = TaxDecider.RULES
    seller_key: str = ""
    """Which company sells; may be empty where there is one."""
    accounting_target: str = ""
    """The accounting system that its documents are for: xero, quickbooks, ...; empty: none named."""
    expected_partner_id: str = ""
    """Partner of record that must stand on subscriptions and lines; empty: not checked."""
    excluded_skus: tuple[str, ...] = ()
    """product:sku that are not passed on (internal use), each still shown as excluded."""
    grouping: UsageGrouping = UsageGrouping()
    """For months that are not billed yet; a billed month stays as it was billed."""
    earned_credit: EarnedCredit = EarnedCredit.PASSED_ON
    earned_credit_from: date | None = None
    """First day of usage for which `earned_credit` holds, billed or not; before it, what was billed
    stays and the other holds. None: it holds for every month that is not billed yet."""

    def keeps_credit(self, day: date) -> bool:
        """Say whether the partner keeps the earned credit of usage of a day."""
        kept = self.earned_credit is EarnedCredit.KEPT
        agreed = self.earned_credit_from is None or day >= self.earned_credit_from
        return kept if agreed else not kept

    @property
    def grid(self) -> Grid:
        """The billing periods of this contract."""
        return Grid.of_contract(
            self.frequency, self.anchor_day, self.anchor_month, self.starts.year
        )

    def due(self, month: Period) -> Period | None:
        """Return what the bill of a month is for; None in a month in which none is due.

        In advance these are the billing periods that start in it, in arrears those that end in it
        (with its last day, too).
        """
        grid = self.grid
        if self.timing is Timing.ADVANCE:
            first, beyond = grid.index_of(month.start), grid.index_of(month.last_day) + 1
            first += grid.nth(first).start < month.start
        else:
            first, beyond = grid.index_of(month.start), grid.index_of(month.end)
        if first >= beyond:
            return None
        return Period(grid.nth(first).start, grid.nth(beyond - 1).end)


def counting(contracts: Iterable[BillingContract], on: date) -> dict[str, BillingContract]:
    """Return by customer the contract that counts on a day: of those begun the one that starts last.

    Where none has begun, the one that begins first.
    """
    found: dict[str, BillingContract] = {}
    for one in sorted(contracts, key=lambda one: (one.starts, one.key)):
        lasts = one.ends is None or one.ends > one.starts
        if one.customer_id not in found or (lasts and one.starts <= on):
            found[one.customer_id] = one
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceListItem:
    """Agreed price of one product for one customer, or for all where no customer is named.

    It is either `unit_price`, for one unit and one billing cycle, or `annual_price`, for one unit
    and twelve months however often these are billed.
    """

    key: str
    customer_id: str
    sku: str
    term: TermDuration | None
    billing_cycle: BillingCycle
    currency: str
    unit_price: Decimal | None = None
    annual_price: Decimal | None = None
    discount_percent: Decimal = Decimal(0)
    """Off the unit price, so that it prorates with the line."""
    discount_valid: Period = FOREVER
    """Days of service on which the discount is given: a cycle is discounted by its first day."""
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
    TIERS = "tiers"
    """by the steps of `tiers`"""
    PACKAGE = "package"
    """whole packages of `package`"""


class TierMode(StrEnum):
    """Whether a step prices what lies in it, or the whole once the total has come so far."""

    GRADUATED = "graduated"
    VOLUME = "volume"


class TierBasis(StrEnum):
    """What the steps measure: units, or money of cost."""

    QUANTITY = "quantity"
    COST = "cost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of tiers; a unit price, a flat price and a percentage add up where several stand."""

    up_to: Decimal | None = None
    """The last measure that belongs to it; None: everything beyond the step before."""
    unit_price: Decimal = Decimal(0)
    """For `per` of what the steps measure, pro rata."""
    flat: Decimal = Decimal(0)
    """Once, when anything falls into the step."""
    percent: Decimal | None = None
    """Markup on the cost of what falls into the step; None: its cost is not passed on."""
    per: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Prices that change with how much was used in a month."""

    mode: TierMode
    basis: TierBasis = TierBasis.QUANTITY
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A price for each `size` units that were begun, beyond those that are `free`."""

    size: Decimal
    price: Decimal
    free: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkupRule:
    """How to price what matches; empty match fields match everything. More named fields win."""

    key: str
    method: MarkupMethod
    value: Decimal | None = None
    """The number of the method; tiers and packages have none."""
    valid: Period
    customer_id: str = ""
    kind: str = ""
    """licence, usage, one_time, reservation, savings_plan, credit, or marketplace: whatever
    another publisher sells, where no rule of that kind stands the kind by which it is billed."""
    sku: str = ""
    meter_category: str = ""
    currency: str = ""
    """Currency of its money, which is sold in no other; empty: each contract's own."""
    tiers: Tiers | None = None
    package: Package | None = None
    floor: Decimal | None = None
    """Least unit price; of seats for one billing cycle."""
    cap: Decimal | None = None
    """Greatest unit price; of seats for one billing cycle."""
    minimum: Decimal | None = None
    """What the usage of a contract month comes to at least, prorated by days of validity."""
    maximum: Decimal | None = None
    """What the usage of a contract month comes to at most, prorated by days of validity."""

    @property
    def rank(self) -> int:
        """Its place: customer outweighs product, product outweighs family, family outweighs kind."""
        return (
            8 * bool(self.customer_id)
            + 4 * bool(self.sku)
            + 2 * bool(self.meter_category)
            + bool(self.kind)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRate:
    """What one unit of `base` is worth in `quote` from a day on, until a later rate is known."""

    source: str
    """Who published it: Microsoft, a central bank, the contract."""
    base: str
    quote: str
    rate: Decimal
    on: date

    @property
    def key(self) -> str:
        """Identity from meaning."""
        return f"rate/{self.source}/{self.base}-{self.quote}/{self.on}"
