"""The pages for people at `/`: all tables, a table's rows, one row with what hangs on it, definitions.

For a newcomer who wants to see what was written. Read only, without scripts: the header that goes
with every page forbids the browser all but the one stylesheet.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

from markupsafe import Markup

from emulator.dataverse import display, schema, values
from emulator.dataverse.display import Cells
from emulator.dataverse.schema import Column, Relationship, Table
from emulator.dataverse.store import Store

_PAGE = 50
_FIRST_CHILDREN = 25
_LONGEST = 120
_SHORT = 28
# What the platform needs for itself; of no interest to someone who looks for invoices.
_PLATFORM = frozenset(
    {
        "appmodule", "appmodulecomponent", "asyncoperation", "businessunit", "organization",
        "privilege", "publisher", "role", "roleprivileges", "savedquery", "sdkmessage",
        "sdkmessagefilter", "sdkmessageprocessingstep", "serviceendpoint", "sitemap", "solution",
        "solutioncomponent", "systemform", "systemuser", "team",
    }
)  # fmt: skip
_STYLE = Markup("""
:root { color-scheme: light dark; --line: #d9dde3; --soft: #f4f6f8; --quiet: #667085;
  --link: #0b5cad; --bar: #12324f }
@media (prefers-color-scheme: dark) { :root { --line: #3a4048; --soft: #22272e; --quiet: #98a2b3;
  --link: #7cb7f2; --bar: #0d2236 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 }
header { background: var(--bar); color: #fff; padding: .7rem 1.5rem }
header a { color: #fff; font-weight: 600; text-decoration: none }
header span { color: #b8c7d6; margin-left: 1rem }
main { margin: 1.2rem auto 4rem; max-width: 92rem; padding: 0 1.5rem }
h1 { font-size: 1.6rem; margin: .2rem 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
a { color: var(--link) } code { font-size: .85em; color: var(--quiet) }
.quiet, .trail { color: var(--quiet) } .trail { margin: 0; font-size: .9rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem; text-align: left;
  vertical-align: top }
th, th.n { background: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal }
tbody tr:hover { background: var(--soft) }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.empty td { color: var(--quiet) } .one { white-space: nowrap } .text { min-width: 20rem }
.facts { border-top: 1px solid var(--line); display: grid; margin: .8rem 0 0;
  grid-template-columns: repeat(auto-fill, minmax(27rem, 1fr)); column-gap: 2rem }
.facts div { border-bottom: 1px solid var(--line); display: flex; gap: 1rem; padding: .3rem 0 }
.facts .whole { grid-column: 1 / -1 } dt { color: var(--quiet); flex: 0 0 11rem }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; white-space: pre-wrap }
nav { display: flex; gap: 1.2rem; margin: .8rem 0 }
summary { cursor: pointer; font-weight: 600; margin: 1.5rem 0 .5rem }
""")
_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def answer(store: Store, path: str, query: str) -> str | None:
    """The page at a path, or None when there is nothing there."""
    steps = [unquote(step) for step in path.split("/") if step]
    given = {name: found[0] for name, found in parse_qs(query).items()}
    if not steps:
        return _index(store)
    table = store.schema.tables.get(steps[1]) if len(steps) > 1 and steps[0] == "tables" else None
    if table is None:
        return None
    rest = steps[2:]
    if not rest:
        return _table(store, table, given)
    if rest == ["definition"]:
        return _definition(store, table)
    if len(rest) == 2 and rest[0] == "rows":
        return _row(store, table, rest[1])
    return None


# The pages


def _index(store: Store) -> str:
    groups: dict[str, list[Table]] = {"custom": [], "standard": [], "platform": []}
    for table in store.schema.tables.values():
        own = table.definition["IsCustomEntity"]
        place = "custom" if own else "platform" if table.logical in _PLATFORM else "standard"
        groups[place].append(table)
    body = Markup(
        "<h1>Tables</h1><p class=quiet>Everything here is invented. The Web API is below "
        "<code>/api/data/v9.2/</code>; these pages only show what was written there.</p>"
    )
    if groups["custom"]:
        body += Markup("<h2>Custom tables</h2>{}").format(_tables(store, groups["custom"]))
    body += Markup("<h2>Standard tables</h2>{}").format(_tables(store, groups["standard"]))
    body += Markup("<details><summary>Tables of the platform</summary>{}</details>").format(
        _tables(store, groups["platform"])
    )
    return _page("Tables", Markup(), body)


def _tables(store: Store, tables: list[Table]) -> Markup:
    lines: list[Markup] = []
    for table in sorted(tables, key=lambda t: display.title(t).lower()):
        count = _count(store, table)
        about = schema.label_text(table.definition.get("Description"))
        lines.append(
            Markup(
                '<tr{}><td><a href="/tables/{}">{}</a> <code>{}</code></td><td>{}</td>'
                '<td class=n>{}</td><td><a href="/tables/{}/definition">definition</a></td></tr>'
            ).format(
                Markup("") if count else Markup(" class=empty"),
                table.logical,
                display.title(table),
                table.logical,
                about,
                f"{count:,}",
                table.logical,
            )
        )
    return _grid(["Table", "What a row is", ("Rows", True), ""], lines)


def _table(store: Store, table: Table, given: dict[str, str]) -> str:
    """A page of rows; `?<lookup>=<id>` keeps those that refer to one row, `?page=` goes on."""
    where, parameters, kept, of = "1", list[str](), dict[str, str](), Markup()
    for name, row_id in given.items():
        column = table.columns.get(name)
        if column is not None and column.kind == "Lookup":
            where, parameters, kept = f'"{name}" = ?', [row_id], {name: row_id}
            found = display.fetch(store, table, where=where, parameters=parameters)
            cells = Cells(store, table, [column], found)
            target = cells.show(column, found[0]) if found else Markup("{}").format(row_id)
            of = Markup(" of {}").format(target)
    total = _count(store, table, where, parameters)
    pages = max(-(-total // _PAGE), 1)
    wished = given.get("page", "1")
    number = min(max(int(wished), 1), pages) if wished.isdecimal() and len(wished) < 9 else 1
    shown = display.layout(store, table)
    rows = display.fetch(
        store,
        table,
        where=where,
        parameters=parameters,
        order=shown.order,
        limit=_PAGE,
        offset=(number - 1) * _PAGE,
    )
    first = (number - 1) * _PAGE + 1
    span = f"{first:,} to {first + len(rows) - 1:,} of {total:,}" if rows else "No rows"
    links = [
        Markup('<a href="?{}">{}</a>').format(urlencode(kept | {"page": str(other)}), text)
        for other, text in ((number - 1, "← Previous"), (number + 1, "Next →"))
        if 1 <= other <= pages
    ]
    body = Markup("<h1>{}{}</h1><p class=quiet>{}</p><nav><span>{}</span>{}</nav>{}").format(
        display.title(table),
        of,
        schema.label_text(table.definition.get("Description")),
        span,
        Markup("").join(links),
        _rows(store, table, shown.columns, rows),
    )
    more = Markup('<a href="/tables/{}/definition">definition</a>').format(table.logical)
    return _page(display.title(table), more, body)


def _row(store: Store, table: Table, row_id: str) -> str | None:
    found = display.fetch(
        store, table, where=f'"{table.primary_id}" = ?', parameters=[row_id.lower()]
    )
    if not found:
        return None
    row = found[0]
    cells = Cells(store, table, table.columns.values(), found)
    own = [c for c in table.columns.values() if not display.is_plumbing(table, c)]
    rest = [c for c in table.columns.values() if display.is_plumbing(table, c)]
    name = row[table.primary_name] or row_id
    body = Markup("<h1>{}</h1>{}").format(name, _facts(cells, own, row))
    for link in table.children.values():
        body += _children(store, link, row_id.lower())
    body += Markup("<details><summary>Columns of the platform</summary>{}</details>").format(
        _facts(cells, rest, row)
    )
    more = Markup('<a href="/tables/{}">{}</a>').format(table.logical, display.title(table))
    return _page(str(name), more, body)


def _children(store: Store, link: Relationship, row_id: str) -> Markup:
    """The rows that refer to a row through one relationship, in the order they were written in."""
    child = store.schema.tables[link.referencing]
    where, parameters = f'"{link.column}" = ?', [row_id]
    total = _count(store, child, where, parameters)
    if not total:
        return Markup()
    shown = display.layout(store, child)
    rows = display.fetch(
        store, child, where=where, parameters=parameters, order="rowid", limit=_FIRST_CHILDREN
    )
    through = display.heading(child.columns[link.column])
    all_of_them = Markup(' <a href="/tables/{}?{}">all {}</a>').format(
        child.logical, urlencode({link.column: row_id}), f"{total:,}"
    )
    columns = [c for c in shown.columns if c.name != link.column]
    return Markup("<h2>{} <span class=quiet>by {}</span>{}</h2>{}").format(
        display.title(child), through, all_of_them, _rows(store, child, columns, rows)
    )


def _definition(store: Store, table: Table) -> str:
    given = table.definition
    switches = [
        ("Logical name", table.logical),
        ("Entity set", table.entity_set),
        ("Description", schema.label_text(given.get("Description"))),
        ("Owned by", given.get("OwnershipType", "")),
        ("Change tracking", _yes(given.get("ChangeTrackingEnabled"))),
        ("Optimistic concurrency", _yes(given.get("IsOptimisticConcurrencyEnabled"))),
        ("Auditing", _yes((given.get("IsAuditEnabled") or {}).get("Value"))),
    ]
    facts = _pairs([(name, Markup("{}").format(text)) for name, text in switches])
    columns = sorted(table.columns.values(), key=lambda c: display.is_plumbing(table, c))
    keys = [
        _cells(key.definition["SchemaName"], ", ".join(key.columns), key.status)
        for key in table.keys.values()
    ]
    links = [
        _cells(link.schema_name, side, _table_link(store, other), link.column, link.on_delete)
        for link in store.schema.relationships.values()
        for side, own, other in (
            ("rows refer to", link.referencing, link.referenced),
            ("rows are referred to by", link.referenced, link.referencing),
        )
        if own == table.logical
    ]
    links += [
        _cells(many.schema_name, "many to many with", _table_link(store, other), "", "")
        for many in store.schema.many.values()
        for (own, _), (other, _) in (many.sides, many.sides[::-1])
        if own == table.logical
    ]
    body = Markup("<h1>{}</h1>{}<h2>Columns</h2>{}").format(
        display.title(table),
        facts,
        _grid(
            ["Column", "Logical name", "Type", "Holds"],
            [
                _cells(display.heading(c), Markup("<code>{}</code>").format(c.name), *_type(c))
                for c in columns
            ],
        ),
    )
    if keys:
        body += Markup("<h2>Alternate keys</h2>{}").format(_grid(["Key", "Columns", "Index"], keys))
    if links:
        grid = _grid(["Relationship", "", "Table", "Column", "When the parent is deleted"], links)
        body += Markup("<h2>Relationships</h2>{}").format(grid)
    more = Markup('<a href="/tables/{}">rows</a>').format(table.logical)
    return _page(f"{display.title(table)}: definition", more, body)


# Their pieces


def _rows(store: Store, table: Table, columns: list[Column], rows: list[dict[str, Any]]) -> Markup:
    cells = Cells(store, table, columns, rows)
    lines: list[Markup] = []
    for row in rows:
        line = Markup()
        for column in columns:
            shown = cells.show(column, row, longest=_LONGEST)
            if column.name == table.primary_name:
                there = display.row_address(table.logical, row[table.primary_id])
                shown = Markup('<a href="{}">{}</a>').format(there, shown or "(no name)")
            line += _cell(shown, kind="n" if display.is_number(column) else _room(column, shown))
        lines.append(Markup("<tr>{}</tr>").format(line))
    return _grid([(display.heading(c), display.is_number(c)) for c in columns], lines)


def _facts(cells: Cells, columns: list[Column], row: dict[str, Any]) -> Markup:
    """What a row holds; which columns hold nothing is one line below."""
    full = [column for column in columns if row[column.name] not in (None, "")]
    empty = ", ".join(display.heading(column) for column in columns if column not in full)
    shown = _pairs([(display.heading(column), cells.show(column, row)) for column in full])
    return shown + (Markup("<p class=quiet>Empty: {}.</p>").format(empty) if empty else "")


def _pairs(pairs: list[tuple[str, Markup]]) -> Markup:
    lines = [
        Markup("<div{}><dt>{}</dt><dd>{}</dd></div>").format(
            Markup(" class=whole") if len(shown.striptags()) > _SHORT * 2 else "", name, shown
        )
        for name, shown in pairs
    ]
    return Markup("<dl class=facts>{}</dl>").format(Markup("").join(lines))


def _room(column: Column, shown: Markup) -> str:
    """Dates and short texts stay on one line, long ones get room."""
    short = column.kind == "DateTime" or len(shown.striptags()) <= _SHORT
    return "one" if short else "text"


def _type(column: Column) -> tuple[str, str]:
    """The column's type and what its values may be."""
    given = column.definition
    if column.options:
        return column.kind, ", ".join(f"{text} ({v})" for v, text in column.options.items())
    if column.kind == "Lookup":
        return column.kind, ", ".join(given["Targets"])
    if column.kind == "DateTime":
        return column.kind, "a day" if column.date_only else "a point in time"
    if column.kind in values.EXACT_KINDS:
        return column.kind, f"{column.precision} decimals"
    if "MaxLength" in given:
        return column.kind, f"at most {given['MaxLength']} characters"
    if "MaxSizeInKB" in given:
        return column.kind, f"at most {given['MaxSizeInKB']:,} KB"
    if given.get("MinValue") is not None and column.kind == "Integer":
        return column.kind, f"{given['MinValue']:,} to {given['MaxValue']:,}"
    return column.kind, ""


def _table_link(store: Store, logical: str) -> Markup:
    shown = display.title(store.schema.tables[logical])
    return Markup('<a href="/tables/{}/definition">{}</a>').format(logical, shown)


def _yes(switch: object) -> str:
    return "yes" if switch else "no"


def _count(store: Store, table: Table, where: str = "1", parameters: Any = ()) -> int:
    row = store.one(f"SELECT COUNT(*) FROM {table.sql} WHERE {where}", parameters)
    return int(row[0]) if row else 0


def _cell(shown: Markup | str, *, kind: str = "") -> Markup:
    return Markup("<td{}>{}</td>").format(Markup(" class={}").format(kind) if kind else "", shown)


def _cells(*shown: Markup | str) -> Markup:
    return Markup("<tr>{}</tr>").format(Markup("").join(_cell(one) for one in shown))


def _grid(heads: list[Any], lines: list[Markup]) -> Markup:
    """A table; a head is its text, or its text and whether numbers stand below it."""
    named = [head if isinstance(head, tuple) else (head, False) for head in heads]
    head = Markup("").join(
        Markup("<th{}>{}</th>").format(Markup(" class=n") if number else "", text)
        for text, number in named
    )
    return Markup(
        "<div class=wide><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(head, Markup("").join(lines))


def _page(title: str, more: Markup, body: Markup) -> str:
    trail = Markup('<p class=trail><a href="/">All tables</a> · {}</p>').format(more)
    return Markup(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>{}</title>'
        '<meta name="viewport" content="width=device-width"><style>{}</style><body>'
        '<header><a href="/">Dataverse look-alike</a><span>invented data, read only</span></header>'
        "<main>{}{}</main></body></html>"
    ).format(title, _STYLE, trail if more else "", body)
