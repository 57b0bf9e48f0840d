"""The SQLite file: connection, transactions, counters, exact arithmetic and stored definitions.

One real SQLite table per Dataverse table; names that begin with an underscore are the platform's
own. One connection under one lock serves all threads, which makes every request atomic; a file can
be shared with other processes (WAL), whose commits are noticed at the next request.
"""

from __future__ import annotations

import json
import pickle
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from emulator.clock import Clock
from emulator.dataverse import values
from emulator.dataverse.schema import Definition, Schema
from emulator.wire import encode

_NAMESPACE = uuid.UUID("d0a7a5e0-2026-5000-9000-0000c5bdb111")
_LAYOUT = """
CREATE TABLE IF NOT EXISTS _counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _definition (
  position INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
  born TEXT NOT NULL, definition TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS _tombstone (
  "table" TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY ("table", id));
CREATE TABLE IF NOT EXISTS _file (
  id TEXT PRIMARY KEY, "table" TEXT NOT NULL, "row" TEXT NOT NULL, "column" TEXT NOT NULL,
  name TEXT NOT NULL, mime TEXT NOT NULL, content BLOB NOT NULL);
"""
MEMORY = ":memory:"
_START = {"guid": 0, "version": 1_000_000, "otc": 10_000, "metadata": 0}


class Store:
    """Rows and definitions in SQLite; every change happens inside `transaction()`."""

    def __init__(self, *, file: str, clock: Clock, seed: int) -> None:
        self.file = file
        self.clock = clock
        self.seed = seed
        self.lock = threading.RLock()
        self.schema = Schema()
        self.connection = sqlite3.connect(
            file, isolation_level=None, check_same_thread=False, cached_statements=1024, timeout=30
        )
        # Python 3.13 warns of connections that are collected open; who forgets to close is forgiven.
        weakref.finalize(self, self.connection.close)
        self.after_commit: list[Callable[[], None]] = []
        """What waits for the transaction at work; forgotten when it is rolled back."""
        self._depth = 0
        self._counters: dict[str, int] = {}
        self._seen_version = -1
        self._seen_metadata = 0
        self._prepare()

    def _prepare(self) -> None:
        connection = self.connection
        connection.create_collation("decimal", values.compare_decimals)
        # typeshed only knows aggregates of integers
        connection.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]
        connection.create_aggregate("exact_avg", 1, _ExactAverage)  # type: ignore[arg-type]
        self._write_ahead()
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_LAYOUT)
        self.load_schema()

    def _write_ahead(self) -> None:
        """Enter WAL mode; SQLite does not wait for a process that enters it at this moment."""
        for last in (*[False] * 300, True):
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as problem:
                if last or problem.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                time.sleep(0.01)
            else:
                return

    def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        with self.lock:
            self.connection.close()

    def clear(self) -> None:
        """Drop every table and start the counters anew."""
        with self.lock:
            names = self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (name,) in names:
                self.connection.execute(f'DROP TABLE "{name}"')
            self.connection.executescript(_LAYOUT)
            self.load_schema()

    def rows(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.connection.execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Any = ()) -> tuple[Any, ...] | None:
        """The first row of a query."""
        row: tuple[Any, ...] | None = self.connection.execute(sql, parameters).fetchone()
        return row

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; an inner transaction is part of the outer one."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self.connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        before = dict(self.rows("SELECT name, value FROM _counter"))
        self._counters = _START | before
        metadata = self.schema.version
        try:
            yield
            changed = [(n, v) for n, v in self._counters.items() if before.get(n) != v]
            self.connection.executemany("INSERT OR REPLACE INTO _counter VALUES (?, ?)", changed)
            self.connection.execute("COMMIT")
            for act in self.after_commit:
                act()
        except BaseException:
            self.connection.execute("ROLLBACK")
            if self.schema.version != metadata:
                self.load_schema()
            raise
        finally:
            self.after_commit.clear()
            self._depth = 0

    def next_guid(self) -> str:
        """The next id of this store: the same sequence for the same seed."""
        self._counters["guid"] += 1
        return str(uuid.uuid5(_NAMESPACE, f"{self.seed}/{self._counters['guid']}"))

    def next_version(self) -> int:
        """The next row version; it only grows, like SQL Server's rowversion."""
        self._counters["version"] += 1
        return self._counters["version"]

    def next_type_code(self) -> int:
        """The object type code of a new custom table."""
        self._counters["otc"] += 1
        return self._counters["otc"]

    def current_version(self) -> int:
        """The highest row version that was given out."""
        if self._depth:
            return self._counters["version"]
        row = self.one("SELECT value FROM _counter WHERE name = 'version'")
        return int(row[0]) if row else _START["version"]

    def notice_other_processes(self) -> None:
        """Compile the definitions again when another process has committed to the file."""
        if self.file == MEMORY or self._depth:
            return
        row = self.one("PRAGMA data_version")
        if row is not None and row[0] != self._seen_version:
            self._seen_version = row[0]
            if self._stored_metadata() != self._seen_metadata:
                self.load_schema()

    def _stored_metadata(self) -> int:
        row = self.one("SELECT value FROM _counter WHERE name = 'metadata'")
        return int(row[0]) if row else 0

    def load_schema(self) -> None:
        """Compile all stored definitions."""
        stored = self.rows(
            "SELECT kind, id, owner, born, definition FROM _definition ORDER BY position"
        )
        schema = pickle.loads(_compiled(tuple(stored)))  # noqa: S301 - of this process
        schema.version = self.schema.version + 1
        self.schema = schema
        self._seen_metadata = self._stored_metadata()

    def copy_from(self, other: Store) -> None:
        """Hold what another store holds; no transaction may be open."""
        with other.lock:
            other.connection.backup(self.connection)
        self.load_schema()

    def save_definition(
        self, kind: str, component_id: str, owner: str, born: datetime, definition: Definition
    ) -> None:
        """Store a new definition and compile it."""
        self.connection.execute(
            "INSERT INTO _definition (kind, id, owner, born, definition) VALUES (?, ?, ?, ?, ?)",
            (kind, component_id, owner, born.isoformat(), encode(definition)),
        )
        self.schema.add_component(kind, component_id, owner, born, definition)
        self._note_metadata()

    def replace_definition(self, component_id: str, definition: Definition) -> None:
        """Store a changed definition; the caller compiles (most changes touch one object)."""
        self.connection.execute(
            "UPDATE _definition SET definition = ? WHERE id = ?", (encode(definition), component_id)
        )
        self._note_metadata()

    def delete_definitions(self, *component_ids: str) -> None:
        """Forget stored definitions, with what they own."""
        self.connection.executemany(
            "DELETE FROM _definition WHERE id = ?", [(c,) for c in component_ids]
        )
        self._note_metadata()

    def _note_metadata(self) -> None:
        self.schema.version += 1
        self._counters["metadata"] += 1
        self._seen_metadata = self._counters["metadata"]


@lru_cache(maxsize=8)
def _compiled(stored: tuple[tuple[str, str, str, str, str], ...]) -> bytes:
    """The schema of these definitions, pickled: most stores of a process begin with the same."""
    schema = Schema()
    for kind, component_id, owner, born, text in stored:
        definition = json.loads(text, parse_float=Decimal)
        schema.add_component(kind, component_id, owner, datetime.fromisoformat(born), definition)
    return pickle.dumps(schema, pickle.HIGHEST_PROTOCOL)


class _ExactSum:
    """SUM over decimal texts without binary floats; null when no row had a value."""

    def __init__(self) -> None:
        self.total: Decimal | None = None
        self.count = 0

    def step(self, text: str | int | None, /) -> None:
        if text is not None:
            number = Decimal(text)
            self.total = number if self.total is None else values.EXACT.add(self.total, number)
            self.count += 1

    def finalize(self) -> str | None:
        return None if self.total is None else format(self.total, "f")


class _ExactAverage(_ExactSum):
    """AVG over decimal texts, to ten decimals."""

    def finalize(self) -> str | None:
        if self.total is None:
            return None
        return values.fixed(values.EXACT.divide(self.total, Decimal(self.count)), 10)
