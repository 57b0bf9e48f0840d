"""What happened in the world between two instants, as Partner Center tells of it in webhooks.

A happening is computed from the same histories as every answer, never noted down on the side; its
key stays the same however often it is computed, so a sender can tell what it has told already.
There is no event for a relationship that is created, locked or extended: Microsoft names none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from emulator.commerce import Subscription
from emulator.tenants import Relationship, Tenant
from emulator.terms import midnight, ticks

API, PORTAL = "", "https://partner.microsoft.com"
"""Where a resource is named: on the API's host, which moves, or on the portal, which is no API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One event: its name, which resource (kind and address) and when; `audit` names a record.

    Without `resource` the property is left out, as in the published sample of fraud events.
    """

    key: tuple[object, ...]
    at: datetime
    event: str
    resource: str | None
    host: str = API
    path: str | None = None
    audit: str | None = None


def subscription_events(
    subscription: Subscription, since: datetime, until: datetime
) -> Iterator[Happening]:
    """One for each change, renewal and end of a subscription within the span, both ends included."""
    if subscription.purchase.at > until:
        return
    path = f"/v1/customers/{subscription.customer_id}/subscriptions/{subscription.id}"
    found: list[tuple[datetime, tuple[object, ...]]] = [
        (change.at, ("changed", number))
        for number, change in enumerate(subscription.changes)
        if since <= change.at <= until
    ]
    if since < until and (replay := subscription.replay(until)) is not None:
        found += [
            (order.at, ("ordered", order.id))
            for order in replay.orders
            if since <= order.at <= until and (order.system or order.at == subscription.purchase.at)
        ]
        ended = midnight(replay.state.term_span.end)
        if replay.state.status == "expired" and since <= ended <= until:
            found.append((ended, ("expired", ended)))
    for at, key in found:
        yield Happening(
            key=("subscription", subscription.id, at, *key),
            at=at,
            event="subscription-updated",
            resource="subscription",
            path=path,
        )


def invoice_event(number: str, at: datetime) -> Happening:
    """An invoice that was issued."""
    return Happening(
        key=("invoice", number),
        at=at,
        event="invoice-ready",
        resource="invoice",
        path=f"/v1/invoices/{number}",
    )


def acceptance_events(
    tenant: Tenant, partner_id: str, since: datetime, until: datetime
) -> Iterator[Happening]:
    """A customer that accepted the partner as its reseller; the only event with an audit record."""
    for number, at in enumerate(tenant.accepted):
        if since <= at <= until:
            record = f"{partner_id}_{tenant.id}_resellerrelationshipacceptedbycustomer_{ticks(at)}"
            yield Happening(
                key=("accepted", tenant.id, number),
                at=at,
                event="reseller-relationship-accepted-by-customer",
                resource="Customer",
                path=f"/v1/customers/{tenant.id}",
                audit=f"/auditactivity/v1/auditrecords/{record}",
            )


_RELATIONSHIP_EVENTS = {
    "approved": "approved",
    "active": "activated",
    "terminated": "terminated",
    "expired": "expired",
}


def relationship_events(
    relationship: Relationship, since: datetime, until: datetime
) -> Iterator[Happening]:
    """What became of a delegated administration and of its assignments within the span."""
    path = f"/granularAdminRelationships/{relationship.id}"
    for at, status in relationship.history(until):
        if at >= since and status in _RELATIONSHIP_EVENTS:
            yield Happening(
                key=(relationship.id, at, status),
                at=at,
                event=f"granular-admin-relationship-{_RELATIONSHIP_EVENTS[status]}",
                resource="GranularAdminRelationship",
                host=PORTAL,
                path=path,
            )
    for assignment in relationship.assignments:
        for at, what in assignment.history(until):
            if at >= since:
                yield Happening(
                    key=(relationship.id, assignment.id, at, what),
                    at=at,
                    event=f"granular-admin-access-assignment-{what}",
                    resource="GranularAdminAccessAssignment",
                    host=PORTAL,
                    path=f"{path}/accessAssignments/{assignment.id}",
                )
