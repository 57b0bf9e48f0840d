"""The tax on a cloud service sold to a business, from who sells it, who buys it, and the evidence.

Within one country: its rate on that day. To a business elsewhere: no tax of the seller's country;
within the EU only against a VAT number (reverse charge). Anything else is held: a missing or wrong
number, a lapsed exemption, a region that the table of rates does not name.

Limits: the seller is registered wherever this charges tax, has one establishment, and sells to
businesses: what a consumer would pay stands in a hint and is never charged. A number is checked by
its form and check digits, not asked for at a register. Not tax advice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from domain.charge import Reason
from domain.money import plain
from domain.problems import Finding, Severity
from domain.tax import TaxDecision, TaxPart, TaxRate, TaxTreatment
from rules.tax_evidence import CATEGORY_OF
from rules.tax_places import (
    FIRST_DAY,
    ISO_3166,
    REVERSE_CHARGE,
    CheckVat,
    Wrong,
    country_of,
    in_eu,
    look_at_number,
)
from rules.tax_rates import RateTable, shipped_rates


@dataclass(frozen=True, slots=True, kw_only=True)
class _Supply:
    """The facts of one supply, in codes that the tables know."""

    seller: str
    seller_region: str
    buyer: str
    buyer_region: str
    number: str
    """The buyer's, as it is printed; empty: none."""
    checked: bool
    on: date
    customer_id: str

    def hold(self, check: str, sentence: str, hint: str) -> Finding:
        """Return the finding that holds the customer; one for each check, whatever the day."""
        return Finding(
            check=f"tax.{check}",
            severity=Severity.HOLD,
            customer_id=self.customer_id,
            record=f"supply {_place(self.seller, self.seller_region)} to "
            f"{_place(self.buyer, self.buyer_region)}",
            sentence=sentence,
            hint=hint,
        )

    def decide(
        self, rule: str, treatment: TaxTreatment, percent: Decimal, note: str, **inputs: str
    ) -> TaxDecision:
        """Return the decision with the facts that made it."""
        facts = {
            "seller": _place(self.seller, self.seller_region),
            "buyer": _place(self.buyer, self.buyer_region),
            "on": str(self.on),
            "percent": plain(percent),
        }
        if self.number:
            facts["buyer_vat_id"] = self.number
            facts["number_checked"] = "form and check digits" if self.checked else "no"
        part = TaxPart(name=inputs.get("tax", "tax"), jurisdiction=self.buyer, percent=percent)
        return TaxDecision(
            category=CATEGORY_OF[treatment],
            parts=(part,) if percent else (),
            note=note,
            buyer_tax_id=self.number,
            reasons=(Reason(rule=rule, inputs=facts | inputs),),
        )


def decide_supply(
    *,
    seller_country: str,
    buyer_country: str,
    buyer_vat_id: str | None,
    exempt_until: date | None,
    on: date,
    check_vat: CheckVat,
    seller_region: str = "",
    buyer_region: str = "",
    certificate: str = "",
    customer_id: str = "",
    rates: RateTable | None = None,
) -> TaxDecision | Finding:
    """Return the tax of a service whose tax point is `on`, or the finding that holds the customer.

    `exempt_until` is the first day that the buyer's exemption no longer covers. `rates` is the table
    that ships with the product unless another is given. Rules: Directive 2006/112/EC, art. 44
    (place of supply to a business), 196 (reverse charge); outside of the EU its counterparts.
    """
    table = shipped_rates() if rates is None else rates
    supply = _Supply(
        seller=country_of(seller_country),
        seller_region=seller_region.strip(),
        buyer=country_of(buyer_country),
        buyer_region=buyer_region.strip(),
        number="",
        checked=False,
        on=on,
        customer_id=customer_id,
    )
    unmapped = _unmapped(supply, table)
    if unmapped is not None:
        return unmapped
    numbered = _with_number(supply, (buyer_vat_id or "").strip(), check_vat)
    if isinstance(numbered, Finding):
        return numbered
    if exempt_until is not None:
        return _exempt(numbered, exempt_until, certificate.strip())
    if numbered.seller == numbered.buyer:
        return _domestic(numbered, table)
    return _abroad(numbered, table)


def _place(country: str, region: str) -> str:
    return f"{country}, {region}" if region else country


def _unmapped(supply: _Supply, table: RateTable) -> Finding | None:
    for country in (supply.seller, supply.buyer):
        if country not in ISO_3166:
            return supply.hold(
                "unmapped_country",
                f"{country or 'An empty text'} is not the code of a country.",
                "give the two letters of ISO 3166, for example DE",
            )
    if not table.has(supply.seller):
        return supply.hold(
            "unmapped_country",
            f"The tax of sales from {supply.seller} is not known here.",
            "add its rate to the table of tax rates, or let the accounting system decide",
        )
    if supply.on < FIRST_DAY:
        return supply.hold(
            "no_rate",
            f"The rules of tax are not known before {FIRST_DAY}, and the tax point is {supply.on}.",
            "enter the tax of so old a supply by hand",
        )
    for country, region in (
        (supply.seller, supply.seller_region),
        (supply.buyer, supply.buyer_region),
    ):
        rate = table.find(country, region, supply.on)
        if rate is not None and rate.percent is None:
            return supply.hold(
                "own_rules",
                f"{_place(country, region)} has tax rules of its own ({rate.tax}: {rate.note}).",
                "ask your accountant, and add the rate to the table of tax rates",
            )
    return None


def _with_number(supply: _Supply, given: str, check_vat: CheckVat) -> _Supply | Finding:
    """Check the buyer's number: it is printed on the invoice, so a wrong one is never passed on."""
    if not given:
        return supply
    looked = look_at_number(supply.buyer, given, check_vat)
    if isinstance(looked, Wrong):
        return replace(supply.hold("", looked.sentence, looked.hint), check=looked.check)
    return replace(supply, number=looked.printed, checked=looked.checked)


def _exempt(supply: _Supply, until: date, certificate: str) -> TaxDecision | Finding:
    last = until - timedelta(days=1)
    named = f" {certificate}" if certificate else ""
    if supply.on >= until:
        return supply.hold(
            "lapsed",
            f"The exemption{named} ended on {last}, and the tax point is {supply.on}.",
            "ask the customer for a new certificate, or remove the exemption to charge tax",
        )
    inputs = {"exempt_until": str(until)}
    if certificate:
        inputs["certificate"] = certificate
    return supply.decide(
        "tax.exempt",
        TaxTreatment.EXEMPT,
        Decimal(0),
        f"Exempt from tax: certificate{named} valid until {last}.",
        **inputs,
    )


def _domestic(supply: _Supply, table: RateTable) -> TaxDecision | Finding:
    rate = table.find(supply.buyer, supply.buyer_region, supply.on)
    if rate is None:
        return _no_rate(supply, table)
    percent = rate.percent or Decimal(0)
    return supply.decide(
        "tax.domestic",
        TaxTreatment.STANDARD if percent else TaxTreatment.OUT_OF_SCOPE,
        percent,
        "" if percent else rate.note,
        **_of_rate(rate),
    )


def _no_rate(supply: _Supply, table: RateTable) -> Finding:
    rows = table.of_place(supply.buyer, supply.buyer_region)
    place = _place(supply.buyer, supply.buyer_region)
    if rows:
        return supply.hold(
            "no_rate",
            f"The tax rate of {place} is not known before {min(row.starts for row in rows)}, "
            f"and the tax point is {supply.on}.",
            "add the rate of that day to the table of tax rates",
        )
    if supply.buyer_region:
        return supply.hold(
            "unmapped_region",
            f"The table of tax rates has no row for {place}.",
            "correct the region, add its rate, or let the accounting system decide",
        )
    return supply.hold(
        "unmapped_region",
        f"The tax in {place} depends on the region, and the customer has none.",
        "give the customer's state or province",
    )


def _abroad(supply: _Supply, table: RateTable) -> TaxDecision | Finding:
    seller, buyer = supply.seller, supply.buyer
    if in_eu(buyer, supply.on) and not (supply.number and supply.checked):
        rate = table.find(buyer, supply.buyer_region, supply.on)
        consumer = (
            f"; a consumer there would be charged {plain(rate.percent)} % {rate.tax}"
            if rate is not None and rate.percent is not None
            else ""
        )
        return supply.hold(
            "no_vat_number",
            f"The customer in {buyer} has no checked VAT number, so it is not shown to be a business.",
            f"ask the customer for its VAT number{consumer}",
        )
    if in_eu(seller, supply.on) and in_eu(buyer, supply.on):
        return supply.decide(
            "tax.reverse_charge",
            TaxTreatment.REVERSE_CHARGE,
            Decimal(0),
            REVERSE_CHARGE,
            law="Directive 2006/112/EC, art. 44 and 196",
        )
    name = next((rate.tax for rate in table.rates if rate.country == seller), "tax")
    law = ""
    if in_eu(seller, supply.on):
        law = " (Art. 44 of Directive 2006/112/EC)"
    note = f"No {name} of {seller}: the service is supplied in {buyer}, where the customer is{law}."
    if in_eu(buyer, supply.on):
        note = f"{note} {REVERSE_CHARGE}"
    return supply.decide("tax.abroad", TaxTreatment.OUT_OF_SCOPE, Decimal(0), note)


def _of_rate(rate: TaxRate) -> dict[str, str]:
    inputs = {"tax": rate.tax, "rate_since": str(rate.starts), "source": rate.source}
    if rate.note:
        inputs["rate_note"] = rate.note
    return inputs
