"""Partner Center v1 resources of a purchase history: subscriptions, orders, audit; and back by PATCH."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from emulator.catalogue import PRODUCTS, Product
from emulator.commerce import Subscription
from emulator.history import Change, CommerceError, NextTerm, Order, State
from emulator.invoicing import OneTimePurchase
from emulator.meters import AzurePlan, Entitlement
from emulator.tenants import Resource, Tenant, link
from emulator.terms import midnight, stamp, ticks

_NEVER = "9999-12-14T00:00:00Z"
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who signs audit records."""

    partner_id: str
    upn: str
    application_id: str


def subscription_resource(
    subscription: Subscription, state: State, tenant: Tenant, now: datetime
) -> Resource:
    """The v1 Subscription of a state; ends become Microsoft's last included days here."""
    product = state.product
    availability = product.availability_id(subscription.purchase.segment, state.term, state.plan)
    live = state.status in {"active", "suspended"}
    until = state.cancellable_until(now)
    lots = state.open_lots(now) if live else []
    resource: Resource = {
        "id": subscription.id,
        "offerId": f"{product.product_id}:{product.sku_id}:{availability}",
        "offerName": product.title,
        "friendlyName": state.friendly_name,
        "productType": {"id": product.product_type, "displayName": product.product_type},
        "quantity": state.quantity,
        "unitType": product.unit,
        "hasPurchasableAddons": False,
        "creationDate": stamp(subscription.purchase.at),
        "effectiveStartDate": stamp(state.term_span.start),
        "commitmentEndDate": stamp(state.term_span.last),
        "commitmentEndDateTime": stamp(midnight(state.term_span.end) - timedelta(seconds=1)),
        "cancellationAllowedUntilDate": stamp(until) if until else None,
        "billingCycleEndDate": stamp(state.cycle.last),
        "status": state.status,
        "autoRenewEnabled": state.auto_renew,
        "isTrial": product.trial,
        "billingType": "license",
        "billingCycle": state.plan,
        "termDuration": state.term,
        "renewalTermDuration": state.term if state.auto_renew else "",
        "refundOptions": [
            {"type": "Full", "expiresAt": stamp(state.term_span.start + timedelta(days=1))}
        ],
        "refundableQuantity": {
            "totalQuantity": sum(lot.quantity for lot in lots),
            "details": [
                {"quantity": lot.quantity, "allowedUntilDateTime": stamp(lot.until)} for lot in lots
            ],
        },
        "scheduledNextTermInstructions": (
            _next_term(state.next_term, subscription.purchase.segment) if state.next_term else None
        ),
        "nextChargeInstructions": None,
        "isMicrosoftProduct": product.microsoft,
        "partnerId": state.partner_id,
        "attentionNeeded": False,
        "actionTaken": False,
        "contractType": "subscription",
        "publisherName": product.publisher,
        "orderId": state.order_id,
        "links": _links(tenant, subscription.id, product.product_id, product.sku_id, availability),
        "attributes": {"objectType": "Subscription"},
    }
    resource.update(product.unpublished)
    if state.promotion is not None:
        resource["promotionId"] = state.promotion.id
    if state.status == "suspended":
        resource["suspensionReasons"] = ["PartnerRequest"]
    if subscription.parent_id:
        resource["parentSubscriptionId"] = subscription.parent_id
        parent = f"/customers/{tenant.id}/subscriptions/{subscription.parent_id}"
        resource["links"]["parentSubscription"] = link(parent)
    if product.view != "updatedlicensebased":
        # Seats of new commerce mostly come without an etag; software and marketplace have one.
        resource["attributes"]["etag"] = _etag(subscription.id, state.updates)
    return resource


def _next_term(wish: NextTerm, segment: str) -> Resource:
    product = wish.product
    return {
        "product": {
            "productId": product.product_id,
            "skuId": product.sku_id,
            "availabilityId": product.availability_id(segment, wish.term, wish.plan),
            "billingCycle": wish.plan,
            "termDuration": wish.term,
            "promotionId": None,
        },
        "quantity": wish.quantity,
        "customTermEndDate": stamp(wish.custom_end) if wish.custom_end else None,
    }


def _links(tenant: Tenant, identity: str, product: str, sku: str, availability: str) -> Resource:
    shop = f"/products/{product}"
    country = f"?country={tenant.country}"
    return {
        "product": link(shop + country),
        "sku": link(f"{shop}/skus/{sku}{country}"),
        "availability": link(f"{shop}/skus/{sku}/availabilities/{availability}{country}"),
        "self": link(f"/customers/{tenant.id}/subscriptions/{identity}"),
    }


def _etag(identity: str, version: int) -> str:
    text = json.dumps({"id": identity, "version": version + 1}, separators=(",", ":"))
    return base64.b64encode(text.encode()).decode()


def read_patch(body: Resource, current: Resource, state: State, now: datetime) -> Change:
    """The change that a full resource asks for, against what it meets; raises CommerceError."""
    etag, sent = current["attributes"].get("etag"), (body.get("attributes") or {}).get("etag")
    status, quantity = body.get("status", state.status), body.get("quantity", state.quantity)
    partner_id, wish = body.get("partnerId"), body.get("scheduledNextTermInstructions")
    if etag is not None and sent is not None and sent.strip('"') != etag:
        raise CommerceError(400, "2055", "Etag is no longer valid")
    if str(body.get("billingCycle", state.plan)).lower() != state.plan:
        raise CommerceError(400, "2054", "The billing cycle cannot change here.")
    if body.get("termDuration", state.term) != state.term:
        raise CommerceError(400, "800097", "The term cannot change here.")
    if body.get("nextChargeInstructions"):
        raise CommerceError(400, "3000", "A change of billing at the next charge is not emulated.")
    if not isinstance(quantity, int):
        raise CommerceError(400, "3000", "The quantity is not a whole number.")
    if status not in {"active", "suspended", "deleted", state.status}:
        raise CommerceError(400, "800096", "The status cannot change to that.")
    if partner_id and not re.fullmatch(r"\d{6,8}", partner_id):
        raise CommerceError(400, "2071", "The partner id is not valid.")
    return Change(
        at=now,
        quantity=quantity if quantity != state.quantity else None,
        status=status if status != state.status else None,
        # A full resource: what is left out is reset, and nobody is told.
        auto_renew=bool(body.get("autoRenewEnabled", False)),
        friendly_name=body.get("friendlyName"),
        partner_id=partner_id,
        next_term=_read_next_term(wish) if wish else None,
        clear_next_term=not wish,
    )


def _read_next_term(wish: Resource) -> NextTerm:
    try:
        asked, custom = wish["product"], wish.get("customTermEndDate")
        return NextTerm(
            product=_read_product(asked["productId"], asked["skuId"]),
            term=asked["termDuration"],
            plan=asked["billingCycle"].lower(),
            quantity=int(wish["quantity"]),
            custom_end=date.fromisoformat(custom[:10]) if custom else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CommerceError(400, "3000", "scheduledNextTermInstructions is not valid.") from error


def _read_product(product_id: str, sku_id: str) -> Product:
    for product in PRODUCTS.values():
        if (product.product_id, product.sku_id) == (product_id, sku_id):
            return product
    raise CommerceError(403, "2091", "The offer is not available.")


def azure_plan_resource(plan: AzurePlan, tenant: Tenant) -> Resource:
    """The v1 Subscription that stands for an Azure plan: no term, no seats."""
    return {
        "id": plan.subscription_id,
        "offerId": "DZH318Z0BPS6:0001:DZH318Z0BML6",
        "offerName": "Azure plan",
        "friendlyName": "Azure plan",
        "productType": {"id": "Azure", "displayName": "Azure"},
        "quantity": 1,
        "unitType": "Usage-based",
        "hasPurchasableAddons": False,
        "creationDate": stamp(plan.created),
        "effectiveStartDate": stamp(plan.created.date()),
        "commitmentEndDate": _NEVER,
        "status": "active",
        "autoRenewEnabled": False,
        "isTrial": False,
        "billingType": "usage",
        "billingCycle": "monthly",
        "termDuration": "",
        "renewalTermDuration": "",
        "isMicrosoftProduct": True,
        "partnerId": tenant.reseller.mpn_id if tenant.reseller else "",
        "attentionNeeded": False,
        "actionTaken": False,
        "contractType": "subscription",
        "publisherName": "Microsoft",
        "orderId": plan.order_id,
        "links": _links(tenant, plan.subscription_id, "DZH318Z0BPS6", "0001", "DZH318Z0BML6"),
        "attributes": {"etag": _etag(plan.subscription_id, 0), "objectType": "Subscription"},
    }


def entitlement_resource(entitlement: Entitlement, plan: AzurePlan) -> Resource:
    """One Azure subscription of a plan."""
    return {
        "id": entitlement.id,
        "friendlyName": entitlement.name,
        "status": entitlement.status,
        "subscriptionId": plan.subscription_id,
    }


def order_resource(order: Order, subscription: Subscription, tenant: Tenant) -> Resource:
    """The v1 Order of one billing event on a subscription; prices are left out by default."""
    product = order.product
    segment = subscription.purchase.segment
    availability = product.availability_id(segment, order.term, order.plan)
    links = _links(tenant, subscription.id, product.product_id, product.sku_id, availability)
    item: Resource = {
        "lineItemNumber": 0,
        "offerId": f"{product.product_id}:{product.sku_id}:{availability}",
        "subscriptionId": subscription.id,
        "termDuration": order.term,
        "transactionType": order.transaction,
        "friendlyName": subscription.purchase.friendly_name,
        "quantity": order.quantity,
        "partnerIdOnRecord": subscription.purchase.partner_id or None,
        "links": {
            "product": links["product"],
            "sku": links["sku"],
            "subscription": links["self"],
            "availability": links["availability"],
        },
    }
    if order.promotion is not None:
        item["promotionId"] = order.promotion.id
    kind = "SystemBilling" if order.system else "UserPurchase"
    return _order(order.id, tenant, plan=order.plan, at=order.at, kind=kind, item=item)


def purchase_resource(bought: OneTimePurchase, tenant: Tenant) -> Resource:
    """The v1 Order of a one-time purchase, which has no subscription."""
    product, price = bought.product, bought.price
    availability = product.availability_id(price.segment, price.term, price.plan)
    item: Resource = {
        "lineItemNumber": 0,
        "offerId": f"{product.product_id}:{product.sku_id}:{availability}",
        "transactionType": "New",
        "friendlyName": product.title,
        "quantity": bought.quantity,
        "links": {"sku": _links(tenant, "", product.product_id, product.sku_id, "")["sku"]},
    }
    return _order(bought.order_id, tenant, plan="one_time", at=bought.at, item=item)


def plan_order_resource(plan: AzurePlan, tenant: Tenant) -> Resource:
    """The v1 Order of an Azure plan."""
    item: Resource = {
        "lineItemNumber": 0,
        "offerId": "DZH318Z0BPS6:0001:DZH318Z0BML6",
        "subscriptionId": plan.subscription_id,
        "transactionType": "New",
        "friendlyName": "Azure plan",
        "quantity": 1,
        "links": {
            "subscription": link(f"/customers/{tenant.id}/subscriptions/{plan.subscription_id}")
        },
    }
    return _order(plan.order_id, tenant, plan="monthly", at=plan.created, item=item)


def _order(
    identity: str,
    tenant: Tenant,
    *,
    plan: str,
    at: datetime,
    item: Resource,
    kind: str = "UserPurchase",
) -> Resource:
    path = f"/customers/{tenant.id}/orders/{identity}"
    currency = {"US": "USD", "GB": "GBP"}.get(tenant.country, "EUR")
    return {
        "id": identity,
        "alternateId": identity,
        "referenceCustomerId": tenant.id,
        "billingCycle": plan,
        "currencyCode": currency,
        "currencySymbol": _SYMBOLS[currency],
        "lineItems": [item],
        "creationDate": stamp(at),
        "status": "completed",
        "transactionType": kind,
        "links": {
            "provisioningStatus": link(f"{path}/provisioningstatus"),
            "self": link(path),
        },
        "attributes": {"objectType": "Order"},
    }


def audit_resources(
    subscription: Subscription, tenant: Tenant, actor: Actor, since: datetime, until: datetime
) -> Iterator[tuple[datetime, Resource]]:
    """Audit records of what people did to a subscription; Microsoft's own renewals leave none."""
    bought = subscription.purchase
    if since <= bought.at <= until and (first := subscription.replay(bought.at)):
        order = order_resource(first.orders[0], subscription, tenant)
        item = order["lineItems"][0]
        facts = {
            "OrderId": order["id"],
            "BillingCycle": bought.plan.capitalize(),
            "OfferId-0": item["offerId"],
            "SubscriptionId-0": subscription.id,
            "SubscriptionName-0": bought.friendly_name,
            "Quantity-0": str(bought.quantity),
            "PartnerOnRecord-0": bought.partner_id or None,
        }
        yield (
            bought.at,
            audit_record(
                actor, tenant, "create_order", at=bought.at, old=None, new=order, facts=facts
            ),
        )
    for change in subscription.changes:
        if since <= change.at <= until:
            states = subscription.before(change), subscription.after(change)
            yield change.at, _audited_change(subscription, tenant, actor, change, states)
    for refusal in subscription.refusals:
        if since <= refusal.change.at <= until:
            before = subscription.before(refusal.change)
            states = before, before
            record = _audited_change(subscription, tenant, actor, refusal.change, states)
            record["operationStatus"] = "failed"
            record["customizedData"].append({"key": "ErrorCode", "value": refusal.error.code})
            yield refusal.change.at, record


def _audited_change(
    subscription: Subscription,
    tenant: Tenant,
    actor: Actor,
    change: Change,
    states: tuple[State, State],
) -> Resource:
    before, after = states
    operation = "update_subscription"
    if change.convert_to is not None:
        operation = "upgrade_subscription"
        if before.product.trial:
            operation = "convert_trial_subscription"
    facts: dict[str, str | None] = {
        "SubscriptionId": subscription.id,
        "SubscriptionName": before.friendly_name,
        "OldQuantity": str(before.quantity),
        "NewQuantity": str(change.quantity if change.quantity is not None else after.quantity),
    }
    if change.status is not None:
        facts["NewStatus"] = change.status
    old = subscription_resource(subscription, before, tenant, change.at)
    new = subscription_resource(subscription, after, tenant, change.at)
    return audit_record(actor, tenant, operation, at=change.at, old=old, new=new, facts=facts)


def audit_record(
    actor: Actor,
    tenant: Tenant,
    operation: str,
    *,
    at: datetime,
    old: Resource | None,
    new: Resource,
    facts: dict[str, str | None],
) -> Resource:
    """The v1 AuditRecord of an operation on a resource, which names its own kind."""
    record: Resource = {
        "id": f"{actor.partner_id}_{tenant.id}_{operation.replace('_', '')}_{ticks(at)}",
        "partnerId": actor.partner_id,
        "customerId": tenant.id,
        "customerName": tenant.company,
        "userPrincipalName": actor.upn,
        "applicationId": actor.application_id,
        "resourceType": new["attributes"]["objectType"].lower(),
        "resourceNewValue": json.dumps(pascal(new), ensure_ascii=False, separators=(",", ":")),
        "operationType": operation,
        "operationDate": stamp(at),
        "operationStatus": "succeeded",
        "customizedData": [{"key": key, "value": value} for key, value in facts.items()],
        "attributes": {"objectType": "AuditRecord"},
    }
    if old is not None:
        record["resourceOldValue"] = json.dumps(
            pascal(old), ensure_ascii=False, separators=(",", ":")
        )
    return record


def pascal(value: Any) -> Any:
    """The same document with names in PascalCase, as audit records hold it."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: pascal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [pascal(item) for item in value]
    return value
