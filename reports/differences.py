"""Differences between the four sides of a month, and margins, as plain data; money is text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from domain.reconciliation import Difference, Margin, Remedy, SideTotal

TO_DO: Mapping[Remedy, str] = {
    Remedy.CLAIM: "Claim from Microsoft",
    Remedy.BILL_CUSTOMER: "Bill the customer",
    Remedy.CREDIT_CUSTOMER: "Credit the customer",
    Remedy.CORRECT_ACCOUNTING: "Correct the accounting",
    Remedy.NONE: "Nothing to do",
}
"""What each remedy asks of a person."""


def difference_as_data(one: Difference, customers: Mapping[str, str]) -> dict[str, Any]:
    """Return one difference; `customers` holds names by tenant id."""
    return {
        "comparison": one.comparison.value,
        "cause": one.cause.value,
        "remedy": one.remedy.value,
        "customer_id": one.customer_id,
        "customer": customers.get(one.customer_id, one.customer_id),
        "subscription": one.subscription_id,
        "product": one.product,
        "service_start": str(one.service.start) if one.service else None,
        "service_end": str(one.service.end) if one.service else None,
        "currency": one.currency,
        "amount": f"{one.amount:f}",
        "sentence": one.sentence,
        "hint": one.hint,
        "records": list(one.records),
    }


def margin_as_data(one: Margin, customers: Mapping[str, str]) -> dict[str, Any]:
    """Return one margin; what cannot be said is null."""
    return {
        "customer_id": one.customer_id,
        "customer": customers.get(one.customer_id, one.customer_id),
        "product": one.product,
        "name": one.name,
        "currency": one.currency,
        "cost": f"{one.cost:f}",
        "sold": f"{one.sold:f}",
        "margin": None if one.margin is None else f"{one.margin:f}",
        "percent": None if one.percent is None else f"{one.percent:f}",
    }


def side_as_data(total: SideTotal) -> dict[str, Any]:
    """Return the four sides in one currency; a side that was not compared is null."""
    names = ("microsoft", "expected", "due", "sold", "documents", "booked")
    amounts = {name: getattr(total, name) for name in names}
    return {
        "currency": total.currency,
        **{name: None if value is None else f"{value:f}" for name, value in amounts.items()},
        "residuals": {side.value: f"{value:f}" for side, value in total.residuals.items()},
    }


def by_customer(margins: Iterable[Margin]) -> list[Margin]:
    """Add up the margins of each customer by currency; what stands apart stays apart."""
    sums: dict[tuple[str, str, bool], Margin] = {}
    for one in margins:
        place = one.customer_id, one.currency, one.margin is None
        known = sums.get(place)
        cost, sold = (known.cost, known.sold) if known else (Decimal("0.00"), Decimal("0.00"))
        sums[place] = Margin(
            customer_id=one.customer_id,
            product="",
            name="",
            currency=one.currency,
            cost=cost + one.cost,
            sold=sold + one.sold,
            margin=None if one.margin is None else sold + one.sold - cost - one.cost,
        )
    return list(sums.values())


def worth_said(differences: Sequence[Difference]) -> str:
    """Say what needs a person: `1,284.50 EUR in 7 places`; empty where nothing does."""
    sums: dict[str, list[Decimal]] = {}
    for one in differences:
        if one.remedy is not Remedy.NONE:
            sums.setdefault(one.currency, []).append(abs(one.amount))
    return " and ".join(
        f"{sum(amounts):,f} {currency} in {len(amounts)} {'place' if len(amounts) == 1 else 'places'}"
        for currency, amounts in sorted(sums.items())
    )
