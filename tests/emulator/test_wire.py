"""Exact numbers, stamps and routes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator import wire

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, places=6).map(abs),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(values)
def test_what_is_written_reads_back_digit_for_digit(value):
    text = wire.encode(value)
    assert wire.encode(wire.decode(text)) == text
    json.loads(text)


@pytest.mark.parametrize(
    ("text"),
    ["0.10", "922337203685477.5807", "1234567890123456.123456789", "-0.00", "1E+2", "1E-9"],
)
def test_decimals_print_every_digit(text):
    written = wire.encode(Decimal(text))
    assert Decimal(written) == Decimal(text)
    assert "E" not in written


@pytest.mark.parametrize("value", [0.1, Decimal("NaN"), Decimal("Infinity"), {1, 2}, b"x"])
def test_floats_and_strangers_are_refused(value):
    with pytest.raises(TypeError):
        wire.encode({"value": [value]})


def test_stamps_are_utc():
    moment = datetime(2026, 11, 9, 7, 0, tzinfo=timezone(timedelta(hours=1)))
    assert wire.stamp(moment) == wire.stamp(datetime(2026, 11, 9, 6, 0, tzinfo=UTC))


def test_routes_take_the_first_template_and_tell_other_methods():
    routes = wire.Routes(
        [("GET", "/a/b", "fixed"), ("GET", "/a/{x}", "open"), ("PUT", "/a/{x}", "p")]
    )
    assert routes.find("GET", "/A/B/") == ("fixed", {})
    assert routes.find("HEAD", "/a/C") == ("open", {"x": "C"})
    assert routes.find("POST", "/a/c") == {"GET", "PUT"}
    assert routes.find("GET", "/a/c/d") == frozenset()


def test_derived_ids_are_guids_and_the_same_everywhere():
    assert wire.derived_guid("a", 1) == wire.derived_guid("a", 1) != wire.derived_guid("a", 2)
    assert wire.is_guid(wire.derived_guid("a", 1))
    assert not wire.is_guid("a")
