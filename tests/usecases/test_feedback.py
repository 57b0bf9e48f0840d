"""What becomes of a document in accounting comes back: paid, taken back, cancelled, changed, gone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.problems import InputError, Severity, Unavailable
from domain.run import RequestStatus, RunRequest, RunStatus
from invoice.document import DocumentStatus
from invoice.reported import CopyState
from sync import feedback, requests, runs
from sync.messages import StartRun
from tests.builders import day
from tests.fakes import Books, Crash
from tests.usecases.office import APPROVE, BILL, SYNC, an_office, work
from tests.usecases.test_handoff import HAND_OFF, connected, contract_names

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    office = an_office(tmp_path_factory.mktemp("month"))
    work(office, SYNC, BILL, APPROVE)
    return office


@pytest.fixture
def office(month, tmp_path):
    """Two documents are handed off, and the first look of the day is over."""
    office = connected(month, tmp_path)
    work(office, HAND_OFF)
    look(office)
    office.clock.advance(HOUR)
    return office


@pytest.fixture
def books(office):
    return office.accounting["books"]


def look(office):
    """The look of this hour, as a run."""
    now = office.clock()
    message = StartRun(kind="feedback", day=now.date(), hour=now.hour)
    work(office, message)
    return office.store.run(message.run_key)


def first_of(office):
    return office.store.documents()[0]


def told(office):
    return {one.check: one.sentence for one in office.store.findings()}


# --- paid ---------------------------------------------------------------------------------------------


def test_what_is_paid_there_is_paid_here_with_its_day(office, books):
    document, other = office.store.documents()
    books.note(document, CopyState.PAID)
    run = look(office)
    paid = first_of(office)
    assert (paid.status, paid.paid_on) == (DocumentStatus.PAID, day("2026-11-09"))
    assert replace(paid, status=document.status, paid_on=None) == document
    assert office.store.documents()[1] == other
    assert (run.status, run.counts["paid"]) == (RunStatus.DONE, 1)


def test_looking_again_changes_nothing(office, books):
    books.note(first_of(office), CopyState.PAID)
    feedback.look(office.ports, "books")
    assert office.written(lambda: feedback.look(office.ports, "books")) == []


def test_a_payment_that_is_taken_back_opens_the_document_again(office, books):
    document = first_of(office)
    books.note(document, CopyState.PAID)
    look(office)
    office.clock.advance(HOUR)
    books.note(document, CopyState.OPEN)
    run = look(office)
    assert first_of(office) == document
    assert run.counts["reopened"] == 1


def test_what_was_paid_before_it_was_handed_off_here_is_paid(month, tmp_path):
    office = connected(month, tmp_path)
    look(office)
    office.clock.advance(HOUR)
    office.accounting["books"].note(first_of(office), CopyState.PAID)
    look(office)
    assert first_of(office).status is DocumentStatus.PAID


def test_what_the_customer_was_credited_for_stays_credited(office, books):
    document = first_of(office)
    office.store.papers[document.key] = replace(document, status=DocumentStatus.CREDITED)
    books.note(document, CopyState.CANCELLED)
    look(office)
    assert first_of(office).status is DocumentStatus.CREDITED
    assert told(office) == {}


# --- what a person must look at --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        (CopyState.CANCELLED, "", "feedback.cancelled", "was cancelled in books on 2026-11-09"),
        (CopyState.PARTLY_PAID, "", "feedback.partly_paid", "on 2026-11-09 as partly paid"),
        (CopyState.OPEN, "100.00", "feedback.changed", "comes to 100.00 USD there, and to 142.80"),
        (CopyState.PAID, "100.00", "feedback.changed", "comes to 100.00 USD there, and to 142.80"),
    ],
)
def test_what_a_person_did_there_is_told_until_it_is_right_again(office, books, case):
    state, total, check, words = case
    document = first_of(office)
    books.note(document, state, total)
    run = look(office)
    (finding,) = office.store.findings()
    assert (finding.check, finding.severity) == (check, Severity.WARN)
    assert (finding.customer_id, finding.record) == (
        document.customer_id,
        "document INV-202610-0001",
    )
    assert words in finding.sentence
    assert first_of(office) == document
    assert (run.status, run.counts["told"]) == (RunStatus.DONE, 1)

    assert office.written(lambda: feedback.look(office.ports, "books")) == []
    office.clock.advance(6 * HOUR)  # nothing new there, and it stays told
    look(office)
    assert set(told(office)) == {check}

    office.clock.advance(HOUR)
    books.note(document, CopyState.OPEN)
    look(office)
    assert told(office) == {}


def test_a_document_that_is_gone_there_is_told_at_the_first_look_of_a_day(office, books):
    document = first_of(office)
    kept = books.has.pop(document.key)
    look(office)
    assert told(office) == {}  # nothing changed that a system could tell of
    office.clock.advance(timedelta(days=1))
    look(office)
    assert told(office) == {
        "feedback.missing": "INV-202610-0001 was handed off to books and is not there any more."
    }
    office.clock.advance(HOUR)
    books.has[document.key] = kept
    look(office)
    assert told(office) == {}


@pytest.mark.parametrize(
    ("state", "checks"), [(CopyState.PAID, {"feedback.changed"}), (CopyState.OPEN, set())]
)
def test_what_is_not_handed_off_and_comes_to_another_total_is_told_once_it_is_paid(
    month, tmp_path, state, checks
):
    """While it is open the hand-off compares it, and tells line by line."""
    office = connected(month, tmp_path)
    office.accounting["books"].note(first_of(office), state, "100.00")
    look(office)
    assert first_of(office).status is DocumentStatus.ISSUED
    assert set(told(office)) == checks


def test_a_document_that_waits_for_its_hand_off_is_not_missed(month, tmp_path):
    office = connected(month, tmp_path)
    look(office)
    assert told(office) == {}


def test_the_policy_decides_what_such_a_finding_does(office, books):
    office.policy = {"feedback.cancelled": Severity.HOLD}
    books.note(first_of(office), CopyState.CANCELLED)
    look(office)
    assert [one.severity for one in office.store.findings()] == [Severity.HOLD]


def test_what_else_is_told_of_a_customer_stays(office, books):
    document = first_of(office)
    books.in_the_way[document.key] = ()
    other = replace(
        feedback._missing("books", document), check="projection.refused", sentence="Refused."
    )
    office.store.save([other])
    books.note(document, CopyState.CANCELLED)
    look(office)
    assert set(told(office)) == {"feedback.cancelled", "projection.refused"}


# --- nothing is missed ------------------------------------------------------------------------------------


def test_an_outage_is_raised_and_the_next_look_catches_up(office, books):
    books.note(first_of(office), CopyState.PAID)
    books.down = True
    with pytest.raises(Unavailable):
        look(office)
    office.queue.waiting.clear()
    books.down = False
    office.clock.advance(5 * HOUR)
    look(office)
    assert first_of(office).status is DocumentStatus.PAID


def test_days_without_a_look_are_caught_up(office, books):
    books.note(first_of(office), CopyState.PAID)
    office.clock.advance(timedelta(days=9))
    look(office)
    assert first_of(office).status is DocumentStatus.PAID
    assert first_of(office).paid_on == day("2026-11-09")


@pytest.mark.parametrize("lost", [b"", b"not a moment", b"\xff"])
def test_where_the_place_of_the_last_look_is_lost_all_is_looked_at(office, books, lost):
    books.note(first_of(office), CopyState.PAID)
    office.clock.advance(6 * HOUR)
    books.changed.clear()
    office.archive.put("feedback/books", lost)
    look(office)
    assert first_of(office).status is DocumentStatus.PAID


def test_a_change_just_before_the_last_look_is_seen_by_the_next(office, books):
    """It may have been written when that look had read already."""
    document = first_of(office)
    books.note(document, CopyState.PAID)
    books.changed[document.key] -= timedelta(hours=1, minutes=9)
    look(office)
    assert first_of(office).status is DocumentStatus.PAID


def test_what_was_opened_again_before_the_first_look_of_a_day_is_seen_by_it(office, books):
    document = first_of(office)
    books.note(document, CopyState.PAID)
    look(office)
    office.clock.advance(HOUR)
    books.note(document, CopyState.OPEN)
    office.clock.advance(timedelta(days=1))
    look(office)
    assert first_of(office) == document


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from([*CopyState, "other total", "delete", "look", "outage", "crash"]),
        st.integers(0, 1),
        st.sampled_from([timedelta(minutes=1), HOUR, timedelta(hours=23)]),
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(actions=ACTIONS)
def test_whatever_happens_there_the_next_day_tells_how_it_is(month, tmp_path_factory, actions):
    office = connected(month, tmp_path_factory.mktemp("random"))
    books = office.accounting["books"]
    work(office, HAND_OFF)
    for what, which, pause in actions:
        office.clock.advance(pause)
        document = office.store.documents()[which]
        if what in set(CopyState):
            books.note(document, what)
        elif what == "other total":
            books.note(document, CopyState.OPEN, "1.00")
        elif what == "delete":
            books.has.pop(document.key, None)
        else:
            books.down = what == "outage"
            office.store.fault = Crash() if what == "crash" else None
            office.store.fault_at = len(office.store.writes) + 1
            with suppress(Unavailable, Crash):
                feedback.look(office.ports, "books")
            books.down, office.store.fault = False, None
    office.clock.advance(timedelta(days=1))
    feedback.look(office.ports, "books")

    expected = {
        CopyState.CANCELLED: "feedback.cancelled",
        CopyState.PARTLY_PAID: "feedback.partly_paid",
    }
    found = {one.record: one.check for one in office.store.findings()}
    for document in office.store.documents():
        there, check = books.has.get(document.key), found.get(f"document {document.number}")
        if there is None:
            assert check == "feedback.missing" or document.status is DocumentStatus.PAID
        elif not there.same and there.state is not CopyState.CANCELLED:
            assert check == "feedback.changed"
        else:
            assert check == expected.get(there.state)
            if there.state is CopyState.PAID:
                assert document.status is DocumentStatus.PAID
                assert document.paid_on <= there.on  # the first day on which it was noted
            if there.state is CopyState.OPEN:
                assert (document.status, document.paid_on) == (DocumentStatus.HANDED_OFF, None)
    assert office.written(lambda: feedback.look(office.ports, "books")) == []


def test_a_document_that_cannot_be_read_stops_no_other(office, books, monkeypatch):
    unreadable, document = office.store.documents()
    read = office.store.document
    books.note(unreadable, CopyState.PAID)
    books.note(document, CopyState.PAID)

    def refuse(name):
        if name == unreadable.key:
            raise InputError("the row cannot be read")
        return read(name)

    monkeypatch.setattr(office.store, "document", refuse)
    look(office)
    assert office.store.documents()[1].status is DocumentStatus.PAID
    assert first_of(office) == unreadable


def test_the_first_look_of_a_day_reads_no_document_that_is_as_we_have_it(office, monkeypatch):
    office.clock.advance(timedelta(days=1))
    monkeypatch.setattr(office.store, "document", None)
    monkeypatch.setattr(office.store, "documents", None)
    assert feedback.look(office.ports, "books")["looked_at"] == 2


def test_a_copy_of_what_was_entered_in_another_system_is_not_asked_about(month, tmp_path):
    office = connected(month, tmp_path)
    contract_names(office, "xero")
    document = replace(first_of(office), status=DocumentStatus.HANDED_OFF)
    office.store.papers[document.key] = document  # a person entered it there
    office.accounting["books"].note(document, CopyState.PAID)
    look(office)
    assert first_of(office) == document
    assert told(office) == {}


def test_what_was_handed_off_before_its_contract_named_another_system_is_believed(office, books):
    document, moved = first_of(office), office.store.documents()[1]
    contract_names(office, "xero")
    contract_names(office, "xero", "contract/c2")
    books.note(document, CopyState.PAID)
    look(office)
    assert first_of(office).status is DocumentStatus.PAID
    books.note(document, CopyState.CANCELLED)
    del books.has[moved.key]  # to be entered in the other system
    office.clock.advance(timedelta(days=1))
    look(office)
    assert set(told(office)) == {"feedback.cancelled"}


def test_where_its_contract_names_another_connected_system_that_one_is_asked(office, books):
    document = first_of(office)
    ledger = Books(office.clock)
    office.accounting = {**office.accounting, "ledger": ledger}
    contract_names(office, "ledger")
    contract_names(office, "books", "contract/c2")
    ledger.note(document, CopyState.OPEN)
    books.note(document, CopyState.PAID)
    look(office)
    assert first_of(office) == document
    ledger.note(document, CopyState.PAID)
    office.clock.advance(HOUR)
    look(office)
    assert first_of(office).status is DocumentStatus.PAID


@pytest.mark.parametrize("lost", [False, True])
def test_a_look_that_waits_while_accounting_is_switched_off_ends(office, lost):
    now = office.clock()
    message = StartRun(kind="feedback", day=now.date(), hour=now.hour)
    runs.start(office.ports, message)
    books, office.accounting = office.accounting, {}
    if lost:
        office.queue.waiting.clear()
        work(office, message)  # asked for again
        assert "No accounting system is connected" in office.store.run(message.run_key).problem
        assert office.written(lambda: runs.start(office.ports, message)) == []
    while office.queue.waiting:
        runs.handle(office.ports, *office.queue.waiting.popleft())
    ended = RunStatus.DONE if lost else RunStatus.DONE_WITH_HOLDS
    assert office.store.run(message.run_key).status is ended
    office.accounting = books
    office.clock.advance(HOUR)
    assert look(office).status is RunStatus.DONE


def test_each_connected_system_is_a_unit_of_the_run(office):
    office.accounting = {**office.accounting, "ledger": Books(office.clock)}
    run = look(office)
    units = office.store.units(run.key)
    assert [one.key.rpartition("/")[2] for one in units] == ["books", "ledger"]


def test_a_row_in_dynamics_may_ask_for_either(office, books):
    books.note(first_of(office), CopyState.PAID)
    office.clock.advance(HOUR)
    for number, kind in enumerate(("handoff", "feedback")):
        office.requests.add(RunRequest(id=f"row-{number}", kind=kind))
    requests.pick_up(office.ports)
    while office.queue.waiting:
        runs.handle(office.ports, *office.queue.waiting.popleft())
    found = [request for request, _ in map(office.requests.get, ("row-0", "row-1"))]
    assert [one.status for one in found] == [RequestStatus.DONE, RequestStatus.DONE]
    assert found[1].counts["paid"] == 1
    assert first_of(office).status is DocumentStatus.PAID


def test_with_nothing_connected_a_run_ends_at_once_and_says_so(office):
    office.accounting = {}
    message = StartRun(kind="feedback", day=day("2026-11-09"), hour=9)
    run = runs.start(office.ports, message)
    assert run is not None
    assert run.status is RunStatus.DONE
    assert "No accounting system is connected" in run.problem
    assert list(office.queue.waiting) == []
