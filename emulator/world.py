"""The partner's world behind the emulated endpoints: resources in Microsoft's shapes, as of the clock.

Built from the published rules and samples alone. A World knows nothing of HTTP; the surfaces serve
what it returns. Every answer is computed from a purchase history, the catalogue, the seed and the
clock, so two builds with one seed agree byte for byte. Only what is written to it changes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from operator import itemgetter

from emulator import catalogue, invoicing, resources, tenants
from emulator.authoring import PARTNER_SIDE, Content
from emulator.clock import Clock
from emulator.commerce import Subscription
from emulator.gdap import Gdap
from emulator.happenings import (
    Happening,
    acceptance_events,
    invoice_event,
    relationship_events,
    subscription_events,
)
from emulator.history import Change, CommerceError
from emulator.invoicing import Account, Frame
from emulator.meters import METERS
from emulator.partner import PARTNER, Partner
from emulator.scenarios import SCENARIOS
from emulator.standing import Standing
from emulator.tenants import Resource, Tenant
from emulator.terms import Span, midnight, month_of

__all__ = ["NOW", "PARTNER", "CommerceError", "Partner", "World", "build_world"]

NOW = datetime(2026, 11, 9, 6, 0, tzinfo=UTC)
AUDIT_REACH = timedelta(days=90)
CURRENCIES = ("USD", "EUR")
CHANGES = {"more": 150, "less": 50, "gone": 0}
"""What a re-issued invoice may say of one meter: a percentage of what the one before said."""


class World:
    """Everything Partner Center and Graph would know about the partner's customers at the clock.

    Lines are computed once and kept: callers read them, and copy before they change one.
    """

    def __init__(self, *, seed: int, scenario: str, clock: Clock, content: Content) -> None:
        self.seed = seed
        self.scenario = scenario
        self.clock = clock
        self.partner = PARTNER
        self._content = content
        self._cache: dict[tuple[object, ...], list[Resource]] = {}
        self.standing = Standing(
            content,
            clock=clock,
            # Lines name their customer.
            forget=self._cache.clear,
        )
        self.gdap = Gdap(
            content.relationships,
            seed=seed,
            partner_side=PARTNER_SIDE,
            clock=clock,
            name_of=self._name_of,
        )
        self._patches = 0
        self._corrections: dict[str, dict[str, dict[str, int]]] = {}

    # -- customers ----------------------------------------------------------------------------

    def customers(self) -> list[Resource]:
        """Full v1 Customer resources, in the order of the scenario."""
        reachable = self._reachable()
        return [
            tenants.customer_resource(account.tenant, reachable=account.tenant.id in reachable)
            for account in self._content.accounts
            if not account.tenant.left
        ]

    def customer(self, tenant_id: str) -> Resource | None:
        """One v1 Customer."""
        account = self.standing.accounts.get(tenant_id)
        if account is None or account.tenant.left:
            return None
        reachable = tenant_id in self._reachable()
        return tenants.customer_resource(account.tenant, reachable=reachable)

    def _reachable(self) -> set[str]:
        """Customers in which some group of the partner holds a role now."""
        now = self.clock.now()
        return {
            relationship.customer[0]
            for relationship in self._content.relationships
            if relationship.customer is not None
            and relationship.status(now) in {"active", "expiring"}
            and any(each.status_at(now) == "active" for each in relationship.assignments)
        }

    def agreements(self, customer_id: str, agreement_type: str | None) -> list[Resource]:
        """v1 Agreements; without a type only the OLD MicrosoftCloudAgreement, "*" is all."""
        account = self.standing.accounts.get(customer_id)
        if account is None:
            return []
        wanted = agreement_type or tenants.OLD_AGREEMENT
        return [
            tenants.agreement_resource(account.tenant, agreement, self.partner.user_id)
            for agreement in account.tenant.agreements
            if wanted in {"*", agreement.kind}
        ]

    def direct_signed(self, customer_id: str) -> bool:
        """Whether the customer signed the customer agreement with Microsoft directly."""
        account = self.standing.accounts.get(customer_id)
        return account is not None and account.tenant.direct_signed

    def reseller_agreement_signed(
        self, *, mpn_id: str | None, tenant_id: str | None
    ) -> bool | None:
        """Whether an indirect reseller signed the partner agreement; None for an unknown id."""
        for reseller in self._content.resellers:
            if mpn_id == reseller.mpn_id or tenant_id == reseller.tenant_id:
                return reseller.signed
        own = mpn_id == self.partner.mpn_id or tenant_id == self.partner.tenant_id
        return True if own else None

    def indirect_resellers(self, customer_id: str) -> list[Resource]:
        """v1 PartnerRelationships of a customer."""
        account = self.standing.accounts.get(customer_id)
        if account is None or account.tenant.reseller is None:
            return []
        return [tenants.reseller_resource(account.tenant.reseller)]

    def qualifications(self, customer_id: str) -> list[Resource]:
        """The v1 qualifications array of a customer."""
        account = self.standing.accounts.get(customer_id)
        rows = account.tenant.qualifications if account else ()
        return [tenants.qualification_resource(row, self.clock.now()) for row in rows]

    def validation_status(self, customer_id: str) -> Resource:
        """The vetting of a tenant's account."""
        account = self.standing.accounts.get(customer_id)
        return {
            "type": "account",
            "status": account.tenant.validation if account else "Unknown",
            "lastUpdateDateTime": "2026-01-12T08:30:00Z",
        }

    def change_partner(self, customer_id: str, subscription_id: str, partner_id: str) -> None:
        """Another partner of record on a subscription of seats."""
        account = self.standing.accounts.get(customer_id)
        for subscription in account.subscriptions if account else ():
            if subscription.id == subscription_id:
                subscription.change(Change(at=self.clock.now(), partner_id=partner_id))
                self._patches += 1
                return
        raise ValueError(f"customer {customer_id} has no seats {subscription_id}")

    # -- subscriptions ------------------------------------------------------------------------

    def subscriptions(self, customer_id: str) -> list[Resource]:
        """v1 Subscriptions as of the clock; those bought later are not known yet."""
        account, now = self.standing.accounts.get(customer_id), self.clock.now()
        if account is None:
            return []
        seats = (self._seats(account, each) for each in account.subscriptions)
        plans = (
            resources.azure_plan_resource(plan, account.tenant)
            for plan in account.plans
            if plan.created <= now
        )
        return [*(seat for seat in seats if seat is not None), *plans]

    def subscription(self, customer_id: str, subscription_id: str) -> Resource | None:
        """One v1 Subscription."""
        for resource in self.subscriptions(customer_id):
            if resource["id"] == subscription_id:
                return resource
        return None

    def _seats(self, account: Account, subscription: Subscription) -> Resource | None:
        now = self.clock.now()
        replay = subscription.replay(now)
        if replay is None:
            return None
        return resources.subscription_resource(subscription, replay.state, account.tenant, now)

    def patch_subscription(
        self, customer_id: str, subscription_id: str, body: Resource
    ) -> Resource:
        """Apply a full resource as Microsoft does (section 4.3): what it leaves out is reset.

        Raises CommerceError; a refused change still enters the audit log.
        """
        account, current = (
            self.standing.accounts.get(customer_id),
            self.subscription(customer_id, subscription_id),
        )
        if account is None or current is None:
            raise CommerceError(404, "20003", "The subscription was not found.")
        subscription = next(
            (each for each in account.subscriptions if each.id == subscription_id), None
        )
        now = self.clock.now()
        replay = subscription.replay(now) if subscription else None
        if subscription is None or replay is None:
            raise CommerceError(400, "800097", "An Azure plan cannot be changed.")
        subscription.change(resources.read_patch(body, current, replay.state, now))
        self._patches += 1
        return self.subscription(customer_id, subscription_id) or current

    def azure_entitlements(self, customer_id: str, plan_id: str) -> list[Resource]:
        """The Azure subscriptions inside an Azure plan."""
        account = self.standing.accounts.get(customer_id)
        return [
            resources.entitlement_resource(entitlement, plan)
            for plan in (account.plans if account else [])
            if plan.subscription_id == plan_id
            for entitlement in plan.entitlements
            if entitlement.started <= self.clock.today()
        ]

    def orders(self, customer_id: str) -> list[Resource]:
        """v1 Orders, oldest first."""
        account, now = self.standing.accounts.get(customer_id), self.clock.now()
        if account is None:
            return []
        tenant = account.tenant
        found = [
            (order.at, resources.order_resource(order, subscription, tenant))
            for subscription in account.subscriptions
            if (replay := subscription.replay(now)) is not None
            for order in replay.orders
        ]
        found += [
            (each.at, resources.purchase_resource(each, tenant)) for each in account.purchases
        ]
        found += [
            (each.created, resources.plan_order_resource(each, tenant)) for each in account.plans
        ]
        found.sort(key=itemgetter(0))
        return [order for when, order in found if when <= now]

    def audit_records(self, start: date, end: date) -> list[Resource]:
        """v1 AuditRecords of the days from start to end, both included; 90 days back at most."""
        now = self.clock.now()
        since = max(midnight(start), now - AUDIT_REACH)
        until = min(midnight(end + timedelta(days=1)) - timedelta(microseconds=1), now)
        actor = resources.Actor(
            partner_id=self.partner.tenant_id,
            upn=self.partner.upn,
            application_id=self.partner.client_id,
        )
        found = chain.from_iterable(
            resources.audit_resources(subscription, account.tenant, actor, since, until)
            for account in self._content.accounts
            for subscription in account.subscriptions
        )
        noted = self.standing.audit_records(actor, since, until)
        return [record for _, record in sorted([*found, *noted], key=itemgetter(0))]

    # -- delegated administration -------------------------------------------------------------

    def gdap_relationships(self) -> list[Resource]:
        """Graph delegatedAdminRelationships as of the clock."""
        now = self.clock.now()
        return [
            tenants.relationship_resource(relationship, now)
            for relationship in self._content.relationships
            if relationship.created <= now
        ]

    def _name_of(self, tenant_id: str) -> str | None:
        account = self.standing.accounts.get(tenant_id)
        return account.tenant.company if account else None

    def relationship_requests(self, relationship_id: str) -> list[Resource]:
        """Graph delegatedAdminRelationshipRequests of a relationship."""
        return self.gdap.requests(relationship_id)

    def relationship_operations(self, relationship_id: str) -> list[Resource]:
        """Graph delegatedAdminRelationshipOperations of a relationship."""
        return self.gdap.operations(relationship_id)

    def access_assignments(self, relationship_id: str) -> list[Resource]:
        """Graph delegatedAdminAccessAssignments of a relationship."""
        return [
            tenants.assignment_resource(assignment, self.clock.now())
            for relationship in self._content.relationships
            if relationship.id == relationship_id
            for assignment in relationship.assignments
            if assignment.created <= self.clock.now()
        ]

    # -- tax ------------------------------------------------------------------------------------

    def vat_register(self) -> dict[str, tuple[str, str]]:
        """The VAT numbers of the partner and its customers in the Union: name and address."""
        own = (self.partner.name, "Voorbeeldlaan 1\n1000 Brussel")
        numbers = (self.partner.vat_number, *self.partner.other_vat_numbers)
        found = dict.fromkeys(numbers, own)
        for account in self._content.accounts:
            tenant = account.tenant
            if tenant.vat_number:
                address = f"{tenant.street}\n{tenant.postal_code} {tenant.city}"
                found[tenant.vat_number] = (tenant.company, address)
        return found

    # -- what is told of it -------------------------------------------------------------------

    def happenings(self, since: datetime, until: datetime) -> list[Happening]:
        """What happened from an instant to another, both included, oldest first."""
        found = [
            *chain.from_iterable(
                subscription_events(each, since, until) for each in self._subscriptions()
            ),
            *chain.from_iterable(
                relationship_events(each, since, until) for each in self._content.relationships
            ),
            *chain.from_iterable(
                acceptance_events(each.tenant, self.partner.tenant_id, since, until)
                for each in self._content.accounts
            ),
            *self._invoices_issued(since, until),
        ]
        return sorted(found, key=lambda one: one.at)

    def _invoices_issued(self, since: datetime, until: datetime) -> Iterator[Happening]:
        for month in self._months():
            for currency in CURRENCIES:
                at = invoicing.issue_date(month, currency)
                if since <= at <= until and self._lines(month, currency, billed=True):
                    yield invoice_event(invoicing.invoice_number(month, currency), at)

    # -- billing ------------------------------------------------------------------------------

    def invoices(self) -> list[Resource]:
        """v1 Invoices issued up to the clock, newest first, one per currency and month."""
        now = self.clock.now()
        found = []
        for month in self._months():
            for currency in CURRENCIES:
                if invoicing.issue_date(month, currency) > now:
                    continue
                lines = self._lines(month, currency, billed=True)
                if lines:
                    total = sum((Decimal(line["Total"]) for line in lines), Decimal("0.00"))
                    found.append(invoicing.invoice_resource(month, currency, total, now))
        return found[::-1]

    def reconciliation_lines(self, invoice_id: str) -> list[Resource] | None:
        """The reconciliation lines of an issued invoice; None when there is none of that id."""
        place = self._find_invoice(invoice_id)
        return None if place is None else self._lines(*place, billed=True)

    def usage_lines(self, invoice_id: str) -> Iterable[Resource] | None:
        """The daily rated usage lines of an issued invoice; None when there is none of that id."""
        place = self._find_invoice(invoice_id)
        return None if place is None else self._usage(*place, billed=True)

    def unbilled_reconciliation_lines(self, currency: str, period: str) -> list[Resource]:
        """Lines not invoiced yet: of the running month, or of the last one until its invoice."""
        month = self._unbilled_month(currency, period)
        return [] if month is None else self._lines(month, currency, billed=False)

    def unbilled_usage_lines(self, currency: str, period: str) -> Iterable[Resource]:
        """Daily usage not invoiced yet; it lags by a day."""
        month = self._unbilled_month(currency, period)
        return [] if month is None else self._usage(month, currency, billed=False)

    def correct(self, invoice_id: str, change: str, customer_id: str = "") -> Resource:
        """Change the consumption of one meter on an issued invoice; says where.

        It is the first meter that was paid for, of the customer or of the first one that has any.
        Head, lines and daily usage then say the same. ValueError where there is nothing to change.
        """
        place = self._find_invoice(invoice_id)
        if place is None:
            raise ValueError(f"there is no invoice {invoice_id}")
        if change not in CHANGES:
            raise ValueError(f"change must be one of {', '.join(CHANGES)}")
        for line in self._lines(*place, billed=True):
            if not (line["TermAndBillingCycle"] == "Azure plan" and line["Subtotal"]):
                continue
            if customer_id in ("", line["CustomerId"]):
                plan, name = line["SubscriptionId"], line["MeterDescription"]
                meter = next(
                    one.meter_id for one in METERS if name == f"{one.product_name} - {one.name}"
                )
                meters = self._corrections.setdefault(invoice_id, {}).setdefault(plan, {})
                meters[meter] = meters.get(meter, 100) * CHANGES[change] // 100
                self._cache.clear()
                return {"customerId": line["CustomerId"], "subscriptionId": plan, "meter": name}
        raise ValueError(f"invoice {invoice_id} has no metered line to change")

    def _months(self) -> list[Span]:
        starts = [
            *(each.purchase.at for each in self._subscriptions()),
            *(plan.created for account in self._content.accounts for plan in account.plans),
        ]
        now = self.clock.now()
        if not starts or min(starts) > now:
            return []
        return invoicing.months_between(min(starts).date(), now.date())

    def _subscriptions(self) -> Iterator[Subscription]:
        for account in self._content.accounts:
            yield from account.subscriptions

    def _find_invoice(self, invoice_id: str) -> tuple[Span, str] | None:
        for month in self._months():
            for currency in CURRENCIES:
                if (
                    invoicing.invoice_number(month, currency) == invoice_id
                    and invoicing.issue_date(month, currency) <= self.clock.now()
                    and self._lines(month, currency, billed=True)
                ):
                    return month, currency
        return None

    def _unbilled_month(self, currency: str, period: str) -> Span | None:
        if currency not in CURRENCIES:
            return None
        this = month_of(self.clock.today())
        if period == "current":
            return this
        last = month_of(this.start - timedelta(days=1))
        issued = invoicing.issue_date(last, currency) <= self.clock.now()
        return None if issued else last

    def _frame(self, month: Span, currency: str, *, billed: bool) -> Frame:
        number = invoicing.invoice_number(month, currency) if billed else ""
        return Frame(
            partner_id=self.partner.tenant_id,
            mpn_id=self.partner.mpn_id,
            month=month,
            currency=currency,
            invoice=number,
            corrected=self._corrections.get(number, {}),
        )

    def _billed_in(self, currency: str) -> Iterator[Account]:
        for account in self._content.accounts:
            if account.tenant.billing_currency == currency:
                yield account

    def _lines(self, month: Span, currency: str, *, billed: bool) -> list[Resource]:
        until = min(self.clock.now(), midnight(month.end + timedelta(days=1)))
        # A patch can only change what was billed at or after the moment it was made.
        key = ("lines", month.start, currency, billed, until, self._patches)
        if key not in self._cache:
            frame = self._frame(month, currency, billed=billed)
            self._cache[key] = [
                line
                for account in self._billed_in(currency)
                for line in invoicing.month_lines(account, frame, until=until, seed=self.seed)
            ]
        return self._cache[key]

    def _usage(self, month: Span, currency: str, *, billed: bool) -> list[Resource]:
        until = min(self.clock.now(), midnight(month.end + timedelta(days=1)))
        key = ("usage", month.start, currency, billed, until.date())
        if key not in self._cache:
            exchange = catalogue.exchange_rate("USD", currency, month.start)
            number = invoicing.invoice_number(month, currency) if billed else ""
            self._cache[key] = [
                line
                for account in self._billed_in(currency)
                for usage in invoicing.plan_usages(
                    account,
                    month,
                    until=until,
                    seed=self.seed,
                    corrected=self._corrections.get(number),
                )
                for line in usage.daily_lines(
                    self._shared(account.tenant, number), exchange, currency
                )
            ]
        return self._cache[key]

    def _shared(self, tenant: Tenant, number: str) -> Resource:
        return {
            "PartnerId": self.partner.tenant_id,
            "PartnerName": self.partner.name,
            "CustomerId": tenant.id,
            "CustomerName": tenant.company,
            "CustomerDomainName": tenant.domain,
            "CustomerCountry": tenant.country,
            "MpnId": tenant.recon_mpn_id or self.partner.mpn_id,
            "Tier2MpnId": tenant.recon_reseller_id
            or (tenant.reseller.mpn_id if tenant.reseller else "0"),
            "InvoiceNumber": number,
        }

    # -- prices -------------------------------------------------------------------------------

    def price_sheet(
        self, market: str, view: str, timeline: str, month: str | None
    ) -> list[dict[str, str]] | None:
        """The rows of a price sheet; None where the real host answers 404."""
        today = self.clock.today()
        if timeline == "current":
            return catalogue.price_rows(market, view, today)
        if timeline == "history" and (then := _month(month)) is not None and then <= today:
            return catalogue.price_rows(market, view, then)
        if timeline == "future" and today < catalogue.PRICE_CHANGE:
            return catalogue.price_rows(market, view, catalogue.PRICE_CHANGE)
        return None

    def fx_rates(self, month: str) -> list[dict[str, str]] | None:
        """The FX file of a month, YYYYMM; None for a month to come or an unreadable one."""
        first = _month(month)
        if first is None or first > self.clock.today():
            return None
        return catalogue.fx_rows(first)

    # -- what is awkward here -----------------------------------------------------------------

    def stories(self) -> list[Resource]:
        """What is awkward in this world and where, with the ids that the seed gave."""
        accounts = {account.tenant.company: account for account in self._content.accounts}
        return [
            {
                "key": story.key,
                "customer": story.customer,
                "customerId": accounts[story.customer].tenant.id,
                "subscriptions": [
                    {"friendlyName": each.purchase.friendly_name, "id": each.id}
                    for each in accounts[story.customer].subscriptions
                    if each.purchase.friendly_name in story.subscriptions
                ],
                "what": story.what,
            }
            for story in self._content.stories
        ]


def _month(text: str | None) -> date | None:
    if text is None or not re.fullmatch(r"\d{4}(0[1-9]|1[0-2])", text):
        return None
    return date(int(text[:4]), int(text[4:]), 1)


def build_world(*, seed: int, scenario: str, clock: Clock | None = None) -> World:
    """A world of one scenario; an unknown name raises ValueError naming the known ones."""
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}; known: {', '.join(sorted(SCENARIOS))}")
    return World(
        seed=seed,
        scenario=scenario,
        clock=clock or Clock(NOW),
        content=SCENARIOS[scenario](seed),
    )
