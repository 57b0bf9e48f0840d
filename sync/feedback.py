"""Bring back what accounting says of documents: paid, taken back, cancelled, changed, gone.

Each look asks for what changed there since the one before, some minutes doubled; the first look of a
day asks for every document that is handed off and not paid, too. So an outage is caught up, a lost
place of the last look as well, and a document that somebody deleted there is noticed within a day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.problems import Finding, InputError, Severity
from invoice.document import DocumentStatus, Invoice
from invoice.reported import CopyState, Reported
from sync.findings import replace_everywhere
from sync.handoff import record_of, target_of, was_handed_off
from sync.ledger import Outcome
from sync.messages import FeedbackUnit, StartRun
from sync.ports import Accounting, Ports

CANCELLED = "feedback.cancelled"
CHANGED = "feedback.changed"
PARTLY_PAID = "feedback.partly_paid"
MISSING = "feedback.missing"
CHECKS = (CANCELLED, CHANGED, PARTLY_PAID, MISSING)

_OVERLAP = timedelta(minutes=10)
"""Asked for once more: two clocks differ, and a change is seen only after it is written."""
_FORGOTTEN = timedelta(days=31)
"""So far back is asked where it is not known when it was looked last."""
_THERE = {DocumentStatus.ISSUED, DocumentStatus.HANDED_OFF, DocumentStatus.PAID}


def plan(ports: Ports, message: StartRun) -> Sequence[FeedbackUnit]:
    """Return a unit for each connected system."""
    return [FeedbackUnit(run_key=message.run_key, target=one) for one in sorted(ports.accounting)]


def work(ports: Ports, unit: FeedbackUnit) -> Outcome:
    """Look at one system once; held where it was switched off since the run began."""
    if unit.target not in ports.accounting:
        return Outcome(held=True)
    return Outcome(counts=look(ports, unit.target))


def look(ports: Ports, target: str) -> Counter[str]:
    """Bring back what a connected system says; returns how many were looked at, paid, reopened, told.

    Looking twice changes nothing. An outage is raised, and the next look catches up.
    """
    now, place = ports.now(), f"feedback/{target}"
    last = _moment(ports.archive.read(place))
    standing = [one for one in ports.store.findings() if one.check in CHECKS]
    asked = {one.key: one for one in _told_of(ports, standing)}
    whole = last is None or last.date() != now.date()
    handed = set(ports.store.document_keys(DocumentStatus.HANDED_OFF)) if whole else set()
    keys = handed | asked.keys()
    reported = _reported(ports.accounting[target], keys, last or now - _FORGOTTEN)
    # Of all that are handed off, most are open there and come to the same: as we have them.
    quiet = {
        key
        for key in (handed - asked.keys()) & reported.keys()
        if reported[key].state is CopyState.OPEN and reported[key].same
    }
    looked = sorted({*keys, *reported} - quiet)
    found = [asked.get(key) or _read(ports, key) for key in looked]
    documents = _of_target(ports, target, found, reported.keys())
    counts = Counter(looked_at=len({*keys, *reported}))
    told: list[Finding] = []
    for document in documents:
        if document.status not in _THERE:
            continue
        one = reported.get(document.key)
        if one is not None:
            told += _take(ports, target, document, one, counts)
        elif document.status is not DocumentStatus.ISSUED:
            told.append(_missing(target, document))
    _tell(ports, told, standing=standing, kept=() if whole else standing, looked_at=documents)
    counts["told"] = len(told)
    # Last: what could not be written is looked at again.
    ports.archive.put(place, now.astimezone(UTC).isoformat().encode())
    return counts


def _reported(
    accounting: Accounting, keys: AbstractSet[str], since: datetime
) -> dict[str, Reported]:
    """Ask about documents, and about all that changed since a look."""
    asked = accounting.state_of(sorted(keys))
    changed = accounting.changed_since(since - _OVERLAP)
    return {one.document_key: one for one in (*asked, *changed)}


def _tell(
    ports: Ports,
    told: Sequence[Finding],
    *,
    standing: Sequence[Finding],
    kept: Sequence[Finding],
    looked_at: Sequence[Invoice],
) -> None:
    """Replace what stands by what is told now; of the kept, what is about documents not looked at."""
    if not standing and not told:
        return
    judged = [replace(one, severity=ports.policy.get(one.check, one.severity)) for one in told]
    named = {record_of(one) for one in looked_at}
    others = [one for one in kept if one.record not in named]
    replace_everywhere(ports.store, CHECKS, [*others, *judged])


def _moment(kept: bytes | None) -> datetime | None:
    """Read when it was looked last; what is no moment is none."""
    try:
        return datetime.fromisoformat((kept or b"").decode()).astimezone(UTC)
    except ValueError:
        return None


def _told_of(ports: Ports, standing: Sequence[Finding]) -> list[Invoice]:
    """Return the documents that something is told of already."""
    names = {one.record.removeprefix("document ") for one in standing}
    found = [_read(ports, name) for name in sorted(names)]
    return [one for one in found if one is not None]


def _read(ports: Ports, name: str) -> Invoice | None:
    """Read a document; one that cannot be read is told by who bills, and stops no other."""
    try:
        return ports.store.document(name)
    except InputError:
        return None


def _of_target(
    ports: Ports, target: str, found: Sequence[Invoice | None], there: AbstractSet[str]
) -> list[Invoice]:
    """Leave out what another system is asked about: here it may be a copy for somebody to look at.

    What was handed off before its contract named another system is believed where it is: `there`.
    """
    documents = [one for one in found if one is not None]
    if not documents:
        return []
    contracts = {one.key: one for one in ports.store.contracts()}
    named = {
        one.key: target_of(contracts.get(one.contract_key), ports.accounting) for one in documents
    }
    return [
        one
        for one in documents
        if named[one.key] == target
        or (
            named[one.key] not in ports.accounting
            and one.key in there
            and one.status is not DocumentStatus.ISSUED
            and was_handed_off(ports, one)
        )
    ]


def _take(
    ports: Ports, target: str, document: Invoice, one: Reported, counts: Counter[str]
) -> Iterator[Finding]:
    """Move a document as the system says, or yield what a person must look at."""
    name = document.number or document.key
    if one.state is CopyState.CANCELLED:
        yield _finding(
            CANCELLED,
            document,
            f"{name} was cancelled in {target} on {one.on}, and the customer still has it.",
            "If nothing is owed, set its status here to Credited once the customer has a credit "
            "note; else reactivate it there.",
        )
    elif not one.same and document.status is DocumentStatus.ISSUED and one.state is CopyState.OPEN:
        return  # its hand-off compares line by line, and tells
    elif not one.same:
        yield _finding(
            CHANGED,
            document,
            f"{name} differs in {target}: it comes to {one.total:,f} {document.currency} there, "
            f"and to {document.total.amount:,f} here.",
            "Set it right there; what the customer should pay is changed here, by another bill.",
        )
    elif one.state is CopyState.PARTLY_PAID:
        yield _finding(
            PARTLY_PAID,
            document,
            f"{name} was closed in {target} on {one.on} as partly paid.",
            "Ask for the rest or credit it, then close it there as paid in full.",
        )
    elif one.state is CopyState.PAID and document.status is not DocumentStatus.PAID:
        paid = replace(document, status=DocumentStatus.PAID, paid_on=one.on)
        ports.store.settle_document(paid)
        counts["paid"] += 1
    elif one.state is CopyState.OPEN and document.status is DocumentStatus.PAID:
        again = replace(document, status=DocumentStatus.HANDED_OFF, paid_on=None)
        ports.store.settle_document(again)
        counts["reopened"] += 1


def _missing(target: str, document: Invoice) -> Finding:
    return _finding(
        MISSING,
        document,
        f"{document.number or document.key} was handed off to {target} and is not there any more.",
        "Restore it there, or empty what its row here says of the copy (Standard invoice): the end "
        "of the next run writes it again.",
    )


def _finding(check: str, document: Invoice, sentence: str, hint: str) -> Finding:
    # Nobody is held by it: the document is right, its copy is not.
    return Finding(
        check=check,
        severity=Severity.WARN,
        customer_id=document.customer_id,
        record=record_of(document),
        sentence=sentence,
        hint=hint,
    )
