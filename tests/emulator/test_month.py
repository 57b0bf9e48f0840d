"""The partner's month as a client meets it: everything is reachable, and the sums agree over HTTP."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal

import pytest

from emulator import Emulator, wire
from tests.emulator.conftest import Desk
from tests.emulator.test_exports import finish, lines
from tests.emulator.test_graph import RELATIONSHIPS, check, follow
from tests.emulator.test_partner_center import all_pages


@pytest.fixture(scope="module")
def month():
    with closing(Emulator(scenario="partner-month")) as emulated:
        yield Desk(emulated)


@pytest.fixture(scope="module")
def october(month):
    invoices = wire.decode(month.pc("/v1/invoices").content)["items"]
    return [row for row in invoices if row["billingPeriodStartDate"].startswith("2026-10")]


def test_two_invoices_one_for_each_currency(october):
    assert sorted(row["currencyCode"] for row in october) == ["EUR", "USD"]


def test_exported_reconciliation_lines_add_up_to_the_invoice(month, october):
    for invoice in october:
        rows = lines(month, "reconciliation/billed", invoiceId=invoice["id"])
        total = sum((Decimal(str(row["Total"])) for row in rows), Decimal(0))
        assert total == invoice["totalCharges"]
        assert {row["InvoiceNumber"] for row in rows} == {invoice["id"]}


def test_daily_usage_belongs_to_customers_that_are_listed(month, october):
    listed = {row["id"] for page in all_pages(month, "/v1/customers", "size=7") for row in page}
    for invoice in october:
        rows = lines(month, "usage/billed", invoiceId=invoice["id"])
        assert len(rows) > 5000
        assert {row["CustomerId"] for row in rows} <= listed
        assert all(row["UsageDate"].startswith("2026-10-") for row in rows)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/profiles/company",
        "/profiles/billing",
        "/subscriptions",
        "/orders",
        "/agreements?agreementType=*",
        "/directSignedMicrosoftCustomerAgreementStatus",
        "/relationships",
        "/qualifications",
        "/validationStatus?type=account",
    ],
)
def test_every_customer_answers(month, path):
    token = month.token("partner_center")
    for row in month.pc("/v1/customers?size=500", token=token).json()["items"]:
        answer = month.pc(f"/v1/customers/{row['id']}{path}", token=token)
        assert answer.status_code == 200, answer.text


def test_every_azure_plan_lists_its_subscriptions(month):
    token, plans = month.token("partner_center"), 0
    for customer in month.pc("/v1/customers?size=500", token=token).json()["items"]:
        path = f"/v1/customers/{customer['id']}/subscriptions"
        for row in month.pc(path, token=token).json()["items"]:
            if row["billingType"] == "usage":
                found = month.pc(f"{path}/{row['id']}/azureEntitlements", token=token).json()
                assert found["totalCount"] >= 1
                plans += 1
    assert plans >= 5


def test_relationships_of_the_month_meet_the_schema(month):
    rows = [row for page in follow(month, f"{RELATIONSHIPS}?$top=7") for row in page]
    assert {"active", "expiring", "expired"} <= {row["status"] for row in rows}
    for row in rows:
        kind = row["@odata.type"].removeprefix("#microsoft.graph.")
        check(row, kind)
        path = f"{RELATIONSHIPS}/{row['id']}/accessAssignments"
        for assignment in month.graph(path).json()["value"]:
            check(assignment, "delegatedAdminAccessAssignment")


def test_an_early_month_had_no_usage(month):
    oldest = wire.decode(month.pc("/v1/invoices").content)["items"][-1]
    path = "/v1.0/reports/partners/billing/usage/billed/export"
    started = month.graph(path, "POST", json={"invoiceId": oldest["id"]})
    assert finish(month, started)["error"]["code"] == "5000"


@pytest.mark.parametrize("view", ["updatedlicensebased", "azure_consumption", "software"])
def test_sheets_exist(month, view):
    path = f"/v1.0/sales/pricesheets(Market='US',PricesheetView='{view}')/$value"
    answer = month.call("price", "GET", path, headers={"client-request-id": "1"})
    assert answer.content.startswith(b"PK")
