"""The life of a run: whoever delivers, in whatever order, however often, and whatever dies."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.problems import InputError, Unavailable
from domain.run import RunStatus, UnitStatus
from sync import runs
from sync.ledger import LEASE, LOCK, Busy
from sync.messages import BillUnit, CloseRun, PullUnit, StartRun
from tests.builders import an_agreement, day
from tests.fakes import Crash
from tests.usecases.office import APPROVE, BILL, NORTHWIND, SYNC, an_office, at_random, totals, work

MONTH = (SYNC, BILL, APPROVE)
TOMORROW = StartRun(kind="sync", day=day("2026-11-10"))
UNIT = BillUnit(run_key=BILL.run_key, customer_id="c1", period="2026-10")


@pytest.fixture
def office(tmp_path):
    return an_office(tmp_path)


def result(office):
    """All that a month comes to: documents, findings, records, how runs and units ended."""
    store = office.store
    return {
        "documents": store.papers,
        "findings": store.found,
        "records": {
            kind.__name__: rows for kind, rows in store.rows.items() if kind.__name__ != "Run"
        },
        "units": {
            key: (unit.status, {**unit.counts, "written": 0})  # a second try writes the rest only
            for key, (unit, _) in store.ledger.items()
            if unit.kind != LOCK  # what died leaves it to its lease
        },
        "runs": {
            run.key: (run.status, run.totals, run.problem, {**run.counts, "written": 0})
            for run in store.runs()
        },
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    office = an_office(tmp_path_factory.mktemp("undisturbed"))
    first = len(office.store.writes)
    work(office, *MONTH)
    return result(office), first, len(office.store.writes)


# --- at least once, in any order -------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_doubled_and_disordered_messages_give_the_same(tmp_path_factory, undisturbed, seed):
    office = an_office(tmp_path_factory.mktemp("disordered"))
    for message in MONTH:
        work(office, message, message, deliver=at_random(seed))
    assert result(office) == undisturbed[0]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_message_of_the_month_may_come_again_afterwards(tmp_path_factory, undisturbed, data):
    office = an_office(tmp_path_factory.mktemp("again"))
    work(office, *MONTH)
    writes = len(office.store.writes)
    for message in data.draw(st.permutations(office.queue.sent)):
        runs.handle(office.ports, *message)
    while office.queue.waiting:
        runs.handle(office.ports, *office.queue.waiting.popleft())
    assert result(office) == undisturbed[0]
    assert len(office.store.writes) == writes


# --- whatever dies ---------------------------------------------------------------------------------


def test_a_crash_at_any_write_converges(tmp_path_factory, undisturbed):
    """The process dies before its k-th write, its queue with it; someone runs the commands again."""
    expected, first, last = undisturbed
    for k in range(first + 1, last + 1):
        office = an_office(tmp_path_factory.mktemp("crash"))
        office.store.fault, office.store.fault_at = Crash(), k
        with pytest.raises(Crash):
            work(office, *MONTH)
        assert len(office.store.writes) == k - 1
        office.store.fault = None
        office.queue.waiting.clear()
        office.clock.advance(LEASE)
        work(office, *MONTH)
        assert result(office) == expected, f"after a crash before write {k}"


def test_a_crash_with_a_queue_that_survives_converges(tmp_path_factory, undisturbed):
    """In the cloud the message of the dead worker comes again, and so do the others."""
    expected, first, last = undisturbed
    for k in range(first + 1, last + 1):
        office = an_office(tmp_path_factory.mktemp("crash"))
        office.store.fault, office.store.fault_at = Crash(), k
        asked = list(MONTH)
        waiting = office.queue.waiting
        while asked or waiting:
            if not waiting:
                office.queue.send("start", [asked.pop(0).model_dump_json()])
            try:
                runs.handle(office.ports, *waiting[0])
                waiting.popleft()
            except Crash:
                office.store.fault = None
                office.clock.advance(LEASE)
        assert result(office) == expected, f"after a crash before write {k}"


def test_an_outage_at_any_write_converges(tmp_path_factory, undisturbed):
    """The store refuses from the k-th write on, the note of the failure included."""
    expected, first, last = undisturbed
    for k in range(first + 1, last + 1):
        office = an_office(tmp_path_factory.mktemp("outage"))
        office.store.fault, office.store.fault_at = Unavailable("down", service="Dataverse"), k
        with pytest.raises(Unavailable):
            work(office, *MONTH)
        office.store.fault = None
        office.queue.waiting.clear()
        office.clock.advance(LEASE)
        work(office, *MONTH)
        assert result(office) == expected, f"after an outage before write {k}"


# --- asked for again -------------------------------------------------------------------------------


def test_a_run_that_is_asked_for_again_runs_until_its_new_end(office):
    """Whoever looks meanwhile must not take the end of before for the answer."""
    office.partner_center.signed = [an_agreement(customer_id=NORTHWIND)]
    work(office, SYNC, BILL)
    before = office.store.run(BILL.run_key)
    assert before.status is RunStatus.DONE_WITH_HOLDS
    office.clock.advance(timedelta(minutes=5))
    office.queue.send("start", [BILL.model_copy(update={"by": "Anna"}).model_dump_json()])
    while (message := office.queue.waiting.popleft())[0] != "close":
        runs.handle(office.ports, *message)
        now = office.store.run(BILL.run_key)
        assert (now.status, now.finished_at) == (RunStatus.RUNNING, None)
    runs.handle(office.ports, *message)
    now = office.store.run(BILL.run_key)
    assert (now.status, now.totals) == (RunStatus.DONE_WITH_HOLDS, before.totals)
    assert now.started_at > before.finished_at


def test_a_failed_run_without_open_units_is_closed_anew(office):
    work(office, SYNC, BILL)
    runs.give_up(office.ports, "close", CloseRun(run_key=SYNC.run_key).model_dump_json(), "no time")
    office.queue.send("start", [SYNC.model_dump_json()])
    runs.handle(office.ports, *office.queue.waiting.popleft())
    run = office.store.run(SYNC.run_key)
    assert (run.status, run.finished_at, run.problem) == (RunStatus.RUNNING, None, "")
    runs.handle(office.ports, *office.queue.waiting.popleft())
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE


def test_a_run_that_has_nothing_left_to_do_stays_as_it_ended(office):
    """A day is read once."""
    work(office, SYNC)
    assert office.written(lambda: work(office, SYNC)) == []


def test_an_approval_that_is_asked_for_again_runs_while_it_issues(office, monkeypatch):
    work(office, SYNC, BILL)
    runs.give_up(office.ports, "start", APPROVE.model_dump_json(), "a draft is stale")
    seen = []
    settle = office.store.settle_document

    def looked_at(document):
        seen.append(office.store.run(APPROVE.run_key))
        settle(document)

    monkeypatch.setattr(office.store, "settle_document", looked_at)
    work(office, APPROVE)
    assert [(run.status, run.finished_at, run.problem) for run in seen] == [
        (RunStatus.RUNNING, None, "")
    ] * 2
    assert office.store.run(APPROVE.run_key).status is RunStatus.DONE


# --- giving up -------------------------------------------------------------------------------------


def test_a_parked_unit_fails_its_run_and_the_next_run_heals_it(office):
    work(office, SYNC)
    customer_file = office.store.customer_file

    def broken(customer_id, on=None):
        if customer_id == "c1":
            raise Unavailable("no answer", service="Dataverse", status=503)
        return customer_file(customer_id, on)

    office.store.customer_file = broken
    office.queue.send("start", [BILL.model_dump_json()])
    while office.queue.waiting:
        kind, body = office.queue.waiting.popleft()
        try:
            runs.handle(office.ports, kind, body)
        except Unavailable:
            runs.give_up(office.ports, kind, body)
    run = office.store.run(BILL.run_key)
    assert run.status is RunStatus.FAILED
    assert run.problem == (
        "1 units failed, first bill/c1/2026-10: Unavailable: Dataverse 503: no answer"
    )
    unit = office.store.ledger[UNIT.key][0]
    assert (unit.status, unit.attempt) == (UnitStatus.PARKED, 1)
    assert totals(office) == {"Northwind Traders draft": "65.45"}
    del office.store.customer_file
    work(office, BILL)
    run = office.store.run(BILL.run_key)
    assert (run.status, run.problem) == (RunStatus.DONE, "")
    assert totals(office)["Fabrikam Toys draft"] == "142.80"


def test_a_start_that_is_given_up_leaves_a_failed_run_that_says_why(office):
    runs.give_up(office.ports, "start", BILL.model_dump_json(), "no invoice yet")
    run = office.store.run(BILL.run_key)
    assert (run.status, run.problem, run.window) == (RunStatus.FAILED, "no invoice yet", "2026-10")
    work(office, SYNC, BILL)
    run = office.store.run(BILL.run_key)
    assert (run.status, run.problem) == (RunStatus.DONE, "")


def test_an_approval_that_was_given_up_is_done_by_the_next(office):
    runs.give_up(office.ports, "start", APPROVE.model_dump_json(), "a draft is stale")
    work(office, APPROVE)
    assert office.store.run(APPROVE.run_key).status is RunStatus.DONE


def test_a_close_that_is_given_up_fails_its_run(office):
    work(office, SYNC, BILL)
    body = CloseRun(run_key=BILL.run_key).model_dump_json()
    runs.give_up(office.ports, "close", body)
    assert office.store.run(BILL.run_key).status is RunStatus.FAILED
    runs.give_up(office.ports, "close", CloseRun(run_key="bill/2031-01").model_dump_json())
    assert office.store.run("bill/2031-01") is None
    work(office, BILL)
    assert office.store.run(BILL.run_key).status is RunStatus.DONE


def test_a_run_is_not_closed_while_a_unit_is_open(office):
    work(office, SYNC)
    office.queue.send("start", [BILL.model_dump_json()])
    runs.handle(office.ports, *office.queue.waiting.popleft())
    runs.handle(office.ports, *office.queue.waiting.popleft())
    assert [kind for kind, _ in office.queue.waiting] == ["bill"]
    assert office.store.run(BILL.run_key).status is RunStatus.RUNNING


@pytest.mark.parametrize("counted_at_once", [0, 1, 50_000])
def test_a_run_of_more_units_than_can_be_counted_is_closed_by_its_last_one(office, counted_at_once):
    office.store.counted_at_once = counted_at_once
    work(office, SYNC)
    run = office.store.run(SYNC.run_key)
    assert run.status is RunStatus.DONE
    assert run.counts["units"] > 2


def test_the_end_of_a_unit_reads_no_other_unit(office, monkeypatch):
    work(office, SYNC)
    office.queue.send("start", [BILL.model_dump_json()])
    runs.handle(office.ports, *office.queue.waiting.popleft())
    monkeypatch.delattr(type(office.store), "units")
    runs.handle(office.ports, *office.queue.waiting.popleft())
    assert [kind for kind, _ in office.queue.waiting] == ["bill"]
    runs.handle(office.ports, *office.queue.waiting.popleft())
    assert [kind for kind, _ in office.queue.waiting] == ["close"]


def test_closing_a_run_that_is_not_there_is_refused(office):
    with pytest.raises(InputError, match="there is no run bill/2031-01"):
        runs.close(office.ports, "bill/2031-01")


def test_a_partner_without_customers_has_a_run_without_units(office):
    office.partner_center.people = []
    office.partner_center.heads = []
    work(office, SYNC)
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE


def test_what_held_yesterday_and_not_today_leaves_no_trace_on_the_run(office):
    office.partner_center.signed, signed = [], office.partner_center.signed
    work(office, SYNC, BILL)
    assert office.store.run(BILL.run_key).counts["held"] == 2
    office.partner_center.signed = signed
    work(office, TOMORROW, BILL)
    run = office.store.run(BILL.run_key)
    assert (run.status, run.counts["held"], run.totals[0].held) == (RunStatus.DONE, 0, 0)


# --- messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "body", "fault"),
    [
        ("start", "", "the start message is not readable: message: Invalid JSON"),
        ("start", "[]", "the start message is not readable: message: Input should be an object"),
        ("start", '{"kind": "pay"}', "the start message is not readable: kind: "),
        ("start", '{"kind": "bill", "period": "2026-13"}', "period: String should match"),
        ("start", '{"kind": "bill", "amount": 1}', "amount: Extra inputs are not permitted"),
        ("start", '{"v": 2, "kind": "sync"}', "v: Input should be 1"),
        ("start", '{"kind": "sync", "customer_id": "a/b"}', "customer_id: String should match"),
        ("bill", '{"run_key": "bill/2026-10", "period": "2026-10"}', "customer_id: Field required"),
        ("pull", '{"run_key": "x", "part": "all", "day": "2026-11-09"}', "run_key: String should"),
        ("close", '{"run_key": "Bill 2026"}', "run_key: String should match"),
    ],
)
def test_a_message_that_does_not_fit_is_refused_by_field(office, queue, body, fault):
    with pytest.raises(InputError) as caught:
        runs.handle(office.ports, queue, body)
    assert fault in str(caught.value)
    assert caught.value.hint == "sync/README.md shows the form of each message"


def test_keys_tell_what_a_message_is_about():
    pull = PullUnit(run_key=SYNC.run_key, part="customer", scope="c1", day=day("2026-11-09"))
    assert SYNC.run_key == "sync/2026-11-09"
    assert BILL.model_copy(update={"customer_id": "c1"}).run_key == "bill/2026-10/c1"
    assert pull.key == "pull/customer/c1/2026-11-09"
    assert pull.model_copy(update={"part": "relationships", "scope": ""}).key == (
        "pull/relationships/2026-11-09"
    )
    assert (
        pull.model_copy(update={"part": "costs", "scope": "I1"}).key == "pull/costs/I1/2026-11-09"
    )
    assert UNIT.key == "bill/c1/2026-10"


def test_a_dead_units_message_waits_for_the_lease(office):
    work(office, SYNC)
    office.queue.send("start", [BILL.model_dump_json()])
    runs.handle(office.ports, *office.queue.waiting.popleft())
    office.store.fault, office.store.fault_at = Crash(), len(office.store.writes) + 3
    with pytest.raises(Crash):
        runs.handle(office.ports, *office.queue.waiting[0])
    office.store.fault = None
    with pytest.raises(Busy, match="is being worked until"):
        runs.handle(office.ports, *office.queue.waiting[0])
    office.clock.advance(LEASE)
    work(office, BILL)
    unit = office.store.ledger[UNIT.key][0]
    assert (unit.status, unit.attempt) == (UnitStatus.SETTLED, 2)
