"""The read-only SQL subset of `?sql=`, translated to FetchXML.

One SELECT with TOP, DISTINCT, INNER and LEFT JOIN, WHERE, GROUP BY, ORDER BY and OFFSET with FETCH
NEXT; no star, UNION, HAVING, CTE or sub-select. What the grammar does not know is a 400.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from emulator.dataverse import errors
from emulator.dataverse.fetchxml import Run
from emulator.dataverse.messages import Call, Reply
from emulator.dataverse.schema import Table

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w.]*)"
    r"|(?P<mark><>|!=|<=|>=|[=<>(),*]))"
)
_OPERATORS = {"=": "eq", "<>": "ne", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
_FUNCTIONS = {"SUM": "sum", "AVG": "avg", "MIN": "min", "MAX": "max", "COUNT": "countcolumn"}
_CLAUSES = {"FROM", "WHERE", "GROUP", "ORDER", "INNER", "LEFT", "JOIN", "ON", "AS"}


class Sql:
    """Answers `sql=` by way of the FetchXML engine."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def handle(self, call: Call, table: Table) -> Reply:
        """Run one SELECT over the entity set of the URL."""
        translation = _Translation(call.query["sql"])
        root = translation.fetch()
        entity = root.find("entity")
        if entity is None or entity.get("name") != table.logical:
            raise errors.bad_query("The table after FROM does not match the entity set.")
        reply = self._run(call, table, root, entity)
        if translation.offset and isinstance(reply.body, dict):
            reply.body["value"] = reply.body["value"][translation.offset :]
        return reply


class _Translation:
    """One pass over the tokens of a SELECT."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(text.rstrip(" ;")):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise self._wrong(text[position:])
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        self.at = 0
        self.root = ET.Element("fetch")
        self.entity = ET.SubElement(self.root, "entity")
        self.aliases: dict[str, ET.Element] = {}
        self.offset = 0  # rows to leave out: FetchXML itself knows whole pages only

    def _wrong(self, near: str = "") -> errors.DataverseError:
        return errors.bad_query(f"Invalid SQL near '{near or self._peek()[1]}' in '{self.text}'.")

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "")

    def _take(self, kind: str = "") -> str:
        found, text = self._peek()
        if not found or (kind and found != kind):
            raise self._wrong()
        self.at += 1
        return text

    def _word(self, *words: str) -> str:
        kind, text = self._peek()
        if kind == "name" and text.upper() in words:
            self.at += 1
            return text.upper()
        return ""

    def _mark(self, mark: str) -> bool:
        if self._peek() == ("mark", mark):
            self.at += 1
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._word(word):
            raise self._wrong()

    def fetch(self) -> ET.Element:
        """The whole statement."""
        self._need("SELECT")
        if self._word("DISTINCT"):
            self.root.set("distinct", "true")
        if self._word("TOP"):
            self.root.set("top", self._take("number"))
        items = [self._item()]
        while self._mark(","):
            items.append(self._item())
        self._need("FROM")
        self.entity.set("name", self._take("name").lower())
        self._alias(self.entity)
        while self._word("INNER", "LEFT", "JOIN"):
            self._join()
        if self._word("WHERE"):
            self.entity.append(self._or())
        groups = []
        if self._word("GROUP"):
            self._need("BY")
            groups = self._names()
        aggregated = bool(groups) or any(function for function, _, _ in items)
        for function, name, alias in items:
            self._attribute(function, name, alias, aggregated=aggregated)
        if aggregated:
            self.root.set("aggregate", "true")
        if self._word("ORDER"):
            self._need("BY")
            self._orders(aggregated=aggregated)
            self._span()
        if self.at < len(self.tokens):
            raise self._wrong()
        return self.root

    def _span(self) -> None:
        """`OFFSET 20 ROWS FETCH NEXT 10 ROWS ONLY`, which only an ordered SELECT may have."""
        if not self._word("OFFSET"):
            return
        self.offset = self._whole()
        self._need("ROWS")
        if self._word("FETCH"):
            self._need("NEXT")
            self.root.set("top", str(self.offset + self._whole()))
            self._need("ROWS")
            self._need("ONLY")

    def _whole(self) -> int:
        text = self._take("number")
        if not text.isdigit():
            raise self._wrong(text)
        return int(text)

    def _item(self) -> tuple[str, str, str]:
        name = self._take("name")
        function = ""
        if self._mark("("):
            function = _FUNCTIONS.get(name.upper(), "")
            if not function:
                raise self._wrong()
            if self._mark("*"):
                function, name = "count", ""
            else:
                function = "countdistinct" if self._word("DISTINCT") else function
                name = self._take("name")
            if not self._mark(")"):
                raise self._wrong()
        alias = self._take("name") if self._word("AS") else ""
        return function, name, alias

    def _alias(self, element: ET.Element) -> None:
        name = str(element.get("name"))
        self._word("AS")
        kind, text = self._peek()
        if kind == "name" and text.upper() not in _CLAUSES:
            self.at += 1
            self.aliases[text] = element
            if element is not self.entity:
                element.set("alias", text)
        else:
            self.aliases[name] = element
            if element is not self.entity:
                element.set("alias", name)

    def _join(self) -> None:
        outer = self.tokens[self.at - 1][1].upper() == "LEFT"
        if self.tokens[self.at - 1][1].upper() != "JOIN":
            self._word("OUTER")
            self._need("JOIN")
        link = ET.Element("link-entity", {"name": self._take("name").lower()})
        link.set("link-type", "outer" if outer else "inner")
        self._alias(link)
        self._need("ON")
        sides = [self._take("name")]
        if not self._mark("="):
            raise self._wrong()
        sides.append(self._take("name"))
        for side in sides:
            element, column = self._owner(side)
            link.set("from" if element is link else "to", column)
            if element is not link:
                element.append(link)

    def _owner(self, name: str) -> tuple[ET.Element, str]:
        alias, dot, column = name.rpartition(".")
        if not dot:
            return self.entity, column.lower()
        if alias not in self.aliases:
            raise self._wrong(name)
        return self.aliases[alias], column.lower()

    def _attribute(self, function: str, name: str, alias: str, *, aggregated: bool) -> None:
        element, column = self._owner(name) if name else (self.entity, "")
        if not column:
            column = f"{self.entity.get('name')}id"
        attribute = ET.SubElement(element, "attribute", {"name": column})
        if function == "countdistinct":
            attribute.set("distinct", "true")
            function = "countcolumn"
        if aggregated:
            attribute.set("alias", alias or (f"{function}_{column}" if function else column))
            attribute.set(*(("aggregate", function) if function else ("groupby", "true")))
        elif alias:
            attribute.set("alias", alias)

    def _names(self) -> list[str]:
        names = [self._take("name")]
        while self._mark(","):
            names.append(self._take("name"))
        return names

    def _orders(self, *, aggregated: bool) -> None:
        while True:
            element, column = self._owner(self._take("name"))
            order = ET.SubElement(element, "order")
            order.set("alias" if aggregated else "attribute", column)
            if self._word("ASC", "DESC") == "DESC":
                order.set("descending", "true")
            if not self._mark(","):
                return

    def _or(self) -> ET.Element:
        return self._logic("or", lambda: self._logic("and", self._condition))

    def _logic(self, kind: str, part: object) -> ET.Element:
        assert callable(part)
        group = ET.Element("filter", {"type": kind})
        group.append(part())
        while self._word(kind.upper()):
            group.append(part())
        return group

    def _condition(self) -> ET.Element:
        if self._mark("("):
            inner = self._or()
            if not self._mark(")"):
                raise self._wrong()
            return inner
        element, column = self._owner(self._take("name"))
        condition = ET.Element("condition", {"attribute": column})
        if element is not self.entity:
            condition.set("entityname", str(element.get("alias")))
        if self._word("IS"):
            negated = self._word("NOT")
            self._need("NULL")
            condition.set("operator", "not-null" if negated else "null")
            return condition
        negation = "not-" if self._word("NOT") else ""
        word = self._word("LIKE", "IN", "BETWEEN")
        if word == "LIKE":
            self._values(condition, f"{negation}like", [self._value()])
        elif word == "BETWEEN":
            low = self._value()
            self._need("AND")
            self._values(condition, f"{negation}between", [low, self._value()])
        elif word == "IN":
            if not self._mark("("):
                raise self._wrong()
            values = [self._value()]
            while self._mark(","):
                values.append(self._value())
            if not self._mark(")"):
                raise self._wrong()
            self._values(condition, f"{negation}in", values)
        else:
            sign = self._take("mark")
            if sign not in _OPERATORS or negation:
                raise self._wrong(sign)
            self._values(condition, _OPERATORS[sign], [self._value()])
        return condition

    def _values(self, condition: ET.Element, operator: str, values: list[str]) -> None:
        condition.set("operator", operator)
        for text in values:
            ET.SubElement(condition, "value").text = text

    def _value(self) -> str:
        kind, text = self._peek()
        if kind not in ("text", "number"):
            raise self._wrong()
        self.at += 1
        return text[1:-1].replace("''", "'") if kind == "text" else text
