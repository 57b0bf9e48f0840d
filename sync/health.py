"""The health page of a week: what is stored, read once, drawn, and kept in the archive.

The page itself is drawn outside (`Ports.health_page`); here is what stands on it, and where it is
kept: `reports/DAY/health.html` and `reports/DAY/summary.json`. The newest one is what is shown.
"""

from __future__ import annotations

from datetime import date

from domain.period import Period, month_before
from domain.problems import Severity
from sync.findings import current
from sync.holds import holds
from sync.ledger import Outcome
from sync.messages import ReportUnit, StartRun
from sync.ports import Archive, Health, Ports
from sync.reconcile import of_month
from sync.renewals import renewals_ahead

FOLDER = "reports"
SUMMARY, PAGE = "summary.json", "health.html"


def plan(ports: Ports, message: StartRun) -> list[ReportUnit]:
    """List the one unit of a week's health page."""
    day = message.day or ports.now().date()
    return [ReportUnit(run_key=message.run_key, part="health", day=day)]


def gather(ports: Ports, month: str, today: date) -> Health:
    """Read all that the health page of a month (YYYY-MM) tells."""
    period = Period.month(month)
    return Health(
        as_of=today,
        period=period,
        run=ports.store.run(f"bill/{month}"),
        documents=tuple(ports.store.documents(period=month)),
        findings=tuple(current(ports)),
        held={one.customer_id: one.worth or {} for one in holds(ports)},
        customers={customer.id: customer.name for customer in ports.store.customers()},
        renewals=tuple(renewals_ahead(ports, today)),
        sides=of_month(ports, period).sides,
    )


def work(ports: Ports, unit: ReportUnit) -> Outcome:
    """Draw last month's page as things stand, and keep it."""
    health = gather(ports, month_before(unit.day), unit.day)
    for name, content in ports.health_page(health).items():
        ports.archive.put(f"{FOLDER}/{unit.day}/{name}", content)
    return Outcome(
        counts={
            "documents": len(health.documents),
            "holds": len(health.held),
            "findings": len(health.findings),
            "warnings": sum(one.severity is Severity.WARN for one in health.findings),
            "renewals": len(health.renewals),
        }
    )


def latest(archive: Archive, name: str = SUMMARY) -> tuple[date, bytes] | None:
    """Return the newest health page (`PAGE`) or its data (`SUMMARY`), with its day."""
    for path in reversed(archive.names(FOLDER)):
        _, _, rest = path.partition("/")
        day, _, file = rest.partition("/")
        if file == name and (content := archive.read(path)) is not None:
            return date.fromisoformat(day), content
    return None
