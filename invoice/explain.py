"""Every cent explained: a line's sentence, the rules that made it and the numbers that went in."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from domain.money import plain
from invoice.document import Invoice, InvoiceLine


def explain_line(line: InvoiceLine) -> dict[str, Any]:
    """Return a line with its reasons as plain data; money and quantities are text."""
    charge = line.charge
    return {
        "position": line.position,
        "charge": charge.key,
        "charge_type": charge.type.value,
        "name": charge.name,
        "sku": charge.sku,
        "subscription": charge.subscription_id,
        "service_start": str(charge.service.start),
        "service_end": str(charge.service.end),
        "days": charge.service.days,
        "cycle_days": charge.full.days,
        "quantity": plain(charge.quantity),
        "unit_price": plain(charge.unit_price),
        "amount": str(line.amount.amount),
        "tax_percent": plain(line.tax_percent),
        "tax": str(line.tax.amount),
        "why": charge.why,
        "answers": charge.answers or None,
        "cost_lines": list(charge.cost_lines),
        "reasons": [{"rule": r.rule, "inputs": dict(r.inputs)} for r in charge.reasons],
    }


def explain_document(document: Invoice) -> dict[str, Any]:
    """Return a document with all its lines explained, as plain data."""
    return {
        "key": document.key,
        "number": document.number,
        "kind": document.kind.value,
        "status": document.status.value,
        "customer": document.customer_name,
        "customer_id": document.customer_id,
        "account": document.account_name,
        "period": f"{document.period.start:%Y-%m}",
        "currency": document.currency,
        "lines": [explain_line(line) for line in document.lines],
        "subtotal": str(document.subtotal.amount),
        "tax": str(document.tax.amount),
        "total": str(document.total.amount),
    }


def fingerprint(document: Invoice) -> str:
    """Hash what a customer was told: the lines, the terms and the totals, not the status."""
    told = explain_document(document)
    for changing in ("number", "status"):
        told.pop(changing)
    told["tax_note"] = document.tax_note
    text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
