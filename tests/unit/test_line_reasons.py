"""Why a line of seats comes to its amount, reason by reason; and which of Microsoft's lines is whose."""

from decimal import Decimal

import pytest

from domain.charge import ChargeType, Reason
from domain.contract import Proration
from domain.period import BillingCycle
from rules.linking import linked
from tests.builders import a_charge, a_line, period, purchase, rated, seats

TERM = Reason(rule="term", inputs={"term": "P1Y", "billing_cycle": "quarterly"})
PRICE = Reason(rule="price.test")
QUARTER = "2026-10-14 to 2027-01-13"


@pytest.mark.parametrize(
    ("way", "inputs", "exact", "said"),
    [
        (Proration.DAYS, {"cycle_days": "92"}, "34.2391304348", "21/92 days"),
        (Proration.FIXED_30, {"cycle_days": "90"}, "35", "21/90 days"),
        (
            Proration.MONTHS,
            {"cycle_days": "92", "months": "1", "cycle_months": "3"},
            "50",
            "1/3 months",
        ),
    ],
)
def test_the_reasons_of_a_whole_cycle_and_of_a_part(way, inputs, exact, said):
    """Five seats more on 24 December: 21 of 92 days, 21 of 90, or one of three months, of 150."""
    history = (
        purchase("2026-10-14", billing_cycle=BillingCycle.QUARTERLY),
        seats("2026-12-24", 15),
    )
    (whole, part), findings = rated(*history, window=("2026-10-01", "2027-01-01"), proration=way)
    assert findings == []
    assert (whole.customer_id, part.customer_id, part.subscription_id) == ("c1", "c1", "s1")
    assert whole.reasons == (
        TERM,
        PRICE,
        Reason(rule="proration.none", inputs={"quantity": "10", "unit_price": "30"}),
        Reason(rule="rounding.half_up", inputs={"exact": "300", "amount": "300.00"}),
    )
    amount = f"{round(Decimal(exact), 2):.2f}"
    assert part.reasons == (
        TERM,
        PRICE,
        Reason(
            rule=f"proration.{way}",
            inputs={
                "quantity": "5",
                "unit_price": "30",
                "days": "21",
                "cycle": QUARTER,
                **inputs,
            },
        ),
        Reason(rule="rounding.half_up", inputs={"exact": exact, "amount": amount}),
    )
    assert part.why == (
        f"5 added × 30.00 USD a quarter × {said} (2026-12-24 to 2027-01-13 of the cycle {QUARTER}) "
        f"= {amount} USD"
    )


# --- which line is whose ---------------------------------------------------------------------------------

MONTH = period("2026-10-14", "2026-11-14")


def owners(charges, lines, **options):
    return [charge.cost_lines for charge in linked(charges, lines, **options).charges]


def leg(key, quantity, sku):
    return a_line("convert", key=key, quantity=quantity, sku_id=sku)


def a_leg(quantity, sku):
    return a_charge(
        key=f"{sku}/{quantity}",
        type=ChargeType.CONVERT,
        quantity=Decimal(quantity),
        sku=f"CFQ7TTC0LH18:{sku}",
    )


def test_of_two_charges_for_the_same_days_the_one_of_the_lines_kind():
    charges = [a_charge(key="1", type=ChargeType.NEW), a_charge(key="2", type=ChargeType.RENEW)]
    assert owners(charges, [a_line("renew", key="r")]) == [(), ("r",)]
    assert owners(charges[::-1], [a_line("new", key="n")]) == [(), ("n",)]


def test_the_same_days_come_before_the_same_kind():
    longer = a_charge(key="1", type=ChargeType.NEW, service=period("2026-10-14", "2026-12-14"))
    same = a_charge(key="2", type=ChargeType.CYCLE)
    assert owners([longer, same], [a_line("new", key="n")]) == [(), ("n",)]


def test_the_same_first_day_comes_before_a_period_that_holds_it():
    holds = a_charge(key="1", service=period("2026-10-01", "2026-11-01"))
    begins = a_charge(key="2", service=period("2026-10-14", "2026-12-14"))
    line = a_line("cycleCharge", key="n")
    assert owners([holds, begins], [line], own_periods=True) == [(), ("n",)]
    assert owners([holds], [line], own_periods=True) == [("n",)]
    assert owners([holds], [line]) == [()]


def test_legs_go_by_product_and_number_then_by_product_then_as_they_stand():
    charges = [a_leg(-10, "A"), a_leg(-4, "A"), a_leg(14, "B")]
    lines = [leg("1", -4, "A"), leg("2", -10, "A"), leg("3", 14, "B")]
    assert owners(charges, lines) == [("2",), ("1",), ("3",)]
    assert owners([a_leg(-9, "A"), a_leg(10, "B")], [leg("1", 11, "B"), leg("2", -8, "A")]) == [
        ("2",),
        ("1",),
    ]
    strange = [leg("1", -5, "X"), leg("2", 5, "X"), leg("3", 1, "X")]
    assert owners([a_leg(-5, "A"), a_leg(5, "A")], strange) == [("1", "3"), ("2",)]


def test_a_first_step_up_and_a_last_step_down_have_one_line():
    up = a_charge(key="up", type=ChargeType.ADD_QUANTITY, quantity=Decimal(5))
    more = a_charge(key="more", type=ChargeType.ADD_QUANTITY, quantity=Decimal(2))
    lines = [
        a_line("addQuantity", key="a", quantity=5),
        a_line("addQuantity", key="b", quantity=-5),
        a_line("addQuantity", key="c", quantity=7),
    ]
    assert owners([more, up], lines) == [("b", "c"), ("a",)]
