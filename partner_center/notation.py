"""How a file writes dates and numbers, decided from all its values and never row by row.

A spreadsheet rewrites what Microsoft delivered in the manner of its country: 9/30/2020 or 30.09.2020,
1,234.56 or 1.234,56 or 1 234,56. Each value that can be read in one way only is evidence. Evidence
for both ways means that two files were mixed, and the file is refused with both values; no evidence
at all is refused too, with the option that settles it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from domain.problems import InputError


class DateOrder(StrEnum):
    """Which number of 03/04/2026 is the day."""

    DMY = "dmy"
    MDY = "mdy"


_DATE = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})(?:[T ].*)?", re.DOTALL)
_SPACES = str.maketrans("", "", " \t\u00a0\u2007\u2009\u202f'’_")
_NUMBER = re.compile(r"[+-]?([\d.,]*\d[\d.,]*)([eE][+-]?\d{1,3})?")
_DIGITS = str.maketrans("012345678", "999999999")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands."""

    column: str
    row: str
    """For people, as in `line 12`."""
    value: str

    def __str__(self) -> str:
        return f"{self.row}, column {self.column}: {self.value[:40]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """How one file writes; `order` is None where no date needs it."""

    order: DateOrder | None = None
    decimal: str = "."

    def number(self, value: str) -> str:
        """Return a number as Microsoft writes it, digit by digit; other text stays as it is."""
        text = _bare(value)
        if text is None:
            return value
        other = "," if self.decimal == "." else "."
        whole, sign, rest = text.partition(self.decimal)
        if other in rest or self.decimal in rest:
            return value
        if other in whole and not re.fullmatch(
            rf"-?\d{{1,3}}(?:\{other}\d{{3}})+(?:[eE].*)?", whole
        ):
            return value
        return whole.replace(other, "") + ("." + rest if sign else "")

    def day(self, value: str) -> str:
        """Return a date as yyyy-mm-dd; text that is none stays as it is, to be refused by name."""
        found = _DATE.fullmatch(value.strip())
        if found is None:
            return value
        first, _, second, third = found.groups()
        if len(first) == 4:
            year, month, day = first, second, third
        elif len(third) == 4:
            mdy = self.order is DateOrder.MDY and "." not in value[:6]
            year, month, day = (third, first, second) if mdy else (third, second, first)
        else:
            return value
        return f"{year}-{int(month):02}-{int(day):02}"


@dataclass(slots=True)
class Evidence:
    """What the values of one file say about its notation; feed all, then ask for `decided`."""

    file: str
    dates: dict[str, Place] = field(default_factory=dict)
    """The first place for each sort of date: iso, ., /, -, day first, month first."""
    numbers: dict[str, Place] = field(default_factory=dict)
    """The first place for each decimal sign that is certain, and for `either`."""
    timed: bool = False
    _forms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _by_column: dict[str, Place] = field(default_factory=dict)

    def see_date(self, column: str, value: str, row: str) -> None:
        """Take in one value of a date column."""
        text = value.strip()
        for sort in self._sorts(text):
            if sort not in self.dates:
                self.dates[sort] = Place(column, row, text)
            if sort in ("iso", "/", "-", "."):
                key = f"{column} {sort}"
                if key not in self._by_column:
                    self._by_column[key] = Place(column, row, text)

    def see_number(self, column: str, value: str, row: str) -> None:
        """Take in one value of a column of numbers."""
        sort = decimal_of(value)
        if sort and sort not in self.numbers:
            self.numbers[sort] = Place(column, row, value.strip())

    def _sorts(self, text: str) -> tuple[str, ...]:
        known = self._forms.get(text)
        if known is None:
            known = self._forms[text] = _date_sorts(text)
            self.timed = self.timed or bool(re.match(r"\d{4}-\d\d-\d\dT\d\d:", text))
        return known

    def decided(self, *, order: str = "", decimal: str = "") -> Notation:
        """Return the one notation of the file; InputError where it has two, or cannot be told.

        `order` and `decimal` are what a person said; they settle what no value of the file shows.
        """
        return Notation(order=self._order(order), decimal=self._decimal(decimal))

    def _order(self, told: str) -> DateOrder | None:
        for key, place in self._by_column.items():
            column, _, sort = key.rpartition(" ")
            if sort != "iso" and (iso := self._by_column.get(f"{column} iso")):
                raise self._mixed("dates", place, iso)
        marks = [self.dates[sign] for sign in ("/", "-", ".") if sign in self.dates]
        if len(marks) > 1:
            raise self._mixed("dates", *marks[:2])
        day_first, month_first = self.dates.get("day first"), self.dates.get("month first")
        if "." in self.dates:
            day_first = day_first or self.dates["."]
        if day_first and month_first:
            raise self._mixed("dates", day_first, month_first)
        for found, said in ((day_first, DateOrder.DMY), (month_first, DateOrder.MDY)):
            if found:
                return said
        if told:
            return DateOrder(told)
        if either := self.dates.get("either"):
            raise InputError(
                f"{self.file}, {either}: day and month cannot be told apart, no date of the file "
                "has a day after the 12th",
                hint="say which comes first with --dates dmy or --dates mdy",
            )
        return None

    def _decimal(self, told: str) -> str:
        point, comma = self.numbers.get("."), self.numbers.get(",")
        if point and comma:
            raise self._mixed("numbers", point, comma)
        for place, sign in ((point, "."), (comma, ",")):
            if place:
                return sign
        # Dates with a T are as a program wrote them: no spreadsheet has touched the file.
        if told or self.timed or "either" not in self.numbers:
            return told or "."
        raise InputError(
            f"{self.file}, {self.numbers['either']}: it cannot be told whether the sign marks "
            "decimals or thousands",
            hint="say it with --decimal . or --decimal ,",
        )

    def _mixed(self, what: str, one: Place, other: Place) -> InputError:
        return InputError(
            f"{self.file} mixes two ways of writing {what}: {one}; {other}",
            hint="export the file again, or split it; nothing is read from a mixed file",
        )


def _date_sorts(text: str) -> tuple[str, ...]:
    found = _DATE.fullmatch(text)
    if found is None:
        return ()
    first, sign, second, third = found.groups()
    if len(first) == 4:
        return ("iso",)
    if len(third) != 4:
        return ()
    a, b = int(first), int(second)
    if a > 12 >= b:
        return (sign, "day first")
    if b > 12 >= a:
        return (sign, "month first")
    return (sign,) if a == b or sign == "." else (sign, "either")


_SEEN: dict[str, str] = {}


def decimal_of(value: str) -> str:
    """Say which sign marks the decimals of a number: `.`, `,`, `either`, or nothing."""
    text = value.strip()
    shape = text.translate(_DIGITS)
    # A leading zero cannot head a group of thousands, so 0.123 is told apart from 9.123.
    if text.lstrip("+-(")[:1] == "0":
        shape = f"0{shape}"
    known = _SEEN.get(shape)
    if known is None:
        known = _decimal_of(text)
        if len(_SEEN) < 10_000:
            _SEEN[shape] = known
    return known


def _decimal_of(value: str) -> str:
    text = _bare(value)
    if text is None:
        return ""
    mantissa = re.split("[eE]", text.lstrip("+-"))[0]
    points, commas = mantissa.count("."), mantissa.count(",")
    if not points and not commas:
        return ""
    if points and commas:
        return "." if mantissa.rindex(".") > mantissa.rindex(",") else ","
    sign, other = (".", ",") if points else (",", ".")
    if mantissa.count(sign) > 1:
        return other
    before, _, after = mantissa.partition(sign)
    grouped = len(after) == 3 and 1 <= len(before) <= 3 and before[0] != "0"
    return "either" if grouped and mantissa == text.lstrip("+-") else sign


def _bare(value: str) -> str | None:
    """Return a number without spaces, apostrophes and the accountant's brackets; None: it is none."""
    text = value.strip().translate(_SPACES).replace("−", "-")
    if text.startswith("(") and text.endswith(")"):
        text = f"-{text[1:-1]}"
    elif text.endswith("-"):
        text = f"-{text[:-1]}"
    return text.removeprefix("+") if _NUMBER.fullmatch(text) else None
