"""What is imported from Microsoft's invoice and passed on: usage, one-time purchases, credits.

Their subtotal is the truth of the cost. Metered lines are split over who used them
(`rules.metered`); reservations, savings plans, one-time purchases and credits are passed on one by
one. A minimum or a maximum is a charge of its own for each contract month that is over.

Limits: a minimum that is agreed with everybody is asked only where something was used under it; one
that names the customer is always asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.charge import Charge, ChargeType, Reason
from domain.contract import BillingContract, MarkupRule
from domain.money import Money, plain, price_text, round_half_up, total
from domain.period import Grid, Period
from domain.problems import Finding
from domain.subscription import MARKETPLACE, CostKind, CostLine
from rules.cost_rules import BY_LINE, BY_MONTH, cannot, line_rule
from rules.grouping import Billed, family
from rules.metered import rate_usage
from rules.metering import bounded, commitment, fault_of, impossible, marked_up, markup_reason
from rules.pricing import PriceBook, rate_reason

_TYPES = {
    CostKind.CREDIT: ChargeType.CREDIT,
    CostKind.RESERVATION: ChargeType.RESERVATION,
    CostKind.SAVINGS_PLAN: ChargeType.SAVINGS_PLAN,
}

_Months = Mapping[str, list[tuple[date, Money]]]
"""What each rule asked, and the first day of what it was asked for."""


def rate_lines(
    lines: Iterable[CostLine],
    *,
    contract: BillingContract,
    book: PriceBook,
    window: Period,
    billed: Billed | None = None,
) -> tuple[list[Charge], list[Finding]]:
    """Price every line that is not of seats, and the minimum and maximum of each month in `window`.

    `lines` are one customer's of that window, excluded products left out. Usage of a month that was
    `billed` is proposed in the grouping in which it was billed.
    """
    charges: list[Charge] = []
    findings: list[Finding] = []
    metered: dict[str, list[CostLine]] = defaultdict(list)
    for line in lines:
        if line.falls_on is None or line.kind is CostKind.LICENCE:
            continue
        if line.kind is CostKind.USAGE:
            metered[line.subscription_id].append(line)
            continue
        answer = _rate_line(line, line.falls_on, book, contract.currency)
        if isinstance(answer, Charge):
            charges.append(answer)
        else:
            findings.append(answer)
    asked: dict[str, list[tuple[date, Money]]] = defaultdict(list)
    for plan in sorted(metered):
        usage = rate_usage(metered[plan], contract=contract, book=book, billed=billed or {})
        charges.extend(usage.charges)
        findings.extend(usage.findings)
        for rule, day, amount in usage.asked:
            asked[rule].append((day, amount))
    found_terms, faults = _commitments(contract, book.rules, asked, window)
    return charges + found_terms, findings + faults


# --- one-time, reservations, credits -------------------------------------------------------------


def _rate_line(line: CostLine, day: date, book: PriceBook, currency: str) -> Charge | Finding:
    """Pass one line of Microsoft's invoice on, marked up; its subtotal is the cost."""
    found = line_rule(line, day, book, currency)
    if isinstance(found, Finding):
        return found
    rule, rate = found
    quantity = line.seats or Decimal(-1 if line.is_credit else 1)
    is_credit = line.kind is CostKind.CREDIT
    if rule.method in BY_MONTH or rule.minimum is not None or rule.maximum is not None:
        return cannot(line, rule, "tiers, packages, minimum and maximum are for usage")
    if is_credit and rule.method not in BY_LINE:
        return cannot(line, rule, "a credit is passed on by percent or margin")
    cost = Fraction(line.subtotal) * (Fraction(rate.rate) if rate else 1)
    exact = marked_up(rule, cost, quantity)
    reasons = [
        Reason(rule="cost.line", inputs={"line": line.key, "subtotal": plain(line.subtotal)}),
        *((rate_reason(rate),) if rate else ()),
        markup_reason(rule),
    ]
    if not line.subtotal and not line.unit_price:
        exact = Fraction(0)  # a trial: what is listed at nothing gets no price by a rule
        reasons.append(Reason(rule="price.free", inputs={"rule": rule.key, "cost": "0"}))
    elif not is_credit:
        unit, bound = bounded(rule, exact / Fraction(quantity))
        exact = unit * Fraction(quantity)
        reasons.extend(bound)
        if unit < 0:
            return cannot(line, rule, "its price would be below zero")
    amount = Money.rounded(exact, currency)
    service = line.charged or Period(day, day)
    return Charge(
        key=f"charge/{line.key}",
        customer_id=line.customer_id,
        subscription_id=line.subscription_id,
        type=_type(line),
        name=f"{line.name} ({line.credit_reason})" if line.credit_reason else line.name,
        sku=line.sku,
        service=service,
        full=service,
        quantity=quantity,
        unit_price=round_half_up(exact / Fraction(quantity), 10),
        exact=exact,
        amount=amount,
        unit_cost=round_half_up(cost / Fraction(quantity), 10),
        why=_passed_on_sentence(line, service, quantity, exact / Fraction(quantity), amount),
        reasons=tuple(reasons),
        cost_lines=(line.key,),
    )


def _type(line: CostLine) -> ChargeType:
    if line.is_marketplace and line.kind is not CostKind.CREDIT:
        return ChargeType.MARKETPLACE
    return _TYPES.get(line.kind, ChargeType.ONE_TIME)


def _passed_on_sentence(
    line: CostLine, service: Period, quantity: Decimal, unit: Fraction, amount: Money
) -> str:
    """What the customer reads: our price, never our cost; that and the markup are reasons."""
    asked = f"{amount.amount:f} {amount.currency}"
    if line.kind is CostKind.CREDIT:
        return f"Microsoft's credit for {service}: {asked}"
    price = round_half_up(unit, 6)
    if Money.rounded(Fraction(price) * Fraction(quantity), amount.currency) != amount:
        return f"{plain(quantity)} for {service}: {asked} in all"
    return f"{plain(quantity)} × {price_text(price, amount.currency)} {amount.currency} ({service}) = {asked}"


# --- minimum and maximum -------------------------------------------------------------------------


def _commitments(
    contract: BillingContract,
    rules: Iterable[MarkupRule],
    asked: _Months,
    window: Period,
) -> tuple[list[Charge], list[Finding]]:
    """Make the true-up or the cut of each rule and contract month that is over within `window`."""
    charges: list[Charge] = []
    findings: list[Finding] = []
    served = Period(contract.starts, max(contract.starts, contract.ends or date.max))
    grid = Grid(1, 0, contract.anchor_day if contract.frequency.months else 1)
    for rule in sorted(rules, key=lambda rule: rule.key):
        if (
            (rule.minimum is None and rule.maximum is None)
            or rule.customer_id not in {"", contract.customer_id}
            or rule.kind not in {"", CostKind.USAGE.value, MARKETPLACE}
            or rule.currency not in {"", contract.currency}
        ):
            continue
        fault = fault_of(rule)
        if fault:
            findings.append(impossible(rule, fault, contract.customer_id))
            continue
        months: dict[int, list[Money]] = defaultdict(list)
        for day, amount in asked.get(rule.key, ()):
            months[grid.index_of(day)].append(amount)
        first, last = grid.index_of(window.start), grid.index_of(window.last_day)
        for n in range(first, last + 1):
            month = grid.nth(n)
            due = month.intersect(served)
            valid = due.intersect(rule.valid) if due else None
            if due is None or valid is None or due.start < window.start or window.end < due.end:
                continue
            if not rule.customer_id and not months[n]:
                continue
            made = _commitment_charge(contract, rule, months[n], valid, month)
            charges.extend([made] if made else [])
    return charges, findings


def _commitment_charge(
    contract: BillingContract,
    rule: MarkupRule,
    asked: Iterable[Money],
    valid: Period,
    month: Period,
) -> Charge | None:
    charged = total(asked, contract.currency)
    made = commitment(rule, charged, valid=valid, full=month)
    if made is None:
        return None
    what = "minimum" if made.amount.amount > 0 else "maximum"
    subject = family(rule.meter_category)
    return Charge(
        key=f"charge/commitment/{rule.key}/{month.start}",
        customer_id=contract.customer_id,
        subscription_id="",
        type=ChargeType.USAGE,
        name=f"{subject}, agreed {what}",
        sku=rule.sku,
        service=valid,
        full=month,
        quantity=Decimal(1),
        unit_price=made.amount.amount,
        exact=Fraction(made.amount.amount),
        amount=made.amount,
        unit_cost=Decimal(0),
        why=made.sentence,
        reasons=made.reasons,
    )
