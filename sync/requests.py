"""Runs that people and flows ask for by adding a row in Dynamics.

A row is a wish, not a command: it is read anew when it is taken up, checked, claimed under its
version, and led to a run by the same messages as any other. Two rows that ask for the same month
lead to the same run and show the same result. Progress is written a few times a run, not with each
unit, so that flows which listen to the table are not flooded.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from domain.period import Period
from domain.problems import Conflict, InputError, NotFound
from domain.run import RequestStatus, Run, RunRequest, RunStatus
from invoice.document import DocumentKind, Invoice
from sync import approval, bill, drafts
from sync.ledger import Busy
from sync.messages import OF_A_MONTH, StartRun, TakeRequest
from sync.ports import Ports

NOTES_A_RUN = 20
"""At most so often is progress written ..."""
LEAST_UNITS = 10
"""... and never more often than every so many units."""
_LAST_LOOK = "requests/last-look"
"""In the archive: whichever instance looks next goes on from there."""
LISTED = 100
"""Documents and holds that the answer of a dry run names one by one."""

Begin = Callable[[Ports, StartRun], tuple[Run | None, bool]]
"""Begins a run; says what it is, and whether it has ended already."""


def pick_up(ports: Ports) -> list[str]:
    """Look for what was asked for since the last look; returns the ids that are taken up.

    Where it was looked last is only a short cut: without it, and once a day, every open request is
    found again, and a request that is taken up twice leads to one run.
    """
    today = str(ports.now().date())
    day, _, link = (ports.archive.read(_LAST_LOOK) or b"").decode().partition(" ")
    found, following = ports.requests.since(link if day == today else "")
    ports.queue.send("start", [TakeRequest(request_id=one).model_dump_json() for one in found])
    # Last: what could not be sent is found again.
    ports.archive.put(_LAST_LOOK, f"{today} {following}".encode())
    return list(found)


def take(ports: Ports, request_id: str, begin: Begin) -> None:
    """Take one request up: answer it at once, or lead it to a run that answers it later.

    Busy when somebody changed the row this moment, perhaps ourselves with an answer that was lost:
    the message comes again and goes on from what stands there then.
    """
    found = ports.requests.get(request_id)
    if found is None:
        return
    request, version = found
    if request.status not in {RequestStatus.REQUESTED, RequestStatus.RUNNING}:
        return
    try:
        message = _message(ports, request)
        if request.status is RequestStatus.REQUESTED:
            claimed = replace(
                request,
                status=RequestStatus.RUNNING,
                run_key="" if request.dry_run else message.run_key,
                started_at=ports.now(),
                finished_at=None,
                units_done=0,
                units=0,
                counts={},
                totals=(),
                problem="",
                answer="",
                answer_data={},
            )
            request, version = claimed, _claim(ports, claimed, version)
        if request.dry_run:
            answer, data, held = _preview(ports, message)
            status = RequestStatus.DONE_WITH_HOLDS if held else RequestStatus.DONE
            request = replace(request, answer=answer, answer_data=data, counts=_counts(data))
            _end(ports, request, version, status)
            return
        run, ended = begin(ports, message)
    except InputError as fault:
        words = f"{fault}. {fault.hint}".rstrip(" .") + "."
        _end(ports, request, version, RequestStatus.FAILED, words)
        return
    if run is not None and ended:
        report(ports, run)


def give_up(ports: Ports, request_id: str, problem: str) -> None:
    """Answer a request whose message failed too often."""
    found = ports.requests.get(request_id)
    if found is not None and found[0].finished_at is None:
        _end(ports, *found, RequestStatus.FAILED, problem)


def note_progress(ports: Ports, run_key: str, done: int, units: int) -> None:
    """Write how far a run is on the requests for it, now and then."""
    step = max(LEAST_UNITS, math.ceil(units / NOTES_A_RUN))
    if done % step or done == units:
        return
    for request, version in ports.requests.of_run(run_key):
        if request.units_done < done:
            with suppress(Conflict, NotFound):  # somebody else was faster; the next note is right
                ports.requests.put(replace(request, units_done=done, units=units), version)


def report(ports: Ports, run: Run) -> None:
    """Write the result of a run that has ended on the requests that wait for it."""
    if run.status is RunStatus.RUNNING:
        return
    units = len(ports.store.units(run.key))
    for request, version in ports.requests.of_run(run.key):
        told = replace(request, units_done=units, units=units, counts=run.counts, totals=run.totals)
        _end(ports, told, version, RequestStatus(run.status.value), run.problem)


def _claim(ports: Ports, request: RunRequest, version: str) -> str:
    try:
        return ports.requests.put(request, version)
    except (Conflict, NotFound) as fault:
        raise Busy(f"{request.key} was changed by somebody this moment", ports.now()) from fault


def _end(
    ports: Ports, request: RunRequest, version: str, status: RequestStatus, problem: str = ""
) -> None:
    ended = replace(request, status=status, finished_at=ports.now(), problem=problem[:1000])
    try:
        ports.requests.put(ended, version)
    except NotFound:
        return  # nobody waits for the answer any more
    except Conflict:
        # A person's change, another worker's note, or our own write whose answer was lost.
        now = ports.requests.get(request.id)
        if now is not None and now[0].finished_at is None:
            ports.requests.put(ended, now[1])


def _message(ports: Ports, request: RunRequest) -> StartRun:
    """Return what a request asks for; InputError says what it must say instead."""
    if not request.kind:
        raise InputError("The request does not say what to do", hint="Choose one of the kinds")
    if request.for_one and not request.customer_id:
        raise InputError(
            "The customer of the request has no tenant id",
            hint="Choose a customer that came from Partner Center, or none for all",
        )
    of_a_day = request.kind not in OF_A_MONTH
    if of_a_day:
        name = "A sync" if request.kind == "sync" else f"A run of kind {request.kind}"
        if request.period:
            raise InputError(f"{name} is for a day, not for a month", hint="Leave the month empty")
        if request.dry_run:
            raise InputError(f"{name} has no dry run", hint="Set Dry run to No")
    elif request.day is not None:
        raise InputError(
            f"A run of kind {request.kind} is for a month, not for a day",
            hint="Leave the day empty and give the month as 2026-10",
        )
    else:
        _check_month(request)
    now = ports.now()
    try:
        return StartRun(
            kind=request.kind,  # type: ignore[arg-type] # it is checked here
            period=request.period or None,
            day=(request.day or now.date()) if of_a_day else None,
            hour=now.hour if request.kind == "feedback" else None,
            customer_id=request.customer_id or None,
        )
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        raise InputError(f"The request cannot be read: {first['msg']}") from None


def _check_month(request: RunRequest) -> None:
    hint = "Write the month as 2026-10"
    if not request.period:
        raise InputError(f"A run of kind {request.kind} needs a month", hint=hint)
    try:
        month = Period.month(request.period)
    except ValueError:
        month = None
    if month is None or not 2000 <= month.start.year < 2100:
        raise InputError(f"{request.period!r} is not a month", hint=hint)


# The answer of a dry run --------------------------------------------------------------------------


def _preview(ports: Ports, message: StartRun) -> tuple[str, Mapping[str, Any], bool]:
    """Compute what a run would come to, writing nothing; whether anybody would be held."""
    documents: list[Invoice] = []
    held: list[dict[str, str]] = []
    if message.kind == "approve":
        documents = approval.approvable(ports, message)
    else:
        for unit in bill.plan(ports, message):
            file, result = drafts.propose(ports, unit.customer_id, unit.month)
            if result.document is not None:
                documents.append(result.document)
            elif result.held:
                why = " ".join(finding.sentence for finding in result.told if finding.holds)
                held.append({"customer": file.customer.name, "why": why})
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for document in documents:
        totals[document.currency] += document.total.amount
    data = {
        "documents": len(documents),
        "lines": sum(len(document.lines) for document in documents),
        "held": len(held),
        "totals": {currency: str(amount) for currency, amount in sorted(totals.items())},
        "list": [
            {
                "customer": document.customer_name,
                "kind": document.kind.value,
                "lines": len(document.lines),
                "total": str(document.total.amount),
                "currency": document.currency,
            }
            for document in documents[:LISTED]
        ],
        "holds": held[:LISTED],
    }
    done = "issued" if message.kind == "approve" else "drafted"
    return "\n".join(_words(documents, held, totals, done)), data, bool(held)


def _words(
    documents: list[Invoice],
    held: list[dict[str, str]],
    totals: Mapping[str, Decimal],
    done: str,
) -> Iterable[str]:
    sums = ", ".join(f"{amount} {currency}" for currency, amount in sorted(totals.items()))
    yield f"Documents that would be {done}: {len(documents)}{f', {sums}' if sums else ''}."
    for document in documents[:LISTED]:
        kind = "credit note" if document.kind is DocumentKind.CREDIT_NOTE else "invoice"
        yield (
            f"{document.customer_name}: {kind}, {len(document.lines)} lines, "
            f"{document.total.amount} {document.currency}"
        )
    if len(documents) > LISTED:
        yield f"... and {len(documents) - LISTED} more"
    if held:
        yield f"On hold: {len(held)}."
    for one in held[:LISTED]:
        yield f"{one['customer']}: {one['why']}"
    if len(held) > LISTED:
        yield f"... and {len(held) - LISTED} more"


def _counts(data: Mapping[str, Any]) -> dict[str, int]:
    return {name: data[name] for name in ("documents", "lines", "held")}
