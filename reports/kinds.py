"""What documents ask for by kind: seats, usage, marketplace, reservations, savings plans and so on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from domain.charge import ChargeType
from domain.money import Money
from invoice.document import Invoice

_NAMES = {
    ChargeType.USAGE: "Usage",
    ChargeType.MARKETPLACE: "Marketplace",
    ChargeType.RESERVATION: "Reservations",
    ChargeType.SAVINGS_PLAN: "Savings plans",
    ChargeType.ONE_TIME: "One-time purchases",
    ChargeType.CREDIT: "Credits",
    ChargeType.ADJUSTMENT: "Corrections",
}
_ORDER = ("Seats", *_NAMES.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """What lines of one kind and currency come to, before tax."""

    kind: str
    currency: str
    lines: int
    amount: Decimal


def sold_by_kind(documents: Iterable[Invoice]) -> list[Sold]:
    """Sum the lines of documents by currency and kind; all kinds make the documents' subtotal."""
    amounts: dict[tuple[str, str], list[Money]] = defaultdict(list)
    for document in documents:
        for line in document.lines:
            kind = _NAMES.get(line.charge.type, "Seats")
            amounts[document.currency, kind].append(line.amount)
    return [
        Sold(
            kind=kind,
            currency=currency,
            lines=len(found),
            amount=sum((one.amount for one in found), Money.zero(currency).amount),
        )
        for (currency, kind), found in sorted(
            amounts.items(), key=lambda one: (one[0][0], _ORDER.index(one[0][1]))
        )
    ]
