"""Which price applies, and what is said when none or two do."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from domain.contract import MarkupMethod
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from rules.lines import UnitPrice
from rules.metering import marked_up
from rules.pricing import PriceBook, Priced
from tests.builders import OFFER, a_price, a_rule, day, period


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
