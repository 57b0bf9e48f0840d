"""Writes to delegated administration, the customer's answers, and the life that follows by the clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.clock import Clock
from emulator.gdap import Gdap, GdapError
from emulator.graph_writes import WRITE
from emulator.tenants import Relationship
from emulator.world import NOW
from tests.emulator.test_graph import BASE, RELATIONSHIPS, check, sample
from tests.emulator.test_webhooks import BODY, CONTROL, REGISTRATION, Worker

READERS = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"
LICENCES = "4d6ac14f-3453-41d0-bef9-a3e0c569773a"
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
GROUP = "227a2f44-2682-4831-a021-f8d69a34bcba"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def desk(small):
    """The partner's app has consented to writing, and somebody listens to events."""
    small.control.change(granted_permissions=[WRITE])
    small.worker = Worker(small)
    small.pc(REGISTRATION, "POST", json=BODY).raise_for_status()
    return small


def first_customer(desk):
    return desk.emulator.world.customers()[0]


def roles(*names):
    return {"unifiedRoles": [{"roleDefinitionId": name} for name in names]}


def asked(desk, **changes):
    customer = first_customer(desk)
    party = {
        "tenantId": customer["id"],
        "displayName": customer["companyProfile"]["companyName"],
    }
    return {
        "displayName": "Managed services 2027",
        "duration": "P730D",
        "customer": party,
        "accessDetails": roles(READERS, LICENCES),
        "autoExtendDuration": "P180D",
        **changes,
    }


def create(desk, **changes):
    answer = desk.graph(RELATIONSHIPS, "POST", json=asked(desk, **changes))
    assert answer.status_code == 201, answer.text
    return answer.json()


def read(desk, identity):
    return desk.graph(f"{RELATIONSHIPS}/{identity}").json()


def request(desk, identity, action, **options):
    path = f"{RELATIONSHIPS}/{identity}/requests"
    return desk.graph(path, "POST", json={"action": action}, **options)


def act(desk, what, **details):
    return desk.session.post(f"{CONTROL}/act", json={"what": what, **details})


def active(desk, **changes):
    """A relationship that was made, locked and approved, two steps ago."""
    made = create(desk, **changes)
    request(desk, made["id"], "lockForApproval").raise_for_status()
    act(desk, "approve_relationship", relationship_id=made["id"]).raise_for_status()
    desk.clock.advance(2 * MINUTE)
    return read(desk, made["id"])


def statuses(desk, identity, steps):
    """The status now, and after each of some minutes."""
    found = [read(desk, identity)["status"]]
    for _ in range(steps):
        desk.clock.advance(MINUTE)
        found.append(read(desk, identity)["status"])
    return found


def scenario_relationship(desk, number=0):
    return desk.emulator.world.gdap_relationships()[number]


# --- making -----------------------------------------------------------------------------------------


def test_a_new_relationship_is_answered_as_published(desk):
    answer = desk.graph(RELATIONSHIPS, "POST", json=asked(desk))
    made = answer.json()
    published = sample("tenantrelationship-post-delegatedadminrelationships.response-201.2.json")
    assert answer.status_code == 201
    assert answer.headers["Location"].endswith(f"{RELATIONSHIPS}/{made['id']}")
    assert made.keys() == published.keys()
    assert made["status"] == "created"
    assert (made["activatedDateTime"], made["endDateTime"]) == (None, None)
    check(made, "delegatedAdminRelationship")
    read_back = desk.graph(answer.headers["Location"]).json()
    assert {k: v for k, v in read_back.items() if k != "@odata.context"} == {
        k: v for k, v in made.items() if k != "@odata.context"
    }
    listed = desk.graph(RELATIONSHIPS).json()["value"]
    assert [row["id"] for row in listed].count(made["id"]) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"displayName": ""}, 400),
        ({"displayName": "x" * 51}, 400),
        ({"duration": "P0D"}, 400),
        ({"duration": "P731D"}, 400),
        ({"duration": "two years"}, 400),
        ({"accessDetails": None}, 400),
        ({"accessDetails": {"unifiedRoles": []}}, 400),
        ({"accessDetails": {"unifiedRoles": [{"roleDefinitionId": "admin"}]}}, 400),
        ({"autoExtendDuration": "P90D"}, 400),
        ({"accessDetails": roles(GLOBAL_ADMINISTRATOR)}, 400),
        ({"customer": {"tenantId": "fabrikam"}}, 400),
    ],
)
def test_what_cannot_be_made(desk, changes, status):
    before = desk.graph(RELATIONSHIPS).json()["value"]
    refused = desk.graph(RELATIONSHIPS, "POST", json=asked(desk) | changes)
    assert refused.status_code == status
    assert refused.json()["error"]["code"]
    assert desk.graph(RELATIONSHIPS).json()["value"] == before


def test_global_administrator_may_be_asked_for_without_extension(desk):
    made = create(
        desk, accessDetails=roles(GLOBAL_ADMINISTRATOR), autoExtendDuration="PT0S", duration="P2Y"
    )
    assert (made["autoExtendDuration"], made["duration"]) == ("PT0S", "P730D")


def test_names_are_given_once(desk):
    create(desk)
    assert desk.graph(RELATIONSHIPS, "POST", json=asked(desk)).status_code == 409


def test_writing_needs_a_permission_of_its_own(small):
    refused = small.graph(RELATIONSHIPS, "POST", json=asked(small))
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "Authorization_RequestDenied"
    small.control.change(granted_permissions=[WRITE])
    small.control.change(withheld_permissions=["DelegatedAdminRelationship.Read.All"])
    assert small.graph(RELATIONSHIPS).status_code == 200
    assert small.graph(RELATIONSHIPS, "POST", json=asked(small)).status_code == 201


# --- a life ---------------------------------------------------------------------------------------


def test_from_invitation_to_access(desk):
    made = create(desk)
    assert request(desk, made["id"], "approve").status_code == 403
    locked = request(desk, made["id"], "lockForApproval")
    assert locked.status_code == 201
    check(locked.json(), "delegatedAdminRelationshipRequest")
    assert locked.json()["status"] == "created"
    assert desk.graph(locked.headers["Location"]).json()["status"] == "succeeded"
    assert read(desk, made["id"])["status"] == "approvalPending"
    act(desk, "approve_relationship", relationship_id=made["id"]).raise_for_status()
    assert statuses(desk, made["id"], 3) == ["approved", "activating", "active", "active"]
    row = read(desk, made["id"])
    assert row["activatedDateTime"] == "2026-11-09T06:02:00Z"
    assert row["endDateTime"] == "2028-11-08T06:02:00Z"
    assert [event.rpartition("-")[2] for event in desk.worker.names] == ["approved", "activated"]


def test_it_ends_at_the_partners_wish(desk):
    identity = scenario_relationship(desk)["id"]
    ended = request(desk, identity, "terminate")
    assert ended.status_code == 201
    found = statuses(desk, identity, 3)
    assert found == ["terminationRequested", "terminating", "terminated", "terminated"]
    assert desk.worker.names == ["granular-admin-relationship-terminated"]
    rows = desk.graph(f"{RELATIONSHIPS}/{identity}/requests").json()["value"]
    assert [row["action"] for row in rows] == ["lockForApproval", "terminate"]
    assert request(desk, identity, "terminate").status_code == 409


def test_it_ends_at_the_customers_wish(desk):
    identity = scenario_relationship(desk)["id"]
    act(desk, "end_relationship", relationship_id=identity).raise_for_status()
    assert statuses(desk, identity, 1) == ["terminating", "terminated"]
    again = act(desk, "end_relationship", relationship_id=identity)
    assert again.status_code == 400
    assert "status terminated" in again.json()["error"]


def test_with_the_last_access_goes_what_partner_center_shows(desk):
    customer = first_customer(desk)
    path = f"/v1/customers/{customer['id']}"

    def seen():
        company = desk.pc(path).json()["companyProfile"]
        reached = desk.graph(f"{BASE}/delegatedAdminCustomers/{customer['id']}").status_code == 200
        return "address" in company, desk.pc(path).json()["allowDelegatedAccess"], reached

    assert seen() == (True, True, True)
    request(desk, scenario_relationship(desk)["id"], "terminate").raise_for_status()
    desk.clock.advance(2 * MINUTE)
    assert seen() == (False, False, False)
    # A relationship alone opens no door: a group must hold a role in it.
    identity = active(desk)["id"]
    assert seen() == (False, False, True)
    body = {
        "accessContainer": {"accessContainerId": GROUP, "accessContainerType": "securityGroup"},
        "accessDetails": roles(READERS),
    }
    path_of = f"{RELATIONSHIPS}/{identity}/accessAssignments"
    desk.graph(path_of, "POST", json=body).raise_for_status()
    assert seen() == (False, False, True)
    desk.clock.advance(MINUTE)
    assert seen() == (True, True, True)


def test_steps_may_take_no_time(desk):
    desk.control.change(gdap_seconds=0)
    made = create(desk)
    request(desk, made["id"], "lockForApproval").raise_for_status()
    act(desk, "approve_relationship", relationship_id=made["id"]).raise_for_status()
    assert read(desk, made["id"])["status"] == "active"


def test_an_invitation_without_customer_is_taken_by_who_approves(desk):
    made = create(desk, customer=None)
    request(desk, made["id"], "lockForApproval").raise_for_status()
    refused = act(desk, "approve_relationship", relationship_id=made["id"])
    assert "which customer" in refused.json()["error"]
    customer = first_customer(desk)
    act(
        desk, "approve_relationship", relationship_id=made["id"], customer_id=customer["id"]
    ).raise_for_status()
    assert read(desk, made["id"])["customer"]["tenantId"] == customer["id"]


def test_another_customer_cannot_approve(desk):
    made = create(desk)
    request(desk, made["id"], "lockForApproval").raise_for_status()
    other = desk.emulator.world.customers()[1]["id"]
    refused = act(desk, "approve_relationship", relationship_id=made["id"], customer_id=other)
    assert refused.status_code == 400
    assert read(desk, made["id"])["status"] == "approvalPending"


@pytest.mark.parametrize("action", ["lockForApproval", "terminate"])
def test_requests_that_the_status_does_not_allow(desk, action):
    made = create(desk)
    request(desk, made["id"], "lockForApproval").raise_for_status()
    assert request(desk, made["id"], action).status_code == 409


def test_actions_that_are_not_known(desk):
    made = create(desk)
    assert request(desk, made["id"], "extend").status_code == 400
    assert request(desk, made["id"], "reject").status_code == 400
    assert request(desk, "none", "terminate").status_code == 404
    unready = act(desk, "approve_relationship", relationship_id=made["id"])
    assert "status created" in unready.json()["error"]


# --- changing and deleting -----------------------------------------------------------------------------


def test_an_invitation_can_be_changed_and_deleted(desk):
    made = create(desk)
    path = f"{RELATIONSHIPS}/{made['id']}"
    etag = {"If-Match": made["@odata.etag"]}
    changed = desk.graph(path, "PATCH", json={"duration": "P30D"}, headers=etag)
    assert changed.status_code == 200
    assert (changed.json()["duration"], changed.json()["displayName"]) == (
        "P30D",
        made["displayName"],
    )
    assert desk.graph(path, "DELETE").status_code == 428
    assert desk.graph(path, "DELETE", headers=etag).status_code == 412
    fresh = {"If-Match": read(desk, made["id"])["@odata.etag"]}
    assert desk.graph(path, "DELETE", headers=fresh).status_code == 204
    assert desk.graph(path).status_code == 404


def test_once_active_only_the_extension_changes(desk):
    row = active(desk, autoExtendDuration="PT0S", duration="P30D")
    path = f"{RELATIONSHIPS}/{row['id']}"
    etag = {"If-Match": row["@odata.etag"]}
    assert desk.graph(path, "PATCH", json={"duration": "P60D"}, headers=etag).status_code == 400
    assert desk.graph(path, "DELETE", headers=etag).status_code == 409
    body = {"autoExtendDuration": "P180D"}
    accepted = desk.graph(path, "PATCH", json=body, headers=etag)
    assert accepted.status_code == 202
    operation = desk.graph(accepted.headers["Location"]).json()
    check(operation, "delegatedAdminRelationshipOperation")
    assert operation["operationType"] == "delegatedAdminRelationshipUpdate"
    assert operation["status"] == "running"
    desk.clock.advance(MINUTE)
    assert desk.graph(accepted.headers["Location"]).json()["status"] == "succeeded"
    assert read(desk, row["id"])["autoExtendDuration"] == "P180D"
    assert desk.graph(path, "PATCH", json=body, headers=etag).status_code == 412


def test_extension_by_the_clock_and_its_end(desk):
    row = active(desk, duration="P30D")
    end = datetime.fromisoformat(row["endDateTime"])
    desk.clock.set(end + timedelta(days=1))
    extended = read(desk, row["id"])
    assert extended["status"] == "active"
    assert datetime.fromisoformat(extended["endDateTime"]) == end + timedelta(days=180)
    path = f"{RELATIONSHIPS}/{row['id']}"
    etag = {"If-Match": extended["@odata.etag"]}
    body = {"autoExtendDuration": "PT0S"}
    assert desk.graph(path, "PATCH", json=body, headers=etag).status_code == 202
    assert read(desk, row["id"])["endDateTime"] == extended["endDateTime"]
    desk.clock.set(end + timedelta(days=151))
    assert read(desk, row["id"])["status"] == "expiring"
    desk.clock.set(end + timedelta(days=180))
    assert read(desk, row["id"])["status"] == "expired"
    told = [event for event in desk.worker.names if event.endswith("relationship-expired")]
    assert told.count("granular-admin-relationship-expired") >= 1


def test_what_was_terminated_is_not_extended(desk):
    row = active(desk, duration="P30D")
    request(desk, row["id"], "terminate").raise_for_status()
    desk.clock.advance(timedelta(days=400))
    ended = read(desk, row["id"])
    assert (ended["status"], ended["endDateTime"]) == ("terminated", row["endDateTime"])
    assert ended["lastModifiedDateTime"] == "2026-11-09T06:04:00Z"


# --- repairs by hand ---------------------------------------------------------------------------------------


def test_people_give_access_and_each_step_takes_its_time(desk):
    customer = first_customer(desk)
    request(desk, scenario_relationship(desk)["id"], "terminate").raise_for_status()
    desk.clock.advance(2 * MINUTE)
    made = act(desk, "give_access", customer_id=customer["id"]).json()
    path = f"{RELATIONSHIPS}/{made['id']}/accessAssignments"

    def seen():
        company = desk.pc(f"/v1/customers/{customer['id']}").json()["companyProfile"]
        groups = [row["status"] for row in desk.graph(path).json()["value"]]
        return read(desk, made["id"])["status"], groups, "address" in company

    assert seen() == ("approved", [], False)
    desk.clock.advance(MINUTE)
    assert seen() == ("activating", [], False)
    desk.clock.advance(MINUTE)
    assert seen() == ("active", ["pending"], False)
    desk.clock.advance(MINUTE)
    assert seen() == ("active", ["active"], True)
    row = read(desk, made["id"])
    check(row, "delegatedAdminRelationship")
    assert (row["duration"], row["autoExtendDuration"]) == ("P730D", "P180D")
    assert [name.removeprefix("granular-admin-") for name in desk.worker.names] == [
        "relationship-terminated",
        "relationship-approved",
        "relationship-activated",
        "access-assignment-created",
        "access-assignment-activated",
    ]
    again = act(desk, "give_access", customer_id=customer["id"], roles=[READERS], extends=False)
    assert again.json()["id"] != made["id"]
    assert again.json()["accessDetails"] == roles(READERS)


def test_people_put_a_group_into_a_relationship(desk):
    row = active(desk)
    made = act(desk, "assign_group", relationship_id=row["id"], roles=[READERS]).json()
    desk.clock.advance(MINUTE)
    path = f"{RELATIONSHIPS}/{row['id']}/accessAssignments/{made['id']}"
    assert desk.graph(path).json()["status"] == "active"
    foreign = act(desk, "assign_group", relationship_id=row["id"], roles=[GLOBAL_ADMINISTRATOR])
    assert "not among those" in foreign.json()["error"]


def test_access_to_nobody(desk):
    assert "no customer" in act(desk, "give_access", customer_id=GROUP).json()["error"]


# --- assignments -----------------------------------------------------------------------------------------


def group_body(*names, group=GROUP, kind="securityGroup"):
    container = {"accessContainerId": group, "accessContainerType": kind}
    return {"accessContainer": container, "accessDetails": roles(*names)}


def test_a_group_is_given_roles(desk):
    row = active(desk)
    path = f"{RELATIONSHIPS}/{row['id']}/accessAssignments"
    answer = desk.graph(path, "POST", json=group_body(READERS, LICENCES))
    made = answer.json()
    published = sample("delegatedadminrelationship-post-accessassignments.response-201.2.json")
    assert answer.status_code == 201
    assert made.keys() == published.keys()
    assert answer.headers["Location"].endswith(f"{path}/{made['id']}")
    assert made["status"] == "pending"
    check(made, "delegatedAdminAccessAssignment")
    assert desk.graph(f"{path}/{made['id']}").json()["status"] == "pending"
    desk.clock.advance(MINUTE)
    assert desk.graph(f"{path}/{made['id']}").json()["status"] == "active"
    assert desk.worker.names[-2:] == [
        "granular-admin-access-assignment-created",
        "granular-admin-access-assignment-activated",
    ]
    published = sample_event("granular-admin-access-assignment-updated")
    event = desk.worker.events[-1]
    assert list(event) == list(published)
    host = published["ResourceUri"].partition("{{")[0]
    assert event["ResourceUri"] == f"{host}{row['id']}/accessAssignments/{made['id']}"


def sample_event(name):
    from tests.emulator.test_webhooks import sample as webhook_sample

    return webhook_sample(f"event-{name}.d2310.json")


def test_roles_change_and_go_when_the_operation_is_done(desk):
    row = active(desk)
    path = f"{RELATIONSHIPS}/{row['id']}/accessAssignments"
    made = desk.graph(path, "POST", json=group_body(READERS)).json()
    desk.clock.advance(MINUTE)
    one = f"{path}/{made['id']}"
    etag = {"If-Match": desk.graph(one).json()["@odata.etag"]}
    body = {"accessDetails": roles(LICENCES)}
    assert desk.graph(one, "PATCH", json=body).status_code == 428
    changed = desk.graph(one, "PATCH", json=body, headers=etag)
    assert changed.status_code == 202
    assert desk.graph(one).json()["accessDetails"] == roles(READERS)
    desk.clock.advance(MINUTE)
    assert desk.graph(one).json()["accessDetails"] == roles(LICENCES)
    operation = desk.graph(changed.headers["Location"]).json()
    check(operation, "delegatedAdminRelationshipOperation")
    assert (operation["status"], operation["operationType"]) == (
        "succeeded",
        "delegatedAdminAccessAssignmentUpdate",
    )
    assert made["id"] in operation["data"]
    assert desk.graph(one, "DELETE", headers=etag).status_code == 412
    fresh = {"If-Match": desk.graph(one).json()["@odata.etag"]}
    assert desk.graph(one, "DELETE", headers=fresh).status_code == 202
    assert desk.graph(one).json()["status"] == "deleting"
    desk.clock.advance(MINUTE)
    assert desk.graph(one).json()["status"] == "deleted"
    assert [name.rpartition("-")[2] for name in desk.worker.names[-2:]] == ["updated", "deleted"]


@pytest.mark.parametrize(
    "body",
    [
        group_body(),
        group_body(GLOBAL_ADMINISTRATOR),
        group_body(READERS, group="everyone"),
        group_body(READERS, kind="user"),
        {"accessDetails": roles(READERS)},
    ],
)
def test_assignments_that_cannot_be(desk, body):
    row = active(desk)
    path = f"{RELATIONSHIPS}/{row['id']}/accessAssignments"
    assert desk.graph(path, "POST", json=body).status_code == 400
    assert desk.graph(path).json()["value"] == []


def test_a_group_has_one_assignment_in_a_live_relationship(desk):
    waiting = create(desk, displayName="Not yet")
    path = f"{RELATIONSHIPS}/{waiting['id']}/accessAssignments"
    assert desk.graph(path, "POST", json=group_body(READERS)).status_code == 409
    row = active(desk)
    path = f"{RELATIONSHIPS}/{row['id']}/accessAssignments"
    assert desk.graph(path, "POST", json=group_body(READERS)).status_code == 201
    assert desk.graph(path, "POST", json=group_body(LICENCES)).status_code == 409
    assert desk.graph(f"{path}/none", "DELETE", headers={"If-Match": "x"}).status_code == 404


def test_a_reset_forgets_what_was_written(desk):
    before = len(desk.graph(RELATIONSHIPS).json()["value"])
    create(desk)
    desk.control.reset()
    assert len(desk.graph(RELATIONSHIPS).json()["value"]) == before


# --- whatever is asked, in whatever order ------------------------------------------------------------------

_NEXT = {
    "created": {"approvalPending"},
    "approvalPending": {"approved", "activating", "active", "expiring", "expired"},
    "approved": {"activating", "active", "expiring", "expired"},
    "activating": {"active", "expiring", "expired"},
    "active": {"expiring", "expired", "terminationRequested", "terminating", "terminated"},
    "expiring": {"active", "expired", "terminationRequested", "terminating", "terminated"},
    "terminationRequested": {"terminating", "terminated"},
    "terminating": {"terminated"},
    "expired": set(),
    "terminated": set(),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(["lockForApproval", "terminate", "approve", "end", "extend", "wait"]),
            st.integers(min_value=0, max_value=400),
        ),
        max_size=12,
    )
)
def test_a_relationship_only_ever_moves_on(acts):
    clock = Clock(NOW)
    rows: list[Relationship] = []
    gdap = Gdap(rows, seed=1, partner_side=GROUP, clock=clock, name_of=lambda _: "Fabrikam")
    body = {
        "displayName": "x",
        "duration": "P90D",
        "customer": {"tenantId": GROUP},
        "accessDetails": roles(READERS),
    }
    identity = gdap.create(body)["id"]
    pause = timedelta(hours=6)
    seen, refused = ["created"], set()
    for what, hours in acts:
        try:
            if what in ("lockForApproval", "terminate"):
                gdap.request(identity, what, pause=pause)
            elif what == "approve":
                gdap.approve(identity, pause=pause)
            elif what == "end":
                gdap.end(identity, pause=pause)
            elif what == "extend":
                etag = gdap_row(rows, clock)["@odata.etag"]
                gdap.change(identity, etag, {"autoExtendDuration": "P180D"}, pause=pause)
        except GdapError as error:
            refused.add(error.status)
        clock.advance(timedelta(hours=hours))
        row = gdap_row(rows, clock)
        check(row, "delegatedAdminRelationship")
        assert (row["activatedDateTime"] is None) == (row["endDateTime"] is None)
        if row["status"] != seen[-1]:
            assert row["status"] in _NEXT[seen[-1]]
            seen.append(row["status"])
    assert refused <= {400, 409}


def gdap_row(rows, clock):
    from emulator.tenants import relationship_resource

    return relationship_resource(rows[0], clock.now())
