"""The one clock of the emulated world: it stands still until someone moves it, so runs repeat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta


class Clock:
    """A settable instant in aware UTC; setting it back is allowed (a test may replay a month)."""

    def __init__(self, now: datetime) -> None:
        self._now = _aware(now)
        self.watchers: list[Callable[[], None]] = []
        """Called after every move."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        return self._now

    def today(self) -> date:
        """The present UTC date."""
        return self._now.date()

    def set(self, moment: datetime) -> None:
        """Move to an aware instant; a naive one raises ValueError."""
        self._now = _aware(moment)
        self._tell()

    def advance(self, delta: timedelta) -> None:
        """Move by a span."""
        self._now += delta
        self._tell()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher()


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("the clock needs an aware datetime")
    return moment.astimezone(UTC)
