"""Which line of a customer's invoice speaks of what the customer should be asked for.

Both sides are put into places, which are compared as wholes: lines that name each other come first,
then the subscription (with the same days, then overlapping ones), then customer and product. N:M is
normal. Where a line could belong to several subscriptions, these become one place: the sum of a
place is certain even where the shares in it are not, and nothing is picked by chance.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from domain.charge import Charge, ChargeType
from domain.period import Period
from domain.reconciliation import SoldLine
from domain.subscription import CostKind, CostLine
from rules.linking import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a customer should be asked for: a charge, or, where no price is known, Microsoft's lines."""

    customer_id: str
    subscription_id: str
    sku: str
    name: str
    kind: CostKind
    service: Period | None
    quantity: Decimal
    currency: str
    """Of `amount`, or of `cost` where no amount is known."""
    cost: Decimal
    cost_currency: str
    cost_lines: tuple[str, ...]
    invoiced: str = ""
    """Microsoft's invoice."""
    amount: Decimal | None = None
    unit_price: Decimal | None = None
    full: Period | None = None
    discount_percent: Decimal | None = None
    charge_key: str = ""
    whole: bool = False
    """It pays for a whole charge cycle."""

    @property
    def counted(self) -> bool:
        """Say whether its quantity can be compared: seats can, metered units cannot."""
        return self.kind is CostKind.LICENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Lines of both sides that speak of the same thing; either side may be empty."""

    asks: tuple[Ask, ...]
    sold: tuple[SoldLine, ...]

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The subscriptions it is about; several where a line names none of them."""
        named = {ask.subscription_id for ask in self.asks}
        return tuple(sorted(named or {line.subscription_id for line in self.sold}))


_WHOLE = {"new", "cycleCharge", "renew"}
_KINDS = {
    ChargeType.USAGE: CostKind.USAGE,
    ChargeType.ONE_TIME: CostKind.ONE_TIME,
    ChargeType.MARKETPLACE: CostKind.ONE_TIME,
    ChargeType.RESERVATION: CostKind.RESERVATION,
    ChargeType.SAVINGS_PLAN: CostKind.SAVINGS_PLAN,
}


def asks_of_lines(lines: Iterable[CostLine]) -> list[Ask]:
    """Return what Microsoft's lines ask for: the seats of the same days together, others one by one."""
    groups: dict[tuple[object, ...], list[CostLine]] = defaultdict(list)
    for line in lines:
        seats = line.kind is CostKind.LICENCE and line.charged is not None
        place = (line.subscription_id, line.charged, line.sku) if seats else (line.key,)
        groups[line.customer_id, line.currency, *place].append(line)
    found: list[Ask] = []
    for group in groups.values():
        first = group[0]
        quantity = sum((line.seats for line in group), Decimal(0))
        cost = sum((line.subtotal for line in group), Decimal(0))
        found.append(
            Ask(
                customer_id=first.customer_id,
                subscription_id=first.subscription_id,
                sku=first.sku,
                name=first.name,
                kind=first.kind,
                service=first.charged,
                quantity=quantity,
                currency=first.currency,
                cost=cost,
                cost_currency=first.currency,
                cost_lines=tuple(sorted(line.key for line in group)),
                invoiced=first.invoice_id,
                whole=any(line.charge_type in _WHOLE for line in group),
            )
        )
    return found


def asks_of_charges(charges: Iterable[Charge], lines: Sequence[CostLine]) -> list[Ask]:
    """Return what charges ask for, with the cost of Microsoft's lines that they name."""
    by_key = {line.key: line for line in lines}
    found: list[Ask] = []
    for charge in charges:
        named = [by_key[key] for key in charge.cost_lines if key in by_key]
        kind = named[0].kind if named else _KINDS.get(charge.type, CostKind.CREDIT)
        discount = next(
            (r.inputs["percent"] for r in charge.reasons if r.rule == "price.discount"), ""
        )
        found.append(
            Ask(
                customer_id=charge.customer_id,
                subscription_id=charge.subscription_id,
                sku=charge.sku,
                name=charge.name,
                kind=CostKind.LICENCE if charge.type in KINDS else kind,
                service=charge.service,
                quantity=charge.quantity,
                currency=charge.amount.currency,
                cost=sum((line.subtotal for line in named), Decimal(0)),
                cost_currency=named[0].currency if named else charge.amount.currency,
                cost_lines=charge.cost_lines,
                invoiced=named[0].invoice_id if named else "",
                amount=charge.amount.amount,
                unit_price=charge.unit_price,
                full=charge.full,
                discount_percent=Decimal(discount) if discount else None,
                charge_key=charge.key,
                whole=charge.service == charge.full,
            )
        )
    return found


def places(asks: Sequence[Ask], sold: Sequence[SoldLine]) -> list[Place]:
    """Put both sides into places, each line into exactly one; in the order of the asks, then the lines."""
    return _Places(asks, sold).found()


class _Joined(dict[Hashable, list[int]]):
    """Asks that lines find by what they say, so that many lines alike do not look through them all."""

    def __init__(self, places: _Places) -> None:
        super().__init__()
        self.places = places

    def join(self, key: Hashable, line: int) -> None:
        """Join a line with the asks of a key; once they are one place, one of them stands for all."""
        self.places.join(self[key], line)
        del self[key][1:]


class _Places:
    """Sets of nodes that grow together: the asks come first, the sold lines after them."""

    def __init__(self, asks: Sequence[Ask], sold: Sequence[SoldLine]) -> None:
        self.asks, self.sold = asks, sold
        self.parent = list(range(len(asks) + len(sold)))
        self.matched = [False] * len(self.parent)
        self.known = {(ask.customer_id, ask.subscription_id) for ask in asks}

    def found(self) -> list[Place]:
        self._by_name()
        self._by_subscription()
        self._by_product()
        self._by_overlap()
        self._in_one_total()
        members: dict[int, tuple[list[Ask], list[SoldLine]]] = defaultdict(lambda: ([], []))
        for n, ask in enumerate(self.asks):
            members[self._root(n)][0].append(ask)
        for n, line in enumerate(self.sold, len(self.asks)):
            members[self._root(n)][1].append(line)
        return [Place(asks=tuple(a), sold=tuple(s)) for a, s in members.values()]

    # --- growing together ---

    def _root(self, n: int) -> int:
        while self.parent[n] != n:
            self.parent[n] = self.parent[self.parent[n]]
            n = self.parent[n]
        return n

    def join(self, asks: Iterable[int], line: int) -> None:
        for n in asks:
            self.matched[n] = self.matched[line] = True
            a, b = sorted((self._root(n), self._root(line)))
            self.parent[b] = a

    def _index(
        self, key: Callable[[Ask], Hashable], among: Iterable[int] | None = None
    ) -> dict[Hashable, list[int]]:
        index: dict[Hashable, list[int]] = defaultdict(list)
        for n in range(len(self.asks)) if among is None else among:
            index[key(self.asks[n])].append(n)
        return index

    def _unmatched(self) -> list[tuple[int, SoldLine]]:
        return [
            (n, line) for n, line in enumerate(self.sold, len(self.asks)) if not self.matched[n]
        ]

    # --- the ways in which lines find each other, the surest first ---

    def _by_name(self) -> None:
        charges = self._index(lambda ask: ask.charge_key)
        costs: dict[str, list[int]] = defaultdict(list)
        for n, ask in enumerate(self.asks):
            for key in ask.cost_lines:
                costs[key].append(n)
        for n, line in self._unmatched():
            if line.charge_key and line.charge_key in charges:
                self.join(charges[line.charge_key], n)
            else:
                self.join({a for key in line.cost_lines for a in costs.get(key, ())}, n)

    def _by_subscription(self) -> None:
        """Same subscription, same days; what is metered or bought once has no days to compare."""
        exact = self._index(lambda a: (a.customer_id, a.subscription_id, a.service, a.sku))
        days = self._index(lambda a: (a.customer_id, a.subscription_id, a.service))
        whole = self._index(lambda a: (a.customer_id, a.subscription_id))
        joined = _Joined(self)
        for n, line in self._unmatched():
            if not line.subscription_id:
                continue
            who = (line.customer_id, line.subscription_id)
            on_days = (*who, line.service)
            if near := exact.get((*on_days, line.sku)):
                place: Hashable = (*on_days, line.sku)
            else:
                place, near = on_days, days.get(on_days)
            loose = near is None
            among = whole.get(who, ()) if near is None else near
            way = line.amount < 0
            if (place, way) not in joined:
                joined[place, way] = [
                    a
                    for a in among
                    if (not loose or self._loose(a, line)) and self._same_way(self.asks[a], line)
                ]
            joined.join((place, way), n)

    def _by_product(self) -> None:
        """Same customer and product, for lines without a subscription: those still free first."""
        by_sku = self._index(lambda a: (a.customer_id, a.sku.casefold()))
        by_product = self._index(lambda a: (a.customer_id, a.sku.partition(":")[0].casefold()))
        by_name = self._index(lambda a: (a.customer_id, _plain(a.name)))
        left: list[tuple[int, SoldLine, Hashable]] = []
        nears: dict[Hashable, list[int]] = {}
        joined = _Joined(self)
        surely = list(self.matched)
        for n, line in self._unmatched():
            if line.subscription_id and (line.customer_id, line.subscription_id) in self.known:
                continue
            named, way = line.sku.casefold(), line.amount < 0
            found = (
                (kind, name, index[line.customer_id, name])
                for kind, index, name in (
                    ("sku", by_sku, named),
                    ("product", by_product, named),
                    ("name", by_name, _plain(line.name)),
                )
                if (line.customer_id, name) in index
            )
            kind, name, among = next(found, ("", "", []))
            where = (kind, line.customer_id, name, way, bool(line.subscription_id))
            if where not in nears:
                near = [a for a in among if self._same_way(self.asks[a], line)]
                free = [a for a in near if not surely[a]]
                # A subscription that nobody knows: only what nothing else answers can be meant.
                nears[where] = free if line.subscription_id else free or near
            days: Hashable = (where, line.service)
            if days not in joined:
                near = nears[where]
                same_days = [a for a in near if self.asks[a].service == line.service]
                joined[days] = same_days or [a for a in near if self._loose(a, line)]
            joined.join(days, n)
            left.append((n, line, where))
        # Lines of the same days find the same asks: the first of them takes those that are free,
        # the next all of them, once nothing is free any more.
        free_of = {place: deque(near) for place, near in nears.items()}
        taken: set[Hashable] = set()
        joined = _Joined(self)
        for n, line, place in left:
            if self.matched[n]:
                continue
            days = (place, line.service)
            free_now = free_of[place]
            while free_now and self.matched[free_now[0]]:
                free_now.popleft()
            if not free_now:
                if days not in joined:
                    joined[days] = self._on_days(nears[place], line)
                joined.join(days, n)
            elif days not in taken:
                taken.add(days)
                self.join(self._on_days((a for a in free_now if not self.matched[a]), line), n)

    def _by_overlap(self) -> None:
        """Same subscription and overlapping days, for what is left on both sides."""
        free = self._index(
            lambda a: (a.customer_id, a.subscription_id),
            [n for n in range(len(self.asks)) if not self.matched[n]],
        )
        joined = _Joined(self)
        for n, line in self._unmatched():
            if not line.subscription_id:
                continue
            place = (line.customer_id, line.subscription_id, line.service, line.amount < 0)
            if place not in joined:
                joined[place] = fits = [
                    a
                    for a in free.get(place[:2], ())
                    if self._same_way(self.asks[a], line)
                    # What is not counted in seats may be invoiced by another month than it was used in.
                    and (not self.asks[a].counted or _overlap(self.asks[a].service, line.service))
                ]
                for a in fits:
                    joined.setdefault((*place, self.asks[a].sku), []).append(a)
            same = (*place, line.sku)
            joined.join(same if same in joined else place, n)

    def _in_one_total(self) -> None:
        """Changes of seats that the customer's line for the cycle has in its own total already."""
        free = self._index(
            lambda a: (a.customer_id, a.subscription_id),
            [n for n, a in enumerate(self.asks) if a.counted and not self.matched[n]],
        )
        if not free:
            return
        totals: dict[int, Decimal] = defaultdict(Decimal)
        lines_of: dict[Hashable, dict[int, int]] = defaultdict(dict)
        for n, line in enumerate(self.sold, len(self.asks)):
            totals[self._root(n)] += line.quantity or 0
            if self.matched[n]:
                lines_of[line.customer_id, line.subscription_id][self._root(n)] = n
        for n, ask in enumerate(self.asks):
            if self.matched[n]:
                totals[self._root(n)] -= ask.quantity
        for who, changes in free.items():
            for root, n in lines_of.get(who, {}).items():
                service = self.sold[n - len(self.asks)].service
                near = [a for a in changes if _overlap(self.asks[a].service, service)]
                if not near or not totals[root]:
                    continue
                if totals[root] == sum((self.asks[a].quantity for a in near), Decimal(0)):
                    self.join(near, n)
                else:
                    one = [a for a in near if self.asks[a].quantity == totals[root]]
                    self.join(one[:1] if len(one) == 1 else (), n)

    # --- what fits ---

    def _on_days(self, asks: Iterable[int], line: SoldLine) -> list[int]:
        return [a for a in asks if _overlap(self.asks[a].service, line.service)]

    def _loose(self, n: int, line: SoldLine) -> bool:
        """Days say little where the line tells none, or where usage is paid for by the month."""
        ask = self.asks[n]
        if line.service is None or ask.service is None:
            return True
        return not ask.counted and _overlap(ask.service, line.service)

    @staticmethod
    def _same_way(ask: Ask, line: SoldLine) -> bool:
        """Whether both ask or both give back: a credit is not answered by a charge."""
        if ask.counted:
            return True
        amount = ask.cost if ask.amount is None else ask.amount
        return (amount < 0) == (line.amount < 0)


def _overlap(one: Period | None, other: Period | None) -> bool:
    return one is not None and other is not None and one.intersect(other) is not None


def _plain(name: str) -> str:
    return "".join(name.casefold().split())
