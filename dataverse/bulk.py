"""Writing many rows of one table: in requests that fit, several at once, down to the one bad row.

A bulk message is all or nothing and does not say which row was bad. So a refused one is halved until
the bad row stands alone; the others are written. One that took too long or was too large is halved as
well, and the next ones are made smaller until it goes well again. Rows are taken from their source as
they are sent, so that memory does not grow with their number. A request may have been done although its
answer was lost: repeating it converges, because each row is addressed by its key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from dataverse.client import SQL_TIMEOUT, TRANSIENT, DataverseClient
from dataverse.schema import EXTERNAL_KEY, Row
from domain.problems import ServiceError, TimedOut
from transport.calls import Threads

CHUNK = 200
"""Rows in one request: Microsoft's advice is 100 to 1000; larger ones are refused more dearly."""
GROW_AFTER = 4
"""Requests that must go well before the next ones are made larger again."""
HOPELESS = 20
"""Refused rows of a first request, and none written: then the fault is not one of the rows."""

TARGET_GONE = frozenset({"0x80060891", "0x80040217"})
"""Codes of a link that leads nowhere: by alternate key, by primary key."""

_TAKEN = "0x80060892"  # the alternate key is there already
_ROW_FAULTS = frozenset({400, 404, 412, 413})
_TOO_LARGE = 413
Keyed = tuple[str, Row]


class Message(StrEnum):
    """The bulk messages. The key is the external key; for UPDATE, which creates nothing, the id.

    CREATE is not repeated when its answer is lost: then nobody knows whose rows are there.
    """

    UPSERT = "UpsertMultiple"
    CREATE = "CreateMultiple"
    UPDATE = "UpdateMultiple"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One row of a bulk write that Dataverse does not take."""

    key: str
    code: str
    sentence: str


class BulkWriter:
    """Bulk writes of one environment; safe for threads."""

    def __init__(self, client: DataverseClient, *, chunk: int = CHUNK) -> None:
        self._client = client
        self._most = chunk
        self._lock = threading.Lock()
        self._sizes: dict[str, _Size] = {}

    def write(
        self,
        table: str,
        rows: Iterable[Keyed | None],
        *,
        message: Message = Message.UPSERT,
        written: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> list[Refused]:
        """Write rows by their keys; returns those that Dataverse refuses.

        Rows that are in flight together must have different keys; a None among them waits until all
        before it are done. `written` is told the keys of each request that went well, from several
        threads. ServiceError when the fault is not one of the rows: then some may be written.
        """
        with self._lock:
            size = self._sizes.setdefault(table, _Size(self._most))
        work = _Write(self._client, table, message, size, written)
        pace = self._client.http.pace
        if pace is None:
            for chunk in filter(None, _chunks(rows, size)):
                work.send(chunk)
            return work.refused
        with Threads(pace.allowance.at_once, "dataverse") as pool:
            flying: set[Future[None]] = set()
            try:
                for chunk in _chunks(rows, size):
                    # Two more than may run, so that no place stays empty.
                    most = pace.most + 1 if chunk else 0
                    while len(flying) > most:
                        flying = _some_done(flying)
                    if chunk:
                        flying.add(pool.submit(work.send, chunk))
                while flying:
                    flying = _some_done(flying)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return work.refused


def _some_done(flying: set[Future[None]]) -> set[Future[None]]:
    done, rest = wait(flying, return_when=FIRST_COMPLETED)
    for one in done:
        one.result()
    return rest


def _chunks(rows: Iterable[Keyed | None], size: _Size) -> Iterator[list[Keyed]]:
    """Cut rows into requests of the size of the moment; an empty one where all must be waited for."""
    chunk: list[Keyed] = []
    for row in rows:
        if row is not None:
            chunk.append(row)
        if chunk and (row is None or len(chunk) >= size.now):
            yield chunk
            chunk = []
        if row is None:
            yield []
    if chunk:
        yield chunk


def _is_too_much(fault: ServiceError) -> bool:
    """Say whether fewer rows may do; a 500 without a known reason is taken for too much as well."""
    slow = isinstance(fault, TimedOut) or fault.code == SQL_TIMEOUT
    return slow or fault.status in (_TOO_LARGE, HTTPStatus.INTERNAL_SERVER_ERROR)


def _is_of_the_table(fault: ServiceError) -> bool:
    """Say whether Dataverse does not even look at rows: the key is not active yet, or not there.

    What is wrong with a row has a code; what is wrong with the address has none, or zero.
    """
    if fault.status != HTTPStatus.BAD_REQUEST or fault.code not in ("", "0x0"):
        return False
    fault.hint = "Run `provision --apply`: it waits until the keys of the tables are active."
    return True


class _Size:
    """How many rows of a table go into one request; all threads learn from each other."""

    def __init__(self, most: int) -> None:
        self.now = most
        self._most = most
        self._good = 0

    def went_well(self) -> None:
        self._good += 1
        if self.now < self._most and self._good >= GROW_AFTER:
            self.now, self._good = min(2 * self.now, self._most), 0

    def was_too_much(self, tried: int) -> None:
        self.now, self._good = max(1, min(self.now, tried // 2)), 0


class _Write:
    """One call of `write`: what was refused so far, and how a request is sent."""

    def __init__(
        self,
        client: DataverseClient,
        table: str,
        message: Message,
        size: _Size,
        written: Callable[[Sequence[str]], None],
    ) -> None:
        self.refused: list[Refused] = []
        self._client = client
        self._table = table
        self._message = message
        self._size = size
        self._written = written
        self._any_written = False
        self._hopeless: ServiceError | None = None
        self._judging = threading.Lock()
        self._path = f"{client.entity_set(table)}/Microsoft.Dynamics.CRM.{message}"
        # Of many rows less is sent rather than the same again.
        codes = client.patience.codes - {SQL_TIMEOUT}
        self._divisible = replace(client.patience, timeouts=False, codes=codes)

    def send(self, rows: Sequence[Keyed]) -> None:
        """Write rows or halve them; ServiceError for a fault that is none of theirs."""
        fault = self._try(rows)
        if fault is None:
            return
        if self._any_written:
            self._divide(rows, fault)
            return
        # Nothing went well yet: one request at a time finds out whether it is the rows at all.
        with self._judging:
            if self._hopeless:
                raise self._hopeless
            self._divide(rows, fault)
            # That a row refers to is gone is no fault of the table, however many refer to it.
            bad = [one for one in self.refused if one.code not in TARGET_GONE]
            if len(bad) >= HOPELESS and not self._any_written:
                fault.hint = (
                    f"no row of {self._table} was taken; compare the tables with `provision --plan`"
                )
                self._hopeless = fault
                raise fault

    def _try(self, rows: Sequence[Keyed]) -> ServiceError | None:
        """Send rows in one request; returns a fault that may be one of the rows."""
        try:
            self._client.call(
                "POST",
                self._path,
                body={"Targets": [self._target(key, columns) for key, columns in rows]},
                keyed=self._message is not Message.CREATE,
                patience=self._divisible if len(rows) > 1 else None,
            )
        except ServiceError as fault:
            if _is_too_much(fault):
                self._size.was_too_much(len(rows))
            elif fault.status not in _ROW_FAULTS or _is_of_the_table(fault):
                raise
            return fault
        self._any_written = True
        self._size.went_well()
        self._written([key for key, _ in rows])
        return None

    def _divide(self, rows: Sequence[Keyed], fault: ServiceError) -> None:
        if len(rows) > 1:
            middle = len(rows) // 2
            for half in (rows[:middle], rows[middle:]):
                problem = self._try(half)
                if problem:
                    self._divide(half, problem)
            return
        if fault.code == _TAKEN and self._message is Message.UPSERT:
            # Somebody else made the row this moment; now it is there and is updated.
            again = self._try(rows)
            if again is None:
                return
            fault = again
        if fault.status != _TOO_LARGE and (_is_too_much(fault) or fault.code in TRANSIENT):
            raise fault
        key = rows[0][0]
        self.refused.append(Refused(key=key, code=fault.code, sentence=str(fault.args[0])))

    def _target(self, key: str, columns: Mapping[str, Any]) -> dict[str, Any]:
        kind = {"@odata.type": f"Microsoft.Dynamics.CRM.{self._table}"}
        match self._message:
            case Message.UPSERT:
                # The key stands in @odata.id alone: in the body as well, creating the row fails.
                return {**kind, "@odata.id": self._client.row_path(self._table, key), **columns}
            case Message.CREATE:
                return {**kind, EXTERNAL_KEY: key, **columns}
            case _:
                return {**kind, f"{self._table}id": key, **columns}
