"""Everything that the functions need, on this machine: `python3 dev.py host`.

Azurite, the emulated Microsoft with a partner's tables and contracts, and a host over
function_app.py: the platform's own (`func start`) where Functions Core Tools are installed, else the
stand-in, in which Microsoft's worker runs the functions when `.venv-worker` is there. Settings are
given to the processes and written nowhere; what is set already is left as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from host.azurite import Missing, azurite
from host.remote import worker_python

ROOT = Path(__file__).resolve().parents[1]
USUAL = "0 0 5 * * *"
"""Of a timer whose schedule the deployment does not name."""
_SCHEDULE = re.compile(r"^\s*(\w+_SCHEDULE):\s*'([^']+)'", re.MULTILINE)
_NEEDED = re.compile(r'schedule="%(\w+)%"')
END_SECONDS = 40.0


def main(arguments: list[str] | None = None) -> int:
    """Run it all until Ctrl-C or SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python3 dev.py host", description="the functions here")
    parser.add_argument("--port", type=int, default=7071, help="of HTTP, default 7071")
    parser.add_argument(
        "--location", type=Path, metavar="DIR", help="keep queues and archive in this folder"
    )
    parser.add_argument(
        "--scenario", default="partner-month", help="of the emulated partner; small is quicker"
    )
    parser.add_argument(
        "--runner", action="store_true", help="the stand-in, also where Core Tools are installed"
    )
    options = parser.parse_args(arguments)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    try:
        with contextlib.ExitStack() as held:
            return _run(held, options, ending)
    except Missing as error:
        print(f"dev.py host: {error}", file=sys.stderr)
        return 2


def _run(held: contextlib.ExitStack, options: argparse.Namespace, ending: threading.Event) -> int:
    _check_port(options.port)
    parent = os.getppid()

    def goes_on(process: subprocess.Popen[str]) -> bool:
        # Who started it may be killed without a word, and nothing of it must be left then.
        return process.poll() is None and not ending.wait(0.2) and os.getppid() == parent

    storage = held.enter_context(azurite(options.location))
    # Of this run only: the emulated Microsoft forgets whom it gave a token, too.
    state = held.enter_context(tempfile.TemporaryDirectory(prefix="csp-billing-"))
    settings = {
        "CSP_MODE": "emulator",
        "CSP_STATE_DIR": state,
        "CSP_STORAGE_CONNECTION_STRING": storage.connection_string,
        "WORKER_QUEUE": storage.connection_string,
        "AzureWebJobsStorage": storage.connection_string,
        "FUNCTIONS_WORKER_RUNTIME": "python",
        # A queue that was empty for long is looked at once a minute: too seldom for who waits.
        "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:02",
        **schedules(ROOT),
    } | dict(os.environ)
    # Python of the environment first: Core Tools start the worker with it.
    settings["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), settings.get("PATH", "")])
    browser, today = "", f"{datetime.now(UTC):%Y-%m-%d}"
    if settings["CSP_MODE"] == "emulator" and "CSP_EMULATOR_URL" not in settings:
        places = held.enter_context(_emulator(settings, options.scenario))
        settings["CSP_EMULATOR_URL"] = places["control"]
        browser = f"\n  Dataverse  {places['dataverse']}/ (in a browser)"
        today = _today(places["control"])
        _say("Making tables, entering accounts, contracts and prices ...")
        with _process([sys.executable, "-m", "app", "demo", "--prepare"], settings) as prepare:
            while goes_on(prepare):
                pass
            if prepare.returncode != 0:  # it failed, or is not to be waited for
                return prepare.returncode or 0
    command, what = host_command(options.port, runner_only=options.runner)
    with _process(command, settings) as host:
        told = False
        while goes_on(host):
            if not told and _answers(options.port):
                told = True
                _say(
                    f"\n{what}\n  Functions  http://127.0.0.1:{options.port}/api{browser}\n"
                    f"{examples(options.port, today)}Ctrl-C ends it.\n"
                )
        return host.returncode or 0


def host_command(port: int, *, runner_only: bool = False) -> tuple[list[str], str]:
    """The host that is here, and what to call it."""
    func = None if runner_only else shutil.which("func")
    if func is not None:
        return [func, "start", "--port", str(port)], "Functions Core Tools run the functions."
    command = [sys.executable, "-m", "host", "--port", str(port)]
    python = worker_python(ROOT)
    if python is None:
        return command, "A stand-in of the Functions host runs the functions: an approximation."
    return (
        [*command, "--worker", str(python)],
        "A stand-in of the host, an approximation, has Microsoft's worker run the functions.",
    )


def schedules(root: Path) -> dict[str, str]:
    """The schedules of the deployment, for each timer of the app."""
    told = dict(_SCHEDULE.findall((root / "infra" / "main.bicep").read_text(encoding="utf-8")))
    needed = _NEEDED.findall((root / "app" / "timers.py").read_text(encoding="utf-8"))
    return {name: told.get(name, USUAL) for name in needed}


def examples(port: int, today: str) -> str:
    """Calls to try in this order, on whichever host."""
    api = f"http://127.0.0.1:{port}"

    def post(path: str, body: Mapping[str, str]) -> str:
        text = json.dumps(body)
        return f"  curl -i {api}{path} -H 'Content-Type: application/json' -d '{text}'\n"

    month = f"{date.fromisoformat(today).replace(day=1) - timedelta(days=1):%Y-%m}"
    return (
        "Try:\n"
        + post("/api/runs", {"kind": "sync"})
        + f"  curl -s {api}/api/runs/sync.{today}\n"
        + "and when that is done:\n"
        + post("/api/runs", {"kind": "bill", "period": month})
        + f"  curl -s {api}/api/runs/bill.{month}\n"
        + "A timer by hand:\n"
        + post("/admin/functions/daily_sync", {"input": ""})
    )


def _check_port(port: int) -> None:
    """Raise Missing where a port is taken, before anything is prepared for it."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise Missing(f"--port {port}: {os.strerror(error.errno or 0)}; choose another") from None


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _today(control: str) -> str:
    """The day by the emulated clock, which the runs are named by."""
    with urllib.request.urlopen(f"{control}/_emulator/clock") as answer:
        return str(json.load(answer)["now"])[:10]


@contextlib.contextmanager
def _emulator(settings: Mapping[str, str], scenario: str) -> Iterator[dict[str, str]]:
    """Serve the emulated systems; gives their addresses."""
    command = [sys.executable, "-m", "app", "emulate", "--scenario", scenario]
    with _process(command, settings, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise Missing("the emulated systems did not start: try python3 dev.py run emulate")
        yield json.loads(line)


@contextlib.contextmanager
def _process(
    command: list[str], settings: Mapping[str, str], *, stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a process of ours until the end of the block, in a session that Ctrl-C does not reach."""
    quiet = subprocess.DEVNULL if stdout else None
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(settings),
        text=True,
        start_new_session=True,
        stdout=stdout,
        stderr=quiet,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
