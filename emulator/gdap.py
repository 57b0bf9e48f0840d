"""Writes to delegated administration, and the life that follows from them by the clock.

A write adds dated steps to a relationship or an assignment; the status at any instant is read from
them, so nothing has to run when the clock moves. The partner asks, the customer's side answers
(`approve`, `end`); each step takes `pause`. What Microsoft answers to a write that the status does
not allow, and after which pause, is not published: refusals are 409, a stale etag 412, none 428.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from emulator import wire
from emulator.clock import Clock
from emulator.tenants import (
    Assignment,
    Relationship,
    Resource,
    assignment_resource,
    relationship_resource,
)

MOST_DAYS = 730
LONGEST_NAME = 50
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
_DAYS = {"D": 1, "M": 30, "Y": 365}
_EXTENSIONS = {"P0D": False, "PT0S": False, "P180D": True}
_LIVE = ("active", "expiring")


class GdapError(Exception):
    """A refusal of Graph: status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Work that a write leaves behind until `done`."""

    id: str
    relationship: str
    kind: str
    data: Mapping[str, str]
    created: datetime
    done: datetime

    def resource(self, now: datetime) -> Resource:
        """The Graph delegatedAdminRelationshipOperation as of an instant."""
        over = now >= self.done
        return {
            "id": self.id,
            "operationType": self.kind,
            "status": "succeeded" if over else "running",
            "data": wire.encode(self.data),
            "createdDateTime": wire.stamp(self.created),
            "lastModifiedDateTime": wire.stamp(self.done if over else self.created),
        }


class Gdap:
    """The relationships of one partner, as both sides change them."""

    def __init__(
        self,
        relationships: list[Relationship],
        *,
        seed: int,
        partner_side: str,
        clock: Clock,
        name_of: Callable[[str], str | None],
    ) -> None:
        self._relationships = relationships
        self._seed = seed
        self._partner_side = partner_side
        self._clock = clock
        self._name_of = name_of
        self._made = 0
        self._operations: list[Operation] = []

    # --- relationships, by the partner ----------------------------------------------------------

    def create(self, body: Resource) -> Resource:
        """A new relationship in status created."""
        self._made += 1
        made = replace(
            self._read(body, None),
            id=f"{self._partner_side}-{wire.derived_guid('gdap', self._seed, self._made)}",
            created=self._clock.now(),
        )
        self._relationships.append(made)
        return relationship_resource(made, self._clock.now())

    def change(
        self, identity: str, etag: str, body: Resource, *, pause: timedelta
    ) -> tuple[Resource, Operation | None]:
        """Change a relationship; once it is locked only its extension, which is an operation."""
        now, known = self._clock.now(), self._known(identity)
        self._match(relationship_resource(known, now), etag)
        status = known.status(now)
        if status == "created":
            changed = self._put(replace(self._read(body, known), version=known.version + 1))
            return relationship_resource(changed, now), None
        if body.keys() - {"@odata.type"} != {"autoExtendDuration"}:
            raise GdapError(400, "BadRequest", "Only autoExtendDuration can be changed now.")
        if status not in _LIVE:
            raise _conflict(status)
        extends = _extends(body["autoExtendDuration"], known.roles)
        changed = self._put(
            replace(known, extends=extends, ends=known.end(now), version=known.version + 1)
        )
        operation = self._work(changed.id, "Relationship", {"relationshipId": changed.id}, pause)
        return relationship_resource(changed, now), operation

    def delete(self, identity: str, etag: str) -> None:
        """Remove a relationship that was never sent."""
        now, known = self._clock.now(), self._known(identity)
        self._match(relationship_resource(known, now), etag)
        if known.status(now) != "created":
            raise _conflict(known.status(now))
        self._relationships.remove(known)

    def request(self, identity: str, action: str, *, pause: timedelta) -> Resource:
        """Lock, approve or terminate; the request as it is answered."""
        known = self._known(identity)
        status = known.status(self._clock.now())
        if action == "lockForApproval":
            if status != "created":
                raise _conflict(status)
            self._step(known, ["approvalPending"], timedelta(0))
        elif action == "terminate":
            if status not in _LIVE:
                raise _conflict(status)
            self._step(known, ["terminationRequested", "terminating", "terminated"], pause)
        elif action == "approve":
            # Who may approve from the partner's side is not published; a customer's consent is not
            # the partner's to give.
            if not known.through_provider:
                raise GdapError(
                    403, "Forbidden", "The relationship is for the customer to approve."
                )
            self.approve(identity, pause=pause)
        else:
            raise GdapError(400, "BadRequest", "The action is not supported.")
        row = next(row for row in self.requests(identity) if row["action"] == action)
        return row | {"status": "created"}

    def requests(self, identity: str) -> list[Resource]:
        """The requests that brought a relationship to its status."""
        now, known = self._clock.now(), self._known(identity)
        status, modified = known.status(now), known.modified(now)
        reached = {name: at for at, name in known.steps if at <= now}
        asked = []
        if status != "created":
            asked.append(("lockForApproval", reached.get("approvalPending", known.created)))
        if "approved" in reached and known.through_provider:
            asked.append(("approve", reached["approved"]))
        if "terminationRequested" in reached:
            asked.append(("terminate", reached["terminationRequested"]))
        elif not known.steps and status.startswith("terminat"):
            asked.append(("terminate", modified))
        return [
            {
                "id": wire.derived_guid("gdap request", known.id, action),
                "action": action,
                "status": "succeeded",
                "createdDateTime": wire.stamp(at),
                "lastModifiedDateTime": wire.stamp(at),
            }
            for action, at in asked
        ]

    # --- relationships, by the customer ----------------------------------------------------------

    def approve(self, identity: str, customer_id: str = "", *, pause: timedelta) -> Resource:
        """The customer's administrator consents; it becomes active by the clock."""
        now, known = self._clock.now(), self._known(identity)
        if known.status(now) != "approvalPending":
            raise _conflict(known.status(now))
        if known.customer is None:
            name = self._name_of(customer_id)
            if name is None:
                raise GdapError(400, "BadRequest", "Say which customer approves: customer_id.")
            known = replace(known, customer=(customer_id, name))
        elif customer_id not in ("", known.customer[0]):
            raise GdapError(403, "Forbidden", "The relationship is locked to another customer.")
        known = replace(known, activated=now + 2 * pause)
        return self._step(known, ["approved", "activating", "active"], pause)

    def end(self, identity: str, *, pause: timedelta) -> Resource:
        """The customer's administrator removes the partner's roles."""
        known = self._known(identity)
        status = known.status(self._clock.now())
        if status not in _LIVE:
            raise _conflict(status)
        return self._step(known, ["terminating", "terminated"], pause)

    # --- both, at the portals ----------------------------------------------------------------------

    def grant(
        self, customer_id: str, roles: Sequence[str], *, days: int, extends: bool, pause: timedelta
    ) -> Resource:
        """A new relationship as people make it: asked for, approved, and a group put into it.

        Each step takes its time: it is active after two, and gives access after three.
        """
        made = self.create(
            {
                "displayName": f"Administration {self._made + 1}",
                "duration": f"P{days}D",
                "customer": {"tenantId": customer_id},
                "accessDetails": {"unifiedRoles": [{"roleDefinitionId": role} for role in roles]},
                "autoExtendDuration": "P180D" if extends else "PT0S",
            }
        )
        self.request(made["id"], "lockForApproval", pause=pause)
        self.approve(made["id"], pause=pause)
        known = self._known(made["id"])
        begins = self._clock.now() + 2 * pause
        group = Assignment(
            id=wire.derived_guid("gdap assignment", known.id),
            group_id=wire.derived_guid("gdap group", known.id),
            status="pending",
            roles=known.roles,
            created=begins,
            steps=((begins, "pending"), (begins + pause, "active")),
        )
        changed = self._put(replace(known, assignments=(group,)))
        return relationship_resource(changed, self._clock.now())

    # --- access assignments ------------------------------------------------------------------------

    def assign(self, identity: str, body: Resource, *, pause: timedelta) -> Resource:
        """Give a security group roles; active by the clock."""
        now, known = self._clock.now(), self._known(identity)
        if known.status(now) not in _LIVE:
            raise _conflict(known.status(now))
        container = body.get("accessContainer")
        container = container if isinstance(container, dict) else {}
        group = str(container.get("accessContainerId", "")).lower()
        if container.get("accessContainerType") != "securityGroup" or not wire.is_guid(group):
            raise GdapError(400, "BadRequest", "accessContainer must be a security group.")
        held = [one for one in known.assignments if one.status_at(now) != "deleted"]
        if any(one.group_id == group for one in held):
            raise GdapError(409, "Conflict", "The group has an access assignment already.")
        made = Assignment(
            id=wire.derived_guid("gdap assignment", known.id, len(known.assignments), group),
            group_id=group,
            status="pending",
            roles=self._subset(known, body),
            created=now,
            steps=((now, "pending"), (now + pause, "active")),
        )
        self._put(replace(known, assignments=(*known.assignments, made)))
        # As the answer of a write it is pending, even where the clock lets nothing take time.
        return assignment_resource(made, now) | {"status": "pending"}

    def reassign(
        self, identity: str, one: str, etag: str, body: Resource, *, pause: timedelta
    ) -> Operation:
        """Change the roles of an assignment; it is done when the operation is."""
        known, held = self._held(identity, one, etag)
        roles = self._subset(known, body)
        done = self._clock.now() + pause
        self._swap(known, replace(held, updates=(*held.updates, (done, roles))))
        return self._work(known.id, "AccessAssignment", {"accessAssignmentId": held.id}, pause)

    def unassign(self, identity: str, one: str, etag: str, *, pause: timedelta) -> Operation:
        """Take a group's roles away; it is done when the operation is."""
        known, held = self._held(identity, one, etag)
        now = self._clock.now()
        steps = (*held.steps, (now, "deleting"), (now + pause, "deleted"))
        self._swap(known, replace(held, steps=steps))
        return self._work(known.id, "AccessAssignment", {"accessAssignmentId": held.id}, pause)

    def operations(self, identity: str) -> list[Resource]:
        """The operations of a relationship; one for each assignment that the scenario changed."""
        now, known = self._clock.now(), self._known(identity)
        told = [one.resource(now) for one in self._operations if one.relationship == known.id]
        older = [
            {
                "id": wire.derived_guid("gdap operation", one.id),
                "operationType": "delegatedAdminAccessAssignmentUpdate",
                "status": "succeeded",
                "data": wire.encode({"accessAssignmentId": one.id}),
                "createdDateTime": wire.stamp(one.modified(now)),
                "lastModifiedDateTime": wire.stamp(one.modified(now)),
            }
            for one in known.assignments
            if not one.steps and not one.updates
        ]
        return older + told

    # --- the list ------------------------------------------------------------------------------------

    def _known(self, identity: str) -> Relationship:
        now = self._clock.now()
        for one in self._relationships:
            if one.id.lower() == identity.lower() and one.created <= now:
                return one
        raise GdapError(404, "ResourceNotFound", "The relationship was not found.")

    def _held(self, identity: str, one: str, etag: str) -> tuple[Relationship, Assignment]:
        now, known = self._clock.now(), self._known(identity)
        for held in known.assignments:
            if held.id.lower() == one.lower():
                self._match(assignment_resource(held, now), etag)
                if known.status(now) not in _LIVE:
                    raise _conflict(known.status(now))
                if held.status_at(now) not in ("pending", "active"):
                    raise _conflict(held.status_at(now))
                return known, held
        raise GdapError(404, "ResourceNotFound", "The access assignment was not found.")

    def _match(self, resource: Resource, etag: str) -> None:
        if not etag:
            raise GdapError(428, "PreconditionRequired", "The header If-Match is required.")
        if etag != resource["@odata.etag"]:
            raise GdapError(412, "PreconditionFailed", "The etag is not the current one.")

    def _put(self, changed: Relationship) -> Relationship:
        place = next(n for n, one in enumerate(self._relationships) if one.id == changed.id)
        self._relationships[place] = changed
        return changed

    def _swap(self, known: Relationship, changed: Assignment) -> None:
        rows = tuple(changed if one.id == changed.id else one for one in known.assignments)
        self._put(replace(known, assignments=rows))

    def _step(self, known: Relationship, statuses: list[str], pause: timedelta) -> Resource:
        now = self._clock.now()
        before = known.steps
        if known.fixed_status is not None:
            before = ((known.created, known.fixed_status),)
        added = tuple((now + n * pause, status) for n, status in enumerate(statuses))
        changed = replace(
            known, steps=(*before, *added), fixed_status=None, version=known.version + 1
        )
        return relationship_resource(self._put(changed), now)

    def _work(
        self, identity: str, kind: str, data: Mapping[str, str], pause: timedelta
    ) -> Operation:
        now = self._clock.now()
        operation = Operation(
            id=wire.derived_guid("gdap operation", identity, len(self._operations)),
            relationship=identity,
            kind=f"delegatedAdmin{kind}Update",
            data=data,
            created=now,
            done=now + pause,
        )
        self._operations.append(operation)
        return operation

    # --- reading what was sent ---------------------------------------------------------------------

    def _read(self, body: Resource, known: Relationship | None) -> Relationship:
        """A relationship as a body asks for it; what a change leaves out stays."""
        name = body.get("displayName", known.name if known else None)
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise GdapError(400, "BadRequest", f"displayName needs 1 to {LONGEST_NAME} characters.")
        if any(one.name == name for one in self._relationships if one is not known):
            raise GdapError(409, "Conflict", "A relationship of this displayName exists already.")
        roles = known.roles if known else ()
        if "accessDetails" in body or known is None:
            roles = _roles(body)
        extends = known.extends if known else False
        if "autoExtendDuration" in body:
            extends = _extends(body["autoExtendDuration"], roles)
        days = known.days if known else 0
        if "duration" in body or known is None:
            days = _days(body.get("duration"))
        customer = known.customer if known else None
        if "customer" in body:
            customer = self._customer(body["customer"])
        blank = Relationship(
            id="", name="", customer=None, days=0, roles=(), created=self._clock.now()
        )
        return replace(
            known or blank, name=name, roles=roles, extends=extends, days=days, customer=customer
        )

    def _customer(self, sent: Any) -> tuple[str, str] | None:
        if sent is None:
            return None
        tenant = str(sent.get("tenantId", "") if isinstance(sent, dict) else "").lower()
        if not wire.is_guid(tenant):
            raise GdapError(400, "BadRequest", "customer must have a tenantId.")
        return tenant, self._name_of(tenant) or str(sent.get("displayName") or "")

    def _subset(self, known: Relationship, body: Resource) -> tuple[str, ...]:
        roles = _roles(body)
        if not set(roles) <= {role.lower() for role in known.roles}:
            raise GdapError(400, "BadRequest", "A role is not among those of the relationship.")
        return roles


def _conflict(status: str) -> GdapError:
    return GdapError(409, "Conflict", f"This is not possible in status {status}.")


def _roles(body: Resource) -> tuple[str, ...]:
    details = body.get("accessDetails")
    rows = details.get("unifiedRoles") if isinstance(details, dict) else None
    named = [
        str(row.get("roleDefinitionId", "")).lower() for row in rows or () if isinstance(row, dict)
    ]
    if not named or not all(wire.is_guid(role) for role in named):
        raise GdapError(400, "BadRequest", "accessDetails must have unifiedRoles.")
    return tuple(named)


def _days(text: Any) -> int:
    hit = re.fullmatch(r"P(\d{1,4})([DMY])", str(text))
    days = int(hit[1]) * _DAYS[hit[2]] if hit else 0
    if not 1 <= days <= MOST_DAYS:
        raise GdapError(400, "BadRequest", "duration must be between P1D and P2Y.")
    return days


def _extends(text: Any, roles: tuple[str, ...]) -> bool:
    if text not in _EXTENSIONS:
        raise GdapError(400, "BadRequest", "autoExtendDuration must be PT0S or P180D.")
    if _EXTENSIONS[text] and GLOBAL_ADMINISTRATOR in roles:
        raise GdapError(400, "BadRequest", "Global Administrator cannot be extended.")
    return _EXTENSIONS[text]
