"""A month reconciled four ways from what is stored, now and as of a day since it was billed."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from domain.contract import BillingContract
from domain.problems import InputError
from domain.reconciliation import BookedLine, Comparison
from domain.subscription import CostKind
from rules.facts import Demands
from sync import releases
from sync.findings import current
from sync.holds import holds
from sync.messages import StartRun
from sync.reconcile import of_month
from tests.builders import CUSTOMER, a_line, a_pass_on, a_rule, an_agreement, day
from tests.usecases.office import (
    APPROVE,
    BILL,
    NORTHWIND,
    OCTOBER,
    SYNC,
    a_fault,
    an_invoice_head,
    an_office,
    work,
)

NOVEMBER = StartRun(kind="bill", period="2026-11")


@pytest.fixture
def office(tmp_path):
    return an_office(tmp_path)


@pytest.fixture
def billed(office):
    work(office, SYNC, BILL, APPROVE)
    return office


def told(month):
    return [
        (one.comparison.value, one.cause.value, one.remedy.value, f"{one.amount:f}")
        for one in month.sides.differences
    ]


def sync_again(office, *, days):
    """Some days later, with a longer look back, so that a newer version of the invoice is seen."""
    office.clock.advance(timedelta(days=days))
    work(office, StartRun(kind="sync", day=office.clock().date()))


def test_a_month_that_was_billed_agrees_on_all_sides(billed):
    month = of_month(billed.ports, OCTOBER)
    assert told(month) == []
    assert not month.sides.needs_person
    (total,) = month.totals
    assert (total.microsoft, total.billed, total.residual, total.sold) == (150, 150, 0, 175)
    (side,) = month.sides.totals
    assert (side.microsoft, side.expected, side.due, side.sold) == (150, 150, 175, 175)
    assert side.residuals == {Comparison.MICROSOFT: 0, Comparison.CUSTOMER: 0}
    assert {m.customer_id: str(m.margin) for m in month.sides.margins} == {
        CUSTOMER: "20.00",
        NORTHWIND: "5.00",
    }


def test_a_month_before_its_bill_is_all_still_to_ask_for(office):
    work(office, SYNC)
    assert told(of_month(office.ports, OCTOBER)) == [
        ("customer", "missing_subscription", "bill_customer", "120.00"),
        ("customer", "missing_subscription", "bill_customer", "33.00"),
        ("customer", "missing_subscription", "bill_customer", "22.00"),
    ]


def test_drafts_count_now_and_not_as_of_a_day(office):
    work(office, SYNC, BILL)
    assert told(of_month(office.ports, OCTOBER)) == []
    assert len(told(of_month(office.ports, OCTOBER, as_of=day("2026-11-09")))) == 3


def test_it_writes_nothing(billed):
    for as_of in (None, day("2026-11-09")):
        assert (
            billed.written(lambda as_of=as_of: of_month(billed.ports, OCTOBER, as_of=as_of)) == []
        )


def test_one_customer_alone(billed):
    month = of_month(billed.ports, OCTOBER, customer_id=CUSTOMER)
    assert set(month.customers) == {CUSTOMER}
    assert [str(total.microsoft) for total in month.totals] == ["100.00"]
    assert told(month) == []


def test_who_is_on_hold_is_not_asked_yet(office):
    office.directory.known = office.directory.known[:1]  # Northwind's access is gone
    work(office, SYNC, BILL, APPROVE)
    for as_of in (None, day("2026-11-09")):
        month = of_month(office.ports, OCTOBER, as_of=as_of)
        assert told(month) == []
        (total,) = month.totals
        assert (total.billed, total.held, total.residual) == (100, 50, 0)


def test_who_was_released_by_the_day_was_not_on_hold(office):
    office.directory.known = office.directory.known[:1]
    work(office, SYNC, BILL)
    office.clock.advance(timedelta(days=1))
    for finding in current(office.ports):
        if finding.holds:
            releases.release(office.ports, finding.id, reason="renewed by phone", by="Anna")
    work(office, BILL, APPROVE)
    held = {None: 0, day("2026-11-10"): 0, day("2026-11-09"): 50}
    for as_of, amount in held.items():
        (total,) = of_month(office.ports, OCTOBER, as_of=as_of).totals
        assert total.held == amount


def held_on(office, as_of):
    (total,) = of_month(office.ports, OCTOBER, as_of=as_of).totals
    assert total.residual == 0
    return total.held


def test_what_the_partner_demands_held_on_a_past_day_too(office):
    office.demands = Demands(required_roles=("f2ef992c-3afb-46b9-b7cf-a126ee74c451",))
    work(office, SYNC, BILL)
    assert held_on(office, None) == held_on(office, day("2026-11-09")) == 150


def test_what_others_found_by_the_day_and_still_stands_held_then(office):
    work(office, SYNC)
    found = a_fault("wire.subscription")
    office.store.replace_findings(("wire.subscription",), CUSTOMER, [found])
    work(office, BILL, APPROVE)
    assert held_on(office, None) == held_on(office, day("2026-11-09")) == 100


def test_what_was_found_after_the_day_did_not_hold_then(office):
    work(office, SYNC, BILL, APPROVE)
    office.clock.advance(timedelta(days=5))
    found = a_fault("wire.subscription")
    office.store.replace_findings(("wire.subscription",), CUSTOMER, [found])
    assert held_on(office, day("2026-11-09")) == 0


def renewed(office):
    """Fabrikam's contract of October ended with it; another one goes on."""
    old = office.store.table(BillingContract)["contract/c1"]
    new = replace(old, key="contract/new", starts=day("2026-11-01"))
    office.store.save([replace(old, ends=day("2026-11-01")), new])


def test_a_line_is_judged_by_the_contract_of_its_day(office):
    """Held under the old contract, it is not left out because a newer one begins later."""
    office.partner_center.signed = [an_agreement(customer_id=NORTHWIND)]
    work(office, SYNC)
    renewed(office)
    work(office, BILL, APPROVE)
    total = office.store.run(BILL.run_key).totals[0]
    assert (total.held, total.excluded, total.residual) == (100, 0, 0)
    assert [hold.worth for hold in holds(office.ports)] == [{"USD": Decimal("100.00")}]
    assert held_on(office, None) == held_on(office, day("2026-11-09")) == 100


def test_a_renewed_contract_leaves_the_month_before_it_as_it_was(office):
    work(office, SYNC, BILL, APPROVE)
    renewed(office)
    for as_of in (None, day("2026-11-09")):
        month = of_month(office.ports, OCTOBER, as_of=as_of)
        assert told(month) == []
        assert (month.totals[0].billed, month.totals[0].residual) == (150, 0)


def test_a_price_that_was_mended_after_the_invoice_is_still_to_ask_for(billed):
    billed.store.save([a_rule("25", key="rule/licences", kind="licence")])
    assert told(of_month(billed.ports, OCTOBER)) == [("customer", "price", "bill_customer", "5.00")]


def test_the_accounting_is_compared_document_by_document(billed):
    booked = [
        BookedLine(
            key=f"xero/{line.key}",
            document=document.number,
            currency=line.amount.currency,
            amount=line.amount.amount,
            tax=line.tax.amount,
            line=line.position,
        )
        for document in billed.store.documents()
        for line in document.lines
    ]
    assert told(of_month(billed.ports, OCTOBER, booked=booked)) == []
    wrong = [replace(booked[0], tax=Decimal(0)), *booked[1:]]
    ((_, cause, remedy, _),) = told(of_month(billed.ports, OCTOBER, booked=wrong))
    assert (cause, remedy) == ("tax", "correct_accounting")


# --- as of a day -----------------------------------------------------------------------------------


def test_a_closed_month_gives_the_same_answer_a_month_later(billed):
    """In December the next invoice is there, and a correction of October's was issued."""
    then = of_month(billed.ports, OCTOBER, as_of=day("2026-11-09"))
    center = billed.partner_center
    center.heads = [
        an_invoice_head("100.00", id="I2", billed=NOVEMBER_DAYS, issued_on=day("2026-12-08")),
        *center.heads,
    ]
    center.lines = [
        *center.lines,
        a_line("cycleCharge", "2026-11-14", "2026-12-14", key="next", invoice_id="I2"),
    ]
    billed.store.save([a_rule("25", key="rule/licences", kind="licence")])
    sync_again(billed, days=30)
    work(billed, NOVEMBER, StartRun(kind="approve", period="2026-11"))
    now = of_month(billed.ports, OCTOBER)
    assert told(now) == []
    assert now.sides.totals[0].sold == 180  # the adjustment of December is part of October's line
    billed.store.save([a_rule("20", key="rule/licences", kind="licence")])
    assert of_month(billed.ports, OCTOBER, as_of=day("2026-11-09")) == then


NOVEMBER_DAYS = replace(OCTOBER, start=day("2026-11-01"), end=day("2026-12-01"))


def test_an_invoice_that_was_issued_anew_is_read_as_it_was(billed):
    """Two days later the invoice holds 5.00 more of usage; as of the first day it does not."""
    then = of_month(billed.ports, OCTOBER, as_of=day("2026-11-09"))
    center = billed.partner_center
    center.heads = [an_invoice_head("155.00")]
    center.lines = [
        a_line("new"),
        a_pass_on(CostKind.USAGE, "55.00", customer_id=NORTHWIND),
    ]
    center.usage = {"I1": [{**row} for row in center.usage["I1"]]}
    center.usage["I1"][0]["BillingPreTaxTotal"] = "35"
    sync_again(billed, days=2)
    now = of_month(billed.ports, OCTOBER)
    assert now.totals[0].microsoft == 155
    # The old line and what was asked for it are gone; the new one was not asked for yet.
    assert sum(Decimal(amount) for *_, amount in told(now)) == Decimal("5.50")
    assert of_month(billed.ports, OCTOBER, as_of=day("2026-11-09")) == then
    assert then.totals[0].microsoft == 150


def test_a_month_without_an_invoice_on_that_day_is_refused(billed):
    with pytest.raises(InputError, match="had not issued an invoice for 2026-10 by 2026-11-05"):
        of_month(billed.ports, OCTOBER, as_of=day("2026-11-05"))
    with pytest.raises(InputError, match="had not issued an invoice for 2026-11"):
        of_month(billed.ports, NOVEMBER_DAYS)


def test_an_unknown_customer_is_refused(billed):
    with pytest.raises(InputError, match="there is no customer nobody"):
        of_month(billed.ports, OCTOBER, customer_id="nobody")
