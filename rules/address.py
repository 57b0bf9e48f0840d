"""Where a customer is: whether Microsoft, account and tax profile say enough, and the same.

The account is who is billed, so its address counts; the tax profile decides the tax, and Microsoft's
two profiles are witnesses. A finding is one fact: it names who says what, and what to correct where.
A difference that changes no tax only warns; what nobody knows is told where something hangs on it.

Limits: cities and streets are not compared, and a city's own tax is not looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date

from domain.contract import TaxProfile
from domain.customer import Account, Address, Customer
from domain.problems import Finding, Severity
from domain.tax import TaxTreatment
from rules.places import CITY, LINE1, POSTAL_CODE, Gazetteer, Place

_SAID = {LINE1: "street (line 1)", CITY: "city", POSTAL_CODE: "postal code"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """Who says where the customer is, and what that means."""

    who: str
    """In the middle of a sentence."""
    place: Place


def check(
    *,
    customer: Customer,
    account: Account | None,
    tax_profile: TaxProfile | None,
    gazetteer: Gazetteer,
    today: date,
) -> list[Finding]:
    """Return what is missing, unclear or contradictory about where a customer is.

    Without an account nothing is found about one: that it is missing is told as `mapping.*`.
    """
    looked = _Look(customer=customer, gazetteer=gazetteer, today=today)
    findings: list[Finding] = []
    billed = profile = None
    if account is not None:
        billed = _Side(who=f"the account {account.name}", place=gazetteer.locate(account.address))
    if tax_profile is not None:
        # A city is what an area may be known by; that of a US rate is no concern of a region.
        stated = Address(
            country=tax_profile.country, region=tax_profile.region, city=tax_profile.locality
        )
        profile = _Side(who="the tax profile", place=gazetteer.locate(stated))
    witnesses = [
        _Side(who=f"Microsoft's {name}", place=gazetteer.locate(address))
        for name, address in (
            ("company profile", customer.address),
            ("billing profile", customer.billing_address),
        )
        if customer.details_known and address.country.strip()
    ]
    if billed is not None and profile is not None and not billed.place.stated.country.strip():
        agreed = looked.agreed(billed, profile, witnesses)
        if agreed is not None:
            findings.append(looked.by_microsoft(billed, witnesses))
            billed = agreed if _parts(billed.place.stated) else None
    if billed is not None:
        findings += looked.account(billed)
    if billed is not None and profile is not None and tax_profile is not None:
        by_rules = tax_profile.treatment is TaxTreatment.BY_RULES
        findings += looked.tax_profile(billed, profile, witnesses, by_rules=by_rules)
    known = billed if billed is not None and billed.place.country else profile
    if known is not None:
        also = profile if known is billed else None
        findings += looked.microsoft(known, also, witnesses)
    return findings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    customer: Customer
    gazetteer: Gazetteer
    today: date

    def agreed(self, billed: _Side, profile: _Side, witnesses: Sequence[_Side]) -> _Side | None:
        """Read an address without a country in that on which tax profile and Microsoft agree.

        None where they do not, or where another part of the address tells another tax.
        """
        place = self.gazetteer.locate(replace(billed.place.stated, country=profile.place.country))
        sides = [one.place for one in witnesses]
        if _parts(billed.place.stated):
            sides.append(place)
        if not witnesses or not profile.place.country:
            return None
        if any(
            one.contradicted or self._taxed_otherwise(one, other)
            for one in sides
            for other in (profile.place, sides[0])
        ):
            return None
        return replace(billed, place=place)

    def by_microsoft(self, billed: _Side, witnesses: Sequence[_Side]) -> Finding:
        """Tell what is missing where nobody says another place than the tax profile."""
        lacks = "country" if _parts(billed.place.stated) else "address"
        return self._find(
            Severity.WARN,
            "address.by_microsoft",
            "account",
            f"{_begin(billed.who)} has no {lacks}; {_names(list(witnesses))} "
            f"{_says(list(witnesses))} {witnesses[0].place}, and the tax profile agrees"
            f"{self._elsewhere() if lacks == 'address' else ''}.",
            f"enter the {lacks} of the account in Dynamics (Address 1): it stands on the invoice",
        )

    def account(self, billed: _Side) -> list[Finding]:
        """The account's address alone: there, complete, understood, and of one piece."""
        place, stated = billed.place, billed.place.stated
        if not _parts(stated):
            return [
                self._find(
                    Severity.HOLD,
                    "address.none",
                    "account",
                    f"{_begin(billed.who)} has no address{self._elsewhere()}.",
                    "enter the address of the account in Dynamics (Address 1): it stands on the "
                    "invoice, and the tax depends on it",
                )
            ]
        findings: list[Finding] = []
        missing = self._missing(place)
        if missing:
            told = (
                f" (the postal code {stated.postal_code.strip()} lies in {_lies(place)})"
                if place.witnessed and "state or province" in missing
                else ""
            )
            findings.append(
                self._find(
                    Severity.HOLD,
                    "address.incomplete",
                    "account",
                    f"The address of {billed.who} has no {_joined(missing)}{told}.",
                    f"complete the address of the account in Dynamics (Address 1: {_joined(missing)})",
                )
            )
        unclear = self._unclear(place)
        if unclear and stated.country.strip():
            findings.append(
                self._find(
                    Severity.HOLD,
                    "address.unmapped",
                    "account",
                    f"{_begin(billed.who)} says {unclear}.",
                    "correct the account in Dynamics (Address 1): write the country as its name or "
                    "its two letters (Germany, DE), the state or province as its name or code (TX)",
                )
            )
        return findings + self._postal_code(billed)

    def _missing(self, place: Place) -> list[str]:
        stated, country = place.stated, place.country
        missing = [] if stated.country.strip() else ["country"]
        if country and self.gazetteer.needs_region(country) and not stated.region.strip():
            missing.append("state or province")
        asked = self.gazetteer.atlas.asked(country) if country else {LINE1, CITY}
        values = {LINE1: stated.line1, CITY: stated.city, POSTAL_CODE: stated.postal_code}
        return missing + [
            _SAID[part] for part in _SAID if part in asked and not values[part].strip()
        ]

    def _unclear(self, place: Place) -> str:
        """Say what of an address is not understood although something hangs on it; else nothing."""
        stated = place.stated
        if not stated.country.strip():
            return "no country"
        if not place.country:
            return (
                f"country “{stated.country.strip()}”, which is not known as the name of one country"
            )
        region = stated.region.strip()
        if region and not place.region and self.gazetteer.needs_region(place.country):
            return (
                f"“{region}” in {place.country}, which is not known as a state or province, "
                "and the tax depends on it"
            )
        return ""

    def _postal_code(self, billed: _Side) -> list[Finding]:
        place, stated = billed.place, billed.place.stated
        code, country = stated.postal_code.strip(), place.country
        hint = "correct the postal code or the {} of the account in Dynamics (Address 1)"
        contradiction = self._contradiction(place)
        if contradiction:
            return [
                self._find(
                    Severity.HOLD,
                    "address.postal_code",
                    "account",
                    f"{_begin(billed.who)} says {contradiction}: the tax is another there.",
                    hint.format("state or province"),
                )
            ]
        if place.contradicted:
            fault = f"its postal code {code} lies in {_lies(place)}; the tax is the same"
        elif country and not self._fits(place):
            fault = f"its postal code {code} has not the form of one of {country}"
        else:
            return []
        return [
            self._find(
                Severity.WARN,
                "address.postal_form",
                "account",
                f"{_begin(billed.who)} says {place}, but {fault}.",
                hint.format("state, province or country"),
            )
        ]

    def _contradiction(self, place: Place) -> str:
        """Say that region and postal code are in two places with two taxes; else nothing."""
        own_tax = self.gazetteer.needs_region(place.country) or self.gazetteer.is_special(place)
        if not place.contradicted or not own_tax:
            return ""
        lies = f"lies in {_lies(place)}" if place.witnessed else "does not lie there"
        return f"{place}, but its postal code {place.stated.postal_code.strip()} {lies}"

    def _fits(self, place: Place) -> bool:
        atlas, code = self.gazetteer.atlas, place.stated.postal_code
        written = atlas.country(place.stated.country)
        return atlas.fits(place.country, code) or (bool(written) and atlas.fits(written, code))

    def tax_profile(
        self, billed: _Side, profile: _Side, witnesses: Iterable[_Side], *, by_rules: bool
    ) -> list[Finding]:
        """The tax profile must be for where the account is: this decides the tax."""
        unclear = self._unclear(profile.place)
        if unclear and by_rules:
            return []  # told as `tax.unmapped_*`
        if unclear:
            return [
                self._find(
                    Severity.HOLD,
                    "address.unmapped",
                    "tax profile",
                    f"{_begin(profile.who)} says {unclear}.",
                    "correct country and region of the tax profile in Dynamics: two letters of "
                    "ISO 3166 (DE), and the code or name of the state or province (TX)",
                )
            ]
        if not self._taxed_otherwise(billed.place, profile.place):
            return []
        agreeing = [one for one in witnesses if self._same_tax(one.place, profile.place)]
        too = f"; {_names(agreeing)} {_says(agreeing)} {agreeing[0].place} too" if agreeing else ""
        return [
            self._find(
                Severity.HOLD,
                "address.region_differs",
                "tax profile",
                f"{_begin(profile.who)} says {profile.place}, {billed.who} says {billed.place}{too}.",
                "correct country and region of the tax profile, or the address of the account "
                "(Address 1), in Dynamics: the tax is that of where the account is",
            )
        ]

    def microsoft(
        self, known: _Side, also: _Side | None, witnesses: Iterable[_Side]
    ) -> list[Finding]:
        """Microsoft's profiles beside who is billed; two that say the same are one finding."""
        otherwise: dict[tuple[str, str], list[_Side]] = {}
        findings: list[Finding] = []
        for one in witnesses:
            unclear = self._unclear(one.place) or self._contradiction(one.place)
            if unclear:
                findings.append(
                    self._find(
                        Severity.WARN,
                        "address.microsoft_unmapped",
                        _record([one]),
                        f"{_begin(one.who)} says {unclear}; it cannot be compared with {known.who}.",
                        _AT_MICROSOFT,
                    )
                )
            elif also is not None and self._told_by_profile(known, also, one):
                continue
            else:
                otherwise.setdefault((one.place.country, one.place.region), []).append(one)
        for sides in otherwise.values():
            findings += self._differs(known, sides)
        return findings

    def _told_by_profile(self, known: _Side, profile: _Side, one: _Side) -> bool:
        """Tell whether `address.region_differs` says this already: the account is the odd one."""
        return self._taxed_otherwise(known.place, profile.place) and self._same_tax(
            one.place, profile.place
        )

    def _differs(self, known: _Side, sides: list[_Side]) -> list[Finding]:
        place = sides[0].place
        told = f"{_begin(_names(sides))} {_says(sides)} {place}, {known.who} says {known.place}"
        if self._taxed_otherwise(known.place, place):
            return [
                self._find(
                    Severity.HOLD,
                    "address.microsoft_differs",
                    _record(sides),
                    f"{told}: the tax is another there.",
                    "find out where the customer is; then correct the account in Dynamics "
                    f"(Address 1), or {_AT_MICROSOFT}; release it where both are right",
                )
            ]
        if self._elsewhere_in_tax(known.place, place):
            return [
                self._find(
                    Severity.WARN,
                    "address.microsoft_region",
                    _record(sides),
                    f"{told}; the tax is the same.",
                    f"correct the account in Dynamics (Address 1), or {_AT_MICROSOFT}",
                )
            ]
        return []

    def _taxed_otherwise(self, one: Place, other: Place) -> bool:
        if not self.gazetteer.same_country(one, other):
            return True
        areas = {self.gazetteer.tax_area(one), self.gazetteer.tax_area(other)}
        return None not in areas and len(areas) == 2

    def _same_tax(self, one: Place, other: Place) -> bool:
        area = self.gazetteer.tax_area(one)
        return area is not None and area == self.gazetteer.tax_area(other)

    @staticmethod
    def _elsewhere_in_tax(one: Place, other: Place) -> bool:
        """Tell whether two places with the same tax are apart, as far as both are known."""
        if not one.country or not other.country or one.contradicted or other.contradicted:
            return False
        regions = {one.region, other.region}
        return one.country != other.country or ("" not in regions and len(regions) == 2)

    def _elsewhere(self) -> str:
        """Say whether Microsoft has an address to take over."""
        customer = self.customer
        stated = customer.address if customer.address.country else customer.billing_address
        parts = (stated.line1, stated.postal_code, stated.city, stated.region, stated.country)
        told = ", ".join(part.strip() for part in parts if part.strip())
        return f"; Microsoft has: {told}" if told else ""

    def _find(
        self, severity: Severity, check: str, record: str, sentence: str, hint: str
    ) -> Finding:
        return Finding(
            check=check,
            severity=severity,
            customer_id=self.customer.id,
            record=record,
            sentence=sentence,
            hint=hint,
            seen=self.today,
        )


_AT_MICROSOFT = (
    "correct the profile at Microsoft (the billing profile in Partner Center; the company profile "
    "is the customer's own)"
)


def _parts(stated: Address) -> list[str]:
    return [part for part in astuple(stated) if part.strip()]


def _record(sides: list[_Side]) -> str:
    return _names(sides).removeprefix("Microsoft's ")


def _names(sides: list[_Side]) -> str:
    first, *more = (side.who for side in sides)
    return " and ".join([first, *(name.removeprefix("Microsoft's ") for name in more)])


def _says(sides: list[_Side]) -> str:
    return "say" if len(sides) > 1 else "says"


def _begin(text: str) -> str:
    return text[:1].upper() + text[1:]


def _joined(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]


def _lies(place: Place) -> str:
    return " or ".join(f"{place.country}-{region}" for region in sorted(place.witnessed))
