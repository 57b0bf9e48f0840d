"""The whole of each charge that is passed on: what the customer reads, and what an auditor follows."""

from decimal import Decimal
from fractions import Fraction

import pytest

from domain.charge import Charge, ChargeType, Reason
from domain.contract import MarkupMethod, Step, TierBasis, TierMode, Tiers
from domain.money import Money
from domain.period import Frequency, Period
from domain.subscription import CostKind
from tests.builders import (
    a_pass_on,
    a_rate,
    a_rule,
    a_share,
    a_subscription,
    day,
    period,
    rated_customer,
)

OCTOBER = Period.month("2026-10")
PERCENT = Reason(
    rule="price.markup", inputs={"rule": "rule/all", "method": "percent", "value": "15"}
)


def usd(text):
    return Money(Decimal(text), "USD")


def test_a_one_time_purchase():
    """3 for 10.00 are 3.3333333333 each; 15 percent more are 11.50, 3.8333333333 each."""
    line = a_pass_on(CostKind.ONE_TIME, "10.00", billable_quantity=Decimal(3))
    (charge,) = rated_customer([line]).charges
    assert charge == Charge(
        key="charge/cost/I1/one_time/10.00",
        customer_id="c1",
        subscription_id="plan-1",
        type=ChargeType.ONE_TIME,
        name="Azure plan",
        sku="DZH318Z0BPS6:0001",
        service=OCTOBER,
        full=OCTOBER,
        quantity=Decimal(3),
        unit_price=Decimal("3.8333333333"),
        exact=Fraction("11.5"),
        amount=usd("11.50"),
        unit_cost=Decimal("3.3333333333"),
        why="3 × 3.833333 USD (2026-10-01 to 2026-10-31) = 11.50 USD",
        reasons=(
            Reason(rule="cost.line", inputs={"line": "cost/I1/one_time/10.00", "subtotal": "10"}),
            PERCENT,
        ),
        cost_lines=("cost/I1/one_time/10.00",),
    )


def test_a_credit():
    line = a_pass_on(CostKind.CREDIT, "-10.00", billable_quantity=Decimal(0), credit_reason="SLA")
    (charge,) = rated_customer([line]).charges
    assert (charge.type, charge.name) == (ChargeType.CREDIT, "Azure plan (SLA)")
    assert (charge.quantity, charge.unit_price, charge.unit_cost) == (-1, Decimal("11.5"), 10)
    assert (charge.amount, charge.exact) == (usd("-11.50"), Fraction("-11.5"))
    assert (charge.service, charge.customer_id) == (OCTOBER, "c1")


def test_a_line_without_a_quantity_is_one():
    line = a_pass_on(CostKind.ONE_TIME, "10.00", billable_quantity=Decimal(0))
    (charge,) = rated_customer([line]).charges
    assert (charge.quantity, charge.unit_price) == (1, Decimal("11.5"))
    assert charge.why == "1 × 11.50 USD (2026-10-01 to 2026-10-31) = 11.50 USD"


@pytest.mark.parametrize("method", [MarkupMethod.FIXED, MarkupMethod.UPLIFT])
def test_what_is_listed_at_nothing_gets_no_price_by_a_rule(method):
    line = a_pass_on(CostKind.ONE_TIME, "0.00")
    (charge,) = rated_customer([line], rules=[a_rule("5", method=method)]).charges
    assert (charge.amount, charge.exact) == (usd("0.00"), 0)
    assert charge.reasons[-1] == Reason(rule="price.free", inputs={"rule": "rule/all", "cost": "0"})


@pytest.mark.parametrize(("subtotal", "listed"), [("0.00", 5), ("5.00", 0)])
def test_what_cost_nothing_this_time_but_is_listed_has_its_price(subtotal, listed):
    line = a_pass_on(CostKind.ONE_TIME, subtotal, unit_price=Decimal(listed))
    (charge,) = rated_customer([line], rules=[a_rule("5", method=MarkupMethod.FIXED)]).charges
    assert charge.amount == usd("5.00")
    assert "price.free" not in [reason.rule for reason in charge.reasons]


def test_a_price_of_nothing_is_a_price():
    line = a_pass_on(CostKind.ONE_TIME, "10.00")
    (charge,) = rated_customer([line], rules=[a_rule("-100")]).charges
    assert charge.amount == usd("0.00")


def test_the_usage_of_one_meter_category():
    """Two of three parts of 10.00 are 6.67 by largest remainder; at 1.2 that is 8.004 dollars."""
    line = a_pass_on(
        CostKind.USAGE,
        "10.00",
        currency="EUR",
        charged=period("2026-10-01", "2026-10-11"),
        shares=(a_share("2", lines=31), a_share("1", meter_category="Compute")),
    )
    rule = a_rule("15", meter_category="Storage", kind="usage", key="storage")
    result = rated_customer([line], rules=[rule], rates=[a_rate()])
    (charge,) = result.charges
    assert charge == Charge(
        key="charge/plan-1/usage/2026-10-01/azure-1/Storage/EUR",
        customer_id="c1",
        subscription_id="plan-1",
        type=ChargeType.USAGE,
        name="Azure Storage, Production",
        sku="DZH318Z0BPS6:0001",
        service=period("2026-10-01", "2026-10-11"),
        full=period("2026-10-01", "2026-10-11"),
        quantity=Decimal(1),
        unit_price=Decimal("9.2046"),
        exact=Fraction("9.2046"),
        amount=usd("9.20"),
        unit_cost=Decimal("8.004"),
        why="31 usage lines of Microsoft for 2026-10-01 to 2026-10-10 = 9.20 USD",
        reasons=(
            Reason(
                rule="usage.split",
                inputs={
                    "grouping": "service",
                    "azure_subscription": "azure-1",
                    "meter_category": "Storage",
                    "usage_lines": "31",
                    "invoice_lines": "1",
                    "cost": "6.67 EUR",
                },
            ),
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
                    "rule": "storage",
                    "method": "percent",
                    "value": "15",
                    "quantity": "1",
                    "cost": "8.004",
                    "lines": "31",
                },
            ),
        ),
        cost_lines=("cost/I1/usage/10.00",),
    )
    assert [finding.check for finding in result.findings] == ["price.missing"]  # Compute


def test_the_month_of_one_meter_category_in_tiers():
    steps = (
        Step(up_to=Decimal(10), unit_price=Decimal(1)),
        Step(unit_price=Decimal("0.5"), flat=Decimal(2)),
    )
    rule = a_rule(
        None,
        key="tiers",
        method=MarkupMethod.TIERS,
        tiers=Tiers(mode=TierMode.GRADUATED, basis=TierBasis.QUANTITY, steps=steps),
    )
    share = a_share("10", quantity=Decimal(14), lines=1)
    line = a_pass_on(CostKind.USAGE, "10.00", ordered_on=day("2026-10-31"), shares=(share,))
    (charge,) = rated_customer([line], rules=[rule]).charges
    assert charge.key == "charge/plan-1/usage/2026-10-01/month/Storage/tiers"
    assert charge.name == "Azure Storage"
    assert charge.why == (
        "Azure Storage (2026-10-01 to 2026-10-31): 10 × 1 + 4 × 0.5 + 2 = 14.00 USD"
    )
    assert (charge.amount, charge.unit_cost) == (usd("14.00"), 10)
    assert charge.reasons == (
        Reason(
            rule="usage.split",
            inputs={
                "grouping": "service",
                "meter_category": "Storage",
                "usage_lines": "1",
                "invoice_lines": "1",
                "cost": "10 USD",
            },
        ),
        Reason(
            rule="price.tier",
            inputs={
                "rule": "tiers",
                "mode": "graduated",
                "basis": "quantity",
                "step": "1 of 2",
                "part": "10",
                "unit_price": "1",
                "per": "1",
                "price": "10",
            },
        ),
        Reason(
            rule="price.tier",
            inputs={
                "rule": "tiers",
                "mode": "graduated",
                "basis": "quantity",
                "step": "2 of 2",
                "part": "4",
                "unit_price": "0.5",
                "per": "1",
                "flat": "2",
                "price": "4",
            },
        ),
    )


@pytest.mark.parametrize(
    ("category", "entitlement", "name"),
    [
        ("Storage", "Production", "Azure Storage, Production"),
        ("Azure DNS", "Production", "Azure DNS, Production"),
        ("", "", "Azure usage, azure-1"),
    ],
)
def test_usage_is_named_by_its_meters_and_its_subscription(category, entitlement, name):
    share = a_share("1", meter_category=category, entitlement_name=entitlement, lines=1)
    line = a_pass_on(CostKind.USAGE, "1.00", shares=(share,))
    (charge,) = rated_customer([line]).charges
    assert charge.name == name
    assert charge.why == "1 usage line of Microsoft for 2026-10-01 to 2026-10-31 = 1.15 USD"


@pytest.mark.parametrize(
    ("terms", "what", "amount", "sentence"),
    [
        (
            {"minimum": Decimal(100)},
            "minimum",
            "88.50",
            "100 USD = 100.00 USD, less 11.50 charged = 88.50 USD",
        ),
        (
            {"maximum": Decimal(10)},
            "maximum",
            "-1.50",
            "10 USD = 10.00 USD, less 11.50 charged = -1.50 USD",
        ),
    ],
)
def test_what_is_missing_to_a_minimum_or_too_much_for_a_maximum(terms, what, amount, sentence):
    rule = a_rule("15", key="terms", customer_id="c1", sku="DZH318Z0BPS6:0001", **terms)
    line = a_pass_on(CostKind.USAGE, "10.00", shares=(a_share("10"),))
    _, charge = rated_customer([line], rules=[rule]).charges
    assert charge == Charge(
        key="charge/commitment/terms/2026-10-01",
        customer_id="c1",
        subscription_id="",
        type=ChargeType.USAGE,
        name=f"Azure usage, agreed {what}",
        sku="DZH318Z0BPS6:0001",
        service=OCTOBER,
        full=OCTOBER,
        quantity=Decimal(1),
        unit_price=Decimal(amount),
        exact=Fraction(amount),
        amount=usd(amount),
        unit_cost=Decimal(0),
        why=f"Agreed {what} for 2026-10-01 to 2026-10-31: {sentence}",
        reasons=(
            Reason(
                rule=f"price.{what}",
                inputs={
                    "rule": "terms",
                    what: str(terms[what]),
                    "days": "31",
                    "period_days": "31",
                    "due": f"{terms[what]}.00",
                    "charged": "11.50",
                },
            ),
        ),
    )


# --- one fault stops nothing else --------------------------------------------------------------------


def test_a_line_that_cannot_be_charged_leaves_the_others_in():
    good = (a_share("10"),)
    lines = [
        a_pass_on(CostKind.USAGE, "10.00", key="a", charged=None, ordered_on=None, shares=good),
        a_pass_on(CostKind.USAGE, "10.00", key="b"),  # nothing explains it
        a_pass_on(CostKind.USAGE, "20.00", key="c", shares=(a_share("1", meter_category="A"),)),
        a_pass_on(CostKind.USAGE, "20.00", key="d", shares=(a_share("1", meter_category="B"),)),
        a_pass_on(CostKind.USAGE, "20.00", key="e", shares=good),
    ]
    uplift = a_rule("5", key="a", method=MarkupMethod.UPLIFT, meter_category="A")
    nothing = a_rule("5", key="b", meter_category="B", customer_id="c2")
    result = rated_customer(lines, rules=[uplift, nothing, a_rule("15", meter_category="Storage")])
    assert [str(charge.amount) for charge in result.charges] == ["23.00 USD"]
    assert [finding.check for finding in result.findings] == [
        "usage.missing",
        "price.no_basis",
        "price.missing",
    ]


def test_shares_that_cannot_be_priced_leave_the_others_of_their_line_in():
    shares = tuple(a_share("10", meter_category=name) for name in ("A", "B", "C", "Storage"))
    rules = [
        a_rule("5", key="a", method=MarkupMethod.UPLIFT, meter_category="A"),
        a_rule("5", key="c", method=MarkupMethod.UPLIFT, meter_category="C"),
        a_rule("15", key="s", meter_category="Storage"),
    ]
    result = rated_customer([a_pass_on(CostKind.USAGE, "40.00", shares=shares)], rules=rules)
    assert [str(charge.amount) for charge in result.charges] == ["11.50 USD"]


def test_usage_that_a_package_cannot_hold_leaves_the_others_in():
    shares = (
        a_share("10", meter_category="A", quantity=Decimal(-1)),
        a_share("10", meter_category="B", quantity=Decimal(1)),
    )
    steps = Tiers(
        mode=TierMode.VOLUME, basis=TierBasis.QUANTITY, steps=(Step(unit_price=Decimal(7)),)
    )
    rule = a_rule(None, method=MarkupMethod.TIERS, tiers=steps)
    result = rated_customer([a_pass_on(CostKind.USAGE, "20.00", shares=shares)], rules=[rule])
    assert [str(charge.amount) for charge in result.charges] == ["7.00 USD"]
    assert len(result.findings) == 1


def test_each_agreed_minimum_is_asked_whatever_stands_beside_it():
    """The first is impossible, the second has not begun, the third is for a used month alone."""
    rules = [
        a_rule("1", key="1", customer_id="c1", minimum=Decimal(5), maximum=Decimal(4)),
        a_rule(
            "1",
            key="2",
            customer_id="c1",
            minimum=Decimal(5),
            valid=period("2030-01-01", "2031-01-01"),
        ),
        a_rule("1", key="3", minimum=Decimal(6)),
        a_rule("1", key="4", customer_id="c1", minimum=Decimal("0.50")),
    ]
    result = rated_customer(rules=rules, window=period("2026-09-15", "2026-12-01"))
    assert [(charge.key, charge.name, str(charge.amount)) for charge in result.charges] == [
        (f"charge/commitment/4/{month}", "Azure usage, agreed minimum", "0.50 USD")
        for month in ("2026-10-01", "2026-11-01")
    ]


def test_the_months_of_a_minimum_begin_on_the_contracts_day():
    rule = a_rule("1", key="m", customer_id="c1", minimum=Decimal(100))
    window = period("2026-10-01", "2026-12-01")
    charges = rated_customer(rules=[rule], window=window, anchor_day=15).charges
    assert [(str(charge.service), str(charge.amount)) for charge in charges] == [
        ("2026-10-01 to 2026-10-14", "46.67 USD"),  # the contract begins: 14 of 30 days
        ("2026-10-15 to 2026-11-14", "100.00 USD"),
    ]
    weekly = rated_customer(
        rules=[rule], window=window, anchor_day=5, frequency=Frequency.WEEK
    ).charges
    assert [str(charge.service) for charge in weekly] == [
        "2026-10-01 to 2026-10-31",
        "2026-11-01 to 2026-11-30",
    ]


def test_seats_without_a_price_are_told_of_whom_and_on_what():
    (finding,) = rated_customer(subscriptions=[a_subscription()]).findings
    assert (finding.check, finding.customer_id, finding.record) == (
        "price.no_basis",
        "c1",
        "subscription s1",
    )


def test_a_rule_that_names_the_currency_of_the_sale_prices_lines_and_usage():
    lines = [
        a_pass_on(CostKind.ONE_TIME, "10.00"),
        a_pass_on(CostKind.USAGE, "20.00", shares=(a_share("10"),)),
    ]
    result = rated_customer(lines, rules=[a_rule("15", currency="USD")])
    assert [str(charge.amount) for charge in result.charges] == ["11.50 USD", "23.00 USD"]


def test_usage_in_a_currency_without_cents_is_split_into_whole_units():
    shares = tuple(a_share("1", meter_category=name) for name in ("A", "B", "C"))
    line = a_pass_on(CostKind.USAGE, "100", currency="JPY", shares=shares)
    charges = rated_customer([line], rules=[a_rule("0")], currency="JPY").charges
    assert sorted(str(charge.amount.amount) for charge in charges) == ["33", "33", "34"]
