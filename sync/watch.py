"""The watch: what should have happened by now and has not, read from the ledger and the queues.

It looks every quarter of an hour and tells; it repairs one thing alone. A run that has open units,
no progress for a while and no message on their queue has lost messages: the run is asked for again,
and the ledger lets what is settled be. All else is for people: what is late, what failed, what was
given up, how old the data and the sign-in are, what does not add up.

Runs are read by kind and by how they stand: what nobody mended is told again by each look, however
many other runs there were since. A bill or an approval that could not begin, say because a month was
mistyped, was an answer to who asked; it leaves nothing undone and is not told for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from domain.contract import counting
from domain.period import Period
from domain.problems import WorkerError
from domain.run import Run, RunStatus, UnitOfWork, UnitStatus
from invoice.document import DocumentStatus
from sync import due
from sync.messages import StartRun
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
INVOICES_COME = 8
"""By this day of the next month Microsoft's invoices are there."""
BILL_WAITS = timedelta(days=5)
"""How long a month that is due may wait for them before it is told."""
GOES_ON = timedelta(hours=12)
"""So long a month's bill may take; who comes due later, or was held, makes it begin again."""
STALLED = timedelta(minutes=45)
"""A run without progress for so long has lost its messages, if none of its queue is left."""
READ = 200
"""So many runs are read of a kind's failed ones, and of all that go on: the latest."""

_GOOD = {RunStatus.DONE, RunStatus.DONE_WITH_HOLDS}
_OPEN = {UnitStatus.QUEUED, UnitStatus.RUNNING, UnitStatus.FAILED}
_QUEUE_OF = {"sync": "pull", "usage": "pull", "access": "pull", "prices": "pull", "bill": "bill"}
_QUEUE_OF |= {"renewals": "report", "health": "report", "handoff": "handoff"}
_QUEUE_OF |= {"feedback": "feedback"}
_BY_TIME = (*EVERY, "event")
"""Kinds of which a good run makes up for what failed before it; of a month only its own does."""


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
    """What failed and was not made good since: by itself, or by a later run that did the same."""
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


def look(ports: Ports, *, on: str = "") -> WatchReport:
    """Look at runs, units, queues, data and sign-in; ask again for runs that lost their messages.

    `on` is the queue that brought the look: the message is still counted there, and no work.
    """
    now = ports.now()
    lengths = ports.queue.lengths()
    waiting = {**lengths, on: lengths.get(on, 1) - 1} if on else lengths
    good = {kind: run for kind in (*_BY_TIME, "bill") if (run := _last_good(ports, kind, ""))}
    bills = _bills(ports)
    going = ports.store.runs(READ, among={RunStatus.RUNNING})
    failed = (
        *_failed_by_time(ports, good),
        *_failed_bills(ports, bills),
        *_failed_approvals(ports),
    )
    saved_at = _saved_at(ports)
    return WatchReport(
        at=now,
        late=(*_late(ports, good, going, now), *_late_bills(ports, bills)),
        failed=failed,
        asked_again=tuple(_asked_again(ports, (*going, *bills), waiting, now)),
        parked=tuple(
            unit
            for run in failed
            if _has(ports, run, {UnitStatus.PARKED})
            for unit in ports.store.units(run.key)
            if unit.status is UnitStatus.PARKED
        ),
        lengths=lengths,
        ages=_ages(ports, good, now),
        token_age=now - saved_at if saved_at else None,
        residuals=tuple(_residuals(bills)),
    )


def _saved_at(ports: Ports) -> datetime | None:
    """Return when the sign-in was renewed; a vault that does not answer keeps nothing else untold."""
    try:
        return ports.token_saved_at() if ports.token_saved_at else None
    except WorkerError:
        return None


def _last_good(ports: Ports, kind: str, scope: str) -> Run | None:
    return next(iter(ports.store.runs(1, kind=kind, among=_GOOD, scope=scope)), None)


def _bills(ports: Ports) -> list[Run]:
    """Return the bills of whole months, the newest month first, as far back as months are billed."""
    now = f"{ports.today():%Y-%m}"
    runs = ports.store.runs(READ, kind="bill", scope="")
    months = sorted((run for run in runs if run.window <= now), key=_window, reverse=True)
    return months[: due.MONTHS_BACK]


def _window(run: Run) -> str:
    return run.window


def _has(ports: Ports, run: Run, among: Iterable[UnitStatus] = tuple(UnitStatus)) -> bool:
    """Say whether a run has units that stand there; where they cannot be counted there are many."""
    counts = ports.store.unit_counts(run.key, tuple(among))
    return counts is None or any(counts.values())


def _failed_by_time(ports: Ports, good: Mapping[str, Run]) -> Iterable[Run]:
    """Yield the latest failed run of each kind and customer that no good one followed."""
    for kind in _BY_TIME:
        told: set[str] = set()
        for run in ports.store.runs(READ, kind=kind, among={RunStatus.FAILED}):
            if _followed(run, good.get(kind)):
                break  # a run for everybody makes good what failed for one, too
            if run.scope not in told:
                told.add(run.scope)
                if not run.scope or not _followed(run, _last_good(ports, kind, run.scope)):
                    yield run


def _followed(run: Run, good: Run | None) -> bool:
    return good is not None and good.started_at > run.started_at


def _failed_bills(ports: Ports, bills: Sequence[Run]) -> Iterable[Run]:
    """Yield the failed bills that left work behind; a unit that another run took over is not."""
    for run in bills:
        if run.status is RunStatus.FAILED and _began(ports, run):
            yield run
    whole = {run.window: run for run in bills}
    for run in ports.store.runs(READ, kind="bill", among={RunStatus.FAILED}):
        if run.scope and not _made_good(run, whole.get(run.window)) and _has(ports, run):
            yield run


def _began(ports: Ports, run: Run) -> bool:
    return bool(run.totals or run.counts) or _has(ports, run)


def _made_good(run: Run, by: Run | None) -> bool:
    """Say whether the run of the whole month ended well after one of a part of it."""
    return by is not None and by.status in _GOOD and _ended(by) >= _ended(run)


def _ended(run: Run) -> datetime:
    return run.finished_at or run.started_at


def _failed_approvals(ports: Ports) -> Iterable[Run]:
    """Yield the failed approvals of which something is not approved yet, or has no file."""
    runs = ports.store.runs(READ, kind="approve", among={RunStatus.FAILED})
    drafts = ports.store.document_keys(DocumentStatus.DRAFT) if runs else ()
    for run in runs:
        month = ports.store.run(f"approve/{run.window}")
        left = any(_is_of(run, key) for key in drafts) or ports.store.unattached(run.window)
        if left and not _made_good(run, month):
            yield run


def _is_of(approval: Run, document_key: str) -> bool:
    """Say whether an approval was for a document: of its month, of a customer's, or it alone."""
    if approval.key == f"approve/{approval.window}":
        return f"/{approval.window}/" in document_key
    if approval.scope:
        return document_key.startswith(f"invoice/{approval.scope}/{approval.window}/")
    return document_key.removeprefix("invoice") == approval.key.removeprefix("approve")


def _ages(ports: Ports, good: Mapping[str, Run], now: datetime) -> dict[str, timedelta]:
    return {
        kind: max(now - _ended(run), timedelta(0))
        for kind, run in sorted(good.items())
        if kind in ports.watched
    }


def _late(
    ports: Ports, good: Mapping[str, Run], going: Iterable[Run], now: datetime
) -> Iterable[LateRun]:
    """Yield the kinds of which no good run began lately, and none goes on that did.

    Before anything ever ran nothing is late; then a kind that never ran is, after its own time.
    """
    for kind in sorted(ports.watched & EVERY.keys()):
        run = good.get(kind) or ports.store.first_run()
        if run is None:
            return
        in_time = run.started_at + EVERY[kind] * 3 / 2
        if now <= in_time or any(
            one.kind == kind and not one.scope and now - one.started_at < EVERY[kind] / 2
            for one in going
        ):
            continue
        if kind in good:
            said = f"The last good run of kind {kind} began {run.started_at:%Y-%m-%d %H:%M} UTC."
        else:
            said = f"No run of kind {kind} ended well since {run.started_at:%Y-%m-%d %H:%M} UTC."
        yield LateRun(kind=kind, since=in_time, sentence=said)


def _late_bills(ports: Ports, bills: Sequence[Run]) -> Iterable[LateRun]:
    """Yield the months whose bill should have begun by now: Microsoft's invoice is not there, say."""
    if "bill" not in ports.watched:
        return
    today, known = ports.today(), {run.window: run for run in bills}
    for month in due.months_open(ports, today):
        run = known.get(month)
        if run is None:
            state = "has not begun: Microsoft's invoices are not complete"
        elif run.status is RunStatus.RUNNING and ports.now() - run.started_at >= GOES_ON:
            state = "is not through"
        elif run.status is RunStatus.FAILED and not _began(ports, run):
            state = f"could not begin: {run.problem.rstrip('.')}"
        else:
            continue
        told_on = _told_on(ports, Period.month(month))
        if told_on is not None and told_on <= today:
            since = datetime.combine(told_on, time(), tzinfo=ports.zone).astimezone(UTC)
            yield LateRun(kind="bill", since=since, sentence=f"The bill of {month} {state}.")


def _told_on(ports: Ports, month: Period) -> date | None:
    """Return from which day on a month is late: some after its first customer's, and Microsoft's."""
    contracts = counting(ports.store.contracts(), month.last_day)
    first = min(
        (due.due_on(contracts.get(c.id), month, ports.bill_day) for c in ports.store.customers()),
        default=None,
    )
    usual = month.end.replace(day=INVOICES_COME)
    return None if first is None else max(first, usual) + BILL_WAITS


def _asked_again(
    ports: Ports, runs: Iterable[Run], waiting: Mapping[str, int], now: datetime
) -> Iterable[str]:
    """Ask once more for each run whose messages are lost, and yield its key.

    Of those that ended only a bill may have open units: of customers who came due since.
    """
    # One message on `start` is the look for requests of each minute as like as not. Where it is a
    # run's, asking besides does no harm.
    if waiting.get("start", 0) > 1 or waiting.get("close"):
        return  # what is to begin or to end is on its way
    for run in {run.key: run for run in runs}.values():
        queue = _QUEUE_OF.get(run.kind)
        ended = run.status is not RunStatus.RUNNING
        if ended and not (run.status in _GOOD and _has(ports, run, _OPEN)):
            continue
        if queue is None or waiting.get(queue) or now - run.started_at < STALLED:
            continue
        units = ports.store.units(run.key)
        moments = [m for u in units for m in (u.started_at, u.finished_at) if m is not None]
        if moments and now - max(moments) < STALLED:
            continue
        if any(unit.lease_until is not None and unit.lease_until > now for unit in units):
            continue  # somebody works, for long
        message = _start_of(run, ports.today())
        ports.queue.send("start", [message.model_dump_json()])
        yield run.key


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


def _residuals(bills: Iterable[Run]) -> Iterable[Residual]:
    for run in bills:
        for total in run.totals:
            if total.residual:
                yield Residual(run_key=run.key, currency=total.currency, amount=total.residual)
