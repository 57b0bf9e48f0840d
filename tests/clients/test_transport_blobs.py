"""Archives: a folder and a blob container keep, list and give back in the same way."""

import gzip
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256

import pytest

from domain.problems import Unavailable
from emulator import Emulator
from tests.clients.embedded import partner_of
from transport.blobs import BlobArchive, FolderArchive, Stored

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK keeps its connections
INVOICE = "G000912345"


def a_blob_archive(request, scratch):
    return BlobArchive(
        f"archive-{secrets.token_hex(4)}",
        scratch,
        connection_string=request.getfixturevalue("azurite"),
        create=True,
    )


@pytest.fixture(params=["folder", "blobs"])
def archive(request, tmp_path):
    if request.param == "folder":
        return FolderArchive(tmp_path / "archive")
    return a_blob_archive(request, tmp_path / "scratch")


def stored(content):
    return Stored(len(content), sha256(content).hexdigest())


def test_what_is_put_is_there_and_replaced_by_the_next(archive):
    assert archive.read("invoices/G1/lines.json") is None
    assert archive.stored("invoices/G1/lines.json") is None
    archive.put("invoices/G1/lines.json", b"one")
    archive.put("invoices/G1/lines.json", b"two")
    assert archive.read("invoices/G1/lines.json") == b"two"
    assert archive.stored("invoices/G1/lines.json") == stored(b"two")
    assert archive.names("invoices") == ["invoices/G1/lines.json"]


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (3 << 20, 3 << 20, 5), (9 << 20,)])
def test_blocks_of_any_size_become_one_payload(archive, sizes):
    blocks = [secrets.token_bytes(size) for size in sizes]
    whole = b"".join(blocks)
    assert archive.write("a/part.gz", iter(blocks)) == stored(whole)
    assert archive.stored("a/part.gz") == stored(whole)
    with archive.local("a/part.gz") as path:
        assert path.read_bytes() == whole


@pytest.mark.parametrize("before", [None, b"as it was"])
def test_what_breaks_off_leaves_what_was_there(archive, before):
    if before:
        archive.put("a/part.gz", before)

    def torn():
        yield secrets.token_bytes(5 << 20)
        raise OSError("the connection was cut")

    with pytest.raises(OSError, match="was cut"):
        archive.write("a/part.gz", torn())
    assert archive.read("a/part.gz") == before
    assert archive.names("a") == (["a/part.gz"] if before else [])


def test_two_writers_of_one_name_do_not_mix(archive):
    first, second = secrets.token_bytes(9 << 20), secrets.token_bytes(9 << 20)

    def interrupted():
        yield first[: 5 << 20]
        archive.write("a/part.gz", [second])
        yield first[5 << 20 :]

    if isinstance(archive, BlobArchive):
        with pytest.raises(Unavailable, match="could not archive"):
            archive.write("a/part.gz", interrupted())
        first = second  # who was slower is told, and begins again
    else:
        archive.write("a/part.gz", interrupted())
    assert archive.stored("a/part.gz") == stored(first)
    assert archive.read("a/part.gz") == first


def test_names_are_listed_below_their_folder_alone(archive):
    for name in ("a/2.gz", "a/1.gz", "a/b/3.gz", "ab/4.gz"):
        archive.put(name, b"x")
    assert archive.names("a") == ["a/1.gz", "a/2.gz", "a/b/3.gz"]
    assert archive.names("none") == []


def test_a_container_leaves_nothing_on_the_local_disk(request, tmp_path):
    archive = a_blob_archive(request, tmp_path)
    archive.write("a/part.gz", [b"x" * (6 << 20)])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with archive.local("a/part.gz") as path:
        assert path.stat().st_size == 6 << 20
    assert not path.exists()
    assert archive.folder("scratch/G1") == tmp_path / "scratch" / "G1"


def test_a_container_that_cannot_be_reached_is_told(tmp_path, request):
    archive = a_blob_archive(request, tmp_path)
    archive._create = False
    with pytest.raises(Unavailable, match="could not archive a/x") as caught:
        archive.put("a/x", b"")
    assert (caught.value.service, caught.value.status) == ("Archive", 404)


def test_an_export_goes_straight_into_the_container_and_resumes_there(request, tmp_path):
    with closing(Emulator()) as emulator:
        emulator.control.change(export_lines_per_blob=2000)
        partner = partner_of(emulator, tmp_path)
        partner.archive = a_blob_archive(request, tmp_path / "scratch")
        emulator.control.fail_next("blob", status=500, skip=2, count=20)
        with pytest.raises(Unavailable):
            partner.exports(parallel=1).billed("usage", INVOICE)
        emulator.control.clear_faults()
        emulator.control.clear_log()

        delivery = partner.exports(parallel=1).billed("usage", INVOICE)
        asked = [one for one in emulator.control.requests() if one["system"] == "blob"]
        assert len(asked) == len(delivery.parts) - 2
        assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
        lines = sum(
            len(gzip.decompress(path.read_bytes()).splitlines())
            for path in partner.exports().parts(delivery)
        )
        assert lines == sum(1 for _ in emulator.world.usage_lines(INVOICE))
        assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]


def test_what_several_put_at_once_under_one_name_is_kept_by_each_of_them(archive):
    """Units that work side by side read the same page of Microsoft's, and each keeps it."""
    together = threading.Barrier(4)

    def put(writer):
        together.wait()
        for _ in range(5):
            archive.put("raw/invoices.json", bytes([writer]) * 1000)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(put, writer) for writer in range(4)]:
            done.result()
    content = archive.read("raw/invoices.json")
    assert content in [bytes([writer]) * 1000 for writer in range(4)]
    assert archive.stored("raw/invoices.json") == stored(content)
