"""The door `entra` of the platform lets through exactly what the app itself does not ask for a token."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from infra.checks import language
from infra.checks.bicep import properties, walk
from infra.checks.values import compute
from tests.infra.conftest import INFRA, ROOT

INDEX = """
import json, function_app
found = {}
for one in function_app.app.get_functions():
    trigger = one.get_trigger().get_dict_repr()
    if trigger["type"] == "httpTrigger":
        found[trigger["route"]] = trigger["authLevel"].name
print(json.dumps(found))
"""


def let_through():
    file = language.read_all(INFRA)["modules/auth.bicep"]
    for node in walk(file.root):
        if node.type == "object" and "excludedPaths" in properties(node):
            return compute(properties(node)["excludedPaths"][1], {})
    return None


def routes(door):
    environment = {"PATH": os.environ["PATH"], "CSP_HTTP_DOOR": door}
    done = subprocess.run(
        [sys.executable, "-c", INDEX],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_webhooks_keep_their_key_and_liveness_is_open_all_others_need_a_token():
    by_token, by_key = routes("entra"), routes("key")
    webhooks = {name for name, level in by_token.items() if level == "FUNCTION"}
    # What needs no token is what stays as it is whichever the door.
    same = {name for name, level in by_token.items() if by_key[name] == level}
    assert webhooks == {"dataverse-events", "partner-center-events"}
    assert same == {*webhooks, "alive"}
    assert sorted(let_through()) == sorted(f"/api/{name}" for name in same)


def test_behind_the_door_key_everything_but_liveness_asks_for_one():
    assert {name for name, level in routes("key").items() if level != "FUNCTION"} == {"alive"}


def test_the_app_roles_to_register_are_those_that_the_code_asks_for():
    from app.callers import ROLES

    roles = json.loads((INFRA / "app-roles.json").read_text())
    assert {one["value"]: one["description"] for one in roles} == ROLES
    assert len({one["id"] for one in roles}) == len(roles)
    assert all(set(one["allowedMemberTypes"]) == {"User", "Application"} for one in roles)
