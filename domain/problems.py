"""What can go wrong: faults of data are values, faults of infrastructure are exceptions.

WorkerError
+-- ConfigurationError      a setting is missing or contradictory: exit code 2
+-- InputError              a file or argument is not readable as what it should be: exit code 2
+-- ServiceError            a foreign system answered badly (or not at all)
|   +-- Throttled           ... asked us to wait longer than we were ready to
|   +-- Unavailable         ... is down, or unreachable
|   |   +-- TimedOut        ... did not answer in time, and may have done it all the same
|   +-- NotAuthorised       ... refused our identity or its rights
|   +-- NotFound            ... does not have what we asked for
|   +-- Conflict            ... has a newer version than ours
|   +-- Incomplete          ... delivered less than it announced
+-- InvariantBroken         our own promise failed: nothing may be written
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Severity(StrEnum):
    """What a finding does: tell, hold the customer, or hold it whoever releases it."""

    WARN = "warn"
    HOLD = "hold"
    BLOCK = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault of the data: what was seen on which record, and what to do about it."""

    check: str
    """Readable name of the check, e.g. `agreement.missing`."""
    severity: Severity
    customer_id: str
    """Tenant id; empty when the finding concerns the partner as a whole."""
    record: str
    """What it was seen on, readable: `subscription 0b6f...`."""
    sentence: str
    hint: str
    seen: date | None = None
    link: str = ""
    """Where it is put right, as an address that a browser opens; empty: where the hint says."""
    released_by: str = ""
    """Who let the customer be billed in spite of it; empty: nobody."""
    released_on: date | None = None
    released_reason: str = ""

    @property
    def holds(self) -> bool:
        """Say whether it keeps the customer out of billing."""
        released = bool(self.released_by) and self.severity is not Severity.BLOCK
        return self.severity is not Severity.WARN and not released

    @property
    def key(self) -> str:
        """Identity from meaning: the same fault on the same record is the same finding."""
        return f"finding/{self.check}/{self.customer_id or 'partner'}/{self.record}"


class WorkerError(Exception):
    """Root of every fault that is not a fault of the data; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(WorkerError):
    """A setting is missing, malformed or contradictory."""


class InputError(WorkerError):
    """A file or an argument cannot be read as what it should be."""


class InvariantBroken(WorkerError):  # noqa: N818 - named after what happened, as in design.md
    """A promise of our own code failed; the caller must write nothing."""


class ServiceError(WorkerError):
    """A foreign system failed or refused; says which, how, and under which request id."""

    def __init__(
        self,
        message: str,
        *,
        service: str,
        status: int | None = None,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.service = service
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        parts = [self.service]
        if self.status is not None:
            parts.append(str(self.status))
        if self.code:
            parts.append(f"code {self.code}")
        if self.request_id:
            parts.append(f"request {self.request_id}")
        return f"{' '.join(parts)}: {super().__str__()}"


class Throttled(ServiceError):  # noqa: N818
    """429 beyond our patience; `retry_after` is in seconds."""


class Unavailable(ServiceError):  # noqa: N818
    """5xx, a refused connection or a time-out."""


class TimedOut(Unavailable):
    """No answer in time: the work may be done. Less work at once may succeed."""


class NotAuthorised(ServiceError):  # noqa: N818
    """401 or 403: identity or rights."""


class NotFound(ServiceError):  # noqa: N818
    """404."""


class Conflict(ServiceError):  # noqa: N818
    """409 or 412: somebody else was faster, or the record is already there."""


class Incomplete(ServiceError):  # noqa: N818
    """What was delivered is cut off, empty, or less than was announced: nothing may rest on it."""
