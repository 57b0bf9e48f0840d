"""The multipart form of `$batch`: many requests in one, and change sets that stand or fall together.

Only the form: what to send and what an answer means is the client's business. Reading is tolerant
of blanks and line ends, because the published samples differ in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.problems import ServiceError
from transport import exact_json

LARGEST_BATCH = 1000
"""Operations in one batch (Dataverse documentation)."""

_OUTER = "batch_csp"
_INNER = "changeset_csp"
_STATUS_LINE = re.compile(r"HTTP/1\.1 (\d{3})")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request inside a batch; `path` is absolute on the host and already encoded."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One answer inside a batch answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Parse the body with exact numbers; ServiceError when it is not JSON."""
        try:
            return exact_json.loads(self.content)
        except ValueError:
            msg = "a part of a batch answer is not JSON"
            raise ServiceError(msg, service="Dataverse", status=self.status) from None


def compose(operations: Sequence[Operation], *, atomic: bool) -> tuple[str, bytes]:
    """Return content type and body of a batch; `atomic` makes all of it one change set."""
    if len(operations) > LARGEST_BATCH:
        msg = f"a batch holds at most {LARGEST_BATCH} operations, not {len(operations)}"
        raise ValueError(msg)
    boundary = _INNER if atomic else _OUTER
    parts = [_request(boundary, number, one) for number, one in enumerate(operations, 1)]
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    if atomic:
        head = f"--{_OUTER}\r\nContent-Type: multipart/mixed; boundary={_INNER}\r\n\r\n"
        body = head.encode() + body + f"\r\n--{_OUTER}--\r\n".encode()
    return f"multipart/mixed; boundary={_OUTER}", body


def _request(boundary: str, number: int, operation: Operation) -> bytes:
    lines = [
        f"--{boundary}",
        "Content-Type: application/http",
        "Content-Transfer-Encoding: binary",
        f"Content-ID: {number}",
        "",
        f"{operation.method} {operation.path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in operation.headers.items()),
    ]
    content = b""
    if operation.body is not None:
        lines.append("Content-Type: application/json; type=entry")
        content = exact_json.dumps(operation.body).encode()
    return "\r\n".join([*lines, "", ""]).encode() + content + b"\r\n"


def read(content_type: str, body: bytes) -> list[Part]:
    """Return the answers of a batch in order, those of a change set among them.

    ServiceError when it is no batch answer.
    """
    found = re.search(r'boundary="?([^";]+)"?', content_type, re.IGNORECASE)
    if found is None:
        msg = "the answer to a batch is not multipart"
        raise ServiceError(msg, service="Dataverse")
    parts: list[Part] = []
    for piece in _split(found.group(1).strip(), body):
        headers, content = _head(piece)
        inner = headers.get("content-type", "")
        if inner.lower().startswith("multipart/mixed"):
            parts.extend(read(inner, content))
        else:
            parts.append(_part(content))
    return parts


def _split(boundary: str, body: bytes) -> list[bytes]:
    pieces = re.split(rb"(?:^|\r?\n)--" + re.escape(boundary.encode()) + rb"(?=-|\r|\n)", body)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        msg = "the answer to a batch ends before its closing boundary"
        raise ServiceError(msg, service="Dataverse")
    return pieces[1:-1]


def _part(content: bytes) -> Part:
    line, _, rest = content.lstrip(b"\r\n").partition(b"\n")
    status = _STATUS_LINE.match(line.decode("latin-1"))
    if status is None:
        msg = "a part of a batch answer has no status line"
        raise ServiceError(msg, service="Dataverse")
    headers, inner = _head(rest)
    return Part(status=int(status.group(1)), headers=headers, content=inner.strip())


def _head(piece: bytes) -> tuple[dict[str, str], bytes]:
    head, *rest = _BLANK_LINE.split(piece.lstrip(b"\r\n"), maxsplit=1)
    pairs = (line.partition(":") for line in head.decode("latin-1").splitlines() if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}, b"".join(rest)
