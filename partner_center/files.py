"""Files as Microsoft delivers them: gzip JSON lines, and CSV bare or inside a ZIP.

What a file is, is read from its first bytes, never from its name. Sizes are bounded before anything
is unpacked. A broken file is an `InputError` of one sentence; a broken line is a `Finding`, and the
others go on.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from domain.problems import Finding, InputError
from domain.subscription import CostLine
from partner_center.billing import cost_lines_of
from partner_center.wire import fault_of
from transport import exact_json

LINE_LIMIT = 4 << 20
UNPACKED_LIMIT = 1 << 30


def cost_lines_in(
    paths: Iterable[Path], invoice_id: str = "", *, distinct: bool = False
) -> Iterator[CostLine | Finding]:
    """Read the reconciliation lines of one invoice from its files, JSON lines or CSV.

    `distinct`: a line that an earlier file has already is left out. A line's key is made from all
    that makes it this line (`CostLineWire.mark`) and the number of its repeat; numbered file by
    file, what two files share has one key, and what one file repeats has several.
    """
    if not distinct:
        yield from cost_lines_of((row for path in paths for row in rows_in(path)), invoice_id)
        return
    seen: set[str] = set()
    for path in paths:
        for line in cost_lines_of(rows_in(path), invoice_id):
            if isinstance(line, CostLine):
                if line.key in seen:
                    continue
                seen.add(line.key)
            yield line


def rows_in(path: Path) -> Iterator[dict[str, Any] | Finding]:
    """Yield the rows of a file: JSON lines where it begins like one, else CSV."""
    with _unpacked(path) as stream:
        start = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    return json_lines(path) if start[:1] in (b"{", b"") else csv_rows(path)


def json_lines(path: Path) -> Iterator[dict[str, Any] | Finding]:
    """Yield one object for each line; numbers are exact."""
    with _unpacked(path) as stream:
        number = 0
        while line := stream.readline(LINE_LIMIT + 1):
            if len(line) > LINE_LIMIT:
                raise InputError(f"{path.name} has a line of more than {LINE_LIMIT} bytes")
            number += 1
            try:
                row = exact_json.loads(line) if line.strip() else None
            except ValueError:
                row = []  # neither blank nor an object
            if isinstance(row, dict):
                yield row
            elif row is not None:
                yield fault_of(
                    "it is not one JSON object on a line",
                    check="line",
                    record=f"line {number} of {path.name}",
                )


def csv_rows(path: Path, required: Iterable[str] = ()) -> Iterator[dict[str, Any] | Finding]:
    """Yield one mapping by column name for each row of a CSV file (RFC 4180).

    `required`: columns, without regard to case and spaces, without which the file is refused.
    """
    with _unpacked(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise InputError(f"{path.name} is empty: it has no header")
            known = {name.lower().replace(" ", "") for name in header}
            if missing := sorted(set(required) - known):
                raise InputError(f"{path.name} has no column {', '.join(missing)}")
            for row in reader:
                if len(row) == len(header):
                    yield dict(zip(header, row, strict=True))
                elif row:
                    yield fault_of(
                        f"it has {len(row)} fields, the header {len(header)}",
                        check="line",
                        record=f"line {reader.line_num} of {path.name}",
                    )
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(
                f"{path.name}, line {max(1, reader.line_num)}: not readable as CSV ({error})"
            ) from error


@contextmanager
def _unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """Open the content of a file: of a gzip, of the only member of a ZIP, or the file itself."""
    try:
        with path.open("rb") as plain:
            magic = plain.read(4)
            plain.seek(0)
            if magic[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=plain) as unpacked:
                    yield io.BufferedReader(unpacked)
            elif magic[:2] == b"PK":
                with zipfile.ZipFile(plain) as archive, _only_member(path, archive) as member:
                    yield io.BufferedReader(member)
            else:
                yield plain
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path.name} is damaged or incomplete: {error}") from error


def _only_member(path: Path, archive: zipfile.ZipFile) -> Any:
    members = [one for one in archive.infolist() if not one.is_dir()]
    if len(members) != 1:
        raise InputError(f"{path.name} holds {len(members)} files, not one")
    # A member cannot unpack to more than it declares: zipfile stops there.
    if members[0].file_size > UNPACKED_LIMIT:
        raise InputError(f"{path.name} unpacks to more than {UNPACKED_LIMIT} bytes")
    if members[0].flag_bits & 1:
        raise InputError(f"{path.name} is encrypted")
    return archive.open(members[0])
