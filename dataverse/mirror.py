"""What a table holds, kept up to date by its changes: so that a large save asks once, not per row.

Keys and hashes stand in a temporary SQLite file that goes with the process; memory stays flat. The
first look reads the table in pages of five thousand; each later one follows the delta link and sees
what anybody changed or deleted since. Between two looks our own writes are noted.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from dataverse.client import PAGE_SIZE, Changes, DataverseClient
from dataverse.schema import EXTERNAL_KEY, ROW_HASH, Table

_TABLE = "CREATE TABLE {} (key TEXT PRIMARY KEY, id TEXT UNIQUE, hash TEXT) WITHOUT ROWID"


class Mirror:
    """The keys and hashes of one table; safe for threads."""

    def __init__(self, client: DataverseClient, table: Table) -> None:
        self._client = client
        self._table = table
        self._looking = threading.Lock()
        self._lock = threading.Lock()
        self._link = ""
        self._noted: dict[str, str] = {}
        self._noted_before: dict[str, str] = {}
        # An empty name is a private file that SQLite removes by itself.
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode = MEMORY")
        self._rows.execute(_TABLE.format("seen"))
        weakref.finalize(self, self._rows.close)

    def look(self) -> None:
        """See what changed since the last look.

        What we had written before it comes back in it, with what others did to it since; so what we
        noted is then forgotten, and a row of ours that was deleted unseen is not taken to be there.
        """
        with self._looking:
            with self._lock:
                self._noted_before, self._noted = self._noted, {}
            try:
                columns = (EXTERNAL_KEY, ROW_HASH)
                pages = self._client.change_pages(self._table.name, columns, self._link)
                for number, page in enumerate(pages):
                    self._take(page, first=not number)
            except BaseException:
                with self._lock:
                    self._noted = self._noted_before | self._noted
                raise
            finally:
                self._noted_before = {}

    def keep_up(self) -> None:
        """Look past our own writes when they are many: the next look would bring them all back."""
        if len(self._noted) >= PAGE_SIZE and not self._looking.locked():
            self.look()

    def _take(self, page: Changes, *, first: bool) -> None:
        with self._transaction() as rows:
            # What is read anew is not shown in parts: others would miss the rest.
            table = "anew" if page.anew else "seen"
            if page.anew and first:
                rows.execute("DROP TABLE IF EXISTS anew")
                rows.execute(_TABLE.format("anew"))
            gone = [*page.gone]
            known: list[tuple[str, str, str | None]] = []
            for row in page.rows:
                if row[EXTERNAL_KEY]:
                    known.append((row[EXTERNAL_KEY], row[self._table.primary_id], row[ROW_HASH]))
                else:  # a person made it, or took its key away
                    gone.append(row[self._table.primary_id])
            # Also replaces what stands under another key with the same id.
            rows.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", known)  # noqa: S608 - ours
            rows.executemany(f"DELETE FROM {table} WHERE id = ?", ((one,) for one in gone))  # noqa: S608 - ours
            if page.link:
                if page.anew:
                    rows.execute("DROP TABLE seen")
                    rows.execute("ALTER TABLE anew RENAME TO seen")
                self._link = page.link

    def hashes(self, keys: Collection[str]) -> dict[str, str | None]:
        """Return the hashes of those rows that are there."""
        wanted = json.dumps(list(keys))
        with self._lock:
            found: dict[str, str | None] = dict(
                self._rows.execute(
                    "SELECT key, hash FROM seen WHERE key IN (SELECT value FROM json_each(?))",
                    (wanted,),
                )
            )
            for noted in (self._noted_before, self._noted):
                found.update({key: noted[key] for key in noted.keys() & keys})
        return found

    def note(self, hashes: Mapping[str, str]) -> None:
        """Note what we wrote."""
        with self._lock:
            self._noted.update(hashes)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._rows:
            self._rows.execute("BEGIN")
            yield self._rows
