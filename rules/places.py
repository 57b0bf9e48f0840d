"""Where an address is, in codes: country, region, and the area whose tax it has.

An address is free text in three systems, and the tax hangs on what it means. What the texts mean an
`Atlas` knows; the places whose tax is not that of the country they name stand in `tax_areas.csv`.
The postal code is a witness: it tells such a place, and it may contradict the region.

Limits: cities are not looked up, so an area is recognised by a city only where that name is alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from domain.customer import Address
from domain.tax import TaxRate, vat_country
from rules.tax_places import fold
from rules.tax_rates import shipped_taxes

LINE1, CITY, POSTAL_CODE = "line1", "city", "postal_code"


class Atlas(Protocol):
    """What the texts of addresses mean; knowledge of the rim, passed in."""

    def country(self, text: str) -> str:
        """Return the ISO 3166 code that a code or a name in any language means; empty: none, or two."""
        ...

    def region(self, country: str, text: str) -> str:
        """Return the code of a state or province by its code or name; empty: not known."""
        ...

    def regions_of(self, country: str, postal_code: str) -> frozenset[str]:
        """Return the regions that a postal code may lie in; empty: it does not tell."""
        ...

    def asked(self, country: str) -> frozenset[str]:
        """Return which of line1, city and postal_code an address of the country needs."""
        ...

    def fits(self, country: str, postal_code: str) -> bool:
        """Tell whether a postal code has the form of the country's; True where none is known."""
        ...

    def is_currency(self, code: str) -> bool:
        """Tell whether this is the ISO 4217 code of a currency in use."""
        ...


class Codes:
    """The atlas that knows codes by their form alone: no names, no postal codes."""

    def country(self, text: str) -> str:
        """Return a code of two capital letters as it is."""
        return text if _is_letters(text, 2) else ""

    def region(self, _country: str, text: str) -> str:
        """Return a code of at most three capital letters or digits as it is."""
        return text if len(text) <= 3 and text.isalnum() and text == text.upper() else ""

    def regions_of(self, _country: str, _postal_code: str) -> frozenset[str]:
        """Tell nothing."""
        return frozenset()

    def asked(self, _country: str) -> frozenset[str]:
        """Ask for what addresses have nearly everywhere."""
        return frozenset({LINE1, CITY})

    def fits(self, _country: str, _postal_code: str) -> bool:
        """Doubt no form."""
        return True

    def is_currency(self, code: str) -> bool:
        """Take three capital letters for a currency."""
        return _is_letters(code, 3)


def _is_letters(text: str, count: int) -> bool:
    return len(text) == count and text.isascii() and text.isalpha() and text.isupper()


CODES = Codes()


def bare(postal_code: str, country: str) -> str:
    """Return a postal code without blanks, dashes, its country's letters and the French CEDEX."""
    code = re.sub(r"(?<=\d)\s+CEDEX\b.*", "", postal_code.strip().upper())
    own = re.match(
        rf"(?:{re.escape(country)}|[A-Z]{{1,3}})[-\s]\s*(?=\d)|{re.escape(country)}(?=\d)", code
    )
    return _compact(code[own.end() :] if own and country else code)


def _compact(code: str) -> str:
    return "".join(letter for letter in code.upper() if letter.isalnum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A place whose tax is not that of the country that its addresses name."""

    country: str
    names: tuple[str, ...]
    """The code of the region first."""
    postal: tuple[str, ...]
    """How its postal codes begin."""
    cities: tuple[str, ...]
    own_country: str
    """ISO 3166 code, where it has one."""
    why: str

    def named(self, text: str) -> bool:
        """Tell whether a text is one of its names."""
        return fold(text) in {fold(name) for name in self.names}


@cache
def tax_areas() -> tuple[Area, ...]:
    """Return the areas that ship with the product, read once."""
    text = Path(__file__).with_name("tax_areas.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        Area(
            country=row["country"],
            names=_listed(row["names"]),
            postal=_listed(row["postal"]),
            cities=_listed(row["cities"]),
            own_country=row["is"],
            why=row["why"],
        )
        for row in rows
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("|") if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What an address means."""

    stated: Address
    country: str = ""
    """ISO 3166; empty: none is stated, or it is not known which."""
    region: str = ""
    """Code without the country; empty: none is stated, or it is not known which."""
    area: Area | None = None
    """The special place that it is."""
    by_postal_code: bool = False
    """The area is told by the postal code or the city, not by the region."""
    witnessed: frozenset[str] = frozenset()
    """Regions that the postal code lies in."""
    contradicted: bool = False
    """The postal code lies in none that is stated."""

    @property
    def code(self) -> str:
        """In the manner of ISO 3166-2: DE, US-WA."""
        return f"{self.country}-{self.region}" if self.region else self.country

    def __str__(self) -> str:
        texts = [part.strip() for part in (self.stated.country, self.stated.region) if part.strip()]
        told, meant = ", ".join(texts), self.code
        if self.area is not None:
            told_by = f"{self.stated.postal_code} {self.stated.city}".split()
            by = f", by {' '.join(told_by)}" if self.by_postal_code else ""
            return f"{told} ({meant}{by}: {self.area.why})"
        return meant if fold(told) == fold(meant) or not told else f"{told} ({meant})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gazetteer:
    """Reads addresses with what an atlas knows and what the rates distinguish."""

    atlas: Atlas = CODES
    rates: Sequence[TaxRate] = ()
    areas: Sequence[Area] = field(default_factory=tax_areas)

    @classmethod
    def of(cls, atlas: Atlas, entered: Sequence[TaxRate] = ()) -> Gazetteer:
        """Make one with the rates that the partner entered, and those that ship with the product."""
        return cls(atlas=atlas, rates=(*entered, *shipped_taxes()))

    def locate(self, address: Address) -> Place:
        """Return where an address is; nothing is guessed, what is not known stays empty."""
        country = self.atlas.country(address.country.strip())
        if not country:
            alone = [
                area
                for area in self.areas
                if len(address.country) > 3 and area.named(address.country)
            ]
            return _within(alone[0], address) if len(alone) == 1 else Place(stated=address)
        own = [area for area in self.areas if area.country == country]
        text = _region_text(address.region, country)
        named = next((area for area in own if area.named(text)), None)
        believed = not self._lost_zeros(address.postal_code, country)
        told = _told(own, address, country, by_code=believed)
        witnessed = (
            self.atlas.regions_of(country, bare(address.postal_code, country))
            if believed
            else frozenset()
        )
        region = named.names[0] if named else self._region(country, text)
        possible = {fold(name) for name in named.names} if named else {fold(region)}
        against = told is not None and named is not None and told is not named
        if told is None or told is not named:
            against |= bool(region and witnessed and possible.isdisjoint(map(fold, witnessed)))
        if against:
            return Place(
                stated=address,
                country=country,
                region=region,
                area=named,
                witnessed=witnessed,
                contradicted=True,
            )
        area = named or told
        if area is not None:
            return _within(area, address, by_postal_code=named is None, witnessed=witnessed)
        return Place(stated=address, country=country, region=region, witnessed=witnessed)

    def needs_region(self, country: str) -> bool:
        """Tell whether the tax of a country depends on the state or province.

        A rate of one place, beside one of the whole country, asks nobody else for a region.
        """
        rows = [rate for rate in self.rates if rate.country == country]
        special = {fold(n) for area in self.areas if area.country == country for n in area.names}
        provincial = (rate.regions for rate in rows if rate.regional)
        return any(special.isdisjoint(map(fold, names)) for names in provincial) or (
            bool(rows) and all(rate.regions for rate in rows)
        )

    def tax_area(self, place: Place) -> tuple[str, str] | None:
        """Return what decides the tax of a place, in codes; None where that is not known."""
        if not place.country or place.contradicted:
            return None
        country = vat_country(place.country)
        if self.needs_region(country):
            return (country, place.region) if place.region else None
        return (country, place.region if place.area and not place.area.own_country else "")

    def is_special(self, place: Place) -> bool:
        """Tell whether a place, as it is stated or by its postal code, is in an area of its own."""
        own = [area for area in self.areas if area.country == place.country]
        believed = not self._lost_zeros(place.stated.postal_code, place.country)
        told = _told(own, place.stated, place.country, by_code=believed)
        return place.area is not None or told is not None

    def same_country(self, one: Place, other: Place) -> bool:
        """Tell whether two places are in the tax of one country; True where one is not known."""
        known = one.country and other.country
        return not known or vat_country(one.country) == vat_country(other.country)

    def _lost_zeros(self, postal_code: str, country: str) -> bool:
        """Tell whether a code is one of the country's only with zeros in front.

        Spreadsheets take them away: 7030 is Hoboken's 07030, and says nothing of 703.. in Louisiana.
        """
        code = bare(postal_code, country)
        if not code.isdigit() or self.atlas.fits(country, code):
            return False
        return any(self.atlas.fits(country, zeros + code) for zeros in ("0", "00"))

    def _region(self, country: str, text: str) -> str:
        """Return a region's code as the table of rates has it, else as the atlas has it."""
        wanted = fold(text)
        if not wanted:
            return ""
        for rate in self.rates:
            if rate.country == country and wanted in {fold(name) for name in rate.regions}:
                return rate.regions[0]
        return self.atlas.region(country, text)


def _within(
    area: Area,
    address: Address,
    *,
    by_postal_code: bool = False,
    witnessed: frozenset[str] = frozenset(),
) -> Place:
    return Place(
        stated=address,
        country=area.own_country or area.country,
        region="" if area.own_country else area.names[0],
        area=area,
        by_postal_code=by_postal_code,
        witnessed=witnessed,
    )


def _region_text(text: str, country: str) -> str:
    """Return a region as it is stated, without the code of its country in front (US-WA)."""
    text = text.strip()
    return text[3:].strip() if text.upper().startswith(f"{country}-") else text


def _told(own: Sequence[Area], address: Address, country: str, *, by_code: bool) -> Area | None:
    """Return the area that the postal code or the city tells; the longest beginning wins."""
    codes = {bare(address.postal_code, country), _compact(address.postal_code)} if by_code else ()
    found = [
        (len(begin), area)
        for area in own
        for begin in area.postal
        if any(code.startswith(begin) for code in codes)
    ]
    if found:
        return max(found, key=lambda one: one[0])[1]
    city = fold(address.city)
    return next((a for a in own if city and city in {fold(name) for name in a.cities}), None)
