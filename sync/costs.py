"""Import Microsoft's invoices with the usage that explains their metered lines.

An invoice whose lines do not sum to its head, or that was not delivered whole, is not imported at
all: a finding says so, and the next run tries again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from domain.delivery import Delivery
from domain.problems import (
    Finding,
    Incomplete,
    Severity,
)
from domain.subscription import (
    CostInvoice,
    CostKind,
    CostLine,
    UsageSummary,
)
from rules import reconcile
from sync import alerts, deliveries, usage_grouping
from sync.findings import INVOICE_CHECKS, replace_everywhere, sift, unsettled_invoices
from sync.ledger import Outcome
from sync.messages import PullUnit, StartRun
from sync.ports import Ports
from usage import load as usage

INVOICE_DAYS = 45
"""Invoices issued in these last days are pulled, every day anew: the one to bill, and the one before
it, whose lines show how the charge cycles began that were still running. Microsoft may issue them
again, with other lines; an older one is pulled when its total is another than was imported."""


def plan(ports: Ports, message: StartRun) -> list[PullUnit]:
    """List the units of what Microsoft bills: each recent invoice, and usage not billed yet."""
    day = message.day or ports.now().date()
    invoices, bad = sift(ports.partner_center.invoices())
    since = day - timedelta(days=INVOICE_DAYS)
    again = unsettled_invoices(
        ports.store.findings(), checks=(*INVOICE_CHECKS, "usage.not_grouped")
    )
    ports.store.replace_findings(("wire.invoice",), "", bad)
    units = [
        PullUnit(run_key=message.run_key, part="costs", scope=invoice.id, day=day)
        for invoice in invoices
        if (invoice.voided_on or invoice.issued_on) >= since
        or invoice.id in again
        or deliveries.issued_anew(ports.archive, invoice)
    ]
    # After the costs: what is billed by now is the history against which the rest is judged.
    units.extend(
        PullUnit(run_key=message.run_key, part="unbilled", scope=currency, day=day)
        for currency in alerts.currencies(ports, invoices)
    )
    return units


def work(ports: Ports, unit: PullUnit) -> Outcome:
    """Import one of Microsoft's invoices with the usage that explains its metered lines.

    A version that was imported before is left alone; a newer one replaces it wholly. The unit stays
    open (held) while the import is not complete: no line of it is saved, and the next run tries
    again.
    """
    invoice_id = unit.scope
    heads, _ = sift(ports.partner_center.invoices())
    invoice = next((head for head in heads if head.id == invoice_id), None)
    if invoice is None:
        return Outcome(held=True, counts={"cost_lines": 0})
    stored = ports.store.cost_lines([invoice_id])
    known = deliveries.imports(ports.archive, invoice_id)
    if invoice.voided_on:
        return _withdrawn(ports, unit, invoice, stored, known)
    try:
        delivered, metered = _archived(ports, unit, invoice, known) or (
            ports.partner_center.export("reconciliation", invoice_id),
            ports.partner_center.export("usage", invoice_id),
        )
    except Incomplete as fault:
        _tell_incomplete(ports, invoice_id, [_not_delivered(invoice_id, fault)])
        return Outcome(held=True, counts={"cost_lines": 0, "findings": 1})
    asked = usage_grouping.asked(ports, invoice.billed, stored)
    if (
        known
        and known[-1].same_as(delivered, metered)
        and not reconcile.complete(invoice, stored)
        and (
            usage_grouping.answers(stored, asked)
            or known[-1].asked == usage_grouping.needs(stored, asked)
        )
    ):
        _tell_incomplete(ports, invoice_id, [])
        return Outcome(counts={**known[-1].counts, "written": 0})
    lines, bad = sift(ports.partner_center.cost_lines(delivered))
    incomplete, repeated = reconcile.complete(invoice, lines), 0
    if incomplete:
        # Whether a line that two parts have is one line or two, the invoice's total decides.
        once, faults = sift(ports.partner_center.cost_lines(delivered, distinct=True))
        if not reconcile.complete(invoice, once):
            repeated = len(lines) - len(once)
            lines, bad, incomplete = once, faults, []
    _tell_incomplete(ports, invoice_id, incomplete)
    if incomplete:
        _replace_cost_findings(ports, invoice_id, bad)
        return Outcome(held=True, counts={"cost_lines": len(lines), "findings": len(bad) + 1})
    asked = usage_grouping.asked(ports, invoice.billed, lines)
    used = _usage(ports, metered, asked)
    unread = _unread(invoice_id, metered, used.lines)
    explains = any(line.kind is CostKind.USAGE and line.subtotal for line in lines)
    if explains and not metered.parts and known and known[-1].usage:
        unread = _usage_gone(invoice_id)
    if unread:
        _tell_incomplete(ports, invoice_id, [unread])
        return Outcome(held=True, counts={"cost_lines": len(lines), "findings": len(bad) + 1})
    explained = usage.with_shares(lines, used.shares)
    kept = {line.key for line in explained}
    withdrawn = [replace(line, withdrawn_on=unit.day) for line in stored if line.key not in kept]
    summaries = _named(used.summaries, invoice_id)
    restated = _restated(ports, invoice_id, known[-1] if known else None, metered, summaries)
    saved = ports.store.save([*withdrawn, *explained, *summaries, *restated])
    findings = [*bad, *used.findings, *usage.not_on_invoice(lines, used)]
    _replace_cost_findings(ports, invoice_id, findings)
    counts = {
        "cost_lines": len(explained),
        "usage_lines": used.lines,
        "usage_summaries": len(summaries),
        "findings": len(findings),
    }
    now_and_then = {
        "withdrawn_lines": len(withdrawn),
        "repeated_lines": repeated + metered.repeated_lines,
    }
    counts |= {name: count for name, count in now_and_then.items() if count}
    deliveries.note_import(
        ports.archive,
        invoice_id,
        deliveries.Import(
            at=ports.now(),
            lines=delivered.folder,
            usage=metered.folder,
            counts=counts,
            asked=usage_grouping.needs(lines, asked),
            total=invoice.total,
        ),
    )
    return Outcome(counts={**counts, "written": saved.created + saved.updated})


def _withdrawn(
    ports: Ports,
    unit: PullUnit,
    invoice: CostInvoice,
    stored: Sequence[CostLine],
    known: Sequence[deliveries.Import],
) -> Outcome:
    """Take back what was imported of an invoice that Microsoft voided; what replaces it is another.

    What was billed from it is answered by the next bill.
    """
    _tell_incomplete(ports, invoice.id, [])
    _replace_cost_findings(ports, invoice.id, [])
    counts = {"cost_lines": 0, "withdrawn_lines": len(stored)}
    if not stored and not (known and known[-1].lines):
        return Outcome(counts={**counts, "written": 0})
    withdrawn = [replace(line, withdrawn_on=unit.day) for line in stored]
    days = _restated(ports, invoice.id, known[-1] if known else None, None, ())
    saved = ports.store.save([*withdrawn, *days])
    deliveries.note_import(
        ports.archive,
        invoice.id,
        deliveries.Import(at=ports.now(), lines="", usage="", counts=counts, total=invoice.total),
    )
    return Outcome(counts={**counts, "written": saved.created + saved.updated})


def _archived(
    ports: Ports, unit: PullUnit, invoice: CostInvoice, known: Sequence[deliveries.Import]
) -> tuple[Delivery, Delivery] | None:
    """Return what the archive has of an older invoice whose usage is to be read in another grouping.

    None where Microsoft is asked: the invoice is recent, or issued anew, was never imported whole,
    or had lines that could not be read.
    """
    recent = invoice.issued_on >= unit.day - timedelta(days=INVOICE_DAYS)
    recent = recent or deliveries.issued_anew(ports.archive, invoice)
    findings = ports.store.findings()
    if recent or not known or invoice.id in unsettled_invoices(findings, checks=INVOICE_CHECKS):
        return None
    if invoice.id not in unsettled_invoices(findings, checks=("usage.not_grouped",)):
        return None
    lines = deliveries.delivery(ports.archive, known[-1].lines)
    metered = deliveries.delivery(ports.archive, known[-1].usage)
    return (lines, metered) if lines and metered else None


def _usage(
    ports: Ports, delivery: Delivery, asked: usage_grouping.Asked | None = None
) -> usage.UsageMonth:
    """Read the usage of a delivery from the archive, as fine as it is asked for.

    All its parts are open at once: where the archive is a container they lie on the local disk.
    """
    scratch = ports.archive.folder(f"scratch/{delivery.invoice_id}")
    with ExitStack() as open_files:
        files = [open_files.enter_context(ports.archive.local(name)) for name in delivery.distinct]
        return usage.load(files, scratch=scratch, asked=asked)


def _restated(
    ports: Ports,
    invoice_id: str,
    before: deliveries.Import | None,
    now: Delivery | None,
    summaries: Sequence[UsageSummary],
) -> list[UsageSummary]:
    """Return the days that an earlier version had and this one has not, with nothing on them.

    Days that were stored without their invoice are all such days: they stand under it now.
    """
    earlier = deliveries.delivery(ports.archive, before.usage) if before else None
    if earlier is None or before is None:
        return []
    named = before.reader >= deliveries.NAMES_INVOICE
    if named and now and earlier.folder == now.folder:
        return []
    kept = {one.key for one in summaries}
    had = _named(_usage(ports, earlier).summaries, invoice_id if named else "")
    return _emptied(one for one in had if one.key not in kept)


def _named(summaries: Iterable[UsageSummary], invoice_id: str) -> list[UsageSummary]:
    return [replace(one, invoice_id=invoice_id) for one in summaries]


def _emptied(summaries: Iterable[UsageSummary]) -> list[UsageSummary]:
    """Return days with nothing on them, each once."""
    once = {one.key: one for one in summaries}
    return [replace(one, lines=0, quantity=Decimal(0), cost=Decimal(0)) for one in once.values()]


def _unread(invoice_id: str, delivery: Delivery, lines: int) -> Finding | None:
    """Prove that every line of usage that was counted when it came in was read."""
    counted = sum(part.lines for part in delivery.parts) - delivery.repeated_lines
    if lines >= counted:
        return None
    return _incomplete(
        invoice_id,
        f"{counted} lines of usage came for {invoice_id}, and {lines} of them were read: "
        "not reconcilable.",
        "run sync again",
    )


def _usage_gone(invoice_id: str) -> Finding:
    """Tell that Microsoft shows no usage where it had some: an empty answer is not a clean one."""
    return _incomplete(
        invoice_id,
        f"Microsoft says that {invoice_id} has no usage, and delivered some of it before: "
        "not reconcilable.",
        "run sync again tomorrow; if it stays so, ask Microsoft where the usage went",
    )


def _not_delivered(invoice_id: str, fault: Incomplete) -> Finding:
    sentence = f"Microsoft did not deliver all of {invoice_id}: {fault}. Not reconcilable."
    return _incomplete(invoice_id, sentence, fault.hint or "run sync again")


def _incomplete(invoice_id: str, sentence: str, hint: str) -> Finding:
    return Finding(
        check="import.incomplete",
        severity=Severity.BLOCK,
        customer_id="",
        record=f"Microsoft invoice {invoice_id}",
        sentence=sentence,
        hint=f"{hint}; nothing is billed from an incomplete import",
    )


def _tell_incomplete(ports: Ports, invoice_id: str, findings: Sequence[Finding]) -> None:
    replace_everywhere(
        ports.store,
        ("import.incomplete",),
        findings,
        record=f"Microsoft invoice {invoice_id}",
    )


def _replace_cost_findings(ports: Ports, invoice_id: str, findings: Sequence[Finding]) -> None:
    """Name the invoice on each finding, so that its next import replaces them and no others."""
    mine = f"invoice {invoice_id}: "
    named = [
        replace(one, record=mine + one.record.removeprefix(f"invoice {invoice_id} "))
        for one in findings
    ]
    replace_everywhere(ports.store, INVOICE_CHECKS, named, record=mine)
