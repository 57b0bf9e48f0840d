"""Listens to the queue of one function by the rules of the platform's queue extension.

A message is leased while it is worked and leaves the queue only after success. After a failure it
is out of sight for `visibilityTimeout`; one that failed `maxDequeueCount` times, or that is not
Base64, is copied to NAME-poison and deleted. A poison queue has no poison queue of its own: what
fails there stays leased, and comes again when the lease ends. At most `batchSize` messages are
taken at once, and more only when no more than `newBatchThreshold` run. An empty queue is asked less
and less often, down to once in `maxPollingInterval`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.functions.queue import QueueMessage
from azure.storage.queue import LinearRetry, QueueClient

from host.declared import Function, QueueRules
from host.invocation import Invokes

log = logging.getLogger("host")
FIRST_PAUSE = 0.1
POISON = "-poison"


def queue_client(connection: str, name: str, *, create: bool = True) -> QueueClient:
    """Return a queue as it is, text undecoded; made when absent."""
    # Its own patience begins with 15 seconds, in which the host could not be stopped.
    patience = LinearRetry(backoff=1, retry_total=2, random_jitter_range=0)
    client = QueueClient.from_connection_string(connection, name, retry_policy=patience)
    if create:
        with contextlib.suppress(ResourceExistsError):
            client.create_queue()
    return client


def decoded(content: str, rules: QueueRules) -> bytes | None:
    """The bytes that a function is given; None when the text is not what host.json says."""
    if not rules.base64:
        return content.encode()
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return None


class _Leased:
    """A message that is being worked; its receipt changes each time that the lease is renewed."""

    def __init__(self, client: QueueClient, message: Any, lease: timedelta) -> None:
        self.message = message
        self._client = client
        self._lease = lease
        self._lock = threading.Lock()
        self._receipt = message.pop_receipt
        self._renew_at = time.monotonic() + lease.total_seconds() / 2
        self._ended = False

    def renew(self) -> None:
        """Keep the message out of sight for another lease, when half of it has passed."""
        with self._lock:
            if self._ended or time.monotonic() < self._renew_at:
                return
            with contextlib.suppress(AzureError):
                self._show_again(self._lease)
            self._renew_at = time.monotonic() + self._lease.total_seconds() / 2

    def delete(self) -> None:
        with self._lock, contextlib.suppress(ResourceNotFoundError):
            self._ended = True
            self._client.delete_message(self.message.id, self._receipt)

    def release(self, after: timedelta) -> None:
        with self._lock, contextlib.suppress(ResourceNotFoundError):
            self._ended = True
            self._show_again(after)

    def leave(self) -> None:
        with self._lock:
            self._ended = True

    def _show_again(self, after: timedelta) -> None:
        told = self._client.update_message(
            self.message.id, self._receipt, visibility_timeout=int(after.total_seconds())
        )
        self._receipt = told.pop_receipt


class Listener:
    """Takes messages off one queue and has its function work them, until it is stopped."""

    def __init__(
        self,
        function: Function,
        queue: str,
        *,
        connection: str,
        rules: QueueRules,
        invoker: Invokes,
        on_poison: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.function = function
        self.queue = queue
        self._rules = rules
        self._invoker = invoker
        self._client = queue_client(connection, queue)
        self._poison: QueueClient | None = None
        if not queue.endswith(POISON):
            self._poison = queue_client(connection, queue + POISON)
        self._on_poison = on_poison
        self._running: dict[Future[Any], _Leased] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._hurry = False
        self._thread = threading.Thread(target=self._listen, name=f"listen-{queue}", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more messages; what waits for a thread goes back to the queue at once."""
        with self._changed:
            self._stopping = True
            waiting = list(self._running.items())
            self._changed.notify_all()
        for future, leased in waiting:
            if future.cancel():
                with contextlib.suppress(AzureError):  # else it comes again when its lease ends
                    leased.release(timedelta(0))

    def close(self) -> None:
        """Give the connections back, when it was stopped and nothing runs any more."""
        self._thread.join()
        self._client.close()
        if self._poison is not None:
            self._poison.close()

    def hurry(self) -> None:
        """Look at once: something was put on this queue."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()

    def renew(self) -> None:
        """Lengthen the leases of which half has passed."""
        with self._changed:
            leased = list(self._running.values())
        for one in leased:
            one.renew()

    @property
    def running(self) -> int:
        """How many messages are being worked."""
        return len(self._running)

    def _listen(self) -> None:
        empty = 0
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or len(self._running) <= self._rules.new_batch_threshold
                )
                if self._stopping:
                    return
            try:
                pages = self._client.receive_messages(
                    messages_per_page=self._rules.batch_size,
                    visibility_timeout=int(self._rules.lease.total_seconds()),
                ).by_page()
                found = list(next(pages, ()))
            except AzureError as error:
                log.warning("queue %s cannot be read: %s", self.queue, type(error).__name__)
                found = []
            for message in found:
                try:
                    self._begin(message)
                except AzureError as error:  # it comes again when its lease ends
                    log.warning("queue %s cannot be written: %s", self.queue, type(error).__name__)
            empty = 0 if found else empty + 1
            if not found:
                self._pause(empty)

    def _pause(self, empty: int) -> None:
        """Wait longer after each look that found nothing, with some chance so that looks spread."""
        steps = 2 ** min(empty - 1, 16)
        seconds = FIRST_PAUSE * steps * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        longest = self._rules.max_polling_interval.total_seconds()
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._hurry, timeout=min(seconds, longest)
            )
            self._hurry = False

    def _begin(self, message: Any) -> None:
        leased = _Leased(self._client, message, self._rules.lease)
        body = decoded(message.content, self._rules)
        if body is None:
            log.error("message %s of queue %s is not Base64", message.id, self.queue)
            self._give_up(leased)
            return
        if self._poison is not None and message.dequeue_count > self._rules.max_dequeue_count:
            self._give_up(leased)
            return
        given = QueueMessage(  # type: ignore[no-untyped-call]
            id=message.id,
            body=body,
            dequeue_count=message.dequeue_count,
            expiration_time=message.expires_on,
            insertion_time=message.inserted_on,
            time_next_visible=message.next_visible_on,
            pop_receipt=message.pop_receipt,
        )
        reason = f"New queue message detected on '{self.queue}'."
        with self._changed:
            if self._stopping:
                leased.release(timedelta(0))
                return
            future = self._invoker.submit(self.function, given, reason)
            self._running[future] = leased
        future.add_done_callback(self._end)

    def _end(self, future: Future[Any]) -> None:
        leased = self._running[future]
        try:
            if future.cancelled():
                pass  # given back when the host was stopped
            elif future.exception() is None:
                leased.delete()
            elif self._poison is None:
                leased.leave()
            elif leased.message.dequeue_count >= self._rules.max_dequeue_count:
                self._give_up(leased)
            else:
                leased.release(self._rules.visibility_timeout)
        except AzureError as error:
            log.warning("queue %s cannot be written: %s", self.queue, type(error).__name__)
        finally:
            with self._changed:
                del self._running[future]
                self._changed.notify_all()

    def _give_up(self, leased: _Leased) -> None:
        if self._poison is None:
            leased.leave()
            return
        log.warning(
            "Message has reached MaxDequeueCount of %s. Moving message to queue '%s'.",
            self._rules.max_dequeue_count,
            self._poison.queue_name,
        )
        self._poison.send_message(leased.message.content)
        leased.delete()
        self._on_poison(self._poison.queue_name)
