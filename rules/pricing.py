"""Which price applies: the customer's price list first, then the most specific markup rule.

Precedence is by what is named (customer, product, meter family, kind), never by chance: two that
tie are a finding. A price is locked for a term: validity is looked up on the day the term starts.
A price is exact (a Fraction); nothing is rounded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.charge import Reason
from domain.contract import MarkupMethod, MarkupRule, PriceListItem
from domain.money import plain
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from rules.proration import UnitPrice


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
    term: TermDuration | None = None
    billing_cycle: BillingCycle | None = None
    meter_category: str = ""
    cost: Decimal | None = None
    cost_currency: str = ""
    erp: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PriceBook:
    """The agreed prices and markup rules that may apply to one customer."""

    price_list: Sequence[PriceListItem]
    rules: Sequence[MarkupRule]

    def price(self, wanted: Priced) -> UnitPrice | Finding:
        """Return the price of one unit, or the finding that says why there is none."""
        agreed = self._agreed(wanted)
        if agreed is not None:
            return agreed
        rule = self.rule(wanted)
        return rule if isinstance(rule, Finding) else apply(rule, wanted)

    def _agreed(self, wanted: Priced) -> UnitPrice | Finding | None:
        if wanted.billing_cycle is None:
            return None
        items = [
            item
            for item in self.price_list
            if item.sku == wanted.sku
            and item.customer_id in {"", wanted.customer_id}
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
        return UnitPrice(
            value=Fraction(item.unit_price),
            cost=wanted.cost,
            reasons=(
                Reason(
                    rule="price.agreed",
                    inputs={
                        "price_list": item.key,
                        "valid": str(item.valid),
                        "unit_price": plain(item.unit_price),
                    },
                ),
            ),
        )

    def rule(self, wanted: Priced) -> MarkupRule | Finding:
        """Return the one most specific rule in force, or the finding that there is none, or two."""
        matching = [
            rule
            for rule in self.rules
            if rule.customer_id in {"", wanted.customer_id}
            and rule.sku in {"", wanted.sku}
            and rule.meter_category in {"", wanted.meter_category}
            and rule.kind in {"", wanted.kind}
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
                hint="add a markup rule for this kind, or a price for this product",
            )
        best = max(rule.rank for rule in matching)
        top = [rule for rule in matching if rule.rank == best]
        if len(top) > 1:
            return _tie(wanted, "markup rules", [rule.key for rule in top])
        if top[0].method is MarkupMethod.MARGIN and top[0].value >= 100:
            return _no_basis(wanted, top[0], "no price leaves a margin of 100 percent")
        return top[0]


def apply(rule: MarkupRule, wanted: Priced) -> UnitPrice | Finding:
    """Make the price of one unit by one rule; a basis that is not known is a finding."""
    basis = wanted.erp if rule.method is MarkupMethod.ERP_MINUS else wanted.cost
    if rule.method is MarkupMethod.FIXED:
        value = Fraction(rule.value)
    elif basis is None:
        what = "suggested retail price" if rule.method is MarkupMethod.ERP_MINUS else "cost"
        return _no_basis(wanted, rule, f"its {what} is not known")
    elif wanted.cost_currency not in {"", wanted.currency}:
        return _no_basis(
            wanted, rule, f"it costs {wanted.cost_currency} and is sold in {wanted.currency}"
        )
    else:
        value = marked_up(rule, Fraction(basis))
    inputs = {"rule": rule.key, "method": rule.method.value, "value": plain(rule.value)}
    if basis is not None and rule.method is not MarkupMethod.FIXED:
        inputs["erp" if rule.method is MarkupMethod.ERP_MINUS else "cost"] = plain(basis)
    return UnitPrice(
        value=value,
        cost=wanted.cost,
        reasons=(Reason(rule="price.markup", inputs={**inputs, "unit_price": plain(value)}),),
    )


def marked_up(rule: MarkupRule, basis: Fraction) -> Fraction:
    """Apply a rule to an exact basis (cost, or ERP price for ERP_MINUS)."""
    value = Fraction(rule.value)
    match rule.method:
        case MarkupMethod.PERCENT:
            return basis * (100 + value) / 100
        case MarkupMethod.MARGIN:
            return basis * 100 / (100 - value)
        case MarkupMethod.UPLIFT:
            return basis + value
        case MarkupMethod.ERP_MINUS:
            return basis * (100 - value) / 100
        case MarkupMethod.FIXED:
            return value


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
