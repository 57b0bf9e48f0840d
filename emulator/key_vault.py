"""Azure Key Vault as far as secrets need it: set, get, list versions, update; on soft ground no more.

From the REST reference of secrets (7.0 to 2026-04-01, which agree in these operations): times are whole
seconds, a set makes a new version, reading a disabled version is refused with `SecretDisabled`. Versions
are listed by their names, which are random: in no order of time. A request without a token is answered
with a challenge that names the authority and the resource. Sentences of errors are [known].
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.tokens import TokenRefusedError, Tokens

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

RESOURCE = "https://vault.azure.net"
VERSIONS = frozenset("7.0 7.1 7.2 7.3 7.4 7.5 7.6 2025-07-01 2026-04-01 2016-10-01".split())
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_LARGEST = 25 * 1024
_PAGE = 25


class VaultError(Exception):
    """A refusal: status, code, and for a 403 the reason within."""

    def __init__(self, status: int, code: str, sentence: str, inner: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.inner = inner


@dataclass(slots=True, kw_only=True)
class Version:
    """One version of a secret."""

    id: str
    value: str
    created: int
    updated: int
    enabled: bool = True
    content_type: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


class KeyVault:
    """One vault; who may do what is the setting `vault_permissions`."""

    def __init__(self, stage: Stage, tokens: Tokens) -> None:
        self._stage = stage
        self._tokens = tokens
        self._secrets: dict[str, list[Version]] = {}
        table: list[tuple[str, str, tuple[str, Callable[..., dict[str, Any]]]]] = [
            ("PUT", "/secrets/{name}", ("set", self._set)),
            ("GET", "/secrets/{name}", ("get", self._get)),
            ("GET", "/secrets/{name}/versions", ("list", self._list)),
            ("GET", "/secrets/{name}/{version}", ("get", self._get)),
            ("PATCH", "/secrets/{name}/{version}", ("set", self._update)),
        ]
        self._routes = wire.Routes(table)

    def reset(self) -> None:
        """Empty the vault."""
        self._secrets.clear()

    def put(self, name: str, value: str) -> str:
        """Keep a secret as an administrator would; the name of its new version."""
        return self._add(name, {"value": value}).id

    def versions(self, name: str) -> tuple[Version, ...]:
        """The versions of a secret as they were made, for a test to look at."""
        return tuple(self._secrets.get(name.lower(), ()))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request to the vault."""
        request = Request(environ)
        try:
            response = wire.json_response(self._answer(request))
        except TokenRefusedError as error:
            response = self._challenge(error)
        except VaultError as error:
            inner = {"innererror": {"code": error.inner}} if error.inner else {}
            content = {"error": {"code": error.code, "message": str(error), **inner}}
            response = wire.json_response(content, error.status)
        response.headers["x-ms-keyvault-service-version"] = "emulated"
        response.headers["Cache-Control"] = "no-cache"
        return response(environ, start_response)

    def _answer(self, request: Request) -> dict[str, Any]:
        token = wire.bearer(request)
        self._tokens.verify(token, "vault")
        if request.args.get("api-version") not in VERSIONS:
            raise VaultError(400, "BadParameter", "The specified version is not recognized.")
        found = self._routes.find(request.method, request.path)
        if isinstance(found, frozenset):
            raise VaultError(
                405 if found else 404,
                "MethodNotAllowed" if found else "ResourceNotFound",
                "The resource was not found or does not take this method.",
            )
        (permission, handler), values = found
        if permission not in self._stage.control.settings.vault_permissions:
            raise VaultError(
                403,
                "Forbidden",
                f"Caller is not authorized to perform action '{permission}' on secrets.",
                "ForbiddenByRbac",
            )
        if not _NAME.fullmatch(values["name"]):
            raise VaultError(400, "BadParameter", "The request URI contains an invalid name.")
        return handler(request, **values)

    def _challenge(self, error: TokenRefusedError) -> Response:
        tenant = self._stage.world.partner.tenant_id
        authority = f"{self._stage.base_urls['login']}/{tenant}"
        said = {
            "missing": "AKV10000: Request is missing a Bearer or PoP token.",
            "audience": "AKV10022: Invalid audience.",
        }.get(error.kind, "[TokenExpired] Error validating token.")
        return wire.json_response(
            {"error": {"code": "Unauthorized", "message": said}},
            401,
            {"WWW-Authenticate": f'Bearer authorization="{authority}", resource="{RESOURCE}"'},
        )

    def _set(self, request: Request, name: str) -> dict[str, Any]:
        return self._shown(name, self._add(name, _read(request)), value=True)

    def _add(self, name: str, body: dict[str, Any]) -> Version:
        value = body.get("value")
        if not isinstance(value, str) or len(value.encode()) > _LARGEST:
            raise VaultError(400, "BadParameter", "The value is missing or too large.")
        kept = self._secrets.setdefault(name.lower(), [])
        seed = f"{self._stage.seed}|{name.lower()}|{len(kept)}"
        now = self._tokens.now()
        made = Version(
            id=hashlib.sha256(seed.encode()).hexdigest()[:32], value=value, created=now, updated=now
        )
        self._change(made, body)
        kept.append(made)
        return made

    def _get(self, request: Request, name: str, version: str = "") -> dict[str, Any]:
        del request
        found = self._find(name, version)
        if not found.enabled:
            raise VaultError(
                403,
                "Forbidden",
                "Operation get is not allowed on a disabled secret.",
                "SecretDisabled",
            )
        return self._shown(name, found, value=True)

    def _list(self, request: Request, name: str) -> dict[str, Any]:
        self._find(name, "")
        try:
            size = int(request.args.get("maxresults", _PAGE))
            start = int(request.args.get("$skiptoken", 0))
        except ValueError:
            raise VaultError(400, "BadParameter", "maxresults is not a number.") from None
        if not 1 <= size <= _PAGE:
            raise VaultError(400, "BadParameter", "maxresults must be 1 to 25.")
        listed = sorted(self._secrets[name.lower()], key=lambda one: one.id)
        following = None
        if start + size < len(listed):
            version = request.args["api-version"]
            following = (
                f"{self._base}/{name}/versions?api-version={version}"
                f"&$skiptoken={start + size}&maxresults={size}"
            )
        shown = [self._shown(name, one, value=False) for one in listed[start : start + size]]
        return {"value": shown, "nextLink": following}

    def _update(self, request: Request, name: str, version: str) -> dict[str, Any]:
        found = self._find(name, version)
        self._change(found, _read(request))
        found.updated = self._tokens.now()
        return self._shown(name, found, value=False)

    def _change(self, version: Version, body: dict[str, Any]) -> None:
        attributes = body.get("attributes") or {}
        if isinstance(attributes.get("enabled"), bool):
            version.enabled = attributes["enabled"]
        version.limits |= {key: attributes[key] for key in ("nbf", "exp") if key in attributes}
        if isinstance(body.get("tags"), dict):
            version.tags = {str(key): str(value) for key, value in body["tags"].items()}
        version.content_type = body.get("contentType", version.content_type)

    def _find(self, name: str, version: str) -> Version:
        kept = self._secrets.get(name.lower(), [])
        found = next((one for one in reversed(kept) if version in ("", one.id)), None)
        if found is None:
            raise VaultError(
                404,
                "SecretNotFound",
                f"A secret with (name/id) {name}/{version} was not found in this key vault.",
            )
        return found

    @property
    def _base(self) -> str:
        return f"{self._stage.base_urls['vault']}/secrets"

    def _shown(self, name: str, version: Version, *, value: bool) -> dict[str, Any]:
        content: dict[str, Any] = {"value": version.value} if value else {}
        content |= {
            "id": f"{self._base}/{name}/{version.id}",
            "attributes": {
                "enabled": version.enabled,
                "created": version.created,
                "updated": version.updated,
                "recoveryLevel": "Recoverable",
                "recoverableDays": 90,
                **version.limits,
            },
        }
        if version.tags:
            content["tags"] = version.tags
        if version.content_type:
            content["contentType"] = version.content_type
        return content


def _read(request: Request) -> dict[str, Any]:
    try:
        return wire.read_object(request)
    except ValueError:
        raise VaultError(400, "BadParameter", "The body is not a JSON object.") from None
