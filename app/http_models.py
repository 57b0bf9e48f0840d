"""What is asked over HTTP and what is answered: one model for validation, answers and the connector.

Strict on the way in: a field that is not known is refused with a sentence. An optional field may be
left out, null or empty, because flows send empty text for what nobody filled in. On the way out
every field is always there; money and quantities are text, as nothing else keeps every cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from sync.messages import Guid, Month, RunKind

RUN_ID = r"^[a-z]{1,20}(\.[0-9A-Za-z-]{1,64}){1,5}$"
"""A run's key with points for slashes, which stand in no path."""
FINDING_ID = r"^[a-z0-9_]{1,40}(\.[a-z0-9_]{1,40}){0,3}-[0-9a-f]{6}([0-9a-f]{4})?$"
DOCUMENT_NAME = r"^[0-9A-Za-z][0-9A-Za-z._-]{0,119}$"
"""A document's number, or its key with points for slashes: a draft has no number."""
VERSION = r"^[0-9a-f]{16}$"
FINGERPRINT = r"^[0-9a-f]{64}$"
LINE = r"^[1-9][0-9]{0,4}$"
PAGE, LARGEST_PAGE = 50, 200
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2100, 12, 31)
"""Days outside are typing errors, and not every system can hold them."""

Money = Annotated[str, StringConstraints(pattern=r"^-?\d+(\.\d+)?$")]
# Neither what ends a line nor what turns the order of letters around.
_SHOWN = r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+$"
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_SHOWN),
]
Words = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, max_length=1000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
    ),
]
Document = Annotated[str, StringConstraints(pattern=DOCUMENT_NAME)]
Version = Annotated[str, StringConstraints(pattern=VERSION)]
Fingerprint = Annotated[str, StringConstraints(pattern=FINGERPRINT)]
Token = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z._-]{1,400}$")]
ADVANCED: dict[str, JsonValue] = {"x-ms-visibility": "advanced"}


class _Asked(BaseModel):
    """What somebody asks: nothing beside what is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, value: Any) -> Any:
        """Leave out what is null or empty."""
        if not isinstance(value, dict):
            return value
        return {name: one for name, one in value.items() if one not in (None, "")}


class RunAsked(_Asked):
    """Which run is asked for."""

    kind: RunKind = Field(
        title="What to do",
        description="sync reads Microsoft's side of a day, once, bill drafts the invoices of a month, "
        "approve numbers and issues its drafts; docs/http.md tells the others.",
        examples=["bill"],
    )
    period: Month | None = Field(
        default=None,
        title="Month",
        description="Of bill and approve, as 2026-10.",
        examples=["2026-10"],
    )
    day: date | None = Field(
        default=None,
        ge=FIRST_DAY,
        le=LAST_DAY,
        title="Day",
        description="Of the other kinds, as 2026-11-09; left out: today (UTC).",
        examples=["2026-11-09"],
        json_schema_extra=ADVANCED,
    )
    customer_id: Guid | None = Field(
        default=None,
        title="Customer",
        description="Tenant id of one customer; left out: all.",
        examples=["0b6fe0d2-5a3f-4f57-8f0c-6d2b8f3f7f10"],
        json_schema_extra=ADVANCED,
    )
    by: Name | None = Field(
        default=None,
        title="Asked by",
        description="Who asks, for the run's row. Who signed in with Entra ID is known anyway.",
        examples=["Maria Finance"],
        json_schema_extra=ADVANCED,
    )


class ApprovalAsked(_Asked):
    """What is to be numbered, frozen and issued: a month, a customer's drafts of it, or one draft."""

    period: Month | None = Field(
        default=None,
        title="Month",
        description="As 2026-10; all drafts of the month that nobody holds.",
        examples=["2026-10"],
    )
    customer_id: Guid | None = Field(
        default=None,
        title="Customer",
        description="Tenant id: only the drafts of this customer.",
        examples=["0b6fe0d2-5a3f-4f57-8f0c-6d2b8f3f7f10"],
    )
    invoice: Document | None = Field(
        default=None,
        title="Draft",
        description="The key of one draft with points for slashes, in place of a month.",
        examples=["invoice.0b6fe0d2-5a3f-4f57-8f0c-6d2b8f3f7f10.2026-10.USD.1"],
    )
    fingerprint: Fingerprint | None = Field(
        default=None,
        title="Fingerprint",
        description="Of the draft as it was read. Needed with a draft: one that was drafted anew "
        "since is not issued.",
        examples=["5f1c" * 16],
    )
    by: Name | None = Field(
        default=None,
        title="Approved by",
        description="Who approves. Needed behind a function key, which names nobody.",
        examples=["Maria Finance"],
    )

    @model_validator(mode="after")
    def _one_or_the_other(self) -> ApprovalAsked:
        if self.invoice is None and self.period is None:
            msg = "give a period, or the key of one draft as invoice"
            raise ValueError(msg)
        if self.invoice is not None and (self.period or self.customer_id):
            msg = "give either an invoice, or a period and perhaps a customer_id"
            raise ValueError(msg)
        if (self.invoice is None) != (self.fingerprint is None):
            msg = "an invoice needs the fingerprint that it was read with, and nothing else has one"
            raise ValueError(msg)
        return self


class ReleaseAsked(_Asked):
    """Bill a customer in spite of a finding, or take that back."""

    reason: Words | None = Field(
        default=None,
        title="Reason",
        description="Why; it is kept with the finding. Needed unless the release is taken back.",
        examples=["signed on paper, scan in the file"],
    )
    until: date | None = Field(
        default=None,
        title="Last day",
        description="After it the finding holds again; left out: no such day.",
        examples=["2026-12-31"],
    )
    version: Version | None = Field(
        default=None,
        title="Version",
        description="Of the finding as it was read. Needed unless the release is taken back: a "
        "finding that says something else by now is not released.",
        examples=["5f1c88a2d07e4b39"],
    )
    withdraw: bool = Field(
        default=False,
        title="Take back",
        description="Yes: the finding holds again.",
        json_schema_extra=ADVANCED,
    )
    by: Name | None = Field(
        default=None,
        title="Decided by",
        description="Who decided. Needed behind a function key, which names nobody.",
        examples=["Maria Finance"],
    )

    @model_validator(mode="after")
    def _with_a_reason(self) -> ReleaseAsked:
        if self.withdraw and (self.reason or self.until or self.version):
            msg = "withdraw takes a release back and has no reason, no last day and no version"
            raise ValueError(msg)
        if not self.withdraw and not self.reason:
            msg = "a release needs a reason"
            raise ValueError(msg)
        if not self.withdraw and not self.version:
            msg = "a release needs the version that the finding was read with"
            raise ValueError(msg)
        return self


class RunQuery(_Asked):
    """Which runs to list."""

    top: int = Field(
        default=PAGE, ge=1, le=LARGEST_PAGE, title="At most", description="Runs on a page."
    )
    kind: RunKind | None = Field(
        default=None, title="Kind", description="Only runs of this kind.", examples=["bill"]
    )
    after: Token | None = Field(
        default=None,
        title="Page after",
        description="The `next` of the page before.",
        json_schema_extra=ADVANCED,
    )


class FindingQuery(_Asked):
    """Which findings to list."""

    top: int = Field(
        default=PAGE, ge=1, le=LARGEST_PAGE, title="At most", description="Findings on a page."
    )
    state: Literal["holding", "released", "warning"] | None = Field(
        default=None,
        title="Which",
        description="holding: what holds somebody; released: what would; warning: what does not.",
        examples=["holding"],
    )
    customer_id: Guid | None = Field(
        default=None, title="Customer", description="Tenant id: only of this customer."
    )
    after: Token | None = Field(
        default=None,
        title="Page after",
        description="The `next` of the page before.",
        json_schema_extra=ADVANCED,
    )


class HealthQuery(_Asked):
    """In which form the report of health is wanted."""

    format: Literal["json", "html"] = Field(default="json", title="Form")


class Nothing(_Asked):
    """No parameter beside those of the path."""


class DataverseEvent(BaseModel):
    """What is read of Dataverse's RemoteExecutionContext: which row, never what stands in it."""

    model_config = ConfigDict(frozen=True)

    message: str = Field(alias="MessageName")
    table: str = Field(alias="PrimaryEntityName")
    row_id: UUID = Field(alias="PrimaryEntityId")


# Answers -------------------------------------------------------------------------------------------


class _Told(BaseModel):
    """What is answered: all of it, and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fault(_Told):
    """Why a request was not taken."""

    error: str = Field(title="Error", description="One sentence.")
    hint: str = Field(title="What to do", description="Empty where nothing is known.")


class RunAccepted(_Told):
    """The run is asked for; the header Location says where to look."""

    run_id: str = Field(title="Run", examples=["bill.2026-10"])
    status: Literal["accepted"] = Field(default="accepted", title="Status")
    asked_at: datetime = Field(
        title="Asked", description="An end of the run before this moment is one of before."
    )


class ReleaseAccepted(_Told):
    """The release is asked for; the finding shows what became of it."""

    finding: str = Field(title="Finding", examples=["agreement.missing-58fcf3"])
    status: Literal["accepted"] = Field(default="accepted", title="Status")


class EventAccepted(_Told):
    """The event was taken."""

    status: Literal["accepted"] = "accepted"


class TotalShown(_Told):
    """One currency: where every cent of Microsoft's total went."""

    currency: str = Field(title="Currency")
    microsoft: Money = Field(title="Microsoft's total")
    billed: Money = Field(title="Billed")
    credited: Money = Field(title="Credited")
    held: Money = Field(title="Held")
    excluded: Money = Field(title="Excluded")
    residual: Money = Field(title="Not accounted for")
    sold: Money = Field(title="Sold")


class RunShown(_Told):
    """A run: how far it came, what it counted, where the money went."""

    run_id: str = Field(title="Run", examples=["bill.2026-10"])
    kind: str = Field(title="Kind")
    window: str = Field(title="Month or day")
    status: Literal["running", "done", "done_with_holds", "failed"] = Field(title="Status")
    started_at: datetime = Field(title="Started")
    finished_at: datetime | None = Field(title="Finished")
    counts: Mapping[str, int] = Field(title="Counts")
    totals: tuple[TotalShown, ...] = Field(title="Control totals")
    problem: str = Field(title="Problem", description="Empty where there is none.")
    asked_by: str = Field(title="Asked by", description="Empty where nobody said so.")


class RunPage(_Told):
    """Runs, newest first."""

    runs: tuple[RunShown, ...] = Field(title="Runs")
    next: str | None = Field(title="Next page", description="Give it as `after`; null: the last.")


class ReleaseShown(_Told):
    """Who let a customer be billed in spite of a finding."""

    by: str = Field(title="Released by")
    on: date | None = Field(title="Released on")
    until: date | None = Field(title="Last day")
    reason: str = Field(title="Reason")


class FindingShown(_Told):
    """One fault of the data: what was seen, and what to do about it."""

    finding: str = Field(title="Finding", examples=["agreement.missing-58fcf3"])
    version: str = Field(
        title="Version", description="Of what it says; give it back to release what was seen."
    )
    check: str = Field(title="Check")
    severity: Literal["warn", "hold", "block"] = Field(title="Severity")
    state: Literal["open", "released", "closed"] = Field(title="State")
    holds: bool = Field(title="Holds", description="Whether it keeps the customer out of billing.")
    can_release: bool = Field(
        title="Can be released", description="Whether it holds and a person may release it."
    )
    customer_id: str = Field(title="Customer id", description="Empty: the partner as a whole.")
    customer: str = Field(title="Customer")
    record: str = Field(title="Record")
    sentence: str = Field(title="What is wrong")
    hint: str = Field(title="What to do")
    link: str = Field(title="Where", description="An address; empty: where the hint says.")
    since: date | None = Field(title="Open since")
    changed: date | None = Field(title="Last changed")
    release: ReleaseShown | None = Field(title="Release")
    note: str = Field(title="About the last release")


class FindingPage(_Told):
    """Findings whose cause is there, in the order of their checks."""

    findings: tuple[FindingShown, ...] = Field(title="Findings")
    next: str | None = Field(title="Next page", description="Give it as `after`; null: the last.")


class ReasonShown(_Told):
    """One step of a computation."""

    rule: str = Field(title="Rule")
    inputs: Mapping[str, str] = Field(title="What went in")


class PartTaxShown(_Told):
    """One of the taxes."""

    name: str = Field(title="Tax")
    jurisdiction: str = Field(title="Jurisdiction")
    percent: str = Field(title="Percent")
    taxable_percent: str = Field(title="Share that is taxed")
    tax: Money = Field(title="Tax")
    net: Money | None = Field(default=None, title="Before tax")


class LineShown(_Told):
    """One line of a document, with its reasons."""

    position: int = Field(title="Line")
    charge: str = Field(title="Charge")
    charge_type: str = Field(title="Type")
    name: str = Field(title="Product")
    sku: str = Field(title="SKU")
    subscription: str = Field(title="Subscription")
    service_start: date = Field(title="Service from")
    service_end: date = Field(title="Service to", description="Exclusive.")
    days: int = Field(title="Days")
    cycle_days: int = Field(title="Days of the cycle")
    quantity: str = Field(title="Quantity")
    unit_price: str = Field(title="Unit price")
    amount: Money = Field(title="Amount")
    tax_percent: str = Field(title="Tax percent")
    tax: Money = Field(title="Tax")
    tax_category: str | None = Field(default=None, title="Tax category")
    taxes: tuple[PartTaxShown, ...] = Field(default=(), title="Taxes")
    tax_note: str = Field(default="", title="Tax note")
    tax_why: str = Field(title="Why this tax")
    why: str = Field(title="Why", description="A sentence that a calculator can check.")
    answers: str | None = Field(title="Corrects", description="Key of the charge that it corrects.")
    cost_lines: tuple[str, ...] = Field(title="Microsoft's lines")
    reasons: tuple[ReasonShown, ...] = Field(title="Reasons")


class AnsweredShown(_Told):
    """The line that an adjustment answers."""

    document: str = Field(title="Document")
    position: int = Field(title="Line")
    amount: Money = Field(title="Amount")
    why: str = Field(title="Why")


class CostShown(_Told):
    """One line of Microsoft's invoice."""

    key: str
    invoice: str = Field(title="Invoice")
    charge_type: str = Field(title="Type")
    product: str = Field(title="Product")
    start: date | None = Field(title="From")
    end: date | None = Field(title="To", description="Exclusive.")
    ordered_on: date | None = Field(title="Ordered on")
    quantity: str = Field(title="Quantity")
    unit_price: str = Field(title="Unit price")
    effective_unit_price: str = Field(title="Effective unit price")
    exchange_rate: str = Field(title="Exchange rate")
    subtotal: Money = Field(title="Subtotal")
    currency: str = Field(title="Currency")
    reference: str | None = Field(title="Reference")
    promotion: str | None = Field(title="Promotion")


class SourceShown(_Told):
    """What of Microsoft's is behind a line."""

    sentence: str = Field(title="What")
    subtotal: Money = Field(title="Subtotal")
    lines: tuple[CostShown, ...] = Field(title="Lines")


class LineExplained(LineShown):
    """One line down to the records of Microsoft."""

    answered: AnsweredShown | None = Field(title="Answers")
    sources: tuple[SourceShown, ...] = Field(title="Microsoft's side")
    archived: tuple[str, ...] = Field(title="Kept as it was read")


class PartyShown(_Told):
    """Seller or buyer."""

    name: str = Field(title="Name")
    address: tuple[str, ...] = Field(title="Address")
    tax_numbers: tuple[str, ...] = Field(title="Tax numbers")
    registration_number: str = Field(title="Registration number")
    email: str = Field(title="E-mail")


class TaxedShown(_Told):
    """All lines of one category and rate."""

    category: str | None = Field(title="Category")
    percent: str = Field(title="Percent")
    net: Money = Field(title="Before tax")
    tax: Money = Field(title="Tax")
    taxes: tuple[PartTaxShown, ...] = Field(title="Taxes")
    notes: tuple[str, ...] = Field(title="Notes")


class InvoiceShown(_Told):
    """An invoice or a credit note with all its lines."""

    key: str = Field(title="Key")
    number: str = Field(title="Number", description="Empty: a draft.")
    fingerprint: str = Field(
        title="Fingerprint", description="Of what it says; give it back to approve this draft."
    )
    kind: Literal["invoice", "credit_note"] = Field(title="Kind")
    status: str = Field(title="Status")
    customer: str = Field(title="Customer")
    customer_id: str = Field(title="Customer id")
    account: str = Field(title="Account")
    period: str = Field(title="Month")
    currency: str = Field(title="Currency")
    issued_on: date | None = Field(title="Issued on")
    due_on: date | None = Field(title="Due on")
    subtotal: Money = Field(title="Before tax")
    tax: Money = Field(title="Tax")
    total: Money = Field(title="Total")
    tax_decided_by: str | None = Field(default=None, title="Tax decided by")
    tax_rounding: str | None = Field(default=None, title="Tax rounded by")
    tax_point: str | None = Field(default=None, title="Tax point")
    seller_tax_id: str | None = Field(default=None, title="Seller's tax number")
    buyer_tax_id: str | None = Field(default=None, title="Buyer's tax number")
    seller: PartyShown | None = Field(default=None, title="Seller")
    buyer: PartyShown | None = Field(default=None, title="Buyer")
    lines: tuple[LineShown, ...] = Field(title="Lines")
    taxed: tuple[TaxedShown, ...] = Field(title="Taxes by rate")
    tax_why: str = Field(title="Why this tax")


class Alive(_Told):
    """The functions run; nothing is said about what they need."""

    status: Literal["alive"] = "alive"


class DependencyShown(_Told):
    """One system that the worker needs."""

    name: str
    ready: bool
    milliseconds: int
    problem: str
    """Kind of the fault and its status alone: what a system says may hold anything."""


class ReadyShown(_Told):
    """Whether everything that the worker needs answers."""

    ready: bool
    dependencies: tuple[DependencyShown, ...]
