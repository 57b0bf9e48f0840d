"""The records of a purchase history: what was bought, changed and refused, and what it cost.

Plain values without behaviour beyond arithmetic that the published contract gives; the engine that
makes them is ``commerce``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from emulator.catalogue import CENT, Price, Product
from emulator.terms import Span

UNIT_PLACES = Decimal("1e-6")


class CommerceError(Exception):
    """A refusal of Partner Center: HTTP status, error code and description (section 14.2)."""

    def __init__(self, http: int, code: str, description: str) -> None:
        super().__init__(f"{http} {code}: {description}")
        self.http = http
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """Percent off the unit price of every charge cycle that starts before ``until``."""

    id: str
    percent: Decimal
    until: date


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTerm:
    """scheduledNextTermInstructions: what the renewal shall be."""

    product: Product
    term: str
    plan: str
    quantity: int
    custom_end: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something done to a subscription at an instant; every field left None stays as it is."""

    at: datetime
    quantity: int | None = None
    status: str | None = None
    auto_renew: bool | None = None
    friendly_name: str | None = None
    partner_id: str | None = None
    next_term: NextTerm | None = None
    clear_next_term: bool = False
    # An upgrade in place, or the conversion of a trial; ``quantity`` may change with it.
    convert_to: Product | None = None
    convert_term: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One billing event on one subscription, before it is put on an invoice.

    ``effective_price`` is signed; quantities are not. Whether Microsoft puts the minus of a credit
    on the quantity or on the unit price is not published: this world puts it on the unit price.
    """

    kind: str
    at: datetime
    product: Product
    term: str
    plan: str
    price: Price
    quantity: int
    unit_price: Decimal
    effective_price: Decimal
    charged: Span
    term_span: Span
    order_id: str
    reference: str
    partner_id: str
    promotion: Promotion | None

    def subtotal(self, exchange: Decimal) -> Decimal:
        """The Subtotal of its line, in the billing currency."""
        return subtotal(self.effective_price, self.quantity, exchange)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order: what was bought, added, removed, renewed, converted or cancelled."""

    id: str
    at: datetime
    transaction: str
    product: Product
    term: str
    plan: str
    quantity: int
    unit_price: Decimal
    promotion: Promotion | None
    system: bool


@dataclass(slots=True)
class Lot:
    """Seats that may leave again until ``until``; ``whole`` when the subscription may as well."""

    quantity: int
    until: datetime
    whole: bool


@dataclass(slots=True)
class State:
    """A subscription at an instant."""

    product: Product
    term: str
    plan: str
    quantity: int
    price: Price
    unit_price: Decimal
    term_span: Span
    anchor: date
    offset: int
    cycle: Span
    full_cycle: Span
    status: str
    auto_renew: bool
    friendly_name: str
    partner_id: str
    promotion: Promotion | None
    next_term: NextTerm | None
    order_id: str
    lots: list[Lot]
    updates: int = 0

    def open_lots(self, at: datetime) -> list[Lot]:
        """Lots whose window is open, oldest first."""
        return [lot for lot in self.lots if lot.quantity and at < lot.until]

    def cancellable_until(self, at: datetime) -> datetime | None:
        """End of the window in which the whole subscription may be cancelled, if it is open."""
        ends = [lot.until for lot in self.open_lots(at) if lot.whole]
        return max(ends) if ends and self.status in {"active", "suspended"} else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """The first event: what was bought, when, and on which terms."""

    at: datetime
    product: Product
    term: str
    plan: str
    quantity: int
    friendly_name: str
    segment: str
    market: str
    auto_renew: bool = True
    # End-of-term choice when it does not renew: roll on month by month, or end. The field of the
    # API that holds this choice is not published, so no resource shows it and no PATCH sets it.
    extends: bool = False
    partner_id: str = ""
    promotion: Promotion | None = None
    custom_end: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A change that Microsoft refused: nothing is billed, the audit log knows."""

    change: Change
    error: CommerceError


def prorate(
    unit_price: Decimal, promotion: Promotion | None, days: int, cycle_days: int
) -> Decimal:
    """EffectiveUnitPrice of section 13.3: price after promotion / days in the cycle x billed days.

    Kept to six places as the published samples are; a price in cents cannot cross a cent by that.
    """
    kept = 100 - (promotion.percent if promotion else Decimal(0))
    return (unit_price * kept * days / (100 * cycle_days)).quantize(UNIT_PLACES, ROUND_HALF_UP)


def subtotal(effective_price: Decimal, quantity: int, exchange: Decimal) -> Decimal:
    """ROUNDDOWN(EffectiveUnitPrice x rate, 2) x BillableQuantity of section 13.3, toward zero."""
    return (effective_price * exchange).quantize(CENT, ROUND_DOWN) * quantity + 0
