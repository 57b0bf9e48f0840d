"""Makes an environment have the declared tables: reads what is there, adds what is missing.

Additive and resumable. Each step is planned from what the environment shows now, so a crash
anywhere is healed by applying again; the version on the solution is written last, and until it
stands there the plan is not empty. Nothing is ever removed or changed in type: what stands in the
way is refused with a sentence that says what is and what should be. One metadata call at a time,
because Dataverse locks customisation; metadata is created by plain POST, which is never repeated
unseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataverse.client import SERVICE, DataverseClient, Query, literal
from dataverse.metadata import (
    ATTRIBUTE,
    CRM,
    attribute_of,
    column_body,
    found_type_name,
    key_body,
    label,
    option_label,
    relationship_body,
    table_body,
    type_name,
)
from dataverse.schema import PREFIX, Column, Kind, Table
from dataverse.tables import (
    OPTION_PREFIX,
    PUBLISHER,
    PUBLISHER_LABEL,
    SCHEMA_VERSION,
    SOLUTION,
    SOLUTION_LABEL,
    TABLES,
)
from domain.problems import ConfigurationError, Finding, NotFound, ServiceError, Severity

UNFINISHED = "0.0.0.1"
"""The solution's version until everything stands."""

_STRONG = {"Consistency": "Strong"}
_IN_SOLUTION = {"MSCRM.SolutionUniqueName": SOLUTION, **_STRONG}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to add, said in a sentence, and the call that adds it."""

    sentence: str
    path: str
    body: Any
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is missing, in order, and what stands in the way."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps or self.refusals)

    def __str__(self) -> str:
        lines = [*map(str, self.steps), *(f"refused: {one.sentence}" for one in self.refusals)]
        return "\n".join(lines) or "nothing to do"


@dataclass(slots=True)
class _Found:
    """What the environment has of one table."""

    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    options: dict[str, set[int]] = field(default_factory=dict)
    relationships: set[str] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict)


class Provisioner:
    """Plans and applies the tables of one environment."""

    def __init__(
        self,
        client: DataverseClient,
        *,
        tables: Sequence[Table] = TABLES,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = 600.0,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`patience` is how many seconds of waiting the building of keys may take in all."""
        self._client = client
        self._tables = tables
        self._sleep = sleep
        self._patience = patience
        self._progress = progress

    def plan(self) -> Plan:
        """Say what is missing; reads only. A standard table is never made, only added to."""
        steps: list[Step] = []
        refusals: list[Finding] = []
        publisher, solution = self._first("publishers", PUBLISHER), self._solution()
        steps += _publishing(publisher, solution)
        if publisher and publisher["customizationprefix"] != PREFIX.rstrip("_"):
            refusals.append(
                _refusal(
                    f"publisher {PUBLISHER}",
                    f"prefix {publisher['customizationprefix']}",
                    f"prefix {PREFIX.rstrip('_')}",
                )
            )
        columns: list[Step] = []
        links: list[Step] = []
        keys: list[Step] = []
        for table in self._tables:
            found = self._look(table)
            if found is None and not table.name.startswith(PREFIX):
                refusals.append(_not_there(table))
            elif found is None:
                sentence = f"create table {table.name} ({table.label})"
                steps.append(_added(sentence, "EntityDefinitions", table_body(table)))
            else:
                columns += _missing_columns(table, found)
                columns += _missing_options(table, found)
                refusals += _conflicts(table, found)
            links += _missing_links(table, found or _Found())
            keys += _missing_keys(table, found or _Found())
        steps += [*columns, *links, *keys]
        if _version(solution) < _numbers(SCHEMA_VERSION):
            steps.append(self._publish())
            steps.append(
                Step(
                    sentence=f"record version {SCHEMA_VERSION} on solution {SOLUTION}",
                    method="PATCH",
                    path="solutions",
                    body={"version": SCHEMA_VERSION},
                    headers={"If-Match": "*"},
                )
            )
        elif steps:
            steps.append(self._publish())
        return Plan(steps=tuple(steps), refusals=tuple(refusals))

    def apply(self) -> Plan:
        """Add what is missing and wait until it can be used; returns what was done.

        ConfigurationError when something stands in the way: then nothing is touched.
        """
        plan = self.plan()
        if plan.refusals:
            raise ConfigurationError(
                " ".join(one.sentence for one in plan.refusals),
                hint=plan.refusals[0].hint,
            )
        last = next((i for i, step in enumerate(plan.steps) if step.path == "PublishXml"), None)
        for index, step in enumerate(plan.steps):
            if index == last:
                self._wait_for_keys()
                self._wait_for_columns()
            self._progress(step.sentence)
            try:
                self._do(step)
            except ServiceError as problem:
                # Also where somebody else provisions at the same time: the next plan sees it.
                problem.hint = f"while it should {step.sentence}; apply again, it continues"
                raise
        if last is None:
            self._wait_for_keys()
        return plan

    def _do(self, step: Step) -> None:
        path, body = step.path, step.body
        if path == "solutions" and step.method == "POST":
            publisher = self._first("publishers", PUBLISHER) or {}
            body = {**body, "publisherid@odata.bind": f"publishers({publisher['publisherid']})"}
        elif path == "solutions":
            path = f"solutions({(self._solution() or {})['solutionid']})"
        elif step.method == "PUT":
            # An update is a PUT of the whole definition; PATCH is refused by the platform.
            body = {**self._client.call("GET", path, headers=_STRONG).json(), **body}
        self._client.call(step.method, path, body=body, headers=step.headers)

    # Reading what is there -----------------------------------------------------------------------

    def _first(self, entity_set: str, name: str) -> dict[str, Any] | None:
        columns = {
            "publishers": "publisherid,customizationprefix",
            "solutions": "solutionid,version",
        }[entity_set]
        params = {"$select": columns, "$filter": f"uniquename eq {literal(name)}"}
        rows = self._client.call("GET", entity_set, params=params).json()["value"]
        return rows[0] if rows else None

    def _solution(self) -> dict[str, Any] | None:
        return self._first("solutions", SOLUTION)

    def _look(self, table: Table) -> _Found | None:
        path = _definition(table)
        expand = (
            "Keys($select=SchemaName,KeyAttributes,EntityKeyIndexStatus),"
            "ManyToOneRelationships($select=SchemaName)"
        )
        try:
            definition = self._read(path, {"$select": "LogicalName", "$expand": expand})
        except NotFound:
            return None
        columns = self._read(f"{path}/Attributes")["value"]
        choices: list[dict[str, Any]] = []
        if any(column.kind is Kind.CHOICE for column in table.columns):
            choices = self._read(
                f"{path}/Attributes/{CRM}PicklistAttributeMetadata",
                {"$select": "LogicalName", "$expand": "OptionSet"},
            )["value"]
        return _Found(
            columns={column["LogicalName"]: column for column in columns},
            options={
                choice["LogicalName"]: {o["Value"] for o in choice["OptionSet"]["Options"]}
                for choice in choices
            },
            relationships={
                link["SchemaName"].lower() for link in definition["ManyToOneRelationships"]
            },
            keys={
                key["SchemaName"].lower(): key["EntityKeyIndexStatus"] for key in definition["Keys"]
            },
        )

    def _read(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        return self._client.call("GET", path, params=params, headers=_STRONG).json()

    # Waiting -------------------------------------------------------------------------------------

    def _wait_for_keys(self) -> None:
        """Wait until every key is Active: upserts before that may fail."""
        for table in self._tables:

            def active(table: Table = table) -> bool:
                keys = self._read(f"{_definition(table)}/Keys")["value"]
                states = {key["SchemaName"].lower(): key["EntityKeyIndexStatus"] for key in keys}
                state = states.get(table.key_name.lower())
                if state == "Failed":
                    msg = f"the key {table.key_name} of {table.name} could not be built"
                    hint = "Remove rows with the same external key, then apply again."
                    raise ServiceError(msg, service=SERVICE, hint=hint)
                return state == "Active"

            self._until(active, f"the key {table.key_name} of {table.name} to become active")

    def _wait_for_columns(self) -> None:
        """Wait until rows can be read with every column: the data API caches metadata for 30 s."""
        for table in self._tables:
            columns = [column.name for column in table.columns]
            columns += [lookup.value_property for lookup in table.lookups]
            query = Query(table=table.name, select=columns, top=1)

            def readable(query: Query = query) -> bool:
                try:
                    self._client.read(query)
                except ServiceError as fault:
                    if fault.status in (400, 404):
                        return False
                    raise
                return True

            self._until(readable, f"the columns of {table.name} to be seen")

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        waited, wait = 0.0, 1.0
        while not ready():
            if waited + wait > self._patience:
                msg = f"gave up waiting for {what} after {waited:.0f} s"
                raise ServiceError(msg, service=SERVICE, hint="Apply again later; it continues.")
            self._progress(f"wait for {what}")
            self._sleep(wait)
            waited += wait
            wait = min(2 * wait, 15.0)

    def _publish(self) -> Step:
        names = "".join(f"<entity>{table.name}</entity>" for table in self._tables)
        xml = f"<importexportxml><entities>{names}</entities></importexportxml>"
        return Step(sentence="publish", path="PublishXml", body={"ParameterXml": xml})


def _publishing(
    publisher: Mapping[str, Any] | None, solution: Mapping[str, Any] | None
) -> Iterator[Step]:
    if not publisher:
        yield Step(
            sentence=f"create publisher {PUBLISHER} with prefix {PREFIX.rstrip('_')}",
            path="publishers",
            body={
                "uniquename": PUBLISHER,
                "friendlyname": PUBLISHER_LABEL,
                "customizationprefix": PREFIX.rstrip("_"),
                "customizationoptionvalueprefix": OPTION_PREFIX,
            },
        )
    if not solution:
        yield Step(
            sentence=f"create solution {SOLUTION}",
            path="solutions",
            body={
                "uniquename": SOLUTION,
                "friendlyname": SOLUTION_LABEL,
                "version": UNFINISHED,
            },
        )


def _missing_columns(table: Table, found: _Found) -> Iterator[Step]:
    for column in table.columns:
        there = found.columns.get(column.name)
        if there is None:
            sentence = f"add column {table.name}.{column.name} {type_name(column)}"
            yield _added(sentence, f"{_definition(table)}/Attributes", column_body(column))
        elif _is_narrow(column, there):
            kind = ATTRIBUTE[column.kind]
            yield Step(
                sentence=f"widen column {table.name}.{column.name} to {column.size} characters",
                method="PUT",
                path=f"{_definition(table)}/Attributes(LogicalName={literal(column.name)})"
                f"/{CRM}{kind}AttributeMetadata",
                body={"MaxLength": column.size},
                headers={**_IN_SOLUTION, "MSCRM.MergeLabels": "true"},
            )


def _missing_options(table: Table, found: _Found) -> Iterator[Step]:
    for column in table.columns:
        there = found.columns.get(column.name)
        if there is None or column.kind is not Kind.CHOICE or not _fits(column, there):
            continue
        for value in column.options:
            number, words = column.option(value), option_label(value)
            if number not in found.options.get(column.name, set()):
                yield Step(
                    sentence=f"add option {number} ({words}) to {table.name}.{column.name}",
                    path="InsertOptionValue",
                    body={
                        "EntityLogicalName": table.name,
                        "AttributeLogicalName": column.name,
                        "Value": number,
                        "Label": label(words),
                        "SolutionUniqueName": SOLUTION,
                    },
                    headers=_STRONG,
                )


def _missing_links(table: Table, found: _Found) -> Iterator[Step]:
    for lookup in table.lookups:
        if table.relationship(lookup).lower() not in found.relationships:
            sentence = f"create relationship {table.name}.{lookup.name} to {lookup.target}"
            yield _added(sentence, "RelationshipDefinitions", relationship_body(table, lookup))


def _missing_keys(table: Table, found: _Found) -> Iterator[Step]:
    state = found.keys.get(table.key_name.lower())
    if state is None:
        sentence = f"create key {table.key_name} on {table.name}"
        yield _added(sentence, f"{_definition(table)}/Keys", key_body(table))
    elif state == "Failed":
        yield Step(
            sentence=f"rebuild key {table.key_name} on {table.name}",
            path="ReactivateEntityKey",
            # Parameter names as in Microsoft's list of actions; not tried against the service.
            body={
                "EntityLogicalName": table.name,
                "EntityKeyLogicalName": table.key_name.lower(),
            },
        )


def _conflicts(table: Table, found: _Found) -> Iterator[Finding]:
    for column in table.columns:
        there = found.columns.get(column.name)
        if there is None:
            continue
        if not _fits(column, there):
            is_type, should = found_type_name(there), type_name(column)
            yield _refusal(f"{table.name}.{column.name}", is_type, should)
    for lookup in table.lookups:
        there = found.columns.get(lookup.name)
        missing = table.relationship(lookup).lower() not in found.relationships
        if there is not None and (missing or attribute_of(there) != "Lookup"):
            is_type = found_type_name(there)
            other = f"{is_type} of another relationship" if is_type == "Lookup" else is_type
            yield _refusal(f"{table.name}.{lookup.name}", other, f"Lookup to {lookup.target}")


def _fits(column: Column, there: dict[str, Any]) -> bool:
    """Say whether an existing column can hold what is declared (its length can be widened)."""
    if attribute_of(there) != ATTRIBUTE[column.kind]:
        return False
    if column.kind in (Kind.NUMBER, Kind.MONEY):
        return int(there["Precision"]) >= column.size
    if column.kind in (Kind.DAY, Kind.MOMENT):
        date_only = (there.get("DateTimeBehavior") or {}).get("Value") == "DateOnly"
        return date_only is (column.kind is Kind.DAY)
    return True


def _is_narrow(column: Column, there: dict[str, Any]) -> bool:
    return (
        column.kind in (Kind.TEXT, Kind.MEMO, Kind.JSON)
        and attribute_of(there) == ATTRIBUTE[column.kind]
        and int(there["MaxLength"]) < column.size
    )


def _refusal(record: str, is_now: str, should: str) -> Finding:
    return Finding(
        check="provision.conflict",
        severity=Severity.BLOCK,
        customer_id="",
        record=record,
        sentence=f"{record} is {is_now} and should be {should}.",
        hint="Nothing is changed or removed by itself: correct it in the maker portal.",
    )


def _not_there(table: Table) -> Finding:
    return Finding(
        check="provision.missing",
        severity=Severity.BLOCK,
        customer_id="",
        record=table.name,
        sentence=f"The environment has no table {table.name}, which the projection writes to.",
        hint="Install Dynamics 365 Sales, or switch CSP_PROJECTION off.",
    )


def _added(sentence: str, path: str, body: Any) -> Step:
    return Step(sentence=sentence, path=path, body=body, headers=_IN_SOLUTION)


def _definition(table: Table) -> str:
    return f"EntityDefinitions(LogicalName={literal(table.name)})"


def _version(solution: Mapping[str, Any] | None) -> tuple[int, ...]:
    return _numbers(str(solution["version"])) if solution else ()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
