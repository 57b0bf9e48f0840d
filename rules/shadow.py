"""The shadow of Microsoft's invoice: which lines were to be expected, and why others came.

Microsoft's subtotal is the truth of what Microsoft billed and is never recomputed. The same history
is walked once more by Microsoft's rules (pairs for a change, the prorated unit rounded before it is
multiplied), at the price of the term's first line, which is locked for the term; where a line comes
out differently, the cause is named from a closed list. Nothing is hidden: a difference within 0.01
for each unit is told as well, as rounding.

Limits: an expectation needs a line of the same term and product that tells the price, so a price
that is wrong from the first line on does not show; a conversion's credit is expected at the price
of the old product's lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from domain.charge import Charge, Reason
from domain.money import plain
from domain.period import Grid, Period
from domain.problems import Finding, Severity
from domain.subscription import (
    CostKind,
    CostLine,
    Subscription,
    SubscriptionEvent,
    SubscriptionKind,
)
from rules import events
from rules.cycles import Method, Rounding, Side
from rules.lines import UnitPrice
from rules.linking import CHANGES, KINDS
from rules.proration import PriceQuestion, rate_history
from rules.states import opens

_TOTALS = {"new", "renew", "cycleCharge"}
_TOLERANCE = Decimal("0.01")
"""For each unit of a line: the prorated unit is rounded to cents before it is multiplied."""


# --- which line was to be expected -----------------------------------------------------------------


class Cause(StrEnum):
    """Why a line of Microsoft is another than was to be expected: a closed list."""

    MISSING_LINE = "missing_line"
    UNEXPECTED_LINE = "unexpected_line"
    DATES = "dates"
    QUANTITY = "quantity"
    PROMOTION = "promotion"
    PRICE = "price"
    PRORATION = "proration"
    ROUNDING = "rounding"


SEAT_CAUSES = {Cause.MISSING_LINE, Cause.UNEXPECTED_LINE, Cause.DATES, Cause.QUANTITY}
"""Causes that show in the seats and days; the others only in the money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One line that is not as expected: either side may be absent, never both."""

    cause: Cause
    line: CostLine | None
    expected: Charge | None
    sentence: str

    @property
    def amount(self) -> Decimal:
        """What Microsoft billed beyond the expectation, before tax."""
        billed = self.line.subtotal if self.line else Decimal(0)
        return billed - (self.expected.amount.amount if self.expected else Decimal(0))


def predict(
    subscriptions: Iterable[Subscription],
    told: Iterable[SubscriptionEvent],
    cost_lines: Iterable[CostLine],
    window: Period,
    *,
    rounding: Rounding = Rounding.MS_DOWN,
) -> list[Charge]:
    """Return the lines that Microsoft should bill for seats whose service starts in `window`.

    Amounts are cost, in the currency of Microsoft's lines; what has no line that tells its price is
    not expected. Rule: partner-center.md 13.2 and 13.3.
    """
    lines_of: dict[str, list[CostLine]] = defaultdict(list)
    for line in cost_lines:
        if line.kind is CostKind.LICENCE and line.charged:
            lines_of[line.subscription_id].append(line)
    events_of: dict[str, list[SubscriptionEvent]] = defaultdict(list)
    for event in told:
        events_of[event.subscription_id].append(event)
    expected: list[Charge] = []
    for subscription in subscriptions:
        lines = lines_of[subscription.id]
        if subscription.kind is not SubscriptionKind.LICENCE or not lines:
            continue
        aligned = _aligned(lines)
        history = [
            replace(event, anchor=aligned[event.effective])
            if event.effective in aligned and opens(event)
            else event
            for event in events.history(subscription, lines, events_of[subscription.id])
        ]
        found, _ = rate_history(  # what cannot be rated is told where it is rated for the customer
            history,
            price_for=locked_cost(lines),
            window=window,
            method=Method(
                currency=lines[0].currency,
                side=Side.COST,
                rounding=rounding,
                keeps_day=bool(aligned),
            ),
            name=subscription.name,
            auto_renew=subscription.auto_renew,
        )
        expected.extend(charge for charge in found if charge.amount or charge.unit_price)
    return expected


def _aligned(lines: Iterable[CostLine]) -> dict[date, date]:
    """Return the terms whose cycles are those of another subscription, or the calendar's.

    By their first day, and the end on which their cycles are anchored. A term that is bought to end
    with another begins with a part of a cycle, as its lines show. Rule: partner-center.md 13.1.
    """
    found: dict[date, date] = {}
    for line in lines:
        starts, ends, charged = line.subscription_start, line.subscription_end, line.charged
        if not starts or not ends or not charged or line.charge_type not in _TOTALS:
            continue
        # Where the first cycle is cut short it ends on the other's day; those after it start there.
        turns = charged.end if charged.start == starts else charged.start
        full_term = _turns_on(ends, starts)
        on_end = turns < ends and _turns_on(turns, ends) and not _turns_on(turns, starts)
        if on_end and not full_term:
            found[starts] = ends
    return found


def _turns_on(day: date, anchor: date) -> bool:
    """Say whether a month that is counted from an anchor begins on a day."""
    return Grid(1, 0, anchor.day).around(day).start == day


def check(expected: Iterable[Charge], lines: Iterable[CostLine]) -> list[Finding]:
    """Tell where Microsoft's money is not what was to be expected, by cause and subscription.

    Differences of seats and days hold the customer where they are compared before a document
    (`reconcile.check_seats`); these change no document.
    """
    groups: dict[tuple[str, Cause], list[Difference]] = defaultdict(list)
    for one in differences(expected, lines):
        if one.line is not None and one.cause not in SEAT_CAUSES:
            groups[one.line.subscription_id, one.cause].append(one)
    return [_told(subscription, cause, group) for (subscription, cause), group in groups.items()]


def _told(subscription_id: str, cause: Cause, group: Sequence[Difference]) -> Finding:
    lines = [one.line for one in group if one.line]
    total = sum((one.amount for one in group), Decimal(0))
    more = f" ({len(group)} lines, {total:f} {lines[0].currency} in all)" if group[1:] else ""
    return Finding(
        check=f"cost.{cause}",
        severity=Severity.WARN,
        customer_id=lines[0].customer_id,
        record=f"subscription {subscription_id}",
        sentence=f"{group[0].sentence}{more}.",
        hint=_HINTS[cause],
    )


_HINTS = {
    Cause.PRICE: "the price is locked for the term: ask Microsoft for the difference",
    Cause.PROMOTION: "check whether the promotion still applies; ask Microsoft if it should",
    Cause.PRORATION: "compare the days of the line with the charge cycle; ask Microsoft",
    Cause.ROUNDING: "nothing to do: Microsoft rounds the unit before it multiplies",
}


def locked_cost(lines: Sequence[CostLine]) -> Callable[[PriceQuestion], UnitPrice | Finding]:
    """Answer with the cost that the first line of a term locked, at the rate of the cycle's line.

    A promotion that any line of the term shows is expected for the whole term.
    """

    def answer(question: PriceQuestion) -> UnitPrice | Finding:
        known = sorted(
            (line for line in lines if line.sku == question.sku and line.unit_price),
            key=lambda line: (line.charged.start if line.charged else date.max, line.key),
        )
        in_term = [line for line in known if line.subscription_start == question.term_start]
        if not in_term:
            in_term = [line for line in known if _covers(line, question.term_start)]
        if not in_term:
            return _no_price(question)
        first = in_term[0]
        discounts = [kept for line in in_term if (kept := _kept(line, question.full)) is not None]
        kept = min(discounts, default=Fraction(1))
        here = [line for line in in_term if line.charged and line.charged.start in question.full]
        rate = (here or in_term)[-1].exchange_rate
        return UnitPrice(
            value=Fraction(first.unit_price) * kept * Fraction(rate),
            reasons=(
                Reason(
                    rule="cost.locked",
                    inputs={
                        "line": first.key,
                        "unit_price": plain(first.unit_price),
                        "kept": plain(kept * 100),
                        "exchange_rate": plain(rate),
                    },
                ),
            ),
        )

    return answer


def _covers(line: CostLine, day: date) -> bool:
    starts, ends = line.subscription_start, line.subscription_end
    return starts is not None and starts <= day and (ends is None or day < ends)


def _kept(line: CostLine, full: Period) -> Fraction | None:
    """Return the part of the list price that a promotion leaves; None where the line has none."""
    # A prorated line shows its discount through its days, so only whole cycles are read: those of
    # one term differ by three days at most.
    if not line.promotion_id or line.charged is None or line.charged.days < full.days - 3:
        return None
    return Fraction(abs(line.effective_unit_price)) / Fraction(line.unit_price)


def _no_price(question: PriceQuestion) -> Finding:
    return Finding(
        check="cost.unknown",
        severity=Severity.WARN,
        customer_id=question.customer_id,
        record=f"subscription {question.subscription_id}",
        sentence=f"No line of Microsoft tells the price of {question.sku} in this term.",
        hint="nothing is expected until Microsoft bills the term",
    )


def differences(expected: Iterable[Charge], lines: Iterable[CostLine]) -> list[Difference]:
    """Compare what was to be expected with Microsoft's seat lines; equal ones are not told."""
    found: list[Difference] = []
    for charge, line in pairs(expected, lines):
        if charge is not None and line is not None:
            found.extend(_compared(charge, line))
        elif charge is not None and charge.amount:
            found.append(
                Difference(
                    cause=Cause.MISSING_LINE,
                    line=None,
                    expected=charge,
                    sentence=f"no line of Microsoft for {said(charge)}",
                )
            )
        elif line is not None and line.subtotal:
            found.append(
                Difference(
                    cause=Cause.UNEXPECTED_LINE,
                    line=line,
                    expected=None,
                    sentence=(
                        f"Microsoft billed {line.seats:f} × "
                        f"{plain(line.effective_unit_price.copy_abs())} {line.currency} "
                        f"({line.charge_type}, {line.charged}), which nothing explains"
                    ),
                )
            )
    return found


def pairs(
    expected: Iterable[Charge], lines: Iterable[CostLine]
) -> list[tuple[Charge | None, CostLine | None]]:
    """Give each expectation its seat line, the nearest first; what is left stands alone.

    What takes itself back to the cent on one day is left out on both sides.
    """
    ours = list(expected)
    undone = _undone(
        ((c.subscription_id, c.service, abs(c.quantity), abs(c.amount.amount)), c.quantity < 0)
        for c in ours
    )
    ours = [charge for n, charge in enumerate(ours) if n not in undone]
    theirs = [x for x in lines if x.kind is CostKind.LICENCE and x.charged]
    theirs.sort(key=lambda line: line.key)
    undone = _undone(
        ((x.subscription_id, x.charged, abs(x.seats), abs(x.subtotal)), x.is_credit) for x in theirs
    )
    theirs = [line for n, line in enumerate(theirs) if n not in undone]
    found: list[tuple[Charge | None, CostLine | None]] = []
    for nearness in _NEARNESS:
        left: dict[tuple[object, ...], list[CostLine]] = defaultdict(list)
        for line in theirs:
            left[nearness(_mark_of_line(line))].append(line)
        alone: list[Charge] = []
        taken: set[int] = set()
        for charge in ours:
            group = left[nearness(_mark_of_charge(charge))]
            near = next((n for n, line in enumerate(group) if _overlap(charge, line)), None)
            if near is None:
                alone.append(charge)
                continue
            line = group.pop(near)
            taken.add(id(line))
            found.append((charge, line))
        ours, theirs = alone, [line for line in theirs if id(line) not in taken]
    found.extend((charge, None) for charge in ours)
    found.extend((None, line) for line in theirs)
    return found


def _undone(sides: Iterable[tuple[tuple[object, ...], bool]]) -> set[int]:
    """Return the places in the list of what takes itself back to the cent, on one day.

    A total that was reached and left on one day, or a purchase cancelled on its day. Each is given
    by what must agree, and whether it gives back.
    """
    groups: dict[tuple[object, ...], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for n, (same, gives_back) in enumerate(sides):
        groups[same][gives_back].append(n)
    return {
        n
        for charged, credited in groups.values()
        for pair in zip(charged, credited, strict=False)
        for n in pair
    }


_Mark = tuple[str, bool, str, Period, Decimal]
"""Subscription, whether it gives back, kind, days, seats."""

_NEARNESS: tuple[Callable[[_Mark], tuple[object, ...]], ...] = (
    lambda m: m,
    lambda m: (m[0], m[1], m[3], m[4]),
    lambda m: (m[0], m[1], m[2], m[3]),
    lambda m: (m[0], m[1], m[2], m[3].start),
    lambda m: (m[0], m[1], m[2], m[4]),
)
"""What must agree for an expectation to be a line's, the strictest first."""


def _mark_of_line(line: CostLine) -> _Mark:
    assert line.charged is not None
    kind = "change" if line.charge_type in CHANGES else line.charge_type
    return line.subscription_id, line.is_credit, kind, line.charged, line.seats


def _mark_of_charge(charge: Charge) -> _Mark:
    kind = KINDS[charge.type]
    kind = "change" if kind in CHANGES else kind
    return charge.subscription_id, charge.quantity < 0, kind, charge.service, charge.quantity


def _overlap(charge: Charge, line: CostLine) -> bool:
    return line.charged is not None and charge.service.intersect(line.charged) is not None


def _compared(charge: Charge, line: CostLine) -> Iterator[Difference]:
    """Name the one cause that explains most of what differs between a line and its expectation."""
    off = line.subtotal - charge.amount.amount
    if line.charged != charge.service:
        cause = Cause.DATES
        told = f"for {line.charged}, expected for {charge.service}"
    elif line.seats != charge.quantity:
        cause = Cause.QUANTITY
        told = f"{line.seats:f} seats, expected {charge.quantity:f}"
    elif not off:
        return
    else:
        cause, told = _money_cause(charge, line, off)
    yield Difference(cause=cause, line=line, expected=charge, sentence=f"{billed(line)}: {told}")


def _money_cause(charge: Charge, line: CostLine, off: Decimal) -> tuple[Cause, str]:
    inputs = next((r.inputs for r in charge.reasons if r.rule == "cost.locked"), {})
    listed = Decimal(inputs.get("unit_price", "0"))
    if inputs and line.unit_price != listed:
        told = f"list price {plain(line.unit_price)}, expected {plain(listed)} as locked"
        return Cause.PRICE, f"{told} for the term by line {inputs['line']}"
    kept = Fraction(inputs.get("kept", "100")) / 100
    if (kept < 1) != bool(line.promotion_id):
        name = f"promotion {line.promotion_id}" if line.promotion_id else "no promotion"
        told = f"{name}, expected {plain(kept * 100, 2)} % of the list price as earlier in the term"
        return Cause.PROMOTION, told
    if abs(off) <= _TOLERANCE * abs(line.seats):
        return Cause.ROUNDING, f"{off:f} {line.currency} by rounding of the unit"
    days = f"{charge.service.days} of {charge.full.days} days"
    unit = plain(line.effective_unit_price.copy_abs())
    return Cause.PRORATION, f"unit {unit} for {days}, expected {charge.amount.amount:f} in all"


def billed(line: CostLine) -> str:
    """Say what a line of Microsoft bills."""
    return (
        f"Microsoft billed {line.subtotal} {line.currency} for {line.name} "
        f"({line.charge_type}, {line.charged})"
    )


def said(charge: Charge) -> str:
    """Say what a charge is for."""
    return f"{charge.quantity:f} × {charge.name} ({charge.service}), {charge.amount}"
