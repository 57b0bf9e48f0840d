"""`python -m host`: run the functions here. `python -m host invoke NAME --body FILE`: one, once.

Settings come from the environment, and from `Values` of local.settings.json where the environment
says nothing. Progress goes to stderr. SIGTERM and Ctrl-C end it: what runs is worked to its end.
Exit codes: 0 done, 1 a function failed, 2 the app or its settings are not runnable.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

from host.declared import App, NotRunnable, load
from host.invocation import Invoker, Invokes
from host.remote import WorkerProcess
from host.runner import Host, invoke, make_containers

PORT = 7071
CONTAINER = "archive"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.WARNING if options.quiet else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for chatty in ("azure", "urllib3", "werkzeug"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    folder = options.app.resolve()
    try:
        settings = _settings(folder)
        lease = timedelta(seconds=options.lease) if options.lease else None
        worker = WorkerProcess(options.worker, folder, settings) if options.worker else None
        try:
            functions = worker.functions() if worker else None
            app = load(folder, settings, lease=lease, functions=functions)
            if options.command == "invoke":
                return _invoke(app, worker or Invoker(folder), options)
            return _run(app, worker or Invoker(folder), options)
        finally:
            if worker is not None:
                worker.close()
    except NotRunnable as error:
        print(f"host: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m host", description="run the functions here")
    parser.add_argument("--app", type=Path, default=Path(), metavar="DIR", help="where they are")
    parser.add_argument("--port", type=int, default=PORT, help=f"of HTTP, default {PORT}; 0: any")
    parser.add_argument(
        "--queues-only", action="store_true", help="a further worker process: no timers, no HTTP"
    )
    parser.add_argument(
        "--until-idle",
        type=float,
        metavar="SECONDS",
        help="end when no message was worked for so long",
    )
    parser.add_argument(
        "--lease",
        type=float,
        metavar="SECONDS",
        help="of messages that are worked; the platform's is 600",
    )
    parser.add_argument(
        "--worker",
        type=Path,
        metavar="PYTHON",
        help="run the functions in Microsoft's worker, under this interpreter of .venv-worker",
    )
    parser.add_argument("--quiet", action="store_true", help="warnings and errors only")
    commands = parser.add_subparsers(dest="command", metavar="")
    once = commands.add_parser("invoke", help="one queue or timer function, once")
    once.add_argument("name", metavar="NAME")
    once.add_argument(
        "--body", type=Path, metavar="FILE", help="the message of a queue function; - is stdin"
    )
    return parser


def _settings(folder: Path) -> dict[str, str]:
    """The environment, over `Values` of local.settings.json; the functions see the same."""
    path = folder / "local.settings.json"
    if path.is_file():
        try:
            values = json.loads(path.read_text(encoding="utf-8")).get("Values") or {}
        except (ValueError, AttributeError) as error:
            raise NotRunnable(f"{path.name} cannot be read: {error}") from None
        for name, value in values.items():
            os.environ.setdefault(name, str(value))
    return dict(os.environ)


def _invoke(app: App, invoker: Invokes, options: argparse.Namespace) -> int:
    body = ""
    if options.body is not None:
        try:
            body = sys.stdin.read() if str(options.body) == "-" else options.body.read_text()
        except OSError as error:
            raise NotRunnable(f"--body {options.body}: {error.strerror}") from None
    try:
        invoke(app, invoker, options.name, body)
    except NotRunnable:
        raise
    except Exception:  # noqa: BLE001 - any function may raise anything; it was logged where it ran
        return 1
    return 0


def _run(app: App, invoker: Invokes, options: argparse.Namespace) -> int:
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    if app.of("queueTrigger"):
        make_containers(app, (app.settings.get("CSP_ARCHIVE_CONTAINER") or CONTAINER,))
    try:
        host = Host(
            app,
            invoker,
            port=None if options.queues_only else options.port,
            timers=not options.queues_only,
        )
    except OSError as error:
        raise NotRunnable(
            f"--port {options.port}: {os.strerror(error.errno or 0)}; choose another"
        ) from None
    with host:
        where = "" if options.queues_only else f" at {host.url}/{app.route_prefix}"
        print(f"host: {len(app.functions)} functions run{where}", file=sys.stderr, flush=True)
        _wait(host, ending, options.until_idle)
    return 0


def _wait(host: Host, ending: threading.Event, until_idle: float | None) -> None:
    """Wait for a signal, or until nothing was worked for a while."""
    seen, since = -1, time.monotonic()
    while not ending.wait(0.2):
        worked = sum(sum(counts) for counts in host.invoker.ended.values())
        if worked != seen or not host.idle():
            seen, since = worked, time.monotonic()
        if until_idle is not None and time.monotonic() - since > until_idle:
            return


if __name__ == "__main__":
    sys.exit(main())
