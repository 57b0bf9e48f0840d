"""The shared gate of calls: windows, recommendations, refusals, and many threads at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.pace import MARGIN, Allowance, Pace, StillClosed


class Time:
    """A clock that only waiting moves."""

    def __init__(self):
        self.now = 1000.0
        self.waits = []

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def new_pace(time, *, at_first=4, **allowance):
    grant = {"requests": 100, "seconds": 1000.0, "at_once": 52, "window": 300.0, **allowance}
    return Pace(Allowance(**grant), at_first=at_first, clock=lambda: time.now, sleep=time.sleep)


def call(pace, time, *, seconds=1.0, refused=None, hint=""):
    with pace.turn() as turn:
        time.now += seconds
        turn.heard(200, {"x-ms-dop-hint": hint})
        turn.refused = refused


def test_calls_below_the_grant_do_not_wait():
    time = Time()
    pace = new_pace(time)
    for _ in range(100):
        call(pace, time, seconds=0.1)
    assert time.waits == []


def test_one_call_too_many_waits_until_the_first_leaves_the_window():
    time = Time()
    pace = new_pace(time, requests=3)
    for _ in range(3):
        call(pace, time, seconds=10.0)
    call(pace, time)
    assert time.waits == [pytest.approx(300 - 30 + MARGIN)]


def test_execution_time_is_granted_too():
    time = Time()
    pace = new_pace(time, seconds=100.0)
    for _ in range(10):
        call(pace, time, seconds=10.0)
    assert time.waits == []
    call(pace, time, seconds=10.0)
    assert time.waits == [pytest.approx(300 - 100 + MARGIN)]


@given(
    st.lists(st.floats(0.1, 20), min_size=1, max_size=60),
    st.integers(1, 20),
    st.floats(20, 100),
)
def test_no_window_ever_holds_more_than_the_grant(lengths, requests, seconds):
    time = Time()
    pace = new_pace(time, requests=requests, seconds=seconds, window=60.0)
    taken = []
    for length in lengths:
        with pace.turn():
            begun = time.now
            time.now += length
        taken.append((begun, length))
    for begun, _ in taken:
        inside = [entry for entry in taken if begun - 60 < entry[0] <= begun]
        assert len(inside) <= requests
        # What a call will take is not known beforehand: the last one may exceed it.
        assert sum(length for _, length in inside[:-1]) <= seconds


def test_the_recommended_number_at_once_is_followed_but_never_beyond_the_grant():
    time = Time()
    pace = new_pace(time, at_once=20)
    assert pace.most == 4
    call(pace, time, hint="11")
    assert pace.most == 11
    call(pace, time, hint="99")
    assert pace.most == 20
    call(pace, time, hint="")
    call(pace, time, hint="many")
    call(pace, time, hint="0")
    assert pace.most == 20
    call(pace, time, hint="1")
    assert pace.most == 1


def test_a_refusal_closes_the_gate_for_everybody_until_its_time():
    time = Time()
    pace = new_pace(time)
    call(pace, time, refused=17.0)
    call(pace, time)
    assert time.waits == [17.0]


def test_what_began_before_a_refusal_does_not_open_the_gate_wider():
    time = Time()
    pace = new_pace(time, at_first=8)
    with ExitStack() as crowd:
        turns = [crowd.enter_context(pace.turn()) for _ in range(8)]
        for turn in turns:
            turn.heard(200, {})
        turns[0].refused = 5.0
        crowd.pop_all().close()
    time.now += 10
    with pace.turn():
        assert pace._wait() is None  # a second one waits for the first


@pytest.mark.parametrize(("code", "at_once"), [("0x80072322", 8), ("0x80072326", 5)])
def test_after_a_full_window_all_come_back_and_after_a_crowd_half_of_them(code, at_once):
    time = Time()
    pace = new_pace(time, at_first=8)
    with pace.turn() as turn:
        turn.refused, turn.code = 1.0, code
    for _ in range(8):
        call(pace, time)
    # Beyond the half it grows by one for as many calls as run at once.
    assert int(pace._width) == at_once


def test_a_fault_of_the_service_is_no_sign_of_calm():
    time = Time()
    pace = new_pace(time)
    call(pace, time, refused=1.0)
    for _ in range(3):
        with pace.turn() as turn:
            turn.heard(503, {})
    with pytest.raises(OSError, match="cut"), pace.turn():
        raise OSError("cut")
    with pace.turn():
        assert pace._wait() is None


def test_nobody_waits_longer_than_they_can():
    time = Time()
    pace = new_pace(time)
    call(pace, time, refused=7200.0)
    with pytest.raises(StillClosed) as raised, pace.turn(300.0):
        pass
    assert raised.value.seconds == 7200.0
    assert time.waits == []
    time.now += 7000
    with pace.turn(300.0):
        pass
    assert time.waits == [200.0]


def test_a_call_longer_than_the_window_is_forgotten_in_time():
    time = Time()
    pace = new_pace(time)
    for _ in range(3):
        call(pace, time, seconds=350.0)
    time.now += 1000
    call(pace, time, seconds=0.1)
    assert pace._spent == pytest.approx(0.1)


def test_after_a_refusal_one_call_goes_ahead_and_others_follow_its_success():
    pace = Pace(
        Allowance(requests=1000, seconds=1000.0, at_once=52, window=300.0),
        at_first=8,
        sleep=lambda seconds: None,
    )
    with pace.turn() as turn:
        turn.refused = 0.0
    running, most_at_once, lock = 0, [], threading.Lock()
    release = [threading.Event() for _ in range(16)]

    def work(number):
        nonlocal running
        with pace.turn() as turn:
            turn.heard(200, {})
            with lock:
                running += 1
                most_at_once.append(running)
            release[number].wait(5)
            with lock:
                running -= 1

    for event in release[1:]:
        event.set()
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(work, 0)
        rest = [pool.submit(work, number) for number in range(1, 16)]
        # The first one holds the only place.
        while not most_at_once:
            pass
        assert not any(one.done() for one in rest)
        release[0].set()
        for one in [first, *rest]:
            one.result(10)
    assert most_at_once[0] == 1
    assert max(most_at_once) <= 8


def test_many_threads_never_exceed_the_width():
    pace = Pace(Allowance(requests=10_000, seconds=1000.0, at_once=3, window=300.0), at_first=8)
    running, seen, lock = 0, set(), threading.Lock()

    def work(_):
        nonlocal running
        with pace.turn():
            with lock:
                running += 1
                seen.add(running)
            with lock:
                running -= 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(500)))
    assert max(seen) <= 3


def test_a_call_that_fails_gives_its_place_back():
    time = Time()
    pace = new_pace(time, at_first=1)

    def fail():
        with pace.turn():
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            fail()
    call(pace, time)
    assert time.waits == []
