"""Writing metadata: tables, columns, relationships, keys and choices, with their SQLite tables.

A definition arrives as the Web API's JSON, is completed with what the platform derives (logical
names, the entity set, system columns, limits) and stored whole. SQLite's own DDL is transactional,
so a definition that fails leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from emulator.dataverse import errors, security, shapes, values
from emulator.dataverse.rows import Rows
from emulator.dataverse.schema import (
    Column,
    Definition,
    Key,
    ManyToMany,
    Relationship,
    Schema,
    Table,
    kind_of,
    label,
    label_text,
)
from emulator.dataverse.store import Store

_KEY_KINDS = frozenset({"Decimal", "Integer", "String", "DateTime", "Lookup", "Picklist"})
_FIXED_TABLE = {
    "@odata.context", "@odata.type", "Attributes", "EntitySetName", "Keys", "LogicalName",
    "MetadataId", "ObjectTypeCode", "PrimaryIdAttribute", "PrimaryNameAttribute", "SchemaName",
}  # fmt: skip
_FIXED_COLUMN = {
    "@odata.context", "@odata.type", "AttributeType", "AttributeTypeName", "DateTimeBehavior",
    "EntityLogicalName", "LogicalName", "MetadataId", "SchemaName", "Targets",
}  # fmt: skip


class Definitions:
    """Creates, changes and deletes components; callers hold a transaction open."""

    def __init__(self, store: Store, rows: Rows) -> None:
        self.store = store
        self.rows = rows
        self._cells: list[str] | None = None  # collects the cells of a table in the making
        self._next_key: tuple[Schema, int, datetime | None] | None = None

    @property
    def _schema(self) -> Schema:
        return self.store.schema

    # Tables

    def create_table(
        self,
        body: Definition,
        *,
        solution: str = "",
        custom: bool = True,
        without: Iterable[str] = (),
    ) -> Table:
        """A new table with its system columns (except some), view and form."""
        name = shapes.schema_name(body, custom=custom)
        logical = name.lower()
        if logical in self._schema.tables:
            message = (
                "An entity with the specified name already exists. Please specify a unique name."
            )
            raise errors.DataverseError(400, "0x80044363", message)
        for needed in ("DisplayName", "DisplayCollectionName"):
            if custom and not label_text(body.get(needed)):
                raise errors.invalid_argument(f"Required field '{needed}' is missing")
        for needed in ("HasActivities", "HasNotes"):
            if custom and not isinstance(body.get(needed), bool):
                raise errors.invalid_argument(f"Required field '{needed}' is missing")
        given = [dict(item) for item in body.get("Attributes", ())]
        names = [item for item in given if item.get("IsPrimaryName")]
        if len(names) != 1 or kind_of(names[0]) != "String":
            raise errors.invalid_argument("A table needs one String attribute with IsPrimaryName.")
        owned = body.get("OwnershipType", "UserOwned") in ("UserOwned", "TeamOwned")
        definition = shapes.complete_table(
            body, name, str(names[0]["SchemaName"]).lower(), custom=custom
        )
        definition["ObjectTypeCode"] = body.get("ObjectTypeCode") or self.store.next_type_code()
        replaced = {str(item["SchemaName"]).lower() for item in given} | {*without}
        system = shapes.system_columns(logical, definition["PrimaryIdAttribute"], owned=owned)
        columns = [item for item in system if item["SchemaName"] not in replaced] + given
        table_id = self._save("table", "", definition)
        table = self._schema.tables[logical]
        self._cells = []
        for item in columns:
            own = custom and item.get("IsCustomAttribute") is not False
            self.create_column(table, item, custom=own)
        self.store.connection.execute(f"CREATE TABLE {table.sql} ({', '.join(self._cells)})")
        self._cells = None
        if custom:
            security.add_privileges(self.rows, table)
            self._make_visible(table)
        self.into_solution(solution, table_id, 1)
        return table

    def update_table(self, table: Table, body: Definition) -> None:
        """Replace what may change; identity and structure stay."""
        if table.tracked and body.get("ChangeTrackingEnabled") is False:
            raise errors.invalid_argument("Change tracking cannot be switched off again.")
        table.definition.update(
            {k: shapes.labelled(v) for k, v in body.items() if k not in _FIXED_TABLE}
        )
        self.store.replace_definition(table.id, table.definition)

    def delete_table(self, table: Table) -> None:
        """Drop a custom table; other tables' lookups to it must be gone first."""
        if not table.definition["IsCustomEntity"]:
            raise errors.invalid_argument(f"The table {table.logical} is not customizable.")
        users = [r for r in table.children.values() if r.referencing != table.logical]
        if users:
            raise _in_use("Entity", table.id, len(users))
        links = [r for r in self._schema.relationships.values() if r.referencing == table.logical]
        many = [m for m in self._schema.many.values() if table.logical in dict(m.sides)]
        for link in many:
            self.delete_many(link)
        gone = [r.id for r in links] + [k.id for k in table.keys.values()]
        gone += [c.id for c in table.columns.values()]
        self.store.delete_definitions(*gone, table.id)
        self.store.connection.execute(f"DROP TABLE {table.sql}")
        for statement in (
            'DELETE FROM _tombstone WHERE "table" = ?',
            'DELETE FROM _file WHERE "table" = ?',
            "DELETE FROM savedquery WHERE returnedtypecode = ?",
            "DELETE FROM systemform WHERE objecttypecode = ?",
            "DELETE FROM sdkmessagefilter WHERE primaryobjecttypecode = ?",
        ):
            self.store.connection.execute(statement, (table.logical,))
        security.remove_privileges(self.store, table)
        self._schema.drop_table(table)

    # Columns

    def create_column(
        self, table: Table, body: Definition, *, solution: str = "", custom: bool = True
    ) -> str:
        """A new column and what comes with it: base amounts, currency, the file's name."""
        definition = shapes.complete_column(
            table,
            body,
            custom=custom,
            global_choice=lambda reference: self.option_set(reference)[1],
        )
        name = definition["LogicalName"]
        if name in table.columns:
            message = (
                f"An attribute with the specified name {name} already exists for entity "
                f"'{table.logical}'."
            )
            raise errors.DataverseError(400, "0x80047013", message)
        column_id = self._save("column", table.logical, definition)
        added = table.columns[name]
        key = " PRIMARY KEY" if name == table.primary_id else ""
        self._add_cell(table, name, values.declaration(added.kind) + key)
        if added.type_cell:
            self._add_cell(table, added.type_cell, "TEXT")
        fixed: Definition = {"IsValidForCreate": False, "IsValidForUpdate": False}
        if added.kind == "Money" and not name.endswith("_base"):
            base = shapes.column("Money", f"{name}_base", Precision=4, PrecisionSource=0, **fixed)
            self.create_column(table, base | {"AttributeOf": name}, custom=False)
            if "transactioncurrencyid" not in table.columns:
                currency = shapes.column(
                    "Lookup", "transactioncurrencyid", Targets=["transactioncurrency"]
                )
                self.create_column(table, currency, custom=False)
            if "exchangerate" not in table.columns:
                rate = shapes.column("Decimal", "exchangerate", Precision=12, **fixed)
                self.create_column(table, rate, custom=False)
        elif added.kind == "File":
            shown = shapes.column(
                "String", f"{name}_name", MaxLength=200, AttributeOf=name, **fixed
            )
            self.create_column(table, shown, custom=False)
        if custom:
            self.into_solution(solution, column_id, 2)
        return column_id

    def update_column(self, table: Table, old: Column, body: Definition) -> None:
        """Replace what may change of a column; its type and behaviour stay."""
        changed = {k: shapes.labelled(v) for k, v in body.items() if k not in _FIXED_COLUMN}
        definition = old.definition | changed
        shapes.check_ranges(old.kind, definition)
        self.store.replace_definition(old.id, definition)
        new = Column(old.id, table.logical, old.born, definition)
        new.navs = old.navs
        table.add(new)

    def insert_option(
        self, table: Table, column: Column, body: Definition, *, solution: str = ""
    ) -> int:
        """One more option of a local choice; its number is its own, its label is asked for."""
        choice = column.definition.get("OptionSet") or {}
        if column.kind != "Picklist" or choice.get("IsGlobal"):
            raise errors.invalid_argument(f"The column {column.name} is no local choice.")
        if not body.get("Label"):
            raise errors.invalid_argument("Required parameter 'Label' is missing.")
        value = int(body.get("Value") or max(column.options) + 1)
        if value in column.options:
            raise errors.invalid_argument(f"The option value {value} exists already.")
        option = {"Value": value, "Label": shapes.labelled(body["Label"])}
        options = choice | {"Options": [*choice["Options"], option]}
        self.update_column(table, column, {"OptionSet": options})
        self.into_solution(solution, column.id, 2)
        return value

    def delete_column(self, table: Table, gone: Column) -> None:
        """Drop a custom column that no key uses."""
        if not gone.definition["IsCustomAttribute"] or gone.name == table.primary_name:
            raise errors.invalid_argument(f"The column {gone.name} cannot be deleted.")
        users = [key for key in table.keys.values() if gone.name in key.columns]
        if users:
            raise _in_use("Attribute", gone.id, len(users))
        for link in [r for r in self._schema.relationships.values() if r.column == gone.name]:
            if link.referencing == table.logical:
                self.store.delete_definitions(link.id)
                self._schema.drop_relationship(link)
        companions = [
            c for c in table.columns.values() if c.definition.get("AttributeOf") == gone.name
        ]
        for dropped in (gone, *companions):
            self.store.connection.execute(
                f'DROP INDEX IF EXISTS "ix_{table.logical}_{dropped.name}"'
            )
            for cell in filter(None, (dropped.name, dropped.type_cell)):
                self.store.connection.execute(f'ALTER TABLE {table.sql} DROP COLUMN "{cell}"')
            table.drop(dropped)
            self.store.delete_definitions(dropped.id)

    def _add_cell(self, table: Table, name: str, declared: str) -> None:
        cell = f'"{name}" {declared}'
        if self._cells is not None:
            self._cells.append(cell)
        else:
            self.store.connection.execute(f"ALTER TABLE {table.sql} ADD COLUMN {cell}")

    # Choices shared by tables

    def create_option_set(self, body: Definition, *, solution: str = "") -> str:
        """A global choice."""
        if not body.get("Name"):
            raise errors.invalid_argument("A global choice needs a Name.")
        lookup = {"OptionSet": body}
        options = shapes.complete_options(lookup, lambda reference: self.option_set(reference)[1])
        options["IsGlobal"] = True
        if any(o["Name"] == options.get("Name") for o in self._schema.option_sets.values()):
            message = f"An OptionSet with the specified name '{options['Name']}' already exists."
            raise errors.DataverseError(400, "0x80048403", message)
        set_id = self._save("optionset", "", options)
        self.into_solution(solution, set_id, 9)
        return set_id

    def option_set(self, reference: str) -> tuple[str, Definition]:
        """A global choice by id or by `Name='x'`."""
        name = reference.removeprefix("Name=").strip("'")
        for set_id, definition in self._schema.option_sets.items():
            if name in (set_id, definition["Name"]):
                return set_id, definition
        raise errors.not_found("OptionSetMetadata", name)

    # Relationships

    def create_relationship(
        self, body: Definition, *, solution: str = "", custom: bool = True
    ) -> str:
        """One to many with its lookup column, or many to many with its intersect table."""
        if str(body.get("@odata.type", "")).endswith("ManyToManyRelationshipMetadata"):
            return self._create_many(body, solution=solution, custom=custom)
        parent = self._table(body.get("ReferencedEntity"))
        child = self._table(body.get("ReferencingEntity"))
        name = self._relationship_name(body)
        lookup = dict(body.get("Lookup") or {})
        if not lookup.get("SchemaName"):
            raise errors.invalid_argument("A one-to-many relationship needs a Lookup.")
        logical = str(lookup["SchemaName"]).lower()
        if custom or logical not in child.columns:
            lookup |= shapes.column("Lookup", lookup["SchemaName"], custom=custom)
            lookup["Targets"] = [parent.logical]
            self.create_column(child, lookup, custom=custom)
        for nav in (body.get("ReferencingEntityNavigationPropertyName"), lookup["SchemaName"]):
            if custom and nav in child.lookups:
                raise errors.invalid_argument(f"Navigation property {nav} already exists.")
        definition = shapes.one_to_many(
            body, name, parent, child, lookup["SchemaName"], custom=custom
        )
        link_id = self._save("relationship", "", definition)
        self.store.connection.execute(
            f'CREATE INDEX IF NOT EXISTS "ix_{child.logical}_{logical}" ON {child.sql} ("{logical}")'
        )
        self.into_solution(solution, link_id, 10)
        return link_id

    def _create_many(self, body: Definition, *, solution: str, custom: bool) -> str:
        first = self._table(body.get("Entity1LogicalName"))
        second = self._table(body.get("Entity2LogicalName"))
        name = self._relationship_name(body)
        definition = shapes.many_to_many(body, name, first, second, custom=custom)
        intersect = definition["IntersectEntityName"]
        link_id = self._save("many", "", definition)
        self.store.connection.execute(
            f'CREATE TABLE "_many_{intersect}" (a TEXT, b TEXT, PRIMARY KEY (a, b))'
        )
        self.into_solution(solution, link_id, 10)
        return link_id

    def delete_relationship(self, link: Relationship) -> None:
        """Delete a one-to-many relationship with its lookup column."""
        child = self._schema.tables[link.referencing]
        self.delete_column(child, child.columns[link.column])

    def delete_many(self, link: ManyToMany) -> None:
        """Delete a many-to-many relationship with its pairs."""
        self.store.delete_definitions(link.id)
        self.store.connection.execute(f'DROP TABLE "_many_{link.intersect}"')
        del self._schema.many[link.schema_name.lower()]
        for logical, nav in link.sides:
            self._schema.tables[logical].many.pop(nav, None)

    def _relationship_name(self, body: Definition) -> str:
        name = str(body.get("SchemaName") or "")
        if not name:
            raise errors.invalid_argument("A relationship needs a SchemaName.")
        if name.lower() in self._schema.relationships or name.lower() in self._schema.many:
            message = f"A relationship with the name {name} already exists."
            raise errors.DataverseError(400, "0x80047009", message)
        return name

    def _table(self, logical: Any) -> Table:
        table = self._schema.tables.get(str(logical or "").lower())
        if table is None:
            raise errors.not_found("EntityMetadata", str(logical))
        return table

    # Keys

    def create_key(self, table: Table, body: Definition, *, solution: str = "") -> str:
        """An alternate key; its unique index is built by a job after the configured delay."""
        name = shapes.schema_name(body, custom=True)
        columns = [str(c) for c in body.get("KeyAttributes", ())]
        if name.lower() in table.keys:
            message = (
                f"An Entity Key with the name {name} already exists on entity {table.logical}."
            )
            raise errors.DataverseError(400, "0x80060893", message)
        if len(table.keys) >= 10 or not 1 <= len(columns) <= 16:
            raise errors.invalid_argument("A table has at most 10 keys of at most 16 columns each.")
        width = 0
        for column_name in columns:
            part = table.columns.get(column_name)
            if part is None or part.kind not in _KEY_KINDS:
                raise errors.invalid_argument(f"Column {column_name} cannot be part of a key.")
            width += 2 * int(part.definition["MaxLength"]) if part.kind == "String" else 16
        if width > 900:
            raise errors.invalid_argument("The key is wider than 900 bytes.")
        definition = {
            "DisplayName": label(name),
            **body,
            "SchemaName": name,
            "LogicalName": name.lower(),
            "EntityLogicalName": table.logical,
            "KeyAttributes": columns,
            "EntityKeyIndexStatus": "Pending",
            "IsManaged": False,
        }
        key_id = self.store.next_guid()
        ready = self._key_ready()
        self.store.save_definition("key", key_id, table.logical, ready, definition)
        self.into_solution(solution, key_id, 14)
        self.build_keys()
        return key_id

    def _key_ready(self) -> datetime:
        delay = timedelta(seconds=self.rows.settings.key_activation_seconds)
        return self.store.clock.now() + delay

    def keys_due(self) -> bool:
        """Whether an index job has work at this moment."""
        schema = self._schema
        if self._next_key is None or self._next_key[:2] != (schema, schema.version):
            pending = [k.active_from for k in schema.all_keys() if k.status == "Pending"]
            self._next_key = (schema, schema.version, min(pending, default=None))
        due = self._next_key[2]
        return due is not None and due <= self.store.clock.now()

    def build_keys(self) -> None:
        """The index job: build what is due; rows that repeat a value make the key Failed."""
        now = self.store.clock.now()
        for key in self._schema.all_keys():
            if key.status == "Pending" and key.active_from <= now:
                self._build_key(self._schema.tables[key.table], key)

    def _build_key(self, table: Table, key: Key) -> None:
        columns = ", ".join(f'"{c}"' for c in key.columns)
        filled = " AND ".join(f'"{c}" IS NOT NULL' for c in key.columns)
        twice = self.store.one(
            f"SELECT 1 FROM {table.sql} WHERE {filled} GROUP BY {columns} HAVING COUNT(*) > 1 LIMIT 1"
        )
        if twice is None:
            self.store.connection.execute(
                f'CREATE UNIQUE INDEX "key_{key.name}_{table.logical}" ON {table.sql} ({columns})'
            )
        key.definition["EntityKeyIndexStatus"] = "Failed" if twice else "Active"
        self.store.replace_definition(key.id, key.definition)

    def reactivate_key(self, key: Key) -> None:
        """Let the index job try again."""
        if key.status == "Failed":
            key.definition["EntityKeyIndexStatus"] = "Pending"
            key.active_from = self._key_ready()
            self.store.replace_definition(key.id, key.definition)
            self.build_keys()

    def delete_key(self, table: Table, key: Key) -> None:
        """Drop a key and its index."""
        self.store.connection.execute(f'DROP INDEX IF EXISTS "key_{key.name}_{table.logical}"')
        self.store.delete_definitions(key.id)
        del table.keys[key.name]

    # What goes with a component

    def _save(self, kind: str, owner: str, definition: Definition) -> str:
        component_id = self.store.next_guid()
        self.store.save_definition(kind, component_id, owner, self.store.clock.now(), definition)
        return component_id

    def into_solution(self, solution: str, component_id: str, kind: int) -> None:
        """Note a component as part of the solution that a request names, if it names one."""
        if not solution:
            return
        found = self.store.one("SELECT solutionid FROM solution WHERE uniquename = ?", (solution,))
        if found is None:
            raise errors.invalid_argument(f"The solution '{solution}' was not found.")
        cells: dict[str, values.Cell] = {
            "objectid": component_id,
            "componenttype": kind,
            "solutionid": found[0],
        }
        self.rows.insert(self._schema.tables["solutioncomponent"], cells)

    def offer_messages(self, table: Table) -> None:
        """List the messages that rows of the table understand, so that steps can be registered."""
        filters = self._schema.tables["sdkmessagefilter"]
        for message_id, name in self.store.rows(
            "SELECT sdkmessageid, name FROM sdkmessage ORDER BY name"
        ):
            cells: dict[str, values.Cell] = {
                "name": name,
                "primaryobjecttypecode": table.logical,
                "sdkmessageid": message_id,
            }
            self.rows.insert(filters, cells)

    def _make_visible(self, table: Table) -> None:
        """The default public view and main form, which the platform makes with every table."""
        collection = label_text(table.definition["DisplayCollectionName"])
        fetch = (
            f'<fetch version="1.0"><entity name="{table.logical}"><attribute name="{table.primary_id}"/>'
            f'<attribute name="{table.primary_name}"/><attribute name="createdon"/>'
            '<filter><condition attribute="statecode" operator="eq" value="0"/></filter></entity></fetch>'
        )
        layout = (
            f'<grid name="resultset" object="{table.otc}" jump="{table.primary_name}" select="1" icon="1" '
            f'preview="1"><row name="result" id="{table.primary_id}"><cell name="{table.primary_name}" '
            'width="300"/><cell name="createdon" width="125"/></row></grid>'
        )
        find = fetch.replace(
            "</filter>",
            '</filter><filter type="or" isquickfindfields="1"><condition '
            f'attribute="{table.primary_name}" operator="like" value="{{0}}"/></filter>',
        )
        for kind, name, query in (
            (0, f"Active {collection}", fetch),
            (4, f"Quick Find Active {collection}", find),
        ):
            view: dict[str, values.Cell] = {
                "name": name,
                "returnedtypecode": table.logical,
                "querytype": kind,
                "isquickfindquery": int(kind == 4),
                "isdefault": 1,
                "fetchxml": query,
                "layoutxml": layout,
                "componentstate": 0,
            }
            self.rows.insert(self._schema.tables["savedquery"], view)
        form: dict[str, values.Cell] = {
            "name": "Information",
            "objecttypecode": table.logical,
            "type": 2,
            "componentstate": 0,
            "formxml": "<form><tabs><tab><columns><column><sections><section><rows><row><cell>"
            f'<control id="{table.primary_name}" datafieldname="{table.primary_name}"/>'
            "</cell></row></rows></section></sections></column></columns></tab></tabs></form>",
        }
        self.rows.insert(self._schema.tables["systemform"], form)
        self.offer_messages(table)


def _in_use(kind: str, component_id: str, users: int) -> errors.DataverseError:
    message = (
        f"The {kind}({component_id}) component cannot be deleted because it is referenced by "
        f"{users} other components. For a list of referenced components, use the "
        "RetrieveDependenciesForDeleteRequest."
    )
    return errors.DataverseError(400, "0x8004f01f", message)
