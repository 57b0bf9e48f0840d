"""A worker process that counts what it does: `python -m host --queues-only`, and figures on demand.

    python -m bench.scaleout_worker < ADDRESSES

ADDRESSES is one line of JSON: by the beginning of an address the name of the system there. Each
SIGUSR1 writes a line of JSON to stdout: processor seconds and peak memory of this process, and by
system how many requests went out and how many bytes went and came since the start.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import threading
import time
from collections import Counter
from typing import Any

import requests
import requests.adapters

from host.__main__ import main

LOOK = "queue looks"
"""Asking an empty queue is a request too; how many depends on time, not on work."""


CATALOGUE = "catalogue"
"""Asked once for each product and process where it answers; the emulated one says 404 each time."""
ITEMS = "dataverse items"
"""What its daily entitlement counts: each operation of a batch, each row of a bulk request."""
_OPERATION = re.compile(rb"^(GET|POST|PATCH|PUT|DELETE) ", re.MULTILINE)


def items(url: str, body: bytes) -> int:
    """Return how many operations a request to Dataverse stands for."""
    if url.endswith("/$batch"):
        return len(_OPERATION.findall(body))
    if url.endswith("Multiple"):
        return body.count(b"@odata.type")
    return 1


class Counts:
    """What went to which system."""

    def __init__(self, systems: dict[str, str]) -> None:
        self.systems = systems
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self._lock = threading.RLock()  # a signal may come while its own thread counts

    def watch(self) -> None:
        """Count from now on whatever goes out by requests, storage too."""
        send = requests.adapters.HTTPAdapter.send

        def counted(self_: Any, request: requests.PreparedRequest, **options: Any) -> Any:
            answer = send(self_, request, **options)
            self.note(request, answer)
            return answer

        requests.adapters.HTTPAdapter.send = counted  # type: ignore[method-assign]

    def note(self, request: requests.PreparedRequest, answer: requests.Response) -> None:
        """Count a request with its answer."""
        url = request.url or ""
        system = next((name for start, name in self.systems.items() if url.startswith(start)), "")
        if system == "queue" and request.method == "GET":
            system = LOOK
        elif system == "partner_center" and "/availabilities/" in url:
            system = CATALOGUE
        body = request.body.encode() if isinstance(request.body, str) else request.body
        body = body if isinstance(body, bytes) else b""
        with self._lock:
            self.requests[system] += 1
            if system == "dataverse":
                self.requests[ITEMS] += items(url, body)
            self.sent[system] += len(body)
            self.received[system] += int(answer.headers.get("Content-Length") or 0)

    def told(self) -> str:
        """The figures so far."""
        with self._lock:
            return json.dumps(
                {
                    "cpu": time.process_time(),
                    "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                    "requests": self.requests,
                    "sent": self.sent,
                    "received": self.received,
                }
            )


if __name__ == "__main__":
    counts = Counts(json.loads(sys.stdin.readline()))
    counts.watch()
    # Not by print: a signal may come in the middle of one.
    signal.signal(signal.SIGUSR1, lambda *_: os.write(1, f"{counts.told()}\n".encode()))
    print("ready", flush=True)
    sys.exit(main(["--queues-only", "--quiet"]))
