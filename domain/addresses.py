"""An address as its readers write it: what comes first, and whether the region is written at all.

After the formats that the posts publish; where none is listed here, all that was entered is written.
"""

from __future__ import annotations

import re

from domain.countries import COUNTRIES, country_name
from domain.customer import Address

_ANYWHERE = "postal city, region"
_FORMS = {
    "city, region postal": "US PR CN JP",
    "city region postal": "AU CA",
    "city - region, postal": "BR",
    "city postal, region": "IN",
    "city postal": "GB IE NZ SG GG JE IM",
    "postal city": (
        "AT BE BG CH CY CZ DE DK EE ES FI FR GR HR HU IS LI LT LU LV MC MT NL NO PL PT RO SE SI SK"
    ),
    "postal city region": "IT SM VA",
}
"""How a town is written; without `region` where it is not part of an address."""

_FORM_OF = {code: form for form, codes in _FORMS.items() for code in codes.split()}
_CODE_OF = {name.casefold(): code for code, name in COUNTRIES.items()} | {
    "usa": "US",
    "uk": "GB",
    "united states of america": "US",
    "great britain": "GB",
}


def town_and_country(address: Address) -> str:
    """Return the last line of an address: `Redmond, WA 98052, United States`; empty: none known."""
    country = address.country.strip()
    code = _CODE_OF.get(country.casefold(), country.upper())
    region = address.region.strip()
    if region.upper().startswith(f"{code}-"):
        region = region[len(code) + 1 :]
    if code == "IT" and len(region) > len("MI"):
        region = ""  # Italy writes the province, by its two letters
    form = _FORM_OF.get(code, _ANYWHERE)
    values = {"postal": address.postal_code.strip(), "city": address.city.strip(), "region": region}
    town = ""
    for mark, name in re.findall(r"([^a-z]*)([a-z]+)", form):
        if values[name]:
            town += (mark if town else "") + values[name]
    return ", ".join(filter(None, (town, country_name(code) if code in COUNTRIES else country)))
