"""The daily look at usage that is not billed yet: what is told, once, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from domain.charge import Charge
from domain.contract import BillingContract
from domain.period import Period
from domain.problems import Incomplete, Severity
from domain.run import RunStatus, UnitOfWork, UnitStatus
from domain.subscription import CostKind, CostLine, UsageSummary
from domain.usage_alert import AlertState, UsageAlert, UsageBudget
from sync import alerts
from sync.ledger import Later
from sync.messages import PullUnit, StartRun
from tests.builders import a_contract, a_pass_on, day
from tests.usecases.office import (
    APPROVE,
    BILL,
    NORTHWIND,
    an_invoice_head,
    an_office,
    usage_row,
    work,
)

TODAY = day("2026-11-09")
PROD, TEST = "azure-1", "azure-2"
SPIKE = {day("2026-11-05"): "400", day("2026-11-06"): "400", day("2026-11-07"): "400"}


def days(first, last):
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def rows(first, last, cost="100", changed=(), entitlement=PROD, **fields):
    """Daily lines of one Azure subscription; `changed` has other amounts for some days."""
    return [
        usage_row(
            entitlement, str(dict(changed).get(one, cost)), UsageDate=f"{one}T00:00:00Z", **fields
        )
        for one in days(first, last)
    ]


@pytest.fixture
def office(tmp_path):
    """Two billed months of 100.00 a day; November so far like them."""
    office = an_office(tmp_path)
    center = office.partner_center
    september = Period.month("2026-09")
    center.heads = [
        an_invoice_head(),
        an_invoice_head("3000.00", id="I0", issued_on=day("2026-10-08"), billed=september),
    ]
    center.lines.append(
        a_pass_on(
            CostKind.USAGE,
            "3000.00",
            key="line/I0/1",
            customer_id=NORTHWIND,
            invoice_id="I0",
            charged=september,
        )
    )
    center.usage["I0"] = rows(day("2026-09-01"), day("2026-09-30"))
    center.usage["I1"] = rows(day("2026-10-01"), day("2026-10-31"))
    feed(office)
    return office


def feed(office, today=TODAY, changed=(), cost="100", **fields):
    """What the feed shows on a day: the month so far, the last day of it in part."""
    lines = rows(today.replace(day=1), today - timedelta(days=1), cost, changed, **fields)
    lines[-1]["BillingPreTaxTotal"] = "3"
    office.partner_center.unbilled["USD", "current"] = lines


def sync(office, today=TODAY):
    """The sync of a day, in the order of its units."""
    office.clock.moment = office.clock.moment.replace(
        year=today.year, month=today.month, day=today.day
    )
    work(office, StartRun(kind="sync", day=today))
    return list(office.store.table(UsageAlert).values())


def stand(alerts):
    return [(one.kind.value, str(one.first), str(one.last), one.state.value) for one in alerts]


def alert(office):
    (only,) = office.store.table(UsageAlert).values()
    return only


# --- once -----------------------------------------------------------------------------------------


def test_usual_usage_tells_nothing(office):
    assert sync(office) == []
    assert office.store.run(f"sync/{TODAY}").counts["unbilled_lines"] == 8
    assert office.store.findings() == []


def test_a_spike_is_told_with_its_cause(office):
    feed(office, changed=SPIKE)
    (one,) = sync(office)
    assert one.sentence == (
        "Azure azure-1: 4.0 times the usual (1,200.00 instead of 300.00 USD from 5 to 7 November "
        "2026), because of Storage (+900.00)."
    )
    assert (one.customer_id, one.state) == (NORTHWIND, AlertState.OPEN)


def test_the_day_that_is_not_complete_is_not_judged(office):
    feed(office, changed={day("2026-11-08"): "900"})
    office.partner_center.unbilled["USD", "current"][-1]["BillingPreTaxTotal"] = "900"
    assert sync(office) == []


def test_five_days_are_one_alert_that_grows_and_closes(office):
    high = {day(f"2026-11-{number:02}"): "400" for number in range(5, 10)}
    seen = []
    for number in range(8, 16):
        today = day(f"2026-11-{number:02}")
        feed(office, today, {one: cost for one, cost in high.items() if one < today})
        seen += stand(sync(office, today))
    assert seen == [
        ("spike", "2026-11-05", "2026-11-06", "open"),
        ("spike", "2026-11-05", "2026-11-07", "open"),
        ("spike", "2026-11-05", "2026-11-08", "open"),
        ("spike", "2026-11-05", "2026-11-09", "open"),
        ("spike", "2026-11-05", "2026-11-09", "open"),
        ("spike", "2026-11-05", "2026-11-09", "open"),
        ("spike", "2026-11-05", "2026-11-09", "closed"),
        ("spike", "2026-11-05", "2026-11-09", "closed"),
    ]
    assert alert(office).amount == 2000


def test_running_again_writes_nothing(office):
    feed(office, changed=SPIKE)
    office.store.save([a_budget("3000")])
    sync(office)
    unit = PullUnit(run_key=f"sync/{TODAY}", part="unbilled", scope="USD", day=TODAY)
    assert office.written(lambda: sync(office)) == []
    assert office.written(lambda: alerts.work(office.ports, unit)) == []
    assert len(office.store.table(UsageAlert)) == 3


@pytest.mark.parametrize("status", [UnitStatus.QUEUED, UnitStatus.RUNNING, UnitStatus.FAILED])
def test_what_is_judged_waits_for_the_imports_that_it_is_judged_against(office, status):
    """Several instances take the units of a run in any order."""
    unit = PullUnit(run_key=f"sync/{TODAY}", part="unbilled", scope="USD", day=TODAY)
    cost = unit.model_copy(update={"part": "costs", "scope": "I1"})
    entered = UnitOfWork(key=cost.key, kind="pull", run_key=unit.run_key, status=status)
    version = office.store.put_unit(entered, None)
    with pytest.raises(Later, match="invoice I1 is still being imported"):
        alerts.work(office.ports, unit)
    # One that was given up is not waited for.
    office.store.put_unit(replace(entered, status=UnitStatus.PARKED), version)
    assert alerts.work(office.ports, unit).counts["unbilled_lines"] == 8


def test_a_restated_day_grows_the_alert_and_repeats_none(office):
    feed(office, changed=SPIKE)
    (before,) = sync(office)
    earlier = {day("2026-11-04"): "350", **SPIKE, day("2026-11-06"): "500"}
    feed(office, day("2026-11-10"), earlier)
    (after,) = sync(office, day("2026-11-10"))
    assert after.key == before.key
    assert (after.first, after.amount) == (day("2026-11-04"), Decimal(1650))


def test_a_spike_that_is_restated_away_is_closed_and_says_so(office):
    feed(office, changed=SPIKE)
    sync(office)
    feed(office, day("2026-11-10"))
    (one,) = sync(office, day("2026-11-10"))
    assert one.state is AlertState.CLOSED
    assert one.sentence.endswith("Microsoft restated these days: they are not unusual any more.")
    feed(office, day("2026-11-11"), SPIKE)
    (again,) = sync(office, day("2026-11-11"))
    assert (again.key, again.state) == (one.key, AlertState.OPEN)


def test_a_spike_that_falls_apart_when_restated_stays_one_alert(office):
    high = {day(f"2026-11-{number:02}"): "400" for number in range(2, 11)}
    feed(office, day("2026-11-12"), high)
    (before,) = sync(office, day("2026-11-12"))
    for number in (4, 5, 6):
        high[day(f"2026-11-{number:02}")] = "100"
    feed(office, day("2026-11-13"), high)
    (after,) = sync(office, day("2026-11-13"))
    assert (after.key, after.first) == (before.key, day("2026-11-07"))


def test_what_somebody_acknowledged_stays_so(office):
    feed(office, changed=SPIKE)
    (one,) = sync(office)
    office.store.save([replace(one, state=AlertState.ACKNOWLEDGED)])
    for today in ("2026-11-10", "2026-11-16"):
        feed(office, day(today), {**SPIKE, day("2026-11-08"): "400"})
        assert stand(sync(office, day(today))) == [
            ("spike", "2026-11-05", "2026-11-08", "acknowledged")
        ]
    assert "It is over." in alert(office).sentence


def test_what_was_over_long_before_it_is_seen_is_not_told(office):
    center = office.partner_center
    center.usage["I1"] = rows(
        day("2026-10-01"), day("2026-10-31"), changed={day("2026-10-20"): "900"}
    )
    assert sync(office) == []


# --- what is missing ------------------------------------------------------------------------------


def test_an_empty_feed_at_the_start_of_a_month_is_ordinary(office):
    office.partner_center.unbilled["USD", "current"] = []
    assert sync(office, day("2026-11-03")) == []
    assert [one for one in office.store.findings() if one.check == "usage.feed"] == []


def test_a_feed_that_stopped_for_everybody_is_a_finding_and_no_drop(office):
    feed(office, day("2026-11-04"))
    assert sync(office, TODAY) == []
    (finding,) = office.store.findings()
    assert (finding.check, finding.severity, finding.customer_id) == (
        "usage.feed",
        Severity.WARN,
        "",
    )
    assert "ends on 2026-11-03" in finding.sentence
    feed(office, day("2026-11-10"))
    sync(office, day("2026-11-10"))
    assert office.store.findings() == []


def test_what_is_not_delivered_whole_is_not_read_and_fails_nothing(office):
    feed(office, changed=SPIKE)
    (before,) = sync(office)

    def cut(*_):
        raise Incomplete("part-0 is cut off", service="Graph")

    office.partner_center.download_unbilled_usage = cut
    assert sync(office, day("2026-11-10")) == [before]
    (finding,) = office.store.findings()
    assert (finding.check, finding.severity) == ("usage.feed", Severity.WARN)
    assert "did not deliver all of the unbilled usage in USD" in finding.sentence
    assert office.store.run("sync/2026-11-10").status is RunStatus.DONE


def test_a_customer_that_stopped_while_others_go_on_is_a_drop(office):
    lines = rows(day("2026-11-01"), day("2026-11-03"))
    lines += rows(day("2026-11-01"), day("2026-11-08"), CustomerId="c1", entitlement=TEST)
    office.partner_center.unbilled["USD", "current"] = lines
    found = [one for one in sync(office) if one.customer_id == NORTHWIND]
    assert stand(found) == [("drop", "2026-11-04", "2026-11-07", "open")]
    assert found[0].sentence.startswith("All Azure subscriptions together: no usage for 4 days")


def test_last_month_counts_from_the_feed_until_its_invoice_is_stored(office):
    center = office.partner_center
    october = rows(day("2026-10-01"), day("2026-10-31"), changed={day("2026-10-30"): "700"})
    center.heads = [center.heads[1]]
    center.unbilled["USD", "last"] = october
    feed(office, day("2026-11-03"))
    (one,) = sync(office, day("2026-11-03"))
    assert stand([one]) == [("spike", "2026-10-30", "2026-10-30", "open")]
    assert office.store.table(UsageSummary).keys() == {
        f"usage/I0/{NORTHWIND}/plan-1/{PROD}/2026-09-{number:02}/Storage/USD"
        for number in range(1, 31)
    }
    center.heads = [an_invoice_head(), *center.heads]
    center.usage["I1"] = october
    del center.unbilled["USD", "last"]
    feed(office)
    sync(office)
    assert (alert(office).key, alert(office).amount) == (one.key, Decimal(700))


def test_without_a_feed_nothing_is_closed(office):
    feed(office, changed=SPIKE)
    office.store.save([a_budget("3000")])
    before = sync(office)
    office.partner_center.unbilled["USD", "current"] = []
    assert sync(office, day("2026-11-10")) == before
    assert {one.state for one in before} == {AlertState.OPEN}


def test_while_the_days_of_an_alert_are_not_known_it_is_not_closed(office):
    center = office.partner_center
    invoice = center.heads.pop(0)
    center.unbilled["USD", "last"] = rows(
        day("2026-10-01"), day("2026-10-31"), changed={day("2026-10-30"): "700"}
    )
    feed(office, day("2026-11-03"))
    (before,) = sync(office, day("2026-11-03"))
    del center.unbilled["USD", "last"]  # October is neither in the feed nor imported
    feed(office, day("2026-11-07"))
    assert sync(office, day("2026-11-07")) == [before]
    center.heads.insert(0, invoice)
    feed(office)
    assert stand(sync(office)) == [("spike", "2026-10-30", "2026-10-30", "closed")]


def test_a_line_that_cannot_be_read_warns_and_holds_nobody(office):
    feed(office)
    office.partner_center.unbilled["USD", "current"][2]["Quantity"] = "many"
    sync(office)
    (finding,) = office.store.findings()
    assert (finding.check, finding.severity) == ("wire.unbilled_usage", Severity.WARN)
    assert finding.record.startswith("unbilled usage in USD: ")
    feed(office, day("2026-11-10"))
    sync(office, day("2026-11-10"))
    assert office.store.findings() == []


# --- who ------------------------------------------------------------------------------------------


def test_a_customer_without_a_contract_is_watched_too(office):
    office.store.table(BillingContract).clear()
    feed(office, changed=SPIKE)
    office.store.save([a_budget("1000")])
    kinds = sorted(one.kind.value for one in sync(office))
    assert kinds == ["budget", "spike"]


def test_two_currencies_of_one_customer_are_apart(office):
    center = office.partner_center
    euro = an_invoice_head("0", id="E1", currency="EUR")
    center.heads = [euro, *center.heads]
    center.usage["E1"] = rows(day("2026-10-01"), day("2026-10-31"), BillingCurrency="EUR")
    center.unbilled["EUR", "current"] = rows(
        day("2026-11-01"), day("2026-11-08"), changed=SPIKE, BillingCurrency="EUR"
    )
    (one,) = sync(office)
    assert (one.currency, one.amount, one.usual) == ("EUR", Decimal(1200), Decimal(300))
    feed(office, day("2026-11-10"), SPIKE)
    center.unbilled["EUR", "current"] = rows(
        day("2026-11-01"), day("2026-11-09"), changed=SPIKE, BillingCurrency="EUR"
    )
    both = sync(office, day("2026-11-10"))
    assert sorted((one.currency, str(one.first)) for one in both) == [
        ("EUR", "2026-11-05"),
        ("USD", "2026-11-05"),
    ]


# --- budgets --------------------------------------------------------------------------------------


def a_budget(amount="1000", **fields):
    return UsageBudget(
        **{
            "key": "budget/c2",
            "customer_id": NORTHWIND,
            "amount": None if amount is None else Decimal(amount),
            "currency": "USD",
            **fields,
        }
    )


def test_each_threshold_is_told_when_it_is_reached_and_the_one_below_is_closed(office):
    office.store.save([a_budget("1000", thresholds="50 100")])
    feed(office, day("2026-11-07"))
    first = sync(office, day("2026-11-07"))
    assert sorted((one.kind.value, one.threshold) for one in first) == [
        ("budget", Decimal(50)),
        ("forecast", None),
    ]
    feed(office, day("2026-11-12"))
    states = {
        (one.kind.value, one.threshold): one.state.value for one in sync(office, day("2026-11-12"))
    }
    assert states == {
        ("budget", Decimal(50)): "closed",
        ("budget", Decimal(100)): "open",
        ("forecast", None): "closed",
    }


def test_a_budget_changed_in_mid_month_closes_the_old_cause(office):
    office.store.save([a_budget("1000", thresholds="50")])
    sync(office)
    office.store.save([a_budget("3500", thresholds="50")])
    feed(office, day("2026-11-10"))
    states = {
        one.key.partition("2026-11-01/")[2]: one.state for one in sync(office, day("2026-11-10"))
    }
    assert states == {"50-of-1000": AlertState.CLOSED, "1000": AlertState.CLOSED}
    feed(office, day("2026-11-20"))
    (raised,) = [one for one in sync(office, day("2026-11-20")) if one.state is AlertState.OPEN]
    assert raised.sentence.startswith("All Azure subscriptions together: 51 % of the budget")


def test_an_anchored_contract_counts_from_its_day(office):
    office.store.save(
        [
            a_contract(key="contract/c2", customer_id=NORTHWIND, anchor_day=15),
            a_contract(
                key="contract/old", customer_id=NORTHWIND, anchor_day=20, starts=day("2026-01-01")
            ),
            a_budget("2300"),
        ]
    )
    (one,) = [one for one in sync(office) if one.kind.value == "budget"]
    assert (one.first, one.threshold) == (day("2026-10-15"), Decimal(100))


def test_with_the_month_its_alerts_are_over(office):
    office.store.save([a_budget("600")])
    before = {one.key for one in sync(office)}
    office.partner_center.unbilled["USD", "last"] = rows(day("2026-11-01"), day("2026-11-30"))
    feed(office, day("2026-12-08"), cost="1")
    sync(office, day("2026-12-08"))
    assert before
    assert before.isdisjoint(one.key for one in office.store.usage_alerts())


def test_a_budget_that_cannot_be_read_is_told_and_the_others_count(office):
    office.store.save([a_budget(None, key="budget/bad"), a_budget("100")])
    sync(office)
    (finding,) = office.store.findings()
    assert finding.check == "budget.unreadable"
    assert [one.threshold for one in office.store.usage_alerts()] == [Decimal(100)]
    office.store.save([a_budget("100", key="budget/bad")])
    feed(office, day("2026-11-10"))
    sync(office, day("2026-11-10"))
    assert office.store.findings() == []


def test_a_budget_in_a_currency_that_is_not_billed_is_told(office):
    office.store.save([a_budget("100", currency="GBP")])
    assert sync(office) == []
    (finding,) = office.store.findings()
    assert "is in GBP, but Microsoft bills in USD, so nobody is alerted" in finding.sentence


# --- what it never does ---------------------------------------------------------------------------


def charges(office):
    return [
        (line.charge.key, line.charge.amount)
        for document in office.store.documents()
        for line in document.lines
        if isinstance(line.charge, Charge)
    ]


def test_no_charge_is_ever_made_from_it(tmp_path):
    billed = []
    for name, changed in (("usual", {}), ("spiked", SPIKE)):
        office = an_office(tmp_path / name)
        feed(office, changed=changed, cost="999")
        sync(office)
        office.store.save([a_budget("1")])
        work(office, BILL)
        work(office, APPROVE)
        billed.append(charges(office))
        lines = office.store.table(CostLine).values()
        assert {one.invoice_id for one in lines} == {"I1"}
        assert {one.day.month for one in office.store.table(UsageSummary).values()} == {10}
    assert billed[0] == billed[1] != []


def test_nothing_of_a_day_before_the_first_of_the_year_is_lost(office):
    """The month before January is December of the year before."""
    center = office.partner_center
    center.heads = []
    center.usage.clear()
    center.unbilled.clear()
    center.unbilled["USD", "last"] = rows(
        date(2025, 12, 1), date(2025, 12, 31), changed={date(2025, 12, 30): "700"}
    )
    center.unbilled["USD", "current"] = rows(date(2026, 1, 1), date(2026, 1, 2))
    (one,) = sync(office, date(2026, 1, 3))
    assert "on 30 December 2025" in one.sentence


# --- months that are known in part -----------------------------------------------------------------


def october_out_of_the_feed(office, today=TODAY):
    """October's invoice is issued and not imported yet; returns it."""
    invoice = office.partner_center.heads.pop(0)
    feed(office, today)
    return invoice


def a_note(office, *lines, cost="0.50"):
    """An adjustment of October, with usage of its own."""
    center = office.partner_center
    head = an_invoice_head(cost, id="N1", issued_on=day("2026-11-06"), is_note=True)
    center.heads.append(head)
    fields = {"key": "line/N1/1", "customer_id": NORTHWIND, "invoice_id": "N1", "sku_id": "9"}
    center.lines.append(a_pass_on(CostKind.USAGE, cost, **fields))
    center.usage["N1"] = [{**line, "SkuId": "9"} for line in lines]


def test_a_late_line_in_the_current_month_does_not_make_the_month_before_known(office):
    october_out_of_the_feed(office, day("2026-11-07"))
    late = rows(day("2026-10-31"), day("2026-10-31"), cost="0.50")
    office.partner_center.unbilled["USD", "current"] += late
    assert sync(office, day("2026-11-07")) == []


def test_an_adjustment_note_does_not_make_its_month_known(office):
    october_out_of_the_feed(office, day("2026-11-07"))
    a_note(office, *rows(day("2026-10-31"), day("2026-10-31"), cost="0.50"))
    october = rows(day("2026-10-01"), day("2026-10-31"))
    office.partner_center.unbilled["USD", "last"] = october
    office.store.save(
        [a_contract(key="contract/c2", customer_id=NORTHWIND, anchor_day=15), a_budget("2000")]
    )
    (one,) = sync(office, day("2026-11-07"))
    # 17 days of October and 6 of November (the last in part), and what the note adds.
    assert (one.kind.value, one.amount) == ("budget", Decimal("2203.50"))


def test_a_budget_alert_stays_while_days_of_its_month_are_not_known(office):
    center = office.partner_center
    office.store.save(
        [a_contract(key="contract/c2", customer_id=NORTHWIND, anchor_day=15), a_budget("2000")]
    )
    invoice = october_out_of_the_feed(office, day("2026-11-06"))
    center.unbilled["USD", "last"] = rows(day("2026-10-01"), day("2026-10-31"))
    before = sync(office, day("2026-11-06"))
    assert {one.state for one in before} == {AlertState.OPEN}
    del center.unbilled["USD", "last"]
    feed(office, day("2026-11-07"))
    assert sync(office, day("2026-11-07")) == before
    center.heads.insert(0, invoice)
    center.usage["I1"] = rows(day("2026-10-01"), day("2026-10-31"), cost="1")
    feed(office, day("2026-11-08"))
    assert {one.state for one in sync(office, day("2026-11-08"))} == {AlertState.CLOSED}


def test_a_lower_threshold_is_not_told_while_days_of_the_month_are_not_known(office):
    center = office.partner_center
    office.store.save(
        [a_contract(key="contract/c2", customer_id=NORTHWIND, anchor_day=15), a_budget("2000")]
    )
    october_out_of_the_feed(office, day("2026-11-06"))
    center.unbilled["USD", "last"] = rows(day("2026-10-01"), day("2026-10-31"))
    before = sync(office, day("2026-11-06"))
    del center.unbilled["USD", "last"]
    feed(office, day("2026-11-13"))  # 1103.00 of November alone: 55 %
    assert sync(office, day("2026-11-13")) == before
    assert [one.threshold for one in before if one.kind.value == "budget"] == [100]


def test_late_usage_on_a_later_invoice_adds_to_the_days_that_are_billed(office):
    office.store.save(
        [a_contract(key="contract/c2", customer_id=NORTHWIND, anchor_day=15), a_budget("1500")]
    )
    before = sync(office)
    a_note(office, *rows(day("2026-10-01"), day("2026-10-31"), cost="0.01"), cost="0.31")
    feed(office, day("2026-11-10"))
    after = sync(office, day("2026-11-10"))
    reached = [one for one in before if one.kind.value == "budget"]
    grown = [one for one in after if one.kind.value == "budget"]
    assert [one.key for one in grown] == [one.key for one in reached]
    # A day more, the day that was known in part, and 17 days of 0.01.
    assert grown[0].amount == reached[0].amount + 100 + Decimal("0.17")
