"""Seats to charges: one ordered history in, one explained charge per cycle and per change out.

The history of a subscription is walked term by term and line by line (`rules.cycles` says where the
lines fall). Each line that starts is a charge for its served days; each change inside it is a
charge or a credit for the days that remain, over the whole cycle. Nothing is rounded before the one
half-up rounding of a line, and no credit takes more than its cycle was charged. Prices are asked
for through a callable, so that the same walk serves a bill, a quote and a forecast.

On the cost side the same walk answers as Microsoft would: a change is a pair (the old total back,
the new total charged), and the prorated unit is rounded before it is multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal

from domain.charge import Charge, ChargeType
from domain.contract import Proration
from domain.period import Grid, Period
from domain.problems import Finding, Severity
from domain.subscription import WINDOW_DAYS, EventType, SubscriptionEvent
from rules.checks import CHECKS
from rules.cycles import Method, Side, instalments
from rules.lines import Charges, Line, UnitPrice, compute
from rules.questions import PriceFor, PriceQuestion, Prices
from rules.terms import FIRST_TYPES, Lot, Term, begin, starts_term

__all__ = ["PriceFor", "PriceQuestion", "rate_history"]


@dataclass(slots=True)
class _Cycle:
    """The line that is being walked: what is served of which full period, and what it was charged."""

    term: Term
    service: Period
    full: Period
    grid: Grid
    left: Decimal = Decimal(0)
    """Charged so far and not given back: no credit takes more."""
    earlier: list[tuple[Period, int, date]] = field(default_factory=list)
    """Charged before the window, and counted only when a credit asks for it."""


def rate_history(
    history: Sequence[SubscriptionEvent],
    *,
    price_for: PriceFor,
    window: Period,
    method: Method,
    name: str,
    auto_renew: bool = True,
    served_from: date | None = None,
) -> tuple[list[Charge], list[Finding]]:
    """Return the charges whose service starts in `window`, and what could not be rated.

    `history` is one subscription's, ordered (`rules.events.order`), and begins with a purchase, a
    renewal or a conversion. `served_from` cuts off what another partner billed before that day.
    """
    if not history:
        return [], []
    findings: list[Finding] = []
    subscription_id, customer_id = history[0].subscription_id, history[0].customer_id
    charges = Charges(subscription_id=subscription_id, customer_id=customer_id, name=name)
    walk = _Walk(
        events=history,
        renewals=_renewals(history),
        prices=Prices(
            subscription_id=subscription_id,
            customer_id=customer_id,
            price_for=price_for,
            findings=findings,
        ),
        window=window,
        method=method,
        auto_renew=auto_renew,
        served_from=served_from or date.min,
        charges=charges,
        findings=findings,
    )
    walk.run()
    return charges.made, findings


def _renewals(events: Sequence[SubscriptionEvent]) -> list[date | None]:
    """Return for each event, and for their end, the day of the next renewal that was seen."""
    days: list[date | None] = [None]
    for event in reversed(events):
        days.append(event.effective if event.type is EventType.RENEW else days[-1])
    days.reverse()
    return days


@dataclass(slots=True, kw_only=True)
class _Walk:
    events: Sequence[SubscriptionEvent]
    renewals: list[date | None]
    prices: Prices
    window: Period
    method: Method
    auto_renew: bool
    served_from: date
    charges: Charges
    findings: list[Finding]
    whole: dict[int, Line] = field(default_factory=dict)
    """The lines of whole cycles of the running term by their quantity: they repeat themselves."""
    next: int = 0

    def run(self) -> None:
        first = self.events[0]
        if first.type not in _STARTS:
            self._find(first, "history.no_start", "its history does not begin with a purchase")
            return
        term: Term | None = self._begin(first, None)
        self.next = 1
        while term is not None and term.start < self.window.end:
            term = self._run_term(term)
        for event in self.events[self.next :]:
            # What ended is suspended and deleted later: that changes nothing.
            late = event.type not in {EventType.SUSPEND, EventType.CANCEL}
            if late and event.effective < self.window.end:
                self._find(
                    event,
                    "history.after_end",
                    f"a {event.type} on {event.effective} comes after the subscription ended",
                )

    # --- terms and cycles ---------------------------------------------------------------------

    def _run_term(self, term: Term) -> Term | None:
        """Walk the lines of one term; return the next term, or None when the history ends."""
        grid = self.method.lines(term.grid)
        start = term.start
        kind = term.first_type
        while start < self.window.end:
            ends = self._term_end(term)
            if start == ends:
                return self._renewed(term, ends)
            cycle = self._whole_cycles(term, grid, start, ends, kind)
            if cycle is None:
                cycle = self._cycle(term, grid, start, ends)
                if cycle.service.end > self.served_from:
                    served = cycle.service
                    if start < self.served_from:
                        served = Period(self.served_from, served.end)
                        kind = FIRST_TYPES.get(self.events[0].type, kind)  # for us it begins here
                    self._charge(cycle, kind, served, term.quantity, start, slot="cycle")
            start = cycle.service.end
            while self.next < len(self.events):
                event = self.events[self.next]
                if event.effective >= start or event.type is EventType.RENEW:
                    break
                self.next += 1
                self._roll(cycle, event.effective)
                if self._apply(cycle, event):
                    return None
                if starts_term(event):
                    return self._begin(event, cycle.term)
            self._roll(cycle, start)
            term = cycle.term
            kind = ChargeType.CYCLE
        return None

    def _whole_cycles(
        self, term: Term, grid: Grid, start: date, ends: date | None, kind: ChargeType
    ) -> _Cycle | None:
        """Charge the whole cycles until something happens in one; return the last of them.

        Most cycles are such. None: what starts here is not whole, or its price may not last.
        """
        n = grid.index_of(start)
        full = grid.nth(n)
        ends = ends or date.max
        if full.start != start or ends < full.end or start < self.served_from < full.end:
            return None
        quiet = self.events[self.next].effective if self.next < len(self.events) else date.max
        if start < self.window.start:
            return self._unseen(term, grid, n, min(quiet, ends)) if grid is term.grid else None
        if start < self.served_from or not term.quantity:
            return None
        price = self.prices.find(term, full, start)
        if price is None or price.until is None or self._is_split(term, grid, price):
            return None
        over = min(self.window.end, price.until)
        whole = [full]
        while full.end <= quiet and full.end < over:
            full = grid.nth(n + len(whole))
            if full.end > ends:
                break
            whole.append(full)
        cycle = _Cycle(term, whole[-1], whole[-1], grid)
        line = self._line(cycle, cycle.full, term.quantity, price, start)
        cycle.left = line.amount.amount
        self.charges.add(line, kind, term.sku, "cycle", whole)
        return cycle

    def _unseen(self, term: Term, grid: Grid, n: int, quiet: date) -> _Cycle:
        """Return the last whole cycle that starts before the window: nobody asks what it costs."""
        full = grid.nth(n)
        while full.end <= quiet and full.end < self.window.start:
            after = grid.nth(n + 1)
            if after.end > quiet or after.start < self.served_from < after.end:
                break  # it is not quiet, or its rest may lie in the window
            full, n = after, n + 1
        cycle = _Cycle(term, full, full, grid)
        if term.quantity:
            cycle.earlier.append((full, term.quantity, full.start))
        return cycle

    def _cycle(self, term: Term, grid: Grid, start: date, ends: date | None) -> _Cycle:
        """Return the line that starts on a day: a full period, or what lies within the term."""
        full = grid.around(start)
        end = full.end
        if ends is not None and ends < end and not self._flows_on(term, ends, full):
            end = ends
        if grid is not term.grid and full.end > self.window.start:
            price = self.prices.find(term, full, start)
            if price is not None and self._is_split(term, grid, price):
                end = min(end, term.paid(self._paid_months(term, price), start).end)
        service = full if start == full.start and end == full.end else Period(start, end)
        return _Cycle(term, service, full, grid)

    def _is_split(self, term: Term, grid: Grid, price: UnitPrice) -> bool:
        """Say whether a price pays for several lines."""
        return self._paid_months(term, price) > grid.months

    def _paid_months(self, term: Term, price: UnitPrice) -> int:
        """Return the months that a price pays for; 0 for weeks."""
        own = term.grid.months
        return price.covers or own if own else own

    def _term_end(self, term: Term) -> date | None:
        """A renewal that was seen ends the running term, even before its nominal end."""
        seen = self.renewals[self.next]
        if seen is None or (term.end is not None and term.end < seen):
            return term.end
        return seen

    def _flows_on(self, term: Term, ends: date, full: Period) -> bool:
        """Say whether a term renews itself unchanged within a line.

        The customer's month is then one line, and so is a week that keeps its day; Microsoft's
        charge cycles end with the term.
        """
        weeks = self.method.keeps_day and not term.grid.months
        lines_go_on = self.method.grid is not None or weeks
        if not lines_go_on or term.is_trial or full.end <= self.window.start:
            return False
        seen = self.renewals[self.next]
        renews = self.auto_renew if seen is None else seen >= full.end  # a seen one cuts the line
        if term.duration is None or not renews:
            return False
        before = self.prices.find(term, full, max(full.start, term.start))
        after = self.prices.find(replace(term, start=ends), full, ends)
        if before is None or after is None or before.covers or after.covers:
            return False
        return before.value == after.value

    def _roll(self, cycle: _Cycle, day: date) -> None:
        """Renew a term that flowed on, once its end has come: its windows open anew."""
        while (end := cycle.term.end) is not None and end <= day and end < cycle.service.end:
            cycle.term = cycle.term.renewed(end, keeps_day=self.method.keeps_day)

    def _renewed(self, term: Term, ends: date) -> Term | None:
        seen = self.renewals[self.next]
        if seen == ends:
            while (event := self.events[self.next]).type is not EventType.RENEW:
                self.next += 1
                self._find(event, "history.second_purchase", "it was bought twice")
            self.next += 1
            return self._begin(event, term)
        # A renewal still ahead shows that the terms before it renewed as well.
        if seen is None and not self.auto_renew:
            return None
        return term.renewed(ends, keeps_day=self.method.keeps_day)

    def _begin(self, event: SubscriptionEvent, before: Term | None) -> Term | None:
        term = begin(event, before, keeps_day=self.method.keeps_day)
        if isinstance(term, str):
            self._find(event, "history.incomplete", term)
            return None
        self.whole.clear()  # its lines tell the term
        return term

    # --- events inside a cycle ----------------------------------------------------------------

    def _apply(self, cycle: _Cycle, event: SubscriptionEvent) -> bool:
        """Act on one event inside a cycle; True when the subscription is over."""
        term = cycle.term
        day = max(event.effective, cycle.service.start, self.served_from)
        rest = Period(day, max(day, cycle.service.end))
        match event.type:
            case EventType.SET_QUANTITY:
                quantity = term.quantity if event.quantity is None else event.quantity
                if self._allowed(term, event, term.quantity - quantity):
                    self._change(cycle, rest, quantity, event.effective)
            case EventType.CONVERT if not event.sku:
                quantity = event.quantity or 0
                self._change(cycle, rest, quantity, event.effective, ChargeType.CONVERT)
            case EventType.CONVERT:
                self._credit(cycle, ChargeType.CONVERT, rest, term.lots)
                if starts_term(event):
                    return False
                term.sku = event.sku
                quantity = term.quantity if event.quantity is None else event.quantity
                # The new product inherits the windows of the old one.
                term.lots = [replace(lot, priced_on=rest.start) for lot in term.lots]
                if quantity > term.quantity:
                    term.lots.append(Lot(quantity - term.quantity, event.effective, rest.start))
                term.give_back(term.quantity - quantity)
                cycle.left = Decimal(0)
                cycle.earlier.clear()
                self._charge(cycle, ChargeType.CONVERT, rest, quantity, rest.start)
            case EventType.CANCEL:
                if not self._allowed(term, event, None):
                    return False
                self._credit(cycle, ChargeType.CANCEL, rest, term.lots)
                return True
            case EventType.TRANSFER:
                self._credit(cycle, ChargeType.TRANSFER, rest, term.lots)
                return True
            case EventType.PURCHASE:
                self._find(event, "history.second_purchase", "it was bought twice")
            case EventType.SUSPEND | EventType.RESUME | EventType.RENEW:
                pass  # a suspended subscription keeps billing; renewals end terms
        return False

    def _allowed(self, term: Term, event: SubscriptionEvent, fewer: int | None) -> bool:
        """Say whether seats may be given back (None: all of them, for good); else find why not."""
        if not self.method.enforce_windows or term.is_trial or (fewer is not None and fewer <= 0):
            return True
        if fewer is None:
            if term.lots[0].is_open(event.effective):
                return True
            self._refuse(event, "cancellation", term.lots[0].opened)
            return False
        loose = term.loose(event.effective)
        if fewer <= loose:
            return True
        self._refuse(event, f"reduction by {fewer}", term.lots[-1].opened, loose)
        return False

    def _change(
        self,
        cycle: _Cycle,
        rest: Period,
        quantity: int,
        opened: date,
        kind: ChargeType | None = None,
    ) -> None:
        """Come to a new total: charge or give back the difference; as Microsoft, the two totals."""
        term = cycle.term
        more = quantity - term.quantity
        if not more:
            return
        kind = kind or (ChargeType.ADD_QUANTITY if more > 0 else ChargeType.REMOVE_QUANTITY)
        pair = self.method.side is Side.COST
        if pair:
            self._credit(cycle, kind, rest, term.lots)
        if more > 0:
            if not pair:
                self._charge(cycle, kind, rest, more, rest.start)
            term.lots.append(Lot(more, opened, rest.start))
        else:
            taken = term.give_back(-more)
            if not pair:
                self._credit(cycle, kind, rest, taken)
        if pair:
            for on, count in self._by_price(cycle, term.lots, rest.start):
                self._charge(cycle, kind, rest, count, on)

    def _credit(self, cycle: _Cycle, kind: ChargeType, rest: Period, lots: Sequence[Lot]) -> None:
        """Give seats back at the price at which each lot was charged in this cycle."""
        for on, quantity in self._by_price(cycle, lots, rest.start):
            self._charge(cycle, kind, rest, -quantity, on)

    def _by_price(self, cycle: _Cycle, lots: Sequence[Lot], today: date) -> list[tuple[date, int]]:
        """Group lots by the price of this cycle: the day of it, and the seats."""
        priced: dict[date, int] = {}
        for lot in lots:
            on = max(cycle.service.start, lot.priced_on)
            same = next((day for day in priced if self._same_price(cycle, day, on, today)), on)
            priced[same] = priced.get(same, 0) + lot.quantity
        return list(priced.items())

    def _same_price(self, cycle: _Cycle, day: date, other: date, today: date) -> bool:
        if day == other:
            return True
        if self.method.proration is Proration.MONTHS and today in {day, other}:
            return False  # what came today has begun no month
        one, two = (self.prices.find(cycle.term, cycle.full, on) for on in (day, other))
        return one is not None and two is not None and one.value == two.value

    # --- lines --------------------------------------------------------------------------------

    def _charge(  # noqa: PLR0917 - where, why, what for, how many, at which price
        self,
        cycle: _Cycle,
        kind: ChargeType,
        service: Period,
        quantity: int,
        priced_on: date,
        slot: str = "",
    ) -> None:
        if not quantity or service.start >= service.end:
            return
        if service.start < self.window.start:
            cycle.earlier.append((service, quantity, priced_on))
            return
        price = self.prices.find(cycle.term, cycle.full, priced_on)
        if price is None or (quantity < 0 and not price.value):
            return  # a credit of nothing (the end of a free trial) tells a customer nothing
        if quantity < 0:
            self._catch_up(cycle)
        line = self._line(cycle, service, quantity, price, priced_on)
        if quantity < 0 and self.method.side is Side.SELL:
            line = line.capped(cycle.left)
        cycle.left += line.amount.amount
        if service.start in self.window:
            self.charges.add(line, kind, cycle.term.sku, slot or kind.value, [service], cycle.full)

    def _catch_up(self, cycle: _Cycle) -> None:
        """Count what the cycle was charged before the window: a credit may answer it."""
        for service, quantity, priced_on in cycle.earlier:
            price = self.prices.find(cycle.term, cycle.full, priced_on)
            if price is not None:
                cycle.left += self._line(cycle, service, quantity, price, priced_on).amount.amount
        cycle.earlier.clear()

    def _line(
        self, cycle: _Cycle, service: Period, quantity: int, price: UnitPrice, priced_on: date
    ) -> Line:
        """Compute a line; a whole cycle of the same price and quantity is computed only once."""
        term, grid = cycle.term, cycle.grid
        split = None
        if self._is_split(term, grid, price):
            paid = term.paid(self._paid_months(term, price), cycle.service.start)
            split = instalments(paid, grid, self.method.proration)
        is_whole = split is None and service is cycle.full
        if is_whole:
            known = self.whole.get(quantity)
            if known is not None and known.price is price:
                return known
        line = compute(
            self.method,
            price,
            quantity,
            service=service,
            full=cycle.full,
            grid=grid,
            term=term.duration,
            billing_cycle=term.billing_cycle,
            split=split,
            # What is given back on the day it came is given back whole.
            returned=quantity < 0 and max(cycle.service.start, priced_on) < service.start,
        )
        if is_whole:
            self.whole[quantity] = line
        return line

    # --- findings -----------------------------------------------------------------------------

    def _refuse(self, event: SubscriptionEvent, what: str, opened: date, loose: int = 0) -> None:
        last = opened + timedelta(days=WINDOW_DAYS - 1)
        why = (
            f"only {loose} {'seat' if loose == 1 else 'seats'} can still be given back"
            if loose
            else f"the last day for it was {last}"
        )
        self._find(
            event,
            "window.closed",
            f"a {what} on {event.effective} was refused: {why}",
            hint="schedule the change for the renewal, or set contract.reductions to any",
            severity=Severity.WARN,
        )

    def _find(
        self,
        event: SubscriptionEvent,
        check: str,
        fault: str,
        *,
        hint: str = "",
        severity: Severity = Severity.HOLD,
    ) -> None:
        self.findings.append(
            Finding(
                check=check,
                severity=severity,
                customer_id=event.customer_id,
                record=f"subscription {event.subscription_id} {event.effective}",
                sentence=f"Subscription {event.subscription_id}: {fault}.",
                hint=hint or CHECKS[check].to_do,
            )
        )


_STARTS = {EventType.PURCHASE, EventType.RENEW, EventType.CONVERT}
