"""Findings as rows: a release is kept and read back, what a person set is a decision, closing ends both."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from dataverse.client import Query
from dataverse.schema import external_key
from dataverse.tables import FINDING
from domain.problems import Conflict, FindingState, Severity
from invoice.file import Saved
from tests.clients.dataverse_environment import new_environment
from tests.clients.test_dataverse_store import a_cost_line, a_finding, narrow

CHECKS = ["agreement.missing"]
STATE = FINDING.column("csp_state")
LATER = datetime(2026, 11, 25, 8, tzinfo=UTC)


@pytest.fixture
def environment():
    return new_environment()


@pytest.fixture
def store(environment):
    return environment.store()


def released(finding=None, **fields):
    return replace(
        finding or a_finding(),
        **{
            "released_by": "Anna Finance",
            "released_on": date(2026, 11, 23),
            "released_reason": "signed on paper",
            "released_until": date(2026, 12, 31),
            **fields,
        },
    )


def row_of(environment, finding=None):
    query = Query(
        table="csp_finding",
        select=("modifiedon", *(column.name for column in FINDING.columns)),
        where=f"csp_key eq '{(finding or a_finding()).key}'",
    )
    (row,) = environment.client().read(query)
    return row


def a_person_sets(environment, finding=None, **columns):
    """What a form in Dynamics sends: the changed columns alone."""
    client = environment.client()
    client.write("csp_finding", external_key((finding or a_finding()).key), columns, version="*")


def option(state):
    return STATE.option(state)


def the_one(store):
    (found,) = store.findings()
    return found


def test_a_release_is_kept_with_who_why_and_until_when(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    store.put_finding(released(the_one(store)))
    row = row_of(environment)
    assert row["csp_state"] == option("released")
    assert (row["csp_releasedby"], row["csp_releasedreason"]) == ("Anna Finance", "signed on paper")
    assert (row["csp_releasedon"], row["csp_releaseduntil"]) == ("2026-11-23", "2026-12-31")
    found = the_one(environment.store())
    assert not found.holds
    assert found == released(replace(a_finding(), since=a_finding().seen))


def test_found_again_a_released_finding_is_not_written(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    store.put_finding(released(the_one(store)))
    environment.forget_requests()
    assert store.replace_findings(CHECKS, "c1", [a_finding()]) == Saved(unchanged=1)
    assert environment.writes() == []
    assert the_one(store).is_released


def test_when_it_was_decided_stays_whatever_is_found_later(environment, store):
    at = datetime(2026, 11, 23, 14, 30, 5, tzinfo=UTC)
    store.replace_findings(CHECKS, "c1", [a_finding()])
    store.put_finding(replace(released(the_one(store)), decided_at=at))
    assert row_of(environment)["csp_decidedat"] == "2026-11-23T14:30:05Z"
    store.replace_findings(CHECKS, "c1", [a_finding(sentence="Only the old agreement.")])
    found = the_one(environment.store())
    assert (found.holds, found.decided_at) == (True, at)


def test_saying_something_else_it_is_open_again_and_the_row_tells_of_the_release(
    environment, store
):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    store.put_finding(released(the_one(store)))
    other = a_finding(sentence="Only the old agreement.")
    assert store.replace_findings(CHECKS, "c1", [other]) == Saved(updated=1)
    row = row_of(environment)
    assert row["csp_state"] == option("open")
    assert row["csp_releasedby"] is row["csp_releasedreason"] is row["csp_releaseduntil"] is None
    assert row["csp_releasenote"].startswith("Anna Finance released it on 2026-11-23")
    assert the_one(store).holds


def test_closing_notes_the_day_and_ends_the_release_for_good(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    store.put_finding(released(the_one(store)))
    later = environment.store(now=lambda: LATER)
    assert later.replace_findings(CHECKS, "c1", []) == Saved(updated=1)
    row = row_of(environment)
    assert (row["csp_state"], row["csp_closedon"]) == (option("closed"), "2026-11-25")
    assert row["csp_releasenote"].endswith("ended on 2026-11-25: the cause is gone.")
    assert later.findings() == ()
    again = a_finding(seen=None)
    assert later.replace_findings(CHECKS, "c1", [again]) == Saved(updated=1)
    row = row_of(environment)
    assert (row["csp_state"], row["csp_closedon"]) == (option("open"), None)
    assert (row["csp_firstseen"], row["csp_since"]) == ("2026-11-22", "2026-11-25")
    # The release is gone, and what became of it stays on record.
    assert row["csp_releasenote"].endswith("ended on 2026-11-25: the cause is gone.")
    assert the_one(later).holds


def test_a_finding_of_a_day_on_which_nobody_named_one_opens_on_the_stores_day(environment):
    store = environment.store(now=lambda: LATER)
    store.replace_findings(CHECKS, "c1", [a_finding(seen=None)])
    assert (the_one(store).seen, the_one(store).since) == (LATER.date(), LATER.date())


# --- what a person sets on the row -----------------------------------------------------------------


def test_a_release_on_the_row_is_a_decision_and_counts_for_nothing_yet(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    assert store.decisions() == ()
    a_person_sets(
        environment,
        csp_state=option("released"),
        csp_releasedreason="agreed by phone",
        csp_releaseduntil="2026-12-31",
    )
    (decision,) = store.decisions()
    assert decision.state is FindingState.RELEASED
    assert decision.by == "# CSP Billing worker"  # the one user that the emulator has
    assert decision.on == row_day(environment)
    assert decision.finding.released_reason == "agreed by phone"
    assert decision.finding.released_until == date(2026, 12, 31)
    assert the_one(store).holds
    assert the_one(store).released_reason == ""
    # ... and looking again in between does not take away what was typed.
    assert store.replace_findings(CHECKS, "c1", [a_finding()]) == Saved(unchanged=1)
    assert store.decisions() == (decision,)


def row_day(environment):
    return datetime.fromisoformat(row_of(environment)["modifiedon"]).date()


def test_an_accepted_decision_is_one_no_more(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    a_person_sets(environment, csp_state=option("released"), csp_releasedreason="ok")
    (decision,) = store.decisions()
    store.put_finding(released(decision.finding, released_until=None), decision.version)
    assert store.decisions() == ()
    assert the_one(store).is_released


def test_a_refused_decision_is_answered_each_time_on_the_row(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    for _ in range(2):
        a_person_sets(environment, csp_state=option("released"))
        (decision,) = store.decisions()
        store.put_finding(replace(decision.finding, release_note="No reason."), decision.version)
        row = row_of(environment)
        assert (row["csp_state"], row["csp_releasenote"]) == (option("open"), "No reason.")
        assert store.decisions() == ()


def test_a_row_that_a_person_changed_meanwhile_is_not_written_over(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    a_person_sets(environment, csp_state=option("released"))
    (decision,) = store.decisions()
    a_person_sets(environment, csp_releasedreason="ok")
    with pytest.raises(Conflict):
        store.put_finding(released(decision.finding), decision.version)
    (decision,) = store.decisions()
    assert decision.finding.released_reason == "ok"


def test_a_release_that_is_taken_back_on_the_row_counts_at_once(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    store.put_finding(released(the_one(store)))
    a_person_sets(environment, csp_state=option("open"))
    assert the_one(store).holds
    (decision,) = store.decisions()
    assert (decision.state, decision.finding.released_by) == (FindingState.OPEN, "Anna Finance")


def test_a_row_that_a_person_closed_opens_when_it_is_found_again(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    a_person_sets(environment, csp_state=option("closed"))
    (decision,) = store.decisions()
    assert decision.state is FindingState.CLOSED
    store.put_finding(decision.finding.closed(decision.on), decision.version)
    assert (store.decisions(), store.findings()) == ((), ())
    assert store.replace_findings(CHECKS, "c1", [a_finding()]) == Saved(updated=1)
    assert the_one(store).holds


def test_a_hold_that_a_person_closed_holds_until_that_is_accepted(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    a_person_sets(environment, csp_state=option("closed"))
    assert the_one(environment.store()).holds
    (decision,) = store.decisions()
    store.put_finding(decision.finding, decision.version)
    assert row_of(environment)["csp_state"] == option("open")
    # ... and when its cause is gone it closes, whatever a person set.
    a_person_sets(environment, csp_state=option("closed"))
    assert store.replace_findings(CHECKS, "c1", []) == Saved(updated=1)
    assert (store.decisions(), store.findings()) == ((), ())


def test_a_release_that_nobody_accepted_yet_is_not_lost_without_a_word(environment, store):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    a_person_sets(environment, csp_state=option("released"), csp_releasedreason="on paper")
    # Found again as it was, it waits; saying something else, it tells what became of it.
    assert store.replace_findings(CHECKS, "c1", [a_finding()]) == Saved(unchanged=1)
    assert len(store.decisions()) == 1
    store.replace_findings(CHECKS, "c1", [a_finding(sentence="Another sentence.")])
    assert store.decisions() == ()
    found = the_one(environment.store())
    assert found.holds
    assert "(on paper)" in found.release_note
    assert found.release_note.endswith("the finding changed: read it, and release it again.")


@pytest.mark.parametrize("missing", ["csp_releasedreason", "csp_releasedon"])
def test_a_flow_that_writes_who_but_not_why_or_when_releases_nothing(environment, store, missing):
    store.replace_findings(CHECKS, "c1", [a_finding()])
    told = {"csp_releasedreason": "agreed", "csp_releasedon": "2026-11-23"} | {missing: None}
    a_person_sets(environment, csp_state=option("released"), csp_releasedby="a flow", **told)
    assert the_one(environment.store()).holds
    (decision,) = store.decisions()
    assert decision.state is FindingState.RELEASED


# --- rows that Dataverse refuses -------------------------------------------------------------------


def test_a_released_refusal_stays_released_while_it_says_the_same(environment, store):
    narrow(environment)
    long = replace(a_cost_line(), reference_id="x" * 50)
    store.save([long])
    assert the_one(store).severity is Severity.HOLD
    store.put_finding(released(the_one(store)))
    environment.store().save([long])
    assert not the_one(environment.store()).holds


def test_closing_a_refusal_by_hand_says_that_the_row_is_not_wanted(environment, store):
    narrow(environment)
    store.save([replace(a_cost_line(), reference_id="x" * 50)])
    refused = the_one(store)
    a_person_sets(environment, refused, csp_state=option("closed"))
    assert (store.findings(), store.decisions()) == ((), ())


# --- rows that a hand broke ------------------------------------------------------------------------


def test_a_row_that_cannot_be_read_holds_its_customer_and_stops_nobody_else(environment, store):
    other = a_finding(customer_id="c2", record="customer c2")
    store.save([a_finding(), other])
    a_person_sets(environment, csp_severity=None)
    (broken, whole) = sorted(store.findings(), key=lambda one: one.customer_id)
    assert (broken.check, broken.customer_id, broken.holds) == ("finding.unreadable", "c1", True)
    assert "csp_severity is empty" in broken.sentence
    assert whole.key == other.key
    assert [one.check for one in store.findings(customer_id="c1")] == ["finding.unreadable"]


def test_a_broken_row_is_written_again_where_its_cause_is_there(environment, store):
    store.save([a_finding()])
    a_person_sets(environment, csp_severity=None)
    store.replace_findings(CHECKS, "c1", [a_finding()])
    assert [one.check for one in store.findings()] == CHECKS


def test_a_broken_row_holds_until_somebody_looked_at_it(environment, store):
    store.save([a_finding()])
    a_person_sets(environment, csp_severity=None)
    store.replace_findings(CHECKS, "c1", [])
    assert [one.check for one in store.findings()] == ["finding.unreadable"]
    a_person_sets(environment, csp_severity=FINDING.column("csp_severity").option("hold"))
    store.replace_findings(CHECKS, "c1", [])
    assert store.findings() == ()


def test_what_a_person_set_on_a_broken_row_waits(environment, store):
    store.save([a_finding()])
    a_person_sets(environment, csp_severity=None, csp_state=option("released"))
    assert store.decisions() == ()
