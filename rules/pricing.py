"""Which price applies, and what it is: the customer's price list first, then the best markup rule.

Precedence is by what is named (customer, product, meter family, kind), never by chance: two that
tie are a finding. A price is locked for a term: validity, and the exchange rate of a cost in another
currency, are looked up on the day the term starts. A rule that names a currency is there only for
what is sold in it, as an agreed price is. A price is exact (a Fraction); nothing is rounded here.

Limits: seats have no tiers, packages, minimum or maximum; these are for usage (`rules.metering`).
A rate is used in the direction in which it was published, never turned around.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from domain.charge import Reason
from domain.contract import ExchangeRate, MarkupMethod, MarkupRule, PriceListItem
from domain.money import plain, round_half_up
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from rules.lines import UnitPrice
from rules.metering import bounded, fault_of, impossible, marked_up, markup_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePolicy:
    """What the partner accepts before somebody has to look."""

    rate_days: int = 35
    """Greatest age of an exchange rate in days: a month's rate, and a few days to publish the next."""
    least_ratio: Fraction = Fraction(1, 4)
    most_ratio: Fraction = Fraction(4)
    """Price of a unit over its cost: beyond these, one is for a year and the other for a month."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What is to be priced; `cost` and `erp` are for one unit and one full cycle, if known."""

    customer_id: str
    record: str
    """Readable, for findings: `subscription 0b6f...`."""
    kind: str
    sku: str
    on: date
    """Day on which prices and rules must be valid: the start of the term, or of the service."""
    currency: str
    service: date | None = None
    """First day of the service that is priced, for discounts; None: the same day."""
    term: TermDuration | None = None
    billing_cycle: BillingCycle | None = None
    meter_category: str = ""
    general_kind: str = ""
    """A wider kind, whose rules count where none of `kind` is as specific otherwise."""
    cost: Decimal | None = None
    cost_currency: str = ""
    """Currency of `cost` and `erp`; empty: that of the sale."""
    erp: Decimal | None = None
    covers: int | None = None
    """Months that `cost` and `erp` pay for, where that is more than one billing cycle."""
    is_free: bool = False
    """Listed at nothing by Microsoft: no rule makes a price of it, only an agreed price does."""

    @property
    def cycles(self) -> Fraction:
        """The number of billing cycles that `cost` and `erp` pay for."""
        months = self.billing_cycle.months if self.billing_cycle else None
        return Fraction(self.covers, months) if self.covers and months else Fraction(1)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """The agreed prices and markup rules that may apply to one customer, and the exchange rates."""

    price_list: Sequence[PriceListItem]
    rules: Sequence[MarkupRule]
    rates: Sequence[ExchangeRate] = ()
    policy: PricePolicy = PricePolicy()
    _items: Mapping[str, Sequence[PriceListItem]] = field(init=False, repr=False, compare=False)
    """The price list by product: a list of thousands is asked for each term."""

    def __post_init__(self) -> None:
        items: dict[str, list[PriceListItem]] = defaultdict(list)
        for item in self.price_list:
            items[item.sku].append(item)
        object.__setattr__(self, "_items", dict(items))

    def price(self, wanted: Priced) -> UnitPrice | Finding:
        """Return the price of one unit, or the finding that says why there is none.

        It holds for the whole term (`until`) where it does not hang on a cost, which Microsoft may
        change from cycle to cycle.
        """
        agreed = self._agreed(wanted)
        if agreed is not None:
            return agreed
        rule = self.rule(wanted)
        return rule if isinstance(rule, Finding) else self._by_rule(rule, wanted)

    def rule(self, wanted: Priced) -> MarkupRule | Finding:
        """Return the one most specific rule in force, or the finding that there is none, or two."""
        matching = [
            rule
            for rule in self.rules
            if rule.customer_id in {"", wanted.customer_id}
            and rule.sku in {"", wanted.sku}
            and rule.meter_category in {"", wanted.meter_category}
            and rule.kind in {"", wanted.kind, wanted.general_kind}
            and rule.currency in {"", wanted.currency}
            and wanted.on in rule.valid
        ]
        if not matching:
            return Finding(
                check="price.missing",
                severity=Severity.HOLD,
                customer_id=wanted.customer_id,
                record=wanted.record,
                sentence=(
                    f"No price list entry and no markup rule covers {wanted.kind} {wanted.sku} "
                    f"on {wanted.on}."
                ),
                hint=f"add a markup rule for this kind, or a price for this product, in {wanted.currency}",
            )
        best = max((rule.rank, rule.kind == wanted.kind) for rule in matching)
        top = [rule for rule in matching if (rule.rank, rule.kind == wanted.kind) == best]
        if len(top) > 1:
            return _tie(wanted, "markup rules", [rule.key for rule in top])
        fault = fault_of(top[0])
        return impossible(top[0], fault, wanted.customer_id) if fault else top[0]

    def rate(self, base: str, quote: str, on: date) -> ExchangeRate | str:
        """Return the latest rate on a day, or say in a few words why there is none to use."""
        known = [r for r in self.rates if (r.base, r.quote) == (base, quote) and r.on <= on]
        if not known:
            return f"it costs {base} and is sold in {quote}, and no rate of {on} is known"
        day = max(rate.on for rate in known)
        if day < on - timedelta(days=self.policy.rate_days):
            return (
                f"the latest rate of {base} in {quote} is of {day}, "
                f"more than {self.policy.rate_days} days before {on}"
            )
        latest = sorted((r for r in known if r.on == day), key=lambda rate: rate.source)
        if len({rate.rate for rate in latest}) > 1:
            told = ", ".join(f"{plain(r.rate)} by {r.source}" for r in latest)
            return f"two rates of {base} in {quote} stand for {day}: {told}"
        if latest[0].rate <= 0:
            return f"a rate of {plain(latest[0].rate)} {quote} for one {base} is impossible"
        return latest[0]

    # --- agreed prices ---------------------------------------------------------------------------

    def _agreed(self, wanted: Priced) -> UnitPrice | Finding | None:
        if wanted.billing_cycle is None:
            return None
        items = [
            item
            for item in self._items.get(wanted.sku, ())
            if item.customer_id in {"", wanted.customer_id}
            and item.term == wanted.term
            and item.billing_cycle is wanted.billing_cycle
            and item.currency == wanted.currency
            and wanted.on in item.valid
        ]
        own = [item for item in items if item.customer_id] or items
        if not own:
            return None
        if len(own) > 1:
            return _tie(wanted, "price list entries", [item.key for item in own])
        item = own[0]
        fault = item_fault(item)
        if fault:
            return _impossible_item(item, fault, wanted.customer_id)
        value, covers = Fraction(item.unit_price or 0), None
        told = {"price_list": item.key, "valid": str(item.valid)}
        if item.annual_price is not None:
            value, covers = Fraction(item.annual_price), 12
            if item.billing_cycle is BillingCycle.ANNUAL:
                covers = None
        told["unit_price" if item.annual_price is None else "annual_price"] = plain(value)
        reasons = [Reason(rule="price.agreed", inputs=told)]
        service = wanted.service or wanted.on
        if item.discount_percent and service in item.discount_valid:
            value *= (100 - Fraction(item.discount_percent)) / 100
            told = {
                "price_list": item.key,
                "percent": plain(item.discount_percent),
                "valid": str(item.discount_valid),
                "price": plain(value),
            }
            reasons.append(Reason(rule="price.discount", inputs=told))
        return self._judged(
            wanted,
            UnitPrice(
                value=value,
                covers=covers,
                reasons=tuple(reasons),
                cost=self._unit_cost(wanted),
                until=_holds_until(item, wanted) if wanted.cost is None else None,
            ),
        )

    # --- rules -----------------------------------------------------------------------------------

    def _by_rule(self, rule: MarkupRule, wanted: Priced) -> UnitPrice | Finding:
        """Make the price of one unit by one rule; a basis that is not known is a finding."""
        if rule.method in {MarkupMethod.TIERS, MarkupMethod.PACKAGE}:
            return _no_basis(wanted, rule, f"{rule.method.value} are for usage")
        if rule.minimum is not None or rule.maximum is not None:
            return _no_basis(wanted, rule, "a minimum or maximum is agreed for usage")
        if wanted.is_free:
            told = {"rule": rule.key, "cost": "0"}
            return UnitPrice(
                value=Fraction(0),
                cost=wanted.cost,
                reasons=(Reason(rule="price.free", inputs=told),),
            )
        cost = self._unit_cost(wanted)
        if rule.method is MarkupMethod.FIXED:
            value, bound = bounded(rule, marked_up(rule, Fraction(0)))
            reason = markup_reason(rule, unit_price=plain(value))
            until = date.max if wanted.cost is None else None
            fixed = UnitPrice(value=value, cost=cost, reasons=(reason, *bound), until=until)
            return self._judged(wanted, fixed)
        by_erp = rule.method is MarkupMethod.ERP_MINUS
        basis = wanted.erp if by_erp else wanted.cost
        if basis is None:
            what = "suggested retail price" if by_erp else "cost"
            return _no_basis(wanted, rule, f"its {what} is not known")
        rate = self._rate_for(wanted)
        if isinstance(rate, str):
            return _no_basis(wanted, rule, rate)
        exact = Fraction(basis) * (Fraction(rate.rate) if rate else 1)
        value, bound = bounded(rule, marked_up(rule, exact, wanted.cycles) / wanted.cycles)
        if value < 0:
            return _no_basis(wanted, rule, "its price would be below zero")
        covers = wanted.covers if wanted.cycles > 1 else None
        if covers:
            value *= wanted.cycles  # a price of more cycles stays whole, for its instalments
        told = {"erp" if by_erp else "cost": plain(basis)}
        if wanted.cycles != 1:
            told["covers_months"] = str(wanted.covers)
        made = UnitPrice(
            value=value,
            cost=cost,
            covers=covers,
            reasons=(
                *((rate_reason(rate),) if rate else ()),
                markup_reason(rule, **told, unit_price=plain(value)),
                *bound,
            ),
        )
        return self._judged(wanted, made) if by_erp else made

    # --- cost ------------------------------------------------------------------------------------

    def _rate_for(self, wanted: Priced) -> ExchangeRate | str | None:
        """Return the rate from cost to price; None where they are in one currency."""
        if wanted.cost_currency in {"", wanted.currency}:
            return None
        return self.rate(wanted.cost_currency, wanted.currency, wanted.on)

    def _unit_cost(self, wanted: Priced) -> Decimal | None:
        """Return the cost of one cycle in the currency of the sale; None where it is not known."""
        rate = self._rate_for(wanted)
        if wanted.cost is None or isinstance(rate, str):
            return None
        if rate is None and wanted.cycles == 1:
            return wanted.cost
        exact = Fraction(wanted.cost) * (Fraction(rate.rate) if rate else 1)
        return round_half_up(exact / wanted.cycles, 10)

    def _judged(self, wanted: Priced, made: UnitPrice) -> UnitPrice:
        """Doubt a price that was not made from its cost and lies far from it.

        One may be for a year and the other for a month. What was meant and released once stays so in later terms, for the same price and cost.
        """
        if not made.cost or made.cost < 0 or not made.value:
            return made
        cycles = replace(wanted, covers=made.covers).cycles
        ratio = made.value / cycles / Fraction(made.cost)
        if self.policy.least_ratio <= ratio <= self.policy.most_ratio:
            return made
        against = f"{plain(made.value / cycles)} against {plain(made.cost)} {wanted.currency}"
        doubt = Finding(
            check="price.ratio",
            severity=Severity.HOLD,
            customer_id=wanted.customer_id,
            record=f"{wanted.record} {wanted.sku} {against}",
            sentence=(
                f"The price of {wanted.sku} is {plain(ratio, 2)} times its cost: {against} "
                f"for one billing cycle."
            ),
            hint="check whether one of them is for a year and the other for a month, and correct "
            "the price; where it is meant, release the finding",
        )
        return replace(made, doubt=doubt)


def rate_reason(rate: ExchangeRate) -> Reason:
    """Tell which rate turned a cost into the currency of the sale, whose it is, and of which day."""
    inputs = {
        "source": rate.source,
        "from": rate.base,
        "to": rate.quote,
        "rate": plain(rate.rate, 20),
        "date": str(rate.on),
    }
    return Reason(rule="price.exchange", inputs=inputs)


def _holds_until(item: PriceListItem, wanted: Priced) -> date | None:
    """Return the day before which an agreed price is one and the same in the whole term, if any."""
    if not item.discount_percent:
        return date.max
    given, service = item.discount_valid, wanted.service or wanted.on
    if service < given.start:
        return given.start
    if service in given:
        return given.end if given.start <= wanted.on else None
    return date.max if given.end <= wanted.on else None


def item_fault(item: PriceListItem) -> str:
    """Say in a few words what is impossible about an agreed price; empty for one that can be meant."""
    months = item.billing_cycle.months
    if (item.unit_price is None) == (item.annual_price is None):
        return "it needs one of unit price and annual price"
    if min(item.unit_price or 0, item.annual_price or 0) < 0:
        return "no price is below zero"
    if item.annual_price is not None and (
        months is None or months > 12 or item.term is TermDuration.MONTH
    ):
        return "an annual price is for terms of a year and more, billed at least once a year"
    if not 0 <= item.discount_percent <= 100:
        return f"no discount is {plain(item.discount_percent)} percent"
    return ""


def check_prices(price_list: Iterable[PriceListItem], rules: Iterable[MarkupRule]) -> list[Finding]:
    """Find every agreed price and every rule that cannot be meant, used or not."""
    items = [_impossible_item(item, fault) for item in price_list if (fault := item_fault(item))]
    return items + [impossible(rule, fault) for rule in rules if (fault := fault_of(rule))]


def _impossible_item(item: PriceListItem, fault: str, customer_id: str = "") -> Finding:
    return Finding(
        check="price.rule",
        severity=Severity.HOLD,
        customer_id=customer_id or item.customer_id,
        record=f"agreed price {item.key}",
        sentence=f"The agreed price {item.key} cannot be meant as it stands: {fault}.",
        hint="correct the row in the table Agreed prices",
    )


def _tie(wanted: Priced, what: str, keys: Sequence[str]) -> Finding:
    return Finding(
        check="price.tie",
        severity=Severity.HOLD,
        customer_id=wanted.customer_id,
        record=wanted.record,
        sentence=(
            f"{len(keys)} {what} apply equally to {wanted.sku} on {wanted.on}: "
            f"{', '.join(sorted(keys))}."
        ),
        hint="end one of them, or make one more specific",
    )


def _no_basis(wanted: Priced, rule: MarkupRule, fault: str) -> Finding:
    return Finding(
        check="price.no_basis",
        severity=Severity.HOLD,
        customer_id=wanted.customer_id,
        record=wanted.record,
        sentence=f"Rule {rule.key} cannot price {wanted.sku}: {fault}.",
        hint="add a price for this product to the price list, or a fixed-price rule",
    )
