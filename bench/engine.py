"""How fast the engine is: charges a second and memory, beside a plain loop over the same rows.

    python -m bench.engine                      # 10 000, 100 000 and 1 000 000 subscription-months
    python -m bench.engine --months 1000000 --years 3 --processes 1

The floor multiplies and rounds each row with Decimal (quantity x price x days / cycle days, half up)
in one process and does nothing else: no history, no price lookup, no key, no reason, no sentence.
The engine rates each subscription from its purchase on for a year or more, as billing does (in each
year one in four changes its seats twice, one in eight converts), and makes whole charges with their
keys, sentences and reasons; a price list is asked once for each product.
Both see the same rows in one run and are measured by the time that their processes ran (of the
engine's, the longest), so the ratio does not depend on the machine and on what else it does. Ratios
are printed, and nothing fails on a time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from domain.charge import Charge
from domain.contract import PriceListItem
from domain.period import BillingCycle, Period, TermDuration, add_months
from domain.subscription import EventType, SubscriptionEvent
from rules.cycles import Method
from rules.lines import UnitPrice
from rules.pricing import PriceBook, Priced
from rules.proration import PriceFor, PriceQuestion, rate_history

FIRST = date(2026, 1, 1)
ALWAYS = Period(date(2020, 1, 1), date(2040, 1, 1))
PRODUCTS = 200
CHUNK = 10
"""Subscriptions that are rated together: those of one customer, which is what one message brings."""
Row = tuple[Decimal, Decimal, int, int]


def price_book() -> PriceBook:
    """Return a price list of a few hundred products."""
    items = [
        PriceListItem(
            key=f"price/{n}",
            customer_id="",
            sku=f"P{n}:0001",
            term=TermDuration.YEAR,
            billing_cycle=BillingCycle.MONTHLY,
            currency="USD",
            unit_price=Decimal(400 + 37 * n) / 100,
            valid=ALWAYS,
        )
        for n in range(PRODUCTS)
    ]
    return PriceBook(items, ())


def history(n: int, years: int) -> list[SubscriptionEvent]:
    """Return what happened to the n-th subscription in its years."""
    start = FIRST + timedelta(days=7 * n % 365)
    bought = _event(n, start, EventType.PURCHASE, 1 + n % 40, f"P{n % PRODUCTS}:0001")
    events = [bought]
    for year in range(years):
        days = [start + timedelta(days=365 * year + 28 * k + n % 28) for k in (2, 5, 7)]
        if n % 4 == 0:
            more = 45 + 10 * year
            events.append(_event(n, days[0], EventType.SET_QUANTITY, more + n % 7))
            events.append(_event(n, days[2], EventType.SET_QUANTITY, more + 5 + n % 9))
        if n % 8 == 1:
            other = f"P{(n + year + 1) % PRODUCTS}:0001"
            events.append(_event(n, days[1], EventType.CONVERT, None, other))
    return events


def _event(
    n: int, on: date, kind: EventType, quantity: int | None, sku: str = ""
) -> SubscriptionEvent:
    first = kind is EventType.PURCHASE
    return SubscriptionEvent(
        subscription_id=f"s{n}",
        customer_id=f"c{n // 10}",
        effective=on,
        type=kind,
        quantity=quantity,
        sku=sku,
        term=TermDuration.YEAR if first else None,
        billing_cycle=BillingCycle.MONTHLY if first else None,
    )


def prices(book: PriceBook) -> PriceFor:
    """Answer price questions from a book; what it said of a product holds, and is asked for once."""
    known: dict[tuple[str, TermDuration | None, BillingCycle], UnitPrice] = {}

    def price_for(question: PriceQuestion) -> UnitPrice:
        offer = (question.sku, question.term, question.billing_cycle)
        if offer not in known:
            answer = book.price(
                Priced(
                    customer_id=question.customer_id,
                    record=question.subscription_id,
                    kind="licence",
                    sku=question.sku,
                    on=question.term_start,
                    currency="USD",
                    term=question.term,
                    billing_cycle=question.billing_cycle,
                )
            )
            if not isinstance(answer, UnitPrice):
                raise TypeError(answer.sentence)
            known[offer] = answer
        return known[offer]

    return price_for


def rate(events: list[SubscriptionEvent], price_for: PriceFor, years: int) -> list[Charge]:
    """Rate one subscription's years, as billing does."""
    start = events[0].effective
    charges, findings = rate_history(
        events,
        price_for=price_for,
        window=Period(start, add_months(start, 12 * years)),
        method=Method(currency="USD"),
        name="Seats",
    )
    if findings:
        raise TypeError(findings[0].sentence)
    return charges


def floor(rows: Iterable[Row]) -> Decimal:
    """Multiply and round, and nothing else."""
    cent, total = Decimal("0.01"), Decimal(0)
    for quantity, price, days, cycle_days in rows:
        total += (quantity * price * days / cycle_days).quantize(cent, ROUND_HALF_UP)
    return total


@dataclass(frozen=True)
class Part:
    """What one process did."""

    charges: int
    engine: float
    floor: float
    total: Decimal
    peak: int


def work(span: tuple[int, int, int, bool]) -> Part:
    """Rate subscriptions chunk by chunk; what a chunk made is let go, as a queue function does."""
    first, end, years, with_floor = span
    price_for = prices(price_book())
    charges, engine, plain = 0, 0.0, 0.0
    engine_total, floor_total = Decimal(0), Decimal(0)
    for begin in range(first, end, CHUNK):
        histories = [history(n, years) for n in range(begin, min(begin + CHUNK, end))]
        started = time.process_time()
        made = [charge for events in histories for charge in rate(events, price_for, years)]
        engine_total += sum((charge.amount.amount for charge in made), Decimal(0))
        engine += time.process_time() - started
        charges += len(made)
        if with_floor:
            rows = list(_rows(made))
            started = time.process_time()
            floor_total += floor(rows)
            plain += time.process_time() - started
    if with_floor and floor_total != engine_total:
        raise ArithmeticError(f"the engine says {engine_total}, the plain loop {floor_total}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Part(charges, engine, plain, engine_total, peak)


def _rows(charges: Iterable[Charge]) -> Iterator[Row]:
    for charge in charges:
        yield charge.quantity, charge.unit_price, charge.service.days, charge.full.days


def measure(months: int, years: int, processes: int) -> None:
    """Print one line: the floor on one core, then the engine on all that were asked for."""
    subscriptions = months // (12 * years)
    sample = min(subscriptions, 20_000 // years)
    one = work((0, sample, years, True))
    step = -(-subscriptions // processes)
    spans = [
        (low, min(low + step, subscriptions), years, False) for low in range(0, subscriptions, step)
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(work, [(0, 12, 1, False)] * processes)  # imports are not the engine
        started = time.perf_counter()
        parts = pool.map(work, spans, chunksize=1)
        wall = time.perf_counter() - started
    # Making the invented histories is not the engine's: what each process rated is.
    busy = max(part.engine for part in parts)
    charges = sum(part.charges for part in parts)
    floor_each, engine_each = one.floor / one.charges, busy / charges
    print(
        f"{months:>10,}  {years:>5}  {charges:>10,}  {floor_each * 1e6:>8.2f}  {engine_each * 1e6:>9.2f}"
        f"  {charges / busy:>11,.0f}  {engine_each / floor_each:>6.2f}"
        f"  {one.engine / one.floor:>10.2f}  {max(p.peak for p in parts) / 1024:>8.0f}"
        f"  {wall:>7.1f}",
        flush=True,
    )


def main() -> int:
    """Measure the sizes that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--months", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--years", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print(
        "    months  years     charges  floor us  engine us  charges / s   ratio  on 1 core   MB each"
        "   wall s"
    )
    for years in options.years:
        for months in options.months:
            measure(months, years, options.processes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
