"""How a file writes dates and numbers is decided from all its values, or asked for."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.problems import InputError
from partner_center.notation import DateOrder, Evidence, Notation, decimal_of
from tests import strategies

_NUMBERS = st.decimals(-(10**9), 10**9, places=5, allow_nan=False)
_SIGNS = {".": ",", ",": "."}


def written(number, decimal, group):
    minus = "-" if number < 0 else ""
    whole, _, rest = f"{abs(number):f}".partition(".")
    return f"{minus}{int(whole):,}".replace(",", group) + f"{decimal}{rest}"


def evidence(*numbers, dates=()):
    found = Evidence("lines.csv")
    for row, number in enumerate(numbers, 2):
        found.see_number("Subtotal", number, f"line {row}")
    for row, day in enumerate(dates, 2):
        found.see_date("OrderDate", day, f"line {row}")
    return found


@given(
    st.lists(_NUMBERS, min_size=1),
    st.sampled_from([".", ","]),
    st.sampled_from(["same", " ", "", "\u202f", "'"]),
)
def test_numbers_come_out_of_any_country_s_writing_as_they_went_in(numbers, decimal, group):
    group = _SIGNS[decimal] if group == "same" else group
    texts = [written(number, decimal, group) for number in numbers]
    notation = evidence(*texts).decided()
    assert notation.decimal == decimal
    assert [Decimal(notation.number(text)) for text in texts] == numbers


@given(
    st.lists(strategies.DAYS, min_size=1), st.sampled_from(list(DateOrder)), st.sampled_from("/-.")
)
def test_dates_come_out_as_they_went_in(days, order, sign):
    if order is DateOrder.MDY and sign == ".":
        return  # nobody writes it
    form = f"%d{sign}%m{sign}%Y" if order is DateOrder.DMY else f"%m{sign}%d{sign}%Y"
    texts = [f"{day:{form}}" for day in (*days, date(2026, 3, 31))]
    notation = evidence(dates=texts).decided()
    assert [date.fromisoformat(notation.day(text)) for text in texts][:-1] == days


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("1234", ""),
        ("1.5", "."),
        ("1,5", ","),
        ("1.234", "either"),
        ("0.123", "."),
        ("-0,123", ","),
        ("1234.567", "."),
        ("1.234.567", ","),
        ("1,234,567", "."),
        ("1.234,5", ","),
        ("1,234.5", "."),
        ("1.234E-05", "."),
        ("(1,5)", ","),
        ("twelve", ""),
        ("2026-10-01", ""),
    ],
)
def test_what_a_number_says_about_the_decimal_sign(text, sign):
    assert decimal_of(text) == sign


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("(12.50)", "-12.50"),
        ("12.50-", "-12.50"),
        ("+3", "3"),
        ("1.5E-05", "1.5E-05"),
        ("n/a", "n/a"),
    ],
)
def test_accountants_ways_of_writing_are_read(text, number):
    assert Notation().number(text) == number


def test_a_group_in_the_wrong_place_is_left_as_it_is_and_refused_later():
    assert Notation(decimal=".").number("1,23,4.5") == "1,23,4.5"


def test_both_signs_are_refused_with_both_places():
    with pytest.raises(
        InputError, match=r"line 2, column Subtotal: 1\.5; line 3, column Subtotal: 1,5"
    ):
        evidence("1.5", "1,5").decided()


def test_both_orders_are_refused_with_both_places():
    with pytest.raises(InputError, match=r"line 3, column OrderDate: 30/9/2026; line 2.*9/30/2026"):
        evidence(dates=["9/30/2026", "30/9/2026"]).decided()


def test_what_nothing_tells_is_asked_for_and_then_believed():
    for found in (evidence("1.234"), evidence(dates=["3/4/2026"])):
        with pytest.raises(InputError):
            found.decided()
    assert evidence("1.234").decided(decimal=",").number("1.234") == "1234"
    assert evidence(dates=["3/4/2026"]).decided(order="dmy").day("3/4/2026") == "2026-04-03"


def test_dates_as_a_program_writes_them_show_that_no_spreadsheet_touched_the_numbers():
    found = evidence("1.234", dates=["2026-10-03T00:00:00Z"])
    assert found.decided().number("1.234") == "1.234"
