"""How much memory the messages take that look at all customers at once: `--memory` of scaleout.

Everything runs in this process, so that the peak is that of one message alone: the look at usage
that is not billed yet, and the close of a bill, which reads all lines and documents of a month.
"""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from datetime import timedelta
from pathlib import Path

from app.settings import Settings
from app.wiring import Worker, opened
from bench import scaleout_world
from bench.scaleout import key_in
from emulator import scenarios
from sync.messages import StartRun
from transport.queues import KINDS, MemoryQueue

SIZES = (12, 48)


def peaks() -> dict[str, list[int]]:
    """Return the peak in bytes of either kind of message, by size of partner."""
    found = [_of(customers) for customers in SIZES]
    return {"sizes": list(SIZES), **{name: [one[name] for one in found] for name in found[0]}}


def _of(customers: int) -> dict[str, int]:
    """Let a partner's month be synced, billed and looked at the day after."""
    scenarios.SCENARIOS["many"] = scaleout_world.many(customers)
    peak = {"usage": 0, "close": 0}
    with tempfile.TemporaryDirectory() as folder:
        state = {"CSP_STATE_DIR": str(Path(folder)), "CSP_SCENARIO": "many"}
        with opened(Settings.from_env(state)) as worker:
            worker.provisioner().apply()
            today = worker.today()
            _work(worker, StartRun(kind="sync", day=today), {})
            key_in(worker)
            _work(worker, StartRun(kind="bill", period="2026-10"), peak)
            assert worker.systems.emulator is not None
            worker.systems.emulator.clock.advance(timedelta(days=1))
            _work(worker, StartRun(kind="usage", day=today + timedelta(days=1)), peak)
    return peak


def _work(worker: Worker, asked: StartRun, peak: dict[str, int]) -> None:
    """Work a run, and keep the highest peak of the messages that are asked about."""
    worker.request(asked)
    queue = worker.ports.queue
    assert isinstance(queue, MemoryQueue)
    while message := next((one for kind in KINDS if (one := queue.receive(kind))), None):
        part = json.loads(message.body).get("part")
        kind = "usage" if part == "unbilled" else message.kind
        if kind in peak:
            tracemalloc.start()
        worker.handle(message.kind, message.body)
        if kind in peak:
            peak[kind] = max(peak[kind], tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        queue.delete(message)
