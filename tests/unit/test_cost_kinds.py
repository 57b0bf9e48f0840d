"""Reservations, savings plans and the marketplace: kinds of their own, for rules and on the bill."""

from dataclasses import replace
from decimal import Decimal

import pytest

from domain.charge import ChargeType
from domain.contract import MarkupMethod, Package, UsageGroup, UsageGrouping
from domain.subscription import MARKETPLACE, CostKind
from tests.builders import (
    a_line,
    a_pass_on,
    a_rule,
    a_share,
    a_subscription,
    amounts,
    checks,
    drafted,
    issued,
)
from tests.builders import rated_customer as rate

OTHERS = {"publisher": "Northwind Networks"}
RULES = (
    a_rule("15", key="all"),
    a_rule("5", key="reservations", kind="reservation"),
    a_rule("4", key="plans", kind="savings_plan"),
    a_rule("30", key="marketplace", kind="marketplace"),
    a_rule("0", key="credits", kind="credit"),
)


@pytest.mark.parametrize(
    ("kind", "fields", "type_", "asked"),
    [
        (CostKind.ONE_TIME, {}, ChargeType.ONE_TIME, "115.00"),
        (CostKind.RESERVATION, {}, ChargeType.RESERVATION, "105.00"),
        (CostKind.SAVINGS_PLAN, {}, ChargeType.SAVINGS_PLAN, "104.00"),
        (CostKind.ONE_TIME, OTHERS, ChargeType.MARKETPLACE, "130.00"),
        (CostKind.ONE_TIME, {"publisher": "Microsoft Corporation"}, ChargeType.ONE_TIME, "115.00"),
        (CostKind.ONE_TIME, {"publisher": "microsoft"}, ChargeType.ONE_TIME, "115.00"),
        (CostKind.USAGE, {"shares": (a_share("1"),)}, ChargeType.USAGE, "115.00"),
        (
            CostKind.USAGE,
            {"shares": (a_share("1"),), **OTHERS},
            ChargeType.MARKETPLACE,
            "130.00",
        ),
    ],
)
def test_each_kind_has_its_own_rule_and_its_own_type_of_charge(kind, fields, type_, asked):
    (charge,) = rate([a_pass_on(kind, "100.00", **fields)], rules=RULES).charges
    assert (charge.type, str(charge.amount.amount)) == (type_, asked)


def test_the_marketplace_without_a_rule_of_its_own_is_priced_as_what_it_is_billed_as():
    usage = a_pass_on(CostKind.USAGE, "100.00", shares=(a_share("1"),), **OTHERS)
    (charge,) = rate([usage], rules=[a_rule("12", kind="usage")]).charges
    assert str(charge.amount) == "112.00 USD"
    result = rate([usage], rules=[a_rule("8", kind="one_time")])
    assert (result.charges, checks(result.findings)) == ((), ["price.missing"])


def test_a_rule_for_the_product_outweighs_the_one_for_the_marketplace():
    line = a_pass_on(CostKind.ONE_TIME, "100.00", **OTHERS)
    own = a_rule("50", key="own", kind="one_time", sku=line.sku)
    assert amounts(rate([line], rules=[*RULES, own]).charges) == ["150.00"]


def test_two_rules_for_the_marketplace_are_a_tie():
    twin = a_rule("31", key="twin", kind="marketplace")
    result = rate([a_pass_on(CostKind.ONE_TIME, "100.00", **OTHERS)], rules=[*RULES, twin])
    assert checks(result.findings) == ["price.tie"]


def test_seats_of_another_publisher_are_priced_as_marketplace():
    seats = a_subscription(publisher="Litware Software BV")
    lines = [a_line("new", **OTHERS)]
    licences = a_rule("15", key="licences", kind="licence")
    (charge,) = rate(lines, subscriptions=[seats], rules=[licences, RULES[3]]).charges
    assert str(charge.amount) == "130.00 USD"
    (charge,) = rate(lines, subscriptions=[seats], rules=[licences]).charges
    assert str(charge.amount) == "115.00 USD"
    assert (seats.priced_as, a_subscription().priced_as) == (MARKETPLACE, "licence")


@pytest.mark.parametrize("by", [UsageGroup.ONE_LINE, UsageGroup.SERVICE, UsageGroup.SUBSCRIPTION])
def test_the_marketplace_never_shares_a_line_with_microsoft(by):
    lines = [
        a_pass_on(CostKind.USAGE, "10.00", key="a", shares=(a_share("1"),)),
        a_pass_on(CostKind.USAGE, "10.00", key="b", sku_id="2", shares=(a_share("1"),), **OTHERS),
    ]
    ours, theirs = rate(lines, rules=[a_rule("0")], grouping=UsageGrouping(by=by)).charges
    assert theirs.key == f"{ours.key}/marketplace"
    assert (ours.name.split()[0], theirs.name.split()[0]) == ("Azure", "Marketplace")
    assert (ours.type, theirs.type) == (ChargeType.USAGE, ChargeType.MARKETPLACE)


def test_a_minimum_for_the_marketplace_counts_its_usage():
    line = a_pass_on(CostKind.USAGE, "10.00", shares=(a_share("1"),), **OTHERS)
    rule = a_rule("0", kind="marketplace", customer_id="c1", minimum=Decimal(25))
    assert amounts(rate([line], rules=[rule]).charges) == ["10.00", "15.00"]


# --- what was paid for ahead -------------------------------------------------------------------------


def covered(quantity="720", lines=30, benefit="reservation"):
    return a_share("0", quantity=Decimal(quantity), lines=lines, benefit=benefit)


def test_what_a_reservation_paid_for_is_shown_and_costs_nothing():
    line = a_pass_on(CostKind.USAGE, "10.00", shares=(a_share("10", lines=31), covered()))
    (charge,) = rate([line], rules=[a_rule("10")]).charges
    assert str(charge.amount) == "11.00 USD"
    assert charge.why == (
        "61 usage lines of Microsoft for 2026-10-01 to 2026-10-31 = 11.00 USD; "
        "30 lines of them paid for ahead by a reservation"
    )
    assert charge.reasons[1].inputs == {
        "benefit": "reservation",
        "usage_lines": "30",
        "quantity": "720",
    }


def test_usage_that_was_all_paid_for_ahead_is_a_line_of_nothing():
    shares = (covered(), covered("10", 1, "savings_plan"))
    (charge,) = rate([a_pass_on(CostKind.USAGE, "0.00", shares=shares)]).charges
    assert str(charge.amount) == "0.00 USD"
    assert charge.why.endswith(
        "31 lines of them paid for ahead by a reservation and a savings plan"
    )


def test_what_was_paid_for_ahead_fills_no_package():
    """150 units are two packages of 100, whatever else a reservation covers."""
    rule = a_rule(
        None,
        key="pack",
        method=MarkupMethod.PACKAGE,
        package=Package(size=Decimal(100), price=Decimal("7.00")),
    )
    shares = (a_share("10", quantity=Decimal(150)), covered())
    for by in (UsageGroup.SERVICE, UsageGroup.SUBSCRIPTION):
        line = a_pass_on(CostKind.USAGE, "10.00", shares=shares)
        charges = rate([line], rules=[rule], grouping=UsageGrouping(by=by)).charges
        assert amounts(charges) == ["14.00"]


def test_a_line_that_cost_something_is_not_explained_by_what_was_paid_for_ahead():
    result = rate([a_pass_on(CostKind.USAGE, "10.00", shares=(covered(),))])
    assert (result.charges, checks(result.findings)) == ((), ["usage.missing"])


def test_the_reservation_itself_is_billed_once_and_the_usage_under_it_not_again():
    reservation = a_pass_on(
        CostKind.RESERVATION, "1200.00", reservation_order_id="r1", key="r", name="VM, 1 year"
    )
    usage = a_pass_on(CostKind.USAGE, "0.00", key="u", shares=(covered(),))
    charges = rate([reservation, usage], rules=RULES).charges
    assert amounts(charges) == ["1260.00", "0.00"]
    assert drafted(charges, [issued(drafted(charges))]) is None


# --- credits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        (a_rule("0", kind="credit"), "-50.00"),  # as Microsoft gives it
        (a_rule("10", kind="credit"), "-55.00"),  # with the markup that was on the cost
        (a_rule("-100", kind="credit"), "0.00"),  # kept by the partner, and shown as nothing
        (a_rule("20", method=MarkupMethod.MARGIN, kind="credit"), "-62.50"),
    ],
)
def test_azure_credits_are_passed_on_as_the_rule_says(rule, asked):
    credit = a_pass_on(CostKind.CREDIT, "-50.00", credit_reason="Azure Consumption Credit")
    result = rate([credit], rules=[a_rule("15", key="usage", kind="usage"), rule])
    assert amounts(result.charges) == [asked]
    assert result.charges[0].type is ChargeType.CREDIT


def test_a_credit_without_a_rule_is_held_not_swallowed():
    credit = a_pass_on(CostKind.CREDIT, "-50.00", **OTHERS)
    rules = [a_rule("15", kind="usage"), a_rule("30", kind="marketplace", key="m")]
    result = rate([credit], rules=rules)
    assert (result.charges, checks(result.findings)) == ((), ["price.missing"])


def test_a_changed_reservation_is_answered_as_a_change_of_microsofts_line():
    line = a_pass_on(CostKind.RESERVATION, "100.00", key="r")
    document = issued(drafted(rate([line], rules=RULES).charges))
    changed = replace(line, subtotal=Decimal("90.00"))
    (answer,) = drafted(rate([changed], rules=RULES).charges, [document]).lines
    assert str(answer.amount) == "-10.50 USD"
    assert answer.charge.why.startswith("Microsoft's line changed")
