"""Alerts of a customer's usage: one for one cause, with the sentence that explains it."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from domain.subscription import UsageSummary
from domain.usage_alert import AlertKind, AlertSeverity, AlertState
from usage.alerts import CustomerUsage, by_customer, episode_alerts, judged_days
from usage.spikes import WINDOW_DAYS

LAST = date(2026, 11, 7)
KNOWN = [LAST - timedelta(days=away) for away in reversed(range(WINDOW_DAYS))]
PROD, TEST = "azure-1", "azure-2"
MACHINES, STORAGE, SQL = "Virtual Machines", "Storage", "SQL Database"


def steady(amount, since=KNOWN[0]):
    return {day: Decimal(amount) for day in KNOWN if day >= since}


def a_usage(**more):
    """Two Azure subscriptions: 60 and 20 a day in one, 100 in the other."""
    parts = {
        (PROD, MACHINES): steady("60"),
        (PROD, STORAGE): steady("20"),
        (TEST, SQL): steady("100"),
    }
    return CustomerUsage(
        "c1",
        "USD",
        **{"parts": parts, "names": {PROD: "Contoso prod", TEST: "Contoso test"}, **more},
    )


def changed(usage, part, amount, *days):
    for day in days:
        usage.parts[part][date.fromisoformat(day)] = Decimal(amount)
    return usage


def told(usage, known=KNOWN):
    return [
        (one.kind.value, one.entitlement_id, one.sentence) for one in episode_alerts(usage, known)
    ]


def test_steady_usage_tells_nothing():
    assert told(a_usage()) == []
    assert episode_alerts(a_usage(), []) == []


def test_a_spike_names_the_day_the_amounts_and_the_cause():
    usage = changed(a_usage(), (PROD, MACHINES), "281.00", "2026-11-03")
    (alert,) = episode_alerts(usage, KNOWN)
    assert alert.sentence == (
        "Contoso prod: 3.8 times the usual Tuesday (301.00 instead of 80.00 USD on 3 November 2026), "
        "because of Virtual Machines (+221.00). It is over."
    )
    assert alert.hint.startswith("look at Virtual Machines in Contoso prod in the Azure portal")
    assert (alert.amount, alert.usual, alert.factor) == (Decimal(301), Decimal(80), Decimal("3.8"))
    assert (alert.meter_category, alert.severity) == (MACHINES, AlertSeverity.MEDIUM)
    assert alert.key == "alert/spike/c1/azure-1/USD/2026-11-03"


def test_causes_are_told_until_they_explain_most_of_it():
    usage = changed(a_usage(), (PROD, MACHINES), "160", "2026-11-03")
    changed(usage, (PROD, STORAGE), "100", "2026-11-03")
    usage.parts[PROD, "Bandwidth"] = {date(2026, 11, 3): Decimal(5)}
    ((_, _, sentence),) = told(usage)
    assert "because of Virtual Machines (+100.00) and Storage (+80.00)." in sentence
    assert "Bandwidth" not in sentence


def test_a_spike_that_goes_on_tells_how_far_it_has_come():
    usage = changed(a_usage(), (TEST, SQL), "300", "2026-11-05", "2026-11-06", "2026-11-07")
    (alert,) = episode_alerts(usage, KNOWN)
    assert alert.sentence == (
        "Contoso test: 3.0 times the usual (900.00 instead of 300.00 USD from 5 to 7 November 2026), "
        "because of SQL Database (+600.00)."
    )
    assert (alert.state, alert.first, alert.last) == (
        AlertState.OPEN,
        date(2026, 11, 5),
        date(2026, 11, 7),
    )


def test_two_causes_are_two_alerts():
    usage = changed(a_usage(), (PROD, MACHINES), "400", "2026-11-06")
    changed(usage, (TEST, SQL), "500", "2026-11-06")
    assert [(kind, where) for kind, where, _ in told(usage)] == [("spike", PROD), ("spike", TEST)]


def test_a_rise_of_many_that_none_shows_by_itself_is_one_alert_of_all():
    parts = {
        (f"azure-{n}", STORAGE): {
            day: Decimal("8.00" if day < date(2026, 11, 6) else "17.99") for day in KNOWN
        }
        for n in range(20)
    }
    usage = CustomerUsage("c1", "USD", parts=parts)
    ((kind, where, sentence),) = told(usage)
    assert (kind, where) == ("spike", "")
    assert sentence.startswith(
        "All Azure subscriptions together: 2.2 times the usual "
        "(719.60 instead of 320.00 USD from 6 to 7 November 2026), because of Storage in "
    )


def test_a_rise_that_was_told_of_one_is_not_told_of_all_again():
    usage = changed(a_usage(), (PROD, MACHINES), "900", "2026-11-06")
    assert [where for _, where, _ in told(usage)] == [PROD]


def test_a_new_subscription_as_large_as_half_of_the_rest_is_told():
    usage = a_usage()
    usage.parts["azure-9", MACHINES] = steady("120", since=date(2026, 11, 4))
    usage.names["azure-9"] = "Contoso lab"
    (alert,) = episode_alerts(usage, KNOWN)
    assert alert.kind is AlertKind.NEW_SUBSCRIPTION
    assert alert.sentence == (
        "Contoso lab is new and used 480.00 USD from 4 to 7 November 2026, where everything else of "
        "the customer usually comes to 720.00 USD, because of Virtual Machines (+480.00)."
    )
    assert alert.state is AlertState.OPEN


@pytest.mark.parametrize("amount", ["85", "9"])
def test_a_small_new_subscription_is_not(amount):
    usage = a_usage()
    usage.parts["azure-9", MACHINES] = steady(amount, since=date(2026, 11, 4))
    assert told(usage) == []


def test_a_new_customer_has_nothing_to_be_compared_with():
    usage = CustomerUsage(
        "c1", "USD", parts={("azure-9", MACHINES): steady("500", since=date(2026, 11, 1))}
    )
    assert told(usage) == []


def test_a_subscription_that_stopped_is_told():
    days = [f"2026-11-0{number}" for number in range(4, 8)]
    (alert,) = episode_alerts(changed(a_usage(), (TEST, SQL), "0", *days), KNOWN)
    assert alert.sentence == (
        "Contoso test: no usage for 4 days, from 4 to 7 November 2026, where 400.00 USD are usual, "
        "most of it SQL Database (-400.00)."
    )
    assert (alert.kind, alert.amount, alert.usual) == (AlertKind.DROP, 0, 400)


def test_a_customer_that_stopped_is_told_once_and_not_for_each_subscription():
    usage = a_usage()
    for part in usage.parts:
        changed(usage, part, "0", "2026-11-05", "2026-11-06", "2026-11-07")
    assert [(kind, where) for kind, where, _ in told(usage)] == [("drop", "")]


def test_a_subscription_without_a_name_is_told_by_its_id():
    usage = changed(a_usage(names={}), (TEST, SQL), "500", "2026-11-06")
    assert told(usage)[0][2].startswith("Azure subscription azure-2: 5.0 times")


def test_what_ended_more_than_five_weeks_ago_is_not_told():
    usage = changed(a_usage(), (TEST, SQL), "500", "2026-10-01")
    assert told(usage) == []


# --- series ---------------------------------------------------------------------------------------


def a_summary(day, cost="1", **fields):
    return UsageSummary(
        **{
            "customer_id": "c1",
            "plan_id": "plan-1",
            "entitlement_id": PROD,
            "entitlement_name": "Contoso prod",
            "meter_category": STORAGE,
            "day": date.fromisoformat(day),
            "currency": "USD",
            "lines": 1,
            "quantity": Decimal(1),
            "cost": Decimal(cost),
            **fields,
        }
    )


def test_currencies_are_series_of_their_own():
    summaries = [a_summary("2026-11-03", "4"), a_summary("2026-11-03", "3", currency="EUR")]
    assert by_customer(summaries, "EUR")["c1"].amounts() == {date(2026, 11, 3): Decimal(3)}
    assert by_customer(summaries, "GBP") == {}


def test_a_day_that_is_billed_counts_as_billed_and_not_twice():
    summaries = [a_summary("2026-10-31", "4"), a_summary("2026-11-01", "3")]
    found = by_customer(summaries, "USD", billed={date(2026, 10, 31)})
    assert found["c1"].amounts() == {date(2026, 11, 1): Decimal(3)}


def test_two_plans_of_one_subscription_are_added_up():
    summaries = [a_summary("2026-11-01", "4"), a_summary("2026-11-01", "3", plan_id="plan-2")]
    assert by_customer(summaries, "USD")["c1"].amounts(PROD) == {date(2026, 11, 1): Decimal(7)}


@pytest.mark.parametrize(
    ("today", "last"),
    [("2026-11-09", "2026-11-07"), ("2026-11-12", "2026-11-07"), ("2026-11-08", "2026-11-06")],
    ids=["two days back", "the feed stopped", "the feed is early"],
)
def test_a_day_is_judged_when_it_is_complete(today, last):
    days = [LAST - timedelta(days=1), LAST, LAST + timedelta(days=1)]
    assert judged_days(days, date.fromisoformat(today))[-1:] == [date.fromisoformat(last)]


def test_without_any_day_nothing_is_judged():
    assert judged_days([], LAST) == []
