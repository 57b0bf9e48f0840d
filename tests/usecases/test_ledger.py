"""The ledger: a unit is claimed, worked and settled once, whoever delivers its message."""

from __future__ import annotations

from datetime import timedelta
from threading import Event
from threading import enumerate as enumerate_threads

import pytest

from domain.problems import Conflict, Unavailable
from domain.run import UnitStatus
from sync.ledger import LEASE, LOCK, Busy, Ledger, Outcome
from tests.fakes import Clock, Crash, MemoryStore

SHORT = timedelta(milliseconds=40)
KEY, RUN = "bill/c1/2026-10", "bill/2026-10"


class Desk:
    def __init__(self):
        self.store = MemoryStore()
        self.clock = Clock()
        self.ledger = Ledger(self.store, self.clock)
        self.worked = 0

    def work(self):
        self.worked += 1
        return Outcome(counts={"lines": 3})

    def run(self, work=None, **options):
        return self.ledger.run_once(KEY, "bill", RUN, work or self.work, **options)

    @property
    def unit(self):
        return self.store.ledger[KEY][0]


@pytest.fixture
def desk():
    return Desk()


def test_a_unit_is_claimed_worked_and_settled(desk):
    seen = []

    def work():
        seen.append((desk.unit.status, desk.unit.lease_until))
        return Outcome(counts={"lines": 3})

    ended = desk.run(work)
    assert seen == [(UnitStatus.RUNNING, desk.clock() + LEASE)]
    assert (ended.status, ended.attempt, ended.lease_until) == (UnitStatus.SETTLED, 1, None)
    assert (dict(ended.counts), ended.finished_at) == ({"lines": 3}, desk.clock())
    assert desk.unit == ended


def test_a_settled_unit_is_returned_as_it_is(desk):
    first = desk.run()
    writes = len(desk.store.writes)
    assert desk.run() == first
    assert (desk.worked, len(desk.store.writes)) == (1, writes)


def test_a_held_unit_is_worked_again(desk):
    assert desk.run(lambda: Outcome(held=True)).status is UnitStatus.HELD
    assert not desk.ledger.settled(KEY)
    assert desk.run().status is UnitStatus.SETTLED
    assert (desk.unit.attempt, desk.ledger.settled(KEY)) == (2, True)


def test_while_a_lease_lives_the_unit_is_busy(desk):
    def dies():
        raise Crash

    with pytest.raises(Crash):
        desk.run(dies)
    desk.clock.advance(LEASE - timedelta(seconds=1))
    with pytest.raises(Busy, match="is being worked until 06:10 UTC") as caught:
        desk.run()
    assert caught.value.until == desk.unit.lease_until
    assert desk.worked == 0


def test_a_dead_lease_is_taken_over(desk):
    def dies():
        raise Crash

    with pytest.raises(Crash):
        desk.run(dies)
    assert desk.unit.status is UnitStatus.RUNNING
    desk.clock.advance(LEASE)
    desk.run()
    assert (desk.unit.status, desk.unit.attempt, desk.worked) == (UnitStatus.SETTLED, 2, 1)


def test_a_fault_is_noted_and_raised_again_and_the_unit_is_free(desk):
    def fails():
        raise Unavailable("Graph answered nothing", service="Microsoft Graph", status=503)

    with pytest.raises(Unavailable):
        desk.run(fails)
    assert desk.unit.status is UnitStatus.FAILED
    assert desk.unit.problem == "Unavailable: Microsoft Graph 503: Graph answered nothing"
    assert desk.unit.lease_until is None
    desk.run()
    assert (desk.unit.status, desk.unit.problem) == (UnitStatus.SETTLED, "")


def test_where_the_store_is_down_the_first_fault_is_the_one_that_is_told(desk):
    def fails():
        desk.store.fault = Unavailable("Dataverse is down", service="Dataverse")
        raise ValueError("the first fault")

    with pytest.raises(ValueError, match="the first fault"):
        desk.run(fails)
    assert desk.unit.status is UnitStatus.RUNNING  # its lease ends by itself


def test_of_two_claimers_one_works(desk):
    """The second read the unit before the first claimed it."""

    class Slow(MemoryStore):
        def unit(self, key):
            stale = super().unit(key)
            if not self.writes:
                desk.run()
            return stale

    slow = Slow()
    slow.ledger, slow.writes = desk.store.ledger, desk.store.writes
    with pytest.raises(Busy, match="claimed by another worker"):
        Ledger(slow, desk.clock).run_once(KEY, "bill", RUN, desk.work)
    assert desk.worked == 1


def test_who_lost_the_lease_cannot_settle(desk):
    def overtaken():
        desk.clock.advance(LEASE)
        desk.run()
        return Outcome(counts={"lines": 99})

    with pytest.raises(Conflict):
        desk.run(overtaken)
    assert (dict(desk.unit.counts), desk.unit.attempt) == ({"lines": 3}, 2)


def test_a_repeatable_unit_is_a_lock_that_is_worked_each_time(desk):
    def nested():
        with pytest.raises(Busy):
            desk.run(repeatable=True)
        return Outcome()

    desk.run(nested, repeatable=True)
    desk.run(repeatable=True)
    assert (desk.worked, desk.unit.attempt) == (1, 2)


def test_a_parked_unit_keeps_its_problem_and_a_later_run_works_it(desk):
    def fails():
        raise ValueError("no such SKU")

    with pytest.raises(ValueError, match="SKU"):
        desk.run(fails)
    desk.ledger.park(KEY, "failed too often")
    assert (desk.unit.status, desk.unit.problem) == (UnitStatus.PARKED, "ValueError: no such SKU")
    assert desk.ledger.queue("bill", RUN, [KEY]) == [KEY]
    assert desk.run().status is UnitStatus.SETTLED


def test_parking_leaves_what_is_settled_or_unknown(desk):
    desk.run()
    writes = len(desk.store.writes)
    desk.ledger.park(KEY, "late")
    desk.ledger.park("bill/c9/2026-10", "never seen")
    assert (desk.unit.status, len(desk.store.writes)) == (UnitStatus.SETTLED, writes)


def test_queueing_enters_what_is_new_and_skips_what_is_settled(desk):
    desk.run()
    other = "bill/c2/2026-10"
    assert desk.ledger.queue("bill", RUN, [KEY, other]) == [other]
    assert desk.store.ledger[other][0].status is UnitStatus.QUEUED
    writes = len(desk.store.writes)
    assert desk.ledger.queue("bill", RUN, [KEY, other]) == [other]
    assert len(desk.store.writes) == writes


def test_a_unit_of_another_run_is_shared_not_doubled(desk):
    desk.run()
    assert desk.ledger.queue("bill", "bill/2026-10/c1", [KEY]) == []
    assert desk.unit.run_key == RUN


# --- work that takes longer than a lease -------------------------------------------------------------


def test_a_lease_is_renewed_while_the_work_goes_on(desk):
    """Half of the lease passes, and the row says so before the work is through."""
    renewed = Event()
    put = desk.store.put_unit

    def watched(unit, version):
        written = put(unit, version)
        if unit.lease_until == desk.clock() + SHORT and unit.attempt == 1 and desk.worked:
            renewed.set()
        return written

    desk.store.put_unit = watched

    def slow():
        outcome = desk.work()
        desk.clock.advance(LEASE)
        assert renewed.wait(10)
        with pytest.raises(Busy):  # another message finds it held, though its first lease is over
            desk.run(lease=SHORT)
        return outcome

    unit = desk.run(slow, lease=SHORT)
    assert (unit.status, unit.attempt, desk.worked) == (UnitStatus.SETTLED, 1, 1)
    assert desk.unit.lease_until is None


def test_a_renewal_that_cannot_be_written_does_not_disturb_the_work(desk):
    refused = Event()
    put = desk.store.put_unit

    def down(unit, version):
        if unit.status is UnitStatus.RUNNING and desk.worked and not refused.is_set():
            refused.set()
            raise Unavailable("down", service="Dataverse")
        return put(unit, version)

    desk.store.put_unit = down

    def slow():
        outcome = desk.work()
        assert refused.wait(10)
        return outcome

    assert desk.run(slow, lease=SHORT).status is UnitStatus.SETTLED


def test_nobody_renews_once_the_work_has_failed_or_died(desk):
    for fault in (ValueError("broken"), Crash()):
        with pytest.raises(type(fault)):
            desk.run(lambda fault=fault: (_ for _ in ()).throw(fault), lease=SHORT)
        assert not any(thread.name.startswith("lease") for thread in enumerate_threads())
        desk.clock.advance(LEASE)


# --- the right to do something alone -----------------------------------------------------------------


def test_a_lock_is_held_by_one_and_free_again_however_its_work_ends(desk):
    with desk.ledger.alone("approve") as claim:
        with pytest.raises(Busy, match="is being worked until"), desk.ledger.alone("approve"):
            pass
        assert (claim.kind, claim.run_key) == (LOCK, "")  # no run counts it
    with pytest.raises(ValueError, match="broken"), desk.ledger.alone("approve"):
        raise ValueError("broken")
    with desk.ledger.alone("approve") as claim:
        desk.ledger.check(claim)
    assert desk.store.ledger["approve"][0].attempt == 3


def test_a_lock_of_one_that_died_is_free_after_its_lease(desk):
    with pytest.raises(Crash), desk.ledger.alone("approve"):
        raise Crash
    with pytest.raises(Busy), desk.ledger.alone("approve"):
        pass
    desk.clock.advance(LEASE)
    with desk.ledger.alone("approve") as claim:
        assert claim.attempt == 2


def test_who_lost_a_lock_is_told_and_takes_it_from_nobody(desk):
    with desk.ledger.alone("approve") as lost:
        desk.clock.advance(LEASE)
        with desk.ledger.alone("approve") as claim:
            with pytest.raises(Busy, match="approve was taken over by another worker"):
                desk.ledger.check(lost)
            desk.ledger.check(claim)
        with pytest.raises(Busy, match="taken over"):
            desk.ledger.check(lost)


def test_what_was_done_alone_stands_also_where_the_lock_cannot_be_freed(desk):
    with desk.ledger.alone("approve"):
        desk.store.fault = Unavailable("down", service="Dataverse")
        desk.store.fault_at = 0
    assert desk.store.ledger["approve"][0].status is UnitStatus.RUNNING
