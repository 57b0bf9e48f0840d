"""Pull Microsoft's side of the partner into the store, one small unit at a time.

A sync run is for one day. Its plan lists the customers and the recent invoices, one unit for each;
a unit reads, translates and saves. A record that cannot be read is a finding in its place, and an
invoice whose lines do not sum to its head is not imported at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Literal

from domain.customer import GONE, Agreement, Customer, DelegatedAdminRelationship
from domain.problems import (
    Finding,
    NotAuthorised,
    NotFound,
    ServiceError,
    Severity,
)
from domain.run import UnitStatus
from domain.subscription import (
    Subscription,
    SubscriptionKind,
)
from sync import alerts, costs, disturbance, gate, prices, tax_numbers
from sync.findings import replace_everywhere, sift
from sync.ledger import Outcome
from sync.messages import PullUnit, StartRun
from sync.ports import Ports, Record

AUDIT_DAYS = 89
"""Partner Center refuses a start more than 90 days back."""


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
    usage = costs.plan(ports, message)
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
            return costs.work(ports, unit)
        case "tax_numbers":
            return tax_numbers.work(ports, unit.day, unit.scope)
        case "unbilled":
            return alerts.work(ports, unit)
        case "prices":
            return prices.work(ports, unit)


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
