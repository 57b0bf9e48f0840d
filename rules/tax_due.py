"""The taxes of a customer's place that the seller charges, less what a certificate takes away.

A country's tax needs a registration there, else it holds; a region's is charged only by who is
registered in the region. A city's comes on top, and must be known where the region has such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from domain.money import plain
from domain.problems import Finding
from domain.tax import (
    ExemptionCertificate,
    TaxCategory,
    TaxDecision,
    TaxPart,
    TaxRate,
    TaxRegistration,
    vat_country,
)
from rules.tax_case import Case, not_registered
from rules.tax_places import ISO_3166
from rules.tax_rates import in_force, named


@dataclass(frozen=True, slots=True)
class _Due:
    """One tax that is due, and by which registration it is charged."""

    rate: TaxRate
    registration: TaxRegistration


def taxed(case: Case) -> TaxDecision | Finding:
    """Charge the taxes of the buyer's place that the seller is registered for."""
    rates = _rates(case)
    if isinstance(rates, Finding):
        return rates
    due: list[_Due] = []
    left_out: list[str] = []
    for rate in rates:
        if rate.percent == 0 or not rate.taxed_part:
            left_out.append(rate.note or f"No {rate.tax}: its rate in {_jurisdiction(rate)} is 0.")
            continue
        region = rate.regions[0] if rate.regional and rate.regions else ""
        mine = _registration(case, rate)
        if mine is None and region:
            missing = _should_be_registered(case, rate)
            if missing is not None:
                return missing
            left_out.append(
                f"No {rate.tax}: the seller is not registered in {rate.country}-{region}."
            )
        elif mine is None or not (mine.number or rate.country == "US"):
            return not_registered(case, _jurisdiction(rate), rate.tax)
        elif rate.percent is None:
            return case.held(
                "tax.own_rules",
                f"{case.place} has tax rules of its own ({rate.tax}: {rate.note}).",
                "ask your accountant, and add the rate under Tax rates, or let a tax engine or the "
                "accounting system decide",
            )
        else:
            due.append(_Due(rate, mine))
    return _less_exempt(case, due, left_out, regional=any(rate.regional for rate in rates))


def _registration(case: Case, rate: TaxRate) -> TaxRegistration | None:
    names = rate.regions if rate.regional else ("",)
    found = (case.known.registration(rate.country, name, case.on) for name in names)
    return next((one for one in found if one), None)


def _should_be_registered(case: Case, rate: TaxRate) -> Finding | None:
    """A region where the seller was registered, or is at home, is not taken to be untaxed."""
    ends = (case.known.ended(rate.country, name, case.on) for name in rate.regions)
    before = next((one for one in ends if one), None)
    if before is not None:
        return case.held(
            "tax.no_registration",
            f"The selling company's registration {before.number} in {_jurisdiction(rate)} ended on "
            f"{before.valid.last_day}, and the tax point is {case.on}.",
            "enter the one that follows under Tax registrations; if no tax is due there any more, "
            "deactivate the old one",
        )
    if case.seller == rate.country and named(case.seller_region, rate.regions, rate.country):
        return not_registered(case, _jurisdiction(rate), rate.tax)
    return None


def _jurisdiction(rate: TaxRate) -> str:
    place = f"{rate.country}-{rate.regions[0]}" if rate.regional and rate.regions else rate.country
    return f"{place} {rate.localities[0]}" if rate.localities else place


def _rates(case: Case) -> list[TaxRate] | Finding:
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
    return case.held(
        "tax.no_locality",
        f"The tax rates have no row for {city} in {case.buyer}, {case.region}, where cities and "
        "counties add taxes of theirs."
        if city
        else f"The tax in {case.place} depends on the city or county, and the tax profile has none.",
        "add the city's rate (0 where it has none) under Tax rates, or correct the tax profile"
        if city
        else "enter the city or county on the tax profile",
    )


def _no_rate(case: Case, rows: Sequence[TaxRate]) -> Finding:
    if rows:
        return case.held(
            "tax.no_rate",
            f"The tax rate of {case.place} is not known before {min(row.starts for row in rows)}, "
            f"and the tax point is {case.on}.",
            "add the rate of that day under Tax rates",
        )
    if case.region or not case.table.has(case.buyer):
        return case.held(
            "tax.unmapped_region",
            f"The tax rates have no row for {case.place}.",
            "correct country and region on the tax profile, add the rate under Tax rates, or let "
            "the accounting system decide",
        )
    return case.held(
        "tax.unmapped_region",
        f"The tax in {case.buyer} depends on the region, and the tax profile has none.",
        "enter the customer's state or province on the tax profile",
    )


# Certificates -------------------------------------------------------------------------------------


def _less_exempt(
    case: Case, due: list[_Due], left_out: list[str], *, regional: bool
) -> TaxDecision | Finding:
    placeless = [one for one in case.known.certificates if vat_country(one.country) not in ISO_3166]
    if due and placeless:
        return case.held(
            "tax.no_evidence",
            f"The exemption certificate {placeless[0].number} does not say of which country it is.",
            "enter its country under Exemption certificates by its two letters",
        )
    nowhere = next((one for one in case.known.certificates if _of_no_region(case, one)), None)
    if due and nowhere is not None:
        return case.held(
            "tax.no_evidence",
            f"The exemption certificate {nowhere.number} is for {case.buyer}, "
            f"{nowhere.region.strip()}, which the tax rates do not know.",
            "correct its region under Exemption certificates by its code or name, or leave it empty "
            "where the certificate counts in the whole country",
        )
    charged: list[_Due] = []
    papers: dict[str, ExemptionCertificate] = {}
    for one in due:
        found = _paper(case, one.rate, regional)
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
            taxable_percent=one.rate.taxed_part,
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


def _of_no_region(case: Case, paper: ExemptionCertificate) -> bool:
    """Whether a certificate for the buyer's country names a region that nobody knows."""
    region = paper.region.strip()
    return bool(
        region
        and vat_country(paper.country) == case.buyer
        and case.on in paper.valid
        and not case.table.has_region(case.buyer, region)
    )


def _numbers(due: Sequence[_Due]) -> str:
    return ", ".join(dict.fromkeys(filter(None, (one.registration.number for one in due))))


def _paper(case: Case, rate: TaxRate, regional: bool) -> ExemptionCertificate | Finding | None:
    """Return the certificate that takes a tax away; None: there is none for it at all.

    One for a region takes away the region's own taxes, where it has any (`regional`).
    """
    own = [
        one
        for one in case.known.certificates
        if vat_country(one.country) == rate.country
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
        return case.held(
            "tax.no_evidence",
            f"An exemption certificate for {_jurisdiction(rate)} has no number.",
            "enter its number under Exemption certificates; to charge tax, deactivate it",
        )
    last = max(own, key=lambda one: one.valid.end)
    later = min((one for one in own if one.valid.start > case.on), default=None, key=_start)
    if last.valid.end > case.on and later is not None:
        return case.held(
            "tax.not_yet_valid",
            f"The exemption certificate {later.number} is valid from {later.valid.start} on, "
            f"and the tax point is {case.on}.",
            "correct its first day, or wait; to charge tax until then, deactivate it",
        )
    return case.held(
        "tax.lapsed",
        f"The exemption certificate {last.number} ended on {last.valid.last_day}, "
        f"and the tax point is {case.on}.",
        "ask the customer for a new certificate and enter it; to charge tax, deactivate the old one "
        "(the row stays as evidence)",
    )


def _start(one: ExemptionCertificate) -> date:
    return one.valid.start


def _words(paper: ExemptionCertificate) -> str:
    reason = paper.reason.strip().rstrip(".")
    what = f": {reason}" if reason else ""
    return f"Exempt from tax{what}; certificate {paper.number}."
