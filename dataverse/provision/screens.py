"""The words in which views, forms and the app are declared, and the identity of each.

A screen names columns by their logical names; what they are called, how they are shown and which
relationship a grid follows come from the tables. Ids are made from the key of a screen, never from
its name, so that a person may rename it and an update still finds it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum

_IDS = uuid.uuid5(uuid.NAMESPACE_DNS, "cspbilling.dataverse")


def component_id(*meaning: str) -> str:
    """Return the stable GUID of a component: `component_id("view", "csp_invoice", "drafts")`."""
    return str(uuid.uuid5(_IDS, "/".join(meaning)))


class ViewKind(StrEnum):
    """What a view is for."""

    MORE = "more"
    """One more public view, with an id of ours."""
    MAIN = "main"
    """The view with which a table opens: the platform makes one, and it is given our columns."""
    FIND = "find"
    """What quick find searches and shows: the platform makes one, and it is given our columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A list of rows: its columns and widths, which rows, in which order."""

    table: str
    key: str
    name: str
    description: str
    columns: tuple[tuple[str, int], ...]
    """Logical name and width in pixels, from left to right."""
    where: tuple[tuple[str, ...], ...] = ()
    """Conditions that all hold: column, FetchXML operator, values (a choice by its own words)."""
    order: tuple[str, ...] = ()
    """Column, followed by ` desc` where the greatest comes first."""
    find: tuple[str, ...] = ()
    """The columns that quick find searches."""
    kind: ViewKind = ViewKind.MORE

    @property
    def id(self) -> str:
        """The id under which the view is created."""
        return component_id("view", self.table, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Rows of another table that point at the shown row."""

    table: str
    lookup: str
    view: str
    """The key of the view whose columns are shown; its filter applies as well."""
    label: str
    rows: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A block of fields, side by side in so many columns."""

    label: str
    fields: tuple[str, ...]
    columns: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One page of a form."""

    label: str
    parts: tuple[Section | Grid, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The main form of a table."""

    table: str
    name: str
    description: str
    tabs: tuple[Tab, ...]
    header: tuple[str, ...] = ()
    """What stays in sight on every page: at most four columns."""
    edited: tuple[str, ...] = ()
    """Columns that people enter; all others are read-only. `*`: all but the row's identity."""

    @property
    def id(self) -> str:
        """The id under which the form is created."""
        return component_id("form", self.table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An entry of the menu: a table with its main view, or one of its other views."""

    table: str
    label: str
    view: str = ""
    """The key of a view; empty: the table, which opens with its main view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A heading of the menu with its pages."""

    label: str
    pages: tuple[Page, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The model-driven app of the finance users."""

    unique_name: str
    """Without prefix: the platform puts the publisher's before it."""
    name: str
    description: str
    groups: tuple[Group, ...]
    views: tuple[View, ...]
    forms: tuple[Form, ...]

    @property
    def id(self) -> str:
        """The id under which the app is created."""
        return component_id("app", self.unique_name)

    @property
    def site_map_id(self) -> str:
        """The id of its menu."""
        return component_id("sitemap", self.unique_name)

    def view(self, table: str, key: str) -> View:
        """Return a declared view; KeyError when there is none."""
        for view in self.views:
            if (view.table, view.key) == (table, key):
                return view
        raise KeyError(table, key)
