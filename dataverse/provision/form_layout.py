"""Forms as the platform's FormXML: tabs, sections, fields and grids of related rows.

The grammar is that of Microsoft's FormXml schema. Every element has an id made from its meaning, so
that the same form is written the same way each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

from dataverse.provision.layout import slug
from dataverse.provision.metadata import ENGLISH
from dataverse.provision.screens import App, Form, Grid, Section, Tab, component_id
from dataverse.schema import BOOKKEEPING, Kind, Table

SUBGRID = "{E7A81278-8635-4d9e-8D4D-59480B391C5B}"
LOOKUP = "{270BD3DB-D9AF-4782-9025-509E298DEC0A}"
_MOMENT = "{5B773807-9FB2-42db-97C3-7A91EFF8ADFF}"
_LINES = "{E0DECE4B-6FC8-4a8f-A065-082708572369}"
CONTROL = {
    Kind.TEXT: "{4273EDBD-AC1D-40d3-9FB2-095C621B552D}",
    Kind.MEMO: _LINES,
    Kind.JSON: _LINES,
    Kind.WHOLE: "{C6D124CA-7EDA-4a60-AEA9-7FB8D318B68F}",
    Kind.NUMBER: "{C3EFE0C3-0EC6-42be-8349-CBD9079DFD8E}",
    Kind.MONEY: "{533B9E00-756B-4312-95A0-DC888637AC78}",
    Kind.DAY: _MOMENT,
    Kind.MOMENT: _MOMENT,
    Kind.FLAG: "{67FAC785-CD58-4f9f-ABB3-4B7DDC6ED5ED}",
    Kind.CHOICE: "{3EF39988-22BB-4f0b-BBBE-64B5A3748AEE}",
}
"""Class ids of form controls, from Microsoft's FormXml reference."""

LINK = "{71716B6C-711E-476c-8AB8-5D11542BFB47}"
"""The control of a text that is an address."""

SYSTEM = {"createdon": "Created on", "modifiedon": "Modified on"}
"""Columns of the platform's own that screens show, with their names."""

_NOT_ENTERED = {*SYSTEM, *(column.name for column in BOOKKEEPING)}
_MEMO_ROWS = 3


def write(root: ET.Element) -> str:
    """Return XML as one line of text."""
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def form_xml(form: Form, tables: Mapping[str, Table], app: App) -> ET.Element:
    """Return the main form of a table."""
    return _Writer(form, tables, app).write()


class _Writer:
    """Writes one form."""

    def __init__(self, form: Form, tables: Mapping[str, Table], app: App) -> None:
        self._form = form
        self._table = tables[form.table]
        self._tables = tables
        self._app = app

    def write(self) -> ET.Element:
        root = ET.Element("form", headerdensity="HighWithControls")
        tabs = ET.SubElement(root, "tabs")
        for tab in self._form.tabs:
            self._tab(tabs, tab)
        header = ET.SubElement(
            root,
            "header",
            id=self._id("header"),
            columns="1" * len(self._form.header),
            celllabelposition="Top",
            labelwidth="115",
            celllabelalignment="Left",
        )
        row = ET.SubElement(ET.SubElement(header, "rows"), "row")
        for name in self._form.header:
            self._field(row, name, where="header")
        conditions = ET.SubElement(root, "DisplayConditions", Order="0", FallbackForm="true")
        ET.SubElement(conditions, "Everyone")
        return root

    def _id(self, *meaning: str) -> str:
        return "{" + component_id("form", self._form.table, *meaning) + "}"

    def _tab(self, tabs: ET.Element, tab: Tab) -> None:
        element = ET.SubElement(
            tabs,
            "tab",
            name=slug(tab.label),
            verticallayout="true",
            id=self._id(tab.label),
            IsUserDefined="1",
        )
        _labels(element, tab.label)
        column = ET.SubElement(ET.SubElement(element, "columns"), "column", width="100%")
        sections = ET.SubElement(column, "sections")
        for part in tab.parts:
            wide = part.columns if isinstance(part, Section) else 1
            section = ET.SubElement(
                sections,
                "section",
                name=slug(f"{tab.label} {part.label}"),
                showlabel="true",
                showbar="false",
                IsUserDefined="0",
                id=self._id(tab.label, part.label),
                columns="1" * wide,
            )
            _labels(section, part.label)
            rows = ET.SubElement(section, "rows")
            if isinstance(part, Grid):
                self._grid(rows, part)
            else:
                self._fields(rows, part)

    def _fields(self, rows: ET.Element, section: Section) -> None:
        row, used = None, 0
        for name in section.fields:
            long = kind_of(self._table, name) in (Kind.MEMO, Kind.JSON)
            if row is None or long or used == section.columns:
                row, used = ET.SubElement(rows, "row"), 0
            cell = self._field(row, name, where=section.label)
            used += 1
            if long:
                cell.attrib |= {"colspan": str(section.columns), "rowspan": str(_MEMO_ROWS)}
                # What a cell covers is said by empty rows.
                for _ in range(_MEMO_ROWS - 1):
                    ET.SubElement(rows, "row")
                row = None

    def _field(self, row: ET.Element, name: str, *, where: str) -> ET.Element:
        cell = ET.SubElement(row, "cell", id=self._id(where, name))
        _labels(cell, label_of(self._table, name))
        edited = self._form.edited
        entered = name in edited or ("*" in edited and name not in _NOT_ENTERED)
        open_to_people = where != "header" and entered
        ET.SubElement(
            cell,
            "control",
            id=f"header_{name}" if where == "header" else name,
            classid=control_of(self._table, name),
            datafieldname=name,
            disabled="false" if open_to_people else "true",
        )
        return cell

    def _grid(self, rows: ET.Element, grid: Grid) -> None:
        child = self._tables[grid.table]
        lookup = next(one for one in child.lookups if one.name == grid.lookup)
        cell = ET.SubElement(
            ET.SubElement(rows, "row"),
            "cell",
            id=self._id("grid", grid.label),
            showlabel="false",
            colspan="1",
            rowspan=str(grid.rows),
            auto="false",
        )
        _labels(cell, grid.label)
        control = ET.SubElement(
            cell,
            "control",
            id=slug(f"grid {grid.label}"),
            classid=SUBGRID,
            indicationOfSubgrid="true",
            uniqueid=self._id("control", grid.label),
        )
        view_id = "{" + self._app.view(grid.table, grid.view).id + "}"
        parameters = ET.SubElement(control, "parameters")
        for name, value in {
            "TargetEntityType": grid.table,
            "ViewId": view_id,
            "ViewIds": view_id,
            "IsUserView": "false",
            "RelationshipName": child.relationship(lookup),
            "AutoExpand": "Fixed",
            "EnableQuickFind": "true",
            "EnableViewPicker": "false",
            "EnableJumpBar": "false",
            "ChartGridMode": "Grid",
            "EnableChartPicker": "false",
            "RecordsPerPage": str(grid.rows),
        }.items():
            ET.SubElement(parameters, name).text = value
        for _ in range(grid.rows - 1):
            ET.SubElement(rows, "row")


def _labels(parent: ET.Element, text: str) -> None:
    labels = ET.SubElement(parent, "labels")
    ET.SubElement(labels, "label", description=text, languagecode=str(ENGLISH))


def kind_of(table: Table, name: str) -> Kind | None:
    """Return how a shown column is held; None for a link. KeyError when the table has no such."""
    if name in SYSTEM:
        return Kind.MOMENT
    for column in table.columns:
        if column.name == name:
            return column.kind
    if any(lookup.name == name for lookup in table.lookups):
        return None
    raise KeyError(name)


def control_of(table: Table, name: str) -> str:
    """Return the class id of the control that shows a column."""
    kind = kind_of(table, name)
    if kind is None:
        return LOOKUP
    links = {column.name for column in table.columns if column.is_link}
    return LINK if name in links else CONTROL[kind]


def label_of(table: Table, name: str) -> str:
    """Return what a shown column is called."""
    labels = {column.name: column.label for column in table.columns}
    labels |= {lookup.name: lookup.label for lookup in table.lookups}
    return labels.get(name) or SYSTEM[name]
