"""From what was used, or what it cost, and one markup rule to an exact amount that explains itself.

The one place where a rule becomes money: the rating of Microsoft's lines and the scenario files ask
here. Nothing is rounded but a minimum or maximum, which is an agreed amount. The sentence shows the
customer's own prices, never the cost; the reasons hold both.

Limits: tiers and packages price the whole of what is handed in, so the caller sums a month first;
a negative total (a correction of more than was used) has no place in them and is a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from domain.charge import Reason
from domain.contract import MarkupMethod, MarkupRule, Package, Step, TierBasis, TierMode, Tiers
from domain.money import Exact, Money, plain, round_half_up
from domain.period import Period
from domain.problems import Finding, Severity

SHOWN = 10
"""Decimals in sentences and reasons; a price that needs more is not shown as a product."""

_HUNDRED = Fraction(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """What is to be priced as one amount: a quantity, and what it cost the partner."""

    name: str
    """What the customer reads: the meter or its family, and the time."""
    quantity: Fraction
    basis: Fraction | None
    """Cost in the currency of the sale, to which percentages apply; None: not known."""
    lines: int = 1
    customer_id: str = ""
    record: str = ""
    """Readable, for findings: `meter m1`."""

    @classmethod
    def of(
        cls,
        *,
        name: str,
        quantity: Exact,
        unit_price: Exact | None = None,
        cost: Exact | None = None,
        earned_credit_percent: Exact = 0,
    ) -> Metered:
        """Return one usage line: its basis is its cost, else quantity x unit price, less the credit.

        The earned credit is in percent of the cost (partner earned credit for managed services).
        """
        units, basis = Fraction(quantity), None
        if cost is not None:
            basis = Fraction(cost)
        elif unit_price is not None:
            basis = units * Fraction(unit_price)
        if basis is not None:
            basis = _percent_of(basis, -Fraction(earned_credit_percent))
        return cls(name=name, quantity=units, basis=basis, record=f"meter {name}")

    @classmethod
    def total(
        cls, parts: Iterable[Metered], *, name: str, customer_id: str = "", record: str = ""
    ) -> Metered:
        """Return the sum of parts; where one part's cost is not known, the sum's is not."""
        parts = tuple(parts)
        known = [part.basis for part in parts if part.basis is not None]
        return cls(
            name=name,
            quantity=sum((part.quantity for part in parts), Fraction(0)),
            basis=sum(known, Fraction(0)) if len(known) == len(parts) else None,
            lines=sum(part.lines for part in parts),
            customer_id=customer_id,
            record=record or f"meter {name}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterAmount:
    """What usage comes to: `exact` is unrounded, `amount` is rounded half-up once."""

    exact: Fraction
    amount: Money
    sentence: str
    reasons: tuple[Reason, ...]


# --- one unit ------------------------------------------------------------------------------------


def marked_up(rule: MarkupRule, basis: Fraction, units: Exact = 1) -> Fraction:
    """Apply a percent, margin, uplift, ERP-minus or fixed rule to the exact basis of some units.

    `basis` is their cost (ERP price for ERP_MINUS). ValueError for tiers and packages, which price
    no single unit.
    """
    value = Fraction(rule.value or 0)
    match rule.method:
        case MarkupMethod.PERCENT:
            return _percent_of(basis, value)
        case MarkupMethod.MARGIN:
            return basis * _HUNDRED / (_HUNDRED - value)
        case MarkupMethod.UPLIFT:
            return basis + value * Fraction(units)
        case MarkupMethod.ERP_MINUS:
            return _percent_of(basis, -value)
        case MarkupMethod.FIXED:
            return value * Fraction(units)
        case MarkupMethod.TIERS | MarkupMethod.PACKAGE:
            msg = f"{rule.method.value} price no single unit"
            raise ValueError(msg)


def bounded(rule: MarkupRule, unit: Fraction) -> tuple[Fraction, tuple[Reason, ...]]:
    """Keep a unit price between the floor and the cap of its rule; a reason tells which one held."""
    for name, bound, beyond in (
        ("floor", rule.floor, rule.floor is not None and unit < rule.floor),
        ("cap", rule.cap, rule.cap is not None and unit > rule.cap),
    ):
        if bound is not None and beyond:
            told = {"rule": rule.key, name: plain(bound), "unit_price": plain(unit)}
            return Fraction(bound), (Reason(rule=f"price.{name}", inputs=told),)
    return unit, ()


def markup_reason(rule: MarkupRule, **inputs: str) -> Reason:
    """Tell by which rule and number a price was made."""
    told = {"rule": rule.key, "method": rule.method.value}
    if rule.value is not None:
        told["value"] = plain(rule.value)
    return Reason(rule="price.markup", inputs={**told, **inputs})


# --- usage ---------------------------------------------------------------------------------------


def meter_amount(rule: MarkupRule, used: Metered, currency: str) -> MeterAmount | Finding:
    """Price usage by percent, margin, tiers or package; the finding says why a rule cannot.

    The unit price lies between floor and cap, whatever the method made it.
    """
    fault = fault_of(rule)
    if fault:
        return impossible(rule, fault, used.customer_id)
    match rule.method:
        case MarkupMethod.PERCENT | MarkupMethod.MARGIN:
            answer = _by_ratio(rule, used)
        case MarkupMethod.TIERS if rule.tiers is not None:
            answer = _by_tiers(rule, rule.tiers, used)
        case MarkupMethod.PACKAGE if rule.package is not None:
            answer = _by_package(rule, rule.package, used)
        case _:
            answer = "usage is priced by percent, margin, tiers or package"
    if isinstance(answer, str):
        return _cannot(rule, used, answer)
    exact, reasons, terms = answer.exact, answer.reasons, answer.terms
    if used.quantity:
        unit, bound = bounded(rule, exact / used.quantity)
        if bound:
            exact, reasons = unit * used.quantity, (*reasons, *bound)
            terms = f"{plain(used.quantity)} × {plain(unit)}"
    amount = Money.rounded(exact, currency)
    asked = f"{amount.amount:f} {currency}"
    if not terms or (used.quantity * 10**SHOWN).denominator > 1:
        terms = _product(used.quantity, exact, amount)
    return MeterAmount(
        exact=exact,
        amount=amount,
        sentence=f"{used.name}: {terms} = {asked}" if terms else f"{used.name}: {asked} in all",
        reasons=reasons,
    )


@dataclass(frozen=True, slots=True)
class _Priced:
    """An amount, what made it, and the terms that a customer can add up (empty: they show cost)."""

    exact: Fraction
    reasons: tuple[Reason, ...]
    terms: str = ""


def _by_ratio(rule: MarkupRule, used: Metered) -> _Priced | str:
    if used.basis is None:
        return "its cost is not known"
    reason = markup_reason(
        rule, quantity=plain(used.quantity), cost=plain(used.basis), lines=str(used.lines)
    )
    return _Priced(marked_up(rule, used.basis), (reason,))


def _by_tiers(rule: MarkupRule, tiers: Tiers, used: Metered) -> _Priced | str:
    by_cost = tiers.basis is TierBasis.COST
    measure = used.basis if by_cost else used.quantity
    if measure is None or (used.basis is None and any(s.percent is not None for s in tiers.steps)):
        return "its cost is not known"
    basis = used.basis or Fraction(0)
    what = "cost" if by_cost else "quantity"
    if measure < 0:
        return f"a {what} of {plain(measure)} lies below the first step"
    if not measure and basis:
        return "it cost something, and no quantity was used"
    last = tiers.steps[-1].up_to
    if last is not None and measure > last:
        return (
            f"a {what} of {plain(measure)} lies beyond the last step, which ends at {plain(last)}"
        )
    exact = Fraction(0)
    reasons: list[Reason] = []
    terms: list[str] = []
    shows_cost = by_cost
    for place, (step, part) in _reached(tiers, measure):
        price = part * Fraction(step.unit_price) / Fraction(step.per) + Fraction(step.flat)
        if step.percent is not None:
            price += _percent_of(basis * part / measure, Fraction(step.percent))
            shows_cost = True
        exact += price
        reasons.append(_step_reason(rule, tiers, place, step, part, price))
        terms.append(_step_terms(step, part))
    if shows_cost:
        terms = []
    return _Priced(exact, tuple(reasons) or (markup_reason(rule),), " + ".join(terms))


def _reached(tiers: Tiers, measure: Fraction) -> Iterator[tuple[int, tuple[Step, Fraction]]]:
    """Yield each step that something falls into, with its place and what falls into it."""
    below = Fraction(0)
    for place, step in enumerate(tiers.steps, start=1):
        top = measure if step.up_to is None else min(measure, Fraction(step.up_to))
        if tiers.mode is TierMode.VOLUME:
            if top == measure > 0:
                yield place, (step, measure)
                return
        elif top > below:
            yield place, (step, top - below)
            below = top


def _step_terms(step: Step, part: Fraction) -> str:
    per = "" if step.per == 1 else f" / {plain(step.per)}"
    unit = f"{plain(part)} × {plain(step.unit_price)}{per}"
    if not step.flat:
        return unit
    return f"{unit} + {plain(step.flat)}" if step.unit_price else plain(step.flat)


def _step_reason(  # noqa: PLR0917 - a step, where it stands and what came of it
    rule: MarkupRule, tiers: Tiers, place: int, step: Step, part: Fraction, price: Fraction
) -> Reason:
    inputs = {
        "rule": rule.key,
        "mode": tiers.mode.value,
        "basis": tiers.basis.value,
        "step": f"{place} of {len(tiers.steps)}",
        "part": plain(part),
    }
    if step.unit_price:
        inputs |= {"unit_price": plain(step.unit_price), "per": plain(step.per)}
    if step.flat:
        inputs["flat"] = plain(step.flat)
    if step.percent is not None:
        inputs["percent"] = plain(step.percent)
    return Reason(rule="price.tier", inputs={**inputs, "price": plain(price)})


def _by_package(rule: MarkupRule, package: Package, used: Metered) -> _Priced | str:
    if used.quantity < 0:
        return f"a quantity of {plain(used.quantity)} makes no package"
    beyond = max(Fraction(0), used.quantity - Fraction(package.free))
    packages = -(-beyond // Fraction(package.size))
    inputs = {
        "rule": rule.key,
        "quantity": plain(used.quantity),
        "free": plain(package.free),
        "size": plain(package.size),
        "packages": str(packages),
        "price": plain(package.price),
    }
    free = f" less {plain(package.free)} free" if package.free else ""
    many = "package" if packages == 1 else "packages"
    return _Priced(
        packages * Fraction(package.price),
        (Reason(rule="price.package", inputs=inputs),),
        f"{plain(used.quantity)}{free}, {packages} {many} of {plain(package.size)}"
        f" × {plain(package.price)}",
    )


def _product(quantity: Fraction, exact: Fraction, amount: Money) -> str:
    """Write quantity x price where that comes to the amount with the digits that are shown."""
    if not quantity:
        return ""
    for places in (6, SHOWN):
        price = Fraction(round_half_up(exact / quantity, places))
        counted = Fraction(round_half_up(quantity, SHOWN))
        if Money.rounded(counted * price, amount.currency) == amount:
            return f"{plain(quantity)} × {plain(price)}"
    return ""


# --- minimum and maximum -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """The true-up to a minimum, or the cut to a maximum (negative), in whole minor units."""

    amount: Money
    sentence: str
    reasons: tuple[Reason, ...]


def commitment(
    rule: MarkupRule, charged: Money, *, valid: Period, full: Period
) -> Commitment | None:
    """Return what is missing to the minimum, or too much for the maximum; None where neither.

    `charged` is the sum of the rounded charges of the rule in the period `full`; where the rule was
    `valid` in only a part of it, minimum and maximum are prorated by its days. The prorated
    agreement is rounded once, so that charges and difference make exactly that.
    """
    for name, agreed in (("minimum", rule.minimum), ("maximum", rule.maximum)):
        if agreed is None:
            continue
        share = Fraction(valid.days, full.days)
        target = Money.rounded(Fraction(agreed) * share, charged.currency)
        if charged < target if name == "minimum" else target < charged:
            amount = target - charged
            part = "" if share == 1 else f" × {valid.days}/{full.days} days"
            currency = charged.currency
            inputs = {
                "rule": rule.key,
                name: plain(agreed),
                "days": str(valid.days),
                "period_days": str(full.days),
                "due": str(target.amount),
                "charged": str(charged.amount),
            }
            return Commitment(
                amount=amount,
                sentence=(
                    f"Agreed {name} for {valid}: {plain(agreed)} {currency}{part} = "
                    f"{target.amount:f} {currency}, less {charged.amount:f} charged = "
                    f"{amount.amount:f} {currency}"
                ),
                reasons=(Reason(rule=f"price.{name}", inputs=inputs),),
            )
    return None


# --- what cannot be meant ------------------------------------------------------------------------


def fault_of(rule: MarkupRule) -> str:
    """Say in a few words what is impossible about a rule; empty for a rule that can be meant."""
    needs_value = rule.method not in {MarkupMethod.TIERS, MarkupMethod.PACKAGE}
    value = rule.value
    fault = ""
    if needs_value and value is None:
        fault = "it has no value"
    elif value is not None and not needs_value:
        fault = f"a rule by {rule.method.value} has no value of its own"
    elif value is not None:
        fault = _value_fault(rule.method, value)
    if (rule.tiers is None) == (rule.method is MarkupMethod.TIERS):
        fault = fault or "tiers and the method tiers belong together"
    if (rule.package is None) == (rule.method is MarkupMethod.PACKAGE):
        fault = fault or "a package and the method package belong together"
    if rule.tiers is not None:
        fault = fault or _tiers_fault(rule.tiers)
    if rule.package is not None:
        fault = fault or _package_fault(rule.package)
    return fault or _bounds_fault(
        {
            "floor": rule.floor,
            "cap": rule.cap,
            "minimum": rule.minimum,
            "maximum": rule.maximum,
        }
    )


def _value_fault(method: MarkupMethod, value: Decimal) -> str:
    match method:
        case MarkupMethod.PERCENT if value < -100:
            return "no price is more than 100 percent below cost"
        case MarkupMethod.MARGIN if value >= 100:
            return "no price leaves a margin of 100 percent"
        case MarkupMethod.ERP_MINUS if value > 100:
            return "no price is more than 100 percent below the retail price"
        case MarkupMethod.FIXED if value < 0:
            return "no price is below zero"
        case _:
            return ""


def _tiers_fault(tiers: Tiers) -> str:
    if not tiers.steps:
        return "it has no steps"
    if any(step.up_to is None for step in tiers.steps[:-1]):
        return "only the last step may be open"
    ends = [Decimal(0), *(step.up_to for step in tiers.steps if step.up_to is not None)]
    if any(later <= earlier for earlier, later in pairwise(ends)):
        return "its steps do not rise"
    for step in tiers.steps:
        if step.per <= 0:
            return f"a price cannot be per {plain(step.per)}"
        if step.unit_price < 0 or step.flat < 0 or (step.percent or 0) < -100:
            return "no step has a price below zero"
    return ""


def _package_fault(package: Package) -> str:
    if package.size <= 0:
        return f"a package cannot hold {plain(package.size)}"
    if package.price < 0 or package.free < 0:
        return "neither price nor free units of a package are below zero"
    return ""


def _bounds_fault(bounds: Mapping[str, Decimal | None]) -> str:
    for name, bound in bounds.items():
        if bound is not None and bound < 0:
            return f"its {name} is below zero"
    for low, high in (("floor", "cap"), ("minimum", "maximum")):
        least, most = bounds[low], bounds[high]
        if least is not None and most is not None and least > most:
            return f"its {low} is above its {high}"
    return ""


def impossible(rule: MarkupRule, fault: str, customer_id: str = "") -> Finding:
    """Return the finding about a rule that cannot be meant."""
    return Finding(
        check="price.rule",
        severity=Severity.HOLD,
        customer_id=customer_id or rule.customer_id,
        record=f"markup rule {rule.key}",
        sentence=f"Rule {rule.key} cannot be meant as it stands: {fault}.",
        hint="correct the row in the table Markup rules",
    )


def _cannot(rule: MarkupRule, used: Metered, fault: str) -> Finding:
    return Finding(
        check="price.no_basis",
        severity=Severity.HOLD,
        customer_id=used.customer_id,
        record=used.record,
        sentence=f"Rule {rule.key} cannot price {used.name}: {fault}.",
        hint="add a rule that fits this usage",
    )


def _percent_of(basis: Fraction, percent: Fraction) -> Fraction:
    return basis * (_HUNDRED + percent) / _HUNDRED
