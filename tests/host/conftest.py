"""An emulated partner on loopback with its tables made, and an Azurite of its own, for the functions."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from app.settings import Settings
from app.wiring import opened
from emulator import Emulator, serve
from host import azurite as storage
from host.runner import Host

ROOT = Path(__file__).resolve().parents[2]
NEVER = "0 0 5 29 2 *"
"""A schedule that does not come while a test runs."""
QUICK = {
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.3",
}


def until(happens, seconds=30.0, why="it did not happen"):
    deadline = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < deadline, why
        time.sleep(0.05)
    return found


@dataclass
class Partner:
    """What the functions speak to, and the settings that tell them where it is."""

    emulator: Emulator
    settings: dict[str, str]

    def environment(self, **more: str) -> dict[str, str]:
        """The settings over as much of this process's environment as any process needs."""
        needed = ("PATH", "HOME", "SYSTEMROOT", "TMPDIR", "TEMP", "LANG")
        kept = {name: os.environ[name] for name in needed if name in os.environ}
        return kept | self.settings | more


def schedules() -> dict[str, str]:
    """Every setting that a timer is scheduled by, from the code of the timers."""
    text = (ROOT / "app" / "timers.py").read_text(encoding="utf-8")
    return dict.fromkeys(re.findall(r'schedule="%(\w+)%"', text), NEVER)


@contextlib.contextmanager
def a_partner(folder: Path, scenario: str) -> Iterator[Partner]:
    """Serve a scenario and an Azurite, and make the tables as an administrator does."""
    with contextlib.ExitStack() as held:
        emulator = held.enter_context(contextlib.closing(Emulator(scenario=scenario)))
        held.enter_context(serve(emulator))
        connection = held.enter_context(storage.azurite()).connection_string
        settings = {
            "CSP_MODE": "emulator",
            "CSP_EMULATOR_URL": emulator.base_urls["control"],
            "CSP_STATE_DIR": str(folder / "state"),
            "CSP_STORAGE_CONNECTION_STRING": connection,
            "WORKER_QUEUE": connection,
            "AzureWebJobsStorage": connection,
            "PYTHON_ENABLE_OPENTELEMETRY": "true",  # as it is deployed
            **schedules(),
            **QUICK,
        }
        with opened(Settings.from_env(settings)) as worker:
            worker.provisioner().apply()
        yield Partner(emulator, settings)


@pytest.fixture
def partner(tmp_path, azurite_is_there) -> Iterator[Partner]:
    with a_partner(tmp_path, "small") as made:
        yield made


@dataclass
class Caller:
    """A caller of the HTTP functions."""

    host: Host

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, f"{self.host.url}{path}", timeout=60, **options)

    def run(self, asked: Mapping[str, Any], seconds: float = 60.0) -> dict[str, Any]:
        """Start a run, follow it where the answer says, and return it when it has ended."""
        answer = self.ask("POST", "/api/runs", json=asked)
        assert answer.status_code == 202, answer.text
        place = answer.headers["Location"]

        def ended() -> dict[str, Any] | None:
            told = self.ask("GET", place)
            if told.status_code == 404:
                return None
            run: dict[str, Any] = told.json()
            return run if run["status"] not in {"open", "running"} else None

        return until(ended, seconds, f"{asked} did not end")
