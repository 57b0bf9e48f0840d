"""Graph's writes to delegated administration: bodies, If-Match, Location headers.

They need DelegatedAdminRelationship.ReadWrite.All, which the partner's app has not consented to
unless the setting `granted_permissions` says so. 201 for what is made, 202 with an operation to
follow for what takes time (unconfirmed for PATCH and DELETE), 204 for a deleted invitation.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.gdap import GdapError, Operation
from emulator.tenants import Resource

WRITE = "DelegatedAdminRelationship.ReadWrite.All"
_BASE = "/v1.0/tenantRelationships"


class GdapWrites:
    """Handlers of POST, PATCH and DELETE under tenantRelationships."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        root = f"{_BASE}/delegatedAdminRelationships"
        one = root + "/{relationship}"
        assignment = one + "/accessAssignments/{assignment}"
        self.routes: list[tuple[str, str, Callable[..., Response], str]] = [
            ("POST", root, self._create, WRITE),
            ("PATCH", one, self._change, WRITE),
            ("DELETE", one, self._delete, WRITE),
            ("POST", one + "/requests", self._request, WRITE),
            ("POST", one + "/accessAssignments", self._assign, WRITE),
            ("PATCH", assignment, self._reassign, WRITE),
            ("DELETE", assignment, self._unassign, WRITE),
        ]

    @property
    def _pause(self) -> timedelta:
        return timedelta(seconds=self._stage.control.settings.gdap_seconds)

    def _create(self, request: Request) -> Response:
        row = self._stage.world.gdap.create(_body(request))
        return self._made(row, f"delegatedAdminRelationships/{row['id']}")

    def _change(self, request: Request, relationship: str) -> Response:
        row, operation = self._stage.world.gdap.change(
            relationship, _etag(request), _body(request), pause=self._pause
        )
        if operation is not None:
            return self._accepted(operation)
        return wire.json_response(self._context("delegatedAdminRelationships/$entity") | row)

    def _delete(self, request: Request, relationship: str) -> Response:
        self._stage.world.gdap.delete(relationship, _etag(request))
        return Response(status=204)

    def _request(self, request: Request, relationship: str) -> Response:
        action = _body(request).get("action")
        prefers = request.headers.get("Prefer", "")
        if action == "reject" and "include-unknown-enum-members" not in prefers:
            raise GdapError(400, "BadRequest", "The value of action is not known.")
        row = self._stage.world.gdap.request(relationship, str(action), pause=self._pause)
        return self._made(row, f"delegatedAdminRelationships/{relationship}/requests/{row['id']}")

    def _assign(self, request: Request, relationship: str) -> Response:
        row = self._stage.world.gdap.assign(relationship, _body(request), pause=self._pause)
        path = f"delegatedAdminRelationships/{relationship}/accessAssignments/{row['id']}"
        return self._made(row, path)

    def _reassign(self, request: Request, relationship: str, assignment: str) -> Response:
        return self._accepted(
            self._stage.world.gdap.reassign(
                relationship, assignment, _etag(request), _body(request), pause=self._pause
            )
        )

    def _unassign(self, request: Request, relationship: str, assignment: str) -> Response:
        return self._accepted(
            self._stage.world.gdap.unassign(
                relationship, assignment, _etag(request), pause=self._pause
            )
        )

    # --- answers ---------------------------------------------------------------------------------

    def _context(self, name: str) -> Resource:
        graph = self._stage.base_urls["graph"]
        return {"@odata.context": f"{graph}{_BASE}/$metadata#{name}"}

    def _made(self, row: Resource, path: str) -> Response:
        kind = path.split("/")[2] if path.count("/") > 1 else path.partition("/")[0]
        location = f"{self._stage.base_urls['graph']}{_BASE}/{path}"
        return wire.json_response(self._context(kind) | row, 201, {"Location": location})

    def _accepted(self, operation: Operation) -> Response:
        response = Response(b"", status=202)
        path = f"delegatedAdminRelationships/{operation.relationship}/operations/{operation.id}"
        response.headers["Location"] = f"{self._stage.base_urls['graph']}{_BASE}/{path}"
        return response


def _body(request: Request) -> Resource:
    try:
        return wire.read_object(request)
    except ValueError as error:
        raise GdapError(400, "BadRequest", "The body is not a valid resource.") from error


def _etag(request: Request) -> str:
    return request.headers.get("If-Match", "")
