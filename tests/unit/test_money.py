from decimal import Decimal
from fractions import Fraction

import pytest

from domain.money import Money, allocate, minor_units, plain, round_half_up, total


def usd(text: str) -> Money:
    return Money(Decimal(text), "USD")


@pytest.mark.parametrize(
    ("exact", "rounded"),
    [
        ("0.005", "0.01"),
        ("0.004999999999999999999999999999", "0.00"),
        ("1.005", "1.01"),
        ("2.675", "2.68"),
        ("-0.005", "-0.01"),
        ("-1.005", "-1.01"),
        ("-1.0049", "-1.00"),
        ("7", "7.00"),
    ],
)
def test_half_a_cent_goes_away_from_zero(exact, rounded):
    assert str(Money.rounded(Decimal(exact), "USD").amount) == rounded


def test_a_third_is_rounded_once_from_the_exact_fraction():
    assert Money.rounded(Fraction(1, 3), "USD") == usd("0.33")
    assert Money.rounded(Fraction(200, 3), "USD") == usd("66.67")
    # 0.00499999...9 in 28 digits would first become 0.005 and then a cent.
    just_below = Fraction(1, 200) - Fraction(1, 10**40)
    assert Money.rounded(just_below, "USD") == usd("0.00")


def test_what_rounds_to_nothing_has_no_sign():
    assert str(Money.rounded(Decimal("-0.001"), "USD").amount) == "0.00"


@pytest.mark.parametrize(
    ("currency", "places", "rounded"),
    [("USD", 2, "1234.57"), ("JPY", 0, "1235"), ("KWD", 3, "1234.568"), ("ISK", 0, "1235")],
)
def test_minor_units_are_those_of_the_currency(currency, places, rounded):
    assert minor_units(currency) == places
    assert str(Money.rounded(Decimal("1234.5675"), currency).amount) == rounded


@pytest.mark.parametrize(
    ("whole", "weights", "parts"),
    [
        ("100.00", [1, 1, 1], ["33.34", "33.33", "33.33"]),
        ("0.02", [1, 1, 1], ["0.01", "0.01", "0.00"]),
        ("10.00", [1, 2], ["3.33", "6.67"]),
        ("-100.00", [1, 1, 1], ["-33.34", "-33.33", "-33.33"]),
        ("0.00", [3, 4], ["0.00", "0.00"]),
        ("5.00", [0, 0], ["2.50", "2.50"]),
        ("5.00", [0, 7], ["0.00", "5.00"]),
        ("0.05", [Fraction(1, 3), Fraction(2, 3)], ["0.02", "0.03"]),
    ],
)
def test_the_parts_of_a_split_sum_to_the_whole(whole, weights, parts):
    split = usd(whole).allocate(weights)
    assert [str(part.amount) for part in split] == parts
    assert total(split, "USD") == usd(whole)


def test_the_largest_remainder_gets_the_odd_cent():
    # 10.00 over 1:1:4 is 1.66..., 1.66..., 6.66...: two cents are left, the earlier parts get them.
    assert allocate(Decimal("10.00"), [1, 1, 4], 2) == tuple(
        Decimal(part) for part in ("1.67", "1.67", "6.66")
    )
    # 0.10 over 5:3:9 is 0.029, 0.017, 0.052: the remainders are 9, 7 and 2.
    assert allocate(Decimal("0.10"), [5, 3, 9], 2) == tuple(
        Decimal(part) for part in ("0.03", "0.02", "0.05")
    )


@pytest.mark.parametrize(
    ("whole", "weights", "fault"),
    [("1.00", [], "no weights"), ("1.00", [1, -1], "negative"), ("1.005", [1], "2 decimals")],
)
def test_a_split_that_makes_no_sense_is_refused(whole, weights, fault):
    with pytest.raises(ValueError, match=fault):
        allocate(Decimal(whole), weights, 2)


def test_every_digit_of_a_long_amount_is_kept():
    long = Decimal("123456789012345678901234567890.12")
    assert round_half_up(long, 2) == long
    assert sum(map(Fraction, allocate(long, [1, 1, 1], 2))) == Fraction(long)
    cent = usd("0.01")
    assert str((Money(long, "USD") + cent).amount) == "123456789012345678901234567890.13"
    assert str((Money(long, "USD") - cent).amount) == "123456789012345678901234567890.11"
    assert str((-Money(long, "USD")).amount) == "-123456789012345678901234567890.12"
    assert str(total([Money(long, "USD")] * 3, "USD").amount) == "370370367037037036703703703670.36"


def test_two_currencies_do_not_mix():
    eur = Money(Decimal(1), "EUR")
    for mix in (lambda: usd("1") + eur, lambda: usd("1") - eur, lambda: usd("1") < eur):
        with pytest.raises(ValueError, match="cannot mix USD and EUR"):
            mix()


def test_an_amount_is_a_finite_decimal():
    with pytest.raises(TypeError, match="not float"):
        Money(1.5, "USD")
    with pytest.raises(ValueError, match="not NaN"):
        Money(Decimal("NaN"), "USD")


def test_numbers_for_people_have_no_exponent_and_no_idle_zeros():
    assert plain(Decimal("1E+3")) == "1000"
    assert plain(Decimal("12.3400")) == "12.34"
    assert plain(Fraction(2, 3)) == "0.6666666667"
    assert plain(Decimal("-0.5")) == "-0.5"
    assert str(usd("1234567.5")) == "1,234,567.5 USD"


def test_nothing_is_false_and_a_sum_of_nothing_is_zero():
    assert not total([], "JPY")
    assert total([], "JPY") == Money(Decimal(0), "JPY")
    assert usd("-0.01")
    assert usd("0.01") < usd("0.02")
