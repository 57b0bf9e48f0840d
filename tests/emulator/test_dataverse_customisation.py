"""Views, forms, apps and roles of the emulated environment: rules, drafts, privileges."""

import pytest

from tests.emulator.dataverse_harness import CRM, ROOT, Dataverse, with_tables

VIEW_ID = "11111111-2222-5333-8444-555555555555"
FETCH = (
    '<fetch><entity name="nce_subscription"><attribute name="nce_name"/>'
    '<filter><condition attribute="nce_status" operator="eq" value="727000000"/></filter>'
    "</entity></fetch>"
)
LAYOUT = (
    '<grid name="resultset"><row name="result"><cell name="nce_name" width="200"/></row></grid>'
)


@pytest.fixture
def dv():
    return with_tables().copy()


def a_view(**values):
    return {
        "savedqueryid": VIEW_ID,
        "name": "Drafts",
        "returnedtypecode": "nce_subscription",
        "querytype": 0,
        "fetchxml": FETCH,
        "layoutxml": LAYOUT,
        **values,
    }


def unpublished(dv, entity_set):
    return dv.values(f"{entity_set}/{CRM}RetrieveUnpublishedMultiple()")


def test_a_view_is_a_draft_until_it_is_published(dv):
    assert dv.post("savedqueries", a_view()).new_id == VIEW_ID
    assert dv.get(f"savedqueries({VIEW_ID})").code == "0x80040217"
    assert not dv.values("savedqueries", filter=f"savedqueryid eq {VIEW_ID}")
    assert VIEW_ID in {row["savedqueryid"] for row in unpublished(dv, "savedqueries")}
    entities = "<entities><entity>nce_subscription</entity></entities>"
    body = {"ParameterXml": f"<importexportxml>{entities}</importexportxml>"}
    assert dv.post("PublishXml", body).status == 204
    assert dv.get(f"savedqueries({VIEW_ID})").json["name"] == "Drafts"


def test_an_id_that_is_taken_is_refused(dv):
    dv.post("savedqueries", a_view())
    assert dv.post("savedqueries", a_view()).code == "0x80040237"


@pytest.mark.parametrize(
    "fault",
    [
        {"fetchxml": FETCH.replace("nce_status", "nce_nothing")},
        {"fetchxml": FETCH.replace("nce_subscription", "account")},
        {"fetchxml": "<fetch>"},
        {"layoutxml": "<grid>"},
        {"returnedtypecode": "nce_nothing"},
    ],
)
def test_a_view_that_does_not_fit_its_table_is_refused(dv, fault):
    answer = dv.post("savedqueries", a_view(**fault))
    assert answer.status == 400
    assert not dv.values("savedqueries", filter="name eq 'Drafts'")
    dv.post("savedqueries", a_view())
    assert dv.patch(f"savedqueries({VIEW_ID})", fault).status == 400


def test_a_form_shows_columns_of_its_table_only(dv):
    form = {"name": "Billing", "objecttypecode": "nce_subscription", "type": 2}
    good = '<form><tabs><tab><control datafieldname="nce_name"/></tab></tabs></form>'
    assert dv.post("systemforms", {**form, "formxml": good}).status == 204
    bad = good.replace("nce_name", "nce_nothing")
    answer = dv.post("systemforms", {**form, "formxml": bad})
    assert "nce_nothing" in answer.message
    assert dv.post("systemforms", {**form, "formxml": "<tabs/>"}).status == 400


def test_every_table_has_a_main_view_and_a_quick_find(dv):
    views = dv.values("savedqueries", filter="returnedtypecode eq 'nce_subscription'")
    assert {view["querytype"] for view in views} == {0, 4}
    (find,) = [view for view in views if view["querytype"] == 4]
    assert 'isquickfindfields="1"' in find["fetchxml"]


def test_an_app_gets_the_prefix_of_its_publisher_and_keeps_each_part_once(dv):
    publisher = dv.post(
        "publishers",
        {
            "uniquename": "nce",
            "friendlyname": "NCE",
            "customizationprefix": "nce",
            "customizationoptionvalueprefix": 72700,
        },
    ).new_id
    solution = {"uniquename": "Nce", "friendlyname": "NCE", "version": "1.0.0.0"}
    dv.post("solutions", {**solution, "publisherid@odata.bind": f"/publishers({publisher})"})
    named = {"MSCRM.SolutionUniqueName": "Nce"}
    app = dv.send("POST", "appmodules", {"name": "A", "uniquename": "A"}, headers=named).new_id
    (row,) = unpublished(dv, "appmodules")
    assert row["uniquename"] == "nce_A"
    (part,) = dv.values("solutioncomponents", filter="componenttype eq 80")
    assert part["objectid"] == app
    dv.post("savedqueries", a_view())
    parts = {
        "AppId": app,
        "Components": [{"savedqueryid": VIEW_ID, "@odata.type": f"{CRM}savedquery"}],
    }
    for _ in range(2):
        assert dv.post("AddAppComponents", parts).status == 204
    where = f"_appmoduleidunique_value eq {row['appmoduleidunique']}"
    assert len(dv.values("appmodulecomponents", filter=where)) == 1
    # The service does not find the parts of an app that was never published.
    assert dv.get(f"RetrieveAppComponents(AppModuleId={app})").status == 404
    dv.post("PublishAllXml")
    (part,) = dv.values(f"RetrieveAppComponents(AppModuleId={app})")
    assert part["objectid"] == VIEW_ID


# --- roles ---------------------------------------------------------------------------------------


def a_role(dv, *names, depth="Global"):
    unit = dv.get("WhoAmI").json["BusinessUnitId"]
    body = {"name": "Clerk", "businessunitid@odata.bind": f"/businessunits({unit})"}
    role = dv.post("roles", body).new_id
    return role, grant(dv, role, *names, depth=depth)


def grant(dv, role, *names, depth="Global"):
    ids = {row["name"]: row["privilegeid"] for row in dv.values("privileges")}
    given = [{"PrivilegeId": ids[name], "Depth": depth} for name in names]
    return dv.post(f"roles({role})/{CRM}AddPrivilegesRole", {"Privileges": given})


def act_as(dv, role):
    """Give the one application user this role alone, and let roles count."""
    user = dv.get("WhoAmI").json["UserId"]
    path = f"systemusers({user})/systemuserroles_association"
    for row in dv.values(path):
        dv.delete(f"{path}({row['roleid']})/$ref")
    dv.post(f"{path}/$ref", {"@odata.id": f"{ROOT}roles({role})"})
    dv.settings.enforce_roles = True


def test_privileges_come_and_go_with_their_table(dv):
    names = {row["name"] for row in dv.values("privileges", filter="endswith(name,'nce_Line')")}
    assert names == {
        f"prv{right}nce_Line"
        for right in "Create Read Write Delete Append AppendTo Assign Share".split()
    }
    dv.delete("EntityDefinitions(LogicalName='nce_line')")
    assert not dv.values("privileges", filter="endswith(name,'nce_Line')")


def test_only_tables_with_owners_have_assign_and_share(dv):
    rows = dv.values("privileges", filter="endswith(name,'TransactionCurrency')")
    assert "prvReadTransactionCurrency" in {row["name"] for row in rows}
    assert "prvAssignTransactionCurrency" not in {row["name"] for row in rows}


def test_privileges_are_added_to_a_role_and_read_back(dv):
    role, added = a_role(dv, "prvReadnce_Line", "prvCreatence_Line")
    assert added.status == 204
    assert grant(dv, role, "prvReadnce_Line", depth="Local").status == 204
    held = dv.get(f"RetrieveRolePrivilegesRole(RoleId={role})").json["RolePrivileges"]
    assert {one["PrivilegeName"]: one["Depth"] for one in held} == {
        "prvCreatence_Line": "Global",
        "prvReadnce_Line": "Local",
    }


def test_unknown_privileges_and_depths_are_refused(dv):
    role, _ = a_role(dv)
    path = f"roles({role})/{CRM}AddPrivilegesRole"
    unknown = {"Privileges": [{"PrivilegeId": VIEW_ID, "Depth": "Global"}]}
    assert dv.post(path, unknown).status == 404
    assert grant(dv, role, "prvReadnce_Line", depth="Everywhere").status == 400
    assert dv.post(path, {}).status == 400
    assert not dv.get(f"RetrieveRolePrivilegesRole(RoleId={role})").json["RolePrivileges"]


def test_roles_decide_what_a_caller_may_do(dv):
    line = dv.post("nce_lines", {"nce_name": "kept"}).new_id
    parent = dv.post("nce_subscriptions", {"nce_name": "parent"}).new_id
    role, _ = a_role(dv, "prvReadnce_Line", "prvCreatence_Line", "prvAppendnce_Line")
    act_as(dv, role)
    assert dv.get(f"nce_lines({line})").status == 200
    assert dv.post("nce_lines", {"nce_name": "new"}).status == 204
    for refused in (
        dv.patch(f"nce_lines({line})", {"nce_name": "changed"}),
        dv.delete(f"nce_lines({line})"),
        dv.get("nce_subscriptions"),
        dv.get("EntityDefinitions", select="LogicalName"),
        dv.post("EntityDefinitions", {}),
        dv.post("PublishAllXml"),
        # Linking needs Append on the row and AppendTo on what it is linked to.
        dv.post("nce_lines", {"nce_SubscriptionId@odata.bind": f"/nce_subscriptions({parent})"}),
        dv.post(f"roles({role})/{CRM}AddPrivilegesRole", {"Privileges": []}),
    ):
        assert (refused.status, refused.code) == (403, "0x80040220")
    dv.settings.enforce_roles = False
    assert dv.patch(f"nce_lines({line})", {"nce_name": "changed"}).status == 204


def test_an_administrator_may_do_everything(dv):
    dv.settings.enforce_roles = True
    assert dv.post("nce_lines", {"nce_name": "new"}).status == 204
    assert dv.post("PublishAllXml").status == 204


def test_a_file_of_an_earlier_version_is_brought_up_to_date(tmp_path):
    """One without roles' privileges and without drafts: its rows stay, and what came later works."""
    file = str(tmp_path / "old.sqlite")
    old = Dataverse(file)
    old.make_tables()
    line = old.post("nce_lines", {"nce_name": "kept"}).new_id
    store, tables = old.app.store, old.app.store.schema.tables
    with store.transaction():
        for name in ("roleprivileges", "privilege"):
            store.delete_definitions(*(c.id for c in tables[name].columns.values()))
            store.delete_definitions(tables[name].id)
            store.connection.execute(f'DROP TABLE "{name}"')
        store.delete_definitions(tables["savedquery"].columns["componentstate"].id)
        store.connection.execute('ALTER TABLE savedquery DROP COLUMN "componentstate"')
    old.app.close()
    new = Dataverse(file)
    assert new.get(f"nce_lines({line})").json["nce_name"] == "kept"
    views = new.values("savedqueries", filter="returnedtypecode eq 'nce_subscription'")
    assert len(views) == 2
    role, added = a_role(new, "prvReadnce_Line", "prvReadEntity")
    assert added.status == 204
    act_as(new, role)
    assert new.get(f"nce_lines({line})").status == 200
    assert new.delete(f"nce_lines({line})").status == 403
