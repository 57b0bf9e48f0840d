"""JSON without floats: numbers are read as Decimal (or int) and written digit by digit.

Every JSON parser that goes through a binary float loses digits of money; the standard library's
does not when told `parse_float=Decimal`. It cannot write a Decimal as a number, hence the writer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any


def loads(text: bytes | str) -> Any:
    """Parse JSON with exact numbers; ValueError when it is not JSON (NaN and Infinity are not)."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse)


def dumps(value: Any) -> str:
    """Write JSON; a Decimal becomes a number with exactly its digits. TypeError on a float."""
    return "".join(_write(value))


def _refuse(constant: str) -> Any:
    msg = f"{constant} is not a JSON number"
    raise ValueError(msg)


def _write(value: Any) -> Iterator[str]:
    if isinstance(value, Decimal):
        if not value.is_finite():
            msg = f"{value} is not a JSON number"
            raise ValueError(msg)
        yield f"{value:f}"
    elif isinstance(value, dict):
        yield "{"
        for index, (key, item) in enumerate(value.items()):
            yield f"{', ' if index else ''}{json.dumps(str(key))}: "
            yield from _write(item)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for index, item in enumerate(value):
            if index:
                yield ", "
            yield from _write(item)
        yield "]"
    elif isinstance(value, float):
        msg = f"a float ({value}) does not go on the wire: use Decimal"
        raise TypeError(msg)
    else:
        yield json.dumps(value)
