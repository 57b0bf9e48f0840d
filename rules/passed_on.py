"""What is imported from Microsoft's invoice and passed on: usage, one-time purchases, credits.

Their subtotal is the truth of the cost. A metered line is split over the Azure subscriptions and
meter categories that used it by largest remainder, so the parts sum to the line to the cent. Tiers
and packages look at the whole month of one plan and meter category, all its Azure subscriptions
together. A minimum or a maximum is a charge of its own for each contract month that is over.

Limits: the quantity of a meter category adds up meters of different units; a rule with tiers or a
package is best written for one product. A minimum that is agreed with everybody is asked only where
something was used under it; one that names the customer is always asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.charge import Charge, ChargeType, Reason
from domain.contract import BillingContract, ExchangeRate, MarkupMethod, MarkupRule
from domain.money import Money, allocate, minor_units, plain, price_text, round_half_up, total
from domain.period import Grid, Period
from domain.problems import Finding, Severity
from domain.subscription import CostKind, CostLine
from rules.metering import (
    MeterAmount,
    Metered,
    bounded,
    commitment,
    fault_of,
    impossible,
    marked_up,
    markup_reason,
    meter_amount,
)
from rules.pricing import PriceBook, Priced, rate_reason

_BY_MONTH = {MarkupMethod.TIERS, MarkupMethod.PACKAGE}
_BY_LINE = {MarkupMethod.PERCENT, MarkupMethod.MARGIN}


def rate_lines(
    lines: Iterable[CostLine], *, contract: BillingContract, book: PriceBook, window: Period
) -> tuple[list[Charge], list[Finding]]:
    """Price every line that is not of seats, and the minimum and maximum of each month in `window`.

    `lines` are one customer's of that window, excluded products left out.
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
    asked: dict[str, list[Charge]] = defaultdict(list)
    for plan in sorted(metered):
        found, faults = _rate_usage(metered[plan], book, contract.currency)
        for charge, rule in found:
            charges.append(charge)
            asked[rule.key].append(charge)
        findings.extend(faults)
    found_terms, faults = _commitments(contract, book.rules, asked, window)
    return charges + found_terms, findings + faults


# --- one-time, reservations, credits -------------------------------------------------------------


def _rate_line(line: CostLine, day: date, book: PriceBook, currency: str) -> Charge | Finding:
    """Pass one line of Microsoft's invoice on, marked up; its subtotal is the cost."""
    found = _line_rule(line, day, book, currency)
    if isinstance(found, Finding):
        return found
    rule, rate = found
    quantity = line.seats or Decimal(-1 if line.is_credit else 1)
    is_credit = line.kind is CostKind.CREDIT
    if rule.method in _BY_MONTH or rule.minimum is not None or rule.maximum is not None:
        return _cannot(line, rule, "tiers, packages, minimum and maximum are for usage")
    if is_credit and rule.method not in _BY_LINE:
        return _cannot(line, rule, "a credit is passed on by percent or margin")
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
            return _cannot(line, rule, "its price would be below zero")
    amount = Money.rounded(exact, currency)
    service = line.charged or Period(day, day)
    return Charge(
        key=f"charge/{line.key}",
        customer_id=line.customer_id,
        subscription_id=line.subscription_id,
        type=ChargeType.CREDIT if is_credit else ChargeType.ONE_TIME,
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


def _line_rule(
    line: CostLine, day: date, book: PriceBook, currency: str, category: str = ""
) -> tuple[MarkupRule, ExchangeRate | None] | Finding:
    """Return the rule of a line, and the rate of the day where its cost is in another currency."""
    rule = book.rule(
        Priced(
            customer_id=line.customer_id,
            record=f"cost line {line.key}",
            kind=line.kind.value,
            sku=line.sku,
            on=day,
            currency=currency,
            meter_category=category,
        )
    )
    if isinstance(rule, Finding):
        return rule
    if rule.method is MarkupMethod.ERP_MINUS:
        return _cannot(line, rule, "this kind of line has no suggested retail price")
    if line.currency == currency:
        return rule, None
    rate = book.rate(line.currency, currency, day)
    if isinstance(rate, ExchangeRate):
        return rule, rate
    # A price of its own needs no cost; that its cost is not known then stays so.
    return (rule, None) if rule.method is MarkupMethod.FIXED else _cannot(line, rule, rate)


def _cannot(line: CostLine, rule: MarkupRule, fault: str) -> Finding:
    return Finding(
        check="price.no_basis",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"cost line {line.key}",
        sentence=f"Rule {rule.key} cannot price {line.name}: {fault}.",
        hint="add a rule that fits this kind of line",
    )


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


# --- usage ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Used:
    """What is priced as one: a meter category of one Azure subscription, or of a plan's month."""

    name: str
    line: CostLine
    rule: MarkupRule
    rate: ExchangeRate | None
    cost: Decimal = Decimal(0)
    basis: Fraction = Fraction(0)
    """The cost in the currency of the sale."""
    daily: dict[tuple[str, str, str], tuple[int, Decimal]] = field(default_factory=dict)
    """Daily lines and their quantity by where they were read: lines of one meter share theirs."""
    cost_lines: dict[str, CostLine] = field(default_factory=dict)

    @property
    def lines(self) -> int:
        return sum(count for count, _ in self.daily.values())

    @property
    def quantity(self) -> Fraction:
        return sum((Fraction(quantity) for _, quantity in self.daily.values()), Fraction(0))

    @property
    def service(self) -> Period:
        charged = [line.charged for line in self.cost_lines.values() if line.charged]
        if not charged:
            day = self.line.falls_on or date.min
            return Period(day, day)
        return Period(min(p.start for p in charged), max(p.end for p in charged))


def _rate_usage(
    lines: Iterable[CostLine], book: PriceBook, currency: str
) -> tuple[list[tuple[Charge, MarkupRule]], list[Finding]]:
    """Make the charges of one Azure plan, each with its rule.

    One charge per Azure subscription, meter category and period of a line; where the rule looks at
    the month, one per meter category and month.
    """
    groups: dict[tuple[date, str, str, str], _Used] = {}
    findings: list[Finding] = []
    for line in sorted(lines, key=lambda line: line.key):
        day = line.falls_on
        if day is None:
            continue
        if not line.shares:
            if line.subtotal:  # else billed at zero and used by nobody
                findings.append(_no_usage(line))
            continue
        parts = allocate(line.subtotal, [abs(s.cost) for s in line.shares], _places(line))
        for share, part in zip(line.shares, parts, strict=True):
            found = _line_rule(line, day, book, currency, share.meter_category)
            if isinstance(found, Finding):
                findings.append(found)
                continue
            rule, rate = found
            if rule.method in _BY_MONTH:
                place = (day.replace(day=1), "", share.meter_category, rule.key)
            elif rule.method in _BY_LINE:
                told = f"/{rule.sku}" if rule.sku else ""
                told += f"/{line.currency}" if rate else ""
                place = (day, share.entitlement_id, share.meter_category, told)
            else:
                findings.append(_cannot(line, rule, "usage is priced by percent or margin"))
                continue
            used = groups.setdefault(place, _Used(share.entitlement_name, line, rule, rate))
            used.cost += part
            used.basis += Fraction(part) * (Fraction(rate.rate) if rate else 1)
            read_from = (line.invoice_id, line.sku, share.entitlement_id)
            used.daily[read_from] = (share.lines, share.quantity)
            used.cost_lines[line.key] = line
    charges: list[tuple[Charge, MarkupRule]] = []
    for (day, entitlement, category, told), used in sorted(groups.items()):
        by_month = used.rule.method in _BY_MONTH
        name = _family(category) if by_month else f"{_family(category)}, {used.name or entitlement}"
        answer = meter_amount(
            used.rule,
            Metered(
                name=f"{name} ({used.service})",
                quantity=used.quantity,
                basis=used.basis,
                lines=used.lines,
                customer_id=used.line.customer_id,
                record=f"usage of {category} from {used.service.start}",
            ),
            currency,
        )
        if isinstance(answer, Finding):
            findings.append(answer)
            continue
        where = f"month/{category}/{told}" if by_month else f"{entitlement}/{category}{told}"
        key = f"charge/{used.line.subscription_id}/usage/{day}/{where}"
        charges.append((_usage_charge(key, name, category, entitlement, used, answer), used.rule))
    return charges, findings


def _usage_charge(  # noqa: PLR0917 - a group and what was made of it
    key: str, name: str, category: str, entitlement: str, used: _Used, made: MeterAmount
) -> Charge:
    service = used.service
    why = made.sentence
    if used.rule.method in _BY_LINE:  # many meters: no product of a quantity and a price
        asked = f"{made.amount.amount:f} {made.amount.currency}"
        why = f"{_count(used.lines, 'usage line')} of Microsoft for {service} = {asked}"
    split = {
        "azure_subscription": entitlement,
        "meter_category": category,
        "usage_lines": str(used.lines),
        "invoice_lines": str(len(used.cost_lines)),
        "cost": f"{plain(used.cost)} {used.line.currency}",
    }
    return Charge(
        key=key,
        customer_id=used.line.customer_id,
        subscription_id=used.line.subscription_id,
        type=ChargeType.USAGE,
        name=name,
        sku=used.line.sku,
        service=service,
        full=service,
        quantity=Decimal(1),
        unit_price=round_half_up(made.exact, 10),
        exact=made.exact,
        amount=made.amount,
        unit_cost=round_half_up(used.basis, 10) if used.rate else used.cost,
        why=why,
        reasons=(
            Reason(rule="usage.split", inputs={k: v for k, v in split.items() if v}),
            *((rate_reason(used.rate),) if used.rate else ()),
            *made.reasons,
        ),
        cost_lines=tuple(sorted(used.cost_lines)),
    )


def _places(line: CostLine) -> int:
    """Cents, or as many decimals as Microsoft wrote: the parts must sum to the line."""
    exponent = line.subtotal.as_tuple().exponent
    return max(minor_units(line.currency), -exponent if isinstance(exponent, int) else 0)


def _family(category: str) -> str:
    return category if category.startswith("Azure") else f"Azure {category or 'usage'}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _no_usage(line: CostLine) -> Finding:
    return Finding(
        check="usage.missing",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"cost line {line.key}",
        sentence=(
            f"Microsoft billed {line.subtotal} {line.currency} for {line.name}, "
            "but the daily usage explains none of it."
        ),
        hint="pull the usage of this invoice again; Microsoft may deliver it up to a day late",
    )


# --- minimum and maximum -------------------------------------------------------------------------


def _commitments(
    contract: BillingContract,
    rules: Iterable[MarkupRule],
    asked: Mapping[str, list[Charge]],
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
            or rule.kind not in {"", CostKind.USAGE.value}
            or rule.currency not in {"", contract.currency}
        ):
            continue
        fault = fault_of(rule)
        if fault:
            findings.append(impossible(rule, fault, contract.customer_id))
            continue
        months: dict[int, list[Charge]] = defaultdict(list)
        for charge in asked.get(rule.key, ()):
            months[grid.index_of(charge.service.start)].append(charge)
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
    asked: list[Charge],
    valid: Period,
    month: Period,
) -> Charge | None:
    charged = total((charge.amount for charge in asked), contract.currency)
    made = commitment(rule, charged, valid=valid, full=month)
    if made is None:
        return None
    what = "minimum" if made.amount.amount > 0 else "maximum"
    subject = _family(rule.meter_category)
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
