"""Microsoft's side of a history: pairs, and a prorated unit that is rounded before it is multiplied.

Published: 10.08 × 29/31 × 10 is 94.20 today; 3.8667 was 3.87 in the older examples.
"""

from fractions import Fraction

import pytest

from domain.subscription import EventType
from rules.cycles import Rounding, Side
from tests.builders import (
    amounts,
    an_event,
    cancel,
    convert,
    cycles,
    day,
    purchase,
    rated,
    seats,
)


def billed(*events, rounding=Rounding.MS_DOWN, **more):
    charges, findings = rated(*events, side=Side.COST, rounding=rounding, **more)
    assert findings == []
    return charges


@pytest.mark.parametrize(
    ("rounding", "credit"),
    [
        (Rounding.MS_DOWN, "-94.20"),  # 9.4296 is cut to 9.42
        (Rounding.MS_HALF_UP, "-94.30"),  # 9.43
        (Rounding.HALF_UP, "-94.30"),  # 94.296
    ],
)
def test_a_cancelled_month_of_31_days(rounding, credit):
    charges = billed(
        purchase("2026-10-01"),
        cancel("2026-10-03"),
        window=("2026-10-01", "2026-11-01"),
        price="10.08",
        rounding=rounding,
    )
    assert amounts(charges) == ["100.80", credit]


@pytest.mark.parametrize(
    ("rounding", "credit"),
    [
        (Rounding.MS_DOWN, "-7.72"),  # 3.8667 is cut to 3.86
        (Rounding.MS_HALF_UP, "-7.74"),  # 3.87
        (Rounding.HALF_UP, "-7.73"),  # 7.7333
    ],
)
def test_a_cancelled_month_of_30_days(rounding, credit):
    charges = billed(
        purchase("2026-11-01", 2),
        cancel("2026-11-02"),
        window=("2026-11-01", "2026-12-01"),
        price="4.00",
        rounding=rounding,
    )
    assert amounts(charges) == ["8.00", credit]


def test_a_change_is_the_old_total_back_and_the_new_total_charged():
    charges = billed(
        purchase("2026-10-01"),
        seats("2026-10-15", 12),
        seats("2026-10-20", 3),
        window=("2026-10-01", "2026-12-01"),
        price="31.00",
    )
    assert [(c.type.value, int(c.quantity), str(c.amount.amount)) for c in charges] == [
        ("new", 10, "310.00"),
        ("add_quantity", -10, "-170.00"),  # 17 of 31 days
        ("add_quantity", 12, "204.00"),
        ("remove_quantity", -12, "-144.00"),  # 12 of 31 days
        ("remove_quantity", 3, "36.00"),
        ("cycle_charge", 3, "93.00"),
    ]


def test_what_is_cut_is_cut_toward_zero_on_both_legs_of_a_pair():
    charges = billed(
        purchase("2026-10-01"),
        seats("2026-10-03", 12),
        window=("2026-10-02", "2026-11-01"),
        price="10.08",
    )
    assert amounts(charges) == ["-94.20", "113.04"]  # 9.42 each


def test_seats_of_two_prices_are_charged_apart():
    charges = billed(
        purchase("2026-10-01"),
        seats("2026-10-15", 12),
        window=("2026-10-02", "2026-11-01"),
        price=lambda asked: 31 if asked.on < day("2026-10-15") else 62,
    )
    assert [(int(c.quantity), str(c.amount.amount)) for c in charges] == [
        (-10, "-170.00"),
        (10, "170.00"),
        (2, "68.00"),  # 2 × 62 × 17/31
    ]


def test_an_upgrade_is_a_pair_of_two_products():
    charges = billed(
        purchase("2026-10-01"),
        convert("2026-10-15", "other:1", quantity=10),
        window=("2026-10-02", "2026-11-01"),
        price=lambda asked: 62 if asked.sku == "other:1" else 31,
    )
    assert [(c.sku, str(c.amount.amount)) for c in charges][1] == ("other:1", "340.00")
    assert amounts(charges) == ["-170.00", "340.00"]


@pytest.mark.parametrize(("total", "pair"), [(6, (-10, 6)), (12, (-10, 12))])
def test_seats_that_move_to_another_subscription_are_a_pair(total, pair):
    charges = billed(
        purchase("2026-10-01"),
        an_event("2026-10-15", EventType.CONVERT, quantity=total),
        window=("2026-10-02", "2026-11-01"),
    )
    assert cycles(charges) == [("convert", count, Fraction(17, 31)) for count in pair]


def test_instalments_of_a_year_are_those_of_one_unit_times_the_quantity():
    charges = billed(
        purchase("2026-01-01", 7), window=("2026-01-01", "2027-01-01"), price="100", covers=12
    )
    assert amounts(charges) == ["58.38"] * 4 + ["58.31"] * 8  # 7 × 8.34 and 7 × 8.33
    assert sum(c.amount.amount for c in charges) == 700


def test_microsoft_gives_back_without_a_cap():
    """Ours stops at what the cycle was charged; Microsoft's lines are told as they are."""
    one_by_one = [seats("2026-10-01", left, sequence=3 - left) for left in (2, 1, 0)]
    history = (purchase("2026-10-01", 3), *one_by_one)
    window = ("2026-10-01", "2026-11-01")
    ours, _ = rated(*history, window=window, price="0.335")
    theirs = billed(*history, window=window, price="0.335", rounding=Rounding.HALF_UP)
    assert amounts(ours) == ["1.01", "-0.34", "-0.34", "-0.33"]
    assert amounts(theirs) == ["1.01", "-1.01", "0.67", "-0.67", "0.34", "-0.34"]
