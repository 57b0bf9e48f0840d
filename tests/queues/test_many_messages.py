"""Ten thousand messages, several processes at once, some of which die: the result of one process."""

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sync.messages import BillUnit
from tests.queues import drone

ROOT = Path(__file__).resolve().parents[2]
CUSTOMERS, DUPLICATES, PROCESSES, DEATHS, UNREADABLE = 9_000, 1_000, 3, 4, 3
BACKLOG = 500


def messages():
    """Each customer's unit, a tenth of them twice, some that say nothing, in any order."""
    chance = random.Random(7)  # noqa: S311 - the same order each time
    units = [
        BillUnit(run_key="bill/2026-10", customer_id=f"c{number}", period="2026-10")
        for number in range(CUSTOMERS)
    ]
    bodies = [unit.model_dump_json() for unit in (*units, *chance.sample(units, DUPLICATES))]
    bodies += [f'{{"broken": {number}}}' for number in range(UNREADABLE)]
    chance.shuffle(bodies)
    return units, bodies


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK keeps its connections open
def test_what_many_processes_make_of_ten_thousand_messages_is_what_one_makes(azurite, tmp_path):
    units, bodies = messages()
    database = tmp_path / "units.sqlite"
    store = drone.Units(str(database))
    with (
        drone.queue_client(azurite, "bill") as queue,
        drone.queue_client(azurite, "bill-poison") as poison,
    ):
        for one in (queue, poison):
            one.create_queue()
        try:
            with _Drones(azurite, database) as drones:
                sending = threading.Thread(target=_send, args=(azurite, bodies), daemon=True)
                sending.start()
                drones.until(lambda: not sending.is_alive() and waiting(queue) == 0)
            settled, worked, twice = store.counts()
            assert settled == CUSTOMERS
            assert store.pages() == {unit.key: drone.page(unit) for unit in units}
            # A process that dies after the effect leaves one unit to be worked once more.
            assert drones.died == DEATHS
            assert CUSTOMERS <= worked <= CUSTOMERS + DEATHS
            assert twice == 0
            given_up = [one.content for one in poison.receive_messages(messages_per_page=32)]
            assert sorted(given_up) == [f'{{"broken": {number}}}' for number in range(UNREADABLE)]
        finally:
            store.close()
            for one in (queue, poison):
                one.delete_queue()


def _send(connection, bodies):
    """Put them on the queue, waiting where many wait: Azurite sorts all of them at each receive."""
    with drone.queue_client(connection, "bill") as queue:
        for number, body in enumerate(bodies):
            queue.send_message(body)
            while number % 100 == 0 and waiting(queue) > BACKLOG:
                time.sleep(0.2)


def waiting(queue):
    return queue.get_queue_properties().approximate_message_count


class _Drones:
    """Worker processes; one that dies is replaced, by one that does not."""

    def __init__(self, connection, database):
        self._connection, self._database = connection, database
        self.died = 0
        chance = random.Random(11)  # noqa: S311 - the same deaths each time
        self._running = [
            self._start(chance.sample(range(50, 1500), 1) if number < DEATHS else [])
            for number in range(PROCESSES)
        ]
        self._deaths_left = DEATHS - PROCESSES
        self._chance = chance

    def _start(self, crashes):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.queues.drone", str(self._database), *map(str, crashes)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            text=True,
        )
        process.stdin.write(f"{self._connection}\n")
        process.stdin.close()
        return process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._running:
            process.terminate()
        assert [process.wait(30) for process in self._running] == [0] * PROCESSES

    def until(self, done):
        while True:
            for number, process in enumerate(self._running):
                if process.poll() is not None:
                    assert process.returncode == 9, "it ended by itself"
                    self.died += 1
                    again = self._deaths_left > 0
                    self._deaths_left -= again
                    self._running[number] = self._start([self._chance.randrange(50, 500)] * again)
            if self.died == DEATHS and done():
                return
            time.sleep(0.3)
