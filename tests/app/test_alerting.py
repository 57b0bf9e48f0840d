"""Alerts are asked of what the worker really sends: by Microsoft's exporter, over HTTP, as rows.

Each question answers a row for each thing that a person must look at. It is asked three times: where
something is wrong, where nothing is, and where nothing was told.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb_kql
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)

from app.exporters import CONNECTION, OFF_BY_DEFAULT, once, telemetry_of
from app.telemetry import METRICS, Telemetry
from domain.run import ControlTotal, Run, RunStatus, UnitOfWork, UnitStatus
from sync.watch import LateRun, Residual, WatchReport
from tests.insights import Insights, Listening
from transport.calls import Call

ROOT = Path(__file__).resolve().parents[2]
ALERTS = {path.stem: path for path in sorted((ROOT / "infra/alerts").glob("*.kql"))}
BOARD = json.loads((ROOT / "infra/workbook.json").read_text(encoding="utf-8"))
DRAWN = {one["name"]: one["content"] for one in BOARD["items"] if one["type"] == 3}
NAME = re.compile(r'"(csp\.[a-z.]+|error\.type)"')
DIMENSIONS = re.compile(r'customDimensions\["([^"]+)"\]')


def head(name: str) -> dict[str, str]:
    """What stands above a question."""
    text = ALERTS[name].read_text(encoding="utf-8")
    return dict(re.findall(r"^// (\w+): (.+)$", text, re.MULTILINE))


def asked(name: str) -> str:
    return ALERTS[name].read_text(encoding="utf-8")


def window(name: str) -> timedelta:
    hours, minutes = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?", head(name)["window"]).groups("0")
    return timedelta(hours=int(hours), minutes=int(minutes))


@dataclass
class Sent:
    """A worker that tells to loopback, and what arrived."""

    insights: Insights
    telemetry: Telemetry

    def ask(self, name: str) -> list[dict[str, Any]]:
        """What an alert finds in its window, once all that was told has arrived."""
        self.telemetry.close()
        return self.insights.query(asked(name), window=window(name))


@contextmanager
def listening():
    with pytest.MonkeyPatch.context() as environ, Listening() as insights:
        for name in OFF_BY_DEFAULT:  # the exporter reads the process's own settings
            environ.setenv(name, "true")
        telemetry = telemetry_of(None, {CONNECTION: insights.connection})
        yield Sent(insights, telemetry)
        telemetry.close()


@pytest.fixture
def sent():
    with listening() as found:
        yield found


@pytest.fixture(scope="module")
def all_well():
    """What arrived of a quarter of an hour in which nothing is wrong."""
    with listening() as found:
        well(found.telemetry)
        found.telemetry.close()
        yield found.insights


@pytest.fixture(scope="module")
def all_wrong():
    """What arrived of one in which everything is."""
    with listening() as found:
        telemetry = found.telemetry
        well(telemetry)
        for wrong, _ in WRONG.values():
            wrong(telemetry)
        telemetry.tell(a_run(status=RunStatus.FAILED, counts={"charges": 12}))
        message = '{"run_key":"bill/2026-10","customer_id":"c1","period":"2026-10"}'
        key = "bill/c1/2026-10"
        with telemetry.message("bill", message, tries=2):
            telemetry.call(Call("Dataverse", "GET", "h", "/x", 429, 5, 2))
            telemetry.tell(
                UnitOfWork(key=key, kind="bill", run_key="bill/2026-10", status=UnitStatus.HELD)
            )
        telemetry.close()
        yield found.insights


def test_the_exporter_tells_nothing_beside_what_it_was_given(sent):
    environ = {CONNECTION: sent.insights.connection}
    telemetry_of(None, environ).close()
    assert {name for name in OFF_BY_DEFAULT if environ[name] == "true"} == set(OFF_BY_DEFAULT)
    well(sent.telemetry)
    sent.telemetry.close()
    told = [one for one in sent.insights.sent if one["data"]["baseType"] == "MetricData"]
    names = {metric["name"] for one in told for metric in one["data"]["baseData"]["metrics"]}
    assert names <= set(METRICS)


def a_run(key="bill/2026-10", status=RunStatus.DONE, residual="0.00", **more):
    left = ControlTotal(
        currency="EUR",
        microsoft=Decimal("100.00"),
        billed=Decimal("100.00") - Decimal(residual),
        credited=Decimal(0),
        held=Decimal(0),
        excluded=Decimal(0),
        sold=Decimal("120.00"),
    )
    return Run(
        key=key,
        kind=key.split("/")[0],
        scope="",
        window=key.split("/")[1],
        status=status,
        started_at=datetime(2026, 11, 9, 6, tzinfo=UTC),
        totals=(left,),
        **more,
    )


NOW = datetime(2026, 11, 9, 12, tzinfo=UTC)


def a_look(**found):
    """What the watch reports where all is well, but for what is given."""
    healthy = {
        "at": NOW,
        "late": (),
        "failed": (),
        "asked_again": (),
        "parked": (),
        "lengths": {"bill": 40, "bill-poison": 0, "pull-poison": 0},
        "ages": {
            "sync": timedelta(hours=30),
            "health": timedelta(days=6),
            "bill": timedelta(days=29),
        },
        "token_age": timedelta(days=3),
        "residuals": (),
    }
    return WatchReport(**healthy | found)


def late(kind, by):
    return LateRun(kind=kind, since=NOW - by, sentence="The last good run began long ago.")


def parked(customer):
    return UnitOfWork(
        key=f"bill/{customer}/2026-10",
        kind="bill",
        run_key="bill/2026-10",
        status=UnitStatus.PARKED,
    )


def well(telemetry):
    """A quarter of an hour in which nothing is wrong."""
    telemetry.tell(a_run())
    telemetry.watched(a_look())
    with telemetry.asking("bill/2026-10"):
        telemetry.call(Call("Dataverse", "GET", "h", "/x", 200, 5))
        telemetry.call(Call("Dataverse", "GET", "h", "/x", 429, 5))


WRONG = {
    "poison": (
        lambda one: one.gave_up("bill", '{"run_key":"bill/2026-10"}'),
        [{"queue": "bill", "given_up": 1.0, "waiting": 0.0}],
    ),
    "residual": (
        lambda one: one.tell(a_run(residual="0.01")),
        [{"run": "bill/2026-10", "currency": "EUR", "residual": 0.01}],
    ),
    "run-late": (
        lambda one: one.watched(a_look(late=(late("sync", timedelta(hours=3)),))),
        [{"run_kind": "sync", "minutes_late": 180}],
    ),
    "unit-parked": (
        lambda one: one.watched(a_look(parked=(parked("c1"), parked("c2")))),
        [{"run": "bill/2026-10", "units": 2}],
    ),
    "token": (lambda one: one.watched(a_look(token_age=timedelta(days=61))), [{"days": 61}]),
    "data-age": (
        lambda one: one.watched(a_look(ages={"usage": timedelta(hours=49)})),
        [{"run_kind": "usage", "hours": 49}],
    ),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_an_alert_fires_where_something_is_wrong(name, sent):
    well(sent.telemetry)
    wrong, expected = WRONG[name]
    wrong(sent.telemetry)
    assert sent.ask(name) == expected


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_no_alert_fires_where_nothing_is_wrong(name, all_well):
    assert all_well.query(asked(name), window=window(name)) == []


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_where_nothing_was_told_only_the_silence_is_told(name):
    found = Insights().query(asked(name), window=window(name))
    assert found == ([{"reports": 0}] if name == "silent" else [])


@pytest.mark.parametrize("name", sorted(set(ALERTS) - {"silent"}))
def test_what_is_older_than_the_window_fires_no_more(name, all_wrong):
    past = replace(all_wrong, age=window(name) + timedelta(minutes=1))
    assert past.query(asked(name), window=window(name)) == []


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_late_months_the_worst_is_told(sent, order):
    both = (late("bill", timedelta(days=12)), late("bill", timedelta(hours=1)))
    sent.telemetry.watched(a_look(late=both[::order]))
    assert sent.ask("run-late") == [{"run_kind": "bill", "minutes_late": 12 * 24 * 60}]


def test_messages_on_a_poison_queue_that_nobody_took_fire_too(sent):
    sent.telemetry.watched(a_look(lengths={"bill": 7, "bill-poison": 0, "pull-poison": 3}))
    assert sent.ask("poison") == [{"queue": "pull", "given_up": 0.0, "waiting": 3.0}]


def test_a_message_that_was_given_up_by_an_instance_that_ended_fires_by_its_line_alone(sent):
    """Counts are sent once a minute; the line is, within seconds."""
    sent.telemetry.gave_up("bill", '{"run_key":"bill/2026-10"}')
    sent.telemetry.gave_up("bill", '{"run_key":"bill/2026-10"}')
    sent.telemetry.close()
    sent.insights.sent[:] = [
        one for one in sent.insights.sent if one["data"]["baseType"] == "MessageData"
    ]
    assert sent.ask("poison") == [{"queue": "bill", "given_up": 2.0, "waiting": 0.0}]


def test_a_run_that_failed_fires_until_it_ends_well(sent):
    sent.telemetry.tell(
        a_run("sync/2026-11-09", RunStatus.FAILED, problem="Unavailable: no answer")
    )
    sent.telemetry.tell(a_run("bill/2026-10", RunStatus.FAILED))
    sent.telemetry.tell(a_run("bill/2026-10", RunStatus.DONE_WITH_HOLDS))
    assert sent.ask("run-failed") == [{"run": "sync/2026-11-09", "cause": "Unavailable"}]


def test_a_run_that_failed_long_ago_is_still_found_by_the_watch(sent):
    sent.telemetry.watched(a_look(failed=(a_run(status=RunStatus.FAILED),)))
    assert sent.ask("run-failed") == [{"run": "bill/2026-10", "cause": ""}]


def test_a_run_that_the_watch_found_and_that_ended_well_since_fires_no_more(sent):
    sent.telemetry.watched(a_look(failed=(a_run(status=RunStatus.FAILED),)))
    sent.telemetry.close()
    (point,) = [one for one in sent.insights.sent if said(one, "csp.run.failing")]
    point["time"] = (utc_of(point) - timedelta(minutes=5)).isoformat()
    line = row_of("run", **{"csp.run": "bill/2026-10", "csp.outcome": "done"})
    sent.insights.sent.append(line | {"time": datetime.now(UTC).isoformat()})
    assert sent.insights.query(asked("run-failed"), window=window("run-failed")) == []


def row_of(event, **told):
    """A line of the log as the exporter sends it."""
    data = {"message": event, "properties": {"csp.event": event, **told}}
    return {"tags": {}, "data": {"baseType": "MessageData", "baseData": data}}


def test_a_residual_that_the_watch_still_finds_goes_on_to_fire(sent):
    left = Residual(run_key="bill/2026-10", currency="EUR", amount=Decimal("-3.20"))
    sent.telemetry.watched(a_look(residuals=(left,)))
    assert sent.ask("residual") == [{"run": "bill/2026-10", "currency": "EUR", "residual": -3.2}]


def test_an_unknown_age_of_the_token_is_not_told_as_young(sent):
    sent.telemetry.watched(a_look(token_age=None))
    assert sent.ask("token") == []
    assert not any(said(one, "csp.token.age") for one in sent.insights.sent)


def test_a_run_that_lost_its_messages_is_a_line(sent):
    sent.telemetry.watched(a_look(asked_again=("bill/2026-10",)))
    sent.telemetry.close()
    (line,) = sent.insights.rows("traces")
    assert line["message"] == "asked again: run=bill/2026-10"


def test_a_residual_that_is_mended_fires_no_more(sent):
    sent.telemetry.tell(a_run(residual="12.00"))
    sent.telemetry.tell(a_run(residual="0.00"))
    assert sent.ask("residual") == []


def test_a_service_that_refuses_for_half_an_hour_and_more_is_told_and_a_burst_is_not(sent):
    for _ in range(50):
        sent.telemetry.call(Call("Dataverse", "GET", "h", "/x", 429, 5))
    assert sent.ask("throttled") == []
    (point,) = [one for one in sent.insights.sent if said(one, "csp.throttles")]
    for quarter in range(1, 4):
        earlier = utc_of(point) - timedelta(minutes=10 * quarter)
        sent.insights.sent.append({**point, "time": earlier.isoformat()})
    assert sent.insights.query(asked("throttled"), window=window("throttled")) == [
        {"service": "Dataverse", "stretches": 4, "calls": 200.0}
    ]


def said(envelope, metric):
    return any(one["name"] == metric for one in envelope["data"]["baseData"].get("metrics", ()))


def utc_of(envelope):
    return datetime.fromisoformat(envelope["time"])


def test_a_gauge_is_sent_when_it_was_set_and_not_again():
    """Else an instance that lives on would tell of a residual that another one mended."""
    exporter = Kept()
    reader = PeriodicExportingMetricReader(once(exporter), 3_600_000)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    telemetry = Telemetry(meter=meters.get_meter("test"))
    telemetry.watched(a_look(token_age=timedelta(days=61)))
    for _ in range(3):
        meters.force_flush()
    telemetry.watched(a_look(token_age=timedelta(days=62)))
    meters.shutdown()
    days = [point / 86400 for point in exporter.points("csp.token.age")]
    assert days == [61, 62]


class Kept(MetricExporter):
    def __init__(self):
        super().__init__()
        self.kept = []

    def export(self, metrics_data, timeout_millis=10_000, **_):
        self.kept.append(json.loads(metrics_data.to_json()))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **_):
        """Nothing to end."""

    def points(self, name):
        return [
            point["value"]
            for data in self.kept
            for resource in data["resource_metrics"]
            for scope in resource["scope_metrics"]
            for metric in scope["metrics"]
            if metric["name"] == name
            for point in metric["data"]["data_points"]
        ]


@pytest.mark.parametrize("status", [401, 429, 503])
def test_an_address_that_takes_nothing_holds_nobody_up(status, sent):
    sent.insights.status = status
    began = time.monotonic()
    well(sent.telemetry)
    assert time.monotonic() - began < 1
    sent.telemetry.close()
    assert time.monotonic() - began < 10
    assert sent.insights.sent == []


# --- the form of the files ---------------------------------------------------------------------------


def test_every_alert_has_a_head_that_an_alert_rule_can_take():
    assert set(WRONG) < set(ALERTS)
    for name in ALERTS:
        told = head(name)
        assert set(told) - {"each"} == {"title", "severity", "asks", "window", "every"}, name
        assert told["severity"] in {"0", "1", "2", "3", "4"}
        # What Azure takes for windowSize and evaluationFrequency.
        assert told["window"] in {
            "PT5M",
            "PT10M",
            "PT15M",
            "PT30M",
            "PT45M",
            "PT1H",
            "PT2H",
            "PT6H",
        }
        assert told["every"] in {"PT5M", "PT10M", "PT15M", "PT30M", "PT1H"}
        assert len(told["title"]) <= 60


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_a_row_that_stands_keeps_no_other_row_quiet(name):
    """An alert is silent while it stands, so each run, queue, kind or service has its own."""
    by = re.findall(r" by ([\w, ]+)$", asked(name), re.MULTILINE)
    assert head(name).get("each", "") == (by[-1] if by else "")


def told_names(kql: str) -> set[str]:
    return set(NAME.findall(kql)) - set(DIMENSIONS.findall(kql))


@pytest.mark.parametrize("kql", [*map(asked, ALERTS), *(one["query"] for one in DRAWN.values())])
def test_no_question_names_what_nobody_tells(kql):
    code = "".join(
        (ROOT / one).read_text("utf-8") for one in ("app/telemetry.py", "app/exporters.py")
    )
    assert duckdb_kql.validate(kql) == []
    assert told_names(kql) <= set(METRICS)
    for name in DIMENSIONS.findall(kql):
        assert f'"{name}"' in code, name
    for event in re.findall(r'customDimensions\["csp\.event"\] == "([^"]+)"', kql):
        assert f'_line("{event}"' in code, event


def test_every_metric_is_drawn_or_asked_for():
    everything = "\n".join([*map(asked, ALERTS), *(one["query"] for one in DRAWN.values())])
    assert {name for name in METRICS if f'"{name}"' not in everything} == set()


def test_every_alert_has_a_page_in_the_runbook():
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    for name in ALERTS:
        (section,) = re.findall(rf"^### {name}\b(.*?)(?=^##)", page, re.MULTILINE | re.DOTALL)
        for part in ("**Means.**", "**Look at.**", "**Do.**", "**Over when.**"):
            assert part in section, (name, part)


def test_the_questions_of_the_runbook_can_be_asked(all_wrong):
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    questions = re.findall(r"```kusto\n(.*?)```", page, re.DOTALL)
    assert len(questions) >= 2
    for question in questions:
        found = all_wrong.query(question.replace("CUSTOMER", "c1"))
        assert found, question


def test_the_workbook_is_one_that_the_portal_opens():
    assert BOARD["version"] == "Notebook/1.0"
    names = [one["name"] for one in BOARD["items"]]
    assert len(names) == len(set(names))
    parameters = {
        one["name"]
        for item in BOARD["items"]
        if item["type"] == 9
        for one in item["content"]["parameters"]
    }
    for drawn in DRAWN.values():
        assert drawn["version"] == "KqlItem/1.0"
        assert drawn["resourceType"] == "microsoft.insights/components"
        assert drawn["timeContextFromParameter"] in parameters
        assert drawn["visualization"] in {"table", "linechart", "barchart"}


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_every_drawing_of_the_workbook_has_something_to_draw(name, all_wrong):
    assert all_wrong.query(DRAWN[name]["query"])
