"""What is deployed: enough to run, and nothing for laptops, tests or people."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from tests.infra.conftest import ROOT

SPEC = importlib.util.spec_from_file_location("package", ROOT / "infra/scripts/package.py")
package = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(package)

NOT_DEPLOYED = {"emulator", "host"}
"""Packages for laptops: a deployed worker refuses every mode but the cloud."""
CLOUD = {
    "CSP_MODE": "cloud",
    "CSP_TENANT_ID": "11111111-1111-1111-1111-111111111111",
    "CSP_CLIENT_ID": "22222222-2222-2222-2222-222222222222",
    "CSP_FEDERATED": "true",
    "CSP_DATAVERSE_URL": "https://contoso.crm4.dynamics.com",
    "CSP_KEY_VAULT_URL": "https://kv-example.vault.azure.net",
    "CSP_MANAGED_IDENTITY_CLIENT_ID": "33333333-3333-3333-3333-333333333333",
    "CSP_STORAGE_ACCOUNT_URL_QUEUE": "https://example.queue.core.windows.net/",
    "CSP_STORAGE_ACCOUNT_URL_BLOB": "https://example.blob.core.windows.net/",
    "WEBSITE_SITE_NAME": "func-example",
}
PROBE = """
import importlib, os, pathlib, socket
def closed(*_, **__): raise AssertionError("a socket while the worker is built")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = closed
import function_app
assert len(function_app.app.get_functions()) > 10
from app.wiring import worker
assert worker().settings.mode == "cloud"
names = sorted(
    ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    for path in pathlib.Path().rglob("*.py")
    if path.name != "__main__.py"
)
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.fixture(scope="module")
def names():
    return sorted(package.deployed(ROOT))


def test_the_package_holds_every_file_of_the_product_and_no_other_folder(names):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ours = set(project["tool"]["mypy"]["packages"]) - NOT_DEPLOYED
    assert {name.split("/")[0] for name in names if "/" in name} == ours
    modules = {
        path.relative_to(ROOT).as_posix() for one in ours for path in (ROOT / one).rglob("*.py")
    }
    assert modules <= set(names)
    assert {name for name in names if "/" not in name} == {
        "LICENSE",
        "function_app.py",
        "host.json",
        "requirements.txt",
    }


def test_no_secret_no_cache_and_no_page_is_packed(names):
    assert [n for n in names if "local.settings" in n or "__pycache__" in n or "/." in n] == []
    assert [n for n in names if n.endswith((".md", ".pyc", ".pem", ".sqlite"))] == []


def test_the_package_alone_indexes_and_builds_the_worker_for_the_cloud(names, tmp_path):
    for name in names:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=tmp_path,
        env={**CLOUD, "PATH": "", "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == sum(name.endswith(".py") for name in names if "__main__" not in name)


def test_packing_twice_gives_the_same_bytes(tmp_path, capsys):
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    assert package.main([str(first)]) == package.main([str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as packed:
        assert "function_app.py" in packed.namelist()
    assert package.main([]) == 2


@pytest.mark.parametrize(
    ("name", "pattern", "matched"),
    [
        ("tests", "/tests", True),
        ("app/tests", "/tests", False),
        ("app/__pycache__", "__pycache__", True),
        ("docs/page.md", "*.md", True),
        ("app/.hidden", ".*", True),
        ("app/made.py", "*.md", False),
    ],
)
def test_patterns(name, pattern, matched):
    assert package.matches(name, pattern) is matched


@pytest.mark.parametrize("pattern", ["!app", "app/x", "**/y"])
def test_a_pattern_that_tools_read_differently_is_refused(pattern):
    with pytest.raises(ValueError, match=r"\.funcignore"):
        package.read_patterns(f"# comment\n\n{pattern}\n")
