"""Why a line asks for what it asks, down to the records of Microsoft and where they are kept raw."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.charge import Charge
from domain.money import plain
from domain.problems import InputError
from domain.subscription import CostLine, invoice_of
from invoice.document import Invoice, InvoiceLine
from invoice.explain import explain_line
from invoice.sources import Source, fold, source_as_data
from invoice.tax_words import tax_of_line
from rules.linking import linked

if TYPE_CHECKING:
    from app.wiring import Worker
    from invoice.file import CustomerFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One line of a document with everything behind it."""

    line: InvoiceLine
    answered: tuple[Invoice, InvoiceLine] | None
    """What an adjustment answers, and the document on which it stands."""
    sources: tuple[Source, ...]
    archived: tuple[str, ...]
    """Names in the archive under which Microsoft's lines are kept as they were read."""

    def as_data(self) -> dict[str, Any]:
        """Return the whole chain as plain data."""
        answered = None
        if self.answered:
            document, line = self.answered
            answered = {
                "document": document.number or document.key,
                "position": line.position,
                "amount": str(line.amount.amount),
                "why": line.charge.why,
            }
        return {
            **explain_line(self.line),
            "answered": answered,
            "sources": [source_as_data(source) for source in self.sources],
            "archived": list(self.archived),
        }

    def as_text(self) -> str:
        """Return the chain for a person: sentence, charge, reasons, Microsoft's lines, archive."""
        charge, line = self.line.charge, self.line
        out = [
            charge.why,
            (
                f"Charge {charge.key} ({charge.type}, {charge.sku}): {charge.service.days} of "
                f"{charge.full.days} days, {line.amount}; {tax_of_line(line)}"
            ),
        ]
        for number, reason in enumerate(charge.reasons, start=1):
            inputs = ", ".join(f"{key} {value}" for key, value in reason.inputs.items())
            out.append(f"  {number}. {reason.rule}: {inputs}")
        if self.answered:
            document, first = self.answered
            out.append(
                f"Answers line {first.position} of {document.number or document.key}, "
                f"{first.amount}: {first.charge.why}"
            )
        if not self.sources:
            out.append("No line of Microsoft is behind it yet.")
        for source in self.sources:
            out.append(f"Microsoft: {source.sentence}")
            for one in source.lines:
                unit = plain(one.effective_unit_price)
                out.append(
                    f"  {one.charge_type} {plain(abs(one.seats))} × {unit} = {one.subtotal} "
                    f"{one.currency}, invoice {one.invoice_id}, {one.key}"
                )
        out.extend(f"Kept as it was read: {name}" for name in self.archived)
        return "\n".join(out)


def trace(worker: Worker, document: Invoice, position: int | None = None) -> list[Trace]:
    """Trace the lines of a document, or one of them; InputError when there is no such line."""
    chosen = [line for line in document.lines if position in {None, line.position}]
    if not chosen:
        raise InputError(
            f"{document.number or document.key} has no line {position}",
            hint=f"its lines are 1 to {len(document.lines)}",
        )
    file = worker.store.customer_file(document.customer_id)
    originals = {
        line.key: (one, line)
        for one in file.documents
        for line in one.lines
        if not line.charge.answers
    }
    behind = [originals.get(line.charge.answers) for line in chosen]
    charges = [
        (line.charge, *((answered[1].charge,) if answered else ()))
        for line, answered in zip(chosen, behind, strict=True)
    ]
    root = worker.settings.state_dir / "archive"
    kept: dict[str, list[str]] = {}
    traces: list[Trace] = []
    for line, answered, own in zip(chosen, behind, charges, strict=True):
        sources = fold(_lines_of(own, file, worker), own[-1].full)
        invoices = sorted({one.invoice_id for source in sources for one in source.lines})
        for invoice_id in invoices:
            if invoice_id not in kept:
                kept[invoice_id] = _archived(root, invoice_id)
        traces.append(
            Trace(
                line=line,
                answered=answered,
                sources=tuple(sources),
                archived=tuple(name for one in invoices for name in kept[one]),
            )
        )
    return traces


def _lines_of(charges: Sequence[Charge], file: CustomerFile, worker: Worker) -> list[CostLine]:
    """Find the stored lines behind a charge, those that Microsoft has withdrawn since among them.

    Documents of before name none for seats.
    """
    named = {key for charge in charges for key in charge.cost_lines}
    if not named:
        found = linked(charges, file.cost_lines).charges
        named = {key for charge in found for key in charge.cost_lines}
    lines = [line for line in file.cost_lines if line.key in named]
    gone = named - {line.key for line in lines}
    if gone:
        invoices = sorted({invoice_of(key) for key in gone})
        withdrawn = worker.store.cost_lines(invoices, withdrawn=True)
        lines += [line for line in withdrawn if line.key in gone]
    return lines


def _archived(root: Path, invoice_id: str) -> list[str]:
    """Name the raw files of an invoice; where the archive is elsewhere, the folder to look in."""
    pattern = f"invoices/{glob.escape(invoice_id)}/reconciliation/*/*.gz"
    found = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))
    return found or [f"invoices/{invoice_id}/reconciliation/"]
