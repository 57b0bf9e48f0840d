"""The WSGI application of one Dataverse environment: tokens, limits, routing, headers."""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from itertools import count
from typing import Any
from urllib.parse import quote

from emulator.clock import Clock
from emulator.dataverse import address, errors, pages
from emulator.dataverse.aggregates import Apply
from emulator.dataverse.batch import Batch
from emulator.dataverse.customisation import Customisation
from emulator.dataverse.definitions import Definitions
from emulator.dataverse.duplicates import Duplicates
from emulator.dataverse.fetchxml import FetchXml
from emulator.dataverse.files import Files
from emulator.dataverse.limits import Limits, fault_for
from emulator.dataverse.messages import JSON_TYPE, Call, Reply, failure, parse_query
from emulator.dataverse.metadata import Metadata
from emulator.dataverse.operations import Operations
from emulator.dataverse.query import Reader
from emulator.dataverse.resources import Resources
from emulator.dataverse.rows import Caller, Rows
from emulator.dataverse.sales import Sales
from emulator.dataverse.sales import install as install_sales
from emulator.dataverse.schema import Table
from emulator.dataverse.seed import complete
from emulator.dataverse.seed import seed as fill
from emulator.dataverse.settings import Settings
from emulator.dataverse.sqltext import Sql
from emulator.dataverse.store import MEMORY, Store
from emulator.dataverse.tracking import Tracking
from emulator.dataverse.webhooks import Delivery, Webhooks

TokenCheck = Callable[[str, str], Any]  # (token, audience) -> claims; ValueError(reason) -> 401
_API = re.compile(r"/api/data/v9\.[0-2](?:/|$)", re.IGNORECASE)
_LONGEST_URL = 32_768
_METADATA = {"EntityDefinitions", "RelationshipDefinitions", "GlobalOptionSetDefinitions"}
# What SQLite says of conditions that nest too deep for it, in FetchXML and in lambdas.
_TOO_DEEP = ("parser stack overflow", "Expression tree is too large")
_REQUESTS = uuid.UUID("d0a7a5e0-2026-5000-9000-0000c5bdb112")


class DataverseApp:
    """A Dataverse environment on one SQLite file; every answer follows from requests and clock.

    Without `check_token` any bearer token is accepted. Without `application_id` every caller acts
    as the one seeded application user; with it, only tokens of that client id are members.
    """

    def __init__(
        self,
        *,
        file: str = MEMORY,
        clock: Clock,
        base_url: Callable[[], str],
        check_token: TokenCheck | None = None,
        application_id: str = "",
        sales: bool = False,
        seed: int = 1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = Settings()
        self._clock = clock
        self._base_url = base_url
        self._check_token = check_token
        self._application_id = application_id.lower()
        self._requests = count(1)
        self._with_sales = sales
        self._sleep = sleep
        self.store = Store(file=file, clock=clock, seed=seed)
        self.rows = Rows(self.store, self.settings)
        self.definitions = Definitions(self.store, self.rows)
        self.limits = Limits(self.settings, clock)
        self._files = Files(self.rows)
        self._metadata = Metadata(self.definitions)
        reader = Reader(self.rows, horizon=self._as_cached)
        tracking, fetch = Tracking(reader), FetchXml(reader)
        customisation = Customisation(self.rows, self.definitions, fetch)
        self._operations = Operations(self.rows, self.definitions, self._metadata, customisation)
        queries = {
            "$deltatoken": tracking.since,
            "odata.track-changes": tracking.start,
            "$deltastart": tracking.start,
            "fetchXml": fetch.handle,
            "sql": Sql(fetch.run).handle,
            "$apply": Apply(reader).handle,
        }
        sales_steps = Sales(self.rows)
        self._duplicates = Duplicates(self.rows)
        self.webhooks = Webhooks(self.rows)
        self.rows.listeners += (self._duplicates, sales_steps, customisation, self.webhooks)
        self._resources = Resources(
            self.rows,
            reader,
            queries=queries,
            files=self._files,
            actions=sales_steps.actions,
            customisation=customisation,
        )
        self._batch = Batch(self.rows, self._answer, self._next_request_id)
        self._fill()

    def _fill(self) -> None:
        store = self.store
        with store.lock:
            if store.schema.tables:
                with store.transaction():
                    complete(self.definitions, self.rows)
            elif store.file == MEMORY:
                start = self._clock.now()
                store.copy_from(_filled(self._application_id, self._with_sales, store.seed, start))
            else:
                with store.transaction():
                    store.load_schema()  # another process may have filled the file just now
                    if not store.schema.tables:
                        _begin(self.definitions, self._application_id, with_sales=self._with_sales)

    def install_sales(self) -> None:
        """Install Dynamics 365 Sales, once; only `reset` takes it away again."""
        with self.store.lock, self.store.transaction():
            if "invoice" not in self.store.schema.tables:
                install_sales(self.definitions)

    def reset(self) -> None:
        """Back to the state of a new environment; the settings object stays, with its defaults."""
        with self.store.lock:
            self.store.clear()
            fresh = Settings()
            for name in Settings.__slots__:
                setattr(self.settings, name, getattr(fresh, name))
            self.limits.reset()
            self._files.uploads.clear()
            self._requests = count(1)
            self._fill()

    def close(self) -> None:
        """Close the SQLite file."""
        self.store.close()

    # WSGI

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """One HTTP request."""
        path = environ.get("PATH_INFO", "").encode("latin-1").decode()
        match = _API.match(path)
        reply = self._page(environ, path) if match is None else self._api(environ, path, match)
        content = b"" if environ["REQUEST_METHOD"] == "HEAD" else reply.content()
        headers = {"Content-Length": str(len(content))} | reply.headers
        phrase = HTTPStatus(reply.status).phrase
        start_response(f"{reply.status} {phrase}", [(n, _latin(v)) for n, v in headers.items()])
        return [content]

    def _page(self, environ: dict[str, Any], path: str) -> Reply:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return Reply(405, b"Read only", {"Content-Type": "text/plain", "Allow": "GET, HEAD"})
        with self.store.lock:
            self.store.notice_other_processes()
            text = pages.answer(self.store, path, environ.get("QUERY_STRING", ""))
        if text is None:
            return Reply(404, b"Not found", {"Content-Type": "text/plain"})
        return Reply(200, text.encode(), dict(pages.HEADERS))

    def _api(self, environ: dict[str, Any], path: str, match: re.Match[str]) -> Reply:
        headers = {
            name[5:].replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        root = self._base_url().rstrip("/") + match[0].rstrip("/") + "/"
        call = Call(
            method="GET" if environ["REQUEST_METHOD"] == "HEAD" else environ["REQUEST_METHOD"],
            path=path[match.end() :],
            query=parse_query(environ.get("QUERY_STRING", "")),
            headers=headers,
            body=_body(environ),
            root=root,
        )
        user = ""
        try:
            user = self._authenticate(headers.get("authorization", ""))
            # As it was sent: how much a client encodes is its own affair.
            sent = f"{root}{call.path}?{environ.get('QUERY_STRING', '')}"
            reply = self._admit(call, user, url_length=len(sent))
        except errors.DataverseError as problem:
            reply = failure(problem, call.prefer)
        request_id = self._next_request_id()
        extra = {
            "OData-Version": "4.0",
            "REQ_ID": request_id,
            "x-ms-service-request-id": request_id,
            **self.limits.headers(user),
        }
        if call.prefer.applied:
            extra["Preference-Applied"] = ",".join(call.prefer.applied)
        if "x-ms-client-request-id" in headers:
            extra["x-ms-client-request-id"] = headers["x-ms-client-request-id"]
        if isinstance(reply.body, dict):
            extra["Content-Type"] = JSON_TYPE
        reply.headers = extra | reply.headers
        return reply

    def _authenticate(self, header: str) -> str:
        """The caller's identity: a client id where the token tells one."""
        scheme, _, token = header.partition(" ")
        audience = self._base_url().rstrip("/")
        if scheme.lower() != "bearer" or not token.strip():
            raise errors.unauthorized("A bearer token is required.", audience)
        if self._check_token is None:
            return self._application_id or "any"
        try:
            claims = self._check_token(token.strip(), audience)
        except ValueError as problem:
            raise errors.unauthorized(str(problem), audience) from None
        known = claims if isinstance(claims, dict) else {}
        return str(known.get("appid") or known.get("azp") or "any").lower()

    def _admit(self, call: Call, user: str, *, url_length: int) -> Reply:
        if url_length > _LONGEST_URL:
            raise errors.url_too_long()
        if len(call.body) > self.settings.largest_body:
            raise errors.too_large()
        settings, rows = self.settings, _rows_in(call)
        cost = settings.request_cost_ms + settings.row_cost_ms * rows
        due: list[Delivery] = []
        try:
            with self.limits.admitted(user, cost_ms=cost):
                # Who waits here, or for the lock, counts as being at work: as a server sees it.
                wait = settings.latency_ms + settings.row_latency_ms * rows
                if wait:
                    self._sleep(wait / 1000)
                with self.store.lock:
                    self.webhooks.begin()
                    try:
                        return self._work(call, user)
                    finally:
                        due = self.webhooks.take_due()
        finally:
            self.webhooks.deliver(due)

    def _work(self, call: Call, user: str) -> Reply:
        fault = fault_for(self.settings, call.url)
        if fault and fault != errors.AFTER_COMMIT:
            raise errors.on_demand(fault)
        self.store.notice_other_processes()
        self.rows.caller = self._caller(user)
        if self.definitions.keys_due():
            with self.store.transaction():
                self.definitions.build_keys()
        if call.path == "$batch":
            if call.method != "POST":
                raise errors.no_http_resource(call.url)
            reply = self._batch.handle(call)
        else:
            reply = self._answer(call)
        if fault:
            raise errors.on_demand(fault)
        return reply

    def _caller(self, user: str) -> Caller:
        where, parameters = "applicationid IS NOT NULL", []
        if self._application_id:
            where, parameters = "applicationid = ?", [user]
        row = self.store.one(
            f"SELECT systemuserid, businessunitid FROM systemuser WHERE {where}"
            " ORDER BY versionnumber LIMIT 1",
            parameters,
        )
        if row is None:
            raise errors.not_a_member()
        return Caller(row[0], row[1] or "")

    # Routing

    def _answer(self, call: Call) -> Reply:
        self.rows.solution = call.headers.get("mscrm.solutionuniquename", "")
        suppressed = call.headers.get("mscrm.suppressduplicatedetection", "true")
        self._duplicates.wanted = suppressed.lower() == "false"
        try:
            return self._route(call)
        except errors.DataverseError as problem:
            return failure(problem, call.prefer)
        except (RecursionError, sqlite3.OperationalError) as problem:
            if isinstance(problem, sqlite3.Error) and not str(problem).startswith(_TOO_DEEP):
                raise
            return failure(errors.too_deep(), call.prefer)

    def _route(self, call: Call) -> Reply:
        steps = address.split(call.path)
        first = steps[0] if steps else address.Segment("")
        try:
            reply = self._describe(call, steps) or self._operations.handle(call, first)
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            if not call.body:
                raise
            # A definition is a deep document: what does not have its shape is refused as a whole.
            raise errors.bad_payload(
                first.name, f"The body is not of the expected shape: {problem}"
            ) from problem
        if reply is not None:
            return reply
        table = self.store.schema.by_set.get(first.name)
        horizon = self._horizon()
        if table is None or (horizon is not None and table.born > horizon):
            raise errors.unknown_segment(first.name)
        return self._resources.handle(call, self._as_cached(table), steps)

    def _describe(self, call: Call, steps: list[address.Segment]) -> Reply | None:
        if not steps:
            return self._metadata.service_root(call)
        name = steps[0].name
        if name in _METADATA:
            self.rows.demand_named("prvReadEntity" if call.method == "GET" else "prvWriteEntity")
        if name == "$metadata":
            return self._metadata.csdl()
        if name == "EntityDefinitions":
            return self._metadata.tables(call, steps, self._horizon())
        if name == "RelationshipDefinitions":
            return self._metadata.relationships(call, steps)
        if name == "GlobalOptionSetDefinitions":
            return self._metadata.option_sets(call, steps)
        return None

    def _horizon(self) -> datetime | None:
        """What is younger than this the metadata cache does not show."""
        delay = self.settings.metadata_cache_seconds
        return self._clock.now() - timedelta(seconds=delay) if delay else None

    def _as_cached(self, table: Table) -> Table:
        horizon = self._horizon()
        return table if horizon is None else table.as_of(horizon)

    def _next_request_id(self) -> str:
        return str(uuid.uuid5(_REQUESTS, str(next(self._requests))))


def _begin(definitions: Definitions, application_id: str, *, with_sales: bool) -> None:
    fill(definitions, definitions.rows, application_id=application_id)
    if with_sales:
        install_sales(definitions)


@lru_cache(maxsize=4)
def _filled(application_id: str, with_sales: bool, seed: int, start: datetime) -> Store:
    """A new environment's store in memory, made once and copied: it costs many times the copy."""
    store = Store(file=MEMORY, clock=Clock(start), seed=seed)
    with store.transaction():
        rows = Rows(store, Settings())
        _begin(Definitions(store, rows), application_id, with_sales=with_sales)
    return store


def _body(environ: dict[str, Any]) -> bytes:
    """The body of a request, whose length was announced or which came in chunks."""
    if environ.get("wsgi.input_terminated"):
        return bytes(environ["wsgi.input"].read())
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return bytes(environ["wsgi.input"].read(length)) if length else b""


def _rows_in(call: Call) -> int:
    """How many rows a request writes, or operations a batch holds, as far as a glance tells."""
    if call.path == "$batch":
        return call.body.count(b" HTTP/1.1\r") or call.body.count(b" HTTP/1.1\n")
    return call.body.count(b'"@odata.type"')


def _latin(value: str) -> str:
    """A header value that WSGI takes; what is not ASCII is percent-encoded."""
    return value if value.isascii() else quote(value, safe="%:/?=&'(),;\" ")
