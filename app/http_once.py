"""`Idempotency-Key`: the same key with the same request is one request, on however many instances.

A row of the ledger keeps it, because its write under "must not exist" is what all instances share:
`asked/<hash of caller, address and key>`, with the hash of the request in place of a run. It is queued
until the message is sent and settled from then on. A crash between the two sends the message again,
which the ledger of units makes harmless. What is refused leaves no row, so its key is free. Rows of
kind `asked` may be deleted when nobody repeats any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from app.http_reading import Refused, idempotency_key
from domain.problems import Conflict
from domain.run import UnitOfWork, UnitStatus
from sync.ports import Ports

if TYPE_CHECKING:
    from pydantic import BaseModel

    from app.http_door import Asked

M = TypeVar("M")

KIND = "asked"


def once(
    asked: Asked,
    address: str,
    wanted: BaseModel,
    *,
    make: Callable[[datetime, bool], M],
    send: Callable[[M], object],
) -> M:
    """Make the message of a request and send it, unless the same request has sent it; return it.

    Without a key every time is the first. `make` is given when it was first asked, and whether it is
    sent already; it may refuse. Refused (422) where the key stands for another request.
    """
    ports, key = asked.worker.ports, idempotency_key(asked.req)
    if not key:
        made = make(ports.now(), False)
        send(made)
        return made
    row = f"{KIND}/{_hash([asked.caller.object_id, address, key])}"
    unit, version, made = _noted(ports, row, _hash(wanted.model_dump(mode="json")), make)
    if unit.status is not UnitStatus.SETTLED:
        send(made)
        settled = replace(unit, status=UnitStatus.SETTLED, finished_at=ports.now())
        with suppress(Conflict):  # another instance has sent the same
            ports.store.put_unit(settled, version)
    return made


def _noted(
    ports: Ports, key: str, request: str, make: Callable[[datetime, bool], M]
) -> tuple[UnitOfWork, str, M]:
    """Return the row of a key and its message; the row is written when the message can be made."""
    found = ports.store.unit(key)
    if found is None:
        moment = ports.now().replace(microsecond=0)  # as it will be read
        made = make(moment, False)
        unit = UnitOfWork(
            key=key,
            kind=KIND,
            run_key=f"{KIND}/{request}",
            status=UnitStatus.QUEUED,
            started_at=moment,
        )
        try:
            return unit, ports.store.put_unit(unit, None), made
        except Conflict:
            found = ports.store.unit(key)
            if found is None:
                raise
    unit, version = found
    if unit.run_key != f"{KIND}/{request}":
        raise Refused(
            422,
            "this Idempotency-Key stands for another request",
            hint="send a new key with each new request",
        )
    assert unit.started_at is not None
    return unit, version, make(unit.started_at, unit.status is UnitStatus.SETTLED)


def _hash(what: Any) -> str:
    text = json.dumps(what, sort_keys=True, ensure_ascii=False)
    return sha256(text.encode()).hexdigest()[:32]
