"""The compiled metadata: tables, columns, keys and relationships as the other modules use them.

The stored truth is the JSON definition of each component, in the shape of the Web API; what is
here is derived from it once, so that a request does not interpret JSON. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from emulator.dataverse import values

Definition = dict[str, Any]
CRM = "Microsoft.Dynamics.CRM."
# Lookups that the platform adds to every table; their navigation property has the column's name.
SYSTEM_LOOKUPS = frozenset(
    {
        "createdby",
        "createdonbehalfby",
        "modifiedby",
        "modifiedonbehalfby",
        "ownerid",
        "owningbusinessunit",
        "owningteam",
        "owninguser",
        "transactioncurrencyid",
    }
)


def label(text: str) -> Definition:
    """A Label in the only language that is installed (1033)."""
    localized = {
        "@odata.type": f"#{CRM}LocalizedLabel",
        "Label": text,
        "LanguageCode": 1033,
        "IsManaged": False,
    }
    return {"LocalizedLabels": [localized], "UserLocalizedLabel": localized}


def label_text(value: Any) -> str:
    """The words of a Label, or an empty string."""
    shown = (value or {}).get("UserLocalizedLabel") or {}
    localized = (value or {}).get("LocalizedLabels") or [{}]
    return str(shown.get("Label") or localized[0].get("Label") or "")


class Column:
    """One attribute; `kind` is its attribute type, `prop` its name in JSON."""

    __slots__ = (
        "born", "date_only", "definition", "edm", "id", "kind", "name", "navs", "options", "prop",
        "schema_name", "table",
    )  # fmt: skip

    def __init__(
        self, component_id: str, table: str, born: datetime, definition: Definition
    ) -> None:
        self.id = component_id
        self.table = table
        self.born = born
        self.definition = definition
        self.name: str = definition["LogicalName"]
        self.schema_name: str = definition["SchemaName"]
        self.kind = kind_of(definition)
        self.date_only = _value(definition.get("DateTimeBehavior")) == "DateOnly"
        self.edm = values.edm_type(self.kind, date_only=self.date_only)
        self.prop = f"_{self.name}_value" if self.kind == "Lookup" else self.name
        self.options = _options(definition)
        self.navs: dict[str, str] = {}  # target table -> navigation property

    @property
    def precision(self) -> int:
        """Decimals that a value keeps; Money by currency or organisation is cut when it is stored."""
        if self.kind == "Money" and self.definition["PrecisionSource"] != 0:
            return values.MONEY_SCALE
        return int(self.definition["Precision"])

    @property
    def writable(self) -> tuple[bool, bool]:
        """Whether a value sent on create, and on update, is taken."""
        return self.definition["IsValidForCreate"], self.definition["IsValidForUpdate"]

    @property
    def type_cell(self) -> str | None:
        """The neighbouring SQLite column that holds the target table of a polymorphic lookup."""
        return f"{self.name}:type" if len(self.definition.get("Targets", ())) > 1 else None


@dataclass(slots=True)
class Key:
    """An alternate key; its unique index exists from `active_from` on, unless building failed."""

    id: str
    table: str
    name: str
    columns: tuple[str, ...]
    active_from: datetime
    definition: Definition

    @property
    def status(self) -> str:
        """Pending, InProgress, Active or Failed."""
        return str(self.definition["EntityKeyIndexStatus"])


@dataclass(slots=True)
class Relationship:
    """One to many: `referenced` is the parent, `column` the child's lookup."""

    id: str
    schema_name: str
    referenced: str
    referencing: str
    column: str
    child_nav: str
    parent_nav: str
    on_delete: str
    definition: Definition


@dataclass(slots=True)
class ManyToMany:
    """Many to many: pairs of ids in the SQLite table `intersect`; a nav property on each side."""

    id: str
    schema_name: str
    intersect: str
    sides: tuple[tuple[str, str], tuple[str, str]]  # (table, navigation property on it)
    definition: Definition


@dataclass(slots=True)
class Table:
    """One table with everything a request about its rows needs."""

    id: str
    logical: str
    schema_name: str
    entity_set: str
    primary_id: str
    primary_name: str
    otc: int
    born: datetime
    definition: Definition
    columns: dict[str, Column] = field(default_factory=dict)
    props: dict[str, Column] = field(default_factory=dict)
    lookups: dict[str, tuple[Column, str]] = field(default_factory=dict)  # nav -> column, target
    children: dict[str, Relationship] = field(default_factory=dict)
    many: dict[str, ManyToMany] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    defaults: dict[str, int] = field(default_factory=dict)
    youngest: datetime | None = None
    encoders: dict[str, Any] = field(default_factory=dict)

    @property
    def sql(self) -> str:
        """The quoted name of the SQLite table."""
        return f'"{self.logical}"'

    @property
    def tracked(self) -> bool:
        """Whether change tracking is on."""
        return bool(self.definition["ChangeTrackingEnabled"])

    @property
    def has_money(self) -> bool:
        """Whether rows carry a currency and base amounts."""
        return "exchangerate" in self.columns and "transactioncurrencyid" in self.lookups

    @property
    def money(self) -> list[Column]:
        """The Money columns that have a `_base` neighbour."""
        return [c for c in self.columns.values() if f"{c.name}_base" in self.columns]

    def add(self, column: Column) -> None:
        """Take a column in."""
        self.columns[column.name] = column
        self.props[column.prop] = column
        self.encoders.clear()
        default = column.definition.get("DefaultValue", column.definition.get("DefaultFormValue"))
        if default is not None and default != -1:
            self.defaults[column.name] = int(default)
        if column.name in SYSTEM_LOOKUPS and column.kind == "Lookup":
            targets = column.definition["Targets"]
            column.navs = dict.fromkeys(targets, column.name)
            self.lookups[column.name] = (column, targets[0])
        if self.youngest is None or column.born > self.youngest:
            self.youngest = column.born

    def drop(self, column: Column) -> None:
        """Take a column out, with its navigation properties."""
        del self.columns[column.name], self.props[column.prop]
        self.encoders.clear()
        self.defaults.pop(column.name, None)
        for nav in column.navs.values():
            self.lookups.pop(nav, None)

    def as_of(self, horizon: datetime) -> Table:
        """The table as a web server sees it whose metadata cache was filled at the horizon."""
        if self.youngest is None or self.youngest <= horizon:
            return self
        columns = {n: c for n, c in self.columns.items() if c.born <= horizon}
        props = {c.prop: c for c in columns.values()}
        lookups = {n: pair for n, pair in self.lookups.items() if pair[0].name in columns}
        return replace(
            self, columns=columns, props=props, lookups=lookups, encoders={}, youngest=horizon
        )


class Schema:
    """All compiled components, found by name, by entity set or by metadata id."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.by_set: dict[str, Table] = {}
        self.relationships: dict[str, Relationship] = {}
        self.many: dict[str, ManyToMany] = {}
        self.option_sets: dict[str, Definition] = {}
        self.version = 0

    def add_component(
        self, kind: str, component_id: str, owner: str, born: datetime, definition: Definition
    ) -> None:
        """Compile one stored definition; owners come before what they own."""
        self.version += 1
        if kind == "table":
            self._add_table(component_id, born, definition)
        elif kind == "column":
            self.tables[owner].add(Column(component_id, owner, born, definition))
        elif kind == "key":
            key = Key(
                id=component_id,
                table=owner,
                name=definition["LogicalName"],
                columns=tuple(definition["KeyAttributes"]),
                active_from=born,
                definition=definition,
            )
            self.tables[owner].keys[key.name] = key
        elif kind == "relationship":
            self._add_relationship(component_id, definition)
        elif kind == "many":
            self._add_many(component_id, definition)
        else:
            self.option_sets[component_id] = definition

    def _add_table(self, component_id: str, born: datetime, definition: Definition) -> None:
        table = Table(
            id=component_id,
            logical=definition["LogicalName"],
            schema_name=definition["SchemaName"],
            entity_set=definition["EntitySetName"],
            primary_id=definition["PrimaryIdAttribute"],
            primary_name=definition["PrimaryNameAttribute"],
            otc=definition["ObjectTypeCode"],
            born=born,
            definition=definition,
        )
        self.tables[table.logical] = table
        self.by_set[table.entity_set] = table

    def _add_relationship(self, component_id: str, definition: Definition) -> None:
        link = Relationship(
            id=component_id,
            schema_name=definition["SchemaName"],
            referenced=definition["ReferencedEntity"],
            referencing=definition["ReferencingEntity"],
            column=definition["ReferencingAttribute"],
            child_nav=definition["ReferencingEntityNavigationPropertyName"],
            parent_nav=definition["ReferencedEntityNavigationPropertyName"],
            on_delete=definition["CascadeConfiguration"]["Delete"],
            definition=definition,
        )
        self.relationships[link.schema_name.lower()] = link
        child = self.tables[link.referencing]
        column = child.columns[link.column]
        column.navs[link.referenced] = link.child_nav
        child.lookups[link.child_nav] = (column, link.referenced)
        self.tables[link.referenced].children[link.parent_nav] = link

    def _add_many(self, component_id: str, definition: Definition) -> None:
        link = ManyToMany(
            id=component_id,
            schema_name=definition["SchemaName"],
            intersect=definition["IntersectEntityName"],
            sides=(
                (definition["Entity1LogicalName"], definition["Entity1NavigationPropertyName"]),
                (definition["Entity2LogicalName"], definition["Entity2NavigationPropertyName"]),
            ),
            definition=definition,
        )
        self.many[link.schema_name.lower()] = link
        for logical, nav in link.sides:
            self.tables[logical].many[nav] = link

    def drop_relationship(self, link: Relationship) -> None:
        """Forget a relationship; its lookup column is dropped on its own."""
        self.version += 1
        del self.relationships[link.schema_name.lower()]
        self.tables[link.referenced].children.pop(link.parent_nav, None)

    def drop_table(self, table: Table) -> None:
        """Forget a table and its side of every relationship."""
        self.version += 1
        for link in [r for r in self.relationships.values() if r.referencing == table.logical]:
            self.drop_relationship(link)
        del self.tables[table.logical], self.by_set[table.entity_set]

    def all_keys(self) -> Iterator[Key]:
        """Every alternate key."""
        for table in self.tables.values():
            yield from table.keys.values()


def kind_of(definition: Definition) -> str:
    """The attribute type that an `@odata.type` names: StringAttributeMetadata -> String."""
    name = str(definition.get("@odata.type", "")).rsplit(".", 1)[-1]
    return name.removeprefix("Complex").removesuffix("AttributeMetadata")


def _value(wrapped: Any) -> Any:
    return wrapped.get("Value") if isinstance(wrapped, dict) else wrapped


def _options(definition: Definition) -> dict[int, str]:
    chosen = definition.get("OptionSet") or {}
    items = [*chosen.get("Options", ())]
    items += [chosen[side] for side in ("TrueOption", "FalseOption") if chosen.get(side)]
    return {int(item["Value"]): label_text(item.get("Label")) for item in items}
