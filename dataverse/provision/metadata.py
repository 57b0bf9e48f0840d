"""Declared tables as the JSON of the metadata API, and how a declared column is named to people.

The forms are those of Microsoft's documentation of EntityMetadata, the AttributeMetadata types,
OneToManyRelationshipMetadata and EntityKeyMetadata.
"""

from __future__ import annotations

from typing import Any

from dataverse.schema import EXTERNAL_KEY, UNAUDITED, Column, Kind, Lookup, Table

CRM = "Microsoft.Dynamics.CRM."
ENGLISH = 1033

ATTRIBUTE = {
    Kind.TEXT: "String",
    Kind.MEMO: "Memo",
    Kind.JSON: "Memo",
    Kind.WHOLE: "Integer",
    Kind.NUMBER: "Decimal",
    Kind.MONEY: "Money",
    Kind.DAY: "DateTime",
    Kind.MOMENT: "DateTime",
    Kind.FLAG: "Boolean",
    Kind.CHOICE: "Picklist",
    Kind.FILE: "File",
}
"""The platform's type of each kind of column."""


def label(text: str) -> dict[str, Any]:
    """Return a label in the language that every environment of ours is provisioned in."""
    localized = {"@odata.type": f"{CRM}LocalizedLabel", "Label": text, "LanguageCode": ENGLISH}
    return {"@odata.type": f"{CRM}Label", "LocalizedLabels": [localized]}


def type_name(column: Column) -> str:
    """Name a column's type as a plan shows it: `Money(2)`."""
    if column.kind in (Kind.TEXT, Kind.NUMBER, Kind.MONEY):
        return f"{column.kind.value}({column.size})"
    return column.kind.value


def found_type_name(definition: dict[str, Any]) -> str:
    """Name the type of a column that an environment has, in the same words."""
    found = attribute_of(definition)
    behaviour = (definition.get("DateTimeBehavior") or {}).get("Value", "")
    words = {"Memo": "Multi-line text", "Integer": "Whole number"}
    words |= {"Boolean": "Yes/No", "Picklist": "Choice"}
    if found == "String":
        return f"Text({definition.get('MaxLength')})"
    if found in ("Decimal", "Money"):
        return f"{found}({definition.get('Precision')})"
    if found == "DateTime":
        return "Date only" if behaviour == "DateOnly" else f"Date and time ({behaviour})"
    return words.get(found, found)


def attribute_of(definition: dict[str, Any]) -> str:
    """Return the platform's type of a column: `String` of `#...StringAttributeMetadata`."""
    return str(definition["@odata.type"]).rsplit(".", 1)[-1].removesuffix("AttributeMetadata")


def table_body(table: Table) -> dict[str, Any]:
    """Return the definition of a table with all its columns: one request instead of thirty."""
    return {
        "@odata.type": f"{CRM}EntityMetadata",
        "SchemaName": table.schema_name,
        "DisplayName": label(table.label),
        "DisplayCollectionName": label(table.plural),
        "Description": label(table.description),
        "OwnershipType": "UserOwned",
        "IsActivity": False,
        "HasActivities": False,
        "HasNotes": True,
        "ChangeTrackingEnabled": True,
        "IsAuditEnabled": audit_body(on=table.audited),
        "Attributes": [column_body(column, audited=table.audited) for column in table.columns],
    }


def audit_body(*, on: bool) -> dict[str, Any]:
    """Return the managed property that says whether changes are kept in the audit."""
    name = "canmodifyauditsettings"
    return {"Value": on, "CanBeChanged": True, "ManagedPropertyLogicalName": name}


def column_body(column: Column, *, audited: bool = False) -> dict[str, Any]:
    """Return the definition of a column of an audited table, or of another."""
    kind = ATTRIBUTE[column.kind]
    body: dict[str, Any] = {
        "@odata.type": f"{CRM}{kind}AttributeMetadata",
        # A file is stored elsewhere: its column is virtual, and has no value of its own to audit.
        "AttributeType": "Virtual" if column.kind is Kind.FILE else kind,
        "AttributeTypeName": {"Value": f"{kind}Type"},
        "SchemaName": column.schema_name,
        "DisplayName": label(column.label),
        "IsAuditEnabled": audit_body(on=audited and is_audited(column)),
        "RequiredLevel": {
            "Value": "None",
            "CanBeChanged": True,
            "ManagedPropertyLogicalName": "canmodifyrequirementlevelsettings",
        },
    }
    match column.kind:
        case Kind.TEXT:
            body |= {
                "MaxLength": column.size,
                "FormatName": {"Value": "Url" if column.is_link else "Text"},
            }
            if column.primary:
                body["IsPrimaryName"] = True
        case Kind.MEMO | Kind.JSON:
            body |= {"MaxLength": column.size, "Format": "TextArea"}
        case Kind.WHOLE:
            body |= {"Format": "None"}
        case Kind.NUMBER:
            body |= {"Precision": column.size}
        case Kind.MONEY:
            # Source 0: the column's own decimals, whatever an administrator sets for the currency.
            body |= {"PrecisionSource": 0, "Precision": column.size}
        case Kind.DAY:
            # The format alone would leave UserLocal, and time zones would shift billing dates.
            body |= {"Format": "DateOnly", "DateTimeBehavior": {"Value": "DateOnly"}}
        case Kind.MOMENT:
            body |= {"Format": "DateAndTime", "DateTimeBehavior": {"Value": "UserLocal"}}
        case Kind.FLAG:
            body |= {
                "DefaultValue": False,
                "OptionSet": {
                    "@odata.type": f"{CRM}BooleanOptionSetMetadata",
                    "OptionSetType": "Boolean",
                    "TrueOption": {"Value": 1, "Label": label("Yes")},
                    "FalseOption": {"Value": 0, "Label": label("No")},
                },
            }
        case Kind.FILE:
            body |= {"MaxSizeInKB": column.size}
        case Kind.CHOICE:
            body |= {
                "OptionSet": {
                    "@odata.type": f"{CRM}OptionSetMetadata",
                    "IsGlobal": False,
                    "OptionSetType": "Picklist",
                    "Options": [
                        {"Value": column.option(value), "Label": label(option_label(value))}
                        for value in column.options
                    ],
                }
            }
            if column.default:
                body["DefaultFormValue"] = column.option(column.default)
    return body


def is_audited(column: Column) -> bool:
    """Say whether a column of an audited table is audited."""
    return column.name not in UNAUDITED and column.kind is not Kind.FILE


def option_label(value: str) -> str:
    """Return what a person reads for an option: `Credit note` for `credit_note`."""
    return value.replace("_", " ").capitalize()


def relationship_body(table: Table, lookup: Lookup) -> dict[str, Any]:
    """Return the definition of a lookup: a one-to-many relationship seen from its child."""
    cascade = dict.fromkeys(("Assign", "Merge", "Reparent", "Share", "Unshare"), "NoCascade")
    return {
        "@odata.type": f"{CRM}OneToManyRelationshipMetadata",
        "SchemaName": table.relationship(lookup),
        "ReferencedEntity": lookup.target,
        "ReferencedAttribute": f"{lookup.target}id",
        "ReferencingEntity": table.name,
        "CascadeConfiguration": {**cascade, "Delete": lookup.on_delete},
        "AssociatedMenuConfiguration": {
            "Behavior": "UseCollectionName",
            "Group": "Details",
            "Label": label(table.plural),
            "Order": 10000,
        },
        "Lookup": {
            "@odata.type": f"{CRM}LookupAttributeMetadata",
            "AttributeType": "Lookup",
            "AttributeTypeName": {"Value": "LookupType"},
            "SchemaName": lookup.schema_name,
            "DisplayName": label(lookup.label),
            "RequiredLevel": {"Value": "None"},
        },
    }


def key_body(table: Table) -> dict[str, Any]:
    """Return the definition of the alternate key."""
    return {
        "SchemaName": table.key_name,
        "KeyAttributes": [EXTERNAL_KEY],
        "DisplayName": label("External key"),
    }
