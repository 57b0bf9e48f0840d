"""One invocation of a function: what it is given, where it runs, how it ends.

As in the platform's worker, plain functions of a process share one pool of threads
(PYTHON_THREADPOOL_THREAD_COUNT), whatever triggered them, and a coroutine function gets a loop.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import azure.functions as func

from host.declared import Function

log = logging.getLogger("host")


class Context(func.Context):
    """What a function that takes `context` is told."""

    def __init__(self, name: str, folder: Path) -> None:
        self._id = str(uuid.uuid4())
        self._name = name
        self._folder = folder
        self._local = threading.local()
        # A caller's trace comes in by the headers of HTTP only; here each invocation begins one.
        parent = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
        self._trace = SimpleNamespace(
            Traceparent=parent,
            Tracestate="",
            Attributes={},
            trace_parent=parent,
            trace_state="",
            attributes={},
        )

    @property
    def invocation_id(self) -> str:
        """Which invocation this is."""
        return self._id

    @property
    def thread_local_storage(self) -> Any:
        """Kept for each thread."""
        return self._local

    @property
    def function_name(self) -> str:
        """Which function is invoked."""
        return self._name

    @property
    def function_directory(self) -> str:
        """Where the app stands."""
        return str(self._folder)

    @property
    def trace_context(self) -> Any:
        """The trace that this invocation is part of."""
        return self._trace

    @property
    def retry_context(self) -> Any:
        """Queue functions are tried again by their message, so there is nothing to tell."""
        return None


class Invokes(Protocol):
    """Who invokes functions: this process, or a worker of its own."""

    threads: int
    ended: dict[str, list[int]]
    """By function: how many invocations succeeded, and how many failed."""

    def submit(self, function: Function, given: Any, reason: str) -> Future[Any]:
        """Invoke a function as soon as a thread is free."""

    def close(self) -> None:
        """Wait for what runs."""


@dataclass(slots=True)
class Invoker:
    """Runs functions in one pool of threads and counts how they ended."""

    folder: Path
    threads: int = field(default_factory=lambda: thread_count(os.environ))
    ended: dict[str, list[int]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="function")

    def submit(self, function: Function, given: Any, reason: str) -> Future[Any]:
        """Invoke a function as soon as a thread is free."""
        return self._pool.submit(self.invoke, function, given, reason)

    def invoke(self, function: Function, given: Any, reason: str) -> Any:
        """Invoke a function in this thread; what it raises is logged and raised."""
        context = Context(function.name, self.folder)
        arguments = {function.argument: given}
        if function.call and "context" in inspect.signature(function.call).parameters:
            arguments["context"] = context
        log.info(
            "Executing 'Functions.%s' (Reason='%s', Id=%s)",
            function.name,
            reason,
            context.invocation_id,
        )
        began = time.monotonic()
        outcome = "Failed"
        try:
            result = _called(function, arguments)
            outcome = "Succeeded"
        except Exception:
            log.exception("Exception while executing function: Functions.%s", function.name)
            raise
        else:
            return result
        finally:
            with self._lock:
                counts = self.ended.setdefault(function.name, [0, 0])
                counts[outcome == "Failed"] += 1
            log.info(
                "Executed 'Functions.%s' (%s, Id=%s, Duration=%.0fms)",
                function.name,
                outcome,
                context.invocation_id,
                1000 * (time.monotonic() - began),
            )

    def close(self) -> None:
        """Wait for what runs; what has not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _called(function: Function, arguments: dict[str, Any]) -> Any:
    assert function.call is not None
    result = function.call(**arguments)
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    if result is not None and function.kind != "httpTrigger":
        raise TypeError(
            f"function {function.name} without a $return binding returned a non-None value"
        )
    return result


def thread_count(settings: Mapping[str, str]) -> int:
    """How many functions run at once in a process of the platform's worker."""
    told = settings.get("PYTHON_THREADPOOL_THREAD_COUNT", "")
    return int(told) if told.isdigit() and int(told) else min(32, (os.cpu_count() or 1) + 4)
