"""What waits on the queues: small keyed messages, one model per queue. Keys, and never data.

The one exception is what a person said: who asks (`by`), and the reason of a release.

`trace` is the W3C trace context (traceparent) of who sent a message: it links what is told of the
work with what asked for it, decides nothing, and is no part of any key.
"""

from __future__ import annotations

from datetime import UTC, date
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from domain.period import Period

Month = Annotated[str, StringConstraints(pattern=r"^20\d\d-(0[1-9]|1[0-2])$")]
Guid = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{1,64}$")]
RunKey = Annotated[str, StringConstraints(pattern=r"^[a-z]+/[0-9A-Za-z/-]{1,90}$")]
UnitKey = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z._/-]{1,200}$")]
Target = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")]
Trace = Annotated[str, StringConstraints(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]

Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]
DocumentKey = Annotated[str, StringConstraints(pattern=r"^invoice/[0-9A-Za-z/-]{1,80}$")]
FindingName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9_.]{1,80}-[0-9a-f]{6}([0-9a-f]{4})?$")
]
FindingVersion = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16})?$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Reason = Annotated[str, StringConstraints(max_length=1000)]

RunKind = Literal[
    "sync",
    "usage",
    "prices",
    "access",
    "renewals",
    "bill",
    "approve",
    "handoff",
    "feedback",
    "health",
]
OF_A_MONTH = frozenset({"bill", "approve"})
"""Kinds whose run is for a month; of the others it is for a day, an hour or a week."""


class _Message(BaseModel):
    """Strict: a message that does not fit will never fit, so it is refused, not retried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    trace: Trace | None = None

    def model_dump_json(self, **how: Any) -> str:
        """Write it as it is sent: what it does not say is left out.

        So instances of the version before, which refuse names that they do not know, read it too.
        """
        return super().model_dump_json(**{"exclude_none": True, **how})


class StartRun(_Message):
    """Queue `start`: begin (or go on with) a run; the handler fans it out."""

    kind: RunKind
    period: Month | None = None
    """Needed by bill and approve; a bill with a day alone is for every month that is due then."""
    day: date | None = None
    """Needed by all others. Of a bill: only customers whose billing day has come by this one."""
    hour: Annotated[int, Field(ge=0, le=23)] | None = None
    """Of feedback, which is asked for several times a day (UTC)."""
    customer_id: Guid | None = None
    document: DocumentKey | None = None
    """Of approve: one draft of the month alone."""
    fingerprint: Fingerprint | None = None
    """Of that draft as it was seen: one that was drafted anew since is not issued. None: as it is."""
    by: Name | None = None
    """Who asked, for the run's row; no part of its identity."""

    @property
    def window(self) -> str:
        """What the run is for: `2026-10`, `2026-11-09`, `2026-11-09T14` or `2026-W46`."""
        if self.period is not None or self.day is None:
            return self.period or ""
        if self.kind == "health":
            year, week, _ = self.day.isocalendar()
            return f"{year}-W{week:02}"
        return f"{self.day}" if self.hour is None else f"{self.day}T{self.hour:02}"

    @property
    def run_key(self) -> str:
        """The run's identity from meaning."""
        if self.document:
            return f"{self.kind}/{self.document.removeprefix('invoice/')}"
        scope = f"/{self.customer_id}" if self.customer_id else ""
        return f"{self.kind}/{self.window}{scope}"


class TakeRequest(_Message):
    """Queue `start` as well: take up what somebody asked for by adding a row in Dynamics."""

    request_id: Guid
    """The row's id; what it asks for is read from the row, never from a message."""


class LookForRequests(_Message):
    """Queue `start` as well: look whether anybody asked for a run by adding a row in Dynamics."""

    look_for: Literal["requests"]


class TakeRelease(_Message):
    """Queue `start` as well: release a finding, or take that back; the finding tells what came."""

    finding: FindingName
    asked_at: AwareDatetime
    """When: what was decided later stands, in whichever order messages come."""
    by: Name
    reason: Reason = ""
    until: date | None = None
    withdraw: bool = False
    version: FindingVersion = ""
    """Of the finding as it was seen: one that has changed since is not released. Empty: as it is."""

    @property
    def key(self) -> str:
        """Identity: one wish of one moment about one finding."""
        wish = self.model_dump_json(exclude={"trace"}, exclude_none=False)
        mark = sha256(wish.encode()).hexdigest()[:8]
        return f"release/{self.finding}/{self.asked_at.astimezone(UTC):%Y%m%dT%H%M%S%f}-{mark}"

    @property
    def run_key(self) -> str:
        """All that was asked for on a day stands together."""
        return f"release/{self.asked_at.astimezone(UTC):%Y-%m-%d}"


class PullUnit(_Message):
    """Queue `pull`: read one part of Microsoft's side for one scope."""

    run_key: RunKey
    part: Literal[
        "customer", "relationships", "changes", "tax_numbers", "costs", "unbilled", "prices"
    ]
    scope: str = ""
    """Customer or invoice id, a currency (unbilled) or a market (prices); empty: the whole partner."""
    day: date

    @property
    def key(self) -> str:
        """Identity from meaning: each part of each scope once a day."""
        scope = f"/{self.scope}" if self.scope else ""
        return f"pull/{self.part}{scope}/{self.day}"


class BillUnit(_Message):
    """Queue `bill`: bill one customer for one month."""

    run_key: RunKey
    customer_id: Guid
    period: Month

    @property
    def key(self) -> str:
        """Identity from meaning."""
        return f"bill/{self.customer_id}/{self.period}"

    @property
    def month(self) -> Period:
        """The billing period."""
        return Period.month(self.period)


def handoff_key(document_key: str) -> str:
    """Name the unit that hands a document off, to whichever system."""
    return f"handoff/{document_key}"


class HandoffUnit(_Message):
    """Queue `handoff`: hand one issued document to the accounting system of its contract."""

    run_key: RunKey
    document_key: UnitKey
    target: Target
    """The accounting system, as contracts name it."""

    @property
    def key(self) -> str:
        """Identity from meaning: a document is handed off once."""
        return handoff_key(self.document_key)


class FeedbackUnit(_Message):
    """Queue `feedback`: read what became of documents in an accounting system."""

    run_key: RunKey
    target: Target

    @property
    def key(self) -> str:
        """Identity from meaning: each system once a run."""
        return f"{self.run_key}/{self.target}"


class ReportUnit(_Message):
    """Queue `report`: read what is stored, and tell."""

    run_key: RunKey
    part: Literal["renewals", "health", "watch"]
    scope: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{0,40}$")] = ""
    """Of renewals: the market, and the beginning of the customers' ids where they are many."""
    day: date

    @property
    def key(self) -> str:
        """Identity from meaning: each part of each scope once a run."""
        scope = f"/{self.scope}" if self.scope else ""
        return f"{self.run_key}/{self.part}{scope}"


class CloseRun(_Message):
    """Queue `close`: all units are through; reconcile and store the totals."""

    run_key: RunKey


class TakeNotice(_Message):
    """Queue `event`: Partner Center told, signed, that a record changed; what it is, is read anew."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,79}$")]
    changed: Annotated[str, StringConstraints(pattern=r"^[0-9T:.Z+-]{10,40}$")]
    """When the record changed, as written."""
    received_at: AwareDatetime
    """When it came in by our clock: what was read since then has seen the change."""
    resource: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z/-]{0,150}$")] = ""
    customer_id: Guid | Literal[""] = ""
    relationship_id: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{0,80}$")] = ""
    invoice_id: Guid | Literal[""] = ""
    azure_subscription_id: Guid | Literal[""] = ""
    status: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{0,40}$")] = ""
    """Of a suspicion of fraud: Active, Investigating or Resolved."""
    correlation: Guid | Literal[""] = ""
    """Of a test event: which test."""

    @property
    def key(self) -> str:
        """Identity from meaning: one change of one record is one event, however often it comes."""
        about = self.resource or "partner"
        return f"event/{self.name}/{about}/{self.changed}"

    @property
    def run_key(self) -> str:
        """All that came in on a day stands together."""
        return f"event/{self.received_at.astimezone(UTC):%Y-%m-%d}"


MODELS: dict[str, type[_Message]] = {
    "start": StartRun,
    "pull": PullUnit,
    "bill": BillUnit,
    "close": CloseRun,
    "event": TakeNotice,
    "handoff": HandoffUnit,
    "feedback": FeedbackUnit,
    "report": ReportUnit,
}
