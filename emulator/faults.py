"""Faults on demand: what may happen to a request instead of, or after, its being acted on.

Nothing is left to chance: a fault says which requests it meets, how many it lets pass and how many
it spoils, so a schedule of faults repeats exactly. Of an answer that is lost the client cannot know
whether its request was acted on; that is why most kinds exist in two forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from emulator import wire

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

KINDS = {
    "respond": "answers with `status`, without acting",
    "respond_after": "acts, and then answers with `status` all the same",
    "drop_before": "cuts the connection without acting",
    "drop_after": "acts, and cuts the connection before any answer",
    "drop_during": "acts, and cuts the connection in the middle of the answer's body",
    "stall_before": "does not act and never answers: the client runs into its time-out",
    "stall_after": "acts and never answers: a read time-out after the commit",
}


@dataclass(slots=True, kw_only=True)
class Fault:
    """What happens to `count` matching requests, after `skip` of them have passed; see `KINDS`.

    `path` is a regular expression searched from the start of the path, so a plain prefix works.
    An answer without a body has no middle: `drop_during` then cuts before it, like `drop_after`.
    """

    system: str
    path: str = ""
    method: str = ""
    status: int = 503
    count: int = 1
    skip: int = 0
    kind: str = "respond"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if self.count < 1:
            raise ValueError("count must be at least 1")
        if self.skip < 0:
            raise ValueError("skip must be zero or more")
        re.compile(self.path)

    @property
    def acts(self) -> bool:
        """Whether the request is acted on before it fails."""
        return self.kind in ("respond_after", "drop_after", "drop_during", "stall_after")

    def meets(self, system: str, method: str, path: str) -> bool:
        """Whether a request is one of those that should fail."""
        return (
            self.system in (system, "*")
            and self.method.upper() in (method, "")
            and re.match(self.path, path, re.IGNORECASE) is not None
        )

    def interrupt(self) -> None:
        """Raise what ends the connection, if this kind leaves no answer at all.

        A TimeoutError means silence: the server on loopback keeps the socket open and says nothing.
        """
        if self.kind in ("drop_before", "drop_after"):
            raise ConnectionResetError(f"the connection was cut ({self.kind})")
        if self.kind in ("stall_before", "stall_after"):
            raise TimeoutError(f"no answer came ({self.kind})")


def torn(
    response: Response, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    """The answer's head with its true length, half of its body, and then a cut connection."""
    content = response.get_data()
    if content:
        response(environ, start_response)
        yield content[: len(content) // 2]
    raise ConnectionResetError("the connection was cut in the middle of the body")


def fault_response(system: str, fault: Fault, now: datetime) -> Response:
    """An injected answer in the manner of the system that is made to fail."""
    if fault.body is not None:
        text = fault.body if isinstance(fault.body, str) else wire.encode(fault.body)
        response = Response(text, status=fault.status, content_type=wire.JSON_TYPE)
    elif system == "partner_center" and fault.status == 429:
        # The gateway in front of Partner Center answers in its own form, not the service's.
        wait = fault.headers.get("Retry-After", "57")
        response = wire.json_response(
            {
                "statusCode": 429,
                "message": f"Rate limit is exceeded. Try again in {wait} seconds.",
            },
            429,
            {"Retry-After": wait},
        )
    elif system == "dataverse" and fault.status not in (502, 504):
        code, message = {
            429: (
                "0x80072322",
                "Number of requests exceeded the limit of 6000 over time window of 300 seconds.",
            ),
            401: ("", "A bearer token is required."),
            403: ("0x80048405", "Access is denied."),
            413: ("", "The request is too large."),
            503: ("", "The service is unavailable."),
        }.get(fault.status, ("0x80040216", "An unexpected error occurred."))
        response = wire.json_response({"error": {"code": code, "message": message}}, fault.status)
    elif system in ("graph", "price"):
        code = {429: "TooManyRequests", 503: "ServiceUnavailable"}.get(fault.status, "UnknownError")
        inner = {"date": wire.stamp(now).removesuffix("Z")}
        response = wire.json_response(
            {"error": {"code": code, "message": "Injected by the emulator.", "innerError": inner}},
            fault.status,
        )
    elif system == "vault" and fault.status < 500:
        code = {401: "Unauthorized", 403: "Forbidden", 429: "Throttled"}.get(fault.status, "Error")
        content = {"error": {"code": code, "message": "Injected by the emulator."}}
        response = wire.json_response(content, fault.status)
    else:
        # A 5xx of a gateway is a page for people; a client must not try to read JSON from it.
        page = f"<html><body><h1>{fault.status}</h1></body></html>"
        response = Response(page, status=fault.status, content_type="text/html")
    if fault.status == 429:
        response.headers.setdefault("Retry-After", "10")
    response.headers.update(fault.headers)
    return response
