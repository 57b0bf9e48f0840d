"""A charge: what we ask of a customer for one service period, with the reasons that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from domain.money import Money
from domain.period import Period
from domain.record import stored_plainly


class ChargeType(StrEnum):
    """Why a charge exists; Microsoft's words, in lower case."""

    NEW = "new"
    CYCLE = "cycle_charge"
    RENEW = "renew"
    ADD_QUANTITY = "add_quantity"
    REMOVE_QUANTITY = "remove_quantity"
    CANCEL = "cancel_immediate"
    CONVERT = "convert"
    TRANSFER = "transfer"
    USAGE = "usage"
    ONE_TIME = "one_time"
    CREDIT = "customer_credit"
    ADJUSTMENT = "adjustment"
    RESERVATION = "reservation"
    SAVINGS_PLAN = "savings_plan"
    MARKETPLACE = "marketplace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One step of a computation: the rule and the numbers that went in, as text."""

    rule: str
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One proposed line. `exact` is unrounded; `amount` is rounded half-up once.

    `service` is what is paid for, `full` the whole cycle that divides it: both are kept, because
    the proration depends on which is the divisor.
    """

    key: str
    """Identity from meaning: the same charge proposed again has the same key."""
    customer_id: str
    subscription_id: str
    type: ChargeType
    name: str
    """What the customer reads: the product."""
    sku: str
    service: Period
    full: Period
    quantity: Decimal
    """Negative in a credit."""
    unit_price: Decimal
    """For one unit and the full period; shown to 10 decimals, `exact` used more."""
    exact: Fraction
    amount: Money
    unit_cost: Decimal | None = None
    why: str = ""
    reasons: tuple[Reason, ...] = ()
    answers: str = ""
    """Key of the charge that this one corrects."""
    cost_lines: tuple[str, ...] = ()
    """Keys of Microsoft's lines behind this charge: made from them (usage, one-time, credits), or matched."""


charge_of = stored_plainly(Charge)
"""`Charge`, for who makes them by the hundred thousand."""

reason_of = stored_plainly(Reason)
"""`Reason`, likewise; with its inputs."""
