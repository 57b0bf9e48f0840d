"""Four sides of one month, put side by side: what differs, why, who owes whom, and what it is worth.

Microsoft's line, the subscription's history, the customer's line and the accounting document. Each
difference between two sides carries one cause and one remedy from closed lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from domain.money import round_half_up
from domain.period import Period
from domain.problems import Finding


class Cause(StrEnum):
    """Why two sides differ: a closed list."""

    PRICE = "price"
    QUANTITY = "quantity"
    DATES = "dates"
    PRORATION = "proration"
    PROMOTION = "promotion"
    CURRENCY = "currency"
    TAX = "tax"
    ROUNDING = "rounding"
    MISSING_SUBSCRIPTION = "missing_subscription"
    """One of the sides knows nothing of the subscription."""
    MISSING_INVOICE_LINE = "missing_invoice_line"
    """One of the sides lacks the line, or the whole document."""
    DUPLICATE = "duplicate"
    CREDIT_NOT_PASSED_ON = "credit_not_passed_on"
    MICROSOFT_ADJUSTMENT = "microsoft_adjustment"
    TIMING = "timing"
    """Asked for in another month, or not due yet."""


class Remedy(StrEnum):
    """What to do about a difference; its direction decides."""

    CLAIM = "claim"
    """Ask Microsoft to give it back."""
    BILL_CUSTOMER = "bill_customer"
    CREDIT_CUSTOMER = "credit_customer"
    CORRECT_ACCOUNTING = "correct_accounting"
    NONE = "none"
    """Explained: nothing to do."""


class Comparison(StrEnum):
    """Which two of the four sides were compared."""

    MICROSOFT = "microsoft"
    """Microsoft's lines with what the history says that it should bill."""
    CUSTOMER = "customer"
    """What the customer should be asked for with what the customer was asked for."""
    ACCOUNTING = "accounting"
    """Our documents with those that stand in the accounting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference between two sides, with its one cause.

    `amount` is what the remedy is worth to the partner, in `currency`: positive is money that the
    partner gets (a claim, a bill still to write, income that the books lack), negative is money
    that the partner gives (a credit that is due to the customer). Accounting differences
    include tax, all others are before tax.
    """

    comparison: Comparison
    cause: Cause
    remedy: Remedy
    customer_id: str
    """Tenant id; empty where it concerns the partner as a whole."""
    subscription_id: str
    product: str
    """product:sku, or the name where no product is known."""
    service: Period | None
    currency: str
    amount: Decimal
    sentence: str
    hint: str
    records: tuple[str, ...] = ()
    """Keys of the lines that it speaks of, of any side, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoldLine:
    """What a customer was asked for, from our document or from a partner's own invoice file.

    `amount` is before tax. What a file does not tell stays empty: the line is then matched by what
    it tells. Where neither subscription, product nor name is known it can be matched with nothing.
    """

    key: str
    """Identity of the line, unique among those compared: `INV-1/3`, or file and row."""
    customer_id: str
    currency: str
    amount: Decimal
    subscription_id: str = ""
    sku: str = ""
    """product:sku, as Microsoft's lines write it."""
    name: str = ""
    """The product's name as the customer reads it; matched without regard to case and blanks."""
    service: Period | None = None
    quantity: Decimal | None = None
    """Negative in a credit; None where the file does not tell."""
    unit_price: Decimal | None = None
    """For one unit and a full billing cycle."""
    tax: Decimal | None = None
    document: str = ""
    """Number of the invoice or credit note."""
    line: int | None = None
    charge_key: str = ""
    """Key of the charge that it asks for, in our own documents."""
    cost_lines: tuple[str, ...] = ()
    """Keys of Microsoft's lines that it names itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedLine:
    """One line of a document as it stands in the accounting; `amount` is before tax."""

    key: str
    document: str
    """Our number, which the accounting document carries."""
    currency: str
    amount: Decimal
    tax: Decimal = Decimal(0)
    line: int | None = None
    """Our position in the document; None: the accounting lists lines in its own way."""
    customer_id: str = ""
    name: str = ""
    quantity: Decimal | None = None
    unit_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Lines of all sides that speak of the same thing: one place of the comparison."""

    customer_id: str
    subscription_id: str
    """Empty where lines of several subscriptions can only be compared together."""
    product: str
    cost_lines: tuple[str, ...]
    sold_lines: tuple[str, ...]
    currency: str
    due: Decimal
    """What the customer should be asked for."""
    sold: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """What one product of one customer costs and brings in, in one currency.

    `margin` is None where the other side is in a currency without a rate: nothing is then added up.
    """

    customer_id: str
    product: str
    name: str
    currency: str
    cost: Decimal
    sold: Decimal
    margin: Decimal | None

    @property
    def percent(self) -> Decimal | None:
        """The margin in percent of what was sold, to one decimal; None where it says nothing."""
        if self.margin is None or self.sold <= 0:
            return None
        return round_half_up(Fraction(self.margin) * 100 / Fraction(self.sold), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SideTotal:
    """The four sides in one currency; a side that was not there to compare is None.

    microsoft - expected, due - sold and documents - booked are each the sum of their named differences
    and of a residual, which is zero or says that something could not be explained.
    """

    currency: str
    microsoft: Decimal
    """Microsoft's lines, before tax, with what its invoices ask for beyond them."""
    expected: Decimal | None
    """What the history says that Microsoft should bill."""
    due: Decimal | None
    """What the customers should be asked for."""
    sold: Decimal | None
    """The sum of the customers' lines, before tax."""
    documents: Decimal | None
    """The same with tax, to compare it with the accounting."""
    booked: Decimal | None
    """What stands in the accounting, with tax."""
    claimed: Decimal = Decimal(0)
    """Sum of the differences with Microsoft."""
    unasked: Decimal = Decimal(0)
    """Sum of the differences with the customers."""
    unbooked: Decimal = Decimal(0)
    """Sum of the differences with the accounting."""

    @property
    def residuals(self) -> dict[Comparison, Decimal]:
        """What of each comparison no difference names; zero where all is explained."""
        found: dict[Comparison, Decimal] = {}
        for comparison, more, less, named in (
            (Comparison.MICROSOFT, self.microsoft, self.expected, self.claimed),
            (Comparison.CUSTOMER, self.due, self.sold, self.unasked),
            (Comparison.ACCOUNTING, self.documents, self.booked, self.unbooked),
        ):
            if more is not None and less is not None:
                found[comparison] = more - less - named
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FourWay:
    """What a comparison of the four sides comes to; the same input gives the same, in any order."""

    matches: tuple[Match, ...]
    differences: tuple[Difference, ...]
    """By worth, the largest first."""
    margins: tuple[Margin, ...]
    totals: tuple[SideTotal, ...]
    """By currency."""
    findings: tuple[Finding, ...] = field(default=())
    """What could not be matched beyond doubt."""

    @property
    def needs_person(self) -> bool:
        """Say whether anything is to be done, or could not be explained."""
        return (
            any(one.remedy is not Remedy.NONE for one in self.differences)
            or any(any(total.residuals.values()) for total in self.totals)
            or bool(self.findings)
        )


def worth(
    differences: Iterable[Difference],
) -> dict[tuple[Remedy, Cause, str], tuple[int, Decimal]]:
    """Count and add up differences by remedy, cause and currency."""
    sums: dict[tuple[Remedy, Cause, str], tuple[int, Decimal]] = {}
    for one in differences:
        place = one.remedy, one.cause, one.currency
        count, amount = sums.get(place, (0, Decimal(0)))
        sums[place] = count + 1, amount + one.amount
    return sums
