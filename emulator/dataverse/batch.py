"""`$batch`: many requests in one, and change sets that commit or fail as one.

Without `odata.continue-on-error` the first failure ends the batch and gives its status to the whole
answer, whose body is multipart all the same. A malformed batch is answered with plain JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from emulator.dataverse import errors
from emulator.dataverse.messages import JSON_TYPE, Call, Reply, failure, parse_query
from emulator.dataverse.rows import Rows

LARGEST = 1000
LONGEST_URL = 65_536
_BOUNDARY = re.compile(r'multipart/mixed\s*;.*?boundary="?([^";]+)"?', re.IGNORECASE | re.DOTALL)
_BLANK = re.compile(rb"\r?\n\r?\n")
# An address may hold blanks: the service, too, takes all between the first and the last one.
_REQUEST_LINE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (.+) HTTP/1\.1", re.IGNORECASE)
_INNER_ROOT = re.compile(r"(?:https?://[^/]+)?/?(?:api/data/v9\.\d/)?", re.IGNORECASE)


@dataclass(slots=True)
class _Part:
    headers: dict[str, str]
    content: bytes

    @property
    def content_id(self) -> str:
        return self.headers.get("content-id", "")


@dataclass(slots=True)
class _Written:
    reply: Reply
    content_id: str = ""


class Batch:
    """Runs the parts of a batch through `answer`, the dispatcher of single requests."""

    def __init__(
        self, rows: Rows, answer: Callable[[Call], Reply], next_request_id: Callable[[], str]
    ) -> None:
        self.rows = rows
        self.answer = answer
        self.next_request_id = next_request_id

    def handle(self, call: Call) -> Reply:
        """Answer a batch request."""
        parts = _split(call.headers.get("content-type", ""), call.body)
        plan: list[tuple[list[_Part], bool]] = []
        for part in parts:
            inner = part.headers.get("content-type", "")
            changes = inner.lower().startswith("multipart/mixed")
            plan.append((_split(inner, part.content), True) if changes else ([part], False))
        if sum(len(group) for group, _ in plan) > LARGEST:
            raise errors.DataverseError(
                400, "0x80060888", f"The batch holds more than {LARGEST} operations."
            )
        names = [part.content_id for group, _ in plan for part in group if part.content_id]
        if len(set(names)) != len(names):
            raise errors.bad_query("A Content-ID occurs more than once in the batch.")
        stubborn = call.prefer.wants("odata.continue-on-error")
        boundary = f"batchresponse_{self.next_request_id()}"
        out: list[bytes] = []
        status = 200
        for group, changes in plan:
            if changes:
                written = self._change_set(call, group)
                failed = [w for w in written if w.reply.status >= 400]
                out.append(self._frame_set(written) if not failed else _frame(failed[0]))
            else:
                written = [_Written(self._run(call, group[0]), group[0].content_id)]
                failed = [w for w in written if w.reply.status >= 400]
                out.append(_frame(written[0]))
            if failed and not stubborn:
                status = failed[0].reply.status
                break
        body = b"".join(f"--{boundary}\r\n".encode() + piece for piece in out)
        body += f"--{boundary}--\r\n".encode()
        return Reply(status, body, {"Content-Type": f"multipart/mixed; boundary={boundary}"})

    def _change_set(self, outer: Call, group: list[_Part]) -> list[_Written]:
        """All parts in one transaction; the answer is one error part when any fails."""
        written: list[_Written] = []
        self.rows.references = {}
        try:
            with self.rows.store.transaction():
                for part in group:
                    reply = self._run(outer, part, in_change_set=True)
                    written.append(_Written(reply, part.content_id))
                    if reply.status >= 400:
                        raise _Abandoned  # noqa: TRY301 - it leaves the transaction
                    there = reply.headers.get("OData-EntityId")
                    if part.content_id and there:
                        self.rows.references[f"${part.content_id}"] = there
        except _Abandoned:
            return written[-1:]
        finally:
            self.rows.references = {}
        return written

    def _run(self, outer: Call, part: _Part, *, in_change_set: bool = False) -> Reply:
        try:
            call = self._parse(outer, part)
            if in_change_set and call.method == "GET":
                raise errors.bad_query("A change set cannot hold a GET request.")
            if call.path.startswith("$batch"):
                raise errors.bad_query("A batch cannot hold a batch.")
        except errors.DataverseError as problem:
            return failure(problem, outer.prefer)
        reply = self.answer(call)
        if reply.status >= 400:
            reply.headers["REQ_ID"] = self.next_request_id()
        if call.prefer.applied:
            reply.headers["Preference-Applied"] = ",".join(call.prefer.applied)
        return reply

    def _parse(self, outer: Call, part: _Part) -> Call:
        head, *rest = _BLANK.split(part.content.lstrip(b"\r\n"), maxsplit=1)
        line, *header_lines = head.decode().splitlines()
        match = _REQUEST_LINE.fullmatch(line.strip())
        if match is None:
            raise errors.bad_query(f"The request line '{line}' is not valid.")
        target = match[2]
        if len(target) > LONGEST_URL:
            raise errors.url_too_long()
        reference, slash, tail = target.partition("/")
        if reference.startswith("$") and reference != "$batch":
            if reference not in self.rows.references:
                message = (
                    f"Content-ID Reference: '{reference}' does not exist in the batch context."
                )
                raise errors.DataverseError(400, "", message)
            target = self.rows.references[reference] + slash + tail
        path, _, query = target.partition("?")
        prefix = _INNER_ROOT.match(path)
        return Call(
            method=match[1].upper(),
            path=unquote(path[prefix.end() :] if prefix else path),
            query=parse_query(query),
            headers={"prefer": ""} | _headers(header_lines),
            body=rest[0] if rest else b"",
            root=outer.root,
        )

    def _frame_set(self, written: list[_Written]) -> bytes:
        boundary = f"changesetresponse_{self.next_request_id()}"
        inner = b"".join(f"--{boundary}\r\n".encode() + _frame(w) for w in written)
        head = f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode()
        return head + inner + f"--{boundary}--\r\n".encode()


class _Abandoned(Exception):  # noqa: N818 - a signal that rolls the change set back
    pass


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _split(content_type: str, body: bytes) -> list[_Part]:
    """The parts of a multipart body; plain JSON errors for what is not one."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise errors.DataverseError(
            400, "0x80060888", "Batch request content type must be multipart/mixed with a boundary."
        )
    pieces = re.split(rb"(?:^|\r?\n)--" + re.escape(match[1].encode()), body)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise errors.DataverseError(
            400, "0x80060888", "The batch body does not end with its closing boundary."
        )
    parts: list[_Part] = []
    for piece in pieces[1:-1]:
        head, *rest = _BLANK.split(piece.lstrip(b"\r\n"), maxsplit=1)
        parts.append(_Part(_headers(head.decode().splitlines()), rest[0] if rest else b""))
    return parts


def _frame(written: _Written) -> bytes:
    reply = written.reply
    lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    if written.content_id:
        lines.append(f"Content-ID: {written.content_id}")
    lines += ["", f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    content = reply.content()
    headers = {"OData-Version": "4.0"} | reply.headers
    if content and "Content-Type" not in headers:
        headers["Content-Type"] = JSON_TYPE
    if "OData-EntityId" in headers:
        headers["Location"] = headers["OData-EntityId"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content + b"\r\n"
