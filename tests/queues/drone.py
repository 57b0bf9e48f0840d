"""A worker process for the tests of many messages: Azure queue in, ledger in a shared SQLite file.

    python -m tests.queues.drone DATABASE CRASHES < connection string

It works messages of queue `bill` until it is told to end, by the rules of the Functions host:
success deletes, the fifth failure leads to `bill-poison`. CRASHES are the numbers of messages, of
those that it works, in which it dies between the effect and its being noted.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from azure.storage.queue import QueueClient, TextBase64DecodePolicy, TextBase64EncodePolicy

from domain.problems import Conflict, InputError
from domain.run import UnitOfWork, UnitStatus
from sync.ledger import Later, Ledger, Outcome
from sync.runs import read
from transport.queues import MAX_TRIES, unless_lost

UNIT_LEASE = timedelta(seconds=5)
BATCH_LEASE = 20
"""Seconds: what a dead process held is soon free."""


class Units:
    """Units of work and what working them led to, in a file that processes share."""

    def __init__(self, path: str) -> None:
        self._base = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=OFF")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS unit (key TEXT PRIMARY KEY, run TEXT, status TEXT, "
            "attempt INT, lease TEXT, version INT)"
        )
        self._base.execute("CREATE TABLE IF NOT EXISTS bill (key TEXT PRIMARY KEY, page TEXT)")
        self._base.execute("CREATE TABLE IF NOT EXISTS worked (key TEXT, settled_before INT)")

    def unit(self, key):
        found = self._base.execute("SELECT * FROM unit WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        _, run_key, status, attempt, lease, version = found
        unit = UnitOfWork(
            key=key,
            kind="bill",
            run_key=run_key,
            status=UnitStatus(status),
            attempt=attempt,
            lease_until=datetime.fromisoformat(lease) if lease else None,
        )
        return unit, str(version)

    def put_unit(self, unit, version):
        lease = unit.lease_until.isoformat() if unit.lease_until else None
        row = (unit.run_key, unit.status.value, unit.attempt, lease, int(version or 0) + 1)
        if version is None:
            done = self._base.execute(
                "INSERT OR IGNORE INTO unit VALUES (?, ?, ?, ?, ?, ?)", (unit.key, *row)
            )
        else:
            done = self._base.execute(
                "UPDATE unit SET run = ?, status = ?, attempt = ?, lease = ?, version = ? "
                "WHERE key = ? AND version = ?",
                (*row, unit.key, int(version)),
            )
        if not done.rowcount:
            raise Conflict(f"{unit.key} has another version", service="Store")
        return str(row[-1])

    def bill(self, unit):
        """The work: what it leads to depends on the unit alone."""
        before = self.unit(unit.key)
        self._base.execute(
            "INSERT INTO worked VALUES (?, ?)",
            (unit.key, before is not None and before[0].status is UnitStatus.SETTLED),
        )
        self._base.execute("INSERT OR REPLACE INTO bill VALUES (?, ?)", (unit.key, page(unit)))

    def counts(self):
        (settled,) = self._base.execute("SELECT count(*) FROM unit WHERE status = 'settled'")
        (worked,) = self._base.execute("SELECT count(*), sum(settled_before) FROM worked")
        return settled[0], worked[0], worked[1] or 0

    def pages(self):
        return dict(self._base.execute("SELECT key, page FROM bill"))

    def close(self):
        self._base.close()


def page(unit):
    return sha256(f"{unit.customer_id} {unit.period}".encode()).hexdigest()


def queue_client(connection, name):
    return QueueClient.from_connection_string(
        connection,
        name,
        message_encode_policy=TextBase64EncodePolicy(),
        message_decode_policy=TextBase64DecodePolicy(),
    )


def main(database: str, crashes: set[int]) -> None:
    connection = sys.stdin.readline().strip()
    units, worked = Units(database), 0
    ledger = Ledger(units, lambda: datetime.now(UTC))
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    with (
        queue_client(connection, "bill") as queue,
        queue_client(connection, "bill-poison") as poison,
    ):
        while not ended:
            found = False
            batch = queue.receive_messages(messages_per_page=32, visibility_timeout=BATCH_LEASE)
            for message in next(batch.by_page(), ()):
                found = True
                worked += 1
                if message.dequeue_count > MAX_TRIES:
                    poison.send_message(message.content)
                    queue.delete_message(message)
                    continue

                def work(number=worked, text=message.content):
                    units.bill(read("bill", text))
                    if number in crashes:
                        os._exit(9)
                    return Outcome()

                try:
                    unit = read("bill", message.content)
                    ledger.run_once(unit.key, "bill", unit.run_key, work, lease=UNIT_LEASE)
                except Later:  # sent anew, as the functions do: waiting uses up no try
                    queue.send_message(message.content, visibility_timeout=1)
                except InputError:
                    with unless_lost():
                        queue.update_message(message, visibility_timeout=0)
                    continue
                # Its lease may have ended meanwhile: then somebody else has it.
                with unless_lost():
                    queue.delete_message(message)
            if not found:
                time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], {int(number) for number in sys.argv[2:]})
