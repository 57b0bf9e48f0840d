"""Flows of Power Automate drawn as SVG, from the definitions that are imported: box under box.

What a definition says decides the picture: the order from `runAfter`, one column for each branch of
a condition, a frame around what is repeated. A picture is not kept by hand, so it cannot lie.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from domain.problems import InputError

WIDTH, GAP, PAD, LINE, LETTERS = 300, 26, 18, 17, 40
_COLOURS = {
    "Request": "#0b5cad",
    "Recurrence": "#0b5cad",
    "OpenApiConnection": "#0f4c5c",
    "OpenApiConnectionWebhook": "#4b53bc",
    "If": "#5c4b8a",
    "Until": "#8a5a00",
    "Foreach": "#8a5a00",
    "Terminate": "#a4262c",
}
_TEAMS = "#4b53bc"
_OTHER = "#5b6470"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """A drawn part: its size, and its SVG with the origin at its upper left corner."""

    width: int
    height: int
    svg: str


def draw(folder: Path) -> list[str]:
    """Draw every flow of a folder as a picture beside it; returns the names of those that changed."""
    changed = []
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise InputError(f"--flows {folder}: there are no flows", hint="name a folder of *.json")
    for path in paths:
        try:
            flow = json.loads(path.read_text(encoding="utf-8"))
            content = picture(flow["properties"]["definition"]).encode()
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"--flows {path}: this is no flow ({error!r})") from None
        target = path.with_suffix(".svg")
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)
            changed.append(target.name)
    return changed


def picture(definition: Mapping[str, Any]) -> str:
    """Draw one definition."""
    ((name, trigger),) = definition["triggers"].items()
    parts = [_step(name, trigger, "Trigger"), *_column(definition["actions"])]
    body = _stacked(parts)
    width, height = body.width + 2 * PAD, body.height + 2 * PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="Segoe UI, Helvetica, Arial, sans-serif" '
        'font-size="13">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#5b6470"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        f'<g transform="translate({PAD} {PAD})">{body.svg}</g>\n</svg>\n'
    )


def in_order(actions: Mapping[str, Any]) -> list[str]:
    """Return the names of actions in the order in which they run."""
    left, done = dict(actions), list[str]()
    while left:
        ready = [name for name, one in left.items() if set(one.get("runAfter", ())) <= set(done)]
        if not ready:
            msg = f"{', '.join(left)} run after each other in a circle, or after what is not there"
            raise ValueError(msg)
        done += ready
        for name in ready:
            del left[name]
    return done


def _column(actions: Mapping[str, Any]) -> list[_Box]:
    return [_action(name, actions[name]) for name in in_order(actions)]


def _action(name: str, action: Mapping[str, Any]) -> _Box:
    kind = action["type"]
    if kind == "If":
        asked = _step(name, action, "Condition")
        branches = (
            _branch("Yes", action.get("actions", {})),
            _branch("No", action.get("else", {}).get("actions", {})),
        )
        return _stacked([asked, _beside(branches)])
    if kind in {"Until", "Foreach", "Scope"}:
        title = {"Until": "Do until", "Foreach": "For each", "Scope": "Steps"}[kind]
        return _framed(_stacked([_step(name, action, title), *_column(action["actions"])]))
    return _step(name, action, _what(action))


def _branch(title: str, actions: Mapping[str, Any]) -> _Box:
    label = _Box(
        width=WIDTH,
        height=LINE,
        svg=f'<text x="{WIDTH // 2}" y="13" text-anchor="middle" fill="#5b6470" '
        f'font-weight="600">{title}</text>',
    )
    parts = _column(actions) or [_text_box("(nothing)", [], "#c8ccd1")]
    return _framed(_stacked([label, _stacked(parts)], arrows=False))


def _what(action: Mapping[str, Any]) -> str:
    host = action.get("inputs", {}).get("host", {}) if isinstance(action["inputs"], dict) else {}
    if "operationId" in host:
        where = str(host["apiId"]).rpartition("/")[2].removeprefix("shared_")
        return f"{where}: {host['operationId']}"
    return str(action["type"])


def _step(name: str, action: Mapping[str, Any], kind: str) -> _Box:
    colour = _COLOURS.get(action["type"], _OTHER)
    if kind.startswith("teams:"):
        colour = _TEAMS
    said = [kind, *textwrap.wrap(str(action.get("description", "")), LETTERS)]
    return _text_box(name.replace("_", " "), said, colour)


def _text_box(title: str, said: Sequence[str], colour: str) -> _Box:
    height = 2 * 10 + LINE * (1 + len(said)) - 2
    lines = "".join(
        f'<text x="16" y="{24 + LINE * (number + 1)}" fill="#5b6470" font-size="12">'
        f"{escape(line)}</text>"
        for number, line in enumerate(said)
    )
    svg = (
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff" stroke="#c8ccd1"/>'
        f'<rect width="6" height="{height}" rx="3" fill="{colour}"/>'
        f'<text x="16" y="24" fill="#1b1f24" font-weight="600">{escape(title)}</text>{lines}'
    )
    return _Box(width=WIDTH, height=height, svg=svg)


def _stacked(parts: Sequence[_Box], *, arrows: bool = True) -> _Box:
    """Put parts under each other, centred, with arrows between."""
    width = max(part.width for part in parts)
    y, drawn = 0, []
    for number, part in enumerate(parts):
        if number and arrows:
            middle = width // 2
            drawn.append(
                f'<path d="M{middle} {y - GAP + 2} V{y - 3}" stroke="#5b6470" fill="none" '
                'marker-end="url(#tip)"/>'
            )
        x = (width - part.width) // 2
        drawn.append(f'<g transform="translate({x} {y})">{part.svg}</g>')
        y += part.height + (GAP if arrows else 8)
    return _Box(width=width, height=y - (GAP if arrows else 8), svg="".join(drawn))


def _beside(parts: Sequence[_Box]) -> _Box:
    height = max(part.height for part in parts)
    x, drawn = 0, []
    for part in parts:
        drawn.append(f'<g transform="translate({x} 0)">{part.svg}</g>')
        x += part.width + GAP
    return _Box(width=x - GAP, height=height, svg="".join(drawn))


def _framed(inner: _Box) -> _Box:
    width, height = inner.width + 2 * PAD, inner.height + 2 * PAD
    svg = (
        f'<rect width="{width}" height="{height}" rx="8" fill="#f4f6f8" stroke="#d6dade"/>'
        f'<g transform="translate({PAD} {PAD})">{inner.svg}</g>'
    )
    return _Box(width=width, height=height, svg=svg)
