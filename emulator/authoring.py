"""Words to write a scenario with: tenants, seats, Azure plans, relationships; ids from the seed.

Every id is derived from the seed and a readable name, never counted or drawn, so adding a customer
to a scenario moves nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any
from uuid import UUID

from emulator.catalogue import PRODUCTS, find_price
from emulator.commerce import Subscription
from emulator.history import Change, CommerceError, Promotion, Purchase
from emulator.invoicing import Account, Credit, OneTimePurchase
from emulator.meters import METERS, AzurePlan, Deployment, Entitlement
from emulator.stories import Story
from emulator.tenants import (
    CUSTOMER_AGREEMENT,
    OLD_AGREEMENT,
    Agreement,
    Assignment,
    Relationship,
    Reseller,
    Tenant,
)
from emulator.terms import Span

# Public role template ids: Directory Readers, License Administrator, Global Reader, Security Reader.
ROLES = (
    "88d8e3e3-8f55-4a1e-953a-9b9898b8876b",
    "4d6ac14f-3453-41d0-bef9-a3e0c569773a",
    "f2ef992c-3afb-46b9-b7cf-a126ee74c451",
    "5d6b6bb7-de71-4623-b4af-96380a352509",
)
PARTNER_SIDE = "2c6a0001-1111-4b22-8c33-9d44aa550001"


@dataclass(slots=True, kw_only=True)
class Content:
    """What a scenario puts into a world."""

    accounts: list[Account] = field(default_factory=list)
    relationships: list[Relationship] = field(default_factory=list)
    resellers: list[Reseller] = field(default_factory=list)
    stories: list[Story] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a customer sits."""

    country: str
    region: str
    city: str
    postal_code: str
    street: str


def at(day: str, clock: str = "09:14:22") -> datetime:
    """A UTC instant from an ISO day and a time of day."""
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC)


class Author:
    """Writes customers into a Content."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.content = Content()
        self.customers: dict[str, Customer] = {}

    def identify(self, name: str) -> str:
        """A version-4 GUID that depends on the seed and a readable name alone."""
        digest = sha256(f"{self.seed}/{name}".encode()).digest()
        return str(UUID(bytes=digest[:16], version=4))

    def short_id(self, name: str) -> str:
        """Twelve hexadecimal digits, as ids of orders are."""
        return self.identify(name).replace("-", "")[:12]

    def random(self, name: str) -> Random:
        """A source of its own for a name."""
        return Random(f"{self.seed}/{name}")  # noqa: S311 - repeatable on purpose

    def customer(
        self,
        company: str,
        place: Place,
        contact: tuple[str, str],
        *,
        agreed: str | None = "2025-03-10",
        **more: Any,
    ) -> Customer:
        """A customer with the customer agreement on record, unless ``agreed`` is None."""
        agreements = [Agreement(kind=OLD_AGREEMENT, agreed=date(2018, 7, 28))]
        if agreed is not None:
            signed = date.fromisoformat(agreed)
            agreements.append(Agreement(kind=CUSTOMER_AGREEMENT, agreed=signed))
        tenant = self.tenant(company, place, contact, **({"agreements": tuple(agreements)} | more))
        customer = self.customers[company] = Customer(self, tenant)
        self.content.accounts.append(customer.account)
        return customer

    def tenant(self, company: str, place: Place, contact: tuple[str, str], **more: Any) -> Tenant:
        """A tenant, whether or not it is a customer."""
        slug = "".join(
            letter for letter in company.lower() if letter.isascii() and letter.isalnum()
        )
        return Tenant(
            id=self.identify(f"tenant/{company}"),
            commerce_id=self.identify(f"commerce/{company}"),
            profile_id=self.identify(f"profile/{company}"),
            company=company,
            domain=f"{slug}.onmicrosoft.com",
            country=place.country,
            region=place.region,
            city=place.city,
            postal_code=place.postal_code,
            street=place.street,
            first_name=contact[0],
            last_name=contact[1],
            email=f"billing@{slug}.example",
            phone=f"555010{len(company):04d}",
            **more,
        )

    def relationship(
        self,
        name: str,
        customer: Tenant | None,
        *,
        created: str,
        days: int = 730,
        activated: str | None = None,
        assigned: Iterable[str] = ("active",),
        **more: Any,
    ) -> None:
        """A GDAP relationship with one access assignment per given status."""
        opened = at(created, "10:00:00")
        self.content.relationships.append(
            Relationship(
                id=f"{PARTNER_SIDE}-{self.identify(f'gdap/{name}')}",
                name=name,
                customer=(customer.id, customer.company) if customer else None,
                days=days,
                roles=ROLES,
                created=opened,
                activated=at(activated, "08:30:00") if activated else None,
                assignments=tuple(
                    Assignment(
                        id=self.identify(f"assignment/{name}/{number}"),
                        group_id=self.identify(f"group/{number}"),
                        status=status,
                        roles=ROLES[number::2],
                        created=at(activated or created, "08:45:00"),
                    )
                    for number, status in enumerate(assigned)
                ),
                **more,
            )
        )


class Customer:
    """One customer being written."""

    def __init__(self, author: Author, tenant: Tenant) -> None:
        self.author = author
        self.tenant = tenant
        self._purchases: list[OneTimePurchase] = []
        self._credits: list[Credit] = []
        self._plans: list[AzurePlan] = []
        self.account = Account(
            tenant=tenant,
            subscriptions=[],
            purchases=self._purchases,
            credits=self._credits,
            plans=self._plans,
        )

    def seats(
        self,
        name: str,
        product: str,
        quantity: int,
        since: datetime,
        *,
        term: str = "P1Y",
        plan: str = "monthly",
        promotion: tuple[str, str] | None = None,
        custom_end: str | None = None,
        auto_renew: bool = True,
        extends: bool = False,
        partner_id: str | None = None,
        parent: Seats | None = None,
    ) -> Seats:
        """A subscription bought at an instant; ``promotion``: percent off, first day without."""
        reseller = self.tenant.reseller.mpn_id if self.tenant.reseller else ""
        segments = PRODUCTS[product].segments
        segment = self.tenant.segment if self.tenant.segment in segments else "Commercial"
        key = f"subscription/{self.tenant.company}/{name}"
        offer = None
        if promotion is not None:
            offer = Promotion(
                id=self.author.identify(f"promotion/{product}"),
                percent=Decimal(promotion[0]),
                until=date.fromisoformat(promotion[1]),
            )
        subscription = Subscription(
            id=self.author.identify(key),
            customer_id=self.tenant.id,
            identify=partial(_identify_within, self.author.identify, key),
            parent_id=parent.subscription.id if parent else "",
            purchase=Purchase(
                at=since,
                product=PRODUCTS[product],
                term=term,
                plan=plan,
                quantity=quantity,
                friendly_name=name,
                segment=segment,
                market=self.tenant.country,
                auto_renew=auto_renew,
                extends=extends,
                partner_id=reseller if partner_id is None else partner_id,
                promotion=offer,
                custom_end=date.fromisoformat(custom_end) if custom_end else None,
            ),
        )
        self.account.subscriptions.append(subscription)
        return Seats(subscription)

    def buys_once(
        self, product: str, quantity: int, when: datetime, *, term: str = "NoTerm"
    ) -> None:
        """A perpetual licence, or with a term a reservation."""
        name = f"once/{self.tenant.company}/{product}/{when}"
        sold = PRODUCTS[product]
        price = find_price(
            sold,
            term=term,
            plan="one_time",
            segment="Commercial",
            market=self.tenant.country,
            on=when.date(),
        )
        reserved = self.author.identify(f"{name}/reservation") if term != "NoTerm" else ""
        self._purchases.append(
            OneTimePurchase(
                order_id=self.author.short_id(name),
                at=when,
                product=sold,
                price=price,
                quantity=quantity,
                reservation_order_id=reserved,
            )
        )

    def credited(
        self,
        product: str,
        subscription_id: str,
        amount: str,
        reason: str,
        *,
        when: datetime,
        period: tuple[str, str],
    ) -> None:
        """Money back for a period of half-open dates."""
        self._credits.append(
            Credit(
                order_id=self.author.short_id(f"credit/{self.tenant.company}/{when}"),
                at=when,
                product=PRODUCTS[product],
                subscription_id=subscription_id,
                amount=Decimal(amount),
                reason=reason,
                period=Span(start=date.fromisoformat(period[0]), end=date.fromisoformat(period[1])),
            )
        )

    def azure(
        self,
        since: datetime,
        names: Iterable[str],
        *,
        deployments: int,
        unmanaged: Iterable[str] = (),
        sponsored: Iterable[str] = (),
        surge: tuple[str, int] | None = None,
        load_test: tuple[str, str, int] | None = None,
    ) -> AzurePlan:
        """An Azure plan; its deployments are drawn from the seed and start over its lifetime.

        ``surge`` multiplies the consumption of the first deployment from a day on, and a load test
        runs virtual machines in the last Azure subscription from a day to before another, at so many
        percent of one machine.
        """
        author, company = self.author, self.tenant.company
        entitlements = tuple(
            Entitlement(
                id=author.identify(f"entitlement/{company}/{name}"),
                name=f"{company} {name}",
                started=since.date(),
                managed=name not in unmanaged,
            )
            for name in names
        )
        draw = author.random(f"azure/{company}")
        free = set(sponsored)
        drawn = [
            _deployment(draw, number, entitlements, since.date(), free)
            for number in range(deployments)
        ]
        if surge is not None:
            day, factor = date.fromisoformat(surge[0]), surge[1]
            # Virtual machines, so that the jump is seen in money too.
            drawn[0] = replace(drawn[0], meters=METERS[:3], surge=(day, factor))
        if load_test is not None:
            begins, ends = (date.fromisoformat(text) for text in load_test[:2])
            drawn.append(
                Deployment(
                    entitlement=entitlements[-1],
                    group="rg-loadtest",
                    name="loadtest",
                    meters=METERS[:2],
                    tags={"env": "test"},
                    started=begins,
                    stopped=ends,
                    percent=load_test[2],
                )
            )
        plan = AzurePlan(
            subscription_id=author.identify(f"azure-plan/{company}"),
            customer_id=self.tenant.id,
            created=since,
            order_id=author.short_id(f"azure-plan/{company}/order"),
            entitlements=entitlements,
            deployments=tuple(drawn),
        )
        self._plans.append(plan)
        return plan


_ENVIRONMENTS = ("prod", "test", "dev", "shared")
_OWNERS = ("finance", "web", "data", "erp", "factory")


def _deployment(
    draw: Random, number: int, entitlements: tuple[Entitlement, ...], since: date, free: set[str]
) -> Deployment:
    entitlement = entitlements[number % len(entitlements)]
    environment, owner = draw.choice(_ENVIRONMENTS), draw.choice(_OWNERS)
    # A third of the resources carries no tags, as in real tenants.
    tags = {"env": environment, "costCenter": owner} if draw.randrange(3) else {}
    count = draw.choice((1, 2, 3, 4))
    # The first deployments are as old as the plan, later ones come and a few go again.
    age = 0 if number < 4 else draw.randrange(0, 200)
    started = date.fromordinal(min(since.toordinal() + age, date(2026, 10, 12).toordinal()))
    stopped = date(2026, 10, draw.randrange(10, 28)) if number % 17 == 16 else None
    return Deployment(
        entitlement=entitlement,
        group=f"rg-{owner}-{environment}",
        name=f"{owner}{environment}{number:03d}",
        meters=tuple(draw.sample(METERS, count)),
        tags=tags,
        started=started,
        stopped=stopped,
        percent=draw.choice((50, 100, 100, 200)),
        sponsored=any(entitlement.name.endswith(name) for name in free),
    )


class Seats:
    """One subscription being written."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    def __call__(self, when: datetime, **change: Any) -> Seats:
        """Make a change."""
        self.subscription.change(Change(at=when, **change))
        return self

    def refused(self, when: datetime, **change: Any) -> Seats:
        """Attempt a change that Microsoft refuses; it is an error of the author if it succeeds."""
        with suppress(CommerceError):
            self.subscription.change(Change(at=when, **change))
            raise ValueError(f"{self.subscription.purchase.friendly_name}: not refused")
        return self


def _identify_within(identify: Callable[[str], str], key: str, name: str) -> str:
    return identify(f"{key}/{name}")
