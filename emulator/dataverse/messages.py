"""One request and one answer, whether they came alone over HTTP or inside a `$batch`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl, quote

from emulator.dataverse import errors
from emulator.wire import decode, encode

JSON_TYPE = "application/json; odata.metadata=minimal"
FORMATTED = "OData.Community.Display.V1.FormattedValue"
LOOKUP_TABLE = "Microsoft.Dynamics.CRM.lookuplogicalname"
LOOKUP_NAV = "Microsoft.Dynamics.CRM.associatednavigationproperty"
_PREFERENCE = re.compile(r"\s*([\w.\-]+)\s*(?:=\s*(\"[^\"]*\"|[^,;]*))?\s*(?:[,;]|$)")


class Preferences:
    """The `Prefer` header, and which of its wishes were granted."""

    def __init__(self, header: str) -> None:
        self._wishes = {
            match[1].lower(): (match[2] or "").strip().strip('"')
            for match in _PREFERENCE.finditer(header)
        }
        self.applied: list[str] = []

    def wants(self, name: str) -> bool:
        """Whether a preference without value was sent."""
        return name in self._wishes

    @property
    def representation(self) -> bool:
        """`return=representation`."""
        return self._wishes.get("return") == "representation"

    @property
    def page_size(self) -> int | None:
        """`odata.maxpagesize`, or None."""
        text = self._wishes.get("odata.maxpagesize") or self._wishes.get("maxpagesize")
        return int(text) if text and text.isdigit() and int(text) > 0 else None

    @property
    def annotations(self) -> tuple[str, ...]:
        """The patterns of `odata.include-annotations`."""
        text = self._wishes.get("odata.include-annotations", "")
        return tuple(part.strip() for part in text.split(",") if part.strip())

    def annotated(self, name: str) -> bool:
        """Whether this annotation was asked for."""
        return any(fnmatchcase(name, pattern) for pattern in self.annotations)


@dataclass(slots=True)
class Call:
    """A request below the API root; `root` is that root's absolute URL."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    root: str
    prefer: Preferences = field(init=False)

    def __post_init__(self) -> None:
        self.prefer = Preferences(self.headers.get("prefer", ""))

    @property
    def url(self) -> str:
        """The request's own absolute URL."""
        query = "&".join(f"{k}={quote(v, safe='')}" for k, v in self.query.items())
        return self.root + self.path + (f"?{query}" if query else "")

    @property
    def aliases(self) -> dict[str, str]:
        """The values of `@p` parameters."""
        return {name: value for name, value in self.query.items() if name.startswith("@")}

    def json(self) -> dict[str, Any]:
        """The body as one JSON object with exact numbers."""
        try:
            document = decode(self.body) if self.body.strip() else {}
        except ValueError as problem:
            raise errors.DataverseError(
                400, "0x80048d19", f"Error parsing the request body: {problem}"
            ) from None
        if not isinstance(document, dict):
            raise errors.DataverseError(
                400, "0x80048d19", "The request body must be a JSON object."
            )
        return document

    def condition(self, name: str) -> str | None:
        """If-Match or If-None-Match; the literal text `null` means that there is none."""
        value = self.headers.get(name)
        return None if value in (None, "", "null") else value


@dataclass(slots=True)
class Reply:
    """An answer; a dict body is sent as JSON, bytes as they are."""

    status: int = 204
    body: dict[str, Any] | bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, dict):
            return encode(self.body).encode()
        return self.body or b""


def parse_query(text: str) -> dict[str, str]:
    """A query string as names and values; `%24select`, plus signs and `%20` are all understood."""
    return dict(parse_qsl(text, keep_blank_values=True))


def failure(problem: errors.DataverseError, prefer: Preferences) -> Reply:
    """An error as an answer, with the details that annotations ask for."""
    body = problem.body()
    if prefer.annotated("Microsoft.PowerApps.CDS.HelpLink"):
        body["error"] |= {
            "@Microsoft.PowerApps.CDS.ErrorDetails.HttpStatusCode": str(problem.status),
            "@Microsoft.PowerApps.CDS.HelpLink": "http://go.microsoft.com/fwlink/?LinkID=398563",
            "@Microsoft.PowerApps.CDS.InnerError.Message": problem.message,
        }
    return Reply(problem.status, body, dict(problem.headers))
