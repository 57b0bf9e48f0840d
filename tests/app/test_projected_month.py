"""A whole month in the standard invoices of Dynamics 365 Sales: every document, to the cent."""

from __future__ import annotations

import json

from app.settings import Settings
from app.wiring import opened
from dataverse.client import Query
from dataverse.provision.roles import WORKER
from dataverse.standard_invoice import SALES_ROLE
from invoice.document import DocumentStatus
from sync import approval
from sync.messages import StartRun
from tests.app.conftest import command
from tests.app.test_roles import act_as

ON = {"CSP_PROJECTION": "1"}


def in_sales(state):
    """What Sales shows by number, and what it keeps of each: total and lock."""
    with opened(Settings.from_env({"CSP_STATE_DIR": str(state), **ON})) as worker:
        columns = ("invoicenumber", "totalamount", "ispricelocked", "pricingerrorcode")
        rows = worker.dataverse.read(Query(table="invoice", select=columns))
        documents = worker.store.documents()
        findings = [one for one in worker.store.findings() if one.check.startswith("projection.")]
    return rows, documents, findings


def add_price_lists(state):
    """What an administrator of Sales does once."""
    with opened(Settings.from_env({"CSP_STATE_DIR": str(state), **ON})) as worker:
        query = Query(
            table="transactioncurrency", select=("transactioncurrencyid", "isocurrencycode")
        )
        for row in worker.dataverse.read(query):
            bind = f"/transactioncurrencies({row['transactioncurrencyid']})"
            body = {"name": row["isocurrencycode"], "transactioncurrencyid@odata.bind": bind}
            worker.dataverse.create("pricelevel", body)


def test_a_month_that_was_issued_before_is_projected_when_it_is_switched_on(copy):
    approve = ("approve", "--period", "2026-10")
    assert command(*approve, state=copy).code == 0
    planned = command("provision", "--json", state=copy, **ON).data["operations"]
    assert "create key csp_SalesInvoice_ExternalKey on invoice" in planned
    assert command("provision", "--apply", state=copy, **ON).code == 0

    assert command(*approve, state=copy, **ON).code == 0
    rows, documents, findings = in_sales(copy)
    assert rows == []
    assert {one.check for one in findings} == {"projection.no_price_list"}
    assert {one.record for one in findings} == {
        f"price list {currency}" for currency in {one.currency for one in documents}
    }

    add_price_lists(copy)
    with opened(Settings.from_env({"CSP_STATE_DIR": str(copy), **ON})) as worker:
        act_as(worker, WORKER)  # no role for Sales: told, and the month stands
        approval.approve(worker.ports, StartRun(kind="approve", period="2026-10"))
        (finding,) = [one for one in worker.store.findings() if "projection." in one.check]
        assert finding.check == "projection.unavailable"
        assert "CSP Billing projection" in finding.hint
        act_as(worker, WORKER, SALES_ROLE)
        approval.approve(worker.ports, StartRun(kind="approve", period="2026-10"))
    rows, documents, findings = in_sales(copy)
    assert findings == []
    assert {row["invoicenumber"]: row["totalamount"] for row in rows} == {
        one.number: one.total.amount for one in documents
    }
    assert len(rows) == len(documents) == 20
    assert all(row["ispricelocked"] for row in rows)
    assert not any(row["pricingerrorcode"] for row in rows)

    runs = json.loads(command("runs", "--json", state=copy, **ON).out)
    assert command(*approve, state=copy, **ON).code == 0
    assert in_sales(copy)[0] == rows
    assert len(runs) == len(json.loads(command("runs", "--json", state=copy, **ON).out))


def close_in_sales(state, number, **columns):
    """What a person who works in Sales does with an invoice."""
    with opened(Settings.from_env({"CSP_STATE_DIR": str(state), **ON})) as worker:
        query = Query(table="invoice", select=("invoiceid",), where=f"invoicenumber eq '{number}'")
        (row,) = worker.dataverse.read(query)
        path = worker.dataverse.id_path("invoice", row["invoiceid"])
        worker.dataverse.call("PATCH", path, body=columns, headers={"If-Match": "*"})


def test_a_month_is_handed_off_and_what_becomes_of_it_comes_back(copy):
    assert command("provision", "--apply", state=copy, **ON).code == 0
    add_price_lists(copy)
    answer = command("handoff", "--json", state=copy, **ON)
    assert (answer.code, answer.data["status"], answer.data["findings"]) == (0, "done", [])
    documents = in_sales(copy)[1]
    assert answer.data["counts"]["handed_off"] == len(documents) == 20
    assert {one.status for one in documents} == {DocumentStatus.HANDED_OFF}
    assert all(row["ispricelocked"] for row in in_sales(copy)[0])
    again = command("handoff", state=copy, **ON)
    assert again.code == 0
    assert again.out.startswith("20 documents handed off, 0 not yet.")

    first = command("feedback", "--json", state=copy, **ON)
    assert first.data["systems"] == {"d365_sales": {"looked_at": 20, "told": 0}}
    paid, cancelled = documents[0], documents[1]
    close_in_sales(copy, paid.number, statecode=2, statuscode=100001)
    close_in_sales(copy, cancelled.number, statecode=3, statuscode=100003)
    answer = command("feedback", "--json", state=copy, **ON)
    assert answer.data["systems"]["d365_sales"] == {"looked_at": 2, "paid": 1, "told": 1}
    (finding,) = answer.data["findings"]
    assert finding["check"] == "feedback.cancelled"
    assert finding["record"] == f"document {cancelled.number}"
    now = {one.number: one for one in in_sales(copy)[1]}
    assert now[paid.number].status is DocumentStatus.PAID
    assert now[paid.number].paid_on is not None
    assert now[cancelled.number].status is DocumentStatus.HANDED_OFF
    told = command("feedback", state=copy, **ON)
    assert told.out.startswith("d365_sales: looked at 1, paid 0, opened again 0, told 1.")
    assert f"document {cancelled.number}" in " ".join(told.out.split())


def test_with_nothing_connected_both_commands_say_so_and_write_no_document(demo, copy):
    for name in ("handoff", "feedback"):
        answer = command(name, state=copy)
        assert (answer.code, answer.out.split(",")[0]) == (0, "No accounting system is connected")
    data = command("handoff", "--json", state=copy).data
    assert (data["status"], data["counts"], data["findings"]) == ("done", {}, [])
    assert command("feedback", "--json", state=copy).data == {"systems": {}, "findings": []}
    with opened(Settings.from_env({"CSP_STATE_DIR": str(copy)})) as worker:
        assert tuple(worker.store.documents()) == demo.documents
