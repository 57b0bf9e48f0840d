"""Tax numbers through the whole product: emulated VIES, wiring, Dataverse, findings."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.settings import Settings
from app.wiring import opened
from domain.tax import FORM_ONLY, NumberState
from sync import tax_numbers

AUSTRIAN = "ATU00000024"


def look(worker):
    return tax_numbers.work(worker.ports, worker.today())


def known(worker, number=AUSTRIAN):
    return next(one for one in worker.store.number_checks() if one.number == number)


@pytest.fixture
def month(copy):
    """The demo's month, three weeks later."""
    with opened(Settings.from_env({"CSP_STATE_DIR": str(copy)})) as worker:
        worker.systems.emulator.clock.advance(timedelta(days=21))
        yield worker


def refuted(worker):
    checks = {check.number: check for check in worker.store.number_checks()}
    return [
        (one.record, one.holds)
        for one in worker.store.findings()
        if one.check == REFUTED
        and one.record.removeprefix("tax number ") in checks
        and MISTYPED not in one.record
    ]


REFUTED = "tax.number_refuted"
MISTYPED = "ESB00000026"
"""One that the demo's finance team mistyped."""


def test_the_demos_numbers_were_asked_about_on_the_day_of_its_sync(demo):
    with opened(Settings.from_env({"CSP_STATE_DIR": str(demo.state)})) as worker:
        checks = worker.store.number_checks()
    by_register = [one for one in checks if one.by_register]
    assert len(by_register) >= 8
    refused = {one.number for one in by_register if one.state is not NumberState.VALID}
    assert refused == {MISTYPED}
    assert known_name(by_register) == "Alpine Ski House GmbH"
    assert all(one.source == FORM_ONLY for one in checks if one.country == "GB")


def known_name(checks):
    return next(one.name for one in checks if one.number == AUSTRIAN)


def test_a_number_that_is_struck_off_holds_its_customer_until_it_is_registered_again(month):
    vies = month.systems.emulator.vies
    vies.deregister(AUSTRIAN)
    look(month)
    assert refuted(month) == [(f"tax number {AUSTRIAN}", True)]
    assert known(month).state is NumberState.INVALID
    vies.register(AUSTRIAN, "Alpine Ski House GmbH")
    month.systems.emulator.clock.advance(timedelta(days=1))
    look(month)
    assert refuted(month) == []
    assert known(month).state is NumberState.VALID


def test_an_outage_of_vies_changes_nothing_but_the_note_of_it(month):
    before = known(month)
    month.systems.emulator.vies.fail("SERVICE_UNAVAILABLE")
    look(month)
    after = [one for one in month.store.number_checks() if one.failed_at is not None]
    assert len(after) == tax_numbers.STRIKES
    assert known(month).state is before.state
    assert known(month).checked_at == before.checked_at
    assert refuted(month) == []
    month.systems.emulator.vies.recover()
    look(month)
    assert all(one.failed_at is None for one in month.store.number_checks())


def test_a_look_that_comes_again_writes_nothing(month):
    look(month)
    again = look(month)
    assert again.counts["tax_numbers_asked"] == again.counts["written"] == 0


def test_with_a_number_of_our_own_the_proof_is_kept(copy):
    variables = {"CSP_STATE_DIR": str(copy)}
    with opened(Settings.from_env(variables)) as worker:
        own = worker.systems.emulator.world.partner.vat_number
    with opened(Settings.from_env(variables | {"CSP_TAX_REQUESTER": own})) as worker:
        worker.systems.emulator.clock.advance(timedelta(days=21))
        look(worker)
        assert known(worker).reference.startswith("WAPI")


def test_offline_nobody_is_asked(copy):
    settings = Settings.from_env({"CSP_STATE_DIR": str(copy), "CSP_TAX_REGISTER": "offline"})
    with opened(settings) as worker:
        worker.systems.emulator.clock.advance(timedelta(days=21))
        look(worker)
        assert known(worker).source == "VIES", "what a register said stays while it counts"
        worker.systems.emulator.clock.advance(timedelta(days=10))
        look(worker)
        assert known(worker).source == FORM_ONLY
        inquiries = [
            one for one in worker.systems.emulator.control.requests() if one["system"] == "vies"
        ]
        assert inquiries == []
