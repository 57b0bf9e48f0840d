"""The stand-in of the Functions host: puts listeners, timers and the HTTP door over one app.

An approximation for laptops and tests: it keeps the rules that functions can notice (queues.py,
timers.py, routes.py) and has nothing of scaling, keys, billing or the platform's storage layout.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from datetime import UTC, datetime
from typing import Any, Self

from azure.core.exceptions import ResourceExistsError
from azure.functions.queue import QueueMessage
from azure.storage.blob import ContainerClient
from werkzeug.serving import BaseWSGIServer

from host.declared import App, Function, NotRunnable
from host.invocation import Invokes
from host.queues import Listener
from host.routes import Door, serve
from host.timers import Clock, checked, request

log = logging.getLogger("host")
RENEW_SECONDS = 1.0
STOP_LOOK_SECONDS = 0.1
"""How often the HTTP server looks whether it is to end."""


class Host:
    """Runs an app until it is stopped; use as a context, or `start` and `stop`."""

    def __init__(
        self,
        app: App,
        invoker: Invokes,
        *,
        port: int | None = 0,
        timers: bool = True,
        queues: bool = True,
    ) -> None:
        """`port` None: no HTTP. NotRunnable is raised where a setting is not there."""
        self.app = app
        self.invoker = invoker
        self.listeners = [self._listener(one) for one in app.of("queueTrigger")] if queues else []
        self._clock = Clock(app, self.invoker) if timers else None
        self._server: BaseWSGIServer | None = None
        if port is not None:
            self._server = serve(Door(app, self.invoker, self.fire), port)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Where HTTP functions answer."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.port}"

    def start(self) -> None:
        """Begin to listen, to wait for times and to answer."""
        self._threads = [threading.Thread(target=self._renew, name="leases", daemon=True)]
        if self._server is not None:
            answer = threading.Thread(
                target=self._server.serve_forever,
                args=(STOP_LOOK_SECONDS,),
                name="http",
                daemon=True,
            )
            self._threads.append(answer)
        for thread in self._threads:
            thread.start()
        for listener in self.listeners:
            listener.start()
        if self._clock is not None:
            self._clock.start()

    def stop(self) -> None:
        """Take nothing new, let what runs end, give everything back."""
        if self._clock is not None:
            self._clock.stop()
        for listener in self.listeners:
            listener.stop()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self.invoker.close()
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for listener in self.listeners:
            listener.close()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def fire(self, name: str, body: str) -> None:
        """Invoke a queue or timer function in the background, as the admin address does."""
        function = self.app.named(name)
        reason = "This function was programmatically called via the host APIs."
        self.invoker.submit(function, given(self.app, function, body), reason)

    def idle(self) -> bool:
        """Say whether no message is being worked."""
        return not any(listener.running for listener in self.listeners)

    def _listener(self, function: Function) -> Listener:
        name = str(function.trigger["queueName"])
        return Listener(
            function,
            self.app.resolved(name, where=f"queue function {function.name}"),
            connection=self.app.connection(function),
            rules=self.app.queues,
            invoker=self.invoker,
            on_poison=self._hurry,
        )

    def _hurry(self, queue: str) -> None:
        for listener in self.listeners:
            if listener.queue == queue:
                listener.hurry()

    def _renew(self) -> None:
        while not self._stopping.wait(RENEW_SECONDS):
            for listener in self.listeners:
                listener.renew()


def given(app: App, function: Function, body: str) -> Any:
    """What a queue or timer function is given when a person invokes it."""
    now = datetime.now(UTC)
    if function.kind == "queueTrigger":
        return QueueMessage(  # type: ignore[no-untyped-call]
            id="by-hand", body=body.encode(), dequeue_count=1, insertion_time=now, pop_receipt=""
        )
    if function.kind == "timerTrigger":
        where = f"timer {function.name}"
        schedule = app.resolved(str(function.trigger["schedule"]), where=where)
        return request(checked(schedule, where=where), now=now)
    raise NotRunnable(f"{function.name} answers HTTP: ask it at its address")


def invoke(app: App, invoker: Invokes, name: str, body: str) -> None:
    """Invoke one queue or timer function here and now; what it raises is raised."""
    function = app.named(name)
    try:
        invoker.submit(function, given(app, function, body), "invoked by hand").result()
    finally:
        invoker.close()


def make_containers(app: App, names: tuple[str, ...]) -> None:
    """Make the blob containers that the deployment makes in Azure, where the queues are."""
    connection = app.connection(app.of("queueTrigger")[0])
    for name in names:
        with (
            ContainerClient.from_connection_string(connection, name) as container,
            contextlib.suppress(ResourceExistsError),
        ):
            container.create_container()
