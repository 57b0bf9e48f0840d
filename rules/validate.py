"""Is it right to bill this customer? Named checks, each a function from the facts to findings.

A finding of severity hold keeps the customer out of the run until its cause is gone; the others go
on. Which severity a check has is a policy that a partner may set; the defaults are strict, because
a wrong association or a lapsed relationship is a dispute in waiting. `STANDING` need no month: they
are asked every day; the others when a month is billed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from domain.problems import Finding, Severity
from rules import address, currency, tax
from rules.checks import severity_of
from rules.facts import Demands, Facts, Policy, StandingFacts
from rules.mapping import changed, in_force, mapping, partner_of_record
from rules.qualification import qualification
from rules.relationship import (
    access,
    customer_agreement,
    delegated_admin,
    reseller_agreement,
    reseller_relationship,
)


def place(facts: StandingFacts) -> list[Finding]:
    """Microsoft, the account and the tax profile must say the same place, and enough of it."""
    return address.check(
        customer=facts.customer,
        account=facts.account,
        tax_profile=facts.tax_profile,
        gazetteer=facts.gazetteer,
        today=facts.today,
    )


def money(facts: StandingFacts) -> list[Finding]:
    """The contract needs a currency, and a way to it from what Microsoft bills under it."""
    contract = facts.contract
    return currency.check(
        contract=contract,
        account=facts.account,
        cost_lines=[
            line
            for line in facts.history
            if contract is not None and (day := line.falls_on) and day >= contract.starts
        ],
        rates=facts.exchange,
        atlas=facts.gazetteer.atlas,
        today=facts.today,
    )


Check = Callable[[StandingFacts], list[Finding]]


def _of_whom_something_is_left(check: Check) -> Check:
    """Let a check hold nobody of whom nothing is left to bill: who left is told, and not held for ever."""

    def asked(facts: StandingFacts) -> list[Finding]:
        found = check(facts)
        if all(one.severity is Severity.WARN for one in found) or not facts.nothing_left:
            return found
        return [one for one in found if one.severity is Severity.WARN]

    return asked


STANDING: Mapping[str, Check] = {
    "relationship": _of_whom_something_is_left(reseller_relationship),
    "access": _of_whom_something_is_left(access),
    "agreement": _of_whom_something_is_left(customer_agreement),
    "reseller_agreement": reseller_agreement,
    "gdap": _of_whom_something_is_left(delegated_admin),
    "mapping": mapping,
    "qualification": qualification,
    "address": place,
    "currency": money,
}


STANDING_CHECKS = (
    "relationship.not_reseller",
    "access.unread",
    "access.stale",
    "agreement.missing",
    "agreement.undated",
    "agreement.outdated",
    "agreement.version_unknown",
    "reseller_agreement.missing",
    "reseller_agreement.unknown",
    "gdap.missing",
    "gdap.no_assignment",
    "gdap.roles_missing",
    "gdap.roles_unknown",
    "gdap.expiring",
    "gdap.not_extended",
    "gdap.end_unknown",
    "mapping.no_contract",
    "mapping.several_contracts",
    "mapping.no_account",
    "mapping.account_gone",
    "mapping.account_inactive",
    "mapping.account_differs",
    "mapping.no_subscriptions",
    "qualification.missing",
    "qualification.unknown",
    "address.none",
    "address.by_microsoft",
    "address.incomplete",
    "address.unmapped",
    "address.region_differs",
    "address.postal_code",
    "address.postal_form",
    "address.microsoft_differs",
    "address.microsoft_region",
    "address.microsoft_unmapped",
    "currency.incomplete",
    "currency.differs",
    "currency.account_differs",
)
"""What the standing checks may find, so that one that is gone is closed."""


def tax_profile(facts: Facts) -> list[Finding]:
    """The tax must be known, with evidence in force on the last day of the period."""
    if facts.contract is None:
        return []
    customer_id, known = facts.customer.id, facts.taxing
    decision = tax.decide(facts.tax_profile, customer_id, facts.period.last_day, known)
    if isinstance(decision, Finding):
        return [decision]
    return tax.warnings(facts.tax_profile, customer_id, decision, known)


CHECKS: Mapping[str, Callable[[Facts], list[Finding]]] = {
    **STANDING,
    "contract": in_force,
    "contract_changed": changed,
    "partner_of_record": partner_of_record,
    "tax": tax_profile,
}


def validate(facts: Facts, policy: Policy | None = None) -> list[Finding]:
    """Run every check; the policy may change the severity of a finding by its check name."""
    return _judged((f for check in CHECKS.values() for f in check(facts)), policy)


def validate_standing(facts: StandingFacts, policy: Policy | None = None) -> list[Finding]:
    """Run the checks that need no month, as `validate` does."""
    return _judged((f for check in STANDING.values() for f in check(facts)), policy)


def _judged(findings: Iterable[Finding], policy: Policy | None) -> list[Finding]:
    return [replace(f, severity=severity_of(f, policy or {})) for f in findings]


__all__ = [
    "CHECKS",
    "STANDING",
    "STANDING_CHECKS",
    "Demands",
    "Facts",
    "Policy",
    "StandingFacts",
    "validate",
    "validate_standing",
]
