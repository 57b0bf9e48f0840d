"""Numbers by their form and check digits: those of python-stdnum's documentation, and computed ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.vat import valid_vat


@pytest.mark.parametrize(
    ("country", "number", "valid"),
    [
        ("DE", "DE136695976", True),
        ("DE", "DE136695977", False),
        ("DE", "136695976", False),
        ("DE", "FR61954506077", False),
        ("FR", "FR61954506077", True),
        ("ES", "ESA28017895", True),
        ("IE", "IE6388047V", True),
        ("GR", "EL094259216", True),
        ("GR", "GR094259216", True),
        ("GB", "GB980780684", True),
        ("GB", "XI980780684", True),
        ("GB", "980 7806 84", True),
        ("GB", "802311781", False),
        ("CH", "CHE-107.787.577 IVA", True),
        ("CH", "CHE-107.787.578 IVA", False),
        ("NO", "NO 995 525 828 MVA", True),
        ("NO", "NO 995 525 829 MVA", False),
        ("AU", "AU 83 914 571 673", True),
        ("AU", "99 999 999 999", False),
        ("NZ", "4909185-0", True),
        ("NZ", "136410133", False),
        ("CA", "12302 6635 RC 0001", True),
        ("CA", "123456783", False),
        ("IS", "IS 00621", True),
        ("SG", "M2-1234567-8", None),
        ("US", "12-3456789", None),
        ("XI", "XI980780684", None),
        ("", "", None),
    ],
)
def test_numbers(country, number, valid):
    assert valid_vat(country, number) is valid


@pytest.mark.parametrize("body", range(10000000, 10000200, 7))
def test_every_german_number_has_one_check_digit(body):
    # ISO 7064 Mod 11, 10: each digit is added to a product of at most 10, which is doubled modulo 11.
    product = 10
    for digit in str(body):
        product = ((product + int(digit)) % 10 or 10) * 2 % 11
    right = (11 - product) % 10
    good = [digit for digit in range(10) if valid_vat("DE", f"DE{body}{digit}")]
    assert good == [right]


@given(st.sampled_from("DE ES FR GR IE GB CH NO AU NZ CA IS US".split()), st.text(max_size=20))
def test_any_text_is_a_number_or_is_not(country, text):
    assert valid_vat(country, text) in {True, False, None}
    assert valid_vat(country, f"{country}{text}") in {True, False, None}
