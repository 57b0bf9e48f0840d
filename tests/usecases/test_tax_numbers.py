"""The daily look at tax numbers: asked when due, kept with evidence, an outage never makes a no."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.problems import NotAuthorised, Severity, Throttled, Unavailable
from domain.run import RunStatus
from domain.tax import FORM_ONLY, NumberState, TaxDecider, TaxNumberCheck, TaxTreatment
from sync import tax_numbers
from sync.messages import StartRun
from tests.builders import CUSTOMER, a_contract, a_tax_profile, day
from tests.fakes import Crash
from tests.usecases.office import BILL, NORTHWIND, SYNC, an_office, totals, work

GERMAN, FRENCH = "DE136695976", "FR53901821074"
START = datetime(2026, 11, 9, 6, tzinfo=UTC)
TODAY = START.date()


@dataclass
class Register:
    """A register that knows some numbers; what is in `down` is raised instead, by number or prefix."""

    now: object
    valid: set[str] = field(default_factory=lambda: {GERMAN, FRENCH})
    names: dict[str, str] = field(default_factory=dict)
    down: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def source(self, country, number):
        return "VIES" if number[:2].isalpha() else FORM_ONLY

    def check(self, country, number):
        self.asked.append(number)
        self.now.now += timedelta(seconds=self.seconds)
        fault = self.down.get(number) or self.down.get(number[:2])
        if fault:
            raise fault
        by_form = self.source(country, number) == FORM_ONLY
        state = NumberState.VALID if number in self.valid else NumberState.INVALID
        return TaxNumberCheck(
            number=number,
            country=country,
            state=NumberState.UNKNOWN if by_form else state,
            checked_at=None if by_form else self.now(),
            source=self.source(country, number),
            reference="" if by_form else f"inquiry-{len(self.asked)}",
            name=self.names.get(number, ""),
        )


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


def down(code="MS_UNAVAILABLE"):
    kind = Throttled if "MAX" in code else Unavailable
    return kind("the register did not answer", service="VIES", code=code)


@pytest.fixture
def office(tmp_path):
    """Fabrikam has a German number, Northwind a French one."""
    office = an_office(tmp_path)
    office.clock = Clock()
    office.number_register = Register(office.clock)
    office.store.save(
        [
            a_tax_profile(
                key="tax/c1",
                country="DE",
                treatment=TaxTreatment.BY_RULES,
                tax_number="DE 136695976",
            ),
            a_tax_profile(
                key="tax/c2", country="FR", treatment=TaxTreatment.BY_RULES, tax_number=FRENCH
            ),
            a_contract(tax_profile_key="tax/c1", account_name="Fabrikam"),
            a_contract(
                key="contract/c2",
                customer_id=NORTHWIND,
                tax_profile_key="tax/c2",
                account_name="Northwind Traders",
            ),
        ]
    )
    return office


def look(office, **fields):
    return tax_numbers.work(office.ports, office.clock.now.date(), **fields)


def known(office, number=GERMAN):
    return next(one for one in office.store.number_checks() if one.number == number)


def told(office):
    return sorted((one.check, one.customer_id) for one in office.store.findings())


def test_every_number_is_asked_about_and_its_answer_kept(office):
    outcome = look(office)
    assert office.number_register.asked == [GERMAN, FRENCH]
    check = known(office)
    assert (check.state, check.source, check.checked_at) == (NumberState.VALID, "VIES", START)
    assert check.reference == "inquiry-1"
    assert not outcome.held
    assert outcome.counts == {
        "tax_numbers": 2,
        "tax_numbers_asked": 2,
        "tax_numbers_waiting": 0,
        "findings": 0,
        "written": 2,
    }


def test_looking_again_asks_nobody_and_writes_nothing(office):
    look(office)
    office.number_register.asked.clear()
    assert office.written(lambda: look(office)) == []
    assert office.number_register.asked == []


@pytest.mark.parametrize(
    ("days", "asked"), [(19, []), (20, [GERMAN, FRENCH]), (31, [GERMAN, FRENCH])]
)
def test_answers_are_asked_for_anew_when_they_grow_old(office, days, asked):
    look(office)
    office.number_register.asked.clear()
    office.clock.now += timedelta(days=days)
    look(office)
    assert office.number_register.asked == asked
    assert known(office).checked_at == (office.clock.now if asked else START)


def test_a_number_that_was_changed_is_asked_about_at_once(office):
    work(office, SYNC)
    profile = a_tax_profile(
        key="tax/c1", country="DE", treatment=TaxTreatment.BY_RULES, tax_number="DE811569869"
    )
    office.store.save([profile])
    office.number_register.asked.clear()
    look(office)
    assert office.number_register.asked == ["DE811569869"]
    assert office.store.customer_file(CUSTOMER).number_checks == (known(office, "DE811569869"),)


def test_the_bill_finds_what_is_known_of_its_customers_number(office):
    work(office, SYNC)
    assert office.store.customer_file(NORTHWIND).number_checks == (known(office, FRENCH),)


@pytest.mark.parametrize(
    ("ends", "asked"),
    [(None, True), ("2026-12-01", True), ("2026-10-01", True), ("2026-08-01", False)],
)
def test_contracts_that_are_over_and_billed_are_left_out(office, ends, asked):
    ends = day(ends) if ends else None
    office.store.save([a_contract(tax_profile_key="tax/c1", ends=ends)])
    look(office)
    assert (GERMAN in office.number_register.asked) is asked


@pytest.mark.parametrize("decider", [TaxDecider.ENGINE, TaxDecider.ACCOUNTING])
def test_where_others_decide_the_tax_the_number_is_theirs_to_look_at(office, decider):
    office.store.save([a_contract(tax_profile_key="tax/c1", tax_decider=decider)])
    look(office)
    assert office.number_register.asked == [FRENCH]


def test_customers_without_a_number_are_asked_about_nowhere(office):
    office.store.save([a_tax_profile(key="tax/c1", treatment=TaxTreatment.BY_RULES)])
    look(office)
    assert office.number_register.asked == [FRENCH]


def test_a_number_that_several_customers_share_is_asked_about_once(office):
    office.store.save(
        [a_contract(key="contract/c2", customer_id=NORTHWIND, tax_profile_key="tax/c1")]
    )
    office.number_register.valid.clear()
    look(office)
    assert office.number_register.asked == [GERMAN]
    assert told(office) == [("tax.number_refuted", CUSTOMER), ("tax.number_refuted", NORTHWIND)]


def test_one_customer_can_be_looked_at_alone(office):
    outcome = look(office, customer_id=NORTHWIND)
    assert office.number_register.asked == [FRENCH]
    assert outcome.counts["tax_numbers"] == 1


def test_a_country_without_a_register_is_unknown_and_holds_up_nothing(office):
    office.store.save(
        [
            a_tax_profile(
                key="tax/c1", country="US", treatment=TaxTreatment.BY_RULES, tax_number="12-3456789"
            )
        ]
    )
    assert not look(office).held
    assert known(office, "123456789").state is NumberState.UNKNOWN
    assert office.written(lambda: look(office)) == []


# --- outages ---------------------------------------------------------------------------------------


def test_an_outage_keeps_the_last_good_answer_with_its_age(office):
    look(office)
    office.clock.now += timedelta(days=25)
    office.number_register.down["DE"] = down()
    outcome = look(office)
    check = known(office)
    assert (check.state, check.checked_at) == (NumberState.VALID, START)
    assert check.failed_at == office.clock.now
    assert check.problem == "MS_UNAVAILABLE: the register did not answer"
    assert not outcome.held, "the answer still counts"
    assert known(office, FRENCH).checked_at == office.clock.now


def test_when_the_register_is_back_its_answer_takes_the_place(office):
    look(office)
    office.clock.now += timedelta(days=25)
    office.number_register.down["DE"] = down()
    look(office)
    office.clock.now += timedelta(hours=1)
    office.number_register.down.clear()
    look(office)
    check = known(office)
    assert (check.checked_at, check.failed_at, check.problem) == (office.clock.now, None, "")


def test_an_outage_longer_than_an_answer_counts_waits_for_the_next_run(office):
    look(office)
    office.number_register.down["DE"] = down()
    for days, held in [(29, False), (30, False), (31, True)]:
        office.clock.now = START + timedelta(days=days)
        assert look(office).held is held
    assert known(office).state is NumberState.VALID, "an outage is never a no"


@pytest.mark.parametrize(
    "code",
    [
        "GLOBAL_MAX_CONCURRENT_REQ",
        "MS_MAX_CONCURRENT_REQ",
        "SERVICE_UNAVAILABLE",
        "MS_UNAVAILABLE",
        "TIMEOUT",
        "",
    ],
)
def test_a_first_look_that_fails_leaves_the_number_unknown(office, code):
    office.number_register.down["DE"] = down(code)
    assert look(office).held
    check = known(office)
    assert (check.state, check.checked_at) == (NumberState.UNKNOWN, None)
    assert told(office) == []
    assert known(office, FRENCH).state is NumberState.VALID


def numbers(office, count):
    """So many customers with Austrian numbers, none of which is checked by form here."""
    for place in range(count):
        office.store.save(
            [
                a_tax_profile(
                    key=f"tax/x{place}",
                    country="AT",
                    treatment=TaxTreatment.BY_RULES,
                    tax_number=f"ATU{place:08}",
                ),
                a_contract(
                    key=f"contract/x{place}",
                    customer_id=f"x{place}",
                    tax_profile_key=f"tax/x{place}",
                ),
            ]
        )


def test_a_member_state_that_is_down_is_asked_once_in_a_look(office):
    numbers(office, 5)
    office.number_register.down["AT"] = down()
    look(office)
    asked = office.number_register.asked
    assert sum(number.startswith("AT") for number in asked) == 1
    assert {GERMAN, FRENCH} <= set(asked)


def test_a_register_that_is_down_is_left_alone_after_three_tries(office):
    numbers(office, 10)
    office.number_register.down = {
        prefix: down("SERVICE_UNAVAILABLE") for prefix in ("AT", "DE", "FR")
    }
    assert look(office).held
    assert len(office.number_register.asked) == 3


def test_what_fails_for_one_number_alone_never_keeps_the_others_waiting(office):
    numbers(office, 4)
    office.number_register.valid |= {f"ATU{place:08}" for place in range(4)}
    office.number_register.down["ATU00000000"] = down("")
    look(office)
    office.number_register.asked.clear()
    office.clock.now += timedelta(days=1)
    look(office)
    assert office.number_register.asked == ["ATU00000000"]


def test_a_look_is_bounded_and_the_next_one_goes_on(office, monkeypatch):
    numbers(office, 5)
    monkeypatch.setattr(tax_numbers, "MOST_NUMBERS", 4)
    first = look(office)
    assert first.held
    assert first.counts["tax_numbers_waiting"] == 3
    look(office)
    assert len(set(office.number_register.asked)) == 7


def test_the_number_whose_answer_ends_first_is_asked_about_first(office, monkeypatch):
    look(office)
    office.number_register.down["FR"] = down()
    office.clock.now += timedelta(days=21)
    look(office)  # France is down, so its number was tried later than it was answered
    office.clock.now += timedelta(days=1)
    numbers(office, 3)
    monkeypatch.setattr(tax_numbers, "MOST_NUMBERS", 4)
    office.number_register.down.clear()
    office.number_register.asked.clear()
    look(office)
    assert office.number_register.asked[3] == FRENCH, "after the three that nothing is known of"


def test_a_slow_register_does_not_outlast_its_look(office):
    numbers(office, 10)
    office.number_register.seconds = 90
    assert look(office).held
    assert len(office.number_register.asked) == 3  # no question begins after four minutes


# --- what a person is told -------------------------------------------------------------------------


def test_a_number_that_is_valid_no_more_holds_its_customer_at_once(office):
    look(office)
    office.number_register.valid.remove(GERMAN)
    office.clock.now += timedelta(days=21)
    look(office)
    (one,) = office.store.findings(customer_id=CUSTOMER)
    assert (one.check, one.severity) == ("tax.number_refuted", Severity.HOLD)
    office.number_register.valid.add(GERMAN)
    office.clock.now += timedelta(days=1)
    look(office)
    assert told(office) == [], "repaired at the register, nobody touched the worker"


def test_a_finding_that_stands_is_not_written_again(office):
    office.number_register.valid.remove(GERMAN)
    look(office)
    office.clock.now += timedelta(days=1)
    writes = office.written(lambda: look(office))
    assert [line for line in writes if "finding" in line] == []


def test_another_companys_number_is_told(office):
    office.number_register.names = {GERMAN: "ADVENTURE WORKS AG", FRENCH: "NORTHWIND TRADERS SA"}
    look(office)
    assert told(office) == [("tax.number_name", CUSTOMER)]


def test_the_partners_policy_gives_the_severity(office):
    office.policy = {"tax.number_name": Severity.HOLD}
    office.number_register.names = {GERMAN: "ADVENTURE WORKS AG"}
    look(office)
    assert office.store.findings()[0].severity is Severity.HOLD


def test_who_released_a_finding_stays_on_it_when_it_is_found_again(office):
    office.number_register.valid.remove(GERMAN)
    look(office)
    (found,) = office.store.findings()
    anna = {"released_by": "Anna", "released_on": TODAY, "released_reason": "registered anew"}
    office.store.save([replace(found, **anna)])
    office.clock.now += timedelta(days=1)
    look(office)
    (found,) = office.store.findings()
    assert (found.released_by, found.holds) == ("Anna", False)


def test_what_does_not_pass_by_itself_is_told_until_it_does(office):
    refused = NotAuthorised("refused", service="VIES", code="INVALID_INPUT", hint="look by hand")
    office.number_register.down["DE"] = refused
    look(office)
    assert told(office) == [("tax.number_refused", CUSTOMER)]
    assert known(office).state is NumberState.UNKNOWN
    office.number_register.down.clear()
    look(office)
    assert told(office) == []


def test_findings_of_a_customer_whose_number_is_gone_are_closed(office):
    office.number_register.valid.clear()
    look(office)
    office.store.save([a_tax_profile(key="tax/c1", treatment=TaxTreatment.BY_RULES)])
    look(office)
    assert told(office) == [("tax.number_refuted", NORTHWIND)]


def test_nothing_of_a_number_is_logged(office, caplog):
    caplog.set_level("DEBUG")
    office.number_register.down["DE"] = down()
    look(office)
    assert GERMAN not in caplog.text


# --- in the day's run ------------------------------------------------------------------------------


def test_the_daily_sync_looks_at_the_numbers(office):
    work(office, SYNC)
    run = office.store.run(SYNC.run_key)
    assert run.status is RunStatus.DONE
    assert run.counts["tax_numbers_asked"] == 2
    assert [unit.key for unit in office.store.units(SYNC.run_key) if "tax_numbers" in unit.key] == [
        "pull/tax_numbers/2026-11-09"
    ]


def test_a_sync_in_an_outage_is_done_with_holds_and_the_next_one_looks_again(office):
    office.number_register.down["DE"] = down()
    work(office, SYNC)
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE_WITH_HOLDS
    office.number_register.down.clear()
    work(office, SYNC)
    assert office.store.run(SYNC.run_key).status is RunStatus.DONE


def test_without_a_register_there_is_no_such_unit(office):
    office.number_register = None
    work(office, SYNC)
    assert not [unit for unit in office.store.units(SYNC.run_key) if "tax_numbers" in unit.key]
    assert look(office).counts == {"tax_numbers": 0}


def test_a_sync_of_one_customer_looks_at_its_number(office):
    work(office, SYNC, StartRun(kind="sync", day=TODAY + timedelta(days=1), customer_id=CUSTOMER))
    units = office.store.units(f"sync/{TODAY + timedelta(days=1)}/{CUSTOMER}")
    assert f"pull/tax_numbers/{CUSTOMER}/2026-11-10" in [unit.key for unit in units]


def test_a_month_is_billed_after_a_look_at_what_is_due(office):
    work(office, SYNC)
    office.number_register.asked.clear()
    office.clock.now += timedelta(days=21)
    work(office, BILL)
    assert office.number_register.asked == [GERMAN, FRENCH]


def test_a_crash_at_any_write_loses_no_answer_and_asks_for_none_twice(office):
    office.store.fault, office.store.fault_at = Crash(), len(office.store.writes) + 2
    with pytest.raises(Crash):
        look(office)
    office.store.fault = None
    assert len(office.store.number_checks()) == 1
    look(office)
    assert [one.state for one in office.store.number_checks()] == [NumberState.VALID] * 2
    assert office.number_register.asked == [GERMAN, FRENCH, FRENCH]
    assert office.written(lambda: look(office)) == []


def test_a_no_takes_the_customer_out_of_the_bill_until_it_is_a_yes(office):
    stated = a_tax_profile(key="tax/c1", country="DE", tax_number=GERMAN)
    office.store.save([stated])
    work(office, SYNC, BILL)
    assert "Fabrikam Toys draft" in totals(office)
    office.number_register.valid.remove(GERMAN)
    office.clock.now += timedelta(days=21)
    work(office, BILL)
    assert "Fabrikam Toys draft" not in totals(office)
    office.number_register.valid.add(GERMAN)
    office.clock.now += timedelta(days=1)
    work(office, BILL)
    assert "Fabrikam Toys draft" in totals(office)


def test_the_sync_and_the_bill_find_a_no_as_one_finding(office):
    office.store.save([a_tax_profile(key="tax/c1", country="DE", tax_number=GERMAN)])
    office.number_register.valid.remove(GERMAN)
    work(office, SYNC)
    at_once = [one for one in office.store.findings() if one.check == "tax.number_refuted"]
    assert len(at_once) == 1
    assert office.written(lambda: work(office, BILL))
    assert [one for one in office.store.findings() if one.check == "tax.number_refuted"] == at_once
    office.number_register.down["DE"] = down()
    office.clock.now += timedelta(days=3)
    work(office, StartRun(kind="sync", day=office.clock.now.date()), BILL)
    after = [one for one in office.store.findings() if one.check == "tax.number_refuted"]
    assert [one.key for one in after] == [one.key for one in at_once], "an outage is no yes either"
