"""What dev.py looks for on a machine, and what is said where it is not there."""

import subprocess
import sys

import pytest

import dev
from host import azurite as storage
from host.remote import worker_python
from tests.host.conftest import ROOT


def an_interpreter(path, version, code=0):
    """A command that answers what an interpreter of this version answers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{version}'\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with this Python, of another version than is deployed, and nothing else."""
    own = an_interpreter(tmp_path / "versions/3.11.9/bin/python3", "3.11")
    monkeypatch.setattr(sys, "executable", own)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "versions/3.11.9"))
    monkeypatch.setattr(dev.shutil, "which", lambda _: None)
    return tmp_path


def test_the_workers_interpreter_is_this_one_where_it_is_of_the_deployed_version(
    machine, monkeypatch
):
    own = an_interpreter(machine / "own", dev.WORKER_VERSION)
    monkeypatch.setattr(sys, "executable", own)
    assert dev.find_worker_python() == own


def test_a_shim_that_does_not_start_is_passed_over_for_what_stands_beside_this_installation(
    machine, monkeypatch
):
    shim = an_interpreter(machine / "shims/python3.13", "python3.13: command not found", 127)
    monkeypatch.setattr(dev.shutil, "which", lambda _: shim)
    assert dev.find_worker_python() is None
    beside = an_interpreter(machine / "versions/3.13.1/bin/python3.13", "3.13")
    assert dev.find_worker_python() == beside


def test_without_the_deployed_version_nothing_is_made_and_nothing_fails(machine, monkeypatch):
    monkeypatch.setattr(dev, "WORKER", machine / ".venv-worker")
    assert dev.make_worker_environment() == 0
    assert not dev.WORKER.exists()
    assert worker_python(machine) is None


def test_the_deployed_version_is_the_one_that_the_worker_is_tried_on():
    template = (ROOT / "infra/modules/function-app.bicep").read_text(encoding="utf-8")
    assert f"version: '{dev.WORKER_VERSION}'" in template


def test_the_workers_packages_are_those_that_are_deployed_besides_its_own():
    """Two locks, one version of each package that is in both."""

    def versions(name):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pins = [line.split(" ")[0] for line in lines if "==" in line and not line.startswith(" ")]
        return {pin for pin in pins if "azure-functions==1" not in pin}

    deployed, own = versions("requirements.txt"), versions("host/requirements-worker.txt")
    names = {pin.split("==")[0] for pin in deployed}
    assert {pin for pin in own if pin.split("==")[0] in names} <= deployed
    assert {pin.split("==")[0] for pin in own} >= {"azure-functions-runtime", "protobuf"}


def test_what_azurite_lacks_is_said_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(storage.shutil, "which", lambda _: "/usr/bin/node")
    monkeypatch.setattr(storage, "SCRIPT", tmp_path / "azurite.js")
    assert storage.why_missing() == (
        "Azurite is not installed: python3 dev.py test does it (npm ci in host/azurite)"
    )
    monkeypatch.setattr(storage.shutil, "which", lambda _: None)
    assert "install it" in storage.why_missing()
    with pytest.raises(storage.Missing, match="needs Node"), storage.azurite():
        pass


def test_help_tells_every_command():
    told = subprocess.run(
        [sys.executable, ROOT / "dev.py"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0
    for command in ("demo", "test", "host", "check", "run"):
        assert f"python3 dev.py {command}" in told.stdout
