"""Resource paths and key predicates: `accounts(name='O''Neil')/primarycontactid/$ref` in parts.

Slashes inside quotes or parentheses do not split a path. A key predicate is a GUID, or named
values; what the names mean is decided by the table (`Rows.locate`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from emulator.dataverse import errors, values

KeyValue = str | int | Decimal
# Dataverse's front end refuses these in the path of a request, however they are encoded.
FORBIDDEN_IN_KEYS = frozenset('/<>*%&:\\?+"')
_API = re.compile(r"(?:https?://[^/]+)?(?:/?api/data/v9\.\d/)?/?", re.IGNORECASE)
_SEGMENT = re.compile(r"((?:[^/('\"]|\((?:[^()']|'(?:[^']|'')*'|\([^()]*\))*\))+)(?:/|$)")
_NAMED = re.compile(r"\s*(@?[\w.]+)\s*=\s*('(?:[^']|'')*'|\[[^\]]*\]|\{.*\}|[^,']+)\s*(?:,|$)")


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a path: a name, and what stood in its parentheses (None: no parentheses)."""

    name: str
    key: str | None = None


def split(path: str) -> list[Segment]:
    """The steps of a path below the API root, which may still carry host and prefix."""
    prefix = _API.match(path)
    rest = path[prefix.end() :] if prefix else path
    result: list[Segment] = []
    position = 0
    while position < len(rest):
        match = _SEGMENT.match(rest, position)
        if match is None:
            raise errors.unknown_segment(rest[position:].split("/")[0])
        name, bracket, key = match[1].partition("(")
        result.append(Segment(name, key[:-1] if bracket else None))
        position = match.end()
    return result


def arguments(text: str, aliases: Mapping[str, str] | None = None) -> dict[str, str]:
    """The raw `name=value` pairs of a key predicate or function call; aliases are looked up."""
    result: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _NAMED.match(text, position)
        if match is None:
            raise errors.bad_query(f"Syntax error at position {position} in '{text}'.")
        value = match[2].strip()
        result[match[1]] = (aliases or {}).get(value, value) if value.startswith("@") else value
        position = match.end()
    return result


def literal(text: str) -> KeyValue:
    """A key value: quoted text, a number, or bare text such as a GUID or a date."""
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+", text):
        return Decimal(text)
    return text


def predicate(text: str) -> str | dict[str, KeyValue]:
    """A GUID in lower case, or the named values of an alternate key."""
    if values.GUID.fullmatch(text):
        return text.lower()
    return {name: literal(raw) for name, raw in arguments(text).items()}
