"""How usage is put together into lines: every grouping, with every kind of rule, to the cent."""

from collections import defaultdict
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
    Untagged,
    UsageGroup,
    UsageGrouping,
)
from domain.money import Money, fit_to, minor_units
from domain.subscription import CostKind
from rules.grouping import BilledMonth, as_billed
from tests.builders import (
    a_line,
    a_pass_on,
    a_rule,
    a_share,
    amounts,
    checks,
    day,
    drafted,
    issued,
    period,
)
from tests.builders import rated_customer as rate

SERVICE = UsageGrouping()
BY_SUBSCRIPTION = UsageGrouping(by=UsageGroup.SUBSCRIPTION)
BY_GROUP = UsageGrouping(by=UsageGroup.RESOURCE_GROUP)
BY_TAG = UsageGrouping(by=UsageGroup.TAG, tag="CostCenter")
ONE_LINE = UsageGrouping(by=UsageGroup.ONE_LINE)
EVERY = (
    SERVICE,
    BY_SUBSCRIPTION,
    BY_GROUP,
    BY_TAG,
    replace(BY_TAG, untagged=Untagged.RESOURCE_GROUP),
    ONE_LINE,
)


def a_part(cost, *, group="rg-app", tag="", azure="1", category="Storage", **fields):
    """Used in a resource group of an Azure subscription, perhaps with a tag."""
    return a_share(
        cost,
        **{
            "entitlement_id": f"azure-{azure}",
            "entitlement_name": {"1": "Production", "2": "Test"}[azure],
            "meter_category": category,
            "resource_group": group,
            "tags": {"costcenter": tag},
            "lines": 10,
            **fields,
        },
    )


def a_bill(subtotal, *shares, **fields):
    return a_pass_on(CostKind.USAGE, subtotal, shares=shares, **fields)


OCTOBER = (
    a_bill(
        "60.00",
        a_part("10", tag="4711"),
        a_part("20", tag="4712", group="RG-DB"),
        a_part("30", azure="2"),
        key="a",
    ),
    a_bill("40.00", a_part("40", tag="4711", category="Compute"), key="b", sku_id="0002"),
)


def told(result):
    return [(charge.name, str(charge.amount.amount)) for charge in result.charges]


# --- by what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grouping", "lines"),
    [
        (
            SERVICE,
            [
                ("Azure Compute, Production", "44.00"),
                ("Azure Storage, Production", "33.00"),
                ("Azure Storage, Test", "33.00"),
            ],
        ),
        (BY_SUBSCRIPTION, [("Azure usage, Production", "77.00"), ("Azure usage, Test", "33.00")]),
        (
            BY_GROUP,
            [
                ("Azure usage, rg-app (Production)", "55.00"),
                ("Azure usage, RG-DB (Production)", "22.00"),
                ("Azure usage, rg-app (Test)", "33.00"),
            ],
        ),
        (
            BY_TAG,
            [
                ("Azure usage, CostCenter 4711", "55.00"),
                ("Azure usage, CostCenter 4712", "22.00"),
                ("Azure usage, untagged", "33.00"),
            ],
        ),
        (
            replace(BY_TAG, untagged_name="General costs"),
            [
                ("Azure usage, CostCenter 4711", "55.00"),
                ("Azure usage, CostCenter 4712", "22.00"),
                ("Azure usage, General costs", "33.00"),
            ],
        ),
        (
            replace(BY_TAG, untagged=Untagged.RESOURCE_GROUP),
            [
                ("Azure usage, CostCenter 4711", "55.00"),
                ("Azure usage, CostCenter 4712", "22.00"),
                ("Azure usage, rg-app (Test)", "33.00"),
            ],
        ),
        (ONE_LINE, [("Azure usage", "110.00")]),
    ],
    ids=["service", "subscription", "group", "tag", "named", "tag, else group", "one line"],
)
def test_a_contract_says_what_one_line_is_for(grouping, lines):
    """100.00 with ten percent on it are 110.00, however they are put together."""
    result = rate(OCTOBER, rules=[a_rule("10")], grouping=grouping)
    assert (told(result), result.findings) == (lines, ())


def test_a_line_tells_its_group_and_the_lines_of_microsoft_behind_it():
    charge, *_ = rate(OCTOBER, rules=[a_rule("10")], grouping=BY_TAG).charges
    assert charge.key == "charge/plan-1/usage/2026-10-01/by/tag/costcenter/4711"
    assert charge.cost_lines == ("a", "b")
    assert charge.unit_cost == 50
    assert charge.why == "20 usage lines of Microsoft for 2026-10-01 to 2026-10-31 = 55.00 USD"
    assert charge.reasons[0].inputs == {
        "grouping": "tag",
        "tag": "CostCenter",
        "untagged": "group",
        "group": "4711",
        "meter_category": "Compute, Storage",
        "usage_lines": "20",
        "invoice_lines": "2",
        "cost": "50 USD",
    }


def test_resource_groups_and_tag_names_have_no_case_and_tag_values_have():
    shares = (
        a_part("1", group="RG-App", tag="Sales"),
        a_part("1", group="rg-app", tag="sales", category="Compute"),
    )
    line = a_bill("2.00", *shares)
    assert told(rate([line], rules=[a_rule("0")], grouping=BY_GROUP)) == [
        ("Azure usage, RG-App (Production)", "2.00")
    ]
    shouted = replace(BY_TAG, tag=" COSTCENTER ")
    assert [c.key for c in rate([line], grouping=shouted).charges] == [
        "charge/plan-1/usage/2026-10-01/by/tag/costcenter/Sales",
        "charge/plan-1/usage/2026-10-01/by/tag/costcenter/sales",
    ]


def test_what_has_no_resource_group_says_so():
    result = rate([a_bill("1.00", a_part("1", group=""))], rules=[a_rule("0")], grouping=BY_GROUP)
    assert told(result) == [("Azure usage, no resource group (Production)", "1.00")]


@pytest.mark.parametrize("value", ["a/b", "a/b/EUR", "marketplace", "%2F", "é \ud800", "x" * 300])
def test_whatever_people_write_into_a_tag_makes_a_key_of_its_own(value):
    shares = (a_part("1", tag=value), a_part("1", tag="a"), a_part("1"))
    charges = rate([a_bill("3.00", *shares)], grouping=BY_TAG).charges
    assert len({charge.key for charge in charges}) == 3
    assert all(charge.key.count("/") <= 7 for charge in charges)


def test_rules_for_different_meters_meet_in_one_line_that_is_rounded_once():
    """1.05 at 10 percent is 1.155, 1.05 at 50 is 1.575: 2.73, not 1.16 + 1.58."""
    line = a_bill("2.10", a_part("1"), a_part("1", category="Compute"))
    rules = [a_rule("10"), a_rule("50", key="compute", meter_category="Compute")]
    (charge,) = rate([line], rules=rules, grouping=ONE_LINE).charges
    assert (charge.exact, str(charge.amount)) == (Fraction("2.73"), "2.73 USD")
    assert [r.inputs["rule"] for r in charge.reasons[1:]] == ["compute", "rule/all"]


def test_the_order_of_lines_and_shares_changes_nothing():
    first, second = OCTOBER
    for grouping in EVERY:
        answer = rate(OCTOBER, grouping=grouping)
        for shuffled in permutations(first.shares):
            lines = [second, replace(first, shares=shuffled)]
            assert rate(lines, grouping=grouping) == answer


# --- what is missing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grouping", "share", "what"),
    [
        (BY_GROUP, a_part("1", group=None), "resource group"),
        (BY_TAG, a_share("1"), "tag CostCenter"),
        (
            replace(BY_TAG, untagged=Untagged.RESOURCE_GROUP),
            a_part("1", group=None),
            "resource group",
        ),
    ],
)
def test_usage_that_was_not_read_so_finely_is_held_not_guessed(grouping, share, what):
    result = rate([a_bill("1.00", share)], grouping=grouping)
    assert (result.charges, checks(result.findings)) == ((), ["usage.not_grouped"])
    assert result.findings[0].sentence == (
        f"The usage of 2026-10 is to be billed by {what}, and what is stored of Microsoft's "
        "invoice I1 does not tell it."
    )
    assert rate([a_bill("1.00", share)], grouping=BY_SUBSCRIPTION).findings == ()


@pytest.mark.parametrize("tag", ["", "  "])
def test_a_grouping_by_no_tag_cannot_be_meant(tag):
    result = rate(OCTOBER, grouping=replace(BY_TAG, tag=tag))
    assert (result.charges, checks(result.findings)) == ((), ["usage.grouping"])


# --- tiers, packages, minimum and maximum ------------------------------------------------------------


def tiers(basis=TierBasis.QUANTITY):
    """The first 100 at 0.10, the rest at 0.08; or the first 50.00 of cost at 20 percent on it."""
    by_units = (
        Step(up_to=Decimal(100), unit_price=Decimal("0.10")),
        Step(unit_price=Decimal("0.08")),
    )
    by_cost = (Step(up_to=Decimal(50), percent=Decimal(20)), Step(percent=Decimal(10)))
    return a_rule(
        None,
        key="tiers",
        method=MarkupMethod.TIERS,
        tiers=Tiers(
            mode=TierMode.GRADUATED,
            basis=basis,
            steps=by_cost if basis is TierBasis.COST else by_units,
        ),
    )


def packages():
    return a_rule(
        None,
        key="pack",
        method=MarkupMethod.PACKAGE,
        package=Package(size=Decimal(100), price=Decimal("7.00")),
    )


MONTH = (
    a_bill("60.00", a_part("60", quantity=Decimal(90), tag="4711"), key="a"),
    a_bill("40.00", a_part("40", quantity=Decimal(60), tag="4712", azure="2"), key="b", sku_id="2"),
)


@pytest.mark.parametrize(
    ("rule", "whole", "parts"),
    [
        (tiers(), "14.00", ["8.40", "5.60"]),  # 100 × 0.10 + 50 × 0.08, by 90 and 60 units
        (tiers(TierBasis.COST), "115.00", ["69.00", "46.00"]),  # 50 × 1.2 + 50 × 1.1, by cost
        (packages(), "14.00", ["8.40", "5.60"]),  # two packages, by units
    ],
)
def test_steps_and_packages_look_at_the_whole_month_whatever_it_is_split_into(rule, whole, parts):
    assert amounts(rate(MONTH, rules=[rule]).charges) == [whole]
    assert amounts(rate(MONTH, rules=[rule], grouping=ONE_LINE).charges) == [whole]
    for grouping in (BY_SUBSCRIPTION, BY_GROUP, BY_TAG):
        assert amounts(rate(MONTH, rules=[rule], grouping=grouping).charges) == parts


def test_a_portion_of_a_month_says_what_the_month_came_to():
    charge, _ = rate(MONTH, rules=[tiers()], grouping=BY_TAG).charges
    assert charge.name == "Azure usage, CostCenter 4711"
    assert charge.why == (
        "10 usage lines of Microsoft for 2026-10-01 to 2026-10-31 = 8.40 USD; in it 8.40 USD of "
        "Azure Storage (2026-10-01 to 2026-10-31): 100 × 0.1 + 50 × 0.08 = 14.00 USD"
    )
    assert charge.reasons[-1].inputs == {"rule": "tiers", "month": "14.00", "portion": "8.40"}


def test_steps_and_percentages_meet_in_one_line():
    compute = a_bill("10.00", a_part("10", category="Compute", tag="4711"), key="c", sku_id="3")
    rules = [tiers(), a_rule("10", key="compute", meter_category="Compute")]
    result = rate([*MONTH, compute], rules=rules, grouping=BY_TAG)
    assert told(result) == [
        ("Azure usage, CostCenter 4711", "19.40"),
        ("Azure usage, CostCenter 4712", "5.60"),
    ]


@pytest.mark.parametrize("grouping", EVERY, ids=lambda one: one.by)
@pytest.mark.parametrize(
    ("terms", "asked"),
    [
        ({"minimum": Decimal(500)}, "500.00"),
        ({"maximum": Decimal(20)}, "20.00"),
        ({"minimum": Decimal(1), "maximum": Decimal(500)}, "110.00"),
    ],
)
def test_a_month_comes_to_what_was_agreed_however_it_is_split(grouping, terms, asked):
    rule = a_rule("10", key="terms", kind="usage", customer_id="c1", **terms)
    charges = rate(OCTOBER, rules=[rule], grouping=grouping).charges
    assert str(sum(charge.amount.amount for charge in charges)) == asked


def test_a_minimum_counts_only_what_its_rule_asked_in_a_line_of_several_rules():
    """In one line of 1.155 + 1.575 = 2.73 the rule for compute asked 1.58 (the earlier half cent)."""
    line = a_bill("2.10", a_part("1"), a_part("1", category="Compute"))
    rule = a_rule("50", key="compute", meter_category="Compute", minimum=Decimal(10))
    one, true_up = rate([line], rules=[a_rule("10"), rule], grouping=ONE_LINE).charges
    assert str(one.amount) == "2.73 USD"
    assert true_up.why.endswith("less 1.58 charged = 8.42 USD")


def test_a_minimum_is_agreed_for_each_contract_month():
    rule = a_rule("10", key="terms", kind="usage", customer_id="c1", minimum=Decimal(200))
    november = a_bill("10.00", a_part("1"), key="n", charged=period("2026-11-01", "2026-12-01"))
    window = period("2026-10-01", "2026-12-01")
    charges = rate([*OCTOBER, november], rules=[rule], grouping=ONE_LINE, window=window).charges
    assert amounts(charges) == ["110.00", "11.00", "90.00", "189.00"]


# --- a month that was billed -------------------------------------------------------------------------


def again(lines, document, **terms):
    """Rate and draft once more, under other terms, with what was billed so far."""
    billed = as_billed(line.charge for line in document.lines)
    charges = rate(lines, rules=[a_rule("10")], billed=billed, **terms).charges
    return charges, drafted(charges, [document])


@pytest.mark.parametrize("before", EVERY, ids=lambda one: f"from {one.by}")
@pytest.mark.parametrize("after", EVERY, ids=lambda one: f"to {one.by}")
def test_a_contract_that_is_grouped_otherwise_now_is_not_billed_twice(before, after):
    charges = rate(OCTOBER, rules=[a_rule("10")], grouping=before).charges
    document = issued(drafted(charges))
    proposed, missing = again(OCTOBER, document, grouping=after)
    assert missing is None
    assert {c.key: c.amount for c in proposed} == {c.key: c.amount for c in charges}


def test_the_next_month_is_grouped_as_the_contract_asks_now():
    document = issued(drafted(rate(OCTOBER, rules=[a_rule("10")], grouping=BY_GROUP).charges))
    november = [
        replace(line, key=f"{line.key}/november", charged=period("2026-11-01", "2026-12-01"))
        for line in OCTOBER
    ]
    billed = as_billed(line.charge for line in document.lines)
    both = rate(
        [*OCTOBER, *november],
        rules=[a_rule("10")],
        billed=billed,
        grouping=ONE_LINE,
        window=period("2026-10-01", "2026-12-01"),
    ).charges
    missing = drafted(both, [document], month="2026-11")
    assert [line.charge.name for line in missing.lines] == ["Azure usage"]
    assert str(missing.subtotal) == "110.00 USD"


def test_late_usage_of_a_billed_month_is_asked_for_in_the_groups_of_that_month():
    """Three more dollars of CostCenter 4711, two of one that was not there before."""
    document = issued(drafted(rate(OCTOBER, rules=[a_rule("10")], grouping=BY_TAG).charges))
    late = a_bill("5.00", a_part("3", tag="4711"), a_part("2", tag="4713"), key="late", sku_id="9")
    _, missing = again([*OCTOBER, late], document, grouping=SERVICE)
    assert [(x.charge.type, x.charge.name, str(x.amount.amount)) for x in missing.lines] == [
        (ChargeType.ADJUSTMENT, "Azure usage, CostCenter 4711", "3.30"),
        (ChargeType.USAGE, "Azure usage, CostCenter 4713", "2.20"),
    ]
    assert "INV-202610-0001" in missing.lines[0].charge.why
    assert missing.lines[1].charge.why.startswith("Known only after 2026-10-01")


def test_what_is_asked_by_an_older_document_was_grouped_by_service():
    charge, *_ = rate(OCTOBER).charges
    plain = replace(charge.reasons[0], inputs={"cost": "40 USD"})
    before = replace(charge, reasons=(plain,))
    assert as_billed([before]) == {("plan-1", day("2026-10-01")): BilledMonth(grouping=SERVICE)}


def test_seats_and_adjustments_tell_no_grouping():
    assert as_billed(rate([a_line("new")], subscriptions=()).charges) == {}


# --- every cent --------------------------------------------------------------------------------------

cents = st.integers(-10_000, 10_000)


@st.composite
def months(draw):
    """Lines of a plan in one currency: many groups, credits, negative and zero days, half cents."""
    currency = draw(st.sampled_from(["USD", "JPY", "KWD"]))
    places = minor_units(currency)
    lines = []
    for n in range(draw(st.integers(1, 4))):
        shares = draw(
            st.lists(
                st.builds(
                    lambda cost, group, tag, azure, category, units: a_part(
                        str(Decimal(cost) / 1000),
                        group=group,
                        tag=tag,
                        azure=azure,
                        category=category,
                        quantity=Decimal(units),
                    ),
                    cents,
                    st.sampled_from(["rg-a", "RG-A", "rg-b", ""]),
                    st.sampled_from(["", "x", "y", "z"]),
                    st.sampled_from(["1", "2"]),
                    st.sampled_from(["Storage", "Compute", "DNS"]),
                    st.integers(0, 5),
                ),
                min_size=1,
                max_size=12,
            )
        )
        subtotal = Decimal(draw(cents)).scaleb(-places)
        lines.append(
            a_bill(f"{subtotal:f}", *shares, key=f"line/{n}", sku_id=str(n), currency=currency)
        )
    return currency, lines


@given(months(), st.sampled_from(EVERY))
def test_the_parts_of_every_line_sum_to_it(month, grouping):
    """At cost the lines of the customer sum to Microsoft's; a line is only held as a whole."""
    currency, lines = month
    result = rate(lines, rules=[a_rule("0")], grouping=grouping, currency=currency)
    held = {f.record.removeprefix("cost line ") for f in result.findings}
    assert {f.check for f in result.findings} <= {"usage.missing"}
    billed = sum((line.subtotal for line in lines if line.key not in held), Decimal(0))
    assert sum((c.amount.amount for c in result.charges), Decimal(0)) == billed
    assert sum((c.unit_cost for c in result.charges), Decimal(0)) == billed
    named = {key for charge in result.charges for key in charge.cost_lines}
    assert named == {line.key for line in lines} - held


@given(months(), st.sampled_from(["0", "7.5", "33.333"]))
def test_no_grouping_moves_money(month, percent):
    """Before its one rounding the month is the same, however it is put together."""
    currency, lines = month
    sums = {
        sum(
            (
                c.exact
                for c in rate(
                    lines, rules=[a_rule(percent)], grouping=one, currency=currency
                ).charges
            ),
            Fraction(0),
        )
        for one in EVERY
    }
    assert len(sums) == 1


@given(
    st.integers(-(10**6), 10**6),
    st.lists(st.fractions(-1000, 1000), min_size=1, max_size=20),
    st.integers(0, 3),
)
def test_parts_that_are_fitted_sum_to_the_whole_and_stay_near(units, parts, places):
    whole = Decimal(units).scaleb(-places)
    fitted = fit_to(whole, parts, places)
    assert sum(fitted, Decimal(0)) == whole
    size, excess = sum(map(abs, parts)), Fraction(whole) - sum(parts)
    for part, made in zip(parts, fitted, strict=True):
        if size:
            target = part + excess * abs(part) / size
            assert abs(Fraction(made) - target) < Fraction(1, 10**places)
    mirrored = fit_to(-whole, [-part for part in parts], places)
    assert mirrored == tuple(-part for part in fitted) or whole == 0


def test_nothing_is_fitted_that_has_more_decimals_than_it_may():
    for parts in ([1, 2], [1, -2]):
        with pytest.raises(ValueError, match="more than 2 decimals"):
            fit_to(Decimal("0.001"), parts, 2)


def test_a_split_by_thousands_sums_to_the_cent():
    shares = [a_part("0.004", tag=str(n), quantity=Decimal(n)) for n in range(3000)]
    line = a_bill("17.77", *shares)
    charges = rate([line], rules=[a_rule("0")], grouping=BY_TAG).charges
    by_amount = defaultdict(int)
    for charge in charges:
        by_amount[str(charge.amount)] += 1
    assert by_amount == {"0.01 USD": 1777, "0.00 USD": 1223}
    assert Money(sum(c.amount.amount for c in charges), "USD") == Money(Decimal("17.77"), "USD")
