"""The partner's world behind the emulated endpoints: resources in Microsoft's shapes, as of the clock.

Built from the published rules and samples alone. A World knows nothing of HTTP; the surfaces serve
what it returns. Every answer is computed from a purchase history, the catalogue, the seed and the
clock, so two builds with one seed agree byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from emulator.clock import Clock

Resource = dict[str, Any]

NOW = datetime(2026, 11, 9, 6, 0, tzinfo=UTC)


class CommerceError(Exception):
    """A refusal of Partner Center: HTTP status, error code and description."""

    def __init__(self, http: int, code: str, description: str) -> None:
        super().__init__(f"{http} {code}: {description}")
        self.http = http
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """The signed-in partner; the client secret is an obviously invented constant."""

    tenant_id: str
    mpn_id: str
    name: str
    domain: str
    country: str
    user_id: str
    upn: str
    client_id: str
    client_secret: str


PARTNER = Partner(
    tenant_id="a1b2c3d4-0000-4000-8000-00000000c5b1",
    mpn_id="4391507",
    name="Contoso Cloud Distribution",
    domain="contosocloud.onmicrosoft.com",
    country="US",
    user_id="a1b2c3d4-0000-4000-8000-0000000ad317",
    upn="admin.agent@contosocloud.onmicrosoft.com",
    client_id="a1b2c3d4-0000-4000-8000-0000000a9911",
    client_secret="emulator-not-a-secret",
)


class World:
    """Everything Partner Center and Graph would know about the partner's customers at the clock."""

    def __init__(self, *, seed: int, scenario: str, clock: Clock) -> None:
        self.seed = seed
        self.scenario = scenario
        self.clock = clock
        self.partner = PARTNER

    def customers(self) -> list[Resource]:
        return []

    def customer(self, tenant_id: str) -> Resource | None:
        return None

    def agreements(self, customer_id: str, agreement_type: str | None) -> list[Resource]:
        return []

    def direct_signed(self, customer_id: str) -> bool:
        return False

    def reseller_agreement_signed(
        self, *, mpn_id: str | None, tenant_id: str | None
    ) -> bool | None:
        return None

    def indirect_resellers(self, customer_id: str) -> list[Resource]:
        return []

    def qualifications(self, customer_id: str) -> list[Resource]:
        return []

    def validation_status(self, customer_id: str) -> Resource:
        return {}

    def subscriptions(self, customer_id: str) -> list[Resource]:
        return []

    def subscription(self, customer_id: str, subscription_id: str) -> Resource | None:
        return None

    def patch_subscription(
        self, customer_id: str, subscription_id: str, body: Resource
    ) -> Resource:
        raise CommerceError(404, "20002", "The subscription was not found.")

    def azure_entitlements(self, customer_id: str, plan_id: str) -> list[Resource]:
        return []

    def orders(self, customer_id: str) -> list[Resource]:
        return []

    def audit_records(self, start: date, end: date) -> list[Resource]:
        return []

    def gdap_relationships(self) -> list[Resource]:
        return []

    def access_assignments(self, relationship_id: str) -> list[Resource]:
        return []

    def invoices(self) -> list[Resource]:
        return []

    def reconciliation_lines(self, invoice_id: str) -> list[Resource] | None:
        return None

    def usage_lines(self, invoice_id: str) -> Iterable[Resource] | None:
        return None

    def unbilled_reconciliation_lines(self, currency: str, period: str) -> list[Resource]:
        return []

    def unbilled_usage_lines(self, currency: str, period: str) -> Iterable[Resource]:
        return []

    def price_sheet(
        self, market: str, view: str, timeline: str, month: str | None
    ) -> list[dict[str, str]] | None:
        return None

    def fx_rates(self, month: str) -> list[dict[str, str]] | None:
        return None


def build_world(*, seed: int, scenario: str, clock: Clock | None = None) -> World:
    """A world of one scenario; an unknown name raises ValueError naming the known ones."""
    if scenario != "empty":
        raise ValueError(f"unknown scenario {scenario!r}; known: empty")
    return World(seed=seed, scenario=scenario, clock=clock or Clock(NOW))
