"""Partner Center as the use cases see it: one object that yields domain records or findings.

Reads only. Which sign-in an operation takes is data: an app alone where Microsoft allows it (no
second factor needed), the user elsewhere. Pages are followed by continuation token or by link,
whatever the service chose, and never in a circle. Raw payloads go to `on_payload` before they are
parsed, so that what was read can be audited later.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from domain.contract import SheetPrice
from domain.customer import Agreement, Customer, Qualification
from domain.delivery import Delivery
from domain.problems import Finding, NotAuthorised, NotFound, ServiceError, Severity
from domain.subscription import CostInvoice, CostLine, Subscription, SubscriptionEvent
from partner_center.billing import invoices_of
from partner_center.customers import (
    AgreementWire,
    CustomerWire,
    DirectSignedWire,
    QualificationWire,
)
from partner_center.exports import BillingExports
from partner_center.files import cost_lines_in
from partner_center.graph import json_of
from partner_center.prices import PriceSheets
from partner_center.subscriptions import SubscriptionWire, events_of
from partner_center.wire import label, objects, read
from transport.session import Http, Tokens

PARTNER_CENTER_URL = "https://api.partnercenter.microsoft.com"
PARTNER_CENTER_SCOPE = f"{PARTNER_CENTER_URL}/.default"


class _SignIn(Enum):
    APP = "app alone, or user"
    USER = "user"


# Which sign-in Microsoft takes (2026 digests; older documentation is looser).
_SIGN_INS = {
    "customers": _SignIn.APP,
    "qualifications": _SignIn.APP,
    "subscriptions": _SignIn.APP,
    "invoices": _SignIn.APP,
    "agreements": _SignIn.USER,
    "auditrecords": _SignIn.USER,
}
# 403 codes that say "not this customer" rather than "not you": no relationship, access denied.
_LOST_CUSTOMER = frozenset({"20002", "2032"})


class PartnerCenterClient:
    """Customers, subscriptions, invoices, usage and prices of one partner.

    `correlation` (a run's key, say) marks the calls in Microsoft's logs. Failures of the service are
    ServiceErrors with its request id.
    """

    def __init__(
        self,
        http: Http,
        exports: BillingExports,
        prices: PriceSheets,
        *,
        user: Tokens,
        app: Tokens | None = None,
        correlation: str = "",
        locale: str = "en-US",
        page_size: int = 500,
        on_payload: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._http = http
        self._exports = exports
        self._prices = prices
        self._tokens = {_SignIn.USER: user, _SignIn.APP: app or user}
        self._correlation = correlation
        self._locale = locale
        self._page_size = str(page_size)
        self._on_payload = on_payload
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def customers(self) -> Iterator[Customer | Finding]:
        """Yield every customer's list entry (`details_known=False`)."""
        for item in self._items("customers", "/v1/customers", {"size": self._page_size}):
            yield read(
                CustomerWire,
                item,
                CustomerWire.to_domain,
                check="customer",
                record=label("customer", item),
                customer_id=_text(item, "id"),
            )

    def customer(self, customer_id: str) -> Customer | Finding:
        """Read one customer with address, qualifications and registration number.

        A customer that is gone, or with whom there is no relationship any more, is a finding.
        """
        path = _customer_path(customer_id)
        try:
            payload = self._object("customers", path)
            qualifications = list(self._items("qualifications", f"{path}/qualifications"))
        except (NotFound, NotAuthorised) as error:
            if isinstance(error, NotAuthorised) and error.code not in _LOST_CUSTOMER:
                raise
            return Finding(
                check="customer.unreachable",
                severity=Severity.HOLD,
                customer_id=customer_id,
                record=f"customer {customer_id}",
                sentence=f"Partner Center does not show the customer: {error}",
                hint="Check in Partner Center whether the reseller relationship still exists.",
            )
        found: list[Qualification] = []
        for item in qualifications:
            one = read(
                QualificationWire,
                item,
                QualificationWire.to_domain,
                check="qualification",
                record=f"qualification of {customer_id}",
                customer_id=customer_id,
            )
            if isinstance(one, Finding):
                return one
            if one.name.lower() != "none":
                found.append(one)
        return read(
            CustomerWire,
            payload,
            lambda wire: wire.to_domain(tuple(found), details_known=True),
            check="customer",
            record=f"customer {customer_id}",
            customer_id=customer_id,
        )

    def agreements(self, customer_id: str) -> Iterator[Agreement | Finding]:
        """Yield all agreements of a customer, of every type, the directly signed one included."""
        path = _customer_path(customer_id)
        # Without the parameter the service lists the old cloud agreement alone.
        for item in self._items("agreements", f"{path}/agreements", {"agreementType": "*"}):
            yield read(
                AgreementWire,
                item,
                lambda wire: wire.to_domain(customer_id),
                check="agreement",
                record=label(f"agreement of {customer_id}", item, "templateid"),
                customer_id=customer_id,
            )
        direct = read(
            DirectSignedWire,
            self._object("agreements", f"{path}/directSignedMicrosoftCustomerAgreementStatus"),
            lambda wire: wire.to_domain(customer_id),
            check="agreement",
            record=f"direct agreement of {customer_id}",
            customer_id=customer_id,
        )
        if direct is not None:
            yield direct

    def subscriptions(self, customer_id: str) -> Iterator[Subscription | Finding]:
        """Yield the snapshot of every subscription of a customer."""
        for item in self._items("subscriptions", f"{_customer_path(customer_id)}/subscriptions"):
            yield read(
                SubscriptionWire,
                item,
                lambda wire: wire.to_domain(customer_id),
                check="subscription",
                record=label("subscription", item),
                customer_id=customer_id,
            )

    def subscription_events(
        self, since: date, until: date
    ) -> Iterator[SubscriptionEvent | Finding]:
        """Yield changes from the audit log in [since, until); at most 90 days back."""
        # Whether endDate is included is not documented: asking for a day more covers both.
        window = {"startDate": since.isoformat(), "endDate": until.isoformat()}
        records = self._items(
            "auditrecords", "/v1/auditrecords", window | {"size": self._page_size}
        )
        yield from events_of(records, since, until)

    def invoices(self) -> Iterator[CostInvoice | Finding]:
        """Yield the heads of Microsoft's invoices, newest first; before them what is not billed."""
        documents = self._items("invoices", "/v1/invoices", {"size": "200", "offset": "0"})
        heads: list[CostInvoice] = []
        for one in invoices_of(documents):
            if isinstance(one, CostInvoice):
                heads.append(one)
            else:
                yield one
        yield from sorted(heads, key=lambda head: (head.issued_on, head.id), reverse=True)

    def export(self, report: str, invoice_id: str) -> Delivery:
        """Fetch the lines (`reconciliation`) or the daily `usage` of an invoice into the archive.

        What the archive has of the same version is not fetched again. A delivery without parts:
        Microsoft has no such data. Incomplete: it delivered less than it announced.
        """
        return self._exports.billed(report, invoice_id)

    def cost_lines(
        self, delivery: Delivery, *, distinct: bool = False
    ) -> Iterator[CostLine | Finding]:
        """Yield the lines of one of Microsoft's invoices as it was delivered, without shares.

        `distinct`: a line that an earlier part has already is left out; repeats within a part stay.
        """
        return cost_lines_in(self._exports.parts(delivery), delivery.invoice_id, distinct=distinct)

    def download_unbilled_usage(
        self, currency: str, period: str, directory: Path
    ) -> tuple[Path, ...]:
        """Fetch the usage that is not billed yet, of the `current` or the `last` period.

        It is restated until the period closes: it forecasts and alerts, and is never billed.
        """
        return self._exports.unbilled("usage", currency, period, directory)

    def sheet_prices(self, market: str, view: str) -> Iterator[SheetPrice | Finding]:
        """Yield the rows of Microsoft's price sheet now in force."""
        return self._prices.sheet_prices(market, view)

    def _items(
        self, operation: str, path: str, params: Mapping[str, str] | None = None
    ) -> Iterator[Any]:
        """Yield the items of all pages.

        Seek paging repeats the query with the continuation token in a header; index paging follows
        the link. A last page has no next link.
        """
        url, query, token = path, dict(params or {}), ""
        seen: set[tuple[str, str]] = set()
        for number in itertools.count(1):
            if (url, token) in seen:
                raise ServiceError("a next link leads back", service=self._http.service)
            seen.add((url, token))
            headers = {"MS-ContinuationToken": token} if token else {}
            body = self._object(operation, url, query, headers, f"{path}/{number:04}.json")
            yield from objects(body)
            links = body.get("links")
            following = links.get("next") if isinstance(links, Mapping) else None
            if not isinstance(following, Mapping):
                return
            token = _continuation(following) or str(body.get("continuationToken") or "")
            if token:
                query["seekOperation"] = "Next"
            else:
                url, query = _absolute_path(str(following.get("uri") or "")), {}

    def _object(
        self,
        operation: str,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        name: str = "",
    ) -> dict[str, Any]:
        with self._lock:
            number = next(self._numbers)
        meaning = f"{self._correlation}/{number}/{url}"
        answer = self._http.request(
            "GET",
            url,
            params=params,
            headers={
                "MS-RequestId": str(uuid5(NAMESPACE_URL, meaning)),
                "MS-CorrelationId": str(uuid5(NAMESPACE_URL, f"{self._correlation}/correlation")),
                "MS-Contract-Version": "v1",
                "MS-PartnerCenter-Application": "CSP Billing for Dataverse",
                "X-Locale": self._locale,
                **(headers or {}),
            },
            tokens=self._tokens[_SIGN_INS[operation]],
        )
        if self._on_payload:
            self._on_payload((name or f"{url}.json").removeprefix("/v1/"), answer.content)
        return json_of(answer, self._http.service)


def _customer_path(customer_id: str) -> str:
    return f"/v1/customers/{quote(customer_id, safe='')}"


def _continuation(link: Mapping[str, Any]) -> str:
    headers = link.get("headers")
    for one in headers if isinstance(headers, list) else ():
        if isinstance(one, Mapping) and str(one.get("key")).lower() == "ms-continuationtoken":
            return str(one.get("value") or "")
    return ""


def _absolute_path(uri: str) -> str:
    """Links are relative to /v1 and mostly leave it out."""
    if uri.startswith(("https://", "http://", "/v1/")):
        return uri
    return f"/v1/{uri.lstrip('/')}"


def _text(payload: Any, name: str) -> str:
    value = payload.get(name) if isinstance(payload, Mapping) else None
    return value.lower() if isinstance(value, str) else ""
