"""Microsoft's own Python worker indexes and invokes the functions, and reaches nothing but loopback."""

import base64
import os
import re
import textwrap
from decimal import Decimal

import pytest
from azure.storage.queue import QueueClient

from app import demo
from app.settings import Settings
from app.wiring import opened
from host.declared import App, NotRunnable, load
from host.remote import FunctionFailed, WorkerProcess, worker_python
from host.runner import Host, given, make_containers
from tests.app.conftest import functions as indexed_here
from tests.host.conftest import ROOT, Caller, until

PYTHON = worker_python(ROOT)
MISSING = (
    "Microsoft's worker is not installed: python3 dev.py test does it where python3.13 is found"
)
pytestmark = pytest.mark.skipif(PYTHON is None, reason=MISSING)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    with (tmp_path_factory.mktemp("log") / "worker.log").open("w+", encoding="utf-8") as file:
        yield file


@pytest.fixture(scope="module")
def worker(partner, log):
    process = WorkerProcess(PYTHON, ROOT, partner.environment(), errors=log.fileno())
    yield process
    process.close()


@pytest.fixture(scope="module")
def told(worker):
    """What the worker says of the app; it is asked once, as by the platform."""
    return worker.index()


@pytest.fixture(scope="module")
def host(partner, worker, told):
    app = load(ROOT, partner.environment(), functions=worker.functions_of(told))
    make_containers(app, ("archive",))
    with Host(app, worker) as running:
        yield running


@pytest.fixture
def caller(host):
    return Caller(host)


def plain(binding):
    """A binding as JSON has it, whichever SDK wrote it."""
    return {
        name: [str(getattr(one, "value", one)) for one in value]
        if isinstance(value, list | tuple)
        else str(getattr(value, "name", value)).upper()
        for name, value in binding.items()
    }


# --- what it indexes ---------------------------------------------------------------------------------


def test_the_worker_finds_the_functions_triggers_and_bindings_that_the_sdk_finds_here(told):
    here = {
        name: [plain(one.get_dict_repr()) for one in function.get_bindings()]
        for name, function in indexed_here().items()
    }
    there = {one["name"]: [plain(each) for each in one["bindings"]] for one in told["functions"]}
    assert there == here
    assert told["python"] == "3.13"


# --- what it runs ------------------------------------------------------------------------------------


def test_runs_are_started_by_http_and_worked_by_the_queue_functions_to_their_end(caller, partner):
    sync = caller.run({"kind": "sync"})
    assert sync["status"] == "done", sync
    with opened(Settings.from_env(partner.settings)) as here:
        demo._key_in(here, list(here.store.customers()))
    bill = caller.run({"kind": "bill", "period": "2026-10"})
    assert bill["status"] in {"done", "done_with_holds"}, bill
    assert all(Decimal(total["residual"]) == 0 for total in bill["totals"]), bill
    with opened(Settings.from_env(partner.settings)) as here:
        drafts = [one.total.amount for one in here.store.documents()]
    assert sum(drafts) > 0
    assert caller.ask("GET", "/api/runs/sync.2026-11-09").json() == sync


def test_every_timer_leaves_its_message_and_succeeds(host, caller, worker):
    timers = [one.name for one in host.app.of("timerTrigger")]
    for name in timers:
        assert caller.ask("POST", f"/admin/functions/{name}", json={"input": ""}).ok
    until(lambda: all(name in worker.ended for name in timers), why="a timer did not run")
    assert {name: worker.ended[name] for name in timers} == {name: [1, 0] for name in timers}


def test_a_message_that_is_not_readable_ends_with_its_poison_function_and_blocks_nothing(
    host, partner, worker
):
    queues = {listener.queue: listener.function.name for listener in host.listeners}
    broken = base64.b64encode(b'{"colour": "red"}').decode()
    for queue in queues:
        if not queue.endswith("-poison"):
            with QueueClient.from_connection_string(partner.settings["WORKER_QUEUE"], queue) as one:
                one.send_message(broken)

    def empty(queue):
        with QueueClient.from_connection_string(partner.settings["WORKER_QUEUE"], queue) as one:
            return one.get_queue_properties().approximate_message_count == 0

    for queue in queues:
        until(lambda queue=queue: empty(queue), 60, f"queue {queue} keeps its message")
    given_up = {name: worker.ended.get(name) for queue, name in queues.items() if "poison" in queue}
    assert all(counts is None or counts[1] == 0 for counts in given_up.values()), given_up


def test_poison_functions_note_what_was_given_up(host, caller, partner, worker):
    """Each of them once, with a message that names a run which is not there."""
    for listener in host.listeners:
        if listener.queue.endswith("-poison"):
            caller.ask(
                "POST",
                f"/admin/functions/{listener.function.name}",
                json={"input": '{"run_key": "bill/2031-01"}'},
            )
    names = [one.function.name for one in host.listeners if one.queue.endswith("-poison")]
    until(lambda: all(name in worker.ended for name in names), why="a poison function did not run")
    assert {name: worker.ended[name][1] for name in names} == dict.fromkeys(names, 0)


def test_no_address_answers_a_senseless_call_with_500(host, caller):
    seen = {}
    for function in host.app.of("httpTrigger"):
        route = re.sub(r"\{[^}]*\}", "no-such-thing", str(function.trigger["route"]))
        for method in function.trigger["methods"]:
            seen[f"{method} {route}"] = caller.ask(method, f"/api/{route}", data=b"{}").status_code
    assert {place: code for place, code in seen.items() if code == 500 or code > 503} == {}
    assert len(seen) >= len(host.app.of("httpTrigger"))


def test_every_function_was_invoked_and_nothing_but_loopback_was_asked_for(host, worker):
    """The last test of this file: what the others did, added up."""
    names = {one.name for one in host.app.functions}
    assert names - set(worker.ended) == set()
    assert worker.refused() == []


# --- what it refuses ---------------------------------------------------------------------------------


def an_app(folder, text):
    (folder / "function_app.py").write_text(
        "import azure.functions as func\napp = func.FunctionApp()\n" + textwrap.dedent(text)
    )
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return WorkerProcess(PYTHON, folder, environment | {"PYTHONPATH": str(ROOT)})


def test_a_function_that_calls_another_machine_is_refused_and_told(tmp_path):
    process = an_app(
        tmp_path,
        """
        @app.timer_trigger(arg_name="timer", schedule="0 0 5 * * *")
        def calls(timer: func.TimerRequest) -> None:
            import socket
            socket.create_connection(("192.0.2.1", 443), timeout=1)
        """,
    )
    try:
        (function,) = process.functions_of(process.index())
        app = App(functions=(function,), settings={})
        with pytest.raises(FunctionFailed, match=r"192\.0\.2\.1 is not on this machine"):
            process.submit(function, given(app, function, ""), "a test").result(30)
        assert process.refused() == ["socket.getaddrinfo 192.0.2.1"]
    finally:
        process.close()


def test_an_app_that_the_platform_would_not_load_is_refused_with_its_reason(tmp_path):
    process = an_app(
        tmp_path,
        """
        @app.queue_trigger(arg_name="msg", queue_name="work", connection="WORKER_QUEUE")
        def take(message: func.QueueMessage) -> None:
            pass
        """,
    )
    try:
        with pytest.raises(NotRunnable, match=r"cannot load the take function.*message"):
            process.index()
    finally:
        process.close()
