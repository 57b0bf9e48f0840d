"""Sign-in: access tokens for a user with a stored consent, for an app alone, for a managed identity.

Partner Center's secure application model redeems a refresh token that a person obtained once, with a
second factor. Each redemption may return a new refresh token, which is saved before the access token
is used. All kinds share one cache per scope with early renewal; a token that a system refused is not
given out again. MSAL does the protocol; its own cache is not used, because it reads the machine's
clock.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import requests

from domain.problems import ConfigurationError, NotAuthorised, ServiceError, Throttled, Unavailable
from transport.mounts import mount_rehosted
from transport.redaction import Secret, conceal, redact
from transport.session import AccessToken, Now, Patience, persist

LOGIN = "https://login.microsoftonline.com"
EXCHANGE = "api://AzureADTokenExchange/.default"
"""What a managed identity asks for where its token stands for the secret of an app."""
RETRY = {"initial_backoff": 1, "increment_base": 2, "retry_total": 3}
"""How Azure's storage clients try again: some ten seconds, where their own default is eighty, which
no caller waits for; what still fails then comes again with its message."""
_SERVICE = "Microsoft Entra"
_log = logging.getLogger(__name__)

# What a person must do about an AADSTS code. General Entra knowledge; unknown codes get no hint.
_HINTS = {
    50076: "the stored consent has no second factor: sign in again with MFA and store the new token",
    50079: "the user must register a second factor, sign in again and store the new token",
    65001: "grant consent: an administrator must sign in once to the app with these permissions",
    70008: "the refresh token expired: sign in again and store the new token",
    700082: "the refresh token expired by inactivity: sign in again and store the new token",
    50173: "the password or the sessions were changed: sign in again and store the new token",
    70000: "the refresh token is not valid for this app: sign in again and store the new token",
    7000215: "the client secret is wrong: store the secret's value, not its id",
    7000222: "the client secret expired: make a new one and store it",
    700211: "the registration trusts no such issuer: add the federated credential of the identity",
    700212: "the federated credential names another audience: enter api://AzureADTokenExchange",
    700213: "the federated credential names another subject: enter the identity's object id",
    7000218: "the app showed no credential: set CSP_FEDERATED or CSP_CLIENT_SECRET_NAME",
    700016: "the application is not known in this tenant: check client id and tenant id",
    90002: "the tenant is not known: check the tenant id",
}
# Where the app itself is refused no other refresh token helps.
_OF_THE_APP = frozenset(
    f"AADSTS{code}" for code in (7000215, 7000222, 700211, 700212, 700213, 7000218, 700024, 700016)
)
_BUSY = frozenset({90033, 90036, 50196})  # Entra says: try again later


class RefreshTokenStore(Protocol):
    """Where the user's refresh token is kept."""

    def load(self) -> Iterator[Secret]:
        """Yield the tokens worth trying, newest first."""
        ...

    def save(self, token: Secret, *, proved: Secret) -> None:
        """Keep a new token, and the one that it was just obtained with in case it fails."""
        ...

    def saved_at(self) -> datetime | None:
        """Return when the newest token that has signed in was kept; None: none has yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The app registration in the partner's tenant."""

    tenant_id: str
    client_id: str
    client_secret: Secret | None = None
    assertion: Callable[[], str] | None = None
    """In place of a secret: a token of an identity that the registration trusts (federated)."""
    login_url: str = LOGIN

    def credential(self) -> str | dict[str, Callable[[], str]]:
        """Return what MSAL shows for the app."""
        if self.assertion is not None:
            return {"client_assertion": self.assertion}
        if self.client_secret is None:
            raise ConfigurationError(
                "the app has no credential", hint="set CSP_FEDERATED, or CSP_CLIENT_SECRET_NAME"
            )
        return self.client_secret.reveal()


class CachedTokens:
    """Access tokens by scope, renewed some minutes before they expire; safe for threads.

    `acquire` gets a fresh token; it is called by one thread at a time.
    """

    def __init__(
        self,
        acquire: Callable[[tuple[str, ...]], AccessToken],
        *,
        now: Now = lambda: datetime.now(UTC),
        renew_before: int = 300,
    ) -> None:
        self._acquire = acquire
        self._now = now
        self._renew_before = renew_before
        self._tokens: dict[tuple[str, ...], AccessToken] = {}
        self._lock = threading.Lock()

    def get_token(self, *scopes: str, refused: str = "") -> AccessToken:
        """Return a valid token for the scopes, other than the refused one."""
        with self._lock:
            known = self._tokens.get(scopes)
            limit = self._now().timestamp() + self._renew_before
            if known and known.token != refused and known.expires_on > limit:
                return known
            fresh = self._acquire(scopes)
            conceal(fresh.token)
            self._tokens[scopes] = fresh
            return fresh


def user_tokens(
    registration: Registration,
    store: RefreshTokenStore,
    session: requests.Session,
    *,
    now: Now = lambda: datetime.now(UTC),
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> CachedTokens:
    """Tokens of app and user: the refresh token of the store is redeemed for each scope.

    NotAuthorised with a hint when no stored token is accepted.
    """
    entra = _Entra(registration, session, now, patience or Patience(), sleep)

    def acquire(scopes: tuple[str, ...]) -> AccessToken:
        newest: Secret | None = None
        problem: NotAuthorised | None = None
        for token in store.load():
            newest = newest or token
            try:
                answer = entra.ask("acquire_token_by_refresh_token", token.reveal(), list(scopes))
            except NotAuthorised as error:
                if error.code in _OF_THE_APP:
                    raise
                problem = problem or error
                continue
            rotated = answer.get("refresh_token")
            if rotated and Secret(rotated) != newest:
                _keep(store, Secret(rotated), token)
            return entra.access_token(answer)
        raise problem or ConfigurationError(
            "no refresh token is stored for the partner's user",
            hint="sign in once by the secure application model and set CSP_REFRESH_TOKEN to its refresh token",
        )

    return CachedTokens(acquire, now=now)


def _keep(store: RefreshTokenStore, token: Secret, proved: Secret) -> None:
    """Keep a new token; a store that is only down is written to at the next sign-in."""
    try:
        store.save(token, proved=proved)
    except (Throttled, Unavailable) as error:
        _log.warning("the new refresh token was not kept, the one before counts on: %s", error)


def app_tokens(
    registration: Registration,
    session: requests.Session,
    *,
    now: Now = lambda: datetime.now(UTC),
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> CachedTokens:
    """Tokens of the app alone (client credentials)."""
    entra = _Entra(registration, session, now, patience or Patience(), sleep)

    def acquire(scopes: tuple[str, ...]) -> AccessToken:
        answer = entra.ask("acquire_token_for_client", list(scopes))
        return entra.access_token(answer)

    return CachedTokens(acquire, now=now)


def identity_tokens(client_id: str = "", *, now: Now = lambda: datetime.now(UTC)) -> CachedTokens:
    """Tokens of the managed identity (by its client id), or of whoever is signed in here."""
    credential = identity(client_id)

    def acquire(scopes: tuple[str, ...]) -> AccessToken:
        from azure.core.exceptions import (  # noqa: PLC0415 - heavy
            AzureError,
            ClientAuthenticationError,
        )

        try:
            token = credential.get_token(*scopes)
        except ClientAuthenticationError as error:
            raise NotAuthorised(
                redact(str(error.message).splitlines()[0]),
                service=_SERVICE,
                hint="give the app a managed identity, or sign in with the Azure CLI",
            ) from None
        except AzureError:
            raise Unavailable("the identity endpoint did not answer", service=_SERVICE) from None
        return AccessToken(token.token, token.expires_on)

    return CachedTokens(acquire, now=now)


def identity_assertion(client_id: str) -> Callable[[], str]:
    """Return what gives a token of the managed identity for use in place of a client secret."""
    tokens = identity_tokens(client_id)
    return lambda: tokens.get_token(EXCHANGE).token


def identity(client_id: str = "") -> Any:
    """Return the azure-identity credential that Azure's own clients want."""
    from azure.identity import (  # noqa: PLC0415 - half a second that the command line need not pay
        DefaultAzureCredential,
        ManagedIdentityCredential,
    )

    if client_id:
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential()


class _Entra:
    """MSAL over our session: one question at a time, answers as tokens or as typed errors."""

    def __init__(
        self,
        registration: Registration,
        session: requests.Session,
        now: Now,
        patience: Patience,
        sleep: Callable[[float], None],
    ) -> None:
        self._registration = registration
        self._session = session
        self._now = now
        self._patience = patience
        self._sleep = sleep
        login = registration.login_url.rstrip("/")
        self._authority = login if login.startswith("https://") else LOGIN
        if self._authority != login:
            mount_rehosted(session, self._authority, login)

    def ask(self, flow: str, *arguments: Any) -> Mapping[str, Any]:
        """Run a flow of a new MSAL application, and again where Entra is only busy."""

        def once() -> Mapping[str, Any]:
            import msal  # type: ignore[import-untyped]  # noqa: PLC0415 - heavy

            registration = self._registration
            try:
                # A new one each time: MSAL would answer from a cache with the machine's clock.
                application = msal.ConfidentialClientApplication(
                    registration.client_id,
                    client_credential=registration.credential(),
                    authority=f"{self._authority}/{registration.tenant_id}",
                    http_client=self._session,
                    instance_discovery=False,
                )
                answer: Mapping[str, Any] = getattr(application, flow)(*arguments)
            except msal.exceptions.MsalServiceError as error:
                found = re.search(r"\d{3}", str(error))  # MSAL keeps the status in the text alone
                raise Unavailable(
                    "sign-in is not available",
                    service=_SERVICE,
                    status=int(found.group()) if found else None,
                ) from None
            except requests.RequestException as error:
                raise Unavailable(redact(str(error))[:300], service=_SERVICE) from None
            except ValueError:  # how MSAL says that the tenant has no configuration
                raise ConfigurationError(
                    f"no sign-in is possible for tenant {registration.tenant_id}",
                    hint=_HINTS[90002],
                ) from None
            if "error" in answer:
                raise _refusal(answer)
            if not ("access_token" in answer and "expires_in" in answer):
                raise Unavailable("a sign-in was answered without a token", service=_SERVICE)
            return answer

        return persist(once, patience=self._patience, sleep=self._sleep, jitter=random.random)

    def access_token(self, answer: Mapping[str, Any]) -> AccessToken:
        """Read the token; its life counts from our clock."""
        expires = int(self._now().timestamp()) + int(answer["expires_in"])
        return AccessToken(str(answer["access_token"]), expires)


def _refusal(answer: Mapping[str, Any]) -> ServiceError:
    description = str(answer.get("error_description") or answer["error"])
    found = re.search(r"AADSTS(\d+)", description)
    number = int(found.group(1)) if found else 0
    kind: type[ServiceError] = NotAuthorised
    status = 401
    if answer["error"] == "temporarily_unavailable" or number in _BUSY:
        kind, status = Unavailable, 503
    if answer["error"] == "too_many_requests" or number == 50196:
        kind, status = Throttled, 429
    return kind(
        redact(description.splitlines()[0])[:300],
        service=_SERVICE,
        status=status,
        code=f"AADSTS{number}" if number else redact(str(answer["error"]))[:100],
        request_id=str(answer.get("correlation_id", "")),
        hint=_HINTS.get(number, ""),
    )
