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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from domain.charge import Charge, ChargeType, Reason
from domain.period import BillingCycle, Grid, Period, TermDuration
from domain.problems import Finding, Severity
from domain.subscription import EventType, SubscriptionEvent
from rules.cycles import Method, Side, instalments
from rules.lines import Line, Place, UnitPrice, compute, day_text

WINDOW_DAYS = 7
"""Seats may be given back on days 1 to 7 of their purchase, renewal or addition (168 hours)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceQuestion:
    """Which price is asked for: it is locked on `term_start` and asked for the cycle `full`."""

    subscription_id: str
    customer_id: str
    sku: str
    term: TermDuration | None
    billing_cycle: BillingCycle
    term_start: date
    full: Period
    on: date
    """First day of the service that is priced."""


PriceFor = Callable[[PriceQuestion], UnitPrice | Finding]


@dataclass(slots=True)
class _Lot:
    """Seats that came on one day and may leave together; newest last.

    `opened` starts their window; `priced_on` is the day of the price at which they were charged.
    """

    quantity: int
    opened: date
    priced_on: date


@dataclass(slots=True)
class _Term:
    """The running term. Its own `grid` keeps the purchase day through clamped months."""

    start: date
    end: date | None
    anchor: date
    grid: Grid
    first_type: ChargeType
    sku: str
    duration: TermDuration | None
    billing_cycle: BillingCycle
    is_trial: bool
    lots: list[_Lot]

    @property
    def quantity(self) -> int:
        return sum(lot.quantity for lot in self.lots)

    def paid(self, months: int, day: date) -> Period:
        """Return the months that a price pays for around a day, counted from the term's start."""
        return Grid(months, self.grid.first, self.grid.day).around(day)

    def opened(self, lot: _Lot) -> date:
        """Return the day from which a lot's window counts: its own, or the term's where later."""
        return max(lot.opened, self.start)


@dataclass(slots=True)
class _Cycle:
    """The line that is being walked: what is served of which full period, and what it was charged."""

    term: _Term
    service: Period
    full: Period
    grid: Grid
    left: Decimal = Decimal(0)
    """Charged so far and not given back: no credit takes more."""


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
    walk = _Walk(
        events=history,
        price_for=price_for,
        window=window,
        method=method,
        name=name,
        auto_renew=auto_renew,
        served_from=served_from or date.min,
    )
    walk.run()
    return walk.charges, walk.findings


@dataclass(slots=True, kw_only=True)
class _Walk:
    events: Sequence[SubscriptionEvent]
    price_for: PriceFor
    window: Period
    method: Method
    name: str
    auto_renew: bool
    served_from: date
    charges: list[Charge] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    prices: dict[tuple[str, date, date, date], UnitPrice | None] = field(default_factory=dict)
    lasting: tuple[str, date, date, UnitPrice] | None = None
    """The price that holds on: its product, its term's start, its end and itself."""
    whole: dict[tuple[ChargeType, int, int], Line] = field(default_factory=dict)
    ordinals: dict[str, tuple[date, int]] = field(default_factory=dict)
    next: int = 0

    def run(self) -> None:
        if not self.events:
            return
        first = self.events[0]
        if first.type not in {EventType.PURCHASE, EventType.RENEW, EventType.CONVERT}:
            self._find(first, "history.no_start", "its history does not begin with a purchase")
            return
        term: _Term | None = self._term_from(first, None)
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

    def _run_term(self, term: _Term) -> _Term | None:
        """Walk the lines of one term; return the next term, or None when the history ends."""
        grid = self.method.lines(term.grid)
        n = grid.index_of(term.start)
        start = term.start
        kind = term.first_type
        while start < self.window.end:
            cycle = self._cycle(term, grid, grid.nth(n), start)
            if start >= self.served_from:
                self._charge(cycle, kind, cycle.service, term.quantity, start, slot="cycle")
            elif cycle.service.end > self.served_from:
                rest = Period(self.served_from, cycle.service.end)
                self._charge(cycle, kind, rest, term.quantity, start, slot="cycle")
            while self.next < len(self.events):
                event = self.events[self.next]
                if event.effective >= cycle.service.end or event.type is EventType.RENEW:
                    break
                self.next += 1
                self._roll(cycle, event.effective)
                if self._apply(cycle, event):
                    return None
                if _new_term(event):
                    return self._term_from(event, cycle.term)
            start = cycle.service.end
            self._roll(cycle, start)
            ends = self._term_end(cycle.term)
            if ends is not None and start == ends:
                return self._renewed(cycle.term, ends)
            term = cycle.term
            n += start >= cycle.full.end
            kind = ChargeType.CYCLE
        return None

    def _cycle(self, term: _Term, grid: Grid, full: Period, start: date) -> _Cycle:
        """Return the line that starts on a day: a full period, or what lies within the term."""
        end = full.end
        ends = self._term_end(term)
        if ends is not None and ends < end and not self._flows_on(term, ends, full):
            end = ends
        if grid is not term.grid:
            price = self._price(term, full, start)
            months = self._paid_months(term, price)
            if price is not None and months > grid.months:
                end = min(end, term.paid(months, start).end)
        service = full if start == full.start and end == full.end else Period(start, end)
        return _Cycle(term, service, full, grid)

    def _paid_months(self, term: _Term, price: UnitPrice | None) -> int:
        own = term.billing_cycle.months or 0
        return (price.covers or own) if price is not None and own else own

    def _term_end(self, term: _Term) -> date | None:
        """A renewal that was seen ends the running term, even before its nominal end."""
        seen = self._next_renewal()
        if seen is None or (term.end is not None and term.end < seen):
            return term.end
        return seen

    def _next_renewal(self) -> date | None:
        if self.next >= len(self.events):
            return None
        ahead = self.events[self.next :]
        return next((event.effective for event in ahead if event.type is EventType.RENEW), None)

    def _flows_on(self, term: _Term, ends: date, full: Period) -> bool:
        """Say whether a term renews itself unchanged within a line of the contract's periods.

        The customer's month is then one line; Microsoft's charge cycles always end with the term.
        """
        if self.method.grid is None or not term.grid.months or term.is_trial:
            return False
        seen = self._next_renewal()
        if term.duration is None or seen == ends or (seen is None and not self.auto_renew):
            return False
        before = self._price(term, full, max(full.start, term.start))
        after = self._price(replace(term, start=ends), full, ends)
        if before is None or after is None or before.covers or after.covers:
            return False
        return before.value == after.value

    def _roll(self, cycle: _Cycle, day: date) -> None:
        """Renew a term that flowed on, once its end has come: its windows open anew."""
        while (end := cycle.term.end) is not None and end <= day and end < cycle.service.end:
            renewed = self._renewed(cycle.term, end)
            if renewed is None:  # an unreadable renewal was found and told
                return
            cycle.term = renewed

    def _renewed(self, term: _Term, ends: date) -> _Term | None:
        seen = self._next_renewal()
        if seen == ends:
            while (event := self.events[self.next]).type is not EventType.RENEW:
                self.next += 1
                self._find(event, "history.second_purchase", "it was bought twice")
            self.next += 1
            return self._term_from(event, term)
        # A renewal still ahead shows that the terms before it renewed as well.
        if seen is None and not self.auto_renew:
            return None
        renewal = SubscriptionEvent(
            subscription_id=self.events[0].subscription_id,
            customer_id=self.events[0].customer_id,
            effective=ends,
            type=EventType.RENEW,
        )
        return self._term_from(renewal, term)

    def _term_from(self, event: SubscriptionEvent, before: _Term | None) -> _Term | None:
        duration = event.term or (before.duration if before else None)
        billing_cycle = event.billing_cycle or (before.billing_cycle if before else None)
        quantity = event.quantity
        if quantity is None and before is not None:
            quantity = before.quantity
        if billing_cycle is None or billing_cycle is BillingCycle.ONE_TIME or quantity is None:
            self._find(event, "history.incomplete", "its cycle or quantity is not known")
            return None
        start = event.effective
        anchor, grid = _own_grid(event, before, billing_cycle.months or 0)
        end = event.term_end
        if end is None and duration is not None:
            end = Grid.from_day(anchor, duration.months).nth(0).end
            if grid.months:
                end = Grid(duration.months, _month(start), anchor.day).nth(0).end
        if before is None or (duration, billing_cycle) != (before.duration, before.billing_cycle):
            self.whole.clear()  # its lines tell the term
        if end is not None and end <= start:
            fault = f"its term ends on {end}, before it starts on {start}"
            self._find(event, "history.incomplete", fault)
            return None
        return _Term(
            start=start,
            end=end,
            anchor=anchor,
            grid=grid,
            first_type={
                EventType.PURCHASE: ChargeType.NEW,
                EventType.CONVERT: ChargeType.CONVERT,
            }.get(event.type, ChargeType.RENEW),
            sku=event.sku or (before.sku if before else ""),
            duration=duration,
            billing_cycle=billing_cycle,
            is_trial=event.is_trial,
            lots=[_Lot(quantity, start, start)],
        )

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
                if _new_term(event):
                    return False
                term.sku = event.sku
                quantity = term.quantity if event.quantity is None else event.quantity
                # The new product inherits the window of the old one.
                term.lots = [_Lot(quantity, term.lots[0].opened, rest.start)]
                cycle.left = Decimal(0)
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

    def _allowed(self, term: _Term, event: SubscriptionEvent, fewer: int | None) -> bool:
        """Say whether seats may be given back (None: all of them, for good); else find why not."""
        if not self.method.enforce_windows or term.is_trial or (fewer is not None and fewer <= 0):
            return True
        if fewer is None:
            if _open(term.opened(term.lots[0]), event.effective):
                return True
            self._refuse(event, "cancellation", term.opened(term.lots[0]))
            return False
        loose = sum(lot.quantity for lot in term.lots if _open(term.opened(lot), event.effective))
        if fewer <= loose:
            return True
        self._refuse(event, f"reduction by {fewer}", term.opened(term.lots[-1]), loose)
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
            term.lots.append(_Lot(more, opened, rest.start))
        else:
            taken = _take(term.lots, -more)
            if not pair:
                self._credit(cycle, kind, rest, taken)
        if pair:
            for on, count in self._by_price(cycle, term.lots):
                self._charge(cycle, kind, rest, count, on)

    def _credit(self, cycle: _Cycle, kind: ChargeType, rest: Period, lots: Sequence[_Lot]) -> None:
        """Give seats back at the price at which each lot was charged in this cycle."""
        for on, quantity in self._by_price(cycle, lots):
            self._charge(cycle, kind, rest, -quantity, on)

    def _by_price(self, cycle: _Cycle, lots: Sequence[_Lot]) -> list[tuple[date, int]]:
        """Group lots by the price of this cycle: the day of it, and the seats."""
        priced: dict[date, int] = {}
        for lot in lots:
            on = max(cycle.service.start, lot.priced_on)
            same = next((day for day in priced if self._same_price(cycle, day, on)), on)
            priced[same] = priced.get(same, 0) + lot.quantity
        return list(priced.items())

    def _same_price(self, cycle: _Cycle, day: date, other: date) -> bool:
        if day == other:
            return True
        one, two = (self._price(cycle.term, cycle.full, on) for on in (day, other))
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
        price = self._price(cycle.term, cycle.full, priced_on)
        if price is None or (quantity < 0 and not price.value):
            return  # a credit of nothing (the end of a free trial) tells a customer nothing
        line = self._line(cycle, kind, service, quantity, price)
        if quantity < 0 and self.method.side is Side.SELL:
            line = line.capped(cycle.left)
        cycle.left += line.amount.amount
        start = service.start
        if start not in self.window:
            return
        slot = slot or kind.value
        day, ordinal = self.ordinals.get(slot, (start, -1))
        ordinal = ordinal + 1 if day == start else 0
        self.ordinals[slot] = (start, ordinal)
        first = self.events[0]
        self.charges.append(
            Charge(
                key=f"charge/{first.subscription_id}/{slot}/{day_text(start)}/{ordinal}",
                customer_id=first.customer_id,
                subscription_id=first.subscription_id,
                type=kind,
                name=self.name,
                sku=cycle.term.sku,
                service=service,
                full=cycle.full,
                quantity=line.quantity,
                unit_price=line.unit_price,
                exact=line.exact,
                amount=line.amount,
                unit_cost=price.cost,
                why=line.sentence(service),
                reasons=line.reasons,
            )
        )

    def _line(
        self, cycle: _Cycle, kind: ChargeType, service: Period, quantity: int, price: UnitPrice
    ) -> Line:
        """Compute a line; a whole cycle of the same price and quantity is computed only once."""
        term, full = cycle.term, cycle.full
        months = self._paid_months(term, price)
        split = None
        if months > cycle.grid.months:
            paid = term.paid(months, cycle.service.start)
            split = instalments(paid, cycle.grid, self.method.proration)
        memo = (kind, quantity, full.days)
        known = self.whole.get(memo) if split is None and service is full else None
        if known is not None and known.price is price:
            return known
        line = compute(
            self.method,
            price,
            Place(
                kind=kind,
                service=service,
                full=full,
                grid=cycle.grid,
                term=term.duration,
                billing_cycle=term.billing_cycle,
                split=split,
                # What is given back on the day it came is given back whole.
                returned=quantity < 0
                and service.start > cycle.service.start
                and all(lot.priced_on != service.start for lot in term.lots),
            ),
            quantity,
        )
        if split is None and service is full:
            self.whole[memo] = line
        return line

    def _price(self, term: _Term, full: Period, on: date) -> UnitPrice | None:
        if term.is_trial:
            return _FREE
        lasting = self.lasting
        if (
            lasting is not None
            and lasting[0] == term.sku
            and lasting[1] == term.start
            and on < lasting[2]
        ):
            return lasting[3]
        memo = (term.sku, term.start, full.start, on)
        if memo in self.prices:
            return self.prices[memo]
        answer = self.price_for(
            PriceQuestion(
                subscription_id=self.events[0].subscription_id,
                customer_id=self.events[0].customer_id,
                sku=term.sku,
                term=term.duration,
                billing_cycle=term.billing_cycle,
                term_start=term.start,
                full=full,
                on=on,
            )
        )
        if isinstance(answer, Finding):
            self.findings.append(answer)
            self.prices[memo] = None
            return None
        self.prices[memo] = answer
        if answer.until is not None and on < answer.until:
            self.lasting = (term.sku, term.start, answer.until, answer)
        return answer

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
        hint: str = "read the subscription again and check its change history",
        severity: Severity = Severity.HOLD,
    ) -> None:
        self.findings.append(
            Finding(
                check=check,
                severity=severity,
                customer_id=event.customer_id,
                record=f"subscription {event.subscription_id} {event.effective}",
                sentence=f"Subscription {event.subscription_id}: {fault}.",
                hint=hint,
            )
        )


def _own_grid(event: SubscriptionEvent, before: _Term | None, months: int) -> tuple[date, Grid]:
    """Keep the purchase day for good where the new term starts on its grid; else anchor anew."""
    start = event.effective
    anchor = event.anchor or (before.anchor if before else start)
    on_grid = Grid(1, 0, anchor.day).nth(_month(start)).start == start
    if months and on_grid:
        return anchor, Grid(months, _month(start), anchor.day)
    return start, Grid.from_day(start, months)


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1


def _new_term(event: SubscriptionEvent) -> bool:
    """A conversion that brings its own end starts a term; another goes on in the running one."""
    return event.type is EventType.CONVERT and event.term_end is not None


def _open(opened: date, day: date) -> bool:
    return day < opened + timedelta(days=WINDOW_DAYS)


def _take(lots: list[_Lot], quantity: int) -> list[_Lot]:
    """Take seats from the newest lots first: theirs are the windows that are still open."""
    taken = []
    while quantity > 0:
        lot = lots[-1]
        part = min(lot.quantity, quantity)
        taken.append(replace(lot, quantity=part))
        lot.quantity -= part
        quantity -= part
        if not lot.quantity and len(lots) > 1:
            lots.pop()
    return taken


_FREE = UnitPrice(value=Fraction(0), reasons=(Reason(rule="price.trial"),), until=date.max)
