"""Where did every cent of Microsoft's bill go? Each line is billed, credited, held or excluded.

Per currency: Microsoft's total = billed + credited + held + excluded + residual. A line that none
of the four explains stays in the residual and is named by a finding. Nothing is made to fit.
What the lines are answered with is compared in `rules.four_way`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum

from domain.charge import Charge, ChargeType
from domain.contract import BillingContract
from domain.money import Money, total
from domain.period import Period, add_months
from domain.problems import Finding, Severity
from domain.run import ControlTotal
from domain.subscription import CostInvoice, CostKind, CostLine
from rules.linking import KINDS

_Place = tuple[str, date, date]
"""A subscription, the first day of a service, and the first day after it."""

_CYCLES = {ChargeType.NEW, ChargeType.CYCLE, ChargeType.RENEW}


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
            hint="run sync again; nothing is billed from an incomplete import",
        )
    ]


def check_seats(
    proposed: Iterable[Charge],
    lines: Iterable[CostLine],
    asked: Iterable[Charge],
    *,
    own_periods: bool = False,
) -> list[Finding]:
    """Compare the seats that are about to be asked for with Microsoft's lines.

    Microsoft's invoices are complete, so seats that they do not bill, or bill in another number,
    mean that a change was missed: the customer is held, not asked. `asked` are the charges of the
    draft, `proposed` all that should exist: what was asked for earlier counts with the rest of its
    days. Where lines follow the contract's `own_periods`, the seats of their first day are compared.
    """
    new = {_place(one.subscription_id, one.service) for one in asked if not one.answers}
    if own_periods:
        gaps = _gaps_by_day(list(proposed), list(lines), new)
    else:
        ours = [c for c in proposed if _place(c.subscription_id, c.service) in new]
        gaps = _gaps(ours, lines)
    return [
        Finding(
            check="seats.no_cost" if gap.theirs is None else "seats.difference",
            severity=Severity.HOLD,
            customer_id=gap.charge.customer_id,
            record=gap.record,
            sentence=(
                f"{gap.charge.name}, {gap.service}: {gap.ours:f} seats would be charged, "
                f"Microsoft billed {gap.billed}."
            ),
            hint="compare the subscription's changes with Microsoft's invoice; then run sync",
        )
        for gap in gaps
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gap:
    """One place where our seats are not Microsoft's; `theirs` is None where no line is for it."""

    charge: Charge
    service: Period
    ours: Decimal
    theirs: Decimal | None
    asked: Money
    near: CostLine | None
    """A line from the same day on, for other days: then the dates are the difference."""

    @property
    def record(self) -> str:
        return f"subscription {self.charge.subscription_id} {self.service}"

    @property
    def billed(self) -> str:
        """Say what Microsoft billed, and by that the cause: seats, dates, or no line at all."""
        if self.theirs is not None:
            return f"{self.theirs:f}"
        if self.near is not None:
            return f"{self.near.seats:f} for {self.near.charged}"
        return "none"


def _gaps(charges: Iterable[Charge], lines: Iterable[CostLine]) -> list[_Gap]:
    """Compare seats place by place; changes of a day that undo each other need no line."""
    ours: dict[_Place, list[Charge]] = defaultdict(list)
    for charge in charges:
        if charge.type in KINDS:
            ours[_place(charge.subscription_id, charge.service)].append(charge)
    theirs: dict[_Place, Decimal] = defaultdict(Decimal)
    starts: dict[tuple[str, date], CostLine] = {}
    for line in lines:
        if line.kind is CostKind.LICENCE and line.charged:
            theirs[_place(line.subscription_id, line.charged)] += line.seats
            starts[line.subscription_id, line.charged.start] = line
    found: list[_Gap] = []
    for place, group in ours.items():
        gap = _Gap(
            charge=group[0],
            service=group[0].service,
            ours=sum((charge.quantity for charge in group), Decimal(0)),
            theirs=theirs.get(place),
            asked=total((charge.amount for charge in group), group[0].amount.currency),
            near=starts.get(place[:2]),
        )
        if gap.ours != gap.theirs and (gap.theirs or gap.asked):
            found.append(gap)
    return found


def _gaps_by_day(
    charges: Sequence[Charge], lines: Sequence[CostLine], places: AbstractSet[_Place]
) -> list[_Gap]:
    """Compare all seats of the first day of each place, where a whole cycle of ours covers it."""
    found: list[_Gap] = []
    for subscription_id, day, end in sorted(places):
        ours = [
            c
            for c in charges
            if c.subscription_id == subscription_id and c.type in KINDS and day in c.service
        ]
        theirs = [
            line.seats
            for line in lines
            if line.subscription_id == subscription_id
            and line.kind is CostKind.LICENCE
            and line.charged
            and day in line.charged
        ]
        if not any(c.type in _CYCLES for c in ours):
            continue  # the cycle began before the contract: what it was is not ours to know
        gap = _Gap(
            charge=ours[-1],
            service=Period(day, end),
            ours=sum((c.quantity for c in ours), Decimal(0)),
            theirs=sum(theirs, Decimal(0)) if theirs else None,
            asked=total((c.amount for c in ours), ours[0].amount.currency),
            near=None,
        )
        if gap.ours != gap.theirs and (gap.theirs or gap.asked):
            found.append(gap)
    return found


def reconcile(
    *,
    lines: Sequence[CostLine],
    charges: Iterable[Charge],
    contracts: Mapping[str, BillingContract],
    held: AbstractSet[str],
    sold: Mapping[str, Decimal],
    period: Period | None = None,
    began: Mapping[str, date] | None = None,
) -> Reconciliation:
    """Give every line of the period's invoices its outcome.

    `charges` are those on documents that stand, `held` the customers on hold, `sold` what the
    documents ask for by currency. With the `period` of the bill, lines that a contract asks for
    with a later one wait, and are held. `began` is by customer the first day of its first contract.
    What a line is answered with is compared in `rules.four_way`.
    """
    all_charges = list(charges)
    standing = _standing(all_charges)
    gone = {charge.key for charge in all_charges} - {charge.key for charge in standing}
    by_line = {
        key
        for charge in all_charges
        if (charge.answers or charge.key) not in gone
        for key in charge.cost_lines
    }
    standing = [charge for charge in standing if charge.type in KINDS]
    places = {_place(charge.subscription_id, charge.service) for charge in standing}
    seats: dict[_Place, Decimal] = defaultdict(Decimal)
    outcomes: dict[str, Outcome] = {}
    sums: dict[str, dict[Outcome, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    findings: list[Finding] = []
    net: dict[_Place, Decimal] = defaultdict(Decimal)
    later = {c: due_until(one, period) for c, one in contracts.items()} if period else {}

    def not_yet(day: date | None, customer_id: str) -> bool:
        until = later.get(customer_id)
        return day is not None and customer_id in later and (until is None or day >= until)

    for line in lines:
        if line.kind is CostKind.LICENCE and line.charged:
            place = _place(line.subscription_id, line.charged)
            seats[place] += line.seats
            net[place] += line.subtotal
    for line in lines:
        if line.kind is CostKind.LICENCE and line.charged:
            place = _place(line.subscription_id, line.charged)
            answered = place in places or line.key in by_line
            # Changes of one day that undo each other come to nothing on both sides.
            undone = not (seats[place] or net[place])
        else:
            answered, undone = line.key in by_line, False
        if answered:
            outcome = _settled(line)
        elif excluded(line, contracts.get(line.customer_id), (began or {}).get(line.customer_id)):
            outcome = Outcome.EXCLUDED
        elif line.customer_id in held or not_yet(line.falls_on, line.customer_id):
            outcome = Outcome.HELD
        else:
            outcome = _settled(line) if undone else Outcome.UNEXPLAINED
        outcomes[line.key] = outcome
        sums[line.currency][outcome] += line.subtotal
        if outcome is Outcome.UNEXPLAINED and line.subtotal:
            findings.append(_unexplained(line))
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


def _place(subscription_id: str, service: Period) -> _Place:
    return subscription_id, service.start, service.end


def _settled(line: CostLine) -> Outcome:
    return Outcome.CREDITED if line.subtotal < 0 else Outcome.BILLED


def excluded(line: CostLine, contract: BillingContract | None, began: date | None = None) -> bool:
    """Say whether a line is not passed on by agreement, or was served before the contract began.

    `began` is the first day of the customer's first contract, where one went before.
    """
    if contract is None:
        return False
    if line.sku in contract.excluded_skus:
        return True
    return line.falls_on is not None and line.falls_on < (began or contract.starts)


def due_until(contract: BillingContract, period: Period) -> date | None:
    """Return the end of the service that is due with a month's bill or before; None: nothing is yet."""
    for back in range(37):
        start = add_months(period.start, -back)
        due = contract.due(Period(start, add_months(start, 1)))
        if due is not None:
            return due.end
    return None


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


def _standing(charges: Sequence[Charge]) -> list[Charge]:
    """Return each charge as its last adjustment left it; what was withdrawn is gone.

    An adjustment whose charge is not there (its document is void) stands for itself.
    """
    told = {charge.key: charge for charge in charges if not charge.answers}
    stands = dict(told)
    for one in sorted((c for c in charges if c.answers), key=_number):
        before = told.get(one.answers)
        inputs = one.reasons[0].inputs if one.reasons else {}
        if before is None:
            stands[one.key] = one
        elif inputs.get("cause") == "withdrawn":
            stands.pop(one.answers, None)
        elif "quantity" in inputs:
            quantity = Decimal(inputs["quantity"])
            stands[one.answers] = replace(before, quantity=quantity, service=one.service)
    return list(stands.values())


def _number(adjustment: Charge) -> int:
    number = adjustment.key.rpartition("/")[2]
    return int(number) if number.isdigit() else 0
