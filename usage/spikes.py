"""Which days of one daily series are unusual, joined into episodes: spikes, and drops to nothing.

A day is judged against the eight weeks before it; while an episode lasts, against the eight weeks
before its first day, so a spike never becomes its own measure. After four weeks the new level is the
usual one. A job that runs on the same day of each month is not unusual: it looks so only once.

Days that are not known (nobody has usage on them: a part of the feed is missing) are neither judged
nor learned from; absence on a known day is zero.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, localcontext

from usage.baseline import BASELINE_DAYS, Baseline, Day, median, ratio

JUDGED_DAYS = 63
"""Days that are judged again each time: an episode may last four weeks and be told for five."""
WINDOW_DAYS = JUDGED_DAYS + BASELINE_DAYS
"""History that a judgement rests on."""
QUIET_DAYS = 3
"""Usual days after which an episode is over: a weekend does not part it."""
ACCEPTED_DAYS = 28
"""Days after which a level is the usual one."""
DROP_DAYS = 3
"""Days without usage that make a drop, counting those that usually have some."""

_MONTHLY = Decimal("1.5")
_STANDS_OUT = Decimal("1.3")
_PRECISION = 60
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Judged:
    """One day of an episode."""

    day: date
    amount: Decimal
    usual: Decimal


@dataclass(slots=True)
class Episode:
    """Unusual days that belong together."""

    days: list[Judged]
    baseline: Baseline
    before: Sequence[Day]
    """The days that the baseline is made from."""
    over: bool = False
    accepted: bool = False
    """It lasted so long that it counts as usual."""
    quiet: int = 0

    @property
    def first(self) -> date:
        """The first unusual day."""
        return self.days[0].day

    @property
    def last(self) -> date:
        """The last unusual day so far."""
        return self.days[-1].day

    @property
    def amount(self) -> Decimal:
        """What was used on its days."""
        return sum((one.amount for one in self.days), _ZERO)

    @property
    def usual(self) -> Decimal:
        """What is usual on its days."""
        return sum((one.usual for one in self.days), _ZERO)


def spikes(
    amounts: Mapping[date, Decimal], known: Sequence[date], *, floor: Decimal
) -> list[Episode]:
    """Return the spikes of a series whose history begins with `known` (days in order)."""
    with localcontext(prec=_PRECISION):
        return _spikes(amounts, known, floor)


def _spikes(
    amounts: Mapping[date, Decimal], known: Sequence[date], floor: Decimal
) -> list[Episode]:
    found: list[Episode] = []
    left_out: set[date] = set()
    spiked: list[Decimal] = []
    begins = known[0] if known else date.min
    current: Episode | None = None
    for number, day in enumerate(known):
        if (known[-1] - day).days >= JUDGED_DAYS:
            continue
        amount = amounts.get(day, _ZERO)
        if current is not None and (day - current.first).days >= ACCEPTED_DAYS:
            begins = current.first
            current.over = current.accepted = True
            current = None
        if current is None:
            since = max(begins, day - timedelta(days=BASELINE_DAYS))
            before = [
                (one, amounts.get(one, _ZERO))
                for one in known[max(0, number - BASELINE_DAYS) : number]
                if one >= since and one not in left_out
            ]
            baseline = Baseline(before, spiked=spiked)
            if _is_spike(amounts, known, day, baseline, floor):
                current = Episode([Judged(day, amount, baseline.on(day).amount)], baseline, before)
                found.append(current)
            continue
        if _is_spike(amounts, known, day, current.baseline, floor):
            current.days.append(Judged(day, amount, current.baseline.on(day).amount))
            current.quiet = 0
            continue
        current.quiet += 1
        if current.quiet >= QUIET_DAYS:
            current.over = True
            left_out.update(one.day for one in current.days)
            highest = [ratio(one.amount, one.usual) for one in current.days if one.usual > 0]
            spiked.extend([max(highest)] if highest else [])
            current = None
    return found


def _is_spike(
    amounts: Mapping[date, Decimal],
    known: Sequence[date],
    day: date,
    baseline: Baseline,
    floor: Decimal,
) -> bool:
    amount = amounts.get(day, _ZERO)
    if not baseline.enough or amount < floor or not baseline.may_exceed(day, amount):
        return False
    usual = baseline.on(day)
    if amount - usual.amount < floor or amount < usual.bound:
        return False
    return not _is_monthly(amounts, known[0], day, amount)


def _is_monthly(amounts: Mapping[date, Decimal], begins: date, day: date, amount: Decimal) -> bool:
    """Say whether the same day of an earlier month, from its start or its end, was as large.

    It must itself stand out from its weekday then: what is large every week is no monthly job.
    """
    least = amount / _MONTHLY
    from_end = monthrange(day.year, day.month)[1] - day.day
    month = day.replace(day=1)
    while month > begins:
        month = (month - timedelta(days=1)).replace(day=1)
        length = monthrange(month.year, month.month)[1]
        for number in {day.day, length - from_end}:
            if not 1 <= number <= length:
                continue
            same = month.replace(day=number)
            if amounts.get(same, _ZERO) < least:
                continue
            about = [amounts.get(same + timedelta(days=away), _ZERO) for away in (-14, -7, 7, 14)]
            if amounts[same] >= median(about) * _STANDS_OUT:
                return True
    return False


def drops(
    amounts: Mapping[date, Decimal], known: Sequence[date], *, floor: Decimal
) -> list[Episode]:
    """Return the runs of days without usage in a series that has usage on every such weekday."""
    with localcontext(prec=_PRECISION):
        return _drops(amounts, known, floor)


def _drops(amounts: Mapping[date, Decimal], known: Sequence[date], floor: Decimal) -> list[Episode]:
    found: list[Episode] = []
    run: list[date] = []
    for number, day in enumerate(known):
        idle = amounts.get(day, _ZERO) <= 0
        if idle:
            run.append(day)
        at_end = number == len(known) - 1
        if not run or (idle and not at_end):
            continue
        begin = number + idle - len(run)
        before = [
            (one, amounts.get(one, _ZERO)) for one in known[max(0, begin - BASELINE_DAYS) : begin]
        ]
        episode = _drop(run, before, floor)
        if episode is not None and (known[-1] - episode.first).days < JUDGED_DAYS:
            episode.accepted = idle and (episode.last - episode.first).days >= ACCEPTED_DAYS
            episode.over = not idle or episode.accepted
            found.append(episode)
        run = []
    return found


def _drop(run: Sequence[date], before: Sequence[Day], floor: Decimal) -> Episode | None:
    baseline = Baseline(before)
    if not baseline.enough:
        return None
    missed = [Judged(day, _ZERO, usual) for day in run if (usual := baseline.on(day).amount) > 0]
    if len(missed) < DROP_DAYS or sum((one.usual for one in missed), _ZERO) < floor:
        return None
    served = [amount for day, amount in before if baseline.on(day).amount > 0]
    idle = sum(amount <= 0 for amount in served)
    # A series that pauses now and then has only paused.
    if idle * 20 > len(served):
        return None
    return Episode(missed, baseline, before)
