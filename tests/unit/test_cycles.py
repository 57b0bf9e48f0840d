"""What part of a cycle a service is, how a unit is rounded, and how long a price holds."""

from datetime import date
from fractions import Fraction

import pytest

from domain.contract import Proration
from domain.period import Grid
from rules.cycles import Method, Rounding, Side, months_in, round_unit, share, weighing
from rules.lines import UnitPrice
from rules.proration import rate_history
from tests.builders import day, period, purchase, rated

MONTHS = Grid.from_day(day("2026-10-14"), 1)
QUARTERS = Grid.from_day(day("2026-10-14"), 3)


@pytest.mark.parametrize(
    ("rounding", "unit", "rounded"),
    [
        (Rounding.MS_DOWN, "3.879", "3.87"),
        (Rounding.MS_DOWN, "-3.879", "-3.87"),
        (Rounding.MS_DOWN, "0", "0"),
        (Rounding.MS_HALF_UP, "3.875", "3.88"),
        (Rounding.MS_HALF_UP, "-3.875", "-3.88"),
    ],
)
def test_microsoft_cuts_a_unit_toward_zero(rounding, unit, rounded):
    assert round_unit(rounding, Fraction(unit), 2) == Fraction(rounded)


def test_only_months_weigh_by_their_days():
    assert weighing(Proration.MONTHS) is Proration.DAYS
    assert weighing(Proration.FIXED_30) is Proration.FIXED_30
    assert weighing(Proration.DAYS) is Proration.DAYS


def test_a_begun_month_counts_unless_it_is_given_back():
    part = period("2026-12-24", "2027-01-14")
    quarter = period("2026-10-14", "2027-01-14")
    assert months_in(part, QUARTERS) == 1
    assert months_in(part, QUARTERS, returned=True) == 0
    assert share(Proration.MONTHS, part, quarter, QUARTERS) == (1, 3)
    assert share(Proration.MONTHS, part, quarter, QUARTERS, returned=True) == (0, 3)
    assert months_in(quarter, QUARTERS) == months_in(quarter, QUARTERS, returned=True) == 3


def test_no_days_are_no_months():
    for on in ("2026-11-14", "2026-11-20"):
        assert months_in(period(on, on), QUARTERS) == 0


def test_lines_follow_the_shorter_of_the_contracts_and_the_subscriptions_periods():
    def lines(contract, own):
        return Method(currency="USD", grid=contract).lines(own)

    calendar, anchored = Grid(1, 0, 1), MONTHS
    assert lines(calendar, anchored) == calendar
    assert lines(Grid(3, 0, 1), anchored) == calendar
    assert lines(calendar, QUARTERS) == calendar
    assert Method(currency="USD").lines(anchored) == anchored
    weeks = Grid.from_day(day("2026-10-14"), 0)
    assert lines(calendar, weeks) == weeks
    assert Method(currency="USD").side is Side.SELL


def test_a_price_is_asked_for_again_on_the_day_until_which_it_holds():
    asked = []

    def price(question):
        asked.append((question.subscription_id, question.customer_id, str(question.on)))
        return Fraction(30 if question.on < day("2026-12-14") else 60)

    charges, _ = rated(purchase("2026-10-14"), window=("2026-10-01", "2027-01-01"), price=price)
    assert [str(charge.amount.amount) for charge in charges] == ["300.00", "300.00", "600.00"]
    assert asked == [("s1", "c1", f"2026-{month}-14") for month in (10, 11, 12)]


@pytest.mark.parametrize(
    ("until", "asked"),
    [
        (None, ["2026-10-14", "2026-11-14", "2026-12-14"]),
        (date(2026, 12, 14), ["2026-10-14", "2026-12-14"]),
        (date(2026, 12, 15), ["2026-10-14"]),
        (date(2026, 10, 14), ["2026-10-14", "2026-11-14", "2026-12-14"]),
        (date.max, ["2026-10-14"]),
    ],
)
def test_a_lasting_price_is_asked_for_once(until, asked):
    questions = []

    def price_for(question):
        questions.append(str(question.on))
        return UnitPrice(value=Fraction(30), until=until, reasons=())

    rate_with(price_for)
    assert questions == asked


def rate_with(price_for):
    return rate_history(
        [purchase("2026-10-14")],
        price_for=price_for,
        window=period("2026-10-01", "2027-01-01"),
        method=Method(currency="USD"),
        name="Seats",
    )
