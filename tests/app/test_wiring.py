"""The composition root: each mode has every port, waits as it should, and fails in a sentence."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests

from app import wiring
from app.settings import Settings
from app.wiring import opened
from domain.problems import ConfigurationError, InputError, Unavailable
from domain.run import RunStatus, UnitStatus
from sync.ledger import LEASE, Busy
from sync.messages import StartRun
from tests.app.conftest import command

ROOT = Path(__file__).resolve().parents[2]
SYNC = "sync/2026-11-09"


@pytest.fixture
def worker(tmp_path):
    settings = Settings.from_env({"CSP_STATE_DIR": str(tmp_path), "CSP_SCENARIO": "small"})
    with opened(settings) as made:
        from dataverse.provision.provisioner import Provisioner

        Provisioner(made.dataverse, sleep=made.dataverse.http.sleep).apply()
        yield made


def ask(worker, **fields):
    return worker.request(StartRun(**{"kind": "sync", "day": worker.today(), **fields}))


# --- working the queues ----------------------------------------------------------------------------


def test_draining_works_a_run_to_its_end_and_tells_how_far_it_is(worker):
    steps = []
    key = ask(worker)
    worker.drain(steps.append)
    assert (key, worker.run(key).status) == (SYNC, RunStatus.DONE)
    assert [step.done for step in steps] == list(range(1, len(steps) + 1))
    assert (steps[0].queue, steps[-1].queue, steps[-1].waiting) == ("start", "close", 0)


def test_names_of_countries_are_understood_everywhere(worker):
    assert worker.ports.atlas.country("Deutschland") == "DE"


def test_a_fault_of_one_unit_does_not_stop_the_others(worker, monkeypatch):
    """A programming fault counts too: it is told on the run, and the others are worked."""
    honest = type(worker.ports.partner_center).agreements
    broken = next(iter(worker.ports.partner_center.customers())).id

    def agreements(self, customer_id):
        if customer_id == broken:
            raise KeyError("nobody thought of this")
        return honest(self, customer_id)

    monkeypatch.setattr(type(worker.ports.partner_center), "agreements", agreements)
    key = ask(worker)
    worker.drain()
    run = worker.run(key)
    assert run.status is RunStatus.FAILED
    assert run.problem.startswith(f"1 units failed, first pull/customer/{broken}/2026-11-09: KeyE")
    (parked,) = [unit for unit in worker.store.units(key) if unit.status is UnitStatus.PARKED]
    assert parked.attempt == 2
    monkeypatch.undo()
    ask(worker)
    worker.drain()
    assert (worker.run(key).status, worker.run(key).problem) == (RunStatus.DONE, "")


def test_a_fault_of_the_plan_is_raised_at_once(worker):
    key = ask(worker, kind="bill", day=None, period="2026-10")
    with pytest.raises(InputError, match="not reconcilable"):
        worker.drain()
    assert worker.run(key) is None


def test_after_a_fault_of_the_plan_other_runs_are_worked(worker):
    ask(worker, kind="bill", day=None, period="2026-10")
    with pytest.raises(InputError, match="not reconcilable"):
        worker.drain()
    key = ask(worker)
    worker.drain()
    assert worker.run(key).status is RunStatus.DONE
    assert len(worker.ports.queue) == 0


@pytest.mark.parametrize("what", ["customers", "invoices"])
def test_a_start_that_an_outage_stopped_goes_on_the_next_time(worker, monkeypatch, what):
    def down(self, *_):
        raise Unavailable("no answer", service="Partner Center", status=503)

    key = ask(worker)
    monkeypatch.setattr(type(worker.ports.partner_center), what, down)
    with pytest.raises(Unavailable):
        worker.drain()
    monkeypatch.undo()
    worker.drain()
    assert worker.run(key).status is RunStatus.DONE
    assert len(worker.ports.queue) == 0


def test_an_end_that_an_outage_stopped_is_reached_the_next_time(worker, monkeypatch):
    def down(*_):
        raise Unavailable("no answer", service="Dataverse", status=503)

    key = ask(worker)
    monkeypatch.setattr(wiring.runs, "close", down)
    with pytest.raises(Unavailable):
        worker.drain()
    assert worker.run(key).status is RunStatus.RUNNING
    monkeypatch.undo()
    worker.drain()
    assert worker.run(key).status is RunStatus.DONE


def test_what_another_thread_works_at_is_left_to_it(worker):
    key = ask(worker)
    leased = worker.ports.queue.receive("start")
    worker.drain()
    assert worker.run(key) is None
    worker.ports.queue.release(leased)
    worker.drain()
    assert worker.run(key).status is RunStatus.DONE


def hold(worker, lease: timedelta) -> None:
    """Another worker holds a unit of today's sync."""
    worker.handle("start", StartRun(kind="sync", day=worker.today()).model_dump_json())
    unit, version = worker.store.unit("pull/relationships/2026-11-09")
    until = worker.ports.now() + lease
    worker.store.put_unit(replace(unit, status=UnitStatus.RUNNING, lease_until=until), version)


def test_embedded_the_lease_of_a_dead_worker_passes_without_waiting(worker):
    hold(worker, LEASE)
    before = worker.ports.now()
    worker.drain()
    assert worker.run(SYNC).status is RunStatus.DONE
    assert LEASE <= worker.ports.now() - before < LEASE + timedelta(minutes=1)


def test_elsewhere_a_long_lease_is_told_after_the_rest_is_done(worker):
    hold(worker, LEASE)
    impatient = Settings.from_env({"CSP_PATIENCE_SECONDS": "20"})
    worker.systems = worker.systems._replace(sleep=None)
    worker.settings = impatient
    with pytest.raises(Busy, match=r"is being worked until 06:10 UTC") as caught:
        worker.drain()
    assert caught.value.hint == "run the command again after that"
    states = {unit.status for unit in worker.store.units(SYNC)}
    assert states == {UnitStatus.RUNNING, UnitStatus.SETTLED}


def test_elsewhere_a_short_lease_is_waited_for(worker, monkeypatch):
    hold(worker, timedelta(seconds=250))
    clock, waits = worker.systems.emulator.clock, []

    def sleep(seconds):
        waits.append(seconds)
        clock.advance(timedelta(seconds=seconds))

    monkeypatch.setattr(wiring.time, "sleep", sleep)
    worker.systems = worker.systems._replace(sleep=None)
    worker.drain()
    assert worker.run(SYNC).status is RunStatus.DONE
    (waited,) = waits
    assert 200 < waited <= 250  # less what the exports took meanwhile


# --- embedded --------------------------------------------------------------------------------------


def test_embedded_nothing_outside_can_be_reached(worker):
    session = worker.dataverse.http._session
    with pytest.raises(requests.ConnectionError, match="nothing leaves this process"):
        session.get("https://example.com/")


@pytest.mark.parametrize(("text", "switched_on"), [("", False), ("0", False), ("1", True)])
def test_the_projection_is_off_unless_it_is_switched_on(tmp_path, text, switched_on):
    settings = Settings.from_env({"CSP_STATE_DIR": str(tmp_path), "CSP_PROJECTION": text})
    with opened(settings) as made:
        assert (made.ports.projection is not None) is switched_on
        planned = [str(step) for step in made.provisioner().plan().steps]
        assert ("create key csp_SalesInvoice_ExternalKey on invoice" in planned) is switched_on


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_state_folder_that_cannot_be_used_is_one_sentence(tmp_path, name):
    (tmp_path / "file").write_text("")
    answer = command("runs", state=tmp_path / name)
    assert answer.code == 2
    assert answer.complaint.startswith(f"csp-billing: CSP_STATE_DIR: {tmp_path / name} cannot hold")


def test_a_database_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "dataverse.sqlite").write_bytes(b"this is no database" * 100)
    answer = command("runs", state=tmp_path)
    assert answer.code == 2
    assert "cannot hold the state: file is not a database" in answer.complaint
    assert "demo --fresh" in answer.complaint


def test_an_unknown_scenario_is_one_sentence(tmp_path):
    answer = command("runs", state=tmp_path, CSP_SCENARIO="december")
    assert (answer.code, answer.complaint.startswith("csp-billing: CSP_SCENARIO: ")) == (2, True)


def test_another_seed_is_another_world(tmp_path):
    names = set()
    for seed in ("1", "2"):
        settings = Settings.from_env(
            {"CSP_STATE_DIR": str(tmp_path / seed), "CSP_SCENARIO": "small", "CSP_SEED": seed}
        )
        with opened(settings) as made:
            names.add(tuple(one.id for one in made.ports.partner_center.customers()))
    assert len(names) == 2


# --- emulators on loopback -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served():
    """`emulate` in a process of its own, as a person starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "emulate", "--scenario", "small", "--seed", "7"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("CSP_")},
    )
    urls = json.loads(process.stdout.readline())
    exports = {"export_polls": 0, "export_retry_after": 0}  # here a wait is a wait
    requests.post(f"{urls['control']}/_emulator/settings", json=exports, timeout=10)
    yield urls
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def test_the_served_emulators_say_where_they_are(served):
    assert {"login", "partner_center", "price", "graph", "dataverse", "control"} <= set(served)
    for url in served.values():
        assert re.match(r"http://127\.0\.0\.1:\d+", url)


def test_the_commands_work_against_emulators_on_loopback(served, tmp_path):
    """Signing in too: MSAL speaks to its public name, the session carries it to loopback."""
    mode = {"CSP_MODE": "emulator", "CSP_EMULATOR_URL": served["control"]}
    before = command("check-config", "--json", state=tmp_path, **mode)
    assert set(before.data["systems"].values()) == {"reached"}
    assert before.code == 0
    assert f"mode emulator · emulators at {served['control']}" in before.err
    assert command("provision", "--apply", state=tmp_path, **mode).code == 0
    synced = command("sync", "--json", state=tmp_path, **mode)
    assert (synced.code, synced.data["status"]) == (0, "done")
    assert synced.data["counts"]["customers"] == 3
    held = command("bill", "--json", state=tmp_path, **mode)
    assert (held.code, held.data["counts"]["held"]) == (3, 3)  # no contracts are keyed in
    listed = command("runs", "--json", state=tmp_path, **mode)
    assert [one["run_id"] for one in listed.data] == ["bill.2026-10", "sync.2026-11-09"]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert "dataverse.sqlite" not in names
    assert "refresh-token.emulator" in names


def test_the_served_emulators_speak_tls_when_told(tmp_path):
    """Signing in and reading rows, by nothing but the bundle that the first line names."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "emulate", "--scenario", "empty", "--tls"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("CSP_")},
    )
    urls = json.loads(process.stdout.readline())
    bundle = Path(urls["ca_bundle"])
    assert urls["dataverse"].startswith("https://127.0.0.1:")
    mode = {
        "CSP_MODE": "emulator",
        "CSP_EMULATOR_URL": urls["control"],
        "REQUESTS_CA_BUNDLE": str(bundle),
    }
    reached = command("check-config", "--json", state=tmp_path, **mode)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert set(reached.data["systems"].values()) == {"reached"}
    assert process.returncode == 0
    assert not bundle.exists()


def test_an_address_where_something_else_answers(tmp_path):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>It works!</html>")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        answer = command("runs", state=tmp_path, CSP_MODE="emulator", CSP_EMULATOR_URL=url)
        other.shutdown()
    assert answer.code == 2
    assert answer.complaint == (
        f"csp-billing: CSP_EMULATOR_URL: {url} is not the control plane of an emulator "
        "(give the address that `python -m app emulate` prints as control)"
    )


def test_the_emulators_are_not_for_the_cloud():
    answer = command("emulate", CSP_MODE="cloud")
    assert (answer.code, answer.out) == (2, "")
    assert answer.complaint.startswith("csp-billing: the emulators are not for mode cloud")


def test_a_scenario_or_port_that_cannot_be_served(served):
    scenario = command("emulate", "--scenario", "december")
    assert (scenario.code, "--scenario: " in scenario.complaint) == (2, True)
    port = re.search(r":(\d+)", served["control"]).group(1)
    taken = command("emulate", "--scenario", "empty", "--port", port)
    assert taken.code == 2
    nowhere = command("emulate", "--scenario", "empty", "--database", "/nowhere/at/all.sqlite")
    assert nowhere.code == 2
    assert nowhere.complaint.startswith("csp-billing: --database /nowhere/at/all.sqlite: unable")
    assert taken.complaint.startswith(f"csp-billing: --port {port}: ")


# --- cloud -----------------------------------------------------------------------------------------

CLOUD = {
    "CSP_MODE": "cloud",
    "CSP_TENANT_ID": "contoso.onmicrosoft.com",
    "CSP_CLIENT_ID": "0b6f8f6e-0000-0000-0000-000000000001",
    "CSP_CLIENT_SECRET": "hunter2",
    "CSP_DATAVERSE_URL": "https://contoso.crm.dynamics.com",
}


def test_the_cloud_worker_is_built_without_a_call(tmp_path):
    settings = Settings.from_env({**CLOUD, "CSP_STATE_DIR": str(tmp_path)})
    with opened(settings) as made:
        assert made.systems.urls["graph"] == "https://graph.microsoft.com"
        assert made.systems.emulator is None
        assert "hunter2" not in repr(made)
    assert list(tmp_path.iterdir()) == []


def test_the_host_sends_to_azure_and_archives_in_blobs(tmp_path):
    from transport.blobs import BlobArchive
    from transport.queues import AzureQueue

    settings = Settings.from_env(
        {
            **CLOUD,
            "CSP_STATE_DIR": str(tmp_path),
            "CSP_STORAGE_ACCOUNT_URL_QUEUE": "https://work.queue.core.windows.net",
            "CSP_STORAGE_ACCOUNT_URL_BLOB": "https://work.blob.core.windows.net",
        }
    )
    made = wiring.build(settings, in_cloud_host=True)
    assert isinstance(made.ports.queue, AzureQueue)
    assert isinstance(made.ports.archive, BlobArchive)
    without = Settings.from_env({**CLOUD, "CSP_STATE_DIR": str(tmp_path)})
    with pytest.raises(ConfigurationError, match="no queue to send messages to"):
        wiring.build(without, in_cloud_host=True)
