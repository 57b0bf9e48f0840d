"""Webhooks of Partner Center: registration, signed events, attempts by the clock, forgeries."""

from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from jsonschema import Draft202012Validator

from emulator import Emulator, serve
from emulator.webhooks import EVENTS, SPOILS
from emulator.world import NOW

PUBLISHED = Path(__file__).resolve().parents[1] / "published"
REGISTRATION = "/webhooks/v1/registration"
CALLBACK = "https://worker.example/api/partner-center-events"
CONTROL = "https://control.emulator.invalid/_emulator"
BODY = {"WebhookUrl": CALLBACK, "WebhookEvents": list(EVENTS)}


def sample(name):
    return json.loads((PUBLISHED / "samples/webhooks" / name).read_text(encoding="utf-8"))


@cache
def validator(definition):
    path = PUBLISHED / "contracts/partner-center-webhooks.swagger.json"
    contract = json.loads(path.read_text(encoding="utf-8"))
    return Draft202012Validator(
        {"definitions": contract["definitions"], "$ref": f"#/definitions/{definition}"}
    )


def check(answer, definition):
    """An answer meets the published contract and has no property that the contract lacks."""
    schema = validator(definition)
    schema.validate(answer)
    assert answer.keys() <= schema.schema["definitions"][definition]["properties"].keys()


class Worker:
    """A receiver in the emulator's process."""

    def __init__(self, desk, status=200):
        self.desk = desk
        self.status = status
        self.heard = []
        desk.emulator.webhooks.receivers["https://worker.example/"] = self.hear

    def hear(self, url, headers, body):
        assert url == CALLBACK
        self.heard.append((headers, body))
        if self.status == 0:
            raise ConnectionRefusedError("nobody is there")
        return self.status

    @property
    def events(self):
        return [json.loads(body) for _, body in self.heard]

    @property
    def names(self):
        return [event["EventName"] for event in self.events]


@pytest.fixture
def worker(small):
    return Worker(small)


def register(desk, **changes):
    answer = desk.pc(REGISTRATION, "POST", json=BODY | changes)
    assert answer.status_code == 200, answer.text
    return answer.json()


def change_seats(desk, name="Office seats", by=1):
    """Write to a subscription; its customer and itself."""
    for customer in desk.emulator.world.customers():
        for row in desk.emulator.world.subscriptions(customer["id"]):
            if row["friendlyName"] == name:
                path = f"/v1/customers/{customer['id']}/subscriptions/{row['id']}"
                changed = row | {"quantity": row["quantity"] + by}
                answer = desk.pc(path, "PATCH", json=changed)
                assert answer.status_code == 200, answer.text
                return path
    raise AssertionError(name)


# --- registration --------------------------------------------------------------------------------


def test_the_events_are_a_list_of_names_that_holds_the_published_ones(small):
    names = small.pc(f"{REGISTRATION}/events").json()
    assert set(sample("partner-center-webhooks.d2111.response-200.3.json")) <= set(names)
    for path in (PUBLISHED / "samples/webhooks").glob("event-*.json"):
        assert sample(path.name)["EventName"] in names


@pytest.mark.parametrize("app", [True, False])
def test_a_registration_is_made_read_and_changed(small, app):
    assert small.pc(REGISTRATION, app=app).status_code == 404
    body = sample("partner-center-webhooks.d2111.request.4.json") | {"WebhookUrl": CALLBACK}
    made = small.pc(REGISTRATION, "POST", app=app, json=body).json()
    check(made, "WebhookRegistration")
    published = sample("partner-center-webhooks.d2111.response-200.5.json")
    assert {name.lower() for name in published} <= {name.lower() for name in made}
    assert (made["webhookUrl"], made["webhookEvents"]) == (CALLBACK, body["WebhookEvents"])
    assert made["signatureTokenToMsSignatureHeader"] is False
    assert small.pc(REGISTRATION).json() == made
    small.clock.advance(timedelta(hours=1))
    # Names of properties are read without regard to case: the contract has them in camel case.
    other = {
        "webhookUrl": CALLBACK + "2",
        "webhookEvents": ["invoice-ready"],
        "signatureTokenToMsSignatureHeader": True,
    }
    changed = small.pc(REGISTRATION, "PUT", json=other).json()
    assert {name: changed[name] for name in other} == other
    assert changed["subscriberId"] == made["subscriberId"]
    assert changed["lastModifiedTimestamp"] > made["lastModifiedTimestamp"]


def test_there_is_one_registration(small):
    assert small.pc(REGISTRATION, "PUT", json=BODY).status_code == 404
    register(small)
    assert small.pc(REGISTRATION, "POST", json=BODY).status_code == 409


def test_a_repeated_registration_is_answered_as_the_first(small):
    headers = {"MS-RequestId": "6a4b2f4e-0000-4000-8000-000000000001"}
    answers = [small.pc(REGISTRATION, "POST", json=BODY, headers=headers) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    "changes",
    [
        {"WebhookUrl": "http://worker.example/hook"},
        {"WebhookUrl": "worker"},
        {"WebhookUrl": None},
        {"WebhookEvents": []},
        {"WebhookEvents": ["granular-admin-relationship-created"]},
        {"WebhookEvents": "test-created"},
        {"SignatureTokenToMsSignatureHeader": "yes"},
    ],
)
def test_what_cannot_be_registered(small, changes):
    refused = small.pc(REGISTRATION, "POST", json=BODY | changes)
    assert (refused.status_code, refused.json()["code"]) == (400, "3000")
    assert small.pc(REGISTRATION).status_code == 404


def test_the_old_form_of_answers_has_other_capitals(small):
    small.control.change(webhook_answers="pascal")
    published = sample("partner-center-webhooks.d2111.response-200.5.json")
    assert published.keys() <= register(small).keys()


def test_a_token_is_needed(small):
    for path in (REGISTRATION, f"{REGISTRATION}/events"):
        assert small.pc(path, token="").status_code == 401


# --- test events -----------------------------------------------------------------------------------


def test_a_test_event_arrives_and_its_result_can_be_read(small, worker):
    register(small)
    correlation = small.pc(f"{REGISTRATION}/validationEvents", "POST").json()["correlationId"]
    (event,) = worker.events
    published = sample("partner-center-webhook-events.d2111.resource.1.json")
    assert list(event) == list(published)
    assert event["ResourceName"] == "test"
    assert event["ResourceUri"].endswith(f"{REGISTRATION}/validationEvents/{correlation}")
    found = small.pc(event["ResourceUri"]).json()
    check(found, "WebhookValidationEvent")
    (result,) = found["results"]
    check(result, "WebhookResponse")
    assert (found["status"], found["callbackUrl"]) == ("completed", CALLBACK)
    assert (result["responseCode"], result["systemError"]) == ("OK", False)
    assert small.pc(f"{REGISTRATION}/validationEvents/none").status_code == 404


def test_results_tell_of_every_attempt(small, worker):
    register(small)
    worker.status = 404
    correlation = small.pc(f"{REGISTRATION}/validationEvents", "POST").json()["correlationId"]
    worker.status = 0
    small.clock.advance(timedelta(minutes=1))
    path = f"{REGISTRATION}/validationEvents/{correlation}"
    found = small.pc(path).json()
    assert found["status"] == "inProgress"
    assert [one["responseCode"] for one in found["results"]] == ["NotFound", ""]
    assert [one["systemError"] for one in found["results"]] == [False, True]
    assert "nobody is there" in found["results"][1]["responseMessage"]
    for _ in range(8):
        small.clock.advance(timedelta(minutes=1))
    assert small.pc(path).json()["status"] == "failed"


def test_two_test_events_a_minute(small, worker):
    register(small)
    answers = []
    for _ in range(3):
        answers.append(small.pc(f"{REGISTRATION}/validationEvents", "POST"))
        small.clock.advance(timedelta(seconds=10))
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert answers[2].headers["Retry-After"] == "40"
    assert answers[2].json()["statusCode"] == 429
    small.clock.advance(timedelta(seconds=30))
    assert small.pc(f"{REGISTRATION}/validationEvents", "POST").status_code == 200


def test_a_test_event_needs_its_registration(small):
    assert small.pc(f"{REGISTRATION}/validationEvents", "POST").status_code == 404
    register(small, WebhookEvents=["invoice-ready"])
    assert small.pc(f"{REGISTRATION}/validationEvents", "POST").status_code == 400


def test_the_contracts_form_of_the_answer(small):
    register(small)
    small.control.change(webhook_answers="contract")
    answer = small.pc(f"{REGISTRATION}/validationEvents", "POST").json()
    path = f"{REGISTRATION}/validationEvents/{answer}"
    assert small.pc(path).json()["correlationId"] == answer


# --- what is told ----------------------------------------------------------------------------------


def test_a_changed_subscription_is_told_with_its_address(small, worker):
    register(small)
    path = change_seats(small)
    (event,) = worker.events
    assert event["EventName"] == "subscription-updated"
    assert event["ResourceName"] == "subscription"
    assert event["ResourceUri"] == "https://api.partnercenter.microsoft.com" + path
    assert small.pc(event["ResourceUri"]).json()["quantity"] == 31
    assert event["AuditUri"] is None
    assert event["ResourceChangeUtcDate"] == "2026-11-09T06:00:00.0000001+00:00"


def test_two_changes_at_one_instant_are_two_events(small, worker):
    register(small)
    change_seats(small)
    change_seats(small)
    first, second = worker.events
    assert first["ResourceUri"] == second["ResourceUri"]
    assert first["ResourceChangeUtcDate"] < second["ResourceChangeUtcDate"]


def test_a_refused_change_is_not_told(small, worker):
    register(small)
    row = small.emulator.world.subscriptions(small.emulator.world.customers()[0]["id"])[0]
    customer = small.emulator.world.customers()[0]["id"]
    path = f"/v1/customers/{customer}/subscriptions/{row['id']}"
    refused = small.pc(path, "PATCH", json=row | {"quantity": 1})
    assert refused.status_code == 400
    assert worker.heard == []


def test_what_was_before_the_registration_is_not_told(small, worker):
    change_seats(small)
    register(small)
    small.pc("/v1/customers")
    assert worker.heard == []
    change_seats(small)
    assert len(worker.heard) == 1


def test_only_what_was_registered_for_is_told(small, worker):
    register(small, WebhookEvents=["invoice-ready"])
    change_seats(small)
    small.clock.set(datetime(2026, 12, 8, tzinfo=UTC))
    assert set(worker.names) == {"invoice-ready"}


def test_the_clock_brings_invoices_and_renewals_once(small, worker):
    register(small)
    small.clock.set(datetime(2026, 12, 9, tzinfo=UTC))
    invoices = [e for e in worker.events if e["EventName"] == "invoice-ready"]
    issued = {row["id"] for row in small.emulator.world.invoices()}
    told = {event["ResourceUri"].rpartition("/")[2] for event in invoices}
    assert len(invoices) == len(told) == 2
    assert told <= issued
    assert all(event["ResourceUri"].split("/")[3:5] == ["v1", "invoices"] for event in invoices)
    assert list(invoices[0]) == list(sample("partner-center-webhook-events.d2111.resource.6.json"))
    before = len(worker.heard)
    small.clock.set(datetime(2026, 11, 9, 6, tzinfo=UTC))
    small.clock.set(datetime(2026, 12, 9, tzinfo=UTC))
    assert len(worker.heard) == before


def test_a_renewal_is_an_update_of_the_subscription(small, worker):
    register(small, WebhookEvents=["subscription-updated"])
    small.clock.set(datetime(2027, 2, 14, 23, 59, tzinfo=UTC))
    before = set(map(str, worker.events))
    small.clock.set(datetime(2027, 2, 15, tzinfo=UTC))
    (renewed,) = [event for event in worker.events if str(event) not in before]
    assert renewed["ResourceChangeUtcDate"].startswith("2027-02-15T00:00:00.")


def test_relationships_expire_with_an_event_of_the_portal(small, worker):
    register(small, WebhookEvents=["granular-admin-relationship-expired"])
    small.clock.set(datetime(2028, 6, 1, tzinfo=UTC))
    rows = small.emulator.world.gdap_relationships()
    assert {row["status"] for row in rows} == {"expired"}
    published = sample("event-granular-admin-relationship-terminated.d2310.json")
    host = published["ResourceUri"].partition("{{")[0]
    assert {event["ResourceUri"] for event in worker.events} == {host + row["id"] for row in rows}
    assert all(list(event) == list(published) for event in worker.events)


def test_the_receiver_may_ask_back(small):
    def asks(url, headers, body):
        address = json.loads(body)["ResourceUri"]
        seen.append(small.pc(address).json()["quantity"])
        return 202

    seen = []
    small.emulator.webhooks.receivers["https://worker.example/"] = asks
    register(small)
    change_seats(small)
    assert seen == [31]


# --- signatures --------------------------------------------------------------------------------------


class NotGenuineError(Exception):
    """An event that must not be acted on."""


def verify(desk, headers, body, *, now=NOW):
    """Check an event as the facts ask: where the certificate lies, who issued it, what it signed."""
    url = headers.get("x-ms-certificate-url", "")
    if not url.startswith(desk.emulator.base_urls["certificates"] + "/"):
        raise NotGenuineError("host")
    if headers["x-ms-signature-algorithm"] != "rsa-sha256":
        raise NotGenuineError("algorithm")
    carried = headers.get("x-ms-signature") or headers.get("Authorization", "")
    scheme, _, signature = carried.partition(" ")
    if scheme != "Signature":
        raise NotGenuineError("no signature")
    certificate = x509.load_der_x509_certificate(desk.session.get(url).content)
    anchor = desk.session.get(f"{CONTROL}/webhooks").json()["trust_anchor"]
    store = Store([x509.load_pem_x509_certificate(anchor.encode())])
    (place,) = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        PolicyBuilder().store(store).time(now).build_server_verifier(place).verify(certificate, [])
    except VerificationError as error:
        raise NotGenuineError("chain") from error
    issuer = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if [one.value for one in issuer] != ["Microsoft Corporation"]:
        raise NotGenuineError("issuer")
    try:
        raw = base64.b64decode(signature, validate=True)
        certificate.public_key().verify(raw, body, padding.PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise NotGenuineError("signature") from error


@pytest.mark.parametrize(
    ("to_ms_header", "name"), [(True, "x-ms-signature"), (False, "Authorization")]
)
def test_events_are_signed_over_their_bytes(small, worker, to_ms_header, name):
    register(small, SignatureTokenToMsSignatureHeader=to_ms_header)
    change_seats(small)
    ((headers, body),) = worker.heard
    assert headers[name].startswith("Signature ")
    assert len({"x-ms-signature", "Authorization"} & headers.keys()) == 1
    verify(small, headers, body)
    with pytest.raises(NotGenuineError, match="signature"):
        verify(small, headers, body + b" ")


def test_a_certificate_is_valid_by_either_clock(small, worker):
    register(small)
    change_seats(small)
    for now in (
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime.now(UTC),
        datetime(2050, 1, 1, tzinfo=UTC),
    ):
        verify(small, *worker.heard[0], now=now)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("unsigned", "no signature"),
        ("wrong_signature", "signature"),
        ("tampered", "signature"),
        ("other_certificate", "signature"),
        ("self_signed", "chain"),
        ("expired", "chain"),
        ("other_issuer", "chain"),
        ("other_host", "host"),
        ("other_algorithm", "algorithm"),
    ],
)
def test_forgeries_are_told_from_what_is_genuine(small, worker, kind, reason):
    register(small)
    small.session.post(f"{CONTROL}/webhooks", json={"kind": kind}).raise_for_status()
    change_seats(small)
    with pytest.raises(NotGenuineError, match=reason):
        verify(small, *worker.heard[0])
    change_seats(small)
    verify(small, *worker.heard[1])


def test_a_forged_issuer_names_itself(small, worker):
    register(small)
    small.emulator.webhooks.spoil_next("other_issuer")
    change_seats(small)
    url = worker.heard[0][0]["x-ms-certificate-url"]
    issuer = x509.load_der_x509_certificate(small.session.get(url).content).issuer
    assert [one.value for one in issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [
        "Fabrikam Forgery"
    ]


def test_the_certificates_host_has_nothing_else(small):
    host = small.emulator.base_urls["certificates"]
    assert small.session.get(f"{host}/notifications/none.cer").status_code == 404
    assert small.session.get(host).status_code == 404
    assert small.session.post(f"{host}/notifications/notifications.cer").status_code == 405


# --- at least once, in no order --------------------------------------------------------------------


def test_a_refused_event_is_tried_ten_times_by_the_clock(small, worker):
    register(small)
    worker.status = 500
    change_seats(small)
    assert len(worker.heard) == 1
    small.clock.advance(timedelta(seconds=59))
    assert len(worker.heard) == 1
    for _ in range(20):
        small.clock.advance(timedelta(seconds=60))
    assert len(worker.heard) == 10
    assert len({body for _, body in worker.heard}) == 1
    attempts = small.emulator.webhooks.deliveries()
    assert [one["attempt"] for one in attempts] == list(range(1, 11))
    assert {one["status"] for one in attempts} == {500}


def test_an_event_that_is_taken_at_last_is_not_sent_again(small, worker):
    register(small)
    worker.status = 0
    change_seats(small)
    worker.status = 204
    for _ in range(3):
        small.clock.advance(timedelta(seconds=60))
    assert [one["status"] for one in small.emulator.webhooks.deliveries()] == [None, 204]


def test_events_can_be_delayed_for_all(small, worker):
    register(small)
    small.control.change(webhook_delay_seconds=3600)
    change_seats(small)
    small.clock.advance(timedelta(seconds=3599))
    assert worker.heard == []
    assert [one["event"] for one in small.emulator.webhooks.waiting()] == ["subscription-updated"]
    small.clock.advance(timedelta(seconds=1))
    assert len(worker.heard) == 1


def quantities(worker, small):
    """The last digits of the instants in the order of arrival: the number of the event."""
    return [int(event["ResourceChangeUtcDate"][20:27]) for event in worker.events]


@pytest.mark.parametrize(
    ("kind", "arrived"),
    [
        ("duplicate", [1, 1, 2]),
        ("reorder", [2, 1]),
        ("delay", [2]),
        ("cut_before", [2]),
        ("cut_after", [1, 2]),
    ],
)
def test_what_the_way_does_to_events(small, worker, kind, arrived):
    register(small)
    small.emulator.webhooks.spoil_next(kind)
    change_seats(small)
    change_seats(small)
    assert quantities(worker, small) == arrived
    small.clock.advance(timedelta(seconds=60))
    later = {"delay": [1], "cut_before": [1], "cut_after": [1]}.get(kind, [])
    assert quantities(worker, small) == arrived + later


def test_a_reordered_event_without_a_next_one_comes_late(small, worker):
    register(small)
    small.emulator.webhooks.spoil_next("reorder")
    change_seats(small)
    assert worker.heard == []
    small.clock.advance(timedelta(seconds=60))
    assert len(worker.heard) == 1


def test_spoils_choose_their_events(small, worker):
    register(small)
    small.emulator.webhooks.spoil_next("duplicate", event="test-created", skip=1, count=2)
    for _ in range(2):
        small.pc(f"{REGISTRATION}/validationEvents", "POST")
    change_seats(small)
    assert worker.names == ["test-created"] * 3 + ["subscription-updated"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"kind": "eaten"}, "kind must be one of duplicate"),
        ({"kind": "delay", "seconds": -1}, "zero or more"),
        ({"kind": "delay", "count": 0}, "at least 1"),
        ({"kind": "delay", "event": "never"}, "unknown event"),
    ],
)
def test_spoils_that_make_no_sense(small, body, sentence):
    refused = small.session.post(f"{CONTROL}/webhooks", json=body)
    assert refused.status_code == 400
    assert sentence in refused.json()["error"]


# --- where they go -----------------------------------------------------------------------------------


def test_what_goes_elsewhere_is_left_for_the_reader(small):
    register(small)
    change_seats(small)
    (attempt,) = small.session.get(f"{CONTROL}/deliveries").json()
    assert (attempt["url"], attempt["status"]) == (CALLBACK, None)
    verify(small, attempt["headers"], attempt["body"].encode())
    assert small.session.delete(f"{CONTROL}/deliveries").json() == [attempt]
    assert small.session.get(f"{CONTROL}/deliveries").json() == []
    small.clock.advance(timedelta(hours=1))
    assert small.emulator.webhooks.deliveries() == []


def test_a_reset_forgets_registration_and_queue_but_not_who_listens(small, worker):
    register(small)
    worker.status = 500
    change_seats(small)
    small.control.reset()
    assert small.pc(REGISTRATION).status_code == 404
    small.clock.advance(timedelta(hours=1))
    assert len(worker.heard) == 1
    worker.status = 200
    register(small)
    change_seats(small)
    assert len(worker.heard) == 2


def test_every_spoil_is_explained():
    assert all(SPOILS.values())


def test_over_sockets_events_reach_a_loopback_address():
    heard = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            heard.append((dict(self.headers), self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            """Say nothing."""

    emulated = Emulator(scenario="small")
    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        with serve(emulated) as _, requests.Session() as session:
            known, urls = emulated.credentials, emulated.base_urls
            form = {
                "client_id": known["client_id"],
                "client_secret": known["client_secret"],
                "grant_type": "client_credentials",
                "scope": f"{urls['partner_center']}/.default",
            }
            login = f"{urls['login']}/{known['tenant_id']}/oauth2/v2.0/token"
            session.headers["Authorization"] = (
                "Bearer " + session.post(login, data=form, timeout=10).json()["access_token"]
            )
            here = urls["partner_center"] + REGISTRATION
            callback = f"http://127.0.0.1:{server.server_port}/hook"
            made = session.post(here, json=BODY | {"WebhookUrl": callback}, timeout=10)
            assert made.status_code == 200
            session.post(f"{here}/validationEvents", timeout=10).raise_for_status()
            emulated.webhooks.wait(10)
            ((headers, body),) = heard
            event = json.loads(body)
            assert event["ResourceUri"].startswith(urls["partner_center"])
            assert headers["x-ms-certificate-url"].startswith(urls["certificates"])
            cert = session.get(headers["x-ms-certificate-url"], timeout=10).content
            x509.load_der_x509_certificate(cert).public_key().verify(
                base64.b64decode(headers["Authorization"].removeprefix("Signature ")),
                body,
                padding.PKCS1v15(),
                SHA256(),
            )
            result = session.get(event["ResourceUri"], timeout=10).json()
            assert result["status"] == "completed"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        emulated.close()


def test_a_seed_sends_the_same_bytes_again(small):
    def sent():
        small.control.reset()
        register(small)
        change_seats(small)
        return [one["body"] for one in small.emulator.webhooks.drain()]

    assert sent() == sent()
