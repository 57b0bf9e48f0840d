"""VIES: an answer is one only where it says VALID or INVALID; everything else is nobody's fault."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.vat import valid_vat
from domain.problems import NotAuthorised, ServiceError, Throttled, Unavailable
from domain.tax import FORM_ONLY, NumberState, printed_number
from registers.form import FormRegister
from registers.vies import ANSWER_BYTES, BUSY, DOWN, MEMBER_STATES, REFUSED, Vies
from transport.mounts import mount_wsgi, new_session
from transport.session import Http, Patience

URL = "https://vies.example/rest-api"
NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
GERMAN = "DE136695976"


@dataclass
class Register:
    """VIES as the facts have it: each answer is what the test said, in order; the last one stays."""

    answers: list[Any] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read()
        path = environ["REQUEST_URI"].removeprefix("/rest-api")
        self.asked.append((environ["REQUEST_METHOD"], path, json.loads(body) if body else None))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        start_response(f"{status} Said", [("Content-Type", "application/json"), *self.headers])
        return [raw]


@dataclass
class Desk:
    register: Register
    waits: list[float]
    vies: Vies

    def ask(self, number=GERMAN, country="DE"):
        return self.vies.check(country, number)


def a_desk(*answers: Any, **options: Any) -> Desk:
    register, waits = Register(list(answers)), []
    session = new_session()
    mount_wsgi(session, {URL: register})
    http = Http(
        URL,
        service="VIES",
        session=session,
        patience=Patience(seconds=60),
        sleep=waits.append,
        jitter=lambda: 0.0,
        now=lambda: NOW,
    )
    form = FormRegister(valid_vat, now=lambda: NOW)
    return Desk(register, waits, Vies(http, form, now=lambda: NOW, **options))


def said(valid: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "isValid": valid,
        "requestDate": "2026-11-23T06:00:00.000Z",
        "userError": "VALID" if valid else "INVALID",
        "name": "---",
        "address": "---",
        **more,
    }


# --- answers ---------------------------------------------------------------------------------------


def test_a_valid_number_comes_with_whose_it_is_and_when_that_was_said():
    desk = a_desk(said(name="SPARKASSE X", address="HAUPTSTR. 1\n\n 10115   BERLIN \n"))
    check = desk.ask()
    assert (check.state, check.source, check.checked_at) == (NumberState.VALID, "VIES", NOW)
    assert (check.name, check.address) == ("SPARKASSE X", "HAUPTSTR. 1\n10115 BERLIN")
    assert check.key == "taxnumber/DE/DE136695976"
    assert desk.register.asked == [("GET", "/ms/DE/vat/136695976", None)]


def test_a_number_that_nobody_has_is_invalid():
    assert a_desk(said(False)).ask().state is NumberState.INVALID


def test_the_dashes_of_states_that_do_not_tell_are_nothing():
    check = a_desk(said()).ask()
    assert (check.name, check.address) == ("", "")


def test_with_a_number_of_our_own_the_inquiry_is_numbered():
    answer = {
        "countryCode": "DE",
        "vatNumber": "136695976",
        "valid": True,
        "requestIdentifier": "WAPIAAAAYb0Xk3h7",
    }
    desk = a_desk(answer, requester="atu 135.856.27", requester_path="/asked")
    assert desk.ask().reference == "WAPIAAAAYb0Xk3h7"
    body = {
        "countryCode": "DE",
        "vatNumber": "136695976",
        "requesterMemberStateCode": "AT",
        "requesterNumber": "U13585627",
    }
    assert desk.register.asked == [("POST", "/asked", body)]


@pytest.mark.parametrize(
    ("country", "number", "path"),
    [
        ("GR", "EL094259216", "/ms/EL/vat/094259216"),
        ("GR", "GR 094 259 216", "/ms/EL/vat/094259216"),
        ("GB", "XI980780684", "/ms/XI/vat/980780684"),
        ("IE", "IE6388047V", "/ms/IE/vat/6388047V"),
        ("IE", "IE8D79739I", "/ms/IE/vat/8D79739I"),
        ("IE", "IE 8+79739 I", "/ms/IE/vat/8+79739I"),
        ("FR", "FR53901821074", "/ms/FR/vat/53901821074"),
        ("ES", "ESA28017895", "/ms/ES/vat/A28017895"),
        ("AT", "ATU13585627", "/ms/AT/vat/U13585627"),
    ],
)
def test_a_number_is_asked_for_at_the_state_of_its_prefix(country, number, path):
    desk = a_desk(said())
    printed = printed_number(number)
    assert desk.vies.source(country, printed) == "VIES"
    assert desk.ask(printed, country).state is NumberState.VALID
    assert unquote(desk.register.asked[0][1]) == path


@pytest.mark.parametrize(
    ("country", "number", "state"),
    [
        ("DE", "DE136695977", NumberState.INVALID),
        ("DE", "FR53901821074", NumberState.INVALID),
        ("GB", "GB980780684", NumberState.VALID),
        ("CH", "CHE100155212MWST", NumberState.VALID),
        ("NO", "NO995525828MVA", NumberState.VALID),
        ("US", "123456789", NumberState.UNKNOWN),
        ("US", "DE136695976", NumberState.UNKNOWN),
    ],
)
def test_others_are_judged_by_their_form_and_nothing_leaves(country, number, state):
    desk = a_desk(said())
    check = desk.ask(number, country)
    assert (check.state, check.source) == (state, FORM_ONLY)
    assert (check.checked_at is None) == (state is NumberState.UNKNOWN)
    assert not check.by_register
    assert desk.register.asked == []


# --- no answer is never an invalid number ----------------------------------------------------------


@pytest.mark.parametrize("shape", ["beside", "wrapped", "refused"])
@pytest.mark.parametrize("code", sorted({*BUSY, *DOWN, *REFUSED, "SOMETHING_NEW"}))
def test_a_code_is_told_with_its_kind_in_whatever_form_it_comes(code, shape):
    wrapped = {"actionSucceed": False, "errorWrappers": [{"error": code}]}
    answer = {"beside": said(False, userError=code), "wrapped": wrapped, "refused": (400, wrapped)}
    with pytest.raises(ServiceError) as caught:
        a_desk(answer[shape]).ask()
    assert caught.value.code == code
    if code in REFUSED:
        assert isinstance(caught.value, NotAuthorised)
        assert caught.value.hint
    elif shape != "refused":
        assert isinstance(caught.value, Throttled if code in BUSY else Unavailable)


@pytest.mark.parametrize("code", sorted(BUSY | DOWN))
def test_what_passes_by_itself_is_asked_again_with_pauses(code):
    desk = a_desk(said(False, userError=code), said(False, userError=code), said())
    assert desk.ask().state is NumberState.VALID
    assert desk.waits == [2.0, 4.0]


@pytest.mark.parametrize("code", sorted(REFUSED))
def test_what_a_person_must_see_to_is_asked_once(code):
    desk = a_desk(said(False, userError=code))
    with pytest.raises(NotAuthorised):
        desk.ask()
    assert len(desk.register.asked) == 1
    assert desk.waits == []


def test_patience_ends_after_three_tries():
    desk = a_desk(said(False, userError="MS_UNAVAILABLE"))
    with pytest.raises(Unavailable):
        desk.ask()
    assert len(desk.register.asked) == 3


def test_a_register_that_wants_minutes_is_left_for_the_next_look():
    busy = json.dumps({"errorWrappers": [{"error": "GLOBAL_MAX_CONCURRENT_REQ"}]}).encode()
    desk = a_desk((429, busy))
    desk.register.headers = [("Retry-After", "120")]
    with pytest.raises(Throttled) as caught:
        desk.ask()
    assert (caught.value.retry_after, desk.waits) == (120.0, [])


def test_a_time_out_is_not_asked_again():
    desk = a_desk(TimeoutError("no answer"))
    with pytest.raises(Unavailable):
        desk.ask()
    assert len(desk.register.asked) == 1


GARBAGE = {
    "nothing": b"",
    "a page": b"<html><title>Maintenance</title></html>",
    "a list": [],
    "a text": "valid",
    "no verdict": {"requestDate": "2026-11-23"},
    "a verdict that is none": {"isValid": "true"},
    "a number for a verdict": {"isValid": 1},
    "a code without its word": {"userError": "INVALID"},
    "a word against its code": {"isValid": True, "userError": "INVALID"},
    "two words": {"isValid": True, "valid": False},
    "another number": said(False, vatNumber="999999999"),
    "another country": said(False, countryCode="FR"),
    "an error that is none": {"errorWrappers": [{}], "isValid": False},
    "no success": {"actionSucceed": False, "isValid": False},
    "no success in words": {"actionSucceed": "false", "isValid": False, "userError": "INVALID"},
    "a no without its code": {"isValid": False},
    "a no beside an error": {"isValid": False, "error": "MS_UNAVAILABLE"},
    "a number that is no text": said(True, vatNumber=999999999),
    "dashes for the number": said(True, vatNumber="---"),
    "another number as it was asked": said(True, originalVatNumber="999999999"),
    "a way to elsewhere": (302, said(True)),
    "too deep": b"[" * 60_000,
    "too much": b'{"isValid": false, "name": "' + b"x" * ANSWER_BYTES + b'"}',
    "half of it": b'{"isValid": fal',
    "a gateway": (503, b"<html></html>"),
    "an older address": (404, {"message": "no such page"}),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_what_cannot_be_read_is_no_answer(what):
    with pytest.raises(ServiceError):
        a_desk(GARBAGE[what]).ask()


@given(
    st.dictionaries(
        st.sampled_from(["isValid", "valid", "userError", "name", "vatNumber", "errorWrappers"]),
        st.one_of(
            st.booleans(),
            st.none(),
            st.sampled_from(["VALID", "INVALID", "MS_UNAVAILABLE", "136695976", "DE136695976"]),
            st.lists(st.dictionaries(st.just("error"), st.text(max_size=5)), max_size=2),
        ),
    )
)
def test_only_a_clear_no_makes_a_number_invalid(answer):
    try:
        check = a_desk(answer).ask()
    except ServiceError:
        return
    words = {answer[name] for name in ("isValid", "valid") if isinstance(answer.get(name), bool)}
    assert words == {check.state is NumberState.VALID}
    assert answer.get("userError") not in {"VALID": ["INVALID"], "INVALID": ["VALID"]}.get(
        check.state.name, []
    )
    assert answer.get("userError") != "MS_UNAVAILABLE"
    assert not answer.get("errorWrappers")


def test_long_texts_are_cut():
    check = a_desk(said(name="x" * 5000, address="y" * 5000)).ask()
    assert (len(check.name), len(check.address)) == (300, 1000)


def test_every_prefix_is_a_member_states():
    from stdnum.eu.vat import MEMBER_STATES as known  # noqa: N811

    assert {one.lower() for one in MEMBER_STATES} == {"el" if one == "gr" else one for one in known}


# --- does it answer? -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        said(False),
        said(False, userError="INVALID_INPUT"),
        said(False, userError="MS_UNAVAILABLE"),
        said(False, userError="MS_MAX_CONCURRENT_REQ"),
    ],
)
def test_vies_is_reached_where_it_answers_whatever_it_says(answer):
    desk = a_desk(answer)
    desk.vies.reach()
    assert desk.register.asked[0][1] == "/ms/EL/vat/000000000"


@pytest.mark.parametrize(
    "answer",
    [
        said(False, userError="IP_BLOCKED"),
        said(False, userError="SERVICE_UNAVAILABLE"),
        ConnectionRefusedError(111, "Connection refused"),
        b"<html>",
    ],
)
def test_vies_is_not_reached_where_it_does_not(answer):
    with pytest.raises(ServiceError):
        a_desk(answer).vies.reach()


def test_it_is_asked_about_our_own_number_where_there_is_one():
    desk = a_desk(said(), requester="ATU13585627")
    desk.vies.reach()
    assert desk.register.asked == [("GET", "/ms/AT/vat/U13585627", None)]


def test_a_number_is_not_in_the_log_of_requests(caplog):
    with caplog.at_level("DEBUG"):
        a_desk({"isValid": True, "userError": "VALID", "vatNumber": "136695976"}).ask()
    assert "/ms/DE/vat/..." in caplog.text
    assert "136695976" not in caplog.text
