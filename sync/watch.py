"""The watch: what should have happened by now and has not, read from the ledger and the queues.

It looks every quarter of an hour and tells; it repairs one thing alone. A run that has open units,
no progress for a while and no message on their queue has lost messages: the run is asked for again,
and the ledger lets what is settled be. All else is for people: what is late, what failed, what was
given up, how old the data and the sign-in are, what does not add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from domain.period import Period
from domain.problems import WorkerError
from domain.run import Run, RunStatus, UnitOfWork, UnitStatus
from sync import due
from sync.messages import OF_A_MONTH, StartRun
from sync.ports import Ports

EVERY: Mapping[str, timedelta] = {
    "sync": timedelta(days=1),
    "usage": timedelta(days=1),
    "prices": timedelta(days=1),
    "access": timedelta(days=1),
    "renewals": timedelta(days=1),
    "handoff": timedelta(days=1),
    "feedback": timedelta(hours=1),
    "health": timedelta(days=7),
}
"""How often a run of a kind is begun; it is late after that time and half of it."""
BILL_WAITS = timedelta(days=5)
"""How long after the first billing day a month may wait for Microsoft before it is told."""
STALLED = timedelta(minutes=45)
"""A run without progress for so long has lost its messages, if none of its queue is left."""
LATELY = timedelta(days=2)
"""For so long after its end a bill run is looked at: customers may have come due since."""
LOOKED_AT = 400
"""Runs that are read: about two weeks of them."""
RESIDUALS_OF = 3
"""Bill runs whose residual is looked at, the latest ones."""

_GOOD = {RunStatus.DONE, RunStatus.DONE_WITH_HOLDS}
_OPEN = {UnitStatus.QUEUED, UnitStatus.RUNNING, UnitStatus.FAILED}
_QUEUE_OF = {"sync": "pull", "usage": "pull", "access": "pull", "prices": "pull", "bill": "bill"}
_QUEUE_OF |= {"renewals": "report", "health": "report", "handoff": "handoff"}
_QUEUE_OF |= {"feedback": "feedback"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRun:
    """A run that should be there, or be through, by now."""

    kind: str
    since: datetime
    """Aware UTC: when it would have been in time."""
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """What of a run's total is not accounted for."""

    run_key: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchReport:
    """What one look found; empty where all is well."""

    at: datetime
    late: tuple[LateRun, ...]
    failed: tuple[Run, ...]
    """The latest run of a kind and scope, where it failed."""
    asked_again: tuple[str, ...]
    """Keys of the runs that had lost messages and were asked for again."""
    parked: tuple[UnitOfWork, ...]
    """Units that were given up, of the failed runs."""
    lengths: Mapping[str, int]
    """Messages on each queue, about; poison queues as `KIND-poison`."""
    ages: Mapping[str, timedelta]
    """By kind of run, how long ago the last good one ended."""
    token_age: timedelta | None
    """How long ago the refresh token was renewed and proven; None: nobody can tell."""
    residuals: tuple[Residual, ...]

    @property
    def poisoned(self) -> int:
        """Count the messages that were given up and that nobody has taken."""
        return sum(count for name, count in self.lengths.items() if name.endswith("-poison"))


def look(ports: Ports) -> WatchReport:
    """Look at runs, units, queues, data and sign-in; ask again for runs that lost their messages."""
    now = ports.now()
    runs = ports.store.runs(LOOKED_AT)
    lengths = ports.queue.lengths()
    ages = _ages(runs, now)
    failed = tuple(run for run in _latest(runs) if run.status is RunStatus.FAILED)
    saved_at = _saved_at(ports)
    return WatchReport(
        at=now,
        late=(*_late(ports, runs, now), *_late_bills(ports)),
        failed=failed,
        asked_again=tuple(_asked_again(ports, runs, lengths, now)),
        parked=tuple(
            unit
            for run in failed
            for unit in ports.store.units(run.key)
            if unit.status is UnitStatus.PARKED
        ),
        lengths=lengths,
        ages=ages,
        token_age=now - saved_at if saved_at else None,
        residuals=tuple(_residuals(runs)),
    )


def _saved_at(ports: Ports) -> datetime | None:
    """Return when the sign-in was renewed; a vault that does not answer keeps nothing else untold."""
    try:
        return ports.token_saved_at() if ports.token_saved_at else None
    except WorkerError:
        return None


def _latest(runs: Iterable[Run]) -> list[Run]:
    """Return the run that counts of each kind and scope; of months, each month's own."""
    found: dict[tuple[str, str, str], Run] = {}
    for run in runs:  # the newest first
        window = run.window if run.kind in OF_A_MONTH else ""
        found.setdefault((run.kind, run.scope, window), run)
    return list(found.values())


def _ages(runs: Iterable[Run], now: datetime) -> dict[str, timedelta]:
    ages: dict[str, timedelta] = {}
    for run in runs:
        if run.status in _GOOD and not run.scope and run.finished_at is not None:
            age = max(now - run.finished_at, timedelta(0))
            ages[run.kind] = min(age, ages.get(run.kind, age))
    return dict(sorted(ages.items()))


def _late(ports: Ports, runs: Sequence[Run], now: datetime) -> Iterable[LateRun]:
    """Yield the kinds of which no good run began lately.

    Before anything ever ran nothing is late; then a kind that never ran is, after its own time.
    """
    first = min((run.started_at for run in runs), default=None)
    if first is None:
        return
    for kind, every in EVERY.items():
        if kind not in ports.watched:
            continue
        own = [r for r in runs if r.kind == kind and not r.scope]
        good = max((r.started_at for r in own if r.status in _GOOD), default=None)
        in_time = (good or first) + every * 3 / 2
        if now <= in_time:
            continue
        if good is None:
            said = f"No run of kind {kind} ended well since {first:%Y-%m-%d %H:%M} UTC."
        else:
            said = f"The last good run of kind {kind} began {good:%Y-%m-%d %H:%M} UTC."
        yield LateRun(kind=kind, since=in_time, sentence=said)


def _late_bills(ports: Ports) -> Iterable[LateRun]:
    """Yield the months whose bill should have begun by now: Microsoft's invoice is not there, say."""
    today = ports.today()
    if "bill" not in ports.watched:
        return
    for month in due.months_open(ports, today):
        period = Period.month(month)
        asked_by = today - BILL_WAITS
        run = ports.store.run(f"bill/{month}")
        if run is not None and run.status is not RunStatus.RUNNING:
            continue
        if not due.due_customers(ports, period, asked_by):
            continue
        since = datetime.combine(due.due_on(None, period, ports.bill_day), time(), tzinfo=UTC)
        state = "is not through" if run else "has not begun: Microsoft's invoices are not complete"
        yield LateRun(
            kind="bill", since=since + BILL_WAITS, sentence=f"The bill of {month} {state}."
        )


def _asked_again(
    ports: Ports, runs: Iterable[Run], lengths: Mapping[str, int], now: datetime
) -> Iterable[str]:
    """Ask once more for each run whose messages are lost, and yield its key."""
    if lengths.get("start") or lengths.get("close"):
        return  # what is to begin or to end is on its way
    for run in runs:
        queue = _QUEUE_OF.get(run.kind)
        if queue is None or lengths.get(queue) or not _may_be_stuck(run, now):
            continue
        units = ports.store.units(run.key)
        moments = [m for u in units for m in (u.started_at, u.finished_at) if m is not None]
        if now - max([run.started_at, *moments]) < STALLED:
            continue
        if any(unit.lease_until is not None and unit.lease_until > now for unit in units):
            continue  # somebody works, for long
        if run.status is RunStatus.RUNNING or any(unit.status in _OPEN for unit in units):
            message = _start_of(run, ports.today())
            ports.queue.send("start", [message.model_dump_json()])
            yield run.key


def _may_be_stuck(run: Run, now: datetime) -> bool:
    """Say whether a run may have open units; of those that ended only a bill is opened again."""
    if run.status is RunStatus.RUNNING:
        return now - run.started_at >= STALLED
    ended = run.finished_at or run.started_at
    return run.kind == "bill" and run.status in _GOOD and now - ended <= LATELY


def _start_of(run: Run, today: date) -> StartRun:
    """Return the message that a run began with; a bill takes in nobody who is not due."""
    customer_id = run.scope or None
    if run.kind == "bill":
        day = None if customer_id else today
        return StartRun(kind="bill", period=run.window, day=day, customer_id=customer_id)
    window, _, hour = run.window.partition("T")
    year, _, week = window.partition("-W")
    day = date.fromisocalendar(int(year), int(week), 1) if week else date.fromisoformat(window)
    return StartRun(
        kind=run.kind,  # type: ignore[arg-type] # one of the kinds with a queue
        day=day,
        hour=int(hour) if hour else None,
        customer_id=customer_id,
    )


def _residuals(runs: Iterable[Run]) -> Iterable[Residual]:
    bills = [run for run in _latest(runs) if run.kind == "bill" and not run.scope]
    for run in bills[:RESIDUALS_OF]:
        for total in run.totals:
            if total.residual:
                yield Residual(run_key=run.key, currency=total.currency, amount=total.residual)
