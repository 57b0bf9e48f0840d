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
from dataclasses import replace
from datetime import date
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from domain.contract import SheetPrice
from domain.customer import (
    MICROSOFT_CUSTOMER_AGREEMENT,
    Agreement,
    Customer,
    IndirectReseller,
    Qualification,
)
from domain.delivery import Delivery
from domain.problems import Finding, NotAuthorised, NotFound, ServiceError, Severity
from domain.subscription import (
    CostInvoice,
    CostLine,
    Subscription,
    SubscriptionEvent,
    SubscriptionKind,
)
from partner_center.billing import invoices_of
from partner_center.customers import (
    AgreementTemplateWire,
    AgreementWire,
    CustomerWire,
    DirectSignedWire,
    IndirectResellerWire,
    QualificationWire,
    SignedWire,
)
from partner_center.exports import BillingExports
from partner_center.files import cost_lines_in
from partner_center.graph import json_of
from partner_center.prices import PriceSheets
from partner_center.subscriptions import AvailabilityWire, SubscriptionWire, events_of
from partner_center.wire import customer_of, label, objects, read
from transport import exact_json
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
    "relationships": _SignIn.USER,
    "compliance": _SignIn.USER,
    "products": _SignIn.USER,
}
# 403 codes that say "not this customer" rather than "not you".
_NO_RELATIONSHIP = "20002"
_ACCESS_DENIED = "2032"


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
        self._segments: dict[str, str] = {}
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
        """Read one customer with address, qualifications, registration number and resellers.

        `details_known` is False where Microsoft hides the tenant's own address: access was lost. A
        customer that is gone, or with whom there is no relationship any more, is a finding. Of one
        that is no reseller customer nothing else is read.
        """
        path = _customer_path(customer_id)
        payload: dict[str, Any] | None = None
        try:
            payload = self._object("customers", path)
            ours = _reseller_customer(payload)
            asked = self._items("qualifications", f"{path}/qualifications") if ours else ()
            qualifications = list(asked)
            resellers = self._resellers(customer_id) if ours else ()
        except (NotFound, NotAuthorised) as error:
            if not _lost(error) and not (payload is None and isinstance(error, NotFound)):
                raise
            return _lost_customer(customer_id, error)
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
            lambda wire: replace(
                wire.to_domain(tuple(found), details_known=wire.company_profile.is_shown),
                resellers=resellers or (),
                resellers_known=resellers is not None,
            ),
            check="customer",
            record=f"customer {customer_id}",
            customer_id=customer_id,
        )

    def _resellers(self, customer_id: str) -> tuple[IndirectReseller, ...] | None:
        """Read through whom a customer is sold to, and whether they may sell; None: not told.

        A partner without this part of the programme may be refused here while the rest is open.
        """
        try:
            items = list(
                self._items("relationships", f"{_customer_path(customer_id)}/relationships")
            )
        except (NotFound, NotAuthorised):
            return None
        found: list[IndirectReseller] = []
        for item in items:
            try:
                wire = IndirectResellerWire.model_validate(item)
            except ValueError:
                return None
            found.append(wire.to_domain(self._agreement_signed(wire.mpn_id, wire.id)))
        return tuple(found)

    def _agreement_signed(self, partner_id: str, tenant_id: str) -> bool | None:
        """Ask whether a partner signed Microsoft's partner agreement; None: Microsoft does not say.

        An id that is not known, or not migrated yet, is answered with 400 or 404.
        """
        whose = {"mpnId": partner_id} if partner_id else {"tenantId": tenant_id}
        try:
            answer = self._object("compliance", "/v1/compliance/csp/agreementstatus", whose)
            return SignedWire.model_validate(answer).is_agreement_signed
        except ValueError:
            return None
        except ServiceError as error:
            if error.status not in {400, 403, 404}:
                raise
            return None

    def agreements(self, customer_id: str) -> Iterator[Agreement | Finding]:
        """Yield all agreements of a customer, of every type, the directly signed one included.

        Acceptances of the customer agreement carry the version of their text, where Microsoft
        lists it.
        """
        path = _customer_path(customer_id)
        versions: dict[str, int] | None = None
        attested = False
        # Without the parameter the service lists the old cloud agreement alone.
        listed = self._items("agreements", f"{path}/agreements", {"agreementType": "*"})
        try:
            for item in _while_ours(customer_id, listed):
                if isinstance(item, Finding):
                    yield item
                    return
                if versions is None:
                    versions = self._versions()
                one = read(
                    AgreementWire,
                    item,
                    partial(_agreement, customer_id=customer_id, versions=versions),
                    check="agreement",
                    record=label(f"agreement of {customer_id}", item, "templateid"),
                    customer_id=customer_id,
                )
                yield one
                attested |= isinstance(one, Agreement) and one.type == MICROSOFT_CUSTOMER_AGREEMENT
        except NotFound as error:
            yield _unknown_agreements(customer_id, "agreements", error, Severity.HOLD)
            return
        yield from self._signed_directly(customer_id, attested=attested)

    def _signed_directly(
        self, customer_id: str, *, attested: bool
    ) -> Iterator[Agreement | Finding]:
        """Yield the agreement that the customer signed with Microsoft itself, if it did.

        Beside one that the partner attested a refusal is only told.
        """
        name = "directSignedMicrosoftCustomerAgreementStatus"
        try:
            answer = self._object("agreements", f"{_customer_path(customer_id)}/{name}")
        except (NotFound, NotAuthorised) as error:
            if error.code == _NO_RELATIONSHIP:
                yield _lost_customer(customer_id, error)
            elif attested or isinstance(error, NotFound):
                severity = Severity.WARN if attested else Severity.HOLD
                yield _unknown_agreements(customer_id, "directly signed agreement", error, severity)
            else:
                raise
            return
        direct = read(
            DirectSignedWire,
            answer,
            lambda wire: wire.to_domain(customer_id),
            check="agreement",
            record=f"direct agreement of {customer_id}",
            customer_id=customer_id,
        )
        if direct is not None:
            yield direct

    def _versions(self) -> dict[str, int]:
        """Read the rank of each version of the customer agreement by template; {} where refused."""
        kind = {"agreementType": MICROSOFT_CUSTOMER_AGREEMENT}
        try:
            items = list(self._items("agreements", "/v1/agreements", kind))
            templates = [AgreementTemplateWire.model_validate(item) for item in items]
        except ValueError:
            return {}
        except ServiceError as error:
            if error.status not in {400, 403, 404, 405}:
                raise
            return {}
        return {
            one.template_id: one.version_rank
            for one in templates
            if one.type == MICROSOFT_CUSTOMER_AGREEMENT and one.version_rank >= 0
        }

    def subscriptions(self, customer_id: str) -> Iterator[Subscription | Finding]:
        """Yield the snapshot of every subscription of a customer."""
        listed = self._items("subscriptions", f"{_customer_path(customer_id)}/subscriptions")
        for item in _while_ours(customer_id, listed):
            if isinstance(item, Finding):
                yield item
                return
            yield read(
                SubscriptionWire,
                item,
                lambda wire: replace(
                    wire.to_domain(customer_id), segment=self._segment(customer_id, wire)
                ),
                check="subscription",
                record=label("subscription", item),
                customer_id=customer_id,
            )

    def _segment(self, customer_id: str, wire: SubscriptionWire) -> str:
        """Ask the catalogue at which segment's price a subscription is sold; empty: it does not say.

        Only seats have prices by segment. What was bought never changes, so it is asked for once.
        """
        if not wire.availability or wire.kind is not SubscriptionKind.LICENCE:
            return ""
        offer = wire.offer_id.lower()
        if offer not in self._segments:
            product, sku, availability = (quote(part, safe="") for part in wire.offer_id.split(":"))
            path = f"/products/{product}/skus/{sku}/availabilities/{availability}"
            try:
                answer = self._object("products", _customer_path(customer_id) + path)
                self._segments[offer] = AvailabilityWire.model_validate(answer).segment
            except ValueError:
                return ""
            except ServiceError as error:
                if error.status not in {400, 403, 404}:
                    raise
                return ""  # it may be allowed, or be there, when it is asked again
        return self._segments[offer]

    def subscription_events(
        self, since: date, until: date, customer_id: str = ""
    ) -> Iterator[SubscriptionEvent | Finding]:
        """Yield changes from the audit log in [since, until), of one customer or of all.

        At most 90 days back.
        """
        # Whether endDate is included is not documented: asking for a day more covers both.
        asked = {"startDate": since.isoformat(), "endDate": until.isoformat()}
        asked["size"] = self._page_size
        path, name = "/v1/auditrecords", ""
        if customer_id:
            only = {"Field": "CustomerId", "Value": customer_id, "Operator": "equals"}
            asked["filter"] = exact_json.dumps(only)
            name = f"{_customer_path(customer_id)}/auditrecords"
        records = self._items("auditrecords", path, asked, name)
        if customer_id:  # a filter that is not understood must not bring others in
            records = (one for one in records if customer_of(one) == customer_id.lower())
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
        self, operation: str, path: str, params: Mapping[str, str] | None = None, name: str = ""
    ) -> Iterator[Any]:
        """Yield the items of all pages, archived under `name` (left out: their path).

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
            body = self._object(operation, url, query, headers, f"{name or path}/{number:04}.json")
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


def _lost(error: NotFound | NotAuthorised) -> bool:
    """Say whether an answer means this customer, and not us.

    That a part of it is not found does not: a cloud may not offer it at all.
    """
    return error.code in {_NO_RELATIONSHIP, _ACCESS_DENIED}


def _lost_customer(customer_id: str, error: NotFound | NotAuthorised) -> Finding:
    """Tell a customer that is ours no more from one that may not be read at the moment."""
    if error.code == _ACCESS_DENIED:
        return Finding(
            check="access.denied",
            severity=Severity.WARN,
            customer_id=customer_id,
            record=f"customer {customer_id}",
            sentence=f"Partner Center refuses to show the customer's data: {error}",
            hint="Restore the access to the customer in Partner Center; until then it is billed by "
            "what was read before, for as long as CSP_STALE_DAYS allows.",
        )
    return Finding(
        check="customer.unreachable",
        severity=Severity.HOLD,
        customer_id=customer_id,
        record=f"customer {customer_id}",
        sentence=f"Partner Center does not show the customer: {error}",
        hint="Check in Partner Center whether the reseller relationship still exists.",
    )


def _unknown_agreements(
    customer_id: str, what: str, error: ServiceError, severity: Severity
) -> Finding:
    return Finding(
        check="agreement.unknown",
        severity=severity,
        customer_id=customer_id,
        record=what,
        # Without the id of the request: the sentence of each day would be another.
        sentence=f"Microsoft does not tell the customer's {what}: "
        f"it answers {error.status}{f' (code {error.code})' if error.code else ''}.",
        hint="look the agreement up in Partner Center; where its cloud offers none to programs, "
        "let agreement.unknown and agreement.missing warn (CSP_SEVERITIES)",
    )


def _while_ours(customer_id: str, items: Iterator[Any]) -> Iterator[Any]:
    """Yield a customer's items; that they may not be read any more is a finding in their place."""
    try:
        yield from items
    except (NotFound, NotAuthorised) as error:
        if not _lost(error):
            raise
        yield _lost_customer(customer_id, error)


def _reseller_customer(payload: Mapping[str, Any]) -> bool:
    told = next((payload[key] for key in payload if key.lower() == "relationshiptopartner"), None)
    return str(told or "").lower() == "reseller"


def _agreement(wire: AgreementWire, *, customer_id: str, versions: Mapping[str, int]) -> Agreement:
    ours = wire.type == MICROSOFT_CUSTOMER_AGREEMENT
    return wire.to_domain(customer_id, versions if ours else {})


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
