"""The pace of the calls to one service as one user: how many at once, how many in a while, when none.

All threads that call as the same user share one `Pace`. It keeps them below what the service grants
(its own count of calls and of their time), follows the number of calls at once that the service
recommends, and after a refusal lets nobody through until the service said so; then one call goes
ahead, and only its success lets others follow, so that a crowd never meets a closed door twice. Other
processes share the same grant unseen: what they take shows as refusals, which are obeyed.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

MARGIN = 0.05
"""Seconds that a call is counted for longer than here: it reaches the service later than it leaves."""

SHORTEST_WAIT = 0.001
"""So that no rounding of a clock makes a waiting thread spin."""


class StillClosed(Exception):  # noqa: N818 - what the door is
    """The service wants to be left alone for longer than the caller can wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"closed for {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a service grants to one user in a sliding window."""

    requests: int
    seconds: float
    """Execution time of all calls together."""
    at_once: int
    window: float
    """Length in seconds."""


class Pace:
    """The shared gate; safe for threads."""

    def __init__(
        self,
        allowance: Allowance,
        *,
        at_first: int = 8,
        hint_header: str = "x-ms-dop-hint",
        crowd_code: str = "0x80072326",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`at_first` calls run at once until the service recommends a number (in `hint_header`).

        A refusal with `crowd_code` means that too many ran at once, another that a window is full.
        """
        self.allowance = allowance
        self._hint_header = hint_header
        self._crowd_code = crowd_code
        self._clock = clock
        self._sleep = sleep
        self._freed = threading.Condition()
        self._most = min(at_first, allowance.at_once)
        self._width = float(self._most)
        self._calm = float(self._most)  # below it the width grows fast again after a refusal
        self._running = 0
        self._closed_until = 0.0
        self._window: deque[Turn] = deque()
        self._spent = 0.0
        self._usual = 0.0

    @property
    def most(self) -> int:
        """How many calls may run at once when all is calm."""
        return self._most

    @contextmanager
    def turn(self, longest: float = math.inf) -> Iterator[Turn]:
        """Wait until one more call may run, and count it while it does.

        StillClosed when the service wants to be left alone for more than `longest` seconds.
        """
        turn = self._begin(longest)
        try:
            yield turn
        finally:
            self._end(turn)

    def _begin(self, longest: float) -> Turn:
        while True:
            with self._freed:
                closed = self._closed_until - self._clock()
                if closed > longest:
                    raise StillClosed(closed)
                wait = self._wait()
                if wait == 0:
                    turn = Turn(started=self._clock(), hint_header=self._hint_header)
                    self._running += 1
                    self._window.append(turn)
                    return turn
                if wait is None:
                    self._freed.wait()
                    continue
            self._sleep(max(wait, SHORTEST_WAIT))

    def _wait(self) -> float | None:
        """Say how many seconds to wait for, or None for another call to end."""
        now = self._clock()
        edge = now - self.allowance.window - MARGIN
        while self._window and self._window[0].started <= edge and self._window[0].ended:
            self._spent -= self._window.popleft().seconds
        if now < self._closed_until:
            return self._closed_until - now
        if self._running >= int(self._width):
            return None
        if len(self._window) >= self.allowance.requests:
            return self._window[0].started - edge
        over = self._spent + (self._running + 1) * self._usual - self.allowance.seconds
        if over <= 0:
            return 0.0
        for turn in self._window:
            over -= turn.seconds
            if over <= 0:
                return max(turn.started - edge, 0.0)
        return None if self._running else 0.0

    def _end(self, turn: Turn) -> None:
        with self._freed:
            now = self._clock()
            turn.seconds, turn.ended = now - turn.started, True
            self._spent += turn.seconds
            # What a call takes when it is sent: the last ones count most, the first as a start.
            self._usual += (turn.seconds - self._usual) * (0.2 if self._usual else 1.0)
            self._running -= 1
            if turn.recommended:
                self._recommend(turn.recommended)
            if turn.refused is not None:
                self._close(now + turn.refused, crowded=turn.code == self._crowd_code)
            elif turn.answered and turn.started >= self._closed_until:
                growth = 1.0 if self._width < self._calm else 1.0 / self._width
                self._width = min(self._width + growth, float(self._most))
            self._freed.notify_all()

    def _recommend(self, number: int) -> None:
        most = max(1, min(number, self.allowance.at_once))
        if most != self._most:
            if self._width >= self._most:  # undisturbed: go there at once
                self._width = self._calm = float(most)
            self._most = most
            self._width = min(self._width, float(most))

    def _close(self, until: float, *, crowded: bool) -> None:
        if self._clock() >= self._closed_until:  # the first refusal of a crowd speaks for all
            # A full window empties as fast as it was filled: then as many as before may follow.
            self._calm = max(1.0, self._width / 2 if crowded else self._width)
        self._width = 1.0
        self._closed_until = max(self._closed_until, until)


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """One call through the gate, and what came of it."""

    started: float
    hint_header: str
    seconds: float = 0.0
    ended: bool = False
    answered: bool = False
    """Whether the service could answer; what began before a refusal says nothing about after it."""
    refused: float | None = None
    """Seconds for which the service wants to be left alone."""
    code: str = ""
    """What the refusal said."""
    recommended: int = 0

    def heard(self, status: int, headers: Mapping[str, str]) -> None:
        """Note an answer and the recommended number of calls at once; no number says nothing."""
        self.answered = status < HTTPStatus.INTERNAL_SERVER_ERROR
        with suppress(ValueError):
            self.recommended = int(headers.get(self.hint_header, ""))
