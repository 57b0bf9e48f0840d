"""FetchXML: attributes, filters, links, order, pages, distinct and aggregates as one SQL statement.

Pages are counted, as in FetchXML's simple paging; the cookie is accepted and not needed. Names
inside are logical names; properties in the answer are those of the Web API.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from emulator.dataverse import conditions, errors, values
from emulator.dataverse.aggregates import Decode, aggregate, refuse_too_many
from emulator.dataverse.conditions import Fragment
from emulator.dataverse.messages import FORMATTED, Call, Reply
from emulator.dataverse.query import Reader
from emulator.dataverse.schema import Column, Table

_DATE_GROUPS = {
    "day": "CAST(substr({0}, 9, 2) AS INTEGER)",
    "week": "CAST(strftime('%W', {0}) AS INTEGER) + 1",
    "month": "CAST(substr({0}, 6, 2) AS INTEGER)",
    "quarter": "(CAST(substr({0}, 6, 2) AS INTEGER) + 2) / 3",
    "year": "CAST(substr({0}, 1, 4) AS INTEGER)",
}
_COMPARE = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_TRUE = ("true", "1")


@dataclass(slots=True)
class _Picked:
    name: str
    sql: str
    decode: Decode
    column: Column | None = None


@dataclass(slots=True)
class _Plan:
    """The statement in the making."""

    aggregated: bool
    source: str
    source_parameters: list[values.Cell] = field(default_factory=list)
    picked: list[_Picked] = field(default_factory=list)
    clauses: list[Fragment] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)


class FetchXml:
    """Answers `fetchXml=`."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.store = reader.store

    def handle(self, call: Call, table: Table) -> Reply:
        """The query of the URL over its own entity set."""
        root, entity = _parse(call.query["fetchXml"], table)
        return self.run(call, table, root, entity)

    def check(self, text: str, table: Table) -> None:
        """Refuse the query of a view that does not fit its table."""
        root, entity = _parse(text, table)
        plan = _Plan(root.get("aggregate") in _TRUE, f'{table.sql} AS "t"')
        self._visit(plan, entity, table, "t", inner=False)

    def run(self, call: Call, table: Table, root: ET.Element, entity: ET.Element) -> Reply:
        """Compile, execute, and shape one page."""
        plan = _Plan(root.get("aggregate") in _TRUE, f'{table.sql} AS "t"')
        distinct = root.get("distinct") in _TRUE
        self._visit(plan, entity, self.reader.horizon(table), "t", inner=False)
        if plan.aggregated:
            refuse_too_many(
                self.reader, plan.source, [("1", plan.source_parameters), *plan.clauses]
            )
        elif not distinct:
            for name in ("versionnumber", table.primary_id):
                plan.picked.append(_Picked(f":{name}", f'"t"."{name}"', None))
            plan.order.append(f'"t"."{table.primary_id}"')
        if not plan.picked:
            raise errors.bad_query("The FetchXML names no attribute.")
        page, size = self._page(root)
        sql, parameters = _statement(plan, distinct=distinct)
        rows = self.store.rows(
            f"{sql} LIMIT ? OFFSET ?", [*parameters, size + 1, (page - 1) * size]
        )
        more = len(rows) > size and root.get("top") is None
        body: dict[str, Any] = {"@odata.context": f"{call.root}$metadata#{table.entity_set}"}
        prefix = "Microsoft.Dynamics.CRM."
        if root.get("returntotalrecordcount") in _TRUE:
            total = self.store.one(f"SELECT COUNT(*) FROM ({sql})", parameters)
            body[f"@{prefix}totalrecordcount"] = total[0] if total else 0
        if call.prefer.annotated(prefix + "morerecords") or call.prefer.annotations:
            body[f"@{prefix}morerecords"] = more
        if more and call.prefer.annotated(prefix + "fetchxmlpagingcookie"):
            inner = quote(quote(f'<cookie page="{page}"></cookie>'))
            body[f"@{prefix}fetchxmlpagingcookie"] = (
                f'<cookie pagenumber="{page + 1}" pagingcookie="{inner}" istracking="False" />'
            )
        body["value"] = [self._document(call, table, plan, row) for row in rows[:size]]
        return Reply(200, body)

    def _page(self, root: ET.Element) -> tuple[int, int]:
        cap = self.reader.settings.page_size_cap
        try:
            size = int(root.get("top") or root.get("count") or cap)
            page = int(root.get("page") or 1)
        except ValueError:
            raise errors.bad_query("Malformed page, count or top in the FetchXML.") from None
        return max(page, 1), min(size, cap)

    # Compiling

    def _visit(
        self, plan: _Plan, element: ET.Element, table: Table, alias: str, *, inner: bool
    ) -> None:
        plan.tables[alias] = table
        for child in element:
            if child.tag == "attribute":
                self._attribute(plan, child, table, alias)
            elif child.tag == "all-attributes":
                for column in table.columns.values():
                    self._pick(plan, column, alias, None)
            elif child.tag == "link-entity":
                self._link(plan, child, table, alias)
        for child in element:
            if child.tag == "filter" and not inner:
                plan.clauses.append(self._filter(plan, child, alias))
            elif child.tag == "order":
                plan.order.append(self._order(plan, child, table, alias))

    def _column(self, table: Table, name: str | None) -> Column:
        column = table.columns.get(str(name))
        if column is None:
            raise errors.DataverseError(
                400,
                "0x80041103",
                f"'{table.logical}' entity doesn't contain attribute with Name = '{name}'.",
            )
        return column

    def _attribute(self, plan: _Plan, element: ET.Element, table: Table, alias: str) -> None:
        column = self._column(table, element.get("name"))
        if not plan.aggregated:
            self._pick(plan, column, alias, element.get("alias"))
            return
        name = element.get("alias")
        if not name:
            raise errors.bad_query("An alias is required in an aggregate query.")
        sql = f'"{alias}"."{column.name}"'
        if element.get("groupby") in _TRUE:
            grouping = element.get("dategrouping")
            decode = values.decoder(column.kind)
            if grouping:
                if grouping not in _DATE_GROUPS:
                    raise errors.bad_query(f"Date grouping '{grouping}' is not supported.")
                sql, decode = _DATE_GROUPS[grouping].format(sql), None
            plan.groups.append(sql)
            plan.picked.append(_Picked(name, sql, decode))
            return
        function = str(element.get("aggregate"))
        if function not in ("sum", "avg", "min", "max", "count", "countcolumn"):
            raise errors.bad_query(f"The aggregate '{function}' is not supported.")
        if function == "countcolumn" and element.get("distinct") in _TRUE:
            function = "countdistinct"
        expression, decode = aggregate(function, sql, column)
        plan.picked.append(_Picked(name, expression, decode))

    def _pick(self, plan: _Plan, column: Column, alias: str, name: str | None) -> None:
        prop = column.prop if alias == "t" else f"{alias}.{column.name}"
        sql = f'"{alias}"."{column.name}"'
        plan.picked.append(_Picked(name or prop, sql, values.decoder(column.kind), column))

    def _link(self, plan: _Plan, element: ET.Element, outer: Table, outer_alias: str) -> None:
        table = self.store.schema.tables.get(str(element.get("name")))
        if table is None:
            raise errors.bad_query(f"The entity '{element.get('name')}' was not found.")
        kind = element.get("link-type", "inner")
        if kind not in ("inner", "outer"):
            raise errors.bad_query(f"The link type '{kind}' is not supported.")
        alias = element.get("alias") or f"{table.logical}{len(plan.tables)}"
        if alias in plan.tables or '"' in alias:
            raise errors.bad_query(f"The alias '{alias}' is not unique.")
        near = self._column(table, element.get("from"))
        far = self._column(outer, element.get("to"))
        plan.tables[alias] = table
        condition = f'"{alias}"."{near.name}" = "{outer_alias}"."{far.name}"'
        for child in element.findall("filter"):
            sql, parameters = self._filter(plan, child, alias)
            condition += f" AND {sql}"
            plan.source_parameters += parameters
        join = "LEFT JOIN" if kind == "outer" else "JOIN"
        plan.source += f' {join} {table.sql} AS "{alias}" ON {condition}'
        self._visit(plan, element, table, alias, inner=True)

    def _order(self, plan: _Plan, element: ET.Element, table: Table, alias: str) -> str:
        down = " DESC" if element.get("descending") in _TRUE else ""
        name = element.get("alias")
        if name:
            for item in plan.picked:
                if item.name == name:
                    return item.sql + down
            raise errors.bad_query(f"The alias '{name}' in the order is unknown.")
        return f'"{alias}"."{self._column(table, element.get("attribute")).name}"{down}'

    def _filter(self, plan: _Plan, element: ET.Element, alias: str) -> Fragment:
        parts: list[str] = []
        parameters: list[values.Cell] = []
        for child in element:
            if child.tag == "filter":
                sql, given = self._filter(plan, child, alias)
            elif child.tag == "condition":
                sql, given = self._condition(plan, child, alias)
            else:
                continue
            parts.append(sql)
            parameters += given
        kind = element.get("type", "and")
        if kind not in ("and", "or"):
            raise errors.bad_query("A filter's type is 'and' or 'or'.")
        return (conditions.chain(kind, parts) if parts else "1"), parameters

    def _condition(self, plan: _Plan, element: ET.Element, alias: str) -> Fragment:
        alias = element.get("entityname") or alias
        if alias not in plan.tables:
            raise errors.bad_query(f"The entity name '{alias}' in a condition is unknown.")
        column = self._column(plan.tables[alias], element.get("attribute"))
        sql = f'"{alias}"."{column.name}"'
        op = str(element.get("operator"))
        other = element.get("valueof")
        if other is not None:
            name, _, attribute = other.rpartition(".")
            there = name or alias
            match = self._column(plan.tables.get(there, plan.tables[alias]), attribute)
            if op not in _COMPARE:
                raise errors.bad_query(f"The operator '{op}' does not compare columns.")
            return f'{sql} {_COMPARE[op]} "{there}"."{match.name}"', []
        raw: list[Any] = [child.text or "" for child in element.findall("value")]
        if not raw and element.get("value") is not None:
            raw = [element.get("value")]
        now = self.store.clock.now()
        user = self.reader.rows.caller.user_id
        return conditions.build(op, sql, column, raw, now=now, user=user)

    # Shaping

    def _document(self, call: Call, table: Table, plan: _Plan, row: Any) -> dict[str, Any]:
        document: dict[str, Any] = {}
        labels = call.prefer.annotated(FORMATTED)
        for item, cell in zip(plan.picked, row, strict=True):
            if item.name == ":versionnumber":
                document = {"@odata.etag": f'W/"{cell}"'} | document
            elif item.name.startswith(":"):
                document.setdefault(table.primary_id, cell)
            else:
                present = cell is not None
                document[item.name] = item.decode(cell) if item.decode and present else cell
                if labels and present and item.column is not None:
                    text = values.formatted(item.column, cell)
                    if text is not None:
                        document[f"{item.name}@{FORMATTED}"] = text
        return document


def _parse(text: str, table: Table) -> tuple[ET.Element, ET.Element]:
    try:
        root = ET.fromstring(text)  # noqa: S314 - a query of our own client
    except ET.ParseError as problem:
        raise errors.bad_query(f"Invalid XML. {problem}") from None
    entity = root.find("entity")
    if entity is None or entity.get("name") != table.logical:
        raise errors.bad_query("The entity in the FetchXML does not match the entity set.")
    return root, entity


def _statement(plan: _Plan, *, distinct: bool) -> tuple[str, list[values.Cell]]:
    names = ", ".join(f"{item.sql} AS c{i}" for i, item in enumerate(plan.picked))
    where = " AND ".join(sql for sql, _ in plan.clauses) or "1"
    sql = f"SELECT {'DISTINCT ' if distinct else ''}{names} FROM {plan.source} WHERE {where}"
    if plan.groups:
        sql += f" GROUP BY {', '.join(plan.groups)}"
    order = plan.order or plan.groups
    if order:
        sql += f" ORDER BY {', '.join(order)}"
    return sql, [*plan.source_parameters, *(p for _, given in plan.clauses for p in given)]


Run = Callable[[Call, Table, ET.Element, ET.Element], Reply]
