"""Queues and blobs against Azurite, the official storage emulator; skipped where it is not installed."""

import contextlib
import shutil
import socket
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

from transport.blobs import BlobArchive
from transport.queues import MAX_TRIES, AzureQueue

AZURITE = Path(__file__).resolve().parents[2] / "node_modules/azurite/dist/src/azurite.js"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    not (AZURITE.is_file() and NODE), reason="azurite is not installed (npm ci)"
)
# The well-known key of the storage emulator, published by Microsoft.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def connection():
    blob, queue, table = free_ports(3)
    process = subprocess.Popen(
        [
            NODE,
            AZURITE,
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--inMemoryPersistence",
            *("--blobPort", str(blob), "--queuePort", str(queue), "--tablePort", str(table)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for port in (blob, queue):
            wait_for(port)
        host = "http://127.0.0.1"
        yield (
            f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY};"
            f"BlobEndpoint={host}:{blob}/devstoreaccount1;"
            f"QueueEndpoint={host}:{queue}/devstoreaccount1;"
        )
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port):
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    pytest.fail("azurite did not start")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK keeps its connections open
def test_messages_are_leased_released_deleted_and_poisoned(connection):
    queue = AzureQueue(connection_string=connection, create=True)
    assert queue.send("bill", ['{"customer": "ä"}']) == 1
    assert queue.receive("pull") is None

    message = queue.receive("bill")
    assert (message.body, message.dequeue_count) == ('{"customer": "ä"}', 1)
    assert queue.receive("bill") is None
    for tries in range(2, MAX_TRIES + 1):
        queue.release(message)
        message = queue.receive("bill", lease=timedelta(minutes=1))
        assert message.dequeue_count == tries
    queue.release(message)
    assert queue.receive("bill") is None
    assert [one.body for one in queue.poisoned("bill")] == ['{"customer": "ä"}']

    queue.send("close", ["{}"])
    done = queue.receive("close")
    queue.delete(done)
    queue.delete(done)
    queue.release(done)
    assert queue.receive("close") is None


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_payloads_are_kept_and_replaced(connection, tmp_path):
    from azure.storage.blob import ContainerClient

    archive = BlobArchive("archive", tmp_path, connection_string=connection, create=True)
    archive.put("invoices/G1/lines.json", b"one")
    archive.put("invoices/G1/lines.json", b"two")

    with ContainerClient.from_connection_string(connection, "archive") as container:
        assert container.download_blob("invoices/G1/lines.json").readall() == b"two"
    assert archive.folder("usage/G1") == tmp_path / "usage" / "G1"
