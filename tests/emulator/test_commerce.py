"""The commerce engine against the published rules and examples of new commerce billing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.catalogue import PRODUCTS, exchange_rate
from emulator.commerce import Subscription
from emulator.history import (
    Change,
    Charge,
    CommerceError,
    NextTerm,
    Promotion,
    Purchase,
    prorate,
    subtotal,
)
from emulator.meters import METERS, Rate
from emulator.terms import add_months


def D(text: str) -> Decimal:  # noqa: N802 - a literal
    return Decimal(text)


def moment(day: str, clock: str = "09:00:00") -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC)


def a_subscription(since: str = "2026-02-15", **terms) -> Subscription:
    """Business Standard, 25 seats, a year billed monthly at 10.50, unless said otherwise."""
    terms = {
        "at": moment(since),
        "product": PRODUCTS["business-standard"],
        "term": "P1Y",
        "plan": "monthly",
        "quantity": 25,
        "friendly_name": "seats",
        "segment": "Commercial",
        "market": "US",
    } | terms
    return Subscription(
        id="s", customer_id="c", identify=lambda name: f"id-{name}", purchase=Purchase(**terms)
    )


def charges(subscription: Subscription, until: str) -> list[Charge]:
    replay = subscription.replay(moment(until))
    assert replay is not None
    return replay.charges


def brief(charge: Charge) -> tuple[str, int, str, str, Decimal]:
    """Kind, quantity, first day, last day, subtotal."""
    span = charge.charged
    return (
        charge.kind,
        charge.quantity,
        span.start.isoformat(),
        span.last.isoformat(),
        charge.subtotal(Decimal(1)),
    )


# -- arithmetic -----------------------------------------------------------------------------------


def test_published_example_rounds_the_unit_down_before_multiplying():
    effective = prorate(D("12.50"), None, 18, 31)
    assert effective == D("7.258065")
    assert subtotal(effective, 30, D("1")) == D("217.50")


def test_published_refund_is_cut_toward_zero():
    assert subtotal(-prorate(D("10.08"), None, 29, 31), 10, D("1")) == D("-94.20")


def test_older_example_of_half_up_is_one_cent_less_under_truncation():
    effective = prorate(D("4.00"), None, 29, 30)
    assert effective == D("3.866667")
    assert subtotal(effective, 2, D("1")) == D("7.72")


def test_exchange_comes_before_the_cut():
    # 14.78 pounds x 1.150765808 = 17.00831... euro, cut to 17.00, times 21.
    rate = exchange_rate("GBP", "EUR", date(2026, 10, 1))
    assert rate == D("1.150765808")
    assert subtotal(D("14.78"), 21, rate) == D("357.00")


def test_earned_credit_is_floored_on_the_month_and_divided_back():
    rate = Rate(METERS[0], earned=True, sponsored=False)
    # 24 hours x 0.192 x 0.85 = 3.9168 -> 3.91, as the published daily line shows.
    assert rate.month_total(D("24"), D("1")) == D("3.91")
    assert rate.effective(D("24")) == D("0.162916666667")


def test_usage_of_less_than_a_cent_costs_nothing():
    tables = next(meter for meter in METERS if meter.product_name == "Tables")
    rate = Rate(tables, earned=True, sponsored=False)
    assert rate.month_total(D("0.005001"), D("0.846202666")) == 0


@given(units=st.integers(1, 10**13), number=st.sampled_from(range(len(METERS))))
def test_effective_price_times_units_gives_the_floored_cents_back(units: int, number: int):
    meter, consumed = METERS[number], Decimal(units).scaleb(-6)
    rate = Rate(meter, earned=True, sponsored=False)
    exact = consumed * meter.price * D("0.85")
    assert rate.month_total(consumed, D("1")) == exact.quantize(D("0.01"), "ROUND_FLOOR")


# -- cycles and terms -----------------------------------------------------------------------------


def test_first_line_is_a_whole_cycle_anchored_on_the_purchase_day():
    assert brief(charges(a_subscription(), "2026-02-16")[0]) == (
        "new", 25, "2026-02-15", "2026-03-14", D("262.50"),
    )  # fmt: skip


def test_cycles_turn_at_midnight_utc():
    seats = a_subscription()
    assert len(charges(seats, "2026-03-14")) == 1
    replay = seats.replay(moment("2026-03-15", "00:00:00"))
    assert replay is not None
    assert [charge.kind for charge in replay.charges] == ["new", "cycleCharge"]
    assert replay.charges[1].at == moment("2026-03-15", "00:00:00")


def test_month_end_anchor_clamps_and_springs_back():
    bounds = [
        (charge.charged.start.isoformat(), charge.charged.last.isoformat())
        for charge in charges(a_subscription("2026-01-31"), "2026-06-30")
    ]
    assert bounds == [
        ("2026-01-31", "2026-02-27"),
        ("2026-02-28", "2026-03-30"),
        ("2026-03-31", "2026-04-29"),
        ("2026-04-30", "2026-05-30"),
        ("2026-05-31", "2026-06-29"),
        ("2026-06-30", "2026-07-30"),
    ]


def test_monthly_term_keeps_its_anchor_through_renewals_and_a_leap_february():
    seats = a_subscription("2027-11-30", product=PRODUCTS["exchange-1"], term="P1M", plan="monthly")
    starts = [charge.charged.start.isoformat() for charge in charges(seats, "2028-04-01")]
    assert starts == ["2027-11-30", "2027-12-30", "2028-01-30", "2028-02-29", "2028-03-30"]


def test_renewal_takes_the_price_of_its_day_and_a_running_term_keeps_its_own():
    renewed = charges(a_subscription("2025-10-14"), "2026-10-14")[-1]
    assert (renewed.kind, renewed.unit_price) == ("renew", D("11.03"))
    running = charges(a_subscription("2026-06-14"), "2026-10-14")[-1]
    assert (running.kind, running.unit_price) == ("cycleCharge", D("10.50"))


def test_renewal_opens_a_window_of_its_own():
    seats = a_subscription("2025-10-14")
    seats.change(Change(at=moment("2026-10-20", "23:59:59"), quantity=20))
    with pytest.raises(CommerceError, match="800090"):
        seats.change(Change(at=moment("2026-10-21", "00:00:01"), quantity=19))


def test_annual_upfront_charges_a_year_at_once():
    line = charges(a_subscription("2026-10-07", plan="annual"), "2026-12-31")
    assert [brief(each) for each in line] == [
        ("new", 25, "2026-10-07", "2027-10-06", D("3150.00")),
    ]


def test_three_years_can_be_billed_monthly_yearly_or_at_once():
    e3 = {"product": PRODUCTS["e3"], "term": "P3Y", "quantity": 1}
    monthly, yearly, once = (
        charges(a_subscription("2026-11-01", plan=plan, **e3), "2026-11-02")[0]
        for plan in ("monthly", "annual", "triennial")
    )
    assert [each.charged.last for each in (monthly, yearly, once)] == [
        date(2026, 11, 30),
        date(2027, 10, 31),
        date(2029, 10, 31),
    ]
    assert [each.unit_price for each in (monthly, yearly, once)] == [
        D("32.76"),
        D("374.40"),
        D("1123.20"),
    ]


def test_co_terminated_year_is_prorated_by_day():
    seats = a_subscription("2026-10-10", plan="annual", custom_end=date(2027, 6, 30), quantity=6)
    first = charges(seats, "2026-10-11")[0]
    assert first.effective_price == (D("126.00") * 264 / 365).quantize(D("1e-6"))
    assert first.charged.last == date(2027, 6, 30)


def test_co_terminated_months_end_in_a_stub_and_renew_on_their_own_anchor():
    seats = a_subscription("2026-07-20", custom_end=date(2026, 10, 31), quantity=14)
    assert [brief(each) for each in charges(seats, "2026-11-02")[-2:]] == [
        ("cycleCharge", 14, "2026-10-20", "2026-10-31", D("56.84")),
        ("renew", 14, "2026-11-01", "2026-11-30", D("154.42")),
    ]


def test_promotion_ends_with_the_cycle_that_starts_on_its_last_day():
    promotion = Promotion(id="p", percent=D("15"), until=date(2026, 10, 15))
    lines = charges(a_subscription(promotion=promotion), "2026-10-15")
    assert [(each.effective_price, each.promotion is not None) for each in lines[-2:]] == [
        (D("8.925"), True),
        (D("10.5"), False),
    ]
    assert {each.unit_price for each in lines} == {D("10.50")}


def test_without_auto_renew_a_term_expires_and_bills_no_more():
    seats = a_subscription("2026-09-03", term="P1M", auto_renew=False)
    replay = seats.replay(moment("2026-11-09"))
    assert replay is not None
    assert (replay.state.status, len(replay.charges)) == ("expired", 1)


@pytest.mark.parametrize(
    ("bought", "extends"), [("2025-09-27", True), ("2025-03-27", False), ("2025-05-01", False)]
)
def test_extended_service_needs_a_late_purchase_and_a_late_end(bought: str, extends: bool):
    seats = a_subscription(bought, auto_renew=False, extends=True)
    replay = seats.replay(moment("2026-11-09"))
    assert replay is not None
    assert (replay.state.status == "active") is extends
    if extends:
        assert replay.charges[-1].unit_price == D("12.98")  # 126.00 / 12 x 1.20 x 1.03
        seats.change(Change(at=moment("2026-11-20"), status="deleted"))
        assert charges(seats, "2026-11-21")[-1].charged.days == 7


def test_scheduled_quantity_arrives_with_the_renewal():
    seats = a_subscription("2025-10-22")
    wish = NextTerm(product=PRODUCTS["e3"], term="P1Y", plan="annual", quantity=8)
    seats.change(Change(at=moment("2026-09-30"), next_term=wish))
    renewed = charges(seats, "2026-10-23")[-1]
    assert (renewed.kind, renewed.product.key, renewed.plan, renewed.quantity) == (
        "renew", "e3", "annual", 8,
    )  # fmt: skip


def test_mid_term_change_forgets_the_schedule():
    seats = a_subscription("2025-10-22")
    wish = NextTerm(product=PRODUCTS["e3"], term="P1Y", plan="annual", quantity=8)
    seats.change(Change(at=moment("2026-09-30"), next_term=wish))
    seats.change(Change(at=moment("2026-10-01"), quantity=26))
    assert charges(seats, "2026-10-23")[-1].product.key == "business-standard"


@given(
    first=st.dates(date(2024, 1, 1), date(2026, 9, 1)),
    term=st.sampled_from([("P1M", "monthly"), ("P1Y", "monthly"), ("P1Y", "annual")]),
)
def test_cycles_tile_time_without_gap_or_overlap(first: date, term: tuple[str, str]):
    seats = a_subscription(first.isoformat(), term=term[0], plan=term[1])
    lines = charges(seats, "2026-11-09")
    for number, (earlier, later) in enumerate(pairwise(lines), start=1):
        assert earlier.charged.end == later.charged.start
        months = number * (12 if term[1] == "annual" else 1)
        assert later.charged.start == add_months(first, months)
    assert lines[-1].charged.end > date(2026, 11, 9) >= lines[-1].charged.start


# -- seats ----------------------------------------------------------------------------------------


def test_added_seats_are_a_pair_of_old_total_back_and_new_total_for_the_rest():
    seats = a_subscription()
    seats.change(Change(at=moment("2026-10-05"), quantity=30))
    assert [brief(each) for each in charges(seats, "2026-10-06")[-2:]] == [
        ("addQuantity", 25, "2026-10-05", "2026-10-14", D("-87.50")),
        ("addQuantity", 30, "2026-10-05", "2026-10-14", D("105.00")),
    ]


def test_added_seats_cost_the_price_of_the_term():
    seats = a_subscription()
    seats.change(Change(at=moment("2026-10-20"), quantity=30))
    assert charges(seats, "2026-10-21")[-1].unit_price == D("10.50")


def test_only_seats_with_an_open_window_may_leave():
    seats = a_subscription()
    seats.change(Change(at=moment("2026-10-05"), quantity=30))
    with pytest.raises(CommerceError, match="800090"):
        seats.change(Change(at=moment("2026-10-09"), quantity=24))
    seats.change(Change(at=moment("2026-10-09"), quantity=28))
    assert [each.kind for each in charges(seats, "2026-10-10")[-2:]] == ["removeQuantity"] * 2
    replay = seats.replay(moment("2026-10-12", "08:59:59"))
    assert replay is not None
    lots = replay.state.open_lots(moment("2026-10-12", "08:59:59"))
    assert [(lot.quantity, lot.until) for lot in lots] == [(3, moment("2026-10-12"))]
    assert replay.state.open_lots(moment("2026-10-12")) == []


@given(added=st.integers(1, 500), day=st.dates(date(2026, 2, 15), date(2026, 10, 31)))
def test_adding_and_removing_on_one_day_costs_nothing(added: int, day: date):
    seats = a_subscription()
    morning = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    seats.change(Change(at=morning, quantity=25 + added))
    seats.change(Change(at=morning + timedelta(hours=2), quantity=25))
    lines = charges(seats, "2026-11-01")
    moved = [each for each in lines if each.kind in {"addQuantity", "removeQuantity"}]
    assert len(moved) == 4
    assert sum(each.subtotal(Decimal(1)) for each in moved) == 0


def test_a_refusal_is_remembered_and_changes_nothing():
    seats = a_subscription()
    before = charges(seats, "2026-10-31")
    with pytest.raises(CommerceError):
        seats.change(Change(at=moment("2026-10-20"), quantity=20))
    assert charges(seats, "2026-10-31") == before
    assert [refusal.error.code for refusal in seats.refusals] == ["800090"]


@pytest.mark.parametrize("quantity", [0, -3, 10_001])
def test_quantity_has_bounds(quantity: int):
    with pytest.raises(CommerceError, match="2002"):
        a_subscription().change(Change(at=moment("2026-03-01"), quantity=quantity))


# -- cancellation, suspension, conversion ---------------------------------------------------------


def test_same_day_cancellation_is_refunded_in_full():
    seats = a_subscription("2026-10-21")
    seats.change(Change(at=moment("2026-10-21", "15:00:00"), status="deleted"))
    first, back = charges(seats, "2026-12-01")
    assert back.kind == "cancelImmediate"
    assert first.subtotal(Decimal(1)) + back.subtotal(Decimal(1)) == 0


def test_cancellation_pays_for_the_days_used():
    seats = a_subscription("2026-10-12")
    seats.change(Change(at=moment("2026-10-16"), status="deleted"))
    back = charges(seats, "2026-12-01")[-1]
    assert (back.charged.start, back.charged.last, back.charged.days) == (
        date(2026, 10, 16), date(2026, 11, 11), 27,
    )  # fmt: skip
    assert back.effective_price == -(D("11.03") * 27 / 31).quantize(D("1e-6"))


@pytest.mark.parametrize(("hours", "allowed"), [(167, True), (168, False), (169, False)])
def test_the_window_is_168_hours(hours: int, allowed: bool):
    seats = a_subscription("2026-10-12")
    change = Change(at=moment("2026-10-12") + timedelta(hours=hours), status="deleted")
    if allowed:
        seats.change(change)
    else:
        with pytest.raises(CommerceError, match="900117"):
            seats.change(change)


def test_an_added_lot_does_not_open_the_whole_subscription_again():
    seats = a_subscription()
    seats.change(Change(at=moment("2026-10-05"), quantity=30))
    with pytest.raises(CommerceError, match="900117"):
        seats.change(Change(at=moment("2026-10-06"), status="deleted"))


def test_a_suspended_subscription_goes_on_being_billed_and_takes_no_seats():
    seats = a_subscription()
    seats.change(Change(at=moment("2026-09-28"), status="suspended"))
    assert charges(seats, "2026-10-15")[-1].subtotal(Decimal(1)) == D("262.50")
    with pytest.raises(CommerceError, match="800091"):
        seats.change(Change(at=moment("2026-10-16"), quantity=30))


def test_an_upgrade_is_a_pair_of_one_reference_inside_the_same_cycle():
    seats = a_subscription("2026-03-11", product=PRODUCTS["e3"], quantity=24)
    seats.change(Change(at=moment("2026-10-19"), convert_to=PRODUCTS["e5"]))
    source, target = charges(seats, "2026-10-20")[-2:]
    assert brief(source) == ("convert", 24, "2026-10-19", "2026-11-10", D("-538.32"))
    assert brief(target) == ("convert", 24, "2026-10-19", "2026-11-10", D("897.36"))
    assert source.reference == target.reference != ""
    assert (source.product.key, target.product.key) == ("e3", "e5")


def test_a_converted_trial_starts_a_paid_term_with_its_own_window():
    seats = a_subscription("2026-09-20", product=PRODUCTS["business-premium-trial"], term="P1M")
    seats.change(
        Change(
            at=moment("2026-10-14"),
            convert_to=PRODUCTS["business-premium"],
            convert_term=("P1Y", "monthly"),
            quantity=18,
        )
    )
    trial, source, target = charges(seats, "2026-10-15")
    assert [each.subtotal(Decimal(1)) for each in (trial, source)] == [0, 0]
    assert not source.subtotal(Decimal(1)).is_signed()
    assert brief(target) == ("convert", 18, "2026-10-14", "2026-11-13", D("347.76"))
    seats.change(Change(at=moment("2026-10-16"), status="deleted"))


def test_nothing_happens_to_what_has_ended():
    seats = a_subscription("2026-10-12")
    seats.change(Change(at=moment("2026-10-13"), status="deleted"))
    with pytest.raises(CommerceError, match="2011"):
        seats.change(Change(at=moment("2026-10-14"), status="active"))


def test_a_schedule_must_name_something_that_is_sold():
    wish = NextTerm(product=PRODUCTS["exchange-1"], term="P3Y", plan="annual", quantity=3)
    with pytest.raises(CommerceError, match="2006"):
        a_subscription().change(Change(at=moment("2026-03-01"), next_term=wish))


def test_setting_the_clock_back_keeps_later_changes_that_still_hold():
    seats = a_subscription()
    seats.change(Change(at=moment("2026-10-05"), quantity=30))
    seats.change(Change(at=moment("2026-10-01"), friendly_name="renamed"))
    replay = seats.replay(moment("2026-10-06"))
    assert replay is not None
    assert (replay.state.quantity, replay.state.friendly_name) == (30, "renamed")
    seats.change(Change(at=moment("2026-10-02"), status="suspended"))
    replay = seats.replay(moment("2026-10-06"))
    assert replay is not None
    assert (replay.state.quantity, replay.state.status) == (25, "suspended")
