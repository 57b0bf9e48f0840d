"""JSON Schema as OpenAPI 2.0 has it: what pydantic writes of a model, in the subset that is left.

No `anyOf` with `null` (it becomes `x-nullable`), no `const`, no keyword beside a `$ref`, titles as
`x-ms-summary`, one example. What has no place there is an error here, and not left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema


@dataclass(slots=True)
class Schemas:
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
        return {name: translated(raw[name], raw) for name in sorted(raw)}


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


def translated(raw: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
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
        return translated({**inner, **rest}, known) | {"x-nullable": True}
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
        told["items"] = translated(raw["items"], known)
    if "properties" in raw:
        told["properties"] = {
            name: translated(one, known) for name, one in raw["properties"].items()
        }
    if isinstance(raw.get("additionalProperties"), Mapping):
        told["additionalProperties"] = translated(raw["additionalProperties"], known)
    return told
