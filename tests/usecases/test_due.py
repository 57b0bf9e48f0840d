"""Billing by contract day: what a day makes due, what was missed, what still waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from domain.contract import BillingContract
from domain.period import Period
from domain.run import Run, RunStatus
from sync import due, runs
from sync.messages import StartRun
from tests.builders import CUSTOMER, a_contract, day
from tests.usecases.office import APPROVE, BILL, NORTHWIND, OCTOBER, SYNC, an_office, totals, work

TODAY = day("2026-11-09")


@pytest.fixture
def office(tmp_path):
    return an_office(tmp_path)


def by_day(on: str) -> StartRun:
    """What the daily timer asks for."""
    return StartRun(kind="bill", day=day(on))


def bill_from(office, customer_id: str, bill_day: int | None) -> None:
    """Finance keys a billing day into a customer's contract."""
    contracts = office.store.table(BillingContract)
    own = next(one for one in contracts.values() if one.customer_id == customer_id)
    contracts[own.key] = replace(own, bill_day=bill_day)


def at(office, moment: str) -> None:
    office.clock.moment = datetime.fromisoformat(moment).replace(tzinfo=UTC)


# --- whom a day makes due ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bill_day", "expected"),
    [
        (None, "2026-11-09"),
        (1, "2026-11-01"),
        (28, "2026-11-28"),
        (0, "2026-11-09"),
        (31, "2026-11-09"),
    ],
)
def test_a_month_is_due_from_the_contracts_day_of_the_next_month_on(bill_day, expected):
    contract = a_contract(bill_day=bill_day)
    assert due.due_on(contract, OCTOBER, 9) == day(expected)


@pytest.mark.parametrize(("bill_day", "told"), [(31, 1), (0, 1), (28, 0), (None, 0)])
def test_a_day_that_not_every_month_has_is_told_and_the_partners_day_counts(office, bill_day, told):
    bill_from(office, CUSTOMER, bill_day)
    work(office, SYNC, BILL)
    found = [one for one in office.store.findings() if one.check == "contract.bill_day"]
    assert len(found) == told
    assert "Fabrikam Toys draft" in totals(office)


def test_without_a_contract_the_partners_day_counts():
    assert due.due_on(None, Period.month("2026-12"), 12) == day("2027-01-12")


def test_who_has_no_day_is_billed_from_the_partners_day_on(office):
    work(office, SYNC, by_day("2026-11-08"))
    assert totals(office) == {}
    assert office.store.run("bill/2026-10") is None
    work(office, by_day("2026-11-09"))
    assert totals(office) == {
        "Fabrikam Toys draft": "142.80",
        "Northwind Traders draft": "65.45",
    }


def test_a_contracts_own_day_comes_before_or_after_the_partners(office):
    bill_from(office, CUSTOMER, 20)
    work(office, SYNC, by_day("2026-11-09"))
    assert totals(office) == {"Northwind Traders draft": "65.45"}
    at(office, "2026-11-20T06:00")
    work(office, by_day("2026-11-20"))
    assert totals(office) == {
        "Fabrikam Toys draft": "142.80",
        "Northwind Traders draft": "65.45",
    }


def test_until_then_the_run_says_who_waits_and_its_lines_stand_as_held(office):
    bill_from(office, CUSTOMER, 20)
    work(office, SYNC, by_day("2026-11-09"))
    run = office.store.run("bill/2026-10")
    assert (run.status, run.counts[due.NOT_DUE], run.counts["held"]) == (RunStatus.DONE, 1, 0)
    (total,) = run.totals
    assert (total.billed, total.held, total.residual) == (Decimal(50), Decimal(100), Decimal(0))
    at(office, "2026-11-20T06:00")
    work(office, by_day("2026-11-20"))
    run = office.store.run("bill/2026-10")
    assert due.NOT_DUE not in run.counts
    assert (run.totals[0].billed, run.totals[0].held) == (Decimal(150), Decimal(0))


def test_what_was_issued_meanwhile_is_not_billed_again(office):
    bill_from(office, CUSTOMER, 20)
    work(office, SYNC, by_day("2026-11-09"), APPROVE)
    at(office, "2026-11-20T06:00")
    work(office, by_day("2026-11-20"), APPROVE)
    assert totals(office) == {
        "Northwind Traders INV-202610-0001": "65.45",
        "Fabrikam Toys INV-202610-0002": "142.80",
    }


def test_a_person_who_bills_a_month_bills_everybody(office):
    bill_from(office, CUSTOMER, 20)
    work(office, SYNC, by_day("2026-11-09"), APPROVE, BILL)
    assert set(totals(office)) == {"Northwind Traders INV-202610-0001", "Fabrikam Toys draft"}


def test_the_same_day_again_changes_nothing(office):
    bill_from(office, CUSTOMER, 20)
    work(office, SYNC, by_day("2026-11-09"), APPROVE)
    assert office.written(lambda: work(office, by_day("2026-11-09"))) == []
    assert office.written(lambda: work(office, by_day("2026-11-10"))) == []


# --- what was missed ---------------------------------------------------------------------------------


def a_run(month: str, status: RunStatus = RunStatus.DONE, **counts: int) -> Run:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    return Run(
        key=f"bill/{month}",
        kind="bill",
        scope="",
        window=month,
        status=status,
        started_at=began,
        finished_at=began,
        counts=counts,
    )


@pytest.mark.parametrize(
    ("runs_before", "expected"),
    [
        ([], ["2026-10"]),
        ([a_run("2026-09")], ["2026-10"]),
        ([a_run("2026-08")], ["2026-09", "2026-10"]),
        ([a_run("2026-10"), a_run("2026-09")], ["2026-10"]),
        ([a_run("2026-09", RunStatus.DONE_WITH_HOLDS)], ["2026-10"]),
        ([a_run("2026-09", RunStatus.FAILED), a_run("2026-08")], ["2026-09", "2026-10"]),
        ([a_run("2026-09", RunStatus.RUNNING)], ["2026-09", "2026-10"]),
        ([a_run("2026-09", not_due=2), a_run("2026-08")], ["2026-09", "2026-10"]),
        ([a_run("2025-09")], ["2026-10"]),
    ],
    ids=[
        "the partner's first bill",
        "the month before is through",
        "a month was missed",
        "last month is through: a hold may be gone",
        "an older month with holds is billed by the next one",
        "an older month failed",
        "an older month is not through",
        "an older month waits for customers",
        "nothing is looked for that far back",
    ],
)
def test_months_that_may_have_something_to_do(office, runs_before, expected):
    office.store.save(runs_before)
    assert due.months_open(office.ports, TODAY) == expected


def test_days_on_which_nothing_ran_are_made_up_for_by_the_next(office):
    at(office, "2026-11-25T06:00")
    work(office, StartRun(kind="sync", day=day("2026-11-25")), by_day("2026-11-25"))
    assert set(totals(office)) == {"Fabrikam Toys draft", "Northwind Traders draft"}


# --- what Microsoft has not told yet -----------------------------------------------------------------


def test_a_month_that_microsoft_has_not_invoiced_waits_without_a_failure(office):
    office.partner_center.heads = []
    work(office, SYNC)
    assert office.written(lambda: work(office, by_day("2026-11-09"))) == []
    assert office.store.run("bill/2026-10") is None


def test_a_month_that_is_not_imported_yet_waits_without_a_failure(office):
    work(office, by_day("2026-11-09"))
    assert office.store.run("bill/2026-10") is None
    work(office, SYNC, by_day("2026-11-09"))
    assert len(totals(office)) == 2


def test_a_message_that_asks_for_what_is_due_leaves_no_run_when_it_is_given_up(office):
    runs.give_up(office.ports, "start", by_day("2026-11-09").model_dump_json())
    assert office.store.runs() == []


# --- the partner's calendar --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "today"), [("UTC", "2026-11-08"), ("Pacific/Auckland", "2026-11-09")]
)
def test_which_day_it_is_says_the_partners_calendar(office, zone, today):
    office.zone = ZoneInfo(zone)
    at(office, "2026-11-08T22:00")
    assert office.ports.today() == day(today)


def test_an_invoice_is_dated_by_the_partners_calendar(office):
    office.zone = ZoneInfo("Pacific/Auckland")
    at(office, "2026-11-09T22:00")
    work(office, SYNC, BILL, APPROVE)
    assert {one.issued_on for one in office.store.documents()} == {day("2026-11-10")}


def test_northwinds_day_alone(office):
    bill_from(office, NORTHWIND, 3)
    at(office, "2026-11-03T06:00")
    work(office, StartRun(kind="sync", day=day("2026-11-03")), by_day("2026-11-03"))
    assert totals(office) == {"Northwind Traders draft": "65.45"}
