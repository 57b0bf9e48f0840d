"""The tax of a customer's bill: one decision with its evidence, or the hold that says what is missing.

A tax profile leaves it to the rules (`rules.tax_rules`), or a person stated treatment, rate and
evidence; a contract may leave it to a tax engine or to the accounting system. Nothing is defaulted:
what is not shown to be right holds the customer. Not tax advice.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from domain.charge import Reason
from domain.contract import TaxProfile
from domain.money import plain
from domain.problems import Finding, Severity
from domain.tax import (
    ExemptionCertificate,
    TaxCategory,
    TaxDecider,
    TaxDecision,
    TaxPart,
    TaxRegistration,
    TaxTreatment,
    vat_country,
)
from rules.number_checks import is_refuted, refuted
from rules.tax_case import no_seller
from rules.tax_evidence import CATEGORY_OF, Known, tax_hold
from rules.tax_places import Wrong, look_at_number
from rules.tax_rules import decide_by_rules

__all__ = ["Known", "TaxDecision", "decide", "warnings"]

CERTIFICATE_WARNING_DAYS = 30
"""So many days before its end a certificate is told of."""
NUMBER_WARNING_DAYS = 7
"""So many days before it stops to count an answer about a number is told of: it is asked for anew
earlier, so that it gets this old only where its register does not answer."""


def decide(
    profile: TaxProfile | None, customer_id: str, on: date, known: Known | None = None
) -> TaxDecision | Finding:
    """Return the tax of a document whose tax point is `on`, or the finding that holds the customer."""
    known = known or Known()
    if known.decider is TaxDecider.ACCOUNTING:
        # The document says by itself that its amounts are before tax.
        return TaxDecision(
            category=TaxCategory.OUT_OF_SCOPE,
            decided_by=TaxDecider.ACCOUNTING,
            reasons=(Reason(rule="tax.accounting", inputs={"on": str(on)}),),
        )
    if profile is None:
        return tax_hold(
            customer_id,
            "tax profile",
            "tax.no_profile",
            "The customer has no tax profile.",
            "give the billing contract a tax profile",
        )
    if known.decider is TaxDecider.ENGINE:
        if known.seller is None:
            return no_seller(customer_id)
        if isinstance(known.answer, TaxDecision):
            return _not_refuted(known.answer, profile, customer_id, known)
        return known.answer or tax_hold(
            customer_id,
            "tax profile",
            "tax.no_engine",
            "The contract leaves its tax to a tax engine, and none could be asked.",
            "set the engine's address (CSP_TAX_ENGINE_URL), or let the contract decide by rules",
        )
    if profile.treatment is TaxTreatment.BY_RULES:
        return decide_by_rules(profile, customer_id, on, known)
    return _stated(profile, customer_id, on, known)


def _not_refuted(
    answer: TaxDecision, profile: TaxProfile, customer_id: str, known: Known
) -> TaxDecision | Finding:
    """Return an engine's decision, unless it rests on a number that a register says is none."""
    if answer.category is TaxCategory.REVERSE_CHARGE:
        for number in (answer.buyer_tax_id, profile.checked_number):
            check = known.check_of(number) if number else None
            if check is not None and is_refuted(check):
                return refuted(check, customer_id)
    return answer


def _stated(profile: TaxProfile, customer_id: str, on: date, known: Known) -> TaxDecision | Finding:
    if profile.valid_until is not None and on > profile.valid_until:
        return tax_hold(
            customer_id,
            "tax profile",
            "tax.lapsed",
            f"The tax evidence {profile.evidence or profile.key} ended on {profile.valid_until}.",
            "ask the customer for a new certificate, or set the treatment to standard",
        )
    treatment = profile.treatment
    standard = treatment is TaxTreatment.STANDARD
    unexplained = treatment is TaxTreatment.OUT_OF_SCOPE or (standard and not profile.rate_percent)
    if unexplained and not (profile.evidence or profile.wording):
        rate = " at 0 percent" if standard else ""
        return tax_hold(
            customer_id,
            "tax profile",
            "tax.no_evidence",
            f"The treatment {treatment}{rate} has neither evidence nor wording.",
            "enter the rate, or the reason why there is no tax as the wording of the tax profile",
        )
    if treatment not in {TaxTreatment.STANDARD, TaxTreatment.OUT_OF_SCOPE} and not profile.evidence:
        return tax_hold(
            customer_id,
            "tax profile",
            "tax.no_evidence",
            f"The treatment {treatment} has no evidence (VAT number or certificate).",
            "enter the VAT number or the certificate on the tax profile",
        )
    answer = known.check_of(profile.checked_number) if profile.checked_number else None
    if answer is not None and is_refuted(answer):
        return refuted(answer, customer_id)
    country = vat_country(profile.country)
    if treatment is TaxTreatment.REVERSE_CHARGE and known.check_number is not None:
        looked = look_at_number(country, profile.evidence, known.check_number)
        if isinstance(looked, Wrong):
            found = tax_hold(customer_id, "tax profile", "", looked.sentence, looked.hint)
            return replace(found, check=looked.check)
    percent = profile.rate_percent if standard else Decimal(0)
    inputs = {
        "profile": profile.key,
        "country": profile.country,
        "treatment": treatment.value,
        "percent": plain(percent),
        "on": str(on),
    }
    if profile.evidence:
        inputs["evidence"] = profile.evidence
    where = country if standard or known.seller is None else known.seller.address.country
    part = TaxPart(name="Tax", jurisdiction=country, percent=percent)
    return TaxDecision(
        category=TaxCategory.ZERO if standard and not percent else CATEGORY_OF[treatment],
        parts=(part,) if percent else (),
        note=profile.wording,
        seller_tax_id=known.number_in(where, on),
        buyer_tax_id=profile.evidence,
        reasons=(Reason(rule="tax.profile", inputs=inputs),),
    )


def warnings(
    profile: TaxProfile | None, customer_id: str, decision: TaxDecision, known: Known
) -> list[Finding]:
    """Return what a decision rests on that will soon count no more; nothing without `known.today`."""
    if profile is None or known.today is None or decision.decided_by is not TaxDecider.RULES:
        return []
    told = {name: text for reason in decision.reasons for name, text in reason.inputs.items()}
    used = told.get("certificate_key", "").split(", ")
    papers = [one for one in known.certificates if one.key in used]
    ends = [
        (f"exemption certificate {one.number}", one.valid.last_day)
        for one in papers
        if one.valid.end < date.max and not _followed(one, known)
    ]
    stated = profile.treatment not in {TaxTreatment.BY_RULES, TaxTreatment.STANDARD}
    if stated and profile.valid_until is not None:
        ends.append((f"tax evidence {profile.evidence or profile.key}", profile.valid_until))
    soon = known.today + timedelta(days=CERTIFICATE_WARNING_DAYS)
    found = [
        Finding(
            check="tax.certificate_ending",
            severity=Severity.WARN,
            customer_id=customer_id,
            record=what,
            sentence=f"The {what} ends on {last}; later bills are held without a new one.",
            hint="ask the customer for a new certificate and enter it",
        )
        for what, last in ends
        if last <= soon
    ]
    found += [
        Finding(
            check="tax.certificate_unverified",
            severity=Severity.WARN,
            customer_id=customer_id,
            record=f"exemption certificate {one.number}",
            sentence=f"Nobody is named who verified the exemption certificate {one.number}.",
            hint="look at the paper, and enter who verified it and when",
        )
        for one in papers
        if not one.verified_by
    ]
    found += [
        Finding(
            check="tax.registration_ending",
            severity=Severity.WARN,
            customer_id=customer_id,
            record=f"tax registration {one.number or one.key}",
            sentence=f"The selling company's registration {one.number or one.key} in "
            f"{_place(one)} ends on {one.valid.last_day}; later bills are held without another.",
            hint="enter the registration that follows, or correct its end, under Tax registrations",
        )
        for one in _charging(decision, known)
        if one.valid.last_day <= soon and not _registered_next(one, known)
    ]
    check = known.check_of(decision.buyer_tax_id)
    if check is not None and check.checked_at is not None and "number_answered_on" in told:
        left = known.policy.number_days - (known.today - check.checked_at.date()).days
        if left <= NUMBER_WARNING_DAYS:
            found.append(
                Finding(
                    check="tax.number_ageing",
                    severity=Severity.WARN,
                    customer_id=customer_id,
                    record=f"tax number {check.number}",
                    sentence=(
                        f"{check.source} last answered about the tax number {check.number} on "
                        f"{check.checked_at.date()}; that counts for {left} more days."
                    ),
                    hint="run sync to ask again; if the register is down, wait for it",
                )
            )
    return found


def _charging(decision: TaxDecision, known: Known) -> list[TaxRegistration]:
    """Return the registrations by whose numbers a document is taxed, or states a reverse charge."""
    printed = decision.seller_tax_id.split(", ")
    used = decision.category in {TaxCategory.STANDARD, TaxCategory.REVERSE_CHARGE}
    return [
        one
        for one in known.registrations
        if used
        and one.valid.end < date.max
        and (one.number in printed if one.number else _place(one) in _jurisdictions(decision))
    ]


def _jurisdictions(decision: TaxDecision) -> set[str]:
    return {part.jurisdiction for part in decision.parts}


def _place(one: TaxRegistration) -> str:
    return "-".join(filter(None, (vat_country(one.country), one.region.strip())))


def _registered_next(one: TaxRegistration, known: Known) -> bool:
    """Say whether another registration of the place is in force on the day on which this one ends."""
    return any(
        one.valid.end in other.valid and _place(other) == _place(one)
        for other in known.registrations
    )


def _followed(one: ExemptionCertificate, known: Known) -> bool:
    """Say whether another certificate is valid on the day on which this one ends."""
    return any(
        one.valid.end in other.valid
        and vat_country(other.country) == vat_country(one.country)
        and other.region.strip().casefold() in {"", one.region.strip().casefold()}
        for other in known.certificates
    )
