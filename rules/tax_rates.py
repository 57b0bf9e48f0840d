"""The table of tax rates, effective-dated: `tax_rates.csv`, which a person can read and edit.

Each row is one tax of one place; several of a place add up (GST and QST). States of the USA stand
in `tax_rates_us.csv`: there the seller's registrations and the customer's city decide. A place that
is in no table has no rate: nothing is defaulted, and the caller holds the customer. Limit: standard
rates of cloud services only.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from itertools import product
from pathlib import Path

from domain.tax import TaxRate
from rules.tax_places import ISO_3166, fold

_FIELDS = ["country", "region", "from", "percent", "tax", "source", "note"]
_MORE = ["locality", "taxable", "regional", "local"]
"""Columns that a table may have besides, and that a row may leave out at its end."""


def _of_region(rows: Sequence[TaxRate], region: str) -> tuple[TaxRate, ...]:
    own = [row for row in rows if named(region, row.regions, row.country)]
    return tuple(own or (row for row in rows if not row.regions))


def named(name: str, names: Sequence[str], country: str = "") -> bool:
    """Tell whether a place is called so, in whatever case, with or without its country's code."""
    wanted = _plain(name, country)
    return bool(wanted) and wanted in {_plain(one, country) for one in names}


def _plain(name: str, country: str = "") -> str:
    name = name.strip().casefold()
    if country:
        return fold(name.removeprefix(f"{country.casefold()}-"))
    return fold(name.removeprefix("city of "))


@dataclass(frozen=True, slots=True)
class Taxes:
    """Every single tax of every place: what is shipped, and the partner's own rows before it."""

    rates: tuple[TaxRate, ...]
    own: tuple[TaxRate, ...] = ()
    """Those of them that the partner entered."""
    shipped: tuple[TaxRate, ...] = ()
    """Those of the product, with those that a row of the partner's takes the place of."""

    def of_place(self, country: str, region: str) -> tuple[TaxRate, ...]:
        """Return the rows of a region, or those of its whole country where it has none of its own."""
        return _of_region([rate for rate in self.rates if rate.country == country], region)

    def own_of(self, country: str, region: str, city: str) -> tuple[TaxRate, ...]:
        """Return the partner's rows that decide in a place."""
        return tuple(
            row
            for row in _of_region([one for one in self.own if one.country == country], region)
            if not row.localities or named(city, row.localities)
        )

    def doubt(self, row: TaxRate, on: date) -> str:
        """Return why a row of `own` is not meant beside the shipped ones; empty: it may be.

        A tax of another name would be charged on top of the shipped one of its place; a row that is
        older than the shipped one would say nothing on the day.
        """
        here = [one for one in self.shipped if _place(one) == _place(row) and one.percent]
        like = [one for one in here if one.tax.casefold() == row.tax.casefold()]
        if here and not like:
            names = " and ".join(dict.fromkeys(one.tax for one in here))
            return f"the tax of this place is called {names}, and {row.tax} would come on top of it"
        newer = [one for one in like if row.starts < one.starts <= on]
        last = max(newer, key=lambda one: one.starts, default=row)
        if (last.percent, last.taxed_part) == (row.percent, row.taxed_part):
            return ""
        return f"the table that ships has a newer one, of {last.percent} % from {last.starts} on"

    def has_region(self, country: str, region: str) -> bool:
        """Tell whether a region has rows of its own."""
        return any(rate.regions for rate in self.of_place(country, region))

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
            slot = (row.tax.casefold(), _city(row))
            before = latest.get(slot)
            if before is None or row.starts > before.starts:
                latest[slot] = row
    return tuple(latest.values())


def _city(row: TaxRate) -> str:
    return _plain(row.localities[0]) if row.localities else ""


# The partner's own rows -----------------------------------------------------------------------------


def with_own(own: Sequence[TaxRate]) -> Taxes:
    """Return the shipped table with the partner's rows before it.

    A row of ours goes before the shipped one of the same place, tax and day, and in place of any
    shipped row that decides nothing; what it leaves open (the taxed part, whether the tax is the
    region's own, local ones beside it) it takes from the shipped rows of that tax, or of its region.
    """
    return _with_own(tuple(own))


@lru_cache(maxsize=64)
def _with_own(own: tuple[TaxRate, ...]) -> Taxes:
    rows = _named_alike((*shipped_taxes(), *own))
    shipped, entered = rows[: len(rows) - len(own)], rows[len(rows) - len(own) :]
    alike: dict[_Place, list[TaxRate]] = {}
    for row in shipped:
        alike.setdefault(_place(row), []).append(row)
    ours = tuple(_filled(row, alike) for row in entered)
    slots = {_slot(row) for row in ours}
    places = {_place(row) for row in ours}

    def stands(row: TaxRate) -> bool:
        return _slot(row) not in slots and not (_place(row) in places and row.percent is None)

    return Taxes(
        rates=(*ours, *(row for row in shipped if stands(row))), own=ours, shipped=tuple(shipped)
    )


_Place = tuple[str, str, str]


def _place(row: TaxRate) -> _Place:
    """Return one value for all rows of a place, once they are named alike."""
    region = _plain(row.regions[0], row.country) if row.regions else ""
    return row.country, region, _city(row)


def _slot(row: TaxRate) -> tuple[_Place, str, date]:
    return _place(row), row.tax.casefold(), row.starts


def _filled(row: TaxRate, shipped: dict[_Place, list[TaxRate]]) -> TaxRate:
    here = shipped.get(_place(row), [])
    like = [one for one in here if one.tax.casefold() == row.tax.casefold()]
    around = like or here or shipped.get((*_place(row)[:2], ""), [])
    newest = max(around, key=lambda one: one.starts, default=None)
    taxed = row.taxable_percent
    if taxed is None and newest is not None:
        taxed = newest.taxable_percent
    return replace(
        row,
        taxable_percent=taxed,
        regional=row.country == "US" or row.regional or any(one.regional for one in like),
        local_taxes=row.local_taxes or any(one.local_taxes for one in like),
    )


def _named_alike(rows: Sequence[TaxRate]) -> list[TaxRate]:
    """Give every row all names of its place: rows that share one name are about one place."""
    regions: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row.regions:
            _join(regions.setdefault(row.country, {}), row.regions, row.country)
    rows = [
        replace(row, region=_all_names(regions[row.country], row.regions, row.country))
        if row.regions
        else row
        for row in rows
    ]
    cities: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in rows:
        if row.localities:
            _join(cities.setdefault(_place(row)[:2], {}), row.localities)
    return [
        replace(row, locality=_all_names(cities[_place(row)[:2]], row.localities))
        if row.localities
        else row
        for row in rows
    ]


def _join(groups: dict[str, list[str]], names: Sequence[str], country: str = "") -> None:
    met = [groups[key] for name in names if (key := _plain(name, country)) in groups]
    group = {_plain(name, country): name for name in (*(n for one in met for n in one), *names)}
    if met and len(group) == len(met[0]):
        return
    joined = list(group.values())
    for key in group:
        groups[key] = joined


def _all_names(groups: dict[str, list[str]], names: Sequence[str], country: str = "") -> str:
    return "|".join(groups[_plain(names[0], country)])


def rate_fault(row: TaxRate) -> str:
    """Return why a row of the partner's cannot be meant, as the end of a sentence; empty: it can."""
    if row.country not in ISO_3166:
        return f"{row.country or 'an empty text'} is not the code of a country"
    if not row.tax.strip():
        return "it does not name the tax"
    if row.starts == date.min:
        return "it does not say from which day on it counts"
    if row.percent is not None and not 0 <= row.percent <= 100:
        return f"{row.percent:f} is not a percentage"
    if row.taxable_percent is not None and not 0 <= row.taxable_percent <= 100:
        return f"the taxed part of {row.taxable_percent:f} % is not a part"
    if row.localities and not row.regions and row.country == "US":
        return "a city of the USA needs its state"
    if not row.regions and _by_region(row.country):
        return f"the taxes of {row.country} are those of its regions, and it names none"
    return ""


def repeated(rows: Sequence[TaxRate]) -> TaxRate | None:
    """Return a row of `Taxes.own` that says anew what another says of its place, tax and day."""
    seen = set()
    for row in rows:
        if _slot(row) in seen:
            return row
        seen.add(_slot(row))
    return None


@cache
def _by_region(country: str) -> bool:
    own = [row for row in shipped_taxes() if row.country == country]
    return bool(own) and all(row.regions for row in own)


# The files ----------------------------------------------------------------------------------------


def read_taxes(lines: Iterable[str]) -> tuple[TaxRate, ...]:
    """Read the rows of a table; ValueError names the line that is not one, or that repeats another."""
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
    if not 0 <= (percent or 0) <= 100 or not 0 <= rate.taxed_part <= 100:
        msg = f"{percent} is not a percentage"
        raise ValueError(msg)
    return rate


def _yes(text: str | None) -> bool:
    if text not in {None, "", "yes"}:
        msg = f"{text} is neither yes nor empty"
        raise ValueError(msg)
    return text == "yes"


def _lines_of(name: str) -> list[str]:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()


@cache
def shipped_taxes() -> tuple[TaxRate, ...]:
    """Return the rows that ship with the product, read once."""
    return (*read_taxes(_lines_of("tax_rates.csv")), *read_taxes(_lines_of("tax_rates_us.csv")))
