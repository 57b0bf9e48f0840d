"""From one amount to another in steps, one for each cause, that sum to the difference to the cent.

quantity x unit price x days is changed one factor at a time, always in this order: what does not
follow from its own factors (proration), the quantity at the days and price of before, the days at
the right quantity, the promotion, the price, and what rounding leaves. So the same two lines are
always told in the same way, and no cent is told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from domain.money import minor_units, round_half_up
from domain.period import Period, add_months
from domain.reconciliation import Cause, SoldLine
from rules.matching import Ask

_TOLERANCE = Decimal("0.01")
"""For each unit: who rounds the prorated unit before it is multiplied is off by that much."""

Steps = list[tuple[Cause, Decimal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What an amount is made of; `full` days are the divisor of both sides."""

    quantity: Decimal
    days: int
    price: Fraction
    """For one unit and the full cycle, after any promotion."""
    listed: Fraction
    """The same before a promotion."""


def rounded_line(currency: str) -> Callable[[Fraction], Decimal]:
    """Return the rounding of our lines: half up, once."""
    return lambda value: round_half_up(value, minor_units(currency))


def steps(
    was: Decimal,
    right: Decimal,
    before: Factors,
    after: Factors,
    value: Callable[[Decimal, int, Fraction], Decimal],
) -> Steps:
    """Lead from `was` to `right`; `value` is the amount of quantity, days and price.

    The steps sum to `right` - `was`; steps of nothing are left out.
    """
    path = [
        (before.quantity, before.days, before.price),
        (after.quantity, before.days, before.price),
        (after.quantity, after.days, before.price),
        # The promotion alone: the old list price with the part that the right promotion leaves.
        (after.quantity, after.days, _kept(after) * before.listed),
        (after.quantity, after.days, after.price),
    ]
    values = [was, *(value(*point) for point in path), right]
    causes = (
        Cause.PRORATION,
        Cause.QUANTITY,
        Cause.DATES,
        Cause.PROMOTION,
        Cause.PRICE,
        Cause.PRORATION,
    )
    units = max(abs(before.quantity), abs(after.quantity), Decimal(1))
    found: dict[Cause, Decimal] = {}
    for cause, (one, next_) in zip(causes, pairwise(values), strict=True):
        step = next_ - one
        small = cause is Cause.PRORATION and abs(step) <= _TOLERANCE * units
        told = Cause.ROUNDING if small else cause
        found[told] = found.get(told, Decimal(0)) + step
    return [(cause, step) for cause, step in found.items() if step]


def in_proportion(
    was: Decimal,
    right: Decimal | None,
    parts: Iterator[tuple[Cause, Fraction]],
    currency: str,
    tolerance: Decimal,
) -> Steps:
    """Lead from `was` by ratios, where no price is known; what is then left of `right` is the price."""
    found: Steps = []
    here, exact = was, Fraction(was)
    for cause, ratio in parts:
        exact *= ratio
        there = round_half_up(exact, minor_units(currency))
        if there != here:
            found.append((cause, there - here))
        here = there
    if right is not None and right != here:
        small = abs(right - here) <= tolerance
        found.append((Cause.ROUNDING if small else Cause.PRICE, right - here))
    return found


def _kept(factors: Factors) -> Fraction:
    return factors.price / factors.listed if factors.listed else Fraction(1)


# --- one place of the customer's side --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What one unit of a subscription was sold for in a whole cycle."""

    service: Period
    unit_price: Decimal


def steps_of(
    asks: Sequence[Ask], lines: Sequence[SoldLine], currency: str, whole: Whole | None
) -> Steps:
    """Lead from what was asked for to what is due, for lines of one currency.

    Without prices the customer's own are right, and Microsoft's seats and days measure them.
    """
    was = sum((line.amount for line in lines), Decimal(0))
    known = [ask.amount for ask in asks if ask.amount is not None]
    right = sum(known, Decimal(0)) if len(known) == len(asks) else None
    if right == was:
        return []
    if right is None and _plainly_right(asks, lines):
        return []
    if right is None:
        # What costs nothing beside what does (a trial before its first paid cycle) asks for nothing.
        asks = [ask for ask in asks if ask.cost] or asks
    counted = all(ask.counted and ask.service for ask in asks)
    tolerance = _TOLERANCE * max(len(asks), len(lines))  # each line was rounded for itself
    if not counted or any(line.quantity is None for line in lines):
        return [] if right is None else [(_of_amounts(was, right, tolerance), right - was)]
    if len(asks) == len(lines) == 1:
        found = _by_factors(asks[0], lines[0], right, currency, whole)
        if found is not None:
            return found
    return in_proportion(was, right, _ratios(asks, lines), currency, tolerance)


def _plainly_right(asks: Sequence[Ask], lines: Sequence[SoldLine]) -> bool:
    """Say whether one line asks for the seats and days of one ask: most of a hundred thousand do."""
    if len(asks) != 1 or len(lines) != 1 or not asks[0].whole:
        return False
    return (asks[0].quantity, asks[0].service) == (lines[0].quantity, lines[0].service)


def _of_amounts(was: Decimal, right: Decimal, tolerance: Decimal) -> Cause:
    if abs(right - was) <= tolerance:
        return Cause.ROUNDING
    return Cause.CREDIT_NOT_PASSED_ON if right < 0 and right < was else Cause.PRICE


def _by_factors(
    ask: Ask, line: SoldLine, right: Decimal | None, currency: str, whole: Whole | None
) -> Steps | None:
    """Decompose quantity x price x days; None where the amounts are no such product."""
    if line.unit_price is None or line.quantity is None or ask.service is None:
        return None
    service, full = line.service or ask.service, ask.full
    sold_price = right_price = Fraction(line.unit_price)
    if right is None:
        # Seats that joined were asked for as if they had served the whole cycle.
        unprorated = line.amount == line.quantity * line.unit_price and not ask.whole
        if not (unprorated and whole and whole.unit_price == line.unit_price):
            return None
        if service.start not in whole.service:
            return None
        full = whole.service
    elif ask.unit_price is not None:
        right_price = Fraction(ask.unit_price)
    if full is None or not full.days:
        return None
    rounded = rounded_line(currency)

    def value(quantity: Decimal, days: int, price: Fraction) -> Decimal:
        return rounded(Fraction(quantity) * price * days / full.days)

    computed = value(ask.quantity, ask.service.days, right_price)
    if right is None:
        right = computed
    elif abs(computed - right) > _TOLERANCE:
        return None
    kept = 1 - Fraction(ask.discount_percent or 0) / 100
    listed = right_price / kept if kept else right_price
    return steps(
        line.amount,
        right,
        Factors(
            quantity=line.quantity,
            days=service.days,
            price=sold_price,
            listed=sold_price if sold_price == listed or not kept else sold_price / kept,
        ),
        Factors(quantity=ask.quantity, days=ask.service.days, price=right_price, listed=listed),
        value,
    )


def _ratios(asks: Sequence[Ask], lines: Sequence[SoldLine]) -> Iterator[tuple[Cause, Fraction]]:
    """Compare seats and days: one after the other where each side has one of each, else together."""
    due = [(ask.quantity, ask.service) for ask in asks if ask.service]
    asked = [(line.quantity or Decimal(0), line.service) for line in lines]
    due_days, asked_days = {days for _, days in due}, {days for _, days in asked}
    seats_due = sum((seats for seats, _ in due), Decimal(0))
    seats_asked = sum((seats for seats, _ in asked), Decimal(0))
    if not seats_asked:
        return
    if len(asked_days) == 1 and asked_days <= due_days | {None} and len(due_days) == 1:
        yield Cause.QUANTITY, Fraction(seats_due) / Fraction(seats_asked)
        return
    if len(due_days) == len(asked_days) == 1:
        right, told = due_days.pop(), asked_days.pop()
        yield Cause.QUANTITY, Fraction(seats_due) / Fraction(seats_asked)
        if told and told.days and not _same_cycle(right, told):
            yield Cause.DATES, Fraction(right.days, told.days)
        return
    most_due, most_asked = _most(due), _most(asked)
    if None in asked_days:
        if most_asked:
            yield Cause.QUANTITY, Fraction(most_due) / Fraction(most_asked)
        return
    served = sum((seats * days.days for seats, days in due), Decimal(0))
    paid = sum((seats * days.days for seats, days in asked if days), Decimal(0))
    if paid:
        cause = Cause.DATES if most_due == most_asked else Cause.QUANTITY
        yield cause, Fraction(served) / Fraction(paid)


def _most(parts: Sequence[tuple[Decimal, Period | None]]) -> Decimal:
    """Return the most seats that ran on one day; parts without days count on all of them."""
    always = sum((seats for seats, days in parts if days is None), Decimal(0))
    changes: dict[date, Decimal] = {}
    for seats, days in parts:
        if days is not None:
            changes[days.start] = changes.get(days.start, Decimal(0)) + seats
            changes[days.end] = changes.get(days.end, Decimal(0)) - seats
    running = most = Decimal(0)
    for day in sorted(changes):
        running += changes[day]
        most = max(most, running)
    return always + most


def _same_cycle(right: Period, told: Period) -> bool:
    """Say whether both are whole cycles of one length: a calendar month pays for a charge cycle."""
    months = next((n for n in (1, 3, 6, 12, 36) if add_months(told.start, n) == told.end), None)
    if months == 1:
        return 28 <= right.days <= 31  # cycles clamp at month ends
    return months is not None and add_months(right.start, months) == right.end
