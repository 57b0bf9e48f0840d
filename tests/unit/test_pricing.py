"""Which price applies, and what is said when none or two do."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.contract import MarkupMethod, Package, Tiers
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from rules.lines import UnitPrice
from rules.metering import marked_up
from rules.pricing import PriceBook, Priced, PricePolicy, check_prices
from tests.builders import OFFER, a_price, a_rate, a_rule, day, period


def wanted(**fields):
    return Priced(
        **{
            "customer_id": "c1",
            "record": "subscription s1",
            "kind": "licence",
            "sku": OFFER,
            "on": day("2026-10-14"),
            "currency": "USD",
            "term": TermDuration.YEAR,
            "billing_cycle": BillingCycle.MONTHLY,
            "cost": Decimal("10.00"),
            "cost_currency": "USD",
            **fields,
        }
    )


def value(answer):
    assert isinstance(answer, UnitPrice), answer
    return answer.value


# --- the price list --------------------------------------------------------------------------------


def test_an_agreed_price_comes_before_any_rule():
    book = PriceBook([a_price("12.50")], [a_rule(customer_id="c1", sku=OFFER)])
    answer = book.price(wanted())
    assert value(answer) == Fraction("12.5")
    assert answer.cost == Decimal("10.00")
    assert answer.reasons[0].rule == "price.agreed"
    assert answer.reasons[0].inputs["price_list"] == "price/1"


def test_the_customers_own_price_comes_before_the_general_one():
    book = PriceBook([a_price("12.50"), a_price("11.00", key="price/own", customer_id="c1")], [])
    assert value(book.price(wanted())) == 11


@pytest.mark.parametrize(
    "other",
    [
        {"customer_id": "c2"},
        {"sku": "other:1"},
        {"term": TermDuration.MONTH},
        {"term": None},
        {"billing_cycle": BillingCycle.ANNUAL},
        {"currency": "EUR"},
        {"valid": period("2026-10-15", "2030-01-01")},
        {"valid": period("2020-01-01", "2026-10-14")},
    ],
)
def test_a_price_for_something_else_does_not_apply(other):
    book = PriceBook([a_price(**other)], [a_rule("20")])
    assert value(book.price(wanted())) == 12


def test_a_price_is_in_force_on_its_first_day_and_not_on_its_end():
    first, second = (
        a_price("12", valid=period("2020-01-01", "2026-10-14")),
        a_price("13", valid=period("2026-10-14", "2030-01-01")),
    )
    book = PriceBook([first, second], [])
    assert value(book.price(wanted(on=day("2026-10-13")))) == 12
    assert value(book.price(wanted(on=day("2026-10-14")))) == 13


def test_two_prices_that_apply_equally_are_a_finding():
    answer = PriceBook([a_price(), a_price("13", key="price/2")], [a_rule()]).price(wanted())
    assert isinstance(answer, Finding)
    assert (answer.check, answer.severity) == ("price.tie", Severity.HOLD)
    assert "price/1, price/2" in answer.sentence


# --- rules -----------------------------------------------------------------------------------------


def test_the_more_specific_rule_wins_in_a_stated_order():
    """Customer over product over meter family over kind; one customer outweighs all the others."""
    ladder = [
        a_rule("1", key="all"),
        a_rule("2", key="kind", kind="usage"),
        a_rule("3", key="family", meter_category="Storage"),
        a_rule("4", key="family and kind", meter_category="Storage", kind="usage"),
        a_rule("5", key="product", sku=OFFER),
        a_rule("6", key="product, family, kind", sku=OFFER, meter_category="Storage", kind="usage"),
        a_rule("7", key="customer", customer_id="c1"),
        a_rule("8", key="customer and kind", customer_id="c1", kind="usage"),
    ]
    asked = wanted(kind="usage", meter_category="Storage", term=None, billing_cycle=None)
    while ladder:
        rule = PriceBook([], list(reversed(ladder))).rule(asked)
        assert rule == ladder.pop()


@pytest.mark.parametrize(
    "other",
    [
        {"customer_id": "c2"},
        {"sku": "other:1"},
        {"kind": "usage"},
        {"meter_category": "Storage"},
        {"valid": period("2026-10-15", "2030-01-01")},
    ],
)
def test_a_rule_for_something_else_does_not_apply(other):
    answer = PriceBook([], [a_rule(**other)]).price(wanted())
    assert isinstance(answer, Finding)
    assert (answer.check, answer.record) == ("price.missing", "subscription s1")
    assert answer.sentence == (
        f"No price list entry and no markup rule covers licence {OFFER} on 2026-10-14."
    )


def test_two_rules_of_one_rank_are_a_finding():
    rules = [a_rule("1", key="b", sku=OFFER), a_rule("2", key="a", sku=OFFER)]
    answer = PriceBook([], rules).price(wanted())
    assert answer.check == "price.tie"
    assert "a, b" in answer.sentence


@pytest.mark.parametrize(
    ("method", "number", "price"),
    [
        (MarkupMethod.PERCENT, "15", "11.5"),
        (MarkupMethod.PERCENT, "-5", "9.5"),
        (MarkupMethod.MARGIN, "20", "12.5"),
        (MarkupMethod.FIXED, "14.99", "14.99"),
        (MarkupMethod.UPLIFT, "2.25", "12.25"),
        (MarkupMethod.ERP_MINUS, "10", "18"),
    ],
)
def test_each_method_makes_its_price(method, number, price):
    book = PriceBook([], [a_rule(number, method=method)])
    assert value(book.price(wanted(erp=Decimal(20)))) == Fraction(price)


def test_a_price_is_not_rounded():
    rule = a_rule("30", method=MarkupMethod.MARGIN)
    assert marked_up(rule, Fraction(10)) == Fraction(100, 7)
    reason = PriceBook([], [rule]).price(wanted()).reasons[0]
    assert dict(reason.inputs) == {
        "rule": "rule/all",
        "method": "margin",
        "value": "30",
        "cost": "10",
        "unit_price": "14.2857142857",
    }


@pytest.mark.parametrize("number", ["100", "150"])
def test_a_margin_of_everything_is_a_finding(number):
    answer = PriceBook([], [a_rule(number, method=MarkupMethod.MARGIN)]).price(wanted())
    assert (answer.check, answer.customer_id) == ("price.rule", "c1")


@pytest.mark.parametrize(
    ("method", "unknown", "why"),
    [
        (MarkupMethod.PERCENT, {"cost": None}, "its cost is not known"),
        (MarkupMethod.UPLIFT, {"cost": None}, "its cost is not known"),
        (MarkupMethod.ERP_MINUS, {"erp": None}, "its suggested retail price is not known"),
        (MarkupMethod.MARGIN, {"cost_currency": "EUR"}, "it costs EUR and is sold in USD"),
    ],
)
def test_a_basis_that_is_missing_or_foreign_is_a_finding(method, unknown, why):
    answer = PriceBook([], [a_rule("10", method=method)]).price(wanted(**unknown))
    assert (answer.check, answer.severity) == ("price.no_basis", Severity.HOLD)
    assert why in answer.sentence


def test_a_fixed_price_needs_neither_cost_nor_its_currency():
    rule = a_rule("14.99", method=MarkupMethod.FIXED)
    for asked in (wanted(cost=None, cost_currency=""), wanted(cost_currency="EUR")):
        assert value(PriceBook([], [rule]).price(asked)) == Fraction("14.99")


def test_what_has_no_cycle_has_no_price_list():
    asked = replace(wanted(), term=None, billing_cycle=None)
    assert value(PriceBook([a_price()], [a_rule("20")]).price(asked)) == 12


# --- yearly prices, discounts ------------------------------------------------------------------------


def test_a_yearly_price_stays_whole_so_that_its_instalments_sum():
    yearly = a_price(None, annual_price=Decimal("100.00"))
    answer = PriceBook([yearly], []).price(wanted())
    assert (value(answer), answer.covers) == (100, 12)
    assert answer.reasons[0].inputs["annual_price"] == "100"
    upfront = replace(yearly, billing_cycle=BillingCycle.ANNUAL)
    at_once = PriceBook([upfront], []).price(
        wanted(billing_cycle=BillingCycle.ANNUAL, cost=Decimal(90))
    )
    assert (value(at_once), at_once.covers) == (100, None)


def discounted(**fields):
    return a_price("12.00", discount_percent=Decimal(25), **fields)


def test_a_discount_lowers_the_unit_price_on_the_days_of_service_on_which_it_is_given():
    """12 less 25 percent is 9."""
    book = PriceBook([discounted(discount_valid=period("2026-10-01", "2027-01-01"))], [])
    first = book.price(wanted())
    assert value(first) == 9
    assert [reason.rule for reason in first.reasons] == ["price.agreed", "price.discount"]
    assert first.reasons[1].inputs["percent"] == "25"
    assert value(book.price(wanted(service=day("2026-12-31")))) == 9
    assert value(book.price(wanted(service=day("2027-01-01")))) == 12


# --- how long a price holds ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_from", "given_to", "service", "until"),
    [
        ("2020-01-01", "2040-01-01", "2026-10-14", "2040-01-01"),
        ("2026-10-01", "2027-01-01", "2026-12-14", "2027-01-01"),
        ("2026-10-01", "2027-01-01", "2027-01-14", None),  # it was lower earlier in the term
        ("2026-12-01", "2027-01-01", "2026-11-14", "2026-12-01"),
        ("2026-12-01", "2027-01-01", "2026-12-14", None),  # it was higher earlier in the term
        ("2026-01-01", "2026-10-14", "2026-11-14", "9999-12-31"),  # over before the term began
    ],
)
def test_an_agreed_price_holds_as_long_as_its_discount_is_one(given_from, given_to, service, until):
    item = discounted(discount_valid=period(given_from, given_to))
    answer = PriceBook([item], []).price(wanted(cost=None, service=day(service)))
    assert answer.until == (until and day(until))


def test_a_locked_price_is_asked_for_once_and_one_that_hangs_on_a_cost_for_every_cycle():
    agreed, fixed = [a_price()], [a_rule("9", method=MarkupMethod.FIXED)]
    assert PriceBook(agreed, []).price(wanted(cost=None)).until == date.max
    assert PriceBook([], fixed).price(wanted(cost=None)).until == date.max
    for book in (PriceBook(agreed, []), PriceBook([], fixed), PriceBook([], [a_rule()])):
        assert book.price(wanted()).until is None  # its cost is told with it, and may change


# --- bounds, free products, what is only for usage ----------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "price", "told"),
    [
        ({"floor": Decimal(12)}, "12", ["price.markup", "price.floor"]),
        ({"cap": Decimal("11.25")}, "11.25", ["price.markup", "price.cap"]),
        ({"floor": Decimal(11), "cap": Decimal(12)}, "11.5", ["price.markup"]),
    ],
)
def test_a_price_lies_between_floor_and_cap(bounds, price, told):
    """15 percent on 10 are 11.50."""
    answer = PriceBook([], [a_rule("15", **bounds)]).price(wanted())
    assert value(answer) == Fraction(price)
    assert [reason.rule for reason in answer.reasons] == told


@pytest.mark.parametrize("method", [MarkupMethod.FIXED, MarkupMethod.UPLIFT, MarkupMethod.PERCENT])
def test_no_rule_makes_a_price_of_what_is_free(method):
    rule = a_rule("5", method=method, floor=Decimal(3))
    free = wanted(cost=Decimal(0), is_free=True)
    answer = PriceBook([], [rule]).price(free)
    assert (value(answer), answer.reasons[0].rule) == (0, "price.free")
    assert value(PriceBook([a_price("4")], [rule]).price(free)) == 4  # but an agreement does


def test_a_price_below_zero_is_a_finding():
    answer = PriceBook([], [a_rule("-10.01", method=MarkupMethod.UPLIFT)]).price(wanted())
    assert "below zero" in answer.sentence


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (
            a_rule(
                None,
                method=MarkupMethod.PACKAGE,
                package=Package(size=Decimal(1), price=Decimal(1)),
            ),
            "package are for usage",
        ),
        (a_rule("5", minimum=Decimal(100)), "a minimum or maximum is agreed for usage"),
        (a_rule("5", maximum=Decimal(100)), "a minimum or maximum is agreed for usage"),
    ],
)
def test_what_looks_at_a_month_prices_no_seats(rule, fault):
    answer = PriceBook([], [rule]).price(wanted())
    assert answer.check == "price.no_basis"
    assert fault in answer.sentence


# --- what cannot be meant -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        (a_price(None), "one of unit price and annual price"),
        (a_price("1", annual_price=Decimal(1)), "one of unit price and annual price"),
        (a_price("-1"), "no price is below zero"),
        (a_price("1", discount_percent=Decimal(101)), "no discount is 101 percent"),
        (a_price("1", discount_percent=Decimal(-1)), "no discount is -1 percent"),
        (
            a_price(None, annual_price=Decimal(1), term=TermDuration.MONTH),
            "an annual price is for terms of a year and more",
        ),
        (
            a_price(
                None,
                annual_price=Decimal(1),
                term=TermDuration.THREE_YEARS,
                billing_cycle=BillingCycle.TRIENNIAL,
            ),
            "billed at least once a year",
        ),
    ],
)
def test_an_impossible_agreed_price_is_a_finding(item, fault):
    asked = wanted(term=item.term, billing_cycle=item.billing_cycle)
    answer = PriceBook([item], [a_rule()]).price(asked)
    assert (answer.check, answer.record) == ("price.rule", "agreed price price/1")
    assert fault in answer.sentence
    assert [finding.sentence for finding in check_prices([item], [])] == [answer.sentence]


def test_every_entry_that_cannot_be_meant_is_found_before_it_is_used():
    broken = a_rule(
        None, key="t", method=MarkupMethod.TIERS, tiers=Tiers(mode="graduated", steps=())
    )
    found = check_prices([a_price(), a_price(None, key="p")], [a_rule(), broken])
    assert [finding.record for finding in found] == ["agreed price p", "markup rule t"]


# --- currencies ---------------------------------------------------------------------------------------


def test_a_rule_that_names_a_currency_is_there_for_no_other():
    dollars = a_rule("2", key="usd", method=MarkupMethod.UPLIFT, currency="USD")
    euros = a_rule("3", key="eur", method=MarkupMethod.UPLIFT, currency="EUR")
    assert value(PriceBook([], [dollars, euros]).price(wanted())) == 12
    missing = PriceBook([], [euros]).price(wanted())
    assert missing.check == "price.missing"
    assert "USD" in missing.hint


@pytest.mark.parametrize(
    ("method", "number", "price"),
    [
        (MarkupMethod.PERCENT, "20", "15"),  # 10 EUR × 1.25 = 12.50 USD, × 1.2
        (MarkupMethod.UPLIFT, "2", "14.5"),  # the uplift is in the currency of the sale
        (MarkupMethod.MARGIN, "50", "25"),
        (MarkupMethod.ERP_MINUS, "10", "22.5"),  # 20 EUR × 1.25, less 10 percent
    ],
)
def test_a_cost_in_another_currency_is_turned_at_the_rate_of_the_day(method, number, price):
    book = PriceBook(
        [], [a_rule(number, method=method)], [a_rate("1.5", "2026-10-15"), a_rate("1.25")]
    )
    answer = book.price(wanted(cost_currency="EUR", erp=Decimal(20)))
    assert (value(answer), answer.cost) == (Fraction(price), Decimal("12.5"))
    assert dict(answer.reasons[0].inputs) == {
        "source": "ECB",
        "from": "EUR",
        "to": "USD",
        "rate": "1.25",
        "date": "2026-10-01",
    }


def test_the_rate_is_the_latest_of_the_day_on_which_the_term_begins():
    book = PriceBook([], [a_rule("0")], [a_rate("1.1", "2026-09-20"), a_rate("1.2", "2026-10-14")])
    assert value(book.price(wanted(cost_currency="EUR"))) == 12
    assert value(book.price(wanted(cost_currency="EUR", on=day("2026-10-13")))) == 11
    later = wanted(cost_currency="EUR", service=day("2027-03-14"))
    assert value(book.price(later)) == 12  # the price is locked for the term


@pytest.mark.parametrize(
    ("rates", "why"),
    [
        ([], "it costs EUR and is sold in USD, and no rate of 2026-10-14 is known"),
        ([a_rate("1.25", on="2026-10-15")], "no rate of 2026-10-14 is known"),
        ([a_rate("1.25", base="USD", quote="EUR")], "no rate of 2026-10-14 is known"),
        (
            [a_rate("1.25", on="2026-09-08")],
            "is of 2026-09-08, more than 35 days before 2026-10-14",
        ),
        (
            [a_rate("1.2"), a_rate("1.3", source="Microsoft")],
            "two rates of EUR in USD stand for 2026-10-01: 1.2 by ECB, 1.3 by Microsoft",
        ),
        ([a_rate("0")], "a rate of 0 USD for one EUR is impossible"),
    ],
)
def test_without_one_usable_rate_there_is_a_finding(rates, why):
    answer = PriceBook([], [a_rule()], rates).price(wanted(cost_currency="EUR"))
    assert (answer.check, answer.severity) == ("price.no_basis", Severity.HOLD)
    assert why in answer.sentence


def test_a_rate_may_be_as_old_as_the_policy_says():
    old = [a_rate("1.25", on="2026-09-09")]
    assert value(PriceBook([], [a_rule("0")], old).price(wanted(cost_currency="EUR"))) == Fraction(
        "12.5"
    )
    strict = PriceBook([], [a_rule("0")], old, PricePolicy(rate_days=34))
    assert isinstance(strict.price(wanted(cost_currency="EUR")), Finding)


def test_two_sources_that_agree_are_one_rate():
    rates = [a_rate("1.25"), a_rate("1.25", source="Microsoft")]
    answer = PriceBook([], [a_rule("0")], rates).price(wanted(cost_currency="EUR"))
    assert answer.reasons[0].inputs["source"] == "ECB"


def test_an_agreed_price_tells_its_cost_in_the_currency_of_the_sale_or_not_at_all():
    abroad = wanted(cost_currency="EUR")
    assert PriceBook([a_price()], []).price(abroad).cost is None
    assert PriceBook([a_price()], [], [a_rate("0.9")]).price(abroad).cost == 9


# --- the bound on price over cost ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit_price", "fits"),
    [("2.49", False), ("2.50", True), ("40.00", True), ("40.01", False), ("0", True)],
)
def test_a_price_far_from_its_cost_is_doubted_and_nothing_is_a_price(unit_price, fits):
    """The cost is 10: a quarter of it, and four times it, are the bounds."""
    for book in (
        PriceBook([a_price(unit_price)], []),
        PriceBook([], [a_rule(unit_price, method=MarkupMethod.FIXED)]),
    ):
        answer = book.price(wanted())
        assert value(answer) == Fraction(unit_price)
        if fits:
            assert answer.doubt is None
        else:
            assert (answer.doubt.check, answer.doubt.severity) == ("price.ratio", Severity.HOLD)


def test_a_year_taken_for_a_month_is_seen_and_a_year_that_is_one_is_not():
    monthly = PriceBook([a_price("120.00")], []).price(wanted())
    assert monthly.doubt.sentence == (
        f"The price of {OFFER} is 12 times its cost: 120 against 10 USD for one billing cycle."
    )
    yearly = PriceBook([a_price(None, annual_price=Decimal(144))], []).price(wanted())
    assert (value(yearly), yearly.doubt) == (144, None)
    generous = PricePolicy(most_ratio=Fraction(20))
    assert PriceBook([a_price("120.00")], [], (), generous).price(wanted()).doubt is None


def test_a_price_without_a_cost_or_with_a_free_one_cannot_be_judged():
    for cost in (None, Decimal(0)):
        assert PriceBook([a_price("999")], []).price(wanted(cost=cost)).doubt is None


# --- costs of more than a cycle -----------------------------------------------------------------------


def test_a_yearly_cost_makes_a_yearly_price():
    """100 a year, 8 percent on it: 108 for twelve months; an uplift of 1 a month makes 112."""
    sheet = wanted(cost=Decimal(100), covers=12)
    answer = PriceBook([], [a_rule("8")]).price(sheet)
    assert (value(answer), answer.covers) == (108, 12)
    assert answer.cost == Decimal("8.3333333333")
    assert answer.reasons[0].inputs["covers_months"] == "12"
    uplift = a_rule("1", method=MarkupMethod.UPLIFT)
    assert value(PriceBook([], [uplift]).price(sheet)) == 112


def test_bounds_are_for_one_billing_cycle_of_a_yearly_cost():
    """100 a year are 8.33 a month: at least 9 a month make 108."""
    floor = a_rule("0", floor=Decimal(9))
    assert value(PriceBook([], [floor]).price(wanted(cost=Decimal(100), covers=12))) == 108


def test_a_monthly_cost_of_yearly_billing_is_one_of_twelve():
    asked = wanted(cost=Decimal(10), covers=1, billing_cycle=BillingCycle.ANNUAL)
    answer = PriceBook([], [a_rule("5")]).price(asked)
    assert (value(answer), answer.covers, answer.cost) == (126, None, 120)


# --- properties ---------------------------------------------------------------------------------------

_ladder = st.lists(
    st.fixed_dictionaries(
        {
            "customer_id": st.sampled_from(["", "c1", "c2"]),
            "sku": st.sampled_from(["", OFFER, "other:1"]),
            "kind": st.sampled_from(["", "licence", "usage"]),
            "currency": st.sampled_from(["", "USD", "EUR"]),
            "number": st.integers(0, 50),
        }
    ),
    max_size=8,
)


@given(_ladder, st.data())
def test_the_order_of_rules_prices_and_rates_changes_nothing(ladder, data):
    rules = [
        a_rule(str(fields.pop("number")), key=f"rule/{n}", **fields)
        for n, fields in enumerate(map(dict, ladder))
    ]
    prices = [a_price(str(n), key=f"price/{n}") for n in range(data.draw(st.integers(0, 2)))]
    rates = [a_rate("1.1"), a_rate("1.2", "2026-10-10"), a_rate("1.2", "2026-10-10", source="Bank")]
    asked = wanted(cost_currency=data.draw(st.sampled_from(["USD", "EUR"])))
    shuffled = [data.draw(st.permutations(part)) for part in (prices, rules, rates)]
    assert PriceBook(*shuffled).price(asked) == PriceBook(prices, rules, rates).price(asked)


@given(
    st.decimals("0.01", "500", places=2),
    st.decimals(-50, 90, places=1),
    st.sampled_from([MarkupMethod.PERCENT, MarkupMethod.MARGIN, MarkupMethod.UPLIFT]),
    st.sampled_from([None, 12, 36]),
)
def test_a_price_of_more_cycles_is_that_many_prices(cost, number, method, covers):
    """Nothing is rounded on the way: twelve months at once cost twelve times one month."""
    rule = a_rule(str(number), method=method, floor=Decimal(2), cap=Decimal(400))
    book = PriceBook([], [rule])
    one = book.price(wanted(cost=cost))
    many = book.price(wanted(cost=cost * (covers or 1), covers=covers))
    if isinstance(one, Finding):
        assert one == many
    else:
        assert Decimal(2) <= value(one) <= Decimal(400)
        assert value(many) == value(one) * (covers or 1)
