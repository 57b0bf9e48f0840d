"""What a deployment would make, resource by resource, without Azure: a template and its parameters, carried out.

    python -m infra.checks.deployment infra/prod.bicepparam

prints each resource with its name and properties as JSON. Names end in other letters than in Azure,
which computes `uniqueString` in its own way; all else is what would be sent, or names its place.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tree_sitter import Node

from infra.checks.bicep import File, Resource, after_equals
from infra.checks.language import inside_of, read_all, table, together
from infra.checks.values import UNKNOWN, Known, Later, compute, turns, within

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A resource that would be there: its type without the version, its whole name, its body."""

    type: str
    name: str
    body: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Scope(Mapping[str, Any]):
    """The names of one template and their values; each is computed when it is first asked for."""

    file: File
    given: Mapping[str, Any]
    made: list[Made] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Return the value of a name; KeyError when the file declares no such name."""
        if name not in self.found:
            self.found[name] = self._find(name)
        return self.found[name]

    def __contains__(self, name: object) -> bool:
        """Say whether the file declares a name."""
        file = self.file
        return any(
            name in one for one in (file.parameters, file.variables, file.resources, file.modules)
        )

    def __iter__(self) -> Iterator[str]:
        """Yield the names that the file declares."""
        file = self.file
        yield from (*file.parameters, *file.variables, *file.resources, *file.modules)

    def __len__(self) -> int:
        """Count them."""
        return sum(1 for _ in self)

    def carry_out(self) -> dict[str, Any]:
        """Make every resource and module; returns the outputs."""
        for name in self:
            self[name]
        outputs = {name: after_equals(node) for name, node in self.file.outputs.items()}
        return {name: compute(node, self) for name, node in outputs.items() if node is not None}

    def _find(self, name: str) -> Any:
        file = self.file
        if name in file.parameters:
            default = after_equals(file.parameters[name].node)
            if name in self.given:
                return self.given[name]
            return compute(default, self) if default is not None else None
        if name in file.variables:
            return compute(file.variables[name], self)
        one = file.resources.get(name) or file.modules[name]
        return self._unfold(after_equals(one.node), one, self)

    def _unfold(self, value: Node | None, one: Resource, known: Known) -> Any:
        """Make a declaration once, never, or once for each turn of its loop."""
        assert value is not None
        if value.type == "for_statement":
            body = value.child_by_field_name("body")
            return turns(value, known, lambda here: self._unfold(body, one, here))
        if value.type == "if_statement":
            wanted = compute(value.named_children[0], known)
            return self._unfold(value.named_children[-1], one, known) if wanted else None
        return self._module(one, known) if one.name in self.file.modules else self._one(one, known)

    def _one(self, one: Resource, known: Known, above: Mapping[str, Any] | None = None) -> Any:
        body = compute(one.body, known)
        parent = above or body.get("parent")
        path = f"{parent['path']}/{body['name']}" if parent else str(body["name"])
        kind = one.type.partition("@")[0]
        here = {
            "name": body["name"],
            "path": path,
            "id": f"/{kind}/{path}",
            "properties": Later(f"<{path}.properties>"),
        }
        if not one.existing:
            scope = body.get("scope")
            whole = (
                f"{scope['id']}/{path}" if isinstance(scope, Mapping) and "path" in scope else path
            )
            rest = {
                k: v for k, v in body.items() if k not in {"name", "parent", "scope", "dependsOn"}
            }
            self.made.append(Made(type=kind, name=whole, body=rest))
        nested = within({one.name: here}, known)
        for child in one.children.values():
            here[f"::{child.name}"] = self._one(child, nested, here)
        return here

    def _module(self, one: Resource, known: Known) -> Any:
        file = self.file.module_file(one)
        if file is None:
            return UNKNOWN
        body = compute(one.body, known)
        inner = Scope(file=file, given=body.get("params", {}))
        outputs = inner.carry_out()
        self.made.extend(inner.made)
        return {"name": body["name"], "outputs": outputs}


def deploy(
    files: Mapping[str, File], parameters: str, more: Mapping[str, Any] | None = None
) -> Scope:
    """Carry out the template of a parameter file; `more` are parameters that win over the file's."""
    together(files)
    file = files[parameters]
    template = "azd.bicep" if parameters.startswith("azd.") else "main.bicep"
    values = {name: compute(node, file.variables) for name, node in file.variables.items()}
    scope = Scope(file=files[template], given={**values, **(more or {})})
    scope.carry_out()
    return scope


# --- does what would be sent fit -------------------------------------------------------------------

_PYTHON: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "int": int,
    "number": (int, float),
    "bool": bool,
    "array": list,
    "map": dict,
    "object": dict,
    "ref": dict,
}


def misfits(made: Iterable[Made]) -> Iterator[str]:
    """Yield where a resource, its values computed, is not as Microsoft's libraries have its type."""
    for one in made:
        for name, known in table()["resources"].items():
            kind, _, version = name.partition("@")
            special = version.partition("/")[2]
            if kind == one.type and special in {"", one.name.rpartition("/")[2]}:
                whole = {"type": "object", "properties": known["properties"]}
                yield from _misfits(dict(one.body), whole, one.name)


def _misfits(value: Any, spec: Mapping[str, Any], where: str) -> Iterator[str]:
    if value is None or isinstance(value, Later):
        return
    wanted = _PYTHON.get(spec["type"], object)
    # A boolean is a number in Python and none on the wire.
    right = isinstance(value, wanted) and (wanted in {bool, object} or not isinstance(value, bool))
    if not right:
        yield f"{where} is {json.dumps(value)[:60]}, not of kind {spec['type']}"
    elif isinstance(value, str) and value not in spec.get("values", [value]):
        yield f"{where} is {value}, not one of {', '.join(spec['values'])}"
    elif isinstance(value, list) and "of" in spec:
        for index, one in enumerate(value):
            yield from _misfits(one, spec["of"], f"{where}[{index}]")
    elif isinstance(value, dict):
        inside = inside_of(spec)
        for key, one in value.items():
            if inside is None:
                yield from _misfits(one, spec.get("of", {"type": "any"}), f"{where}.{key}")
            elif key not in inside:
                yield f"{where} has no {key}"
            else:
                yield from _misfits(one, inside[key], f"{where}.{key}")
        for key, one in (inside or {}).items():
            if one.get("required") and value.get(key) is None:
                yield f"{where} needs {key}"


def main(arguments: list[str]) -> int:
    """Print what a parameter file would deploy."""
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        print("usage: python -m infra.checks.deployment infra/prod.bicepparam", file=sys.stderr)
        return 2
    made = deploy(read_all(ROOT), Path(arguments[0]).name).made
    shown = [{"type": one.type, "name": one.name, **one.body} for one in made]
    print(json.dumps(shown, indent=1, default=lambda _: "?"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
