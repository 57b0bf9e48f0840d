"""Documents in Dataverse: drafted in one transaction, moved along their life, never changed.

A document is written under the version that was read, or under "must not exist", in one change set
with its lines: an approved document cannot be overwritten, and of two workers who draft the same
one fails with Conflict. A write whose answer was lost is recognised by the hash over the whole.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from dataverse import files
from dataverse.batch import LARGEST_BATCH, Operation
from dataverse.client import API, SERVICE, Query, condition, etag, literal, one_of
from dataverse.mapping import from_row, to_row
from dataverse.rows import Rows, query_of
from dataverse.schema import EXTERNAL_KEY, KEY, OVERFLOW, ROW_HASH, Row, Table, external_key
from dataverse.tables import INVOICE, INVOICE_LINE
from domain.period import Period
from domain.problems import Conflict, InvariantBroken, NotFound
from invoice.document import DocumentStatus, Invoice, InvoiceLine
from invoice.file import Saved

T = TypeVar("T")
FILE = "csp_document"
"""The column of the file that people open."""
OURS = f"{KEY} ne null"
"""Which rows the reckoning may read: what a person added by hand is no document or line of ours."""

_NEXT: Mapping[DocumentStatus, frozenset[DocumentStatus]] = {
    DocumentStatus.DRAFT: frozenset(
        {DocumentStatus.APPROVED, DocumentStatus.ISSUED, DocumentStatus.VOID}
    ),
    DocumentStatus.APPROVED: frozenset({DocumentStatus.ISSUED, DocumentStatus.VOID}),
    DocumentStatus.ISSUED: frozenset(
        {DocumentStatus.HANDED_OFF, DocumentStatus.PAID, DocumentStatus.CREDITED}
    ),
    DocumentStatus.HANDED_OFF: frozenset({DocumentStatus.PAID, DocumentStatus.CREDITED}),
    DocumentStatus.PAID: frozenset({DocumentStatus.HANDED_OFF, DocumentStatus.CREDITED}),
    DocumentStatus.VOID: frozenset(),
    DocumentStatus.CREDITED: frozenset(),
}
"""Where a document may go from where it stands; what was issued is answered, never made void, and a
payment may be taken back."""


class Documents:
    """The invoices and credit notes of one environment; safe for threads."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._client = rows.client

    def save_document(self, document: Invoice) -> Saved:
        """Write a document with all its lines in one transaction; an equal one is left alone.

        Lines of an earlier draft that are gone are removed in the same transaction. Conflict when
        the stored document is approved or later, or when somebody else was faster; InvariantBroken
        when one charge stands on it twice.
        """
        head = to_row(INVOICE, document)
        lines = {row.key: row for row in (to_row(INVOICE_LINE, line) for line in document.lines)}
        if len(lines) != len(document.lines):
            raise InvariantBroken(f"{document.key} holds one charge twice")
        self._rows.settle_links([head, *lines.values()])
        digests = {key: row.digest() for key, row in lines.items()}
        digest = _digest([head.digest(), *(f"{key} {digests[key]}" for key in sorted(digests))])
        stored, old = self._stored_draft(document)
        if stored is not None and stored[ROW_HASH] == digest:
            return Saved(unchanged=1 + len(lines))
        if stored is not None and stored["csp_status"] != _status(DocumentStatus.DRAFT):
            raise _conflict(f"{document.key} is no draft any more")
        changed = {key: row for key, row in lines.items() if old.get(key) != digests[key]}
        gone = old.keys() - lines.keys()
        body = {**self._rows.body(INVOICE, head), ROW_HASH: digest}
        bodies = {
            key: {**self._rows.body(INVOICE_LINE, row), ROW_HASH: digests[key]}
            for key, row in changed.items()
        }
        version = None if stored is None else etag(stored)
        operations = [self._put(INVOICE, head.key, body, condition(version))]
        operations += [self._put(INVOICE_LINE, key, line, {}) for key, line in bodies.items()]
        operations += [self._delete(INVOICE_LINE, key, {}) for key in sorted(gone)]
        if len(operations) > LARGEST_BATCH:
            for row in lines.values():
                row.links = [link for link in row.links if link[0].target != INVOICE.name]
            whole = {
                key: {**self._rows.body(INVOICE_LINE, row), ROW_HASH: digests[key]}
                for key, row in lines.items()
            }
            operations = self._replace_whole(head.key, body, whole, version)
        try:
            self._client.change(operations)
        except Conflict:
            # The answer to our own write may have been lost, and the write repeated.
            now, _ = self._stored_draft(document)
            if now is None or now[ROW_HASH] != digest:
                raise
        except NotFound:
            self._rows.forget_links()  # so that the next try leaves out what was deleted
            raise
        created = len(bodies.keys() - old.keys()) + (stored is None)
        return Saved(
            created=created,
            updated=1 + len(bodies) + len(gone) - created,
            unchanged=len(lines) - len(bodies),
        )

    def _stored_draft(self, document: Invoice) -> tuple[Row | None, dict[str, str]]:
        """Read the stored head of a document and the hashes of its lines."""
        head = f"{EXTERNAL_KEY} eq {literal(external_key(document.key))}"
        heads, lines = self._client.read_together(
            [
                Query(table=INVOICE.name, select=("csp_status", ROW_HASH), where=head),
                Query(
                    table=INVOICE_LINE.name,
                    select=(EXTERNAL_KEY, ROW_HASH),
                    where=f"csp_InvoiceId/{head} and {OURS}",
                ),
            ]
        )
        hashes = {row[EXTERNAL_KEY]: row[ROW_HASH] for row in lines}
        return (heads[0] if heads else None), hashes

    def _replace_whole(
        self, key: str, head: Row, lines: Mapping[str, Row], version: str | None
    ) -> list[Operation]:
        """Two operations for a document with more lines than a change set holds.

        The old draft goes with its lines, and the new one comes with its own nested in it. A second
        worker meets the version of the first, or its alternate key.
        """
        link = next(one for one in INVOICE_LINE.lookups if one.target == INVOICE.name)
        nested = [{**line, EXTERNAL_KEY: line_key} for line_key, line in lines.items()]
        body = {**head, EXTERNAL_KEY: key, INVOICE_LINE.relationship(link): nested}
        path = API + self._client.entity_set(INVOICE.name)
        made = Operation(method="POST", path=path, body=body)
        if version is None:
            return [made]
        return [self._delete(INVOICE, key, condition(version)), made]

    def discard_draft(self, document_key: str) -> None:
        """Remove a draft and, by cascade, its lines; Conflict when it is no draft any more.

        A document that is not stored is already discarded.
        """
        key = external_key(document_key)
        rows = self._client.read_keyed(INVOICE.name, ("csp_status",), (key,))
        if not rows:
            return
        if rows[0]["csp_status"] != _status(DocumentStatus.DRAFT):
            raise _conflict(f"{document_key} is no draft any more")
        with contextlib.suppress(NotFound):  # gone meanwhile, perhaps by our own first try
            self._client.change([self._delete(INVOICE, key, condition(etag(rows[0])))])

    def documents(
        self, *, period: str = "", status: DocumentStatus | None = None, customer_id: str = ""
    ) -> Sequence[Invoice]:
        """Read documents with their lines, by number and key; `period` is the month of their start."""
        tests = [OURS]
        if period:
            month = Period.month(period)
            tests.append(f"csp_periodstart ge {month.start} and csp_periodstart lt {month.end}")
        if status is not None:
            tests.append(f"csp_status eq {_status(status)}")
        if customer_id:
            tests.append(f"csp_tenantid eq {literal(customer_id)}")
        heads = self._client.read(query_of(INVOICE, " and ".join(tests)))
        lines: list[Row] = []
        for some in slices([row[KEY] for row in heads]):
            where = f"{OURS} and {one_of('csp_invoicekey', some)}"
            lines += self._client.read(query_of(INVOICE_LINE, where))
        return documents_of(heads, lines)

    def document(self, name: str) -> Invoice | None:
        """Read one document by its number or key."""
        mine = f"(csp_number eq {literal(name)} or {KEY} eq {literal(name)})"
        heads = self._client.read(query_of(INVOICE, f"{OURS} and {mine}"))
        if not heads:
            return None
        where = f"{OURS} and csp_invoicekey eq {literal(heads[0][KEY])}"
        return documents_of(heads[:1], self._client.read(query_of(INVOICE_LINE, where)))[0]

    def document_keys(self, status: DocumentStatus) -> Sequence[str]:
        """Return the keys of all documents that stand there, also of those that cannot be read."""
        where = f"{OURS} and csp_status eq {_status(status)}"
        rows = self._client.read(Query(table=INVOICE.name, select=(KEY,), where=where))
        return sorted(row[KEY] for row in rows)

    def numbers(self, period: str) -> Sequence[str]:
        """Return the numbers of a month's documents, also of those that cannot be read."""
        month = Period.month(period)
        query = Query(
            table=INVOICE.name,
            select=("csp_number",),
            where=f"{OURS} and csp_number ne null and (csp_periodstart ge {month.start}"
            f" and csp_periodstart lt {month.end}"
            f" or contains(csp_number,{literal(f'-{month.start:%Y%m}-')}))",
        )
        return sorted(row["csp_number"] for row in self._client.read(query))

    def unattached(self, period: str) -> Sequence[str]:
        """Return the keys of the numbered documents of a month whose file is missing."""
        month = Period.month(period)
        numbered = f"{OURS} and csp_number ne null"
        query = Query(
            table=INVOICE.name,
            select=(KEY, FILE),
            where=f"{numbered} and csp_periodstart ge {month.start}"
            f" and csp_periodstart lt {month.end}",
        )
        return sorted(row[KEY] for row in self._client.read(query) if row[FILE] is None)

    def attach(self, document_key: str, name: str, content: bytes) -> None:
        """Set the file that people open from a document's row; NotFound when it is not stored."""
        key = external_key(document_key)
        rows = self._client.read_keyed(INVOICE.name, (INVOICE.primary_id,), (key,))
        if not rows:
            msg = f"document {document_key} is not stored"
            raise NotFound(msg, service=SERVICE)
        path = self._client.id_path(INVOICE.name, rows[0][INVOICE.primary_id])
        files.upload(self._client, path, FILE, name, content)

    def document_file(self, document_key: str) -> tuple[str, bytes] | None:
        """Read the file of a document with its name; None where it has none, or is not stored."""
        columns = (INVOICE.primary_id, FILE, f"{FILE}_name")
        rows = self._client.read_keyed(INVOICE.name, columns, (external_key(document_key),))
        if not rows or rows[0][FILE] is None:
            return None
        path = self._client.id_path(INVOICE.name, rows[0][INVOICE.primary_id])
        return str(rows[0][f"{FILE}_name"]), files.download(self._client, path, FILE)

    def settle_document(self, document: Invoice) -> None:
        """Move a document along its life (status, number, dates, fingerprint), lines untouched.

        Conflict when the stored document has other lines or terms, cannot go there from where it
        stands, or was moved by somebody else meanwhile. Settling twice is settling once.
        """
        stored, version = self._stored_document(document.key)
        if stored == document:
            return
        if replace(document, **_life(stored)) != stored:
            raise _conflict(f"{document.key} is not the document that is stored")
        if document.status not in _NEXT[stored.status]:
            raise _conflict(
                f"{document.key} is {stored.status} and cannot become {document.status}"
            )
        head = to_row(INVOICE, document).columns
        moved = {
            name: head[name]
            for name in (
                "csp_name",
                "csp_status",
                "csp_number",
                "csp_issuedon",
                "csp_dueon",
                "csp_paidon",
                "csp_fingerprint",
                OVERFLOW,
            )
        }
        try:
            self._client.write(
                INVOICE.name, external_key(document.key), {**moved, ROW_HASH: None}, version=version
            )
        except Conflict:
            if self._stored_document(document.key)[0] != document:
                raise

    def _stored_document(self, key: str) -> tuple[Invoice, str]:
        where = f"{EXTERNAL_KEY} eq {literal(external_key(key))}"
        heads, lines = self._client.read_together(
            [
                query_of(INVOICE, where),
                query_of(INVOICE_LINE, f"csp_InvoiceId/{where} and {OURS}"),
            ]
        )
        if not heads:
            msg = f"document {key} is not stored"
            raise NotFound(msg, service=SERVICE)
        return documents_of(heads, lines)[0], etag(heads[0])

    def _put(self, table: Table, key: str, body: Row, headers: Mapping[str, str]) -> Operation:
        return Operation(method="PATCH", path=self._path(table, key), headers=headers, body=body)

    def _delete(self, table: Table, key: str, headers: Mapping[str, str]) -> Operation:
        return Operation(method="DELETE", path=self._path(table, key), headers=headers)

    def _path(self, table: Table, key: str) -> str:
        return API + self._client.row_path(table.name, key)


def documents_of(heads: Iterable[Row], lines: Iterable[Row]) -> tuple[Invoice, ...]:
    """Put heads and lines together, by number and key; lines by position."""
    by_invoice: dict[str, list[InvoiceLine]] = {}
    for row in lines:
        line: InvoiceLine = from_row(INVOICE_LINE, row)
        by_invoice.setdefault(line.invoice_key, []).append(line)
    found: list[Invoice] = []
    for head in heads:
        document: Invoice = from_row(INVOICE, head, lines=())
        own = sorted(by_invoice.get(document.key, []), key=lambda line: (line.position, line.key))
        found.append(replace(document, lines=tuple(own)))
    return tuple(sorted(found, key=lambda document: (document.number, document.key)))


def _life(document: Invoice) -> dict[str, Any]:
    """Return what may still change of a document: where it stands, not what it says."""
    return {
        "status": document.status,
        "number": document.number,
        "issued_on": document.issued_on,
        "due_on": document.due_on,
        "paid_on": document.paid_on,
        "fingerprint": document.fingerprint,
    }


def _status(status: DocumentStatus) -> int:
    return INVOICE.column("csp_status").option(status.value)


def _conflict(sentence: str) -> Conflict:
    return Conflict(sentence, service=SERVICE, status=412)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def slices(values: Sequence[T], size: int = 25) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces that fit into one filter."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
