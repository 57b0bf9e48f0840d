"""The tax of a scenario, by the rules of billing: what those are told, and what is assumed.

A scenario has no registrations, papers or answers of registers. So the seller is taken to be
registered wherever its own country taxes the service (or where it says), the customer to be a business, and a number
to be the customer's when its form and check digits are right; each line's reasons say so.
`exempt_until` is an exemption as a person states it: it counts wherever the customer is, but it
excuses no wrong number, no unknown country and no place with rules of its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from app.vat import valid_vat
from app.whatif.scenario import Tax
from domain.charge import Reason
from domain.contract import FOREVER, TaxProfile
from domain.customer import Address
from domain.money import plain
from domain.problems import Finding
from domain.tax import (
    NumberProof,
    Seller,
    TaxDecision,
    TaxPolicy,
    TaxRegistration,
    TaxTreatment,
    vat_country,
)
from rules.tax import decide
from rules.tax_evidence import Known
from rules.tax_places import FIRST_DAY, territory_of
from rules.tax_rates import Taxes, in_force, with_own

_EXCUSED = frozenset({"tax.no_vat_number", "tax.no_rate", "tax.unmapped_region", "tax.no_locality"})
"""What need not be known of a customer that is exempt."""
_ASSUMED = "0" * 101
"""The seller's number, longer than any that a scenario may give. An answer prints none of the seller."""
_HINTS = {
    "tax.unmapped_country": "give seller_country and buyer_country by the two letters of ISO 3166, "
    "for example DE; sales from a country without a tax rate are not taxed here",
    "tax.no_rate": "enter the tax of so old a supply by hand",
    "tax.own_rules": "ask your accountant",
    "tax.unmapped_region": "give the customer's state or province as buyer_region",
    "tax.no_locality": "give the customer's city or county as buyer_city; for one without a rate "
    "ask your accountant",
    "tax.no_registration": "add the place to seller_registered_in, or leave that out",
    "tax.bad_registration": "correct seller_registered_in: a country, or a state of the tables of "
    "rates, for example US-TX",
}
"""What to do about a finding of the rules: in a scenario, not in Dynamics."""


def decide_tax(tax: Tax, on: date) -> tuple[TaxDecision | None, Finding | None]:
    """Return the tax of a line whose tax point is `on`, and what stands in its way.

    Both: the exemption has ended, and without a new one that tax is due.
    """
    table = with_own(())
    profile, known = _profile(tax), _known(tax, table)
    due = decide(profile, "", on, known)
    if tax.exempt_until is not None and _may_be_exempt(due, tax, table, on):
        exempt = decide(_exempted(profile, tax, tax.exempt_until), "", on, known)
        if isinstance(exempt, TaxDecision):
            return replace(exempt, reasons=(_exemption(tax, tax.exempt_until, on),)), None
        lapsed = _lapsed(exempt, tax, tax.exempt_until, on)
        return (None if isinstance(due, Finding) else _told(due, known)), lapsed
    if isinstance(due, Finding):
        return None, _in_words(due, tax, table, on)
    return _told(due, known), None


# What the rules are told --------------------------------------------------------------------------


def _profile(tax: Tax) -> TaxProfile:
    return TaxProfile(
        key="tax",
        country=tax.buyer_country,
        region=tax.buyer_region or "",
        locality=tax.buyer_city or "",
        tax_number=tax.buyer_vat_id or "",
        business=True,
    )


def _known(tax: Tax, table: Taxes) -> Known:
    seller = Seller(
        key="seller",
        name="the seller",
        address=Address(country=tax.seller_country, region=tax.seller_region or ""),
    )
    return Known(
        seller=seller,
        registrations=tuple(
            TaxRegistration(
                key=f"registration/{country}/{region}",
                seller_key=seller.key,
                country=country,
                region=region,
                number=_ASSUMED,
                valid=FOREVER,
            )
            for country, region in _registered(tax, table)
        ),
        policy=TaxPolicy(number_proof=NumberProof.FORM),
        check_number=_valid,
    )


def _valid(country: str, number: str) -> bool | None:
    return None if number == _ASSUMED else valid_vat(country, number)


def _registered(tax: Tax, table: Taxes) -> tuple[tuple[str, str], ...]:
    """Return where the seller is registered; unless it says, at home for each tax that may be due."""
    if tax.seller_registered_in is not None:
        told = (place.partition("-") for place in tax.seller_registered_in)
        return tuple((country, region) for country, _, region in told)
    home = vat_country(tax.seller_country)
    region = tax.buyer_region if _inland(tax) else tax.seller_region
    return tuple(
        dict.fromkeys(
            (home, row.regions[0] if row.regional and row.regions else "")
            for row in table.of_place(home, region or "")
            if row.regional or row.percent != 0
        )
    )


def _inland(tax: Tax) -> bool:
    home, buyer = vat_country(tax.seller_country), vat_country(tax.buyer_country)
    return territory_of(home) == territory_of(buyer)


def _told(decision: TaxDecision, known: Known) -> TaxDecision:
    """Add to a decision by rules what it assumes."""
    places = [f"{one.country}-{one.region}".rstrip("-") for one in known.registrations]
    assumed = {"customer": "a business"}
    if places:
        assumed["seller_registered_in"] = ", ".join(places)
    return replace(
        decision, reasons=(*decision.reasons, Reason(rule="tax.assumed", inputs=assumed))
    )


# An exemption -------------------------------------------------------------------------------------


def _may_be_exempt(due: TaxDecision | Finding, tax: Tax, table: Taxes, on: date) -> bool:
    if isinstance(due, TaxDecision):
        return True
    if due.check == "tax.own_rules":
        # Islands hold; of a state whose tax the table leaves open an exemption is enough to know.
        rows = in_force(table.of_place(vat_country(tax.buyer_country), tax.buyer_region or ""), on)
        return _inland(tax) and any(row.regional and row.percent is None for row in rows)
    return due.check in _EXCUSED and on >= FIRST_DAY


def _exempted(profile: TaxProfile, tax: Tax, until: date) -> TaxProfile:
    last = until - timedelta(days=1)
    return replace(
        profile,
        treatment=TaxTreatment.EXEMPT,
        evidence=tax.certificate or f"exempt_until {until}",
        valid_until=last,
        wording=f"Exempt from tax: certificate{_named(tax)} valid until {last}.",
    )


def _exemption(tax: Tax, until: date, on: date) -> Reason:
    facts = {"supply": _supply(tax), "on": str(on), "exempt_until": str(until)}
    if tax.certificate:
        facts["certificate"] = tax.certificate.strip()
    return Reason(rule="tax.exempt", inputs=facts)


def _lapsed(found: Finding, tax: Tax, until: date, on: date) -> Finding:
    last = until - timedelta(days=1)
    return replace(
        found,
        record=_supply(tax),
        sentence=f"The exemption{_named(tax)} ended on {last}, and the tax point is {on}.",
        hint="ask the customer for a new certificate, or remove the exemption to charge tax",
    )


def _named(tax: Tax) -> str:
    return f" {tax.certificate.strip()}" if tax.certificate else ""


# Findings in the words of a scenario --------------------------------------------------------------


def _in_words(found: Finding, tax: Tax, table: Taxes, on: date) -> Finding:
    if found.check == "tax.no_vat_number":
        buyer = vat_country(tax.buyer_country)
        rates = in_force(table.of_place(buyer, tax.buyer_region or ""), on)
        consumer = "".join(
            f"; a consumer there would be charged {plain(rate.percent or Decimal(0))} % {rate.tax}"
            for rate in rates
        )
        return replace(
            found,
            record=_supply(tax),
            sentence=f"The customer in {buyer} has no checked VAT number, so it is not shown to be "
            "a business.",
            hint=f"ask the customer for its VAT number{consumer}",
        )
    return replace(
        found,
        record=_supply(tax),
        sentence=found.sentence.replace("the tax profile has none", "the scenario has none"),
        hint=_HINTS.get(found.check, found.hint),
    )


def _supply(tax: Tax) -> str:
    def place(country: str, region: str | None) -> str:
        return ", ".join(filter(None, (vat_country(country), (region or "").strip())))

    seller = place(tax.seller_country, tax.seller_region)
    return f"supply {seller} to {place(tax.buyer_country, tax.buyer_region)}"
