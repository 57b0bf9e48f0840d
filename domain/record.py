"""Frozen records that are made by the hundred thousand."""

from __future__ import annotations

from dataclasses import field, fields, make_dataclass
from typing import Any, TypeVar, cast

_Record = TypeVar("_Record")


def stored_plainly(record: type[_Record]) -> type[_Record]:
    """Return a second constructor of a frozen, slotted record, in less than half of the time.

    The first one calls object.__setattr__ for each field, which took half of the time of rating a
    charge. This one stores the fields while the record is still open, and then closes it: what comes
    out is of the class `record`, and as frozen as any.
    """

    def close(made: Any) -> None:
        made.__class__ = record

    return cast(
        "type[_Record]",
        make_dataclass(
            record.__name__,
            [(f.name, f.type, field(default=f.default)) for f in fields(cast("Any", record))],
            namespace={"__post_init__": close},
            kw_only=True,
            slots=True,
        ),
    )
