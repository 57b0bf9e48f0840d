"""Microsoft Graph's delegated admin relationships, and how an answer's JSON is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from domain.customer import AccessAssignment, DelegatedAdminRelationship
from domain.problems import Finding, NotFound, ServiceError
from partner_center.customers import AssignmentWire, RelationshipWire
from partner_center.wire import label, objects, read
from transport.calls import Threads
from transport.refusals import request_id_of
from transport.session import Answer, Http

GRAPH_URL = "https://graph.microsoft.com"
GRAPH_SCOPE = f"{GRAPH_URL}/.default"
_RELATIONSHIPS = "/v1.0/tenantRelationships/delegatedAdminRelationships"
_PARALLEL = 4
_QUOTE = "'"


class GraphDirectory:
    """Who may administer whom."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def relationships(
        self, customer_id: str = ""
    ) -> Iterator[DelegatedAdminRelationship | Finding]:
        """Yield every GDAP relationship with its assignments, or those of one customer."""
        with Threads(_PARALLEL) as pool:
            for page in self._listed(customer_id.lower()):
                yield from pool.map(self._relationship, page)

    def customer_of(self, relationship_id: str) -> str:
        """Read whose relationship it is; empty: there is none of that id, or it is nobody's yet."""
        path = f"{_RELATIONSHIPS}/{quote(relationship_id, safe='')}"
        try:
            return _customer_of(json_of(self._http.request("GET", path), self._http.service))
        except ServiceError as error:
            if error.status not in (400, 404, 410):
                raise
            return ""

    def _listed(self, customer_id: str) -> Iterator[list[Any]]:
        """Yield pages of the list; where it refuses the filter, its items are chosen here.

        Microsoft does not say by which properties it can be filtered, and answers 400 to others.
        """
        everything = f"{_RELATIONSHIPS}?$top=300"
        if not customer_id:
            yield from self._pages(everything)
            return
        wanted = quote(f"customer/tenantId eq '{customer_id.replace(_QUOTE, _QUOTE * 2)}'")
        try:
            pages = list(self._pages(f"{everything}&$filter={wanted}"))
        except ServiceError as error:
            if error.status != 400:
                raise
            pages = list(self._pages(everything))
        for page in pages:
            yield [one for one in page if _customer_of(one) == customer_id]

    def _relationship(self, payload: Any) -> DelegatedAdminRelationship | Finding:
        return read(
            RelationshipWire,
            payload,
            lambda wire: wire.to_domain(self._assignments(wire)),
            check="relationship",
            record=label("relationship", payload),
            customer_id=_customer_of(payload),
        )

    def _assignments(self, relationship: RelationshipWire) -> list[AccessAssignment]:
        """Read who has access: an active relationship without an active assignment gives none."""
        if not relationship.may_give_access:
            return []
        path = f"{_RELATIONSHIPS}/{quote(relationship.id, safe='')}/accessAssignments"
        try:
            assignments = [one for page in self._pages(path) for one in page]
        except NotFound:  # terminated since the list was read
            return []
        return [AssignmentWire.model_validate(one).to_domain() for one in assignments]

    def _pages(self, url: str) -> Iterator[list[Any]]:
        seen: set[str] = set()
        while url:
            if url in seen:
                raise ServiceError("a next link leads back", service=self._http.service)
            seen.add(url)
            body = json_of(self._http.request("GET", url), self._http.service)
            yield list(objects(body))
            url = str(body.get("@odata.nextLink") or "")


def _customer_of(payload: Any) -> str:
    customer = payload.get("customer") if isinstance(payload, Mapping) else None
    known = customer.get("tenantId") if isinstance(customer, Mapping) else None
    return str(known or "").lower()


def json_of(answer: Answer, service: str) -> dict[str, Any]:
    """Read an answer that must be a JSON object or array; an array comes back under `items`."""
    body = answer.json()
    if isinstance(body, list):
        return {"items": body}
    if not isinstance(body, dict):
        raise ServiceError("an answer without content", service=service, status=answer.status)
    if "code" in body and "description" in body and "items" not in body:
        # Partner Center sometimes answers 200 with an error inside.
        raise ServiceError(
            str(body["description"])[:500],
            service=service,
            status=answer.status,
            code=str(body["code"]),
            request_id=request_id_of(answer.headers),
        )
    return body
