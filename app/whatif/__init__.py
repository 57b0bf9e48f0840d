"""Rate a scenario file: a quote, a forecast, and a check of the engine from outside.

The scenario is translated into the same histories, prices and rules that billing rates, so that a
quote and an invoice cannot differ. It has no customer, no Dataverse and no Microsoft: what it says
is what is rated.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.whatif.reading import read_file
from app.whatif.scenario import Scenario
from app.whatif.seats import BESIDE, rate_subscription
from app.whatif.tax import decide_tax
from app.whatif.usage import rate_usage
from domain.charge import Charge, ChargeType
from domain.contract import Timing
from domain.money import Money, plain, price_text
from domain.problems import Finding
from invoice.document import tax_on
from rules.cycles import Side
from rules.tax import TaxDecision


def rate_file(path: Path) -> dict[str, Any] | list[dict[str, Any]]:
    """Answer a scenario file; a list of scenarios with a list of answers."""
    scenarios = read_file(path)
    return [rate(one) for one in scenarios] if isinstance(scenarios, list) else rate(scenarios)


def rate(scenario: Scenario) -> dict[str, Any]:
    """Answer one scenario: its lines, totals and findings, as plain data."""
    findings: list[Finding] = []
    charges: list[Charge] = []
    for subscription in scenario.subscriptions or ():
        found, faults = rate_subscription(scenario, subscription)
        charges.extend(found)
        findings.extend(faults)
    found, faults = rate_usage(scenario)
    charges.extend(found)
    findings.extend(faults)
    decisions, faults = _taxed(scenario, charges)
    findings.extend(faults)
    taxes = [_tax(charge, decision) for charge, decision in zip(charges, decisions, strict=True)]
    zero = Money.zero(scenario.currency).amount
    subtotal = sum((charge.amount.amount for charge in charges), zero)
    tax = sum(taxes, zero)
    unique = {finding.key: finding for finding in reversed(findings)}
    named = {} if scenario.name is None else {"name": scenario.name}
    return {
        **named,
        "lines": [
            _line(scenario, charge, tax, decision)
            for charge, tax, decision in zip(charges, taxes, decisions, strict=True)
        ],
        "currency": scenario.currency,
        "subtotal": str(subtotal),
        "tax": str(tax),
        "total": str(subtotal + tax),
        "findings": [_told(finding) for finding in reversed(unique.values())],
    }


def _told(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "severity": finding.severity.value,
        "record": finding.record,
        "sentence": finding.sentence,
        "hint": finding.hint,
    }


def _tax(charge: Charge, decision: TaxDecision | None) -> Decimal:
    """Return the tax of a line, each of its taxes rounded; what is held has none, and is told."""
    parts = decision.parts if decision else ()
    taxes = (tax_on(charge.amount, part.effective).amount for part in parts)
    return sum(taxes, Money.zero(charge.amount.currency).amount)


def _line(
    scenario: Scenario,
    charge: Charge,
    tax: Decimal,
    decision: TaxDecision | None,
) -> dict[str, Any]:
    proration = next((r for r in charge.reasons if r.rule.startswith("proration.")), None)
    inputs = proration.inputs if proration else {}
    reasons = charge.reasons
    if decision:
        reasons = (*reasons, *decision.reasons)
    advance = scenario.contract.timing is Timing.ADVANCE
    line: dict[str, Any] = {
        "subscription": _id(charge) or None,
        "charge_type": charge.type.value,
        "name": charge.name,
        "service_start": str(charge.service.start),
        "service_end": str(charge.service.end),
        "days": charge.service.days,
        "cycle_days": int(inputs.get("cycle_days", charge.full.days)),
        "quantity": plain(charge.quantity),
        "unit_price": price_text(charge.unit_price, charge.amount.currency),
        "amount": str(charge.amount.amount),
        "tax": str(tax),
        "due": str(charge.service.start if advance else charge.service.end),
        "why": charge.why,
        "reasons": [{"rule": r.rule, "inputs": dict(r.inputs)} for r in reasons],
    }
    if decision and decision.note:
        line["tax_note"] = decision.note
    if scenario.side is Side.COST:
        # As Microsoft writes them: both days are covered.
        line["charge_start"] = str(charge.service.start)
        line["charge_end"] = str(
            charge.service.last_day if charge.service.days else charge.service.start
        )
    return line


def _id(charge: Charge) -> str:
    """Seats that were converted in part are rated beside their subscription, under its name."""
    return charge.subscription_id.partition(BESIDE)[0]


def _taxed(
    scenario: Scenario, charges: Sequence[Charge]
) -> tuple[list[TaxDecision | None], list[Finding]]:
    """Return the tax decision of each charge (None: no tax), and what stands in the way of others."""
    if scenario.tax is None:
        return [None] * len(charges), []
    points = [_tax_point(scenario, charge) for charge in charges]
    answers = {day: decide_tax(scenario.tax, day) for day in dict.fromkeys(points)}
    findings = [finding for _, finding in answers.values() if finding]
    return [answers[day][0] for day in points], findings


def _tax_point(scenario: Scenario, charge: Charge) -> date:
    """Return the day whose tax rate counts: when a charge falls due, the last day for usage."""
    late = scenario.contract.timing is Timing.ARREARS or charge.type is ChargeType.USAGE
    return charge.service.last_day if late and charge.service.days else charge.service.start
