"""What a price of usage tells: each reason in full, each fault in words, each bound when it holds."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from domain.charge import Reason
from domain.contract import MarkupMethod, Package, Step, TierBasis, TierMode, Tiers
from domain.problems import Finding
from rules.metering import Metered, bounded, meter_amount
from tests.builders import a_rule


def used(quantity, **fields):
    return Metered.of(name="Storage", quantity=Decimal(quantity), **fields)


def in_steps(*steps, mode=TierMode.GRADUATED, basis=TierBasis.QUANTITY):
    tiers = Tiers(mode=mode, basis=basis, steps=steps)
    return a_rule(None, key="tiers", method=MarkupMethod.TIERS, tiers=tiers)


def in_packages(size="1000", price="5", free="0", **fields):
    package = Package(size=Decimal(size), price=Decimal(price), free=Decimal(free))
    return a_rule(None, key="pack", method=MarkupMethod.PACKAGE, package=package, **fields)


def asked(rule, what):
    answer = meter_amount(rule, what, "USD")
    assert not isinstance(answer, Finding), answer.sentence
    return answer


def fault(rule, what):
    answer = meter_amount(rule, what, "USD")
    assert isinstance(answer, Finding)
    return answer.sentence.removeprefix(f"Rule {rule.key} cannot price Storage: ")


# --- packages and steps ------------------------------------------------------------------------------


def test_packages():
    """2,600 less 500 free are 2,100: three packages of 1,000 at 5.00."""
    answer = asked(in_packages(free="500"), used("2600"))
    assert answer.sentence == ("Storage: 2600 less 500 free, 3 packages of 1000 × 5 = 15.00 USD")
    assert answer.reasons == (
        Reason(
            rule="price.package",
            inputs={
                "rule": "pack",
                "quantity": "2600",
                "free": "500",
                "size": "1000",
                "packages": "3",
                "price": "5",
            },
        ),
    )
    assert asked(in_packages(), used("1")).sentence == (
        "Storage: 1, 1 package of 1000 × 5 = 5.00 USD"
    )
    assert asked(in_packages(free="500"), used("500")).exact == 0


def test_a_step_with_a_price_and_a_flat_price_and_a_percentage():
    """4 × 0.50 + 2.00 and 10 percent on the cost of 20.00 make 26.00."""
    step = Step(unit_price=Decimal("0.5"), flat=Decimal(2), percent=Decimal(10))
    answer = asked(in_steps(step), used("4", cost=20))
    assert answer.exact == 26
    assert answer.reasons == (
        Reason(
            rule="price.tier",
            inputs={
                "rule": "tiers",
                "mode": "graduated",
                "basis": "quantity",
                "step": "1 of 1",
                "part": "4",
                "unit_price": "0.5",
                "per": "1",
                "flat": "2",
                "percent": "10",
                "price": "26",
            },
        ),
    )
    assert answer.sentence == "Storage: 4 × 6.5 = 26.00 USD"  # the steps would show the cost


def test_the_terms_of_a_step_are_its_price_its_flat_price_or_both():
    both = in_steps(Step(unit_price=Decimal(2), per=Decimal(3), flat=Decimal(1)))
    assert asked(both, used("6")).sentence == "Storage: 6 × 2 / 3 + 1 = 5.00 USD"
    flat = in_steps(Step(flat=Decimal(7)))
    assert asked(flat, used("6")).sentence == "Storage: 7 = 7.00 USD"
    plain = in_steps(Step(unit_price=Decimal(2)))
    assert asked(plain, used("6")).sentence == "Storage: 6 × 2 = 12.00 USD"


def test_the_last_step_holds_its_last_unit():
    closed = in_steps(Step(up_to=Decimal(10), unit_price=Decimal(1)))
    assert asked(closed, used("10")).exact == 10
    assert fault(closed, used("10.5")) == (
        "a quantity of 10.5 lies beyond the last step, which ends at 10."
    )


def test_nothing_used_costs_nothing_by_a_rule_that_says_so():
    answer = asked(in_steps(Step(unit_price=Decimal(1), flat=Decimal(9))), used("0"))
    assert (answer.exact, answer.sentence) == (0, "Storage: 0.00 USD in all")
    assert answer.reasons == (
        Reason(rule="price.markup", inputs={"rule": "tiers", "method": "tiers"}),
    )


@pytest.mark.parametrize(
    ("rule", "what", "why"),
    [
        (a_rule(), used("1"), "its cost is not known."),
        (
            in_steps(Step(percent=Decimal(1))),
            used("1"),
            "its cost is not known.",
        ),
        (
            in_steps(Step(percent=Decimal(1)), basis=TierBasis.COST),
            used("1"),
            "its cost is not known.",
        ),
        (
            in_steps(Step(unit_price=Decimal(1))),
            used("0", cost=5),
            "it cost something, and no quantity was used.",
        ),
        (
            in_steps(Step(percent=Decimal(1)), basis=TierBasis.COST),
            used("1", cost=-5),
            "a cost of -5 lies below the first step.",
        ),
        (in_packages(), used("-1"), "a quantity of -1 makes no package."),
        (
            a_rule(method=MarkupMethod.UPLIFT),
            used("1", cost=5),
            "usage is priced by percent, margin, tiers or package.",
        ),
    ],
)
def test_what_a_rule_cannot_price_is_said_in_words(rule, what, why):
    assert fault(rule, what) == why


@pytest.mark.parametrize(
    ("package", "why"),
    [
        ({"size": "0"}, "a package cannot hold 0"),
        ({"price": "-1"}, "neither price nor free units of a package are below zero"),
        ({"free": "-1"}, "neither price nor free units of a package are below zero"),
    ],
)
def test_a_package_that_cannot_be_meant(package, why):
    rule = in_packages(**package)
    answer = meter_amount(rule, replace(used("1"), customer_id="c1"), "USD")
    assert answer.sentence == f"Rule pack cannot be meant as it stands: {why}."
    assert (answer.check, answer.customer_id) == ("price.rule", "c1")


# --- floor and cap -----------------------------------------------------------------------------------


def test_a_bound_is_told_only_where_it_held():
    rule = a_rule(key="r", floor=Decimal(2), cap=Decimal(5))
    for unit in (2, 3, 5):
        assert bounded(rule, Fraction(unit)) == (unit, ())
    floor = Reason(rule="price.floor", inputs={"rule": "r", "floor": "2", "unit_price": "1"})
    cap = Reason(rule="price.cap", inputs={"rule": "r", "cap": "5", "unit_price": "6"})
    assert bounded(rule, Fraction(1)) == (2, (floor,))
    assert bounded(rule, Fraction(6)) == (5, (cap,))


def test_a_bounded_price_stands_in_the_sentence():
    """1,500 begin two packages of 5.00: 10.00, which is 0.00667 each; at least 0.01 is 15.00."""
    answer = asked(in_packages(floor=Decimal("0.01")), used("1500"))
    assert answer.sentence == "Storage: 1500 × 0.01 = 15.00 USD"
    assert [reason.rule for reason in answer.reasons] == ["price.package", "price.floor"]


# --- sums and sentences ------------------------------------------------------------------------------


def test_a_sum_is_of_its_parts_and_for_its_customer():
    parts = [used("2", cost=3), used("5", cost=4)]
    assert Metered.total(parts, name="All", customer_id="c1", record="line 7") == Metered(
        name="All",
        quantity=Fraction(7),
        basis=Fraction(7),
        lines=2,
        customer_id="c1",
        record="line 7",
    )
    assert Metered.total(parts, name="All").record == "meter All"
    assert Metered.total(parts, name="All").customer_id == ""
    nothing = Metered.total([], name="All")
    assert (type(nothing.quantity), type(nothing.basis)) == (Fraction, Fraction)


@pytest.mark.parametrize(
    ("quantity", "sentence"),
    [
        (Fraction(1, 2), "Storage: 0.5 × 2 = 1.00 USD"),
        (Fraction(1, 3), "Storage: 0.3333333333 × 2 = 0.67 USD"),
        (Fraction("0.0000000001"), "Storage: 0.0000000001 × 2 = 0.00 USD"),
        (Fraction("0.00000000005"), "Storage: 0.0000000001 × 2 = 0.00 USD"),
    ],
)
def test_a_quantity_is_shown_with_ten_digits(quantity, sentence):
    what = Metered(name="Storage", quantity=quantity, basis=None)
    assert asked(in_steps(Step(unit_price=Decimal(2))), what).sentence == sentence
