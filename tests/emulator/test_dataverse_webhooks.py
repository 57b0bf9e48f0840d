"""Webhooks of the look-alike: rows register them, commits send them, failures show as jobs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.emulator.dataverse_harness import Dataverse

HERE = "https://worker.example/api/dataverse-events"


class Listening(Dataverse):
    """An environment with a table, and a function in this process that hears of it."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.make_tables()
        self.heard = []
        self.status = 202
        self.app.webhooks.receivers["https://worker.example/"] = self.receive

    def receive(self, url, headers, body):
        self.heard.append((url, headers, json.loads(body)))
        if self.status == 0:
            raise ConnectionRefusedError("nobody is there")
        return self.status

    def endpoint(self, url=HERE, auth=4, secret="s3cret", **values):
        body = {
            "name": "Worker",
            "path": "/",
            "url": url,
            "contract": 8,
            "authtype": auth,
            "authvalue": secret,
            "connectionmode": 1,
            "userclaim": 1,
            "solutionnamespace": "http://schemas.microsoft.com",
            **values,
        }
        return self.post("serviceendpoints", body)

    def register(self, message, table="nce_subscription", endpoint=None, **values):
        endpoint = endpoint or self.endpoint().new_id
        wanted = f"sdkmessageid/name eq '{message}' and primaryobjecttypecode eq '{table}'"
        (found,) = self.values("sdkmessagefilters", filter=wanted)
        body = {
            "name": f"{message} of {table}",
            "mode": 1,
            "stage": 40,
            "rank": 1,
            "supporteddeployment": 0,
            "asyncautodelete": True,
            "sdkmessageid@odata.bind": f"/sdkmessages({found['_sdkmessageid_value']})",
            "sdkmessagefilterid@odata.bind": f"/sdkmessagefilters({found['sdkmessagefilterid']})",
            "eventhandler_serviceendpoint@odata.bind": f"/serviceendpoints({endpoint})",
            **values,
        }
        answer = self.post("sdkmessageprocessingsteps", body)
        assert answer.status == 204, answer.raw
        return answer.new_id

    def told(self):
        return [(c["MessageName"], c["PrimaryEntityId"]) for _, _, c in self.heard]

    def jobs(self):
        rows = self.values("asyncoperations", filter="operationtype eq 1")
        return [(row["statuscode"], row["message"]) for row in rows]


@pytest.fixture
def there():
    return Listening()


def test_nothing_is_sent_unless_a_step_is_registered(there):
    there.post("nce_subscriptions", {"nce_name": "a"})
    there.endpoint()
    there.post("nce_subscriptions", {"nce_name": "b"})
    assert there.heard == []


def test_a_new_row_is_told_with_the_shape_of_an_execution_context(there):
    there.register("Create")
    row = {"nce_name": "a", "nce_status": 727000001, "nce_start": "2026-11-22", "nce_quantity": 3}
    row_id = there.post("nce_subscriptions", row).new_id
    ((url, headers, context),) = there.heard
    assert url == f"{HERE}?code=s3cret"
    assert context["MessageName"] == "Create"
    assert context["PrimaryEntityName"] == "nce_subscription"
    assert context["PrimaryEntityId"] == row_id
    assert (context["Stage"], context["Mode"], context["Depth"]) == (40, 1, 1)
    assert context["OperationCreatedOn"] == "/Date(1795341600000)/"
    (target,) = context["InputParameters"]
    assert target["key"] == "Target"
    said = {one["key"]: one["value"] for one in target["value"]["Attributes"]}
    assert said["nce_name"] == "a"
    assert said["nce_quantity"] == 3
    assert said["nce_status"] == {"Value": 727000001}
    assert said["nce_start"] == "/Date(1795305600000)/"
    assert said["createdby"]["LogicalName"] == "systemuser"
    assert headers["x-ms-dynamics-entity-name"] == "nce_subscription"
    assert headers["x-ms-dynamics-request-name"] == "Create"
    assert headers["x-ms-correlation-request-id"] == context["CorrelationId"]
    assert "x-ms-dynamics-msg-size-exceeded" not in headers


def test_each_message_has_its_own_step(there):
    endpoint = there.endpoint().new_id
    for message in ("Update", "Delete"):
        there.register(message, endpoint=endpoint)
    row_id = there.post("nce_subscriptions", {"nce_name": "a"}).new_id
    there.patch(f"nce_subscriptions({row_id})", {"nce_name": "b"})
    there.delete(f"nce_subscriptions({row_id})")
    assert there.told() == [("Update", row_id), ("Delete", row_id)]
    target = there.heard[1][2]["InputParameters"][0]["value"]
    assert target == {"LogicalName": "nce_subscription", "Id": row_id}


def test_an_update_is_told_only_where_a_filtered_column_was_sent(there):
    there.register("Update", filteringattributes="nce_status,nce_quantity")
    row_id = there.post("nce_subscriptions", {"nce_name": "a"}).new_id
    there.patch(f"nce_subscriptions({row_id})", {"nce_name": "b"})
    assert there.heard == []
    there.patch(f"nce_subscriptions({row_id})", {"nce_quantity": 0})
    assert there.told() == [("Update", row_id)]


def test_another_table_is_not_told(there):
    there.register("Create")
    there.post("accounts", {"name": "a"})
    assert there.heard == []


def test_a_bulk_message_tells_of_each_row(there):
    there.register("Create")
    there.bulk("CreateMultiple", [{"nce_name": "a"}, {"nce_name": "b"}])
    assert len(there.heard) == 2


def test_what_is_rolled_back_is_not_told(there):
    there.register("Create")
    refused = there.bulk("CreateMultiple", [{"nce_name": "a"}, {"nce_quantity": -1}])
    assert refused.status == 400
    assert there.heard == []
    there.post("nce_subscriptions", {"nce_name": "c"})
    assert len(there.heard) == 1


def test_a_step_that_is_switched_off_is_not_told(there):
    step = there.register("Create")
    off = {"statecode": 1, "statuscode": 2}
    there.patch(f"sdkmessageprocessingsteps({step})", off, If_Match="*")
    there.post("nce_subscriptions", {"nce_name": "a"})
    assert there.heard == []


def test_the_receiver_may_ask_back_and_sees_the_row(there):
    there.register("Create")
    seen = []

    def asks(url, headers, body):
        row_id = json.loads(body)["PrimaryEntityId"]
        seen.append(there.get(f"nce_subscriptions({row_id})").json["nce_name"])
        there.patch(f"nce_subscriptions({row_id})", {"nce_notes": "seen"})
        return 200

    there.app.webhooks.receivers["https://worker.example/"] = asks
    there.post("nce_subscriptions", {"nce_name": "a"})
    assert seen == ["a"]


def test_a_large_event_comes_without_the_row(there):
    there.register("Create")
    there.post("nce_subscriptions", {"nce_name": "a", "nce_notes": "é" * 4000})
    assert "InputParameters" in there.heard[0][2]
    there.app.webhooks.receivers["https://worker.example/"] = there.receive
    body = {
        "@odata.type": "Microsoft.Dynamics.CRM.MemoAttributeMetadata",
        "AttributeType": "Memo",
        "SchemaName": "nce_Long",
        "MaxLength": 1_048_576,
        "DisplayName": {"LocalizedLabels": [{"Label": "Long", "LanguageCode": 1033}]},
    }
    there.post("EntityDefinitions(LogicalName='nce_subscription')/Attributes", body)
    row_id = there.post("nce_subscriptions", {"nce_long": "x" * 300_000}).new_id
    _, headers, context = there.heard[-1]
    assert headers["x-ms-dynamics-msg-size-exceeded"] == "true"
    assert context["PrimaryEntityId"] == row_id
    assert not {"InputParameters", "PreEntityImages", "PostEntityImages"} & context.keys()


@pytest.mark.parametrize(
    ("auth", "url", "header"),
    [(5, HERE, "k3y"), (6, f"{HERE}?x-key=k3y", None)],
)
def test_the_secret_goes_where_its_type_says(there, auth, url, header):
    secret = '<settings><setting name="x-key" value="k3y"/></settings>'
    there.register("Create", endpoint=there.endpoint(auth=auth, secret=secret).new_id)
    there.post("nce_subscriptions", {"nce_name": "a"})
    assert (there.heard[0][0], there.heard[0][1].get("x-key")) == (url, header)


# --- one try, noted -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message"),
    [(500, "The webhook answered 500."), (0, "ConnectionRefusedError: nobody is there")],
)
def test_a_failure_is_a_failed_job_and_the_write_stands(there, status, message):
    there.register("Create")
    there.status = status
    assert there.post("nce_subscriptions", {"nce_name": "a"}).status == 204
    assert len(there.heard) == 1
    assert there.jobs() == [(31, message)]


def test_a_success_is_a_job_only_where_jobs_are_kept(there):
    there.register("Create")
    there.post("nce_subscriptions", {"nce_name": "a"})
    assert there.jobs() == []
    there.register("Delete", asyncautodelete=False)
    row_id = there.post("nce_subscriptions", {"nce_name": "b"}).new_id
    there.delete(f"nce_subscriptions({row_id})")
    assert there.jobs() == [(30, None)]


# --- addresses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["https://example.com/hook", "http://10.0.0.1/", "http://127.0.0.1.example.com/", "x"]
)
def test_only_this_machine_is_posted_to(there, url):
    refused = there.endpoint(url=url)
    assert refused.status == 400
    assert refused.message == "The emulator posts to loopback addresses only."


def test_a_loopback_address_is_really_posted_to(there):
    heard = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, json.loads(body)["PrimaryEntityName"]))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/api/dataverse-events"
        there.register("Create", endpoint=there.endpoint(url=url).new_id, asyncautodelete=False)
        there.post("nce_subscriptions", {"nce_name": "a"})
        there.app.webhooks.wait()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert heard == [("/api/dataverse-events?code=s3cret", "nce_subscription")]
    assert there.jobs() == [(30, None)]


def test_nobody_at_the_address_is_a_failed_job(there):
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = server.server_port
    server.server_close()
    endpoint = there.endpoint(url=f"http://127.0.0.1:{port}/").new_id
    there.register("Create", endpoint=endpoint)
    there.post("nce_subscriptions", {"nce_name": "a"})
    there.app.webhooks.wait()
    ((status, message),) = there.jobs()
    assert status == 31
    assert "refused" in message
