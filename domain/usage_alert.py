"""Budgets of metered usage, and the alerts that its daily amounts give rise to.

All amounts are Microsoft's rated cost before tax, in the billing currency: what is known day by day.
An alert is told once for one cause: while the cause goes on its row grows, and when it is over it is
closed. No charge is ever made from any of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from domain.contract import FOREVER
from domain.period import Period


class AlertKind(StrEnum):
    """What gave rise to an alert."""

    SPIKE = "spike"
    """More than the own history of the same weekdays explains."""
    NEW_SUBSCRIPTION = "new_subscription"
    """An Azure subscription without history that is large beside the rest of its customer."""
    DROP = "drop"
    """No usage on days that always had some."""
    BUDGET = "budget"
    """So many percent of a budget are used."""
    FORECAST = "forecast"
    """At this pace the budget will not last to the end of the month."""


class AlertSeverity(StrEnum):
    """How soon somebody should look."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """A person has seen it: it stays so, whatever becomes of its cause."""
    CLOSED = "closed"
    """The cause is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageBudget:
    """What a customer, or one of its Azure subscriptions, may use in a contract month.

    People enter it, so what cannot be meant is told by `usage.budgets.fault_of`, not refused.
    """

    key: str
    customer_id: str
    amount: Decimal | None
    currency: str
    entitlement_id: str = ""
    """The Azure subscription; empty: all of the customer."""
    thresholds: str = ""
    """Percentages of the amount at which to tell, between blanks or commas; empty: 50, 80, 100."""
    valid: Period = FOREVER


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageAlert:
    """One thing that somebody should know about a customer's usage before Microsoft bills it."""

    key: str
    """From meaning: kind, customer, scope, and first day (or budget, month and threshold)."""
    kind: AlertKind
    severity: AlertSeverity
    state: AlertState
    customer_id: str
    entitlement_id: str = ""
    """The Azure subscription; empty: all of the customer."""
    entitlement_name: str = ""
    meter_category: str = ""
    """Where most of it comes from."""
    currency: str
    first: date
    last: date
    """The last day that belongs to it so far."""
    amount: Decimal
    """Used on its days; of a forecast, expected by the end of the month."""
    usual: Decimal
    """Usual on those days; of a budget and a forecast, the budget."""
    factor: Decimal | None = None
    """`amount` by `usual`, to one decimal; None where nothing was usual."""
    budget_key: str = ""
    threshold: Decimal | None = None
    """Percent of the budget."""
    sentence: str
    hint: str
