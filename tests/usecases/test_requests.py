"""Runs that people and flows ask for in Dynamics: checked, started once, answered on the row."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.customer import Agreement
from domain.problems import Unavailable
from domain.run import RequestStatus, RunRequest, RunStatus, UnitStatus
from sync import requests, runs
from sync.ledger import LEASE, Busy
from sync.messages import TakeRequest
from tests.builders import a_customer, day
from tests.fakes import Crash
from tests.usecases.office import BILL, SYNC, an_office, at_random, totals, work


@pytest.fixture
def office(tmp_path):
    office = an_office(tmp_path)
    work(office, SYNC)
    return office


def ask(office, number=1, **said):
    """A person adds a row."""
    said = {"kind": "bill", "period": "2026-10", "asked_by": "Ann", **said}
    return office.requests.add(RunRequest(id=f"row-{number}", **said))


def worked(office):
    while office.queue.waiting:
        runs.handle(office.ports, *office.queue.waiting.popleft())


def answered(office, number=1):
    return office.requests.rows[f"row-{number}"][0]


def after(office, **said):
    """Ask, let it be taken up and worked, and read the row again."""
    ask(office, **said)
    requests.pick_up(office.ports)
    worked(office)
    return answered(office)


# --- what is asked for is done, and told -------------------------------------------------------------


def test_a_bill_run_is_done_and_its_result_stands_on_the_row(office):
    row = after(office)
    run = office.store.run("bill/2026-10")
    assert totals(office) == {"Fabrikam Toys draft": "142.80", "Northwind Traders draft": "65.45"}
    assert (row.status, row.run_key, row.problem) == (RequestStatus.DONE, "bill/2026-10", "")
    assert (row.counts, row.totals) == (run.counts, run.totals)
    assert (row.units_done, row.units) == (2, 2)
    assert row.started_at <= row.finished_at
    assert (row.kind, row.period, row.asked_by) == ("bill", "2026-10", "Ann")


def test_an_approval_is_answered_at_once(office):
    work(office, BILL)
    row = after(office, kind="approve")
    assert (row.status, row.counts) == (RequestStatus.DONE, {"issued": 2})
    assert "Fabrikam Toys INV-202610-0001" in totals(office)


def test_a_sync_is_for_its_day_or_for_today(office):
    assert after(office, kind="sync", period="", day=day("2026-11-08")).run_key == "sync/2026-11-08"
    ask(office, 2, kind="sync", period="")
    requests.pick_up(office.ports)
    worked(office)
    assert answered(office, 2).run_key == "sync/2026-11-09"
    assert answered(office, 2).status is RequestStatus.DONE


def test_a_run_may_be_for_one_customer(office):
    row = after(office, for_one=True, customer_id="c2")
    assert (row.run_key, row.status) == ("bill/2026-10/c2", RequestStatus.DONE)
    assert totals(office) == {"Northwind Traders draft": "65.45"}


def test_holds_are_told_by_the_status(office):
    office.store.table(Agreement).clear()
    row = after(office)
    assert row.status is RequestStatus.DONE_WITH_HOLDS
    assert row.counts["held"] == 2


def test_two_rows_for_one_month_are_one_run_and_show_the_same(office):
    ask(office, 1)
    ask(office, 2, asked_by="Bob")
    requests.pick_up(office.ports)
    worked(office)
    first, second = answered(office, 1), answered(office, 2)
    assert first.status is second.status is RequestStatus.DONE
    assert (first.run_key, first.counts, first.totals) == (
        second.run_key,
        second.counts,
        second.totals,
    )
    assert [run.key for run in office.store.runs() if run.kind == "bill"] == ["bill/2026-10"]
    assert {unit.attempt for unit in office.store.units("bill/2026-10")} == {1}


def test_asking_for_what_is_done_answers_with_what_was_done(office):
    work(office, BILL, BILL.model_copy(update={"kind": "approve"}))
    before = office.store.writes[:]
    row = after(office)
    assert row.status is RequestStatus.DONE
    assert row.counts == office.store.run("bill/2026-10").counts
    assert office.store.writes == before


def test_a_row_may_ask_again(office):
    after(office)
    ask(office)  # the person sets it back to requested
    requests.pick_up(office.ports)
    worked(office)
    assert answered(office).status is RequestStatus.DONE


# --- what is not right is answered with a sentence -----------------------------------------------------


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"kind": ""}, "The request does not say what to do. Choose one of the kinds."),
        ({"period": ""}, "A run of kind bill needs a month. Write the month as 2026-10."),
        ({"period": "October"}, "'October' is not a month. Write the month as 2026-10."),
        ({"period": "2026-13"}, "'2026-13' is not a month. Write the month as 2026-10."),
        ({"period": "1026-10"}, "'1026-10' is not a month. Write the month as 2026-10."),
        ({"kind": "approve", "period": ""}, "A run of kind approve needs a month."),
        ({"day": day("2026-10-01")}, "A run of kind bill is for a month, not for a day."),
        ({"kind": "sync"}, "A sync is for a day, not for a month. Leave the month empty."),
        ({"kind": "sync", "period": "", "dry_run": True}, "A sync has no dry run."),
        ({"for_one": True}, "The customer of the request has no tenant id."),
        ({"for_one": True, "customer_id": "a b"}, "The request cannot be read: String should"),
        ({"for_one": True, "customer_id": "c9"}, "there is no customer c9. give the tenant id"),
        ({"period": "2026-12"}, "Microsoft has not issued an invoice for 2026-12 yet."),
    ],
)
def test_what_cannot_be_done_is_said_on_the_row_and_nothing_is_done(office, said, problem):
    before = office.store.writes[:]
    row = after(office, **said)
    assert row.status is RequestStatus.FAILED
    assert row.problem.startswith(problem)
    assert row.finished_at is not None
    assert office.store.writes == before
    assert len([one for one in office.requests.writes if one.problem]) == 1


def test_a_run_that_fails_fails_its_request_with_the_same_words(office):
    customer_file = office.store.customer_file

    def broken(customer_id, on=None):
        raise Unavailable("no answer", service="Dataverse", status=503)

    office.store.customer_file = broken
    ask(office)
    requests.pick_up(office.ports)
    while office.queue.waiting:
        kind, body = office.queue.waiting.popleft()
        try:
            runs.handle(office.ports, kind, body)
        except Unavailable:
            runs.give_up(office.ports, kind, body)
    row, run = answered(office), office.store.run("bill/2026-10")
    assert run.status is RunStatus.FAILED
    assert (row.status, row.problem) == (RequestStatus.FAILED, run.problem)
    assert "Dataverse 503: no answer" in row.problem
    office.store.customer_file = customer_file


def test_a_request_whose_message_failed_too_often_says_so(office):
    request_id = ask(office)
    message = TakeRequest(request_id=request_id).model_dump_json()
    runs.give_up(office.ports, "start", message)
    runs.give_up(office.ports, "start", message)
    row = answered(office)
    assert (row.status, row.problem) == (RequestStatus.FAILED, "its message failed too often")
    assert len(office.requests.writes) == 1


# --- a dry run -----------------------------------------------------------------------------------------


def test_a_dry_run_answers_and_writes_nothing(office):
    before = office.store.writes[:]
    row = after(office, dry_run=True)
    assert office.store.writes == before
    assert (row.status, row.run_key) == (RequestStatus.DONE, "")
    assert row.answer.splitlines() == [
        "Documents that would be drafted: 2, 208.25 USD.",
        "Fabrikam Toys: invoice, 1 lines, 142.80 USD",
        "Northwind Traders: invoice, 2 lines, 65.45 USD",
    ]
    assert row.counts == {"documents": 2, "lines": 3, "held": 0}
    assert row.answer_data["totals"] == {"USD": "208.25"}
    assert row.answer_data["list"][0] == {
        "customer": "Fabrikam Toys",
        "kind": "invoice",
        "lines": 1,
        "total": "142.80",
        "currency": "USD",
    }


def test_a_dry_run_tells_who_would_be_held_and_why(office):
    office.store.table(Agreement).clear()
    row = after(office, dry_run=True)
    assert row.status is RequestStatus.DONE_WITH_HOLDS
    assert row.answer.splitlines()[:2] == [
        "Documents that would be drafted: 0.",
        "On hold: 2.",
    ]
    assert row.answer_data["holds"][0]["customer"] == "Fabrikam Toys"
    assert "agreement" in row.answer_data["holds"][0]["why"].lower()


def test_a_dry_approval_tells_what_would_be_issued(office):
    work(office, BILL)
    before = office.store.writes[:]
    row = after(office, kind="approve", dry_run=True)
    assert row.answer.startswith("Documents that would be issued: 2, 208.25 USD.")
    assert office.store.writes == before


def test_a_dry_run_of_many_names_the_first_and_counts_the_rest(office, monkeypatch):
    monkeypatch.setattr(requests, "LISTED", 1)
    row = after(office, dry_run=True)
    assert row.answer.splitlines()[-1] == "... and 1 more"
    assert (row.answer_data["documents"], len(row.answer_data["list"])) == (2, 1)


# --- once, whatever happens ------------------------------------------------------------------------------


def test_a_row_that_was_seen_is_not_taken_up_again(office):
    ask(office)
    assert requests.pick_up(office.ports) == ["row-1"]
    worked(office)
    assert requests.pick_up(office.ports) == []


def test_without_a_memory_of_the_last_look_only_what_is_still_open_counts(office, tmp_path):
    after(office)
    ask(office, 2, kind="approve")
    (tmp_path / "requests" / "last-look").unlink()
    assert requests.pick_up(office.ports) == ["row-2"]


def test_a_message_that_got_lost_is_made_up_for_the_next_day(office):
    ask(office)
    requests.pick_up(office.ports)
    office.queue.waiting.clear()
    assert requests.pick_up(office.ports) == []
    office.clock.advance(timedelta(days=1))
    assert requests.pick_up(office.ports) == ["row-1"]
    worked(office)
    assert answered(office).status is RequestStatus.DONE


def test_what_could_not_be_sent_is_found_by_the_next_look(office, monkeypatch):
    ask(office)

    def down(kind, messages):
        raise Unavailable("no queue", service="Queue", status=503)

    monkeypatch.setattr(office.queue, "send", down)
    with pytest.raises(Unavailable):
        requests.pick_up(office.ports)
    monkeypatch.undo()
    assert requests.pick_up(office.ports) == ["row-1"]


def test_the_message_may_come_twice_by_timer_and_by_webhook(office):
    request_id = ask(office)
    office.queue.send("start", [TakeRequest(request_id=request_id).model_dump_json()])
    requests.pick_up(office.ports)
    worked(office)
    assert answered(office).status is RequestStatus.DONE
    assert {unit.attempt for unit in office.store.units("bill/2026-10")} == {1}
    written = len(office.requests.writes)
    requests.take(office.ports, request_id, runs._begin)
    assert len(office.requests.writes) == written


@pytest.mark.parametrize("status", [RequestStatus.CANCELLED, RequestStatus.DONE])
def test_a_row_that_was_taken_back_or_answered_is_left_alone(office, status):
    ask(office)
    requests.pick_up(office.ports)
    ask(office, status=status)  # before it is worked
    worked(office)
    assert answered(office).status is status
    assert office.store.run("bill/2026-10") is None


def test_a_row_that_was_deleted_is_forgotten(office):
    ask(office)
    requests.pick_up(office.ports)
    office.requests.rows.clear()
    worked(office)
    assert office.store.run("bill/2026-10") is None
    requests.give_up(office.ports, "row-1", "too often")


def test_of_two_workers_one_starts_and_the_other_comes_again(office):
    """Both read the row; the version lets one of them claim it."""
    request_id = ask(office)
    other = office.requests.rows[request_id]

    def faster(request):
        office.requests.meddle = lambda _: None
        claimed = replace(
            other[0], status=RequestStatus.RUNNING, run_key="bill/2026-10", started_at=None
        )
        office.requests.add(claimed)

    office.requests.meddle = faster
    with pytest.raises(Busy):
        requests.take(office.ports, request_id, runs._begin)
    assert office.store.run("bill/2026-10") is None
    requests.take(office.ports, request_id, runs._begin)  # its message comes again
    worked(office)
    assert answered(office).status is RequestStatus.DONE


def test_a_worker_that_dies_after_its_claim_is_replaced_by_the_next_delivery(office):
    request_id = ask(office)

    def dies(ports, message):
        raise Unavailable("no answer", service="Dataverse", status=503)

    with pytest.raises(Unavailable):
        requests.take(office.ports, request_id, dies)
    assert answered(office).status is RequestStatus.RUNNING
    office.queue.send("start", [TakeRequest(request_id=request_id).model_dump_json()])
    worked(office)
    assert answered(office).status is RequestStatus.DONE


def test_a_result_that_meets_a_change_of_the_row_is_written_on_top_of_it(office):
    ask(office)
    requests.pick_up(office.ports)

    def annotates(request):
        if request.finished_at is not None:
            office.requests.meddle = lambda _: None
            office.requests.add(replace(office.requests.rows["row-1"][0], asked_by="Ann!"))

    office.requests.meddle = annotates
    worked(office)
    assert answered(office).status is RequestStatus.DONE


def test_a_row_that_is_deleted_while_its_run_goes_on_harms_nobody(office):
    ask(office)
    requests.pick_up(office.ports)

    def deletes(request):
        if request.finished_at is not None:
            office.requests.rows.clear()

    office.requests.meddle = deletes
    worked(office)
    assert office.store.run("bill/2026-10").status is RunStatus.DONE


# --- progress ----------------------------------------------------------------------------------------------


def test_progress_is_written_now_and_then_and_not_with_each_unit(office):
    office.partner_center.people += [
        a_customer(id=f"x{n}", name=f"Customer {n}", domain=f"x{n}.example") for n in range(58)
    ]
    ask(office, kind="sync", period="", day=day("2026-11-11"))
    requests.pick_up(office.ports)
    worked(office)
    units = len(office.store.units("sync/2026-11-11"))
    notes = [one.units_done for one in office.requests.writes if one.units]
    assert units == 64  # relationships, changes, sixty customers, the invoice, unbilled usage
    assert notes == [10, 20, 30, 40, 50, 60, units]
    assert answered(office).units == units


def test_a_run_of_thousands_is_noted_twenty_times(office):
    request = RunRequest(id="row-1", kind="bill", status=RequestStatus.RUNNING, run_key="bill/x")
    office.requests.add(request)
    for done in range(1, 5001):
        requests.note_progress(office.ports, "bill/x", done, 5000)
    assert len(office.requests.writes) == requests.NOTES_A_RUN - 1  # the end is told by the result


def test_progress_never_goes_back(office):
    office.requests.add(
        RunRequest(
            id="row-1", kind="bill", status=RequestStatus.RUNNING, run_key="r", units_done=20
        )
    )
    requests.note_progress(office.ports, "r", 10, 100)
    assert office.requests.writes == []


def test_units_of_a_run_that_was_asked_for_are_the_runs_own(office):
    after(office)
    assert {unit.status for unit in office.store.units("bill/2026-10")} == {UnitStatus.SETTLED}


# --- any order, any death ----------------------------------------------------------------------------------


def outcome(office):
    """All that people and finance can see in the end."""
    runs_ended = {
        run.key: (run.status, run.totals, {**run.counts, "written": 0})
        for run in office.store.runs()
    }
    rows = {
        request.id: (request.status, request.run_key, request.totals, request.answer)
        for request in office.requests.latest()
    }
    return office.store.papers, runs_ended, rows


def three_wishes(office):
    ask(office, 1)
    ask(office, 2, asked_by="Bob")
    ask(office, 3, dry_run=True, for_one=True, customer_id="c2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    office = an_office(tmp_path_factory.mktemp("undisturbed"))
    work(office, SYNC)
    three_wishes(office)
    requests.pick_up(office.ports)
    worked(office)
    return outcome(office), len(office.requests.writes)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_doubled_and_disordered_messages_answer_the_same(tmp_path_factory, undisturbed, seed):
    office = an_office(tmp_path_factory.mktemp("disordered"))
    work(office, SYNC)
    three_wishes(office)
    deliver = at_random(seed)
    requests.pick_up(office.ports)
    office.queue.send("start", [TakeRequest(request_id="row-1").model_dump_json()])  # a webhook
    while office.queue.waiting:
        runs.handle(office.ports, *deliver(office))
    assert outcome(office) == undisturbed[0]


@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
def test_a_death_at_any_answer_is_healed_by_the_next_delivery(
    tmp_path_factory, undisturbed, written
):
    expected, puts = undisturbed
    for cut in range(1, puts + 1):
        office = an_office(tmp_path_factory.mktemp("death"))
        work(office, SYNC)
        three_wishes(office)
        requests.pick_up(office.ports)
        put, left = office.requests.put, iter(range(cut - 1, -1, -1))

        def dying(request, version, put=put, left=left):
            last = next(left, None) == 0
            if last and not written:
                raise Crash
            answer = put(request, version)
            if last:
                raise Crash
            return answer

        office.requests.put = dying
        waiting = office.queue.waiting
        while waiting:
            try:
                runs.handle(office.ports, *waiting[0])
                waiting.popleft()
            except Crash:
                office.clock.advance(LEASE)
        assert outcome(office) == expected, f"cut {cut}"
