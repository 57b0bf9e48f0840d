"""What an answer that refuses means: one typed error, read from whatever form a system gives it.

Status, error code, sentence and request id are kept, free of secrets; the body is not.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import RemoteDisconnected

import requests
import urllib3

from domain.problems import (
    Conflict,
    NotAuthorised,
    NotFound,
    ServiceError,
    Throttled,
    TimedOut,
    Unavailable,
)
from transport import exact_json
from transport.redaction import redact

_REQUEST_IDS = (
    "MS-RequestId",
    "x-ms-service-request-id",
    "request-id",
    "x-ms-request-id",
    "REQ_ID",
)


def refusal(
    service: str,
    status: int,
    content: bytes,
    headers: Mapping[str, str],
    asked_with: Mapping[str, str],
    *,
    now: Callable[[], datetime],
) -> ServiceError:
    """Return the error that an answer means; `asked_with` are the headers of the request."""
    code, sentence = read_error(content)
    error_type = _error_type(status)
    hint = ""
    if issubclass(error_type, Throttled | Unavailable):
        hint = f"{service} is busy or down; run this again later"
    elif issubclass(error_type, Conflict):
        hint = "somebody else changed the same record; run this again"
    return error_type(
        sentence or _phrase(status),
        service=service,
        status=status,
        code=code,
        request_id=request_id_of(headers, asked_with),
        retry_after=_retry_after(headers, sentence, now),
        hint=hint,
    )


def read_error(content: bytes) -> tuple[str, str]:
    """Read code and sentence from an error body of any of the systems; empty where there is none.

    Known: Partner Center `{code, description}` (code a number or a string), its gateway
    `{statusCode, message}`, OData `{error: {code, message}}`, Entra `{error, error_description}`,
    VIES `{errorWrappers: [{error}]}`, storage XML, and HTML of a gateway, of which nothing is kept.
    """
    try:
        body = exact_json.loads(content)
    except ValueError:
        text = content.decode("utf-8", "replace")
        found = [re.search(rf"<{tag}>([^<]*)</{tag}>", text) for tag in ("Code", "Message")]
        code, sentence = (match.group(1) if match else "" for match in found)
        return _short(code, 100), _short(sentence)
    if not isinstance(body, dict):
        return "", ""
    wrapped = body.get("errorWrappers")
    if isinstance(wrapped, list) and wrapped and isinstance(wrapped[0], dict):
        body = wrapped[0]
    inner = body.get("error")
    if isinstance(inner, dict):
        body = inner
    elif isinstance(inner, str):
        body = {"code": inner, "message": body.get("error_description")}
    code = next((body[name] for name in ("code", "Code") if body.get(name) is not None), "")
    names = ("description", "message", "Message")
    sentence = next((body[name] for name in names if body.get(name)), "")
    return _short(str(code), 100), _short(str(sentence))


def request_id_of(*known: Mapping[str, str]) -> str:
    """Return the first id that some headers know; Partner Center sometimes has it as "a,a"."""
    found = (headers[name] for headers in known for name in _REQUEST_IDS if headers.get(name))
    return redact(next(found, "").split(",")[0].strip())[:100]


def cause(error: BaseException) -> str:
    """Say what happened at the socket; the layers above only repeat it with addresses of objects."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror.lower()
        if isinstance(inner, RemoteDisconnected):
            return "the connection was cut before an answer came"
        reason = getattr(inner, "reason", None)
        first = inner.args[0] if inner.args else None
        following = reason if isinstance(reason, BaseException) else inner.__cause__
        if following is None and isinstance(first, BaseException):
            following = first
        inner = following or inner.__context__
    return redact(str(error))[:300]


def is_timeout(error: Exception) -> bool:
    """Say whether we stopped waiting for an answer; a connection that never came is no such case."""
    return isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError) or (
        # How requests tells of a time-out in the middle of a body.
        isinstance(error, requests.ConnectionError) and "Read timed out" in str(error)
    )


def _error_type(status: int) -> type[ServiceError]:
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        return TimedOut
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable
    return {
        401: NotAuthorised,
        403: NotAuthorised,
        404: NotFound,
        410: NotFound,
        409: Conflict,
        412: Conflict,
        429: Throttled,
    }.get(status, ServiceError)


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return HTTPStatus(status).phrase
    return "an answer without a known status"


def _short(text: str, length: int = 500) -> str:
    return redact(" ".join(text.split()))[:length]


def _retry_after(
    headers: Mapping[str, str], sentence: str, now: Callable[[], datetime]
) -> float | None:
    """Read Retry-After as seconds or HTTP date, or Microsoft's "Try again in 57 seconds."."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        # Measured against the answer's own date, so that a wrong clock of ours does not matter.
        sent = headers.get("Date")
        moment = parsedate_to_datetime(sent) if sent else now()
        return max(0.0, (parsedate_to_datetime(text) - moment).total_seconds())
    found = re.search(r"[Tt]ry again in (\d+) second", sentence)
    return float(found.group(1)) if found else None
