"""Seats to charges: one ordered history in, one explained charge per cycle and per change out.

The history of a subscription is walked term by term and charge cycle by charge cycle. Each cycle
that starts is a charge for its served days; each change inside it is a charge or a credit for the
days that remain, over the days of the whole cycle. Nothing is rounded before the one half-up
rounding of a line. Prices are asked for through a callable, once per charge, so that the same walk
serves a quote, a bill and a forecast.

Limits: charges follow Microsoft's charge cycle and actual days.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from domain.charge import Charge, ChargeType, Reason
from domain.money import Money, plain, round_half_up
from domain.period import BillingCycle, Period, TermDuration, add_months
from domain.problems import Finding, Severity
from domain.subscription import EventType, SubscriptionEvent

WINDOW_DAYS = 7
"""Seats may be given back on days 1 to 7 of their purchase, renewal or addition (168 hours)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPrice:
    """The price of one unit for one full cycle, exact, with what it was made from."""

    value: Fraction
    reasons: tuple[Reason, ...]
    cost: Decimal | None = None


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
    cycle_index: int
    """0 for the first cycle of the term: instalments of an annual price differ by a cent."""
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


@dataclass(frozen=True, slots=True)
class _Line:
    """Where a line stands: what is served of which cycle, and on which day it was priced."""

    kind: ChargeType
    service: Period
    full: Period
    cycle_index: int
    priced_on: date


@dataclass(slots=True)
class _Term:
    """The running term. `anchor` and `offset` keep the purchase day through clamped months."""

    start: date
    end: date | None
    anchor: date
    offset: int
    first_type: ChargeType
    sku: str
    duration: TermDuration | None
    billing_cycle: BillingCycle
    lots: list[_Lot]

    @property
    def quantity(self) -> int:
        return sum(lot.quantity for lot in self.lots)

    def cycle(self, n: int) -> Period:
        months = self.billing_cycle.months
        if months is None:
            return Period(
                self.billing_cycle.nth(self.start, n), self.billing_cycle.nth(self.start, n + 1)
            )
        return Period(
            add_months(self.anchor, self.offset + n * months),
            add_months(self.anchor, self.offset + (n + 1) * months),
        )


def rate_history(
    history: Sequence[SubscriptionEvent],
    *,
    price_for: PriceFor,
    window: Period,
    currency: str,
    name: str,
    auto_renew: bool = True,
    enforce_windows: bool = False,
) -> tuple[list[Charge], list[Finding]]:
    """Return the charges whose service starts in `window`, and what could not be rated.

    `history` is one subscription's, ordered (`rules.events.order`), and begins with a purchase or a
    renewal. `enforce_windows` refuses reductions and cancellations after seven days, each with a
    finding; it is off where Microsoft has already accepted them.
    """
    walk = _Walk(
        events=history,
        price_for=price_for,
        window=window,
        currency=currency,
        name=name,
        auto_renew=auto_renew,
        enforce_windows=enforce_windows,
    )
    walk.run()
    return walk.charges, walk.findings


@dataclass(slots=True, kw_only=True)
class _Walk:
    events: Sequence[SubscriptionEvent]
    price_for: PriceFor
    window: Period
    currency: str
    name: str
    auto_renew: bool
    enforce_windows: bool
    charges: list[Charge] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    prices: dict[tuple[str, date, date], UnitPrice | None] = field(default_factory=dict)
    ordinals: dict[tuple[str, date], int] = field(default_factory=dict)
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

    def _run_term(self, term: _Term) -> _Term | None:
        """Walk the cycles of one term; return the next term, or None when the history ends."""
        n = 0
        while True:
            cycle = term.cycle(n)
            if cycle.start >= self.window.end:
                return None
            ends = self._term_end(term)
            served = Period(cycle.start, min(cycle.end, ends) if ends else cycle.end)
            kind = term.first_type if n == 0 else ChargeType.CYCLE
            self._emit(
                _Line(kind, served, cycle, n, cycle.start), term, term.quantity, slot="cycle"
            )
            while self.next < len(self.events):
                event = self.events[self.next]
                if event.effective >= served.end or event.type is EventType.RENEW:
                    break
                self.next += 1
                if self._apply(term, n, event, served, cycle):
                    return None
                if _new_term(event):
                    return self._term_from(event, term)
            if ends is not None and served.end >= ends:
                return self._renewed(term, ends)
            n += 1

    def _term_end(self, term: _Term) -> date | None:
        """A renewal that was seen ends the running term, even before its nominal end."""
        seen = self._next_renewal()
        return min((day for day in (seen, term.end) if day is not None), default=None)

    def _next_renewal(self) -> date | None:
        ahead = self.events[self.next :]
        return next((event.effective for event in ahead if event.type is EventType.RENEW), None)

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
        if billing_cycle in {None, BillingCycle.ONE_TIME} or quantity is None:
            self._find(event, "history.incomplete", "its cycle or quantity is not known")
            return None
        anchor, offset = _anchor(event, before)
        end = event.term_end
        if end is None and duration is not None:
            end = add_months(anchor, offset + duration.months)
        if end is not None and end <= event.effective:
            fault = f"its term ends on {end}, before it starts on {event.effective}"
            self._find(event, "history.incomplete", fault)
            return None
        return _Term(
            start=event.effective,
            end=end,
            anchor=anchor,
            offset=offset,
            first_type={
                EventType.PURCHASE: ChargeType.NEW,
                EventType.CONVERT: ChargeType.CONVERT,
            }.get(event.type, ChargeType.RENEW),
            sku=event.sku or (before.sku if before else ""),
            duration=duration,
            billing_cycle=billing_cycle,
            lots=[_Lot(quantity, event.effective, event.effective)],
        )

    def _apply(
        self, term: _Term, n: int, event: SubscriptionEvent, served: Period, cycle: Period
    ) -> bool:
        """Act on one event inside a cycle; True when the subscription is over."""
        rest = Period(max(event.effective, served.start), served.end)
        match event.type:
            case EventType.SET_QUANTITY:
                self._set_quantity(term, n, event, rest, cycle)
            case EventType.CONVERT:
                self._credit(ChargeType.CONVERT, term, n, rest, cycle, term.lots)
                if _new_term(event):
                    return False
                term.sku = event.sku or term.sku
                quantity = term.quantity if event.quantity is None else event.quantity
                # The new product inherits the window of the old one.
                term.lots = [_Lot(quantity, term.lots[0].opened, rest.start)]
                self._emit(
                    _Line(ChargeType.CONVERT, rest, cycle, n, rest.start), term, term.quantity
                )
            case EventType.CANCEL:
                opened = term.start
                if self.enforce_windows and not _open(opened, event.effective):
                    self._refuse(event, "cancellation", opened)
                    return False
                self._credit(ChargeType.CANCEL, term, n, rest, cycle, term.lots)
                return True
            case EventType.PURCHASE:
                self._find(event, "history.second_purchase", "it was bought twice")
            case EventType.SUSPEND | EventType.RESUME | EventType.RENEW:
                pass  # a suspended subscription keeps billing; renewals end terms
        return False

    def _set_quantity(
        self, term: _Term, n: int, event: SubscriptionEvent, rest: Period, cycle: Period
    ) -> None:
        quantity = event.quantity if event.quantity is not None else term.quantity
        change = quantity - term.quantity
        if change > 0:
            self._emit(_Line(ChargeType.ADD_QUANTITY, rest, cycle, n, rest.start), term, change)
            term.lots.append(_Lot(change, event.effective, rest.start))
        elif change < 0:
            if self.enforce_windows:
                loose = sum(lot.quantity for lot in term.lots if _open(lot.opened, event.effective))
                if -change > loose:
                    self._refuse(event, f"reduction by {-change}", term.lots[-1].opened, loose)
                    return
            taken = _take(term.lots, -change)
            self._credit(ChargeType.REMOVE_QUANTITY, term, n, rest, cycle, taken)

    def _credit(  # noqa: PLR0917 - the place in the history is five things
        self,
        kind: ChargeType,
        term: _Term,
        n: int,
        rest: Period,
        cycle: Period,
        lots: Sequence[_Lot],
    ) -> None:
        """Give seats back at the price at which each lot was charged in this cycle."""
        priced: dict[date, int] = {}
        for lot in lots:
            on = max(cycle.start, lot.priced_on)
            same = next((day for day in priced if self._same_price(term, n, cycle, day, on)), on)
            priced[same] = priced.get(same, 0) + lot.quantity
        for on, quantity in priced.items():
            self._emit(_Line(kind, rest, cycle, n, on), term, -quantity)

    def _same_price(self, term: _Term, n: int, cycle: Period, day: date, other: date) -> bool:
        one, two = self._price(term, n, cycle, day), self._price(term, n, cycle, other)
        return one is not None and two is not None and one.value == two.value

    def _emit(self, line: _Line, term: _Term, quantity: int, slot: str = "") -> None:
        kind, service, full = line.kind, line.service, line.full
        if service.start not in self.window or not service.days or not quantity:
            return
        price = self._price(term, line.cycle_index, full, line.priced_on)
        if price is None or (quantity < 0 and not price.value):
            return  # a credit of nothing (the end of a free trial) tells a customer nothing
        first = self.events[0]
        share = Fraction(service.days, full.days)
        exact = quantity * price.value * share
        slot = slot or kind.value
        ordinal = self.ordinals.get((slot, service.start), 0)
        self.ordinals[slot, service.start] = ordinal + 1
        amount = Money.rounded(exact, self.currency)
        self.charges.append(
            Charge(
                key=f"charge/{first.subscription_id}/{slot}/{service.start}/{ordinal}",
                customer_id=first.customer_id,
                subscription_id=first.subscription_id,
                type=kind,
                name=self.name,
                sku=term.sku,
                service=service,
                full=full,
                quantity=Decimal(quantity),
                unit_price=round_half_up(price.value, 10),
                exact=exact,
                amount=amount,
                unit_cost=price.cost,
                why=_sentence(line, quantity, price.value, amount),
                reasons=(
                    *price.reasons,
                    Reason(
                        rule="proration.days",
                        inputs={
                            "quantity": str(quantity),
                            "unit_price": plain(price.value),
                            "days": str(service.days),
                            "cycle_days": str(full.days),
                            "cycle": str(full),
                        },
                    ),
                    Reason(
                        rule="rounding.half_up",
                        inputs={"exact": plain(exact), "amount": str(amount.amount)},
                    ),
                ),
            )
        )

    def _price(self, term: _Term, n: int, full: Period, on: date) -> UnitPrice | None:
        memo = (term.sku, full.start, on)
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
                cycle_index=n,
                on=on,
            )
        )
        if isinstance(answer, Finding):
            self.findings.append(answer)
            self.prices[memo] = None
            return None
        self.prices[memo] = answer
        return answer

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


def _anchor(event: SubscriptionEvent, before: _Term | None) -> tuple[date, int]:
    """Keep the purchase day for good where the new term starts on its grid; else anchor anew."""
    start = event.effective
    day = event.anchor or (before.anchor if before else start)
    months = (start.year - day.year) * 12 + start.month - day.month
    return (day, months) if add_months(day, months) == start else (start, 0)


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


_VERB = {
    ChargeType.NEW: "bought",
    ChargeType.CYCLE: "running",
    ChargeType.RENEW: "renewed",
    ChargeType.ADD_QUANTITY: "added",
    ChargeType.REMOVE_QUANTITY: "given back",
    ChargeType.CANCEL: "cancelled",
    ChargeType.CONVERT: "converted",
}


def _sentence(line: _Line, quantity: int, price: Fraction, amount: Money) -> str:
    """One line that a customer can recompute with a pocket calculator."""
    service, full = line.service, line.full
    part = "" if service == full else f" × {service.days}/{full.days} days"
    cycle = "" if service == full else f" of the cycle {full}"
    return (
        f"{quantity} {_VERB[line.kind]} × {plain(price)} {amount.currency}{part} "
        f"({service}{cycle}) = {amount.amount:f} {amount.currency}"
    )
