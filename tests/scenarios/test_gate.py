"""The table of the gate: each check in a file of its own, when it fires, when not, what it says of missing data.

A file names what differs from a customer that is in order: Fabrikam, seats since 14 October 2026, October
billed on 9 November. `expect` is everything that is told: severity, check, sentence, and the link if any.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from dataverse.mapping import from_json
from domain.contract import BillingContract
from domain.customer import (
    Account,
    Agreement,
    Customer,
    DelegatedAdminRelationship,
)
from domain.period import Period
from domain.subscription import CostLine, Subscription
from rules.checks import CHECKS, Room, of_rooms
from rules.facts import Demands, Facts
from rules.validate import STANDING_CHECKS, validate, validate_standing
from tests.builders import (
    a_contract,
    a_customer,
    a_line,
    a_relationship,
    a_subscription,
    a_tax_profile,
    an_account,
    an_agreement,
    day,
)

FOLDER = Path(__file__).parent / "gate"
FILES = sorted(FOLDER.glob("*.json"))
KINDS = ("it fires", "it must not", "the data is missing")
MAKERS: dict[str, tuple[type, Any]] = {
    "customer": (Customer, a_customer),
    "account": (Account, an_account),
    "mapped_account": (Account, an_account),
    "contract": (BillingContract, a_contract),
    "contracts": (BillingContract, a_contract),
    "agreements": (Agreement, an_agreement),
    "relationships": (DelegatedAdminRelationship, a_relationship),
    "subscriptions": (Subscription, a_subscription),
    "cost_lines": (CostLine, a_line),
    "history": (CostLine, a_line),
    "demands": (Demands, Demands),
}
READING = {"customer.unreachable", "access.denied"}
"""Found in reading Partner Center: tests/clients/test_gate.py shows them."""


def cases() -> list[Any]:
    found = []
    for path in FILES:
        content = json.loads(path.read_text(encoding="utf-8"))
        found += [
            pytest.param(path.stem, kind, id=f"{path.stem}: {kind}") for kind in content["cases"]
        ]
    return found


def made(name: str, told: Any) -> Any:
    """A record in order, but for what a case tells of it."""
    if told is None:
        return None
    if isinstance(told, list):
        return [made(name, one) for one in told]
    record, builder = MAKERS[name]
    hints = get_type_hints(record)
    unknown = set(told) - {field.name for field in fields(record)}
    assert not unknown, f"{name} has no {sorted(unknown)}"
    return builder(**{key: from_json(hints[key], value) for key, value in told.items()})


def facts_of(case: dict[str, Any]) -> Facts:
    known = {"why", "today", "month", "expect", *MAKERS}
    assert set(case) <= known, sorted(set(case) - known)
    told = {name: made(name, case[name]) for name in MAKERS if name in case}
    given: dict[str, Any] = {
        "customer": a_customer(),
        "account": an_account(),
        "contract": a_contract(),
        "agreements": [an_agreement()],
        "relationships": [a_relationship()],
        "subscriptions": [a_subscription()],
        "cost_lines": [a_line()],
        "tax_profile": a_tax_profile(),
        "period": Period.month(case.get("month", "2026-10")),
        "today": day(case.get("today", "2026-11-09")),
        **told,
    }
    contract = given["contract"]
    given.setdefault("contracts", [contract] if contract else [])
    given.setdefault("history", given["cost_lines"])
    return Facts(**given)


def told_by(findings: Any) -> list[str]:
    return [
        f"{one.severity} {one.check}: {one.sentence}" + (f" [{one.link}]" if one.link else "")
        for one in findings
    ]


@pytest.mark.parametrize(("name", "kind"), cases())
def test_the_table_of_the_gate(name, kind):
    case = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["cases"][kind]
    facts = facts_of(case)
    found = validate(facts)
    assert told_by(found) == case["expect"]
    assert all(one.hint and one.customer_id == "c1" and one.check in CHECKS for one in found)
    by_default = {one.check: one.severity for one in found if one.check != "access.stale"}
    assert by_default == {check: CHECKS[check].severity for check in by_default}
    standing = [one for one in found if one.check in STANDING_CHECKS]
    assert validate_standing(facts) == standing


def test_every_check_of_the_gate_has_its_three_cases():
    """A check that somebody adds and does not show here is not done."""
    assert {path.stem for path in FILES} == set(of_rooms(Room.GATE))
    for path in FILES:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert set(content) == {"check", "asks", "cases"}
        assert content["check"] == path.stem
        for kind in KINDS:
            assert any(one.startswith(kind) for one in content["cases"]), f"{path.name}: {kind}"
        for kind, case in content["cases"].items():
            fires = any(f" {path.stem}: " in one for one in case["expect"])
            assert case["why"]
            assert kind.startswith(KINDS)
            if not kind.startswith("the data is missing"):
                assert fires == kind.startswith("it fires"), f"{path.name}: {kind}"


def test_what_the_standing_checks_may_find_is_what_the_gate_replaces():
    month_alone = {
        "mapping.contract_ended",
        "mapping.contract_changed",
        "mapping.outside_contract",
        "partner_of_record.drift",
        "partner_of_record.differs",
        "partner_of_record.unknown",
    }
    gate = set(of_rooms(Room.GATE)) - month_alone
    assert gate <= set(STANDING_CHECKS)
    # Where a customer is, and in which currency it pays, has tables of its own.
    others = {name.partition(".")[0] for name in set(STANDING_CHECKS) - gate}
    assert others <= {"address", "currency"}
