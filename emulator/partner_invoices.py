"""Partner Center v1: invoices, balances, and the line items that were frozen in 2025."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.partner_wire import (
    APP_TOO,
    USER_ONLY,
    RefusalError,
    Resource,
    Route,
    collection,
    link,
    matcher,
    seek_page,
)

LINE_PAGE_CAP = 2000
# Line items on v1 ended with the invoices of this day; newer ones answer with an empty collection.
LINES_FROZEN = date(2025, 5, 15)
UNBILLED_RETIRED = date(2026, 3, 15)


class Invoices:
    """Handlers of the partner's own invoices."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.routes: list[Route] = [
            ("GET", "/v1/invoices", self._invoices, APP_TOO),
            ("GET", "/v1/invoices/summary", self._summary, APP_TOO),
            ("GET", "/v1/invoices/summaries", self._summaries, APP_TOO),
            # A 2026 digest of the documentation says user only; the 2021 page allowed both.
            ("GET", "/v1/invoices/{invoice}", self._invoice, USER_ONLY),
            ("GET", "/v1/invoices/{invoice}/lineitems", self._line_items, APP_TOO),
            (
                "GET",
                "/v1/invoices/{invoice}/lineitems/{provider}/{kind}",
                self._line_items,
                APP_TOO,
            ),
        ]

    def _invoices(self, request: Request) -> Response:
        """All invoices: size and offset are ignored for modern ones."""
        fits = matcher(request.args.get("filter"), {"InvoiceDate": lambda row: row["invoiceDate"]})
        rows = [row for row in self._stage.world.invoices() if fits(row)]
        query = request.query_string.decode()
        return wire.json_response(collection(rows, "/invoices" + (f"?{query}" if query else "")))

    def _find_invoice(self, invoice: str) -> Resource:
        wanted = invoice.lower().removeprefix("onetime-").removeprefix("recurring-")
        for row in self._stage.world.invoices():
            if row["id"].lower() == wanted:
                return row
        raise RefusalError(404, "1000", "The invoice was not found.")

    def _invoice(self, request: Request, invoice: str) -> Response:
        del request
        return wire.json_response(self._find_invoice(invoice))

    def _summary(self, request: Request) -> Response:
        rows = self._summary_rows()
        if not rows:
            raise RefusalError(404, "1000", "There is no invoice yet.")
        del request
        return wire.json_response(rows[0])

    def _summaries(self, request: Request) -> Response:
        del request
        return wire.json_response(collection(self._summary_rows(), "/invoices/summaries"))

    def _summary_rows(self) -> list[Resource]:
        by_currency: dict[str, list[Resource]] = {}
        for row in self._stage.world.invoices():
            by_currency.setdefault(row["currencyCode"], []).append(row)
        answer = []
        for currency, rows in sorted(by_currency.items()):
            dates = sorted(row["invoiceDate"] for row in rows)
            # A paid amount is negative, so the sum is what is still owed.
            owed = sum(Decimal(row["totalCharges"]) + Decimal(row["paidAmount"]) for row in rows)
            answer.append(
                {
                    "balanceAmount": Decimal(owed),
                    "currencyCode": currency,
                    "currencySymbol": rows[0]["currencySymbol"],
                    "accountingDate": wire.stamp(self._stage.clock.now()),
                    "firstInvoiceCreationDate": dates[0],
                    "latestInvoiceDate": dates[-1],
                    "details": [],
                    "links": {"self": link("/invoices/summary")},
                    "attributes": {"objectType": "InvoiceSummary"},
                }
            )
        return answer

    def _line_items(
        self, request: Request, invoice: str, provider: str = "", kind: str = ""
    ) -> Response:
        provider = (provider or request.args.get("provider", "")).lower()
        kind = (kind or request.args.get("invoicelineitemtype", "")).lower()
        providers = ("onetime", "office", "azure", "marketplace", "all")
        if provider not in providers or kind not in ("billinglineitems", "usagelineitems"):
            # `one_time` is what the JSON says, and is refused in a query.
            raise RefusalError(400, "3000", "The request is invalid.", "PartnerApiService")
        if invoice.lower() == "unbilled":
            raise RefusalError(410, "1000", f"Unbilled line items ended on {UNBILLED_RETIRED}.")
        found = self._find_invoice(invoice)
        rows: list[Resource] = []
        frozen = date.fromisoformat(found["invoiceDate"][:10]) >= LINES_FROZEN
        if not frozen and kind == "billinglineitems" and provider in ("onetime", "all"):
            rows = [
                _v1_line(row) for row in self._stage.world.reconciliation_lines(found["id"]) or []
            ]
        path = f"/invoices/{invoice}/lineitems"
        page = seek_page(rows, request, cap=LINE_PAGE_CAP, path=path, next_path=path)
        if "next" in page["links"]:
            page["continuationToken"] = page["links"]["next"]["headers"][0]["value"]
        return wire.json_response(page)


_V1_NAMES = {"Tier2MpnId": "resellerMpnId", "Total": "totalForCustomer"}


def _v1_line(line: Resource) -> Resource:
    """A reconciliation line under its v1 names."""
    row = {}
    for name, value in line.items():
        plain = "pc" + name[2:] if name.startswith("PC") else name[0].lower() + name[1:]
        row[_V1_NAMES.get(name, plain)] = value
    row["productQualifiers"] = wire.decode(row.get("productQualifiers") or "[]")
    row |= {"invoiceLineItemType": "billing_line_items", "billingProvider": "one_time"}
    return row | {"attributes": {"objectType": "OneTimeInvoiceLineItem"}}
