"""Our client of VIES on the look-alike of it: two readings of the facts, made apart from each other."""

from __future__ import annotations

import pytest

from app.vat import valid_vat
from domain.problems import NotAuthorised, ServiceError, Throttled, Unavailable
from domain.tax import NumberState
from emulator import Emulator
from registers.form import FormRegister
from registers.vies import BUSY, DOWN, REFUSED, Vies
from tests.clients.embedded import partner_of

AUSTRIAN, GERMAN, IRISH = "ATU00000024", "DE100000008", "IE1000001MH"
NOBODYS = "ATU13585627"


@pytest.fixture
def partner(tmp_path):
    return partner_of(Emulator(scenario="partner-month"), tmp_path)


@pytest.fixture
def own(partner):
    """The partner's own number, as its register has it."""
    return partner.emulator.world.partner.vat_number


def vies(partner, **options):
    now = partner.emulator.clock.now
    form = FormRegister(valid_vat, now=now)
    return Vies(partner.http("vies"), form, now=now, **options)


def test_a_customers_number_is_valid_and_somebodys(partner):
    check = vies(partner).check("AT", AUSTRIAN)
    assert (check.state, check.source, check.name) == (
        NumberState.VALID,
        "VIES",
        "Alpine Ski House GmbH",
    )
    assert check.checked_at == partner.emulator.clock.now()
    assert check.reference == ""


def test_germany_tells_no_name(partner):
    check = vies(partner).check("DE", GERMAN)
    assert (check.state, check.name, check.address) == (NumberState.VALID, "", "")


def test_a_well_formed_number_of_nobody_is_invalid(partner):
    check = vies(partner).check("AT", NOBODYS)
    assert (check.state, check.by_register) == (NumberState.INVALID, True)


def test_who_says_who_asks_gets_a_proof(partner, own):
    register = vies(partner, requester=own)
    first, second = register.check("AT", AUSTRIAN), register.check("IE", IRISH)
    assert first.state is second.state is NumberState.VALID
    assert first.reference
    assert first.reference != second.reference


def test_who_is_not_registered_gets_no_answer(partner):
    with pytest.raises(NotAuthorised) as caught:
        vies(partner, requester=NOBODYS).check("AT", AUSTRIAN)
    assert caught.value.code == "INVALID_REQUESTER_INFO"
    assert "CSP_TAX_REQUESTER" in caught.value.hint


@pytest.mark.parametrize("asker", [False, True])
@pytest.mark.parametrize(
    "code",
    sorted(
        {*BUSY, *DOWN, *REFUSED} - {"GLOBAL_MAX_CONCURRENT_REQ_TIME", "MS_MAX_CONCURRENT_REQ_TIME"}
    ),
)
def test_trouble_is_told_and_never_a_no(partner, own, code, asker):
    partner.emulator.vies.fail(code, state="AT")
    register = vies(partner, requester=own if asker else "")
    with pytest.raises(ServiceError) as caught:
        register.check("AT", AUSTRIAN)
    kind = NotAuthorised if code in REFUSED else Throttled if code in BUSY else Unavailable
    assert isinstance(caught.value, kind)
    assert caught.value.code == code
    assert register.check("DE", GERMAN).state is NumberState.VALID


def test_a_short_trouble_is_waited_out(partner):
    partner.emulator.vies.fail("MS_MAX_CONCURRENT_REQ", state="AT", count=2)
    assert vies(partner).check("AT", AUSTRIAN).state is NumberState.VALID
    assert partner.waits == [2.0, 4.0]


def test_a_number_comes_and_goes(partner):
    register, machine = vies(partner), partner.emulator.vies
    machine.deregister(AUSTRIAN)
    assert register.check("AT", AUSTRIAN).state is NumberState.INVALID
    machine.register(AUSTRIAN, "Alpine Ski House GmbH")
    assert register.check("AT", AUSTRIAN).state is NumberState.VALID


def test_it_is_reached(partner):
    vies(partner).reach()
    partner.emulator.vies.fail("SERVICE_UNAVAILABLE")
    with pytest.raises(Unavailable):
        vies(partner).reach()
