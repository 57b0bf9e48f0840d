"""The table of tax rates, effective-dated: `tax_rates.csv`, which a person can read and edit.

Each row is one tax of one place; several of a place add up (GST and QST). States of the USA stand
in `tax_rates_us.csv`: there the seller's registrations and the customer's city decide. A place that
is in no table has no rate: nothing is defaulted, and the caller holds the customer. Limit: standard
rates of cloud services only.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from itertools import product
from pathlib import Path

from domain.tax import TaxRate
from rules.tax_places import ISO_3166

_FIELDS = ["country", "region", "from", "percent", "tax", "source", "note"]
_MORE = ["locality", "taxable", "regional", "local"]
"""Columns that a table may have besides, and that a row may leave out at its end."""


@dataclass(frozen=True, slots=True)
class RateTable:
    """The rates of all places, the taxes of one place put together."""

    rates: tuple[TaxRate, ...]

    def find(self, country: str, region: str, on: date) -> TaxRate | None:
        """Return the rate of a place on a day; None where the table says nothing."""
        begun = [rate for rate in self.of_place(country, region) if rate.starts <= on]
        return max(begun, key=lambda rate: rate.starts, default=None)

    def of_place(self, country: str, region: str) -> tuple[TaxRate, ...]:
        """Return the rows of a region, or those of its whole country where it has none of its own."""
        return _of_region([rate for rate in self.rates if rate.country == country], region)

    def has(self, country: str) -> bool:
        """Tell whether the table knows anything of a country."""
        return any(rate.country == country for rate in self.rates)


def _of_region(rows: Sequence[TaxRate], region: str) -> tuple[TaxRate, ...]:
    own = [row for row in rows if named(region, row.regions, row.country)]
    return tuple(own or (row for row in rows if not row.regions))


def named(name: str, names: Sequence[str], country: str = "") -> bool:
    """Tell whether a place is called so, in whatever case, with or without its country's code."""
    wanted = name.strip().casefold().removeprefix(f"{country.casefold()}-")
    return bool(wanted) and wanted in {one.casefold() for one in names}


@dataclass(frozen=True, slots=True)
class Taxes:
    """Every single tax of every place: what is shipped, and the partner's own rows before it."""

    rates: tuple[TaxRate, ...]

    def of_place(self, country: str, region: str) -> tuple[TaxRate, ...]:
        """Return the rows of a region, or those of its whole country where it has none of its own."""
        return _of_region([rate for rate in self.rates if rate.country == country], region)

    def has(self, country: str) -> bool:
        """Tell whether anything is known of a country."""
        return any(rate.country == country for rate in self.rates)

    def named(self, country: str) -> str:
        """Return what a country's tax is called."""
        return next((rate.tax for rate in self.rates if rate.country == country), "tax")


def in_force(rows: Iterable[TaxRate], on: date) -> tuple[TaxRate, ...]:
    """Return of each tax and locality the row that counts on a day, in the order of the table."""
    latest: dict[tuple[str, str], TaxRate] = {}
    for row in rows:
        if row.starts <= on:
            slot = (row.tax.casefold(), row.locality.casefold())
            before = latest.get(slot)
            if before is None or row.starts > before.starts:
                latest[slot] = row
    return tuple(latest.values())


def with_own(own: Sequence[TaxRate]) -> Taxes:
    """Return the shipped table with the partner's rows before it.

    A row of ours goes before the shipped one of the same place, tax and day, and in place of any
    shipped row that decides nothing; what a tax is (the region's own, local ones beside it) it
    takes from the shipped rows of that tax.
    """
    shipped = _shipped_taxes()
    ours: list[TaxRate] = []
    for row in own:
        like = [
            r for r in shipped if _same_place(r, row) and r.tax.casefold() == row.tax.casefold()
        ]
        ours.append(
            replace(
                row,
                region=_all_names(row, shipped),
                regional=row.country == "US" or row.regional or any(r.regional for r in like),
                local_taxes=row.local_taxes or any(r.local_taxes for r in like),
            )
        )

    def stands(row: TaxRate) -> bool:
        here = [one for one in ours if _same_place(one, row)]
        taken = any(_slot(one) == _slot(row) for one in here)
        return not taken and not (here and row.percent is None)

    return Taxes((*ours, *(row for row in shipped if stands(row))))


def _all_names(row: TaxRate, shipped: Sequence[TaxRate]) -> str:
    """Return the names of a row's region with those that the shipped table has for it, first."""
    known = (one for one in shipped if any(named(n, one.regions, row.country) for n in row.regions))
    same = next((one for one in known if one.country == row.country), None)
    return f"{same.region}|{row.region}" if same else row.region


def _slot(row: TaxRate) -> tuple[str, date]:
    return row.tax.casefold(), row.starts


def _same_place(one: TaxRate, other: TaxRate) -> bool:
    def alike(mine: Sequence[str], theirs: Sequence[str]) -> bool:
        if not mine or not theirs:
            return not mine and not theirs
        return any(named(name, theirs, one.country) for name in mine)

    return (
        one.country == other.country
        and alike(one.regions, other.regions)
        and alike(one.localities, other.localities)
    )


def rate_fault(row: TaxRate) -> str:
    """Return why a row of the partner's cannot be meant, as the end of a sentence; empty: it can."""
    if row.country not in ISO_3166:
        return f"{row.country or 'an empty text'} is not the code of a country"
    if not row.tax.strip():
        return "it does not name the tax"
    if row.percent is not None and not 0 <= row.percent <= 100:
        return f"{row.percent:f} is not a percentage"
    if not 0 <= row.taxable_percent <= 100:
        return f"the taxed part of {row.taxable_percent:f} % is not a part"
    if row.localities and not row.regions and row.country == "US":
        return "a city of the USA needs its state"
    return ""


def repeated(rows: Sequence[TaxRate]) -> TaxRate | None:
    """Return a row that says anew what another says of the same place, tax and day."""
    for n, row in enumerate(rows):
        if any(_same_place(row, other) and _slot(row) == _slot(other) for other in rows[:n]):
            return row
    return None


# The files ----------------------------------------------------------------------------------------


def read_rates(lines: Iterable[str]) -> RateTable:
    """Read a table of rates; ValueError names the line that is not one, or that repeats another."""
    return RateTable(tuple(_put_together(read_taxes(lines))))


def read_taxes(lines: Iterable[str]) -> tuple[TaxRate, ...]:
    """Read the rows of a table one by one; ValueError as `read_rates`."""
    written = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()]
    rows = [(n, line) for n, line in written if not line.startswith("#")]
    reader = csv.DictReader(line for _, line in rows)
    fields = list(reader.fieldnames or ())
    if fields[: len(_FIELDS)] != _FIELDS or fields[len(_FIELDS) :] != _MORE[: len(fields) - 7]:
        msg = f"the columns of a table of tax rates are {','.join(_FIELDS)}"
        raise ValueError(msg)
    seen: dict[tuple[str, str, str, str, date], TaxRate] = {}
    for (number, _), row in zip(rows[1:], reader, strict=True):
        try:
            rate = _to_rate(row)
        except (ValueError, InvalidOperation):
            msg = f"line {number} of the table of tax rates is not a rate"
            raise ValueError(msg) from None
        for region, locality in product(rate.regions or ("",), rate.localities or ("",)):
            places = (rate.country, region.casefold(), locality.casefold())
            key = (*places, rate.tax.casefold(), rate.starts)
            if key in seen:
                msg = f"line {number} of the table of tax rates repeats a place and day"
                raise ValueError(msg)
            seen[key] = rate
    return tuple(dict.fromkeys(seen.values()))


def _to_rate(row: dict[str, str]) -> TaxRate:
    # The reader fills a short row and puts what is too much under None, both in silence.
    if None in row or any(row[name] is None for name in _FIELDS):
        msg = "too few or too many columns"
        raise ValueError(msg)
    percent = Decimal(row["percent"]) if row["percent"] else None
    rate = TaxRate(
        country=row["country"],
        region=row["region"],
        locality=row.get("locality") or "",
        tax=row["tax"],
        starts=date.fromisoformat(row["from"]),
        percent=percent,
        taxable_percent=Decimal(row.get("taxable") or 100),
        regional=_yes(row.get("regional")),
        local_taxes=_yes(row.get("local")),
        source=row["source"],
        note=row["note"],
    )
    if not 0 <= (percent or 0) <= 100 or not 0 <= rate.taxable_percent <= 100:
        msg = f"{percent} is not a percentage"
        raise ValueError(msg)
    return rate


def _yes(text: str | None) -> bool:
    if text not in {None, "", "yes"}:
        msg = f"{text} is neither yes nor empty"
        raise ValueError(msg)
    return text == "yes"


def _put_together(rows: Sequence[TaxRate]) -> Iterator[TaxRate]:
    """Yield for each place and each day on which one of its taxes changes the sum of its taxes."""
    places: dict[tuple[str, str], list[TaxRate]] = {}
    for row in rows:
        places.setdefault((row.country, row.region.casefold()), []).append(row)
    for of_place in places.values():
        if len({row.tax.casefold() for row in of_place}) == 1:
            yield from of_place
            continue
        for day in sorted({row.starts for row in of_place}):
            taxes = in_force(of_place, day)
            shares = [
                None if tax.percent is None else tax.percent * tax.taxable_percent / 100
                for tax in taxes
            ]
            known = [share for share in shares if share is not None]
            newest = max(taxes, key=lambda tax: tax.starts)
            yield replace(
                newest,
                starts=day,
                tax=" and ".join(tax.tax for tax in taxes),
                percent=sum(known, Decimal(0)) if len(known) == len(shares) else None,
                taxable_percent=Decimal(100),
                note=" ".join(tax.note for tax in taxes if tax.note),
            )


def _lines_of(name: str) -> list[str]:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()


@cache
def shipped_rates() -> RateTable:
    """Return the table that ships with the product, read once; of the USA where nothing is due."""
    return read_rates(_lines_of("tax_rates.csv"))


@cache
def _shipped_taxes() -> tuple[TaxRate, ...]:
    return (*read_taxes(_lines_of("tax_rates.csv")), *read_taxes(_lines_of("tax_rates_us.csv")))
