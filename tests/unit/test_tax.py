from decimal import Decimal

import pytest

from domain.charge import Reason
from domain.contract import TaxTreatment
from domain.problems import Finding, Severity
from rules.tax import decide
from tests.builders import a_tax_profile, day

ON = day("2026-10-31")


def test_a_standard_profile_gives_its_rate():
    decision = decide(a_tax_profile(), "c1", ON)
    assert decision.percent == Decimal(19)
    assert decision.note == ""
    assert decision.treatment is TaxTreatment.STANDARD
    assert decision.reasons == (
        Reason(
            rule="tax.profile",
            inputs={
                "profile": "tax/c1",
                "country": "DE",
                "treatment": "standard",
                "percent": "19",
                "on": "2026-10-31",
            },
        ),
    )


@pytest.mark.parametrize(
    "treatment", [TaxTreatment.REVERSE_CHARGE, TaxTreatment.EXEMPT, TaxTreatment.OUT_OF_SCOPE]
)
def test_other_treatments_tax_nothing_whatever_the_rate_and_carry_their_words(treatment):
    profile = a_tax_profile(treatment=treatment, evidence="FR12345678901", wording="Art. 196")
    decision = decide(profile, "c1", ON)
    assert (decision.percent, decision.note) == (Decimal(0), "Art. 196")
    assert decision.buyer_tax_id == "FR12345678901"
    assert decision.reasons[0].inputs["evidence"] == "FR12345678901"


def found(profile):
    finding = decide(profile, "c1", ON)
    assert isinstance(finding, Finding)
    assert (finding.severity, finding.customer_id) == (Severity.HOLD, "c1")
    assert finding.record == "tax profile"
    return finding.check, finding.sentence, finding.hint


def test_without_a_profile_nothing_is_defaulted():
    assert found(None) == (
        "tax.no_profile",
        "The customer has no tax profile.",
        "give the billing contract a tax profile",
    )


@pytest.mark.parametrize("treatment", [TaxTreatment.REVERSE_CHARGE, TaxTreatment.EXEMPT])
def test_a_relief_needs_evidence(treatment):
    assert found(a_tax_profile(treatment=treatment)) == (
        "tax.no_evidence",
        f"The treatment {treatment.value} has no evidence (VAT number or certificate).",
        "enter the VAT number or the certificate on the tax profile",
    )


def test_out_of_scope_needs_its_reason_and_no_number():
    outside = {"treatment": TaxTreatment.OUT_OF_SCOPE}
    decision = decide(a_tax_profile(**outside, wording="Not taxable in CA."), "c1", ON)
    assert (decision.percent, decision.note) == (0, "Not taxable in CA.")
    assert found(a_tax_profile(**outside))[:2] == (
        "tax.no_evidence",
        "The treatment out_of_scope has neither evidence nor wording.",
    )


def test_a_stated_rate_of_nothing_needs_its_reason():
    assert found(a_tax_profile(rate_percent=Decimal(0)))[:2] == (
        "tax.no_evidence",
        "The treatment standard at 0 percent has neither evidence nor wording.",
    )
    zero = a_tax_profile(rate_percent=Decimal(0), wording="Zero-rated.")
    assert (decide(zero, "c1", ON).percent, decide(zero, "c1", ON).note) == (0, "Zero-rated.")


def test_evidence_is_good_on_its_last_day_and_lapsed_on_the_next():
    exempt = {"treatment": TaxTreatment.EXEMPT, "evidence": "EX-1"}
    assert decide(a_tax_profile(**exempt, valid_until=ON), "c1", ON).percent == 0
    assert found(a_tax_profile(**exempt, valid_until=day("2026-10-30"))) == (
        "tax.lapsed",
        "The tax evidence EX-1 ended on 2026-10-30.",
        "ask the customer for a new certificate, or set the treatment to standard",
    )
