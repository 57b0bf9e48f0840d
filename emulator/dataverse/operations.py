"""Unbound functions and actions: who am I, bulk delete, metadata queries; others' are handed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emulator.dataverse import address, conditions, errors
from emulator.dataverse.address import Segment
from emulator.dataverse.customisation import Customisation
from emulator.dataverse.definitions import Definitions
from emulator.dataverse.messages import Call, Reply
from emulator.dataverse.metadata import Metadata
from emulator.dataverse.rows import Rows
from emulator.dataverse.schema import CRM
from emulator.dataverse.values import Cell
from emulator.wire import decode

_OPERATORS = {
    "Equal": "eq",
    "NotEqual": "ne",
    "GreaterThan": "gt",
    "GreaterEqual": "ge",
    "LessThan": "lt",
    "LessEqual": "le",
}
_COMPLETED, _SUCCEEDED, _BULK_DELETE = 3, 30, 13


class Operations:
    """Answers a function call or an action by its name."""

    def __init__(
        self,
        rows: Rows,
        definitions: Definitions,
        metadata: Metadata,
        customisation: Customisation,
    ) -> None:
        self.rows = rows
        self.store = rows.store
        self.definitions = definitions
        self.metadata = metadata
        self._functions: dict[str, Callable[[Call, dict[str, str]], Reply]] = {
            "WhoAmI": self._who_am_i,
            "RetrieveVersion": self._version,
            "RetrieveAvailableLanguages": self._languages,
            "RetrieveTotalRecordCount": self._total,
            "RetrieveMetadataChanges": self._changes,
            **customisation.functions,
        }
        self._actions: dict[str, Callable[[Call, dict[str, Any]], Reply]] = {
            "CreateEntities": self._create_entities,
            "BulkDelete": self._bulk_delete,
            "ReactivateEntityKey": self._reactivate,
            "InsertOptionValue": self._insert_option,
            **customisation.actions,
        }

    def handle(self, call: Call, step: Segment) -> Reply | None:
        """The answer, or None when there is no operation of this name."""
        if step.name in self._functions:
            if call.method != "GET":
                raise errors.no_http_resource(call.url)
            given = address.arguments(step.key or "", call.aliases)
            return self._functions[step.name](call, given)
        if step.name in self._actions:
            if call.method != "POST":
                raise errors.no_http_resource(call.url)
            with self.store.transaction():
                return self._actions[step.name](call, call.json())
        return None

    def _who_am_i(self, call: Call, _given: dict[str, str]) -> Reply:
        row = self.store.one("SELECT organizationid FROM organization")
        body = {
            "@odata.context": f"{call.root}$metadata#{CRM}WhoAmIResponse",
            "BusinessUnitId": self.rows.caller.business_unit,
            "UserId": self.rows.caller.user_id,
            "OrganizationId": row[0] if row else None,
        }
        return Reply(200, body)

    def _version(self, call: Call, _given: dict[str, str]) -> Reply:
        context = f"{call.root}$metadata#{CRM}RetrieveVersionResponse"
        return Reply(200, {"@odata.context": context, "Version": "9.2.26102.0"})

    def _languages(self, call: Call, _given: dict[str, str]) -> Reply:
        context = f"{call.root}$metadata#{CRM}RetrieveAvailableLanguagesResponse"
        return Reply(200, {"@odata.context": context, "LocaleIds": [1033]})

    def _total(self, call: Call, given: dict[str, str]) -> Reply:
        names = [n.strip().strip("'\"") for n in given.get("EntityNames", "[]")[1:-1].split(",")]
        totals: list[int] = []
        for name in names:
            table = self.store.schema.tables.get(name)
            if table is None:
                raise errors.invalid_argument(f"The entity with a name = '{name}' was not found.")
            row = self.store.one(f"SELECT COUNT(*) FROM {table.sql}")
            totals.append(row[0] if row else 0)
        collection = {"Count": len(names), "IsReadOnly": False, "Keys": names, "Values": totals}
        context = f"{call.root}$metadata#{CRM}RetrieveTotalRecordCountResponse"
        return Reply(200, {"@odata.context": context, "EntityRecordCountCollection": collection})

    def _changes(self, call: Call, given: dict[str, str]) -> Reply:
        try:
            query = decode(given.get("Query", ""))
        except ValueError:
            raise errors.bad_query("The parameter Query is not a JSON object.") from None
        body = {
            "@odata.context": f"{call.root}$metadata#{CRM}RetrieveMetadataChangesResponse",
            "ServerVersionStamp": f"{self.store.schema.version}!",
            "EntityMetadata": self.metadata.changes(query),
        }
        return Reply(200, body)

    def _create_entities(self, call: Call, body: dict[str, Any]) -> Reply:
        solution = call.query.get("SolutionUniqueName") or call.headers.get(
            "mscrm.solutionuniquename", ""
        )
        for entity in body.get("Entities", ()):
            self.definitions.create_table(entity, solution=solution)
        return Reply()

    def _reactivate(self, _call: Call, body: dict[str, Any]) -> Reply:
        table = self.store.schema.tables.get(str(body.get("EntityLogicalName")))
        key = table.keys.get(str(body.get("EntityKeyLogicalName")).lower()) if table else None
        if table is None or key is None:
            raise errors.not_found("EntityKeyMetadata", str(body.get("EntityKeyLogicalName")))
        self.definitions.reactivate_key(key)
        return Reply()

    def _insert_option(self, call: Call, body: dict[str, Any]) -> Reply:
        """Add an option to a choice column of its own; shared choices are left out."""
        table = self.store.schema.tables.get(str(body.get("EntityLogicalName")))
        column = table.columns.get(str(body.get("AttributeLogicalName"))) if table else None
        if table is None or column is None:
            raise errors.not_found("AttributeMetadata", str(body.get("AttributeLogicalName")))
        value = self.definitions.insert_option(
            table, column, body, solution=str(body.get("SolutionUniqueName") or "")
        )
        context = f"{call.root}$metadata#{CRM}InsertOptionValueResponse"
        return Reply(200, {"@odata.context": context, "NewOptionValue": value})

    def _bulk_delete(self, call: Call, body: dict[str, Any]) -> Reply:
        """Delete at once what the real service deletes in a job; the job's row says succeeded."""
        deleted = 0
        for query in body.get("QuerySet", ()):
            table = self.store.schema.tables.get(str(query.get("EntityName")))
            if table is None:
                raise errors.invalid_argument(f"Unknown entity '{query.get('EntityName')}'.")
            clauses, parameters = ["1"], list[Cell]()
            for condition in (query.get("Criteria") or {}).get("Conditions", ()):
                column = table.columns.get(str(condition.get("AttributeName")))
                if column is None:
                    raise errors.unknown_property(
                        str(condition.get("AttributeName")), table.logical
                    )
                name = str(condition.get("Operator"))
                raw = [
                    v["Value"] if isinstance(v, dict) else v for v in condition.get("Values", ())
                ]
                sql, given = conditions.build(
                    _OPERATORS.get(name) or conditions.operator_of(name),
                    f'"{column.name}"',
                    column,
                    raw,
                    now=self.store.clock.now(),
                    user=self.rows.caller.user_id,
                )
                clauses.append(sql)
                parameters += given
            rows = self.store.rows(
                f'SELECT "{table.primary_id}" FROM {table.sql} WHERE {" AND ".join(clauses)}',
                parameters,
            )
            for (row_id,) in rows:
                self.rows.delete(table, row_id)
                deleted += 1
        job: dict[str, Any] = {
            "name": body.get("JobName") or "Bulk delete",
            "operationtype": _BULK_DELETE,
            "message": f"{deleted} rows deleted",
            "statecode": _COMPLETED,
            "statuscode": _SUCCEEDED,
        }
        job_id = self.rows.insert(self.store.schema.tables["asyncoperation"], job)
        context = f"{call.root}$metadata#{CRM}BulkDeleteResponse"
        return Reply(200, {"@odata.context": context, "JobId": job_id})
