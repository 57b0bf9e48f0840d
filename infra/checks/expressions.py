"""Of which kind an expression is, where loops may stand, and what must be known when a deployment starts.

A kind is one of the words of Bicep (string, int, bool, array, object), or empty where it is not known
here: what resources answer, and elements of lists.
"""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node

from infra.checks.bicep import Fault, File, after_equals, properties, said, walk

KINDS = {
    "string": "string",
    "number": "int",
    "boolean": "bool",
    "array": "array",
    "object": "object",
    "for_statement": "array",
}
"""Kind of an expression by its form."""
WORDS = frozenset(KINDS.values())
ANSWERS = {
    "bool": "bool contains empty endsWith startsWith",
    "int": "int indexOf length max min",
    "string": "cidrSubnet format guid join loadTextContent padLeft readEnvironmentVariable replace "
    "resourceId string subscriptionResourceId toLower toUpper trim uniqueString utcNow",
    "array": "array filter flatten items map range sort split",
    "object": "environment resourceGroup subscription tenant toObject",
}
_BY_FUNCTION = {name: kind for kind, names in ANSWERS.items() for name in names.split()}
_COMPARE = frozenset({"==", "!=", "=~", "!~", "<", "<=", ">", ">=", "&&", "||"})


def word(kind: str) -> str:
    """Return a declared type as one word; what is none of the words is not known."""
    if kind.endswith("[]"):
        return "array"
    kind = "object" if kind.startswith("{") else kind
    return kind if kind in WORDS else ""


def kind_of(node: Node, file: File) -> str:
    """Return the kind of an expression in a file, or nothing."""

    def of(one: Node) -> str:
        return kind_of(one, file)

    if node.type in KINDS:
        return KINDS[node.type]
    if node.type == "parenthesized_expression":
        return of(node.named_children[0])
    if node.type == "ternary_expression":
        kinds = {of(one) for one in node.named_children[1:] if one.type != "null"}
        return kinds.pop() if len(kinds) == 1 else ""
    if node.type == "unary_expression":
        return "bool" if said(node).startswith("!") else "int"
    if node.type == "binary_expression":
        operator = node.child_by_field_name("operator")
        return "bool" if operator is not None and said(operator) in _COMPARE else ""
    if node.type == "call_expression":
        called = said(node.named_children[0])
        if called in {"union", "concat", "take"}:  # of the kind of what they are given
            return of(node.named_children[1].named_children[0])
        return _BY_FUNCTION.get(called, "")
    if node.type == "identifier":
        if said(node) in file.parameters:
            return word(file.parameters[said(node)].kind)
        return of(file.variables[said(node)]) if said(node) in file.variables else ""
    if node.type == "member_expression":
        return _of_output(node, file)
    return ""


def _of_output(node: Node, file: File) -> str:
    before, _, output = said(node).replace("!", "").partition(".outputs.")
    module = file.modules.get(before)
    there = file.module_file(module) if module is not None else None
    if there is None or output not in there.outputs:
        return ""
    kinds = [one for one in there.outputs[output].named_children if "type" in one.type]
    return word(said(kinds[0])) if kinds else ""


# --- loops -----------------------------------------------------------------------------------------


def check_loops(file: File) -> Iterator[Fault]:
    """Yield loops where Bicep takes none: inside calls, conditions and lists, or one in another."""
    for node in walk(file.root):
        if node.type != "for_statement" or node.parent is None:
            continue
        above: Node | None = node.parent
        if above is not None and above.type not in {"object_property"} | _DECLARATIONS:
            yield file.fault(
                node, "a loop is the value of a property or a declaration, not part of one"
            )
        while above is not None:
            if above.type == "for_statement" and above.parent is not None:
                if above.parent.type == "object_property":
                    yield file.fault(node, "a loop of a property cannot be in another one")
                break
            above = above.parent


_DECLARATIONS = frozenset(
    {
        "variable_declaration",
        "output_declaration",
        "resource_declaration",
        "module_declaration",
    }
)

# --- what must be known at the start ---------------------------------------------------------------


def check_start(file: File) -> Iterator[Fault]:
    """Yield names, scopes, conditions and lists of loops that only a running deployment would know."""
    for one in (*file.every_resource(), *file.modules.values()):
        given = properties(one.body)
        early = [given[key][1] for key in ("name", "scope", "parent") if key in given]
        value = after_equals(one.node)
        while value is not None and value.type in {"for_statement", "if_statement"}:
            early.extend(c for c in value.named_children[:-1] if c.type != "comment")
            value = value.named_children[-1]
        for expression in early:
            for node in walk(expression):
                late = _late(node, file)
                if late:
                    yield file.fault(
                        node, f"{one.name}: {late} is not known when the deployment starts"
                    )


def _late(node: Node, file: File) -> str:
    """Return the name of what is only known later, if a node reads it."""
    if node.type != "member_expression":
        return ""
    root, part = said(node.named_children[0]).replace("!", ""), said(node.named_children[-1])
    if root in file.modules and part == "outputs":
        return f"{root}.outputs"
    return f"{root}.properties" if root in file.resources and part == "properties" else ""
