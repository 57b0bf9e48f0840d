"""Microsoft's own Python worker indexes and invokes the functions, and reaches nothing but loopback."""

import base64
import contextlib
import json
import os
import re
import sys
import textwrap
from contextlib import closing
from decimal import Decimal

import pytest
from azure.storage.queue import QueueClient

import dev
from app import demo
from app.settings import Settings
from app.wiring import opened
from host.declared import App, NotRunnable, load
from host.remote import FunctionFailed, WorkerProcess, worker_python
from host.runner import Host, given, make_containers
from tests.app.conftest import functions as indexed_here
from tests.host.conftest import ROOT, Caller, until
from tests.insights import Listening

PYTHON = worker_python(ROOT)
MISSING = (
    "Microsoft's worker is not installed: python3 dev.py test does it where python3.13 is found"
)


@pytest.fixture(autouse=True)
def worker_is_there():
    """Skip where it is not installed; a failure where everything must be tried on the deployed Python."""
    if PYTHON is None:
        deployed = f"{sys.version_info.major}.{sys.version_info.minor}" == dev.WORKER_VERSION
        (pytest.fail if os.environ.get("CI") and deployed else pytest.skip)(MISSING)


def plain(binding):
    """A binding as JSON has it, whichever SDK wrote it."""
    return {
        name: [str(getattr(one, "value", one)) for one in value]
        if isinstance(value, list | tuple)
        else str(getattr(value, "name", value)).upper()
        for name, value in binding.items()
    }


# --- what it indexes ---------------------------------------------------------------------------------


def test_the_worker_finds_the_functions_triggers_and_bindings_that_the_sdk_finds_here():
    here = {
        name: [plain(one.get_dict_repr()) for one in function.get_bindings()]
        for name, function in indexed_here().items()
    }
    with closing(WorkerProcess(PYTHON, ROOT, bare())) as worker:
        told = worker.index()
        assert worker.refused() == []
    there = {one["name"]: [plain(each) for each in one["bindings"]] for one in told["functions"]}
    assert there == here
    assert told["python"] == "3.13"


# --- what it runs ------------------------------------------------------------------------------------


def test_every_function_runs_under_the_worker_and_asks_for_nothing_but_loopback(partner, tmp_path):
    """One story, because what it rests on takes long to make."""
    with (
        (tmp_path / "worker.log").open("w") as log,
        Listening() as insights,
        closing(
            WorkerProcess(
                PYTHON, ROOT, partner.environment(**telling(insights)), errors=log.fileno()
            )
        ) as worker,
    ):
        app = load(ROOT, partner.environment(), functions=worker.functions())
        make_containers(app, ("archive",))
        with Host(app, worker) as host:
            runs_are_started_by_http_and_worked_to_their_end(Caller(host), partner)
            a_run_is_one_trace_that_goes_on_with_the_callers(Caller(host), insights)
            every_timer_leaves_its_message(Caller(host), worker)
            what_is_not_readable_ends_with_its_poison_function(host, partner, worker)
            poison_functions_note_what_was_given_up(Caller(host), worker)
            no_address_answers_a_senseless_call_with_500(Caller(host))
        assert {one.name for one in app.functions} - set(worker.ended) == set()
        assert worker.refused() == []
    told = {one["name"] for one in insights.rows("customMetrics")}
    assert {"csp.units", "csp.money", "csp.residual", "csp.poison"} <= told  # sent at its end


def runs_are_started_by_http_and_worked_to_their_end(caller, partner):
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


def telling(insights):
    """As the templates set it."""
    return {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": insights.connection,
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
    }


def a_run_is_one_trace_that_goes_on_with_the_callers(caller, insights):
    """Whatever the platform's worker does with the host's own trace."""
    theirs = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    sent = caller.ask("POST", "/api/runs", json={"kind": "access"}, headers={"traceparent": theirs})
    assert sent.status_code == 202

    def traced(run):
        found = [(json.loads(one["customDimensions"]), one) for one in insights.rows("requests")]
        return {
            said["csp.queue"]: one["operation_Id"]
            for said, one in found
            if said.get("csp.run") == run
        }

    until(lambda: {"start", "close"} <= set(traced("access/2026-11-09")), 20, "no spans came")
    assert set(traced("access/2026-11-09").values()) == {"a" * 32}
    assert len(set(traced("bill/2026-10").values())) == 1
    lines = [one["message"] for one in insights.rows("traces")]
    assert any(line.startswith("run: run=bill/2026-10") for line in lines)


def every_timer_leaves_its_message(caller, worker):
    timers = [one.name for one in caller.host.app.of("timerTrigger")]
    for name in timers:
        assert caller.ask("POST", f"/admin/functions/{name}", json={"input": ""}).ok
    until(lambda: all(name in worker.ended for name in timers), why="a timer did not run")
    assert {name: worker.ended[name] for name in timers} == {name: [1, 0] for name in timers}


def what_is_not_readable_ends_with_its_poison_function(host, partner, worker):
    queues = {listener.queue: listener.function.name for listener in host.listeners}
    broken = base64.b64encode(b'{"colour": "red"}').decode()
    with contextlib.ExitStack() as held:
        connection = partner.settings["WORKER_QUEUE"]
        clients = {
            queue: held.enter_context(QueueClient.from_connection_string(connection, queue))
            for queue in queues
        }
        for queue, client in clients.items():
            if not queue.endswith("-poison"):
                client.send_message(broken)
        for queue, client in clients.items():
            until(
                lambda one=client: one.get_queue_properties().approximate_message_count == 0,
                90,
                f"queue {queue} keeps its message",
            )
    failed = [
        name
        for queue, name in queues.items()
        if queue.endswith("-poison") and worker.ended.get(name, [0, 0])[1]
    ]
    assert failed == []


def poison_functions_note_what_was_given_up(caller, worker):
    """Each of them, with a message that names a run which is not there."""
    names = [one.function.name for one in caller.host.listeners if one.queue.endswith("-poison")]
    for name in names:
        body = '{"run_key": "bill/2031-01"}'
        assert caller.ask("POST", f"/admin/functions/{name}", json={"input": body}).ok
    until(lambda: all(name in worker.ended for name in names), why="a poison function did not run")
    assert {name: worker.ended[name][1] for name in names} == dict.fromkeys(names, 0)


def no_address_answers_a_senseless_call_with_500(caller):
    seen = {}
    for function in caller.host.app.of("httpTrigger"):
        route = re.sub(r"\{[^}]*\}", "no-such-thing", str(function.trigger["route"]))
        for method in function.trigger["methods"]:
            answer = caller.ask(method, f"/api/{route}", data=b"{}")
            seen[f"{method} {route}"] = answer.status_code
    assert {place: code for place, code in seen.items() if code == 500 or code > 503} == {}


# --- what it refuses ---------------------------------------------------------------------------------


def bare():
    """As much of this process's environment as any process needs."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def an_app(folder, text):
    (folder / "function_app.py").write_text(
        "import azure.functions as func\napp = func.FunctionApp()\n" + textwrap.dedent(text)
    )
    settings = bare() | {"PYTHONPATH": str(ROOT), "PYTHON_ENABLE_OPENTELEMETRY": "true"}
    return closing(WorkerProcess(PYTHON, folder, settings))


def test_a_function_that_calls_another_machine_is_refused_and_told(tmp_path):
    with an_app(
        tmp_path,
        """
        @app.timer_trigger(arg_name="timer", schedule="0 0 5 * * *")
        def calls(timer: func.TimerRequest) -> None:
            import socket
            socket.create_connection(("192.0.2.1", 443), timeout=1)
        """,
    ) as worker:
        (function,) = worker.functions()
        app = App(functions=(function,), settings={})
        with pytest.raises(FunctionFailed, match=r"192\.0\.2\.1 is not on this machine"):
            worker.submit(function, given(app, function, ""), "a test").result(30)
        assert worker.refused() == ["socket.getaddrinfo 192.0.2.1"]


def test_an_app_that_the_platform_would_not_load_is_refused_with_its_reason(tmp_path):
    with (
        an_app(
            tmp_path,
            """
            @app.queue_trigger(arg_name="msg", queue_name="work", connection="WORKER_QUEUE")
            def take(message: func.QueueMessage) -> None:
                pass
            """,
        ) as worker,
        pytest.raises(NotRunnable, match=r"cannot load the take function.*message"),
    ):
        worker.index()


def test_a_worker_that_dies_fails_what_it_was_asked_for(tmp_path):
    with an_app(
        tmp_path,
        """
        @app.timer_trigger(arg_name="timer", schedule="0 0 5 * * *")
        def dies(timer: func.TimerRequest) -> None:
            import os
            os._exit(9)
        """,
    ) as worker:
        (function,) = worker.functions()
        app = App(functions=(function,), settings={})
        for _ in range(2):
            with pytest.raises(FunctionFailed, match="the worker process ended"):
                worker.submit(function, given(app, function, ""), "a test").result(30)


def test_the_trace_of_the_host_reaches_coroutine_functions_only(tmp_path):
    """So docs/operations.md says; where this fails, the worker has learned to hand it to all."""
    with an_app(
        tmp_path,
        """
        def seen(context):
            from opentelemetry.trace import get_current_span
            here = get_current_span().get_span_context()
            told = context.trace_context.trace_parent.split("-")[1]
            raise RuntimeError(f"given {told == format(here.trace_id, '032x')}")

        @app.timer_trigger(arg_name="timer", schedule="0 0 5 * * *")
        def plain(timer: func.TimerRequest, context: func.Context) -> None:
            seen(context)

        @app.timer_trigger(arg_name="timer", schedule="0 0 5 * * *")
        async def coroutine(timer: func.TimerRequest, context: func.Context) -> None:
            seen(context)
        """,
    ) as worker:
        app = App(functions=worker.functions(), settings={})
        told = {}
        for function in app.functions:
            failed = worker.submit(function, given(app, function, ""), "a test").exception(30)
            told[function.name] = str(failed)
    assert told == {"plain": "RuntimeError: given False", "coroutine": "RuntimeError: given True"}
