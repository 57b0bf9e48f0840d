"""The usage of a scenario: one line for each meter and rule, and commitments as lines of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from app.whatif.prices import commits, exchange_reason, markup_rules, rounding_reason
from app.whatif.scenario import Rule, Scenario, Usage
from domain.charge import Charge, ChargeType, Reason
from domain.contract import MarkupRule
from domain.money import Money, minor_units, plain, round_half_up
from domain.period import Period
from domain.problems import Finding, Severity
from rules.cycles import Rounding, Side, round_unit
from rules.metering import Metered, commitment, meter_amount
from rules.pricing import PriceBook, Priced


def rate_usage(scenario: Scenario) -> tuple[list[Charge], list[Finding]]:
    """Return the charges of all meters, and what could not be rated."""
    window = Period(scenario.bill.start, scenario.bill.to)
    used = [
        usage
        for usage in scenario.usage or ()
        if usage.date in window and (scenario.as_of is None or usage.date <= scenario.as_of)
    ]
    if scenario.side is Side.COST:
        return _usage_cost(scenario, used)
    rules = markup_rules(scenario)
    book = PriceBook((), rules)
    groups: dict[tuple[str, str], list[Usage]] = defaultdict(list)
    findings: list[Finding] = []
    for usage in used:
        rule = book.rule(
            Priced(
                customer_id="",
                record=f"meter {usage.meter}",
                kind="usage",
                sku=usage.meter,
                on=usage.date,
                currency=scenario.currency,
                meter_category=usage.family or "",
            )
        )
        if isinstance(rule, Finding):
            findings.append(rule)
        else:
            groups[usage.meter, rule.key].append(usage)
    charges: list[Charge] = []
    charged: dict[str, Money] = defaultdict(lambda: Money.zero(scenario.currency))
    by_key = {rule.key: rule for rule in rules}
    earned = {key: rule.earned_credit_percent for key, rule in _asked(scenario)}
    for (meter, key), lines in sorted(groups.items()):
        parts = [_metered(scenario, usage, earned[key]) for usage in lines]
        total = Metered.total(parts, name=meter)
        made = meter_amount(by_key[key], total, scenario.currency)
        if isinstance(made, Finding):
            findings.append(made)
            continue
        charge = _usage_charge(scenario, lines, made.exact, made.amount, made.sentence)
        charged[key] += made.amount
        exchanged = [exchange_reason(scenario.exchange_rate)] if scenario.exchange_rate else []
        charges.append(
            replace(
                charge,
                reasons=(*exchanged, *made.reasons, *charge.reasons),
                key=f"{charge.key}/{key}",
            )
        )
    charges.extend(_commitments(scenario, rules, charged))
    return charges, findings


def _asked(scenario: Scenario) -> Iterator[tuple[str, Rule]]:
    for n, rule in enumerate(scenario.markup_rules or ()):
        yield rule.id or f"markup_rules[{n}]", rule


def _metered(scenario: Scenario, usage: Usage, of_rule: Decimal | None) -> Metered:
    """Read one usage line; the most specific earned credit lowers its cost."""
    stated = (usage.earned_credit_percent, of_rule, scenario.earned_credit_percent)
    part = Metered.of(
        name=usage.meter,
        quantity=usage.quantity,
        unit_price=usage.unit_price,
        cost=usage.cost,
        earned_credit_percent=next((p for p in stated if p is not None), Decimal(0)),
    )
    if part.basis is None or scenario.exchange_rate is None:
        return part
    return replace(part, basis=part.basis * Fraction(scenario.exchange_rate.rate))


def _usage_charge(
    scenario: Scenario, lines: Sequence[Usage], exact: Fraction, amount: Money, why: str
) -> Charge:
    days = [usage.date for usage in lines]
    meter = lines[0].meter
    service = Period(min(days), date.fromordinal(max(days).toordinal() + 1))
    quantity = sum((usage.quantity for usage in lines), Decimal(0))
    return Charge(
        key=f"charge/usage/{meter}/{service.start}",
        customer_id="",
        subscription_id="",
        type=ChargeType.USAGE,
        name=meter,
        sku=meter,
        service=service,
        full=service,
        quantity=quantity,
        unit_price=round_half_up(exact / Fraction(quantity) if quantity else exact, 10),
        exact=exact,
        amount=amount,
        why=why,
        reasons=(rounding_reason(scenario, exact, amount),),
    )


def _commitments(
    scenario: Scenario, rules: Iterable[MarkupRule], charged: Mapping[str, Money]
) -> Iterator[Charge]:
    """Yield what lifts the usage of a rule to its minimum, or cuts it to its maximum."""
    window = Period(scenario.bill.start, scenario.bill.to)
    for rule in rules:
        valid = window.intersect(rule.valid)
        if valid is None or not commits(rule):
            continue
        own = charged.get(rule.key, Money.zero(scenario.currency))
        made = commitment(rule, own, valid=valid, full=window)
        if made is None:
            continue
        exact = Fraction(made.amount.amount)
        yield Charge(
            key=f"charge/commitment/{rule.key}/{valid.start}",
            customer_id="",
            subscription_id="",
            type=ChargeType.USAGE,
            name="minimum" if exact > 0 else "maximum",
            sku=rule.sku,
            service=valid,
            full=window,
            quantity=Decimal(1),
            unit_price=made.amount.amount,
            exact=exact,
            amount=made.amount,
            why=made.sentence,
            reasons=made.reasons,
        )


def _usage_cost(scenario: Scenario, used: Sequence[Usage]) -> tuple[list[Charge], list[Finding]]:
    """Answer as Microsoft bills a meter: the sum cut to the minor unit, exchanged, cut again."""
    by_meter: dict[str, list[Usage]] = defaultdict(list)
    for usage in used:
        by_meter[usage.meter].append(usage)
    places = minor_units(scenario.currency)
    charges: list[Charge] = []
    findings: list[Finding] = []
    for meter, lines in sorted(by_meter.items()):
        unexchanged = scenario.model_copy(update={"exchange_rate": None})
        total = Metered.total([_metered(unexchanged, u, None) for u in lines], name=meter)
        if total.basis is None:
            findings.append(_no_cost(meter))
            continue
        rounding = scenario.rounding
        exact = total.basis
        if rounding is not Rounding.HALF_UP:
            exact = round_unit(rounding, exact, places)
        reasons = [Reason(rule="usage.cost", inputs={"cost": plain(total.basis)})]
        said = plain(total.basis)
        if scenario.exchange_rate is not None:
            exact *= Fraction(scenario.exchange_rate.rate)
            said = f"{said} × {plain(scenario.exchange_rate.rate)}"
            reasons.append(exchange_reason(scenario.exchange_rate))
        if rounding is not Rounding.HALF_UP:
            exact = round_unit(rounding, exact, places)
        amount = Money.rounded(exact, scenario.currency)
        count = f"{len(lines)} usage {'line' if len(lines) == 1 else 'lines'}"
        why = f"{meter}: {count}, {said} = {amount.amount:f} {amount.currency}"
        charge = _usage_charge(scenario, lines, exact, amount, why)
        charges.append(replace(charge, reasons=(*reasons, *charge.reasons)))
    return charges, findings


def _no_cost(meter: str) -> Finding:
    return Finding(
        check="price.missing",
        severity=Severity.HOLD,
        customer_id="",
        record=f"meter {meter}",
        sentence=f"The usage of {meter} has neither a cost nor a unit price.",
        hint="give cost, or unit_price",
    )
