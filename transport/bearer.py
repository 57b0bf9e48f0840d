"""Access tokens that others show to us, judged against the signing keys that Entra ID publishes.

Only RS256 by a published RSA key of the tenant counts; a token's own word on where its key is
(jku, x5u, jwk) is never followed. Keys are kept for a day and read again for an unknown key id, but
only every few minutes: inventing ids must not make us ask Entra without end. Sources: RFC 7515, 7517,
7519, 8725; the claims of Entra ID v1 and v2 access tokens and the day-long life of its keys [known].
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from domain.problems import ServiceError, Unavailable
from transport import exact_json
from transport.session import Http, Now, Patience

LONGEST = 16 * 1024
"""Characters of an Authorization header that are looked at; tokens with many groups reach half."""
LEEWAY = 120
"""Seconds by which clocks may differ."""
_KEYS_LIVE = timedelta(hours=24)
_KEYS_PAUSE = timedelta(minutes=5)
_AFTER_FAILURE = timedelta(seconds=15)
_MOST_KEYS = 64
_WEAK = 2048
_KEYS_LIMIT = 1 << 20


class BadToken(Exception):  # noqa: N818 - named after what happened, as in domain.problems
    """A token that is not to be believed; the sentence repeats nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """What a believable token says of its holder."""

    name: str
    """As a person reads it: never for a decision, users can change it."""
    object_id: str
    roles: frozenset[str]
    is_app: bool


class SigningKeys:
    """The public keys of a tenant by key id; safe for threads."""

    def __init__(self, http: Http, path: str, *, now: Now) -> None:
        self._http = http
        self._path = path
        self._now = now
        self._keys: Mapping[str, Any] = {}
        self._read_at: datetime | None = None
        self._asked_at: datetime | None = None
        self._lock = threading.Lock()

    def find(self, key_id: str) -> Any | None:
        """Return a key, None where Entra publishes none of that id; Unavailable without any keys."""
        # Before the lock: somebody else's invented id makes nobody with a known key wait.
        keys, fresh = self._keys, not self._old(self._now())
        if fresh and key_id in keys:
            return keys[key_id]
        with self._lock:
            now = self._now()
            # Soon again only where there is no key at all: else anybody could make us ask.
            pause = _KEYS_PAUSE if self._keys else _AFTER_FAILURE
            due = self._asked_at is None or now - self._asked_at >= pause
            if due and (self._old(now) or key_id not in self._keys):
                self._read(now)
            if not self._keys:
                raise Unavailable("the signing keys could not be read", service="Microsoft Entra")
            return self._keys.get(key_id)

    def _old(self, now: datetime) -> bool:
        return self._read_at is None or now - self._read_at >= _KEYS_LIVE

    def _read(self, now: datetime) -> None:
        """Read the keys anew; where that fails those of before go on to count."""
        self._asked_at = now
        try:
            found = self._http.request(
                "GET", self._path, limit=_KEYS_LIMIT, patience=Patience(tries=2, seconds=2)
            ).json()
        except ServiceError:
            return
        keys = _rsa_keys(found)
        if keys:
            self._keys, self._read_at = keys, now


class BearerTokens:
    """Reads Authorization headers for one API of one tenant."""

    def __init__(
        self,
        keys: SigningKeys,
        *,
        tenant_id: str,
        audiences: frozenset[str],
        issuers: frozenset[str],
        now: Now,
    ) -> None:
        self._keys = keys
        self._tenant_id = tenant_id.lower()
        self._audiences = audiences
        self._issuers = issuers
        self._now = now

    def read(self, header: str) -> Bearer:
        """Return who holds the token of a header; BadToken, or Unavailable where no key is at hand."""
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise BadToken("there is no bearer token")
        if len(header) > LONGEST:
            raise BadToken("the token is too long")
        claims = self._signed(token)
        self._check(claims)
        if not (claims.get("azp") or claims.get("appid")):
            # An ID token of a client that shares our registration has our audience too.
            raise BadToken("the token is no access token")
        roles = claims.get("roles", [])
        named = (claims.get(one) for one in ("preferred_username", "upn", "unique_name"))
        object_id = _text(claims.get("oid"))
        is_app = claims.get("idtyp") == "app" or not (any(named) or claims.get("scp"))
        return Bearer(
            name=_name(claims, object_id),
            object_id=object_id,
            roles=frozenset(one for one in roles if isinstance(one, str))
            if isinstance(roles, list)
            else frozenset(),
            is_app=is_app,
        )

    def _signed(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token that one of the published keys signed."""
        import jwt  # noqa: PLC0415 - brings cryptography

        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise BadToken("the token is malformed") from None
        key_id = header.get("kid")
        if header.get("alg") != "RS256" or "crit" in header or not isinstance(key_id, str):
            raise BadToken("the token is not signed as Entra ID signs")
        key = self._keys.find(key_id)
        if key is None:
            raise BadToken("the token is signed by no key of the tenant")
        try:
            # The signature alone: times are checked by our own clock, not that of the machine.
            claims = exact_json.loads(
                jwt.PyJWS().decode(token, key, algorithms=["RS256"]), once=True
            )
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise BadToken("the token's signature is wrong") from None
        if not isinstance(claims, dict):
            raise BadToken("the token makes no claims")
        return claims

    def _check(self, claims: Mapping[str, Any]) -> None:
        now = int(self._now().timestamp())
        ends, begins = claims.get("exp"), claims.get("nbf", 0)
        if type(ends) is not int or now >= ends + LEEWAY:
            raise BadToken("the token has expired")
        if type(begins) is not int or now < begins - LEEWAY:
            raise BadToken("the token is not valid yet")
        for claim, allowed, problem in (
            ("iss", self._issuers, "the token is of another issuer"),
            ("tid", {self._tenant_id}, "the token is of another tenant"),
            ("aud", self._audiences, "the token is for another API"),
        ):
            said = claims.get(claim)
            if not isinstance(said, str) or said not in allowed:
                raise BadToken(problem)


def entra_tokens(
    login: Http, *, tenant_id: str, audience: str, issuer: str = "", now: Now
) -> BearerTokens:
    """Read tokens of a tenant for an API, named by its client id or by its `api://` address.

    Which of the two a token names, and which issuer, depends on the version of tokens that the
    registration asks for. `login` is Entra's host; an explicit issuer is the only one.
    """
    tenant_id = tenant_id.lower()  # as tokens name it
    bare = audience.removeprefix("api://")
    issuers = {f"{login.base_url}/{tenant_id}/v2.0", f"https://sts.windows.net/{tenant_id}/"}
    if issuer:
        issuers = {issuer, f"{issuer.rstrip('/')}/"}
    return BearerTokens(
        SigningKeys(login, f"/{tenant_id}/discovery/v2.0/keys", now=now),
        tenant_id=tenant_id,
        audiences=frozenset({audience, bare, f"api://{bare}"}),
        issuers=frozenset(issuers),
        now=now,
    )


def _rsa_keys(found: Any) -> dict[str, Any]:
    """Return the RSA keys of a key set that sign; everything else in it is left out."""
    import jwt  # noqa: PLC0415 - brings cryptography

    listed = found.get("keys") if isinstance(found, Mapping) else None
    keys: dict[str, Any] = {}
    for one in listed[:_MOST_KEYS] if isinstance(listed, list) else ():
        if not isinstance(one, Mapping) or one.get("kty") != "RSA" or "d" in one:
            continue
        if one.get("use", "sig") != "sig" or not isinstance(one.get("kid"), str):
            continue
        try:
            key = jwt.PyJWK(dict(one), algorithm="RS256").key
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if key.key_size >= _WEAK:
            keys[one["kid"]] = key
    return keys


def _name(claims: Mapping[str, Any], object_id: str) -> str:
    """Name a holder: a user by address or id, an application by its id; control characters are dropped.

    A user's token has scopes; their address may be left out of it, so its absence makes no application.
    """
    for claim in ("preferred_username", "upn", "unique_name"):
        if text := _text(claims.get(claim)):
            return text
    if claims.get("scp") and object_id:
        return f"user {object_id}"
    client = _text(claims.get("azp")) or _text(claims.get("appid"))
    return f"application {client}" if client else object_id


def _text(value: Any) -> str:
    return (
        "".join(sign for sign in value[:200] if sign.isprintable())
        if isinstance(value, str)
        else ""
    )
