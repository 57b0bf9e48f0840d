"""Is it right to bill this customer? Named checks, each a function from the facts to findings.

A finding of severity hold keeps the customer out of the run until its cause is gone; the others go
on. Which severity a check has is a policy that a partner may set; the defaults are strict, because
a wrong association or a lapsed relationship is a dispute in waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from domain.contract import BillingContract, TaxProfile
from domain.customer import (
    MICROSOFT_CUSTOMER_AGREEMENT,
    Agreement,
    Customer,
    DelegatedAdminRelationship,
)
from domain.period import Period
from domain.problems import Finding, Severity
from domain.subscription import CostLine, Subscription
from rules import tax

EXPIRING_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the checks look at, for one customer on one day."""

    customer: Customer
    agreements: Sequence[Agreement]
    relationships: Sequence[DelegatedAdminRelationship]
    subscriptions: Sequence[Subscription]
    cost_lines: Sequence[CostLine]
    """The lines of the period that is billed."""
    contract: BillingContract | None
    tax_profile: TaxProfile | None
    period: Period
    today: date


Check = Callable[[Facts], list[Finding]]
Policy = Mapping[str, Severity]
"""Severity by check name, where it differs from the check's own."""


def reseller_relationship(facts: Facts) -> list[Finding]:
    """The tenant must still be our reseller customer."""
    relationship = facts.customer.relationship
    if relationship == "reseller":
        return []
    return [
        _finding(
            facts,
            "relationship.not_reseller",
            "customer",
            f"The relationship to the customer is {relationship or 'unknown'}, not reseller.",
            "ask the customer to accept the reseller invitation, or end the contract",
        )
    ]


def customer_agreement(facts: Facts) -> list[Finding]:
    """The Microsoft Customer Agreement counts, attested or signed directly; the old one does not.

    Source: Partner Center refuses a purchase without it (403, code 13605).
    """
    if any(a.type == MICROSOFT_CUSTOMER_AGREEMENT for a in facts.agreements):
        return []
    old = sorted({a.type for a in facts.agreements})
    return [
        _finding(
            facts,
            "agreement.missing",
            "agreement",
            "The customer has not accepted the Microsoft Customer Agreement"
            + (f" (only {', '.join(old)})." if old else "."),
            "attest the acceptance in Partner Center, or ask the customer to sign with Microsoft",
        )
    ]


def delegated_admin(facts: Facts) -> list[Finding]:
    """GDAP must be active, with an active access assignment, and not about to end.

    Its status may lag behind its end: the end is believed.
    """
    usable = [
        r
        for r in facts.relationships
        if r.status in {"active", "expiring"} and (r.ends_on is None or r.ends_on > facts.today)
    ]
    if not usable:
        last = max((r.ends_on for r in facts.relationships if r.ends_on), default=None)
        return [
            _finding(
                facts,
                "gdap.missing",
                "delegated admin relationship",
                f"The delegated admin relationship ended on {last}."
                if last
                else "There is no active delegated admin relationship.",
                "send the customer a new GDAP request and have it approved",
            )
        ]
    assigned = [r for r in usable if r.active_assignments]
    if not assigned:
        return [
            _finding(
                facts,
                "gdap.no_assignment",
                f"delegated admin relationship {usable[0].id}",
                f"The relationship {usable[0].name} is active, but no group has access by it.",
                "assign a security group to the relationship",
            )
        ]
    latest = max(assigned, key=lambda r: r.ends_on or date.max)
    soon = facts.today + timedelta(days=EXPIRING_DAYS)
    if latest.ends_on is None or latest.auto_extends or latest.ends_on > soon:
        return []
    return [
        _finding(
            facts,
            "gdap.expiring",
            f"delegated admin relationship {latest.id}",
            f"The relationship {latest.name} ends on {latest.ends_on}.",
            "renew the relationship, or switch its automatic extension on",
            Severity.WARN,
        )
    ]


def mapping(facts: Facts) -> list[Finding]:
    """A customer is billed through exactly one contract, with an account, in force."""
    contract = facts.contract
    if contract is None:
        return [
            _finding(
                facts,
                "mapping.no_contract",
                "billing contract",
                "The customer has no billing contract.",
                "make a billing contract for the customer and choose its account",
            )
        ]
    if not contract.account_id:
        return [
            _finding(
                facts,
                "mapping.no_account",
                f"billing contract {contract.key}",
                "The billing contract has no account.",
                "choose the account that is billed",
            )
        ]
    if contract.ends is not None and contract.ends <= facts.period.start:
        return [
            _finding(
                facts,
                "mapping.contract_ended",
                f"billing contract {contract.key}",
                f"The billing contract ended on {contract.ends}.",
                "renew the contract, or move the subscriptions away",
            )
        ]
    return []


def partner_of_record(facts: Facts) -> list[Finding]:
    """The partner on subscriptions and on Microsoft's lines must be the expected one."""
    expected = facts.contract.expected_partner_id if facts.contract else ""
    if not expected:
        return []
    seen: dict[str, set[str]] = {}
    for subscription in facts.subscriptions:
        if subscription.partner_of_record:
            seen.setdefault(subscription.partner_of_record, set()).add(subscription.id)
    for line in facts.cost_lines:
        partner = line.reseller_id or line.partner_id
        if partner:
            seen.setdefault(partner, set()).add(line.subscription_id)
    return [
        _finding(
            facts,
            "partner_of_record.drift",
            f"partner {partner}",
            f"Partner {partner} stands on {len(subscriptions)} of the customer's subscriptions; "
            f"{expected} is expected.",
            "correct the partner of record in Partner Center, or the contract's expectation",
        )
        for partner, subscriptions in sorted(seen.items())
        if partner != expected
    ]


def tax_profile(facts: Facts) -> list[Finding]:
    """The tax must be known, with evidence in force on the last day of the period."""
    if facts.contract is None:
        return []
    decision = tax.decide(facts.tax_profile, facts.customer.id, facts.period.last_day)
    return [decision] if isinstance(decision, Finding) else []


CHECKS: Mapping[str, Check] = {
    "relationship": reseller_relationship,
    "agreement": customer_agreement,
    "gdap": delegated_admin,
    "mapping": mapping,
    "partner_of_record": partner_of_record,
    "tax": tax_profile,
}


def validate(facts: Facts, policy: Policy | None = None) -> list[Finding]:
    """Run every check; the policy may change the severity of a finding by its check name."""
    findings = [finding for check in CHECKS.values() for finding in check(facts)]
    policy = policy or {}
    return [replace(f, severity=policy.get(f.check, f.severity)) for f in findings]


def _finding(  # noqa: PLR0917 - read as one sentence at each call
    facts: Facts,
    check: str,
    record: str,
    sentence: str,
    hint: str,
    severity: Severity = Severity.HOLD,
) -> Finding:
    return Finding(
        check=check,
        severity=severity,
        customer_id=facts.customer.id,
        record=record,
        sentence=sentence,
        hint=hint,
        seen=facts.today,
    )
