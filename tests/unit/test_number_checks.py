"""When a tax number is asked about, what an outage leaves, and which names are one company's."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.problems import NotAuthorised, Severity, Unavailable
from domain.tax import (
    FORM_ONLY,
    NumberState,
    TaxNumberCheck,
    TaxPolicy,
    TaxTreatment,
    number_key,
    printed_number,
)
from rules.number_checks import MARGIN_DAYS, differ, is_due, still_counts, told_of, unanswered
from tests.builders import a_tax_profile

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
POLICY = TaxPolicy()
DOWN = Unavailable("the register did not answer", service="VIES", code="MS_UNAVAILABLE")


def a_check(days_ago: float = 0, state: str = "valid", source: str = "VIES", **fields: object):
    return TaxNumberCheck(
        **{
            "number": "DE136695976",
            "country": "DE",
            "state": NumberState(state),
            "checked_at": NOW - timedelta(days=days_ago),
            "source": source,
            **fields,
        }
    )


def never():
    return a_check(state="unknown", checked_at=None)


# --- the number ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("DE 136.695.976", "DE136695976"),
        ("gr-094259216", "EL094259216"),
        ("EL 094 259 216", "EL094259216"),
        ("IE 8+79739 I", "IE8+79739I"),
        ("CHE-100.155.212 MWST", "CHE100155212MWST"),
        ("", ""),
        (" - ", ""),
    ],
)
def test_a_number_is_kept_as_letters_and_digits(typed, kept):
    assert printed_number(typed) == kept


@given(st.text(max_size=20))
def test_writing_a_number_plainly_twice_changes_nothing(typed):
    once = printed_number(typed)
    assert printed_number(once) == once


@pytest.mark.parametrize("country", ["GR", "EL", " gr "])
def test_greece_is_one_country_by_either_code(country):
    assert number_key(country, "EL094259216") == "taxnumber/GR/EL094259216"


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"treatment": TaxTreatment.BY_RULES, "tax_number": "DE 136695976"}, "DE136695976"),
        ({"treatment": TaxTreatment.REVERSE_CHARGE, "evidence": "DE 136695976"}, "DE136695976"),
        (
            {"treatment": TaxTreatment.REVERSE_CHARGE, "evidence": "FR2", "tax_number": "FR1"},
            "FR2",  # it is what the invoice prints
        ),
        ({"treatment": TaxTreatment.REVERSE_CHARGE, "tax_number": "FR1"}, "FR1"),
        ({"treatment": TaxTreatment.EXEMPT, "evidence": "certificate 7"}, ""),
        ({"treatment": TaxTreatment.STANDARD, "evidence": "DE136695976"}, ""),
        ({"treatment": TaxTreatment.BY_RULES}, ""),
    ],
)
def test_a_profile_rests_on_its_number_and_a_certificate_is_none(fields, number):
    profile = a_tax_profile(**{"country": "DE", "evidence": "", **fields})
    assert profile.checked_number == number
    assert profile.check_key == (f"taxnumber/DE/{number}" if number else "")


# --- when it is asked ------------------------------------------------------------------------------


def test_a_number_that_was_never_answered_is_asked_about():
    assert is_due(never(), "VIES", NOW, POLICY)


@pytest.mark.parametrize(
    ("days", "due"),
    [(0, False), (19, False), (19.99, False), (20, True), (29, True), (30, True), (31, True)],
)
def test_a_good_answer_is_asked_for_anew_before_it_stops_to_count(days, due):
    assert POLICY.number_days - MARGIN_DAYS == 20
    assert is_due(a_check(days), "VIES", NOW, POLICY) is due


@pytest.mark.parametrize(
    ("days", "counts"), [(0, True), (29, True), (30, True), (30.01, False), (31, False)]
)
def test_an_answer_counts_for_the_days_of_the_policy(days, counts):
    assert still_counts(a_check(days), NOW, POLICY) is counts


def test_what_was_never_answered_does_not_count():
    assert not still_counts(never(), NOW, POLICY)


def test_a_no_is_asked_about_once_a_day():
    assert not is_due(a_check(0.2, "invalid"), "VIES", NOW, POLICY)
    assert is_due(a_check(0.3, "invalid"), "VIES", NOW, POLICY)  # the day before


def test_what_failed_is_asked_about_at_once():
    assert is_due(a_check(1, failed_at=NOW, problem="TIMEOUT"), "VIES", NOW, POLICY)


def test_a_register_is_asked_where_the_form_alone_was_looked_at():
    assert is_due(a_check(1, source=FORM_ONLY), "VIES", NOW, POLICY)


@pytest.mark.parametrize(
    ("check", "due"),
    [
        (a_check(29), False),
        (a_check(31), True),
        (a_check(29, "invalid"), False),
        (a_check(300, "invalid"), False),
        (a_check(19, source=FORM_ONLY), False),
        (a_check(20, source=FORM_ONLY), True),
        (a_check(5, "invalid", FORM_ONLY), False),
    ],
)
def test_the_form_alone_replaces_a_registers_yes_only_when_that_is_old_and_its_no_never(check, due):
    assert is_due(check, FORM_ONLY, NOW, POLICY) is due


@given(days=st.integers(1, 366), age=st.integers(0, 400))
def test_whatever_the_policy_no_answer_stops_to_count_before_it_is_asked_for(days, age):
    policy = TaxPolicy(number_days=days)
    check = a_check(age)
    assert still_counts(check, NOW, policy) or is_due(check, "VIES", NOW, policy)


# --- no answer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [a_check(12), a_check(3, "invalid"), never()])
def test_an_outage_keeps_what_was_answered_and_notes_itself(known):
    kept = unanswered(known, DOWN, NOW)
    assert (kept.state, kept.checked_at, kept.source) == (
        known.state,
        known.checked_at,
        known.source,
    )
    assert kept.failed_at == NOW
    assert kept.problem == "MS_UNAVAILABLE: the register did not answer"


def test_the_same_trouble_on_the_same_day_is_no_news():
    kept = unanswered(a_check(12), DOWN, NOW)
    assert unanswered(kept, DOWN, NOW + timedelta(hours=3)) == kept
    assert unanswered(kept, DOWN, NOW + timedelta(days=1)) != kept
    other = Unavailable("no answer from ec.europa.eu", service="VIES")
    assert unanswered(kept, other, NOW).problem == "Unavailable: no answer from ec.europa.eu"


# --- what is told ----------------------------------------------------------------------------------


def found(check, name="Fabrikam GmbH"):
    return [(one.check, one.severity) for one in told_of(check, "c1", name)]


def test_a_registers_no_holds_the_customer():
    assert found(a_check(0, "invalid")) == [("tax.number_refuted", Severity.HOLD)]
    (one,) = told_of(a_check(0, "invalid"), "c1", "Fabrikam GmbH")
    assert one.sentence == "VIES says that DE136695976 is not a valid tax number."


@pytest.mark.parametrize(
    "check",
    [
        a_check(),
        a_check(name="FABRIKAM GMBH"),
        a_check(0, "invalid", FORM_ONLY),  # the rules of tax tell that
        a_check(0, "unknown"),
        never(),
        replace(never(), failed_at=NOW, problem="MS_UNAVAILABLE: the register did not answer"),
    ],
)
def test_nothing_is_told_where_no_register_said_no(check):
    assert found(check) == []


def test_another_companys_number_is_told_and_holds_nobody():
    assert found(a_check(name="Northwind Traders SARL")) == [("tax.number_name", Severity.WARN)]


@pytest.mark.parametrize("name", ["", "   "])
def test_without_an_account_there_is_no_name_to_compare(name):
    assert found(a_check(name="Northwind Traders SARL"), name) == []


def test_what_a_person_must_see_to_is_told_with_what_to_do():
    blocked = NotAuthorised("refused", service="VIES", code="IP_BLOCKED", hint="ask TAXUD")
    kept = unanswered(never(), blocked, NOW)
    (one,) = told_of(kept, "c1", "Fabrikam")
    assert (one.check, one.severity, one.hint) == ("tax.number_refused", Severity.WARN, "ask TAXUD")
    assert "IP_BLOCKED" in one.sentence


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Fabrikam GmbH", "FABRIKAM GESELLSCHAFT MIT BESCHRÄNKTER HAFTUNG"),
        ("Müller & Söhne KG", "MUELLER UND SOEHNE KG"),
        ("Muller Sohne", "MÜLLER SÖHNE"),
        ("Société Générale", "SA SOCIETE GENERALE"),
        ("Acme S.p.A.", "ACME SPA"),
        ("Novo Nordisk A/S", "NOVO NORDISK A/S"),
        ("Łódź Software sp. z o.o.", "LODZ SOFTWARE SPOLKA Z OGRANICZONA ODPOWIEDZIALNOSCIA"),
        ("Contoso Ireland", "CONTOSO IRELAND LIMITED"),
        ("Contoso", "HOLDING X||CONTOSO"),
        ("Contoso", "HOLDING X\nCONTOSO B.V."),
        ("BayWa", "Bay-Wa AG"),
        ("3M Deutschland", "3M DEUTSCHLAND GMBH"),
        ("GmbH", "GmbH"),
        # Other scripts cannot be compared, and nothing is guessed.
        ("Hellenic Petroleum", "ΕΛΛΗΝΙΚΑ ΠΕΤΡΕΛΑΙΑ"),
        ("София Софт", "SOFIA SOFT EOOD"),
        ("", "CONTOSO"),
        ("Contoso", ""),
        ("Contoso", "||"),
    ],
)
def test_names_that_may_be_one_companys_do_not_differ(ours, theirs):
    assert not differ(ours, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Fabrikam GmbH", "NORTHWIND TRADERS GMBH"),
        ("Contoso Ltd", "ADVENTURE WORKS LTD"),
        ("Contoso", "HOLDING X||NORTHWIND"),
        ("Alpine Ski House AG", "Wide World Importers AG"),
    ],
)
def test_names_of_two_companies_differ_whatever_their_legal_form(ours, theirs):
    assert differ(ours, theirs)
    assert differ(theirs.partition("||")[0], ours)


@given(st.text(max_size=40))
def test_no_name_differs_from_itself(name):
    assert not differ(name, name)
