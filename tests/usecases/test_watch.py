"""The watch: late, lost, given up, old, not adding up; and what it repairs by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from domain.problems import Unavailable
from domain.run import ControlTotal, Run, RunStatus, UnitOfWork, UnitStatus
from sync import runs, watch
from sync.ledger import LEASE
from sync.messages import CloseRun, StartRun
from tests.builders import a_contract, day
from tests.usecases.office import APPROVE, BILL, SYNC, an_office, totals, work

LOOK = '{"run_key": "watch/2026-11-09", "part": "watch", "day": "2026-11-09"}'
LOOK_FOR_REQUESTS = '{"look_for": "requests"}'
DAILY = ("sync", "usage", "prices", "access", "renewals", "handoff")


@pytest.fixture
def office(tmp_path):
    office = an_office(tmp_path)
    office.watched = frozenset({"sync"})
    return office


def look(office, **later: float) -> watch.WatchReport:
    office.clock.advance(timedelta(**later))
    return watch.look(office.ports)


def a_run(office, key: str, status: RunStatus = RunStatus.DONE, **fields: object) -> Run:
    """A run that began and ended now."""
    kind, _, window = key.partition("/")
    run = Run(
        **{
            "key": key,
            "kind": kind,
            "scope": "",
            "window": window,
            "status": status,
            "started_at": office.clock(),
            "finished_at": None if status is RunStatus.RUNNING else office.clock(),
            **fields,
        }
    )
    office.store.save([run])
    return run


# --- late --------------------------------------------------------------------------------------------


def test_where_nothing_ever_ran_nothing_is_late(office):
    assert look(office, days=9).late == ()


def test_a_sync_that_did_not_come_is_late_half_a_day_after_its_day(office):
    work(office, SYNC)
    assert look(office, hours=36).late == ()
    (late,) = look(office, minutes=1).late
    assert (late.kind, late.since) == ("sync", datetime(2026, 11, 10, 18, tzinfo=UTC))
    assert late.sentence == "The last good run of kind sync began 2026-11-09 06:00 UTC."


def test_a_run_that_failed_is_not_one_in_time(office):
    work(office, SYNC)
    office.clock.advance(timedelta(days=1))
    a_run(office, "sync/2026-11-10", RunStatus.FAILED, problem="no sign-in")
    (late,) = look(office, days=1).late
    assert late.kind == "sync"


def test_the_sync_of_one_customer_is_no_sync_of_all(office):
    work(office, SYNC)
    office.clock.advance(timedelta(days=1))
    a_run(office, "sync/2026-11-10/c1", scope="c1", window="2026-11-10")
    (late,) = look(office, days=1).late
    assert late.kind == "sync"


@pytest.mark.parametrize(
    ("kind", "hours"), [*((one, 36) for one in DAILY), ("feedback", 1.5), ("health", 252)]
)
def test_each_kind_has_its_own_time(office, kind, hours):
    office.watched = frozenset({kind})
    a_run(office, f"{kind}/2026-11-09")
    assert look(office, hours=hours).late == ()
    assert [one.kind for one in look(office, minutes=1).late] == [kind]


def test_a_kind_that_never_ran_is_late_after_its_own_time(office):
    office.watched = frozenset({"prices"})
    a_run(office, "sync/2026-11-09")
    (late,) = look(office, hours=37).late
    assert late.sentence == "No run of kind prices ended well since 2026-11-09 06:00 UTC."


def test_a_kind_that_nobody_wants_watched_is_not_told(office):
    office.watched = frozenset()
    work(office, SYNC)
    assert look(office, days=30).late == ()


def test_a_month_that_waits_for_microsoft_is_told_after_five_days(office):
    office.watched = frozenset({"bill"})
    office.partner_center.heads = []
    work(office, SYNC, StartRun(kind="bill", day=day("2026-11-09")))
    assert look(office, days=4).late == ()
    (late,) = look(office, days=1).late
    assert (late.kind, late.since) == ("bill", datetime(2026, 11, 14, tzinfo=UTC))
    assert late.sentence == (
        "The bill of 2026-10 has not begun: Microsoft's invoices are not complete."
    )


def bill_from(office, day_of_month: int) -> None:
    """Fabrikam's own billing day."""
    office.store.save([a_contract(tax_profile_key="tax/de", bill_day=day_of_month)])


@pytest.mark.parametrize(
    ("own", "partner", "told_on"), [(1, 9, 13), (1, 20, 13), (12, 20, 17), (20, 10, 15)]
)
def test_a_month_is_late_some_days_after_its_first_customer_and_microsoft(
    office, own, partner, told_on
):
    office.watched, office.bill_day = frozenset({"bill"}), partner
    bill_from(office, own)
    work(office, SYNC)
    office.clock.moment = datetime(2026, 11, told_on, tzinfo=UTC) - timedelta(seconds=1)
    assert look(office).late == ()
    (late,) = look(office, seconds=1).late
    assert late.since == office.clock() == datetime(2026, 11, told_on, tzinfo=UTC)


@pytest.mark.parametrize("name", ["Pacific/Auckland", "America/Los_Angeles"])
def test_no_month_is_late_from_a_moment_that_is_still_to_come(office, name):
    office.watched, office.zone = frozenset({"bill"}), ZoneInfo(name)
    work(office, SYNC)
    while not (report := look(office, hours=1)).late:
        assert office.clock() < datetime(2026, 11, 16, tzinfo=UTC)
    (late,) = report.late
    assert late.since == datetime(2026, 11, 14, tzinfo=office.zone)
    assert timedelta(0) <= report.at - late.since < timedelta(hours=1)


def test_each_month_that_waits_is_late_from_its_own_day(office):
    office.watched = frozenset({"bill"})
    work(office, SYNC)
    a_run(office, "bill/2026-09")
    report = look(office, days=40)
    assert [(late.sentence[:20], late.since) for late in report.late] == [
        ("The bill of 2026-10 ", datetime(2026, 11, 14, tzinfo=UTC)),
        ("The bill of 2026-11 ", datetime(2026, 12, 14, tzinfo=UTC)),
    ]


def test_a_run_that_is_asked_for_again_is_not_late_while_it_goes_on(office):
    office.watched = frozenset({"sync", "bill"})
    work(office, SYNC)
    office.clock.moment = datetime(2026, 11, 18, 6, tzinfo=UTC)
    office.queue.send("pull", ["{}"])
    office.queue.send("bill", ["{}"])
    a_run(office, "sync/2026-11-18")
    office.clock.moment = datetime(2026, 11, 20, 6, tzinfo=UTC)
    a_run(office, "sync/2026-11-19", RunStatus.RUNNING)
    a_run(office, "bill/2026-10", RunStatus.RUNNING)
    assert look(office, hours=11).late == ()
    assert [late.kind for late in look(office, hours=1).late] == ["sync", "bill"]


def test_a_month_that_could_not_begin_is_late_by_its_own_time_and_not_before(office):
    office.watched = frozenset({"bill"})
    work(office, SYNC)
    office.clock.moment = datetime(2026, 11, 3, tzinfo=UTC)
    runs.give_up(office.ports, "start", BILL.model_dump_json(), "Microsoft has no invoice yet.")
    report = look(office)
    assert (report.failed, report.late) == ((), ())
    report = look(office, days=11)
    (late,) = report.late
    assert (late.since, report.failed) == (datetime(2026, 11, 14, tzinfo=UTC), ())
    assert late.sentence == "The bill of 2026-10 could not begin: Microsoft has no invoice yet."


def test_a_month_that_is_billed_is_not_late(office):
    office.watched = frozenset({"bill"})
    work(office, SYNC, BILL)
    assert look(office, days=8).late == ()


# --- lost --------------------------------------------------------------------------------------------


def begun(office) -> None:
    """A bill run whose units wait for their messages."""
    work(office, SYNC)
    office.queue.send("start", [BILL.model_dump_json()])
    runs.handle(office.ports, *office.queue.waiting.popleft())


def test_a_run_whose_messages_are_lost_is_asked_for_again_and_ends(office):
    begun(office)
    office.queue.waiting.clear()
    assert look(office, minutes=40).asked_again == ()
    assert look(office, minutes=10).asked_again == ("bill/2026-10",)
    while office.queue.waiting:
        runs.handle(office.ports, *office.queue.waiting.popleft())
    assert len(totals(office)) == 2
    assert office.store.run("bill/2026-10").status is RunStatus.DONE
    assert look(office, minutes=50).asked_again == ()


def test_a_run_is_not_asked_for_again_while_a_message_of_its_queue_is_left(office):
    begun(office)
    office.queue.waiting.popleft()
    assert look(office, hours=3).asked_again == ()


def test_a_run_is_not_asked_for_again_while_somebody_works_on_it(office):
    begun(office)
    office.queue.waiting.clear()
    unit, version = office.store.unit("bill/c1/2026-10")
    until = office.clock() + timedelta(hours=2)
    office.store.put_unit(replace(unit, status=UnitStatus.RUNNING, lease_until=until), version)
    assert look(office, hours=1).asked_again == ()
    assert look(office, hours=2).asked_again == ("bill/2026-10",)


def test_a_run_is_not_asked_for_again_while_what_begins_or_ends_runs_waits(office):
    begun(office)
    office.queue.waiting.clear()
    office.queue.send("close", [CloseRun(run_key="sync/2026-11-09").model_dump_json()])
    assert look(office, hours=1).asked_again == ()
    office.queue.waiting.clear()
    office.queue.send("start", [SYNC.model_dump_json(), LOOK_FOR_REQUESTS])
    assert look(office).asked_again == ()


def test_the_look_for_requests_of_each_minute_holds_no_lost_run_back(office):
    begun(office)
    office.queue.waiting.clear()
    office.queue.send("start", [LOOK_FOR_REQUESTS])
    assert look(office, hours=1).asked_again == ("bill/2026-10",)
    assert look(office).asked_again == ()  # what was asked for waits now, too


@pytest.mark.parametrize("kind", ["renewals", "health"])
def test_the_message_of_the_look_is_no_work_that_waits(office, kind):
    work(office, SYNC)
    office.queue.send("start", [StartRun(kind=kind, day=day("2026-11-09")).model_dump_json()])
    runs.handle(office.ports, *office.queue.waiting.popleft())
    (lost,) = office.queue.waiting
    office.queue.waiting.clear()
    office.clock.advance(timedelta(hours=1))
    office.queue.leased = ["report"]
    report = runs.handle(office.ports, "report", LOOK)
    assert [key.partition("/")[0] for key in report.asked_again] == [kind]
    office.queue.waiting.clear()
    office.queue.waiting.append(lost)
    assert runs.handle(office.ports, "report", LOOK).asked_again == ()


def test_a_unit_that_was_entered_long_after_its_run_ended_is_asked_for_again(office):
    """A customer whose own day came later, and whose message never went out."""
    work(office, SYNC, BILL)
    office.clock.advance(timedelta(days=40))
    assert look(office).asked_again == ()
    unit = UnitOfWork(
        key="bill/c3/2026-10", kind="bill", run_key="bill/2026-10", status=UnitStatus.QUEUED
    )
    office.store.put_unit(unit, None)
    assert look(office).asked_again == ("bill/2026-10",)


def test_a_close_that_was_lost_is_made_up_for(office):
    begun(office)
    while office.queue.waiting:
        kind, body = office.queue.waiting.popleft()
        if kind != "close":
            runs.handle(office.ports, kind, body)
    assert office.store.run("bill/2026-10").status is RunStatus.RUNNING
    assert look(office, minutes=50).asked_again == ("bill/2026-10",)
    while office.queue.waiting:
        runs.handle(office.ports, *office.queue.waiting.popleft())
    assert office.store.run("bill/2026-10").status is RunStatus.DONE


def test_asking_again_bills_nobody_who_is_not_due(office):
    begun(office)
    office.queue.waiting.clear()
    look(office, minutes=50)
    ((_, body),) = office.queue.waiting
    assert StartRun.model_validate_json(body) == StartRun(
        kind="bill", period="2026-10", day=day("2026-11-09")
    )


def test_what_is_settled_is_not_worked_again_by_asking_again(office):
    begun(office)
    runs.handle(office.ports, *office.queue.waiting.popleft())
    office.queue.waiting.clear()
    assert look(office, minutes=50).asked_again == ("bill/2026-10",)
    while office.queue.waiting:
        runs.handle(office.ports, *office.queue.waiting.popleft())
    attempts = {key: unit.attempt for key, (unit, _) in office.store.ledger.items()}
    assert (attempts["bill/c1/2026-10"], attempts["bill/c2/2026-10"]) == (1, 1)


def test_a_run_that_failed_or_ended_is_left_to_people(office):
    a_run(office, "sync/2026-11-09", RunStatus.FAILED)
    a_run(office, "usage/2026-11-09")
    assert look(office, hours=3).asked_again == ()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("sync/2026-11-09", StartRun(kind="sync", day=day("2026-11-09"))),
        ("prices/2026-11-09", StartRun(kind="prices", day=day("2026-11-09"))),
        ("health/2026-W46", StartRun(kind="health", day=day("2026-11-09"))),
        ("health/2027-W01", StartRun(kind="health", day=day("2027-01-04"))),
        ("feedback/2026-11-09T06", StartRun(kind="feedback", day=day("2026-11-09"), hour=6)),
    ],
)
def test_the_message_of_a_run_leads_to_the_same_run(office, key, message):
    a_run(office, key, RunStatus.RUNNING)
    assert look(office, hours=1).asked_again == (key,)
    ((_, body),) = office.queue.waiting
    assert StartRun.model_validate_json(body) == message
    assert message.run_key == key


# --- given up, old, not adding up --------------------------------------------------------------------


def test_units_that_were_given_up_are_told_with_their_failed_run(office):
    a_run(office, "bill/2026-10", RunStatus.FAILED)
    for number, status in enumerate((UnitStatus.PARKED, UnitStatus.SETTLED)):
        unit = UnitOfWork(
            key=f"bill/c{number}/2026-10", kind="bill", run_key="bill/2026-10", status=status
        )
        office.store.put_unit(unit, None)
    report = look(office)
    assert [run.key for run in report.failed] == ["bill/2026-10"]
    assert [unit.key for unit in report.parked] == ["bill/c0/2026-10"]


def test_a_run_that_failed_and_was_made_good_is_not_told(office):
    a_run(office, "sync/2026-11-09", RunStatus.FAILED)
    office.clock.advance(timedelta(days=1))
    a_run(office, "sync/2026-11-10")
    assert look(office).failed == ()


def others(office, count: int = 450) -> None:
    """So many other runs: drafts of another month that are approved one by one."""
    for number in range(count):
        office.clock.advance(timedelta(seconds=5))
        a_run(office, f"approve/c{number}/2026-09/USD/1", window="2026-09")


def test_what_is_told_stays_told_however_many_other_runs_there_are(office):
    office.watched = frozenset({"sync", "usage", "prices"})
    a_run(office, "sync/2026-11-05")
    a_run(office, "usage/2026-11-05")
    office.clock.advance(timedelta(days=4))
    a_run(office, "sync/2026-11-09", RunStatus.FAILED)
    a_run(office, "access/2026-11-09", RunStatus.RUNNING)
    a_run(office, "bill/2026-10", RunStatus.FAILED, totals=(a_total("149.99"),))
    office.queue.send("start", ["{}", "{}"])  # nothing is asked for again
    before = look(office)
    others(office)
    after = look(office, minutes=45)
    assert [run.key for run in before.failed] == ["sync/2026-11-09", "bill/2026-10"]
    assert [late.kind for late in before.late] == ["prices", "sync", "usage"]
    assert sorted(before.ages) == ["sync", "usage"]
    assert len(before.residuals) == 1
    assert (after.failed, after.late) == (before.failed, before.late)
    assert (after.residuals, after.ages.keys()) == (before.residuals, before.ages.keys())
    office.queue.waiting.clear()
    assert look(office).asked_again == ("access/2026-11-09",)


def test_a_residual_stays_told_until_its_month_is_closed_without(office):
    a_run(office, "bill/2026-05", totals=(a_total("149.99"),))
    for month in range(6, 11):
        office.clock.advance(timedelta(days=1))
        a_run(office, f"bill/2026-{month:02}", totals=(a_total("150"),))
    assert [one.run_key for one in look(office).residuals] == ["bill/2026-05"]
    a_run(office, "bill/2026-05", totals=(a_total("150"),))
    assert look(office).residuals == ()


def failing(office) -> list[str]:
    return [run.key for run in look(office, hours=1).failed]


def test_a_failed_sync_of_one_customer_ends_with_a_good_one_of_it_or_of_all(office):
    a_run(office, "sync/2026-11-08")
    for customer in ("c1", "c2"):
        office.clock.advance(timedelta(hours=1))
        a_run(office, f"sync/2026-11-09/{customer}", RunStatus.FAILED, scope=customer)
    assert failing(office) == ["sync/2026-11-09/c2", "sync/2026-11-09/c1"]
    a_run(office, "sync/2026-11-10/c2", scope="c2")
    assert failing(office) == ["sync/2026-11-09/c1"]
    a_run(office, "sync/2026-11-10")
    assert failing(office) == []


def test_a_failed_run_of_all_customers_does_not_end_with_a_good_one_of_a_customer(office):
    a_run(office, "sync/2026-11-09", RunStatus.FAILED)
    office.clock.advance(timedelta(hours=1))
    a_run(office, "sync/2026-11-09/c1", scope="c1")
    assert failing(office) == ["sync/2026-11-09"]


def test_a_failed_run_stays_told_while_the_next_goes_on(office):
    a_run(office, "sync/2026-11-09", RunStatus.FAILED)
    office.clock.advance(timedelta(days=1))
    a_run(office, "sync/2026-11-10", RunStatus.RUNNING)
    office.queue.send("pull", ["{}"])
    assert failing(office) == ["sync/2026-11-09"]


@pytest.mark.parametrize("asked", ["bill/2027-03", "bill/2026-10/typo"])
def test_a_bill_that_was_mistyped_is_no_failure_that_stands(office, asked):
    _, month, *customer = asked.split("/")
    message = StartRun(kind="bill", period=month, customer_id=customer[0] if customer else None)
    runs.give_up(office.ports, "start", message.model_dump_json(), "it cannot be")
    assert office.store.run(asked).status is RunStatus.FAILED
    assert failing(office) == []


def a_parked_bill(office, run_key: str) -> None:
    run = a_run(office, run_key, RunStatus.FAILED, scope="c1", window="2026-10")
    unit = UnitOfWork(key="bill/c1/2026-10", kind="bill", run_key=run.key, status=UnitStatus.PARKED)
    office.store.put_unit(unit, None)


def test_a_failed_bill_of_one_customer_ends_when_its_month_ends_well(office):
    a_run(office, "bill/2026-10")
    office.clock.advance(timedelta(hours=1))
    a_parked_bill(office, "bill/2026-10/c1")
    report = look(office)
    assert [run.key for run in report.failed] == ["bill/2026-10/c1"]
    assert [unit.key for unit in report.parked] == ["bill/c1/2026-10"]
    a_run(office, "bill/2026-10", started_at=office.clock() - timedelta(hours=1))
    assert failing(office) == []


def test_a_failed_bill_of_one_customer_ends_when_another_run_took_its_unit_over(office):
    a_parked_bill(office, "bill/2026-10/c1")
    unit, version = office.store.unit("bill/c1/2026-10")
    office.store.put_unit(replace(unit, run_key="bill/2026-10"), version)
    assert failing(office) == []


def test_a_failed_approval_of_one_document_is_not_hidden_by_that_of_another(office):
    work(office, SYNC, BILL)
    first, second = office.store.documents()
    ask = StartRun(kind="approve", period="2026-10", document=first.key)
    runs.give_up(office.ports, "start", ask.model_dump_json(), "Dataverse does not answer")
    assert failing(office) == [ask.run_key]
    work(office, StartRun(kind="approve", period="2026-10", document=second.key))
    assert failing(office) == [ask.run_key]
    work(office, ask)
    assert failing(office) == []


@pytest.mark.parametrize("customer", ["", "c1"])
def test_a_failed_approval_ends_when_all_that_it_was_for_is_approved(office, customer):
    work(office, SYNC, BILL)
    ask = StartRun(kind="approve", period="2026-10", customer_id=customer or None)
    runs.give_up(office.ports, "start", ask.model_dump_json(), "Dataverse does not answer")
    one, other = sorted(office.store.documents(), key=lambda d: d.customer_id, reverse=True)
    work(office, StartRun(kind="approve", period="2026-10", document=one.key))
    assert failing(office) == [ask.run_key]
    work(office, StartRun(kind="approve", period="2026-10", document=other.key))
    assert failing(office) == []


def test_a_failed_approval_is_told_while_a_document_has_no_file(office):
    work(office, SYNC, BILL, APPROVE)
    office.clock.advance(timedelta(hours=1))
    a_run(office, "approve/2026-10", RunStatus.FAILED)
    assert failing(office) == []
    office.store.files.clear()
    assert failing(office) == ["approve/2026-10"]


def test_what_lies_on_the_poison_queues_is_counted(office):
    assert look(office).poisoned == 0
    office.queue.poisoned = {"bill-poison": 2, "close-poison": 1}
    report = look(office)
    assert (report.poisoned, report.lengths["bill-poison"]) == (3, 2)


def test_data_is_as_old_as_the_last_good_run_of_its_kind(office):
    work(office, SYNC)
    office.clock.advance(timedelta(hours=5))
    a_run(office, "sync/2026-11-10", RunStatus.FAILED)
    report = look(office, hours=1)
    assert report.ages == {"sync": timedelta(hours=6)}


def test_the_age_of_what_nobody_wants_watched_is_not_told(office):
    a_run(office, "prices/2026-11-09")
    assert look(office, days=3).ages == {}
    office.watched = frozenset({"sync", "prices"})
    assert look(office).ages == {"prices": timedelta(days=3)}


def test_the_age_of_the_sign_in_is_told_where_somebody_knows_it(office):
    assert look(office).token_age is None
    office.token_saved_at = lambda: None
    assert look(office).token_age is None
    office.token_saved_at = lambda: office.clock() - timedelta(days=61)
    assert look(office).token_age == timedelta(days=61)

    def down():
        raise Unavailable("no answer", service="Key Vault")

    office.token_saved_at = down
    assert look(office).token_age is None


def a_total(billed: str) -> ControlTotal:
    zero = Decimal(0)
    return ControlTotal(
        currency="USD",
        microsoft=Decimal(150),
        billed=Decimal(billed),
        credited=zero,
        held=zero,
        excluded=zero,
        sold=zero,
    )


def test_a_residual_of_the_latest_months_is_told_and_none_is_not(office):
    a_run(office, "bill/2026-09", totals=(a_total("150"),))
    a_run(office, "bill/2026-10", totals=(a_total("149.99"),))
    (residual,) = look(office).residuals
    assert (residual.run_key, residual.currency, residual.amount) == (
        "bill/2026-10",
        "USD",
        Decimal("0.01"),
    )


def test_a_look_writes_nothing_and_a_second_one_finds_the_same(office):
    work(office, SYNC, BILL)
    reports: list[watch.WatchReport] = []
    assert office.written(lambda: reports.extend((look(office), look(office)))) == []
    assert reports[0] == reports[1]
    assert not office.queue.waiting


def test_the_look_is_a_message_like_any_other(office):
    assert isinstance(runs.handle(office.ports, "report", LOOK), watch.WatchReport)
    runs.give_up(office.ports, "report", LOOK)
    assert office.store.runs() == []


def test_a_lease_that_lives_is_shorter_than_what_counts_as_stalled():
    assert LEASE < watch.STALLED
