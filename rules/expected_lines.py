"""What Microsoft's lines of several months should be, from the lines alone.

No snapshot of Partner Center is at hand, so the history of each subscription is read out of its own
lines and walked by Microsoft's rules (`shadow`). What is missing, comes twice, or has other seats,
days or prices than its own past is told, one point for each subscription and cause. Months without a
file expect nothing. Limits: what was ordered and never billed does not show; a term that just ends
is taken as ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise

from domain.audit import BilledLine, Point, Weight
from domain.period import Period, add_months
from domain.problems import WorkerError
from domain.reconciliation import Cause, Difference, Remedy
from domain.subscription import CostKind, CostLine, Subscription, SubscriptionKind
from rules.claims import compare
from rules.cost_checks import about, money, places
from rules.linking import CHANGES
from rules.shadow import predict

_WHOLE = {"new", "cycleCharge", "renew"}


def month_of(day: date) -> date:
    """Return the first day of a day's month."""
    return day.replace(day=1)


def check_expected(
    lines: Iterable[BilledLine], months: Mapping[str, AbstractSet[date]]
) -> list[Point]:
    """Compare seat lines with their own history; `months` are those of the files, by currency."""
    groups: dict[tuple[str, str], list[BilledLine]] = defaultdict(list)
    for one in lines:
        line = one.line
        if line.kind is CostKind.LICENCE and line.charged and line.subscription_id:
            groups[line.subscription_id, line.currency].append(one)
    points: list[Point] = []
    for (_, currency), group in sorted(groups.items()):
        there = months.get(currency, set())
        if there:
            points.extend(_of_subscription(group, there))
    return points


def _of_subscription(group: Sequence[BilledLine], months: AbstractSet[date]) -> list[Point]:
    lines = [one.line for one in group]
    window = Period(min(months), add_months(max(months), 1))
    seen = [x for x in lines if x.charged and x.charged.start in window]
    try:
        predicted = predict([_as_snapshot(lines)], (), lines, window)
        expected = [charge for charge in predicted if month_of(charge.service.start) in months]
        found = compare(seen, expected, subscriptions={lines[0].subscription_id}).differences
    except (WorkerError, ValueError, ArithmeticError) as error:
        return [
            about(
                lines[0],
                check="subscription.history",
                cause="unreadable",
                remedy=Remedy.NONE,
                weight=Weight.NOTE,
                sentence=f"The history of {lines[0].name} cannot be followed: {error}.",
                hint="its lines are checked one by one only",
                records=places(group),
            )
        ]
    by_cause: dict[Cause, list[Difference]] = defaultdict(list)
    for one in found:
        by_cause[one.cause].append(one)
    points = [_point(cause, some, group) for cause, some in by_cause.items()]
    if Cause.MISSING_INVOICE_LINE not in by_cause:
        points.extend(_gaps(group, months))
    return points


def _as_snapshot(lines: Sequence[CostLine]) -> Subscription:
    """Make of the newest term what Partner Center would have shown."""
    last = max(
        lines,
        key=lambda x: (x.subscription_start or _first(x), _first(x), not x.is_credit, x.key),
    )
    start = last.subscription_start or _first(last)
    return Subscription(
        id=last.subscription_id,
        customer_id=last.customer_id,
        product_id=last.product_id,
        sku_id=last.sku_id,
        name=last.name,
        kind=SubscriptionKind.LICENCE,
        status="active",
        quantity=int(abs(last.seats)),
        created=datetime.combine(_purchase_day(lines, start), time(), UTC),
        start=start,
        term_end=last.subscription_end,
    )


def _first(line: CostLine) -> date:
    return line.charged.start if line.charged else date.max


def _purchase_day(lines: Sequence[CostLine], start: date) -> date:
    """Return a day on which the cycles are anchored.

    A term that starts on the last day of a short month may have been bought on the 31st, which its
    longer months show.
    """
    days = {
        day.day
        for line in lines
        if line.charged and line.charge_type in _WHOLE
        for day in (line.charged.start, line.charged.end)
    }
    anchor = max(days, default=start.day)
    # January has all days. Terms that start on the anchor itself are not moved by it.
    return date(min(_first(line) for line in lines).year - 1, 1, anchor) if anchor > 28 else start


def _point(cause: Cause, found: Sequence[Difference], group: Sequence[BilledLine]) -> Point:
    by_key = {one.line.key: one for one in group}
    billed = [by_key[key] for one in found for key in one.records if key in by_key]
    first = found[0]
    line = billed[0].line if billed else group[0].line
    amount = sum((one.amount for one in found), Decimal(0))
    sentence, hint, name = first.sentence, first.hint, cause.value
    if cause is Cause.MISSING_INVOICE_LINE and all(one.line.is_credit for one in group):
        name = Cause.CREDIT_NOT_PASSED_ON.value if amount > 0 else "credit_without_charge"
        sentence = f"a credit stands without the charge that it gives back: {sentence}"
        hint = "look for the charge in an earlier invoice, and for the line in the file"
    elif cause is Cause.MISSING_INVOICE_LINE:
        hint = f"check that the file is whole; {hint}"
    elif billed and first.amount == line.subtotal and _overlaps(line, group):
        name = Cause.DUPLICATE.value
        hint = "two lines charge the same days: ask Microsoft which one stands"
    elif billed and _half_a_pair(line, group):
        hint = "a change of seats is a pair, and its other half is missing: look for it in the file"
    if found[1:]:
        sentence += f" ({len(found)} lines, {money(amount, line.currency)} in all)"
    return about(
        line,
        check=f"seats.{cause.value}",
        cause=name,
        remedy=(Remedy.CLAIM if amount > 0 and cause is not Cause.ROUNDING else Remedy.NONE).value,
        weight=Weight.NOTE if cause is Cause.ROUNDING else Weight.ACT,
        amount=amount,
        sentence=f"{sentence[0].upper()}{sentence[1:]}.",
        hint=hint,
        records=places(billed),
    )


def _overlaps(line: CostLine, group: Sequence[BilledLine]) -> bool:
    """Say whether another charge of the same sort is for some of the same days."""
    return line.charge_type in _WHOLE and any(
        other.line is not line
        and other.line.charge_type in _WHOLE
        and other.line.is_credit == line.is_credit
        and other.line.charged
        and line.charged
        and other.line.charged.intersect(line.charged)
        for other in group
    )


def _half_a_pair(line: CostLine, group: Sequence[BilledLine]) -> bool:
    """Say whether a change of seats has only the credit of the old total, or only the new one."""
    return line.charge_type in CHANGES and not any(
        other.line.charge_type in CHANGES
        and other.line.charged == line.charged
        and other.line.is_credit != line.is_credit
        for other in group
    )


def _gaps(group: Sequence[BilledLine], months: AbstractSet[date]) -> list[Point]:
    """Tell days without a charge between two charged ones, where the month's file is there."""
    if any(x.line.charge_type in ("cancelImmediate", "convert") for x in group):
        return []  # it ended and began again: days between are nobody's
    charged = sorted(
        (x for x in group if x.line.charge_type in _WHOLE and not x.line.is_credit),
        key=lambda x: _first(x.line),
    )
    points = []
    for before, after in pairwise(charged):
        ends, begins = before.line.charged, after.line.charged
        if not ends or not begins or begins.start <= ends.end or month_of(ends.end) not in months:
            continue
        hole = Period(ends.end, begins.start)
        points.append(
            about(
                before.line,
                check="seats.gap",
                cause="missing_invoice_line",
                remedy="none",
                weight=Weight.ACT,
                amount=-before.line.subtotal,
                sentence=(
                    f"{before.line.name} is billed until {ends.last_day} and again from "
                    f"{begins.start}, but not for {hole}."
                ),
                hint="check that the file is whole; if the customer had the seats, Microsoft may bill them later",
                records=(before.place, after.place),
            )
        )
    return points


def check_months(months: Mapping[str, AbstractSet[date]]) -> list[Point]:
    """Tell months between two of the files for which there is none: what happened there is not seen."""
    points = []
    for currency, there in sorted(months.items()):
        month = min(there, default=None)
        missing = []
        while month and month < max(there):
            month = add_months(month, 1)
            if month not in there:
                missing.append(month)
        if missing:
            named = ", ".join(f"{one:%B %Y}" for one in missing[:4])
            more = f" and {len(missing) - 4} more" if missing[4:] else ""
            points.append(
                Point(
                    check="files.month",
                    cause="missing_rows",
                    remedy="download_again",
                    weight=Weight.INCOMPLETE,
                    currency=currency,
                    sentence=f"There is no reconciliation file in {currency} for {named}{more}, between months that are there.",
                    hint="add the invoice of the month, or audit the months apart",
                )
            )
    return points
