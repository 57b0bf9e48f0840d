"""What a price of seats tells: the whole answer, its reasons in full, and the edges that decide."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from domain.charge import Reason
from domain.contract import MarkupMethod
from domain.period import BillingCycle, TermDuration
from rules.lines import UnitPrice
from rules.pricing import PriceBook, Priced, PricePolicy
from tests.builders import ALWAYS, OFFER, a_price, a_rate, a_rule, day, period

ASKED = Priced(
    customer_id="c1",
    record="subscription s1",
    kind="licence",
    sku=OFFER,
    on=day("2026-10-14"),
    currency="USD",
    term=TermDuration.YEAR,
    billing_cycle=BillingCycle.MONTHLY,
    cost=Decimal("10.00"),
)


def by(rule, **fields):
    answer = PriceBook([], [rule], [a_rate()]).price(replace(ASKED, **fields))
    assert isinstance(answer, UnitPrice), answer
    return answer


def agreed(item, **fields):
    answer = PriceBook([item], []).price(replace(ASKED, **fields))
    assert isinstance(answer, UnitPrice), answer
    return answer


# --- whole answers -----------------------------------------------------------------------------------


def test_an_agreed_price_with_its_discount():
    """12.00 less 25 percent are 9.00."""
    given = period("2026-10-01", "2027-01-01")
    item = a_price("12.00", discount_percent=Decimal(25), discount_valid=given)
    assert agreed(item) == UnitPrice(
        value=Fraction(9),
        cost=Decimal("10.00"),
        reasons=(
            Reason(
                rule="price.agreed",
                inputs={"price_list": "price/1", "valid": str(ALWAYS), "unit_price": "12"},
            ),
            Reason(
                rule="price.discount",
                inputs={
                    "price_list": "price/1",
                    "percent": "25",
                    "valid": "2026-10-01 to 2026-12-31",
                    "price": "9",
                },
            ),
        ),
    )


def test_an_agreed_price_of_a_year():
    item = a_price(None, annual_price=Decimal(120))
    assert agreed(item, cost=None) == UnitPrice(
        value=Fraction(120),
        covers=12,
        reasons=(
            Reason(
                rule="price.agreed",
                inputs={"price_list": "price/1", "valid": str(ALWAYS), "annual_price": "120"},
            ),
        ),
        until=date.max,
    )


def test_a_price_by_percent_in_another_currency():
    """10.00 EUR × 1.2 = 12.00 USD; 15 percent more are 13.80."""
    assert by(a_rule("15"), cost_currency="EUR") == UnitPrice(
        value=Fraction("13.8"),
        cost=Decimal(12),
        reasons=(
            Reason(
                rule="price.exchange",
                inputs={
                    "source": "ECB",
                    "from": "EUR",
                    "to": "USD",
                    "rate": "1.2",
                    "date": "2026-10-01",
                },
            ),
            Reason(
                rule="price.markup",
                inputs={
                    "rule": "rule/all",
                    "method": "percent",
                    "value": "15",
                    "cost": "10",
                    "unit_price": "13.8",
                },
            ),
        ),
    )


def test_a_price_by_the_retail_price_and_a_yearly_cost():
    """20 percent off 180.00 a year are 144.00 a year; the cost of 120.00 is 10.00 a month."""
    answer = by(
        a_rule("20", method=MarkupMethod.ERP_MINUS),
        cost=Decimal(120),
        erp=Decimal(180),
        covers=12,
    )
    assert answer == UnitPrice(
        value=Fraction(144),
        covers=12,
        cost=Decimal(10),
        reasons=(
            Reason(
                rule="price.markup",
                inputs={
                    "rule": "rule/all",
                    "method": "erp_minus",
                    "value": "20",
                    "erp": "180",
                    "covers_months": "12",
                    "unit_price": "144",
                },
            ),
        ),
    )


def test_a_fixed_price_between_its_bounds():
    assert by(a_rule("20", method=MarkupMethod.FIXED, cap=Decimal(18))) == UnitPrice(
        value=Fraction(18),
        cost=Decimal("10.00"),
        reasons=(
            Reason(
                rule="price.markup",
                inputs={
                    "rule": "rule/all",
                    "method": "fixed",
                    "value": "20",
                    "unit_price": "18",
                },
            ),
            Reason(rule="price.cap", inputs={"rule": "rule/all", "cap": "18", "unit_price": "20"}),
        ),
    )


def test_what_is_free():
    free = Reason(rule="price.free", inputs={"rule": "rule/all", "cost": "0"})
    assert by(a_rule("15"), is_free=True, cost=Decimal(0)) == UnitPrice(
        value=Fraction(0), cost=Decimal(0), reasons=(free,)
    )


# --- edges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["-100", "-99"])
def test_a_price_of_nothing_or_of_a_few_cents_is_a_price(value):
    assert by(a_rule(value)).value == 10 + Fraction(value) / 10


@pytest.mark.parametrize(("covers", "kept"), [(1, None), (2, 2), (12, 12)])
def test_a_cost_of_more_than_one_cycle_makes_a_price_of_as_many(covers, kept):
    answer = by(a_rule("0"), covers=covers)
    assert (answer.value, answer.covers) == (10, kept)
    assert answer.reasons[-1].inputs.get("covers_months") == (str(covers) if kept else None)


def test_a_rate_keeps_all_its_digits():
    long = "1.123456789012345678"
    answer = PriceBook([], [a_rule("0")], [a_rate(long)]).price(replace(ASKED, cost_currency="EUR"))
    assert answer.reasons[0].inputs["rate"] == long
    assert answer.value == Fraction(long) * 10


@pytest.mark.parametrize(
    ("price", "cost", "fits"),
    [
        ("40.00", "10.00", True),
        ("40.01", "10.00", False),
        ("2.50", "10.00", True),
        ("2.49", "10.00", False),
        ("9.00", "0.50", False),  # of a cost below one as well
        ("9.00", "-1.00", True),
        ("9.00", "0", True),
    ],
)
def test_a_price_may_be_a_quarter_to_four_times_its_cost(price, cost, fits):
    answer = PriceBook([a_price(price)], []).price(replace(ASKED, cost=Decimal(cost)))
    assert (answer.doubt is None) is fits


def test_a_price_by_its_own_cost_is_not_judged_and_one_by_the_retail_price_is():
    assert by(a_rule("500")).value == 60
    asked = replace(ASKED, erp=Decimal(100))
    answer = PriceBook([], [a_rule("0", method=MarkupMethod.ERP_MINUS)]).price(asked)
    assert answer.doubt.check == "price.ratio"


def test_a_ratio_is_said_with_two_digits_and_both_prices_for_one_cycle():
    """100.00 a year are 8.3333333333 a month, against 1.00: 8.33 times."""
    item = a_price(None, annual_price=Decimal(100))
    answer = PriceBook([item], []).price(replace(ASKED, cost=Decimal(1)))
    assert answer.doubt.sentence == (
        f"The price of {OFFER} is 8.33 times its cost: "
        "8.3333333333 against 1 USD for one billing cycle."
    )
    wider = PriceBook([item], [], policy=PricePolicy(most_ratio=Fraction(9)))
    assert isinstance(wider.price(replace(ASKED, cost=Decimal(1))), UnitPrice)


@pytest.mark.parametrize(
    ("first", "end", "service", "until"),
    [
        ("2026-10-14", "2026-12-01", "2026-10-14", date(2026, 12, 1)),
        ("2026-11-14", "2026-12-01", "2026-11-14", None),
        ("2026-11-14", "2026-12-01", "2026-11-13", date(2026, 11, 14)),
    ],
)
def test_a_price_holds_until_its_discount_begins_or_ends(first, end, service, until):
    item = a_price("12", discount_percent=Decimal(10), discount_valid=period(first, end))
    assert agreed(item, cost=None, service=day(service)).until == until


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        (a_price(None), "it needs one of unit price and annual price"),
        (a_price("1", annual_price=Decimal(1)), "it needs one of unit price and annual price"),
        (a_price("-0.5"), "no price is below zero"),
        (a_price(None, annual_price=Decimal("-0.5")), "no price is below zero"),
        (
            a_price(None, annual_price=Decimal(1), term=TermDuration.MONTH),
            "an annual price is for terms of a year and more, billed at least once a year",
        ),
        (a_price("1", discount_percent=Decimal(101)), "no discount is 101 percent"),
        (a_price("1", discount_percent=Decimal(-1)), "no discount is -1 percent"),
    ],
)
def test_an_agreed_price_that_cannot_be_meant(item, fault):
    answer = PriceBook([item], []).price(replace(ASKED, term=item.term))
    assert answer.sentence == f"The agreed price price/1 cannot be meant as it stands: {fault}."


def test_a_discount_of_everything_is_one():
    item = a_price("12", discount_percent=Decimal(100), discount_valid=ALWAYS)
    assert agreed(item).value == 0
