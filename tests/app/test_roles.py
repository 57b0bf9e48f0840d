"""The security roles suffice for the work, and for no more: a month in which roles count."""

from dataclasses import replace
from pathlib import Path

import pytest

from app import demo_data
from app.demo import PERIOD, _key_in, _work
from app.settings import Settings
from app.wiring import opened
from dataverse.client import Query
from dataverse.provision.roles import MANAGER, READER, ROLES, WORKER
from dataverse.tables import INVOICE, TABLES
from domain.problems import NotAuthorised, WorkerError
from sync import approval
from sync.messages import StartRun


def act_as(worker, *roles):
    """Give the application user these roles alone, and let roles count."""
    systems = worker.systems
    systems.emulator.change_dataverse(enforce_roles=False)
    client = worker.dataverse
    user = client.who_am_i()["UserId"]
    path = f"systemusers({user})/systemuserroles_association"
    for row in client.call("GET", path).json()["value"]:
        client.call("DELETE", f"{path}({row['roleid']})/$ref")
    for role in roles:
        address = f"{client.http.base_url}/api/data/v9.2/roles({role.id})"
        client.call("POST", f"{path}/$ref", body={"@odata.id": address})
    systems.emulator.change_dataverse(enforce_roles=True)


def refused(work, *arguments, **named):
    with pytest.raises(NotAuthorised) as caught:
        work(*arguments, **named)
    assert caught.value.code == "0x80040220"
    return str(caught.value)


def provisioned(state: Path):
    return opened(Settings.from_env({"CSP_STATE_DIR": str(state)}))


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """A whole month, worked under the worker's role alone."""
    state = tmp_path_factory.mktemp("roles")
    with provisioned(state) as worker:
        worker.provisioner().apply()
        act_as(worker, WORKER)
        _work(worker, StartRun(kind="sync", day=worker.today()))
        # Accounts are the partner's own: the worker only reads them.
        worker.systems.emulator.change_dataverse(enforce_roles=False)
        for account in demo_data.accounts(list(worker.store.customers())).values():
            worker.dataverse.create("account", account.columns)
        worker.systems.emulator.change_dataverse(enforce_roles=True)
        _key_in(worker, list(worker.store.customers()))
        _work(worker, StartRun(kind="bill", period=PERIOD))
        approval.approve(worker.ports, StartRun(kind="approve", period=PERIOD))
        yield worker


def test_the_workers_role_suffices_for_a_whole_month(month, demo):
    mine = {(d.key, d.status, d.total) for d in month.store.documents()}
    assert mine == {(d.key, d.status, d.total) for d in demo.documents}
    assert {f.key for f in month.store.findings()} == {f.key for f in demo.findings}


def test_the_worker_creates_no_account_and_deletes_no_customer(month):
    act_as(month, WORKER)
    assert "prvCreateAccount" in refused(month.dataverse.create, "account", {"name": "New"})
    (customer, *_) = month.dataverse.read(
        Query(table="csp_customer", select=("csp_customerid",), top=1)
    )
    path = month.dataverse.id_path("csp_customer", customer["csp_customerid"])
    assert "prvDeletecsp_Customer" in refused(month.dataverse.call, "DELETE", path)


def test_the_worker_changes_no_tables_and_no_roles(month):
    act_as(month, WORKER)
    call = month.dataverse.call
    assert "prvPublishCustomization" in refused(call, "POST", "PublishAllXml")
    assert "Entity privilege" in refused(call, "POST", "EntityDefinitions", body={})
    path = f"roles({WORKER.id})/Microsoft.Dynamics.CRM.AddPrivilegesRole"
    assert "Role privilege" in refused(call, "POST", path, body={"Privileges": []})


def rows(worker, table, *columns, where=""):
    return worker.dataverse.read(Query(table=table, select=columns, where=where, top=1))


def test_a_manager_enters_prices_and_settles_findings_and_touches_no_document(month):
    act_as(month, MANAGER)
    client = month.dataverse
    price = {"csp_sku": "CFQ7TTC0LH18:0001", "csp_unitprice": 5, "csp_currency": "USD"}
    made = client.create("csp_pricelistitem", price)
    client.call("PATCH", client.id_path("csp_pricelistitem", made), body={"csp_unitprice": 6})
    (customer,) = rows(month, "csp_customer", "csp_customerid", "csp_name")
    (account,) = rows(month, "account", "accountid")
    path = client.id_path("csp_customer", customer["csp_customerid"])
    client.call(
        "PATCH", path, body={"csp_AccountId@odata.bind": f"/accounts({account['accountid']})"}
    )
    (finding,) = rows(month, "csp_finding", "csp_findingid", "csp_state")
    path = client.id_path("csp_finding", finding["csp_findingid"])
    client.call("PATCH", path, body={"csp_state": finding["csp_state"]})
    client.create("csp_billingrun", {"csp_name": "October again"})
    (invoice,) = rows(month, "csp_invoice", "csp_invoiceid")
    path = client.id_path("csp_invoice", invoice["csp_invoiceid"])
    assert "prvWritecsp_Invoice" in refused(client.call, "PATCH", path, body={"csp_number": "X"})
    assert "prvDeletecsp_Invoice" in refused(client.call, "DELETE", path)
    assert "prvCreatecsp_Invoice" in refused(client.create, "csp_invoice", {"csp_name": "my own"})


def test_a_reader_sees_everything_and_changes_nothing(month):
    act_as(month, READER)
    client = month.dataverse
    for table in TABLES:
        rows(month, table.name, table.primary_id)
        words = refused(client.create, table.name, {"csp_name": "mine"})
        assert f"prvCreate{table.schema_name}" in words


def test_nobody_but_the_worker_may_delete_documents():
    rights = {
        role.name: [p for p in role.privileges if p.startswith("prvDelete")] for role in ROLES
    }
    assert rights == {
        "CSP Billing worker": ["prvDeletecsp_Invoice", "prvDeletecsp_InvoiceLine"],
        "CSP Billing manager": [],
        "CSP Billing reader": [],
    }


def test_what_the_role_allows_the_store_still_refuses(month):
    """Roles know tables and not states: an issued document is kept by the store."""
    act_as(month, WORKER)
    issued = next(d for d in month.store.documents() if d.number)
    with pytest.raises(WorkerError):
        month.store.save_document(replace(issued, number=""))
    assert issued.number in {d.number for d in month.store.documents()}
    assert INVOICE.audited


# --- the plan of roles ---------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path):
    with provisioned(tmp_path) as worker:
        worker.provisioner().apply()
        yield worker


def held(worker, role):
    answer = worker.dataverse.call("GET", f"RetrieveRolePrivilegesRole(RoleId={role.id})").json()
    return {one["PrivilegeName"]: one["Depth"] for one in answer["RolePrivileges"]}


def drop(worker, role, name):
    """Take a privilege away, as an administrator would in the editor of roles."""
    connection = worker.systems.emulator.dataverse.store.connection
    connection.execute("DELETE FROM roleprivileges WHERE roleid = ? AND name = ?", (role.id, name))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.key)
def test_a_role_has_what_is_declared_for_the_whole_organisation(fresh, role):
    assert held(fresh, role) == dict.fromkeys(role.privileges, "Global")


def test_a_role_that_has_less_is_extended(fresh):
    drop(fresh, WORKER, "prvWritecsp_Invoice")
    drop(fresh, WORKER, "prvReadAccount")
    steps = [str(step) for step in fresh.provisioner().plan().steps]
    assert steps[0] == "grant 2 privileges to role CSP Billing worker"
    fresh.provisioner().apply()
    assert held(fresh, WORKER) == dict.fromkeys(WORKER.privileges, "Global")
    assert not fresh.provisioner().plan()


def test_a_privilege_for_fewer_rows_is_widened(fresh):
    client = fresh.dataverse
    where = {"$filter": "name eq 'prvReadcsp_Invoice'"}
    (row,) = client.call("GET", "privileges", params=where).json()["value"]
    path = f"roles({READER.id})/Microsoft.Dynamics.CRM.AddPrivilegesRole"
    narrow = {"PrivilegeId": row["privilegeid"], "Depth": "Basic"}
    client.call("POST", path, body={"Privileges": [narrow]})
    fresh.provisioner().apply()
    assert held(fresh, READER)["prvReadcsp_Invoice"] == "Global"


def test_a_role_that_has_more_is_left_alone(fresh):
    client = fresh.dataverse
    where = {"$filter": "name eq 'prvWriteAccount'"}
    (row,) = client.call("GET", "privileges", params=where).json()["value"]
    path = f"roles({MANAGER.id})/Microsoft.Dynamics.CRM.AddPrivilegesRole"
    more = {"PrivilegeId": row["privilegeid"], "Depth": "Global"}
    client.call("POST", path, body={"Privileges": [more]})
    client.call("PATCH", f"roles({MANAGER.id})", body={"name": "Finance"})
    assert not fresh.provisioner().plan()
    assert held(fresh, MANAGER)["prvWriteAccount"] == "Global"


def test_a_privilege_that_the_environment_does_not_have_is_told(fresh):
    store = fresh.systems.emulator.dataverse.store
    store.connection.execute("DELETE FROM privilege WHERE name = 'prvReadRelationship'")
    drop(fresh, WORKER, "prvReadRelationship")
    plan = fresh.provisioner().plan()
    assert plan.notes == (
        "privilege prvReadRelationship is not known here and is left out of the roles",
    )
    assert not plan
