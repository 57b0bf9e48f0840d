"""Unusual days: what is one, what is none, and what is not known."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage.baseline import floor_of
from usage.spikes import ACCEPTED_DAYS, QUIET_DAYS, WINDOW_DAYS, drops, spikes

LAST = date(2026, 11, 8)  # a Sunday
FLOOR = Decimal(10)
WEEKDAYS = ("100", "104", "98", "101", "97", "40", "38")
"""From Monday to Sunday."""


def days_until(last=LAST, length=WINDOW_DAYS):
    return [last - timedelta(days=away) for away in reversed(range(length))]


def a_series(length=WINDOW_DAYS, by_weekday=WEEKDAYS, **changed):
    """A steady week again and again; `d20261103="400"` changes a day."""
    series = {day: Decimal(by_weekday[day.weekday()]) for day in days_until(length=length)}
    for name, amount in changed.items():
        series[date(int(name[1:5]), int(name[5:7]), int(name[7:]))] = Decimal(amount)
    return series


def found(series, known=None, judge=spikes, floor=FLOOR):
    episodes = judge(series, known if known is not None else sorted(series), floor=floor)
    return [(str(one.first), str(one.last), one.over) for one in episodes]


# --- spikes ---------------------------------------------------------------------------------------


def test_a_steady_series_has_none():
    assert found(a_series()) == []


def test_a_day_far_above_its_weekday_is_one_and_says_what_was_usual():
    (one,) = spikes(a_series(d20261103="420"), days_until(), floor=FLOOR)
    assert (str(one.first), str(one.last)) == ("2026-11-03", "2026-11-03")
    assert (one.amount, one.usual) == (Decimal(420), Decimal(104))
    assert one.over


def test_a_usual_monday_on_a_saturday_is_one():
    assert found(a_series(d20261107="100")) == [("2026-11-07", "2026-11-07", False)]


def test_a_usual_saturday_on_a_monday_is_none():
    assert found(a_series(d20261102="40")) == []


@pytest.mark.parametrize(("amount", "is_one"), [("170", False), ("177", True)])
def test_it_begins_at_seven_tenths_above_a_steady_usual(amount, is_one):
    assert bool(found(a_series(d20261103=amount))) is is_one


def test_tiny_amounts_are_none_however_many_times_the_usual():
    tiny = a_series(by_weekday=("0.10",) * 7, d20261103="9.99")
    assert found(tiny) == []
    assert found({**tiny, date(2026, 11, 3): Decimal("10.20")}) == [
        ("2026-11-03", "2026-11-03", True)
    ]


def test_days_in_a_row_are_one_episode_that_goes_on():
    series = a_series(d20261106="400", d20261107="300", d20261108="300")
    assert found(series) == [("2026-11-06", "2026-11-08", False)]


def test_a_usual_weekend_does_not_part_an_episode():
    series = a_series(d20261030="400", d20261102="400", d20261103="400")
    assert found(series) == [("2026-10-30", "2026-11-03", True)]


def test_an_episode_is_over_after_three_usual_days():
    series = a_series(d20261105="400")
    ends = {
        away: found(series, days_until(date(2026, 11, 5) + timedelta(days=away)))
        for away in (QUIET_DAYS - 1, QUIET_DAYS)
    }
    assert [over for ((_, _, over),) in ends.values()] == [False, True]


def test_a_spike_does_not_become_its_own_measure():
    series = a_series()
    for day in days_until()[-20:]:
        series[day] *= 4
    (one,) = spikes(series, days_until(), floor=FLOOR)
    assert len(one.days) == 20
    assert one.amount == 4 * one.usual


def test_after_four_weeks_the_new_level_is_usual():
    series = a_series()
    for day in days_until()[-40:]:
        series[day] *= 4
    (one,) = spikes(series, days_until(), floor=FLOOR)
    assert one.accepted
    assert one.over
    assert (one.last - one.first).days == ACCEPTED_DAYS - 1


def test_growth_is_no_spike():
    series = {
        day: amount * (100 + 8 * (number // 7)) / 100
        for number, (day, amount) in enumerate(sorted(a_series().items()))
    }
    assert found(series) == []


def test_a_job_on_the_last_day_of_each_month_is_told_once():
    months = {f"d2026{end}": "400" for end in ("0731", "0831", "0930", "1031")}
    assert found(a_series(**months)) == []
    del months["d20260930"], months["d20260831"], months["d20260731"]
    assert found(a_series(**months)) == [("2026-10-31", "2026-10-31", True)]


def test_what_happens_again_and_again_is_usual():
    again = {f"d202610{day}": "400" for day in ("06", "15", "21", "30")}
    first = found(a_series(**again))
    assert [one[0] for one in first] == ["2026-10-06", "2026-10-15", "2026-10-21"]


def test_usage_now_and_then_is_measured_by_its_greatest_day():
    series = dict.fromkeys(days_until(), Decimal(0))
    for day in days_until()[::11]:
        series[day] = Decimal(50)
    series[date(2026, 11, 4)] = Decimal(140)
    assert found(series) == []
    series[date(2026, 11, 4)] = Decimal(160)
    assert found(series) == [("2026-11-04", "2026-11-04", True)]


@pytest.mark.parametrize(
    ("length", "amount", "is_one"),
    [(6, "4000", False), (12, "250", False), (12, "420", True), (30, "250", True)],
)
def test_a_short_history_needs_more_and_less_than_a_week_is_none(length, amount, is_one):
    assert bool(found(a_series(length, d20261105=amount))) is is_one


def test_days_that_are_not_known_are_neither_judged_nor_learned_from():
    series = a_series(d20261103="420")
    gap = [day for day in days_until() if day.month != 10]
    kept = {day: series[day] for day in gap}
    assert found(kept, gap) == [("2026-11-03", "2026-11-03", True)]
    assert found(kept, gap, drops) == []
    unseen = [day for day in days_until() if day != date(2026, 11, 3)]
    assert found(series, unseen) == []


def test_nothing_known_is_nothing_found():
    assert found({}, []) == found({}, [], drops) == []


amounts = st.lists(
    st.one_of(
        st.decimals("60", "140", places=2),
        st.decimals("0", "900", places=2),
        st.just(Decimal(0)),
    ),
    min_size=90,
    max_size=90,
)


@settings(max_examples=60, deadline=None)
@given(amounts, st.sampled_from(["0.01", "0.92", "7.3", "151", "1000"]))
def test_another_unit_of_money_has_the_same_unusual_days(values, factor):
    known = days_until(length=len(values))
    series = dict(zip(known, values, strict=True))
    scaled = {day: value * Decimal(factor) for day, value in series.items()}
    for judge in (spikes, drops):
        assert found(scaled, judge=judge, floor=FLOOR * Decimal(factor)) == found(
            series, judge=judge
        )


@settings(max_examples=60, deadline=None)
@given(amounts)
def test_what_comes_later_does_not_change_when_a_spike_began(values):
    known = days_until(length=len(values))
    series = dict(zip(known, values, strict=True))
    today = spikes(series, known, floor=FLOOR)
    yesterday = spikes(series, known[:-1], floor=FLOOR)
    # The oldest day that is judged again goes out of sight with each day.
    late = known[-1] - timedelta(days=34)
    assert {one.first for one in yesterday if one.first >= late} <= {one.first for one in today}


# --- drops ----------------------------------------------------------------------------------------


def test_three_days_without_usage_are_a_drop():
    series = a_series(d20261103="0", d20261104="0", d20261105="0")
    (one,) = drops(series, days_until(), floor=FLOOR)
    assert (str(one.first), str(one.last), one.over) == ("2026-11-03", "2026-11-05", True)
    assert (one.amount, one.usual) == (0, Decimal(104 + 98 + 101))


def test_two_are_none():
    assert found(a_series(d20261103="0", d20261104="0"), judge=drops) == []


def test_a_drop_to_the_last_day_goes_on():
    gone = {f"d2026110{number}": "0" for number in range(5, 9)}
    assert found(a_series(**gone), judge=drops) == [("2026-11-05", "2026-11-08", False)]


def test_a_weekend_without_usage_is_none_where_weekends_never_have_any():
    office = ("100", "100", "100", "100", "100", "0", "0")
    assert found(a_series(by_weekday=office), judge=drops) == []
    friday = a_series(by_weekday=office, d20261106="0")
    assert found(friday, judge=drops) == []
    thursday = a_series(by_weekday=office, d20261104="0", d20261105="0", d20261106="0")
    assert found(thursday, judge=drops) == [("2026-11-04", "2026-11-06", False)]


def test_a_series_that_pauses_now_and_then_has_only_paused():
    pauses = {f"d202610{day}": "0" for day in ("05", "06", "07", "08", "19", "20", "21", "22")}
    last = {f"d202611{day}": "0" for day in ("03", "04", "05")}
    assert ("2026-11-03", "2026-11-05", True) not in found(a_series(**pauses, **last), judge=drops)


def test_the_end_of_tiny_usage_is_none():
    tiny = a_series(by_weekday=("1",) * 7, d20261103="0", d20261104="0", d20261105="0")
    assert found(tiny, judge=drops) == []


def test_after_four_weeks_nothing_is_usual():
    series = a_series()
    for day in days_until()[-40:]:
        series[day] = Decimal(0)
    (one,) = drops(series, days_until(), floor=FLOOR)
    assert one.accepted


@pytest.mark.parametrize(("currency", "floor"), [("USD", "10"), ("JPY", "1000"), ("KWD", "1")])
def test_the_floor_is_a_thousand_of_the_smallest_coin(currency, floor):
    assert floor_of(currency) == Decimal(floor)
