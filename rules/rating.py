"""From what happened and what Microsoft billed to what one customer is asked for.

Seats are rated from their history (`rules.proration`), at prices that come from Microsoft's lines
and the price book; everything else is imported from Microsoft's invoice (`rules.passed_on`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.charge import Charge, Reason
from domain.contract import Alignment, BillingContract
from domain.money import round_half_up
from domain.period import Grid, Period
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
from rules.grouping import Billed
from rules.lines import UnitPrice
from rules.passed_on import rate_lines
from rules.pricing import PriceBook, Priced
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
    billed: Billed | None = None,
) -> Rated:
    """Propose every charge whose service starts in `window`, for one customer.

    `told` are the stored events, `cost_lines` all stored lines of the customer. Excluded products
    make no charge; that they are excluded is told by the reconciliation. The end of each history
    is compared with what Partner Center shows `today`. `billed` is how usage was grouped so far.
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
            price_for=_LicencePrices(subscription, lines, book, contract),
            window=window,
            method=method,
            name=subscription.name,
            auto_renew=subscription.auto_renew,
            served_from=events.served_from(lines),
        )
        # A conversion changes the name as well: the old product's charges keep theirs.
        names = {line.sku: line.name for line in lines if line.sku != subscription.sku}
        found = [replace(charge, name=names.get(charge.sku, charge.name)) for charge in found]
        if subscription.status in _ENDED:
            # When it ended is told by Microsoft's lines alone: what they do not bill was not served.
            charged = {line.charged for line in lines}
            found = [charge for charge in found if charge.service in charged]
        charges.extend(found)
        findings.extend(faults)

    in_window = [
        line
        for line in cost_lines
        if (day := line.falls_on) and day in window and line.sku not in contract.excluded_skus
    ]
    findings.extend(
        _unknown_subscription(line)
        for line in in_window
        if line.kind is CostKind.LICENCE and line.subscription_id not in known
    )
    found, faults = rate_lines(
        in_window, contract=contract, book=book, window=window, billed=billed
    )
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
        contract: BillingContract,
    ) -> None:
        self.subscription = subscription
        self.lines = [line for line in lines if line.kind is CostKind.LICENCE and line.charged]
        self.book = book
        self.contract = contract

    def __call__(self, question: PriceQuestion) -> UnitPrice | Finding:
        line, cost = self.unit_cost(question)
        if self.is_trial(question, line):
            told = Reason(rule="price.trial", inputs={"term_start": str(question.term_start)})
            return UnitPrice(value=Fraction(0), cost=cost, reasons=(told,))
        answer = self.book.price(
            Priced(
                customer_id=question.customer_id,
                record=f"subscription {question.subscription_id}",
                kind=self.subscription.priced_as,
                general_kind=CostKind.LICENCE.value,
                sku=question.sku,
                on=question.term_start,
                currency=self.contract.currency,
                service=max(question.full.start, question.term_start),
                term=question.term,
                billing_cycle=question.billing_cycle,
                cost=cost,
                cost_currency=line.currency if line else "",
                is_free=line is not None and not line.unit_price and not cost,
            )
        )
        if isinstance(answer, UnitPrice) and self.lines:
            return replace(answer, until=None)  # the cost of another cycle may be another
        return answer

    def is_trial(self, question: PriceQuestion, line: CostLine | None) -> bool:
        """Say whether the term is a free trial: Partner Center shows it, or its line names it."""
        shown = self.subscription.is_trial and question.term_start == self.subscription.start
        named = line is not None and "trial" in line.term_and_billing_cycle.lower()
        return shown or (named and line is not None and not line.subtotal)

    def charge_cycle(self, question: PriceQuestion) -> Period:
        """Return the cycle by which Microsoft bills the day, whatever periods our lines follow."""
        months, term_start = question.billing_cycle.months, question.term_start
        if self.contract.alignment is Alignment.CHARGE_CYCLE or not months:
            return question.full
        month = term_start.year * 12 + term_start.month - 1
        kept = Grid(months, month, self.subscription.created.day)
        own = kept if kept.nth(0).start == term_start else Grid.from_day(term_start, months)
        return own.around(question.on)

    def unit_cost(self, question: PriceQuestion) -> tuple[CostLine | None, Decimal | None]:
        """Return what one unit cost for the full cycle, and the line that says so.

        It is told by this cycle's lines, else by the term's. Seats are priced by a line of the day
        on which they came, or else by the cycle's own.
        """
        full = self.charge_cycle(question)
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
            return line, full_cycle_cost(line, full, whole)
        in_term = [(c.start, line.key, line) for line, c in known if _same_term(line, full)]
        if not in_term:
            return None, None
        line = max(in_term)[-1]
        return line, _listed(line)


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
