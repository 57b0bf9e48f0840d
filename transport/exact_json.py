"""JSON without floats: numbers are read as Decimal (or int) and written digit by digit.

Every JSON parser that goes through a binary float loses digits of money; the standard library's
does not when told `parse_float=Decimal`. It cannot write a Decimal as a number, hence the writer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import Any


def loads(text: bytes | str, *, once: bool = False) -> Any:
    """Parse JSON with exact numbers; ValueError when it is not JSON (NaN and Infinity are not).

    `once`: an object that has a member twice is refused, too; else the last one counts.
    """
    pairs = _each_once if once else None
    try:
        return json.loads(
            text, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=pairs
        )
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None


def dumps(value: Any) -> str:
    """Write JSON; a Decimal becomes a number with exactly its digits. TypeError on a float."""
    write = _SCALARS.get(type(value))
    return write(value) if write else _write(value)


def _refuse(constant: str) -> Any:
    msg = f"{constant} is not a JSON number"
    raise ValueError(msg)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        msg = "an object has a member twice"
        raise ValueError(msg)
    return members


def _number(value: Decimal) -> str:
    if not value.is_finite():
        msg = f"{value} is not a JSON number"
        raise ValueError(msg)
    return f"{value:f}"


_SCALARS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii,
    int: int.__repr__,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
    Decimal: _number,
}
"""The plain types, which are nearly all of a payload; subclasses take the long way."""


def _write(value: Any) -> str:
    if isinstance(value, dict):
        # In one expression: with a call for each member it takes twice as long.
        members = [
            f"{encode_basestring_ascii(str(key))}: {_SCALARS.get(type(item), _write)(item)}"
            for key, item in value.items()
        ]
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join([dumps(item) for item in value]) + "]"
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, float):
        msg = f"a float ({value}) does not go on the wire: use Decimal"
        raise TypeError(msg)
    return json.dumps(value)
