"""A table as the `Entity.xml` of an unpacked solution: columns, key, settings.

The format is that of SolutionPackager, learnt from public solutions that it unpacked. An import does
not add what is missing: the platform's own columns and settings must stand there as well, or the
table is refused. Choices are local, so they stand inside their column.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from dataverse.provision.metadata import ENGLISH, is_audited, option_label
from dataverse.schema import (
    EXTERNAL_KEY,
    NUMBER_LIMIT,
    WHOLE_LIMIT,
    Column,
    Kind,
    Lookup,
    Table,
)

INTRODUCED = "1.0.0.0"
_SHOWN = "ValidForAdvancedFind|ValidForForm|ValidForGrid"
_MONEY_LIMIT = 922_337_203_685_477
_BASE_PLACES = 4

_TYPE = {
    Kind.TEXT: "nvarchar",
    Kind.MEMO: "ntext",
    Kind.JSON: "ntext",
    Kind.WHOLE: "int",
    Kind.NUMBER: "decimal",
    Kind.MONEY: "money",
    Kind.DAY: "datetime",
    Kind.MOMENT: "datetime",
    Kind.FLAG: "bit",
    Kind.CHOICE: "picklist",
    Kind.FILE: "file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attribute:
    """What every column says of itself."""

    name: str
    """With its capitals; the logical name is in small letters."""
    type: str
    label: str
    description: str = ""
    mask: str = _SHOWN
    required: str = "none"
    create: bool = True
    update: bool = True
    custom: bool = False
    audited: bool = False


def element(parent: ET.Element, tag: str, text: object = "", **attributes: str) -> ET.Element:
    """Add an element with its text."""
    child = ET.SubElement(parent, tag, attributes)
    child.text = str(text) if text != "" else None
    return child


def localized(parent: ET.Element, outer: str, inner: str, text: str) -> None:
    """Add words in the language of the solution."""
    element(element(parent, outer), inner, description=text, languagecode=str(ENGLISH))


def entity_xml(table: Table) -> ET.Element:
    """Return the definition of a table."""
    root = ET.Element("Entity")
    name = element(root, "Name", table.schema_name)
    name.attrib |= {"LocalizedName": table.label, "OriginalName": table.label}
    entity = element(element(root, "EntityInfo"), "entity", Name=table.schema_name)
    localized(entity, "LocalizedNames", "LocalizedName", table.label)
    localized(entity, "LocalizedCollectionNames", "LocalizedCollectionName", table.plural)
    localized(entity, "Descriptions", "Description", table.description)
    written = [*_system_columns(table), *_own_columns(table)]
    attributes = element(entity, "attributes")
    # In the order of their names, as SolutionPackager writes them.
    attributes.extend(sorted(written, key=lambda one: str(one.get("PhysicalName")).lower()))
    _key(entity, table)
    for tag, value in _settings(table).items():
        element(entity, tag, value)
    for tag in ("FormXml", "SavedQueries", "RibbonDiffXml"):
        element(root, tag)
    return root


def _attribute(of: _Attribute) -> tuple[ET.Element, list[ET.Element]]:
    """Return a column and its last elements, which follow what its type adds."""
    root = ET.Element("attribute", PhysicalName=of.name)
    flags = {
        "Type": of.type,
        "Name": of.name.lower(),
        "LogicalName": of.name.lower(),
        "RequiredLevel": of.required,
        "DisplayMask": of.mask,
        "ImeMode": "auto",
        "ValidForUpdateApi": int(of.update),
        "ValidForReadApi": 1,
        "ValidForCreateApi": int(of.create),
        "IsCustomField": int(of.custom),
        "IsAuditEnabled": int(of.audited),
        "IsSecured": 0,
        "IntroducedVersion": INTRODUCED,
        "IsCustomizable": 1,
        "IsRenameable": 1,
        "CanModifySearchSettings": 1,
        "CanModifyRequirementLevelSettings": 1,
        "CanModifyAdditionalSettings": 1,
        "SourceType": 0,
        "IsGlobalFilterEnabled": 0,
        "IsSortableEnabled": 0,
        "CanModifyGlobalFilterSettings": 1,
        "CanModifyIsSortableSettings": 1,
        "IsDataSourceSecret": 0,
        "AutoNumberFormat": "",
        "IsSearchable": 0,
        "IsFilterable": 0,
        "IsRetrievable": 0,
        "IsLocalizable": 0,
    }
    for tag, value in flags.items():
        if value or tag != "DisplayMask":
            element(root, tag, value)
    last = ET.Element("last")
    localized(last, "displaynames", "displayname", of.label)
    localized(last, "Descriptions", "Description", of.description)
    return root, list(last)


def _finished(of: _Attribute, **values: object) -> ET.Element:
    root, last = _attribute(of)
    for tag, value in values.items():
        element(root, tag, value)
    root.extend(last)
    return root


# --- our columns ---------------------------------------------------------------------------------


def _own_columns(table: Table) -> list[ET.Element]:
    found = [_own(table, column) for column in (*table.columns, *table.files)]
    found += [_base(column) for column in table.columns if column.kind is Kind.MONEY]
    return found + [_link(lookup) for lookup in table.lookups]


def _own(table: Table, column: Column) -> ET.Element:
    of = _Attribute(
        name=column.schema_name,
        type=_TYPE[column.kind],
        label=column.label,
        mask=f"PrimaryName|{_SHOWN}" if column.primary else _SHOWN,
        create=column.kind is not Kind.FILE,
        update=column.kind is not Kind.FILE,
        custom=True,
        audited=table.audited and is_audited(column),
    )
    match column.kind:
        case Kind.TEXT:
            form = "url" if column.is_link else "text"
            return _finished(of, Format=form, MaxLength=column.size, Length=2 * column.size)
        case Kind.MEMO | Kind.JSON:
            return _finished(of, Format="textarea", MaxLength=column.size)
        case Kind.WHOLE:
            return _finished(of, Format="none", MinValue=-WHOLE_LIMIT - 1, MaxValue=WHOLE_LIMIT)
        case Kind.NUMBER:
            return _finished(
                of, MinValue=-NUMBER_LIMIT, MaxValue=NUMBER_LIMIT, Accuracy=column.size
            )
        case Kind.MONEY:
            return _money(of, Accuracy=column.size)
        case Kind.DAY:
            # Behaviour 2 is DateOnly, 1 is UserLocal.
            return _finished(of, Format="date", CanChangeDateTimeBehavior=0, Behavior=2)
        case Kind.MOMENT:
            return _finished(of, Format="datetime", CanChangeDateTimeBehavior=1, Behavior=1)
        case Kind.FILE:
            # Kilobytes; the column of the file's name and its link come with it, on their own.
            return _finished(of, MaxValue=column.size)
        case Kind.FLAG:
            options = {1: "Yes", 0: "No"}
            return _with_options(of, table, "bit", options, default=0)
        case Kind.CHOICE:
            options = {column.option(one): option_label(one) for one in column.options}
            default = column.option(column.default) if column.default else -1
            return _with_options(of, table, "picklist", options, default=default)


def _with_options(
    of: _Attribute, table: Table, kind: str, options: dict[int, str], *, default: int
) -> ET.Element:
    root, last = _attribute(of)
    element(root, "AppDefaultValue", default)
    choice = element(root, "optionset", Name=f"{table.name}_{of.name.lower()}")
    element(choice, "OptionSetType", kind)
    element(choice, "IntroducedVersion", INTRODUCED)
    element(choice, "IsCustomizable", 1)
    element(choice, "ExternalTypeName")
    localized(choice, "displaynames", "displayname", of.label)
    localized(choice, "Descriptions", "Description", "")
    listed = element(choice, "options")
    for value, words in options.items():
        one = element(listed, "option", value=str(value), ExternalValue="", IsHidden="0")
        localized(one, "labels", "label", words)
    root.extend(last)
    return root


def _base(column: Column) -> ET.Element:
    of = _Attribute(
        name=f"{column.schema_name}_Base",
        type="money",
        label=f"{column.label} (base)",
        description="The amount in the base currency, as the platform converts it.",
        create=False,
        update=False,
        custom=True,
    )
    return _money(of, Accuracy=_BASE_PLACES, CalculationOf=column.name)


def _money(of: _Attribute, *, Accuracy: int, **values: object) -> ET.Element:  # noqa: N803
    # Source 0: the column's own decimals, whatever an administrator sets for the currency.
    limits = {"MinValue": -_MONEY_LIMIT, "MaxValue": _MONEY_LIMIT}
    return _finished(of, **limits, Accuracy=Accuracy, AccuracySource=0, **values)


def _link(lookup: Lookup) -> ET.Element:
    of = _Attribute(
        name=lookup.schema_name, type="lookup", label=lookup.label, custom=True, audited=False
    )
    return _finished(of, LookupStyle="single", LookupTypes="")


# --- the platform's columns ----------------------------------------------------------------------


def _system_columns(table: Table) -> list[ET.Element]:
    found = [
        _finished(
            _Attribute(
                name=f"{table.schema_name}Id",
                type="primarykey",
                label=table.label,
                description="Identifies the row.",
                mask="ValidForAdvancedFind|RequiredForGrid",
                required="systemrequired",
                update=False,
            )
        )
    ]
    links = {
        "CreatedBy": "Created by",
        "CreatedOnBehalfBy": "Created by (delegate)",
        "ModifiedBy": "Modified by",
        "ModifiedOnBehalfBy": "Modified by (delegate)",
        "OwningBusinessUnit": "Owning business unit",
        "OwningTeam": "Owning team",
        "OwningUser": "Owning user",
    }
    for name, label in links.items():
        hidden = name in {"OwningTeam", "OwningUser"}
        of = _fixed(name, "lookup", label, mask="" if hidden else _SHOWN)
        found.append(_finished(of, LookupStyle="single", LookupTypes=""))
    for name, label in {"CreatedOn": "Created on", "ModifiedOn": "Modified on"}.items():
        of = _fixed(name, "datetime", label)
        found.append(_finished(of, Format="datetime", CanChangeDateTimeBehavior=0, Behavior=1))
    of = _Attribute(
        name="OverriddenCreatedOn",
        type="datetime",
        label="Record created on",
        mask="ValidForAdvancedFind|ValidForGrid",
        update=False,
    )
    found.append(_finished(of, Format="date", CanChangeDateTimeBehavior=0, Behavior=1))
    numbers = {
        "ImportSequenceNumber": (
            "Import sequence number",
            "ValidForAdvancedFind",
            -WHOLE_LIMIT - 1,
        ),
        "TimeZoneRuleVersionNumber": ("Time zone rule version number", "", -1),
        "UTCConversionTimeZoneCode": ("UTC conversion time zone code", "", -1),
    }
    for name, (label, mask, least) in numbers.items():
        of = _Attribute(
            name=name, type="int", label=label, mask=mask, update=name != "ImportSequenceNumber"
        )
        found.append(_finished(of, Format="", MinValue=least, MaxValue=WHOLE_LIMIT))
    found += [_owner(), _state(table), _status(table)]
    if table.has_money:
        currency = _Attribute(name="TransactionCurrencyId", type="lookup", label="Currency")
        found.append(_finished(currency, LookupStyle="single", LookupTypes=""))
        rate = _fixed("ExchangeRate", "decimal", "Exchange rate")
        limits = {"MinValue": "0.0000000001", "MaxValue": NUMBER_LIMIT}
        found.append(_finished(rate, **limits, Accuracy=12))
    return found


def _fixed(name: str, kind: str, label: str, *, mask: str = _SHOWN) -> _Attribute:
    """Return a column that only the platform writes."""
    return _Attribute(name=name, type=kind, label=label, mask=mask, create=False, update=False)


def _owner() -> ET.Element:
    root, last = _attribute(
        _Attribute(name="OwnerId", type="owner", label="Owner", required="systemrequired")
    )
    element(root, "LookupStyle", "single")
    types = element(root, "LookupTypes")
    for code in (8, 9):  # user, team
        element(types, "LookupType", code, id="00000000-0000-0000-0000-000000000000")
    root.extend(last)
    return root


def _state(table: Table) -> ET.Element:
    of = _Attribute(
        name="statecode", type="state", label="Status", required="systemrequired", create=False
    )
    root, last = _attribute(of)
    choice = element(root, "optionset", Name=f"{table.name}_statecode")
    element(choice, "OptionSetType", "state")
    element(choice, "IntroducedVersion", INTRODUCED)
    element(choice, "IsCustomizable", 1)
    localized(choice, "displaynames", "displayname", of.label)
    localized(choice, "Descriptions", "Description", "")
    states = element(choice, "states")
    for value, status, words in ((0, 1, "Active"), (1, 2, "Inactive")):
        one = element(
            states, "state", value=str(value), defaultstatus=str(status), invariantname=words
        )
        localized(one, "labels", "label", words)
    root.extend(last)
    return root


def _status(table: Table) -> ET.Element:
    of = _Attribute(name="statuscode", type="status", label="Status reason")
    root, last = _attribute(of)
    choice = element(root, "optionset", Name=f"{table.name}_statuscode")
    element(choice, "OptionSetType", "status")
    element(choice, "IntroducedVersion", INTRODUCED)
    element(choice, "IsCustomizable", 1)
    localized(choice, "displaynames", "displayname", of.label)
    localized(choice, "Descriptions", "Description", "")
    statuses = element(choice, "statuses")
    for value, state, words in ((1, 0, "Active"), (2, 1, "Inactive")):
        localized(
            element(statuses, "status", value=str(value), state=str(state)),
            "labels",
            "label",
            words,
        )
    root.extend(last)
    return root


# --- the rest of a table -------------------------------------------------------------------------


def _key(entity: ET.Element, table: Table) -> None:
    key = element(element(entity, "EntityKeys"), "EntityKey")
    element(key, "Name", table.key_name)
    element(key, "LogicalName", table.key_name.lower())
    element(key, "IntroducedVersion", INTRODUCED)
    element(key, "IsCustomizable", 1)
    element(element(key, "EntityKeyAttributes"), "AttributeName", EXTERNAL_KEY)
    localized(key, "displaynames", "displayname", "External key")


def collection_name(table: Table) -> str:
    """Return the name of a table's collection, by the platform's rule for plurals."""
    name = table.name
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "z", "ch", "sh")) else f"{name}s"


def _settings(table: Table) -> dict[str, object]:
    return {
        "EntitySetName": collection_name(table),
        "IsDuplicateCheckSupported": 0,
        "IsBusinessProcessEnabled": 0,
        "IsRequiredOffline": 0,
        "IsInteractionCentricEnabled": 0,
        "IsCollaboration": 0,
        "AutoRouteToOwnerQueue": 0,
        "IsConnectionsEnabled": 0,
        "IsDocumentManagementEnabled": 0,
        "AutoCreateAccessTeams": 0,
        "IsOneNoteIntegrationEnabled": 0,
        "IsKnowledgeManagementEnabled": 0,
        "IsSLAEnabled": 0,
        "IsDocumentRecommendationsEnabled": 0,
        "IsBPFEntity": 0,
        "OwnershipTypeMask": "UserOwned",
        "IsAuditEnabled": int(table.audited),
        "IsRetrieveAuditEnabled": 0,
        "IsRetrieveMultipleAuditEnabled": 0,
        "IsActivity": 0,
        "ActivityTypeMask": "",
        "IsActivityParty": 0,
        "IsReplicated": 0,
        "IsReplicationUserFiltered": 0,
        "IsMailMergeEnabled": 0,
        "IsVisibleInMobile": 0,
        "IsVisibleInMobileClient": 0,
        "IsReadOnlyInMobileClient": 0,
        "IsOfflineInMobileClient": 0,
        "DaysSinceRecordLastModified": 0,
        "MobileOfflineFilters": "",
        "IsMapiGridEnabled": 1,
        "IsReadingPaneEnabled": 1,
        "IsQuickCreateEnabled": 0,
        "SyncToExternalSearchIndex": 0,
        "IntroducedVersion": INTRODUCED,
        "IsCustomizable": 1,
        "IsRenameable": 1,
        "IsMappable": 1,
        "CanModifyAuditSettings": 1,
        "CanModifyMobileVisibility": 1,
        "CanModifyMobileClientVisibility": 1,
        "CanModifyMobileClientReadOnly": 1,
        "CanModifyMobileClientOffline": 1,
        "CanModifyConnectionSettings": 1,
        "CanModifyDuplicateDetectionSettings": 1,
        "CanModifyMailMergeSettings": 1,
        "CanModifyQueueSettings": 1,
        "CanCreateAttributes": 1,
        "CanCreateForms": 1,
        "CanCreateCharts": 1,
        "CanCreateViews": 1,
        "CanModifyAdditionalSettings": 1,
        "CanEnableSyncToExternalSearchIndex": 1,
        "EnforceStateTransitions": 0,
        "CanChangeHierarchicalRelationship": 1,
        "EntityHelpUrlEnabled": 0,
        "ChangeTrackingEnabled": 1,
        "CanChangeTrackingBeEnabled": 1,
        "IsEnabledForExternalChannels": 0,
        "IsMSTeamsIntegrationEnabled": 0,
        "IsSolutionAware": 0,
    }
