"""The other side of `bench.scaleout`: a partner of any size behind hosts that take their time.

    python -m bench.scaleout_world CUSTOMERS MILLISECONDS

A process of its own: it serves the emulated systems; its addresses go to stdout. SIGUSR1 makes it
slow, and quick again: then it waits so long before it answers each request, as a network and a
service would.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from emulator import Emulator, scenarios, serve
from emulator.authoring import Author, Content, Place, at

SCENARIO = "many"
REDMOND = Place(
    country="US", region="WA", city="Redmond", postal_code="98052", street="1 Sample Way"
)
SEATS = ("business-standard", "business-premium", "e3", "power-bi-pro", "exchange-1", "visio-2")
"""Six subscriptions of each customer, as in the demo."""
WITH_AZURE = 3
"""Every third customer has an Azure plan."""


def many(customers: int) -> Callable[[int], Content]:
    """Return the scenario of so many customers, none of them in any way special."""

    def content(seed: int) -> Content:
        author = Author(seed)
        for number in range(customers):
            name = f"Customer {number:05d}"
            customer = author.customer(name, REDMOND, ("Ana", "Lopez"))
            for place, product in enumerate(SEATS):
                seats = customer.seats(
                    product, product, 5 + number % 40, at(f"2026-0{1 + place}-{1 + number % 28:02}")
                )
                if not place and not number % 4:
                    seats(at("2026-10-12"), quantity=60)
            if not number % WITH_AZURE:
                customer.azure(at("2026-08-01"), ("production",), deployments=3)
            author.relationship(
                f"{name} managed services",
                customer.tenant,
                created="2026-01-05",
                activated="2026-01-06",
            )
        return author.content

    return content


def slow(app: Any, seconds: float, is_slow: threading.Event) -> Any:
    """Return an app that answers after a while, while it is slow."""

    def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if is_slow.is_set():
            time.sleep(seconds)
        answered: Iterable[bytes] = app(environ, start)
        return answered

    return answer


def main(customers: int, milliseconds: float) -> None:
    """Serve until a signal ends it."""
    scenarios.SCENARIOS[SCENARIO] = many(customers)
    emulator = Emulator(scenario=SCENARIO)
    is_slow = threading.Event()

    def change(*_: object) -> None:
        if is_slow.is_set():
            is_slow.clear()
        else:
            is_slow.set()

    for name in emulator.apps.keys() - {"control"}:
        emulator.apps[name] = slow(emulator.apps[name], milliseconds / 1000, is_slow)
    with serve(emulator) as served:
        signal.signal(signal.SIGUSR1, change)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print(json.dumps(emulator.base_urls), flush=True)
        served.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
