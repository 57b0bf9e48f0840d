"""Metadata: what the provisioner writes and reads, and what the official SDK asks for."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from tests.emulator.dataverse_harness import (
    CRM,
    ROOT,
    attribute,
    label,
    options,
    with_tables,
)

TABLE = "EntityDefinitions(LogicalName='nce_subscription')"


@pytest.fixture
def dv():
    return with_tables().copy()


def small_table(name, **properties):
    return {
        "SchemaName": name,
        "DisplayName": label(name),
        "DisplayCollectionName": label(name + "s"),
        "HasNotes": False,
        "HasActivities": False,
        "Attributes": [attribute("String", "nce_Name", IsPrimaryName=True)],
        **properties,
    }


def test_a_table_gets_its_derived_names_and_system_columns(dv):
    answer = dv.get(TABLE, expand="Attributes($select=LogicalName),Keys($select=SchemaName)")
    table = answer.json
    assert table["LogicalName"] == "nce_subscription"
    assert table["EntitySetName"] == "nce_subscriptions"
    assert table["PrimaryIdAttribute"] == "nce_subscriptionid"
    assert table["PrimaryNameAttribute"] == "nce_name"
    assert table["ObjectTypeCode"] >= 10_000
    assert table["IsOptimisticConcurrencyEnabled"] is True
    assert table["DisplayName"]["UserLocalizedLabel"]["Label"] == "Subscription"
    names = {item["LogicalName"] for item in table["Attributes"]}
    assert {"createdon", "ownerid", "statecode", "statuscode", "versionnumber"} <= names
    assert {"nce_amount_base", "transactioncurrencyid", "exchangerate", "nce_pdf_name"} <= names
    assert [key["SchemaName"] for key in table["Keys"]] == ["nce_SubscriptionKey"]


@pytest.mark.parametrize(
    "needed", ["DisplayName", "DisplayCollectionName", "HasNotes", "HasActivities", "Attributes"]
)
def test_a_table_needs_its_required_properties(dv, needed):
    body = small_table("nce_Category")
    del body[needed]
    assert dv.post("EntityDefinitions", body).code == "0x80040203"
    assert dv.get("EntityDefinitions(LogicalName='nce_category')").status == 404


def test_creating_answers_with_the_metadata_id(dv):
    answer = dv.post("EntityDefinitions", small_table("nce_Category"))
    assert answer.status == 204
    match = re.fullmatch(
        re.escape(ROOT) + r"EntityDefinitions\(([0-9a-f-]{36})\)", answer.headers["odata-entityid"]
    )
    assert match
    by_id = dv.get(f"EntityDefinitions({match[1]})", select="EntitySetName").json
    assert by_id["EntitySetName"] == "nce_categories"
    assert by_id["MetadataId"] == match[1]
    assert "SchemaName" not in by_id


def test_a_second_table_of_the_name_is_refused_and_leaves_nothing(dv):
    before = len(dv.values("EntityDefinitions"))
    answer = dv.post("EntityDefinitions", small_table("nce_subscription"))
    assert (answer.status, answer.code) == (400, "0x80044363")
    broken = small_table("nce_Broken")
    broken["Attributes"].append(attribute("String", "nce_Long", MaxLength=5000))
    assert dv.post("EntityDefinitions", broken).status == 400
    assert len(dv.values("EntityDefinitions")) == before
    assert dv.get("nce_brokens").code == "0x8006088a"


@pytest.mark.parametrize(
    "change",
    [{"SchemaName": "Subscription2"}, {"DisplayName": None}, {"Attributes": []}],
    ids=["no prefix", "no name", "no primary name"],
)
def test_an_incomplete_table_is_refused(dv, change):
    assert dv.post("EntityDefinitions", small_table("nce_Other") | change).code == "0x80040203"


def test_missing_tables_are_404_by_key_and_empty_by_filter(dv):
    assert dv.get("EntityDefinitions(LogicalName='nce_none')").status == 404
    assert dv.values("EntityDefinitions", filter="LogicalName eq 'nce_none'") == []


def test_tables_are_updated_by_put_only(dv):
    refused = dv.patch(TABLE, {"DisplayName": label("New")})
    assert (refused.status, refused.code) == (405, "0x80060888")
    assert refused.message == "Operation not supported on EntityMetadata"
    definition = dv.get(TABLE).json
    definition["DisplayName"] = label("New name")
    assert dv.send("PUT", TABLE, definition, headers={"MSCRM.MergeLabels": "true"}).status == 204
    again = dv.get(TABLE).json
    assert again["DisplayName"]["UserLocalizedLabel"]["Label"] == "New name"
    assert again["EntitySetName"] == "nce_subscriptions"
    refused = dv.send("PUT", TABLE, {"ChangeTrackingEnabled": False})
    assert refused.status == 400


def test_columns_read_back_what_was_asked_for(dv):
    columns = {c["LogicalName"]: c for c in dv.values(f"{TABLE}/Attributes")}
    assert columns["nce_name"]["MaxLength"] == 200
    assert columns["nce_name"]["IsPrimaryName"] is True
    assert columns["nce_unitprice"]["Precision"] == 10
    assert columns["nce_amount"]["PrecisionSource"] == 0
    assert columns["nce_amount_base"]["Precision"] == 4
    assert columns["exchangerate"]["Precision"] == 12
    assert columns["nce_start"]["DateTimeBehavior"] == {"Value": "DateOnly"}
    assert columns["nce_seenon"]["DateTimeBehavior"] == {"Value": "UserLocal"}
    assert columns["nce_status"]["@odata.type"] == f"#{CRM}PicklistAttributeMetadata"
    assert columns["nce_tags"]["AttributeType"] == "Virtual"
    assert "OptionSet" not in columns["nce_status"]


def test_choices_come_by_type_cast_and_expansion(dv):
    found = dv.values(
        f"{TABLE}/Attributes/{CRM}PicklistAttributeMetadata",
        select="LogicalName",
        expand="OptionSet($select=Options)",
    )
    assert [c["LogicalName"] for c in found] == ["nce_status"]
    assert [o["Value"] for o in found[0]["OptionSet"]["Options"]] == [727000000, 727000001]
    none = dv.values(
        f"EntityDefinitions(LogicalName='nce_line')/Attributes/{CRM}PicklistAttributeMetadata"
    )
    assert none == []


def test_a_column_is_added_changed_and_removed(dv):
    made = dv.post(f"{TABLE}/Attributes", attribute("Integer", "nce_Seats", MinValue=1, MaxValue=5))
    assert made.status == 204
    assert dv.post(f"{TABLE}/Attributes", attribute("Integer", "nce_Seats")).code == "0x80047013"
    path = f"{TABLE}/Attributes(LogicalName='nce_seats')"
    short = dv.get(path, select="MetadataId,SchemaName").json
    assert short["@odata.type"] == f"#{CRM}IntegerAttributeMetadata"
    assert short["MetadataId"] == made.new_id
    typed = dv.get(f"{path}/{CRM}IntegerAttributeMetadata").json
    typed["MaxValue"] = 50
    assert dv.send("PUT", f"{TABLE}/Attributes({made.new_id})", typed).status == 204
    assert dv.get(path).json["MaxValue"] == 50
    assert dv.get(path).json["MinValue"] == 1
    assert dv.get(f"{path}/{CRM}StringAttributeMetadata").status == 404
    row = dv.post("nce_subscriptions", {"nce_seats": 40}).new_id
    assert dv.post("nce_subscriptions", {"nce_seats": 51}).code == "0x8004431a"
    assert dv.delete(f"{TABLE}/Attributes({made.new_id})", If_Match="*").status == 204
    assert dv.get(path).status == 404
    assert dv.get(f"nce_subscriptions({row})", select="nce_seats").code == "0x80060888"


def test_a_column_in_a_key_cannot_go(dv):
    answer = dv.delete(f"{TABLE}/Attributes(LogicalName='nce_externalkey')")
    assert (answer.status, answer.code) == (400, "0x8004f01f")


def test_columns_are_found_by_filter(dv):
    found = dv.values(
        f"{TABLE}/Attributes",
        select="MetadataId,AttributeType",
        filter="LogicalName eq 'nce_amount'",
    )
    assert [c["AttributeType"] for c in found] == ["Money"]
    enumerated = dv.values(
        f"{TABLE}/Attributes", filter=f"AttributeType eq {CRM}AttributeTypeCode'Picklist'"
    )
    assert [c["LogicalName"] for c in enumerated] == ["nce_status"]


def test_a_relationship_makes_the_lookup_and_both_navigation_properties(dv):
    links = dv.values("EntityDefinitions(LogicalName='nce_line')/ManyToOneRelationships")
    assert [link["ReferencingEntityNavigationPropertyName"] for link in links] == [
        "nce_SubscriptionId"
    ]
    name = links[0]["SchemaName"]
    by_name = dv.get(f"RelationshipDefinitions(SchemaName='{name}')").json
    assert by_name["ReferencingAttribute"] == "nce_subscriptionid"
    assert dv.get(f"RelationshipDefinitions({by_name['MetadataId']})").json["SchemaName"] == name
    found = dv.values(
        f"RelationshipDefinitions/{CRM}OneToManyRelationshipMetadata",
        filter=f"SchemaName eq '{name}'",
    )
    assert len(found) == 1
    lookup = dv.get(
        "EntityDefinitions(LogicalName='nce_line')/Attributes(LogicalName='nce_subscriptionid')"
    )
    assert lookup.json["Targets"] == ["nce_subscription"]
    assert dv.delete(f"RelationshipDefinitions({by_name['MetadataId']})").status == 204
    assert dv.get(f"RelationshipDefinitions(SchemaName='{name}')").status == 404
    assert dv.get("nce_lines", select="_nce_subscriptionid_value").status == 400


def test_a_table_in_use_cannot_be_deleted_until_its_users_are(dv):
    assert dv.delete(TABLE, If_Match="*").code == "0x8004f01f"
    assert dv.delete("EntityDefinitions(LogicalName='nce_line')").status == 204
    assert dv.delete(TABLE).status == 204
    assert dv.get("nce_subscriptions").code == "0x8006088a"
    assert dv.values("savedqueries", filter="returnedtypecode eq 'nce_subscription'") == []


def test_a_key_is_pending_until_its_index_is_built(dv):
    dv.settings.key_activation_seconds = 30
    path = "EntityDefinitions(LogicalName='nce_line')/Keys"
    made = dv.post(path, {"SchemaName": "nce_LineKey", "KeyAttributes": ["nce_number"]})
    assert made.status == 204
    assert made.headers["odata-entityid"].startswith(f"{ROOT}{path}(")
    status = dv.values(path, select="SchemaName,EntityKeyIndexStatus")
    assert [k["EntityKeyIndexStatus"] for k in status] == ["Pending"]
    assert dv.patch("nce_lines(nce_number=1)", {"nce_name": "x"}).status == 400
    dv.clock.advance(timedelta(seconds=30))
    assert [k["EntityKeyIndexStatus"] for k in dv.values(path)] == ["Active"]
    assert dv.patch("nce_lines(nce_number=1)", {"nce_name": "x"}).status == 204
    assert dv.delete(f"{path}({made.new_id})").status == 204
    assert dv.values(path) == []


def test_a_key_over_repeated_values_fails_and_can_be_built_again(dv):
    first = dv.post("nce_lines", {"nce_number": 1}).new_id
    dv.post("nce_lines", {"nce_number": 1})
    path = "EntityDefinitions(LogicalName='nce_line')/Keys"
    dv.post(path, {"SchemaName": "nce_LineKey", "KeyAttributes": ["nce_number"]})
    assert dv.values(path)[0]["EntityKeyIndexStatus"] == "Failed"
    dv.delete(f"nce_lines({first})")
    names = {"EntityLogicalName": "nce_line", "EntityKeyLogicalName": "nce_linekey"}
    assert dv.post("ReactivateEntityKey", names).status == 204
    assert dv.values(path)[0]["EntityKeyIndexStatus"] == "Active"


def test_an_option_is_added_to_a_choice_and_can_be_used(dv):
    choice = attribute("Picklist", "nce_Method", OptionSet=options(One=1))
    assert dv.post(f"{TABLE}/Attributes", choice).status == 204
    assert dv.post("nce_subscriptions", {"nce_method": 2}).status == 400
    place = {"EntityLogicalName": "nce_subscription", "AttributeLogicalName": "nce_method"}
    answer = dv.post("InsertOptionValue", {**place, **an_option(2, "Two")})
    assert (answer.status, answer.json["NewOptionValue"]) == (200, 2)
    assert dv.post("nce_subscriptions", {"nce_method": 2}).status == 204
    for refused in (
        {**place, **an_option(2, "Again")},
        {**place, "Value": 3},
        {**place, **an_option(3, "No choice"), "AttributeLogicalName": "nce_name"},
    ):
        assert dv.post("InsertOptionValue", refused).status == 400
    nowhere = {**place, **an_option(3, "Three"), "AttributeLogicalName": "nce_none"}
    assert dv.post("InsertOptionValue", nowhere).status == 404


def an_option(value, text):
    return {"Value": value, "Label": label(text)}


@pytest.mark.parametrize(
    "columns", [["nce_notes"], ["nce_missing"], [], ["nce_name", "nce_externalkey"], ["nce_amount"]]
)
def test_keys_have_limits(dv, columns):
    dv.post(f"{TABLE}/Attributes", attribute("String", "nce_Wide", MaxLength=400))
    answer = dv.post(
        f"{TABLE}/Keys",
        {
            "SchemaName": "nce_K",
            "KeyAttributes": [*columns, *(["nce_wide"] if len(columns) == 2 else [])],
        },
    )
    assert (answer.status, answer.code) == (400, "0x80040203")


def test_the_same_key_twice_is_refused(dv):
    again = {"SchemaName": "nce_SubscriptionKey", "KeyAttributes": ["nce_externalkey"]}
    assert dv.post(f"{TABLE}/Keys", again).code == "0x80060893"


def test_publisher_solution_and_components(dv):
    publisher = dv.post(
        "publishers",
        {
            "uniquename": "ncebilling",
            "friendlyname": "NCE Billing",
            "customizationprefix": "nce",
            "customizationoptionvalueprefix": 72700,
        },
    )
    solution = dv.post(
        "solutions",
        {
            "uniquename": "NceBilling",
            "friendlyname": "NCE Billing",
            "version": "1.0.0.0",
            "publisherid@odata.bind": f"publishers({publisher.new_id})",
        },
    )
    assert solution.status == 204
    found = dv.values("solutions", select="solutionid,version", filter="uniquename eq 'NceBilling'")
    assert [s["solutionid"] for s in found] == [solution.new_id]
    header = {"MSCRM_SolutionUniqueName": "NceBilling"}
    table = dv.post(
        "EntityDefinitions", small_table("nce_Part"), **{"MSCRM.SolutionUniqueName": "NceBilling"}
    )
    assert table.status == 204, header
    components = dv.values("solutioncomponents", filter=f"_solutionid_value eq {solution.new_id}")
    assert [(c["objectid"], c["componenttype"]) for c in components] == [(table.new_id, 1)]
    lost = dv.post(
        "EntityDefinitions", small_table("nce_Lost"), **{"MSCRM.SolutionUniqueName": "Nope"}
    )
    assert lost.status == 400
    assert dv.get("EntityDefinitions(LogicalName='nce_lost')").status == 404


def test_create_entities_takes_the_complex_types_of_the_official_sdk(dv):
    entity = small_table("nce_Demo") | {"@odata.type": f"{CRM}ComplexEntityMetadata"}
    entity["Attributes"] = [
        {
            "@odata.type": f"{CRM}ComplexStringAttributeMetadata",
            "SchemaName": "nce_Name",
            "IsPrimaryName": True,
        },
        {
            "@odata.type": f"{CRM}ComplexDecimalAttributeMetadata",
            "SchemaName": "nce_Price",
            "Precision": 6,
        },
        {
            "@odata.type": f"{CRM}ComplexPicklistAttributeMetadata",
            "SchemaName": "nce_Kind",
            "OptionSet": options(One=1, Two=2),
        },
    ]
    assert (
        dv.post("CreateEntities?SolutionUniqueName=Default", {"Entities": [entity]}).status == 204
    )
    found = dv.values(
        "EntityDefinitions",
        select="MetadataId,LogicalName,SchemaName,EntitySetName,PrimaryNameAttribute,PrimaryIdAttribute",
        filter="LogicalName eq 'nce_demo'",
    )
    assert found[0]["EntitySetName"] == "nce_demos"
    column = dv.get(
        "EntityDefinitions(LogicalName='nce_demo')/Attributes(LogicalName='nce_price')"
    ).json
    assert column["@odata.type"] == f"#{CRM}DecimalAttributeMetadata"
    assert column["Precision"] == 6


def test_metadata_changes_answer_by_table(dv):
    query = (
        '{"Criteria":{"FilterOperator":"And","Conditions":[{"ConditionOperator":"Equals",'
        '"PropertyName":"LogicalName","Value":{"Value":"nce_line","Type":"System.String"}}]}}'
    )
    answer = dv.send("GET", "RetrieveMetadataChanges(Query=@p1)", query={"@p1": query})
    tables = answer.json["EntityMetadata"]
    assert [t["LogicalName"] for t in tables] == ["nce_line"]
    assert "nce_number" in {c["LogicalName"] for c in tables[0]["Attributes"]}


def test_a_global_choice_serves_a_column(dv):
    made = dv.post("GlobalOptionSetDefinitions", {**options(Red=10, Blue=20), "Name": "nce_colour"})
    assert made.status == 204
    column = attribute("Picklist", "nce_Colour")
    column["GlobalOptionSet@odata.bind"] = f"/GlobalOptionSetDefinitions({made.new_id})"
    assert dv.post(f"{TABLE}/Attributes", column).status == 204
    assert dv.post("nce_subscriptions", {"nce_colour": 20}).status == 204
    assert dv.post("nce_subscriptions", {"nce_colour": 30}).code == "0x8004431a"
    assert dv.get("GlobalOptionSetDefinitions(Name='nce_colour')").json["IsGlobal"] is True


def test_new_tables_are_visible_with_a_view_and_a_form(dv):
    views = dv.values(
        "savedqueries", filter="returnedtypecode eq 'nce_subscription' and querytype eq 0"
    )
    assert [view["name"] for view in views] == ["Active Subscriptions"]
    new_layout = {"layoutxml": "<grid/>"}
    assert dv.patch(f"savedqueries({views[0]['savedqueryid']})", new_layout).status == 204
    forms = dv.values("systemforms", filter="objecttypecode eq 'nce_subscription' and type eq 2")
    assert [form["name"] for form in forms] == ["Information"]


def test_an_app_is_valid_once_it_has_a_site_map(dv):
    app = dv.post("appmodules", {"name": "NCE Billing", "uniquename": "NceBilling"}).new_id
    validation = dv.get(f"ValidateApp(AppModuleId={app})").json["AppValidationResponse"]
    assert validation["ValidationSuccess"] is False
    site_map = dv.post("sitemaps", {"sitemapname": "NCE", "sitemapxml": "<SiteMap/>"}).new_id
    parts = {"AppId": app, "Components": [{"sitemapid": site_map, "@odata.type": f"{CRM}sitemap"}]}
    assert dv.post("AddAppComponents", parts).status == 204
    validation = dv.get(f"ValidateApp(AppModuleId={app})").json["AppValidationResponse"]
    assert validation["ValidationSuccess"] is True
    role = dv.values("roles", filter="name eq 'Basic User'")[0]["roleid"]
    link = dv.post(
        f"appmodules({app})/appmoduleroles_association/$ref", {"@odata.id": f"{ROOT}roles({role})"}
    )
    assert link.status == 204
    roles = dv.values(f"appmodules({app})/appmoduleroles_association", select="name")
    assert [r["name"] for r in roles] == ["Basic User"]


def test_publishing_is_accepted(dv):
    assert dv.post("PublishAllXml").status == 204
    assert dv.post("PublishXml", {"ParameterXml": "<importexportxml/>"}).status == 204
    assert dv.post("PublishXml", {}).status == 400


def test_the_metadata_cache_shows_new_things_late_unless_reads_are_strong(dv):
    dv.settings.metadata_cache_seconds = 30
    dv.clock.advance(timedelta(minutes=1))
    assert dv.post("EntityDefinitions", small_table("nce_Young")).status == 204
    path = "EntityDefinitions(LogicalName='nce_young')"
    assert dv.get(path).status == 404
    assert dv.send("GET", path, headers={"Consistency": "Strong"}).status == 200
    assert dv.get("nce_youngs").code == "0x8006088a"
    dv.post(f"{TABLE}/Attributes", attribute("String", "nce_Late"))
    assert dv.get("nce_subscriptions", select="nce_late").code == "0x80060888"
    assert dv.get("nce_subscriptions", select="nce_name").status == 200
    assert dv.post("nce_subscriptions", {"nce_late": "x"}).code == "0x80048d19"
    dv.clock.advance(timedelta(seconds=30))
    assert dv.get(path).status == 200
    assert dv.get("nce_youngs").status == 200
    assert dv.post("nce_subscriptions", {"nce_late": "x"}).status == 204


def test_one_language_is_installed(dv):
    assert dv.get("RetrieveAvailableLanguages").json["LocaleIds"] == [1033]


def test_the_service_describes_itself(dv):
    root = dv.get("").json
    assert {"name": "nce_subscriptions", "kind": "EntitySet", "url": "nce_subscriptions"} in root[
        "value"
    ]
    csdl = dv.get("$metadata").raw.decode()
    assert '<EntitySet Name="nce_subscriptions"' in csdl
    assert '<Property Name="nce_unitprice" Type="Edm.Decimal"/>' in csdl


def test_many_to_many_relationships(dv):
    body = {
        "@odata.type": f"{CRM}ManyToManyRelationshipMetadata",
        "SchemaName": "nce_subscription_contact",
        "Entity1LogicalName": "nce_subscription",
        "Entity2LogicalName": "contact",
    }
    made = dv.post("RelationshipDefinitions", body)
    assert made.status == 204
    row = dv.post("nce_subscriptions", {"nce_name": "A"}).new_id
    contact = dv.post("contacts", {"lastname": "Ng"}).new_id
    path = f"nce_subscriptions({row})/nce_subscription_contact"
    assert dv.post(f"{path}/$ref", {"@odata.id": f"contacts({contact})"}).status == 204
    assert [c["lastname"] for c in dv.values(path)] == ["Ng"]
    back = dv.values(f"contacts({contact})/nce_subscription_contact")
    assert [s["nce_name"] for s in back] == ["A"]
    assert dv.delete(f"{path}({contact})/$ref").status == 204
    assert dv.values(path) == []
    assert dv.delete(f"RelationshipDefinitions({made.new_id})").status == 204
    assert dv.get(path).status == 404


def test_the_example_of_the_readme_runs(capsys):
    text = (Path(__file__).resolve().parents[2] / "emulator/dataverse/README.md").read_text()
    exec(text.split("```python\n")[1].split("```")[0], {})  # noqa: S102 - our own page
    assert "https://contoso.crm.dynamics.com/api/data/v9.2/accounts(" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("EntityDefinitions", {"SchemaName": "nce_X", "DisplayName": "text"}),
        ("CreateEntities", {"Entities": 1}),
        ("BulkDelete", {"QuerySet": None}),
        (f"{TABLE}/Attributes", attribute("Integer", "nce_X", MinValue="low")),
        (f"{TABLE}/Keys", {"SchemaName": "nce_X", "KeyAttributes": 1}),
        ("GlobalOptionSetDefinitions", {"Name": "nce_x", "Options": "none"}),
    ],
)
def test_documents_of_another_shape_are_refused(dv, path, body):
    assert dv.post(path, body).status == 400
