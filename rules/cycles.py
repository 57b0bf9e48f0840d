"""How a running term is cut into lines, and what part of a price each of them is.

Lines follow Microsoft's charge cycle, anchored on the purchase day, or the contract's own periods.
A cycle that is served in full costs its price; a part of it costs its share by days, by fixed 30
days a month, or by months. A price that pays for more than one line (a year billed monthly) is
split into instalments by largest remainder, so that they sum to it to the cent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache

from domain.contract import Proration
from domain.money import round_half_up
from domain.period import Grid, Period


class Side(StrEnum):
    """Whose lines are made: ours for the customer, or Microsoft's for us."""

    SELL = "sell"
    COST = "cost"


class Rounding(StrEnum):
    """Where and how a line is rounded to the minor unit."""

    HALF_UP = "half_up"
    """The line, once, halves away from zero."""
    MS_DOWN = "ms_down"
    """The prorated unit toward zero, then times the quantity: Microsoft's statement since 2024."""
    MS_HALF_UP = "ms_half_up"
    """The prorated unit half up, then times the quantity: Microsoft's older examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a history becomes lines: what is agreed with the customer, or what Microsoft does."""

    currency: str
    side: Side = Side.SELL
    proration: Proration = Proration.DAYS
    rounding: Rounding = Rounding.HALF_UP
    grid: Grid | None = None
    """The contract's periods, where lines follow them; None: Microsoft's charge cycles."""
    enforce_windows: bool = False
    """Refuse what comes after seven days; off where Microsoft has accepted it already."""
    keeps_day: bool = False
    """Monthly and weekly cycles stay on the purchase day also where a term starts off it (after a
    shortened term); off where Microsoft's lines say when its cycles start."""

    def lines(self, own: Grid) -> Grid:
        """Return the periods of the lines of a subscription with its `own` charge cycles."""
        if self.grid is None or (self.grid.months and not own.months):
            return own  # weeks divide no month
        shorter = own.months < self.grid.months
        return self.grid.finer(own.months) if shorter else self.grid


@dataclass(frozen=True, slots=True)
class Instalments:
    """The lines that one price pays for, and the weight of each: 1 for a whole period."""

    pieces: tuple[Period, ...]
    weights: tuple[Fraction, ...]
    total: Fraction
    """What the weights sum to: the price is divided by it."""

    def nth(self, service: Period) -> int | None:
        """Return which of the lines a service is; None where it is only a part of one."""
        return self.pieces.index(service) if service in self.pieces else None


@lru_cache(maxsize=4096)
def instalments(paid: Period, grid: Grid, proration: Proration) -> Instalments:
    """Cut the period that a price pays for into the lines of a grid, each with its weight."""
    proration = weighing(proration)
    pieces: list[Period] = []
    weights: list[Fraction] = []
    start = paid.start
    while start < paid.end:
        full = grid.around(start)
        piece = Period(start, min(full.end, paid.end))
        pieces.append(piece)
        weights.append(
            Fraction(1) if piece == full else Fraction(*share(proration, piece, full, grid))
        )
        start = piece.end
    return Instalments(tuple(pieces), tuple(weights), sum(weights, Fraction(0)))


def weighing(proration: Proration) -> Proration:
    """Return how an instalment weighs: by its days also where parts are charged by months.

    A begun month at each end would make one month too many.
    """
    return Proration.DAYS if proration is Proration.MONTHS else proration


def share(
    proration: Proration, service: Period, full: Period, grid: Grid, *, returned: bool = False
) -> tuple[int, int]:
    """Return what part of the price of `full`, a period of `grid`, the service is: served, of all.

    Counted in days, or in months where they are agreed. A begun month counts whole when it is
    charged; what is `returned` is only what has not begun.
    """
    if proration is Proration.MONTHS and grid.months:
        return months_in(service, grid, returned=returned), grid.months
    whole = divisor(proration, full, grid)
    return min(service.days, whole), whole


def divisor(proration: Proration, full: Period, grid: Grid) -> int:
    """Return the days by which a part of `full` is divided."""
    if proration is Proration.FIXED_30 and grid.months:
        return 30 * grid.months
    return full.days


def months_in(service: Period, grid: Grid, *, returned: bool = False) -> int:
    """Count the months that begin in a service, with the one that has begun already unless returned."""
    months = grid.finer(1)
    first = months.index_of(service.start)
    if returned and months.nth(first).start < service.start:
        first += 1
    return months.index_of(service.last_day) + 1 - first if service.days else 0


def round_unit(rounding: Rounding, unit: Fraction, places: int) -> Fraction:
    """Round a prorated unit the way Microsoft does; toward zero is symmetric for credits."""
    if rounding is Rounding.MS_HALF_UP:
        return Fraction(round_half_up(unit, places))
    scaled = abs(unit) * 10**places
    cut = Fraction(scaled.numerator // scaled.denominator, 10**places)
    return cut if unit >= 0 else -cut
