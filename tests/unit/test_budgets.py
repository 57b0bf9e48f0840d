"""Budgets: what is reached of them, and whether they will last."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.contract import FOREVER
from domain.period import Frequency, Period
from domain.usage_alert import AlertKind, AlertSeverity, UsageBudget
from tests.builders import a_contract
from usage.alerts import CustomerUsage
from usage.budgets import budget_alerts, fault_of, months_of, thresholds_of

TODAY = date(2026, 11, 9)
NOVEMBER = Period.month("2026-11")
KNOWN = [date(2026, 11, 7) - timedelta(days=away) for away in reversed(range(60))]
FEED = [*KNOWN, date(2026, 11, 8)]


def a_budget(amount="1000", **fields):
    return UsageBudget(
        **{
            "key": "budget/1",
            "customer_id": "c1",
            "amount": None if amount is None else Decimal(amount),
            "currency": "USD",
            **fields,
        }
    )


def a_usage(amount="40", days=FEED):
    """So much a day in one Azure subscription, and a tenth of it in another."""
    return CustomerUsage(
        "c1",
        "USD",
        parts={
            ("azure-1", "Storage"): {day: Decimal(amount) for day in days},
            ("azure-2", "Storage"): {day: Decimal(amount) / 10 for day in days},
        },
        names={"azure-1": "Contoso prod"},
    )


def told(budget, usage, *, today=TODAY, months=(NOVEMBER,), known=KNOWN, **more):
    return budget_alerts(budget, usage, months=months, known=known, today=today, **more)


def marks(alerts):
    return [(one.kind.value, one.threshold) for one in alerts]


def test_a_budget_that_lasts_tells_nothing():
    assert told(a_budget("2000"), a_usage()) == []  # 352 so far, 1320 by the end


def test_no_usage_tells_nothing():
    assert told(a_budget("1"), CustomerUsage("c1", "USD")) == []


def test_the_highest_threshold_that_is_reached_is_told():
    (reached, ahead) = told(a_budget("600"), a_usage())  # 8 days of 44
    assert (reached.kind, reached.threshold, reached.severity) == (
        AlertKind.BUDGET,
        Decimal(50),
        AlertSeverity.LOW,
    )
    assert reached.sentence == (
        "All Azure subscriptions together: 58 % of the budget are used, 352.00 of 600.00 USD by "
        "8 November 2026; the month ends on 30 November 2026."
    )
    assert ahead.kind is AlertKind.FORECAST


@pytest.mark.parametrize(
    ("amount", "threshold"),
    [("704.01", None), ("704", 50), ("440", 80), ("352.01", 80), ("352", 100)],
)
def test_a_threshold_is_reached_to_the_cent(amount, threshold):
    found = [one.threshold for one in told(a_budget(amount), a_usage()) if one.threshold]
    assert found == ([] if threshold is None else [Decimal(threshold)])


def test_what_is_beyond_the_budget_is_told_and_no_forecast_any_more():
    (alert,) = told(a_budget("300"), a_usage())
    assert "117 % of the budget are used, 352.00 of 300.00 USD" in alert.sentence
    assert "52.00 more than agreed" in alert.sentence
    assert alert.severity is AlertSeverity.HIGH


def test_a_forecast_adds_what_is_usual_on_the_days_ahead():
    (alert,) = told(a_budget("1000"), a_usage())
    assert alert.sentence == (
        "All Azure subscriptions together: at this pace 1,320.00 of 1,000.00 USD by the end of the "
        "month on 30 November 2026 (352.00 so far, then what is usual on each weekday)."
    )
    assert (alert.amount, alert.usual, alert.factor) == (1320, 1000, Decimal("1.3"))


def test_a_day_that_is_not_complete_counts_in_the_forecast_as_a_usual_one():
    usage = a_usage()
    usage.parts["azure-1", "Storage"][date(2026, 11, 8)] = Decimal(1)
    (alert,) = told(a_budget("1000"), usage)
    assert alert.amount == 1320


def test_weekends_ahead_are_forecast_as_weekends():
    weekly = {day: Decimal(0 if day.weekday() >= 5 else 100) for day in FEED}
    usage = CustomerUsage("c1", "USD", parts={("azure-1", "Storage"): weekly})
    (alert,) = [one for one in told(a_budget("2000"), usage) if one.kind is AlertKind.FORECAST]
    assert alert.amount == 2100  # 21 weekdays in November


def test_without_a_week_of_history_nothing_is_forecast():
    days = [day for day in FEED if day >= date(2026, 11, 2)]
    assert told(a_budget("1000"), a_usage(days=days)) == []
    assert told(a_budget("1000"), a_usage(), known=()) == []


def test_a_forecast_that_was_told_stands_while_it_is_close():
    close, far = a_budget("1350"), a_budget("1400")
    key = "alert/forecast/budget/1/2026-11-01/1350"
    assert marks(told(close, a_usage())) == []
    assert marks(told(close, a_usage(), told={key})) == [("forecast", None)]
    assert marks(told(far, a_usage(), told={key.replace("1350", "1400")})) == []


def test_a_budget_of_one_azure_subscription_counts_that_one():
    (alert, _) = told(a_budget("400", entitlement_id="azure-1", thresholds="75"), a_usage())
    assert alert.sentence.startswith("Contoso prod: 80 % of the budget are used, 320.00 of 400.00")
    assert told(a_budget("400", entitlement_id="azure-2"), a_usage()) == []


def test_thresholds_are_the_budgets_own():
    assert marks(told(a_budget("350", thresholds="33, 90%; 150"), a_usage())) == [
        ("budget", Decimal(90))
    ]


def test_an_amount_changed_in_mid_month_is_another_cause_for_the_whole_month():
    until = Period(date(2026, 1, 1), date(2026, 11, 6))
    since = Period(date(2026, 11, 6), date(2027, 1, 1))
    old, new = a_budget("400", valid=until), a_budget("440", key="budget/2", valid=since)
    first = told(old, a_usage(), today=date(2026, 11, 5))
    assert told(new, a_usage(), today=date(2026, 11, 5)) == []
    assert told(old, a_usage()) == []
    (second, _) = told(new, a_usage())
    assert {first[0].key, second.key} == {
        "alert/budget/budget/1/2026-11-01/80-of-400",
        "alert/budget/budget/2/2026-11-01/80-of-440",
    }
    assert second.amount == 352


def test_an_amount_typed_over_is_another_cause_too():
    keys = {told(a_budget(amount), a_usage())[0].key for amount in ("400", "440")}
    assert len(keys) == 2


def test_the_month_is_the_contracts_own():
    fifteenth = a_contract(anchor_day=15)
    (month,) = months_of(fifteenth, TODAY)
    assert month == Period(date(2026, 10, 15), date(2026, 11, 15))
    (alert,) = told(a_budget("1100"), a_usage(), months=[month])
    assert (alert.threshold, alert.amount) == (Decimal(100), 1100)  # 25 days of 44


@pytest.mark.parametrize(
    "contract", [None, a_contract(frequency=Frequency.WEEK, anchor_day=5)], ids=["none", "weekly"]
)
def test_without_a_day_of_the_month_it_is_the_calendars(contract):
    assert months_of(contract, TODAY) == [NOVEMBER]


def test_the_last_days_of_a_month_are_still_told_when_they_come_in():
    october = Period.month("2026-10")
    assert months_of(None, date(2026, 11, 4)) == [october, NOVEMBER]
    (late,) = told(
        a_budget("1364"), a_usage(), months=[october], today=date(2026, 11, 4)
    )  # 31 days of 44
    assert (late.first, late.last, late.threshold) == (
        date(2026, 10, 1),
        date(2026, 10, 31),
        Decimal(100),
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"amount": None}, "has no amount above zero"),
        ({"amount": Decimal(0)}, "has no amount above zero"),
        ({"customer_id": ""}, "names no customer tenant id"),
        ({"currency": "dollars"}, "which is no ISO code"),
        ({"thresholds": "half"}, "'half' are no percentages"),
        ({"thresholds": "0 50"}, "'0 50' are no percentages"),
        ({"thresholds": ","}, "',' are no percentages"),
        ({"thresholds": "NaN"}, "'NaN' are no percentages"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_told(fields, words):
    finding = fault_of(
        UsageBudget(
            **{"key": "b", "customer_id": "c1", "amount": Decimal(1), "currency": "USD", **fields}
        )
    )
    assert finding is not None
    assert words in finding.sentence


def test_a_budget_that_can_be_meant_is_not():
    assert fault_of(a_budget(valid=FOREVER)) is None


def test_a_row_without_thresholds_has_the_usual_ones():
    assert thresholds_of(a_budget()) == [Decimal(50), Decimal(80), Decimal(100)]


@given(st.lists(st.integers(1, 1000), min_size=1))
def test_thresholds_are_read_in_order_and_once(numbers):
    budget = a_budget(thresholds=" ".join(map(str, numbers)))
    assert thresholds_of(budget) == sorted(set(map(Decimal, numbers)))
