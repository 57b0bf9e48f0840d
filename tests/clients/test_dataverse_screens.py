"""What Dynamics users see: every view, form and menu entry fits the tables, and shows the month."""

import re
import uuid
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from dataverse.provision import gist
from dataverse.provision.finance_app import FINANCE_APP
from dataverse.provision.form_layout import CONTROL, LINK, LOOKUP, SUBGRID, form_xml, kind_of
from dataverse.provision.layout import fetch_xml, layout_xml, primary_name, site_map_xml, write
from dataverse.provision.plan_screens import mark_of, marked
from dataverse.provision.screens import Grid, Section, ViewKind
from dataverse.schema import Kind
from dataverse.tables import TABLES
from tests.clients.dataverse_environment import new_environment

TABLE = {table.name: table for table in TABLES}
VIEWS = {f"{view.table}/{view.key}": view for view in FINANCE_APP.views}
FORMS = {form.table: form for form in FINANCE_APP.forms}
VISIBLE_WIDTH = 1700

# What Microsoft's FormXml schema lets each element hold, as far as our forms use it.
FORM_GRAMMAR = {
    "form": ("tabs", "header", "DisplayConditions"),
    "tabs": ("tab",),
    "tab": ("labels", "columns"),
    "columns": ("column",),
    "column": ("sections",),
    "sections": ("section",),
    "section": ("labels", "rows"),
    "rows": ("row",),
    "row": ("cell",),
    "cell": ("labels", "control"),
    "labels": ("label",),
    "control": ("parameters",),
    "header": ("rows",),
    "DisplayConditions": ("Everyone",),
}
# And of the site map.
MENU_GRAMMAR = {
    "SiteMap": ("Area",),
    "Area": ("Titles", "Group"),
    "Group": ("Titles", "SubArea"),
    "SubArea": ("Titles", "Privilege"),
    "Titles": ("Title",),
}


def parsed(element):
    """As it is read after it was written."""
    return ET.fromstring(write(element))  # noqa: S314


def follows(element, grammar):
    """Each element holds only what the schema allows, in the schema's order."""
    allowed = grammar.get(element.tag, ())
    places = [allowed.index(child.tag) for child in element if child.tag in allowed]
    if element.tag != "parameters":
        assert [child.tag for child in element if child.tag not in allowed] == []
        assert places == sorted(places), element.tag
        for child in element:
            follows(child, grammar)


# --- views ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_shows_filters_and_orders_by_columns_that_exist(name):
    view = VIEWS[name]
    table = TABLE[view.table]
    for column in (*(name for name, _ in view.columns), *(o.split()[0] for o in view.order)):
        kind_of(table, column)
    for column, *_ in view.where:
        kind_of(table, column)
    for column in view.find:
        assert kind_of(table, column) in (Kind.TEXT, Kind.MEMO)
    assert len({name for name, _ in view.columns}) == len(view.columns)
    assert all(40 <= width <= 500 for _, width in view.columns)
    assert view.description.endswith(".")


@pytest.mark.parametrize("name", VIEWS)
def test_the_xml_of_a_view_reads_what_it_shows(name):
    view = VIEWS[name]
    table = TABLE[view.table]
    fetch = parsed(fetch_xml(view, table))
    grid = parsed(layout_xml(view, table, object_type=10_001))
    read = {one.get("name") for one in fetch.iter("attribute")}
    assert {cell.get("name") for cell in grid.iter("cell")} <= read
    assert table.primary_id in read
    assert (grid.get("object"), grid.get("jump")) == ("10001", primary_name(table))
    assert bool(view.find) is (view.kind is ViewKind.FIND)
    marked_filters = [f for f in fetch.iter("filter") if f.get("isquickfindfields") == "1"]
    assert len(marked_filters) == (view.kind is ViewKind.FIND)


def test_amounts_stay_in_sight_with_their_currency():
    for view in FINANCE_APP.views:
        names = [name for name, _ in view.columns]
        kinds = {name: kind_of(TABLE[view.table], name) for name in names}
        if Kind.MONEY in kinds.values():
            assert "csp_currency" in names, view.name
            left = 0
            for name, width in view.columns:
                left += width
                if kinds[name] is Kind.MONEY:
                    assert left <= VISIBLE_WIDTH, f"{view.name}: {name} is out of sight"


def test_every_table_has_a_main_view_and_a_form():
    mains = [view.table for view in FINANCE_APP.views if view.kind is ViewKind.MAIN]
    assert sorted(mains) == sorted(TABLE)
    assert sorted(FORMS) == sorted(TABLE)


def test_ids_are_made_from_keys_and_not_from_names():
    ids = [one.id for one in (*FINANCE_APP.views, *FINANCE_APP.forms, FINANCE_APP)]
    assert len(set(ids)) == len(ids)
    view = VIEWS["csp_invoice/drafts"]
    assert replace(view, name="Something else").id == view.id
    assert uuid.UUID(view.id).version == 5


# --- forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
def test_a_form_follows_the_published_grammar(name):
    root = parsed(form_xml(FORMS[name], TABLE, FINANCE_APP))
    follows(root, FORM_GRAMMAR)
    ids = [one.get("id") for one in root.iter() if one.tag in ("tab", "section", "cell", "header")]
    assert len(set(ids)) == len(ids)
    for cell in root.iter("cell"):
        # The platform counts rows: a cell over several rows is followed by empty ones.
        assert int(cell.get("rowspan", "1")) >= 1
    for section in root.iter("section"):
        covered = sum(
            max((int(c.get("rowspan", "1")) for c in row), default=0) for row in section.iter("row")
        )
        assert covered == len(list(section.iter("row")))


@pytest.mark.parametrize("name", FORMS)
def test_a_form_shows_each_column_once_with_the_control_of_its_type(name):
    form, table = FORMS[name], TABLE[name]
    root = parsed(form_xml(form, TABLE, FINANCE_APP))
    body = [c for c in root.find("tabs").iter("control") if c.get("datafieldname")]
    names = [control.get("datafieldname") for control in body]
    assert len(set(names)) == len(names), "a column stands twice on the form"
    for control in body:
        name = control.get("datafieldname")
        kind = kind_of(table, name)
        expected = LOOKUP if kind is None else CONTROL[kind]
        if name == "csp_link":
            expected = LINK  # an address is to be clicked
        assert control.get("classid") == expected
    header = [c.get("datafieldname") for c in root.find("header").iter("control")]
    assert 1 <= len(header) <= 4


@pytest.mark.parametrize("name", FORMS)
def test_a_grid_follows_a_relationship_that_exists(name):
    form = FORMS[name]
    root = parsed(form_xml(form, TABLE, FINANCE_APP))
    grids = [part for tab in form.tabs for part in tab.parts if isinstance(part, Grid)]
    controls = [c for c in root.iter("control") if c.get("classid") == SUBGRID]
    assert len(grids) == len(controls)
    for grid, control in zip(grids, controls, strict=True):
        child = TABLE[grid.table]
        (lookup,) = [one for one in child.lookups if one.name == grid.lookup]
        assert lookup.target == name
        assert control.findtext("parameters/RelationshipName") == child.relationship(lookup)
        # A view that the platform makes has an id of its own, unknown beforehand.
        view = FINANCE_APP.view(grid.table, grid.view)
        assert view.kind is ViewKind.MORE
        assert control.findtext("parameters/ViewId") == "{" + view.id + "}"


def test_only_what_people_enter_can_be_edited():
    editable = {}
    for form in FINANCE_APP.forms:
        root = form_xml(form, TABLE, FINANCE_APP)
        editable[form.table] = {
            c.get("datafieldname") for c in root.iter("control") if c.get("disabled") == "false"
        }
    assert editable["csp_invoice"] == editable["csp_invoiceline"] == set()
    assert editable["csp_costline"] == editable["csp_subscription"] == set()
    assert editable["csp_customer"] == {"csp_accountid"}
    assert editable["csp_finding"] == {
        "csp_state",
        "csp_releasedreason",
        "csp_releaseduntil",
    }
    assert {"csp_unitprice", "csp_currency", "csp_validfrom"} <= editable["csp_pricelistitem"]
    assert editable["csp_billingrun"] == {
        "csp_kind",
        "csp_period",
        "csp_day",
        "csp_dryrun",
        "csp_customerid",
    }
    # The identity of a row is the worker's, whoever enters the rest.
    for names in editable.values():
        assert not names & {"csp_key", "csp_externalkey", "createdon", "modifiedon"}


def test_an_invoice_shows_its_lines_with_their_reasons():
    form = FORMS["csp_invoice"]
    (grid,) = [p for tab in form.tabs for p in tab.parts if isinstance(p, Grid)]
    shown = [name for name, _ in FINANCE_APP.view(grid.table, grid.view).columns]
    assert shown[-1] == "csp_why"
    line = [p for tab in FORMS["csp_invoiceline"].tabs for p in tab.parts if isinstance(p, Section)]
    assert line[0].fields == ("csp_why",)


# --- the menu ------------------------------------------------------------------------------------


def test_the_menu_follows_the_published_grammar():
    root = parsed(site_map_xml(FINANCE_APP))
    follows(root, MENU_GRAMMAR)
    ids = [one.get("Id") for one in root.iter() if one.get("Id")]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"\w+", one) for one in ids)


def test_every_table_has_an_entry_of_its_own():
    """So that the app holds the table, and links to its rows open."""
    own = {page.table for group in FINANCE_APP.groups for page in group.pages if not page.view}
    assert own == set(TABLE)


def test_an_entry_leads_to_a_view_of_ours_and_asks_for_the_right_to_read():
    root = site_map_xml(FINANCE_APP)
    leading = [one for one in root.iter("SubArea") if one.get("Url")]
    assert len(leading) >= 8
    by_id = {view.id: view for view in FINANCE_APP.views}
    for one in leading:
        table, view_id = re.search(r"etn=(\w+)&viewid=%7b([0-9a-f-]+)%7d", one.get("Url")).groups()
        assert by_id[view_id].table == table
        assert by_id[view_id].kind is ViewKind.MORE
        assert one.find("Privilege").attrib == {"Entity": table, "Privilege": "Read"}


# --- in an environment ---------------------------------------------------------------------------


@pytest.fixture
def environment():
    return new_environment()


def view_rows(environment, name):
    """The rows that a view shows, by its query as it is stored in the environment."""
    client = environment.client()
    (view,) = [row for row in stored(environment) if row["name"] == name]
    params = {"fetchXml": view["fetchxml"]}
    table = view["returnedtypecode"]
    return client.call("GET", client.entity_set(table), params=params).json()["value"]


def stored(environment):
    client = environment.client()
    params = {"$filter": "startswith(returnedtypecode,'csp_')"}
    return client.call("GET", "savedqueries", params=params).json()["value"]


def test_each_table_keeps_one_main_view_and_one_quick_find(environment):
    rows = stored(environment)
    for table in TABLES:
        of_table = [row for row in rows if row["returnedtypecode"] == table.name]
        mains = [row["name"] for row in of_table if row["isdefault"] and row["querytype"] == 0]
        assert mains == [table.plural]
        assert len([row for row in of_table if row["querytype"] == 4]) == 1
    names = [(row["returnedtypecode"], row["name"]) for row in rows]
    assert len(set(names)) == len(names)


def test_the_app_is_valid_and_holds_what_is_declared(environment):
    client = environment.client()
    answer = client.call("GET", f"ValidateApp(AppModuleId={FINANCE_APP.id})").json()
    assert answer["AppValidationResponse"]["ValidationSuccess"] is True
    parts = client.call("GET", f"RetrieveAppComponents(AppModuleId={FINANCE_APP.id})").json()
    kinds = [part["componenttype"] for part in parts["value"]]
    assert (kinds.count(26), kinds.count(60), kinds.count(62)) == (
        len(FINANCE_APP.views),
        len(FINANCE_APP.forms),
        1,
    )
    shown = {part["objectid"] for part in parts["value"] if part["componenttype"] == 26}
    assert shown <= {row["savedqueryid"] for row in stored(environment)}


# --- changed by hand -----------------------------------------------------------------------------


def change(environment, entity_set, row_id, **columns):
    environment.client().call("PATCH", f"{entity_set}({row_id})", body=columns)


def wider(view):
    """The view as a later version would declare it."""
    return replace(view, columns=(*view.columns, ("modifiedon", 140)))


def with_view(view):
    others = tuple(v for v in FINANCE_APP.views if v.id != view.id)
    return replace(FINANCE_APP, views=(*others, view))


DRAFTS = VIEWS["csp_invoice/drafts"]


def test_a_later_version_of_a_view_is_written(environment):
    later = with_view(replace(DRAFTS, columns=DRAFTS.columns[:3]))
    plan = environment.provisioner(app=later).plan()
    assert [str(step) for step in plan.steps if step.part == "views"] == [
        "update view Drafts to approve of csp_invoice"
    ]
    environment.provisioner(app=later).apply()
    assert not environment.provisioner(app=later).plan()


def test_a_view_that_a_person_changed_is_left_alone(environment):
    row = next(row for row in stored(environment) if row["savedqueryid"] == DRAFTS.id)
    layout = row["layoutxml"].replace('width="260"', 'width="300"')
    change(environment, "savedqueries", DRAFTS.id, layoutxml=layout)
    plan = environment.provisioner().plan()
    assert plan.notes == (
        "view Drafts to approve of csp_invoice was changed by hand and is left alone",
    )
    assert "note: view Drafts to approve" in str(plan)
    assert not plan
    later = with_view(replace(DRAFTS, columns=DRAFTS.columns[:3]))
    assert not environment.provisioner(app=later).plan()


def test_a_renamed_view_keeps_its_name_and_is_still_brought_up_to_date(environment):
    change(environment, "savedqueries", DRAFTS.id, name="My drafts")
    assert not environment.provisioner().plan()
    later = with_view(replace(DRAFTS, columns=DRAFTS.columns[:3]))
    environment.provisioner(app=later).apply()
    (row,) = [row for row in stored(environment) if row["savedqueryid"] == DRAFTS.id]
    assert row["name"] == "My drafts"
    assert len(gist.shown_columns(row["layoutxml"])) == 3


def test_the_platforms_own_spelling_is_no_change(environment):
    row = next(row for row in stored(environment) if row["savedqueryid"] == DRAFTS.id)
    layout = row["layoutxml"].replace("<cell ", '<cell ishidden="0" ').replace(' icon="1"', "")
    change(environment, "savedqueries", DRAFTS.id, layoutxml=layout)
    form = FORMS["csp_invoice"]
    xml = write(form_xml(form, TABLE, FINANCE_APP)).replace("<cell ", '<cell locklevel="0" ')
    change(environment, "systemforms", form.id, formxml=xml)
    plan = environment.provisioner().plan()
    assert (plan.steps, plan.notes) == ((), ())


def test_a_main_view_that_a_person_laid_out_before_us_is_left_alone():
    environment = new_environment(provisioned=False)
    environment.provisioner(app=None, roles=()).apply()
    row = next(
        row
        for row in stored(environment)
        if row["returnedtypecode"] == "csp_invoice" and row["querytype"] == 0
    )
    layout = row["layoutxml"].replace(
        "</row>", '<cell name="csp_total" width="90"/><cell name="csp_status" width="90"/></row>'
    )
    change(environment, "savedqueries", row["savedqueryid"], layoutxml=layout)
    plan = environment.provisioner().apply()
    assert plan.notes == (
        "view Active CSP invoices of csp_invoice was changed by hand and is left alone",
    )
    (kept,) = [one for one in stored(environment) if one["savedqueryid"] == row["savedqueryid"]]
    assert kept["layoutxml"] == layout


def test_another_default_view_is_no_reason_to_change_it(environment):
    """An administrator lets invoices open with the drafts: both views stay what they are."""
    before = sorted((row["savedqueryid"], row["layoutxml"]) for row in stored(environment))
    (main,) = [row for row in stored(environment) if row["name"] == TABLE["csp_invoice"].plural]
    change(environment, "savedqueries", main["savedqueryid"], isdefault=False)
    change(environment, "savedqueries", DRAFTS.id, isdefault=True)
    plan = environment.provisioner().plan()
    assert (plan.steps, plan.notes) == ((), ())
    environment.provisioner().apply()
    assert sorted((r["savedqueryid"], r["layoutxml"]) for r in stored(environment)) == before


def test_only_roles_of_people_open_the_app(environment):
    path = f"appmodules({FINANCE_APP.id})/appmoduleroles_association"
    rows = environment.client().call("GET", path).json()["value"]
    assert sorted(row["name"] for row in rows) == ["CSP Billing manager", "CSP Billing reader"]


def test_a_form_and_a_menu_that_a_person_changed_are_left_alone(environment):
    form = FORMS["csp_invoice"]
    xml = write(form_xml(replace(form, header=("csp_status",)), TABLE, FINANCE_APP))
    change(environment, "systemforms", form.id, formxml=xml)
    menu = write(site_map_xml(replace(FINANCE_APP, groups=FINANCE_APP.groups[:2])))
    change(environment, "sitemaps", FINANCE_APP.site_map_id, sitemapxml=menu)
    plan = environment.provisioner().plan()
    assert plan.notes == (
        "form CSP invoice (billing) of csp_invoice was changed by hand and is left alone",
        "the menu of app CSP Billing was changed by hand and is left alone",
    )
    assert not plan


def test_a_later_form_and_menu_are_written(environment):
    form = replace(FORMS["csp_invoice"], header=("csp_status",))
    others = tuple(one for one in FINANCE_APP.forms if one.table != "csp_invoice")
    later = replace(FINANCE_APP, forms=(*others, form), groups=FINANCE_APP.groups[:2])
    steps = [str(step) for step in environment.provisioner(app=later).apply().steps]
    assert steps == [
        "update form CSP invoice (billing) of csp_invoice",
        "update the menu of app CSP Billing",
        "note the menu on app CSP Billing",
        "check app CSP Billing",
        "publish",
    ]
    assert not environment.provisioner(app=later).plan()


def test_what_was_deleted_is_made_again(environment):
    environment.client().call("DELETE", f"savedqueries({DRAFTS.id})")
    steps = [str(step) for step in environment.provisioner().plan().steps]
    assert steps[0] == "create view Drafts to approve of csp_invoice"
    environment.provisioner().apply()
    assert not environment.provisioner().plan()


def test_a_table_that_does_not_know_drafts_is_read_plainly(environment):
    for entity_set in ("savedqueries", "systemforms", "sitemaps", "appmodules"):
        environment.fail(path=f"{entity_set}/Microsoft.*", method="GET", status=404)
    assert not environment.provisioner().plan()


def test_a_mark_is_read_back_and_ends_a_description():
    assert mark_of(marked("All drafts.", "0123456789ab")) == "0123456789ab"
    assert mark_of("All drafts.") == mark_of(None) == mark_of("[csp 0123456789ab] is first") == ""
