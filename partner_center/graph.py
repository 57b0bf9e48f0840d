"""Microsoft Graph's delegated admin relationships, and how an answer's JSON is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from domain.customer import DelegatedAdminRelationship
from domain.problems import Finding, NotFound, ServiceError
from partner_center.customers import AssignmentWire, RelationshipWire
from partner_center.wire import label, objects, read
from transport.session import Answer, Http, request_id_of

GRAPH_URL = "https://graph.microsoft.com"
GRAPH_SCOPE = f"{GRAPH_URL}/.default"
_RELATIONSHIPS = "/v1.0/tenantRelationships/delegatedAdminRelationships"
_PARALLEL = 4


class GraphDirectory:
    """Who may administer whom."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def relationships(self) -> Iterator[DelegatedAdminRelationship | Finding]:
        """Yield every GDAP relationship with the number of its active assignments."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for page in self._pages(f"{_RELATIONSHIPS}?$top=300"):
                yield from pool.map(self._relationship, page)

    def _relationship(self, payload: Any) -> DelegatedAdminRelationship | Finding:
        customer = payload.get("customer") if isinstance(payload, Mapping) else None
        known = customer.get("tenantId") if isinstance(customer, Mapping) else None
        return read(
            RelationshipWire,
            payload,
            lambda wire: wire.to_domain(self._active_assignments(wire)),
            check="relationship",
            record=label("relationship", payload),
            customer_id=str(known or "").lower(),
        )

    def _active_assignments(self, relationship: RelationshipWire) -> int:
        """Count what gives access: an active relationship without any gives none."""
        if not relationship.may_give_access:
            return 0
        path = f"{_RELATIONSHIPS}/{quote(relationship.id, safe='')}/accessAssignments"
        try:
            assignments = [one for page in self._pages(path) for one in page]
        except NotFound:  # terminated since the list was read
            return 0
        return sum(AssignmentWire.model_validate(one).gives_access for one in assignments)

    def _pages(self, url: str) -> Iterator[list[Any]]:
        seen: set[str] = set()
        while url:
            if url in seen:
                raise ServiceError("a next link leads back", service=self._http.service)
            seen.add(url)
            body = json_of(self._http.request("GET", url), self._http.service)
            yield list(objects(body))
            url = str(body.get("@odata.nextLink") or "")


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
