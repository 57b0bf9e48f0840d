"""Provisioning: complete, repeatable, resumable, and never destructive."""

from datetime import timedelta
from decimal import Decimal

import pytest

from dataverse.client import Query
from dataverse.metadata import column_body, found_type_name, table_body, type_name
from dataverse.provision import Provisioner
from dataverse.tables import CUSTOMER, INVOICE, SCHEMA_VERSION, SUBSCRIPTION, TABLES
from domain.problems import ConfigurationError, ServiceError, Severity
from tests.clients.dataverse_environment import a_customer, an_invoice, new_environment


@pytest.fixture
def environment():
    return new_environment(provisioned=False)


def test_a_plan_reads_as_sentences(environment):
    lines = str(environment.provisioner().plan()).splitlines()
    assert lines[:3] == [
        "create publisher cspbilling with prefix csp",
        "create solution CspBilling",
        "create table csp_customer (CSP customer)",
    ]
    assert "create relationship csp_invoiceline.csp_invoiceid to csp_invoice" in lines
    assert "create key csp_Invoice_ExternalKey on csp_invoice" in lines
    assert lines[-2:] == ["publish", f"record version {SCHEMA_VERSION} on solution CspBilling"]
    assert not environment.writes()


def test_after_applying_there_is_nothing_to_do(environment):
    done = environment.provisioner().apply()
    assert len([step for step in done.steps if step.path == "EntityDefinitions"]) == len(TABLES)
    again = environment.provisioner().plan()
    assert (str(again), bool(again)) == ("nothing to do", False)
    environment.forget_requests()
    assert environment.provisioner().apply() == again
    assert environment.writes() == []


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize(
    "path",
    [
        "publishers",
        "solutions",
        "EntityDefinitions",
        "RelationshipDefinitions",
        ".*/Keys",
        "PublishXml",
    ],
)
def test_a_crash_anywhere_is_healed_by_applying_again(environment, path, kind):
    environment.fail(path=path, method="POST", kind=kind)
    with pytest.raises(ServiceError):
        environment.provisioner().apply()
    environment.provisioner().apply()
    assert not environment.provisioner().plan()
    assert environment.store().save([a_customer()]).created == 1


def test_who_provisions_at_the_same_time_is_told_to_go_on(environment):
    others = iter([environment.provisioner().apply])

    def meanwhile(sentence):
        if sentence.startswith("create table"):
            next(others, lambda: None)()

    with pytest.raises(ServiceError, match="already exists") as caught:
        environment.provisioner(progress=meanwhile).apply()
    assert caught.value.hint == (
        "while it should create table csp_customer (CSP customer); apply again, it continues"
    )
    assert str(environment.provisioner().apply()) == "nothing to do"


def test_a_crash_after_each_step_is_healed(environment):
    """Stop after every tenth step, then go on: the end is the same."""

    class Crash(Exception):  # noqa: N818
        pass

    def crash_later(count):
        left = [count]

        def note(_):
            left[0] -= 1
            if left[0] < 0:
                raise Crash

        return note

    crashes = 0
    while True:
        try:
            environment.provisioner(progress=crash_later(10)).apply()
        except Crash:
            crashes += 1
        else:
            break
    assert crashes >= 5
    assert not environment.provisioner().plan()


def test_keys_are_waited_for(environment):
    environment.emulator.change_dataverse(key_activation_seconds=20)

    def sleep(seconds):
        environment.waits.append(seconds)
        environment.emulator.clock.advance(timedelta(seconds=seconds))

    environment.provisioner(sleep=sleep).apply()
    assert sum(environment.waits) >= 20
    assert environment.store().save([a_customer()]).created == 1


def test_waiting_ends_and_says_for_what(environment):
    environment.emulator.change_dataverse(key_activation_seconds=3600)
    with pytest.raises(ServiceError, match="gave up waiting for the key csp_Customer_ExternalKey"):
        environment.provisioner(patience=30).apply()
    environment.emulator.clock.advance(timedelta(hours=2))
    environment.provisioner().apply()
    assert not environment.provisioner().plan()


def test_new_columns_are_waited_for_until_rows_show_them(environment):
    environment.emulator.clock.advance(timedelta(minutes=1))  # the environment itself is seen
    environment.emulator.change_dataverse(metadata_cache_seconds=30)

    def sleep(seconds):
        environment.waits.append(seconds)
        environment.emulator.clock.advance(timedelta(seconds=seconds))

    environment.provisioner(sleep=sleep).apply()
    assert sum(environment.waits) >= 30
    assert environment.store().save([a_customer()]).created == 1


def test_a_missing_column_is_added_and_a_narrow_one_widened(environment):
    environment.provisioner().apply()
    client = environment.client()
    definition = "EntityDefinitions(LogicalName='csp_customer')/Attributes"
    client.call("DELETE", f"{definition}(LogicalName='csp_domain')")
    path = f"{definition}(LogicalName='csp_city')/Microsoft.Dynamics.CRM.StringAttributeMetadata"
    city = client.call("GET", path).json()
    client.call("PUT", path, body={**city, "MaxLength": 50})
    assert str(environment.provisioner().plan()).splitlines() == [
        "add column csp_customer.csp_domain Text(200)",
        "widen column csp_customer.csp_city to 200 characters",
        "publish",
    ]
    environment.provisioner().apply()
    assert not environment.provisioner().plan()
    assert client.call("GET", path).json()["DisplayName"] == city["DisplayName"]


def test_what_stands_in_the_way_is_refused_and_nothing_touched(environment):
    environment.provisioner(tables=(CUSTOMER,)).apply()
    client = environment.client()
    text = column_body(SUBSCRIPTION.column("csp_name"))
    number = {**column_body(INVOICE.column("csp_total")), "Precision": 0}
    other = {**column_body(INVOICE.column("csp_number")), "SchemaName": "csp_Status"}
    body = {**table_body(INVOICE), "Attributes": [text, number, other]}
    client.call("POST", "EntityDefinitions", body=body)
    plan = environment.provisioner().plan()
    assert [one.sentence for one in plan.refusals] == [
        "csp_invoice.csp_status is Text(100) and should be Choice.",
        "csp_invoice.csp_total is Money(0) and should be Money(2).",
    ]
    assert {one.severity for one in plan.refusals} == {Severity.BLOCK}
    environment.forget_requests()
    with pytest.raises(ConfigurationError, match="csp_total is Money"):
        environment.provisioner().apply()
    assert environment.writes() == []


def test_another_publishers_prefix_is_refused(environment):
    body = {
        "uniquename": "cspbilling",
        "friendlyname": "Somebody",
        "customizationprefix": "abc",
        "customizationoptionvalueprefix": 10000,
    }
    environment.client().call("POST", "publishers", body=body)
    (refusal,) = environment.provisioner().plan().refusals
    assert refusal.sentence == "publisher cspbilling is prefix abc and should be prefix csp."


def test_an_option_that_is_missing_is_added(environment):
    status = column_body(INVOICE.column("csp_status"))
    status["OptionSet"]["Options"].pop()
    attributes = [status, *(column_body(c) for c in INVOICE.columns if c.name != "csp_status")]
    body = {**table_body(INVOICE), "Attributes": attributes}
    environment.client().call("POST", "EntityDefinitions", body=body)
    plan = environment.provisioner().plan()
    assert plan.refusals == ()
    assert "add option 727000006 (Credited) to csp_invoice.csp_status" in str(plan).splitlines()
    environment.provisioner().apply()
    assert not environment.provisioner().plan()


def test_a_newer_schema_is_left_alone(environment):
    environment.provisioner().apply()
    client = environment.client()
    (row,) = client.call(
        "GET", "solutions", params={"$filter": "uniquename eq 'CspBilling'"}
    ).json()["value"]
    client.call("PATCH", f"solutions({row['solutionid']})", body={"version": "99.0.0.0"})
    assert not environment.provisioner().plan()


def test_a_type_is_named_alike_in_plan_and_refusal(environment):
    environment.provisioner().apply()
    for table in (CUSTOMER, INVOICE):
        path = f"EntityDefinitions(LogicalName='{table.name}')/Attributes"
        found = {
            one["LogicalName"]: one
            for one in environment.client().call("GET", path).json()["value"]
        }
        for column in table.columns:
            declared = type_name(column).replace("JSON in multi", "Multi")
            assert found_type_name(found[column.name]).startswith(declared)


def test_each_declared_type_holds_what_it_says(environment):
    """Ten decimals, money to the cent, days without a time zone: read back as they were sent."""
    environment.provisioner().apply()
    client = environment.client()
    environment.store().save_document(an_invoice())
    query = Query(
        table="csp_invoiceline", select=("csp_unitcost", "csp_amount", "csp_servicestart")
    )
    row = client.read(query)[0]
    assert row["csp_unitcost"] == Decimal("3.3333333333")
    assert row["csp_amount"] == Decimal("12.30")
    assert row["csp_servicestart"] == "2026-10-01"


def test_progress_is_told(environment):
    told = []
    Provisioner(environment.client(), tables=(CUSTOMER,), progress=told.append).apply()
    assert told == [
        "create publisher cspbilling with prefix csp",
        "create solution CspBilling",
        "create table csp_customer (CSP customer)",
        "create relationship csp_customer.csp_accountid to account",
        "create key csp_Customer_ExternalKey on csp_customer",
        "publish",
        f"record version {SCHEMA_VERSION} on solution CspBilling",
    ]
