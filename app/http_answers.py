"""What the HTTP functions answer: each reads what is asked, and enqueues it or reads what is stored.

No work is done here: what changes anything is a message on the queue `start`, and a request for a
run, an approval or a release is answered with where to look.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from app.callers import Forbidden
from app.http_door import Asked, Reply
from app.http_models import (
    DOCUMENT_NAME,
    FINDING_ID,
    LINE,
    RUN_ID,
    ApprovalAsked,
    DataverseEvent,
    EventAccepted,
    FindingPage,
    FindingQuery,
    FindingShown,
    HealthQuery,
    InvoiceShown,
    LineExplained,
    Nothing,
    ReleaseAccepted,
    ReleaseAsked,
    ReleaseShown,
    RunAccepted,
    RunAsked,
    RunPage,
    RunQuery,
    RunShown,
)
from app.http_once import once
from app.http_reading import (
    Refused,
    as_key,
    as_name,
    read_body,
    read_path,
    read_place,
    read_query,
    read_run_token,
    run_token,
)
from domain.problems import Finding, InputError, Severity
from domain.run import Run
from invoice.document import DocumentStatus, Invoice
from sync.messages import OF_A_MONTH, StartRun, TakeRelease

if TYPE_CHECKING:
    from app.wiring import Worker

APPROVER = "Invoices.Approve"
ASK_AGAIN = "10"
"""Seconds after which it is worth to look again."""
MAX_EVENT = 512 * 1024
"""Dataverse leaves out what makes an event larger than 256 KB; the rest is the envelope."""
REQUEST_TABLE = "csp_billingrun"
EVENT_HINT = f"register the webhook on {REQUEST_TABLE}, message Create, asynchronous"
REPORTS = "reports"
"""The folder of the archive that holds reports of health, one folder a day."""


# Runs ----------------------------------------------------------------------------------------------


def start(asked: Asked) -> Reply:
    """Ask for a run. The same kind and window is the same run, so asking twice starts one."""
    wanted = read_body(asked.req, RunAsked)
    if wanted.kind == "approve" and APPROVER not in asked.caller.roles:
        raise Forbidden(APPROVER)
    by = asked.by(wanted.by, needed=wanted.kind == "approve")
    return _ask(asked, "runs", wanted, lambda moment, _: _run_of(wanted, moment, by))


def approve(asked: Asked) -> Reply:
    """Ask for the drafts of a month, of a customer or one draft to be numbered and issued."""
    from invoice.explain import fingerprint
    from sync.releases import CHANGED, LOOK_AGAIN

    wanted = read_body(asked.req, ApprovalAsked)
    by = asked.by(wanted.by, needed=True)

    def message(_: datetime, sent: bool) -> StartRun:
        if wanted.invoice is None:
            return StartRun(
                kind="approve", period=wanted.period, customer_id=wanted.customer_id, by=by
            )
        document = _document(asked.worker, wanted.invoice)
        if document.status is not DocumentStatus.DRAFT and not sent:
            raise Refused(
                409,
                f"{document.number or wanted.invoice} is {document.status} and no draft",
                hint="what was issued is never issued again",
            )
        if wanted.fingerprint != fingerprint(document) and not sent:
            raise Refused(409, f"{wanted.invoice} {CHANGED}", hint=LOOK_AGAIN)
        return StartRun(
            kind="approve",
            period=f"{document.period.start:%Y-%m}",
            document=document.key,
            fingerprint=wanted.fingerprint,
            by=by,
        )

    return _ask(asked, "approvals", wanted, message)


def _ask(
    asked: Asked, address: str, wanted: BaseModel, message: Callable[[datetime, bool], StartRun]
) -> Reply:
    from sync.runs import checked

    asked_at, run = once(
        asked,
        address,
        wanted,
        make=lambda moment, sent: (moment, checked(message(moment, sent))),
        send=lambda made: asked.worker.request(made[1]),
    )
    run_id = as_name(run.run_key)
    return Reply(
        content=RunAccepted(run_id=run_id, asked_at=asked_at.replace(microsecond=0)),
        status=202,
        headers={"Location": f"/api/runs/{run_id}", "Retry-After": ASK_AGAIN},
    )


def _run_of(wanted: RunAsked, moment: datetime, by: str) -> StartRun:
    """Return the message that asks for a run; without a day it is for the one of the moment."""
    of_a_month = wanted.kind in OF_A_MONTH
    by_the_hour = wanted.kind == "feedback" and wanted.day is None
    return StartRun(
        kind=wanted.kind,
        period=wanted.period,
        day=wanted.day or (None if of_a_month else moment.date()),
        hour=moment.hour if by_the_hour else None,
        customer_id=wanted.customer_id,
        by=by or None,
    )


def read_run(asked: Asked) -> Reply:
    """Read a run: its status, counts and control totals."""
    read_query(asked.req, Nothing)
    run = asked.worker.run(as_key(read_path(asked.req, "run_id", RUN_ID)))
    if run is None:
        raise Refused(404, "there is no such run", hint="it may still be waiting")
    return Reply(content=_run(run))


def list_runs(asked: Asked) -> Reply:
    """List runs page by page, newest first."""
    query = read_query(asked.req, RunQuery)
    after = read_run_token(query.after) if query.after else None
    found = asked.worker.store.runs(query.top + 1, kind=query.kind or "", after=after)
    page = found[: query.top]
    more = run_token(page[-1]) if len(found) > len(page) else None
    return Reply(content=RunPage(runs=tuple(_run(one) for one in page), next=more))


def _run(run: Run) -> RunShown:
    from app.output import run_as_data

    return RunShown.model_validate({**run_as_data(run), "asked_by": run.asked_by})


# Findings ------------------------------------------------------------------------------------------


def list_findings(asked: Asked) -> Reply:
    """List the findings whose cause is there, page by page, by check."""
    from sync.findings import current

    query = read_query(asked.req, FindingQuery)
    after = read_place(query.after) if query.after else ""
    known = current(asked.worker.ports, customer_id=query.customer_id or "")
    found = sorted(
        (one for one in known if query.state in {None, _standing(one)} and _place(one) > after),
        key=_place,
    )
    page = found[: query.top]
    more = _place(page[-1]) if len(found) > len(page) else None
    names = asked.worker.store.customer_names({one.customer_id for one in page})
    shown = tuple(_finding(one, names) for one in page)
    return Reply(content=FindingPage(findings=shown, next=more))


def read_finding(asked: Asked) -> Reply:
    """Read one finding; one whose cause is gone is not found."""
    read_query(asked.req, Nothing)
    found = _one_finding(asked)
    names = asked.worker.store.customer_names({found.customer_id})
    return Reply(content=_finding(found, names))


def release(asked: Asked) -> Reply:
    """Ask for a finding to be released, or for that to be taken back; the finding tells what came."""
    wanted = read_body(asked.req, ReleaseAsked)
    by = asked.by(wanted.by, needed=True)
    name = read_path(asked.req, "finding_id", FINDING_ID)

    def message(moment: datetime, sent: bool) -> TakeRelease:
        full = name
        if not sent:
            found = _one_finding(asked)
            _refuse_release(found, wanted)
            full = found.id
        return TakeRelease(
            finding=full,
            asked_at=moment,
            reason=wanted.reason or "",
            until=wanted.until,
            withdraw=wanted.withdraw,
            version=wanted.version or "",
            by=by,
        )

    def send(made: TakeRelease) -> None:
        with asked.worker.telemetry.asking("release"):
            asked.worker.ports.queue.send("start", [made.model_dump_json()])

    once(asked, f"findings/{name}/release", wanted, make=message, send=send)
    return Reply(
        content=ReleaseAccepted(finding=name),
        status=202,
        headers={"Location": f"/api/findings/{name}", "Retry-After": ASK_AGAIN},
    )


def _refuse_release(found: Finding, wanted: ReleaseAsked) -> None:
    """Refuse what plainly cannot be done as things stand."""
    from rules.checks import why_final
    from sync.releases import CHANGED, LOOK_AGAIN

    if wanted.withdraw:
        if not found.released_by:
            raise Refused(409, f"{found.id} is not released", hint="there is nothing to take back")
        return
    final = why_final(found)
    if final:
        raise Refused(409, f"{found.id} cannot be released: {final}", hint=found.hint)
    if wanted.version != found.version:
        raise Refused(409, f"{found.id} {CHANGED}", hint=LOOK_AGAIN)


def _one_finding(asked: Asked) -> Finding:
    from sync.releases import Ambiguous, find

    try:
        return find(asked.worker.ports, read_path(asked.req, "finding_id", FINDING_ID))
    except Ambiguous as fault:
        raise Refused(409, str(fault), hint=fault.hint) from None
    except InputError as fault:
        raise Refused(404, str(fault), hint="its cause may be gone; list them anew") from None


def _finding(one: Finding, names: dict[str, str]) -> FindingShown:
    from rules.checks import why_final

    release = None
    if one.released_by:
        release = ReleaseShown(
            by=one.released_by,
            on=one.released_on,
            until=one.released_until,
            reason=one.released_reason,
        )
    return FindingShown(
        finding=one.id,
        version=one.version,
        check=one.check,
        severity=one.severity.value,
        state=one.state.value,
        holds=one.holds,
        can_release=one.holds and not why_final(one),
        customer_id=one.customer_id,
        customer=names.get(one.customer_id, ""),
        record=one.record,
        sentence=one.sentence,
        hint=one.hint,
        link=one.link,
        since=one.since,
        changed=one.seen,
        release=release,
        note=one.release_note,
    )


def _standing(one: Finding) -> str:
    if one.severity is Severity.WARN:
        return "warning"
    return "holding" if one.holds else "released"


def _place(one: Finding) -> str:
    """Where a finding stands in the list; a page ends at one."""
    return f"{one.check}-{sha256(one.key.encode()).hexdigest()}"


# Documents -----------------------------------------------------------------------------------------


def read_invoice(asked: Asked) -> Reply:
    """Read a document with all its lines as data; its PDF is for people."""
    from invoice.explain import explain_document, fingerprint

    read_query(asked.req, Nothing)
    document = _named(asked)
    more = {
        "issued_on": document.issued_on,
        "due_on": document.due_on,
        "fingerprint": fingerprint(document),
    }
    shown = InvoiceShown.model_validate({**explain_document(document), **more})
    return Reply(content=shown)


def read_pdf(asked: Asked) -> Reply:
    """Give a document as the customer got it; a draft as they would get it."""
    from sync.documents import pdf_of

    read_query(asked.req, Nothing)
    document = _named(asked)
    name = document.number or as_name(document.key)
    return Reply(
        content=pdf_of(asked.worker.store, document),
        media="application/pdf",
        headers={"Content-Disposition": f'attachment; filename="{_file_name(name)}.pdf"'},
    )


def _file_name(name: str) -> str:
    """Return a name that ends no header and no folder."""
    return re.sub(r"[^0-9A-Za-z._-]", "-", name)[:100]


def explain(asked: Asked) -> Reply:
    """Say why one line asks for what it asks, down to Microsoft's lines."""
    from app.trace import trace

    read_query(asked.req, Nothing)
    document = _named(asked)
    line = int(read_path(asked.req, "line", LINE))
    if line not in {one.position for one in document.lines}:
        raise Refused(404, f"there is no line {line}", hint=f"it has {len(document.lines)} lines")
    (found,) = trace(asked.worker, document, line)
    return Reply(content=LineExplained.model_validate(found.as_data()))


def _named(asked: Asked) -> Invoice:
    return _document(asked.worker, read_path(asked.req, "number", DOCUMENT_NAME))


def _document(worker: Worker, name: str) -> Invoice:
    """Return a document by number, or by key with points for slashes; a number has none."""
    try:
        found = worker.store.document(as_key(name))
    except InputError as fault:  # what is stored is at fault, and not who asks
        raise Refused(409, f"the document cannot be read: {fault}", hint=fault.hint) from None
    if found is None:
        raise Refused(404, "there is no such document", hint="give a number or a draft's key")
    return found


# Health --------------------------------------------------------------------------------------------


def health(asked: Asked) -> Reply:
    """Give the latest report of health, as data or as the page that people read."""
    form = read_query(asked.req, HealthQuery).format
    name = "summary.json" if form == "json" else "health.html"
    archive = asked.worker.ports.archive
    found = [one for one in archive.names(REPORTS) if one.rpartition("/")[2] == name]
    content = archive.read(max(found)) if found else None
    if content is None:
        raise Refused(404, "there is no report yet", hint="start a run of kind health")
    if form == "json":
        return Reply(content=content)
    # The page loads nothing and runs nothing; whatever stands in a name, it stays so here.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
    return Reply(
        content=content,
        media="text/html",
        headers={"Content-Security-Policy": policy},
    )


def ready(asked: Asked) -> Reply:
    """Say whether everything that the worker needs answers, each within a short time."""
    read_query(asked.req, Nothing)
    told = asked.worker.readiness.look()
    return Reply(content=told, status=200 if told.ready else 503)


# Events --------------------------------------------------------------------------------------------


def hear(asked: Asked) -> Reply:
    """Take an event of Dataverse: the row that it names is looked at, and nothing of it believed."""
    body = asked.req.get_body()
    if len(body) > MAX_EVENT:
        raise Refused(413, f"the event is larger than {MAX_EVENT} bytes")
    try:
        event = DataverseEvent.model_validate_json(body)
    except ValidationError:
        raise Refused(400, "this is no event of Dataverse", hint=EVENT_HINT) from None
    if event.table != REQUEST_TABLE:
        raise Refused(400, "this table asks for nothing", hint=EVENT_HINT)
    if event.message in {"Create", "Update"}:
        asked.worker.take_up(str(event.row_id))
    return Reply(content=EventAccepted(), status=202)


def notify(asked: Asked) -> Reply:
    """Take an event of Partner Center, if its signature is verified."""
    from app.webhook import answer

    status, body = answer(asked.worker, asked.req.headers, asked.req.get_body())
    return Reply(content=json.dumps(body).encode(), status=status)
