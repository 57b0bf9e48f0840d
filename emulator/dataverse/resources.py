"""Requests on entity sets: rows by id or key, their properties and links, and bulk messages.

The order of checks is the one of Dataverse's own table: does the row exist, then the condition,
then the body. `PATCH` without a condition creates what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from emulator.dataverse import address, errors, values
from emulator.dataverse.address import Segment
from emulator.dataverse.customisation import Customisation, published, unpublished
from emulator.dataverse.messages import Call, Reply
from emulator.dataverse.query import Reader
from emulator.dataverse.rows import Located, Rows
from emulator.dataverse.schema import CRM, Table

Handler = Callable[[Call, Table], Reply]
RowAction = Callable[[Table, str], None]
BoundAction = Callable[[Call, str], Reply]


class Resources:
    """Everything below `/{entity set}`."""

    def __init__(
        self,
        rows: Rows,
        reader: Reader,
        *,
        queries: Mapping[str, Handler],
        files: Any,
        actions: Mapping[tuple[str, str], RowAction],
        customisation: Customisation,
    ) -> None:
        self.rows = rows
        self.store = rows.store
        self.reader = reader
        self.queries = queries  # query option -> who answers it: fetchXml, sql, $apply, ...
        self.files = files
        self.actions = actions  # (table, action without parameters) -> who does it to a row
        self.customisation = customisation
        self.bound: Mapping[tuple[str, str], BoundAction] = {
            ("role", "AddPrivilegesRole"): customisation.add_privileges,
        }

    def handle(self, call: Call, table: Table, steps: list[Segment]) -> Reply:
        """Answer a request whose first step is the table's entity set."""
        first, rest = steps[0], steps[1:]
        if first.key is not None:
            self._refuse_forbidden(first.key)
            return self._row(call, table, first.key, rest)
        if not rest:
            return self._set(call, table)
        name = rest[0].name
        if name == "$count" and call.method == "GET":
            return self._count(call, table)
        if name == f"{CRM}RetrieveUnpublishedMultiple":
            return self.reader.collection(call, table, where=unpublished(call, table))
        if name.startswith(CRM) and call.method == "POST":
            return self._bulk(call, table, name.removeprefix(CRM))
        raise errors.unknown_segment(name)

    def _refuse_forbidden(self, key: str) -> None:
        found = address.predicate(key)
        for value in found.values() if isinstance(found, dict) else ():
            if isinstance(value, str) and address.FORBIDDEN_IN_KEYS & set(value):
                raise errors.DataverseError(
                    400, "0x80060888", f"Bad Request - Error in query syntax: ({key})."
                )

    # The set

    def _set(self, call: Call, table: Table) -> Reply:
        if call.method == "GET":
            for option, handler in self.queries.items():
                if option in call.query or call.prefer.wants(option):
                    self.rows.demand("Read", table)
                    return handler(call, table)
            return self.reader.collection(call, table, where=published(table))
        if call.method != "POST":
            raise errors.not_supported(f"{call.method} is not supported on {table.entity_set}.")
        with self.store.transaction():
            row_id = self.rows.create(table, call.json())
            return self._written(call, table, row_id, created=True)

    def _count(self, call: Call, table: Table) -> Reply:
        if "$deltatoken" in call.query:
            return self.queries["$deltatoken"](call, table)
        self.rows.demand("Read", table)
        total = self.reader.count(table, self.reader.filters(call, table))
        capped = min(total, self.rows.settings.count_cap)
        return Reply(200, str(capped).encode(), {"Content-Type": "text/plain"})

    # One row

    def _row(self, call: Call, table: Table, key: str, rest: list[Segment]) -> Reply:
        if rest:
            return self._part(call, table, key, rest)
        if call.method == "GET":
            return self._get(call, table, self.rows.require(table, key))
        if call.method == "PATCH":
            with self.store.transaction():
                return self._patch(call, table, key)
        if call.method == "DELETE":
            with self.store.transaction():
                found = self.rows.require(table, key)
                self._check_version(call, table, found)
                self.rows.delete(table, str(found.row_id))
                return Reply()
        raise errors.not_supported(f"{call.method} is not supported on a row.")

    def _get(self, call: Call, table: Table, found: Located) -> Reply:
        unless = call.condition("if-none-match")
        if not self.customisation.is_published(table, str(found.row_id)):
            raise errors.not_found(table.logical, str(found.row_id))
        plain = "$expand" not in call.query and not call.prefer.annotations
        if unless == _etag(found) and plain:
            return Reply(304)
        return self.reader.single(call, table, str(found.row_id))

    def _patch(self, call: Call, table: Table, key: str) -> Reply:
        found = self.rows.locate(table, key)
        if found.row_id is None:
            if call.condition("if-match"):
                raise self.rows.missing(table, found)
            row_id = self.rows.create(table, call.json(), key=found.key)
            return self._written(call, table, row_id, created=True, key=key)
        if call.condition("if-none-match") == "*":
            raise errors.already_exists()
        self._check_version(call, table, found)
        self.rows.update(table, found.row_id, call.json(), without=found.key)
        return self._written(call, table, found.row_id, created=False, key=key)

    def _check_version(self, call: Call, table: Table, found: Located) -> None:
        wanted = call.condition("if-match")
        if wanted in (None, "*"):
            return
        if not table.definition["IsOptimisticConcurrencyEnabled"]:
            raise errors.concurrency_disabled(table.logical)
        if wanted != _etag(found):
            raise errors.version_mismatch()

    def _written(
        self, call: Call, table: Table, row_id: str, *, created: bool, key: str | None = None
    ) -> Reply:
        if call.prefer.representation:
            call.prefer.applied.append("return=representation")
            return self.reader.single(call, table, row_id, status=201 if created else 200)
        return Reply(204, None, {"OData-EntityId": self._entity_id(call, table, row_id, key)})

    def _entity_id(self, call: Call, table: Table, row_id: str, key: str | None) -> str:
        """An upsert by alternate key echoes the key, never the id."""
        named = key if key and not values.GUID.fullmatch(key) else row_id
        safe = quote(named, safe="=',_.-")
        return f"{call.root}{table.entity_set}({safe})"

    # Parts of a row

    def _part(self, call: Call, table: Table, key: str, rest: list[Segment]) -> Reply:
        name, tail = rest[0].name, [step.name for step in rest[1:]]
        found = self.rows.require(table, key)
        row_id = str(found.row_id)
        column = table.columns.get(name)
        if column is not None and column.kind == "File":
            reply: Reply = self.files.handle(call, table, row_id, column, tail)
            return reply
        linked = name in table.lookups or name in table.children or name in table.many
        if linked and (rest[0].key is not None or "$ref" in tail or call.method == "GET"):
            return self._link(call, table, row_id, rest[0], tail)
        if name in table.props:
            return self._property(call, table, row_id, name, tail)
        action = self.actions.get((table.logical, name.removeprefix(CRM)))
        if action is not None and name.startswith(CRM) and call.method == "POST":
            with self.store.transaction():
                action(table, row_id)
            return Reply()
        bound = self.bound.get((table.logical, name.removeprefix(CRM)))
        if bound is not None and name.startswith(CRM) and call.method == "POST":
            with self.store.transaction():
                return bound(call, row_id)
        raise errors.unknown_segment(name)

    def _property(self, call: Call, table: Table, row_id: str, name: str, tail: list[str]) -> Reply:
        if call.method == "GET":
            reply = self.reader.single(_selecting(call, name), table, row_id)
            value = reply.body[name] if isinstance(reply.body, dict) else None
            if value is None:
                return Reply(204)
            if tail == ["$value"]:
                return Reply(200, str(value).encode(), {"Content-Type": "text/plain"})
            context = f"{call.root}$metadata#{table.entity_set}({row_id})/{name}"
            return Reply(200, {"@odata.context": context, "value": value})
        if call.method not in ("PUT", "DELETE"):
            raise errors.not_supported(f"{call.method} is not supported on a property.")
        value = call.json().get("value") if call.method == "PUT" else None
        with self.store.transaction():
            self.rows.update(table, row_id, {name: value})
        return Reply()

    def _link(self, call: Call, table: Table, row_id: str, step: Segment, tail: list[str]) -> Reply:
        nav = step.name
        if call.method == "GET":
            return self._related(call, table, row_id, nav, tail)
        with self.store.transaction():
            if call.method in ("POST", "PUT"):
                self.rows.associate(table, row_id, nav, str(call.json().get("@odata.id")))
            elif call.method == "DELETE":
                other = step.key
                if other is None and "$id" in call.query:
                    other = self.rows.resolve(call.query["$id"])[1]
                self.rows.disassociate(table, row_id, nav, other)
            else:
                raise errors.not_supported(f"{call.method} is not supported on a link.")
        return Reply()

    def _related(self, call: Call, table: Table, row_id: str, nav: str, tail: list[str]) -> Reply:
        if nav in table.lookups:
            column, target_name = table.lookups[nav]
            row = self.store.one(
                f'SELECT "{column.name}" FROM {table.sql} WHERE "{table.primary_id}" = ?', (row_id,)
            )
            if row is None or row[0] is None:
                return Reply(204)
            target = self.store.schema.tables[target_name]
            if tail == ["$ref"]:
                context = f"{call.root}$metadata#$ref"
                there = f"{call.root}{target.entity_set}({row[0]})"
                return Reply(200, {"@odata.context": context, "@odata.id": there})
            return self.reader.single(call, target, row[0])
        if nav in table.children:
            link = table.children[nav]
            child, join, near = (
                self.store.schema.tables[link.referencing],
                "",
                f'"t"."{link.column}"',
            )
        else:
            child, join, near = self.reader.many(table, nav)
        where = [(f"{near} = ?", [row_id])]
        if tail == ["$ref"]:
            fetched = self.store.rows(
                f'SELECT "t"."{child.primary_id}" FROM {child.sql} AS "t" {join} WHERE {near} = ?',
                (row_id,),
            )
            body: dict[str, Any] = {
                "@odata.context": f"{call.root}$metadata#Collection($ref)",
                "value": [{"@odata.id": f"{call.root}{child.entity_set}({i})"} for (i,) in fetched],
            }
            return Reply(200, body)
        return self.reader.collection(call, child, where=where, join=join)

    # Bulk messages: one transaction, the first bad row decides the answer

    def _bulk(self, call: Call, table: Table, message: str) -> Reply:
        work = {
            "CreateMultiple": self._create_multiple,
            "UpdateMultiple": self._update_multiple,
            "UpsertMultiple": self._upsert_multiple,
        }.get(message)
        if message == "DeleteMultiple":
            raise errors.not_implemented("DeleteMultiple")
        if work is None:
            raise errors.unknown_segment(CRM + message)
        targets = call.json().get("Targets")
        if not isinstance(targets, list) or not targets:
            raise errors.invalid_argument("The parameter 'Targets' must hold at least one row.")
        for target in targets:
            kind = target.get("@odata.type") if isinstance(target, dict) else None
            if str(kind).lstrip("#") != CRM + table.logical:
                raise errors.bad_payload(
                    table.entity_set,
                    f"A type named '{kind}' could not be resolved by the model: each target needs "
                    f"'@odata.type': '{CRM}{table.logical}'.",
                )
        with self.store.transaction():
            return work(call, table, targets)

    def _create_multiple(self, call: Call, table: Table, targets: list[dict[str, Any]]) -> Reply:
        ids = [self.rows.create(table, target) for target in targets]
        context = f"{call.root}$metadata#{CRM}CreateMultipleResponse"
        return Reply(200, {"@odata.context": context, "Ids": ids})

    def _update_multiple(self, _call: Call, table: Table, targets: list[dict[str, Any]]) -> Reply:
        missing: list[str] = []
        ids: list[str] = []
        for target in targets:
            row_id = target.get(table.primary_id)
            if row_id is None and "@odata.id" in target:
                row_id = self.rows.resolve(str(target["@odata.id"]))[1]
            found = self.rows.locate(table, str(row_id)) if row_id else None
            if found is None:
                raise errors.invalid_argument(f"Each target needs '{table.primary_id}'.")
            ids.append(str(found.row_id))
            if found.row_id is None:
                missing.append(str(row_id))
        if missing:
            raise errors.many_not_found(table.logical, missing)
        _refuse_repeats(ids)
        for row_id, target in zip(ids, targets, strict=True):
            self.rows.update(table, row_id, target)
        return Reply()

    def _upsert_multiple(self, _call: Call, table: Table, targets: list[dict[str, Any]]) -> Reply:
        addresses = [str(target.get("@odata.id") or "") for target in targets]
        _refuse_repeats([a for a in addresses if a])
        for target, named in zip(targets, addresses, strict=True):
            if named:
                found = self.rows.locate(table, self._own_key(table, named))
            elif target.get(table.primary_id):
                found = self.rows.locate(table, str(target[table.primary_id]))
            else:
                found = Located(None, 0, {})
            if found.row_id is not None:
                self.rows.update(table, found.row_id, target, without=found.key)
                continue
            if any(table.columns[name].prop in target for name in found.key) and named:
                raise errors.unexpected()  # the key in @odata.id and in the body: only updates work
            self.rows.create(table, target, key=found.key)
        return Reply()

    def _own_key(self, table: Table, named: str) -> str:
        steps = address.split(named)
        if len(steps) != 1 or steps[0].name != table.entity_set or steps[0].key is None:
            raise errors.bad_key(table.entity_set, table.logical)
        return steps[0].key


def _refuse_repeats(names: list[str]) -> None:
    """Two targets of one request that touch the same row deadlock in SQL Server."""
    if len({name.lower() for name in names}) != len(names):
        raise errors.deadlock()


def _etag(found: Located) -> str:
    return f'W/"{found.version}"'


def _selecting(call: Call, name: str) -> Call:
    return Call("GET", call.path, {"$select": name}, {}, b"", call.root)
