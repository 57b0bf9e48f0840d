"""Who bears which tax, decided from seller, registrations, buyer, papers, answers and rates of a day.

In this order: where seller and buyer are; whether the buyer's number may be printed; where the
service is taxed (at a business's place); whether the seller is registered there; which taxes the
place has; which of them a certificate takes away. Rules: Directive 2006/112/EC, art. 44 (place of
supply to a business), 45 and 58 (to others), 196 (reverse charge); outside of the EU its
counterparts; in the USA a state's tax is charged by who is registered in it.

Limits: a registration in another country is no establishment: a branch that sells is a selling
company of its own. Marketplaces, one-stop-shop and withholding taxes are not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from domain.contract import TaxProfile
from domain.countries import country_in_words
from domain.customer import Address
from domain.problems import Finding
from domain.tax import (
    FORM_ONLY,
    NumberProof,
    NumberState,
    TaxCategory,
    TaxDecision,
    TaxRate,
    vat_country,
)
from rules.number_checks import is_refuted, refuted
from rules.places import Area, Gazetteer, tax_areas
from rules.tax_case import Case, no_seller, not_registered
from rules.tax_due import taxed
from rules.tax_evidence import Known
from rules.tax_places import (
    EU,
    FIRST_DAY,
    ISO_3166,
    ITS_OWN_TAX,
    REVERSE_CHARGE,
    Wrong,
    in_eu,
    look_at_number,
    territory_of,
)
from rules.tax_rates import Taxes, in_force, named, rate_fault, repeated, with_own

_CHARGED_IF_REGISTERED = frozenset({"US", "CA", "CH", "LI"})
"""Where a registered seller from abroad charges businesses, too; elsewhere they account themselves."""
_ZERO_RATED = frozenset({"AU", "NZ", "CA", "SG", "JP", "ZA"})
"""Countries that tax services to abroad at zero; in the others they are outside the scope."""
_GAZETTEER = Gazetteer()
"""By codes alone: whether names and addresses agree is looked at before (rules.address)."""


def decide_by_rules(
    profile: TaxProfile, customer_id: str, on: date, known: Known
) -> TaxDecision | Finding:
    """Return the tax of a document whose tax point is `on`, or the finding that holds the customer."""
    if known.faults:
        return known.faults[0]
    company = known.seller
    if company is None:
        return no_seller(customer_id)
    buyer = vat_country(profile.country)
    seller = vat_country(company.address.country)
    # People write countries in any case.
    own_rates = tuple(replace(one, country=vat_country(one.country)) for one in known.rates)
    known = replace(known, rates=tuple(map(_of_area, own_rates)))
    table = with_own([r for r in known.rates if r.country in {seller, buyer} and not rate_fault(r)])
    sold_from = _located(company.address, seller, table)
    sold_to = _located(_buyer_address(profile, known), buyer, table)
    case = Case(
        profile=profile,
        customer_id=customer_id,
        on=on,
        known=known,
        table=table,
        seller=seller,
        seller_region=sold_from.region,
        buyer=buyer,
        region=sold_to.region,
    )
    for located, whose in ((sold_from, "selling company"), (sold_to, "tax profile")):
        if located.area is not None:
            return _own_rules_of_area(case, located.area, whose)
    for look in (_unmapped, _bad_rate, _bad_registration, _own_rules_of_place):
        found = look(case)
        if found is not None:
            return found
    numbered = _with_number(case)
    if isinstance(numbered, Finding):
        return numbered
    return _decide(numbered)


@dataclass(frozen=True, slots=True)
class _Located:
    """Where somebody is, as the rates name it."""

    region: str
    area: Area | None = None
    """A place with rules of its own, for which there is no rate."""


def _located(address: Address, country: str, table: Taxes) -> _Located:
    """Find a place among the rates: islands and enclaves by any name, postal code or town."""
    region = address.region.strip()
    area = _GAZETTEER.locate(replace(address, country=country)).area
    if area is None or territory_of(vat_country(area.own_country)) == territory_of(country):
        return _Located(region)
    known = (name for name in (region, *area.names) if table.has_region(country, name))
    found = next(known, None)
    return _Located(region, area) if found is None else _Located(found)


def _buyer_address(profile: TaxProfile, known: Known) -> Address:
    """Return what the tax profile says, with town and postal code of the account."""
    there = known.buyer_address or Address()
    return replace(there, region=profile.region, city=profile.locality.strip() or there.city)


def _of_area(rate: TaxRate) -> TaxRate:
    """Return a row of the partner's with all names of its region, where that is an area of its own."""
    areas = (area for area in tax_areas() if area.country == rate.country and rate.regions)
    area = next((one for one in areas if any(map(one.named, rate.regions))), None)
    return replace(rate, region="|".join((*area.names, rate.region))) if area else rate


def _decide(case: Case) -> TaxDecision | Finding:
    if case.at_home:
        return taxed(case)
    abroad = _registered(case)
    if case.buyer in _CHARGED_IF_REGISTERED and (abroad or _registered(case, before=True)):
        return taxed(case)
    if in_eu(case.buyer, case.on):
        return _to_eu(case, registered=abroad)
    shown = case.profile.business or (case.number and case.well_formed)
    if not shown and case.buyer not in _CHARGED_IF_REGISTERED:
        if abroad:
            return taxed(case)
        return case.held(
            "tax.not_business",
            f"Nothing shows that the customer in {case.buyer} is a business.",
            "enter its tax number, or set Buys as a business on the tax profile; of others the "
            "tax of their own country may be due",
        )
    return _abroad(case)


def _unmapped(case: Case) -> Finding | None:
    for country, whose in ((case.seller, "selling company"), (case.buyer, "tax profile")):
        if country not in ISO_3166:
            return case.held(
                "tax.unmapped_country",
                f"{country or 'An empty text'} is not the code of a country.",
                f"give the {whose} the two letters of ISO 3166, for example DE",
            )
    if not case.table.has(case.seller):
        return case.held(
            "tax.unmapped_country",
            f"The tax of sales from {case.seller} is not known here.",
            "add its rate under Tax rates, or let the accounting system decide",
        )
    if case.on < FIRST_DAY:
        return case.held(
            "tax.no_rate",
            f"The rules of tax are not known before {FIRST_DAY}, and the tax point is {case.on}.",
            "enter the tax of so old a supply by hand",
        )
    return None


def _bad_rate(case: Case) -> Finding | None:
    """A row of the partner's that cannot be meant holds those whom it may concern."""
    own = [rate for rate in case.known.rates if rate.country == case.buyer]
    for rate in case.known.rates:
        fault = rate_fault(rate)
        if fault and (rate in own or rate.country not in ISO_3166):
            return case.held(
                "tax.bad_rate",
                f"The row {rate.key} of the tax rates cannot be meant: {fault}.",
                "correct the row under Tax rates, or deactivate it",
            )
    twice = repeated([rate for rate in case.table.own if rate.country == case.buyer])
    if twice is not None:
        return case.held(
            "tax.bad_rate",
            f"Two rows of the tax rates say what {twice.tax} is in {_where(twice)} "
            f"from {twice.starts} on.",
            "deactivate one of them under Tax rates",
        )
    city = case.profile.locality
    for rate in in_force(case.table.own_of(case.buyer, case.region, city), case.on):
        doubt = case.table.doubt(rate, case.on)
        if doubt:
            return case.held(
                "tax.bad_rate",
                f"The row {rate.key} of the tax rates cannot be meant: {doubt}.",
                "give the row the name of that tax and the day from which it counts (From) under "
                "Tax rates, or deactivate it",
            )
    return None


def _bad_registration(case: Case) -> Finding | None:
    """A registration for a place that nobody knows would leave the tax of the right one uncharged."""
    for one in case.known.registrations:
        country, region = vat_country(one.country), one.region.strip()
        unknown = country not in ISO_3166
        if not unknown and region and country == case.buyer and case.on in one.valid:
            rows = [rate for rate in case.table.rates if rate.country == country and rate.regions]
            unknown = bool(rows) and not any(named(region, r.regions, country) for r in rows)
        if unknown:
            place = ", ".join(filter(None, (country, region))) or "an empty place"
            return case.held(
                "tax.bad_registration",
                f"The selling company's registration {one.number or one.key} is for {place}, "
                "which the tax rates do not know.",
                "correct country and region under Tax registrations: a country by its two letters, "
                "a state by its code or name",
            )
        if country == case.buyer == "US" and not region and case.on in one.valid:
            return case.held(
                "tax.bad_registration",
                f"The selling company's registration {one.number or one.key} is for US and names "
                "no state; sales tax is charged by who is registered in the state.",
                "enter its state under Tax registrations; if it is no registration for sales tax, "
                "deactivate it",
            )
    return None


def _where(rate: TaxRate) -> str:
    return ", ".join((rate.country, *rate.regions[:1], *rate.localities[:1]))


def _own_rules_of_area(case: Case, area: Area, whose: str) -> Finding:
    own = f"give the {whose} the country {area.own_country}, or " if area.own_country else ""
    place = case.place if whose == "tax profile" else f"The selling company's {area.names[0]}"
    return case.held(
        "tax.own_rules",
        f"{place} has tax rules of its own: {area.why}.",
        f"ask your accountant; {own}add the rate of {area.country}, {area.names[0]} under Tax rates",
    )


def _own_rules_of_place(case: Case) -> Finding | None:
    """Islands and enclaves whose tax is not that of their country: the seller's place, too."""
    for country, region in ((case.seller, case.seller_region), (case.buyer, case.region)):
        for rate in in_force(case.table.of_place(country, region), case.on):
            if rate.percent is None and not rate.regional:
                return case.held(
                    "tax.own_rules",
                    f"{', '.join(filter(None, (country, region)))} has tax rules of its own "
                    f"({rate.tax}: {rate.note}).",
                    "ask your accountant, and add the rate under Tax rates",
                )
    return None


# The buyer's number -------------------------------------------------------------------------------


def _with_number(case: Case) -> Case | Finding:
    """Look at the buyer's number: it is printed on the invoice, so a wrong one is never passed on."""
    given = case.profile.tax_number.strip()
    if not given:
        return case
    looked = look_at_number(case.buyer, given, case.known.check_number or _unknown)
    if isinstance(looked, Wrong):
        return replace(case.held("", looked.sentence, looked.hint), check=looked.check)
    answer = case.known.check_of(looked.printed)
    if answer is not None and is_refuted(answer):
        return refuted(answer, case.customer_id)
    return replace(case, number=looked.printed, well_formed=looked.checked)


def _unknown(_country: str, _number: str) -> bool | None:
    return None


def _unproved(case: Case) -> Finding | None:
    """Return why the number does not show that a customer in the EU is a business; None: it does."""
    if not case.number:
        return case.held(
            "tax.no_vat_number",
            f"The customer in {case.buyer} has no VAT number, so it is not shown to be a business.",
            "ask the customer for its VAT number and enter it on the tax profile",
        )
    policy, answer = case.known.policy, case.known.check_of(case.number)
    answered = answer is not None and answer.by_register and answer.state is NumberState.VALID
    if policy.number_proof is NumberProof.FORM or case.buyer not in EU:
        if case.well_formed or answered:
            return None
        return case.held(
            "tax.number_unchecked",
            f"The form of the tax number {case.number} could not be checked.",
            "ask the customer for its VAT number, with the letters of its country in front",
        )
    if answer is None or answer.checked_at is None or not answered:
        why = f" ({answer.problem})" if answer and answer.problem else ""
        return case.held(
            "tax.number_unchecked",
            f"No register has answered yet that the VAT number {case.number} is valid{why}.",
            "run sync, which asks the register (CSP_TAX_REGISTER); if it is down, wait for it",
        )
    age = ((case.known.today or case.on) - answer.checked_at.date()).days
    if age > policy.number_days:
        return case.held(
            "tax.number_old",
            f"{answer.source} last answered about the VAT number {case.number} "
            f"on {answer.checked_at.date()}, {age} days ago; {policy.number_days} days count.",
            "run sync to ask again; if the register is down, wait for it",
        )
    return None


# Across a border ----------------------------------------------------------------------------------


def _registered(case: Case, *, before: bool = False) -> bool:
    """Whether the seller is registered anywhere in the buyer's country, or was at any time before."""
    home = territory_of(case.buyer)
    return any(
        (case.on in one.valid or (before and one.valid.end <= case.on))
        and territory_of(vat_country(one.country)) == home
        for one in case.known.registrations
    )


def _to_eu(case: Case, *, registered: bool) -> TaxDecision | Finding:
    """Sell to a customer in another country, which is in the EU."""
    if not case.number and not case.profile.business and registered:
        return taxed(case)
    unproved = _unproved(case)
    if unproved is not None:
        return unproved
    if not in_eu(case.seller, case.on):
        return _abroad(case)
    own = case.known.registration(case.seller, "", case.on)
    if own is None or not own.number:
        return not_registered(case, case.seller, case.table.named(case.seller))
    looked = look_at_number(case.seller, own.number, case.known.check_number or _unknown)
    if isinstance(looked, Wrong):
        return case.held(
            "tax.bad_registration",
            f"The selling company's number {own.number} is not a VAT number of {case.seller}: a "
            "reverse charge is stated with the numbers of both.",
            "correct the number under Tax registrations",
        )
    return case.decide(
        "tax.reverse_charge",
        TaxCategory.REVERSE_CHARGE,
        note=REVERSE_CHARGE,
        seller_tax_id=own.number,
        told={"law": "Directive 2006/112/EC, art. 44 and 196"} | _proof(case),
    )


def _proof(case: Case) -> dict[str, str]:
    """Return what shows that the number is the customer's."""
    answer = case.known.check_of(case.number)
    if answer is None or not answer.by_register or answer.checked_at is None:
        return {"number_checked": FORM_ONLY if case.well_formed else "no"}
    told = {
        "number_checked": answer.source,
        "number_answered_on": str(answer.checked_at.date()),
    }
    if answer.reference:
        told["number_reference"] = answer.reference
    return told


def _abroad(case: Case) -> TaxDecision:
    seller, buyer = case.seller, case.buyer
    zero = seller in _ZERO_RATED
    law = " (Art. 44 of Directive 2006/112/EC)" if in_eu(seller, case.on) else ""
    name = case.table.named(seller)
    note = (
        f"No {name} of {country_in_words(seller)}: the service is supplied in "
        f"{country_in_words(buyer)}, where the customer is{law}. "
        + (REVERSE_CHARGE if in_eu(buyer, case.on) else ITS_OWN_TAX)
    )
    proof = _proof(case) if case.number else {}
    category = TaxCategory.ZERO if zero else TaxCategory.OUT_OF_SCOPE
    return case.decide("tax.abroad", category, note=note, told=proof)
