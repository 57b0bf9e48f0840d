"""The control plane over HTTP and in process: faults, throttles, clock, seed, settings, log."""

from __future__ import annotations

import pytest
import requests

CONTROL = "https://control.emulator.invalid/_emulator"


def post(desk, name, **body):
    return desk.session.post(f"{CONTROL}/{name}", json=body)


def test_the_overview_names_everything(desk):
    page = desk.session.get(f"{CONTROL}/").json()
    assert (page["seed"], page["scenario"]) == (1, "partner-month")
    assert page["now"] == "2026-11-09T06:00:00Z"
    assert page["base_urls"]["partner_center"] == "https://api.partnercenter.microsoft.com"
    assert page["settings"]["export_polls"] == 1
    assert "POST /_emulator/fail-next" in page["controls"]
    assert page["stories"] == desk.emulator.world.stories()


def test_fail_next_acts_count_times_and_only_where_it_should(desk):
    post(
        desk,
        "fail-next",
        system="partner_center",
        path="/v1/customers$",
        method="get",
        status=503,
        count=2,
    )
    statuses = [desk.pc("/v1/invoices").status_code]
    statuses += [desk.pc("/v1/customers").status_code for _ in range(3)]
    assert statuses == [200, 503, 503, 200]


def test_a_503_is_a_page_for_people(desk):
    desk.control.fail_next("partner_center", status=503)
    answer = desk.pc("/v1/customers", token="t")
    assert answer.headers["Content-Type"].startswith("text/html")


def test_429_of_partner_center_comes_from_the_gateway(desk):
    desk.control.fail_next("partner_center", status=429, headers={"Retry-After": "7"})
    answer = desk.pc("/v1/customers")
    assert answer.headers["Retry-After"] == "7"
    assert answer.json() == {
        "statusCode": 429,
        "message": "Rate limit is exceeded. Try again in 7 seconds.",
    }
    desk.control.fail_next("partner_center", status=429)
    assert desk.pc("/v1/customers").headers["Retry-After"] == "57"


def test_429_of_graph_is_an_odata_error(desk):
    desk.control.fail_next("graph", status=429, headers={"Retry-After": "3"})
    answer = desk.graph("/v1.0/tenantRelationships/delegatedAdminRelationships")
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "TooManyRequests"


@pytest.mark.parametrize(
    "system", ["login", "partner_center", "price", "graph", "blob", "dataverse"]
)
def test_every_429_says_how_long_to_wait(desk, system):
    desk.control.fail_next(system, status=429)
    answer = desk.call(system, "GET", "/anything", token="t")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (429, True)


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "0x80072322"), (503, ""), (500, "0x80040216"), (403, "0x80048405"), (413, "")],
)
def test_injected_faults_of_dataverse_look_like_its_own(desk, status, code):
    desk.control.fail_next("dataverse", status=status)
    answer = desk.call("dataverse", "GET", "/api/data/v9.2/WhoAmI", token="t")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_any_body_can_be_given(desk):
    body = {"code": 900311, "description": "Too many updates.", "data": [], "source": "X"}
    post(desk, "fail-next", system="*", path="/v1/", status=400, body=body)
    assert desk.pc("/v1/customers").json() == body


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("drop_before", requests.ConnectionError),
        ("drop_after", requests.ConnectionError),
        ("drop_during", requests.ConnectionError),
        ("stall_before", requests.ReadTimeout),
        ("stall_after", requests.ReadTimeout),
    ],
)
def test_lost_answers(desk, kind, raised):
    token = desk.token("partner_center")
    desk.control.fail_next("partner_center", kind=kind)
    with pytest.raises(raised):
        desk.pc("/v1/customers", token=token)
    assert desk.pc("/v1/customers", token=token).status_code == 200
    *_, failed, last = desk.control.requests()
    assert (failed["fault"], last["fault"]) == (kind, None)


@pytest.mark.parametrize(
    ("kind", "acted"),
    [
        ("respond", 0),
        ("drop_before", 0),
        ("stall_before", 0),
        ("respond_after", 1),
        ("drop_during", 1),
        ("drop_after", 1),
        ("stall_after", 1),
    ],
)
def test_what_a_lost_answer_left_behind(desk, kind, acted):
    accounts = "/api/data/v9.2/accounts"
    count = f"{accounts}/$count"
    before = int(desk.call("dataverse", "GET", count, app=True).content.decode())
    desk.control.fail_next("dataverse", path=accounts, method="post", kind=kind, status=502)
    try:
        headers = {"Prefer": "return=representation"}
        body = {"name": "Fabrikam"}
        answer = desk.call("dataverse", "POST", accounts, app=True, json=body, headers=headers)
        assert answer.status_code == 502
        assert answer.headers["Content-Type"].startswith("text/html")
    except requests.RequestException:
        assert not kind.startswith("respond")
    after = int(desk.call("dataverse", "GET", count, app=True).content.decode())
    assert after - before == acted


def test_a_fault_lets_pass_what_it_is_told_to(desk):
    desk.control.fail_next("partner_center", path="/v1/customers", skip=2, count=2)
    desk.control.fail_next("partner_center", path="/v1/customers", status=500, skip=4)
    statuses = [desk.pc("/v1/customers").status_code for _ in range(7)]
    assert statuses == [200, 200, 503, 503, 200, 200, 500]


def test_every_third_request_is_throttled(desk):
    post(desk, "throttle", system="partner_center", every=3, retry_after=2)
    token = desk.token("partner_center")
    answers = [desk.pc("/v1/customers", token=token) for _ in range(6)]
    assert [one.status_code for one in answers] == [200, 200, 429, 200, 200, 429]
    assert answers[2].headers["Retry-After"] == "2"
    post(desk, "throttle", system="partner_center", every=0)
    assert {desk.pc("/v1/customers", token=token).status_code for _ in range(6)} == {200}


def test_the_clock_is_set_and_moved(desk):
    assert post(desk, "clock", advance_seconds=90).json() == {"now": "2026-11-09T06:01:30Z"}
    assert post(desk, "clock", now="2026-12-01T00:00:00").json() == {"now": "2026-12-01T00:00:00Z"}
    assert desk.session.get(f"{CONTROL}/clock").json() == {"now": "2026-12-01T00:00:00Z"}


def test_the_log_holds_requests_without_credentials(desk):
    token = desk.token("partner_center")
    desk.control.clear_log()
    desk.pc("/v1/customers?size=2", token=token)
    desk.session.get(desk.emulator.base_urls["blob"] + "/x/part?sp=rl&sig=abc")
    first, second = desk.session.get(f"{CONTROL}/requests").json()
    assert first["n"] == 1
    assert (first["system"], first["method"], first["path"], first["query"], first["status"]) == (
        "partner_center",
        "GET",
        "/v1/customers",
        "size=2",
        200,
    )
    assert first["headers"]["Authorization"] == "***"
    assert second["query"] == "sp=rl&sig=***"
    assert token not in desk.session.get(f"{CONTROL}/requests").text
    assert desk.session.delete(f"{CONTROL}/requests").json() == []
    assert desk.control.requests() == []


def test_a_reset_forgets_everything_but_the_seed(desk):
    desk.control.fail_next("graph", count=9)
    desk.control.throttle("price", every=1)
    post(desk, "settings", export_polls=4, withheld_permissions=["PartnerBilling.Read.All"])
    post(desk, "clock", advance_seconds=86400)
    desk.pc("/v1/customers")
    page = post(desk, "reset").json()
    assert page["settings"]["export_polls"] == 1
    assert page["now"] == "2026-11-09T06:00:00Z"
    assert desk.control.requests() == []
    assert desk.graph("/v1.0/tenantRelationships/delegatedAdminCustomers").status_code == 200


def test_another_seed_is_another_world(desk):
    token = desk.token("partner_center")
    page = post(desk, "seed", seed=7, scenario="small").json()
    assert (page["seed"], page["scenario"]) == (7, "small")
    assert desk.emulator.world.seed == 7
    assert desk.pc("/v1/customers", token=token).status_code == 401
    assert desk.pc("/v1/customers").status_code == 200


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("seed", {"scenario": "nowhere"}, "known: partner-month, small"),
        ("settings", {"polls": 1}, "unknown setting: polls"),
        ("settings", {"export_polls": -1}, "export_polls must be a whole number"),
        ("settings", {"export_polls": True}, "export_polls must be a whole number"),
        ("settings", {"conditional_access_mfa": 1}, "must be true or false"),
        ("settings", {"manifest_shape": "round"}, "must be one of rotate, link, inline, url"),
        ("settings", {"price_sheet_form": "xlsx"}, "must be one of zip, csv, csv_bom"),
        ("fail-next", {"system": "nowhere"}, "unknown system 'nowhere'"),
        ("fail-next", {"system": "graph", "kind": "explode"}, "kind must be one of"),
        ("fail-next", {"system": "graph", "count": 0}, "count must be at least 1"),
        ("clock", {"now": "tomorrow"}, "Invalid isoformat"),
        ("reissue", {"invoice_id": "G1"}, "there is no invoice G1"),
    ],
)
def test_refusals_say_why(desk, name, body, sentence):
    refused = post(desk, name, **body)
    assert refused.status_code == 400
    assert sentence in refused.json()["error"]
    assert desk.emulator.scenario == "partner-month"


def test_unknown_controls(desk):
    assert desk.session.get(f"{CONTROL}/nothing").status_code == 404
    assert desk.session.delete(f"{CONTROL}/clock").status_code == 405


def test_refresh_tokens_of_both_kinds_and_revocation(desk):
    weak = post(desk, "refresh-token", mfa=False).json()["refresh_token"]
    granted = desk.sign_in(desk.emulator.base_urls["partner_center"], refresh_token=weak).json()
    assert desk.pc("/v1/customers", token=granted["access_token"]).json()["code"] == 900421
    assert post(desk, "revoke").json() == {"revoked": True}
    again = desk.sign_in(desk.emulator.base_urls["partner_center"], refresh_token=weak)
    assert again.json()["error_codes"] == [50173]
