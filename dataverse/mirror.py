"""What a table holds, kept up to date by its changes: so that a large save asks once, not per row.

Keys and hashes stand in a temporary SQLite file that goes with the process; memory stays flat. The
first look reads the table in pages of five thousand; each later one follows the delta link and sees
what anybody changed or deleted since. Our own writes are noted as they go, so that what comes back
of them says nothing new.
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


class Mirror:
    """The keys and hashes of one table; safe for threads."""

    def __init__(self, client: DataverseClient, table: Table) -> None:
        self._client = client
        self._table = table
        self._looking = threading.Lock()
        self._lock = threading.Lock()
        self._link = ""
        self._own = 0
        self._round = 0
        # An empty name is a private file that SQLite removes by itself.
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._rows.execute(
            "CREATE TABLE seen (key TEXT PRIMARY KEY, id TEXT, hash TEXT, round INTEGER)"
        )
        self._rows.execute("CREATE INDEX seen_id ON seen (id)")
        weakref.finalize(self, self._rows.close)

    def look(self) -> None:
        """See what changed since the last look."""
        with self._looking:
            with self._transaction():
                self._round, self._own = self._round + 1, 0
            columns = (EXTERNAL_KEY, ROW_HASH)
            pages = self._client.change_pages(self._table.name, columns, self._link)
            for number, page in enumerate(pages):
                self._take(page, first=not number)

    def keep_up(self) -> None:
        """Look past our own writes when they are many: the next look would bring them all back."""
        if self._own >= PAGE_SIZE and not self._looking.locked():
            self.look()

    def _take(self, page: Changes, *, first: bool) -> None:
        with self._transaction() as rows:
            if first and page.anew:
                rows.execute("DELETE FROM seen WHERE round < ?", (self._round,))
            rows.executemany(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)",
                (
                    (row[EXTERNAL_KEY], row[self._table.primary_id], row[ROW_HASH], self._round)
                    for row in page.rows
                    if row[EXTERNAL_KEY]  # none: a person made it, and it is not ours
                ),
            )
            rows.executemany("DELETE FROM seen WHERE id = ?", ((one,) for one in page.gone))
            if page.link:
                # What we wrote before this look and did not come back was deleted unseen.
                rows.execute("DELETE FROM seen WHERE id IS NULL AND round < ?", (self._round,))
                self._link = page.link

    def hashes(self, keys: Collection[str]) -> dict[str, str | None]:
        """Return the hashes of those rows that are there."""
        wanted = json.dumps(list(keys))
        with self._lock:
            return dict(
                self._rows.execute(
                    "SELECT key, hash FROM seen WHERE key IN (SELECT value FROM json_each(?))",
                    (wanted,),
                )
            )

    def note(self, hashes: Mapping[str, str]) -> None:
        """Note what we wrote."""
        with self._transaction() as rows:
            rows.executemany(
                "INSERT INTO seen (key, hash, round) VALUES (?, ?, ?) ON CONFLICT (key)"
                " DO UPDATE SET hash = excluded.hash, round = excluded.round",
                ((key, text, self._round) for key, text in hashes.items()),
            )
            self._own += len(hashes)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._rows:
            self._rows.execute("BEGIN")
            yield self._rows
