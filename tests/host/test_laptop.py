"""`python3 dev.py host` and `python -m host`: the whole worker on a laptop, with one command."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request

import pytest

from host import laptop
from tests.host.conftest import ROOT, schedules, until


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answer(command):
    """Do what a printed curl does."""
    url = re.search(r"http://\S+", command)[0]
    body = re.search(r"-d '([^']+)'", command)
    data = body[1].encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as told:
        return told.status, json.loads(told.read() or b"null")


@contextlib.contextmanager
def in_a_terminal(said, *options):
    """Run the command as a terminal does: in a group of its own, to which Ctrl-C goes as a whole."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("CSP_", "WORKER_", "Azure"))}
    with (
        said.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "host.laptop", "--runner", *options],
            cwd=ROOT,
            env=kept,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGINT)
            code = process.wait(60)
    assert (code, "Traceback" in said.read_text()) == (0, False)
    addresses = re.findall(r"127\.0\.0\.1:(\d+)", said.read_text())
    assert [each for each in addresses if not closed(int(each))] == []


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("azurite_is_there")
def test_a_newcomer_without_a_tenant_bills_a_month_with_the_calls_that_are_printed(tmp_path):
    port, said = free_port(), tmp_path / "said.txt"
    with in_a_terminal(said, "--port", str(port), "--scenario", "small"):
        until(lambda: "Ctrl-C ends it" in said.read_text(), 90, "it did not come up")
        calls = [line for line in said.read_text().splitlines() if line.startswith("  curl")]
        for start, read in (calls[:2], calls[2:4]):
            status, told = answer(start)
            assert (status, told["status"]) == (202, "accepted")
            run = until(lambda read=read: ended(read), 150, "the run did not end")
            assert (run["run_id"], run["status"]) == (told["run_id"], "done")
        assert run["counts"]["invoices"] > 0
        assert answer(calls[4])[0] == 202  # and is worked while it is interrupted


@pytest.mark.usefixtures("azurite_is_there")
def test_an_interrupt_while_it_is_prepared_ends_it_without_a_trace(tmp_path):
    said = tmp_path / "said.txt"
    with in_a_terminal(said, "--port", str(free_port()), "--scenario", "small"):
        until(lambda: "Making tables" in said.read_text(), 90, "it did not come so far")
    assert "Ctrl-C ends it" not in said.read_text()  # it was still prepared
    assert "Traceback" not in said.read_text()


def test_a_port_that_is_taken_is_said_before_anything_is_prepared():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "host.laptop", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"dev.py host: --port {port}: Address already in use; choose another\n"


def test_an_interrupt_of_the_command_leaves_nothing_running(tmp_path):
    """dev.py passes it on as a request to end, and waits for what it started."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "laptop.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), print('ended', flush=True), sys.exit(0)))\n"
        "print('up', flush=True); time.sleep(30)\n"
    )
    code = (
        "import sys; from pathlib import Path; import dev\n"
        f"dev.ROOT = Path({str(tmp_path)!r}); dev.PYTHON = Path(sys.executable); sys.exit(dev.host([]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "ended\n"
        assert process.wait(10) == 0


def ended(read):
    """What a run came to; None while it is not there or goes on."""
    try:
        run = answer(read)[1]
    except urllib.error.HTTPError as error:
        error.close()
        return None
    return run if run["status"] not in {"open", "running"} else None


def closed(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def test_core_tools_are_taken_where_they_are_installed(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/tools/{name}")
    assert laptop.host_command(7071)[0] == ["/tools/func", "start", "--port", "7071"]
    command, what = laptop.host_command(7071, runner_only=True)
    assert command[:3] == [sys.executable, "-m", "host"]
    assert "approximation" in what


def test_timers_are_scheduled_as_they_are_deployed():
    told = laptop.schedules(ROOT)
    assert set(told) == set(schedules())
    deployed = (ROOT / "infra" / "main.bicep").read_text()
    assert f"SYNC_SCHEDULE: '{told['SYNC_SCHEDULE']}'" in deployed


# --- python -m host ----------------------------------------------------------------------------------

APP = """
import logging
import azure.functions as func

app = func.FunctionApp()

@app.timer_trigger(arg_name="timer", schedule="%WHEN%")
def daily(timer: func.TimerRequest) -> None:
    logging.getLogger("app").warning("next at %s", timer.schedule_status["Next"])

@app.queue_trigger(arg_name="message", queue_name="work", connection="WORKER_QUEUE")
def take(message: func.QueueMessage) -> None:
    if message.get_body() != b"good":
        raise ValueError("not good")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("WORKER_QUEUE", raising=False)
    (tmp_path / "function_app.py").write_text(textwrap.dedent(APP))
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "local.settings.json").write_text('{"Values": {"WHEN": "0 0 5 * * *"}}')
    return tmp_path


def host(folder, *arguments, body=""):
    return subprocess.run(
        [sys.executable, "-m", "host", "--app", str(folder), *arguments],
        cwd=ROOT,
        input=body,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "body", "code", "said"),
    [
        (("invoke", "daily"), "", 0, "next at "),
        (("invoke", "take", "--body", "-"), "good", 0, "Executed 'Functions.take' (Succeeded"),
        (("invoke", "take", "--body", "-"), "bad", 1, "ValueError: not good"),
        (("invoke", "nobody"), "", 2, "there is no function nobody: there are daily, take"),
        (("invoke", "take", "--body", "no-such-file"), "", 2, "--body no-such-file: No such file"),
        ((), "", 2, "take listens by the connection WORKER_QUEUE, which is not set"),
    ],
)
def test_one_function_by_hand(folder, arguments, body, code, said):
    done = host(folder, *arguments, body=body)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    if code == 2:
        assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said_by_the_host_too(folder, azurite, monkeypatch):
    monkeypatch.setenv("WORKER_QUEUE", azurite)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = host(folder, "--port", port)
    assert done.returncode == 2
    assert done.stderr.endswith(f"host: --port {port}: Address already in use; choose another\n")


def test_a_further_worker_process_ends_when_nothing_is_left_to_do(folder, azurite, monkeypatch):
    monkeypatch.setenv("WORKER_QUEUE", azurite)
    done = host(folder, "--queues-only", "--until-idle", "0.5")
    assert done.returncode == 0, done.stderr
    assert "2 functions run" in done.stderr
    assert "Timer" not in done.stderr
