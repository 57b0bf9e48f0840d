"""A filter tree over one table as SQL: paths become joins, literals are checked against types."""

from __future__ import annotations

from typing import Any

from emulator.dataverse import conditions, errors, odata
from emulator.dataverse.conditions import Fragment
from emulator.dataverse.rows import Rows
from emulator.dataverse.schema import Column, Table

_SIGNS = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_KINDS = {"eq": "Equal", "ne": "NotEqual", "gt": "GreaterThan", "ge": "GreaterThanOrEqual"}
_LITERALS = {
    "string": {"Edm.String"},
    "guid": {"Edm.Guid"},
    "number": {"Edm.Int32", "Edm.Int64", "Edm.Decimal", "Edm.Double"},
    "boolean": {"Edm.Boolean"},
    "date": {"Edm.Date", "Edm.DateTimeOffset"},
    "instant": {"Edm.Date", "Edm.DateTimeOffset"},
}
_LITERAL_EDM = {
    "string": "Edm.String",
    "guid": "Edm.Guid",
    "number": "Edm.Int32",
    "boolean": "Edm.Boolean",
    "date": "Edm.Date",
    "instant": "Edm.DateTimeOffset",
}


class Scope:
    """The tables that one statement reads: the main one and those that paths join."""

    def __init__(self, rows: Rows, table: Table, *, alias: str = "t") -> None:
        self.rows = rows
        self.table = table
        self.alias = alias
        self._joins: dict[tuple[str, str], tuple[str, Table]] = {}
        self._sql: list[str] = []

    @property
    def source(self) -> str:
        """The FROM clause."""
        return " ".join([f'{self.table.sql} AS "{self.alias}"', *self._sql])

    @property
    def key(self) -> str:
        """The primary key of the main table."""
        return f'"{self.alias}"."{self.table.primary_id}"'

    def column(self, path: odata.Path) -> tuple[str, Column]:
        """A path as SQL and its column; joins what lies on the way."""
        alias, table = self.alias, self.table
        for nav in path.steps[:-1]:
            alias, table = self._join(alias, table, nav)
        name = path.steps[-1]
        column = table.props.get(name)
        if column is None:
            raise errors.unknown_property(name, table.logical)
        return f'"{alias}"."{column.name}"', column

    def _join(self, alias: str, table: Table, nav: str) -> tuple[str, Table]:
        known = self._joins.get((alias, nav))
        if known:
            return known
        if nav not in table.lookups:
            raise errors.unknown_property(nav, table.logical)
        column, target_name = table.lookups[nav]
        target = self.rows.store.schema.tables[target_name]
        joined = f"{self.alias}_{len(self._joins) + 1}"
        self._sql.append(
            f'LEFT JOIN {target.sql} AS "{joined}" ON "{joined}"."{target.primary_id}" = '
            f'"{alias}"."{column.name}"'
        )
        self._joins[alias, nav] = (joined, target)
        return joined, target

    def where(self, node: odata.Node) -> Fragment:
        """A filter as SQL and parameters."""
        if isinstance(node, odata.Logic):
            if node.op == "not":
                sql, parameters = self.where(node.parts[0])
                return f"NOT COALESCE({sql}, 0)", parameters
            pieces = [self.where(part) for part in node.parts]
            joined = conditions.chain(node.op, [sql for sql, _ in pieces])
            return joined, [p for _, parameters in pieces for p in parameters]
        if isinstance(node, odata.Text):
            return self._text(node)
        if isinstance(node, odata.Condition):
            sql, column = self.column(node.path)
            op = conditions.operator_of(node.function)
            now = self.rows.store.clock.now()
            user = self.rows.caller.user_id
            return conditions.build(op, sql, column, node.arguments, now=now, user=user)
        if isinstance(node, odata.Lambda):
            return self._lambda(node)
        if isinstance(node, odata.Path):
            sql, column = self.column(node)
            if column.kind != "Boolean":
                raise errors.bad_query(f"The filter '{node}' is not a condition.")
            return f"{sql} = 1", []
        return self._compare(node)

    def _compare(self, node: odata.Compare) -> Fragment:
        left, right = node.left, node.right
        if isinstance(left, odata.Literal):
            if isinstance(right, odata.Literal):
                raise errors.bad_query("A comparison needs a property.")
            turned = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}.get(node.op, node.op)
            left, right, op = right, left, turned
        else:
            op = node.op
        sql, column = self.column(left)
        if isinstance(right, odata.Path):
            other, _ = self.column(right)
            return f"{sql} {_SIGNS[op]} {other}", []
        if right.kind == "null":
            if op not in ("eq", "ne"):
                return "0", []
            return f"{sql} IS {'NOT ' if op == 'ne' else ''}NULL", []
        if column.edm not in _LITERALS.get(right.kind, ()):
            raise errors.bad_query(
                "A binary operator with incompatible types was detected. Found operand types "
                f"'{column.edm}' and '{_LITERAL_EDM.get(right.kind, 'Edm.Untyped')}' for operator "
                f"kind '{_KINDS.get(op, op)}'."
            )
        value = int(right.value) if right.kind == "boolean" else right.value
        now = self.rows.store.clock.now()
        return conditions.build(op, sql, column, [value], now=now, user="")

    def _text(self, node: odata.Text) -> Fragment:
        sql, column = self.column(node.path)
        if column.edm != "Edm.String":
            raise errors.bad_query(
                f"No function signature for '{node.function}' with {column.edm}."
            )
        before = "" if node.function == "startswith" else "%"
        after = "" if node.function == "endswith" else "%"
        pattern = before + conditions.like_literal(node.text) + after
        return f"{sql} LIKE ? ESCAPE '\\'", [pattern]

    def _lambda(self, node: odata.Lambda) -> Fragment:
        if len(node.path.steps) != 1 or node.path.steps[0] not in self.table.children:
            raise errors.unknown_property(str(node.path), self.table.logical)
        link = self.table.children[node.path.steps[0]]
        child = self.rows.store.schema.tables[link.referencing]
        inner = Scope(self.rows, child, alias=f"{self.alias}x")
        everything: Fragment = ("1", [])
        sql, parameters = (
            inner.where(_without(node.body, node.variable)) if node.body else everything
        )
        if node.quantifier == "all":
            sql = f"NOT COALESCE({sql}, 0)"
        found = (
            f'EXISTS (SELECT 1 FROM {inner.source} WHERE "{inner.alias}"."{link.column}" = {self.key} '
            f"AND {sql})"
        )
        return (f"NOT {found}" if node.quantifier == "all" else found), parameters


def _without(node: Any, variable: str) -> Any:
    """The body of a lambda with its range variable taken off the paths."""
    if isinstance(node, odata.Path):
        return odata.Path(node.steps[1:]) if node.steps[0] == variable else node
    if isinstance(node, odata.Logic):
        return odata.Logic(node.op, tuple(_without(part, variable) for part in node.parts))
    if isinstance(node, odata.Compare):
        return odata.Compare(node.op, _without(node.left, variable), _without(node.right, variable))
    if isinstance(node, odata.Text):
        return odata.Text(node.function, _without(node.path, variable), node.text)
    if isinstance(node, odata.Condition):
        return odata.Condition(node.function, _without(node.path, variable), node.arguments)
    return node
