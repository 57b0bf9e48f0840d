"""The custom connector of Power Automate, made of the models that the HTTP functions read and answer.

OpenAPI 2.0 is what the platform takes, a subset of JSON Schema: no `anyOf`, no `null` type (it
becomes `x-nullable`), no `const`, no keyword beside a `$ref`. Written by `python -m app connector`;
a test fails where what is committed is not what the models say.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.http_models import (
    DOCUMENT_NAME,
    FINDING_ID,
    LINE,
    RUN_ID,
    ApprovalAsked,
    Fault,
    FindingPage,
    FindingQuery,
    FindingShown,
    InvoiceShown,
    LineExplained,
    ReleaseAccepted,
    ReleaseAsked,
    RunAccepted,
    RunAsked,
    RunPage,
    RunQuery,
    RunShown,
)
from domain.problems import InputError
from sync.messages import StartRun

DEFINITION = "apiDefinition.swagger.json"
PROPERTIES = "apiProperties.json"
SIGNED_IN = "apiProperties.entra.json"
ICON = "icon.png"
MESSAGE = "start-message.schema.json"
HOST = "APP.azurewebsites.net"
"""A placeholder: the name of the function app."""
COLOUR = "#0f4c5c"
_REFUSALS = {
    400: "What was asked is not readable; the error says what.",
    401: "Nobody is signed in, or the key is wrong.",
    403: "Who is signed in may not do this.",
    404: "There is nothing of that name.",
    409: "It cannot be done as things stand; the error says why.",
    413: "The body is too large.",
    415: "The body is not marked as JSON.",
    422: "The idempotency key stands for another request.",
    503: "A system that is needed does not answer now; try again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a path."""

    name: str
    title: str
    says: str
    pattern: str
    example: str
    values: Mapping[str, Any] | None = None
    """Where a designer reads the values of a drop-down list."""
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One action of the connector."""

    id: str
    method: str
    path: str
    summary: str
    says: str
    answers: type[BaseModel] | None
    """None: a PDF."""
    status: int = 200
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    of_path: tuple[Parameter, ...] = ()
    repeatable: bool = False
    """Whether an Idempotency-Key is taken."""
    refusals: tuple[int, ...] = ()
    visibility: str = "important"


_RUN = Parameter(
    name="run_id",
    title="Run",
    says="As it was answered when the run was asked for, such as bill.2026-10.",
    pattern=RUN_ID,
    example="bill.2026-10",
    values={
        "operationId": "ListRuns",
        "value-collection": "runs",
        "value-path": "run_id",
        "value-title": "run_id",
    },
)
_FINDING = Parameter(
    name="finding_id",
    title="Finding",
    says="Its short name, such as agreement.missing-58fcf3.",
    pattern=FINDING_ID,
    example="agreement.missing-58fcf3",
    values={
        "operationId": "ListFindings",
        "parameters": {"state": "holding"},
        "value-collection": "findings",
        "value-path": "finding",
        "value-title": "sentence",
    },
)
_NUMBER = Parameter(
    name="number",
    title="Invoice",
    says="Its number, or the key of a draft with points for slashes.",
    pattern=DOCUMENT_NAME,
    example="INV-202610-0001",
)
_LINE = Parameter(
    name="line",
    title="Line",
    says="Its position on the document, from 1 on.",
    pattern=LINE,
    example="1",
    whole=True,
)
OPERATIONS = (
    Operation(
        id="StartRun",
        method="POST",
        path="/runs",
        summary="Start a run",
        says="Ask for a run: a sync, the drafts of a month, a report. The same kind and month is "
        "the same run. Look at it with Get a run.",
        body=RunAsked,
        answers=RunAccepted,
        status=202,
        repeatable=True,
        refusals=(413, 415, 422),
    ),
    Operation(
        id="ListRuns",
        method="GET",
        path="/runs",
        summary="List runs",
        says="The latest runs, newest first.",
        query=RunQuery,
        answers=RunPage,
    ),
    Operation(
        id="GetRun",
        method="GET",
        path="/runs/{run_id}",
        summary="Get a run",
        says="How far a run came, what it counted and where every cent went. It is not found "
        "until it has begun.",
        of_path=(_RUN,),
        answers=RunShown,
        refusals=(404,),
    ),
    Operation(
        id="ApproveInvoices",
        method="POST",
        path="/approvals",
        summary="Approve invoices",
        says="Have the drafts of a month, of one customer or one draft numbered, frozen and "
        "issued. Drafts of customers on hold stay drafts.",
        body=ApprovalAsked,
        answers=RunAccepted,
        status=202,
        repeatable=True,
        refusals=(404, 409, 413, 415, 422),
    ),
    Operation(
        id="ListFindings",
        method="GET",
        path="/findings",
        summary="List findings",
        says="What is wrong with the data, whom it holds, and what to do.",
        query=FindingQuery,
        answers=FindingPage,
    ),
    Operation(
        id="GetFinding",
        method="GET",
        path="/findings/{finding_id}",
        summary="Get a finding",
        says="One finding; it is not found when its cause is gone.",
        of_path=(_FINDING,),
        answers=FindingShown,
        refusals=(404,),
    ),
    Operation(
        id="ReleaseHold",
        method="POST",
        path="/findings/{finding_id}/release",
        summary="Release a hold",
        says="Have a customer billed in spite of a finding, with a reason; or take that back. The "
        "finding tells what came of it.",
        of_path=(_FINDING,),
        body=ReleaseAsked,
        answers=ReleaseAccepted,
        status=202,
        refusals=(404, 409, 413, 415),
    ),
    Operation(
        id="GetInvoice",
        method="GET",
        path="/invoices/{number}",
        summary="Get an invoice",
        says="An invoice or credit note with all its lines and the reasons of each.",
        of_path=(_NUMBER,),
        answers=InvoiceShown,
        refusals=(404,),
    ),
    Operation(
        id="GetInvoicePdf",
        method="GET",
        path="/invoices/{number}/pdf",
        summary="Get the PDF of an invoice",
        says="The document as the customer gets it.",
        of_path=(_NUMBER,),
        answers=None,
        refusals=(404,),
    ),
    Operation(
        id="ExplainLine",
        method="GET",
        path="/invoices/{number}/lines/{line}",
        summary="Explain a line",
        says="Why one line asks for what it asks, down to the lines of Microsoft's invoice.",
        of_path=(_NUMBER, _LINE),
        answers=LineExplained,
        refusals=(404,),
        visibility="advanced",
    ),
)


def definition() -> dict[str, Any]:
    """Return the connector as OpenAPI 2.0."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "swagger": "2.0",
        "info": {
            "title": "CSP Billing",
            "description": "Exact, explained CSP billing: start runs, act on holds, approve and "
            "read invoices.",
            "version": "1.0",
        },
        "host": HOST,
        "basePath": "/api",
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": paths,
        "definitions": schemas.used(),
        "parameters": {},
        "responses": {},
        "securityDefinitions": {
            "function_key": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
            "entra": {
                "type": "oauth2",
                "flow": "accessCode",
                "authorizationUrl": "https://login.microsoftonline.com/TENANT/oauth2/v2.0/authorize",
                "tokenUrl": "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token",
                "scopes": {"api://API_CLIENT_ID/.default": "What the signed-in user may do."},
            },
        },
        "security": [{"function_key": []}],
        "tags": [],
    }


def properties() -> dict[str, Any]:
    """Return the settings of the connector with a function key."""
    return _properties(
        {
            "api_key": {
                "type": "securestring",
                "uiDefinition": {
                    "displayName": "Function key",
                    "description": "A key of the function app, of the host or of each function.",
                    "tooltip": "Azure portal, function app, App keys",
                    "constraints": {"tabIndex": 2, "clearText": False, "required": "true"},
                },
            }
        }
    )


def signed_in() -> dict[str, Any]:
    """Return the settings of the connector with Entra ID; words in capitals are to be filled in."""
    return _properties(
        {
            "token": {
                "type": "oauthSetting",
                "oAuthSettings": {
                    "identityProvider": "aad",
                    "clientId": "CONNECTOR_CLIENT_ID",
                    "scopes": [],
                    "redirectMode": "GlobalPerConnector",
                    "properties": {"IsFirstParty": "False"},
                    "customParameters": {
                        "loginUri": {"value": "https://login.microsoftonline.com"},
                        "tenantId": {"value": "TENANT"},
                        "resourceUri": {"value": "api://API_CLIENT_ID"},
                    },
                },
                "uiDefinition": {
                    "displayName": "Sign in",
                    "description": "Sign in with Entra ID.",
                    "tooltip": "What you may do is what your app roles say",
                    "constraints": {"required": "true"},
                },
            }
        }
    )


def _properties(parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "properties": {
            "iconBrandColor": COLOUR,
            "capabilities": [],
            "connectionParameters": parameters,
            "policyTemplateInstances": [],
        }
    }


def message_schema() -> dict[str, Any]:
    """Return the JSON Schema of a message on the queue `start` that asks for a run."""
    schema = StartRun.model_json_schema()
    about = "A message on the queue `start`, Base64 of UTF-8, that asks for a run."
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "description": about,
    }


def files() -> dict[str, bytes]:
    """Return every file of the connector by name."""
    return {
        DEFINITION: _json(definition()),
        PROPERTIES: _json(properties()),
        SIGNED_IN: _json(signed_in()),
        MESSAGE: _json(message_schema()),
        ICON: icon(),
    }


def write(folder: Path) -> list[str]:
    """Write the connector's files; returns the names of those that changed."""
    changed = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files().items():
            path = folder / name
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
                changed.append(name)
    except OSError as error:
        raise InputError(
            f"--write {folder}: {error.strerror}", hint="choose a folder that can be written"
        ) from None
    return changed


def _json(what: Any) -> bytes:
    return (json.dumps(what, indent=2, ensure_ascii=False) + "\n").encode()


# Operations ----------------------------------------------------------------------------------------


def _operation(one: Operation, schemas: _Schemas) -> dict[str, Any]:
    refusals = sorted({400, 401, 403, 503, *one.refusals})
    told: dict[str, Any] = {
        "operationId": one.id,
        "summary": one.summary,
        "description": one.says,
        "x-ms-visibility": one.visibility,
        "parameters": list(_parameters(one, schemas)),
        "responses": {
            str(one.status): _success(one, schemas),
            **{
                str(status): {
                    "description": _REFUSALS[status],
                    "schema": schemas.of(Fault),
                }
                for status in refusals
            },
        },
    }
    if one.answers is None:
        told["produces"] = ["application/pdf", "application/json"]
    return told


def _success(one: Operation, schemas: _Schemas) -> dict[str, Any]:
    if one.answers is None:
        return {"description": one.says, "schema": {"type": "string", "format": "binary"}}
    told: dict[str, Any] = {
        "description": _first_sentence(one.answers),
        "schema": schemas.of(one.answers),
    }
    if one.status == 202:
        told["headers"] = {
            "Location": {"type": "string", "description": "Where to look."},
            "Retry-After": {"type": "integer", "description": "Seconds to wait before looking."},
        }
    return told


def _first_sentence(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().partition("\n")[0]


def _parameters(one: Operation, schemas: _Schemas) -> Iterable[dict[str, Any]]:
    for parameter in one.of_path:
        told: dict[str, Any] = {
            "name": parameter.name,
            "in": "path",
            "required": True,
            "type": "integer" if parameter.whole else "string",
            "x-ms-summary": parameter.title,
            "description": f"{parameter.says} Example: {parameter.example}",
            "x-ms-url-encoding": "single",
        }
        if parameter.whole:
            told |= {"format": "int32", "minimum": 1}
        else:
            told["pattern"] = parameter.pattern
        if parameter.values:
            told["x-ms-dynamic-values"] = dict(parameter.values)
        yield told
    if one.query is not None:
        yield from _queries(one.query)
    if one.repeatable:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "type": "string",
            "maxLength": 128,
            "x-ms-summary": "Idempotency key",
            "description": "Any text of your own, such as the id of the flow's run: the same key "
            "with the same request is one request.",
            "x-ms-visibility": "advanced",
        }
    if one.body is not None:
        yield {"name": "body", "in": "body", "required": True, "schema": schemas.of(one.body)}


def _queries(model: type[BaseModel]) -> Iterable[dict[str, Any]]:
    schema = model.model_json_schema()
    for name, raw in schema["properties"].items():
        told = _swagger(raw, {})
        example = told.pop("example", None)
        told.pop("x-nullable", None)
        if example is not None:
            told["description"] = f"{told['description']} Example: {example}"
        told.pop("title", None)
        yield {"name": name, "in": "query", "required": False, **told}


# Schemas -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Schemas:
    """Schemas of models in the subset that OpenAPI 2.0 has, each defined once."""

    models: dict[str, type[BaseModel]] = field(default_factory=dict)

    def of(self, model: type[BaseModel]) -> dict[str, str]:
        """Refer to a model."""
        self.models[model.__name__] = model
        return {"$ref": f"#/definitions/{model.__name__}"}

    def used(self) -> dict[str, Any]:
        """Return the definitions of every model that was referred to, and of what they hold."""
        asked = [(model, "serialization") for model in self.models.values()]
        _, schema = models_json_schema(asked, ref_template="#/definitions/{model}")  # type: ignore[arg-type]
        raw = schema["$defs"]
        return {name: _swagger(raw[name], raw) for name in sorted(raw)}


_KEPT = frozenset(
    {
        "type",
        "format",
        "enum",
        "default",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "pattern",
        "description",
        "required",
    }
)
_CONTROL = re.compile(r"\\x[01]")


def _swagger(raw: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a JSON Schema; a keyword that has no place in OpenAPI 2.0 is an error here."""
    choices = raw.get("anyOf", ())
    some = [one for one in choices if one != {"type": "null"}]
    if choices:
        if len(some) != 1 or len(some) == len(choices):
            msg = f"OpenAPI 2.0 has no choice between {choices}"
            raise ValueError(msg)
        inner = some[0]
        if "$ref" in inner:  # nothing may stand beside a reference, so it is written out
            inner = known[inner["$ref"].rpartition("/")[2]]
        rest = {name: value for name, value in raw.items() if name != "anyOf"}
        return _swagger({**inner, **rest}, known) | {"x-nullable": True}
    if "$ref" in raw:
        return {"$ref": raw["$ref"]}
    told = {name: raw[name] for name in raw if name in _KEPT or name.startswith("x-")}
    if told.get("default", "") is None:
        del told["default"]
    if _CONTROL.search(told.get("pattern", "")):
        del told["pattern"]  # it forbids control characters, which no form can enter
    if "const" in raw:
        told["enum"] = [raw["const"]]
        told.setdefault("type", "string")
    if told.get("type") == "integer":
        told["format"] = "int32"
    if "title" in raw and "properties" not in raw:
        told["x-ms-summary"] = raw["title"]
    if "examples" in raw:
        told["example"] = raw["examples"][0]
    if "items" in raw:
        told["items"] = _swagger(raw["items"], known)
    if "properties" in raw:
        told["properties"] = {name: _swagger(one, known) for name, one in raw["properties"].items()}
    if isinstance(raw.get("additionalProperties"), Mapping):
        told["additionalProperties"] = _swagger(raw["additionalProperties"], known)
    return told


# The icon ------------------------------------------------------------------------------------------

_SIDE = 160
_TWICE = 2
"""Each point is looked at so often each way, which smooths edges."""


def icon() -> bytes:
    """Draw the icon as PNG: a document with three lines and a sum, white on the brand colour."""
    ground = tuple(int(COLOUR[start : start + 2], 16) for start in (1, 3, 5))
    rows = bytearray()
    for y in range(_SIDE):
        rows.append(0)  # no filter
        for x in range(_SIDE):
            inside = sum(
                _is_white(x + (i + 0.5) / _TWICE, y + (j + 0.5) / _TWICE)
                for i in range(_TWICE)
                for j in range(_TWICE)
            )
            rows.extend(_mixed(part, inside) for part in ground)
    head = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _mixed(part: int, inside: int) -> int:
    most = _TWICE * _TWICE
    return (part * (most - inside) + 255 * inside) // most


def _is_white(x: float, y: float) -> bool:
    """Say whether a point is paper: a sheet with a folded corner, and lines cut out of it."""
    if not (46 <= x <= 114 and 30 <= y <= 130):
        return False
    if x - 92 > y - 30:  # the corner that is folded away
        return False
    lines = ((58, 92, 60, 66), (58, 102, 74, 80), (58, 102, 88, 94), (82, 102, 106, 115))
    return not any(left <= x <= right and top <= y <= bottom for left, right, top, bottom in lines)
