"""Events of Partner Center: what each leads to. An event names a record; the record is read anew.

Nothing of an event is stored as data, so one that is late, old, sent again or out of order can only
lead to another look at what is there now. Two rows of the ledger keep this cheap and whole:

- one for each event, made of its meaning: the same event again stops there;
- one for each thing that is looked at, which is a lock, and knows when the last look began. An event
  that came in before a look began has been seen by it, and is done. So a burst leads to one look, or
  to a second where it went on during the first, and the last event is always followed by a look
  that began after it. Buckets of time would either lose the end of a burst or look too often.

Equal moments do not count as after: the store keeps whole seconds, cut off, which errs towards a look
more. A look that fails raises, so its message comes again; those that it would have served may end
meanwhile, because it is repeated until it succeeds or is parked with its reason.
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
from sync import alerts, pull
from sync.findings import replace_everywhere
from sync.ledger import Busy, Ledger, Outcome
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

_ENDED = {UnitStatus.SETTLED, UnitStatus.HELD}
_LOST = {UnitStatus.FAILED, UnitStatus.PARKED}
_log = logging.getLogger(__name__)


def take(ports: Ports, notice: TakeNotice) -> None:
    """Follow one event. Busy while another worker looks at the same: leave the message for later."""
    found = ports.store.unit(notice.key)
    if found is not None and found[0].status is UnitStatus.SETTLED:
        return
    _open_day(ports, notice)
    try:
        counts = _follow(ports, notice)
    except Busy:
        raise
    except Exception as error:
        # Where the store is what failed, the note fails too.
        with suppress(WorkerError):
            _end(ports, notice, UnitStatus.FAILED, problem=f"{type(error).__name__}: {error}")
        raise
    _end(ports, notice, UnitStatus.SETTLED, counts={"events": 1, **counts})
    if "seen_already" not in counts:
        _sum_up(ports, notice)


def _follow(ports: Ports, notice: TakeNotice) -> dict[str, int]:
    """Look at what an event names, unless that was looked at since it came in."""
    if notice.relationship_id and not notice.customer_id:
        owner = _owner(ports, notice.relationship_id)
        notice = notice.model_copy(update={"customer_id": owner})
    look = _look(ports, notice)
    if look is None:
        if notice.name != TEST:
            _log.warning("%s leads to nothing: its name or its record is not known", notice.name)
        return {"unknown": 1} if notice.name not in UNDERSTOOD else {}
    if _seen(ports, notice):
        return {"seen_already": 1}
    unit = Ledger(ports.store, ports.now).run_once(
        _key(notice), "event", notice.run_key, look, repeatable=True
    )
    _log.info("%s: looked at %s: %s", notice.name, unit.key, dict(unit.counts))
    return {"looks": 1}


def give_up(ports: Ports, notice: TakeNotice, problem: str) -> None:
    """Park an event whose message failed too often, with the reason of the last time."""
    found = ports.store.unit(notice.key)
    if found is not None and found[0].status is UnitStatus.SETTLED:
        return
    _open_day(ports, notice)
    reason = (found[0].problem if found else "") or problem
    _end(ports, notice, UnitStatus.PARKED, counts={"events": 1}, problem=reason)
    _sum_up(ports, notice)


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
    return f"look/{scope.get(notice.name, f'customer/{notice.customer_id}')}"


def _seen(ports: Ports, notice: TakeNotice) -> bool:
    """Say whether a look began after the event came in, and has ended or is still under way."""
    found = ports.store.unit(_key(notice))
    if found is None or found[0].started_at is None or found[0].started_at <= notice.received_at:
        return False
    unit = found[0]
    lease = unit.lease_until
    running = unit.status is UnitStatus.RUNNING and lease is not None and lease > ports.now()
    return unit.status in _ENDED or running


def _customer(ports: Ports, notice: TakeNotice) -> Outcome:
    """Read one customer whole, with who may administer it and what changed, and check it at once.

    A customer that we do not know and Partner Center does not show leaves no trace: the id in an
    event may be anything.
    """
    customer_id = notice.customer_id
    if not _ours(ports, customer_id):
        _log.warning("%s names a customer that Partner Center does not show", notice.name)
        return Outcome(counts={"unknown_customers": 1})
    today = ports.now().date()
    since, until = today - timedelta(days=pull.AUDIT_DAYS), today + timedelta(days=1)
    changes, bad = pull.sift(ports.partner_center.subscription_events(since, until, customer_id))
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
    """Say whether a customer is shown by Partner Center, or was and is stored."""
    if not isinstance(ports.partner_center.customer(customer_id), Finding):
        return True
    return ports.store.customer(customer_id) is not None


def _costs(ports: Ports, notice: TakeNotice) -> Outcome:
    """Import the invoice; who is on it may be new, and is entered first so that lines have an owner."""
    listed, _ = pull.sift(ports.partner_center.customers())
    known = {one.id for one in ports.store.customers()}
    ports.store.save([one for one in listed if one.id not in known])
    return pull.work(ports, _part(ports, notice, "costs", notice.invoice_id))


def _unbilled(ports: Ports, notice: TakeNotice) -> Outcome:
    heads, _ = pull.sift(ports.partner_center.invoices())
    counts: dict[str, int] = {}
    for currency in alerts.currencies(ports, heads):
        done = alerts.work(ports, _part(ports, notice, "unbilled", currency))
        for name, count in done.counts.items():
            counts[name] = counts.get(name, 0) + count
    return Outcome(counts=counts)


def _fraud(ports: Ports, notice: TakeNotice) -> Outcome:
    """Tell a person, who closes the finding; whose subscription it is, Partner Center knows.

    Its sentence has the day, so that another event on a later one opens it again.
    """
    record = f"Azure subscription {notice.azure_subscription_id}"
    finding = Finding(
        check="azure.fraud_event",
        severity=Severity.WARN,
        customer_id="",
        record=record,
        sentence=f"Microsoft suspects fraud in the {record} ({notice.received_at:%Y-%m-%d}).",
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
        finished_at=ports.now(),
        counts=counts or {},
        problem=problem[:1000],
    )
    with suppress(Conflict):
        ports.store.put_unit(unit, found[1] if found else None)


def _sum_up(ports: Ports, notice: TakeNotice) -> None:
    """Bring the day's row up to its units."""
    units = ports.store.units(notice.run_key)
    counts: dict[str, int] = {}
    for unit in units:
        for name, count in unit.counts.items():
            counts[name] = counts.get(name, 0) + count
    lost = [unit for unit in units if unit.status in _LOST]
    problem = f"{len(lost)} units failed, first {lost[0].key}: {lost[0].problem}" if lost else ""
    before = ports.store.run(notice.run_key) or _day(notice)
    after = replace(
        before,
        status=RunStatus.FAILED if lost else RunStatus.DONE,
        counts=dict(sorted(counts.items())),
        problem=problem[:1000],
    )
    if after != before:
        ports.store.save([replace(after, finished_at=ports.now())])
