"""The rules and rates of a scenario in the words of billing."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

from app.whatif.scenario import Exchange, Rule, Scenario
from domain import contract as words
from domain.charge import Reason
from domain.contract import MarkupMethod, MarkupRule
from domain.money import Money, plain
from domain.period import Period

_KINDS = {"usage": "usage", "subscription": "licence", None: ""}


def markup_rules(scenario: Scenario) -> list[MarkupRule]:
    """Return the markup rules, each under its id or its place in the file."""
    return [_markup(n, rule) for n, rule in enumerate(scenario.markup_rules or (), start=1)]


def _markup(n: int, rule: Rule) -> MarkupRule:
    form = rule.forms[0] if rule.forms else "percent"
    value = getattr(rule, form) if form not in {"tiers", "package"} else None
    return MarkupRule(
        key=rule.id or f"markup_rules[{n - 1}]",
        method=MarkupMethod(form),
        # A rule with commitments alone passes on what was used at its price.
        value=Decimal(0) if not rule.forms else value,
        valid=Period(rule.start or date.min, rule.to or date.max),
        kind=_KINDS[rule.match.kind],
        sku=rule.match.sku or rule.match.meter or "",
        meter_category=rule.match.family or "",
        tiers=_tiers(rule),
        package=words.Package(**rule.package.model_dump()) if rule.package else None,
        floor=rule.floor,
        cap=rule.cap,
        minimum=rule.minimum,
        maximum=rule.maximum,
    )


def _tiers(rule: Rule) -> words.Tiers | None:
    if rule.tiers is None:
        return None
    return words.Tiers(
        mode=words.TierMode(rule.tiers.mode),
        basis=words.TierBasis(rule.tiers.basis),
        steps=tuple(words.Step(**step.model_dump(exclude_none=True)) for step in rule.tiers.steps),
    )


def commits(rule: MarkupRule) -> bool:
    """Say whether a rule promises a minimum or a maximum."""
    return rule.minimum is not None or rule.maximum is not None


def is_for_usage(rule: MarkupRule) -> bool:
    """Say whether a rule prices usage alone: by its kind, or since seats have no tiers."""
    return rule.kind == "usage" or rule.method in {MarkupMethod.TIERS, MarkupMethod.PACKAGE}


def exchange_reason(exchange: Exchange) -> Reason:
    """Tell rate, source and day of an exchange, as far as they are given."""
    told = {
        "rate": plain(exchange.rate),
        "from": exchange.currency,
        "source": exchange.source,
        "date": exchange.date and str(exchange.date),
    }
    return Reason(rule="price.exchange", inputs={k: v for k, v in told.items() if v})


def rounding_reason(scenario: Scenario, exact: Fraction, amount: Money) -> Reason:
    """Tell what was rounded, and how."""
    inputs = {"exact": plain(exact), "amount": str(amount.amount)}
    return Reason(rule=f"rounding.{scenario.rounding.value}", inputs=inputs)
