"""What comes in over HTTP, read strictly and within bounds, and the faults that refuse it.

A name in a path is one of ours or it is nothing: it is matched as a whole, so no dot, slash, NUL or
line break of a caller's gets into a key, a header, a file name or a filter.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.http_models import FIRST_DAY, LAST_DAY
from domain.problems import WorkerError

if TYPE_CHECKING:
    import azure.functions as func

    from domain.run import Run

M = TypeVar("M", bound=BaseModel)

MAX_BODY = 4096
_HOSTS_OWN = frozenset({"code", "clientid"})
"""Query parameters in which the host takes its key."""
_KEY = re.compile(r'"?([0-9A-Za-z._~:/+=-]{1,128})"?')
_RUN_KEY = re.compile(r"[a-z]+/[0-9A-Za-z/-]{1,90}")
_PLACE = re.compile(r"[0-9a-z_.]{1,80}-[0-9a-f]{64}")


class Refused(WorkerError):  # noqa: N818 - named after what happened, as in domain.problems
    """A request that is not taken, with the status that says why."""

    def __init__(self, status: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


def read_body(req: func.HttpRequest, model: type[M]) -> M:
    """Read a JSON body; Refused with 413, 415 or 400 and a sentence about the first fault."""
    raw = req.get_body()
    if len(raw) > MAX_BODY:
        raise Refused(413, f"the body is larger than {MAX_BODY} bytes")
    media = req.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        hint = "send it with the header Content-Type: application/json"
        raise Refused(415, "the body is not marked as JSON", hint=hint)
    try:
        found = json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not readable as JSON", hint="send one object") from None
    return _fitting(model, found, "body")


def read_query(req: func.HttpRequest, model: type[M]) -> M:
    """Read the parameters of a query; Refused with 400 for what is not known or does not fit."""
    given = {name: one for name, one in req.params.items() if name.lower() not in _HOSTS_OWN}
    return _fitting(model, given, "query")


def read_path(req: func.HttpRequest, name: str, pattern: str) -> str:
    """Read a parameter of the path; Refused with 404 for what can be no name of ours."""
    value: str = req.route_params.get(name, "")
    if not re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value):
        raise Refused(404, f"there is nothing of that {name}", hint="docs/http.md shows its form")
    return value


def idempotency_key(req: func.HttpRequest) -> str:
    """Read the header Idempotency-Key; empty where there is none."""
    given = req.headers.get("Idempotency-Key", "")
    if not given:
        return ""
    found = _KEY.fullmatch(given)
    if found is None:
        hint = "send 1 to 128 letters, digits or any of . _ ~ : / + = -"
        raise Refused(400, "the header Idempotency-Key is not readable", hint=hint)
    return found[1]


def run_token(run: Run) -> str:
    """Write where a page of runs ends."""
    text = json.dumps([run.started_at.isoformat(), run.key])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_run_token(token: str) -> tuple[datetime, str]:
    """Read where the page before ended; it gives no rights, so it is checked and not signed."""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        started, key = json.loads(text)
        moment = datetime.fromisoformat(started)
        if moment.tzinfo is None:
            raise _no_token()
        moment = moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise _no_token() from None
    if not FIRST_DAY <= moment.date() <= LAST_DAY:
        raise _no_token()
    if not isinstance(key, str) or not _RUN_KEY.fullmatch(key):
        raise _no_token()
    return moment, key


def read_place(token: str) -> str:
    """Read where a page of findings ended."""
    if not _PLACE.fullmatch(token):
        raise _no_token()
    return token


def _no_token() -> Refused:
    return Refused(400, "query: after is no token of ours", hint="give the `next` of a page")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice: who checked it before us may have read the other value."""
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "a name stands twice"
        raise ValueError(msg)
    return found


def _no_constant(name: str) -> Any:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def _fitting(model: type[M], found: Any, what: str) -> M:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise Refused(
            400, f"{what}: {sentence(error)}", hint=f"it may hold {_fields(model)}"
        ) from None


def sentence(error: ValidationError) -> str:
    """Say what does not fit first, and where, without repeating the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    said = str(first["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part)[:40] for part in first["loc"][:3])
    return f"{where}: {said}" if where else said


def _fields(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields) or "nothing"


def as_key(name: str) -> str:
    """Return the key that a name in a path stands for: points are slashes."""
    return name.replace(".", "/")


def as_name(key: str) -> str:
    """Return the name by which a key stands in a path."""
    return key.replace("/", ".")
