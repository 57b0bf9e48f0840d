"""Alerts in words: what was used instead of what, because of what, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.money import Money, round_half_up
from domain.usage_alert import AlertKind
from usage.spikes import Episode

Part = tuple[str, str]
"""An Azure subscription (its id) and a meter category."""


def words_of(
    name_of: Callable[[str], str],
    currency: str,
    kind: AlertKind,
    entitlement: str,
    *,
    one: Episode,
    causes: Sequence[tuple[Part, Decimal]],
) -> tuple[str, str]:
    """Return the sentence and the hint of an episode; `name_of` names Azure subscriptions by id."""
    name = name_of(entitlement)
    amount, usual = amount_text(one.amount, currency), amount_text(one.usual, currency)
    parts = [
        f"{category if entitlement else f'{category} in {name_of(owner)}'} "
        f"({'+' if rise > 0 else ''}{amount_text(rise, currency)})"
        for (owner, category), rise in causes
    ]
    because = f", because of {listed(parts)}" if parts else ""
    where = f"{causes[0][0][1]} in {name_of(causes[0][0][0])}" if causes else name
    match kind:
        case AlertKind.DROP:
            days = (one.last - one.first).days + 1
            most = f", most of it {listed(parts)}" if parts else ""
            told = (
                f"{name}: no usage for {days} days, {span(one.first, one.last)}, "
                f"where {usual} {currency} are usual{most}."
            )
            hint = (
                "ask whether it was stopped on purpose; if not, look at the subscription's state "
                "and at the partner's access in Partner Center"
            )
            ended = "There is usage again."
        case AlertKind.NEW_SUBSCRIPTION:
            told = (
                f"{name} is new and used {amount} {currency} {_on_days(one)}, where everything "
                f"else of the customer usually comes to {usual} {currency}{because}."
            )
            hint = f"ask the customer whether it is meant, beginning with {where}"
            ended = "It is not judged as new any more."
        case _:
            told = f"{name}: {_compared(one, currency)}{because}."
            hint = (
                f"look at {where} in the Azure portal's cost analysis; stop what is not meant, or "
                "acknowledge this alert: Microsoft will bill it"
            )
            ended = "It is over."
    if one.accepted:
        ended = "After four weeks this counts as usual."
    return (f"{told} {ended}" if one.over else told), hint


def _compared(one: Episode, currency: str) -> str:
    amount, usual = amount_text(one.amount, currency), amount_text(one.usual, currency)
    factor = factor_of(one.amount, one.usual)
    if factor is None:
        return f"{amount} {currency} {_on_days(one)}, where nothing is usual"
    if len(one.days) > 1:
        return f"{factor} times the usual ({amount} instead of {usual} {currency} {_on_days(one)})"
    day = f"{one.first:%A}" if one.baseline.on(one.first).by_weekday else "day"
    return (
        f"{factor} times the usual {day} "
        f"({amount} instead of {usual} {currency} on {day_text(one.first)})"
    )


def _on_days(one: Episode) -> str:
    if len(one.days) == 1:
        return f"on {one.first:%A} {day_text(one.first)}"
    every = (one.last - one.first).days + 1 == len(one.days)
    days = span(one.first, one.last)
    return days if every else f"on {len(one.days)} days {days}"


def factor_of(amount: Decimal, usual: Decimal) -> Decimal | None:
    """Return by how much one is the other, to one decimal; None where nothing is usual."""
    return round_half_up(Fraction(amount) / Fraction(usual), 1) if usual > 0 else None


def amount_text(amount: Decimal, currency: str) -> str:
    """Write an amount as people read it, without its currency."""
    return f"{Money.rounded(amount, currency).amount:,f}"


def day_text(day: date) -> str:
    """Write a day: 3 November 2026."""
    return f"{day.day} {day:%B %Y}"


def span(first: date, last: date) -> str:
    """Write the days from one to another."""
    if first == last:
        return f"on {day_text(first)}"
    start = f"{first.day}" if first.month == last.month else f"{first.day} {first:%B}"
    start = start if first.year == last.year else day_text(first)
    return f"from {start} to {day_text(last)}"


def listed(parts: Sequence[str]) -> str:
    """Join parts by commas and a last `and`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""
