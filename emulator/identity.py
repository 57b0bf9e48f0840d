"""The identity endpoint of App Service, where a deployed app asks for tokens of its identity.

`GET IDENTITY_ENDPOINT?resource=...&api-version=2019-08-01&client_id=...` with the header
X-IDENTITY-HEADER. Azure answers from a port of the same machine over plain HTTP, so this host speaks
no TLS either. The app has user-assigned identities alone: a request that names none is refused. The
form of refusals is [known] from what Microsoft's own clients expect: `statusCode` and `message`.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.principals import ManagedIdentity, Principals
from emulator.tokens import ACCESS_SECONDS, Tokens

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATH = "/msi/token"
VERSION = "2019-08-01"
_NAMES = ("client_id", "object_id", "principal_id", "mi_res_id")


class Identity:
    """Tokens of managed identities for whoever knows the header of this app."""

    def __init__(self, stage: Stage, tokens: Tokens, principals: Principals) -> None:
        self._stage = stage
        self._tokens = tokens
        self._principals = principals

    @property
    def header(self) -> str:
        """The value of IDENTITY_HEADER, which the platform gives to the app alone."""
        return wire.derived_guid("identity header", self._stage.seed).replace("-", "").upper()

    @property
    def environment(self) -> dict[str, str]:
        """What the platform sets for the app, and the client id of its identity."""
        return {
            "IDENTITY_ENDPOINT": self._stage.base_urls["identity"] + PATH,
            "IDENTITY_HEADER": self.header,
            "AZURE_CLIENT_ID": self._principals.identities[0].client_id,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request for a token."""
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.path != PATH:
            return _refused(404, "Not found.")
        if request.method != "GET":
            return _refused(405, "Method not allowed.")
        given = request.headers.get("X-IDENTITY-HEADER", "")
        if not hmac.compare_digest(given.encode(), self.header.encode()):
            return _refused(401, "The X-IDENTITY-HEADER is missing or wrong.")
        if request.args.get("api-version") != VERSION:
            return _refused(400, "The api-version is not supported.")
        resource = request.args.get("resource", "")
        if not resource:
            return _refused(400, "A resource is required.")
        names = {name: request.args[name] for name in _NAMES if name in request.args}
        identity = self._principals.identity(**names)
        if identity is None:
            return _refused(
                400,
                "No User Assigned or Delegated Managed Identity found for specified "
                "ClientId/ResourceId/PrincipalId.",
            )
        return self._granted(resource, identity)

    def _granted(self, resource: str, identity: ManagedIdentity) -> Response:
        token = self._tokens.identity_token(resource, identity)
        if not token:
            # Seen with Azure as a vague failure of the endpoint, not of the request.
            return _refused(500, "An unexpected error occurred while fetching the AAD Token.")
        return wire.json_response(
            {
                "access_token": token,
                "client_id": identity.client_id,
                "expires_on": str(self._tokens.now() + ACCESS_SECONDS),
                "not_before": str(self._tokens.now()),
                "resource": resource,
                "token_type": "Bearer",
            }
        )


def _refused(status: int, message: str) -> Response:
    return wire.json_response({"statusCode": status, "message": message}, status)
