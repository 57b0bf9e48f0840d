"""How lines are spread over files changes nothing, and an audit of clean months raises no alarm."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.app import audit_files as files
from tests.app.audit_files import checks

_ROWS = files.lines(files.USD)
_USAGE = files.world(files.EUR)[1][:600]
_PLANTED = {"seats.promotion", "customer.partner_id", "customer.reseller", "usage.earned_credit"}
"""What the emulated partner's story of October holds."""


def _whole():
    with tempfile.TemporaryDirectory() as folder:
        return files.answer(files.write(Path(folder) / "all", files.json_lines(_ROWS)))


WHOLE = _whole()


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    cut=st.integers(1, len(_ROWS) - 1),
    seed=st.integers(0, 99),
    form=st.sampled_from(["csv", "csv, German", "json array"]),
)
def test_splitting_a_file_in_two_and_shuffling_its_lines_changes_nothing(cut, seed, form):
    rows = list(_ROWS)
    random.Random(seed).shuffle(rows)  # noqa: S311 - an order, no secret
    with tempfile.TemporaryDirectory() as folder:
        one = files.FORMS[form](Path(folder) / "one", rows[:cut])
        other = files.FORMS["json lines"](Path(folder) / "other", rows[cut:])
        assert files.answer(one, other) == WHOLE


@settings(max_examples=5, deadline=None, derandomize=True)
@given(cut=st.integers(1, len(_USAGE) - 1), seed=st.integers(0, 99))
def test_the_same_holds_for_daily_usage(cut, seed):
    rows = list(_USAGE)
    random.Random(seed).shuffle(rows)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        whole = files.write(Path(folder) / "whole", files.json_lines(_USAGE))
        one = files.FORMS["csv"](Path(folder) / "one", rows[:cut])
        other = files.FORMS["json lines, gz"](Path(folder) / "other", rows[cut:])
        assert files.answer(one, other) == files.answer(whole)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(kept=st.sets(st.integers(0, len(_ROWS) - 1), min_size=1))
def test_amounts_are_conserved_whatever_is_there(kept):
    rows = [_ROWS[n] for n in sorted(kept)]
    with tempfile.TemporaryDirectory() as folder:
        data = files.answer(files.write(Path(folder) / "some", files.json_lines(rows)))
    total = sum(row["Subtotal"] for row in rows)
    assert [files.Decimal(one["microsoft"]) for one in data["totals"]] == [total]
    (invoice,) = data["invoices"]
    assert sum(files.Decimal(part) for part in invoice["parts"].values()) == total
    how = ("exact", "rounding", "unchecked", "off")
    assert sum(files.Decimal(invoice[name]) for name in how) == total


@pytest.mark.parametrize("last", [26, 14, 2])
def test_months_of_the_emulated_partner_raise_no_false_alarm(last, tmp_path):
    """Wherever the files begin: in the middle of terms, on clamped anchors, after changes of seats."""
    world = files.Emulator(seed=1, scenario="partner-month").world
    invoices = sorted(row["id"] for row in world.invoices())[-last:]
    paths = [
        files.write(tmp_path / one, "".join(files.wire.encode(r) + "\n" for r in lines))
        for one in invoices
        if (lines := world.reconciliation_lines(one))
    ]
    assert set(checks(files.answer(*paths))) <= _PLANTED
