"""The table of tax rates, effective-dated: `tax_rates.csv`, which a person can read and edit.

A place that is not in the table has no rate: nothing is defaulted, and the caller holds the
customer. Limits: standard rates of cloud services only; a place that puts taxes together (GST and
PST) has one row with their sum.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path

from domain.tax import TaxRate

_FIELDS = ["country", "region", "from", "percent", "tax", "source", "note"]


@dataclass(frozen=True, slots=True)
class RateTable:
    """The rates of all places."""

    rates: tuple[TaxRate, ...]

    def find(self, country: str, region: str, on: date) -> TaxRate | None:
        """Return the rate of a place on a day; None where the table says nothing."""
        begun = [rate for rate in self.of_place(country, region) if rate.starts <= on]
        return max(begun, key=lambda rate: rate.starts, default=None)

    def of_place(self, country: str, region: str) -> tuple[TaxRate, ...]:
        """Return the rows of a region, or those of its whole country where it has none of its own."""
        wanted = region.strip().casefold().removeprefix(f"{country.casefold()}-")
        rows = [rate for rate in self.rates if rate.country == country]
        own = [r for r in rows if wanted and wanted in {name.casefold() for name in r.regions}]
        return tuple(own or (rate for rate in rows if not rate.regions))

    def has(self, country: str) -> bool:
        """Tell whether the table knows anything of a country."""
        return any(rate.country == country for rate in self.rates)


def read_rates(lines: Iterable[str]) -> RateTable:
    """Read a table of rates; ValueError names the line that is not one, or that repeats another."""
    written = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()]
    rows = [(n, line) for n, line in written if not line.startswith("#")]
    reader = csv.DictReader(line for _, line in rows)
    if reader.fieldnames != _FIELDS:
        msg = f"the columns of a table of tax rates are {','.join(_FIELDS)}"
        raise ValueError(msg)
    rates: dict[tuple[str, str, date], TaxRate] = {}
    for (number, _), row in zip(rows[1:], reader, strict=True):
        try:
            rate = _to_rate(row)
        except (ValueError, InvalidOperation):
            msg = f"line {number} of the table of tax rates is not a rate"
            raise ValueError(msg) from None
        for region in rate.regions or ("",):
            key = (rate.country, region.casefold(), rate.starts)
            if key in rates:
                msg = f"line {number} of the table of tax rates repeats a place and day"
                raise ValueError(msg)
            rates[key] = rate
    return RateTable(tuple(dict.fromkeys(rates.values())))


def _to_rate(row: dict[str, str]) -> TaxRate:
    # The reader fills a short row and puts what is too much under None, both in silence.
    if None in row or None in row.values():
        msg = "too few or too many columns"
        raise ValueError(msg)
    percent = Decimal(row["percent"]) if row["percent"] else None
    if percent is not None and not 0 <= percent <= 100:
        msg = f"{percent} is not a percentage"
        raise ValueError(msg)
    return TaxRate(
        country=row["country"],
        region=row["region"],
        starts=date.fromisoformat(row["from"]),
        percent=percent,
        tax=row["tax"],
        source=row["source"],
        note=row["note"],
    )


@cache
def shipped_rates() -> RateTable:
    """Return the table that ships with the product, read once."""
    text = Path(__file__).with_name("tax_rates.csv").read_text(encoding="utf-8")
    return read_rates(text.splitlines())
