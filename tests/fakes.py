"""The ports of the use cases in memory: short, strict, counting every write."""

from __future__ import annotations

import gzip
import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from app.places import World
from domain.contract import (
    BillingContract,
    ExchangeRate,
    MarkupRule,
    PriceListItem,
    SheetPrice,
    TaxProfile,
)
from domain.customer import Account, Agreement, Customer, DelegatedAdminRelationship
from domain.delivery import JOURNAL, Delivery, Part
from domain.problems import (
    Conflict,
    Decision,
    Finding,
    NotFound,
    ServiceError,
    Severity,
    Unavailable,
)
from domain.run import RequestStatus, Run, RunRequest, RunStatus, UnitOfWork, UnitStatus
from domain.subscription import (
    CostInvoice,
    CostLine,
    Subscription,
    SubscriptionEvent,
    UsageSummary,
)
from domain.tax import (
    ExemptionCertificate,
    Seller,
    TaxNumberCheck,
    TaxPolicy,
    TaxRate,
    TaxRegistration,
    TaxRounding,
)
from domain.usage_alert import AlertState, UsageAlert, UsageBudget
from invoice.document import DocumentStatus, Invoice
from invoice.file import CustomerFile, Saved
from invoice.reported import CopyState, Reported
from rules.facts import Demands
from rules.places import Atlas
from sync.ports import (
    WATCHED,
    Accounting,
    NumberRegister,
    Ports,
    Projection,
    Record,
    TaxEngine,
)
from tests.builders import an_account
from transport.blobs import FolderArchive
from transport.queues import KINDS

MOMENT = datetime(2026, 11, 9, 6, tzinfo=UTC)


def _started(run: Run) -> datetime:
    return run.started_at


class Crash(BaseException):
    """The process dies: nothing may catch it, no note can be left."""


class MemoryStore:
    """The system of record as dictionaries; every row that is written has a line in `writes`."""

    def __init__(self) -> None:
        self.rows: dict[type, dict[str, Any]] = {}
        self.found: dict[str, Finding] = {}
        self.decided: dict[str, Decision] = {}
        """What a person set on the row of a finding, by the finding's key."""
        self.clock: Callable[[], datetime] = lambda: MOMENT
        self.papers: dict[str, Invoice] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.file_faults: dict[str, ServiceError] = {}
        """By document key, what attaching its file comes to."""
        self.ledger: dict[str, tuple[UnitOfWork, str]] = {}
        self.counted_at_once = 50_000
        self.writes: list[str] = []
        self.fault: BaseException | None = None
        self.fault_at = 0
        """The write before which `fault` is raised, counted from 1."""

    def _write(self, what: str) -> None:
        if self.fault is not None and len(self.writes) + 1 >= self.fault_at:
            raise self.fault
        self.writes.append(what)

    def table(self, kind: type) -> dict[str, Any]:
        return self.rows.setdefault(kind, {})

    def _own(self, kind: type, customer_id: str, *, shared: bool = False) -> tuple[Any, ...]:
        owners = {customer_id, ""} if shared else {customer_id}
        rows = self.table(kind)
        return tuple(rows[key] for key in sorted(rows) if rows[key].customer_id in owners)

    def save(self, records: Sequence[Record]) -> Saved:
        saved = Saved()
        for record in records:
            rows = self.found if isinstance(record, Finding) else self.table(type(record))
            old = rows.get(record.key)
            new: Any = record
            if isinstance(record, Finding) and old is not None:
                # Of days alone no row is written.
                new = replace(record, seen=old.seen, since=old.since)
            if old == new:
                saved += Saved(unchanged=1)
                continue
            self._write(f"save {record.key}")
            rows[record.key] = new
            saved += Saved(created=1) if old is None else Saved(updated=1)
        return saved

    def customers(self) -> Sequence[Customer]:
        return sorted(self.table(Customer).values(), key=lambda customer: customer.name)

    def customer(self, customer_id: str) -> Customer | None:
        found: Customer | None = self.table(Customer).get(f"customer/{customer_id}")
        return found

    def agreements(self, customer_id: str) -> Sequence[Agreement]:
        return self._own(Agreement, customer_id)

    def subscriptions(self, customer_id: str) -> Sequence[Subscription]:
        return self._own(Subscription, customer_id)

    def relationships(self, customer_id: str = "") -> Sequence[DelegatedAdminRelationship]:
        rows = [row for _, row in sorted(self.table(DelegatedAdminRelationship).items())]
        return [row for row in rows if customer_id in {"", row.customer_id}]

    def customer_file(self, customer_id: str, on: date | None = None) -> CustomerFile:
        customer = self.table(Customer).get(f"customer/{customer_id}")
        if customer is None:
            raise NotFound(f"customer {customer_id} is not stored", service="Store")
        contracts = self._own(BillingContract, customer_id)
        lasting = [one for one in contracts if one.ends is None or one.ends > one.starts]
        begun = [one for one in lasting if on is None or one.starts <= on]
        begun.sort(key=lambda one: (one.starts, one.key))
        chosen = sorted(begun[-1:] or lasting or contracts, key=lambda one: (one.starts, one.key))
        contract = chosen[0] if chosen else None
        profile = self.table(TaxProfile).get(contract.tax_profile_key) if contract else None
        check = self.table(TaxNumberCheck).get(profile.check_key) if profile else None
        return CustomerFile(
            customer=customer,
            agreements=self._own(Agreement, customer_id),
            relationships=self._own(DelegatedAdminRelationship, customer_id),
            subscriptions=self._own(Subscription, customer_id),
            events=self._own(SubscriptionEvent, customer_id),
            cost_lines=tuple(
                line for line in self._own(CostLine, customer_id) if line.withdrawn_on is None
            ),
            contract=contract,
            contracts=contracts,
            account=self._account(contract) if contract else None,
            mapped_account=self.table(Account).get(f"of {customer_id}"),
            tax_profile=profile,
            seller=self._seller(contract),
            registrations=tuple(
                row
                for _, row in sorted(self.table(TaxRegistration).items())
                if (seller := self._seller(contract)) and row.seller_key == seller.key
            ),
            certificates=self._own(ExemptionCertificate, customer_id),
            number_checks=() if check is None else (check,),
            tax_rates=tuple(row for _, row in sorted(self.table(TaxRate).items())),
            price_list=self._own(PriceListItem, customer_id, shared=True),
            rules=self._own(MarkupRule, customer_id, shared=True),
            rates=tuple(row for _, row in sorted(self.table(ExchangeRate).items())),
            documents=tuple(self.documents(customer_id=customer_id)),
        )

    def _account(self, contract: BillingContract) -> Account | None:
        """The account that a test stored; else one in order, as the contract names it."""
        stored: Account | None = self.table(Account).get(contract.account_id)
        made = an_account(id=contract.account_id, name=contract.account_name)
        return stored or (made if contract.account_id else None)

    def _seller(self, contract: BillingContract | None) -> Seller | None:
        sellers = self.table(Seller)
        if contract is not None and contract.seller_key:
            return sellers.get(contract.seller_key)
        return next(iter(sellers.values())) if len(sellers) == 1 else None

    def cost_lines(
        self, invoice_ids: Sequence[str], *, withdrawn: bool = False
    ) -> Sequence[CostLine]:
        lines = [line for _, line in sorted(self.table(CostLine).items())]
        return [
            one
            for one in lines
            if one.invoice_id in invoice_ids and (one.withdrawn_on is not None) == withdrawn
        ]

    def contracts(self) -> Sequence[BillingContract]:
        return [row for _, row in sorted(self.table(BillingContract).items())]

    def taxed_contracts(self) -> Sequence[tuple[BillingContract, TaxProfile]]:
        profiles = self.table(TaxProfile)
        return [
            (one, profiles[one.tax_profile_key])
            for one in self.contracts()
            if one.tax_profile_key in profiles
        ]

    def number_checks(self) -> Sequence[TaxNumberCheck]:
        return [row for _, row in sorted(self.table(TaxNumberCheck).items())]

    def usage_summaries(
        self, currency: str, since: date, customer_ids: Sequence[str]
    ) -> Iterator[UsageSummary]:
        for row in self.table(UsageSummary).values():
            if row.currency == currency and row.day >= since and row.customer_id in customer_ids:
                yield row

    def has_usage(self, azure_subscription_id: str) -> bool:
        rows = self.table(UsageSummary).values()
        return any(row.entitlement_id == azure_subscription_id for row in rows)

    def usage_budgets(self) -> Sequence[UsageBudget]:
        return [row for _, row in sorted(self.table(UsageBudget).items())]

    def usage_alerts(self, since: date | None = None) -> Sequence[UsageAlert]:
        return [
            row
            for _, row in sorted(self.table(UsageAlert).items())
            if row.state is not AlertState.CLOSED or (since is not None and row.last >= since)
        ]

    def save_document(self, document: Invoice) -> Saved:
        old = self.papers.get(document.key)
        if old == document:
            return Saved(unchanged=1)
        if old is not None and old.status is not DocumentStatus.DRAFT:
            raise Conflict(f"{document.key} is no draft any more", service="Store")
        self._write(f"document {document.key}")
        self.papers[document.key] = document
        return Saved(created=1) if old is None else Saved(updated=1)

    def discard_draft(self, document_key: str) -> None:
        old = self.papers.get(document_key)
        if old is None:
            return
        if old.status is not DocumentStatus.DRAFT:
            raise Conflict(f"{document_key} is no draft any more", service="Store")
        self._write(f"discard {document_key}")
        del self.papers[document_key]

    def document(self, name: str) -> Invoice | None:
        return next((one for one in self.papers.values() if name in {one.number, one.key}), None)

    def document_keys(self, status: DocumentStatus) -> Sequence[str]:
        return sorted(one.key for one in self.papers.values() if one.status is status)

    def numbers(self, period: str) -> Sequence[str]:
        own = (one for one in self.papers.values() if f"{one.period.start:%Y-%m}" == period)
        return sorted(one.number for one in own if one.number)

    def documents(
        self, *, period: str = "", status: DocumentStatus | None = None, customer_id: str = ""
    ) -> Sequence[Invoice]:
        chosen = [
            one
            for one in self.papers.values()
            if (not period or f"{one.period.start:%Y-%m}" == period)
            and (status is None or one.status is status)
            and (not customer_id or one.customer_id == customer_id)
        ]
        return sorted(chosen, key=lambda one: (one.number, one.key))

    def settle_document(self, document: Invoice) -> None:
        if self.papers[document.key] == document:
            return
        if self.papers[document.key].lines != document.lines:
            raise Conflict(f"{document.key} has other lines", service="Store")
        self._write(f"settle {document.key}")
        self.papers[document.key] = document

    def unattached(self, period: str) -> Sequence[str]:
        numbered = [
            one.key
            for one in self.papers.values()
            if f"{one.period.start:%Y-%m}" == period and one.number
        ]
        return [key for key in numbered if key not in self.files]

    def attach(self, document_key: str, name: str, content: bytes) -> None:
        if document_key not in self.papers:
            raise NotFound(f"{document_key} is not stored", service="Store")
        if document_key in self.file_faults:
            raise self.file_faults[document_key]
        self._write(f"attach {document_key}")
        self.files[document_key] = (name, content)

    def document_file(self, document_key: str) -> tuple[str, bytes] | None:
        return self.files.get(document_key)

    def findings(self, *, customer_id: str = "") -> Sequence[Finding]:
        return [
            one
            for _, one in sorted(self.found.items())
            if not customer_id or one.customer_id == customer_id
        ]

    def replace_findings(
        self, checks: Sequence[str], customer_id: str, findings: Sequence[Finding]
    ) -> Saved:
        today = self.clock().date()
        saved = self.save([one.after(self.found.get(one.key), today) for one in findings])
        kept = {one.key for one in findings}
        for key, one in sorted(self.found.items()):
            if one.check in checks and one.customer_id == customer_id and key not in kept:
                self._write(f"close {key}")
                del self.found[key]
                saved += Saved(updated=1)
        return saved

    def decisions(self) -> Sequence[Decision]:
        return [one for _, one in sorted(self.decided.items())]

    def put_finding(self, finding: Finding, version: str = "*") -> None:
        self._write(f"put {finding.key}")
        self.decided.pop(finding.key, None)
        if finding.closed_on is None:
            self.found[finding.key] = finding
        else:
            self.found.pop(finding.key, None)

    def run(self, key: str) -> Run | None:
        found: Run | None = self.table(Run).get(key)
        return found

    def runs(
        self,
        limit: int = 50,
        *,
        kind: str = "",
        after: tuple[datetime, str] | None = None,
        among: Collection[RunStatus] = (),
        scope: str | None = None,
    ) -> Sequence[Run]:
        known = [
            run
            for run in self.table(Run).values()
            if kind in {"", run.kind}
            and (not among or run.status in among)
            and scope in {None, run.scope}
        ]
        newest = sorted(sorted(known, key=lambda run: run.key), key=_started, reverse=True)
        if after is not None:
            began, key = after
            newest = [
                run
                for run in newest
                if run.started_at < began or (run.started_at == began and run.key > key)
            ]
        return newest[:limit]

    def first_run(self) -> Run | None:
        return min(self.table(Run).values(), key=_started, default=None)

    def units(self, run_key: str) -> Sequence[UnitOfWork]:
        return [unit for _, (unit, _) in sorted(self.ledger.items()) if unit.run_key == run_key]

    def unit_counts(self, run_key, among=tuple(UnitStatus)):
        units = [unit for unit, _ in self.ledger.values() if unit.run_key == run_key]
        found = Counter(unit.status for unit in units if unit.status in among)
        return None if sum(found.values()) > self.counted_at_once else found

    def unit(self, key: str) -> tuple[UnitOfWork, str] | None:
        return self.ledger.get(key)

    def enter_units(self, units):
        there = [self.ledger[unit.key][0] for unit in units if unit.key in self.ledger]
        for unit in units:
            if unit.key not in self.ledger:
                self.put_unit(unit, None)
        return there

    def put_unit(self, unit: UnitOfWork, version: str | None) -> str:
        stored = self.ledger.get(unit.key)
        if (stored[1] if stored else None) != version:
            raise Conflict(f"{unit.key} has another version", service="Store")
        self._write(f"unit {unit.key} {unit.status}")
        new = str(int(version or 0) + 1)
        self.ledger[unit.key] = (unit, new)
        return new


@dataclass
class MemoryPartnerCenter:
    """What Partner Center shows; a Finding stands in the place of what cannot be read."""

    people: list[Customer | Finding] = field(default_factory=list)
    details: dict[str, Customer | Finding] = field(default_factory=dict)
    """By customer id, where it differs from the list entry."""
    signed: list[Agreement | Finding] = field(default_factory=list)
    running: list[Subscription | Finding] = field(default_factory=list)
    events: list[SubscriptionEvent | Finding] = field(default_factory=list)
    heads: list[CostInvoice | Finding] = field(default_factory=list)
    lines: list[CostLine | Finding] = field(default_factory=list)
    usage: dict[str, list[Mapping[str, str]]] = field(default_factory=dict)
    """Daily rated usage by invoice id, as Microsoft writes it."""
    unbilled: dict[tuple[str, str], list[Mapping[str, str]]] = field(default_factory=dict)
    delivered: dict[str, list[CostLine | Finding]] = field(default_factory=dict)
    """The lines of each version that was delivered, by its folder."""
    """The same that is not billed yet, by currency and period."""
    archive: FolderArchive = field(default_factory=lambda: FolderArchive(Path()))
    """Where it delivers to: the office's."""
    sheets: dict[tuple[str, str], list[SheetPrice | Finding]] = field(default_factory=dict)
    """Rows by market and view; a sheet that is not here does not exist."""
    down: BaseException | None = None

    def _up(self) -> None:
        if self.down is not None:
            raise self.down

    def customers(self) -> Iterator[Customer | Finding]:
        self._up()
        yield from self.people

    def customer(self, customer_id: str) -> Customer | Finding:
        self._up()
        listed = {one.id: one for one in self.people if isinstance(one, Customer)}
        return self.details.get(customer_id) or listed[customer_id]

    def agreements(self, customer_id: str) -> Iterator[Agreement | Finding]:
        yield from (one for one in self.signed if one.customer_id == customer_id)

    def subscriptions(self, customer_id: str) -> Iterator[Subscription | Finding]:
        yield from (one for one in self.running if one.customer_id == customer_id)

    def subscription_events(
        self, since: date, until: date, customer_id: str = ""
    ) -> Iterator[SubscriptionEvent | Finding]:
        self._up()
        for one in self.events:
            if customer_id not in {"", one.customer_id}:
                continue
            if isinstance(one, Finding) or since <= one.effective < until:
                yield one

    def invoices(self) -> Iterator[CostInvoice | Finding]:
        self._up()
        yield from self.heads

    def export(self, report: str, invoice_id: str) -> Delivery:
        """Deliver what is here now; other content is another version."""
        rows = self.usage.get(invoice_id, [])
        content = rows if report == "usage" else self.lines
        mark = sha256(repr(content).encode()).hexdigest()[:8]
        delivery = Delivery(
            report=f"{report}/billed",
            asked={"invoiceId": invoice_id},
            begun=MOMENT,
            finished=MOMENT,
            folder=f"invoices/{invoice_id}/{report}/version-{mark}",
        )
        if report == "usage":
            if not rows:
                return replace(delivery, folder="")
            packed = gzip.compress("\n".join(json.dumps(row) for row in rows).encode(), mtime=0)
            stored = self.archive.write(f"{delivery.folder}/part-0.json.gz", [packed])
            part = Part(
                name="part-0.json.gz", size=stored.size, sha256=stored.sha256, lines=len(rows)
            )
            delivery = replace(delivery, parts=(part,))
        else:
            self.delivered[delivery.folder] = list(self.lines)
        self.archive.put(f"{delivery.folder}/{JOURNAL}", delivery.journal())
        return delivery

    def cost_lines(
        self, delivery: Delivery, *, distinct: bool = False
    ) -> Iterator[CostLine | Finding]:
        for one in self.delivered.get(delivery.folder, self.lines):
            if isinstance(one, Finding) or one.invoice_id == delivery.invoice_id:
                yield one

    def download_unbilled_usage(
        self, currency: str, period: str, directory: Path
    ) -> tuple[Path, ...]:
        rows = self.unbilled.get((currency, period))
        if not rows:
            return ()
        path = directory / "part-0.json.gz"
        text = "\n".join(json.dumps(row) for row in rows)
        path.write_bytes(gzip.compress(text.encode()))
        return (path,)

    def sheet_prices(self, market: str, view: str) -> Iterator[SheetPrice | Finding]:
        if (market, view) not in self.sheets:
            raise NotFound(f"there is no sheet {view} of {market}", service="Prices")
        yield from self.sheets[market, view]


@dataclass
class MemoryDirectory:
    known: list[DelegatedAdminRelationship | Finding] = field(default_factory=list)
    down: BaseException | None = None

    def relationships(
        self, customer_id: str = ""
    ) -> Iterator[DelegatedAdminRelationship | Finding]:
        yield from (one for one in self.known if customer_id in {"", one.customer_id})

    def customer_of(self, relationship_id: str) -> str:
        if self.down is not None:
            raise self.down
        owners = {
            one.id: one.customer_id
            for one in self.known
            if isinstance(one, DelegatedAdminRelationship)
        }
        return owners.get(relationship_id, "")


@dataclass
class ListQueue:
    """Messages in the order of sending; a test delivers what it likes."""

    waiting: deque[tuple[str, str]] = field(default_factory=deque)
    leased: list[str] = field(default_factory=list)
    """The queues of messages that are being worked: they are counted until that is over."""
    sent: list[tuple[str, str]] = field(default_factory=list)
    poisoned: dict[str, int] = field(default_factory=dict)
    """By poison queue, what lies on it."""

    def send(self, kind: str, messages: Iterable[str], *, after: timedelta = timedelta(0)) -> int:
        bodies = [(kind, message) for message in messages]
        self.waiting.extend(bodies)
        self.sent.extend(bodies)
        return len(bodies)

    def lengths(self) -> dict[str, int]:
        found = Counter([*(kind for kind, _ in self.waiting), *self.leased])
        return {kind: found[kind] for kind in KINDS} | dict(self.poisoned)


@dataclass
class Clock:
    moment: datetime = datetime(2026, 11, 9, 6, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, delta: timedelta) -> None:
        self.moment += delta


class MemoryRequests:
    """Rows by which people ask for runs, with versions; `since` counts the changes."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[RunRequest, int]] = {}
        self.changed: list[str] = []
        self.writes: list[RunRequest] = []
        self.meddle: Callable[[RunRequest], None] = lambda _: None
        """Called before a write: somebody else may be faster."""

    def add(self, request: RunRequest) -> str:
        """A person adds a row, or changes theirs."""
        version = self.rows[request.id][1] + 1 if request.id in self.rows else 1
        self.rows[request.id] = (request, version)
        self.changed.append(request.id)
        return request.id

    def since(self, link: str) -> tuple[Sequence[str], str]:
        ids = dict.fromkeys(self.changed[int(link or 0) :])
        open_ = [
            one
            for one in ids
            if one in self.rows and self.rows[one][0].status is RequestStatus.REQUESTED
        ]
        return open_, str(len(self.changed))

    def get(self, request_id: str) -> tuple[RunRequest, str] | None:
        found = self.rows.get(request_id)
        return (found[0], str(found[1])) if found else None

    def of_run(self, run_key: str) -> Sequence[tuple[RunRequest, str]]:
        return [
            (request, str(version))
            for request, version in self.rows.values()
            if request.run_key == run_key and request.status is RequestStatus.RUNNING
        ]

    def latest(self, limit: int = 20) -> Sequence[RunRequest]:
        return [request for request, _ in self.rows.values()][::-1][:limit]

    def put(self, request: RunRequest, version: str) -> str:
        self.meddle(request)
        if request.id not in self.rows:
            raise NotFound(f"{request.key} is gone", service="Store", status=404)
        if str(self.rows[request.id][1]) != version:
            raise Conflict(f"{request.key} has another version", service="Store", status=412)
        self.writes.append(request)
        self.add(request)
        return str(self.rows[request.id][1])


@dataclass
class Books:
    """An accounting system: what it has, where each document stands there, when that changed."""

    clock: Clock
    has: dict[str, Reported] = field(default_factory=dict)
    changed: dict[str, datetime] = field(default_factory=dict)
    in_the_way: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    """By document key: what it finds instead of taking the document."""
    down: bool = False
    handed: list[str] = field(default_factory=list)
    """Each document that came, as often as it came."""
    checks = ("projection.refused", "projection.unavailable")

    def hand_off(self, document: Invoice, now: datetime) -> Sequence[Finding]:
        self._answer()
        self.handed.append(document.number)
        if document.key in self.in_the_way:
            return self.in_the_way[document.key]
        if document.key not in self.has:
            self._put(document.key, document.total.amount)
        return ()

    def state_of(self, document_keys: Sequence[str]) -> Sequence[Reported]:
        self._answer()
        return [self.has[key] for key in document_keys if key in self.has]

    def changed_since(self, moment: datetime) -> Sequence[Reported]:
        self._answer()
        return [
            self.has[key]
            for key, at in sorted(self.changed.items())
            if key in self.has and at >= moment
        ]

    def note(self, document: Invoice, state: CopyState, total: str = "") -> None:
        """What a person does there."""
        amount = Decimal(total) if total else document.total.amount
        self._put(document.key, amount, state, same=amount == document.total.amount)

    def _put(
        self, key: str, total: Decimal, state: CopyState = CopyState.OPEN, *, same: bool = True
    ) -> None:
        now = self.clock()
        self.has[key] = Reported(
            document_key=key, state=state, on=now.date(), total=total, same=same
        )
        self.changed[key] = now

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("no answer", service="Books", status=503)


@dataclass
class Office:
    """One partner: all ports, kept apart so that a test can reach into each."""

    folder: Path
    partner_center: MemoryPartnerCenter = field(default_factory=MemoryPartnerCenter)
    directory: MemoryDirectory = field(default_factory=MemoryDirectory)
    store: MemoryStore = field(default_factory=MemoryStore)
    queue: ListQueue = field(default_factory=ListQueue)
    requests: MemoryRequests = field(default_factory=MemoryRequests)
    clock: Clock = field(default_factory=Clock)
    policy: Mapping[str, Severity] = field(default_factory=dict)
    demands: Demands = field(default_factory=Demands)
    tax_rounding: Mapping[str, TaxRounding] = field(default_factory=dict)
    atlas: Atlas = field(default_factory=World)
    projection: Projection | None = None
    accounting: Mapping[str, Accounting] = field(default_factory=dict)
    number_register: NumberRegister | None = None
    check_number: Callable[[str, str], bool | None] | None = None
    tax_engine: TaxEngine | None = None
    tax_policy: TaxPolicy = field(default_factory=TaxPolicy)
    zone: tzinfo = UTC
    bill_day: int = 9
    token_saved_at: Callable[[], datetime | None] | None = None
    watched: frozenset[str] = WATCHED

    def __post_init__(self) -> None:
        self.partner_center.archive = self.archive
        self.store.clock = self.clock

    @property
    def archive(self) -> FolderArchive:
        return FolderArchive(self.folder)

    @property
    def ports(self) -> Ports:
        return Ports(
            partner_center=self.partner_center,
            directory=self.directory,
            store=self.store,
            archive=self.archive,
            queue=self.queue,
            requests=self.requests,
            now=self.clock,
            policy=self.policy,
            demands=self.demands,
            tax_rounding=self.tax_rounding,
            atlas=self.atlas,
            projection=self.projection,
            accounting=self.accounting,
            number_register=self.number_register,
            check_number=self.check_number,
            tax_engine=self.tax_engine,
            tax_policy=self.tax_policy,
            zone=self.zone,
            bill_day=self.bill_day,
            health_page=lambda health: {
                "health.html": f"<p>{len(health.documents)} documents</p>".encode(),
                "summary.json": json.dumps({"as_of": str(health.as_of)}).encode(),
            },
            token_saved_at=self.token_saved_at,
            watched=self.watched,
        )

    def written(self, act: Callable[[], object]) -> list[str]:
        """What an act writes."""
        before = len(self.store.writes)
        act()
        return self.store.writes[before:]
