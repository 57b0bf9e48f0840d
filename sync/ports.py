"""What the use cases ask of the outside: Protocols, satisfied by shape.

Adapters live in `partner_center`, `dataverse` and `transport`; fakes in `tests/fakes.py`. A source
yields a record or a `Finding` in its place: one bad record never hides the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from domain.contract import (
    BillingContract,
    ExchangeRate,
    MarkupRule,
    PriceListItem,
    SheetPrice,
    TaxProfile,
)
from domain.customer import Agreement, Customer, DelegatedAdminRelationship
from domain.delivery import Delivery
from domain.period import Period
from domain.problems import Decision, Finding, Severity
from domain.reconciliation import FourWay
from domain.renewal import Renewal
from domain.run import Run, RunRequest, RunStatus, UnitOfWork, UnitStatus
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
    TaxDecision,
    TaxNumberCheck,
    TaxPolicy,
    TaxQuestion,
    TaxRate,
    TaxRegistration,
    TaxRounding,
)
from domain.usage_alert import UsageAlert, UsageBudget
from invoice.document import DocumentStatus, Invoice
from invoice.file import CustomerFile, Saved
from invoice.reported import Reported
from rules.facts import Demands
from rules.places import CODES, Atlas

Record = (
    Customer
    | Agreement
    | DelegatedAdminRelationship
    | Subscription
    | SubscriptionEvent
    | CostLine
    | UsageSummary
    | Finding
    | BillingContract
    | TaxProfile
    | PriceListItem
    | MarkupRule
    | ExchangeRate
    | Run
    | UsageAlert
    | UsageBudget
    | TaxNumberCheck
    | Seller
    | TaxRegistration
    | ExemptionCertificate
    | TaxRate
)


class PartnerCenter(Protocol):
    """Microsoft's side of a partner: customers, subscriptions, invoices, usage, prices."""

    def customers(self) -> Iterator[Customer | Finding]:
        """Yield every customer's list entry (`details_known=False`)."""
        ...

    def customer(self, customer_id: str) -> Customer | Finding:
        """Read one customer with address, qualifications and registration number."""
        ...

    def agreements(self, customer_id: str) -> Iterator[Agreement | Finding]:
        """Yield all agreements of a customer, of every type, the directly signed one included."""
        ...

    def subscriptions(self, customer_id: str) -> Iterator[Subscription | Finding]:
        """Yield the snapshot of every subscription of a customer."""
        ...

    def subscription_events(
        self, since: date, until: date, customer_id: str = ""
    ) -> Iterator[SubscriptionEvent | Finding]:
        """Yield changes from the audit log in [since, until), of one customer or of all.

        At most 90 days back.
        """
        ...

    def invoices(self) -> Iterator[CostInvoice | Finding]:
        """Yield the heads of Microsoft's invoices, newest first."""
        ...

    def export(self, report: str, invoice_id: str) -> Delivery:
        """Fetch the lines (`reconciliation`) or the daily `usage` of an invoice into the archive.

        What the archive has of the same version is not fetched again. A delivery without parts:
        Microsoft has no such data. Incomplete: it delivered less than it announced.
        """
        ...

    def cost_lines(
        self, delivery: Delivery, *, distinct: bool = False
    ) -> Iterator[CostLine | Finding]:
        """Yield the lines of one of Microsoft's invoices as it was delivered, without shares.

        `distinct`: a line that an earlier part has already is left out; repeats within a part stay.
        """
        ...

    def download_unbilled_usage(
        self, currency: str, period: str, directory: Path
    ) -> tuple[Path, ...]:
        """Fetch the usage that is not billed yet, of the `current` or the `last` period.

        It is restated until the period closes: it forecasts and alerts, and is never billed.
        """
        ...

    def sheet_prices(self, market: str, view: str) -> Iterator[SheetPrice | Finding]:
        """Yield the rows of Microsoft's price sheet now in force."""
        ...


class Directory(Protocol):
    """Who may administer whom."""

    def relationships(
        self, customer_id: str = ""
    ) -> Iterator[DelegatedAdminRelationship | Finding]:
        """Yield every GDAP relationship with its assignments, or those of one customer."""
        ...

    def customer_of(self, relationship_id: str) -> str:
        """Read whose relationship it is; empty: there is none of that id, or it is nobody's yet."""
        ...


class Store(Protocol):
    """The system of record."""

    def save(self, records: Sequence[Record]) -> Saved:
        """Upsert records by their keys; equal rows are not written again."""
        ...

    def customers(self) -> Sequence[Customer]:
        """Read every stored customer, by name."""
        ...

    def customer(self, customer_id: str) -> Customer | None:
        """Read one stored customer."""
        ...

    def agreements(self, customer_id: str) -> Sequence[Agreement]:
        """Read the stored agreements of a customer, by key."""
        ...

    def subscriptions(self, customer_id: str) -> Sequence[Subscription]:
        """Read the stored subscriptions of a customer, by key."""
        ...

    def relationships(self, customer_id: str = "") -> Sequence[DelegatedAdminRelationship]:
        """Read the stored GDAP relationships, or those of one customer, by key."""
        ...

    def customer_file(self, customer_id: str, on: date | None = None) -> CustomerFile:
        """Read all that decides one customer's bill; NotFound when it is not stored.

        Of several contracts the one that starts last counts, of those that have begun by the day
        `on` if any has.
        """
        ...

    def cost_lines(
        self, invoice_ids: Sequence[str], *, withdrawn: bool = False
    ) -> Sequence[CostLine]:
        """Read the stored lines of Microsoft's invoices, or those that it has `withdrawn`.

        A withdrawn line is one that a newer version of its invoice no longer has: it explains
        documents of before, and nothing else reads it.
        """
        ...

    def usage_summaries(
        self, currency: str, since: date, customer_ids: Sequence[str]
    ) -> Iterator[UsageSummary]:
        """Yield the billed usage of customers from a day on, in no order."""
        ...

    def has_usage(self, azure_subscription_id: str) -> bool:
        """Say whether usage of this Azure subscription was ever billed."""
        ...

    def usage_budgets(self) -> Sequence[UsageBudget]:
        """Read every usage budget, by key."""
        ...

    def usage_alerts(self, since: date | None = None) -> Sequence[UsageAlert]:
        """Read the usage alerts that are not closed, and those that lasted to a day or longer."""
        ...

    def save_document(self, document: Invoice) -> Saved:
        """Write a document with all its lines in one transaction; refuses to change an approved one.

        Lines of an earlier draft that are gone are removed in the same transaction. Conflict when
        the stored document is approved or later.
        """
        ...

    def discard_draft(self, document_key: str) -> None:
        """Remove a draft and its lines; Conflict when it is no draft any more."""
        ...

    def documents(
        self, *, period: str = "", status: DocumentStatus | None = None, customer_id: str = ""
    ) -> Sequence[Invoice]:
        """Read documents with their lines, by number and key; `period` is YYYY-MM."""
        ...

    def document(self, name: str) -> Invoice | None:
        """Read one document with its lines by its number or key; None when there is none."""
        ...

    def document_keys(self, status: DocumentStatus) -> Sequence[str]:
        """Return the keys of all documents that stand there, also of those that cannot be read."""
        ...

    def numbers(self, period: str) -> Sequence[str]:
        """Return the numbers of a month's documents, also of those that cannot be read."""
        ...

    def settle_document(self, document: Invoice) -> None:
        """Move a document along its life (status, number, dates, fingerprint), lines untouched."""
        ...

    def unattached(self, period: str) -> Sequence[str]:
        """Return the keys of the numbered documents of a month (YYYY-MM) whose file is missing."""
        ...

    def attach(self, document_key: str, name: str, content: bytes) -> None:
        """Set the file that people open from a document's row; NotFound when it is not stored.

        A file that is refused (its kind, its size, our rights) is a ServiceError with the status.
        """
        ...

    def document_file(self, document_key: str) -> tuple[str, bytes] | None:
        """Read the file of a document with its name; None where it has none, or is not stored."""
        ...

    def findings(self, *, customer_id: str = "") -> Sequence[Finding]:
        """Read the findings whose cause is there, released ones included."""
        ...

    def replace_findings(
        self, checks: Sequence[str], customer_id: str, findings: Sequence[Finding]
    ) -> Saved:
        """Save what these checks found for a customer now, and close what they no longer find.

        One that was there before keeps its days and, while it says the same, its release.
        """
        ...

    def decisions(self) -> Sequence[Decision]:
        """Read what people set on findings and nobody has accepted yet."""
        ...

    def put_finding(self, finding: Finding, version: str = "*") -> None:
        """Write a finding whatever is stored; Conflict when it has another version than given."""
        ...

    def contracts(self) -> Sequence[BillingContract]:
        """Read every billing contract, by key."""
        ...

    def taxed_contracts(self) -> Sequence[tuple[BillingContract, TaxProfile]]:
        """Read every billing contract that has a tax profile, by key, with it."""
        ...

    def number_checks(self) -> Sequence[TaxNumberCheck]:
        """Read what is known of tax numbers, by key."""
        ...

    def run(self, key: str) -> Run | None:
        """Read one run."""
        ...

    def runs(
        self,
        limit: int = 50,
        *,
        kind: str = "",
        after: tuple[datetime, str] | None = None,
        among: Collection[RunStatus] = (),
        scope: str | None = None,
    ) -> Sequence[Run]:
        """Read the latest runs, newest first; `after` a run's start and key: those that follow it.

        `among` leaves those that stand there, `scope` those of one customer, or of all (empty).
        """
        ...

    def first_run(self) -> Run | None:
        """Read the run that began before all others."""
        ...

    def units(self, run_key: str) -> Sequence[UnitOfWork]:
        """Read the units of work of a run, by key."""
        ...

    def unit_counts(
        self, run_key: str, among: Collection[UnitStatus] = tuple(UnitStatus)
    ) -> Mapping[UnitStatus, int] | None:
        """Count the units of a run by status; None where they are too many to be counted at once."""
        ...

    def unit(self, key: str) -> tuple[UnitOfWork, str] | None:
        """Read a unit and its version for `put_unit`."""
        ...

    def enter_units(self, units: Sequence[UnitOfWork]) -> Sequence[UnitOfWork]:
        """Write the units that are not there yet; returns those that were there, as they stand."""
        ...

    def put_unit(self, unit: UnitOfWork, version: str | None) -> str:
        """Write a unit if it still has that version (None: must not exist); returns the new version.

        Conflict when somebody else was faster.
        """
        ...


class Requests(Protocol):
    """The rows by which people and flows ask for runs, and read what became of them."""

    def since(self, link: str) -> tuple[Sequence[str], str]:
        """Return the ids of open requests added or changed since a link, and the next link.

        Without a link, or with one that has expired, every request that is still open.
        """
        ...

    def get(self, request_id: str) -> tuple[RunRequest, str] | None:
        """Read a request and its version for `put`; None when the row is gone."""
        ...

    def of_run(self, run_key: str) -> Sequence[tuple[RunRequest, str]]:
        """Read the running requests that led to a run, with their versions."""
        ...

    def latest(self, limit: int = 20) -> Sequence[RunRequest]:
        """Read the latest requests, newest first."""
        ...

    def put(self, request: RunRequest, version: str) -> str:
        """Write what became of a request, if its row has that version; returns the new one.

        Conflict when somebody changed the row, NotFound when it was deleted.
        """
        ...


class Projection(Protocol):
    """Documents as another application of the same environment shows them."""

    @property
    def checks(self) -> Sequence[str]:
        """Names of the checks that its findings come from."""
        ...

    def catch_up(self, now: datetime) -> Sequence[Finding]:
        """Bring the other application's documents up to ours; returns what stands in the way.

        An outage is raised: it says nothing about what stood in the way before.
        """
        ...


class Accounting(Protocol):
    """An accounting system: documents are handed off to it, and it tells what becomes of them."""

    @property
    def checks(self) -> Sequence[str]:
        """Names of the checks that its findings come from."""
        ...

    def hand_off(self, document: Invoice, now: datetime) -> Sequence[Finding]:
        """Have a document there, equal to the cent; returns what stands in the way.

        Empty: it is there, and its totals, read back, are ours. Done twice it is there once. An
        outage is raised.
        """
        ...

    def state_of(self, document_keys: Sequence[str]) -> Sequence[Reported]:
        """Read where documents stand there; of one that is not there, nothing is returned."""
        ...

    def changed_since(self, moment: datetime) -> Sequence[Reported]:
        """Read documents changed there since a moment (aware UTC) that are not as we have them."""
        ...


class NumberRegister(Protocol):
    """Who knows whether a tax number is somebody's."""

    def source(self, country: str, number: str) -> str:
        """Return who would answer about a number: `domain.tax.FORM_ONLY` where no register would."""
        ...

    def check(self, country: str, number: str) -> TaxNumberCheck:
        """Ask about a number as `domain.tax.printed_number` writes it.

        No answer is a ServiceError, never an INVALID: NotAuthorised where a person must act, else
        it may pass by itself; its `code` is the register's own.
        """
        ...


class TaxEngine(Protocol):
    """An external engine that decides the tax of a document."""

    def decide(self, question: TaxQuestion) -> TaxDecision | Finding:
        """Return its decision, or the finding that holds the customer: no answer is one, too."""
        ...


class Archive(Protocol):
    """Raw payloads, kept so that any past month can be audited as of then."""

    def put(self, name: str, content: bytes) -> None:
        """Keep a payload under a readable name; the same name again is replaced."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a small payload; None when there is none of that name."""
        ...

    def names(self, folder: str) -> list[str]:
        """List the names below a folder, in order."""
        ...

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Give a kept payload as a file for as long as the context is open."""
        ...

    def folder(self, name: str) -> Path:
        """Return a local folder for scratch files, made if absent."""
        ...


WATCHED = frozenset(
    {"sync", "usage", "prices", "access", "renewals", "bill", "handoff", "feedback", "health"}
)


class Queue(Protocol):
    """Where the messages of units of work wait."""

    def lengths(self) -> Mapping[str, int]:
        """Count, about, the messages on each queue, leased ones too; poison queues as `KIND-poison`."""
        ...

    def send(self, kind: str, messages: Iterable[str], *, after: timedelta = timedelta(0)) -> int:
        """Put JSON messages on the queue of their kind, to be seen after a while; returns how many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What stands on the health page of a month."""

    as_of: date
    period: Period
    run: Run | None
    documents: tuple[Invoice, ...]
    findings: tuple[Finding, ...]
    held: Mapping[str, Mapping[str, Decimal]]
    """What Microsoft billed for a customer on hold and no document answers, by id and currency."""
    customers: Mapping[str, str]
    """Name by tenant id."""
    renewals: tuple[Renewal, ...]
    sides: FourWay


def no_page(_: Health) -> Mapping[str, bytes]:
    """Draw nothing."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything that a use case may reach, and the clock (aware UTC)."""

    partner_center: PartnerCenter
    directory: Directory
    store: Store
    archive: Archive
    queue: Queue
    requests: Requests
    now: Callable[[], datetime]
    policy: Mapping[str, Severity] = field(default_factory=dict)
    """Severity of findings by check name, where the partner wants another than the default."""
    tax_rounding: Mapping[str, TaxRounding] = field(default_factory=dict)
    """Where tax is rounded, by accounting target (`invoice.rounding.rounding_of`)."""
    demands: Demands = field(default_factory=Demands)
    """What the partner asks of its customers' relationships."""
    atlas: Atlas = CODES
    """What the texts of addresses mean; left out: codes alone are understood."""
    projection: Projection | None = None
    """None: the setting is off."""
    accounting: Mapping[str, Accounting] = field(default_factory=dict)
    """The systems that are connected, by the name that contracts have for them."""
    number_register: NumberRegister | None = None
    """None: tax numbers are not looked at."""
    check_number: Callable[[str, str], bool | None] | None = None
    """Form and check digits of a country's tax number; None where no check is known, or at all."""
    tax_engine: TaxEngine | None = None
    """None: no contract may leave its tax to one."""
    tax_policy: TaxPolicy = field(default_factory=TaxPolicy)
    zone: tzinfo = UTC
    """The partner's: it says which day it is when one bills."""
    bill_day: int = 9
    """From this day on the month before is billed, where a contract names no day of its own."""

    health_page: Callable[[Health], Mapping[str, bytes]] = no_page
    """Draws the health page: its files by name."""
    token_saved_at: Callable[[], datetime | None] | None = None
    """When the refresh token was last renewed and proven; None: nobody can tell."""
    watched: frozenset[str] = WATCHED
    """Kinds of runs that timers ask for, and that are told when they are late."""

    def today(self) -> date:
        """Return the day by the partner's calendar."""
        return self.now().astimezone(self.zone).date()


__all__ = [
    "Accounting",
    "Archive",
    "CustomerFile",
    "Directory",
    "Health",
    "NumberRegister",
    "PartnerCenter",
    "Ports",
    "Projection",
    "Queue",
    "Record",
    "Requests",
    "Saved",
    "Store",
    "TaxEngine",
]
