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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from domain.charge import Reason
from domain.contract import TaxProfile
from domain.money import plain
from domain.problems import Finding
from domain.tax import (
    FORM_ONLY,
    ExemptionCertificate,
    NumberProof,
    NumberState,
    TaxCategory,
    TaxDecision,
    TaxPart,
    TaxRate,
    TaxRegistration,
)
from rules.number_checks import is_refuted, refuted
from rules.tax_evidence import Known, tax_hold
from rules.tax_places import (
    EU,
    FIRST_DAY,
    ISO_3166,
    REVERSE_CHARGE,
    Wrong,
    country_of,
    in_eu,
    look_at_number,
    territory_of,
)
from rules.tax_rates import Taxes, in_force, named, rate_fault, repeated, with_own

_CHARGED_IF_REGISTERED = frozenset({"US", "CA", "CH", "LI"})
"""Where a registered seller from abroad charges businesses, too; elsewhere they account themselves."""
_ZERO_RATED = frozenset({"AU", "NZ", "CA", "SG", "JP", "ZA"})
"""Countries that tax services to abroad at zero; in the others they are outside the scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """The facts of one supply, in codes that the tables know."""

    profile: TaxProfile
    customer_id: str
    on: date
    known: Known
    table: Taxes
    seller: str
    seller_region: str
    buyer: str
    number: str = ""
    """The buyer's, as it is printed; empty: none."""
    well_formed: bool = False

    @property
    def region(self) -> str:
        return self.profile.region.strip()

    @property
    def place(self) -> str:
        """Where the buyer is, as a person reads it."""
        parts = (self.buyer, self.region, self.profile.locality.strip())
        return ", ".join(part for part in parts if part)

    @property
    def at_home(self) -> bool:
        """Whether seller and buyer are in one VAT territory."""
        return territory_of(self.seller) == territory_of(self.buyer)

    def hold(self, check: str, sentence: str, hint: str) -> Finding:
        """Return the finding that holds the customer; one for each check, whatever the day."""
        record = f"tax of {self.seller} to {self.place}"
        return tax_hold(self.customer_id, record, check, sentence, hint)

    def decide(
        self,
        rule: str,
        category: TaxCategory,
        *,
        note: str = "",
        parts: tuple[TaxPart, ...] = (),
        seller_tax_id: str = "",
        told: Mapping[str, str] | None = None,
    ) -> TaxDecision:
        """Return the decision with the facts that made it."""
        facts = {
            "seller": ", ".join(filter(None, (self.seller, self.seller_region))),
            "buyer": self.place,
            "on": str(self.on),
            "category": category.value,
        }
        if self.number:
            facts["buyer_tax_id"] = self.number
        return TaxDecision(
            category=category,
            parts=parts,
            note=note,
            seller_tax_id=seller_tax_id or self.known.number_in(self.seller, self.on),
            buyer_tax_id=self.number,
            reasons=(Reason(rule=rule, inputs=facts | dict(told or {})),),
        )


def decide_by_rules(
    profile: TaxProfile, customer_id: str, on: date, known: Known
) -> TaxDecision | Finding:
    """Return the tax of a document whose tax point is `on`, or the finding that holds the customer."""
    if known.faults:
        return known.faults[0]
    company = known.seller
    if company is None:
        return no_seller(customer_id)
    # People write countries in any case.
    own_rates = tuple(replace(one, country=country_of(one.country)) for one in known.rates)
    known = replace(known, rates=own_rates)
    buyer = country_of(profile.country)
    seller = country_of(company.address.country)
    case = _Case(
        profile=profile,
        customer_id=customer_id,
        on=on,
        known=known,
        table=with_own(
            [r for r in own_rates if r.country in {seller, buyer} and not rate_fault(r)]
        ),
        seller=seller,
        seller_region=company.address.region.strip(),
        buyer=buyer,
    )
    for look in (_unmapped, _bad_rate, _bad_registration, _own_rules_of_place):
        found = look(case)
        if found is not None:
            return found
    numbered = _with_number(case)
    if isinstance(numbered, Finding):
        return numbered
    return _decide(numbered)


def no_seller(customer_id: str) -> Finding:
    """Return the finding that nobody is known who sells."""
    return tax_hold(
        customer_id,
        "selling company",
        "tax.no_seller",
        "No selling company is known for the billing contract.",
        "enter the company under Selling companies; where there are several, choose one on "
        "the contract",
    )


def _decide(case: _Case) -> TaxDecision | Finding:
    if case.at_home:
        return _taxed(case)
    abroad = _registered(case)
    if abroad and case.buyer in _CHARGED_IF_REGISTERED:
        return _taxed(case)
    if in_eu(case.buyer, case.on):
        return _to_eu(case, registered=abroad)
    shown = case.profile.business or (case.number and case.well_formed)
    if not shown and case.buyer not in _CHARGED_IF_REGISTERED:
        if abroad:
            return _taxed(case)
        return case.hold(
            "tax.not_business",
            f"Nothing shows that the customer in {case.buyer} is a business.",
            "enter its tax number, or set Buys as a business on the tax profile; of others the "
            "tax of their own country may be due",
        )
    return _abroad(case)


def _unmapped(case: _Case) -> Finding | None:
    for country, whose in ((case.seller, "selling company"), (case.buyer, "tax profile")):
        if country not in ISO_3166:
            return case.hold(
                "tax.unmapped_country",
                f"{country or 'An empty text'} is not the code of a country.",
                f"give the {whose} the two letters of ISO 3166, for example DE",
            )
    if not case.table.has(case.seller):
        return case.hold(
            "tax.unmapped_country",
            f"The tax of sales from {case.seller} is not known here.",
            "add its rate under Tax rates, or let the accounting system decide",
        )
    if case.on < FIRST_DAY:
        return case.hold(
            "tax.no_rate",
            f"The rules of tax are not known before {FIRST_DAY}, and the tax point is {case.on}.",
            "enter the tax of so old a supply by hand",
        )
    return None


def _bad_rate(case: _Case) -> Finding | None:
    """A row of the partner's that cannot be meant holds those whom it may concern."""
    own = [rate for rate in case.known.rates if rate.country == case.buyer]
    for rate in case.known.rates:
        fault = rate_fault(rate)
        if fault and (rate in own or rate.country not in ISO_3166):
            return case.hold(
                "tax.bad_rate",
                f"The row {rate.key} of the tax rates cannot be meant: {fault}.",
                "correct the row under Tax rates, or delete it",
            )
    twice = repeated(own)
    if twice is not None:
        return case.hold(
            "tax.bad_rate",
            f"Two rows of the tax rates say what {twice.tax} is in {_where(twice)} "
            f"from {twice.starts} on.",
            "delete one of them under Tax rates",
        )
    return None


def _bad_registration(case: _Case) -> Finding | None:
    """A registration for a place that nobody knows would leave the tax of the right one uncharged."""
    for one in case.known.registrations:
        country, region = country_of(one.country), one.region.strip()
        unknown = country not in ISO_3166
        if not unknown and region and country == case.buyer and case.on in one.valid:
            rows = [rate for rate in case.table.rates if rate.country == country and rate.regions]
            unknown = bool(rows) and not any(named(region, r.regions, country) for r in rows)
        if unknown:
            place = ", ".join(filter(None, (country, region))) or "an empty place"
            return case.hold(
                "tax.bad_registration",
                f"The selling company's registration {one.number or one.key} is for {place}, "
                "which the tax rates do not know.",
                "correct country and region under Tax registrations: a country by its two letters, "
                "a state by its code or name",
            )
    return None


def _where(rate: TaxRate) -> str:
    return ", ".join((rate.country, *rate.regions[:1], *rate.localities[:1]))


def _own_rules_of_place(case: _Case) -> Finding | None:
    """Islands and enclaves whose tax is not that of their country: the seller's place, too."""
    for country, region in ((case.seller, case.seller_region), (case.buyer, case.region)):
        for rate in in_force(case.table.of_place(country, region), case.on):
            if rate.percent is None and not rate.regional:
                return case.hold(
                    "tax.own_rules",
                    f"{', '.join(filter(None, (country, region)))} has tax rules of its own "
                    f"({rate.tax}: {rate.note}).",
                    "ask your accountant, and add the rate under Tax rates",
                )
    return None


# The buyer's number -------------------------------------------------------------------------------


def _with_number(case: _Case) -> _Case | Finding:
    """Look at the buyer's number: it is printed on the invoice, so a wrong one is never passed on."""
    given = case.profile.tax_number.strip()
    if not given:
        return case
    looked = look_at_number(case.buyer, given, case.known.check_number or _unknown)
    if isinstance(looked, Wrong):
        return replace(case.hold("", looked.sentence, looked.hint), check=looked.check)
    answer = case.known.check_of(looked.printed)
    if answer is not None and is_refuted(answer):
        return refuted(answer, case.customer_id)
    return replace(case, number=looked.printed, well_formed=looked.checked)


def _unknown(_country: str, _number: str) -> bool | None:
    return None


def _unproved(case: _Case) -> Finding | None:
    """Return why the number does not show that a customer in the EU is a business; None: it does."""
    if not case.number:
        return case.hold(
            "tax.no_vat_number",
            f"The customer in {case.buyer} has no VAT number, so it is not shown to be a business.",
            "ask the customer for its VAT number and enter it on the tax profile",
        )
    policy, answer = case.known.policy, case.known.check_of(case.number)
    answered = answer is not None and answer.by_register and answer.state is NumberState.VALID
    if policy.number_proof is NumberProof.FORM or case.buyer not in EU:
        if case.well_formed or answered:
            return None
        return case.hold(
            "tax.number_unchecked",
            f"The form of the tax number {case.number} could not be checked.",
            "ask the customer for its VAT number, with the letters of its country in front",
        )
    if answer is None or answer.checked_at is None or not answered:
        why = f" ({answer.problem})" if answer and answer.problem else ""
        return case.hold(
            "tax.number_unchecked",
            f"No register has answered yet that the VAT number {case.number} is valid{why}.",
            "run sync, which asks the register (CSP_TAX_REGISTER); if it is down, wait for it",
        )
    age = ((case.known.today or case.on) - answer.checked_at.date()).days
    if age > policy.number_days:
        return case.hold(
            "tax.number_old",
            f"{answer.source} last answered about the VAT number {case.number} "
            f"on {answer.checked_at.date()}, {age} days ago; {policy.number_days} days count.",
            "run sync to ask again; if the register is down, wait for it",
        )
    return None


# Across a border ----------------------------------------------------------------------------------


def _registered(case: _Case) -> bool:
    """Whether the seller is registered anywhere in the buyer's country."""
    home = territory_of(case.buyer)
    return any(
        case.on in one.valid and territory_of(country_of(one.country)) == home
        for one in case.known.registrations
    )


def _to_eu(case: _Case, *, registered: bool) -> TaxDecision | Finding:
    """Sell to a customer in another country, which is in the EU."""
    if not case.number and not case.profile.business and registered:
        return _taxed(case)
    unproved = _unproved(case)
    if unproved is not None:
        return unproved
    if not in_eu(case.seller, case.on):
        return _abroad(case)
    own = case.known.registration(case.seller, "", case.on)
    if own is None or not own.number:
        return _not_registered(case, case.seller, case.table.named(case.seller))
    return case.decide(
        "tax.reverse_charge",
        TaxCategory.REVERSE_CHARGE,
        note=REVERSE_CHARGE,
        seller_tax_id=own.number,
        told={"law": "Directive 2006/112/EC, art. 44 and 196"} | _proof(case),
    )


def _proof(case: _Case) -> dict[str, str]:
    """Return what shows that the number is the customer's."""
    answer = case.known.check_of(case.number)
    if answer is None or not answer.by_register or answer.checked_at is None:
        return {"number_checked": FORM_ONLY}
    told = {
        "number_checked": answer.source,
        "number_answered_on": str(answer.checked_at.date()),
    }
    if answer.reference:
        told["number_reference"] = answer.reference
    return told


def _abroad(case: _Case) -> TaxDecision:
    seller, buyer = case.seller, case.buyer
    zero = seller in _ZERO_RATED
    law = " (Art. 44 of Directive 2006/112/EC)" if in_eu(seller, case.on) else ""
    name = case.table.named(seller)
    note = f"No {name} of {seller}: the service is supplied in {buyer}, where the customer is{law}."
    if in_eu(buyer, case.on):
        note = f"{note} {REVERSE_CHARGE}"
    proof = _proof(case) if case.number else {}
    category = TaxCategory.ZERO if zero else TaxCategory.OUT_OF_SCOPE
    return case.decide("tax.abroad", category, note=note, told=proof)


def _not_registered(case: _Case, country: str, tax: str) -> Finding:
    return case.hold(
        "tax.no_registration",
        f"The selling company has no registration with a number in {country} on {case.on}, "
        f"where {tax} is due.",
        "enter the registration with its number under Tax registrations, or choose another "
        "selling company on the contract",
    )


# The taxes of a place -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Due:
    """One tax that is due, and by which registration it is charged."""

    rate: TaxRate
    registration: TaxRegistration


def _taxed(case: _Case) -> TaxDecision | Finding:
    """Charge the taxes of the buyer's place that the seller is registered for."""
    rates = _rates(case)
    if isinstance(rates, Finding):
        return rates
    due: list[_Due] = []
    left_out: list[str] = []
    for rate in rates:
        if rate.percent == 0:
            left_out.append(rate.note or f"No {rate.tax}: its rate in {_jurisdiction(rate)} is 0.")
            continue
        region = rate.regions[0] if rate.regional and rate.regions else ""
        mine = _registration(case, rate)
        if mine is None and region:
            left_out.append(
                f"No {rate.tax}: the seller is not registered in {rate.country}-{region}."
            )
        elif mine is None or not (mine.number or rate.country == "US"):
            return _not_registered(case, _jurisdiction(rate), rate.tax)
        elif rate.percent is None:
            return case.hold(
                "tax.own_rules",
                f"{case.place} has tax rules of its own ({rate.tax}: {rate.note}).",
                "ask your accountant, and add the rate under Tax rates, or let a tax engine or the "
                "accounting system decide",
            )
        else:
            due.append(_Due(rate, mine))
    return _less_exempt(case, due, left_out)


def _registration(case: _Case, rate: TaxRate) -> TaxRegistration | None:
    names = rate.regions if rate.regional else ("",)
    found = (case.known.registration(rate.country, name, case.on) for name in names)
    return next((one for one in found if one), None)


def _jurisdiction(rate: TaxRate) -> str:
    place = f"{rate.country}-{rate.regions[0]}" if rate.regional and rate.regions else rate.country
    return f"{place} {rate.localities[0]}" if rate.localities else place


def _rates(case: _Case) -> list[TaxRate] | Finding:
    """Return the taxes of the buyer's place on the day, its city's included where that decides."""
    rows = case.table.of_place(case.buyer, case.region)
    base = in_force((row for row in rows if not row.localities), case.on)
    if not base:
        return _no_rate(case, rows)
    local = [row for row in rows if row.localities]
    wanted = any(row.local_taxes for row in base)
    charged = any(_registration(case, row) for row in base)
    if not charged or not (local or wanted):
        return list(base)
    city = case.profile.locality.strip()
    own = in_force((row for row in local if named(city, row.localities)), case.on)
    if own or (city and not wanted):
        return [*base, *own]
    return case.hold(
        "tax.no_locality",
        f"The tax rates have no row for {city} in {case.buyer}, {case.region}, where cities and "
        "counties add taxes of theirs."
        if city
        else f"The tax in {case.place} depends on the city or county, and the tax profile has none.",
        "add the city's rate (0 where it has none) under Tax rates, or correct the tax profile"
        if city
        else "enter the city or county on the tax profile",
    )


def _no_rate(case: _Case, rows: Sequence[TaxRate]) -> Finding:
    if rows:
        return case.hold(
            "tax.no_rate",
            f"The tax rate of {case.place} is not known before {min(row.starts for row in rows)}, "
            f"and the tax point is {case.on}.",
            "add the rate of that day under Tax rates",
        )
    if case.region or not case.table.has(case.buyer):
        return case.hold(
            "tax.unmapped_region",
            f"The tax rates have no row for {case.place}.",
            "correct country and region on the tax profile, add the rate under Tax rates, or let "
            "the accounting system decide",
        )
    return case.hold(
        "tax.unmapped_region",
        f"The tax in {case.buyer} depends on the region, and the tax profile has none.",
        "enter the customer's state or province on the tax profile",
    )


# Certificates -------------------------------------------------------------------------------------


def _less_exempt(case: _Case, due: list[_Due], left_out: list[str]) -> TaxDecision | Finding:
    placeless = [one for one in case.known.certificates if country_of(one.country) not in ISO_3166]
    if due and placeless:
        return case.hold(
            "tax.no_evidence",
            f"The exemption certificate {placeless[0].number} does not say of which country it is.",
            "enter its country under Exemption certificates by its two letters",
        )
    charged: list[_Due] = []
    papers: dict[str, ExemptionCertificate] = {}
    for one in due:
        found = _paper(case, one.rate, any(other.rate.regional for other in due))
        if isinstance(found, Finding):
            return found
        if found is None:
            charged.append(one)
        else:
            papers[found.key] = found
    notes = [_words(paper) for paper in papers.values()]
    told = {}
    if papers:
        told["certificate"] = ", ".join(paper.number for paper in papers.values())
        told["certificate_key"] = ", ".join(papers)
    if left_out:
        told["not_charged"] = " ".join(left_out)
    if not charged:
        exempt = bool(papers)
        return case.decide(
            "tax.exempt" if exempt else "tax.not_charged",
            TaxCategory.EXEMPT if exempt else TaxCategory.OUT_OF_SCOPE,
            note=" ".join(notes or left_out),
            seller_tax_id=_numbers(due),
            told=told,
        )
    parts = tuple(
        TaxPart(
            name=one.rate.tax,
            jurisdiction=_jurisdiction(one.rate),
            percent=one.rate.percent or Decimal(0),
            taxable_percent=one.rate.taxable_percent,
        )
        for one in charged
    )
    return case.decide(
        "tax.domestic",
        TaxCategory.STANDARD,
        note=" ".join(notes),
        parts=parts,
        seller_tax_id=_numbers(charged),
        told={
            "percent": plain(sum((part.effective for part in parts), Decimal(0))),
            "tax": " and ".join(dict.fromkeys(part.name for part in parts)),
            "rate_since": ", ".join(dict.fromkeys(str(one.rate.starts) for one in charged)),
            "source": ", ".join(dict.fromkeys(one.rate.source for one in charged)),
            **told,
        },
    )


def _numbers(due: Sequence[_Due]) -> str:
    return ", ".join(dict.fromkeys(filter(None, (one.registration.number for one in due))))


def _paper(case: _Case, rate: TaxRate, regional: bool) -> ExemptionCertificate | Finding | None:
    """Return the certificate that takes a tax away; None: there is none for it at all.

    One for a region takes away the region's own taxes, where it has any (`regional`).
    """
    own = [
        one
        for one in case.known.certificates
        if country_of(one.country) == rate.country
        and (
            not one.region.strip()
            or not (rate.regions or regional)
            or (rate.regional == regional and named(one.region, rate.regions, rate.country))
        )
    ]
    if not own:
        return None
    valid = [one for one in own if case.on in one.valid]
    best = max(valid, key=lambda one: (bool(one.number), one.valid.end), default=None)
    if best is not None and best.number.strip():
        return best
    if best is not None:
        return case.hold(
            "tax.no_evidence",
            f"An exemption certificate for {_jurisdiction(rate)} has no number.",
            "enter its number under Exemption certificates, or delete it to charge tax",
        )
    last = max(own, key=lambda one: one.valid.end)
    later = min((one for one in own if one.valid.start > case.on), default=None, key=_start)
    if last.valid.end > case.on and later is not None:
        return case.hold(
            "tax.not_yet_valid",
            f"The exemption certificate {later.number} is valid from {later.valid.start} on, "
            f"and the tax point is {case.on}.",
            "correct its first day, or wait; delete it to charge tax until then",
        )
    return case.hold(
        "tax.lapsed",
        f"The exemption certificate {last.number} ended on {last.valid.last_day}, "
        f"and the tax point is {case.on}.",
        "ask the customer for a new certificate and enter it, or delete the old one to charge tax",
    )


def _start(one: ExemptionCertificate) -> date:
    return one.valid.start


def _words(paper: ExemptionCertificate) -> str:
    reason = paper.reason.strip().rstrip(".")
    what = f": {reason}" if reason else ""
    return f"Exempt from tax{what}; certificate {paper.number}."
