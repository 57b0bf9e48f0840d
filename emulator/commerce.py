"""Microsoft's new commerce engine for seats: a purchase history goes in, state and charges come out.

A subscription is its purchase and the changes made to it; nothing else is stored. ``replay`` runs
the history up to an instant, turns charge cycles and renews terms at 00:00 UTC, opens and closes
the windows of seven days, and writes a charge for each billing event. What Microsoft would refuse
raises CommerceError and leaves the history as it was. Partial upgrades, transfers and billing
frequency changes in mid-term are outside this engine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from emulator.catalogue import Price, Product, extended, find_price
from emulator.history import (
    UNIT_PLACES,
    Change,
    Charge,
    CommerceError,
    Lot,
    NextTerm,
    Order,
    Purchase,
    Refusal,
    State,
    prorate,
)
from emulator.terms import PLAN_MONTHS, TERM_MONTHS, Span, add_months, midnight

WINDOW = timedelta(hours=168)
MOST_SEATS = 10_000
MOST_UPDATES = 1_200
EXTENDS_IF_BOUGHT_FROM = date(2025, 4, 1)
EXTENDS_FROM = date(2026, 5, 4)


@dataclass(slots=True)
class Replay:
    """The outcome of running a history up to an instant."""

    state: State
    charges: list[Charge]
    orders: list[Order]


@dataclass(slots=True, kw_only=True)
class Subscription:
    """An identity and its history. ``identify`` makes deterministic ids from a readable name."""

    id: str
    customer_id: str
    purchase: Purchase
    identify: Callable[[str], str]
    # An add-on hangs on the subscription that it extends.
    parent_id: str = ""
    changes: list[Change] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def change(self, change: Change) -> None:
        """Record a change; a refused one is remembered as such and raises CommerceError."""
        earlier = [known for known in self.changes if known.at <= change.at]
        later = [known for known in self.changes if known.at > change.at]
        try:
            self._run([*earlier, change], change.at)
        except CommerceError as error:
            self.refusals.append(Refusal(change=change, error=error))
            raise
        self.changes = [*earlier, change]
        # The clock may have been set back: what was done later stays if it still holds.
        with suppress(CommerceError):
            self._run([*earlier, change, *later], later[-1].at if later else change.at)
            self.changes += later

    def replay(self, until: datetime) -> Replay | None:
        """State, charges and orders as of an instant; None before the purchase."""
        if until < self.purchase.at:
            return None
        return self._run([change for change in self.changes if change.at <= until], until)

    def before(self, change: Change) -> State:
        """The state that a change met: same instant, without it and what came after."""
        changes = self.changes
        position = changes.index(change) if change in changes else len(changes)
        known = [earlier for earlier in changes[:position] if earlier.at <= change.at]
        return self._run(known, change.at).state

    def after(self, change: Change) -> State:
        """The state that a change left behind."""
        position = self.changes.index(change)
        return self._run(self.changes[: position + 1], change.at).state

    def _run(self, changes: list[Change], until: datetime) -> Replay:
        run = _Run(self)
        for change in changes:
            run.advance(change.at)
            run.apply(change)
        run.advance(until)
        return Replay(run.state, run.charges, run.orders)


class _Run:
    """One pass over a history."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.purchase = subscription.purchase
        self.charges: list[Charge] = []
        self.orders: list[Order] = []
        bought = self.purchase
        price = self._price(bought.product, bought.term, bought.plan, bought.at.date())
        self.state = State(
            product=bought.product,
            term=bought.term,
            plan=bought.plan,
            quantity=bought.quantity,
            price=price,
            unit_price=_cycle_price(price),
            term_span=Span(start=bought.at.date(), end=bought.at.date()),
            anchor=bought.at.date(),
            offset=0,
            cycle=Span(start=bought.at.date(), end=bought.at.date()),
            full_cycle=Span(start=bought.at.date(), end=bought.at.date()),
            status="active",
            auto_renew=bought.auto_renew,
            friendly_name=bought.friendly_name,
            partner_id=bought.partner_id,
            promotion=bought.promotion,
            next_term=None,
            order_id="",
            lots=[],
        )
        self._start_term("New", bought.at, bought.custom_end)
        self._charge_cycle("new", bought.at)

    # -- time ---------------------------------------------------------------------------------

    def advance(self, until: datetime) -> None:
        """Turn cycles and renew terms up to and including an instant."""
        state = self.state
        while state.status in {"active", "suspended"} and midnight(state.cycle.end) <= until:
            turn = midnight(state.cycle.end)
            if state.cycle.end < state.term_span.end:
                state.offset += PLAN_MONTHS[state.plan]
                self._set_cycle()
                self._charge_cycle("cycleCharge", turn)
            elif state.auto_renew:
                self._renew(turn, None)
            elif self.purchase.extends and self._may_extend():
                self._renew(
                    turn, state.product if state.product.premium else extended(state.product)
                )
            else:
                state.status = "expired"
                state.lots = []

    def _may_extend(self) -> bool:
        span = self.state.term_span
        return span.start >= EXTENDS_IF_BOUGHT_FROM and span.end >= EXTENDS_FROM

    def _renew(self, turn: datetime, extension: Product | None) -> None:
        """Start the next term: as it was, as scheduled, or a month of extended service."""
        state, wish = self.state, self.state.next_term
        if state.term_span.end == state.full_cycle.end:
            state.offset += PLAN_MONTHS[state.plan]
        else:
            # A co-terminated term ended inside a cycle: the next one has an anchor of its own.
            state.anchor, state.offset = turn.date(), 0
        custom_end = None
        if wish is not None:
            state.product, state.term, state.plan = wish.product, wish.term, wish.plan
            state.quantity, custom_end, state.next_term = wish.quantity, wish.custom_end, None
        if extension is not None:
            state.product, state.term, state.plan = extension, "P1M", "monthly"
            state.promotion = None
        self._set_price(turn.date())
        self._start_term("Renew", turn, custom_end)
        self._charge_cycle("renew", turn)

    def _start_term(self, transaction: str, at: datetime, custom_end: date | None) -> None:
        state = self.state
        start = add_months(state.anchor, state.offset)
        end = add_months(state.anchor, state.offset + TERM_MONTHS[state.term])
        if custom_end is not None:
            # The wire gives the last included day.
            end = custom_end + timedelta(days=1)
        state.term_span = Span(start=start, end=end)
        self._set_cycle()
        # Extended service may be left at any time, a term only in its first seven days.
        until = midnight(end) if state.product.premium else at + WINDOW
        state.lots = [Lot(state.quantity, until, whole=True)]
        self._order(transaction, at)

    def _set_cycle(self) -> None:
        state = self.state
        start = add_months(state.anchor, state.offset)
        end = add_months(state.anchor, state.offset + PLAN_MONTHS[state.plan])
        state.full_cycle = Span(start=start, end=end)
        state.cycle = Span(start=start, end=min(end, state.term_span.end))
        if state.promotion is not None and state.promotion.until <= start:
            state.promotion = None

    # -- changes ------------------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """Act on a change as Microsoft would, or raise CommerceError."""
        state = self.state
        if state.status in {"deleted", "expired"}:
            raise CommerceError(400, "2011", "The subscription has been deleted or has expired.")
        if state.updates >= MOST_UPDATES:
            raise CommerceError(400, "900311", "Too many updates on this subscription.")
        if change.convert_to is not None:
            self._convert(change, change.convert_to)
        elif change.status == "deleted":
            self._cancel(change.at)
        elif change.quantity is not None and change.quantity != state.quantity:
            self._set_quantity(change.at, change.quantity)
        if change.status in {"active", "suspended"}:
            # A suspended subscription goes on being billed.
            state.status = change.status
        if change.auto_renew is not None:
            state.auto_renew = change.auto_renew
        if change.clear_next_term or not state.auto_renew:
            state.next_term = None
        if change.next_term is not None:
            if not state.auto_renew:
                raise CommerceError(
                    400, "3000", "Scheduled changes need autoRenewEnabled to be true."
                )
            self._check_next_term(change.next_term)
            state.next_term = change.next_term
        if change.friendly_name is not None:
            state.friendly_name = change.friendly_name
        if change.partner_id is not None:
            state.partner_id = change.partner_id
        state.updates += 1

    def _check_next_term(self, wish: NextTerm) -> None:
        if not 1 <= wish.quantity <= MOST_SEATS:
            raise CommerceError(400, "2002", "The quantity is out of range.")
        start = self.state.term_span.end
        self._price(wish.product, wish.term, wish.plan, start)
        if wish.custom_end is not None and wish.custom_end < start:
            raise CommerceError(400, "3000", "customTermEndDate lies before the next term.")

    def _set_quantity(self, at: datetime, quantity: int) -> None:
        state = self.state
        if state.status == "suspended":
            raise CommerceError(400, "800091", "A suspended subscription cannot change quantity.")
        if not 1 <= quantity <= MOST_SEATS:
            raise CommerceError(400, "2002", "The quantity is out of range.")
        added = quantity - state.quantity
        if added < 0:
            self._take_seats(at, -added)
        else:
            state.lots.append(Lot(added, at + WINDOW, whole=False))
        kind = "addQuantity" if added > 0 else "removeQuantity"
        old = state.quantity
        state.quantity = quantity
        self._order("AddQuantity" if added > 0 else "RemoveQuantity", at)
        # One change is a pair: the old quantity back, the new total for the rest of the cycle.
        self._charge_rest(kind, at, old, sign=-1)
        self._charge_rest(kind, at, quantity, sign=1)
        state.next_term = None

    def _take_seats(self, at: datetime, seats: int) -> None:
        lots = self.state.open_lots(at)
        if sum(lot.quantity for lot in lots) < seats:
            raise CommerceError(
                400, "800090", "The quantity cannot be decreased: the window has passed."
            )
        for lot in reversed(lots):
            taken = min(seats, lot.quantity)
            lot.quantity -= taken
            seats -= taken

    def _cancel(self, at: datetime) -> None:
        state = self.state
        if state.cancellable_until(at) is None:
            raise CommerceError(400, "900117", "The 7-day cancellation window has passed.")
        self._order("Cancel", at)
        self._charge_rest("cancelImmediate", at, state.quantity, sign=-1)
        state.status = "deleted"
        state.auto_renew = False
        state.lots = []

    def _convert(self, change: Change, target: Product) -> None:
        state, at = self.state, change.at
        if state.status == "suspended":
            raise CommerceError(400, "800091", "A suspended subscription cannot be converted.")
        trial = state.product.trial
        reference = self.subscription.identify(f"convert/{at.isoformat()}")
        order = self._identify_order("Convert", at)
        self._charge_rest("convert", at, state.quantity, sign=-1, reference=reference, order=order)
        state.product = target
        if change.quantity is not None:
            state.quantity = change.quantity
        if change.convert_term is not None:
            state.term, state.plan = change.convert_term
        state.promotion = None
        self._set_price(at.date())
        if trial:
            # A converted trial starts a paid term of its own.
            state.anchor, state.offset = at.date(), 0
            self._start_term("Convert", at, None)
        else:
            # An upgrade keeps term and charge cycle and opens no new window.
            self._order("Convert", at)
        state.next_term = None
        self._charge_rest("convert", at, state.quantity, sign=1, reference=reference)

    # -- charges ------------------------------------------------------------------------------

    def _charge_cycle(self, kind: str, at: datetime) -> None:
        self._charge(kind, at, self.state.quantity, self.state.cycle)

    def _charge_rest(
        self,
        kind: str,
        at: datetime,
        quantity: int,
        *,
        sign: int,
        reference: str = "",
        order: str | None = None,
    ) -> None:
        rest = replace(self.state.cycle, start=at.date())
        self._charge(kind, at, quantity, rest, sign=sign, reference=reference, order=order)

    def _charge(
        self,
        kind: str,
        at: datetime,
        quantity: int,
        charged: Span,
        *,
        sign: int = 1,
        reference: str = "",
        order: str | None = None,
    ) -> None:
        state = self.state
        promotion = state.promotion
        self.charges.append(
            Charge(
                kind=kind,
                at=at,
                product=state.product,
                term=state.term,
                plan=state.plan,
                price=state.price,
                quantity=quantity,
                unit_price=state.unit_price,
                effective_price=sign
                * prorate(state.unit_price, promotion, charged.days, state.full_cycle.days),
                charged=charged,
                term_span=state.term_span,
                order_id=order or state.order_id,
                reference=reference,
                partner_id=state.partner_id,
                promotion=promotion,
            )
        )

    def _order(self, transaction: str, at: datetime) -> None:
        state = self.state
        state.order_id = self._identify_order(transaction, at)
        self.orders.append(
            Order(
                id=state.order_id,
                at=at,
                transaction=transaction,
                product=state.product,
                term=state.term,
                plan=state.plan,
                quantity=state.quantity,
                unit_price=state.unit_price,
                promotion=state.promotion,
                system=transaction == "Renew",
            )
        )

    def _identify_order(self, transaction: str, at: datetime) -> str:
        name = self.subscription.identify(f"order/{transaction}/{at.isoformat()}")
        return name.replace("-", "")[:12]

    def _set_price(self, on: date) -> None:
        state = self.state
        state.price = self._price(state.product, state.term, state.plan, on)
        state.unit_price = _cycle_price(state.price)

    def _price(self, product: Product, term: str, plan: str, on: date) -> Price:
        bought = self.purchase
        try:
            return find_price(
                product, term=term, plan=plan, segment=bought.segment, market=bought.market, on=on
            )
        except KeyError as error:
            raise CommerceError(403, "2006", str(error.args[0])) from error


def _cycle_price(price: Price) -> Decimal:
    """The list price of a unit for one charge cycle: the term's price in equal instalments."""
    instalments = TERM_MONTHS[price.term] // PLAN_MONTHS[price.plan]
    return (price.amount / instalments).quantize(UNIT_PLACES, ROUND_HALF_UP)
