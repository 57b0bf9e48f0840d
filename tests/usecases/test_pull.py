"""Pulling Microsoft's side: complete or not at all, one bad record never hides the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain.contract import UsageGroup, UsageGrouping
from domain.customer import Agreement, Customer, DelegatedAdminRelationship
from domain.period import Period
from domain.problems import Incomplete, Severity, Unavailable
from domain.run import RunStatus, UnitStatus
from domain.subscription import CostKind, CostLine, Subscription, SubscriptionEvent, UsageSummary
from sync import costs, deliveries, drafts, pull
from sync.messages import StartRun
from tests.builders import (
    a_contract,
    a_customer,
    a_line,
    a_pass_on,
    a_relationship,
    a_subscription,
    day,
    seats,
)
from tests.usecases.office import (
    APPROVE,
    BILL,
    NORTHWIND,
    OCTOBER,
    SYNC,
    a_fault,
    an_invoice_head,
    an_office,
    totals,
    usage_row,
    work,
)

TOMORROW = StartRun(kind="sync", day=day("2026-11-10"))


@pytest.fixture
def office(tmp_path):
    return an_office(tmp_path)


def checks(office):
    return sorted((one.check, one.customer_id) for one in office.store.findings())


def counts(office, message=SYNC):
    return dict(office.store.run(message.run_key).counts)


def test_everything_of_microsofts_side_is_stored(office):
    office.partner_center.events = [seats("2026-10-20", 12)]
    work(office, SYNC)
    stored = {kind.__name__: len(rows) for kind, rows in office.store.rows.items()}
    expected = {
        Customer: 2,
        Agreement: 2,
        Subscription: 2,
        DelegatedAdminRelationship: 2,
        SubscriptionEvent: 1,
        CostLine: 2,
        UsageSummary: 2,
    }
    assert {kind.__name__: stored[kind.__name__] for kind in expected} == {
        kind.__name__: count for kind, count in expected.items()
    }
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE
    assert counts(office)["usage_lines"] == 2


def test_nothing_is_written_before_partner_center_has_answered(office):
    office.partner_center.down = Unavailable("no answer", service="Partner Center")
    writes = len(office.store.writes)
    with pytest.raises(Unavailable):
        work(office, SYNC)
    assert len(office.store.writes) == writes


def test_an_invoice_list_that_breaks_off_writes_nothing_either(office):
    def broken():
        raise Unavailable("no answer", service="Partner Center")
        yield

    office.partner_center.invoices = broken
    writes = len(office.store.writes)
    with pytest.raises(Unavailable):
        work(office, SYNC)
    assert len(office.store.writes) == writes


def test_new_customers_are_entered_before_their_units(office):
    units = pull.plan(office.ports, SYNC)
    assert [one.id for one in office.store.customers()] == ["c1", NORTHWIND]
    assert [(unit.part, unit.scope) for unit in units] == [
        ("relationships", ""),
        ("customer", "c1"),
        ("customer", NORTHWIND),
        ("changes", ""),
        ("costs", "I1"),
        ("unbilled", "USD"),
    ]


def test_a_known_customer_keeps_its_details_when_it_is_listed_again(office):
    office.partner_center.details["c1"] = a_customer(registration_number="DE1", details_known=True)
    office.partner_center.people[0] = a_customer(details_known=False)
    work(office, SYNC, TOMORROW)
    assert office.store.customers()[0].registration_number == "DE1"


def test_the_second_sync_of_a_day_does_nothing_and_of_the_next_day_writes_no_record(office):
    work(office, SYNC)
    assert office.written(lambda: work(office, SYNC)) == []
    written = office.written(lambda: work(office, TOMORROW))
    assert {line.partition("/")[0] for line in written} == {"unit pull", "save sync"}


def test_a_sync_of_one_customer_reads_that_customer_alone(office):
    message = SYNC.model_copy(update={"customer_id": "c1"})
    office.store.save([a_customer()])
    work(office, message)
    assert message.run_key == "sync/2026-11-09/c1"
    assert counts(office, message)["subscriptions"] == 1
    assert not office.store.table(CostLine)


def test_bad_records_become_findings_and_the_others_go_on(office):
    office.partner_center.running.insert(0, a_fault("wire.subscription"))
    office.partner_center.signed.append(a_fault("wire.agreement", NORTHWIND))
    office.partner_center.people.append(a_fault("wire.customer", "c3"))
    office.partner_center.heads.append(a_fault("wire.invoice", ""))
    office.partner_center.events = [a_fault("wire.audit_record"), seats("2026-10-20", 12)]
    office.directory.known.insert(0, a_fault("wire.relationship", NORTHWIND))
    work(office, SYNC)
    assert checks(office) == [
        ("wire.agreement", NORTHWIND),
        ("wire.audit_record", "c1"),
        ("wire.customer", "c3"),
        ("wire.invoice", ""),
        ("wire.relationship", NORTHWIND),
        ("wire.subscription", "c1"),
    ]
    assert counts(office)["subscriptions"] == 2
    assert counts(office)["gdap"] == 2
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE


@pytest.mark.parametrize(
    ("list_name", "check"),
    [
        ("running", "wire.subscription"),
        ("signed", "wire.agreement"),
        ("events", "wire.audit_record"),
    ],
)
def test_a_finding_is_closed_when_the_record_can_be_read_again(office, list_name, check):
    getattr(office.partner_center, list_name).append(a_fault(check))
    work(office, SYNC)
    assert checks(office) == [(check, "c1")]
    getattr(office.partner_center, list_name).pop()
    work(office, TOMORROW)
    assert checks(office) == []


def test_a_relationship_that_can_be_read_again_closes_its_finding(office):
    office.directory.known.append(a_fault("wire.relationship", NORTHWIND))
    work(office, SYNC)
    office.directory.known[-1] = a_relationship(id="gdap-3", customer_id=NORTHWIND)
    work(office, TOMORROW)
    assert checks(office) == []


def test_an_unreachable_customer_is_held_and_no_more_is_asked_about_it(office):
    office.partner_center.details["c1"] = a_fault("customer.unreachable")

    def refused(customer_id):
        assert customer_id != "c1"
        return iter(())

    office.partner_center.agreements = refused
    work(office, SYNC)
    assert ("customer.unreachable", "c1") in checks(office)
    assert not office.store.table(Subscription).get("subscription/s1")
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE
    del office.partner_center.details["c1"]
    del office.partner_center.agreements
    work(office, TOMORROW)
    assert checks(office) == []


def test_a_customer_that_is_listed_no_more_is_asked_for_by_id(office):
    work(office, SYNC)
    del office.partner_center.people[0]
    office.partner_center.details["c1"] = a_fault("customer.unreachable")
    work(office, TOMORROW)
    assert checks(office) == [("access.stale", "c1"), ("customer.unreachable", "c1")]


def test_usage_shares_are_attached_to_the_metered_lines(office):
    work(office, SYNC)
    (line,) = [line for line in office.store.cost_lines(["I1"]) if line.customer_id == NORTHWIND]
    assert [(share.entitlement_id, share.cost) for share in line.shares] == [
        ("azure-1", Decimal(30)),
        ("azure-2", Decimal(20)),
    ]


def test_an_incomplete_invoice_is_not_imported_and_is_tried_again(office):
    office.partner_center.heads = [an_invoice_head("151.00")]
    work(office, SYNC)
    (finding,) = office.store.findings()
    assert finding.severity is Severity.BLOCK
    assert finding.sentence == (
        "The 2 imported lines of I1 sum to 150.00 USD, the invoice says 151.00: not reconcilable."
    )
    assert not office.store.table(CostLine)
    assert office.store.ledger["pull/costs/I1/2026-11-09"][0].status is UnitStatus.HELD
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE_WITH_HOLDS

    office.partner_center.lines.append(
        a_line("new", "2026-10-20", "2026-11-20", 1, "1.00", key="cost/I1/late")
    )
    work(office, SYNC)  # the same day: what is settled is left, what is held is worked
    assert len(office.store.table(CostLine)) == 3
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE
    assert checks(office) == []


def test_what_is_wrong_with_one_invoice_is_not_closed_by_another(office):
    other = an_invoice_head("10.00", id="I2", currency="EUR")
    office.partner_center.heads = [an_invoice_head("151.00"), other]
    work(office, SYNC)
    assert [one.record for one in office.store.findings()] == [
        "Microsoft invoice I1",
        "Microsoft invoice I2",
    ]
    office.partner_center.heads = [an_invoice_head(), other]
    work(office, SYNC)
    assert [one.record for one in office.store.findings()] == ["Microsoft invoice I2"]


def test_a_cost_line_that_cannot_be_read_is_named_and_closed_by_the_next_import(office):
    good = office.partner_center.lines[0]
    office.partner_center.lines[0] = a_fault("wire.cost_line", record="invoice I1 line 7")
    work(office, SYNC)
    assert [(one.check, one.record) for one in office.store.findings()] == [
        ("import.incomplete", "Microsoft invoice I1"),
        ("wire.cost_line", "invoice I1: line 7"),
    ]
    office.partner_center.lines[0] = good
    work(office, TOMORROW)
    assert checks(office) == []
    assert len(office.store.table(CostLine)) == 2


def test_a_usage_line_that_cannot_be_read_holds_its_customer(office):
    row = {**office.partner_center.usage["I1"][1], "Quantity": "much"}
    office.partner_center.usage["I1"].append(row)
    work(office, SYNC)
    (finding,) = office.store.findings()
    assert (finding.check, finding.customer_id) == ("wire.usage", NORTHWIND)
    assert finding.record.startswith("invoice I1: usage file part-0.json.gz")


def test_an_old_invoice_whose_usage_holds_a_customer_is_pulled_until_it_can_be_read(office):
    broken = {**office.partner_center.usage["I1"][1], "Quantity": "much"}
    office.partner_center.usage["I1"].append(broken)
    work(office, SYNC)
    assert checks(office) == [("wire.usage", NORTHWIND)]
    office.partner_center.usage["I1"].remove(broken)
    work(office, SYNC.model_copy(update={"day": day("2027-02-09")}))
    assert ("wire.usage", NORTHWIND) not in checks(office)


def void_and_replace(office):
    """Microsoft takes I1 back and issues I2 with the same lines."""
    center = office.partner_center
    voided = an_invoice_head("0", voided_on=day("2026-11-10"))
    center.heads = [voided, an_invoice_head(id="I2", issued_on=day("2026-11-10"))]
    center.lines += [
        replace(line, key=line.key.replace("I1", "I2"), invoice_id="I2") for line in center.lines
    ]
    center.usage["I2"] = center.usage["I1"]


def test_the_lines_of_a_voided_invoice_are_withdrawn_once(office):
    work(office, SYNC)
    void_and_replace(office)
    work(office, TOMORROW)
    assert office.store.cost_lines(["I1"]) == []
    assert len(office.store.cost_lines(["I1"], withdrawn=True)) == 2
    assert len(office.store.cost_lines(["I2"])) == 2
    used = office.store.table(UsageSummary).values()
    assert sum(one.cost for one in used if one.invoice_id == "I1") == 0
    assert sum(one.cost for one in used if one.invoice_id == "I2") == 50
    made = deliveries.imports(office.partner_center.archive, "I1")
    work(office, SYNC.model_copy(update={"day": day("2026-11-11")}))
    assert deliveries.imports(office.partner_center.archive, "I1") == made


def test_a_voided_invoice_and_its_replacement_are_billed_once(office):
    work(office, SYNC)
    void_and_replace(office)
    work(office, TOMORROW, BILL)
    assert totals(office) == {"Fabrikam Toys draft": "142.80", "Northwind Traders draft": "65.45"}


def test_what_was_issued_from_a_voided_invoice_stands_where_its_replacement_says_the_same(office):
    work(office, SYNC, BILL, APPROVE)
    issued = totals(office)
    void_and_replace(office)
    work(office, TOMORROW)
    for customer in ("c1", NORTHWIND):
        draft = drafts.propose(office.ports, customer, OCTOBER)[1]
        assert (draft.document, draft.held) == (None, False)
    assert totals(office) == issued


def test_old_invoices_are_not_pulled(office):
    limit = day("2026-11-09") - timedelta(days=costs.INVOICE_DAYS)
    office.partner_center.heads += [
        an_invoice_head(id="I0", issued_on=limit),
        an_invoice_head(id="I-1", issued_on=limit - timedelta(days=1)),
    ]
    scopes = {unit.scope for unit in pull.plan(office.ports, SYNC) if unit.part == "costs"}
    assert scopes == {"I1", "I0"}


def test_an_imported_invoice_is_not_imported_again(office):
    work(office, SYNC)
    office.partner_center.lines = [replace(office.partner_center.lines[0], name="Changed")]
    work(office, TOMORROW)
    assert {line.name for line in office.store.cost_lines(["I1"])} == {
        "Azure plan",
        "Business Premium",
    }


def test_an_invoice_that_has_gone_meanwhile_stays_open(office):
    work(office, SYNC.model_copy(update={"customer_id": "c1"}))
    unit = next(u for u in pull.plan(office.ports, SYNC) if u.part == "costs")
    office.partner_center.heads = []
    assert pull.work(office.ports, unit).held


def test_the_snapshot_of_today_replaces_that_of_yesterday(office):
    work(office, SYNC)
    office.partner_center.running[0] = a_subscription(quantity=12)
    work(office, TOMORROW)
    assert office.store.customer_file("c1").subscriptions[0].quantity == 12


# --- versions of an invoice ------------------------------------------------------------------------


def test_a_version_that_was_imported_is_left_alone_the_next_day(office):
    work(office, SYNC)
    asked = []
    read = office.partner_center.cost_lines

    def cost_lines(*arguments, **options):
        asked.append(arguments)
        return read(*arguments, **options)

    office.partner_center.cost_lines = cost_lines
    work(office, TOMORROW)
    assert asked == []
    (first, second) = (
        office.store.ledger[f"pull/costs/I1/{day}"][0] for day in ("2026-11-09", "2026-11-10")
    )
    assert {**first.counts, "written": 0} == second.counts


def test_a_store_that_lost_its_lines_gets_them_again(office):
    work(office, SYNC)
    office.store.table(CostLine).clear()
    work(office, TOMORROW)
    assert len(office.store.cost_lines(["I1"])) == 2


def test_a_contract_that_asks_for_more_has_its_usage_read_again(office):
    for row in office.partner_center.usage["I1"]:
        row["ResourceGroup"] = "rg-app"

    def groups():
        (line,) = [one for one in office.store.cost_lines(["I1"]) if one.customer_id == NORTHWIND]
        return {share.resource_group for share in line.shares}

    work(office, SYNC)
    assert groups() == {None}
    contract = a_contract(key="contract/c2", customer_id=NORTHWIND, tax_profile_key="tax/de")
    grouping = UsageGrouping(by=UsageGroup.RESOURCE_GROUP)
    office.store.save([replace(contract, grouping=grouping)])
    work(office, TOMORROW)
    assert groups() == {"rg-app"}


def issued_anew(office, *lines, total):
    office.partner_center.lines = list(lines)
    office.partner_center.heads = [an_invoice_head(total)]


def test_a_newer_version_replaces_the_old_one_and_keeps_what_is_gone_as_withdrawn(office):
    work(office, SYNC)
    seats_line, usage_line = office.partner_center.lines
    added = a_line("new", "2026-10-20", "2026-11-20", 1, "1.00", key="cost/I1/late")
    issued_anew(office, usage_line, added, total="51.00")
    work(office, TOMORROW)

    assert [one.key for one in office.store.cost_lines(["I1"])] == sorted(
        [usage_line.key, added.key]
    )
    (gone,) = office.store.cost_lines(["I1"], withdrawn=True)
    assert gone == replace(seats_line, withdrawn_on=day("2026-11-10"))
    assert seats_line.key not in {line.key for line in office.store.customer_file("c1").cost_lines}
    assert counts(office, TOMORROW)["withdrawn_lines"] == 1

    later = StartRun(kind="sync", day=day("2026-11-11"))
    written = office.written(lambda: work(office, later))
    assert not [one for one in written if one.startswith("save cost/")]


def test_a_line_that_comes_back_is_billed_again(office):
    work(office, SYNC)
    seats_line, usage_line = office.partner_center.lines
    issued_anew(office, usage_line, total="50.00")
    work(office, TOMORROW)
    issued_anew(office, seats_line, usage_line, total="150.00")
    work(office, StartRun(kind="sync", day=day("2026-11-11")))
    assert len(office.store.cost_lines(["I1"])) == 2
    assert office.store.cost_lines(["I1"], withdrawn=True) == []


def test_a_newer_version_that_is_not_complete_leaves_the_old_one_untouched(office):
    work(office, SYNC)
    before = dict(office.store.table(CostLine))
    issued_anew(office, office.partner_center.lines[0], total="150.00")
    work(office, TOMORROW)
    assert office.store.table(CostLine) == before
    assert checks(office) == [("import.incomplete", "")]
    assert office.store.run(TOMORROW.run_key).status is RunStatus.DONE_WITH_HOLDS


def test_days_of_usage_that_are_gone_are_restated_to_nothing(office):
    work(office, SYNC)
    assert sorted(one.cost for one in office.store.table(UsageSummary).values()) == [20, 30]
    office.partner_center.usage["I1"] = office.partner_center.usage["I1"][:1]
    work(office, TOMORROW)
    told = {one.entitlement_id: one for one in office.store.table(UsageSummary).values()}
    assert {name: (one.cost, one.lines) for name, one in told.items()} == {
        "azure-1": (30, 1),
        "azure-2": (0, 0),
    }


@pytest.mark.parametrize("report", ["reconciliation", "usage"])
def test_what_microsoft_delivers_in_part_stops_the_import_with_a_finding(office, report):
    export = office.partner_center.export

    def half(asked, invoice_id):
        if asked == report:
            raise Incomplete("the part part-1.json.gz is cut off", service="Blob Storage")
        return export(asked, invoice_id)

    office.partner_center.export = half
    work(office, SYNC)
    (finding,) = office.store.findings()
    assert (finding.check, finding.severity) == ("import.incomplete", Severity.BLOCK)
    assert "part-1.json.gz is cut off" in finding.sentence
    assert "Not reconcilable" in finding.sentence
    assert finding.hint
    assert not office.store.table(CostLine)
    assert not office.store.table(UsageSummary)
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE_WITH_HOLDS

    office.partner_center.export = export
    work(office, TOMORROW)
    assert checks(office) == []
    assert len(office.store.cost_lines(["I1"])) == 2


def test_fewer_lines_of_usage_read_than_came_stop_the_import(office):
    export = office.partner_center.export

    def more(report, invoice_id):
        delivery = export(report, invoice_id)
        parts = tuple(replace(part, lines=part.lines + 1) for part in delivery.parts)
        return replace(delivery, parts=parts)

    office.partner_center.export = more
    work(office, SYNC)
    (finding,) = office.store.findings()
    assert finding.check == "import.incomplete"
    assert finding.sentence == (
        "3 lines of usage came for I1, and 2 of them were read: not reconcilable."
    )
    assert not office.store.table(CostLine)


def test_no_usage_where_there_was_some_is_no_clean_answer(office):
    work(office, SYNC)
    before = dict(office.store.table(UsageSummary))
    usage = office.partner_center.usage.pop("I1")
    work(office, TOMORROW)
    (finding,) = office.store.findings()
    assert finding.check == "import.incomplete"
    assert "has no usage, and delivered some of it before" in finding.sentence
    assert office.store.table(UsageSummary) == before
    assert [line for line in office.store.cost_lines(["I1"]) if line.shares]

    office.partner_center.usage["I1"] = usage
    work(office, StartRun(kind="sync", day=day("2026-11-11")))
    assert checks(office) == []


def test_usage_that_is_gone_with_the_lines_it_explained_is_gone(office):
    work(office, SYNC)
    office.partner_center.usage.clear()
    issued_anew(office, office.partner_center.lines[0], total="100.00")
    work(office, TOMORROW)
    assert checks(office) == []
    assert {one.lines for one in office.store.table(UsageSummary).values()} == {0}


# --- a line that two parts have --------------------------------------------------------------------


def two_parts(office, *, once, twice):
    """The lines as delivered, and as they are without what a second part repeats."""
    office.partner_center.lines = twice
    office.partner_center.cost_lines = lambda _, *, distinct=False: iter(
        once if distinct else twice
    )


def test_a_line_that_two_parts_have_is_one_line_where_the_total_says_so(office):
    lines = office.partner_center.lines
    repeat = replace(lines[0], key="cost/I1/again")
    two_parts(office, once=lines, twice=[*lines, repeat])
    work(office, SYNC)
    assert {one.key for one in office.store.cost_lines(["I1"])} == {one.key for one in lines}
    assert counts(office)["repeated_lines"] == 1
    assert checks(office) == []


def test_a_line_that_two_parts_have_is_two_lines_where_the_total_says_so(office):
    lines = office.partner_center.lines
    repeat = replace(lines[0], key="cost/I1/again")
    two_parts(office, once=lines, twice=[*lines, repeat])
    office.partner_center.heads = [an_invoice_head("250.00")]
    work(office, SYNC)
    assert len(office.store.cost_lines(["I1"])) == 3
    assert "repeated_lines" not in counts(office)


def test_late_usage_of_a_customer_who_was_not_billed_is_on_the_next_bill_once(office):
    seats_line, usage_line = office.partner_center.lines
    usage = office.partner_center.usage.pop("I1")
    issued_anew(office, seats_line, total="100.00")
    work(office, SYNC, BILL, APPROVE)
    assert {one.customer_id for one in office.store.documents()} == {"c1"}

    office.partner_center.usage["I1"] = usage
    issued_anew(office, seats_line, usage_line, total="150.00")
    november = an_invoice_head(
        "0.00", id="I2", billed=Period.month("2026-11"), issued_on=day("2026-12-08")
    )
    office.partner_center.heads.append(november)
    december = StartRun(kind="sync", day=day("2026-12-09"))
    bill = StartRun(kind="bill", period="2026-11", customer_id=NORTHWIND)
    office.clock.moment = datetime(2026, 12, 9, 6, tzinfo=UTC)
    work(office, december, bill)
    (late,) = office.store.documents(period="2026-11")
    assert (late.customer_id, str(late.subtotal.amount)) == (NORTHWIND, "55.00")
    assert {line.charge.service.start for line in late.lines} == {day("2026-10-01")}
    assert not [line for line in late.lines if line.charge.answers]

    work(office, StartRun(kind="sync", day=day("2026-12-10")), bill)
    assert list(office.store.documents(period="2026-11")) == [late]


# --- what is not billed yet ------------------------------------------------------------------------


def test_what_is_not_billed_yet_reaches_no_charge(office, tmp_path):
    def billed(one):
        work(one, SYNC)

        def refused(*_):
            raise AssertionError("a bill asked for what is not billed yet")

        one.partner_center.download_unbilled_usage = refused
        work(one, BILL)
        documents = one.store.documents()
        assert documents
        return documents

    plain = an_office(tmp_path / "plain")
    row = usage_row("azure-1", "9999", UsageDate="2026-11-05T00:00:00")
    late = usage_row("azure-1", "8888", UsageDate="2026-10-30T00:00:00")
    office.partner_center.unbilled = {("USD", "current"): [row], ("USD", "last"): [late]}
    assert billed(office) == billed(plain)


# --- days of usage on several invoices --------------------------------------------------------------


def used_days(office):
    """What each day came to on each invoice, beside the days with nothing on them."""
    return {
        (one.invoice_id, one.entitlement_id, str(one.day)): one.cost
        for one in office.store.table(UsageSummary).values()
        if one.lines
    }


OCTOBER_USED = {
    ("I1", "azure-1", "2026-10-05"): 30,
    ("I1", "azure-2", "2026-10-05"): 20,
}


def late_usage(office, **fields):
    """Usage of October that comes with the next invoice."""
    center = office.partner_center
    head = an_invoice_head("2.00", id="I2", issued_on=day("2026-11-09"))
    center.heads = [center.heads[0], head]
    line = {"customer_id": NORTHWIND, "key": "cost/I2/late/1", "invoice_id": "I2"}
    center.lines = [*center.lines[:2], a_pass_on(CostKind.USAGE, "2.00", **line)]
    center.usage["I2"] = [usage_row("azure-1", "2", **fields)]


def test_late_usage_of_a_day_stands_beside_what_was_billed_of_it(office):
    work(office, SYNC)
    late_usage(office)
    work(office, TOMORROW)
    assert used_days(office) == OCTOBER_USED | {("I2", "azure-1", "2026-10-05"): 2}


def test_an_invoice_that_is_issued_anew_restates_its_own_days_only(office):
    late_usage(office)
    work(office, SYNC)
    late_usage(office, UsageDate="2026-10-06T00:00:00")
    work(office, TOMORROW)
    assert used_days(office) == OCTOBER_USED | {("I2", "azure-1", "2026-10-06"): 2}


def test_days_that_were_stored_without_their_invoice_are_not_counted_twice(office):
    work(office, SYNC)
    archive, rows = office.ports.archive, office.store.table(UsageSummary)
    before = [replace(one, invoice_id="") for one in rows.values()]
    rows.clear()
    office.store.save(before)
    (made,) = deliveries.imports(archive, "I1")
    deliveries.note_import(archive, "I1", replace(made, reader=1, total=None))
    assert used_days(office) == {("", *day): cost for (_, *day), cost in OCTOBER_USED.items()}
    office.partner_center.usage["I1"] = [usage_row("azure-1", "50")]
    work(office, TOMORROW)
    assert used_days(office) == {("I1", "azure-1", "2026-10-05"): 50}


# --- invoices that are issued anew late --------------------------------------------------------------

LATE = StartRun(kind="sync", day=day("2026-12-24"))


def test_an_older_invoice_is_pulled_again_when_its_total_changed(office):
    work(office, SYNC)
    seats_line, _ = office.partner_center.lines
    cheaper = a_pass_on(CostKind.USAGE, "40.00", customer_id=NORTHWIND)
    issued_anew(office, seats_line, cheaper, total="140.00")
    work(office, LATE)
    assert sum(line.subtotal for line in office.store.cost_lines(["I1"])) == 140
    assert f"pull/costs/I1/{LATE.day}" in [one.key for one in office.store.units(LATE.run_key)]


def test_an_older_invoice_that_did_not_change_is_left_alone(office):
    work(office, SYNC, LATE)
    units = [one.key for one in office.store.units(LATE.run_key)]
    assert units
    assert not [key for key in units if key.startswith("pull/costs/")]


def test_an_older_invoice_that_was_never_imported_is_left_alone(office):
    work(office, LATE)
    assert not office.store.table(CostLine)
