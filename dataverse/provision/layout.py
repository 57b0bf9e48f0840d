"""Views and the menu as the platform's XML: FetchXML, LayoutXML, SiteMap.

The grammar is that of Microsoft's schemas for customisation files.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from dataverse.provision.metadata import ENGLISH
from dataverse.provision.screens import App, Page, View, ViewKind
from dataverse.schema import Kind, Table


def write(root: ET.Element) -> str:
    """Return XML as one line of text."""
    return ET.tostring(root, encoding="unicode")


def slug(text: str) -> str:
    """Return a name for XML of what people read: `drafts_to_approve`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def fetch_xml(view: View, table: Table) -> ET.Element:
    """Return the query of a view."""
    fetch = ET.Element("fetch", version="1.0", mapping="logical")
    entity = ET.SubElement(fetch, "entity", name=view.table)
    for name in dict.fromkeys((table.primary_id, *(name for name, _ in view.columns))):
        ET.SubElement(entity, "attribute", name=name)
    for text in view.order:
        name, _, direction = text.partition(" ")
        descending = "true" if direction == "desc" else "false"
        ET.SubElement(entity, "order", attribute=name, descending=descending)
    if view.where or view.kind is not ViewKind.MORE:
        filters = ET.SubElement(entity, "filter", type="and")
        if view.kind is not ViewKind.MORE:
            ET.SubElement(filters, "condition", attribute="statecode", operator="eq", value="0")
        for name, operator, *values in view.where:
            _condition(filters, table, name, operator, values)
    if view.find:
        found = ET.SubElement(entity, "filter", type="or", isquickfindfields="1")
        for name in view.find:
            # The platform puts what was typed in the place of {0}.
            ET.SubElement(found, "condition", attribute=name, operator="like", value="{0}")
    return fetch


def _condition(
    parent: ET.Element, table: Table, name: str, operator: str, values: list[str]
) -> None:
    column = next((one for one in table.columns if one.name == name), None)
    if column is not None and column.kind is Kind.CHOICE:
        values = [str(column.option(value)) for value in values]
    condition = ET.SubElement(parent, "condition", attribute=name, operator=operator)
    if operator in ("in", "not-in", "between"):
        for value in values:
            ET.SubElement(condition, "value").text = value
    elif values:
        (condition.attrib["value"],) = values


def layout_xml(view: View, table: Table, *, object_type: int | None = None) -> ET.Element:
    """Return the columns of a view; a solution leaves out the number of the table's type."""
    grid = ET.Element("grid", name="resultset")
    if object_type is not None:
        grid.attrib["object"] = str(object_type)
    grid.attrib |= {"jump": primary_name(table), "select": "1", "icon": "1", "preview": "1"}
    row = ET.SubElement(grid, "row", name="result", id=table.primary_id)
    for name, width in view.columns:
        ET.SubElement(row, "cell", name=name, width=str(width))
    return grid


def primary_name(table: Table) -> str:
    """Return the logical name of the column that names a row."""
    return next(column.name for column in table.columns if column.primary)


def site_map_xml(app: App) -> ET.Element:
    """Return the menu of the app: one area, so that all groups are in sight."""
    root = ET.Element("SiteMap")
    area = ET.SubElement(root, "Area", Id="csp_area", ShowGroups="true")
    _titles(area, app.name)
    for group in app.groups:
        element = ET.SubElement(
            area, "Group", Id=f"csp_group_{slug(group.label)}", IsProfile="false"
        )
        _titles(element, group.label)
        for page in group.pages:
            _page(element, page, app)
    return root


def _page(group: ET.Element, page: Page, app: App) -> None:
    name = f"csp_page_{slug(page.label)}"
    if not page.view:
        _titles(ET.SubElement(group, "SubArea", Id=name, Entity=page.table), page.label)
        return
    view_id = app.view(page.table, page.view).id
    url = f"/main.aspx?pagetype=entitylist&etn={page.table}&viewid=%7b{view_id}%7d&viewType=1039"
    element = ET.SubElement(group, "SubArea", Id=name, Url=url, PassParams="false")
    _titles(element, page.label)
    # An address says nothing of its table: who may not read it should not see the entry.
    ET.SubElement(element, "Privilege", Entity=page.table, Privilege="Read")


def _titles(parent: ET.Element, text: str) -> None:
    titles = ET.SubElement(parent, "Titles")
    ET.SubElement(titles, "Title", LCID=str(ENGLISH), Title=text)
