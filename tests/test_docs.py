"""The documentation is true: commands exist, links resolve, examples run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import _parser
from app.whatif import rate_file

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
    if ".venv" not in path.parts
)
PACKAGES = [
    "app",
    "dataverse",
    "domain",
    "emulator",
    "invoice",
    "partner_center",
    "reports",
    "rules",
    "sync",
    "transport",
    "usage",
]


def offered_commands():
    subparsers = next(a for a in _parser()._actions if a.dest == "command")
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
    assert commands == ["demo", "test"]
    shown = subprocess.run(
        [sys.executable, ROOT / "dev.py", "help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(f"dev.py {command}" in shown for command in commands)


def test_the_scenario_of_the_whatif_page_is_rated_as_it_says(tmp_path):
    page = (ROOT / "docs/whatif.md").read_text()
    scenario = tmp_path / "scenario.json"
    scenario.write_text(re.search(r"```json\n(.*?)```", page, flags=re.DOTALL).group(1))
    answer = rate_file(scenario)
    assert [(line["charge_type"], line["amount"]) for line in answer["lines"]] == [
        ("new", "120.00"),
        ("add_quantity", "30.00"),
        ("cycle_charge", "180.00"),
        ("usage", "5.30"),
    ]
    assert (answer["total"], answer["findings"]) == ("335.30", [])
    json.dumps(answer)


def test_ci_calls_the_test_command_of_the_readme_and_nothing_else():
    lines = (ROOT / ".ci/run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["exec python3 dev.py test"]
