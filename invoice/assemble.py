"""Propose, subtract, answer: from the charges that should exist to the one document that is missing.

What other documents already hold is subtracted by charge key (`invoice.repair`); only the
difference is drafted. Billing twice therefore bills once, and the sum over all documents equals
what one correct document would have said (tax: see `invoice.rounding` for what a document's rounding
leaves).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise

from domain.charge import Charge, ChargeType
from domain.contract import BillingContract
from domain.customer import Customer
from domain.money import total
from domain.period import Period
from domain.problems import Finding, Severity
from domain.tax import Party, TaxDecision
from invoice.document import (
    DocumentKind,
    DocumentStatus,
    Invoice,
    InvoiceLine,
    Tax,
    numbers_in,
)
from invoice.repair import subtract
from invoice.rounding import Asked, settled

__all__ = ["MAX_LINES_A_DAY", "Tax", "assemble", "check_bounds"]

MAX_LINES_A_DAY = 40
"""More charges than this for one subscription on one day are a fault, not a busy day."""

_CYCLES = {ChargeType.NEW, ChargeType.CYCLE, ChargeType.RENEW}
_METERED = {ChargeType.USAGE, ChargeType.MARKETPLACE}
_ENDS = {ChargeType.CONVERT, ChargeType.CANCEL, ChargeType.TRANSFER}


def check_bounds(charges: Sequence[Charge]) -> list[Finding]:
    """Refuse what cannot be right: a cycle billed twice, a key used twice, too many lines a day."""
    findings: list[Finding] = []
    keys = Counter(charge.key for charge in charges)
    for key in sorted(key for key, count in keys.items() if count > 1):
        charge = next(c for c in charges if c.key == key)
        findings.append(_bound(charge, "bounds.same_key", f"the charge {key} is proposed twice"))
    by_subscription: dict[str, list[Charge]] = defaultdict(list)
    ended: dict[str, list[date]] = defaultdict(list)
    for charge in charges:
        if charge.type in _CYCLES:
            by_subscription[charge.subscription_id].append(charge)
        elif charge.type in _ENDS and charge.quantity < 0:
            ended[charge.subscription_id].append(charge.service.start)

    def covered_until(cycle: Charge) -> date:
        """A cycle that was given back in part covers no more than its other days."""
        cuts = (day for day in ended[cycle.subscription_id] if day >= cycle.service.start)
        return min(cycle.service.end, *cuts, date.max)

    for cycles in by_subscription.values():
        cycles.sort(key=lambda charge: charge.service)
        findings.extend(
            _bound(
                later,
                "bounds.overlap",
                f"{later.service} is billed although {earlier.service} covers part of it",
            )
            for earlier, later in pairwise(cycles)
            if later.service.start < covered_until(earlier)
        )
    days = Counter(
        (charge.subscription_id, charge.service.start)
        for charge in charges
        if charge.type not in _METERED
    )
    for (subscription_id, day), count in sorted(days.items()):
        if subscription_id and count > MAX_LINES_A_DAY:
            charge = next(c for c in charges if c.subscription_id == subscription_id)
            findings.append(
                _bound(charge, "bounds.too_many", f"{count} charges start on {day}", day)
            )
    return findings


def _bound(charge: Charge, check: str, fault: str, day: date | None = None) -> Finding:
    """Make a finding of its own for each day: one that is released says nothing of another."""
    return Finding(
        check=check,
        severity=Severity.HOLD,
        customer_id=charge.customer_id,
        record=f"subscription {charge.subscription_id} from {day or charge.service.start}",
        sentence=f"Safety bound on {charge.name}: {fault}.",
        hint="compare the subscription's changes with Partner Center, as they contradict each other; then run sync",
    )


def assemble(
    *,
    customer: Customer,
    contract: BillingContract,
    period: Period,
    proposed: Sequence[Charge],
    documents: Sequence[Invoice],
    tax: Tax,
    until: date | None = None,
    seller: Party | None = None,
    buyer: Party | None = None,
) -> Invoice | None:
    """Draft the document that is missing for a customer and period, or None when nothing is.

    `until` ends the service that is compared, where a contract bills ahead or behind its month.
    Who sells and who buys is printed where it is known.

    Its key counts the approved documents of the period, so a draft is replaced by the next draft
    and a later correction gets a key of its own.
    """
    same = [d for d in documents if d.period == period and d.currency == contract.currency]
    replaced = [d for d in same if d.status is DocumentStatus.DRAFT]
    others = [d for d in documents if d not in replaced]
    missing = subtract(proposed, others, contract=contract, period=period, tax=tax, until=until)
    if not missing:
        return None
    told = _buyer_tax_id(missing, tax.decision)
    month = f"{period.start:%Y-%m}"
    key = f"invoice/{customer.id}/{month}/{contract.currency}/{len(same) - len(replaced) + 1}"
    ordered = _in_order(missing)
    lines = tuple(
        InvoiceLine(
            key=asked.charge.key,
            invoice_key=key,
            position=position,
            charge=asked.charge,
            tax_percent=asked.treatment.percent,
            tax=total((one.tax for one in taxes), contract.currency),
            tax_category=asked.treatment.category,
            taxes=taxes,
            tax_note=asked.treatment.note,
        )
        for position, (asked, taxes) in enumerate(zip(ordered, settled(ordered), strict=True), 1)
    )
    net = total((line.amount for line in lines), contract.currency)
    tax_due = total((line.tax for line in lines), contract.currency)
    gives = (net.amount or tax_due.amount) < 0
    return Invoice(
        key=key,
        kind=DocumentKind.CREDIT_NOTE if gives else DocumentKind.INVOICE,
        number="",
        status=DocumentStatus.DRAFT,
        customer_id=customer.id,
        customer_name=customer.name,
        contract_key=contract.key,
        account_name=contract.account_name,
        account_id=contract.account_id,
        period=period,
        currency=contract.currency,
        lines=lines,
        tax_note="\n".join(dict.fromkeys(line.tax_note for line in lines if line.tax_note)),
        buyer_tax_id=told,
        seller_tax_id=tax.decision.seller_tax_id,
        seller=seller,
        buyer=_numbered(buyer, told, tax.decision),
        tax_point=tax.point,
        tax_decided_by=tax.decision.decided_by,
        tax_rounding=tax.rounding,
        tax_reasons=tax.decision.reasons,
    )


def _buyer_tax_id(missing: Sequence[Asked], decision: TaxDecision) -> str:
    """Name the buyer by every number that a line rests on, that of today first.

    A reverse charge is corrected under the number by which the buyer accounted for it.
    """
    own = {one.buyer_tax_id for one in missing if one.buyer_tax_id} - {decision.buyer_tax_id}
    if not own:
        return decision.buyer_tax_id
    today = any(one.buyer_tax_id in {"", decision.buyer_tax_id} for one in missing)
    return ", ".join(filter(None, (decision.buyer_tax_id if today else "", *sorted(own))))


def _numbered(buyer: Party | None, told: str, decision: TaxDecision) -> Party | None:
    if buyer is None or told == decision.buyer_tax_id:
        return buyer
    return replace(buyer, tax_numbers=numbers_in(told))


def _in_order(missing: Sequence[Asked]) -> list[Asked]:
    """Sort by product; what begins on one day stays in the order in which it happened.

    Where one product was converted into another, both stand together under the older one.
    """
    charges = sorted((one.charge for one in missing), key=lambda c: c.service.start)
    converted = {c.subscription_id for c in charges if c.type is ChargeType.CONVERT}
    names: dict[str, str] = {}
    for charge in charges:
        if charge.subscription_id in converted:
            names.setdefault(charge.subscription_id, charge.name)
    return sorted(
        missing,
        key=lambda one: (
            names.get(one.charge.subscription_id, one.charge.name),
            one.charge.subscription_id,
            one.charge.service.start,
        ),
    )
