"""Holds end: their cause is gone, or a person releases them with a reason; per customer, never per run."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.contract import BillingContract
from domain.customer import Agreement
from domain.period import Period
from domain.problems import (
    Conflict,
    Decision,
    FindingState,
    InputError,
    InvariantBroken,
    Severity,
    Unavailable,
)
from domain.run import RunStatus, UnitStatus
from invoice.document import DocumentStatus
from rules.checks import CHECKS
from sync import drafts, releases, runs
from sync.findings import current
from sync.messages import TakeRelease
from tests.builders import CUSTOMER, a_subscription, an_agreement, day
from tests.usecases.office import (
    APPROVE,
    BILL,
    NORTHWIND,
    SYNC,
    a_fault,
    an_office,
    totals,
    work,
)

HELD = {"Northwind Traders draft": "65.45"}
BOTH = {"Fabrikam Toys draft": "142.80", **HELD}
ANNA = {"reason": "signed on paper, scan in the file", "by": "Anna Finance"}


@pytest.fixture
def office(tmp_path):
    """Fabrikam is on hold: it has not accepted the agreement. October was billed without it."""
    office = an_office(tmp_path)
    office.partner_center.signed = [an_agreement(customer_id=NORTHWIND)]
    work(office, SYNC, BILL)
    assert totals(office) == HELD
    return office


def the_hold(office):
    (finding,) = current(office.ports)
    return finding


def release(office, **terms):
    return releases.release(office.ports, the_hold(office).id, **ANNA | terms)


def run_of(office):
    return office.store.run(BILL.run_key)


# --- by a message ----------------------------------------------------------------------------------


def asked(office, **terms):
    return TakeRelease(finding=the_hold(office).id, asked_at=office.ports.now(), **ANNA | terms)


def taken(office, message):
    runs.handle(office.ports, "start", message.model_dump_json())


def test_a_release_by_a_message_counts_like_one_by_a_command(office):
    taken(office, asked(office, until=day("2026-11-30")))
    found = the_hold(office)
    assert (found.released_by, found.released_until) == ("Anna Finance", day("2026-11-30"))
    work(office, BILL)
    assert totals(office) == BOTH


def test_a_message_that_comes_again_undoes_nothing_that_came_after_it(office):
    first = asked(office)
    taken(office, first)
    office.clock.advance(timedelta(minutes=1))
    taken(office, asked(office, by="Ben", reason="", withdraw=True))
    assert the_hold(office).holds
    assert office.written(lambda: taken(office, first)) == []
    assert the_hold(office).holds


def test_what_a_message_cannot_have_stands_on_the_finding_and_nobody_is_billed(office):
    taken(office, asked(office, until=day("2026-11-08")))
    found = the_hold(office)
    assert found.holds
    assert found.release_note.startswith("Not released on 2026-11-09: ")
    assert "its last day, 2026-11-08, is over" in found.release_note


def test_a_message_that_is_given_up_stands_on_the_finding(office):
    runs.give_up(office.ports, "start", asked(office).model_dump_json(), "no answer from Dataverse")
    assert the_hold(office).release_note == "Not released on 2026-11-09: no answer from Dataverse."


def test_a_message_about_what_is_gone_needs_nothing(office):
    message = asked(office)
    office.store.put_finding(the_hold(office).closed(day("2026-11-09")))
    taken(office, message)
    runs.give_up(office.ports, "start", message.model_dump_json(), "too late")
    assert current(office.ports) == []


def test_an_older_wish_that_comes_late_does_not_undo_what_was_decided_since(office):
    """Queues have no order."""
    taken(office, asked(office, by="Bob"))
    late = asked(office, by="Maria", reason="also agreed")
    office.clock.advance(timedelta(minutes=5))
    taken(office, asked(office, by="Eve", reason="", withdraw=True))
    taken(office, late)
    found = the_hold(office)
    assert found.holds
    assert found.release_note == (
        "Not released on 2026-11-09: Maria asked at 2026-11-09 06:00:00 UTC, and it was decided "
        "anew at 2026-11-09 06:05:00 UTC. Bob released it on 2026-11-09 (signed on paper, scan in "
        "the file). The release ended on 2026-11-09: Eve withdrew it."
    )


def test_an_older_withdrawal_that_comes_late_leaves_the_newer_release(office):
    taken(office, asked(office, by="Bob"))
    late = asked(office, by="Eve", reason="", withdraw=True)
    office.clock.advance(timedelta(minutes=5))
    taken(office, asked(office, by="Bob"))
    taken(office, late)
    found = the_hold(office)
    assert not found.holds
    assert found.release_note.startswith("The release is not taken back on 2026-11-09: Eve asked")


@pytest.mark.parametrize("overtaken", [0, 1])
def test_a_withdrawal_counts_although_the_release_that_it_answers_comes_after_it(office, overtaken):
    """Also of the same second, which is all that a row keeps."""
    late = asked(office, by="Maria")
    office.clock.advance(timedelta(seconds=overtaken))
    taken(office, asked(office, by="Eve", reason="", withdraw=True))
    taken(office, late)
    assert the_hold(office).holds


def test_in_whichever_order_messages_come_the_last_to_decide_counts(office):
    """Four people, every order, each message twice."""
    open_one = the_hold(office)
    for order in permutations(range(4)):
        wishes = []
        for n in range(4):
            office.clock.advance(timedelta(seconds=1))
            reason = "" if n % 2 else f"agreed {n}"
            wishes.append(asked(office, by=f"{n}", reason=reason, withdraw=bool(n % 2)))
        for last in (3, 4):  # the first three alone end with a release, all four with none
            office.store.put_finding(open_one)
            for n in order:
                if n < last:
                    again = wishes[n].model_copy(update={"by": f"{n}, {last}"})
                    taken(office, again)
                    taken(office, again)
            found = the_hold(office)
            assert found.holds is (last == 4), order
            assert found.released_by == ("" if last == 4 else "2, 3"), order


@pytest.mark.parametrize("how", ["a command", "the row"])
def test_what_was_decided_in_another_way_since_stands_as_well(office, how):
    release(office)
    late = asked(office, by="Maria", reason="also agreed")
    office.clock.advance(timedelta(minutes=5))
    if how == "a command":
        releases.withdraw(office.ports, the_hold(office).id, by="Eve")
    else:
        set_on_row(office, FindingState.OPEN, at=office.ports.now())
    taken(office, late)
    assert the_hold(office).holds


def test_the_moment_of_a_decision_outlives_what_is_found_anew(office):
    late = asked(office)
    office.clock.advance(timedelta(minutes=5))
    release(office)
    releases.withdraw(office.ports, the_hold(office).id, by="Eve")
    work(office, BILL)
    taken(office, late)
    assert the_hold(office).holds


def test_a_message_releases_what_was_seen_and_nothing_else(office):
    seen = the_hold(office)
    message = asked(office, version=seen.version)
    office.store.put_finding(replace(seen, sentence="It is worse by now."))
    taken(office, message)
    found = the_hold(office)
    assert found.holds
    assert found.release_note == (
        f"Not released on 2026-11-09: {found.id} has changed since it was seen."
    )
    taken(office, asked(office, version=found.version, reason="agreed all the same"))
    assert not the_hold(office).holds


def test_a_withdrawal_that_is_given_up_says_that_the_release_stands(office):
    release(office)
    message = asked(office, reason="", withdraw=True)
    runs.give_up(office.ports, "start", message.model_dump_json(), "no answer from Dataverse")
    found = the_hold(office)
    assert not found.holds
    assert found.release_note == (
        "The release is not taken back on 2026-11-09: no answer from Dataverse."
    )


# --- by a command ----------------------------------------------------------------------------------


def test_a_released_customer_is_billed_by_the_next_run_with_all_that_was_held(office):
    found = release(office)
    assert (found.state, found.released_on) == (FindingState.RELEASED, day("2026-11-09"))
    work(office, BILL)
    assert totals(office) == BOTH
    run = run_of(office)
    assert (run.status, run.counts["held"], run.totals[0].held) == (RunStatus.DONE, 0, 0)
    assert run.totals[0].residual == 0
    # The cause is there, and so is the finding, with who released it and why.
    assert the_hold(office).released_reason == ANNA["reason"]
    assert office.written(lambda: work(office, BILL)) == []


def test_a_released_customers_document_is_issued(office):
    release(office)
    work(office, BILL, APPROVE)
    assert set(totals(office)) == {
        "Fabrikam Toys INV-202610-0001",
        "Northwind Traders INV-202610-0002",
    }
    assert office.written(lambda: work(office, BILL, APPROVE)) == []


def test_after_the_others_were_approved_a_released_one_is_billed_and_approved(office):
    work(office, APPROVE)
    assert set(totals(office)) == {"Northwind Traders INV-202610-0001"}
    release(office)
    work(office, BILL, APPROVE)
    assert totals(office) == {
        "Northwind Traders INV-202610-0001": "65.45",
        "Fabrikam Toys INV-202610-0002": "142.80",
    }


def test_a_release_that_is_withdrawn_takes_the_draft_back(office):
    release(office)
    work(office, BILL)
    held = releases.withdraw(office.ports, the_hold(office).id, by="Ben")
    assert held.release_note == (
        "Anna Finance released it on 2026-11-09 (signed on paper, scan in the file). "
        "The release ended on 2026-11-09: Ben withdrew it."
    )
    work(office, BILL)
    assert totals(office) == HELD
    assert the_hold(office).release_note == held.release_note
    assert run_of(office).status is RunStatus.DONE_WITH_HOLDS


def test_a_draft_whose_release_was_withdrawn_is_not_issued(office):
    release(office)
    work(office, BILL)
    releases.withdraw(office.ports, the_hold(office).id, by="Ben")
    work(office, APPROVE)
    assert set(totals(office)) == {"Fabrikam Toys draft", "Northwind Traders INV-202610-0001"}


def test_what_was_issued_under_a_release_stays_issued(office):
    release(office)
    work(office, BILL, APPROVE)
    before = totals(office)
    releases.withdraw(office.ports, the_hold(office).id, by="Ben")
    work(office, BILL, APPROVE)
    assert totals(office) == before


def test_a_release_ends_when_the_finding_says_something_else(office):
    release(office)
    work(office, BILL)
    office.store.save([an_agreement(type="MicrosoftCloudAgreement")])
    work(office, BILL)
    assert totals(office) == HELD
    found = the_hold(office)
    assert "(only MicrosoftCloudAgreement)" in found.sentence
    assert found.release_note.endswith("the finding says something else now.")


@pytest.mark.parametrize(
    ("check", "seen", "then"),
    [
        (
            "partner_of_record.drift",
            [("s1", 10, "999", "")],
            [("s1", 10, "111", ""), ("s2", 10, "999", "")],
        ),
        (
            "qualification.missing",
            [("s1", 10, "111", "Education")],
            [("s1", 10, "111", "Education"), ("s2", 5000, "111", "Education")],
        ),
        (
            "qualification.missing",
            [("s1", 10, "111", "Education")],
            [("s1", 5000, "111", "Education")],
        ),
    ],
)
def test_a_release_counts_for_the_subscriptions_that_were_seen_and_no_others(
    tmp_path, check, seen, then
):
    office = an_office(tmp_path)
    work(office, SYNC)

    def has(rows):
        office.store.save(
            [
                a_subscription(id=name, quantity=seats, partner_of_record=partner, segment=segment)
                for name, seats, partner, segment in rows
            ]
        )
        work(office, BILL)
        return [one.holds for one in current(office.ports) if one.check == check]

    contract = office.store.table(BillingContract)["contract/c1"]
    office.store.save([replace(contract, expected_partner_id="111")])
    assert has(seen) == [True]
    (found,) = (one for one in current(office.ports) if one.check == check)
    releases.release(office.ports, found.id, **ANNA)
    assert has(seen) == [False]
    assert has(then) == [True]


def test_a_release_ends_with_the_finding_and_is_not_there_when_it_opens_anew(office):
    release(office)
    office.store.save([an_agreement()])
    work(office, BILL)
    assert (totals(office), current(office.ports)) == (BOTH, [])
    del office.store.table(Agreement)[an_agreement().key]
    work(office, BILL)
    assert totals(office) == HELD
    assert the_hold(office).holds


def test_a_release_with_a_last_day_holds_again_after_it(office):
    release(office, until=day("2026-11-10"))
    office.clock.advance(timedelta(days=1))
    work(office, BILL)
    assert totals(office) == BOTH
    office.clock.advance(timedelta(days=1))
    assert the_hold(office).holds
    work(office, BILL)
    assert totals(office) == HELD
    assert "2026-11-10 was its last day" in office.store.findings()[0].release_note


def test_the_same_release_again_changes_nothing_and_another_takes_its_place(office):
    release(office)
    assert office.written(lambda: release(office)) == []
    other = release(office, by="Ben", reason="the scan is there")
    assert (other.released_by, other.released_reason) == ("Ben", "the scan is there")
    assert "Anna Finance released it" in other.release_note


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"reason": ""}, "a release needs a reason of 1 to 1000 characters"),
        ({"reason": "  \n"}, "a release needs a reason of 1 to 1000 characters"),
        ({"reason": "x" * 1001}, "a release needs a reason of 1 to 1000 characters"),
        ({"by": " "}, "a release needs a name"),
        ({"until": day("2026-11-08")}, "its last day, 2026-11-08, is over"),
    ],
)
def test_a_release_says_why_who_and_until_when(office, terms, why):
    with pytest.raises(InputError, match=why):
        release(office, **terms)
    assert the_hold(office).holds


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (a_fault("gdap.expiring", severity=Severity.WARN), "it is a warning and holds nobody"),
        (
            a_fault("import.incomplete", "", severity=Severity.BLOCK),
            "what Microsoft billed is not known completely",
        ),
        (a_fault("mapping.no_contract"), "there is no contract to bill by"),
        (a_fault("price.missing"), "without a price there is nothing to ask for"),
        (a_fault("former.check"), "this version knows no check former.check"),
    ],
)
def test_what_nobody_may_release_is_refused_in_a_sentence(office, fault, why):
    office.store.save([fault])
    with pytest.raises(InputError, match=why):
        releases.release(office.ports, fault.id, **ANNA)


def test_a_name_must_be_that_of_an_open_finding(office):
    with pytest.raises(InputError, match="there is no open finding agreement"):
        releases.release(office.ports, "agreement.missing-000000", **ANNA)
    with pytest.raises(InputError, match="is not released"):
        releases.withdraw(office.ports, the_hold(office).id, by="Ben")
    assert releases.find(office.ports, the_hold(office).key) == the_hold(office)
    assert releases.find(office.ports, f" {the_hold(office).id.upper()} ") == the_hold(office)


# --- on the finding's row in Dynamics --------------------------------------------------------------


def set_on_row(office, state, at=datetime(2026, 11, 8, tzinfo=UTC), **typed):
    finding = the_hold(office)
    office.store.decided[finding.key] = Decision(
        finding=replace(finding, **typed),
        state=state,
        by="Carla Manager",
        at=at,
        version="1",
    )


def test_what_a_person_set_on_the_row_counts_with_the_next_run(office):
    set_on_row(office, FindingState.RELEASED, released_reason=" agreed by phone ")
    assert the_hold(office).holds
    work(office, BILL)
    assert totals(office) == BOTH
    found = the_hold(office)
    assert (found.released_by, found.released_on, found.released_reason) == (
        "Carla Manager",
        day("2026-11-08"),
        "agreed by phone",
    )
    assert office.written(lambda: work(office, BILL)) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            {},
            (
                "Not released on 2026-11-08: a reason is missing; "
                "enter it and set the state to Released again."
            ),
        ),
        (
            {"released_reason": "ok", "released_until": day("2026-11-08")},
            "Not released on 2026-11-08: its last day, 2026-11-08, is over.",
        ),
    ],
)
def test_what_cannot_count_is_answered_on_the_row(office, typed, said):
    set_on_row(office, FindingState.RELEASED, **typed)
    work(office, BILL)
    assert totals(office) == HELD
    found = the_hold(office)
    assert (found.state, found.release_note, found.released_reason) == (FindingState.OPEN, said, "")
    assert office.written(lambda: work(office, BILL)) == []


def test_a_row_that_nobody_may_release_says_why(office):
    del office.store.table(BillingContract)["contract/c1"]
    office.store.save([an_agreement()])
    work(office, BILL)
    set_on_row(office, FindingState.RELEASED, released_reason="bill it anyway")
    work(office, BILL)
    found = the_hold(office)
    assert found.release_note == "Not released on 2026-11-08: there is no contract to bill by."
    assert found.holds


def test_a_release_is_taken_back_on_the_row(office):
    release(office)
    set_on_row(office, FindingState.OPEN)
    work(office, BILL)
    assert totals(office) == HELD
    assert the_hold(office).release_note.endswith("Carla Manager withdrew it.")


def test_closing_a_row_does_not_bill_anybody_whose_fault_is_still_there(office):
    set_on_row(office, FindingState.CLOSED)
    work(office, BILL)
    assert totals(office) == HELD
    assert the_hold(office).holds


@pytest.mark.parametrize("severity", [Severity.HOLD, Severity.BLOCK])
@pytest.mark.parametrize("check", ["wire.subscription", "wire.cost_line", "agreement.missing"])
def test_closing_a_row_is_no_release_without_a_reason(tmp_path, check, severity):
    """Nobody looks at what the sync found during a bill: only the cause ends it."""
    office = an_office(tmp_path)
    work(office, SYNC)
    office.partner_center.signed = [an_agreement(customer_id=NORTHWIND)]
    office.store.table(Agreement).pop(an_agreement().key)
    office.policy = {check: severity}
    office.store.save([a_fault(check, severity=severity)])
    if check != "agreement.missing":
        office.store.save([an_agreement()])
    work(office, BILL)
    set_on_row(office, FindingState.CLOSED)
    work(office, BILL, APPROVE)
    assert set(totals(office)) == {"Northwind Traders INV-202610-0001"}
    found = the_hold(office)
    assert found.holds
    if check != "agreement.missing":
        assert found.release_note.startswith("Carla Manager set it to Closed on 2026-11-08.")


def test_closing_a_released_row_ends_the_release(office):
    release(office)
    set_on_row(office, FindingState.CLOSED)
    work(office, BILL)
    assert totals(office) == HELD
    assert the_hold(office).holds


@pytest.mark.parametrize(
    "fault",
    [
        a_fault("former.check"),
        a_fault("azure.fraud_event", "", severity=Severity.WARN),
        a_fault("gdap.expiring", severity=Severity.WARN),
        a_fault("store.refused"),
    ],
)
def test_what_nobody_looks_at_again_or_holds_nobody_a_person_closes(tmp_path, fault):
    office = an_office(tmp_path)
    office.store.save([fault])
    set_on_row(office, FindingState.CLOSED)
    releases.settle(office.ports)
    assert current(office.ports) == []


def test_a_row_that_changed_again_is_looked_at_by_the_next_run(office, monkeypatch):
    set_on_row(office, FindingState.RELEASED, released_reason="ok")

    def lost(finding, version="*"):
        raise Conflict("somebody was faster", service="Store")

    with monkeypatch.context() as patch:
        patch.setattr(office.store, "put_finding", lost)
        work(office, BILL)
    assert totals(office) == HELD
    work(office, BILL)
    assert totals(office) == BOTH


# --- per customer, never per run -------------------------------------------------------------------

FAULTS = sorted(
    name
    for name, check in CHECKS.items()
    if check.severity is not Severity.WARN and check.room != "answer"
)


def test_one_customers_fault_of_any_kind_leaves_the_others_billed(tmp_path):
    office = an_office(tmp_path)
    work(office, SYNC)
    found_by_a_draft = {*drafts.DRAFT_CHECKS, *drafts.RECONCILE_CHECKS}
    for check in FAULTS:
        fault = a_fault(check, severity=CHECKS[check].severity)
        office.store.save([fault])
        work(office, BILL)
        # What a draft looks at itself is found to be gone.
        assert totals(office) == (BOTH if check in found_by_a_draft else HELD), check
        held = check not in found_by_a_draft
        assert (run_of(office).status is RunStatus.DONE_WITH_HOLDS) is held
        assert run_of(office).totals[0].residual == 0
        office.store.replace_findings((check,), CUSTOMER, [])


def test_a_customer_with_every_kind_of_fault_at_once_leaves_the_others_billed(tmp_path):
    office = an_office(tmp_path)
    work(office, SYNC)
    office.store.table(Agreement).clear()
    office.store.save([an_agreement(customer_id=NORTHWIND)])
    office.store.save([a_fault(check, record=f"r {check}") for check in FAULTS])
    work(office, BILL)
    assert totals(office) == HELD


def test_rows_that_cannot_be_read_hold_their_customer_alone(tmp_path, monkeypatch):
    office = an_office(tmp_path)
    work(office, SYNC)
    whole = office.store.customer_file

    def half_entered(customer_id, *on):
        if customer_id == CUSTOMER:
            raise InputError(
                "csp_billingcontract contract/c1: csp_starts is empty",
                hint="Correct the row in the table Billing contracts.",
            )
        return whole(customer_id, *on)

    with monkeypatch.context() as patch:
        patch.setattr(office.store, "customer_file", half_entered)
        work(office, BILL)
        assert totals(office) == HELD
        found = the_hold(office)
        assert (found.check, found.sentence) == (
            "draft.unreadable",
            (
                "A row that decides the bill cannot be read: "
                "csp_billingcontract contract/c1: csp_starts is empty."
            ),
        )
        assert found.hint.startswith("Correct the row in the table Billing contracts.")
        assert run_of(office).status is RunStatus.DONE_WITH_HOLDS
        assert office.written(lambda: work(office, BILL)) == []
        with pytest.raises(InputError, match="what there is to bill is not known"):
            release(office)
    work(office, BILL)
    assert totals(office) == BOTH


@pytest.mark.parametrize(
    "fault", [ZeroDivisionError("division by zero"), ValueError("no such day"), KeyError("plan")]
)
def test_data_that_cannot_be_reckoned_with_holds_its_customer_alone(tmp_path, monkeypatch, fault):
    office = an_office(tmp_path)
    work(office, SYNC)
    whole = drafts.charges_of

    def impossible(file, *rest):
        if file.customer.id == CUSTOMER:
            raise fault
        return whole(file, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(drafts, "charges_of", impossible)
        work(office, BILL)
        assert totals(office) == HELD
        assert the_hold(office).sentence == (
            f"The bill of 2026-10 cannot be computed: {type(fault).__name__}: {fault}."
        )
    work(office, BILL)
    assert totals(office) == BOTH


def test_a_fault_of_our_own_or_an_outage_is_no_finding(tmp_path, monkeypatch):
    office = an_office(tmp_path)
    work(office, SYNC)
    for fault in (InvariantBroken("a charge is lost"), Unavailable("down", service="Store")):
        with monkeypatch.context() as patch:
            patch.setattr(
                drafts, "charges_of", lambda *_, fault=fault: (_ for _ in ()).throw(fault)
            )
            with pytest.raises(type(fault)):
                drafts.propose(office.ports, CUSTOMER, Period.month("2026-10"))
    assert current(office.ports) == []


def test_while_a_bill_cannot_be_computed_what_was_found_before_stands(office, monkeypatch):
    release(office)
    monkeypatch.setattr(drafts, "charges_of", lambda *_: 1 / 0)
    work(office, BILL)
    assert {one.check: one.holds for one in current(office.ports)} == {
        "agreement.missing": False,
        "draft.failed": True,
    } | {one.check: one.holds for one in current(office.ports) if one.customer_id == NORTHWIND}


# --- the invariant ---------------------------------------------------------------------------------


class Story:
    """What a month can go through, with a model beside it that says who must be billed."""

    def __init__(self, folder: Path) -> None:
        self.office = an_office(folder)
        work(self.office, SYNC)
        self.signed = True
        self.old = False
        """Whether the old agreement was accepted: the finding then says something else."""
        self.released: bool | None = None
        """For which sentence (`old`) a person released the finding."""
        self.found = False

    def sign(self, signed: bool) -> None:
        self.signed = signed
        table = self.office.store.table(Agreement)
        if signed:
            self.office.store.save([an_agreement()])
        else:
            table.pop(an_agreement().key, None)

    def accept_old(self, old: bool) -> None:
        self.old = old
        table = self.office.store.table(Agreement)
        agreement = an_agreement(type="MicrosoftCloudAgreement", agreed_on=day("2019-01-01"))
        if old:
            table["the old one"] = agreement
        else:
            table.pop("the old one", None)

    def open_finding(self):
        return next(iter(current(self.office.ports)), None)

    def release(self) -> None:
        found = self.open_finding()
        if found is not None:
            releases.release(self.office.ports, found.id, **ANNA)
            self.released = "only" in found.sentence

    def withdraw(self) -> None:
        found = self.open_finding()
        if found is not None and found.released_by:
            releases.withdraw(self.office.ports, found.id, by="Ben")
            self.released = None

    def bill(self) -> None:
        work(self.office, BILL)
        if self.signed or self.released is not self.old:
            self.released = None  # it closed, or says something else
        holds = not self.signed and self.released is None
        mine = [d for d in self.office.store.documents() if d.customer_id == CUSTOMER]
        issued = [d for d in mine if d.status is not DocumentStatus.DRAFT]
        if issued:
            return  # the month is through: it is looked at no more
        assert bool(mine) is not holds
        unit = self.office.store.ledger[f"bill/{CUSTOMER}/2026-10"][0]
        assert unit.status is (UnitStatus.HELD if holds else UnitStatus.SETTLED)
        found = self.open_finding()
        assert (found is not None) is (not self.signed)
        assert found is None or found.holds is holds

    def approve(self) -> None:
        work(self.office, APPROVE)

    def check(self) -> None:
        documents = self.office.store.documents()
        keys = [line.charge.key for document in documents for line in document.lines]
        assert len(keys) == len(set(keys)), "a charge was asked for twice"
        run = self.office.store.run(BILL.run_key)
        if run is not None:
            assert run.totals[0].residual == 0
            assert run.totals[0].microsoft == Decimal(150)


STEPS = st.lists(
    st.sampled_from(
        [
            ("sign", True),
            ("sign", False),
            ("accept_old", True),
            ("accept_old", False),
            ("release",),
            ("withdraw",),
            ("bill",),
            ("bill",),
            ("approve",),
        ]
    ),
    max_size=14,
)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_billed_exactly_when_nothing_holds_and_nothing_twice(steps):
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder))
        for name, *arguments in [*steps, ("bill",), ("bill",), ("approve",), ("bill",)]:
            getattr(story, name)(*arguments)
            story.check()


def test_a_short_name_of_several_findings_names_none_and_says_so(office):
    several = [a_fault("mapping.no_account", record=f"account {number}") for number in range(9000)]
    (cut, count), *_ = Counter(one.id[:-4] for one in several).most_common(1)
    assert count > 1
    twins = [one for one in several if one.id.startswith(cut)]
    office.store.save(twins)
    with pytest.raises(releases.Ambiguous, match="names several findings"):
        releases.find(office.ports, cut)
    assert releases.find(office.ports, twins[0].id).key == twins[0].key
    office.store.found.pop(twins[1].key)
    assert releases.find(office.ports, cut).key == twins[0].key
