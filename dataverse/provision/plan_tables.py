"""The steps that make the tables: what is missing of each, and what cannot be had by adding.

Types, shorter lengths, cascade rules and the columns of keys are never changed on what is there:
rows depend on them. What differs is refused, and a person decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataverse.client import literal
from dataverse.provision.environment import Environment, FoundTable, definition
from dataverse.provision.metadata import (
    ATTRIBUTE,
    CRM,
    attribute_of,
    audit_body,
    column_body,
    found_type_name,
    key_body,
    label,
    option_label,
    relationship_body,
    table_body,
    type_name,
)
from dataverse.provision.plan import IN_SOLUTION, STRONG, Part, Step, refusal
from dataverse.schema import EXTERNAL_KEY, PREFIX, Column, Kind, Table
from dataverse.tables import OPTION_PREFIX, PUBLISHER, PUBLISHER_LABEL, SOLUTION, SOLUTION_LABEL
from domain.problems import Finding

UNFINISHED = "0.0.0.1"
"""The solution's version until everything stands."""


def publishing(
    publisher: Mapping[str, Any] | None, solution: Mapping[str, Any] | None
) -> Iterator[Step]:
    """Make the publisher and the solution to which everything belongs."""
    if not publisher:
        yield Step(
            part=Part.SOLUTION,
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
            part=Part.SOLUTION,
            sentence=f"create solution {SOLUTION}",
            path="solutions",
            body=_solution_body,
        )


def _solution_body(environment: Environment) -> dict[str, Any]:
    publisher = environment.publisher() or {}
    return {
        "uniquename": SOLUTION,
        "friendlyname": SOLUTION_LABEL,
        "version": UNFINISHED,
        "publisherid@odata.bind": f"publishers({publisher['publisherid']})",
    }


def table_steps(table: Table, found: FoundTable | None) -> Iterator[Step]:
    """Make what a table lacks; the caller puts the steps of all tables in order."""
    if found is None:
        sentence = f"create table {table.name} ({table.label})"
        yield _added(Part.TABLES, sentence, "EntityDefinitions", table_body(table))
        found = FoundTable(audited=table.audited)
        # Files are no part of a table's first definition: each is asked for by itself.
        yield from _missing_columns(table, table.files, found)
    else:
        yield from _missing_columns(table, (*table.columns, *table.files), found)
        yield from _missing_options(table, found)
    if table.audited and not found.audited:
        yield Step(
            part=Part.AUDITING,
            sentence=f"switch auditing on for {table.name}",
            method="PUT",
            path=definition(table),
            body=_changed(definition(table), {"IsAuditEnabled": audit_body(on=True)}),
            headers={**IN_SOLUTION, "MSCRM.MergeLabels": "true"},
        )
    yield from _missing_links(table, found)
    yield from _missing_keys(table, found)


def _added(part: Part, sentence: str, path: str, body: Any) -> Step:
    return Step(part=part, sentence=sentence, path=path, body=body, headers=IN_SOLUTION)


def _changed(path: str, change: Mapping[str, Any]) -> Any:
    # An update is a PUT of the whole definition; PATCH is refused by the platform.
    return lambda environment: {**environment.read(path), **change}


def _missing_columns(
    table: Table, columns: tuple[Column, ...], found: FoundTable
) -> Iterator[Step]:
    for column in columns:
        there = found.columns.get(column.name)
        if there is None:
            sentence = f"add column {table.name}.{column.name} {type_name(column)}"
            body = column_body(column, audited=table.audited)
            yield _added(Part.COLUMNS, sentence, f"{definition(table)}/Attributes", body)
        elif _is_narrow(column, there):
            kind = ATTRIBUTE[column.kind]
            named = f"{definition(table)}/Attributes(LogicalName={literal(column.name)})"
            path = f"{named}/{CRM}{kind}AttributeMetadata"
            yield Step(
                part=Part.COLUMNS,
                sentence=f"widen column {table.name}.{column.name} to {column.size} characters",
                method="PUT",
                path=path,
                body=_changed(path, {"MaxLength": column.size}),
                headers={**IN_SOLUTION, "MSCRM.MergeLabels": "true"},
            )


def _missing_options(table: Table, found: FoundTable) -> Iterator[Step]:
    for column in table.columns:
        there = found.columns.get(column.name)
        if there is None or column.kind is not Kind.CHOICE or not _fits(column, there):
            continue
        for value in column.options:
            number, words = column.option(value), option_label(value)
            if number not in found.options.get(column.name, set()):
                yield Step(
                    part=Part.CHOICES,
                    sentence=f"add option {number} ({words}) to {table.name}.{column.name}",
                    path="InsertOptionValue",
                    body={
                        "EntityLogicalName": table.name,
                        "AttributeLogicalName": column.name,
                        "Value": number,
                        "Label": label(words),
                        "SolutionUniqueName": SOLUTION,
                    },
                    headers=STRONG,
                )


def _missing_links(table: Table, found: FoundTable) -> Iterator[Step]:
    for lookup in table.lookups:
        if table.relationship(lookup).lower() not in found.relationships:
            sentence = f"create relationship {table.name}.{lookup.name} to {lookup.target}"
            body = relationship_body(table, lookup)
            yield _added(Part.RELATIONSHIPS, sentence, "RelationshipDefinitions", body)


def _missing_keys(table: Table, found: FoundTable) -> Iterator[Step]:
    state, _ = found.keys.get(table.key_name.lower(), (None, ()))
    if state is None:
        sentence = f"create key {table.key_name} on {table.name}"
        yield _added(Part.KEYS, sentence, f"{definition(table)}/Keys", key_body(table))
    elif state == "Failed":
        yield Step(
            part=Part.KEYS,
            sentence=f"rebuild key {table.key_name} on {table.name}",
            path="ReactivateEntityKey",
            # Parameter names as in Microsoft's list of actions; not tried against the service.
            body={
                "EntityLogicalName": table.name,
                "EntityKeyLogicalName": table.key_name.lower(),
            },
        )


def conflicts(table: Table, found: FoundTable) -> Iterator[Finding]:
    """Say what is there and cannot become what is declared by adding alone."""
    for column in (*table.columns, *table.files):
        there = found.columns.get(column.name)
        if there is not None and not _fits(column, there):
            record = f"{table.name}.{column.name}"
            yield refusal(record, found_type_name(there), type_name(column))
    for lookup in table.lookups:
        there = found.columns.get(lookup.name)
        on_delete = found.relationships.get(table.relationship(lookup).lower())
        record = f"{table.name}.{lookup.name}"
        if there is not None and (on_delete is None or attribute_of(there) != "Lookup"):
            is_type = found_type_name(there)
            other = f"{is_type} of another relationship" if is_type == "Lookup" else is_type
            yield refusal(record, other, f"Lookup to {lookup.target}")
        elif on_delete and on_delete != lookup.on_delete:
            yield refusal(record, f"{on_delete} on delete", f"{lookup.on_delete} on delete")
    _, columns = found.keys.get(table.key_name.lower(), ("", (EXTERNAL_KEY,)))
    if columns != (EXTERNAL_KEY,):
        yield refusal(f"key {table.key_name}", f"of {', '.join(columns)}", f"of {EXTERNAL_KEY}")


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
