"""Pull Microsoft's side of the partner into the store, one small unit at a time.

A sync run is for one day. Its plan lists the customers and the recent invoices, one unit for each;
a unit reads, translates and saves. A record that cannot be read is a finding in its place, and an
invoice whose lines do not sum to its head is not imported at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal, TypeVar

from domain.customer import GONE, Agreement, Customer, DelegatedAdminRelationship
from domain.delivery import Delivery
from domain.problems import (
    Finding,
    Incomplete,
    NotAuthorised,
    NotFound,
    ServiceError,
    Severity,
)
from domain.run import UnitStatus
from domain.subscription import (
    CostInvoice,
    CostKind,
    CostLine,
    Subscription,
    SubscriptionKind,
    UsageSummary,
)
from rules import reconcile
from sync import alerts, deliveries, disturbance, gate, tax_numbers, usage_grouping
from sync.findings import INVOICE_CHECKS, replace_everywhere, unsettled_invoices
from sync.ledger import Outcome
from sync.messages import PullUnit, StartRun
from sync.ports import Ports, Record
from usage import load as usage

AUDIT_DAYS = 89
"""Partner Center refuses a start more than 90 days back."""

INVOICE_DAYS = 45
"""Invoices issued in these last days are pulled, every day anew: the one to bill, and the one before
it, whose lines show how the charge cycles began that were still running. Microsoft may issue them
again, with other lines; an older one is pulled when its total is another than was imported."""

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
        parts: tuple[Literal["relationships", "customer"], ...] = ("relationships", "customer")
        pulled = [
            PullUnit(run_key=message.run_key, part=part, scope=message.customer_id, day=day)
            for part in parts
        ]
        return [*pulled, *_tax_numbers(ports, pulled[-1])]
    customers, bad = sift(ports.partner_center.customers())
    usage = plan_usage(ports, message)
    known = dict.fromkeys(customer.id for customer in ports.store.customers())
    new: list[Record] = [c for c in customers if c.id not in known]
    if new:
        ports.store.save(new)
    ports.store.replace_findings(("wire.customer",), "", bad)
    units = [PullUnit(run_key=message.run_key, part="relationships", day=day)]
    units.extend(
        PullUnit(run_key=message.run_key, part="customer", scope=customer_id, day=day)
        for customer_id in dict.fromkeys([*(c.id for c in customers), *known])
    )
    units.append(PullUnit(run_key=message.run_key, part="changes", day=day))
    return [*units, *_tax_numbers(ports, units[-1]), *usage]


def plan_usage(ports: Ports, message: StartRun) -> list[PullUnit]:
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


def plan_access(ports: Ports, message: StartRun) -> list[PullUnit]:
    """List the unit of delegated administration, of all customers or of one."""
    day = message.day or ports.now().date()
    scope = message.customer_id or ""
    return [PullUnit(run_key=message.run_key, part="relationships", scope=scope, day=day)]


def _tax_numbers(ports: Ports, unit: PullUnit) -> list[PullUnit]:
    """Return the look at tax numbers that goes with a unit, where there is whom to ask."""
    return [unit.model_copy(update={"part": "tax_numbers"})] if ports.number_register else []


def work(ports: Ports, unit: PullUnit) -> Outcome:
    """Read one part of Microsoft's side and save it."""
    match unit.part:
        case "customer":
            return disturbance.undisturbed(ports, unit, _customer)
        case "relationships":
            return _relationships(ports, unit)
        case "changes":
            since = unit.day - timedelta(days=AUDIT_DAYS)
            until = unit.day + timedelta(days=1)
            events = ports.partner_center.subscription_events(since, until)
            return _save(ports, "events", "wire.audit_record", *sift(events))
        case "costs":
            return _costs(ports, unit)
        case "tax_numbers":
            return tax_numbers.work(ports, unit.day, unit.scope)
        case "unbilled":
            return alerts.work(ports, unit)
        case "prices":
            return Outcome()


_ACCESS_CHECKS = ("customer.unreachable", "access.denied")
_CUSTOMER_CHECKS = (
    *_ACCESS_CHECKS,
    "agreement.unknown",
    "wire.customer",
    "wire.qualification",
    "wire.agreement",
    "wire.subscription",
)


def _customer(ports: Ports, unit: PullUnit, watch: disturbance.Watch) -> Outcome:
    """Read one customer whole, then ask its checks: details, agreements, subscriptions.

    Only of a reseller customer more is read than what it is. What cannot be read stays as it was,
    with the day from which on it is stale.
    """
    stored = ports.store.customer(unit.scope)
    records: list[Record]
    refused: ServiceError | None = None
    try:
        records, findings = _read_customer(ports, unit, stored)
    except (NotAuthorised, NotFound) as error:
        refused = error
        records = [_stale(stored, unit.day)] if stored else []
        findings = [_refused(unit.scope, error)]
    watch.stop()
    saved = ports.store.save(records)
    denied = any(one.check == "access.denied" for one in findings)
    # What could not be read the last time is no better for not being shown now.
    looked_at = _ACCESS_CHECKS if denied else _CUSTOMER_CHECKS
    told = gate.without_needless_holds(ports, unit.scope, findings)
    ports.store.replace_findings(looked_at, unit.scope, told)
    kinds = Counter(type(record) for record in records)
    if stored is not None or kinds[Customer]:
        # Not counted with what was read: it depends on which unit came first, until all are through.
        gate.check_customer(ports, unit.scope)
    if refused is not None and refused.status in {None, 401}:
        raise refused  # our own sign-in: the run must not look as if it had been through
    return Outcome(
        counts={
            "customers": kinds[Customer],
            "agreements": kinds[Agreement],
            "subscriptions": kinds[Subscription],
            "findings": len(findings),
            "written": saved.created + saved.updated,
        }
    )


def _read_customer(
    ports: Ports, unit: PullUnit, stored: Customer | None
) -> tuple[list[Record], list[Finding]]:
    details, findings = sift([ports.partner_center.customer(unit.scope)])
    if not details:
        lost = stored is not None and _is_lost(findings)
        return ([_stale(stored, unit.day)] if stored and lost else []), findings
    customer = details[0]
    if customer.relationship.lower() != "reseller":
        return [_kept(customer, stored, unit.day)], findings
    agreements, bad = sift(ports.partner_center.agreements(unit.scope))
    subscriptions, worse = sift(ports.partner_center.subscriptions(unit.scope))
    findings = list({one.key: one for one in (*findings, *bad, *worse)}.values())
    if _is_lost(findings):
        # The customer itself was shown: what it has may not be read any more, in whole or in part.
        hidden = replace(customer, details_known=False)
        return [_kept(hidden, stored, unit.day)], findings
    if not bad:
        agreements += _withdrawn_agreements(ports, unit, agreements)
    subscriptions = _with_segments(ports, unit, subscriptions)
    return [_kept(customer, stored, unit.day), *agreements, *subscriptions], findings


def _refused(customer_id: str, error: ServiceError) -> Finding:
    return Finding(
        check="access.denied",
        severity=Severity.WARN,
        customer_id=customer_id,
        record=f"customer {customer_id}",
        # Without the id of the request: the sentence of each day would be another.
        sentence="Partner Center refuses a part of the customer's data: "
        f"{error.service} {error.status or ''} code {error.code or 'none'}.",
        hint="give the worker's sign-in the right to read it, or restore the access to the customer; "
        "until then it is billed by what was read before, for as long as CSP_STALE_DAYS allows",
    )


def _is_lost(findings: Iterable[Finding]) -> bool:
    return any(one.check in {"customer.unreachable", "access.denied"} for one in findings)


def _kept(read: Customer, stored: Customer | None, day: date) -> Customer:
    """Keep what was read before where Microsoft hides it now, with the day from which on it is old."""
    if read.details_known:
        return read
    if stored is None or not stored.details_known:
        return replace(read, stale_since=(stored.stale_since if stored else None) or day)
    return replace(
        stored,
        relationship=read.relationship,
        name=read.name or stored.name,
        qualifications=read.qualifications or stored.qualifications,
        resellers=read.resellers or stored.resellers,
        resellers_known=read.resellers_known,
        stale_since=stored.stale_since or day,
    )


def _stale(stored: Customer, day: date) -> Customer:
    return replace(stored, stale_since=stored.stale_since or day)


def _with_segments(
    ports: Ports, unit: PullUnit, read: Sequence[Subscription]
) -> list[Subscription]:
    """Keep the price segment that was known where the catalogue does not answer now.

    What was bought keeps its segment until it changes to another product.
    """
    seats = SubscriptionKind.LICENCE
    asked = {one.id for one in read if one.kind is seats and one.alive and not one.segment}
    stored = ports.store.subscriptions(unit.scope) if asked else ()
    known = {one.id: one for one in stored if one.id in asked and one.segment}
    return [
        replace(one, segment=before.segment)
        if (before := known.get(one.id)) and before.sku == one.sku
        else one
        for one in read
    ]


def _withdrawn_agreements(
    ports: Ports, unit: PullUnit, listed: Sequence[Agreement]
) -> list[Agreement]:
    """Return the stored agreements that Microsoft no longer lists, with the day."""
    keys = {agreement.key for agreement in listed}
    return [
        replace(one, withdrawn_on=one.withdrawn_on or unit.day)
        for one in ports.store.agreements(unit.scope)
        if one.key not in keys
    ]


def _relationships(ports: Ports, unit: PullUnit) -> Outcome:
    """Read delegated administration, of all customers or of one, and ask the checks of whom it changes.

    A relationship that is no longer listed is gone, unless an entry of the list that cannot be read
    may be it. What was not read stays as it was, with the day from which on it is stale. Customers
    whose own unit waits in the same run are checked by it; whom an event had read meanwhile is read again.
    """
    watch = disturbance.Watch(ports, unit)
    stored = {one.key: one for one in ports.store.relationships(unit.scope)}
    refused: ServiceError | None = None
    listed: list[DelegatedAdminRelationship] = []
    bad: list[Finding] = []
    try:
        listed, bad = sift(ports.directory.relationships(unit.scope))
    except (NotAuthorised, NotFound) as error:
        refused = error
    late = watch.disturbed()
    listed = [one for one in listed if one.customer_id not in late]
    keys = {one.key for one in listed}
    unread = [
        replace(one, stale_since=one.stale_since or unit.day)
        if refused or any(_may_be(fault, one) for fault in bad)
        else replace(one, status=GONE, active_assignments=0, assignments=(), stale_since=None)
        for key, one in stored.items()
        if key not in keys and one.status != GONE and one.customer_id not in late
    ]
    saved = ports.store.save([*listed, *unread])
    if refused is None and unit.scope:
        ports.store.replace_findings(("wire.relationship",), unit.scope, bad)
    elif refused is None:
        replace_everywhere(ports.store, ("wire.relationship",), bad)
    changed = {one.customer_id for one in [*listed, *unread] if one != stored.get(one.key)}
    waiting = {
        one.key.split("/")[2]
        for one in ports.store.units(unit.run_key)
        if one.key.startswith("pull/customer/") and one.status is UnitStatus.QUEUED
    }
    for customer_id in sorted(changed - waiting):
        if ports.store.customer(customer_id) is not None:
            gate.check_customer(ports, customer_id)
    if refused is not None:
        raise refused
    for customer_id in sorted(late | watch.disturbed()):
        _relationships(ports, unit.model_copy(update={"scope": customer_id}))
    return Outcome(
        counts={
            "gdap": len(listed),
            "findings": len(bad),
            "written": saved.created + saved.updated,
        }
    )


def _may_be(fault: Finding, relationship: DelegatedAdminRelationship) -> bool:
    """Say whether an entry that cannot be read may be this relationship: by its id, else its customer."""
    named = fault.record.removeprefix("relationship ")
    if named == relationship.id:
        return True
    if named != fault.record and not named.startswith("#"):
        return False  # it has an id, of another one
    return fault.customer_id in {"", relationship.customer_id}


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


def _costs(ports: Ports, unit: PullUnit) -> Outcome:
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
