"""One draft of a month is approved by its key; the others wait."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.problems import InputError
from domain.run import RunStatus
from invoice.document import DocumentStatus
from invoice.explain import fingerprint
from sync import runs
from sync.messages import StartRun
from tests.builders import CUSTOMER
from tests.usecases.office import APPROVE, BILL, NORTHWIND, SYNC, a_fault, an_office, totals, work

OTHER = f"invoice/{NORTHWIND}/2026-10/USD/1"


@pytest.fixture
def office(tmp_path):
    office = an_office(tmp_path)
    work(office, SYNC, BILL)
    return office


def draft_of(office, customer_id):
    (found,) = office.store.documents(customer_id=customer_id)
    return found


def one(document, **fields):
    return StartRun(kind="approve", period="2026-10", document=document.key, by="Anna", **fields)


def test_one_draft_is_issued_and_the_others_stay_drafts(office):
    message = one(draft_of(office, CUSTOMER))
    work(office, message)
    assert set(totals(office)) == {"Fabrikam Toys INV-202610-0001", "Northwind Traders draft"}
    run = office.store.run(message.run_key)
    assert (run.status, run.counts, run.asked_by) == (RunStatus.DONE, {"issued": 1}, "Anna")
    assert run.key == message.document.replace("invoice/", "approve/")
    assert office.written(lambda: work(office, message)) == []


def test_the_number_follows_those_that_were_given_before(office):
    work(office, one(draft_of(office, CUSTOMER)), one(draft_of(office, NORTHWIND)))
    assert set(totals(office)) == {
        "Fabrikam Toys INV-202610-0001",
        "Northwind Traders INV-202610-0002",
    }


def test_a_draft_on_hold_is_not_issued_and_its_run_says_so_until_it_is(office):
    draft = draft_of(office, CUSTOMER)
    fault = a_fault("agreement.missing")
    office.store.save([fault])
    work(office, one(draft))
    assert draft_of(office, CUSTOMER).status is DocumentStatus.DRAFT
    run = office.store.run(one(draft).run_key)
    assert "findings hold it" in run.problem
    assert (run.status, run.counts) == (RunStatus.DONE_WITH_HOLDS, {"issued": 0})
    assert office.written(lambda: work(office, one(draft))) == []
    office.store.put_finding(fault.closed(office.ports.now().date()))
    work(office, one(draft))
    assert draft_of(office, CUSTOMER).number == "INV-202610-0001"
    run = office.store.run(one(draft).run_key)
    assert (run.status, run.problem) == (RunStatus.DONE, "")


def test_a_draft_that_was_on_hold_and_went_with_its_month_is_held_no_more(office):
    draft = draft_of(office, CUSTOMER)
    fault = a_fault("agreement.missing")
    office.store.save([fault])
    work(office, one(draft))
    office.store.put_finding(fault.closed(office.ports.now().date()))
    work(office, APPROVE, one(draft))
    run = office.store.run(one(draft).run_key)
    assert (run.status, run.problem, run.counts) == (RunStatus.DONE, "", {"issued": 1})


def test_a_draft_that_was_drafted_anew_since_it_was_seen_is_not_issued(office):
    draft = draft_of(office, CUSTOMER)
    seen = one(draft, fingerprint=fingerprint(draft))
    office.store.save_document(replace(draft, account_name="Fabrikam Holding"))
    work(office, seen)
    assert draft_of(office, CUSTOMER).status is DocumentStatus.DRAFT
    assert "it has changed since it was seen" in office.store.run(seen.run_key).problem
    now = draft_of(office, CUSTOMER)
    work(office, one(now, fingerprint=fingerprint(now)))
    assert draft_of(office, CUSTOMER).number == "INV-202610-0001"
    run = office.store.run(seen.run_key)
    assert (run.problem, run.counts) == ("", {"issued": 1})


def test_a_document_that_is_not_there_is_told(office):
    gone = StartRun(kind="approve", period="2026-10", document="invoice/nobody/2026-10/USD/1")
    work(office, gone)
    assert office.store.run(gone.run_key).problem == (
        "There is no document invoice/nobody/2026-10/USD/1."
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "bill", "period": "2026-10"}, "a run of kind bill is not for one document"),
        (
            {"kind": "approve", "period": "2026-10", "customer_id": NORTHWIND},
            "a run of kind approve is not for one document",
        ),
        ({"kind": "approve", "period": "2026-09"}, "is not of 2026-09"),
        (
            {"kind": "approve", "period": "2026-10", "document": None, "fingerprint": "0" * 64},
            "a fingerprint is that of one document",
        ),
    ],
)
def test_only_an_approval_of_its_month_is_for_one_document(fields, why):
    with pytest.raises(InputError, match=why):
        runs.checked(StartRun(**{"document": OTHER} | fields))


def test_a_key_is_that_of_a_document():
    for key in ("x", "invoice/../x", "invoice/a b", "invoice/" + "x" * 81, "approve/x/2026-10"):
        with pytest.raises(ValueError, match="document"):
            StartRun(kind="approve", period="2026-10", document=key)
