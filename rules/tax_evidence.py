"""What decides a customer's tax besides its profile: seller, papers, answers, rates, and the policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from domain.customer import Address
from domain.problems import Finding, Severity
from domain.tax import (
    ExemptionCertificate,
    Seller,
    TaxCategory,
    TaxDecider,
    TaxDecision,
    TaxNumberCheck,
    TaxPolicy,
    TaxRate,
    TaxRegistration,
    TaxTreatment,
    printed_number,
    vat_country,
)
from rules.tax_places import CheckVat, fold, territory_of

CATEGORY_OF = {
    TaxTreatment.STANDARD: TaxCategory.STANDARD,
    TaxTreatment.REVERSE_CHARGE: TaxCategory.REVERSE_CHARGE,
    TaxTreatment.EXEMPT: TaxCategory.EXEMPT,
    TaxTreatment.OUT_OF_SCOPE: TaxCategory.OUT_OF_SCOPE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known besides the tax profile, and what the partner asks of evidence."""

    decider: TaxDecider = TaxDecider.RULES
    seller: Seller | None = None
    registrations: tuple[TaxRegistration, ...] = ()
    """Of the seller."""
    certificates: tuple[ExemptionCertificate, ...] = ()
    """Of the customer."""
    buyer_address: Address | None = None
    """Where the account is; its town and postal code tell islands and enclaves. None: not known."""
    number_checks: tuple[TaxNumberCheck, ...] = ()
    rates: tuple[TaxRate, ...] = ()
    """The partner's own; they go before those that ship with the product."""
    faults: tuple[Finding, ...] = ()
    """Rows of these that could not be read."""
    answer: TaxDecision | Finding | None = None
    """Of the tax engine; None: it was not asked."""
    policy: TaxPolicy = field(default_factory=TaxPolicy)
    check_number: CheckVat | None = None
    """Form and check digits of a number; None: not looked at."""
    today: date | None = None
    """The age of answers and the nearness of ends count from it; None: from the tax point."""

    def check_of(self, number: str) -> TaxNumberCheck | None:
        """Return what a register or the form said of a number."""
        wanted = printed_number(number)
        return next((c for c in self.number_checks if printed_number(c.number) == wanted), None)

    def registration(self, country: str, region: str, on: date) -> TaxRegistration | None:
        """Return the seller's registration for a country's tax, or for a region's, on a day.

        Of several the one that began last. Countries that are one VAT territory share theirs.
        """
        found = [one for one in self._registrations(country, region) if on in one.valid]
        return max(found, key=lambda one: one.valid.start, default=None)

    def ended(self, country: str, region: str, on: date) -> TaxRegistration | None:
        """Return the seller's registration there that ended last before a day, or on it."""
        found = [one for one in self._registrations(country, region) if one.valid.end <= on]
        return max(found, key=lambda one: one.valid.end, default=None)

    def _registrations(self, country: str, region: str) -> list[TaxRegistration]:
        home = territory_of(vat_country(country))
        return [
            one
            for one in self.registrations
            if territory_of(vat_country(one.country)) == home
            and fold(one.region.strip().casefold().removeprefix(f"{home.casefold()}-"))
            == fold(region)
        ]

    def number_in(self, country: str, on: date) -> str:
        """Return the seller's tax number in a country on a day; empty where there is none."""
        found = self.registration(country, "", on)
        return found.number if found else ""


def tax_hold(customer_id: str, record: str, check: str, sentence: str, hint: str) -> Finding:
    """Return the finding that holds a customer until its tax is known."""
    return Finding(
        check=check,
        severity=Severity.HOLD,
        customer_id=customer_id,
        record=record,
        sentence=sentence,
        hint=hint,
    )
