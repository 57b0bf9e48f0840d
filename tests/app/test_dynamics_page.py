"""The page for Dynamics users and flow makers is true: its row, its numbers, its chain of events."""

from __future__ import annotations

import json
import re
from pathlib import Path

import azure.functions as func
import pytest

from app import wiring
from app.settings import Settings
from dataverse.client import Query
from dataverse.provision.provisioner import Provisioner
from dataverse.provision.roles import MANAGER, READER, WORKER
from dataverse.tables import BILLING_RUN, FINDING, INVOICE
from domain.problems import NotAuthorised
from tests.app.conftest import functions
from tests.app.test_roles import act_as

PAGE = (Path(__file__).resolve().parents[2] / "docs/dynamics.md").read_text(encoding="utf-8")
FUNCTIONS = functions()
FILTER = re.search(r"\| Filter rows \| `(.*?)` \|", PAGE)[1]


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """The worker of a function app, embedded, with tables and a day's sync."""
    settings = Settings.from_env({"CSP_STATE_DIR": str(tmp_path), "CSP_SCENARIO": "small"})
    with wiring.opened(settings) as made:
        Provisioner(made.dataverse, sleep=made.dataverse.http.sleep, app=None).apply()
        monkeypatch.setattr(wiring, "worker", lambda: made)
        made.ask("sync")
        made.drain()
        yield made


def add_the_row_of_the_page(worker, **changed):
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    customer = worker.store.customers()[0]
    row = json.loads(text.replace("CUSTOMER", customer.id)) | changed
    return worker.dataverse.create("csp_billingrun", row)


def read(worker, row_id):
    path = worker.dataverse.id_path("csp_billingrun", row_id)
    return worker.dataverse.call("GET", path).json()


def ended(worker):
    """The rows that the flow of the page wakes up for."""
    query = Query(table="csp_billingrun", select=("csp_status",), where=f"({FILTER}) and {OWN}")
    return [row["csp_billingrunid"] for row in worker.dataverse.read(query)]


OWN = "startswith(csp_key,'request/')"


def test_the_numbers_of_the_page_are_those_of_the_tables():
    for column in ("csp_kind", "csp_status"):
        declared = BILLING_RUN.column(column)
        for value in declared.options:
            number = str(declared.option(value))
            assert re.search(rf"`?{value}`?\*?\*? \(?{number}", PAGE, flags=re.IGNORECASE), value


def test_the_columns_of_the_page_are_those_of_the_table():
    known = {column.name for column in BILLING_RUN.columns}
    known |= {lookup.schema_name for lookup in BILLING_RUN.lookups} | {"csp_billingrun"}
    known |= {column.name for column in FINDING.columns} | {FINDING.name}
    known |= {column.name for column in INVOICE.files}
    told = set(re.findall(r"`(csp_[A-Za-z]+)`", PAGE)) - {"csp_externalkey"}
    assert told <= known
    assert {"csp_kind", "csp_period", "csp_day", "csp_dryrun", "csp_CustomerId"} <= told


def test_the_row_of_the_page_is_answered_by_the_timer(worker):
    row_id = add_the_row_of_the_page(worker)
    assert read(worker, row_id)["csp_status"] == BILLING_RUN.column("csp_status").option(
        "requested"
    )
    assert ended(worker) == []
    FUNCTIONS["pick_up_requests"].get_user_function()(None)
    worker.drain()
    row = read(worker, row_id)
    assert row["csp_problem"] is None
    assert row["csp_answer"].startswith("Documents that would be drafted: ")
    assert ended(worker) == [row_id]
    assert list(worker.store.documents()) == []


def test_the_row_of_the_page_is_answered_by_the_webhook_of_the_page(worker):
    """Dataverse posts, the function leaves a message, the worker answers on the row."""
    register(worker)
    row_id = add_the_row_of_the_page(worker)
    assert len(worker.ports.queue) == 1
    worker.drain()
    assert ended(worker) == [row_id]
    assert len(worker.ports.queue) == 0  # writing the answer wakes nobody: Create alone is told
    worker.handle("start", '{"look_for": "requests"}')
    assert len(worker.ports.queue) == 0  # nor does the timer find it again


def test_a_webhook_that_is_refused_is_caught_by_the_timer(worker, monkeypatch):
    register(worker, status=401)  # a wrong key: the host never lets it through
    row_id = add_the_row_of_the_page(worker)
    query = Query(table="asyncoperation", select=("statuscode", "message"))
    jobs = [row for row in worker.dataverse.read(query) if row["statuscode"] == 31]
    assert [row["message"] for row in jobs] == ["The webhook answered 401."]
    FUNCTIONS["pick_up_requests"].get_user_function()(None)
    worker.drain()
    assert ended(worker) == [row_id]


def test_a_real_run_by_the_row_of_the_page(worker):
    row_id = add_the_row_of_the_page(worker, csp_dryrun=False)
    worker.pick_up()
    worker.drain()
    row = read(worker, row_id)
    customer = worker.store.customers()[0]
    assert row["csp_runkey"] == f"bill/2026-10/{customer.id}"
    run = worker.run(row["csp_runkey"])
    assert BILLING_RUN.column("csp_status").option_value(row["csp_status"]) == run.status
    assert json.loads(row["csp_counts"]) == dict(run.counts)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_an_answer_to_our_own_write_that_is_lost_does_no_harm(worker, kind):
    row_id = add_the_row_of_the_page(worker, csp_dryrun=False)
    worker.pick_up()
    control = worker.systems.emulator.control
    path = r"/api/data/v9.2/csp_billingruns\("
    control.fail_next("dataverse", path=path, method="PATCH", kind=kind, count=3)
    worker.drain()
    assert ended(worker) == [row_id]
    row = read(worker, row_id)
    sent = [one for one in control.requests() if one["method"] == "PATCH"]
    assert len([one for one in sent if "csp_billingruns(" in one["path"]]) > 3  # lost and repeated
    units = worker.store.units(row["csp_runkey"])
    assert {unit.attempt for unit in units} == {1}


def test_a_manager_may_ask_and_a_reader_may_not(worker):
    act_as(worker, READER)
    with pytest.raises(NotAuthorised):
        add_the_row_of_the_page(worker)
    act_as(worker, MANAGER)
    row_id = add_the_row_of_the_page(worker)
    act_as(worker, WORKER)
    worker.pick_up()
    worker.drain()
    assert ended(worker) == [row_id]


def register(worker, status=None):
    """The webhook as the page says: contract 8, key, Create of csp_billingrun, asynchronous."""
    address = "https://app.example/api/dataverse-events"

    def post(url, headers, body):
        assert url == f"{address}?code=a-function-key"
        if status is not None:
            return status
        request = func.HttpRequest("POST", url, headers=headers, body=body)
        return FUNCTIONS["hear"].get_user_function()(request).status_code

    worker.systems.emulator.dataverse.webhooks.receivers["https://app.example/"] = post
    client = worker.dataverse
    endpoint = client.create(
        "serviceendpoint",
        {
            "name": "CSP Billing",
            "path": "/",
            "url": address,
            "contract": 8,
            "authtype": 4,
            "authvalue": "a-function-key",
            "connectionmode": 1,
            "userclaim": 1,
            "solutionnamespace": "http://schemas.microsoft.com/xrm",
        },
    )
    (found,) = client.read(
        Query(
            table="sdkmessagefilter",
            select=("_sdkmessageid_value",),
            where="sdkmessageid/name eq 'Create' and primaryobjecttypecode eq 'csp_billingrun'",
        )
    )
    client.create(
        "sdkmessageprocessingstep",
        {
            "name": "CSP Billing: a run is asked for",
            "mode": 1,
            "stage": 40,
            "rank": 1,
            "supporteddeployment": 0,
            "asyncautodelete": True,
            "sdkmessageid@odata.bind": f"/sdkmessages({found['_sdkmessageid_value']})",
            "sdkmessagefilterid@odata.bind": (f"/sdkmessagefilters({found['sdkmessagefilterid']})"),
            "eventhandler_serviceendpoint@odata.bind": f"/serviceendpoints({endpoint})",
        },
    )
