"""The functions as the Azure host sees them: names, triggers, thin bodies, nothing at import."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import azure.functions as func
import pytest

from app import wiring
from app.settings import Settings
from domain.problems import ConfigurationError, Unavailable
from domain.run import RunStatus, UnitStatus
from sync.ledger import Busy, Later
from sync.messages import StartRun
from tests.app.conftest import functions
from tests.app.http_office import ask, data
from transport.queues import KINDS

ROOT = Path(__file__).resolve().parents[2]
SYNC = '{"kind": "sync", "day": "2026-11-09"}'
UNIT = '{"run_key": "bill/2026-10", "customer_id": "c1", "period": "2026-10"}'
QUEUES = {
    "start_run": "start",
    "pull_part": "pull",
    "bill_customer": "bill",
    "close_run": "close",
    "take_event": "event",
    "hand_off_document": "handoff",
    "read_feedback": "feedback",
    "make_report": "report",
    "give_up_handoff": "handoff-poison",
    "give_up_feedback": "feedback-poison",
    "give_up_report": "report-poison",
    "give_up_start": "start-poison",
    "give_up_pull": "pull-poison",
    "give_up_bill": "bill-poison",
    "give_up_close": "close-poison",
    "give_up_event": "event-poison",
}
TIMERS = {
    "daily_sync": "%SYNC_SCHEDULE%",
    "daily_usage": "%USAGE_SCHEDULE%",
    "daily_prices": "%PRICES_SCHEDULE%",
    "daily_access": "%ACCESS_SCHEDULE%",
    "daily_renewals": "%RENEWALS_SCHEDULE%",
    "daily_bill": "%BILL_SCHEDULE%",
    "hand_off": "%HANDOFF_SCHEDULE%",
    "hourly_feedback": "%FEEDBACK_SCHEDULE%",
    "weekly_health": "%HEALTH_SCHEDULE%",
    "pick_up_requests": "%REQUESTS_SCHEDULE%",
    "watch": "%WATCH_SCHEDULE%",
}
ROUTES = {
    "start": ("POST", "runs"),
    "list_runs": ("GET", "runs"),
    "read": ("GET", "runs/{run_id}"),
    "approve": ("POST", "approvals"),
    "list_findings": ("GET", "findings"),
    "read_finding": ("GET", "findings/{finding_id}"),
    "release": ("POST", "findings/{finding_id}/release"),
    "read_invoice": ("GET", "invoices/{number}"),
    "read_pdf": ("GET", "invoices/{number}/pdf"),
    "explain": ("GET", "invoices/{number}/lines/{line}"),
    "health": ("GET", "health"),
    "ready": ("GET", "ready"),
    "alive": ("GET", "alive"),
    "hear": ("POST", "dataverse-events"),
    "notify": ("POST", "partner-center-events"),
}
FUNCTIONS = functions()


def body_of(name):
    return FUNCTIONS[name].get_user_function()


# --- what the host indexes ---------------------------------------------------------------------------


def test_importing_the_app_needs_no_setting_no_network_and_nothing_heavy():
    code = (
        "import os, socket, sys\n"
        "for name in list(os.environ):\n"
        "    if name.startswith(('CSP_', 'WEBSITE_')): del os.environ[name]\n"
        "def closed(*_, **__): raise AssertionError('a socket at import')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = closed\n"
        "import function_app\n"
        "heavy = ('app.wiring', 'requests', 'msal', 'duckdb', 'rich', 'emulator', 'dataverse',\n"
        "         'partner_center', 'azure.storage', 'azure.identity', 'cryptography')\n"
        "print(sorted(m for m in sys.modules if m.startswith(heavy)))\n"
        "print(len(function_app.app.get_functions()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", str(len(FUNCTIONS))]


def test_the_functions_and_their_triggers():
    found = {}
    for name, function in FUNCTIONS.items():
        bindings = [one.get_dict_repr() for one in function.get_bindings()]
        (found[name],) = [one for one in bindings if one["type"].endswith("Trigger")]
    assert set(found) == {*QUEUES, *TIMERS, *ROUTES}
    for name, queue in QUEUES.items():
        assert found[name]["type"] == "queueTrigger"
        assert (found[name]["queueName"], found[name]["connection"]) == (queue, "WORKER_QUEUE")
    for name, schedule in TIMERS.items():
        assert found[name]["type"] == "timerTrigger"
        assert (found[name]["schedule"], found[name]["runOnStartup"]) == (schedule, False)
        # The host's own record of what was due lets one instance alone fire it.
        assert found[name].get("useMonitor") is not False
    for name, (method, route) in ROUTES.items():
        assert found[name]["type"] == "httpTrigger"
        assert found[name]["route"] == route
        assert [one.value for one in found[name]["methods"]] == [method]
        open_to_all = name == "alive"
        level = func.AuthLevel.ANONYMOUS if open_to_all else func.AuthLevel.FUNCTION
        assert found[name]["authLevel"] is level


def test_every_queue_that_is_sent_to_has_a_function_and_one_for_its_poison():
    from sync.messages import MODELS

    assert set(MODELS) == set(KINDS)
    assert set(QUEUES.values()) == {*KINDS, *(f"{kind}-poison" for kind in KINDS)}


def test_a_function_body_is_thin():
    for name in FUNCTIONS:
        code = body_of(name).__code__
        lines = {line for _, _, line in code.co_lines() if line}
        assert max(lines) - min(lines) <= 20, name


def test_the_host_file_has_the_values_for_work_that_is_bound_by_apis():
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    assert host["version"] == "2.0"
    assert host["extensionBundle"] == {
        "id": "Microsoft.Azure.Functions.ExtensionBundle",
        "version": "[4.*, 5.0.0)",
    }
    queues = host["extensions"]["queues"]
    assert (queues["batchSize"], queues["newBatchThreshold"]) == (4, 2)
    assert queues["maxDequeueCount"] == 5
    assert queues["messageEncoding"] == "base64"  # as AzureQueue writes
    assert re.fullmatch("00:0[1-5]:00", queues["visibilityTimeout"])  # else 5 tries in a second
    assert host["functionTimeout"] == "00:30:00"
    sampling = host["logging"]["applicationInsights"]["samplingSettings"]
    assert sampling == {"isEnabled": True, "excludedTypes": "Request;Exception"}
    assert host["telemetryMode"] == "OpenTelemetry"  # as app/exporters.py: docs/operations.md
    assert "retry" not in host  # withdrawn; queue triggers retry by the values above


def test_every_value_of_the_host_file_has_its_reason_on_the_page():
    """One line of the table for each value, with the value as it stands."""
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (.{40,}) \|$", page, flags=re.MULTILINE)
    assert {name: value for name, value, _ in rows} == dict(leaves(host))


def leaves(data, path=""):
    for name, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value if isinstance(value, str) else json.dumps(value)


# --- what they do ------------------------------------------------------------------------------------


def opened(state):
    """A worker, embedded, whose partner is kept in a folder."""
    return wiring.opened(Settings.from_env({"CSP_STATE_DIR": str(state), "CSP_SCENARIO": "small"}))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A partner with tables and nothing else, to be copied: to make them takes longer than a test."""
    state = tmp_path_factory.mktemp("tables")
    with opened(state) as made:
        made.provisioner().apply()
    return state


@pytest.fixture
def worker(tables, tmp_path, monkeypatch):
    """The worker of this process, in place of that of the host."""
    with opened(shutil.copytree(tables, tmp_path / "state")) as made:
        monkeypatch.setattr(wiring, "worker", lambda: made)
        yield made


def waiting(worker):
    """What is on the queues, taken off."""
    found = []
    for kind in KINDS:
        while (message := worker.ports.queue.receive(kind)) is not None:
            found.append((kind, json.loads(message.body)))
            worker.ports.queue.delete(message)
    return found


def post(body):
    return ask("start", body)


def get(run_id):
    return ask("read", run_id=run_id)


def message(body):
    return func.QueueMessage(id="m1", body=body.encode())


class Timer:
    past_due = False


@pytest.mark.parametrize(
    ("name", "kind", "run_key"),
    [
        ("daily_sync", "sync", "sync/2026-11-09"),
        ("daily_usage", "usage", "usage/2026-11-09"),
        ("daily_prices", "prices", "prices/2026-11-09"),
        ("daily_access", "access", "access/2026-11-09"),
        ("daily_renewals", "renewals", "renewals/2026-11-09"),
        ("daily_bill", "bill", "bill/2026-11-09"),
        ("hand_off", "handoff", "handoff/2026-11-09"),
        ("hourly_feedback", "feedback", "feedback/2026-11-09T06"),
        ("weekly_health", "health", "health/2026-W46"),
    ],
)
def test_a_timer_only_asks(worker, name, kind, run_key):
    worker.systems.emulator.control.clear_log()
    body_of(name)(Timer())
    ((queue, asked),) = waiting(worker)
    assert queue == "start"
    assert StartRun.model_validate(asked).run_key == run_key
    hour = 6 if kind == "feedback" else None
    assert {key: value for key, value in asked.items() if value is not None} == {
        "v": 1,
        "kind": kind,
        "day": "2026-11-09",
        **({"hour": hour} if hour else {}),
    }
    assert worker.systems.emulator.control.requests() == []


@pytest.mark.parametrize(
    ("name", "queue", "asked"),
    [
        ("pick_up_requests", "start", {"look_for": "requests"}),
        ("watch", "report", {"run_key": "watch/2026-11-09", "part": "watch", "day": "2026-11-09"}),
    ],
)
def test_a_timer_that_looks_only_asks_for_the_look(worker, name, queue, asked):
    worker.systems.emulator.control.clear_log()
    body_of(name)(Timer())
    ((found, message),) = waiting(worker)
    assert (found, {**message, **asked}) == (queue, message)
    assert worker.systems.emulator.control.requests() == []


# --- what is asked for in Dynamics -------------------------------------------------------------------


def add_row(worker, **columns):
    """A person adds a row to the table of runs."""
    return worker.dataverse.create("csp_billingrun", columns)


def row_of(worker, row_id):
    path = worker.dataverse.id_path("csp_billingrun", row_id)
    return worker.dataverse.call("GET", path).json()


def event(row_id, **fields):
    """What Dataverse posts of a row; its contents are left out here, as they are when it is large."""
    context = {
        "MessageName": "Create",
        "PrimaryEntityName": "csp_billingrun",
        "PrimaryEntityId": row_id,
        "Depth": 1,
        "Stage": 40,
        "Mode": 1,
        "OperationCreatedOn": "/Date(1794520800000)/",
        "InputParameters": [],
        **fields,
    }
    return func.HttpRequest("POST", "/api/dataverse-events", body=json.dumps(context).encode())


def look_for_requests():
    """What the timer's message leads to."""
    body_of("start_run")(message('{"look_for": "requests"}'))


def test_the_timer_takes_up_what_was_asked_for_once(worker):
    row_id = add_row(worker, csp_kind=727000000)
    look_for_requests()
    look_for_requests()
    assert waiting(worker) == [("start", {"v": 1, "request_id": row_id})]


def test_what_the_timer_took_up_is_worked_and_answered_on_the_row(worker):
    row_id = add_row(worker, csp_kind=727000000)
    look_for_requests()
    start = worker.ports.queue.receive("start")
    body_of("start_run")(message(start.body))
    worker.ports.queue.delete(start)
    assert row_of(worker, row_id)["csp_runkey"] == "sync/2026-11-09"
    worker.drain()
    row = row_of(worker, row_id)
    assert (row["csp_status"], row["csp_percent"]) == (727000001, 100)
    assert json.loads(row["csp_counts"])["customers"] == 3


def test_a_row_that_asks_for_what_cannot_be_is_answered_and_no_run_fails(worker):
    row_id = add_row(worker, csp_kind=727000001, csp_period="2026-13")
    body_of("start_run")(message(json.dumps({"request_id": row_id})))
    row = row_of(worker, row_id)
    assert row["csp_status"] == 727000003
    assert row["csp_problem"] == "'2026-13' is not a month. Write the month as 2026-10."
    assert worker.store.runs() == []


def test_a_request_that_failed_too_often_is_answered(worker):
    row_id = add_row(worker, csp_kind=727000001, csp_period="2026-10")
    body_of("give_up_start")(message(json.dumps({"request_id": row_id})))
    assert row_of(worker, row_id)["csp_problem"] == "its message failed too often"


@pytest.mark.parametrize("name", ["Create", "Update"])
def test_a_webhook_only_leaves_a_message_with_the_id(worker, name):
    worker.systems.emulator.control.clear_log()
    row_id = "0c5cbc2f-3a36-5b2e-9a75-1d90f8d7f6aa"
    response = body_of("hear")(event(row_id.upper(), MessageName=name))
    assert (response.status_code, data(response)) == (202, {"status": "accepted"})
    assert waiting(worker) == [("start", {"v": 1, "request_id": row_id})]
    assert worker.systems.emulator.control.requests() == []


def test_an_event_of_a_deleted_row_is_taken_and_forgotten(worker):
    row_id = "0c5cbc2f-3a36-5b2e-9a75-1d90f8d7f6aa"
    assert body_of("hear")(event(row_id, MessageName="Delete")).status_code == 202
    assert waiting(worker) == []
    assert body_of("hear")(event(row_id)).status_code == 202
    worker.drain()  # the row was never there, or is gone by now
    assert worker.store.runs() == []


def test_what_an_event_says_of_the_row_is_not_believed(worker):
    row_id = add_row(worker, csp_kind=727000001, csp_period="2026-13")
    said = [{"key": "csp_period", "value": "2026-10"}]
    target = {"key": "Target", "value": {"LogicalName": "csp_billingrun", "Attributes": said}}
    body_of("hear")(event(row_id, InputParameters=[target]))
    worker.drain()
    assert "'2026-13' is not a month" in row_of(worker, row_id)["csp_problem"]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "this is no event of Dataverse"),
        (b"[]", 400, "this is no event of Dataverse"),
        (b'{"MessageName": "Create"}', 400, "this is no event of Dataverse"),
        (event("1 or 1").get_body(), 400, "this is no event of Dataverse"),
        (b" " * (512 * 1024 + 1), 413, "the event is larger than 524288 bytes"),
    ],
)
def test_what_is_no_event_is_refused(worker, body, status, sentence):
    response = body_of("hear")(func.HttpRequest("POST", "/api/dataverse-events", body=body))
    assert response.status_code == status
    assert sentence in data(response)["error"]
    assert waiting(worker) == []


def test_a_webhook_on_another_table_is_told_so(worker):
    row_id = "0c5cbc2f-3a36-5b2e-9a75-1d90f8d7f6aa"
    response = body_of("hear")(event(row_id, PrimaryEntityName="account"))
    assert response.status_code == 400
    assert data(response)["error"] == "this table asks for nothing"
    assert "csp_billingrun, message Create" in data(response)["hint"]


def test_an_event_that_cannot_be_queued_is_503_so_that_dataverse_notes_it(worker, monkeypatch):
    def down(*_):
        raise Unavailable("no queue", service="Queue", status=503)

    monkeypatch.setattr(type(worker), "take_up", down)
    response = body_of("hear")(event("0c5cbc2f-3a36-5b2e-9a75-1d90f8d7f6aa"))
    assert response.status_code == 503


def test_a_run_can_be_read_while_it_runs_and_when_it_is_done(worker):
    assert get("sync.2026-11-09").status_code == 404
    post({"kind": "sync"})
    start = worker.ports.queue.receive("start")
    body_of("start_run")(message(start.body))
    worker.ports.queue.delete(start)
    response = get("sync.2026-11-09")
    assert (response.status_code, data(response)["status"]) == (200, "running")
    worker.drain()
    done = data(get("sync.2026-11-09"))
    assert (done["run_id"], done["status"]) == ("sync.2026-11-09", "done")
    assert done["counts"]["customers"] == 3
    assert done["finished_at"].startswith("2026-11-09T06:00")


def test_an_approval_can_be_read_like_any_run(worker):
    post({"kind": "approve", "period": "2026-10", "by": "Maria"})
    worker.drain()
    told = data(get("approve.2026-10"))
    assert (told["status"], told["counts"]) == ("done", {"issued": 0})


def test_each_queue_function_works_its_kind(worker):
    post({"kind": "sync"})
    worked = []
    functions = {queue: name for name, queue in QUEUES.items()}
    while True:
        kinds = ("start", "pull", "bill", "close")
        leased = next((m for kind in kinds if (m := worker.ports.queue.receive(kind))), None)
        if leased is None:
            break
        body_of(functions[leased.kind])(message(leased.body))
        worker.ports.queue.delete(leased)
        worked.append(leased.kind)
    assert worked[0] == "start"
    assert worked[-1] == "close"
    assert worker.run("sync/2026-11-09").status is RunStatus.DONE


@pytest.mark.parametrize(("name", "queue"), QUEUES.items())
def test_what_comes_on_a_queue_is_worked_or_given_up_as_of_that_queue(name, queue, monkeypatch):
    told = []

    class Spy:
        def handle(self, kind, body, **_):
            told.append((kind, body))

        def give_up(self, kind, body, _):
            told.append((f"{kind}-poison", body))

    monkeypatch.setattr(wiring, "worker", Spy)
    body_of(name)(message(UNIT))
    assert told == [(queue, UNIT.encode())]


def test_bad_input_is_given_up_at_once_and_the_run_says_why(worker, caplog):
    """Billing before the sync: trying five times would not make it complete."""
    with caplog.at_level(logging.ERROR):
        body_of("start_run")(message('{"kind": "bill", "period": "2026-10"}'))
    told = data(get("bill.2026-10"))
    assert told["status"] == "failed"
    assert "not reconcilable" in told["problem"]
    assert "gave up message m1 of queue start." in caplog.text


def test_a_message_that_is_not_readable_is_logged_without_its_content(worker, caplog):
    with caplog.at_level(logging.ERROR):
        body_of("start_run")(message('{"secret": "hunter2"}'))
        body_of("give_up_bill")(message("hunter2"))
    assert caplog.text.count("gave up message m1 of queue") == 2
    assert "hunter2" not in caplog.text


def kept(worker):
    """What was put aside because nobody can read it."""
    return {name: worker.ports.archive.read(name) for name in worker.ports.archive.names("poison")}


def test_a_message_that_is_not_readable_is_kept_once_whoever_finds_it(worker):
    body_of("start_run")(message("no message"))
    body_of("give_up_start")(message("no message"))
    body_of("give_up_bill")(message("nor this"))
    assert sorted(kept(worker).values()) == [b"no message", b"nor this"]
    assert {name.split("/")[1] for name in kept(worker)} == {"start", "bill"}


def test_a_large_message_comes_by_claim_and_is_worked(worker):
    padded = json.dumps({"kind": "sync", "day": "2026-11-09"}) + " " * 50_000
    worker.ports.queue.send("start", [padded])
    leased = worker.ports.queue.receive("start")
    assert len(leased.body) < 300
    assert set(json.loads(leased.body)) == {"claim", "sha256", "size"}
    body_of("start_run")(message(leased.body))
    assert worker.run("sync/2026-11-09") is not None
    assert kept(worker) == {}


def test_a_claim_whose_body_is_gone_is_kept_and_told(worker, caplog):
    digest = "0" * 64
    claim = {"claim": f"claims/{digest}.json", "sha256": digest, "size": 60_000}
    with caplog.at_level(logging.ERROR):
        body_of("start_run")(message(json.dumps(claim)))
        body_of("give_up_start")(message(json.dumps(claim)))
    assert [json.loads(body) for body in kept(worker).values()] == [claim]
    assert f"claims/{digest}.json, is gone" in caplog.text


def test_a_fault_is_left_to_the_host_to_try_again(worker, monkeypatch):
    def fails(queue, body):
        raise Unavailable("no answer", service="Dataverse", status=503)

    monkeypatch.setattr(type(worker), "handle", lambda self, queue, body, **_: fails(queue, body))
    with pytest.raises(Unavailable):
        body_of("bill_customer")(message(UNIT))


def test_the_functions_of_the_poison_queues_park_and_fail(worker):
    worker.ports.queue.send("start", [SYNC])
    start = worker.ports.queue.receive("start")
    worker.handle("start", start.body)
    pull = worker.ports.queue.receive("pull")
    body_of("give_up_pull")(message(pull.body))
    parked = [u for u in worker.store.units("sync/2026-11-09") if u.status is UnitStatus.PARKED]
    assert [unit.problem for unit in parked] == ["its message failed too often"]
    body_of("give_up_close")(message('{"run_key": "sync/2026-11-09"}'))
    assert worker.run("sync/2026-11-09").status is RunStatus.FAILED
    body_of("give_up_start")(message('{"kind": "bill", "period": "2026-10"}'))
    assert data(get("bill.2026-10"))["problem"] == "its message failed too often"


def test_a_system_that_does_not_answer_is_503_not_a_stack_trace(worker, monkeypatch):
    def down(*_):
        raise Unavailable("no answer", service="Dataverse", status=503)

    monkeypatch.setattr(type(worker), "run", down)
    monkeypatch.setattr(type(worker), "request", down)
    for response in (get("bill.2026-10"), post({"kind": "sync"})):
        assert response.status_code == 503
        assert data(response)["error"] == "Dataverse 503: no answer"


def test_the_worker_of_the_host_needs_a_queue_and_is_built_once(monkeypatch, tmp_path):
    for name in ("CSP_MODE", "CSP_SCENARIO"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CSP_STATE_DIR", str(tmp_path))
    wiring._built.cache_clear()
    with pytest.raises(ConfigurationError, match="there is no queue to send messages to"):
        wiring.worker()
    monkeypatch.setenv("CSP_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true")
    try:
        assert wiring.worker() is wiring.worker()
        wiring.worker().close()
    finally:
        wiring._built.cache_clear()


def test_messages_that_come_at_once_to_a_new_instance_share_one_worker(monkeypatch):
    built = []

    def slow(settings, *, in_cloud_host):
        time.sleep(0.1)
        built.append(object())
        return built[-1]

    monkeypatch.setattr(wiring, "build", slow)
    wiring._built.cache_clear()
    try:
        with ThreadPoolExecutor(4) as pool:
            given = list(pool.map(lambda _: wiring.worker(), range(4)))
    finally:
        wiring._built.cache_clear()
    assert given == built * 4


def test_what_another_worker_holds_is_sent_anew_until_it_is_free(worker, monkeypatch):
    """The host would try it five times, and give it up before the lease ends."""
    left = timedelta(minutes=9)

    def busy(self, queue, body, **_):
        if left > timedelta(0):
            raise Busy("bill/c1/2026-10 is being worked", self.ports.now() + left)
        done.append(queue)

    done, tries = [], 0
    monkeypatch.setattr(type(worker), "handle", busy)
    queue = worker.ports.queue
    body_of("bill_customer")(message(UNIT))
    while not done:
        worker.systems.emulator.clock.advance(timedelta(minutes=2))
        left -= timedelta(minutes=2)
        found = queue.receive("bill")
        assert found.dequeue_count == 1
        queue.delete(found)
        body_of("bill_customer")(message(found.body))
        tries += 1
    assert tries == 5
    assert len(queue) == 0


def test_what_comes_too_early_is_out_of_sight_until_it_is_time(worker, monkeypatch):
    def early(self, queue, body, **_):
        raise Later("not listed yet", self.ports.now() + timedelta(minutes=15))

    monkeypatch.setattr(type(worker), "handle", early)
    body_of("take_event")(message("{}"))
    queue, clock = worker.ports.queue, worker.systems.emulator.clock
    clock.advance(timedelta(minutes=14))
    assert queue.receive("event") is None
    clock.advance(timedelta(minutes=1))
    assert queue.receive("event").body == "{}"


def test_the_look_of_the_watch_is_told_outside(worker, monkeypatch):
    """What the timer asks for is looked at by the function of its queue, and told in numbers."""
    told = []
    monkeypatch.setattr(type(worker.telemetry), "watched", lambda _, report: told.append(report))
    body_of("watch")(Timer())
    look = worker.ports.queue.receive("report")
    body_of("make_report")(message(look.body))
    (seen,) = told
    assert (seen.late, seen.parked, seen.residuals, seen.asked_again) == ((), (), (), ())
    assert set(seen.lengths) == {name for kind in KINDS for name in (kind, f"{kind}-poison")}


def test_the_health_page_is_drawn_and_kept(worker):
    worker.ports.queue.send("start", ['{"kind": "health", "day": "2026-11-09"}'])
    worker.drain()
    page = worker.ports.archive.read("reports/2026-11-09/health.html").decode()
    summary = json.loads(worker.ports.archive.read("reports/2026-11-09/summary.json"))
    assert "There is no run for this period." in page
    assert (summary["period"], summary["as_of"]) == ("2026-10", "2026-11-09")
    assert worker.run("health/2026-W46").status is RunStatus.DONE


@pytest.mark.parametrize("kind", ["usage", "prices", "access", "renewals"])
def test_each_daily_run_ends_well_on_the_emulated_partner(worker, kind):
    for asked in ("sync", kind):
        worker.ask(asked)
        worker.drain()
    run = worker.run(f"{kind}/2026-11-09")
    assert (run.status, run.problem) == (RunStatus.DONE, "")
    assert run.counts["units"] >= (0 if kind in {"usage", "access"} else 1)
