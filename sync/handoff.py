"""Hand issued documents off to accounting, each once, confirmed to the cent.

A document goes to the system that its contract names, else to the one that is connected. What names
one that is not connected waits, and is told by customer and system with its count and its money.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from domain.contract import BillingContract
from domain.problems import Finding, Severity
from invoice.document import DocumentStatus, Invoice
from sync.documents import readable
from sync.findings import replace_everywhere
from sync.ledger import Ledger, Outcome
from sync.messages import HandoffUnit, StartRun, handoff_key
from sync.ports import Accounting, Ports

NOT_CONNECTED = "handoff.not_connected"
HANDED_OFF = "handed_off"
"""Counts the documents that a run handed off."""
NOTHING = (
    "No accounting system is connected, so nothing was asked. "
    "Dynamics 365 Sales is connected by the setting CSP_PROJECTION."
)
"""What a run says that has nobody to ask."""


def target_of(contract: BillingContract | None, connected: Iterable[str]) -> str:
    """Return which system a contract's documents go to; empty where that cannot be told."""
    named = contract.accounting_target.strip().lower() if contract else ""
    known = list(connected)
    return named or (known[0] if len(known) == 1 else "")


def plan(ports: Ports, message: StartRun) -> Sequence[HandoffUnit]:
    """Return a unit for each issued document that a connected system waits for; tell of the others."""
    documents, _ = readable(ports.store, status=DocumentStatus.ISSUED)
    contracts = {one.key: one for one in ports.store.contracts()} if documents else {}
    units: list[HandoffUnit] = []
    waiting: dict[tuple[str, str], list[Invoice]] = defaultdict(list)
    for document in documents:
        target = target_of(contracts.get(document.contract_key), ports.accounting)
        if target in ports.accounting:
            units.append(
                HandoffUnit(run_key=message.run_key, document_key=document.key, target=target)
            )
        else:
            waiting[document.customer_id, target].append(document)
    _tell_waiting(ports, waiting)
    return units


def work(ports: Ports, unit: HandoffUnit) -> Outcome:
    """Hand one document off; held while something stands in its way."""
    document = ports.store.document(unit.document_key)
    accounting = ports.accounting.get(unit.target)
    if document is None or document.status is not DocumentStatus.ISSUED:
        return Outcome()
    if accounting is None:  # switched off since the run began: the next one tells
        return Outcome(held=True)
    found = [
        replace(one, severity=ports.policy.get(one.check, one.severity))
        for one in accounting.hand_off(document, ports.now())
    ]
    _tell(ports, accounting, document, found)
    if found:
        return Outcome(held=True, counts={"in_the_way": 1})
    ports.store.settle_document(replace(document, status=DocumentStatus.HANDED_OFF))
    return Outcome(counts={HANDED_OFF: 1})


def set_back(ports: Ports, units: Iterable[HandoffUnit]) -> Sequence[HandoffUnit]:
    """Enter units anew whose document was handed off once and is issued again; returns those.

    Asked of settled units only: a person set such a document back, so that it goes once more.
    """
    ledger, again = Ledger(ports.store, ports.now), []
    for unit in units:
        document = ports.store.document(unit.document_key)
        if document is not None and document.status is DocumentStatus.ISSUED:
            ledger.reopen(unit.key, unit.run_key)
            again.append(unit)
    return again


def was_handed_off(ports: Ports, document: Invoice) -> bool:
    """Say whether it was a run that handed a document off; by hand a person enters it elsewhere."""
    found = ports.store.unit(handoff_key(document.key))
    return found is not None and bool(found[0].counts.get(HANDED_OFF))


def record_of(document: Invoice) -> str:
    """Name a document as the findings about it do."""
    return f"document {document.number or document.key}"


def _tell(
    ports: Ports, accounting: Accounting, document: Invoice, found: Sequence[Finding]
) -> None:
    """Replace what stood in this document's way. What is in the way of all is only added here."""
    mine = record_of(document)
    of_all = [one for one in found if one.record != mine]
    own = [one for one in found if one.record == mine]
    standing = [
        one
        for one in ports.store.findings(customer_id=document.customer_id)
        if one.check in accounting.checks
    ]
    others = [one for one in standing if one.record != mine]
    if own or len(others) < len(standing):
        ports.store.replace_findings(accounting.checks, document.customer_id, [*others, *own])
    for one in of_all:
        replace_everywhere(ports.store, (one.check,), [one], record=one.record)


def _tell_waiting(ports: Ports, waiting: Mapping[tuple[str, str], Sequence[Invoice]]) -> None:
    told = []
    connected = ", ".join(sorted(ports.accounting))
    for (customer_id, target), documents in sorted(waiting.items()):
        number = "1 document waits" if len(documents) == 1 else f"{len(documents)} documents wait"
        whose = (
            f"{target}, which is not connected" if target else "a system: its contract names none"
        )
        told.append(
            Finding(
                check=NOT_CONNECTED,
                severity=ports.policy.get(NOT_CONNECTED, Severity.WARN),
                customer_id=customer_id,
                record=f"hand-off to {target or 'accounting'}",
                sentence=f"{number} ({_money(documents)}) for {whose}.",
                hint="Enter them there by hand and set their status to Handed off, or name a "
                f"connected system on the billing contract ({connected}).",
            )
        )
    replace_everywhere(ports.store, (NOT_CONNECTED,), told)


def _money(documents: Iterable[Invoice]) -> str:
    """Say what documents come to, by currency."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for document in documents:
        sums[document.currency] += document.total.amount
    return " and ".join(f"{amount:,f} {currency}" for currency, amount in sorted(sums.items()))
