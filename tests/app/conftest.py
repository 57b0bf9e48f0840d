"""One demo for all: its state, its output and its documents; a test that writes takes a copy."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from app.settings import Settings
from app.wiring import opened
from domain.charge import Charge
from domain.problems import Finding
from domain.run import Run
from invoice.document import Invoice


@dataclass
class Answer:
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on stderr after the banner; more than one fails."""
        lines = [line for line in self.err.splitlines() if not line.startswith("CSP Billing · ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


def command(*arguments: str, state: Path | None = None, **variables: str) -> Answer:
    """Run a command in this process under no settings but these."""
    out, err = io.StringIO(), io.StringIO()
    kept = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("CSP_", "WEBSITE_"))]:
        del os.environ[name]
    os.environ.update(variables, **({"CSP_STATE_DIR": str(state)} if state else {}))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(arguments)
            except SystemExit as end:
                code = int(end.code or 0)
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return Answer(code, out.getvalue(), err.getvalue())


@cache
def functions() -> dict[str, Any]:
    """The functions of the app by name; the library lets them be asked for only once."""
    import function_app

    return {one.get_function_name(): one for one in function_app.app.get_functions()}


@dataclass
class Demo:
    """The partner's month as it stands after the demo; never written to by a test."""

    state: Path
    out: Path
    answer: Answer
    documents: tuple[Invoice, ...] = ()
    findings: tuple[Finding, ...] = ()
    runs: dict[str, Run] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Customer by tenant id."""

    def of(self, customer: str) -> Invoice:
        """The one document of a customer."""
        (found,) = [one for one in self.documents if one.customer_name == customer]
        return found

    def charges(self, customer: str, name: str) -> list[Charge]:
        """The charges of a customer whose product name ends so."""
        lines = self.of(customer).lines
        return [line.charge for line in lines if line.charge.name.endswith(name)]

    def held(self, customer: str) -> list[str]:
        """Why a customer is on hold: the names of the checks."""
        return [
            one.check
            for one in self.findings
            if self.names.get(one.customer_id) == customer and one.severity.value != "warn"
        ]

    def warned(self, customer: str) -> list[str]:
        return [
            one.check
            for one in self.findings
            if self.names.get(one.customer_id) == customer and one.severity.value == "warn"
        ]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    state, out = folder / "state", folder / "out"
    answer = command("demo", "--out", str(out), "--json", state=state)
    assert answer.code == 0, answer.err
    found = Demo(state, out, answer)
    with opened(Settings.from_env({"CSP_STATE_DIR": str(state)})) as worker:
        store = worker.store
        found.documents = tuple(store.documents())
        found.findings = tuple(store.findings())
        found.runs = {run.key: run for run in store.runs()}
        found.names = {customer.id: customer.name for customer in store.customers()}
    return found


@pytest.fixture
def copy(demo: Demo, tmp_path: Path) -> Path:
    """A copy of the demo's state, to write to."""
    return Path(shutil.copytree(demo.state, tmp_path / "state"))
