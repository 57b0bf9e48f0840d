"""Partner earned credit: kept or passed on, from what Microsoft tells, never guessed."""

from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.contract import EarnedCredit, UsageGroup, UsageGrouping
from domain.subscription import CostKind
from rules.earned_credit import earned
from rules.grouping import as_billed
from tests.builders import (
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

KEPT = {"earned_credit": EarnedCredit.KEPT}
TOLD = ("15.0% Partner earned credit for services managed",)
ONE_LINE = UsageGrouping(by=UsageGroup.ONE_LINE)


def a_meter(listed="100", subtotal="85.00", effective="0.85", **fields):
    """So many units at 1.00: without the credit they would have cost as much."""
    return a_pass_on(
        CostKind.USAGE,
        subtotal,
        **{
            "unit_price": Decimal(1),
            "effective_unit_price": Decimal(effective),
            "billable_quantity": Decimal(listed),
            "shares": (a_share(subtotal),),
            **fields,
        },
    )


def credit_of(charge):
    return [reason.inputs for reason in charge.reasons if reason.rule == "usage.earned_credit"]


# --- kept or passed on -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "asked", "policy"),
    [
        ({}, "93.50", {"policy": "passed_on"}),  # 85.00 and ten percent
        (KEPT, "110.00", {"policy": "kept", "credit": "15 USD"}),  # 100.00 and ten percent
    ],
)
def test_the_credit_is_the_customers_or_the_partners(terms, asked, policy):
    (charge,) = rate([a_meter(adjustments=TOLD)], rules=[a_rule("10")], **terms).charges
    assert str(charge.amount.amount) == asked
    assert charge.unit_cost == 85  # what the partner pays, either way
    assert credit_of(charge) == [{"percent": "15", "known_from": "invoice line", **policy}]
    assert "cost" not in charge.why


def test_a_line_without_credit_costs_the_same_under_either_policy():
    line = a_meter(subtotal="100.00", effective="1", adjustments=("Price for given term",))
    for terms in ({}, KEPT):
        (charge,) = rate([line], rules=[a_rule("10")], **terms).charges
        assert (str(charge.amount.amount), credit_of(charge)) == ("110.00", [])


def test_a_policy_holds_from_its_day_on_and_the_other_before():
    november = a_meter(adjustments=TOLD, key="n", charged=period("2026-11-01", "2026-12-01"))
    lines, window = [a_meter(adjustments=TOLD), november], period("2026-10-01", "2026-12-01")
    later = {"earned_credit_from": day("2026-11-01"), "window": window, "rules": [a_rule("0")]}
    assert amounts(rate(lines, **KEPT, **later).charges) == ["85.00", "100.00"]
    assert amounts(rate(lines, **later).charges) == ["100.00", "85.00"]


@pytest.mark.parametrize(("before", "after"), [({}, KEPT), (KEPT, {})])
def test_a_policy_that_changes_leaves_what_was_billed_unless_it_says_from_when(before, after):
    line, rules = a_meter(adjustments=TOLD), [a_rule("10")]
    document = issued(drafted(rate([line], rules=rules, **before).charges))
    so_far = as_billed(one.charge for one in document.lines)
    now = rate([line], rules=rules, billed=so_far, **after).charges
    assert drafted(now, [document]) is None
    dated = {**after, "earned_credit_from": day("2026-10-01")}
    corrected = drafted(rate([line], rules=rules, billed=so_far, **dated).charges, [document])
    assert str(abs(corrected.subtotal.amount)) == "16.50"
    assert corrected.lines[0].charge.why.startswith("Price changed")


def test_a_policy_that_changes_again_leaves_every_month_as_it_was_billed():
    """October passed on, November kept, December passed on again: 85.00, 100.00, 85.00."""
    months = [("2026-10-01", "2026-11-01"), ("2026-11-01", "2026-12-01")]
    months.append(("2026-12-01", "2027-01-01"))
    lines = [
        a_meter(adjustments=TOLD, key=first, charged=period(first, end)) for first, end in months
    ]
    policies = [
        {},
        {**KEPT, "earned_credit_from": day("2026-11-01")},
        {"earned_credit_from": day("2026-12-01")},
    ]
    so_far = {}
    for n, (terms, (_, end)) in enumerate(zip(policies, months, strict=True), start=1):
        window = period("2026-10-01", end)
        charges = rate(
            lines[:n], rules=[a_rule("0")], window=window, billed=so_far, **terms
        ).charges
        so_far = as_billed(charges)
    assert amounts(charges) == ["85.00", "100.00", "85.00"]


def test_a_month_whose_policy_changed_within_it_keeps_both():
    """The first half passed on, the second kept; another change later says nothing of either."""
    halves = [("2026-10-01", "2026-10-16"), ("2026-10-16", "2026-11-01")]
    lines = [
        a_meter(adjustments=TOLD, key=first, sku_id=first, charged=period(first, end))
        for first, end in halves
    ]
    rules, since = [a_rule("0")], {"earned_credit_from": day("2026-10-16")}
    before = rate(lines, rules=rules, **KEPT, **since).charges
    assert sorted(amounts(before)) == ["100.00", "85.00"]
    later = {"earned_credit_from": day("2026-12-01")}
    now = rate(lines, rules=rules, billed=as_billed(before), **later).charges
    assert now == before


def test_a_month_without_any_credit_told_no_policy():
    line = a_meter(subtotal="100.00", effective="1")
    document = issued(drafted(rate([line], **KEPT).charges))
    (month,) = as_billed(one.charge for one in document.lines).values()
    assert month.keeps_credit(day("2026-10-01")) is None


def test_the_credit_is_split_like_the_line():
    shares = (a_share("60"), a_share("25", meter_category="Compute"))
    line = a_meter(adjustments=TOLD, shares=shares)
    charges = rate([line], rules=[a_rule("0")], **KEPT).charges
    assert [charge.exact for charge in charges] == [
        Fraction(25) * 100 / 85,
        Fraction(60) * 100 / 85,
    ]
    assert sum(charge.exact for charge in charges) == 100


def test_a_line_of_the_customer_tells_all_credits_in_it():
    without = a_meter("50", "50.00", "1", key="b", adjustments=("-",))
    lines = [a_meter(key="a", adjustments=TOLD), without]
    (charge,) = rate(lines, rules=[a_rule("0")], grouping=ONE_LINE, **KEPT).charges
    assert str(charge.amount) == "150.00 USD"
    assert credit_of(charge)[0]["credit"] == "15 USD"


def test_a_kept_credit_is_in_what_steps_and_terms_look_at():
    rule = a_rule("0", customer_id="c1", maximum=Decimal(90))
    assert amounts(rate([a_meter(adjustments=TOLD)], rules=[rule], **KEPT).charges) == [
        "100.00",
        "-10.00",
    ]


# --- how it is known ---------------------------------------------------------------------------------


def daily(*percents):
    return tuple(
        a_share("1", meter_category=str(n), earned_percent=None if p is None else Decimal(p))
        for n, p in enumerate(percents)
    )


@pytest.mark.parametrize(
    ("fields", "percent", "source"),
    [
        ({"adjustments": TOLD}, 15, "invoice line"),
        ({"adjustments": ("15.00 % partner earned credit",)}, 15, "invoice line"),
        ({"adjustments": ("15,0% Partner earned credit",)}, 15, "invoice line"),
        (
            {"adjustments": ("Partner earned credit for services managed 15.0%",)},
            15,
            "invoice line",
        ),
        ({"adjustments": TOLD, "shares": daily("15")}, 15, "invoice line"),
        ({"adjustments": ("Rabatt: 15,0 %",), "shares": daily("15")}, 15, "daily lines"),
        ({"adjustments": ("Rabatt",), "effective_unit_price": Decimal(1)}, 0, "unit prices"),
        ({"adjustments": ("100.0% Azure credit applied",)}, 0, "invoice line"),
        ({"shares": daily("15", "15")}, 15, "daily lines"),
        ({"shares": daily("0")}, 0, "daily lines"),
        ({"shares": daily("15", "0")}, 15, "unit prices"),
        ({"shares": daily(None)}, 15, "unit prices"),
        ({"effective_unit_price": Decimal(1)}, 0, "unit prices"),
    ],
)
def test_the_line_is_believed_first_then_its_days_then_its_prices(fields, percent, source):
    found = earned(a_meter(**fields))
    assert (found.percent, found.source) == (percent, source)


@pytest.mark.parametrize(
    ("words", "days"),
    [
        ("15.0% Partner earned credit for services managed", ("0",)),  # the days say otherwise
        ("Price for given billing period", ("15",)),
        ("Price for given billing period", ("15", "0")),
        ("Partner earned credit for services managed", (None,)),  # how much is not said
        ("10% or 15% Partner earned credit", (None,)),
        ("Rabatt: 15,0 %", (None,)),  # whatever it is, the price was lowered by it
    ],
)
def test_what_contradicts_or_is_not_understood_is_held_and_said(words, days):
    line = a_meter(adjustments=(words,), shares=daily(*days))
    assert earned(line) is None
    (finding,) = rate([line], **KEPT).findings
    assert finding.check == "usage.earned_credit"
    assert f"the line says {words}" in finding.sentence


def test_days_that_were_paid_for_ahead_say_nothing_of_the_credit():
    shares = (*daily("15"), replace(daily("0")[0], benefit="reservation"))
    assert earned(a_meter(shares=shares)).source == "daily lines"


def test_microsofts_own_formula_tells_the_credit_where_the_price_was_cut():
    """7.77 units at 0.333: 2.587; with the credit 2.199, cut to 2.19, is 0.2818532819 a unit."""
    units, price = Decimal("7.77"), Decimal("0.333")
    paid = (units * price * Decimal("0.85")).quantize(Decimal("0.01"), ROUND_DOWN)
    line = a_meter(subtotal="2.19", billable_quantity=units, unit_price=price)
    found = earned(replace(line, effective_unit_price=round(paid / units, 10)))
    assert (found.percent, found.before) == (15, Fraction("2.58"))


@pytest.mark.parametrize(
    ("units", "effective"),
    [
        ("100", "0.90"),  # another reduction
        ("100", "1.10"),  # dearer than listed
        ("0.5", "0.84"),  # 0.42 for 0.50: a cent is too coarse to tell
    ],
)
def test_what_the_prices_do_not_tell_is_held_where_the_partner_keeps_the_credit(units, effective):
    subtotal = (Decimal(units) * Decimal(effective)).quantize(Decimal("0.01"))
    line = a_meter(units, f"{subtotal}", effective)
    assert earned(line) is None
    held = rate([line], **KEPT)
    assert (held.charges, checks(held.findings)) == ((), ["usage.earned_credit"])
    assert f"the unit price is 1, {Decimal(effective).normalize()} was paid" in (
        held.findings[0].sentence
    )
    assert len(rate([line]).charges) == 1  # passed on, nobody needs to know


@pytest.mark.parametrize("percent", ["100", "250"])
def test_an_impossible_credit_is_not_known(percent):
    assert earned(a_meter(shares=daily(percent), effective_unit_price=Decimal("0.5"))) is None


def test_what_was_billed_at_nothing_has_no_credit_to_keep():
    line = a_meter("0.01", "0.00", "0", shares=(a_share("0"),))
    result = rate([line], rules=[a_rule("10")], **KEPT)
    assert (amounts(result.charges), result.findings) == (["0.00"], ())


# --- what it would have cost -------------------------------------------------------------------------


def test_steps_of_microsoft_beside_the_credit_leave_the_proportion():
    """100 units listed at 1.00, the first 40 free: 60.00, with the credit 51.00."""
    line = a_meter(subtotal="51.00", effective="0.51", adjustments=TOLD)
    assert earned(line).before == Fraction(60)


@given(
    st.decimals("0.01", "5000", places=4),
    st.decimals("0.0001", "50", places=4),
    st.sampled_from(["1", "0.92", "1.083"]),
)
def test_what_microsoft_would_have_billed_without_the_credit(units, price, rate):
    """The other way round: from its formula with the credit to its formula without it."""

    def cut(value):
        return value.quantize(Decimal("0.01"), ROUND_DOWN)

    full = cut(cut(units * price) * Decimal(rate))
    paid = cut(units * price * Decimal("0.85"))
    line = a_meter(
        subtotal=str(cut(paid * Decimal(rate))),
        billable_quantity=units,
        unit_price=price,
        effective_unit_price=paid / units,
        exchange_rate=Decimal(rate),
        adjustments=TOLD,
    )
    found = earned(line)
    assert found.before == (full if line.subtotal else 0)
    assert found.before >= line.subtotal


@given(
    st.lists(
        st.tuples(st.decimals("0.01", "500", places=2), st.booleans()), min_size=1, max_size=6
    ),
    st.integers(1, 5),
)
def test_customer_and_partner_share_the_price_before_the_credit(meters, parts):
    """At cost: what the customer pays is the list price, and the partner keeps the rest of it."""
    lines = []
    for n, (listed, credited) in enumerate(meters):
        paid = (listed * Decimal("0.85")).quantize(Decimal("0.01"), ROUND_DOWN)
        shares = tuple(a_share(str(k), meter_category=str(k)) for k in range(1, parts + 1))
        lines.append(
            a_meter(
                str(listed),
                str(paid if credited else listed),
                str(paid / listed if credited else 1),
                key=str(n),
                sku_id=str(n),
                shares=shares,
                adjustments=TOLD if credited else (),
            )
        )
    charges = rate(lines, rules=[a_rule("0")], grouping=ONE_LINE, **KEPT).charges
    billed = sum(line.subtotal for line in lines)
    # What was billed at nothing had no credit to keep.
    listed = sum(listed for (listed, _), line in zip(meters, lines, strict=True) if line.subtotal)
    assert sum(charge.exact for charge in charges) == listed
    assert sum(charge.unit_cost for charge in charges) == billed
