"""The health page of the worker's own week: the report of `reports.health` over what is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.settings import Settings
from sync.ports import Health

if TYPE_CHECKING:
    from reports.health import HealthReport


def health_page(settings: Settings, health: Health) -> Mapping[str, bytes]:
    """Draw the page and its data; documents are not linked, they stand in Dynamics."""
    from reports.health import page, summary
    from sync.health import PAGE, SUMMARY

    sellers = [one.seller.name for one in health.documents if one.seller and one.seller.name]
    partner = min(sellers, default=settings.tenant_id or "The partner")
    report = report_of(health, partner=partner, mode=settings.mode)
    data = json.dumps(summary(report), indent=2, ensure_ascii=False)
    return {PAGE: page(report).encode(), SUMMARY: f"{data}\n".encode()}


def report_of(
    health: Health, *, partner: str, mode: str, links: Mapping[str, str] | None = None
) -> HealthReport:
    """Return the report over what was read; `links` leads to documents' pages by their keys."""
    from reports.health import HealthReport

    return HealthReport(
        partner=partner,
        mode=mode,
        as_of=health.as_of,
        period=health.period,
        run=health.run,
        documents=health.documents,
        findings=health.findings,
        held=health.held,
        customers=health.customers,
        links=links or {},
        renewals=health.renewals,
        sides=health.sides,
    )
