"""What is unusual in the usage that is not billed yet, for people and for programs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.screen import print_json, table
from domain.usage_alert import AlertSeverity, AlertState, UsageAlert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from app.wiring import Worker

DONE = 0
CLOSED_DAYS = 35
"""Closed alerts are listed for five weeks after their last day."""

_URGENCY = list(AlertSeverity)


def listed(worker: Worker, *, closed: bool, customer_id: str, as_json: bool) -> int:
    """List the alerts that stand, the most urgent first; with `closed` those of the last weeks."""
    found = in_order(worker, closed=closed, customer_id=customer_id)
    names = {customer.id: customer.name for customer in worker.store.customers()}
    if as_json:
        print_json([as_data(alert, names) for alert in found])
    elif found:
        shown("Usage alerts", found, names)
    else:
        print("No usage alerts. `python -m app sync` looks at the usage that is not billed yet.")
    return DONE


def in_order(worker: Worker, *, closed: bool = False, customer_id: str = "") -> list[UsageAlert]:
    """Return the alerts that stand, the most urgent and latest first."""
    since = worker.today() - timedelta(days=CLOSED_DAYS) if closed else None
    return sorted(
        (
            alert
            for alert in worker.store.usage_alerts(since)
            if customer_id in {"", alert.customer_id}
        ),
        key=lambda one: (
            list(AlertState).index(one.state),
            -_URGENCY.index(one.severity),
            -one.last.toordinal(),
            one.key,
        ),
    )


def as_data(alert: UsageAlert, names: dict[str, str]) -> dict[str, Any]:
    """Return an alert as plain data; money is text."""
    return {
        "key": alert.key,
        "kind": alert.kind.value,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "customer_id": alert.customer_id,
        "customer": names.get(alert.customer_id, ""),
        "azure_subscription_id": alert.entitlement_id,
        "azure_subscription": alert.entitlement_name,
        "meter_category": alert.meter_category,
        "currency": alert.currency,
        "first_day": str(alert.first),
        "last_day": str(alert.last),
        "amount": f"{alert.amount:f}",
        "usual": f"{alert.usual:f}",
        "factor": None if alert.factor is None else f"{alert.factor:.1f}",
        "budget": alert.budget_key,
        "threshold_percent": None if alert.threshold is None else f"{alert.threshold:f}",
        "sentence": alert.sentence,
        "hint": alert.hint,
    }


def shown(
    title: str, found: Sequence[UsageAlert], names: dict[str, str], to: Console | None = None
) -> None:
    """Show alerts as a table."""
    table(
        title,
        ("severity", "customer", "what is unusual", "what to do"),
        [
            (
                alert.severity.value
                if alert.state is AlertState.OPEN
                else f"{alert.severity.value}, {alert.state.value}",
                names.get(alert.customer_id, alert.customer_id),
                alert.sentence,
                alert.hint,
            )
            for alert in found
        ],
        to,
    )
