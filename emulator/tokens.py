"""The tokens of the emulated Entra ID: who signs them, what they claim, who takes them.

Tokens are self-describing JWTs signed with a key derived from the seed, so another process with the
same seed accepts them and nothing has to be stored. Times are the emulator's clock. What the emulated
hosts alone judge is signed with HMAC, and no client may look into it; what others judge (an ID token,
a token for an API of the tenant or for Azure Storage) is signed by the published key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from emulator import wire
from emulator.control import PUBLIC_URLS, Stage

if TYPE_CHECKING:
    from emulator.principals import Api, ManagedIdentity, Principal

ACCESS_SECONDS = 3600
REFRESH_DAYS = 90
# Public constants of Microsoft: the resources may be named by application id too.
APP_IDS = {
    "partner_center": "fa3d9a0c-3fb0-42cc-9193-47c7ecd2edbd",
    "price": "4990cffe-04e8-4e8b-808a-1175604b879f",
    "graph": "00000003-0000-0000-c000-000000000000",
    "dataverse": "00000007-0000-0000-c000-000000000000",
    "vault": "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
}
AUDIENCES = PUBLIC_URLS | {"vault": "https://vault.azure.net"}
"""What a token for a system names; a vault has a host of its own and a name for all."""
STORAGE = "https://storage.azure.com"
# Resources for which Entra still issues tokens although nothing of the emulator takes them.
OTHER_RESOURCES = ("https://graph.windows.net", "https://management.azure.com")
GRAPH_PERMISSIONS = ("DelegatedAdminRelationship.Read.All", "PartnerBilling.Read.All")


class TokenRefusedError(ValueError):
    """An access token that a resource must not take; `kind` is missing, invalid, expired, audience."""

    def __init__(self, kind: str, sentence: str, audience: str = "") -> None:
        super().__init__(sentence)
        self.kind = kind
        self.audience = audience


class Tokens:
    """Signs tokens for the login host and judges access tokens for the others."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._generation = 0
        self.issued = 0

    def reset(self) -> None:
        """Forget revocations and count from the beginning."""
        self._generation = 0
        self.issued = 0

    def revoke(self) -> None:
        """End all sessions: every refresh token issued so far is a revoked one."""
        self._generation += 1

    def revoked(self, claims: dict[str, Any]) -> bool:
        """Whether a refresh token was issued before the last revocation."""
        return bool(claims["generation"] < self._generation)

    def verify(self, token: str, system: str) -> dict[str, Any]:
        """The claims of an access token meant for a system; TokenRefusedError otherwise."""
        return self.check(token, *self.audiences(system))

    def check(self, token: str, *audiences: str) -> dict[str, Any]:
        """The claims of an access token for one of some audiences; TokenRefusedError otherwise."""
        if not token:
            raise TokenRefusedError("missing", "The request has no bearer token.")
        claims = self.read("access", token)
        if claims is None:
            raise TokenRefusedError("invalid", "The token is malformed or its signature is wrong.")
        if claims["exp"] <= self.now():
            raise TokenRefusedError("expired", "The token has expired.", claims["aud"])
        if claims["aud"] not in audiences:
            raise TokenRefusedError("audience", "The token is for another audience.", claims["aud"])
        return claims

    def audiences(self, system: str) -> tuple[str, ...]:
        """The names under which a system may be asked for: public, present address, application id."""
        return (AUDIENCES[system], self._stage.base_urls[system], APP_IDS[system])

    def now(self) -> int:
        """The emulated time in epoch seconds, as tokens count it."""
        return int(self._stage.clock.now().timestamp())

    def _key(self, use: str) -> bytes:
        return hashlib.sha256(f"emulator|{use}|{self._stage.seed}".encode()).digest()

    def sign(self, use: str, claims: dict[str, Any]) -> str:
        """A JWT for one use (access, refresh, code, id); a token of one use is none of another."""
        parts = [pack(wire.encode(part)) for part in ({"typ": "JWT", "alg": "HS256"}, claims)]
        text = ".".join(parts)
        return f"{text}.{_b64(hmac.digest(self._key(use), text.encode(), 'sha256'))}"

    def read(self, use: str, token: str) -> dict[str, Any] | None:
        """The claims of a token that carries our signature for this use."""
        text, _, signature = token.rpartition(".")
        expected = _b64(hmac.digest(self._key(use), text.encode(), "sha256"))
        if text.count(".") != 1 or not hmac.compare_digest(expected.encode(), signature.encode()):
            return None
        payload = text.partition(".")[2]
        claims: dict[str, Any] = wire.decode(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        )
        return claims

    def refresh_token(self, amr: list[str]) -> str:
        """A new refresh token of the admin agent, who signed in by these methods."""
        self.issued += 1
        partner = self._stage.world.partner
        claims = {
            "tid": partner.tenant_id,
            "oid": partner.user_id,
            "appid": partner.client_id,
            "amr": amr,
            "generation": self._generation,
            "serial": self.issued,
            "iat": self.now(),
            "exp": self.now() + int(timedelta(days=REFRESH_DAYS).total_seconds()),
        }
        return "1." + self.sign("refresh", claims)

    def access_token(self, resource: str, system: str, amr: list[str] | None) -> str:
        """An access token; `amr` None makes it app-only."""
        partner = self._stage.world.partner
        claims: dict[str, Any] = self._life() | {
            "aud": resource,
            "iss": self._older_issuer,
            "appid": partner.client_id,
            "appidacr": "1",
            "tid": partner.tenant_id,
            "ver": "1.0",
        }
        withheld = self._stage.control.settings.withheld_permissions
        known = (*GRAPH_PERMISSIONS, *self._stage.control.settings.granted_permissions)
        granted = [name for name in known if name not in withheld]
        if amr is None:
            own = wire.derived_guid("service principal", partner.client_id)
            claims |= {"idtyp": "app", "oid": own, "sub": own}
            claims |= {"roles": granted} if system == "graph" else {}
        else:
            scope = " ".join(granted) if system == "graph" else "user_impersonation"
            claims |= {"idtyp": "user", "oid": partner.user_id, "sub": partner.user_id}
            claims |= {"upn": partner.upn, "unique_name": partner.upn, "amr": amr, "scp": scope}
        return self.sign("access", claims)

    def identity_token(self, resource: str, identity: ManagedIdentity) -> str:
        """An access token of a managed identity; empty where no such resource is known."""
        from emulator.principals import EXCHANGE, EXCHANGE_ID  # noqa: PLC0415 - it imports Stage too

        resource = resource.removesuffix("/.default").rstrip("/")
        systems = [system for system in APP_IDS if resource in self.audiences(system)]
        outside = {STORAGE: STORAGE, EXCHANGE: EXCHANGE_ID, EXCHANGE_ID: EXCHANGE_ID}
        tenant = self._stage.world.partner.tenant_id
        # Whoever exchanges a token asks for the newer form: that is whose issuer is entered there.
        newer = resource in (EXCHANGE, EXCHANGE_ID)
        issuer = f"{PUBLIC_URLS['login']}/{tenant}/v2.0" if newer else self._older_issuer
        claims = self._life() | {
            "aud": outside.get(resource, resource),
            "iss": issuer,
            "tid": tenant,
            "idtyp": "app",
            "oid": identity.principal_id,
            "sub": identity.principal_id,
            "xms_mirid": identity.resource_id,
            "azp" if newer else "appid": identity.client_id,
            "azpacr" if newer else "appidacr": "2",
            "ver": "2.0" if newer else "1.0",
        }
        if systems:
            return self.sign("access", claims)
        return self._publicly_signed(claims) if resource in outside else ""

    def api_token(
        self, api: Api, client: Principal, user: Principal | None = None, *, acr: str = "1"
    ) -> str:
        """An access token for a registered API, of an application alone or of a user by it."""
        holder = user or client
        newer = api.token_version == 2
        tenant = self._stage.world.partner.tenant_id
        claims = self._life() | {
            "aud": api.app_id if newer else api.names[1],
            "iss": self._newer_issuer if newer else self._older_issuer,
            "tid": tenant,
            "oid": holder.object_id,
            "sub": holder.object_id,
            "azp" if newer else "appid": client.client_id,
            "azpacr" if newer else "appidacr": acr,
            "ver": f"{api.token_version}.0",
        }
        roles = [role for role in api.roles if role in holder.roles]
        claims |= {"roles": roles} if roles else {}
        if user is not None:
            address = ("preferred_username",) if newer else ("upn", "unique_name")
            claims |= dict.fromkeys(address, user.upn)
            claims |= {"scp": "user_impersonation", "name": user.name}
        return self._publicly_signed(claims)

    def id_token(self, client: Principal | None = None, user: Principal | None = None) -> str:
        """Who signed in, for the app itself; without a client the partner's admin agent and app."""
        partner = self._stage.world.partner
        holder = user.object_id if user else partner.user_id
        claims = self._life() | {
            "aud": client.client_id if client else partner.client_id,
            "iss": self._newer_issuer,
            "oid": holder,
            "sub": holder,
            "tid": partner.tenant_id,
            "preferred_username": user.upn if user else partner.upn,
            "ver": "2.0",
        }
        return self._publicly_signed(claims | ({"roles": list(user.roles)} if user else {}))

    def _life(self) -> dict[str, Any]:
        now = self.now()
        return {"iat": now, "nbf": now, "exp": now + ACCESS_SECONDS}

    @property
    def _older_issuer(self) -> str:
        return f"https://sts.windows.net/{self._stage.world.partner.tenant_id}/"

    @property
    def _newer_issuer(self) -> str:
        return f"{self._stage.base_urls['login']}/{self._stage.world.partner.tenant_id}/v2.0"

    def _publicly_signed(self, claims: dict[str, Any]) -> str:
        from emulator import published  # noqa: PLC0415 - keys only where one signs

        return published.sign(claims)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def pack(text: str) -> str:
    """Text as unpadded base64url, the form of a JWT's parts."""
    return _b64(text.encode())
