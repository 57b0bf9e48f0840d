"""One contract follows another: no day is lost between them, and a bill is no concern of the other's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.contract import Alignment, Timing
from domain.period import Frequency, Period
from domain.run import RunStatus
from sync import releases
from sync.messages import StartRun
from sync.reconcile import of_month
from tests.builders import CUSTOMER, a_contract, a_line, day
from tests.usecases.office import (
    APPROVE,
    BILL,
    OCTOBER,
    SYNC,
    an_invoice_head,
    an_office,
    totals,
    work,
)

BOTH = {"Fabrikam Toys draft": "142.80", "Northwind Traders draft": "65.45"}
NORTHWIND_ALONE = {"Northwind Traders draft": "65.45"}
NOVEMBER = StartRun(kind="bill", period="2026-11")


@pytest.fixture
def office(tmp_path):
    return an_office(tmp_path)


def followed_on(office, starts, **fields):
    """The contract of Fabrikam ends, and another one follows on that day."""
    older = a_contract(tax_profile_key="tax/de", starts=day("2026-01-01"), ends=day(starts))
    newer = a_contract(key="contract/c1-new", tax_profile_key="tax/de", starts=day(starts))
    office.store.save([replace(older, **fields), newer])


def held(office):
    return [f.check for f in office.store.findings(customer_id=CUSTOMER) if f.holds]


def of_october(office, run="bill/2026-10"):
    (total,) = office.store.run(run).totals
    return {name: str(getattr(total, name)) for name in ("billed", "held", "excluded")}


def a_november(office):
    """Microsoft's next invoice: the cycle of Fabrikam from 14 November."""
    november = Period.month("2026-11")
    cycle = Period(day("2026-11-14"), day("2026-12-14"))
    office.partner_center.heads.append(
        an_invoice_head("100.00", id="I2", billed=november, issued_on=day("2026-12-08"))
    )
    office.partner_center.lines.append(
        a_line("cycleCharge", key="cost/I2/1", invoice_id="I2", charged=cycle)
    )
    office.clock.moment = office.clock.moment.replace(month=12, day=9)


def test_a_contract_that_follows_within_a_month_leaves_no_day_unbilled(office):
    """Microsoft's 100.00 are from 14 October, a day of the older one; October is the newer one's."""
    followed_on(office, "2026-10-20")
    work(office, SYNC, BILL)
    assert totals(office) == NORTHWIND_ALONE
    assert held(office) == ["mapping.contract_changed"]
    assert office.store.run("bill/2026-10").status is RunStatus.DONE_WITH_HOLDS
    assert of_october(office) == {"billed": "50.00", "held": "100.00", "excluded": "0.00"}


@pytest.mark.parametrize("first", ["2026-10-01", "2026-11-01"])
def test_once_they_meet_on_the_first_of_a_month_the_month_is_billed_whole(office, first):
    followed_on(office, "2026-10-20")
    work(office, SYNC, BILL)
    (finding,) = office.store.findings(customer_id=CUSTOMER)
    assert first in finding.hint
    followed_on(office, first)
    work(office, BILL)
    assert totals(office) == BOTH
    assert held(office) == []
    assert of_october(office) == {"billed": "150.00", "held": "0.00", "excluded": "0.00"}


def test_what_was_billed_before_the_contract_was_followed_is_not_left_behind(office):
    office.store.save([a_contract(tax_profile_key="tax/de", starts=day("2026-01-01"))])
    work(office, SYNC, BILL, APPROVE)
    followed_on(office, "2026-10-20")
    work(office, BILL)
    assert office.store.findings(customer_id=CUSTOMER) == []


def test_a_change_within_november_holds_november_and_the_next_month_until_it_is_mended(office):
    work(office, SYNC, BILL, APPROVE)
    a_november(office)
    followed_on(office, "2026-11-20")
    work(office, StartRun(kind="sync", day=day("2026-12-09")), NOVEMBER)
    assert held(office) == ["mapping.contract_changed"]
    followed_on(office, "2026-12-01")
    work(office, NOVEMBER)
    assert held(office) == []
    assert totals(office)["Fabrikam Toys draft"] == "142.80"


def test_days_that_were_left_behind_hold_later_months_too(office):
    followed_on(office, "2026-10-20")
    work(office, SYNC, BILL, APPROVE)
    a_november(office)
    work(office, StartRun(kind="sync", day=day("2026-12-09")), NOVEMBER)
    assert held(office) == ["mapping.contract_changed"]


def test_days_that_are_billed_in_another_way_are_released_and_told_as_not_billed(office):
    followed_on(office, "2026-10-20")
    work(office, SYNC, BILL)
    (finding,) = office.store.findings(customer_id=CUSTOMER)
    releases.release(office.ports, finding.id, reason="billed by hand", by="Ana")
    work(office, BILL)
    assert held(office) == []
    assert of_october(office) == {"billed": "50.00", "held": "0.00", "excluded": "0.00"}
    told = [f.check for f in office.store.findings(customer_id=CUSTOMER)]
    assert told == ["mapping.contract_changed", "reconcile.not_billed"]


def test_what_the_older_contract_does_not_pass_on_is_not_left_behind(office):
    followed_on(office, "2026-10-20", excluded_skus=(a_line().sku,))
    work(office, SYNC, BILL)
    assert held(office) == []


def test_an_older_contract_with_periods_of_its_own_leaves_days_without_any_line(office):
    followed_on(office, "2026-10-10", alignment=Alignment.CONTRACT)
    work(office, SYNC, BILL)
    assert held(office) == ["mapping.contract_changed"]


def test_a_period_that_was_to_be_billed_after_its_end_is_not_lost_with_the_contract(office):
    """Quarters in arrears: October would have been asked for with December's bill."""
    followed_on(office, "2026-11-01", timing=Timing.ARREARS, frequency=Frequency.QUARTER)
    work(office, SYNC, BILL)
    assert (held(office), totals(office)) == ([], NORTHWIND_ALONE)
    a_november(office)
    work(office, StartRun(kind="sync", day=day("2026-12-09")), NOVEMBER)
    assert held(office) == ["mapping.contract_changed"]


def test_the_month_is_reconciled_by_the_contract_that_billed_it(office):
    followed_on(office, "2026-11-01")
    work(office, SYNC, BILL)
    month = of_month(office.ports, OCTOBER)
    assert [one.cause for one in month.sides.differences] == []
