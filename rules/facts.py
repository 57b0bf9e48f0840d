"""What the checks before a bill look at: one customer as it is stored, on one day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date

from domain.contract import BillingContract, ExchangeRate, TaxProfile
from domain.customer import Account, Agreement, Customer, DelegatedAdminRelationship
from domain.money import Money
from domain.period import Period
from domain.problems import Finding, Severity
from domain.subscription import CostLine, Subscription
from rules.places import Gazetteer
from rules.tax_evidence import Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a partner asks of its customers' relationships, beyond what Microsoft does."""

    required_roles: tuple[str, ...] = ()
    """Entra role template ids that a group must hold; empty: not checked."""
    expiring_days: int = 30
    """How long ahead the end of access is told."""
    stale_days: int = 7
    """How long a customer whose access was lost is billed by what was read before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingFacts:
    """What is looked at on any day, for one customer."""

    customer: Customer
    agreements: Sequence[Agreement]
    relationships: Sequence[DelegatedAdminRelationship]
    subscriptions: Sequence[Subscription]
    contract: BillingContract | None
    contracts: Sequence[BillingContract] = ()
    """Every contract that names the customer; `contract` is the one that counts."""
    account: Account | None = None
    """The row that is billed; None: not read."""
    tax_profile: TaxProfile | None = None
    history: Sequence[CostLine] = ()
    """Every stored line of Microsoft's invoices."""
    exchange: Sequence[ExchangeRate] = ()
    """Every exchange rate that is stored."""
    gazetteer: Gazetteer = field(default_factory=Gazetteer)
    """Reads addresses."""
    today: date
    demands: Demands = field(default_factory=Demands)

    def tell(
        self,
        check: str,
        record: str,
        sentence: str,
        hint: str,
        severity: Severity = Severity.HOLD,
        *,
        link: str = "",
        lost_per_day: tuple[Money, ...] = (),
    ) -> Finding:
        """Make a finding of the customer, seen today."""
        return Finding(
            check=check,
            severity=severity,
            customer_id=self.customer.id,
            record=record,
            sentence=sentence,
            hint=hint,
            seen=self.today,
            link=link,
            lost_per_day=lost_per_day,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts(StandingFacts):
    """The same with the month that is billed."""

    cost_lines: Sequence[CostLine]
    """The lines of the month, and of earlier ones that were left unbilled: the bill asks for them."""
    taxing: Known = field(default_factory=Known)
    """What decides the tax besides the profile."""
    answered: AbstractSet[str] = frozenset()
    """Keys of Microsoft's lines, of any month, that documents ask for already."""
    period: Period


Policy = Mapping[str, Severity]
"""Severity by check name, where it differs from the check's own."""
