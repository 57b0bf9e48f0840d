"""What waits on the queues: small keyed messages, one model per queue. Keys only, never data."""

from __future__ import annotations

from datetime import UTC, date
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints

from domain.period import Period

Month = Annotated[str, StringConstraints(pattern=r"^20\d\d-(0[1-9]|1[0-2])$")]
Guid = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{1,64}$")]
RunKey = Annotated[str, StringConstraints(pattern=r"^[a-z]+/[0-9A-Za-z/-]{1,90}$")]


class _Message(BaseModel):
    """Strict: a message that does not fit will never fit, so it is refused, not retried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1


class StartRun(_Message):
    """Queue `start`: begin (or go on with) a run; the handler fans it out."""

    kind: Literal["sync", "bill", "approve"]
    period: Month | None = None
    """Needed by bill and approve."""
    day: date | None = None
    """Needed by sync: the day that the run is for."""
    customer_id: Guid | None = None

    @property
    def run_key(self) -> str:
        """The run's identity from meaning."""
        scope = f"/{self.customer_id}" if self.customer_id else ""
        return f"{self.kind}/{self.period or self.day}{scope}"


class TakeRequest(_Message):
    """Queue `start` as well: take up what somebody asked for by adding a row in Dynamics."""

    request_id: Guid
    """The row's id; what it asks for is read from the row, never from a message."""


class PullUnit(_Message):
    """Queue `pull`: read one part of Microsoft's side for one scope."""

    run_key: RunKey
    part: Literal["customer", "relationships", "changes", "tax_numbers", "costs", "unbilled"]
    scope: str = ""
    """Customer or invoice id, or a currency (of unbilled); empty for the whole partner."""
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
}
