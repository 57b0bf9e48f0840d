"""Documents over all customers, where one that cannot be read stops nobody else; and their PDF."""

from __future__ import annotations

from collections.abc import Sequence

from domain.problems import InputError
from invoice.document import DocumentStatus, Invoice
from invoice.pdf import to_pdf
from sync.ports import Store


def pdf_of(store: Store, document: Invoice) -> bytes:
    """Return the PDF of a document: the one that its row has, else one drawn now.

    What was attached is what the customer was sent, if it says that it is a print of this document;
    a person's file is none. Drawn by the same version, both are the same bytes.
    """
    found = store.document_file(document.key) if document.number else None
    mark = document.fingerprint.encode()
    if found and found[1].startswith(b"%PDF-") and mark and mark in found[1]:
        return found[1]
    return to_pdf(document)


def readable(
    store: Store, *, period: str = "", status: DocumentStatus | None = None, customer_id: str = ""
) -> tuple[Sequence[Invoice], set[str]]:
    """Read documents, leaving out customers with one that cannot be read; and those customers.

    Only where one cannot be read each customer is asked for: that is slow, and seldom.
    """
    try:
        return store.documents(period=period, status=status, customer_id=customer_id), set()
    except InputError:
        if customer_id:
            return (), {customer_id}
    found: list[Invoice] = []
    faulty: set[str] = set()
    for customer in store.customers():
        try:
            found += store.documents(period=period, status=status, customer_id=customer.id)
        except InputError:
            faulty.add(customer.id)
    return sorted(found, key=lambda one: (one.number, one.key)), faulty
