"""The life of a finding: opened, said otherwise, released for what was seen, ended, closed, opened anew."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.problems import Finding, FindingState, Severity
from rules.checks import in_force, judged

MONDAY, TUESDAY, FRIDAY = date(2026, 11, 9), date(2026, 11, 10), date(2026, 11, 13)


def a_finding(**fields):
    return Finding(
        **{
            "check": "agreement.missing",
            "severity": Severity.HOLD,
            "customer_id": "c1",
            "record": "agreement",
            "sentence": "The customer has not accepted the agreement.",
            "hint": "attest it",
            **fields,
        }
    )


def released(finding=None, **fields):
    finding = finding or a_finding().after(None, MONDAY)
    given_by = {
        "released_by": "Anna Finance",
        "released_on": TUESDAY,
        "released_reason": "signed on paper",
        **fields,
    }
    return replace(finding, **given_by)


# --- it opens, stays, says something else ----------------------------------------------------------


def test_it_is_open_since_the_day_on_which_it_was_found():
    found = a_finding().after(None, MONDAY)
    assert (found.since, found.seen, found.state) == (MONDAY, MONDAY, FindingState.OPEN)
    assert found.holds


def test_found_again_it_is_as_it_was():
    found = a_finding().after(None, MONDAY)
    assert a_finding().after(found, TUESDAY) == found


def test_saying_something_else_it_is_open_since_then_and_changed_today():
    found = a_finding().after(None, MONDAY)
    other = a_finding(sentence="Only the old agreement.").after(found, TUESDAY)
    assert (other.since, other.seen) == (MONDAY, TUESDAY)


def test_its_short_name_tells_the_check_and_is_one_for_each_record():
    names = {a_finding(record=f"subscription s{number}").id for number in range(500)}
    assert len(names) == 500
    assert a_finding().id.startswith("agreement.missing-")
    assert a_finding().id == a_finding(sentence="Other.").id


# --- a release counts for what was seen ------------------------------------------------------------


def test_released_it_holds_nobody_and_says_who():
    one = released()
    assert (one.holds, one.is_released, one.state) == (False, True, FindingState.RELEASED)
    assert a_finding().after(one, FRIDAY) == one


def test_with_another_sentence_it_holds_again_and_the_last_release_stays_on_record():
    other = a_finding(sentence="Only the old agreement.").after(released(), FRIDAY)
    assert other.holds
    assert (other.released_by, other.released_reason, other.released_on) == ("", "", None)
    assert other.release_note == (
        "Anna Finance released it on 2026-11-10 (signed on paper). "
        "The release ended on 2026-11-13: the finding says something else now."
    )
    # ... and that record stays while the finding does.
    assert a_finding(sentence="Only the old agreement.").after(other, FRIDAY) == other


def test_a_new_hint_or_link_is_no_other_fault():
    assert not a_finding(hint="sign it", link="https://example.com").after(released(), FRIDAY).holds


def test_a_release_with_a_last_day_holds_again_after_it():
    one = released(released_until=FRIDAY)
    assert not a_finding().after(one, FRIDAY).holds
    later = a_finding().after(one, FRIDAY + timedelta(days=1))
    assert later.holds
    assert "2026-11-13 was its last day" in later.release_note


def test_closing_ends_the_release_and_opening_anew_does_not_bring_it_back():
    closed = released().closed(FRIDAY)
    assert (closed.state, closed.closed_on) == (FindingState.CLOSED, FRIDAY)
    assert closed.release_note.endswith("The release ended on 2026-11-13: the cause is gone.")
    assert a_finding().after(None, FRIDAY).holds


@pytest.mark.parametrize("severity", [Severity.WARN, Severity.BLOCK])
def test_a_release_of_a_hold_is_none_of_a_block_or_a_warning(severity):
    other = a_finding(severity=severity).after(released(), FRIDAY)
    assert other.released_by == ""
    assert other.holds is (severity is Severity.BLOCK)


def test_nobody_releases_a_block():
    assert released(a_finding(severity=Severity.BLOCK)).holds


def test_two_with_one_name_are_told_both_and_a_release_of_one_lets_neither_through():
    one = a_finding()
    (alone,) = judged([one, one], {})
    assert alone == one
    (both,) = judged([one, a_finding(sentence="And another.")], {}, [released()])
    assert both.sentence == f"{one.sentence} And another."
    assert both.holds


# --- as it counts by the list of checks and the policy ---------------------------------------------


def test_what_is_computed_anew_is_released_as_what_is_stored():
    (one,) = judged([a_finding()], {}, [released()])
    assert not one.holds
    (other,) = judged([a_finding(sentence="Only the old agreement.")], {}, [released()])
    assert other.holds
    (elsewhere,) = judged([a_finding(record="another")], {}, [released()])
    assert elsewhere.holds


def test_what_there_is_nothing_to_bill_with_for_holds_whatever_its_row_says():
    stored = released(a_finding(check="tax.no_profile"))
    assert in_force(stored, {}, FRIDAY).holds
    (one,) = judged([a_finding(check="tax.no_profile")], {}, [stored])
    assert one.holds


def test_a_policy_that_blocks_ends_a_release():
    policy = {"agreement.missing": Severity.BLOCK}
    ended = in_force(released(), policy, FRIDAY)
    assert ended.holds
    assert ended.release_note.endswith("the partner's policy blocks it.")
    (one,) = judged([a_finding()], policy, [released()])
    assert one.holds


def test_what_only_warns_needs_no_release():
    assert not in_force(a_finding(), {"agreement.missing": Severity.WARN}, FRIDAY).holds


DAYS = st.dates(date(2026, 11, 1), date(2026, 12, 31))


@given(
    day=DAYS,
    until=st.none() | DAYS,
    same=st.booleans(),
    severity=st.sampled_from(Severity),
    check=st.sampled_from(["agreement.missing", "price.missing", "import.incomplete"]),
)
def test_computed_stored_and_read_agree_on_whether_it_holds(day, until, same, severity, check):
    """The draft, the row and the reading of the row never disagree: or a hold would be silent."""
    known = released(a_finding(check=check), released_until=until)
    found = a_finding(check=check, sentence=known.sentence if same else "Another.")
    policy = {check: severity}
    (computed,) = judged([found], policy, [in_force(known, policy, day)])
    kept = in_force(computed.after(known, day), policy, day)
    assert computed.holds is kept.holds
    releasable = severity is Severity.HOLD and check == "agreement.missing"
    in_time = until is None or day <= until
    told_only = severity is Severity.WARN and check == "agreement.missing"
    assert computed.holds is not (told_only or (releasable and same and in_time))


def test_its_version_is_another_one_exactly_when_a_release_of_it_would_end():
    found = a_finding().after(None, MONDAY)
    for same in (
        a_finding().after(found, TUESDAY),
        a_finding(hint="Another way to do it.").after(found, TUESDAY),
        released(found),
    ):
        assert same.version == found.version
    for other in (
        a_finding(sentence="Only the old agreement.").after(found, TUESDAY),
        a_finding(severity=Severity.BLOCK).after(found, TUESDAY),
        a_finding().after(None, TUESDAY),
    ):
        assert other.version != found.version
