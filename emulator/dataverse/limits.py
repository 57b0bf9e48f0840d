"""Service protection: three limits per user in a sliding window, and failures on demand.

The window slides on the emulator's clock and the execution time is charged, not measured, so that
the same requests are refused in every run. One emulator is one web server.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil

from emulator.clock import Clock
from emulator.dataverse import errors
from emulator.dataverse.settings import Settings


@dataclass(slots=True)
class _Window:
    taken: deque[tuple[datetime, int]] = field(default_factory=deque)
    cost: int = 0
    in_flight: int = 0
    refused: int = 0


class Limits:
    """Admits or refuses requests; thread-safe."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}

    def reset(self) -> None:
        """Forget all windows."""
        with self._lock:
            self._windows.clear()

    @contextmanager
    def admitted(self, user: str, *, cost_ms: int) -> Iterator[None]:
        """Count one request while it runs; 429 with Retry-After when a limit is reached."""
        with self._lock:
            window = self._windows.setdefault(user, _Window())
            self._slide(window)
            if self._settings.throttling:
                self._check(window)
            window.refused = 0
            window.in_flight += 1
            window.taken.append((self._clock.now(), cost_ms))
            window.cost += cost_ms
        try:
            yield
        finally:
            with self._lock:
                window.in_flight -= 1

    def headers(self, user: str) -> dict[str, str]:
        """What a normal answer tells about the limits."""
        with self._lock:
            window = self._windows.get(user, _Window())
            requests = max(self._settings.request_limit - len(window.taken), 0)
            seconds = max(self._settings.execution_limit_ms - window.cost, 0) / 1000
        return {
            "x-ms-dop-hint": str(self._settings.dop_hint),
            "x-ms-ratelimit-burst-remaining-xrm-requests": str(requests),
            "x-ms-ratelimit-time-remaining-xrm-requests": f"{seconds:,.2f}",
        }

    def _slide(self, window: _Window) -> None:
        edge = self._clock.now() - timedelta(seconds=self._settings.window_seconds)
        while window.taken and window.taken[0][0] <= edge:
            window.cost -= window.taken.popleft()[1]

    def _check(self, window: _Window) -> None:
        settings = self._settings
        if window.in_flight >= settings.concurrency_limit:
            kind, wait = "concurrency", 1.0
        elif len(window.taken) >= settings.request_limit:
            kind, wait = "requests", self._until(window.taken[0][0])
        elif window.cost >= settings.execution_limit_ms:
            kind, wait = "time", self._until(window.taken[0][0])
        else:
            return
        window.refused += 1  # who keeps pushing waits longer
        raise errors.throttled(kind, max(ceil(wait), 1) + window.refused - 1)

    def _until(self, oldest: datetime) -> float:
        free = oldest + timedelta(seconds=self._settings.window_seconds)
        return (free - self._clock.now()).total_seconds()


def fault_for(settings: Settings, url: str) -> str:
    """Take the next ordered failure that is meant for this request, or an empty string."""
    for kind, path in settings.faults:
        if path in url:
            settings.faults.remove((kind, path))
            return kind
    return ""
