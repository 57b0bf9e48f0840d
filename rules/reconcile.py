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


def check_seats(
    proposed: Iterable[Charge], lines: Iterable[CostLine], asked: Iterable[Charge]
) -> list[Finding]:
    """Compare the seats that are about to be asked for with Microsoft's lines.

    Microsoft's invoices are complete, so seats that they do not bill, or bill in another number,
    mean that a change was missed: the customer is held, not asked. `asked` are the charges of the
    draft, `proposed` all that should exist: what was asked for earlier counts with the rest of its
    days.
    """
    new = {_place(one.subscription_id, one.service) for one in asked if not one.answers}
    ours: dict[tuple[str, date, date], list[Charge]] = defaultdict(list)
    for charge in proposed:
        place = _place(charge.subscription_id, charge.service)
        if not charge.cost_lines and place in new:
            ours[place].append(charge)
    theirs: dict[tuple[str, date, date], Decimal] = defaultdict(Decimal)
    for line in lines:
        if line.kind is CostKind.LICENCE and line.charged:
            theirs[_place(line.subscription_id, line.charged)] += line.seats
    findings: list[Finding] = []
    for place, group in ours.items():
        seats = sum((charge.quantity for charge in group), Decimal(0))
        money = sum((charge.amount.amount for charge in group), Decimal(0))
        billed = theirs.get(place)
        if seats == billed or (billed is None and not money):
            continue
        one = group[0]
        told = "none" if billed is None else f"{billed:f}"
        findings.append(
            Finding(
                check="seats.no_cost" if billed is None else "seats.difference",
                severity=Severity.HOLD,
                customer_id=one.customer_id,
                record=f"subscription {one.subscription_id} {one.service}",
                sentence=(
                    f"{one.name}, {one.service}: {seats:f} seats would be charged, "
                    f"Microsoft billed {told}."
                ),
                hint="compare the subscription's changes with Microsoft's invoice; then run sync",
            )
        )
    return findings


def reconcile(
    *,
    lines: Sequence[CostLine],
    charges: Iterable[Charge],
    contracts: Mapping[str, BillingContract],
    held: AbstractSet[str],
    sold: Mapping[str, Decimal],
    period: Period | None = None,
) -> Reconciliation:
    """Give every line of the period's invoices its outcome.

    `charges` are those on documents that stand, `held` the customers on hold, `sold` what the
    documents ask for by currency. With a `period`, only charges whose service starts in it are
    asked for their line: what was billed late is answered by an earlier invoice of Microsoft.
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
            answered = place in by_service
            # Changes of one day that undo each other come to nothing on both sides.
            undone = not (seats[place] or net[place])
        else:
            answered, undone = line.key in by_line, False
        if answered:
            outcome = _settled(line)
        elif _excluded(line, contracts.get(line.customer_id)):
            outcome = Outcome.EXCLUDED
        elif line.customer_id in held:
            outcome = Outcome.HELD
        else:
            outcome = _settled(line) if undone else Outcome.UNEXPLAINED
        outcomes[line.key] = outcome
        sums[line.currency][outcome] += line.subtotal
        if outcome is Outcome.UNEXPLAINED and line.subtotal:
            findings.append(_unexplained(line))
    findings.extend(_seat_differences(lines, by_service, seats))
    asked = [c for c in all_charges if period is None or c.service.start in period]
    findings.extend(_unanswered(asked, seats))
    totals = tuple(
        _control_total(currency, sums[currency], sold) for currency in sorted({*sums, *sold})
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


def _settled(line: CostLine) -> Outcome:
    return Outcome.CREDITED if line.subtotal < 0 else Outcome.BILLED


def _excluded(line: CostLine, contract: BillingContract | None) -> bool:
    """Not passed on by agreement, or served before the contract began."""
    if contract is None:
        return False
    if line.sku in contract.excluded_skus:
        return True
    return line.falls_on is not None and line.falls_on < contract.starts


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
