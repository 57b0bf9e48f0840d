"""Writing rows: values in, cells out, with everything Dataverse does on the way.

Validation, binds, deep inserts, states that travel with their status, exchange rates and base
amounts, system columns, row versions, unique keys, deletion rules and tombstones. Callers hold a
transaction open; an error leaves it to them to roll back.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from emulator.dataverse import address, errors, security, values
from emulator.dataverse.schema import Column, Relationship, Table
from emulator.dataverse.settings import Settings
from emulator.dataverse.store import Store
from emulator.dataverse.values import Cell

Body = dict[str, Any]
Cells = dict[str, Cell]
_ADDRESSED_BARE = frozenset({"systemuser", "team"})  # `(guid)` only, never `(systemuserid=guid)`


@dataclass(frozen=True, slots=True)
class Caller:
    """The application user on whose behalf a request runs."""

    user_id: str
    business_unit: str


@dataclass(frozen=True, slots=True)
class Located:
    """What a key predicate points at: a row or none, and the key columns that named it."""

    row_id: str | None
    version: int
    key: Cells


@dataclass(slots=True)
class Event:
    """One write that a client asked for, on its way through the platform's own steps."""

    message: str  # Create, Update or Delete
    table: Table
    row_id: str
    cells: Cells  # what is written; a step before it may change them


class Listener(Protocol):
    """A step around every write, in its transaction: what it raises rolls the write back."""

    def before(self, event: Event) -> None:
        """Look at a write before it is stored; the id of a new row is not given out yet."""

    def after(self, event: Event) -> None:
        """Act on a write that is stored."""


@dataclass(slots=True)
class _Change:
    cells: Cells = field(default_factory=dict)
    parents: list[tuple[Column, Table, Body]] = field(default_factory=list)
    children: list[tuple[Relationship, list[Body]]] = field(default_factory=list)


class Rows:
    """The write side of all tables; `caller` and `references` belong to the request at work."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.caller = Caller("", "")
        self.references: dict[str, str] = {}
        self.solution = ""  # that the request names for what it creates
        self.listeners: list[Listener] = []

    # Finding

    def demand(self, privilege: str, table: Table) -> None:
        """403 when the switchboard, or the caller's roles, deny the privilege on the table."""
        settings = self.settings
        denied = (privilege, table.logical) in settings.deny
        if settings.enforce_roles:
            denied = denied or self._lacks(security.name_of(privilege, table))
        if denied:
            raise errors.privilege_denied(
                self.caller.user_id, privilege, table.schema_name, table.logical, table.otc
            )

    def demand_named(self, privilege: str) -> None:
        """403 when the caller's roles lack a privilege that belongs to no table of rows."""
        if self.settings.enforce_roles and self._lacks(privilege):
            raise errors.named_privilege_denied(self.caller.user_id, privilege)

    def _lacks(self, privilege: str) -> bool:
        return not security.allows(self.store, self.caller.user_id, privilege)

    def locate(self, table: Table, text: str) -> Located:
        """Follow a key predicate; unknown key columns are an error, an absent row is not."""
        found = address.predicate(text)
        if isinstance(found, dict) and [*found] == [table.primary_id]:
            if table.logical in _ADDRESSED_BARE:
                raise errors.bad_key(table.entity_set, table.logical)
            found = str(found[table.primary_id]).lower()
        if isinstance(found, str):
            row = self.store.one(
                f'SELECT "versionnumber" FROM {table.sql} WHERE "{table.primary_id}" = ?', (found,)
            )
            return (
                Located(found, row[0], {}) if row else Located(None, 0, {table.primary_id: found})
            )
        key: Cells = {}
        for name, value in found.items():
            column = table.props.get(name)
            if column is None:
                if name in table.columns or name in table.lookups:
                    raise errors.unknown_property(name, table.logical)
                raise errors.bad_key(table.entity_set, table.logical)
            key[column.name] = self._encoder(table, column)(value)
        wanted = set(key)
        if not any(k.status == "Active" and set(k.columns) == wanted for k in table.keys.values()):
            raise errors.bad_key(table.entity_set, table.logical)
        matches = " AND ".join(f'"{name}" = ?' for name in key)
        row = self.store.one(
            f'SELECT "{table.primary_id}", "versionnumber" FROM {table.sql} WHERE {matches}',
            (*key.values(),),
        )
        return Located(row[0], row[1], key) if row else Located(None, 0, key)

    def require(self, table: Table, text: str) -> Located:
        """Follow a key predicate to a row that must exist."""
        found = self.locate(table, text)
        if found.row_id is None:
            raise self.missing(table, found)
        return found

    def missing(self, table: Table, found: Located) -> errors.DataverseError:
        """The 404 that fits how the row was addressed."""
        if [*found.key] == [table.primary_id]:
            return errors.not_found(table.logical, str(found.key[table.primary_id]))
        return errors.key_not_found(table.logical)

    def resolve(self, reference: str) -> tuple[Table, str]:
        """The row that a bind, an `@odata.id` or a `$ref` body points at."""
        path = self.references.get(reference, reference)
        if path.startswith("$"):
            message = f"Content-ID Reference: '{path}' does not exist in the batch context."
            raise errors.DataverseError(400, "", message)
        steps = address.split(path)
        if len(steps) != 1 or steps[0].key is None:
            raise errors.bad_query(f"The reference '{reference}' does not name one row.")
        table = self.store.schema.by_set.get(steps[0].name)
        if table is None:
            raise errors.unknown_segment(steps[0].name)
        return table, str(self.require(table, steps[0].key).row_id)

    # Reading a body

    def _encoder(self, table: Table, column: Column) -> Any:
        found = table.encoders.get(column.name)
        if found is None:
            reject = self.settings.reject_surplus_digits
            found = values.encoder(table, column, reject_surplus=reject)
            table.encoders[column.name] = found
        return found

    def _read(self, table: Table, body: Body, *, creating: bool) -> _Change:
        change = _Change()
        cells, props = change.cells, table.props
        for prop, value in body.items():
            column = props.get(prop)
            if column is None:
                self._read_special(table, prop, value, change, creating=creating)
                continue
            if column.kind == "Lookup":
                raise errors.direct_lookup()
            if not column.writable[0 if creating else 1]:
                if column.kind == "File":
                    raise errors.invalid_argument(
                        f"The file column '{prop}' is set by its own URL."
                    )
                continue
            cells[prop] = None if value is None else self._encoder(table, column)(value)
        return change

    def _read_special(
        self, table: Table, prop: str, value: Any, change: _Change, *, creating: bool
    ) -> None:
        nav, bind, _ = prop.partition("@odata.bind")
        if bind and nav in table.lookups:
            self._bind(table, nav, value, change)
        elif bind and nav in table.children and creating and isinstance(value, list):
            pass_on: list[Body] = [{"@odata.id": str(item)} for item in value]
            change.children.append((table.children[nav], pass_on))
        elif bind:
            raise errors.undeclared(table.entity_set, nav, table.logical)
        elif "@" in prop:
            return
        elif creating and prop in table.lookups and isinstance(value, dict):
            column, target = table.lookups[prop]
            change.parents.append((column, self.store.schema.tables[target], value))
        elif creating and prop in table.children and _rows_of(value):
            change.children.append((table.children[prop], value))
        elif prop in table.lookups and value is None:
            self._bind(table, prop, None, change)
        elif prop in table.columns:
            raise errors.direct_lookup()
        else:
            raise errors.undeclared(table.entity_set, prop, table.logical)

    def _bind(self, table: Table, nav: str, value: Any, change: _Change) -> None:
        column, _ = table.lookups[nav]
        target: Table | None = None
        row_id: str | None = None
        if value is not None:
            target, row_id = self.resolve(str(value))
            self.demand("Append", table)
            self.demand("AppendTo", target)
            if column.navs.get(target.logical) != nav:
                raise errors.bad_payload(
                    table.entity_set,
                    f"The navigation property '{nav}' cannot refer to '{target.logical}'.",
                )
        change.cells[column.name] = row_id
        if column.type_cell:
            change.cells[column.type_cell] = target.logical if target else None

    # Writing

    def create(self, table: Table, body: Body, *, key: Cells | None = None) -> str:
        """A new row and its nested rows; body values win over the key of the URL."""
        self.demand("Create", table)
        change = self._read(table, body, creating=True)
        cells = {**(key or {}), **change.cells}
        for column, parent, nested in change.parents:
            cells[column.name] = self.create(parent, nested)
            if column.type_cell:
                cells[column.type_cell] = parent.logical
        self._settle_state(table, cells)
        event = Event("Create", table, "", cells)
        for listener in self.listeners:
            listener.before(event)
        event.row_id = row_id = self.insert(table, cells)
        for link, nested_rows in change.children:
            self._create_children(table, row_id, link, nested_rows)
        for listener in self.listeners:
            listener.after(event)
        return row_id

    def _create_children(
        self, table: Table, row_id: str, link: Relationship, nested_rows: list[Body]
    ) -> None:
        child = self.store.schema.tables[link.referencing]
        own = {f"{link.child_nav}@odata.bind": f"/{table.entity_set}({row_id})"}
        for nested in nested_rows:
            if "@odata.id" in nested:
                _, child_id = self.resolve(str(nested["@odata.id"]))
                self.update(child, child_id, own)
            else:
                self.create(child, {**nested, **own})

    def insert(self, table: Table, cells: Cells) -> str:
        """Store a new row of validated cells, with defaults, system columns and base amounts."""
        columns = table.columns
        now = values.print_instant(self.store.clock.now())
        user = self.caller.user_id or None
        row_id = str(cells.setdefault(table.primary_id, None) or self.store.next_guid())
        cells[table.primary_id] = row_id
        for name, default in table.defaults.items():
            cells.setdefault(name, default)
        for name, value in (
            ("createdon", now),
            ("modifiedon", now),
            ("createdby", user),
            ("modifiedby", user),
            ("statecode", 0),
            ("timezoneruleversionnumber", 0),
        ):
            if name in columns and cells.get(name) is None:
                cells[name] = value
        if cells.get("statuscode") is None and "statuscode" in columns:
            cells["statuscode"] = _default_status(columns["statuscode"], cells["statecode"])
        if "ownerid" in columns:
            if cells.get("ownerid") is None:
                cells["ownerid"], cells["ownerid:type"] = user, "systemuser"
            cells["owninguser"] = cells["ownerid"]
            cells["owningbusinessunit"] = self.caller.business_unit or None
        cells["versionnumber"] = self.store.next_version()
        if table.has_money:
            self._convert(table, cells, None)
        names = ", ".join([f'"{name}"' for name in cells])
        marks = ", ".join("?" * len(cells))
        self._execute(
            table, f"INSERT INTO {table.sql} ({names}) VALUES ({marks})", [*cells.values()]
        )
        return row_id

    def update(
        self, table: Table, row_id: str, body: Body, *, without: Cells | None = None
    ) -> None:
        """Change the sent columns of a row; key columns of its address stay as they are."""
        self.demand("Write", table)
        cells = self._read(table, body, creating=False).cells
        for name in without or ():
            cells.pop(name, None)
        cells.pop(table.primary_id, None)
        if "statecode" in cells or "statuscode" in cells:
            self._settle_state(table, cells, row_id)
        event = Event("Update", table, row_id, cells)
        for listener in self.listeners:
            listener.before(event)
        self.change(table, row_id, cells)
        for listener in self.listeners:
            listener.after(event)

    def change(self, table: Table, row_id: str, cells: Cells) -> None:
        """Store validated cells of an existing row under a new row version."""
        if table.has_money:
            self._convert(table, cells, row_id)
        if "ownerid" in cells and "owninguser" in table.columns:
            user = cells.get("ownerid:type") == "systemuser"
            cells["owninguser"] = cells["ownerid"] if user else None
        cells["versionnumber"] = self.store.next_version()
        if "modifiedon" in table.columns:
            cells["modifiedon"] = values.print_instant(self.store.clock.now())
            cells["modifiedby"] = self.caller.user_id or None
        sets = ", ".join([f'"{name}" = ?' for name in cells])
        self._execute(
            table,
            f'UPDATE {table.sql} SET {sets} WHERE "{table.primary_id}" = ?',
            [*cells.values(), row_id],
        )

    def _execute(self, table: Table, sql: str, parameters: list[Cell]) -> None:
        try:
            self.store.connection.execute(sql, parameters)
        except sqlite3.IntegrityError as problem:
            names = {
                part.rsplit(".", 1)[-1].strip() for part in str(problem).split(":")[-1].split(",")
            }
            for key in table.keys.values():
                if set(key.columns) == names:
                    raise errors.key_violated(key.definition["SchemaName"], key.columns) from None
            raise errors.duplicate_id() from None

    def _settle_state(self, table: Table, cells: Cells, row_id: str | None = None) -> None:
        status = table.columns.get("statuscode")
        if status is None or ("statecode" not in cells and "statuscode" not in cells):
            return
        state_of = {
            item["Value"]: item.get("State", 0)
            for item in status.definition.get("OptionSet", {}).get("Options", ())
        }
        state = cells.get("statecode")
        if state is None and row_id is not None:
            row = self.store.one(
                f'SELECT "statecode" FROM {table.sql} WHERE "{table.primary_id}" = ?', (row_id,)
            )
            state = row[0] if row else 0
        state = 0 if state is None else state
        if cells.get("statuscode") is None:
            cells["statuscode"] = _default_status(status, state)
        elif state_of.get(cells["statuscode"]) != state:
            raise errors.DataverseError(
                400,
                "0x80048408",
                f"{cells['statuscode']} is not a valid status code for state code "
                f"{table.schema_name}State.{state} on {table.logical} with Id {row_id}.",
            )

    def _convert(self, table: Table, cells: Cells, row_id: str | None) -> None:
        """Exchange rate and base amounts: base = amount / rate, the rate in units per base unit."""
        money = table.money
        sent = [c for c in money if c.name in cells]
        if not sent and "transactioncurrencyid" not in cells:
            return
        stored: Cells = {}
        if row_id is not None:
            names = ["transactioncurrencyid", *(c.name for c in money)]
            listed = ", ".join(f'"{n}"' for n in names)
            row = self.store.one(
                f'SELECT {listed} FROM {table.sql} WHERE "{table.primary_id}" = ?', (row_id,)
            )
            stored = dict(zip(names, row or (), strict=False))
        currency = cells.get("transactioncurrencyid") or stored.get("transactioncurrencyid")
        if currency is None:
            base = self.store.one("SELECT basecurrencyid FROM organization")
            currency = base[0] if base else None
        found = self.store.one(
            "SELECT exchangerate, currencyprecision FROM transactioncurrency"
            " WHERE transactioncurrencyid = ?",
            (currency,),
        )
        if found is None:
            return
        rate, precision = Decimal(found[0]), int(found[1])
        if currency != stored.get("transactioncurrencyid"):
            cells["transactioncurrencyid"] = currency
            cells["exchangerate"] = values.fixed(rate, 12)
            sent = money
        for column in sent:
            amount = cells.get(column.name, stored.get(column.name))
            if amount is None:
                cells[f"{column.name}_base"] = None
                continue
            number = Decimal(amount)
            source = column.definition["PrecisionSource"]
            if source:
                places = precision if source == 2 else self._pricing_precision()
                number = Decimal(values.fixed(number, places))
                cells[column.name] = values.fixed(number, values.MONEY_SCALE)
            converted = values.EXACT.divide(number, rate)
            cells[f"{column.name}_base"] = values.fixed(converted, values.MONEY_SCALE)

    def _pricing_precision(self) -> int:
        """Decimals of unit prices: a setting of the organisation (0 to 4)."""
        row = self.store.one("SELECT pricingdecimalprecision FROM organization")
        return int(row[0]) if row else 2

    # Deleting and linking

    def delete(self, table: Table, row_id: str) -> None:
        """Delete a row by the rules of its relationships; leave a tombstone."""
        self.demand("Delete", table)
        event = Event("Delete", table, row_id, {})
        for listener in self.listeners:
            listener.before(event)
        for link in table.children.values():
            child = self.store.schema.tables[link.referencing]
            held = self.store.rows(
                f'SELECT "{child.primary_id}" FROM {child.sql} WHERE "{link.column}" = ?', (row_id,)
            )
            if held and link.on_delete == "Restrict":
                raise errors.delete_restricted(table.logical)
            for (child_id,) in held:
                if link.on_delete == "Cascade":
                    self.delete(child, child_id)
                elif link.on_delete == "RemoveLink":
                    self.change(child, child_id, {link.column: None})
        connection = self.store.connection
        connection.execute(f'DELETE FROM {table.sql} WHERE "{table.primary_id}" = ?', (row_id,))
        connection.execute(
            'DELETE FROM _file WHERE "table" = ? AND "row" = ?', (table.logical, row_id)
        )
        for many in table.many.values():
            connection.execute(
                f'DELETE FROM "_many_{many.intersect}" WHERE a = ? OR b = ?', (row_id, row_id)
            )
        if table.tracked:
            at = values.print_instant(self.store.clock.now())
            connection.execute(
                "INSERT OR REPLACE INTO _tombstone VALUES (?, ?, ?, ?)",
                (table.logical, row_id, self.store.next_version(), at),
            )
        for listener in self.listeners:
            listener.after(event)

    def associate(self, table: Table, row_id: str, nav: str, reference: str) -> None:
        """Link two rows through any navigation property."""
        if nav in table.lookups:
            self.update(table, row_id, {f"{nav}@odata.bind": reference})
        elif nav in table.children:
            child, child_id = self.resolve(reference)
            link = table.children[nav]
            own = {f"{link.child_nav}@odata.bind": f"/{table.entity_set}({row_id})"}
            self.update(child, child_id, own)
        elif nav in table.many:
            _, other = self.resolve(reference)
            pair = (
                (row_id, other)
                if table.many[nav].sides[0] == (table.logical, nav)
                else (other, row_id)
            )
            intersect = table.many[nav].intersect
            self.store.connection.execute(
                f'INSERT OR IGNORE INTO "_many_{intersect}" VALUES (?, ?)', pair
            )
        else:
            raise errors.unknown_segment(nav)

    def disassociate(self, table: Table, row_id: str, nav: str, other: str | None) -> None:
        """Unlink: clear the lookup, or take one row out of a collection."""
        if nav in table.lookups:
            self.update(table, row_id, {f"{nav}@odata.bind": None})
        elif nav in table.children and other is not None:
            link = table.children[nav]
            child = self.store.schema.tables[link.referencing]
            self.update(child, other, {f"{link.child_nav}@odata.bind": None})
        elif nav in table.many and other is not None:
            self.store.connection.execute(
                f'DELETE FROM "_many_{table.many[nav].intersect}" WHERE (a = ? AND b = ?)'
                " OR (a = ? AND b = ?)",
                (row_id, other, other, row_id),
            )
        else:
            raise errors.unknown_segment(nav)


def _rows_of(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _default_status(status: Column, state: Cell) -> Cell:
    for item in status.definition.get("OptionSet", {}).get("Options", ()):
        if item.get("State", 0) == state:
            return int(item["Value"])
    return None
