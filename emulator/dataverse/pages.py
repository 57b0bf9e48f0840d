"""Read-only pages for people: the list of tables, and the rows of one table."""

from __future__ import annotations

from html import escape

from emulator.dataverse import schema
from emulator.dataverse.store import Store

_SHOWN = 200
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse } th, td { border: 1px solid #ddd; padding: .25rem .6rem }
th { background: #f4f4f4; text-align: left } td { vertical-align: top } .n { text-align: right }
div { overflow-x: auto } .quiet { color: #777 }
"""
_PLUMBING = frozenset(
    {
        "createdby", "createdonbehalfby", "importsequencenumber", "modifiedby",
        "modifiedonbehalfby", "overriddencreatedon", "ownerid", "owningbusinessunit", "owningteam",
        "owninguser", "timezoneruleversionnumber", "utcconversiontimezonecode", "versionnumber",
    }
)  # fmt: skip


def index(store: Store) -> str:
    """All tables with their row counts, custom tables first."""
    lines: list[str] = []
    tables = sorted(
        store.schema.tables.values(),
        key=lambda t: (not t.definition["IsCustomEntity"], t.logical),
    )
    for table in tables:
        row = store.one(f"SELECT COUNT(*) FROM {table.sql}")
        shown = escape(schema.label_text(table.definition["DisplayName"]))
        link = f'<a href="/tables/{escape(table.logical)}">{escape(table.logical)}</a>'
        lines.append(
            f"<tr><td>{link}</td><td>{shown}</td><td class=n>{row[0] if row else 0}</td></tr>"
        )
    body = (
        "<h1>Dataverse look-alike</h1><p>Invented data for trying things out. The Web API is below "
        "<code>/api/data/v9.2/</code>.</p><table><tr><th>Table</th><th>Name</th><th>Rows</th></tr>"
        f"{''.join(lines)}</table>"
    )
    return _page("Dataverse look-alike", body)


def rows(store: Store, logical: str) -> str | None:
    """The newest rows of a table, or None when there is no such table."""
    table = store.schema.tables.get(logical)
    if table is None:
        return None
    columns = [c for c in table.columns.values() if c.name not in _PLUMBING]
    names = ", ".join(f'"{c.name}"' for c in columns)
    found = store.rows(
        f"SELECT {names} FROM {table.sql} ORDER BY versionnumber DESC LIMIT {_SHOWN}"
    )
    head = "".join(f"<th>{escape(c.name)}</th>" for c in columns)
    lines: list[str] = []
    for row in found:
        cells: list[str] = []
        for column, cell in zip(columns, row, strict=True):
            text = "" if cell is None else column.options.get(cell, str(cell))
            cells.append(f"<td>{escape(text[:300])}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = (
        f'<p><a href="/">All tables</a></p><h1>{escape(logical)}</h1><p class=quiet>The newest '
        f"{len(found)} rows.</p><div><table><tr>{head}</tr>{''.join(lines)}</table></div>"
    )
    return _page(logical, body)


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><body>{body}</body></html>"
    )
