"""Microsoft's price sheets of the day: read, archived, counted; changes of what is sold are told.

A sheet is kept as it came (`raw/DAY/prices/...`). What is sold is what Microsoft's latest invoices
name. Of it the last known price is remembered with the day of its change, so that a change is told
for as long as somebody may still have to act on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from domain.contract import SheetPrice
from domain.problems import Finding, NotFound, Severity
from domain.subscription import CostInvoice
from sync.findings import replace_everywhere, sift
from sync.ledger import Outcome
from sync.messages import PullUnit, StartRun
from sync.ports import Ports
from sync.renewals import EXTENDED_SHEET, SHEETS

CHECK = "price.changed"
TOLD_DAYS = 30
"""How long a change is told."""
SOLD_DAYS = 62
"""What invoices of so many days name is taken to be sold."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The last price of one row, what it was before, and since when it is so."""

    price: str
    before: str = ""
    since: str = ""


def plan(ports: Ports, message: StartRun) -> list[PullUnit]:
    """List a unit for each market in which customers are sold to."""
    day = message.day or ports.now().date()
    markets = {customer.market for customer in ports.store.customers()}
    return [
        PullUnit(run_key=message.run_key, part="prices", scope=market, day=day)
        for market in sorted(markets)
        if market.isascii() and market.isalpha()
    ]


def work(ports: Ports, unit: PullUnit) -> Outcome:
    """Read the sheets of one market. A sheet that Microsoft does not have for it is left out."""
    rows: list[SheetPrice] = []
    sheets = unreadable = 0
    for view in (*SHEETS, EXTENDED_SHEET):
        try:
            read, bad = sift(ports.partner_center.sheet_prices(unit.scope, view))
        except NotFound:
            continue
        sheets += 1
        rows.extend(read)
        unreadable += len(bad)
    changed = _changes(ports, unit, [row for row in rows if unit.day in row.valid])
    return Outcome(
        counts={
            "sheets": sheets,
            "prices": len(rows),
            "prices_unreadable": unreadable,
            "prices_changed": len(changed),
        }
    )


def _changes(ports: Ports, unit: PullUnit, rows: Iterable[SheetPrice]) -> list[Finding]:
    """Compare with what was known, remember what is, and tell what changed lately."""
    name = f"prices/{unit.scope}/sold.json"
    known = {
        key: _Known(**one) for key, one in json.loads(ports.archive.read(name) or b"{}").items()
    }
    sold = _sold(ports, unit.day)
    titles: dict[str, SheetPrice] = {}
    now: dict[str, _Known] = {}
    for row in rows:
        if row.sku not in sold:
            continue
        key = _key(row)
        titles[key] = row
        now[key] = _with(known.get(key), row.unit_price, unit.day)
    # A sheet that was not there today says nothing of its prices: they stay as they were known.
    kept = {**known, **now}
    ports.archive.put(name, json.dumps(kept, default=_as_data, sort_keys=True).encode())
    since = str(unit.day - timedelta(days=TOLD_DAYS))
    found = [
        _changed(unit.scope, titles[key], one)
        for key, one in sorted(now.items())
        if one.before and one.since > since
    ]
    record = _record(unit.scope)
    replace_everywhere(ports.store, (CHECK,), found, record=record)
    return found


def _as_data(known: _Known) -> Mapping[str, str]:
    return {"price": known.price, "before": known.before, "since": known.since}


def _with(known: _Known | None, price: Decimal, day: date) -> _Known:
    if known is None:
        return _Known(f"{price:f}")
    if Decimal(known.price) == price:
        return known
    return _Known(f"{price:f}", known.price, str(day))


def _sold(ports: Ports, day: date) -> set[str]:
    """Return the products that Microsoft's latest invoices name."""
    since = day - timedelta(days=SOLD_DAYS)
    recent = [
        head.id
        for head in ports.partner_center.invoices()
        if isinstance(head, CostInvoice) and head.issued_on >= since
    ]
    return {line.sku for line in ports.store.cost_lines(recent)} if recent else set()


def _key(row: SheetPrice) -> str:
    term = row.term.value if row.term else ""
    return f"{row.sku}|{term}|{row.billing_plan}|{row.segment}|{row.currency}"


def _record(market: str) -> str:
    return f"price sheet {market}: "


def _changed(market: str, row: SheetPrice, known: _Known) -> Finding:
    term = row.term.value if row.term else "no term"
    return Finding(
        check=CHECK,
        severity=Severity.WARN,
        customer_id="",
        record=_record(market) + _key(row),
        sentence=(
            f"Microsoft's price of {row.title or row.sku} ({term}, {row.billing_plan}, "
            f"{row.segment or 'every segment'}) in {market} is {known.price} {row.currency} "
            f"since {known.since}; it was {known.before}."
        ),
        hint="look whether agreed prices and markup rules still hold before the next renewal",
    )
