"""What ends when, what follows, and what it costs: a forecast of renewals.

A price is locked for its term, so the end of the term is where prices change: the new price, the
next term that was scheduled, the end of a promotion. A subscription that is set not to renew does
not simply end: new-commerce seats go on month by month at a premium, unless they are told to end.

Limits: whether somebody chose "end" for a subscription that does not renew is not shown by
Partner Center, so the forecast says what happens if nobody did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

from domain.charge import Reason
from domain.contract import SheetPrice
from domain.money import Money, plain, round_half_up
from domain.period import BillingCycle, Grid, Period, TermDuration
from domain.problems import Finding, Severity
from domain.renewal import AtEnd, Renewal, Terms
from domain.subscription import WINDOW_DAYS, NextTerm, Subscription, SubscriptionKind
from rules.lines import UnitPrice
from rules.proration import PriceFor, PriceQuestion

HORIZON_DAYS = 90

Sold = Callable[[str, TermDuration | None, BillingCycle | None, date], bool]
"""Whether a product:sku is sold with a term and a billing cycle on a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Premium:
    """A surcharge of Microsoft, in percent of a price, for terms that start within `valid`."""

    rule: str
    percent: Decimal
    valid: Period
    says: str


YEAR_BILLED_MONTHLY = Premium(
    rule="premium.year_billed_monthly",
    percent=Decimal(5),
    valid=Period(date(2025, 4, 1), date.max),
    says="5 % on the yearly price for paying it by the month",
)
"""Source: Partner Center announcements, effective 2025-04-01: 100 a year upfront, 8.75 a month."""

EXTENDED = Premium(
    rule="premium.extended",
    percent=Decimal(3),
    valid=Period(date(2026, 5, 4), date.max),
    says="3 % on the monthly price in the extended service term",
)
EXTENDED_WITHOUT_MONTHLY = Premium(
    rule="premium.extended",
    percent=Decimal(23),
    valid=Period(date(2026, 5, 4), date.max),
    says="23 % on the yearly price by the month in the extended service term",
)
"""Source: announcement of October 2025, effective for terms that end on or after 2026-05-04."""

EXTENDS_IF_STARTED_FROM = date(2025, 4, 1)
"""Source: as above; older terms end as they were promised to."""

_SEATS = "OnlineServicesNCE"
_ALIVE = {"active", "suspended"}


def forecast(
    subscriptions: Iterable[Subscription],
    *,
    price_for: PriceFor,
    currency: str,
    today: date,
    horizon_days: int = HORIZON_DAYS,
    sold: Sold | None = None,
    extended_skus: AbstractSet[str] = frozenset(),
) -> list[Renewal]:
    """Return the ends of terms from today to the horizon, the first one first.

    `price_for` answers what a unit costs the customer now (asked for the running term) and then
    (asked for a term that starts on the day of renewal). `sold` says which seats Microsoft sells by
    then (None: not known, supposed to be sold); `extended_skus` are those of its extended service sheet.
    """
    last = today + timedelta(days=horizon_days)
    asked = _Asked(price_for=price_for, currency=currency, sold=sold, extended=extended_skus)
    found = [
        asked.renewal(one, one.term_end, today)
        for one in subscriptions
        if one.kind is SubscriptionKind.LICENCE
        and one.status in _ALIVE
        and one.term_end is not None
        and today <= one.term_end <= last
    ]
    return sorted(found, key=lambda one: (one.on, one.customer_id, one.name, one.subscription_id))


def sold_by(sheets: Sequence[SheetPrice]) -> Sold:
    """Return what the rows of Microsoft's price sheets offer."""
    rows: dict[tuple[str, TermDuration | None, str], list[Period]] = {}
    for row in sheets:
        plan = row.billing_plan.lower()
        rows.setdefault((row.sku, row.term, plan), []).append(row.valid)

    def sold(sku: str, term: TermDuration | None, cycle: BillingCycle | None, on: date) -> bool:
        plan = cycle.value if cycle else ""
        return any(on in valid for valid in rows.get((sku, term, plan), ()))

    return sold


@dataclass(frozen=True, slots=True)
class _Price:
    """What one unit costs per billing cycle, and the steps to it."""

    unit: Fraction
    reasons: tuple[Reason, ...]
    premium: Premium | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The questions of one forecast, and who answers them."""

    price_for: PriceFor
    currency: str
    sold: Sold | None
    extended: AbstractSet[str]

    def renewal(self, one: Subscription, on: date, today: date) -> Renewal:
        now = Terms(
            sku=one.sku, quantity=one.quantity, term=one.term, billing_cycle=one.billing_cycle
        )
        at_end, then = self._what_follows(one, now, on)
        price_now: _Price | Finding = _FREE
        if not one.is_trial:
            price_now = self._price(one, now, one.start, today)
        now = self._priced(now, price_now)
        prices = [price_now]
        if then is not None:
            extends = at_end is AtEnd.EXTENDS and one.sku not in self.extended
            ask = self._extended_price if extends else self._price
            prices.append(ask(one, then, on, on))
            then = self._priced(then, prices[-1])
            if one.next_term is not None and one.next_term.term_end is not None:
                then = replace(then, per_term=None)  # a term that is cut short costs its part
        months = 1 if then is not None and then.term is TermDuration.MONTH else 12
        difference = None
        costs = [_cost(terms, months) for terms in (now, then)]
        if costs[0] is not None and costs[1] is not None:
            difference = Money.rounded(costs[1] - costs[0], self.currency)
        midnight = datetime.combine(on, time(), UTC)
        renewal = Renewal(
            customer_id=one.customer_id,
            subscription_id=one.id,
            name=one.name,
            on=on,
            at_end=at_end,
            now=now,
            then=then,
            change_by=midnight,
            return_by=midnight + timedelta(days=WINDOW_DAYS) if at_end is AtEnd.RENEWS else None,
            months=months,
            difference=difference,
            sentence="",
            hint="",
            reasons=_reasons(one, on, prices, at_end),
            findings=tuple(price for price in prices if isinstance(price, Finding)),
        )
        premium = next((p.premium for p in prices[1:] if isinstance(p, _Price)), None)
        sentence, hint = _told(renewal, one, premium)
        return replace(renewal, sentence=sentence, hint=hint)

    def _what_follows(self, one: Subscription, now: Terms, on: date) -> tuple[AtEnd, Terms | None]:
        if one.auto_renew:
            wish = one.next_term or NextTerm()
            then = replace(
                now,
                sku=wish.sku or now.sku,
                quantity=now.quantity if wish.quantity is None else wish.quantity,
                term=wish.term or now.term,
                billing_cycle=wish.billing_cycle or now.billing_cycle,
            )
            if self._is_sold(one, then, on):
                return AtEnd.RENEWS, then
            return AtEnd.CANNOT_RENEW, None
        if one.sku in self.extended or (
            one.product_type == _SEATS
            and not one.is_trial
            and one.start >= EXTENDS_IF_STARTED_FROM
            and on in EXTENDED.valid
        ):
            monthly = replace(now, term=TermDuration.MONTH, billing_cycle=BillingCycle.MONTHLY)
            return AtEnd.EXTENDS, monthly
        return AtEnd.ENDS, None

    def _is_sold(self, one: Subscription, terms: Terms, on: date) -> bool:
        """Say whether it can be bought then; other products than seats stand on other sheets."""
        if self.sold is None or one.product_type != _SEATS:
            return True
        return self.sold(terms.sku, terms.term, terms.billing_cycle, on)

    # --- prices -------------------------------------------------------------------------------

    def _price(
        self, one: Subscription, terms: Terms, term_start: date, day: date
    ) -> _Price | Finding:
        """Ask for the price of a cycle; a year billed monthly follows from the year where it must."""
        answer = self._ask(one, terms, term_start, day)
        premium = YEAR_BILLED_MONTHLY
        if (
            isinstance(answer, _Price)
            or (terms.term, terms.billing_cycle) != (TermDuration.YEAR, BillingCycle.MONTHLY)
            or term_start not in premium.valid
        ):
            return answer
        yearly = self._ask(one, replace(terms, billing_cycle=BillingCycle.ANNUAL), term_start, day)
        return answer if isinstance(yearly, Finding) else _with_premium(yearly, premium, months=12)

    def _extended_price(
        self, one: Subscription, terms: Terms, term_start: date, day: date
    ) -> _Price | Finding:
        """Price a month of extended service, by the monthly plan or else by the yearly one."""
        if self._is_sold(one, terms, day):
            monthly = self._ask(one, terms, term_start, day)
            return monthly if isinstance(monthly, Finding) else _with_premium(monthly, EXTENDED)
        yearly = self._ask(
            one,
            replace(terms, term=TermDuration.YEAR, billing_cycle=BillingCycle.ANNUAL),
            term_start,
            day,
        )
        if isinstance(yearly, Finding):
            return yearly
        return _with_premium(yearly, EXTENDED_WITHOUT_MONTHLY, months=12)

    def _ask(
        self, one: Subscription, terms: Terms, term_start: date, day: date
    ) -> _Price | Finding:
        cycle = terms.billing_cycle
        if cycle is None or cycle is BillingCycle.ONE_TIME:
            return Finding(
                check="renewal.no_cycle",
                severity=Severity.WARN,
                customer_id=one.customer_id,
                record=f"subscription {one.id}",
                sentence=f"How often {one.name} is billed is not known.",
                hint="run sync, which reads the subscription again",
            )
        full = Grid.from_day(term_start, cycle.months or 0).around(day)
        answer = self.price_for(
            PriceQuestion(
                subscription_id=one.id,
                customer_id=one.customer_id,
                sku=terms.sku,
                term=terms.term,
                billing_cycle=cycle,
                term_start=term_start,
                full=full,
                on=max(full.start, term_start),
            )
        )
        if isinstance(answer, Finding):
            return answer
        return answer.doubt or _by_cycle(answer, cycle)

    # --- money --------------------------------------------------------------------------------

    def _priced(self, terms: Terms, price: _Price | Finding) -> Terms:
        if isinstance(price, Finding):
            return terms
        months = terms.billing_cycle.months if terms.billing_cycle else None
        exact = price.unit * terms.quantity
        of_term = None
        if terms.term is not None and months:
            of_term = Money.rounded(exact * terms.term.months / months, self.currency)
        return replace(
            terms,
            unit_price=round_half_up(price.unit, 10),
            per_cycle=Money.rounded(exact, self.currency),
            per_term=of_term,
        )


_FREE = _Price(Fraction(0), (Reason(rule="price.trial"),))


def _by_cycle(price: UnitPrice, cycle: BillingCycle) -> _Price:
    """Bring a price that covers several cycles down to one."""
    share = Fraction(cycle.months, price.covers) if price.covers and cycle.months else 1
    return _Price(price.value * share, price.reasons)


def _with_premium(price: _Price, premium: Premium, months: int = 1) -> _Price:
    unit = price.unit * (100 + Fraction(premium.percent)) / 100 / months
    inputs = {"percent": plain(premium.percent), "on": plain(price.unit), "unit_price": plain(unit)}
    if months > 1:
        inputs["months"] = str(months)
    inputs["from"] = str(premium.valid.start)
    return _Price(unit, (*price.reasons, Reason(rule=premium.rule, inputs=inputs)), premium)


def _cost(terms: Terms | None, months: int) -> Fraction | None:
    """Return what terms cost in so many months, exactly; None where it is not known."""
    if terms is None or terms.unit_price is None or terms.billing_cycle is None:
        return None
    return Fraction(terms.unit_price) * terms.quantity * _cycles_in(months, terms)


def _cycles_in(months: int, terms: Terms) -> Fraction:
    own = terms.billing_cycle.months if terms.billing_cycle else None
    return Fraction(months, own) if own else Fraction(52 * months, 12)


def _reasons(
    one: Subscription, on: date, prices: Sequence[_Price | Finding], at_end: AtEnd
) -> tuple[Reason, ...]:
    told = [
        Reason(
            rule=f"renewal.{at_end}",
            inputs={
                "term_end": str(on),
                "auto_renew": "yes" if one.auto_renew else "no",
                "scheduled": "yes" if one.next_term else "no",
                **({"promotion": one.promotion_id} if one.promotion_id else {}),
            },
        )
    ]
    for when, price in zip(("renewal.price_now", "renewal.price_then"), prices, strict=False):
        if isinstance(price, _Price):
            told.extend(
                (Reason(rule=when, inputs={"unit_price": plain(price.unit)}), *price.reasons)
            )
    return tuple(told)


# --- what is said ---

_TERM = {
    TermDuration.MONTH: "one month",
    TermDuration.YEAR: "one year",
    TermDuration.THREE_YEARS: "three years",
    TermDuration.FIVE_YEARS: "five years",
}
_EVERY = {
    BillingCycle.WEEKLY: "a week",
    BillingCycle.MONTHLY: "a month",
    BillingCycle.QUARTERLY: "a quarter",
    BillingCycle.HALF_YEARLY: "half a year",
    BillingCycle.ANNUAL: "a year",
    BillingCycle.TRIENNIAL: "three years",
}


def _told(renewal: Renewal, one: Subscription, premium: Premium | None) -> tuple[str, str]:
    """Say what happens when, at which price, and what can be done until when."""
    seats, alone = f"{_seats(one.quantity)} of {one.name}", one.quantity == 1
    moment = _moment(renewal.change_by)
    match renewal.at_end:
        case AtEnd.ENDS:
            sentence = f"{seats} {'ends' if alone else 'end'} on {moment}: renewal is off."
            hint = "Switch it on before then where they are still needed."
        case AtEnd.CANNOT_RENEW:
            sentence = (
                f"{seats} cannot renew on {moment}: the product is not sold in this plan any more."
            )
            hint = "Schedule another product or plan before then."
        case AtEnd.EXTENDS:
            sentence = (
                f"Renewal is off: {seats} {'goes' if alone else 'go'} on month by month from "
                f"{moment}{_price_said(renewal)}{_premium_said(premium)}."
            )
            hint = (
                "Renew, or choose the end, before then; after it they can be cancelled on any day, "
                "for a refund by the day."
            )
        case AtEnd.RENEWS:
            sentence = (
                f"{seats} {'renews' if alone else 'renew'} on {moment}{_changes(renewal, one)}"
                f"{_price_said(renewal)}{_premium_said(premium)}."
            )
            until = f" until {_moment(renewal.return_by)}," if renewal.return_by else ""
            hint = (
                "Change the number of seats, the plan or the renewal before then; after it,"
                f"{until} seats can only be given back or all be cancelled, for a refund by the "
                "day."
            )
    kept = one.next_term is not None and one.next_term.promotion_id
    if one.promotion_id and not kept and renewal.then is not None:
        sentence += f" Promotion {one.promotion_id} ends with the term."
    return sentence, hint


def _changes(renewal: Renewal, one: Subscription) -> str:
    """Say for how long, and what was scheduled to be different."""
    now, then = renewal.now, renewal.then
    if then is None:
        return ""
    wish = one.next_term or NextTerm()
    said = f" for {_TERM[then.term]}" if then.term else ""
    if wish.term_end is not None:
        said = f" until {wish.term_end - timedelta(days=1)}"
    if then.quantity != now.quantity:
        said += f" with {_seats(then.quantity)}"
    if then.sku != now.sku:
        said += f" as {then.sku}"
    return said


def _price_said(renewal: Renewal) -> str:
    now, then = renewal.now, renewal.then
    if then is None or then.unit_price is None or then.per_cycle is None or not then.billing_cycle:
        why = renewal.findings[-1].sentence.rstrip(".") if renewal.findings else ""
        return f", at a price that is not known ({why})"
    currency = then.per_cycle.currency
    said = f" at {_unit(then.unit_price)} {currency} {_EVERY[then.billing_cycle]}"
    if now.unit_price is None or now.billing_cycle is None:
        return f"{said} (what they cost now is not known)"
    same = (now.unit_price, now.billing_cycle) == (then.unit_price, then.billing_cycle)
    was = "" if now.billing_cycle is then.billing_cycle else f" {_EVERY[now.billing_cycle]}"
    said += " as now" if same else f" (now {_unit(now.unit_price)}{was})"
    difference = renewal.difference
    if not difference:
        return said
    every = "a month" if renewal.months == 1 else "a year"
    sums = " − ".join(_sum(terms, renewal.months) for terms in (then, now))
    less = difference.amount < 0
    amount = -difference.amount if less else difference.amount
    if less:
        sums = " − ".join(_sum(terms, renewal.months) for terms in (now, then))
    return f"{said}: {sums} = {amount:,f} {currency} {every} {'less' if less else 'more'}"


def _premium_said(premium: Premium | None) -> str:
    return f"; that is with {premium.says}" if premium else ""


def _sum(terms: Terms, months: int) -> str:
    """Write one side of the difference as a product."""
    share = _cycles_in(months, terms)
    said = f"{terms.quantity} × {_unit(terms.unit_price or Decimal(0))}"
    if share.numerator != 1:
        said += f" × {share.numerator}"
    return said if share.denominator == 1 else f"{said} / {share.denominator}"


def _unit(price: Decimal) -> str:
    """Write a price with two decimals, or with more where it has more."""
    digits = len(plain(price).partition(".")[2])
    return f"{round_half_up(price, max(digits, 2)):f}"


def _seats(quantity: int) -> str:
    return f"{quantity:,} {'seat' if quantity == 1 else 'seats'}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
