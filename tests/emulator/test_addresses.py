"""Rules of addresses by country, and what becomes of an address that is sent for validation."""

from __future__ import annotations

import re

import pytest

from tests.emulator.test_partner_center import keys, sample

RULES = "/v1/countryvalidationrules"
VALIDATE = "/v1/validations/address"
REDMOND = {
    "addressLine1": "1 Sample Way",
    "city": "Redmond",
    "state": "WA",
    "postalCode": "98052",
    "country": "US",
}
INNSBRUCK = {
    "addressLine1": "Beispielgasse 3",
    "city": "Innsbruck",
    "postalCode": "6020",
    "country": "AT",
}


def validate(desk, body):
    answer = desk.pc(VALIDATE, "POST", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_rules_of_the_united_states_are_the_recorded_ones(small):
    recorded = sample("partner-profile/recorded-getpartnercountryvalidation.response.1.json")
    assert small.pc(f"{RULES}/US").json() == recorded
    assert small.pc(f"{RULES}/us").json() == recorded


def test_every_company_of_the_world_follows_the_rules_of_its_country(small):
    for customer in small.emulator.world.customers():
        address = customer["companyProfile"]["address"]
        rules = small.pc(f"{RULES}/{address['country']}").json()
        assert re.fullmatch(rules["postalCodeRegex"], address["postalCode"])
        assert not rules["isStateRequired"] or address["state"] in rules["supportedStatesList"]
        assert validate(small, address)["status"] in ("Verified", "VerifiedShippable")


def test_a_country_without_rules(small):
    assert small.pc(f"{RULES}/ZZ").status_code == 404
    assert validate(small, INNSBRUCK | {"country": "ZZ"})["status"] == "NotValidated"


@pytest.mark.parametrize(("number", "status"), [(1, "VerifiedShippable"), (2, "StreetPartial")])
def test_the_published_requests_have_the_published_outcome(small, number, status):
    request = sample(f"partner-profile/validate-an-address.d2111.request.{number}.json")
    published = sample(f"partner-profile/validate-an-address.d2111.response-200.{number + 2}.json")
    answer = validate(small, request)
    assert keys(answer) == keys(published)
    assert answer["status"] == published["status"] == status
    assert answer["originalAddress"] == published["originalAddress"]
    (suggested,) = answer["suggestedAddresses"]
    assert suggested["addressLine1"] == "1 Microsoft Way"
    assert re.fullmatch(r"98052-\d{4}", suggested["postalCode"])
    assert answer.get("validationMessage") == published.get("validationMessage")


def test_a_postal_code_of_another_town_needs_a_person(small):
    answer = validate(small, REDMOND | {"city": "Seattle"})
    assert answer["status"] == "InteractionRequired"
    assert [row["city"] for row in answer["suggestedAddresses"]] == ["Redmond"]
    answer = validate(small, INNSBRUCK | {"city": "Wien"})
    assert (answer["status"], answer["suggestedAddresses"][0]["city"]) == (
        "InteractionRequired",
        "Innsbruck",
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"postalCode": "9805"}, "PostalCode"),
        ({"postalCode": None}, "PostalCode"),
        ({"state": "XX"}, "State"),
        ({"state": ""}, "State"),
        ({"city": None}, "City"),
        ({"addressLine1": " "}, "AddressLine1"),
    ],
)
def test_an_address_against_the_rules_names_its_fields(small, changes, named):
    answer = validate(small, REDMOND | changes)
    assert (answer["status"], answer["suggestedAddresses"]) == ("None", [])
    assert answer["validationMessage"] == f"Address field invalid for property: '{named}'"


def test_an_address_without_country_cannot_be_asked_about(small):
    refused = small.pc(VALIDATE, "POST", json={"city": "Redmond"})
    assert (refused.status_code, refused.json()["code"]) == (400, "3000")


def test_validation_changes_nothing(small):
    before = small.emulator.world.customers()
    validate(small, REDMOND | {"city": "Seattle"})
    assert small.emulator.world.customers() == before
