"""How many injected spikes and drops are found, and how many alerts are false: precision and recall.

`python -m bench.alerts [--seed N] [--series N]` invents histories of daily cost (weekday pattern,
noise, growth, month-end jobs, holidays, machines that come and go, short histories), puts one spike
or one drop of known size into seven of eight, and asks `usage.spikes` day by day what it sees.
Beside it stands the naive rule: more than twice yesterday, or nothing after something.

An alert is right when it has a day in common with what was put in. Each alert that has none is
false: in precision by size it counts for the size of its series, and clean series count alone.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random

from usage.baseline import floor_of
from usage.spikes import ACCEPTED_DAYS, WINDOW_DAYS, drops, spikes

FACTORS = ("1.5", "2", "3", "5", "10", "20")
HISTORIES = ("steady", "weekdays", "noisy", "growing", "month-end", "holidays", "coming", "short")
LAST = date(2026, 11, 7)
JUDGED = 28
"""Days at the end on which something may be put in, and in which alerts are counted."""
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Case:
    """One series, and what was put into it."""

    history: str
    injected: str
    """A factor, `drop`, or empty."""
    days: tuple[date, ...]
    """What was changed."""
    amounts: dict[date, Decimal]


def invent(draw: Random, history: str, injected: str) -> Case:
    """Make one series; with something injected, its first day is among the last `JUDGED`."""
    length = draw.randrange(10, 21) if history == "short" else WINDOW_DAYS
    days = [LAST - timedelta(days=away) for away in reversed(range(length))]
    level = 10 ** draw.uniform(1.5, 3.5)
    sigma = {"steady": 0.03, "noisy": 0.2}.get(history, draw.uniform(0.05, 0.15))
    weekend = (
        draw.uniform(0.1, 0.6) if history in {"weekdays", "holidays"} else draw.uniform(0.6, 1)
    )
    weekly = 1.06 if history == "growing" else 1.0
    machines = [
        (draw.randrange(length), draw.randrange(20, 90), draw.uniform(0.05, 0.2)) for _ in range(6)
    ]
    job = draw.uniform(1.5, 5)
    idle = {days[0] + timedelta(days=draw.randrange(length)) for _ in range(3)}
    floats: dict[date, float] = {}
    for number, day in enumerate(days):
        amount = level * weekly ** (number / 7) * draw.lognormvariate(0, sigma)
        amount *= weekend if day.weekday() >= 5 else 1
        if history == "month-end" and (day + timedelta(days=1)).day == 1:
            amount *= job
        if history == "holidays" and day in idle:
            amount *= 0.1
        if history == "coming":
            amount *= 1 + sum(
                share for start, lasts, share in machines if start <= number < start + lasts
            )
        floats[day] = amount
    changed: tuple[date, ...] = ()
    if injected:
        lasts = draw.choice((3, 4, 7)) if injected == "drop" else draw.choice((1, 1, 2, 5, 9))
        free = 3 if history == "short" else JUDGED
        start = length - draw.randrange(min(lasts, free), free + 1)
        changed = tuple(days[start : start + lasts])
        for day in changed:
            floats[day] = 0.0 if injected == "drop" else floats[day] * float(injected)
    amounts = {day: Decimal(repr(amount)).quantize(CENT) for day, amount in floats.items()}
    return Case(history, injected, changed, amounts)


Found = list[tuple[date, date, str]]


def ours(case: Case) -> Found:
    """Ask for episodes on each of the last days, as the daily run does, and keep what was told."""
    known = sorted(case.amounts)
    floor = floor_of("USD")
    told: dict[tuple[str, date], tuple[date, date]] = {}
    for end in range(len(known) - min(JUDGED, len(known) - 1), len(known)):
        seen = known[max(0, end + 1 - WINDOW_DAYS) : end + 1]
        for kind, judge in (("spike", spikes), ("drop", drops)):
            for one in judge(case.amounts, seen, floor=floor):
                if (known[end] - one.last).days < ACCEPTED_DAYS and one.last == known[end]:
                    told[kind, one.first] = (one.first, one.last)
    return [(first, last, kind) for (kind, _), (first, last) in told.items()]


def naive(case: Case) -> Found:
    """More than twice yesterday, and more than the floor; or nothing after something."""
    known = sorted(case.amounts)
    floor = floor_of("USD")
    found: Found = []
    for before, day in list(pairwise(known))[-JUDGED:]:
        rise = case.amounts[day] - case.amounts[before]
        if rise >= floor and case.amounts[day] > 2 * case.amounts[before]:
            found.append((day, day, "spike"))
        if not case.amounts[day] and case.amounts[before] >= floor:
            found.append((day, day, "drop"))
    return found


@dataclass
class Score:
    """What was found of what was put in, and what was told beside it."""

    there: int = 0
    found: int = 0
    told: int = 0
    right: int = 0

    def add(self, case: Case, told: Found) -> None:
        """Count one series."""
        kind = "drop" if case.injected == "drop" else "spike"
        # What the return to normal looks like is no cause of its own.
        right = [
            one
            for one in told
            if case.days and one[2] == kind and one[0] <= case.days[-1] and case.days[0] <= one[1]
        ]
        self.there += bool(case.days)
        self.found += bool(right)
        self.told += len(told)
        self.right += len(right)

    @property
    def precision(self) -> str:
        """Right alerts of all alerts; where nothing was put in, none can be right."""
        return f"{self.right / self.told:.3f}" if self.told and self.there else "-"

    @property
    def recall(self) -> str:
        """Found of what was put in."""
        return f"{self.found / self.there:.3f}" if self.there else "-"


def measure(seed: int, series: int) -> None:
    """Print the table."""
    draw = Random(seed)  # noqa: S311 - repeatable on purpose
    kinds = (*FACTORS, "drop", "")
    cases = [
        invent(
            draw, HISTORIES[number % len(HISTORIES)], kinds[number // len(HISTORIES) % len(kinds)]
        )
        for number in range(series)
    ]
    rules: Sequence[tuple[str, Callable[[Case], Found]]] = (("ours", ours), ("naive", naive))
    answers: dict[str, list[Found]] = {}
    for name, rule in rules:
        begun = time.perf_counter()
        answers[name] = [rule(case) for case in cases]
        print(f"{name}: {series} series in {time.perf_counter() - begun:.1f} s")

    def row(label: str, chosen: Callable[[Case], bool]) -> None:
        cells = []
        for name, _ in rules:
            score = Score()
            for case, told in zip(cases, answers[name], strict=True):
                if chosen(case):
                    score.add(case, told)
            cells.append(f"{score.precision:>9} {score.recall:>7} {score.told - score.right:>6}")
        print(f"{label:<22} {sum(map(chosen, cases)):>6}   {'   '.join(cells)}")

    print(f"\nseed {seed}; of each: precision, recall, false alerts; ours, then naive")
    for factor in FACTORS:
        row(f"spike {factor} x", lambda case, factor=factor: case.injected == factor)
    large = set(FACTORS[FACTORS.index("3") :])
    row("spike 3 x and more", lambda case: case.injected in large)
    row("drop to nothing", lambda case: case.injected == "drop")
    row("clean", lambda case: not case.injected)
    row("3 x and more + clean", lambda case: case.injected in large or not case.injected)
    print("by history (spikes of 3 x and more, and clean)")
    for history in HISTORIES:
        row(
            f"  {history}",
            lambda case, history=history: (
                case.history == history and (case.injected in large or not case.injected)
            ),
        )
    missed = Counter(
        (case.history, case.injected)
        for case, told in zip(cases, answers["ours"], strict=True)
        if case.injected in large and not any(one[2] == "spike" for one in told)
    )
    print("missed by ours:", dict(missed) or "none")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description="precision and recall of usage alerts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--series", type=int, default=640)
    options = parser.parse_args()
    measure(options.seed, options.series)


if __name__ == "__main__":
    main()
