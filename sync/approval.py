"""Approve the drafts of a month: number them, freeze them, issue them; a charge is issued once.

From here on a document never changes: what was wrong in it is answered by a later one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from domain.contract import BillingContract
from domain.period import Period
from domain.problems import Finding, InputError, NotFound, ServiceError, Severity
from domain.run import Run, RunStatus, UnitOfWork
from invoice.document import DocumentKind, DocumentStatus, Invoice
from invoice.explain import fingerprint
from invoice.pdf import to_pdf
from sync import projection
from sync.documents import readable
from sync.findings import (
    concerning,
    current,
    held_customers,
    of_their_contracts,
    replace_everywhere,
)
from sync.ledger import Ledger, Outcome
from sync.messages import StartRun
from sync.ports import Ports

STANDS = {
    DocumentStatus.APPROVED,
    DocumentStatus.ISSUED,
    DocumentStatus.HANDED_OFF,
    DocumentStatus.PAID,
}
"""Documents that the customer has been told of, or is about to be."""
FILE = "document.file"
"""The check that every numbered document has its file."""
_ENDED = {RunStatus.DONE, RunStatus.DONE_WITH_HOLDS}
_FILE_REFUSED = frozenset({400, 403, 404, 413})
"""What stands against one file; anything else is an outage."""


def approve(ports: Ports, message: StartRun) -> list[Invoice]:
    """Number, freeze and issue the drafts of a month; returns the documents that were issued.

    One approval at a time, of whatever month: a charge may stand on drafts of two, and numbers are
    consecutive per kind. A draft of a customer that is on hold by now stays a draft. Raises
    InputError, with nothing issued, where a draft must not be. A second approval finds no draft and
    writes nothing. What is issued is then projected where that is switched on, and gets its PDF as a
    file. An outage there is raised with the documents issued already: the next approval of the month
    catches up.
    """
    issued = _issue(ports, message)
    projection.catch_up(ports)
    _attach_files(ports, message.period or "")
    return issued


def _issue(ports: Ports, message: StartRun) -> list[Invoice]:
    """Number, freeze and issue."""
    if message.period is None:
        raise InputError("an approval needs a period", hint="give it as --period 2026-10")
    period = message.period
    found = ports.store.run(message.run_key)
    if found and found.status in _ENDED and not approvable(ports, message):
        missed = _missed(ports, message)
        if (found.status, found.problem) == (_status(missed), missed):
            return []
    issued: list[Invoice] = []
    ledger = Ledger(ports.store, ports.now)

    def settle(claim: UnitOfWork) -> Outcome:
        today = ports.today()
        terms = {contract.key: contract for contract in ports.store.contracts()}
        drafts = approvable(ports, message)
        _refuse_unfit(ports, drafts, terms)
        if found is not None and found.finished_at is not None:
            # Nobody is to take the end of the approval before for the end of this one.
            again = replace(
                found, status=RunStatus.RUNNING, started_at=started, finished_at=None, problem=""
            )
            ports.store.save([again])
        taken = list(ports.store.numbers(period))
        for document in drafts:
            taken.append(_number(document, taken))
            final = replace(
                document,
                number=taken[-1],
                status=DocumentStatus.ISSUED,
                issued_on=today,
                due_on=today + timedelta(days=terms[document.contract_key].payment_days),
                fingerprint=fingerprint(document),
            )
            ledger.check(claim)  # another approval may not see what is only about to be issued
            ports.store.settle_document(final)
            issued.append(final)
        return Outcome(counts={"issued": len(taken)})

    started = ports.now()
    with ledger.alone("approve") as claim:
        ledger.run_once(
            f"approve/{period}",
            "approve",
            message.run_key,
            lambda: settle(claim),
            repeatable=True,
        )
    missed = _missed(ports, message)
    documents, _ = readable(ports.store, period=period, customer_id=message.customer_id or "")
    run = Run(
        key=message.run_key,
        kind="approve",
        scope=message.customer_id or "",
        window=period,
        status=_status(missed),
        started_at=started,
        finished_at=ports.now(),
        counts={"issued": sum(1 for d in documents if d.number and _is_asked(message, d))},
        problem=missed,
        asked_by=message.by or "",
    )
    ports.store.save([run])
    return issued


def _attach_files(ports: Ports, period: str) -> None:
    """Attach to each numbered document its PDF, also to those that an approval before us left.

    A file that is refused is a finding, which stands until the document has its file.
    """
    missing = set(ports.store.unattached(period))
    documents = readable(ports.store, period=period)[0] if missing else ()
    mine = f"document of {period}: "
    refused: list[Finding] = []
    for document in documents:
        if document.key not in missing:
            continue
        name = f"{document.number}.pdf"
        try:
            ports.store.attach(document.key, name, to_pdf(document))
        except ServiceError as fault:
            if not isinstance(fault, NotFound) and fault.status not in _FILE_REFUSED:
                raise
            refused.append(
                Finding(
                    check=FILE,
                    severity=ports.policy.get(FILE, Severity.WARN),
                    customer_id=document.customer_id,
                    record=f"{mine}{document.number}",
                    sentence=f"{name} was refused: {fault.args[0]} ({fault.code or 'no code'}).",
                    hint="Let the environment take this file (blocked extensions, largest size, "
                    "rights of the worker), or attach one by hand; then approve the month again.",
                )
            )
    replace_everywhere(ports.store, (FILE,), refused, record=mine)


def approvable(ports: Ports, message: StartRun) -> list[Invoice]:
    """Return the drafts of a month that an approval would issue: those of nobody on hold."""
    drafts, _ = readable(
        ports.store,
        period=message.period or "",
        status=DocumentStatus.DRAFT,
        customer_id=message.customer_id or "",
    )
    found = current(ports)
    if message.period:
        asked = {key for d in drafts for line in d.lines for key in line.charge.cost_lines}
        found = concerning(ports.store, found, Period.month(message.period), asked=asked)
    held = held_customers(of_their_contracts(found, drafts))
    # Whether a charge stands on another document is not known where one cannot be read.
    return sorted(
        (
            d
            for d in drafts
            if _is_asked(message, d)
            and d.customer_id not in held
            and not readable(ports.store, customer_id=d.customer_id)[1]
        ),
        key=lambda d: (d.customer_name, d.key),
    )


def _is_asked(message: StartRun, document: Invoice) -> bool:
    return message.document in {None, document.key} and not _has_changed(message, document)


def _has_changed(message: StartRun, document: Invoice) -> bool:
    """Say whether a draft is another one than who approved it has seen."""
    return message.fingerprint not in {None, fingerprint(document)}


def _missed(ports: Ports, message: StartRun) -> str:
    """Say why the one draft that was asked for is not issued; empty: it is, or none was named."""
    if message.document is None:
        return ""
    found = ports.store.document(message.document)
    if found is None:
        return f"There is no document {message.document}."
    if found.number:
        return ""
    if _has_changed(message, found):
        return (
            f"The draft of {found.customer_name} is not issued: it has changed since it was seen. "
            "Read it anew, and approve it as it is."
        )
    return f"The draft of {found.customer_name} is not issued: findings hold it (docs/holds.md)."


def _status(missed: str) -> RunStatus:
    return RunStatus.DONE_WITH_HOLDS if missed else RunStatus.DONE


def _refuse_unfit(
    ports: Ports, drafts: Iterable[Invoice], terms: Mapping[str, BillingContract]
) -> None:
    """A charge stands on one document; a draft that repeats one was overtaken and is stale."""
    before: dict[str, list[Invoice]] = defaultdict(list)
    for document in drafts:
        if document.contract_key not in terms:
            raise InputError(
                f"the contract {document.contract_key} of the draft {document.key} is gone",
                hint="restore the contract, or delete the draft in Dataverse",
            )
        keys = {line.key for line in document.lines}
        own = ports.store.documents(customer_id=document.customer_id)
        standing = [one for one in own if one.status in STANDS]
        for other in (*standing, *before[document.customer_id]):
            double = keys & {line.key for line in other.lines}
            if double:
                raise InputError(
                    f"the draft {document.key} repeats {len(double)} charges of "
                    f"{other.number or other.key}",
                    hint="bill the month again: the draft is older than that document",
                )
        before[document.customer_id].append(document)


def _number(document: Invoice, taken: Iterable[str]) -> str:
    """Return the next number of its kind and month; gaps that were left stay."""
    prefix = "CN" if document.kind is DocumentKind.CREDIT_NOTE else "INV"
    head = f"{prefix}-{document.period.start:%Y%m}-"
    own = [one.removeprefix(head) for one in taken if one.startswith(head)]
    last = max((int(one) for one in own if one.isdecimal()), default=0)
    return f"{head}{last + 1:04d}"
