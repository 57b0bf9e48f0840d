"""Words of an audit of downloaded files: what was read, and the points that come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from domain.subscription import CostLine


class Weight(StrEnum):
    """What a point asks for."""

    INCOMPLETE = "incomplete"
    """The files are not whole: nothing is proven until they are."""
    ACT = "act"
    """Somebody has to do something."""
    NOTE = "note"
    """Told, so that nothing happens in silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One thing that the files show: its cause, what to do, and what it is worth before tax.

    `amount` is positive where it is the partner's to get (or was billed too much), negative where
    it is the partner's to give (or was not billed); None where no money hangs on it.
    """

    check: str
    """Readable name of the check, e.g. `line.arithmetic`."""
    cause: str
    remedy: str
    weight: Weight
    sentence: str
    hint: str
    customer_id: str = ""
    customer: str = ""
    subscription_id: str = ""
    product: str = ""
    invoice_id: str = ""
    currency: str = ""
    amount: Decimal | None = None
    records: tuple[str, ...] = ()
    """Where it stands: file and line, the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledLine:
    """A line of Microsoft as a file shows it, with what the file says beyond the line itself."""

    line: CostLine
    place: str
    """File and line."""
    total: Decimal | None = None
    """With tax; None where the file does not tell."""
    publisher: str = ""
    domain: str = ""
    """Of the customer's tenant."""
    adjustments: str = ""
    """Microsoft's words about the price, such as `15.0% Partner earned credit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSum:
    """The daily lines of what one metered line bills: exact sums, and how far their arithmetic is off."""

    invoice_id: str
    """`unbilled` until there is an invoice."""
    customer_id: str
    customer_name: str
    plan_id: str
    product_id: str
    sku_id: str
    name: str
    publisher: str
    currency: str
    lines: int
    quantity: Decimal
    cost: Decimal
    rate: Decimal
    """The largest exchange rate seen."""
    lowest_rate: Decimal
    first: date
    last: date
    off_lines: int
    """Lines whose amount is not price × quantity × rate, rounded down to the cent."""
    off: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class UnearnedCredit:
    """An Azure subscription whose usage earns no partner credit, while other usage of its customer does."""

    invoice_id: str
    customer_id: str
    customer_name: str
    entitlement_id: str
    entitlement_name: str
    currency: str
    lines: int
    cost: Decimal
    percent: Decimal
    """What the other usage earns."""
