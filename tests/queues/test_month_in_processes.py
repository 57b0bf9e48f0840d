"""The same month by many processes that die and by messages that come twice: the same to the byte.

CSP_TEST_SCENARIO=partner-month lets it be the whole month of the demo, with three times the deaths.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app import demo
from app.settings import Settings
from app.wiring import opened
from dataverse.client import Query
from dataverse.microsoft_tables import COST_LINE, SUBSCRIPTION_EVENT
from dataverse.schema import KEY, ROW_HASH
from dataverse.tables import BILLING_CONTRACT, BILLING_RUN, TABLES, UNIT_OF_WORK
from dataverse.tax_tables import TAX_NUMBER_CHECK
from domain.problems import FindingState
from domain.run import RunStatus, UnitStatus
from invoice.pdf import to_pdf
from invoice.render import to_html, to_text
from sync.messages import StartRun
from tests.host.conftest import ROOT, a_partner, until
from transport.queues import KINDS, AzureQueue

SCENARIO = os.environ.get("CSP_TEST_SCENARIO", "small")
PROCESSES, SEED = 4, 7
DEATHS = 4 if SCENARIO == "small" else 12
"""In each run, if so many come to work."""
PATIENCE = 240.0 if SCENARIO == "small" else 600.0
"""Seconds for each run, on a machine that does much else: alone it takes a fifth of that."""
PERIOD = "2026-10"
RULES = {
    "AzureFunctionsJobHost__extensions__queues__" + name: value
    for name, value in {
        # Who dies with a message in its hands uses up a try, and here they die more often than any may.
        "maxDequeueCount": "15",
        # Processes that ask eight queues without a pause would keep both cores busy.
        "maxPollingInterval": "00:00:02",
    }.items()
}
TOLD_WITH_TIMES = (BILLING_RUN, UNIT_OF_WORK, TAX_NUMBER_CHECK)
LINKED = (BILLING_CONTRACT, COST_LINE, SUBSCRIPTION_EVENT)
"""Their rows hold ids that Dataverse gave, or had no link yet to a row that came after them."""
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def month(worker):
    """Work the month; gives what to ask for, one after the other."""
    yield StartRun(kind="sync", day=worker.today())
    demo._key_in(worker, list(worker.store.customers()))
    yield StartRun(kind="bill", period=PERIOD)
    yield StartRun(kind="approve", period=PERIOD)


class Month:
    """All that the month came to, but for when and by how many tries."""

    def __init__(self, worker):
        store, client = worker.store, worker.dataverse
        found = store.documents()
        self.numbers = [(one.customer_name, one.number) for one in found]
        self.documents = {
            one.key: (one.fingerprint, to_text(one), to_html(one), to_pdf(one)) for one in found
        }
        self.runs = {
            run.key: replace(
                run,
                started_at=SOME_DAY,
                finished_at=SOME_DAY,
                # What was written before a death is found written by who takes over.
                counts={name: n for name, n in run.counts.items() if name != "written"},
            )
            for run in store.runs()
        }
        units = [unit for key in self.runs for unit in store.units(key)]
        self.units = {unit.key: (unit.status, unit.problem) for unit in units}
        self.tries = {unit.key: unit.attempt for unit in units}
        self.findings = {
            (one.check, one.customer_id, one.record, one.sentence)
            for one in store.findings()
            if one.state is FindingState.OPEN
        }
        self.rows = {
            table.name: sorted(
                (row[KEY], "" if table in LINKED else row[ROW_HASH])
                # Findings that were closed may be those of what was read in another order.
                for row in client.read(
                    Query(table=table.name, select=(KEY, ROW_HASH), where=f"{ROW_HASH} ne null")
                )
            )
            for table in TABLES
            if table not in TOLD_WITH_TIMES
        }


@pytest.fixture
def by_one(tmp_path):
    """The month in one process, where nothing fails."""
    state = str(tmp_path / "one")
    settings = Settings.from_env({"CSP_STATE_DIR": state, "CSP_SCENARIO": SCENARIO})
    with opened(settings) as worker:
        worker.provisioner().apply()
        for message in month(worker):
            worker.request(message)
            worker.drain()
        return Month(worker)


class Platform:
    """Worker processes that die and deliver twice, and the queues that they work on."""

    def __init__(self, partner):
        self.queue = AzureQueue(connection_string=partner.settings["WORKER_QUEUE"], create=True)
        for kind in KINDS:
            self.queue.send(kind, ())
            self.queue.poisoned(kind)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.queues.unruly", *map(str, (PROCESSES, DEATHS, SEED))],
            cwd=ROOT,
            env=partner.environment(**RULES),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"
        self.deaths = 0
        self.left: list[str] = []
        """The units that a process died over."""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self):
        for line in self._process.stdout:
            what, *units = line.split()
            self.deaths += what == "died"
            self.left += units

    def length(self, name):
        return self.queue._client(name).get_queue_properties().approximate_message_count

    def work(self, message, run):
        """Ask for a run twice; wait until it has ended and nothing is on its way any more.

        Returns how many processes died meanwhile.
        """
        before = self.deaths
        self._process.send_signal(signal.SIGUSR1)
        self.queue.send("start", [message.model_dump_json()] * 2)

        def ended():
            assert self._process.poll() is None, "the platform ended by itself"
            time.sleep(0.5)  # each look is as dear as a look of a listener
            return not any(map(self.length, KINDS)) and run()

        until(ended, PATIENCE, f"{message} did not end")
        return self.deaths - before

    def close(self):
        self._process.terminate()
        assert self._process.wait(30) == 0
        self._listener.join()
        self._process.stdout.close()


@pytest.fixture
def by_many(tmp_path, azurite_is_there):
    """The month through queues: what it came to, how many died, over which units, what was given up."""
    with (
        a_partner(tmp_path / "many", SCENARIO) as partner,
        opened(Settings.from_env(partner.settings)) as worker,
        contextlib.closing(Platform(partner)) as platform,
    ):
        deaths = {
            message.kind: platform.work(message, lambda key=message.run_key: over(worker.run(key)))
            for message in month(worker)
        }
        given_up = [one.body for kind in KINDS for one in platform.queue.poisoned(kind)]
        yield Month(worker), deaths, platform.left, given_up


def over(run):
    return run is not None and run.status is not RunStatus.RUNNING


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK keeps connections
@pytest.mark.timeout(4 * PATIENCE)
def test_the_month_of_processes_that_die_is_to_the_byte_the_month_of_one(by_one, by_many):
    """One test, because what it rests on takes long to make, and is to be made once."""
    many, deaths, left, given_up = by_many
    # They died while they worked: what they left was taken over, and nothing was given up.
    assert deaths["sync"] == DEATHS
    assert deaths["bill"] >= 2
    assert deaths["approve"] >= 1
    assert left
    # A lock is a unit of no run.
    assert all(many.tries[key] >= 2 for key in left if key in many.tries)
    assert given_up == []
    # Documents are the same to the byte and numbered the same.
    assert many.documents
    assert many.numbers == by_one.numbers
    assert all(number for _, number in many.numbers)
    assert many.documents == by_one.documents
    assert many.findings == by_one.findings
    # Every unit ended as it does in one process.
    assert many.units == by_one.units
    assert {status for status, _ in many.units.values()} <= {UnitStatus.SETTLED, UnitStatus.HELD}
    # Runs have the same totals and no residual.
    assert many.runs == by_one.runs
    totals = many.runs[f"bill/{PERIOD}"].totals
    assert totals
    assert {total.residual for total in totals} == {Decimal(0)}
    # Every other row of ours is there once and says the same.
    assert many.rows == by_one.rows
