"""Billing a month: the input is proved, a hold keeps a customer out, twice is once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from domain.contract import Alignment, BillingContract, MarkupRule, TaxProfile, Timing
from domain.customer import DelegatedAdminRelationship
from domain.period import Frequency, Period
from domain.problems import InputError, NotAuthorised, ServiceError, Severity, Unavailable
from domain.run import RunStatus, UnitStatus
from domain.subscription import (
    CostKind,
    CostLine,
    EventSource,
    EventType,
    Subscription,
    SubscriptionEvent,
)
from domain.tax import TaxRounding
from invoice.document import DocumentKind, DocumentStatus
from invoice.pdf import to_pdf
from sync import approval, bill, drafts, runs
from sync.ledger import LEASE
from sync.messages import BillUnit, StartRun
from tests.builders import (
    CUSTOMER,
    a_contract,
    a_line,
    a_pass_on,
    a_price,
    a_rule,
    a_share,
    an_agreement,
    day,
    issued,
)
from tests.fakes import Crash
from tests.usecases.office import (
    APPROVE,
    BILL,
    NORTHWIND,
    SYNC,
    a_fault,
    an_invoice_head,
    an_office,
    totals,
    work,
)

BILL_FABRIKAM = StartRun(kind="bill", period="2026-10", customer_id=CUSTOMER)


@pytest.fixture
def office(tmp_path):
    return an_office(tmp_path)


@pytest.fixture
def synced(office):
    work(office, SYNC)
    return office


def run_of(office, message=BILL):
    return office.store.run(message.run_key)


def unit_of(office, customer_id=CUSTOMER):
    return office.store.ledger[f"bill/{customer_id}/2026-10"][0]


# --- the input is proved ---------------------------------------------------------------------------


def refused(office, message=BILL):
    """The sentence of a refusal, which must not have written anything."""
    writes = len(office.store.writes)
    with pytest.raises(InputError) as caught:
        work(office, message)
    assert len(office.store.writes) == writes
    return f"{caught.value} ({caught.value.hint})"


def test_without_microsofts_invoice_nothing_is_billed(synced):
    synced.partner_center.heads = []
    assert refused(synced) == (
        "Microsoft has not issued an invoice for 2026-10 yet "
        "(bill a month from about the 8th of the next one on)"
    )


def test_a_month_whose_invoice_was_voided_waits_for_the_one_that_replaces_it(synced):
    synced.partner_center.heads = [an_invoice_head("0", voided_on=day("2026-11-10"))]
    assert refused(synced).startswith("Microsoft has not issued an invoice for 2026-10 yet")
    synced.partner_center.heads.append(an_invoice_head("0.00", id="I2"))
    assert refused(synced) == (
        "The 2 imported lines of I1 sum to 150.00 USD, the invoice says 0: not reconcilable. "
        "(run sync first; then bill again)"
    )


def test_an_invoice_that_was_not_imported_refuses_the_run(office):
    assert refused(office) == (
        "The 0 imported lines of I1 sum to 0 USD, the invoice says 150.00: not reconcilable. "
        "(run sync first; then bill again)"
    )


def test_an_incomplete_import_refuses_the_run(office):
    office.partner_center.heads = [an_invoice_head("151.00")]
    work(office, SYNC)
    assert refused(office).startswith("The 0 imported lines of I1 sum to 0 USD")


def test_an_invoice_head_that_cannot_be_read_refuses_the_run(synced):
    fault = a_fault("wire.invoice", "", severity=Severity.BLOCK, sentence="Unreadable.", hint="Ask")
    synced.partner_center.heads.append(fault)
    assert refused(synced) == "Unreadable. (Ask)"


def test_an_invoice_that_is_not_billed_on_is_no_obstacle(synced):
    synced.partner_center.heads.append(a_fault("wire.invoice", ""))
    work(synced, BILL)
    assert run_of(synced).status is RunStatus.DONE


def test_a_run_without_a_month_is_refused(synced):
    assert refused(synced, StartRun(kind="bill")).startswith("kind bill needs a period")


def test_a_customer_that_is_not_there_is_refused(synced):
    message = BILL.model_copy(update={"customer_id": "nobody"})
    assert refused(synced, message).startswith("there is no customer nobody")


# --- drafts ----------------------------------------------------------------------------------------


def test_the_month_is_drafted_to_the_cent(synced):
    work(synced, BILL)
    assert totals(synced) == {"Fabrikam Toys draft": "142.80", "Northwind Traders draft": "65.45"}
    assert run_of(synced).status is RunStatus.DONE
    northwind = synced.store.documents(customer_id=NORTHWIND)[0]
    assert [str(line.amount.amount) for line in northwind.lines] == ["33.00", "22.00"]


def test_the_second_run_of_a_settled_month_writes_nothing_but_when_somebody_asked_for_it(synced):
    work(synced, BILL)
    assert synced.written(lambda: work(synced, BILL)) == []
    by_anna = BILL.model_copy(update={"by": "Anna"})
    assert synced.written(lambda: work(synced, by_anna)) == [f"save {BILL.run_key}"] * 2


def test_a_late_message_of_a_settled_unit_writes_nothing(synced):
    work(synced, BILL)
    unit = BillUnit(run_key=BILL.run_key, customer_id=CUSTOMER, period="2026-10")
    assert synced.written(lambda: bill.work(synced.ports, unit)) == []


def test_one_customer_can_be_billed_alone(synced):
    work(synced, BILL_FABRIKAM)
    assert totals(synced) == {"Fabrikam Toys draft": "142.80"}
    run = run_of(synced, BILL_FABRIKAM)
    assert (run.status, run.counts["customers"], run.counts["cost_lines"]) == (
        RunStatus.DONE,
        1,
        1,
    )
    (total,) = run.totals
    assert (total.microsoft, total.billed, total.residual) == (Decimal(100), Decimal(100), 0)
    assert synced.store.findings() == []  # Northwind is not unexplained, it was not asked for
    work(synced, BILL)
    assert totals(synced) == {"Fabrikam Toys draft": "142.80", "Northwind Traders draft": "65.45"}
    assert run_of(synced).counts["cost_lines"] == 2


def test_a_hold_of_another_customer_is_none_of_this_run(office):
    del office.store.table(BillingContract)["contract/c2"]
    work(office, SYNC, BILL, BILL_FABRIKAM)
    assert run_of(office).status is RunStatus.DONE_WITH_HOLDS
    assert run_of(office, BILL_FABRIKAM).status is RunStatus.DONE


def test_a_dry_run_computes_the_same_and_writes_nothing(synced):
    made = []

    def propose():
        units = bill.plan(synced.ports, BILL)
        found = [drafts.propose(synced.ports, unit.customer_id, unit.month) for unit in units]
        made.extend(draft.document for _, draft in found)

    assert synced.written(propose) == []
    work(synced, BILL)
    assert made == list(synced.store.documents())


def test_a_contract_that_starts_later_bills_nothing(synced):
    synced.store.save([a_contract(tax_profile_key="tax/de", starts=day("2026-11-01"))])
    work(synced, BILL)
    assert totals(synced) == {"Northwind Traders draft": "65.45"}
    assert run_of(synced).totals[0].excluded == Decimal("100.00")


def test_a_draft_is_replaced_by_what_is_right_now(synced):
    """The worker died between the draft and the settling, and a rule was mended meanwhile."""
    die_after(synced, "document invoice/c1/2026-10/USD/1")
    rule = synced.store.table(MarkupRule)["rule/licences"]
    synced.store.save([replace(rule, value=Decimal(25))])
    work(synced, BILL)
    assert totals(synced)["Fabrikam Toys draft"] == "148.75"  # 100.00 + 25 % + 19 %
    assert len(synced.store.documents()) == 2


def test_a_stale_draft_is_discarded_when_the_customer_is_held(synced):
    die_after(synced, "document invoice/c1/2026-10/USD/1")
    synced.store.table(DelegatedAdminRelationship).clear()
    work(synced, BILL)
    assert totals(synced) == {}
    assert unit_of(synced).status is UnitStatus.HELD


def die_after(office, write):
    """Bill until a row is written, then die; the lease of the dead worker runs out."""

    class Stop(list):
        def append(self, what):
            super().append(what)
            if what == write:
                raise Crash

    office.store.writes = Stop(office.store.writes)
    with pytest.raises(Crash):
        work(office, BILL)
    office.store.writes = list(office.store.writes)
    office.queue.waiting.clear()
    office.clock.advance(LEASE)


# --- holds -----------------------------------------------------------------------------------------


def test_a_held_customer_has_no_document_and_the_others_go_on(office):
    office.partner_center.signed = [an_agreement(customer_id=NORTHWIND)]
    work(office, SYNC, BILL)
    assert totals(office) == {"Northwind Traders draft": "65.45"}
    assert (run_of(office).status, unit_of(office).status) == (
        RunStatus.DONE_WITH_HOLDS,
        UnitStatus.HELD,
    )
    (finding,) = office.store.findings()
    assert finding.sentence == "The customer has not accepted the Microsoft Customer Agreement."
    (total,) = run_of(office).totals
    assert (total.billed, total.held, total.residual) == (Decimal(50), Decimal(100), 0)


def test_held_again_for_the_same_reasons_writes_nothing(office):
    office.partner_center.signed = [an_agreement(customer_id=NORTHWIND)]
    work(office, SYNC, BILL)
    assert office.written(lambda: work(office, BILL)) == []


def test_a_held_customer_is_billed_when_the_cause_is_gone_and_only_then(office):
    office.partner_center.signed = [an_agreement(customer_id=NORTHWIND)]
    work(office, SYNC, BILL, BILL)
    assert "Fabrikam Toys draft" not in totals(office)
    office.store.save([an_agreement()])
    work(office, BILL)
    assert totals(office) == {"Fabrikam Toys draft": "142.80", "Northwind Traders draft": "65.45"}
    assert office.store.findings() == []
    assert (run_of(office).status, run_of(office).counts["held"]) == (RunStatus.DONE, 0)
    assert run_of(office).totals[0].held == 0


def test_a_customer_held_for_another_reason_gets_the_new_finding(office):
    office.partner_center.signed = [an_agreement(customer_id=NORTHWIND)]
    work(office, SYNC, BILL)
    office.store.save([an_agreement()])
    del office.store.table(BillingContract)["contract/c1"]
    work(office, BILL)
    assert [one.check for one in office.store.findings()] == ["mapping.no_contract"]


@pytest.mark.parametrize("check", ["wire.subscription", "wire.cost_line", "customer.unreachable"])
def test_a_record_that_could_not_be_read_holds_its_customer(synced, check):
    synced.store.save([a_fault(check)])
    work(synced, BILL)
    assert totals(synced) == {"Northwind Traders draft": "65.45"}
    assert unit_of(synced).status is UnitStatus.HELD
    assert [one.check for one in synced.store.findings()] == [check]
    assert synced.written(lambda: work(synced, BILL)) == []
    synced.store.replace_findings((check,), CUSTOMER, [])
    work(synced, BILL)
    assert totals(synced)["Fabrikam Toys draft"] == "142.80"


def test_a_fault_in_an_old_invoice_holds_what_asks_for_the_lines_of_its_month(synced):
    record = "invoice I1: usage file part-0.json.gz: has no BillingPreTaxTotal that is a number"
    november = Period.month("2026-11")
    fault = a_fault("wire.usage", NORTHWIND, record=record)
    synced.store.save([fault])
    assert drafts.propose(synced.ports, NORTHWIND, Period.month("2026-10"))[1].held
    assert drafts.propose(synced.ports, NORTHWIND, november)[1].held
    synced.store.replace_findings((fault.check,), NORTHWIND, [])
    work(synced, BILL)
    synced.store.save([fault])
    assert not drafts.propose(synced.ports, NORTHWIND, november)[1].held
    synced.partner_center.heads.append(
        an_invoice_head("50.00", id="I2", billed=november, issued_on=day("2026-12-08"))
    )
    synced.store.save(
        [
            a_pass_on(
                CostKind.USAGE,
                "50.00",
                key="cost/I2/used/1",
                invoice_id="I2",
                customer_id=NORTHWIND,
                charged=november,
                shares=(a_share("50"),),
            )
        ]
    )
    later = {"period": "2026-11"}
    work(synced, StartRun(kind="bill", **later), StartRun(kind="approve", **later))
    (total,) = run_of(synced, StartRun(kind="bill", **later)).totals
    assert (total.billed, total.held) == (50, 0)
    documents = synced.store.documents(customer_id=NORTHWIND)
    assert {(one.period.start.month, one.status) for one in documents} == {
        (10, DocumentStatus.DRAFT),
        (11, DocumentStatus.ISSUED),
    }


def test_a_fault_in_an_invoice_without_lines_holds_every_bill(synced):
    synced.store.save([a_fault("wire.usage", NORTHWIND, record="invoice I9: usage file: is torn")])
    for month in ("2026-10", "2026-11"):
        assert drafts.propose(synced.ports, NORTHWIND, Period.month(month))[1].held


def test_a_warning_holds_nobody(synced):
    synced.store.save([a_fault("wire.customer", severity=Severity.WARN)])
    work(synced, BILL)
    assert totals(synced)["Fabrikam Toys draft"] == "142.80"
    assert run_of(synced).status is RunStatus.DONE


@pytest.mark.parametrize(("ends", "charged"), [("2026-10-14", 0), ("2026-10-15", 1)])
def test_what_is_served_after_the_contract_ended_is_not_charged(synced, ends, charged):
    """Fabrikam's cycle starts on 14 October: the day on which the contract ends is not in it."""
    contract = synced.store.table(BillingContract)["contract/c1"]
    synced.store.save([replace(contract, ends=day(ends))])
    work(synced, BILL)
    lines = [
        line
        for document in synced.store.documents(customer_id=contract.customer_id)
        for line in document.lines
    ]
    assert len(lines) == charged


def test_a_mended_rule_mends_the_draft_and_leaves_what_was_issued(synced):
    work(synced, BILL)
    assert totals(synced)["Fabrikam Toys draft"] == "142.80"
    rule = synced.store.table(MarkupRule)["rule/licences"]
    synced.store.save([replace(rule, value=Decimal(30))])
    work(synced, BILL)
    assert totals(synced)["Fabrikam Toys draft"] == "154.70"  # 130.00 + 19 %
    work(synced, APPROVE)
    synced.store.save([rule])
    before = list(synced.store.writes)
    work(synced, BILL)
    assert totals(synced)["Fabrikam Toys INV-202610-0001"] == "154.70"
    assert synced.store.writes == before


def test_seats_that_microsoft_billed_otherwise_hold_the_customer(synced):
    """A change that was missed shows in Microsoft's line; no invoice leaves with the old number."""
    subscription = next(iter(synced.store.table(Subscription).values()))
    missed = SubscriptionEvent(
        subscription_id=subscription.id,
        customer_id=subscription.customer_id,
        effective=day("2026-10-20"),
        type=EventType.SET_QUANTITY,
        quantity=25,
        source=EventSource.AUDIT,
    )
    synced.store.save([missed])
    work(synced, BILL)
    assert "seats.no_cost" in [one.check for one in synced.store.findings()]
    assert "Fabrikam Toys draft" not in totals(synced)


def test_the_partners_policy_judges_every_check_of_a_draft(synced):
    """A price far from its cost holds; the partner may say that it is only told."""
    synced.store.save([a_price("500")])
    work(synced, BILL)
    assert [one.check for one in synced.store.findings()] == ["price.ratio"]
    assert unit_of(synced).status is UnitStatus.HELD
    synced.policy = {"price.ratio": Severity.WARN}
    work(synced, BILL)
    assert [one.severity for one in synced.store.findings()] == [Severity.WARN]
    assert unit_of(synced).status is UnitStatus.SETTLED
    assert totals(synced)["Fabrikam Toys draft"] == "5950.00"


def test_no_policy_makes_a_warning_of_a_missing_price(office):
    """What is not proposed would be credited, and its month settled without it."""
    del office.store.table(MarkupRule)["rule/licences"]
    office.policy = {"price.missing": Severity.WARN}
    work(office, SYNC, BILL)
    assert [one.severity for one in office.store.findings()] == [Severity.HOLD]
    assert unit_of(office).status is UnitStatus.HELD


# --- approval --------------------------------------------------------------------------------------


def test_approval_numbers_and_freezes_the_drafts(synced):
    work(synced, BILL, APPROVE)
    assert totals(synced) == {
        "Fabrikam Toys INV-202610-0001": "142.80",
        "Northwind Traders INV-202610-0002": "65.45",
    }
    for one in synced.store.documents():
        assert one.status is DocumentStatus.ISSUED
        assert (one.issued_on, one.due_on) == (day("2026-11-09"), day("2026-12-09"))
        assert len(one.fingerprint) == 64
    run = run_of(synced, APPROVE)
    assert (run.status, dict(run.counts)) == (RunStatus.DONE, {"issued": 2})


def test_what_is_issued_has_its_pdf_as_a_file(synced):
    work(synced, BILL, APPROVE)
    issued = synced.store.documents()
    assert issued
    assert {key: name for key, (name, _) in synced.store.files.items()} == {
        one.key: f"{one.number}.pdf" for one in issued
    }
    for one in issued:
        assert synced.store.files[one.key][1] == to_pdf(one)


def test_a_file_that_an_approval_before_could_not_attach_is_made_up_for(synced):
    work(synced, BILL, APPROVE)
    lost = synced.store.documents()[0]
    del synced.store.files[lost.key]
    work(synced, APPROVE)
    assert lost.key in synced.store.files


def refused_file(status, **values):
    return ServiceError("The file type is blocked.", service="Dataverse", status=status, **values)


@pytest.mark.parametrize("status", [400, 403, 404, 413])
def test_a_file_that_is_refused_is_a_finding_until_the_document_has_one(synced, status):
    work(synced, BILL)
    first, second = sorted(synced.store.documents(), key=lambda one: one.customer_name)
    synced.store.file_faults[first.key] = refused_file(status, code="0x80043e09")
    issued = approval.approve(synced.ports, APPROVE)
    assert [one.number for one in issued] == ["INV-202610-0001", "INV-202610-0002"]
    assert set(synced.store.files) == {second.key}
    (finding,) = synced.store.findings()
    assert (finding.check, finding.severity) == ("document.file", Severity.WARN)
    assert (finding.customer_id, finding.record) == (
        first.customer_id,
        "document of 2026-10: INV-202610-0001",
    )
    assert finding.sentence == (
        "INV-202610-0001.pdf was refused: The file type is blocked. (0x80043e09)."
    )
    assert "blocked extensions" in finding.hint
    assert synced.written(lambda: approval.approve(synced.ports, APPROVE)) == []
    synced.store.file_faults.clear()
    approval.approve(synced.ports, APPROVE)
    assert set(synced.store.files) == {first.key, second.key}
    assert list(synced.store.findings()) == []


def test_a_file_that_a_person_attached_closes_the_finding_too(synced):
    work(synced, BILL)
    (first, *_) = synced.store.documents()
    synced.store.file_faults[first.key] = refused_file(400)
    approval.approve(synced.ports, APPROVE)
    synced.store.files[first.key] = ("by hand.pdf", b"%PDF")
    approval.approve(synced.ports, APPROVE)
    assert list(synced.store.findings()) == []


def test_a_refused_file_of_another_month_stays_told(synced):
    other = a_fault("document.file", record="document of 2026-09: INV-202609-0001")
    synced.store.save([replace(other, severity=Severity.WARN)])
    work(synced, BILL, APPROVE)
    assert [one.record for one in synced.store.findings()] == [other.record]


def test_the_policy_decides_what_a_refused_file_does(synced):
    work(synced, BILL)
    synced.policy = {"document.file": Severity.HOLD}
    (first, *_) = synced.store.documents()
    synced.store.file_faults[first.key] = refused_file(413)
    approval.approve(synced.ports, APPROVE)
    assert [one.severity for one in synced.store.findings()] == [Severity.HOLD]


@pytest.mark.parametrize(
    "fault",
    [
        Unavailable("no answer", service="Dataverse"),
        Unavailable("down", service="Dataverse", status=503),
        NotAuthorised("no token", service="Dataverse", status=401),
        refused_file(None),
    ],
)
def test_an_outage_is_no_refused_file(synced, fault):
    work(synced, BILL)
    (first, *_) = synced.store.documents()
    synced.store.file_faults[first.key] = fault
    with pytest.raises(ServiceError):
        approval.approve(synced.ports, APPROVE)
    assert list(synced.store.findings()) == []
    synced.store.file_faults.clear()
    assert approval.approve(synced.ports, APPROVE) == []  # issued already
    assert len(synced.store.files) == 2


def test_the_second_approval_writes_nothing(synced):
    work(synced, BILL, APPROVE)
    assert synced.written(lambda: work(synced, APPROVE)) == []


def test_an_approval_without_drafts_is_a_run_that_issued_none(synced):
    work(synced, APPROVE)
    assert dict(run_of(synced, APPROVE).counts) == {"issued": 0}
    assert synced.written(lambda: work(synced, APPROVE)) == []


def test_an_approval_needs_a_month(synced):
    with pytest.raises(InputError, match="needs a period"):
        approval.approve(synced.ports, StartRun(kind="approve"))


def test_only_drafts_are_approved_and_numbers_go_on_per_kind(synced):
    work(synced, BILL)
    draft = synced.store.documents(customer_id=CUSTOMER)[0]
    credit = replace(draft, key="invoice/c1/2026-10/USD/2", kind=DocumentKind.CREDIT_NOTE, lines=())
    void = replace(issued(draft, "INV-202610-0001"), key="v", status=DocumentStatus.VOID)
    for one in (credit, void):
        synced.store.papers[one.key] = one
    work(synced, APPROVE)
    assert totals(synced) == {
        "Fabrikam Toys CN-202610-0001": "0.00",
        "Fabrikam Toys INV-202610-0001": "142.80",  # void, its number is spent
        "Fabrikam Toys INV-202610-0002": "142.80",
        "Northwind Traders INV-202610-0003": "65.45",
    }
    assert synced.store.papers["v"] == void


def test_a_draft_of_a_customer_on_hold_stays_a_draft_until_the_hold_is_gone(synced):
    work(synced, BILL)
    synced.store.save([a_fault("wire.subscription")])
    work(synced, APPROVE)
    assert totals(synced) == {
        "Fabrikam Toys draft": "142.80",
        "Northwind Traders INV-202610-0001": "65.45",
    }
    synced.store.replace_findings(("wire.subscription",), CUSTOMER, [])
    work(synced, APPROVE)
    assert totals(synced)["Fabrikam Toys INV-202610-0002"] == "142.80"
    assert dict(run_of(synced, APPROVE).counts) == {"issued": 2}


def test_one_customer_can_be_approved_alone(synced):
    work(synced, BILL, APPROVE.model_copy(update={"customer_id": NORTHWIND}))
    assert totals(synced) == {
        "Fabrikam Toys draft": "142.80",
        "Northwind Traders INV-202610-0001": "65.45",
    }


def test_a_draft_that_repeats_a_charge_is_refused_and_nothing_is_issued(synced):
    work(synced, BILL)
    draft = synced.store.documents(customer_id=NORTHWIND)[0]
    synced.store.papers["other"] = replace(
        issued(draft, "INV-202609-0007"), key="other", period=Period.month("2026-09")
    )
    writes = [line for line in synced.store.writes if line.startswith("settle")]
    with pytest.raises(InputError) as caught:
        work(synced, APPROVE)
    assert str(caught.value) == (
        "the draft invoice/c2/2026-10/USD/1 repeats 2 charges of INV-202609-0007"
    )
    assert [line for line in synced.store.writes if line.startswith("settle")] == writes
    synced.queue.waiting.clear()
    work(synced, BILL, APPROVE)  # as the hint says
    assert totals(synced)["Fabrikam Toys INV-202610-0001"] == "142.80"


def test_a_draft_whose_contract_is_gone_is_refused(synced):
    work(synced, BILL)
    del synced.store.table(BillingContract)["contract/c1"]
    with pytest.raises(InputError, match="the contract contract/c1 of the draft"):
        work(synced, APPROVE)


# --- the close -------------------------------------------------------------------------------------


def test_the_totals_conserve_and_what_is_not_billed_is_named(office):
    """A line for a subscription that the customer never had: in the residual, by name."""
    stray = a_pass_on(CostKind.ONE_TIME, "7.50", customer_id="c9", customer_name="Nobody")
    office.partner_center.lines.append(stray)
    office.partner_center.heads = [an_invoice_head("157.50")]
    work(office, SYNC, BILL)
    (total,) = run_of(office).totals
    assert total.microsoft == Decimal("157.50")
    assert total.residual == Decimal("7.50")
    parts = total.billed + total.credited + total.held + total.excluded + total.residual
    assert parts == total.microsoft
    (finding,) = office.store.findings()
    assert finding.sentence.startswith("Microsoft billed 7.50 USD for Azure plan")


def test_what_a_month_was_left_with_stands_until_that_month_is_reconciled_again(office):
    stray = a_pass_on(CostKind.ONE_TIME, "7.50", customer_id="c9", customer_name="Nobody")
    center = office.partner_center
    center.lines.append(stray)
    center.heads = [an_invoice_head("157.50")]
    work(office, SYNC, BILL)

    def left():
        return [
            one.record for one in office.store.findings() if one.check in drafts.RECONCILE_CHECKS
        ]

    assert left() == [f"cost line {stray.key}, bill of 2026-10"]
    september = Period.month("2026-09")
    center.heads.append(an_invoice_head("0.00", id="I0", billed=september))
    work(office, StartRun(kind="bill", period="2026-09"))
    assert office.store.run("bill/2026-09").status is RunStatus.DONE
    assert left() == [f"cost line {stray.key}, bill of 2026-10"]
    center.lines.remove(stray)
    center.heads = [an_invoice_head()]
    work(office, StartRun(kind="sync", day=day("2026-11-10")))
    runs.close(office.ports, BILL.run_key)
    assert left() == []


def test_a_credit_is_told_apart(office):
    office.partner_center.lines += [
        a_pass_on(CostKind.CREDIT, "-20.00", customer_id=NORTHWIND, ordered_on=day("2026-10-20"))
    ]
    office.partner_center.heads = [an_invoice_head("130.00")]
    office.store.save([a_rule("0", key="rule/credits", kind="credit")])
    work(office, SYNC, BILL)
    (total,) = run_of(office).totals
    assert (total.billed, total.credited, total.residual) == (Decimal(150), Decimal(-20), 0)
    assert totals(office)["Northwind Traders draft"] == "41.65"  # (55 - 20) + 19 %


def test_a_change_of_seats_that_microsoft_bills_next_month_is_named_not_hidden(synced):
    synced.store.save([replace(a_line("new"), billable_quantity=Decimal(11))])
    work(synced, BILL)
    # Eleven seats for the money of ten: the unit is not what its days cost.
    found = sorted(one.check for one in synced.store.findings())
    assert found == ["cost.proration", "history.mismatch"]


def test_the_run_is_saved_once(synced):
    written = synced.written(lambda: work(synced, BILL))
    assert written.count("save bill/2026-10") == 2  # its beginning and its end


def test_each_currency_has_its_total(office):
    office.partner_center.heads.append(an_invoice_head("8.00", id="I2", currency="EUR"))
    office.partner_center.lines.append(
        a_pass_on(CostKind.ONE_TIME, "8.00", invoice_id="I2", currency="EUR", customer_id="c9")
    )
    work(office, SYNC, BILL)
    assert [
        (one.currency, str(one.microsoft), str(one.residual), str(one.sold))
        for one in run_of(office).totals
    ] == [("EUR", "8.00", "8.00", "0.00"), ("USD", "150.00", "0.00", "175.00")]


# --- contracts that are not billed by the calendar month -------------------------------------------


def of_fabrikam(office):
    documents = office.store.documents(customer_id=CUSTOMER)
    return [
        (str(line.charge.service), str(line.amount.amount)) for d in documents for line in d.lines
    ]


def fabrikam_is_billed(office, **terms):
    contract = office.store.table(BillingContract)["contract/c1"]
    office.store.save([replace(contract, **terms)])


def test_a_quarter_that_is_not_due_waits(synced):
    fabrikam_is_billed(synced, frequency=Frequency.QUARTER, timing=Timing.ARREARS)
    work(synced, BILL)
    assert of_fabrikam(synced) == []
    assert unit_of(synced).status is UnitStatus.SETTLED
    assert totals(synced) == {"Northwind Traders draft": "65.45"}


def test_a_quarter_in_advance_asks_for_what_microsoft_bills_later(synced):
    """The cycles of November and December are asked for in October, at the term's cost."""
    fabrikam_is_billed(synced, frequency=Frequency.QUARTER)
    work(synced, BILL)
    assert of_fabrikam(synced) == [
        ("2026-10-14 to 2026-11-13", "120.00"),
        ("2026-11-14 to 2026-12-13", "120.00"),
        ("2026-12-14 to 2027-01-13", "120.00"),
    ]


def test_the_contracts_own_months_cut_the_cycle(synced):
    """From 14 October: 18 of the 31 days of October, as the contract bills by its own months."""
    fabrikam_is_billed(synced, alignment=Alignment.CONTRACT)
    work(synced, BILL)
    assert of_fabrikam(synced) == [("2026-10-14 to 2026-10-31", "69.68")]


def test_a_wrong_rate_of_tax_that_was_issued_is_taken_back_and_asked_for_anew(synced):
    """7 % was issued and 19 % was right: the line goes back at 7 and comes anew at 19."""
    profile = synced.store.table(TaxProfile)["tax/de"]
    synced.store.save([replace(profile, rate_percent=Decimal(7))])
    work(synced, BILL, APPROVE)
    synced.store.save([replace(profile, right_from=day("2026-10-01"))])
    _, drafted = drafts.propose(synced.ports, CUSTOMER, Period.month("2026-10"))
    lines = [(str(line.amount.amount), str(line.tax.amount)) for line in drafted.document.lines]
    assert lines == [("-120.00", "-8.40"), ("120.00", "22.80")]


@pytest.mark.parametrize(
    ("target", "taxes", "total"),
    [
        ("xero", ["3.76", "3.84", "3.84"], "11.44"),
        ("quickbooks", ["3.76", "3.84", "3.85"], "11.45"),
    ],
)
def test_tax_is_rounded_as_the_accounting_target_does(synced, target, taxes, total):
    """25.06, 25.61 and 25.63 at 15 %: 11.44 line by line, 11.45 on the document."""
    synced.tax_rounding = {"quickbooks": TaxRounding.DOCUMENT}
    profile = synced.store.table(TaxProfile)["tax/de"]
    contract = synced.store.table(BillingContract)["contract/c2"]
    synced.store.save(
        [
            replace(profile, rate_percent=Decimal(15)),
            replace(contract, accounting_target=target),
            a_rule("0", key="rule/usage", kind="usage"),
        ]
    )
    plan = next(
        one for one in synced.store.table(CostLine).values() if one.customer_id == NORTHWIND
    )
    bought = [
        a_pass_on(
            CostKind.ONE_TIME,
            amount,
            key=f"cost/I1/once/{amount}",
            customer_id=NORTHWIND,
            subscription_id="",
            product_id=f"P{amount}",
            name=f"Licence for {amount}",
        )
        for amount in ("25.06", "25.61", "25.63")
    ]
    synced.store.save(
        [
            replace(plan, withdrawn_on=day("2026-11-09")),
            *bought,
            a_rule("0", key="rule/once", kind="one_time"),
        ]
    )
    _, drafted = drafts.propose(synced.ports, NORTHWIND, Period.month("2026-10"))
    assert drafted.document is not None, [one.sentence for one in drafted.told]
    assert [str(line.tax.amount) for line in drafted.document.lines] == taxes
    assert str(drafted.document.tax.amount) == total
    assert drafted.document.tax_point == day("2026-10-31")


def test_what_no_invoice_prices_yet_is_not_billed_ahead(synced):
    """The term ends on 14 November: what December costs is not known; October is billed all the same."""
    subscription = next(iter(synced.store.table(Subscription).values()))
    assert subscription.customer_id == CUSTOMER
    fabrikam_is_billed(synced, frequency=Frequency.QUARTER)
    file, _ = drafts.propose(synced.ports, CUSTOMER, Period.month("2026-10"))
    ending = [replace(line, subscription_end=day("2026-11-14")) for line in file.cost_lines]
    file = replace(
        file,
        cost_lines=tuple(ending),
        subscriptions=tuple(replace(one, term_end=day("2026-11-14")) for one in file.subscriptions),
    )
    found = drafts.draft(file, Period.month("2026-10"), day("2026-11-08"), {})
    assert "price.ahead" in {finding.check for finding in found.findings}
    assert not found.held
    assert [str(line.charge.service) for line in found.document.lines] == [
        "2026-10-14 to 2026-11-13"
    ]
