"""Foreign clients, unmodified, against the emulated environment: real sockets, TLS, real sign-in.

The tables that the tests work on are made by the foreign client too, so nothing of ours stands
between it and the emulator. Each test begins with a new environment (60 ms), on the same sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from enum import IntEnum

import pytest
import requests
from azure.identity import ClientSecretCredential
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.config import DataverseConfig

from emulator import Emulator, serve

API = "/api/data/v9.2/"


class Status(IntEnum):
    Draft = 727000000
    Active = 727000001


class Colour(IntEnum):
    Red = 727000000
    Green = 727000001


class Environment:
    """The served environment, and what was asked of it."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.control = emulator.control
        self.settings = emulator.dataverse.settings

    @property
    def url(self) -> str:
        return self.emulator.base_urls["dataverse"]

    def credential(self) -> ClientSecretCredential:
        """Microsoft's own sign-in, at the emulated authority."""
        known = self.emulator.credentials
        return ClientSecretCredential(
            known["tenant_id"],
            known["client_id"],
            known["client_secret"],
            authority=self.emulator.base_urls["login"],
            disable_instance_discovery=True,  # it would ask the public cloud whether we are one
        )

    def asked(self, method: str = "") -> list[str]:
        """The requests to Dataverse so far, as `METHOD path`."""
        return [
            f"{entry['method']} {entry['path'].removeprefix(API)}"
            for entry in self.control.requests()
            if entry["system"] == "dataverse" and entry["method"].startswith(method)
        ]

    def fail(self, path: str, **details) -> None:
        """Let the next request below the API root fail."""
        self.control.fail_next("dataverse", path=API + path, **details)


def access_token(emulator: Emulator) -> str:
    """A token for the environment, from the emulated authority's own token endpoint."""
    known = emulator.credentials
    form = {
        "grant_type": "client_credentials",
        "client_id": known["client_id"],
        "client_secret": known["client_secret"],
        "scope": f"{emulator.base_urls['dataverse']}/.default",
    }
    url = f"{emulator.base_urls['login']}/{known['tenant_id']}/oauth2/v2.0/token"
    token: str = requests.post(url, data=form, timeout=10).json()["access_token"]
    return token


@pytest.fixture(scope="session")
def served() -> Iterator[tuple[Emulator, str]]:
    emulator = Emulator(scenario="empty")
    with closing(emulator), serve(emulator, tls=True) as server:
        yield emulator, str(server.ca_bundle)


@pytest.fixture
def environment(served, monkeypatch):
    """A new environment whose certificate this process trusts."""
    emulator, bundle = served
    emulator.control.reset()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    return Environment(emulator)


@pytest.fixture
def client(environment) -> Iterator[DataverseClient]:
    """The official SDK without its repetitions: each fault shows as what it is."""
    config = DataverseConfig(http_retries=1)
    with (
        environment.credential() as credential,
        DataverseClient(environment.url, credential, config) as client,
    ):
        yield client


@pytest.fixture
def demo(client, environment) -> DataverseClient:
    """The SDK with a table `nce_demo` of its own making, with an alternate key."""
    client.tables.create(
        "nce_Demo",
        {
            "nce_Sub": {"type": "string", "max_length": 100},
            "nce_Quantity": {"type": "int", "min_value": 0, "max_value": 1000},
            "nce_Price": {"type": "decimal", "precision": 6},
            "nce_Start": "datetime",
            "nce_Status": Status,
            "nce_Pdf": "file",
        },
    )
    client.tables.create_alternate_key("nce_Demo", "nce_DemoKey", ["nce_sub"])
    client.tables.create_lookup_field("nce_demo", "nce_AccountId", "account")
    environment.control.clear_log()
    return client
