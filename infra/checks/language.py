"""What the compiler would say, as far as it can be known here: names, functions, modules, properties.

Checked: every name that is read is declared and every one that is declared is read; functions exist;
modules get the parameters they have, of the right kind; outputs that are read exist; each resource has
a type and API version of types.json, and only properties that Microsoft's SDK for it knows, spelt so,
of that kind, none read-only, none missing. Not checked: what expressions answer beyond their kind, the
linter's rules, limits that only the service knows (lengths, regions, quota). `az bicep build` says the
rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from tree_sitter import Node

from infra.checks.bicep import (
    Fault,
    File,
    Parameter,
    Resource,
    properties,
    read,
    references,
    said,
    text_of,
    walk,
)
from infra.checks.expressions import check_loops, check_start, kind_of, word

TYPES = Path(__file__).with_name("types.json")
FUNCTIONS = frozenset(
    "any array bool cidrSubnet concat contains empty endsWith environment filter first flatten format "
    "guid if int intersection items join json last length loadJsonContent loadTextContent map max min "
    "padLeft range readEnvironmentVariable reduce replace resourceGroup resourceId skip sort split "
    "startsWith string subscription subscriptionResourceId take tenant toLower toObject toUpper trim "
    "union uniqueString uri utcNow".split()
)
OF_EVERY_RESOURCE = frozenset({"name", "parent", "scope", "dependsOn"})


def read_all(root: Path) -> dict[str, File]:
    """Read every template below a folder by its path there."""
    found = sorted([*root.rglob("*.bicep"), *root.rglob("*.bicepparam")])
    return {path.relative_to(root).as_posix(): read(path) for path in found}


def together(files: Mapping[str, File]) -> None:
    """Let files know each other, as modules need."""
    for name, file in files.items():
        file.name, file.others = name, files


def check(files: Mapping[str, File]) -> Iterator[Fault]:
    """Yield every fault of the templates."""
    together(files)
    for name, file in files.items():
        yield from file.faults
        if name.endswith(".bicepparam"):
            yield from _parameter_file(file)
            continue
        yield from _names(file)
        yield from _functions(file)
        yield from _reads(file)
        yield from check_loops(file)
        yield from check_start(file)
        for resource in file.every_resource():
            yield from _resource(file, resource)
        for module in file.modules.values():
            yield from _module(file, module)


# --- names -----------------------------------------------------------------------------------------


def _names(file: File) -> Iterator[Fault]:
    for name, node in file.declared_twice:
        yield file.fault(node, f"{name} is declared twice")
    declared = {*file.parameters, *file.variables, *file.resources, *file.modules}
    used = set()
    for one in file.root.named_children:
        for name, node in references(one) if one.type.endswith("_declaration") else ():
            used.add(name)
            if name not in declared:
                yield file.fault(node, f"{name} is not declared{_near(name, declared)}")
    for name, parameter in file.parameters.items():
        if name not in used:
            yield file.fault(parameter.node, f"parameter {name} is not used")
    for name, value in file.variables.items():
        if name not in used:
            yield file.fault(value, f"variable {name} is not used")
    for name, resource in file.resources.items():
        if resource.existing and name not in used:
            yield file.fault(resource.node, f"existing resource {name} is not used")


def _functions(file: File) -> Iterator[Fault]:
    for node in walk(file.root):
        if node.type != "call_expression" or node.parent is None or node.parent.type == "decorator":
            continue
        called = node.child_by_field_name("function")
        if called is not None and called.type == "identifier" and said(called) not in FUNCTIONS:
            yield file.fault(
                node, f"{said(called)} is no known function{_near(said(called), FUNCTIONS)}"
            )
        if called is not None and said(called) in {"loadTextContent", "loadJsonContent"}:
            path = text_of(node.named_children[1].named_children[0])
            if path is None or not (file.path.parent / path).is_file():
                yield file.fault(node, f"there is no file {path} to load")


# --- what is read of modules and resources ---------------------------------------------------------


def _reads(file: File) -> Iterator[Fault]:
    for node in walk(file.root):
        if node.type == "resource_expression" and node.parent is not None:
            above = _resource_of(file, node.named_children[0])
            below = said(node.named_children[-1])
            if above is not None and below not in above.children:
                yield file.fault(node, f"{above.name} has no nested resource {below}")
        if node.type != "member_expression" or _is_inner(node):
            continue
        root, path = _chain(node)
        if root.type == "identifier" and said(root) in file.modules:
            module = file.modules[said(root)]
            there = file.module_file(module)
            if path[:1] not in (["outputs"], ["name"]):
                yield file.fault(node, f"a module has outputs and a name, no {path[0]}")
            elif there is not None and len(path) > 1 and path[1] not in there.outputs:
                near = _near(path[1], there.outputs)
                yield file.fault(node, f"{module.type} has no output {path[1]}{near}")
        resource = _resource_of(file, root)
        if resource is not None:
            yield from _read_of(file, node, resource, path)


def _is_inner(node: Node) -> bool:
    above = node.parent
    return above is not None and above.type == "member_expression"


def _chain(node: Node) -> tuple[Node, list[str]]:
    path: list[str] = []
    while node.type == "member_expression":
        path.insert(0, said(node.named_children[-1]))
        node = node.named_children[0]
    return node, path


def _resource_of(file: File, node: Node) -> Resource | None:
    if node.type == "subscript_expression":
        node = node.named_children[0]
    if node.type == "resource_expression":
        above = _resource_of(file, node.named_children[0])
        return above.children.get(said(node.named_children[-1])) if above else None
    return file.resources.get(said(node)) if node.type == "identifier" else None


def _read_of(file: File, node: Node, resource: Resource, path: list[str]) -> Iterator[Fault]:
    if path[0] in {"id", "name", "type"}:
        return
    spec: dict[str, Any] | None = _specification(resource)
    for part in path:
        inside = inside_of(spec)
        if inside is None:
            return
        if part not in inside:
            yield file.fault(node, f"{resource.type} has no {part} to read{_near(part, inside)}")
            return
        spec = inside[part]


# --- resources -------------------------------------------------------------------------------------


@cache
def table() -> dict[str, Any]:
    """Return what is known of resource types."""
    found: dict[str, Any] = json.loads(TYPES.read_text(encoding="utf-8"))
    return found


def _specification(resource: Resource) -> dict[str, Any] | None:
    known = table()["resources"]
    named = properties(resource.body).get("name")
    special = f"{resource.type}/{text_of(named[1])}" if named else resource.type
    found = known.get(resource.type) or known.get(special)
    return {"type": "object", "properties": found["properties"]} if found else None


def inside_of(spec: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the properties below a specification; None where they are open or unknown."""
    if spec is None:
        return None
    if spec["type"] == "ref":
        found: dict[str, Any] = table()["types"][spec["ref"]]
        return found or None
    inside: dict[str, Any] | None = spec.get("properties")
    return inside


def _resource(file: File, resource: Resource) -> Iterator[Fault]:
    spec = _specification(resource)
    if spec is None:
        alone, _, version = resource.type.partition("@")
        others = [name for name in table()["resources"] if name.startswith(f"{alone}@")]
        hint = f"; the settled version is {others[0].partition('@')[2]}" if others else ""
        what = f"API version {version}" if others else "a type or version"
        yield file.fault(resource.node, f"{resource.type}: {what} that is not in types.json{hint}")
        return
    given = properties(resource.body)
    if "name" not in given:
        yield file.fault(resource.node, f"{resource.name} has no name")
    if resource.existing:
        for key in given.keys() - OF_EVERY_RESOURCE:
            yield file.fault(given[key][0], f"an existing resource is given no {key}")
        return
    yield from _object(file, resource.body, spec, resource.type, OF_EVERY_RESOURCE)


def _object(
    file: File,
    node: Node,
    spec: dict[str, Any],
    where: str,
    always: frozenset[str] = frozenset(),
    *,
    whole: bool = True,
) -> Iterator[Fault]:
    inside = inside_of(spec)
    if inside is None:
        for _, value in properties(node).values() if spec["type"] == "map" else ():
            yield from _value(file, value, spec["of"], where)
        return
    given = properties(node)
    for key, (place, value) in given.items():
        if key in always:
            continue
        if key not in inside:
            yield file.fault(place, f"{where} has no property {key}{_near(key, inside)}")
        elif inside[key].get("readonly"):
            yield file.fault(place, f"{where}: {key} is set by Azure and cannot be given")
        else:
            yield from _value(file, value, inside[key], f"{where} {key}")
    missing = [key for key, one in inside.items() if one.get("required") and key not in given]
    for key in missing if whole else ():
        yield file.fault(node, f"{where} needs {key}")


def _value(
    file: File, node: Node, spec: dict[str, Any], where: str, *, whole: bool = True
) -> Iterator[Fault]:
    """Yield what is wrong with a value; of unions and conditions, with each part."""
    if node.type == "parenthesized_expression":
        yield from _value(file, node.named_children[0], spec, where, whole=whole)
        return
    if node.type == "ternary_expression":
        for one in node.named_children[1:]:
            yield from _value(file, one, spec, where, whole=whole)
        return
    called = said(node.named_children[0]) if node.type == "call_expression" else ""
    if called == "union" or (called == "concat" and spec["type"] == "array"):
        for one in node.named_children[1].named_children:
            yield from _value(file, one, spec, where, whole=False)
        return
    if node.type == "identifier" and said(node) in file.variables:
        yield from _value(file, file.variables[said(node)], spec, where, whole=whole)
        return
    given = kind_of(node, file)
    wanted = {"ref": "object", "map": "object", "number": "int"}.get(spec["type"], spec["type"])
    if given and wanted not in {"any", given}:
        yield file.fault(node, f"{where} is {_a(wanted)}, not {_a(given)}")
        return
    if node.type == "for_statement" and spec["type"] == "array":
        body = node.child_by_field_name("body")
        if body is not None:
            yield from _value(file, body, spec["of"], where)
    elif node.type == "object":
        yield from _object(file, node, spec, where, whole=whole)
    elif node.type == "array" and spec["type"] == "array":
        for one in node.named_children:
            yield from _value(file, one, spec["of"], where)
    elif node.type == "string":
        text, values = text_of(node), spec.get("values")
        if values and text is not None and text not in values:
            yield file.fault(node, f"{where} is one of {', '.join(values)}, not {text}")


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aio" else f"a {kind}"


# --- modules and parameter files -------------------------------------------------------------------


def _module(file: File, module: Resource) -> Iterator[Fault]:
    there = file.module_file(module)
    if there is None:
        yield file.fault(module.node, f"there is no module {module.type} (registries are not used)")
        return
    body = properties(module.body)
    for key in body.keys() - {"name", "params", "scope", "dependsOn"}:
        yield file.fault(body[key][0], f"a module has no {key}")
    given = properties(body["params"][1]) if "params" in body else {}
    values = {key: value for key, (_, value) in given.items()}
    yield from _arguments(file, module.node, values, there, module.type)


def _arguments(
    file: File, node: Node, given: Mapping[str, Node], there: File, where: str
) -> Iterator[Fault]:
    for key, value in given.items():
        if key not in there.parameters:
            near = _near(key, there.parameters)
            yield file.fault(value, f"{where} has no parameter {key}{near}")
        else:
            yield from _argument(file, value, there.parameters[key], where)
    for key, one in there.parameters.items():
        if not one.optional and key not in given:
            yield file.fault(node, f"{where} needs the parameter {key}")


def _argument(file: File, value: Node, wanted: Parameter, where: str) -> Iterator[Fault]:
    given, needed = kind_of(value, file), word(wanted.kind)
    if given and needed and given != needed:
        yield file.fault(value, f"{where}: {wanted.name} is {_a(needed)}, not {_a(given)}")
    allowed = wanted.decorators.get("allowed")
    if allowed is not None and text_of(value) is not None:
        values = [text_of(one) for one in allowed.named_children]
        if text_of(value) not in values:
            words = ", ".join(str(one) for one in values)
            yield file.fault(value, f"{where}: {wanted.name} is one of {words}")
    if (
        "secure" in wanted.decorators
        and value.type in {"string", "object"}
        and value.named_children
    ):
        yield file.fault(value, f"{where}: {wanted.name} is secret and cannot be written here")


def _parameter_file(file: File) -> Iterator[Fault]:
    using = next((one for one in file.root.named_children if one.type == "using_statement"), None)
    path = text_of(using.named_children[0]) if using is not None else None
    there = file.others.get((Path(file.name).parent / (path or "").removeprefix("./")).as_posix())
    if there is None:
        yield file.fault(file.root, "names no template that is here (using ...)")
        return
    yield from _functions(file)
    yield from _arguments(file, file.root, file.variables, there, path or "")


def _near(name: str, among: Any) -> str:
    found = get_close_matches(name, list(among), n=1, cutoff=0.6)
    return f"; is {found[0]} meant?" if found else ""
