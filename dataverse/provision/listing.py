"""How a view is declared: its columns in one line of text, its rows by conditions, its order.

Names stand without the publisher's prefix; widths are in pixels.
"""

from __future__ import annotations

from dataverse.provision.screens import View, ViewKind
from dataverse.schema import Table

Condition = tuple[str, ...]


def _columns(text: str) -> tuple[tuple[str, int], ...]:
    """Read `number 130, total 110`: names without the prefix, widths in pixels."""
    pairs = [item.split() for item in text.split(",")]
    return tuple((_full(name), int(width)) for name, width in pairs)


def _full(name: str) -> str:
    return name if name.startswith(("createdon", "modifiedon")) else f"csp_{name}"


def view(
    table: Table,
    key: str,
    name: str,
    description: str,
    columns: str,
    *where: Condition,
    order: str = "",
    kind: ViewKind = ViewKind.MORE,
) -> View:
    """Declare a view of a table; `where` are conditions that all hold."""
    return View(
        table=table.name,
        key=key,
        name=name,
        description=description,
        columns=_columns(columns),
        where=tuple((_full(column), *rest) for column, *rest in where),
        order=tuple(_full(part.strip()) for part in order.split(",")),
        kind=kind,
    )


def main_view(table: Table, columns: str, *where: Condition, order: str) -> View:
    """Declare the view with which a table opens."""
    return view(
        table,
        "main",
        table.plural,
        f"All {table.plural} that are active.",
        columns,
        *where,
        order=order,
        kind=ViewKind.MAIN,
    )


def find_view(table: Table, searched: str, columns: str) -> View:
    """Declare what quick find searches, and what it shows."""
    return View(
        table=table.name,
        key="find",
        name=f"Quick find: {table.plural}",
        description=f"What the search box looks for in {table.plural}.",
        columns=_columns(columns),
        find=tuple(_full(name) for name in searched.split()),
        order=(_full(columns.split(maxsplit=1)[0]),),
        kind=ViewKind.FIND,
    )
