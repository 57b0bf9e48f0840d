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

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256

from domain.money import Money


class Severity(StrEnum):
    """What a finding does: tell, hold the customer, or hold it whoever releases it."""

    WARN = "warn"
    HOLD = "hold"
    BLOCK = "block"


class FindingState(StrEnum):
    """Where a finding is in its life."""

    OPEN = "open"
    CLOSED = "closed"
    """Its cause is gone."""
    RELEASED = "released"
    """Its cause is there, and a person lets the customer be billed in spite of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault of the data: what was seen on which record, and what to do about it.

    It closes by itself when its cause is gone. A release counts for what the person saw: it ends
    when the finding says something else, when its last day is over, and when the finding closes.
    """

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
    """The day on which it was opened or came to say what it says."""
    since: date | None = None
    """The day on which it was opened, the last time."""
    closed_on: date | None = None
    link: str = ""
    """Where it is put right, as an address that a browser opens; empty: where the hint says."""
    lost_per_day: tuple[Money, ...] = ()
    """What the partner loses each day that it stands, by currency; empty: nothing that is known."""
    released_by: str = ""
    """Who let the customer be billed in spite of it; empty: nobody."""
    released_on: date | None = None
    released_reason: str = ""
    released_until: date | None = None
    """The last day of the release; None: it has no such day."""
    release_note: str = ""
    """What became of the last release, or why one was not accepted."""
    decided_at: datetime | None = None
    """When a person last asked to release it or to take that back (aware UTC, whole seconds)."""

    @property
    def holds(self) -> bool:
        """Say whether it keeps the customer out of billing."""
        released = bool(self.released_by) and self.severity is not Severity.BLOCK
        return self.severity is not Severity.WARN and not released

    @property
    def is_released(self) -> bool:
        """Say whether it would hold if nobody had released it."""
        return self.severity is Severity.HOLD and bool(self.released_by)

    @property
    def key(self) -> str:
        """Identity from meaning: the same fault on the same record is the same finding."""
        return f"finding/{self.check}/{self.customer_id or 'partner'}/{self.record}"

    @property
    def id(self) -> str:
        """A short name for people to type: the check and a mark of the key.

        Ten digits: among ten thousand findings of one check two are alike once in twenty thousand.
        """
        return f"{self.check}-{sha256(self.key.encode()).hexdigest()[:10]}"

    @property
    def version(self) -> str:
        """A mark of what a person sees; it is another one as soon as a release would end."""
        seen = "\n".join((self.key, self.severity.value, str(self.since), self.sentence))
        return sha256(seen.encode()).hexdigest()[:16]

    @property
    def state(self) -> FindingState:
        """Where it is in its life."""
        if self.closed_on is not None:
            return FindingState.CLOSED
        return FindingState.RELEASED if self.released_by else FindingState.OPEN

    def after(self, known: Finding | None, today: date) -> Finding:
        """Return what is kept of it where `known` was open: its days, and its release if it counts."""
        day = self.seen or today
        if known is None:
            return replace(self, seen=day, since=day)
        as_before = (self.severity, self.sentence, self.hint, self.link) == (
            known.severity,
            known.sentence,
            known.hint,
            known.link,
        )
        kept = replace(
            self,
            seen=known.seen if as_before else day,
            since=known.since,
            decided_at=known.decided_at,
        )
        if not known.released_by:
            return replace(kept, release_note=known.release_note)
        if self.severity is not Severity.HOLD:
            return kept.with_ended_release(known, today, "its severity changed")
        if self.sentence != known.sentence:
            return kept.with_ended_release(known, today, "the finding says something else now")
        return kept.with_release_of(known).on(today)

    def with_release_of(self, known: Finding) -> Finding:
        """Return it released as another one is."""
        return replace(
            self,
            released_by=known.released_by,
            released_on=known.released_on,
            released_reason=known.released_reason,
            released_until=known.released_until,
            release_note=known.release_note,
        )

    def with_ended_release(self, known: Finding, today: date, why: str) -> Finding:
        """Return it unreleased, with a note of the release that `known` had and why it ended."""
        note = self.release_note
        if known.released_by:
            note = (
                f"{known.released_by} released it on {known.released_on} "
                f"({known.released_reason}). The release ended on {today}: {why}."
            )
        return replace(
            self,
            released_by="",
            released_on=None,
            released_reason="",
            released_until=None,
            release_note=note,
        )

    def on(self, day: date) -> Finding:
        """Return it as it stands on a day: a release whose last day is over has ended."""
        if self.released_until is None or day <= self.released_until or not self.released_by:
            return self
        return self.with_ended_release(self, day, f"{self.released_until} was its last day")

    def closed(self, today: date) -> Finding:
        """Return it closed: its cause is gone, and a release of it ends."""
        ended = self.with_ended_release(self, today, "the cause is gone")
        return replace(ended, closed_on=today)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person set on a finding's row; it counts when the worker has accepted it."""

    finding: Finding
    """As the worker left it, with reason and last day of a release as they were typed."""
    state: FindingState
    """What it was set to."""
    by: str
    """Name of who changed the row last."""
    at: datetime
    """When (aware UTC)."""
    version: str

    @property
    def on(self) -> date:
        """The day of it (UTC)."""
        return self.at.date()


class WorkerError(Exception):
    """Root of every fault that is not a fault of the data; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(WorkerError):
    """A setting is missing, malformed or contradictory."""


class InputError(WorkerError):
    """A file or an argument cannot be read as what it should be."""


class Unreadable(InputError):  # noqa: N818 - it is what a message is
    """A message that is none: it will never be one, so it is put aside and not tried again."""


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
