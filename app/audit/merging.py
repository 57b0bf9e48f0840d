"""Two exports of one invoice become one: lines are matched by what they mean, and taken once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace

from app.audit.material import UNBILLED, Material, incomplete
from domain.audit import BilledLine, Point, Weight
from domain.money import Money

_FEW = 10
"""So many lines of which none is known say nothing about the export that they come from."""


@dataclass(slots=True)
class _Part:
    """The lines of one invoice in one export: a file, or the files that one manifest names."""

    name: str
    lines: list[BilledLine] = field(default_factory=list)

    def by(self, mark: Callable[[BilledLine], Hashable]) -> Counter[Hashable]:
        return Counter(map(mark, self.lines))


def _exact(one: BilledLine) -> Hashable:
    """Every field that tells lines apart, digit by digit."""
    return one.line.key.rpartition("/")[0]


def _what(one: BilledLine) -> Hashable:
    """What a line is about, without its amount."""
    line = one.line
    return (
        line.customer_id,
        line.subscription_id,
        line.product_id,
        line.sku_id,
        line.charge_type,
        line.charged,
        line.currency,
    )


def _meaning(one: BilledLine) -> Hashable:
    """What a line bills: the same in every export of an invoice, whatever else it writes."""
    return _what(one), Money.rounded(one.line.subtotal, one.line.currency).amount


def merge(per_file: Iterable[tuple[str, list[BilledLine]]], material: Material) -> None:
    """Put the lines of all exports together, those that several hold once."""
    parts: dict[str, dict[str, _Part]] = defaultdict(dict)
    for name, lines in per_file:
        for one in lines:
            parts[one.line.invoice_id].setdefault(name, _Part(name)).lines.append(one)
    for invoice, some in parts.items():
        kept: list[BilledLine] = []
        for part in sorted(some.values(), key=lambda part: -len(part.lines)):
            new = part.lines
            if kept:
                new, point = _new_lines(invoice, part, _Part("", kept))
                material.points.extend([point] if point else [])
            kept.extend(new)
        numbers: Counter[Hashable] = Counter()
        for one in sorted(kept, key=lambda one: str(_exact(one))):
            numbers[_exact(one)] += 1
            number = numbers[_exact(one)]
            key = f"{_exact(one)}/{number}"
            numbered = replace(one, line=replace(one.line, key=key))
            (material.unbilled if invoice == UNBILLED else material.billed).append(numbered)
            if invoice != UNBILLED and number > 1:
                material.repeated.append(numbered)


def _new_lines(invoice: str, part: _Part, kept: _Part) -> tuple[list[BilledLine], Point | None]:
    """Return what a further export adds to the lines of an invoice, and what is to be said of it."""
    size = len(part.lines)
    there = kept.by(_meaning)
    shared = (part.by(_meaning) & there).total()
    # Parts of one export have lines of one meaning by chance (two orders of a day), never by half.
    if 2 * shared < size and not (part.by(_exact) & kept.by(_exact)):
        about = {_what(one) for one in kept.lines}
        again = [one for one in part.lines if _what(one) in about]
        if 2 * len(again) <= size or (not shared and size < _FEW):
            return part.lines, None
    left: list[BilledLine] = []
    for one in part.lines:
        if there[_meaning(one)] > 0:
            there[_meaning(one)] -= 1
        else:
            left.append(one)
    if not left:
        return [], _overlap(invoice, part.name, shared, size)
    # Another amount for the same thing: another version of the line, of which one stands.
    others = Counter(_what(one) for one in kept.lines if there[_meaning(one)] > 0)
    new: list[BilledLine] = []
    for one in left:
        if others[_what(one)] > 0:
            others[_what(one)] -= 1
        else:
            new.append(one)
    dropped = len(left) - len(new)
    second = [f" ({dropped:,} with another amount: left out)"] if dropped else []
    return new, incomplete(
        f"{part.name} and another file hold {invoice}: {shared:,} of its {size:,} lines are the same, "
        f"{len(left):,} {'are' if left[1:] else 'is'} not{''.join(second)}.",
        "files.versions",
        hint="give one whole export of the invoice, the newest: it cannot be told which line stands",
        invoice_id="" if invoice == UNBILLED else invoice,
    )


def _overlap(invoice: str, name: str, shared: int, size: int) -> Point:
    whole = "all" if shared == size else f"{shared:,} of the {size:,}"
    return Point(
        check="files.overlap",
        cause="duplicate",
        remedy="none",
        weight=Weight.NOTE,
        invoice_id="" if invoice == UNBILLED else invoice,
        sentence=f"{name} holds {whole} lines of {invoice} that another file holds too: taken once.",
        hint="nothing to do",
    )
