"""What provisioning means to do: steps in groups, what is left alone, what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any

from dataverse.tables import SOLUTION
from domain.problems import Finding, Severity

if TYPE_CHECKING:
    from dataverse.provision.environment import Environment

STRONG = {"Consistency": "Strong"}
"""Read past the metadata cache, which is up to half a minute old."""
IN_SOLUTION = {"MSCRM.SolutionUniqueName": SOLUTION, **STRONG}

Later = Callable[["Environment"], Any]
"""A body that only the steps before it make possible: ids that the platform gives out."""


class Part(StrEnum):
    """The groups of a plan, in the order in which they are made."""

    SOLUTION = "solution"
    TABLES = "tables"
    COLUMNS = "columns"
    CHOICES = "choices"
    AUDITING = "auditing"
    RELATIONSHIPS = "relationships"
    KEYS = "keys"
    VIEWS = "views"
    FORMS = "forms"
    ROLES = "roles"
    APP = "app"
    PUBLISHING = "publishing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to add, said in a sentence, and the call that adds it."""

    part: Part
    sentence: str
    path: str
    body: Any = None
    """JSON, or a function that makes it when it is the step's turn (`Later`)."""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is missing, in order; what is left as it is, and why; what stands in the way."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    refusals: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps or self.refusals)

    def __str__(self) -> str:
        lines: list[str] = []
        for part, steps in groupby(self.steps, key=lambda step: step.part):
            lines += [f"{part}:", *(f"  {step}" for step in steps)]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"refused: {one.sentence}" for one in self.refusals]
        return "\n".join([*lines, self.summary])

    @property
    def counts(self) -> dict[str, int]:
        """How many steps each group has."""
        counts = {part.value: 0 for part in Part}
        for step in self.steps:
            counts[step.part] += 1
        return {part: count for part, count in counts.items() if count}

    @property
    def summary(self) -> str:
        """The numbers in one line."""
        if not self.steps:
            return "nothing to do"
        parts = ", ".join(f"{part} {count}" for part, count in self.counts.items())
        return f"{len(self.steps)} operations: {parts}"


def not_there(table: str) -> Finding:
    """Return what stands in the way where a standard table is missing."""
    return Finding(
        check="provision.missing",
        severity=Severity.BLOCK,
        customer_id="",
        record=table,
        sentence=f"The environment has no table {table}, which the projection writes to.",
        hint="Install Dynamics 365 Sales, or switch CSP_PROJECTION off.",
    )


def refusal(record: str, is_now: str, should: str) -> Finding:
    """Say that something is there, and is not as declared."""
    return Finding(
        check="provision.conflict",
        severity=Severity.BLOCK,
        customer_id="",
        record=record,
        sentence=f"{record} is {is_now} and should be {should}.",
        hint="Nothing is changed or removed by itself: correct it in the maker portal.",
    )
