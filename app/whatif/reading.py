"""A scenario file, from its bytes to checked scenarios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.reading import fault_in, read_json
from app.whatif.scenario import Scenario
from domain.problems import InputError


def read_file(path: Path) -> Scenario | list[Scenario]:
    """Read a scenario file; InputError names file and field of what is wrong."""
    content = read_json(path)
    if isinstance(content, list):
        return [_read(path, part, f"[{n}].") for n, part in enumerate(content)]
    return _read(path, content, "")


def _read(path: Path, content: Any, where: str) -> Scenario:
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        raise InputError(
            f"{path}: {fault_in(error, where, 'the scenario')}",
            hint="the format is described in docs/whatif.md",
        ) from None
