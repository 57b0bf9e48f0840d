"""What measured unit costs come to for any number of customers, and which limit is met first.

A model, no measurement: everything grows in a straight line from what `bench.scaleout` measured at
two sizes. What nobody measured is a named assumption below. Limits are documented by Microsoft or
our own; `docs/scale.md` says which are not confirmed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COSTS = Path(__file__).with_name("scaleout.json")
PHASES = ("first sync", "bill", "approve", "usage", "sync")
A_MONTH = {"first sync": 1, "usage": 29, "sync": 29, "bill": 1, "approve": 1}
"""How often each is done: the first sync stands for the day on which Microsoft's invoice comes."""
PEAKS = {"usage": "usage not billed yet", "close": "the end of a bill run"}
"""What holds more in memory the more customers there are."""
CUSTOMERS = (1_000, 10_000, 100_000)
SYSTEMS = {
    "Partner Center": ("partner_center",),
    "catalogue": ("catalogue",),
    "Graph and exports": ("graph", "blob"),
    "Dataverse": ("dataverse",),
    "Dataverse items": ("dataverse items",),
    "queue": ("queue",),
    "archive": ("archive",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What was not measured here; change it and print the tables again."""

    partner_center_seconds: float = 0.30
    graph_seconds: float = 0.30
    dataverse_seconds: float = 0.08
    """As in `bench.dataverse`."""
    storage_seconds: float = 0.01
    at_once: int = 6
    """Units of one instance: batchSize + newBatchThreshold of host.json."""
    instances: int = 40
    """At most: maximumInstances of infra/main.bicep."""
    memory_gigabytes: float = 4.0
    """Of an instance: memoryMegabytes of infra/prod.bicepparam."""
    worker_gigabytes: float = 0.25
    """What a worker process holds before it works at anything large."""
    entered_at_once: int = 100
    """Units in one request when a run begins."""
    entered_seconds: float = 1.0
    """Of such a request: 100 rows at 10 ms."""
    function_minutes: float = 30.0
    """functionTimeout of host.json."""
    row_kilobytes: float = 2.0
    """Of a row in Dataverse."""
    archive_copies: float = 1.0
    """Share of what is sent to the archive that stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Documented limits."""

    partner_center_a_minute: float = 500
    """Customer and subscription resources, for each partner."""
    dataverse_in_five_minutes: float = 6000
    """Requests of one user on one web server; more servers answer a large environment."""
    dataverse_items_a_day: float = 500_000
    """The tenant's pool for application users with Dynamics 365 Enterprise; not confirmed."""


@dataclass(slots=True, kw_only=True)
class Cost:
    """What one phase took."""

    seconds: float = 0.0
    units_seconds: float = 0.0
    """From the first unit on the queue to the last one off it."""
    cpu: float = 0.0
    """Processor seconds of the worker processes."""
    others: float = 0.0
    """Processor seconds of the emulators and Azurite."""
    memory: float = 0.0
    """Bytes at most, of one process."""
    units: float = 0.0
    requests: dict[str, float] = field(default_factory=dict)
    sent: dict[str, float] = field(default_factory=dict)
    received: dict[str, float] = field(default_factory=dict)


def saved() -> dict[str, Any]:
    """Read the measured costs."""
    found: dict[str, Any] = json.loads(COSTS.read_text(encoding="utf-8"))
    return found


def save(costs: Mapping[str, Any]) -> None:
    """Keep measured costs."""
    COSTS.write_text(json.dumps(costs, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def line(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return what a run costs anyway and what each customer adds; noise below zero is zero."""
    (small, large), (low, high) = sizes, values
    each = max((high - low) / (large - small), 0.0)
    return max(low - each * small, 0.0), each


class Reckoned:
    """One phase for any number of customers."""

    def __init__(self, sizes: Sequence[float], small: Cost, large: Cost) -> None:
        self._sizes, self._both = sizes, (small, large)
        self.memory = max(small.memory, large.memory)

    def cpu(self) -> tuple[float, float]:
        """Processor seconds of a run, and of each customer."""
        return line(self._sizes, [one.cpu for one in self._both])

    def units(self) -> tuple[float, float]:
        """Units of a run, and of each customer."""
        return line(self._sizes, [one.units for one in self._both])

    def requests(self, system: str) -> tuple[float, float]:
        """Requests of a run, and of each customer."""
        return self._summed("requests", system)

    def volume(self, system: str) -> tuple[float, float]:
        """Bytes both ways of a run, and of each customer."""
        sent, received = self._summed("sent", system), self._summed("received", system)
        return sent[0] + received[0], sent[1] + received[1]

    def sent(self, system: str) -> tuple[float, float]:
        """Bytes sent of a run, and of each customer."""
        return self._summed("sent", system)

    def _summed(self, what: str, system: str) -> tuple[float, float]:
        names = SYSTEMS[system]
        return line(
            self._sizes,
            [sum(getattr(one, what).get(name, 0.0) for name in names) for one in self._both],
        )


def phases(costs: Mapping[str, Any]) -> dict[str, Reckoned]:
    """Return the phases of measured costs."""
    sizes = costs["customers"]
    return {
        name: Reckoned(sizes, *(Cost(**one) for one in costs["phases"][name])) for name in PHASES
    }


def at(cost: tuple[float, float], customers: float) -> float:
    """Return a cost for so many customers."""
    return cost[0] + cost[1] * customers


def unit_costs(costs: Mapping[str, Any]) -> str:
    """Return the table of what a run costs, and what each customer adds to it."""
    found = phases(costs)
    head = ["phase", "", "processor ms", *SYSTEMS, "kB with Dataverse", "kB of others", "peak MB"]
    rows = []
    for name, phase in found.items():
        for place, label in enumerate(("a run", "each customer")):
            others = [phase.volume(one)[place] for one in SYSTEMS if "Dataverse" not in one]
            rows.append(
                [
                    name if not place else "",
                    label,
                    f"{phase.cpu()[place] * 1000:.0f}",
                    *(f"{phase.requests(system)[place]:.1f}" for system in SYSTEMS),
                    f"{phase.volume('Dataverse')[place] / 1000:.1f}",
                    f"{sum(others) / 1000:.1f}",
                    f"{phase.memory / 1e6:.0f}" if not place else "",
                ]
            )
    return _table(head, rows)


def _waited(phase: Reckoned, place: int, given: Assumed) -> float:
    """Seconds of waiting for systems, one request after the other."""
    seconds = {
        "Partner Center": given.partner_center_seconds,
        "catalogue": given.partner_center_seconds,
        "Graph and exports": given.graph_seconds,
        "Dataverse": given.dataverse_seconds,
        "queue": given.storage_seconds,
        "archive": given.storage_seconds,
    }
    return sum(phase.requests(system)[place] * each for system, each in seconds.items())


def unit_seconds(phase: Reckoned, given: Assumed) -> float:
    """Seconds that one customer keeps a thread of a worker."""
    return _waited(phase, 1, given) + phase.cpu()[1]


def begin_seconds(given: Assumed) -> float:
    """Seconds for each unit of a run that begins: its row and its message."""
    return given.entered_seconds / given.entered_at_once + given.storage_seconds


def in_one_function(phase: Reckoned) -> bool:
    """Say whether a run has no unit for each customer: one function then looks at all of them."""
    return phase.units()[1] < 1 / 2


def alone_seconds(phase: Reckoned, customers: float, given: Assumed) -> float:
    """Seconds of a function that looks at all customers, one after the other."""
    return _waited(phase, 0, given) + phase.cpu()[0] + unit_seconds(phase, given) * customers


def minutes(phase: Reckoned, customers: float, given: Assumed, limits: Limits) -> dict[str, float]:
    """Return how long a run takes by each of what bounds it."""
    alone = phase.cpu()[1] + _waited(phase, 1, given)
    one_instance = max(alone / given.at_once, phase.cpu()[1]) * customers / 60
    return {
        "one instance": one_instance,
        f"{given.instances} instances": one_instance / given.instances,
        "Partner Center": at(phase.requests("Partner Center"), customers)
        / limits.partner_center_a_minute,
        "Dataverse": at(phase.requests("Dataverse"), customers)
        / limits.dataverse_in_five_minutes
        * 5,
    }


def _bounds(phase: Reckoned, customers: float, given: Assumed, limits: Limits) -> dict[str, float]:
    """Return the minutes of a run by what bounds it; what one function does, it does alone."""
    found = minutes(phase, customers, given, limits)
    if in_one_function(phase):
        del found[f"{given.instances} instances"]
        found["one after the other"] = alone_seconds(phase, customers, given) / 60
    return found


def _bounded(
    phase: Reckoned, customers: float, given: Assumed, limits: Limits
) -> tuple[int, float]:
    """Return how many instances help, and the minutes that a run takes with them."""
    found = _bounds(phase, customers, given, limits)
    alone = found.pop("one instance")
    took = max(found.values())
    if in_one_function(phase):
        return 1, took
    shared = max(found["Partner Center"], found["Dataverse"], 1)
    return min(given.instances, max(1, math.ceil(alone / shared))), took


def of_runs(costs: Mapping[str, Any], given: Assumed, limits: Limits) -> str:
    """Return the table of minutes by what bounds a run."""
    rows = []
    for name, phase in phases(costs).items():
        for customers in CUSTOMERS:
            found = _bounds(phase, customers, given, limits)
            alone = found.pop("one instance")
            useful, slowest = _bounded(phase, customers, given, limits)
            bound = max(found, key=found.__getitem__)
            rows.append(
                [
                    name if customers == CUSTOMERS[0] else "",
                    f"{customers:,}",
                    f"{alone:,.0f}",
                    f"{found['Partner Center']:,.0f}",
                    f"{found['Dataverse']:,.0f}",
                    f"{useful:.0f}",
                    f"{slowest:,.0f}",
                    bound,
                ]
            )
    head = [
        "run", "customers", "one instance", "Partner Center", "Dataverse",
        "instances that help", "minutes", "bound by",
    ]  # fmt: skip
    return _table(head, rows)


def of_single_functions(costs: Mapping[str, Any], given: Assumed) -> str:
    """Return the table of what one function does alone, beside its time-out."""
    rows = []
    begin = begin_seconds(given)
    found = phases(costs)
    for customers in CUSTOMERS:
        for name, seconds in (
            ("begin a run", begin * customers),
            ("approve a month", alone_seconds(found["approve"], customers, given)),
            ("look at usage not billed yet", alone_seconds(found["usage"], customers, given)),
        ):
            took = seconds / 60
            rows.append(
                [
                    name,
                    f"{customers:,}",
                    f"{took:,.1f}",
                    f"{took / given.function_minutes:,.1f}",
                ]
            )
    return _table(
        ["one function", "customers", "minutes", "times its time-out"],
        sorted(rows, key=lambda row: row[0]),
    )


def of_limits(costs: Mapping[str, Any], given: Assumed, limits: Limits) -> str:
    """Return the table of limits, the one that the fewest customers meet first."""
    found = phases(costs)
    day = 24 * 60.0

    def summed(names: Sequence[str], system: str) -> tuple[float, float]:
        both = [found[name].requests(system) for name in names]
        return sum(one[0] for one in both), sum(one[1] for one in both)

    usual, import_day = ("usage", "sync"), ("first sync", "bill", "approve")
    begin = (0.0, begin_seconds(given) / 60)
    approve, usage = (
        (alone_seconds(found[name], 0, given) / 60, unit_seconds(found[name], given) / 60)
        for name in ("approve", "usage")
    )
    free = (given.memory_gigabytes - given.worker_gigabytes) * 1e9
    peaks = {name: line(costs["memory"]["sizes"], costs["memory"][name]) for name in PEAKS}
    items = limits.dataverse_items_a_day
    a_day = limits.dataverse_in_five_minutes * day / 5
    several = [
        ("approval of a month in one function", approve, given.function_minutes),
        ("beginning of a run in one function", begin, given.function_minutes),
        ("usage not billed yet in one function", usage, given.function_minutes),
        *((f"memory of one instance, {words}", peaks[name], free) for name, words in PEAKS.items()),
        (
            "Partner Center, a sync within a day",
            summed(["sync"], "Partner Center"),
            limits.partner_center_a_minute * day,
        ),
        ("Dataverse requests, usual day", summed(usual, "Dataverse"), a_day),
        ("Dataverse requests, day of import and bills", summed(import_day, "Dataverse"), a_day),
        ("Dataverse entitlement, usual day", summed(usual, "Dataverse items"), items),
        (
            "Dataverse entitlement, day of import and bills",
            summed(import_day, "Dataverse items"),
            items,
        ),
    ]
    rows = [
        (
            (limit - cost[0]) / cost[1] if cost[1] else math.inf,
            [name, *(f"{at(cost, customers) / limit:,.2f}" for customers in CUSTOMERS)],
        )
        for name, cost, limit in several
    ]
    return _table(
        ["share of the limit", *(f"{n:,}" for n in CUSTOMERS), "met at customers"],
        [
            [*cells, "never" if met == math.inf else f"{round(met, -2):,.0f}"]
            for met, cells in sorted(rows)
        ],
    )


def money(costs: Mapping[str, Any], prices: Mapping[str, float]) -> str:
    """Return what a month costs by prices that the reader has; a price that is not given is left out.

    ValueError names a price that means nothing here.
    """
    given, found = Assumed(), phases(costs)
    unknown = prices.keys() - PRICED.keys()
    if unknown:
        raise ValueError(f"no such price: {', '.join(sorted(unknown))}; of: {', '.join(PRICED)}")

    def month(cost: str, *system: str) -> Iterator[float]:
        for customers in CUSTOMERS:
            yield sum(
                times * at(getattr(found[name], cost)(*system), customers)
                for name, times in A_MONTH.items()
            )

    used = {
        "gb_second": list(_gb_seconds(costs, given, Limits(), all_up=False)),
        "million_executions": [one / 1e6 for one in month("units")],
        "million_queue_operations": [one / 1e6 for one in month("requests", "queue")],
        "million_archive_operations": [one / 1e6 for one in month("requests", "archive")],
        "archive_gb": [one * given.archive_copies / 1e9 for one in month("sent", "archive")],
    }
    rows = [
        [PRICED[name], *(f"{amount * price:,.2f}" for amount in used[name])]
        for name, price in prices.items()
    ]
    return _table(["money a month", *(f"{n:,}" for n in CUSTOMERS)], rows)


PRICED = {
    "gb_second": "instances: price of a GB-second",
    "million_executions": "functions: price of a million executions",
    "million_queue_operations": "queues: price of a million operations",
    "million_archive_operations": "archive: price of a million operations",
    "archive_gb": "archive: price of a GB for a month, of what one month adds",
}
"""Prices that `--price` takes. None is built in: they differ by region and agreement."""


def _gb_seconds(
    costs: Mapping[str, Any], given: Assumed, limits: Limits, *, all_up: bool
) -> Iterator[float]:
    """Yield what instances count in a month: those that help, or all, for as long as a run takes.

    An instance that waits for a limit goes on counting.
    """
    for customers in CUSTOMERS:
        seconds = 0.0
        for name, phase in phases(costs).items():
            instances, took = _bounded(phase, customers, given, limits)
            up = given.instances if all_up and not in_one_function(phase) else instances
            seconds += A_MONTH[name] * up * took * 60
        yield seconds * given.memory_gigabytes


def of_a_month(costs: Mapping[str, Any], given: Assumed, limits: Limits) -> str:
    """Return the table of what a month uses."""
    found = phases(costs)

    def month(cost: str, *system: str) -> Iterator[float]:
        for customers in CUSTOMERS:
            yield sum(
                times * at(getattr(found[name], cost)(*system), customers)
                for name, times in A_MONTH.items()
            )

    daily = [
        sum(at(found[name].requests("Dataverse items"), customers) for name in ("usage", "sync"))
        for customers in CUSTOMERS
    ]
    billing = [
        sum(
            at(found[name].requests("Dataverse items"), customers)
            for name in ("first sync", "bill", "approve")
        )
        for customers in CUSTOMERS
    ]
    sizes, rows = costs["customers"], costs["rows"]
    kept = line(sizes, [one["all"] - one["units"] for one in rows])
    a_day = [
        sum(at(found[name].units(), customers) for name in ("usage", "sync"))
        for customers in CUSTOMERS
    ]
    lines: list[tuple[str, list[float], int]] = [
        ("processor hours of workers", [value / 3600 for value in month("cpu")], 1),
        (
            "GB-seconds, where as many instances are up as help",
            list(_gb_seconds(costs, given, limits, all_up=False)),
            0,
        ),
        (
            f"GB-seconds, where all {given.instances} are up all the while",
            list(_gb_seconds(costs, given, limits, all_up=True)),
            0,
        ),
        ("Partner Center requests", list(month("requests", "Partner Center")), 0),
        (
            "  beside that, catalogue, where it does not answer",
            list(month("requests", "catalogue")),
            0,
        ),
        ("Graph and export requests", list(month("requests", "Graph and exports")), 0),
        ("Dataverse requests", list(month("requests", "Dataverse")), 0),
        ("Dataverse items on a usual day", daily, 0),
        (
            "  of the day's entitlement",
            [value / limits.dataverse_items_a_day for value in daily],
            2,
        ),
        ("Dataverse items on the day of import, bill and approval", billing, 0),
        (
            "  of the day's entitlement",
            [value / limits.dataverse_items_a_day for value in billing],
            2,
        ),
        ("queue operations, without looks at empty queues", list(month("requests", "queue")), 0),
        ("archive operations", list(month("requests", "archive")), 0),
        (
            "GB added to the archive",
            [value * given.archive_copies / 1e9 for value in month("sent", "archive")],
            2,
        ),
        (
            "rows of customers and documents, after the first month",
            [at(kept, n) for n in CUSTOMERS],
            0,
        ),
        ("rows of units of work added", [29 * value for value in a_day], 0),
        (
            "GB of both in Dataverse",
            [
                (at(kept, n) + 29 * units) * given.row_kilobytes * 1000 / 1e9
                for n, units in zip(CUSTOMERS, a_day, strict=True)
            ],
            1,
        ),
    ]
    return _table(
        ["in a month", *(f"{n:,}" for n in CUSTOMERS)],
        [[name, *(f"{value:,.{digits}f}" for value in values)] for name, values, digits in lines],
    )


def tables(costs: Mapping[str, Any]) -> str:
    """Return all tables, as docs/scale.md has them."""
    given, limits = Assumed(), Limits()
    parts = [
        ("What a run costs, and what each customer adds", unit_costs(costs)),
        ("Minutes of a run", of_runs(costs, given, limits)),
        ("What one function does alone", of_single_functions(costs, given)),
        ("Limits, the first one first", of_limits(costs, given, limits)),
        ("What a month uses", of_a_month(costs, given, limits)),
    ]
    return "\n".join(f"**{title}**\n\n{table}" for title, table in parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
