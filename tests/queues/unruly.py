"""A platform that behaves badly: worker processes of the functions, killed and delivering twice.

    python -m tests.queues.unruly PROCESSES DEATHS SEED

It imports the app once and forks so many worker processes (`python -m host --queues-only`). Each
SIGUSR1 begins a round in which DEATHS of them are killed (SIGKILL), each at a writing request that
the seed draws, of those of its functions: just before it goes out, or just after it was answered; a
new one takes its place.
Every message that a worker sends is sent twice, shuffled. What hides messages (a wait, the lease of
a process that died) is short, and the emulated clock moves on by a unit's lease at each death.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import urllib.request
from datetime import timedelta

import requests.adapters

from host.declared import App
from sync.ledger import LEASE
from transport import queues

MESSAGE_LEASE = 4
"""Seconds: what a dead process held is soon seen again."""
LONGEST_WAIT = timedelta(seconds=1)
DOOMED = range(1, 15)
"""At which of its writing requests a process dies."""
ROUND = {signal.SIGUSR1}
LISTENED = ("start", "pull", "bill", "close")
"""The queues that a month goes through."""


def deliver_twice(chance):
    """Let every message go out twice and in another order; one that was put off, once."""
    send = queues.AzureQueue.send

    def twice(self, kind, messages, *, after=timedelta(0)):
        copies = list(messages) * (1 if after else 2)
        chance.shuffle(copies)
        return send(self, kind, copies, after=min(after, LONGEST_WAIT))

    queues.AzureQueue.send = twice


def let_die(chance):
    """Let a signal doom this process to be killed at one of its next writing requests."""
    send, lock = requests.adapters.HTTPAdapter.send, threading.Lock()
    left, after = [0], chance.random() < 0.5

    def units():
        """The units that are worked, by the threads that renew their leases."""
        names = [thread.name for thread in threading.enumerate()]
        return [name.removeprefix("lease ") for name in names if name.startswith("lease ")]

    def die():
        os.write(sys.stdout.fileno(), f"left {' '.join(units())}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def doom(*_):
        left[0] = chance.choice(DOOMED)

    def mortal(self, request, **options):
        dies = False
        # Only where a function works: the host's own threads make queues and delete messages.
        if request.method != "GET" and threading.current_thread().name.startswith("function"):
            with lock:
                # From the drawn one on, the first at which a unit would be left behind.
                dies = left[0] == 1 and bool(units())
                left[0] -= left[0] > 1 or dies
        if dies and not after:
            die()
        answer = send(self, request, **options)
        if dies:
            die()
        return answer

    requests.adapters.HTTPAdapter.send = mortal
    signal.signal(signal.SIGUSR1, doom)


def listen_to(kinds):
    """Leave out the listeners of other queues: to ask all of them was half of what a month costs."""
    of = App.of

    def some(self, trigger):
        found = of(self, trigger)
        if trigger != "queueTrigger":
            return found
        return tuple(
            one for one in found if one.trigger["queueName"].removesuffix("-poison") in kinds
        )

    App.of = some


class Platform:
    """The processes, and who of them is doomed."""

    def __init__(self, processes, deaths, seed):
        self.processes, self.deaths, self.seed = processes, deaths, seed
        self.running, self.doomed = set(), set()
        self.begun = self.died = self.due = 0
        self.ending = False

    def fork(self):
        """Begin a worker process."""
        self.begun += 1
        signal.pthread_sigmask(signal.SIG_BLOCK, ROUND)
        child = os.fork()
        if not child:
            chance = random.Random(self.seed * 1000 + self.begun)  # noqa: S311 - the same each time
            deliver_twice(chance)
            let_die(chance)
            listen_to(LISTENED)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ROUND)
            from host.__main__ import main

            os._exit(main(["--queues-only", "--quiet", "--lease", str(MESSAGE_LEASE)]))
        self.running.add(child)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ROUND)

    def begin_round(self, *_):
        self.due += self.deaths
        self.doom()

    def doom(self):
        """Doom as many as are still to die."""
        for child in sorted(self.running - self.doomed):
            if self.died + len(self.doomed) < self.due:
                os.kill(child, signal.SIGUSR1)
                self.doomed.add(child)

    def end(self, *_):
        self.ending = True
        for child in self.running:
            os.kill(child, signal.SIGTERM)

    def run(self):
        signal.signal(signal.SIGUSR1, self.begin_round)
        for _ in range(self.processes):
            self.fork()
        signal.signal(signal.SIGTERM, self.end)
        print("ready", flush=True)
        while self.running:
            child, status = os.wait()
            self.running.discard(child)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                self.doomed.discard(child)
                self.died += 1
                advance()
                print("died", flush=True)
                if not self.ending:
                    self.fork()
                    self.doom()
            elif not self.ending:
                sys.exit(f"a worker process ended by itself: {status}")


def advance():
    """The leases of what died are over, by the clock of the emulated world."""
    body = json.dumps({"advance_seconds": LEASE.total_seconds() + 1}).encode()
    address = os.environ["CSP_EMULATOR_URL"] + "/_emulator/clock"
    with urllib.request.urlopen(urllib.request.Request(address, data=body, method="POST")):
        pass


if __name__ == "__main__":
    # What a worker needs is imported before it is forked: for each anew it would take seconds.
    import function_app  # noqa: F401

    Platform(*map(int, sys.argv[1:])).run()
