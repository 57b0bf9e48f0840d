"""Rows: the table of conditions cell by cell, values, binds, money, links, and each error."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Barrier, Thread, Timer

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.dataverse_harness import ORG, ROOT, Dataverse, attribute, with_tables

SAMPLES = Path(__file__).resolve().parents[1] / "published/samples/dataverse"
NOBODY = "11111111-1111-4111-8111-111111111111"
KEY = "nce_subscriptions(nce_externalkey='abc')"


@pytest.fixture
def dv():
    return with_tables().copy()


@pytest.fixture
def row(dv):
    return dv.post("nce_subscriptions", {"nce_name": "A", "nce_externalkey": "abc"}).new_id


def name_of(dv, row):
    return dv.get(f"nce_subscriptions({row})", select="nce_name").json["nce_name"]


# Create


def test_create_answers_204_with_the_entity_id(dv):
    answer = dv.post("nce_subscriptions", {"nce_name": "A"})
    assert (answer.status, answer.raw) == (204, b"")
    assert answer.headers["odata-version"] == "4.0"
    assert answer.headers["odata-entityid"] == f"{ROOT}nce_subscriptions({answer.new_id})"
    assert dv.get(f"nce_subscriptions({answer.new_id})").status == 200


def test_create_with_representation_answers_201_without_entity_id(dv):
    answer = dv.send(
        "POST",
        "nce_subscriptions?$select=nce_name",
        {"nce_name": "A", "nce_quantity": 3},
        headers={"Prefer": "return=representation"},
    )
    assert answer.status == 201
    assert answer.headers["preference-applied"] == "return=representation"
    assert "odata-entityid" not in answer.headers
    assert set(answer.json) == {"@odata.context", "@odata.etag", "nce_name", "nce_subscriptionid"}
    assert answer.json["@odata.context"] == f"{ROOT}$metadata#nce_subscriptions(nce_name)/$entity"


def test_ids_may_be_given_once(dv):
    assert dv.post("nce_subscriptions", {"nce_subscriptionid": NOBODY}).new_id == NOBODY
    again = dv.post("nce_subscriptions", {"nce_subscriptionid": NOBODY})
    assert (again.status, again.code, again.message) == (
        412,
        "0x80040237",
        "Cannot insert duplicate key.",
    )


def test_ids_follow_from_the_seed():
    made = []
    for seed in (1, 1, 2):
        dv = Dataverse(seed=seed)
        made.append(dv.post("accounts", {"name": "A"}).new_id)
    assert made[0] == made[1] != made[2]


# The table of section 2, cell by cell: condition, row there or not


@pytest.mark.parametrize("address", ["guid", "key"])
@pytest.mark.parametrize(
    ("condition", "there", "status", "name"),
    [
        ({}, True, 204, "B"),
        ({}, False, 204, "B"),
        ({"If_Match": "*"}, True, 204, "B"),
        ({"If_Match": "*"}, False, 404, None),
        ({"If_None_Match": "*"}, True, 412, "A"),
        ({"If_None_Match": "*"}, False, 204, "B"),
        ({"If_None_Match": "null"}, True, 204, "B"),
        ({"If_Match": "etag"}, True, 204, "B"),
        ({"If_Match": 'W/"1"'}, True, 412, "A"),
        ({"If_Match": 'W/"1"'}, False, 404, None),
        ({"Prefer": "return=representation"}, True, 200, "B"),
        ({"Prefer": "return=representation"}, False, 201, "B"),
    ],
)
def test_patch(dv, address, condition, there, status, name):  # noqa: PLR0917 - a table of cases
    path = f"nce_subscriptions({NOBODY})" if address == "guid" else KEY
    if there:
        body = {"nce_subscriptionid": NOBODY, "nce_externalkey": "abc", "nce_name": "A"}
        assert dv.post("nce_subscriptions", body).status == 204
    if condition.get("If_Match") == "etag":
        condition = {"If_Match": dv.get(path).json["@odata.etag"]}
    answer = dv.patch(path, {"nce_name": "B"}, **condition)
    assert answer.status == status, answer.raw
    assert [r["nce_name"] for r in dv.values("nce_subscriptions")] == ([name] if name else [])
    if status == 204:
        assert answer.headers["odata-entityid"] == ROOT + path
    if status in (200, 201):
        assert answer.json["nce_name"] == "B"
        assert "odata-entityid" not in answer.headers
    if status == 412 and "If_None_Match" in condition:
        assert answer.message == "A record with matching key values already exists."
    elif status == 412:
        assert answer.code == "0x80060882"
    if status == 404:
        assert answer.code == ("0x80040217" if address == "guid" else "0x80060891")


def test_an_upsert_by_key_fills_the_key_and_a_body_key_wins_on_create(dv):
    assert dv.patch(KEY, {"nce_name": "A"}).status == 204
    assert dv.get(KEY).json["nce_externalkey"] == "abc"
    dv.patch(KEY, {"nce_externalkey": "other", "nce_name": "B"})
    assert dv.get(KEY).json["nce_name"] == "B"
    other = "nce_subscriptions(nce_externalkey='url')"
    dv.patch(other, {"nce_externalkey": "body"})
    assert dv.get(other).status == 404
    assert dv.get("nce_subscriptions(nce_externalkey='body')").status == 200


def test_key_forms(dv, row):
    assert dv.get(f"nce_subscriptions(nce_subscriptionid={row})").status == 200
    assert dv.patch("nce_subscriptions(nce_externalkey='O''Neil')", {"nce_name": "N"}).status == 204
    assert (
        dv.get("nce_subscriptions(nce_externalkey='O''Neil')").json["nce_externalkey"] == "O'Neil"
    )
    assert dv.get("nce_subscriptions(nce_externalkey='ABC')").json["nce_subscriptionid"] == row


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("nce_subscriptions(nce_name='A')", 400, "0x0"),
        ("nce_subscriptions(nce_none='A')", 400, "0x0"),
        ("nce_subscriptions(nce_externalkey='a:b')", 400, "0x80060888"),
        (
            "nce_subscriptions(nce_accountid=11111111-1111-4111-8111-111111111111)",
            400,
            "0x80060888",
        ),
        (f"nce_subscriptions({NOBODY})", 404, "0x80040217"),
        (f"systemusers(systemuserid={NOBODY})", 400, "0x0"),
        ("nce_subscriptions(nce_externalkey='gone')", 404, "0x80060891"),
        ("nce_nothings", 404, "0x8006088a"),
        ("Nce_subscriptions", 404, "0x8006088a"),
        (f"nce_subscriptions({NOBODY})/nce_none", 404, "0x80040217"),
    ],
)
def test_addresses_that_lead_nowhere(dv, path, status, code):
    answer = dv.get(path)
    assert (answer.status, answer.code) == (status, code)


def test_a_lookup_in_a_key_is_named_by_its_value_property(dv, row):
    body = {"SchemaName": "nce_LineKey", "KeyAttributes": ["nce_subscriptionid", "nce_number"]}
    assert dv.post("EntityDefinitions(LogicalName='nce_line')/Keys", body).status == 204
    path = f"nce_lines(_nce_subscriptionid_value={row},nce_number=7)"
    assert dv.patch(path, {"nce_name": "L"}).status == 204
    line = dv.get(path).json
    assert (line["_nce_subscriptionid_value"], line["nce_number"]) == (row, 7)
    assert dv.patch(f"nce_lines(nce_subscriptionid={row},nce_number=7)", {}).code == "0x80060888"


def test_delete(dv, row):
    assert dv.delete(f"nce_subscriptions({row})", If_Match='W/"1"').code == "0x80060882"
    etag = dv.get(KEY).json["@odata.etag"]
    assert dv.delete(KEY, If_Match=etag).status == 204
    assert dv.delete(KEY).status == 404


def test_conditional_get(dv, row):
    path = f"nce_subscriptions({row})"
    etag = dv.get(path).json["@odata.etag"]
    same = dv.send("GET", path, headers={"If-None-Match": etag})
    assert (same.status, same.raw) == (304, b"")
    assert dv.send("GET", path, headers={"If-None-Match": "null"}).status == 200
    annotated = {"If-None-Match": etag, "Prefer": 'odata.include-annotations="*"'}
    assert dv.send("GET", path, headers=annotated).status == 200
    dv.patch(path, {"nce_name": "B"})
    assert dv.send("GET", path, headers={"If-None-Match": etag}).status == 200


def test_one_of_many_writers_with_the_same_etag_wins(dv, row):
    path = f"nce_subscriptions({row})"
    etag = dv.get(path).json["@odata.etag"]
    gate, results = Barrier(8), []

    def write(number):
        gate.wait()
        results.append(dv.patch(path, {"nce_quantity": number}, If_Match=etag).status)

    threads = [Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [204] + [412] * 7


# Values


def test_exact_numbers_come_back_digit_by_digit(dv):
    body = {
        "nce_unitprice": Decimal("0.1234567891"),
        "nce_amount": Decimal("922337203685476.5807"),
        "nce_total": Decimal(20000),
        "nce_big": 9_007_199_254_740_993,
    }
    row = dv.post("nce_subscriptions", body).new_id
    raw = dv.get(f"nce_subscriptions({row})").raw.decode()
    for text in (
        '"nce_unitprice":0.1234567891,',
        '"nce_amount":922337203685476.5807,',
        '"nce_amount_base":922337203685476.5807,',
        '"nce_total":20000.0000,',
        '"nce_big":9007199254740993,',
    ):
        assert text in raw


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.decimals(-(10**11), 10**11, places=10),
    st.decimals(-900_000_000_000_000, 900_000_000_000_000, places=4),
)
def test_every_decimal_survives(dv, price, amount):
    row = dv.post("nce_subscriptions", {"nce_unitprice": price, "nce_amount": amount}).new_id
    found = dv.get(f"nce_subscriptions({row})", select="nce_unitprice,nce_amount").json
    assert (found["nce_unitprice"], found["nce_amount"]) == (price, amount)


def test_dates_and_instants(dv):
    body = {"nce_start": "2026-11-22", "nce_seenon": "2026-11-22T12:30:15.999+02:00"}
    row = dv.post("nce_subscriptions", body).new_id
    found = dv.get(f"nce_subscriptions({row})").json
    assert (found["nce_start"], found["nce_seenon"]) == ("2026-11-22", "2026-11-22T10:30:15Z")
    assert found["createdon"] == found["modifiedon"] == "2026-11-22T10:00:00Z"
    dv.clock.advance(timedelta(hours=1))
    dv.patch(f"nce_subscriptions({row})", {"nce_start": None})
    found = dv.get(f"nce_subscriptions({row})").json
    assert found["nce_start"] is None
    assert (found["createdon"], found["modifiedon"]) == (
        "2026-11-22T10:00:00Z",
        "2026-11-22T11:00:00Z",
    )


def test_surplus_decimals_are_rounded_or_refused_as_set(dv):
    body = {"nce_total": Decimal("1.005"), "nce_unitprice": Decimal("0.00000000005")}
    row = dv.post("nce_subscriptions", body).new_id
    found = dv.get(f"nce_subscriptions({row})").json
    assert (found["nce_total"], found["nce_unitprice"]) == (Decimal("1.01"), Decimal("1E-10"))
    strict = Dataverse()
    strict.settings.reject_surplus_digits = True
    strict.make_tables()
    assert strict.post("nce_subscriptions", body).code == "0x80040203"


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"nce_name": "x" * 201}, "0x80044331", "exceeded the maximum allowed length of '200'"),
        ({"nce_status": 5}, "0x8004431a", "Accepted Values: 727000000,727000001"),
        ({"nce_quantity": -1}, "0x8004431a", "The value -1 of 'nce_quantity'"),
        ({"nce_total": 922337203685478}, "0x8004431a", "outside the valid range"),
        ({"nce_tags": "1,9"}, "0x8004431a", "The value 9"),
        (
            {"nce_quantity": "abc"},
            "0x80048d19",
            "Cannot convert the literal 'abc' to the expected type 'Edm.Int32'",
        ),
        ({"nce_quantity": Decimal("1.5")}, "0x80048d19", "Edm.Int32"),
        ({"nce_unitprice": "1.5"}, "0x80048d19", "Edm.Decimal"),
        ({"nce_name": 5}, "0x80048d19", "Edm.String"),
        ({"nce_autorenew": 1}, "0x80048d19", "Edm.Boolean"),
        ({"nce_start": "2026-11-31"}, "0x80048d19", "Edm.Date"),
        ({"nce_start": "1752-12-31"}, "0x80048d19", "Edm.Date"),
        ({"nce_seenon": "noon"}, "0x80048d19", "Edm.DateTimeOffset"),
        ({"nce_subscriptionid": "x"}, "0x80048d19", "Edm.Guid"),
        ({"nce_none": 1}, "0x80048d19", "An undeclared property 'nce_none'"),
        ({"nce_Name": "A"}, "0x80048d19", "An undeclared property 'nce_Name'"),
        ({"nce_accountid@odata.bind": "/accounts(1)"}, "0x80048d19", "'nce_accountid'"),
        ({"_nce_accountid_value": NOBODY}, "0x80060888", "Use Navigation properties instead"),
        ({"nce_accountid": NOBODY}, "0x80060888", "Use Navigation properties instead"),
        ({"nce_pdf": NOBODY}, "0x80040203", "file column"),
        ({"statecode": 1, "statuscode": 1}, "0x80048408", "is not a valid status code"),
    ],
)
def test_bad_bodies(dv, body, code, text):
    answer = dv.post("nce_subscriptions", body)
    assert (answer.status, answer.code) == (400, code)
    assert text in answer.message
    assert dv.values("nce_subscriptions") == []


@pytest.mark.parametrize("raw", [b"{", b"[1]", b'{"nce_name": NaN}'])
def test_bodies_that_are_not_json_objects(dv, raw):
    assert dv.send("POST", "nce_subscriptions", raw).status == 400


def test_platform_columns_in_a_body_are_ignored(dv):
    body = {
        "createdon": "2001-01-01T00:00:00Z",
        "versionnumber": 5,
        "nce_total_base": 9,
        "nce_total": 1,
    }
    row = dv.post("nce_subscriptions", body).new_id
    found = dv.get(f"nce_subscriptions({row})").json
    assert found["createdon"] == "2026-11-22T10:00:00Z"
    assert found["versionnumber"] > 5
    assert found["nce_total_base"] == 1


def test_the_key_violation_names_key_and_columns(dv, row):
    answer = dv.post("nce_subscriptions", {"nce_externalkey": "ABC"})
    assert (answer.status, answer.code) == (412, "0x80060892")
    assert answer.message.startswith("Entity Key nce_SubscriptionKey violated.")
    assert "nce_externalkey" in answer.message
    other = dv.post("nce_subscriptions", {"nce_externalkey": "def"}).new_id
    assert dv.patch(f"nce_subscriptions({other})", {"nce_externalkey": "abc"}).code == "0x80060892"
    assert dv.post("nce_subscriptions", {"nce_name": "no key"}).status == 204
    assert dv.post("nce_subscriptions", {"nce_name": "no key"}).status == 204


def test_states_travel_with_their_status(dv, row):
    path = f"nce_subscriptions({row})"
    assert dv.patch(path, {"statecode": 1}).status == 204
    assert dv.get(path).json["statuscode"] == 2
    assert dv.patch(path, {"statuscode": 1}).code == "0x80048408"
    assert dv.patch(path, {"statecode": 0, "statuscode": 1}).status == 204


# Binds and money


def test_binds(dv):
    contact = dv.post("contacts", {"lastname": "Ng", "firstname": "Li"}).new_id
    account = dv.post(
        "accounts", {"name": "Litware", "primarycontactid@odata.bind": f"/contacts({contact})"}
    )
    account_id = account.new_id
    for value in (
        f"/accounts({account_id})",
        f"accounts({account_id})",
        f"{ROOT}accounts({account_id})",
    ):
        row = dv.post("nce_subscriptions", {"nce_AccountId@odata.bind": value}).new_id
        assert dv.get(f"nce_subscriptions({row})").json["_nce_accountid_value"] == account_id
    keyed = dv.post("nce_lines", {"nce_SubscriptionId@odata.bind": KEY})
    assert (keyed.status, keyed.code) == (404, "0x80060891")
    dv.patch(KEY, {"nce_name": "A"})
    line = dv.post("nce_lines", {"nce_SubscriptionId@odata.bind": "/" + KEY})
    assert line.status == 204
    missing = dv.post("nce_subscriptions", {"nce_AccountId@odata.bind": f"/accounts({NOBODY})"})
    assert (missing.status, missing.code) == (404, "0x80040217")
    assert missing.message == f"account With Id = {NOBODY} Does Not Exist"
    wrong = dv.post("nce_subscriptions", {"nce_AccountId@odata.bind": f"/contacts({contact})"})
    assert (wrong.status, wrong.code) == (400, "0x80048d19")


def test_a_lookup_is_cleared_in_two_ways(dv):
    account = dv.post("accounts", {"name": "L"}).new_id
    row = dv.post("nce_subscriptions", {"nce_AccountId@odata.bind": f"/accounts({account})"}).new_id
    path = f"nce_subscriptions({row})"
    assert dv.patch(path, {"nce_AccountId@odata.bind": None}).status == 204
    assert dv.get(path).json["_nce_accountid_value"] is None
    there = {"@odata.id": f"{ROOT}accounts({account})"}
    assert dv.send("PUT", f"{path}/nce_AccountId/$ref", there).status == 204
    assert dv.get(f"{path}/nce_AccountId").json["name"] == "L"
    assert dv.get(f"{path}/nce_AccountId/$ref").json["@odata.id"] == f"{ROOT}accounts({account})"
    assert dv.delete(f"{path}/nce_AccountId/$ref").status == 204
    assert dv.get(f"{path}/nce_AccountId").status == 204


def test_polymorphic_lookups_have_one_property_for_each_target(dv):
    account = dv.post("accounts", {"name": "L"}).new_id
    contact = dv.post(
        "contacts", {"parentcustomerid_account@odata.bind": f"/accounts({account})"}
    ).new_id
    prefer = 'odata.include-annotations="*"'
    found = dv.get(f"contacts({contact})", prefer, select="_parentcustomerid_value").json
    assert found["_parentcustomerid_value"] == account
    assert found["_parentcustomerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "account"
    nav = "_parentcustomerid_value@Microsoft.Dynamics.CRM.associatednavigationproperty"
    assert found[nav] == "parentcustomerid_account"


def test_money_is_converted_by_the_bound_currency(dv):
    euro = dv.values("transactioncurrencies", filter="isocurrencycode eq 'EUR'")[0]
    assert euro["exchangerate"] == Decimal("0.92")
    bind = {
        "transactioncurrencyid@odata.bind": f"/transactioncurrencies({euro['transactioncurrencyid']})"
    }
    row = dv.post(
        "nce_subscriptions", {"nce_total": 92, "nce_amount": Decimal("0.0001"), **bind}
    ).new_id
    path = f"nce_subscriptions({row})"
    found = dv.get(path).json
    assert found["exchangerate"] == Decimal("0.92")
    assert (found["nce_total_base"], found["nce_amount_base"]) == (100, Decimal("0.0001"))
    dv.patch(path, {"nce_total": 46})
    assert dv.get(path).json["nce_total_base"] == 50
    dollar = dv.values("transactioncurrencies", filter="isocurrencycode eq 'USD'")[0]
    bind = {
        "transactioncurrencyid@odata.bind": f"/transactioncurrencies({dollar['transactioncurrencyid']})"
    }
    dv.patch(path, bind)
    assert dv.get(path).json["nce_total_base"] == 46
    short = dv.get(path, select="nce_total").json
    assert short["_transactioncurrencyid_value"] == dollar["transactioncurrencyid"]


def test_money_without_currency_takes_the_base_currency(dv):
    row = dv.post("nce_subscriptions", {"nce_total": 5}).new_id
    code = dv.get(
        f"nce_subscriptions({row})", expand="transactioncurrencyid($select=isocurrencycode)"
    )
    assert code.json["transactioncurrencyid"]["isocurrencycode"] == "USD"


# Related rows


def test_deep_insert_is_one_transaction(dv):
    body = {
        "nce_name": "A",
        "nce_AccountId": {"name": "Litware"},
        "nce_subscription_nce_line_nce_SubscriptionId": [{"nce_number": 1}, {"nce_number": 2}],
    }
    row = dv.post("nce_subscriptions", body).new_id
    assert len(dv.values("nce_lines", filter=f"_nce_subscriptionid_value eq {row}")) == 2
    body["nce_subscription_nce_line_nce_SubscriptionId"].append({"nce_number": "x"})
    assert dv.post("nce_subscriptions", body).status == 400
    assert (len(dv.values("accounts")), len(dv.values("nce_subscriptions"))) == (1, 1)


def test_deletion_follows_the_relationship(dv):
    account = dv.post("accounts", {"name": "L"}).new_id
    row = dv.post("nce_subscriptions", {"nce_AccountId@odata.bind": f"/accounts({account})"}).new_id
    line = dv.post(
        "nce_lines", {"nce_SubscriptionId@odata.bind": f"/nce_subscriptions({row})"}
    ).new_id
    held = dv.delete(f"nce_subscriptions({row})")
    assert (held.status, held.code) == (405, "0x80040227")
    assert dv.delete(f"accounts({account})").status == 204
    assert dv.get(f"nce_subscriptions({row})").json["_nce_accountid_value"] is None
    assert dv.delete(f"nce_lines({line})").status == 204
    assert dv.delete(f"nce_subscriptions({row})").status == 204


def test_single_properties(dv, row):
    path = f"nce_subscriptions({row})/nce_name"
    assert dv.get(path).json["value"] == "A"
    assert dv.get(f"{path}/$value").raw == b"A"
    assert dv.send("PUT", path, {"value": "B"}).status == 204
    assert name_of(dv, row) == "B"
    assert dv.delete(path).status == 204
    assert dv.get(path).status == 204


# Who may


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc"])
def test_no_token_is_401_with_a_challenge(dv, header):
    answer = dv.send("GET", "WhoAmI", headers={"Authorization": header})
    assert answer.status == 401
    assert f"resource_id={ORG}/" in answer.headers["www-authenticate"]


def test_tokens_are_checked_for_this_environment_and_its_members():
    seen = []

    def check(token, audience):
        seen.append((token, audience))
        if token == "old":
            raise ValueError("The token has expired.")
        return {"appid": token}

    app = "0A0A0A0A-0000-4000-8000-000000000001"
    dv = Dataverse(check_token=check, application_id=app)
    assert dv.send("GET", "WhoAmI", headers={"Authorization": "Bearer old"}).status == 401
    stranger = dv.send("GET", "WhoAmI", headers={"Authorization": f"Bearer {NOBODY}"})
    assert (stranger.status, stranger.code) == (403, "0x80072560")
    member = dv.send("GET", "WhoAmI", headers={"Authorization": f"Bearer {app}"})
    assert member.status == 200
    assert seen[0] == ("old", ORG)
    users = dv.send(
        "GET", f"systemusers({member.json['UserId']})", headers={"Authorization": f"Bearer {app}"}
    )
    assert users.json["applicationid"] == app.lower()


@pytest.mark.parametrize(
    ("privilege", "method", "path"),
    [
        ("Create", "POST", "nce_subscriptions"),
        ("Read", "GET", "nce_subscriptions"),
        ("Write", "PATCH", KEY),
        ("Delete", "DELETE", KEY),
    ],
)
def test_a_missing_privilege_is_403(dv, row, privilege, method, path):
    dv.settings.deny.add((privilege, "nce_subscription"))
    answer = dv.send(method, path, {"nce_name": "B"} if method != "GET" else None)
    assert (answer.status, answer.code) == (403, "0x80040220")
    assert f"is missing prv{privilege}nce_Subscription privilege" in answer.message
    dv.settings.deny.clear()
    assert name_of(dv, row) == "A"


def test_operations_answer_to_their_own_verb(dv):
    answer = dv.post("WhoAmI")
    assert (answer.status, answer.code) == (404, "")
    assert answer.message.startswith("No HTTP resource was found that matches the request URI")
    assert dv.send("DELETE", "nce_subscriptions").status == 405


def test_every_answer_carries_the_headers_of_the_service(dv):
    own = {"x-ms-client-request-id": NOBODY}
    for answer in (dv.send("GET", "WhoAmI", headers=own), dv.send("GET", "nothing", headers=own)):
        assert answer.headers["x-ms-dop-hint"] == "8"
        assert answer.headers["x-ms-client-request-id"] == NOBODY
        assert answer.headers["x-ms-service-request-id"]
        assert "x-ms-ratelimit-burst-remaining-xrm-requests" in answer.headers
        assert "x-ms-ratelimit-time-remaining-xrm-requests" in answer.headers
        assert answer.headers["odata-version"] == "4.0"


def test_error_details_come_with_annotations(dv):
    plain = dv.get("nothing").json["error"]
    assert set(plain) == {"code", "message"}
    rich = dv.get("nothing", 'odata.include-annotations="*"').json["error"]
    assert rich["@Microsoft.PowerApps.CDS.HelpLink"]


# Microsoft's published samples


def sample(name):
    return json.loads((SAMPLES / name).read_text(), parse_float=Decimal)


def test_published_create_requests_are_accepted(dv):
    assert (
        dv.post("accounts", sample("compose-http-requests-handle-errors.request.1.json")).status
        == 204
    )
    body = sample("create-entity-web-api.request.1.json")
    row = dv.post("accounts", body).new_id
    found = dv.get(f"accounts({row})").json
    assert {name: found[name] for name in body} == body | {"address1_latitude": Decimal("47.63958")}


def test_a_representation_has_the_published_shape(dv):
    published = sample("create-entity-web-api.response-201.4.json")
    contact = dv.post("contacts", {"fullname": "Yvonne McKay (sample)"}).new_id
    answer = dv.send(
        "POST",
        "accounts?$select=name&$expand=primarycontactid($select=fullname),Account_Tasks($select=subject)",
        {
            "name": "Sample Account",
            "primarycontactid@odata.bind": f"/contacts({contact})",
            "Account_Tasks": [{"subject": "Task 1"}, {"subject": "Task 2"}],
        },
        headers={"Prefer": "return=representation"},
    )
    assert answer.status == 201

    def skeleton(value):
        if isinstance(value, dict):
            return {name: skeleton(item) for name, item in value.items()}
        return [skeleton(item) for item in value] if isinstance(value, list) else type(value)

    assert skeleton(answer.json) == skeleton(published)
    context = published["@odata.context"].split("$metadata")[1]
    assert answer.json["@odata.context"].split("$metadata")[1] == context
    assert {t["subject"] for t in answer.json["Account_Tasks"]} == {"Task 1", "Task 2"}


def test_the_published_bind_sample_is_accepted(dv):
    body = sample("create-entity-web-api.response.5.json")
    parent = body["parentaccountid@odata.bind"].split("(")[1].rstrip(")")
    currency = body["transactioncurrencyid@odata.bind"].split("(")[1].rstrip(")")
    assert dv.post("accounts", body).code == "0x80040217"
    dv.post("accounts", {"accountid": parent, "name": "Parent"})
    dv.post(
        "transactioncurrencies",
        {
            "transactioncurrencyid": currency,
            "isocurrencycode": "CHF",
            "exchangerate": Decimal("0.88"),
            "currencyprecision": 2,
        },
    )
    row = dv.post("accounts", body).new_id
    found = dv.get(f"accounts({row})").json
    assert (found["_parentaccountid_value"], found["_transactioncurrencyid_value"]) == (
        parent,
        currency,
    )
    assert found["exchangerate"] == Decimal("0.88")


# The file


def test_a_second_process_sees_tables_and_rows(tmp_path):
    file = str(tmp_path / "org.sqlite")
    first = Dataverse(file)
    second = Dataverse(file)
    first.make_tables()
    row = first.post("nce_subscriptions", {"nce_name": "A", "nce_externalkey": "k"}).new_id
    assert second.get("nce_subscriptions(nce_externalkey='k')").json["nce_subscriptionid"] == row
    made = second.post("nce_subscriptions", {"nce_name": "B"}).new_id
    first.app.close()
    second.app.close()
    third = Dataverse(file)
    names = [r["nce_name"] for r in third.values("nce_subscriptions", orderby="nce_name")]
    assert (names, row != made) == (["A", "B"], True)
    third.post(
        "EntityDefinitions(LogicalName='nce_subscription')/Attributes",
        attribute("String", "nce_More"),
    )
    assert third.post("nce_subscriptions", {"nce_more": "x"}).status == 204
    third.app.close()


def test_processes_that_start_on_one_new_file_fill_it_once(tmp_path):
    script = (
        "import sys; from tests.emulator.dataverse_harness import Dataverse; "
        "dv = Dataverse(sys.argv[1]); print(len(dv.values('transactioncurrencies'))); dv.app.close()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "org.sqlite")]
    root = Path(__file__).resolve().parents[2]
    started = [
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in started] == ["3", "3", "3"]


def test_a_start_waits_for_another_process_that_is_at_the_file(tmp_path):
    file = str(tmp_path / "org.sqlite")
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    with closing(other):
        other.execute("BEGIN IMMEDIATE")
        release = Timer(0.2, other.execute, ["COMMIT"])
        release.start()
        dataverse = Dataverse(file)
        release.join()
    with closing(dataverse.app):
        assert len(dataverse.values("transactioncurrencies")) == 3


def test_reset_returns_to_a_new_environment(dv, row):
    dv.settings.deny.add(("Read", "account"))
    dv.app.reset()
    assert dv.get("nce_subscriptions").status == 404
    assert dv.get("accounts").json["value"] == []
    assert [
        c["isocurrencycode"] for c in dv.values("transactioncurrencies", orderby="isocurrencycode")
    ] == [
        "EUR",
        "GBP",
        "USD",
    ]
