"""Which markup rule prices a line of Microsoft's invoice, and at which rate its cost is sold."""

from __future__ import annotations

from datetime import date

from domain.contract import ExchangeRate, MarkupMethod, MarkupRule
from domain.problems import Finding, Severity
from domain.subscription import MARKETPLACE, CostKind, CostLine
from rules.pricing import PriceBook, Priced

BY_MONTH = {MarkupMethod.TIERS, MarkupMethod.PACKAGE}
"""Methods that look at the whole month."""
BY_LINE = {MarkupMethod.PERCENT, MarkupMethod.MARGIN}
"""Methods that price a cost, whatever it is the cost of."""


def line_rule(
    line: CostLine, day: date, book: PriceBook, currency: str, category: str = ""
) -> tuple[MarkupRule, ExchangeRate | None] | Finding:
    """Return the rule of a line, and the rate of the day where its cost is in another currency.

    What another publisher sells is priced as marketplace, and where no rule of that kind stands, by
    the kind as which it is billed; a credit is a credit, whoever grants it.
    """
    elsewhere = line.is_marketplace and line.kind is not CostKind.CREDIT
    rule = book.rule(
        Priced(
            customer_id=line.customer_id,
            record=f"cost line {line.key}",
            kind=MARKETPLACE if elsewhere else line.kind.value,
            general_kind=line.kind.value,
            sku=line.sku,
            on=day,
            currency=currency,
            meter_category=category,
        )
    )
    if isinstance(rule, Finding):
        return rule
    if rule.method is MarkupMethod.ERP_MINUS:
        return cannot(line, rule, "this kind of line has no suggested retail price")
    if line.currency == currency:
        return rule, None
    rate = book.rate(line.currency, currency, day)
    if isinstance(rate, ExchangeRate):
        return rule, rate
    # A price of its own needs no cost; that its cost is not known then stays so.
    return (rule, None) if rule.method is MarkupMethod.FIXED else cannot(line, rule, rate)


def cannot(line: CostLine, rule: MarkupRule, fault: str) -> Finding:
    """Return the finding that a rule does not fit a line."""
    return Finding(
        check="price.no_basis",
        severity=Severity.HOLD,
        customer_id=line.customer_id,
        record=f"cost line {line.key}",
        sentence=f"Rule {rule.key} cannot price {line.name}: {fault}.",
        hint="add a rule that fits this kind of line",
    )
