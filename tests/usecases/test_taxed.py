"""A month taxed by rules: what people enter decides the next draft, and what was wrong is answered."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from app.vat import valid_vat
from domain.contract import BillingContract, MarkupRule, TaxProfile
from domain.customer import Account, Address
from domain.period import Period
from domain.problems import Finding, Severity
from domain.run import RunStatus
from domain.tax import (
    ExemptionCertificate,
    NumberState,
    Seller,
    TaxCategory,
    TaxDecider,
    TaxDecision,
    TaxNumberCheck,
    TaxPart,
    TaxRate,
    TaxRegistration,
    TaxTreatment,
)
from invoice.document import DocumentStatus
from sync import drafts
from tests.builders import CUSTOMER, SOMEWHERE, a_line, an_account, day, issued
from tests.usecases.office import APPROVE, BILL, SYNC, an_office, work

OCTOBER, NOVEMBER = Period.month("2026-10"), Period.month("2026-11")
ALWAYS = Period(date.min, date.max)
FR, DE = "FR61954506077", "DE136695976"


@pytest.fixture
def office(tmp_path):
    """A partner in Germany whose customer is taxed by rules."""
    office = an_office(tmp_path)
    office.check_number = valid_vat
    work(office, SYNC)
    key = contract_of(office).tax_profile_key
    profile = TaxProfile(key=key, country="DE", treatment=TaxTreatment.BY_RULES, business=True)
    office.store.save(
        [
            Seller(key="seller/contoso", name="Contoso GmbH", address=Address(country="DE")),
            TaxRegistration(
                key="registration/de",
                seller_key="seller/contoso",
                country="DE",
                number=DE,
                valid=ALWAYS,
            ),
            profile,
        ]
    )
    return office


def contract_of(office):
    contracts = office.store.table(BillingContract).values()
    return next(one for one in contracts if one.customer_id == CUSTOMER)


def profile_is(office, **fields):
    contract = contract_of(office)
    profile = replace(office.store.table(TaxProfile)[contract.tax_profile_key], **fields)
    office.store.save([profile])
    postal_code = {"DE": "80331", "FR": "75001"}[profile.country]
    address = replace(SOMEWHERE, country=profile.country, postal_code=postal_code)
    account = an_account(id=contract.account_id, name=contract.account_name, address=address)
    office.store.table(Account)[account.id] = account


def decided_by(office, decider):
    office.store.save([replace(contract_of(office), tax_decider=decider)])


def drafted(office, period=OCTOBER):
    _, found = drafts.propose(office.ports, CUSTOMER, period)
    return found


def issued_october(office):
    work(office, BILL)
    work(office, APPROVE)


def november_comes(office):
    """Microsoft bills the next month of the seats."""
    key = "cost/I2/c/2026-11-14/10"
    line = a_line("cycleCharge", "2026-11-14", "2026-12-14", invoice_id="I2", key=key)
    office.store.save([line])


def rate_from(starts, percent):
    return TaxRate(
        country="DE", tax="VAT", starts=day(starts), percent=Decimal(percent), source="law"
    )


def paper_from(first):
    return ExemptionCertificate(
        key="certificate/1",
        customer_id=CUSTOMER,
        country="DE",
        number="EX-1",
        reason="Education",
        valid=Period(day(first), date.max),
        verified_by="Ann",
    )


def taxes(document):
    return [(str(line.amount.amount), str(line.tax.amount)) for line in document.lines]


def checks(found):
    return [finding.check for finding in found.findings]


def test_a_customer_at_home_is_taxed_at_the_rate_of_the_last_day_of_the_month(office):
    found = drafted(office)
    assert not found.held
    assert taxes(found.document) == [("120.00", "22.80")]
    assert (found.document.seller_tax_id, found.document.tax_point) == (DE, day("2026-10-31"))


def test_a_rate_that_is_entered_changes_the_next_draft_and_counts_from_its_day(office):
    def rate(starts):
        return TaxRate(
            country="DE", tax="VAT", starts=day(starts), percent=Decimal(20), source="adviser"
        )

    office.store.save([rate("2026-11-01")])
    assert taxes(drafted(office).document) == [("120.00", "22.80")]
    office.store.save([rate("2026-10-31")])
    assert taxes(drafted(office).document) == [("120.00", "24.00")]


def test_an_answer_of_the_register_makes_the_reverse_charge_and_its_age_holds(office):
    profile_is(office, country="FR", tax_number=FR)
    assert checks(drafted(office)) == ["tax.number_unchecked"]
    answer = TaxNumberCheck(
        number=FR,
        country="FR",
        state=NumberState.VALID,
        checked_at=datetime(2026, 11, 8, 5, tzinfo=UTC),
        source="VIES",
    )
    office.store.save([answer])
    found = drafted(office)
    assert found.findings == ()
    assert taxes(found.document) == [("120.00", "0.00")]
    assert found.document.lines[0].tax_category is TaxCategory.REVERSE_CHARGE
    assert (found.document.seller_tax_id, found.document.buyer_tax_id) == (DE, FR)
    # The register is down from now on: the last good answer counts for 30 days.
    for on, expected in [
        ("2026-11-30", []),
        ("2026-12-01", ["tax.number_ageing"]),
        ("2026-12-08", ["tax.number_ageing"]),
        ("2026-12-09", ["tax.number_old"]),
    ]:
        file, _ = drafts.propose(office.ports, CUSTOMER, OCTOBER)
        known = replace(drafts.tax.Known(), check_number=valid_vat)
        told = drafts.draft(file, OCTOBER, day(on), {}, taxing=known)
        assert [one for one in checks(told) if one.startswith("tax.")] == expected, on


def test_a_stated_reverse_charge_rests_on_the_number_that_it_prints(office):
    """Another number of the customer, however valid, does not help a refuted one onto an invoice."""

    def answer(number, state):
        asked = datetime(2026, 11, 8, 5, tzinfo=UTC)
        return TaxNumberCheck(
            number=number, country="FR", state=state, checked_at=asked, source="VIES"
        )

    stated = {"treatment": TaxTreatment.REVERSE_CHARGE, "country": "FR", "tax_number": FR}
    refuted = "FR53901821074"
    profile_is(office, **stated, evidence=refuted, wording="Reverse charge")
    office.store.save([answer(refuted, NumberState.INVALID), answer(FR, NumberState.VALID)])
    found = drafted(office)
    assert (found.document, found.held) == (None, True)
    assert refuted in found.findings[0].sentence
    profile_is(office, evidence=FR)
    assert drafted(office).document.buyer.tax_numbers == (FR,)


def test_a_certificate_counts_from_the_draft_after_it_was_entered(office):
    paper = ExemptionCertificate(
        key="certificate/1",
        customer_id=CUSTOMER,
        country="DE",
        number="EX-1",
        reason="Education",
        valid=Period(day("2026-10-31"), day("2026-11-01")),
        verified_by="Ann",
    )
    office.store.save([replace(paper, customer_id="somebody else")])
    assert taxes(drafted(office).document) == [("120.00", "22.80")]
    office.store.save([paper])
    found = drafted(office)
    assert taxes(found.document) == [("120.00", "0.00")]
    assert found.document.tax_note == "Exempt from tax: Education; certificate EX-1."
    assert checks(found) == ["tax.certificate_ending"]
    # It ended the day before the tax point: held, and billed when a new one is there.
    office.store.save([replace(paper, valid=Period(day("2026-01-01"), day("2026-10-31")))])
    assert checks(drafted(office)) == ["tax.lapsed"]
    renewed = replace(paper, key="certificate/2", number="EX-2", valid=ALWAYS)
    office.store.save([renewed])
    assert drafted(office).document.tax_note.endswith("certificate EX-2.")


def test_a_held_customer_is_billed_by_the_run_after_its_data_is_right(office):
    profile_is(office, country="FR")
    run = work(office, BILL)
    assert office.store.run(BILL.run_key).status is RunStatus.DONE_WITH_HOLDS, run
    assert "tax.no_vat_number" in {finding.check for finding in office.store.findings()}
    profile_is(office, country="DE")
    work(office, BILL)
    assert "tax.no_vat_number" not in {finding.check for finding in office.store.findings()}
    (document,) = [d for d in office.store.documents() if d.customer_id == CUSTOMER]
    assert (document.status, taxes(document)) == (DocumentStatus.DRAFT, [("120.00", "22.80")])


def test_a_rate_that_was_wrong_is_answered_where_the_profile_says_from_when(office):
    wrong = TaxRate(
        country="DE", tax="VAT", starts=day("2026-01-01"), percent=Decimal(7), source="a slip"
    )
    office.store.save([wrong])
    work(office, BILL)
    work(office, APPROVE)
    office.store.save([replace(wrong, percent=Decimal(19))])
    assert drafted(office).document is None  # what was invoiced was right in its time
    profile_is(office, right_from=day("2026-10-01"))
    assert taxes(drafted(office).document) == [("-120.00", "-8.40"), ("120.00", "22.80")]


def test_what_is_corrected_is_taxed_by_the_law_of_its_own_month(office):
    """The day from which all is corrected may stay set: a later law does not count backwards."""
    office.store.save([rate_from("2026-01-01", 19), rate_from("2026-11-01", 25)])
    issued_october(office)
    profile_is(office, right_from=day("2026-10-01"))
    november_comes(office)
    assert taxes(drafted(office, NOVEMBER).document) == [("120.00", "30.00")]


def test_what_was_wrong_becomes_what_was_right_in_its_month(office):
    office.store.save([rate_from("2026-01-01", 7)])
    issued_october(office)
    office.store.save([rate_from("2026-01-01", 19), rate_from("2026-11-01", 25)])
    profile_is(office, right_from=day("2026-10-01"))
    november_comes(office)
    document = drafted(office, NOVEMBER).document
    assert taxes(document) == [("-120.00", "-8.40"), ("120.00", "22.80"), ("120.00", "30.00")]
    assert "19 % is right (taxed as of 2026-10-31)" in document.lines[0].charge.why


def test_a_paper_that_begins_later_gives_no_tax_back(office):
    issued_october(office)
    november_comes(office)
    office.store.save([paper_from("2026-11-15")])
    assert taxes(drafted(office, NOVEMBER).document) == [("120.00", "0.00")]
    # Whether October was wrong cannot be decided by this paper, and a person is asked.
    profile_is(office, right_from=day("2026-10-01"))
    found = drafted(office, NOVEMBER)
    assert (found.held, found.document, checks(found)) == (True, None, ["tax.not_yet_valid"])
    assert "what belongs to 2026-10" in found.findings[0].hint
    assert "if it was taxed rightly, empty the day" in found.findings[0].hint


def test_what_is_billed_late_is_taxed_as_of_the_month_that_it_belongs_to(office):
    office.store.save([rate_from("2026-11-01", 25)])
    november_comes(office)  # October was never billed
    first, second = drafted(office, NOVEMBER).document.lines
    assert [str(line.tax.amount) for line in (first, second)] == ["22.80", "30.00"]
    assert first.charge.why.endswith("(taxed as of 2026-10-31)")
    assert {"on": "2026-10-31"}.items() <= first.charge.reasons[-1].inputs.items()
    assert "taxed as of" not in second.charge.why


def test_what_is_billed_late_and_taxed_alike_says_nothing_of_it(office):
    november_comes(office)
    document = drafted(office, NOVEMBER).document
    assert taxes(document) == [("120.00", "22.80"), ("120.00", "22.80")]
    assert not any("taxed as of" in line.charge.why for line in document.lines)


def test_what_is_billed_late_waits_where_its_month_cannot_be_decided(office):
    november_comes(office)
    registration = office.store.table(TaxRegistration)["registration/de"]
    valid = Period(day("2026-11-01"), date.max)
    office.store.save([replace(registration, valid=valid)])
    found = drafted(office, NOVEMBER)
    assert (found.document, checks(found)) == (None, ["tax.no_registration"])
    assert "2026-10-31" in found.findings[0].sentence
    assert "which can be billed before" in found.findings[0].hint
    assert "empty the day" not in found.findings[0].hint


def test_the_accounting_system_gets_amounts_before_tax(office):
    decided_by(office, TaxDecider.ACCOUNTING)
    document = drafted(office).document
    assert taxes(document) == [("120.00", "0.00")]
    assert document.tax_decided_by is TaxDecider.ACCOUNTING
    assert document.tax_note == "Amounts before tax; tax is added by the accounting system."


def cheaper(office):
    """October's price was wrong: 11.00 and not 12.00 for a seat."""
    rule = office.store.table(MarkupRule)["rule/licences"]
    office.store.save([replace(rule, value=Decimal(10))])


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (TaxDecider.ACCOUNTING, TaxDecider.RULES),
        (TaxDecider.RULES, TaxDecider.ACCOUNTING),
    ],
)
def test_a_correction_is_taxed_by_whoever_taxed_what_it_corrects(office, then, now):
    decided_by(office, then)
    issued_october(office)
    decided_by(office, now)
    november_comes(office)
    assert not drafted(office, NOVEMBER).held  # nothing is wrong
    cheaper(office)
    found = drafted(office, NOVEMBER)
    assert (found.document, checks(found)) == (None, ["correction.other_decider"])
    (finding,) = found.findings
    assert "decide the tax of this bill, too" in finding.hint
    # As the hint says.
    decided_by(office, then)
    document = drafted(office, NOVEMBER).document
    given, asked = ("-1.90", "20.90") if then is TaxDecider.RULES else ("0.00", "0.00")
    assert taxes(document) == [("-10.00", given), ("110.00", asked)]
    office.store.save_document(issued(document))
    decided_by(office, now)
    # Nothing of October is left; Microsoft has not billed December yet.
    assert checks(drafted(office, Period.month("2026-12"))) == ["seats.no_cost"]


def test_what_accounting_taxed_is_not_taxed_again_by_an_engine(office):
    decided_by(office, TaxDecider.ACCOUNTING)
    issued_october(office)
    decided_by(office, TaxDecider.ENGINE)
    office.tax_engine = Engine(TAXED_BY_ENGINE)
    profile_is(office, right_from=day("2026-10-01"))
    found = drafted(office)
    assert checks(found) == ["correction.other_decider"]
    assert "empty it" in found.findings[0].hint
    assert "corrected in the accounting system" in found.findings[0].hint
    profile_is(office, right_from=None)
    november_comes(office)
    assert taxes(drafted(office, NOVEMBER).document) == [("120.00", "22.80")]


def test_an_engine_is_asked_whether_no_tax_was_wrong(office):
    """What it answered before is of the category of what is not decided yet."""
    decided_by(office, TaxDecider.ENGINE)
    no_tax = TaxDecision(
        category=TaxCategory.OUT_OF_SCOPE, note="Not here.", decided_by=TaxDecider.ENGINE
    )
    office.tax_engine = Engine(no_tax)
    issued_october(office)
    profile_is(office, right_from=day("2026-10-01"))
    assert drafted(office).document is None
    office.tax_engine = Engine(TAXED_BY_ENGINE)
    assert taxes(drafted(office).document) == [("-120.00", "0.00"), ("120.00", "22.80")]


def another_seller(office):
    check = TaxNumberCheck(
        number=DE,
        country="DE",
        state=NumberState.VALID,
        checked_at=datetime(2026, 11, 8, 5, tzinfo=UTC),
        source="VIES",
    )
    registration = TaxRegistration(
        key="registration/fr", seller_key="seller/fr", country="FR", number=FR, valid=ALWAYS
    )
    seller = Seller(key="seller/fr", name="Contoso SARL", address=Address(country="FR"))
    office.store.save([seller, registration, check])
    profile_is(office, tax_number=DE)


def sold_by(office, key):
    office.store.save([replace(contract_of(office), seller_key=key)])


def test_a_company_corrects_what_it_billed_itself(office):
    issued_october(office)
    another_seller(office)
    sold_by(office, "seller/fr")
    cheaper(office)
    november_comes(office)
    found = drafted(office, NOVEMBER)
    assert (found.document, checks(found)) == (None, ["correction.other_seller"])
    (finding,) = found.findings
    assert "was sold by Contoso GmbH" in finding.sentence
    # As the hint says.
    first = replace(contract_of(office), seller_key="seller/contoso", ends=day("2026-11-01"))
    then = replace(
        first, key="contract/c1/fr", seller_key="seller/fr", starts=day("2026-11-01"), ends=None
    )
    office.store.save([first, then])
    document = drafted(office, NOVEMBER).document
    assert (document.seller.name, taxes(document)) == ("Contoso SARL", [("110.00", "0.00")])


def test_a_company_of_another_name_is_the_same_by_its_numbers(office):
    issued_october(office)
    seller = office.store.table(Seller)["seller/contoso"]
    office.store.save([replace(seller, name="Contoso Deutschland GmbH")])
    cheaper(office)
    assert taxes(drafted(office).document) == [("-10.00", "-1.90")]


TAXED_BY_ENGINE = TaxDecision(
    category=TaxCategory.STANDARD,
    parts=(TaxPart(name="VAT", jurisdiction="DE", percent=Decimal(19)),),
    decided_by=TaxDecider.ENGINE,
)


def test_a_correction_of_a_reverse_charge_names_whose_it_was(office):
    """The customer has moved since, and is no longer billed by that number."""
    answered = datetime(2026, 11, 8, 5, tzinfo=UTC)
    check = TaxNumberCheck(
        number=FR, country="FR", state=NumberState.VALID, checked_at=answered, source="VIES"
    )
    office.store.save([check])
    profile_is(office, country="FR", tax_number=FR)
    issued_october(office)
    profile_is(office, country="DE", tax_number="")
    cheaper(office)
    credit = drafted(office).document
    assert credit.lines[0].tax_category is TaxCategory.REVERSE_CHARGE
    assert (credit.buyer_tax_id, credit.buyer.tax_numbers) == (FR, (FR,))
    # Beside what is taxed as of today both are told, the one of today first.
    profile_is(office, tax_number="DE136695976")
    november_comes(office)
    both = drafted(office, NOVEMBER).document
    assert [line.tax_category for line in both.lines] == ["AE", "S"]
    assert both.buyer_tax_id == f"{DE}, {FR}"
    assert both.buyer.tax_numbers == (DE, FR)


class Engine:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def decide(self, question):
        self.asked.append(question)
        return self.answer


def test_an_engine_is_asked_about_the_lines_before_tax_and_its_answer_is_billed(office):
    decided_by(office, TaxDecider.ENGINE)
    part = TaxPart(name="VAT", jurisdiction="DE", percent=Decimal(19))
    office.tax_engine = Engine(
        TaxDecision(category=TaxCategory.STANDARD, parts=(part,), decided_by=TaxDecider.ENGINE)
    )
    document = drafted(office).document
    assert taxes(document) == [("120.00", "22.80")]
    assert document.tax_decided_by is TaxDecider.ENGINE
    (question,) = office.tax_engine.asked
    assert [str(line.amount) for line in question.lines] == ["120.00"]
    assert (question.seller.name, question.seller.tax_numbers) == ("Contoso GmbH", (DE,))
    assert (question.buyer.address.country, question.tax_point) == ("DE", day("2026-10-31"))
    again = drafted(office).document
    assert again == document
    assert len({one.digest for one in office.tax_engine.asked}) == 1


def test_an_engine_that_refuses_or_is_not_there_holds(office):
    decided_by(office, TaxDecider.ENGINE)
    assert checks(drafted(office)) == ["tax.no_engine"]
    refusal = Finding(
        check="tax.engine_refused",
        severity=Severity.HOLD,
        customer_id=CUSTOMER,
        record="tax engine",
        sentence="The tax engine does not know the address.",
        hint="correct it",
    )
    office.tax_engine = Engine(refusal)
    assert [one.sentence for one in drafted(office).findings] == [refusal.sentence]
    # What holds the customer anyway costs no question.
    office.tax_engine.asked.clear()
    office.store.save([replace(contract_of(office), account_id="")])
    assert "mapping.no_account" in checks(drafted(office))
    assert office.tax_engine.asked == []
