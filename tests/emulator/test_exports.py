"""Billing exports from the first POST to the last line, and the blob host's signatures."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from emulator import wire
from emulator.exports import KINDS, NOT_IN_BASIC
from tests.emulator.hand_world import INVOICE, INVOICE_EUR
from tests.emulator.test_graph import check

SAMPLES = Path(__file__).resolve().parents[1] / "published/samples/graph-billing"
BASE = "/v1.0/reports/partners/billing"
BODIES = {
    "usage/billed": {"invoiceId": INVOICE},
    "reconciliation/billed": {"invoiceId": INVOICE},
    "usage/unbilled": {"currencyCode": "USD", "billingPeriod": "current"},
    "reconciliation/unbilled": {"currencyCode": "USD", "billingPeriod": "current"},
}


def sample(name):
    return json.loads((SAMPLES / name).read_text(encoding="utf-8"))


def start(desk, kind, **changes):
    return desk.graph(f"{BASE}/{kind}/export", "POST", json=BODIES[kind] | changes)


def finish(desk, started):
    """Poll until the operation is no longer running."""
    while True:
        answer = desk.graph(started.headers["Location"])
        if answer.json()["status"] not in ("running", "notStarted"):
            return answer.json()
        assert int(answer.headers["Retry-After"]) > 0


def manifest_of(desk, operation):
    """The manifest by whichever of the three shapes the operation shows."""
    link = operation.get("resourceLocation@odata.navigationLink")
    where = operation.get("resourceLocation", link)
    return desk.graph(where).json() if isinstance(where, str) else where


def blobs(desk, manifest):
    return {
        blob["name"]: desk.session.get(
            f"{manifest['rootDirectory']}/{blob['name']}?{manifest['sasToken']}"
        )
        for blob in manifest["blobs"]
    }


def lines(desk, kind, **changes):
    manifest = manifest_of(desk, finish(desk, start(desk, kind, **changes)))
    parts = {
        name: gzip.decompress(answer.content) for name, answer in blobs(desk, manifest).items()
    }
    return [wire.decode(row) for name in sorted(parts) for row in parts[name].splitlines()]


@pytest.mark.parametrize("shape", ["link", "inline", "url", "rotate"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_arrives_whole_in_every_shape(desk, kind, shape):
    desk.control.change(manifest_shape=shape)
    world = desk.emulator.world
    expected = {
        "usage/billed": world.usage_lines(INVOICE),
        "reconciliation/billed": world.reconciliation_lines(INVOICE),
        "usage/unbilled": world.unbilled_usage_lines("USD", "current"),
        "reconciliation/unbilled": world.unbilled_reconciliation_lines("USD", "current"),
    }
    assert lines(desk, kind) == expected[kind]


def test_all_three_shapes_appear_by_themselves(desk):
    seen = set()
    for kind in KINDS:
        operation = finish(desk, start(desk, kind))
        where = operation.get("resourceLocation")
        seen.add("link" if where is None else type(where).__name__)
    assert seen == {"link", "dict", "str"}


def test_the_start_is_accepted_and_says_where_to_ask(desk):
    accepted = start(desk, "usage/billed", attributeSet="full")
    assert (accepted.status_code, accepted.content) == (202, b"")
    assert accepted.headers["Location"].startswith(f"https://graph.microsoft.com{BASE}/operations/")
    assert "Retry-After" in accepted.headers


@pytest.mark.parametrize(
    ("polls", "states"),
    [
        (0, ["succeeded"]),
        (1, ["running", "succeeded"]),
        (3, ["notStarted", "running", "running", "succeeded"]),
    ],
)
def test_an_operation_runs_for_some_polls(desk, polls, states):
    desk.control.change(export_polls=polls, export_retry_after=7)
    location = start(desk, "usage/billed").headers["Location"]
    answers = [desk.graph(location) for _ in states]
    assert [answer.json()["status"] for answer in answers] == states
    assert all(answer.status_code == 200 for answer in answers)
    assert [answer.headers.get("Retry-After") for answer in answers[:-1]] == ["7"] * polls


def test_operations_and_manifests_meet_the_schema_and_the_samples(desk):
    desk.control.change(manifest_shape="link")
    location = start(desk, "usage/billed").headers["Location"]
    running, done = desk.graph(location).json(), desk.graph(location).json()
    check(running, "partners.billing.runningOperation")
    check(done, "partners.billing.exportSuccessOperation")
    for answer, number in ((done, 1), (running, 3)):
        published = sample(f"partners-billing-operation-get.response-200.{number}.json")
        assert answer.keys() - {"@odata.context"} == published.keys()
        assert answer["@odata.type"] == published["@odata.type"]
    manifest = manifest_of(desk, done)
    check(manifest, "partners.billing.manifest")
    published = sample("partners-billing-manifest-get.response-200.1.json")
    assert manifest.keys() - {"@odata.context"} == published.keys()
    assert manifest["blobCount"] == len(manifest["blobs"])
    assert f"/InvoiceId={INVOICE}/InvoiceVersion=1/Fragment=full/" in manifest["rootDirectory"]
    assert "/BillingMonth=202610/" in manifest["rootDirectory"]
    assert not manifest["sasToken"].startswith("?")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("usage/billed", {"invoiceId": INVOICE_EUR}),
        ("usage/billed", {"invoiceId": "G999999999"}),
        ("reconciliation/billed", {"invoiceId": INVOICE_EUR}),
        ("usage/unbilled", {"currencyCode": "JPY"}),
        ("reconciliation/unbilled", {"currencyCode": "EUR", "billingPeriod": "last"}),
    ],
)
def test_an_empty_period_fails_with_5000(desk, kind, changes):
    operation = finish(desk, start(desk, kind, **changes))
    check(operation, "partners.billing.failedOperation")
    assert operation["@odata.type"] == "#microsoft.graph.partners.billing.failedOperation"
    assert operation["status"] == "failed"
    assert operation["error"] == {"code": "5000", "message": "No data available"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("usage/billed", {}),
        ("usage/billed", {"invoiceId": INVOICE, "attributeSet": "some"}),
        ("usage/billed", {"invoiceId": INVOICE, "currencyCode": "USD"}),
        ("usage/unbilled", {"currencyCode": "USD"}),
        ("usage/unbilled", {"currencyCode": "USD", "billingPeriod": "2026-10"}),
        ("usage/unbilled", {"billingPeriod": "last"}),
    ],
)
def test_bad_bodies(desk, kind, body):
    refused = desk.graph(f"{BASE}/{kind}/export", "POST", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "BadRequest")


def test_the_long_action_name_and_beta_work_too(desk):
    for path in (
        f"{BASE}/usage/billed/microsoft.graph.partners.billing.export",
        "/beta/reports/partners/billing/usage/billed/export",
    ):
        assert desk.graph(path, "POST", json=BODIES["usage/billed"]).status_code == 202
    assert desk.graph(f"{BASE}/usage/sold/export", "POST", json={}).status_code == 404
    assert desk.graph(f"{BASE}/operations/none").status_code == 404
    assert desk.graph(f"{BASE}/manifests/none").status_code == 404


def test_exports_need_their_permission(desk):
    desk.control.change(withheld_permissions=["PartnerBilling.Read.All"])
    assert start(desk, "usage/billed").status_code == 403


def test_basic_drops_the_published_columns_of_usage_only(desk):
    full = lines(desk, "usage/billed")[0]
    basic = lines(desk, "usage/billed", attributeSet="basic")[0]
    assert (
        full.keys() - basic.keys()
        == full.keys() & NOT_IN_BASIC
        == {
            "CustomerName",
            "MeterCategory",
            "Tags",
        }
    )
    assert lines(desk, "reconciliation/billed", attributeSet="basic") == lines(
        desk, "reconciliation/billed"
    )


def test_parts_have_a_size_and_there_is_never_just_one(desk):
    desk.control.change(export_lines_per_blob=4)
    usage = manifest_of(desk, finish(desk, start(desk, "usage/billed")))
    assert usage["blobCount"] == 6
    assert lines(desk, "usage/billed") == desk.emulator.world.usage_lines(INVOICE)
    desk.control.change(export_lines_per_blob=5000)
    few = manifest_of(desk, finish(desk, start(desk, "reconciliation/unbilled")))
    assert few["blobCount"] == 2


def test_digits_survive(desk):
    first = lines(desk, "usage/billed")[0]
    assert first["Quantity"] == Decimal("24.000000000000001")
    assert "Žižkov" in first["CustomerName"]


def test_a_closed_invoice_is_the_same_bytes_every_time(desk):
    def digest():
        manifest = manifest_of(desk, finish(desk, start(desk, "usage/billed")))
        parts = blobs(desk, manifest)
        content = b"".join(parts[name].content for name in sorted(parts))
        return manifest["eTag"], sorted(parts), hashlib.sha256(content).hexdigest()

    first = digest()
    desk.clock.advance(timedelta(days=1))
    assert digest() == first
    desk.control.reset()
    assert digest() == first


def test_unbilled_data_move_with_the_clock(desk):
    before = lines(desk, "usage/unbilled")
    desk.clock.advance(timedelta(days=1))
    assert len(lines(desk, "usage/unbilled")) == len(before) + 1


def test_a_reissued_invoice_is_another_version(desk):
    first = manifest_of(desk, finish(desk, start(desk, "usage/billed")))
    assert desk.control.requests()
    assert desk.emulator.reissue(INVOICE) == 2
    second = manifest_of(desk, finish(desk, start(desk, "usage/billed")))
    assert "/InvoiceVersion=2/" in second["rootDirectory"]
    assert first["eTag"] != second["eTag"]
    assert blobs(desk, first)
    with pytest.raises(ValueError, match="no invoice"):
        desk.emulator.reissue("G1")


def test_a_manifest_may_count_its_parts(desk):
    plain = manifest_of(desk, finish(desk, start(desk, "usage/billed")))
    assert all("itemCount" not in blob for blob in plain["blobs"])
    desk.control.change(manifest_counts=True)
    manifest = manifest_of(desk, finish(desk, start(desk, "usage/billed")))
    for blob, answer in zip(manifest["blobs"], blobs(desk, manifest).values(), strict=True):
        assert blob["sizeInBytes"] == len(answer.content)
        assert blob["itemCount"] == len(gzip.decompress(answer.content).splitlines())


def test_a_signature_ends_and_a_new_manifest_has_a_new_one(desk):
    desk.control.change(manifest_shape="link", sas_seconds=600)
    operation = finish(desk, start(desk, "usage/billed"))
    manifest = manifest_of(desk, operation)
    desk.clock.advance(timedelta(seconds=599))
    assert all(answer.status_code == 200 for answer in blobs(desk, manifest).values())
    desk.clock.advance(timedelta(seconds=1))
    for answer in blobs(desk, manifest).values():
        assert answer.status_code == 403
        assert answer.headers["x-ms-error-code"] == "AuthenticationFailed"
        assert answer.headers["Content-Type"].startswith("application/xml")
        assert "<Code>AuthenticationFailed</Code>" in answer.text
    again = manifest_of(desk, operation)
    assert all(answer.status_code == 200 for answer in blobs(desk, again).values())


def test_the_blob_host_takes_signatures_only(desk):
    manifest = manifest_of(desk, finish(desk, start(desk, "usage/billed")))
    name = manifest["blobs"][0]["name"]
    url, sas = f"{manifest['rootDirectory']}/{name}", manifest["sasToken"]
    assert desk.session.get(url).status_code == 403
    assert desk.session.get(f"{url}?{sas.replace('sig=', 'sig=x')}").status_code == 403
    later = sas.replace("se=2026", "se=2027")
    assert desk.session.get(f"{url}?{later}").status_code == 403
    with_token = desk.call("blob", "GET", f"{url}?{sas}", token=desk.token("graph"))
    assert with_token.headers["x-ms-error-code"] == "InvalidAuthenticationInfo"
    missing = desk.session.get(f"{manifest['rootDirectory']}/part-none.json.gz?{sas}")
    assert missing.headers["x-ms-error-code"] == "BlobNotFound"
    assert desk.session.put(f"{url}?{sas}", data=b"x").status_code == 405


def test_blobs_are_plain_bytes_with_length_range_and_etag(desk):
    manifest = manifest_of(desk, finish(desk, start(desk, "usage/billed")))
    url = f"{manifest['rootDirectory']}/{manifest['blobs'][0]['name']}?{manifest['sasToken']}"
    whole = desk.session.get(url)
    assert whole.headers["Content-Type"] == "application/octet-stream"
    assert "Content-Encoding" not in whole.headers
    assert int(whole.headers["Content-Length"]) == len(whole.content)
    tail = desk.session.get(url, headers={"Range": "bytes=10-"})
    assert (tail.status_code, tail.content) == (206, whole.content[10:])
    same = desk.session.get(url, headers={"If-None-Match": whole.headers["ETag"]})
    assert same.status_code == 304
    head = desk.session.head(url)
    assert (head.status_code, head.content) == (200, b"")
