"""The subscriptions of a scenario: their histories and prices, rated as billing rates them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from app.whatif.prices import exchange_reason, is_for_usage, markup_rules, rounding_reason
from app.whatif.scenario import Event, Promotion, Scenario, Subscription
from domain.charge import Charge, ChargeType, Reason
from domain.contract import Alignment, MarkupMethod, MarkupRule, Proration
from domain.money import Money, minor_units, plain, round_half_up
from domain.period import BillingCycle, Grid, Period, add_months
from domain.problems import Finding, Severity
from domain.subscription import EventType, SubscriptionEvent
from rules.cycles import Method, Rounding, Side, round_unit
from rules.events import order
from rules.lines import UnitPrice
from rules.metering import bounded, marked_up, markup_reason
from rules.pricing import PriceBook, Priced
from rules.proration import PriceQuestion, rate_history
from rules.states import as_of
from rules.terms import own_grid

BESIDE = "\n"
"""Between a subscription and the number of a part that was converted; no id holds it."""


def rate_subscription(
    scenario: Scenario, subscription: Subscription
) -> tuple[list[Charge], list[Finding]]:
    """Return the charges of one subscription in order of service, and what could not be rated."""
    if subscription.billing_cycle is BillingCycle.ONE_TIME:
        return _one_time(scenario, subscription)
    charges: list[Charge] = []
    findings: list[Finding] = []
    for history, served_from, prices in _histories(scenario, subscription):
        found, faults = rate_history(
            history,
            price_for=prices,
            window=Period(scenario.bill.start, scenario.bill.to),
            method=_method(scenario),
            name=subscription.sku,
            auto_renew=subscription.auto_renew,
            served_from=served_from,
        )
        charges.extend(replace(charge, name=charge.sku) for charge in found)
        findings.extend(faults)
    # A loop over histories, each in order: the legs of a conversion belong together.
    charges.sort(key=lambda charge: charge.service.start)
    return charges, findings


def _method(scenario: Scenario) -> Method:
    contract = scenario.contract
    cost = scenario.side is Side.COST
    grid = None
    if contract.align is Alignment.CONTRACT and not cost:
        first = min(one.start for one in scenario.subscriptions or ())
        grid = Grid.of_contract(
            contract.frequency,
            contract.anchor_day,
            contract.anchor_month or first.month,
            first.year,
        )
    return Method(
        currency=scenario.currency,
        side=scenario.side,
        proration=Proration.DAYS if cost else contract.proration,
        rounding=scenario.rounding,
        grid=grid,
        enforce_windows=cost or contract.reductions == "window",
        keeps_day=True,
    )


def _histories(
    scenario: Scenario, subscription: Subscription
) -> Iterator[tuple[list[SubscriptionEvent], date | None, _Prices]]:
    """Yield the subscription's history, and one for each part of it that was converted.

    With each come the day from which it is served, where that is not its start, and its prices. A
    part ends with its subscription; changes of seats and renewals are the rest's.
    """
    known = _known(scenario, subscription)
    paid_from = subscription.trial_end or subscription.start
    begin = SubscriptionEvent(
        subscription_id=subscription.id,
        customer_id="",
        effective=subscription.start,
        type=EventType.PURCHASE,
        quantity=subscription.quantity,
        sku=subscription.sku,
        term=subscription.term,
        billing_cycle=subscription.billing_cycle,
        term_end=subscription.trial_end or subscription.custom_term_end,
        is_trial=subscription.trial_end is not None,
    )
    events = [begin]
    decided = any(
        event.date < paid_from if event.type in _ENDS else event.date <= paid_from
        for event in known
        if event.type in {*_ENDS, "renew"}
    )
    paid: list[SubscriptionEvent] = []
    if paid_from != subscription.start and not decided:
        renewed = replace(begin, effective=paid_from, type=EventType.RENEW, quantity=None, sku="")
        paid = [replace(renewed, term_end=subscription.custom_term_end, is_trial=False)]
    events += paid
    last_of_day: dict[date, SubscriptionEvent] = {}
    for place, event in enumerate(known):
        told = _event(begin, event, place)
        if told.type is EventType.SET_QUANTITY:
            last_of_day[event.date] = told  # the last one listed wins
        else:
            events.append(told)
    events = order([*events, *last_of_day.values()])
    ends = [event for event in events if event.type in {EventType.CANCEL, EventType.TRANSFER}]
    beside: list[tuple[list[SubscriptionEvent], date, _Prices]] = []
    parts: list[Event] = []
    for change in [event for event in events if event.type is EventType.CONVERT]:
        place = events.index(change)
        before = as_of(events[:place], change.effective, auto_renew=subscription.auto_renew)
        part = change.quantity
        if before is None or part is None or part >= before.quantity:
            continue
        # A part is upgraded: it leaves for a product of its own, in the same term.
        events[place] = replace(change, sku="", quantity=before.quantity - part)
        name = f"{subscription.id}{BESIDE}{len(beside)}"
        upgraded = replace(
            change,
            subscription_id=name,
            effective=before.term_start,
            term=before.term,
            billing_cycle=before.billing_cycle,
            term_end=before.term_end,
            anchor=subscription.start,
            is_trial=before.is_trial,
        )
        later = [event for event in [*paid, *ends] if event.effective >= change.effective]
        history = [upgraded, *(replace(event, subscription_id=name) for event in later)]
        from_day = max(change.effective, subscription.billed_from or change.effective)
        parts.append(known[change.sequence])
        prices = _Prices(scenario, subscription, part=known[change.sequence])
        beside.append((order(history), from_day, prices))
    yield events, subscription.billed_from, _Prices(scenario, subscription, without=parts)
    yield from beside


_ENDS = frozenset({"cancel", "transfer"})


def _known(scenario: Scenario, subscription: Subscription) -> list[Event]:
    """Return the events that have happened by the day of the question; a later price is not agreed yet."""
    events = subscription.events or ()
    return [e for e in events if scenario.as_of is None or e.date <= scenario.as_of]


def _event(begin: SubscriptionEvent, event: Event, place: int) -> SubscriptionEvent:
    return replace(
        begin,
        effective=event.date,
        type=EventType(event.type),
        quantity=event.quantity,
        sku=event.sku or "",
        term=event.term,
        billing_cycle=event.billing_cycle,
        term_end=event.custom_term_end,
        is_trial=False,
        sequence=place,
    )


@dataclass(frozen=True, slots=True)
class _Listed:
    """The price that was agreed last, by the purchase, a renewal or a conversion."""

    unit: Decimal | None
    annual: Decimal | None
    promotion: Promotion | None


class _Prices:
    """The prices over time of one subscription, or of a part of it that was converted."""

    def __init__(
        self,
        scenario: Scenario,
        subscription: Subscription,
        *,
        part: Event | None = None,
        without: Sequence[Event] = (),
    ) -> None:
        self.scenario = scenario
        self.subscription = subscription
        self.part = part
        known = [e for e in _known(scenario, subscription) if not any(e is p for p in without)]
        # Of one day, a renewal comes before a conversion; a part keeps the price of its own.
        self.events = [] if part else sorted(known, key=lambda e: (e.date, e.type == "convert"))
        rules = markup_rules(scenario) if scenario.side is Side.SELL else ()
        self.book = PriceBook((), [rule for rule in rules if not is_for_usage(rule)])

    def __call__(self, question: PriceQuestion) -> UnitPrice | Finding:
        # A cycle has one price: it is promoted, or not, by its first day of service. A line of the
        # contract's may be a part of the billing cycle that is priced.
        starts, months = question.full.start, question.billing_cycle.months
        if months and question.full.end < add_months(starts, months):
            paid = own_grid(question.term_start, self.subscription.start, months)[1]
            starts = paid.around(question.on).start
        starts = max(starts, question.term_start)
        return self.price(
            question.sku, question.on, question.term_start, starts, question.billing_cycle
        )

    def price(
        self, sku: str, on: date, term_start: date, starts: date, billing_cycle: BillingCycle
    ) -> UnitPrice | Finding:
        """Return the price of one unit: listed, less promotion, exchanged, then marked up.

        `starts` is the first day of the cycle that is priced.
        """
        listed = self._listed(sku, on, term_start)
        amount = listed.unit if listed.annual is None else listed.annual
        record = f"subscription {self.subscription.id}"
        if amount is None:
            return Finding(
                check="price.missing",
                severity=Severity.HOLD,
                customer_id="",
                record=record,
                sentence=f"Subscription {self.subscription.id} has no price for {sku} on {on}.",
                hint="give unit_price, or annual_price",
            )
        value = Fraction(amount)
        name = "price.unit" if listed.annual is None else "price.annual"
        field = "unit_price" if listed.annual is None else "annual_price"
        reasons = [Reason(rule=name, inputs={field: plain(value)})]
        # What is for a unit and cycle counts as often as an annual price holds cycles.
        months = billing_cycle.months or 12
        cycles = Fraction(1) if listed.annual is None else Fraction(12, months)
        changes = (e.date for e in self.events if e.type == "convert")
        until = min((day for day in changes if day > on), default=date.max)
        promotion = listed.promotion
        if promotion is not None and (promotion.until is None or starts < promotion.until):
            until = min(until, promotion.until or date.max)
            value, reason = _promoted(value, promotion, cycles)
            reasons.append(reason)
        exchange = self.scenario.exchange_rate
        if exchange is not None:
            value *= Fraction(exchange.rate)
            reasons.append(exchange_reason(exchange))
        made = UnitPrice(
            value=value,
            reasons=tuple(reasons),
            covers=None if listed.annual is None else 12,
            until=until,
        )
        return self._marked_up(sku, term_start, made, billing_cycle, cycles)

    def _marked_up(
        self,
        sku: str,
        term_start: date,
        price: UnitPrice,
        billing_cycle: BillingCycle,
        cycles: Fraction,
    ) -> UnitPrice | Finding:
        if self.scenario.side is Side.COST:
            return price
        rule = self.book.rule(
            Priced(
                customer_id="",
                record=f"subscription {self.subscription.id}",
                kind="licence",
                sku=sku,
                on=term_start,
                currency=self.scenario.currency,
                billing_cycle=billing_cycle,
            )
        )
        if isinstance(rule, Finding):
            # Seats have a price of their own; a rule for them is not asked for.
            return price if rule.check == "price.missing" else rule
        basis, covers = price.value, price.covers
        if rule.method is MarkupMethod.FIXED:
            cycles, covers = Fraction(1), None
        if rule.method is MarkupMethod.ERP_MINUS:
            if self.subscription.erp_price is None:
                return self._cannot(rule, "the subscription has no erp_price")
            basis = Fraction(self.subscription.erp_price)
        unit, bound = bounded(rule, marked_up(rule, basis, cycles) / cycles)
        value = unit * cycles
        reason = markup_reason(rule, unit_price=plain(value))
        reasons = (*price.reasons, reason, *bound)
        return UnitPrice(value=value, reasons=reasons, covers=covers, until=price.until)

    def _cannot(self, rule: MarkupRule, fault: str) -> Finding:
        return Finding(
            check="price.no_basis",
            severity=Severity.HOLD,
            customer_id="",
            record=f"subscription {self.subscription.id}",
            sentence=f"Rule {rule.key} cannot price {self.subscription.id}: {fault}.",
            hint='let the rule match {"kind": "usage"}, or give what is missing',
        )

    def _listed(self, sku: str, on: date, term_start: date) -> _Listed:
        one = self.subscription
        if self.part is not None:
            return _Listed(self.part.unit_price, self.part.annual_price, self.part.promotion)
        listed = _Listed(one.unit_price, one.annual_price, one.promotion)
        for event in self.events:
            renewed = event.type == "renew" and event.date <= term_start
            converted = event.type == "convert" and event.date <= on and event.sku == sku
            if not (renewed or converted):
                continue
            priced = event.unit_price is not None or event.annual_price is not None
            if converted:
                # The promotion was one of the product that was left.
                listed = _Listed(event.unit_price, event.annual_price, event.promotion)
            elif priced:
                promotion = event.promotion or listed.promotion
                listed = _Listed(event.unit_price, event.annual_price, promotion)
            elif event.promotion:
                listed = replace(listed, promotion=event.promotion)
        return listed


def _promoted(value: Fraction, promotion: Promotion, cycles: Fraction) -> tuple[Fraction, Reason]:
    if promotion.percent is not None:
        lower = value * (100 - Fraction(promotion.percent)) / 100
        inputs = {"percent": plain(promotion.percent)}
    else:
        lower = max(Fraction(0), value - Fraction(promotion.amount or 0) * cycles)
        inputs = {"amount": plain(promotion.amount or 0)}
    if promotion.until is not None:
        inputs["until"] = str(promotion.until)
    return lower, Reason(rule="price.promotion", inputs={**inputs, "unit_price": plain(lower)})


def _one_time(scenario: Scenario, subscription: Subscription) -> tuple[list[Charge], list[Finding]]:
    day = subscription.start
    if not scenario.bill.start <= day < scenario.bill.to or not subscription.quantity:
        return [], []
    price = _Prices(scenario, subscription).price(
        subscription.sku, day, day, day, BillingCycle.ONE_TIME
    )
    if isinstance(price, Finding):
        return [], [price]
    unit = price.value
    if scenario.rounding is not Rounding.HALF_UP:
        unit = round_unit(scenario.rounding, unit, minor_units(scenario.currency))
    exact = subscription.quantity * unit
    amount = Money.rounded(exact, scenario.currency)
    service = Period(day, day)
    said = f"{subscription.quantity} bought once on {day} × {plain(unit)} {amount.currency}"
    charge = Charge(
        key=f"charge/{subscription.id}/one_time/{day}",
        customer_id="",
        subscription_id=subscription.id,
        type=ChargeType.ONE_TIME,
        name=subscription.sku,
        sku=subscription.sku,
        service=service,
        full=service,
        quantity=Decimal(subscription.quantity),
        unit_price=round_half_up(unit, 10),
        exact=exact,
        amount=amount,
        why=f"{said} = {amount.amount:f} {amount.currency}",
        reasons=(*price.reasons, rounding_reason(scenario, exact, amount)),
    )
    return [charge], []
