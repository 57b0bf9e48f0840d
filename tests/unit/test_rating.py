"""One customer's month: seats from their history, everything else from Microsoft's lines."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

import pytest

from domain.charge import ChargeType
from domain.contract import MarkupMethod
from domain.period import Period
from domain.problems import Severity
from domain.subscription import CostKind, SubscriptionKind
from rules.pricing import PriceBook
from rules.rating import full_cycle_cost, rate_customer
from tests.builders import (
    OFFER,
    a_change,
    a_contract,
    a_line,
    a_pass_on,
    a_price,
    a_rule,
    a_share,
    a_subscription,
    amounts,
    checks,
    day,
    period,
)

OCTOBER = Period.month("2026-10")
RULES = (a_rule("15"),)


def rate(
    lines=(),
    *,
    subscriptions=(),
    told=(),
    rules=RULES,
    prices=(),
    window=OCTOBER,
    **terms,
):
    return rate_customer(
        contract=a_contract(**terms),
        subscriptions=subscriptions,
        told=told,
        cost_lines=lines,
        book=PriceBook(prices, rules),
        window=window,
        today=day("2026-11-09"),
    )


# --- seats -----------------------------------------------------------------------------------------


def test_seats_are_priced_from_what_they_cost():
    result = rate([a_line("new")], subscriptions=[a_subscription()])
    (charge,) = result.charges
    assert result.findings == ()
    assert (charge.type, charge.amount.amount) == (ChargeType.NEW, Decimal("115.00"))
    assert (charge.unit_cost, charge.unit_price) == (Decimal(10), Decimal("11.5"))
    assert charge.cost_lines == ()  # seats are rated, not imported
    assert charge.name == "Business Premium"


def test_the_price_is_the_one_in_force_when_the_term_began():
    lines = [
        a_line("cycleCharge", subscription_start=day("2026-02-14"), first="2026-10-14"),
    ]
    subscription = a_subscription(start=day("2026-02-14"))
    old = a_rule("10", key="old", valid=period("2026-01-01", "2026-10-01"))
    new = a_rule("50", key="new", valid=period("2026-10-01", "2027-01-01"))
    assert amounts(rate(lines, subscriptions=[subscription], rules=[old, new]).charges) == [
        "110.00"
    ]


def test_an_agreed_price_needs_no_cost():
    result = rate([], subscriptions=[a_subscription()], prices=[a_price("12.00")], rules=[])
    assert amounts(result.charges) == ["120.00"]
    assert result.charges[0].unit_cost is None


@pytest.mark.parametrize("status", ["deleted", "expired"])
def test_of_what_has_ended_only_what_microsoft_billed_is_charged(status):
    """Partner Center lists ended subscriptions for years, and does not say when they ended."""
    gone = a_subscription(status=status)
    agreed = [a_price("12.00")]
    assert rate([], subscriptions=[gone], prices=agreed).charges == ()
    lines = [a_line("new"), a_line("cancelImmediate", "2026-10-18", quantity=-10)]
    assert amounts(rate(lines, subscriptions=[gone], prices=agreed).charges) == [
        "120.00",
        "-104.52",  # 27 of 31 days
    ]


def test_a_history_that_ends_with_other_seats_than_are_shown_is_told():
    result = rate([a_line("new")], subscriptions=[a_subscription(quantity=12)])
    assert checks(result.findings) == ["history.mismatch"]
    assert amounts(result.charges) == ["115.00"]


def test_a_suspended_subscription_keeps_billing():
    suspended = a_subscription(status="suspended")
    assert amounts(rate([a_line("new")], subscriptions=[suspended]).charges) == ["115.00"]


def test_without_a_cost_a_markup_is_a_finding_and_no_charge():
    result = rate([], subscriptions=[a_subscription()])
    assert result.charges == ()
    assert checks(result.findings) == ["price.no_basis"]


def test_seats_that_cost_another_currency_are_a_finding():
    lines = [a_line("new", currency="EUR")]
    result = rate(lines, subscriptions=[a_subscription()])
    assert checks(result.findings) == ["price.no_basis"]


def test_excluded_products_and_other_kinds_make_no_charge_and_no_finding():
    lines = [a_line("new"), a_pass_on(CostKind.ONE_TIME, "50.00", product_id="X", sku_id="1")]
    terms = {"excluded_skus": (OFFER, "X:1")}
    result = rate(lines, subscriptions=[a_subscription()], **terms)
    assert (result.charges, result.findings) == ((), ())
    azure = a_subscription(id="plan-1", kind=SubscriptionKind.USAGE)
    assert rate([], subscriptions=[azure]).charges == ()


def test_seats_of_a_subscription_that_nobody_lists_hold_the_customer():
    result = rate([a_line("new")])
    assert checks(result.findings) == ["subscription.unknown"]
    assert result.findings[0].severity is Severity.HOLD
    assert rate([a_line("new")], window=Period.month("2026-11")).findings == ()


def test_each_product_keeps_its_name_through_a_conversion():
    lines = [
        a_line("new"),
        a_line("convert", "2026-10-24", "2026-11-14", -10, effective="6.77"),
        a_line(
            "convert",
            "2026-10-24",
            "2026-11-14",
            10,
            "20.00",
            effective="13.54",
            sku_id="0002",
            name="E5",
        ),
    ]
    converted = a_subscription(sku_id="0002", name="E5")
    charges = rate(lines, subscriptions=[converted]).charges
    assert [(c.name, str(c.amount.amount)) for c in charges] == [
        ("Business Premium", "115.00"),
        ("Business Premium", "-77.90"),  # 115 × 21/31
        ("E5", "155.81"),  # 230 × 21/31
    ]


# --- what a unit costs -----------------------------------------------------------------------------

CYCLE = period("2026-10-14", "2026-11-14")


def test_a_whole_cycle_costs_its_subtotal():
    assert full_cycle_cost(a_line("new", unit="12.00"), CYCLE) == 12
    promoted = a_line("new", unit="12.00", effective="10.20")
    assert full_cycle_cost(promoted, CYCLE) == Decimal("10.2")
    abroad = a_line(
        "new", unit="12.00", subtotal=Decimal("109.40"), exchange_rate=Decimal("0.9123")
    )
    assert full_cycle_cost(abroad, CYCLE) == Decimal("10.94")


def test_a_credit_costs_as_much_as_its_charge():
    assert full_cycle_cost(a_line("cancelImmediate", quantity=-10, unit="12.00"), CYCLE) == 12


@pytest.mark.parametrize(
    ("effective", "cost"),
    [
        ("0.38", "12.00"),  # 12 × 1/31 = 0.387, cut to cents: not a discount
        ("0.39", "12.00"),  # ... or rounded
        ("0.387096774193548", "12.00"),
        ("0.3290322581", "10.20"),  # 15 % off, visible in its digits
        ("0.33", "10.23"),  # 15 % off, in cents: computed back as well as it can be
    ],
)
def test_a_prorated_price_is_the_listed_one_unless_a_discount_shows(effective, cost):
    line = a_line("addQuantity", "2026-11-13", "2026-11-14", unit="12.00", effective=effective)
    assert full_cycle_cost(line, CYCLE) == Decimal(cost)


def test_a_prorated_price_follows_the_whole_cycles_where_that_explains_it():
    """Seats added under a promotion cost what the others cost, not what cents compute back to."""
    whole = a_line("new", unit="12.00", effective="10.20")
    line = a_line("addQuantity", "2026-11-13", "2026-11-14", unit="12.00", effective="0.33")
    assert full_cycle_cost(line, CYCLE, whole) == Decimal("10.2")
    ended = replace(line, effective_unit_price=Decimal("0.38"))
    assert full_cycle_cost(ended, CYCLE, whole) == Decimal("12.00")


def test_an_exchange_rate_applies_to_listed_and_to_discounted_prices():
    rate_of_day = Decimal("0.9")
    listed = a_line(
        "addQuantity",
        "2026-10-31",
        "2026-11-14",
        unit="31",
        effective="14",
        exchange_rate=rate_of_day,
    )
    assert full_cycle_cost(listed, CYCLE) == Decimal("27.9")
    discounted = replace(listed, effective_unit_price=Decimal(7))
    assert full_cycle_cost(discounted, CYCLE) == Decimal("13.95")


def test_added_seats_cost_the_same_as_the_seats_they_join():
    lines = [
        a_line("new", unit="12.00", subtotal=Decimal("109.40"), exchange_rate=Decimal("0.9123")),
        *a_change(
            "addQuantity",
            "2026-11-13",
            "2026-11-14",
            10,
            12,
            unit="12.00",
            effective="0.38",
            exchange_rate=Decimal("0.9123"),
        ),
    ]
    result = rate(
        lines,
        subscriptions=[a_subscription(quantity=12)],
        window=period("2026-10-01", "2026-11-14"),
    )
    assert [c.unit_cost for c in result.charges] == [Decimal("10.94")] * 2


def test_a_promotion_that_ends_prices_each_lot_by_its_own_line():
    lines = [
        a_line("new", unit="12.00", effective="6.00"),
        *a_change("addQuantity", "2026-10-24", "2026-11-14", 10, 15, unit="31", effective="21"),
    ]
    charges = rate(lines, subscriptions=[a_subscription(quantity=15)], rules=[a_rule("0")]).charges
    assert [(int(c.quantity), str(c.unit_cost), str(c.amount.amount)) for c in charges] == [
        (10, "6.0000000000", "60.00"),
        (5, "31", "105.00"),
    ]


def test_a_cycle_that_microsoft_has_not_billed_yet_costs_the_terms_listed_price():
    charges = rate(
        [a_line("new", unit="12.00")],
        subscriptions=[a_subscription()],
        window=period("2026-11-01", "2026-12-01"),
    ).charges
    assert [c.unit_cost for c in charges] == [Decimal("12.00")]


def test_the_order_of_lines_does_not_matter():
    lines = [
        a_line("new", unit="12.00"),
        *a_change(
            "addQuantity", "2026-10-20", "2026-11-14", 10, 15, unit="12.00", effective="9.67"
        ),
        a_pass_on(CostKind.ONE_TIME, "50.00"),
    ]
    results = {
        tuple(
            sorted(
                (c.key, c.exact) for c in rate(shuffled, subscriptions=[a_subscription()]).charges
            )
        )
        for shuffled in permutations(lines)
    }
    assert len(results) == 1


# --- what is passed on -------------------------------------------------------------------------------


def test_a_one_time_purchase_is_passed_on_marked_up():
    line = a_pass_on(CostKind.ONE_TIME, "200.00", billable_quantity=Decimal(4), charged=None)
    (charge,) = rate([line]).charges
    assert (charge.type, str(charge.amount)) == (ChargeType.ONE_TIME, "230.00 USD")
    assert (charge.quantity, charge.unit_price, charge.unit_cost) == (4, Decimal("57.5"), 50)
    assert charge.cost_lines == (line.key,)
    assert charge.why == "4 × 57.5 USD (2026-10-01) = 230.00 USD"


def test_what_is_passed_on_is_rounded_once():
    line = a_pass_on(CostKind.ONE_TIME, "1.00")
    (charge,) = rate([line], rules=[a_rule("0.499996")]).charges
    assert charge.exact == Fraction("1.00499996")
    assert str(charge.amount) == "1.00 USD"  # by way of 1.0050 it would be 1.01


@pytest.mark.parametrize(
    ("method", "value", "asked", "how"),
    [
        (MarkupMethod.PERCENT, "0", "200.00", "4 × 50 USD"),
        (MarkupMethod.MARGIN, "20", "250.00", "4 × 62.5 USD"),
        (MarkupMethod.UPLIFT, "3", "212.00", "4 × 53 USD"),
        (MarkupMethod.FIXED, "60", "240.00", "4 × 60 USD"),
    ],
)
def test_a_sentence_says_the_price_and_never_the_cost(method, value, asked, how):
    line = a_pass_on(CostKind.RESERVATION, "200.00", billable_quantity=Decimal(4))
    (charge,) = rate([line], rules=[a_rule(value, method=method)]).charges
    assert str(charge.amount.amount) == asked
    assert charge.why == f"{how} (2026-10-01 to 2026-10-31) = {asked} USD"
    assert "cost.line" in [reason.rule for reason in charge.reasons]


@pytest.mark.parametrize(
    ("method", "asked"), [(MarkupMethod.FIXED, "-240.00"), (MarkupMethod.UPLIFT, "-212.00")]
)
def test_what_is_returned_gives_back_what_was_asked(method, asked):
    line = a_pass_on(CostKind.ONE_TIME, "-200.00", billable_quantity=Decimal(4))
    value = "60" if method is MarkupMethod.FIXED else "3"
    (charge,) = rate([line], rules=[a_rule(value, method=method)]).charges
    assert (str(charge.amount.amount), charge.quantity) == (asked, -4)


def test_a_credit_is_passed_on_in_the_month_in_which_it_was_granted():
    credit = a_pass_on(
        CostKind.CREDIT,
        "-150.00",
        charged=period("2026-09-01", "2026-10-01"),
        ordered_on=day("2026-10-20"),
        credit_reason="Azure Credit",
        billable_quantity=Decimal(0),
    )
    (charge,) = rate([credit]).charges
    assert (charge.type, str(charge.amount.amount)) == (ChargeType.CREDIT, "-172.50")
    assert (charge.quantity, charge.unit_cost) == (-1, 150)
    assert charge.name == "Azure plan (Azure Credit)"
    assert charge.why == "Microsoft's credit for 2026-09-01 to 2026-09-30: -172.50 USD"


@pytest.mark.parametrize("method", [MarkupMethod.FIXED, MarkupMethod.UPLIFT])
def test_a_credit_has_no_price_of_its_own(method):
    result = rate([a_pass_on(CostKind.CREDIT, "-150.00")], rules=[a_rule("5", method=method)])
    assert (result.charges, checks(result.findings)) == ((), ["price.no_basis"])


@pytest.mark.parametrize(
    ("line", "rule", "check"),
    [
        ({}, a_rule(kind="usage"), "price.missing"),
        ({}, a_rule(method=MarkupMethod.ERP_MINUS), "price.no_basis"),
        ({"currency": "EUR"}, a_rule(), "price.no_basis"),
    ],
)
def test_a_line_that_cannot_be_priced_is_a_finding(line, rule, check):
    result = rate([a_pass_on(CostKind.ONE_TIME, "200.00", **line)], rules=[rule])
    assert (result.charges, checks(result.findings)) == ((), [check])


def test_a_fixed_price_does_not_ask_in_which_currency_it_costs():
    line = a_pass_on(CostKind.ONE_TIME, "200.00", currency="EUR")
    result = rate([line], rules=[a_rule("60", method=MarkupMethod.FIXED)])
    assert amounts(result.charges) == ["60.00"]


def test_a_line_without_any_day_is_left_to_reconciliation():
    line = a_pass_on(CostKind.ONE_TIME, "200.00", charged=None, ordered_on=None)
    assert rate([line]).charges == ()


# --- usage -------------------------------------------------------------------------------------------


def test_a_metered_line_is_split_to_the_cent_over_who_used_it():
    line = a_pass_on(
        CostKind.USAGE,
        "100.00",
        shares=(
            a_share("1.00"),
            a_share("1.00", entitlement_id="azure-2", entitlement_name="Test"),
            a_share("1.00", meter_category="Azure DNS", lines=1),
        ),
    )
    result = rate([line], rules=[a_rule("0")])
    assert sorted((c.name, str(c.amount.amount)) for c in result.charges) == [
        ("Azure DNS, Production", "33.33"),
        ("Azure Storage, Production", "33.34"),
        ("Azure Storage, Test", "33.33"),
    ]
    assert sum(c.unit_cost for c in result.charges) == Decimal("100.00")
    assert {c.cost_lines for c in result.charges} == {(line.key,)}


def test_the_lines_of_one_category_are_one_charge_rounded_once():
    lines = [
        a_pass_on(CostKind.USAGE, "10.03", key="b", shares=(a_share("10.0312"),)),
        a_pass_on(CostKind.USAGE, "0.02", key="a", sku_id="0002", shares=(a_share("0.0241"),)),
    ]
    (charge,) = rate(lines).charges
    assert charge.exact == Fraction("11.5575")
    assert str(charge.amount) == "11.56 USD"
    assert charge.key == "charge/plan-1/usage/2026-10-01/azure-1/Storage"
    assert charge.cost_lines == ("a", "b")
    assert charge.why == "60 usage lines of Microsoft for 2026-10-01 to 2026-10-31 = 11.56 USD"
    assert charge.reasons[0].inputs["cost"] == "10.05 USD"
    assert charge.reasons[0].inputs["invoice_lines"] == "2"


def test_two_invoice_lines_of_one_meter_share_their_daily_lines():
    lines = [
        a_pass_on(CostKind.USAGE, "10.00", key="a", shares=(a_share("9", lines=30),)),
        a_pass_on(CostKind.USAGE, "-1.00", key="b", shares=(a_share("9", lines=30),)),
    ]
    (charge,) = rate(lines).charges
    assert str(charge.amount) == "10.35 USD"
    assert charge.why.startswith("30 usage lines of Microsoft")


def test_a_line_with_more_decimals_than_cents_still_sums():
    shares = (a_share("1"), a_share("2", meter_category="Compute"))
    line = a_pass_on(CostKind.USAGE, "10.0001", shares=shares)
    charges = rate([line], rules=[a_rule("0")]).charges
    assert sum(c.exact for c in charges) == Fraction("10.0001")


def test_a_rule_for_one_family_prices_only_that_family():
    shares = (a_share("1"), a_share("1", meter_category="Compute"))
    rules = [a_rule("10"), a_rule("50", key="compute", meter_category="Compute")]
    result = rate([a_pass_on(CostKind.USAGE, "20.00", shares=shares)], rules=rules)
    assert sorted(amounts(result.charges)) == ["11.00", "15.00"]


def test_a_rule_for_one_meter_makes_a_charge_of_its_own_whatever_the_order():
    lines = [
        a_pass_on(CostKind.USAGE, "10.00", key="a", sku_id="M1", shares=(a_share("1"),)),
        a_pass_on(CostKind.USAGE, "20.00", key="b", sku_id="M2", shares=(a_share("1"),)),
    ]
    rules = [a_rule("10"), a_rule("50", key="m2", sku="DZH318Z0BPS6:M2")]
    for shuffled in permutations(lines):
        charges = rate(shuffled, rules=rules).charges
        assert [(c.key.rpartition("Storage")[2], str(c.amount.amount)) for c in charges] == [
            ("", "11.00"),
            ("/DZH318Z0BPS6:M2", "30.00"),
        ]


def test_usage_that_nothing_explains_is_a_finding_unless_it_cost_nothing():
    result = rate([a_pass_on(CostKind.USAGE, "12.00"), a_pass_on(CostKind.USAGE, "0.00")])
    assert result.charges == ()
    assert checks(result.findings) == ["usage.missing"]
    assert "12.00 USD" in result.findings[0].sentence


def test_usage_in_another_currency_is_a_finding_and_the_rest_is_charged():
    lines = [
        a_pass_on(CostKind.USAGE, "10.00", key="a", shares=(a_share("1"),)),
        a_pass_on(CostKind.USAGE, "10.00", key="b", currency="EUR", shares=(a_share("1"),)),
    ]
    result = rate(lines)
    assert amounts(result.charges) == ["11.50"]
    assert checks(result.findings) == ["price.no_basis"]


@pytest.mark.parametrize("method", [MarkupMethod.FIXED, MarkupMethod.UPLIFT])
def test_usage_has_no_price_for_a_unit(method):
    shares = (a_share("1"), a_share("1", meter_category="Compute"))
    result = rate(
        [a_pass_on(CostKind.USAGE, "10.00", shares=shares)], rules=[a_rule("5", method=method)]
    )
    assert (result.charges, checks(result.findings)) == ((), ["price.no_basis"])


def test_usage_that_nobody_paid_for_is_shared_equally():
    shares = (a_share("0"), a_share("0", meter_category="Compute"))
    result = rate([a_pass_on(CostKind.USAGE, "0.03", shares=shares)], rules=[a_rule("0")])
    assert amounts(result.charges) == ["0.01", "0.02"]
