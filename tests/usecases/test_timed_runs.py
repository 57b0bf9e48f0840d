"""The runs of prices, usage, access, renewals and health: what they read, tell and keep."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from domain.contract import SheetPrice
from domain.customer import Address, Customer
from domain.period import TermDuration
from domain.problems import InputError, Unavailable
from domain.run import RunStatus
from domain.subscription import Subscription
from sync import health, renewals, runs
from sync.ledger import Later
from sync.messages import StartRun
from sync.renewals import SHEETS
from tests.builders import ALWAYS, CUSTOMER, PRODUCT, SKU, a_customer, day
from tests.usecases.office import BILL, NORTHWIND, SYNC, an_office, at_random, work, work_all


@pytest.fixture
def office(tmp_path):
    office = an_office(tmp_path)
    america = Address(country="US")
    office.partner_center.people = [
        replace(one, address=america)
        for one in (a_customer(), a_customer(id=NORTHWIND, name="Northwind Traders"))
    ]
    return office


def of(kind: str, on: str = "2026-11-09") -> StartRun:
    return StartRun(kind=kind, day=day(on))


def counts(office, key: str):
    run = office.store.run(key)
    assert run.status is RunStatus.DONE
    return run.counts


def found(office, check: str) -> list[str]:
    return [one.sentence for one in office.store.findings() if one.check == check]


# --- usage and access --------------------------------------------------------------------------------


def test_usage_reads_what_microsoft_bills_and_no_customer(office):
    work(office, of("usage"))
    parts = {key.split("/")[1] for key in office.store.ledger}
    assert parts == {"costs", "unbilled"}
    assert counts(office, "usage/2026-11-09")["cost_lines"] == 2


def test_access_reads_the_relationships_alone(office):
    work(office, of("access"))
    assert set(office.store.ledger) == {"pull/relationships/2026-11-09"}
    assert counts(office, "access/2026-11-09")["gdap"] == 2


def test_what_the_sync_of_the_day_has_read_is_not_read_again(office):
    work(office, SYNC)
    worked = {key: unit.attempt for key, (unit, _) in office.store.ledger.items()}
    work(office, of("usage"), of("access"))
    assert {key: unit.attempt for key, (unit, _) in office.store.ledger.items()} == worked
    assert office.store.run("usage/2026-11-09").status is RunStatus.DONE


@pytest.mark.parametrize("seed", range(6))
def test_runs_that_share_units_at_the_same_time_all_end_well(office, seed):
    """Whose message comes first works the unit; the other finds it settled."""
    asked = [SYNC, of("usage"), of("access")]
    office.queue.send("start", [one.model_dump_json() for one in asked])
    work_all(office, at_random(seed))
    ended = {run.key: run.status for run in office.store.runs()}
    assert ended == {one.run_key: RunStatus.DONE for one in asked}
    tries = {key: unit.attempt for key, (unit, _) in office.store.ledger.items()}
    # What is not billed yet waits for the imports of its day.
    assert {key for key, times in tries.items() if times > 1} <= {"pull/unbilled/USD/2026-11-09"}


def test_a_relationship_that_changes_outside_of_a_sync_has_its_customer_checked(office):
    office.demands = replace(office.demands, required_roles=("role-1",))
    work(office, SYNC)
    before = office.store.findings(customer_id=CUSTOMER)
    office.directory.known = [replace(one, status="terminated") for one in office.directory.known]
    work(office, of("access", "2026-11-10"))
    assert office.store.findings(customer_id=CUSTOMER) != before


# --- prices ------------------------------------------------------------------------------------------


def a_row(price: str, **fields: object) -> SheetPrice:
    return SheetPrice(
        **{
            "product_id": PRODUCT,
            "sku_id": SKU,
            "term": TermDuration.YEAR,
            "billing_plan": "monthly",
            "market": "US",
            "currency": "USD",
            "segment": "Commercial",
            "unit_price": Decimal(price),
            "erp_price": None,
            "valid": ALWAYS,
            "title": "Business Premium",
            **fields,
        }
    )


def sheet(office, *rows: SheetPrice) -> None:
    office.partner_center.sheets["US", SHEETS[0]] = list(rows)


def test_the_sheets_of_the_markets_in_use_are_read_and_counted(office):
    sheet(office, a_row("120"), a_row("9", sku_id="0009"))
    work(office, SYNC, of("prices"))
    assert set(office.store.ledger) >= {"pull/prices/US/2026-11-09"}
    assert counts(office, "prices/2026-11-09") == {
        "units": 1,
        "sheets": 1,
        "prices": 2,
        "prices_unreadable": 0,
        "prices_changed": 0,
    }


def test_where_no_market_is_known_no_sheet_is_asked_for(office):
    people = office.partner_center.people
    office.partner_center.people = [
        replace(one, address=Address(), billing_address=Address()) for one in people
    ]
    work(office, SYNC, of("prices"))
    assert counts(office, "prices/2026-11-09") == {"units": 0}


def test_a_new_price_of_what_is_sold_is_told_for_a_month(office):
    sheet(office, a_row("120"))
    work(office, SYNC, of("prices"))
    sheet(office, a_row("126"))
    for on in ("2026-11-10", "2026-11-11"):
        work(office, of("prices", on))
        (told,) = found(office, "price.changed")
        assert told == (
            "Microsoft's price of Business Premium (P1Y, monthly, Commercial) in US is 126 USD "
            "since 2026-11-10; it was 120."
        )
    work(office, of("prices", "2026-12-15"))
    assert found(office, "price.changed") == []


def test_a_new_price_of_what_nobody_buys_is_not_told(office):
    sheet(office, a_row("120", sku_id="0009"))
    work(office, SYNC, of("prices"))
    sheet(office, a_row("126", sku_id="0009"))
    work(office, of("prices", "2026-11-10"))
    assert found(office, "price.changed") == []


def test_a_sheet_that_is_not_there_for_a_day_is_no_change(office):
    sheet(office, a_row("120"))
    work(office, SYNC, of("prices"))
    office.partner_center.sheets.clear()
    work(office, of("prices", "2026-11-10"))
    sheet(office, a_row("120"))
    work(office, of("prices", "2026-11-11"))
    assert found(office, "price.changed") == []


# --- renewals ----------------------------------------------------------------------------------------


def ends_on(office, on: str) -> None:
    running = office.partner_center.running
    office.partner_center.running = [
        replace(one, term_end=day(on), product_type="OnlineServicesNCE")
        if one.term is not None
        else one
        for one in running
    ]


def test_the_ends_of_terms_are_kept_by_market_and_day(office):
    ends_on(office, "2026-12-14")
    work(office, SYNC, of("renewals"))
    kept = json.loads(office.archive.read("reports/2026-11-09/renewals-US.json"))
    assert [(one["subscription_id"], one["on"], one["at_end"]) for one in kept] == [
        ("s1", "2026-12-14", "renews")
    ]
    assert counts(office, "renewals/2026-11-09")["renewals"] == 1


@pytest.mark.parametrize(("on", "told"), [("2026-11-20", 1), ("2027-01-20", 0)])
def test_an_end_that_wants_a_decision_is_told_in_its_last_month(office, on, told):
    ends_on(office, on)
    work(office, SYNC, of("renewals"))
    assert len(found(office, "renewal.ahead")) == told


def test_an_end_that_was_dealt_with_is_told_no_more(office):
    ends_on(office, "2026-11-20")
    work(office, SYNC, of("renewals"))
    subscriptions = office.store.table(Subscription)
    for key, one in subscriptions.items():
        if one.term is not None:
            subscriptions[key] = replace(one, term_end=day("2027-11-20"))
    work(office, of("renewals", "2026-11-10"))
    assert found(office, "renewal.ahead") == []


def test_who_has_no_market_is_looked_at_too(office):
    people = office.partner_center.people
    office.partner_center.people = [
        replace(one, address=Address(), billing_address=Address()) for one in people
    ]
    ends_on(office, "2026-12-14")
    work(office, SYNC, of("renewals"))
    assert len(json.loads(office.archive.read("reports/2026-11-09/renewals-none.json"))) == 1


@pytest.mark.parametrize(
    ("customers", "scopes"),
    [(1, ["US"]), (500, ["US"]), (501, [f"US-{digit:x}" for digit in range(16)])],
)
def test_many_customers_of_a_market_are_looked_at_in_parts(office, customers, scopes):
    table = office.store.table(Customer)
    table.clear()
    for number in range(customers):
        one = a_customer(id=f"{number % 16:x}{number:07}", address=Address(country="US"))
        table[one.key] = one
    units = renewals.plan(office.ports, of("renewals"))
    assert [unit.scope for unit in units] == scopes


def test_every_customer_is_in_exactly_one_part(office):
    table = office.store.table(Customer)
    table.clear()
    for number in range(501):
        one = a_customer(id=f"{number % 16:x}{number:07}", address=Address(country="US"))
        table[one.key] = one
    looked_at: list[str] = []
    office.store.customer_file = lambda key, on=None: looked_at.append(key) or _nobody(table, key)
    for unit in renewals.plan(office.ports, of("renewals")):
        renewals.work(office.ports, unit)
    assert sorted(looked_at) == sorted(one.id for one in table.values())


def _nobody(table, key):
    from invoice.file import CustomerFile

    return CustomerFile(customer=table[f"customer/{key}"])


# --- health ------------------------------------------------------------------------------------------


def test_the_health_page_is_kept_once_a_week(tmp_path):
    office = an_office(tmp_path)
    work(office, SYNC, BILL, of("health"))
    assert office.archive.names("reports") == [
        "reports/2026-11-09/health.html",
        "reports/2026-11-09/summary.json",
    ]
    told = counts(office, "health/2026-W46")
    assert (told["documents"], told["holds"]) == (2, 0)
    assert office.written(lambda: work(office, of("health", "2026-11-15"))) == []
    work(office, of("health", "2026-11-16"))
    assert office.store.run("health/2026-W47").status is RunStatus.DONE


def test_the_newest_page_is_the_one_that_is_shown(office):
    assert health.latest(office.archive) is None
    work(office, SYNC, of("health"), of("health", "2026-11-16"))
    shown, content = health.latest(office.archive)
    assert (shown, json.loads(content)) == (day("2026-11-16"), {"as_of": "2026-11-16"})
    assert health.latest(office.archive, health.PAGE)[1].startswith(b"<p>")


# --- what is asked for -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kind": "usage"}, "a usage needs a day"),
        ({"kind": "usage", "day": "2026-11-09", "period": "2026-10"}, "is for a day, not for a"),
        ({"kind": "prices", "day": "2026-11-09", "hour": 3}, "is not for an hour"),
        ({"kind": "health", "day": "2026-11-09", "customer_id": "c1"}, "is for all customers"),
        ({"kind": "approve", "period": "2026-10", "day": "2026-11-09"}, "is for a month, not for"),
        ({"kind": "bill"}, "kind bill needs a period"),
        ({"kind": "approve"}, "kind approve needs a period"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_a_sentence(office, fields, sentence):
    with pytest.raises(InputError, match=sentence):
        runs.start(office.ports, StartRun.model_validate(fields))


def test_what_a_day_makes_due_is_asked_for_by_the_timer_alone():
    """Over HTTP there would be no run to look at: each month has its own."""
    with pytest.raises(InputError, match="kind bill needs a period"):
        runs.checked(of("bill"))


def test_a_week_begins_on_monday_and_belongs_to_the_year_of_its_thursday():
    assert of("health", "2027-01-03").run_key == "health/2026-W53"
    assert of("health", "2027-01-04").run_key == "health/2027-W01"


# --- what is given up --------------------------------------------------------------------------------


def test_a_request_that_is_given_up_leaves_a_run_that_ended_well_as_it_is(office):
    work(office, SYNC, BILL)
    before = office.store.run("bill/2026-10")
    runs.give_up(office.ports, "start", BILL.model_dump_json())
    assert office.store.run("bill/2026-10") == before


def test_a_request_that_is_given_up_before_anything_began_is_a_failed_run(office):
    runs.give_up(office.ports, "start", BILL.model_dump_json())
    assert office.store.run("bill/2026-10").status is RunStatus.FAILED


@pytest.mark.parametrize("last", ["sync", "usage"])
def test_both_runs_of_a_day_fail_where_a_unit_that_they_share_is_given_up(office, last):
    office.queue.send("start", [one.model_dump_json() for one in (SYNC, of("usage"))])
    down = Unavailable("no export", service="Partner Center", status=503)

    def export(report, invoice_id):
        raise down

    office.partner_center.export = export
    given_up = []
    while office.queue.waiting:
        queue, body = office.queue.waiting.popleft()
        try:
            runs.handle(office.ports, queue, body)
        except Later:
            office.queue.waiting.append((queue, body))
        except Unavailable:
            given_up.append((queue, body))
            if len(given_up) == 2:
                for one in sorted(given_up, key=lambda message: f'"{last}/' in message[1]):
                    runs.give_up(office.ports, *one)
    assert len(given_up) == 2
    ended = {run.key: run.status for run in office.store.runs()}
    assert ended == {one.run_key: RunStatus.FAILED for one in (SYNC, of("usage"))}


def test_what_a_message_does_not_say_is_left_out_so_that_the_version_before_reads_it():
    assert SYNC.model_dump_json() == '{"v":1,"kind":"sync","day":"2026-11-09"}'
