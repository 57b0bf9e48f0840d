"""Values on three surfaces: JSON on the wire, cells in SQLite, and text for people.

Exact numbers live in SQLite as decimal text at the scale of their column and are compared by a
collation, never as binary floats. Dates are `2026-11-22`; instants are UTC to the second with Z,
so that text order is time order. GUIDs are lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from emulator.dataverse import errors

if TYPE_CHECKING:
    from emulator.dataverse.schema import Column, Table

Cell = str | int | None
EXACT = Context(prec=60)
GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(:\d\d)?(?:\.\d+)?(Z|[+-]\d\d:\d\d)?)?", re.IGNORECASE
)
MONEY_SCALE = 4
EXACT_KINDS = frozenset({"Decimal", "Double", "Money"})
TEXT_KINDS = frozenset({"String", "Memo"})
CHOICE_KINDS = frozenset({"Picklist", "State", "Status"})
ID_KINDS = frozenset({"Uniqueidentifier", "Lookup", "File"})
_LONGEST = {"Integer": 2_147_483_647, "BigInt": 9_223_372_036_854_775_807}


def edm_type(kind: str, *, date_only: bool) -> str:
    """The Edm type of a column kind, as messages and the CSDL name it."""
    if kind == "DateTime":
        return "Edm.Date" if date_only else "Edm.DateTimeOffset"
    return {
        "Integer": "Edm.Int32",
        "Picklist": "Edm.Int32",
        "State": "Edm.Int32",
        "Status": "Edm.Int32",
        "BigInt": "Edm.Int64",
        "Decimal": "Edm.Decimal",
        "Money": "Edm.Decimal",
        "Double": "Edm.Double",
        "Boolean": "Edm.Boolean",
        "Uniqueidentifier": "Edm.Guid",
        "Lookup": "Edm.Guid",
        "File": "Edm.Guid",
    }.get(kind, "Edm.String")


def declaration(kind: str) -> str:
    """The SQLite type and collation of a column kind."""
    if kind in EXACT_KINDS:
        return "TEXT COLLATE decimal"
    if kind in ID_KINDS or kind == "DateTime":
        return "TEXT"
    if kind in TEXT_KINDS or kind == "MultiSelectPicklist":
        return "TEXT COLLATE NOCASE"
    return "INTEGER"


def parse_date(text: str) -> str:
    """A date of the wire; ValueError when it is not one of the calendar since 1753."""
    if len(text) != 10 or date.fromisoformat(text).year < 1753:
        raise ValueError(text)
    return text


def parse_instant(text: str) -> str:
    """An instant of the wire in UTC to the second; a bare date is its midnight."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, minutes, seconds, zone = match.groups()
    stamp = f"{day}T{minutes or '00:00'}{seconds or ':00'}{zone or '+00:00'}"
    moment = datetime.fromisoformat(stamp.upper())
    if moment.year < 1753:
        raise ValueError(text)
    return print_instant(moment)


def print_instant(moment: datetime) -> str:
    """An aware instant as Dataverse prints and stores it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_guid(text: str) -> str:
    """A GUID in lower case, with or without braces; ValueError otherwise."""
    bare = text.strip("{}")
    if not GUID.fullmatch(bare):
        raise ValueError(text)
    return bare.lower()


def fixed(number: Decimal, scale: int) -> str:
    """Decimal text with exactly this many decimals, halves away from zero."""
    return format(number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP, EXACT), "f")


def encoder(table: Table, column: Column, *, reject_surplus: bool) -> Callable[[Any], Cell]:
    """The function from a JSON value to the cell of this column.

    It raises the payload, length and range errors of the Web API. Whether Dataverse rounds or
    refuses surplus decimals is not documented: both can be had.
    """
    kind, name, edm = column.kind, column.name, column.edm
    definition = column.definition

    def refuse(value: object) -> errors.DataverseError:
        return errors.wrong_literal(table.entity_set, value, edm)

    def text(value: Any) -> Cell:
        if not isinstance(value, str):
            raise refuse(value)
        if len(value) > limit:
            raise errors.too_long(name, table.logical, limit)
        return value

    def integer(value: Any) -> Cell:
        if type(value) is not int or abs(value) > _LONGEST[kind]:
            raise refuse(value)
        if not low <= value <= high:
            raise errors.out_of_range(value, name, table.logical, f"{low} to {high}")
        return value

    def exact(value: Any) -> Cell:
        if type(value) is int:
            value = Decimal(value)
        elif not isinstance(value, Decimal):
            raise refuse(value)
        if not low <= value <= high:
            raise errors.out_of_range(value, name, table.logical, f"{low} to {high}")
        rounded = value.quantize(step, ROUND_HALF_UP, EXACT)
        if reject_surplus and rounded != value:
            raise errors.invalid_argument(
                f"The value {value} of '{name}' has more than {precision} decimals."
            )
        return fixed(rounded, scale)

    def boolean(value: Any) -> Cell:
        if not isinstance(value, bool):
            raise refuse(value)
        return int(value)

    def choice(value: Any) -> Cell:
        if type(value) is not int:
            raise refuse(value)
        if value not in column.options:
            accepted = ",".join(map(str, column.options))
            raise errors.out_of_range(value, name, table.logical, accepted)
        return value

    def choices(value: Any) -> Cell:
        if not isinstance(value, str):
            raise refuse(value)
        return ",".join(str(choice(_whole(part, refuse))) for part in value.split(","))

    def guid(value: Any) -> Cell:
        try:
            return parse_guid(value)
        except (ValueError, AttributeError):
            raise refuse(value) from None

    def moment(value: Any) -> Cell:
        try:
            return parse_date(value) if column.date_only else parse_instant(value)
        except (ValueError, TypeError):
            raise refuse(value) from None

    if kind in EXACT_KINDS:
        low, high = Decimal(definition["MinValue"]), Decimal(definition["MaxValue"])
        precision = column.precision
        scale = MONEY_SCALE if kind == "Money" else precision
        step = Decimal(1).scaleb(-precision)
        return exact
    if kind in TEXT_KINDS:
        limit = int(definition["MaxLength"])
        return text
    if kind in _LONGEST:
        low, high = definition["MinValue"], definition["MaxValue"]
        return integer
    if kind == "DateTime":
        return moment
    if kind in CHOICE_KINDS:
        return choice
    return {"Boolean": boolean, "MultiSelectPicklist": choices}.get(kind, guid)


def _whole(text: str, refuse: Callable[[object], errors.DataverseError]) -> int:
    try:
        return int(text)
    except ValueError:
        raise refuse(text) from None


def decoder(kind: str) -> Callable[[Any], Any] | None:
    """The function from a non-null cell to its JSON value; None means the cell as it is."""
    if kind in EXACT_KINDS:
        return Decimal
    return bool if kind == "Boolean" else None


def compare_decimals(left: str, right: str) -> int:
    """The collation `decimal`: order of the numbers that two texts name."""
    try:
        a, b = Decimal(left), Decimal(right)
    except InvalidOperation:
        return (left > right) - (left < right)
    return (a > b) - (a < b)


def formatted(column: Column, cell: Any, symbol: str = "") -> str | None:
    """The display text of a cell in en-US, or None where Dataverse gives none (plain text)."""
    kind = column.kind
    if kind in CHOICE_KINDS or kind == "Boolean":
        return column.options.get(cell)
    if kind == "MultiSelectPicklist":
        return "; ".join(column.options.get(int(part), part) for part in cell.split(","))
    if kind == "Money":
        number = Decimal(cell)
        sign = "-" if number < 0 else ""
        return f"{sign}{symbol}{abs(number):,.{column.precision}f}"
    if kind in EXACT_KINDS:
        return f"{Decimal(cell):,f}"
    if kind in _LONGEST:
        return f"{cell:,}"
    if kind == "DateTime" and column.date_only:
        day = date.fromisoformat(cell)
        return f"{day.month}/{day.day}/{day.year}"
    if kind == "DateTime":
        moment = datetime.fromisoformat(cell)
        hour = moment.hour % 12 or 12
        half = "AM" if moment.hour < 12 else "PM"
        return f"{moment.month}/{moment.day}/{moment.year} {hour}:{moment.minute:02} {half}"
    return None
