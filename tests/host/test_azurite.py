"""Azurite is there when it is asked for, and gone with whoever asked."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from host import azurite as storage

pytestmark = pytest.mark.usefixtures("azurite_is_there")
ROOT = storage.FOLDER.parents[1]


def answers(url):
    place = urlsplit(url)
    with (
        contextlib.suppress(OSError),
        socket.create_connection((place.hostname, place.port), timeout=1),
    ):
        return True
    return False


def test_it_answers_on_loopback_while_the_block_runs_and_not_after_it():
    with storage.azurite() as running:
        assert set(running.urls) == {"blob", "queue", "table"}
        assert {urlsplit(url).hostname for url in running.urls.values()} == {"127.0.0.1"}
        assert all(map(answers, running.urls.values()))
    assert not any(map(answers, running.urls.values()))


def test_it_leaves_with_a_process_that_is_killed():
    script = (
        "import time; from host.azurite import azurite\n"
        "with azurite() as one: print(one.urls['queue'], flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        url = parent.stdout.readline().strip()
        assert answers(url)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while answers(url):
        assert time.monotonic() < deadline, "azurite outlived the process that started it"
        time.sleep(0.05)


def test_a_port_that_is_taken_is_said_in_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(storage.Missing, match=rf"did not start[\s\S]*:{port}"),
            storage.azurite(ports=(port, 0, 0)),
        ):
            pass
