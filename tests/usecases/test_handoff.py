"""Issued documents are handed off once, to the system that their contract names, and confirmed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest

from domain.problems import Finding, Severity, Unavailable
from domain.run import RunStatus
from invoice.document import DocumentStatus
from sync import handoff, runs
from sync.ledger import LEASE
from sync.messages import StartRun
from tests.builders import day
from tests.fakes import Books, Crash
from tests.usecases.office import APPROVE, BILL, SYNC, an_office, at_random, work

HAND_OFF = StartRun(kind="handoff", day=day("2026-11-09"))


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    office = an_office(tmp_path_factory.mktemp("month"))
    work(office, SYNC, BILL, APPROVE)
    return office


def connected(month, folder):
    """The month as it was issued, in an office of its own, with one accounting system."""
    office = deepcopy(replace(month, folder=folder))
    office.accounting = {"books": Books(office.clock)}
    return office


@pytest.fixture
def office(month, tmp_path):
    return connected(month, tmp_path)


@pytest.fixture
def books(office):
    return office.accounting["books"]


def statuses(office):
    return {one.number: one.status.value for one in office.store.documents()}


def run_of(office, message=HAND_OFF):
    return office.store.run(message.run_key)


def a_refusal(document):
    return Finding(
        check="projection.refused",
        severity=Severity.WARN,
        customer_id=document.customer_id,
        record=handoff.record_of(document),
        sentence="Refused.",
        hint="Mend it.",
    )


def contract_names(office, target, key="contract/c1"):
    """The contract of a customer says where its documents go."""
    changed = [
        replace(one, accounting_target=target) for one in office.store.contracts() if one.key == key
    ]
    assert changed
    office.store.save(changed)


def test_every_issued_document_is_handed_off_once(office, books):
    work(office, HAND_OFF)
    assert statuses(office) == {"INV-202610-0001": "handed_off", "INV-202610-0002": "handed_off"}
    assert books.handed == ["INV-202610-0001", "INV-202610-0002"]
    run = run_of(office)
    assert (run.status, run.counts["handed_off"], run.counts["units"]) == (RunStatus.DONE, 2, 2)


def test_a_second_hand_off_asks_nobody_and_writes_nothing(office, books):
    work(office, HAND_OFF)
    assert office.written(lambda: work(office, HAND_OFF)) == []
    assert len(books.handed) == 2


def test_a_draft_is_not_handed_off(tmp_path):
    office = an_office(tmp_path)
    work(office, SYNC, BILL)
    office.accounting = {"books": Books(office.clock)}
    work(office, HAND_OFF)
    assert set(statuses(office).values()) == {"draft"}
    assert run_of(office).counts == {"units": 0}


def test_what_was_issued_after_the_days_first_hand_off_goes_by_the_next(office, books):
    first, second = office.store.documents()
    office.store.papers[second.key] = replace(second, status=DocumentStatus.DRAFT)
    work(office, HAND_OFF)
    assert books.handed == [first.number]
    office.store.papers[second.key] = second
    work(office, HAND_OFF)
    assert books.handed == [first.number, second.number]
    assert run_of(office).counts["handed_off"] == 2


@pytest.mark.parametrize("seed", range(3))
def test_messages_that_come_twice_and_in_any_order_hand_off_once(office, books, seed):
    work(office, HAND_OFF, deliver=at_random(seed))
    assert set(statuses(office).values()) == {"handed_off"}
    assert sorted(set(books.handed)) == sorted(statuses(office))
    assert len(books.has) == 2


def test_whatever_write_a_process_dies_at_the_next_one_goes_on(month, tmp_path):
    whole = connected(month, tmp_path)
    first = len(whole.store.writes)
    work(whole, HAND_OFF)
    last = len(whole.store.writes)
    assert last - first > 6
    for k in range(first + 1, last + 1):
        office = connected(month, tmp_path)
        office.store.fault, office.store.fault_at = Crash(), k
        with pytest.raises(Crash):
            work(office, HAND_OFF)
        office.store.fault = None
        office.queue.waiting.clear()
        office.clock.advance(LEASE)
        work(office, HAND_OFF)
        assert statuses(office) == statuses(whole), f"after a crash before write {k}"
        assert office.accounting["books"].has.keys() == whole.accounting["books"].has.keys()


def test_what_is_in_the_way_of_one_document_keeps_no_other(office, books):
    first, second = office.store.documents()
    books.in_the_way[first.key] = (a_refusal(first),)
    work(office, HAND_OFF)
    assert statuses(office) == {first.number: "issued", second.number: "handed_off"}
    assert run_of(office).status is RunStatus.DONE_WITH_HOLDS
    assert [one.sentence for one in office.store.findings()] == ["Refused."]

    del books.in_the_way[first.key]
    work(office, HAND_OFF)
    assert set(statuses(office).values()) == {"handed_off"}
    assert list(office.store.findings()) == []
    assert run_of(office).status is RunStatus.DONE


def test_a_document_that_a_person_set_back_to_issued_is_handed_off_again(office, books):
    work(office, HAND_OFF)
    first, _ = office.store.documents()
    for on in (HAND_OFF, StartRun(kind="handoff", day=day("2026-11-10"))):  # the same day, the next
        office.store.papers[first.key] = replace(first, status=DocumentStatus.ISSUED)
        books.has.pop(first.key)
        work(office, on)
        assert set(statuses(office).values()) == {"handed_off"}
        assert first.key in books.has
        assert run_of(office, on).counts["handed_off"] >= 1
    assert [books.handed.count(one.number) for one in office.store.documents()] == [3, 1]
    assert run_of(office, on).counts == {"handed_off": 1, "units": 1}


def test_messages_of_before_do_not_undo_what_a_hand_off_counted(office, books):
    """The start of a run comes again when its documents were read, and handed off since."""
    runs.start(office.ports, HAND_OFF)
    again = list(office.queue.waiting)
    while office.queue.waiting:
        runs.handle(office.ports, *office.queue.waiting.popleft())
    ended = run_of(office)
    assert handoff.set_back(office.ports, handoff_units(again)) == []
    for message in again:
        runs.handle(office.ports, *message)
    assert run_of(office) == ended


def handoff_units(messages):
    return [runs.read(*message) for message in messages]


def test_what_is_told_of_another_document_of_the_customer_stays(office, books):
    first, _ = office.store.documents()
    other = replace(a_refusal(first), record="document INV-202609-0001")
    office.store.save([other])
    work(office, HAND_OFF)
    assert [one.record for one in office.store.findings()] == ["document INV-202609-0001"]


def test_what_is_in_the_way_of_all_is_told_once(office, books):
    closed = Finding(
        check="projection.unavailable",
        severity=Severity.WARN,
        customer_id="",
        record="standard invoices",
        sentence="Closed.",
        hint="Open it.",
    )
    for document in office.store.documents():
        books.in_the_way[document.key] = (closed,)
    work(office, HAND_OFF)
    assert [one.sentence for one in office.store.findings()] == ["Closed."]


def test_the_policy_decides_what_such_a_finding_does(office, books):
    first, _ = office.store.documents()
    books.in_the_way[first.key] = (a_refusal(first),)
    office.policy = {"projection.refused": Severity.HOLD}
    work(office, HAND_OFF)
    assert [one.severity for one in office.store.findings()] == [Severity.HOLD]


def test_an_outage_is_raised_and_caught_up(office, books):
    books.down = True
    with pytest.raises(Unavailable):
        work(office, HAND_OFF)
    assert set(statuses(office).values()) == {"issued"}
    books.down = False
    work(office, HAND_OFF.model_copy(update={"day": day("2026-11-10")}))
    assert set(statuses(office).values()) == {"handed_off"}


# --- another system -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["books", " Books "])
def test_a_contract_may_name_the_connected_system(office, books, name):
    contract_names(office, name)
    work(office, HAND_OFF)
    assert len(books.handed) == 2
    assert list(office.store.findings()) == []


def test_documents_for_a_system_that_is_not_connected_wait_and_are_told(office, books):
    contract_names(office, "xero")
    (waiting,) = [one for one in office.store.documents() if one.contract_key == "contract/c1"]
    work(office, HAND_OFF)
    assert waiting.number not in books.handed
    assert statuses(office)[waiting.number] == "issued"
    (finding,) = office.store.findings()
    assert (finding.check, finding.severity) == ("handoff.not_connected", Severity.WARN)
    assert (finding.customer_id, finding.record) == (waiting.customer_id, "hand-off to xero")
    assert finding.sentence == "1 document waits (142.80 USD) for xero, which is not connected."
    assert "(books)" in finding.hint


def test_what_waits_is_told_until_somebody_connects_or_enters_it(office, books):
    contract_names(office, "xero")
    work(office, HAND_OFF)
    (waiting,) = [one for one in office.store.documents() if one.status is DocumentStatus.ISSUED]
    assert len(office.store.findings()) == 1
    office.store.papers[waiting.key] = replace(waiting, status=DocumentStatus.HANDED_OFF)
    work(office, HAND_OFF)
    assert list(office.store.findings()) == []
    assert waiting.number not in books.handed


def test_the_count_and_the_money_are_by_customer_and_system(office):
    contract_names(office, "xero")
    contract_names(office, "quickbooks", "contract/c2")
    work(office, HAND_OFF)
    assert sorted(one.sentence for one in office.store.findings()) == [
        "1 document waits (142.80 USD) for xero, which is not connected.",
        "1 document waits (65.45 USD) for quickbooks, which is not connected.",
    ]


def test_where_several_are_connected_a_contract_must_name_one(office, books):
    office.accounting = {**office.accounting, "ledger": Books(office.clock)}
    contract_names(office, "ledger")
    work(office, HAND_OFF)
    assert office.accounting["ledger"].handed == ["INV-202610-0001"]
    assert books.handed == []
    (finding,) = office.store.findings()
    assert finding.sentence == "1 document waits (65.45 USD) for a system: its contract names none."


def test_with_nothing_connected_a_run_ends_at_once_and_says_so(office):
    office.accounting = {}
    run = runs.start(office.ports, HAND_OFF)
    assert run is not None
    assert run.status is RunStatus.DONE
    assert "No accounting system is connected" in run.problem
    assert list(office.queue.waiting) == []
    assert office.written(lambda: runs.start(office.ports, HAND_OFF)) == []
