"""Whether files are whole: invoice heads, manifests and page counts that say what there must be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from app.audit.material import FileRead, Material, incomplete, number_of
from domain.audit import BilledLine
from domain.money import plain
from domain.subscription import CostInvoice
from partner_center import downloads
from partner_center.billing import invoices_of
from partner_center.columns import Kind
from partner_center.downloads import Download
from partner_center.wire import objects


def read_heads(file: Download, material: Material) -> None:
    """Read the heads of Microsoft's invoices from a file of the v1 API."""
    read_as = FileRead(name=file.name, kind=file.kind.value)
    material.files.append(read_as)
    document = downloads.whole_document(file)
    for head in invoices_of(objects(document)):
        read_as.rows += 1
        if isinstance(head, CostInvoice):
            read_as.taken += 1
            if head.id not in {one.id for one in material.heads}:
                material.heads.append(head)


def check_heads(material: Material) -> None:
    """Compare the lines of each invoice with the total of its head."""
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
                incomplete(
                    f"Microsoft's invoice {head.id} says {plain(head.total)} {head.currency}, the "
                    f"{count:,} lines of the files sum to {plain(net)}: not reconcilable.",
                    "invoice.total",
                    invoice_id=head.id,
                    currency=head.currency,
                    amount=head.total - net,
                )
            )


def exports_of(found: Sequence[Download]) -> dict[str, str]:
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


def check_manifest(file: Download, found: Sequence[Download], material: Material) -> None:
    """Compare the parts that a manifest names with the files beside it."""
    document = _manifest(file)
    material.files.append(FileRead(name=file.name, kind=file.kind.value, rows=1, taken=1))
    rows = {one.name: one.rows for one in material.files}
    for blob in _blobs(document):
        name, count = str(blob.get("name", "")).rpartition("/")[2], blob.get("itemCount")
        part = _beside(file, name, found)
        if part is None:
            material.points.append(
                incomplete(
                    f"{file.name} names {name}, which is not among the files.", "manifest.file"
                )
            )
        elif isinstance(count, int) and rows.get(part.name) != count:
            material.points.append(
                incomplete(
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
                incomplete(
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
            if number_of(told) != cost:
                material.points.append(
                    incomplete(
                        f"{file.name} says {told} {currency} of usage; the lines sum to {plain(cost)}.",
                        "manifest.amount",
                        currency=currency,
                    )
                )


def check_pages(
    found: Sequence[Download],
    per_file: Iterable[tuple[str, Sequence[BilledLine]]],
    material: Material,
) -> None:
    """Compare the lines of each invoice with the count that its pages announce."""
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
                incomplete(
                    f"{listed} of {told:,} lines holds {held:,}: pages are missing.",
                    "file.pages",
                    invoice_id=next(iter(some)) if len(some) == 1 else "",
                )
            )
