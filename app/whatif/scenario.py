"""The scenario file of `whatif`: section 8 of the design, checked strictly.

A field that is not known, and values that are impossible or contradict each other, are refused with one sentence that names file and field; nothing is ignored in silence, and no
number passes through a float. `app.whatif.reading` is how a file becomes one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from domain.contract import Alignment, Proration, Timing
from domain.period import BillingCycle, Frequency, TermDuration, add_months
from rules.cycles import Rounding, Side

MAX_YEARS = 40
MAX_PLACES = 18
YEARS = range(1900, 2201)
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _number(value: Any) -> Decimal:
    """Accept a number or the text of one; nothing that has passed through a float."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        msg = "must be a number or the text of one"
        raise ValueError(msg)  # noqa: TRY004 - pydantic reports ValueErrors
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        msg = f"{value[:30]!r} is not a number"
        raise ValueError(msg)
    number = Decimal(value)
    if not number.is_finite() or places_of(number) > MAX_PLACES:
        msg = f"must be a number of at most {MAX_PLACES} decimals"
        raise ValueError(msg)
    return number


def _count(value: Any) -> Any:
    """Accept a whole number, or the text of one as answers write it."""
    is_count = isinstance(value, str) and re.fullmatch(r"[0-9]{1,8}", value, re.ASCII)
    return int(value) if is_count else value


def _day(value: Any) -> date:
    """Accept a date as written in JSON; a number would be taken for a time stamp."""
    try:
        # fromisoformat alone would take 2026-W07-1 as well.
        day = date.fromisoformat(value) if _DAY.fullmatch(value) else None
    except (TypeError, ValueError):
        day = None
    if day is None:
        msg = "must be a date written as 2026-02-15"
        raise ValueError(msg)
    if day.year not in YEARS:
        msg = f"must be a date between {YEARS[0]} and {YEARS[-1]}"
        raise ValueError(msg)
    return day


def _currency(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", value):
        msg = "must be three capital letters, as in USD"
        raise ValueError(msg)
    return value


def _named(value: str) -> str:
    if not value or len(value) > 100 or any(unicodedata.category(c) == "Cc" for c in value):
        msg = "must be 1 to 100 characters, none of them a control character"
        raise ValueError(msg)
    return value


def _exchange(value: Any) -> Any:
    """A plain number is a rate without its source."""
    return {"rate": value} if isinstance(value, int | str | Decimal) else value


def _unless_empty(value: Any) -> Any:
    """An empty object says as little as none."""
    return None if value == {} else value


def _decimal_schema(pattern: str) -> WithJsonSchema:
    """Money is text or a number in JSON; a schema says so, and what the text looks like."""
    return WithJsonSchema({"anyOf": [{"type": "string", "pattern": pattern}, {"type": "number"}]})


_SIGNED = _decimal_schema(r"^-?[0-9]{1,30}(\.[0-9]{1,18})?$")
_UNSIGNED = _decimal_schema(r"^[0-9]{1,30}(\.[0-9]{1,18})?$")
Amount = Annotated[
    Decimal, BeforeValidator(_number), Field(strict=True, ge=-(10**12), le=10**12), _SIGNED
]
Price = Annotated[Amount, Field(ge=0), _UNSIGNED]
Percent = Annotated[Amount, Field(ge=-100, le=10**6), _SIGNED]
Part100 = Annotated[Amount, Field(ge=0, le=100), _UNSIGNED]
Name = Annotated[str, AfterValidator(_named), WithJsonSchema({"type": "string", "maxLength": 100})]
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
Seats = Annotated[
    int,
    BeforeValidator(_count),
    Field(strict=True, ge=0, le=10**7),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^[0-9]{1,8}$"},
            ]
        }
    ),
]
Flag = Annotated[bool, Field(strict=True)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
TaxPlace = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
"""Of a country's own tax, or of its region's: DE, CA-QC, US-TX."""


class Part(BaseModel):
    """A part of a scenario: frozen, and no field that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Contract(Part):
    """How the customer is billed."""

    frequency: Frequency = Frequency.MONTH
    anchor_day: Annotated[int, Field(strict=True, ge=1, le=31)] = 1
    anchor_month: Annotated[int, Field(strict=True, ge=1, le=12)] | None = None
    timing: Timing = Timing.ADVANCE
    align: Alignment = Alignment.CHARGE_CYCLE
    proration: Proration = Proration.DAYS
    rounding: Rounding = Rounding.HALF_UP
    reductions: Literal["window", "any"] = "window"

    @model_validator(mode="after")
    def _fits(self) -> Contract:
        if self.frequency is Frequency.WEEK and self.anchor_day > 7:
            msg = "anchor_day is an ISO weekday (1 to 7) when the frequency is P1W"
            raise ValueError(msg)
        return self


class Promotion(Part):
    """A discount in percent or in money for a unit and cycle, until a day (exclusive) if given."""

    percent: Annotated[Part100, Field(gt=0)] | None = None
    amount: Annotated[Price, Field(gt=0)] | None = None
    until: Day | None = None

    @model_validator(mode="after")
    def _fits(self) -> Promotion:
        if (self.percent is None) == (self.amount is None):
            msg = "a promotion has one of percent and amount"
            raise ValueError(msg)
        return self


class Event(Part):
    """One change of a subscription, effective on a day."""

    date: Day
    type: Literal["set_quantity", "cancel", "convert", "renew", "suspend", "resume", "transfer"]
    quantity: Seats | None = None
    sku: Name | None = None
    unit_price: Price | None = None
    annual_price: Price | None = None
    term: TermDuration | None = None
    billing_cycle: BillingCycle | None = None
    custom_term_end: Day | None = None
    promotion: Promotion | None = None

    @model_validator(mode="after")
    def _fits(self) -> Event:
        given = {name for name in _EVENT_FIELDS if getattr(self, name) is not None}
        wanted = _EVENT_FIELDS if self.type == "renew" else _WANTED.get(self.type, frozenset())
        if given - wanted:
            msg = f"a {self.type} has no {', '.join(sorted(given - wanted))}"
            raise ValueError(msg)
        if self.type == "set_quantity" and self.quantity is None:
            msg = "a set_quantity needs a quantity"
            raise ValueError(msg)
        if self.unit_price is not None and self.annual_price is not None:
            msg = f"a {self.type} has one of unit_price and annual_price"
            raise ValueError(msg)
        priced = self.unit_price is not None or self.annual_price is not None
        if self.type == "convert" and (self.sku is None or not priced):
            msg = "a convert needs a sku and one of unit_price and annual_price"
            raise ValueError(msg)
        if self.billing_cycle is not None and not priced:
            msg = "a renewal to another billing_cycle needs its unit_price or annual_price"
            raise ValueError(msg)
        if self.billing_cycle is BillingCycle.ONE_TIME:
            msg = "a renewal cannot be billed one_time"
            raise ValueError(msg)
        if self.type == "convert" and self.quantity == 0:
            msg = "a convert needs at least one seat"
            raise ValueError(msg)
        if self.custom_term_end is not None and self.custom_term_end <= self.date:
            msg = f"the term ends on {self.custom_term_end}, before it starts on {self.date}"
            raise ValueError(msg)
        if self.promotion and self.promotion.until and self.promotion.until <= self.date:
            msg = f"the promotion ends on {self.promotion.until}, before it starts on {self.date}"
            raise ValueError(msg)
        return self


_EVENT_FIELDS = frozenset(Event.model_fields) - {"date", "type"}
_WANTED = {
    "set_quantity": frozenset({"quantity"}),
    "convert": frozenset({"sku", "unit_price", "annual_price", "quantity", "promotion"}),
}


class Subscription(Part):
    """One subscription with its price for a unit and billing cycle, and its changes."""

    id: Name
    sku: Name
    term: TermDuration | None = None
    billing_cycle: BillingCycle
    start: Day
    quantity: Seats
    unit_price: Price | None = None
    annual_price: Price | None = None
    erp_price: Price | None = None
    custom_term_end: Day | None = None
    trial_end: Day | None = None
    billed_from: Day | None = None
    promotion: Promotion | None = None
    auto_renew: Flag = True
    events: tuple[Event, ...] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Subscription:
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        if self.unit_price is not None and self.annual_price is not None:
            yield "needs one of unit_price and annual_price, not both"
        if self.billing_cycle is BillingCycle.ONE_TIME and (
            self.term or self.events or self.custom_term_end or self.trial_end or self.billed_from
        ):
            yield "a one_time purchase has no term, no term end, no trial and no events"
        if self.trial_end is not None and self.trial_end <= self.start:
            yield f"the trial ends on {self.trial_end}, before it starts on {self.start}"
        yield from self._term_faults()
        if self.billed_from is not None and self.billed_from <= self.start:
            yield f"billed_from {self.billed_from} must come after the start {self.start}"
        if self.promotion and self.promotion.until and self.promotion.until <= self.start:
            yield f"the promotion ends on {self.promotion.until}, before the start {self.start}"
        yield from self._event_faults()

    def _term_faults(self) -> Iterator[str]:
        """Check what is agreed at the purchase, and then by each renewal in order of its day."""
        term, cycle = self.term, self.billing_cycle
        changes = sorted(self.events or (), key=lambda e: (e.date, e.type == "convert"))
        agreed: list[Subscription | Event] = [self, *changes]
        for one in agreed:
            begins = one.date if isinstance(one, Event) else one.trial_end or one.start
            term, cycle, ends = one.term or term, one.billing_cycle or cycle, one.custom_term_end
            if one.annual_price is not None and not 1 <= (cycle.months or 0) <= 12:
                yield f"annual_price cannot be billed {cycle}; give unit_price"
            if term is not None and (cycle.months or 0) > term.months:
                yield f"a term of {term} cannot be billed {cycle}"
            if ends is not None and (
                ends <= begins or (term and ends > add_months(begins, term.months))
            ):
                which = "first term" if one is self else f"term that starts on {begins}"
                yield f"custom_term_end must lie inside the {which}"

    def _event_faults(self) -> Iterator[str]:
        renewed = {self.start}
        for event in self.events or ():
            if event.date < self.start:
                yield f"the {event.type} on {event.date} comes before the start {self.start}"
            if event.type == "renew" and event.date in renewed:
                yield f"two terms start on {event.date}: the renew is one too many"
            if event.type == "renew":
                renewed.add(event.date)


class Usage(Part):
    """What one meter counted on one day; `cost` is what Microsoft asks for it."""

    meter: Name
    date: Day
    quantity: Amount
    unit_price: Amount | None = None
    cost: Amount | None = None
    family: Name | None = None
    earned_credit_percent: Part100 | None = None


class Match(Part):
    """What a markup rule is for; nothing named: everything. More named fields win."""

    kind: Literal["usage", "subscription"] | None = None
    sku: Name | None = None
    meter: Name | None = None
    family: Name | None = None

    @model_validator(mode="after")
    def _fits(self) -> Match:
        if self.sku is not None and self.meter is not None:
            msg = "a rule matches a sku or a meter, not both"
            raise ValueError(msg)
        if self.kind == "subscription" and (self.meter is not None or self.family is not None):
            msg = "a subscription has no meter and no family"
            raise ValueError(msg)
        return self


class Step(Part):
    """One step of a tier, up to and including a limit; None: without end."""

    up_to: Annotated[Amount, Field(gt=0)] | None
    unit_price: Price | None = None
    flat: Price | None = None
    percent: Percent | None = None
    per: Annotated[Price, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Step:
        if self.per is not None and self.unit_price is None:
            msg = "per says how many units a unit_price is for, and there is none"
            raise ValueError(msg)
        return self


class Tiers(Part):
    """Prices by steps: each part at its own (graduated), or all at the step reached (volume)."""

    mode: Literal["graduated", "volume"]
    basis: Literal["quantity", "cost"] = "quantity"
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _fits(self) -> Tiers:
        limits = [step.up_to for step in self.steps]
        if None in limits[:-1]:
            msg = "only the last step may be without end"
            raise ValueError(msg)
        known = [limit for limit in limits if limit is not None]
        if any(low >= high for low, high in pairwise(known)):
            msg = "the limits of the steps must rise"
            raise ValueError(msg)
        return self


class Package(Part):
    """A price for each begun package of a size, after what is free."""

    size: Annotated[Price, Field(gt=0)]
    price: Price
    free: Price = Decimal(0)


class Rule(Part):
    """How a price is made; a rule for usage may have tiers or packages, and commitments."""

    id: Name | None = None
    match: Match = Match()
    percent: Percent | None = None
    margin: Annotated[Amount, Field(ge=0, lt=100)] | None = None
    uplift: Amount | None = None
    fixed: Price | None = None
    erp_minus: Part100 | None = None
    tiers: Tiers | None = None
    package: Package | None = None
    floor: Price | None = None
    cap: Price | None = None
    minimum: Price | None = None
    maximum: Price | None = None
    earned_credit_percent: Part100 | None = None
    start: Day | None = Field(default=None, alias="from")
    to: Day | None = None

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that are given; at most one."""
        return tuple(name for name in _FORMS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _fits(self) -> Rule:
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        bounds = self.minimum is not None or self.maximum is not None
        if len(self.forms) > 1:
            yield f"a rule has one of {', '.join(_FORMS)}, not {' and '.join(self.forms)}"
        if not self.forms and not bounds:
            yield f"a rule needs one of {', '.join(_FORMS)}, minimum and maximum"
        for low, high in (("floor", "cap"), ("minimum", "maximum")):
            one, two = getattr(self, low), getattr(self, high)
            if one is not None and two is not None and one > two:
                yield f"{low} {one} is above {high} {two}"
        if self.start is not None and self.to is not None and self.to <= self.start:
            yield "from must come before to"
        usage_only = self.tiers or self.package or bounds
        if self.match.kind == "subscription" and usage_only:
            yield "tiers, package, minimum and maximum are for usage"
        if self.match.kind == "subscription" and self.earned_credit_percent is not None:
            yield "earned_credit_percent is for usage"


_FORMS = ("percent", "margin", "uplift", "fixed", "erp_minus", "tiers", "package")


class Exchange(Part):
    """A rate from the currency of the prices to that of the scenario, with its source and day."""

    rate: Annotated[Price, Field(gt=0)]
    currency: Annotated[str, AfterValidator(_currency)] | None = None
    source: Name | None = None
    date: Day | None = None


class Tax(Part):
    """Who sells to whom; what is needed to tax it, or the reason not to."""

    seller_country: Country
    buyer_country: Country
    seller_region: Name | None = None
    seller_registered_in: tuple[TaxPlace, ...] | None = None
    buyer_region: Name | None = None
    buyer_city: Name | None = None
    buyer_vat_id: Name | None = None
    certificate: Name | None = None
    exempt_until: Day | None = None

    @model_validator(mode="after")
    def _fits(self) -> Tax:
        if self.certificate is not None and self.exempt_until is None:
            msg = "a certificate needs exempt_until, the first day that it no longer covers"
            raise ValueError(msg)
        return self


class Bill(Part):
    """The window: every charge whose service starts in [from, to)."""

    start: Day = Field(alias="from")
    to: Day

    @model_validator(mode="after")
    def _fits(self) -> Bill:
        if not self.start < self.to <= add_months(self.start, 12 * MAX_YEARS):
            msg = f"from must come before to, at most {MAX_YEARS} years"
            raise ValueError(msg)
        return self


class Scenario(Part):
    """One scenario, checked."""

    currency: Annotated[
        str, AfterValidator(_currency), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"})
    ]
    name: Name | None = None
    side: Side = Side.SELL
    as_of: Day | None = None
    exchange_rate: Annotated[Exchange, BeforeValidator(_exchange)] | None = None
    contract: Contract = Contract()
    subscriptions: tuple[Subscription, ...] | None = None
    usage: tuple[Usage, ...] | None = None
    markup_rules: tuple[Rule, ...] | None = None
    earned_credit_percent: Part100 | None = None
    tax: Annotated[Tax | None, BeforeValidator(_unless_empty)] = None
    bill: Bill

    @model_validator(mode="after")
    def _fits(self) -> Scenario:
        ids = [subscription.id for subscription in self.subscriptions or ()]
        if len(ids) != len(set(ids)):
            msg = "two subscriptions have one id"
            raise ValueError(msg)
        names = [rule.id or f"markup_rules[{n}]" for n, rule in enumerate(self.markup_rules or ())]
        if len(names) != len(set(names)):
            msg = "two markup_rules have one id"
            raise ValueError(msg)
        exchange = self.exchange_rate
        if exchange is not None and exchange.currency == self.currency and exchange.rate != 1:
            msg = f"exchange_rate turns {self.currency} into itself at {exchange.rate:f}"
            raise ValueError(msg)
        return self

    @property
    def rounding(self) -> Rounding:
        """The rounding that is asked for; Microsoft's present one on the cost side if none is."""
        if self.side is Side.COST and "rounding" not in self.contract.model_fields_set:
            return Rounding.MS_DOWN
        return self.contract.rounding


def file_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file: one scenario or a list of them."""
    schema = Scenario.model_json_schema()
    definitions = schema.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scenario file of whatif",
        "anyOf": [{"$ref": "#/$defs/Scenario"}, {"$ref": "#/$defs/Scenarios"}],
        "$defs": {
            **definitions,
            "Scenario": schema,
            "Scenarios": {"type": "array", "items": {"$ref": "#/$defs/Scenario"}},
        },
    }


def places_of(number: Decimal) -> int:
    """Return how many decimals a number is written with."""
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
