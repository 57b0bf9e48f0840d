"""`dynamics-web-api` from npm, unmodified, runs its own script against the served environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.conftest import access_token

FOLDER = Path(__file__).parent / "node"


def missing() -> str:
    """Why the script cannot run here, or an empty string."""
    if shutil.which("node") is None:
        return "node is not installed; get Node 20 or later from https://nodejs.org"
    if not (FOLDER / "node_modules" / "dynamics-web-api").is_dir():
        return "its packages are not installed: python3 dev.py test does that (npm ci)"
    return ""


def test_the_script_of_the_npm_client_passes(environment, served):
    if reason := missing():
        # Where everything must be tried, to leave something out is a failure.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    script = FOLDER / "client.test.mjs"
    run = subprocess.run(
        ["node", "--test", "--test-reporter=tap", script.name],
        cwd=FOLDER,
        env={
            "PATH": os.environ["PATH"],
            "NODE_EXTRA_CA_CERTS": served[1],
            "DATAVERSE_URL": environment.url,
            "DATAVERSE_TOKEN": access_token(environment.emulator),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    written = len(re.findall(r"^test\(", script.read_text(), re.MULTILINE))
    assert f"# pass {written}" in run.stdout.splitlines()
