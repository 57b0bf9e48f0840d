"""The Dataverse Web API as this product uses it: reading in pages, upserts by key, change sets.

Rows go in and come out as mappings with exact Decimals. Every write is addressed by the alternate
key, so repeating one converges and the transport may retry it; only metadata is created by plain
POST, and never repeated. Microsoft's documentation is the source of every form used here; where
its statements are unconfirmed the client reads both forms.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import count
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4
from xml.etree import ElementTree as ET

from dataverse import batch
from dataverse.batch import Operation, Part
from dataverse.schema import EXTERNAL_KEY, Row
from dataverse.tables import TABLES
from domain.problems import (
    Conflict,
    NotAuthorised,
    NotFound,
    ServiceError,
    Throttled,
    Unavailable,
)
from transport import exact_json
from transport.pace import Allowance
from transport.refusals import read_error
from transport.session import Answer, Http, Patience

API = "/api/data/v9.2/"
SERVICE = "Dataverse"
PAGE_SIZE = 5000
KEYS_AT_ONCE = 100
"""Keys in one filter: the URL stays far below Dataverse's 32 768 characters."""

_HEADERS = {
    "OData-Version": "4.0",
    "OData-MaxVersion": "4.0",
    # The literal text: no condition. It keeps caches on the way from answering.
    "If-None-Match": "null",
    "User-Agent": "csp-billing-dataverse/1.0",
}
_COOKIE = "@Microsoft.Dynamics.CRM.fetchxmlpagingcookie"
_MORE = "@Microsoft.Dynamics.CRM.morerecords"
_PAGED = f'odata.include-annotations="{_COOKIE[1:]},{_MORE[1:]}"'
_FORMATTED = 'odata.include-annotations="OData.Community.Display.V1.FormattedValue"'
DEADLOCK, SQL_TIMEOUT = "0x80044150", "0x80044151"
TRANSIENT = frozenset({DEADLOCK, SQL_TIMEOUT})
"""Codes of faults that pass by themselves, whatever their status."""
GRANTED = Allowance(requests=6000, seconds=1200.0, at_once=52, window=300.0)
"""The service protection limits of one user on one web server (Dataverse documentation)."""

Literal = str | int | Decimal | date | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to read of one table, named by its logical name."""

    table: str
    select: Sequence[str]
    where: str = ""
    order: str = ""
    expand: str = ""
    top: int | None = None
    """Dataverse ignores it together with a page size, so then none is asked for."""
    names: bool = False
    """Also the names of linked rows (formatted values)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What became of a table since a delta link was given out; applying it twice is harmless."""

    rows: Sequence[Row]
    """New and changed rows, as they are now."""
    gone: Sequence[str]
    """Primary keys of deleted rows, also of some that were never seen."""
    link: str
    """Where to go on the next time; empty on all pages but the last."""
    anew: bool
    """Whether everything was read, because there was no link or it had expired (after 7 days)."""


def literal(value: Literal) -> str:
    """Write a value into a filter or a key, so that no text can end its own quotes."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else f"{value}"


def one_of(column: str, values: Iterable[str]) -> str:
    """Write the filter that a text column holds one of some values."""
    texts = list(values)
    if any(mark in text for text in texts for mark in "'\"\\[]"):
        # How the list of In wants them is not documented.
        return "(" + " or ".join(f"{column} eq {literal(text)}" for text in texts) + ")"
    listed = exact_json.dumps(texts)
    return f"Microsoft.Dynamics.CRM.In(PropertyName={literal(column)},PropertyValues={listed})"


def etag(row: Row) -> str:
    """Return the version of a row as read."""
    return str(row["@odata.etag"])


class DataverseClient:
    """One environment; safe for threads."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self.patience = replace(http.patience, codes=TRANSIENT)
        self._sets: dict[str, str] = {}

    def who_am_i(self) -> Row:
        """Return the ids of user, business unit and organisation: the connectivity probe."""
        return self.call("GET", "WhoAmI").json()  # type: ignore[no-any-return]

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        keyed: bool = False,
        patience: Patience | None = None,
        inspect: Callable[[Answer], None] = lambda _: None,
    ) -> Answer:
        """Send one request below the API root (or to a next link) with the headers of every one."""
        content = None
        # Names one try for Microsoft's support; it identifies nothing that is stored.
        sent = {**_HEADERS, "x-ms-client-request-id": str(uuid4()), **(headers or {})}
        if isinstance(body, bytes):
            content, body = body, None
        elif body is not None:
            sent["Content-Type"] = "application/json; charset=utf-8"
        url = path if "://" in path else API + path
        return self.http.request(
            method,
            url,
            params=params,
            headers=sent,
            json=body,
            body=content,
            keyed=keyed,
            patience=patience or self.patience,
            inspect=inspect,
        )

    # Names ---------------------------------------------------------------------------------------

    def entity_set(self, table: str) -> str:
        """Return the collection name of a table, as the environment says: plurals are not guessed."""
        if table not in self._sets:
            # All of ours at once: one request at a cold start instead of sixteen.
            wanted = dict.fromkeys((*(declared.name for declared in TABLES), table))
            answer = self.call(
                "GET",
                "EntityDefinitions",
                params={
                    "$select": "LogicalName,EntitySetName",
                    "$filter": " or ".join(f"LogicalName eq {literal(name)}" for name in wanted),
                },
                headers={"Consistency": "Strong"},
            )
            found = answer.json()["value"]
            self._sets.update({one["LogicalName"]: str(one["EntitySetName"]) for one in found})
        if table not in self._sets:
            msg = f"the environment has no table {table}"
            raise NotFound(msg, service=SERVICE, hint="Run `provision --apply` first.")
        return self._sets[table]

    def row_path(self, table: str, key: str) -> str:
        """Return the path of a row by its alternate key; the key holds no character to encode."""
        return f"{self.entity_set(table)}({EXTERNAL_KEY}={literal(key)})"

    def id_path(self, table: str, row_id: str) -> str:
        """Return the path of a row by its primary key."""
        return f"{self.entity_set(table)}({row_id})"

    # Reading -------------------------------------------------------------------------------------

    def read(self, query: Query) -> list[Row]:
        """Read all pages of a query."""
        answer = self.call("GET", self._query_path(query), headers=self._preferences(query))
        return list(self._pages(answer.json(), query))

    def read_together(self, queries: Sequence[Query]) -> list[list[Row]]:
        """Read several queries in one round trip; each gets all its pages."""
        operations = [
            Operation(
                method="GET", path=API + self._query_path(query), headers=self._preferences(query)
            )
            for query in queries
        ]
        parts = self._send_batch(operations, atomic=False)
        return [
            list(self._pages(part.json(), query))
            for part, query in zip(parts, queries, strict=True)
        ]

    def read_keyed(self, table: str, select: Sequence[str], keys: Iterable[str]) -> list[Row]:
        """Read the rows with these external keys; the cost follows the keys, not the table."""
        wanted = sorted(keys)
        rows: list[Row] = []
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            some = wanted[start : start + KEYS_AT_ONCE]
            rows += self.read(Query(table=table, select=select, where=one_of(EXTERNAL_KEY, some)))
        return rows

    def aggregate(self, table: str, apply: str) -> list[Row]:
        """Let Dataverse reckon: the groups of a `$apply`, of at most 50 000 rows.

        Sums are exact decimals; a group is a row with the names that `apply` gives.
        """
        path = f"{self.entity_set(table)}?$apply={quote(apply, safe='(),$')}"
        answer = self.call("GET", path, headers=self._preferences(None))
        return list(self._pages(answer.json(), None))

    def fetch(self, xml: str) -> list[Row]:
        """Read all pages of a FetchXML query; it is sent in a batch, where its length is no matter.

        Groups of an aggregate come in pages too; only `top` is one answer. ValueError when it is
        not XML, or names no table; ServiceError when a further page cannot be asked for.
        """
        query = _xml(xml)
        entity = query.find("entity")
        if query.tag != "fetch" or entity is None:
            msg = "a FetchXML query is a <fetch> with an <entity>"
            raise ValueError(msg)
        paged = "top" not in query.attrib  # the two exclude each other (FetchXML reference)
        found: list[Row] = []
        for page in count(1):
            if paged:
                query.attrib.update(page=str(page), count=str(PAGE_SIZE))
            text = quote(ET.tostring(query, encoding="unicode"), safe="")
            path = f"{API}{self.entity_set(entity.get('name', ''))}?fetchXml={text}"
            read = Operation(method="GET", path=path, headers={"Prefer": _PAGED})
            (part,) = self._send_batch([read], atomic=False)
            body = part.json()
            found += body["value"]
            if not paged or not body.get(_MORE):
                break
            query.set("paging-cookie", _cookie(body))
        return found

    def changes(self, table: str, select: Sequence[str], link: str = "") -> Changes:
        """Read what changed since the link of an earlier call; without one, everything."""
        pages = list(self.change_pages(table, select, link))
        return Changes(
            rows=[row for page in pages for row in page.rows],
            gone=[row_id for page in pages for row_id in page.gone],
            link=pages[-1].link,
            anew=pages[-1].anew,
        )

    def change_pages(self, table: str, select: Sequence[str], link: str = "") -> Iterator[Changes]:
        """Yield the pages of `changes`; the table must have change tracking, as all of ours have."""
        headers = {"Prefer": f"odata.maxpagesize={PAGE_SIZE}"}
        anew = not link
        if link:
            try:
                page = self.call("GET", link, headers=headers).json()
            except ServiceError as fault:
                # Expired, or of a restored environment: which error that gives is not documented.
                if fault.status not in (400, 404, 410):
                    raise
                anew = True
        if anew:
            path = self._query_path(Query(table=table, select=select))
            headers = {"Prefer": f"odata.track-changes,{headers['Prefer']}"}
            page = self.call("GET", path, headers=headers).json()
        while True:
            following = page.get("@odata.nextLink")
            entries = page["value"]
            yield Changes(
                rows=[one for one in entries if not _is_tombstone(one)],
                gone=[one["id"] for one in entries if _is_tombstone(one)],
                link="" if following else page["@odata.deltaLink"],
                anew=anew,
            )
            if not following:
                return
            page = self.call("GET", following, headers=headers).json()

    def _query_path(self, query: Query) -> str:
        options = {
            "$select": ",".join(query.select),
            "$filter": query.where,
            "$orderby": query.order,
            "$expand": query.expand,
            "$top": "" if query.top is None else str(query.top),
        }
        texts = [f"{name}={quote(text, safe='(),$')}" for name, text in options.items() if text]
        return f"{self.entity_set(query.table)}?{'&'.join(texts)}"

    def _preferences(self, query: Query | None) -> dict[str, str]:
        wanted = [f"odata.maxpagesize={PAGE_SIZE}"] if query is None or query.top is None else []
        if query is not None and query.names:
            wanted.append(_FORMATTED)
        return {"Prefer": ",".join(wanted)} if wanted else {}

    def _pages(self, page: Any, query: Query | None) -> Iterator[Row]:
        while True:
            yield from page["value"]
            following = page.get("@odata.nextLink")
            if not following:
                return
            # The link is complete; the preference must be repeated or the page size changes.
            page = self.call("GET", following, headers=self._preferences(query)).json()

    # Writing -------------------------------------------------------------------------------------

    def write(
        self, table: str, key: str, columns: Row, *, version: str | None = "", returning: str = ""
    ) -> Row:
        """Upsert one row by key: any version (""), none stored yet (None), or exactly that version.

        Conflict when the condition fails. `returning` names a column to read back (and the etag).
        """
        headers = condition(version)
        params = None
        if returning:
            headers["Prefer"] = "return=representation"
            params = {"$select": returning}
        answer = self.call(
            "PATCH",
            self.row_path(table, key),
            params=params,
            headers=headers,
            body=dict(columns),
            keyed=True,
        )
        return answer.json() if returning else {}

    def create(self, table: str, columns: Row) -> str:
        """Create a row of a table without a key of ours; returns its id. Never repeated by itself."""
        answer = self.call("POST", self.entity_set(table), body=dict(columns))
        return created_id(answer)

    def change(self, operations: Sequence[Operation]) -> list[Part]:
        """Do all operations in one transaction or none; the first failure is raised, typed.

        The operations must converge when repeated (keys, conditions): a lost answer is retried.
        """
        return self._send_batch(operations, atomic=True)

    def _send_batch(self, operations: Sequence[Operation], *, atomic: bool) -> list[Part]:
        content_type, body = batch.compose(operations, atomic=atomic)
        parts: list[Part] = []

        def read(answer: Answer) -> None:
            parts[:] = batch.read(answer.headers.get("Content-Type", ""), answer.content)
            for part in parts:
                if part.status >= 400:
                    raise problem_of(part)

        self.call(
            "POST",
            "$batch",
            # Else the first failure becomes the status of the whole and hides its own words.
            headers={"Content-Type": content_type, "Prefer": "odata.continue-on-error"},
            body=body,
            keyed=True,
            inspect=read,
        )
        return parts


def condition(version: str | None) -> dict[str, str]:
    """Return the header of an upsert: no condition (""), must not exist (None), or that version."""
    if version is None:
        return {"If-None-Match": "*"}
    return {"If-Match": version} if version else {}


def created_id(answer: Answer) -> str:
    """Return the id of what a POST made, from its OData-EntityId."""
    return answer.headers["OData-EntityId"].rsplit("(", 1)[1].rstrip(")")


def _xml(text: str) -> ET.Element:
    try:
        return ET.fromstring(text)  # noqa: S314 - a query of ours, a cookie of the environment
    except ET.ParseError as fault:
        msg = f"not readable as XML: {fault}"
        raise ValueError(msg) from None


def _cookie(page: Any) -> str:
    """Return the cookie of a page that has a next one: encoded twice there, wanted plain."""
    with contextlib.suppress(ValueError):
        cookie = _xml(page.get(_COOKIE) or "").get("pagingcookie", "")
        if cookie:
            return unquote(unquote(cookie))
    # Not every query has cookies (one sorted by a linked table). Without them Dataverse ends at
    # 50 000 rows, so going on by page numbers could end early and nobody would know.
    msg = "a FetchXML answer announces a further page without a cookie to ask for it"
    raise ServiceError(
        msg, service=SERVICE, hint="sort the query by columns of its own table, or narrow it"
    )


def _is_tombstone(entry: Row) -> bool:
    return str(entry.get("@odata.context", "")).endswith("/$deletedEntity")


_TYPES: dict[int, type[ServiceError]] = {
    401: NotAuthorised,
    403: NotAuthorised,
    404: NotFound,
    412: Conflict,
    429: Throttled,
}


def problem_of(part: Part) -> ServiceError:
    """Make the error of a failed part of a batch."""
    code, sentence = read_error(part.content)
    kind = Unavailable if part.status >= 500 else _TYPES.get(part.status, ServiceError)
    wait = part.headers.get("retry-after", "")
    return kind(
        sentence or f"status {part.status}",
        service=SERVICE,
        status=part.status,
        code=code,
        request_id=part.headers.get("req_id", ""),
        retry_after=float(wait) if wait.isdecimal() else None,
    )
