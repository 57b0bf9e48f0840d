"""Histories out of what sources told: merged by trust, ordered, with a beginning."""

from dataclasses import replace
from datetime import UTC, datetime, time
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.period import BillingCycle, TermDuration
from domain.subscription import CostKind, EventSource, EventType, SubscriptionKind
from rules.events import check_history, from_cost_lines, history, merge, order, served_from
from tests.builders import (
    OFFER,
    a_change,
    a_line,
    a_pass_on,
    a_subscription,
    amounts,
    cancel,
    convert,
    day,
    purchase,
    rated,
    renew,
    seats,
)
from tests.strategies import stories


def told(events):
    return [(str(e.effective), e.type.value, e.quantity) for e in events]


# --- order and trust -------------------------------------------------------------------------------


def test_events_of_one_day_act_by_type_and_then_as_they_were_listed():
    events = [
        cancel("2026-10-20"),
        seats("2026-10-20", 12, sequence=1),
        seats("2026-10-20", 11, sequence=0),
        convert("2026-10-20", "other:1"),
        renew("2026-10-20"),
        purchase("2026-10-14"),
    ]
    for shuffled in permutations(events, 6):
        assert told(order(shuffled)) == [
            ("2026-10-14", "purchase", 10),
            ("2026-10-20", "renew", None),
            ("2026-10-20", "convert", None),
            ("2026-10-20", "set_quantity", 11),
            ("2026-10-20", "set_quantity", 12),
            ("2026-10-20", "cancel", None),
        ]


def test_the_most_trusted_source_of_a_day_and_type_is_believed_alone():
    merged = merge(
        [
            seats("2026-10-20", 11, source=EventSource.ENTERED),
            seats("2026-10-20", 12, source=EventSource.AUDIT),
            seats("2026-10-20", 13, source=EventSource.COST_LINE),
            seats("2026-10-20", 14, source=EventSource.SNAPSHOT),
            seats("2026-10-25", 20, source=EventSource.ENTERED),
        ]
    )
    assert told(merged) == [("2026-10-20", "set_quantity", 13), ("2026-10-25", "set_quantity", 20)]


def test_what_is_told_twice_is_one_event_and_subscriptions_do_not_mix():
    other = seats("2026-10-20", 13, subscription_id="s2")
    merged = merge([seats("2026-10-20", 13), seats("2026-10-20", 13), other])
    assert sorted(e.subscription_id for e in merged) == ["s1", "s2"]


# --- Microsoft's lines -------------------------------------------------------------------------------


def test_a_pair_is_the_step_from_the_old_total_to_the_new_one():
    lines = a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15)
    assert told(from_cost_lines(lines)) == [("2026-10-20", "set_quantity", 15)]
    assert from_cost_lines(lines)[0].source is EventSource.COST_LINE


def test_several_pairs_of_one_day_are_one_step_in_whatever_order_they_come():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 15, 12),
    ]
    for shuffled in permutations(lines):
        assert told(from_cost_lines(shuffled)) == [("2026-10-20", "set_quantity", 12)]


def test_pairs_that_undo_each_other_are_no_event():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 15, 10),
    ]
    assert from_cost_lines(lines) == []


@pytest.mark.parametrize("sign", ["subtotal", "effective_unit_price", "billable_quantity"])
def test_a_credit_is_known_by_any_of_its_signs(sign):
    old, new = a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15)
    positive = {
        "subtotal": abs(old.subtotal),
        "effective_unit_price": abs(old.effective_unit_price),
        "billable_quantity": abs(old.billable_quantity),
    }
    old = replace(old, **{**positive, sign: -positive[sign]})
    assert told(from_cost_lines([new, old])) == [("2026-10-20", "set_quantity", 15)]


def test_purchases_renewals_and_cancellations_are_read_with_their_terms():
    events = from_cost_lines(
        [
            a_line("cycleCharge"),
            a_line("cancelImmediate", "2027-10-18", "2027-11-14", -8),
            a_line("renew", "2027-10-14", "2027-11-14", 8, subscription_end=day("2028-10-14")),
            a_line("new", "2026-10-14", "2026-11-14", 10),
            a_line("somethingNew", "2026-12-01", "2026-12-14", 3),
            a_pass_on(CostKind.USAGE, "12.00"),
        ]
    )
    assert told(events) == [
        ("2026-10-14", "purchase", 10),
        ("2027-10-14", "renew", 8),
        ("2027-10-18", "cancel", None),
    ]
    bought, renewed, _ = events
    assert (bought.sku, bought.term, bought.billing_cycle) == (
        OFFER,
        TermDuration.YEAR,
        BillingCycle.MONTHLY,
    )
    assert renewed.term_end == day("2028-10-14")


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("One-Month commitment for monthly billing", TermDuration.MONTH),
        ("1 Month Subscription", TermDuration.MONTH),
        ("One-Year commitment for monthly/yearly billing", TermDuration.YEAR),
        ("1 Year Subscription", TermDuration.YEAR),
        ("Three-Year commitment for triennial billing", TermDuration.THREE_YEARS),
        ("3 Years", TermDuration.THREE_YEARS),
        ("something new", None),
    ],
)
def test_terms_are_read_in_microsofts_words(text, term):
    assert from_cost_lines([a_line("new", term_and_billing_cycle=text)])[0].term is term


# --- the beginning -----------------------------------------------------------------------------------


def test_a_history_begins_with_the_purchase_that_was_billed():
    found = history(a_subscription(), [a_line("new")], [])
    assert told(found) == [("2026-10-14", "purchase", 10)]
    assert found[0].term_end == day("2027-10-14")


def test_without_a_purchase_it_begins_with_the_term_and_the_seats_of_the_oldest_line():
    lines = [
        a_line("cycleCharge", "2026-11-14", "2026-12-14", 15),
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 8, 15),
    ]
    found = history(a_subscription(quantity=15), lines, [])
    assert told(found) == [("2026-10-14", "purchase", 8), ("2026-10-20", "set_quantity", 15)]


def test_the_oldest_total_of_a_day_is_the_one_that_is_only_credited():
    lines = [
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 15, 12),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 12, 9),
    ]
    for shuffled in permutations(lines):
        found = history(a_subscription(quantity=9), shuffled, [])
        assert told(found) == [("2026-10-14", "purchase", 15), ("2026-10-20", "set_quantity", 9)]


def test_without_any_line_it_begins_with_the_snapshot():
    found = history(a_subscription(term_end=day("2027-01-01")), [], [])
    assert told(found) == [("2026-10-14", "purchase", 10)]
    assert found[0].term_end == day("2027-01-01")
    assert (found[0].sku, found[0].term) == (OFFER, TermDuration.YEAR)


def test_a_renewal_that_was_billed_does_not_hide_the_term_before_it():
    """Else the charges of the old term would look as if they had never been right."""
    lines = [
        a_line(
            "cycleCharge",
            "2026-09-14",
            "2026-10-14",
            subscription_start=day("2025-10-14"),
            subscription_end=day("2026-10-14"),
        ),
        a_line("renew", quantity=8),
    ]
    found = history(a_subscription(quantity=8), lines, [])
    assert told(found) == [("2025-10-14", "purchase", 10), ("2026-10-14", "renew", 8)]


def test_a_renewal_that_only_the_snapshot_shows_is_in_the_history():
    lines = [
        a_line(
            "cycleCharge",
            "2026-09-14",
            "2026-10-14",
            subscription_start=day("2025-10-14"),
            subscription_end=day("2026-10-14"),
        )
    ]
    found = history(a_subscription(), lines, [])
    assert told(found) == [("2025-10-14", "purchase", 10), ("2026-10-14", "renew", None)]
    assert found[1].source is EventSource.SNAPSHOT


def test_monthly_terms_renew_by_their_lines_and_the_last_by_the_snapshot():
    def month(kind, first, end, quantity):
        return a_line(
            kind,
            first,
            end,
            quantity,
            term_and_billing_cycle="One-Month commitment for monthly billing",
            subscription_start=day(first),
            subscription_end=day(end),
        )

    subscription = a_subscription(
        start=day("2026-10-14"),
        created=datetime(2026, 8, 14, tzinfo=UTC),
        term=TermDuration.MONTH,
        term_end=day("2026-11-14"),
    )
    lines = [
        month("new", "2026-08-14", "2026-09-14", 3),
        month("renew", "2026-09-14", "2026-10-14", 5),
    ]
    found = history(subscription, lines, [])
    assert told(found) == [
        ("2026-08-14", "purchase", 3),
        ("2026-09-14", "renew", 5),
        ("2026-10-14", "renew", None),
    ]
    charges, findings = rated(*found, window=("2026-08-01", "2026-11-01"))
    assert [c.type.value for c in charges] == ["new", "renew", "renew"]
    assert amounts(charges) == ["90.00", "150.00", "150.00"]
    assert findings == []


def test_a_conversion_to_a_term_of_its_own_is_not_a_renewal_as_well():
    trial = {
        "sku_id": "TRIAL",
        "subscription_start": day("2026-09-14"),
        "subscription_end": day("2026-10-14"),
        "term_and_billing_cycle": "One-Month commitment for trial",
    }
    lines = [
        a_line("new", "2026-09-14", "2026-10-14", 25, unit="0", **trial),
        a_line("convert", "2026-10-10", "2026-10-14", -25, unit="0", **trial),
        a_line(
            "convert",
            "2026-10-10",
            "2026-11-10",
            18,
            subscription_start=day("2026-10-10"),
            subscription_end=day("2027-10-10"),
        ),
    ]
    subscription = a_subscription(
        start=day("2026-10-10"), created=datetime(2026, 9, 14, tzinfo=UTC), quantity=18
    )
    found = history(subscription, lines, [])
    assert told(found) == [("2026-09-14", "purchase", 25), ("2026-10-10", "convert", 18)]


def test_what_happened_before_the_first_known_term_only_says_how_many_seats_there_were():
    events = [
        seats("2026-09-01", 12, source=EventSource.AUDIT),
        seats("2026-09-10", 15, source=EventSource.AUDIT),
        seats("2026-10-20", 16, source=EventSource.AUDIT),
    ]
    found = history(a_subscription(quantity=16), [], events)
    assert told(found) == [("2026-10-14", "purchase", 15), ("2026-10-20", "set_quantity", 16)]


def test_where_only_a_later_total_is_known_it_is_taken_until_microsoft_bills_the_change():
    change = seats("2026-11-05", 16, source=EventSource.AUDIT)
    found = history(a_subscription(quantity=16), [], [change])
    assert told(found) == [("2026-10-14", "purchase", 16), ("2026-11-05", "set_quantity", 16)]
    lines = a_change("addQuantity", "2026-11-05", "2026-11-14", 10, 16)
    found = history(a_subscription(quantity=16), lines, [change])
    assert told(found) == [("2026-10-14", "purchase", 10), ("2026-11-05", "set_quantity", 16)]


def test_a_purchase_from_the_audit_log_is_completed_from_the_snapshot():
    bought = purchase(
        "2026-10-14", 10, term=None, billing_cycle=None, sku="", source=EventSource.AUDIT
    )
    (found,) = history(a_subscription(), [], [bought])
    assert (found.sku, found.term, found.billing_cycle) == (
        OFFER,
        TermDuration.YEAR,
        BillingCycle.MONTHLY,
    )


def test_the_purchase_day_survives_a_month_that_is_too_short():
    subscription = a_subscription(
        start=day("2026-02-28"),
        created=datetime(2025, 8, 31, 9, tzinfo=UTC),
        term=TermDuration.MONTH,
    )
    found = history(subscription, [], [])
    assert found[0].anchor == day("2025-08-31")
    charges, _ = rated(*found, window=("2026-02-01", "2026-05-01"))
    assert [f"{c.service.start:%m-%d}" for c in charges] == ["02-28", "03-31", "04-30"]


def test_the_order_in_which_facts_arrive_does_not_matter():
    lines = [
        a_line("new"),
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        a_line("cycleCharge", "2026-11-14", "2026-12-14", 15),
    ]
    expected = history(a_subscription(quantity=15), lines, [seats("2026-12-01", 9)])
    assert told(expected)[-1] == ("2026-12-01", "set_quantity", 9)
    for shuffled in permutations(lines):
        assert history(a_subscription(quantity=15), shuffled, [seats("2026-12-01", 9)]) == expected


def test_the_term_of_a_subscription_that_came_from_another_partner_goes_on():
    """Theirs until the 9th of November, ours from the 10th: the cycle is of the 14th all the same."""
    arrived = a_line("new", "2026-11-10", "2026-11-14")
    later = a_line("cycleCharge", "2026-11-14", "2026-12-14")
    subscription = a_subscription(created=datetime(2026, 11, 10, 8, tzinfo=UTC))
    found = history(subscription, [later, arrived], [])
    assert told(found) == [("2026-10-14", "purchase", 10)]
    assert found[0].term_end == day("2027-10-14")
    assert served_from([later, arrived]) == day("2026-11-10")
    assert served_from([a_line("new"), later]) is None
    charges, findings = rated(
        *found, window=("2026-10-01", "2026-12-01"), served_from=served_from([arrived])
    )
    # 10 seats x 30 x 4/31 days, then a whole cycle.
    assert amounts(charges) == ["38.71", "300.00"]
    assert findings == []


def test_an_audited_purchase_ends_when_the_snapshot_says():
    bought = purchase("2026-10-14", source=EventSource.AUDIT)
    (found,) = history(a_subscription(term_end=day("2027-06-30")), [], [bought])
    assert found.term_end == day("2027-06-30")


def test_an_audited_upgrade_that_made_the_subscription_is_its_beginning():
    made = convert("2026-10-14", OFFER, quantity=4, source=EventSource.AUDIT)
    found = history(a_subscription(quantity=4, term_end=day("2027-10-14")), [], [made])
    assert told(found) == [("2026-10-14", "convert", 4)]
    assert found[0].term_end == day("2027-10-14")


@given(st.data())
def test_no_order_of_arrival_changes_a_history(data):
    """Each source numbers its own list; beyond that only what is told decides."""
    story = data.draw(stories())
    subscription = a_subscription(
        start=story.start, created=datetime.combine(story.start, time(9), UTC)
    )
    again = [replace(e, source=EventSource.ENTERED) for e in story.events]
    vague = [replace(e, sequence=0, source=EventSource.AUDIT) for e in story.events]
    facts = [*story.events, *again, *vague]
    expected = history(subscription, [], facts)
    shuffled = data.draw(st.permutations(facts))
    assert history(subscription, [], shuffled) == expected
    assert expected == order(expected)
    places = [(e.effective, list(EventType).index(e.type), e.sequence) for e in expected]
    assert places == sorted(places)


# --- against what Partner Center shows -----------------------------------------------------------------


def test_a_history_that_ends_elsewhere_than_partner_center_is_told():
    events = [purchase("2026-10-14"), seats("2026-10-20", 15)]
    (finding,) = check_history(a_subscription(quantity=16), events, day("2026-11-08"))
    assert finding.check == "history.mismatch"
    assert finding.sentence == (
        "Business Premium: the known changes end at 15 seats, Partner Center shows 16."
    )


@pytest.mark.parametrize(
    ("subscription", "events"),
    [
        (a_subscription(quantity=15), [purchase("2026-10-14"), seats("2026-10-20", 15)]),
        (a_subscription(quantity=10), [purchase("2026-10-14"), seats("2026-12-20", 15)]),
        (a_subscription(quantity=0), [purchase("2026-10-14"), cancel("2026-10-16")]),
        (a_subscription(quantity=3, status="deleted"), [purchase("2026-10-14")]),
        (a_subscription(quantity=3, status="expired"), [purchase("2026-10-14")]),
        (a_subscription(quantity=1, kind=SubscriptionKind.USAGE), [purchase("2026-10-14")]),
    ],
)
def test_a_history_that_agrees_is_not(subscription, events):
    assert check_history(subscription, events, day("2026-11-08")) == []


def test_a_line_without_days_tells_nothing():
    lines = [a_line("new", charged=None, billable_quantity=Decimal(4))]
    assert from_cost_lines(lines) == []
    assert told(history(a_subscription(), lines, [])) == [("2026-10-14", "purchase", 10)]
