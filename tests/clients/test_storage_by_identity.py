"""Queues and blobs without any key: the managed identity signs in at Azurite, over TLS."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from domain.problems import Unavailable
from emulator import Emulator, serve
from emulator.certificates import loopback_files
from host import azurite as storage
from transport.blobs import BlobArchive
from transport.queues import AzureQueue

pytestmark = [
    pytest.mark.skipif(bool(storage.why_missing()), reason=storage.why_missing() or "it is there"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the SDKs keep connections open
]


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """Addresses of a storage account that takes tokens, and the authority of its certificate."""
    made = loopback_files(tmp_path_factory.mktemp("tls"))
    with storage.azurite(certificate=(made.chain, made.key)) as running:
        urls = {name: f"{url}/{storage.ACCOUNT}" for name, url in running.urls.items()}
        yield urls, made.bundle


@pytest.fixture
def app(account, monkeypatch):
    """An app on the platform: its identity's endpoint and the addresses of its storage."""
    urls, bundle = account
    with closing(Emulator(scenario="small")) as emulator, serve(emulator):
        emulator.clock.set(datetime.now(UTC))  # Azurite goes by the machine's clock
        for name, value in emulator.identity_environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        yield urls, emulator


def test_messages_and_payloads_go_to_storage_by_identity(app, tmp_path):
    urls, emulator = app
    assert all(url.startswith("https://") for url in urls.values())
    client_id = emulator.principals.identities[0].client_id

    queue = AzureQueue(account_url=urls["queue"], client_id=client_id, create=True)
    queue.send("bill", ['{"customer": "ä"}'])
    message = queue.receive("bill")
    assert message.body == '{"customer": "ä"}'
    queue.delete(message)
    assert queue.receive("bill") is None

    archive = BlobArchive(
        "archive", tmp_path, account_url=urls["blob"], client_id=client_id, create=True
    )
    archive.put("raw/2026-11-09/one.json", b"{}")
    assert archive.read("raw/2026-11-09/one.json") == b"{}"
    assert archive.names("raw") == ["raw/2026-11-09/one.json"]

    asked = [one for one in emulator.control.requests() if one["system"] == "identity"]
    assert {one["status"] for one in asked} == {200}
    assert any("storage.azure.com" in one["query"] for one in asked)


def test_an_expired_token_is_refused_by_storage(app):
    urls, emulator = app
    emulator.clock.set(datetime.now(UTC) - timedelta(hours=2))
    queue = AzureQueue(
        account_url=urls["queue"], client_id=emulator.principals.identities[0].client_id
    )
    with pytest.raises(Unavailable) as refused:
        queue.send("bill", ["{}"])
    assert refused.value.status in {401, 403}
    assert "the identity's role" in refused.value.hint
