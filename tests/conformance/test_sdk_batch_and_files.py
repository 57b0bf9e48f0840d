"""Microsoft's SDK for Python sends batches with change sets, and files whole and in blocks."""

from __future__ import annotations

import pytest
from PowerPlatform.Dataverse.core.errors import HttpError, ValidationError

TABLE = "nce_demo"


def test_a_change_set_makes_a_parent_and_its_child(demo):
    batch = demo.batch.new()
    with batch.changeset() as changes:
        account = changes.records.create("account", {"name": "Contoso"})
        changes.records.create(TABLE, {"nce_sub": "S1", "nce_AccountId@odata.bind": account})
        changes.records.update("account", account, {"telephone1": "1"})
    result = batch.execute()
    assert not result.has_errors
    [child] = demo.records.list(TABLE, expand=["nce_AccountId"])
    assert child["nce_AccountId"]["name"] == "Contoso"
    assert child["nce_AccountId"]["telephone1"] == "1"
    assert result.entity_ids[:2] == [child["_nce_accountid_value"], child["nce_demoid"]]


def test_a_change_set_with_one_bad_operation_leaves_nothing(demo):
    batch = demo.batch.new()
    with batch.changeset() as changes:
        account = changes.records.create("account", {"name": "Contoso"})
        bad = {"nce_sub": "x" * 101, "nce_AccountId@odata.bind": account}
        changes.records.create(TABLE, bad)
    result = batch.execute()
    assert [(r.status_code, r.error_code) for r in result.responses] == [(400, "0x80044331")]
    assert demo.records.list("account").records == demo.records.list(TABLE).records == []


@pytest.mark.parametrize(
    ("continue_on_error", "answered", "stored"), [(False, 3, 2), (True, 10, 9)]
)
def test_a_batch_stops_at_its_first_error_unless_told_to_go_on(
    environment, demo, continue_on_error, answered, stored
):
    batch = demo.batch.new()
    for n in range(1, 11):
        batch.records.create(TABLE, {"nce_sub": "x" * 101 if n == 3 else f"S{n}"})
    result = batch.execute(continue_on_error=continue_on_error)
    assert len(result.responses) == answered
    assert [r.status_code for r in result.failed] == [400]
    assert len(demo.records.list(TABLE)) == stored
    [outer] = [e["status"] for e in environment.control.requests() if e["path"].endswith("$batch")]
    assert outer == (200 if continue_on_error else 400)


def test_reads_and_bulk_writes_travel_in_one_batch(demo):
    row = demo.records.create(TABLE, {"nce_sub": "S0"})
    batch = demo.batch.new()
    batch.records.create(TABLE, [{"nce_sub": "S1"}, {"nce_sub": "S2"}])
    batch.records.retrieve(TABLE, row, select=["nce_sub"])
    batch.records.list(TABLE, filter="nce_sub ne 'S0'", orderby=["nce_sub"])
    batch.records.upsert(
        TABLE, [{"alternate_key": {"nce_sub": "S0"}, "record": {"nce_quantity": 5}}]
    )
    batch.records.delete(TABLE, row)
    batch.query.sql("SELECT nce_sub FROM nce_demo ORDER BY nce_sub")
    answered = batch.execute()
    assert answered.failed == []
    created, one, several, upserted, deleted, asked = answered.responses
    assert len(created.data["Ids"]) == 2
    assert one.data["nce_sub"] == "S0"
    assert [r["nce_sub"] for r in several.data["value"]] == ["S1", "S2"]
    assert (upserted.status_code, deleted.status_code) == (204, 204)
    assert [r["nce_sub"] for r in asked.data["value"]] == ["S1", "S2"]


def test_more_than_a_thousand_operations_are_refused_on_both_sides(demo):
    batch = demo.batch.new()
    for _ in range(1001):
        batch.records.create(TABLE, {"nce_quantity": 1})
    with pytest.raises(ValidationError, match="1000"):
        batch.execute()
    part = "--b\r\nContent-Type: application/http\r\n\r\nGET {}/accounts HTTP/1.1\r\n\r\n\r\n"
    with demo._scoped_odata() as raw, pytest.raises(HttpError) as refused:
        raw._request(
            "post",
            f"{raw.api}/$batch",
            data=part.format(raw.api) * 1001 + "--b--",
            headers={"Content-Type": "multipart/mixed; boundary=b"},
        )
    assert refused.value.status_code == 400


# Files


def content_of(client, row, column):
    """The SDK has no download, so its own request method fetches the bytes."""
    with client._scoped_odata() as raw:
        return raw._request("get", f"{raw.api}/nce_demos({row})/{column}/$value").content


def test_a_file_goes_up_whole_and_is_replaced(tmp_path, demo):
    row = demo.records.create(TABLE, {"nce_sub": "S1"})
    invoice = tmp_path / "INV-1.pdf"
    for content in (b"%PDF-1.7 first \x00\xff", b"%PDF-1.7 second"):
        invoice.write_bytes(content)
        demo.files.upload(TABLE, row, "nce_Pdf", str(invoice), if_none_match=False)
        assert content_of(demo, row, "nce_pdf") == content
    assert demo.records.retrieve(TABLE, row)["nce_pdf_name"] == "INV-1.pdf"


def test_if_none_match_null_is_no_condition(tmp_path, demo):
    """The SDK means `only if empty`; to the service the text `null` says nothing."""
    row = demo.records.create(TABLE, {"nce_sub": "S1"})
    invoice = tmp_path / "INV-1.pdf"
    for content in (b"first", b"second"):
        invoice.write_bytes(content)
        demo.files.upload(TABLE, row, "nce_Pdf", str(invoice))
    assert content_of(demo, row, "nce_pdf") == b"second"


def test_a_file_goes_up_in_blocks_of_four_megabytes(tmp_path, environment, demo):
    row = demo.records.create(TABLE, {"nce_sub": "S1"})
    scan = tmp_path / "scan.bin"
    scan.write_bytes(bytes(range(256)) * (9 * 4096))
    environment.control.clear_log()
    demo.files.upload(TABLE, row, "nce_Pdf", str(scan), mode="chunk")
    blocks = [e["status"] for e in environment.control.requests() if e["method"] == "PATCH"]
    assert blocks == [200, 206, 206, 204]
    assert content_of(demo, row, "nce_pdf") == scan.read_bytes()


def test_a_missing_file_column_is_made_by_the_upload(tmp_path, demo):
    row = demo.records.create(TABLE, {"nce_sub": "S1"})
    paper = tmp_path / "terms.txt"
    paper.write_text("terms")
    demo.files.upload(TABLE, row, "nce_Terms", str(paper))
    assert content_of(demo, row, "nce_terms") == b"terms"
