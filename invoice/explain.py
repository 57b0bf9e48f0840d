"""Every cent explained: a line's sentence, the rules that made it and the numbers that went in."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from domain.money import plain
from domain.tax import Party
from invoice.document import Invoice, InvoiceLine, PartSum, PartTax
from invoice.tax_words import tax_of_line, why_taxed


def _line_as_told(line: InvoiceLine) -> dict[str, Any]:
    charge = line.charge
    told = {
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
    # What documents of before do not have is left out, so that their hash stays what it was.
    if line.tax_category is not None:
        told["tax_category"] = line.tax_category.value
        told["taxes"] = [_tax_as_told(one) for one in line.taxes]
        told["tax_note"] = line.tax_note
    return told


def _tax_as_told(tax: PartTax | PartSum) -> dict[str, str]:
    part = tax.part
    return {
        "name": part.name,
        "jurisdiction": part.jurisdiction,
        "percent": plain(part.percent),
        "taxable_percent": plain(part.taxable_percent),
        "tax": str(tax.tax.amount),
    }


def _party_as_told(party: Party) -> dict[str, Any]:
    at = party.address
    return {
        "name": party.name,
        "address": [at.line1, at.line2, at.postal_code, at.city, at.region, at.country],
        "tax_numbers": list(party.tax_numbers),
        "registration_number": party.registration_number,
        "email": party.email,
    }


def _as_told(document: Invoice) -> dict[str, Any]:
    told: dict[str, Any] = {
        "key": document.key,
        "number": document.number,
        "kind": document.kind.value,
        "status": document.status.value,
        "customer": document.customer_name,
        "customer_id": document.customer_id,
        "account": document.account_name,
        "period": f"{document.period.start:%Y-%m}",
        "currency": document.currency,
        "lines": [_line_as_told(line) for line in document.lines],
        "subtotal": str(document.subtotal.amount),
        "tax": str(document.tax.amount),
        "total": str(document.total.amount),
    }
    if any(line.tax_category is not None for line in document.lines):
        told["tax_decided_by"] = document.tax_decided_by.value
        told["tax_rounding"] = document.tax_rounding.value
        told["tax_point"] = str(document.tax_point or "")
        told["seller_tax_id"] = document.seller_tax_id
        told["buyer_tax_id"] = document.buyer_tax_id
    for name, party in (("seller", document.seller), ("buyer", document.buyer)):
        if party is not None:
            told[name] = _party_as_told(party)
    return told


def explain_line(line: InvoiceLine) -> dict[str, Any]:
    """Return a line with its reasons as plain data; money and quantities are text."""
    return {**_line_as_told(line), "tax_why": tax_of_line(line)}


def explain_document(document: Invoice) -> dict[str, Any]:
    """Return a document with all its lines explained, as plain data."""
    return {
        **_as_told(document),
        "lines": [explain_line(line) for line in document.lines],
        "taxed": [
            {
                "category": one.category.value if one.category else None,
                "percent": plain(one.percent),
                "net": str(one.net.amount),
                "tax": str(one.tax.amount),
                "taxes": [
                    {**_tax_as_told(part), "net": str(part.net.amount)} for part in one.parts
                ],
                "notes": list(one.notes),
            }
            for one in document.taxed
        ],
        "tax_why": why_taxed(document),
    }


def fingerprint(document: Invoice) -> str:
    """Hash what a customer was told: the lines, the terms and the totals, not the status."""
    told = _as_told(document)
    for changing in ("number", "status"):
        told.pop(changing)
    told["tax_note"] = document.tax_note
    text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
