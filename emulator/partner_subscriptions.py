"""Partner Center v1: subscriptions, their changes, Azure entitlements and orders.

The world applies the rules of commerce; here are the manners around a change: etags, an operation
that is still pending, and reads that show old values for a while.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.partner_wire import (
    APP_TOO,
    CUSTOMER,
    RefusalError,
    Resource,
    Route,
    collection,
    known_customer,
    read_resource,
)


class Subscriptions:
    """Handlers of what customers bought."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stale: dict[str, tuple[datetime, Resource]] = {}
        self._busy_until: dict[str, datetime] = {}
        one = CUSTOMER + "/subscriptions/{subscription}"
        self.routes: list[Route] = [
            ("GET", CUSTOMER + "/subscriptions", self._subscriptions, APP_TOO),
            ("GET", one, self._subscription, APP_TOO),
            ("PATCH", one, self._patch_subscription, APP_TOO),
            ("GET", one + "/addons", self._addons, APP_TOO),
            ("GET", one + "/provisioningstatus", self._provisioning_status, APP_TOO),
            ("GET", one + "/azureEntitlements", self._entitlements, APP_TOO),
            ("GET", one + "/azureEntitlements/{one}", self._entitlement, APP_TOO),
            ("GET", CUSTOMER + "/orders", self._orders, APP_TOO),
            ("GET", CUSTOMER + "/orders/{order}", self._order, APP_TOO),
        ]

    def reset(self) -> None:
        """Forget stale reads and pending operations."""
        self._stale.clear()
        self._busy_until.clear()

    def _visible(self, customer: str) -> list[Resource]:
        """A customer's subscriptions as reads show them: old values for a while after a write."""
        now = self._stage.clock.now()
        rows = []
        for row in self._stage.world.subscriptions(
            known_customer(self._stage.world, customer)["id"]
        ):
            until, before = self._stale.get(row["id"], (now, row))
            rows.append(before if until > now else row)
        return rows

    def _visible_one(self, customer: str, subscription: str) -> Resource:
        for row in self._visible(customer):
            if row["id"] == subscription.lower():
                return row
        raise RefusalError(404, "20003", "The subscription was not found.")

    def _subscriptions(self, request: Request, customer: str) -> Response:
        rows = self._visible(customer)
        for parameter, field in (("order_id", "orderId"), ("mpn_id", "partnerId")):
            if parameter in request.args:
                rows = [row for row in rows if row.get(field) == request.args[parameter]]
        return wire.json_response(collection(rows))

    def _subscription(self, request: Request, customer: str, subscription: str) -> Response:
        del request
        return wire.json_response(self._visible_one(customer, subscription))

    def _patch_subscription(self, request: Request, customer: str, subscription: str) -> Response:
        world, now = self._stage.world, self._stage.clock.now()
        settings = self._stage.control.settings
        owner = known_customer(self._stage.world, customer)["id"]
        current = world.subscription(owner, subscription.lower())
        if current is None:
            raise RefusalError(404, "20003", "The subscription was not found.")
        body = read_resource(request)
        etag = current["attributes"].get("etag")
        sent = request.headers.get("If-Match", "").strip('"') or body.get("attributes", {}).get(
            "etag"
        )
        if etag and sent and sent != etag:
            raise RefusalError(400, "2055", "Etag is no longer valid")
        if self._busy_until.get(current["id"], now) > now:
            raise RefusalError(409, 800060, "Another order or update is in progress.")
        changed = world.patch_subscription(owner, current["id"], body)
        pause = timedelta(seconds=settings.pending_operation_seconds)
        self._busy_until[current["id"]] = now + pause
        stale = timedelta(seconds=settings.stale_read_seconds)
        self._stale[current["id"]] = (now + stale, current)
        return wire.json_response(changed)

    def _addons(self, request: Request, customer: str, subscription: str) -> Response:
        del request
        parent = self._visible_one(customer, subscription)["id"]
        rows = [row for row in self._visible(customer) if row.get("parentSubscriptionId") == parent]
        return wire.json_response(collection(rows))

    def _provisioning_status(self, request: Request, customer: str, subscription: str) -> Response:
        del request
        row = self._visible_one(customer, subscription)
        product = row["offerId"].split(":")
        return wire.json_response(
            {
                "skuId": product[1] if len(product) > 1 else row["offerId"],
                "status": "success",
                "quantity": row["quantity"],
                "endDate": row["commitmentEndDate"],
                "attributes": {"objectType": "SubscriptionProvisioningStatus"},
            }
        )

    def _entitlements(self, request: Request, customer: str, subscription: str) -> Response:
        del request
        plan = self._visible_one(customer, subscription)["id"]
        rows = self._stage.world.azure_entitlements(customer.lower(), plan)
        return wire.json_response(collection(rows))

    def _entitlement(
        self, request: Request, customer: str, subscription: str, one: str
    ) -> Response:
        del request
        plan = self._visible_one(customer, subscription)["id"]
        for row in self._stage.world.azure_entitlements(customer.lower(), plan):
            if row["id"] == one.lower():
                return wire.json_response(row)
        raise RefusalError(404, "1000", "The Azure entitlement was not found.")

    def _orders(self, request: Request, customer: str) -> Response:
        rows = self._stage.world.orders(known_customer(self._stage.world, customer)["id"])
        cycle = request.args.get("billingType", "").lower()
        return wire.json_response(
            collection([row for row in rows if cycle in ("", row["billingCycle"])])
        )

    def _order(self, request: Request, customer: str, order: str) -> Response:
        del request
        for row in self._stage.world.orders(known_customer(self._stage.world, customer)["id"]):
            if row["id"].lower() == order.lower():
                return wire.json_response(row)
        raise RefusalError(404, "20000", "The order was not found.")
