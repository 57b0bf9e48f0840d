"""The unpacked solution: up to date, complete, and the same as what the provisioner makes."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from dataverse.provision import gist
from dataverse.provision.finance_app import FINANCE_APP
from dataverse.provision.roles import ROLES
from dataverse.provision.solution import solution_files, write_solution
from dataverse.schema import Kind
from dataverse.tables import SCHEMA_VERSION, TABLES
from domain.problems import InputError
from tests.app.conftest import command
from tests.clients.dataverse_environment import new_environment

SHIPPED = Path(__file__).parents[2] / "infra" / "solution"
FILES = solution_files()
REFRESH = "run `python3 dev.py run provision --solution infra/solution`"

# A column's elements in the order of SolutionPackager; between the two groups stands its type's own.
FIRST = "Type Name LogicalName RequiredLevel DisplayMask ImeMode ValidForUpdateApi".split()
LAST = ["displaynames", "Descriptions"]


def parsed(path):
    return ET.fromstring(FILES[path])  # noqa: S314


def entity(table):
    return parsed(f"Entities/{table.schema_name}/Entity.xml")


def attributes(table):
    return {one.findtext("LogicalName"): one for one in entity(table).iter("attribute")}


def test_the_shipped_folder_is_what_is_declared():
    source = SHIPPED / "src"
    there = {
        path.relative_to(source).as_posix(): path.read_text(encoding="utf-8")
        for path in source.rglob("*")
        if path.is_file()
    }
    assert sorted(there) == sorted(FILES), REFRESH
    stale = [path for path, text in FILES.items() if there[path] != text]
    assert stale == [], REFRESH


def test_writing_twice_changes_nothing_and_older_files_go(tmp_path):
    assert write_solution(tmp_path) == (len(FILES), 0)
    assert write_solution(tmp_path) == (0, 0)
    old = tmp_path / "src" / "Roles" / "An older role.xml"
    old.write_text("<Role/>")
    (tmp_path / "src" / "Roles" / "CSP Billing reader.xml").write_text("<Role/>")
    readme = tmp_path / "README.md"
    readme.write_text("mine")
    assert write_solution(tmp_path) == (1, 1)
    assert not old.exists()
    assert readme.read_text() == "mine"


def test_a_folder_that_holds_something_else_is_not_touched(tmp_path):
    (tmp_path / "src").mkdir()
    mine = tmp_path / "src" / "main.py"
    mine.write_text("print()")
    with pytest.raises(InputError, match="holds something else than the solution CspBilling"):
        write_solution(tmp_path)
    assert list((tmp_path / "src").iterdir()) == [mine]


def test_the_command_writes_it_and_needs_no_environment(tmp_path):
    variables = {"CSP_MODE": "cloud"}  # not even a setting
    answer = command("provision", "--solution", str(tmp_path / "s"), "--json", **variables)
    assert (answer.code, answer.err) == (0, "")
    assert answer.data["written"] == len(FILES)
    again = command("provision", "--solution", str(tmp_path / "s"), **variables)
    assert again.out.endswith(": 0 files written, 0 removed.\n")
    file = tmp_path / "file"
    file.write_text("")
    refused = command("provision", "--solution", str(file), **variables)
    assert refused.code == 2
    assert "--solution" in refused.complaint


@pytest.mark.parametrize("path", FILES)
def test_every_file_is_well_formed_and_ends_with_a_line(path):
    assert parsed(path) is not None
    assert FILES[path].startswith('<?xml version="1.0" encoding="utf-8"?>\n')
    assert FILES[path].endswith(">\n")


def test_the_manifest_names_every_root_component():
    manifest = parsed("Other/Solution.xml").find("SolutionManifest")
    assert manifest.findtext("Version") == SCHEMA_VERSION
    parts = [dict(one.attrib) for one in manifest.iter("RootComponent")]
    of = {kind: [p for p in parts if p["type"] == kind] for kind in ("1", "20", "62", "80")}
    assert {p["schemaName"] for p in of["1"]} == {table.name for table in TABLES}
    assert {p["id"].strip("{}") for p in of["20"]} == {role.id for role in ROLES}
    folders = {path.split("/")[1] for path in FILES if path.startswith("AppModules/")}
    assert {p["schemaName"] for p in (*of["62"], *of["80"])} == folders
    assert len(parts) == len(TABLES) + len(ROLES) + 2


# --- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_columns_are_complete_and_in_the_packagers_order(table):
    names = [one.get("PhysicalName") for one in entity(table).iter("attribute")]
    assert len(set(names)) == len(names)
    for one in entity(table).iter("attribute"):
        tags = [child.tag for child in one]
        assert tags[-2:] == LAST
        wanted = [tag for tag in FIRST if tag in tags]
        assert tags[: len(wanted)] == wanted
        assert one.findtext("LogicalName") == one.get("PhysicalName").lower()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_one_column_names_the_row(table):
    marked = [
        name
        for name, one in attributes(table).items()
        if (one.findtext("DisplayMask") or "").startswith("PrimaryName")
    ]
    assert marked == [column.name for column in table.columns if column.primary]
    keys = [n for n, one in attributes(table).items() if one.findtext("Type") == "primarykey"]
    assert keys == [table.primary_id]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_types_and_sizes_are_those_that_are_declared(table):
    found = attributes(table)
    for column in table.columns:
        one = found[column.name]
        assert one.find("displaynames/displayname").get("description") == column.label
        match column.kind:
            case Kind.TEXT | Kind.MEMO | Kind.JSON:
                assert int(one.findtext("MaxLength")) == column.size
            case Kind.NUMBER:
                assert int(one.findtext("Accuracy")) == column.size
            case Kind.MONEY:
                assert int(one.findtext("Accuracy")) == column.size
                assert one.findtext("AccuracySource") == "0"
                base = found[f"{column.name}_base"]
                assert base.findtext("CalculationOf") == column.name
            case Kind.DAY:
                assert (one.findtext("Format"), one.findtext("Behavior")) == ("date", "2")
            case Kind.MOMENT:
                assert (one.findtext("Format"), one.findtext("Behavior")) == ("datetime", "1")
            case Kind.CHOICE:
                values = [int(option.get("value")) for option in one.iter("option")]
                assert values == [column.option(value) for value in column.options]
    for file in table.files:
        assert int(found[file.name].findtext("MaxValue")) == file.size


def test_option_sets_have_names_of_their_own():
    names = [o.get("Name") for table in TABLES for o in entity(table).iter("optionset")]
    assert len(set(names)) == len(names)


def test_every_link_has_its_relationship_listed_and_described():
    listed = [one.get("Name") for one in parsed("Other/Relationships.xml")]
    assert len(set(listed)) == len(listed)
    described = {}
    for path in FILES:
        if path.startswith("Other/Relationships/"):
            target = Path(path).stem
            for one in parsed(path):
                assert one.findtext("ReferencedEntityName") == target
                described[one.get("Name")] = one
    assert sorted(described) == sorted(listed)
    for table in TABLES:
        for lookup in table.lookups:
            one = described[table.relationship(lookup)]
            assert one.findtext("ReferencingEntityName") == table.schema_name
            assert one.findtext("ReferencingAttributeName") == lookup.schema_name
            assert one.findtext("CascadeDelete") == lookup.on_delete
        # What the platform links every owned table to must be listed too, or an import fails.
        for name in ("lk_{}_createdby", "lk_{}_modifiedby", "owner_{}", "user_{}", "team_{}"):
            assert name.format(table.name) in described


def test_it_agrees_with_what_the_provisioner_makes():
    """The same tables, columns, collections and keys: read back from a provisioned environment."""
    client = new_environment().client()
    for table in TABLES:
        path = f"EntityDefinitions(LogicalName='{table.name}')"
        there = client.call("GET", path, params={"$expand": "Keys"}).json()
        root = entity(table).find("EntityInfo/entity")
        assert root.findtext("EntitySetName") == there["EntitySetName"]
        assert root.findtext("IsAuditEnabled") == str(int(there["IsAuditEnabled"]["Value"]))
        (key,) = there["Keys"]
        assert root.findtext("EntityKeys/EntityKey/Name") == key["SchemaName"]
        columns = client.call("GET", f"{path}/Attributes").json()["value"]
        names = {one["LogicalName"] for one in columns}
        # The version and the name of a file are the platform's alone: an export leaves them out.
        left_out = {"versionnumber"} | {f"{file.name}_name" for file in table.files}
        assert set(attributes(table)) == names - left_out


# --- screens and roles ---------------------------------------------------------------------------


def test_views_and_forms_are_those_of_the_app_with_their_ids_and_marks():
    tables = {table.name: table for table in TABLES}
    for view in FINANCE_APP.views:
        folder = f"Entities/{tables[view.table].schema_name}"
        one = parsed(f"{folder}/SavedQueries/{{{view.id}}}.xml").find("savedquery")
        assert one.findtext("savedqueryid") == f"{{{view.id}}}"
        fetch = ET.tostring(one.find("fetchxml/fetch"), encoding="unicode")
        layout = ET.tostring(one.find("layoutxml/grid"), encoding="unicode")
        mark = gist.digest(gist.view_gist(fetch, layout))
        assert f"[csp {mark}]" in one.find("Descriptions/Description").get("description")
    for form in FINANCE_APP.forms:
        folder = f"Entities/{tables[form.table].schema_name}"
        one = parsed(f"{folder}/FormXml/main/{{{form.id}}}.xml").find("systemform")
        xml = ET.tostring(one.find("form"), encoding="unicode")
        mark = gist.digest(gist.form_gist(xml))
        assert f"[csp {mark}]" in one.find("Descriptions/Description").get("description")


def test_roles_hold_what_is_declared():
    for role in ROLES:
        root = parsed(f"Roles/{role.name}.xml")
        held = {one.get("name"): one.get("level") for one in root.iter("RolePrivilege")}
        assert held == dict.fromkeys(role.privileges, "Global")
        assert root.get("id") == f"{{{role.id}}}"


def test_the_app_holds_every_table_view_form_and_role():
    root = parsed("AppModules/csp_Billing/AppModule.xml")
    parts = [dict(one.attrib) for one in root.iter("AppModuleComponent")]
    assert {p["schemaName"] for p in parts if p["type"] == "1"} == {t.name for t in TABLES}
    views = {p["id"] for p in parts if p["type"] == "26"}
    assert views == {f"{{{view.id}}}" for view in FINANCE_APP.views}
    people = {f"{{{role.id}}}" for role in ROLES if role.people}
    assert {one.get("id") for one in root.iter("Role")} == people
    menu = parsed("AppModuleSiteMaps/csp_Billing/AppModuleSiteMap.xml")
    leading = re.findall(r"viewid=%7b([0-9a-f-]+)%7d", ET.tostring(menu, encoding="unicode"))
    assert {f"{{{one}}}" for one in leading} <= views
