"""Events of Partner Center from end to end: sent by the emulator, believed or not, followed."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import azure.functions as func
import pytest

from app import webhook, wiring
from app.settings import Settings
from dataverse.client import Query
from dataverse.provision.provisioner import Provisioner
from dataverse.tables import FINDING
from domain.problems import ConfigurationError, Severity, Unavailable
from emulator import Emulator, serve
from emulator.webhooks import SPOILS
from sync import notices
from sync.messages import StartRun
from tests.app.conftest import command, functions
from tests.clients.signing import HOST, MICROSOFT, PLACE, Web, between, bundle, headers, leaf, root

HERE = "https://worker.example/api/partner-center-events"
BODY = b'{"EventName": "invoice-ready", "ResourceUri": "https://x/v1/invoices/G1", "ResourceChangeUtcDate": "2026-11-09T05:00:00.0000001+00:00"}'
FORGED = sorted(
    set(SPOILS) - {"duplicate", "reorder", "delay", "cut_before", "cut_after"},
)


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """The worker of this process, embedded, in place of that of the host."""
    settings = Settings.from_env(
        {"CSP_STATE_DIR": str(tmp_path), "CSP_SCENARIO": "small", "CSP_WEBHOOK_URL": HERE}
    )
    with wiring.opened(settings) as made:
        monkeypatch.setattr(wiring, "worker", lambda: made)
        yield made


def post(body, sent):
    request = func.HttpRequest("POST", "/api/partner-center-events", headers=sent, body=body)
    return functions()["notify"].get_user_function()(request)


def data(response):
    return json.loads(response.get_body())


@pytest.fixture
def stored(worker):
    """Dataverse has its tables."""
    Provisioner(worker.dataverse, sleep=worker.dataverse.http.sleep).apply()


@pytest.fixture
def answers():
    """What the emulator's posts were answered."""
    return []


@pytest.fixture
def connected(worker, answers):
    """The emulator posts to the function."""

    def receive(_, sent, body):
        answers.append(post(body, dict(sent)))
        return answers[-1].status_code

    worker.systems.emulator.webhooks.receivers[HERE] = receive
    worker.registration.register(HERE, notices.UNDERSTOOD)
    return worker


def pass_time(worker, seconds=120):
    worker.systems.emulator.clock.advance(timedelta(seconds=seconds))


def statuses(answers):
    return [answer.status_code for answer in answers]


def waiting(worker):
    found = []
    while (message := worker.ports.queue.receive("event")) is not None:
        found.append(json.loads(message.body))
        worker.ports.queue.delete(message)
    return found


# --- the endpoint -------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
def test_a_signed_event_leaves_a_small_message_and_is_answered_at_once(connected, own, answers):
    if not own:
        connected.registration.register(HERE, ["test-created"])
        registered = connected.systems.emulator.webhooks
        registered.register(HERE, ("test-created",), to_ms_signature=False, anew=False)
    correlation = connected.registration.test()
    (answer,) = answers
    assert (answer.status_code, data(answer)) == (200, {"status": "accepted"})
    (message,) = waiting(connected)
    assert (message["name"], message["correlation"]) == ("test-created", correlation)
    assert len(json.dumps(message)) < 600


@pytest.mark.parametrize("kind", FORGED)
def test_every_forgery_is_refused_in_one_sentence_that_tells_nothing(
    connected, kind, caplog, answers
):
    connected.systems.emulator.webhooks.spoil_next(kind)
    with caplog.at_level(logging.INFO):
        connected.registration.test()
    (answer,) = answers
    assert answer.status_code == 401
    assert data(answer) == {"error": "the signature of this event is not verified"}
    assert waiting(connected) == []
    (told,) = [one for one in caplog.records if one.name == "app.webhook"]
    assert told.getMessage().startswith("an event is not believed: ")
    assert "ResourceUri" not in caplog.text


def test_a_refused_event_is_sent_again_and_then_taken(connected, answers):
    connected.systems.emulator.webhooks.spoil_next("wrong_signature")
    connected.registration.test()
    pass_time(connected)
    assert statuses(answers) == [401, 200]
    assert len(waiting(connected)) == 1


def test_an_outage_of_the_certificates_host_is_503_and_the_event_comes_again(connected, answers):
    connected.systems.emulator.control.fail_next("certificates", status=503, count=4)
    connected.registration.test()
    assert statuses(answers) == [503]
    assert "send it again" in data(answers[0])["error"]
    connected.systems.emulator.control.clear_faults()
    pass_time(connected)
    assert statuses(answers) == [503, 200]


def test_a_queue_that_is_down_is_503(connected, monkeypatch, answers):
    def down(*_):
        raise Unavailable("no queue", service="Queue", status=503)

    monkeypatch.setattr(type(connected.ports.queue), "send", down)
    connected.registration.test()
    assert statuses(answers) == [503]


def test_a_huge_body_is_413_before_anything_is_checked(worker):
    response = post(b"x" * (webhook.MAX_BODY + 1), headers(b""))
    assert response.status_code == 413


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff" * 100])
def test_a_post_of_anybody_is_401(worker, body):
    assert post(body, {}).status_code == 401
    assert post(body, headers(body)).status_code == 401  # a host that is not the emulator's


def test_what_is_signed_and_no_event_is_400(worker, monkeypatch):
    web = Web(pages={PLACE: bundle(leaf(), between())})
    monkeypatch.setattr(worker, "signers", web.signers)
    assert post(b"{}", headers(b"{}")).status_code == 400
    assert post(BODY, headers(BODY)).status_code == 200


def test_the_same_event_twice_is_taken_twice_and_followed_once(connected, answers, stored):
    connected.systems.emulator.webhooks.spoil_next("duplicate")
    connected.registration.test()
    assert statuses(answers) == [200, 200]
    connected.drain()
    units = connected.store.units("event/2026-11-09")
    assert len(units) == 1


def test_the_days_events_are_a_run_that_people_can_look_at(connected, stored):
    connected.registration.test()
    connected.drain()
    (run,) = [one for one in connected.store.runs() if one.kind == "event"]
    assert (run.key, run.status.value) == ("event/2026-11-09", "done")
    assert run.counts == {"events": 1}


# --- a change at Microsoft is seen without a sync -----------------------------------------------------


def synced(worker):
    worker.request(StartRun(kind="sync", day=worker.today()))
    worker.drain()


def subscription_of(worker, name):
    world = worker.systems.emulator.world
    for customer in world.customers():
        for row in world.subscriptions(customer["id"]):
            if row["friendlyName"] == name:
                return customer["id"], row
    raise AssertionError(name)


def test_a_change_of_seats_is_stored_with_its_history_without_a_sync(connected, answers, stored):
    synced(connected)
    customer_id, row = subscription_of(connected, "Office seats")
    path = f"/v1/customers/{customer_id}/subscriptions/{row['id']}"
    http = connected.registration._http
    http.request(
        "PATCH",
        path,
        json={**row, "quantity": row["quantity"] + 3},
        tokens=connected.registration._tokens,
    )
    pass_time(connected)
    assert 200 in statuses(answers)
    connected.drain()
    file = connected.store.customer_file(customer_id)
    stored = {one.id: one.quantity for one in file.subscriptions}
    assert stored[row["id"]] == row["quantity"] + 3
    assert any(
        event.subscription_id == row["id"] and event.quantity == row["quantity"] + 3
        for event in file.events
    )


# --- what holds a customer is seen, and lifts, without a sync -----------------------------------------


def act(worker, what, **details):
    return worker.systems.emulator.parties.act(what, **details)


def world(worker):
    return worker.systems.emulator.world


def listen_on(worker, seconds=180):
    """Let time pass, so that events go out, and follow them."""
    worker.systems.emulator.clock.advance(timedelta(seconds=seconds))
    worker.drain()


def holds(worker, customer_id):
    """What the gate says of access, agreement and relationship of a customer."""
    rooms = ("gdap.", "agreement.", "relationship.", "customer.", "access.")
    return {
        one.check
        for one in worker.store.findings(customer_id=customer_id)
        if one.check.startswith(rooms) and one.severity is not Severity.WARN
    }


def syncs(worker):
    return [one.key for one in worker.store.runs() if one.kind == "sync"]


def new_gdap(worker, customer_id, group="227a2f44-2682-4831-a021-f8d69a34bcba"):
    """The partner asks anew, the customer approves, a group is assigned; each tells of itself."""
    roles = {"unifiedRoles": [{"roleDefinitionId": "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"}]}
    asked = {
        "displayName": "Managed services 2027",
        "duration": "P730D",
        "customer": {"tenantId": customer_id, "displayName": "Customer"},
        "accessDetails": roles,
        "autoExtendDuration": "P180D",
    }
    gdap, pause = world(worker).gdap, timedelta(seconds=30)
    relationship = gdap.create(asked)["id"]
    gdap.request(relationship, "lockForApproval", pause=pause)
    act(worker, "approve_relationship", relationship_id=relationship)
    listen_on(worker)
    assert "gdap.no_assignment" in holds(worker, customer_id)
    container = {"accessContainerId": group, "accessContainerType": "securityGroup"}
    gdap.assign(relationship, {"accessContainer": container, "accessDetails": roles}, pause=pause)
    listen_on(worker)


@pytest.fixture
def customer_id(connected, stored):
    """A customer of a partner that has synced once, with nothing in its way at Microsoft's side."""
    synced(connected)
    found = world(connected).customers()[0]["id"]
    assert holds(connected, found) == set()
    return found


def test_gdap_that_ends_holds_and_one_that_is_approved_lifts_it(connected, customer_id, answers):
    (relationship,) = [
        one
        for one in world(connected).gdap_relationships()
        if one["customer"]["tenantId"] == customer_id
    ]
    act(connected, "end_relationship", relationship_id=relationship["id"])
    listen_on(connected)
    assert holds(connected, customer_id) == {"gdap.missing"}
    new_gdap(connected, customer_id)
    assert holds(connected, customer_id) == set()
    assert set(statuses(answers)) == {200}
    assert syncs(connected) == ["sync/2026-11-09"]


def test_other_customers_are_left_alone(connected, customer_id):
    others = {
        one.id: connected.store.findings(customer_id=one.id)
        for one in connected.store.customers()
        if one.id != customer_id
    }
    (relationship,) = [
        one["id"]
        for one in world(connected).gdap_relationships()
        if one["customer"]["tenantId"] == customer_id
    ]
    act(connected, "end_relationship", relationship_id=relationship)
    connected.systems.emulator.control.clear_log()
    listen_on(connected)
    for other, findings in others.items():
        assert connected.store.findings(customer_id=other) == findings
        asked = [one["path"] for one in connected.systems.emulator.control.requests()]
        assert not [path for path in asked if other in path]


def test_a_customer_that_comes_back_is_taken_up_at_once(connected, customer_id):
    act(connected, "leave", customer_id=customer_id)
    pass_time(connected, 86400)
    synced(connected)  # that a customer leaves, Partner Center tells nobody
    assert holds(connected, customer_id)
    act(connected, "accept", customer_id=customer_id)
    listen_on(connected)
    assert holds(connected, customer_id) == set()
    assert len(syncs(connected)) == 2


def test_an_agreement_is_seen_with_the_next_event_of_its_customer(connected, customer_id):
    """Microsoft names no event for agreements; any other event of the customer has them read."""

    def change_seats(by):
        (row, *_) = world(connected).subscriptions(customer_id)
        path = f"/v1/customers/{customer_id}/subscriptions/{row['id']}"
        connected.registration._http.request(
            "PATCH",
            path,
            json={**row, "quantity": row["quantity"] + by},
            tokens=connected.registration._tokens,
        )
        listen_on(connected)

    world(connected).standing.change(customer_id, agreements=())
    change_seats(1)
    assert holds(connected, customer_id) == {"agreement.missing"}
    act(connected, "sign_directly", customer_id=customer_id)
    change_seats(2)
    assert holds(connected, customer_id) == set()
    assert syncs(connected) == ["sync/2026-11-09"]


def test_events_doubled_reordered_and_delayed_come_to_the_same(connected, customer_id, answers):
    sender = connected.systems.emulator.webhooks
    for kind in ("duplicate", "reorder", "delay", "cut_after", "cut_before"):
        sender.spoil_next(kind)
    (relationship,) = [
        one["id"]
        for one in world(connected).gdap_relationships()
        if one["customer"]["tenantId"] == customer_id
    ]
    act(connected, "end_relationship", relationship_id=relationship)
    listen_on(connected)
    new_gdap(connected, customer_id)
    for _ in range(3):
        listen_on(connected, 600)
    assert sender.waiting() == []
    assert holds(connected, customer_id) == set()


def test_a_suspicion_of_fraud_is_a_finding_that_a_person_closes(connected, stored):
    subscription = "c0ffee00-8888-4c22-8d33-aa44bb550001"

    def suspect():
        act(connected, "announce", event="azure-fraud-event-detected", subscription_id=subscription)
        listen_on(connected)
        return [(one.check, one.record) for one in connected.store.findings()]

    expected = [("azure.fraud_event", "Azure subscriptions without usage")]
    assert suspect() == expected
    dataverse = connected.dataverse
    (row,) = dataverse.read(Query(table="csp_finding", select=("csp_findingid",)))
    closed = FINDING.column("csp_state").option("closed")
    path = dataverse.id_path("csp_finding", row["csp_findingid"])
    dataverse.call("PATCH", path, body={"csp_state": closed})
    assert suspect() == expected, "a later event is told again, whatever was closed before"


# --- over sockets -------------------------------------------------------------------------------------


def test_served_emulators_post_to_this_machine_and_are_believed(tmp_path):
    """Mode `emulator`: the certificate and the root come over loopback, at any port."""
    heard = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, said = webhook.answer(worker, dict(self.headers), body)
            heard.append((status, said))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    emulator = Emulator(scenario="small")
    with serve(emulator), HTTPServer(("127.0.0.1", 0), Hook) as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        settings = Settings.from_env(
            {
                "CSP_MODE": "emulator",
                "CSP_EMULATOR_URL": emulator.base_urls["control"],
                "CSP_STATE_DIR": str(tmp_path),
            }
        )
        with wiring.opened(settings) as worker:
            here = f"http://127.0.0.1:{hook.server_port}/api/partner-center-events"
            worker.registration.register(here, notices.UNDERSTOOD)
            worker.registration.test()
            emulator.webhooks.wait()
            emulator.webhooks.spoil_next("tampered")
            worker.registration.test()
            emulator.webhooks.wait()
            assert [status for status, _ in heard] == [200, 401]
            assert [one["name"] for one in waiting(worker)] == ["test-created"]
        hook.shutdown()
    emulator.close()


# --- whom to trust in which mode ----------------------------------------------------------------------


CLOUD = {
    "CSP_MODE": "cloud",
    "CSP_TENANT_ID": "t",
    "CSP_CLIENT_ID": "c",
    "CSP_CLIENT_SECRET": "hunter2",
    "CSP_DATAVERSE_URL": "https://contoso.crm.dynamics.com",
}


class Somewhere:
    """Systems of which only the clock matters."""

    sleep = None

    @staticmethod
    def now():
        return datetime(2026, 11, 9, 6, tzinfo=UTC)


def trusted(**variables):
    settings = Settings.from_env({**CLOUD, **variables})
    return webhook._trust(settings, Somewhere(), None)


def test_in_the_cloud_microsofts_published_host_and_the_usual_roots_are_trusted():
    trust = trusted()
    assert trust.origins == {HOST}
    assert (trust.organisation, trust.between) == (MICROSOFT, ())
    names = {one.subject.rfc4514_string() for one in trust.roots}
    assert any("Microsoft RSA Root Certificate Authority 2017" in name for name in names)


def test_hosts_and_roots_are_settings(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(bundle(root(), between()))
    trust = trusted(
        CSP_WEBHOOK_CERT_HOSTS="a.example.com, B.example.com", CSP_WEBHOOK_CA_FILE=str(path)
    )
    assert trust.origins == {"https://a.example.com", "https://b.example.com"}
    assert trust.roots == (root().certificate,)
    assert trust.between == (between().certificate,)


def test_a_file_of_authorities_between_leaves_the_usual_roots(tmp_path):
    path = tmp_path / "between.pem"
    path.write_bytes(between().pem)
    trust = trusted(CSP_WEBHOOK_CA_FILE=str(path))
    assert len(trust.roots) > 50
    assert trust.between == (between().certificate,)


@pytest.mark.parametrize("content", [None, b"no certificates"])
def test_a_file_without_certificates_is_told(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="CSP_WEBHOOK_CA_FILE"):
        trusted(CSP_WEBHOOK_CA_FILE=str(path))


@pytest.mark.parametrize(
    "hosts",
    [
        "127.0.0.1",
        "a.example.com:8443",
        "https://a.example.com",
        "localhost",
        "*.example.com",
        "a b.example.com",
        "[::1]",
        "10.1",
        ",",
    ],
)
def test_only_names_of_hosts_can_be_set(hosts):
    with pytest.raises(ConfigurationError, match="CSP_WEBHOOK_CERT_HOSTS"):
        Settings.from_env({"CSP_WEBHOOK_CERT_HOSTS": hosts})


# --- the command --------------------------------------------------------------------------------------


def test_without_a_registration_it_says_so(tmp_path):
    answer = command("webhook", "--json", CSP_SCENARIO="small", state=tmp_path)
    assert (answer.code, answer.data["registered"]) == (1, False)


def test_registering_shows_where_and_never_the_key(tmp_path):
    answer = command(
        "webhook", "--register", HERE, CSP_SCENARIO="small", CSP_WEBHOOK_KEY="s3cret",
        CSP_WEBHOOK_URL=HERE, state=tmp_path,
    )  # fmt: skip
    assert answer.code == 0
    assert f"events go to {HERE} (here)" in answer.out
    assert "Registered." in answer.err
    assert "s3cret" not in answer.out + answer.err


def test_an_address_that_is_not_https_is_bad_input(tmp_path):
    answer = command(
        "webhook", "--register", "http://x.example", CSP_SCENARIO="small", state=tmp_path
    )
    assert answer.code == 2
    assert "must be https" in answer.err


def test_the_key_is_added_to_the_address_that_is_registered(worker):
    from transport.redaction import Secret

    worker.settings = worker.settings.model_copy(update={"webhook_key": Secret("s3cret")})
    webhook.register(worker, HERE, as_json=True)
    assert worker.registration.current().url == f"{HERE}?code=s3cret"
    webhook.register(worker, f"{HERE}?code=other", as_json=True)
    assert worker.registration.current().url == f"{HERE}?code=other"


@pytest.mark.parametrize(
    ("url", "here", "words"),
    [
        (HERE, HERE, "(here)"),
        (f"{HERE}/", HERE, "(here)"),
        ("https://other.example/hook", HERE, "(elsewhere, not at https://worker.example"),
        (HERE, None, "CSP_WEBHOOK_URL is not set"),
    ],
)
def test_it_is_told_whether_events_come_here(worker, capsys, url, here, words):
    worker.settings = worker.settings.model_copy(update={"webhook_url": here})
    worker.registration.register(url, notices.UNDERSTOOD)
    assert webhook.status(worker, as_json=False) == int("elsewhere" in words)
    assert words in capsys.readouterr().out
    assert words in webhook.told(worker)


def test_a_test_event_is_followed_to_its_answer(connected, capsys, stored):
    assert webhook.test(connected, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["status"], found["delivered"]) == ("completed", True)
    assert [one["code"] for one in found["attempts"]] == ["OK"]
    assert not found["taken_by_the_worker"]
    connected.drain()
    correlation = found["correlation"]
    assert notices.tested(connected.ports, "2026-11-09", correlation)


def test_a_test_event_that_is_refused_is_told(connected, capsys, stored):
    connected.systems.emulator.webhooks.spoil_next("expired", count=10)
    assert webhook.test(connected, as_json=False) == 1
    assert "answered Unauthorized" in capsys.readouterr().out


def test_check_config_tells_of_the_webhook(tmp_path):
    answer = command("check-config", "--json", CSP_SCENARIO="small", state=tmp_path)
    assert answer.code == 0
    assert answer.data["webhook"].startswith("not registered: changes are seen by the next sync")


def test_a_webhook_that_may_not_be_read_is_no_fault_of_the_configuration(worker):
    worker.systems.emulator.control.fail_next("partner_center", status=403)
    assert webhook.told(worker).startswith("not known: Partner Center 403")
