"""Provisioning: complete, repeatable, resumable, and never destructive."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from dataverse.client import Query
from dataverse.microsoft_tables import CUSTOMER, SUBSCRIPTION
from dataverse.provision.finance_app import FINANCE_APP
from dataverse.provision.metadata import column_body, found_type_name, table_body, type_name
from dataverse.provision.roles import READER
from dataverse.tables import BILLING_RUN, INVOICE, SCHEMA_VERSION, TABLES, UNIT_OF_WORK
from domain.problems import ConfigurationError, ServiceError, Severity
from tests.clients.dataverse_environment import a_customer, an_invoice, new_environment


@pytest.fixture
def environment():
    return new_environment(provisioned=False)


def test_a_plan_reads_as_sentences(environment):
    plan = environment.provisioner().plan()
    lines = str(plan).splitlines()
    assert lines[:5] == [
        "solution:",
        "  create publisher cspbilling with prefix csp",
        "  create solution CspBilling",
        "tables:",
        "  create table csp_customer (CSP customer)",
    ]
    assert "  add column csp_invoice.csp_document File" in lines
    assert "  create relationship csp_invoiceline.csp_invoiceid to csp_invoice" in lines
    assert "  create key csp_Invoice_ExternalKey on csp_invoice" in lines
    assert "  create view Drafts to approve of csp_invoice" in lines
    assert "  create role CSP Billing reader" in lines
    assert lines[-3:-1] == [
        "  publish",
        f"  record version {SCHEMA_VERSION} on solution CspBilling",
    ]
    counts = ", ".join(f"{part} {count}" for part, count in plan.counts.items())
    assert lines[-1] == f"{len(plan.steps)} operations: {counts}"
    assert plan.counts["tables"] == plan.counts["keys"] == len(TABLES)
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
        "savedqueries",
        "systemforms",
        "sitemaps",
        "appmodules",
        "roles",
        "roles.*AddPrivilegesRole",
        "AddAppComponents",
        ".*ref",
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


SMALL = (CUSTOMER, BILLING_RUN, UNIT_OF_WORK)


def a_small_installation():
    """Few tables with each kind of step: a file less, everything else."""
    names = {table.name for table in SMALL}
    shown = {BILLING_RUN.name, UNIT_OF_WORK.name}
    app = replace(
        FINANCE_APP,
        groups=tuple(
            replace(group, pages=tuple(page for page in group.pages if page.table in names))
            for group in FINANCE_APP.groups
        ),
        views=tuple(view for view in FINANCE_APP.views if view.table in names),
        forms=tuple(form for form in FINANCE_APP.forms if form.table in shown),
    )
    kept = tuple(p for table in SMALL for p in READER.privileges if p.endswith(table.schema_name))
    return {"tables": SMALL, "app": app, "roles": (replace(READER, privileges=kept),)}


class Crash(Exception):  # noqa: N818
    pass


def crash_after(count):
    """A progress callback that lets so many steps be done.

    The check and publishing come before the version is recorded, each time until it is.
    """
    left = [count]

    def note(sentence):
        if sentence.startswith(("wait", "check", "publish")):
            return
        left[0] -= 1
        if left[0] < 0:
            raise Crash

    return note


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_a_crash_after_every_step_is_healed(environment, at_once):
    """Stop after each step, then go on: the end is what one undisturbed run makes."""
    whole = new_environment(provisioned=False)
    small = a_small_installation()
    steps = whole.provisioner(**small).apply().steps
    runs = 1
    while True:
        try:
            environment.provisioner(**small, progress=crash_after(at_once)).apply()
        except Crash:
            runs += 1
        else:
            break
    counted = [step for step in steps if not str(step).startswith(("check", "publish"))]
    assert runs >= len(counted) // at_once
    assert not environment.provisioner(**small).plan()
    assert components(environment) == components(whole)


def test_a_crash_in_a_whole_installation_is_healed(environment):
    """The same with everything, stopped after every fifteenth step."""
    whole = new_environment()
    for _ in range(20):
        try:
            environment.provisioner(progress=crash_after(15)).apply()
        except Crash:
            continue
        break
    assert not environment.provisioner().plan()
    assert components(environment) == components(whole)


def components(environment):
    """Everything that provisioning makes, without what each environment numbers for itself."""
    rows = environment.emulator.dataverse.store.rows
    sql = "SELECT kind, owner, json_extract(definition, '$.SchemaName') FROM _definition"
    mine = "IN (SELECT objectid FROM solutioncomponent)"
    return {
        "definitions": sorted(rows(f"{sql} WHERE id {mine}"), key=repr),
        "views": sorted(
            rows("SELECT name, returnedtypecode, querytype, fetchxml, layoutxml FROM savedquery")
        ),
        "forms": sorted(rows("SELECT formid, formxml FROM systemform WHERE name <> 'Information'")),
        "menu": rows("SELECT sitemapid, sitemapxml FROM sitemap"),
        "app": rows("SELECT appmoduleid, name, uniquename, description FROM appmodule"),
        "parts": rows("SELECT COUNT(*) FROM appmodulecomponent"),
        "privileges": sorted(rows("SELECT roleid, name FROM roleprivileges")),
        "unpublished": rows("SELECT COUNT(*) FROM savedquery WHERE componentstate <> 0"),
        "version": rows("SELECT version FROM solution WHERE uniquename = 'CspBilling'"),
    }


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
    assert [str(step) for step in environment.provisioner().plan().steps] == [
        "add column csp_customer.csp_domain Text(200)",
        "widen column csp_customer.csp_city to 200 characters",
        "publish",
    ]
    environment.provisioner().apply()
    assert not environment.provisioner().plan()
    assert client.call("GET", path).json()["DisplayName"] == city["DisplayName"]


def test_what_stands_in_the_way_is_refused_and_nothing_touched(environment):
    environment.provisioner(tables=(CUSTOMER,), app=None, roles=()).apply()
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
    assert "  add option 727000006 (Credited) to csp_invoice.csp_status" in str(plan).splitlines()
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
    environment.provisioner(tables=(CUSTOMER,), app=None, roles=(), progress=told.append).apply()
    assert told == [
        "create publisher cspbilling with prefix csp",
        "create solution CspBilling",
        "create table csp_customer (CSP customer)",
        "create relationship csp_customer.csp_accountid to account",
        "create key csp_Customer_ExternalKey on csp_customer",
        "publish",
        f"record version {SCHEMA_VERSION} on solution CspBilling",
    ]


# --- locks, cascade rules, keys, auditing ---------------------------------------------------------


def test_another_customisation_is_waited_for(environment):
    locked = {"error": {"code": "0x80071151", "message": "Cannot start the requested operation."}}
    environment.fail(
        path="RelationshipDefinitions", method="POST", status=400, body=locked, count=2
    )
    environment.provisioner().apply()
    assert environment.waits[:2] == [5, 10]
    assert not environment.provisioner().plan()


def test_waiting_for_another_customisation_ends(environment):
    locked = {"error": {"code": "0x80071151", "message": "Cannot start the requested operation."}}
    environment.fail(
        path="RelationshipDefinitions", method="POST", status=400, body=locked, count=9
    )
    with pytest.raises(ServiceError, match="Cannot start") as caught:
        environment.provisioner().apply()
    assert caught.value.hint.endswith("apply again, it continues")
    assert sum(environment.waits) == 5 + 10 + 20 + 40


def test_a_cascade_rule_that_differs_is_refused(environment):
    environment.provisioner().apply()
    client = environment.client()
    name = "csp_invoiceline_csp_invoice_invoiceid"
    path = f"RelationshipDefinitions(SchemaName='{name}')"
    there = client.call("GET", path).json()
    rules = {**there["CascadeConfiguration"], "Delete": "RemoveLink"}
    client.call("PUT", path, body={**there, "CascadeConfiguration": rules})
    (refused,) = environment.provisioner().plan().refusals
    assert refused.sentence == (
        "csp_invoiceline.csp_invoiceid is RemoveLink on delete and should be Cascade on delete."
    )


def test_a_key_of_other_columns_is_refused(environment):
    environment.provisioner().apply()
    client = environment.client()
    keys = "EntityDefinitions(LogicalName='csp_customer')/Keys"
    client.call("DELETE", f"{keys}(LogicalName='csp_customer_externalkey')")
    other = {
        "SchemaName": "csp_Customer_ExternalKey",
        "KeyAttributes": ["csp_tenantid"],
        "DisplayName": table_body(CUSTOMER)["DisplayName"],
    }
    client.call("POST", keys, body=other)
    (refused,) = environment.provisioner().plan().refusals
    assert refused.sentence == (
        "key csp_Customer_ExternalKey is of csp_tenantid and should be of csp_externalkey."
    )


def test_a_longer_text_is_left_as_it_is(environment):
    environment.provisioner().apply()
    client = environment.client()
    path = (
        "EntityDefinitions(LogicalName='csp_customer')/Attributes(LogicalName='csp_city')"
        "/Microsoft.Dynamics.CRM.StringAttributeMetadata"
    )
    city = client.call("GET", path).json()
    client.call("PUT", path, body={**city, "MaxLength": 4000})
    assert not environment.provisioner().plan()


def test_auditing_covers_what_people_decide_and_what_money_stands_in(environment):
    environment.provisioner().apply()
    select = {"$select": "LogicalName,IsAuditEnabled"}
    rows = environment.client().call("GET", "EntityDefinitions", params=select).json()["value"]
    audited = {r["LogicalName"] for r in rows if (r["IsAuditEnabled"] or {}).get("Value")}
    assert audited == {table.name for table in TABLES if table.audited}
    assert {"csp_billingcontract", "csp_markuprule", "csp_invoice", "csp_finding"} <= audited
    assert "csp_usagesummary" not in audited
    path = "EntityDefinitions(LogicalName='csp_invoice')/Attributes"
    columns = environment.client().call("GET", path).json()["value"]
    on = {
        c["LogicalName"]: c["IsAuditEnabled"]["Value"]
        for c in columns
        if "csp_" in c["LogicalName"] and c.get("IsAuditEnabled")
    }
    assert on["csp_total"]
    assert on["csp_status"]
    assert not on["csp_rowhash"]


def test_auditing_that_was_never_on_is_switched_on(environment):
    old = {**table_body(CUSTOMER), "IsAuditEnabled": None}
    client = environment.client()
    client.call("POST", "EntityDefinitions", body=old)
    steps = [str(s) for s in environment.provisioner().plan().steps]
    assert "switch auditing on for csp_customer" in steps
    environment.provisioner().apply()
    assert not environment.provisioner().plan()
    there = client.call("GET", "EntityDefinitions(LogicalName='csp_customer')").json()
    assert there["IsAuditEnabled"]["Value"]
    assert there["DisplayName"]["UserLocalizedLabel"]["Label"] == CUSTOMER.label


def test_a_plan_says_when_the_organisation_keeps_no_audit(environment):
    environment.provisioner().apply()
    client = environment.client()
    (row,) = client.call("GET", "organizations").json()["value"]
    client.call("PATCH", f"organizations({row['organizationid']})", body={"isauditenabled": False})
    plan = environment.provisioner().plan()
    assert plan.notes == (
        "auditing is off for the organisation: nothing is kept until it is switched on",
    )
    assert not plan


def test_a_file_is_a_virtual_column_that_is_not_audited():
    body = column_body(INVOICE.files[0], audited=True)
    assert (body["AttributeType"], body["AttributeTypeName"]) == ("Virtual", {"Value": "FileType"})
    assert body["MaxSizeInKB"] == 10_240
    assert not body["IsAuditEnabled"]["Value"]


def test_the_pdf_column_takes_a_file(environment):
    environment.provisioner().apply()
    environment.store().save_document(an_invoice())
    client = environment.client()
    (row,) = client.read(Query(table="csp_invoice", select=("csp_invoiceid",)))
    path = client.id_path("csp_invoice", row["csp_invoiceid"]) + "/csp_document"
    headers = {"Content-Type": "application/octet-stream", "x-ms-file-name": "INV-1.pdf"}
    client.call("PATCH", path, headers=headers, body=b"%PDF-1.7")
    assert client.call("GET", f"{path}/$value").content == b"%PDF-1.7"
