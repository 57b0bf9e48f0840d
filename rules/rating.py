"""From what happened and what Microsoft billed to what one customer is asked for.

Seats are rated from their history (`rules.proration`); metered, one-time and credit lines are
imported from Microsoft's invoice and marked up: their subtotal is the truth of the cost. A metered
line is split over the Azure subscriptions and meter categories that used it by largest remainder,
so the parts sum to the line to the cent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.charge import Charge, ChargeType, Reason
from domain.contract import Alignment, BillingContract, MarkupMethod, MarkupRule
from domain.money import Money, allocate, minor_units, plain, round_half_up
from domain.period import Period
from domain.problems import Finding, Severity
from domain.subscription import (
    CostKind,
    CostLine,
    Subscription,
    SubscriptionEvent,
    SubscriptionKind,
)
from rules import events
from rules.cycles import Method
from rules.pricing import PriceBook, Priced, marked_up
from rules.lines import UnitPrice
from rules.proration import PriceQuestion, rate_history


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """The charges that should exist, and what stands in the way of others."""

    charges: tuple[Charge, ...]
    findings: tuple[Finding, ...]


_ENDED = {"deleted", "expired"}


def rate_customer(
    *,
    contract: BillingContract,
    subscriptions: Sequence[Subscription],
    told: Sequence[SubscriptionEvent],
    cost_lines: Sequence[CostLine],
    book: PriceBook,
    window: Period,
    today: date,
) -> Rated:
    """Propose every charge whose service starts in `window`, for one customer.

    `told` are the stored events, `cost_lines` all stored lines of the customer. Excluded products
    make no charge; that they are excluded is told by the reconciliation. The end of each history
    is compared with what Partner Center shows `today`.
    """
    charges: list[Charge] = []
    findings: list[Finding] = []
    lines_of: dict[str, list[CostLine]] = defaultdict(list)
    for line in cost_lines:
        lines_of[line.subscription_id].append(line)
    events_of: dict[str, list[SubscriptionEvent]] = defaultdict(list)
    for event in told:
        events_of[event.subscription_id].append(event)
    known = {subscription.id for subscription in subscriptions}
    own_periods = contract.alignment is Alignment.CONTRACT
    method = Method(
        currency=contract.currency,
        proration=contract.proration,
        grid=contract.grid if own_periods else None,
    )

    for subscription in subscriptions:
        if subscription.kind is not SubscriptionKind.LICENCE:
            continue
        lines = lines_of[subscription.id]
        history = events.history(subscription, lines, events_of[subscription.id])
        findings.extend(events.check_history(subscription, history, today))
        if subscription.sku in contract.excluded_skus:
            continue
        found, faults = rate_history(
            history,
            price_for=_LicencePrices(subscription, lines, book, contract.currency),
            window=window,
            method=method,
            name=subscription.name,
            auto_renew=subscription.auto_renew,
        )
        # A conversion changes the name as well: the old product's charges keep theirs.
        names = {line.sku: line.name for line in lines if line.sku != subscription.sku}
        found = [replace(charge, name=names.get(charge.sku, charge.name)) for charge in found]
        if subscription.status in _ENDED:
            # When it ended is told by Microsoft's lines alone: what they do not bill was not served.
            billed = {line.charged for line in lines}
            found = [charge for charge in found if charge.service in billed]
        charges.extend(found)
        findings.extend(faults)

    metered: dict[str, list[CostLine]] = defaultdict(list)
    for line in cost_lines:
        day = line.falls_on
        if day is None or day not in window or line.sku in contract.excluded_skus:
            continue
        if line.kind is CostKind.USAGE:
            metered[line.subscription_id].append(line)
        elif line.kind is not CostKind.LICENCE:
            answer = _rate_line(line, day, book, contract.currency)
            if isinstance(answer, Charge):
                charges.append(answer)
            else:
                findings.append(answer)
        elif line.subscription_id not in known:
            findings.append(_unknown_subscription(line))
    for plan in sorted(metered):
        found, faults = _rate_usage(metered[plan], book, contract.currency)
        charges.extend(found)
        findings.extend(faults)
    # Several shares of one line may meet the same fault.
    unique = {finding.key: finding for finding in findings}
    return Rated(charges=tuple(charges), findings=tuple(unique.values()))


def _unknown_subscription(line: CostLine) -> Finding:
    return Finding(
        check="subscription.unknown",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"subscription {line.subscription_id}",
        sentence=(
            f"Microsoft billed {line.name} for subscription {line.subscription_id}, "
            "which Partner Center does not list."
        ),
        hint="run sync again; if it stays, ask Microsoft which customer owns the subscription",
    )


# --- seats ---------------------------------------------------------------------------------------


class _LicencePrices:
    """Answers the price questions of one subscription from its lines and the price book."""

    def __init__(
        self,
        subscription: Subscription,
        lines: Sequence[CostLine],
        book: PriceBook,
        currency: str,
    ) -> None:
        self.subscription = subscription
        self.lines = [line for line in lines if line.kind is CostKind.LICENCE and line.charged]
        self.book = book
        self.currency = currency

    def __call__(self, question: PriceQuestion) -> UnitPrice | Finding:
        cost, cost_currency = self.unit_cost(question)
        return self.book.price(
            Priced(
                customer_id=question.customer_id,
                record=f"subscription {question.subscription_id}",
                kind=CostKind.LICENCE.value,
                sku=question.sku,
                on=question.term_start,
                currency=self.currency,
                term=question.term,
                billing_cycle=question.billing_cycle,
                cost=cost,
                cost_currency=cost_currency,
            )
        )

    def unit_cost(self, question: PriceQuestion) -> tuple[Decimal | None, str]:
        """Return what one unit cost for the full cycle: by this cycle's lines, else by the term's.

        Seats are priced by a line of the day on which they came, or else by the cycle's own.
        """
        full = question.full
        known = [
            (line, line.charged)
            for line in self.lines
            if line.charged and line.billable_quantity and line.sku == question.sku
        ]
        in_cycle = [
            ((charged.start == question.on, charged == full, charged.start, line.key), line)
            for line, charged in known
            if full.start <= charged.start < full.end
        ]
        if in_cycle:
            _, line = max(in_cycle)
            whole = next((other for other, charged in known if charged == full), None)
            return full_cycle_cost(line, full, whole), line.currency
        in_term = [(c.start, line.key, line) for line, c in known if _same_term(line, full)]
        if not in_term:
            return None, ""
        line = max(in_term)[-1]
        return _listed(line), line.currency


def _same_term(line: CostLine, cycle: Period) -> bool:
    starts, ends = line.subscription_start, line.subscription_end
    return starts is not None and starts <= cycle.start and (ends is None or cycle.start < ends)


def _listed(line: CostLine) -> Decimal:
    return line.unit_price * line.exchange_rate


def full_cycle_cost(line: CostLine, full: Period, whole: CostLine | None = None) -> Decimal:
    """Return what one unit of a licence line costs for its whole charge cycle, after promotions.

    A line for the whole cycle says so by its subtotal. A prorated line carries its price cut at the
    last digit that is shown, so the price of the cycle's `whole` line, then the listed one, is
    taken where it explains that digit; only a visible discount is computed back.
    """
    if line.charged is None or line.charged == full:
        return round_half_up(Fraction(line.subtotal) / Fraction(line.seats), 10)
    share = Fraction(line.charged.days, full.days)
    effective = Fraction(abs(line.effective_unit_price))
    if whole is not None and _explains(abs(whole.effective_unit_price), share, line):
        return full_cycle_cost(whole, full)
    if _explains(line.unit_price, share, line):
        return _listed(line)
    return round_half_up(effective / share, 4) * line.exchange_rate


def _explains(unit_price: Decimal, share: Fraction, line: CostLine) -> bool:
    """Say whether the prorated price differs from the line's by less than its last digit."""
    exponent = line.effective_unit_price.as_tuple().exponent
    decimals = max(2, -exponent) if isinstance(exponent, int) else 2
    shown = Fraction(abs(line.effective_unit_price))
    return abs(Fraction(unit_price) * share - shown) < Fraction(1, 10**decimals)


# --- one-time, reservations, credits ---------------------------------------------------------------


def _rate_line(line: CostLine, day: date, book: PriceBook, currency: str) -> Charge | Finding:
    """Pass one line of Microsoft's invoice on, marked up; its subtotal is the cost."""
    rule = _line_rule(line, day, book, currency)
    if isinstance(rule, Finding):
        return rule
    quantity = line.seats or Decimal(-1 if line.is_credit else 1)
    is_credit = line.kind is CostKind.CREDIT
    if is_credit and rule.method in {MarkupMethod.FIXED, MarkupMethod.UPLIFT}:
        return _cannot(line, rule, "a credit is passed on by percent or margin")
    if rule.method is MarkupMethod.FIXED:
        exact = Fraction(rule.value) * Fraction(quantity)
    elif rule.method is MarkupMethod.UPLIFT:
        exact = Fraction(line.subtotal) + Fraction(rule.value) * Fraction(quantity)
    else:
        exact = marked_up(rule, Fraction(line.subtotal))
    amount = Money.rounded(exact, currency)
    service = line.charged or Period(day, day)
    return Charge(
        key=f"charge/{line.key}",
        customer_id=line.customer_id,
        subscription_id=line.subscription_id,
        type=ChargeType.CREDIT if is_credit else ChargeType.ONE_TIME,
        name=f"{line.name} ({line.credit_reason})" if line.credit_reason else line.name,
        sku=line.sku,
        service=service,
        full=service,
        quantity=quantity,
        unit_price=round_half_up(exact / Fraction(quantity), 10),
        exact=exact,
        amount=amount,
        unit_cost=round_half_up(Fraction(line.subtotal) / Fraction(quantity), 10),
        why=_passed_on_sentence(line, service, quantity, exact / Fraction(quantity), amount),
        reasons=(
            Reason(rule="cost.line", inputs={"line": line.key, "subtotal": plain(line.subtotal)}),
            _markup_reason(rule),
        ),
        cost_lines=(line.key,),
    )


def _line_rule(
    line: CostLine, day: date, book: PriceBook, currency: str, category: str = ""
) -> MarkupRule | Finding:
    rule = book.rule(
        Priced(
            customer_id=line.customer_id,
            record=f"cost line {line.key}",
            kind=line.kind.value,
            sku=line.sku,
            on=day,
            currency=currency,
            meter_category=category,
        )
    )
    if isinstance(rule, Finding) or rule.method is MarkupMethod.FIXED:
        return rule
    if rule.method is MarkupMethod.ERP_MINUS:
        return _cannot(line, rule, "this kind of line has no suggested retail price")
    if line.currency != currency:
        return _cannot(line, rule, f"it costs {line.currency} and is sold in {currency}")
    return rule


def _cannot(line: CostLine, rule: MarkupRule, fault: str) -> Finding:
    return Finding(
        check="price.no_basis",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"cost line {line.key}",
        sentence=f"Rule {rule.key} cannot price {line.name}: {fault}.",
        hint="add a rule that fits this kind of line",
    )


def _markup_reason(rule: MarkupRule) -> Reason:
    return Reason(
        rule="price.markup",
        inputs={"rule": rule.key, "method": rule.method.value, "value": plain(rule.value)},
    )


def _passed_on_sentence(
    line: CostLine, service: Period, quantity: Decimal, unit: Fraction, amount: Money
) -> str:
    """What the customer reads: our price, never our cost; that and the markup are reasons."""
    asked = f"{amount.amount:f} {amount.currency}"
    if line.kind is CostKind.CREDIT:
        return f"Microsoft's credit for {service}: {asked}"
    price = round_half_up(unit, 6)
    if Money.rounded(Fraction(price) * Fraction(quantity), amount.currency) != amount:
        return f"{plain(quantity)} for {service}: {asked} in all"
    return f"{plain(quantity)} × {plain(price)} {amount.currency} ({service}) = {asked}"


# --- usage -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Used:
    """What one Azure subscription used of one meter category, out of one plan's lines."""

    name: str
    line: CostLine
    rule: MarkupRule
    cost: Decimal = Decimal(0)
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Daily lines by where they were read: invoice lines of one meter share theirs."""
    cost_lines: set[str] = field(default_factory=set)


def _rate_usage(
    lines: Iterable[CostLine], book: PriceBook, currency: str
) -> tuple[list[Charge], list[Finding]]:
    """Make one charge per Azure subscription, meter category and month of one Azure plan."""
    groups: dict[tuple[date, str, str, str], _Used] = {}
    findings: list[Finding] = []
    for line in sorted(lines, key=lambda line: line.key):
        day = line.falls_on
        if day is None:
            continue
        if not line.shares:
            if line.subtotal:  # else billed at zero and used by nobody
                findings.append(_no_usage(line))
            continue
        parts = allocate(line.subtotal, [abs(s.cost) for s in line.shares], _places(line))
        for share, part in zip(line.shares, parts, strict=True):
            rule = _line_rule(line, day, book, currency, share.meter_category)
            if isinstance(rule, Finding):
                findings.append(rule)
                continue
            if rule.method not in {MarkupMethod.PERCENT, MarkupMethod.MARGIN}:
                findings.append(_cannot(line, rule, "usage is priced by percent or margin"))
                continue
            place = (day, share.entitlement_id, share.meter_category, rule.sku)
            used = groups.setdefault(place, _Used(share.entitlement_name, line, rule))
            used.cost += part
            used.lines[line.invoice_id, line.sku] = share.lines
            used.cost_lines.add(line.key)
    charges: list[Charge] = []
    for (day, entitlement, category, sku), used in sorted(groups.items()):
        rule = used.rule
        exact = marked_up(rule, Fraction(used.cost))
        amount = Money.rounded(exact, currency)
        service = used.line.charged or Period(day, day)
        count = sum(used.lines.values())
        charges.append(
            Charge(
                key=f"charge/{used.line.subscription_id}/usage/{day}/{entitlement}/{category}"
                + (f"/{sku}" if sku else ""),
                customer_id=used.line.customer_id,
                subscription_id=used.line.subscription_id,
                type=ChargeType.USAGE,
                name=f"{_family(category)}, {used.name or entitlement}",
                sku=used.line.sku,
                service=service,
                full=service,
                quantity=Decimal(1),
                unit_price=round_half_up(exact, 10),
                exact=exact,
                amount=amount,
                unit_cost=used.cost,
                why=(
                    f"{_count(count, 'usage line')} of Microsoft for {service} = "
                    f"{amount.amount:f} {amount.currency}"
                ),
                reasons=(
                    Reason(
                        rule="usage.split",
                        inputs={
                            "azure_subscription": entitlement,
                            "meter_category": category,
                            "usage_lines": str(count),
                            "invoice_lines": str(len(used.cost_lines)),
                            "cost": f"{plain(used.cost)} {used.line.currency}",
                        },
                    ),
                    _markup_reason(rule),
                ),
                cost_lines=tuple(sorted(used.cost_lines)),
            )
        )
    return charges, findings


def _places(line: CostLine) -> int:
    """Cents, or as many decimals as Microsoft wrote: the parts must sum to the line."""
    exponent = line.subtotal.as_tuple().exponent
    return max(minor_units(line.currency), -exponent if isinstance(exponent, int) else 0)


def _family(category: str) -> str:
    return category if category.startswith("Azure") else f"Azure {category}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _no_usage(line: CostLine) -> Finding:
    return Finding(
        check="usage.missing",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"cost line {line.key}",
        sentence=(
            f"Microsoft billed {line.subtotal} {line.currency} for {line.name}, "
            "but the daily usage explains none of it."
        ),
        hint="pull the usage of this invoice again; Microsoft may deliver it up to a day late",
    )
