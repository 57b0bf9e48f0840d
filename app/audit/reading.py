"""From files to lines: what was read, what was left out, and whether the files are whole.

Two exports of one invoice are one invoice: lines are matched by what they mean, since a spreadsheet
rewrites digits and an export may lack columns, and are taken once. Where both hold lines that the
other lacks, the files contradict each other, and nothing is proven. Lines that are alike in all fields
inside one export stay, and are told. Nothing that could not be read disappears: it is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.audit.material import UNBILLED, FileRead, Material, incomplete, number_of
from app.audit.merging import merge
from app.audit.proofs import check_heads, check_manifest, check_pages, exports_of, read_heads
from domain.audit import BilledLine, Point, Weight
from domain.money import plain
from domain.problems import Finding
from partner_center import downloads
from partner_center.billing import cost_line_of
from partner_center.columns import DATES, NAMES, NUMBERS, Kind, v1_name
from partner_center.downloads import Download
from partner_center.notation import DateOrder, Evidence
from usage.download import DownloadedUsage, UsageFile, Writing
from usage.downloaded import UsageReader

_EXCEL_ROWS = 1_048_575
_TOTAL = re.compile(r"\s*(grand |sub)?(total|totals|sum|summe|gesamt)\s*:?\s*", re.IGNORECASE)
_LARGE = 8 << 20
"""Bytes from which on it is worth telling that a file is read."""


def read(
    paths: Iterable[Path],
    scratch: Path,
    *,
    order: str = "",
    decimal: str = "",
    note: Callable[[str], None] = lambda _: None,
) -> Material:
    """Read all files; InputError where one of them cannot be read as a whole."""
    found, passed = downloads.find(paths, scratch / "members")
    material = Material()
    note(f"reading {len(found):,} {'file' if len(found) == 1 else 'files'}")
    material.files.extend(FileRead(name="", kind="passed over", note=one) for one in passed)
    usage = sorted((one for one in found if one.kind is Kind.USAGE), key=_fullest)
    if usage:  # first, while there is room: its table is closed before the lines are there
        _read_usage(usage, found, material, scratch, order=order, decimal=decimal, note=note)
    per_file: list[tuple[str, list[BilledLine]]] = []
    for one in sorted(found, key=_fullest):
        if one.kind is Kind.RECONCILIATION:
            if one.path.stat().st_size > _LARGE:
                note(f"reading {one.name}")
            lines = _lines_of(one, material, order=order, decimal=decimal)
            per_file.append((one.name, lines))
        elif one.kind is Kind.INVOICES:
            read_heads(one, material)
    exports = exports_of(found)
    merge([(exports.get(name, name), lines) for name, lines in per_file], material)
    for one in found:
        if one.kind is Kind.MANIFEST:
            check_manifest(one, found, material)
    check_pages(found, per_file, material)
    check_heads(material)
    return material


def _fullest(file: Download) -> tuple[int, bool, str]:
    """Order files so that of two exports the one with more columns and digits comes first."""
    return -len(file.columns), bool(file.delimiter), file.name


# --- reconciliation lines --------------------------------------------------------------------------


def _lines_of(file: Download, material: Material, *, order: str, decimal: str) -> list[BilledLine]:
    notation = downloads.notation_of(file, order=order, decimal=decimal)
    read_as = FileRead(name=file.name, kind=file.kind.value)
    material.files.append(read_as)
    lines: list[BilledLine] = []
    faults: list[Finding] = []
    lost: list[Decimal] = []
    controls: list[tuple[str, Decimal | None]] = []
    repeats: Counter[str] = Counter()
    for place, row in downloads.rows_of(file):
        if isinstance(row, Finding):
            read_as.rows += 1
            faults.append(row)
            continue
        row = downloads.plain_row(row, notation)  # noqa: PLW2901
        if _is_total(row):
            controls.append((place, number_of(row.get("Subtotal")) or number_of(row.get("Total"))))
            continue
        read_as.rows += 1
        line = cost_line_of(row, f"{place} of {file.name}", repeats)
        if isinstance(line, Finding):
            faults.append(line)
            lost.extend(x for x in [number_of(row.get("Subtotal"))] if x is not None)
            continue
        adjustments = row.get("PriceAdjustmentDescription") or ""
        lines.append(
            BilledLine(
                line=line,
                place=f"{file.name} {place}",
                # Without the tax there is nothing to compare a total with.
                total=number_of(row.get("Total"))
                if number_of(row.get("TaxTotal")) is not None
                else None,
                publisher=str(row.get("PublisherName") or ""),
                domain=str(row.get("CustomerDomainName") or ""),
                adjustments=adjustments if isinstance(adjustments, str) else str(adjustments),
            )
        )
    read_as.taken = len(lines)
    if faults:
        material.points.append(_unreadable(file.name, faults, lost))
        read_as.note = f"{len(faults):,} left out"
    material.points.extend(_completeness(file, read_as.rows, lines, controls))
    blank = sum(one.line.invoice_id == UNBILLED for one in lines)
    if 0 < blank < len(lines):
        material.points.append(_without_number(file.name, blank, len(lines)))
    return lines


def _without_number(name: str, blank: int, rows: int) -> Point:
    """Tell lines that name no invoice beside others that do: an export of one is never of both."""
    return incomplete(
        f"{blank:,} of {rows:,} lines of {name} {'have' if blank > 1 else 'has'} no InvoiceNumber, the "
        "others have one: it cannot be told whether they are billed, and no total holds them.",
        "rows.invoice_number",
        hint="fill in the number of the invoice, or give the unbilled lines as a file of their own",
    )


def _is_total(row: Mapping[str, Any]) -> bool:
    """Say whether a row is the sum at the end of a sheet: no customer, no product, but an amount."""
    if row.get("CustomerId") or row.get("ProductId"):
        return not row.get("ProductId") and bool(_TOTAL.fullmatch(str(row.get("CustomerId"))))
    filled = [str(value) for value in row.values() if value not in (None, "")]
    named = any(_TOTAL.fullmatch(one) for one in filled)
    return named or (0 < len(filled) <= 4 and number_of(row.get("Subtotal")) is not None)


def _unreadable(name: str, faults: Sequence[Finding], lost: Sequence[Decimal]) -> Point:
    first = faults[0].sentence.removeprefix("Microsoft's ").removesuffix(".")
    more = f" and {len(faults) - 1:,} more" if faults[1:] else ""
    known = f" The amounts that can be read in them come to {plain(sum(lost))}." if lost else ""
    return Point(
        check="rows.unreadable",
        cause="missing_rows",
        remedy="download_again",
        weight=Weight.INCOMPLETE,
        sentence=(
            f"{len(faults):,} {'rows' if faults[1:] else 'row'} of {name} cannot be read and "
            f"{'are' if faults[1:] else 'is'} left out: {first}{more}.{known}"
        ),
        hint="mend the rows or download the file again: totals are without them",
        records=tuple(one.record for one in faults[:5]),
    )


def _completeness(
    file: Download,
    rows: int,
    lines: Sequence[BilledLine],
    controls: Sequence[tuple[str, Decimal | None]],
) -> Iterator[Point]:
    if not rows:
        yield incomplete(f"{file.name} has a header and no rows.", "file.empty")
    if file.delimiter and rows == _EXCEL_ROWS:
        yield incomplete(
            f"{file.name} ends exactly where an Excel sheet ends ({_EXCEL_ROWS:,} rows): "
            "the rest is cut off.",
            "file.cut",
        )
    subtotal = sum((one.line.subtotal for one in lines), Decimal(0))
    taxed = subtotal + sum((one.line.tax for one in lines), Decimal(0))
    for place, total in controls:
        if total is not None and total not in (subtotal, taxed):
            yield incomplete(
                f"The total row of {file.name} ({place}) says {plain(total)}, its lines sum to "
                f"{plain(subtotal)}: rows are missing, or there are too many.",
                "file.total",
            )


# --- daily usage -----------------------------------------------------------------------------------


def _read_usage(
    files: Sequence[Download],
    found: Sequence[Download],
    material: Material,
    scratch: Path,
    *,
    order: str,
    decimal: str,
    note: Callable[[str], None],
) -> None:
    exports = exports_of(found)
    with UsageReader(scratch / "usage") as reader:
        for number, file in enumerate(files):
            if file.path.stat().st_size > _LARGE:
                note(f"reading {file.name}")
            export = exports.get(file.name, "")
            staged = replace(_staged(file, scratch / f"usage-{number}"), export=export)
            reader.stage(staged)
            writing = Writing()
            if staged.delimiter:
                evidence = Evidence(file.name)
                dates, numbers = list(DATES), list(NUMBERS)
                for one in reader.samples(staged, dates, numbers):
                    see = evidence.see_date if one.is_date else evidence.see_number
                    see(one.column, one.value, f"row {one.row}")
                told = evidence.decided(order=order, decimal=decimal)
                writing = Writing(month_first=told.order is DateOrder.MDY, decimal=told.decimal)
            reader.take(staged, writing)
        note("comparing daily usage")
        material.usage = reader.result()
    for total in material.usage.files:
        left = total.lines - total.taken
        material.files.append(
            FileRead(
                name=total.file,
                kind=Kind.USAGE.value,
                rows=total.lines,
                taken=total.taken,
                note=f"{left:,} not counted" if left else "",
            )
        )
    known = {total.file for total in material.usage.files}
    for file in files:
        if file.name not in known:
            material.files.append(FileRead(name=file.name, kind=Kind.USAGE.value))
            material.points.append(
                incomplete(f"{file.name} has a header and no rows.", "file.empty")
            )
    material.points.extend(_usage_points(material.usage))


def _staged(file: Download, target: Path) -> UsageFile:
    """Return the file in a form that the table can take in: UTF-8 CSV, or UTF-8 JSON lines."""
    path, gzipped = file.path, file.gzipped
    if not file.delimiter and not (file.json_lines and file.encoding == "utf-8"):
        downloads.as_json_lines(file, target)
        path, gzipped = target, False
    elif file.delimiter and file.encoding not in ("utf-8", "utf-8-sig"):
        downloads.as_utf8(file, target)
        path, gzipped = target, False
    columns = dict(zip(file.columns, file.header, strict=True))
    if not file.delimiter:  # later records may have members that the first ones lack
        camel = columns.get("CustomerId", "")[:1].islower()
        columns = {one: v1_name(one) if camel else one for one in NAMES.values()} | columns
    return UsageFile(
        path=path,
        name=file.name,
        columns=columns,
        delimiter=file.delimiter,
        gzipped=gzipped,
    )


def _usage_points(usage: DownloadedUsage) -> Iterator[Point]:
    for file, blank, lines in usage.unnumbered:
        yield _without_number(file, blank, lines)
    for fault in usage.faults:
        yield Point(
            check="rows.unreadable",
            cause="missing_rows",
            remedy="download_again",
            weight=Weight.INCOMPLETE,
            customer_id=fault.customer_id,
            sentence=(
                f"{fault.lines:,} usage {'lines' if fault.lines > 1 else 'line'} of {fault.file} "
                f"cannot be read and {'are' if fault.lines > 1 else 'is'} left out: row "
                f"{fault.row:,} {fault.reason}."
            ),
            hint="mend the rows or download the file again: totals are without them",
            records=(f"{fault.file} row {fault.row}",),
        )
    for control in usage.controls:
        if control.told != control.cost:
            yield incomplete(
                f"The total row of {control.file} (row {control.row}) says {plain(control.told)}, its "
                f"lines sum to {plain(control.cost)}: rows are missing, or there are too many.",
                "file.total",
            )
    for overlap in usage.overlaps:
        if overlap.left:
            yield incomplete(
                f"{overlap.file} and {overlap.other} hold the usage of {overlap.invoice_id}: "
                f"{overlap.lines:,} lines are the same, {overlap.left:,} are not.",
                "files.versions",
                hint="give one whole export of the invoice, the newest",
                invoice_id="" if overlap.invoice_id == UNBILLED else overlap.invoice_id,
            )
            continue
        yield Point(
            check="files.overlap",
            cause="duplicate",
            remedy="none",
            weight=Weight.NOTE,
            sentence=(
                f"{overlap.file} holds {overlap.lines:,} usage lines that {overlap.other} holds too: "
                "taken once."
            ),
            hint="nothing to do",
        )
    for repeat in usage.repeats:
        yield Point(
            check="usage.duplicate",
            cause="duplicate",
            remedy="none",
            weight=Weight.NOTE,
            customer_id=repeat.customer_id,
            invoice_id=repeat.invoice_id,
            currency=repeat.currency,
            amount=repeat.cost,
            sentence=(
                f"{repeat.lines:,} usage lines of {plain(repeat.cost)} {repeat.currency} are alike in "
                "every field; they count, since Microsoft may list a resource twice a day."
            ),
            hint="they matter where quantity and metered line differ: see there",
        )
