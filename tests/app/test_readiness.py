"""Readiness: every system is asked at once, within a short time, and a hanging one only once."""

from __future__ import annotations

import threading
import time

from app.readiness import Readiness
from domain.problems import ConfigurationError, NotAuthorised, Throttled


def refuse(fault):
    def check():
        raise fault

    return check


def test_what_answers_is_ready():
    told = Readiness({"A": lambda: None, "B": list}).look()
    assert told.ready is True
    assert [(one.name, one.ready, one.problem) for one in told.dependencies] == [
        ("A", True, ""),
        ("B", True, ""),
    ]


def test_a_fault_is_told_by_its_kind_and_status_alone():
    secret = "refused the token eyJhbGciOi"
    checks = {
        "A": lambda: None,
        "B": refuse(NotAuthorised(secret, service="B", status=401)),
        "C": refuse(Throttled(secret, service="C", status=429)),
        "D": refuse(ConfigurationError(secret)),
        "E": refuse(ZeroDivisionError(secret)),
    }
    told = Readiness(checks).look()
    assert told.ready is False
    assert [one.problem for one in told.dependencies] == [
        "",
        "NotAuthorised 401",
        "Throttled 429",
        "ConfigurationError",
        "ZeroDivisionError",
    ]
    assert secret not in told.model_dump_json()


def test_systems_are_asked_at_once_and_not_longer_than_the_time_for_all():
    go = threading.Event()
    checks = {name: lambda: go.wait(20) for name in "ABC"} | {"D": lambda: None}
    started = time.monotonic()
    told = Readiness(checks, deadline=0.2).look()
    assert time.monotonic() - started < 2
    assert [one.problem for one in told.dependencies] == ["no answer in time"] * 3 + [""]
    go.set()


def test_a_system_that_hangs_is_asked_by_one_thread_however_often_it_is_looked():
    go, asked = threading.Event(), []

    def hangs():
        asked.append(1)
        go.wait(20)

    readiness = Readiness({"A": hangs}, deadline=0.05)
    for _ in range(5):
        assert readiness.look().ready is False
    assert len(asked) == 1
    go.set()
    until = time.monotonic() + 5
    while not readiness.look().ready and time.monotonic() < until:
        time.sleep(0.01)
    assert readiness.look().ready is True
    assert len(asked) > 1
