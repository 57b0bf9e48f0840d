"""`Idempotency-Key`: the same key with the same request is one request, on however many instances.

A row of the ledger keeps it, because its write under "must not exist" is what all instances share:
`asked/<hash of caller and key>`, with the hash of the request in place of a run. It is queued until
the message is sent and settled from then on. A crash between the two sends the message again, which
the ledger of units makes harmless. Rows of kind `asked` may be deleted when nobody repeats any more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from app.http_reading import Refused
from domain.problems import Conflict
from domain.run import UnitOfWork, UnitStatus
from sync.ports import Ports

KIND = "asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The first time that something was asked: when, and whether its message is sent."""

    moment: datetime
    sent: bool


@contextmanager
def once(ports: Ports, key: str, caller: str, request: dict[str, Any]) -> Iterator[First]:
    """Give the first time of a request; what is done inside without a fault is not done again.

    `key` empty: every time is the first. Refused (422) where the key stands for another request.
    """
    if not key:
        yield First(moment=ports.now(), sent=False)
        return
    unit, version = _row(ports, f"{KIND}/{_hash([caller, key])}", f"{KIND}/{_hash(request)}")
    assert unit.started_at is not None
    sent = unit.status is UnitStatus.SETTLED
    yield First(moment=unit.started_at, sent=sent)
    if not sent:
        settled = replace(unit, status=UnitStatus.SETTLED, finished_at=ports.now())
        try:
            ports.store.put_unit(settled, version)
        except Conflict:
            return  # another instance has sent the same


def _row(ports: Ports, key: str, request: str) -> tuple[UnitOfWork, str]:
    """Return the row of a key, made if it was not there."""
    found = ports.store.unit(key)
    if found is None:
        made = UnitOfWork(
            key=key,
            kind=KIND,
            run_key=request,
            status=UnitStatus.QUEUED,
            started_at=ports.now().replace(microsecond=0),  # as it will be read
        )
        try:
            return made, ports.store.put_unit(made, None)
        except Conflict:
            found = ports.store.unit(key)
            if found is None:
                raise
    if found[0].run_key != request:
        raise Refused(
            422,
            "this Idempotency-Key stands for another request",
            hint="send a new key with each new request",
        )
    return found


def _hash(what: Any) -> str:
    text = json.dumps(what, sort_keys=True, ensure_ascii=False)
    return sha256(text.encode()).hexdigest()[:32]
