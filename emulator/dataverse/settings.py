"""The switchboard of the look-alike: delays, limits, refusals and the next failures.

Everything is off or zero at the start, so that a newcomer sees a calm service; tests and the
control plane change it while it runs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from emulator.dataverse.errors import FAULTS


@dataclass(slots=True)
class Settings:
    """Public switches, read at each request."""

    key_activation_seconds: float = 0  # how long a new alternate key stays Pending
    metadata_cache_seconds: float = 0  # how long new tables and columns stay unseen (about 30 live)
    page_size_cap: int = 5000
    count_cap: int = 5000
    aggregate_limit: int = 50_000
    delta_days: int = 7
    reject_surplus_digits: bool = False  # round (False) or refuse: live behaviour is unconfirmed
    negative_prices: bool = True  # of write-in lines in Sales: live behaviour is unconfirmed
    deny: set[tuple[str, str]] = field(default_factory=set)  # ("Create", "nce_invoice") -> 403
    enforce_roles: bool = False  # whether the caller's security roles decide what it may do
    # Published duplicate detection rules, as (table, column); asked for by a header of the request.
    duplicate_rules: set[tuple[str, str]] = field(default_factory=set)
    largest_body: int = 128 * 1024 * 1024  # bytes; beyond it 413. The live number is not documented
    # Service protection: real sliding windows on the emulator's clock when switched on.
    throttling: bool = False
    window_seconds: float = 300
    request_limit: int = 6000
    execution_limit_ms: int = 1_200_000
    concurrency_limit: int = 52
    request_cost_ms: int = 20  # charged, not measured: a run must repeat exactly
    row_cost_ms: int = 2
    dop_hint: int = 8
    # Real waiting, for clients whose speed is measured; requests wait beside each other.
    latency_ms: float = 0
    row_latency_ms: float = 0
    # Failures of the next requests, first in first out: a kind of `errors.FAULTS`, and part of the
    # URL that must match (empty: any); of those that match the first one acts.
    faults: deque[tuple[str, str]] = field(default_factory=deque)

    def fail_next(self, kind: str, *, count: int = 1, path: str = "") -> None:
        """Let the next `count` requests whose URL contains `path` fail in this way."""
        if kind not in FAULTS:
            raise ValueError(f"kind must be one of {', '.join(FAULTS)}")
        self.faults.extend([(kind, path)] * count)
