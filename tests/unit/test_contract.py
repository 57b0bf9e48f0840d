"""When a contract is billed, and for which days."""

import itertools

import pytest

from domain.contract import Timing
from domain.period import Frequency, Period
from tests.builders import a_contract, period


@pytest.mark.parametrize(
    ("terms", "month", "due"),
    [
        ({}, "2026-10", ("2026-10-01", "2026-11-01")),
        ({"timing": Timing.ARREARS}, "2026-10", ("2026-10-01", "2026-11-01")),
        ({"anchor_day": 15}, "2026-10", ("2026-10-15", "2026-11-15")),
        ({"anchor_day": 15, "timing": Timing.ARREARS}, "2026-10", ("2026-09-15", "2026-10-15")),
        ({"anchor_day": 31}, "2026-02", ("2026-02-28", "2026-03-31")),
        ({"frequency": Frequency.QUARTER}, "2026-10", ("2026-10-01", "2027-01-01")),
        ({"frequency": Frequency.QUARTER}, "2026-11", None),
        (
            {"frequency": Frequency.QUARTER, "anchor_month": 2},
            "2026-11",
            ("2026-11-01", "2027-02-01"),
        ),
        ({"frequency": Frequency.QUARTER, "timing": Timing.ARREARS}, "2026-10", None),
        (
            {"frequency": Frequency.QUARTER, "timing": Timing.ARREARS},
            "2026-12",
            ("2026-10-01", "2027-01-01"),
        ),
        ({"frequency": Frequency.YEAR, "anchor_month": 7}, "2026-07", ("2026-07-01", "2027-07-01")),
        ({"frequency": Frequency.YEAR, "anchor_month": 7}, "2027-01", None),
        ({"frequency": Frequency.THREE_YEARS}, "2029-01", ("2029-01-01", "2032-01-01")),
        ({"frequency": Frequency.THREE_YEARS}, "2028-01", None),
        # Mondays of October 2026 are the 5th, 12th, 19th and 26th.
        ({"frequency": Frequency.WEEK}, "2026-10", ("2026-10-05", "2026-11-02")),
        (
            {"frequency": Frequency.WEEK, "timing": Timing.ARREARS},
            "2026-10",
            ("2026-09-28", "2026-10-26"),
        ),
    ],
)
def test_what_the_bill_of_a_month_is_for(terms, month, due):
    contract = a_contract(starts=period("2026-01-01", "2026-01-02").start, **terms)
    assert contract.due(Period.month(month)) == (period(*due) if due else None)


@pytest.mark.parametrize("timing", list(Timing))
@pytest.mark.parametrize("frequency", list(Frequency))
def test_the_bills_of_all_months_follow_each_other_without_gap(frequency, timing):
    contract = a_contract(frequency=frequency, timing=timing, anchor_day=3, anchor_month=5)
    months = [
        Period.month(f"{year}-{month:02}") for year in range(2026, 2034) for month in range(1, 13)
    ]
    due = [frame for month in months if (frame := contract.due(month)) is not None]
    assert len(due) > 1
    assert all(one.end == two.start for one, two in itertools.pairwise(due))
