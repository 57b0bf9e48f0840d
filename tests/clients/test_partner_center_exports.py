"""Billing exports: every place where the manifest may stand, and every way in which they fail."""

import gzip
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from werkzeug.wrappers import Request, Response

from domain.delivery import JOURNAL, delivery_of
from domain.problems import Incomplete, InputError, NotAuthorised, ServiceError, Unavailable
from emulator import Emulator
from partner_center.exports import AZURE_STORES, BillingExports, _stands_in
from partner_center.files import LINE_LIMIT, cost_lines_in, json_lines
from partner_center.graph import GraphDirectory
from tests.clients.embedded import partner_of
from transport.blobs import FolderArchive
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


def lines_of(partner, delivery):
    """The lines of a delivery as they lie in the archive."""
    return sorted(
        line
        for path in partner.exports().parts(delivery)
        for line in gzip.decompress(path.read_bytes()).splitlines()
    )


def fetched(emulator):
    """The paths of the parts that were asked for so far, one for each request."""
    return [one["path"] for one in emulator.control.requests() if one["system"] == "blob"]


@pytest.mark.parametrize("shape", ["link", "inline", "url"])
def test_the_manifest_is_found_in_every_shape(emulator, partner, shape):
    emulator.control.change(manifest_shape=shape, export_lines_per_blob=500)
    delivery = partner.exports().billed("usage", INVOICE)

    wanted = sum(1 for _ in emulator.world.usage_lines(INVOICE))
    assert len(lines_of(partner, delivery)) == wanted
    assert len(delivery.parts) == delivery.announced > 4
    assert partner.archive.names(f"invoices/{INVOICE}/usage") == sorted(
        [*delivery.files, f"{delivery.folder}/{JOURNAL}"]
    )


def test_the_journal_says_what_came_and_what_it_sums_to(emulator, partner):
    delivery = partner.exports().billed("usage", INVOICE)
    lines = list(emulator.world.usage_lines(INVOICE))

    told = delivery_of(partner.archive.read(f"{delivery.folder}/{JOURNAL}"))
    assert told == delivery
    assert told.asked == {"invoiceId": INVOICE, "attributeSet": "full"}
    assert (told.report, told.version) == ("usage/billed", "1")
    assert told.begun == told.finished == emulator.clock.now()
    assert told.manifest["partitionType"] == "default"
    assert "sig=" not in json.dumps(told.manifest)
    assert sum(part.lines for part in told.parts) == len(lines)
    assert sum(part.unread for part in told.parts) == 0
    usd = [part.sums["USD"] for part in told.parts]
    assert sum(one.amount for one in usd) == sum(line["BillingPreTaxTotal"] for line in lines)
    assert sum(one.quantity for one in usd) == sum(Decimal(line["Quantity"]) for line in lines)
    for part, name in zip(told.parts, told.files, strict=True):
        assert partner.archive.stored(name) == (part.size, part.sha256)


def test_the_lines_of_an_invoice_are_summed_too(emulator, partner):
    delivery = partner.exports().billed("reconciliation", INVOICE)
    (head,) = [one for one in emulator.world.invoices() if one["id"] == INVOICE]
    total = sum((part.sums["USD"].amount for part in delivery.parts), Decimal(0))
    assert total == head["totalCharges"]


def test_polling_waits_as_long_as_it_is_told(emulator, partner):
    emulator.control.change(export_polls=3, export_retry_after=7)
    assert partner.exports().billed("reconciliation", INVOICE).parts
    assert partner.waits == [7.0] * 4


def test_waiting_for_no_time_is_counted_too(emulator, partner):
    emulator.control.change(export_polls=100, export_retry_after=0)
    with pytest.raises(Unavailable, match="not ready after 60 seconds"):
        partner.exports(deadline_seconds=60).billed("usage", INVOICE)
    assert partner.waits == [1.0] * 60


def test_an_export_that_is_never_ready_ends_with_the_deadline(emulator, partner):
    emulator.control.change(export_polls=100, export_retry_after=10)
    with pytest.raises(Unavailable, match="not ready after 60 seconds"):
        partner.exports(deadline_seconds=60).billed("usage", INVOICE)
    assert sum(partner.waits) == 60.0


def test_no_data_is_a_delivery_without_parts(partner):
    delivery = partner.exports().billed("usage", "G000000001")
    assert (delivery.parts, delivery.folder, delivery.finished) == ((), "", None)


def test_what_is_not_billed_yet_is_the_snapshot_of_now_and_no_older_one(
    emulator, partner, tmp_path
):
    first = partner.exports().unbilled("reconciliation", "USD", "current", tmp_path / "u")
    numbers = {
        json.loads(line)["InvoiceNumber"]
        for path in first
        for line in gzip.decompress(path.read_bytes()).splitlines()
    }
    assert numbers == {""}

    emulator.control.reset()
    emulator.clock.set(emulator.clock.now().replace(hour=9))
    second = partner.exports().unbilled("reconciliation", "USD", "current", tmp_path / "u")
    assert set(second).isdisjoint(first)
    assert sorted((tmp_path / "u").rglob("*.gz")) == sorted(second)
    assert not partner.archive.names("invoices")

    assert partner.exports().unbilled("usage", "JPY", "current", tmp_path / "u") == ()
    assert list((tmp_path / "u").rglob("*.gz")) == []


def test_a_version_that_is_there_is_not_fetched_again(emulator, partner):
    first = partner.exports().billed("usage", INVOICE)
    emulator.control.clear_log()
    assert partner.exports().billed("usage", INVOICE) == first
    assert fetched(emulator) == []


def test_a_part_that_was_damaged_in_the_archive_is_fetched_again(emulator, partner):
    emulator.control.change(export_lines_per_blob=500)
    delivery = partner.exports().billed("usage", INVOICE)
    content = partner.archive.read(delivery.files[1])
    partner.archive.put(delivery.files[1], content[:-1] + b"?")
    (partner.archive._root / delivery.files[2]).unlink()
    emulator.control.clear_log()

    assert partner.exports().billed("usage", INVOICE) == delivery
    assert sorted(path.rpartition("/")[2] for path in fetched(emulator)) == [
        delivery.parts[1].name,
        delivery.parts[2].name,
    ]
    assert partner.archive.read(delivery.files[1]) == content


def test_a_version_that_was_issued_anew_lies_beside_the_old_one(emulator, partner):
    first = partner.exports().billed("usage", INVOICE)
    emulator.reissue(INVOICE)
    second = partner.exports().billed("usage", INVOICE)

    assert (first.version, second.version) == ("1", "2")
    assert first.folder != second.folder
    assert lines_of(partner, first) == lines_of(partner, second)


# --- what goes wrong on the way --------------------------------------------------------------------

EXPIRED = "<Error><Code>AuthenticationFailed</Code><Message>expired</Message></Error>"


def test_an_expired_signature_starts_the_export_anew(emulator, partner):
    emulator.control.fail_next("blob", status=403, body=EXPIRED)
    delivery = partner.exports().billed("usage", INVOICE)

    assert len(lines_of(partner, delivery)) == sum(1 for _ in emulator.world.usage_lines(INVOICE))
    starts = [r for r in emulator.control.requests() if r["path"].endswith("/export")]
    assert len(starts) == 2


def test_a_signature_that_never_opens_anything_is_told_after_the_second_export(emulator, partner):
    emulator.control.fail_next("blob", status=403, body=EXPIRED, count=100)
    with pytest.raises(NotAuthorised):
        partner.exports().billed("usage", INVOICE)
    starts = [r for r in emulator.control.requests() if r["path"].endswith("/export")]
    assert len(starts) == 2


def slow_blobs(emulator, partner, seconds):
    """Each part takes so long by the emulator's clock."""
    app = emulator.apps["blob"]

    def slow(environ, start_response):
        answer = app(environ, start_response)
        emulator.clock.advance(timedelta(seconds=seconds))
        return answer

    mount_wsgi(partner.session, {emulator.base_urls["blob"]: slow})


def test_a_signature_that_ends_every_few_parts_costs_no_part_twice(emulator, partner):
    emulator.control.change(export_lines_per_blob=300, sas_seconds=100)
    slow_blobs(emulator, partner, 30)
    delivery = partner.exports(parallel=1).billed("usage", INVOICE)

    answered = [r for r in emulator.control.requests() if r["system"] == "blob"]
    good = [r["path"] for r in answered if r["status"] == 200]
    assert len(good) == len(set(good)) == len(delivery.parts) > 8
    assert {r["status"] for r in answered} == {200, 403}
    assert len(lines_of(partner, delivery)) == sum(1 for _ in emulator.world.usage_lines(INVOICE))


def test_a_version_that_comes_in_the_middle_begins_anew_and_mixes_nothing(emulator, partner):
    emulator.control.change(export_lines_per_blob=500)
    emulator.control.fail_next("blob", status=403, body=EXPIRED, skip=2)
    app = emulator.apps["graph"]
    starts = []

    def graph(environ, start_response):
        if environ["PATH_INFO"].endswith("/export"):
            starts.append(1)
            if len(starts) == 2:
                emulator.reissue(INVOICE)
        return app(environ, start_response)

    mount_wsgi(partner.session, {emulator.base_urls["graph"]: graph})
    delivery = partner.exports(parallel=1).billed("usage", INVOICE)

    assert delivery.version == "2"
    assert len(delivery.parts) == delivery.announced
    folders = {name.rpartition("/")[0] for name in partner.archive.names(f"invoices/{INVOICE}")}
    assert len(folders) == 2
    old = delivery_of(partner.archive.read(f"{min(folders)}/{JOURNAL}"))
    assert (old.version, old.finished) == ("1", None)
    assert 0 < len(old.parts) < old.announced


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "drop_during", "stall_after"])
def test_a_part_that_breaks_off_is_fetched_again_and_counted_once(emulator, partner, kind):
    emulator.control.change(export_lines_per_blob=500)
    emulator.control.fail_next("blob", kind=kind, skip=1, count=2)
    delivery = partner.exports(parallel=1).billed("usage", INVOICE)
    assert sum(part.lines for part in delivery.parts) == sum(
        1 for _ in emulator.world.usage_lines(INVOICE)
    )
    assert len(fetched(emulator)) == len(delivery.parts) + 2


class Died(BaseException):
    """The process ends here."""


def kept(archive):
    return {name: archive.read(name) for name in archive.names("invoices")}


def dying(partner, emulator, nth, *, inside):
    """Let the process die at the nth request, before it is sent or in the middle of its answer."""
    count = []

    def wrapped(app):
        def call(environ, start_response):
            count.append(1)
            if len(count) != nth:
                return app(environ, start_response)
            if not inside:
                raise Died
            body = b"".join(app(environ, start_response))

            def torn():
                yield body[: len(body) // 2]
                raise Died

            return torn()

        return call

    for name in ("graph", "blob"):
        mount_wsgi(partner.session, {emulator.base_urls[name]: wrapped(emulator.apps[name])})
    return count


@pytest.mark.parametrize("inside", [False, True], ids=["before", "inside"])
def test_a_process_that_dies_at_any_request_goes_on_and_fetches_no_finished_part_twice(
    emulator, tmp_path, inside
):
    emulator.control.reset()
    emulator.control.change(export_lines_per_blob=1200, manifest_shape="link")
    whole = partner_of(emulator, tmp_path / "whole")
    whole.exports().billed("usage", INVOICE)
    expected = kept(whole.archive)
    requests = len([r for r in emulator.control.requests() if r["system"] in ("graph", "blob")])
    assert requests > 6

    for nth in range(1, requests + 1):
        emulator.control.clear_log()
        folder = tmp_path / f"died-{nth}"
        first = partner_of(emulator, folder)
        dying(first, emulator, nth, inside=inside)
        with pytest.raises(Died):
            first.exports(parallel=1).billed("usage", INVOICE)
        finished = [name for name in kept(first.archive) if name.endswith(".gz")]
        emulator.control.clear_log()

        again = partner_of(emulator, folder)
        again.exports(parallel=1).billed("usage", INVOICE)
        assert kept(again.archive) == expected
        assert not {path.rpartition("/")[2] for path in fetched(emulator)} & {
            name.rpartition("/")[2] for name in finished
        }
        assert len(fetched(emulator)) == len(expected) - 1 - len(finished)


def test_a_process_that_dies_while_it_writes_goes_on_too(emulator, tmp_path):
    emulator.control.reset()
    emulator.control.change(export_lines_per_blob=1200)
    whole = partner_of(emulator, tmp_path / "whole")
    whole.exports().billed("usage", INVOICE)
    expected = kept(whole.archive)

    class Dying(FolderArchive):
        left = 0

        def write(self, name, blocks):
            Dying.left -= 1
            if Dying.left == 0:
                raise Died
            stored = super().write(name, blocks)
            Dying.left -= 1
            if Dying.left == 0:
                raise Died
            return stored

    writes = 2 * len(expected) - 1  # each part and the journal after it, and the journal's end
    for nth in range(1, 2 * writes + 1):
        partner = partner_of(emulator, tmp_path / f"died-{nth}")
        whole = partner.archive
        partner.archive = Dying(tmp_path / f"died-{nth}" / "archive")
        Dying.left = nth
        with pytest.raises(Died):
            partner.exports(parallel=1).billed("usage", INVOICE)
        partner.archive = whole
        partner.exports(parallel=1).billed("usage", INVOICE)
        assert kept(partner.archive) == expected


def test_downloads_carry_no_token(emulator, partner):
    partner.exports().billed("usage", INVOICE)
    blobs = [r for r in emulator.control.requests() if r["system"] == "blob"]
    assert blobs
    assert all("Authorization" not in r["headers"] for r in blobs)


# --- made-up exports -------------------------------------------------------------------------------


LINE = b'{"BillingCurrency": "USD", "Quantity": 1, "BillingPreTaxTotal": 2.5}\n'
PACKED = gzip.compress(LINE, mtime=0)


class Scripted:
    """Graph and a blob store with one made-up export."""

    def __init__(self, **changes):
        self.started = 0
        self.parts = {"part-0.json.gz": PACKED}
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
            answer = Response(self.parts[request.path.rpartition("/")[2]])
        else:
            answer = Response(json.dumps(self.operation), content_type="application/json")
        return answer(environ, start_response)


def fetch(script, folder, archive=FolderArchive):
    session = new_session()
    mount_wsgi(session, {GRAPH: script, STORE: script})
    options = {
        "session": session,
        "sleep": lambda _: None,
        "patience": Patience(tries=1),
        "now": lambda: datetime(2026, 4, 1, tzinfo=UTC),
    }
    graph = Http(GRAPH, service="graph", **options)
    blobs = Http(STORE, service="blob", **options)
    exports = BillingExports(graph, blobs, archive(folder), now=options["now"], stores=(STORE,))
    return exports.billed("usage", "G1")


def test_a_made_up_export_arrives(tmp_path):
    delivery = fetch(Scripted(), tmp_path)
    assert [part.name for part in delivery.parts] == ["part-0.json.gz"]
    assert gzip.decompress((tmp_path / delivery.files[0]).read_bytes()) == LINE
    assert delivery.version == ""


@pytest.mark.parametrize(
    "more",
    [
        {"dataFormat": "compressedJSON", "partitionType": "Default"},
        {"dataFormat": "compressedJSONLines"},
        {"DATAFORMAT": None, "newField": {"any": [1, 2.5]}},
        {"blobs": [{"name": "part-0.json.gz", "itemCount": 1, "sizeInBytes": len(LINE)}]},
        {"blobs": [{"name": "part-0.json.gz", "itemCount": "1", "sizeInBytes": len(PACKED)}]},
    ],
)
def test_what_manifests_are_known_to_hold_is_taken_and_kept(tmp_path, more):
    delivery = fetch(Scripted(resourceLocation=Scripted.manifest(**more)), tmp_path)
    assert delivery.parts[0].lines == 1
    kept = delivery_of((tmp_path / delivery.folder / JOURNAL).read_bytes())
    assert set(more) <= set(kept.manifest)
    assert "sasToken" not in kept.manifest


@pytest.mark.parametrize(
    ("manifest", "error", "sentence"),
    [
        ({"blobCount": 2}, Incomplete, "1 parts named, 2 announced"),
        ({"blobCount": 0, "blobs": []}, Incomplete, "0 parts named, 0 announced"),
        ({"blobs": [{"name": "../../x.gz"}]}, ServiceError, "no plain file names"),
        ({"blobs": [{"name": "a/b.gz"}]}, ServiceError, "no plain file names"),
        (
            {"blobCount": 2, "blobs": [{"name": "a.gz"}, {"name": "a.gz"}]},
            ServiceError,
            "no plain file names",
        ),
        ({"rootDirectory": None}, ServiceError, "without a readable manifest"),
        ({"dataFormat": "parquet"}, ServiceError, "in the format parquet"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(tmp_path, manifest, error, sentence):
    script = Scripted(resourceLocation=Scripted.manifest(**manifest))
    with pytest.raises(error, match=sentence):
        fetch(script, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "announced", "sentence"),
    [
        (PACKED[:-4], {}, "is cut off"),
        (PACKED[: len(PACKED) // 2], {}, "is cut off"),
        (b"", {}, "is cut off"),
        (LINE, {}, "is no readable gzip"),
        (PACKED[:-8] + b"\x00" * 8, {}, "is no readable gzip"),
        (gzip.compress(b""), {}, "is empty"),
        (gzip.compress(b"\n  \n"), {}, "is empty"),
        (PACKED, {"itemCount": 2}, "has 1 lines, the manifest says 2"),
        (PACKED, {"sizeInBytes": 7}, f"has {len(PACKED)} bytes, the manifest says 7"),
        (gzip.compress(b"x" * (LINE_LIMIT + 1)), {}, "has a line of more than"),
    ],
    ids=[
        "no end",
        "half",
        "nothing",
        "not packed",
        "wrong sum",
        "no line",
        "blank lines",
        "too few lines",
        "other size",
        "endless line",
    ],
)
def test_a_part_that_is_not_whole_never_reaches_the_archive(tmp_path, content, announced, sentence):
    manifest = Scripted.manifest(
        blobCount=2, blobs=[{"name": "good.gz"}, {"name": "part-0.json.gz", **announced}]
    )
    script = Scripted(resourceLocation=manifest)
    script.parts = {"good.gz": PACKED, "part-0.json.gz": content}
    with pytest.raises(Incomplete, match=sentence) as caught:
        fetch(script, tmp_path)
    assert "part-0.json.gz" in str(caught.value)
    assert not list(tmp_path.rglob("part-0*"))
    assert not list(tmp_path.rglob(".part-*"))


def test_an_empty_part_that_is_announced_as_empty_is_whole(tmp_path):
    manifest = Scripted.manifest(blobs=[{"name": "part-0.json.gz", "itemCount": 0}])
    script = Scripted(resourceLocation=manifest)
    script.parts = {"part-0.json.gz": gzip.compress(b"")}
    assert fetch(script, tmp_path).parts[0].lines == 0


def test_a_part_of_several_streams_is_read_to_its_end(tmp_path):
    script = Scripted()
    script.parts = {"part-0.json.gz": gzip.compress(LINE * 3) + gzip.compress(LINE[:-1])}
    assert fetch(script, tmp_path).parts[0].lines == 4


def test_sums_keep_every_digit_and_what_is_no_amount_is_counted(tmp_path):
    lines = [
        '{"BillingCurrency": "USD", "Quantity": 883406386745030.3, "BillingPreTaxTotal": 0.12345678901234567}',
        '{"BillingCurrency": "usd", "Quantity": "1e-18", "BillingPreTaxTotal": "-0.005"}',
        '{"BillingCurrency": "EUR", "BillingPreTaxTotal": 1e3}',
        '{"Currency": "EUR", "Quantity": 2, "Subtotal": 0.5}',
        '{"BillingCurrency": "USD", "Quantity": 1}',
        '{"BillingCurrency": "USD", "Quantity": 1, "BillingPreTaxTotal": "abc"}',
        '{"BillingCurrency": "USD", "Quantity": 1, "BillingPreTaxTotal": "NaN"}',
        '{"BillingCurrency": "USD", "Quantity": 1, "BillingPreTaxTotal": 1e999}',
        "[1]",
        "not json",
    ]
    script = Scripted()
    script.parts = {"part-0.json.gz": gzip.compress("\n".join(lines).encode())}
    (part,) = fetch(script, tmp_path).parts
    assert (part.lines, part.unread) == (10, 6)
    assert part.sums["USD"].quantity == Decimal("883406386745030.300000000000000001")
    assert part.sums["USD"].amount == Decimal("0.11845678901234567")
    assert part.sums["EUR"].amount == Decimal("1000.5")
    assert part.sums["EUR"].quantity == 2


def test_the_same_part_under_two_names_is_one_part_and_lines_alike_in_it_are_lines(tmp_path):
    names = ("a.gz", "b.gz", "c.gz")
    manifest = Scripted.manifest(blobCount=3, blobs=[{"name": name} for name in names])
    script = Scripted(resourceLocation=manifest)
    twice = gzip.compress(LINE * 2, mtime=0)
    script.parts = {"a.gz": twice, "b.gz": PACKED, "c.gz": twice}
    delivery = fetch(script, tmp_path)
    assert [name.rpartition("/")[2] for name in delivery.distinct] == ["a.gz", "b.gz"]
    assert delivery.repeated_lines == 2
    assert len(delivery.files) == 3


def test_other_parts_are_another_writing_whatever_the_etag_says(tmp_path):
    def named(name):
        manifest = Scripted.manifest(eTag="same", SAS_Token="sv=1&sig=x%3D", blobs=[{"name": name}])
        script = Scripted(resourceLocation=manifest)
        script.parts = {name: PACKED}
        return fetch(script, tmp_path)

    first, second = named("part-0-a.gz"), named("part-0-b.gz")
    assert first.folder != second.folder
    assert [part.name for part in second.parts] == ["part-0-b.gz"]
    assert "sig=" not in (tmp_path / second.folder / JOURNAL).read_text()


def test_a_journal_that_was_damaged_proves_nothing(tmp_path):
    delivery = fetch(Scripted(), tmp_path)
    journal = tmp_path / delivery.folder / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole[:40])
    assert fetch(Scripted(), tmp_path) == delivery
    assert journal.read_bytes() == whole


def test_another_failure_than_no_data_is_told(tmp_path):
    failure = {"status": "failed", "error": {"code": "5001", "message": "Internal error"}}
    with pytest.raises(ServiceError, match="Internal error") as caught:
        fetch(Scripted(**failure), tmp_path)
    assert caught.value.code == "5001"


@pytest.mark.parametrize(
    ("code", "message"),
    [("5000", "Internal error while writing the export"), ("5001", "No data available")],
)
def test_half_of_what_says_no_data_is_a_failure(tmp_path, code, message):
    failure = {"status": "failed", "error": {"code": code, "message": message}}
    with pytest.raises(ServiceError, match=message):
        fetch(Scripted(**failure), tmp_path)


@pytest.mark.parametrize("message", ["No data available", "no data available."])
def test_no_data_is_told_by_code_and_message_together(tmp_path, message):
    nothing = {"status": "failed", "error": {"code": "5000", "message": message}}
    assert fetch(Scripted(**nothing), tmp_path).parts == ()


def test_thousands_of_parts_do_not_write_the_journal_thousands_of_times(tmp_path):
    written = []

    class Counted(FolderArchive):
        def put(self, name, content):
            written.append(len(content))
            super().put(name, content)

    script = Scripted()
    names = [f"part-{number:04}.json.gz" for number in range(600)]
    script.parts = dict.fromkeys(names, PACKED)
    manifest = script.manifest(blobCount=600, blobs=[{"name": name} for name in names])
    script.operation["resourceLocation"] = manifest
    delivery = fetch(script, tmp_path, Counted)
    assert len(delivery.parts) == 600
    assert delivery_of((tmp_path / delivery.folder / JOURNAL).read_bytes()) == delivery
    assert sum(written) < 30 * written[-1]


def test_a_manifest_elsewhere_is_not_followed_with_our_token(tmp_path):
    script = Scripted(resourceLocation="https://evil.example/manifest")
    with pytest.raises(ServiceError, match=r"link to evil\.example"):
        fetch(script, tmp_path)


@pytest.mark.parametrize(
    "place",
    [
        "http://store.example/root",
        "https://127.0.0.1/root",
        "https://localhost/root",
        "https://[::1]/root",
        "https://169.254.169.254/metadata/identity/oauth2/token",
        "https://evil.example/root",
        "https://store.example@evil.example/root",
        "https://user:word@store.example/root",
        "https://store.example.evil.example/root",
        "https://store.example:8443/root",
        "https://store.example/root?sig=mine",
        "https://store.example/root#part",
        "//store.example/root",
        "file:///etc/passwd",
        "https://[::1/root",
        "https://store.example:x/root",
    ],
)
def test_an_answer_cannot_send_us_to_another_place_than_a_trusted_store(tmp_path, place):
    script = Scripted(resourceLocation=Scripted.manifest(rootDirectory=place))
    with pytest.raises(ServiceError, match="no store that is trusted"):
        fetch(script, tmp_path)


@pytest.mark.parametrize(
    ("place", "trusted"),
    [
        ("https://examplestore.blob.core.windows.net/billedusagefastpath/v1", True),
        ("https://EXAMPLESTORE.BLOB.CORE.WINDOWS.NET:443/v1", True),
        ("https://examplestore.z12.blob.storage.azure.net/v1", True),
        ("https://blob.core.windows.net/v1", False),
        ("https://examplestoreblob.core.windows.net/v1", False),
        ("https://examplestore.blob.core.windows.net.evil.example/v1", False),
        ("http://examplestore.blob.core.windows.net/v1", False),
        ("https://examplestore.blob.core.windows.net:8443/v1", False),
    ],
)
def test_in_the_cloud_parts_come_from_blob_storage_of_azure_alone(place, trusted):
    assert _stands_in(place, AZURE_STORES) is trusted


def test_lines_are_read_one_by_one_with_exact_numbers(tmp_path):
    path = tmp_path / "part.json.gz"
    path.write_bytes(gzip.compress(b'{"n": 0.10}\n\n[1]\nnot json\n{"n": 2}'))
    first, array, text, last = json_lines(path)

    assert (str(first["n"]), last) == ("0.10", {"n": 2})
    assert array.record == "line 3 of part.json.gz"
    assert "not one JSON object" in text.sentence


def test_a_line_that_two_files_have_can_be_left_out_and_repeats_within_one_stay(tmp_path):
    first, second = (
        {
            "CustomerId": "c1",
            "ProductId": "p",
            "ChargeType": "new",
            "Quantity": 1,
            "Subtotal": amount,
            "Currency": "USD",
        }
        for amount in (1, 2)
    )
    files = []
    for number, rows in enumerate([[first, first, second], [second, first]]):
        path = tmp_path / f"{number}.json.gz"
        path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
        files.append(path)

    def subtotals(**options):
        return sorted(line.subtotal for line in cost_lines_in(files, "G1", **options))

    assert subtotals() == [1, 1, 1, 2, 2]
    assert subtotals(distinct=True) == [1, 1, 2]
    keys = [line.key for line in cost_lines_in(files, "G1", distinct=True)]
    assert set(keys) <= {line.key for line in cost_lines_in(files, "G1")}


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
