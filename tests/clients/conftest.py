"""Azurite, Microsoft's own look-alike of Azure Storage, where it is installed."""

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

AZURITE = Path(__file__).resolve().parents[2] / "node_modules/azurite/dist/src/azurite.js"
NODE = shutil.which("node")
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
    if not (AZURITE.is_file() and NODE):
        pytest.skip("azurite is not installed (npm install azurite)")
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
