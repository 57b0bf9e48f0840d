"""The claim check: what is too large for a queue waits in the archive, and its claim on the queue.

A message carries keys and is small; should one be larger than a queue takes, its body is put into the
archive under its digest, and a pointer is sent instead. Whoever takes the pointer reads the body back
and proves it: its size and its digest are the pointer's own. Bodies are never removed here: the
storage's life cycle does that, long after a message has expired (infra).
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Protocol

from domain.problems import InvariantBroken, Unreadable

FOLDER = "claims"
LARGEST = 4 << 20
"""Bytes of a body that are taken at all: one that is larger was never meant as a message."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = {"claim", "sha256", "size"}


class Kept(Protocol):
    """Where bodies are kept."""

    def put(self, name: str, content: bytes) -> None:
        """Keep a body."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a body, None when there is none."""
        ...


class Claims:
    """Bodies by claim; `limit` is what a queue takes, in bytes of text."""

    def __init__(self, kept: Kept, *, limit: int) -> None:
        self._kept = kept
        self._limit = limit

    def check_in(self, message: str) -> str:
        """Return what to send: the message, or a pointer to it where it is too large for a queue."""
        body = message.encode()
        if len(body) <= self._limit:
            return message
        if len(body) > LARGEST:
            raise InvariantBroken(
                f"a message of {len(body)} bytes: a message carries keys, not data"
            )
        digest = sha256(body).hexdigest()
        self._kept.put(_name(digest), body)
        return json.dumps({"claim": _name(digest), "sha256": digest, "size": len(body)})

    def redeem(self, body: str | bytes) -> str | bytes:
        """Return the message that a pointer stands for; what is no pointer is returned as it came.

        Unreadable where the body is gone or is not what was sent: no further try would change that.
        """
        claim = _claim(body)
        if claim is None:
            return body
        digest, size = claim
        found = self._kept.read(_name(digest)) if size <= LARGEST else None
        if found is None or len(found) != size or sha256(found).hexdigest() != digest:
            state = "gone" if found is None else "not what was sent"
            raise Unreadable(
                f"the body of a message, {_name(digest)}, is {state}",
                hint="ask for the run again: what is settled is not worked again",
            )
        return found


def _name(digest: str) -> str:
    return f"{FOLDER}/{digest}.json"


def _claim(body: str | bytes) -> tuple[str, int] | None:
    """Return digest and size of a pointer; the name in it is not believed, it follows from the digest."""
    if len(body) > 1024:
        return None
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or set(data) != _FIELDS:
        return None
    digest, size = data["sha256"], data["size"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or type(size) is not int:
        return None
    return (digest, size) if data["claim"] == _name(digest) else None
