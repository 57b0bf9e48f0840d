"""A month's hold is lifted by nobody else's month, and is not forgotten while others are looked at."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.contract import BillingContract
from domain.customer import Account, Agreement
from domain.period import Period
from domain.problems import Decision, FindingState
from domain.run import RunStatus, UnitStatus
from domain.subscription import CostLine, EventSource, EventType, SubscriptionEvent
from invoice.document import DocumentStatus
from sync import gate, releases, runs
from sync.findings import current
from sync.messages import StartRun
from tests.builders import CUSTOMER, an_account, an_agreement, day
from tests.usecases.office import (
    APPROVE,
    BILL,
    NORTHWIND,
    SYNC,
    a_fault,
    an_invoice_head,
    an_office,
    totals,
    work,
)

BILL_NOVEMBER = StartRun(kind="bill", period="2026-11")
APPROVE_NOVEMBER = StartRun(kind="approve", period="2026-11")
ANNA = {"reason": "agreed", "by": "Anna Finance"}
OTHERS = {"Northwind Traders draft": "65.45"}


@pytest.fixture
def office(tmp_path):
    office = an_office(tmp_path)
    work(office, SYNC)
    return office


def october_line(office) -> CostLine:
    return next(one for one in office.store.table(CostLine).values() if one.invoice_id == "I1")


def november_comes(office, **fields):
    """Microsoft bills the next cycle."""
    head = an_invoice_head(
        id="I2", billed=Period.month("2026-11"), issued_on=day("2026-12-08"), total="100"
    )
    office.partner_center.heads.append(head)
    office.store.save(
        [
            replace(
                october_line(office),
                key="cost/I2/cycle",
                invoice_id="I2",
                charge_type="cycleCharge",
                charged=Period(day("2026-11-14"), day("2026-12-14")),
                ordered_on=day("2026-11-14"),
                **fields,
            )
        ]
    )
    office.clock.advance(timedelta(days=31))


def of(office):
    """The months of the documents that Fabrikam has, and of the service on each."""
    return {
        f"{one.period.start:%Y-%m}": [f"{line.charge.service.start:%Y-%m}" for line in one.lines]
        for one in office.store.documents()
        if one.customer_id == CUSTOMER
    }


def a_strangers_october(office):
    contract = office.store.table(BillingContract)["contract/c1"]
    office.store.save(
        [
            replace(contract, expected_partner_id="111"),
            replace(october_line(office), reseller_id="999"),
        ]
    )


def an_unreadable_october(office):
    sentence = "line 7 of invoice I1 cannot be read"
    office.store.save([a_fault("wire.cost_line", record="invoice I1: line 7", sentence=sentence)])


def half_an_upgrade_in_october(office):
    office.store.save(
        [
            replace(
                october_line(office),
                key="cost/I1/half",
                charge_type="convert",
                subscription_id="s9",
                reference_id="r1",
            )
        ]
    )


# --- another month -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (a_strangers_october, "partner_of_record.drift"),
        (an_unreadable_october, "wire.cost_line"),
        (half_an_upgrade_in_october, "history.half_conversion"),
    ],
)
def test_what_holds_october_holds_the_bill_that_would_ask_for_it(office, fault, check):
    fault(office)
    if check == "history.half_conversion":
        office.partner_center.heads[0] = an_invoice_head(total="250.00")
    work(office, BILL)
    november_comes(office, reseller_id="111")
    work(office, BILL_NOVEMBER, APPROVE_NOVEMBER)
    assert of(office) == {}
    assert check in {one.check for one in current(office.ports) if one.holds}
    november = office.store.run("bill/2026-11")
    assert november.status is RunStatus.DONE_WITH_HOLDS
    assert november.totals[0].residual == 0


def test_once_october_is_released_november_bills_both_and_october_holds_nobody(office):
    a_strangers_october(office)
    work(office, BILL)
    november_comes(office, reseller_id="111")
    (found,) = current(office.ports)
    releases.release(office.ports, found.id, **ANNA)
    work(office, BILL_NOVEMBER, APPROVE_NOVEMBER)
    assert of(office) == {"2026-11": ["2026-10", "2026-11"]}
    # October has nothing left to ask for, so that nothing holds it.
    work(office, BILL)
    assert [one for one in current(office.ports) if one.holds] == []
    assert office.store.run(BILL.run_key).status is RunStatus.DONE


@pytest.mark.parametrize("fault", [a_strangers_october, an_unreadable_october])
def test_what_is_wrong_with_a_month_that_was_billed_does_not_hold_the_next(office, fault):
    work(office, BILL, APPROVE)
    fault(office)
    november_comes(office, reseller_id="111")
    work(office, BILL_NOVEMBER)
    assert of(office) == {"2026-10": ["2026-10"], "2026-11": ["2026-11"]}


# --- another contract --------------------------------------------------------------------------------


@pytest.fixture
def moved(office):
    """From November on another contract bills another account; October is billed by the old one."""
    contract = office.store.table(BillingContract)["contract/c1"]
    first = day("2026-11-01")
    office.store.save(
        [
            replace(contract, ends=first, account_id="acc-old"),
            replace(contract, key="contract/new", starts=first, account_id="acc-new"),
        ]
    )
    for name in ("acc-old", "acc-new"):
        office.store.table(Account)[name] = an_account(id=name)
    work(office, BILL)
    return office


def goes_inactive(office, name):
    office.store.table(Account)[name] = an_account(id=name, active=False)
    gate.check_customer(office.ports, CUSTOMER)


def test_a_draft_is_not_issued_when_its_own_contract_has_lost_its_account(moved):
    goes_inactive(moved, "acc-old")
    work(moved, APPROVE)
    assert "Fabrikam Toys draft" in totals(moved)
    (found,) = current(moved.ports)
    assert (found.check, found.record) == (
        "mapping.account_inactive",
        "billing contract contract/c1",
    )


def test_a_release_about_a_drafts_contract_outlives_the_daily_look_at_todays(moved):
    goes_inactive(moved, "acc-old")
    (found,) = current(moved.ports)
    releases.release(moved.ports, found.id, **ANNA)
    gate.check_customer(moved.ports, CUSTOMER)
    work(moved, BILL, APPROVE)
    assert "Fabrikam Toys INV-202610-0001" in totals(moved)


def test_what_is_wrong_with_todays_contract_neither_stops_an_older_draft_nor_is_forgotten(moved):
    goes_inactive(moved, "acc-new")
    (before,) = current(moved.ports)
    work(moved, BILL)
    assert current(moved.ports) == [before]
    work(moved, APPROVE)
    assert "Fabrikam Toys INV-202610-0001" in totals(moved)


# --- not looked at is not gone -------------------------------------------------------------------


def test_a_release_outlives_a_day_on_which_its_check_was_not_asked(office):
    missed = SubscriptionEvent(
        subscription_id="s1",
        customer_id=CUSTOMER,
        effective=day("2026-10-20"),
        type=EventType.SET_QUANTITY,
        quantity=25,
        source=EventSource.AUDIT,
    )
    office.store.save([missed])
    work(office, BILL)
    (seats,) = (one for one in current(office.ports) if one.check == "seats.no_cost")
    releases.release(office.ports, seats.id, **ANNA)
    work(office, BILL)
    billed = totals(office)
    agreement = office.store.table(Agreement).pop(an_agreement().key)
    work(office, BILL)
    assert totals(office) == OTHERS
    office.store.save([agreement])
    work(office, BILL)
    assert totals(office) == billed


def test_a_finding_about_tax_outlives_a_day_without_a_contract(office):
    """Who decides the tax is not asked where there is no contract."""
    office.store.save([a_fault("tax.no_profile", record="tax profile tax/de")])
    contract = office.store.table(BillingContract).pop("contract/c1")
    work(office, BILL)
    assert {one.check for one in current(office.ports)} == {"mapping.no_contract", "tax.no_profile"}
    office.store.save([contract])
    work(office, BILL)
    assert current(office.ports) == []


# --- a run is done when its units are --------------------------------------------------------------


@pytest.mark.parametrize("customer_id", [CUSTOMER, None])
@pytest.mark.parametrize("by_hand", [True, False])
def test_a_hold_that_ends_before_the_run_does_leaves_the_run_with_holds(
    tmp_path, customer_id, by_hand
):
    office = an_office(tmp_path)
    office.partner_center.signed = [an_agreement(customer_id=NORTHWIND)]
    work(office, SYNC)
    bill = StartRun(kind="bill", period="2026-10", customer_id=customer_id)
    office.queue.send("start", [bill.model_dump_json()])
    while office.queue.waiting:
        queue, body = office.queue.waiting.popleft()
        held = [one for one in current(office.ports) if one.holds]
        if queue == "close" and held:
            if by_hand:
                releases.release(office.ports, held[0].id, **ANNA)
            else:
                office.store.save([an_agreement()])
                gate.check_customer(office.ports, CUSTOMER)
        runs.handle(office.ports, queue, body)
    run = office.store.run(bill.run_key)
    assert run.status is RunStatus.DONE_WITH_HOLDS
    assert (run.totals[0].held, run.totals[0].residual) == (100, 0)
    work(office, bill)
    assert totals(office)["Fabrikam Toys draft"] == "142.80"
    assert office.store.run(bill.run_key).status is RunStatus.DONE


def test_a_run_that_ended_as_done_beside_a_held_unit_is_taken_up_again(office):
    """So an earlier version left it."""
    office.store.table(Agreement).pop(an_agreement().key)
    work(office, BILL)
    run = office.store.run(BILL.run_key)
    office.store.save([an_agreement(), replace(run, status=RunStatus.DONE)])
    work(office, BILL)
    assert totals(office)["Fabrikam Toys draft"] == "142.80"
    unit, _ = office.store.unit(f"bill/{CUSTOMER}/2026-10")
    assert unit.status is UnitStatus.SETTLED


# --- the invariant -----------------------------------------------------------------------------------


class TwoMonths:
    """October and November with three faults: nothing that holds a line lets any bill ask for it."""

    def __init__(self, folder: Path) -> None:
        self.office = an_office(folder)
        work(self.office, SYNC)
        contract = self.office.store.table(BillingContract)["contract/c1"]
        self.office.store.save([replace(contract, expected_partner_id="111")])
        november_comes(self.office, reseller_id="111")
        self.there: set[str] = set()

    def fault(self, check: str) -> None:
        self.there.add(check)
        match check:
            case "agreement.missing":
                self.office.store.table(Agreement).pop(an_agreement().key, None)
            case "partner_of_record.drift":
                self.office.store.save([replace(october_line(self.office), reseller_id="999")])
            case _:
                an_unreadable_october(self.office)

    def mended(self, check: str) -> None:
        self.there.discard(check)
        self.office.store.save([an_agreement()] if check == "agreement.missing" else [])
        if check == "partner_of_record.drift":
            self.office.store.save([replace(october_line(self.office), reseller_id="")])
        if check == "wire.cost_line":
            self.office.store.replace_findings((check,), CUSTOMER, [])

    def found(self, check: str):
        return next((one for one in current(self.office.ports) if one.check == check), None)

    def release(self, check: str) -> None:
        if found := self.found(check):
            releases.release(self.office.ports, found.id, **ANNA)

    def close(self, check: str) -> None:
        if found := self.found(check):
            self.office.store.decided[found.key] = Decision(
                finding=found,
                state=FindingState.CLOSED,
                by="Carla",
                at=datetime(2026, 12, 10, tzinfo=UTC),
                version="1",
            )

    def bill(self, month: str) -> None:
        work(self.office, StartRun(kind="bill", period=month))
        mine = [one for one in self.office.store.documents() if one.customer_id == CUSTOMER]
        for document in mine:
            if document.status is not DocumentStatus.DRAFT or document.period.start != day(
                f"{month}-01"
            ):
                continue
            october = any(line.charge.service.start.month == 10 for line in document.lines)
            for check in self.there & (FAULTS if october else {"agreement.missing"}):
                found = self.found(check)
                assert found is not None, f"{check} is asked for, and nobody knows of it"
                assert found.is_released, f"{check} holds, and is asked for"
        run = self.office.store.run(f"bill/{month}")
        held = [u for u in self.office.store.units(run.key) if u.status is UnitStatus.HELD]
        assert (run.status is RunStatus.DONE_WITH_HOLDS) >= bool(held)
        assert all(total.residual == 0 for total in run.totals)
        if not self.there:
            lines = [line.charge.key for document in mine for line in document.lines]
            assert lines, "nothing is wrong, and nothing is billed"

    def approve(self, month: str) -> None:
        work(self.office, StartRun(kind="approve", period=month))
        assert self.asked_twice() == set()

    def asked_twice(self) -> set[str]:
        keys = [line.charge.key for one in self.office.store.documents() for line in one.lines]
        return {key for key in keys if keys.count(key) > 1}


FAULTS = {"agreement.missing", "partner_of_record.drift", "wire.cost_line"}
MONTHS = st.sampled_from(["2026-10", "2026-11"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fault", "fault", "mended", "release", "close"]),
        st.sampled_from(sorted(FAULTS)),
    )
    | st.tuples(st.sampled_from(["bill", "bill", "approve"]), MONTHS),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(steps=STEPS)
def test_over_two_months_nothing_is_asked_for_that_a_finding_holds(steps):
    with tempfile.TemporaryDirectory() as folder:
        story = TwoMonths(Path(folder))
        last = [("bill", "2026-11"), ("approve", "2026-11"), ("bill", "2026-10")]
        for name, argument in [*steps, *last]:
            getattr(story, name)(argument)
        assert story.asked_twice() == set()
