"""Microsoft Entra ID as far as a partner's worker needs it: discovery and the token endpoints.

Refresh tokens rotate: each redemption returns a new one, and older ones live on until they expire or
are revoked, as at Entra. Refusals carry Entra's AADSTS numbers. The browser step signs the partner's
admin agent in at once, or the user that `login_hint` names. An application shows a secret or an
assertion of a federated credential. For APIs that were registered there are access and ID tokens, and
no refresh tokens. What the tokens hold is in `tokens.py`, who there is in `principals.py`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote_plus, urlencode

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.principals import Principal, Principals
from emulator.tokens import ACCESS_SECONDS, APP_IDS, OTHER_RESOURCES, Tokens, pack

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CODE_SECONDS = 600
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OPENID = {"openid", "profile", "offline_access", "email"}


class SignInError(Exception):
    """An error of the token endpoint: OAuth error, AADSTS number and sentence."""

    def __init__(self, status: int, error: str, number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.error = error
        self.number = number


class Grant(NamedTuple):
    """Who is behind a request for a token: an application, and a user who signed in by `amr`."""

    client: Principal
    user: Principal | None = None
    amr: list[str] | None = None
    acr: str = "1"
    """How the application showed itself: 1 by a secret, 2 by an assertion."""


class Entra:
    """The host login.microsoftonline.com."""

    def __init__(self, stage: Stage, tokens: Tokens, principals: Principals) -> None:
        self._stage = stage
        self._tokens = tokens
        self._principals = principals
        self._spent_codes: set[str] = set()
        table: list[tuple[str, str, Callable[..., Response]]] = [
            ("GET", "/common/discovery/instance", self._instance),
            ("GET", "/{tenant}/v2.0/.well-known/openid-configuration", self._configuration),
            ("GET", "/{tenant}/.well-known/openid-configuration", self._configuration_v1),
            ("GET", "/{tenant}/discovery/v2.0/keys", self._keys),
            ("GET", "/{tenant}/oauth2/v2.0/authorize", self._authorize),
            ("GET", "/{tenant}/oauth2/authorize", self._authorize),
            ("POST", "/{tenant}/oauth2/v2.0/token", self._token),
            ("POST", "/{tenant}/oauth2/token", self._token_v1),
        ]
        self._routes = wire.Routes(table)

    def reset(self) -> None:
        """Forget redeemed codes."""
        self._spent_codes.clear()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request to the login host."""
        request = Request(environ)
        found = self._routes.find(request.method, request.path)
        if isinstance(found, frozenset):
            response = Response("", status=405 if found else 404)
        else:
            try:
                handler, values = found
                response = handler(request, **values)
            except SignInError as error:
                response = self._error(request, error)
        response.headers["Cache-Control"] = "no-store"
        response.headers["x-ms-request-id"] = wire.derived_guid("entra", self._tokens.issued)
        return response(environ, start_response)

    # --- discovery -----------------------------------------------------------------------------

    def _instance(self, request: Request) -> Response:
        tenant = self._stage.world.partner.tenant_id
        login = self._stage.base_urls["login"]
        aliases = ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com"]
        return wire.json_response(
            {
                "tenant_discovery_endpoint": f"{login}/{tenant}/v2.0/.well-known/openid-configuration",
                "api-version": request.args.get("api-version", "1.1"),
                "metadata": [
                    {
                        "preferred_network": aliases[0],
                        "preferred_cache": aliases[1],
                        "aliases": [*aliases, "sts.windows.net"],
                    }
                ],
            }
        )

    def _configuration(self, request: Request, tenant: str) -> Response:
        del request
        self._tenant(tenant)
        return self._endpoints(tenant, "/v2.0")

    def _configuration_v1(self, request: Request, tenant: str) -> Response:
        del request
        self._tenant(tenant)
        return self._endpoints(tenant, "")

    def _endpoints(self, tenant: str, version: str) -> Response:
        host = f"{self._stage.base_urls['login']}/{tenant}"
        return wire.json_response(
            {
                "token_endpoint": f"{host}/oauth2{version}/token",
                "authorization_endpoint": f"{host}/oauth2{version}/authorize",
                "jwks_uri": f"{host}/discovery/v2.0/keys",
                "issuer": f"{host}/v2.0",
                "token_endpoint_auth_methods_supported": [
                    "client_secret_post",
                    "private_key_jwt",
                    "client_secret_basic",
                ],
                "response_modes_supported": ["query"],
                "response_types_supported": ["code"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "tenant_region_scope": "NA",
            }
        )

    def _keys(self, request: Request, tenant: str) -> Response:
        from emulator.published import published  # noqa: PLC0415 - keys only where one asks

        del request
        self._tenant(tenant)
        issuer = f"{self._stage.base_urls['login']}/{self._stage.world.partner.tenant_id}/v2.0"
        return wire.json_response({"keys": [published() | {"issuer": issuer}]})

    def _tenant(self, tenant: str) -> None:
        partner = self._stage.world.partner
        if tenant.lower() in (partner.tenant_id, partner.domain, "common", "organizations"):
            return
        if self._stage.world.customer(tenant.lower()) is not None:
            raise SignInError(
                400,
                "unauthorized_client",
                700016,
                f"Application with identifier '{partner.client_id}' was not found in the directory.",
            )
        raise SignInError(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")

    # --- sign-in -------------------------------------------------------------------------------

    def _authorize(self, request: Request, tenant: str) -> Response:
        """The browser step: the admin agent is signed in and consents at once."""
        self._tenant(tenant)
        client = self._principals.application(request.args.get("client_id", ""))
        if client is None:
            raise SignInError(400, "unauthorized_client", 700016, "Application was not found.")
        user = self._principals.user(request.args.get("login_hint", ""))
        if user is None:
            raise SignInError(400, "invalid_request", 50034, "The user account does not exist.")
        redirect = request.args.get("redirect_uri", "")
        if request.args.get("response_type") != "code" or not redirect:
            raise SignInError(
                400, "invalid_request", 900144, "response_type or redirect_uri missing."
            )
        self._tokens.issued += 1
        code = self._tokens.sign(
            "code",
            {
                "redirect_uri": redirect,
                "client_id": client.client_id,
                "upn": user.upn,
                "serial": self._tokens.issued,
                "exp": self._tokens.now() + CODE_SECONDS,
            },
        )
        back = {"code": code} | {k: v for k, v in request.args.items() if k == "state"}
        glue = "&" if "?" in redirect else "?"
        return Response("", status=302, headers={"Location": redirect + glue + urlencode(back)})

    def _token(self, request: Request, tenant: str) -> Response:
        form = _form(request)
        grant = self._grant(form, request, tenant)
        scopes = form.get("scope", "").split()
        named = [s for s in scopes if s.lower() not in _OPENID]
        if grant.user is None and not all(scope.endswith("/.default") for scope in scopes):
            raise SignInError(
                400,
                "invalid_scope",
                1002012,
                "The scope for client credentials must end in /.default.",
            )
        answer: dict[str, Any] = {
            "token_type": "Bearer",
            "expires_in": ACCESS_SECONDS,
            "ext_expires_in": ACCESS_SECONDS,
        }
        names = {_resource_name(scope) for scope in named}
        api = self._principals.api(names.pop()) if len(names) == 1 else None
        if api is not None:
            answer["access_token"] = self._tokens.api_token(
                api, grant.client, grant.user, acr=grant.acr
            )
            if grant.user is not None:
                answer["scope"] = f"{api.names[1]}/user_impersonation"
        else:
            resource, system = self._resource(named)
            self._own(grant.client)
            answer["access_token"] = self._tokens.access_token(resource, system, grant.amr)
            if grant.amr is not None:
                answer["scope"] = f"{resource}/user_impersonation {resource}/.default"
                answer["refresh_token"] = self._tokens.refresh_token(grant.amr)
        if grant.user is not None and "openid" in scopes:
            answer["id_token"] = self._tokens.id_token(grant.client, grant.user)
        if form.get("client_info") == "1" and grant.user is not None:
            identity = {
                "uid": grant.user.object_id,
                "utid": self._stage.world.partner.tenant_id,
            }
            answer["client_info"] = pack(wire.encode(identity))
        return wire.json_response(answer)

    def _token_v1(self, request: Request, tenant: str) -> Response:
        """The older endpoint: `resource` instead of `scope`, numbers as strings."""
        form = _form(request)
        grant = self._grant(form, request, tenant)
        amr = grant.amr
        resource, system = self._resource([form.get("resource", "")])
        self._own(grant.client)
        answer: dict[str, Any] = {
            "token_type": "Bearer",
            "expires_in": str(ACCESS_SECONDS),
            "ext_expires_in": str(ACCESS_SECONDS),
            "expires_on": str(self._tokens.now() + ACCESS_SECONDS),
            "not_before": str(self._tokens.now()),
            "resource": resource,
            "access_token": self._tokens.access_token(resource, system, amr),
        }
        if amr is not None:
            answer |= {
                "scope": "user_impersonation",
                "refresh_token": self._tokens.refresh_token(amr),
            }
            answer["id_token"] = self._tokens.id_token()
        return wire.json_response(answer)

    def _grant(self, form: dict[str, str], request: Request, tenant: str) -> Grant:
        """Who is behind the request."""
        self._tenant(tenant)
        client, acr = self._application(form, request)
        match form.get("grant_type"):
            case "client_credentials":
                return Grant(client, acr=acr)
            case "refresh_token":
                self._own(client)
                amr = self._redeem_refresh_token(form.get("refresh_token", ""))
                return Grant(client, self._principals.user(""), amr, acr)
            case "authorization_code":
                return Grant(client, *self._redeem_code(form, client), acr)
            case other:
                raise SignInError(
                    400,
                    "unsupported_grant_type",
                    70003,
                    f"The grant type '{other}' is not supported.",
                )

    def _application(self, form: dict[str, str], request: Request) -> tuple[Principal, str]:
        """The application that shows its secret or an assertion, and which of them (1, 2)."""
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if request.authorization is not None and request.authorization.type == "basic":
            client_id = unquote_plus(request.authorization.username or "")
            secret = unquote_plus(request.authorization.password or "")
        client = self._principals.application(client_id)
        if client is None:
            raise SignInError(
                400,
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id}' was not found in the directory.",
            )
        if "client_assertion" in form:
            self._federated(form, client)
            return client, "2"
        if not secret:
            raise SignInError(
                401,
                "invalid_client",
                7000218,
                "The request body must contain the following parameter: 'client_assertion' or "
                "'client_secret'.",
            )
        if not hmac.compare_digest(secret.encode(), client.client_secret.encode()):
            raise SignInError(
                401,
                "invalid_client",
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request is the "
                "client secret value, not the client secret ID.",
            )
        return client, "1"

    def _federated(self, form: dict[str, str], client: Principal) -> None:
        """Judge the assertion of a federated credential; only the partner's own app has any.

        The numbers of the refusals are general knowledge of Entra [known].
        """
        from emulator import published  # noqa: PLC0415 - keys only where one asks

        if form.get("client_assertion_type") != _ASSERTION:
            raise SignInError(
                400, "invalid_request", 900144, "The parameter client_assertion_type is missing."
            )
        claims = published.read(form["client_assertion"])
        if claims is None or client.client_id != self._stage.world.partner.client_id:
            raise SignInError(
                401, "invalid_client", 700027, "The certificate of the assertion is not registered."
            )
        now = self._tokens.now()
        if not claims.get("nbf", 0) <= now < claims.get("exp", 0):
            raise SignInError(
                401,
                "invalid_client",
                700024,
                "Client assertion is not within its valid time range.",
            )
        fault = self._principals.trusted(claims)
        if fault:
            number = {"issuer": 700211, "audience": 700212, "subject": 700213}[fault]
            raise SignInError(
                401,
                "invalid_client",
                number,
                f"No matching federated identity record found for presented assertion {fault}.",
            )

    def _own(self, client: Principal) -> None:
        """Microsoft's systems are in the permissions of the partner's own app alone."""
        if client.client_id != self._stage.world.partner.client_id:
            raise SignInError(
                400,
                "invalid_resource",
                650057,
                "Invalid resource. The client has requested access to a resource which is not "
                "listed in the requested permissions in the client's application registration.",
            )

    def _redeem_refresh_token(self, token: str) -> list[str]:
        claims = self._tokens.read("refresh", token.removeprefix("1."))
        if claims is None:
            raise SignInError(
                400, "invalid_grant", 9002313, "Invalid request. Request is malformed."
            )
        if self._tokens.revoked(claims):
            raise SignInError(
                400,
                "invalid_grant",
                50173,
                "The provided grant has expired due to it being revoked; a fresh auth token is needed.",
            )
        if claims["exp"] <= self._tokens.now():
            raise SignInError(
                400, "invalid_grant", 700082, "The refresh token has expired due to inactivity."
            )
        return self._second_factor(claims["amr"])

    def _redeem_code(
        self, form: dict[str, str], client: Principal
    ) -> tuple[Principal | None, list[str]]:
        code = form.get("code", "")
        claims = self._tokens.read("code", code)
        if (
            claims is None
            or claims["redirect_uri"] != form.get("redirect_uri")
            or claims["client_id"] != client.client_id
        ):
            raise SignInError(
                400, "invalid_grant", 9002313, "Invalid request. Request is malformed."
            )
        if claims["exp"] <= self._tokens.now():
            raise SignInError(400, "invalid_grant", 70008, "The authorization code has expired.")
        if code in self._spent_codes:
            raise SignInError(400, "invalid_grant", 54005, "The code was already redeemed.")
        self._spent_codes.add(code)
        return self._principals.user(claims["upn"]), ["pwd", "mfa"]

    def _second_factor(self, amr: list[str]) -> list[str]:
        if self._stage.control.settings.conditional_access_mfa and "mfa" not in amr:
            raise SignInError(
                400,
                "invalid_grant",
                50076,
                "Due to a configuration change made by your administrator, or because you moved to a "
                "new location, you must use multi-factor authentication to access the resource.",
            )
        return amr

    def _resource(self, scopes: list[str]) -> tuple[str, str]:
        """The one resource that some scopes name, and the emulated system behind it ("": none)."""
        names = {_resource_name(scope) for scope in scopes}
        if len(names) != 1:
            raise SignInError(
                400, "invalid_scope", 28000, "The scope must name exactly one resource."
            )
        name = names.pop()
        for system in APP_IDS:
            if name in self._tokens.audiences(system):
                return name, system
        if name in OTHER_RESOURCES:
            return name, ""
        raise SignInError(
            400,
            "invalid_resource",
            500011,
            f"The resource principal named {name} was not found in the tenant.",
        )

    def _error(self, request: Request, error: SignInError) -> Response:
        trace = wire.derived_guid("trace", self._tokens.issued, error.number)
        correlation = request.headers.get("client-request-id", trace)
        now = self._stage.clock.now().strftime("%Y-%m-%d %H:%M:%SZ")
        sentence = (
            f"AADSTS{error.number}: {error} Trace ID: {trace} "
            f"Correlation ID: {correlation} Timestamp: {now}"
        )
        return wire.json_response(
            {
                "error": error.error,
                "error_description": sentence,
                "error_codes": [error.number],
                "timestamp": now,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": f"{self._stage.base_urls['login']}/error?code={error.number}",
            },
            error.status,
        )


def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.get_data(as_text=True), keep_blank_values=True))


def _resource_name(scope: str) -> str:
    """`https://graph.microsoft.com/.default` and `https://graph.microsoft.com/X.Read` to the host."""
    scheme, mark, rest = scope.partition("://")
    return scheme + mark + rest.partition("/")[0] if mark else scope.partition("/")[0]
