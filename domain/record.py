"""Frozen records that are made by the hundred thousand."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar, cast

_Record = TypeVar("_Record")


def stored_plainly(record: type[_Record]) -> type[_Record]:
    """Return a second constructor of a frozen, slotted dataclass, by keywords, in a quarter of the time.

    The first one calls object.__setattr__ for each field, which took half of the time of rating a
    charge. This one, written out as dataclasses write theirs, stores the fields plainly while the
    record is still open, and then closes it: what comes out is a `record`, as frozen as any. It runs
    no __post_init__ and knows no default factories.
    """
    known = fields(cast("Any", record))
    opened = type(record.__name__, (), {"__slots__": [f.name for f in known]})
    parameters = [f.name if f.default is MISSING else f"{f.name}=_{f.name}" for f in known]
    lines = [
        f"def make(*, {', '.join(parameters)}):",
        "made = new(opened)",
        *(f"made.{f.name} = {f.name}" for f in known),
        "made.__class__ = record",
        "return made",
    ]
    scope: dict[str, Any] = {f"_{f.name}": f.default for f in known}
    scope |= {"new": object.__new__, "opened": opened, "record": record}
    exec("\n    ".join(lines), scope)  # noqa: S102 - the names of our own fields
    return cast("type[_Record]", scope["make"])
