"""Which line of a customer's invoice speaks of what the customer should be asked for.

Both sides are put into places, which are compared as wholes: lines that name each other come first,
then the subscription (with the same days, then overlapping ones), then customer and product. N:M is
normal. Where a line could belong to several subscriptions, these become one place: the sum of a
place is certain even where the shares in it are not, and nothing is picked by chance.
"""

from __future__ import annotations

from collections import defaultdict
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

    def _join(self, asks: Iterable[int], line: int) -> None:
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
                self._join(charges[line.charge_key], n)
            else:
                self._join({a for key in line.cost_lines for a in costs.get(key, ())}, n)

    def _by_subscription(self) -> None:
        """Same subscription, same days; what is metered or bought once has no days to compare."""
        exact = self._index(lambda a: (a.customer_id, a.subscription_id, a.service, a.sku))
        days = self._index(lambda a: (a.customer_id, a.subscription_id, a.service))
        whole = self._index(lambda a: (a.customer_id, a.subscription_id))
        for n, line in self._unmatched():
            if not line.subscription_id:
                continue
            who = (line.customer_id, line.subscription_id)
            near = exact.get((*who, line.service, line.sku)) or days.get((*who, line.service))
            if near is None:
                near = [a for a in whole.get(who, ()) if self._loose(a, line)]
            self._join([a for a in near if self._same_way(self.asks[a], line)], n)

    def _by_product(self) -> None:
        """Same customer and product, for lines without a subscription: those still free first."""
        by_sku = self._index(lambda a: (a.customer_id, a.sku.casefold()))
        by_product = self._index(lambda a: (a.customer_id, a.sku.partition(":")[0].casefold()))
        by_name = self._index(lambda a: (a.customer_id, _plain(a.name)))
        left: list[tuple[int, SoldLine, list[int]]] = []
        surely = list(self.matched)
        for n, line in self._unmatched():
            if line.subscription_id and (line.customer_id, line.subscription_id) in self.known:
                continue
            near = [
                a
                for a in (
                    by_sku.get((line.customer_id, line.sku.casefold()))
                    or by_product.get((line.customer_id, line.sku.casefold()))
                    or by_name.get((line.customer_id, _plain(line.name)))
                    or ()
                )
                if self._same_way(self.asks[a], line)
            ]
            free = [a for a in near if not surely[a]]
            # A subscription that nobody knows: only what nothing else answers can be meant.
            near = free if line.subscription_id else free or near
            same_days = [a for a in near if self.asks[a].service == line.service]
            loose = [a for a in near if self._loose(a, line)]
            self._join(same_days or loose, n)
            left.append((n, line, near))
        for n, line, near in left:
            if not self.matched[n]:
                free = [a for a in near if not self.matched[a]] or near
                self._join([a for a in free if _overlap(self.asks[a].service, line.service)], n)

    def _by_overlap(self) -> None:
        """Same subscription and overlapping days, for what is left on both sides."""
        free = self._index(
            lambda a: (a.customer_id, a.subscription_id),
            [n for n in range(len(self.asks)) if not self.matched[n]],
        )
        for n, line in self._unmatched():
            if not line.subscription_id:
                continue
            near = free.get((line.customer_id, line.subscription_id), ())
            fits = [
                a
                for a in near
                if self._same_way(self.asks[a], line)
                # What is not counted in seats may be invoiced by another month than it was used in.
                and (not self.asks[a].counted or _overlap(self.asks[a].service, line.service))
            ]
            same = [a for a in fits if self.asks[a].sku == line.sku]
            self._join(same or fits, n)

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
                    self._join(near, n)
                else:
                    one = [a for a in near if self.asks[a].quantity == totals[root]]
                    self._join(one[:1] if len(one) == 1 else (), n)

    # --- what fits ---

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
