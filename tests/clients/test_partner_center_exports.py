"""Billing exports: every place where the manifest may stand, and every way in which they fail."""

import gzip
import json
from contextlib import closing
from datetime import UTC, datetime

import pytest
from werkzeug.wrappers import Request, Response

from domain.problems import InputError, NotAuthorised, ServiceError, Unavailable
from emulator import Emulator
from partner_center.files import LINE_LIMIT, json_lines
from partner_center.graph import BillingExports, GraphDirectory
from tests.clients.embedded import partner_of
from transport.mounts import mount_wsgi, new_session
from transport.session import Http, Patience

INVOICE = "G000912345"
GRAPH = "https://graph.microsoft.com"
STORE = "https://store.example"


@pytest.fixture(scope="module")
def emulator():
    with closing(Emulator()) as one:
        yield one


@pytest.fixture
def partner(emulator, tmp_path):
    emulator.control.reset()
    return partner_of(emulator, tmp_path)


def lines_of(paths):
    return sorted(
        line for path in paths for line in gzip.decompress(path.read_bytes()).splitlines()
    )


@pytest.mark.parametrize("shape", ["link", "inline", "url"])
def test_the_manifest_is_found_in_every_shape(emulator, partner, tmp_path, shape):
    emulator.control.change(manifest_shape=shape, export_lines_per_blob=500)
    paths = partner.exports().billed("usage", INVOICE, tmp_path / "usage")

    wanted = sum(1 for _ in emulator.world.usage_lines(INVOICE))
    assert len(lines_of(paths)) == wanted
    assert len(paths) > 4
    assert sorted((tmp_path / "usage").iterdir()) == list(paths)


def test_polling_waits_as_long_as_it_is_told(emulator, partner, tmp_path):
    emulator.control.change(export_polls=3, export_retry_after=7)
    assert partner.exports().billed("reconciliation", INVOICE, tmp_path)
    assert partner.waits == [7.0] * 4


def test_an_export_that_is_never_ready_ends_with_the_deadline(emulator, partner, tmp_path):
    emulator.control.change(export_polls=100, export_retry_after=10)
    with pytest.raises(Unavailable, match="not ready after 60 seconds"):
        partner.exports(deadline_seconds=60).billed("usage", INVOICE, tmp_path)
    assert sum(partner.waits) == 60.0


def test_no_data_is_no_files_and_no_old_ones_either(partner, tmp_path):
    (tmp_path / "part-old.json.gz").write_bytes(b"")
    assert partner.exports().unbilled("usage", "JPY", "current", tmp_path) == ()
    assert list(tmp_path.glob("*.gz")) == []


def test_unbilled_lines_are_exported_too(partner, tmp_path):
    paths = partner.exports().unbilled("reconciliation", "USD", "current", tmp_path)
    assert {json.loads(line)["InvoiceNumber"] for line in lines_of(paths)} == {""}


def test_an_expired_signature_starts_the_export_anew_once(emulator, partner, tmp_path):
    refusal = "<Error><Code>AuthenticationFailed</Code><Message>expired</Message></Error>"
    emulator.control.fail_next("blob", status=403, body=refusal)
    paths = partner.exports().billed("usage", INVOICE, tmp_path / "u")

    assert len(lines_of(paths)) == sum(1 for _ in emulator.world.usage_lines(INVOICE))
    assert list((tmp_path / "u").glob("*.gz")) != []
    starts = [r for r in emulator.control.requests() if r["path"].endswith("/export")]
    assert len(starts) == 2

    emulator.control.fail_next("blob", status=403, body=refusal, count=100)
    with pytest.raises(NotAuthorised):
        partner.exports().billed("usage", INVOICE, tmp_path / "v")


def test_downloads_carry_no_token(emulator, partner, tmp_path):
    partner.exports().billed("usage", INVOICE, tmp_path)
    blobs = [r for r in emulator.control.requests() if r["system"] == "blob"]
    assert blobs
    assert all("Authorization" not in r["headers"] for r in blobs)


class Scripted:
    """Graph and a blob store with one made-up export."""

    def __init__(self, **changes):
        self.started = 0
        self.operation = {"status": "succeeded", "resourceLocation": self.manifest()} | changes

    @staticmethod
    def manifest(**changes):
        return {
            "rootDirectory": f"{STORE}/root",
            "sasToken": "?sv=1&sig=x%3D",
            "blobCount": 1,
            "blobs": [{"name": "part-0.json.gz"}],
        } | changes

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.method == "POST":
            self.started += 1
            place = f"{GRAPH}/v1.0/reports/partners/billing/operations/1"
            answer = Response("", 202, headers={"Location": place})
        elif request.path.startswith("/root"):
            assert request.query_string == b"sv=1&sig=x%3D"
            answer = Response(gzip.compress(b'{"a": 1}\n'))
        else:
            answer = Response(json.dumps(self.operation), content_type="application/json")
        return answer(environ, start_response)


def fetch(script, folder):
    session = new_session()
    mount_wsgi(session, {GRAPH: script, STORE: script})
    options = {
        "session": session,
        "sleep": lambda _: None,
        "patience": Patience(tries=1),
        "now": lambda: datetime(2026, 4, 1, tzinfo=UTC),
    }
    graph = Http(GRAPH, service="graph", **options)
    exports = BillingExports(graph, Http(STORE, service="blob", **options))
    return exports.billed("usage", "G1", folder)


def test_a_made_up_export_arrives(tmp_path):
    paths = fetch(Scripted(), tmp_path)
    assert [path.name for path in paths] == ["part-0.json.gz"]
    assert lines_of(paths) == [b'{"a": 1}']


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ({"blobCount": 2}, "1 parts named, 2 announced"),
        ({"blobs": [{"name": "../../x.gz"}]}, "no plain file names"),
        ({"blobs": [{"name": "a/b.gz"}]}, "no plain file names"),
        ({"blobCount": 2, "blobs": [{"name": "a.gz"}, {"name": "a.gz"}]}, "no plain file names"),
        ({"rootDirectory": None}, "without a readable manifest"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(tmp_path, manifest, sentence):
    script = Scripted(resourceLocation=Scripted.manifest(**manifest))
    with pytest.raises(ServiceError, match=sentence):
        fetch(script, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_failure_than_no_data_is_told(tmp_path):
    failure = {"status": "failed", "error": {"code": "5001", "message": "Internal error"}}
    with pytest.raises(ServiceError, match="Internal error") as caught:
        fetch(Scripted(**failure), tmp_path)
    assert caught.value.code == "5001"


def test_a_manifest_elsewhere_is_not_followed_with_our_token(tmp_path):
    script = Scripted(resourceLocation="https://evil.example/manifest")
    with pytest.raises(ServiceError, match=r"link to evil\.example"):
        fetch(script, tmp_path)


def test_blobs_over_plain_http_are_not_fetched(tmp_path):
    script = Scripted(resourceLocation=Scripted.manifest(rootDirectory="http://store.example/root"))
    with pytest.raises(ServiceError, match="not https"):
        fetch(script, tmp_path)


def test_lines_are_read_one_by_one_with_exact_numbers(tmp_path):
    path = tmp_path / "part.json.gz"
    path.write_bytes(gzip.compress(b'{"n": 0.10}\n\n[1]\nnot json\n{"n": 2}'))
    first, array, text, last = json_lines(path)

    assert (str(first["n"]), last) == ("0.10", {"n": 2})
    assert array.record == "line 3 of part.json.gz"
    assert "not one JSON object" in text.sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzip.compress(b'{"a": 1}\n')[:-6], "damaged or incomplete"),
        (b"\x1f\x8bnonsense", "damaged or incomplete"),
        (gzip.compress(b'{"a": "' + b"x" * LINE_LIMIT), "a line of more than"),
    ],
    # Named: gzip writes the time into its bytes, and test processes must agree on the names.
    ids=["cut off", "not gzip", "one endless line"],
)
def test_a_broken_part_is_an_input_error(tmp_path, content, sentence):
    path = tmp_path / "part.json.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        list(json_lines(path))


def test_next_links_that_lead_back_are_noticed():
    def circle(environ, start_response):
        body = {"value": [], "@odata.nextLink": f"{GRAPH}/v1.0/again"}
        return Response(json.dumps(body))(environ, start_response)

    session = new_session()
    mount_wsgi(session, {GRAPH: circle})
    with pytest.raises(ServiceError, match="leads back"):
        list(GraphDirectory(Http(GRAPH, service="graph", session=session)).relationships())
