"""Journals of deliveries: what is written is read again, and what repeats is counted once."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery import Delivery, Part, PartSum, delivery_of

AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=18, max_value=10**15)
NAMES = st.text("abcdef0123456789-", min_size=1, max_size=20)
MOMENTS = st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SUMS = st.dictionaries(
    st.sampled_from(["USD", "EUR", "JPY"]),
    st.builds(PartSum, quantity=AMOUNTS, amount=AMOUNTS),
)
PARTS = st.lists(
    st.builds(
        Part,
        name=NAMES,
        size=st.integers(0, 10**12),
        sha256=st.sampled_from(["a" * 64, "b" * 64, "c" * 64]),
        lines=st.integers(0, 10**9),
        unread=st.integers(0, 10),
        sums=SUMS,
    ),
    unique_by=lambda part: part.name,
    max_size=6,
).map(tuple)
DELIVERIES = st.builds(
    Delivery,
    report=st.sampled_from(["usage/billed", "reconciliation/billed"]),
    asked=st.just({"invoiceId": "G1", "attributeSet": "full"}),
    begun=MOMENTS,
    finished=st.none() | MOMENTS,
    folder=st.just("invoices/G1/usage/version-1-00"),
    version=NAMES,
    etag=st.text(max_size=20),
    announced=st.integers(0, 100),
    manifest=st.just({"eTag": "x", "new": [1, {"a": None}]}),
    parts=PARTS,
)


@given(DELIVERIES)
def test_a_journal_is_read_as_it_was_written(delivery):
    assert delivery_of(delivery.journal()) == delivery
    assert delivery_of(delivery.journal()).journal() == delivery.journal()


@given(DELIVERIES)
def test_distinct_parts_have_each_content_once(delivery):
    by_name = {f"{delivery.folder}/{part.name}": part for part in delivery.parts}
    kept = [by_name[name] for name in delivery.distinct]
    assert sorted(part.sha256 for part in kept) == sorted({p.sha256 for p in delivery.parts})
    lines = sum(part.lines for part in delivery.parts)
    assert sum(part.lines for part in kept) + delivery.repeated_lines == lines


def test_sums_are_written_as_exact_text():
    part = Part(
        name="a",
        size=1,
        sha256="0",
        lines=1,
        sums={"USD": PartSum(quantity=Decimal("883406386745030.3"), amount=Decimal("1E-18"))},
    )
    moment = datetime(2026, 11, 9, tzinfo=UTC)
    journal = Delivery(report="usage/billed", asked={}, begun=moment, parts=(part,)).journal()
    assert b'"883406386745030.3"' in journal
    assert b'"0.000000000000000001"' in journal


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"null"])
def test_what_is_no_journal_is_refused(content):
    with pytest.raises((ValueError, KeyError, TypeError)):
        delivery_of(content)
