"""The list of checks is what the code finds: nothing is missing from it, nothing in it is made up."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.checks import page
from domain.problems import Finding, Severity
from rules.checks import CHECKS, Room, judged, nearest, of_rooms, why_final

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "domain rules invoice usage sync transport partner_center registers dataverse reports app"
).split()
LISTS = {f"rules/{name}.py" for name in ("check", "checks", "gate_checks", "work_checks")}
"""The list itself proves nothing about what is found."""
FAMILIES = {"reconcile.", "cost."}
"""Names that are made of a cause; the causes are closed lists."""


# --- the code is read ------------------------------------------------------------------------------


@dataclass
class Maker:
    """A function that takes the name of a check, what it puts before it, and what becomes of it."""

    place: int
    prefix: str = ""
    makes_point: bool = False


@dataclass
class Seen:
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Where each name stands."""
    severities: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    families: set[str] = field(default_factory=set)


def called(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((one.value for one in call.keywords if one.arg == name), None)


def is_point(call: ast.Call) -> bool:
    """The points of an audit of files are no findings."""
    return called(call) in {"Point", "about"}


def makers_of(tree: ast.AST) -> dict[str, Maker]:
    """Functions with a parameter `check`, by name; of a method the place does not count `self`."""
    makers = {}
    for one in ast.walk(tree):
        if not isinstance(one, ast.FunctionDef):
            continue
        names = [arg.arg for arg in one.args.args if arg.arg != "self"]
        keywords = [arg.arg for arg in one.args.kwonlyargs]
        if "check" in (*names, *keywords):
            makers[one.name] = Maker(names.index("check") if "check" in names else 99)
            for call in (c for c in ast.walk(one) if isinstance(c, ast.Call)):
                given = keyword(call, "check")
                if isinstance(given, ast.JoinedStr):
                    makers[one.name].prefix = given.values[0].value
                elif isinstance(given, ast.Name) and called(call) == "fault_of":
                    makers[one.name].prefix = "wire."
                if given is not None and is_point(call):
                    makers[one.name].makes_point = True
    return makers


def constants_of(tree: ast.Module) -> dict[str, str]:
    return {
        one.targets[0].id: one.value.value
        for one in tree.body
        if isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and isinstance(one.value, ast.Constant)
        and isinstance(one.value.value, str)
    }


def read_code() -> Seen:
    seen = Seen()
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    paths = [path for path in paths if str(path.relative_to(ROOT)) not in LISTS]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    shared: dict[str, Maker] = {}
    for tree in trees.values():
        shared |= {name: one for name, one in makers_of(tree).items() if name[0] != "_"}
    for path, tree in trees.items():
        makers = shared | makers_of(tree)
        constants = constants_of(tree)
        for call in (one for one in ast.walk(tree) if isinstance(one, ast.Call)):
            name = called(call)
            maker = makers.get(name)
            if is_point(call) or (maker and maker.makes_point):
                continue
            given = keyword(call, "check")
            if given is None and maker and len(call.args) > maker.place:
                given = call.args[maker.place]
            if given is None:
                continue
            where = f"{path.relative_to(ROOT)}:{call.lineno}"
            severity = keyword(call, "severity")
            for one in ast.walk(given):
                text = one.value if isinstance(one, ast.Constant) else None
                if isinstance(one, ast.Name):
                    text = constants.get(one.id)
                if isinstance(given, ast.JoinedStr):
                    if isinstance(text, str) and text.endswith("."):
                        seen.families.add(text)
                elif isinstance(text, str) and (maker or name in {"Finding", "replace"}):
                    full = (maker.prefix if maker else "") + text
                    if full.partition(".")[2]:
                        seen.names[full].add(where)
                        if isinstance(severity, ast.Attribute):
                            seen.severities[full].add(severity.attr.lower())
    return seen


@pytest.fixture(scope="module")
def seen():
    return read_code()


def test_what_the_code_finds_is_listed(seen):
    unlisted = {name: sorted(where) for name, where in seen.names.items() if name not in CHECKS}
    assert not unlisted
    assert len(seen.names) > 50


def test_what_is_listed_is_found(seen):
    made_of_a_cause = {one for one in CHECKS if one.partition(".")[0] + "." in FAMILIES}
    assert seen.families >= FAMILIES
    assert set(CHECKS) - set(seen.names) - made_of_a_cause == set()


def test_the_severity_in_the_code_is_the_listed_one(seen):
    several = {"wire.usage", "wire.invoice"}  # by what it keeps from being known
    for name, severities in seen.severities.items():
        if name not in several:
            assert severities == {CHECKS[name].severity.value}, name


# --- the list --------------------------------------------------------------------------------------


def test_every_check_says_what_it_looks_at_and_what_to_do():
    for name, check in CHECKS.items():
        family, _, rest = name.partition(".")
        assert name == check.name
        assert family.isidentifier()
        assert rest.isidentifier()
        assert check.about.startswith("whether ")
        assert check.to_do
        assert not check.to_do.endswith(".")
        assert check.severity is not Severity.WARN or not check.final


def test_every_check_has_one_room():
    assert sorted(CHECKS) == sorted(name for room in Room for name in of_rooms(room))


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("gdap.mising", "gdap.missing"),
        ("agreements.missing", "agreement.missing"),
        ("missing_contract", None),
        ("profile.no_profile", "tax.no_profile"),
        ("", None),
    ],
)
def test_a_mistyped_name_leads_to_the_nearest(mistyped, meant):
    found = nearest(mistyped)
    assert found[:1] == ([meant] if meant else found[:1])
    assert len(found) <= 3
    assert all(one in CHECKS for one in found)


def test_the_page_of_checks_is_as_the_list():
    written = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    assert written == page(), "run: python3 dev.py run checks > docs/checks.md"
    assert all(f"| `{name}` |" in written for name in CHECKS)


def test_every_hint_of_the_list_can_be_acted_on_by_who_reads_it():
    """Finance reads it: no names of code, and never only `look again` without where."""
    for name, check in CHECKS.items():
        words = check.to_do.split()
        assert len(words) >= 3 or check.to_do.startswith("nothing"), name
        assert "contract." not in check.to_do, name
        assert "_" not in check.to_do.replace("CSP_", ""), name


# --- who may release -------------------------------------------------------------------------------


def a_finding(check: str, severity: Severity = Severity.HOLD) -> Finding:
    return Finding(
        check=check, severity=severity, customer_id="c1", record="r", sentence="S.", hint="h"
    )


@pytest.mark.parametrize(
    ("finding", "why"),
    [
        (a_finding("agreement.missing"), ""),
        (a_finding("gdap.expiring"), ""),  # where the policy makes it hold
        (a_finding("gdap.expiring", Severity.WARN), "it is a warning and holds nobody"),
        (a_finding("mapping.no_contract"), "there is no contract to bill by"),
        (a_finding("agreement.missing", Severity.BLOCK), "the partner's policy blocks it"),
        (
            a_finding("import.incomplete", Severity.BLOCK),
            "what Microsoft billed is not known completely",
        ),
        (a_finding("old.name"), "this version knows no check old.name"),
    ],
)
def test_a_hold_can_be_released_unless_there_is_nothing_to_bill_with(finding, why):
    assert why_final(finding) == why


def test_the_policy_judges_each_finding_once():
    twice = [a_finding("agreement.missing"), a_finding("agreement.missing")]
    assert judged(twice, {"agreement.missing": Severity.WARN}) == (
        a_finding("agreement.missing", Severity.WARN),
    )
    assert judged(twice, {}) == (a_finding("agreement.missing"),)
