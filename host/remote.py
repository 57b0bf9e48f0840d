"""Functions in a process of their own, under Microsoft's worker: the host's end of worker.py.

What triggers comes from the same listeners, timers and routes; only the invocation goes elsewhere.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import azure.functions as func

from host.declared import Function, NotRunnable
from host.invocation import thread_count

log = logging.getLogger("host")
INDEX_SECONDS = 120.0
END_SECONDS = 30.0


def worker_python(root: Path) -> Path | None:
    """The interpreter of the worker's environment, which dev.py makes; None where it is not."""
    place = root / ".venv-worker" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return place if place.is_file() else None


class FunctionFailed(Exception):  # noqa: N818 - the function failed, not this
    """An invocation failed in the worker; the sentence is its exception's."""


class WorkerProcess:
    """One worker: it indexes the app of a folder, invokes, and ends when its input ends."""

    def __init__(
        self,
        python: Path,
        folder: Path,
        settings: Mapping[str, str],
        *,
        errors: int | None = None,
    ) -> None:
        """`python` is of an environment with the worker's library; `errors` takes its log."""
        self.threads = thread_count(settings)
        self.ended: dict[str, list[int]] = {}
        self._process = subprocess.Popen(
            [str(python), "-m", "host.worker"],
            cwd=folder,
            env=dict(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        self._asked: dict[int, Future[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._number = 0
        self._gone = False
        self._reader = threading.Thread(target=self._read, name="worker", daemon=True)
        self._reader.start()

    def index(self) -> dict[str, Any]:
        """What the worker says of the app: functions, versions; NotRunnable when it refuses it."""
        told = self._ask({"do": "index"}).result(INDEX_SECONDS)
        if not told["ok"]:
            raise NotRunnable(f"Microsoft's worker refuses the app: {told['error']}")
        return told

    def functions(self) -> tuple[Function, ...]:
        """Let the worker index the app; returns its functions."""
        return self.functions_of(self.index())

    @staticmethod
    def functions_of(told: Mapping[str, Any]) -> tuple[Function, ...]:
        """The functions of what the worker said of the app."""
        return tuple(
            Function(
                name=one["name"],
                trigger=next(b for b in one["bindings"] if str(b["type"]).endswith("Trigger")),
                bindings=tuple(one["bindings"]),
            )
            for one in told["functions"]
        )

    def refused(self) -> list[str]:
        """What the worker asked for that is not on this machine."""
        told = self._ask({"do": "refused"}).result(END_SECONDS)
        return [str(one) for one in told["refused"]]

    def submit(self, function: Function, given: Any, reason: str) -> Future[Any]:
        """Invoke a function in the worker; a failure is FunctionFailed."""
        log.info("Executing 'Functions.%s' (Reason='%s')", function.name, reason)
        began = time.monotonic()
        made: Future[Any] = Future()
        made.set_running_or_notify_cancel()

        def end(asked: Future[dict[str, Any]]) -> None:
            told = asked.result()
            with self._lock:
                self.ended.setdefault(function.name, [0, 0])[not told["ok"]] += 1
            took = 1000 * (time.monotonic() - began)
            if told["ok"]:
                log.info("Executed 'Functions.%s' (Succeeded, %.0fms)", function.name, took)
                made.set_result(_answer(told.get("http")))
            else:
                log.error("Executed 'Functions.%s' (Failed, %.0fms)", function.name, took)
                made.set_exception(FunctionFailed(told["error"]))

        document = {"do": "invoke", "function": function.name, "given": _plain(given)}
        self._ask(document).add_done_callback(end)
        return made

    def close(self) -> None:
        """Let the worker end what runs, then end it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _ask(self, document: dict[str, Any]) -> Future[dict[str, Any]]:
        asked: Future[dict[str, Any]] = Future()
        assert self._process.stdin is not None
        with self._lock:
            if self._gone:
                asked.set_result(GONE)
                return asked
            self._number += 1
            self._asked[self._number] = asked
            try:
                self._process.stdin.write(json.dumps({"id": self._number, **document}) + "\n")
                self._process.stdin.flush()
            except (OSError, ValueError):
                del self._asked[self._number]
                asked.set_result(GONE)
        return asked

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self._lock:
                asked = self._asked.pop(told["id"])
            asked.set_result(told)
        with self._lock:
            self._gone = True
            left, self._asked = list(self._asked.values()), {}
        for asked in left:
            asked.set_result(GONE)


GONE: dict[str, Any] = {"ok": False, "error": "the worker process ended", "refused": []}


def _plain(given: Any) -> dict[str, Any]:
    """What triggered, as worker.py takes it."""
    if isinstance(given, func.TimerRequest):
        return {
            "timer": {
                "IsPastDue": given.past_due,
                "ScheduleStatus": getattr(given, "schedule_status", None),
                "Schedule": getattr(given, "schedule", None),
            }
        }
    body = base64.b64encode(given.get_body()).decode()
    if isinstance(given, func.HttpRequest):
        return {
            "method": given.method,
            "url": given.url,
            "headers": dict(given.headers.items()),
            "parts": dict(given.route_params),
            "query": dict(given.params),
            "body": body,
        }
    times = {
        "InsertionTime": given.insertion_time,
        "ExpirationTime": given.expiration_time,
        "NextVisibleTime": given.time_next_visible,
    }
    return {
        "body": body,
        "metadata": {
            "Id": given.id,
            "PopReceipt": given.pop_receipt or "",
            "DequeueCount": given.dequeue_count,
            **{name: time.isoformat() for name, time in times.items() if time is not None},
        },
    }


def _answer(http: Mapping[str, Any] | None) -> func.HttpResponse | None:
    if http is None:
        return None
    headers = {str(name): str(value) for name, value in http["headers"].items()}
    kind = next((headers[name] for name in headers if name.lower() == "content-type"), "")
    return func.HttpResponse(
        base64.b64decode(http["body"]),
        status_code=http["status"],
        headers={name: headers[name] for name in headers if name.lower() != "content-type"},
        mimetype=kind.partition(";")[0].strip() or "text/plain",
    )
