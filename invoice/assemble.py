"""Propose, subtract, answer: from the charges that should exist to the one document that is missing.

What other documents already hold is subtracted by charge key; only the difference is drafted. A
charge that changed since it was billed, or that should not have been, becomes one adjustment line
that names the line it answers. Billing twice therefore bills once, and the sum over all documents
equals what one correct document would have said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from domain.charge import Charge, ChargeType, Reason
from domain.contract import BillingContract
from domain.customer import Customer
from domain.money import Money, total
from domain.period import Period
from domain.problems import Finding, Severity
from invoice.document import DocumentKind, DocumentStatus, Invoice, InvoiceLine

MAX_LINES_A_DAY = 40
"""More charges than this for one subscription on one day are a fault, not a busy day."""

_CYCLES = {ChargeType.NEW, ChargeType.CYCLE, ChargeType.RENEW}
_ENDS = {ChargeType.CONVERT, ChargeType.CANCEL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """What the tax decision says for a whole document."""

    percent: Decimal
    note: str = ""
    buyer_tax_id: str = ""


def subtract(
    proposed: Sequence[Charge],
    documents: Iterable[Invoice],
    *,
    contract: BillingContract,
    until: date,
) -> list[Charge]:
    """Return the charges and adjustments that no document holds yet (void ones hold nothing).

    Only documents under this contract and in its currency are answered; what others hold is left to
    them, and not billed again. `until` bounds the comparison: what was billed for service from that
    day on is left alone.
    """
    billed: dict[str, list[InvoiceLine]] = defaultdict(list)
    told: Counter[str] = Counter()
    elsewhere: set[str] = set()
    for document in documents:
        ours = document.contract_key == contract.key and document.currency == contract.currency
        for line in document.lines:
            key = line.charge.answers or line.charge.key
            told[key] += 1
            if document.status is DocumentStatus.VOID:
                continue
            if not ours:
                elsewhere.add(key)
            elif line.charge.service.start < until:
                billed[key].append(line)
    missing: list[Charge] = []
    for charge in proposed:
        lines = billed.pop(charge.key, [])
        if lines:
            missing.extend(_answer(charge.key, lines, charge, told[charge.key]))
        elif charge.key not in elsewhere:
            missing.append(charge)
    for key, lines in billed.items():
        missing.extend(_answer(key, lines, None, told[key]))
    return missing


def _answer(
    key: str, lines: Sequence[InvoiceLine], right: Charge | None, told: int
) -> Iterator[Charge]:
    """Yield the adjustment that a charge needs, if any; `told` counts its lines so far."""
    first = lines[0].charge
    done = total((line.amount for line in lines), first.amount.currency)
    difference = (right.amount if right else Money.zero(done.currency)) - done
    if not difference:
        return
    known = {cost for line in lines for cost in line.charge.cost_lines}
    due = f"{right.amount} is right: {right.why}" if right else "nothing is due"
    yield Charge(
        key=f"{key}/adjustment/{told}",
        customer_id=first.customer_id,
        subscription_id=first.subscription_id,
        type=ChargeType.ADJUSTMENT,
        name=first.name,
        sku=first.sku,
        service=first.service,
        full=first.full,
        quantity=Decimal(1),
        unit_price=difference.amount,
        exact=Fraction(difference.amount),
        amount=difference,
        why=f"{done} was billed for {first.service}, {due}; the difference is {difference}",
        reasons=(
            Reason(
                rule="adjustment",
                inputs={
                    "answers": key,
                    "document": lines[0].invoice_key,
                    "billed": str(done.amount),
                    "difference": str(difference.amount),
                },
            ),
        ),
        answers=key,
        cost_lines=tuple(cost for cost in right.cost_lines if cost not in known) if right else (),
    )


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
        if charge.type is not ChargeType.USAGE
    )
    for (subscription_id, day), count in sorted(days.items()):
        if subscription_id and count > MAX_LINES_A_DAY:
            charge = next(c for c in charges if c.subscription_id == subscription_id)
            findings.append(_bound(charge, "bounds.too_many", f"{count} charges start on {day}"))
    return findings


def _bound(charge: Charge, check: str, fault: str) -> Finding:
    return Finding(
        check=check,
        severity=Severity.HOLD,
        customer_id=charge.customer_id,
        record=f"subscription {charge.subscription_id}",
        sentence=f"Safety bound on {charge.name}: {fault}.",
        hint="the history of this subscription is contradictory; compare it with Partner Center",
    )


def assemble(
    *,
    customer: Customer,
    contract: BillingContract,
    period: Period,
    proposed: Sequence[Charge],
    documents: Sequence[Invoice],
    tax: Tax,
) -> Invoice | None:
    """Draft the document that is missing for a customer and period, or None when nothing is.

    Its key counts the approved documents of the period, so a draft is replaced by the next draft
    and a later correction gets a key of its own.
    """
    same = [d for d in documents if d.period == period and d.currency == contract.currency]
    replaced = [d for d in same if d.status is DocumentStatus.DRAFT]
    others = [d for d in documents if d not in replaced]
    charges = subtract(proposed, others, contract=contract, until=period.end)
    if not charges:
        return None
    # What is corrected is taxed as it was: a rate that changed since must not stay on the books.
    standing = [d for d in others if d.status is not DocumentStatus.VOID]
    taxed = {line.key: line.tax_percent for document in standing for line in document.lines}
    month = f"{period.start:%Y-%m}"
    key = f"invoice/{customer.id}/{month}/{contract.currency}/{len(same) - len(replaced) + 1}"
    # What begins on one day stays in the order in which it happened.
    ordered = sorted(charges, key=lambda c: (c.name, c.subscription_id, c.service.start))
    lines = tuple(
        _line(charge, key, position, taxed.get(charge.answers, tax.percent))
        for position, charge in enumerate(ordered, start=1)
    )
    asked = total((line.amount for line in lines), contract.currency)
    return Invoice(
        key=key,
        kind=DocumentKind.CREDIT_NOTE if asked.amount < 0 else DocumentKind.INVOICE,
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
        tax_note=tax.note,
        buyer_tax_id=tax.buyer_tax_id,
    )


def _line(charge: Charge, invoice_key: str, position: int, percent: Decimal) -> InvoiceLine:
    exact = Fraction(charge.amount.amount) * Fraction(percent) / 100
    return InvoiceLine(
        key=charge.key,
        invoice_key=invoice_key,
        position=position,
        charge=charge,
        tax_percent=percent,
        tax=Money.rounded(exact, charge.amount.currency),
    )
