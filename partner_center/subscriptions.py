"""Subscriptions and the audit records that tell what people did to them.

New-commerce subscriptions are recognised by their product type or by an offer id in three parts
(`product:sku:availability`); their `commitmentEndDate` is the last day of the term. Legacy ones have a
single offer id and an exclusive end. Renewals leave no audit record: they show on invoice lines and
in the next snapshot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date
from typing import Any

from domain.period import BillingCycle
from domain.problems import Finding
from domain.subscription import (
    EventSource,
    EventType,
    NextTerm,
    Subscription,
    SubscriptionEvent,
    SubscriptionKind,
)
from partner_center.wire import (
    Day,
    Flag,
    Id,
    Moment,
    PartnerId,
    Text,
    Whole,
    Wire,
    customer_of,
    cycle_of,
    day_after,
    label,
    read,
    term_of,
)
from transport import exact_json


class ProductTypeWire(Wire):
    """What kind of product: OnlineServicesNCE, Azure, Software, ..."""

    id: Text = ""


class NextProductWire(Wire):
    """What the next term is of."""

    product_id: Text = ""
    sku_id: Text = ""
    billing_cycle: Text = ""
    term_duration: Text = ""
    promotion_id: Text = ""


class NextTermWire(Wire):
    """scheduledNextTermInstructions: what the renewal shall be."""

    product: NextProductWire = NextProductWire()
    quantity: Whole | None = None
    custom_term_end_date: Day = None

    def to_domain(self) -> NextTerm:
        """Translate; ValueError on a negative quantity."""
        if self.quantity is not None and self.quantity < 0:
            raise ValueError(f"the quantity of the next term is {self.quantity}")
        product = self.product
        return NextTerm(
            sku=f"{product.product_id}:{product.sku_id}" if product.product_id else "",
            quantity=self.quantity,
            term=term_of(product.term_duration),
            billing_cycle=cycle_of(product.billing_cycle),
            term_end=day_after(self.custom_term_end_date),
            promotion_id=product.promotion_id,
        )


class AvailabilityWire(Wire):
    """What the catalogue says of one way in which a product is sold."""

    segment: Text = ""


class SubscriptionWire(Wire):
    """A Subscription resource, new-commerce or legacy."""

    id: Id
    offer_id: Text = ""
    offer_name: Text = ""
    friendly_name: Text = ""
    product_type: ProductTypeWire = ProductTypeWire()
    quantity: Whole
    unit_type: Text = ""
    creation_date: Moment
    effective_start_date: Day = None
    commitment_end_date: Day = None
    status: Text = ""
    auto_renew_enabled: Flag = False
    is_trial: Flag = False
    billing_type: Text = ""
    billing_cycle: Text = ""
    term_duration: Text = ""
    promotion_id: Text = ""
    partner_id: PartnerId = ""
    order_id: Text = ""
    publisher_name: Text = ""
    scheduled_next_term_instructions: NextTermWire | None = None
    migrated_from_subscription_id: Id = ""

    @property
    def sku(self) -> tuple[str, str]:
        """Product and SKU; a legacy offer is a product without SKU."""
        product, _, rest = self.offer_id.partition(":")
        return product, rest.partition(":")[0]

    @property
    def availability(self) -> str:
        """What was bought of a product and SKU: at a segment's price, for a term; empty on a legacy offer."""
        return self.offer_id.rpartition(":")[2] if self.offer_id.count(":") == 2 else ""

    @property
    def is_new_commerce(self) -> bool:
        """Whether the end of the term is its last day."""
        return bool(self.product_type.id) or self.offer_id.count(":") == 2

    @property
    def kind(self) -> SubscriptionKind:
        """How it is charged."""
        kinds = (self.billing_type.lower(), self.unit_type.lower(), self.product_type.id.lower())
        if kinds[0] == "usage" or kinds[1] == "usage-based" or kinds[2] == "azure":
            return SubscriptionKind.USAGE
        if cycle_of(self.billing_cycle) is BillingCycle.ONE_TIME:
            return SubscriptionKind.ONE_TIME
        return SubscriptionKind.LICENCE

    @property
    def term_end(self) -> date | None:
        """First day after the term; None where there is no commitment."""
        after = day_after(self.commitment_end_date)
        return after if after is None or self.is_new_commerce else self.commitment_end_date

    @property
    def title(self) -> str:
        """The product, and the name that the customer gave it where that is another one."""
        if self.friendly_name.startswith(self.offer_name):
            return self.friendly_name
        return ", ".join(name for name in (self.offer_name, self.friendly_name) if name)

    def to_domain(self, customer_id: str) -> Subscription:
        """Translate; ValueError on a negative quantity or a term that ends before it starts."""
        start = self.effective_start_date or self.creation_date.astimezone(UTC).date()
        if self.quantity < 0:
            raise ValueError(f"the quantity is {self.quantity}")
        if self.term_end is not None and self.term_end < start:
            raise ValueError(f"the term ends on {self.commitment_end_date}, before {start}")
        product_id, sku_id = self.sku
        wish = self.scheduled_next_term_instructions
        return Subscription(
            id=self.id,
            customer_id=customer_id,
            product_id=product_id,
            sku_id=sku_id,
            name=self.title,
            kind=self.kind,
            status=self.status.lower(),
            quantity=self.quantity,
            created=self.creation_date,
            start=start,
            term_end=self.term_end,
            term=term_of(self.term_duration),
            billing_cycle=cycle_of(self.billing_cycle),
            auto_renew=self.auto_renew_enabled,
            is_trial=self.is_trial,
            promotion_id=self.promotion_id,
            partner_of_record=self.partner_id,
            order_id=self.order_id,
            publisher=self.publisher_name,
            product_type=self.product_type.id,
            # Partner Center drops the schedule when renewal is switched off.
            next_term=wish.to_domain() if wish and self.auto_renew_enabled else None,
            migrated_from=self.migrated_from_subscription_id,
        )


class OrderLineWire(Wire):
    """One line of an order."""

    subscription_id: Id = ""
    """Empty for what is bought once and makes no subscription."""
    offer_id: Text = ""
    quantity: Whole
    term_duration: Text = ""
    transaction_type: Text = ""
    custom_term_end_date: Day = None


class OrderWire(Wire):
    """An Order resource, as an audit record holds it."""

    billing_cycle: Text = ""
    line_items: tuple[OrderLineWire, ...] = ()

    def to_events(self, customer_id: str, day: date) -> Iterator[SubscriptionEvent]:
        """Yield one event for each line that concerns a subscription."""
        for line in self.line_items:
            if not line.subscription_id:
                continue
            product, _, rest = line.offer_id.partition(":")
            yield SubscriptionEvent(
                subscription_id=line.subscription_id,
                customer_id=customer_id,
                effective=day,
                type=_TRANSACTIONS.get(line.transaction_type.lower(), EventType.PURCHASE),
                quantity=line.quantity,
                sku=f"{product}:{rest.partition(':')[0]}" if product else "",
                term=term_of(line.term_duration),
                billing_cycle=cycle_of(self.billing_cycle),
                term_end=day_after(line.custom_term_end_date),
                source=EventSource.AUDIT,
            )


# The published list of transaction types is incomplete; an unknown one in a created order buys.
_TRANSACTIONS = {
    "renew": EventType.RENEW,
    "addquantity": EventType.SET_QUANTITY,
    "removequantity": EventType.SET_QUANTITY,
    "convert": EventType.CONVERT,
}
_STATUSES = {
    "suspended": EventType.SUSPEND,
    "active": EventType.RESUME,
    "deleted": EventType.CANCEL,
}


class AuditRecordWire(Wire):
    """One record of the partner's audit log; the resources are JSON texts in PascalCase."""

    customer_id: Id = ""
    operation_type: Text
    operation_date: Moment
    operation_status: Text = ""
    resource_old_value: Text = ""
    resource_new_value: Text = ""

    def to_events(self) -> tuple[SubscriptionEvent, ...]:
        """Translate what succeeded and concerns subscriptions; all else tells nothing."""
        if self.operation_status.lower() != "succeeded":
            return ()
        day = self.operation_date.astimezone(UTC).date()
        if self.operation_type.lower() == "create_order":
            order = OrderWire.model_validate(_resource(self.resource_new_value))
            return tuple(order.to_events(self.customer_id, day))
        if self.operation_type.lower() in _CHANGES:
            new = SubscriptionWire.model_validate(_resource(self.resource_new_value))
            old = None
            if self.resource_old_value:
                old = SubscriptionWire.model_validate(_resource(self.resource_old_value))
            changed = _changes(old, new, self.customer_id, day)
            if self.operation_type.lower() == "upgrade_subscription":
                changed = (_upgraded(event) for event in changed)
            return tuple(changed)
        return ()


_CHANGES = frozenset({"update_subscription", "upgrade_subscription", "convert_trial_subscription"})


def _changes(
    old: SubscriptionWire | None, new: SubscriptionWire, customer_id: str, day: date
) -> Iterator[SubscriptionEvent]:
    """Yield what differs; without the old state, only what is harmless to tell again.

    Auto-renewal and schedules change nothing that is billed before the term ends.
    """
    told = SubscriptionEvent(
        subscription_id=new.id,
        customer_id=customer_id,
        effective=day,
        type=EventType.SET_QUANTITY,
        quantity=new.quantity,
        source=EventSource.AUDIT,
    )
    if old is not None and (old.sku, old.term_duration) != (new.sku, new.term_duration):
        yield replace(
            told,
            type=EventType.CONVERT,
            sku=":".join(new.sku),
            term=term_of(new.term_duration),
            billing_cycle=cycle_of(new.billing_cycle),
            # An upgrade in place goes on in the running term, whose end it shows as well.
            term_end=new.term_end if new.effective_start_date == day else None,
        )
    elif old is None or old.quantity != new.quantity:
        yield told
    before = old.status.lower() if old else "active"
    if before != new.status.lower() and (kind := _STATUSES.get(new.status.lower())):
        yield replace(told, type=kind, quantity=None)


def _upgraded(event: SubscriptionEvent) -> SubscriptionEvent:
    """Of a partial upgrade the source keeps its product: its other seats moved away."""
    if event.type is not EventType.SET_QUANTITY:
        return event
    return replace(event, type=EventType.CONVERT)


def events_of(
    records: Iterable[Any], since: date, until: date
) -> Iterator[SubscriptionEvent | Finding]:
    """Translate audit records to events in [since, until), in the order in which they happened.

    Events of one type on one day of one subscription are numbered: `sequence` keeps their order.
    """
    events: list[tuple[Any, int, SubscriptionEvent]] = []
    for number, record in enumerate(records):
        found = read(
            AuditRecordWire,
            record,
            lambda wire: [(wire.operation_date, event) for event in wire.to_events()],
            check="audit_record",
            record=label("audit record", record),
            customer_id=customer_of(record),
        )
        if isinstance(found, Finding):
            yield found
        else:
            events.extend((moment, number, event) for moment, event in found)
    seen: Counter[tuple[str, date, EventType]] = Counter()
    for _, _, event in sorted(events, key=lambda one: one[:2]):
        place = (event.subscription_id, event.effective, event.type)
        if since <= event.effective < until:
            yield replace(event, sequence=seen[place])
        seen[place] += 1


def _resource(text: str) -> Any:
    try:
        return exact_json.loads(text)
    except ValueError:
        raise ValueError("the changed resource is not JSON") from None
