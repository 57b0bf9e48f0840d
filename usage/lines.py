"""Usage lines read exactly: from gzip JSON lines to a relation in SQL, part by part, on all cores.

DuckDB's own JSON reader goes through a double, and so does everything that asks it for the text of a
number. Two ways keep every digit, and give the same rows:

- *split*: the parts that Microsoft writes are JSON with the attributes in one order. Cut at `,"`
  such a line falls into one piece for each attribute, `Quantity":24.0`, which begins with its name
  and holds the number as it was written. A quote inside a value is escaped, so no value can look
  like a cut but one that ends in a comma, and that makes one piece too many. A part is taken this
  way only if every line of it falls into the same pieces and has no fault at all; else all of it
  is parsed.
- *parse*: `json_transform_strict` on each line, for whatever else is JSON.

A part is inflated by igzip into one scratch file for each thread, written over again: no more than
that lies on disk, and DuckDB sees plain text. Limits: a line has at most 1 MiB. Of a line that is
split only the attributes asked for are looked at, so what is no JSON elsewhere in it is not seen, nor
is a name given twice in the place of another one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from gzip import BadGzipFile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from domain.problems import InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_LINE_BYTES = 1_048_576
DECIMALS = 18
NUMBER = f"DECIMAL(38,{DECIMALS})"
"""What a quantity or an amount is read as: twenty digits before the point, eighteen behind it."""

_BLOCK = 1 << 18  # inflating a whole part into memory halves the speed: page faults
_BUFFER = 8_000_000  # DuckDB's 32 MB buffers are given back and faulted in again for each part
_SEPARATORS = ((",", ":"), (", ", ": "))
_JSON_NUMBER = "-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]{1,3})?"
_BARE = "(null|true|false|-?[0-9.]+)"  # values of text attributes that are not quoted
_PLAIN_NUMBER = "-?[0-9]{1,20}([.][0-9]{1,18})?"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which attributes of a line are read, by Microsoft's names; the others are not looked at."""

    text: tuple[str, ...]
    dates: tuple[str, ...]
    numbers: tuple[str, ...]
    needed: tuple[str, ...]
    """Those of `text` without which a line is nobody's; dates and numbers are needed as well."""
    plain: tuple[str, ...] = ()
    """Those of `text` in which a control character is a fault."""
    numbered: bool = False
    """Whether every line needs its number; that costs an eighth of all."""

    @property
    def names(self) -> tuple[str, ...]:
        """All attributes."""
        return (*self.text, *self.dates, *self.numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of an export; `relation` is SQL text that yields its lines, but blank ones.

    Columns: `fault` (in a few words why the line cannot be used, or NULL), `number` (which line it
    is, from 1; where the shape is not numbered, 0 in a part without faults), and each attribute
    under its name: a DATE, a DECIMAL(38,18), or of a text its piece, `MeterCategory":"Storage"`.
    Taking the name off a piece (`value`) costs more than grouping by it, so that is left until there
    are few.
    """

    path: Path
    relation: str
    is_split: bool


def value(name: str) -> str:
    """SQL for the text that a piece holds; NULL where there is none."""
    column = f'"{name}"'
    before = len(name) + 4
    plain = f"substr({column}, {before}, length({column}) - {before})"
    return (
        f"CASE WHEN starts_with({column}, {text(name + chr(34) + ':' + chr(34))})"
        f" AND NOT contains({column}, '\\') THEN {plain}"
        f" ELSE json_extract_string('{{\"' || {column} || '}}', '$.\"{name}\"') END"
    )


def each_part(
    paths: Sequence[Path],
    shape: Shape,
    work: Callable[[DuckDBPyConnection, Part], T],
    *,
    scratch: Path,
    memory_mb: int,
    threads: int,
    progress: Callable[[Path, T], None] = lambda _path, _result: None,
) -> list[T]:
    """Let `work` query each part by `ask`, and return what it returned, in the order of the paths.

    `work` may be called twice for one part and must then replace what it made. Every thread has a
    database of its own with its share of `memory_mb` (DuckDB's limit, not the size of the process)
    that spills into `scratch`. InputError where a file is damaged or cut off.
    """
    threads = min(threads, max(1, len(paths)))
    own = threading.local()
    opened: list[DuckDBPyConnection] = []
    scratch.mkdir(parents=True, exist_ok=True)

    def one(path: Path) -> T:
        if not hasattr(own, "database"):
            own.folder = Path(folder) / str(threading.get_ident())
            own.database = connect(own.folder, memory_mb=max(64, memory_mb // threads), threads=1)
            opened.append(own.database)
        made = _work_on(own.database, path, own.folder / "part.json", shape, work)
        progress(path, made)
        return made

    with TemporaryDirectory(dir=scratch, prefix="lines-") as folder:
        try:
            with ThreadPoolExecutor(threads) as pool:
                return list(pool.map(one, paths))
        finally:
            for database in opened:
                database.close()


def checked_scratch(scratch: Path) -> Path:
    """Return a folder whose name DuckDB takes as it is; InputError for one that is a pattern."""
    if set(str(scratch)) & set("*?[]\\"):
        raise InputError(
            f"the scratch folder {scratch} has one of * ? [ ] \\ in its name",
            hint="choose one without: DuckDB would take it for a pattern",
        )
    return scratch


def connect(scratch: Path, *, memory_mb: int, threads: int) -> DuckDBPyConnection:
    """Open a database in memory that spills into a folder and loads nothing from elsewhere."""
    import duckdb  # noqa: PLC0415 - a heavy import that only usage needs

    scratch.mkdir(parents=True, exist_ok=True)
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": f"{memory_mb}MB",
        "temp_directory": str(scratch),
        "autoinstall_known_extensions": False,
    }
    return duckdb.connect(":memory:", config=config)


def ask(database: DuckDBPyConnection, part: Part, query: str) -> list[tuple[Any, ...]]:
    """Run a query over a part; where a split part is not like its first line it is parsed instead."""
    import duckdb  # noqa: PLC0415 - see connect

    try:
        return database.execute(query).fetchall()
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        if part.is_split:
            raise _UnlikeError from error
        said = str(error)
        fault = f"cannot be read as lines of JSON in UTF-8: {said.splitlines()[0][:200]}"
        if "maximum line size" in said.lower():
            fault = f"has a line of more than {MAX_LINE_BYTES:,} bytes"
        raise InputError(
            f"the usage file {part.path.name} {fault}",
            hint="fetch the file again; nothing is rated from it",
        ) from None
    except duckdb.OutOfRangeException:
        raise InputError(
            f"the sums of the usage file {part.path.name} have more than 38 digits",
            hint="look for an amount that cannot be meant",
        ) from None


def text(content: str) -> str:
    """Write a text as a literal of SQL."""
    return "'" + content.replace("'", "''") + "'"


def trim(number: Decimal) -> Decimal:
    """Drop the zeros that a column's type added."""
    digits = f"{number:f}"  # normalize() would round to the context's 28 digits
    return Decimal(digits.rstrip("0").rstrip(".") if "." in digits else digits)


class _UnlikeError(Exception):
    """A part is not what its first line promised."""


def _work_on(
    database: DuckDBPyConnection,
    path: Path,
    plain: Path,
    shape: Shape,
    work: Callable[[DuckDBPyConnection, Part], T],
) -> T:
    first = _inflate(path, plain)
    split = _split(plain, first, shape)
    if split is not None:
        try:
            relation = _judged(split, shape, is_split=True)
            return work(database, Part(path=path, relation=relation, is_split=True))
        except _UnlikeError:
            pass
    parsed = _judged(_parsed(plain, shape), shape, is_split=False)
    return work(database, Part(path=path, relation=parsed, is_split=False))


def _inflate(path: Path, plain: Path) -> bytes:
    """Inflate a gzip over what was there; returns the first line."""
    from isal import igzip, isal_zlib  # noqa: PLC0415 - compiled code that only usage needs

    if not path.stat().st_size:
        raise InputError(
            f"the usage file {path.name} is empty, not even a gzip of nothing: not reconcilable",
            hint="fetch the file again; nothing is rated from a part of an export",
        )
    damaged: Any = isal_zlib.error  # its stub does not say that it is an exception
    head = b""
    try:
        # Written over, not anew: fresh pages would cost as much as all the rest.
        with (
            igzip.open(path) as packed,  # type: ignore[no-untyped-call]
            plain.open("r+b" if plain.exists() else "w+b", 0) as out,
        ):
            while block := packed.read(_BLOCK):
                if len(head) < MAX_LINE_BYTES and b"\n" not in head:
                    head += block
                out.write(block)
            out.truncate()
    except (EOFError, BadGzipFile, damaged) as error:
        raise InputError(
            f"the usage file {path.name} is damaged or cut off ({error}): not reconcilable",
            hint="fetch the file again; nothing is rated from a part of an export",
        ) from None
    return head.split(b"\n", 1)[0].removeprefix(b"\xef\xbb\xbf").rstrip(b"\r")


# --- two ways from a line to its attributes ------------------------------------------------------


def _read_csv(plain: Path, columns: int, cut: str) -> str:
    named = ", ".join(f"c{place}: 'VARCHAR'" for place in range(columns))
    return (
        f"read_csv({text(str(plain))}, columns = {{{named}}}, auto_detect = false, header = false,"
        f" delim = {text(cut)}, quote = '', escape = '', max_line_size = {MAX_LINE_BYTES},"
        # Strictly, a line that falls into more pieces is an error; where there is one, nothing can.
        f" strict_mode = {'true' if columns > 1 else 'false'},"
        f" buffer_size = {_BUFFER}, compression = 'none', hive_partitioning = false)"
    )


def _split(plain: Path, first: bytes, shape: Shape) -> str | None:
    """SQL that cuts every line like the first one; None where that one cannot be cut."""
    try:
        line = first.decode()
        # Without the pairs a name that is given twice would be hidden.
        pairs = json.loads(line, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return None
    if not line.startswith("{") or not pairs:
        return None
    names = [name for name, _ in pairs]
    for comma, colon in _SEPARATORS:
        pieces = line[2:-1].split(comma + '"')
        fits = len(pieces) == len(set(names)) > 1 and all(
            piece.startswith(f'{name}"{colon}') for name, piece in zip(names, pieces, strict=False)
        )
        if fits and set(names) >= set(shape.needed + shape.dates + shape.numbers):
            missing = [name for name in shape.text if name not in names]
            found = [
                _piece(name, names, colon, pieces, shape)
                for name in shape.names
                if name not in missing
            ]
            columns = [column for column, _ in found]
            columns += [f'NULL::VARCHAR AS "{name}"' for name in missing]
            whole = ["starts_with(c0, '{\"')", f"ends_with(c{len(names) - 1}, '}}')"]
            whole += [check for _, check in found]
            if missing:  # another line may have them, in the place of what is not looked at
                whole += [
                    f"starts_with(c{place}, {text(('{' + chr(34)) * (not place) + name + chr(34))})"
                    for place, name in enumerate(names)
                ]
            number = "row_number() OVER ()" if shape.numbered else "0"
            return (
                f"SELECT {number} AS number, {', '.join(columns)},"
                f" CASE WHEN {' AND '.join(whole)} THEN NULL::VARCHAR ELSE error('unlike') END"
                f" AS broken FROM {_read_csv(plain, len(names), comma + chr(34))}"
            )
    return None


def _piece(
    name: str, names: Sequence[str], colon: str, pieces: Sequence[str], shape: Shape
) -> tuple[str, str]:
    """SQL for an attribute, and for the check that a line has it in its place.

    Of a text that is the piece as it stands, of a date and a number the value as it was written.
    """
    place, last = names.index(name), len(names) - 1
    piece = "substr(c0, 3)" if place == 0 else f"c{place}"
    piece = f"left({piece}, -1)" if place == last else piece
    before = f'{name}"{colon}'
    if name in shape.text:
        column = piece
        if colon != ":":
            column = f"replace({piece}, {text(before)}, {text(name + chr(34) + ':')})"
        opened = text(before + '"')
        # The quote that opens a value does not close it.
        closed = (
            f"starts_with({piece}, {opened}) AND ends_with({piece}, '\"') AND {piece} <> {opened}"
        )
        if name in shape.plain:
            check = f"{closed} AND NOT contains({piece}, '\\')"
        else:
            whole = f"(NOT contains({piece}, '\\') OR json_valid('{{\"' || {piece} || '}}'))"
            bare = f"regexp_full_match({piece}, {text(before + _BARE)})"
            check = f"(({closed} AND {whole}) OR {bare})"
        return f'{column} AS "{name}"', check
    start = len(before) + 1
    quoted = pieces[place].startswith(before + '"')
    before += '"' * quoted
    check = f"starts_with({piece}, {text(before)})"
    if not quoted:
        check += f" AND NOT starts_with({piece}, {text(before + chr(34))})"
    if name in shape.dates:
        return f'substr({piece}, {start + quoted}, 10) AS "{name}"', check
    if not quoted:
        return f'substr({piece}, {start}) AS "{name}"', check
    inner = f"substr({piece}, {start + 1}, length({piece}) - {start + 1})"
    return f'{inner} AS "{name}"', f"{check} AND ends_with({piece}, '\"')"


def _parsed(plain: Path, shape: Shape) -> str:
    """SQL that parses every line: strictly first, and laxly what is not whole, to tell the fault.

    The digits of a number are found in the text of the line, where its name cannot stand inside
    another value (its quotes would be escaped); what was found must be what was parsed.
    """
    kinds = dict.fromkeys((*shape.text, *shape.dates), "VARCHAR")
    kinds |= dict.fromkeys(shape.numbers, NUMBER)
    wanted = text(json.dumps(kinds))

    def parsed(name: str) -> str:
        return f'CASE WHEN w IS NULL THEN j."{name}" ELSE w."{name}" END'

    columns = [
        f'{text(name + chr(34) + ":")} || to_json({parsed(name)}) AS "{name}"'
        for name in shape.text
    ]
    columns += [f'left({parsed(name)}, 10) AS "{name}"' for name in shape.dates]
    for name in shape.numbers:
        token = f'regexp_extract(l, \'"{name}"\\s*:\\s*("[^"\\\\]*"|[^,}}\\s]*)\', 1)'
        found = f"trim({token}, '\"')"
        same = f"{parsed(name)} IS NOT DISTINCT FROM TRY_CAST({found} AS {NUMBER})"
        columns.append(f'CASE WHEN {same} THEN {found} END AS "{name}"')
    twice = "len(json_keys(l)) <> len(list_distinct(json_keys(l)))"
    return (
        f"SELECT number, {', '.join(columns)},"
        " CASE WHEN w IS NOT NULL THEN NULL WHEN j IS NULL THEN 'is no JSON object'"
        f" WHEN {twice} THEN 'gives a name twice' END AS broken"
        f" FROM (SELECT *, CASE WHEN w IS NULL AND json_valid(l) AND json_type(l) = 'OBJECT'"
        f" THEN json_transform(l, {wanted}) END AS j"
        f" FROM (SELECT row_number() OVER () AS number, c0 AS l,"
        f" TRY(json_transform_strict(c0, {wanted})) AS w"
        f" FROM {_read_csv(plain, 1, chr(1))} WHERE trim(c0, ' \t\r') <> ''))"
    )


# --- what both have in common --------------------------------------------------------------------


def _judged(relation: str, shape: Shape, *, is_split: bool) -> str:
    """SQL that gives dates and numbers their type, and every line that cannot be used its fault.

    A split part has no faulty lines: which fault it is, parsing tells.
    """
    good = ["broken IS NULL"]
    faults = ["WHEN broken IS NOT NULL THEN broken"]
    for name in shape.plain if not is_split else ():  # a split part has no escapes in these
        odd = f"regexp_matches(coalesce({value(name)}, ''), '[\\x00-\\x1f]')"
        good.append(f"NOT {odd}")
        faults.append(f"WHEN broken IS NULL AND {odd} THEN 'has a control character in {name}'")
    for name in shape.needed:
        empty = [text(f'{name}":{nothing}') for nothing in ('""', "null")]
        good.append(f'"{name}" NOT IN ({", ".join(empty)})')
        faults.append(
            f"WHEN coalesce(\"{name}\" IN ({', '.join(empty)}), true) THEN 'has no {name}'"
        )
    columns = [f'"{name}"' for name in shape.text]
    for name in shape.dates:
        columns.append(f'TRY_CAST("{name}" AS DATE) AS "{name}"')
        good.append(f'"{name}" IS NOT NULL')
        faults.append(f"WHEN \"{name}\" IS NULL THEN 'has no {name} that is a date'")
    for name in shape.numbers:
        told = f'"{name} as written"'
        columns += [f'"{name}" AS {told}', f'{_decimal(name)} AS "{name}"']
        good.append(f'"{name}" IS NOT NULL')
        too_large = text(f"has no {name} that is a number below 10 to the 20th")
        number = f"regexp_full_match({told}, '{_JSON_NUMBER}')"
        faults += [
            f"WHEN {told} IS NULL OR NOT {number} THEN 'has no {name} that is a number'",
            f'WHEN "{name}" IS NULL AND TRY_CAST({told} AS {NUMBER}) IS NULL THEN {too_large}',
            f"WHEN \"{name}\" IS NULL THEN 'has a number with more than {DECIMALS} decimals'",
        ]
    names = ", ".join(f'"{name}"' for name in shape.names)
    fault = "error('unlike')" if is_split else f"CASE {' '.join(faults)} END"
    return (
        f"(SELECT number, {names}, CASE WHEN {' AND '.join(good)} THEN NULL::VARCHAR"
        f" ELSE {fault} END AS fault"
        f" FROM (SELECT number, broken, {', '.join(columns)} FROM ({relation})))"
    )


def _decimal(name: str) -> str:
    """SQL for a number that has no more decimals than it may have; else NULL."""
    column = f'"{name}"'
    fraction = f"regexp_extract({column}, '[.]([0-9]+)', 1)"
    exponent = f"coalesce(TRY_CAST(regexp_extract({column}, '[eE]([+-]?[0-9]+)', 1) AS INTEGER), 0)"
    digits = f"regexp_replace(regexp_extract({column}, '^[^eE]*'), '[^0-9]', '', 'g')"
    zeros = f"(length({digits}) - length(rtrim({digits}, '0')))"
    cast = f"TRY_CAST({column} AS {NUMBER})"
    return (
        f"CASE WHEN regexp_full_match({column}, '{_PLAIN_NUMBER}') THEN {cast}"
        f" WHEN regexp_full_match({column}, '{_JSON_NUMBER}')"
        f" AND (length({fraction}) - {exponent} - {zeros} <= {DECIMALS} OR rtrim({digits}, '0') = '')"
        f" THEN {cast} END"
    )
