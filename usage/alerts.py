"""What a customer's daily usage gives rise to, each with one sentence that explains it.

Every Azure subscription is judged against its own history, and then what they come to together,
without what was already told of one of them: so one cause is one alert. The cause is found by what
each part (an Azure subscription, a meter category) adds beyond its own usual.

A day is judged when it lies two days back and the feed already has a later one: the feed lags up to a
day and is restated, and then the day is simply judged again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from domain.money import Money
from domain.subscription import UsageSummary
from domain.usage_alert import AlertKind, AlertSeverity, AlertState, UsageAlert
from usage.alert_words import Part, factor_of, words_of
from usage.baseline import BASELINE_DAYS, Baseline, Day, floor_of
from usage.spikes import (
    QUIET_DAYS,
    WINDOW_DAYS,
    Episode,
    Judged,
    drops,
    spikes,
)

LAG_DAYS = 2
"""A day so far back is complete: the feed lags up to 24 hours after the end of the day."""
TOLD_DAYS = 35
"""An episode that ended longer ago is not told any more."""
NEW_DAYS = 14
"""Days in which an Azure subscription has no history of its own."""
NEW_SHARE = Decimal("0.5")
"""A new one is told from this part of what the rest of its customer usually uses."""

_ZERO = Decimal(0)
_EXPLAINED = Decimal("0.8")
_CAUSES = 3
_HIGH, _MEDIUM = 5, 3
Amounts = Mapping[date, Decimal]


@dataclass(slots=True)
class CustomerUsage:
    """The daily cost of one customer in one currency, by Azure subscription and meter category."""

    customer_id: str
    currency: str
    parts: dict[Part, dict[date, Decimal]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Of the Azure subscriptions, by id."""

    def name(self, entitlement_id: str) -> str:
        """Return what people call a scope."""
        if not entitlement_id:
            return "All Azure subscriptions together"
        return self.names.get(entitlement_id) or f"Azure subscription {entitlement_id}"

    def amounts(self, entitlement_id: str = "") -> dict[date, Decimal]:
        """Return the daily sums of one Azure subscription, or of all."""
        sums: dict[date, Decimal] = defaultdict(Decimal)
        for (entitlement, _), amounts in self.parts.items():
            if entitlement_id in {"", entitlement}:
                for day, amount in amounts.items():
                    sums[day] += amount
        return sums


def by_customer(
    summaries: Iterable[UsageSummary], currency: str, *, billed: Collection[date] = ()
) -> dict[str, CustomerUsage]:
    """Lay summaries out as series. Days that are `billed` already are left out: those are known."""
    found: dict[str, CustomerUsage] = {}
    for one in summaries:
        if one.currency != currency or one.day in billed:
            continue
        customer = found.setdefault(one.customer_id, CustomerUsage(one.customer_id, currency))
        amounts = customer.parts.setdefault((one.entitlement_id, one.meter_category), {})
        amounts[one.day] = amounts.get(one.day, _ZERO) + one.cost
        if one.entitlement_name:
            customer.names[one.entitlement_id] = one.entitlement_name
    return found


def judged_days(days: Collection[date], today: date) -> list[date]:
    """Return the days that are known and complete, in order, as far back as a judgement reaches."""
    if not days:
        return []
    end = min(today - timedelta(days=LAG_DAYS), max(days) - timedelta(days=1))
    begin = end - timedelta(days=WINDOW_DAYS)
    return sorted(day for day in days if begin < day <= end)


def episode_alerts(usage: CustomerUsage, known: Sequence[date]) -> list[UsageAlert]:
    """Return the spikes, new Azure subscriptions and drops of one customer, by key. Pure."""
    floor = floor_of(usage.currency)
    told: list[tuple[AlertKind, str, Episode]] = []
    total = usage.amounts()
    rest = dict(total)
    known = _since_first_use(total, known)
    stopped = drops(total, known, floor=floor)
    told += [(AlertKind.DROP, "", one) for one in stopped]
    for entitlement in sorted({entitlement for entitlement, _ in usage.parts}):
        amounts = usage.amounts(entitlement)
        own = _since_first_use(amounts, known)
        if not own:
            continue
        born = own[0]
        new = _new(amounts, total, known, born, floor)
        told += [(AlertKind.NEW_SUBSCRIPTION, entitlement, one) for one in new]
        grown = born + timedelta(days=NEW_DAYS) if new else born
        high = [one for one in spikes(amounts, own, floor=floor) if one.first >= grown]
        told += [(AlertKind.SPIKE, entitlement, one) for one in high]
        told += [
            (AlertKind.DROP, entitlement, one)
            for one in drops(amounts, own, floor=floor)
            if not any(whole.first <= one.last and one.first <= whole.last for whole in stopped)
        ]
        for judged in (day for one in high for day in one.days):
            rest[judged.day] -= judged.amount - judged.usual
        for judged in (day for one in new for day in one.days):
            rest[judged.day] -= judged.amount
    told += [(AlertKind.SPIKE, "", one) for one in spikes(rest, known, floor=floor)]
    alerts = [_alert(usage, *one) for one in told if (known[-1] - one[2].last).days <= TOLD_DAYS]
    return sorted(alerts, key=lambda alert: alert.key)


def _since_first_use(amounts: Amounts, known: Sequence[date]) -> Sequence[date]:
    """Return the known days of a series' life: before it there was nothing to be usual."""
    born = next((n for n, day in enumerate(known) if amounts.get(day, _ZERO) > 0), len(known))
    return known[born:]


def _new(
    amounts: Amounts, total: Amounts, known: Sequence[date], born: date, floor: Decimal
) -> list[Episode]:
    """Return the first days of a new Azure subscription that is large beside all the others."""
    before = [(day, total.get(day, _ZERO)) for day in known if day < born][-BASELINE_DAYS:]
    baseline = Baseline(before)
    if not baseline.enough or len(before) < NEW_DAYS:
        return []
    days = []
    ends = born + timedelta(days=NEW_DAYS)
    for day in (one for one in known if born <= one < ends):
        others = baseline.on(day).amount
        amount = amounts.get(day, _ZERO)
        if others > 0 and amount >= max(floor, others * NEW_SHARE):
            days.append(Judged(day, amount, others))
    if not days:
        return []
    over = known[-1] >= ends or (known[-1] - days[-1].day).days >= QUIET_DAYS
    return [Episode(days, baseline, before, over)]


def _alert(usage: CustomerUsage, kind: AlertKind, entitlement: str, one: Episode) -> UsageAlert:
    # What is new is all of it unusual; else it is what lies beyond (or is missing of) the usual.
    new = kind is AlertKind.NEW_SUBSCRIPTION
    causes = _causes(usage, entitlement, one, one.amount if new else one.amount - one.usual)
    factor = factor_of(one.amount, one.usual)
    sentence, hint = words_of(usage.name, usage.currency, kind, entitlement, one=one, causes=causes)
    scope = entitlement or "all"
    return UsageAlert(
        key=f"alert/{kind}/{usage.customer_id}/{scope}/{usage.currency}/{one.first}",
        kind=kind,
        severity=_severity(kind, one, factor),
        state=AlertState.CLOSED if one.over else AlertState.OPEN,
        customer_id=usage.customer_id,
        entitlement_id=entitlement,
        entitlement_name=usage.names.get(entitlement, ""),
        meter_category=causes[0][0][1] if causes else "",
        currency=usage.currency,
        first=one.first,
        last=one.last,
        amount=Money.rounded(one.amount, usage.currency).amount,
        usual=Money.rounded(one.usual, usage.currency).amount,
        factor=None if kind is AlertKind.DROP else factor,
        sentence=sentence,
        hint=hint,
    )


def _severity(kind: AlertKind, one: Episode, factor: Decimal | None) -> AlertSeverity:
    if kind is AlertKind.DROP:
        return AlertSeverity.MEDIUM
    if factor is None or factor >= _HIGH:
        return AlertSeverity.HIGH
    # As much again as a usual week costs real money however small the factor is.
    week = 7 * one.usual / len(one.days)
    return (
        AlertSeverity.MEDIUM
        if factor >= _MEDIUM or one.amount - one.usual >= week
        else AlertSeverity.LOW
    )


def _causes(
    usage: CustomerUsage, entitlement: str, one: Episode, wanted: Decimal
) -> list[tuple[Part, Decimal]]:
    """Return the parts that explain most of the rise (or of what is missing), greatest first."""
    sign = 1 if wanted >= 0 else -1
    rises: list[tuple[Decimal, Part]] = []
    for part, amounts in usage.parts.items():
        if entitlement in {"", part[0]}:
            before: list[Day] = [(day, amounts.get(day, _ZERO)) for day, _ in one.before]
            own = Baseline(before)
            rise = sum(
                (amounts.get(judged.day, _ZERO) - own.on(judged.day).amount for judged in one.days),
                _ZERO,
            )
            if sign * rise > 0:
                rises.append((sign * rise, part))
    rises.sort(key=lambda rise: (-rise[0], rise[1]))
    chosen: list[tuple[Part, Decimal]] = []
    explained = _ZERO
    for rise, part in rises[:_CAUSES]:
        if explained >= abs(wanted) * _EXPLAINED:
            break
        explained += rise
        chosen.append((part, sign * rise))
    return chosen
