"""A year that is paid in instalments: they sum to it, and each is in the units of its currency."""

from fractions import Fraction

import pytest

from domain.contract import Proration
from domain.period import Frequency, Grid
from tests.builders import amounts, day, purchase, rated, seats

CALENDAR = Grid.of_contract(Frequency.MONTH, 1)


@pytest.mark.parametrize(
    ("quantity", "months"),
    [
        (1, ["8.34"] * 4 + ["8.33"] * 8),  # 10000 cents are 12 × 833 and 4
        (3, ["25.00"] * 12),
        (7, ["58.34"] * 4 + ["58.33"] * 8),  # 70000 cents are 12 × 5833 and 4
    ],
)
def test_twelve_instalments_sum_to_the_year(quantity, months):
    charges, _ = rated(
        purchase("2026-01-31", quantity),
        window=("2026-01-01", "2027-01-31"),
        price="100",
        covers=12,
    )
    assert amounts(charges) == months
    assert sum(c.amount.amount for c in charges) == 100 * quantity


def test_an_instalment_tells_its_year():
    charges, _ = rated(
        purchase("2026-01-01", 1), window=("2026-05-01", "2026-06-01"), price="100", covers=12
    )
    assert charges[0].why == (
        "1 running × 100.00 USD a year ÷ 12, instalment 5 of 12 (2026-05-01 to 2026-05-31) = 8.33 USD"
    )
    assert charges[0].exact == Fraction(100, 12)


def test_seats_added_in_mid_year_pay_for_the_rest_of_a_month_and_then_by_instalments():
    charges, _ = rated(
        purchase("2026-01-01", 1),
        seats("2026-04-15", 2),
        window=("2026-04-01", "2027-01-01"),
        price="100",
        covers=12,
    )
    # April: the 4th of 1 × 100; 100/12 × 16/30 = 4.444. Then 200.00: 12 × 16.66 and 8 cents.
    assert amounts(charges) == ["8.34", "4.44", *["16.67"] * 4, *["16.66"] * 4]


def test_a_shortened_year_costs_its_months():
    charges, _ = rated(
        purchase("2026-03-01", 1, term_end=day("2026-08-16")),
        window=("2026-03-01", "2026-08-16"),
        price="120",
        covers=12,
    )
    assert amounts(charges) == ["10.00"] * 5 + ["4.84"]  # 10 × 15/31 = 4.838…


@pytest.mark.parametrize(
    ("currency", "price", "months"),
    [
        ("JPY", "1000", ["84"] * 4 + ["83"] * 8),
        ("KWD", "10", ["0.834"] * 4 + ["0.833"] * 8),
    ],
)
def test_instalments_are_in_the_units_of_the_currency(currency, price, months):
    charges, _ = rated(
        purchase("2026-01-01", 1),
        window=("2026-01-01", "2027-01-01"),
        price=price,
        covers=12,
        currency=currency,
    )
    assert amounts(charges) == months


def test_a_currency_of_thousandths_is_rounded_to_them():
    charges, _ = rated(
        purchase("2026-02-15", 1),
        seats("2026-03-01", 2),
        window=("2026-03-01", "2026-03-15"),
        price="1.005",
        currency="KWD",
    )
    assert amounts(charges) == ["0.503"]  # half of it is 0.5025


def test_a_yearly_price_in_calendar_months_sums_to_the_year():
    """14/28 of February, eleven months and 14/28 of the next February are twelve parts."""
    charges, _ = rated(
        purchase("2026-02-15", 1),
        window=("2026-02-01", "2027-02-15"),
        price="120",
        covers=12,
        grid=CALENDAR,
    )
    assert amounts(charges) == ["5.00", *["10.00"] * 11, "5.00"]


def test_an_instalment_weighs_its_days_also_where_parts_go_by_months():
    """Two begun months at the ends would make thirteen of a year; its sentence tells the days."""
    charges, _ = rated(
        purchase("2026-02-15", 1),
        window=("2026-02-01", "2027-02-15"),
        price="120",
        covers=12,
        grid=CALENDAR,
        proration=Proration.MONTHS,
    )
    assert amounts(charges) == ["5.00", *["10.00"] * 11, "5.00"]
    assert charges[0].exact == 5
    assert "× 14/28 days ÷ 12, instalment 1 of 13" in charges[0].why
