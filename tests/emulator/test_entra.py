"""Sign-in: MSAL as it is, rotation, refusals with Entra's numbers, and who takes which token."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import msal
import pytest

PARTNER_CENTER = "https://api.partnercenter.microsoft.com"
GRAPH = "https://graph.microsoft.com"


def claims(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def msal_app(desk):
    known = desk.emulator.credentials
    return msal.ConfidentialClientApplication(
        known["client_id"],
        authority=f"https://login.microsoftonline.com/{known['tenant_id']}",
        client_credential=known["client_secret"],
        http_client=desk.session,
    )


def test_msal_redeems_a_refresh_token_for_one_resource_after_the_other(desk):
    app = msal_app(desk)
    refresh = desk.emulator.credentials["refresh_token"]
    for resource in (PARTNER_CENTER, "https://api.partner.microsoft.com", GRAPH):
        granted = app.acquire_token_by_refresh_token(refresh, [f"{resource}/.default"])
        assert granted["token_type"] == "Bearer"
        assert granted["refresh_token"] != refresh
        assert claims(granted["access_token"])["aud"] == resource
        refresh = granted["refresh_token"]


def test_msal_gets_an_app_only_token_and_serves_it_from_its_cache(desk):
    app = msal_app(desk)
    first = app.acquire_token_for_client([f"{GRAPH}/.default"])
    asked = len(desk.control.requests())
    second = app.acquire_token_for_client([f"{GRAPH}/.default"])
    assert claims(first["access_token"])["idtyp"] == "app"
    assert "refresh_token" not in first
    assert second["access_token"] == first["access_token"]
    assert len(desk.control.requests()) == asked


def test_msal_shows_entras_error(desk):
    app = msal_app(desk)
    desk.emulator.revoke_refresh_tokens()
    token = "1.not.a.token"
    refused = app.acquire_token_by_refresh_token(token, [f"{GRAPH}/.default"])
    assert refused["error"] == "invalid_grant"
    assert refused["error_codes"] == [9002313]


def test_the_claims_of_a_user_token(desk):
    content = claims(desk.sign_in(PARTNER_CENTER).json()["access_token"])
    partner = desk.emulator.world.partner
    assert content["iss"] == f"https://sts.windows.net/{partner.tenant_id}/"
    assert (content["tid"], content["appid"]) == (partner.tenant_id, partner.client_id)
    assert content["amr"] == ["pwd", "mfa"]
    assert content["scp"] == "user_impersonation"
    assert content["exp"] - content["iat"] == 3600
    assert content["iat"] == int(desk.clock.now().timestamp())


def test_every_redemption_gives_another_refresh_token_and_the_old_one_still_works(desk):
    first = desk.emulator.issue_refresh_token()
    given = [desk.sign_in(GRAPH, refresh_token=first).json()["refresh_token"] for _ in range(3)]
    assert len({first, *given}) == 4
    assert desk.sign_in(GRAPH, refresh_token=given[0]).status_code == 200


def test_another_emulator_with_the_same_seed_takes_the_tokens(desk, open_desk):
    again, other = open_desk(), open_desk(seed=2)
    refresh = desk.emulator.issue_refresh_token()
    assert again.sign_in(GRAPH, refresh_token=refresh).status_code == 200
    assert other.sign_in(GRAPH, refresh_token=refresh).json()["error_codes"] == [9002313]
    listing = "/v1/customers?size=1"
    assert again.pc(listing, token=desk.token("partner_center")).status_code == 200
    assert other.pc(listing, token=desk.token("partner_center")).status_code == 401


@pytest.mark.parametrize(
    ("changes", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_id": "00000000-0000-4000-8000-000000000000"}, 400, "unauthorized_client", 700016),
        ({"client_assertion": "a.b.c"}, 401, "invalid_client", 700027),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"refresh_token": "1.x.y.z"}, 400, "invalid_grant", 9002313),
        ({"scope": "https://elsewhere.example/.default"}, 400, "invalid_resource", 500011),
        ({"scope": f"{GRAPH}/.default {PARTNER_CENTER}/.default"}, 400, "invalid_scope", 28000),
    ],
)
def test_refusals(desk, changes, status, error, number):
    refused = desk.sign_in(PARTNER_CENTER, **changes)
    body = refused.json()
    assert (refused.status_code, body["error"], body["error_codes"]) == (status, error, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert {"timestamp", "trace_id", "correlation_id", "error_uri"} <= body.keys()


def test_client_credentials_need_the_default_scope(desk):
    refused = desk.sign_in(GRAPH, app=True, scope=f"{GRAPH}/PartnerBilling.Read.All")
    assert refused.json()["error_codes"] == [1002012]


def test_an_unknown_tenant_and_a_customers_tenant(desk):
    login = desk.emulator.base_urls["login"]
    nowhere = desk.session.post(f"{login}/nowhere.example/oauth2/v2.0/token", data={})
    customer = desk.emulator.world.customers()[0]["id"]
    theirs = desk.session.post(f"{login}/{customer}/oauth2/v2.0/token", data={})
    assert nowhere.json()["error_codes"] == [90002]
    assert theirs.json()["error_codes"] == [700016]
    url = f"{login}/nowhere.example/v2.0/.well-known/openid-configuration"
    assert desk.session.get(url).json()["error_codes"] == [90002]


def test_a_refresh_token_lives_ninety_days(desk):
    refresh = desk.emulator.issue_refresh_token()
    desk.clock.advance(timedelta(days=90) - timedelta(seconds=1))
    assert desk.sign_in(GRAPH, refresh_token=refresh).status_code == 200
    desk.clock.advance(timedelta(seconds=1))
    assert desk.sign_in(GRAPH, refresh_token=refresh).json()["error_codes"] == [700082]


def test_revoked_sessions_and_a_missing_second_factor(desk):
    refresh = desk.emulator.issue_refresh_token()
    desk.emulator.revoke_refresh_tokens()
    assert desk.sign_in(GRAPH, refresh_token=refresh).json()["error_codes"] == [50173]
    assert desk.sign_in(GRAPH).status_code == 200
    desk.control.change(conditional_access_mfa=True)
    assert desk.sign_in(GRAPH, mfa=False).json()["error_codes"] == [50076]
    assert desk.sign_in(GRAPH, mfa=True).status_code == 200


def test_the_browser_step_and_the_code_it_brings_back(desk):
    known = desk.emulator.credentials
    login = f"{desk.emulator.base_urls['login']}/{known['tenant_id']}"
    redirect = "https://worker.example/callback"
    query = {"client_id": known["client_id"], "response_type": "code", "redirect_uri": redirect}
    sent = desk.session.get(
        f"{login}/oauth2/v2.0/authorize", params=query | {"state": "s1"}, allow_redirects=False
    )
    back = urlsplit(sent.headers["Location"])
    assert sent.headers["Location"].startswith(redirect)
    values = {name: found[0] for name, found in parse_qs(back.query).items()}
    assert values["state"] == "s1"
    form = {"grant_type": "authorization_code", "code": values["code"], "redirect_uri": redirect}
    first = desk.sign_in(GRAPH, **form)
    assert first.json()["refresh_token"]
    assert desk.sign_in(GRAPH, **form).json()["error_codes"] == [54005]
    elsewhere = form | {"redirect_uri": "https://other.example"}
    assert desk.sign_in(GRAPH, **elsewhere).json()["error_codes"] == [9002313]


def test_the_older_endpoint_names_a_resource_and_writes_numbers_as_strings(desk):
    known = desk.emulator.credentials
    form = {
        "grant_type": "refresh_token",
        "client_id": known["client_id"],
        "client_secret": known["client_secret"],
        "refresh_token": known["refresh_token"],
        "resource": PARTNER_CENTER,
    }
    granted = desk.session.post(
        f"{desk.emulator.base_urls['login']}/{known['tenant_id']}/oauth2/token", data=form
    ).json()
    assert granted["expires_in"] == "3600"
    assert granted["resource"] == PARTNER_CENTER
    assert granted["scope"] == "user_impersonation"
    assert desk.pc("/v1/customers", token=granted["access_token"]).status_code == 200


def test_instance_discovery_knows_the_aliases(desk):
    found = desk.session.get(f"{desk.emulator.base_urls['login']}/common/discovery/instance").json()
    assert "login.microsoftonline.com" in found["metadata"][0]["aliases"]
