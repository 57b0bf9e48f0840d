"""Partner Center REST v1 over the emulated world: who may ask, how answers and refusals look.

The world decides what is true; this file owns the manners of the host. Tokens: a missing or expired
one is 401 with an empty body, a retired audience 900420, no second factor 900421, an app alone where
a user is needed 403 and 900329. Writes with an `MS-RequestId` seen before return the first outcome,
whatever their body says. Codes are numbers from some services and strings from others, as in the
published samples. Reads that the product needs are here, with the writes to subscriptions, billing
profiles and webhook registrations; carts, transitions, catalogue and spending are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.partner_addresses import Addresses
from emulator.partner_customers import Customers
from emulator.partner_invoices import Invoices
from emulator.partner_subscriptions import Subscriptions
from emulator.partner_webhooks import WebhookRegistration
from emulator.partner_wire import RefusalError
from emulator.tokens import TokenRefusedError, Tokens
from emulator.webhooks import Webhooks
from emulator.world import CommerceError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class PartnerCenter:
    """The host api.partnercenter.microsoft.com."""

    def __init__(self, stage: Stage, tokens: Tokens, webhooks: Webhooks) -> None:
        self._stage = stage
        self._tokens = tokens
        self._number = 0
        self._outcomes: dict[tuple[str, str, str], Response] = {}
        self._customers = Customers(stage)
        self._subscriptions = Subscriptions(stage)
        groups = (
            self._customers,
            self._subscriptions,
            Invoices(stage),
            Addresses(stage),
            WebhookRegistration(stage, webhooks),
        )
        self._routes = wire.Routes(
            [
                (method, path, (handler, user_only))
                for group in groups
                for method, path, handler, user_only in group.routes
            ]
        )

    def reset(self) -> None:
        """Forget outcomes of writes and what the handlers remember."""
        self._number = 0
        self._outcomes.clear()
        self._customers.reset()
        self._subscriptions.reset()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        self._number += 1
        try:
            response = self._answer(request)
        except RefusalError as refusal:
            response = wire.json_response(refusal.body, refusal.status, refusal.headers)
        except CommerceError as error:
            # Newer services write their six-digit codes as numbers, older ones write strings.
            code = int(error.code) if len(error.code) >= 6 else error.code
            body = RefusalError(error.http, code, error.description).body
            response = wire.json_response(body, error.http)
        self._echo(request, response)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        claims = self._claims(request)
        if isinstance(claims, Response):
            return claims
        found = self._routes.find(request.method, request.path)
        if isinstance(found, frozenset):
            if found:
                raise RefusalError(405, "1000", "The method is not allowed on this resource.")
            raise RefusalError(404, "1000", "The resource was not found.")
        (handler, user_only), values = found
        if user_only and claims.get("idtyp") == "app":
            raise RefusalError(
                403, 900329, "This operation does not support application-only access."
            )
        key = (
            request.method,
            request.path.lower(),
            request.headers.get("MS-RequestId", "").lower(),
        )
        if request.method in ("GET", "HEAD") or not key[2]:
            return handler(request, **values)
        if key not in self._outcomes:
            self._outcomes[key] = handler(request, **values)
        first = self._outcomes[key]
        return Response(first.get_data(), status=first.status_code, content_type=first.content_type)

    def _claims(self, request: Request) -> dict[str, Any] | Response:
        try:
            claims = self._tokens.verify(wire.bearer(request), "partner_center")
        except TokenRefusedError as refused:
            if refused.kind == "audience" and refused.audience == "https://graph.windows.net":
                raise RefusalError(
                    401, 900420, "The audience of the token is no longer supported."
                ) from refused
            authority = f"{self._stage.base_urls['login']}/common/oauth2/authorize"
            challenge = f'Bearer realm="", authorization_uri="{authority}"'
            if refused.kind != "missing":
                challenge += f', error="invalid_token", error_description="{refused}"'
            return Response(b"", status=401, headers={"WWW-Authenticate": challenge})
        if claims["idtyp"] == "user" and "mfa" not in claims["amr"]:
            raise RefusalError(
                401, 900421, "Access without multi-factor authentication is refused."
            )
        return claims

    def _echo(self, request: Request, response: Response) -> None:
        made = wire.derived_guid("partner center", self._stage.seed, self._number)
        for name in ("MS-RequestId", "MS-CorrelationId"):
            response.headers[name] = request.headers.get(name, made)
        response.headers["MS-CV"] = f"{made[:8]}{made[9:13]}{made[14:18]}.0"
        response.headers["MS-ServerId"] = "emulator"
        response.headers["X-Locale"] = request.headers.get("X-Locale", "en-US")
        if request.headers.get("ValidateMfa", "").lower() == "true":
            refused = response.status_code == 401
            response.headers["isMfaCompliant"] = "false" if refused else "true"
