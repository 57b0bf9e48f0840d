"""The last line of an address, as a letter to that country has it."""

from dataclasses import replace

import pytest

from domain.addresses import town_and_country
from domain.countries import COUNTRIES
from domain.customer import Address


def at(country, region, city, postal_code):
    return Address(country=country, region=region, city=city, postal_code=postal_code)


@pytest.mark.parametrize(
    ("address", "printed"),
    [
        (at("DE", "BY", "München", "80331"), "80331 München, Germany"),
        (at("US", "WA", "Redmond", "98052"), "Redmond, WA 98052, United States"),
        (at("US", "US-WA", "Redmond", "98052"), "Redmond, WA 98052, United States"),
        (at("CA", "QC", "Montréal", "H2X 1Y4"), "Montréal QC H2X 1Y4, Canada"),
        (at("AU", "NSW", "Sydney", "2000"), "Sydney NSW 2000, Australia"),
        (at("GB", "England", "London", "SW1A 1AA"), "London SW1A 1AA, United Kingdom"),
        (at("IT", "MI", "Milano", "20121"), "20121 Milano MI, Italy"),
        (at("IT", "Lombardia", "Milano", "20121"), "20121 Milano, Italy"),
        (at("BR", "SP", "São Paulo", "01310-100"), "São Paulo - SP, 01310-100, Brazil"),
        (at("IN", "Maharashtra", "Mumbai", "400001"), "Mumbai 400001, Maharashtra, India"),
        # Where no table says so, nothing that was entered is left out.
        (at("MX", "CDMX", "Cuauhtémoc", "06500"), "06500 Cuauhtémoc, CDMX, Mexico"),
        # As people write countries.
        (at("us", "WA", "Redmond", "98052"), "Redmond, WA 98052, United States"),
        (at("United States", "WA", "Redmond", "98052"), "Redmond, WA 98052, United States"),
        (at("USA", "WA", "Redmond", "98052"), "Redmond, WA 98052, United States"),
        (at("Deutschland", "BY", "München", "80331"), "80331 München, BY, Deutschland"),
        # Parts that nobody entered leave no marks behind.
        (at("US", "WA", "", "98052"), "WA 98052, United States"),
        (at("US", "", "Redmond", ""), "Redmond, United States"),
        (at("US", "", "", ""), "United States"),
        (at("", "", "Redmond", ""), "Redmond"),
        (Address(), ""),
    ],
)
def test_a_town_is_written_as_its_country_writes_it(address, printed):
    assert town_and_country(address) == printed


@pytest.mark.parametrize("country", COUNTRIES)
def test_town_postal_code_and_country_are_always_there(country):
    address = at(country, "Region", "Town", "12345")
    told = town_and_country(address)
    assert all(part in told for part in ("Town", "12345", COUNTRIES[country]))
    assert told == town_and_country(replace(address, country=COUNTRIES[country]))
