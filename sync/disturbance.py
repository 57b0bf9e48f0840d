"""Customers that are read for an event while the daily sync reads them too.

Whoever read first may save last, and then stale rows stand where newer ones were: a hold would be
gone again. An event's look is a unit of the ledger (`notices`), so the sync can tell by it that its
own reading is old, and reads again. No clocks are compared: the unit's attempts are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

from domain.run import UnitOfWork, UnitStatus
from sync.ledger import Later, Outcome
from sync.messages import PullUnit
from sync.ports import Ports

READINGS = 5
"""Of one customer in a row; looks are few, so a second one is rare."""
PAUSE = timedelta(minutes=2)
_PREFIX = "look/customer/"

Look = tuple[int, UnitStatus]
"""How often it began, and where it stands."""


class _Disturbed(Exception):  # noqa: N818 - control flow inside this file
    pass


def key(customer_id: str) -> str:
    """Return the key of the unit that reads a customer for its events."""
    return f"{_PREFIX}{customer_id}"


class Watch:
    """Which customers of a unit an event's look came upon since the watch began."""

    def __init__(self, ports: Ports, unit: PullUnit) -> None:
        self._ports = ports
        self._unit = unit
        self._before = self._looks()

    def disturbed(self) -> set[str]:
        """Return their ids: what this unit read of them may be older than what is stored."""
        return {one for one, look in self._looks().items() if self._before.get(one) != look}

    def stop(self) -> None:
        """Break off where there are any; `undisturbed` begins again."""
        if self.disturbed():
            raise _Disturbed

    def _looks(self) -> Mapping[str, Look]:
        """Return the looks at the unit's customer, or at all; a look is not disturbed by itself."""
        if self._unit.run_key.startswith("event/"):
            return {}
        store = self._ports.store
        units: list[UnitOfWork] = []
        if self._unit.scope:
            found = store.unit(key(self._unit.scope))
            units += [found[0]] if found else []
        else:
            today = self._ports.now().date()
            for day in (today - timedelta(days=1), today):
                units += store.units(f"event/{day}")
        return {
            unit.key.removeprefix(_PREFIX): (unit.attempt, unit.status)
            for unit in units
            if unit.key.startswith(_PREFIX)
        }


def undisturbed(
    ports: Ports, unit: PullUnit, work: Callable[[Ports, PullUnit, Watch], Outcome]
) -> Outcome:
    """Work a unit of one customer, again from the start where an event's look came between.

    Later: it was disturbed too often.
    """
    for _ in range(READINGS):
        watch = Watch(ports, unit)
        with suppress(_Disturbed):
            outcome = work(ports, unit, watch)
            if not watch.disturbed():
                return outcome
    raise Later(f"customer {unit.scope} is being read for its events", ports.now() + PAUSE)
