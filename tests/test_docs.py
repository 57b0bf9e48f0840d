"""The documentation is true: commands exist, links resolve, examples run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from app.cli import main
from app.parser import parser
from app.whatif.scenario import file_schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("*/*/README.md"),
    ]
    if ".venv" not in path.parts
)
PACKAGES = [
    "app",
    "dataverse",
    "domain",
    "emulator",
    "host",
    "invoice",
    "partner_center",
    "registers",
    "reports",
    "rules",
    "sync",
    "transport",
    "usage",
]


def offered_commands():
    subparsers = next(a for a in parser()._actions if a.dest == "command")
    return set(subparsers.choices)


def test_readme_tells_every_command_and_no_other():
    table = (ROOT / "README.md").read_text().split("## Use it")[1].split("## Modes")[0]
    told = {
        re.match(r"`([a-z-]+)", cell).group(1)
        for line in table.splitlines()
        if line.startswith("| `")
        for cell in [line.split("|")[1].strip()]
    }
    assert told == offered_commands()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_resolve(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_has_a_page(package):
    page = (ROOT / package / "README.md").read_text()
    assert page.startswith("# ")
    assert len(page.splitlines()) <= 80


def test_commands_of_the_readme_are_understood():
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    commands = re.findall(r"python3 dev\.py (\w+)", "\n".join(blocks))
    assert commands == ["demo", "test", "run", "host"]
    shown = subprocess.run(
        [sys.executable, ROOT / "dev.py", "help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(f"dev.py {command}" in shown for command in commands)


WHATIF = (ROOT / "docs/whatif.md").read_text()
EXAMPLES = re.findall(r"### (.*?)\n\n```json\n(.*?)```\n```text\n(.*?)```", WHATIF, flags=re.DOTALL)


def test_the_whatif_page_has_examples():
    assert len(EXAMPLES) == WHATIF.count("```json") >= 6


@pytest.mark.parametrize(("title", "scenario", "shown"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_an_example_of_the_whatif_page_is_answered_as_it_says(
    title, scenario, shown, tmp_path, capsys
):
    path = tmp_path / "scenario.json"
    path.write_text(scenario)
    code = main(["whatif", str(path)])
    assert capsys.readouterr().out == shown
    assert code == (3 if "exit code 3" in title else 0)


def test_the_schema_of_scenario_files_is_the_one_that_is_checked():
    """Editors complete scenario files by it; UPDATE_EXPECTED=1 writes it anew."""
    path = ROOT / "docs/whatif.schema.json"
    made = json.dumps(file_schema(), indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_EXPECTED") == "1":
        path.write_text(made, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == made


@pytest.mark.parametrize("scenario", [e[1] for e in EXAMPLES], ids=[e[0] for e in EXAMPLES])
def test_the_examples_fit_the_schema(scenario):
    validator = Draft202012Validator(file_schema())
    assert [error.message for error in validator.iter_errors(json.loads(scenario))] == []
    wrong = {**json.loads(scenario), "colour": "red"}
    assert not validator.is_valid(wrong)


def test_ci_calls_the_test_command_of_the_readme_and_nothing_else():
    lines = (ROOT / ".ci/run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["exec python3 dev.py test"]
