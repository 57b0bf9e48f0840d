"""Microsoft's lines behind a charge, folded so that a person can read them; the raw ones beneath.

A change of seats reaches us as a credit of the old total and a charge of the new one, sometimes
several on a day; a conversion as a credit of one product and a charge of another. Folded, each is
one sentence. For the partner, not for the customer: it tells the cost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from domain.money import plain
from domain.period import Period
from domain.subscription import CostKind, CostLine

_CHANGES = {"addQuantity", "removeQuantity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What Microsoft billed for one reason: a sentence, and the lines that it was read from."""

    sentence: str
    lines: tuple[CostLine, ...]

    @property
    def subtotal(self) -> Decimal:
        """What the lines sum to, before tax."""
        return sum((line.subtotal for line in self.lines), Decimal(0))


def fold(lines: Iterable[CostLine], full: Period | None = None) -> list[Source]:
    """Fold the lines of one charge; `full` is the cycle of which prorated lines are a part."""
    groups: dict[tuple[object, ...], list[CostLine]] = defaultdict(list)
    for line in sorted(lines, key=_in_steps):
        what: object = line.key
        if line.kind is CostKind.LICENCE and line.charge_type in _CHANGES:
            what = line.subscription_id
        elif line.charge_type == "convert":
            what = line.reference_id or line.subscription_id
        groups[line.charged, what].append(line)
    return [
        Source(sentence=_sentence(group, full), lines=tuple(group)) for group in groups.values()
    ]


def _in_steps(line: CostLine) -> tuple[str, Decimal, bool, str]:
    """Sort by day; the totals of a change in the order in which they were reached and left."""
    size = abs(line.seats) if line.charge_type in _CHANGES else Decimal(0)
    size = -size if line.charge_type == "removeQuantity" else size
    first = not line.is_credit if size else line.is_credit
    return str(line.falls_on), size, not first, line.key


def _sentence(lines: Sequence[CostLine], full: Period | None) -> str:
    first = lines[0]
    subtotal = sum((line.subtotal for line in lines), Decimal(0))
    money = f"{subtotal:f} {first.currency}"
    days = _days(first.charged, full)
    if first.charge_type in _CHANGES:
        return f"{_steps(lines)} seats, {days}: {money}"
    if first.charge_type == "convert":
        old = [line for line in lines if line.is_credit]
        new = [line for line in lines if not line.is_credit]
        parts = [f"{_seats(old)} from {old[0].name}"] if old else []
        parts += [f"{_seats(new)} to {new[0].name}"] if new else []
        return f"{', '.join(parts)}, {days}: {money}"
    if first.kind is CostKind.LICENCE:
        return f"{_seats(lines)}, {days}: {money}"
    what = first.credit_reason or first.meter or first.name
    return f"{what}, {days}: {money}"


def _steps(lines: Iterable[CostLine]) -> str:
    """Read the pairs of a day as one step: totals that are reached and left again cancel out."""
    left = Counter(plain(abs(line.seats)) for line in lines if line.is_credit)
    reached = Counter(plain(abs(line.seats)) for line in lines if not line.is_credit)
    old, new = list((left - reached).elements()), list((reached - left).elements())
    if not old and not new:
        return "0 more or fewer"
    return f"{' and '.join(old) or '0'} -> {' and '.join(new) or '0'}"


def _seats(lines: Iterable[CostLine]) -> str:
    count = plain(sum((line.seats for line in lines), Decimal(0)))
    return f"{count} {'seat' if count in {'1', '-1'} else 'seats'}"


def _days(charged: Period | None, full: Period | None) -> str:
    if charged is None:
        return "no dates"
    if full is None or charged == full or charged.intersect(full) != charged:
        return str(charged)
    return f"{charged.days} of {full.days} days ({charged})"


def source_as_data(source: Source) -> dict[str, Any]:
    """Return a source as plain data; money and quantities are text, ends exclusive."""
    return {
        "sentence": source.sentence,
        "subtotal": str(source.subtotal),
        "lines": [
            {
                "key": line.key,
                "invoice": line.invoice_id,
                "charge_type": line.charge_type,
                "product": line.name,
                "start": str(line.charged.start) if line.charged else None,
                "end": str(line.charged.end) if line.charged else None,
                "ordered_on": str(line.ordered_on) if line.ordered_on else None,
                "quantity": plain(line.seats),
                "unit_price": plain(line.unit_price),
                "effective_unit_price": plain(line.effective_unit_price),
                "exchange_rate": plain(line.exchange_rate),
                "subtotal": str(line.subtotal),
                "currency": line.currency,
                "reference": line.reference_id or None,
                "promotion": line.promotion_id or None,
            }
            for line in source.lines
        ],
    }
