"""Look at the usage that is not billed yet, each day, and tell what somebody should know.

Unbilled usage is read into daily series, joined to the history of the months that are billed, and
judged (`usage.alerts`, `usage.budgets`). It is never stored as usage and no charge reads it: all that
stays of it are alerts. What was told before is found again by what it is
about, not by the day on which it was seen first, so a restated day never tells a thing twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from domain.contract import BillingContract
from domain.period import Period, add_months
from domain.problems import Finding, Incomplete, Severity
from domain.run import UnitStatus
from domain.subscription import CostInvoice, UsageSummary
from domain.usage_alert import AlertKind, AlertState, UsageAlert, UsageBudget
from sync import deliveries
from sync.findings import replace_everywhere
from sync.ledger import Later, Outcome
from sync.messages import PullUnit
from sync.ports import Ports
from usage.alerts import TOLD_DAYS, CustomerUsage, by_customer, episode_alerts, judged_days
from usage.budgets import budget_alerts, fault_of, months_of
from usage.load import load
from usage.spikes import QUIET_DAYS, WINDOW_DAYS

PERIODS = ("current", "last")
"""Until its invoice is out, last month is not billed either; after that it has no data."""
CUSTOMERS_AT_ONCE = 25
HISTORY_DAYS = WINDOW_DAYS + 31
"""What is judged, and a month more, because the days that are known may end earlier."""
LATE_DAYS = 10
"""What was over before that when it is seen for the first time is not worth an alert."""
SILENT_DAYS = 4
"""Days without any usage of anybody after which the feed itself is told."""

PAUSE = timedelta(seconds=10)
"""After this it is looked again whether an import is through."""
_TO_COME = frozenset({UnitStatus.QUEUED, UnitStatus.RUNNING, UnitStatus.FAILED})

FEED = "usage.feed"
_CHECKS = ("wire.unbilled_usage", FEED, "budget.unreadable")
_BUDGETS = (AlertKind.BUDGET, AlertKind.FORECAST)


@dataclass(frozen=True, slots=True)
class _Feed:
    """What is not billed yet in one currency: this month, and the last one until its invoice."""

    lines: int
    summaries: Sequence[UsageSummary]
    findings: Sequence[Finding]
    days: AbstractSet[date] = frozenset()
    """The days that it knows: absence on them is zero."""


def currencies(ports: Ports, heads: Iterable[CostInvoice]) -> list[str]:
    """Return the currencies that Microsoft bills in; before its first invoice, those we bill in."""
    billed = {head.currency for head in heads}
    return sorted(billed or {contract.currency for contract in ports.store.contracts()})


def work(ports: Ports, unit: PullUnit) -> Outcome:
    """Judge the unbilled usage of one currency and write what there is to tell.

    Without a line in the feed nothing is judged, and what stands stays: that says nothing of usage.
    Later: what it is judged against is still being imported.
    """
    currency, today = unit.scope, unit.day
    heads = [one for one in ports.partner_center.invoices() if isinstance(one, CostInvoice)]
    _await_imports(ports, unit, heads)
    feed = _feed(ports, currency, today)
    recent = [
        one
        for one in heads
        if one.currency == currency and (today - one.billed.end).days <= HISTORY_DAYS
    ]
    billed = _billed_days(ports, recent)
    days = billed | feed.days
    budgets, faults = _budgets(ports, currency, currencies(ports, heads))
    stored = [
        one
        for one in ports.store.usage_alerts(today - timedelta(days=TOLD_DAYS + LATE_DAYS))
        if one.currency == currency
    ]
    written: list[UsageAlert] = []
    if feed.lines:
        known = judged_days(days, today)
        told = {one.key for one in stored if one.state is not AlertState.CLOSED}
        unbilled = by_customer(feed.summaries, currency, billed=billed)
        current: list[UsageAlert] = []
        for usage, contract in _customers(ports, currency, today, unbilled):
            current += episode_alerts(usage, known)
            months = months_of(contract, today)
            for budget in budgets.get(usage.customer_id, ()):
                current += budget_alerts(
                    budget, usage, months=months, known=known, today=today, told=told
                )
        written = told_once(stored, current, known, days)
    saved = ports.store.save(written)
    unread = any(one.check == FEED for one in feed.findings)
    silent = [] if unread else _silent(currency, days, today)
    _report(ports, currency, [*feed.findings, *faults, *silent])
    return Outcome(
        counts={
            "unbilled_lines": feed.lines,
            "alerts": sum(one.state is AlertState.OPEN for one in written),
            "findings": len(feed.findings) + len(faults) + len(silent),
            "written": saved.created + saved.updated,
        }
    )


def _await_imports(ports: Ports, unit: PullUnit, heads: Iterable[CostInvoice]) -> None:
    """Let the imports of the day go first: several instances work the units of a run in any order."""
    for head in heads:
        if head.currency != unit.scope:
            continue
        cost = unit.model_copy(update={"part": "costs", "scope": head.id})
        found = ports.store.unit(cost.key)
        if found and found[0].status in _TO_COME:
            raise Later(f"invoice {head.id} is still being imported", ports.now() + PAUSE)


def _customers(
    ports: Ports, currency: str, today: date, unbilled: Mapping[str, CustomerUsage]
) -> Iterator[tuple[CustomerUsage, BillingContract | None]]:
    """Yield the series of every customer that has any, some customers at a time, by id."""
    # Of several contracts the one that starts last counts, as for a bill.
    by_start = sorted(ports.store.contracts(), key=lambda one: (one.starts, one.key))
    contracts = {one.customer_id: one for one in by_start}
    ids = sorted({one.id for one in ports.store.customers()} | unbilled.keys())
    for start in range(0, len(ids), CUSTOMERS_AT_ONCE):
        some = ids[start : start + CUSTOMERS_AT_ONCE]
        for usage in _series(ports, some, currency, today, unbilled).values():
            yield usage, contracts.get(usage.customer_id)


def _feed(ports: Ports, currency: str, today: date) -> _Feed:
    """Read what the feed has today; the files are scratch, and tomorrow others.

    What is not delivered whole is not read at all: half a day looks like a quiet one.
    """
    lines = 0
    summaries: list[UsageSummary] = []
    findings: list[Finding] = []
    days: set[date] = set()
    for period in PERIODS:
        place = f"scratch/unbilled/{currency}/{period}"
        try:
            files = ports.partner_center.download_unbilled_usage(
                currency, period, ports.archive.folder(place)
            )
        except Incomplete as fault:
            told = f"Microsoft did not deliver all of the unbilled usage in {currency}: {fault}."
            return _Feed(0, (), [_feed_fault(currency, told)])
        # One by one: parts of two exports may have one name.
        month = load(files, scratch=ports.archive.folder(f"{place}/spill"))
        lines += month.lines
        summaries += month.summaries
        findings += month.findings
        # Late lines of an earlier month come in the current one too, and say nothing of that month.
        last = period == "last"
        days |= _covered(
            one.day for one in month.summaries if (one.day < today.replace(day=1)) == last
        )
    return _Feed(lines, summaries, findings, days)


def _feed_fault(currency: str, sentence: str) -> Finding:
    return Finding(
        check=FEED,
        severity=Severity.WARN,
        customer_id="",
        record=f"unbilled usage in {currency}",
        sentence=f"{sentence} Later days are not watched until it is there.",
        hint="look at Azure usage in Partner Center; if it is there, report it to Microsoft",
    )


def _billed_days(ports: Ports, heads: Iterable[CostInvoice]) -> set[date]:
    """Return the days of the invoices whose usage is stored.

    A note that adjusts a month has some usage of it, and so says nothing of the others.
    """
    days: set[date] = set()
    for head in heads:
        imported = deliveries.imports(ports.archive, head.id)
        if not head.is_note and imported and imported[-1].counts.get("usage_summaries"):
            days |= _days(head.billed)
    return days


def _covered(days: Iterable[date]) -> set[date]:
    """Return the days of the feed: from the start of each month to the last day it has."""
    latest: dict[date, date] = {}
    for day in days:
        month = day.replace(day=1)
        latest[month] = max(latest.get(month, day), day)
    return {
        one
        for month, last in latest.items()
        for one in _days(Period(month, last + timedelta(days=1)))
    }


def _days(period: Period) -> set[date]:
    return {period.start + timedelta(days=n) for n in range(period.days)}


def _series(
    ports: Ports,
    customer_ids: Sequence[str],
    currency: str,
    today: date,
    unbilled: Mapping[str, CustomerUsage],
) -> dict[str, CustomerUsage]:
    """Join the stored history of some customers with what is not billed yet."""
    since = today - timedelta(days=HISTORY_DAYS)
    series = by_customer(ports.store.usage_summaries(currency, since, customer_ids), currency)
    for customer_id in customer_ids:
        new = unbilled.get(customer_id)
        if new is not None:
            whole = series.setdefault(customer_id, CustomerUsage(customer_id, currency))
            for part, amounts in new.parts.items():
                # Of a day that is not billed, an adjustment may be.
                days = whole.parts.setdefault(part, {})
                for day, amount in amounts.items():
                    days[day] = days.get(day, Decimal(0)) + amount
            whole.names.update(new.names)
    return series


def _budgets(
    ports: Ports, currency: str, billed_in: Sequence[str]
) -> tuple[dict[str, list[UsageBudget]], list[Finding]]:
    """Return the budgets in a currency by customer, and what is wrong with others."""
    budgets: dict[str, list[UsageBudget]] = defaultdict(list)
    faults = []
    for budget in ports.store.usage_budgets():
        fault = fault_of(budget, billed_in)
        if fault is not None:
            faults.append(fault)
        elif budget.currency == currency:
            budgets[budget.customer_id].append(budget)
    return budgets, faults


def _silent(currency: str, days: Collection[date], today: date) -> list[Finding]:
    """Tell that the feed stopped; before anybody had usage there is none to stop."""
    if not days or (today - max(days)).days <= SILENT_DAYS:
        return []
    ends = f"The unbilled usage in {currency} ends on {max(days)} for every customer."
    return [_feed_fault(currency, ends)]


def _report(ports: Ports, currency: str, findings: Sequence[Finding]) -> None:
    """Keep the findings of this currency apart; a line of the feed holds nobody: it bills nothing."""
    mine = f"unbilled usage in {currency}"
    named = [
        replace(
            one, check="wire.unbilled_usage", severity=Severity.WARN, record=f"{mine}: {one.record}"
        )
        if one.check == "wire.usage"
        else one
        for one in findings
    ]
    replace_everywhere(
        ports.store,
        _CHECKS[:2],
        [one for one in named if one.check in _CHECKS[:2]],
        record=mine,
    )
    replace_everywhere(ports.store, _CHECKS[2:], [one for one in named if one.check in _CHECKS[2:]])


@dataclass(frozen=True, slots=True)
class _Scope:
    """What an episode is about, whichever day it began."""

    kind: AlertKind
    customer_id: str
    entitlement_id: str


def told_once(
    stored: Sequence[UsageAlert],
    current: Sequence[UsageAlert],
    known: Sequence[date],
    days: AbstractSet[date] = frozenset(),
) -> list[UsageAlert]:
    """Return the alerts to write: each cause under the key under which it was first told.

    What somebody has acknowledged stays so. What is found no more is closed, unless its days are not
    known today (`known` are those that can be judged, `days` those with later ones). A cause that
    was over long before it was seen is not told at all.
    """
    seen_days = days | {*known}
    before: dict[_Scope, list[UsageAlert]] = defaultdict(list)
    for one in stored:
        before[_scope(one)].append(one)
    now: dict[_Scope, list[UsageAlert]] = defaultdict(list)
    for one in current:
        now[_scope(one)].append(one)
    written: list[UsageAlert] = []
    for scope in sorted({*before, *now}, key=str):
        pairs = _matched(before[scope], now[scope])
        found = {one.key for told, _ in pairs for one in told}
        stays = [
            one
            for one in before[scope]
            if one.key not in found
            and one.state is not AlertState.CLOSED
            and not _ended(one, known, seen_days)
        ]
        for told, one in pairs:
            if any(_says_more(other, one) for other in stays):
                continue
            if told:
                first = told[0]
                seen = any(other.state is AlertState.ACKNOWLEDGED for other in told)
                state = AlertState.ACKNOWLEDGED if seen else one.state
                written.append(replace(one, key=first.key, state=state))
                written += [_closed(other) for other in told[1:]]
            elif one.state is AlertState.OPEN or (known[-1] - one.last).days <= LATE_DAYS:
                written.append(one)
        written += [
            _closed(one, "Microsoft restated these days: they are not unusual any more.")
            for one in before[scope]
            if one.key not in found and _ended(one, known, seen_days)
        ]
    return written


def _scope(alert: UsageAlert) -> _Scope:
    return _Scope(alert.kind, alert.customer_id, alert.entitlement_id)


def _matched(
    stored: Sequence[UsageAlert], current: Sequence[UsageAlert]
) -> list[tuple[list[UsageAlert], UsageAlert]]:
    """Join what was told with what is found now. Of a cause that fell apart the latest part stays."""
    owners: dict[str, list[UsageAlert]] = defaultdict(list)
    covered: set[str] = set()
    for told in sorted(stored, key=lambda one: (one.first, one.key)):
        same = [one for one in current if _same(told, one)]
        if same:
            covered |= {one.key for one in same}
            owners[max(same, key=lambda one: (one.last, one.key)).key].append(told)
    return [
        (owners[one.key], one) for one in current if one.key in owners or one.key not in covered
    ]


def _same(told: UsageAlert, one: UsageAlert) -> bool:
    if one.kind in _BUDGETS:
        return told.key == one.key
    apart = timedelta(days=QUIET_DAYS)
    return told.key == one.key or (told.first - apart < one.last and one.first < told.last + apart)


def _ended(alert: UsageAlert, known: Sequence[date], days: AbstractSet[date]) -> bool:
    """Say whether an alert that is found no more is over: its days must be known for that."""
    if alert.state is not AlertState.OPEN:
        return False
    if not known:
        return False
    if alert.last < known[-1] - timedelta(days=TOLD_DAYS):
        return True
    if alert.kind not in _BUDGETS:
        return {alert.first, alert.last} <= {*known}
    month = Period(alert.first, add_months(alert.first, 1))
    last = max(alert.last, min(known[-1], month.last_day))
    return _days(Period(alert.first, last + timedelta(days=1))) <= days


def _says_more(told: UsageAlert, one: UsageAlert) -> bool:
    """Say whether more of the same budget was reached while more of its days were known."""
    same = (told.kind, told.budget_key, told.first) == (one.kind, one.budget_key, one.first)
    if not same or told.threshold is None or one.threshold is None:
        return False
    return told.usual == one.usual and told.threshold > one.threshold


def _closed(alert: UsageAlert, why: str = "") -> UsageAlert:
    if alert.state is not AlertState.OPEN:
        return alert
    why = "" if alert.kind in _BUDGETS else why
    return replace(alert, state=AlertState.CLOSED, sentence=f"{alert.sentence} {why}".rstrip())
