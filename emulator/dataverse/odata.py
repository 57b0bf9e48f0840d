"""The grammar of `$filter`, `$orderby` and `$expand`: text in, a small tree out.

The tree knows nothing of tables; `query` turns it into SQL and `metadata` evaluates it over
definitions. Unsupported syntax is a 400 with the position, never a silent guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from emulator.dataverse import errors

COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le"})
TEXT_FUNCTIONS = frozenset({"contains", "startswith", "endswith"})
_CRM = "Microsoft.Dynamics.CRM."
# How deep Dataverse lets a filter nest is not published; below SQLite's own limit it always works.
DEEPEST = 20
_ITEM = re.compile(r"'((?:[^']|'')*)'|([^\s,']+)")
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*')
    | (?P<guid>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})
    | (?P<instant>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)
    | (?P<date>\d{4}-\d\d-\d\d)
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<list>\[(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\]"'])*\])
    | (?P<name>@?[A-Za-z_][\w.]*(?:/[A-Za-z_$][\w.]*)*)
    | (?P<mark>[(),:=])
    )\s*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; kind is string, guid, instant, date, number, boolean, null or list."""

    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class Path:
    """A property, possibly behind navigation properties."""

    steps: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(self.steps)


@dataclass(frozen=True, slots=True)
class Compare:
    """`left op right`."""

    op: str
    left: Path | Literal
    right: Path | Literal


@dataclass(frozen=True, slots=True)
class Text:
    """contains, startswith or endswith."""

    function: str
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A Microsoft.Dynamics.CRM query function over one property."""

    function: str
    path: Path
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Logic:
    """`and`, `or` over two parts or more, `not` over one."""

    op: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Lambda:
    """`collection/any(o: ...)` or `all`."""

    path: Path
    quantifier: str
    variable: str
    body: Node | None


Node = Compare | Text | Condition | Logic | Lambda | Path


class Parser:
    """Recursive descent over one filter; `aliases` holds the values of `@p` parameters."""

    def __init__(self, text: str, aliases: Mapping[str, str] | None = None) -> None:
        self.text = text
        self.aliases = aliases or {}
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise errors.bad_query(f"Syntax error at position {position} in '{text}'.")
            self.tokens.append((match.lastgroup, match[match.lastgroup], position))
            position = match.end()
        self.at = 0
        self.depth = 0

    def parse(self) -> Node:
        """The whole filter."""
        node = self._or()
        if self.at < len(self.tokens):
            raise self._wrong()
        return node

    def _wrong(self) -> errors.DataverseError:
        position = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text)
        return errors.bad_query(f"Syntax error at position {position} in '{self.text}'.")

    def _peek(self) -> tuple[str, str]:
        kind, text, _ = self.tokens[self.at] if self.at < len(self.tokens) else ("", "", 0)
        return kind, text

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self.at += 1
        return token

    def _word(self, *words: str) -> bool:
        if self._peek() in [("name", word) for word in words]:
            self.at += 1
            return True
        return False

    def _mark(self, mark: str) -> None:
        if self._take() != ("mark", mark):
            self.at -= 1
            raise self._wrong()

    def _or(self) -> Node:
        parts = [self._and()]
        while self._word("or"):
            parts.append(self._and())
        return Logic("or", tuple(parts)) if len(parts) > 1 else parts[0]

    def _and(self) -> Node:
        parts = [self._not()]
        while self._word("and"):
            parts.append(self._not())
        return Logic("and", tuple(parts)) if len(parts) > 1 else parts[0]

    def _not(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise errors.too_deep()
        if self._word("not"):
            node: Node = Logic("not", (self._not(),))
        elif self._peek() == ("mark", "("):
            self._mark("(")
            node = self._or()
            self._mark(")")
        else:
            node = self._comparison()
        self.depth -= 1
        return node

    def _comparison(self) -> Node:
        left = self._operand()
        if not isinstance(left, Path | Literal):
            if self._peek()[1] in COMPARISONS:  # contains(a,'b') eq true
                wanted = self._take()[1] == "eq"
                right = self._operand()
                if not isinstance(right, Literal) or right.kind != "boolean":
                    raise self._wrong()
                return left if wanted == right.value else Logic("not", (left,))
            return left
        kind, op = self._peek()
        if kind == "name" and op in COMPARISONS:
            self._take()
            right = self._operand()
            if not isinstance(right, Path | Literal):
                raise self._wrong()
            return Compare(op, left, right)
        if isinstance(left, Path):
            return left  # a bare boolean property
        raise self._wrong()

    def _operand(self) -> Node | Literal:
        kind, text = self._take()
        if kind != "name":
            if kind in ("", "mark"):
                self.at -= 1
                raise self._wrong()
            return _literal(kind, text)
        if text.startswith("@"):
            if text not in self.aliases:
                raise errors.bad_query(f"The parameter alias '{text}' has no value.")
            return Parser(self.aliases[text]).value()
        if text in ("true", "false"):
            return Literal("boolean", text == "true")
        if text == "null":
            return Literal("null", None)
        if text.startswith(_CRM) and self._peek()[0] == "string":
            return _literal(*self._take())  # an enumeration member: AttributeTypeCode'Picklist'
        if self._peek() != ("mark", "("):
            return Path(tuple(text.split("/")))
        if text in TEXT_FUNCTIONS:
            return self._text_function(text)
        if text.startswith(_CRM):
            return self._condition(text.removeprefix(_CRM))
        *steps, quantifier = text.split("/")
        if quantifier in ("any", "all") and steps:
            return self._lambda(Path(tuple(steps)), quantifier)
        raise errors.bad_query(f"An unknown function with name '{text}' was found.")

    def value(self) -> Literal:
        """The text is one literal (the value of an alias)."""
        node = self._operand()
        if not isinstance(node, Literal) or self.at < len(self.tokens):
            raise self._wrong()
        return node

    def _text_function(self, name: str) -> Text:
        self._mark("(")
        path = self._operand()
        self._mark(",")
        text = self._operand()
        self._mark(")")
        if not isinstance(path, Path) or not isinstance(text, Literal) or text.kind != "string":
            raise self._wrong()
        return Text(name, path, text.value)

    def _condition(self, name: str) -> Condition:
        self._mark("(")
        path: Path | None = None
        arguments: list[Any] = []
        while self._peek() != ("mark", ")"):
            parameter = self._take()[1]
            self._mark("=")
            value = self._operand()
            if parameter == "PropertyName" and isinstance(value, Literal):
                path = Path(tuple(str(value.value).split("/")))
            elif isinstance(value, Literal):
                arguments += value.value if value.kind == "list" else [value.value]
            if self._peek() == ("mark", ","):
                self._take()
        self._mark(")")
        if path is None:
            raise errors.bad_query(f"The function {name} needs PropertyName.")
        return Condition(name, path, tuple(arguments))

    def _lambda(self, path: Path, quantifier: str) -> Lambda:
        self._mark("(")
        if self._peek() == ("mark", ")"):
            self._mark(")")
            return Lambda(path, quantifier, "", None)
        variable = self._take()[1]
        self._mark(":")
        body = self._or()
        self._mark(")")
        return Lambda(path, quantifier, variable, body)


def _literal(kind: str, text: str) -> Literal:
    if kind == "string":
        return Literal(kind, text[1:-1].replace("''", "'"))
    if kind == "number":
        return Literal(kind, Decimal(text))
    if kind == "list":
        try:
            return Literal(kind, json.loads(text, parse_float=Decimal))
        except ValueError:
            items = [
                bare or quoted.replace("''", "'") for quoted, bare in _ITEM.findall(text[1:-1])
            ]
            return Literal(kind, items)
    return Literal(kind, text)


def order(text: str) -> list[tuple[Path, bool]]:
    """`$orderby`: paths, each with whether it descends."""
    result: list[tuple[Path, bool]] = []
    for item in text.split(","):
        path, _, direction = item.strip().partition(" ")
        if direction.strip() not in ("", "asc", "desc") or not path:
            raise errors.bad_query(f"Syntax error in $orderby '{text}'.")
        result.append((Path(tuple(path.split("/"))), direction.strip() == "desc"))
    return result


def split_outside(text: str, separator: str) -> list[str]:
    """Split where the separator stands outside parentheses and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for position, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted and letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == separator and depth == 0 and not quoted:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def expansions(text: str) -> list[tuple[str, dict[str, str]]]:
    """`$expand`: navigation properties, each with its own options."""
    result = []
    for item in split_outside(text, ","):
        nav, bracket, inner = item.partition("(")
        options: dict[str, str] = {}
        if bracket:
            if not inner.endswith(")"):
                raise errors.bad_query(f"Syntax error in $expand '{text}'.")
            for option in split_outside(inner[:-1], ";"):
                name, _, value = option.partition("=")
                options[name.strip()] = value
        result.append((nav.strip(), options))
    return result
