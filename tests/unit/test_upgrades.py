"""Upgrades and trials as Microsoft bills them: by pairs, by legs on two subscriptions, by nothing."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations

import pytest

from domain.subscription import CostKind, EventType
from rules.events import check_history, from_cost_lines, history, served_from
from tests.builders import a_change, a_line, a_subscription, amounts, day, period, rated

# --- upgrades --------------------------------------------------------------------------------------


def told(events):
    return [(str(e.effective), e.type.value, e.quantity) for e in events]


def test_a_conversion_goes_on_in_the_running_term_or_starts_its_own():
    source = a_line("convert", "2026-10-20", "2026-11-14", -10)
    target = a_line("convert", "2026-10-20", "2026-11-14", 10, sku_id="0002")
    (event,) = from_cost_lines([target, source])
    assert (event.type, event.quantity, event.sku) == (EventType.CONVERT, 10, "CFQ7TTC0LH18:0002")
    assert event.term_end is None
    own = replace(target, subscription_start=day("2026-10-20"), subscription_end=day("2027-10-20"))
    (event,) = from_cost_lines([own, source])
    assert event.term_end == day("2027-10-20")


def test_all_seats_that_moved_to_another_subscription_leave_none_behind():
    source = a_line("convert", "2026-10-20", "2026-11-14", -10, reference_id="up-1")
    (event,) = from_cost_lines([source])
    assert told([event]) == [("2026-10-20", "convert", 0)]
    assert (event.sku, event.reference_id) == ("", "up-1")


def test_a_partial_upgrade_leaves_the_rest_on_the_source():
    """10 seats, 4 of them move: Microsoft gives 10 back and charges the 6 that stay."""
    running = a_line("cycleCharge")
    source = a_change("convert", "2026-10-20", "2026-11-14", 10, 6, reference_id="up-1")
    for shuffled in permutations([running, *source]):
        (event,) = from_cost_lines(shuffled)
        assert told([event]) == [("2026-10-20", "convert", 6)]
        assert (event.sku, event.reference_id) == ("", "up-1")


def test_two_partial_upgrades_of_a_day_are_one_step():
    lines = [
        *a_change("convert", "2026-10-20", "2026-11-14", 10, 6, reference_id="up-1"),
        *a_change("convert", "2026-10-20", "2026-11-14", 6, 1, reference_id="up-2"),
    ]
    for shuffled in permutations(lines):
        assert told(from_cost_lines(shuffled)) == [("2026-10-20", "convert", 1)]


def test_an_upgrade_that_is_undone_on_the_same_day_is_no_event():
    there = a_line("convert", "2026-10-20", "2026-11-14", 10, sku_id="0002")
    lines = [
        a_line("convert", "2026-10-20", "2026-11-14", -10),
        there,
        replace(there, effective_unit_price=-there.effective_unit_price, subtotal=-there.subtotal),
        a_line("convert", "2026-10-20", "2026-11-14", 10, key="cost/I1/back"),
    ]
    for shuffled in permutations(lines):
        assert from_cost_lines(shuffled) == []


@pytest.mark.parametrize(
    ("term_start", "first_day"), [("2026-10-20", None), ("2026-10-14", "2026-10-20")]
)
def test_an_upgrade_begins_its_target_in_a_term_of_its_own_or_in_the_one_of_the_source(
    term_start, first_day
):
    arrived = a_line(
        "convert",
        "2026-10-20",
        "2026-11-14",
        4,
        sku_id="0002",
        subscription_start=day(term_start),
        reference_id="up-1",
    )
    later = replace(arrived, charge_type="cycleCharge", charged=period("2026-11-14", "2026-12-14"))
    target = a_subscription(
        sku_id="0002",
        quantity=4,
        start=day(term_start),
        created=datetime(2026, 10, 20, 12, tzinfo=UTC),
    )
    for lines in ([arrived], [later, arrived]):
        (event,) = history(target, lines, [])
        assert told([event]) == [(term_start, "convert", 4)]
        assert (event.sku, event.term_end) == ("CFQ7TTC0LH18:0002", day("2027-10-14"))
        assert event.reference_id == "up-1"
        assert served_from(lines) == (first_day and day(first_day))


def test_the_target_of_an_upgrade_keeps_the_charge_cycle_of_the_source():
    """25 of 31 days remain on 20 October: 4 x 30 x 25/31, then whole cycles."""
    arrived = a_line("convert", "2026-10-20", "2026-11-14", 4)
    charges, findings = rated(
        *history(a_subscription(quantity=4), [arrived], []),
        window=("2026-10-01", "2026-12-01"),
        served_from=served_from([arrived]),
    )
    assert amounts(charges) == ["96.77", "120.00"]
    assert [c.type.value for c in charges] == ["convert", "cycle_charge"]
    assert findings == []


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [a_line()],
        [a_line("renew", subscription_start=day("2026-09-14"))],
        [
            a_line("convert", "2026-10-20", "2026-11-14", -10),
            a_line("convert", "2026-10-20", "2026-11-14", 10, sku_id="0002"),
        ],
        a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        [a_line("new", kind=CostKind.ONE_TIME, subscription_start=day("2026-09-14"))],
    ],
)
def test_what_ran_before_its_first_line_is_charged_from_its_beginning(lines):
    assert served_from(lines) is None


def test_seats_that_arrive_at_a_running_subscription_are_added_to_what_it_had():
    lines = [
        a_line("new", quantity=5),
        *a_change("addQuantity", "2026-10-16", "2026-11-14", 5, 7),
        a_line("convert", "2026-10-20", "2026-11-14", 4, reference_id="up-1"),
    ]
    for shuffled in permutations(lines):
        assert told(from_cost_lines(shuffled)) == [
            ("2026-10-14", "purchase", 5),
            ("2026-10-16", "set_quantity", 7),
            ("2026-10-20", "convert", 11),
        ]


# --- trials ------------------------------------------------------------------------------------------

TRIAL = {
    "term_and_billing_cycle": "One-Month commitment for trial",
    "subscription_start": day("2026-09-14"),
    "subscription_end": day("2026-10-14"),
}


def test_a_trial_is_a_line_of_nothing_and_then_a_renewal_with_a_price():
    lines = [
        a_line("new", "2026-09-14", "2026-10-14", 25, unit="0", **TRIAL),
        a_line("renew", "2026-10-14", "2026-11-14", 25),
    ]
    for shuffled in permutations(lines):
        bought, renewed = history(a_subscription(quantity=25), shuffled, [])
        assert (bought.type, bought.is_trial) == (EventType.PURCHASE, True)
        assert (renewed.type, renewed.is_trial) == (EventType.RENEW, False)
    charges, findings = rated(bought, renewed, window=("2026-09-01", "2026-11-01"))
    assert amounts(charges) == ["0.00", "750.00"]  # 25 x 30
    assert findings == []


@pytest.mark.parametrize("last", ["2026-09-14", "2026-09-20"])
def test_a_cancelled_trial_is_two_lines_of_nothing_without_a_sign(last):
    lines = [
        a_line("new", "2026-09-14", "2026-10-14", 25, unit="0", **TRIAL),
        a_line("cancelImmediate", last, "2026-10-14", 25, unit="0", **TRIAL),
    ]
    subscription = a_subscription(
        start=day("2026-09-14"), quantity=25, status="deleted", is_trial=True
    )
    found = history(subscription, lines, [])
    assert told(found) == [("2026-09-14", "purchase", 25), (last, "cancel", None)]
    assert found[0].is_trial
    assert check_history(subscription, found, day("2026-11-08")) == []
    assert sum(line.seats for line in lines) == 0
    charges, findings = rated(*found, window=("2026-09-01", "2026-12-01"))
    assert set(amounts(charges)) == {"0.00"}
    assert findings == []


@pytest.mark.parametrize(("kind", "total"), [("addQuantity", 25), ("removeQuantity", 20)])
def test_the_pair_of_a_trial_has_no_sign_and_its_type_tells_the_new_total(kind, total):
    lines = [
        a_line(kind, "2026-09-20", "2026-10-14", count, unit="0", **TRIAL) for count in (25, 20)
    ]
    for shuffled in permutations(lines):
        assert told(from_cost_lines(shuffled)) == [("2026-09-20", "set_quantity", total)]


def test_a_trial_that_moves_to_another_subscription_leaves_nothing_behind():
    lines = [
        a_line("new", "2026-09-14", "2026-10-14", 25, unit="0", **TRIAL),
        a_line("convert", "2026-10-10", "2026-10-14", 25, unit="0", **TRIAL),
    ]
    assert told(from_cost_lines(lines)) == [
        ("2026-09-14", "purchase", 25),
        ("2026-10-10", "convert", 0),
    ]


def test_a_product_that_is_free_for_good_is_no_trial():
    """It may have a price of ours: a trial has none."""
    free = {"unit": "0", "quantity": 3}
    lines = [a_line("new", **free), a_line("cycleCharge", "2026-11-14", "2026-12-14", **free)]
    (bought,) = history(a_subscription(quantity=3), lines, [])
    assert not bought.is_trial
    (known,) = history(a_subscription(quantity=3, is_trial=True), lines, [])
    assert known.is_trial
    (snapshot,) = history(a_subscription(quantity=3, is_trial=True), [], [])
    assert snapshot.is_trial
