"""The identity endpoint of App Service, raw and by Microsoft's own client."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from datetime import UTC, datetime

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential

from emulator import Emulator, serve

VAULT = "https://vault.azure.net"
STORAGE = "https://storage.azure.com"


def claims(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_the_app_gets_a_token_of_the_identity_it_names(desk):
    identity = desk.emulator.principals.identities[0]
    for names in (
        {"client_id": identity.client_id},
        {"object_id": identity.principal_id},
        {"mi_res_id": identity.resource_id},
    ):
        answer = desk.identity(VAULT, **names).json()
        content = claims(answer["access_token"])
        assert (content["aud"], content["oid"]) == (VAULT, identity.principal_id)
        assert (content["appid"], content["idtyp"]) == (identity.client_id, "app")
        assert answer["expires_on"] == str(content["exp"])
        assert (answer["token_type"], answer["resource"]) == ("Bearer", VAULT)


def test_nobody_without_the_header_and_no_identity_that_the_app_does_not_have(desk):
    named = {"client_id": desk.emulator.principals.identities[0].client_id}
    assert desk.identity(VAULT, header="guessed", **named).status_code == 401
    assert desk.identity(VAULT, version="2017-09-01", **named).status_code == 400
    assert desk.identity("", **named).status_code == 400
    assert desk.identity("https://elsewhere.example", **named).status_code == 500
    for names in ({}, {"client_id": "00000000-0000-4000-8000-000000000000"}):
        refused = desk.identity(VAULT, **names)
        assert refused.status_code == 400
        assert "No User Assigned" in refused.json()["message"]
    asked = desk.control.requests()[-1]
    assert asked["headers"]["X-Identity-Header"] == "***"


def test_microsofts_client_gets_tokens_for_storage_vault_and_dataverse(monkeypatch):
    with closing(Emulator(scenario="small")) as emulated, serve(emulated, tls=True):
        emulated.clock.set(datetime.now(UTC))  # the client counts by the machine's clock
        for name, value in emulated.identity_environment.items():
            monkeypatch.setenv(name, value)
        dataverse = emulated.base_urls["dataverse"]
        named = emulated.principals.identities[0].client_id
        with ManagedIdentityCredential(client_id=named) as credential:
            for resource in (STORAGE, VAULT, dataverse):
                token = credential.get_token(f"{resource}/.default")
                assert claims(token.token)["aud"] == resource
                assert abs(token.expires_on - claims(token.token)["exp"]) <= 2
        unknown = "00000000-0000-4000-8000-000000000000"
        with (
            ManagedIdentityCredential(client_id=unknown) as stranger,
            pytest.raises(ClientAuthenticationError, match="No User Assigned"),
        ):
            stranger.get_token(f"{VAULT}/.default")
