"""What is read out of Microsoft's lines, event by event, and how a history begins without them."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import permutations

import pytest

from domain.period import BillingCycle, TermDuration
from domain.subscription import EventSource, EventType, SubscriptionEvent
from rules.events import check_history, from_cost_lines, history, legs_of, order, served_from
from tests.builders import (
    OFFER,
    a_change,
    a_line,
    a_subscription,
    an_event,
    cancel,
    convert,
    day,
    purchase,
    renew,
    seats,
)


def read(*lines):
    (event,) = from_cost_lines(lines)
    return event


def a_convert(quantity, sku="0001", **fields):
    return a_line("convert", "2026-10-20", quantity=quantity, **{"sku_id": sku, **fields})


# --- one line, one event -------------------------------------------------------------------------------


def test_a_purchase():
    assert read(a_line("new", reference_id="order-7")) == SubscriptionEvent(
        subscription_id="s1",
        customer_id="c1",
        effective=day("2026-10-14"),
        type=EventType.PURCHASE,
        quantity=10,
        sku=OFFER,
        term=TermDuration.YEAR,
        billing_cycle=BillingCycle.MONTHLY,
        term_end=day("2027-10-14"),
        source=EventSource.COST_LINE,
    )


def test_a_change_of_seats_by_a_pair_and_by_a_single_line():
    expected = an_event(
        "2026-10-20", EventType.SET_QUANTITY, quantity=15, source=EventSource.COST_LINE
    )
    assert read(*a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15)) == expected
    assert read(a_line("addQuantity", "2026-10-20", quantity=15)) == expected


def test_seats_that_arrive_are_added_to_those_that_run():
    event = read(a_line("cycleCharge"), a_convert(4, reference_id="up-1"))
    assert event == an_event(
        "2026-10-20",
        EventType.CONVERT,
        quantity=14,
        reference_id="up-1",
        source=EventSource.COST_LINE,
    )


def test_of_two_products_that_come_the_dearer_is_what_it_became():
    legs = [a_convert(-10), a_convert(6, "0002", key="z"), a_convert(4, "0003", unit="99", key="a")]
    for shuffled in permutations(legs):
        assert read(*shuffled).sku.endswith(":0003")


@pytest.mark.parametrize(
    ("line", "is_trial"),
    [
        ({"unit": "0"}, True),
        ({"effective": "0"}, False),  # listed, and given for nothing
        ({"unit": "0", "subtotal": Decimal(5)}, False),
        ({}, False),
    ],
)
def test_a_first_line_without_any_price_is_of_a_trial(line, is_trial):
    assert read(a_line("new", **line)).is_trial is is_trial


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("One-Month commitment for monthly/yearly billing", TermDuration.MONTH),
        ("1 Month", TermDuration.MONTH),
        ("Monthly commitment", TermDuration.MONTH),
        ("One-Year commitment", TermDuration.YEAR),
        ("1 year", TermDuration.YEAR),
        ("Three-Year commitment", TermDuration.THREE_YEARS),
        ("3 Year", TermDuration.THREE_YEARS),
        ("Five-Year commitment", TermDuration.FIVE_YEARS),
        ("5 year", TermDuration.FIVE_YEARS),
        ("something else", None),
    ],
)
def test_a_term_is_read_from_its_words(text, term):
    assert read(a_line("new", term_and_billing_cycle=text)).term is term


@pytest.mark.parametrize(
    ("text", "cycle"),
    [
        ("Monthly", BillingCycle.MONTHLY),
        ("ANNUAL", BillingCycle.ANNUAL),
        ("triennial", BillingCycle.TRIENNIAL),
        ("", None),
    ],
)
def test_a_billing_cycle_is_read_in_any_case(text, cycle):
    assert read(a_line("new", billing_frequency=text)).billing_cycle is cycle


# --- the legs of a conversion ----------------------------------------------------------------------------


def test_a_conversion_to_a_free_product_gives_the_paid_one_back():
    back, free = a_convert(-10), a_convert(10, "0002", unit="0")
    legs = legs_of([free, back])
    assert (legs.given_back, legs.charged) == ((back,), (free,))
    assert legs.within


def test_a_conversion_in_part_to_a_free_product():
    back, stays, free = a_convert(-10), a_convert(6), a_convert(4, "0002", unit="0")
    legs = legs_of([free, stays, back])
    assert legs.given_back == (back,)
    assert set(legs.charged) == {stays, free}


def test_from_trial_to_trial_the_one_that_begins_is_what_came():
    old = a_convert(10, unit="0", key="z")
    new = a_convert(10, "0002", unit="0", key="a", subscription_start=day("2026-10-20"))
    for lines in ([old, new], [new, old]):
        legs = legs_of(lines)
        assert (legs.given_back, legs.charged) == ((old,), (new,))


def test_what_is_charged_and_given_back_on_one_day_cancels_once():
    first, second = a_convert(-10, key="a"), a_convert(-10, key="b")
    came = a_convert(10, "0002", key="d")
    legs = legs_of([first, second, a_convert(10, key="c"), came])
    assert (legs.given_back, legs.charged) == ((first,), (came,))


# --- the order of a day ----------------------------------------------------------------------------------


def test_what_no_source_numbered_is_ordered_by_what_it_says():
    unknown = an_event("2026-10-20", EventType.SET_QUANTITY)
    told = [unknown, seats("2026-10-20", 0), seats("2026-10-20", 5)]
    products = [
        convert("2026-10-20", "", quantity=5),
        convert("2026-10-20", "A:1", quantity=5, reference_id="r1"),
        convert("2026-10-20", "A:1", quantity=5, reference_id="r2"),
        convert("2026-10-20", "B:1", quantity=5),
    ]
    for expected in (told, products):
        for arrived in permutations(expected):
            assert order(arrived) == expected


# --- how a history begins ----------------------------------------------------------------------------------


def test_a_term_that_only_the_snapshot_shows_is_a_renewal():
    running = a_subscription(
        start=day("2027-10-14"), term_end=day("2028-10-14"), is_trial=True, quantity=10
    )
    bought, renewed = history(running, [a_line("new")], [])
    assert (bought.type, bought.term_end) == (EventType.PURCHASE, day("2027-10-14"))
    assert renewed == renew(
        "2027-10-14",
        term=TermDuration.YEAR,
        billing_cycle=BillingCycle.MONTHLY,
        term_end=day("2028-10-14"),
        is_trial=True,
        source=EventSource.SNAPSHOT,
    )


def test_a_running_cycle_shows_the_term_in_which_it_runs():
    (begun,) = history(a_subscription(quantity=10), [a_line("cycleCharge")], [])
    assert begun == SubscriptionEvent(
        subscription_id="s1",
        customer_id="c1",
        effective=day("2026-10-14"),
        type=EventType.PURCHASE,
        quantity=10,
        sku=OFFER,
        term=TermDuration.YEAR,
        billing_cycle=BillingCycle.MONTHLY,
        term_end=day("2027-10-14"),
        source=EventSource.SNAPSHOT,
    )


@pytest.mark.parametrize(
    ("shown", "line", "is_trial"),
    [
        ({}, {"unit": "0", "term_and_billing_cycle": "One-Month Trial"}, True),
        ({}, {"unit": "0"}, False),  # a free product
        ({"is_trial": True}, {"unit": "0"}, True),
        ({}, {}, False),
    ],
)
@pytest.mark.parametrize("kind", ["new", "cycleCharge"])
def test_a_trial_is_shown_or_named(kind, shown, line, is_trial):
    first, *_ = history(a_subscription(**shown), [a_line(kind, **line)], [])
    assert first.is_trial is is_trial


def test_a_paid_term_of_which_the_snapshot_says_that_it_is_a_trial_is_one():
    (first,) = history(a_subscription(is_trial=True), [a_line("new")], [])
    assert first.is_trial


def test_what_happens_on_the_first_day_is_kept_behind_the_beginning():
    changed = seats("2026-10-14", 12)
    begun, kept = history(a_subscription(quantity=12), [], [changed])
    assert (begun.type, begun.quantity, kept) == (EventType.PURCHASE, 12, changed)


@pytest.mark.parametrize(
    "told",
    [
        convert("2026-10-14", "", quantity=4),  # seats moved, nothing became another product
        convert("2026-10-14", "other:1"),  # nobody says how many
        convert("2026-10-20", "other:1", quantity=4),  # later
        renew("2026-10-14", sku=OFFER),
    ],
)
def test_what_opens_nothing_is_no_beginning(told):
    first, *rest = history(a_subscription(), [], [told])
    assert first.type is EventType.PURCHASE
    assert rest == [told]


def test_the_seats_of_the_beginning_are_the_last_ones_known_before_it():
    told = [seats(f"2026-10-1{n}", 6 + n) for n in (0, 1, 2)]
    (begun,) = history(a_subscription(quantity=15), [], told)
    assert begun.quantity == 8


def test_a_purchase_long_ago_ends_with_its_own_term():
    running = a_subscription(
        start=day("2027-10-14"),
        term_end=day("2028-04-30"),
        created=datetime(2026, 10, 14, tzinfo=UTC),
    )
    bought, _ = history(running, [], [purchase("2026-10-14"), renew("2027-10-14")])[:2]
    assert bought.term_end is None


@pytest.mark.parametrize(
    ("created", "start", "anchor"),
    [
        ("2026-01-31", "2026-02-28", "2026-01-31"),
        ("2026-01-31", "2026-03-31", None),  # on its own day: nothing to remember
        ("2026-01-31", "2026-02-20", None),
        ("2026-10-14", "2026-11-14", None),
        ("2026-10-14", "2026-10-14", None),
    ],
)
def test_the_purchase_day_is_remembered_where_a_term_starts_on_its_clamped_day(
    created, start, anchor
):
    bought = datetime.fromisoformat(f"{created}T00:00:00+00:00")
    one = a_subscription(start=day(start), created=bought)
    expected = anchor and day(anchor)
    (from_snapshot,) = history(one, [], [])
    (from_events,) = history(one, [], [purchase(start)])
    assert (from_snapshot.anchor, from_events.anchor) == (expected, expected)


def test_a_cancellation_does_not_show_how_many_there_were():
    credit = a_line("cancelImmediate", "2026-10-18", quantity=-3)
    begun, ended = history(a_subscription(quantity=7), [credit], [])
    assert (begun.quantity, ended.type) == (7, EventType.CANCEL)


def test_of_two_lines_of_the_first_day_the_larger_shows_the_seats():
    lines = [a_line(quantity=4, key="a"), a_line(quantity=10, key="b"), a_line(key="c")]
    for shuffled in permutations(lines):
        assert history(a_subscription(), shuffled, [])[0].quantity == 10


def test_a_conversion_that_undid_itself_does_not_show_the_first_seats():
    undone = [a_convert(-12), a_convert(12, key="z")]
    later = a_line("cycleCharge", "2026-11-14", "2026-12-14", 10)
    assert history(a_subscription(), [*undone, later], [])[0].quantity == 10


# --- what another partner billed -----------------------------------------------------------------------------


@pytest.mark.parametrize("running", ["cycleCharge", "renew"])
def test_what_runs_already_came_from_nobody_else(running):
    arrived = a_line("convert", quantity=4, subscription_start=day("2026-09-14"))
    assert served_from([arrived]) == day("2026-10-14")
    assert served_from([arrived, a_line(running)]) is None


# --- the end of a history --------------------------------------------------------------------------------------


def test_what_has_ended_is_not_compared_with_what_is_shown():
    told = [purchase("2026-10-14"), cancel("2026-10-16")]
    assert check_history(a_subscription(), told, day("2026-11-01")) == []
