"""Rows as people read them: names instead of numbers, links instead of ids, money with its currency.

What a table shows is what its widest public view shows, so the pages follow the views that were
made for the table; a table without one shows what is not the platform's own. All text from rows
passes through `Markup`, which escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from emulator.dataverse import schema, values
from emulator.dataverse.schema import Column, Table
from emulator.dataverse.store import Store

PLUMBING = frozenset(
    {
        "createdby", "createdon", "createdonbehalfby", "exchangerate", "importsequencenumber",
        "modifiedby", "modifiedon", "modifiedonbehalfby", "overriddencreatedon", "ownerid",
        "owningbusinessunit", "owningteam", "owninguser", "statecode", "statuscode",
        "timezoneruleversionnumber", "transactioncurrencyid", "utcconversiontimezonecode",
        "versionnumber",
    }
)  # fmt: skip
_NUMBERS = values.EXACT_KINDS | {"Integer", "BigInt", "Double", "Money"}
_WIDEST = 12
_CELL = re.compile(r"<cell[^>]*\bname=['\"](\w+)['\"]")
_ORDER = re.compile(r"<order[^>]*\battribute=['\"](\w+)['\"]([^>]*)>")
_Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table page, its primary name first, and the order of its rows."""

    columns: list[Column]
    order: str


def title(table: Table) -> str:
    """What the table's rows are called, as one of its lists is headed."""
    text = schema.label_text(table.definition["DisplayCollectionName"])
    return text if text != table.entity_set else table.logical


def heading(column: Column) -> str:
    """The column's display name."""
    return schema.label_text(column.definition.get("DisplayName")) or column.name


def is_number(column: Column) -> bool:
    """Whether the column's values stand to the right."""
    return column.kind in _NUMBERS


def is_plumbing(table: Table, column: Column) -> bool:
    """Whether the column is the platform's own, or follows from another one."""
    derived = column.name.endswith("_base") and column.name[:-5] in table.columns
    return column.name in PLUMBING or column.name == table.primary_id or derived


def layout(store: Store, table: Table) -> Layout:
    """The columns and the order of the table's widest public view, or of all that tells something."""
    views = store.rows(
        "SELECT layoutxml, fetchxml FROM savedquery WHERE returnedtypecode = ? AND querytype = 0",
        (table.logical,),
    )
    widest: list[str] = []
    order = '"versionnumber" DESC'
    for layout_xml, fetch_xml in views:
        names = [name for name in _CELL.findall(layout_xml or "") if name in table.columns]
        if len(names) > max(len(widest), 2):
            widest = names
            found = _ORDER.search(fetch_xml or "")
            if found and found[1] in table.columns:
                order = f'"{found[1]}" {"DESC" if "true" in found[2] else "ASC"}, "versionnumber"'
    telling = [
        c.name
        for c in sorted(table.columns.values(), key=lambda c: c.kind != "Lookup")
        if not is_plumbing(table, c)
    ]
    chosen = dict.fromkeys([table.primary_name, *(widest or telling[:_WIDEST])])
    return Layout([table.columns[name] for name in chosen], order)


def fetch(
    store: Store,
    table: Table,
    *,
    where: str = "1",
    parameters: Sequence[Any] = (),
    order: str = '"versionnumber" DESC',
    limit: int = 1,
    offset: int = 0,
) -> list[_Row]:
    """Rows as their stored cells, by column."""
    cells = [*table.columns, *(c.type_cell for c in table.columns.values() if c.type_cell)]
    names = ", ".join(f'"{cell}"' for cell in cells)
    found = store.rows(
        f"SELECT {names} FROM {table.sql} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
        [*parameters, limit, offset],
    )
    return [dict(zip(cells, row, strict=True)) for row in found]


class Cells:
    """Shows cells of fetched rows; the names behind their lookups are read once."""

    def __init__(
        self, store: Store, table: Table, columns: Iterable[Column], rows: list[_Row]
    ) -> None:
        self._store = store
        self._table = table
        self._names: dict[tuple[str, str], str] = {}
        shown = [*columns]
        if any(c.kind == "Money" for c in shown) and table.has_money:
            shown.append(table.columns["transactioncurrencyid"])
        for column in shown:
            if column.kind == "Lookup":
                self._read_names(column, rows)
        self._symbols = dict(
            store.rows("SELECT transactioncurrencyid, currencysymbol FROM transactioncurrency")
        )

    def _read_names(self, column: Column, rows: list[_Row]) -> None:
        wanted = {(self._target(column, row), row[column.name]) for row in rows}
        for logical in {target for target, row_id in wanted if target and row_id}:
            table = self._store.schema.tables[logical]
            ids = [row_id for target, row_id in wanted if target == logical and row_id]
            found = self._store.rows(
                f'SELECT "{table.primary_id}", "{table.primary_name}" FROM {table.sql}'
                f' WHERE "{table.primary_id}" IN ({", ".join("?" * len(ids))})',
                ids,
            )
            self._names |= {(logical, row_id): name or row_id for row_id, name in found}

    def _target(self, column: Column, row: _Row) -> str:
        named = row.get(column.type_cell) if column.type_cell else None
        target = str(named or column.definition["Targets"][0])
        return target if target in self._store.schema.tables else ""

    def show(self, column: Column, row: _Row, *, longest: int = 0) -> Markup:
        """One cell; texts are cut to the longest wished for, zero keeps them whole."""
        cell = row[column.name]
        if cell is None or cell == "":
            return Markup()
        if column.kind == "Lookup":
            return self._link(self._target(column, row), str(cell))
        if column.name == self._table.primary_id:
            return Markup("<code>{}</code>").format(cell)
        if column.kind == "Money":
            symbol = self._symbols.get(row.get("transactioncurrencyid"), "")
            return Markup("{}").format(values.formatted(column, cell, symbol))
        if column.kind == "DateTime":
            return Markup("{}").format(str(cell).replace("T", " ").removesuffix("Z"))
        if column.kind == "Decimal":
            return Markup("{:,f}").format(Decimal(cell).normalize())
        if column.kind == "BigInt":
            return Markup("{}").format(cell)
        shown = values.formatted(column, cell)
        text = str(cell) if shown is None else shown
        if longest and len(text) > longest:
            text = text[: longest - 1] + "…"
        return Markup("{}").format(text)

    def _link(self, logical: str, row_id: str) -> Markup:
        if (logical, row_id) not in self._names:
            return Markup("<code>{}</code>").format(row_id)
        return Markup('<a href="{}">{}</a>').format(
            row_address(logical, row_id), self._names[logical, row_id]
        )


def row_address(logical: str, row_id: str) -> str:
    """The page of one row."""
    return f"/tables/{quote(logical, safe='')}/rows/{quote(row_id, safe='')}"
