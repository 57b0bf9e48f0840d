"""One subscription after another: upgrades, migrations, transfers, and two where one is meant."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.period import BillingCycle, Period, TermDuration, add_months
from domain.problems import Severity
from domain.subscription import (
    CostKind,
    EventSource,
    EventType,
    SubscriptionEvent,
    SubscriptionKind,
)
from rules.events import history, order
from rules.pricing import PriceBook
from rules.rating import rate_customer
from rules.states import as_of
from rules.succession import SETTLED_DAYS, check_conversions, migrations, overlaps, transfer
from tests.builders import (
    a_change,
    a_charge,
    a_contract,
    a_line,
    a_price,
    a_subscription,
    amounts,
    an_event,
    cycles,
    day,
    period,
    purchase,
    rated,
    seats,
)
from tests.strategies import PRODUCT_PRICES, stories

TODAY = day("2026-11-22")


# --- the legs of an upgrade --------------------------------------------------------------------------


def leg(quantity, sku="0001", on="s1", reference="up-1", **fields):
    key = f"cost/I1/{on}/{sku}/{quantity}/{reference}"
    return a_line(
        "convert",
        "2026-10-20",
        "2026-11-14",
        quantity,
        **{"sku_id": sku, "subscription_id": on, "reference_id": reference, "key": key, **fields},
    )


IN_PLACE = [leg(-10), leg(10, "0002")]
TO_A_NEW_ONE = [leg(-10), leg(10, "0002", on="s2")]
PARTIAL = [leg(-10), leg(6), leg(4, "0002", on="s2")]


@pytest.mark.parametrize("lines", [IN_PLACE, TO_A_NEW_ONE, PARTIAL])
def test_both_legs_of_an_upgrade_are_there(lines):
    assert check_conversions([*lines, a_line(), *a_change("addQuantity", *TWO_DAYS, 3, 4)]) == []


TWO_DAYS = ("2026-10-20", "2026-11-14")


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([leg(-10)], "gives back 10 seats … no line charges them"),
        ([leg(-10), leg(6)], "gives back 10 seats … no line charges them"),
        ([leg(4, "0002", on="s2")], "charges 4 seats … no line gives back what they replace"),
    ],
)
def test_a_leg_alone_holds_the_customer(lines, sentence):
    (finding,) = check_conversions(
        [*lines, *[leg(-3, reference="up-2"), leg(3, "0002", reference="up-2")]]
    )
    assert (finding.check, finding.severity) == ("history.half_conversion", Severity.HOLD)
    what, missing = sentence.split(" … ")
    assert finding.sentence == (
        f"Microsoft {what} of Business Premium for an upgrade on 2026-10-20 "
        f"(reference up-1), and {missing}."
    )


def test_legs_without_a_reference_meet_by_their_day():
    assert check_conversions([leg(-4, reference=""), leg(4, "0002", on="s2", reference="")]) == []
    assert len(check_conversions([leg(-4, reference="")])) == 1
    assert len(check_conversions([leg(-4), leg(4, "0002", on="s2", reference="up-2")])) == 2


def test_a_trial_that_becomes_paid_has_both_legs_though_one_is_worth_nothing():
    trial = leg(25, "TRIAL", unit_price=0, effective_unit_price=0, subtotal=0)
    assert check_conversions([trial, leg(18, "0002")]) == []
    usage = a_line("convert", kind=CostKind.USAGE)
    assert check_conversions([usage]) == []


def test_an_upgrade_of_some_seats_is_paid_for_by_the_day_on_both_subscriptions():
    """4 of 10 seats move on 20 October: 25 of the 31 days of the cycle remain."""
    source = history(a_subscription(quantity=6), [a_line(), *PARTIAL[:2]], [])
    target_line = PARTIAL[2]
    target = history(
        a_subscription(
            id="s2", sku_id="0002", quantity=4, created=datetime(2026, 10, 20, tzinfo=UTC)
        ),
        [target_line],
        [],
    )
    left, _ = rated(*source, window=("2026-10-01", "2026-11-01"), price="30")
    came, _ = rated(*target, window=("2026-10-01", "2026-11-01"), price="50")
    assert cycles(left) == [("new", 10, Fraction(1)), ("convert", -4, Fraction(25, 31))]
    assert amounts(left) == ["300.00", "-96.77"]  # 4 x 30 x 25/31
    assert [(c.type.value, int(c.quantity)) for c in came] == [("convert", 4)]


# --- migrations from the old commerce -----------------------------------------------------------------


def a_migration(**old):
    legacy = a_subscription(id="legacy", start=day("2026-01-05"), term=TermDuration.YEAR, **old)
    new = a_subscription(
        id="new", migrated_from="legacy", created=datetime(2026, 10, 14, 9, tzinfo=UTC)
    )
    return legacy, new


def test_a_legacy_subscription_ends_where_the_one_that_replaced_it_begins():
    (event,) = migrations(a_migration())
    assert (event.subscription_id, str(event.effective)) == ("legacy", "2026-10-14")
    assert (event.type, event.quantity, event.sku) == (EventType.CONVERT, 0, "")
    assert event.reference_id == "new"


def test_old_and_new_are_not_billed_for_the_same_days():
    legacy, new = a_migration()
    moved = migrations([legacy, new])
    window = ("2026-10-01", "2026-12-31")
    old_charges, findings = rated(*history(legacy, [], moved), window=window)
    new_charges, _ = rated(*history(new, [], []), window=window)
    # The old cycle of 5 October gives back 22 of its 31 days: 10 x 30 x 22/31.
    assert amounts(old_charges) == ["300.00", "-212.90"]
    assert findings == []
    assert [str(c.service.start) for c in new_charges] == ["2026-10-14", "2026-11-14", "2026-12-14"]
    served = [old_charges[0].service.split_at(old_charges[1].service.start)[0]]
    assert all(part.intersect(c.service) is None for part in served for c in new_charges)


@pytest.mark.parametrize(
    "old", [{"status": "deleted"}, {"status": "expired"}, {"kind": SubscriptionKind.USAGE}]
)
def test_what_has_ended_is_left_to_microsofts_lines(old):
    assert migrations(a_migration(**old)) == []
    assert migrations(a_migration(**old)[1:]) == []


# --- transfers between partners -----------------------------------------------------------------------


def test_a_transfer_is_split_by_the_day():
    """The old partner serves through 20 February, the new one from the 21st: 6 and 22 of 28 days."""
    theirs, ours, first = transfer(
        [purchase("2026-02-15"), seats("2026-03-20", 12)], day("2026-02-20")
    )
    assert [(str(e.effective), e.type.value) for e in theirs] == [
        ("2026-02-15", "purchase"),
        ("2026-02-21", "transfer"),
    ]
    assert str(first) == "2026-02-21"
    window = ("2026-02-01", "2026-04-01")
    left, _ = rated(*theirs, window=window)
    came, findings = rated(*ours, window=window, served_from=first)
    assert amounts(left) == ["300.00", "-235.71"]  # 10 x 30 x 22/28 back
    assert amounts(came) == ["235.71", "300.00", "50.32"]  # the rest, a cycle, 2 x 30 x 26/31
    assert findings == []


def test_a_transfer_of_a_year_paid_ahead():
    bought = purchase("2026-02-15", billing_cycle=BillingCycle.ANNUAL)
    theirs, ours, first = transfer([bought], day("2026-12-31"))
    window = ("2026-02-01", "2027-03-01")
    left, _ = rated(*theirs, window=window, price="365")
    came, _ = rated(*ours, window=window, price="365", served_from=first)
    # 45 of 365 days remain on 1 January: 10 x 365 x 45/365.
    assert amounts(left) == ["3650.00", "-450.00"]
    assert amounts(came) == ["450.00", "3650.00"]  # and the renewal of 15 February


def test_what_came_from_another_partner_is_charged_from_its_first_day_with_us():
    """Microsoft bills the 10th to the 13th of November, 4 of the 31 days: so do we."""
    arrived = a_line("new", "2026-11-10", "2026-11-14", effective="1.29")
    rated_now = rate_customer(
        contract=a_contract(),
        subscriptions=[a_subscription(created=moment("2026-11-10"))],
        told=[],
        cost_lines=[arrived, a_line("cycleCharge", "2026-11-14", "2026-12-14")],
        book=PriceBook([a_price("12.00")], []),
        window=period("2026-10-01", "2026-12-01"),
        today=TODAY,
    )
    assert amounts(rated_now.charges) == ["15.48", "120.00"]  # 10 x 12 x 4/31
    assert rated_now.findings == ()


def test_what_never_began_cannot_move():
    theirs, ours, _ = transfer([purchase("2026-02-15")], day("2026-02-10"))
    assert theirs == []
    assert len(ours) == 1


@given(stories(ends=False), PRODUCT_PRICES, st.integers(0, 150))
def test_each_day_is_paid_to_exactly_one_partner(story, prices, offset):
    events = order(story.events)
    theirs, ours, first = transfer(events, story.start + timedelta(days=offset))
    window = Period(story.start, add_months(story.start, 12))

    def exact(*stream, **more):
        charges, findings = rated(
            *stream, window=window, price=lambda asked: prices[asked.sku], **more
        )
        assert findings == []
        by_cycle = defaultdict(Fraction)
        for charge in charges:
            by_cycle[charge.full] += charge.exact
        return by_cycle

    left, came, whole = exact(*theirs), exact(*ours, served_from=first), exact(*events)
    for cycle in {*left, *came, *whole}:
        assert left[cycle] + came[cycle] == whole[cycle]
    assert as_of(theirs, first).quantity == 0


# --- two where one is meant ---------------------------------------------------------------------------


def moment(text):
    return datetime.fromisoformat(f"{text}T09:00:00+00:00")


def a_monthly(**fields):
    """Old and monthly, still alive."""
    return a_subscription(
        **{
            "id": "old",
            "start": day("2026-11-03"),
            "created": moment("2025-03-03"),
            "term": TermDuration.MONTH,
            "term_end": day("2026-12-03"),
            **fields,
        }
    )


def a_yearly(**fields):
    """New and annual, of the same product."""
    return a_subscription(
        **{
            "id": "new",
            "start": day("2026-11-10"),
            "created": moment("2026-11-10"),
            "term_end": day("2027-11-10"),
            **fields,
        }
    )


def test_an_old_monthly_beside_a_new_annual_subscription_is_told_with_days_and_money():
    charges = [
        a_charge("150.00", subscription_id="old", service=period("2026-11-03", "2026-12-03")),
        a_charge("150.00", subscription_id="old", service=period("2026-12-03", "2027-01-03")),
        a_charge("99.00", subscription_id="new", service=period("2026-11-10", "2026-12-10")),
    ]
    (finding,) = overlaps([a_yearly(), a_monthly()], TODAY, charges)
    assert (finding.check, finding.severity) == ("subscription.overlap", Severity.WARN)
    assert finding.record == "subscriptions old and new"
    assert finding.sentence == (
        "Business Premium: 10 seats P1M billed monthly (old) runs beside 10 seats P1Y billed "
        "monthly (new) from 2026-11-10 to 2026-12-02, and it renews then; both are billed "
        "(150.00 USD so far for the older one)."
    )
    assert "switch its renewal off" in finding.hint


def test_it_is_told_without_money_too_and_where_the_older_runs_out_by_itself():
    old = a_monthly(auto_renew=False, quantity=12)
    (finding,) = overlaps([old, a_yearly()], TODAY)
    assert "from 2026-11-10 to 2026-12-02; both are billed." in finding.sentence
    (endless,) = overlaps(
        [a_monthly(term_end=None, quantity=1, auto_renew=False), a_yearly()], TODAY
    )
    assert "1 seat P1M" in endless.sentence
    assert "without an end;" in endless.sentence


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"quantity": 12}, {}),  # another number, and it goes on: bought besides
        ({"status": "deleted"}, {}),
        ({}, {"status": "expired"}),
        ({}, {"sku_id": "0002"}),
        ({}, {"product_id": "CFQ7TTC0EB04"}),
        ({}, {"customer_id": "c2"}),
        ({}, {"term": TermDuration.MONTH}),  # the same plan twice: departments
        ({}, {"kind": SubscriptionKind.USAGE}),
        ({"is_trial": True}, {}),
        ({}, {"migrated_from": "old"}),  # ends by itself
        ({"term_end": day("2026-11-10"), "auto_renew": False}, {}),  # over on the day
        ({}, {"created": moment("2026-12-01")}),  # not begun
        ({}, {"created": moment("2025-03-03")}),  # bought together
        ({}, {"created": moment("2026-05-10")}),  # side by side for half a year
    ],
)
def test_several_subscriptions_of_one_product_that_are_meant_are_not(old, new):
    assert overlaps([a_monthly(**old), a_yearly(**new)], TODAY) == []


def test_a_quarter_side_by_side_is_enough_to_be_meant_unless_one_runs_out():
    new = a_yearly(created=moment("2026-08-22"))
    began = day("2026-08-22")
    assert overlaps([a_monthly(), new], began + timedelta(days=SETTLED_DAYS - 1)) != []
    assert overlaps([a_monthly(), new], began + timedelta(days=SETTLED_DAYS)) == []
    old = a_monthly(auto_renew=False)
    assert overlaps([old, new], began + timedelta(days=SETTLED_DAYS)) != []


# --- in full, and on the days that decide ----------------------------------------------------------


def test_every_half_conversion_is_found_beside_whole_ones():
    whole = [leg(-10, reference="a"), leg(10, "0002", on="s2", reference="a")]
    assert [f.record for f in check_conversions([*whole, leg(-3, on="s3", reference="b")])] == [
        "subscription s3 conversion b"
    ]


def test_the_event_of_a_migration_in_full():
    (event,) = migrations(a_migration(customer_id="c2"))
    assert event == SubscriptionEvent(
        subscription_id="legacy",
        customer_id="c2",
        effective=day("2026-10-14"),
        type=EventType.CONVERT,
        quantity=0,
        reference_id="new",
        source=EventSource.SNAPSHOT,
    )


def test_the_event_of_a_transfer_says_nothing_but_that_it_ends():
    bought = purchase(
        "2026-02-15",
        is_trial=True,
        sequence=3,
        term_end=day("2027-02-15"),
        anchor=day("2026-01-15"),
    )
    on_the_day = seats("2026-02-21", 12)
    theirs, ours, _ = transfer([bought, on_the_day], day("2026-02-20"))
    assert theirs == [bought, an_event("2026-02-21", EventType.TRANSFER)]
    assert ours == [bought, on_the_day]  # what happens on the first day is the new partner's


def test_two_that_began_on_one_day_were_bought_together_and_one_of_today_is_seen():
    together = a_yearly(created=moment("2026-10-03"))
    assert overlaps([a_monthly(created=moment("2026-10-03")), together], TODAY) == []
    today = a_yearly(created=moment(str(TODAY)))
    assert len(overlaps([a_monthly(), today], TODAY)) == 1


def test_the_money_of_an_overlap_counts_from_the_day_on_which_the_newer_began():
    charges = [
        a_charge("150.00", subscription_id="old", service=period("2026-11-10", "2026-12-10")),
        a_charge("30.00", subscription_id="old", service=period("2026-11-09", "2026-11-10")),
    ]
    (finding,) = overlaps([a_monthly(), a_yearly()], TODAY, charges)
    assert "(150.00 USD so far for the older one)" in finding.sentence
