"""How fast rows get into Dataverse: beside what its limits allow, and beside Microsoft's own SDK.

    python -m bench.dataverse                 # everything, some eight minutes
    python -m bench.dataverse --rows 20000    # smaller

The other side is `bench.standin`: it answers after set latencies (80 ms and half a millisecond a row,
or ten in the careful case) and refuses by the real limits, and stores next to nothing. What is
measured is the client: records to rows, hashes, what is stored already, JSON, requests, waiting.
"On paper" is what the service would do in the same requests without any pause: the number at once
that it recommends, and its windows. Each measurement has a process of its own; nothing fails on a time.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.standin import Model, StandIn, standing_in
from dataverse.bulk import CHUNK
from dataverse.client import GRANTED, DataverseClient
from dataverse.mapping import to_row
from dataverse.microsoft_tables import CUSTOMER, SUBSCRIPTION
from dataverse.rows import Rows
from domain.customer import Customer
from domain.period import BillingCycle, TermDuration
from domain.subscription import Subscription, SubscriptionKind
from transport.mounts import new_session
from transport.pace import Allowance, Pace
from transport.session import AccessToken, Http

ROWS = 100_000
EACH_CUSTOMER = 6
"""Subscriptions of one customer, as in the demo."""
FAST = Model()
CAREFUL = Model(row=0.010, hint=52)
TIGHT = Model(requests=1200, seconds=240.0, window=60.0)
"""The real rates (20 requests and 4 seconds of execution a second) in a window a fifth as long."""


_FIRST = datetime(2026, 1, 1, 9, tzinfo=UTC)
DAYS = [
    (day.date(), day.date() + timedelta(days=365), day)
    for day in (_FIRST + timedelta(days=number) for number in range(365))
]
"""Purchase day, end of the term and moment of the purchase."""


def _customer_id(number: int) -> str:
    return f"{number:08x}-7b1c-4e2d-8a3f-0123456789ab"


def customer(number: int) -> Customer:
    """Return a customer as the list of customers has it."""
    return Customer(
        id=_customer_id(number),
        name=f"Contoso {number}",
        domain=f"contoso{number}.example",
    )


def subscription(number: int, *, quantity: int = 25) -> Subscription:
    """Return a subscription with the columns that most have."""
    start, end, created = DAYS[number % 365]
    return Subscription(
        id=f"{number:08x}-5d0a-4f6b-9c1e-0123456789ab",
        customer_id=_customer_id(number // EACH_CUSTOMER),
        product_id="CFQ7TTC0LCHC",
        sku_id="0002",
        name="Microsoft 365 Business Premium",
        kind=SubscriptionKind.LICENCE,
        status="active",
        quantity=quantity,
        created=created,
        start=start,
        term_end=end,
        term=TermDuration.YEAR,
        billing_cycle=BillingCycle.MONTHLY,
        auto_renew=True,
        partner_of_record="1234567",
        order_id=f"{number:012x}",
        publisher="Microsoft Corporation",
        product_type="OnlineServicesNCE",
    )


class _Token:
    def get_token(self, *_: str, refused: str = "") -> AccessToken:
        del refused
        return AccessToken("bench", int(time.time()) + 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measurement."""

    rows: int
    seconds: float
    cpu: float
    """Of the process, without what the records took to make."""
    memory: int
    """Peak, in bytes."""
    counts: dict[str, int]

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


# What is measured: each runs in a process of its own ----------------------------------------------


def save(url: str, rows: int, allowance: Allowance) -> Any:
    """Save so many subscriptions into an empty environment."""
    store = _rows(url, rows, allowance)
    return lambda: store.save_all(SUBSCRIPTION, map(subscription, range(rows)))


def second_day(url: str, rows: int, allowance: Allowance) -> Any:
    """Save them, and return the saving of a day on which one in a hundred changed."""
    store = _rows(url, rows, allowance)
    store.save_all(SUBSCRIPTION, map(subscription, range(rows)))
    return lambda: store.save_all(
        SUBSCRIPTION, (subscription(n, quantity=25 + (n % 100 == 0)) for n in range(rows))
    )


def _rows(url: str, rows: int, allowance: Allowance) -> Rows:
    """Return the writer of an environment that has the customers already, as after their sync."""
    http = Http(
        url,
        service="Dataverse",
        session=new_session(),
        tokens=_Token(),
        pace=Pace(allowance),
    )
    store = Rows(DataverseClient(http))
    store.save_all(CUSTOMER, map(customer, range(rows // EACH_CUSTOMER + 1)))
    return store


def sdk_one_by_one(url: str, rows: int, _: Allowance) -> Any:
    """Create with Microsoft's SDK, a request a row."""
    client, bodies = _sdk(url, rows)

    def work() -> None:
        for body in bodies:
            client.records.create("csp_subscription", body)

    return work


def sdk_bulk(url: str, rows: int, _: Allowance) -> Any:
    """Create with Microsoft's SDK, a thousand rows a request, as its documentation advises."""
    client, bodies = _sdk(url, rows)

    def work() -> None:
        for start in range(0, len(bodies), 1000):
            client.records.create("csp_subscription", bodies[start : start + 1000])

    return work


def _sdk(url: str, rows: int) -> tuple[Any, list[dict[str, Any]]]:
    from azure.core.credentials import AccessToken as Token
    from PowerPlatform.Dataverse.client import DataverseClient as Sdk
    from PowerPlatform.Dataverse.core.config import DataverseConfig

    class Credential:
        def get_token(self, *_: str, **__: Any) -> Token:
            return Token("bench", int(time.time()) + 3600)

    client = Sdk("https://127.0.0.1:1", Credential(), config=DataverseConfig(http_retries=1))
    client._base_url = url  # noqa: SLF001 - it insists on https; both clients are measured without
    bodies = [dict(to_row(SUBSCRIPTION, subscription(n)).columns) for n in range(rows)]
    client.records.create("csp_subscription", bodies[0])  # it learns the names once
    return client, bodies


def emulator(_: str, rows: int, __: Allowance) -> Any:
    """Save into the emulated environment on SQLite, in this process."""
    from app.settings import Settings
    from app.wiring import build

    folder = tempfile.mkdtemp()
    settings = Settings.from_env(
        {"CSP_STATE_DIR": str(Path(folder)), "CSP_SCENARIO": "empty", "CSP_MODE": "embedded"}
    )
    worker = build(settings)
    worker.provisioner().apply()
    store = Rows(worker.dataverse)
    store.save_all(CUSTOMER, map(customer, range(rows // EACH_CUSTOMER + 1)))
    return lambda: store.save_all(SUBSCRIPTION, map(subscription, range(rows)))


def _child(
    what: Callable[..., Any], url: str, rows: int, allowance: Allowance, out: Any, *, tight: bool
) -> None:
    work = what(url, rows, allowance)
    if url:
        time.sleep(TIGHT.window if tight else 0)  # what was prepared is past
        StandIn(url).counts()
    before, started = time.process_time(), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - started, time.process_time() - before
    if what in (save, second_day):
        before = time.process_time()
        for _ in map(subscription, range(rows)):
            pass
        cpu -= time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    counts = StandIn(url).counts() if url else {}
    out.send(Result(rows=rows, seconds=seconds, cpu=cpu, memory=memory, counts=counts))


def measure(
    what: Callable[..., Any], model: Model | None, rows: int, allowance: Allowance = GRANTED
) -> Result:
    """Run one measurement beside a fresh stand-in."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()

    def run(url: str) -> Result:
        process = context.Process(
            target=_child,
            args=(what, url, rows, allowance, theirs),
            kwargs={"tight": model is TIGHT},
        )
        process.start()
        theirs.close()
        try:
            result: Result = ours.recv()
        finally:
            process.join()
        return result

    if model is None:
        return run("")
    with standing_in(model) as other:
        return run(other.url)


# What the service would allow ---------------------------------------------------------------------


def on_paper(model: Model, rows: int, chunk: int = CHUNK) -> float:
    """Return the seconds that the requests for so many rows take without any pause of the client.

    As many at once as recommended; a request begins when a place is free and the windows allow it.
    """
    # In whole microseconds: what leaves the window at a moment must be out of it at that moment.
    window, seconds = round(model.window * 1e6), round(model.seconds * 1e6)
    places = [0] * min(model.hint, model.at_once)
    taken: list[tuple[int, int]] = []
    first = 0  # the first that may still be in the window
    spent = 0
    for start in range(0, rows, chunk):
        cost = round(model.cost(min(chunk, rows - start)) * 1e6)
        place = min(range(len(places)), key=places.__getitem__)
        begin = places[place]
        while True:
            while first < len(taken) and taken[first][0] <= begin - window:
                spent -= taken[first][1]
                first += 1
            if len(taken) - first < model.requests and spent + cost <= seconds:
                break
            begin = taken[first][0] + window
        taken.append((begin, cost))
        spent += cost
        places[place] = begin + cost
    return max(places) / 1e6


def report(rows: int) -> Iterator[str]:
    """Measure, and yield lines."""
    small = max(rows // 10, 1000)
    one = measure(save, FAST, small)
    yield f"{'':34}{'rows':>8}{'s':>8}{'rows/s':>8}{'on paper':>10}{'of it':>7}{'us/row':>8}{'MB':>6}{'429':>5}"

    def line(name: str, result: Result, paper: float = 0.0) -> str:
        limits = f"{paper:8.1f} s{paper / result.seconds:7.0%}" if paper else f"{'':17}"
        return (
            f"{name:34}{result.rows:8}{result.seconds:8.1f}{result.rate:8.0f}{limits}"
            f"{result.cpu / result.rows * 1e6:8.0f}{result.memory / 1e6:6.0f}"
            f"{result.counts.get('refused', 0):5}"
        )

    yield line("80 ms + 0.5 ms a row, 8 at once", one, on_paper(FAST, small))
    full = measure(save, FAST, rows)
    yield line("the same", full, on_paper(FAST, rows))
    careful = measure(save, CAREFUL, rows)
    yield line("80 ms + 10 ms a row, 52 at once", careful, on_paper(CAREFUL, rows))
    many = 3 * rows  # more than a window holds
    paper = on_paper(TIGHT, many)
    known = replace(GRANTED, requests=TIGHT.requests, seconds=TIGHT.seconds, window=TIGHT.window)
    yield line("limits reached, known to us", measure(save, TIGHT, many, known), paper)
    yield line("limits reached, told by 429", measure(save, TIGHT, many), paper)
    day = measure(second_day, FAST, rows)
    before, after = full.counts["requests"], day.counts["requests"]
    yield line("a day on which 1 % changed", day)
    yield (
        f"requests: {before} on the first day ({full.counts['writes']} writes), {after} on that day"
        f" ({day.counts['writes']} writes): {after / before:.2%}"
    )
    if importlib.util.find_spec("PowerPlatform"):
        single = measure(sdk_one_by_one, FAST, 200)
        yield line("Microsoft's SDK, create", single)
        bulk = measure(sdk_bulk, FAST, 20_000)
        yield line("Microsoft's SDK, create many", bulk)
        yield (
            f"ours is {full.rate / single.rate:.0f} times the SDK's create one by one,"
            f" {full.rate / bulk.rate:.1f} times its bulk"
        )
    else:
        yield "Microsoft's SDK is not installed (requirements-dev.txt): not compared"
    yield line("the emulator on SQLite", measure(emulator, None, small))


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    for line in report(parser.parse_args().rows):
        print(line, flush=True)


if __name__ == "__main__":
    main()
