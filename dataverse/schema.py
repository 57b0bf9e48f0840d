"""The words in which the tables are declared: columns, lookups, tables and their external keys.

A column names the place of its value in the domain record (`charge.service.start`), so that the
declaration is at once the documentation, the plan of the provisioner and the mapping of rows. What
a column cannot hold in full (an eleventh decimal, a name that is too long, a fraction of a second)
is kept beside it in `csp_overflow`, so that no row is ever less exact than its record.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

PREFIX = "csp_"
FIRST_OPTION = 727_000_000
"""Choice values start with the publisher's option prefix, 72700."""

EXTERNAL_KEY = "csp_externalkey"
KEY = "csp_key"
ROW_HASH = "csp_rowhash"
OVERFLOW = "csp_overflow"
UNAUDITED = frozenset({EXTERNAL_KEY, ROW_HASH, OVERFLOW})
"""What changes with every write, or says nothing to an auditor."""
KEY_LENGTH = 100

_PLAIN_KEY = re.compile(r"[a-z0-9_-]+(/[a-z0-9_-]+)*")
_HASH_DIGITS = 24


def external_key(key: str) -> str:
    """Return the alternate-key value of a domain key: at most 100 of [A-Za-z0-9_.-].

    A short lower-case path keeps its words (`unit/2026-10` is `unit.2026-10`). Any other key gets
    two dots, which the plain form never has, and a hash: Dataverse compares without regard to
    case, so keys that differ in case alone must differ in their hash. Forbidden in key values are
    / < > * % & : backslash ? + (Dataverse documentation, alternate keys).
    """
    if len(key) <= KEY_LENGTH and _PLAIN_KEY.fullmatch(key):
        return key.replace("/", ".")
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    words = re.sub(r"[^a-z0-9_-]+", ".", key.lower()).strip(".")
    return f"{words[: KEY_LENGTH - _HASH_DIGITS - 2].rstrip('.')}..{digest}"


class Kind(StrEnum):
    """How a value is held. The names are those that a plan shows to people."""

    TEXT = "Text"
    MEMO = "Multi-line text"
    JSON = "JSON in multi-line text"
    WHOLE = "Whole number"
    NUMBER = "Decimal"
    MONEY = "Money"
    DAY = "Date only"
    MOMENT = "Date and time"
    FLAG = "Yes/No"
    CHOICE = "Choice"
    FILE = "File"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column and the path of its value in the record.

    `field` may name several paths, separated by a blank: the first is written, all are read into.
    """

    schema_name: str
    label: str
    kind: Kind
    field: str = ""
    size: int = 0
    """Characters of a text, decimals of a number."""
    options: tuple[str, ...] = ()
    """Values of a choice in the order of their numbers: append only, never reorder."""
    open_end: date | None = None
    """What an empty day means in the record, where the record must have one."""
    derived: bool = False
    """Written for people and queries; the record computes it, so it is never read back."""
    hashed: bool = True
    """False where a new value alone is no reason to write the row again."""
    once: bool = False
    """Sent only when the row is created."""
    default: str = ""
    """The choice that a row has when whoever adds it says nothing."""
    primary: bool = False
    is_link: bool = False
    """A text that is an address, to be clicked."""
    name: str = dataclasses.field(init=False)
    """The logical name: what JSON uses."""
    paths: tuple[str, ...] = dataclasses.field(init=False)
    """The places of the value in the record."""

    def __post_init__(self) -> None:
        # Asked for with every value of every row, so computed once.
        object.__setattr__(self, "name", self.schema_name.lower())
        object.__setattr__(self, "paths", tuple(self.field.split()))

    def option(self, value: str) -> int:
        """Return the number of a choice value; ValueError when it is not declared."""
        if value not in self.options:
            msg = f"{value!r} is not an option of {self.name}"
            raise ValueError(msg)
        return FIRST_OPTION + self.options.index(value)

    def option_value(self, number: int) -> str:
        """Return the value that a choice number stands for; ValueError when it is none of ours."""
        index = int(number) - FIRST_OPTION
        if not 0 <= index < len(self.options):
            msg = f"{number} is not an option of {self.name}"
            raise ValueError(msg)
        return self.options[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A link to a row of another table, so that people can click through.

    The key of the target is the prefix and the value at `field`. The text beside it is the truth;
    the link is a convenience. So a link to a row that is not stored (yet) is left empty and set by
    the next save, unless the row makes no sense without it (`required`).
    """

    schema_name: str
    label: str
    target: str
    field: str = ""
    """Empty: a person sets it, and a save never touches it."""
    prefix: str = ""
    on_delete: str = "Restrict"
    """Restrict: what has history is not deleted by a slip. RemoveLink: the other row is not ours."""
    required: bool = False
    by_id: bool = False
    """The value is the primary key of the row itself (accounts have no key of ours)."""
    name_field: str = ""
    """Where the name of the linked row is read into."""

    @property
    def name(self) -> str:
        """The logical name of the lookup column."""
        return self.schema_name.lower()

    @property
    def value_property(self) -> str:
        """The property under which a row shows the linked row's primary key."""
        return f"_{self.name}_value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: what it holds, for whom, and which record it is the row of."""

    name: str
    schema_name: str
    label: str
    plural: str
    description: str
    record: type
    columns: tuple[Column, ...]
    lookups: tuple[Lookup, ...] = ()
    title: str = ""
    """Paths of the row's name where no column is it; the first that is not empty."""
    identity: tuple[str, ...] = ("key",)
    """Paths whose values make the domain key of the row."""
    audited: bool = False
    """Whether Dynamics keeps who changed what: where people decide, and where money stands."""
    files: tuple[Column, ...] = ()
    """Columns that hold files: they are written by addresses of their own, never with the row."""

    @property
    def key_name(self) -> str:
        """The schema name of the alternate key."""
        return f"{self.schema_name}_ExternalKey"

    @property
    def primary_id(self) -> str:
        """The primary key column, as the platform names it."""
        return f"{self.name}id"

    @property
    def has_money(self) -> bool:
        """Whether rows must be bound to a currency."""
        return any(column.kind is Kind.MONEY for column in self.columns)

    def column(self, name: str) -> Column:
        """Return a column by its logical name."""
        return next(column for column in self.columns if column.name == name)

    def relationship(self, lookup: Lookup) -> str:
        """Return the schema name of the relationship behind a lookup."""
        return f"{self.name}_{lookup.target}_{lookup.name.removeprefix(PREFIX)}"


BOOKKEEPING = (
    Column(schema_name="csp_ExternalKey", label="External key", kind=Kind.TEXT, size=KEY_LENGTH),
    Column(schema_name="csp_Key", label="Key", kind=Kind.TEXT, size=850),
    Column(schema_name="csp_RowHash", label="Row hash", kind=Kind.TEXT, size=64),
    Column(schema_name="csp_Overflow", label="Exact values", kind=Kind.MEMO, size=1_048_576),
)
"""Columns of every table: identity, the readable key, change detection, digits that do not fit."""

NAME = Column(
    schema_name="csp_Name", label="Name", kind=Kind.TEXT, size=300, derived=True, primary=True
)


def table(name: str, *columns: Column, **settings: Any) -> Table:
    """Declare a table; a name column is added where no field of the record is the name."""
    named = columns if any(column.primary for column in columns) else (NAME, *columns)
    logical = f"{PREFIX}{name.lower()}"
    return Table(
        name=logical, schema_name=f"{PREFIX}{name}", columns=(*named, *BOOKKEEPING), **settings
    )


def text(name: str, label: str, field: str, size: int = 200, **more: Any) -> Column:
    """Declare one line of text; an empty text is stored as null, as Dataverse does anyway."""
    return Column(
        schema_name=PREFIX + name, label=label, kind=Kind.TEXT, field=field, size=size, **more
    )


def title(label: str, field: str) -> Column:
    """Declare the name by which people find the row."""
    return text("Name", label, field, 300, primary=True)


def memo(name: str, label: str, field: str, *, derived: bool = False) -> Column:
    """Declare several lines of text."""
    return Column(
        schema_name=PREFIX + name,
        label=label,
        kind=Kind.MEMO,
        field=field,
        size=100_000,
        derived=derived,
    )


def as_json(name: str, label: str, field: str) -> Column:
    """Declare a structure that people read but do not filter by."""
    return Column(
        schema_name=PREFIX + name, label=label, kind=Kind.JSON, field=field, size=1_048_576
    )


def whole(name: str, label: str, field: str) -> Column:
    """Declare a whole number."""
    return Column(schema_name=PREFIX + name, label=label, kind=Kind.WHOLE, field=field)


def number(name: str, label: str, field: str) -> Column:
    """Declare a unit price, a quantity or a rate: ten decimals, the most that Dataverse has."""
    return Column(schema_name=PREFIX + name, label=label, kind=Kind.NUMBER, field=field, size=10)


def money(name: str, label: str, field: str, places: int = 2, *, derived: bool = False) -> Column:
    """Declare an amount in the row's currency.

    Two decimals, as people expect; the third of a dinar stands in the exact values.
    """
    return Column(
        schema_name=PREFIX + name,
        label=label,
        kind=Kind.MONEY,
        field=field,
        size=places,
        derived=derived,
    )


def day(name: str, label: str, field: str, **more: Any) -> Column:
    """Declare a billing date: DateTimeBehavior DateOnly, so that no time zone shifts it."""
    return Column(schema_name=PREFIX + name, label=label, kind=Kind.DAY, field=field, **more)


def moment(name: str, label: str, field: str, **more: Any) -> Column:
    """Declare a point in time: UserLocal, stored in UTC and shown in each reader's own zone."""
    return Column(schema_name=PREFIX + name, label=label, kind=Kind.MOMENT, field=field, **more)


def flag(name: str, label: str, field: str) -> Column:
    """Declare a yes or no."""
    return Column(schema_name=PREFIX + name, label=label, kind=Kind.FLAG, field=field)


def file(name: str, label: str, kilobytes: int) -> Column:
    """Declare a file; its greatest size is fixed once it is there."""
    return Column(schema_name=PREFIX + name, label=label, kind=Kind.FILE, size=kilobytes)


def choice(
    name: str,
    label: str,
    field: str,
    options: str,
    *,
    default: str = "",
    derived: bool = False,
) -> Column:
    """Declare a choice among our own values; append only, because their order is their number."""
    return Column(
        schema_name=PREFIX + name,
        label=label,
        kind=Kind.CHOICE,
        field=field,
        options=tuple(options.split()),
        default=default,
        derived=derived,
    )


NUMBER_LIMIT = Decimal(100_000_000_000)
MONEY_LIMIT = Decimal(922_337_203_685_477)
WHOLE_LIMIT = 2_147_483_647
FIRST_DAY = date(1753, 1, 1)
LAST_DAY = date(9999, 12, 30)
Row = Mapping[str, Any]
"""One row as the Web API shows it, numbers as Decimal."""
