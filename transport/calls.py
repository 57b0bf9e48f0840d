"""What is told of each try of a call: to logs, traces and meters, without query, body or identity."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

_TAX_NUMBER = re.compile(r"(?<=/vat/)[^/]+")
_log = logging.getLogger(__name__)


class Call(NamedTuple):
    """One finished try of a call, for logs: no query, no body, no identity."""

    service: str
    method: str
    host: str
    path: str
    status: int | None
    milliseconds: int


def log_call(call: Call) -> None:
    """Write a call to the debug log, without the tax number that a register has in its paths."""
    shown = call._replace(path=_TAX_NUMBER.sub("...", call.path))
    _log.debug("%s %s %s%s -> %s in %d ms", *shown)
