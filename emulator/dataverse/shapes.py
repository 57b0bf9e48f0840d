"""The JSON shapes of metadata: a client's definition completed with what the platform derives.

Defaults, limits, logical names, entity set names, system columns, cascade rules. Pure: nothing is
stored here. Where Microsoft documents a list only in part it is by recollection, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from emulator.dataverse import errors
from emulator.dataverse.schema import CRM, Definition, Table, kind_of, label

GlobalChoice = Callable[[str], Definition]
_CUSTOM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{1,7}_\w+")
_BILLION = Decimal(100_000_000_000)
_LIMITS: dict[str, Definition] = {
    "String": {"MaxLength": 100, "FormatName": {"Value": "Text"}, "Format": "Text"},
    "Memo": {"MaxLength": 2000, "Format": "TextArea"},
    "Integer": {"MinValue": -2_147_483_648, "MaxValue": 2_147_483_647, "Format": "None"},
    "BigInt": {"MinValue": -9_223_372_036_854_775_808, "MaxValue": 9_223_372_036_854_775_807},
    "Decimal": {"Precision": 2, "MinValue": -_BILLION, "MaxValue": _BILLION},
    "Double": {"Precision": 2, "MinValue": -_BILLION, "MaxValue": _BILLION},
    "Money": {
        "PrecisionSource": 2,
        "Precision": 2,
        "MinValue": Decimal(-922_337_203_685_477),
        "MaxValue": Decimal(922_337_203_685_477),
    },
    "DateTime": {"Format": "DateAndTime", "DateTimeBehavior": {"Value": "UserLocal"}},
    "Boolean": {"DefaultValue": False},
    "Picklist": {"DefaultFormValue": -1},
    "MultiSelectPicklist": {},
    "State": {},
    "Status": {},
    "File": {"MaxSizeInKB": 32_768},
    "Lookup": {"Targets": []},
    "Uniqueidentifier": {},
}
_VIRTUAL = {"MultiSelectPicklist", "File"}
_RANGES = {
    ("String", "MaxLength"): (1, 4000),
    ("Memo", "MaxLength"): (1, 1_048_576),
    ("Decimal", "Precision"): (0, 10),
    ("Double", "Precision"): (0, 5),
    ("Money", "Precision"): (0, 4),
    ("File", "MaxSizeInKB"): (1, 10_485_760),
}


def plural(name: str) -> str:
    """The entity set name that the platform derives from a logical name."""
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("s", "x", "z", "ch", "sh")) else "s")


def column(kind: str, name: str, /, *, custom: bool = False, **properties: Any) -> Definition:
    """A column definition in the Web API's shape, for columns that the platform itself makes."""
    return {
        "@odata.type": f"#{CRM}{kind}AttributeMetadata",
        "SchemaName": name,
        "IsCustomAttribute": custom,
        **properties,
    }


def choice_options(options: dict[int, str], states: dict[int, int] | None = None) -> Definition:
    """An OptionSet; `states` maps a status to its state."""
    items: list[Definition] = []
    for value, text in options.items():
        item: Definition = {"Value": value, "Label": label(text)}
        if states is not None:
            item["State"] = states[value]
        items.append(item)
    return {"IsGlobal": False, "OptionSetType": "Picklist", "Options": items}


def system_columns(logical: str, primary_id: str, *, owned: bool) -> list[Definition]:
    """What the platform adds to a table [list by recollection, not documented in one place]."""
    fixed: Definition = {"IsValidForCreate": False, "IsValidForUpdate": False}
    user: Definition = {"Targets": ["systemuser"]} | fixed
    result = [
        column("Uniqueidentifier", primary_id, IsPrimaryId=True, IsValidForUpdate=False),
        column("DateTime", "createdon", **fixed),
        column("DateTime", "modifiedon", **fixed),
        column("Lookup", "createdby", **user),
        column("Lookup", "modifiedby", **user),
        column("Lookup", "createdonbehalfby", **user),
        column("Lookup", "modifiedonbehalfby", **user),
        column("BigInt", "versionnumber", **fixed),
        column("Integer", "importsequencenumber", IsValidForUpdate=False),
        column("DateTime", "overriddencreatedon", Format="DateOnly", IsValidForUpdate=False),
        column("Integer", "timezoneruleversionnumber"),
        column("Integer", "utcconversiontimezonecode"),
        column("State", "statecode", OptionSet=choice_options({0: "Active", 1: "Inactive"})),
        column(
            "Status",
            "statuscode",
            OptionSet=choice_options({1: "Active", 2: "Inactive"}, {1: 0, 2: 1}),
        ),
    ]
    if owned:
        result += [
            column("Lookup", "ownerid", AttributeType="Owner", Targets=["systemuser", "team"]),
            column("Lookup", "owningbusinessunit", Targets=["businessunit"], **fixed),
            column("Lookup", "owninguser", **user),
            column("Lookup", "owningteam", Targets=["team"], **fixed),
        ]
    for definition in result:
        definition["EntityLogicalName"] = logical
    return result


def complete_table(body: Definition, name: str, primary_name: str, *, custom: bool) -> Definition:
    """A table's definition with its derived names."""
    logical = name.lower()
    entity_set = body.get("EntitySetName") or plural(logical)
    standard: Definition = {
        "Description": label(""),
        "DisplayName": label(name),
        "DisplayCollectionName": label(entity_set),
        "OwnershipType": "UserOwned",
        "HasActivities": False,
        "HasNotes": False,
        "IsActivity": False,
        "IsPrivate": False,
        "IsManaged": False,
        "ChangeTrackingEnabled": False,
        "IsOptimisticConcurrencyEnabled": True,
        "IsCustomizable": {"Value": custom, "CanBeChanged": True},
        "PrimaryIdAttribute": f"{logical}id",
    }
    given = {k: labelled(v) for k, v in body.items() if k != "Attributes" and v is not None}
    return {
        **standard,
        **given,
        "@odata.type": f"#{CRM}EntityMetadata",
        "SchemaName": name,
        "LogicalName": logical,
        "LogicalCollectionName": entity_set,
        "CollectionSchemaName": plural(name),
        "EntitySetName": entity_set,
        "PrimaryNameAttribute": primary_name,
        "IsCustomEntity": custom,
    }


def complete_column(
    table: Table, body: Definition, *, custom: bool, global_choice: GlobalChoice
) -> Definition:
    """A column's definition with defaults and limits; `global_choice` finds a shared choice."""
    kind = kind_of(body)
    if kind not in _LIMITS:
        raise errors.invalid_argument(f"Attribute type '{body.get('@odata.type')}' is unknown.")
    name = schema_name(body, custom=custom)
    standard: Definition = {
        "SchemaName": name,
        "LogicalName": name.lower(),
        "EntityLogicalName": table.logical,
        "AttributeType": kind,
        "AttributeTypeName": {"Value": f"{kind}Type"},
        "AttributeOf": None,
        "ColumnNumber": len(table.columns) + 1,
        "DisplayName": label(name),
        "Description": label(""),
        "IsCustomAttribute": custom,
        "IsPrimaryId": False,
        "IsPrimaryName": False,
        "IsValidForCreate": kind != "File",
        "IsValidForRead": True,
        "IsValidForUpdate": kind != "File",
        "IsManaged": False,
        "RequiredLevel": _required("None"),
    }
    given = {k: labelled(v) for k, v in body.items()}
    definition = standard | _LIMITS[kind] | {k: v for k, v in given.items() if v is not None}
    definition["LogicalName"] = name.lower()
    if kind in _VIRTUAL:
        definition["AttributeType"] = "Virtual"
    definition["@odata.type"] = f"#{CRM}{kind}AttributeMetadata"
    if kind == "Boolean" and not definition.get("OptionSet"):
        definition["OptionSet"] = {
            "TrueOption": {"Value": 1, "Label": label("Yes")},
            "FalseOption": {"Value": 0, "Label": label("No")},
            "OptionSetType": "Boolean",
        }
    if kind in ("Picklist", "MultiSelectPicklist"):
        definition["OptionSet"] = complete_options(definition, global_choice)
    check_ranges(kind, definition)
    return definition


def complete_options(definition: Definition, global_choice: GlobalChoice) -> Definition:
    """The OptionSet of a choice column, its own or a shared one."""
    reference = definition.pop("GlobalOptionSet@odata.bind", None)
    if reference is not None:
        return global_choice(str(reference).split("(", 1)[-1].rstrip(")"))
    options = dict(definition.get("OptionSet") or {})
    items = [dict(item) for item in options.get("Options", ())]
    if not items:
        raise errors.invalid_argument("A choice column needs an OptionSet with Options.")
    for position, item in enumerate(items):
        item["Label"] = labelled(item.get("Label"))
        if item.get("Value") is None:
            item["Value"] = 100_000_000 + position
    if len({item["Value"] for item in items}) != len(items):
        raise errors.invalid_argument("An option value occurs twice.")
    return {"IsGlobal": False, "OptionSetType": "Picklist", **options, "Options": items}


def one_to_many(
    body: Definition, name: str, parent: Table, child: Table, lookup: str, *, custom: bool
) -> Definition:
    """A one-to-many relationship; navigation properties default to lookup and relationship name."""
    keep = dict.fromkeys(("Assign", "Merge", "Reparent", "Share", "Unshare"), "NoCascade")
    cascade = {**keep, "Delete": "RemoveLink", **(body.get("CascadeConfiguration") or {})}
    child_nav = body.get("ReferencingEntityNavigationPropertyName") or lookup
    parent_nav = body.get("ReferencedEntityNavigationPropertyName") or name
    return {
        "IsCustomRelationship": custom,
        "IsValidForAdvancedFind": True,
        "RelationshipType": "OneToManyRelationship",
        **{k: v for k, v in body.items() if k != "Lookup"},
        "@odata.type": f"#{CRM}OneToManyRelationshipMetadata",
        "SchemaName": name,
        "ReferencedEntity": parent.logical,
        "ReferencedAttribute": parent.primary_id,
        "ReferencingEntity": child.logical,
        "ReferencingAttribute": lookup.lower(),
        "ReferencingEntityNavigationPropertyName": child_nav,
        "ReferencedEntityNavigationPropertyName": parent_nav,
        "CascadeConfiguration": cascade,
    }


def many_to_many(
    body: Definition, name: str, first: Table, second: Table, *, custom: bool
) -> Definition:
    """A many-to-many relationship; both navigation properties default to its name."""
    return {
        "IsCustomRelationship": custom,
        "RelationshipType": "ManyToManyRelationship",
        **body,
        "@odata.type": f"#{CRM}ManyToManyRelationshipMetadata",
        "SchemaName": name,
        "IntersectEntityName": str(body.get("IntersectEntityName") or name).lower(),
        "Entity1LogicalName": first.logical,
        "Entity2LogicalName": second.logical,
        "Entity1NavigationPropertyName": body.get("Entity1NavigationPropertyName") or name,
        "Entity2NavigationPropertyName": body.get("Entity2NavigationPropertyName") or name,
    }


def schema_name(body: Definition, *, custom: bool) -> str:
    """The SchemaName; a custom one must carry a publisher's prefix."""
    name = str(body.get("SchemaName") or "")
    if not name or (custom and not _CUSTOM_NAME.fullmatch(name)):
        raise errors.invalid_argument(
            f"The schema name '{name}' must begin with the customization prefix of a publisher."
        )
    return name


def _required(level: str) -> Definition:
    name = "canmodifyrequirementlevelsettings"
    return {"Value": level, "CanBeChanged": True, "ManagedPropertyLogicalName": name}


def labelled(value: Any) -> Any:
    """A Label that arrives from a client lacks the UserLocalizedLabel that reads return."""
    if isinstance(value, dict) and value.get("LocalizedLabels"):
        return {**value, "UserLocalizedLabel": value["LocalizedLabels"][0]}
    return value


def check_ranges(kind: str, definition: Definition) -> None:
    """Refuse lengths and precisions that the platform does not have."""
    for name in ("MinValue", "MaxValue"):
        if not isinstance(definition.get(name, 0), int | Decimal):
            raise errors.invalid_argument(f"{name} of {definition['SchemaName']} is no number.")
    for (of_kind, name), (low, high) in _RANGES.items():
        system = definition.get("IsCustomAttribute") is False  # exchangerate has 12 decimals
        if of_kind == kind and not system and not low <= int(definition[name]) <= high:
            raise errors.invalid_argument(
                f"{name} of {definition['SchemaName']} must lie between {low} and {high}."
            )
