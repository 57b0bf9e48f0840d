"""What the customers should be asked for against what they were asked for, place by place.

More due than asked is billed, asked too much is credited, and a credit of Microsoft that was not
passed on is passed on. How one place is decomposed stands in `rules.effects`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.charge import Charge
from domain.contract import Alignment, BillingContract
from domain.money import minor_units, round_half_up
from domain.period import Period
from domain.problems import Finding
from domain.reconciliation import Cause, Difference, Match, SoldLine
from domain.subscription import CostLine
from rules import reconcile
from rules.asked_words import ambiguous, difference, product
from rules.effects import Whole, steps_of
from rules.matching import Ask, Place, asks_of_charges, asks_of_lines, places

_Step = tuple[Cause, str, Decimal]
"""A cause, a currency, and what the customer should be asked for beyond what was asked."""

_Customer = tuple[str, str]
"""A customer and one of its subscriptions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Both sides by currency, the places, every difference, and what could not be told apart."""

    due: Mapping[str, Decimal]
    sold: Mapping[str, Decimal]
    matches: tuple[Match, ...]
    differences: tuple[Difference, ...]
    findings: tuple[Finding, ...]


def compare(
    lines: Sequence[CostLine],
    sold: Sequence[SoldLine] | None,
    *,
    due: Sequence[Charge] | None = None,
    contracts: Mapping[str, BillingContract],
    excluded: AbstractSet[str] = frozenset(),
    held: AbstractSet[str] = frozenset(),
    period: Period | None = None,
) -> Asked:
    """Compare what is due with what was asked for; `sold` None: nothing is known of it."""
    if sold is None:
        return Asked(due={}, sold={}, matches=(), differences=(), findings=())
    asks = asks_of_lines(lines)
    if due is not None:
        named = {key for charge in due for key in charge.cost_lines}
        asks = [
            ask
            for ask in asks
            # Changes of one day that undo each other ask for nothing.
            if (ask.quantity or ask.cost) and not named.intersection(ask.cost_lines)
        ]
        asks = [*asks_of_charges(due, lines), *asks]
    left_out = {
        line.key
        for line in lines
        if line.key in excluded or reconcile.excluded(line, contracts.get(line.customer_id))
    }
    return _Sides(
        asks=asks,
        sold=sold,
        contracts=contracts,
        left_out=left_out,
        held=held,
        period=period,
    ).compared()


class _Sides:
    """Both sides with what is known of the customers; lives for one comparison."""

    def __init__(
        self,
        *,
        asks: Sequence[Ask],
        sold: Sequence[SoldLine],
        contracts: Mapping[str, BillingContract],
        left_out: AbstractSet[str],
        held: AbstractSet[str],
        period: Period | None,
    ) -> None:
        # In a stated order, so that the order of the input changes nothing.
        self.asks = sorted(asks, key=_order)
        self.sold = sorted(sold, key=lambda line: line.key)
        self.contracts, self.left_out, self.held, self.period = contracts, left_out, held, period
        self.places = places(self.asks, self.sold)
        self.currencies = _currencies(self.sold, contracts)
        self.markups = _markups(self.places, self.currencies)
        self.wholes = _wholes(self.places)
        self.known = {(ask.customer_id, ask.subscription_id) for ask in self.asks}
        self.answered: set[_Customer] = {(s.customer_id, s.subscription_id) for s in self.sold}
        for place in self.places:
            if place.sold:
                self.answered.update((a.customer_id, a.subscription_id) for a in place.asks)
        self.explained = {_twin(x) for place in self.places if place.asks for x in place.sold}
        self.due_until: dict[str, date | None] = {}

    def compared(self) -> Asked:
        due: dict[str, Decimal] = defaultdict(Decimal)
        asked: dict[str, Decimal] = defaultdict(Decimal)
        matches: list[Match] = []
        differences: list[Difference] = []
        findings: list[Finding] = []
        for place in self.places:
            sums: dict[str, Decimal] = defaultdict(Decimal)
            for line in place.sold:
                sums[line.currency] += line.amount
            told = [] if self._waits(place) else [step for step in self._steps(place) if step[2]]
            owed = self._owed(place, sums, told)
            for currency, amount in sums.items():
                asked[currency] += amount
            for currency, amount in owed.items():
                due[currency] += amount
            differences.extend(difference(place, *step) for step in told)
            if told and len(place.subscriptions) > 1:
                findings.append(ambiguous(place))
            matches.extend(_matches(place, owed, sums))
        return Asked(
            due=due,
            sold=asked,
            matches=tuple(matches),
            differences=tuple(differences),
            findings=tuple(findings),
        )

    def _waits(self, place: Place) -> bool:
        """Say whether nothing more is due: left out by agreement, or the customer is held.

        What was billed before the hold is compared as ever.
        """
        return bool(place.asks) and all(
            (ask.customer_id in self.held and not place.sold)
            or (ask.cost_lines and self.left_out >= set(ask.cost_lines))
            for ask in place.asks
        )

    def _owed(
        self, place: Place, sums: Mapping[str, Decimal], told: Sequence[_Step]
    ) -> dict[str, Decimal]:
        """Return what is due: the charges where they are known, else what the measure leads to."""
        owed: dict[str, Decimal] = defaultdict(Decimal)
        if place.asks and not self._waits(place) and all(a.amount is not None for a in place.asks):
            for ask in place.asks:
                owed[ask.currency] += ask.amount or 0
            return owed
        for currency, amount in sums.items():
            owed[currency] += amount
        for _, currency, amount in told:
            owed[currency] += amount
        return owed

    # --- the steps of a place ---

    def _steps(self, place: Place) -> Iterator[_Step]:
        if not place.sold:
            for ask in place.asks:
                yield self._unasked(ask)
        elif not place.asks:
            for line in place.sold:
                yield self._unfounded(line)
        else:
            yield from self._both(place)

    def _unasked(self, ask: Ask) -> _Step:
        currency, amount = self._value(ask)
        if self._not_yet(ask):
            cause = Cause.TIMING
        elif amount < 0:
            cause = Cause.CREDIT_NOT_PASSED_ON
        elif ask.subscription_id and (ask.customer_id, ask.subscription_id) not in self.answered:
            cause = Cause.MISSING_SUBSCRIPTION
        else:
            cause = Cause.MISSING_INVOICE_LINE
        return cause, currency, amount

    def _unfounded(self, line: SoldLine) -> _Step:
        if self.period and line.service and line.service.start not in self.period:
            cause = Cause.TIMING
        elif _twin(line) in self.explained:
            cause = Cause.DUPLICATE
        elif line.subscription_id and (line.customer_id, line.subscription_id) not in self.known:
            cause = Cause.MISSING_SUBSCRIPTION
        else:
            cause = Cause.MISSING_INVOICE_LINE
        return cause, line.currency, -line.amount

    def _both(self, place: Place) -> Iterator[_Step]:
        first = place.asks[0]
        priced = all(ask.amount is not None for ask in place.asks)
        currency = first.currency if priced else self.currencies.get(first.customer_id, "")
        if not currency:
            told = {line.currency for line in place.sold}
            currency = told.pop() if len(told) == 1 else first.currency
        for wrong in sorted({line.currency for line in place.sold} - {currency}):
            own = (line.amount for line in place.sold if line.currency == wrong)
            yield Cause.CURRENCY, wrong, -sum(own, Decimal(0))
        lines = [line for line in place.sold if line.currency == currency]
        if not lines:
            for ask in place.asks:
                its_currency, amount = self._value(ask)
                if its_currency == currency:
                    yield Cause.CURRENCY, currency, amount
            return
        lines, taken = _without_twins(place.asks, lines)
        if taken:
            yield Cause.DUPLICATE, currency, -taken
        contract = self.contracts.get(first.customer_id)
        if not priced and contract and contract.alignment is Alignment.CONTRACT:
            return  # its lines follow the contract's own periods: Microsoft's days measure nothing
        whole = self.wholes.get((first.customer_id, first.subscription_id))
        found = steps_of(place.asks, lines, currency, whole)
        yield from ((cause, currency, amount) for cause, amount in found)
        if not priced and contract is None:
            now = sum((line.amount for line in lines), Decimal(0))
            yield from _below_cost(place.asks, currency, now + sum(a for _, a in found))

    def _value(self, ask: Ask) -> tuple[str, Decimal]:
        """Return what an ask without an answer is worth: its price, else cost at the usual markup."""
        if ask.amount is not None:
            return ask.currency, ask.amount
        known = self.markups.get((ask.customer_id, ask.subscription_id, ask.cost_currency))
        if known is None:
            return ask.cost_currency, ask.cost
        currency, markup = known
        return currency, round_half_up(Fraction(ask.cost) * markup, minor_units(currency))

    def _not_yet(self, ask: Ask) -> bool:
        """Say whether the contract's cycle asks for it with a later bill."""
        contract = self.contracts.get(ask.customer_id)
        if contract is None or self.period is None or ask.service is None:
            return False
        if ask.customer_id not in self.due_until:
            self.due_until[ask.customer_id] = reconcile.due_until(contract, self.period)
        until = self.due_until[ask.customer_id]
        return until is None or ask.service.start >= until


def _order(ask: Ask) -> tuple[object, ...]:
    days = (ask.service.start, ask.service.end) if ask.service else (date.min, date.min)
    return ask.customer_id, ask.subscription_id, *days, ask.sku, ask.charge_key, ask.cost_lines


def _twin(line: SoldLine) -> tuple[object, ...]:
    return (
        line.customer_id,
        line.subscription_id,
        line.sku or line.name.casefold(),
        line.service,
        line.quantity,
        line.amount,
        line.currency,
    )


def _without_twins(
    asks: Sequence[Ask], lines: Sequence[SoldLine]
) -> tuple[list[SoldLine], Decimal]:
    """Take out repeated lines where what is left is right, and return what they asked for."""
    groups: dict[tuple[object, ...], list[SoldLine]] = defaultdict(list)
    for line in lines:
        groups[_twin(line)].append(line)
    right = [ask.amount for ask in asks if ask.amount is not None]
    due, cost = sum(right, Decimal(0)), sum((a.cost for a in asks), Decimal(0))
    wanted = sum((a.quantity for a in asks), Decimal(0))
    asked = sum((line.amount for line in lines), Decimal(0))
    seats = sum((line.quantity or 0 for line in lines), Decimal(0))
    counted = all(a.counted for a in asks) and all(x.quantity is not None for x in lines)
    for twins in groups.values():
        for extra in range(len(twins) - 1, 0, -1):
            amount = asked - extra * twins[0].amount
            if len(right) == len(asks):
                fits = amount == due
            elif counted:
                fits = seats - extra * (twins[0].quantity or 0) == wanted
            else:
                fits = amount >= cost and amount > 0
            if fits:
                gone = {line.key for line in twins[:extra]}
                return [line for line in lines if line.key not in gone], extra * twins[0].amount
    return list(lines), Decimal(0)


def _below_cost(asks: Sequence[Ask], currency: str, asked: Decimal) -> Iterator[_Step]:
    """Nobody who agreed on no price sells below cost on purpose, or keeps part of a credit."""
    if any(ask.cost_currency != currency for ask in asks):
        return
    cost = sum((ask.cost for ask in asks), Decimal(0))
    if asked < cost and cost > 0:
        yield Cause.PRICE, currency, cost - asked
    elif asked > cost and cost < 0:
        yield Cause.CREDIT_NOT_PASSED_ON, currency, cost - asked


# --- what is known of the customers ----------------------------------------------------------------


def _currencies(
    sold: Sequence[SoldLine], contracts: Mapping[str, BillingContract]
) -> dict[str, str]:
    """Return the currency of each customer: the contract's, else that of most of its lines."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for line in sold:
        counts[line.customer_id][line.currency] += 1
    found: dict[str, str] = {}
    for customer_id, count in counts.items():
        (first, most), *others = count.most_common()
        if not others or others[0][1] < most:
            found[customer_id] = first
    return found | {customer_id: contract.currency for customer_id, contract in contracts.items()}


def _markups(
    found: Sequence[Place], wanted: Mapping[str, str]
) -> dict[tuple[str, str, str], tuple[str, Fraction]]:
    """Return what a subscription is sold for, by one of its cost: for lines that were not asked."""
    cost: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    income: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    currencies: dict[tuple[str, str, str], str] = {}
    for place in found:
        told = {line.currency for line in place.sold}
        if not place.asks or len(told) != 1 or len(place.subscriptions) != 1:
            continue
        ask, currency = place.asks[0], told.pop()
        key = ask.customer_id, ask.subscription_id, ask.cost_currency
        if (
            currency
            == wanted.get(ask.customer_id, currency)
            == currencies.setdefault(key, currency)
        ):
            cost[key] += sum((one.cost for one in place.asks), Decimal(0))
            income[key] += sum((line.amount for line in place.sold), Decimal(0))
    return {
        key: (currencies[key], Fraction(income[key]) / Fraction(amount))
        for key, amount in cost.items()
        if amount > 0 and income[key] > 0
    }


def _wholes(found: Sequence[Place]) -> dict[_Customer, Whole]:
    """Return the price of a whole cycle of a subscription, where one line tells it."""
    wholes: dict[_Customer, Whole] = {}
    for place in found:
        if len(place.asks) == len(place.sold) == 1:
            ask, line = place.asks[0], place.sold[0]
            if ask.whole and ask.service and line.unit_price is not None:
                wholes[ask.customer_id, ask.subscription_id] = Whole(
                    service=ask.service, unit_price=line.unit_price
                )
    return wholes


def _matches(
    place: Place, owed: Mapping[str, Decimal], sums: Mapping[str, Decimal]
) -> Iterator[Match]:
    subscriptions = place.subscriptions
    either = place.asks or place.sold
    for currency in sorted({*owed, *sums}):
        yield Match(
            customer_id=either[0].customer_id,
            subscription_id=subscriptions[0] if len(subscriptions) == 1 else "",
            product=product(place),
            cost_lines=tuple(key for ask in place.asks for key in ask.cost_lines),
            sold_lines=tuple(line.key for line in place.sold if line.currency == currency),
            currency=currency,
            due=owed.get(currency, Decimal(0)),
            sold=sums.get(currency, Decimal(0)),
        )
