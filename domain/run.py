"""Runs and units of work: what was done, by whom, how far, and whether the money adds up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


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
