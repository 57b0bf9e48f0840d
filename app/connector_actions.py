"""The actions of the connector: which call of the HTTP functions each is, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from app.http_models import (
    DOCUMENT_NAME,
    FINDING_ID,
    LINE,
    RUN_ID,
    ApprovalAsked,
    FindingPage,
    FindingQuery,
    FindingShown,
    InvoiceShown,
    LineExplained,
    ReleaseAccepted,
    ReleaseAsked,
    RunAccepted,
    RunAsked,
    RunPage,
    RunQuery,
    RunShown,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a path."""

    name: str
    title: str
    says: str
    pattern: str
    example: str
    values: Mapping[str, Any] | None = None
    """Where a designer reads the values of a drop-down list."""
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One action of the connector."""

    id: str
    method: str
    path: str
    summary: str
    says: str
    answers: type[BaseModel] | None
    """None: a PDF."""
    status: int = 200
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    of_path: tuple[Parameter, ...] = ()
    repeatable: bool = False
    """Whether an Idempotency-Key is taken."""
    refusals: tuple[int, ...] = ()
    visibility: str = "important"


_RUN = Parameter(
    name="run_id",
    title="Run",
    says="As it was answered when the run was asked for, such as bill.2026-10.",
    pattern=RUN_ID,
    example="bill.2026-10",
    values={
        "operationId": "ListRuns",
        "value-collection": "runs",
        "value-path": "run_id",
        "value-title": "run_id",
    },
)
_FINDING = Parameter(
    name="finding_id",
    title="Finding",
    says="Its short name, such as agreement.missing-58fcf3.",
    pattern=FINDING_ID,
    example="agreement.missing-58fcf3",
    values={
        "operationId": "ListFindings",
        "parameters": {"state": "holding"},
        "value-collection": "findings",
        "value-path": "finding",
        "value-title": "sentence",
    },
)
_NUMBER = Parameter(
    name="number",
    title="Invoice",
    says="Its number, or the key of a draft with points for slashes.",
    pattern=DOCUMENT_NAME,
    example="INV-202610-0001",
)
_LINE = Parameter(
    name="line",
    title="Line",
    says="Its position on the document, from 1 on.",
    pattern=LINE,
    example="1",
    whole=True,
)
OPERATIONS = (
    Operation(
        id="StartRun",
        method="POST",
        path="/runs",
        summary="Start a run",
        says="Ask for a run: a sync, the drafts of a month, a report. The same kind and month is "
        "the same run. Look at it with Get a run.",
        body=RunAsked,
        answers=RunAccepted,
        status=202,
        repeatable=True,
        refusals=(413, 415, 422),
    ),
    Operation(
        id="ListRuns",
        method="GET",
        path="/runs",
        summary="List runs",
        says="The latest runs, newest first.",
        query=RunQuery,
        answers=RunPage,
    ),
    Operation(
        id="GetRun",
        method="GET",
        path="/runs/{run_id}",
        summary="Get a run",
        says="How far a run came, what it counted and where every cent went. It is not found "
        "until it has begun.",
        of_path=(_RUN,),
        answers=RunShown,
        refusals=(404,),
    ),
    Operation(
        id="ApproveInvoices",
        method="POST",
        path="/approvals",
        summary="Approve invoices",
        says="Have the drafts of a month, of one customer or one draft numbered, frozen and "
        "issued. Drafts of customers on hold stay drafts.",
        body=ApprovalAsked,
        answers=RunAccepted,
        status=202,
        repeatable=True,
        refusals=(404, 409, 413, 415, 422),
    ),
    Operation(
        id="ListFindings",
        method="GET",
        path="/findings",
        summary="List findings",
        says="What is wrong with the data, whom it holds, and what to do.",
        query=FindingQuery,
        answers=FindingPage,
    ),
    Operation(
        id="GetFinding",
        method="GET",
        path="/findings/{finding_id}",
        summary="Get a finding",
        says="One finding; it is not found when its cause is gone.",
        of_path=(_FINDING,),
        answers=FindingShown,
        refusals=(404,),
    ),
    Operation(
        id="ReleaseHold",
        method="POST",
        path="/findings/{finding_id}/release",
        summary="Release a hold",
        says="Have a customer billed in spite of a finding, with a reason; or take that back. The "
        "finding tells what came of it.",
        of_path=(_FINDING,),
        body=ReleaseAsked,
        answers=ReleaseAccepted,
        status=202,
        repeatable=True,
        refusals=(404, 409, 413, 415, 422),
    ),
    Operation(
        id="GetInvoice",
        method="GET",
        path="/invoices/{number}",
        summary="Get an invoice",
        says="An invoice or credit note with all its lines and the reasons of each.",
        of_path=(_NUMBER,),
        answers=InvoiceShown,
        refusals=(404, 409),
    ),
    Operation(
        id="GetInvoicePdf",
        method="GET",
        path="/invoices/{number}/pdf",
        summary="Get the PDF of an invoice",
        says="The document as the customer gets it.",
        of_path=(_NUMBER,),
        answers=None,
        refusals=(404, 409),
    ),
    Operation(
        id="ExplainLine",
        method="GET",
        path="/invoices/{number}/lines/{line}",
        summary="Explain a line",
        says="Why one line asks for what it asks, down to the lines of Microsoft's invoice.",
        of_path=(_NUMBER, _LINE),
        answers=LineExplained,
        refusals=(404, 409),
        visibility="advanced",
    ),
)
