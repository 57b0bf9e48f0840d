"""The tax of a customer's charges, from a profile with evidence; nothing is defaulted.

Limits: one rate per customer, taken from the profile; rates by country and the checking of VAT
numbers are not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from domain.contract import TaxProfile, TaxTreatment
from domain.problems import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxDecision:
    """The percentage for a document, and the words that it must carry."""

    percent: Decimal
    note: str
    buyer_tax_id: str


def decide(profile: TaxProfile | None, customer_id: str, on: date) -> TaxDecision | Finding:
    """Return the tax in force on a day; a missing profile or lapsed evidence is a finding."""
    if profile is None:
        return _hold(
            customer_id,
            "tax.no_profile",
            "The customer has no tax profile.",
            "give the billing contract a tax profile",
        )
    if profile.valid_until is not None and on > profile.valid_until:
        return _hold(
            customer_id,
            "tax.lapsed",
            f"The tax evidence {profile.evidence or profile.key} ended on {profile.valid_until}.",
            "ask the customer for a new certificate, or set the treatment to standard",
        )
    standard = profile.treatment is TaxTreatment.STANDARD
    if not standard and profile.treatment is not TaxTreatment.OUT_OF_SCOPE and not profile.evidence:
        return _hold(
            customer_id,
            "tax.no_evidence",
            f"The treatment {profile.treatment} has no evidence (VAT number or certificate).",
            "enter the VAT number or the certificate on the tax profile",
        )
    return TaxDecision(
        percent=profile.rate_percent if standard else Decimal(0),
        note=profile.wording,
        buyer_tax_id=profile.evidence,
    )


def _hold(customer_id: str, check: str, sentence: str, hint: str) -> Finding:
    return Finding(
        check=check,
        severity=Severity.HOLD,
        customer_id=customer_id,
        record="tax profile",
        sentence=sentence,
        hint=hint,
    )
