"""Bulk messages and `$batch`: all or nothing, and how failures are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.emulator.dataverse_harness import CRM, ROOT, Dataverse, with_tables

SAMPLES = Path(__file__).resolve().parents[1] / "published/samples/dataverse"
NOBODY = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def dv():
    return with_tables().copy()


def at(key):
    return {"@odata.id": f"nce_subscriptions(nce_externalkey='{key}')"}


def names(dv):
    return [
        r["nce_name"] for r in dv.values("nce_subscriptions", orderby="nce_name", select="nce_name")
    ]


# CreateMultiple, UpdateMultiple, UpsertMultiple


def test_create_multiple_answers_ids_in_input_order(dv):
    answer = dv.bulk("CreateMultiple", [{"nce_name": f"N{i}"} for i in range(50)])
    assert answer.status == 200
    assert answer.json["@odata.context"] == f"{ROOT}$metadata#{CRM}CreateMultipleResponse"
    found = {r["nce_subscriptionid"]: r["nce_name"] for r in dv.values("nce_subscriptions")}
    assert [found[i] for i in answer.json["Ids"]] == [f"N{i}" for i in range(50)]


def test_one_bad_row_stores_none(dv):
    targets = [{"nce_name": f"N{i}"} for i in range(10)]
    targets[7]["nce_name"] = "x" * 201
    answer = dv.bulk("CreateMultiple", targets)
    assert (answer.status, answer.code) == (400, "0x80044331")
    assert names(dv) == []
    first = dv.bulk("CreateMultiple", [{"nce_externalkey": "a"}])
    assert first.status == 200
    clash = dv.bulk("CreateMultiple", [{"nce_name": "new"}, {"nce_externalkey": "a"}])
    assert (clash.status, clash.code) == (412, "0x80060892")
    assert names(dv) == [None]


def test_a_rolled_back_request_leaves_the_ids_of_the_next_one_as_they_were(dv):
    other = Dataverse()
    other.make_tables()
    dv.bulk("CreateMultiple", [{"nce_name": "a"}, {"nce_name": 5}])
    assert dv.post("accounts", {"name": "A"}).new_id == other.post("accounts", {"name": "A"}).new_id


def test_each_target_needs_its_type(dv):
    path = f"nce_subscriptions/{CRM}CreateMultiple"
    for target in ({"nce_name": "A"}, {"@odata.type": f"{CRM}account", "nce_name": "A"}):
        answer = dv.post(path, {"Targets": [target]})
        assert (answer.status, answer.code) == (400, "0x80048d19")
    assert dv.post(path, {"Targets": []}).code == "0x80040203"
    hashed = {"@odata.type": f"#{CRM}nce_subscription", "nce_name": "A"}
    assert dv.post(path, {"Targets": [hashed]}).status == 200


def test_update_multiple_takes_ids_and_finds_all_or_none(dv):
    ids = dv.bulk("CreateMultiple", [{"nce_name": "A"}, {"nce_name": "B"}]).json["Ids"]
    targets = [{"nce_subscriptionid": i, "nce_quantity": 5} for i in ids]
    answer = dv.bulk("UpdateMultiple", targets)
    assert (answer.status, answer.raw) == (204, b"")
    assert [r["nce_quantity"] for r in dv.values("nce_subscriptions")] == [5, 5]
    targets = [{"nce_subscriptionid": ids[0], "nce_quantity": 6}, {"nce_subscriptionid": NOBODY}]
    missing = dv.bulk("UpdateMultiple", targets)
    assert (missing.status, missing.code) == (404, "0x80040217")
    assert missing.message == f"nce_subscription With Ids = {NOBODY} Do Not Exist"
    assert [r["nce_quantity"] for r in dv.values("nce_subscriptions")] == [5, 5]
    assert dv.bulk("UpdateMultiple", [{"nce_name": "no id"}]).code == "0x80040203"


def test_upsert_multiple_creates_and_updates_and_fills_the_key(dv):
    dv.bulk("CreateMultiple", [{"nce_name": "old", "nce_externalkey": "k1", "nce_quantity": 1}])
    answer = dv.bulk("UpsertMultiple", [at("k1") | {"nce_name": "A"}, at("k2") | {"nce_name": "B"}])
    assert (answer.status, answer.raw) == (204, b"")
    rows = dv.values("nce_subscriptions", orderby="nce_externalkey")
    assert [(r["nce_externalkey"], r["nce_name"], r["nce_quantity"]) for r in rows] == [
        ("k1", "A", 1),
        ("k2", "B", None),
    ]


def test_the_key_in_address_and_body_works_for_updates_only(dv):
    trap = [at("k1") | {"nce_externalkey": "k1", "nce_name": "A"}]
    create = dv.bulk("UpsertMultiple", [at("k0") | {"nce_name": "0"}, *trap])
    assert (create.status, create.code) == (400, "0x80040216")
    assert create.message == "An unexpected error occurred."
    assert names(dv) == []
    dv.bulk("UpsertMultiple", [at("k1") | {"nce_name": "first"}])
    assert dv.bulk("UpsertMultiple", trap).status == 204
    assert names(dv) == ["A"]


def test_upsert_multiple_also_goes_by_id(dv):
    by_id = {"@odata.id": f"nce_subscriptions({NOBODY})", "nce_name": "A"}
    assert dv.bulk("UpsertMultiple", [by_id]).status == 204
    assert (
        dv.bulk("UpsertMultiple", [{"nce_subscriptionid": NOBODY, "nce_name": "B"}]).status == 204
    )
    assert names(dv) == ["B"]


def test_the_same_row_twice_in_one_request_deadlocks(dv):
    answer = dv.bulk("UpsertMultiple", [at("k1") | {"nce_name": "A"}, at("K1") | {"nce_name": "B"}])
    assert (answer.status, answer.code) == (500, "0x80044150")
    assert names(dv) == []


def test_delete_multiple_is_not_there_and_bulk_delete_is_a_job(dv):
    ids = dv.bulk("CreateMultiple", [{"nce_name": n} for n in "ABC"]).json["Ids"]
    refused = dv.bulk("DeleteMultiple", [{"nce_subscriptionid": ids[0]}])
    assert refused.status == 501
    assert "DeleteMultiple has not yet been implemented" in refused.message
    values = [{"Value": i, "Type": "System.Guid"} for i in ids[:2]]
    condition = {"AttributeName": "nce_subscriptionid", "Operator": "In", "Values": values}
    query = {"EntityName": "nce_subscription", "Criteria": {"Conditions": [condition]}}
    job = dv.post("BulkDelete", {"QuerySet": [query], "JobName": "Tidy"})
    assert job.status == 200
    row = dv.get(f"asyncoperations({job.json['JobId']})", select="statecode,statuscode,name").json
    assert (row["statecode"], row["statuscode"], row["name"]) == (3, 30, "Tidy")
    assert names(dv) == ["C"]


def test_an_unknown_message_is_an_unknown_segment(dv):
    assert dv.post(f"nce_subscriptions/{CRM}Explode", {"Targets": []}).code == "0x8006088a"


def test_the_messages_of_a_table_are_listed(dv):
    found = dv.send(
        "GET",
        "sdkmessagefilters",
        query={
            "$select": "sdkmessagefilterid",
            "$filter": "sdkmessageid/name eq @m and primaryobjecttypecode eq @t",
            "@m": "'CreateMultiple'",
            "@t": "'nce_subscription'",
        },
    )
    assert len(found.json["value"]) == 1


# $batch


def part(method, url, body="", content_id="", **headers):
    lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    lines += [f"Content-ID: {content_id}"] if content_id else []
    lines += ["", f"{method} {url} HTTP/1.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += ["Content-Type: application/json; type=entry"] if body else []
    return "\r\n".join([*lines, "", body, ""])


def multipart(boundary, parts):
    body = "".join(f"--{boundary}\r\n{text}" for text in parts)
    return f"{body}--{boundary}--\r\n"


def change_set(*parts):
    return "Content-Type: multipart/mixed; boundary=changeset_1\r\n\r\n" + multipart(
        "changeset_1", parts
    )


def batch(dv, *parts, prefer=""):
    headers = {"Content-Type": 'multipart/mixed; boundary="batch_1"'}
    headers |= {"Prefer": prefer} if prefer else {}
    return dv.send("POST", "$batch", multipart("batch_1", parts).encode(), headers=headers)


def statuses(answer):
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3})", answer.raw)]


def make(name, **extra):
    body = '{"nce_name":"' + name + '"}'
    return part("POST", f"{ROOT}nce_subscriptions", body, **extra)


BAD = part("POST", "/api/data/v9.2/nce_subscriptions", '{"nce_name":5}')


def test_a_batch_answers_part_by_part(dv):
    answer = batch(
        dv, make("A"), part("GET", "/api/data/v9.2/nce_subscriptions?$select=nce_name"), make("B")
    )
    assert answer.status == 200
    boundary = re.fullmatch(
        r"multipart/mixed; boundary=(batchresponse_[0-9a-f-]{36})", answer.headers["content-type"]
    )
    assert boundary
    assert answer.raw.endswith(f"--{boundary[1]}--\r\n".encode())
    assert statuses(answer) == [204, 200, 204]
    assert answer.raw.count(b"OData-EntityId: " + ROOT.encode()) == 2
    assert answer.raw.count(b"Location: " + ROOT.encode()) == 2
    assert b'"nce_name":"A"' in answer.raw
    assert names(dv) == ["A", "B"]


def test_without_continue_on_error_the_first_failure_ends_the_batch(dv):
    answer = batch(dv, make("A"), BAD, make("C"))
    assert answer.status == 400
    assert statuses(answer) == [204, 400]
    assert b"REQ_ID: " in answer.raw
    assert answer.headers["content-type"].startswith("multipart/mixed")
    assert names(dv) == ["A"]


def test_with_continue_on_error_all_parts_run(dv):
    answer = batch(dv, make("A"), BAD, make("C"), prefer="odata.continue-on-error")
    assert answer.status == 200
    assert statuses(answer) == [204, 400, 204]
    assert names(dv) == ["A", "C"]


def test_a_change_set_commits_parent_and_child_together(dv):
    line = '{"nce_number":1,"nce_SubscriptionId@odata.bind":"$1"}'
    answer = batch(
        dv,
        change_set(
            make("A", content_id="1"),
            part("POST", "/api/data/v9.2/nce_lines", line, content_id="2"),
            part("PATCH", "$1", '{"nce_quantity":7}', content_id="3"),
            part("PUT", "$1/nce_externalkey", '{"value":"k"}', content_id="4"),
        ),
    )
    assert answer.status == 200, answer.raw
    assert b"boundary=changesetresponse_" in answer.raw
    assert re.findall(rb"Content-ID: (\d)", answer.raw) == [b"1", b"2", b"3", b"4"]
    row = dv.values("nce_subscriptions")[0]
    assert (row["nce_quantity"], row["nce_externalkey"]) == (7, "k")
    assert dv.values("nce_lines")[0]["_nce_subscriptionid_value"] == row["nce_subscriptionid"]


@pytest.mark.parametrize("prefer", ["", "odata.continue-on-error"])
def test_a_failing_change_set_leaves_nothing_and_is_one_part(dv, prefer):
    answer = batch(
        dv,
        change_set(make("A", content_id="1"), BAD, make("C", content_id="3")),
        make("D"),
        prefer=prefer,
    )
    assert statuses(answer) == ([400, 204] if prefer else [400])
    assert answer.status == (200 if prefer else 400)
    assert names(dv) == (["D"] if prefer else [])


def test_references_reach_back_inside_their_change_set_only(dv):
    line = '{"nce_SubscriptionId@odata.bind":"$2"}'
    answer = batch(
        dv,
        change_set(
            part("POST", "/api/data/v9.2/nce_lines", line, content_id="1"),
            make("B", content_id="2"),
        ),
    )
    assert answer.status == 400
    assert b"Content-ID Reference: '$2' does not exist in the batch context." in answer.raw
    outside = batch(
        dv, change_set(make("A", content_id="1")), part("PATCH", "$1", '{"nce_name":"B"}')
    )
    assert statuses(outside) == [204, 400]
    assert names(dv) == ["A"]


def test_change_sets_hold_no_reads_and_batches_no_batches(dv):
    read = part("GET", "/api/data/v9.2/nce_subscriptions", content_id="1")
    assert statuses(batch(dv, change_set(read))) == [400]
    assert statuses(batch(dv, part("POST", "/api/data/v9.2/$batch", "x"))) == [400]


def test_an_address_inside_a_batch_may_hold_blanks(dv):
    dv.post("nce_subscriptions", {"nce_name": "A b"})
    answer = batch(dv, part("GET", f"{ROOT}nce_subscriptions?$filter=nce_name eq 'a B'&$top=1"))
    assert statuses(answer) == [200]
    assert b'"nce_name":"A b"' in answer.raw


def test_an_address_inside_a_batch_may_be_long_but_not_endless(dv):
    for length, status in ((60_000, 200), (66_000, 414)):
        filler = " or ".join(["nce_name eq 'x'"] * 50)
        url = f"{ROOT}nce_subscriptions?$filter={filler}".ljust(length)
        assert statuses(batch(dv, part("GET", url + "&$top=1"))) == [status]


def test_a_content_id_names_one_part_of_the_whole_batch(dv):
    twice = [change_set(make("A", content_id="1")), change_set(make("B", content_id="1"))]
    for parts in (twice, [change_set(make("A", content_id="1"), make("B", content_id="1"))]):
        answer = batch(dv, *parts)
        assert (answer.status, answer.code) == (400, "0x80060888")
    assert names(dv) == []


def test_a_malformed_batch_is_answered_with_plain_json(dv):
    headers = {"Content-Type": 'multipart/mixed; boundary="batch_1"'}
    for body in (b"", b"--batch_1\r\nno end", b"nothing"):
        answer = dv.send("POST", "$batch", body, headers=headers)
        assert (answer.status, answer.code) == (400, "0x80060888")
    assert dv.post("$batch", {"a": 1}).code == "0x80060888"
    many = batch(dv, *[make("A")] * 1001)
    assert many.status == 400
    assert names(dv) == []
    assert statuses(batch(dv, *[make("A")] * 1000)) == [204] * 1000


def test_conditions_and_preferences_inside_parts(dv):
    dv.post("nce_subscriptions", {"nce_subscriptionid": NOBODY, "nce_name": "A"})
    url = f"/api/data/v9.2/nce_subscriptions({NOBODY})"
    answer = batch(
        dv,
        part("PATCH", url, '{"nce_name":"B"}', If_Match='W/"1"'),
        part(
            "PATCH", url + "?$select=nce_name", '{"nce_name":"C"}', Prefer="return=representation"
        ),
        part("DELETE", url),
        prefer="odata.continue-on-error",
    )
    assert statuses(answer) == [412, 200, 204]
    assert b"Preference-Applied: return=representation" in answer.raw
    assert b'"nce_name":"C"' in answer.raw


def test_the_published_batch_runs(dv):
    """Microsoft's sample: two tasks about one account, then the account's tasks."""
    text = (SAMPLES / "batch-request-mixed.txt").read_bytes()
    head, body = text.split(b"\r\n\r\n", 1)
    # The name of this property was lost when e-mail addresses were scrubbed from the sample.
    body = re.sub(rb'"user-\w+@example\.com"', b'"regardingobjectid_account_task@odata.bind"', body)
    content_type = re.search(rb"Content-Type: (.+)", head)
    assert content_type
    account = "00000000-0000-0000-0000-000000000001"
    dv.post("accounts", {"accountid": account, "name": "Sample"})
    answer = dv.send(
        "POST", "$batch", body, headers={"Content-Type": content_type[1].decode().strip()}
    )
    assert answer.status == 200
    assert statuses(answer) == [204, 204, 200]
    assert answer.raw.count(b"tasks(") >= 4
    assert b'"subject":"Task 1 in batch"' in answer.raw
    assert b'"subject":"Task 2 in batch"' in answer.raw
    published = (SAMPLES / "batch-response-mixed.txt").read_text()
    for line in (
        "Content-Transfer-Encoding: binary",
        "HTTP/1.1 204 No Content",
        "OData-Version: 4.0",
    ):
        assert line in published
        assert line in answer.raw.decode()


def test_the_published_change_set_answer_has_our_shape(dv):
    published = (SAMPLES / "batch-response-associate.txt").read_text()
    contact = part("POST", "/api/data/v9.2/contacts", '{"lastname":"B"}', content_id="2")
    link = part("PUT", "$1/primarycontactid/$ref", '{"@odata.id":"$2"}', content_id="3")
    account = part("POST", "/api/data/v9.2/accounts", '{"name":"A"}', content_id="1")
    answer = batch(dv, change_set(account, contact, link))
    outer, *inner = [int(c) for c in re.findall(r"HTTP/1\.1 (\d+)", published)]
    assert (answer.status, statuses(answer)) == (outer, inner) == (200, [204, 204, 204])
    assert re.findall(r"Content-ID: (\d)", published) == re.findall(
        r"Content-ID: (\d)", answer.raw.decode()
    )
    found = dv.values("accounts", expand="primarycontactid($select=lastname)")
    assert found[0]["primarycontactid"]["lastname"] == "B"
