"""The declarations as an unpacked solution, for administrators who pack and import with `pac`.

It is made from what the provisioner makes environments from, with the same ids, so either way leads
to the same tables, screens and roles. The format is that of SolutionPackager; no environment has
imported it yet, and the README beside the files says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from dataverse.provision import gist
from dataverse.provision.finance_app import FINANCE_APP
from dataverse.provision.form_layout import form_xml
from dataverse.provision.layout import fetch_xml, layout_xml, site_map_xml, write
from dataverse.provision.metadata import ENGLISH
from dataverse.provision.plan_screens import QUERY_TYPE, STOCK_ICON, marked
from dataverse.provision.roles import DEPTH, ROLES, Role
from dataverse.provision.screens import App, Form, View, ViewKind
from dataverse.provision.solution_table import INTRODUCED, element, entity_xml, localized
from dataverse.schema import PREFIX, Table
from dataverse.tables import (
    OPTION_PREFIX,
    PUBLISHER,
    PUBLISHER_LABEL,
    SCHEMA_VERSION,
    SOLUTION,
    SOLUTION_LABEL,
    TABLES,
)
from domain.problems import InputError

SOURCE = "src"
_PLATFORM = "9.2.0.0"
_TABLE, _ROLE, _SITE_MAP, _APP = "1", "20", "62", "80"
_SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA_NAME = {"account": "Account"}
_XML = '<?xml version="1.0" encoding="utf-8"?>\n'


def solution_files(
    tables: Sequence[Table] = TABLES, app: App = FINANCE_APP, roles: Sequence[Role] = ROLES
) -> dict[str, str]:
    """Return the text of every file, by its path below the solution's source folder."""
    by_name = {table.name: table for table in tables}
    unique = f"{PREFIX}{app.unique_name}"
    documents: dict[str, ET.Element] = {
        "Other/Solution.xml": _solution(tables, app, roles),
        "Other/Customizations.xml": _customizations(),
        f"AppModules/{unique}/AppModule.xml": _app(app, unique, tables, roles),
        f"AppModuleSiteMaps/{unique}/AppModuleSiteMap.xml": _site_map(app, unique),
    }
    documents |= {f"Roles/{role.name}.xml": _role(role) for role in roles}
    documents |= _relationships(tables)
    for table in tables:
        folder = f"Entities/{table.schema_name}"
        documents[f"{folder}/Entity.xml"] = entity_xml(table)
        for view in app.views:
            if view.table == table.name:
                documents[f"{folder}/SavedQueries/{{{view.id}}}.xml"] = _view(view, table)
        for form in app.forms:
            if form.table == table.name:
                written = _form(form, by_name, app)
                documents[f"{folder}/FormXml/main/{{{form.id}}}.xml"] = written
    return {path: _text(root) for path, root in sorted(documents.items())}


def write_solution(folder: Path) -> tuple[int, int]:
    """Write the files below `folder`/src and remove older ones; returns how many were of each.

    InputError where the folder holds something else: nothing of it is touched.
    """
    source = folder / SOURCE
    files = solution_files()
    manifest = source / "Other" / "Solution.xml"
    there = {path for path in source.rglob("*") if path.is_file()} if source.is_dir() else set()
    if there and (not manifest.is_file() or f"<UniqueName>{SOLUTION}<" not in _read(manifest)):
        raise InputError(
            f"{source} holds something else than the solution {SOLUTION}",
            hint="name an empty folder, or the one that was written before",
        )
    wanted = {source / path: text for path, text in files.items()}
    changed = 0
    for path, text in wanted.items():
        if path not in there or _read(path) != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            changed += 1
    gone = there - wanted.keys()
    for path in gone:
        path.unlink()
    return changed, len(gone)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return f"{_XML}{write(root)}\n"


# --- the manifest --------------------------------------------------------------------------------


def _solution(tables: Iterable[Table], app: App, roles: Iterable[Role]) -> ET.Element:
    root = ET.Element(
        "ImportExportXml",
        {
            "version": _PLATFORM,
            "SolutionPackageVersion": "9.2",
            "languagecode": str(ENGLISH),
            "generatedBy": "CrmLive",
            "xmlns:xsi": _SCHEMA_INSTANCE,
        },
    )
    manifest = element(root, "SolutionManifest")
    element(manifest, "UniqueName", SOLUTION)
    localized(manifest, "LocalizedNames", "LocalizedName", SOLUTION_LABEL)
    element(manifest, "Descriptions")
    element(manifest, "Version", SCHEMA_VERSION)
    element(manifest, "Managed", 0)
    publisher = element(manifest, "Publisher")
    element(publisher, "UniqueName", PUBLISHER)
    localized(publisher, "LocalizedNames", "LocalizedName", PUBLISHER_LABEL)
    element(publisher, "Descriptions")
    element(publisher, "EMailAddress").attrib["xsi:nil"] = "true"
    element(publisher, "SupportingWebsiteUrl").attrib["xsi:nil"] = "true"
    element(publisher, "CustomizationPrefix", PREFIX.rstrip("_"))
    element(publisher, "CustomizationOptionValuePrefix", OPTION_PREFIX)
    element(publisher, "Addresses")
    parts = element(manifest, "RootComponents")
    for table in sorted(tables, key=lambda one: one.name):
        element(parts, "RootComponent", type=_TABLE, schemaName=table.name, behavior="0")
    for role in roles:
        element(parts, "RootComponent", type=_ROLE, id=f"{{{role.id}}}", behavior="0")
    for kind in (_SITE_MAP, _APP):
        name = f"{PREFIX}{app.unique_name}"
        element(parts, "RootComponent", type=kind, schemaName=name, behavior="0")
    element(manifest, "MissingDependencies")
    return root


def _customizations() -> ET.Element:
    root = ET.Element("ImportExportXml", {"xmlns:xsi": _SCHEMA_INSTANCE})
    for tag in (
        "Entities",
        "Roles",
        "Workflows",
        "FieldSecurityProfiles",
        "Templates",
        "EntityMaps",
        "EntityRelationships",
        "OrganizationSettings",
        "optionsets",
        "CustomControls",
        "AppModuleSiteMaps",
        "AppModules",
        "EntityDataProviders",
    ):
        element(root, tag)
    element(element(root, "Languages"), "Language", ENGLISH)
    return root


# --- relationships -------------------------------------------------------------------------------


def _relationships(tables: Iterable[Table]) -> dict[str, ET.Element]:
    """Return the list of all, and one file for the relationships of each referenced table."""
    by_target: dict[str, list[ET.Element]] = {}
    for table in tables:
        for target, name, column in _system_links(table):
            on_delete = "Restrict" if target == "TransactionCurrency" else "NoCascade"
            one = _relationship(table, target, name, column, on_delete)
            by_target.setdefault(target, []).append(one)
        for lookup in table.lookups:
            target = _SCHEMA_NAME.get(lookup.target) or next(
                other.schema_name for other in tables if other.name == lookup.target
            )
            name = table.relationship(lookup)
            one = _relationship(table, target, name, lookup.schema_name, lookup.on_delete)
            _roles_of_ends(one, name, lookup.schema_name)
            by_target.setdefault(target, []).append(one)
    names = sorted(
        (str(one.get("Name")) for found in by_target.values() for one in found), key=str.lower
    )
    listed = ET.Element("EntityRelationships", {"xmlns:xsi": _SCHEMA_INSTANCE})
    for name in names:
        element(listed, "EntityRelationship", Name=name)
    documents = {"Other/Relationships.xml": listed}
    for target, found in by_target.items():
        root = ET.Element("EntityRelationships", {"xmlns:xsi": _SCHEMA_INSTANCE})
        root.extend(sorted(found, key=lambda one: str(one.get("Name")).lower()))
        documents[f"Other/Relationships/{target}.xml"] = root
    return documents


def _system_links(table: Table) -> list[tuple[str, str, str]]:
    """Return what the platform links every owned table to; an import asks for it."""
    links = [
        ("BusinessUnit", f"business_unit_{table.name}", "OwningBusinessUnit"),
        ("SystemUser", f"lk_{table.name}_createdby", "CreatedBy"),
        ("SystemUser", f"lk_{table.name}_modifiedby", "ModifiedBy"),
        ("Owner", f"owner_{table.name}", "OwnerId"),
        ("Team", f"team_{table.name}", "OwningTeam"),
        ("SystemUser", f"user_{table.name}", "OwningUser"),
    ]
    if table.has_money:
        name = f"TransactionCurrency_{table.schema_name}"
        links.append(("TransactionCurrency", name, "TransactionCurrencyId"))
    return links


def _relationship(table: Table, target: str, name: str, column: str, on_delete: str) -> ET.Element:
    one = ET.Element("EntityRelationship", Name=name)
    for tag, value in {
        "EntityRelationshipType": "OneToMany",
        "IsCustomizable": 1,
        "IntroducedVersion": INTRODUCED,
        "IsHierarchical": 0,
        "ReferencingEntityName": table.schema_name,
        "ReferencedEntityName": target,
        "CascadeAssign": "NoCascade",
        "CascadeDelete": on_delete,
        "CascadeArchive": on_delete,
        "CascadeReparent": "NoCascade",
        "CascadeShare": "NoCascade",
        "CascadeUnshare": "NoCascade",
        "ReferencingAttributeName": column,
    }.items():
        element(one, tag, value)
    localized(element(one, "RelationshipDescription"), "Descriptions", "Description", "")
    return one


def _roles_of_ends(one: ET.Element, name: str, column: str) -> None:
    """Name the navigation properties: of the row that points, and of the row pointed at."""
    ends = element(one, "EntityRelationshipRoles")
    child = element(ends, "EntityRelationshipRole")
    element(child, "NavPaneDisplayOption", "UseCollectionName")
    element(child, "NavPaneArea", "Details")
    element(child, "NavPaneOrder", 10000)
    element(child, "NavigationPropertyName", column)
    element(child, "RelationshipRoleType", 1)
    parent = element(ends, "EntityRelationshipRole")
    element(parent, "NavigationPropertyName", name)
    element(parent, "RelationshipRoleType", 0)


# --- screens and roles ---------------------------------------------------------------------------


def _view(view: View, table: Table) -> ET.Element:
    root = ET.Element("savedqueries", {"xmlns:xsi": _SCHEMA_INSTANCE})
    saved = element(root, "savedquery")
    fetch, layout = fetch_xml(view, table), layout_xml(view, table)
    digest = gist.digest(gist.view_gist(write(fetch), write(layout)))
    element(saved, "IsCustomizable", 1)
    element(saved, "CanBeDeleted", int(view.kind is ViewKind.MORE))
    element(saved, "isquickfindquery", int(view.kind is ViewKind.FIND))
    element(saved, "isprivate", 0)
    element(saved, "isdefault", int(view.kind is not ViewKind.MORE))
    element(saved, "savedqueryid", f"{{{view.id}}}")
    element(saved, "layoutxml").append(layout)
    element(saved, "querytype", QUERY_TYPE[view.kind])
    element(saved, "fetchxml").append(fetch)
    element(saved, "IntroducedVersion", INTRODUCED)
    localized(saved, "LocalizedNames", "LocalizedName", view.name)
    localized(saved, "Descriptions", "Description", marked(view.description, digest))
    return root


def _form(form: Form, tables: dict[str, Table], app: App) -> ET.Element:
    root = ET.Element("forms", {"xmlns:xsi": _SCHEMA_INSTANCE})
    system = element(root, "systemform")
    written = form_xml(form, tables, app)
    digest = gist.digest(gist.form_gist(write(written)))
    element(system, "formid", f"{{{form.id}}}")
    element(system, "IntroducedVersion", INTRODUCED)
    element(system, "FormPresentation", 1)
    element(system, "FormActivationState", 1)
    system.append(written)
    element(system, "IsCustomizable", 1)
    element(system, "CanBeDeleted", 1)
    localized(system, "LocalizedNames", "LocalizedName", form.name)
    localized(system, "Descriptions", "Description", marked(form.description, digest))
    return root


def _app(app: App, unique: str, tables: Iterable[Table], roles: Iterable[Role]) -> ET.Element:
    root = ET.Element("AppModule")
    element(root, "UniqueName", unique)
    element(root, "IntroducedVersion", INTRODUCED)
    element(root, "WebResourceId", STOCK_ICON)
    element(root, "statecode", 0)
    element(root, "statuscode", 1)
    element(root, "FormFactor", 1)
    element(root, "ClientType", 4)
    element(root, "NavigationType", 0)
    parts = element(root, "AppModuleComponents")
    for table in sorted(tables, key=lambda one: one.name):
        element(parts, "AppModuleComponent", type=_TABLE, schemaName=table.name)
    for view in app.views:
        element(parts, "AppModuleComponent", type="26", id=f"{{{view.id}}}")
    for form in app.forms:
        element(parts, "AppModuleComponent", type="60", id=f"{{{form.id}}}")
    element(parts, "AppModuleComponent", type=_SITE_MAP, schemaName=unique)
    allowed = element(root, "AppModuleRoleMaps")
    for role in roles:
        if role.people:
            element(allowed, "Role", id=f"{{{role.id}}}")
    localized(root, "LocalizedNames", "LocalizedName", app.name)
    digest = gist.digest(gist.site_map_gist(write(site_map_xml(app))))
    localized(root, "Descriptions", "Description", marked(app.description, digest))
    return root


def _site_map(app: App, unique: str) -> ET.Element:
    root = ET.Element("AppModuleSiteMap", {"xmlns:xsi": _SCHEMA_INSTANCE})
    element(root, "SiteMapUniqueName", unique)
    element(root, "EnableCollapsibleGroups", "True")
    for tag in ("ShowHome", "ShowPinned", "ShowRecents"):
        element(root, tag, "True")
    root.append(site_map_xml(app))
    localized(root, "LocalizedNames", "LocalizedName", app.name)
    return root


def _role(role: Role) -> ET.Element:
    root = ET.Element("Role", id=f"{{{role.id}}}", name=role.name, isinherited="1")
    element(root, "IsCustomizable", 1)
    held = element(root, "RolePrivileges")
    for name in sorted(role.privileges):
        element(held, "RolePrivilege", name=name, level=DEPTH)
    return root
