"""Files that a person downloaded from Partner Center, in whatever form they come.

Plain, .gz or .zip; UTF-8 or UTF-16, with or without a mark; CSV with comma, semicolon or tab; JSON
lines, an array, or the `{"items": [...]}` of the v1 API; old and new column names. What a file holds
is told by its columns and never by its name. What cannot be read as a whole is refused with one
sentence; a row that cannot be read is a `Finding` with its file and line, and the others go on.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import IO, Any

from domain.problems import Finding, InputError
from partner_center.columns import (
    DATES,
    LEGACY,
    NAMES,
    NUMBERS,
    Kind,
    NotOursError,
    column_of,
    folded,
    kind_of,
)
from partner_center.notation import Evidence, Notation
from partner_center.wire import fault_of
from transport import exact_json

UNPACKED_LIMIT = 32 << 30
_HEAD = 1 << 16
_LINE_LIMIT = 4 << 20
csv.field_size_limit(_LINE_LIMIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One file, and how to read it. `delimiter` is empty for JSON."""

    path: Path
    name: str
    """For people: the file, and the member of a ZIP; no two files of a run have the same."""
    kind: Kind
    encoding: str
    gzipped: bool
    delimiter: str = ""
    header: tuple[str, ...] = ()
    """Column names as written; of JSON, the members of the first records."""
    folder: str = ""
    """Where it lies, on the disk or in a ZIP: a manifest speaks of the files beside it."""
    json_lines: bool = False
    told_count: int | None = None
    """How many records the answer has in all its pages, where it says so."""

    @property
    def base(self) -> str:
        """The name alone, as a manifest writes it."""
        return self.name.replace("\\", "/").rpartition("/")[2]

    @property
    def columns(self) -> tuple[str, ...]:
        """Present names of the columns, in the order of the header."""
        return tuple(column_of(name) for name in self.header)


# --- which files there are -------------------------------------------------------------------------


def find(paths: Iterable[Path], scratch: Path) -> tuple[list[Download], list[str]]:
    """Recognise all files, those of folders and ZIPs too; the second value tells what was passed over.

    `scratch` takes the members of ZIPs. InputError where a file is ours and cannot be read, or was
    named and is not ours.
    """
    found: list[Download] = []
    passed: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.name[0] != ".")
            if not inside:
                raise InputError(f"the folder {path} is empty")
            files = [(one, str(one.relative_to(path)), False) for one in inside]
        elif path.is_file():
            files = [(path, path.name, True)]
        else:
            raise InputError(f"there is no file or folder {path}")
        for file, name, wanted in files:
            for member, label, folder in _members(file, name, scratch):
                try:
                    found.append(replace(recognise(member, label), folder=folder))
                except NotOursError as error:
                    if wanted and member is file:
                        raise
                    passed.append(str(error))
    if not found:
        raise InputError(
            f"none of {len(passed)} files is one that Partner Center exports: {passed[0]}"
            if passed
            else "there are no files to audit",
            hint="give reconciliation or daily usage files, as CSV or JSON",
        )
    names = [one.path.resolve() for one in found]
    found = [one for n, one in enumerate(found) if one.path.resolve() not in names[:n]]
    for deeper in (lambda one: PurePath(one.folder).name, lambda one: one.folder):
        twice = Counter(one.name for one in found)
        found = [
            one if twice[one.name] == 1 else replace(one, name=f"{deeper(one)}/{one.base}")
            for one in found
        ]
    return found, passed


def _members(path: Path, name: str, scratch: Path) -> Iterator[tuple[Path, str, str]]:
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic[:4] != b"PK\x03\x04":
        yield path, name, str(path.parent)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if any(one.filename == "[Content_Types].xml" for one in members):
                raise InputError(
                    f"{name} is an Excel workbook",
                    hint="save the sheet as CSV UTF-8, or give the file that Partner Center delivered",
                )
            if sum(one.file_size for one in members) > UNPACKED_LIMIT:
                raise InputError(f"{name} unpacks to more than {UNPACKED_LIMIT >> 30} GB")
            for number, one in enumerate(members):
                if one.filename.startswith("__MACOSX/"):
                    continue
                if one.flag_bits & 1:
                    raise InputError(f"{name} is encrypted", hint="unpack it first")
                scratch.mkdir(parents=True, exist_ok=True)
                # Never the member's own name: it may point anywhere.
                target = scratch / f"member-{len(list(scratch.iterdir()))}-{number}"
                with archive.open(one) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                label = name if len(members) == 1 else f"{name}/{one.filename}"
                yield target, label, str(path / PurePath(one.filename).parent)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f"{name} is damaged or incomplete: {error}") from error


# --- what a file is --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """Which files are looked for: their column names, folded, and what tells the kind from a header."""

    names: frozenset[str]
    kind_of: Callable[[str, Sequence[str]], Kind]


def recognise(path: Path, name: str, layout: Layout | None = None) -> Download:
    """Tell what a file holds and how; NotOursError, or InputError where it is ours and unreadable.

    Without a `layout` it is one of Partner Center's.
    """
    layout = layout or Layout(frozenset({*NAMES, *LEGACY}), kind_of)
    with path.open("rb") as plain:
        gzipped = plain.read(2) == b"\x1f\x8b"
    with _bytes(path, name, gzipped=gzipped) as stream:
        head = stream.read(_HEAD)
    encoding = _encoding(head)
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        raise NotOursError(
            f"{name} is no text in UTF-8 or UTF-16", hint="save it as CSV UTF-8"
        ) from None
    if not text.strip():
        raise InputError(f"{name} is empty", hint="download it again")
    if text.lstrip()[0] in "{[":
        return _recognise_json(path, name, text, layout, encoding=encoding, gzipped=gzipped)
    return _recognise_csv(path, name, text, layout, encoding=encoding, gzipped=gzipped)


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head[1:40:2].count(0) > 10:
        return "utf-16-le"
    if head[0:40:2].count(0) > 10:
        return "utf-16-be"
    return "utf-8"


def _recognise_csv(
    path: Path, name: str, text: str, layout: Layout, *, encoding: str, gzipped: bool
) -> Download:
    first = text.splitlines()[0]
    if re.fullmatch(r"sep=.", first.strip()):  # Excel's own hint, which other programs do not read
        raise InputError(
            f"{name} begins with the line {first.strip()!r}", hint="take that first line away"
        )
    best: tuple[int, str, list[str]] = (-1, ",", [])
    for delimiter in ",;\t|":
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        known = sum(folded(one) in layout.names for one in header)
        if known > best[0]:
            best = (known, delimiter, header)
    _, delimiter, header = best
    kind = layout.kind_of(name, header)
    seen: dict[str, str] = {}
    for written in header:
        if (
            written.strip()
            and seen.setdefault(column := column_of(written), written) is not written
        ):
            raise InputError(
                f"{name} has two columns for {column}: {seen[column]} and {written}",
                hint="take one of them away",
            )
    return Download(
        path=path,
        name=name,
        kind=kind,
        encoding=encoding,
        gzipped=gzipped,
        delimiter=delimiter,
        header=tuple(header),
    )


def _recognise_json(
    path: Path, name: str, text: str, layout: Layout, *, encoding: str, gzipped: bool
) -> Download:
    probe = Download(path=path, name=name, kind=Kind.USAGE, encoding=encoding, gzipped=gzipped)
    members: dict[str, None] = {}
    for number, (_, record) in enumerate(_json_texts(probe)):
        if isinstance(record, Finding):
            continue
        try:
            value = exact_json.loads(record)
        except ValueError:
            continue
        if isinstance(value, dict):
            members.update(dict.fromkeys(value))
        if number >= 200:
            break
    if not members:
        if re.match(r"\s*(\[\s*\]|\{.*?\"(?:items|value)\"\s*:\s*\[\s*\])", text, re.DOTALL):
            raise InputError(f"{name} holds no records: an empty list", hint="download it again")
        raise InputError(f"{name} is not readable as JSON", hint="download it again")
    header = tuple(members)
    kind = layout.kind_of(name, header)
    lines = text.lstrip()[0] == "{" and not _LIST.match(text)
    return Download(
        path=path,
        name=name,
        kind=kind,
        encoding=encoding,
        gzipped=gzipped,
        header=header,
        json_lines=lines and _first_line_is_whole(text),
        told_count=_told_count(text),
    )


def _told_count(text: str) -> int | None:
    start = _LIST.match(text)
    told = re.search(r'"totalCount"\s*:\s*(\d+)', start[0]) if start else None
    return int(told[1]) if told else None


def _first_line_is_whole(text: str) -> bool:
    try:
        return isinstance(json.loads(text.lstrip().split("\n", 1)[0]), dict)
    except ValueError:
        return False


# --- reading ---------------------------------------------------------------------------------------


@contextmanager
def _bytes(path: Path, name: str, *, gzipped: bool) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as plain:
            if not gzipped:
                yield plain
                return
            with gzip.GzipFile(fileobj=plain) as unpacked:
                yield io.BufferedReader(unpacked, 1 << 20)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{name} is damaged or incomplete: {error}") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from error


@contextmanager
def _text(download: Download) -> Iterator[io.TextIOWrapper]:
    with _bytes(download.path, download.name, gzipped=download.gzipped) as stream:
        text = io.TextIOWrapper(stream, encoding=download.encoding, newline="")
        try:
            yield text
        except UnicodeError as error:
            raise InputError(
                f"{download.name} is not wholly readable as {download.encoding} ({error.reason})"
                if isinstance(error, UnicodeDecodeError)
                else f"{download.name} is not wholly readable as {download.encoding}",
                hint="save it as CSV UTF-8",
            ) from error
        finally:
            if not stream.closed:
                text.detach()


def rows_of(download: Download) -> Iterator[tuple[str, dict[str, Any] | Finding]]:
    """Yield each row with its place; columns by their present names, values as written."""
    return _csv_rows(download) if download.delimiter else _json_rows(download)


def _csv_rows(download: Download) -> Iterator[tuple[str, dict[str, Any] | Finding]]:
    columns = download.columns
    with _text(download) as text:
        reader = csv.reader(text, delimiter=download.delimiter, strict=True)
        try:
            next(reader, None)
            for row in reader:
                place = f"line {reader.line_num}"
                if len(row) == len(columns):
                    yield place, dict(zip(columns, row, strict=True))
                elif any(cell.strip() for cell in row):
                    fault = f"it has {len(row)} fields, the header {len(columns)}"
                    yield place, _fault(download, place, fault)
        except csv.Error as error:
            raise InputError(
                f"{download.name}, line {max(1, reader.line_num)}: not readable as CSV ({error})"
            ) from error


def _json_rows(download: Download) -> Iterator[tuple[str, dict[str, Any] | Finding]]:
    for place, record in _json_texts(download):
        if isinstance(record, Finding):
            yield place, record
            continue
        try:
            value = exact_json.loads(record)
        except ValueError:
            value = None
        if isinstance(value, dict):
            yield place, {column_of(name): one for name, one in value.items()}
        else:
            yield place, _fault(download, place, "it is not one JSON object")


def _fault(download: Download, place: str, fault: str) -> Finding:
    return fault_of(fault, check="line", record=f"{place} of {download.name}")


_LIST = re.compile(
    r'\s*\{(?:\s*"[^"]*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[\d.eE+-]+|null|true|false)\s*,)*'
    r'\s*"(?:items|value)"\s*:\s*\['
)
_BETWEEN = re.compile(r"[\s,]*")


def _json_texts(download: Download) -> Iterator[tuple[str, str | Finding]]:
    """Yield the text of each object of a JSON file, of any size, with its place."""
    with _text(download) as text:
        head = text.read(_HEAD)
        start = _LIST.match(head)
        if start or head.lstrip()[:1] == "[":
            begin = start.end() if start else head.index("[") + 1
            yield from _listed(download, head[begin:], text, close="]}" if start else "]")
        elif _first_line_is_whole(head) or "\n" not in head.strip():
            yield from _lined(download, head, text)
        else:
            # objects over several lines, one after another
            yield from _listed(download, head, text, close="")


def _lined(
    download: Download, head: str, text: io.TextIOWrapper
) -> Iterator[tuple[str, str | Finding]]:
    *whole, rest = head.split("\n")
    number = 0
    for line in whole:
        number += 1
        if line.strip():
            yield f"line {number}", line
    line = rest + text.readline(_LINE_LIMIT)
    while line:
        number += 1
        if len(line) > _LINE_LIMIT:
            raise InputError(f"{download.name} has a line of more than {_LINE_LIMIT} characters")
        if line.strip():
            yield f"line {number}", line
        line = text.readline(_LINE_LIMIT + 1)


def _listed(
    download: Download, head: str, text: io.TextIOWrapper, *, close: str
) -> Iterator[tuple[str, str | Finding]]:
    """Yield the objects of a list; `close` is what must stand behind it, or the file is not whole."""
    decoder = json.JSONDecoder()
    buffer, place, number = head, 0, 0
    while True:
        between = _BETWEEN.match(buffer, place)
        place = between.end() if between else place
        if close and buffer[place : place + 1] == "]":
            _ended(download, buffer[place + 1 :] + text.read(_LINE_LIMIT), close[1:], number)
            return
        try:
            _, end = decoder.raw_decode(buffer, place)
            number += 1
            yield f"record {number}", buffer[place:end]
            place = end
        except ValueError:
            more = text.read(_HEAD)
            if not more:
                if place < len(buffer) or close:
                    raise InputError(
                        f"{download.name} breaks off within record {number + 1}, "
                        f"{number} can be read",
                        hint="download it again; nothing is taken from half a file",
                    ) from None
                return
            if len(buffer) - place > _LINE_LIMIT:
                raise InputError(
                    f"{download.name}: record {number + 1} is not readable as JSON"
                ) from None
            buffer, place = buffer[place:] + more, 0


def _ended(download: Download, rest: str, close: str, number: int) -> None:
    """Demand that behind a list only the rest of its own object stands: more is a second file."""
    try:
        whole = isinstance(json.loads(f'{{"": 0{rest}'), dict) if close else not rest.strip()
    except ValueError:
        whole = False
    if not whole:
        raise InputError(
            f"{download.name} goes on behind its list of {number:,} records, or breaks off there: "
            f"{' '.join(rest.split())[:40] or 'nothing closes it'}",
            hint="download it again; of two answers make two files",
        )


def whole_document(download: Download) -> Any:
    """Read a small JSON document at once: invoice heads, a manifest; InputError where it is none."""
    with _text(download) as text:
        content = text.read(256 << 20)
    try:
        return exact_json.loads(content)
    except ValueError:
        return [exact_json.loads(one) for _, one in _json_texts(download) if isinstance(one, str)]


# --- how it writes ---------------------------------------------------------------------------------


def notation_of(
    download: Download,
    *,
    order: str = "",
    decimal: str = "",
    dates: Collection[str] = DATES,
    numbers: Collection[str] = NUMBERS,
) -> Notation:
    """Decide how a CSV file writes dates and numbers, from all its values (`Evidence.decided`)."""
    if not download.delimiter:
        return Notation()
    evidence = Evidence(download.name)
    for place, row in _csv_rows(download):
        if not isinstance(row, Finding):
            for column, value in row.items():
                if value and column in dates:
                    evidence.see_date(column, value, place)
                elif value and column in numbers:
                    evidence.see_number(column, value, place)
    return evidence.decided(order=order, decimal=decimal)


def plain_row(row: dict[str, Any], notation: Notation) -> dict[str, Any]:
    """Return a row with its dates and numbers written as Microsoft writes them."""
    return {
        column: notation.number(value)
        if column in NUMBERS and isinstance(value, str)
        else notation.day(value)
        if column in DATES and isinstance(value, str)
        else value
        for column, value in row.items()
    }


def as_json_lines(download: Download, target: Path) -> int:
    """Write a JSON file as UTF-8 JSON lines, each object's text unchanged; returns their number."""
    count = 0
    with target.open("w", encoding="utf-8", newline="\n") as sink:
        for _, record in _json_texts(download):
            if not isinstance(record, Finding):
                # Line ends outside of texts mean nothing, and texts cannot hold bare ones.
                sink.write(record.replace("\r", " ").replace("\n", " ").strip() + "\n")
                count += 1
    return count


def as_utf8(download: Download, target: Path) -> None:
    """Write a text file as plain UTF-8 without a mark."""
    with _text(download) as text, target.open("w", encoding="utf-8", newline="") as sink:
        shutil.copyfileobj(text, sink, 1 << 20)
