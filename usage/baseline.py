"""What one series of daily amounts usually is on a weekday, and how far it usually strays.

Medians, because a spike must not move what it is measured against. The days before are laid over
their weekdays' medians; the ratios say how the level moved from fortnight to fortnight (a growing
customer is no spike) and how far single days stray from it. Ratios are rounded to six decimals and
everything else is exact, so a series in another unit of money has the same unusual days.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property

from domain.money import minor_units

BASELINE_DAYS = 56
"""Eight weeks: eight days of each weekday."""
LEAST_DAYS = 7
"""Less history is none."""
WEEKDAY_SAMPLES = 3
"""So many of a weekday say what is usual on it."""
LEAST_FACTOR = Decimal("1.7")
"""Less than that above the usual is no spike however steady the series is."""
SHORT_FACTOR = Decimal(3)
"""The same while there is too little history to know the weekdays."""
SPORADIC_FACTOR = Decimal(3)
"""Where nothing is usual on the day: above the greatest day there was."""
REPEATED = 3
"""What happened so often in eight weeks is not unusual any more."""
ABOVE_REPEATED = Decimal("1.25")

_STRAY_POWER = 6
# The median deviation of normal noise is 0.674 of its sigma, so its 6th power is 4 sigma away.
_LEAST_GROWTH, _MOST_GROWTH = Decimal("0.666667"), Decimal("1.5")
_FAR = Decimal(1000)
_MICRO = Decimal("0.000001")
Day = tuple[date, Decimal]


def floor_of(currency: str) -> Decimal:
    """Return the amount below which nothing is worth an alert: a thousand minor units, 10.00 USD."""
    return Decimal(1000).scaleb(-minor_units(currency))


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual on a day, and the amount from which a day is unusual."""

    amount: Decimal
    bound: Decimal
    by_weekday: bool


class Baseline:
    """The usual of a series, from days before the one to be judged (oldest first)."""

    def __init__(self, days: Sequence[Day], *, spiked: Sequence[Decimal] = ()) -> None:
        """`spiked` has the greatest factor of each earlier spike, whose days are left out."""
        self.enough = len(days) >= LEAST_DAYS
        self._days = days
        self._spiked = spiked

    def may_exceed(self, day: date, amount: Decimal) -> bool:
        """Say whether an amount could be unusual at all: what few days are, found in no time."""
        same = [one for before, one in self._days if before.weekday() == day.weekday()]
        if len(same) < WEEKDAY_SAMPLES:
            return True
        return amount >= median(same) * _LEAST_GROWTH * LEAST_FACTOR

    @cached_property
    def _weekdays(self) -> Mapping[int, Decimal]:
        by_weekday: dict[int, list[Decimal]] = defaultdict(list)
        for day, amount in self._days:
            by_weekday[day.weekday()].append(amount)
        return {
            weekday: median(amounts)
            for weekday, amounts in by_weekday.items()
            if len(amounts) >= WEEKDAY_SAMPLES
        }

    @cached_property
    def _all(self) -> Decimal:
        return median([amount for _, amount in self._days]) if self._days else Decimal(0)

    @cached_property
    def _fortnights(self) -> Sequence[tuple[Decimal, Sequence[Decimal]]]:
        """The level of each fortnight and its ratios to the usual of their weekdays, latest first."""
        ratios: dict[int, list[Decimal]] = defaultdict(list)
        for day, amount in self._days:
            middle = self._weekdays.get(day.weekday(), self._all)
            if middle > 0:
                ratios[(self._days[-1][0] - day).days // 14].append(ratio(amount, middle))
        return [(median(own), own) for _, own in sorted(ratios.items())]

    @cached_property
    def _growth(self) -> Decimal:
        latest = self._fortnights[0][0] if self._fortnights else Decimal(1)
        return min(max(latest, _LEAST_GROWTH), _MOST_GROWTH)

    @cached_property
    def _tolerance(self) -> Decimal:
        """The factor that noise does not reach, nor what happens again and again."""
        strays = [_stray(one, level) for level, own in self._fortnights for one in own]
        noise = min(median(strays), _FAR) ** _STRAY_POWER if strays else Decimal(1)
        heights = [ratio(one, level) for level, own in self._fortnights if level > 0 for one in own]
        heights = sorted([*heights, *self._spiked], reverse=True)
        again = heights[REPEATED - 1] * ABOVE_REPEATED if len(heights) >= REPEATED else Decimal(0)
        return max(noise, again).quantize(_MICRO)

    def on(self, day: date) -> Usual:
        """Return what is usual on a day."""
        middle = self._weekdays.get(day.weekday())
        by_weekday = middle is not None
        amount = (middle if middle is not None else self._all) * self._growth
        least = LEAST_FACTOR if by_weekday else SHORT_FACTOR
        if amount <= 0:
            greatest = max((one for _, one in self._days), default=Decimal(0))
            return Usual(Decimal(0), greatest * SPORADIC_FACTOR, by_weekday)
        return Usual(amount, amount * max(least, self._tolerance), by_weekday)


def median(values: Sequence[Decimal]) -> Decimal:
    """Return the middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def ratio(part: Decimal, whole: Decimal) -> Decimal:
    """Divide, to six decimals."""
    return (part / whole).quantize(_MICRO)


def _stray(one: Decimal, level: Decimal) -> Decimal:
    """Return by which factor a ratio is above or below its level."""
    if one <= 0 or level <= 0:
        return Decimal(1) if one == level else _FAR
    return max(ratio(one, level), ratio(level, one))
