"""How the month scales: more worker processes, and what a customer costs; figures for any number.

    python -m bench.scaleout              # 1, 2 and 4 processes beside slow systems, then unit costs
    python -m bench.scaleout --save       # the same; the unit costs go to bench/scaleout.json
    python -m bench.scaleout --model      # what those costs come to for 1 000 to 100 000 customers

Worker processes (the stand-in of the host, queue functions only, host.json as it is deployed) work
real Azurite queues; the emulated Microsoft is a process of its own that waits before each answer, so
that the work is what it is in life: waiting for systems. Throughput is told as a ratio to one
process of the same run. Unit costs are taken without the wait at two sizes: what grows with the
customers is told apart from what a run costs anyway. All of it shares the machine it runs on, so
the emulators and Azurite take their part of the processors; how much was taken is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from app import demo_data
from app.settings import Settings
from app.wiring import Worker, opened
from bench import scale_model
from dataverse.tables import TABLES, UNIT_OF_WORK
from domain.contract import BillingContract, TaxProfile
from domain.run import RunStatus
from domain.tax import TaxTreatment
from host import azurite as storage
from host.laptop import schedules
from sync.messages import StartRun
from transport.queues import KINDS, AzureQueue

ROOT = Path(__file__).resolve().parents[1]
PERIOD = "2026-10"
PROCESSES = (1, 2, 4)
SCALED = 48
"""Customers of the runs with several processes."""
MILLISECONDS = 400
"""What each answer of Microsoft takes there."""
FULL = 0.8
"""Of the cores: from here on more processes only wait for each other."""
SIZES = (12, 48)
"""Customers of the two runs that unit costs are taken from."""


class Site:
    """A partner, its storage and its worker processes; the partner is slow while they work."""

    def __init__(self, worker: Worker, queue: AzureQueue, others: list[int]) -> None:
        self.worker, self.queue, self._others = worker, queue, others
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, processes: int, settings: dict[str, str], systems: dict[str, str]) -> None:
        """Begin so many worker processes."""
        for _ in range(processes):
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.scaleout_worker"],
                cwd=ROOT,
                env=settings,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._processes.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(systems) + "\n")
            process.stdin.close()
        for process in self._processes:
            assert self._line(process) == "ready\n", "a worker process did not start"
        self.figures()

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()

    def figures(self) -> list[dict[str, Any]]:
        """What each process has done since its start."""
        for process in self._processes:
            process.send_signal(signal.SIGUSR1)
        return [json.loads(self._line(process)) for process in self._processes]

    def work(self, message: StartRun, *, slowly: bool = False) -> scale_model.Cost:
        """Ask for a run, wait for its end, and return what it took."""
        if slowly:
            os.kill(self._others[0], signal.SIGUSR1)
        before, others, began = self.figures(), self._cpu_of_others(), time.perf_counter()
        self.queue.send("start", [message.model_dump_json()])
        seen: list[float] = []
        while not self._ended(message.run_key, seen):
            time.sleep(0.1)
        seconds, after = time.perf_counter() - began, self.figures()
        if slowly:
            os.kill(self._others[0], signal.SIGUSR1)
        cost = scale_model.Cost(
            seconds=seconds,
            units_seconds=seen[-1] - seen[0] if seen else 0.0,
            cpu=sum(b["cpu"] - a["cpu"] for a, b in zip(before, after, strict=True)),
            others=self._cpu_of_others() - others,
            memory=max(one["memory"] for one in after),
            units=len(self.worker.store.units(message.run_key)),
        )
        for name in ("requests", "sent", "received"):
            counted: dict[str, float] = getattr(cost, name)
            for one, factor in ((before, -1), (after, 1)):
                for process in one:
                    for system, count in process[name].items():
                        counted[system] = counted.get(system, 0) + factor * count
        return cost

    def _ended(self, run_key: str, seen: list[float]) -> bool:
        """Say whether a run is through; `seen` gets the moments at which units were on the queue."""
        lengths = self.queue.lengths()
        if lengths["pull"] or lengths["bill"]:
            seen.append(time.perf_counter())
        if any(lengths[f"{kind}-poison"] for kind in KINDS):
            sys.exit("a message was given up: this measures nothing")
        if any(lengths[kind] for kind in KINDS):
            return False
        run = self.worker.run(run_key)
        return run is not None and run.status is not RunStatus.RUNNING

    def _cpu_of_others(self) -> float:
        """Processor seconds of the emulators and of Azurite; zero where the system does not tell."""
        ticks = 0
        for process in self._others:
            with contextlib.suppress(OSError):
                told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                ticks += int(told[11]) + int(told[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()


@contextlib.contextmanager
def site(customers: int, milliseconds: float, processes: int) -> Iterator[Site]:
    """Serve a partner with tables, and worker processes for it, until the end of the block."""
    with contextlib.ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="csp-bench-"))
        blobs = held.enter_context(storage.azurite())
        world = held.enter_context(_world(customers, milliseconds))
        assert world.stdout is not None
        urls: dict[str, str] = json.loads(world.stdout.readline())
        settings = {
            "CSP_MODE": "emulator",
            "CSP_EMULATOR_URL": urls["control"],
            "CSP_STATE_DIR": folder,
            "CSP_STORAGE_CONNECTION_STRING": blobs.connection_string,
            "WORKER_QUEUE": blobs.connection_string,
            "AzureWebJobsStorage": blobs.connection_string,
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",  # as infra sets it
            # Queues that were empty for long are looked at once a minute: nobody waits for that here.
            "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:01",
            **schedules(ROOT),
        }
        worker = held.enter_context(opened(Settings.from_env(settings)))
        worker.provisioner().apply()
        queue = AzureQueue(connection_string=blobs.connection_string, create=True)
        queue.lengths()
        made = Site(worker, queue, [world.pid, blobs.process_id])
        held.callback(made.stop)
        systems = {_origin(url): name for name, url in urls.items()}
        systems |= {_origin(blobs.urls["blob"]): "archive", _origin(blobs.urls["queue"]): "queue"}
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        made.start(processes, kept | settings, systems)
        yield made


@contextlib.contextmanager
def _world(customers: int, milliseconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.scaleout_world", str(customers), str(milliseconds)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()


def _origin(url: str) -> str:
    return f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"


def month(at: Site) -> Iterator[tuple[str, scale_model.Cost]]:
    """Work a month and the next day; yields what each phase took."""
    today = at.worker.today()
    yield "first sync", at.work(StartRun(kind="sync", day=today))
    key_in(at.worker)
    for kind in ("bill", "approve"):
        yield kind, at.work(StartRun.model_validate({"kind": kind, "period": PERIOD}))
    tomorrow = today + timedelta(days=1)
    clock = f"{at.worker.settings.emulator_url}/_emulator/clock"
    requests.post(clock, json={"advance_seconds": 86400}, timeout=60).raise_for_status()
    for kind in ("usage", "sync"):
        yield kind, at.work(StartRun.model_validate({"kind": kind, "day": tomorrow}))


def key_in(worker: Worker) -> None:
    """Enter an account, a contract and a tax profile for each customer, and rules for all."""
    records: list[object] = [
        *demo_data.SELLERS,
        *demo_data.REGISTRATIONS,
        *demo_data.TAX_RATES,
        *demo_data.markup_rules([]),
    ]
    for customer in worker.store.customers():
        place = customer.address if customer.address.country else customer.billing_address
        account = demo_data.Account(
            number=customer.domain.partition(".")[0][:20], name=customer.name, address=place
        )
        records += [
            TaxProfile(
                key=f"tax/{customer.id}",
                country=place.country,
                region=place.region,
                locality=place.city,
                treatment=TaxTreatment.BY_RULES,
            ),
            BillingContract(
                key=f"contract/{customer.id}",
                customer_id=customer.id,
                account_id=worker.dataverse.create("account", account.columns),
                account_name=customer.name,
                currency="USD",
                starts=demo_data.BILLING_STARTS,
                tax_profile_key=f"tax/{customer.id}",
                seller_key="seller/america",
            ),
        ]
    worker.store.save(records)


def scaled(customers: int, milliseconds: float) -> Iterator[str]:
    """Bill a month by 1, 2 and 4 processes, and yield lines.

    Told is the time in which units were on the queue: what begins and ends a run is done once,
    however many processes there are.
    """
    cores = os.cpu_count() or 1
    yield (
        f"{customers} customers, {milliseconds:.0f} ms an answer, {cores} cores\n"
        f"{'processes':>9}{'run s':>8}{'units s':>9}{'customers/min':>15}{'units/s':>9}"
        f"{'ratio':>7}{'cores: workers':>16}{'+ others':>10}"
    )
    alone = 0.0
    for processes in PROCESSES:
        with site(customers, milliseconds, processes) as at:
            at.work(StartRun(kind="sync", day=at.worker.today()))
            key_in(at.worker)
            cost = at.work(StartRun(kind="bill", period=PERIOD), slowly=True)
        took = cost.units_seconds
        alone = alone or took
        busy = (cost.cpu + cost.others) / cost.seconds
        full = "  the cores are the limit" if busy > FULL * cores else ""
        yield (
            f"{processes:9}{cost.seconds:8.1f}{took:9.1f}{customers / took * 60:15.0f}"
            f"{cost.units / took:9.2f}{alone / took:7.2f}{cost.cpu / cost.seconds:16.2f}"
            f"{cost.others / cost.seconds:10.2f}{full}"
        )


def unit_costs() -> dict[str, Any]:
    """Work the month by one process at two sizes; what a run costs, and what a customer adds."""
    found, rows = [], []
    for size in SIZES:
        with site(size, 0, 1) as at:
            found.append(dict(month(at)))
            rows.append(_rows(at.worker))
    return {
        "customers": list(SIZES),
        "phases": {phase: [asdict(one[phase]) for one in found] for phase in scale_model.PHASES},
        "rows": rows,
    }


def _rows(worker: Worker) -> dict[str, int]:
    """Count the rows of our tables, and how many of them are units of work."""
    counted = {
        table.name: int(worker.dataverse.aggregate(table.name, "aggregate($count as n)")[0]["n"])
        for table in TABLES
    }
    return {"units": counted[UNIT_OF_WORK.name], "all": sum(counted.values())}


def main() -> None:
    """Print the report, or the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", action="store_true", help="only reckon with the saved costs")
    parser.add_argument("--save", action="store_true", help="save the unit costs")
    parser.add_argument("--costs", action="store_true", help="measure the unit costs alone")
    parser.add_argument("--memory", action="store_true", help="measure and save memory alone")
    parser.add_argument("--customers", type=int, default=SCALED)
    parser.add_argument("--milliseconds", type=float, default=MILLISECONDS)
    parser.add_argument(
        "--price",
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        help=f"with --model, money too: {', '.join(scale_model.PRICED)}",
    )
    options = parser.parse_args()
    if options.model:
        costs = scale_model.saved()
        print(scale_model.tables(costs), end="")
        prices = {
            name: float(amount) for name, _, amount in (p.partition("=") for p in options.price)
        }
        if prices:
            print(f"\n**Money**\n\n{scale_model.money(costs, prices)}", end="")
        return
    if options.memory:
        from bench import scaleout_memory

        scale_model.save({**scale_model.saved(), "memory": scaleout_memory.peaks()})
        return
    for line in () if options.costs else scaled(options.customers, options.milliseconds):
        print(line, flush=True)
    costs = {**scale_model.saved(), **unit_costs()}
    print(scale_model.unit_costs(costs))
    if options.save:
        scale_model.save(costs)


if __name__ == "__main__":
    main()
