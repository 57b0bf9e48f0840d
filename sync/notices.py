"""Events of Partner Center: what each leads to. An event names a record; the record is read anew.

Nothing of an event is stored as data, so one that is late, old, sent again or out of order can only
lead to another look at what is there now. Two rows of the ledger keep this cheap and whole:

- one for each event, made of its meaning: the same event again stops there;
- one for each thing that is looked at, which is a lock, and knows when the last look began. An event
  that came in before a look began has been seen by it, and is done. So a burst leads to one look, and
  to a second a minute later, and the last event is always followed by a look that began after it.
  Buckets of time would either lose the end of a burst or look too often.

The clocks of two hosts differ, so a look has seen what came in a minute before it began; where it is
less, the event waits for that minute. What comes too early (`Later`) is no failure: the message is
sent anew, so that waiting does not use up its tries. A look that fails raises, so its message comes
again; those that it would have served may end meanwhile, because it is repeated until it succeeds or
is parked with its reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from domain.problems import Conflict, Finding, Severity, WorkerError
from domain.run import Run, RunStatus, UnitOfWork, UnitStatus
from rules.checks import judged
from sync import alerts, disturbance, pull
from sync.findings import replace_everywhere, sift
from sync.ledger import Later, Ledger, Outcome
from sync.messages import PullUnit, TakeNotice
from sync.ports import Ports

TEST = "test-created"
_FRAUD = "azure-fraud-event-detected"
_INVOICE = "invoice-ready"
_USAGE = "usagerecords-thresholdexceeded"
_CUSTOMER = (
    "subscription-updated",
    "reseller-relationship-accepted-by-customer",
    "indirect-reseller-relationship-accepted-by-customer",
    "granular-admin-relationship-approved",
    "granular-admin-relationship-activated",
    "granular-admin-relationship-terminated",
    "granular-admin-relationship-expired",
    "granular-admin-access-assignment-created",
    "granular-admin-access-assignment-activated",
    "granular-admin-access-assignment-updated",
    "granular-admin-access-assignment-deleted",
    "dap-admin-relationship-approved",
    "dap-admin-relationship-terminated",
    "dap-admin-relationship-terminated-by-microsoft",
)
UNDERSTOOD = (TEST, *_CUSTOMER, _INVOICE, _USAGE, _FRAUD)
"""The events that lead to something, in lower case; of all others it is noted that they came."""

SKEW = timedelta(minutes=1)
"""By this much the clocks of two hosts may differ."""
LEASE = timedelta(minutes=30)
"""Of a look: as long as the host lets one last (host.json), so that it is never taken over alive."""
SHOWN = timedelta(minutes=10)
"""Until then a new customer or relationship may not be shown yet by those who read it."""
INVOICE_AGAIN, INVOICE_SHOWN = timedelta(minutes=15), timedelta(hours=2)
"""How often, and until when, an invoice is asked for that is ready and not listed or not whole."""
USAGE_AGAIN = timedelta(hours=1)
"""From one look at the usage that is not billed yet to the next: each is an export per currency."""
SUMMED = 100
"""Units of a day that its row may read for each minute: a busy day is summed up more seldom."""
_THROUGH = {UnitStatus.SETTLED, UnitStatus.HELD}
_LOST = {UnitStatus.FAILED, UnitStatus.PARKED}
_log = logging.getLogger(__name__)


def take(ports: Ports, notice: TakeNotice) -> None:
    """Follow one event. Later: it is too early for it, send the message anew."""
    found = ports.store.unit(notice.key)
    before = found[0].status if found else None
    if before in _THROUGH:
        return
    _open_day(ports, notice)
    try:
        counts = _follow(ports, notice)
    except Later as early:
        if before is not UnitStatus.QUEUED:
            _end(ports, notice, UnitStatus.QUEUED, problem=str(early))
        raise
    except Exception as error:
        # Where the store is what failed, the note fails too.
        with suppress(WorkerError):
            _end(ports, notice, UnitStatus.FAILED, problem=f"{type(error).__name__}: {error}")
        raise
    if "not_there" in counts:
        reason = (
            f"{notice.invoice_id} is not listed or not delivered whole: the daily sync imports it"
        )
        _end(ports, notice, UnitStatus.HELD, counts={"events": 1, **counts}, problem=reason)
    else:
        _end(ports, notice, UnitStatus.SETTLED, counts={"events": 1, **counts})
    if "seen_already" not in counts:
        _sum_up(ports, notice, at_once=before in _LOST)


def _follow(ports: Ports, notice: TakeNotice) -> dict[str, int]:
    """Look at what an event names, unless that was looked at since it came in."""
    if notice.relationship_id and not notice.customer_id:
        owner = _owner(ports, notice.relationship_id)
        if not owner:
            return _nobodys(ports, notice, f"relationship {notice.relationship_id}", "Graph")
        notice = notice.model_copy(update={"customer_id": owner})
    look = _look(ports, notice)
    if look is None:
        if notice.name == TEST:
            return {}
        _log.warning("%s leads to nothing: its name or its record is not known", notice.name)
        return {"unknown": 1}
    if _seen(ports, notice):
        return {"seen_already": 1}
    if notice.name in _CUSTOMER and not _ours(ports, notice.customer_id):
        return _nobodys(ports, notice, f"customer {notice.customer_id}", "Partner Center")
    unit = Ledger(ports.store, ports.now).run_once(
        _key(notice), "event", notice.run_key, look, repeatable=True, lease=LEASE
    )
    _log.info("%s: looked at %s: %s", notice.name, unit.key, dict(unit.counts))
    if unit.status is not UnitStatus.HELD:
        return {"looks": 1}
    again = ports.now() + INVOICE_AGAIN
    if again <= notice.received_at + INVOICE_SHOWN:
        raise Later(f"{notice.invoice_id} is not there, or not whole yet", again)
    return {"looks": 1, "not_there": 1}


def _nobodys(ports: Ports, notice: TakeNotice, record: str, who: str) -> dict[str, int]:
    """Wait for what is not shown (yet); in the end it is another partner's, or an invented id."""
    until = notice.received_at + SHOWN
    if ports.now() < until:
        raise Later(f"{who} does not show {record} yet", min(until, ports.now() + SHOWN / 5))
    _log.warning("%s leads to nothing: %s does not show %s", notice.name, who, record)
    return {"unknown": 1}


def give_up(ports: Ports, notice: TakeNotice, problem: str) -> None:
    """Park an event whose message failed too often, with the reason of the last time."""
    found = ports.store.unit(notice.key)
    if found is not None and found[0].status in _THROUGH:
        return
    _open_day(ports, notice)
    reason = (found[0].problem if found else "") or problem
    _end(ports, notice, UnitStatus.PARKED, counts={"events": 1}, problem=reason)
    _sum_up(ports, notice, at_once=True)


def tested(ports: Ports, day: str, correlation: str) -> bool:
    """Say whether the test event of this id came in on a day (YYYY-MM-DD) and was taken."""
    units = ports.store.units(f"event/{day}")
    return any(unit.key.startswith(f"event/{TEST}/{correlation}/") for unit in units)


# What is looked at ---------------------------------------------------------------------------------


def _look(ports: Ports, notice: TakeNotice) -> Callable[[], Outcome] | None:
    """Return the look that an event asks for; None where it names no record."""
    if notice.name in _CUSTOMER and notice.customer_id:
        return lambda: _customer(ports, notice)
    if notice.name == _INVOICE and notice.invoice_id:
        return lambda: _costs(ports, notice)
    if notice.name == _FRAUD and notice.azure_subscription_id:
        return lambda: _fraud(ports, notice)
    if notice.name == _USAGE:  # it does not say whose usage, nor in which currency
        return lambda: _unbilled(ports, notice)
    return None


def _key(notice: TakeNotice) -> str:
    """Return the key of the look: at one whole thing, whatever changed of it."""
    scope = {
        _INVOICE: f"costs/{notice.invoice_id}",
        _USAGE: "unbilled",
        _FRAUD: f"azure/{notice.azure_subscription_id}",
    }
    where = scope.get(notice.name)
    return f"look/{where}" if where else disturbance.key(notice.customer_id)


def _seen(ports: Ports, notice: TakeNotice) -> bool:
    """Say whether a look began after the event came in, and has ended or is still under way.

    Later: it began so soon after that this is not certain, or too recently to look anew.
    """
    found = ports.store.unit(_key(notice))
    if found is None or found[0].started_at is None:
        return False
    unit, began, now = found[0], found[0].started_at, ports.now()
    lease = unit.lease_until
    running = unit.status is UnitStatus.RUNNING and lease is not None and lease > now
    if not running and unit.status is not UnitStatus.SETTLED:
        return False
    if began > notice.received_at + SKEW:
        return True
    certain = notice.received_at + SKEW + timedelta(seconds=1)
    if began > notice.received_at and now < certain:
        raise Later(f"{unit.key} was looked at as the event came in", certain)
    if notice.name == _USAGE and not running and now < began + USAGE_AGAIN:
        raise Later(f"{unit.key} was looked at in this hour", began + USAGE_AGAIN)
    return False


def _customer(ports: Ports, notice: TakeNotice) -> Outcome:
    """Read one customer whole, with who may administer it and what changed, and check it at once."""
    customer_id = notice.customer_id
    today = ports.now().date()
    since, until = today - timedelta(days=pull.AUDIT_DAYS), today + timedelta(days=1)
    changes, bad = sift(ports.partner_center.subscription_events(since, until, customer_id))
    saved = ports.store.save(changes)
    ports.store.replace_findings(("wire.audit_record",), customer_id, bad)
    # Last the customer itself, whose reading ends with its checks.
    parts = [
        pull.work(ports, _part(ports, notice, part, customer_id))
        for part in ("relationships", "customer")
    ]
    counts = {"changes": len(changes), "written": saved.created + saved.updated}
    for part in parts:
        for name, count in part.counts.items():
            counts[name] = counts.get(name, 0) + count
    return Outcome(counts=counts)


def _owner(ports: Ports, relationship_id: str) -> str:
    """Return whose GDAP relationship it is; of one that Graph has no more, whose it was."""
    if owner := ports.directory.customer_of(relationship_id):
        return owner
    stored = {one.id: one.customer_id for one in ports.store.relationships()}
    return stored.get(relationship_id, "")


def _ours(ports: Ports, customer_id: str) -> bool:
    """Say whether a customer is stored, or shown by Partner Center: the id may be anything."""
    if ports.store.customer(customer_id) is not None:
        return True
    return not isinstance(ports.partner_center.customer(customer_id), Finding)


def _costs(ports: Ports, notice: TakeNotice) -> Outcome:
    """Import the invoice; who is on it may be new, and is entered first so that lines have an owner."""
    listed, _ = sift(ports.partner_center.customers())
    known = {one.id for one in ports.store.customers()}
    ports.store.save([one for one in listed if one.id not in known])
    return pull.work(ports, _part(ports, notice, "costs", notice.invoice_id))


def _unbilled(ports: Ports, notice: TakeNotice) -> Outcome:
    heads, _ = sift(ports.partner_center.invoices())
    counts: dict[str, int] = {}
    for currency in alerts.currencies(ports, heads):
        done = alerts.work(ports, _part(ports, notice, "unbilled", currency))
        for name, count in done.counts.items():
            counts[name] = counts.get(name, 0) + count
    return Outcome(counts=counts)


def _fraud(ports: Ports, notice: TakeNotice) -> Outcome:
    """Tell a person, who closes the finding. What Microsoft says is settled opens none.

    Its sentence has the day, so that another event on a later one opens it again. Of subscriptions
    that never had usage there is one finding in all: they may be new, or another partner's.
    """
    if notice.status.lower() == "resolved":
        return Outcome(counts={"resolved": 1})
    known = ports.store.has_usage(notice.azure_subscription_id)
    named = f"Azure subscription {notice.azure_subscription_id}"
    record = named if known else "Azure subscriptions without usage"
    sentence = f"Microsoft suspects fraud in the {named} ({notice.received_at:%Y-%m-%d})"
    told = "." if known else ", of which no usage was ever billed: it is new, or not yours."
    finding = Finding(
        check="azure.fraud_event",
        severity=Severity.WARN,
        customer_id="",
        record=record,
        sentence=sentence + told,
        hint="Look at the security alerts in Partner Center now: its usage is billed to you. "
        "Set the finding to closed when it is settled.",
    )
    found = judged([finding], ports.policy)
    replace_everywhere(ports.store, ("azure.fraud_event",), found, record=record)
    return Outcome(counts={"findings": 1})


def _part(ports: Ports, notice: TakeNotice, part: str, scope: str) -> PullUnit:
    return PullUnit.model_validate(
        {"run_key": notice.run_key, "part": part, "scope": scope, "day": ports.now().date()}
    )


# What stays of an event ----------------------------------------------------------------------------


def _open_day(ports: Ports, notice: TakeNotice) -> None:
    """Enter the day's row, which `runs` lists and the units belong to."""
    if ports.store.run(notice.run_key) is None:
        ports.store.save([_day(notice)])


def _day(notice: TakeNotice) -> Run:
    return Run(
        key=notice.run_key,
        kind="event",
        scope="",
        window=notice.run_key.removeprefix("event/"),
        status=RunStatus.DONE,
        started_at=notice.received_at,
    )


def _end(
    ports: Ports,
    notice: TakeNotice,
    status: UnitStatus,
    *,
    counts: Mapping[str, int] | None = None,
    problem: str = "",
) -> None:
    """Note how an event ended; of two workers with the same event the first one's note stands."""
    found = ports.store.unit(notice.key)
    unit = UnitOfWork(
        key=notice.key,
        kind="event",
        run_key=notice.run_key,
        status=status,
        attempt=1 + (found[0].attempt if found else 0),
        started_at=notice.received_at,
        finished_at=None if status is UnitStatus.QUEUED else ports.now(),
        counts=counts or {},
        problem=problem[:1000],
    )
    with suppress(Conflict):
        ports.store.put_unit(unit, found[1] if found else None)


def _sum_up(ports: Ports, notice: TakeNotice, *, at_once: bool = False) -> None:
    """Bring the day's row up to its units, unless that was done a moment ago; the sync does it too."""
    day = ports.store.run(notice.run_key)
    if day is not None and day.finished_at is not None and not at_once:
        units_read = sum(day.counts.get(name, 0) for name in ("events", "looks"))
        if ports.now() < day.finished_at + timedelta(minutes=1 + units_read / SUMMED):
            return
    sum_up(ports, day or _day(notice))


def sum_up_days(ports: Ports) -> None:
    """Bring the rows of today and yesterday up: what came in last may not be counted yet."""
    today = ports.now().date()
    for day in (today - timedelta(days=1), today):
        if found := ports.store.run(f"event/{day}"):
            sum_up(ports, found)


def sum_up(ports: Ports, before: Run) -> None:
    """Bring a day's row up to its units."""
    units = ports.store.units(before.key)
    counts: dict[str, int] = {}
    for unit in units:
        for name, count in unit.counts.items():
            counts[name] = counts.get(name, 0) + count
    lost = [unit for unit in units if unit.status in _LOST]
    problem = f"{len(lost)} units failed, first {lost[0].key}: {lost[0].problem}" if lost else ""
    held = any(unit.kind == "event" and "not_there" in unit.counts for unit in units)
    ended = RunStatus.DONE_WITH_HOLDS if held else RunStatus.DONE
    after = replace(
        before,
        status=RunStatus.FAILED if lost else ended,
        counts=dict(sorted(counts.items())),
        problem=problem[:1000],
    )
    if after != before:
        ports.store.save([replace(after, finished_at=ports.now())])
