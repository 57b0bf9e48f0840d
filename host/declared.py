"""What a functions app declares: its functions with their triggers, host.json, its settings.

Read as the platform reads it, so that nothing is said twice: the SDK's index for the functions,
`host.json` with its overrides by settings (`AzureFunctionsJobHost__extensions__queues__batchSize`),
`%NAME%` in schedules and queue names from the settings. What is not stood in for is refused at the
start, in a sentence.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

OVERRIDE = "AzureFunctionsJobHost__"
TRIGGERS = ("queueTrigger", "timerTrigger", "httpTrigger")
_SETTING = re.compile(r"%([^%]+)%")
_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d{1,7})?)")


class NotRunnable(Exception):  # noqa: N818 - a state of the app or its settings
    """The app cannot be run here as it is; the sentence says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function: its name, its trigger as it is deployed, and what is called."""

    name: str
    trigger: Mapping[str, Any]
    bindings: tuple[Mapping[str, Any], ...]
    call: Callable[..., Any] | None = None
    """None where the function runs in a process of its own."""

    @property
    def kind(self) -> str:
        """`queueTrigger`, `timerTrigger` or `httpTrigger`."""
        return str(self.trigger["type"])

    @property
    def argument(self) -> str:
        """The parameter that takes what triggered."""
        return str(self.trigger["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRules:
    """`extensions.queues` of host.json, with the platform's defaults; the lease is the host's own."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: timedelta = timedelta(0)
    """How long a message that failed is out of sight."""
    max_polling_interval: timedelta = timedelta(minutes=1)
    base64: bool = True
    lease: timedelta = timedelta(minutes=10)
    """How long a message that is worked is out of sight; renewed at half of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A functions app as the platform sees it."""

    functions: tuple[Function, ...]
    settings: Mapping[str, str]
    queues: QueueRules = field(default_factory=QueueRules)
    route_prefix: str = "api"

    def of(self, kind: str) -> tuple[Function, ...]:
        """The functions with this kind of trigger."""
        return tuple(one for one in self.functions if one.kind == kind)

    def named(self, name: str) -> Function:
        """One function; NotRunnable names the known ones."""
        for one in self.functions:
            if one.name == name:
                return one
        known = ", ".join(sorted(one.name for one in self.functions))
        raise NotRunnable(f"there is no function {name}: there are {known}")

    def resolved(self, text: str, *, where: str) -> str:
        """Put settings in place of `%NAME%`."""

        def value(found: re.Match[str]) -> str:
            name = found[1]
            if not self.settings.get(name):
                raise NotRunnable(f"{where} needs the setting {name}, which is not set")
            return self.settings[name]

        return _SETTING.sub(value, text)

    def connection(self, function: Function) -> str:
        """The connection string of a queue function, by the name that its binding gives."""
        name = str(function.trigger.get("connection") or "AzureWebJobsStorage")
        for key in (name, f"AzureWebJobs{name}"):
            if value := self.settings.get(key):
                return value
        by_identity = any(key.startswith(f"{name}__") for key in self.settings)
        why = "is set by identity, which Azurite has not" if by_identity else "is not set"
        raise NotRunnable(
            f"{function.name} listens by the connection {name}, which {why}: set {name} to a "
            "connection string of Azurite"
        )


def load(
    folder: Path,
    settings: Mapping[str, str],
    *,
    lease: timedelta | None = None,
    functions: tuple[Function, ...] | None = None,
) -> App:
    """Read what function_app.py of a folder and host.json declare.

    Functions that were indexed elsewhere are taken as given; else the file is imported here.
    """
    if functions is None:
        sys.path.insert(0, str(folder))
        functions = indexed(importlib.import_module("function_app").app)
    rules = host_file(folder / "host.json", settings)
    extensions = rules.get("extensions") or {}
    return App(
        functions=tuple(map(supported, functions)),
        settings=settings,
        queues=queue_rules(extensions.get("queues") or {}, lease=lease),
        route_prefix=str((extensions.get("http") or {}).get("routePrefix", "api")).strip("/"),
    )


def indexed(app: Any) -> tuple[Function, ...]:
    """Read the SDK's index of an app; the library lets it be asked for only once."""
    return tuple(
        Function(
            name=one.get_function_name(),
            trigger=one.get_trigger().get_dict_repr(),
            bindings=tuple(binding.get_dict_repr() for binding in one.get_bindings()),
            call=one.get_user_function(),
        )
        for one in app.get_functions()
    )


def supported(function: Function) -> Function:
    """Return a function that can be run here; NotRunnable names the binding that cannot."""
    kinds = {str(binding["type"]) for binding in function.bindings}
    if others := kinds - {*TRIGGERS, "http"}:
        raise NotRunnable(
            f"{function.name} has a binding that is not stood in for here: "
            f"{', '.join(sorted(others))}"
        )
    return function


def host_file(path: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """Read host.json, with the settings that override parts of it as the platform lets them."""
    try:
        rules = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotRunnable(
            f"there is no {path}: this is not the folder of a functions app"
        ) from None
    except ValueError as error:
        raise NotRunnable(f"{path} is not JSON: {error}") from None
    for key, value in settings.items():
        if not key.startswith(OVERRIDE):
            continue
        *above, last = key.removeprefix(OVERRIDE).split("__")
        place = rules
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return dict(rules)


def queue_rules(queues: Mapping[str, Any], *, lease: timedelta | None = None) -> QueueRules:
    """Read `extensions.queues`."""
    usual = QueueRules()
    size = int(queues.get("batchSize", usual.batch_size))
    return QueueRules(
        batch_size=size,
        new_batch_threshold=int(queues.get("newBatchThreshold", size // 2)),
        max_dequeue_count=int(queues.get("maxDequeueCount", usual.max_dequeue_count)),
        visibility_timeout=span(queues.get("visibilityTimeout"), usual.visibility_timeout),
        max_polling_interval=span(queues.get("maxPollingInterval"), usual.max_polling_interval),
        base64=str(queues.get("messageEncoding", "base64")).lower() == "base64",
        lease=lease or usual.lease,
    )


def span(text: str | None, usual: timedelta) -> timedelta:
    """Read a time span as .NET writes it: `[days.]hours:minutes:seconds`."""
    if text is None:
        return usual
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise NotRunnable(f"host.json: {text!r} is no time span such as 00:02:00")
    days, hours, minutes, seconds = found.groups()
    return timedelta(
        days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float(seconds)
    )
