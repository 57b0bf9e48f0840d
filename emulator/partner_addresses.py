"""Partner Center v1: the rules of a country's addresses, and whether one address can be found.

The rules of the United States are those of a recorded answer; the others are general knowledge in
the same form. Microsoft's directory is not ours to copy: this one knows one published street and
the towns in which the scenario's companies sit, so an address there may be complete, lack its house
number, or contradict its postal code. Elsewhere an address that follows the rules is Verified.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.partner_wire import (
    APP_TOO,
    BadQueryError,
    RefusalError,
    Resource,
    Route,
    read_resource,
)

_STATES = {
    "US": "AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE "
    "NH NJ NM NV NY OH OK OR PA RI SC SD TN TX UT VA VT WA WI WV WY",
    "CA": "AB BC MB NB NL NS NT NU ON PE QC SK YT",
    "AU": "ACT NSW NT QLD SA TAS VIC WA",
}
_US_PHONE = r"^(1[ \-\/\.]?)?(\((\d{3})\)|(\d{3}))[ \-\/\.]?(\d{3})[ \-\/\.]?(\d{4})$"
_PHONE = r"^[\d \-\/\.\(\)\+]{5,20}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """What a country asks of an address."""

    postal: str
    calling: str
    cultures: str
    vat: bool = True
    postal_required: bool = True


# fmt: off
_RULES = {
    "US": _Rules(postal=r"^\d{5}(-\d{4})?$", calling="1", cultures="en-US es-US", vat=False),
    "CA": _Rules(postal=r"^[A-Z]\d[A-Z] ?\d[A-Z]\d$", calling="1", cultures="en-CA fr-CA", vat=False),
    "AU": _Rules(postal=r"^\d{4}$", calling="61", cultures="en-AU", vat=False),
    "NZ": _Rules(postal=r"^\d{4}$", calling="64", cultures="en-NZ", vat=False),
    "AT": _Rules(postal=r"^\d{4}$", calling="43", cultures="de-AT"),
    "BE": _Rules(postal=r"^\d{4}$", calling="32", cultures="nl-BE fr-BE"),
    "CH": _Rules(postal=r"^\d{4}$", calling="41", cultures="de-CH fr-CH it-CH"),
    "DE": _Rules(postal=r"^\d{5}$", calling="49", cultures="de-DE"),
    "ES": _Rules(postal=r"^\d{5}$", calling="34", cultures="es-ES"),
    "FR": _Rules(postal=r"^\d{5}$", calling="33", cultures="fr-FR"),
    "GB": _Rules(postal=r"^[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}$", calling="44", cultures="en-GB"),
    "IE": _Rules(postal=r"^[A-Z]\d[\dW] ?[A-Z\d]{4}$", calling="353", cultures="en-IE", postal_required=False),
    "NL": _Rules(postal=r"^\d{4} ?[A-Z]{2}$", calling="31", cultures="nl-NL"),
    "NO": _Rules(postal=r"^\d{4}$", calling="47", cultures="nb-NO"),
}
# fmt: on
_FIELDS = ("country", "region", "city", "state", "addressLine1", "addressLine2", "postalCode")


class Addresses:
    """Handlers of validation rules and of address validation."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.routes: list[Route] = [
            ("GET", "/v1/countryvalidationrules/{country}", self._rules, APP_TOO),
            ("POST", "/v1/validations/address", self._validate, APP_TOO),
        ]

    def _rules(self, request: Request, country: str) -> Response:
        del request
        code = country.upper()
        if code not in _RULES:
            raise RefusalError(404, "1000", "There are no validation rules for this country.")
        rules, cultures = _RULES[code], _RULES[code].cultures.split()
        states = _STATES.get(code, "").split()
        return wire.json_response(
            {
                "iso2Code": code,
                "defaultCulture": cultures[0],
                "isStateRequired": bool(states),
                "supportedStatesList": states,
                "supportedLanguagesList": list(dict.fromkeys(one[:2] for one in cultures)),
                "supportedCulturesList": cultures,
                "isPostalCodeRequired": rules.postal_required,
                "postalCodeRegex": rules.postal,
                "isCityRequired": True,
                "isVatIdSupported": rules.vat,
                "phoneNumberRegex": _US_PHONE if rules.calling == "1" else _PHONE,
                "isTaxIdSupported": True,
                "isTaxIdOptional": True,
                "countryCallingCodesList": [rules.calling],
                "attributes": {"objectType": "CountryValidationRules"},
            }
        )

    def _validate(self, request: Request) -> Response:
        sent = {name.lower(): value for name, value in read_resource(request).items()}
        original = {
            name: sent[name.lower()].strip()
            for name in _FIELDS
            if isinstance(sent.get(name.lower()), str) and sent[name.lower()].strip()
        }
        if not original.get("country"):
            raise BadQueryError("country is missing.")
        status, found, message = self._find(original)
        answer: Resource = {
            "originalAddress": original,
            "suggestedAddresses": found,
            "status": status,
        }
        if message:
            answer["validationMessage"] = message
        return wire.json_response(answer)

    def _find(self, address: Resource) -> tuple[str, list[Resource], str]:
        """Status, suggestions and what is wrong with an address."""
        code = address["country"].upper()
        rules = _RULES.get(code)
        if rules is None:
            return "NotValidated", [], ""
        if wrong := _faults(address, rules, _STATES.get(code, "").split()):
            named = ", ".join(f"'{name}'" for name in wrong)
            return "None", [], f"Address field invalid for property: {named}"
        town = self._town(code, address["postalCode"]) if "postalCode" in address else None
        if town is not None and any(
            _plain(address.get(name, town[name])) != _plain(town[name]) for name in town
        ):
            named = ", ".join(f"'{name.capitalize()}'" for name in town)
            message = f"Address field invalid for property: {named}"
            return "InteractionRequired", [_suggested(address | town)], message
        if not re.search(r"\d|\bOne\b", address["addressLine1"]):
            suggestion = _suggested(address | {"addressLine1": f"1 {address['addressLine1']}"})
            message = "Address field invalid for property: 'Region', 'PostalCode', 'City'"
            return "StreetPartial", [suggestion], message
        status = "VerifiedShippable" if code == "US" else "Verified"
        return status, [_suggested(address)], ""

    def _town(self, country: str, postal: str) -> dict[str, str] | None:
        """City and state of a postal code in which one of the companies sits."""
        known = {("US", "98052"): {"city": "Redmond", "state": "WA"}}
        for customer in self._stage.world.customers():
            place = customer["companyProfile"].get("address")
            if place:
                key = place["country"], _plain(place["postalCode"])
                town = {"city": place["city"]}
                if place["country"] in _STATES:
                    town["state"] = place["state"]
                known.setdefault(key, town)
        wanted = _plain(postal[:5] if country == "US" else postal)
        return known.get((country, wanted))


def _faults(address: Resource, rules: _Rules, states: list[str]) -> list[str]:
    """Which fields are missing or against the rules, as Microsoft spells them."""
    wrong = []
    if not address.get("addressLine1"):
        wrong.append("AddressLine1")
    if not address.get("city"):
        wrong.append("City")
    if states and address.get("state", "").upper() not in states:
        wrong.append("State")
    postal = address.get("postalCode", "")
    if (postal or rules.postal_required) and not re.fullmatch(rules.postal, postal.upper()):
        wrong.append("PostalCode")
    return wrong


def _suggested(address: Resource) -> Resource:
    """The address as the directory writes it; in the United States with nine digits."""
    if address["country"].upper() != "US":
        return dict(address)
    place = f"{_plain(address['addressLine1'])}/{address['postalCode'][:5]}"
    digits = int(sha256(place.encode()).hexdigest(), 16) % 9000 + 1000
    return address | {"postalCode": f"{address['postalCode'][:5]}-{digits}"}


def _plain(text: str) -> str:
    return re.sub(r"\W", "", text).casefold()
