"""What Microsoft should have billed, which line belongs to which charge, and why another came."""

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.charge import ChargeType
from domain.period import Period
from domain.problems import Severity
from domain.subscription import CostKind, CostLine
from rules.cycles import Rounding, Side
from rules.linking import KINDS, linked
from rules.shadow import Cause, check, differences, predict
from tests.builders import (
    a_change,
    a_charge,
    a_line,
    a_pass_on,
    a_subscription,
    day,
    period,
    rated,
)
from tests.strategies import PRODUCT_PRICES, stories

OCTOBER = Period.month("2026-10")
NOVEMBER = Period.month("2026-11")


def expected(lines, *, window=OCTOBER, told=(), **fields):
    return predict([a_subscription(**fields)], told, lines, window)


def causes(lines, *, window=OCTOBER, months=None, **fields):
    """The causes of all differences of the lines of a window, with the amounts."""
    found = differences(
        expected(months or lines, window=window, **fields),
        [line for line in lines if line.charged and line.charged.start in window],
    )
    return [(one.cause, str(one.amount)) for one in found]


# --- what was to be expected ---------------------------------------------------------------------------


def test_the_whole_cycle_and_the_pair_of_a_change_are_expected_as_microsoft_writes_them():
    """Cycle of 31 days, 25 left: 10.00 × 25/31 = 8.0645, cut to 8.06 before it is multiplied."""
    lines = [a_line("new"), *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15)]
    found = expected(lines)
    assert [(c.type, str(c.quantity), str(c.amount.amount)) for c in found] == [
        (ChargeType.NEW, "10", "100.00"),
        (ChargeType.ADD_QUANTITY, "-10", "-80.60"),
        (ChargeType.ADD_QUANTITY, "15", "120.90"),
    ]
    assert found[0].reasons[1].inputs["line"] == lines[0].key


def test_older_examples_round_the_unit_half_up():
    """11.60 × 10/30 = 3.8667: published as 3.87 a unit, 7.74 for two."""
    lines = [
        a_line("new", "2026-09-01", "2026-10-01", 1, "11.60", subscription_start=day("2026-09-01")),
        a_line("addQuantity", "2026-09-21", "2026-10-01", -1, "11.60"),
        a_line("addQuantity", "2026-09-21", "2026-10-01", 3, "11.60"),
    ]
    start = {"start": day("2026-09-01")}
    window = Period.month("2026-09")
    for rounding, amount in ((Rounding.MS_HALF_UP, "11.61"), (Rounding.MS_DOWN, "11.58")):
        found = predict([a_subscription(**start)], (), lines, window, rounding=rounding)
        assert str(found[-1].amount.amount) == amount


def test_the_price_is_locked_by_the_first_line_of_the_term():
    first = a_line("new")
    later = a_line("cycleCharge", "2026-11-14", "2026-12-14", unit="10.50")
    (charge,) = expected([first, later], window=NOVEMBER)
    assert str(charge.amount) == "100.00 USD"


def test_a_renewed_term_has_its_own_price():
    before = a_line(
        "cycleCharge",
        "2026-09-14",
        "2026-10-14",
        unit="9.00",
        subscription_start=day("2025-10-14"),
        subscription_end=day("2026-10-14"),
    )
    (charge,) = expected([before, a_line("renew")])
    assert (charge.type, str(charge.amount)) == (ChargeType.RENEW, "100.00 USD")


def test_the_exchange_rate_is_that_of_the_cycles_own_line():
    first = a_line("new", currency="EUR", exchange_rate=Decimal("0.9"), effective="9.00")
    later = a_line(
        "cycleCharge",
        "2026-11-14",
        "2026-12-14",
        currency="EUR",
        exchange_rate=Decimal("0.8"),
        subtotal=Decimal("80.00"),
    )
    (charge,) = expected([first, later], window=NOVEMBER)
    assert str(charge.amount) == "80.00 EUR"


ALIGNED = {"subscription_start": day("2026-10-10"), "subscription_end": day("2027-10-15")}
"""Bought on 10 October to end with a subscription whose cycles turn on the 15th."""
SHOWN = {"start": day("2026-10-10"), "term_end": day("2027-10-15"), "quantity": 10}


def test_a_term_that_ends_with_another_begins_with_a_part_of_its_cycle():
    """5 of the 30 days from 15 September: 9.30 × 5/30 = 1.55."""
    lines = [
        a_line("new", "2026-10-10", "2026-10-15", unit="9.30", effective="1.55", **ALIGNED),
        a_line("cycleCharge", "2026-10-15", "2026-11-15", unit="9.30", **ALIGNED),
        a_line("cycleCharge", "2026-11-15", "2026-12-15", unit="9.30", **ALIGNED),
    ]
    assert causes(lines, **SHOWN) == []
    assert causes(lines[2:], window=NOVEMBER, months=lines, **SHOWN) == []
    # The cycles alone tell it too.
    assert causes(lines[2:], window=NOVEMBER, **SHOWN) == []


def test_a_term_that_ends_with_the_calendar_month_begins_with_the_rest_of_one():
    """22 of the 31 days of October: 9.30 × 22/31 = 6.60."""
    month = {**ALIGNED, "subscription_end": day("2027-10-01")}
    lines = [
        a_line("new", "2026-10-10", "2026-11-01", unit="9.30", effective="6.60", **month),
        a_line("cycleCharge", "2026-11-01", "2026-12-01", unit="9.30", **month),
    ]
    shown = {**SHOWN, "term_end": day("2027-10-01")}
    assert causes(lines, **shown) == []
    assert causes(lines, window=NOVEMBER, **shown) == []


def test_a_part_of_a_cycle_that_costs_too_much_is_told():
    lines = [
        a_line("new", "2026-10-10", "2026-10-15", unit="9.30", **ALIGNED),
        a_line("cycleCharge", "2026-10-15", "2026-11-15", unit="9.30", **ALIGNED),
    ]
    assert causes(lines, **SHOWN) == [(Cause.PRORATION, "77.50")]


def test_a_shortened_term_whose_cycles_turn_on_its_purchase_day_keeps_them():
    lines = [a_line("new", "2026-10-10", "2026-11-10", unit="9.30", **ALIGNED)]
    assert causes(lines, **SHOWN) == []


def test_without_a_line_that_tells_the_price_nothing_is_expected():
    assert expected([]) == []
    assert expected([a_line(sku_id="0009", subscription_start=None)]) == []
    usage = a_subscription(kind="usage")
    assert predict([usage], (), [a_line()], OCTOBER) == []


# --- why another line came ------------------------------------------------------------------------------


def test_lines_as_expected_are_no_difference():
    lines = [
        a_line("new"),
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.06"),
    ]
    assert causes(lines) == []
    assert check(expected(lines), lines) == []


def test_steps_that_undo_each_other_on_one_day_are_no_difference():
    lines = [
        a_line("new"),
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.06"),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 15, 10, effective="8.06"),
    ]
    assert causes(lines) == []


def test_another_price_within_the_term_is_named_with_the_line_that_locked_it():
    first = a_line("new")
    later = a_line("cycleCharge", "2026-11-14", "2026-12-14", unit="10.50")
    (one,) = differences(expected([first, later], window=NOVEMBER), [later])
    assert (one.cause, str(one.amount)) == (Cause.PRICE, "5.00")
    assert one.sentence == (
        "Microsoft billed 105.00 USD for Business Premium (cycleCharge, 2026-11-14 to 2026-12-13): "
        f"list price 10.5, expected 10 as locked for the term by line {first.key}"
    )


def test_a_promotion_that_ends_within_the_term_is_named():
    """15 % off 10.00 is 8.50; the second cycle costs 10.00 again."""
    first = a_line("new", effective="8.50", promotion_id="39NFJQT1Q5KK")
    later = a_line("cycleCharge", "2026-11-14", "2026-12-14")
    (one,) = differences(expected([first, later], window=NOVEMBER), [later])
    assert (one.cause, str(one.amount)) == (Cause.PROMOTION, "15.00")
    assert one.sentence.endswith(
        "no promotion, expected 85 % of the list price as earlier in the term"
    )


def test_a_unit_that_is_not_its_share_of_the_days_is_proration():
    """8.06 is right for 25 of 31 days; 8.33 is 25 of 30."""
    lines = [
        a_line("new"),
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.33"),
    ]
    assert causes(lines) == [(Cause.PRORATION, "-2.70"), (Cause.PRORATION, "4.05")]


@pytest.mark.parametrize(
    ("subtotal", "cause"),
    [("121.05", Cause.ROUNDING), ("120.76", Cause.ROUNDING), ("121.06", Cause.PRORATION)],
)
def test_within_a_cent_a_unit_it_is_rounding_and_told(subtotal, cause):
    """15 × 8.06 = 120.90; fifteen units may be 0.15 apart."""
    old, new = a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.06")
    lines = [a_line("new"), old, replace(new, subtotal=Decimal(subtotal))]
    assert causes(lines) == [(cause, str(Decimal(subtotal) - Decimal("120.90")))]


def test_seats_and_days_are_named_before_money():
    eleven = a_line("new", quantity=11)
    found = differences(expected([a_line("new")]), [eleven])
    assert [(one.cause, str(one.amount)) for one in found] == [(Cause.QUANTITY, "10.00")]
    shorter = a_line("new", end="2026-11-10")
    (one,) = differences(expected([a_line("new")]), [shorter])
    assert one.cause is Cause.DATES
    assert one.sentence.endswith(
        "for 2026-10-14 to 2026-11-09, expected for 2026-10-14 to 2026-11-13"
    )
    later = a_line("new", "2026-10-15", "2026-11-14")
    assert [x.cause for x in differences(expected([a_line("new")]), [later])] == [Cause.DATES]


def test_a_line_that_did_not_come_and_one_that_nobody_expected():
    (missing,) = differences(expected([a_line("new")]), [])
    assert (missing.cause, str(missing.amount)) == (Cause.MISSING_LINE, "-100.00")
    assert missing.sentence == (
        "no line of Microsoft for 10 × Business Premium (2026-10-14 to 2026-11-13), 100.00 USD"
    )
    (stray,) = differences([], [a_line(), a_line(unit="0", key="free")])
    assert (stray.cause, str(stray.amount)) == (Cause.UNEXPECTED_LINE, "100.00")
    assert "10 × 10 USD (cycleCharge, 2026-10-14 to 2026-11-13)" in stray.sentence


def test_only_differences_of_money_are_found_by_cause_and_added_up():
    old, new = a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.05")
    lines = [a_line("new", quantity=10), old, new]
    (finding,) = check(expected(lines), lines)
    assert (finding.check, finding.severity) == ("cost.rounding", Severity.WARN)
    # 10 × 8.06 comes back as 80.50: 0.10 more; 15 × 8.06 = 120.90 costs 120.75: 0.15 less.
    assert finding.sentence.endswith("(2 lines, -0.05 USD in all).")
    assert check(expected([a_line("new")]), [a_line("new", quantity=11)]) == []


# --- which line belongs to which charge ------------------------------------------------------------------


REST = period("2026-10-20", "2026-11-14")


def owners(charges, lines, **options):
    """Each line with the charge that names it."""
    found = linked(charges, lines, **options)
    by_line = {key: charge.key for charge in found.charges for key in charge.cost_lines}
    assert sum(len(charge.cost_lines) for charge in found.charges) == len(by_line)
    assert {*by_line, *(line.key for line in found.unlinked)} == {
        line.key for line in lines if line.kind is CostKind.LICENCE
    }
    return [by_line.get(line.key) for line in lines]


def added(quantity, key, **fields):
    kind = ChargeType.ADD_QUANTITY if quantity > 0 else ChargeType.REMOVE_QUANTITY
    return a_charge(
        key=key, **{"type": kind, "quantity": Decimal(quantity), "service": REST, **fields}
    )


def test_a_cycle_and_both_lines_of_a_change_find_their_charges():
    lines = [a_line(), *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15)]
    assert owners([a_charge(key="cycle"), added(5, "add")], lines) == ["cycle", "add", "add"]


def test_seats_added_on_the_first_day_of_a_cycle_are_told_from_the_cycle():
    whole = period("2026-10-14", "2026-11-14")
    lines = [a_line(), *a_change("addQuantity", "2026-10-14", "2026-11-14", 10, 15)]
    charges = [added(5, "add", service=whole), a_charge(key="cycle")]
    assert owners(charges, lines) == ["cycle", "add", "add"]
    assert owners([charges[1]], lines) == ["cycle"] * 3  # undone within the day


def test_in_the_contracts_months_a_change_does_not_pass_for_a_cycle():
    october = a_charge(key="october", service=period("2026-10-01", "2026-11-01"))
    stray = a_line("addQuantity", "2026-10-20", "2026-11-14", 3)
    assert owners([october], [a_line(), stray], own_periods=True) == ["october", None]


def test_of_several_steps_of_a_day_each_charge_takes_its_own_pair():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 12),
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 12, 17),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 17, 16),
        a_line("removeQuantity", "2026-10-20", "2026-11-14", -16),  # to no seats at all
    ]
    charges = [added(5, "5"), added(2, "2"), added(-16, "-16"), added(-1, "-1")]
    lines = [replace(line, key=str(n)) for n, line in enumerate(lines)]
    assert owners(charges, lines) == ["2", "2", "5", "5", "-1", "-1", "-16"]


def test_a_day_that_is_read_as_one_step_takes_all_lines():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 15, 12),
    ]
    assert owners([added(2, "net")], lines) == ["net"] * 4


def test_the_legs_of_a_conversion_go_by_product():
    legs = [
        a_line("convert", "2026-10-20", "2026-11-14", -10),
        a_line("convert", "2026-10-20", "2026-11-14", 10, sku_id="0002"),
    ]
    charges = [
        added(10, "target", type=ChargeType.CONVERT, sku=legs[1].sku),
        added(-10, "source", type=ChargeType.CONVERT, sku=legs[0].sku),
    ]
    assert owners(charges, legs) == ["source", "target"]


def test_other_subscriptions_other_days_and_other_kinds_of_line_are_left_alone():
    lines = [
        a_line(subscription_id="another", key="1"),
        a_line(first="2026-09-14", end="2026-10-14", key="2"),
        a_line(charged=None, key="3"),
        a_pass_on(CostKind.ONE_TIME, "5.00"),
        # An addition within the cycle that no charge is for must not hide behind the cycle.
        a_line("addQuantity", "2026-10-20", "2026-11-14", 3, key="4"),
    ]
    usage = a_charge(key="usage", type=ChargeType.USAGE, cost_lines=("u",))
    found = linked([a_charge(), usage], lines)
    assert {line.key for line in found.unlinked} == {"1", "2", "3", "4"}
    assert [charge.cost_lines for charge in found.charges] == [(), ("u",)]


def test_a_line_for_other_days_goes_to_the_charge_of_its_kind_and_first_day():
    assert owners([a_charge(key="cycle")], [a_line(end="2026-11-10")]) == ["cycle"]


def test_a_cycle_of_microsoft_goes_to_the_contracts_month_that_serves_its_first_day():
    charges = [
        a_charge(key="october", service=period("2026-10-01", "2026-11-01")),
        a_charge(key="november", service=period("2026-11-01", "2026-12-01")),
    ]
    lines = [a_line("new"), a_line("cycleCharge", "2026-11-14", "2026-12-14")]
    assert owners(charges, lines, own_periods=True) == ["october", "november"]
    assert owners(charges, lines) == [None, None]


# --- whatever happens ------------------------------------------------------------------------------------


def as_lines(charges) -> list[CostLine]:
    """Write charges of the cost side as Microsoft's lines."""
    return [
        a_line(
            KINDS[charge.type],
            str(charge.service.start),
            str(charge.service.end),
            int(charge.quantity),
            key=f"line/{n:04}",
            unit=str(charge.unit_price),
            subtotal=charge.amount.amount,
            product_id=charge.sku.partition(":")[0],
            sku_id=charge.sku.partition(":")[2],
        )
        for n, charge in enumerate(charges)
    ]


@given(stories(), PRODUCT_PRICES)
def test_each_line_of_a_history_belongs_to_one_charge_or_is_named(story, prices):
    window = story.window()

    def price(asked):
        return prices[asked.sku] + 1

    theirs, _ = rated(
        *story.events, window=window, price=price, side=Side.COST, rounding=Rounding.MS_DOWN
    )
    ours, _ = rated(*story.events, window=window, price=price)
    lines = as_lines(theirs)
    assert None not in owners(ours, lines)
    named = linked(ours, lines).charges
    seats = {line.key: line.seats for line in lines}
    asked: dict[Period, Decimal] = defaultdict(Decimal)
    billed: dict[Period, Decimal] = defaultdict(Decimal)
    for charge in named:
        asked[charge.service] += charge.quantity
        billed[charge.service] += sum(seats[key] for key in charge.cost_lines)
    assert asked == billed


@given(stories(), PRODUCT_PRICES, st.randoms(use_true_random=False))
def test_what_comes_as_expected_is_no_difference_in_any_order(story, prices, random):
    charges, _ = rated(
        *story.events,
        window=story.window(),
        price=lambda asked: prices[asked.sku],
        side=Side.COST,
        rounding=Rounding.MS_DOWN,
    )
    lines = as_lines(charges)
    random.shuffle(lines)
    assert differences(charges, lines) == []
    if lines and (dropped := lines[0]).subtotal:
        found = differences(charges, lines[1:])
        assert sum((one.amount for one in found), Decimal(0)) == -dropped.subtotal
