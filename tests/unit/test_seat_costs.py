"""What a seat costs the partner: which line tells it, for which cycle, and what a trial costs."""

from decimal import Decimal

import pytest

from domain.contract import Alignment, MarkupMethod
from domain.period import BillingCycle, TermDuration
from rules.pricing import PriceBook
from rules.proration import PriceQuestion
from rules.rating import _LicencePrices, full_cycle_cost
from tests.builders import (
    OFFER,
    a_contract,
    a_line,
    a_price,
    a_rule,
    a_subscription,
    amounts,
    day,
    period,
    rated_customer,
)

CYCLE = period("2026-10-14", "2026-11-14")


def question(**fields):
    return PriceQuestion(
        **{
            "subscription_id": "s1",
            "customer_id": "c1",
            "sku": OFFER,
            "term": TermDuration.YEAR,
            "billing_cycle": BillingCycle.MONTHLY,
            "term_start": day("2026-10-14"),
            "full": CYCLE,
            "on": day("2026-10-14"),
            **fields,
        }
    )


def prices(*lines, subscription=None, **terms):
    return _LicencePrices(
        subscription or a_subscription(), lines, PriceBook([], []), a_contract(**terms)
    )


def cost(*lines, **fields):
    return prices(*lines).unit_cost(question(**fields))[1]


# --- which line tells it -----------------------------------------------------------------------------


def test_a_line_of_another_product_or_of_no_seats_tells_nothing():
    own = a_line(key="a", unit="10.00")
    other = a_line(key="z", unit="99.00", sku_id="0002")
    none = a_line(key="z", unit="99.00", billable_quantity=Decimal(0), quantity=Decimal(0))
    assert cost(own, other) == 10
    assert cost(own, none) == 10
    assert cost(other) is None


def test_of_two_lines_of_one_day_the_one_of_the_whole_cycle_tells_it():
    whole = a_line(key="a", unit="10.00")
    part = a_line(key="z", end="2026-10-24", unit="20.00", effective="6.45")
    assert cost(whole, part) == 10


def test_a_line_of_the_next_cycle_tells_what_the_term_costs_and_not_what_this_cycle_did():
    promoted = a_line(key="a", unit="12.00", effective="6.00")
    following = a_line("cycleCharge", "2026-11-14", "2026-12-14", key="z", unit="12.00")
    assert cost(promoted, following) == 6
    assert cost(following) == 12


@pytest.mark.parametrize(
    ("starts", "ends", "known"),
    [
        ("2026-10-14", "2027-10-14", True),
        ("2026-10-14", None, True),
        ("2026-10-15", "2027-10-14", False),
        ("2025-10-14", "2026-10-14", False),  # of the term before
        ("2025-10-14", "2026-10-15", True),
        (None, None, False),
        (None, "2027-10-14", False),
    ],
)
def test_another_cycle_tells_the_cost_within_its_own_term_alone(starts, ends, known):
    line = a_line(
        "cycleCharge",
        "2026-12-14",
        "2027-01-14",
        unit="12.00",
        subscription_start=starts and day(starts),
        subscription_end=ends and day(ends),
    )
    assert cost(line) == (Decimal("12.00") if known else None)


def test_a_cost_that_comes_later_is_asked_for_again():
    line = a_line("cycleCharge", "2026-11-14", "2026-12-14", subscription_start=None)
    charges = rated_customer(
        [line],
        subscriptions=[a_subscription()],
        prices=[a_price("12.00")],
        window=period("2026-10-01", "2026-12-01"),
    ).charges
    assert [charge.unit_cost for charge in charges] == [None, 10]


# --- which cycle it is for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("created", "term_start", "on", "cycle"),
    [
        # Bought on the 31st: the cycle of the clamped day springs back.
        ("2026-01-31", "2026-02-28", "2026-03-30", ("2026-02-28", "2026-03-31")),
        ("2026-01-31", "2026-04-30", "2026-06-15", ("2026-05-31", "2026-06-30")),
        # Renewed on a day of its own.
        ("2026-01-31", "2026-02-20", "2026-03-25", ("2026-03-20", "2026-04-20")),
    ],
)
def test_microsofts_cycle_is_counted_from_the_purchase_whatever_our_lines_follow(
    created, term_start, on, cycle
):
    asked = question(term_start=day(term_start), on=day(on))
    bought = a_subscription(start=day(created))
    own = prices(subscription=bought, alignment=Alignment.CONTRACT)
    assert own.charge_cycle(asked) == period(*cycle)
    aligned = prices(subscription=bought, alignment=Alignment.CHARGE_CYCLE)
    assert aligned.charge_cycle(asked) == CYCLE


def test_weeks_are_as_they_are_asked_for():
    asked = question(billing_cycle=BillingCycle.WEEKLY)
    assert prices(alignment=Alignment.CONTRACT).charge_cycle(asked) == CYCLE


# --- what a prorated line tells ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "unit", "effective", "told"),
    [
        ("2026-11-11", "12.00", "1.01", "10.4367"),  # 1.01 × 31/3
        ("2026-11-13", "12.00", "0.3870", "12.00"),  # 12/31 cut after four digits
        ("2026-11-13", "12.00", "0.3800", "11.78"),  # four digits show a discount: 0.38 × 31
        ("2026-10-31", "31.00", "13.99", "30.9779"),  # 14 of 31 days; a whole cent is no cut
    ],
)
def test_a_prorated_line_tells_the_listed_price_or_what_its_digits_say(
    first, unit, effective, told
):
    line = a_line("addQuantity", first, "2026-11-14", unit=unit, effective=effective)
    assert full_cycle_cost(line, CYCLE) == Decimal(told)


# --- trials --------------------------------------------------------------------------------------------

FIVE = a_rule("5", method=MarkupMethod.FIXED)
TRIAL = "One-Month commitment for Trial"


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        ({}, {"charge_type": "new", "effective": "0", "term_and_billing_cycle": TRIAL}),
        ({"is_trial": True}, {"charge_type": "cycleCharge"}),
    ],
)
def test_a_trial_with_a_listed_price_is_free_by_any_rule(shown, line):
    (charge,) = rated_customer(
        [a_line(**line)], subscriptions=[a_subscription(**shown)], rules=[FIVE]
    ).charges
    assert (amounts([charge]), charge.unit_price) == (["0.00"], 0)
    assert charge.unit_cost == full_cycle_cost(a_line(**line), CYCLE)
    (told,) = [reason for reason in charge.reasons if reason.rule == "price.trial"]
    assert told.inputs == {"term_start": "2026-10-14"}


@pytest.mark.parametrize(
    "line",
    [
        {"term_and_billing_cycle": TRIAL},  # paid, whatever it is called
        {"effective": "0"},  # a month for nothing is no trial
    ],
)
def test_what_is_paid_or_not_called_a_trial_has_its_price(line):
    charges = rated_customer(
        [a_line("new", **line)], subscriptions=[a_subscription()], rules=[FIVE]
    ).charges
    assert amounts(charges) == ["50.00"]


def test_the_term_after_a_trial_is_paid():
    renewed = a_subscription(is_trial=True, start=day("2026-09-14"), created=None)
    assert not prices(subscription=renewed).is_trial(question(), None)
    assert prices(subscription=a_subscription(is_trial=True)).is_trial(question(), None)
