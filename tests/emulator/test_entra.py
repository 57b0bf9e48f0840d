"""Sign-in: MSAL as it is, rotation, refusals with Entra's numbers, and who takes which token."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import jwt
import msal
import pytest

PARTNER_CENTER = "https://api.partnercenter.microsoft.com"
GRAPH = "https://graph.microsoft.com"
EXCHANGE = "api://AzureADTokenExchange"
TYPE = {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}


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
        ({"client_assertion": "a.b.c", **TYPE}, 401, "invalid_client", 700027),
        ({"client_assertion": "a.b.c"}, 400, "invalid_request", 900144),
        ({"client_secret": ""}, 401, "invalid_client", 7000218),
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


# --- APIs of the tenant, and who holds their roles -------------------------------------------------


def published_key(desk):
    login = f"{desk.emulator.base_urls['login']}/{desk.emulator.world.partner.tenant_id}"
    found = desk.session.get(f"{login}/v2.0/.well-known/openid-configuration").json()
    (key,) = desk.session.get(found["jwks_uri"]).json()["keys"]
    return found, key


def confidential(desk, client):
    partner = desk.emulator.world.partner
    return msal.ConfidentialClientApplication(
        client.client_id,
        authority=f"https://login.microsoftonline.com/{partner.tenant_id}",
        client_credential=client.client_secret,
        http_client=desk.session,
    )


def verified(desk, token, audience):
    found, key = published_key(desk)
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    return jwt.decode(
        token,
        jwt.PyJWK(key),
        algorithms=found["id_token_signing_alg_values_supported"],
        audience=audience,
        options=options,
    )


@pytest.mark.parametrize("version", [1, 2])
def test_an_application_gets_a_token_for_an_api_with_its_roles_signed_by_the_published_key(
    desk, version
):
    api = desk.emulator.principals.register(name="billing", token_version=version)
    flow = desk.emulator.principals.add(kind="application", name="flow", roles=["Runs.Start"])
    app = confidential(desk, flow)
    granted = app.acquire_token_for_client([f"{api.names[1]}/.default"])
    audience = api.app_id if version == 2 else f"api://{api.app_id}"
    content = verified(desk, granted["access_token"], audience)
    tenant = desk.emulator.world.partner.tenant_id
    found, _ = published_key(desk)
    issuer = found["issuer"] if version == 2 else f"https://sts.windows.net/{tenant}/"
    assert (content["iss"], content["tid"]) == (issuer, tenant)
    assert content["roles"] == ["Runs.Start"]
    assert content["oid"] == flow.object_id
    assert content["azp" if version == 2 else "appid"] == flow.client_id
    assert content["exp"] - content["nbf"] == 3600


def test_without_an_assigned_role_a_token_names_none(desk):
    api = desk.emulator.principals.register(name="billing")
    nobody = desk.emulator.principals.add(kind="application", name="nobody")
    granted = confidential(desk, nobody).acquire_token_for_client([f"{api.app_id}/.default"])
    assert "roles" not in verified(desk, granted["access_token"], api.app_id)


def test_a_user_signs_in_and_her_roles_are_in_the_token(desk):
    api = desk.emulator.principals.register(name="billing")
    portal = desk.emulator.principals.add(kind="application", name="portal")
    ada = desk.emulator.principals.add(kind="user", name="ada", roles=["Invoices.Approve"])
    redirect = "https://portal.example/callback"
    login = f"{desk.emulator.base_urls['login']}/{desk.emulator.world.partner.tenant_id}"
    asked = {"client_id": portal.client_id, "response_type": "code", "redirect_uri": redirect}
    sent = desk.session.get(
        f"{login}/oauth2/v2.0/authorize",
        params=asked | {"login_hint": ada.upn},
        allow_redirects=False,
    )
    back = parse_qs(urlsplit(sent.headers["Location"]).query)
    form = {
        "client_id": portal.client_id,
        "client_secret": portal.client_secret,
        "grant_type": "authorization_code",
        "code": back["code"][0],
        "redirect_uri": redirect,
        "scope": f"openid {api.names[1]}/user_impersonation",
    }
    stranger = desk.emulator.principals.add(kind="application", name="stranger")
    stolen = form | {"client_id": stranger.client_id, "client_secret": stranger.client_secret}
    refused = desk.session.post(f"{login}/oauth2/v2.0/token", data=stolen).json()
    granted = desk.session.post(f"{login}/oauth2/v2.0/token", data=form).json()

    assert refused["error_codes"] == [9002313]
    content = verified(desk, granted["access_token"], api.app_id)
    assert content["preferred_username"] == ada.upn
    assert (content["roles"], content["scp"]) == (["Invoices.Approve"], "user_impersonation")
    assert "azp" not in verified(desk, granted["id_token"], portal.client_id)
    assert "refresh_token" not in granted


def test_who_is_registered_for_an_api_gets_nothing_of_microsofts(desk):
    flow = desk.emulator.principals.add(kind="application", name="flow")
    refused = confidential(desk, flow).acquire_token_for_client([f"{GRAPH}/.default"])
    assert refused["error_codes"] == [650057]


def test_apis_and_their_callers_are_made_over_http_and_forgotten_by_a_reset(desk):
    control = desk.emulator.base_urls["control"]
    api = desk.session.post(f"{control}/_emulator/apis", json={"name": "billing"}).json()
    made = {"kind": "application", "name": "flow", "roles": ["Runs.Read"]}
    flow = desk.session.post(f"{control}/_emulator/principals", json=made).json()
    unknown = desk.session.post(f"{control}/_emulator/principals", json=made | {"roles": ["Rule"]})

    assert desk.emulator.principals.api(f"api://{api['app_id']}").roles == tuple(api["roles"])
    assert desk.emulator.principals.application(flow["client_id"]).roles == ("Runs.Read",)
    assert unknown.json() == {"error": "no registered API has the app role Rule"}
    desk.control.reset()
    assert desk.emulator.principals.api(api["app_id"]) is None


# --- an assertion in place of a secret ---------------------------------------------------------------


def assertion(desk, number=0, resource=EXCHANGE):
    named = desk.emulator.principals.identities[number].client_id
    return desk.identity(resource, client_id=named).json()["access_token"]


def federated(desk, token):
    return desk.sign_in(GRAPH, app=True, client_secret="", client_assertion=token, **TYPE)


def test_an_assertion_of_the_trusted_identity_stands_for_the_secret(desk):
    partner = desk.emulator.world.partner
    app = msal.ConfidentialClientApplication(
        partner.client_id,
        authority=f"https://login.microsoftonline.com/{partner.tenant_id}",
        client_credential={"client_assertion": lambda: assertion(desk)},
        http_client=desk.session,
    )
    granted = app.acquire_token_for_client([f"{GRAPH}/.default"])
    assert desk.graph("/v1.0/tenantRelationships/delegatedAdminRelationships").status_code == 200
    assert claims(granted["access_token"])["appid"] == partner.client_id


def test_an_assertion_of_another_identity_issuer_audience_or_time_does_not(desk):
    good = assertion(desk)
    assert federated(desk, assertion(desk, 1)).json()["error_codes"] == [700213]
    assert federated(desk, good[:-6] + "AAAAAA").json()["error_codes"] == [700027]
    storage = assertion(desk, resource="https://storage.azure.com")
    assert federated(desk, storage).json()["error_codes"] == [700211]
    desk.emulator.principals.trusts[0].audience = "api://elsewhere"
    assert federated(desk, good).json()["error_codes"] == [700212]
    desk.emulator.principals.reset()
    assert federated(desk, good).status_code == 200
    desk.clock.advance(timedelta(hours=1))
    assert federated(desk, good).json()["error_codes"] == [700024]
