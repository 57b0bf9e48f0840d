"""What keeps usage from being billed: findings that hold the customer until somebody decides."""

from __future__ import annotations

from datetime import date

from domain.contract import BillingContract
from domain.money import plain
from domain.problems import Finding, Severity
from domain.subscription import CostLine


def no_usage(line: CostLine) -> Finding:
    """The daily usage explains nothing of a line that cost something."""
    return Finding(
        check="usage.missing",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"cost line {line.key}",
        sentence=(
            f"Microsoft billed {line.subtotal} {line.currency} for {line.name}, "
            "but the daily usage explains none of it."
        ),
        hint="run sync again tomorrow, as Microsoft may deliver usage a day late; if it stays, ask Microsoft",
    )


def not_grouped(line: CostLine, month: date, what: str) -> Finding:
    """Usage was not read as finely as its contract asks; `what` is missing."""
    return Finding(
        check="usage.not_grouped",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"usage of invoice {line.invoice_id}",
        sentence=(
            f"The usage of {month:%Y-%m} is to be billed by {what}, "
            f"and what is stored of Microsoft's invoice {line.invoice_id} does not tell it."
        ),
        hint="run sync, which reads the usage again as the contract asks, then bill again; if it "
        "stays, Microsoft's usage does not tell it: choose another grouping on the billing contract",
    )


def no_grouping(contract: BillingContract, fault: str) -> Finding:
    """A contract asks for a grouping that cannot be meant."""
    return Finding(
        check="usage.grouping",
        severity=Severity.HOLD,
        customer_id=contract.customer_id,
        record=f"billing contract {contract.key}",
        sentence=f"The contract's grouping of usage cannot be meant as it stands: {fault}.",
        hint="name the tag on the billing contract, or choose another grouping",
    )


def credit_unknown(line: CostLine) -> Finding:
    """The partner keeps an earned credit that nothing tells, or that is told in two ways."""
    words = f"; the line says {', '.join(line.adjustments)}" if line.adjustments else ""
    days = {share.earned_percent for share in line.shares if share.earned_percent is not None}
    if days:
        words += f"; its days say {' and '.join(plain(one) for one in sorted(days))} percent"
    return Finding(
        check="usage.earned_credit",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"cost line {line.key}",
        sentence=(
            f"The partner keeps the earned credit, and how much of it is in {line.subtotal} "
            f"{line.currency} for {line.name} is not told: the unit price is "
            f"{plain(line.unit_price)}, {plain(line.effective_unit_price)} was paid{words}."
        ),
        hint="run sync again, as the daily usage tells the percentage; if it stays, choose on the "
        "billing contract that the earned credit is passed on, or ask Microsoft for it",
    )
