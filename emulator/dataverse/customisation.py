"""What people see and may do: views, forms, site maps, apps and security roles.

Their rows are ordinary rows with rules of their own: a view's query must fit its table, a form must
be well formed and show columns that exist, an app gets its publisher's prefix. New ones are drafts,
unseen by plain reads until they are published; that later changes of published ones are drafts as
well is left out. By Microsoft's documentation; details that it leaves open are said where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

from emulator.dataverse import errors, security
from emulator.dataverse.conditions import Fragment
from emulator.dataverse.definitions import Definitions
from emulator.dataverse.fetchxml import FetchXml
from emulator.dataverse.messages import Call, Reply
from emulator.dataverse.rows import Event, Rows
from emulator.dataverse.schema import CRM, Table
from emulator.dataverse.values import Cell

Cells = dict[str, Cell]
Action = Callable[[Call, dict[str, Any]], Reply]
Function = Callable[[Call, dict[str, str]], Reply]
# What AddAppComponents takes: the primary key column of the part, and the component's type.
_APP_PARTS = {"savedqueryid": 26, "formid": 60, "sitemapid": 62}
# The component types of rows that can be parts of a solution.
_COMPONENTS = {"savedquery": 26, "systemform": 60, "sitemap": 62, "appmodule": 80, "role": 20}
_PUBLISHED, _DRAFT = 0, 1
_PUBLISHABLE = frozenset({"savedquery", "systemform", "sitemap", "appmodule"})


def published(table: Table) -> list[Fragment]:
    """What plain reads of a table are narrowed to: drafts are not seen."""
    if table.logical not in _PUBLISHABLE:
        return []
    return [('"t"."componentstate" IS NOT ?', [_DRAFT])]


def unpublished(call: Call, table: Table) -> list[Fragment]:
    """What `RetrieveUnpublishedMultiple` is narrowed to: nothing; other tables do not have it."""
    if table.logical not in _PUBLISHABLE or call.method != "GET":
        raise errors.unknown_segment(f"{CRM}RetrieveUnpublishedMultiple")
    return []


class Customisation:
    """The rules around writes of these rows, and the operations on them."""

    def __init__(self, rows: Rows, definitions: Definitions, fetch: FetchXml) -> None:
        self.rows = rows
        self.store = rows.store
        self.definitions = definitions
        self._fetch = fetch
        self.functions: dict[str, Function] = {
            "ValidateApp": self._validate_app,
            "RetrieveAppComponents": self._app_components,
            "RetrieveRolePrivilegesRole": self._role_privileges,
        }
        self.actions: dict[str, Action] = {
            "AddAppComponents": self._add_app_components,
            "PublishXml": self._publish,
            "PublishAllXml": self._publish_all,
        }

    # Around writes

    def before(self, event: Event) -> None:
        """Refuse what does not fit; complete what the platform completes."""
        cells, name = event.cells, event.table.logical
        if event.message == "Delete":
            return
        if name in _PUBLISHABLE and event.message == "Create":
            cells["componentstate"] = _DRAFT
        if name == "savedquery":
            self._check_view(event)
        elif name == "systemform":
            self._check_form(event)
        elif name == "sitemap" and cells.get("sitemapxml") is not None:
            _parse(str(cells["sitemapxml"]), "SiteMap")
        elif name == "appmodule" and event.message == "Create":
            cells["appmoduleidunique"] = self.store.next_guid()
            cells["uniquename"] = self._prefixed(str(cells.get("uniquename") or ""))
        elif name == "role" and event.message == "Create" and not cells.get("businessunitid"):
            raise errors.invalid_argument("A role needs a businessunitid.")

    def after(self, event: Event) -> None:
        """Put a new part into the solution that the request names."""
        kind = _COMPONENTS.get(event.table.logical)
        if kind is not None and event.message == "Create" and self.rows.solution:
            self.definitions.into_solution(self.rows.solution, event.row_id, kind)

    def _table(self, event: Event, column: str) -> Table:
        name = event.cells.get(column)
        if name is None and event.row_id:
            table = event.table
            row = self.store.one(
                f'SELECT "{column}" FROM {table.sql} WHERE "{table.primary_id}" = ?',
                (event.row_id,),
            )
            name = row[0] if row else None
        found = self.store.schema.tables.get(str(name))
        if found is None:
            raise errors.invalid_argument(f"The {column} '{name}' is not the name of a table.")
        return found

    def _check_view(self, event: Event) -> None:
        table = self._table(event, "returnedtypecode")
        fetch, layout = event.cells.get("fetchxml"), event.cells.get("layoutxml")
        if event.message == "Create" and (fetch is None or not event.cells.get("name")):
            raise errors.invalid_argument("A view needs a name and its fetchxml.")
        if fetch is not None:
            self._fetch.check(str(fetch), table)
        if layout is not None:
            # Which columns a layout may show is not checked by the service when it is saved.
            _parse(str(layout), "grid")

    def _check_form(self, event: Event) -> None:
        table = self._table(event, "objecttypecode")
        text = event.cells.get("formxml")
        if event.message == "Create" and text is None:
            raise errors.invalid_argument("A form needs its formxml.")
        for control in _parse(str(text), "form").iter("control") if text is not None else ():
            name = control.get("datafieldname")
            if name is not None and name not in table.columns:
                raise errors.invalid_argument(
                    f"The form shows the column '{name}', which {table.logical} does not have."
                )

    def _prefixed(self, name: str) -> str:
        """The unique name of an app with its publisher's prefix, which the platform adds."""
        if not name.replace("_", "").isalnum() or not name.isascii():
            raise errors.invalid_argument("The uniquename holds letters and digits only.")
        row = self.store.one(
            "SELECT customizationprefix FROM publisher JOIN solution "
            "ON solution.publisherid = publisher.publisherid WHERE solution.uniquename = ?",
            (self.rows.solution or "Default",),
        )
        prefix = f"{row[0]}_" if row else ""
        return name if name.startswith(prefix) else prefix + name

    # Drafts

    def is_published(self, table: Table, row_id: str) -> bool:
        """Whether a plain read may see the row."""
        if table.logical not in _PUBLISHABLE:
            return True
        seen = self.store.one(
            f'SELECT 1 FROM {table.sql} WHERE "{table.primary_id}" = ? AND componentstate IS NOT ?',
            (row_id, _DRAFT),
        )
        return seen is not None

    def _publish(self, _call: Call, body: dict[str, Any]) -> Reply:
        text = body.get("ParameterXml")
        if not text:
            raise errors.invalid_argument("Required parameter 'ParameterXml' is missing.")
        self.rows.demand_named("prvPublishCustomization")
        root = _parse(str(text), "importexportxml")
        for element in root.iter():
            name = (element.text or "").strip().strip("{}").lower()
            if element.tag == "entity":
                if name not in self.store.schema.tables:
                    raise errors.not_found("EntityMetadata", name)
                self._set_published("savedquery", "returnedtypecode", name)
                self._set_published("systemform", "objecttypecode", name)
            elif element.tag in ("appmodule", "sitemap"):
                self._set_published(element.tag, f"{element.tag}id", name)
        return Reply()

    def _publish_all(self, _call: Call, _body: dict[str, Any]) -> Reply:
        self.rows.demand_named("prvPublishCustomization")
        for name in sorted(_PUBLISHABLE):
            self._set_published(name, "", "")
        return Reply()

    def _set_published(self, name: str, column: str, value: str) -> None:
        where = f' AND "{column}" = ?' if column else ""
        self.store.connection.execute(
            f'UPDATE "{name}" SET componentstate = ? WHERE componentstate <> ?{where}',
            (_PUBLISHED, _PUBLISHED, *([value] if column else ())),
        )

    # Apps

    def _app(self, text: str) -> tuple[str, str]:
        """The id of an app, and the id under which its parts are kept."""
        table = self.store.schema.tables["appmodule"]
        found = self.rows.require(table, text)
        row = self.store.one(
            "SELECT appmoduleidunique FROM appmodule WHERE appmoduleid = ?", (found.row_id,)
        )
        return str(found.row_id), str(row[0] if row else "")

    def _add_app_components(self, _call: Call, body: dict[str, Any]) -> Reply:
        tables = self.store.schema.tables
        _, unique = self._app(str(body.get("AppId")))
        for component in body.get("Components", ()):
            table = tables.get(str(component.get("@odata.type", "")).rsplit(".", 1)[-1])
            if table is None or table.primary_id not in component:
                raise errors.invalid_argument("Each component needs its type and id.")
            part = self.rows.require(table, str(component[table.primary_id]))
            known = self.store.one(
                "SELECT 1 FROM appmodulecomponent WHERE appmoduleidunique = ? AND objectid = ?",
                (unique, part.row_id),
            )
            if known is None:
                cells: Cells = {
                    "name": table.logical,
                    "objectid": part.row_id,
                    "componenttype": _APP_PARTS.get(table.primary_id, 1),
                    "appmoduleidunique": unique,
                }
                self.rows.insert(tables["appmodulecomponent"], cells)
        return Reply()

    def _app_components(self, call: Call, given: dict[str, str]) -> Reply:
        """The parts of a published app; one that was never published is not found."""
        app, unique = self._app(given.get("AppModuleId", ""))
        seen = self.store.one(
            "SELECT 1 FROM appmodule WHERE appmoduleid = ? AND componentstate = ?",
            (app, _PUBLISHED),
        )
        if seen is None:
            raise errors.not_found("appmodule", app)
        parts = self.store.rows(
            "SELECT appmodulecomponentid, objectid, componenttype FROM appmodulecomponent "
            "WHERE appmoduleidunique = ? ORDER BY versionnumber",
            (unique,),
        )
        names = ("appmodulecomponentid", "objectid", "componenttype")
        value = [dict(zip(names, part, strict=True)) for part in parts]
        context = f"{call.root}$metadata#appmodulecomponents"
        return Reply(200, {"@odata.context": context, "value": value})

    def _validate_app(self, call: Call, given: dict[str, str]) -> Reply:
        """An app without a site map is not valid."""
        _, unique = self._app(given.get("AppModuleId", ""))
        has_map = self.store.one(
            "SELECT 1 FROM appmodulecomponent WHERE appmoduleidunique = ? AND componenttype = 62",
            (unique,),
        )
        problem = {"ErrorType": "Error", "Message": "The app needs a site map."}
        validation = {
            "ValidationSuccess": has_map is not None,
            "ValidationIssueList": [] if has_map else [problem],
        }
        context = f"{call.root}$metadata#{CRM}ValidateAppResponse"
        return Reply(200, {"@odata.context": context, "AppValidationResponse": validation})

    # Roles

    def add_privileges(self, call: Call, role_id: str) -> Reply:
        """`AddPrivilegesRole` on a role: existing privileges, each with its depth."""
        self.rows.demand("Write", self.store.schema.tables["role"])
        table = self.store.schema.tables["roleprivileges"]
        given = call.json().get("Privileges")
        if not isinstance(given, list):
            raise errors.invalid_argument("Required parameter 'Privileges' is missing.")
        for item in given:
            privilege = str(item.get("PrivilegeId") or "").lower()
            depth = item.get("Depth")
            # Names of the enumeration; its numbers 0 to 3 are taken as well.
            name = [*security.DEPTHS][int(depth)] if str(depth).isdigit() else str(depth)
            row = self.store.one("SELECT name FROM privilege WHERE privilegeid = ?", (privilege,))
            if row is None:
                raise errors.not_found("Privilege", privilege)
            if name not in security.DEPTHS:
                raise errors.invalid_argument(f"'{depth}' is no PrivilegeDepth.")
            self.store.connection.execute(
                "DELETE FROM roleprivileges WHERE roleid = ? AND privilegeid = ?",
                (role_id, privilege),
            )
            cells: Cells = {
                "name": row[0],
                "roleid": role_id,
                "privilegeid": privilege,
                "privilegedepthmask": security.DEPTHS[name],
            }
            self.rows.insert(table, cells)
        return Reply()

    def _role_privileges(self, call: Call, given: dict[str, str]) -> Reply:
        role = self.rows.require(self.store.schema.tables["role"], given.get("RoleId", ""))
        depths = {mask: name for name, mask in security.DEPTHS.items()}
        held = self.store.rows(
            "SELECT privilegeid, privilegedepthmask, name FROM roleprivileges WHERE roleid = ? "
            "ORDER BY name",
            (role.row_id,),
        )
        value = [
            {
                "Depth": depths[mask],
                "PrivilegeId": privilege,
                "BusinessUnitId": self.rows.caller.business_unit,
                "PrivilegeName": name,
            }
            for privilege, mask, name in held
        ]
        context = f"{call.root}$metadata#{CRM}RetrieveRolePrivilegesRoleResponse"
        return Reply(200, {"@odata.context": context, "RolePrivileges": value})


def _parse(text: str, tag: str) -> ET.Element:
    try:
        root = ET.fromstring(text)  # noqa: S314 - XML of our own client
    except ET.ParseError as problem:
        raise errors.DataverseError(400, "0x80040216", f"Invalid XML. {problem}") from None
    if root.tag != tag:
        raise errors.invalid_argument(f"The XML begins with <{root.tag}> and not with <{tag}>.")
    return root
