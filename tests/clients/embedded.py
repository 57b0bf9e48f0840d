"""The product's clients over an emulator in this process, as the composition root builds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from emulator import Emulator
from partner_center.client import PARTNER_CENTER_SCOPE, PartnerCenterClient
from partner_center.exports import AZURE_STORES, BillingExports
from partner_center.graph import GRAPH_SCOPE, GraphDirectory
from partner_center.prices import PRICE_SCOPE, PriceSheets
from transport.auth import CachedTokens, Registration, app_tokens, user_tokens
from transport.blobs import FolderArchive
from transport.mounts import mount_wsgi, new_session
from transport.redaction import Secret
from transport.session import Http, Patience
from transport.token_stores import FileTokenStore


@dataclass
class Partner:
    """One partner's sign-ins and clients, with what they waited for."""

    emulator: Emulator
    session: requests.Session
    user: CachedTokens
    app: CachedTokens
    store: FileTokenStore
    archive: FolderArchive
    waits: list[float] = field(default_factory=list)

    def http(self, system: str, *, scope: str = "", tokens: Any = None) -> Http:
        return Http(
            self.emulator.base_urls[system],
            service=system,
            session=self.session,
            scope=scope,
            tokens=tokens,
            sleep=self.waits.append,
            jitter=lambda: 0.0,
            patience=Patience(tries=4),
            now=self.emulator.clock.now,
        )

    def exports(self, **options: Any) -> BillingExports:
        graph = self.http("graph", scope=GRAPH_SCOPE, tokens=self.app)
        stores = (*AZURE_STORES, self.emulator.base_urls["blob"])
        given: dict[str, Any] = {"now": self.emulator.clock.now, "stores": stores} | options
        return BillingExports(graph, self.http("blob"), self.archive, **given)

    def client(self, **options: Any) -> PartnerCenterClient:
        given: dict[str, Any] = {"user": self.user, "app": self.app} | options
        return PartnerCenterClient(
            self.http("partner_center", scope=PARTNER_CENTER_SCOPE),
            self.exports(),
            PriceSheets(
                self.http("price", scope=PRICE_SCOPE),
                given["user"],
                on_payload=given.get("on_payload"),
            ),
            **given,
        )

    def directory(self) -> GraphDirectory:
        return GraphDirectory(self.http("graph", scope=GRAPH_SCOPE, tokens=self.app))


def partner_of(emulator: Emulator, folder: Path, *, login_url: str = "") -> Partner:
    """Sign the emulator's partner in; in process unless the login is elsewhere."""
    session = new_session()
    if not login_url:
        mount_wsgi(session, {emulator.base_urls[name]: app for name, app in emulator.apps.items()})
    given = emulator.credentials
    store = FileTokenStore(folder / "refresh-token")
    first = Secret(given["refresh_token"])
    store.save(first, proved=first)
    registration = Registration(
        tenant_id=given["tenant_id"],
        client_id=given["client_id"],
        client_secret=Secret(given["client_secret"]),
        login_url=login_url or emulator.base_urls["login"],
    )
    now = emulator.clock.now
    return Partner(
        emulator=emulator,
        session=session,
        user=user_tokens(registration, store, session, now=now),
        app=app_tokens(registration, session, now=now),
        store=store,
        archive=FolderArchive(folder / "archive"),
    )
