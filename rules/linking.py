"""Which of Microsoft's seat lines stands behind which charge, so that each cent can be traced.

Usage, one-time purchases and credits are made from their lines and name them; seats are rated from
their history, and their lines are found here, by subscription, days and kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from domain.charge import Charge, ChargeType
from domain.period import Period
from domain.subscription import CostKind, CostLine

KINDS: Mapping[ChargeType, str] = {
    ChargeType.NEW: "new",
    ChargeType.CYCLE: "cycleCharge",
    ChargeType.RENEW: "renew",
    ChargeType.ADD_QUANTITY: "addQuantity",
    ChargeType.REMOVE_QUANTITY: "removeQuantity",
    ChargeType.CANCEL: "cancelImmediate",
    ChargeType.CONVERT: "convert",
    ChargeType.TRANSFER: "cancelImmediate",
}
"""The charges that seats make, and what Microsoft calls them."""

CHANGES = {"addQuantity", "removeQuantity"}
_WHOLE = {"new", "cycleCharge", "renew"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """Charges that name the lines of Microsoft behind them, and the seat lines behind none."""

    charges: tuple[Charge, ...]
    unlinked: tuple[CostLine, ...]


def linked(
    charges: Sequence[Charge], cost_lines: Iterable[CostLine], *, own_periods: bool = False
) -> Linked:
    """Give each seat line of Microsoft to exactly one charge: by subscription, days and kind.

    A line belongs to the charge for the same days, of its kind if there is one, else to the one of
    its kind from the same day on. With `own_periods` our lines follow the contract's: a whole cycle
    then belongs to the one that serves its first day. Of several changes of a day each takes the
    pair of its own step.
    """
    seats: dict[str, list[int]] = defaultdict(list)
    for n, charge in enumerate(charges):
        if charge.type in KINDS:
            seats[charge.subscription_id].append(n)
    found: dict[int, list[str]] = defaultdict(list)
    unlinked: list[CostLine] = []
    groups: dict[tuple[str, Period, str], list[CostLine]] = defaultdict(list)
    for line in sorted(cost_lines, key=lambda line: line.key):
        if line.kind is CostKind.LICENCE:
            if line.charged is None:
                unlinked.append(line)
            else:
                groups[line.subscription_id, line.charged, line.charge_type].append(line)
    for (subscription_id, charged, kind), lines in groups.items():
        near = [
            (nearness, n)
            for n in seats[subscription_id]
            if (nearness := _nearness(charges[n], charged, kind, own_periods=own_periods))
        ]
        if not near:
            unlinked.extend(lines)
            continue
        best = min(near)[0]
        same = [n for nearness, n in near if nearness == best]
        for n, line in _each_to_its_own(charges, same, lines):
            found[n].append(line.key)
    return Linked(
        charges=tuple(
            replace(charge, cost_lines=tuple(sorted({*charge.cost_lines, *found[n]})))
            if n in found
            else charge
            for n, charge in enumerate(charges)
        ),
        unlinked=tuple(unlinked),
    )


def _nearness(charge: Charge, charged: Period, kind: str, *, own_periods: bool) -> int:
    """Return how far a charge is from a line, 1 the nearest; 0: it is not its line at all."""
    same_kind = KINDS[charge.type] == kind
    if charge.service == charged:
        return 1 if same_kind else 2
    if charge.service.start == charged.start and same_kind:
        return 3
    whole = KINDS[charge.type] in _WHOLE and kind in _WHOLE
    return 4 if own_periods and whole and charged.start in charge.service else 0


def _each_to_its_own(
    charges: Sequence[Charge], same: Sequence[int], lines: Sequence[CostLine]
) -> Iterator[tuple[int, CostLine]]:
    """Share the lines of one day and kind among its charges.

    The legs of a conversion go by product, the steps of a change by the number of seats.
    """
    free = list(same)
    for old, new in _pairs(lines):
        step = (new.seats if new else 0) + (old.seats if old else 0)
        skus = {line.sku for line in (old, new) if line is not None}
        fits = [n for n in free if charges[n].quantity == step and charges[n].sku in skus]
        n = (fits or [n for n in free if charges[n].sku in skus] or free or list(same))[0]
        if n in free:
            free.remove(n)
        for line in (old, new):
            if line is not None:
                yield n, line


def _pairs(lines: Sequence[CostLine]) -> list[tuple[CostLine | None, CostLine | None]]:
    """Put the credit of an old total and the charge of its new one together; others stay alone.

    Microsoft writes no line for no seats: a first step up has no old total, a last one down no new.
    """
    if not lines or lines[0].charge_type not in CHANGES:
        return [(line, None) if line.is_credit else (None, line) for line in lines]
    steps = sorted(lines, key=lambda line: -abs(line.seats))
    old = [line for line in steps if line.is_credit]
    new = [line for line in steps if not line.is_credit]
    return list(zip_longest(old, new))
