"""What Microsoft billed beside seats, passed on: marked up, in tiers, within what was agreed."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.charge import ChargeType
from domain.contract import (
    MarkupMethod,
    Package,
    Step,
    TierBasis,
    TierMode,
    Tiers,
    UsageGroup,
    UsageGrouping,
)
from domain.money import Money
from domain.period import Period, add_months
from domain.subscription import CostKind
from tests.builders import (
    a_pass_on,
    a_rate,
    a_rule,
    a_share,
    amounts,
    checks,
    day,
    period,
)
from tests.builders import (
    rated_customer as rate,
)

ONE_LINE = UsageGrouping(by=UsageGroup.ONE_LINE)

# --- what is passed on -------------------------------------------------------------------------------


def test_a_one_time_purchase_is_passed_on_marked_up():
    line = a_pass_on(CostKind.ONE_TIME, "200.00", billable_quantity=Decimal(4), charged=None)
    (charge,) = rate([line]).charges
    assert (charge.type, str(charge.amount)) == (ChargeType.ONE_TIME, "230.00 USD")
    assert (charge.quantity, charge.unit_price, charge.unit_cost) == (4, Decimal("57.5"), 50)
    assert charge.cost_lines == (line.key,)
    assert charge.why == "4 × 57.50 USD (2026-10-01) = 230.00 USD"


def test_what_is_passed_on_is_rounded_once():
    line = a_pass_on(CostKind.ONE_TIME, "1.00")
    (charge,) = rate([line], rules=[a_rule("0.499996")]).charges
    assert charge.exact == Fraction("1.00499996")
    assert str(charge.amount) == "1.00 USD"  # by way of 1.0050 it would be 1.01


@pytest.mark.parametrize(
    ("method", "value", "asked", "how"),
    [
        (MarkupMethod.PERCENT, "0", "200.00", "4 × 50.00 USD"),
        (MarkupMethod.MARGIN, "20", "250.00", "4 × 62.50 USD"),
        (MarkupMethod.UPLIFT, "3", "212.00", "4 × 53.00 USD"),
        (MarkupMethod.FIXED, "60", "240.00", "4 × 60.00 USD"),
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
        ("Azure DNS, Production", "33.34"),  # the odd cent, by name: whatever the order
        ("Azure Storage, Production", "33.33"),
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


def test_usage_whose_days_were_cut_to_nothing_is_shared_by_its_units():
    shares = (
        a_share("0", quantity=Decimal(1)),
        a_share("0", meter_category="Compute", quantity=Decimal(2)),
    )
    result = rate([a_pass_on(CostKind.USAGE, "0.03", shares=shares)], rules=[a_rule("0")])
    assert [(c.name, str(c.amount.amount)) for c in result.charges] == [
        ("Azure Compute, Production", "0.02"),
        ("Azure Storage, Production", "0.01"),
    ]


def test_usage_of_nothing_that_cost_something_is_explained_by_nothing():
    line = a_pass_on(CostKind.USAGE, "0.03", shares=(a_share("0", quantity=Decimal(0)),))
    result = rate([line])
    assert (result.charges, checks(result.findings)) == ((), ["usage.missing"])


def test_what_was_taken_back_stays_where_it_was_taken_back():
    """The days say 15.00 and -5.00, the line 9.99: the cent goes by size, 0.0075 and 0.0025."""
    shares = (a_share("15"), a_share("-5", meter_category="Compute"))
    result = rate([a_pass_on(CostKind.USAGE, "9.99", shares=shares)], rules=[a_rule("0")])
    assert amounts(result.charges) == ["-5.00", "14.99"]


def test_days_that_cancel_out_are_shown_and_what_is_left_is_shared_by_size():
    shares = (a_share("5"), a_share("-5", meter_category="Compute"))
    result = rate([a_pass_on(CostKind.USAGE, "1.00", shares=shares)], rules=[a_rule("0")])
    assert amounts(result.charges) == ["-4.50", "5.50"]


# --- usage by the month ------------------------------------------------------------------------------


def steps(mode=TierMode.GRADUATED, **fields):
    """The first 100 at 0.10, the rest at 0.08."""
    made = Tiers(
        mode=mode,
        steps=(
            Step(up_to=Decimal(100), unit_price=Decimal("0.10")),
            Step(unit_price=Decimal("0.08")),
        ),
    )
    return a_rule(None, key="tiers", method=MarkupMethod.TIERS, tiers=made, **fields)


def pack():
    return a_rule(
        None,
        key="pack",
        method=MarkupMethod.PACKAGE,
        package=Package(size=Decimal(100), price=Decimal("7.00")),
    )


def used(quantity, cost="1.00", **fields):
    share = a_share(cost, quantity=Decimal(quantity), **fields.pop("share", {}))
    return a_pass_on(CostKind.USAGE, cost, shares=(share,), **fields)


def test_tiers_look_at_the_whole_month_of_a_family_on_all_azure_subscriptions():
    """90 + 60 = 150: 100 × 0.10 + 50 × 0.08 = 14.00."""
    lines = [
        used("90", key="a"),
        used("60", key="b", sku_id="0002", share={"entitlement_id": "azure-2"}),
    ]
    for shuffled in permutations(lines):
        (charge,) = rate(shuffled, rules=[steps()]).charges
        assert (charge.name, str(charge.amount)) == ("Azure Storage", "14.00 USD")
        assert charge.why == (
            "Azure Storage (2026-10-01 to 2026-10-31): 100 × 0.1 + 50 × 0.08 = 14.00 USD"
        )
        assert charge.key == "charge/plan-1/usage/2026-10-01/month/Storage/tiers"
        assert (charge.unit_cost, charge.cost_lines) == (2, ("a", "b"))
    volume = rate(lines, rules=[steps(TierMode.VOLUME)]).charges
    assert amounts(volume) == ["12.00"]  # 150 × 0.08


def test_each_family_and_each_month_climbs_its_own_steps():
    november = period("2026-11-01", "2026-12-01")
    lines = [
        used("100", key="a"),
        used("100", key="b", share={"meter_category": "Compute"}),
        used("100", key="c", charged=november),
    ]
    result = rate(lines, rules=[steps()], window=period("2026-10-01", "2026-12-01"))
    assert amounts(result.charges) == ["10.00"] * 3


def test_what_two_invoice_lines_of_one_meter_share_is_counted_once():
    """Two lines at two exchange rates, or with and without credit, carry the same daily lines."""
    lines = [used("150", "2.00", key="a"), used("150", "-1.00", key="b")]
    (charge,) = rate(lines, rules=[steps()]).charges
    assert (str(charge.amount.amount), charge.unit_cost) == ("14.00", 1)


def test_packages_are_counted_over_the_month():
    """150 in packages of 100: two of them."""
    lines = [used("90", key="a"), used("60", key="b", sku_id="2")]
    assert amounts(rate(lines, rules=[pack()]).charges) == ["14.00"]


def test_a_month_that_is_corrected_below_nothing_is_a_finding():
    result = rate([used("-5", "-1.00")], rules=[steps()])
    assert (result.charges, checks(result.findings)) == ((), ["price.no_basis"])
    assert result.findings[0].record == "usage of Storage from 2026-10-01"


def test_usage_is_sold_in_another_currency_at_the_rate_of_its_first_day():
    """10.00 EUR × 1.2 × 1.15 = 13.80 USD."""
    lines = [used("1", "10.00", key="a", currency="EUR"), used("1", "10.00", key="b")]
    charges = rate(lines, rates=[a_rate()]).charges
    assert [(c.key.rpartition("Storage")[2], str(c.amount)) for c in charges] == [
        ("", "11.50 USD"),
        ("/EUR", "13.80 USD"),
    ]
    abroad = charges[1]
    assert abroad.unit_cost == 12
    assert [reason.rule for reason in abroad.reasons] == [
        "usage.split",
        "price.exchange",
        "price.markup",
    ]


def by_cost():
    """Ten percent on the cost of the month."""
    made = Tiers(mode=TierMode.GRADUATED, basis=TierBasis.COST, steps=(Step(percent=Decimal(10)),))
    return a_rule(None, key="tiers", method=MarkupMethod.TIERS, tiers=made)


@pytest.mark.parametrize(("usd", "eur"), [("a", "b"), ("b", "a")])
def test_a_month_of_two_currencies_pays_each_at_its_own_rate(usd, eur):
    """(100.00 USD × 0.5 + 100.00 EUR) × 1.1 = 165.00 EUR, in whatever order they come."""
    lines = [
        used("7", "100.00", key=usd),
        used("7", "100.00", key=eur, currency="EUR", sku_id="2", invoice_id="I2"),
    ]
    half = {"rates": [a_rate("0.5", base="USD", quote="EUR")], "currency": "EUR"}
    (charge,) = rate(lines, rules=[by_cost()], **half).charges
    assert (str(charge.amount), charge.unit_cost) == ("165.00 EUR", 150)
    assert charge.reasons[0].inputs["cost"] == "100 EUR + 100 USD"
    (packed,) = rate(lines, rules=[pack()], **half).charges
    assert (str(packed.amount), packed.unit_cost) == ("7.00 EUR", 150)
    apart = rate(lines, rules=[by_cost()], grouping=ONE_LINE, **half).charges
    assert {(c.key.rpartition("one_line")[2], str(c.amount), c.unit_cost) for c in apart} == {
        ("", "110.00 EUR", 100),
        ("/USD", "55.00 EUR", 50),
    }


def test_a_month_of_two_rates_pays_each_line_at_that_of_its_day():
    """(100.00 USD × 0.5 + 100.00 USD × 0.8) × 1.1 = 143.00 EUR; both rates are told."""
    lines = [
        used("7", "100.00", key="a"),
        used("7", "100.00", key="b", sku_id="2", charged=period("2026-10-20", "2026-11-01")),
    ]
    rates = [
        a_rate("0.5", base="USD", quote="EUR"),
        a_rate("0.8", "2026-10-20", base="USD", quote="EUR"),
    ]
    (charge,) = rate(lines, rules=[by_cost()], rates=rates, currency="EUR").charges
    assert (str(charge.amount), charge.unit_cost) == ("143.00 EUR", 130)
    told = [one.inputs["rate"] for one in charge.reasons if one.rule == "price.exchange"]
    assert told == ["0.5", "0.8"]


def test_a_one_time_purchase_in_another_currency_tells_its_rate():
    line = a_pass_on(CostKind.ONE_TIME, "100.00", currency="EUR")
    (charge,) = rate([line], rates=[a_rate()]).charges
    assert (str(charge.amount), charge.unit_cost) == ("138.00 USD", 120)
    assert [reason.rule for reason in charge.reasons][1] == "price.exchange"


@pytest.mark.parametrize(("bounds", "asked"), [({"floor": 60}, "240.00"), ({"cap": 55}, "220.00")])
def test_a_one_time_price_lies_between_floor_and_cap(bounds, asked):
    line = a_pass_on(CostKind.ONE_TIME, "200.00", billable_quantity=Decimal(4))
    rule = a_rule("15", **{name: Decimal(bound) for name, bound in bounds.items()})
    assert amounts(rate([line], rules=[rule]).charges) == [asked]


def test_a_rule_that_looks_at_a_month_prices_no_single_purchase():
    line = a_pass_on(CostKind.ONE_TIME, "200.00")
    for rule in (steps(), a_rule("5", minimum=Decimal(1))):
        result = rate([line], rules=[rule])
        assert checks(result.findings) == ["price.no_basis"]


# --- minimum and maximum -----------------------------------------------------------------------------

HALF_YEAR = period("2026-10-01", "2027-04-01")


def terms(**fields):
    """Fifteen percent on usage, with terms of a month for this customer."""
    return a_rule("15", key="terms", kind="usage", customer_id="c1", **fields)


def test_a_minimum_is_made_up_in_every_month_used_or_not():
    """11.50 is used in October, nothing in November: 100 are agreed for each."""
    window = period("2026-10-01", "2026-12-01")
    charges = rate([used("1", "10.00")], rules=[terms(minimum=Decimal(100))], window=window).charges
    assert [(c.key.rpartition("usage/")[2], str(c.amount.amount)) for c in charges] == [
        ("2026-10-01/azure-1/Storage", "11.50"),
        ("charge/commitment/terms/2026-10-01", "88.50"),
        ("charge/commitment/terms/2026-11-01", "100.00"),
    ]
    assert charges[1].name == "Azure usage, agreed minimum"
    assert charges[1].why == (
        "Agreed minimum for 2026-10-01 to 2026-10-31: 100 USD = 100.00 USD, "
        "less 11.50 charged = 88.50 USD"
    )


def test_a_maximum_is_cut_and_credits_never_more_than_was_asked():
    charges = rate([used("1", "1000.00")], rules=[terms(maximum=Decimal(100))]).charges
    assert amounts(charges) == ["1150.00", "-1050.00"]
    assert charges[1].name == "Azure usage, agreed maximum"


def test_a_minimum_is_prorated_where_the_rule_or_the_contract_begins_or_ends():
    """The rule from 17 October is 15 of 31 days; the contract to 16 November 15 of 30."""
    rule = terms(minimum=Decimal(62), valid=period("2026-10-17", "2027-01-01"))
    general = a_rule("15")
    charges = rate(
        [],
        rules=[rule, general],
        window=period("2026-10-01", "2026-11-16"),
        ends=day("2026-11-16"),
    ).charges
    assert [(str(c.service), str(c.amount.amount)) for c in charges] == [
        ("2026-10-17 to 2026-10-31", "30.00"),
        ("2026-11-01 to 2026-11-15", "31.00"),
    ]


def test_a_month_that_is_not_over_has_no_true_up_yet():
    rule = terms(minimum=Decimal(100))
    assert rate([], rules=[rule], window=period("2026-10-01", "2026-10-31")).charges == ()
    own_day = rate([], rules=[rule], window=period("2026-10-01", "2026-11-30"), anchor_day=15)
    assert [str(c.service) for c in own_day.charges] == [
        "2026-10-01 to 2026-10-14",
        "2026-10-15 to 2026-11-14",
    ]


def test_a_minimum_for_everybody_is_asked_only_of_who_used_something():
    rule = a_rule("15", key="all", kind="usage", minimum=Decimal(100))
    window = period("2026-10-01", "2026-12-01")
    assert rate([], rules=[rule], window=window).charges == ()
    assert amounts(rate([used("1", "10.00")], rules=[rule], window=window).charges) == [
        "11.50",
        "88.50",
    ]


def test_terms_of_somebody_else_or_in_another_currency_are_not_owed():
    for other in ({"customer_id": "c2"}, {"currency": "EUR"}, {"kind": "one_time"}):
        rule = replace(terms(minimum=Decimal(100)), **other)
        assert rate([], rules=[rule]).charges == ()


def test_impossible_terms_are_a_finding_even_where_nothing_was_used():
    result = rate([], rules=[terms(minimum=Decimal(2), maximum=Decimal(1))])
    assert checks(result.findings) == ["price.rule"]


@given(
    st.lists(st.decimals("0", "300", places=2), max_size=6),
    st.decimals("0", "500", places=2),
    st.decimals("0", "500", places=2),
)
def test_a_month_comes_to_what_was_agreed_whatever_was_used(costs, one, other):
    low, high = sorted([one, other])
    lines = [used("1", str(cost), key=str(n)) for n, cost in enumerate(costs)]
    charges = rate(lines, rules=[terms(minimum=low, maximum=high)]).charges
    asked = sum((charge.amount.amount for charge in charges), Decimal(0))
    rated = Money.rounded(Fraction(sum(costs, Decimal(0))) * 115 / 100, "USD").amount
    assert asked == min(max(rated, low), high)


@given(st.integers(0, 5), st.integers(0, 5), st.data())
def test_any_cut_of_a_history_into_windows_gives_the_same_true_ups(cut, used_in, data):
    """Each run starts at the contract's first day and knows a month more."""
    rule = terms(minimum=Decimal(data.draw(st.integers(0, 200))))
    month = period("2026-10-01", "2026-11-01")
    served = Period(add_months(month.start, used_in), add_months(month.start, used_in + 1))
    lines = [used("1", "50.00", charged=served)]
    whole = {c.key: c.amount for c in rate(lines, rules=[rule], window=HALF_YEAR).charges}
    early = Period(HALF_YEAR.start, add_months(HALF_YEAR.start, cut + 1))
    part = {c.key: c.amount for c in rate(lines, rules=[rule], window=early).charges}
    assert part.items() <= whole.items()
