"""The custom connector of Power Automate, made of the models that the HTTP functions read and answer.

Written by `python -m app connector`; a test fails where what is committed is not what the models say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.connector_actions import OPERATIONS, Operation
from app.http_models import Fault
from app.icon import COLOUR, icon
from app.swagger import Schemas, translated
from domain.problems import InputError
from sync.messages import StartRun

DEFINITION = "apiDefinition.swagger.json"
PROPERTIES = "apiProperties.json"
SIGNED_IN = "apiProperties.entra.json"
ICON = "icon.png"
MESSAGE = "start-message.schema.json"
HOST = "APP.azurewebsites.net"
"""A placeholder: the name of the function app."""
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


def definition() -> dict[str, Any]:
    """Return the connector as OpenAPI 2.0."""
    schemas = Schemas()
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


def _operation(one: Operation, schemas: Schemas) -> dict[str, Any]:
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


def _success(one: Operation, schemas: Schemas) -> dict[str, Any]:
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


def _parameters(one: Operation, schemas: Schemas) -> Iterable[dict[str, Any]]:
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
        told = translated(raw, {})
        example = told.pop("example", None)
        told.pop("x-nullable", None)
        if example is not None:
            told["description"] = f"{told['description']} Example: {example}"
        told.pop("title", None)
        yield {"name": name, "in": "query", "required": False, **told}
