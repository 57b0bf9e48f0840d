"""What holds on every grid, by every proration, on both sides, for all histories."""

from collections import defaultdict
from datetime import date
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from domain.contract import Proration
from domain.money import Money, minor_units
from domain.period import BillingCycle, Frequency, Grid, Period, add_months
from rules.cycles import Rounding, Side
from tests.builders import purchase, rated
from tests.strategies import CURRENCIES, DAYS, PRICES, PRODUCT_PRICES, stories

QUANTITIES = st.integers(1, 300)
FOR_GOOD = date(2099, 1, 1)


@st.composite
def contract_grids(draw):
    """Weeks to three years, on any day and month."""
    frequency = draw(st.sampled_from(Frequency))
    first = draw(st.integers(1, 31 if frequency.months else 7))
    return Grid.of_contract(frequency, first, draw(st.integers(1, 12)), draw(st.integers(1, 3)))


GRIDS = st.none() | contract_grids()
METHODS = st.fixed_dictionaries({"proration": st.sampled_from(Proration), "grid": GRIDS})


@given(DAYS, QUANTITIES, PRICES, CURRENCIES, METHODS)
def test_instalments_of_a_year_sum_to_it_to_the_cent(start, quantity, price, currency, method):
    """Whatever the lines and whatever is agreed for parts of them."""
    if method["grid"] is not None and method["grid"].months > 12:
        method = method | {"grid": None}
    year = Period(start, add_months(start, 12))
    charges, findings = rated(
        purchase(str(start), quantity),
        window=year,
        price=str(price),
        covers=12,
        currency=currency,
        auto_renew=False,
        **method,
    )
    assert findings == []
    asked = sum((charge.amount.amount for charge in charges), Decimal(0))
    assert asked == Money.rounded(quantity * Fraction(price), currency).amount
    assert sum(charge.exact for charge in charges) == quantity * Fraction(price)
    # The lines cover the year once, without a gap.
    days = [charge.service for charge in charges]
    assert [period.start for period in days] == [start, *[period.end for period in days[:-1]]]
    assert days[-1].end == year.end


@given(DAYS, QUANTITIES, PRICES, GRIDS)
def test_whole_periods_of_a_year_cost_the_same_and_a_stub_no_more(start, quantity, price, grid):
    charges, _ = rated(
        purchase(str(start), quantity, billing_cycle=BillingCycle.ANNUAL),
        window=Period(start, add_months(start, 12)),
        price=str(price),
        grid=grid,
        auto_renew=False,
    )
    whole = {charge.exact for charge in charges if charge.service == charge.full}
    assert len(whole) <= 1
    for charge in charges:
        assert all(charge.exact <= exact for exact in whole)
        # Alone in its year it costs the price; a part of a whole contract year its days.
        if charge.service == charge.full and charge.full.days >= 365:
            assert charge.exact == quantity * Fraction(price)


@given(stories(), PRODUCT_PRICES, METHODS)
def test_a_whole_line_costs_quantity_times_price(story, prices, method):
    charges, findings = rated(
        *story.events,
        window=story.window(),
        price=lambda asked: prices[asked.sku],
        **method,
    )
    assert findings == []
    for charge in charges:
        if charge.service == charge.full and "÷" not in charge.why:
            assert charge.exact == Fraction(charge.quantity) * Fraction(prices[charge.sku])


@given(stories(), PRODUCT_PRICES, METHODS, CURRENCIES)
def test_credits_take_no_more_than_their_line_was_charged(story, prices, method, currency):
    charges, _ = rated(
        *story.events,
        window=story.window(),
        price=lambda asked: prices[asked.sku],
        currency=currency,
        **method,
    )
    left: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for charge in charges:
        line = charge.service.end, charge.sku  # what is given back ends with its line
        left[line] += charge.amount.amount
        assert left[line] >= 0


@given(stories(), PRODUCT_PRICES, st.sampled_from(Rounding))
def test_microsofts_pairs_come_to_what_we_ask_but_for_their_rounding(story, prices, rounding):
    def price(asked):
        return prices[asked.sku]

    window = story.window(36)
    ours, _ = rated(*story.events, window=window, price=price)
    theirs, _ = rated(*story.events, window=window, price=price, side=Side.COST, rounding=rounding)
    assert sum(c.exact for c in ours) == sum(
        Fraction(c.quantity) * Fraction(prices[c.sku]) * Fraction(c.service.days, c.full.days)
        for c in theirs
    )
    cent = Fraction(1, 10 ** minor_units("USD"))
    bound = sum(cent * abs(Fraction(c.quantity)) for c in theirs) + cent * len(ours)
    apart = sum(c.amount.amount for c in ours) - sum(c.amount.amount for c in theirs)
    assert abs(Fraction(apart)) <= bound


@given(stories(), PRODUCT_PRICES, METHODS, st.sampled_from(Side), st.none() | st.just(12))
def test_a_price_that_is_said_to_last_is_the_price_of_every_line(
    story, prices, method, side, covers
):
    """Asked once or line by line: the same charges."""
    asked_once, asked_often = (
        rated(
            *story.events,
            window=story.window(14),
            price=lambda asked: prices[asked.sku],
            covers=covers,
            until=until,
            side=side,
            **method,
        )
        for until in (FOR_GOOD, None)
    )
    assert asked_once == asked_often
