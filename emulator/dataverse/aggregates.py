"""Sums, averages, extremes and counts in exact arithmetic; `$apply` and its limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from emulator.dataverse import errors, odata, values
from emulator.dataverse.conditions import Fragment
from emulator.dataverse.messages import Call, Reply
from emulator.dataverse.query import Reader
from emulator.dataverse.schema import Column, Table
from emulator.dataverse.scope import Scope

Decode = Callable[[Any], Any] | None
_ITEM = re.compile(r"([\w/]+)\s+with\s+(sum|average|min|max|countdistinct)\s+as\s+(\w+)")
_COUNT = re.compile(r"\$count\s+as\s+(\w+)")
_TRANSFORMATION = re.compile(r"(filter|groupby|aggregate)\((.*)\)", re.DOTALL)


def aggregate(function: str, sql: str, column: Column | None) -> tuple[str, Decode]:
    """An aggregate as SQL, with what turns its cell into JSON; column None counts rows."""
    if function in ("count", "countcolumn", "countdistinct"):
        if column is None or function == "count":
            return "COUNT(*)", None
        return f"COUNT({'DISTINCT ' if function == 'countdistinct' else ''}{sql})", None
    if column is None:
        raise errors.bad_query(f"The aggregate '{function}' needs a column.")
    if function in ("min", "max"):
        return f"{function.upper()}({sql})", values.decoder(column.kind)
    numeric = column.kind in values.EXACT_KINDS or column.edm in ("Edm.Int32", "Edm.Int64")
    if not numeric:
        raise errors.bad_query(f"The aggregate '{function}' cannot be used on '{column.name}'.")
    if function == "sum" and column.kind not in values.EXACT_KINDS:
        return f"SUM({sql})", None
    return f"{'exact_sum' if function == 'sum' else 'exact_avg'}({sql})", Decimal


def refuse_too_many(reader: Reader, source: str, clauses: Sequence[Fragment]) -> None:
    """Dataverse aggregates at most 50 000 source rows."""
    limit = reader.settings.aggregate_limit
    where = " AND ".join(sql for sql, _ in clauses) or "1"
    parameters = [p for _, given in clauses for p in given]
    inner = f"SELECT 1 FROM {source} WHERE {where} LIMIT {limit + 1}"
    row = reader.store.one(f"SELECT COUNT(*) FROM ({inner})", parameters)
    if row and row[0] > limit:
        raise errors.DataverseError(
            400,
            "0x8004e023",
            "AggregateQueryRecordLimit exceeded. Cannot perform this operation.",
        )


class Apply:
    """Answers `$apply`: filter, groupby with aggregate, or aggregate alone."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def handle(self, call: Call, table: Table) -> Reply:
        """One document per group."""
        if "$orderby" in call.query:
            raise errors.bad_query("$orderby is not supported together with $apply.")
        scope = Scope(self.reader.rows, self.reader.horizon(table))
        clauses: list[Fragment] = []
        if call.query.get("$filter"):
            clauses.append(scope.where(odata.Parser(call.query["$filter"], call.aliases).parse()))
        groups: list[odata.Path] = []
        picked: list[tuple[tuple[str, ...], str, Decode]] = []
        for step in odata.split_outside(call.query["$apply"], "/"):
            match = _TRANSFORMATION.fullmatch(step)
            if match is None:
                raise errors.bad_query(f"The transformation '{step}' is not supported.")
            if match[1] == "filter":
                clauses.append(scope.where(odata.Parser(match[2], call.aliases).parse()))
            elif match[1] == "aggregate":
                picked += self._aggregates(scope, match[2])
            else:
                paths, *inner = odata.split_outside(match[2], ",")
                groups = [
                    odata.Path(tuple(p.split("/"))) for p in odata.split_outside(paths[1:-1], ",")
                ]
                for text in inner:
                    picked += self._aggregates(
                        scope, text.removeprefix("aggregate(").removesuffix(")")
                    )
        keys: list[str] = []
        for path in groups:
            sql, column = scope.column(path)
            if column.kind == "DateTime":
                raise errors.bad_query("Grouping by a date and time column is not supported.")
            keys.append(sql)
            picked.append((path.steps, sql, values.decoder(column.kind)))
        if not picked:
            raise errors.bad_query("$apply names no result.")
        refuse_too_many(self.reader, scope.source, clauses)
        where = " AND ".join(sql for sql, _ in clauses) or "1"
        statement = (
            f"SELECT {', '.join(sql for _, sql, _ in picked)} FROM {scope.source} WHERE {where}"
        )
        if keys:
            statement += f" GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)}"
        parameters = [p for _, given in clauses for p in given]
        documents = [
            _document(picked, row) for row in self.reader.store.rows(statement, parameters)
        ]
        context = f"{call.root}$metadata#{table.entity_set}"
        return Reply(200, {"@odata.context": context, "value": documents})

    def _aggregates(self, scope: Scope, text: str) -> list[tuple[tuple[str, ...], str, Decode]]:
        result: list[tuple[tuple[str, ...], str, Decode]] = []
        for item in odata.split_outside(text, ","):
            count = _COUNT.fullmatch(item)
            if count:
                result.append(((count[1],), *aggregate("count", "", None)))
                continue
            match = _ITEM.fullmatch(item)
            if match is None:
                raise errors.bad_query(f"The aggregate '{item}' is not supported.")
            sql, column = scope.column(odata.Path(tuple(match[1].split("/"))))
            name = {"average": "avg"}.get(match[2], match[2])
            result.append(((match[3],), *aggregate(name, sql, column)))
        return result


def _document(
    picked: Sequence[tuple[tuple[str, ...], str, Decode]], row: Sequence[Any]
) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for (steps, _, decode), cell in zip(picked, row, strict=True):
        inner = document
        for step in steps[:-1]:
            inner = inner.setdefault(step, {})
        inner[steps[-1]] = decode(cell) if decode and cell is not None else cell
    return document
