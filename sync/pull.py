"""Pull Microsoft's side of the partner into the store, one small unit at a time.

A sync run is for one day. Its plan lists the customers and the recent invoices, one unit for each;
a unit reads, translates and saves. A record that cannot be read is a finding in its place, and an
invoice whose lines do not sum to its head is not imported at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from domain.customer import Agreement, Customer
from domain.problems import Finding
from domain.subscription import Subscription
from rules import reconcile
from sync import usage_grouping
from sync.findings import replace_everywhere
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

    A stored customer that Partner Center no longer lists is asked for by id: why it is gone is a
    finding. Nothing is written before Partner Center has answered.
    """
    day = message.day or ports.now().date()
    if message.customer_id:
        return [
            PullUnit(run_key=message.run_key, part="customer", scope=message.customer_id, day=day)
        ]
    customers, bad = sift(ports.partner_center.customers())
    invoices, bad_invoices = sift(ports.partner_center.invoices())
    since = day - timedelta(days=INVOICE_DAYS)
    known = dict.fromkeys(customer.id for customer in ports.store.customers())
    new: list[Record] = [c for c in customers if c.id not in known]
    if new:
        ports.store.save(new)
    ports.store.replace_findings(("wire.customer", "wire.invoice"), "", [*bad, *bad_invoices])
    units = [PullUnit(run_key=message.run_key, part="relationships", day=day)]
    units.extend(
        PullUnit(run_key=message.run_key, part="customer", scope=customer_id, day=day)
        for customer_id in dict.fromkeys([*(c.id for c in customers), *known])
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
            found = sift(ports.directory.relationships())
            return _save(ports, "gdap", "wire.relationship", *found)
        case "changes":
            since = unit.day - timedelta(days=AUDIT_DAYS)
            until = unit.day + timedelta(days=1)
            events = ports.partner_center.subscription_events(since, until)
            return _save(ports, "events", "wire.audit_record", *sift(events))
        case "costs":
            return _costs(ports, unit.scope)


_CUSTOMER_CHECKS = (
    "customer.unreachable",
    "wire.customer",
    "wire.qualification",
    "wire.agreement",
    "wire.subscription",
)


def _customer(ports: Ports, unit: PullUnit) -> Outcome:
    """Read one customer whole: details, agreements, subscriptions; of a lost one there is none."""
    details, findings = sift([ports.partner_center.customer(unit.scope)])
    records: list[Record] = [*details]
    if not any(finding.check == "customer.unreachable" for finding in findings):
        agreements, bad = sift(ports.partner_center.agreements(unit.scope))
        subscriptions, worse = sift(ports.partner_center.subscriptions(unit.scope))
        records += [*agreements, *subscriptions]
        findings += [*bad, *worse]
    saved = ports.store.save(records)
    ports.store.replace_findings(_CUSTOMER_CHECKS, unit.scope, findings)
    kinds = Counter(type(record) for record in records)
    return Outcome(
        counts={
            "customers": kinds[Customer],
            "agreements": kinds[Agreement],
            "subscriptions": kinds[Subscription],
            "findings": len(findings),
            "written": saved.created + saved.updated,
        }
    )


def _save(
    ports: Ports, name: str, check: str, records: Sequence[Record], findings: Sequence[Finding]
) -> Outcome:
    saved = ports.store.save(records)
    replace_everywhere(ports.store, (check,), findings)
    return Outcome(
        counts={
            name: len(records),
            "findings": len(findings),
            "written": saved.created + saved.updated,
        }
    )


_COST_CHECKS = ("wire.cost_line", "wire.line", "wire.usage", "usage.no_line")


def _costs(ports: Ports, invoice_id: str) -> Outcome:
    """Import one of Microsoft's invoices with the usage that explains its metered lines.

    The unit stays open (held) while the import is not complete: no line of it is saved, and the
    next run tries again.
    """
    heads, _ = sift(ports.partner_center.invoices())
    invoice = next((head for head in heads if head.id == invoice_id), None)
    if invoice is None:
        return Outcome(held=True, counts={"cost_lines": 0})
    lines, bad = sift(ports.partner_center.cost_lines(invoice_id))
    incomplete = reconcile.complete(invoice, lines)
    replace_everywhere(
        ports.store,
        ("import.incomplete",),
        incomplete,
        record=f"Microsoft invoice {invoice_id}",
    )
    if incomplete:
        _replace_cost_findings(ports, invoice_id, bad)
        return Outcome(held=True, counts={"cost_lines": len(lines), "findings": len(bad) + 1})
    folder = ports.archive.folder(f"usage/{invoice_id}")
    files = ports.partner_center.download_usage(invoice_id, folder)
    asked = usage_grouping.asked(ports, invoice.billed)
    used = usage.load(files, scratch=folder / "scratch", asked=asked)
    explained = usage.with_shares(lines, used.shares)
    saved = ports.store.save([*explained, *used.summaries])
    findings = [*bad, *used.findings, *usage.not_on_invoice(lines, used)]
    _replace_cost_findings(ports, invoice_id, findings)
    return Outcome(
        counts={
            "cost_lines": len(explained),
            "usage_lines": used.lines,
            "usage_summaries": len(used.summaries),
            "findings": len(findings),
            "written": saved.created + saved.updated,
        }
    )


def _replace_cost_findings(ports: Ports, invoice_id: str, findings: Sequence[Finding]) -> None:
    """Name the invoice on each finding, so that its next import replaces them and no others."""
    mine = f"invoice {invoice_id}: "
    named = [
        replace(one, record=mine + one.record.removeprefix(f"invoice {invoice_id} "))
        for one in findings
    ]
    replace_everywhere(ports.store, _COST_CHECKS, named, record=mine)
