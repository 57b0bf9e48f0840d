"""The documents once more in the standard tables of Dynamics 365 Sales, for who works there.

Our tables stay the system of record; this is a copy, made where the setting asks for it. Each
standing document becomes one `invoice` with write-in lines in one change set, is read back after
Sales has reckoned, compared to the cent, and only then locked. What became of it stands on our own
row, so a run that dies anywhere is healed by the next. The organisation's pricing is never changed.

Not documented, and therefore never taken for granted: that a write-in may be negative (a credit
note is an invoice with negative lines), and how Sales rounds. Either would show as a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from dataverse.batch import LARGEST_BATCH, Operation
from dataverse.client import API, DataverseClient, Query, condition, etag, literal, one_of
from dataverse.documents import OURS, documents_of, slices
from dataverse.mapping import fit
from dataverse.rows import query_of
from dataverse.schema import EXTERNAL_KEY, KEY, Row, external_key
from dataverse.standard_invoice import (
    HEAD_COLUMNS,
    LINE_COLUMNS,
    SALES_INVOICE,
    SALES_ROLE,
    differences_of,
    head_body,
    line_body,
    shown,
)
from dataverse.tables import INVOICE, INVOICE_LINE
from domain.problems import Conflict, Finding, NotFound, ServiceError, Severity
from invoice.document import DocumentStatus, Invoice
from invoice.reported import CopyState, Reported

UNAVAILABLE = "projection.unavailable"
NO_PRICE_LIST = "projection.no_price_list"
NO_ACCOUNT = "projection.no_account"
REFUSED = "projection.refused"
TOTAL = "projection.total"

DIFFERENT, LOCKED, CANCELLED = "different", "locked", "cancelled"
_STATE = INVOICE.column("csp_projection")
_CANCELED = {"statecode": 3, "statuscode": 100003}
_STATES = {2: CopyState.PAID, 3: CopyState.CANCELLED}
_PARTIAL = 100002
_STATE_COLUMNS = ("statecode", "statuscode", "totalamount", "modifiedon")
_MARK = ("csp_projection", "csp_projectedtotal")
_ROW_FAULTS = frozenset({400, 403, 404, 405, 412})
"""What Sales has against one document; the others go on."""
_NOT_READABLE = frozenset({400, 403, 404})
"""How a read is refused where the key, the right or the table is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pricing:
    """What of the environment decides how a document is written."""

    decimals: int
    """Of unit prices, a setting of the organisation."""
    automatic: bool
    """Whether Sales reckons itself; a company may have put a plug-in in its place."""
    currencies: dict[str, str]
    """ISO code to row."""
    lists: dict[str, str]
    """Row of the currency to row of a price list."""


_PRICING = (
    Query(table="organization", select=("pricingdecimalprecision", "oobpricecalculationenabled")),
    Query(
        table="transactioncurrency",
        select=("transactioncurrencyid", "isocurrencycode"),
        where="statecode eq 0",
    ),
    Query(
        table="pricelevel",
        select=("pricelevelid", "name", "_transactioncurrencyid_value"),
        where="statecode eq 0",
    ),
)


def _pricing_of(answers: Sequence[Sequence[Row]]) -> _Pricing:
    """Put the answers to `_PRICING` together."""
    organizations, currencies, lists = answers
    # Any list of the currency will do: a write-in has its price from us. The first by name.
    by_name = sorted(lists, key=lambda row: (row["name"] or "", row["pricelevelid"]))
    return _Pricing(
        decimals=int(organizations[0]["pricingdecimalprecision"]),
        automatic=bool(organizations[0]["oobpricecalculationenabled"]),
        currencies={row["isocurrencycode"]: row["transactioncurrencyid"] for row in currencies},
        lists={
            row["_transactioncurrencyid_value"]: row["pricelevelid"] for row in reversed(by_name)
        },
    )


class SalesProjection:
    """The standard invoices of one environment, as `sync.ports.Projection` and `Accounting` by shape."""

    target = "d365_sales"
    """How billing contracts name it as their accounting system."""

    checks = (UNAVAILABLE, NO_PRICE_LIST, NO_ACCOUNT, REFUSED, TOTAL)

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    def catch_up(self, now: datetime) -> Sequence[Finding]:
        """Project what is missing, cancel what was made void; returns what stands in the way.

        Done twice it changes nothing. A document that differs is looked at again each time, until
        somebody mended it. An outage is raised, so that the findings that stand are kept.
        """
        try:
            heads = self._pending()
            if not heads:
                return []
            documents = self._documents(heads)
            keys = [external_key(one.key) for one in documents]
            found = self._client.read_keyed(SALES_INVOICE.name, (*HEAD_COLUMNS, EXTERNAL_KEY), keys)
            pricing = _pricing_of(self._client.read_together(_PRICING))
        except ServiceError as fault:
            # A lost connection has no status either: it passes, and says nothing about Sales.
            if not isinstance(fault, NotFound) and fault.status not in _NOT_READABLE:
                raise
            return [_unavailable(fault)]
        standard = {row[EXTERNAL_KEY]: row for row in found}
        marks = {row[KEY]: row for row in heads}
        findings: list[Finding] = []
        for document in documents:
            row, mark = standard.get(external_key(document.key)), marks[document.key]
            try:
                findings.extend(self._project(document, row, mark, pricing, now))
            except ServiceError as fault:
                if fault.status not in _ROW_FAULTS:
                    raise
                findings.append(_refused(document, fault))
        return list({finding.key: finding for finding in findings}.values())

    def hand_off(self, document: Invoice, now: datetime) -> Sequence[Finding]:
        """Have one document there, equal to the cent; returns what stands in the way."""
        where = f"{EXTERNAL_KEY} eq {literal(external_key(document.key))}"
        try:
            self._client.entity_set(SALES_INVOICE.name)
            heads, marks, *prices = self._client.read_together(
                [
                    Query(table=SALES_INVOICE.name, select=HEAD_COLUMNS, where=where),
                    Query(table=INVOICE.name, select=_MARK, where=where),
                    *_PRICING,
                ]
            )
        except ServiceError as fault:
            if not isinstance(fault, NotFound) and fault.status not in _NOT_READABLE:
                raise
            return [_unavailable(fault)]
        try:
            head = heads[0] if heads else None
            return list(self._project(document, head, marks[0], _pricing_of(prices), now))
        except ServiceError as fault:
            if fault.status not in _ROW_FAULTS:
                raise
            return [_refused(document, fault)]

    def state_of(self, document_keys: Sequence[str]) -> Sequence[Reported]:
        """Read where documents stand in Sales; one that is not there is left out."""
        keys = [external_key(one) for one in document_keys]
        columns = (*_STATE_COLUMNS, EXTERNAL_KEY)
        rows = self._client.read_keyed(SALES_INVOICE.name, columns, keys) if keys else []
        return [one for one, _ in self._reported(rows)]

    def changed_since(self, moment: datetime) -> Sequence[Reported]:
        """Read documents changed in Sales since a moment that are not there as we have them."""
        since = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows = self._client.read(
            Query(
                table=SALES_INVOICE.name,
                select=(*_STATE_COLUMNS, EXTERNAL_KEY),
                where=f"{EXTERNAL_KEY} ne null and modifiedon ge {since}",
            )
        )
        paid = INVOICE.column("csp_status").option(DocumentStatus.PAID)
        expected = {True: CopyState.PAID, False: CopyState.OPEN}
        return [
            one
            for one, mark in self._reported(rows)
            if not one.same or one.state is not expected[mark["csp_status"] == paid]
        ]

    def _reported(self, rows: Sequence[Row]) -> Iterator[tuple[Reported, Row]]:
        """Yield what rows of Sales say of our documents, with our own row of each."""
        keys = [row[EXTERNAL_KEY] for row in rows]
        columns = (EXTERNAL_KEY, KEY, "csp_status", "csp_total", *_MARK)
        ours = self._client.read_keyed(INVOICE.name, columns, keys) if keys else []
        marks = {row[EXTERNAL_KEY]: row for row in ours}
        for row in rows:
            mark = marks.get(row[EXTERNAL_KEY])
            if mark is None or not mark[KEY]:  # a key that somebody entered, of no document of ours
                continue
            state = _STATES.get(row["statecode"], CopyState.OPEN)
            if state is CopyState.PAID and row["statuscode"] == _PARTIAL:
                state = CopyState.PARTLY_PAID
            total = row["totalamount"] or Decimal(0)
            # What stands there of a copy that was not confirmed is Sales' own total, not ours.
            is_locked = mark["csp_projection"] == _STATE.option(LOCKED)
            column = "csp_projectedtotal" if is_locked else "csp_total"
            reported = Reported(
                document_key=mark[KEY],
                state=state,
                on=datetime.fromisoformat(row["modifiedon"]).astimezone(UTC).date(),
                total=total,
                same=fit(INVOICE.column(column), total) == mark[column],
            )
            yield reported, mark

    # Reading -------------------------------------------------------------------------------------

    def _pending(self) -> list[Row]:
        """Read the heads of documents whose copy is not as it should be."""
        void = INVOICE.column("csp_status").option(DocumentStatus.VOID)
        draft = INVOICE.column("csp_status").option(DocumentStatus.DRAFT)
        open_ = f"(csp_projection eq null or csp_projection eq {_STATE.option(DIFFERENT)})"
        uncancelled = f"({open_} or csp_projection eq {_STATE.option(LOCKED)})"
        self._client.entity_set(SALES_INVOICE.name)  # else: Sales is not installed
        return self._client.read(
            query_of(
                INVOICE,
                f"{OURS} and ((csp_status ne {draft} and csp_status ne {void} and {open_})"
                f" or (csp_status eq {void} and {uncancelled}))",
                "csp_projection",
                "csp_projectedtotal",
            )
        )

    def _documents(self, heads: Sequence[Row]) -> Sequence[Invoice]:
        lines: list[Row] = []
        for some in slices([row[KEY] for row in heads]):
            where = f"{OURS} and {one_of('csp_invoicekey', some)}"
            lines += self._client.read(query_of(INVOICE_LINE, where))
        return documents_of(heads, lines)

    def _read_back(self, key: str) -> tuple[Row | None, list[Row]]:
        where = f"{EXTERNAL_KEY} eq {literal(key)}"
        heads, lines = self._client.read_together(
            [
                Query(table="invoice", select=HEAD_COLUMNS, where=where),
                Query(table="invoicedetail", select=LINE_COLUMNS, where=f"invoiceid/{where}"),
            ]
        )
        return (heads[0] if heads else None), lines

    # Writing -------------------------------------------------------------------------------------

    def _project(
        self, document: Invoice, row: Row | None, mark: Row, pricing: _Pricing, now: datetime
    ) -> Iterator[Finding]:
        key = external_key(document.key)
        if document.status is DocumentStatus.VOID:
            if row is not None and row["statecode"] != _CANCELED["statecode"]:
                path = self._client.id_path("invoice", row["invoiceid"])
                self._client.call(
                    "PATCH", path, headers={"If-Match": etag(row)}, body=_CANCELED, keyed=True
                )
            self._mark(document, {"csp_projection": _STATE.option(CANCELLED)}, mark)
            return
        currency = pricing.currencies.get(document.currency, "")
        if not document.account_id:
            yield _no_account(document)
            return
        if currency not in pricing.lists:
            yield _no_price_list(document.currency)
            return
        if row is None:
            self._create(document, key, currency, pricing)
        row, lines = self._read_back(key)
        if row is None:  # deleted by somebody this moment: the next run makes it anew
            return
        differences = list(differences_of(document, row, lines))
        if differences:
            yield _different(document, row, differences, pricing)
        elif not row["ispricelocked"]:
            path = self._client.id_path("invoice", row["invoiceid"])
            self._client.call(
                "POST", f"{path}/Microsoft.Dynamics.CRM.LockInvoicePricing", keyed=True
            )
        self._mark(
            document,
            {
                "csp_projection": _STATE.option(DIFFERENT if differences else LOCKED),
                "csp_projectedtotal": fit(
                    INVOICE.column("csp_projectedtotal"), row["totalamount"] or Decimal(0)
                ),
            },
            mark,
            now,
        )

    def _create(self, document: Invoice, key: str, currency: str, pricing: _Pricing) -> None:
        """Write head and lines in one change set; who finds the head there was too late."""
        path = API + self._client.entity_set("invoicedetail")
        head = head_body(document, self._binds(document, currency, pricing))
        lines = [line_body(n, line, pricing.decimals) for n, line in enumerate(document.lines, 1)]
        if len(lines) < LARGEST_BATCH:
            parent = f"/{self._client.row_path('invoice', key)}"
            operations = [
                Operation(
                    method="PATCH",
                    path=API + self._client.row_path("invoice", key),
                    headers=condition(None),
                    body=head,
                )
            ]
            operations += [
                Operation(method="POST", path=path, body={**line, "invoiceid@odata.bind": parent})
                for line in lines
            ]
        else:  # more than a change set holds: the lines come nested in their invoice
            body = {**head, EXTERNAL_KEY: key, self._lines_property(): lines}
            operations = [
                Operation(method="POST", path=API + self._client.entity_set("invoice"), body=body)
            ]
        try:
            self._client.change(operations)
        except Conflict:
            # Another run, or our own first try whose answer was lost.
            if self._read_back(key)[0] is None:
                raise

    def _binds(self, document: Invoice, currency: str, pricing: _Pricing) -> dict[str, str]:
        path = self._client.id_path
        return {
            "customerid_account@odata.bind": f"/{path('account', document.account_id)}",
            "transactioncurrencyid@odata.bind": f"/{path('transactioncurrency', currency)}",
            "pricelevelid@odata.bind": f"/{path('pricelevel', pricing.lists[currency])}",
        }

    def _lines_property(self) -> str:
        """Ask under which property an invoice has its lines."""
        definition = self._client.call(
            "GET",
            "EntityDefinitions(LogicalName='invoicedetail')",
            params={
                "$select": "LogicalName",
                "$expand": "ManyToOneRelationships($select=ReferencingAttribute,"
                "ReferencedEntityNavigationPropertyName)",
            },
        ).json()
        return next(
            str(one["ReferencedEntityNavigationPropertyName"])
            for one in definition["ManyToOneRelationships"]
            if one["ReferencingAttribute"] == "invoiceid"
        )

    def _mark(
        self, document: Invoice, columns: dict[str, Any], mark: Row, now: datetime | None = None
    ) -> None:
        """Note on our own row what became of the copy; the same note is not written twice."""
        if all(mark.get(name) == value for name, value in columns.items()):
            return
        if now is not None:
            columns["csp_projectedon"] = fit(INVOICE.column("csp_projectedon"), now)
        self._client.write(INVOICE.name, external_key(document.key), columns, version="*")


# What a person should know ------------------------------------------------------------------------


def _finding(check: str, record: str, sentence: str, hint: str, customer_id: str = "") -> Finding:
    # A copy that is not right holds nobody: the document itself is.
    return Finding(
        check=check,
        severity=Severity.WARN,
        customer_id=customer_id,
        record=record,
        sentence=sentence,
        hint=hint,
    )


def _unavailable(fault: ServiceError) -> Finding:
    hint = {
        400: "Run `provision --apply` with CSP_PROJECTION on: it adds the key that is needed.",
        403: f"Give the worker's application user the role {SALES_ROLE.name}.",
    }.get(fault.status or 404, "Install Dynamics 365 Sales, or switch CSP_PROJECTION off.")
    if isinstance(fault, NotFound):
        hint = "Install Dynamics 365 Sales, or switch CSP_PROJECTION off."
    return _finding(
        UNAVAILABLE,
        "standard invoices",
        f"No document can be projected to the standard invoices: {fault.args[0]}.",
        hint,
    )


def _no_price_list(currency: str) -> Finding:
    return _finding(
        NO_PRICE_LIST,
        f"price list {currency}",
        f"Sales has no active price list in {currency}, so no document in {currency} is projected.",
        f"Add a price list with currency {currency} in Sales; it may be empty.",
    )


def _no_account(document: Invoice) -> Finding:
    name = document.number or document.key
    return _finding(
        NO_ACCOUNT,
        f"document {name}",
        f"{name} names no account, and a standard invoice cannot be without one.",
        "Set the account on the document's row, and map the customer for the next months.",
        document.customer_id,
    )


def _refused(document: Invoice, fault: ServiceError) -> Finding:
    name = document.number or document.key
    return _finding(
        REFUSED,
        f"document {name}",
        f"Sales refused {name}: {fault.args[0]} ({fault.code or 'no code'}).",
        "Mend what the sentence names; the next run tries again.",
        document.customer_id,
    )


def _different(
    document: Invoice, row: Row, differences: Sequence[str], pricing: _Pricing
) -> Finding:
    name = document.number or document.key
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    hint = (
        f"Sales rounds unit prices to {pricing.decimals} decimals; correct the standard invoice"
        if pricing.automatic
        else "System pricing is off in this organisation; let its own pricing come to the same"
    )
    return _finding(
        TOTAL,
        f"document {name}",
        f"The standard invoice {row['invoicenumber']} comes to {shown(row['totalamount'])} "
        f"{document.currency} and {name} to {document.total.amount}: "
        f"{'; '.join(differences[:3])}{more}.",
        f"{hint}, or set it right by hand. It is not locked; the next run looks again.",
        document.customer_id,
    )
