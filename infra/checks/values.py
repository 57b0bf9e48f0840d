"""What expressions are worth: literals, names that are known, and Bicep's functions.

What depends on what is not known is UNKNOWN. What Azure answers once a resource is there stands as its
place, such as `<func-…properties.defaultHostName>`: a text, so that what is made of it can be read.
"""

from __future__ import annotations

import json
import os
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from ipaddress import ip_network
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tree_sitter import Node

from infra.checks.bicep import plain, said

UNKNOWN = object()
"""A value that only a deployment knows."""
Known = Mapping[str, Any]


class Later(str):
    """A place in what a resource answers when it is there."""

    __slots__ = ()


def compute(node: Node, known: Known) -> Any:
    """Return what an expression is worth, given names: values, or expressions of the same file."""
    make = _FORMS.get(node.type)
    return make(node, known) if make is not None else UNKNOWN


def _name(node: Node, known: Known) -> Any:
    # Not get(): it would take a KeyError from deep inside a value for a name that is not there.
    value = known[said(node)] if said(node) in known else UNKNOWN  # noqa: SIM401
    return compute(value, known) if isinstance(value, Node) else value


def _string(node: Node, known: Known) -> Any:
    parts = [
        compute(one.named_children[0], known) if one.type == "interpolation" else plain(one)
        for one in node.named_children
    ]
    return UNKNOWN if UNKNOWN in parts else "".join(_text(one) for one in parts)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _array(node: Node, known: Known) -> list[Any]:
    return [compute(one, known) for one in node.named_children if one.type != "comment"]


def _object(node: Node, known: Known) -> dict[str, Any]:
    found = {}
    for one in node.named_children:
        parts = [child for child in one.named_children if child.type != "comment"]
        if one.type == "object_property" and len(parts) > 1:
            key = compute(parts[0], known) if parts[0].type == "string" else said(parts[0])
            found[_text(key) if key is not UNKNOWN else "?"] = compute(parts[-1], known)
    return found


def _loop(node: Node, known: Known) -> Any:
    body = node.child_by_field_name("body")
    assert body is not None
    return turns(node, known, lambda here: compute(body, here))


def turns(node: Node, known: Known, make: Callable[[Known], Any]) -> Any:
    """Return what each turn of a loop makes of what it knows, UNKNOWN where its list is not known."""
    bound = [
        said(one)
        for one in node.named_children
        if one.type in {"identifier", "loop_variable", "loop_enumerator"}
    ]
    inner = [one for one in node.named_children if one.type == "for_loop_parameters"]
    bound = [said(one) for one in inner[0].named_children] if inner else bound[:1]
    rest = [
        one for one in node.named_children if one.type not in {"comment", "for_loop_parameters"}
    ]
    items = compute(rest[0] if inner else rest[1], known)
    if not isinstance(items, list):
        return UNKNOWN
    return [
        make(within(dict(zip(bound, (item, index), strict=False)), known))
        for index, item in enumerate(items)
    ]


def within(bound: Mapping[str, Any], known: Known) -> Known:
    """Return names with those that a loop or a lambda binds before them."""
    return ChainMap(dict(bound), known)  # type: ignore[arg-type] # only the first is ever written


def _ternary(node: Node, known: Known) -> Any:
    condition, then, otherwise = (one for one in node.named_children if one.type != "comment")
    value = compute(condition, known)
    if value is UNKNOWN:
        return UNKNOWN
    return compute(then if value else otherwise, known)


def _binary(node: Node, known: Known) -> Any:
    left, operator, right = node.children
    first = compute(left, known)
    word = said(operator)
    if word in {"&&", "||"} and first is not UNKNOWN and bool(first) is (word == "||"):
        return first
    if word == "??":
        return compute(right, known) if first is None else first
    second = compute(right, known)
    if UNKNOWN in (first, second):
        return UNKNOWN
    return _OPERATORS[word](first, second)


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "&&": lambda _, b: b,
    "||": lambda _, b: b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
}


def _unary(node: Node, known: Known) -> Any:
    value = compute(node.named_children[0], known)
    if value is UNKNOWN:
        return UNKNOWN
    return not value if said(node).startswith("!") else -value


def _member(node: Node, known: Known) -> Any:
    return _part(compute(node.named_children[0], known), said(node.named_children[-1]))


def _subscript(node: Node, known: Known) -> Any:
    return _part(compute(node.named_children[0], known), compute(node.named_children[1], known))


def _nested(node: Node, known: Known) -> Any:
    return _part(compute(node.named_children[0], known), f"::{said(node.named_children[-1])}")


def _part(value: Any, key: Any) -> Any:
    if isinstance(value, Later):
        return Later(f"{value[:-1]}.{key}>")
    if isinstance(value, Mapping) and key in value:
        return value[key]
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return UNKNOWN


def _call(node: Node, known: Known) -> Any:
    name = said(node.named_children[0])
    given = [one for one in node.named_children[1].named_children if one.type != "comment"]
    if name in {"map", "filter"}:
        items, function = compute(given[0], known), given[1]
        if not isinstance(items, list) or function.type != "lambda_expression":
            return UNKNOWN
        bound, body = said(function.named_children[0]), function.named_children[-1]
        made = [compute(body, within({bound: item}, known)) for item in items]
        return made if name == "map" else [i for i, keep in zip(items, made, strict=True) if keep]
    values = [compute(one, known) for one in given]
    if name == "union":
        parts = [one for one in values if isinstance(one, dict)]
        return {key: value for part in parts for key, value in part.items()}
    if UNKNOWN in values or name not in _FUNCTIONS:
        return UNKNOWN
    return _FUNCTIONS[name](*values)


def _token(*parts: str) -> str:
    """Return thirteen letters and digits that come from the parts, as uniqueString does."""
    return "abc" + sha256("|".join(parts).encode()).hexdigest()[:10]


def _subnet(space: str, size: int, index: int) -> str:
    return str(next(islice(ip_network(space).subnets(new_prefix=size), index, None)))


def _environment(name: str, *default: str) -> str:
    return os.environ.get(name) or (default[0] if default else Later(f"<{name}>"))


def _concat(*parts: Any) -> Any:
    return [i for part in parts for i in part] if isinstance(parts[0], list) else "".join(parts)


def _take(value: Sequence[Any], count: int) -> Any:
    return value[:count]


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "cidrSubnet": _subnet,
    "concat": _concat,
    "empty": lambda value: not value,
    "environment": lambda: {
        "suffixes": {"storage": "core.windows.net"},
        "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
    },
    "guid": lambda *parts: str(uuid5(NAMESPACE_URL, "|".join(parts))),
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "length": len,
    "loadTextContent": lambda path: Later(f"<{Path(path).name}>"),
    "readEnvironmentVariable": _environment,
    "resourceGroup": lambda: {
        "id": "/subscriptions/s/resourceGroups/rg",
        "name": "rg",
        "location": "westeurope",
    },
    "resourceId": lambda kind, *names: f"/{kind}/{'/'.join(names)}",
    "split": lambda text, mark: text.split(mark),
    "string": lambda value: value if isinstance(value, str) else json.dumps(value),
    "subscriptionResourceId": lambda kind, *names: f"/subscriptions/s/{kind}/{'/'.join(names)}",
    "take": _take,
    "tenant": lambda: {"tenantId": "00000000-0000-0000-0000-000000000001"},
    "toLower": str.lower,
    "uniqueString": _token,
}
_FORMS: Mapping[str, Callable[[Node, Known], Any]] = {
    "boolean": lambda node, _: said(node) == "true",
    "number": lambda node, _: int(said(node)),
    "null": lambda _, __: None,
    "identifier": _name,
    "parenthesized_expression": lambda node, known: compute(node.named_children[0], known),
    "string": _string,
    "array": _array,
    "object": _object,
    "for_statement": _loop,
    "ternary_expression": _ternary,
    "binary_expression": _binary,
    "unary_expression": _unary,
    "member_expression": _member,
    "subscript_expression": _subscript,
    "resource_expression": _nested,
    "call_expression": _call,
}
