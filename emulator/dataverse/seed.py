"""What every environment holds before anyone works in it: standard tables and a few rows.

The tables are a plausible subset of the real columns, written as one line each. A column is
`name:Kind[:argument]`; the argument is a length, a precision (of Money: its source), options `1=Text|2=Text`, or for a
lookup its `target=Relationship` pairs. To add a table, add a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emulator.dataverse import security
from emulator.dataverse.definitions import Definitions
from emulator.dataverse.rows import Rows
from emulator.dataverse.schema import CRM, label
from emulator.dataverse.shapes import choice_options, column


@dataclass(frozen=True, slots=True)
class Standard:
    """One table that the platform brings along."""

    schema_name: str
    entity_set: str
    otc: int
    columns: str  # the first is the primary name
    owned: bool = False
    primary_id: str = ""


_STANDARD = (
    Standard(
        "Organization",
        "organizations",
        1019,
        "name:String:160 basecurrencyid:Lookup:transactioncurrency=basecurrency_organization "
        "pricingdecimalprecision:Integer currencydecimalprecision:Integer "
        "expirechangetrackingindays:Integer oobpricecalculationenabled:Boolean languagecode:Integer "
        "maxuploadfilesize:Integer isauditenabled:Boolean",
    ),
    Standard(
        "TransactionCurrency",
        "transactioncurrencies",
        9105,
        "currencyname:String:100 isocurrencycode:String:5 currencysymbol:String:13 "
        "exchangerate:Decimal:10 currencyprecision:Integer",
    ),
    Standard(
        "BusinessUnit",
        "businessunits",
        10,
        "name:String:160 parentbusinessunitid:Lookup:businessunit=business_unit_parent_business_unit "
        "isdisabled:Boolean",
    ),
    Standard(
        "SystemUser",
        "systemusers",
        8,
        "fullname:String:200 domainname:String:1024 internalemailaddress:String:100 "
        "applicationid:Uniqueidentifier azureactivedirectoryobjectid:Uniqueidentifier "
        "accessmode:Integer isdisabled:Boolean "
        "businessunitid:Lookup:businessunit=business_unit_system_users",
    ),
    Standard(
        "Team", "teams", 9, "name:String:160 businessunitid:Lookup:businessunit=business_unit_teams"
    ),
    Standard(
        "Role",
        "roles",
        1036,
        "name:String:100 description:Memo:2000 "
        "businessunitid:Lookup:businessunit=business_unit_roles "
        "parentroleid:Lookup:role=role_parent_role",
    ),
    Standard(
        "Privilege",
        "privileges",
        1023,
        "name:String:100 accessright:Integer canbebasic:Boolean canbelocal:Boolean "
        "canbedeep:Boolean canbeglobal:Boolean",
    ),
    # The service's table has no name; a table here must have one, so it shows the privilege's.
    Standard(
        "RolePrivileges",
        "roleprivilegescollection",
        12,
        "name:String:100 roleid:Uniqueidentifier privilegeid:Uniqueidentifier "
        "privilegedepthmask:Integer",
        primary_id="roleprivilegeid",
    ),
    Standard(
        "Contact",
        "contacts",
        2,
        "fullname:String:160 firstname:String:50 lastname:String:50 emailaddress1:String:100 "
        "telephone1:String:50 jobtitle:String:100 description:Memo:2000 birthdate:DateOnly "
        "address1_line1:String:250 address1_city:String:80 address1_country:String:80",
        owned=True,
    ),
    Standard(
        "Account",
        "accounts",
        1,
        "name:String:160 accountnumber:String:20 telephone1:String:50 emailaddress1:String:100 "
        "websiteurl:String:200 description:Memo:2000 creditonhold:Boolean revenue:Money creditlimit:Money "
        "numberofemployees:Integer accountcategorycode:Picklist:1=Preferred_Customer|2=Standard "
        "paymenttermscode:Picklist:1=Net_30|2=2%_10,_Net_30|3=Net_45|4=Net_60 "
        "address1_line1:String:250 address1_line2:String:250 address1_city:String:80 "
        "address1_stateorprovince:String:50 address1_postalcode:String:20 address1_country:String:80 "
        "address1_latitude:Double:5 address1_longitude:Double:5 "
        "primarycontactid:Lookup:contact=account_primary_contact "
        "parentaccountid:Lookup:account=account_parent_account",
        owned=True,
    ),
    Standard(
        "Task",
        "tasks",
        4212,
        "subject:String:200 description:Memo:2000 scheduledend:DateTime "
        "regardingobjectid:Lookup:account=Account_Tasks|contact=Contact_Tasks",
        owned=True,
        primary_id="activityid",
    ),
    Standard(
        "Publisher",
        "publishers",
        7101,
        "friendlyname:String:256 uniquename:String:256 customizationprefix:String:8 "
        "customizationoptionvalueprefix:Integer description:Memo:2000 isreadonly:Boolean",
    ),
    Standard(
        "Solution",
        "solutions",
        7100,
        "friendlyname:String:256 uniquename:String:65 version:String:256 description:Memo:2000 "
        "ismanaged:Boolean isvisible:Boolean publisherid:Lookup:publisher=publisher_solution",
    ),
    Standard(
        "SolutionComponent",
        "solutioncomponents",
        7103,
        "name:String:100 objectid:Uniqueidentifier componenttype:Integer "
        "solutionid:Lookup:solution=solution_solutioncomponent",
    ),
    Standard(
        "SavedQuery",
        "savedqueries",
        1039,
        "name:String:200 returnedtypecode:String:64 querytype:Integer isdefault:Boolean "
        "isquickfindquery:Boolean componentstate:Integer description:Memo:2000 fetchxml:Memo:1048576 layoutxml:Memo:1048576",
    ),
    Standard(
        "SystemForm",
        "systemforms",
        1030,
        "name:String:100 objecttypecode:String:64 type:Integer description:Memo:2000 "
        "isdefault:Boolean formactivationstate:Integer componentstate:Integer "
        "formxml:Memo:1048576",
        primary_id="formid",
    ),
    Standard(
        "SiteMap",
        "sitemaps",
        4709,
        "sitemapname:String:256 sitemapnameunique:String:100 sitemapxml:Memo:1048576 "
        "isappaware:Boolean componentstate:Integer",
    ),
    Standard(
        "AppModule",
        "appmodules",
        9006,
        "name:String:100 uniquename:String:100 description:Memo:2000 clienttype:Integer "
        "webresourceid:Uniqueidentifier appmoduleidunique:Uniqueidentifier componentstate:Integer "
        "publisherid:Lookup:publisher=publisher_appmodule",
    ),
    Standard(
        "AppModuleComponent",
        "appmodulecomponents",
        9007,
        "name:String:100 objectid:Uniqueidentifier componenttype:Integer "
        "appmoduleidunique:Lookup:appmodule=appmodule_appmodulecomponent",
    ),
    Standard(
        "AsyncOperation",
        "asyncoperations",
        4700,
        "name:String:256 operationtype:Integer message:Memo:1048576 "
        "statecode:State:0=Ready|1=Suspended|2=Locked|3=Completed "
        "statuscode:Status:0=Waiting_For_Resources>0|20=In_Progress>2|30=Succeeded>3|31=Failed>3",
    ),
    Standard("SdkMessage", "sdkmessages", 4606, "name:String:256"),
    Standard(
        "SdkMessageFilter",
        "sdkmessagefilters",
        4607,
        "name:String:256 primaryobjecttypecode:String:64 "
        "sdkmessageid:Lookup:sdkmessage=sdkmessageid_sdkmessagefilter",
    ),
    Standard(
        "ServiceEndpoint",
        "serviceendpoints",
        4618,
        "name:String:160 path:String:160 url:String:2000 solutionnamespace:String:160 contract:Integer "
        "authtype:Integer authvalue:String:2048 connectionmode:Integer userclaim:Integer "
        "messageformat:Integer",
    ),
    Standard(
        "SdkMessageProcessingStep",
        "sdkmessageprocessingsteps",
        4608,
        "name:String:256 mode:Integer stage:Integer rank:Integer supporteddeployment:Integer "
        "asyncautodelete:Boolean filteringattributes:Memo:100000 "
        "sdkmessageid:Lookup:sdkmessage=sdkmessageid_sdkmessageprocessingstep "
        "sdkmessagefilterid:Lookup:sdkmessagefilter=sdkmessagefilterid_sdkmessageprocessingstep "
        "eventhandler:Lookup:serviceendpoint=serviceendpoint_sdkmessageprocessingstep|"
        "sdkmessage=unused_sdkmessage_eventhandler",
    ),
)
# Lookups that need both tables first: child, column, targets.
_LATER = (
    (
        "contact",
        "parentcustomerid:Lookup:account=contact_customer_accounts|contact=contact_customer_contacts",
    ),
)
_NO_STATE = {"statecode", "statuscode"}
_STATELESS = {
    "Organization",
    "Role",
    "Privilege",
    "RolePrivileges",
    "Publisher",
    "Solution",
    "SolutionComponent",
    "AppModuleComponent",
}
_ASSOCIATIONS = (
    ("systemuserroles_association", "systemuser", "role"),
    ("appmoduleroles_association", "appmodule", "role"),
)
# Units of the currency for one unit of the base currency.
_CURRENCIES = (
    ("USD", "US Dollar", "$", "1.0000000000"),
    ("EUR", "Euro", "€", "0.9200000000"),
    ("GBP", "Pound Sterling", "£", "0.7900000000"),
)
_MESSAGES = ("Create", "Update", "Delete", "CreateMultiple", "UpdateMultiple")


def seed(definitions: Definitions, rows: Rows, *, application_id: str) -> None:
    """Fill an empty store; the caller holds a transaction open."""
    make_tables(definitions, _STANDARD)
    for child, text in _LATER:
        link(definitions, child, text)
    for name, first, second in _ASSOCIATIONS:
        many = {
            "@odata.type": f"#{CRM}ManyToManyRelationshipMetadata",
            "SchemaName": name,
            "Entity1LogicalName": first,
            "Entity2LogicalName": second,
        }
        definitions.create_relationship(many, custom=False)
    security.add_named_privileges(rows)
    _fill(definitions, rows, application_id)


def complete(definitions: Definitions, rows: Rows) -> None:
    """Add to a file of an earlier version what came later; the caller holds a transaction open."""
    tables = definitions.store.schema.tables
    absent = [one for one in _STANDARD if one.schema_name.lower() not in tables]
    make_tables(definitions, absent)
    for standard in _STANDARD:
        table = tables[standard.schema_name.lower()]
        for text in standard.columns.split():
            if text.partition(":")[0] not in table.columns:
                body = _column(text)
                if body is None:
                    link(definitions, table.logical, text)
                else:
                    definitions.create_column(table, body, custom=False)
    if absent:
        security.add_named_privileges(rows)
        for table in [*tables.values()]:
            security.add_privileges(rows, table)


def make_tables(definitions: Definitions, standards: Sequence[Standard]) -> None:
    """Make tables and then their lookups, which may point at each other."""
    for standard in standards:
        _make_table(definitions, standard)
    for standard in standards:
        for text in standard.columns.split():
            link(definitions, standard.schema_name.lower(), text)
        table = definitions.store.schema.tables[standard.schema_name.lower()]
        security.add_privileges(definitions.rows, table)


def _make_table(definitions: Definitions, standard: Standard) -> None:
    columns = [c for c in map(_column, standard.columns.split()) if c is not None]
    columns[0] |= {"IsPrimaryName": True}
    body: dict[str, Any] = {
        "SchemaName": standard.schema_name,
        "EntitySetName": standard.entity_set,
        "ObjectTypeCode": standard.otc,
        "OwnershipType": "UserOwned" if standard.owned else "OrganizationOwned",
        "DisplayName": label(standard.schema_name),
        "ChangeTrackingEnabled": standard.owned,
        "Attributes": columns,
    }
    if standard.primary_id:
        body["PrimaryIdAttribute"] = standard.primary_id
    without = _NO_STATE if standard.schema_name in _STATELESS else set()
    definitions.create_table(body, custom=False, without=without)


def _column(text: str) -> dict[str, Any] | None:
    name, kind, *rest = text.split(":")
    argument = rest[0] if rest else ""
    if kind == "Lookup":
        return None
    if kind == "DateOnly":
        behaviour = {"Value": "DateOnly"}
        return column("DateTime", name, Format="DateOnly", DateTimeBehavior=behaviour)
    if kind in ("String", "Memo"):
        return column(kind, name, MaxLength=int(argument))
    if kind == "Money" and argument:
        return column(kind, name, PrecisionSource=int(argument))
    if kind in ("Decimal", "Double"):
        return column(kind, name, Precision=int(argument))
    if kind in ("Picklist", "State", "Status"):
        options: dict[int, str] = {}
        states: dict[int, int] = {}
        for item in argument.split("|"):
            value, _, words = item.partition("=")
            words, _, state = words.partition(">")
            options[int(value)] = words.replace("_", " ")
            states[int(value)] = int(state or 0)
        return column(kind, name, OptionSet=choice_options(options, states))
    return column(kind, name)


def link(definitions: Definitions, child: str, text: str, *, on_delete: str = "RemoveLink") -> None:
    """Make the lookup that the text declares; other columns are there already."""
    name, kind, *rest = text.split(":")
    if kind != "Lookup":
        return
    pairs = [item.split("=") for item in rest[0].split("|")]
    table = definitions.store.schema.tables[child]
    definitions.create_column(
        table, column("Lookup", name, Targets=[target for target, _ in pairs]), custom=False
    )
    for target, relationship in pairs:
        nav = name if len(pairs) == 1 else f"{name}_{target}"
        nav += "_task" if child == "task" else ""
        relation = {
            "SchemaName": relationship,
            "ReferencedEntity": target,
            "ReferencingEntity": child,
            "ReferencingEntityNavigationPropertyName": nav,
            "Lookup": {"SchemaName": name},
            "CascadeConfiguration": {"Delete": on_delete},
        }
        definitions.create_relationship(relation, custom=False)


def _fill(definitions: Definitions, rows: Rows, application_id: str) -> None:
    tables = definitions.store.schema.tables
    currencies: list[str] = []
    for code, name, symbol, rate in _CURRENCIES:
        cells: dict[str, Any] = {
            "isocurrencycode": code,
            "currencyname": name,
            "currencysymbol": symbol,
            "exchangerate": rate,
            "currencyprecision": 2,
        }
        currencies.append(rows.insert(tables["transactioncurrency"], cells))
    unit = rows.insert(tables["businessunit"], {"name": "cspbilling"})
    organization: dict[str, Any] = {
        "name": "cspbilling",
        "basecurrencyid": currencies[0],
        "pricingdecimalprecision": 2,
        "currencydecimalprecision": 2,
        "expirechangetrackingindays": 7,
        "oobpricecalculationenabled": 1,
        "languagecode": 1033,
        "maxuploadfilesize": 10_485_760,
        "isauditenabled": 1,
    }
    rows.insert(tables["organization"], organization)
    user: dict[str, Any] = {
        "fullname": "# CSP Billing worker",
        "domainname": "cspbilling-worker",
        "applicationid": application_id or definitions.store.next_guid(),
        "accessmode": 4,
        "businessunitid": unit,
    }
    user_id = rows.insert(tables["systemuser"], user)
    for name in ("System Administrator", "System Customizer", "Basic User"):
        role_id = rows.insert(tables["role"], {"name": name, "businessunitid": unit})
        if name == "System Administrator":
            reference = f"/roles({role_id})"
            rows.associate(tables["systemuser"], user_id, "systemuserroles_association", reference)
    publisher: dict[str, Any] = {
        "friendlyname": "Default Publisher",
        "uniquename": "DefaultPublisher",
        "customizationprefix": "new",
        "customizationoptionvalueprefix": 10_000,
    }
    publisher_id = rows.insert(tables["publisher"], publisher)
    solution: dict[str, Any] = {
        "friendlyname": "Default Solution",
        "uniquename": "Default",
        "version": "1.0.0.0",
        "publisherid": publisher_id,
    }
    rows.insert(tables["solution"], solution)
    for message in _MESSAGES:
        message_id = rows.insert(tables["sdkmessage"], {"name": message})
        for table in ("account", "contact"):
            cells = {"name": message, "primaryobjecttypecode": table, "sdkmessageid": message_id}
            rows.insert(tables["sdkmessagefilter"], cells)
