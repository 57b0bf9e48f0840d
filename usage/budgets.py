"""Budgets: what is reached of them, and whether they will last to the end of the contract month.

A month counts from the contract's own day of the month. What is reached rests on every line that is
rated so far, however new; the forecast on the days that are complete, and for each day ahead on what
is usual on its weekday. Of several thresholds that are reached the highest is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation, localcontext

from domain.contract import BillingContract
from domain.money import Money
from domain.period import Grid, Period
from domain.problems import Finding, Severity
from domain.usage_alert import AlertKind, AlertSeverity, AlertState, UsageAlert, UsageBudget
from usage.alert_words import amount_text, day_text, factor_of, listed
from usage.alerts import CustomerUsage
from usage.baseline import BASELINE_DAYS, Baseline

LATE_DAYS = 5
"""Days after the end of a month in which its last days still come in."""
_STILL = Decimal("0.95")
"""A forecast that was told stands until it falls so far, lest it come and go from day to day."""
_MOST_PERCENT = 1000
_USUAL_THRESHOLDS = "50 80 100"
"""Where nobody typed any."""
_ZERO = Decimal(0)


def thresholds_of(budget: UsageBudget) -> list[Decimal]:
    """Return the percentages in order; ValueError when one of them is none."""
    text = budget.thresholds or _USUAL_THRESHOLDS
    words = [word.removesuffix("%") for word in re.split(r"[\s,;]+", text) if word]
    try:
        found = sorted({Decimal(word) for word in words})
    except InvalidOperation:
        found = []
    if not found or not all(one.is_finite() and 0 < one <= _MOST_PERCENT for one in found):
        msg = f"{budget.thresholds!r} are no percentages"
        raise ValueError(msg)
    return found


def fault_of(budget: UsageBudget, billed_in: Sequence[str] = ()) -> Finding | None:
    """Return what makes a budget one that cannot be meant; `billed_in`: Microsoft's currencies."""
    fault = ""
    if not budget.customer_id:
        fault = "names no customer tenant id"
    elif not re.fullmatch(r"[A-Z]{3}", budget.currency):
        fault = f"has the currency {budget.currency!r}, which is no ISO code"
    elif billed_in and budget.currency not in billed_in:
        fault = f"is in {budget.currency}, but Microsoft bills in {listed(billed_in)}"
    elif budget.amount is None or budget.amount <= 0:
        fault = "has no amount above zero"
    else:
        try:
            thresholds_of(budget)
        except ValueError as error:
            fault = f"has thresholds that cannot be read: {error}"
    if not fault:
        return None
    return Finding(
        check="budget.unreadable",
        severity=Severity.WARN,
        customer_id=budget.customer_id,
        record=f"budget {budget.key}",
        sentence=f"The usage budget {budget.key} {fault}, so nobody is alerted by it.",
        hint="correct the row in the table Usage budgets",
    )


def months_of(contract: BillingContract | None, today: date) -> list[Period]:
    """Return the contract month of a day, and the one before while its last days still come in."""
    day = contract.anchor_day if contract and contract.frequency.months else 1
    grid = Grid(1, 0, day)
    return list(
        dict.fromkeys(grid.around(one) for one in (today - timedelta(days=LATE_DAYS), today))
    )


def budget_alerts(
    budget: UsageBudget,
    usage: CustomerUsage,
    *,
    months: Sequence[Period],
    known: Sequence[date],
    today: date,
    told: Collection[str] = (),
) -> list[UsageAlert]:
    """Return what a readable budget has to tell for these months. `told`: keys that are open."""
    assert budget.amount is not None
    amounts = usage.amounts(budget.entitlement_id)
    alerts = []
    for month in months:
        if min(today, month.last_day) not in budget.valid:
            continue
        with localcontext(prec=60):
            days = [day for day in amounts if day in month]
            spent = sum((amounts[day] for day in days), _ZERO)
        reached = [
            one for one in thresholds_of(budget) if spent * 100 >= budget.amount * one and spent > 0
        ]
        if reached:
            alerts.append(
                _reached(budget, usage, month, last=max(days), spent=spent, threshold=reached[-1])
            )
        if spent < budget.amount and today in month and known:
            ahead = _forecast(budget, usage, month, spent=spent, known=known, told=told)
            alerts += [ahead] if ahead else []
    return alerts


def _reached(
    budget: UsageBudget,
    usage: CustomerUsage,
    month: Period,
    *,
    last: date,
    spent: Decimal,
    threshold: Decimal,
) -> UsageAlert:
    assert budget.amount is not None
    limit = amount_text(budget.amount, budget.currency)
    percent = int(spent * 100 / budget.amount)
    over = spent > budget.amount
    beyond = f", {amount_text(spent - budget.amount, budget.currency)} more than agreed"
    return _alert(
        budget,
        usage,
        month,
        AlertKind.BUDGET,
        mark=f"{threshold.normalize():f}-of-{budget.amount.normalize():f}",
        last=last,
        amount=spent,
        threshold=threshold,
        severity=AlertSeverity.HIGH
        if threshold >= 100
        else (AlertSeverity.MEDIUM if threshold >= 80 else AlertSeverity.LOW),
        sentence=(
            f"{usage.name(budget.entitlement_id)}: {percent} % of the budget are used, "
            f"{amount_text(spent, budget.currency)} of {limit} {budget.currency} "
            f"by {day_text(last)}{beyond if over else ''}; the month ends on "
            f"{day_text(month.last_day)}."
        ),
        hint="tell the customer, or agree on another amount and change the budget",
    )


def _forecast(
    budget: UsageBudget,
    usage: CustomerUsage,
    month: Period,
    *,
    spent: Decimal,
    known: Sequence[date],
    told: Collection[str],
) -> UsageAlert | None:
    assert budget.amount is not None
    amounts = usage.amounts(budget.entitlement_id)
    born = min(amounts, default=date.max)
    before = [(day, amounts.get(day, _ZERO)) for day in known if day >= born][-BASELINE_DAYS:]
    baseline = Baseline(before)
    if not baseline.enough:
        return None
    # Days that are not complete yet count as what is usual, or as what they have already.
    ahead = (month.start + timedelta(days=n) for n in range(month.days))
    rest = sum(
        (
            max(baseline.on(day).amount - amounts.get(day, _ZERO), _ZERO)
            for day in ahead
            if day > known[-1]
        ),
        _ZERO,
    )
    alert = _alert(
        budget,
        usage,
        month,
        AlertKind.FORECAST,
        mark=f"{budget.amount.normalize():f}",
        last=known[-1],
        amount=spent + rest,
        threshold=None,
        severity=AlertSeverity.MEDIUM,
        sentence=(
            f"{usage.name(budget.entitlement_id)}: at this pace "
            f"{amount_text(spent + rest, budget.currency)} of "
            f"{amount_text(budget.amount, budget.currency)} {budget.currency} by the end of the "
            f"month on {day_text(month.last_day)} ({amount_text(spent, budget.currency)} so far, "
            f"then what is usual on each weekday)."
        ),
        hint="tell the customer while there is time, or agree on another amount",
    )
    limit = budget.amount * (_STILL if alert.key in told else 1)
    return alert if spent + rest > limit else None


def _alert(
    budget: UsageBudget,
    usage: CustomerUsage,
    month: Period,
    kind: AlertKind,
    *,
    mark: str,
    last: date,
    amount: Decimal,
    threshold: Decimal | None,
    severity: AlertSeverity,
    sentence: str,
    hint: str,
) -> UsageAlert:
    """Make an alert; the amount of the budget is part of its key: another amount is another cause."""
    assert budget.amount is not None
    return UsageAlert(
        key=f"alert/{kind}/{budget.key}/{month.start}/{mark}",
        kind=kind,
        severity=severity,
        state=AlertState.OPEN,
        customer_id=budget.customer_id,
        entitlement_id=budget.entitlement_id,
        entitlement_name=usage.names.get(budget.entitlement_id, ""),
        currency=budget.currency,
        first=month.start,
        last=last,
        amount=Money.rounded(amount, budget.currency).amount,
        usual=Money.rounded(budget.amount, budget.currency).amount,
        factor=factor_of(amount, budget.amount),
        budget_key=budget.key,
        threshold=threshold,
        sentence=sentence,
        hint=hint,
    )
