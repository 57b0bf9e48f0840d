"""Where did every cent of Microsoft's bill go? Each line is billed, credited, held or excluded.

Per currency: Microsoft's total = billed + credited + held + excluded + residual. A line that none
of the four explains stays in the residual and is named by a finding; a charge that no line of
Microsoft answers is named too. Nothing is made to fit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from domain.charge import Charge, ChargeType
from domain.contract import BillingContract
from domain.money import Money
from domain.period import Period
from domain.problems import Finding, Severity
from domain.run import ControlTotal
from domain.subscription import CostInvoice, CostKind, CostLine


class Outcome(StrEnum):
    """What became of one of Microsoft's lines."""

    BILLED = "billed"
    CREDITED = "credited"
    HELD = "held"
    EXCLUDED = "excluded"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The outcome of every line by its key, the totals by currency, and what does not fit."""

    outcomes: Mapping[str, Outcome]
    totals: tuple[ControlTotal, ...]
    findings: tuple[Finding, ...]


def complete(invoice: CostInvoice, lines: Sequence[CostLine]) -> list[Finding]:
    """Prove that an import is complete: the lines sum to the invoice, and there are some."""
    subtotal = sum((line.subtotal for line in lines), Decimal(0))
    if subtotal == invoice.total:
        return []
    return [
        Finding(
            check="import.incomplete",
            severity=Severity.BLOCK,
            customer_id="",
            record=f"Microsoft invoice {invoice.id}",
            sentence=(
                f"The {len(lines)} imported lines of {invoice.id} sum to {subtotal} "
                f"{invoice.currency}, the invoice says {invoice.total}: not reconcilable."
            ),
            hint="pull the invoice again; nothing is billed from an incomplete import",
        )
    ]


def reconcile(
    *,
    lines: Sequence[CostLine],
    charges: Iterable[Charge],
    contracts: Mapping[str, BillingContract],
    held: AbstractSet[str],
    sold: Mapping[str, Decimal],
) -> Reconciliation:
    """Give every line of the period's invoices its outcome.

    `charges` are those on the period's documents, `held` the customers on hold, `sold` what the
    documents ask for by currency.
    """
    by_line: set[str] = set()
    by_service: dict[tuple[str, date, date], Decimal] = defaultdict(Decimal)
    seats: dict[tuple[str, date, date], Decimal] = defaultdict(Decimal)
    all_charges = list(charges)
    for charge in all_charges:
        by_line.update(charge.cost_lines)
        if charge.type is not ChargeType.ADJUSTMENT:
            by_service[_place(charge.subscription_id, charge.service)] += charge.quantity
    outcomes: dict[str, Outcome] = {}
    sums: dict[str, dict[Outcome, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    findings: list[Finding] = []
    net: dict[tuple[str, date, date], Decimal] = defaultdict(Decimal)
    for line in lines:
        if line.kind is CostKind.LICENCE and line.charged:
            place = _place(line.subscription_id, line.charged)
            seats[place] += line.seats
            net[place] += line.subtotal
    for line in lines:
        if line.kind is CostKind.LICENCE and line.charged:
            place = _place(line.subscription_id, line.charged)
            # Changes of one day that undo each other come to nothing on both sides.
            answered = place in by_service or not (seats[place] or net[place])
        else:
            answered = line.key in by_line
        outcome = _outcome(line, contracts.get(line.customer_id), held, answered=answered)
        outcomes[line.key] = outcome
        sums[line.currency][outcome] += line.subtotal
        if outcome is Outcome.UNEXPLAINED and line.subtotal:
            findings.append(_unexplained(line))
    findings.extend(_seat_differences(lines, by_service, seats))
    findings.extend(_unanswered(all_charges, seats))
    totals = tuple(
        _control_total(currency, parts, sold) for currency, parts in sorted(sums.items())
    )
    return Reconciliation(outcomes=outcomes, totals=totals, findings=tuple(findings))


def _control_total(
    currency: str, parts: Mapping[Outcome, Decimal], sold: Mapping[str, Decimal]
) -> ControlTotal:
    zero = Money.zero(currency).amount  # so that nothing is written 0.00, not 0

    def of(outcome: Outcome) -> Decimal:
        return zero + parts.get(outcome, zero)

    return ControlTotal(
        currency=currency,
        microsoft=sum(parts.values(), zero),
        billed=of(Outcome.BILLED),
        credited=of(Outcome.CREDITED),
        held=of(Outcome.HELD),
        excluded=of(Outcome.EXCLUDED),
        sold=zero + sold.get(currency, zero),
    )


def _place(subscription_id: str, service: Period) -> tuple[str, date, date]:
    return subscription_id, service.start, service.end


def _outcome(
    line: CostLine,
    contract: BillingContract | None,
    held: AbstractSet[str],
    *,
    answered: bool,
) -> Outcome:
    if answered:
        return Outcome.CREDITED if line.subtotal < 0 else Outcome.BILLED
    if line.customer_id in held:
        return Outcome.HELD
    if contract is not None and line.sku in contract.excluded_skus:
        return Outcome.EXCLUDED
    starts = line.charged.start if line.charged else line.ordered_on
    if contract is not None and starts is not None and starts < contract.starts:
        return Outcome.EXCLUDED  # served before the contract began
    return Outcome.UNEXPLAINED


def _unexplained(line: CostLine) -> Finding:
    return Finding(
        check="reconcile.not_billed",
        severity=Severity.WARN,
        customer_id=line.customer_id,
        record=f"cost line {line.key}",
        sentence=(
            f"Microsoft billed {line.subtotal} {line.currency} for {line.name} "
            f"({line.charge_type}, {line.charged}) and no customer line answers it."
        ),
        hint="bill the customer if the charge is right, else claim it back from Microsoft",
    )


def _seat_differences(
    lines: Iterable[CostLine],
    billed: Mapping[tuple[str, date, date], Decimal],
    seats: Mapping[tuple[str, date, date], Decimal],
) -> list[Finding]:
    """Name the places where we billed another number of seats than Microsoft."""
    found: dict[tuple[str, date, date], Finding] = {}
    for line in lines:
        if line.kind is not CostKind.LICENCE or line.charged is None:
            continue
        place = _place(line.subscription_id, line.charged)
        ours, theirs = billed.get(place), seats[place]
        if ours is None or ours == theirs:
            continue
        found[place] = Finding(
            check="reconcile.quantity",
            severity=Severity.WARN,
            customer_id=line.customer_id,
            record=f"subscription {line.subscription_id} {line.charged}",
            sentence=(
                f"{line.name}, {line.charged}: Microsoft billed {theirs:f} seats, "
                f"the customer {ours:f}."
            ),
            hint="compare the change history of the subscription with Microsoft's lines",
        )
    return list(found.values())


def _unanswered(
    charges: Iterable[Charge], seats: Mapping[tuple[str, date, date], Decimal]
) -> list[Finding]:
    return [
        Finding(
            check="reconcile.no_cost",
            severity=Severity.WARN,
            customer_id=charge.customer_id,
            record=f"charge {charge.key}",
            sentence=(
                f"The customer is charged {charge.amount} for {charge.name} ({charge.service}), "
                "and no line of Microsoft's invoice answers it."
            ),
            hint="check that the subscription still runs; Microsoft may bill it next month",
        )
        for charge in charges
        if not charge.cost_lines
        and charge.type is not ChargeType.ADJUSTMENT
        and _place(charge.subscription_id, charge.service) not in seats
        and charge.amount
    ]
