"""The same month by many processes that die and by messages that come twice: the same to the byte.

CSP_TEST_SCENARIO=partner-month lets it be the whole month of the demo, with three times the deaths.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
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
from host import azurite as storage
from invoice.pdf import to_pdf
from invoice.render import to_html, to_text
from sync.messages import StartRun
from tests.host.conftest import ROOT, a_partner, until
from transport.queues import KINDS, AzureQueue

SCENARIO = os.environ.get("CSP_TEST_SCENARIO", "small")
PROCESSES, SEED = 4, 7
DEATHS = 4 if SCENARIO == "small" else 12
"""In each run, if so many come to work."""
PATIENCE = 100.0 if SCENARIO == "small" else 600.0
PERIOD = "2026-10"
RULES = {
    "AzureFunctionsJobHost__extensions__queues__" + name: value
    for name, value in {
        # Who dies with a message in its hands uses up a try, and here they die more often than any may.
        "maxDequeueCount": "15",
        # Four processes that ask sixteen queues without a pause would keep both cores busy.
        "maxPollingInterval": "00:00:01.5",
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
        self.units = {
            unit.key: (unit.status, unit.problem) for key in self.runs for unit in store.units(key)
        }
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


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    """The month in one process, where nothing fails."""
    state = tmp_path_factory.mktemp("one")
    settings = Settings.from_env({"CSP_STATE_DIR": str(state), "CSP_SCENARIO": SCENARIO})
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
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self):
        for line in self._process.stdout:
            self.deaths += line == "died\n"

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
            return not any(map(self.length, KINDS)) and run()

        until(ended, PATIENCE, f"{message} did not end")
        return self.deaths - before

    def close(self):
        self._process.terminate()
        assert self._process.wait(30) == 0
        self._listener.join()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def by_many(tmp_path_factory):
    """The month through queues: what it came to, how many died, what was given up."""
    if missing := storage.why_missing():
        pytest.skip(missing)
    with (
        a_partner(tmp_path_factory.mktemp("many"), SCENARIO) as partner,
        opened(Settings.from_env(partner.settings)) as worker,
        contextlib.closing(Platform(partner)) as platform,
    ):
        deaths = {
            message.kind: platform.work(message, lambda key=message.run_key: over(worker.run(key)))
            for message in month(worker)
        }
        given_up = [one.body for kind in KINDS for one in platform.queue.poisoned(kind)]
        yield Month(worker), deaths, given_up


def over(run):
    return run is not None and run.status is not RunStatus.RUNNING


pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK keeps connections


@pytest.mark.timeout(3 * PATIENCE)
def test_processes_died_and_nothing_was_given_up(by_many):
    _, deaths, given_up = by_many
    assert deaths["sync"] == DEATHS
    assert deaths["bill"] >= 2
    assert deaths["approve"] >= 1
    assert given_up == []


def test_documents_are_the_same_to_the_byte_and_numbered_the_same(by_one, by_many):
    many, *_ = by_many
    assert many.numbers == by_one.numbers
    assert all(number for _, number in many.numbers)
    assert many.documents == by_one.documents


def test_findings_are_the_same(by_one, by_many):
    many, *_ = by_many
    assert many.findings == by_one.findings


def test_every_unit_ended_as_it_does_in_one_process(by_one, by_many):
    many, *_ = by_many
    assert many.units == by_one.units
    assert {status for status, _ in many.units.values()} <= {UnitStatus.SETTLED, UnitStatus.HELD}


def test_runs_have_the_same_totals_and_no_residual(by_one, by_many):
    many, *_ = by_many
    assert many.runs == by_one.runs
    totals = many.runs[f"bill/{PERIOD}"].totals
    assert totals
    assert {total.residual for total in totals} == {Decimal(0)}


def test_every_other_row_of_ours_is_there_once_and_says_the_same(by_one, by_many):
    many, *_ = by_many
    assert many.rows == by_one.rows
