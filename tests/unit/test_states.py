"""What was true on a day: product, seats, term, windows, and whether it runs at all."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.period import BillingCycle, TermDuration
from domain.subscription import EventType
from rules.events import order
from rules.states import Lot, as_of
from tests.builders import OFFER, an_event, cancel, convert, day, purchase, renew, seats
from tests.strategies import stories


def lots(state):
    return [(lot.quantity, str(lot.opened), str(lot.closes)) for lot in state.lots]


def test_nothing_is_true_before_it_began():
    assert as_of([purchase("2026-10-14")], day("2026-10-13")) is None
    assert as_of([], day("2026-10-13")) is None
    assert as_of([seats("2026-10-10", 4)], day("2026-10-13")) is None


def test_a_purchase_runs_for_its_term_from_the_first_day():
    state = as_of([purchase("2026-10-14")], day("2026-10-14"))
    assert (state.sku, state.quantity) == (OFFER, 10)
    assert (state.term, state.billing_cycle) == (TermDuration.YEAR, BillingCycle.MONTHLY)
    assert (str(state.term_start), str(state.term_end)) == ("2026-10-14", "2027-10-14")
    assert (state.day, state.ended, state.suspended, state.is_trial) == (
        day("2026-10-14"),
        None,
        False,
        False,
    )


def test_each_lot_has_its_own_window_and_the_newest_seats_leave_first():
    history = [purchase("2026-10-14"), seats("2026-10-18", 15), seats("2026-10-19", 12)]
    state = as_of(history, day("2026-10-20"))
    assert lots(state) == [(10, "2026-10-14", "2026-10-21"), (2, "2026-10-18", "2026-10-25")]
    assert state.loose == state.lots
    assert as_of(history, day("2026-10-21")).loose == (Lot(quantity=2, opened=day("2026-10-18")),)
    assert as_of(history, day("2026-10-25")).loose == ()
    assert as_of([*history, seats("2026-10-26", 4)], day("2026-10-26")).quantity == 4


def test_a_renewal_opens_a_window_for_all_seats_and_is_seen_or_supposed():
    for history in ([purchase("2026-10-14")], [purchase("2026-10-14"), renew("2027-10-14")]):
        state = as_of(history, day("2027-10-15"))
        assert lots(state) == [(10, "2027-10-14", "2027-10-21")]
        assert str(state.term_end) == "2028-10-14"


def test_a_renewal_may_change_everything():
    history = [
        purchase("2026-10-14"),
        renew(
            "2027-10-14",
            quantity=8,
            sku="other:1",
            term=TermDuration.MONTH,
            term_end=day("2027-10-31"),
        ),
    ]
    state = as_of(history, day("2027-10-30"))
    assert (state.sku, state.quantity, str(state.term_end)) == ("other:1", 8, "2027-10-31")
    # From there on a month at a time, anchored anew: the 31st clamps and springs back.
    assert str(as_of(history, day("2027-11-01")).term_end) == "2027-11-30"
    assert str(as_of(history, day("2027-12-05")).term_end) == "2027-12-31"
    assert str(as_of(history, day("2028-02-29")).term_end) == "2028-03-31"


def test_without_renewal_a_term_runs_out_unless_a_later_renewal_is_known():
    history = [purchase("2026-10-14", term=TermDuration.MONTH)]
    last = as_of(history, day("2026-11-13"), auto_renew=False)
    over = as_of(history, day("2026-11-14"), auto_renew=False)
    assert (last.quantity, last.ended) == (10, None)
    assert (over.quantity, str(over.ended), over.ended_by) == (0, "2026-11-14", None)
    seen = [*history, renew("2027-01-14")]
    assert as_of(seen, day("2027-01-20"), auto_renew=False).quantity == 10
    assert as_of(seen, day("2027-02-14"), auto_renew=False).quantity == 0


def test_an_upgrade_in_place_inherits_the_window():
    history = [purchase("2026-10-14"), convert("2026-10-18", "other:1", quantity=9)]
    state = as_of(history, day("2026-10-18"))
    assert (state.sku, lots(state)) == ("other:1", [(9, "2026-10-14", "2026-10-21")])
    assert str(state.term_end) == "2027-10-14"


def test_an_upgrade_into_a_term_of_its_own_starts_it():
    history = [
        purchase("2026-09-20", 25, is_trial=True),
        convert("2026-10-14", "paid:1", quantity=18, term_end=day("2027-10-14")),
    ]
    assert as_of(history, day("2026-10-13")).is_trial
    state = as_of(history, day("2026-10-14"))
    assert (state.sku, state.quantity, state.is_trial) == ("paid:1", 18, False)
    assert (str(state.term_start), str(state.term_end)) == ("2026-10-14", "2027-10-14")


def test_seats_move_to_and_from_another_subscription():
    history = [purchase("2026-10-14"), convert("2026-10-20", "", quantity=6)]
    assert as_of(history, day("2026-10-20")).quantity == 6
    assert as_of([*history, convert("2026-10-25", "", quantity=9)], day("2026-10-25")).quantity == 9
    gone = as_of([*history, convert("2026-10-25", "", quantity=0)], day("2026-10-25"))
    assert (gone.quantity, str(gone.ended), gone.ended_by) == (0, "2026-10-25", EventType.CONVERT)


@pytest.mark.parametrize("kind", [EventType.CANCEL, EventType.TRANSFER])
def test_it_ends_by_cancellation_or_transfer_and_nothing_follows(kind):
    history = [purchase("2026-10-14"), an_event("2026-10-16", kind), seats("2026-10-18", 4)]
    assert as_of(history, day("2026-10-15")).quantity == 10
    state = as_of(history, day("2027-12-01"))
    assert (state.quantity, str(state.ended), state.ended_by) == (0, "2026-10-16", kind)


def test_it_may_be_bought_again_after_its_end():
    history = [purchase("2026-10-14"), cancel("2026-10-16"), purchase("2026-11-01", 3)]
    state = as_of(history, day("2026-11-01"))
    assert (state.quantity, state.ended) == (3, None)


def test_suspended_is_on_until_it_is_resumed():
    history = [
        purchase("2026-10-14"),
        an_event("2026-10-20", EventType.SUSPEND),
        an_event("2026-11-20", EventType.RESUME),
    ]
    days = ["2026-10-19", "2026-10-20", "2026-11-19", "2026-11-20"]
    assert [as_of(history, day(text)).suspended for text in days] == [False, True, True, False]
    assert as_of(history, day("2026-11-01")).quantity == 10


def test_the_purchase_day_is_kept_through_short_months():
    history = [purchase("2026-01-31", term=TermDuration.MONTH)]
    ends = [str(as_of(history, day(f"2026-0{m}-15")).term_end) for m in (2, 3, 4, 5)]
    assert ends == ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]


@given(stories(), st.integers(-3, 250))
def test_a_state_is_what_its_events_say_when_they_are_counted_one_by_one(story, offset):
    on = story.start + timedelta(days=offset)
    state = as_of(order(story.events), on)
    if offset < 0:
        assert state is None
        return
    quantity, sku = 0, ""
    for event in order(story.events):
        if event.effective <= on:
            quantity = quantity if event.quantity is None else event.quantity
            sku = event.sku or sku
            if event.type is EventType.CANCEL:
                quantity = 0
                break
    assert (state.quantity, state.sku) == (quantity, sku)
    assert sum(lot.quantity for lot in state.loose) <= state.quantity
    assert state.term_start <= on


@given(stories(), st.integers(0, 200), st.integers(0, 60))
def test_what_happens_later_does_not_change_what_was_true(story, offset, later):
    on = story.start + timedelta(days=offset)
    known = [event for event in order(story.events) if event.effective <= on]
    assert as_of(known, on) == as_of(order(story.events), on)
    # Asking again on a quiet day only moves the day, until a term ends.
    state = as_of(known, on)
    then = as_of(known, on + timedelta(days=later))
    if state.ended or state.term_end is None or on + timedelta(days=later) < state.term_end:
        assert replace(then, day=on) == state


# --- what is kept, and what begins anew --------------------------------------------------------------


def test_a_renewal_that_names_nothing_keeps_everything():
    history = [
        purchase("2026-01-31", term=TermDuration.MONTH),
        an_event("2026-02-10", EventType.SUSPEND),
        renew("2026-02-28"),
    ]
    state = as_of(history, day("2026-03-01"))
    assert (state.sku, state.quantity, state.suspended) == (OFFER, 10, True)
    assert (state.term, state.billing_cycle) == (TermDuration.MONTH, BillingCycle.MONTHLY)
    assert (str(state.anchor), str(state.term_start), str(state.term_end)) == (
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
    )


def test_a_renewal_that_names_a_product_keeps_the_seats():
    history = [purchase("2026-10-14"), renew("2027-10-14", sku="other:1")]
    state = as_of(history, day("2027-10-14"))
    assert (state.sku, state.quantity) == ("other:1", 10)


def test_a_renewal_on_another_day_counts_its_cycles_from_there():
    history = [purchase("2026-10-14"), renew("2027-10-20")]
    state = as_of(history, day("2027-10-20"))
    assert (str(state.anchor), str(state.term_end)) == ("2027-10-20", "2028-10-20")


def test_a_renewal_a_day_early_finds_the_seats_still_there():
    history = [purchase("2026-10-14", term=TermDuration.MONTH), renew("2026-11-13")]
    state = as_of(history, day("2026-11-13"), auto_renew=False)
    assert (state.quantity, str(state.term_end)) == (10, "2026-12-13")


def test_a_purchase_without_term_product_or_cycle_is_one():
    bare = purchase("2026-10-14", term=None, billing_cycle=None, sku="")
    state = as_of([bare], day("2026-12-01"))
    assert (state.sku, state.term, state.billing_cycle) == ("", None, None)
    assert (state.term_end, state.quantity, state.suspended) == (None, 10, False)


def test_the_end_of_a_term_comes_before_what_happens_on_its_day():
    month = purchase("2026-10-14", term=TermDuration.MONTH)
    over = as_of([month, cancel("2026-11-14")], day("2026-11-20"), auto_renew=False)
    assert (str(over.ended), over.ended_by) == ("2026-11-14", None)
    on_the_day = [month, convert("2026-11-14", "other:1", quantity=9)]
    assert lots(as_of(on_the_day, day("2026-11-15"))) == [(9, "2026-11-14", "2026-11-21")]


def test_an_upgrade_in_place_keeps_the_seats_where_it_names_none():
    state = as_of([purchase("2026-10-14"), convert("2026-10-18", "other:1")], day("2026-10-18"))
    assert (state.sku, state.quantity) == ("other:1", 10)


def test_seats_that_arrive_from_another_subscription_have_a_window_of_their_own():
    history = [purchase("2026-10-14"), convert("2026-10-18", "", quantity=12)]
    assert lots(as_of(history, day("2026-10-18"))) == [
        (10, "2026-10-14", "2026-10-21"),
        (2, "2026-10-18", "2026-10-25"),
    ]


@pytest.mark.parametrize(
    ("total", "left"),
    [
        (13, [(10, "2026-10-14"), (3, "2026-10-16")]),  # no change
        (11, [(10, "2026-10-14"), (1, "2026-10-16")]),
        (10, [(10, "2026-10-14")]),
        (1, [(1, "2026-10-14")]),
        (0, []),
    ],
)
def test_seats_leave_lot_by_lot(total, left):
    history = [purchase("2026-10-14"), seats("2026-10-16", 13), seats("2026-10-17", total)]
    assert [lot[:2] for lot in lots(as_of(history, day("2026-10-17")))] == left


def test_a_term_that_renews_itself_starts_anew_and_is_paid():
    trial = purchase("2026-10-14", term=TermDuration.MONTH, is_trial=True)
    state = as_of([trial], day("2026-11-20"))
    assert (str(state.term_start), str(state.term_end)) == ("2026-11-14", "2026-12-14")
    assert state.is_trial is False
    bare = purchase("2026-10-14", term=None, term_end=day("2026-11-14"))
    assert as_of([bare], day("2026-11-20")).term_end is None
