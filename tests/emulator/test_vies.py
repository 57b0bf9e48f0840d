"""The register of VAT numbers: who is in it, what it tells, and what may go wrong with it."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum.eu import vat

from emulator import Emulator, serve
from emulator.vies import CODES, MEMBER_STATES
from emulator.world import PARTNER, build_world
from tests.emulator.conftest import Desk
from tests.emulator.test_webhooks import CONTROL

HOST = "https://ec.europa.eu/taxation_customs/vies/rest-api"
ALPINE = ("AT", "U00000024")
NOBODY = ("AT", "U00000033")


@pytest.fixture(scope="module")
def open_month():
    with closing(Emulator()) as emulated:
        yield Desk(emulated)


@pytest.fixture
def desk(open_month):
    open_month.control.reset()
    return open_month


def get(desk, state, number):
    answer = desk.session.get(f"{HOST}/ms/{state}/vat/{number}")
    assert answer.status_code == 200
    return answer.json()


def post(desk, state, number, asker="", **more):
    body = {"countryCode": state, "vatNumber": number} | more
    if asker:
        body |= {"requesterMemberStateCode": asker[:2], "requesterNumber": asker[2:]}
    answer = desk.session.post(f"{HOST}/check-vat-number", json=body)
    assert answer.status_code == 200
    return answer.json()


def fail(desk, **trouble):
    desk.session.post(f"{CONTROL}/vies", json=trouble).raise_for_status()


def code_of(answer):
    """The code of either form of answer."""
    if "errorWrappers" in answer:
        assert answer["actionSucceed"] is False
        return answer["errorWrappers"][0]["error"]
    if "valid" in answer:
        return "VALID" if answer["valid"] else "INVALID"
    assert answer["isValid"] is (answer["userError"] == "VALID")
    return answer["userError"]


def test_a_customers_number_is_known_with_its_name(desk):
    found = get(desk, *ALPINE)
    assert found["isValid"] is True
    assert found["userError"] == "VALID"
    assert found["name"] == "Alpine Ski House GmbH"
    assert found["address"] == "Beispielgasse 3\n6020 Innsbruck"
    assert found["requestDate"] == "2026-11-09T06:00:00.000Z"
    desk.clock.advance(timedelta(days=1))
    assert get(desk, *ALPINE)["requestDate"].startswith("2026-11-10")


def test_a_number_that_nobody_has_is_not_valid(desk):
    assert vat.is_valid("".join(NOBODY))
    found = get(desk, *NOBODY)
    assert (found["isValid"], found["userError"], found["name"]) == (False, "INVALID", "---")


def test_every_number_of_the_month_is_well_formed_and_registered(desk):
    numbers = desk.emulator.world.vat_register()
    assert len(numbers) == 10
    for number in numbers:
        assert vat.is_valid(number)
        assert get(desk, number[:2], number[2:])["isValid"] is True


def test_germany_and_spain_tell_no_names(desk):
    for state, number in (("DE", "100000008"), ("ES", "B00000018")):
        found = get(desk, state, number)
        assert (found["isValid"], found["name"], found["address"]) == (True, "---", "---")


@pytest.mark.parametrize(
    ("state", "number"),
    [
        ("GB", "000000031"),
        ("GR", "094259216"),
        ("US", "1"),
        ("at", "U00000024"),
        ("AT", "U-1"),
        ("AT", "U"),
    ],
)
def test_what_is_no_number_of_a_member_state(desk, state, number):
    assert get(desk, state, number)["userError"] == "INVALID_INPUT"
    assert code_of(post(desk, state, number)) == "INVALID_INPUT"


def test_an_inquiry_with_ones_own_number_has_an_identifier(desk):
    answers = [post(desk, *ALPINE, asker=PARTNER.vat_number) for _ in range(2)]
    first, second = answers
    assert first["valid"] is True
    assert (first["countryCode"], first["vatNumber"]) == ALPINE
    assert first["requestIdentifier"].startswith("WAPI")
    assert len(first["requestIdentifier"]) == 16
    assert first["requestIdentifier"] != second["requestIdentifier"]
    refused = post(desk, *NOBODY, asker=PARTNER.vat_number)
    assert refused["valid"] is False
    assert refused["requestIdentifier"]


def test_without_an_asker_there_is_no_identifier(desk):
    assert post(desk, *ALPINE)["requestIdentifier"] == ""
    assert get(desk, *ALPINE)["requestIdentifier"] == ""


@pytest.mark.parametrize("asker", ["ATU00000033", "US123456789"])
def test_an_asker_must_be_registered_itself(desk, asker):
    assert code_of(post(desk, *ALPINE, asker=asker)) == "INVALID_REQUESTER_INFO"


def test_half_an_asker_is_none(desk):
    answer = post(desk, *ALPINE, requesterMemberStateCode="BE")
    assert code_of(answer) == "INVALID_REQUESTER_INFO"


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"{}"])
def test_bodies_that_say_nothing(desk, body):
    answer = desk.session.post(f"{HOST}/check-vat-number", data=body)
    assert code_of(answer.json()) == "INVALID_INPUT"


@pytest.mark.parametrize("code", CODES)
def test_trouble_is_never_an_answer_about_the_number(desk, code):
    fail(desk, code=code)
    for answer in (get(desk, *ALPINE), post(desk, *ALPINE), get(desk, *NOBODY)):
        assert code_of(answer) == code
    desk.session.delete(f"{CONTROL}/vies").raise_for_status()
    assert get(desk, *ALPINE)["isValid"] is True


def test_one_member_state_may_be_down(desk):
    fail(desk, code="MS_UNAVAILABLE", state="FR")
    assert get(desk, "FR", "00000000190")["userError"] == "MS_UNAVAILABLE"
    assert get(desk, *ALPINE)["userError"] == "VALID"


def test_one_number_may_time_out_twice(desk):
    fail(desk, code="TIMEOUT", number="ATU00000024", count=2)
    assert get(desk, *NOBODY)["userError"] == "INVALID"
    assert [get(desk, *ALPINE)["userError"] for _ in range(3)] == ["TIMEOUT", "TIMEOUT", "VALID"]


def test_too_many_at_once_for_a_while(desk):
    fail(desk, code="GLOBAL_MAX_CONCURRENT_REQ", count=1)
    assert code_of(post(desk, *ALPINE)) == "GLOBAL_MAX_CONCURRENT_REQ"
    assert code_of(post(desk, *ALPINE)) == "VALID"


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ({"code": "TIRED"}, "code must be one of INVALID_INPUT"),
        ({"code": "TIMEOUT", "state": "GB"}, "GB is not a prefix"),
        ({"code": "TIMEOUT", "count": -1}, "zero or more"),
    ],
)
def test_trouble_that_makes_no_sense(desk, trouble, sentence):
    refused = desk.session.post(f"{CONTROL}/vies", json=trouble)
    assert refused.status_code == 400
    assert sentence in refused.json()["error"]


def test_numbers_come_and_go(desk):
    def act(what, **details):
        return desk.session.post(f"{CONTROL}/act", json={"what": what, **details})

    act("deregister_vat_number", number="ATU00000024").raise_for_status()
    assert get(desk, *ALPINE)["userError"] == "INVALID"
    act("register_vat_number", number="ATU00000033", name="Neu GmbH").raise_for_status()
    found = get(desk, *NOBODY)
    assert (found["isValid"], found["name"], found["address"]) == (True, "Neu GmbH", "---")
    assert "not a prefix" in act("register_vat_number", number="GB1").json()["error"]
    desk.control.reset()
    assert get(desk, *ALPINE)["userError"] == "VALID"
    assert get(desk, *NOBODY)["userError"] == "INVALID"


def test_the_host_has_nothing_else(desk):
    assert desk.session.get(HOST).status_code == 404
    assert desk.session.put(f"{HOST}/check-vat-number").status_code == 405


def test_the_gateway_can_fail_like_every_host(desk):
    desk.control.fail_next("vies", status=503)
    assert desk.session.get(f"{HOST}/ms/AT/vat/U00000024").status_code == 503
    assert get(desk, *ALPINE)["isValid"] is True


def test_on_loopback_it_is_a_path_of_its_port():
    import requests

    with closing(Emulator(scenario="small")) as emulated, serve(emulated):
        host = emulated.base_urls["vies"]
        assert host.endswith("/taxation_customs/vies/rest-api")
        assert requests.get(f"{host}/ms/AT/vat/U00000024", timeout=5).json()["isValid"] is True


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(min_value=0, max_value=10_000))
def test_who_is_registered_does_not_depend_on_the_seed(seed):
    numbers = build_world(seed=seed, scenario="small").vat_register()
    assert numbers.keys() == {PARTNER.vat_number, *PARTNER.other_vat_numbers, "ATU00000024"}
    assert {number[:2] for number in numbers} <= MEMBER_STATES
