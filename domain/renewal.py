"""What happens at the end of a term, until when it can be changed, and what it costs then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from domain.charge import Reason
from domain.money import Money
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding


class AtEnd(StrEnum):
    """What happens when the term ends and nobody does anything."""

    RENEWS = "renews"
    EXTENDS = "extends"
    """It goes on month by month, at a premium (extended service term)."""
    ENDS = "ends"
    CANNOT_RENEW = "cannot_renew"
    """It is set to renew, and is not sold any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is bought for a term, and at which price."""

    sku: str
    quantity: int
    term: TermDuration | None
    billing_cycle: BillingCycle | None
    unit_price: Decimal | None = None
    """For one unit and billing cycle, shown to 10 decimals; None: not known."""
    per_cycle: Money | None = None
    per_term: Money | None = None
    """None where the price is not known, or there is no term."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """The end of one running term. Moments are aware UTC; prices are the customer's."""

    customer_id: str
    subscription_id: str
    name: str
    on: date
    """First day after the term."""
    at_end: AtEnd
    now: Terms
    then: Terms | None
    """None where nothing follows."""
    change_by: datetime
    """Until this moment seats, plan and renewal itself can be chosen freely."""
    return_by: datetime | None
    """Until this moment, after a renewal, seats can be given back; None: at any time, or nothing."""
    months: int
    """Months that `difference` is for: a year, or one month where it goes on month by month."""
    difference: Money | None
    """What it costs more than now (less: negative); None where a price is not known."""
    sentence: str
    """What happens, when, and at which price."""
    hint: str
    """What can be done about it until when."""
    reasons: tuple[Reason, ...] = ()
    findings: tuple[Finding, ...] = ()
    """Why a price is not known."""

    @property
    def is_routine(self) -> bool:
        """Say whether a month follows a month and nothing changes: nobody needs to decide."""
        then = self.then
        return (
            self.at_end is AtEnd.RENEWS
            and self.now.term is TermDuration.MONTH
            and then is not None
            and (then.sku, then.quantity, then.term)
            == (self.now.sku, self.now.quantity, self.now.term)
            and not self.difference
            and not self.findings
        )
