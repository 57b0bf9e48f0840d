"""Graph: GDAP lists with links, filters and etags; errors; permissions; the published schema."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.emulator.hand_world import CUSTOMERS

SHARED = Path(__file__).resolve().parents[1] / "published"
BASE = "/v1.0/tenantRelationships"
RELATIONSHIPS = f"{BASE}/delegatedAdminRelationships"


def sample(name):
    return json.loads((SHARED / "samples/graph-gdap" / name).read_text(encoding="utf-8"))


@cache
def validator(kind):
    text = (SHARED / "contracts/graph-partner-subset.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text) | {"$ref": f"#/$defs/microsoft.graph.{kind}"})


def check(resource, kind):
    """Validate against the schema made from Microsoft's metadata."""
    validator(kind).validate(resource)


def follow(desk, path):
    pages = []
    while path:
        body = desk.graph(path).json()
        pages.append(body["value"])
        path = body.get("@odata.nextLink")
    return pages


@pytest.mark.parametrize("top", [1, 2, 3, 4, 5, 6, 300])
def test_pages_of_any_size_hold_the_same_relationships(desk, top):
    pages = follow(desk, f"{RELATIONSHIPS}?$top={top}")
    found = [row["id"] for page in pages for row in page]
    assert found == [row["id"] for row in desk.emulator.world.gdap_relationships()]
    assert all(len(page) <= top for page in pages)


def test_the_link_is_absolute_and_keeps_the_query(desk):
    query = "$top=1&$filter=status eq 'active'&$select=status"
    first = desk.graph(f"{RELATIONSHIPS}?{query}").json()
    link = first["@odata.nextLink"]
    assert link.startswith("https://graph.microsoft.com/v1.0/tenantRelationships/")
    assert "$skiptoken=" in link
    second = desk.graph(link).json()
    assert [row["status"] for row in (*first["value"], *second["value"])] == ["active"] * 2
    assert second["value"][0].keys() == {"@odata.type", "@odata.etag", "id", "status"}
    assert "@odata.nextLink" not in second


def test_relationships_meet_the_schema_and_have_the_fields_of_the_sample(desk):
    published = sample("tenantrelationship-list-delegatedadminrelationships.response-200.1.json")
    answer = desk.graph(RELATIONSHIPS).json()
    for row in answer["value"]:
        check(row, "delegatedAdminRelationship")
        assert row.keys() == published["value"][0].keys()
    assert answer["@odata.context"].endswith("#delegatedAdminRelationships")


def test_every_status_null_customer_and_null_dates_are_shown(desk):
    rows = {row["status"]: row for row in desk.graph(RELATIONSHIPS).json()["value"]}
    assert rows.keys() == {"active", "expiring", "expired", "created"}
    assert rows["created"]["customer"] is None
    assert rows["created"]["endDateTime"] is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("status eq 'active'", 2),
        (f"customer/tenantId eq '{CUSTOMERS[0]}'", 2),
        (f"customer/tenantId eq '{CUSTOMERS[0]}' and status eq 'active'", 2),
        (f"customer/tenantId eq '{CUSTOMERS[1]}' and status eq 'active'", 0),
    ],
)
def test_filters(desk, text, count):
    body = desk.graph(RELATIONSHIPS, params={"$filter": text, "$count": "true"}).json()
    assert (body["@odata.count"], len(body["value"])) == (count, count)


@pytest.mark.parametrize(
    "query",
    [
        {"$filter": "displayName eq 'x'"},
        {"$filter": "status ne 'active'"},
        {"$top": "301"},
        {"$top": "0"},
        {"$expand": "operations"},
        {"$skiptoken": "nonsense"},
    ],
)
def test_what_cannot_be_asked(desk, query):
    refused = desk.graph(RELATIONSHIPS, params=query)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "BadRequest"
    assert error["innerError"]["request-id"] == refused.headers["request-id"]


def test_order(desk):
    path = f"{RELATIONSHIPS}?$orderby=displayName desc&$select=displayName"
    names = [row["displayName"] for row in desk.graph(path).json()["value"]]
    assert names == [f"Managed services {number}" for number in (4, 3, 2, 1, 0)]


def test_one_relationship_and_what_belongs_to_it(desk):
    identity = desk.emulator.world.gdap_relationships()[0]["id"]
    one = desk.graph(f"{RELATIONSHIPS}/{identity}").json()
    check(one, "delegatedAdminRelationship")
    assert one["@odata.etag"] == 'W/"0"'
    path = f"{RELATIONSHIPS}/{identity}/accessAssignments"
    (assignment,) = desk.graph(path).json()["value"]
    check(assignment, "delegatedAdminAccessAssignment")
    published = sample("delegatedadminrelationship-list-accessassignments.response-200.1.json")
    assert assignment.keys() == published["value"][0].keys()
    again = desk.graph(f"{path}/{assignment['id']}").json()
    assert {k: v for k, v in again.items() if k != "@odata.context"} == assignment
    (operation,) = desk.graph(f"{RELATIONSHIPS}/{identity}/operations").json()["value"]
    check(operation, "delegatedAdminRelationshipOperation")
    (request,) = desk.graph(f"{RELATIONSHIPS}/{identity}/requests").json()["value"]
    check(request, "delegatedAdminRelationshipRequest")
    assert desk.graph(f"{RELATIONSHIPS}/none").json()["error"]["code"] == "ResourceNotFound"
    assert desk.graph(f"{path}/none").status_code == 404


def test_customers_are_those_that_an_active_relationship_reaches(desk):
    published = sample("tenantrelationship-list-delegatedadmincustomers.response-200.1.json")
    rows = desk.graph(f"{BASE}/delegatedAdminCustomers").json()["value"]
    assert [row["tenantId"] for row in rows] == CUSTOMERS[:2]
    for row in rows:
        check(row, "delegatedAdminCustomer")
        assert row.keys() == published["value"][0].keys()
    path = f"{BASE}/delegatedAdminCustomers/{CUSTOMERS[1]}"
    assert desk.graph(path).json()["displayName"] == "Fabrikam 1"
    for row in desk.graph(f"{path}/serviceManagementDetails").json()["value"]:
        check(row, "delegatedAdminServiceManagementDetail")
    assert desk.graph(f"{BASE}/delegatedAdminCustomers/{CUSTOMERS[2]}").status_code == 404


def test_who_may_ask(desk):
    refused = desk.graph(RELATIONSHIPS, token="")
    assert refused.json()["error"]["code"] == "InvalidAuthenticationToken"
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert desk.graph(RELATIONSHIPS, token=desk.token("partner_center")).status_code == 401
    assert desk.graph(RELATIONSHIPS, app=True).status_code == 200
    desk.control.change(withheld_permissions=["DelegatedAdminRelationship.Read.All"])
    for app in (True, False):
        refused = desk.graph(RELATIONSHIPS, app=app)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "Authorization_RequestDenied"


def test_what_there_is_not(desk):
    assert desk.graph(RELATIONSHIPS, "PUT", json={}).status_code == 405
    assert desk.graph("/v1.0/me").status_code == 404
