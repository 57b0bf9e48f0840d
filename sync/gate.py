"""The checks that need no month, asked of one customer at once: is it ours, and is it mapped.

The daily sync asks them of every customer, and a notice of Partner Center of the one it names; a
bill asks them again with those of its month. Each asking replaces the findings of the one before, so
a hold lifts itself on the day its cause is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from domain.problems import Finding
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

    Asked twice, it writes nothing. NotFound when the customer is not stored; InputError names a row
    of it that cannot be read.
    """
    file = ports.store.customer_file(customer_id, ports.now().date())
    known = current(ports, customer_id=customer_id)
    seen = [*validate_standing(standing_facts(ports, file)), *_of_drafts(ports, file)]
    found = judged(seen, ports.policy, known)
    ports.store.replace_findings(STANDING_CHECKS, customer_id, found)
    return found


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


def standing_facts(ports: Ports, file: CustomerFile) -> StandingFacts:
    """Lay out what is stored of a customer for the checks."""
    return StandingFacts(
        customer=file.customer,
        agreements=file.agreements,
        relationships=file.relationships,
        subscriptions=file.subscriptions,
        contract=file.contract,
        contracts=file.contracts,
        account=file.account,
        tax_profile=file.tax_profile,
        history=file.cost_lines,
        exchange=file.rates,
        gazetteer=Gazetteer.of(ports.atlas, file.tax_rates),
        today=ports.now().date(),
        demands=ports.demands,
    )
