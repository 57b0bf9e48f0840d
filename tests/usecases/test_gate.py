"""The gate over days: what is lost is told, held and kept; what is repaired is billed by the next run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.customer import Account, Address, Customer, DelegatedAdminRelationship
from domain.problems import InputError, NotAuthorised, NotFound, Severity
from domain.run import RunStatus
from domain.subscription import Subscription
from rules.facts import Demands
from sync import gate, pull
from sync.messages import PullUnit, StartRun
from tests.builders import (
    a_contract,
    a_customer,
    a_relationship,
    a_subscription,
    an_account,
    an_agreement,
    day,
)
from tests.usecases.office import (
    APPROVE,
    BILL,
    CUSTOMER,
    NORTHWIND,
    SYNC,
    a_fault,
    an_office,
    finance,
    totals,
    work,
)

GDAP = "gdap/gdap-1"


@pytest.fixture
def office(tmp_path):
    return an_office(tmp_path)


def told(office, customer_id=CUSTOMER):
    found = office.store.findings(customer_id=customer_id)
    return sorted((one.check, one.severity.value) for one in found)


def next_day(office, days=1):
    """Let days pass, and sync."""
    office.clock.advance(timedelta(days=days))
    work(office, StartRun(kind="sync", day=office.clock.moment.date()))


# --- one customer at once -----------------------------------------------------------------------------


def test_asked_twice_it_writes_nothing(office):
    work(office, SYNC)
    office.store.save([a_relationship(status="terminated")])
    assert [one.check for one in gate.check_customer(office.ports, CUSTOMER)] == ["gdap.missing"]
    assert office.written(lambda: gate.check_customer(office.ports, CUSTOMER)) == []
    office.store.save([a_relationship()])
    assert office.written(lambda: gate.check_customer(office.ports, CUSTOMER)) == [
        "close finding/gdap.missing/c1/delegated admin relationship"
    ]
    assert told(office) == []


def test_it_touches_nobody_elses_findings_and_none_of_other_rooms(office):
    work(office, SYNC)
    office.store.save(
        [
            a_fault("gdap.missing", NORTHWIND),
            a_fault("wire.subscription"),
            a_fault("mapping.contract_ended"),
        ]
    )
    gate.check_customer(office.ports, CUSTOMER)
    assert told(office) == [("mapping.contract_ended", "hold"), ("wire.subscription", "hold")]
    assert told(office, NORTHWIND) == [("gdap.missing", "hold")]


def test_a_customer_that_is_not_stored_is_said(office):
    with pytest.raises(NotFound):
        gate.check_customer(office.ports, "nobody")


def test_the_partners_policy_and_demands_count(office):
    work(office, SYNC)
    office.policy = {"gdap.roles_unknown": Severity.WARN}
    office.demands = Demands(required_roles=("88d8e3e3-8f55-4a1e-953a-9b9898b8876b",))
    gate.check_customer(office.ports, CUSTOMER)
    assert told(office) == [("gdap.roles_unknown", "warn")]


def test_a_release_stands_as_long_as_the_same_is_seen(office):
    work(office, SYNC)
    office.store.save([a_relationship(active_assignments=0)])
    (finding,) = gate.check_customer(office.ports, CUSTOMER)
    office.store.save(
        [replace(finding, released_by="Ana", released_on=day("2026-11-09"), released_reason="ok")]
    )
    (again,) = gate.check_customer(office.ports, CUSTOMER)
    assert (again.released_by, again.holds) == ("Ana", False)


# --- the daily sync ------------------------------------------------------------------------------------


def test_the_sync_asks_every_customer_without_a_bill(office):
    office.partner_center.signed = [an_agreement()]
    office.directory.known = [a_relationship(id="gdap-2", customer_id=NORTHWIND)]
    work(office, SYNC)
    assert told(office) == [("gdap.missing", "hold")]
    assert told(office, NORTHWIND) == [("agreement.missing", "hold")]


def test_what_microsoft_no_longer_lists_counts_no_more(office):
    work(office, SYNC)
    office.directory.known = office.directory.known[1:]
    office.partner_center.signed = office.partner_center.signed[1:]
    next_day(office)
    assert told(office) == [("agreement.missing", "hold"), ("gdap.missing", "hold")]
    (agreement,) = office.store.agreements(CUSTOMER)
    assert agreement.withdrawn_on == day("2026-11-10")
    (relationship,) = office.store.relationships(CUSTOMER)
    assert (relationship.status, relationship.active_assignments) == ("gone", 0)
    assert office.written(lambda: next_day(office)) != []
    assert office.store.agreements(CUSTOMER)[0].withdrawn_on == day("2026-11-10")
    office.directory.known.append(a_relationship())
    office.partner_center.signed.append(an_agreement())
    next_day(office)
    assert told(office) == []


def test_a_relationship_that_cannot_be_read_is_not_taken_for_gone(office):
    work(office, SYNC)
    office.directory.known = [a_fault("wire.relationship"), office.directory.known[1]]
    next_day(office)
    assert office.store.rows[DelegatedAdminRelationship][GDAP].status == "active"
    assert told(office) == [("access.stale", "warn"), ("wire.relationship", "hold")]


def test_one_that_cannot_be_read_keeps_no_others_that_are_gone(office):
    work(office, SYNC)
    unread = a_fault("wire.relationship", NORTHWIND, record="relationship gdap-77")
    office.directory.known = [office.directory.known[1], unread]
    next_day(office)
    assert office.store.rows[DelegatedAdminRelationship][GDAP].status == "gone"
    assert told(office) == [("gdap.missing", "hold")]
    assert told(office, NORTHWIND) == [("wire.relationship", "hold")]


def test_of_two_of_one_customer_the_one_that_cannot_be_read_may_be_neither_other(office):
    office.directory.known.append(a_relationship(id="gdap-3"))
    work(office, SYNC)
    office.directory.known = [
        a_fault("wire.relationship", record="relationship gdap-3"),
        office.directory.known[1],
    ]
    next_day(office)
    kept = office.store.rows[DelegatedAdminRelationship]
    assert (kept[GDAP].status, kept["gdap/gdap-3"].status) == ("gone", "active")


def test_a_customer_that_was_read_before_its_relationships_is_checked_again_with_them(office):
    """On a queue the units of a sync come in any order."""
    office.directory.known = [a_relationship(status="terminated")]
    units = {unit.key: unit for unit in pull.plan(office.ports, SYNC)}
    first = units["pull/customer/c1/2026-11-09"]
    last = units["pull/relationships/2026-11-09"]
    work(office, SYNC)
    office.directory.known = [a_relationship()]
    pull.work(office.ports, first)
    assert told(office) == [("gdap.missing", "hold")]
    pull.work(office.ports, last)
    assert told(office) == []


def test_a_sync_of_one_customer_reads_its_own_relationships_alone(office):
    message = StartRun(kind="sync", day=day("2026-11-09"), customer_id=CUSTOMER)
    assert [(unit.part, unit.scope) for unit in pull.plan(office.ports, message)] == [
        ("relationships", CUSTOMER),
        ("customer", CUSTOMER),
    ]
    work(office, message)
    assert list(office.store.rows[DelegatedAdminRelationship]) == [GDAP]
    assert told(office) == []
    pull.work(
        office.ports,
        PullUnit(run_key=message.run_key, part="relationships", scope=NORTHWIND, day=message.day),
    )
    assert office.store.rows[DelegatedAdminRelationship][GDAP].status == "active"


def test_a_row_that_cannot_be_read_is_a_finding_and_what_was_found_before_stands(office):
    office.directory.known = office.directory.known[1:]
    work(office, SYNC)
    real = office.store.customer_file

    def unreadable(customer_id, on=None):
        if customer_id == CUSTOMER:
            raise InputError("billing contract contract/c1: starts is empty")
        return real(customer_id, on)

    office.store.customer_file = unreadable
    next_day(office)
    assert told(office) == [("customer.unreadable", "hold"), ("gdap.missing", "hold")]
    assert office.store.runs(1)[0].status is RunStatus.DONE
    office.store.customer_file = real
    next_day(office)
    assert told(office) == [("gdap.missing", "hold")]


def test_of_contracts_that_lie_ahead_the_next_one_is_asked_about(office):
    soon = a_contract(tax_profile_key="tax/de", starts=day("2026-12-01"), ends=day("2027-12-01"))
    far = a_contract(key="contract/c1-far", starts=day("2027-12-01"), account_id="")
    office.store.save([soon, far])
    work(office, SYNC)
    assert told(office) == []


# --- access that was lost ------------------------------------------------------------------------------


def test_of_a_customer_that_is_no_reseller_customer_nothing_else_is_read(office):
    office.partner_center.details[CUSTOMER] = a_customer(relationship="none")
    asked = []
    office.partner_center.agreements = lambda customer_id: asked.append(customer_id) or iter(())
    work(office, SYNC)
    assert asked == [NORTHWIND]
    assert f"subscription/{CUSTOMER}" not in office.store.rows[Subscription]
    assert ("relationship.not_reseller", "hold") in told(office)


def test_details_that_microsoft_hides_stay_as_they_were_with_the_day_of_the_loss(office):
    known = a_customer(address=Address(country="DE", city="Köln"), email="a@fabrikam.example")
    office.partner_center.details[CUSTOMER] = known
    work(office, SYNC)
    hidden = a_customer(name="Fabrikam SE", details_known=False)
    office.partner_center.details[CUSTOMER] = hidden
    next_day(office)
    kept = office.store.customer(CUSTOMER)
    assert kept == replace(known, name="Fabrikam SE", stale_since=day("2026-11-10"))
    assert told(office) == [("access.stale", "warn")]
    next_day(office)
    assert office.store.customer(CUSTOMER) == kept
    office.partner_center.details[CUSTOMER] = known
    next_day(office)
    assert office.store.customer(CUSTOMER) == known
    assert told(office) == []


def test_a_customer_that_was_never_read_whole_says_since_when_it_is_asked_for(office):
    office.partner_center.details[CUSTOMER] = a_customer(details_known=False)
    work(office, SYNC)
    next_day(office)
    assert office.store.customer(CUSTOMER).stale_since == day("2026-11-09")


def test_lost_access_keeps_the_data_bills_by_them_for_a_week_and_then_holds(office):
    work(office, SYNC)
    office.partner_center.details[CUSTOMER] = a_fault("access.denied", severity=Severity.WARN)
    next_day(office)
    assert told(office) == [("access.denied", "warn"), ("access.stale", "warn")]
    assert office.store.customer(CUSTOMER) == a_customer(stale_since=day("2026-11-10"))
    assert len(office.store.rows[Subscription]) == 2
    work(office, BILL)
    assert totals(office)["Fabrikam Toys draft"] == "142.80"
    next_day(office, days=7)
    assert told(office) == [("access.denied", "warn"), ("access.stale", "warn")]
    next_day(office)
    assert told(office) == [("access.denied", "warn"), ("access.stale", "hold")]
    del office.partner_center.details[CUSTOMER]
    next_day(office)
    assert told(office) == []


def test_a_customer_whose_subscriptions_alone_are_refused_is_stale_too(office):
    work(office, SYNC)
    office.partner_center.running[0] = a_fault("access.denied", severity=Severity.WARN)
    next_day(office)
    assert told(office) == [("access.denied", "warn"), ("access.stale", "warn")]
    assert office.store.rows[Subscription]["subscription/s1"].quantity == 10


def refusing(office, part, status=403, code="900308"):
    """Partner Center refuses one part of Fabrikam's data, and shows everything else."""
    real = getattr(office.partner_center, part)

    def refused(customer_id):
        if customer_id == CUSTOMER:
            raise NotAuthorised(
                "Too few privileges", service="Partner Center", status=status, code=code
            )
        return real(customer_id)

    setattr(office.partner_center, part, refused)
    return lambda: setattr(office.partner_center, part, real)


@pytest.mark.parametrize("part", ["customer", "agreements", "subscriptions"])
def test_whatever_part_is_refused_the_data_go_stale_and_hold_after_a_week(office, part):
    work(office, SYNC)
    shown_again = refusing(office, part)
    next_day(office)
    assert told(office) == [("access.denied", "warn"), ("access.stale", "warn")]
    assert office.store.customer(CUSTOMER) == a_customer(stale_since=day("2026-11-10"))
    assert office.store.rows[Subscription]["subscription/s1"].quantity == 10
    next_day(office, days=8)
    assert told(office) == [("access.denied", "warn"), ("access.stale", "hold")]
    work(office, BILL)
    assert list(totals(office)) == ["Northwind Traders draft"]
    shown_again()
    next_day(office)
    assert told(office) == []


def test_what_could_not_be_read_before_the_refusal_still_holds(office):
    office.partner_center.running.append(a_fault("wire.subscription"))
    work(office, SYNC)
    refusing(office, "agreements")
    next_day(office)
    assert ("wire.subscription", "hold") in told(office)


def test_a_sign_in_of_ours_that_fails_is_no_success_and_makes_the_data_stale(office):
    work(office, SYNC)
    refusing(office, "agreements", status=401, code="AADSTS700082")
    message = StartRun(kind="sync", day=day("2026-11-10"))
    office.clock.advance(timedelta(days=1))
    unit = next(u for u in pull.plan(office.ports, message) if u.scope == CUSTOMER)
    with pytest.raises(NotAuthorised):
        pull.work(office.ports, unit)
    assert told(office) == [("access.denied", "warn"), ("access.stale", "warn")]


def test_relationships_that_may_not_be_read_go_stale_and_hold_after_a_week(office):
    work(office, SYNC)
    listed = office.directory.relationships

    def refused(customer_id=""):
        raise NotAuthorised("Forbidden", service="Microsoft Graph", status=403)

    office.directory.relationships = refused

    def another_day(days=1):
        office.clock.advance(timedelta(days=days))
        today = office.clock.moment.date()
        for unit in pull.plan(office.ports, StartRun(kind="sync", day=today)):
            if unit.part == "relationships":
                with pytest.raises(NotAuthorised):
                    pull.work(office.ports, unit)
            elif unit.part == "customer":
                pull.work(office.ports, unit)

    another_day()
    assert told(office) == [("access.stale", "warn")]
    another_day(days=8)
    assert told(office) == [("access.stale", "hold")]
    assert told(office, NORTHWIND) == [("access.stale", "hold")]
    work(office, BILL)
    assert totals(office) == {}
    office.directory.relationships = listed
    next_day(office)
    assert told(office) == []


def test_a_segment_that_was_known_stays_where_the_catalogue_does_not_answer(office):
    office.partner_center.running[0] = a_subscription(segment="Education")
    work(office, SYNC)
    office.partner_center.running[0] = a_subscription(quantity=12)
    next_day(office)
    kept = office.store.rows[Subscription]["subscription/s1"]
    assert (kept.segment, kept.quantity) == ("Education", 12)
    assert told(office) == [("qualification.missing", "hold")]
    office.partner_center.running[0] = a_subscription(sku_id="0099")
    next_day(office)
    assert office.store.rows[Subscription]["subscription/s1"].segment == ""


def test_who_left_is_held_until_all_is_billed_and_then_no_more(office):
    work(office, SYNC)
    office.store.save([a_contract(tax_profile_key="tax/de", ends=day("2026-11-01"))])
    office.partner_center.details[CUSTOMER] = a_fault("customer.unreachable")
    office.directory.known = office.directory.known[1:]
    office.partner_center.signed = office.partner_center.signed[1:]
    next_day(office)
    assert told(office) == [
        ("access.stale", "warn"),
        ("customer.unreachable", "hold"),
        ("gdap.missing", "hold"),
    ]
    office.store.save([a_relationship()])
    office.partner_center.details[CUSTOMER] = a_customer()
    office.partner_center.signed.append(an_agreement())
    office.directory.known.append(a_relationship())
    next_day(office)
    work(office, BILL, APPROVE)
    assert office.store.customer_file(CUSTOMER).invoiced
    office.partner_center.details[CUSTOMER] = a_fault("customer.unreachable")
    office.directory.known.remove(a_relationship())
    next_day(office, days=20)
    assert told(office) == [("access.stale", "warn"), ("customer.unreachable", "warn")]
    assert office.written(lambda: gate.check_customer(office.ports, CUSTOMER)) == []


# --- what is repaired is billed --------------------------------------------------------------------------


def bill_to(office, account):
    office.store.save([a_contract(tax_profile_key="tax/de", account_id=account.id)])
    office.store.table(Account)[account.id] = account


FAULTS = {
    "gdap": (
        lambda office: office.directory.known.pop(0),
        lambda office: office.directory.known.append(a_relationship()),
    ),
    "agreement": (
        lambda office: office.partner_center.signed.pop(0),
        lambda office: office.partner_center.signed.append(an_agreement()),
    ),
    "relationship": (
        lambda office: office.partner_center.details.update(c1=a_customer(relationship="none")),
        lambda office: office.partner_center.details.clear(),
    ),
    "account": (
        lambda office: bill_to(office, an_account(id="account-9", active=False)),
        lambda office: bill_to(office, an_account(id="account-9")),
    ),
    "contract": (
        lambda office: office.store.save(
            [a_contract(key="contract/c1b", tax_profile_key="tax/de")]
        ),
        lambda office: office.store.save(
            [a_contract(key="contract/c1b", ends=day("2026-10-01"), tax_profile_key="tax/de")]
        ),
    ),
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_customer_whose_cause_is_gone_is_billed_by_the_next_run(office, cause):
    work(office, SYNC)
    breaks, repairs = FAULTS[cause]
    breaks(office)
    next_day(office)
    work(office, BILL)
    assert list(totals(office)) == ["Northwind Traders draft"]
    repairs(office)
    next_day(office)
    work(office, BILL)
    assert totals(office) == {"Fabrikam Toys draft": "142.80", "Northwind Traders draft": "65.45"}


def test_next_years_contract_entered_ahead_leaves_this_month_to_the_running_one(office):
    finance(office)
    running = a_contract(tax_profile_key="tax/de", ends=day("2026-12-01"))
    ahead = a_contract(key="contract/c1-2027", tax_profile_key="tax/de", starts=day("2026-12-01"))
    office.store.save([running, ahead])
    work(office, SYNC, BILL)
    assert told(office) == []
    assert totals(office)["Fabrikam Toys draft"] == "142.80"


def test_a_customer_is_stored_as_it_is_listed_before_it_is_read(office):
    office.partner_center.people[0] = a_customer(details_known=False)
    pull.plan(office.ports, SYNC)
    assert office.store.rows[Customer]["customer/c1"].details_known is False
    assert "access.unread" in {one.check for one in gate.check_customer(office.ports, CUSTOMER)}
