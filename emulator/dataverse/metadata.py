"""The metadata endpoints: EntityDefinitions, RelationshipDefinitions, GlobalOptionSetDefinitions.

Documents are the stored definitions; collections inside them (Attributes, Keys, relationships,
OptionSet) appear only when expanded. Updates are PUT of the whole definition; PATCH is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from xml.sax.saxutils import quoteattr

from emulator.dataverse import address, errors, odata
from emulator.dataverse.address import Segment
from emulator.dataverse.definitions import Definitions
from emulator.dataverse.messages import Call, Reply
from emulator.dataverse.schema import (
    CRM,
    Column,
    Definition,
    Key,
    ManyToMany,
    Relationship,
    Table,
    kind_of,
)

_EXPANDED = {"OptionSet", "GlobalOptionSet"}


class Metadata:
    """Everything below the three definition sets, and the service's own descriptions."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.store = definitions.store

    # Tables

    def tables(self, call: Call, steps: list[Segment], horizon: datetime | None) -> Reply:
        """`EntityDefinitions…`."""
        first, rest = steps[0], steps[1:]
        fresh = call.headers.get("consistency", "").lower() == "strong"
        edge = None if fresh else horizon
        if first.key is None:
            if call.method == "POST":
                with self.store.transaction():
                    table = self.definitions.create_table(call.json(), solution=_solution(call))
                return _created(call, f"EntityDefinitions({table.id})")
            seen = (t for t in self.store.schema.tables.values() if edge is None or t.born <= edge)
            documents = [self._table_document(t, call.query, edge) for t in seen]
            return _listed(call, "EntityDefinitions", documents)
        table = self._find_table(first.key, edge)
        if rest:
            return self._below(call, table, rest, edge)
        if call.method == "GET":
            return _one(call, "EntityDefinitions", self._table_document(table, call.query, edge))
        if call.method == "PATCH":
            raise errors.not_supported("Operation not supported on EntityMetadata")
        with self.store.transaction():
            if call.method == "PUT":
                self.definitions.update_table(table, call.json())
            elif call.method == "DELETE":
                self.definitions.delete_table(table)
            else:
                raise errors.not_supported(f"{call.method} is not supported on EntityMetadata")
        return Reply()

    def _find_table(self, key: str, edge: datetime | None) -> Table:
        found = address.predicate(key)
        name = (
            found.get("LogicalName", found.get("MetadataId")) if isinstance(found, dict) else found
        )
        for table in self.store.schema.tables.values():
            if name in (table.logical, table.id) and (edge is None or table.born <= edge):
                return table
        raise errors.not_found("EntityMetadata", str(name))

    def _table_document(
        self, table: Table, options: dict[str, str], edge: datetime | None
    ) -> Definition:
        document = {"MetadataId": table.id, **table.definition}
        for nav, inner in odata.expansions(options.get("$expand", "")):
            document[nav] = [_shaped(d, inner) for d in self._components(table, nav, edge, inner)]
        return document

    def _components(
        self, table: Table, nav: str, edge: datetime | None, options: dict[str, str]
    ) -> list[Definition]:
        if nav == "Attributes":
            columns = [c for c in table.columns.values() if edge is None or c.born <= edge]
            found = [_column_document(c, options) for c in columns]
        elif nav == "Keys":
            found = [_key_document(k) for k in table.keys.values()]
        else:
            links: Iterable[Relationship | ManyToMany] = self.store.schema.relationships.values()
            if nav == "ManyToManyRelationships":
                links = [
                    m for m in self.store.schema.many.values() if table.logical in dict(m.sides)
                ]
            elif nav == "ManyToOneRelationships":
                links = [r for r in links if r.definition["ReferencingEntity"] == table.logical]
            elif nav == "OneToManyRelationships":
                links = [r for r in links if r.definition["ReferencedEntity"] == table.logical]
            else:
                raise errors.unknown_property(nav, "EntityMetadata")
            found = [_link_document(link) for link in links]
        return _filtered(found, options.get("$filter"), "AttributeMetadata", {})

    def _below(self, call: Call, table: Table, rest: list[Segment], edge: datetime | None) -> Reply:
        step, casts = rest[0], [s.name.removeprefix(CRM) for s in rest[1:]]
        path = f"EntityDefinitions(LogicalName='{table.logical}')/{step.name}"
        if step.key is not None and step.name == "Attributes":
            return self._column(call, table, step.key, casts, edge)
        if step.key is not None and step.name == "Keys":
            return self._key(call, table, step.key)
        if call.method == "POST" and step.name in ("Attributes", "Keys"):
            make = {
                "Attributes": self.definitions.create_column,
                "Keys": self.definitions.create_key,
            }
            with self.store.transaction():
                made = make[step.name](table, call.json(), solution=_solution(call))
            return _created(call, f"{path}({made})")
        if call.method != "GET":
            raise errors.not_supported(f"{call.method} is not supported on {step.name}")
        documents = self._components(table, step.name, edge, call.query)
        if casts:
            documents = [d for d in documents if str(d["@odata.type"]) == f"#{CRM}{casts[0]}"]
        return _listed(call, path, documents)

    def _column(
        self, call: Call, table: Table, key: str, casts: list[str], edge: datetime | None
    ) -> Reply:
        found = address.predicate(key)
        name = found.get("LogicalName") if isinstance(found, dict) else found
        column = next((c for c in table.columns.values() if name in (c.name, c.id)), None)
        if column is None or (edge is not None and column.born > edge):
            raise errors.not_found("AttributeMetadata", str(name))
        if casts and casts[0] not in ("", f"{column.kind}AttributeMetadata"):
            raise errors.not_found(casts[0], str(name))
        if call.method == "GET":
            path = f"EntityDefinitions('{table.logical}')/Attributes"
            return _one(call, path, _column_document(column, call.query))
        with self.store.transaction():
            if call.method == "PUT":
                body = call.json()
                if "@odata.type" in body and kind_of(body) != column.kind:
                    raise errors.invalid_argument(f"The type of {column.name} cannot be changed.")
                self.definitions.update_column(table, column, body)
            elif call.method == "DELETE":
                self.definitions.delete_column(table, column)
            else:
                raise errors.not_supported("Operation not supported on AttributeMetadata")
        return Reply()

    def _key(self, call: Call, table: Table, text: str) -> Reply:
        found = address.predicate(text)
        name = found.get("LogicalName") if isinstance(found, dict) else found
        key = next((k for k in table.keys.values() if name in (k.id, k.name)), None)
        if key is None:
            raise errors.not_found("EntityKeyMetadata", str(name))
        if call.method == "GET":
            return _one(call, f"EntityDefinitions('{table.logical}')/Keys", _key_document(key))
        if call.method != "DELETE":
            raise errors.not_supported("Operation not supported on EntityKeyMetadata")
        with self.store.transaction():
            self.definitions.delete_key(table, key)
        return Reply()

    # Relationships

    def relationships(self, call: Call, steps: list[Segment]) -> Reply:
        """`RelationshipDefinitions…`."""
        first, rest = steps[0], steps[1:]
        schema = self.store.schema
        if first.key is None:
            if call.method == "POST":
                body = call.json()
                with self.store.transaction():
                    made = self.definitions.create_relationship(body, solution=_solution(call))
                return _created(call, f"RelationshipDefinitions({made})")
            documents = [_link_document(link) for link in schema.relationships.values()]
            documents += [_link_document(link) for link in schema.many.values()]
            if rest:
                wanted = f"#{rest[0].name}"
                documents = [d for d in documents if d["@odata.type"] == wanted]
            return _listed(call, "RelationshipDefinitions", documents)
        link = self._find_link(first.key)
        if call.method == "GET":
            return _one(call, "RelationshipDefinitions", _link_document(link))
        with self.store.transaction():
            if call.method == "PUT" and isinstance(link, Relationship):
                cascade = call.json().get("CascadeConfiguration") or {}
                link.definition["CascadeConfiguration"] |= cascade
                link.on_delete = link.definition["CascadeConfiguration"]["Delete"]
                self.store.replace_definition(link.id, link.definition)
            elif call.method == "DELETE" and isinstance(link, Relationship):
                self.definitions.delete_relationship(link)
            elif call.method == "DELETE" and isinstance(link, ManyToMany):
                self.definitions.delete_many(link)
            else:
                raise errors.not_supported("Operation not supported on RelationshipMetadata")
        return Reply()

    def _find_link(self, key: str) -> Relationship | ManyToMany:
        found = address.predicate(key)
        name = (
            found.get("SchemaName", found.get("MetadataId")) if isinstance(found, dict) else found
        )
        schema = self.store.schema
        links: list[Relationship | ManyToMany] = [*schema.relationships.values()]
        links += schema.many.values()
        for link in links:
            if name in (link.id, link.schema_name):
                return link
        raise errors.not_found("RelationshipMetadata", str(name))

    # Global choices

    def option_sets(self, call: Call, steps: list[Segment]) -> Reply:
        """`GlobalOptionSetDefinitions…`."""
        key = steps[0].key
        if key is not None:
            set_id, definition = self.definitions.option_set(key)
            return _one(call, "GlobalOptionSetDefinitions", {"MetadataId": set_id, **definition})
        if call.method == "POST":
            with self.store.transaction():
                made = self.definitions.create_option_set(call.json(), solution=_solution(call))
            return _created(call, f"GlobalOptionSetDefinitions({made})")
        documents = [{"MetadataId": i, **d} for i, d in self.store.schema.option_sets.items()]
        return _listed(call, "GlobalOptionSetDefinitions", documents)

    # Other ways to the same definitions

    def changes(self, query: Definition) -> list[Definition]:
        """`RetrieveMetadataChanges`: tables with their columns, cut down to the asked properties."""
        wanted = _condition_values(query.get("Criteria"))
        columns_wanted = _condition_values((query.get("AttributeQuery") or {}).get("Criteria"))
        result = []
        for table in self.store.schema.tables.values():
            if wanted and table.logical not in wanted:
                continue
            documents = [
                _column_document(c, {"$expand": "OptionSet"})
                for c in table.columns.values()
                if not columns_wanted or c.name in columns_wanted
            ]
            result.append({"MetadataId": table.id, **table.definition, "Attributes": documents})
        return result

    def service_root(self, call: Call) -> Reply:
        """The list of entity sets."""
        names = sorted(self.store.schema.by_set)
        sets = [{"name": name, "kind": "EntitySet", "url": name} for name in names]
        return Reply(200, {"@odata.context": f"{call.root}$metadata", "value": sets})

    def csdl(self) -> Reply:
        """A minimal `$metadata` document: types, keys, properties and sets."""
        types: list[str] = []
        sets: list[str] = []
        for table in self.store.schema.tables.values():
            properties = "".join(
                f"<Property Name={quoteattr(c.prop)} Type={quoteattr(c.edm)}/>"
                for c in table.columns.values()
            )
            navs = "".join(
                f"<NavigationProperty Name={quoteattr(nav)} Type={quoteattr(f'mscrm.{target}')}/>"
                for nav, (_, target) in table.lookups.items()
            )
            types.append(
                f"<EntityType Name={quoteattr(table.logical)}><Key><PropertyRef "
                f"Name={quoteattr(table.primary_id)}/></Key>{properties}{navs}</EntityType>"
            )
            kind = quoteattr(f"{CRM}{table.logical}")
            sets.append(f"<EntitySet Name={quoteattr(table.entity_set)} EntityType={kind}/>")
        document = (
            '<?xml version="1.0" encoding="utf-8"?><edmx:Edmx Version="4.0" '
            'xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>'
            '<Schema Namespace="Microsoft.Dynamics.CRM" Alias="mscrm" '
            f'xmlns="http://docs.oasis-open.org/odata/ns/edm">{"".join(types)}'
            f'<EntityContainer Name="System">{"".join(sets)}</EntityContainer></Schema>'
            "</edmx:DataServices></edmx:Edmx>"
        )
        return Reply(200, document.encode(), {"Content-Type": "application/xml"})


def _column_document(column: Column, options: dict[str, str]) -> Definition:
    expanded = {nav for nav, _ in odata.expansions(options.get("$expand", ""))}
    document = {"MetadataId": column.id, **column.definition}
    for nav in _EXPANDED & document.keys() - expanded:
        del document[nav]
    return document


def _key_document(key: Key) -> Definition:
    return {"MetadataId": key.id, **key.definition}


def _link_document(link: Relationship | ManyToMany) -> Definition:
    return {"MetadataId": link.id, **link.definition}


def _condition_values(criteria: Any) -> set[str]:
    """The logical names in the criteria of a metadata query."""
    names: set[str] = set()
    for condition in (criteria or {}).get("Conditions", ()):
        if condition.get("PropertyName") == "LogicalName":
            value = condition.get("Value")
            value = value.get("Value") if isinstance(value, dict) else value
            names |= set(value) if isinstance(value, list) else {str(value)}
    return names


def _solution(call: Call) -> str:
    return call.headers.get("mscrm.solutionuniquename") or call.query.get("SolutionUniqueName", "")


def _created(call: Call, path: str) -> Reply:
    return Reply(204, None, {"OData-EntityId": call.root + path})


def _one(call: Call, path: str, document: Definition) -> Reply:
    context = f"{call.root}$metadata#{path}/$entity"
    return Reply(200, {"@odata.context": context, **_shaped(document, call.query)})


def _listed(call: Call, path: str, documents: list[Definition]) -> Reply:
    found = _filtered(documents, call.query.get("$filter"), "EntityMetadata", call.aliases)
    top = call.query.get("$top")
    found = found[: int(top)] if top else found
    body: Definition = {"@odata.context": f"{call.root}$metadata#{path}"}
    if call.query.get("$count") == "true":
        body["@odata.count"] = len(found)
    body["value"] = [_shaped(document, call.query) for document in found]
    return Reply(200, body)


def _shaped(document: Definition, options: dict[str, str]) -> Definition:
    """Cut a document down to `$select`, keeping its type, id and expansions."""
    names = [n.strip() for n in options.get("$select", "").split(",") if n.strip()]
    result = document
    if names:
        kept = [
            *names,
            "MetadataId",
            *(nav for nav, _ in odata.expansions(options.get("$expand", ""))),
        ]
        result = {"@odata.type": document["@odata.type"]} if "@odata.type" in document else {}
        result |= {
            name: document.get(name) for name in kept if name != "OptionSet" or name in document
        }
    for nav, inner in odata.expansions(options.get("$expand", "")):
        if isinstance(result.get(nav), dict) and inner.get("$select"):
            chosen = inner["$select"].split(",")
            result = {**result, nav: {n: result[nav].get(n) for n in chosen}}
    return result


def _filtered(
    documents: list[Definition], text: str | None, kind: str, aliases: dict[str, str]
) -> list[Definition]:
    if not text:
        return documents
    node = odata.Parser(text, aliases).parse()
    names = _alternatives(node)
    if names is not None:
        path, wanted = names
        return [d for d in documents if _value(path, d, kind) in wanted]
    return [d for d in documents if _holds(node, d, kind)]


def _alternatives(node: Any) -> tuple[odata.Path, set[str]] | None:
    """The property and its texts where a filter is `x eq 'a' or x eq 'b' …`: how clients ask most."""
    parts = node.parts if isinstance(node, odata.Logic) and node.op == "or" else (node,)
    wanted: dict[Any, set[str]] = {}
    for part in parts:
        if not (isinstance(part, odata.Compare) and part.op == "eq"):
            return None
        if not (isinstance(part.right, odata.Literal) and isinstance(part.right.value, str)):
            return None
        wanted.setdefault(part.left, set()).add(part.right.value.lower())
    path, texts = next(iter(wanted.items()))
    return (path, texts) if len(wanted) == 1 and isinstance(path, odata.Path) else None


def _holds(node: Any, document: Definition, kind: str) -> bool:
    """Evaluate a filter over one definition; text compares without regard to case."""
    if isinstance(node, odata.Logic):
        results = [_holds(part, document, kind) for part in node.parts]
        return not results[0] if node.op == "not" else (all if node.op == "and" else any)(results)
    if isinstance(node, odata.Path):
        return _value(node, document, kind) is True
    if isinstance(node, odata.Text):
        have, want = str(_value(node.path, document, kind) or "").lower(), node.text.lower()
        test = {"contains": have.__contains__, "startswith": have.startswith}
        return bool(test.get(node.function, have.endswith)(want))
    if isinstance(node, odata.Compare):
        left, right = (_value(side, document, kind) for side in (node.left, node.right))
        if node.op in ("eq", "ne"):
            return bool(left == right) == (node.op == "eq")
        if left is None or right is None:
            return False
        order = (left > right) - (left < right)
        return bool({"gt": order > 0, "ge": order >= 0, "lt": order < 0}.get(node.op, order <= 0))
    raise errors.bad_query("This filter is not supported on metadata.")


def _value(side: Any, document: Definition, kind: str) -> Any:
    if isinstance(side, odata.Literal):
        return side.value.lower() if isinstance(side.value, str) else side.value
    value: Any = document
    for step in side.steps:
        if not isinstance(value, dict) or (value is document and step not in document):
            raise errors.unknown_property(step, kind)
        value = value.get(step)
    return value.lower() if isinstance(value, str) else value
