"""Bill the customers of one month: prove the input, save what drafts differ in, reconcile.

Only a difference is written. What a customer's month comes to is computed in `sync.drafts`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import groupby

from domain.contract import BillingContract, counting
from domain.period import Period, add_months
from domain.problems import Finding, InputError, Severity
from domain.run import Run, RunStatus, UnitOfWork, UnitStatus
from domain.subscription import CostInvoice, CostLine
from invoice.document import DocumentKind, DocumentStatus, Invoice
from invoice.explain import fingerprint
from invoice.file import CustomerFile, Saved
from invoice.sold import sold_lines
from rules import reconcile
from rules.four_way import findings_of, four_way
from sync import deliveries, tax_numbers
from sync.documents import readable
from sync.drafts import DRAFT_CHECKS, RECONCILE_CHECKS, Draft, propose
from sync.due import MONTHS_BACK, NOT_DUE, due_customers, still_to_come
from sync.findings import (
    concerning,
    current,
    held_customers,
    of_their_contracts,
    replace_everywhere,
)
from sync.ledger import Ledger, Outcome
from sync.messages import BillUnit, StartRun
from sync.ports import Ports


def period_invoices(ports: Ports, period: Period) -> list[CostInvoice]:
    """Ask Partner Center for the invoices of a month; reading their heads is the completeness.

    Raises InputError where one cannot be read: it may be of this month.
    """
    heads: list[CostInvoice] = []
    for head in ports.partner_center.invoices():
        if isinstance(head, CostInvoice):
            if head.billed.start == period.start:
                heads.append(head)
        elif head.severity is not Severity.WARN:
            raise InputError(head.sentence, hint=head.hint)
    return heads


IMPORTS = "imports"
"""What a run counts of imports of its month's invoices: its totals rest on these."""


def outdated(ports: Ports, run: Run) -> bool:
    """Say whether a month's run no longer tells all that Microsoft invoiced, or left a residual."""
    heads = _known_heads(ports).get(run.window, [])
    return any(total.residual for total in run.totals) or _changed(ports, run, heads)


def months_changed(ports: Ports, day: date) -> list[str]:
    """Return the months (YYYY-MM) that Microsoft invoiced anew since they were billed, late ones too."""
    since = f"{add_months(day.replace(day=1), -MONTHS_BACK):%Y-%m}"
    found = []
    for month, heads in _known_heads(ports).items():
        run = ports.store.run(f"bill/{month}") if month >= since else None
        if run is not None and _changed(ports, run, heads):
            found.append(month)
    return found


def _known_heads(ports: Ports) -> Mapping[str, list[CostInvoice]]:
    """Return Microsoft's invoices by month; one that cannot be read is told where it is imported."""
    heads: dict[str, list[CostInvoice]] = defaultdict(list)
    for head in ports.partner_center.invoices():
        if isinstance(head, CostInvoice):
            heads[f"{head.billed.start:%Y-%m}"].append(head)
    return heads


def _changed(ports: Ports, run: Run, heads: Iterable[CostInvoice]) -> bool:
    heads = list(heads)
    if run.counts.get(IMPORTS, imported := _imports(ports, heads)) != imported:
        return True
    if run.scope:
        return False
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for head in heads:
        sums[head.currency] += Decimal(0) if head.voided_on else head.total
    told = {total.currency: total.microsoft for total in run.totals}
    return any(sums.get(one, 0) != told.get(one, 0) for one in {*sums, *told})


def _imports(ports: Ports, heads: Iterable[CostInvoice]) -> int:
    """Count the changes of what was imported: who dies after noting one lets it be noted again."""
    made = (deliveries.imports(ports.archive, head.id) for head in heads)
    return sum(len(list(groupby(one, lambda it: (it.lines, it.usage, it.reader)))) for one in made)


def unanswered(ports: Ports, run: Run | None, period: Period) -> set[str]:
    """Return the customers with lines of a month that no document asks for, though they were billed.

    Microsoft's second invoice of a month comes after the first one was billed. Where the run tells
    all that is invoiced nobody is looked for.
    """
    if run is not None and not outdated(ports, run):
        return set()
    heads = period_invoices(ports, period)
    lines = ports.store.cost_lines([head.id for head in heads])
    documents, _ = readable(ports.store)
    left = _left_over(lines, documents, ports.store.contracts(), period)
    return {line.customer_id for line in left}


def _left_over(
    lines: Iterable[CostLine],
    documents: Iterable[Invoice],
    contracts: Sequence[BillingContract],
    period: Period,
) -> list[CostLine]:
    """Return the lines that no document asks for and no contract excludes or puts off."""
    lines = list(lines)
    standing = [one for one in documents if one.status is not DocumentStatus.VOID]
    outcomes = reconcile.reconcile(
        lines=lines,
        charges=[line.charge for document in standing for line in document.lines],
        contracts=counting(contracts, period.last_day),
        held=frozenset(),
        sold={},
        period=period,
        began=_began(contracts),
    ).outcomes
    return [one for one in lines if outcomes[one.key] is reconcile.Outcome.UNEXPLAINED]


class NotYet(InputError):  # noqa: N818 - a state of the month, no fault
    """What a month is billed by is not complete yet."""


def plan(ports: Ports, message: StartRun) -> list[BillUnit]:
    """Prove that the month's input is complete, then list a unit for each customer.

    With a day only whom that day makes due, and whom the run has begun with. Raises NotYet when
    Microsoft's invoices are not there, or not imported to the cent: an empty input is not a clean one.
    """
    if message.period is None:
        raise InputError("a bill run needs a period", hint="give it as --period 2026-10")
    period = Period.month(message.period)
    heads = period_invoices(ports, period)
    if all(head.voided_on for head in heads):
        raise NotYet(
            f"Microsoft has not issued an invoice for {message.period} yet",
            hint="bill a month from about the 8th of the next one on",
        )
    lines = ports.store.cost_lines([head.id for head in heads])
    for head in heads:
        own = [line for line in lines if line.invoice_id == head.id]
        for finding in reconcile.complete(head, own):
            raise NotYet(finding.sentence, hint="run sync first; then bill again")
    if message.day is None:
        customers = list(ports.store.customers())
    else:
        begun = {unit.key for unit in ports.store.units(message.run_key)}
        due = {one.id for one in due_customers(ports, period, message.day)}
        customers = [
            one
            for one in ports.store.customers()
            if one.id in due or f"bill/{one.id}/{message.period}" in begun
        ]
    if message.customer_id:
        customers = [c for c in customers if c.id == message.customer_id]
        if not customers:
            raise InputError(
                f"there is no customer {message.customer_id}",
                hint="give the tenant id; run sync first if the customer is new",
            )
    tax_numbers.work(ports, ports.today(), message.customer_id or "")
    return [
        BillUnit(run_key=message.run_key, customer_id=customer.id, period=message.period)
        for customer in customers
    ]


def work(ports: Ports, unit: BillUnit) -> UnitOfWork | None:
    """Draft one customer's month and save the difference, once; None where nothing is to be done.

    A settled month is worked again only while its document is a draft (a rule that was mended mends
    the draft), or where Microsoft billed more since then. What comes out as it was, held or drafted,
    is left alone: nothing is written. One month of a customer at a time: of two that are reckoned with
    the same documents in view, both would ask for the same charge.
    """
    found = ports.store.unit(unit.key)
    status = found[0].status if found else UnitStatus.QUEUED
    settled = status is UnitStatus.SETTLED
    if settled and not (
        drafted(ports, unit.period, unit.customer_id) or _was_billed_more(ports, unit)
    ):
        return None
    if status in {UnitStatus.SETTLED, UnitStatus.HELD} and _is_as_before(ports, unit, status):
        return None
    period = unit.month

    def settle() -> Outcome:
        file, result, _ = _proposed(ports, unit)
        for document in _drafts(file.documents, period):
            if result.document is None or document.key != result.document.key:
                ports.store.discard_draft(document.key)
        lines = 0
        if result.document is not None:
            ports.store.save_document(result.document)
            lines = len(result.document.lines)
        return Outcome(
            held=result.held,
            counts={
                "documents": int(result.document is not None),
                "lines": lines,
                "findings": len(result.told),
            },
        )

    ledger = Ledger(ports.store, ports.now)
    with ledger.alone(f"bill/{unit.customer_id}"):
        return ledger.run_once(unit.key, "bill", unit.run_key, settle, repeatable=settled)


def _was_billed_more(ports: Ports, unit: BillUnit) -> bool:
    """Say whether Microsoft has lines of the month or before that no document asks for."""
    month = unit.month
    try:
        file = ports.store.customer_file(unit.customer_id, month.last_day)
    except InputError:
        return False  # the lines stay in the residual, which names them
    lines = [one for one in file.cost_lines if not (one.falls_on and one.falls_on >= month.end)]
    return bool(_left_over(lines, file.documents, file.contracts, month))


def _proposed(ports: Ports, unit: BillUnit) -> tuple[CustomerFile, Draft, Saved]:
    """Compute a customer's month and keep what was found."""
    file, result = propose(ports, unit.customer_id, unit.month)
    kept = (*result.findings, *result.elsewhere)
    return file, result, ports.store.replace_findings(DRAFT_CHECKS, unit.customer_id, kept)


def _is_as_before(ports: Ports, unit: BillUnit, status: UnitStatus) -> bool:
    """Say whether a month that was worked comes to the same again, its findings included."""
    with suppress(Exception):  # it fails again where it is noted on the unit
        file, result, saved = _proposed(ports, unit)
        told = [fingerprint(document) for document in _drafts(file.documents, unit.month)]
        wanted = [fingerprint(result.document)] if result.document else []
        same = told == wanted and not (saved.created or saved.updated)
        return same and result.held is (status is UnitStatus.HELD)
    return False


def drafted(ports: Ports, period: str, customer_id: str = "") -> set[str]:
    """Return the customers whose document of a month is still a draft, or cannot be read."""
    drafts, faulty = readable(
        ports.store, period=period, status=DocumentStatus.DRAFT, customer_id=customer_id
    )
    return {draft.customer_id for draft in drafts} | faulty


def _drafts(documents: Iterable[Invoice], period: Period) -> list[Invoice]:
    return [d for d in documents if d.status is DocumentStatus.DRAFT and d.period == period]


def close(ports: Ports, run: Run) -> Run:
    """Reconcile the month of a bill run and return the run with totals, counts and its end.

    A run for one customer answers for that customer's lines alone. Lines of customers whose billing
    day is still to come stand as held, and the run counts these customers as not due.
    """

    def mine(customer_id: str) -> bool:
        return run.scope in {"", customer_id}

    period = Period.month(run.window)
    heads = period_invoices(ports, period)
    stored = ports.store.cost_lines([head.id for head in heads])
    lines = [line for line in stored if mine(line.customer_id)]
    # A month may be billed late, by a later month's document: all that stand may answer its lines.
    answering = [
        document
        for document in readable(ports.store, customer_id=run.scope)[0]
        if document.status is not DocumentStatus.VOID
    ]
    standing = [document for document in answering if document.period == period]
    asked = {key for d in standing for line in d.lines for key in line.charge.cost_lines}
    found = concerning(ports.store, current(ports, customer_id=run.scope), period, asked=asked)
    held = held_customers(of_their_contracts(found, standing)) | held_units(ports, run.key)
    waiting = set() if run.scope else still_to_come(ports, run.key, period)
    sold: dict[str, Decimal] = defaultdict(Decimal)
    for document in standing:
        sold[document.currency] += document.subtotal.amount
    known = ports.store.contracts()
    contracts = counting(known, period.last_day)
    result = reconcile.reconcile(
        lines=lines,
        charges=[line.charge for document in answering for line in document.lines],
        contracts=contracts,
        held=held | waiting,
        sold=sold,
        period=period,
        began=_began(known),
    )
    told = [*result.findings, *compared(lines, answering, contracts, held | waiting, period)]
    residual = [replace(one, record=f"{one.record}{_OF_BILL}{run.window}") for one in told]
    others = _of_other_months(ports, run)
    if run.scope:
        ports.store.replace_findings(RECONCILE_CHECKS, run.scope, [*residual, *others])
    else:
        replace_everywhere(ports.store, RECONCILE_CHECKS, [*residual, *others])
    return replace(
        run,
        status=RunStatus.DONE_WITH_HOLDS if held else RunStatus.DONE,
        totals=result.totals,
        counts={
            "customers": sum(mine(customer.id) for customer in ports.store.customers()),
            "held": len(held),
            "invoices": sum(d.kind is DocumentKind.INVOICE for d in standing),
            "credit_notes": sum(d.kind is DocumentKind.CREDIT_NOTE for d in standing),
            "charges": sum(len(d.lines) for d in standing),
            "cost_lines": len(lines),
            "residual_findings": len(residual),
            IMPORTS: _imports(ports, heads),
            **({NOT_DUE: len(waiting)} if waiting else {}),
        },
    )


_OF_BILL = ", bill of "
"""What the record of a reconciled month ends with, before the month."""


def _of_other_months(ports: Ports, run: Run) -> list[Finding]:
    """Return what other months were left with: it stands until these are reconciled again."""
    return [
        one
        for one in ports.store.findings(customer_id=run.scope)
        if one.check in RECONCILE_CHECKS
        and _OF_BILL in one.record
        and not one.record.endswith(f"{_OF_BILL}{run.window}")
    ]


def held_units(ports: Ports, run_key: str) -> set[str]:
    """Return the customers that a bill run left out, also where nothing holds them any more."""
    return {
        unit.key.split("/")[1]
        for unit in ports.store.units(run_key)
        if unit.status is UnitStatus.HELD
    }


def _began(contracts: Iterable[BillingContract]) -> Mapping[str, date]:
    """Return by customer the first day of its first contract."""
    latest_first = sorted(contracts, key=lambda one: one.starts, reverse=True)
    return {one.customer_id: one.starts for one in latest_first}


def compared(
    lines: Sequence[CostLine],
    documents: Iterable[Invoice],
    contracts: Mapping[str, BillingContract],
    held: AbstractSet[str],
    period: Period,
) -> list[Finding]:
    """Find where a month's documents ask for other seats, days and credits than Microsoft.

    A line that nothing answers is told by its outcome already; `sync.reconcile` compares the prices too.
    """
    keys = {line.key for line in lines}
    days = {(line.subscription_id, line.charged) for line in lines if line.charged}
    sold = [
        line
        for line, charge in sold_lines(documents)
        if not keys.isdisjoint(charge.cost_lines)
        or (charge.subscription_id, charge.service) in days
        or (not charge.cost_lines and charge.service.start in period)
    ]
    sides = four_way(lines, sold, contracts=contracts, held=held, period=period)
    told = findings_of(sides.differences, {line.key for line in sold})
    return [*told, *sides.findings]
