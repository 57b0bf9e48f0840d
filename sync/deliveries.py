"""Which version of Microsoft's invoices was imported when: a history beside the parts, for audits.

An invoice may be issued anew. Every version keeps its folder in the archive; what counts is the one
that was imported last, and for a past day the one that was imported last by then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from domain.delivery import JOURNAL, Delivery, delivery_of
from domain.subscription import CostInvoice
from sync.ports import Archive

READER = 2
"""Raise it when the same parts lead to other records: they are then imported anew."""
NAMES_INVOICE = 2
"""The first reader whose days of usage name their invoice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """The versions that were imported together, by their folders in the archive; empty: no data."""

    at: datetime
    lines: str
    usage: str
    counts: Mapping[str, int]
    """What the import came to."""
    reader: int = READER
    asked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What was asked of the usage of whom, in words: asked again, the same parts answer no better."""
    total: Decimal | None = None
    """Of the invoice's head; None where it was not kept yet."""

    def same_as(self, lines: Delivery, usage: Delivery) -> bool:
        """Say whether these deliveries would be imported to the same records."""
        return (self.lines, self.usage, self.reader) == (lines.folder, usage.folder, READER)


def imports(archive: Archive, invoice_id: str) -> Sequence[Import]:
    """Return the imports of an invoice, oldest first."""
    content = archive.read(_history(invoice_id))
    return [
        Import(
            at=datetime.fromisoformat(one["at"]),
            lines=one["lines"],
            usage=one["usage"],
            counts=one["counts"],
            reader=one["reader"],
            asked=one.get("asked", {}),
            total=Decimal(one["total"]) if one.get("total") is not None else None,
        )
        for one in json.loads(content or b"[]")
    ]


def note_import(archive: Archive, invoice_id: str, made: Import) -> None:
    """Add an import to the history of an invoice, once all its records are saved."""
    rows = [
        {
            "at": one.at.isoformat(),
            "lines": one.lines,
            "usage": one.usage,
            "counts": dict(one.counts),
            "reader": one.reader,
            "asked": dict(one.asked),
            "total": None if one.total is None else str(one.total),
        }
        for one in (*imports(archive, invoice_id), made)
    ]
    archive.put(_history(invoice_id), json.dumps(rows, indent=1).encode())


def issued_anew(archive: Archive, head: CostInvoice) -> bool:
    """Say whether an invoice has another total than the version that was imported last."""
    known = imports(archive, head.id)
    return bool(known) and known[-1].total not in {None, head.total}


def as_of(
    archive: Archive, invoice_id: str, moment: datetime
) -> tuple[Delivery | None, Delivery | None]:
    """Return the lines and the usage of an invoice as they were known at a moment.

    Open the lines with `ports.partner_center.cost_lines(delivery)`, the files of either with
    `ports.archive.local(name)` for each name of `delivery.distinct`. None: not imported by then, or
    no such data.
    """
    then = [one for one in imports(archive, invoice_id) if one.at <= moment]
    if not then:
        return None, None
    return delivery(archive, then[-1].lines), delivery(archive, then[-1].usage)


def versions(archive: Archive, invoice_id: str, report: str) -> Sequence[Delivery]:
    """Return every version of a report (`reconciliation`, `usage`) that arrived whole, by time."""
    found = [
        delivery_of(archive.read(name) or b"")
        for name in archive.names(f"invoices/{invoice_id}/{report}")
        if name.endswith(f"/{JOURNAL}")
    ]
    whole = [one for one in found if one.finished is not None]
    return sorted(whole, key=lambda one: (one.finished, one.folder))


def delivery(archive: Archive, folder: str) -> Delivery | None:
    """Return the delivery of a folder; None when there is none."""
    content = archive.read(f"{folder}/{JOURNAL}") if folder else None
    return delivery_of(content) if content else None


def _history(invoice_id: str) -> str:
    return f"invoices/{invoice_id}/imports.json"
