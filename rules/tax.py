"""The tax of a customer's charges, from a profile with evidence; nothing is defaulted.

Limits: one rate per customer, taken from the profile. `rules.tax_supply` decides the same from the
countries of seller and buyer, a table of rates and a checked VAT number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from domain.charge import Reason
from domain.contract import TaxProfile
from domain.money import plain
from domain.problems import Finding, Severity
from domain.tax import TaxTreatment


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxDecision:
    """The percentage for a document, and the words that it must carry."""

    percent: Decimal
    note: str
    buyer_tax_id: str
    treatment: TaxTreatment
    reasons: tuple[Reason, ...]


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
    percent = profile.rate_percent if standard else Decimal(0)
    inputs = {
        "profile": profile.key,
        "country": profile.country,
        "treatment": profile.treatment.value,
        "percent": plain(percent),
        "on": str(on),
    }
    if profile.evidence:
        inputs["evidence"] = profile.evidence
    return TaxDecision(
        percent=percent,
        note=profile.wording,
        buyer_tax_id=profile.evidence,
        treatment=profile.treatment,
        reasons=(Reason(rule="tax.profile", inputs=inputs),),
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
