"""Microsoft's SDK for Python writes rows: one by one, in bulk, by key, with links."""

from __future__ import annotations

import pandas as pd
import pytest
from PowerPlatform.Dataverse.core.errors import HttpError
from PowerPlatform.Dataverse.models import UpsertItem

from tests.conformance.conftest import Status

TABLE = "nce_demo"


def count(client, **query):
    return len(client.records.list(TABLE, select=["nce_sub"], **query))


def item(sub, **record):
    return UpsertItem(alternate_key={"nce_sub": sub}, record=record)


def code(raised):
    return raised.value.status_code, raised.value.details["service_error_code"]


def post(client, path, body):
    with client._scoped_odata() as raw:
        return raw._request("post", f"{raw.api}/{path}", json=body).status_code


def test_a_row_is_created_and_read_back(demo):
    row = demo.records.create(TABLE, {"nce_name": "A", "nce_quantity": 3})
    found = demo.records.retrieve(TABLE, row, select=["nce_quantity"])
    assert found.etag.startswith('W/"')
    assert found.data == {"nce_quantity": 3, "nce_demoid": row}


def test_many_rows_are_created_in_their_order(environment, demo):
    ids = demo.records.create(TABLE, [{"nce_quantity": n} for n in range(500)])
    stored = {r["nce_demoid"]: r["nce_quantity"] for r in demo.records.list(TABLE)}
    assert [stored[row] for row in ids] == list(range(500))
    assert environment.asked("POST") == ["POST nce_demos/Microsoft.Dynamics.CRM.CreateMultiple"]


def test_one_bad_row_of_many_stores_none(demo):
    rows = [{"nce_sub": f"S{n}"} for n in range(500)]
    rows[321]["nce_sub"] = "x" * 101
    with pytest.raises(HttpError) as refused:
        demo.records.create(TABLE, rows)
    assert code(refused) == (400, "0x80044331")
    assert count(demo) == 0


def test_an_upsert_by_key_creates_once_and_then_updates(demo):
    for quantity in (1, 2):
        demo.records.upsert(TABLE, [item("O'Neill 'n' Co", nce_quantity=quantity)])
    [row] = demo.records.list(TABLE)
    assert (row["nce_sub"], row["nce_quantity"]) == ("O'Neill 'n' Co", 2)


def test_many_upserts_create_and_update(demo):
    demo.records.create(TABLE, [{"nce_sub": f"S{n}", "nce_quantity": 0} for n in range(0, 20, 2)])
    demo.records.upsert(TABLE, [item(f"S{n}", nce_quantity=n) for n in range(20)])
    stored = {r["nce_sub"]: r["nce_quantity"] for r in demo.records.list(TABLE)}
    assert stored == {f"S{n}": n for n in range(20)}


def test_a_bulk_upsert_that_repeats_its_key_in_the_body_only_updates(demo):
    path = "nce_demos/Microsoft.Dynamics.CRM.UpsertMultiple"
    target = {
        "@odata.type": "Microsoft.Dynamics.CRM.nce_demo",
        "@odata.id": "nce_demos(nce_sub='S1')",
        "nce_sub": "S1",
        "nce_quantity": 7,
    }
    with pytest.raises(HttpError) as refused:
        post(demo, path, {"Targets": [target]})
    assert code(refused) == (400, "0x80040216")
    demo.records.create(TABLE, {"nce_sub": "S1"})
    assert post(demo, path, {"Targets": [target]}) == 204
    assert [r["nce_quantity"] for r in demo.records.list(TABLE)] == [7]


def test_a_second_row_of_one_key_and_of_one_id_is_refused(demo):
    row = demo.records.create(TABLE, {"nce_sub": "S1"})
    with pytest.raises(HttpError) as taken:
        demo.records.create(TABLE, {"nce_sub": "s1"})  # keys compare as text does: without case
    assert code(taken) == (412, "0x80060892")
    with pytest.raises(HttpError) as twice:
        demo.records.create(TABLE, {"nce_demoid": row})
    assert code(twice) == (412, "0x80040237")


def test_many_rows_are_updated_alike_or_each_its_own_way(demo):
    ids = demo.records.create(TABLE, [{"nce_quantity": n} for n in range(3)])
    demo.records.update(TABLE, ids, {"nce_status": "Active"})  # the label becomes its number
    demo.records.update(TABLE, ids, [{"nce_quantity": 10 + n} for n in range(3)])
    stored = {r["nce_demoid"]: r for r in demo.records.list(TABLE)}
    assert [stored[row]["nce_quantity"] for row in ids] == [10, 11, 12]
    assert {r["nce_status"] for r in stored.values()} == {Status.Active}


def test_values_outside_their_range_are_refused(demo):
    for body in ({"nce_status": 5}, {"nce_quantity": 1001}, {"nce_quantity": -1}):
        with pytest.raises(HttpError) as refused:
            demo.records.create(TABLE, body)
        assert code(refused) == (400, "0x8004431a")
    assert count(demo) == 0


def test_rows_are_deleted_alone_and_by_a_job(demo):
    ids = demo.records.create(TABLE, [{"nce_quantity": n} for n in range(5)])
    demo.records.delete(TABLE, ids[0])
    assert demo.records.retrieve(TABLE, ids[0]) is None
    job = demo.records.delete(TABLE, ids[1:4])
    assert demo.records.retrieve("asyncoperation", job)["statuscode"] == 30
    assert [r["nce_demoid"] for r in demo.records.list(TABLE)] == ids[4:]
    demo.records.delete(TABLE, ids[4:], use_bulk_delete=False)
    assert count(demo) == 0


def test_links_are_bound_by_id_and_by_key(demo):
    demo.tables.create_alternate_key("account", "nce_AccountNumber", ["accountnumber"])
    account = demo.records.create("account", {"name": "Contoso", "accountnumber": "A-1"})
    for there in (f"/accounts({account})", "/accounts(accountnumber='A-1')"):
        row = demo.records.create(TABLE, {"nce_AccountId@odata.bind": there})
        assert demo.records.retrieve(TABLE, row)["_nce_accountid_value"] == account


def test_rows_of_a_data_frame_are_created_updated_and_deleted(demo):
    frame = pd.DataFrame({"nce_sub": ["S1", "S2", "S3"], "nce_quantity": [1, 2, 3]})
    frame["nce_demoid"] = demo.dataframe.create(TABLE, frame)
    frame["nce_quantity"] *= 10
    demo.dataframe.update(TABLE, frame[["nce_demoid", "nce_quantity"]], "nce_demoid")
    stored = demo.dataframe.sql("SELECT nce_sub, nce_quantity FROM nce_demo ORDER BY nce_sub")
    assert stored["nce_quantity"].tolist() == [10, 20, 30]
    demo.dataframe.delete(TABLE, frame["nce_demoid"][:2])
    assert [row["nce_sub"] for row in demo.records.list(TABLE)] == ["S3"]


@pytest.mark.parametrize(
    ("property_", "there", "expected"),
    [
        (
            "nce_AccountId",
            "/accounts(00000000-0000-4000-8000-000000000000)",
            (404, "0x80040217"),
        ),
        ("nce_AccountId", "/accounts(accountnumber='A-9')", (404, "0x80060891")),
        ("nce_accountid", "/accounts(accountnumber='A-1')", (400, "0x80048d19")),
    ],
)
def test_links_that_cannot_be_bound_are_refused(demo, property_, there, expected):
    demo.tables.create_alternate_key("account", "nce_AccountNumber", ["accountnumber"])
    demo.records.create("account", {"name": "Contoso", "accountnumber": "A-1"})
    with pytest.raises(HttpError) as refused:
        demo.records.create(TABLE, {f"{property_}@odata.bind": there})
    assert code(refused) == expected
    assert count(demo) == 0
