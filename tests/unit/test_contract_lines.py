"""Lines on the contract's own periods, by every way of proration; trials, transfers, credits.

The price is 30.00 for one seat and one full cycle unless a test says otherwise.
"""

from fractions import Fraction

import pytest

from domain.contract import Proration
from domain.period import BillingCycle, Frequency, Grid, TermDuration
from domain.subscription import EventType
from tests.builders import (
    amounts,
    an_event,
    cancel,
    checks,
    cycles,
    day,
    purchase,
    rated,
    renew,
    seats,
)

CALENDAR = Grid.of_contract(Frequency.MONTH, 1)


def told(charges):
    """Each charge as type, days and amount."""
    return [(c.type.value, str(c.service), str(c.amount.amount)) for c in charges]


def dearer_after_renewal(asked):
    return 30 if asked.term_start < day("2027-01-01") else 33


# --- the contract's months ---------------------------------------------------------------------------


def test_calendar_months_begin_and_end_with_a_part():
    charges, _ = rated(
        purchase("2026-02-15"), window=("2026-02-01", "2028-01-01"), grid=CALENDAR, auto_renew=False
    )
    assert told(charges)[:2] == [
        ("new", "2026-02-15 to 2026-02-28", "150.00"),  # 300 × 14/28
        ("cycle_charge", "2026-03-01 to 2026-03-31", "300.00"),
    ]
    assert told(charges)[-1] == ("cycle_charge", "2027-02-01 to 2027-02-14", "150.00")
    assert len(charges) == 13
    assert sum(c.amount.amount for c in charges) == 3600


def test_a_day_of_the_contract_that_does_not_exist_is_the_last_of_the_month():
    charges, _ = rated(
        purchase("2026-01-31"),
        window=("2026-01-01", "2026-04-30"),
        grid=Grid.of_contract(Frequency.MONTH, 30),
    )
    assert told(charges) == [
        ("new", "2026-01-31 to 2026-02-27", "289.66"),  # 300 × 28/29, from 30 January
        ("cycle_charge", "2026-02-28 to 2026-03-29", "300.00"),
        ("cycle_charge", "2026-03-30 to 2026-04-29", "300.00"),
    ]


def test_seats_added_within_a_calendar_month_pay_for_its_rest():
    charges, _ = rated(
        purchase("2026-02-15"),
        seats("2026-03-22", 12),
        window=("2026-03-01", "2026-04-01"),
        grid=CALENDAR,
    )
    # 2 × 30 × 10/31 = 19.354…
    assert amounts(charges) == ["300.00", "19.35"]
    assert charges[1].full.days == 31


# --- longer and shorter than the contract's periods --------------------------------------------------


def test_a_cycle_shorter_than_the_frequency_keeps_its_length_on_the_contracts_days():
    charges, _ = rated(
        purchase("2026-02-15"),
        window=("2026-02-01", "2026-05-01"),
        grid=Grid.of_contract(Frequency.QUARTER, 1),
    )
    assert [str(c.service) for c in charges] == [
        "2026-02-15 to 2026-02-28",
        "2026-03-01 to 2026-03-31",
        "2026-04-01 to 2026-04-30",
    ]


def test_a_year_in_quarters_is_split_by_the_days_of_its_stubs():
    """Quarters from February: 47 of 89 days, three whole ones, 42 of 89 days; together four."""
    charges, _ = rated(
        purchase("2026-03-15", 1, billing_cycle=BillingCycle.ANNUAL),
        window=("2026-03-01", "2027-03-15"),
        price="400",
        grid=Grid.of_contract(Frequency.QUARTER, 1, 2),
    )
    assert told(charges) == [
        ("new", "2026-03-15 to 2026-04-30", "52.81"),  # 100 × 47/89 = 52.809
        ("cycle_charge", "2026-05-01 to 2026-07-31", "100.00"),
        ("cycle_charge", "2026-08-01 to 2026-10-31", "100.00"),
        ("cycle_charge", "2026-11-01 to 2027-01-31", "100.00"),
        ("cycle_charge", "2027-02-01 to 2027-03-14", "47.19"),  # 100 × 42/89 = 47.191
    ]


def test_a_month_in_weeks_is_split_by_weeks_and_the_days_that_are_left():
    """31 days are four weeks from Monday and 3/7 of a fifth: one a day at 31.00."""
    charges, _ = rated(
        purchase("2026-03-02", 1),
        window=("2026-03-02", "2026-04-02"),
        price="31",
        grid=Grid.of_contract(Frequency.WEEK, 1),
    )
    assert amounts(charges) == ["7.00", "7.00", "7.00", "7.00", "3.00"]
    assert charges[0].unit_price == 7


def test_each_week_of_a_lasting_price_is_an_instalment_of_its_own():
    charges, _ = rated(
        purchase("2026-03-02", 1),
        window=("2026-03-02", "2026-04-02"),
        price="10",
        until=day("2030-01-01"),
        grid=Grid.of_contract(Frequency.WEEK, 1),
    )
    # A week is 70/31 = 2.2580…, the rest 30/31 = 0.9677…: four cents to the largest remainders.
    assert amounts(charges) == ["2.26", "2.26", "2.26", "2.26", "0.96"]
    assert ["instalment 2 of 5" in c.why for c in charges] == [False, True, False, False, False]


def test_three_years_paid_ahead_are_a_line_a_year_of_the_contract():
    charges, _ = rated(
        purchase(
            "2026-07-01", 1, billing_cycle=BillingCycle.TRIENNIAL, term=TermDuration.THREE_YEARS
        ),
        window=("2026-01-01", "2029-07-01"),
        price="3000",
        grid=Grid.of_contract(Frequency.YEAR, 1, 7),
    )
    assert [(str(c.service.start), str(c.amount.amount)) for c in charges] == [
        ("2026-07-01", "1000.00"),
        ("2027-07-01", "1000.00"),
        ("2028-07-01", "1000.00"),
    ]


def test_a_year_in_a_contract_of_three_years_follows_the_contracts_years():
    charges, _ = rated(
        purchase("2026-04-01", 1, billing_cycle=BillingCycle.ANNUAL),
        window=("2026-01-01", "2028-01-01"),
        price="365",
        grid=Grid.of_contract(Frequency.THREE_YEARS, 1, 1, 2025),
    )
    assert told(charges) == [
        ("new", "2026-04-01 to 2026-12-31", "275.00"),
        ("cycle_charge", "2027-01-01 to 2027-12-31", "365.00"),  # renewed within, unchanged
    ]


# --- a renewal within a line of the contract -----------------------------------------------------------


def test_a_renewal_that_changes_nothing_does_not_cut_the_customers_month():
    charges, _ = rated(purchase("2026-02-15"), window=("2027-02-01", "2027-04-01"), grid=CALENDAR)
    assert told(charges) == [
        ("cycle_charge", "2027-02-01 to 2027-02-28", "300.00"),
        ("cycle_charge", "2027-03-01 to 2027-03-31", "300.00"),
    ]


def test_a_renewal_at_another_price_cuts_the_month_in_two():
    charges, _ = rated(
        purchase("2026-02-15"),
        window=("2027-02-01", "2027-04-01"),
        price=dearer_after_renewal,
        grid=CALENDAR,
    )
    assert told(charges) == [
        ("cycle_charge", "2027-02-01 to 2027-02-14", "150.00"),
        ("renew", "2027-02-15 to 2027-02-28", "165.00"),
        ("cycle_charge", "2027-03-01 to 2027-03-31", "330.00"),
    ]


def test_a_renewal_that_was_seen_cuts_the_month_at_its_day():
    charges, _ = rated(
        purchase("2026-02-15"),
        renew("2027-02-15", quantity=8),
        window=("2027-02-01", "2027-03-01"),
        grid=CALENDAR,
    )
    assert told(charges) == [
        ("cycle_charge", "2027-02-01 to 2027-02-14", "150.00"),
        ("renew", "2027-02-15 to 2027-02-28", "120.00"),  # 8 × 30 × 14/28
    ]


def test_a_renewal_that_was_seen_a_day_late_is_a_short_term_before_it():
    charges, findings = rated(
        purchase("2026-11-09", 1, term=TermDuration.MONTH),
        renew("2026-12-10", quantity=2),
        window=("2026-11-01", "2027-01-01"),
        price="31",
        grid=CALENDAR,
    )
    assert told(charges) == [
        ("new", "2026-11-09 to 2026-11-30", "22.73"),  # 31 × 22/30
        ("cycle_charge", "2026-12-01 to 2026-12-08", "8.00"),
        ("renew", "2026-12-09 to 2026-12-09", "1.00"),
        ("renew", "2026-12-10 to 2026-12-31", "44.00"),  # renews in January, unchanged
    ]
    assert findings == []


def test_windows_open_anew_with_a_renewal_within_a_line():
    def reduced(on):
        return rated(
            purchase("2026-02-15"),
            seats(on, 6),
            window=("2027-02-01", "2027-03-01"),
            grid=CALENDAR,
            enforce_windows=True,
        )

    charges, findings = reduced("2027-02-18")
    assert amounts(charges) == ["300.00", "-47.14"]  # 4 × 30 × 11/28
    assert findings == []
    for closed in ("2027-02-10", "2027-02-22"):
        charges, findings = reduced(closed)
        assert amounts(charges) == ["300.00"]
        assert checks(findings) == ["window.closed"]


def test_windows_open_anew_with_an_automatic_renewal():
    history = purchase("2026-02-15", term=TermDuration.MONTH)
    window = ("2026-03-15", "2026-04-15")
    charges, findings = rated(history, seats("2026-03-21", 4), window=window, enforce_windows=True)
    assert cycles(charges)[1] == ("remove_quantity", -6, Fraction(25, 31))
    assert findings == []
    _, findings = rated(history, seats("2026-03-22", 4), window=window, enforce_windows=True)
    assert checks(findings) == ["window.closed"]
    assert "2026-03-21" in findings[0].sentence


# --- fixed 30 days and months ----------------------------------------------------------------------------


def test_a_month_has_30_days_where_that_is_agreed():
    charges, _ = rated(
        purchase("2026-02-15"),
        window=("2026-02-01", "2026-04-01"),
        grid=CALENDAR,
        proration=Proration.FIXED_30,
    )
    assert amounts(charges) == ["140.00", "300.00"]  # 300 × 14/30, and a whole March


@pytest.mark.parametrize(
    ("on", "amount"),
    [("2026-01-02", "30.00"), ("2026-01-03", "29.00"), ("2026-01-31", "1.00")],
)
def test_thirty_of_31_days_are_a_whole_month_and_no_more(on, amount):
    charges, _ = rated(
        purchase("2026-01-01"),
        seats(on, 11),
        window=(on, "2026-02-01"),
        proration=Proration.FIXED_30,
    )
    assert amounts(charges) == [amount]


def test_a_year_has_360_days_where_a_month_has_30():
    charges, _ = rated(
        purchase("2026-01-01", 1, billing_cycle=BillingCycle.ANNUAL),
        seats("2026-12-02", 2),
        window=("2026-12-01", "2027-01-01"),
        price="360",
        proration=Proration.FIXED_30,
    )
    assert amounts(charges) == ["30.00"]
    assert "× 30/360 days" in charges[0].why


def test_a_begun_month_is_charged_whole_and_not_given_back():
    year = purchase("2026-01-01", 2, billing_cycle=BillingCycle.ANNUAL)

    def on(*events):
        charges, _ = rated(
            year,
            *events,
            window=("2026-05-01", "2026-06-01"),
            price="120",
            proration=Proration.MONTHS,
        )
        return amounts(charges)

    assert on(seats("2026-05-15", 3)) == ["80.00"]  # May to December: 8 of 12
    assert on(seats("2026-05-15", 1)) == ["-70.00"]  # June to December: 7 of 12
    assert on(seats("2026-05-01", 1)) == ["-80.00"]  # May has only just begun
    # What came on the day itself is given back whole.
    added = seats("2026-05-15", 3)
    assert on(added, seats("2026-05-15", 2, sequence=1)) == ["80.00", "-80.00"]
    assert on(added, seats("2026-05-15", 1, sequence=1)) == ["80.00", "-80.00", "-70.00"]
    assert on(added, cancel("2026-05-15")) == ["80.00", "-140.00", "-80.00"]


def test_months_of_a_month_are_the_whole_month():
    charges, _ = rated(
        purchase("2026-02-15"),
        seats("2026-03-01", 11),
        window=("2026-03-01", "2026-03-15"),
        proration=Proration.MONTHS,
    )
    assert amounts(charges) == ["30.00"]
    assert "× 1/1 months" in charges[0].why


def test_weeks_are_prorated_by_their_days_whatever_is_agreed():
    for proration in Proration:
        charges, _ = rated(
            purchase("2026-03-02", 1, billing_cycle=BillingCycle.WEEKLY, term=None),
            seats("2026-03-06", 3),
            window=("2026-03-02", "2026-03-16"),
            price="7",
            proration=proration,
        )
        assert amounts(charges) == ["7.00", "6.00", "21.00"]


# --- trials, other partners, seats that move ------------------------------------------------------------------


def test_a_trial_is_free_and_becomes_paid_with_its_renewal():
    charges, findings = rated(
        purchase("2026-09-14", 25, is_trial=True, term=TermDuration.MONTH),
        renew("2026-10-14", quantity=18, term=TermDuration.YEAR),
        window=("2026-09-01", "2026-12-01"),
    )
    assert told(charges) == [
        ("new", "2026-09-14 to 2026-10-13", "0.00"),
        ("renew", "2026-10-14 to 2026-11-13", "540.00"),
        ("cycle_charge", "2026-11-14 to 2026-12-13", "540.00"),
    ]
    assert [reason.rule for reason in charges[0].reasons][1] == "price.trial"
    assert findings == []


def test_a_trial_renews_by_itself_as_a_paid_term():
    charges, _ = rated(
        purchase("2026-09-14", 2, is_trial=True, term=TermDuration.MONTH),
        window=("2026-09-01", "2026-11-01"),
    )
    assert [(c.type.value, str(c.amount.amount)) for c in charges] == [
        ("new", "0.00"),
        ("renew", "60.00"),
    ]


def test_a_cancelled_trial_gives_nothing_back_and_says_nothing():
    charges, findings = rated(
        purchase("2026-09-14", 25, is_trial=True, term=TermDuration.MONTH),
        cancel("2026-09-20"),
        window=("2026-09-01", "2026-12-01"),
        enforce_windows=True,
    )
    assert amounts(charges) == ["0.00"]
    assert findings == []


def test_what_leaves_for_another_partner_is_given_back_by_the_day():
    charges, findings = rated(
        purchase("2026-02-15"),
        an_event("2026-03-01", EventType.TRANSFER),
        window=("2026-02-01", "2026-06-01"),
        enforce_windows=True,
    )
    assert cycles(charges)[1:] == [("transfer", -10, Fraction(14, 28))]
    assert amounts(charges) == ["300.00", "-150.00"]
    assert findings == []


def test_what_came_from_another_partner_is_charged_from_that_day():
    charges, _ = rated(
        purchase("2025-12-15"),
        seats("2026-02-20", 12),
        window=("2026-01-01", "2026-04-01"),
        served_from=day("2026-03-01"),
    )
    assert told(charges) == [
        ("new", "2026-03-01 to 2026-03-14", "150.00"),  # the cycle's ten, and two that came in it
        ("add_quantity", "2026-03-01 to 2026-03-14", "30.00"),
        ("cycle_charge", "2026-03-15 to 2026-04-14", "360.00"),
    ]


@pytest.mark.parametrize(
    ("total", "line"),
    [(6, ("convert", -4, Fraction(14, 28))), (12, ("convert", 2, Fraction(14, 28)))],
)
def test_seats_move_between_subscriptions_by_a_conversion_without_a_product(total, line):
    charges, _ = rated(
        purchase("2026-02-15"),
        an_event("2026-03-01", EventType.CONVERT, quantity=total),
        window=("2026-03-01", "2026-04-01"),
    )
    assert cycles(charges) == [line, ("cycle_charge", total, Fraction(1))]


# --- credits ---------------------------------------------------------------------------------------------------


def test_no_credit_takes_more_than_its_cycle_was_charged():
    """Ten seats are 3.35; given back one by one, half a cent each goes up: the last gets the rest."""
    one_by_one = [seats("2026-02-15", left, sequence=9 - left) for left in range(9, -1, -1)]
    charges, _ = rated(
        purchase("2026-02-15"), *one_by_one, window=("2026-02-15", "2026-03-15"), price="0.335"
    )
    assert amounts(charges) == ["3.35", *["-0.34"] * 9, "-0.29"]
    assert charges[-1].why.endswith("= -0.34 USD, of which 0.29 USD had been charged")
    assert charges[-1].reasons[-1].rule == "credit.cap"
    assert dict(charges[-1].reasons[-1].inputs) == {"left": "0.29"}


def test_a_credit_answers_what_its_cycle_was_charged_before_the_window():
    charges, _ = rated(
        purchase("2026-02-15"), cancel("2026-03-01"), window=("2026-03-01", "2026-04-01")
    )
    assert amounts(charges) == ["-150.00"]
