"""A run as it is seen from outside: one trace, true numbers, no secrets, and no harm when it fails."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import azure.functions as func
import pytest
from azure.functions.queue import QueueMessage as Delivered
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app import demo, wiring
from app.exporters import telemetry_of, telemetry_to
from app.settings import Settings
from app.telemetry import METRICS, Telemetry
from app.wiring import Worker, opened
from domain.problems import Unavailable
from domain.run import RunStatus, UnitOfWork, UnitStatus
from sync.messages import BillUnit, StartRun
from tests.app.conftest import functions
from tests.app.telling import Told, said
from tests.app.waterfall import rows, svg
from transport.calls import Call, Threads
from transport.queues import KINDS

PERIOD = "2026-10"
EVERY = 7
"""In the month of this file every seventh call to each system is refused once with 429."""


class Month(NamedTuple):
    worker: Worker
    told: Told
    live: Told
    requests: list[dict[str, Any]]


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """A small partner's month, synced and billed with a system that refuses now and then."""
    told = Told()
    state = tmp_path_factory.mktemp("told")
    settings = Settings.from_env({"CSP_STATE_DIR": str(state), "CSP_SCENARIO": "small"})
    with opened(settings, told.telemetry()) as worker:
        demo._provision(worker)
        control = worker.systems.emulator.control
        for system in ("partner_center", "graph", "dataverse"):
            control.throttle(system, every=EVERY)
        told.exporter.clear()
        control.clear_log()
        demo._work(worker, StartRun(kind="sync", day=worker.today()))
        demo._key_in(worker, list(worker.store.customers()))
        demo._work(worker, StartRun(kind="bill", period=PERIOD))
        for system in ("partner_center", "graph", "dataverse"):
            control.throttle(system, every=0)
        yield Month(worker, told.so_far(), told, list(control.requests()))


def chain(span, by_id):
    """A span and those above it, up to the first."""
    found = [span]
    while found[-1].parent is not None:
        found.append(by_id[found[-1].parent.span_id])
    return found


# --- traces ------------------------------------------------------------------------------------------


def test_a_run_is_one_trace_from_who_asked_to_every_call(month):
    told = month.told
    by_id = {span.context.span_id: span for span in told.spans()}
    for run in ("sync/2026-11-09", f"bill/{PERIOD}"):
        (root,) = [s for s in told.spans(SpanKind.PRODUCER) if said(s, "csp.run") == run]
        assert root.name == f"ask {run.split('/')[0]}"
        mine = [s for s in told.spans() if s.context.trace_id == root.context.trace_id]
        assert all(chain(span, by_id)[-1] is root for span in mine)
        units = [s for s in mine if said(s, "csp.unit")]
        assert units
        assert {said(unit, "csp.run") for unit in units} == {run}


def test_a_unit_hangs_below_the_message_that_planned_it_and_its_calls_below_it(month):
    worker, told = month.worker, month.told
    by_id = {span.context.span_id: span for span in told.spans()}
    stored = {unit.key: unit for unit in worker.store.units(f"bill/{PERIOD}")}
    units = [s for s in told.spans(SpanKind.CONSUMER) if said(s, "csp.queue") == "bill"]
    assert {said(unit, "csp.unit") for unit in units} == set(stored)
    for unit in units:
        assert [span.name for span in chain(unit, by_id)] == ["bill", "start bill", "ask bill"]
        assert said(unit, "csp.customer") == said(unit, "csp.unit").split("/")[1]
        assert said(unit, "csp.kind") == "bill"
        assert said(unit, "csp.outcome") == stored[said(unit, "csp.unit")].status.value
        below = [s for s in told.spans(SpanKind.CLIENT) if by_id.get(parent(s)) is unit]
        assert {said(call, "csp.service") for call in below} >= {"Dataverse"}


def parent(span):
    return span.parent.span_id if span.parent else None


def test_every_call_that_a_system_saw_is_told_once_with_status_and_try(month):
    """But sign-ins: the library that signs in asks by itself."""
    told, requests = month.told, month.requests
    seen = Counter((one["method"], one["status"]) for one in requests if one["system"] != "login")
    calls = told.spans(SpanKind.CLIENT)
    assert seen == Counter(
        (said(one, "http.request.method"), said(one, "http.response.status_code")) for one in calls
    )
    again = [one for one in calls if said(one, "csp.tries") > 1]
    refused = [one for one in calls if said(one, "http.response.status_code") == 429]
    assert refused
    assert len(again) >= len(refused)  # each was tried again
    assert all(one.status.status_code is StatusCode.ERROR for one in refused)
    well = [one for one in calls if one not in refused and said(one, "csp.service") == "Dataverse"]
    assert all(said(one, "csp.request") for one in well)


def test_calls_of_several_threads_stay_in_their_trace():
    told = Told()
    telemetry = told.telemetry()
    call = Call("Microsoft Graph", "GET", "graph.microsoft.com", "/v1.0/x", 200, 3)
    with telemetry.asking("sync/2026-11-09"), Threads(4) as pool:
        list(pool.map(lambda _: telemetry.call(call), range(20)))
    (root,) = told.spans(SpanKind.PRODUCER)
    assert [parent(one) for one in told.spans(SpanKind.CLIENT)] == [root.context.span_id] * 20


def test_a_message_that_comes_twice_shows_as_unchanged(month):
    worker, told = month.worker, month.told
    (first,) = [
        s
        for s in told.spans(SpanKind.CONSUMER)
        if said(s, "csp.unit") == worker.store.units(f"bill/{PERIOD}")[0].key
    ]
    context = first.context
    trace = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
    unit = BillUnit(
        run_key=f"bill/{PERIOD}",
        customer_id=said(first, "csp.customer"),
        period=PERIOD,
        trace=trace,
    )
    live = month.live
    units = live.points("csp.units")
    live.exporter.clear()
    worker.handle("bill", unit.model_dump_json(), message_id="m7", tries=2)
    (again,) = live.spans(SpanKind.CONSUMER)
    assert (said(again, "csp.outcome"), said(again, "csp.tries")) == ("unchanged", 2)
    assert said(again, "csp.message") == "m7"
    assert parent(again) == context.span_id
    assert live.points("csp.units") == units


def test_what_is_sent_again_later_keeps_its_trace():
    told = Told()
    telemetry = told.telemetry()
    with telemetry.asking("bill/2026-10"):
        first = telemetry.stamp('{"v":1,"run_key":"bill/2026-10"}')
    with telemetry.asking("bill/2026-11"):
        assert telemetry.stamp(first) == first
        assert telemetry.stamp('{"v":1,"trace":null}') != '{"v":1,"trace":null}'


@pytest.mark.parametrize("body", ["", "{", "[]", "7", '"text"', "\x00", '{"trace": 5}', "[" * 9999])
def test_a_message_that_is_none_is_worked_and_told_all_the_same(body):
    told = Told()
    telemetry = told.telemetry()
    worked = []
    with telemetry.asking("bill/2026-10"), telemetry.message("bill", telemetry.stamp(body)):
        worked.append(body)
    telemetry.gave_up("bill", body)
    assert worked
    assert told.points("csp.poison") == {("bill",): 1}


def test_a_queue_that_nobody_traces_carries_what_was_sent():
    assert Telemetry().stamp('{"v":1}') == '{"v":1}'


def test_a_caller_with_a_trace_is_gone_on_with_and_the_host_comes_first():
    told = Told()
    telemetry = told.telemetry()
    theirs, hosts = (
        "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "c" * 32 + "-" + "d" * 16 + "-01",
    )
    with telemetry.caller(theirs), telemetry.asking("sync/2026-11-09"):
        pass
    with telemetry.caller(hosts), telemetry.caller(theirs), telemetry.asking("sync/2026-11-09"):
        pass
    with telemetry.caller("nonsense\r\n"), telemetry.asking("sync/2026-11-09"):
        pass
    first, second, third = told.spans(SpanKind.PRODUCER)
    assert f"{first.context.trace_id:032x}" == "a" * 32
    assert f"{second.context.trace_id:032x}" == "c" * 32
    assert third.parent is None


def test_a_run_that_is_asked_for_over_http_goes_on_with_the_callers_trace(month, monkeypatch):
    worker = month.worker
    monkeypatch.setattr(wiring, "worker", lambda: worker)
    theirs = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    request = func.HttpRequest(
        "POST",
        "/api/runs",
        headers={"traceparent": theirs, "Content-Type": "application/json"},
        body=b'{"kind": "sync"}',
    )
    assert functions()["start"].get_user_function()(request).status_code == 202
    message = worker.ports.queue.receive("start")
    worker.ports.queue.delete(message)
    assert json.loads(message.body)["trace"].split("-")[1] == "a" * 32


class Timer:
    past_due = False


def taken(queue, kind):
    """The next message of a queue, as the host hands it to a function."""
    found = queue.receive(kind)
    queue.delete(found)
    return Delivered(id=found.id, body=found.body.encode(), dequeue_count=4)


def test_functions_of_the_host_go_on_with_the_trace_of_the_timer(month, monkeypatch):
    worker, live = month.worker, month.live
    monkeypatch.setattr(wiring, "worker", lambda: worker)
    live.exporter.clear()
    functions()["daily_sync"].get_user_function()(Timer())
    message = taken(worker.ports.queue, "start")
    functions()["start_run"].get_user_function()(message)
    (asked,), (worked,) = live.spans(SpanKind.PRODUCER), live.spans(SpanKind.CONSUMER)
    assert parent(worked) == asked.context.span_id
    assert (asked.name, worked.name) == ("ask sync", "start sync")
    assert (said(worked, "csp.tries"), said(worked, "csp.message")) == (4, message.id)


def test_what_is_given_up_is_told_in_the_trace_of_its_message(month, monkeypatch):
    worker, live = month.worker, month.live
    monkeypatch.setattr(wiring, "worker", lambda: worker)
    live.exporter.clear()
    live.records.clear()
    with worker.telemetry.asking("bill/2026-09"):
        unit = BillUnit(run_key="bill/2026-09", customer_id="c1", period="2026-09")
        body = worker.telemetry.stamp(unit.model_dump_json())
    before = live.points("csp.poison").get(("bill",), 0)
    functions()["give_up_bill"].get_user_function()(func.QueueMessage(id="m9", body=body.encode()))
    (asked,) = live.spans(SpanKind.PRODUCER)
    (given_up,) = [one for one in live.spans(SpanKind.CONSUMER) if one.name == "bill-poison"]
    assert given_up.context.trace_id == asked.context.trace_id
    assert live.points("csp.poison")["bill",] == before + 1
    assert [one["csp.run"] for _, one in live.lines() if one.get("csp.event") == "gave up"] == [
        "bill/2026-09"
    ]
    while (left := worker.ports.queue.receive("close")) is not None:
        worker.ports.queue.delete(left)


def test_where_a_message_is_kept_that_nobody_can_read_is_told(month, monkeypatch):
    worker, live = month.worker, month.live
    monkeypatch.setattr(wiring, "worker", lambda: worker)
    live.records.clear()
    body = b'{"colour": "red", "name": "Contoso"}'
    functions()["bill_customer"].get_user_function()(func.QueueMessage(id="m8", body=body))
    (kept,) = [one for _, one in live.lines() if one.get("csp.event") == "put aside"]
    assert worker.ports.archive.read(kept["csp.kept"]) == body
    assert "Contoso" not in str(live.lines())


def test_the_watch_is_heard_with_what_it_found(month):
    worker, live = month.worker, month.live
    live.exporter.clear()
    before = live.points("csp.watch")
    worker.look_around()
    worker.drain()
    (looked,) = [one for one in live.spans(SpanKind.CONSUMER) if said(one, "csp.queue") == "report"]
    assert (looked.name, said(looked, "csp.outcome")) == ("report watch", "looked")
    assert live.points("csp.watch") == {(): before.get((), 0) + 1}
    assert {("sync",), ("bill",)} <= set(live.points("csp.data.age"))
    assert live.points("csp.poison.waiting") == {(queue,): 0 for queue in KINDS}


def test_what_the_host_runs_is_linked_where_the_message_has_a_trace_of_its_own():
    told = Told()
    telemetry = told.telemetry()
    host = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
    with telemetry.asking("bill/2026-10"):
        body = telemetry.stamp('{"run_key":"bill/2026-10"}')
    with telemetry.caller(host), telemetry.message("close", body):
        pass
    (asked,), (worked,) = told.spans(SpanKind.PRODUCER), told.spans(SpanKind.CONSUMER)
    assert worked.context.trace_id == asked.context.trace_id
    assert [f"{link.context.trace_id:032x}" for link in worked.links] == ["c" * 32]


def test_a_trace_can_be_drawn(month):
    told = month.told
    (asked,) = [s for s in told.spans() if s.name == "ask bill"]
    mine = [s for s in told.spans() if s.context.trace_id == asked.context.trace_id]
    drawn = [one.label for one in rows(mine)]
    assert drawn[:3] == ["ask bill", "start bill", "bill"]
    assert drawn.count("bill") == 3
    assert "close" in drawn
    picture = svg(rows(mine))
    assert all(f">{label}<" in picture for label in ("ask bill", "start bill", "close"))


# --- metrics -----------------------------------------------------------------------------------------


def test_the_money_of_a_run_is_what_its_row_says(month):
    worker, told = month.worker, month.told
    run = worker.run(f"bill/{PERIOD}")
    assert run.totals
    expected = {
        (total.currency, part, run.key): float(getattr(total, part))
        for total in run.totals
        for part in ("microsoft", "billed", "credited", "held", "excluded", "sold")
    }
    assert told.points("csp.money") == expected
    assert told.points("csp.residual") == {
        (total.currency, run.key): float(total.residual) for total in run.totals
    }
    assert told.points("csp.charges") == {(run.key,): run.counts["charges"]}


def test_units_are_counted_as_they_ended(month):
    worker, told = month.worker, month.told
    ended = Counter(
        (unit.kind, unit.status.value)
        for key in ("sync/2026-11-09", f"bill/{PERIOD}")
        for unit in worker.store.units(key)
    )
    assert told.points("csp.units") == ended


def test_refusals_are_counted_by_service(month):
    told, requests = month.told, month.requests
    refused = Counter(one["system"] for one in requests if one["status"] == 429)
    services = {
        "partner_center": "Partner Center",
        "graph": "Microsoft Graph",
        "dataverse": "Dataverse",
    }
    assert set(refused) == set(services)
    assert told.points("csp.throttles") == {
        (services[system],): count for system, count in refused.items()
    }


def failed(key="bill/c1/2026-10", status=UnitStatus.FAILED, problem="Throttled: wait, Contoso"):
    return UnitOfWork(
        key=key, kind="bill", run_key="bill/2026-10", status=status, attempt=3, problem=problem
    )


def test_a_unit_that_fails_is_told_with_the_kind_of_its_problem_and_not_its_sentence():
    told = Told()
    telemetry = told.telemetry()
    telemetry.tell(failed())
    telemetry.tell(failed(status=UnitStatus.PARKED, problem="its message failed too often"))
    telemetry.tell(failed(status=UnitStatus.QUEUED))
    assert told.points("csp.units") == {("bill", "failed"): 1, ("bill", "parked"): 1}
    (first, said_first), (second, said_second) = told.lines()
    assert said_first["error.type"] == "Throttled"
    assert "error.type" not in said_second
    assert first.startswith("unit: unit=bill/c1/2026-10 kind=bill run=bill/2026-10 outcome=failed")
    assert "Contoso" not in first + second


def test_a_run_that_fails_is_counted_once_and_one_that_runs_is_not(month):
    worker = month.worker
    run = worker.run(f"bill/{PERIOD}")
    told = Told()
    telemetry = told.telemetry()
    telemetry.tell(replace(run, status=RunStatus.RUNNING))
    assert told.points("csp.run.failed") == {}
    telemetry.tell(replace(run, status=RunStatus.FAILED, problem="InvariantBroken: x"))
    assert told.points("csp.run.failed") == {("bill",): 1}
    ((_, said_run),) = told.lines()
    assert (said_run["csp.outcome"], said_run["error.type"]) == ("failed", "InvariantBroken")


def test_every_metric_is_made_and_told_of():
    told = Told()
    told.telemetry()
    assert all(name.startswith("csp.") and more for name, (_, _, more) in METRICS.items())


# --- one line for each unit and run ------------------------------------------------------------------


def test_each_unit_and_run_is_one_line_with_its_counts(month):
    worker, told = month.worker, month.told
    units = [one for _, one in told.lines() if one.get("csp.event") == "unit"]
    stored = worker.store.units(f"bill/{PERIOD}")
    assert {one["csp.unit"] for one in units} >= {unit.key for unit in stored}
    (line,) = [
        text
        for text, one in told.lines()
        if one.get("csp.run") == f"bill/{PERIOD}" and text.startswith("run:")
    ]
    run = worker.run(f"bill/{PERIOD}")
    assert f"charges={run.counts['charges']}" in line


def test_a_command_says_nothing_of_it_on_its_own(capsys):
    Telemetry().tell(failed())
    assert capsys.readouterr().err == ""


# --- no secrets --------------------------------------------------------------------------------------


def test_nothing_that_leaves_names_a_customer_or_holds_a_secret(month):
    worker, told = month.worker, month.told
    emulator = worker.systems.emulator
    secrets = [emulator.credentials["client_secret"], emulator.credentials["refresh_token"]]
    names = [customer.name for customer in worker.store.customers()]
    numbers = [check.number for check in worker.store.number_checks()]
    assert names
    everything = "\n".join(told.everything())
    for one in (*secrets, *names, *numbers, "Bearer ", "eyJ", "sig=", "$filter", "?"):
        assert one not in everything, one


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v1/customers", "/v1/customers"),
        (
            "/v1/customers/0a1b2c3d-0000-4000-8000-000000000001/agreements",
            "/v1/customers/{id}/agreements",
        ),
        (
            "/v1.0/tenantRelationships/delegatedAdminRelationships/x9-y",
            "/v1.0/tenantRelationships/delegatedAdminRelationships/{id}",
        ),
        (
            "/api/data/v9.2/csp_invoices(csp_externalkey='invoice.contoso.2026-10')",
            "/api/data/v9.2/csp_invoices({id})",
        ),
        (
            "/api/data/v9.2/csp_findings/Microsoft.Dynamics.CRM.UpsertMultiple",
            "/api/data/v9.2/csp_findings/Microsoft.Dynamics.CRM.UpsertMultiple",
        ),
        ("/api/data/v9.2/$batch", "/api/data/v9.2/$batch"),
        ("/ms/DE/vat/123456789", "/ms/DE/vat/{id}"),
        (
            "/v1.0/sales/pricesheets(Market='US',PricesheetView='updatedlicensebased')/$value",
            "/v1.0/sales/pricesheets({id})/$value",
        ),
        ("/v1/domains/contoso.onmicrosoft.com", "/v1/domains/{id}"),
        ("/v1/users/jo@contoso.com", "/v1/users/{id}"),
        ("/exports/%2e%2e/secret%20name", "/exports/{id}/{id}"),
        ("/" + "a" * 41, "/{id}"),
        ("", ""),
        ("/", "/"),
    ],
)
def test_of_a_path_words_stay_and_what_says_whose_goes(path, shown):
    assert Call("x", "GET", "h", path, 200, 1).template == shown


def test_what_a_service_echoes_is_told_without_the_shape_of_a_secret():
    told = Told()
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"
    told.telemetry().call(
        Call("Dataverse", "GET", "h", "/x", 500, 1, 1, f"Bearer {jwt} client_secret=hunter2&x")
    )
    text = "\n".join(told.everything())
    assert jwt not in text
    assert "hunter2" not in text


def test_of_the_sentences_of_others_only_the_form_leaves():
    told = Told()
    telemetry = told.telemetry()
    logging.getLogger("some.library").warning("no mail for %s", "jo@contoso.com")
    error = ValueError("jo@contoso.com")
    logging.getLogger("app.queues").error("gave up %s", "Contoso", exc_info=error)
    logging.getLogger("some.library").info("quiet")
    logging.getLogger("azure.core.pipeline").error("a circle")
    assert [body for body, _ in told.lines()] == ["no mail for %s", "gave up %s"]
    assert told.lines()[1][1]["error.type"] == "ValueError"
    assert "contoso" not in "\n".join(told.everything()).lower()
    telemetry.close()
    logging.getLogger("some.library").warning("after its end")
    assert len(told.lines()) == 2


# --- telling never fails -----------------------------------------------------------------------------


class Broken(SpanExporter):
    def export(self, spans):
        raise RuntimeError("no way out")


class Worse(SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise RuntimeError("not even that")

    def on_end(self, span):
        raise RuntimeError("not even that")


@pytest.mark.parametrize("processor", [SimpleSpanProcessor(Broken()), Worse()])
def test_a_run_does_not_mind_that_nothing_can_be_told(processor, tmp_path, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    settings = Settings.from_env({"CSP_STATE_DIR": str(tmp_path), "CSP_SCENARIO": "small"})
    with opened(settings, telemetry_to(processor, InMemoryMetricReader())) as worker:
        demo._provision(worker)
        customer = next(iter(worker.ports.partner_center.customers())).id
        worker.request(StartRun(kind="sync", day=worker.today(), customer_id=customer))
        worker.drain()
        run = worker.run(f"sync/2026-11-09/{customer}")
        assert run.status is RunStatus.DONE
        assert all(one.status is UnitStatus.SETTLED for one in worker.store.units(run.key))


def test_a_fault_of_the_work_is_told_and_goes_on(month):
    told = Told()
    with pytest.raises(Unavailable), told.telemetry().message("bill", "{}"):
        raise Unavailable("no answer", service="Dataverse", status=503)
    (span,) = told.spans()
    assert said(span, "error.type") == "Unavailable"
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None


def test_a_run_that_is_not_sampled_has_no_spans_and_all_its_numbers(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    told = Told()
    telemetry = told.telemetry()
    with telemetry.asking("bill/2026-10"):
        body = telemetry.stamp('{"run_key":"bill/2026-10"}')
    with telemetry.message("bill", body):
        telemetry.tell(failed())
    assert told.spans() == []
    flags = json.loads(body)["trace"].split("-")[3]
    assert not int(flags, 16) & 1  # so that whoever takes it tells no span either
    assert told.points("csp.units") == {("bill", "failed"): 1}


# --- where it goes -----------------------------------------------------------------------------------


def test_libraries_that_log_every_request_are_heard_from_warnings_on():
    logging.getLogger("azure").setLevel(logging.NOTSET)
    telemetry_of("off", {})
    for name in ("azure.core.pipeline.policies", "msal.token_cache", "urllib3.connectionpool"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)
        assert logging.getLogger(name).isEnabledFor(logging.WARNING)


def test_nothing_is_told_where_nothing_is_set():
    telemetry = telemetry_of(None, {})
    with telemetry.asking("bill/2026-10"):
        assert telemetry.stamp("{}") == "{}"


@pytest.mark.parametrize(
    ("choice", "environ"),
    [
        ("azure", {}),
        ("otlp", {}),
        ("azure", {"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=hunter2"}),
    ],
)
def test_a_choice_that_cannot_be_is_one_line_and_silence(choice, environ, caplog):
    telemetry = telemetry_of(choice, environ)
    (line,) = [one for one in caplog.records if one.name == "app.exporters"]
    assert line.getMessage().startswith("no telemetry: ")
    assert "hunter2" not in caplog.text
    telemetry.tell(failed())


def test_the_console_is_stderr_a_line_for_each_span_and_metric(capsys):
    telemetry = telemetry_of("console", {})
    with telemetry.asking("bill/2026-10"):
        telemetry.call(Call("Dataverse", "GET", "h", "/api/data/v9.2/accounts", 200, 4))
    telemetry.tell(failed())
    telemetry.close()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].split(" ", 2)[2].startswith("GET /api/data/v9.2/accounts 4 ms")
    assert any(line.startswith("metric csp.units 1 ") for line in lines)
