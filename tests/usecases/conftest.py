"""Usage files of the same content are read once: how they are read is shown by tests/unit/test_usage_load.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from domain.contract import UsageGrouping
from sync import alerts, costs, reconcile
from usage import load as usage

_MONTHS: dict[tuple[Any, ...], usage.UsageMonth] = {}
_load = usage.load


def read_once(
    files: Sequence[Path],
    *,
    asked: Mapping[str, Iterable[UsageGrouping]] | None = None,
    **options: Any,
) -> usage.UsageMonth:
    """What `load` says of files: all that it depends on is their names and content and who asks."""
    groupings = {customer: tuple(wanted) for customer, wanted in (asked or {}).items()}
    content = tuple((file.name, file.read_bytes()) for file in files)
    key = (content, frozenset(groupings.items()))
    if key not in _MONTHS:
        _MONTHS[key] = _load(files, asked=groupings, **options)
    return _MONTHS[key]


@pytest.fixture(autouse=True)
def usage_read_once(monkeypatch):
    assert costs.usage is reconcile.usage is usage
    monkeypatch.setattr(usage, "load", read_once)
    monkeypatch.setattr(alerts, "load", read_once)
