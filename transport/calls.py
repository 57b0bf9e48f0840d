"""What is told of each try of a call: to logs, traces and meters, without query, body or identity."""

from __future__ import annotations

import logging
import re
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, NamedTuple

_TAX_NUMBER = re.compile(r"(?<=/vat/)[^/]+")
_VERSION = re.compile(r"v\d{1,2}(\.\d{1,2})?")
_WORD = re.compile(r"[A-Za-z_$][A-Za-z_$-]{0,39}|Microsoft(\.[A-Za-z]{1,40}){1,4}")
_log = logging.getLogger(__name__)


class Call(NamedTuple):
    """One finished try of a call: no query, no body, no identity."""

    service: str
    method: str
    host: str
    path: str
    status: int | None
    """None: no answer came."""
    milliseconds: int
    tried: int = 1
    """Which try it was, from 1; a fresh token after a 401 is one more."""
    request_id: str = ""
    """By which the service finds it, as it answered."""

    @property
    def template(self) -> str:
        """The path with nothing that says whose: words and versions stay, all else is `{id}`."""
        return "/".join(_known(part) for part in self.path.split("/"))


def _known(part: str) -> str:
    """Keep a segment that is a word; what stands in brackets is a key (OData) and never kept."""
    name, bracket, _ = part.partition("(")
    if name and not (_WORD.fullmatch(name) or _VERSION.fullmatch(name)):
        return "{id}"
    return f"{name}({{id}})" if bracket else name


def log_call(call: Call) -> None:
    """Write a call to the debug log, without the tax number that a register has in its paths."""
    path = _TAX_NUMBER.sub("...", call.path)
    _log.debug(
        "%s %s %s%s -> %s in %d ms",
        call.service,
        call.method,
        call.host,
        path,
        call.status,
        call.milliseconds,
    )


class Threads(ThreadPoolExecutor):
    """Threads that work in the context of who hands them the work, so that its calls are told as its."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand over one piece of work; each gets a copy of the context, as a context is no two threads'."""
        return super().submit(copy_context().run, fn, *args, **kwargs)
