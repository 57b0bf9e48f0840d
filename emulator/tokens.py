"""The tokens of the emulated Entra ID: who signs them, what they claim, who takes them.

Tokens are self-describing JWTs signed with a key derived from the seed, so another process with the
same seed accepts them and nothing has to be stored. Times are the emulator's clock. Signatures are
HMAC: there are no public keys to publish, and no client validates a token that is not its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import timedelta
from typing import Any

from emulator import wire
from emulator.control import PUBLIC_URLS, Stage

ACCESS_SECONDS = 3600
REFRESH_DAYS = 90
# Public constants of Microsoft: the resources may be named by application id too.
APP_IDS = {
    "partner_center": "fa3d9a0c-3fb0-42cc-9193-47c7ecd2edbd",
    "price": "4990cffe-04e8-4e8b-808a-1175604b879f",
    "graph": "00000003-0000-0000-c000-000000000000",
    "dataverse": "00000007-0000-0000-c000-000000000000",
}
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
        return (PUBLIC_URLS[system], self._stage.base_urls[system], APP_IDS[system])

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
        now = self.now()
        claims: dict[str, Any] = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{partner.tenant_id}/",
            "iat": now,
            "nbf": now,
            "exp": now + ACCESS_SECONDS,
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

    def id_token(self) -> str:
        """Who signed in, for the app itself."""
        partner = self._stage.world.partner
        now = self.now()
        claims = {
            "aud": partner.client_id,
            "iss": f"{self._stage.base_urls['login']}/{partner.tenant_id}/v2.0",
            "iat": now,
            "nbf": now,
            "exp": now + ACCESS_SECONDS,
            "oid": partner.user_id,
            "sub": partner.user_id,
            "tid": partner.tenant_id,
            "preferred_username": partner.upn,
            "ver": "2.0",
        }
        return self.sign("id", claims)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def pack(text: str) -> str:
    """Text as unpadded base64url, the form of a JWT's parts."""
    return _b64(text.encode())
