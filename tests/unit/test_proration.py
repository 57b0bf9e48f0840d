"""Proration by case family: expected first as fractions of a cycle, then as money.

The price is 30.00 for one seat and one full cycle unless a test says otherwise.
"""

from decimal import Decimal
from fractions import Fraction

import pytest

from domain.charge import ChargeType
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from domain.subscription import EventType
from tests.builders import (
    OFFER,
    amounts,
    an_event,
    cancel,
    checks,
    convert,
    cycles,
    day,
    period,
    purchase,
    rated,
    renew,
    seats,
)

WHOLE = Fraction(1)


def part(days: int, of: int) -> Fraction:
    return Fraction(days, of)


# --- whole cycles ----------------------------------------------------------------------------------


def test_a_cycle_follows_the_day_of_purchase_and_not_the_month():
    charges, findings = rated(purchase("2026-02-15"), window=("2026-02-01", "2026-04-01"))
    assert cycles(charges) == [("new", 10, WHOLE), ("cycle_charge", 10, WHOLE)]
    assert [str(c.service) for c in charges] == [
        "2026-02-15 to 2026-03-14",
        "2026-03-15 to 2026-04-14",
    ]
    assert amounts(charges) == ["300.00", "300.00"]
    assert findings == []


def test_only_what_starts_in_the_window_is_charged():
    charges, _ = rated(purchase("2026-02-15"), window=("2026-03-15", "2026-04-15"))
    assert [c.service for c in charges] == [period("2026-03-15", "2026-04-15")]


def test_nothing_before_the_purchase_and_nothing_from_an_empty_history():
    assert rated(purchase("2026-02-15"), window=("2026-01-01", "2026-02-15")) == ([], [])
    assert rated(window=("2026-01-01", "2026-02-15")) == ([], [])


@pytest.mark.parametrize(
    ("cycle", "term", "first", "days"),
    [
        (BillingCycle.ANNUAL, TermDuration.YEAR, "2026-03-01", 365),
        (BillingCycle.ANNUAL, TermDuration.YEAR, "2027-03-01", 366),
        (BillingCycle.TRIENNIAL, TermDuration.THREE_YEARS, "2026-03-01", 1096),
        (BillingCycle.TRIENNIAL, TermDuration.THREE_YEARS, "2025-01-15", 1095),
        (BillingCycle.MONTHLY, TermDuration.MONTH, "2028-02-01", 29),
        (BillingCycle.QUARTERLY, TermDuration.YEAR, "2026-01-01", 90),
        (BillingCycle.HALF_YEARLY, TermDuration.YEAR, "2026-01-01", 181),
        (BillingCycle.WEEKLY, None, "2026-02-25", 7),
    ],
)
def test_a_full_cycle_costs_quantity_times_price_whatever_its_days(cycle, term, first, days):
    charges, _ = rated(
        purchase(first, 7, billing_cycle=cycle, term=term),
        window=period(first, str(day(first).replace(day=day(first).day + 1))),
        price="123.45",
    )
    assert cycles(charges) == [("new", 7, WHOLE)]
    assert charges[0].full.days == days
    assert amounts(charges) == ["864.15"]


def test_an_annual_price_in_a_year_of_366_days_is_divided_by_366():
    for first, on, days in (("2026-03-01", "2026-03-31", 365), ("2027-03-01", "2027-03-31", 366)):
        charges, _ = rated(
            purchase(first, 10, billing_cycle=BillingCycle.ANNUAL),
            seats(on, 11),
            window=(on, str(day(on).replace(year=day(on).year + 1, month=2, day=1))),
            price=str(days),
        )
        assert cycles(charges) == [("add_quantity", 1, part(days - 30, days))]
        assert amounts(charges) == [f"{days - 30}.00"]  # one a day


def test_a_triennial_price_is_divided_by_the_days_of_three_years():
    charges, _ = rated(
        purchase(
            "2026-03-01", 1, billing_cycle=BillingCycle.TRIENNIAL, term=TermDuration.THREE_YEARS
        ),
        seats("2027-03-01", 2),
        window=("2027-01-01", "2028-01-01"),
        price="1096",
    )
    assert cycles(charges) == [("add_quantity", 1, part(731, 1096))]
    assert amounts(charges) == ["731.00"]


# --- leading and trailing parts --------------------------------------------------------------------


def test_trailing_the_last_cycle_of_a_co_terminated_term_is_clipped():
    charges, _ = rated(
        purchase("2026-09-10", term_end=day("2026-11-01")),
        window=("2026-10-01", "2026-11-01"),
        auto_renew=False,
    )
    assert cycles(charges) == [("cycle_charge", 10, part(22, 31))]
    assert amounts(charges) == ["212.90"]  # 300 × 22/31 = 212.903


def test_leading_a_first_stub_shorter_than_a_cycle_keeps_the_whole_cycle_as_divisor():
    charges, _ = rated(
        purchase("2026-02-15", term_end=day("2026-03-01")),
        window=("2026-02-01", "2026-03-01"),
    )
    assert cycles(charges) == [("new", 10, part(14, 28))]
    assert amounts(charges) == ["150.00"]


def test_after_a_stub_the_next_term_is_anchored_on_its_own_start():
    charges, _ = rated(
        purchase("2026-02-15", term_end=day("2026-03-01")),
        window=("2026-03-01", "2026-05-01"),
    )
    assert [(c.type.value, str(c.service)) for c in charges] == [
        ("renew", "2026-03-01 to 2026-03-31"),
        ("cycle_charge", "2026-04-01 to 2026-04-30"),
    ]


def test_seats_added_in_a_stub_are_charged_to_its_end_over_the_whole_cycle():
    charges, _ = rated(
        purchase("2026-02-15", term_end=day("2026-03-01")),
        seats("2026-02-22", 12),
        window=("2026-02-01", "2026-03-01"),
    )
    assert cycles(charges) == [("new", 10, part(14, 28)), ("add_quantity", 2, part(7, 28))]
    assert amounts(charges) == ["150.00", "15.00"]


def test_a_co_terminated_annual_price_is_a_part_of_the_year():
    charges, _ = rated(
        purchase("2026-03-01", 1, billing_cycle=BillingCycle.ANNUAL, term_end=day("2026-08-01")),
        window=("2026-03-01", "2026-08-01"),
        price="365",
    )
    assert cycles(charges) == [("new", 1, part(153, 365))]
    assert amounts(charges) == ["153.00"]


# --- increases -------------------------------------------------------------------------------------


def test_seats_added_in_the_middle_are_charged_for_the_days_that_remain():
    charges, _ = rated(
        purchase("2026-02-15"), seats("2026-03-01", 15), window=("2026-02-01", "2026-03-15")
    )
    assert cycles(charges) == [("new", 10, WHOLE), ("add_quantity", 5, part(14, 28))]
    assert amounts(charges) == ["300.00", "75.00"]


def test_the_next_cycle_is_charged_for_the_new_total():
    charges, _ = rated(
        purchase("2026-02-15"), seats("2026-03-01", 15), window=("2026-03-15", "2026-04-15")
    )
    assert cycles(charges) == [("cycle_charge", 15, WHOLE)]


def test_seats_added_on_the_first_day_of_a_cycle_are_charged_whole():
    charges, _ = rated(
        purchase("2026-02-15"), seats("2026-03-15", 12), window=("2026-03-15", "2026-04-15")
    )
    assert cycles(charges) == [("cycle_charge", 10, WHOLE), ("add_quantity", 2, WHOLE)]


def test_seats_added_on_the_last_day_of_a_cycle_are_charged_for_a_day():
    charges, _ = rated(
        purchase("2026-02-15"), seats("2026-03-14", 12), window=("2026-03-01", "2026-03-15")
    )
    assert cycles(charges) == [("add_quantity", 2, part(1, 28))]
    assert amounts(charges) == ["2.14"]


# --- decreases and their window ----------------------------------------------------------------------


@pytest.mark.parametrize(("on", "last"), [("2026-02-15", 28), ("2026-02-21", 22)])
def test_seats_given_back_on_days_one_to_seven_are_credited(on, last):
    charges, findings = rated(
        purchase("2026-02-15"),
        seats(on, 6),
        window=("2026-02-15", "2026-03-15"),
        enforce_windows=True,
    )
    assert cycles(charges) == [("new", 10, WHOLE), ("remove_quantity", -4, part(last, 28))]
    assert findings == []


def test_on_the_eighth_day_a_reduction_is_refused_and_the_rest_still_charged():
    charges, findings = rated(
        purchase("2026-02-15"),
        seats("2026-02-22", 6),
        window=("2026-02-15", "2026-04-15"),
        enforce_windows=True,
    )
    assert cycles(charges) == [("new", 10, WHOLE), ("cycle_charge", 10, WHOLE)]
    assert checks(findings) == ["window.closed"]
    assert findings[0].severity is Severity.WARN
    assert "the last day for it was 2026-02-21" in findings[0].sentence


def test_what_microsoft_has_accepted_is_not_refused():
    charges, findings = rated(
        purchase("2026-02-15"), seats("2026-03-01", 6), window=("2026-02-15", "2026-03-15")
    )
    assert cycles(charges)[1] == ("remove_quantity", -4, part(14, 28))
    assert findings == []


def test_each_added_lot_has_a_window_of_its_own():
    history = (purchase("2026-02-15"), seats("2026-03-01", 15))
    window = ("2026-03-01", "2026-03-15")
    charges, findings = rated(
        *history, seats("2026-03-07", 10), window=window, enforce_windows=True
    )
    assert cycles(charges) == [
        ("add_quantity", 5, part(14, 28)),
        ("remove_quantity", -5, part(8, 28)),
    ]
    assert findings == []
    _, findings = rated(*history, seats("2026-03-07", 9), window=window, enforce_windows=True)
    assert checks(findings) == ["window.closed"]  # one seat is older than the lot
    _, findings = rated(*history, seats("2026-03-08", 10), window=window, enforce_windows=True)
    assert checks(findings) == ["window.closed"]  # day 8 of the lot


def test_a_renewal_opens_the_window_for_all_seats():
    _, findings = rated(
        purchase("2026-02-15", term=TermDuration.MONTH),
        seats("2026-03-01", 15),
        seats("2026-03-20", 3),
        window=("2026-02-15", "2026-04-01"),
        enforce_windows=True,
    )
    assert findings == []


def test_a_lot_whose_window_crosses_into_the_next_cycle_is_credited_there():
    charges, findings = rated(
        purchase("2026-02-15"),
        seats("2026-03-12", 15),
        seats("2026-03-16", 10),
        window=("2026-03-12", "2026-04-01"),
        enforce_windows=True,
    )
    assert cycles(charges) == [
        ("add_quantity", 5, part(3, 28)),
        ("cycle_charge", 15, WHOLE),
        ("remove_quantity", -5, part(30, 31)),
    ]
    assert findings == []


def test_giving_back_all_seats_leaves_a_subscription_without_charges():
    charges, _ = rated(
        purchase("2026-02-15", 3),
        seats("2026-02-15", 0),
        seats("2026-03-20", 2),
        window=("2026-02-15", "2026-04-01"),
    )
    assert cycles(charges) == [
        ("new", 3, WHOLE),
        ("remove_quantity", -3, WHOLE),
        ("add_quantity", 2, part(26, 31)),
    ]


# --- changes of one day ------------------------------------------------------------------------------


def test_more_and_less_on_one_day_come_to_nothing():
    charges, _ = rated(
        purchase("2026-02-15"),
        seats("2026-03-01", 15, sequence=0),
        seats("2026-03-01", 10, sequence=1),
        window=("2026-03-01", "2026-03-15"),
    )
    assert cycles(charges) == [
        ("add_quantity", 5, part(14, 28)),
        ("remove_quantity", -5, part(14, 28)),
    ]
    assert sum(c.amount.amount for c in charges) == 0


def test_bought_and_cancelled_on_one_day_is_free():
    charges, _ = rated(
        purchase("2026-02-15"), cancel("2026-02-15"), window=("2026-02-01", "2027-01-01")
    )
    assert cycles(charges) == [("new", 10, WHOLE), ("cancel_immediate", -10, WHOLE)]
    assert amounts(charges) == ["300.00", "-300.00"]


def test_events_of_one_day_act_in_their_stated_order():
    charges, _ = rated(
        cancel("2027-02-15"),
        seats("2027-02-15", 4),
        renew("2027-02-15", quantity=6),
        purchase("2026-02-15"),
        window=("2027-02-15", "2027-04-01"),
    )
    assert [(c.type.value, int(c.quantity)) for c in charges] == [
        ("renew", 6),
        ("remove_quantity", -2),
        ("cancel_immediate", -4),
    ]


# --- cancellation ------------------------------------------------------------------------------------


def test_a_cancellation_gives_back_the_days_that_remain_and_ends_it():
    charges, findings = rated(
        purchase("2026-02-15"), cancel("2026-02-18"), window=("2026-02-15", "2027-12-01")
    )
    assert cycles(charges) == [("new", 10, WHOLE), ("cancel_immediate", -10, part(25, 28))]
    assert amounts(charges) == ["300.00", "-267.86"]
    assert findings == []


def test_a_late_cancellation_is_refused_where_windows_are_enforced():
    charges, findings = rated(
        purchase("2026-02-15"),
        cancel("2026-02-22"),
        window=("2026-02-15", "2026-04-01"),
        enforce_windows=True,
    )
    assert cycles(charges) == [("new", 10, WHOLE), ("cycle_charge", 10, WHOLE)]
    assert checks(findings) == ["window.closed"]


def test_a_suspended_subscription_is_charged_on():
    charges, findings = rated(
        purchase("2026-02-15"),
        an_event("2026-02-20", EventType.SUSPEND),
        an_event("2026-03-20", EventType.RESUME),
        window=("2026-02-15", "2026-04-01"),
    )
    assert cycles(charges) == [("new", 10, WHOLE), ("cycle_charge", 10, WHOLE)]
    assert findings == []


def test_being_deleted_after_the_end_changes_nothing():
    charges, findings = rated(
        purchase("2026-02-15", term=TermDuration.MONTH),
        an_event("2026-03-15", EventType.SUSPEND),
        cancel("2026-04-20"),
        window=("2026-02-15", "2026-06-01"),
        auto_renew=False,
    )
    assert cycles(charges) == [("new", 10, WHOLE)]
    assert findings == []


@pytest.mark.parametrize("late", [seats("2026-04-20", 4), convert("2026-04-20", "other:1")])
def test_a_change_after_the_end_is_a_contradiction(late):
    _, findings = rated(
        purchase("2026-02-15", term=TermDuration.MONTH),
        late,
        window=("2026-02-15", "2026-06-01"),
        auto_renew=False,
    )
    assert checks(findings) == ["history.after_end"]
    assert findings[0].severity is Severity.HOLD


# --- renewal -----------------------------------------------------------------------------------------


def test_a_renewal_takes_its_own_quantity_and_price():
    charges, _ = rated(
        purchase("2026-02-15"),
        renew("2027-02-15", quantity=8),
        window=("2027-01-15", "2027-04-01"),
        price=lambda asked: 30 if asked.term_start < day("2027-01-01") else 33,
    )
    assert cycles(charges) == [
        ("cycle_charge", 10, WHOLE),
        ("renew", 8, WHOLE),
        ("cycle_charge", 8, WHOLE),
    ]
    assert amounts(charges) == ["300.00", "264.00", "264.00"]


def test_a_term_renews_by_itself_with_its_seats():
    charges, _ = rated(
        purchase("2026-02-15"), seats("2026-05-01", 12), window=("2027-02-01", "2027-03-01")
    )
    assert cycles(charges) == [("renew", 12, WHOLE)]


def test_without_renewal_the_last_cycle_is_the_last_charge():
    charges, findings = rated(
        purchase("2026-02-15"), window=("2027-01-01", "2028-01-01"), auto_renew=False
    )
    assert [str(c.service) for c in charges] == ["2027-01-15 to 2027-02-14"]
    assert findings == []


def test_a_renewal_that_was_seen_counts_though_renewal_is_off_now():
    charges, _ = rated(
        purchase("2025-02-15"),
        renew("2026-02-15"),
        window=("2026-02-01", "2028-01-01"),
        auto_renew=False,
    )
    assert charges[0].type is ChargeType.RENEW
    assert len(charges) == 12


def test_a_later_renewal_shows_that_the_term_before_it_renewed_too():
    """The price is asked for each term by its own start: the lock does not outlive the term."""
    charges, findings = rated(
        purchase("2026-02-15", term=TermDuration.MONTH),
        renew("2026-05-15", quantity=8),
        window=("2026-02-15", "2026-06-15"),
        price=lambda asked: asked.term_start.month,
        auto_renew=False,
    )
    assert cycles(charges) == [
        ("new", 10, WHOLE),
        ("renew", 10, WHOLE),
        ("renew", 10, WHOLE),
        ("renew", 8, WHOLE),
    ]
    assert amounts(charges) == ["20.00", "30.00", "40.00", "40.00"]
    assert findings == []


def test_monthly_terms_renew_every_month():
    charges, _ = rated(
        purchase("2026-01-31", term=TermDuration.MONTH), window=("2026-01-01", "2026-05-01")
    )
    assert [(c.type.value, str(c.service)) for c in charges] == [
        ("new", "2026-01-31 to 2026-02-27"),
        ("renew", "2026-02-28 to 2026-03-30"),
        ("renew", "2026-03-31 to 2026-04-29"),
        ("renew", "2026-04-30 to 2026-05-30"),
    ]


# --- month ends and leap days --------------------------------------------------------------------------


def test_an_anchor_on_the_31st_clamps_and_springs_back_through_the_year():
    charges, _ = rated(purchase("2026-10-31"), window=("2026-10-01", "2027-05-01"))
    assert [f"{c.service.start:%m-%d} {c.full.days}" for c in charges] == [
        "10-31 30",
        "11-30 31",
        "12-31 31",
        "01-31 28",
        "02-28 31",
        "03-31 30",
        "04-30 31",
    ]


def test_a_leap_day_is_a_day_of_its_cycle():
    charges, _ = rated(
        purchase("2028-01-31"), seats("2028-02-29", 11), window=("2028-02-01", "2028-03-31")
    )
    assert cycles(charges) == [("cycle_charge", 10, WHOLE), ("add_quantity", 1, WHOLE)]
    charges, _ = rated(
        purchase("2028-02-15"), seats("2028-02-29", 11), window=("2028-02-16", "2028-03-01")
    )
    assert cycles(charges) == [("add_quantity", 1, part(15, 29))]


def test_a_year_bought_on_a_leap_day_renews_on_the_28th_and_springs_back_in_the_next_leap_year():
    charges, _ = rated(
        purchase("2028-02-29", 1, billing_cycle=BillingCycle.ANNUAL),
        window=("2028-02-01", "2032-03-01"),
    )
    assert [str(c.service.start) for c in charges] == [
        "2028-02-29",
        "2029-02-28",
        "2030-02-28",
        "2031-02-28",
        "2032-02-29",
    ]


def test_the_purchase_day_is_kept_where_the_history_begins_on_a_clamped_day():
    charges, _ = rated(
        purchase("2026-02-28", anchor=day("2025-08-31")), window=("2026-02-28", "2026-05-01")
    )
    assert [f"{c.service.start:%m-%d}" for c in charges] == ["02-28", "03-31", "04-30"]


# --- conversion ----------------------------------------------------------------------------------------


def by_sku(asked):
    """The new product costs 60; asked for a day before it was bought, the price would be wrong."""
    if asked.sku == OFFER:
        return 30
    return 60 if asked.on >= day("2026-03-01") else 1


def test_a_conversion_in_the_running_term_is_a_credit_and_a_charge_for_the_same_days():
    charges, _ = rated(
        purchase("2026-02-15"),
        convert("2026-03-01", "other:1"),
        window=("2026-02-15", "2026-04-01"),
        price=by_sku,
    )
    assert cycles(charges) == [
        ("new", 10, WHOLE),
        ("convert", -10, part(14, 28)),
        ("convert", 10, part(14, 28)),
        ("cycle_charge", 10, WHOLE),
    ]
    assert amounts(charges) == ["300.00", "-150.00", "300.00", "600.00"]
    assert [c.sku for c in charges] == [OFFER, OFFER, "other:1", "other:1"]


def test_seats_given_back_after_a_conversion_come_at_the_price_of_the_new_product():
    charges, _ = rated(
        purchase("2026-02-15"),
        convert("2026-03-01", "other:1"),
        seats("2026-03-08", 5),
        window=("2026-03-08", "2026-03-15"),
        price=by_sku,
    )
    assert cycles(charges) == [("remove_quantity", -5, part(7, 28))]
    assert amounts(charges) == ["-75.00"]  # 5 × 60 × 7/28


def test_a_conversion_may_change_the_number_of_seats():
    charges, _ = rated(
        purchase("2026-02-15"),
        convert("2026-03-01", "other:1", quantity=4),
        window=("2026-03-01", "2026-04-01"),
        price=by_sku,
    )
    assert [int(c.quantity) for c in charges] == [-10, 4, 4]


def test_a_conversion_with_a_term_of_its_own_starts_a_new_cycle():
    charges, _ = rated(
        purchase("2026-02-15"),
        convert("2026-03-01", "other:1", quantity=10, term_end=day("2027-03-01")),
        window=("2026-02-15", "2026-05-01"),
        price=by_sku,
    )
    assert cycles(charges) == [
        ("new", 10, WHOLE),
        ("convert", -10, part(14, 28)),
        ("convert", 10, WHOLE),
        ("cycle_charge", 10, WHOLE),
    ]
    assert str(charges[2].service) == "2026-03-01 to 2026-03-31"
    assert len({c.key for c in charges}) == 4


def test_a_trial_becomes_paid_on_the_day_of_its_conversion():
    charges, _ = rated(
        purchase("2026-09-14", 25, sku="trial:1", term=TermDuration.MONTH),
        convert(
            "2026-10-14", OFFER, quantity=18, term=TermDuration.YEAR, term_end=day("2027-10-14")
        ),
        window=("2026-09-01", "2026-12-01"),
        price=lambda asked: 0 if asked.sku == "trial:1" else 30,
    )
    paid = [c for c in charges if c.amount]
    assert [(c.type.value, int(c.quantity), str(c.service)) for c in paid] == [
        ("convert", 18, "2026-10-14 to 2026-11-13"),
        ("cycle_charge", 18, "2026-11-14 to 2026-12-13"),
    ]


# --- lots and their prices -------------------------------------------------------------------------------


def test_credits_come_at_the_price_at_which_each_lot_was_charged():
    """A promotion ended on 1 March: the newest seats were dearer, and leave first."""
    charges, _ = rated(
        purchase("2026-02-15", 10),
        seats("2026-03-01", 14),
        seats("2026-03-08", 8),
        window=("2026-02-15", "2026-03-15"),
        price=lambda asked: 20 if asked.on < day("2026-03-01") else 40,
    )
    assert [(int(c.quantity), str(c.unit_price), str(c.amount.amount)) for c in charges[1:]] == [
        (4, "40.0000000000", "80.00"),
        (-4, "40.0000000000", "-40.00"),
        (-2, "20.0000000000", "-10.00"),
    ]


def test_lots_of_one_price_are_credited_in_one_line():
    charges, _ = rated(
        purchase("2026-02-15"),
        seats("2026-03-01", 14),
        cancel("2026-03-08"),
        window=("2026-03-08", "2026-03-15"),
    )
    assert cycles(charges) == [("cancel_immediate", -14, part(7, 28))]


# --- what cannot be rated ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "check"),
    [
        ((seats("2026-02-15", 3),), "history.no_start"),
        ((purchase("2026-02-15", billing_cycle=None),), "history.incomplete"),
        ((purchase("2026-02-15", quantity=None),), "history.incomplete"),
        ((purchase("2026-02-15", billing_cycle=BillingCycle.ONE_TIME),), "history.incomplete"),
        ((purchase("2026-02-15", term_end=day("2026-02-15")),), "history.incomplete"),
        ((purchase("2026-02-15", term_end=day("2026-01-15")),), "history.incomplete"),
        ((purchase("2026-02-15"), purchase("2026-02-20")), "history.second_purchase"),
        (
            (
                purchase("2026-01-15", term=TermDuration.MONTH),
                purchase("2026-02-15"),
                renew("2026-02-15"),
            ),
            "history.second_purchase",
        ),
    ],
)
def test_a_history_that_makes_no_sense_is_a_finding_that_holds(history, check):
    _, findings = rated(*history, window=("2026-02-01", "2026-03-01"))
    assert checks(findings) == [check]
    assert findings[0].severity is Severity.HOLD
    assert findings[0].customer_id == "c1"
    assert findings[0].hint


def test_a_price_that_is_missing_is_found_once_and_charges_nothing():
    finding = Finding(
        check="price.missing",
        severity=Severity.HOLD,
        customer_id="c1",
        record="subscription s1",
        sentence="No price.",
        hint="add one",
    )
    charges, findings = rated(
        purchase("2026-02-15"),
        cancel("2026-02-16"),
        window=("2026-02-01", "2026-03-01"),
        price=lambda asked: finding,
    )
    assert charges == []
    assert findings == [finding]


# --- what a charge says --------------------------------------------------------------------------------------


def test_a_charge_can_be_recomputed_from_its_sentence_and_its_reasons():
    charges, _ = rated(
        purchase("2026-02-15"), seats("2026-03-01", 15), window=("2026-02-01", "2026-03-15")
    )
    assert charges[0].why == (
        "10 bought × 30.00 USD a month (2026-02-15 to 2026-03-14) = 300.00 USD"
    )
    assert charges[1].why == (
        "5 added × 30.00 USD a month × 14/28 days "
        "(2026-03-01 to 2026-03-14 of the cycle 2026-02-15 to 2026-03-14) = 75.00 USD"
    )
    rules = {reason.rule: dict(reason.inputs) for reason in charges[1].reasons}
    assert rules["proration.days"] == {
        "quantity": "5",
        "unit_price": "30",
        "days": "14",
        "cycle_days": "28",
        "cycle": "2026-02-15 to 2026-03-14",
    }
    assert rules["rounding.half_up"] == {"exact": "75", "amount": "75.00"}


def test_a_line_is_rounded_once_and_half_up():
    charges, _ = rated(
        purchase("2026-02-15", 3),
        seats("2026-03-08", 4),
        window=("2026-02-15", "2026-03-15"),
        price="10.02",
    )
    # A quarter of 10.02 is 2.505: half a cent goes up. Rounding the day's price first gives 2.52.
    assert amounts(charges) == ["30.06", "2.51"]
    assert charges[1].exact == Fraction(Decimal("2.505"))


def test_a_currency_without_cents_is_rounded_to_whole_units():
    charges, _ = rated(
        purchase("2026-02-15", 1),
        seats("2026-03-01", 2),
        window=("2026-02-15", "2026-03-15"),
        price="1001",
        currency="JPY",
    )
    assert amounts(charges) == ["1001", "501"]


def test_keys_tell_what_a_charge_is_for_and_do_not_depend_on_the_window():
    history = (purchase("2026-02-15"), seats("2026-03-01", 15), seats("2026-03-20", 9))
    whole, _ = rated(*history, window=("2026-02-01", "2026-05-01"))
    later, _ = rated(*history, window=("2026-03-15", "2026-05-01"))
    assert [c.key for c in whole] == [
        "charge/s1/cycle/2026-02-15/0",
        "charge/s1/add_quantity/2026-03-01/0",
        "charge/s1/cycle/2026-03-15/0",
        "charge/s1/remove_quantity/2026-03-20/0",
        "charge/s1/cycle/2026-04-15/0",
    ]
    assert {c.key for c in later} < {c.key for c in whole}
