"""Records to rows and back, by the declaration of the tables.

`from_row(table, to_row(table, record))` is the record again, whatever its numbers: what a column
cannot hold in full is written beside it, and is taken back only while the column still shows the
shortened value, so that a person's correction in Dynamics wins over the digits behind it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import types
import zlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction
from functools import cache
from operator import attrgetter
from typing import Any, Union, get_args, get_origin, get_type_hints

from dataverse.schema import (
    FIRST_DAY,
    KEY,
    LAST_DAY,
    MONEY_LIMIT,
    NUMBER_LIMIT,
    OVERFLOW,
    WHOLE_LIMIT,
    Column,
    Kind,
    Lookup,
    Row,
    Table,
    external_key,
)
from domain.money import minor_units, round_half_up
from domain.problems import InputError

PACKED = "packed:"
"""How a structure begins that is too long to be read: base64 of its JSON, deflated."""
READABLE = 65_536
"""Characters of JSON that are kept as they are. No person reads more, and hundreds of rows with a
megabyte each would make a request that no server takes."""
FORMATTED = "@OData.Community.Display.V1.FormattedValue"
Link = tuple[Lookup, str]
"""A lookup and the identity of its target: an external key, or a primary key when `by_id`."""


@dataclass(slots=True)
class OutRow:
    """A row on its way out: columns as JSON values, and links that may still be dropped."""

    key: str
    """The external key."""
    columns: dict[str, Any]
    once: dict[str, Any] = field(default_factory=dict)
    """Sent only when the row is created."""
    links: list[Link] = field(default_factory=list)
    unhashed: frozenset[str] = frozenset()

    def digest(self) -> str:
        """Return the hash over what the row says, links included, for change detection."""
        # An empty column says nothing, so a column that is added later changes no hash.
        told: dict[str, Any] = {
            name: value
            for name, value in self.columns.items()
            if value is not None and name not in self.unhashed
        }
        told.update({lookup.name: target for lookup, target in self.links})
        text = _SORTED.encode(told)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def domain_key(table: Table, record: object) -> str:
    """Return the readable identity of a record's row."""
    return "|".join(str(_getter(path)(record)) for path in table.identity)


def to_row(table: Table, record: object) -> OutRow:
    """Translate a record; what a column cannot hold in full is kept in `csp_overflow`."""
    return row_writer(table)(record)


@cache
def row_writer(table: Table) -> Callable[[object], OutRow]:
    """Return `to_row` of one table, its declaration read once: for many records."""
    columns = [column for column in table.columns if column.field]
    writers = [(one, _getter(one.paths[0]), _fitter(one), one.once) for one in columns]
    identity = [_getter(path) for path in table.identity]
    titles = [_getter(path) for path in table.title.split()]
    primary = next((column for column in table.columns if column.primary), None)
    lookups = [(one, _getter(one.field)) for one in table.lookups if one.field]
    unhashed = frozenset(column.name for column in table.columns if not column.hashed)
    key_size = table.column(KEY).size

    def write(record: object) -> OutRow:
        key = "|".join([str(get(record)) for get in identity])
        values: dict[str, Any] = {}
        once: dict[str, Any] = {}
        overflow: dict[str, Any] = {}
        for column, get, fitted, is_once in writers:
            value = get(record)
            stored, whole = fitted(value)
            if not whole:
                overflow[column.name] = to_json(value)
            (once if is_once else values)[column.name] = stored
        values[KEY] = key[:key_size]
        if len(key) > key_size:
            overflow[KEY] = key
        if titles and primary:
            name = next(filter(None, (str(get(record)) for get in titles)), key)
            values[primary.name] = name[: primary.size]
        values[OVERFLOW] = _canonical(overflow) if overflow else None
        links: list[Link] = []
        for lookup, get in lookups:
            target = str(get(record) or "")
            if target:
                by_id = target.lower() if lookup.by_id else ""
                links.append((lookup, by_id or external_key(lookup.prefix + target)))
        return OutRow(external_key(key), values, once, links, unhashed)

    return write


def from_row(table: Table, row: Row, **given: Any) -> Any:
    """Translate a row as read; fields that stand elsewhere are `given`.

    InputError names table, row and column where the row is no record. A row that a person made in Dynamics has no key of ours: its primary key stands in.
    """
    overflow = json.loads(row.get(OVERFLOW) or "{}")
    key = overflow.get(KEY) or row.get(KEY) or f"{table.name}/{row.get(table.primary_id)}"
    try:
        return _build(table.record, _tree(table, row, key, overflow), given)
    except _Unreadable as fault:
        msg = f"{table.name} {key}: {fault}"
        raise InputError(msg, hint=f"Correct the row in the table {table.plural}.") from None


def _tree(table: Table, row: Row, key: str, overflow: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the values of a row out in the shape of its record."""
    tree: dict[str, Any] = {}
    currency = str(row.get("csp_currency") or "")
    if table.identity == ("key",) and "key" in _hints(table.record):
        tree["key"] = _Leaf(key, KEY)
    for column in table.columns:
        if column.field and not column.derived:
            value = _read(column, row.get(column.name), currency)
            full = overflow.get(column.name)
            if full is not None and _still_shortened(table, column, full, row):
                value = full
            for path in column.paths:
                _put(tree, path, _Leaf(value, column.name))
    for lookup in table.lookups:
        if lookup.name_field:
            _put(tree, lookup.field, _Leaf(row.get(lookup.value_property), lookup.name))
            name = row.get(lookup.value_property + FORMATTED)
            _put(tree, lookup.name_field, _Leaf(name, lookup.name))
    return tree


def fit(column: Column, value: Any) -> Any:
    """Return what a column can hold of a value, as its JSON value; None for nothing at all."""
    if value is None or value == "":
        return None
    match column.kind:
        case Kind.NUMBER | Kind.MONEY:
            digits = value.as_tuple().exponent
            rounded = value if -column.size <= digits <= 0 else round_half_up(value, column.size)
            limit = NUMBER_LIMIT if column.kind is Kind.NUMBER else MONEY_LIMIT
            return rounded if abs(rounded) <= limit else None
        case Kind.WHOLE:
            return value if abs(value) <= WHOLE_LIMIT else None
        case Kind.DAY:
            return value.isoformat() if FIRST_DAY <= value <= LAST_DAY else None
        case Kind.MOMENT:
            # Whole seconds are what Dataverse is sure to keep.
            return f"{value.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"
        case Kind.CHOICE:
            return column.option(value.value)
        case Kind.JSON:
            data = to_json(value)
            return _within(_canonical(data), min(column.size, READABLE)) if data else None
        case Kind.FLAG:
            return value
        case _:
            return str(to_json(value))[: column.size]


def _fitter(column: Column) -> Callable[[Any], tuple[Any, bool]]:
    """Return what stores a value: what the column can hold of it, and whether that is all."""
    size = column.size

    def slowly(value: Any) -> tuple[Any, bool]:
        stored = fit(column, value)
        return stored, bool(_seen(column, stored) == _told(column, value))

    def text(value: Any) -> tuple[Any, bool]:
        if type(value) is str and len(value) <= size:
            return value or None, True
        if isinstance(value, StrEnum) and len(value) <= size:
            return value.value or None, True
        return slowly(value)

    def whole(value: Any) -> tuple[Any, bool]:
        if type(value) is int and -WHOLE_LIMIT <= value <= WHOLE_LIMIT:
            return value, True
        return slowly(value)

    def number(value: Any) -> tuple[Any, bool]:
        if type(value) is Decimal and -NUMBER_LIMIT <= value <= NUMBER_LIMIT:
            digits = value.as_tuple().exponent
            if isinstance(digits, int) and -size <= digits <= 0:
                return value, True
        return slowly(value)

    def day(value: Any) -> tuple[Any, bool]:
        if type(value) is date and FIRST_DAY <= value <= LAST_DAY:
            return value.isoformat(), True
        return slowly(value)

    def moment(value: Any) -> tuple[Any, bool]:
        if type(value) is datetime and value.tzinfo is UTC and not value.microsecond:
            return f"{value.replace(tzinfo=None).isoformat()}Z", True
        return slowly(value)

    def always(value: Any) -> tuple[Any, bool]:
        return fit(column, value), True

    # The usual cases first: they are nearly all of a hundred thousand rows.
    usual = {
        Kind.TEXT: text,
        Kind.MEMO: text,
        Kind.WHOLE: whole,
        Kind.NUMBER: number,
        Kind.MONEY: number,
        Kind.DAY: day,
        Kind.MOMENT: moment,
        Kind.FLAG: lambda value: (value, True),
        Kind.CHOICE: always,
        Kind.JSON: always,
    }
    return usual[column.kind]


def _told(column: Column, value: Any) -> Any:
    """A value as reading its column would show it, if the column had room for everything."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if value is None or value == "" or (column.open_end and value == column.open_end):
        return None
    return to_json(value) if column.kind in (Kind.TEXT, Kind.MEMO) else value


def _seen(column: Column, stored: Any) -> Any:
    """What is left of a value in its column, comparable with `_told`."""
    if stored is None:
        return None
    if column.kind is Kind.DAY:
        return date.fromisoformat(stored)
    if column.kind is Kind.MOMENT:
        return datetime.fromisoformat(stored)
    return stored


def _still_shortened(table: Table, column: Column, full: Any, row: Row) -> bool:
    """Say whether the column still shows the shortened form of the value that was kept in full."""
    try:
        hint = _leaf_type(table.record, column.paths[0])
        shortened = fit(column, from_json(hint, full))
    except (_Unreadable, ValueError):
        return False
    shown = row.get(column.name)
    return bool(_seen(column, shortened) == _seen(column, shown))


def _read(column: Column, value: Any, currency: str) -> Any:
    """Bring a column's JSON value to the form that `from_json` reads."""
    if value is None:
        return column.open_end.isoformat() if column.open_end else None
    match column.kind:
        case Kind.NUMBER:
            return _trimmed(Decimal(value))
        case Kind.MONEY:
            return _money(Decimal(value), currency)
        case Kind.CHOICE:
            try:
                return column.option_value(value)
            except ValueError as fault:
                raise _Unreadable(str(fault)) from None
        case Kind.JSON:
            try:
                return json.loads(_unpacked(value), parse_float=Decimal)  # people type numbers
            except (ValueError, zlib.error):
                shown = value if len(value) < 200 else f"{value[:200]}..."
                raise _Unreadable(f"{column.name} is {shown!r}, which cannot be read") from None
        case _:
            return value


def _within(text: str, size: int) -> str:
    """Return a text in full: one that is longer than `size` is packed.

    The usage of thousands of resource groups is longer than any column. What is too long even
    packed is refused by Dataverse, which is a finding, and never cut.
    """
    if len(text) <= size:
        return text
    return PACKED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _unpacked(text: str) -> str:
    if not text.startswith(PACKED):
        return text
    return zlib.decompress(base64.b64decode(text.removeprefix(PACKED))).decode()


def _money(value: Decimal, currency: str) -> Decimal:
    """Show an amount with the decimals of its currency, or with more where it has more."""
    exact = round_half_up(value, minor_units(currency))
    return exact if exact == value else _trimmed(value)


def _trimmed(value: Decimal) -> Decimal:
    return Decimal(_digits(value))


def _digits(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# The structure of records as JSON, by their annotations ------------------------------------------


def to_json(value: Any) -> Any:
    """Write a value as JSON data: numbers with a point become text, so that no digit is lost."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return {part.name: to_json(getattr(value, part.name)) for part in fields(value)}


def from_json(hint: Any, data: Any) -> Any:
    """Read JSON data as the annotated type; ValueError and its kin where it is something else."""
    return _reader(hint)(data)


class _Unreadable(Exception):  # noqa: N818 - becomes an InputError that names the row
    """Why a row is no record."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A value at the end of a path, and the column it came from."""

    value: Any
    column: str


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """Return the function that reads one annotated type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = _reader(next(part for part in arguments if part is not types.NoneType))
        return lambda data: None if data is None else inner(data)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda data: tuple(item(part) for part in data or ())
    if origin is not None:  # Mapping[str, ...]
        item = _reader(arguments[1])
        return lambda data: {name: item(part) for name, part in (data or {}).items()}
    if isinstance(hint, type) and is_dataclass(hint):
        hints = _hints(hint)
        return lambda data: hint(**{name: from_json(hints[name], data[name]) for name in data})
    if hint is str:
        return lambda data: "" if data is None else str(data)
    if hint is bool:
        return bool
    if hint is datetime or hint is date:
        return hint.fromisoformat
    return hint  # type: ignore[no-any-return] # int, Decimal, Fraction and the enums read their text


@cache
def _hints(record: Any) -> dict[str, Any]:
    return get_type_hints(record)


def _leaf_type(record: Any, path: str) -> Any:
    for part in path.split("."):
        record = _hints(_class_of(record))[part]
    return record


def _class_of(hint: Any) -> Any:
    """`Period` of `Period | None`."""
    arguments = [part for part in get_args(hint) if part is not types.NoneType]
    return arguments[0] if arguments else hint


def _getter(path: str) -> Callable[[Any], Any]:
    """Return what reads a place of a record; nothing is in what is not there."""
    if "." not in path:
        return attrgetter(path)
    parts = path.split(".")

    def get(record: Any) -> Any:
        for part in parts:
            if record is None:
                return None
            record = getattr(record, part)
        return record

    return get


def _put(tree: dict[str, Any], path: str, leaf: _Leaf) -> None:
    *way, last = path.split(".")
    for part in way:
        tree = tree.setdefault(part, {})
    tree[last] = leaf


def _build(record: Any, tree: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    hints = _hints(record)
    optional = {part.name for part in fields(record) if part.default is not MISSING}
    values: dict[str, Any] = dict(given)
    for name, node in tree.items():
        hint = hints[name]
        if isinstance(node, dict):
            empty = all(isinstance(leaf, _Leaf) and leaf.value is None for leaf in node.values())
            if empty and types.NoneType in get_args(hint):
                values[name] = None
            else:
                values[name] = _build(_class_of(hint), node, {})
        elif node.value is not None or _takes_nothing(hint):
            values[name] = _leaf(hint, node)
        elif name not in optional:
            msg = f"{node.column} is empty"
            raise _Unreadable(msg)
    try:
        return record(**values)
    except (TypeError, ValueError) as fault:
        raise _Unreadable(str(fault)) from None


def _takes_nothing(hint: Any) -> bool:
    """Say whether an empty column is a value: no text, none of a tuple or mapping, or None."""
    return hint is str or types.NoneType in get_args(hint) or get_origin(hint) is not None


def _leaf(hint: Any, node: _Leaf) -> Any:
    try:
        return from_json(hint, node.value)
    except (ArithmeticError, KeyError, TypeError, ValueError, AttributeError):
        msg = f"{node.column} is {node.value!r}, which cannot be read"
        raise _Unreadable(msg) from None


_SORTED = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=_digits)


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
