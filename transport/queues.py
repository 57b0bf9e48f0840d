"""Queues of small messages: Azure Storage queues, or the same manners inside one process.

At least once, in no order: a received message is leased, comes back unless it is deleted, and goes
to the queue's poison queue after its last try, as the Functions host does it. Queue names are the
kinds of work. In the cloud the host receives; `receive` serves the embedded mode and local runs.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.problems import InvariantBroken, Unavailable
from transport.auth import RETRY, identity
from transport.claims import Claims
from transport.session import Now

KINDS = ("start", "pull", "bill", "close", "event", "handoff", "feedback", "report")
MAX_TRIES = 5
MAX_BYTES = 48 * 1024  # of raw text: Azure's limit is 64 KiB of Base64
LEASE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A leased message; `receipt` proves the lease."""

    id: str
    kind: str
    body: str
    dequeue_count: int
    receipt: str


@dataclass(slots=True)
class _Waiting:
    id: str
    body: str
    visible_at: datetime
    tries: int = 0


@dataclass(slots=True)
class _MemoryLine:
    waiting: deque[_Waiting] = field(default_factory=deque)
    poisoned: list[Message] = field(default_factory=list)


class MemoryQueue:
    """Queues in this process; what is on them is lost with it. Safe for threads."""

    def __init__(
        self,
        *,
        now: Now = lambda: datetime.now(UTC),
        max_tries: int = MAX_TRIES,
        stamp: Callable[[str], str] = str,
        claims: Claims | None = None,
    ) -> None:
        """`stamp` may write into each message where its trace goes on; `claims` keep large ones."""
        self._stamp = stamp
        self._claims = claims
        self._now = now
        self._max_tries = max_tries
        self._number = 0
        self._lines = {kind: _MemoryLine() for kind in KINDS}
        self._lock = threading.Lock()

    def send(self, kind: str, messages: Iterable[str], *, after: timedelta = timedelta(0)) -> int:
        """Put JSON messages on the queue of their kind, to be seen after a while; returns how many."""
        line = self._lines[_known(kind)]
        bodies = [_fitting(self._stamp(message), self._claims) for message in messages]
        with self._lock:
            for body in bodies:
                self._number += 1
                line.waiting.append(_Waiting(f"{kind}-{self._number}", body, self._now() + after))
        return len(bodies)

    def receive(self, kind: str, *, lease: timedelta = LEASE) -> Message | None:
        """Lease the oldest visible message; one that was tried too often is put aside first."""
        line = self._lines[_known(kind)]
        with self._lock:
            for one in [one for one in line.waiting if one.visible_at <= self._now()]:
                one.tries += 1
                message = Message(
                    id=one.id,
                    kind=kind,
                    body=one.body,
                    dequeue_count=one.tries,
                    receipt=f"{one.id}/{one.tries}",
                )
                if one.tries > self._max_tries:
                    line.waiting.remove(one)
                    line.poisoned.append(replace(message, dequeue_count=self._max_tries))
                    continue
                one.visible_at = self._now() + lease
                return message
        return None

    def delete(self, message: Message) -> None:
        """Remove a message that was worked; without effect when its lease was lost."""
        self._with(message, lambda line, one: line.waiting.remove(one))

    def release(self, message: Message, *, after: timedelta = timedelta(0)) -> None:
        """Give a message back, to be seen again after a pause."""

        def give_back(_: _MemoryLine, one: _Waiting) -> None:
            one.visible_at = self._now() + after

        self._with(message, give_back)

    def poisoned(self, kind: str) -> tuple[Message, ...]:
        """Return what was given up on."""
        return tuple(self._lines[_known(kind)].poisoned)

    def lengths(self) -> dict[str, int]:
        """Count the messages on each queue, leased ones too; poison queues as `KIND-poison`."""
        with self._lock:
            waiting = {kind: len(line.waiting) for kind, line in self._lines.items()}
            poisoned = {f"{kind}-poison": len(o.poisoned) for kind, o in self._lines.items()}
        return {**waiting, **poisoned}

    def __len__(self) -> int:
        """Count the messages that wait or are leased, of all kinds."""
        return sum(len(line.waiting) for line in self._lines.values())

    def _with(self, message: Message, act: Callable[[_MemoryLine, _Waiting], None]) -> None:
        line = self._lines[message.kind]
        with self._lock:
            for one in line.waiting:
                if f"{one.id}/{one.tries}" == message.receipt:
                    act(line, one)
                    return


class AzureQueue:
    """Azure Storage queues, Base64 as the Functions host expects; Bicep makes them.

    Give a connection string (Azurite, local), or an account URL, which signs in by identity.
    `api_version` is for a local Azurite that is older than the client library.
    """

    def __init__(
        self,
        *,
        account_url: str = "",
        connection_string: str = "",
        client_id: str = "",
        api_version: str | None = None,
        create: bool = False,
        stamp: Callable[[str], str] = str,
        claims: Claims | None = None,
    ) -> None:
        """`stamp` may write into each message where its trace goes on; `claims` keep large ones."""
        self._stamp = stamp
        self._claims = claims
        self._account_url = account_url
        self._connection_string = connection_string
        self._client_id = client_id
        self._options: dict[str, Any] = dict(RETRY)
        if api_version:
            self._options["api_version"] = api_version
        self._create = create
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def send(self, kind: str, messages: Iterable[str], *, after: timedelta = timedelta(0)) -> int:
        """Put JSON messages on the queue of their kind, to be seen after a while; returns how many."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - heavy

        count = 0
        try:
            client = self._client(_known(kind))
            for message in messages:
                client.send_message(
                    _fitting(self._stamp(message), self._claims),
                    visibility_timeout=int(after.total_seconds()) or None,
                )
                count += 1
        except AzureError as error:
            raise Unavailable(
                f"could not put a message on queue {kind} after {count} of them",
                service="Queue Storage",
                status=getattr(error, "status_code", None),
                hint="check the queue's address, that it exists, and the identity's role on it",
            ) from None
        return count

    def receive(self, kind: str, *, lease: timedelta = LEASE) -> Message | None:
        """Lease a visible message; one that was tried too often goes to the poison queue first."""
        client = self._client(_known(kind))
        while (
            found := client.receive_message(visibility_timeout=int(lease.total_seconds()))
        ) is not None:
            if found.dequeue_count <= MAX_TRIES:
                return Message(
                    id=found.id,
                    kind=kind,
                    body=found.content,
                    dequeue_count=found.dequeue_count,
                    receipt=found.pop_receipt,
                )
            self._client(f"{kind}-poison").send_message(found.content)
            client.delete_message(found)
        return None

    def delete(self, message: Message) -> None:
        """Remove a message that was worked; without effect when its lease was lost."""
        with unless_lost():
            self._client(message.kind).delete_message(message.id, message.receipt)

    def release(self, message: Message, *, after: timedelta = timedelta(0)) -> None:
        """Give a message back, to be seen again after a pause."""
        with unless_lost():
            self._client(message.kind).update_message(
                message.id, message.receipt, visibility_timeout=int(after.total_seconds())
            )

    def poisoned(self, kind: str) -> tuple[Message, ...]:
        """Return the first of what was given up on, without taking it."""
        return tuple(
            Message(
                id=one.id,
                kind=kind,
                body=one.content,
                dequeue_count=one.dequeue_count,
                receipt="",
            )
            for one in self._client(f"{_known(kind)}-poison").peek_messages(32)
        )

    def lengths(self) -> dict[str, int]:
        """Count, about, the messages on each queue, leased ones too; poison queues as `KIND-poison`."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - heavy

        found: dict[str, int] = {}
        for name in [*KINDS, *(f"{kind}-poison" for kind in KINDS)]:
            try:
                properties = self._client(name).get_queue_properties()
            except AzureError as error:
                raise Unavailable(
                    f"could not count the messages of queue {name}",
                    service="Queue Storage",
                    status=getattr(error, "status_code", None),
                    hint="check that the queue exists, and the identity's role on it",
                ) from error
            found[name] = int(properties.approximate_message_count or 0)
        return found

    def _client(self, name: str) -> Any:
        with self._lock:
            if name not in self._clients:
                self._clients[name] = self._open(name)
            return self._clients[name]

    def _open(self, name: str) -> Any:
        from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415 - heavy
        from azure.storage.queue import (  # noqa: PLC0415
            QueueClient,
            TextBase64DecodePolicy,
            TextBase64EncodePolicy,
        )

        options: dict[str, Any] = {
            "message_encode_policy": TextBase64EncodePolicy(),
            "message_decode_policy": TextBase64DecodePolicy(),
            **self._options,
        }
        if self._connection_string:
            client = QueueClient.from_connection_string(self._connection_string, name, **options)
        else:
            client = QueueClient(
                self._account_url, name, credential=identity(self._client_id), **options
            )
        if self._create:
            with contextlib.suppress(ResourceExistsError):
                client.create_queue()
        return client


@contextlib.contextmanager
def unless_lost() -> Iterator[None]:
    """Act on a leased message, without effect where its lease ended and somebody else has it."""
    from azure.core.exceptions import HttpResponseError  # noqa: PLC0415 - heavy

    try:
        yield
    except HttpResponseError as error:
        if getattr(error, "error_code", None) not in ("MessageNotFound", "PopReceiptMismatch"):
            raise


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise InvariantBroken(f"no queue for {kind!r}: the kinds are {', '.join(KINDS)}")
    return kind


def _fitting(message: str, claims: Claims | None) -> str:
    """Return what to send of a message: itself, or its claim where it is too large."""
    if claims is not None:
        return claims.check_in(message)
    size = len(message.encode())
    if size > MAX_BYTES:
        raise InvariantBroken(f"a message of {size} bytes: a message carries keys, not data")
    return message
