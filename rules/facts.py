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
    mapped_account: Account | None = None
    """The row that the customer itself is mapped to; None: it is mapped to none."""
    tax_profile: TaxProfile | None = None
    history: Sequence[CostLine] = ()
    """Every stored line of Microsoft's invoices."""
    invoiced: AbstractSet[str] = frozenset()
    """Keys of Microsoft's lines, of any month, that documents beyond a draft ask for."""
    unreachable: bool = False
    """Whether Partner Center knows the customer as ours no more."""
    exchange: Sequence[ExchangeRate] = ()
    """Every exchange rate that is stored."""
    gazetteer: Gazetteer = field(default_factory=Gazetteer)
    """Reads addresses."""
    today: date
    demands: Demands = field(default_factory=Demands)

    @property
    def running(self) -> Sequence[Subscription]:
        """Subscriptions that are alive; what was read of a customer that left is of before."""
        left = self.unreachable or self.customer.relationship.lower() in _LEFT
        return () if left else [one for one in self.subscriptions if one.alive]

    @property
    def nothing_left(self) -> bool:
        """Whether nothing of the customer is left to bill: every contract ended, every line answered.

        What Microsoft charges for outside of the days of a contract is not billed by it.
        """
        if self.running:
            return False
        if self.contract is None:
            return not self.history
        rows = (self.contract, *self.contracts)
        if any(one.ends is None or one.ends > self.today for one in rows):
            return False
        return all(
            line.key in self.invoiced
            or ((day := line.falls_on) and not any(_bills(one, day) for one in rows))
            for line in self.history
        )

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


_LEFT = frozenset({"none"})
"""Microsoft's word for a tenant with which there is no relationship any more."""


def _bills(contract: BillingContract, day: date) -> bool:
    return contract.starts <= day and (contract.ends is None or day < contract.ends)


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
