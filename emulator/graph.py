"""Microsoft Graph v1.0 as far as a partner's worker needs it: GDAP relationships and billing exports.

Lists page with `@odata.nextLink`; `$filter` knows equality on status and customer, joined by `and`,
and refuses the rest with 400, as not every property can be filtered at Microsoft. Writes to GDAP
are in `graph_writes.py`, the exports' data in `exports.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.exports import KINDS, BadExportError, Exports
from emulator.gdap import GdapError
from emulator.graph_writes import WRITE, GdapWrites
from emulator.tokens import TokenRefusedError, Tokens

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Resource = dict[str, Any]
TOP_CAP = 300
_GDAP = "DelegatedAdminRelationship.Read.All"
_BILLING = "PartnerBilling.Read.All"
_CONDITION = re.compile(r"\s*([\w/]+)\s+eq\s+'((?:[^']|'')*)'\s*")
_SERVICES = (
    ("Azure Active Directory", "https://aad.portal.azure.com/{tenant}"),
    ("Microsoft 365 Lighthouse", "https://lighthouse.microsoft.com"),
    ("Teams", "https://admin.teams.microsoft.com/?delegatedOrg={tenant}"),
)


class Graph:
    """The host graph.microsoft.com."""

    def __init__(self, stage: Stage, tokens: Tokens, exports: Exports) -> None:
        self._stage = stage
        self._tokens = tokens
        self._exports = exports
        self._number = 0
        gdap, billing = "/v1.0/tenantRelationships", "/v1.0/reports/partners/billing"
        relationship = gdap + "/delegatedAdminRelationships/{relationship}"
        table: list[tuple[str, str, Callable[..., Response], str]] = [
            ("GET", gdap + "/delegatedAdminRelationships", self._relationships, _GDAP),
            ("GET", relationship, self._relationship, _GDAP),
            ("GET", relationship + "/accessAssignments", self._assignments, _GDAP),
            ("GET", relationship + "/accessAssignments/{one}", self._assignment, _GDAP),
            ("GET", relationship + "/operations", self._operations, _GDAP),
            ("GET", relationship + "/operations/{one}", self._one_operation, _GDAP),
            ("GET", relationship + "/requests", self._requests, _GDAP),
            ("GET", relationship + "/requests/{one}", self._one_request, _GDAP),
            ("GET", gdap + "/delegatedAdminCustomers", self._customers, _GDAP),
            ("GET", gdap + "/delegatedAdminCustomers/{tenant}", self._customer, _GDAP),
            (
                "GET",
                gdap + "/delegatedAdminCustomers/{tenant}/serviceManagementDetails",
                self._services,
                _GDAP,
            ),
            ("GET", billing + "/operations/{operation}", self._operation, _BILLING),
            ("GET", billing + "/manifests/{manifest}", self._manifest, _BILLING),
        ]
        table += GdapWrites(stage).routes
        # The short name is the documented one; the qualified one is how metadata name the action.
        for action in ("export", "microsoft.graph.partners.billing.export"):
            path = billing + "/{area}/{state}/" + action
            table.append(("POST", path, self._start_export, _BILLING))
        self._routes = wire.Routes(
            [(method, path, (handler, right)) for method, path, handler, right in table]
        )

    def reset(self) -> None:
        """Count requests from the beginning."""
        self._number = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        self._number += 1
        made = wire.derived_guid("graph", self._stage.seed, self._number)
        asked = request.headers.get("client-request-id", made)
        try:
            response = self._answer(request)
        except GdapError as error:
            inner = {
                "date": wire.stamp(self._stage.clock.now()).removesuffix("Z"),
                "request-id": made,
                "client-request-id": asked,
            }
            body = {"code": error.code, "message": str(error), "innerError": inner}
            response = wire.json_response({"error": body}, error.status)
            if error.status == 401:
                challenge = 'Bearer realm="", error="invalid_token"'
                response.headers["WWW-Authenticate"] = challenge
        response.headers["request-id"] = made
        response.headers["client-request-id"] = asked
        response.headers["x-ms-ags-diagnostic"] = '{"ServerInfo":{"DataCenter":"Emulator"}}'
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            claims = self._tokens.verify(wire.bearer(request), "graph")
        except TokenRefusedError as refused:
            message = {
                "missing": "Access token is empty.",
                "expired": "Lifetime validation failed, the token is expired.",
                "audience": "Access token validation failure. Invalid audience.",
            }.get(refused.kind, "CompactToken parsing failed.")
            raise GdapError(401, "InvalidAuthenticationToken", message) from refused
        path = re.sub(r"^/beta/", "/v1.0/", request.path)
        found = self._routes.find(request.method, path)
        if isinstance(found, frozenset):
            if found:
                raise GdapError(405, "MethodNotAllowed", "The method is not supported here.")
            raise GdapError(404, "ResourceNotFound", "Resource not found for the segment.")
        (handler, permission), values = found
        granted = {*claims.get("roles", ()), *claims.get("scp", "").split()}
        if WRITE in granted:
            granted.add(_GDAP)
        if permission not in granted:
            raise GdapError(
                403,
                "Authorization_RequestDenied",
                "Insufficient privileges to complete the operation.",
            )
        return handler(request, **values)

    # --- GDAP ----------------------------------------------------------------------------------

    def _relationships(self, request: Request) -> Response:
        rows = self._stage.world.gdap_relationships()
        return self._listed(request, "/delegatedAdminRelationships", rows)

    def _known(self, relationship: str) -> Resource:
        for row in self._stage.world.gdap_relationships():
            if row["id"].lower() == relationship.lower():
                return row
        raise GdapError(404, "ResourceNotFound", "The relationship was not found.")

    def _relationship(self, request: Request, relationship: str) -> Response:
        del request
        row = self._known(relationship)
        return self._one("delegatedAdminRelationships/$entity", row)

    def _assignments(self, request: Request, relationship: str) -> Response:
        owner = self._known(relationship)["id"]
        rows = self._stage.world.access_assignments(owner)
        path = f"/delegatedAdminRelationships/{owner}/accessAssignments"
        return self._listed(request, path, rows, context="accessAssignments")

    def _assignment(self, request: Request, relationship: str, one: str) -> Response:
        del request
        for row in self._stage.world.access_assignments(self._known(relationship)["id"]):
            if row["id"].lower() == one.lower():
                return self._one("accessAssignments/$entity", row)
        raise GdapError(404, "ResourceNotFound", "The access assignment was not found.")

    def _operations(self, request: Request, relationship: str) -> Response:
        """What writes to a relationship and its assignments left behind."""
        owner = self._known(relationship)["id"]
        rows = self._stage.world.relationship_operations(owner)
        path = f"/delegatedAdminRelationships/{owner}/operations"
        return self._listed(request, path, rows, context="operations")

    def _requests(self, request: Request, relationship: str) -> Response:
        """The requests that brought a relationship to its status."""
        owner = self._known(relationship)["id"]
        rows = self._stage.world.relationship_requests(owner)
        path = f"/delegatedAdminRelationships/{owner}/requests"
        return self._listed(request, path, rows, context="requests")

    def _one_operation(self, request: Request, relationship: str, one: str) -> Response:
        del request
        owner = self._known(relationship)["id"]
        return self._found(self._stage.world.relationship_operations(owner), one, "operations")

    def _one_request(self, request: Request, relationship: str, one: str) -> Response:
        del request
        owner = self._known(relationship)["id"]
        return self._found(self._stage.world.relationship_requests(owner), one, "requests")

    def _found(self, rows: Sequence[Resource], identity: str, kind: str) -> Response:
        for row in rows:
            if row["id"].lower() == identity.lower():
                return self._one(f"{kind}/$entity", row)
        raise GdapError(404, "ResourceNotFound", f"There is no such row of {kind}.")

    def _admin_customers(self) -> dict[str, Resource]:
        """The customers whose tenants an active relationship reaches."""
        rows: dict[str, Resource] = {}
        for relationship in self._stage.world.gdap_relationships():
            customer = relationship.get("customer")
            if customer and relationship["status"] in ("active", "expiring"):
                tenant = customer["tenantId"]
                rows[tenant] = {
                    "@odata.type": "#microsoft.graph.delegatedAdminCustomer",
                    "@odata.etag": f'W/"{wire.derived_guid("gdap customer", tenant)}"',
                    "id": tenant,
                    "tenantId": tenant,
                    "displayName": customer["displayName"],
                }
        return dict(sorted(rows.items()))

    def _customers(self, request: Request) -> Response:
        rows = list(self._admin_customers().values())
        return self._listed(request, "/delegatedAdminCustomers", rows)

    def _admin_customer(self, tenant: str) -> Resource:
        row = self._admin_customers().get(tenant.lower())
        if row is None:
            raise GdapError(404, "ResourceNotFound", "The customer was not found.")
        return row

    def _customer(self, request: Request, tenant: str) -> Response:
        del request
        return self._one("delegatedAdminCustomers/$entity", self._admin_customer(tenant))

    def _services(self, request: Request, tenant: str) -> Response:
        owner = self._admin_customer(tenant)["id"]
        rows = [
            {
                "@odata.type": "#microsoft.graph.delegatedAdminServiceManagementDetail",
                "id": wire.derived_guid("service", owner, name),
                "serviceManagementUrl": address.format(tenant=owner),
                "serviceName": name,
            }
            for name, address in _SERVICES
        ]
        path = f"/delegatedAdminCustomers/{owner}/serviceManagementDetails"
        return self._listed(request, path, rows)

    # --- OData ---------------------------------------------------------------------------------

    def _listed(
        self, request: Request, path: str, rows: Sequence[Resource], *, context: str = ""
    ) -> Response:
        """One page of rows by the system query options, with the link to the next."""
        options = {name.lower(): value for name, value in request.args.items()}
        known = {"$top", "$filter", "$select", "$orderby", "$count", "$skiptoken"}
        if unknown := {name for name in options if name.startswith("$")} - known:
            raise GdapError(400, "BadRequest", f"Query option {unknown.pop()} is not supported.")
        fitting = [row for row in rows if _fits(row, options.get("$filter", ""))]
        if order := options.get("$orderby"):
            name, _, direction = order.partition(" ")
            fitting.sort(key=lambda row: str(row.get(name) or ""), reverse=direction == "desc")
        top, start = _top(options.get("$top")), _position(options.get("$skiptoken"))
        page = fitting[start : start + top]
        graph = self._stage.base_urls["graph"]
        base = f"{graph}/v1.0/tenantRelationships"
        body: Resource = {"@odata.context": f"{base}/$metadata#{context or path[1:]}"}
        if options.get("$count") == "true":
            body["@odata.count"] = len(fitting)
        body["value"] = [_selected(row, options.get("$select", "")) for row in page]
        if start + top < len(fitting):
            token = base64.urlsafe_b64encode(f"after={start + top}".encode()).decode()
            query = urlencode(options | {"$skiptoken": token}, safe="$/'")
            body["@odata.nextLink"] = f"{base}{path}?{query}"
        return wire.json_response(body)

    def _one(self, context: str, row: Resource) -> Response:
        graph = self._stage.base_urls["graph"]
        mark = {"@odata.context": f"{graph}/v1.0/tenantRelationships/$metadata#{context}"}
        return wire.json_response(mark | row)

    # --- billing exports -----------------------------------------------------------------------

    def _start_export(self, request: Request, area: str, state: str) -> Response:
        kind = f"{area}/{state}".lower()
        if kind not in KINDS:
            raise GdapError(404, "ResourceNotFound", "Resource not found for the segment.")
        try:
            operation = self._exports.start(kind, wire.read_object(request))
        except (BadExportError, ValueError) as error:
            raise GdapError(400, "BadRequest", str(error)) from error
        graph = self._stage.base_urls["graph"]
        response = Response(b"", status=202)
        response.headers["Location"] = (
            f"{graph}/v1.0/reports/partners/billing/operations/{operation.id}"
        )
        response.headers["Retry-After"] = str(self._stage.control.settings.export_retry_after)
        return response

    def _operation(self, request: Request, operation: str) -> Response:
        del request
        found = self._exports.poll(operation.lower())
        if found is None:
            raise GdapError(404, "ResourceNotFound", "The operation was not found.")
        graph = self._stage.base_urls["graph"]
        context = f"{graph}/v1.0/$metadata#reports/partners/billing/operations/$entity"
        headers = {}
        if found["status"] in ("running", "notStarted"):
            headers["Retry-After"] = str(self._stage.control.settings.export_retry_after)
        return wire.json_response({"@odata.context": context} | found, headers=headers)

    def _manifest(self, request: Request, manifest: str) -> Response:
        del request
        found = self._exports.manifest(manifest.lower())
        if found is None:
            raise GdapError(404, "ResourceNotFound", "The manifest was not found.")
        graph = self._stage.base_urls["graph"]
        context = f"{graph}/v1.0/$metadata#reports/partners/billing/manifests/$entity"
        return wire.json_response({"@odata.context": context} | found)


def _fits(row: Resource, text: str) -> bool:
    """Whether a row meets a filter of equalities joined by `and`; GdapError for any other."""
    if not text.strip():
        return True
    for condition in re.split(r"\s+and\s+(?=[\w/]+\s+eq\b)", text.strip()):
        hit = _CONDITION.fullmatch(condition)
        if hit is None or hit[1] not in ("status", "customer/tenantId"):
            raise GdapError(400, "BadRequest", f"The filter is not supported: {condition}")
        value: Any = row
        for step in hit[1].split("/"):
            value = (value or {}).get(step)
        if value != hit[2].replace("''", "'"):
            return False
    return True


def _selected(row: Resource, text: str) -> Resource:
    if not text:
        return row
    wanted = {"id", *(name.strip() for name in text.split(","))}
    return {k: v for k, v in row.items() if k in wanted or k.startswith("@odata.")}


def _top(text: str | None) -> int:
    if text is None:
        return 100
    if not text.isdecimal() or not 1 <= int(text) <= TOP_CAP:
        raise GdapError(400, "BadRequest", f"$top must be between 1 and {TOP_CAP}.")
    return int(text)


def _position(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("after="))
    except (binascii.Error, ValueError) as error:
        raise GdapError(400, "BadRequest", "The skip token is not valid.") from error
