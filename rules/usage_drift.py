"""Daily usage beside the metered lines of the invoice, and how far rounding may lead them apart.

Each daily line is cut to the cent, in the pricing currency and again in that of the invoice; the
metered line is cut once for the month. So per daily line the sums may differ by a cent of each
currency (partner-center.md 13.3), which is told as drift; beyond that, something else is the cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from domain.audit import BilledLine, Point, UsageSum, Weight
from domain.money import minor_units, plain
from domain.subscription import CostKind
from rules.cost_checks import about, expected_subtotal, money, places

_QUANTITY_CUT = Decimal("0.000001")
"""Quantities of the invoice are written with six decimals or more."""


_Meter = tuple[str, str, str, str, str]
"""Invoice, currency, Azure plan, product, SKU: what metered and daily lines share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Metered lines and daily lines of one invoice in sum."""

    invoice_id: str
    currency: str
    metered: Decimal
    daily: Decimal
    lines: int
    """Daily lines."""
    explained: Decimal
    """The part of the difference that rounding explains."""


def check_usage(
    lines: Iterable[BilledLine],
    sums: Sequence[UsageSum],
    days: Mapping[tuple[str, str], AbstractSet[date]] | None = None,
) -> tuple[list[Point], list[Drift]]:
    """Compare each metered line with its daily lines, for every invoice of which both are there.

    `days`: on which days there is any usage, by invoice and currency. Where whole days lack, what is
    short is told once, as a file that is not whole.
    """
    metered: dict[_Meter, list[BilledLine]] = defaultdict(list)
    billed = set()
    for one in lines:
        line = one.line
        billed.add((line.invoice_id, line.currency))
        if line.kind is CostKind.USAGE:
            plan, product, sku = line.subscription_id, line.product_id, line.sku_id
            metered[line.invoice_id, line.currency, plan, product, sku].append(one)
    daily = {
        (one.invoice_id, one.currency, one.plan_id, one.product_id, one.sku_id): one for one in sums
    }
    with_usage = {(one.invoice_id, one.currency) for one in sums}
    points: list[Point] = []
    without: dict[tuple[str, str, str], list[BilledLine]] = defaultdict(list)
    drifts: dict[tuple[str, str], list[tuple[Decimal, Decimal, int, Decimal]]] = defaultdict(list)
    for key in sorted({*metered, *daily}):
        invoice = key[:2]
        if invoice not in with_usage or invoice not in billed:
            continue
        group, usage = metered.get(key, []), daily.get(key)
        subtotal = sum((one.line.subtotal for one in group), Decimal(0))
        cost, count = (usage.cost, usage.lines) if usage else (Decimal(0), 0)
        off = subtotal - cost
        point = None
        if usage is not None:
            point = _compared(group, usage, off)
        elif off:
            without[invoice[0], invoice[1], group[0].line.customer_id].extend(group)
        if point is not None:
            points.append(point)
        drifts[invoice[0], invoice[1]].append(
            (subtotal, cost, count, off if usage and not point else Decimal(0))
        )
    points = _by_missing_days(points, metered, days or {})
    points.extend(_without_usage(group) for group in without.values())
    points.extend(_alone(sums, billed))
    return points, [
        Drift(
            invoice_id=invoice,
            currency=currency,
            metered=sum((one[0] for one in found), Decimal(0)),
            daily=sum((one[1] for one in found), Decimal(0)),
            lines=sum(one[2] for one in found),
            explained=sum((one[3] for one in found), Decimal(0)),
        )
        for (invoice, currency), found in sorted(drifts.items())
    ]


def _by_missing_days(
    points: Sequence[Point],
    metered: Mapping[_Meter, Sequence[BilledLine]],
    days: Mapping[tuple[str, str], AbstractSet[date]],
) -> list[Point]:
    """Put what is short of usage into one point where the files hold none at all for whole days."""
    kept: list[Point] = []
    short: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in points:
        lacks = point.check == "usage.quantity" and (point.amount or 0) > 0
        (short[point.invoice_id, point.currency] if lacks else kept).append(point)
    for invoice, some in short.items():
        covered = [
            one.line.charged
            for key, group in metered.items()
            if key[:2] == invoice
            for one in group
            if one.line.charged
        ]
        there = days.get(invoice, set())
        missing = (
            [
                day
                for day in _days(min(x.start for x in covered), max(x.end for x in covered))
                if day not in there
            ]
            if there and covered
            else []
        )
        if not missing:
            kept.extend(some)
            continue
        amount = sum((one.amount or Decimal(0) for one in some), Decimal(0))
        named = ", ".join(str(day) for day in missing[:3])
        more = f" and {len(missing) - 3} more days" if missing[3:] else ""
        kept.append(
            Point(
                check="usage.days",
                cause="missing_rows",
                remedy="download_again",
                weight=Weight.INCOMPLETE,
                invoice_id=invoice[0],
                currency=invoice[1],
                amount=amount,
                sentence=(
                    f"The usage files of {invoice[0]} hold no line for {named}{more}; "
                    f"{len(some):,} meters are short of {money(amount, invoice[1])}."
                ),
                hint="download the daily usage of the invoice again, with all its parts",
            )
        )
    return kept


def _days(start: date, end: date) -> list[date]:
    return [start + timedelta(days=n) for n in range((end - start).days)]


def bound(group: Sequence[BilledLine], usage: UsageSum) -> Decimal:
    """Return how far a metered line and its daily lines may differ by rounding alone."""
    cent = Decimal(1).scaleb(-minor_units(usage.currency))
    slack = cent * (1 + usage.rate) * (usage.lines + len(group))
    for one in group:
        found = expected_subtotal(one.line)
        slack += found[1] if found else 0
    return slack


def _without_usage(group: Sequence[BilledLine]) -> Point:
    line = group[0].line
    amount = sum((one.line.subtotal for one in group), Decimal(0))
    names = sorted({one.line.name for one in group})
    more = f" and {len(names) - 3} more" if names[3:] else ""
    return about(
        line,
        check="usage.missing",
        cause="missing_rows",
        remedy="download_again",
        weight=Weight.INCOMPLETE,
        product=names[0] if len(names) == 1 else "Azure usage",
        amount=amount,
        sentence=(
            f"The usage files hold no line for {', '.join(names[:3])}{more} of "
            f"{line.customer_name or line.customer_id}, for which {line.invoice_id} bills "
            f"{money(amount, line.currency)}."
        ),
        hint="download the daily usage of the invoice again, with all its parts",
        records=places(group),
    )


def _compared(group: Sequence[BilledLine], usage: UsageSum, off: Decimal) -> Point | None:
    if not group:
        return _unbilled(usage) if usage.cost else None
    line = group[0].line
    used = sum((one.line.billable_quantity for one in group), Decimal(0))
    apart = used - usage.quantity
    if abs(apart) > _QUANTITY_CUT * (usage.lines + len(group)):
        return about(
            line,
            check="usage.quantity",
            # What a file lacks is no claim: it proves nothing.
            cause="missing_rows" if apart > 0 else "quantity",
            remedy="download_again" if apart > 0 else "none",
            weight=Weight.INCOMPLETE if apart > 0 else Weight.ACT,
            amount=off,
            sentence=(
                f"{line.invoice_id} bills {plain(used)} units of {line.name} for "
                f"{line.customer_name}, the {usage.lines:,} daily lines sum to "
                f"{plain(usage.quantity)}: {money(off, line.currency)} apart."
            ),
            hint="download the daily usage again; if it stays, ask Microsoft for the missing usage",
            records=places(group),
        )
    if abs(off) <= bound(group, usage):
        return None
    return about(
        line,
        check="usage.amount",
        cause="price",
        remedy="claim" if off > 0 else "none",
        weight=Weight.ACT,
        amount=off,
        sentence=(
            f"{line.invoice_id} bills {money(line.subtotal, line.currency)} for {line.name} of "
            f"{line.customer_name}, the daily lines of the same quantity sum to "
            f"{plain(usage.cost)} {line.currency}: more than rounding can make."
        ),
        hint="compare the price of the metered line with those of the days; ask Microsoft",
        records=places(group),
    )


def _unbilled(usage: UsageSum) -> Point:
    return Point(
        check="usage.not_billed",
        cause="missing_invoice_line",
        remedy="none",
        weight=Weight.ACT,
        customer_id=usage.customer_id,
        customer=usage.customer_name,
        subscription_id=usage.plan_id,
        product=usage.name,
        invoice_id=usage.invoice_id,
        currency=usage.currency,
        amount=-usage.cost,
        sentence=(
            f"{usage.lines:,} daily lines of {usage.name or usage.product_id} of "
            f"{usage.customer_name or usage.customer_id} come to {plain(usage.cost)} "
            f"{usage.currency}, and {usage.invoice_id} has no line for them."
        ),
        hint="check that the reconciliation file is whole; Microsoft may bill it later",
    )


def _alone(sums: Sequence[UsageSum], billed: set[tuple[str, str]]) -> list[Point]:
    """Tell usage of invoices whose reconciliation file is not there: it is compared with nothing."""
    costs: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for one in sums:
        if (one.invoice_id, one.currency) not in billed:
            costs[one.invoice_id, one.currency] += one.cost
    running = {key: cost for key, cost in costs.items() if key[0] == "unbilled"}
    return [
        Point(
            check="usage.unbilled",
            cause="timing",
            remedy="none",
            weight=Weight.NOTE,
            currency=currency,
            sentence=(
                f"There is daily usage of {plain(cost)} {currency} that is on no invoice yet: a "
                "forecast, compared with nothing."
            ),
            hint="audit the month again when its invoice is there",
        )
        for (_, currency), cost in sorted(running.items())
    ] + [
        Point(
            check="usage.alone",
            cause="missing_rows",
            remedy="download_again",
            weight=Weight.INCOMPLETE,
            invoice_id=invoice,
            currency=currency,
            amount=None,
            sentence=(
                f"There is daily usage of {plain(cost)} {currency} for {invoice}, and no "
                "reconciliation file to compare it with."
            ),
            hint="give the reconciliation file of the same invoice too",
        )
        for (invoice, currency), cost in sorted(costs.items())
        if invoice != "unbilled"
    ]


def check_daily(sums: Iterable[UsageSum]) -> list[Point]:
    """Tell daily lines whose amount does not follow from their price, and rates that change."""
    points = []
    for one in sums:
        what = f"{one.name or one.product_id} of {one.customer_name or one.customer_id}"
        if one.off_lines:
            points.append(
                Point(
                    check="usage.arithmetic",
                    cause="price",
                    remedy="claim" if one.off > 0 else "none",
                    weight=Weight.ACT,
                    customer_id=one.customer_id,
                    customer=one.customer_name,
                    subscription_id=one.plan_id,
                    product=one.name,
                    invoice_id=one.invoice_id,
                    currency=one.currency,
                    amount=one.off,
                    sentence=(
                        f"{one.off_lines:,} daily lines of {what} do not come to price × quantity × "
                        f"rate: {plain(one.off)} {one.currency} in all."
                    ),
                    hint="compare the lines with Partner Center; ask Microsoft",
                )
            )
        if one.lowest_rate != one.rate and one.invoice_id != "unbilled":
            points.append(
                Point(
                    check="usage.exchange_rate",
                    cause="currency",
                    remedy="none",
                    weight=Weight.ACT,
                    customer_id=one.customer_id,
                    customer=one.customer_name,
                    subscription_id=one.plan_id,
                    product=one.name,
                    invoice_id=one.invoice_id,
                    currency=one.currency,
                    sentence=(
                        f"The daily lines of {what} are converted at several rates, "
                        f"{plain(one.lowest_rate)} to {plain(one.rate)}, on one invoice."
                    ),
                    hint="one invoice has one rate for each currency: ask Microsoft",
                )
            )
    return points
