"""Does everything answer that the worker needs? Each system is asked at once, within a short time.

A system that hangs is asked by one thread and no more: until that has come back it is not ready.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from app.http_models import DependencyShown, ReadyShown
from domain.problems import ServiceError

DEADLINE = 5.0
"""Seconds for all of them together: probes of a platform wait no longer."""
Check = Callable[[], Any]


class Readiness:
    """Asks systems; safe for threads."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._deadline = deadline
        self._clock = clock
        self._asked: dict[str, tuple[Future[None], float]] = {}
        self._lock = threading.Lock()

    def look(self) -> ReadyShown:
        """Ask every system; says of each whether it answered in time, and never what it said."""
        begun = {name: self._ask(name, check) for name, check in self._checks.items()}
        until = self._clock() + self._deadline
        told = [self._told(name, *asked, until) for name, asked in begun.items()]
        return ReadyShown(ready=all(one.ready for one in told), dependencies=tuple(told))

    def _ask(self, name: str, check: Check) -> tuple[Future[None], float]:
        with self._lock:
            known = self._asked.get(name)
            if known is not None and not known[0].done():
                return known
            future: Future[None] = Future()
            self._asked[name] = future, self._clock()

        def ask() -> None:
            try:
                check()
            except BaseException as fault:  # noqa: BLE001 - it is told, whatever it is
                future.set_exception(fault)
            else:
                future.set_result(None)

        # A daemon: a system that never answers keeps no process from ending.
        threading.Thread(target=ask, name=f"ready-{name}", daemon=True).start()
        return self._asked[name]

    def _told(
        self, name: str, future: Future[None], started: float, until: float
    ) -> DependencyShown:
        try:
            fault = future.exception(timeout=max(until - self._clock(), 0))
        except TimeoutError:
            problem = "no answer in time"
        else:
            problem = _kind(fault) if fault else ""
        return DependencyShown(
            name=name,
            ready=not problem,
            milliseconds=round((self._clock() - started) * 1000),
            problem=problem,
        )


def _kind(fault: BaseException) -> str:
    """Name a fault by its kind and status: its words may hold what is nobody's business."""
    status = fault.status if isinstance(fault, ServiceError) else None
    return type(fault).__name__ + (f" {status}" if status else "")
