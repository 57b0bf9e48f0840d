"""The flow templates of Power Automate: what they call is there, and their expressions hold together."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app import flow_pictures
from app.connector import definition
from app.http_models import ReleaseAsked
from dataverse.tables import BILLING_RUN

ROOT = Path(__file__).resolve().parents[2]
FLOWS = sorted((ROOT / "infra/flows").glob("*.json"))
API = "shared_cspbilling"
FUNCTIONS = {
    "and",
    "body",
    "coalesce",
    "concat",
    "contains",
    "createArray",
    "empty",
    "equals",
    "greaterOrEquals",
    "if",
    "item",
    "items",
    "join",
    "less",
    "or",
    "outputs",
    "parameters",
    "replace",
    "string",
    "ticks",
    "triggerBody",
    "triggerOutputs",
    "trim",
    "variables",
    "workflow",
}
"""Functions of the expression language that the templates use."""


def flow(path):
    return json.loads(path.read_text(encoding="utf-8"))["properties"]


def every_action(actions, inside=()):
    """Each action with its siblings and the names of the loops and branches around it."""
    for name, action in actions.items():
        yield name, action, actions, inside
        for nested in (action.get("actions", {}), action.get("else", {}).get("actions", {})):
            yield from every_action(nested, (*inside, name))


def texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


def expressions(value):
    """The expressions in a value: a whole text after @, or what stands in @{...}."""
    for text in texts(value):
        if text.startswith("@") and not text.startswith(("@{", "@@")):
            yield text[1:]
            continue
        start = 0
        while (start := text.find("@{", start)) >= 0:
            depth, quoted = 1, False
            for end in range(start + 2, len(text)):
                quoted ^= text[end] == "'"
                depth += 0 if quoted else {"{": 1, "}": -1}.get(text[end], 0)
                if not depth:
                    break
            assert depth == 0, f"@{{ without its end: {text}"
            yield text[start + 2 : end]
            start = end


def check_balance(expression):
    bare = re.sub(r"'(?:[^']|'')*'", "''", expression)
    assert "'" not in bare.replace("''", ""), expression
    open_ones = []
    for sign in bare:
        if sign in "([":
            open_ones.append({"(": ")", "[": "]"}[sign])
        elif sign in ")]":
            assert open_ones, expression
            assert open_ones.pop() == sign, expression
    assert open_ones == [], expression


def operations():
    return {
        one["operationId"]: one for path in definition()["paths"].values() for one in path.values()
    }


def resolved(schema):
    return definition()["definitions"][schema["$ref"].rpartition("/")[2]]


def test_there_are_the_three_templates():
    names = [path.stem for path in FLOWS]
    assert names == ["act-on-a-hold", "post-result-to-teams", "run-on-demand"]


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_a_flow_is_written_in_the_language_of_workflows(path):
    properties = flow(path)
    told = properties["definition"]
    assert told["$schema"].endswith("/schemas/2016-06-01/workflowdefinition.json#")
    assert len(told["triggers"]) == 1
    (trigger,) = told["triggers"].values()
    steps = [trigger, *(action for _, action, _, _ in every_action(told["actions"]))]
    used = {
        step["inputs"]["host"]["connectionName"]: step["inputs"]["host"]["apiId"]
        for step in steps
        if isinstance(step.get("inputs"), dict) and "host" in step["inputs"]
    }
    assert used.keys() == properties["connectionReferences"].keys()
    assert all(api.rpartition("/")[2] == name for name, api in used.items())
    for name, action, siblings, _ in every_action(told["actions"]):
        assert re.fullmatch("[A-Za-z0-9_]{1,80}", name)
        assert action["description"], name
        assert set(action["runAfter"]) <= set(siblings) - {name}
        if action["type"].startswith("OpenApi"):
            assert action["inputs"]["authentication"] == "@parameters('$authentication')"
    names = [name for name, *_ in every_action(told["actions"])]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_a_flow_calls_what_the_connector_has_with_what_it_takes(path):
    called = operations()
    found = []
    for name, action, _, _ in every_action(flow(path)["definition"]["actions"]):
        host = action["inputs"].get("host", {}) if "inputs" in action else {}
        if host.get("connectionName") != API:
            continue
        found.append(host["operationId"])
        operation = called[host["operationId"]]
        known, needed = {}, set()
        for parameter in operation["parameters"]:
            if parameter["in"] != "body":
                known[parameter["name"]] = parameter
                needed |= {parameter["name"]} if parameter["required"] else set()
                continue
            body = resolved(parameter["schema"])
            known |= {f"body/{field}": told for field, told in body["properties"].items()}
            needed |= {f"body/{field}" for field in body.get("required", ())}
        # 202 with Location would be polled, and what has not begun is not found.
        polled = "202" in operation["responses"]
        assert (action.get("operationOptions") == "DisableAsyncPattern") is polled, name
        given = action["inputs"]["parameters"]
        assert needed <= given.keys() <= known.keys(), name
        for parameter, value in given.items():
            if "enum" in known[parameter] and not str(value).startswith("@"):
                assert value in known[parameter]["enum"]
    assert found


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_what_the_worker_refuses_is_told_and_not_passed_by_in_silence(path):
    """After each call something runs also where it failed, and a message is sent on that way."""
    told = flow(path)["definition"]["actions"]
    everything = {name: one for name, one, _, _ in every_action(told)}
    asked = 0
    for name, action, siblings, inside in every_action(told):
        if action.get("inputs", {}).get("host", {}).get("connectionName") != API:
            continue
        asked += 1
        ways = [one for one in siblings.values() if "Failed" in one["runAfter"].get(name, ())]
        assert ways, name
        if inside and everything[inside[-1]]["type"] == "Until":  # asked again, told at the end
            ways = [one for one in told.values() if "Failed" in one["runAfter"].get(inside[-1], ())]
        assert "PostMessageToConversation" in texts(ways), name
    assert asked


def test_a_card_says_nothing_that_may_not_come_true():
    (path,) = [path for path in FLOWS if path.stem == "act-on-a-hold"]
    actions = {name: one for name, one, _, _ in every_action(flow(path)["definition"]["actions"])}
    card = actions["Card"]["inputs"]
    (reason,) = [one for one in card["body"] if one["type"] == "Input.Text"]
    assert reason["isRequired"] is True
    assert reason["errorMessage"]
    release, leave = card["actions"]
    assert "associatedInputs" not in release
    assert leave["associatedInputs"] == "none"  # who leaves it gives no reason
    asks = actions["Ask_the_channel"]["inputs"]["parameters"]
    assert "passed on" not in asks["body/body/updateMessage"]
    assert actions["Was_it_released"]["else"]["actions"]
    given = actions["Release_the_hold"]["inputs"]["parameters"]
    assert given["body/version"] == "@items('For_each_finding')?['version']"
    only = actions["May_it_be_released"]["expression"]["and"]
    assert only == [{"equals": ["@items('For_each_finding')?['can_release']", True]}]


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_expressions_are_whole_and_name_what_is_there_by_then(path):
    told = flow(path)["definition"]
    actions = {name: (action, inside) for name, action, _, inside in every_action(told["actions"])}
    variables = {
        one["name"]
        for action, _ in actions.values()
        if action["type"] == "InitializeVariable"
        for one in action["inputs"]["variables"]
    }
    schemas = {
        name: resolved(answer["schema"])["properties"].keys() | {"error", "hint"}
        for name, (action, _) in actions.items()
        if action["type"] == "OpenApiConnection"
        and action["inputs"]["host"]["connectionName"] == API
        for status, answer in operations()[action["inputs"]["host"]["operationId"]][
            "responses"
        ].items()
        if status.startswith("2")
    }
    seen = 0
    for name, (action, inside) in actions.items():
        own = {k: v for k, v in action.items() if k not in {"actions", "else"}}
        for expression in expressions(own):
            seen += 1
            check_balance(expression)
            bare = re.sub(r"'(?:[^']|'')*'", "''", expression)
            assert set(re.findall(r"([A-Za-z]+)\(", bare)) <= FUNCTIONS, expression
            for kind, target in re.findall(
                r"\b(body|outputs|items|variables|parameters)\('([^']+)'\)", expression
            ):
                if kind == "variables":
                    assert target in variables
                elif kind == "parameters":
                    assert target in told["parameters"]
                elif kind == "items":
                    assert target in inside
                    assert actions[target][0]["type"] == "Foreach"
                else:
                    assert target in before(name, actions), (name, target)
            for target, field in re.findall(r"body\('([^']+)'\)\?\['([^']+)'\]", expression):
                if target in schemas:
                    assert field in schemas[target], (name, target, field)
    assert seen > 5


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_what_is_released_is_what_the_card_said_and_a_repetition_is_no_second_request(path):
    for name, action, _, inside in every_action(flow(path)["definition"]["actions"]):
        if action["type"] != "OpenApiConnection":
            continue
        given = action["inputs"]["parameters"]
        if action["inputs"]["host"]["operationId"] == "ReleaseHold":
            assert given["body/version"] == f"@items('{inside[0]}')?['version']", name
            assert given["Idempotency-Key"] == "@workflow()['run']['name']", name
            ReleaseAsked(**{k.removeprefix("body/"): "0" * 16 for k in given if "body/" in k})


def before(name, actions):
    """What has run, or was passed by, when an action begins, with what stands inside of it."""
    found = set()
    for here in (name, *actions[name][1]):
        left = list(actions[here][0]["runAfter"])
        while left:
            one = left.pop()
            found |= {one, *(n for n, (_, inside) in actions.items() if one in inside)}
            left += actions[one][0]["runAfter"]
    return found


def test_what_the_dataverse_trigger_listens_to_is_there():
    (path,) = [path for path in FLOWS if path.stem == "post-result-to-teams"]
    (trigger,) = flow(path)["definition"]["triggers"].values()
    parameters = trigger["inputs"]["parameters"]
    assert parameters["subscriptionRequest/entityname"] == BILLING_RUN.name
    columns = {column.name for column in BILLING_RUN.columns} | {"csp_key"}
    filtered = parameters["subscriptionRequest/filterexpression"]
    assert set(re.findall(r"csp_\w+", filtered)) <= columns
    ended = {
        BILLING_RUN.column("csp_status").option(status)
        for status in ("done", "done_with_holds", "failed")
    }
    assert set(map(int, re.findall(r"csp_status eq (\d+)", filtered))) == ended


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_each_flow_has_its_picture_as_it_is_now(path):
    """`python -m app connector --flows infra/flows` draws them anew."""
    drawn = flow_pictures.picture(flow(path)["definition"])
    assert path.with_suffix(".svg").read_text(encoding="utf-8") == drawn
    for name, *_ in every_action(flow(path)["definition"]["actions"]):
        assert name.replace("_", " ") in drawn


def test_a_flow_that_goes_in_a_circle_is_told(tmp_path):
    from domain.problems import InputError

    actions = {"A": {"runAfter": {"B": []}}, "B": {"runAfter": {"A": []}}}
    with pytest.raises(ValueError, match="A, B run after each other in a circle"):
        flow_pictures.in_order(actions)
    with pytest.raises(InputError, match="there are no flows"):
        flow_pictures.draw(tmp_path)
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(InputError, match="this is no flow"):
        flow_pictures.draw(tmp_path)


def test_the_checks_of_expressions_fire():
    """A check that cannot fail shows nothing."""
    for broken in ("concat('a'", "body('a'))", "concat('a)", "x[0)"):
        with pytest.raises(AssertionError):
            check_balance(broken)
    assert list(expressions("a @{concat('}', 'b')} c @{x()}")) == ["concat('}', 'b')", "x()"]
    assert list(expressions({"a": ["@b()", "@@c", "d@e"]})) == ["b()"]
    with pytest.raises(AssertionError):
        list(expressions("@{concat('a'"))
    first, second = {"runAfter": {}}, {"runAfter": {"A": ["Succeeded"]}}
    actions = {"A": (first, ()), "B": (second, ()), "C": (first, ("B",))}
    assert before("A", actions) == set()
    assert before("C", actions) == {"A"}
