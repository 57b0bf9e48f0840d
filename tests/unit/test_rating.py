"""One customer's month: seats from their history, everything else from Microsoft's lines."""

from dataclasses import replace
from decimal import Decimal
from itertools import permutations

import pytest

from domain.charge import ChargeType
from domain.contract import (
    Alignment,
    MarkupMethod,
    Proration,
)
from domain.period import Period
from domain.problems import Severity
from domain.subscription import CostKind, EventSource, SubscriptionKind
from rules.pricing import PriceBook
from rules.rating import full_cycle_cost, rate_customer
from tests.builders import (
    OFFER,
    a_change,
    a_contract,
    a_line,
    a_pass_on,
    a_price,
    a_rate,
    a_rule,
    a_subscription,
    amounts,
    checks,
    day,
    period,
    seats,
)
from tests.builders import (
    rated_customer as rate,
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


@pytest.mark.parametrize("method", [MarkupMethod.FIXED, MarkupMethod.UPLIFT, MarkupMethod.PERCENT])
@pytest.mark.parametrize(
    ("shown", "line"),
    [
        ({"is_trial": True}, {"unit": "10.00"}),
        ({}, {"unit": "0", "term_and_billing_cycle": "One-Month commitment for trial"}),
        ({}, {"unit": "0"}),  # listed at nothing
    ],
)
def test_a_free_trial_costs_nothing_by_any_rule(method, shown, line):
    result = rate(
        [a_line("new", **line)],
        subscriptions=[a_subscription(**shown)],
        rules=[a_rule("5", method=method)],
    )
    assert result.findings == ()
    assert sum(Decimal(amount) for amount in amounts(result.charges)) == 0


def test_a_free_trial_has_no_agreed_price_either():
    trial = a_line("new", unit="0", term_and_billing_cycle="One-Month commitment for trial")
    charges = rate([trial], subscriptions=[a_subscription()], prices=[a_price("12.00")]).charges
    assert sum(Decimal(amount) for amount in amounts(charges)) == 0


def test_seats_are_sold_in_another_currency_at_the_rate_of_the_terms_first_day():
    """10.00 EUR × 1.2 = 12.00 USD, 15 percent on it 13.80; ten seats."""
    lines = [a_line("new", currency="EUR")]
    (charge,) = rate(lines, subscriptions=[a_subscription()], rates=[a_rate()]).charges
    assert (str(charge.amount), charge.unit_cost) == ("138.00 USD", 12)
    assert "price.exchange" in [reason.rule for reason in charge.reasons]


def test_a_discount_prorates_with_its_line_and_ends_with_its_day():
    """12 less 50 percent: 60.00 for ten; the next cycle is 120.00 again."""
    price = a_price(
        "12.00",
        discount_percent=Decimal(50),
        discount_valid=period("2026-10-01", "2026-11-14"),
    )
    history = [a_line("new"), *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 12)]
    charges = rate(
        history,
        subscriptions=[a_subscription(quantity=12)],
        prices=[price],
        window=period("2026-10-01", "2026-11-15"),
    ).charges
    assert amounts(charges) == ["60.00", "9.68", "144.00"]  # 2 × 6 × 25/31


def test_lines_on_the_contracts_periods_cost_what_microsofts_cycle_costs():
    """October has 31 days and its cycle 31; November's cycle 30, and the stub from 1 to 31."""
    lines = [a_line("new"), a_line("cycleCharge", "2026-11-14", "2026-12-14")]
    charges = rate(
        lines,
        subscriptions=[a_subscription()],
        rules=[a_rule("0")],
        window=period("2026-10-01", "2026-12-01"),
        alignment=Alignment.CONTRACT,
    ).charges
    assert [(str(c.service), c.unit_cost, str(c.amount.amount)) for c in charges] == [
        ("2026-10-14 to 2026-10-31", 10, "58.06"),  # 100 × 18/31
        ("2026-11-01 to 2026-11-30", 10, "100.00"),
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


# --- what is handed on -----------------------------------------------------------------------------


def test_stored_events_are_part_of_the_history():
    """Five seats more from the 24th on: 5 × 12 × 21/31."""
    result = rate_customer(
        contract=a_contract(),
        subscriptions=[a_subscription(quantity=15)],
        told=[seats("2026-10-24", 15, source=EventSource.AUDIT)],
        cost_lines=[a_line("new")],
        book=PriceBook([a_price("12.00")], []),
        window=Period.month("2026-10"),
        today=day("2026-11-09"),
    )
    assert amounts(result.charges) == ["120.00", "40.65"]
    assert result.findings == ()


def test_a_contract_says_how_parts_of_a_cycle_are_counted():
    """Ten seats from the 24th on: 21 of the 31 days, 21 of 30, or a month that has begun."""
    lines = [a_line("new"), *a_change("addQuantity", "2026-10-24", "2026-11-14", 10, 20)]
    asked = {
        way: amounts(
            rate(
                lines,
                subscriptions=[a_subscription(quantity=20)],
                prices=[a_price("12.00")],
                proration=way,
            ).charges
        )
        for way in Proration
    }
    assert asked == {
        Proration.DAYS: ["120.00", "81.29"],
        Proration.FIXED_30: ["120.00", "84.00"],
        Proration.MONTHS: ["120.00", "120.00"],
    }


def test_what_is_left_out_leaves_the_others_in():
    others = [
        a_subscription(id="plan-1", kind=SubscriptionKind.USAGE),
        a_subscription(id="s0", sku_id="9999"),
        a_subscription(),
    ]
    result = rate(
        [], subscriptions=others, prices=[a_price("12.00")], excluded_skus=("CFQ7TTC0LH18:9999",)
    )
    assert amounts(result.charges) == ["120.00"]


@pytest.mark.parametrize(("auto_renew", "asked"), [(True, ["120.00"]), (False, [])])
def test_seats_go_on_after_their_term_where_they_renew(auto_renew, asked):
    one = a_subscription(start=day("2025-10-14"), term_end=day("2026-10-14"), auto_renew=auto_renew)
    window = period("2026-10-14", "2026-11-01")
    assert (
        amounts(rate([], subscriptions=[one], prices=[a_price("12.00")], window=window).charges)
        == asked
    )
