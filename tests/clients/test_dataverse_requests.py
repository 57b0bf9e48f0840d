"""Rows by which a person asks for a run, as Dataverse has them, and the answer on them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from dataverse.client import Query
from dataverse.requests import RequestRows
from dataverse.schema import external_key
from domain.problems import Conflict, NotFound
from domain.run import ControlTotal, RequestStatus, Run, RunRequest, RunStatus
from tests.clients.dataverse_environment import NOW, a_customer, new_environment

BILL, APPROVE = 727000001, 727000002
REQUESTED, CANCELLED = 727000004, 727000005


@pytest.fixture(scope="module")
def shared():
    environment = new_environment()
    environment.store().save([a_customer(1)])
    return environment


@pytest.fixture
def environment(shared):
    client = shared.client()
    for row in client.read(Query(table="csp_billingrun", select=("csp_name",))):
        client.call("DELETE", client.id_path("csp_billingrun", row["csp_billingrunid"]))
    shared.forget_requests()
    return shared


@pytest.fixture
def rows(environment):
    return RequestRows(environment.client())


def ask(environment, **columns):
    """A person adds a row in the app."""
    columns = {"csp_kind": BILL, "csp_period": "2026-10", **columns}
    return environment.client().create("csp_billingrun", columns)


def stored(environment, row_id):
    client = environment.client()
    return client.call("GET", client.id_path("csp_billingrun", row_id)).json()


def change(environment, row_id, **columns):
    client = environment.client()
    path = client.id_path("csp_billingrun", row_id)
    client.call("PATCH", path, body=columns, headers={"If-Match": "*"})


# --- what is asked for ---------------------------------------------------------------------------------


def test_a_row_that_says_no_status_is_requested(environment, rows):
    row_id = ask(environment)
    assert stored(environment, row_id)["csp_status"] == REQUESTED
    request, _ = rows.get(row_id)
    assert request == RunRequest(
        id=row_id, kind="bill", period="2026-10", asked_by="# CSP Billing worker"
    )


def test_all_that_a_person_can_say_is_read(environment, rows):
    key = external_key("customer/c1")
    row_id = ask(
        environment,
        csp_kind=727000000,
        csp_period="  ",
        csp_day="2026-11-09",
        csp_dryrun=True,
        **{"csp_CustomerId@odata.bind": f"/csp_customers(csp_externalkey='{key}')"},
    )
    request, _ = rows.get(row_id)
    assert (request.kind, request.period, request.day) == ("sync", "", date(2026, 11, 9))
    assert (request.dry_run, request.for_one, request.customer_id) == (True, True, "c1")


def test_nothing_said_is_read_as_nothing(environment, rows):
    request, _ = rows.get(ask(environment, csp_kind=None, csp_period=None, csp_status=None))
    assert (request.kind, request.period, request.status) == ("", "", RequestStatus.REQUESTED)


def test_a_row_that_is_cancelled_deactivated_or_gone(environment, rows):
    row_id = ask(environment, csp_status=CANCELLED)
    assert rows.get(row_id)[0].status is RequestStatus.CANCELLED
    change(environment, row_id, csp_status=REQUESTED)
    assert rows.get(row_id)[0].status is RequestStatus.REQUESTED
    change(environment, row_id, statecode=1, statuscode=2)
    assert rows.get(row_id)[0].status is RequestStatus.CANCELLED
    client = environment.client()
    client.call("DELETE", client.id_path("csp_billingrun", row_id))
    assert rows.get(row_id) is None


# --- the answer ----------------------------------------------------------------------------------------


def an_answer(request, **values):
    total = ControlTotal(
        currency="USD",
        microsoft=Decimal("150.00"),
        billed=Decimal("149.99"),
        credited=Decimal(0),
        held=Decimal("0.01"),
        excluded=Decimal(0),
        sold=Decimal("175.00"),
    )
    return RunRequest(
        **{
            "id": request.id,
            "kind": request.kind,
            "period": request.period,
            "asked_by": request.asked_by,
            "status": RequestStatus.DONE_WITH_HOLDS,
            "run_key": "bill/2026-10",
            "started_at": NOW,
            "finished_at": NOW + timedelta(minutes=3),
            "units_done": 7,
            "units": 7,
            "counts": {"held": 1, "documents": 6},
            "totals": (total,),
            "answer": "Documents: 6.\nOn hold: 1.",
            "answer_data": {"documents": 6, "totals": {"USD": "208.25"}},
            "problem": "x" * 900,
            **values,
        }
    )


def test_what_became_of_a_request_is_read_as_it_was_written(environment, rows):
    request, version = rows.get(ask(environment))
    told = an_answer(request)
    rows.put(told, version)
    assert rows.get(request.id)[0] == told


def test_the_row_shows_the_answer_to_people(environment, rows):
    request, version = rows.get(ask(environment))
    rows.put(an_answer(request), version)
    row = stored(environment, request.id)
    assert row["csp_name"] == "bill 2026-10, asked for by # CSP Billing worker"
    assert (row["csp_percent"], row["csp_unitsdone"], row["csp_unitsall"]) == (100, 7, 7)
    assert row["csp_runkey"] == "bill/2026-10"
    assert row["csp_requestedby"] == "# CSP Billing worker"
    assert row["csp_externalkey"] == f"request.{request.id}"
    assert (row["csp_kind"], row["csp_period"]) == (BILL, "2026-10")


@pytest.mark.parametrize(("done", "units", "percent"), [(0, 0, 0), (1, 3, 33), (20, 80, 25)])
def test_progress_is_shown_in_percent(environment, rows, done, units, percent):
    request, version = rows.get(ask(environment))
    running = an_answer(
        request,
        status=RequestStatus.RUNNING,
        finished_at=None,
        units_done=done,
        units=units,
    )
    rows.put(running, version)
    assert stored(environment, request.id)["csp_percent"] == percent


def test_the_answer_is_written_only_under_the_version_that_was_read(environment, rows):
    request, version = rows.get(ask(environment))
    change(environment, request.id, csp_status=CANCELLED)
    with pytest.raises(Conflict):
        rows.put(an_answer(request), version)
    newest = rows.get(request.id)[1]
    after = rows.put(an_answer(request), newest)
    with pytest.raises(Conflict):
        rows.put(an_answer(request), newest)
    rows.put(an_answer(request), after)


def test_the_answer_to_a_deleted_row_is_not_found(environment, rows):
    request, version = rows.get(ask(environment))
    client = environment.client()
    client.call("DELETE", client.id_path("csp_billingrun", request.id))
    with pytest.raises(NotFound):
        rows.put(an_answer(request), version)


def test_the_requests_of_a_run_are_those_that_still_wait_for_it(environment, rows):
    kept = []
    for status in (RequestStatus.RUNNING, RequestStatus.RUNNING, RequestStatus.DONE):
        request, version = rows.get(ask(environment))
        rows.put(an_answer(request, status=status), version)
        kept.append(request.id)
    assert {request.id for request, _ in rows.of_run("bill/2026-10")} == {*kept[:2]}
    assert rows.of_run("bill/2026-11") == []


# --- what is new ---------------------------------------------------------------------------------------


def test_what_was_asked_since_the_last_look(environment, rows):
    first = ask(environment)
    found, link = rows.since("")
    assert found == [first]
    assert rows.since(link)[0] == []
    second = ask(environment, csp_kind=APPROVE)
    change(environment, first, csp_period="2026-09")
    found, link = rows.since(link)
    assert sorted(found) == sorted([first, second])
    client = environment.client()
    client.call("DELETE", client.id_path("csp_billingrun", second))
    assert rows.since(link)[0] == []


def test_an_expired_link_is_a_look_at_everything_that_is_still_open(environment, rows):
    _, link = rows.since("")
    open_ = ask(environment)
    request, version = rows.get(ask(environment))
    rows.put(an_answer(request), version)
    environment.emulator.clock.advance(timedelta(days=8))
    found, following = rows.since(link)
    assert found == [open_]
    assert rows.since(following)[0] == []


def test_a_link_of_another_environment_is_not_followed(environment, rows):
    _, link = rows.since("")
    open_ = ask(environment)
    elsewhere = link.replace(environment.http().base_url, "https://other.crm.dynamics.com")
    found, following = rows.since(elsewhere)
    assert found == [open_]
    assert following.startswith(environment.http().base_url)


def test_a_run_of_the_workers_own_is_no_request_and_the_other_way_round(environment, rows):
    run = Run(
        key="bill/2026-10",
        kind="bill",
        scope="",
        window="2026-10",
        status=RunStatus.RUNNING,
        started_at=datetime(2026, 11, 9, tzinfo=UTC),
    )
    store = environment.store()
    store.save([run])
    asked, taken = ask(environment), ask(environment)
    request, version = rows.get(taken)
    rows.put(an_answer(request), version)
    assert store.runs() == [run]
    assert rows.since("")[0] == [asked]
    assert {one.id for one in rows.latest()} == {asked, taken}
    (own,) = environment.client().read_keyed("csp_billingrun", ("csp_key",), ["bill.2026-10"])
    assert rows.get(own["csp_billingrunid"]) is None
    assert len(rows.latest(1)) == 1
