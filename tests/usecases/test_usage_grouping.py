"""A contract says how usage is put together; what was billed keeps how it was put together."""

from dataclasses import replace
from decimal import Decimal

import pytest

from domain.contract import EarnedCredit, UsageGroup, UsageGrouping
from domain.period import Period
from domain.subscription import CostKind
from sync import deliveries, drafts, usage_grouping
from sync.messages import StartRun
from tests.builders import a_contract, a_pass_on, day, period
from tests.usecases.office import (
    APPROVE,
    BILL,
    NORTHWIND,
    SYNC,
    an_invoice_head,
    an_office,
    usage_row,
    work,
)

BY_GROUP = UsageGrouping(by=UsageGroup.RESOURCE_GROUP)
BY_TAG = UsageGrouping(by=UsageGroup.TAG, tag="CostCenter")
TOMORROW = StartRun(kind="sync", day=day("2026-11-10"))
OCTOBER = Period.month("2026-10")


@pytest.fixture
def office(tmp_path):
    office = an_office(tmp_path)
    office.partner_center.usage = {
        "I1": [
            usage_row("azure-1", "30", ResourceGroup="rg-app", Tags='{"CostCenter": "4711"}'),
            usage_row("azure-1", "20", ResourceGroup="rg-db", Tags="{}"),
        ]
    }
    return office


def agree(office, **terms):
    office.store.save(
        [a_contract(key="contract/c2", customer_id=NORTHWIND, tax_profile_key="tax/de", **terms)]
    )


def bill_of(office):
    (document,) = office.store.documents(customer_id=NORTHWIND)
    return [(line.charge.name, str(line.amount.amount)) for line in document.lines]


def held(office):
    return [f.check for f in office.store.findings(customer_id=NORTHWIND)]


def test_usage_is_read_and_billed_as_the_contract_asks(office):
    agree(office, grouping=BY_GROUP)
    work(office, SYNC)
    work(office, BILL)
    assert bill_of(office) == [
        ("Azure usage, rg-app (Azure azure-1)", "33.00"),
        ("Azure usage, rg-db (Azure azure-1)", "22.00"),
    ]
    work(office, BILL)
    assert len(bill_of(office)) == 2


def test_a_contract_that_asks_for_more_than_was_read_is_held_not_guessed(office):
    work(office, SYNC)
    agree(office, grouping=BY_TAG)
    work(office, BILL)
    assert (held(office), office.store.documents(customer_id=NORTHWIND)) == (
        ["usage.not_grouped"],
        [],
    )


def test_a_contract_that_asks_for_less_than_was_read_is_billed_at_once(office):
    agree(office, grouping=BY_GROUP)
    work(office, SYNC)
    agree(office, grouping=UsageGrouping(by=UsageGroup.ONE_LINE))
    work(office, BILL)
    assert bill_of(office) == [("Azure usage", "55.00")]


def test_an_issued_month_stays_as_it_was_billed(office):
    agree(office, grouping=BY_GROUP)
    work(office, SYNC)
    work(office, BILL)
    work(office, APPROVE)
    agree(office, grouping=UsageGrouping(by=UsageGroup.ONE_LINE))
    for month in ("2026-10", "2026-11"):
        _, draft = drafts.propose(office.ports, NORTHWIND, Period.month(month))
        assert (draft.document, draft.findings) == (None, ())


def test_a_draft_follows_the_contract(office):
    agree(office, grouping=BY_GROUP)
    work(office, SYNC)
    work(office, BILL)
    agree(office, grouping=UsageGrouping(by=UsageGroup.ONE_LINE))
    work(office, BILL)
    assert bill_of(office) == [("Azure usage", "55.00")]


def test_usage_is_read_for_what_was_billed_and_for_what_is_asked_now(office):
    agree(office, grouping=BY_GROUP)
    work(office, SYNC)
    work(office, BILL)
    work(office, APPROVE)
    agree(office, grouping=BY_TAG)
    wanted = usage_grouping.asked(office.ports, OCTOBER)
    assert set(wanted[NORTHWIND]) == {BY_TAG, BY_GROUP}
    assert wanted["c1"] == [UsageGrouping()]
    assert UsageGroup.RESOURCE_GROUP not in {
        one.by for one in usage_grouping.asked(office.ports, Period.month("2026-11"))[NORTHWIND]
    }


def test_what_is_stored_says_whether_it_answers_what_is_asked(office):
    agree(office, grouping=BY_GROUP)
    work(office, SYNC)
    lines = office.store.cost_lines(["I1"])

    def answers(grouping):
        return usage_grouping.answers(lines, {NORTHWIND: [grouping]})

    assert answers(BY_GROUP)
    assert answers(UsageGrouping())
    assert not answers(BY_TAG)
    assert usage_grouping.answers(lines, {"somebody else": [BY_TAG]})


def test_usage_that_is_on_no_line_of_the_invoice_is_told_and_closed_when_it_is(office):
    stray = usage_row("azure-1", "7.50", SkuId="0009")
    office.partner_center.usage["I1"].append(stray)
    work(office, SYNC)
    (finding,) = office.store.findings(customer_id=NORTHWIND)
    assert finding.check == "usage.no_line"
    assert finding.sentence == (
        "Daily usage of 7.5 USD of 1 product stands on no line of this invoice."
    )
    work(office, BILL)  # a warning: the rest is billed
    assert Decimal(sum(Decimal(amount) for _, amount in bill_of(office))) == Decimal("55.00")


def test_a_credit_that_is_kept_and_not_known_holds_the_customer_until_it_is_passed_on(office):
    metered = office.partner_center.lines[1]
    office.partner_center.lines[1] = replace(metered, unit_price=Decimal(60))
    agree(office, earned_credit=EarnedCredit.KEPT)
    work(office, SYNC)
    work(office, BILL)
    assert held(office) == ["usage.earned_credit"]
    agree(office)
    work(office, BILL)
    assert held(office) == []
    assert sum(Decimal(amount) for _, amount in bill_of(office)) == Decimal("55.00")


def test_the_next_sync_reads_the_usage_again_where_a_contract_asks_for_more(office):
    work(office, SYNC)
    agree(office, grouping=BY_TAG)
    work(office, BILL)
    assert held(office) == ["usage.not_grouped"]
    work(office, TOMORROW, BILL)
    assert held(office) == []
    assert bill_of(office) == [
        ("Azure usage, CostCenter 4711", "33.00"),
        ("Azure usage, untagged", "22.00"),
    ]
    before = office.store.documents(customer_id=NORTHWIND)
    work(office, StartRun(kind="sync", day=day("2026-11-11")), BILL)
    assert office.store.documents(customer_id=NORTHWIND) == before


def test_a_month_that_was_billed_so_is_read_so_again(office):
    """Microsoft issues the invoice again, three dollars dearer, when the contract asks otherwise."""
    agree(office, grouping=BY_TAG)
    work(office, SYNC, BILL, APPROVE)
    agree(office, grouping=BY_GROUP)
    work(office, TOMORROW)
    lines = office.store.cost_lines(["I1"])
    shares = [share for line in lines for share in line.shares]
    assert {(share.resource_group, share.tags["costcenter"]) for share in shares} == {
        ("rg-app", "4711"),
        ("rg-db", ""),
    }
    _, draft = drafts.propose(office.ports, NORTHWIND, OCTOBER)
    assert (draft.document, draft.findings) == (None, ())


@pytest.mark.parametrize("now", [BY_TAG, UsageGrouping()], ids=["tag", "service"])
def test_late_usage_of_a_billed_month_is_read_as_that_month_was_billed(office, now):
    """October was billed by resource group; 2.00 of it come with November's invoice."""
    agree(office, grouping=BY_GROUP)
    work(office, SYNC, BILL, APPROVE)
    agree(office, grouping=now)
    center, november = office.partner_center, period("2026-11-01", "2026-12-01")
    center.heads.append(
        an_invoice_head("52.00", id="I2", billed=november, issued_on=day("2026-12-08"))
    )
    mine = {"customer_id": NORTHWIND, "invoice_id": "I2"}
    center.lines += [
        a_pass_on(CostKind.USAGE, "2.00", key="cost/I2/late/1", **mine),
        a_pass_on(
            CostKind.USAGE, "50.00", key="cost/I2/november/1", charged=november, sku_id="2", **mine
        ),
    ]
    where = {"ResourceGroup": "rg-app", "Tags": '{"CostCenter": "4711"}'}
    center.usage["I2"] = [
        usage_row("azure-1", "2", **where),
        usage_row("azure-1", "50", UsageDate="2026-11-05T00:00:00", SkuId="2", **where),
    ]
    work(office, StartRun(kind="sync", day=day("2026-12-09")))
    work(office, StartRun(kind="bill", period="2026-11"))
    assert held(office) == []
    (document,) = office.store.documents(customer_id=NORTHWIND, period="2026-11")
    assert sorted(str(line.amount.amount) for line in document.lines) == ["2.20", "55.00"]


def test_an_old_invoice_is_read_again_from_the_archive_when_it_holds_its_customer(office):
    work(office, SYNC)
    agree(office, grouping=BY_GROUP)
    work(office, BILL)
    assert held(office) == ["usage.not_grouped"]

    def no_export(report, invoice_id):
        raise AssertionError(f"{report} of {invoice_id} was asked for again")

    office.partner_center.export = no_export
    work(office, StartRun(kind="sync", day=day("2027-01-05")), BILL)
    assert held(office) == []
    assert bill_of(office) == [
        ("Azure usage, rg-app (Azure azure-1)", "33.00"),
        ("Azure usage, rg-db (Azure azure-1)", "22.00"),
    ]


def test_what_the_export_does_not_tell_is_read_once_until_something_else_is_asked(office):
    office.partner_center.usage = {"I1": [usage_row("azure-1", "50")]}
    agree(office, grouping=BY_GROUP)

    def imports_after(*days):
        work(office, *(StartRun(kind="sync", day=day(one)) for one in days))
        return len(deliveries.imports(office.partner_center.archive, "I1"))

    assert imports_after("2026-11-09", "2026-11-10", "2026-11-11") == 1
    agree(office, grouping=BY_TAG)
    assert imports_after("2026-11-12", "2026-11-13") == 2
