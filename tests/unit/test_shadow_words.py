"""Microsoft's bill foretold: whose events and lines count, which line locks a price, what is told."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from domain.charge import Reason
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from domain.subscription import EventSource
from rules.lines import UnitPrice
from rules.proration import PriceQuestion
from rules.shadow import check, differences, locked_cost, predict
from tests.builders import OFFER, a_line, a_subscription, day, period, seats

QUESTION = PriceQuestion(
    subscription_id="s1",
    customer_id="c1",
    sku=OFFER,
    term=TermDuration.YEAR,
    billing_cycle=BillingCycle.MONTHLY,
    term_start=day("2026-10-14"),
    full=period("2026-11-14", "2026-12-14"),
    on=day("2026-11-14"),
)
QUARTER = period("2026-10-01", "2027-01-01")


def following(first, end, **fields):
    return a_line("cycleCharge", first, end, **fields)


def foretold(*lines, subscriptions=None, told=(), window=QUARTER):
    subscriptions = subscriptions or [a_subscription()]
    found = predict(subscriptions, told, lines, window)
    return [(int(charge.quantity), str(charge.amount.amount)) for charge in found]


# --- what is told ----------------------------------------------------------------------------------------


def test_money_that_is_not_as_expected_is_told_once_for_a_subscription_and_cause():
    """Locked at 10.00; billed at 12.00 in two cycles: 20.00 too much in each."""
    lines = [
        a_line("new", customer_id="c2"),
        following("2026-11-14", "2026-12-14", unit="12.00", customer_id="c2"),
        following("2026-12-14", "2027-01-14", unit="12.00", customer_id="c2"),
    ]
    expected = predict([a_subscription(customer_id="c2")], (), lines, QUARTER)
    first = differences(expected, lines)[0].sentence
    told = Finding(
        check="cost.price",
        severity=Severity.WARN,
        customer_id="c2",
        record="subscription s1",
        sentence=f"{first} (2 lines, 40.00 USD in all).",
        hint="the price is locked for the term: ask Microsoft for the difference",
    )
    assert check(expected, lines) == [told]
    assert check(expected[:2], lines[:2]) == [replace(told, sentence=f"{first}.")]


# --- what is expected --------------------------------------------------------------------------------------


def test_stored_events_are_expected_on_microsofts_bill():
    told = [seats("2026-10-24", 15, source=EventSource.AUDIT)]
    october = period("2026-10-01", "2026-11-01")
    assert [
        quantity
        for quantity, _ in foretold(
            a_line("new"), subscriptions=[a_subscription(quantity=15)], told=told, window=october
        )
    ] == [10, -10, 15]


def test_a_subscription_without_lines_leaves_the_others_in():
    subscriptions = [a_subscription(id="s0"), a_subscription()]
    assert foretold(
        a_line("new"), subscriptions=subscriptions, window=period("2026-10-01", "2026-11-01")
    ) == [(10, "100.00")]


@pytest.mark.parametrize(("auto_renew", "expected"), [(True, [(10, "100.00")]), (False, [])])
def test_a_term_that_does_not_renew_is_expected_no_longer(auto_renew, expected):
    # The line of the term that follows tells the price, if it comes.
    line = a_line("new", subscription_end=None)
    one = a_subscription(term_end=day("2027-10-14"), auto_renew=auto_renew)
    window = period("2027-10-14", "2027-11-01")
    assert foretold(line, subscriptions=[one], window=window) == expected


def test_nothing_is_expected_of_what_costs_nothing():
    assert foretold(a_line("new", unit="0")) == []


# --- which line locks the price ------------------------------------------------------------------------------


def test_the_price_that_was_locked_in_full():
    """20 percent off 10.00 at 0.9 are 7.20."""
    first = a_line("new", key="k1", promotion_id="P", effective="8.00", exchange_rate=Decimal(1))
    second = following(
        "2026-11-14", "2026-12-14", key="k2", unit="12.00", exchange_rate=Decimal("0.9")
    )
    assert locked_cost([second, first])(QUESTION) == UnitPrice(
        value=Fraction("7.2"),
        reasons=(
            Reason(
                rule="cost.locked",
                inputs={
                    "line": "k1",
                    "unit_price": "10",
                    "kept": "80",
                    "exchange_rate": "0.9",
                },
            ),
        ),
    )


@pytest.mark.parametrize(
    ("starts", "ends", "value"),
    [
        ("2026-10-14", "2027-10-14", 9),
        ("2025-10-14", "2026-10-15", 9),
        ("2025-10-14", None, 9),
        ("2025-10-14", "2026-10-14", None),
        ("2026-10-15", "2027-10-14", None),
        (None, None, None),
    ],
)
def test_only_a_line_of_the_term_tells_what_it_costs(starts, ends, value):
    line = a_line(
        unit="9.00", subscription_start=starts and day(starts), subscription_end=ends and day(ends)
    )
    answer = locked_cost([line])(QUESTION)
    if value is None:
        assert answer == Finding(
            check="cost.unknown",
            severity=Severity.WARN,
            customer_id="c1",
            record="subscription s1",
            sentence=f"No line of Microsoft tells the price of {OFFER} in this term.",
            hint="nothing is expected until Microsoft bills the term",
        )
    else:
        assert answer.value == value


def test_a_line_of_the_term_itself_comes_before_one_that_only_covers_it():
    covers = a_line(unit="9.00", key="a", subscription_start=day("2025-10-14"))
    own = following("2026-11-14", "2026-12-14", key="z")
    assert locked_cost([covers, own])(QUESTION).value == 10


@pytest.mark.parametrize(
    ("end", "effective", "value"),
    [
        ("2026-11-14", "8.00", 8),  # 31 days
        ("2026-11-10", "8.00", 8),  # 27 days, three less than the cycle: a shorter month
        ("2026-11-09", "8.00", 10),  # 26: prorated, so its price says nothing of a promotion
    ],
)
def test_a_promotion_is_read_from_whole_cycles(end, effective, value):
    line = a_line("new", end=end, effective=effective, promotion_id="P")
    assert locked_cost([line])(QUESTION).value == value
