"""Reading rows: `$select`, `$filter`, `$orderby`, `$top`, `$count`, `$expand`, pages, annotations.

A query becomes one SQL statement per level of expansion. Pages continue behind the last row seen
(its sort values travel in the opaque skiptoken), so a row is neither lost nor repeated while
others are written.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from emulator.dataverse import errors, odata, values
from emulator.dataverse.conditions import Fragment
from emulator.dataverse.messages import (
    FORMATTED,
    LOOKUP_NAV,
    LOOKUP_TABLE,
    Call,
    Preferences,
    Reply,
)
from emulator.dataverse.rows import Rows
from emulator.dataverse.schema import Column, Table
from emulator.dataverse.scope import Scope
from emulator.dataverse.values import Cell

Document = dict[str, Any]
_COOKIE = re.compile(
    r'<cookie pagenumber="(\d+)" pagingcookie="([\w=-]*)" istracking="(?:True|False)" />'
)
OPTIONS = frozenset(
    {
        "$select",
        "$filter",
        "$orderby",
        "$top",
        "$count",
        "$expand",
        "$apply",
        "$skiptoken",
        "$deltatoken",
    }
)


@dataclass(slots=True)
class Fetch:
    """What one level of a query asks for."""

    table: Table
    options: dict[str, str]
    where: list[Fragment] = field(default_factory=list)
    join: str = ""
    extra: str = ""  # one more value per row, for grouping an expansion
    limit: int | None = None
    after: list[Cell] | None = None


@dataclass(slots=True)
class Found:
    """One row: its cells by name, its JSON document, and what continues a page behind it."""

    cells: dict[str, Any]
    document: Document
    position: list[Cell]
    extra: Cell


class Reader:
    """The read side of all tables."""

    def __init__(self, rows: Rows, *, horizon: Callable[[Table], Table]) -> None:
        self.rows = rows
        self.store = rows.store
        self.settings = rows.settings
        self.horizon = horizon  # the table as the metadata cache shows it

    # Entry points

    def single(self, call: Call, table: Table, row_id: str, *, status: int = 200) -> Reply:
        """One row as a representation."""
        self.rows.demand("Read", table)
        check_options(call, {"$select", "$expand"})
        key = (f'"t"."{table.primary_id}" = ?', [row_id])
        found = self.fetch(Fetch(table, call.query, where=[key]), call)
        if not found:
            raise errors.not_found(table.logical, row_id)
        context = f"{call.root}$metadata#{table.entity_set}{_shape(call.query)}/$entity"
        etag = found[0].document["@odata.etag"]
        headers = {"ETag": etag} if status == 200 else {}
        _note(call.prefer)
        return Reply(status, {"@odata.context": context, **found[0].document}, headers)

    def collection(
        self, call: Call, table: Table, *, where: Sequence[Fragment] = (), join: str = ""
    ) -> Reply:
        """A page of rows."""
        self.rows.demand("Read", table)
        check_options(call, OPTIONS)
        page, after = read_skiptoken(call)
        wished = call.prefer.page_size
        size = min(wished or self.settings.page_size_cap, self.settings.page_size_cap)
        top = _whole(call.query.get("$top"), "$top")
        limit = size if wished or top is None else min(top, size)
        clauses = [*where, *self.filters(call, table)]
        more = wished is not None or top is None or top > size
        fetch = Fetch(table, call.query, where=clauses, join=join, after=after, limit=limit + more)
        found = self.fetch(fetch, call)
        body: Document = {
            "@odata.context": f"{call.root}$metadata#{table.entity_set}{_shape(call.query)}"
        }
        body |= self._totals(call, table, clauses, join)
        body["value"] = [item.document for item in found[:limit]]
        if more and len(found) > limit:
            body["@odata.nextLink"] = next_link(call, page + 1, found[limit - 1].position)
        if wished:
            call.prefer.applied.append(f"odata.maxpagesize={wished}")
        _note(call.prefer)
        return Reply(200, body)

    def filters(self, call: Call, table: Table) -> list[Fragment]:
        """The `$filter` as a condition on row ids, so that its joins stay its own."""
        text = call.query.get("$filter")
        return [self.condition(table, text, call)] if text else []

    def condition(self, table: Table, text: str, call: Call) -> Fragment:
        """One filter over the main table `t`."""
        scope = Scope(self.rows, self.horizon(table), alias="f")
        sql, parameters = scope.where(odata.Parser(text, call.aliases).parse())
        if scope.source == f'{table.sql} AS "f"':
            return re.sub(r'"f"\.', '"t".', sql), parameters
        chosen = f'"t"."{table.primary_id}" IN (SELECT {scope.key} FROM {scope.source} WHERE {sql})'
        return chosen, parameters

    def _totals(self, call: Call, table: Table, clauses: Sequence[Fragment], join: str) -> Document:
        result: Document = {}
        total, cap = -1, self.settings.count_cap
        if call.query.get("$count") == "true":
            total = self.count(table, clauses, join)
            result["@odata.count"] = min(total, cap)
        prefix = "Microsoft.Dynamics.CRM."
        for name, value in (
            ("totalrecordcount", min(total, cap)),
            ("totalrecordcountlimitexceeded", total > cap),
            ("globalmetadataversion", str(self.store.schema.version)),
        ):
            if call.prefer.annotated(prefix + name):
                result[f"@{prefix}{name}"] = value
        return result

    def count(self, table: Table, clauses: Sequence[Fragment] = (), join: str = "") -> int:
        """How many rows meet the conditions."""
        where = " AND ".join(sql for sql, _ in clauses) or "1"
        parameters = [p for _, given in clauses for p in given]
        row = self.store.one(
            f'SELECT COUNT(*) FROM {table.sql} AS "t" {join} WHERE {where}', parameters
        )
        return int(row[0]) if row else 0

    # One level

    def fetch(self, fetch: Fetch, call: Call) -> list[Found]:
        """Rows of one level with their documents, expansions attached."""
        table = self.horizon(fetch.table)
        shown = _selected(table, fetch.options.get("$select"))
        expansions = odata.expansions(fetch.options.get("$expand", ""))
        scope = Scope(self.rows, table)
        order = (
            [(scope.column(path), down) for path, down in odata.order(fetch.options["$orderby"])]
            if fetch.options.get("$orderby")
            else []
        )
        keys = [(sql, down) for (sql, _), down in order] + [(scope.key, False)]
        wanted = self._cells(table, shown, expansions, call.prefer)
        picked = [*wanted.values(), *(sql for sql, _ in keys), fetch.extra or "NULL"]
        clauses = list(fetch.where)
        if fetch.after is not None:
            clauses.append(_behind(keys, fetch.after))
        sql = (
            f"SELECT {', '.join(picked)} FROM {scope.source} {fetch.join} "
            f"WHERE {' AND '.join(c for c, _ in clauses) or '1'} "
            f"ORDER BY {', '.join(k + (' DESC' if down else '') for k, down in keys)}"
        )
        parameters = [p for _, given in clauses for p in given]
        if fetch.limit is not None:
            sql += " LIMIT ?"
            parameters.append(fetch.limit)
        names = list(wanted)
        render = _renderer(shown, call.prefer)
        found: list[Found] = []
        for row in self.store.rows(sql, parameters):
            cells = dict(zip(names, row, strict=False))
            found.append(Found(cells, render(cells), list(row[len(names) : -1]), row[-1]))
        for nav, options in expansions:
            self._expand(table, found, nav, options, call)
        return found

    def _cells(
        self, table: Table, shown: list[Column], expansions: list[Any], prefer: Preferences
    ) -> dict[str, str]:
        """The SQL of every cell that the documents need, by name."""
        columns = [*shown]
        columns += [table.lookups[nav][0] for nav, _ in expansions if nav in table.lookups]
        cells = {"versionnumber": '"t"."versionnumber"'}
        for column in columns:
            cells[column.name] = f'"t"."{column.name}"'
            if column.type_cell:
                cells[column.type_cell] = f'"t"."{column.type_cell}"'
        if prefer.annotated(FORMATTED):
            for column in shown:
                if column.kind == "Lookup":
                    cells[f"{column.name}:label"] = self._label(column)
            if any(c.kind == "Money" for c in shown) and table.has_money:
                cells[":symbol"] = (
                    "(SELECT c.currencysymbol FROM transactioncurrency c WHERE "
                    'c.transactioncurrencyid = "t".transactioncurrencyid)'
                )
        return cells

    def _label(self, column: Column) -> str:
        """The primary name of the row that a lookup points at."""
        tables = self.store.schema.tables
        found = [tables[name] for name in column.definition["Targets"] if name in tables]
        names = [
            f'(SELECT n."{t.primary_name}" FROM {t.sql} n WHERE n."{t.primary_id}" = "t"."{column.name}")'
            for t in found
        ]
        return f"COALESCE({', '.join(names)}, NULL)" if names else "NULL"

    # Expansion

    def _expand(
        self, table: Table, found: list[Found], nav: str, options: dict[str, str], call: Call
    ) -> None:
        if nav in table.lookups:
            column, target_name = table.lookups[nav]
            target = self.store.schema.tables[target_name]
            kinds = column.type_cell
            ids = {
                item.cells[column.name]
                for item in found
                if item.cells[column.name] and (not kinds or item.cells[kinds] == target_name)
            }
            chosen = _among(f'"t"."{target.primary_id}"', ids)
            fetch = Fetch(target, options, where=[chosen], extra=f'"t"."{target.primary_id}"')
            rows = {item.extra: item.document for item in self.fetch(fetch, call)} if ids else {}
            for item in found:
                item.document[nav] = rows.get(item.cells[column.name])
            return
        if nav in table.children:
            link_ = table.children[nav]
            child, join, parent = (
                self.store.schema.tables[link_.referencing],
                "",
                f'"t"."{link_.column}"',
            )
        elif nav in table.many:
            child, join, parent = self.many(table, nav)
        else:
            raise errors.unknown_property(nav, table.logical)
        groups: dict[Cell, list[Document]] = {item.position[-1]: [] for item in found}
        clauses = [_among(parent, groups)]
        if options.get("$filter"):
            clauses.append(self.condition(child, options["$filter"], call))
        top = _whole(options.get("$top"), "$top")
        fetch = Fetch(child, options, where=clauses, join=join, extra=parent)
        for item in self.fetch(fetch, call) if found else []:
            group = groups[item.extra]
            if top is None or len(group) < top:
                group.append(item.document)
        for item in found:
            item.document[nav] = groups[item.position[-1]]

    def many(self, table: Table, nav: str) -> tuple[Table, str, str]:
        """The far table of a many-to-many property, the join to its pairs, the near id in them."""
        pairs = table.many[nav]
        first = pairs.sides[0] == (table.logical, nav)
        far = self.store.schema.tables[pairs.sides[1 if first else 0][0]]
        near_cell, far_cell = ("a", "b") if first else ("b", "a")
        join = f'JOIN "_many_{pairs.intersect}" AS m ON m.{far_cell} = "t"."{far.primary_id}"'
        return far, join, f"m.{near_cell}"


def _renderer(shown: list[Column], prefer: Preferences) -> Callable[[dict[str, Any]], Document]:
    plan = [(c, c.name, c.prop, values.decoder(c.kind)) for c in shown]
    labels = prefer.annotated(FORMATTED)
    target, nav = prefer.annotated(LOOKUP_TABLE), prefer.annotated(LOOKUP_NAV)

    def annotate(document: Document, column: Column, cells: dict[str, Any]) -> None:
        cell, prop = cells[column.name], column.prop
        if column.kind != "Lookup":
            text = values.formatted(column, cell, cells.get(":symbol") or "") if labels else None
            if text is not None:
                document[f"{prop}@{FORMATTED}"] = text
            return
        logical = (cells.get(column.type_cell) if column.type_cell else None) or (
            next(iter(column.navs), column.definition["Targets"][0])
        )
        if labels and cells.get(f"{column.name}:label") is not None:
            document[f"{prop}@{FORMATTED}"] = cells[f"{column.name}:label"]
        if nav and logical in column.navs:
            document[f"{prop}@{LOOKUP_NAV}"] = column.navs[logical]
        if target:
            document[f"{prop}@{LOOKUP_TABLE}"] = logical

    annotated = labels or target or nav

    def render(cells: dict[str, Any]) -> Document:
        document: Document = {"@odata.etag": f'W/"{cells["versionnumber"]}"'}
        for column, name, prop, decode in plan:
            cell = cells[name]
            if cell is None:
                document[prop] = None
                continue
            document[prop] = decode(cell) if decode else cell
            if annotated:
                annotate(document, column, cells)
        return document

    return render


def _selected(table: Table, text: str | None) -> list[Column]:
    if not text:
        return list(table.columns.values())
    shown: list[Column] = []
    for name in (part.strip() for part in text.split(",")):
        column = table.props.get(name)
        if column is None:
            raise errors.unknown_property(name, table.logical)
        if column not in shown:
            shown.append(column)
    extra = [table.primary_id]
    if any(c.kind == "Money" for c in shown) and table.has_money:
        extra.append("transactioncurrencyid")
    return shown + [table.columns[name] for name in extra if table.columns[name] not in shown]


def check_options(call: Call, allowed: set[str] | frozenset[str]) -> None:
    """Refuse query options that Dataverse does not have."""
    for name in call.query:
        if name.startswith("$") and name not in allowed:
            raise errors.bad_query(f"The query parameter {name} is not supported")


def link(call: Call, query: dict[str, str]) -> str:
    """An absolute link to the same resource with another query."""
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    path = quote(call.path, safe="()'=,/")
    return f"{call.root}{path}?{text}"


def _note(prefer: Preferences) -> None:
    if prefer.annotations:
        prefer.applied.append(f'odata.include-annotations="{",".join(prefer.annotations)}"')


def _whole(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text.isdigit():
        raise errors.bad_query(f"Invalid value '{text}' for {name} query option found.")
    return int(text)


def _shape(options: dict[str, str]) -> str:
    """The selected columns as a context URL shows them: `(name,primarycontactid(fullname))`."""
    parts = [part.strip() for part in options.get("$select", "").split(",") if part.strip()]
    for nav, inner in odata.expansions(options.get("$expand", "")):
        parts.append(nav + (_shape(inner) or "()"))
    return f"({','.join(parts)})" if parts else ""


def _among(sql: str, ids: Any) -> Fragment:
    return f"{sql} IN (SELECT value FROM json_each(?))", [json.dumps(sorted(ids))]


def _behind(keys: Sequence[tuple[str, bool]], position: Sequence[Cell]) -> Fragment:
    """Rows that sort strictly behind a position; SQLite sorts null first."""
    options: list[str] = []
    parameters: list[Cell] = []
    for index, (sql, down) in enumerate(keys):
        value = position[index]
        if down and value is None:
            continue  # null is last when descending: nothing lies behind it in this column
        same = [f"{keys[i][0]} IS ?" for i in range(index)]
        if value is None:
            further = f"{sql} IS NOT NULL"
        else:
            further = f"({sql} < ? OR {sql} IS NULL)" if down else f"{sql} > ?"
        options.append(" AND ".join([*same, further]))
        parameters += position[:index]
        parameters += [] if value is None else [value]
    return "(" + " OR ".join(f"({option})" for option in options) + ")", parameters


def next_link(call: Call, page: int, position: list[Cell], *, tracking: bool = False) -> str:
    """The link behind a row. It works as it stands only: its cookie belongs to this very query."""
    kept = {name: value for name, value in call.query.items() if name != "$skiptoken"}
    cookie = urlsafe_b64encode(json.dumps([_fingerprint(call), position]).encode()).decode()
    token = f'<cookie pagenumber="{page}" pagingcookie="{cookie}" istracking="{tracking}" />'
    return link(call, kept | {"$skiptoken": token})


def read_skiptoken(call: Call) -> tuple[int, list[Cell] | None]:
    """The number of the page that is asked for, and the position behind which it begins."""
    text = call.query.get("$skiptoken")
    if text is None:
        return 1, None
    match = _COOKIE.fullmatch(text)
    try:
        fingerprint, position = json.loads(urlsafe_b64decode(match[2])) if match else (None, None)
    except ValueError:
        fingerprint = None
    if match is None or fingerprint != _fingerprint(call):
        raise errors.bad_query("Malformed XML in the Paging Cookie")
    return int(match[1]), position


def _fingerprint(call: Call) -> str:
    """What a paging cookie belongs to: the address and all options beside the cookie itself."""
    options = sorted(item for item in call.query.items() if item[0] != "$skiptoken")
    return sha256(json.dumps([call.path, options]).encode()).hexdigest()[:16]
