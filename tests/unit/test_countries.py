"""Countries as customers read them."""

import pytest

from app.places import World
from domain.countries import COUNTRIES, country_in_words, country_name


@pytest.mark.parametrize(
    ("code", "name", "in_words"),
    [
        ("BE", "Belgium", "Belgium"),
        ("GB", "United Kingdom", "the United Kingdom"),
        ("nl", "Netherlands", "the Netherlands"),
        ("ZZ", "ZZ", "ZZ"),  # no country: nothing is guessed
        ("", "", ""),
    ],
)
def test_a_country_has_a_name_and_some_an_article(code, name, in_words):
    assert (country_name(code), country_in_words(code)) == (name, in_words)


def test_no_name_means_another_country():
    world = World()
    # Some names are not those of the atlas (Saint, and); none is that of somebody else.
    meant = {code: world.country(name) for code, name in COUNTRIES.items()}
    assert {code: found for code, found in meant.items() if found not in {"", code}} == {}
    assert sum(1 for found in meant.values() if found) > 230
