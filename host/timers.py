"""Fires timer functions by their six-field schedules, in UTC.

`{second} {minute} {hour} {day} {month} {day of week, Sunday is 0}`. A day and a day of the week that
are both given must both fit, as with the platform and unlike cron. A time that passes while the
function still runs is left out. Times that passed while the machine slept are one firing of each
timer, past due. What the platform keeps in storage is not kept here: one process fires (others listen
to queues only), and what was missed while it was down is not made up for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from azure.functions.timer import TimerRequest
from croniter import CroniterError, croniter

from host.declared import App, Function, NotRunnable
from host.invocation import Invokes

log = logging.getLogger("host")
LOOK_SECONDS = 30.0
"""How often the clock is looked at; what is found later than this is past due."""


def occurrence(schedule: str, after: datetime) -> datetime:
    """The next time of a schedule after a moment in UTC."""
    times = croniter(schedule, after, second_at_beginning=True, day_or=False)
    found: datetime = times.get_next(datetime)
    return found


def checked(schedule: str, *, where: str) -> str:
    """Return a schedule of six fields; NotRunnable says what is wrong with it."""
    fields = schedule.split()
    hint = "six fields, such as 0 0 5 * * * for 05:00 UTC each day"
    if len(fields) != 6:
        raise NotRunnable(f"{where}: {schedule!r} has {len(fields)} fields and needs {hint}")
    try:
        croniter(schedule, second_at_beginning=True, day_or=False)
    except (CroniterError, ValueError) as error:
        raise NotRunnable(f"{where}: {schedule!r} is no schedule ({error}): {hint}") from None
    return schedule


def request(
    schedule: str, *, last: datetime | None = None, now: datetime, past_due: bool = False
) -> TimerRequest:
    """What a timer function is given."""
    told = {
        "Last": (last or now).isoformat(),
        "LastUpdated": now.isoformat(),
        "Next": occurrence(schedule, now).isoformat(),
    }
    return TimerRequest(past_due=past_due, schedule_status=told, schedule={"AdjustForDST": True})


class Clock:
    """Waits for the next of all timers and fires it."""

    def __init__(
        self, app: App, invoker: Invokes, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.schedules: dict[str, str] = {}
        self._functions: dict[str, Function] = {}
        for function in app.of("timerTrigger"):
            name = function.name
            text = app.resolved(str(function.trigger["schedule"]), where=f"timer {name}")
            self.schedules[name] = checked(text, where=f"timer {name}")
            self._functions[name] = function
        self._invoker = invoker
        self._now = now
        self._running: dict[str, Future[Any]] = {}
        self._last: dict[str, datetime] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        now = self._now()
        for name, schedule in self.schedules.items():
            log.info("Timer %s next fires at %s", name, occurrence(schedule, now).isoformat())
            if self._functions[name].trigger.get("runOnStartup"):
                self.fire(name, now)
        self._thread.start()

    def stop(self) -> None:
        """Fire no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def fire(self, name: str, now: datetime, *, past_due: bool = False) -> None:
        """Fire one timer, unless it still runs."""
        running = self._running.get(name)
        if running is not None and not running.done():
            log.warning("Timer %s still runs: this time is left out", name)
            return
        given = request(self.schedules[name], last=self._last.get(name), now=now, past_due=past_due)
        self._last[name] = now
        self._running[name] = self._invoker.submit(
            self._functions[name], given, f"Timer fired at {now.isoformat()}"
        )

    def _run(self) -> None:
        seen = self._now()
        while self.schedules:
            due = {name: occurrence(text, seen) for name, text in self.schedules.items()}
            first = min(due.values())
            # A laptop sleeps and its clock is set: look again now and then.
            while (left := (first - self._now()).total_seconds()) > 0:
                if self._stopping.wait(min(left, LOOK_SECONDS)):
                    return
            seen = self._now()
            for name, at in due.items():
                if at <= seen:
                    late = (seen - at).total_seconds() > LOOK_SECONDS
                    self.fire(name, seen if late else at, past_due=late)
