"""The emulated Key Vault, raw and by Microsoft's own client over TLS."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.core.exceptions import ResourceNotFoundError as NotFound
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

from emulator import Emulator, serve

VAULT = "https://vault.azure.net"


def ask(desk, method, path, *, token=None, version="7.4", **options):
    if token is None:
        named = desk.emulator.principals.identities[0].client_id
        token = desk.identity(VAULT, client_id=named).json()["access_token"]
    return desk.session.request(
        method,
        desk.emulator.base_urls["vault"] + path,
        params={"api-version": version} | options.pop("params", {}),
        headers={"Authorization": f"Bearer {token}"} if token else {},
        **options,
    )


def test_without_a_token_for_it_the_vault_names_authority_and_resource(desk):
    graph = desk.token("graph", app=True)
    for token, said in (("", "AKV10000"), (graph, "AKV10022"), ("x.y.z", "Error validating")):
        refused = ask(desk, "GET", "/secrets/one", token=token)
        assert refused.status_code == 401
        assert said in refused.json()["error"]["message"]
        challenge = refused.headers["WWW-Authenticate"]
        tenant = desk.emulator.world.partner.tenant_id
        assert challenge == (
            f'Bearer authorization="https://login.microsoftonline.com/{tenant}", resource="{VAULT}"'
        )


def test_versions_are_made_listed_without_values_and_disabled(desk):
    first = ask(desk, "PUT", "/secrets/one", json={"value": "a", "tags": {"k": "v"}}).json()
    desk.clock.advance(timedelta(seconds=90))
    second = ask(desk, "PUT", "/secrets/one", json={"value": "b"}).json()
    version = first["id"].rsplit("/", 1)[1]
    assert first["tags"] == {"k": "v"}
    assert second["attributes"]["created"] - first["attributes"]["created"] == 90
    assert ask(desk, "GET", "/secrets/one").json()["value"] == "b"
    assert ask(desk, "GET", f"/secrets/ONE/{version}").json()["value"] == "a"

    changed = {"attributes": {"enabled": False}}
    shown = ask(desk, "PATCH", f"/secrets/one/{version}", json=changed).json()
    assert "value" not in shown
    assert (shown["attributes"]["enabled"], shown["tags"]) == (False, {"k": "v"})
    refused = ask(desk, "GET", f"/secrets/one/{version}")
    assert refused.status_code == 403
    assert refused.json()["error"]["innererror"]["code"] == "SecretDisabled"
    listed = ask(desk, "GET", "/secrets/one/versions").json()["value"]
    assert {one["id"] for one in listed} == {first["id"], second["id"]}
    assert not any("value" in one for one in listed)


def test_what_is_not_asked_as_the_reference_says_is_refused(desk):
    ask(desk, "PUT", "/secrets/one", json={"value": "a"})
    assert ask(desk, "GET", "/secrets/two").json()["error"]["code"] == "SecretNotFound"
    assert ask(desk, "GET", "/secrets/one/none").status_code == 404
    assert ask(desk, "GET", "/keys/one").status_code == 404
    assert ask(desk, "DELETE", "/secrets/one").status_code == 405
    assert ask(desk, "GET", "/secrets/one", version="1999-01-01").status_code == 400
    assert ask(desk, "PUT", "/secrets/o_ne", json={"value": "a"}).status_code == 400
    assert ask(desk, "PUT", "/secrets/one", json={"value": "a" * 25_601}).status_code == 400
    assert ask(desk, "PUT", "/secrets/one", json={}).status_code == 400
    page = {"maxresults": "26"}
    assert ask(desk, "GET", "/secrets/one/versions", params=page).status_code == 400
    desk.control.change(vault_permissions=["get"])
    refused = ask(desk, "PUT", "/secrets/one", json={"value": "b"})
    assert refused.json()["error"]["innererror"]["code"] == "ForbiddenByRbac"
    assert ask(desk, "GET", "/secrets/one").json()["value"] == "a"


def test_microsofts_client_sets_reads_lists_and_disables(monkeypatch):
    with closing(Emulator(scenario="small")) as emulated, serve(emulated, tls=True) as running:
        emulated.clock.set(datetime.now(UTC))
        for name, value in emulated.identity_environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.ca_bundle))
        url = emulated.base_urls["vault"]
        identity = ManagedIdentityCredential(client_id=emulated.principals.identities[0].client_id)
        with (
            identity,
            SecretClient(url, identity, verify_challenge_resource=False) as client,
        ):
            with pytest.raises(NotFound):
                client.get_secret("one")
            made = [client.set_secret("one", f"value-{n}").properties for n in range(30)]
            assert client.get_secret("one").value == "value-29"
            assert client.get_secret("one", made[3].version).value == "value-3"
            listed = list(client.list_properties_of_secret_versions("one"))  # more than one page
            assert {one.version for one in listed} == {one.version for one in made}
            assert [one.version for one in listed] != [one.version for one in made]
            client.update_secret_properties("one", made[3].version, enabled=False)
            with pytest.raises(HttpResponseError) as refused:
                client.get_secret("one", made[3].version)
            assert refused.value.error.innererror["code"] == "SecretDisabled"
            emulated.control.fail_next("vault", status=429, headers={"Retry-After": "0"})
            assert client.get_secret("one").value == "value-29"  # it waits and asks again
        another = ManagedIdentityCredential(client_id="00000000-0000-4000-8000-000000000000")
        with (
            another,
            SecretClient(url, another, verify_challenge_resource=False) as stranger,
            pytest.raises(ClientAuthenticationError),
        ):
            stranger.get_secret("one")
