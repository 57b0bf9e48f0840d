"""The run ledger: each unit of work is claimed, worked and settled, whoever delivers its message.

Messages come at least once and in any order. A unit's row is written with the version that was
read, so of two workers one claims and the other goes away. A claim carries a lease: a worker that
died loses it, and the next delivery takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Event, Thread

from domain.problems import Conflict, WorkerError
from domain.run import UnitOfWork, UnitStatus
from sync.ports import Store

LEASE = timedelta(minutes=10)
"""As long as the host hides a message whose worker died: when it comes again, the unit is free.

It is renewed while the work goes on, as the host renews the message's own lock. Where the renewal is
lost (the store is down, the process is frozen) a second message may take the unit over; both write
the same, and the first to settle wins.
"""


LOCK = "lock"
"""Kind of the units that are no work, but the right to do it alone."""


class Later(WorkerError):  # noqa: N818 - it is a state, not a fault
    """It is too early for this message: let it come again then (aware UTC). No try is used up."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message, hint="run the command again after that")
        self.until = until


class Busy(Later):
    """Another worker holds the unit, at most until then; it may be through much sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a unit ended: settled for good, or held and worked again by the next run."""

    held: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Claims units of work in the store; `now` is aware UTC."""

    store: Store
    now: Callable[[], datetime]

    def queue(self, kind: str, run_key: str, keys: Iterable[str]) -> list[str]:
        """Enter units as queued; returns the keys that still need work (settled ones do not)."""
        wanted = list(dict.fromkeys(keys))
        known = {unit.key: unit for unit in self.store.units(run_key)}
        fresh = [
            UnitOfWork(key=key, kind=kind, run_key=run_key, status=UnitStatus.QUEUED)
            for key in wanted
            if key not in known
        ]
        # Of one that another run or starter entered, its status decides.
        known |= {unit.key: unit for unit in self.store.enter_units(fresh)}
        return [
            key for key in wanted if key not in known or known[key].status is not UnitStatus.SETTLED
        ]

    def reopen(self, key: str, run_key: str) -> None:
        """Enter a settled unit anew for a run: what it was settled for was undone."""
        found = self.store.unit(key)
        if found is None or found[0].status is not UnitStatus.SETTLED:
            return
        unit, version = found
        anew = replace(unit, run_key=run_key, status=UnitStatus.QUEUED, finished_at=None, counts={})
        with suppress(Conflict):  # another starter did
            self.store.put_unit(anew, version)

    def settled(self, key: str) -> bool:
        """Say whether a unit is through for good."""
        found = self.store.unit(key)
        return found is not None and found[0].status is UnitStatus.SETTLED

    def run_once(
        self,
        key: str,
        kind: str,
        run_key: str,
        work: Callable[[], Outcome],
        *,
        repeatable: bool = False,
        lease: timedelta = LEASE,
    ) -> UnitOfWork:
        """Claim a unit, work it, settle it; a settled unit is returned as it is.

        Raises Busy while another worker's lease lives. A fault of the work is noted on the unit and
        raised again, so that the queue delivers once more. `repeatable` makes the claim a lock: the
        unit is worked although it was settled before.
        """
        found = self.store.unit(key)
        unit = (
            found[0]
            if found
            else UnitOfWork(key=key, kind=kind, run_key=run_key, status=UnitStatus.QUEUED)
        )
        if unit.status is UnitStatus.SETTLED and not repeatable:
            return unit
        version = found[1] if found else None
        claimed, version = self._claim(replace(unit, run_key=run_key), version, lease)
        renewal = _Renewal(self, claimed, version, lease)
        try:
            with renewal:
                outcome = work()
        except Exception as error:
            failed = replace(
                claimed,
                status=UnitStatus.FAILED,
                finished_at=self.now(),
                lease_until=None,
                problem=f"{type(error).__name__}: {error}"[:1000],
            )
            # Where the store is what failed, the note fails too: the lease ends by itself.
            with suppress(WorkerError):
                self.store.put_unit(failed, renewal.version)
            raise
        ended = replace(
            claimed,
            status=UnitStatus.HELD if outcome.held else UnitStatus.SETTLED,
            finished_at=self.now(),
            lease_until=None,
            counts=outcome.counts,
        )
        self.store.put_unit(ended, renewal.version)
        return ended

    @contextmanager
    def alone(self, key: str, *, lease: timedelta = LEASE) -> Iterator[UnitOfWork]:
        """Hold a lock of that name while the block runs; yields the claim, for `check`.

        It is a row of no run. Raises Busy while another worker holds it; a worker that died loses it
        with its lease.
        """
        found = self.store.unit(key)
        unit = (
            found[0]
            if found
            else UnitOfWork(key=key, kind=LOCK, run_key="", status=UnitStatus.QUEUED)
        )
        claimed, version = self._claim(unit, found[1] if found else None, lease)
        renewal = _Renewal(self, claimed, version, lease)

        def free() -> None:
            ended = replace(
                claimed,
                status=UnitStatus.SETTLED,
                finished_at=self.now(),
                lease_until=None,
            )
            # What was done stands, also where this cannot be said: the lease ends by itself.
            with suppress(WorkerError):
                self.store.put_unit(ended, renewal.version)

        try:
            with renewal:
                yield claimed
        except Exception:
            free()
            raise
        free()

    def check(self, claim: UnitOfWork) -> None:
        """Raise Busy where a claim was lost: its lease ran out, and another worker took over."""
        found = self.store.unit(claim.key)
        now = found[0] if found else None
        if now is None or (now.status, now.attempt) != (UnitStatus.RUNNING, claim.attempt):
            raise Busy(f"{claim.key} was taken over by another worker", self.now())

    def _claim(
        self, unit: UnitOfWork, version: str | None, lease: timedelta
    ) -> tuple[UnitOfWork, str]:
        """Write that a unit is ours; returns it and the version of its row."""
        now = self.now()
        if (
            unit.status is UnitStatus.RUNNING
            and unit.lease_until is not None
            and unit.lease_until > now
        ):
            raise Busy(
                f"{unit.key} is being worked until {unit.lease_until:%H:%M} UTC", unit.lease_until
            )
        claimed = replace(
            unit,
            status=UnitStatus.RUNNING,
            attempt=unit.attempt + 1,
            started_at=now,
            finished_at=None,
            lease_until=now + lease,
            problem="",
        )
        try:
            return claimed, self.store.put_unit(claimed, version)
        except Conflict as error:
            raise Busy(f"{unit.key} was claimed by another worker", now) from error

    def park(self, key: str, problem: str) -> None:
        """Give a unit up after its last delivery: a person must look."""
        found = self.store.unit(key)
        if found is None or found[0].status is UnitStatus.SETTLED:
            return
        unit, version = found
        self.store.put_unit(
            replace(
                unit,
                status=UnitStatus.PARKED,
                finished_at=self.now(),
                lease_until=None,
                problem=(unit.problem or problem)[:1000],
            ),
            version,
        )


class _Renewal:
    """Renews a claim while its work goes on, from a thread of its own; `version` is the row's last one."""

    def __init__(self, ledger: Ledger, claimed: UnitOfWork, version: str, lease: timedelta) -> None:
        self.version = version
        self._ledger = ledger
        self._claimed = claimed
        self._lease = lease
        self._over = Event()
        self._thread = Thread(target=self._renew, name=f"lease {claimed.key}", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End it: who reads the version after this reads the last one."""
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        ledger = self._ledger
        while not self._over.wait(self._lease.total_seconds() / 2):
            renewed = replace(self._claimed, lease_until=ledger.now() + self._lease)
            try:
                self.version = ledger.store.put_unit(renewed, self.version)
            except WorkerError:
                return  # taken over, or the store is down: the end of the work finds out
