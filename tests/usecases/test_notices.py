"""Events of Partner Center: each leads to a look at what is there now, few of them, none lost."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.customer import Customer, DelegatedAdminRelationship
from domain.problems import Conflict, InputError, Severity, Unavailable
from domain.run import RunStatus, UnitStatus
from domain.subscription import CostLine, Subscription, SubscriptionEvent
from sync import notices, runs
from sync.ledger import Busy, Later
from sync.messages import TakeNotice
from tests.builders import CUSTOMER, a_customer, a_subscription, seats
from tests.builders import day as day_of
from tests.fakes import Crash
from tests.usecases.office import BILL, NORTHWIND, SYNC, an_office, totals, usage_row, work

SECOND = timedelta(seconds=1)
GDAP = (
    "granular-admin-relationship-approved",
    "granular-admin-relationship-activated",
    "granular-admin-relationship-terminated",
    "granular-admin-relationship-expired",
    "granular-admin-access-assignment-created",
    "granular-admin-access-assignment-activated",
    "granular-admin-access-assignment-updated",
    "granular-admin-access-assignment-deleted",
)
OF_A_CUSTOMER = (
    "subscription-updated",
    "reseller-relationship-accepted-by-customer",
    "indirect-reseller-relationship-accepted-by-customer",
    *GDAP,
    "dap-admin-relationship-approved",
    "dap-admin-relationship-terminated",
    "dap-admin-relationship-terminated-by-microsoft",
)


@pytest.fixture
def office(tmp_path):
    office = an_office(tmp_path)
    work(office, SYNC)
    listen(office)
    return office


def listen(office):
    """Count what is asked of Microsoft, by kind."""
    office.asked = Counter()
    center = office.partner_center

    def counted(name, ask):
        def asked(*arguments, **options):
            office.asked[name] += 1
            return ask(*arguments, **options)

        return asked

    for name in ("customer", "customers", "subscriptions", "invoices", "subscription_events"):
        setattr(center, name, counted(name, getattr(center, name)))
    return office


def a_notice(office, name="subscription-updated", number=0, **fields):
    """An event that came in now."""
    given = {}
    if name in GDAP:  # it tells the relationship, not whose it is
        given = {"relationship_id": "gdap-1", "resource": "gdap-1"}
    elif name in OF_A_CUSTOMER:
        given = {"customer_id": CUSTOMER, "resource": "s1"}
    return TakeNotice(
        name=name,
        changed=f"2026-11-09T05:59:39.{number:07d}+00:00",
        received_at=office.clock(),
        **given | fields,
    )


def take(office, *sent, pause=SECOND):
    """Work events, each a moment after it came in; one that is too early comes again when it is time."""
    early = []
    for notice in sent:
        office.clock.advance(pause)
        early += deliver(office, notice)
    while early:
        early.sort(key=lambda one: one[0])
        until, notice = early.pop(0)
        office.clock.moment = max(office.clock(), until)
        early += deliver(office, notice)


def deliver(office, notice):
    """Deliver a message once; returns it with its time where it is to come again."""
    try:
        runs.handle(office.ports, "event", notice.model_dump_json())
    except Later as error:
        return [(error.until, notice)]
    return []


def unit(office, notice):
    return office.store.ledger[notice.key][0]


def day(office):
    return office.store.run("event/2026-11-09")


# --- what each event leads to -------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_A_CUSTOMER)
def test_an_event_about_a_customer_reads_that_customer_whole(office, name):
    center = office.partner_center
    center.running[0] = a_subscription(quantity=12)
    center.events = [seats("2026-10-20", 12)]
    center.details[NORTHWIND] = a_customer(id=NORTHWIND, name="Renamed meanwhile")
    take(office, a_notice(office, name))
    assert office.store.table(Subscription)["subscription/s1"].quantity == 12
    assert len(office.store.table(SubscriptionEvent)) == 1
    assert {one.name for one in office.store.customers()} == {"Fabrikam Toys", "Northwind Traders"}


def test_an_event_says_nothing_of_how_the_record_stands(office):
    """The event is of a change that was taken back meanwhile: what is there now counts."""
    before = dict(office.store.rows)
    written = office.written(lambda: take(office, a_notice(office)))
    assert office.store.rows[Subscription] == before[Subscription]
    assert {line.partition("/")[0] for line in written} <= {
        "save event",
        "unit look",
        "unit event",
        "close finding",
    }


def test_who_may_administer_a_customer_is_read_anew(office):
    ended = replace(office.directory.known[0], status="terminated")
    office.directory.known[0] = ended
    take(office, a_notice(office, "granular-admin-relationship-terminated"))
    (stored,) = [
        one
        for one in office.store.table(DelegatedAdminRelationship).values()
        if one.customer_id == CUSTOMER
    ]
    assert stored.status == "terminated"


def test_of_a_relationship_that_graph_has_no_more_the_stored_one_tells_whose_it_was(office):
    office.directory.known = office.directory.known[1:]
    take(office, a_notice(office, "granular-admin-relationship-terminated"))
    assert office.asked["subscriptions"] == 1
    assert "gdap.missing" in {one.check for one in office.store.findings(customer_id=CUSTOMER)}


def test_a_relationship_of_nobody_is_asked_for_some_minutes_and_counted(office):
    name = "granular-admin-relationship-approved"
    notice = a_notice(office, name, relationship_id="gdap-666", resource="gdap-666")
    ((again, _),) = deliver(office, notice)
    assert again - office.clock() == timedelta(minutes=2)
    assert unit(office, notice).status is UnitStatus.QUEUED
    assert unit(office, notice).problem == "Graph does not show relationship gdap-666 yet"
    take(office, notice)
    assert office.clock() - notice.received_at >= notices.SHOWN
    assert office.asked == {}
    assert day(office).counts == {"events": 1, "unknown": 1}
    assert unit(office, notice).status is UnitStatus.SETTLED


def test_a_relationship_that_graph_shows_a_moment_later_is_followed(office):
    late = office.directory.known[0]
    office.directory.known = []
    office.store.rows.pop(DelegatedAdminRelationship)
    notice = a_notice(office, "granular-admin-relationship-approved", relationship_id=late.id)
    assert deliver(office, notice)
    office.directory.known = [late]
    take(office, notice, pause=timedelta(minutes=2))
    assert office.asked["subscriptions"] == 1


def test_an_event_parks_with_the_reason_of_whatever_could_not_be_asked(office):
    office.directory.down = Unavailable("no answer", service="Microsoft Graph")
    notice = a_notice(office, "granular-admin-relationship-approved")
    with pytest.raises(Unavailable):
        take(office, notice)
    runs.give_up(office.ports, "event", notice.model_dump_json())
    assert unit(office, notice).problem == "Unavailable: Microsoft Graph: no answer"


def test_an_event_of_a_new_customer_brings_it_in(office):
    office.partner_center.people.append(a_customer(id="c3", name="Litware"))
    name = "reseller-relationship-accepted-by-customer"
    take(office, a_notice(office, name, customer_id="c3", resource="c3"))
    assert "customer/c3" in office.store.table(Customer)


def test_a_customer_that_nobody_knows_leaves_no_trace_but_the_event(office):
    """A forged id in an event that is signed all the same."""
    office.partner_center.details["c666"] = unreachable("c666")
    rows = {kind: dict(table) for kind, table in office.store.rows.items()}
    findings = dict(office.store.found)
    notice = a_notice(office, customer_id="c666", resource="s666")
    take(office, notice)
    assert {k: v for k, v in office.store.rows.items() if k.__name__ != "Run"} == {
        k: v for k, v in rows.items() if k.__name__ != "Run"
    }
    assert office.store.found == findings
    assert day(office).counts["unknown"] == 1
    assert "look/customer/c666" not in office.store.ledger


def test_a_new_customer_that_partner_center_shows_a_moment_later_is_brought_in(office):
    center = office.partner_center
    center.details["c3"] = unreachable("c3")
    name = "reseller-relationship-accepted-by-customer"
    notice = a_notice(office, name, customer_id="c3", resource="c3")
    assert deliver(office, notice)
    del center.details["c3"]
    center.people.append(a_customer(id="c3", name="Litware"))
    take(office, notice, pause=timedelta(minutes=2))
    assert "customer/c3" in office.store.table(Customer)


def unreachable(customer_id):
    from tests.usecases.office import a_fault

    return a_fault("customer.unreachable", customer_id, record=f"customer {customer_id}")


def test_a_customer_that_is_stored_and_lost_now_is_held(office):
    office.partner_center.details[CUSTOMER] = unreachable(CUSTOMER)
    take(office, a_notice(office))
    assert "customer.unreachable" in {
        one.check for one in office.store.findings(customer_id=CUSTOMER)
    }


def test_an_invoice_that_is_ready_is_imported_with_whom_it_names(tmp_path):
    office = an_office(tmp_path)
    notice = a_notice(office, "invoice-ready", invoice_id="I1", resource="I1")
    take(office, notice)
    assert len(office.store.table(CostLine)) == 2
    assert len(office.store.customers()) == 2
    assert day(office).counts["cost_lines"] == 2


def test_an_invoice_that_is_not_there_writes_nothing(office):
    lines = dict(office.store.table(CostLine))
    take(office, a_notice(office, "invoice-ready", invoice_id="I666", resource="I666"))
    assert office.store.table(CostLine) == lines
    assert office.store.found == {}


def test_an_invoice_that_is_ready_and_not_listed_yet_is_asked_for_again(tmp_path):
    office = an_office(tmp_path)
    heads, office.partner_center.heads = office.partner_center.heads, []
    notice = a_notice(office, "invoice-ready", invoice_id="I1", resource="I1")
    ((again, _),) = deliver(office, notice)
    assert again - office.clock() == timedelta(minutes=15)
    office.partner_center.heads = heads
    take(office, notice, pause=timedelta(minutes=15))
    assert len(office.store.table(CostLine)) == 2
    assert unit(office, notice).status is UnitStatus.SETTLED


def test_an_invoice_that_stays_away_is_left_to_the_daily_sync_and_the_day_says_so(office):
    notice = a_notice(office, "invoice-ready", invoice_id="I666", resource="I666")
    take(office, notice)
    assert unit(office, notice).status is UnitStatus.HELD
    assert unit(office, notice).problem == (
        "I666 is not listed or not delivered whole: the daily sync imports it"
    )
    assert day(office).status is RunStatus.DONE_WITH_HOLDS
    assert office.asked["invoices"] == 8
    take(office, notice)
    assert office.asked["invoices"] == 8


def test_usage_over_a_threshold_has_the_unbilled_usage_looked_at(office):
    office.partner_center.unbilled["USD", "current"].append(
        usage_row("azure-1", "900", UsageDate="2026-11-08T00:00:00Z")
    )
    take(office, a_notice(office, "usagerecords-thresholdexceeded"))
    assert day(office).counts["unbilled_lines"] == 9


def test_a_suspicion_of_fraud_is_told_with_its_subscription(office):
    fields = {"azure_subscription_id": "azure-1", "resource": "azure-1"}
    take(office, a_notice(office, "azure-fraud-event-detected", **fields))
    take(office, a_notice(office, "azure-fraud-event-detected", 1, **fields))
    (found,) = [one for one in office.store.findings() if one.check == "azure.fraud_event"]
    assert (found.severity, found.record) == (Severity.WARN, "Azure subscription azure-1")
    assert found.sentence == (
        "Microsoft suspects fraud in the Azure subscription azure-1 (2026-11-09)."
    )


def test_a_second_suspicion_stands_beside_the_first(office):
    suspect(office, "azure-1", "azure-2")
    work(office, SYNC.model_copy(update={"day": office.clock().date() + timedelta(days=1)}))
    assert len(suspicions(office)) == 2


def suspect(office, *subscriptions, status="active"):
    for number, one in enumerate(subscriptions):
        fields = {"azure_subscription_id": one, "resource": one, "status": status}
        take(office, a_notice(office, "azure-fraud-event-detected", number, **fields))


def suspicions(office):
    return [one for one in office.store.findings() if one.check == "azure.fraud_event"]


def test_of_subscriptions_that_never_had_usage_there_is_one_finding_and_none_is_hidden(office):
    """They are a customer's newest, or those of another partner, whose events somebody sends here."""
    suspect(office, *[f"foreign-{number:02}" for number in range(20)], "azure-1")
    unknown, known = sorted(suspicions(office), key=lambda one: one.record, reverse=True)
    assert known.record == "Azure subscription azure-1"
    assert unknown.sentence == (
        "Microsoft suspects fraud in the Azure subscription foreign-19 (2026-11-09), "
        "of which no usage was ever billed: it is new, or not yours."
    )


@pytest.mark.parametrize(
    ("status", "told"), [("resolved", 0), ("active", 1), ("investigating", 1), ("", 1)]
)
def test_a_suspicion_that_is_resolved_is_no_suspicion(office, status, told):
    suspect(office, "azure-1", status=status)
    assert len(suspicions(office)) == told


def test_what_is_resolved_is_still_closed_by_a_person(office):
    suspect(office, "azure-1")
    suspect(office, "azure-2", "azure-1", status="Resolved")
    assert len(suspicions(office)) == 1


def test_the_unbilled_usage_is_looked_at_once_an_hour_and_after_the_last_event(office):
    """Each look is an export for each currency."""
    begun = []
    look = notices.alerts.work
    asked = [
        a_notice(office, "usagerecords-thresholdexceeded", number).model_copy(
            update={"received_at": office.clock() + 2 * number * SECOND}
        )
        for number in range(20)
    ]

    def counted(ports, part):
        begun.append(office.clock())
        return look(ports, part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notices.alerts, "work", counted)
        take(office, *asked, pause=2 * SECOND)
    first, last = begun
    assert last - first == timedelta(hours=1)
    assert {unit(office, one).status for one in asked} == {UnitStatus.SETTLED}


def test_the_partners_policy_decides_what_a_suspicion_does(office):
    office.policy = {"azure.fraud_event": Severity.HOLD}
    fields = {"azure_subscription_id": "azure-1", "resource": "azure-1"}
    take(office, a_notice(office, "azure-fraud-event-detected", **fields))
    assert [one.severity for one in office.store.findings()] == [Severity.HOLD]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("test-created", {"events": 1}),
        ("referral-created", {"events": 1, "unknown": 1}),
        ("new-commerce-migration-completed", {"events": 1, "unknown": 1}),
    ],
)
def test_an_event_that_leads_to_nothing_is_counted_and_nothing_is_asked(office, name, counts):
    notice = a_notice(office, name)
    take(office, notice)
    assert office.asked == {}
    assert unit(office, notice).status is UnitStatus.SETTLED
    assert day(office).counts == counts


def test_an_event_without_a_record_leads_to_nothing_and_is_counted(office):
    """As Microsoft publishes those of DAP: without an address."""
    take(office, a_notice(office, "dap-admin-relationship-terminated", customer_id="", resource=""))
    assert office.asked == {}
    assert day(office).counts == {"events": 1, "unknown": 1}


def test_a_test_event_is_found_again(office):
    correlation = "2c6a0001-1111-4b22-8c33-9d44aa550001"
    assert not notices.tested(office.ports, "2026-11-09", correlation)
    take(office, a_notice(office, "test-created", correlation=correlation, resource=correlation))
    assert notices.tested(office.ports, "2026-11-09", correlation)
    assert not notices.tested(office.ports, "2026-11-09", correlation[:-1])


# --- what it means for the bill -----------------------------------------------------------------------


def test_a_hold_that_an_event_lifts_is_billed_by_the_next_bill_and_not_by_the_event(office):
    whole = list(office.directory.known)
    office.directory.known = [replace(whole[0], status="terminated"), whole[1]]
    take(office, a_notice(office, "granular-admin-relationship-terminated"))
    work(office, BILL)
    assert totals(office) == {"Northwind Traders draft": "65.45"}
    office.directory.known = whole
    take(office, a_notice(office, "granular-admin-relationship-activated"))
    assert totals(office) == {"Northwind Traders draft": "65.45"}
    work(office, BILL)
    assert totals(office)["Fabrikam Toys draft"] == "142.80"


# --- again, in any order, in a burst ------------------------------------------------------------------


def test_the_same_event_again_is_not_followed_again(office):
    notice = a_notice(office)
    take(office, notice)
    asked = Counter(office.asked)
    later = notice.model_copy(update={"received_at": office.clock() + timedelta(minutes=5)})
    office.clock.advance(timedelta(minutes=6))
    assert office.written(lambda: take(office, later)) == []
    assert office.asked == asked


def test_two_changes_in_one_second_are_two_events(office):
    first, second = a_notice(office, number=1), a_notice(office, number=9)
    assert first.key != second.key


def test_a_burst_leads_to_one_look_and_to_another_a_minute_later(office):
    burst = [a_notice(office, number=number) for number in range(100)]
    take(office, *burst)
    assert office.asked["subscriptions"] == 2
    assert all(unit(office, one).status is UnitStatus.SETTLED for one in burst)
    assert day(office).status is RunStatus.DONE


def test_a_burst_of_every_kind_about_one_customer_leads_to_two_looks(office):
    take(office, *[a_notice(office, name) for name in OF_A_CUSTOMER])
    assert office.asked["subscriptions"] == 2


def test_a_change_that_came_after_the_look_is_seen_though_its_host_is_slow(office):
    """The clock of the host that received it is three seconds behind: the look seems to be newer."""
    take(office, a_notice(office))
    office.partner_center.running[0] = a_subscription(quantity=99)
    late = a_notice(office, number=2).model_copy(
        update={"received_at": office.clock() - 3 * SECOND}
    )
    take(office, late)
    assert office.store.table(Subscription)["subscription/s1"].quantity == 99


def test_two_customers_are_two_looks(office):
    other = a_notice(office, customer_id=NORTHWIND, resource="plan-1")
    take(office, a_notice(office), other)
    assert office.asked["subscriptions"] == 2


def test_an_event_that_comes_in_after_a_look_began_is_followed_by_another(office):
    take(office, a_notice(office))
    office.partner_center.running[0] = a_subscription(quantity=13)
    office.clock.advance(SECOND)
    take(office, a_notice(office, number=1))
    assert office.store.table(Subscription)["subscription/s1"].quantity == 13


def test_an_event_of_the_moment_in_which_a_look_began_is_followed_by_another(office):
    """The store keeps whole seconds: at the same one it is not known which was first."""
    first = a_notice(office)
    take(office, first, pause=timedelta(0))
    take(office, a_notice(office, number=1), pause=timedelta(0))
    assert office.asked["subscriptions"] == 2


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_the_order_what_is_stored_is_what_was_last_true(tmp_path_factory, data):
    """Changes and events come in; their messages are worked in any order, some of them twice."""
    office = an_office(tmp_path_factory.mktemp("order"))
    waiting = []
    for number in range(data.draw(st.integers(1, 6))):
        office.partner_center.running[0] = a_subscription(quantity=20 + number)
        office.clock.advance(timedelta(seconds=data.draw(st.integers(0, 2))))
        waiting.append(a_notice(office, number=number))
        for notice in data.draw(st.lists(st.sampled_from(waiting), max_size=3)):
            deliver(office, notice)
    for notice in data.draw(st.permutations(waiting)):
        take(office, notice, pause=timedelta(seconds=data.draw(st.integers(0, 1))))
    stored = office.store.table(Subscription)["subscription/s1"]
    assert stored.quantity == office.partner_center.running[0].quantity


def test_while_another_worker_looks_the_message_waits_or_is_served_by_it(office):
    early = a_notice(office)
    office.clock.advance(SECOND)
    inside = []

    def meanwhile(customer_id):
        """During the look: the early event's twin, and one that came in after the look began."""
        del office.partner_center.subscriptions
        office.clock.advance(SECOND)
        late = a_notice(office, number=2)
        runs.handle(
            office.ports,
            "event",
            early.model_copy(update={"changed": "2026-11-09T05:59:40Z"}).model_dump_json(),
        )
        with pytest.raises(Busy):
            runs.handle(office.ports, "event", late.model_dump_json())
        inside.append(late)
        return office.partner_center.subscriptions(customer_id)

    office.partner_center.subscriptions = meanwhile
    office.clock.advance(notices.SKEW)
    runs.handle(office.ports, "event", early.model_dump_json())
    assert unit(office, inside[0]).status is UnitStatus.QUEUED
    assert unit(office, inside[0]).problem.startswith("look/customer/c1 is being worked until")
    office.partner_center.running[0] = a_subscription(quantity=14)
    take(office, *inside)
    assert office.store.table(Subscription)["subscription/s1"].quantity == 14


def test_a_look_that_failed_serves_nobody(office):
    office.partner_center.down = Unavailable("no answer", service="Partner Center")
    first, second = a_notice(office), a_notice(office, number=1)
    with pytest.raises(Unavailable):
        take(office, first)
    office.partner_center.down = None
    take(office, second)
    assert office.asked["subscriptions"] == 1


def test_a_look_whose_worker_died_serves_nobody(office):
    first, second = a_notice(office), a_notice(office, number=1)
    office.clock.advance(SECOND)

    def dies(customer_id):
        raise Crash

    office.partner_center.subscriptions, ask = dies, office.partner_center.subscriptions
    with pytest.raises(Crash):
        take(office, first)
    office.partner_center.subscriptions = ask
    office.clock.advance(notices.LEASE)
    take(office, second)
    assert office.asked["subscriptions"] == 1


# --- whatever dies, and what is given up --------------------------------------------------------------


def test_a_crash_at_any_write_converges(tmp_path_factory):
    """The process dies before its k-th write; the message comes again after the lease."""

    def month(office):
        office.partner_center.running[0] = a_subscription(quantity=12)
        office.partner_center.events = [seats("2026-10-20", 12)]
        sent = [
            a_notice(office),
            a_notice(office, "invoice-ready", invoice_id="I1", resource="I1"),
            a_notice(office, "test-created"),
            a_notice(office, number=1),
        ]
        office.clock.advance(SECOND)
        return [one.model_dump_json() for one in sent]

    def result(office):
        store = office.store
        return (
            {kind: rows for kind, rows in store.rows.items() if kind.__name__ != "Run"},
            store.found,
            {key: one.status for key, (one, _) in store.ledger.items()},
            store.run("event/2026-11-09").status,
        )

    def work_all(office, waiting):
        while waiting:
            try:
                runs.handle(office.ports, "event", waiting[0])
                waiting.pop(0)
            except Later as early:
                office.clock.moment = max(office.clock(), early.until)
            except Crash:
                office.store.fault = None
                office.clock.advance(notices.LEASE)

    whole = an_office(tmp_path_factory.mktemp("whole"))
    start = len(whole.store.writes)
    work_all(whole, month(whole))
    for k in range(start + 1, len(whole.store.writes) + 1):
        office = an_office(tmp_path_factory.mktemp("crash"))
        office.store.fault, office.store.fault_at = Crash(), k
        work_all(office, month(office))
        assert result(office) == result(whole), f"after a crash before write {k}"


def test_an_event_that_failed_too_often_is_parked_with_the_reason(office):
    office.partner_center.down = Unavailable("no answer", service="Partner Center")
    notice = a_notice(office)
    for _ in range(5):
        with pytest.raises(Unavailable):
            take(office, notice)
    runs.give_up(office.ports, "event", notice.model_dump_json())
    parked = unit(office, notice)
    assert parked.status is UnitStatus.PARKED
    assert parked.problem == "Unavailable: Partner Center: no answer"
    assert day(office).status is RunStatus.FAILED
    assert "no answer" in day(office).problem


def test_an_event_that_is_settled_is_not_parked(office):
    notice = a_notice(office)
    take(office, notice)
    runs.give_up(office.ports, "event", notice.model_dump_json())
    assert unit(office, notice).status is UnitStatus.SETTLED


def test_the_next_event_of_the_customer_heals_the_look_and_a_parked_one_may_come_again(office):
    office.partner_center.down = Unavailable("no answer", service="Partner Center")
    notice = a_notice(office)
    with pytest.raises(Unavailable):
        take(office, notice)
    runs.give_up(office.ports, "event", notice.model_dump_json())
    office.partner_center.down = None
    take(office, notice.model_copy(update={"received_at": office.clock()}))
    assert unit(office, notice).status is UnitStatus.SETTLED
    assert day(office).status is RunStatus.DONE


def test_two_workers_with_the_same_event_end_well(office):
    notice = a_notice(office)
    put = office.store.put_unit

    def faster(one, version):
        if one.key == notice.key and version is None:
            put(one, None)
            raise Conflict("somebody was faster", service="Store")
        return put(one, version)

    office.store.put_unit = faster
    take(office, notice)
    assert unit(office, notice).status is UnitStatus.SETTLED


def test_a_busy_day_is_summed_up_now_and_then_and_wholly_by_the_sync(office):
    """Summing up reads every unit of the day: after each event that would be quadratic."""
    read = []
    units = office.store.units

    def counted(run_key):
        found = units(run_key)
        read.append(len(found))
        return found

    office.store.units = counted
    sent = [a_notice(office, "referral-created", number) for number in range(400)]
    take(office, *sent)
    assert sum(read) < 4 * len(sent)
    office.store.units = units
    work(office, SYNC.model_copy(update={"day": day_of("2026-11-10")}))
    assert day(office).counts == {"events": 400, "unknown": 400}


# --- while the daily sync reads the same customer -----------------------------------------------------


def another_day(office):
    office.clock.advance(timedelta(days=1))
    return SYNC.model_copy(update={"day": office.clock().date()})


def meanwhile(source, name, happens):
    """Let something happen once, after a list was read and before it is saved."""
    read = getattr(source, name)

    def slow(*arguments):
        found = list(read(*arguments))
        setattr(source, name, read)
        happens()
        return iter(found)

    setattr(source, name, slow)


def checks_of(office):
    return {one.check for one in office.store.findings(customer_id=CUSTOMER) if one.holds}


def test_the_sync_does_not_save_a_customer_that_it_read_before_an_event_did(office):
    center = office.partner_center

    def withdrawn():
        center.signed = [one for one in center.signed if one.customer_id != CUSTOMER]
        take(office, a_notice(office))
        assert checks_of(office) == {"agreement.missing"}

    meanwhile(center, "agreements", withdrawn)
    work(office, another_day(office))
    assert checks_of(office) == {"agreement.missing"}
    work(office, BILL)
    assert "Fabrikam Toys draft" not in totals(office)


def test_the_sync_does_not_save_relationships_that_it_read_before_an_event_did(office):
    def terminated():
        (mine,) = [one for one in office.directory.known if one.customer_id == CUSTOMER]
        at = office.directory.known.index(mine)
        office.directory.known[at] = replace(mine, status="terminated")
        take(office, a_notice(office, "granular-admin-relationship-terminated"))

    meanwhile(office.directory, "relationships", terminated)
    work(office, another_day(office))
    stored = {one.customer_id: one.status for one in office.store.relationships()}
    assert stored == {CUSTOMER: "terminated", NORTHWIND: "active"}
    assert "gdap.missing" in checks_of(office)


def test_without_events_the_sync_reads_each_customer_once(office):
    work(office, another_day(office))
    assert office.asked["subscriptions"] == 2


# --- messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Subscription Updated"},
        {"name": "a" * 81},
        {"changed": "today"},
        {"changed": "2" * 41},
        {"received_at": "2026-11-09T06:00:00"},
        {"customer_id": "c1/../c2"},
        {"invoice_id": "x" * 65},
        {"resource": "s1' or 1 eq 1"},
        {"resource": "s" * 151},
        {"body": "whatever else stood in the event"},
    ],
)
def test_a_message_that_does_not_fit_is_refused(office, change):
    body = {**a_notice(office).model_dump(mode="json"), **change}
    with pytest.raises(InputError, match="the event message is not readable"):
        runs.handle(office.ports, "event", json.dumps(body))


def test_a_key_tells_what_happened_to_what():
    notice = TakeNotice(
        name="subscription-updated",
        changed="2026-03-17T00:05:39.5485487+00:00",
        received_at="2026-11-09T06:00:00Z",
        resource="s1",
    )
    assert notice.key == "event/subscription-updated/s1/2026-03-17T00:05:39.5485487+00:00"
    assert notice.run_key == "event/2026-11-09"
