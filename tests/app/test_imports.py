"""The rules of the house that a machine can check: who imports whom, who may touch the outside."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PURE = ("domain", "rules", "invoice")
OURS = (*PURE, "usage", "sync", "reports", "partner_center", "dataverse", "transport", "app")


def modules(*packages: str) -> list[Path]:
    return [path for name in packages for path in sorted((ROOT / name).rglob("*.py"))]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def typing_only(tree: ast.Module) -> ast.Module:
    """The module without what only a type checker sees."""
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(body=kept, type_ignores=[])


def calls(tree: ast.AST) -> set[str]:
    """Dotted names that are called or read: `datetime.now`, `os.environ`."""
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def test_the_import_contracts_are_kept():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_the_contracts_cover_every_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(settings["tool"]["importlinter"]["root_packages"])
    assert packages == set(settings["tool"]["mypy"]["packages"])


SOCKETS = ("socket", "ssl", "http.client", "urllib.request", "smtplib", "ftplib", "asyncio")


@pytest.mark.parametrize(
    "path", [p for p in modules(*OURS) if p.parts[-2] != "transport"], ids=named
)
def test_only_transport_opens_connections(path):
    found = imports(typing_only(parsed(path)))
    opened = {name for name in found if name.startswith(SOCKETS)}
    clients = {name for name in found if name.split(".")[0] in {"requests", "urllib3", "httpx"}}
    storage = {name for name in found if name.startswith(("azure.storage", "azure.identity"))}
    assert opened | clients | storage == set()


CLOCKS = {"now", "today", "utcnow", "time", "monotonic", "perf_counter", "sleep"}


@pytest.mark.parametrize("path", modules(*PURE, "usage", "sync", "reports"), ids=named)
def test_what_computes_reads_no_clock_no_environment_and_no_chance(path):
    tree = parsed(path)
    found = imports(tree)
    assert not {name.split(".")[0] for name in found} & {"os", "time", "random", "secrets"}
    assert not found & {"uuid.uuid4", "uuid.uuid1"}
    read = {
        name
        for name in calls(tree)
        if name.split(".")[0] in {"datetime", "date", "time"} and name.split(".")[-1] in CLOCKS
    }
    assert read == set()


@pytest.mark.parametrize("path", modules(*OURS), ids=named)
def test_the_clock_and_the_environment_are_read_where_the_parts_are_put_together(path):
    seen = calls(parsed(path))
    allowed = {
        "app/systems.py": {"datetime.now"},
        "app/wiring.py": {"os.environ"},
        "app/cli.py": {"os.environ"},
        "app/callers.py": {"os.environ"},  # what the host asks for is decided at import
    }
    if path.parts[-2] == "transport":
        return  # a session and its tokens have a clock of their own; tests give another
    read = seen & {"datetime.now", "date.today", "time.time", "os.environ", "os.getenv"}
    assert read <= allowed.get(named(path), set())


@pytest.mark.parametrize("path", modules(*PURE, "usage", "sync"), ids=named)
def test_no_float_is_made_where_money_is(path):
    if named(path) == "invoice/paper.py":
        return  # it knows places on a page and no amounts
    found = [
        ast.unparse(node)
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Call) and ast.unparse(node.func) == "float")
    ]
    assert found == []


def test_the_emulators_are_imported_inside_functions_only():
    for path in modules(*OURS):
        body = typing_only(parsed(path)).body
        top = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        outside = {name.split(".")[0] for node in top for name in imports(node)}
        assert "emulator" not in outside, named(path)


def test_no_file_is_too_long_to_read():
    long = {
        named(path): count
        for path in modules(*OURS)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert long == {}
