"""Every documented failure of the Web API: which request meets it, with which status and code."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from emulator.dataverse import errors
from tests.emulator.dataverse_harness import CRM, Answer, Dataverse, with_tables

NOBODY = "00000000-0000-4000-8000-000000000000"
KNOWN = "nce_subscriptions(nce_externalkey='known')"
SET = "nce_subscriptions"


@pytest.fixture
def dv():
    return filled().copy()


@cache
def filled():
    """One row `known` with a line below it, and an account with a number as its key."""
    dataverse = with_tables().copy()
    key = {"SchemaName": "nce_Number", "KeyAttributes": ["accountnumber"]}
    assert dataverse.post("EntityDefinitions(LogicalName='account')/Keys", key).status == 204
    row = dataverse.post(SET, {"nce_externalkey": "known", "nce_name": "Known"}).new_id
    bind = {"nce_SubscriptionId@odata.bind": f"/nce_subscriptions({row})"}
    assert dataverse.post("nce_lines", bind).status == 204
    return dataverse


def row_id(dv: Dataverse) -> str:
    return str(dv.get(KNOWN).json["nce_subscriptionid"])


def demanded(kind: str) -> Callable[[Dataverse], Answer]:
    def ask(dv: Dataverse) -> Answer:
        dv.settings.fail_next(kind)
        return dv.get("WhoAmI")

    return ask


def used_up(**switches: int) -> Callable[[Dataverse], Answer]:
    """The request after the one that the limit lets through."""

    def ask(dv: Dataverse) -> Answer:
        limited(**switches)(dv)
        return dv.get("WhoAmI")

    return ask


def duplicate(dv: Dataverse) -> Answer:
    dv.settings.duplicate_rules.add(("nce_subscription", "nce_name"))
    assert dv.post(SET, {"nce_name": "KNOWN"}).status == 204  # off unless the request asks
    asked = {"MSCRM.SuppressDuplicateDetection": "false"}
    assert dv.send("POST", SET, {"nce_name": "Other"}, headers=asked).status == 204
    return dv.send("POST", SET, {"nce_name": "KNOWN"}, headers=asked)


def denied(dv: Dataverse) -> Answer:
    dv.settings.deny.add(("Create", "nce_subscription"))
    return dv.post(SET, {"nce_name": "A"})


def too_large(dv: Dataverse) -> Answer:
    dv.settings.largest_body = 1000
    return dv.post(SET, {"nce_notes": "x" * 1000})


def limited(**switches: int) -> Callable[[Dataverse], Answer]:
    def ask(dv: Dataverse) -> Answer:
        dv.settings.throttling = True
        for name, value in switches.items():
            setattr(dv.settings, name, value)
        return dv.get("WhoAmI")

    return ask


CASES: dict[str, tuple[Callable[[Dataverse], Answer], int, str]] = {
    "alternate key violated by a create": (
        lambda dv: dv.post(SET, {"nce_externalkey": "KNOWN"}),
        412,
        "0x80060892",
    ),
    "alternate key violated by an update": (
        lambda dv: dv.patch(
            f"{SET}({dv.post(SET, {}).new_id})", {"nce_externalkey": "known"}, If_Match="*"
        ),
        412,
        "0x80060892",
    ),
    "primary key exists": (
        lambda dv: dv.post(SET, {"nce_subscriptionid": row_id(dv)}),
        412,
        "0x80040237",
    ),
    "duplicate detection rule hit": (duplicate, 412, "0x80040333"),
    "If-None-Match: * and the row exists": (
        lambda dv: dv.patch(KNOWN, {"nce_name": "B"}, If_None_Match="*"),
        412,
        "",
    ),
    "stale etag on an update": (
        lambda dv: dv.patch(KNOWN, {"nce_name": "B"}, If_Match='W/"1"'),
        412,
        "0x80060882",
    ),
    "stale etag on a delete": (
        lambda dv: dv.delete(KNOWN, If_Match='W/"1"'),
        412,
        "0x80060882",
    ),
    "id not found by a read": (lambda dv: dv.get(f"{SET}({NOBODY})"), 404, "0x80040217"),
    "id not found by an update": (
        lambda dv: dv.patch(f"{SET}({NOBODY})", {"nce_name": "B"}, If_Match="*"),
        404,
        "0x80040217",
    ),
    "id not found by a delete": (lambda dv: dv.delete(f"{SET}({NOBODY})"), 404, "0x80040217"),
    "id not found by a bind": (
        lambda dv: dv.post(SET, {"nce_AccountId@odata.bind": f"/accounts({NOBODY})"}),
        404,
        "0x80040217",
    ),
    "id not found by a bulk update": (
        lambda dv: dv.bulk("UpdateMultiple", [{"nce_subscriptionid": NOBODY}]),
        404,
        "0x80040217",
    ),
    "alternate key not found by a read": (
        lambda dv: dv.get(f"{SET}(nce_externalkey='nobody')"),
        404,
        "0x80060891",
    ),
    "alternate key not found by a bind": (
        lambda dv: dv.post(SET, {"nce_AccountId@odata.bind": "/accounts(accountnumber='9')"}),
        404,
        "0x80060891",
    ),
    "unknown entity set": (lambda dv: dv.get("nce_nothings"), 404, "0x8006088a"),
    "unknown function": (lambda dv: dv.get("WhoAreYou()"), 404, "0x8006088a"),
    "entity set in the wrong case": (lambda dv: dv.get("Accounts"), 404, "0x8006088a"),
    "unknown column in $select": (lambda dv: dv.get(SET, select="nce_x"), 400, "0x80060888"),
    "unknown column in $filter": (lambda dv: dv.get(SET, filter="nce_x eq 1"), 400, "0x80060888"),
    "unknown column in $orderby": (lambda dv: dv.get(SET, orderby="nce_x"), 400, "0x80060888"),
    "unknown property in a body": (lambda dv: dv.post(SET, {"nce_x": 1}), 400, "0x80048d19"),
    "property in the wrong case": (lambda dv: dv.post(SET, {"nce_Name": "A"}), 400, "0x80048d19"),
    "value of the wrong type": (
        lambda dv: dv.post(SET, {"nce_quantity": "abc"}),
        400,
        "0x80048d19",
    ),
    "navigation property in the wrong case": (
        lambda dv: dv.post(SET, {"nce_accountid@odata.bind": "/accounts(accountnumber='9')"}),
        400,
        "0x80048d19",
    ),
    "columns that are no key": (lambda dv: dv.get(f"{SET}(nce_name='Known')"), 400, "0x0"),
    "text too long": (
        lambda dv: dv.post(SET, {"nce_name": "x" * 201}),
        400,
        "0x80044331",
    ),
    "choice not defined": (lambda dv: dv.post(SET, {"nce_status": 5}), 400, "0x8004431a"),
    "number out of range": (lambda dv: dv.post(SET, {"nce_quantity": -1}), 400, "0x8004431a"),
    "invalid argument": (
        lambda dv: dv.post(f"{SET}/{CRM}CreateMultiple", {"Targets": []}),
        400,
        "0x80040203",
    ),
    "the key in address and body of a bulk create": (
        lambda dv: dv.bulk(
            "UpsertMultiple",
            [{"@odata.id": f"{SET}(nce_externalkey='n')", "nce_externalkey": "n"}],
        ),
        400,
        "0x80040216",
    ),
    "unexpected": (demanded("unexpected"), 500, "0x80040216"),
    "a plug-in threw": (demanded("plugin"), 400, "0x80040265"),
    "missing privilege": (denied, 403, "0x80040220"),
    "privilege there, access to the row not": (demanded("record_access"), 403, "0x80048306"),
    "access denied": (demanded("access"), 403, "0x80048405"),
    "deletion blocked by child rows": (lambda dv: dv.delete(KNOWN), 405, "0x80040227"),
    "SQL deadlock": (
        lambda dv: dv.bulk("UpdateMultiple", [{"nce_subscriptionid": row_id(dv)}] * 2),
        500,
        "0x80044150",
    ),
    "SQL time-out": (demanded("sql_timeout"), 500, "0x80044151"),
    "request too large": (too_large, 413, ""),
    "too many requests": (used_up(request_limit=1), 429, "0x80072322"),
    "too much execution time": (used_up(execution_limit_ms=1), 429, "0x80072321"),
    "too many requests at once": (limited(concurrency_limit=0), 429, "0x80072326"),
    "PATCH of metadata": (
        lambda dv: dv.patch("EntityDefinitions(LogicalName='nce_subscription')", {}),
        405,
        "0x80060888",
    ),
    "not implemented": (
        lambda dv: dv.bulk("DeleteMultiple", [{"nce_subscriptionid": NOBODY}]),
        501,
        "0x80040216",
    ),
    "unavailable": (demanded("unavailable"), 503, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_each_documented_failure_has_its_status_and_code(dv, case):
    ask, status, code = CASES[case]
    answer = ask(dv)
    assert (answer.status, answer.code) == (status, code), answer.raw
    assert answer.message
    assert answer.headers["x-ms-service-request-id"]
    assert ("retry-after" in answer.headers) is (status == 429)


def test_no_documented_failure_writes_anything(dv):
    before = len(dv.values(SET))
    for case, (ask, _, _) in CASES.items():
        if case not in ("duplicate detection rule hit", "alternate key violated by an update"):
            ask(dv)
            dv.settings.throttling = False
            dv.settings.deny.clear()
            dv.settings.largest_body = 10**9
    assert len(dv.values(SET)) == before
    assert dv.get(KNOWN).json["nce_name"] == "Known"


def test_every_failure_that_can_be_asked_for_is_one_of_the_services(dv):
    documented = {(status, code) for _, status, code in CASES.values()}
    for kind in errors.FAULTS:
        problem = errors.on_demand(kind)
        assert (problem.status, problem.code) in documented
    with pytest.raises(ValueError, match="kind must be one of"):
        dv.settings.fail_next("earthquake")
