"""What a draft looks at: the lines that a month's bill asks for, and the checks that it comes to.

A document asks for all that is due since the contract began and that no other document asks for. So a
month that was held is asked for by the next bill, and what holds its lines must hold that bill too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from domain.charge import Charge
from domain.contract import BillingContract
from domain.period import Period
from domain.problems import Finding
from domain.subscription import CostLine
from invoice.document import DocumentStatus, Invoice
from invoice.file import CustomerFile
from rules import reconcile
from rules.checks import Room, of_rooms

AFTER_THE_CHARGES = tuple(
    name for name in of_rooms(Room.DRAFT) if name.startswith(("seats.", "correction."))
)
"""Checks that are asked of a document, so where something held before there is one, they are not."""


def with_unasked(
    found: Sequence[Finding], known: Iterable[Finding], unasked: Iterable[str]
) -> tuple[Finding, ...]:
    """Add what stands of checks that were not asked: not looked at is not gone."""
    keys, names = {one.key for one in found}, set(unasked)
    return (*found, *(one for one in known if one.check in names and one.key not in keys))


def unasked(contract: BillingContract | None) -> list[str]:
    """Name the checks that a draft does not come to where there is nothing to rate by."""
    tax_checks = [name for name in of_rooms(Room.TAX) if name.startswith("tax.")]
    rated = [name for name in of_rooms(Room.DRAFT) if name != "draft.unreadable"]
    return rated if contract else [*rated, *tax_checks]


def unbilled_before(file: CustomerFile, period: Period) -> list[CostLine]:
    """Return Microsoft's lines of earlier months that no document asks for: this bill does.

    Drafts of the month are made anew, so what they ask for is not answered.
    """
    if file.contract is None or not any(
        (day := line.falls_on) and day < period.start for line in file.cost_lines
    ):
        return []
    outcomes = reconcile.reconcile(
        lines=file.cost_lines,
        charges=asked_so_far(file.documents, period),
        contracts={file.customer.id: file.contract},
        held=frozenset(),
        sold={},
    ).outcomes
    return [
        line
        for line in file.cost_lines
        if outcomes[line.key] is reconcile.Outcome.UNEXPLAINED
        and (day := line.falls_on)
        and day < period.start
    ]


def lines_asked_for(file: CustomerFile, period: Period) -> list[CostLine]:
    """Return the lines of the months that a bill asks for: its own, and those left unbilled.

    What a later month's document asked for already is not among them.
    """
    later = {
        key
        for document in file.documents
        if document.status is not DocumentStatus.VOID and document.period.start > period.start
        for line in document.lines
        for key in line.charge.cost_lines
    }
    months = {_month(line) for line in unbilled_before(file, period)}
    return [
        line
        for line in file.cost_lines
        if _month(line) in months
        or ((day := line.falls_on) and day in period and line.key not in later)
    ]


def _month(line: CostLine) -> tuple[int, int] | None:
    return (line.falls_on.year, line.falls_on.month) if line.falls_on else None


def asked_so_far(documents: Iterable[Invoice], period: Period) -> Iterable[Charge]:
    """Yield what documents ask for, under whatever contract; this month's draft is made anew."""
    for document in documents:
        redone = document.status is DocumentStatus.DRAFT and document.period == period
        if document.status is not DocumentStatus.VOID and not redone:
            yield from (line.charge for line in document.lines)


def answered(file: CustomerFile, period: Period) -> AbstractSet[str]:
    """Return the keys of Microsoft's lines that documents ask for, this month's draft left out."""
    charges = list(asked_so_far(file.documents, period))
    keys = {key for charge in charges for key in charge.cost_lines}
    places = {(charge.subscription_id, charge.service) for charge in charges}
    return {
        line.key
        for line in file.cost_lines
        if line.key in keys or (line.subscription_id, line.charged) in places
    }
