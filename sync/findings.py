"""Findings over all customers: what stands, who is on hold, what was found in place of last time.

A finding stands until the check that made it looks again and no longer finds it. Limit: two units
that replace the findings of one check at the same moment may close each other's; the next look
opens them again, and no amount rests on them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

from domain.period import Period
from domain.problems import Finding, Severity
from domain.subscription import CostLine
from invoice.document import Invoice
from rules.checks import Room, in_force, of_rooms
from sync.ports import Ports, Store

T = TypeVar("T")

INVOICE_CHECKS = of_rooms(Room.INVOICE)
"""What is found in reading one of Microsoft's invoices; the record begins with which."""

_CONTRACT = re.compile(r"billing contract ([^,]+)")
_INVOICE = re.compile(r"(?:usage of )?invoice ([^:]+)(?::|$)")


def current(ports: Ports, *, customer_id: str = "") -> list[Finding]:
    """Read the findings whose cause is there, as they count today."""
    today = ports.now().date()
    found = ports.store.findings(customer_id=customer_id)
    return [in_force(finding, ports.policy, today) for finding in found]


def unsettled_invoices(findings: Iterable[Finding], *, checks: Sequence[str]) -> set[str]:
    """Return the ids of Microsoft's invoices whose reading left something that holds a customer.

    A release does not make them readable: they are asked for again all the same.
    """
    held = (one for one in findings if one.check in checks and one.severity is not Severity.WARN)
    return {match[1] for one in held if (match := _INVOICE.match(one.record))}


def concerning(
    store: Store,
    findings: Iterable[Finding],
    period: Period,
    known: Iterable[CostLine] = (),
    *,
    asked: AbstractSet[str] = frozenset(),
) -> list[Finding]:
    """Leave out what was found in reading an invoice that this month's bill asks nothing of.

    It asks for the lines of the month, and for those `asked`, by key, which an earlier month left
    unbilled. Of an invoice that has no lines it is not known of which month they would be: it holds
    every one. `known` are lines that need not be read again.
    """
    findings = list(findings)
    faulty = unsettled_invoices(findings, checks=INVOICE_CHECKS)
    lines = [line for line in known if line.invoice_id in faulty]
    unread = faulty - {line.invoice_id for line in lines if (d := line.falls_on) and d in period}
    lines += store.cost_lines(sorted(unread)) if unread else ()
    of_month = {line.invoice_id for line in lines if (d := line.falls_on) and d in period}
    asked_of = {(line.customer_id, line.invoice_id) for line in lines if line.key in asked}
    elsewhere = {line.invoice_id for line in lines} - of_month
    return [
        one
        for one in findings
        if one.check not in INVOICE_CHECKS
        or not (match := _INVOICE.match(one.record))
        or match[1] not in elsewhere
        or (one.customer_id, match[1]) in asked_of
    ]


def of_another_contract(finding: Finding, *contract_keys: str) -> bool:
    """Say whether a finding is about the account or currency of another contract than these."""
    about = finding.check.startswith(("mapping.no_account", "mapping.account_", "currency."))
    match = _CONTRACT.match(finding.record) if about else None
    return match is not None and match[1] not in contract_keys


def of_their_contracts(findings: Iterable[Finding], documents: Iterable[Invoice]) -> list[Finding]:
    """Leave out what is wrong with a customer's contract by which none of its documents is made."""
    keys: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        keys[document.customer_id].add(document.contract_key)
    return [
        one
        for one in findings
        if one.customer_id not in keys or not of_another_contract(one, *keys[one.customer_id])
    ]


def held_customers(findings: Iterable[Finding]) -> set[str]:
    """Return the ids of the customers that any finding keeps out of billing."""
    return {f.customer_id for f in findings if f.customer_id and f.holds}


def replace_everywhere(
    store: Store, checks: Sequence[str], findings: Iterable[Finding], *, record: str = ""
) -> None:
    """Save what these checks found, for whichever customer, and close what they no longer find.

    With `record`, only open findings whose record starts so are replaced; the others stand.
    """
    by_customer: dict[str, list[Finding]] = defaultdict(list)
    for finding in store.findings():
        if finding.check in checks:
            others = by_customer[finding.customer_id]
            if not finding.record.startswith(record):
                others.append(finding)
    for finding in findings:
        by_customer[finding.customer_id].append(finding)
    for customer_id, own in sorted(by_customer.items()):
        store.replace_findings(checks, customer_id, own)


def sift(records: Iterable[T | Finding]) -> tuple[list[T], list[Finding]]:
    """Part what could be read from what could not."""
    good: list[T] = []
    bad: list[Finding] = []
    for record in records:
        if isinstance(record, Finding):
            bad.append(record)
        else:
            good.append(record)
    return good, bad
