"""A document that cannot be read holds its customer; the others are billed, numbered and issued."""

from __future__ import annotations

import pytest

from domain.problems import InputError
from invoice.document import DocumentStatus
from sync.findings import current
from sync.messages import StartRun
from tests.builders import CUSTOMER, an_agreement, day
from tests.usecases.office import APPROVE, BILL, NORTHWIND, SYNC, an_office, totals, work


@pytest.fixture
def office(tmp_path):
    return an_office(tmp_path)


def broken(office, monkeypatch, customer_id=CUSTOMER):
    """Let the rows of one customer's documents be unreadable, as an administrator's hand makes them."""
    whole, documents = office.store.customer_file, office.store.documents
    said = "csp_invoice INV: csp_periodstart is empty"

    def file(asked, *on):
        if asked == customer_id:
            raise InputError(said, hint="Correct the row")
        return whole(asked, *on)

    def read(**which):
        if which.get("customer_id") in {"", None, customer_id}:
            raise InputError(said, hint="Correct the row")
        return documents(**which)

    monkeypatch.setattr(office.store, "customer_file", file)
    monkeypatch.setattr(office.store, "documents", read)


def test_the_others_are_billed_and_issued(office, monkeypatch):
    work(office, SYNC)
    with monkeypatch.context() as patched:
        broken(office, patched)
        work(office, BILL, APPROVE)
        assert [one.check for one in current(office.ports)] == ["draft.unreadable"]
        run = office.store.run(BILL.run_key)
        assert (run.counts["held"], run.totals[0].held, run.totals[0].residual) == (1, 100, 0)
    assert totals(office) == {"Northwind Traders INV-202610-0001": "65.45"}
    # Mended, it is billed, and numbered after the others.
    work(office, BILL, APPROVE)
    assert totals(office)["Fabrikam Toys INV-202610-0002"] == "142.80"


def test_a_number_is_never_given_twice(office, monkeypatch):
    """What cannot be read has a number too."""
    office.partner_center.signed = [an_agreement()]  # Northwind is on hold
    work(office, SYNC, BILL, APPROVE)
    assert totals(office) == {"Fabrikam Toys INV-202610-0001": "142.80"}
    office.partner_center.signed = [an_agreement(), an_agreement(customer_id=NORTHWIND)]
    work(office, StartRun(kind="sync", day=day("2026-11-10")))
    with monkeypatch.context() as patched:
        broken(office, patched)
        work(office, BILL, APPROVE)
    assert totals(office)["Northwind Traders INV-202610-0002"] == "65.45"


def test_a_draft_beside_a_document_that_cannot_be_read_is_not_issued(office, monkeypatch):
    """Whether its charges stand on that document is not known."""
    work(office, SYNC, BILL)
    with monkeypatch.context() as patched:
        documents = office.store.documents

        def read(**which):
            if which.get("customer_id") == CUSTOMER and not which.get("status"):
                raise InputError("csp_invoice INV: csp_periodstart is empty")
            return documents(**which)

        patched.setattr(office.store, "documents", read)
        work(office, APPROVE)
    standing = {one.customer_id: one.status for one in office.store.documents()}
    assert standing == {CUSTOMER: DocumentStatus.DRAFT, NORTHWIND: DocumentStatus.ISSUED}
