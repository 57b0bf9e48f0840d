from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.period import BillingCycle, Frequency, Grid, Period, TermDuration, add_months
from tests.builders import day, period
from tests.strategies import DAYS


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


def starts(grid, count):
    return [str(grid.nth(n).start) for n in range(count)]


def test_an_anchor_on_the_31st_springs_back():
    monthly = Grid.from_day(day("2026-01-31"), 1)
    assert starts(monthly, 5) == [
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
        "2026-04-30",
        "2026-05-31",
    ]
    assert monthly.nth(1) == period("2026-02-28", "2026-03-31")


@pytest.mark.parametrize(
    ("months", "end"),
    [
        (0, "2026-02-22"),
        (1, "2026-03-15"),
        (3, "2026-05-15"),
        (6, "2026-08-15"),
        (12, "2027-02-15"),
        (36, "2029-02-15"),
    ],
)
def test_each_grid_has_its_length_and_its_periods_touch(months, end):
    grid = Grid.from_day(day("2026-02-15"), months)
    assert grid.nth(0) == period("2026-02-15", end)
    assert grid.nth(1).start == day(end)
    assert grid.nth(-1).end == day("2026-02-15")


def test_billing_cycles_have_their_lengths():
    months = {cycle.value: cycle.months for cycle in BillingCycle}
    assert months == {
        "weekly": None,
        "monthly": 1,
        "quarterly": 3,
        "half_yearly": 6,
        "annual": 12,
        "triennial": 36,
        "one_time": None,
    }


@pytest.mark.parametrize(
    ("grid", "on", "covers"),
    [
        # A clamped day belongs to the period that it starts, the day before it to the one before.
        (Grid.from_day(day("2026-01-31"), 1), "2026-02-28", ("2026-02-28", "2026-03-31")),
        (Grid.from_day(day("2026-01-31"), 1), "2026-02-27", ("2026-01-31", "2026-02-28")),
        (Grid.from_day(day("2026-01-31"), 1), "2025-12-30", ("2025-11-30", "2025-12-31")),
        (Grid.from_day(day("2026-02-15"), 0), "2026-02-21", ("2026-02-15", "2026-02-22")),
        (Grid.from_day(day("2026-02-15"), 0), "2026-02-14", ("2026-02-08", "2026-02-15")),
        (Grid.from_day(day("2028-02-29"), 12), "2029-02-28", ("2029-02-28", "2030-02-28")),
        (Grid.from_day(day("2028-02-29"), 12), "2028-02-28", ("2027-02-28", "2028-02-29")),
    ],
)
def test_every_day_lies_in_one_period(grid, on, covers):
    assert grid.around(day(on)) == period(*covers)


@pytest.mark.parametrize(
    ("contract", "on", "covers"),
    [
        ((Frequency.MONTH, 15), "2026-03-14", ("2026-02-15", "2026-03-15")),
        # ISO weekday 1: weeks start on Mondays; 2 March 2026 is one.
        ((Frequency.WEEK, 1), "2026-03-04", ("2026-03-02", "2026-03-09")),
        ((Frequency.TWO_MONTHS, 1), "2026-04-01", ("2026-03-01", "2026-05-01")),
        ((Frequency.TWO_MONTHS, 1, 2), "2026-04-01", ("2026-04-01", "2026-06-01")),
        ((Frequency.QUARTER, 1, 2), "2026-04-30", ("2026-02-01", "2026-05-01")),
        ((Frequency.HALF_YEAR, 1, 4), "2026-03-31", ("2025-10-01", "2026-04-01")),
        ((Frequency.YEAR, 1, 7), "2026-06-30", ("2025-07-01", "2026-07-01")),
        ((Frequency.THREE_YEARS, 1, 1, 2025), "2026-06-30", ("2025-01-01", "2028-01-01")),
        ((Frequency.THREE_YEARS, 1, 1, 2026), "2025-06-30", ("2023-01-01", "2026-01-01")),
    ],
)
def test_a_contract_has_periods_of_its_own(contract, on, covers):
    assert Grid.of_contract(*contract).around(day(on)) == period(*covers)


@pytest.mark.parametrize(
    "contract",
    [
        (Frequency.MONTH, 0),
        (Frequency.MONTH, 32),
        (Frequency.WEEK, 8),
        (Frequency.YEAR, 1, 0),
        (Frequency.YEAR, 1, 13),
    ],
)
def test_a_contract_cannot_start_on_a_day_that_does_not_exist(contract):
    with pytest.raises(ValueError, match="there is no day"):
        Grid.of_contract(*contract)


def test_shorter_periods_start_on_the_same_days():
    yearly = Grid.of_contract(Frequency.YEAR, 31, 1)
    assert starts(yearly.finer(1), 3) == ["0001-01-31", "0001-02-28", "0001-03-31"]
    assert yearly.finer(3).around(day("2026-02-01")) == period("2026-01-31", "2026-04-30")


@given(DAYS, st.sampled_from([0, 1, 2, 3, 6, 12, 36]), DAYS)
def test_periods_of_a_grid_cover_every_day_once(anchor, months, on):
    grid = Grid.from_day(anchor, months)
    n = grid.index_of(on)
    assert on in grid.nth(n)
    assert grid.nth(n).end == grid.nth(n + 1).start
    assert grid.nth(grid.index_of(anchor)).start == anchor


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
