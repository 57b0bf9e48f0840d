"""Microsoft's price sheets: one row is the price, anything else a finding."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

import pytest

from domain.contract import MarkupMethod, SheetPrice
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from rules.pricing import PriceBook, Priced
from rules.sheets import listed, sheet_price, with_sheet
from tests.builders import OFFER, PRODUCT, SKU, a_rule, day, period

ROW = SheetPrice(
    product_id=PRODUCT,
    sku_id=SKU,
    term=TermDuration.YEAR,
    billing_plan="monthly",
    market="DE",
    currency="EUR",
    segment="Commercial",
    unit_price=Decimal("105.00"),
    erp_price=Decimal("131.25"),
    valid=period("2026-10-01", "2026-11-01"),
)
NEXT_MONTH = replace(ROW, unit_price=Decimal("112.00"), valid=period("2026-11-01", "2026-12-01"))
OTHERS = [
    replace(ROW, billing_plan="annual", unit_price=Decimal("100.00")),
    replace(ROW, term=TermDuration.MONTH),
    replace(ROW, sku_id="0002"),
    replace(ROW, market="FR"),
    replace(ROW, currency="USD"),
    replace(ROW, segment="Education"),
    NEXT_MONTH,
]


def found(sheets, **fields):
    return sheet_price(
        sheets,
        **{
            "sku": OFFER,
            "term": TermDuration.YEAR,
            "billing_cycle": BillingCycle.MONTHLY,
            "segment": "commercial",
            "market": "de",
            "currency": "EUR",
            "on": day("2026-10-31"),
            **fields,
        },
    )


def test_one_row_fits_what_is_asked_whatever_else_the_sheet_holds():
    for rows in permutations([ROW, *OTHERS[:3]]):
        assert found(rows) == ROW
    assert found([ROW, *OTHERS]) == ROW
    assert found([ROW, *OTHERS], on=day("2026-11-01")) == NEXT_MONTH


@pytest.mark.parametrize("other", OTHERS)
def test_a_row_for_something_else_is_no_price(other):
    answer = found([other])
    assert isinstance(answer, Finding)
    assert (answer.check, answer.severity) == ("sheet.missing", Severity.HOLD)
    assert (answer.customer_id, answer.record) == ("", f"price sheet {OFFER} 2026-10-31")
    assert answer.hint == (
        "read the sheets of this market and month again; look whether the product is still sold"
    )
    assert answer.sentence == (
        f"No row of the price sheets fits {OFFER}, P1Y term, monthly plan, segment commercial, "
        "market de, EUR, on 2026-10-31."
    )


def test_two_rows_are_a_finding():
    answer = found([ROW, replace(ROW, unit_price=Decimal(99))])
    assert answer.check == "sheet.tie"
    assert answer.sentence == (
        f"2 rows of the price sheets fit {OFFER}, P1Y term, monthly plan, segment commercial, "
        "market de, EUR, on 2026-10-31."
    )


@pytest.mark.parametrize("written", ["onetime", "OneTime", "none", ""])
def test_what_is_bought_once_has_no_term(written):
    perpetual = replace(ROW, term=None, billing_plan=written)
    assert found([perpetual], term=None, billing_cycle=BillingCycle.ONE_TIME) == perpetual
    missed = found([], term=None, billing_cycle=BillingCycle.ONE_TIME)
    assert f"fits {OFFER}, no term, one_time plan, segment" in missed.sentence


def test_a_yearly_price_of_a_monthly_plan_covers_twelve_months():
    price = listed(ROW, BillingCycle.MONTHLY, covers_months=12)
    assert (price.value, price.covers) == (105, 12)
    (reason,) = price.reasons
    assert reason.rule == "price.sheet"
    assert reason.inputs == {
        "product": OFFER,
        "term": "P1Y",
        "billing_plan": "monthly",
        "segment": "Commercial",
        "market": "DE",
        "valid": str(ROW.valid),
        "unit_price": "105 EUR",
        "covers_months": "12",
    }


def test_the_price_of_what_is_bought_once_covers_no_months():
    once = listed(replace(ROW, term=None), BillingCycle.ONE_TIME, covers_months=12)
    assert (once.value, once.covers) == (105, None)
    bare = listed(replace(ROW, term=None), BillingCycle.ONE_TIME)
    assert (bare.reasons[0].inputs["term"], bare.reasons[0].inputs["covers_months"]) == (
        "none",
        "none",
    )
    assert listed(ROW, BillingCycle.MONTHLY).reasons[0].inputs["covers_months"] == "1"


def test_a_price_of_three_years_is_a_third_for_one():
    assert listed(ROW, BillingCycle.ANNUAL, covers_months=36).covers == 36
    assert listed(ROW, BillingCycle.TRIENNIAL, covers_months=12).value == 315
    assert listed(ROW, BillingCycle.TRIENNIAL, covers_months=12).covers is None


def test_what_a_row_covers_is_a_setting():
    assert listed(ROW, BillingCycle.MONTHLY).value == 105
    assert listed(ROW, BillingCycle.MONTHLY).covers is None
    assert listed(ROW, BillingCycle.ANNUAL, covers_months=12).covers is None
    monthly = listed(replace(ROW, unit_price=Decimal("8.75")), BillingCycle.ANNUAL, covers_months=1)
    assert (monthly.value, monthly.covers) == (105, None)


QUESTION = Priced(
    customer_id="c1",
    record="subscription s1",
    kind="licence",
    sku=OFFER,
    on=day("2026-10-14"),
    currency="EUR",
    term=TermDuration.YEAR,
    billing_cycle=BillingCycle.MONTHLY,
)


def test_a_row_of_another_currency_says_so():
    """A cost of 105 dollars is never taken for 105 euros."""
    assert with_sheet(QUESTION, replace(ROW, currency="USD")).cost_currency == "USD"


@pytest.mark.parametrize(
    ("billing_cycle", "covers_months", "covers"),
    [
        (BillingCycle.MONTHLY, 12, 12),
        (BillingCycle.MONTHLY, 1, None),
        (BillingCycle.MONTHLY, None, None),
        (BillingCycle.ANNUAL, 12, None),
        (BillingCycle.ONE_TIME, 12, None),
        (None, 12, None),
    ],
)
def test_a_cost_covers_more_than_a_cycle_where_that_is_said(billing_cycle, covers_months, covers):
    asked = replace(QUESTION, billing_cycle=billing_cycle)
    assert with_sheet(asked, ROW, covers_months=covers_months).covers == covers


def test_a_row_is_the_cost_and_the_retail_price_of_a_question():
    """10 percent off 131.25 a year; 20 percent on 105."""
    asked = with_sheet(QUESTION, ROW, covers_months=12)
    off = PriceBook([], [a_rule("10", method=MarkupMethod.ERP_MINUS)]).price(asked)
    assert (off.value, off.covers, off.cost) == (Fraction("118.125"), 12, Decimal("8.75"))
    on = PriceBook([], [a_rule("20")]).price(asked)
    assert (on.value, on.covers) == (126, 12)
