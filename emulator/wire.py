"""Bytes on the wire: exact JSON, Microsoft's timestamps, derived ids and a small route table.

Numbers keep their decimal digits in both directions (a Decimal is written as it prints, a float is
refused), because amounts that pass through binary floats would make the emulator's own invoices
disagree with their lines. Paths match without regard to case, as on Microsoft's hosts; the values
inside a path keep theirs.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from werkzeug.wrappers import Request, Response

JSON_TYPE = "application/json; charset=utf-8"
_NAMESPACE = uuid.UUID("5b1e0001-6666-5c22-8d33-aa44bb55c5b1")
_quote = json.encoder.encode_basestring
Handler = TypeVar("Handler")


def encode(value: Any) -> str:
    """Compact JSON with every digit of each Decimal; a float or an unknown type raises TypeError."""
    if value is None:
        return "null"
    kind = type(value)
    if kind is str:
        return _quote(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if kind is Decimal:
        if not value.is_finite():
            raise TypeError(f"{value} has no JSON form")
        return format(value, "f")
    if isinstance(value, Mapping):
        return "{" + ",".join([_quote(k) + ":" + encode(v) for k, v in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([encode(item) for item in value]) + "]"
    raise TypeError(f"{kind.__name__} has no exact JSON form")


def decode(raw: bytes | str) -> Any:
    """JSON to Python with Decimal for every fraction; ValueError when it is not JSON."""
    return json.loads(raw, parse_float=Decimal)


def read_object(request: Request) -> dict[str, Any]:
    """The request's body as a JSON object, {} for an empty body; ValueError for anything else."""
    raw = request.get_data()
    body = decode(raw) if raw else {}
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - a fault of the text
    return body


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer; the caller's headers win."""
    response = Response(encode(value), status=status, content_type=JSON_TYPE)
    response.headers.update(headers or {})
    return response


def stamp(moment: datetime) -> str:
    """An aware instant as Microsoft prints it: UTC, seconds, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def derived_guid(*parts: object) -> str:
    """A GUID computed from its parts, the same in every process."""
    return str(uuid.uuid5(_NAMESPACE, "|".join(map(str, parts))))


def is_guid(text: str) -> bool:
    """Whether the text is a GUID in the usual dashed form."""
    return (
        re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text, re.IGNORECASE) is not None
    )


def bearer(request: Request) -> str:
    """The bearer token of a request, or an empty string."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Routes(Generic[Handler]):
    """An ordered table of (method, path template, handler); the first template that fits wins."""

    def __init__(self, table: Iterable[tuple[str, str, Handler]]) -> None:
        self._table = [(method, _compile(template), handler) for method, template, handler in table]

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | frozenset[str]:
        """The handler and the path's values, or the methods the path takes (none: no such path)."""
        allowed = set[str]()
        wanted = "GET" if method == "HEAD" else method
        for known, pattern, handler in self._table:
            hit = pattern.fullmatch(path)
            if hit and known == wanted:
                return handler, hit.groupdict()
            if hit:
                allowed.add(known)
        return frozenset(allowed)


def _compile(template: str) -> re.Pattern[str]:
    """`/customers/{customer}` to a pattern; everything outside braces is literal."""
    pieces = re.split(r"\{(\w+)\}", template)
    pattern = "".join(
        f"(?P<{piece}>[^/]+)" if index % 2 else re.escape(piece)
        for index, piece in enumerate(pieces)
    )
    return re.compile(pattern + "/?", re.IGNORECASE)
