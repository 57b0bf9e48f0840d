"""Where the foreign systems are in each mode, how to sign in there, and what time it is there.

Embedded, the emulators run in this process behind the same HTTP session that the cloud would use,
and that session can reach nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from app.settings import SECRETS_BY_NAME, Settings
from domain.problems import ConfigurationError, NotFound
from transport import exact_json
from transport.auth import RefreshTokenStore, Registration, identity_assertion
from transport.mounts import mount_wsgi
from transport.redaction import Secret
from transport.session import Http, Patience
from transport.token_stores import FileTokenStore, KeyVaultTokenStore

if TYPE_CHECKING:
    import requests

    from emulator import Emulator

Now = Callable[[], datetime]
EMBEDDED_DATABASE = "dataverse.sqlite"
NOT_AN_EMULATOR = (NotFound, ValueError, KeyError, TypeError)
"""What reading an overview comes to where something else answers: no such page, other content."""
TOKEN_SECRET = "partner-refresh-token"  # noqa: S105 - the name of the secret, not the secret


class Systems(NamedTuple):
    """Where the foreign systems are, how to sign in, and what time it is there."""

    urls: Mapping[str, str]
    registration: Registration
    first_refresh_token: Secret | None
    now: Now
    sleep: Callable[[float], None] | None
    emulator: Emulator | None


def systems_of(settings: Settings, session: requests.Session) -> Systems:
    """Return the systems of a mode, embedded with the emulators mounted on the session."""
    if settings.mode == "embedded":
        return _embedded(settings, session)
    if settings.mode == "emulator":
        return _emulated(settings, session)
    assert settings.tenant_id is not None
    assert settings.client_id is not None
    assert settings.dataverse_url is not None
    return Systems(
        urls={
            "partner_center": settings.partner_center_url,
            "price": settings.price_url,
            "graph": settings.graph_url,
            "dataverse": settings.dataverse_url,
            "vies": settings.vies_url,
        },
        registration=Registration(
            tenant_id=settings.tenant_id,
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            assertion=_assertion(settings),
            login_url=settings.login_url,
        ),
        first_refresh_token=settings.refresh_token,
        now=lambda: datetime.now(UTC),
        sleep=None,
        emulator=None,
    )


def _embedded(settings: Settings, session: requests.Session) -> Systems:
    """Run the emulators here. Waiting passes on their clock, so no one waits."""
    from datetime import timedelta

    from emulator import Emulator

    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        emulator = Emulator(
            seed=settings.seed,
            scenario=settings.scenario,
            dataverse_file=str(settings.state_dir / EMBEDDED_DATABASE),
        )
    except ValueError as error:
        raise ConfigurationError(
            f"CSP_SCENARIO: {error}", hint="set it to a known name, or unset it"
        ) from None
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(
            f"CSP_STATE_DIR: {settings.state_dir} cannot hold the state: {error}",
            hint="choose another folder, or forget what is there with: demo --fresh",
        ) from None
    if settings.projection:
        emulator.dataverse.install_sales()
    mount_wsgi(session, {emulator.base_urls[name]: app for name, app in emulator.apps.items()})
    given = emulator.credentials
    return Systems(
        urls=emulator.base_urls,
        registration=Registration(
            tenant_id=given["tenant_id"],
            client_id=given["client_id"],
            client_secret=Secret(given["client_secret"]),
            login_url=emulator.base_urls["login"],
        ),
        first_refresh_token=Secret(given["refresh_token"]),
        now=emulator.clock.now,
        sleep=lambda seconds: emulator.clock.advance(timedelta(seconds=seconds)),
        emulator=emulator,
    )


def _emulated(settings: Settings, session: requests.Session) -> Systems:
    """Ask a running emulator where its hosts are and what time it is there."""
    control = Http(
        settings.emulator_url or "",
        service="Emulator",
        session=session,
        patience=Patience(seconds=settings.patience_seconds),
    )

    def now() -> datetime:
        return datetime.fromisoformat(control.request("GET", "/_emulator/clock").json()["now"])

    try:
        overview = exact_json.loads(control.request("GET", "/_emulator").content)
        given = overview["credentials"]
    except NOT_AN_EMULATOR as error:
        raise ConfigurationError(
            f"CSP_EMULATOR_URL: {settings.emulator_url} is not the control plane of an emulator",
            hint="give the address that `python -m app emulate` prints as control",
        ) from error
    elsewhere = [
        name
        for name, url in overview["base_urls"].items()
        if urlsplit(url).hostname not in {"127.0.0.1", "localhost"}
    ]
    if elsewhere:  # secrets are sent to these addresses
        raise ConfigurationError(
            f"CSP_EMULATOR_URL: this emulator has {elsewhere[0]} on another machine",
            hint="give the address that `python -m app emulate` prints as control",
        )
    return Systems(
        urls=overview["base_urls"],
        registration=Registration(
            tenant_id=settings.tenant_id or given["tenant_id"],
            client_id=settings.client_id or given["client_id"],
            client_secret=settings.client_secret or Secret(given["client_secret"]),
            assertion=_assertion(settings),
            login_url=overview["base_urls"]["login"],
        ),
        first_refresh_token=settings.refresh_token or Secret(given["refresh_token"]),
        now=now,
        sleep=None,
        emulator=None,
    )


def with_vault_secrets(settings: Settings) -> Settings:
    """Return the settings with each secret that is given by name, to be read when it is needed."""
    named = {
        secret: name
        for secret in SECRETS_BY_NAME
        if (name := getattr(settings, f"{secret}_name")) is not None
    }
    if not named:
        return settings
    from transport.vault import VaultSecret, vault_client

    url, client_id = settings.key_vault_url or "", settings.managed_identity_client_id or ""
    opened = cache(lambda: vault_client(url, client_id))
    return settings.model_copy(
        update={secret: VaultSecret(opened, name) for secret, name in named.items()}
    )


def _assertion(settings: Settings) -> Callable[[], str] | None:
    if not settings.federated:
        return None
    return identity_assertion(settings.managed_identity_client_id or "")


def asks_vies(settings: Settings, systems: Systems) -> bool:
    """Say whether tax numbers are asked for at VIES; in the cloud only where that was chosen."""
    if settings.tax_register is None:
        return settings.mode != "cloud" and "vies" in systems.urls
    if settings.tax_register == "vies" and "vies" not in systems.urls:
        raise ConfigurationError(
            "CSP_TAX_REGISTER: the emulator has no VIES",
            hint="start a newer emulator, or set it to offline",
        )
    return settings.tax_register == "vies"


def token_store(settings: Settings, systems: Systems) -> RefreshTokenStore:
    """Return where the refresh token is kept; the one of the settings is tried last."""
    store: RefreshTokenStore
    if settings.mode == "cloud" and settings.key_vault_url:
        store = KeyVaultTokenStore(
            settings.key_vault_url,
            TOKEN_SECRET,
            client_id=settings.managed_identity_client_id or "",
            now=systems.now,
        )
    else:
        store = FileTokenStore(
            settings.state_dir / f"refresh-token.{settings.mode}", now=systems.now
        )
    first = systems.first_refresh_token
    return _Seeded(store, first) if first else store


class _Seeded:
    """A token store that falls back on the first token, as typed into the settings."""

    def __init__(self, store: RefreshTokenStore, first: Secret) -> None:
        self._store = store
        self._first = first

    def load(self) -> Iterator[Secret]:
        known = False
        for token in self._store.load():
            known = known or token == self._first
            yield token
        if not known:
            yield self._first

    def save(self, token: Secret, *, proved: Secret) -> None:
        self._store.save(token, proved=proved)

    def saved_at(self) -> datetime | None:
        return self._store.saved_at()
