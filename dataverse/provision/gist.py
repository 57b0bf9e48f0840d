"""The gist of a screen: what a person sees of it, without ids and the platform's own additions.

Gists are compared instead of XML, so that a screen that somebody changed is told from one that was
merely stored in the platform's own spelling.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET


def digest(gist: Any) -> str:
    """Return a short hash of a gist."""
    text = json.dumps(gist, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def view_gist(fetch: str, layout: str) -> Any:
    """Return what a person sees of a view: columns, widths, filter, order."""
    query, grid = _read(fetch), _read(layout)
    return [
        [[cell.get("name"), cell.get("width")] for cell in grid.iter("cell")],
        [
            [
                one.get("attribute"),
                one.get("operator"),
                *([one.get("value")] if one.get("value") is not None else []),
                *[value.text for value in one.iter("value")],
            ]
            for one in query.iter("condition")
        ],
        [[one.get("attribute"), one.get("descending") == "true"] for one in query.iter("order")],
    ]


def form_gist(text: str) -> Any:
    """Return what a person sees of a form: tabs, sections, fields, grids, header."""
    root = _read(text)
    tabs = [
        [
            _label(tab),
            [
                [_label(section), [_control(one) for one in section.iter("control")]]
                for section in tab.iter("section")
            ],
        ]
        for tab in root.iter("tab")
    ]
    header = root.find("header")
    return [tabs, [_control(one) for one in (header.iter("control") if header is not None else ())]]


def site_map_gist(text: str) -> Any:
    """Return what a person sees of the menu: groups, their entries, and where each leads."""
    return [
        [
            _title(group),
            [
                [_title(page), page.get("Entity"), (page.get("Url") or "").lower()]
                for page in group.iter("SubArea")
            ],
        ]
        for group in _read(text).iter("Group")
    ]


def find_columns(fetch: str) -> set[str]:
    """Return the columns that a query of quick find searches."""
    marked = (one for one in _read(fetch).iter("filter") if one.get("isquickfindfields"))
    return {str(c.get("attribute")) for one in marked for c in one.iter("condition")}


def shown_columns(layout: str) -> set[str]:
    """Return the columns of a layout."""
    return {str(cell.get("name")) for cell in _read(layout).iter("cell")}


def _read(text: str) -> ET.Element:
    try:
        return ET.fromstring(text)  # noqa: S314 - of the environment that is being provisioned
    except ET.ParseError:
        return ET.Element("unreadable")


def _label(element: ET.Element) -> str:
    label = element.find("labels/label")
    return str(label.get("description")) if label is not None else ""


def _title(element: ET.Element) -> str:
    title = element.find("Titles/Title")
    return str(title.get("Title")) if title is not None else ""


def _control(element: ET.Element) -> list[str]:
    target = element.findtext("parameters/TargetEntityType")
    if target is None:
        return [str(element.get("datafieldname")), str(element.get("disabled") or "false")]
    names: Iterable[str] = ("RelationshipName", "ViewId")
    return [target, *((element.findtext(f"parameters/{name}") or "").lower() for name in names)]
