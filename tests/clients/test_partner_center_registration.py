"""Where Partner Center posts its events: registered once, changed when it differs, and tried."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from domain.problems import InputError, NotAuthorised, ServiceError
from emulator import Emulator
from partner_center.client import PARTNER_CENTER_SCOPE
from partner_center.registration import Registered, WebhookRegistration
from sync.notices import UNDERSTOOD
from tests.clients.embedded import partner_of

PUBLISHED = Path(__file__).resolve().parents[1] / "published"
HERE = "https://worker.example/api/partner-center-events?code=s3cret"
PATH = "/webhooks/v1/registration"


@cache
def contract():
    path = PUBLISHED / "contracts/partner-center-webhooks.swagger.json"
    return json.loads(path.read_text(encoding="utf-8"))


class Recorded:
    """The client's HTTP, which notes every request."""

    def __init__(self, http):
        self.http = http
        self.service = http.service
        self.sent = []

    def request(self, method, path, **options):
        self.sent.append((method, path, options.get("headers", {}), options.get("json")))
        return self.http.request(method, path, **options)

    @property
    def methods(self):
        return [method for method, *_ in self.sent]


@pytest.fixture
def partner(tmp_path):
    made = Emulator(seed=1, scenario="small")
    yield partner_of(made, tmp_path)
    made.close()


@pytest.fixture
def http(partner):
    return Recorded(partner.http("partner_center", scope=PARTNER_CENTER_SCOPE))


@pytest.fixture
def client(partner, http):
    return WebhookRegistration(http, partner.user)


def test_nothing_is_registered_at_first(client):
    assert client.current() is None


def test_what_is_understood_and_offered_is_registered(client, partner):
    now, changed = client.register(HERE, UNDERSTOOD)
    assert changed
    assert (now.url, now.own_header) == (HERE, True)
    assert {name.lower() for name in now.events} == set(UNDERSTOOD)
    assert client.current() == now
    assert partner.emulator.webhooks.registration.to_ms_signature


def test_registering_again_writes_nothing(client, http):
    client.register(HERE, UNDERSTOOD)
    http.sent.clear()
    _, changed = client.register(HERE, UNDERSTOOD)
    assert not changed
    assert http.methods == ["GET", "GET"]


@pytest.mark.parametrize(
    ("url", "events"),
    [(HERE.replace("s3cret", "rotated"), UNDERSTOOD), (HERE, ("invoice-ready",))],
)
def test_another_address_or_other_events_change_the_registration(client, http, url, events):
    client.register(HERE, UNDERSTOOD)
    http.sent.clear()
    now, changed = client.register(url, events)
    assert changed
    assert http.methods == ["GET", "GET", "PUT"]
    assert (now.url, len(now.events)) == (url, len(events))


def test_a_signature_in_the_other_header_is_asked_to_move(client, partner):
    body = {"WebhookUrl": HERE, "WebhookEvents": ["invoice-ready"]}
    partner.http("partner_center", scope=PARTNER_CENTER_SCOPE).request(
        "POST", PATH, json=body, tokens=partner.user
    )
    now, changed = client.register(HERE, ["invoice-ready"])
    assert changed
    assert now.own_header


def test_a_registration_that_somebody_made_meanwhile_is_replaced(client, http):
    client.register("https://other.example/hook", UNDERSTOOD)
    client.current = lambda: None
    now, _ = client.register(HERE, UNDERSTOOD)
    assert now.url == HERE
    assert http.methods[-2:] == ["POST", "PUT"]


@pytest.mark.parametrize("form", ["camel", "pascal", "contract"])
def test_every_published_form_of_the_answers_is_read(client, partner, form):
    partner.emulator.control.change(webhook_answers=form)
    now, _ = client.register(HERE, UNDERSTOOD)
    assert client.current() == now
    correlation = client.test()
    partner.emulator.webhooks.catch_up()
    assert client.result(correlation).status


def test_requests_meet_the_published_contract(client, http):
    client.register(HERE, UNDERSTOOD)
    client.register(HERE, ["test-created"])
    client.result(client.test())
    paths = contract()["paths"]
    schema = contract()["definitions"]["WebhookRegistration"]
    properties = {name.lower(): name for name in schema["properties"]}
    check = Draft202012Validator(
        {**schema, "definitions": contract()["definitions"], "additionalProperties": False}
    )
    for method, path, headers, body in http.sent:
        template = path.removeprefix("/webhooks").replace("/v1/", "/v{version}/", 1)
        if "/validationEvents/" in template:
            template = f"{template.rpartition('/')[0]}/{{correlationId}}"
        operation = paths[template][method.lower()]
        named = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
        assert named <= {name.lower() for name in headers}
        wants_body = any(one["in"] == "body" for one in operation["parameters"])
        assert wants_body == (body is not None)
        if body is not None:
            check.validate({properties[name.lower()]: value for name, value in body.items()})
    sample = PUBLISHED / "samples/webhooks/partner-center-webhooks.d2111.request.4.json"
    assert set(json.loads(sample.read_text())) < set(http.sent[2][3])


def test_each_request_has_an_id_of_its_own(client, http):
    client.events()
    client.events()
    first, second = (headers["MS-RequestId"] for _, _, headers, _ in http.sent)
    assert first != second


@pytest.mark.parametrize(
    "url",
    [
        "http://worker.example/api/partner-center-events",
        "worker.example",
        "",
        "ftp://worker.example/",
        "https://ana:pw@worker.example/",
        "https://worker.example/#top",
        "https://[::1",
    ],
)
def test_an_address_that_cannot_be_called_is_refused_before_anything_is_asked(client, http, url):
    with pytest.raises(InputError) as caught:
        client.register(url, UNDERSTOOD)
    assert "/api/partner-center-events" in caught.value.hint
    assert http.sent == []


def test_the_key_in_an_address_is_not_shown():
    assert Registered(url=HERE, events=()).place == HERE.partition("?")[0]


# --- a test event -------------------------------------------------------------------------------------


def trial(client, partner, status):
    def hear(url, headers, body):
        if status is None:
            raise ConnectionRefusedError("nobody is there")
        return status

    partner.emulator.webhooks.receivers["https://worker.example/"] = hear
    client.register(HERE, UNDERSTOOD)
    correlation = client.test()
    partner.emulator.webhooks.catch_up()
    return client.result(correlation)


@pytest.mark.parametrize(
    ("status", "taken"), [(200, True), (202, True), (401, False), (503, False)]
)
def test_how_the_receiver_answered_is_told(client, partner, status, taken):
    found = trial(client, partner, status)
    assert [one.taken for one in found.attempts] == [taken]
    assert not found.attempts[0].system_error


def test_a_receiver_that_is_not_there_is_told(client, partner):
    found = trial(client, partner, None)
    (attempt,) = found.attempts
    assert not attempt.taken
    assert "nobody is there" in attempt.message


def test_a_result_that_nobody_asked_for_is_not_there(client):
    with pytest.raises(ServiceError):
        client.result("2c6a0001-1111-4b22-8c33-9d44aa550001")


def test_a_third_test_within_a_minute_waits_as_long_as_it_is_told(client, partner):
    client.register(HERE, UNDERSTOOD)
    partner.waits.clear()
    http = partner.http("partner_center", scope=PARTNER_CENTER_SCOPE)
    http.sleep = lambda seconds: partner.emulator.clock.advance(timedelta(seconds=seconds))
    patient = WebhookRegistration(http, partner.user)
    assert len({patient.test() for _ in range(3)}) == 3


@pytest.mark.parametrize("content", [b'"text"', b"{}", b"[1]", b"null", b"<html>"])
def test_an_answer_in_an_unknown_form_is_a_fault_of_the_service(content):
    from transport.session import Answer

    class Strange:
        service = "Partner Center"

        def request(self, *_, **__):
            return Answer(200, {}, content, PATH, "Partner Center")

    client = WebhookRegistration(Strange(), None)
    with pytest.raises(ServiceError):
        client.events()
    if content != b'"text"':
        with pytest.raises(ServiceError):
            client.test()
    with pytest.raises(ServiceError):
        client.current()


def test_who_may_not_register_is_told(client, partner):
    partner.emulator.control.fail_next("partner_center", status=403)
    with pytest.raises(NotAuthorised):
        client.current()
