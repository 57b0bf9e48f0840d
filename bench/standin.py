"""A stand-in for Dataverse that stores next to nothing: set latencies and the real limits.

It answers what a bulk writer asks (collection names, hashes by change tracking, links, upserts) after
as long as the latency model says, and refuses like the service does: 6000 requests and 1200 seconds
of execution in a sliding window, 52 at once, Retry-After in whole seconds that grows when pushed.
For changes it keeps the key and hash of each row, no columns. One process, one asyncio loop, no code
of the product: so that the client is what is measured.
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from urllib.request import urlopen

PAGE = 5000
_NAMES = re.compile(r"LogicalName eq '(\w+)'")
_LISTED = re.compile(r"PropertyValues=(\[.*?\])\)")
_ROW = re.compile(rb'"@odata\.id": "\w+\(csp_externalkey=\'([^\']*)\'\)".*?"csp_rowhash": "(\w+)"')
_TOKEN = re.compile(r"\$(?:deltatoken|skiptoken)=(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """How long requests take, in seconds, and what is granted."""

    request: float = 0.080
    row: float = 0.0005
    requests: int = 6000
    seconds: float = 1200.0
    window: float = 300.0
    at_once: int = 52
    hint: int = 8
    """x-ms-dop-hint: how many requests at once the service recommends."""

    def cost(self, rows: int) -> float:
        """Return the execution time of a request with so many rows."""
        return self.request + rows * self.row


@dataclass(slots=True)
class _Service:
    model: Model
    taken: deque[tuple[float, float]] = field(default_factory=deque)
    spent: float = 0.0
    running: int = 0
    refused: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    sets: dict[str, dict[str, tuple[int, str]]] = field(default_factory=dict)
    """Of each entity set: key -> version and hash, the newest last."""
    version: int = 0

    # The limits

    def admit(self, cost: float) -> int:
        """Return 0, or the Retry-After of a refusal."""
        now = time.monotonic()
        while self.taken and self.taken[0][0] <= now - self.model.window:
            self.spent -= self.taken.popleft()[1]
        wait = 0.0
        if self.running >= self.model.at_once:
            wait = 1.0
        elif len(self.taken) >= self.model.requests:
            wait = self.taken[0][0] + self.model.window - now
        elif self.spent + cost > self.model.seconds:
            over = self.spent + cost - self.model.seconds
            for moment, seconds in self.taken:
                over -= seconds
                wait = moment + self.model.window - now
                if over <= 0:
                    break
        if wait:
            self.refused += 1
            self.count("refused")
            return math.ceil(wait) + self.refused // 20
        self.refused = 0
        self.taken.append((now, cost))
        self.spent += cost
        return 0

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    # The answers

    async def answer(self, method: str, url: str, body: bytes, root: str) -> tuple[int, str, bytes]:
        """Return status, more headers and body."""
        path, _, query = url.partition("?")
        if path == "/_standin":
            told = json.dumps(self.counts).encode()
            self.counts.clear()
            return 200, "", told
        # Only the table that is measured takes time by its rows; what is prepared is free of it.
        rows = body.count(b'"@odata.type"') if "/csp_subscriptions" in path else 0
        rows = rows or (method == "POST")
        cost = self.model.cost(rows)
        wait = self.admit(cost)
        if wait:
            text = b'{"error": {"code": "0x80072322", "message": "Number of requests exceeded"}}'
            return 429, f"Retry-After: {wait}\r\n", text
        began = time.monotonic()
        self.running += 1
        self.count("requests")
        self.count("writes" if method == "POST" else "reads")
        try:
            answer = self._respond(method, path, query, body, root)
            # What answering took here is part of the latency.
            await asyncio.sleep(began + cost - time.monotonic())
        finally:
            self.running -= 1
        return answer

    def _respond(
        self, method: str, path: str, query: str, body: bytes, root: str
    ) -> tuple[int, str, bytes]:
        query = unquote(query.replace("+", "%20"))
        if method == "POST":
            return self._written(path, body)
        if path == "/EntityDefinitions":
            found: list[dict[str, Any]] = [
                {
                    "LogicalName": name,
                    "EntitySetName": _plural(name),
                    "PrimaryIdAttribute": f"{name}id",
                }
                | {"MetadataId": "00000000-0000-0000-0000-000000000001"}
                for name in _NAMES.findall(query)
            ]
            return _json({"value": found})
        return self._read(path, query, root)

    def _written(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        if path.endswith("UpsertMultiple"):
            stored = self.sets.setdefault(path.split("/")[1], {})
            for key, text in _ROW.findall(body):
                self.version += 1
                stored.pop(key.decode(), None)
                stored[key.decode()] = (self.version, text.decode())
            return 204, "", b""
        if path.endswith("CreateMultiple"):
            ids = ["00000000-0000-0000-0000-000000000001"] * body.count(b'"@odata.type"')
            return _json({"Ids": ids})
        entity = "OData-EntityId: https://x/y(00000000-0000-0000-0000-000000000001)\r\n"
        return 204, entity, b""

    def _read(self, path: str, query: str, root: str) -> tuple[int, str, bytes]:
        stored = self.sets.get(path[1:], {})
        listed = _LISTED.search(query)
        if listed:
            keys = [key for key in json.loads(listed[1]) if key in stored]
            rows = [{"csp_externalkey": key, "csp_rowhash": stored[key][1]} for key in keys]
            return _json({"value": rows})
        token = _TOKEN.search(query)
        last = int(token[1]) if token else 0
        newer: list[str] = []
        for key in reversed(stored):
            if stored[key][0] <= last:
                break
            newer.append(key)
        page: list[dict[str, str]] = []
        for key in reversed(newer[-PAGE:]):
            last, text = stored[key]
            row_id = f"00000000-0000-0000-0000-{last:012d}"
            page.append({"csp_externalkey": key, "csp_rowhash": text, f"{path[1:-1]}id": row_id})
        link = ("@odata.nextLink", "skip") if len(newer) > PAGE else ("@odata.deltaLink", "delta")
        return _json({"value": page, link[0]: f"{root}{path}?${link[1]}token={last}"})


def _plural(name: str) -> str:
    return f"{name}s"


def _json(body: Any) -> tuple[int, str, bytes]:
    return 200, "", json.dumps(body).encode()


async def _serve(model: Model, ready: Any) -> None:
    service = _Service(model)

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *lines = head.decode("latin-1").split("\r\n")
                method, url, _ = line.split(" ", 2)
                length = next(
                    (int(one[15:]) for one in lines if one.lower().startswith("content-length:")), 0
                )
                host = next(one[5:].strip() for one in lines if one.lower().startswith("host:"))
                body = await reader.readexactly(length)
                url = re.sub(r"^https?://[^/]+", "", url).replace("/api/data/v9.2", "")
                status, more, content = await service.answer(
                    method, url, body, f"http://{host}/api/data/v9.2"
                )
                hint = f"x-ms-dop-hint: {model.hint}\r\n"
                kind = "Content-Type: application/json\r\n"
                writer.write(
                    f"HTTP/1.1 {status} x\r\n{kind}{hint}{more}"
                    f"Content-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, limit=1 << 26)
    ready.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(model: Model, ready: Any) -> None:
    asyncio.run(_serve(model, ready))


class StandIn:
    """A running stand-in."""

    def __init__(self, url: str) -> None:
        self.url = url

    def counts(self) -> dict[str, int]:
        """Return what was asked since the last time: requests, writes, reads, refused."""
        with urlopen(f"{self.url}/_standin") as answer:
            return json.load(answer)  # type: ignore[no-any-return]


@contextmanager
def standing_in(model: Model) -> Iterator[StandIn]:
    """Run a stand-in in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(model, theirs), daemon=True)
    process.start()
    try:
        yield StandIn(f"http://127.0.0.1:{ours.recv()}")
    finally:
        process.terminate()
        process.join()
