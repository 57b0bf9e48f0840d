"""The steps that make what people see: views, forms, the menu, the app.

What we wrote carries a mark in its description: the hash of its gist. So three cases are told apart:
as declared, nothing to do; as we once wrote it, it is brought up to date; otherwise a person changed
it, and it is left alone. The platform makes a main view and a quick find with every table; those get
our columns as long as they are as it made them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataverse.client import literal
from dataverse.provision import gist
from dataverse.provision.environment import Environment, FoundTable
from dataverse.provision.form_layout import form_xml
from dataverse.provision.layout import fetch_xml, layout_xml, primary_name, site_map_xml, write
from dataverse.provision.metadata import CRM
from dataverse.provision.plan import IN_SOLUTION, Part, Step
from dataverse.provision.roles import Role
from dataverse.provision.screens import App, Form, View, ViewKind
from dataverse.schema import Table

STOCK_ICON = "953b9fac-1e5e-e611-80d6-00155ded156f"
"""The web resource that Microsoft's documentation names as every environment's icon for apps."""

_UNIFIED = 4
_MAIN_FORM = 2
QUERY_TYPE = {ViewKind.MORE: 0, ViewKind.MAIN: 0, ViewKind.FIND: 4}
_DRAFT = 1
_MARK = re.compile(r"\s*\[csp ([0-9a-f]{12})\]\s*$")
_PLATFORMS_OWN = {"createdon", "modifiedon", "statecode", "ownerid"}


@dataclass(slots=True)
class ScreenPlan:
    """What is to be done about screens."""

    views: list[Step] = field(default_factory=list)
    forms: list[Step] = field(default_factory=list)
    app: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    drafts: bool = False
    """Whether something of ours was saved and not published."""


def marked(description: str, digest: str) -> str:
    """Return a description with the hash of what was written."""
    return f"{description} [csp {digest}]"


def mark_of(description: str | None) -> str:
    """Return the hash in a description, or nothing."""
    found = _MARK.search(description or "")
    return found[1] if found else ""


def plan_screens(
    environment: Environment,
    app: App,
    tables: Sequence[Table],
    there: Mapping[str, FoundTable],
    roles: Sequence[Role],
) -> ScreenPlan:
    """Compare the app and its screens with what is there."""
    plan = ScreenPlan()
    by_name = {table.name: table for table in tables}
    codes = {name: found.type_code for name, found in there.items()}
    views = _Views(environment, by_name, codes)
    for view in app.views:
        plan.views += views.steps(view, app, plan)
    forms = _drafts_by_id(environment, "systemforms", "formid", "formxml,objecttypecode", app.forms)
    for form in app.forms:
        plan.forms += _form_steps(form, by_name, app, forms.get(form.id), plan)
    plan.app = list(_app_steps(environment, app, views, roles, plan))
    return plan


def _drafts_by_id(
    environment: Environment, entity_set: str, key: str, columns: str, wanted: Sequence[Form]
) -> dict[str, dict[str, Any]]:
    where = " or ".join(f"{key} eq {one.id}" for one in wanted)
    select = f"{key},name,description,componentstate,{columns}"
    rows = environment.drafts(entity_set, select, where)
    return {str(row[key]).lower(): row for row in rows}


# --- views ---------------------------------------------------------------------------------------


class _Views:
    """The views of our tables as they are there."""

    def __init__(
        self, environment: Environment, tables: Mapping[str, Table], codes: Mapping[str, int]
    ) -> None:
        self._tables = tables
        self._codes = codes
        # Only tables that are there: the service does not compare with a name it does not know.
        where = " or ".join(f"returnedtypecode eq {literal(name)}" for name in codes)
        columns = "name,description,returnedtypecode,querytype,isdefault,componentstate"
        select = f"savedqueryid,{columns},fetchxml,layoutxml"
        self._rows = environment.drafts("savedqueries", select, where) if codes else []

    def found(self, view: View, app: App) -> dict[str, Any] | None:
        """Return the row of a view: of the same id, or the one that the platform made for it.

        An administrator may have made another view the table's default: then the platform's is the
        one that carries our mark, and never one of those that we made ourselves.
        """
        by_id = {str(row["savedqueryid"]).lower(): row for row in self._rows}
        if view.id in by_id or view.kind is ViewKind.MORE:
            return by_id.get(view.id)
        ours = {other.id for other in app.views}
        wanted = (view.table, QUERY_TYPE[view.kind])
        platforms = [
            row
            for row_id, row in by_id.items()
            if row_id not in ours and (row["returnedtypecode"], row["querytype"]) == wanted
        ]
        laid_out = [row for row in platforms if mark_of(row["description"])]
        default = [row for row in platforms if row.get("isdefault")]
        return next(iter((*laid_out, *default)), None)

    def steps(self, view: View, app: App, plan: ScreenPlan) -> Iterator[Step]:
        """Make or update a view, or say why it is left alone."""
        table = self._tables[view.table]
        fetch = write(fetch_xml(view, table))
        # A table that is not there yet has no number; when it is, there is another plan.
        layout = write(layout_xml(view, table, object_type=self._codes.get(view.table)))
        wanted = gist.view_gist(fetch, layout)
        row = self.found(view, app)
        verb = "create" if row is None else "update"
        if view.kind is not ViewKind.MORE:
            verb = "lay out"  # the platform makes it, with the table
        body = {
            "name": view.name,
            "description": marked(view.description, gist.digest(wanted)),
            "fetchxml": fetch,
            "layoutxml": layout,
        }
        if row is None:
            fixed = {
                "savedqueryid": view.id,
                "returnedtypecode": view.table,
                "querytype": QUERY_TYPE[view.kind],
            }
            yield Step(
                part=Part.VIEWS,
                sentence=f"{verb} view {view.name} of {view.table}",
                path="savedqueries",
                body={**fixed, **body},
                headers=IN_SOLUTION,
            )
            return
        plan.drafts |= row.get("componentstate") == _DRAFT
        there = gist.view_gist(str(row["fetchxml"]), str(row["layoutxml"]))
        if there == wanted:
            return
        mark = mark_of(row["description"])
        if mark == gist.digest(there):
            # The name stays: a person may have found a better one.
            del body["name"]
        elif mark or not _as_made(row, table):
            plan.notes.append(
                f"view {row['name']} of {view.table} was changed by hand and is left alone"
            )
            return
        yield Step(
            part=Part.VIEWS,
            sentence=f"{verb} view {view.name} of {view.table}",
            method="PATCH",
            path=f"savedqueries({row['savedqueryid']})",
            body=body,
            headers={**IN_SOLUTION, "If-Match": "*"},
        )


def _as_made(row: Mapping[str, Any], table: Table) -> bool:
    """Say whether a view is as the platform made it: the name of the row and when it was made."""
    few = {primary_name(table), *_PLATFORMS_OWN}
    shown = gist.shown_columns(str(row["layoutxml"])) | gist.find_columns(str(row["fetchxml"]))
    return shown <= few


# --- forms ---------------------------------------------------------------------------------------


def _form_steps(
    form: Form,
    tables: Mapping[str, Table],
    app: App,
    row: Mapping[str, Any] | None,
    plan: ScreenPlan,
) -> Iterator[Step]:
    xml = write(form_xml(form, tables, app))
    wanted = gist.form_gist(xml)
    body = {"description": marked(form.description, gist.digest(wanted)), "formxml": xml}
    if row is None:
        fixed = {
            "formid": form.id,
            "name": form.name,
            "objecttypecode": form.table,
            "type": _MAIN_FORM,
        }
        yield Step(
            part=Part.FORMS,
            sentence=f"create form {form.name} of {form.table}",
            path="systemforms",
            body={**fixed, **body},
            headers=IN_SOLUTION,
        )
        return
    plan.drafts |= row.get("componentstate") == _DRAFT
    there = gist.form_gist(str(row["formxml"]))
    if there == wanted:
        return
    if mark_of(row["description"]) != gist.digest(there):
        plan.notes.append(
            f"form {row['name']} of {form.table} was changed by hand and is left alone"
        )
        return
    yield Step(
        part=Part.FORMS,
        sentence=f"update form {row['name']} of {form.table}",
        method="PATCH",
        path=f"systemforms({form.id})",
        body=body,
        headers={**IN_SOLUTION, "If-Match": "*"},
    )


# --- the app -------------------------------------------------------------------------------------


def _app_steps(
    environment: Environment, app: App, views: _Views, roles: Sequence[Role], plan: ScreenPlan
) -> Iterator[Step]:
    select = "appmoduleid,appmoduleidunique,name,description,componentstate"
    apps = environment.drafts("appmodules", select, f"appmoduleid eq {app.id}")
    row = apps[0] if apps else None
    if row is not None:
        plan.drafts |= row.get("componentstate") == _DRAFT
    mark, steps = _site_map_steps(environment, app, mark_of((row or {}).get("description")), plan)
    yield from steps
    description = marked(app.description, mark)
    if row is None:
        yield Step(
            part=Part.APP,
            sentence=f"create app {app.name}",
            path="appmodules",
            body={
                "appmoduleid": app.id,
                "name": app.name,
                "uniquename": app.unique_name,
                "description": description,
                "clienttype": _UNIFIED,
                "webresourceid": STOCK_ICON,
            },
            headers=IN_SOLUTION,
        )
    elif mark_of(row["description"]) != mark:
        yield Step(
            part=Part.APP,
            sentence=f"note the menu on app {app.name}",
            method="PATCH",
            path=f"appmodules({app.id})",
            body={"description": description},
            headers={**IN_SOLUTION, "If-Match": "*"},
        )
    there = environment.app_parts(str(row["appmoduleidunique"])) if row else set()
    rows = [views.found(view, app) or {"savedqueryid": view.id} for view in app.views]
    ids = [str(one["savedqueryid"]).lower() for one in rows]
    missing = [
        one for one in (*ids, *(f.id for f in app.forms), app.site_map_id) if one not in there
    ]
    if missing:
        yield Step(
            part=Part.APP,
            sentence=f"add {len(missing)} views, forms and menus to app {app.name}",
            path="AddAppComponents",
            body=_components(ids, app),
        )
    allowed = environment.app_roles(app.id) if row else set()
    for role in roles:
        if role.people and role.id not in allowed:
            yield Step(
                part=Part.APP,
                sentence=f"open app {app.name} to role {role.name}",
                path=f"appmodules({app.id})/appmoduleroles_association/$ref",
                body={"@odata.id": environment.address(f"roles({role.id})")},
            )


def _site_map_steps(
    environment: Environment, app: App, mark: str, plan: ScreenPlan
) -> tuple[str, list[Step]]:
    """Return the mark that the app should carry, and the steps."""
    xml = write(site_map_xml(app))
    wanted = gist.site_map_gist(xml)
    rows = environment.drafts(
        "sitemaps", "sitemapid,sitemapxml,componentstate", f"sitemapid eq {app.site_map_id}"
    )
    if not rows:
        step = Step(
            part=Part.APP,
            sentence=f"create the menu of app {app.name}",
            path="sitemaps",
            body={
                "sitemapid": app.site_map_id,
                "sitemapname": app.name,
                "sitemapnameunique": app.unique_name,
                "isappaware": True,
                "sitemapxml": xml,
            },
            headers=IN_SOLUTION,
        )
        return gist.digest(wanted), [step]
    plan.drafts |= rows[0].get("componentstate") == _DRAFT
    there = gist.site_map_gist(str(rows[0]["sitemapxml"]))
    if there == wanted:
        return gist.digest(wanted), []
    if mark != gist.digest(there):
        plan.notes.append(f"the menu of app {app.name} was changed by hand and is left alone")
        return mark, []
    step = Step(
        part=Part.APP,
        sentence=f"update the menu of app {app.name}",
        method="PATCH",
        path=f"sitemaps({app.site_map_id})",
        body={"sitemapxml": xml},
        headers={**IN_SOLUTION, "If-Match": "*"},
    )
    return gist.digest(wanted), [step]


def _components(views: Sequence[str], app: App) -> dict[str, Any]:
    """Name every part of the app; those that it has already stay as they are."""
    return {
        "AppId": app.id,
        "Components": [
            *({"savedqueryid": one, "@odata.type": f"{CRM}savedquery"} for one in views),
            *({"formid": form.id, "@odata.type": f"{CRM}systemform"} for form in app.forms),
            {"sitemapid": app.site_map_id, "@odata.type": f"{CRM}sitemap"},
        ],
    }
