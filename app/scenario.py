"""The scenario file of `whatif`: section 8 of the design, in its first form, checked strictly.

A field that is not known, a value that is not offered yet, and values that contradict each other
are refused with one sentence that names file and field; nothing is ignored in silence, and no
number passes through a float.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from domain.period import BillingCycle, TermDuration, add_months
from domain.problems import InputError

MAX_BYTES = 16 * 1024 * 1024
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


Amount = Annotated[Decimal, BeforeValidator(_number), Field(strict=True, ge=-(10**12), le=10**12)]
Price = Annotated[Amount, Field(ge=0)]
Name = Annotated[str, AfterValidator(_named)]
Day = Annotated[date, BeforeValidator(_day)]
Seats = Annotated[int, Field(strict=True, ge=0, le=10**7)]


class Part(BaseModel):
    """A part of a scenario: frozen, and no field that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Contract(Part):
    """How the customer is billed."""

    frequency: Literal["P1M"] = "P1M"
    anchor_day: Annotated[int, Field(strict=True, ge=1, le=31)] = 1
    timing: Literal["advance", "arrears"] = "advance"
    align: Literal["charge_cycle"] = "charge_cycle"
    proration: Literal["days"] = "days"
    rounding: Literal["half_up"] = "half_up"
    reductions: Literal["window", "any"] = "window"


class Promotion(Part):
    """A discount in percent, until a day (exclusive) if one is given."""

    percent: Annotated[Amount, Field(gt=0, le=100)]
    until: Day | None = None


class Event(Part):
    """One change of a subscription, effective on a day."""

    date: Day
    type: Literal["set_quantity", "cancel", "convert", "renew"]
    quantity: Seats | None = None
    sku: Name | None = None
    unit_price: Price | None = None
    annual_price: Price | None = None

    @model_validator(mode="after")
    def _fits(self) -> Event:
        wanted = {
            "set_quantity": {"quantity"},
            "cancel": set(),
            "convert": {"sku", "unit_price", "annual_price", "quantity"},
            "renew": {"unit_price", "annual_price", "quantity", "sku"},
        }[self.type]
        given = {
            name
            for name in ("quantity", "sku", "unit_price", "annual_price")
            if getattr(self, name) is not None
        }
        if given - wanted:
            msg = f"a {self.type} has no {', '.join(sorted(given - wanted))}"
            raise ValueError(msg)
        if self.type == "set_quantity" and self.quantity is None:
            msg = "a set_quantity needs a quantity"
            raise ValueError(msg)
        if self.type == "convert" and (
            self.sku is None or (self.unit_price is None) == (self.annual_price is None)
        ):
            msg = "a convert needs a sku and one of unit_price and annual_price"
            raise ValueError(msg)
        if self.unit_price is not None and self.annual_price is not None:
            msg = f"a {self.type} has one of unit_price and annual_price"
            raise ValueError(msg)
        return self


class Subscription(Part):
    """One subscription with its price for a unit and billing cycle, and its changes."""

    id: Name
    sku: Name
    term: TermDuration | None
    billing_cycle: BillingCycle
    start: Day
    quantity: Seats
    unit_price: Price | None = None
    annual_price: Price | None = None
    custom_term_end: Day | None = None
    promotion: Promotion | None = None
    auto_renew: Annotated[bool, Field(strict=True)] = True
    events: tuple[Event, ...] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Subscription:
        if (self.unit_price is None) == (self.annual_price is None):
            msg = "needs one of unit_price and annual_price"
            raise ValueError(msg)
        yearly = [self.annual_price, *(event.annual_price for event in self.events or ())]
        if any(price is not None for price in yearly) and (
            self.billing_cycle is not BillingCycle.MONTHLY
        ):
            msg = "annual_price is for monthly billing; give unit_price for other cycles"
            raise ValueError(msg)
        one_time = self.billing_cycle is BillingCycle.ONE_TIME
        if one_time and (self.term is not None or self.events or self.custom_term_end):
            msg = "a one_time purchase has no term, no term end and no events"
            raise ValueError(msg)
        months = self.billing_cycle.months
        if self.term is not None and months is not None and months > self.term.months:
            msg = f"a term of {self.term} cannot be billed {self.billing_cycle}"
            raise ValueError(msg)
        ends = self.custom_term_end
        if ends is not None and (
            ends <= self.start or (self.term and ends > add_months(self.start, self.term.months))
        ):
            msg = "custom_term_end must lie inside the first term"
            raise ValueError(msg)
        if self.promotion and self.promotion.until and self.promotion.until <= self.start:
            msg = f"the promotion ends on {self.promotion.until}, before the start {self.start}"
            raise ValueError(msg)
        renewed = {self.start}
        for event in self.events or ():
            if event.date < self.start:
                msg = f"the {event.type} on {event.date} comes before the start {self.start}"
                raise ValueError(msg)
            if event.type == "renew" and event.date in renewed:
                msg = f"two terms start on {event.date}: the renew is one too many"
                raise ValueError(msg)
            if event.type == "renew":
                renewed.add(event.date)
        return self


class Usage(Part):
    """What one meter counted on one day."""

    meter: Name
    date: Day
    quantity: Amount
    unit_price: Amount
    cost: Amount | None = None


class Match(Part):
    """What a markup rule is for; nothing named: everything."""

    kind: Literal["usage", "subscription"] | None = None


class Rule(Part):
    """A markup in percent."""

    match: Match = Match()
    percent: Annotated[Amount, Field(ge=-100)]


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

    currency: Annotated[str, AfterValidator(_currency)]
    side: Literal["sell"] = "sell"
    as_of: Day | None = None
    contract: Contract = Contract()
    subscriptions: tuple[Subscription, ...] | None = None
    usage: tuple[Usage, ...] | None = None
    markup_rules: tuple[Rule, ...] | None = None
    tax: None = None
    bill: Bill

    @model_validator(mode="after")
    def _fits(self) -> Scenario:
        ids = [subscription.id for subscription in self.subscriptions or ()]
        if len(ids) != len(set(ids)):
            msg = "two subscriptions have one id"
            raise ValueError(msg)
        return self


def places_of(number: Decimal) -> int:
    """Return how many decimals a number is written with."""
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def read_file(path: Path) -> Scenario | list[Scenario]:
    """Read a scenario file; InputError names file and field of what is wrong."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES} bytes", hint="split the file")
        content = json.loads(
            path.read_text(encoding="utf-8-sig"),
            parse_float=_exact,
            parse_int=_whole,
            object_pairs_hook=_once,
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint="give the path of a JSON file") from None
    except RecursionError:
        raise InputError(
            f"{path}: not readable as JSON: nested too deeply", hint="check the file"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON: {error}", hint="check the file") from None
    if isinstance(content, list):
        return [_read(path, part, f"[{n}].") for n, part in enumerate(content)]
    return _read(path, content, "")


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent that even a Decimal cannot hold
        msg = f"{text[:30]} is out of range for a number"
        raise ValueError(msg) from None


def _whole(text: str) -> int:
    if len(text) > 31:
        msg = f"{text[:30]}... has {len(text)} digits, more than a number here may have"
        raise ValueError(msg)
    return int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says one thing twice: which of the two is meant, nobody knows."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)
        raise ValueError(f"the field {twice} stands twice in one object")
    return found


_WORDS = {
    "extra_forbidden": "is not a field of this format",
    "missing": "is missing",
    "model_type": "must be an object with fields",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "string_unicode": "must be text of whole characters",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "none_required": "is not offered yet; leave it out",
}
"""What pydantic says in words of Python, in words of the format; the rest it says well itself."""


def _read(path: Path, content: Any, where: str) -> Scenario:
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = where + ".".join(str(part) for part in fault["loc"])
        what = _WORDS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{path}: {field.rstrip('.') or 'the scenario'}: {what}",
            hint="the format is described in docs/whatif.md",
        ) from None
