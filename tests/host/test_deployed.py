"""What `func azure functionapp publish` would send: it is enough, it is no more, and a doctor likes it."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.conftest import functions
from tests.host.conftest import ROOT

NEVER = {"tests", "bench", "docs", "emulator", "host", "infra", "dev.py", ".github", ".ci"}


def listed(*options):
    told = subprocess.run(
        ["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if told.returncode:
        pytest.skip("this is no working tree of git, which knows the files")
    return {name for name in told.stdout.split("\0") if name}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A folder with the files that are not left out by .funcignore."""
    folder = tmp_path_factory.mktemp("deployed")
    for name in listed() - listed("-c", "-i", "--exclude-from=.funcignore"):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return folder


def test_what_is_only_for_development_is_left_out(deployed):
    there = {path.name for path in deployed.iterdir()}
    assert there & NEVER == set()
    assert {"function_app.py", "host.json", "requirements.txt", "app", "domain"} <= there
    assert list(deployed.rglob("*.md")) == []
    assert list(deployed.rglob("local.settings.json")) == []


def test_what_is_deployed_is_enough_for_the_functions_to_be_indexed(deployed):
    code = "import function_app; print(len(function_app.app.get_functions()))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        cwd=deployed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == (str(len(functions())), 0), done.stderr


EXPECTED = {
    "check_blueprint_registration": "it looks for a blueprint by the one name that all of ours have",
    "check_venv": "what is deployed has none",
    "check_native_dependency_risk": "packages are built where they run: remote build",
    "check_binding_connection_resolution": "it knows settings of local.settings.json only",
    "check_local_settings": "there is none, on purpose",
    "check_func_cli": "Core Tools may be absent",
    "check_func_core_tools_version": "Core Tools may be absent",
    "check_app_insights": "it knows settings of local.settings.json only",
    "check_asgi_wsgi_exposure": "transport mounts emulators, and serves nothing",
}
"""What it warns of, and why that is no fault."""
ASKED = {
    "check_programming_model_v2",
    "check_decorator_order",
    "check_python_runtime_lifecycle",
    "check_requirements_txt",
    "check_azure_functions_library",
    "check_azure_functions_worker",
    "check_hosting_plan_lifecycle",
    "check_flex_deprecated_settings",
    "check_host_json_version",
    "check_extension_bundle_v4",
    "check_funcignore",
    "check_unpinned_requirements",
    "check_host_json_log_level_conflict",
}


def test_azure_functions_doctor_finds_nothing_wrong(deployed, tmp_path):
    if importlib.util.find_spec("azure_functions_doctor") is None:
        pytest.skip("azure-functions-doctor is not installed: python3 dev.py test does it")
    # The entry point and the rim are what it understands; other packages only take its time.
    for name in (".funcignore", "function_app.py", "host.json", "requirements.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(deployed / "app", tmp_path / "app")
    for path in (ROOT / "infra").rglob("*.bicep"):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    doctor = Path(sys.executable).with_name("azure-functions-doctor")
    done = subprocess.run(
        [doctor, "doctor", "--path", ".", "--hosting-plan", "flex-consumption", "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {one["rule_id"]: one for one in results(json.loads(done.stdout)["results"])}
    wrong = {
        name: one["value"]
        for name, one in found.items()
        if one["status"] == "fail" or (one["status"] == "warn" and name not in EXPECTED)
    }
    assert wrong == {}
    assert {name for name in ASKED if found[name]["status"] != "pass"} == set()


def results(told):
    """Every rule, however the report groups them."""
    if isinstance(told, list):
        return [one for each in told for one in results(each)]
    if "rule_id" in told:
        return [told]
    return [one for each in told.values() if isinstance(each, dict | list) for one in results(each)]
