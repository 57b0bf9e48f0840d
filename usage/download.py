"""Words of downloaded usage: a file and its notation, what was found in it, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

from domain.audit import UnearnedCredit, UsageSum


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFile:
    """A file in plain or gzip UTF-8, with its columns by their present names."""

    path: Path
    name: str
    columns: Mapping[str, str]
    """The name as written by the present name; of CSV the whole header, in order."""
    delimiter: str = ""
    """Empty for JSON lines."""
    gzipped: bool = False
    export: str = ""
    """The export of which it is a part: parts of one never hold the same lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value that shows how a CSV file writes."""

    column: str
    row: int
    value: str
    is_date: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a CSV file writes dates and numbers."""

    month_first: bool = False
    decimal: str = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Lines of a file that another file has too, and that were taken once."""

    file: str
    other: str
    invoice_id: str
    lines: int
    left: int
    """Lines that each of the two holds and the other lacks, the smaller number; 0: one is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Lines of one customer and invoice that occur more than once in one export, in all fields."""

    invoice_id: str
    customer_id: str
    currency: str
    lines: int
    """Beyond the first of each."""
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Lines of a file that cannot be read, by reason; `row` is the first of them."""

    file: str
    row: int
    reason: str
    lines: int
    customer_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRow:
    """The sum at the end of a sheet, and what the lines of the file sum to."""

    file: str
    row: int
    told: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFileTotal:
    """What a file holds; `taken` counts the lines that were not left out."""

    file: str
    lines: int
    taken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadedUsage:
    """All usage of the files."""

    sums: tuple[UsageSum, ...] = ()
    unearned: tuple[UnearnedCredit, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    faults: tuple[Fault, ...] = ()
    files: tuple[UsageFileTotal, ...] = ()
    controls: tuple[ControlRow, ...] = ()
    contents: tuple[tuple[str, str, str, int, Decimal], ...] = ()
    """By file, currency and invoice: lines that count here or cannot be read, and the cost of all."""
    unnumbered: tuple[tuple[str, int, int], ...] = ()
    """Files of which some lines name an invoice and others none: name, lines without, all lines."""
    days: Mapping[tuple[str, str], frozenset[date]] = field(default_factory=dict)
    """The days on which there is any usage, by invoice and currency."""
