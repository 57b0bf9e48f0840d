"""Pull Microsoft's side of the partner into the store, one small unit at a time.

A sync run is for one day. Its plan lists the customers and the recent invoices, one unit for each;
a unit reads, translates and saves. A record that cannot be read is a finding in its place, and an
invoice whose lines do not sum to its head is not imported at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TypeVar

from domain.problems import Finding
from domain.subscription import CostInvoice
from rules import reconcile
from sync.ledger import Outcome
from sync.messages import PullUnit, StartRun
from sync.ports import Ports, Record
from usage import load as usage

AUDIT_DAYS = 89
"""Partner Center refuses a start more than 90 days back."""

INVOICE_DAYS = 45
"""Invoices issued in these last days are pulled: the one to bill, and the one before it, whose
lines show how the charge cycles began that were still running."""

T = TypeVar("T")


def sift(records: Iterable[T | Finding]) -> tuple[list[T], list[Finding]]:
    """Part what could be read from what could not."""
    good: list[T] = []
    bad: list[Finding] = []
    for record in records:
        if isinstance(record, Finding):
            bad.append(record)
        else:
            good.append(record)
    return good, bad


def plan(ports: Ports, message: StartRun) -> list[PullUnit]:
    """List the units of a day's sync; customers not stored yet are entered, so that rows have one.

    Nothing is written before Partner Center has answered.
    """
    day = message.day or ports.now().date()
    if message.customer_id:
        return [
            PullUnit(run_key=message.run_key, part="customer", scope=message.customer_id, day=day)
        ]
    customers, bad = sift(ports.partner_center.customers())
    invoices, bad_invoices = sift(ports.partner_center.invoices())
    since = day - timedelta(days=INVOICE_DAYS)
    known = {customer.id for customer in ports.store.customers()}
    new: list[Record] = [c for c in customers if c.id not in known]
    if new:
        ports.store.save(new)
    ports.store.replace_findings(("wire.customer", "wire.invoice"), "", [*bad, *bad_invoices])
    units = [PullUnit(run_key=message.run_key, part="relationships", day=day)]
    units.extend(
        PullUnit(run_key=message.run_key, part="customer", scope=customer.id, day=day)
        for customer in customers
    )
    units.append(PullUnit(run_key=message.run_key, part="changes", day=day))
    units.extend(
        PullUnit(run_key=message.run_key, part="costs", scope=invoice.id, day=day)
        for invoice in invoices
        if invoice.issued_on >= since
    )
    return units


def work(ports: Ports, unit: PullUnit) -> Outcome:
    """Read one part of Microsoft's side and save it."""
    match unit.part:
        case "customer":
            return _customer(ports, unit)
        case "relationships":
            return _save(ports, "gdap", *sift(ports.directory.relationships()))
        case "changes":
            since = unit.day - timedelta(days=AUDIT_DAYS)
            until = unit.day + timedelta(days=1)
            events = ports.partner_center.subscription_events(since, until)
            return _save(ports, "events", *sift(events))
        case "costs":
            return _costs(ports, unit.scope)


def _customer(ports: Ports, unit: PullUnit) -> Outcome:
    """Read one customer whole: details, agreements, subscriptions."""
    answer = ports.partner_center.customer(unit.scope)
    details, bad = sift([answer])
    agreements, bad_agreements = sift(ports.partner_center.agreements(unit.scope))
    subscriptions, bad_subscriptions = sift(ports.partner_center.subscriptions(unit.scope))
    records: list[Record] = [*details, *agreements, *subscriptions]
    saved = ports.store.save(records)
    findings = [*bad, *bad_agreements, *bad_subscriptions]
    _replace_wire_findings(ports, unit.scope, findings)
    return Outcome(
        counts={
            "customers": len(details),
            "agreements": len(agreements),
            "subscriptions": len(subscriptions),
            "findings": len(findings),
            "written": saved.created + saved.updated,
        }
    )


_CUSTOMER_CHECKS = ("wire.customer", "wire.agreement", "wire.subscription")


def _replace_wire_findings(ports: Ports, customer_id: str, findings: Sequence[Finding]) -> None:
    ports.store.replace_findings(_CUSTOMER_CHECKS, customer_id, findings)


def _save(
    ports: Ports, name: str, records: Sequence[Record], findings: Sequence[Finding]
) -> Outcome:
    saved = ports.store.save([*records, *findings])
    return Outcome(
        counts={
            name: len(records),
            "findings": len(findings),
            "written": saved.created + saved.updated,
        }
    )


def _costs(ports: Ports, invoice_id: str) -> Outcome:
    """Import one of Microsoft's invoices with the usage that explains its metered lines.

    The unit stays open (held) while the import is not complete: nothing of it is saved, and the
    next run tries again.
    """
    heads, _ = sift(ports.partner_center.invoices())
    invoice = next((head for head in heads if head.id == invoice_id), None)
    if invoice is None:
        return Outcome(held=True, counts={"cost_lines": 0})
    lines, bad = sift(ports.partner_center.cost_lines(invoice_id))
    incomplete = reconcile.complete(invoice, lines)
    ports.store.replace_findings(
        ("import.incomplete",), "", _of_all_invoices(ports, invoice, incomplete)
    )
    if incomplete:
        ports.store.save(list(bad))
        return Outcome(held=True, counts={"cost_lines": len(lines), "findings": len(bad) + 1})
    folder = ports.archive.folder(f"usage/{invoice_id}")
    files = ports.partner_center.download_usage(invoice_id, folder)
    used = usage.load(files, scratch=folder / "scratch")
    explained = usage.with_shares(lines, used.shares)
    records: list[Record] = [*explained, *used.summaries, *bad, *used.findings]
    saved = ports.store.save(records)
    return Outcome(
        counts={
            "cost_lines": len(explained),
            "usage_lines": used.lines,
            "usage_summaries": len(used.summaries),
            "findings": len(bad) + len(used.findings),
            "written": saved.created + saved.updated,
        }
    )


def _of_all_invoices(
    ports: Ports, invoice: CostInvoice, incomplete: Sequence[Finding]
) -> list[Finding]:
    """Keep what is known of the other invoices: findings are replaced per check."""
    record = f"Microsoft invoice {invoice.id}"
    others = [
        finding
        for finding in ports.store.findings()
        if finding.check == "import.incomplete" and finding.record != record
    ]
    return [*others, *incomplete]
