"""`dataverse-api` from PyPI, a small client of the community's: threads, batches of bare line feeds."""

from __future__ import annotations

import pytest
import requests
from dataverse_api.dataverse import DataverseClient
from dataverse_api.metadata.attributes import (
    DecimalAttributeMetadata,
    IntegerAttributeMetadata,
    StringAttributeMetadata,
)
from dataverse_api.metadata.entity import define_entity
from dataverse_api.metadata.enums import OwnershipType
from dataverse_api.utils.labels import define_label

from tests.conformance.conftest import access_token


def described(name):
    return {
        "schema_name": name,
        "display_name": define_label(name),
        "description": define_label(""),
    }


@pytest.fixture
def api(environment):
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {access_token(environment.emulator)}"
        yield DataverseClient(session, environment.url)


@pytest.fixture
def things(api, environment):
    """A table of its own making. Its call for keys asks a place that is not there, so not that."""
    name = StringAttributeMetadata(**described("nce_Name"), is_primary_name=True)
    table = define_entity("nce_Thing", [name], ownership_type=OwnershipType.USER_OWNED)
    assert api.create_entity(table).status_code == 204
    things = api.entity("nce_thing")
    for column in (
        StringAttributeMetadata(**described("nce_Key"), max_length=100),
        IntegerAttributeMetadata(**described("nce_Number"), min_value=0, max_value=1000),
        DecimalAttributeMetadata(
            **described("nce_Price"), min_value=0, max_value=1000, precision=4
        ),
    ):
        assert things.add_attribute(column).status_code == 204
    label = define_label("Key").dump_to_dataverse()
    key = {"SchemaName": "nce_ThingKey", "KeyAttributes": ["nce_key"], "DisplayName": label}
    api._api_call("POST", "EntityDefinitions(LogicalName='nce_thing')/Keys", json=key)
    things.update_schema("all")
    return things


def rows(mode, count):
    return [{"nce_key": f"{mode} {n:02}", "nce_number": n} for n in range(count)]


def test_it_finds_out_what_a_table_is_and_can_do(api, things):
    assert (things.entity_set_name, things.primary_id_attr) == ("nce_things", "nce_thingid")
    assert things.alternate_keys == {"nce_ThingKey": ["nce_key"]}
    assert things.supports_create_multiple
    assert things.supports_update_multiple
    assert api.get_language_codes() == [1033]


@pytest.mark.parametrize("threading", [False, True])
@pytest.mark.parametrize("mode", ["individual", "multiple", "batch"])
def test_rows_are_created_in_three_ways_alone_and_by_threads(things, mode, threading):
    options = {} if mode == "individual" else {"batch_size": 10}
    answers = things.create(rows(mode, 25), mode=mode, threading=threading, **options)
    assert len(answers) == (25 if mode == "individual" else 3)
    assert {answer.status_code for answer in answers} <= {200, 204}
    found = things.read(select=["nce_key"], order_by="nce_key", page_size=7)
    assert [row["nce_key"] for row in found] == [row["nce_key"] for row in rows(mode, 25)]


@pytest.mark.parametrize("mode", ["individual", "batch"])
def test_an_upsert_converges(things, mode):
    for number in (1, 2):
        changed = [row | {"nce_number": number} for row in rows(mode, 12)]
        things.upsert(changed, mode=mode, altkey_name="nce_ThingKey", threading=True)
    assert [row["nce_number"] for row in things.read(select=["nce_number"])] == [2] * 12


def test_a_taken_key_is_told_and_the_others_are_created(things):
    things.create(rows("a", 1))
    answers = things.create(rows("a", 3))
    assert [answer.status_code for answer in answers] == [412, 204, 204]
    assert answers[0].json()["error"]["code"] == "0x80060892"


def test_rows_and_single_values_are_deleted_by_filter_and_in_batches(things):
    things.create(rows("d", 20), mode="multiple")
    things.delete_columns(["nce_number"], filter="nce_number lt 5", threading=True)
    assert len(things.read(select=["nce_key"], filter="nce_number eq null")) == 5
    ids = [row["nce_thingid"] for row in things.read(filter="nce_number ge 10")]
    things.delete(mode="batch", ids=ids, batch_size=4)
    things.delete(filter="nce_number ne null", threading=True)
    assert len(things.read(select=["nce_key"])) == 5


def test_a_definition_is_read_changed_and_written_back(api, things):
    table = api.get_entity_definition("nce_thing")
    table.description = define_label("A thing of theirs")
    assert api.update_entity(table, preserve_localized_labels=True).status_code == 204
    again = api.get_entity_definition("nce_thing")
    assert again.description.localized_labels[0].label == "A thing of theirs"
    assert things.remove_attribute(logical_name="nce_price").status_code == 204
    assert api.delete_entity("nce_thing").status_code == 204
