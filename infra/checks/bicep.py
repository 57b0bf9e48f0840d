"""Read Bicep without the compiler: declarations, references and literal values of a file.

The syntax comes from tree-sitter's grammar of Bicep. It knows no spread operator and no parameter
files; those are read as a file of variables, which has the same syntax after the first word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tree_sitter import Language, Node, Parser
from tree_sitter_bicep import language


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong at a place, as one sentence."""

    path: Path
    line: int
    sentence: str

    def __str__(self) -> str:
        """Write it as editors and build logs do."""
        return f"{self.path.name}:{self.line}: {self.sentence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a file must or may be given."""

    name: str
    node: Node
    kind: str
    """The declared type as written, such as `string[]`."""
    optional: bool
    decorators: Mapping[str, Node | None]
    """Name to the first argument: secure, allowed, description."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource with its whole type, or a module with the file it is in."""

    name: str
    node: Node
    type: str
    """Such as Microsoft.Storage/storageAccounts@2025-01-01; of a module the path as written."""
    existing: bool
    body: Node
    parent: Resource | None = None
    children: dict[str, Resource] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class File:
    """One file's declarations by name, and the faults of its syntax."""

    path: Path
    root: Node
    name: str = ""
    """Path below the folder of all templates, once they are read together."""
    others: Mapping[str, File] = field(default_factory=dict)
    """All templates by that path, this one too."""
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Node] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    modules: dict[str, Resource] = field(default_factory=dict)
    outputs: dict[str, Node] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    declared_twice: list[tuple[str, Node]] = field(default_factory=list)

    def fault(self, node: Node, sentence: str) -> Fault:
        """Return a fault at a node."""
        return Fault(path=self.path, line=node.start_point[0] + 1, sentence=sentence)

    def module_file(self, module: Resource) -> File | None:
        """Return the file of a module; paths are relative to the file that names it."""
        folder = Path(self.name).parent
        return self.others.get((folder / module.type.removeprefix("./")).as_posix())

    def every_resource(self) -> Iterator[Resource]:
        """Yield resources and those nested in them."""
        waiting = list(self.resources.values())
        while waiting:
            one = waiting.pop(0)
            yield one
            waiting.extend(one.children.values())


@cache
def _parser() -> Parser:
    return Parser(Language(language()))


def read(path: Path, text: str | None = None) -> File:
    """Read a file; faults of its syntax are in `faults`. `text` stands in for what is on the disk."""
    source = path.read_text(encoding="utf-8") if text is None else text
    if path.suffix == ".bicepparam":
        source = re.sub(r"^param ", "var   ", source, flags=re.MULTILINE)
    file = File(path=path, root=_parser().parse(source.encode()).root_node)
    for node in walk(file.root):
        if node.type == "ERROR" or node.is_missing:
            file.faults.append(file.fault(node, f"is no Bicep near {said(node)[:40]!r}"))
    decorators: dict[str, Node | None] = {}
    for node in file.root.named_children:
        if node.type == "decorators":
            decorators = dict(_decorator(one) for one in node.named_children)
            continue
        _declare(file, node, decorators)
        if node.type != "comment":
            decorators = {}
    return file


def _decorator(node: Node) -> tuple[str, Node | None]:
    call = next(one for one in walk(node) if one.type == "call_expression")
    name = call.child_by_field_name("function")
    arguments = call.child_by_field_name("arguments")
    assert name is not None
    assert arguments is not None
    return said(name), next(iter(arguments.named_children), None)


def _declare(file: File, node: Node, decorators: Mapping[str, Node | None]) -> None:
    kind = node.type.removesuffix("_declaration")
    if kind not in {"parameter", "variable", "resource", "module", "output"}:
        return
    found = next((one for one in node.named_children if one.type == "identifier"), None)
    if found is None:
        return  # the fault of syntax is told already
    name = said(found)
    inputs = {*file.parameters, *file.variables, *file.resources, *file.modules}
    if name in (file.outputs if kind == "output" else inputs):
        file.declared_twice.append((name, node))
    value = after_equals(node)
    if kind == "parameter":
        written = next((one for one in node.named_children if one.type == "type"), None)
        words = said(written) if written is not None else _type_words(node)
        file.parameters[name] = Parameter(
            name=name,
            node=node,
            kind=words.removesuffix("?"),
            optional=value is not None or words.endswith("?"),
            decorators=decorators,
        )
    elif kind == "variable" and value is not None:
        file.variables[name] = value
    elif kind == "output":
        file.outputs[name] = node
    elif kind == "resource":
        file.resources[name] = _resource(node, None)
    elif kind == "module":
        file.modules[name] = _resource(node, None)


def _type_words(node: Node) -> str:
    return next((said(one) for one in node.named_children[1:] if "type" in one.type), "")


def _resource(node: Node, parent: Resource | None) -> Resource:
    named = node.named_children
    kind = text_of(named[1]) or ""
    if parent is not None and "@" not in kind:
        above, _, version = parent.type.partition("@")
        kind = f"{above}/{kind}@{version}"
    made = Resource(
        name=said(named[0]),
        node=node,
        type=kind,
        existing=any(one.type == "existing" for one in node.children),
        body=body_of(node),
        parent=parent,
    )
    for one in made.body.named_children:
        inner = one.named_children[0] if one.named_children else one
        if inner.type == "resource_declaration":
            child = _resource(inner, made)
            made.children[child.name] = child
    return made


def body_of(node: Node) -> Node:
    """Return the object of a declaration, below its loop and its condition."""
    here = after_equals(node)
    while here is not None and here.type in {"for_statement", "if_statement"}:
        inner = here.child_by_field_name("body")
        here = inner if inner is not None else here.named_children[-1]
    return here if here is not None else node


def after_equals(node: Node) -> Node | None:
    """Return the value of a declaration, if it has one."""
    found = False
    for one in node.children:
        if found and one.is_named and one.type != "comment":
            return one
        found = found or one.type == "="
    return None


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it, in the order of the text."""
    yield node
    for one in node.children:
        yield from walk(one)


def said(node: Node) -> str:
    """Return the text of a node."""
    return (node.text or b"").decode()


def text_of(node: Node | None) -> str | None:
    """Return the content of a string without interpolation; None for everything else."""
    if (
        node is None
        or node.type != "string"
        or any(c.type == "interpolation" for c in node.children)
    ):
        return None
    return "".join(plain(one) for one in node.named_children)


def plain(node: Node) -> str:
    """Return a part of a string as it is meant: a quote after a backslash is a quote."""
    return re.sub(r"\\(['\\$])", r"\1", said(node))


def properties(node: Node) -> dict[str, tuple[Node, Node]]:
    """Return an object's properties: name to (the property, its value); computed names are left out."""
    found = {}
    for one in node.named_children:
        if one.type != "object_property" or one.named_children[0].type == "resource_declaration":
            continue
        key = one.named_children[0]
        name = text_of(key) if key.type == "string" else said(key)
        values = [child for child in one.named_children[1:] if child.type != "comment"]
        if name is not None and values:
            found[name] = (one, values[-1])
    return found


def references(node: Node, bound: frozenset[str] = frozenset()) -> Iterator[tuple[str, Node]]:
    """Yield the names that an expression reads, without what its own loops and lambdas bind."""
    if node.type in {"type", "decorators", "comment"}:
        return
    if node.type == "identifier":
        if said(node) not in bound:
            yield said(node), node
        return
    children = list(node.named_children)
    if node.type == "object_property":
        children = [one for one in children if one.type == "resource_declaration"] or (
            [c for c in children[:1] if c.type == "string"] + children[1:]
        )
    elif node.type == "call_expression":
        children = [one for one in children if one != node.child_by_field_name("function")]
    elif node.type == "resource_expression":
        children = children[:1]
    elif node.type == "lambda_expression":
        bound |= {said(one) for one in walk(children[0]) if one.type == "identifier"}
        children = children[-1:]
    elif node.type == "for_statement":
        bound |= {
            said(one) for one in walk(node) if one.type in {"loop_variable", "loop_enumerator"}
        }
        first = node.child_by_field_name("initializer")
        if first is not None:
            bound |= {said(first)}
    elif node.type.endswith("_declaration"):
        children = [c for c in children[1:] if "type" not in c.type]
        if node.type == "resource_declaration":  # those nested in it may be named inside it
            inner = [one.named_children[:1] for one in body_of(node).named_children]
            nested = [one[0] for one in inner if one and one[0].type == "resource_declaration"]
            bound |= {said(one.named_children[0]) for one in nested}
    for one in children:
        yield from references(one, bound)
