"""What is not proposed is not released: it would be credited, or its month settled without it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.contract import BillingContract
from domain.period import Period
from domain.problems import InputError
from domain.subscription import EventSource, EventType, Subscription, SubscriptionEvent
from sync import releases
from sync.findings import current
from sync.messages import StartRun
from tests.builders import CUSTOMER, a_price, day
from tests.usecases.office import APPROVE, BILL, SYNC, an_invoice_head, an_office, totals, work

ANNA = {"reason": "agreed by phone", "by": "Anna Finance"}
ISSUED = {
    "Fabrikam Toys INV-202610-0001": "142.80",
    "Northwind Traders INV-202610-0002": "65.45",
}
NOVEMBER = StartRun(kind="bill", period="2026-11")


@pytest.fixture
def issued(tmp_path):
    """October is issued, and November is there to be billed."""
    office = an_office(tmp_path)
    work(office, SYNC, BILL, APPROVE)
    assert totals(office) == ISSUED
    head = an_invoice_head(
        id="I2", billed=Period.month("2026-11"), issued_on=day("2026-12-08"), total="0"
    )
    office.partner_center.heads.append(head)
    office.clock.advance(timedelta(days=31))
    return office


def the_hold(office, check):
    (finding,) = [one for one in current(office.ports) if one.check == check]
    return finding


def test_a_subscription_that_is_not_known_any_more_credits_nothing(issued):
    table = issued.store.table(Subscription)
    (gone,) = [key for key, one in table.items() if one.customer_id == CUSTOMER]
    del table[gone]
    work(issued, NOVEMBER)
    with pytest.raises(InputError, match="nothing is proposed"):
        releases.release(issued.ports, the_hold(issued, "subscription.unknown").id, **ANNA)
    work(issued, NOVEMBER)
    assert totals(issued) == ISSUED


def test_a_contract_that_ended_bills_nothing_more(issued):
    contract = issued.store.table(BillingContract)["contract/c1"]
    issued.store.save([replace(contract, ends=day("2026-11-01"))])
    work(issued, NOVEMBER)
    with pytest.raises(InputError, match="no contract to bill by"):
        releases.release(issued.ports, the_hold(issued, "mapping.contract_ended").id, **ANNA)


def a_change(office, on, kind, quantity=None):
    return SubscriptionEvent(
        subscription_id="s1",
        customer_id=CUSTOMER,
        effective=day(on),
        type=kind,
        quantity=quantity,
        source=EventSource.AUDIT,
    )


def test_what_comes_after_an_end_is_mended_and_not_released(tmp_path):
    """An end that was none is set to suspend, as the hint says: that changes nothing."""
    office = an_office(tmp_path)
    work(office, SYNC)
    end = a_change(office, "2026-10-17", EventType.CANCEL)
    office.store.save([end, a_change(office, "2026-10-20", EventType.SET_QUANTITY, 10)])
    work(office, BILL)
    held = the_hold(office, "history.after_end")
    assert "sets the wrong one to suspend under Changes" in held.hint
    with pytest.raises(InputError, match="what comes after the end is not proposed"):
        releases.release(office.ports, held.id, **ANNA)
    del office.store.table(SubscriptionEvent)[end.key]
    office.store.save([a_change(office, "2026-10-17", EventType.SUSPEND)])
    work(office, BILL)
    assert totals(office)["Fabrikam Toys draft"] == "142.80"


def test_a_price_that_is_far_from_its_cost_and_meant_is_released_once(tmp_path):
    office = an_office(tmp_path)
    work(office, SYNC)
    office.store.save([a_price("500")])
    work(office, BILL)
    assert "Fabrikam Toys draft" not in totals(office)
    releases.release(office.ports, the_hold(office, "price.ratio").id, **ANNA)
    work(office, BILL)
    assert totals(office)["Fabrikam Toys draft"] == "5950.00"
    assert office.written(lambda: work(office, BILL)) == []
    # Another price is another thing that nobody has seen.
    office.store.save([a_price("600")])
    work(office, BILL)
    assert "Fabrikam Toys draft" not in totals(office)
