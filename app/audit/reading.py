"""From files to lines: what was read, what was left out, and whether the files are whole.

Two exports of one invoice are one invoice: lines are matched by what they mean, since a spreadsheet
rewrites digits and an export may lack columns, and are taken once. Where both hold lines that the
other lacks, the files contradict each other, and nothing is proven. Lines that are alike in all fields
inside one export stay, and are told. Nothing that could not be read disappears: it is counted.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from domain.audit import BilledLine, Point, Weight
from domain.money import Money, plain
from domain.problems import Finding
from domain.subscription import CostInvoice, CostKind
from partner_center import downloads
from partner_center.billing import cost_line_of, invoices_of
from partner_center.columns import DATES, NAMES, NUMBERS, Kind, v1_name
from partner_center.downloads import Download
from partner_center.notation import DateOrder, Evidence
from partner_center.wire import objects
from usage.downloaded import DownloadedUsage, UsageFile, UsageReader, Writing

_EXCEL_ROWS = 1_048_575
_TOTAL = re.compile(r"\s*(grand |sub)?(total|totals|sum|summe|gesamt)\s*:?\s*", re.IGNORECASE)
_FEW = 10
"""So many lines of which none is known say nothing about the export that they come from."""
_LARGE = 8 << 20
"""Bytes from which on it is worth telling that a file is read."""
UNBILLED = "unbilled"


@dataclass(slots=True)
class FileRead:
    """What became of one file."""

    name: str
    kind: str
    rows: int = 0
    taken: int = 0
    note: str = ""


@dataclass(slots=True)
class Material:
    """All that the files hold."""

    billed: list[BilledLine] = field(default_factory=list)
    unbilled: list[BilledLine] = field(default_factory=list)
    repeated: list[BilledLine] = field(default_factory=list)
    """Of `billed`: lines that are there once more, alike in every field."""
    usage: DownloadedUsage = field(default_factory=DownloadedUsage)
    heads: list[CostInvoice] = field(default_factory=list)
    files: list[FileRead] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    @property
    def months(self) -> dict[str, set[date]]:
        """Months of which there is an invoice, by currency."""
        found: dict[str, set[date]] = defaultdict(set)
        for (_, currency), month in self.invoice_months.items():
            found[currency].add(month)
        return found

    @property
    def invoice_months(self) -> dict[tuple[str, str], date]:
        """The month of each invoice and currency: its head's, else that of most of its lines."""
        told = {head.id: head.billed.start for head in self.heads}
        days: dict[tuple[str, str], Counter[date]] = defaultdict(Counter)
        for one in self.billed:
            line = one.line
            usage = line.kind is CostKind.USAGE and line.charged
            day = line.charged.start if usage and line.charged else line.ordered_on or line.falls_on
            if day:
                days[line.invoice_id, line.currency][day.replace(day=1)] += 1
        return {
            key: told.get(key[0]) or min(found, key=lambda day: (-found[day], day))
            for key, found in days.items()
        }


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
            _read_heads(one, material)
    exports = _exports(found)
    _merge([(exports.get(name, name), lines) for name, lines in per_file], material)
    for one in found:
        if one.kind is Kind.MANIFEST:
            _check_manifest(one, found, material)
    _check_pages(found, per_file, material)
    _check_heads(material)
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
            controls.append((place, _number(row.get("Subtotal")) or _number(row.get("Total"))))
            continue
        read_as.rows += 1
        line = cost_line_of(row, f"{place} of {file.name}", repeats)
        if isinstance(line, Finding):
            faults.append(line)
            lost.extend(x for x in [_number(row.get("Subtotal"))] if x is not None)
            continue
        adjustments = row.get("PriceAdjustmentDescription") or ""
        lines.append(
            BilledLine(
                line=line,
                place=f"{file.name} {place}",
                # Without the tax there is nothing to compare a total with.
                total=_number(row.get("Total"))
                if _number(row.get("TaxTotal")) is not None
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
    return _incomplete(
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
    return named or (0 < len(filled) <= 4 and _number(row.get("Subtotal")) is not None)


def _number(value: Any) -> Decimal | None:
    if value in (None, "") or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


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
        yield _incomplete(f"{file.name} has a header and no rows.", "file.empty")
    if file.delimiter and rows == _EXCEL_ROWS:
        yield _incomplete(
            f"{file.name} ends exactly where an Excel sheet ends ({_EXCEL_ROWS:,} rows): "
            "the rest is cut off.",
            "file.cut",
        )
    subtotal = sum((one.line.subtotal for one in lines), Decimal(0))
    taxed = subtotal + sum((one.line.tax for one in lines), Decimal(0))
    for place, total in controls:
        if total is not None and total not in (subtotal, taxed):
            yield _incomplete(
                f"The total row of {file.name} ({place}) says {plain(total)}, its lines sum to "
                f"{plain(subtotal)}: rows are missing, or there are too many.",
                "file.total",
            )


def _incomplete(
    sentence: str,
    check: str,
    *,
    hint: str = "download the file again: what is missing cannot be reconciled",
    **fields: Any,
) -> Point:
    return Point(
        check=check,
        cause="missing_rows",
        remedy="download_again",
        weight=Weight.INCOMPLETE,
        sentence=sentence,
        hint=hint,
        **fields,
    )


@dataclass(slots=True)
class _Part:
    """The lines of one invoice in one export: a file, or the files that one manifest names."""

    name: str
    lines: list[BilledLine] = field(default_factory=list)

    def by(self, mark: Callable[[BilledLine], Hashable]) -> Counter[Hashable]:
        return Counter(map(mark, self.lines))


def _exact(one: BilledLine) -> Hashable:
    """Every field that tells lines apart, digit by digit."""
    return one.line.key.rpartition("/")[0]


def _what(one: BilledLine) -> Hashable:
    """What a line is about, without its amount."""
    line = one.line
    return (
        line.customer_id,
        line.subscription_id,
        line.product_id,
        line.sku_id,
        line.charge_type,
        line.charged,
        line.currency,
    )


def _meaning(one: BilledLine) -> Hashable:
    """What a line bills: the same in every export of an invoice, whatever else it writes."""
    return _what(one), Money.rounded(one.line.subtotal, one.line.currency).amount


def _merge(per_file: Iterable[tuple[str, list[BilledLine]]], material: Material) -> None:
    """Put the lines of all exports together, those that several hold once."""
    parts: dict[str, dict[str, _Part]] = defaultdict(dict)
    for name, lines in per_file:
        for one in lines:
            parts[one.line.invoice_id].setdefault(name, _Part(name)).lines.append(one)
    for invoice, some in parts.items():
        kept: list[BilledLine] = []
        for part in sorted(some.values(), key=lambda part: -len(part.lines)):
            new = part.lines
            if kept:
                new, point = _new_lines(invoice, part, _Part("", kept))
                material.points.extend([point] if point else [])
            kept.extend(new)
        numbers: Counter[Hashable] = Counter()
        for one in sorted(kept, key=lambda one: str(_exact(one))):
            numbers[_exact(one)] += 1
            number = numbers[_exact(one)]
            key = f"{_exact(one)}/{number}"
            numbered = replace(one, line=replace(one.line, key=key))
            (material.unbilled if invoice == UNBILLED else material.billed).append(numbered)
            if invoice != UNBILLED and number > 1:
                material.repeated.append(numbered)


def _new_lines(invoice: str, part: _Part, kept: _Part) -> tuple[list[BilledLine], Point | None]:
    """Return what a further export adds to the lines of an invoice, and what is to be said of it."""
    size = len(part.lines)
    there = kept.by(_meaning)
    shared = (part.by(_meaning) & there).total()
    # Parts of one export have lines of one meaning by chance (two orders of a day), never by half.
    if 2 * shared < size and not (part.by(_exact) & kept.by(_exact)):
        about = {_what(one) for one in kept.lines}
        again = [one for one in part.lines if _what(one) in about]
        if 2 * len(again) <= size or (not shared and size < _FEW):
            return part.lines, None
    left: list[BilledLine] = []
    for one in part.lines:
        if there[_meaning(one)] > 0:
            there[_meaning(one)] -= 1
        else:
            left.append(one)
    if not left:
        return [], _overlap(invoice, part.name, shared, size)
    # Another amount for the same thing: another version of the line, of which one stands.
    others = Counter(_what(one) for one in kept.lines if there[_meaning(one)] > 0)
    new: list[BilledLine] = []
    for one in left:
        if others[_what(one)] > 0:
            others[_what(one)] -= 1
        else:
            new.append(one)
    dropped = len(left) - len(new)
    second = [f" ({dropped:,} with another amount: left out)"] if dropped else []
    return new, _incomplete(
        f"{part.name} and another file hold {invoice}: {shared:,} of its {size:,} lines are the same, "
        f"{len(left):,} {'are' if left[1:] else 'is'} not{''.join(second)}.",
        "files.versions",
        hint="give one whole export of the invoice, the newest: it cannot be told which line stands",
        invoice_id="" if invoice == UNBILLED else invoice,
    )


def _overlap(invoice: str, name: str, shared: int, size: int) -> Point:
    whole = "all" if shared == size else f"{shared:,} of the {size:,}"
    return Point(
        check="files.overlap",
        cause="duplicate",
        remedy="none",
        weight=Weight.NOTE,
        invoice_id="" if invoice == UNBILLED else invoice,
        sentence=f"{name} holds {whole} lines of {invoice} that another file holds too: taken once.",
        hint="nothing to do",
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
    exports = _exports(found)
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
                _incomplete(f"{file.name} has a header and no rows.", "file.empty")
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
            yield _incomplete(
                f"The total row of {control.file} (row {control.row}) says {plain(control.told)}, its "
                f"lines sum to {plain(control.cost)}: rows are missing, or there are too many.",
                "file.total",
            )
    for overlap in usage.overlaps:
        if overlap.left:
            yield _incomplete(
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


# --- heads, manifests, pages -----------------------------------------------------------------------


def _read_heads(file: Download, material: Material) -> None:
    read_as = FileRead(name=file.name, kind=file.kind.value)
    material.files.append(read_as)
    document = downloads.whole_document(file)
    for head in invoices_of(objects(document)):
        read_as.rows += 1
        if isinstance(head, CostInvoice):
            read_as.taken += 1
            if head.id not in {one.id for one in material.heads}:
                material.heads.append(head)


def _check_heads(material: Material) -> None:
    sums: dict[str, tuple[Decimal, Decimal, int]] = {}
    for one in material.billed:
        net, gross, count = sums.get(one.line.invoice_id, (Decimal(0), Decimal(0), 0))
        sums[one.line.invoice_id] = (
            net + one.line.subtotal,
            gross + one.line.subtotal + one.line.tax,
            count + 1,
        )
    for head in material.heads:
        if head.id not in sums:
            continue
        net, gross, count = sums[head.id]
        if head.total not in (net, gross):
            material.points.append(
                _incomplete(
                    f"Microsoft's invoice {head.id} says {plain(head.total)} {head.currency}, the "
                    f"{count:,} lines of the files sum to {plain(net)}: not reconcilable.",
                    "invoice.total",
                    invoice_id=head.id,
                    currency=head.currency,
                    amount=head.total - net,
                )
            )


def _exports(found: Sequence[Download]) -> dict[str, str]:
    """Return which files are parts of one export, by the manifest that names them."""
    parts: dict[str, str] = {}
    for manifest in found:
        if manifest.kind is Kind.MANIFEST:
            for blob in _blobs(_manifest(manifest)):
                part = _beside(manifest, str(blob.get("name", "")), found)
                if part:
                    parts[part.name] = manifest.name
    return parts


def _manifest(file: Download) -> dict[str, Any]:
    document = downloads.whole_document(file)
    document = document[0] if isinstance(document, list) and document else document
    return document if isinstance(document, dict) else {}


def _blobs(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    blobs = document.get("blobs")
    return [one for one in blobs if isinstance(one, dict)] if isinstance(blobs, list) else []


def _beside(manifest: Download, name: str, found: Sequence[Download]) -> Download | None:
    """Return the file that a manifest names: the one beside it, or the only one of that name."""
    base = name.rpartition("/")[2]
    named = [one for one in found if one.base == base]
    beside = [one for one in named if one.folder == manifest.folder]
    return beside[0] if beside else named[0] if len(named) == 1 else None


def _check_manifest(file: Download, found: Sequence[Download], material: Material) -> None:
    document = _manifest(file)
    material.files.append(FileRead(name=file.name, kind=file.kind.value, rows=1, taken=1))
    rows = {one.name: one.rows for one in material.files}
    for blob in _blobs(document):
        name, count = str(blob.get("name", "")).rpartition("/")[2], blob.get("itemCount")
        part = _beside(file, name, found)
        if part is None:
            material.points.append(
                _incomplete(
                    f"{file.name} names {name}, which is not among the files.", "manifest.file"
                )
            )
        elif isinstance(count, int) and rows.get(part.name) != count:
            material.points.append(
                _incomplete(
                    f"{file.name} says that {part.name} has {count:,} lines; it has "
                    f"{rows.get(part.name, 0):,}.",
                    "manifest.lines",
                )
            )
    usage = [one for one in found if one.kind is Kind.USAGE]
    names = {one.name for one in usage if one.folder == file.folder} or {x.name for x in usage}
    if isinstance(document.get("lines"), int):
        taken = sum(total.lines for total in material.usage.files if total.file in names)
        if taken != document["lines"]:
            material.points.append(
                _incomplete(
                    f"{file.name} says {document['lines']:,} usage lines; there are {taken:,}.",
                    "manifest.lines",
                )
            )
    sums = document.get("sum_billing_pretax")
    if isinstance(sums, dict):
        costs: dict[str, Decimal] = defaultdict(Decimal)
        for name, currency, _, _, amount in material.usage.contents:
            costs[currency] += amount if name in names else 0
        for currency, told in sums.items():
            cost = costs[currency]
            if _number(told) != cost:
                material.points.append(
                    _incomplete(
                        f"{file.name} says {told} {currency} of usage; the lines sum to {plain(cost)}.",
                        "manifest.amount",
                        currency=currency,
                    )
                )


def _check_pages(
    found: Sequence[Download],
    per_file: Iterable[tuple[str, Sequence[BilledLine]]],
    material: Material,
) -> None:
    """Tell answers of the v1 API of which pages are missing, by the count that each page carries.

    A page that is there twice counts once: what counts are the lines of its invoice in all files.
    """
    invoices: dict[str, set[str]] = defaultdict(set)
    there: Counter[tuple[Kind, str]] = Counter()
    for name, lines in per_file:
        invoices[name].update(one.line.invoice_id for one in lines)
    for one in (*material.billed, *material.unbilled):
        there[Kind.RECONCILIATION, one.line.invoice_id] += 1
    for name, _, invoice, lines_left, _ in material.usage.contents:
        invoices[name].add(invoice)
        there[Kind.USAGE, invoice] += lines_left
    unread = {one.name: one.rows - one.taken for one in material.files}
    pages: dict[tuple[Kind, frozenset[str]], list[Download]] = defaultdict(list)
    for file in found:
        if file.told_count is not None and file.kind in (Kind.RECONCILIATION, Kind.USAGE):
            pages[file.kind, frozenset(invoices[file.name])].append(file)
    for (kind, some), files in pages.items():
        told = max(one.told_count or 0 for one in files)
        held = sum(there[kind, one] for one in some)
        if kind is Kind.RECONCILIATION:  # rows that cannot be read are told already
            held += sum(unread.get(one.name, 0) for one in files)
        if held < told:
            listed = ", ".join(one.name for one in files[:3])
            material.points.append(
                _incomplete(
                    f"{listed} of {told:,} lines holds {held:,}: pages are missing.",
                    "file.pages",
                    invoice_id=next(iter(some)) if len(some) == 1 else "",
                )
            )
