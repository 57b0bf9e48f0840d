"""Runs and units of work: what was done, by whom, how far, and whether the money adds up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any


class UnitStatus(StrEnum):
    """Where a unit of work stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SETTLED = "settled"
    HELD = "held"
    """Worked, but the customer is on hold: worked again by the next run."""
    FAILED = "failed"
    PARKED = "parked"
    """Given up after its last retry: a person must look."""


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    DONE = "done"
    DONE_WITH_HOLDS = "done_with_holds"
    FAILED = "failed"


class RequestStatus(StrEnum):
    """Where a request for a run stands; from `running` on it is what its run is."""

    REQUESTED = "requested"
    CANCELLED = "cancelled"
    """Taken back before it was taken up."""
    RUNNING = "running"
    DONE = "done"
    DONE_WITH_HOLDS = "done_with_holds"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOfWork:
    """One claimable piece of a run: one kind of work, one scope, one window."""

    key: str
    """Readable: `bill/<customer>/2026-10`."""
    kind: str
    run_key: str
    status: UnitStatus
    attempt: int = 0
    lease_until: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTotal:
    """One currency of a run: where every cent of Microsoft's total went.

    microsoft = billed + credited + held + excluded + residual, all in cost.
    `sold` is what the customers were asked for in that currency.
    """

    currency: str
    microsoft: Decimal
    billed: Decimal
    credited: Decimal
    held: Decimal
    excluded: Decimal
    sold: Decimal

    @property
    def residual(self) -> Decimal:
        """What is not accounted for; zero, or a finding names it."""
        return self.microsoft - self.billed - self.credited - self.held - self.excluded


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one use case over one window."""

    key: str
    """Readable: `bill/2026-10`."""
    kind: str
    scope: str
    window: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    totals: tuple[ControlTotal, ...] = ()
    problem: str = ""
    asked_by: str = ""
    """Who asked for it, where they said so; of an approval the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a person or a flow asked for by adding a row, and what became of it."""

    id: str
    """The row's own id in the system of record."""
    kind: str
    """sync, bill or approve; empty where nothing was chosen."""
    period: str = ""
    """As typed: it is checked when the request is taken up."""
    day: date | None = None
    for_one: bool = False
    """Whether one customer was named."""
    customer_id: str = ""
    """Tenant id of that customer."""
    dry_run: bool = False
    asked_by: str = ""
    status: RequestStatus = RequestStatus.REQUESTED
    run_key: str = ""
    """The run that it led to; several requests may lead to one."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    units_done: int = 0
    units: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    totals: tuple[ControlTotal, ...] = ()
    answer: str = ""
    """What a dry run came to, for people."""
    answer_data: Mapping[str, Any] = field(default_factory=dict)
    """The same for programs; money is text."""
    problem: str = ""

    @property
    def key(self) -> str:
        """Readable identity; the row's id is all that makes one request differ from the next."""
        return f"request/{self.id}"
