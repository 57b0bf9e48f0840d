"""The custom connector: what is committed is what the models say, and OpenAPI 2.0 all through."""

from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV2SpecValidator, validate
from pydantic import BaseModel

from app import connector
from app.connector_actions import OPERATIONS
from app.icon import icon
from app.swagger import translated
from sync.messages import StartRun
from tests.app.conftest import command, functions

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra/connector"
DOCUMENT = connector.definition()
SCHEMA_KEYS = {
    "$ref",
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "description",
    "required",
    "items",
    "properties",
    "additionalProperties",
    "example",
    "x-nullable",
    "x-ms-summary",
    "x-ms-visibility",
}
"""Of what OpenAPI 2.0 and the connector's own extensions have, what is used here."""


def operations():
    return [one for path in DOCUMENT["paths"].values() for one in path.values()]


def schemas(value):
    """Every schema in the document: definitions, and what stands in them."""
    if "type" in value or "$ref" in value or "properties" in value:
        yield value
    for inner in value.get("properties", {}).values():
        yield from schemas(inner)
    for name in ("items", "additionalProperties"):
        if isinstance(value.get(name), dict):
            yield from schemas(value[name])


ALL_SCHEMAS = [one for top in DOCUMENT["definitions"].values() for one in schemas(top)]


@pytest.mark.parametrize(
    "name", [connector.DEFINITION, connector.PROPERTIES, connector.SIGNED_IN, connector.MESSAGE]
)
def test_what_is_committed_is_what_the_models_say(name):
    """`python -m app connector --write infra/connector` writes it anew."""
    assert (FOLDER / name).read_bytes() == connector.files()[name]


def test_the_definition_is_openapi_2_and_small():
    validate(DOCUMENT, cls=OpenAPIV2SpecValidator)
    content = (FOLDER / connector.DEFINITION).read_bytes()
    assert len(content) < 1_000_000  # the limit of the platform


def test_each_action_is_a_route_of_the_functions_with_its_method():
    routes = set()
    for function in functions().values():
        for binding in (one.get_dict_repr() for one in function.get_bindings()):
            if binding["type"] == "httpTrigger":
                routes |= {(one.value, f"/{binding['route']}") for one in binding["methods"]}
    told = {(method.upper(), path) for path, one in DOCUMENT["paths"].items() for method in one}
    assert told <= routes
    # What is not an action: probes and reports for machines, and the addresses of webhooks.
    left = {path for _, path in routes - told}
    assert left == {"/alive", "/ready", "/health", "/dataverse-events", "/partner-center-events"}


def test_each_action_is_whole():
    ids = [one["operationId"] for one in operations()]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)
    assert {
        "StartRun",
        "GetRun",
        "ListFindings",
        "ReleaseHold",
        "ApproveInvoices",
        "GetInvoicePdf",
    } <= set(ids)
    for one in operations():
        assert re.fullmatch("[A-Z][A-Za-z]{3,40}", one["operationId"])
        assert one["summary"][0].isupper()
        assert one["summary"][-1] != "."
        assert one["description"].endswith(".")
        assert one["x-ms-visibility"] in {"important", "advanced"}
        assert {"400", "401", "403", "503"} <= one["responses"].keys()
        for status, answer in one["responses"].items():
            assert answer["schema"], (one["operationId"], status)
        for parameter in one["parameters"]:
            if parameter["in"] != "body":
                assert parameter["x-ms-summary"]
            if parameter["in"] == "path":
                assert parameter["x-ms-url-encoding"] == "single"


def test_drop_down_lists_read_what_the_connector_has():
    known = {one["operationId"]: one for one in operations()}
    found = 0
    for one in operations():
        for parameter in one["parameters"]:
            values = parameter.get("x-ms-dynamic-values")
            if values is None:
                continue
            found += 1
            source = known[values["operationId"]]
            taken = {each["name"]: each for each in source["parameters"]}
            assert values.get("parameters", {}).keys() <= taken.keys()
            for name, value in values.get("parameters", {}).items():
                assert value in taken[name]["enum"]
            page = DOCUMENT["definitions"][
                source["responses"]["200"]["schema"]["$ref"].rpartition("/")[2]
            ]
            items = page["properties"][values["value-collection"]]["items"]
            shown = DOCUMENT["definitions"][items["$ref"].rpartition("/")[2]]["properties"]
            assert {values["value-path"], values["value-title"]} <= shown.keys()
    assert found == 3


def test_schemas_use_what_openapi_2_has_and_nothing_else():
    for one in ALL_SCHEMAS:
        assert one.keys() <= SCHEMA_KEYS, one
        if "$ref" in one:
            assert one.keys() == {"$ref"}
            assert one["$ref"].rpartition("/")[2] in DOCUMENT["definitions"]
        else:
            assert one["type"] in {"string", "integer", "boolean", "array", "object"}
        if one.get("type") == "array":
            assert one["items"]
        assert one.get("format") in {None, "date", "date-time", "int32"}


def test_what_people_fill_in_has_a_title_words_and_an_example():
    for name in ("RunAsked", "ApprovalAsked", "ReleaseAsked"):
        for field, told in DOCUMENT["definitions"][name]["properties"].items():
            assert told["x-ms-summary"], field
            assert told["description"].endswith("."), field
            assert "example" in told or told["type"] == "boolean", field


def test_both_doors_are_told():
    assert DOCUMENT["securityDefinitions"]["function_key"] == {
        "type": "apiKey",
        "in": "header",
        "name": "x-functions-key",
    }
    entra = DOCUMENT["securityDefinitions"]["entra"]
    assert (entra["type"], entra["flow"]) == ("oauth2", "accessCode")
    by_key = connector.properties()["properties"]["connectionParameters"]
    assert by_key["api_key"]["type"] == "securestring"
    token = connector.signed_in()["properties"]["connectionParameters"]["token"]
    assert token["oAuthSettings"]["identityProvider"] == "aad"
    assert token["oAuthSettings"]["customParameters"]["resourceUri"]["value"].startswith("api://")


class Inner(BaseModel):
    x: int


class Choice(BaseModel):
    one: int | str


class Held(BaseModel):
    inner: Inner | None


def test_a_choice_that_openapi_2_cannot_say_is_an_error_and_null_is_an_extension():
    with pytest.raises(ValueError, match="no choice between"):
        translated(Choice.model_json_schema(), {})
    schema = Held.model_json_schema()
    told = translated(schema, schema["$defs"])["properties"]["inner"]
    assert told["x-nullable"] is True
    assert told["properties"]["x"]["type"] == "integer"
    assert "$ref" not in told


def test_the_icon_is_the_drawn_one():
    """Compared point by point: how a picture is packed is the compressor's affair."""

    def points(content):
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        start = content.index(b"IDAT")
        (length,) = struct.unpack(">I", content[start - 4 : start])
        return width, height, zlib.decompress(content[start + 4 : start + 4 + length])

    committed = (FOLDER / connector.ICON).read_bytes()
    assert points(committed) == points(icon())
    width, height, rows = points(committed)
    assert (width, height, len(rows)) == (160, 160, 160 * (1 + 3 * 160))
    assert len(committed) < 1_000_000


def test_the_schema_of_a_message_says_what_the_queue_takes():
    schema = json.loads((FOLDER / connector.MESSAGE).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    page = (ROOT / "docs/power-automate.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    for good in (
        json.loads(shown),
        {"v": 1, "kind": "sync", "day": "2026-11-09", "by": "A flow"},
    ):
        assert validator.is_valid(good)
        StartRun.model_validate(good)
    for bad in (
        {"kind": "pay"},
        {"kind": "bill", "period": "2026-13"},
        {"kind": "bill", "amount": "1"},
        {"kind": "bill", "period": "2026-10", "document": "../x"},
        {"period": "2026-10"},
    ):
        assert not validator.is_valid(bad)
        with pytest.raises(ValueError, match="validation error"):
            StartRun.model_validate(bad)


def test_the_command_writes_what_has_changed_and_says_so(tmp_path):
    first = command("connector", "--write", str(tmp_path), "--json")
    assert sorted(first.data["written"]) == sorted(connector.files())
    assert first.data["actions"]["StartRun"] == "POST /api/runs"
    (tmp_path / connector.PROPERTIES).write_text("{}")
    again = command("connector", "--write", str(tmp_path), "--json")
    assert again.data["written"] == [connector.PROPERTIES]
    shown = command("connector", "--write", str(tmp_path))
    assert shown.out.endswith("0 files written, 0 pictures drawn.\n")
    (tmp_path / "file").write_text("")
    refused = command("connector", "--write", str(tmp_path / "file"))
    assert refused.code == 2
    assert "choose a folder that can be written" in refused.complaint
