"""The checks that need no month, asked of one customer at once: is it ours, and is it mapped.

The daily sync asks them of every customer, and a notice of Partner Center of the one it names; a
bill asks them again with those of its month. Each asking replaces the findings of the one before, so
a hold lifts itself on the day its cause is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from domain.problems import Finding, InputError, NotFound, Severity
from invoice.document import DocumentStatus
from invoice.file import CustomerFile
from rules.checks import judged
from rules.facts import StandingFacts
from rules.places import Gazetteer
from rules.validate import STANDING_CHECKS, validate_standing
from sync.findings import current
from sync.ports import Ports


def check_customer(ports: Ports, customer_id: str) -> Sequence[Finding]:
    """Ask the checks of one customer on what is stored now, and keep what they find.

    Asked twice, it writes nothing. A row that cannot be read is a finding, and what was found before
    stands. NotFound when the customer is not stored.
    """
    known = current(ports, customer_id=customer_id)
    try:
        file = ports.store.customer_file(customer_id, ports.now().date())
        facts = standing_facts(ports, file, unreachable=_is_unreachable(known))
        seen = [*validate_standing(facts), *_of_drafts(ports, file)]
    except InputError as fault:
        found = judged([_unreadable(customer_id, fault)], ports.policy, known)
        ports.store.replace_findings(UNREADABLE, customer_id, found)
        return found
    found = judged(seen, ports.policy, known)
    ports.store.replace_findings((*STANDING_CHECKS, *UNREADABLE), customer_id, found)
    return found


UNREADABLE = ("customer.unreadable",)


def _of_drafts(ports: Ports, file: CustomerFile) -> list[Finding]:
    """Look at the other contracts by which drafts are made: an approval rests on them too."""
    asked = {file.contract.key} if file.contract else set()
    found: list[Finding] = []
    for document in file.documents:
        if document.status is not DocumentStatus.DRAFT or document.contract_key in asked:
            continue
        asked.add(document.contract_key)
        then = ports.store.customer_file(file.customer.id, document.period.last_day)
        if then.contract is None:
            continue
        record = f"billing contract {then.contract.key}"
        seen = validate_standing(standing_facts(ports, then))
        found += [one for one in seen if one.record.startswith(record)]
    return found


def _unreadable(customer_id: str, fault: InputError) -> Finding:
    return Finding(
        check="customer.unreadable",
        severity=Severity.HOLD,
        customer_id=customer_id,
        record=f"customer {customer_id}",
        sentence=f"A row that decides the bill cannot be read: {fault}.",
        hint=fault.hint or "correct the row",
    )


def _is_unreachable(findings: Iterable[Finding]) -> bool:
    return any(one.check == "customer.unreachable" for one in findings)


def without_needless_holds(
    ports: Ports, customer_id: str, findings: Sequence[Finding]
) -> Sequence[Finding]:
    """Only warn that a customer is not shown any more where nothing of it is left to bill."""
    if not _is_unreachable(findings):
        return findings
    try:
        file = ports.store.customer_file(customer_id, ports.now().date())
    except (InputError, NotFound):
        return findings
    if not standing_facts(ports, file, unreachable=True).nothing_left:
        return findings
    return [
        replace(one, severity=Severity.WARN) if one.check == "customer.unreachable" else one
        for one in findings
    ]


def standing_facts(ports: Ports, file: CustomerFile, *, unreachable: bool = False) -> StandingFacts:
    """Lay out what is stored of a customer for the checks."""
    return StandingFacts(
        customer=file.customer,
        agreements=file.agreements,
        relationships=file.relationships,
        subscriptions=file.subscriptions,
        contract=file.contract,
        contracts=file.contracts,
        account=file.account,
        mapped_account=file.mapped_account,
        invoiced=file.invoiced,
        unreachable=unreachable,
        tax_profile=file.tax_profile,
        history=file.cost_lines,
        exchange=file.rates,
        gazetteer=Gazetteer.of(ports.atlas, file.tax_rates),
        today=ports.now().date(),
        demands=ports.demands,
    )
