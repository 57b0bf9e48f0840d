"""The door of the HTTP functions: who calls, what is answered, and how a fault is told.

Every answer forbids to be kept or guessed at, and nothing of a caller's stands in a header. What goes
wrong is an error and a hint; what goes wrong before it is known who calls is told to the log alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import azure.functions as func
from pydantic import BaseModel

from app.callers import Caller, Forbidden, Unauthenticated, caller_of
from app.http_models import Alive, Fault
from app.http_reading import Refused
from domain.problems import InputError, ServiceError, WorkerError

if TYPE_CHECKING:
    from app.wiring import Worker

AGAIN_SECONDS = 30
PATIENCE_SECONDS = 20.0
"""For a failing system: the platform cuts an answer after 230 seconds, a flow after 120."""
_SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_NOBODY = Caller(name="", object_id="", roles=frozenset())
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer before it is written."""

    content: BaseModel | bytes
    status: int = 200
    media: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request whose caller is known."""

    req: func.HttpRequest
    worker: Worker
    caller: Caller

    def by(self, said: str | None, *, needed: bool) -> str:
        """Say who asks: who signed in, and whom they name; Refused where nobody is named."""
        proved = self.caller.name
        if said and proved and said != proved:
            return f"{said} (told by {proved})"[:200]
        if needed and not (said or proved):
            raise Refused(400, "body: it is not said who decides", hint="give it as by")
        return proved or said or ""


def respond(
    req: func.HttpRequest, needs: str, answer: Callable[[Asked], Reply]
) -> func.HttpResponse:
    """Answer a request of a caller with an app role; faults become an error and a hint.

    `needs` empty: the host has asked for a key, and who posts is known by what it signs.
    """
    from app import wiring
    from transport.session import hurried

    try:
        worker = wiring.worker()
    except WorkerError as fault:  # who calls is not known yet: the log alone says what is wrong
        _log.error("the worker cannot be built: %s. %s", fault, fault.hint)
        hint = "ask who runs it: its log and check-config say why"
        return written(_fault(503, "the worker is not ready", hint))
    try:
        with hurried(PATIENCE_SECONDS):
            caller = caller_of(req, needs, worker) if needs else _NOBODY
            with worker.telemetry.caller(req.headers.get("traceparent", "")):
                return written(answer(Asked(req=req, worker=worker, caller=caller)))
    except (Unauthenticated, Forbidden) as fault:
        return written(_fault(fault.status, str(fault), fault.hint, fault.headers))
    except Refused as fault:
        return written(_fault(fault.status, str(fault), fault.hint))
    except InputError as fault:
        return written(_fault(400, str(fault), fault.hint))
    except WorkerError as fault:
        return written(_fault(503, str(fault), fault.hint, _again(fault)))


def _again(fault: WorkerError) -> Mapping[str, str]:
    """Say when to ask again: as the system said, and soon where it said nothing."""
    seconds = fault.retry_after if isinstance(fault, ServiceError) else None
    return {"Retry-After": str(math.ceil(AGAIN_SECONDS if seconds is None else seconds))}


def written(reply: Reply) -> func.HttpResponse:
    """Write an answer; every one forbids to be kept or guessed at."""
    content = reply.content
    return func.HttpResponse(
        content if isinstance(content, bytes) else content.model_dump_json(),
        status_code=reply.status,
        mimetype=reply.media,
        headers={**_SAFE, **reply.headers},
    )


def alive() -> Reply:
    """Say that the functions run; asks nobody and reads no setting."""
    return Reply(content=Alive())


def _fault(status: int, error: str, hint: str, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(content=Fault(error=error, hint=hint), status=status, headers=headers or {})
