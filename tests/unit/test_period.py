from datetime import date

import pytest

from domain.period import BillingCycle, Grid, Period, TermDuration, add_months
from tests.builders import day, period


@pytest.mark.parametrize(
    ("anchor", "months", "lands"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2028-01-31", 1, "2028-02-29"),
        ("2026-01-31", 2, "2026-03-31"),
        ("2026-01-30", 1, "2026-02-28"),
        ("2026-12-15", 1, "2027-01-15"),
        ("2026-03-31", -1, "2026-02-28"),
        ("2028-02-29", 12, "2029-02-28"),
        ("2028-02-29", 48, "2032-02-29"),
        ("2026-01-01", -1, "2025-12-01"),
    ],
)
def test_a_day_clamps_at_the_end_of_a_short_month(anchor, months, lands):
    assert add_months(day(anchor), months) == day(lands)


def test_an_anchor_on_the_31st_springs_back():
    months = Grid.from_day(day("2026-01-31"), 1)
    starts = [months.nth(n).start for n in range(5)]
    assert [f"{start:%m-%d}" for start in starts] == ["01-31", "02-28", "03-31", "04-30", "05-31"]


@pytest.mark.parametrize(
    ("cycle", "end"),
    [
        (BillingCycle.WEEKLY, "2026-02-22"),
        (BillingCycle.MONTHLY, "2026-03-15"),
        (BillingCycle.QUARTERLY, "2026-05-15"),
        (BillingCycle.HALF_YEARLY, "2026-08-15"),
        (BillingCycle.ANNUAL, "2027-02-15"),
        (BillingCycle.TRIENNIAL, "2029-02-15"),
    ],
)
def test_each_cycle_has_its_length(cycle, end):
    # A week is no number of months: 0.
    assert Grid.from_day(day("2026-02-15"), cycle.months or 0).nth(0).end == day(end)


def test_what_is_bought_once_has_no_cycles():
    assert BillingCycle.ONE_TIME.months is None


def test_terms_have_their_lengths():
    assert [term.months for term in TermDuration] == [1, 12, 36, 60]


def test_a_period_covers_its_start_and_not_its_end():
    february = period("2026-02-01", "2026-03-01")
    assert february.days == 28
    assert february.start in february
    assert february.end not in february
    assert february.last_day == date(2026, 2, 28)
    assert str(february) == "2026-02-01 to 2026-02-28"


def test_a_single_day_reads_as_that_day():
    # One-time charges carry a period without days: "to the day before" would read as a mistake.
    assert str(period("2026-02-01", "2026-02-01")) == "2026-02-01"
    assert str(period("2026-02-01", "2026-02-02")) == "2026-02-01 to 2026-02-01"


def test_leap_years_have_a_day_more():
    assert period("2028-02-01", "2028-03-01").days == 29
    assert period("2027-03-01", "2028-03-01").days == 366
    assert period("2026-03-01", "2027-03-01").days == 365


def test_periods_overlap_in_what_both_cover():
    january, mid = period("2026-01-01", "2026-02-01"), period("2026-01-15", "2026-02-15")
    assert january.intersect(mid) == period("2026-01-15", "2026-02-01")
    assert january.intersect(period("2026-02-01", "2026-03-01")) is None


def test_a_period_is_cut_at_a_day_that_begins_the_second_part():
    assert period("2026-01-01", "2026-02-01").split_at(day("2026-01-11")) == (
        period("2026-01-01", "2026-01-11"),
        period("2026-01-11", "2026-02-01"),
    )
    with pytest.raises(ValueError, match="cannot end"):
        period("2026-01-01", "2026-02-01").split_at(day("2026-03-01"))


def test_a_period_cannot_end_before_it_starts():
    with pytest.raises(ValueError, match="cannot end"):
        period("2026-02-01", "2026-01-31")


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "202610", "2026-10-01", "", "2026-W1"])
def test_a_month_is_written_one_way(text):
    with pytest.raises(ValueError, match="written as YYYY-MM"):
        Period.month(text)


def test_a_month_is_the_calendar_month():
    assert Period.month("2026-02") == period("2026-02-01", "2026-03-01")
    assert Period.month("2026-12") == period("2026-12-01", "2027-01-01")
