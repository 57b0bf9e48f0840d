"""JSON files that people write, read exactly: one sentence for what is wrong, and nothing guessed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from domain.problems import InputError

MAX_BYTES = 16 * 1024 * 1024


def read_json(path: Path) -> Any:
    """Read a JSON file with exact numbers; InputError names the file and what is wrong with it."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES} bytes", hint="split the file")
        return json.loads(
            path.read_text(encoding="utf-8-sig"),
            parse_float=_exact,
            parse_int=_whole,
            object_pairs_hook=_once,
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint="give the path of a JSON file") from None
    except RecursionError:
        raise InputError(
            f"{path}: not readable as JSON: nested too deeply", hint="check the file"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON: {error}", hint="check the file") from None


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent that even a Decimal cannot hold
        msg = f"{text[:30]} is out of range for a number"
        raise ValueError(msg) from None


def _whole(text: str) -> int:
    if len(text) > 31:
        msg = f"{text[:30]}... has {len(text)} digits, more than a number here may have"
        raise ValueError(msg)
    return int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says one thing twice: which of the two is meant, nobody knows."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)
        raise ValueError(f"the field {twice} stands twice in one object")
    return found


_WORDS = {
    "extra_forbidden": "is not a field of this format",
    "missing": "is missing",
    "model_type": "must be an object with fields",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "string_unicode": "must be text of whole characters",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
}
"""What pydantic says in words of Python, in words of the format; the rest it says well itself."""


def fault_in(error: ValidationError, where: str = "", whole: str = "the file") -> str:
    """Say in one sentence, in words of the format, which field of a file is wrong and how."""
    fault = error.errors(include_url=False)[0]
    field = where + ".".join(str(part) for part in fault["loc"])
    what = _WORDS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    return f"{field.rstrip('.') or whole}: {what}"
