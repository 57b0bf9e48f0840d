"""Codes of countries as tax knows them: the EU's VAT area, territories in another's, tax numbers.

Limits: a number is looked at by its form and its check digits alone; whether a register knows it is
`domain.tax.TaxNumberCheck`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from domain.countries import COUNTRIES

CheckVat = Callable[[str, str], bool | None]
"""Tells for a country and a number with its prefix whether it is one; None: no check is known."""

FIRST_DAY = date(2015, 1, 1)
"""From this day electronic services are taxed where the customer is (Directive 2008/8/EC, art. 5)."""

EU = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()
)
_LEFT_EU = {"GB": date(2021, 1, 1)}
"""First day outside of the EU's VAT area; the others have been members since before FIRST_DAY."""

_PREFIXES = {**{country: (country,) for country in EU}, "GR": ("EL", "GR"), "GB": ("GB", "XI")}
_PREFIXES |= {"CH": ("CH",), "NO": ("NO",)}
_TERRITORY = {"LI": "CH"}
"""Countries that are one VAT territory with another, whose registration counts in both."""
_COUNTRY_OF = {prefix: country for country, own in _PREFIXES.items() for prefix in own}

REVERSE_CHARGE = (
    "Reverse charge: the customer accounts for the VAT (Art. 196 of Directive 2006/112/EC)."
)
ITS_OWN_TAX = "The customer accounts for any tax that is due there."

ISO_3166 = frozenset(COUNTRIES)


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A tax number that may be printed."""

    printed: str
    checked: bool
    """Its form and check digits are right; False: no check is known for its country."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a tax number may not be printed."""

    check: str
    sentence: str
    hint: str


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """Return what is left of a name without case, accents, blanks and signs."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in plain if letter.isalnum())


def territory_of(country: str) -> str:
    """Return the country whose registration to charge tax counts in another, too."""
    return _TERRITORY.get(country, country)


def in_eu(country: str, on: date) -> bool:
    """Tell whether a country is in the EU's VAT area on a day from FIRST_DAY on."""
    return country in EU or on < _LEFT_EU.get(country, date.min)


def look_at_number(country: str, given: str, check_vat: CheckVat) -> LookedAt | Wrong:
    """Look at a tax number of a country: it is printed, so a wrong one is never passed on."""
    # Irish numbers may hold + and *.
    number = "".join(c for c in given.upper() if c.isalnum() or c in "+*")
    own = _PREFIXES.get(country, ())
    other = _COUNTRY_OF.get(number[:2], "")
    european = country in EU
    has_prefix = number[:2] in own
    foreign = not has_prefix and (
        # Elsewhere numbers have no prefix, and may begin with any letters by chance.
        number[:2].isalpha() if european else other and check_vat(other, number)
    )
    if foreign:
        return _wrong(
            "vat_country",
            f"The VAT number {given} begins with {number[:2]}, but the customer is in {country}.",
            "correct the country or the number: they decide together where the supply is taxed",
        )
    if european and has_prefix:
        number = own[0] + number[2:]
    valid = check_vat(country, number)
    if valid is False:
        form = f", with {own[0]} in front" if european else ""
        return _wrong(
            "vat_invalid",
            f"{given} is not a VAT number of {country}: its form or its check digit is wrong.",
            f"ask the customer for the number{form}; a wrong one is not printed on an invoice",
        )
    return LookedAt(number if european else given, checked=valid is True)


def _wrong(check: str, sentence: str, hint: str) -> Wrong:
    return Wrong(check=f"tax.{check}", sentence=sentence, hint=hint)
