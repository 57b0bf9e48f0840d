"""The life of a run: started once, fanned out, worked by whoever takes the messages, closed.

`handle` is what every queue calls, in Azure and on a laptop alike. A message may come twice, late
or out of order: the ledger makes each unit happen once, and a run is closed by the unit that finds
no other one open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date

from pydantic import ValidationError

from domain.period import Period
from domain.problems import InputError, Unreadable
from domain.run import Run, RunStatus, UnitOfWork, UnitStatus
from sync import (
    approval,
    bill,
    costs,
    due,
    feedback,
    handoff,
    health,
    notices,
    prices,
    projection,
    pull,
    releases,
    renewals,
    requests,
    watch,
)
from sync.ledger import Ledger, Outcome
from sync.messages import (
    MODELS,
    OF_A_MONTH,
    BillUnit,
    CloseRun,
    FeedbackUnit,
    HandoffUnit,
    LookForRequests,
    PullUnit,
    ReportUnit,
    StartRun,
    TakeNotice,
    TakeRelease,
    TakeRequest,
)
from sync.ports import Ports

_OPEN = {UnitStatus.QUEUED, UnitStatus.RUNNING, UnitStatus.FAILED}
_LOST = {UnitStatus.FAILED, UnitStatus.PARKED}
_GOOD = {RunStatus.DONE, RunStatus.DONE_WITH_HOLDS}

Unit = PullUnit | BillUnit | HandoffUnit | FeedbackUnit | ReportUnit
Message = Unit | StartRun | TakeRequest | TakeRelease | LookForRequests | CloseRun | TakeNotice
Told = Run | UnitOfWork | watch.WatchReport | None
"""What came of a message: a run that began or ended, a unit that was worked, what a look found."""

_ALSO_ON_START: tuple[type[TakeRequest | TakeRelease | LookForRequests], ...] = (
    TakeRequest,
    TakeRelease,
    LookForRequests,
)
"""Beside runs, what asks for them waits on `start`."""


def handle(ports: Ports, queue: str, body: str | bytes) -> Told:
    """Work one message of a queue; returns what came of it. Unreadable where it is no message."""
    match _read(queue, body):
        case TakeRequest(request_id=request_id):
            requests.take(ports, request_id, _begin)
        case TakeRelease() as wanted:
            releases.take(ports, wanted)
        case LookForRequests():
            requests.pick_up(ports)
        case StartRun() as message:
            return start(ports, message)
        case CloseRun() as message:
            return close(ports, message.run_key)
        case TakeNotice() as notice:
            notices.take(ports, notice)
        case BillUnit() as unit:
            worked = bill.work(ports, unit)
            _after(ports, unit.run_key)
            return worked
        case PullUnit() as part:
            return _once(ports, "pull", part, lambda: pull.work(ports, part))
        case HandoffUnit() as one:
            return _once(ports, "handoff", one, lambda: handoff.work(ports, one))
        case FeedbackUnit() as system:
            return _once(ports, "feedback", system, lambda: feedback.work(ports, system))
        case ReportUnit(part="watch"):
            return watch.look(ports, on=queue)
        case ReportUnit() as report:
            write = renewals.work if report.part == "renewals" else health.work
            return _once(ports, "report", report, lambda: write(ports, report))
    return None


def _once(ports: Ports, kind: str, unit: Unit, work: Callable[[], Outcome]) -> UnitOfWork:
    """Work a unit through the ledger; the last one of a run lets it close."""
    worked = Ledger(ports.store, ports.now).run_once(unit.key, kind, unit.run_key, work)
    _after(ports, unit.run_key)
    return worked


def read(queue: str, body: str | bytes) -> Unit | StartRun | CloseRun | TakeNotice:
    """Read a message strictly; Unreadable names what does not fit."""
    model = MODELS[queue]
    try:
        return model.model_validate_json(body)  # type: ignore[return-value]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise Unreadable(
            f"the {queue} message is not readable: {where}: {first['msg']}",
            hint="sync/README.md shows the form of each message",
        ) from None


def _read(queue: str, body: str | bytes) -> Message:
    """Read what may wait on a queue."""
    for model in _ALSO_ON_START if queue == "start" else ():
        with suppress(ValidationError):
            return model.model_validate_json(body)
    return read(queue, body)


def checked(message: StartRun) -> StartRun:
    """Return a request for a run that says all it must, and no more; InputError names the fault."""
    kind = message.kind
    a_kind = f"a run of kind {kind}"
    if kind == "approve" and message.day is not None:
        raise InputError(f"{a_kind} is for a month, not for a day", hint="leave the day out")
    if kind in OF_A_MONTH:
        if message.period is None:
            raise InputError(f"kind {kind} needs a period", hint="give it as 2026-10")
    elif message.day is None:
        raise InputError(f"a {kind} needs a day", hint="give it as 2026-11-09")
    elif message.period is not None:
        raise InputError(f"{a_kind} is for a day, not for a month", hint="leave the period out")
    if message.document is not None:
        if kind != "approve" or message.customer_id is not None:
            raise InputError(f"{a_kind} is not for one document", hint="leave the document out")
        if f"/{message.period}/" not in message.document:
            raise InputError(f"{message.document} is not of {message.period}", hint="look again")
    elif message.fingerprint is not None:
        raise InputError("a fingerprint is that of one document", hint="leave the fingerprint out")
    if message.hour is not None and kind != "feedback":
        raise InputError(f"{a_kind} is not for an hour", hint="leave the hour out")
    if message.customer_id is not None and kind not in _OF_ONE:
        raise InputError(
            f"{a_kind} is for all customers", hint="leave the customer out, or run a sync of it"
        )
    return message


_OF_ONE = frozenset({"sync", "access", "bill", "approve"})
"""Kinds that can be asked for one customer."""


def start(ports: Ports, message: StartRun) -> Run | None:
    """Begin a run, or go on with one that has open units or drafts; a finished one stays as it is."""
    return _begin(ports, message)[0]


def _begin(ports: Ports, message: StartRun) -> tuple[Run | None, bool]:
    """Begin a run; says whether it has ended already, so that nobody will close it."""
    if message.kind == "bill" and message.period is None and message.day is not None:
        _bill_what_is_due(ports, message, message.day)
        return None, True
    checked(message)
    if message.kind in _WITH_ACCOUNTING and not ports.accounting:
        return _nobody_to_ask(ports, message), True
    releases.settle(ports)
    if message.kind == "approve":
        approval.approve(ports, message)
        run = ports.store.run(message.run_key)
        ended = {RunStatus.DONE, RunStatus.DONE_WITH_HOLDS}
        return run, run is not None and run.status in ended
    found = ports.store.run(message.run_key)
    drafted = bill.drafted(ports, message.period or "") if message.kind == "bill" else set()
    done = found is not None and found.status is RunStatus.DONE
    if done and not (drafted or _left(ports, message)):
        return found, True
    try:
        queue, units = _plan(ports, message)
    except bill.NotYet:
        if message.day is None:
            raise
        return found, True  # the calendar asks again; the watch tells what waits for long
    if message.kind == "bill" and message.day is not None and not units:
        return found, True
    run = found or _new_run(ports, message)
    if found is None:
        ports.store.save([run])
    needed = set(
        Ledger(ports.store, ports.now).queue(queue, message.run_key, [unit.key for unit in units])
    )
    settled = [one for one in units if isinstance(one, HandoffUnit) and one.key not in needed]
    needed.update(one.key for one in handoff.set_back(ports, settled))
    if message.kind == "bill" and len(needed) < len(units):
        again = drafted | bill.unanswered(ports, found, Period.month(message.period or ""))
        needed.update(u.key for u in units if isinstance(u, BillUnit) and u.customer_id in again)
    waiting = [unit.model_dump_json() for unit in units if unit.key in needed]
    if (waiting and message.by) or run.status is RunStatus.FAILED:
        run = _begun_again(ports, run)  # by a timer an end that is the same is not written
    if waiting:
        ports.queue.send(queue, waiting)
    else:
        ports.queue.send("close", [CloseRun(run_key=message.run_key).model_dump_json()])
    return run, False


def _begun_again(ports: Ports, run: Run) -> Run:
    """Let nobody take the end of before for this one's; what is sent next brings a new end."""
    if run.finished_at is None:
        return run
    again = replace(
        run, status=RunStatus.RUNNING, started_at=ports.now(), finished_at=None, problem=""
    )
    ports.store.save([again])
    return again


def _bill_what_is_due(ports: Ports, message: StartRun, day: date) -> None:
    """Ask for the bill of each month that may have somebody due by a day."""
    asked = [
        message.model_copy(update={"period": month})
        for month in sorted({*due.months_open(ports, day), *bill.months_changed(ports, day)})
        if due.due_customers(ports, Period.month(month), day)
    ]
    ports.queue.send("start", [one.model_dump_json() for one in asked])


def _left(ports: Ports, message: StartRun) -> bool:
    """Say whether a run that is done left something out that can be worked by now."""
    if message.kind == "handoff":
        return True  # what was issued since the day's first hand-off goes by the next
    run = ports.store.run(message.run_key)
    if message.kind != "bill" or run is None:
        return False
    if bill.held_units(ports, message.run_key) or _has_open(ports, message.run_key):
        return True
    month = Period.month(message.period or "")
    if not run.scope and due.not_begun(ports, message.run_key, month, message.day):
        return True
    return bill.outdated(ports, run)


def _has_open(ports: Ports, run_key: str) -> bool:
    """Say whether units are open: somebody works them, or they were entered and never sent."""
    counts = ports.store.unit_counts(run_key, _OPEN)
    return counts is None or bool(sum(counts.values()))


def _plan(ports: Ports, message: StartRun) -> tuple[str, Sequence[Unit]]:
    """Return the queue of a run's units, and the units."""
    match message.kind:
        case "sync":
            return "pull", pull.plan(ports, message)
        case "usage":
            return "pull", costs.plan(ports, message)
        case "access":
            return "pull", pull.plan_access(ports, message)
        case "bill" | "approve":
            return "bill", bill.plan(ports, message)
        case "prices":
            return "pull", prices.plan(ports, message)
        case "renewals":
            return "report", renewals.plan(ports, message)
        case "health":
            return "report", health.plan(ports, message)
        case "handoff":
            return "handoff", handoff.plan(ports, message)
        case "feedback":
            return "feedback", feedback.plan(ports, message)


_WITH_ACCOUNTING = frozenset({"handoff", "feedback"})


def _nobody_to_ask(ports: Ports, message: StartRun) -> Run:
    """Note that a run had nothing to do, and why; one that has ended is not written again."""
    found = ports.store.run(message.run_key)
    if found is not None and found.status is not RunStatus.RUNNING:
        return found
    new = found or _new_run(ports, message)
    ended = replace(new, status=RunStatus.DONE, finished_at=ports.now(), problem=handoff.NOTHING)
    ports.store.save([ended])
    if found is not None:  # accounting was switched off while its units waited
        requests.report(ports, ended)
    return ended


def _new_run(ports: Ports, message: StartRun) -> Run:
    return Run(
        key=message.run_key,
        kind=message.kind,
        scope=message.customer_id or "",
        window=message.window,
        status=RunStatus.RUNNING,
        started_at=ports.now(),
        asked_by=message.by or "",
    )


def _after(ports: Ports, run_key: str) -> None:
    """Ask for the run to be closed when no unit of it is open any more.

    They are counted, not read: of a run of n units that would be n times n rows.
    """
    counts = ports.store.unit_counts(run_key)
    if counts is None:
        counts = ports.store.unit_counts(run_key, _OPEN)
        if counts is None:
            return  # more are open than can be counted
        open_units = sum(counts.values())
    else:
        units = sum(counts.values())
        open_units = sum(counts.get(status, 0) for status in _OPEN)
        requests.note_progress(ports, run_key, units - open_units, units)
    if not open_units:
        ports.queue.send("close", [CloseRun(run_key=run_key).model_dump_json()])


def close(ports: Ports, run_key: str) -> Run:
    """End a run: its counts, its totals, its status. An end that is the same is not written."""
    ended = _close(ports, run_key)
    requests.report(ports, ended)
    return ended


def _close(ports: Ports, run_key: str) -> Run:
    run = ports.store.run(run_key)
    if run is None:
        raise InputError(f"there is no run {run_key}", hint="list them with: runs")
    units = ports.store.units(run_key)
    if run.kind == "bill":
        ended = bill.close(ports, run)
    else:
        held = any(unit.status is UnitStatus.HELD for unit in units)
        ended = replace(
            run,
            status=RunStatus.DONE_WITH_HOLDS if held else RunStatus.DONE,
            counts=_sums(units),
        )
        notices.sum_up_days(ports)
    projection.catch_up(ports)
    ended = replace(ended, problem="")
    lost = [unit for unit in (*units, *_shared(ports, run)) if unit.status in _LOST]
    if lost:
        ended = replace(
            ended,
            status=RunStatus.FAILED,
            problem=f"{len(lost)} units failed, first {lost[0].key}: {lost[0].problem}"[:1000],
        )
    if run.finished_at is not None and replace(ended, finished_at=run.finished_at) == run:
        return run
    ended = replace(ended, finished_at=ports.now())
    ports.store.save([ended])
    return ended


_SHARED = {
    "sync": {"customer", "relationships", "costs", "unbilled"},
    "usage": {"costs", "unbilled"},
    "access": {"relationships"},
}
"""Kinds of a day that may share units, and the parts that each reads."""


def _shared(ports: Ports, run: Run) -> Iterator[UnitOfWork]:
    """Yield the units lost by other runs of the day that this run reads as well.

    A unit stands under the run that worked it last, and the message of this one has gone by.
    """
    mine = _SHARED.get(run.kind, set())
    for kind in _SHARED if mine else ():
        other = f"{kind}/{run.window}"
        counts = ports.store.unit_counts(other, _LOST) if other != run.key else {}
        if counts is not None and not any(counts.values()):
            continue
        for unit in ports.store.units(other):
            _, part, *scope = unit.key.split("/")
            if part in mine and run.scope in {"", *scope}:
                yield unit


def _sums(units: Sequence[UnitOfWork]) -> dict[str, int]:
    sums: dict[str, int] = {"units": len(units)}
    for unit in units:
        for name, count in unit.counts.items():
            sums[name] = sums.get(name, 0) + count
    return dict(sorted(sums.items()))


def give_up(
    ports: Ports, queue: str, body: str | bytes, problem: str = "its message failed too often"
) -> None:
    """Note on its unit, or on its run, that a message is not tried again, and let the run close."""
    match _read(queue, body):
        case TakeRequest(request_id=request_id):
            requests.give_up(ports, request_id, problem)
        case TakeRelease() as wanted:
            releases.note(ports, wanted, problem)
        case LookForRequests():
            return  # the next look finds all that this one would have found
        case ReportUnit(part="watch"):
            return  # the next look is minutes away
        case (PullUnit() | BillUnit() | HandoffUnit() | FeedbackUnit() | ReportUnit()) as unit:
            Ledger(ports.store, ports.now).park(unit.key, problem)
            _after(ports, unit.run_key)
        case StartRun(kind="bill", period=None):
            return  # it asks for months, and the next one asks for the same
        case StartRun() as message:
            found = ports.store.run(message.run_key)
            if found is None or found.status not in _GOOD:  # what ended well stands as it ended
                _fail(ports, found or _new_run(ports, message), problem)
        case CloseRun() as message:
            found = ports.store.run(message.run_key)
            if found is not None:
                _fail(ports, found, problem)
        case TakeNotice() as notice:
            notices.give_up(ports, notice, problem)


def _fail(ports: Ports, run: Run, problem: str) -> None:
    failed = replace(run, status=RunStatus.FAILED, problem=problem[:1000], finished_at=ports.now())
    ports.store.save([failed])
    requests.report(ports, failed)
