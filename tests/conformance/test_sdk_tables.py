"""Microsoft's SDK for Python makes and changes tables: columns, lookups, keys, solutions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from PowerPlatform.Dataverse.core.errors import HttpError, MetadataError
from PowerPlatform.Dataverse.models.relationship import ManyToManyRelationshipMetadata

from tests.conformance.conftest import Status

EVERY_TYPE = {
    "nce_Text": {"type": "string", "max_length": 40},
    "nce_Memo": {"type": "memo", "max_length": 9000},
    "nce_Whole": {"type": "int", "min_value": 1, "max_value": 5},
    "nce_Exact": {"type": "decimal", "precision": 6},
    "nce_Float": "float",
    "nce_Flag": "bool",
    "nce_When": "datetime",
    "nce_Paper": "file",
    "nce_Choice": Status,
}


@pytest.fixture
def solution(client):
    publisher = client.records.create(
        "publisher",
        {
            "uniquename": "ncebilling",
            "friendlyname": "NCE Billing",
            "customizationprefix": "nce",
            "customizationoptionvalueprefix": 72700,
        },
    )
    client.records.create(
        "solution",
        {
            "uniquename": "NceBilling",
            "friendlyname": "NCE Billing",
            "version": "1.0.0.0",
            "publisherid@odata.bind": f"/publishers({publisher})",
        },
    )
    return "NceBilling"


def test_a_table_with_every_type_of_column_in_a_solution(client, solution):
    made = client.tables.create("nce_Thing", EVERY_TYPE, solution=solution, display_name="Thing")
    assert made["columns_created"] == list(EVERY_TYPE)
    found = client.tables.get("nce_Thing")
    assert (found.logical_name, found.entity_set_name) == ("nce_thing", "nce_things")
    assert (found.primary_id_attribute, found.primary_name_attribute) == ("nce_thingid", "nce_name")
    assert found.metadata_id == made.metadata_id
    with pytest.raises(MetadataError, match="already exists"):
        client.tables.create("nce_Thing", {})
    [inside] = client.records.list("solutioncomponent", filter=f"objectid eq {found.metadata_id}")
    assert inside["componenttype"] == 1


def test_columns_come_back_as_they_were_made(client):
    client.tables.create("nce_Thing", EVERY_TYPE)
    typed = {c["SchemaName"]: c for c in client.tables.list_columns("nce_Thing", typed=True)}
    assert typed["nce_Text"]["MaxLength"] == 40
    assert typed["nce_Memo"]["MaxLength"] == 9000
    assert (typed["nce_Whole"]["MinValue"], typed["nce_Whole"]["MaxValue"]) == (1, 5)
    assert typed["nce_Exact"]["Precision"] == 6
    kinds = {name: typed[name]["AttributeType"] for name in EVERY_TYPE}
    assert kinds == {
        "nce_Text": "String",
        "nce_Memo": "Memo",
        "nce_Whole": "Integer",
        "nce_Exact": "Decimal",
        "nce_Float": "Double",
        "nce_Flag": "Boolean",
        "nce_When": "DateTime",
        "nce_Paper": "Virtual",
        "nce_Choice": "Picklist",
    }


def test_one_property_of_a_column_changes_and_the_others_stay(client):
    client.tables.create("nce_Thing", EVERY_TYPE)
    before = client.tables.get_column("nce_Thing", "nce_Text", typed=True)
    client.tables.update_column("nce_Thing", "nce_Text", {"max_length": 50})
    after = client.tables.get_column("nce_Thing", "nce_Text", typed=True)
    assert (before["MaxLength"], after["MaxLength"]) == (40, 50)
    different = {name for name in before if before[name] != after.get(name)}
    assert different - {"ModifiedOn"} <= {"MaxLength", "DatabaseLength"}
    client.records.create("nce_thing", {"nce_text": "x" * 50})
    with pytest.raises(HttpError) as refused:
        client.records.create("nce_thing", {"nce_text": "x" * 51})
    assert refused.value.details["service_error_code"] == "0x80044331"


def test_columns_are_added_and_removed(demo):
    added = demo.tables.add_columns("nce_Demo", {"nce_Note": "memo", "nce_Done": "bool"})
    assert added == ["nce_Note", "nce_Done"]
    row = demo.records.create("nce_demo", {"nce_note": "n", "nce_done": True})
    assert demo.records.retrieve("nce_demo", row, select=["nce_done"])["nce_done"] is True
    demo.tables.remove_columns("nce_Demo", "nce_Note")
    assert demo.tables.get_column("nce_Demo", "nce_Note") is None
    with pytest.raises(HttpError) as unknown:
        demo.records.list("nce_demo", select=["nce_note"])
    assert unknown.value.status_code == 400
    with pytest.raises(MetadataError):
        demo.tables.remove_columns("nce_Demo", "nce_Note")


def test_a_lookup_is_a_relationship_and_is_read_as_a_guid(demo):
    made = demo.tables.create_lookup_field("nce_demo", "nce_PayerId", "account", required=True)
    assert made.relationship_schema_name == "account_nce_demo_nce_PayerId"
    found = demo.tables.get_relationship(made.relationship_schema_name)
    assert (found.referenced_entity, found.referencing_entity) == ("account", "nce_demo")
    account = demo.records.create("account", {"name": "Contoso"})
    row = demo.records.create("nce_demo", {"nce_PayerId@odata.bind": f"/accounts({account})"})
    assert demo.records.retrieve("nce_demo", row)["_nce_payerid_value"] == account
    names = {r["SchemaName"] for r in demo.tables.list_table_relationships("nce_demo")}
    assert made.relationship_schema_name in names
    demo.tables.delete_relationship(made.relationship_id)
    assert demo.tables.get_relationship(made.relationship_schema_name) is None


def test_many_to_many_relationships_are_made_found_and_deleted(demo):
    demo.tables.create("nce_Other", {})
    made = demo.tables.create_many_to_many_relationship(
        ManyToManyRelationshipMetadata(
            schema_name="nce_demo_other",
            entity1_logical_name="nce_demo",
            entity2_logical_name="nce_other",
        )
    )
    found = demo.tables.get_relationship("nce_demo_other")
    assert found.relationship_id == made.relationship_id
    assert (found.entity1_logical_name, found.entity2_logical_name) == ("nce_demo", "nce_other")
    many = "RelationshipType eq Microsoft.Dynamics.CRM.RelationshipType'ManyToManyRelationship'"
    names = {r["SchemaName"] for r in demo.tables.list_relationships(filter=many)}
    assert "nce_demo_other" in names
    demo.tables.delete_relationship(made.relationship_id)
    assert demo.tables.get_relationship("nce_demo_other") is None


def test_tables_are_made_read_changed_and_deleted_in_a_batch(demo):
    batch = demo.batch.new()
    batch.tables.create("nce_Third", {"nce_Number": "int"})
    batch.tables.add_columns("nce_Demo", {"nce_Extra": "string"})
    batch.tables.get("account")
    batch.tables.create_lookup_field("nce_demo", "nce_PayerId", "account")
    result = batch.execute()
    assert [r.status_code for r in result.responses] == [204, 204, 200, 204]
    assert demo.tables.get("nce_Third").entity_set_name == "nce_thirds"
    batch = demo.batch.new()
    batch.tables.remove_columns("nce_Demo", "nce_Extra")
    batch.tables.delete("nce_Third")
    assert not batch.execute().has_errors
    assert demo.tables.get("nce_Third") is None
    assert demo.tables.get_column("nce_Demo", "nce_Extra") is None


def test_a_key_is_built_by_a_job_and_cannot_be_used_before(environment, client):
    client.tables.create("nce_Thing", EVERY_TYPE)
    environment.settings.key_activation_seconds = 30
    made = client.tables.create_alternate_key("nce_Thing", "nce_ThingKey", ["nce_text"])

    def status():
        [key] = client.tables.get_alternate_keys("nce_Thing")
        assert (key.metadata_id, key.key_attributes) == (made.metadata_id, ["nce_text"])
        return key.status

    item = {"alternate_key": {"nce_text": "S1"}, "record": {"nce_flag": True}}
    assert status() == "Pending"
    with pytest.raises(HttpError) as early:
        client.records.upsert("nce_thing", [item])
    assert early.value.status_code == 400
    environment.emulator.clock.advance(timedelta(seconds=31))
    assert status() == "Active"
    client.records.upsert("nce_thing", [item])
    assert len(client.records.list("nce_thing")) == 1
    client.tables.delete_alternate_key("nce_Thing", made.metadata_id)
    assert client.tables.get_alternate_keys("nce_Thing") == []


def test_tables_are_listed_and_deleted(environment, demo):
    filters = "startswith(SchemaName, 'nce_')"
    listed = demo.tables.list(filter=filters, select=["LogicalName", "EntitySetName"])
    assert [(t["LogicalName"], t["EntitySetName"]) for t in listed] == [("nce_demo", "nce_demos")]
    demo.tables.delete("nce_Demo")
    assert demo.tables.get("nce_Demo") is None
    with demo._scoped_odata() as raw, pytest.raises(HttpError) as gone:
        raw._request("get", f"{raw.api}/nce_demos")
    assert gone.value.status_code == 404
    assert gone.value.details["service_error_code"] == "0x8006088a"


def test_the_metadata_cache_hides_a_new_table_but_not_from_a_strong_read(environment, client):
    environment.settings.metadata_cache_seconds = 30
    made = client.tables.create("nce_Thing", EVERY_TYPE)  # it reads back with Consistency: Strong
    assert made.entity_set_name == "nce_things"
    assert client.tables.get("nce_Thing") is None
    environment.emulator.clock.advance(timedelta(seconds=31))
    assert client.tables.get("nce_Thing") is not None
