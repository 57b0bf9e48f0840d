"""The whole emulator: one sign-in opens every host, and the control plane reaches them all."""

from __future__ import annotations

import pytest
from requests.adapters import HTTPAdapter

from emulator.control import PUBLIC_URLS
from emulator.server import Loopback

CONTROL = "https://control.emulator.invalid/_emulator"
WHO = "/api/data/v9.2/WhoAmI"


def test_the_hosts_have_their_public_names(desk):
    assert desk.emulator.base_urls == PUBLIC_URLS
    assert desk.emulator.apps.keys() == PUBLIC_URLS.keys()
    assert desk.emulator.credentials.keys() == {
        "tenant_id",
        "client_id",
        "client_secret",
        "refresh_token",
    }


@pytest.mark.parametrize("app", [True, False])
def test_dataverse_takes_its_own_audience_only(desk, app):
    assert desk.call("dataverse", "GET", WHO, app=app).json()["UserId"]
    assert desk.call("dataverse", "GET", WHO, token=desk.token("graph", app=app)).status_code == 401
    assert desk.call("dataverse", "GET", WHO, token="").status_code == 401


def test_dataverse_on_loopback_takes_both_of_its_names(desk):
    with Loopback(desk.emulator).start():
        url = desk.emulator.base_urls["dataverse"]
        desk.session.adapters.clear()
        desk.session.mount("http://", HTTPAdapter())
        for resource in (url, PUBLIC_URLS["dataverse"]):
            token = desk.sign_in(resource, app=True).json()["access_token"]
            assert desk.call("dataverse", "GET", WHO, token=token).status_code == 200
        desk.session.close()


def test_dataverse_has_switches_of_its_own(desk):
    def post(**body):
        return desk.session.post(f"{CONTROL}/dataverse", json=body)

    settings = desk.emulator.dataverse.settings
    sent = {"page_size_cap": 50, "throttling": True, "deny": [["Create", "account"]]}
    assert post(**sent).json() == sent
    assert (settings.page_size_cap, settings.throttling) == (50, True)
    assert settings.deny == {("Create", "account")}
    assert post(duplicate_rules=[["account", "name"]]).status_code == 200
    assert settings.duplicate_rules == {("account", "name")}
    assert "kind must be one of" in post(fail_next={"kind": "earthquake"}).json()["error"]
    assert post(speed=9).json() == {"error": "unknown switch: speed"}
    assert post(throttling=1).json() == {"error": "throttling is true or false"}
    assert post(page_size_cap=True).json() == {"error": "page_size_cap is a number"}
    desk.control.reset()
    assert (settings.page_size_cap, settings.throttling) == (5000, False)


def test_a_reset_empties_dataverse(desk):
    token = desk.token("dataverse")
    created = desk.call(
        "dataverse", "POST", "/api/data/v9.2/accounts", token=token, json={"name": "Fabrikam"}
    )
    row = created.headers["OData-EntityId"]
    assert desk.call("dataverse", "GET", row, token=token).json()["name"] == "Fabrikam"
    desk.control.reset()
    assert desk.call("dataverse", "GET", row, token=token).status_code == 404
