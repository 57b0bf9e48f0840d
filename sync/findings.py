"""Findings over all customers: who is on hold, and what was found this time in place of last time.

A finding stands until the check that made it looks again and no longer finds it. Limit: two units
that replace the findings of one check at the same moment may close each other's; the next look
opens them again, and no amount rests on them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from domain.problems import Finding, Severity
from sync.ports import Store


def held_customers(findings: Iterable[Finding]) -> set[str]:
    """Return the ids of the customers that any finding keeps out of billing."""
    return {f.customer_id for f in findings if f.customer_id and f.severity is not Severity.WARN}


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
