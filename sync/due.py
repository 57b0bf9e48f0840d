"""Which months are to be billed by a day, and whom the day makes due.

A month is billed from a day of the following month on: the contract's own, or the partner's. What is
open is read from the runs that were, not from the timer that asks: a day on which nothing ran is made
up for by the next, and what is billed is not billed again. A month without any run counts only where
an earlier one has one; before a partner's first bill nothing but last month is asked for.
"""

from __future__ import annotations

from datetime import date

from domain.contract import BillingContract, counting
from domain.customer import Customer
from domain.period import Period, add_months, month_before
from domain.problems import Finding, Severity
from domain.run import Run, RunStatus, UnitStatus
from sync.messages import BillUnit
from sync.ports import Ports

DAYS = range(1, 29)
"""Days that every month has."""
MONTHS_BACK = 12
"""How far back a month is looked for that was left open."""
BILLS = 5000
"""Bill runs that are read to find those of one customer."""
NOT_DUE = "not_due"
"""What a run counts of customers whose day is still to come; their lines stand as held meanwhile."""

_ENDED = {RunStatus.DONE, RunStatus.DONE_WITH_HOLDS}


def due_on(contract: BillingContract | None, month: Period, bill_day: int) -> date:
    """Return the day from which on a month is billed by a contract, or by the partner's own day."""
    own = contract.bill_day if contract is not None else None
    return month.end.replace(day=bill_day if own is None or own not in DAYS else own)


def check_day(contract: BillingContract) -> list[Finding]:
    """Tell of a billing day that not every month has: the partner's own day counts in its place."""
    if contract.bill_day is None or contract.bill_day in DAYS:
        return []
    return [
        Finding(
            check="contract.bill_day",
            severity=Severity.WARN,
            customer_id=contract.customer_id,
            record=f"billing contract {contract.key}",
            sentence=(
                f"The contract is billed from day {contract.bill_day} of the month on, "
                "which not every month has: it is billed by the day of all contracts."
            ),
            hint="set Bill from this day to 1 to 28 on the billing contract, or empty it",
        )
    ]


def months_open(ports: Ports, day: date) -> list[str]:
    """Return the months (YYYY-MM) whose bill may have something to do on a day, the oldest first.

    Last month always: a hold may be gone, a draft mended. An older one while its run has not ended,
    waits for customers, or was never begun.
    """
    last = Period.month(month_before(day)).start
    found: list[str] = []
    known = 1
    for back in range(MONTHS_BACK):
        month = f"{add_months(last, -back):%Y-%m}"
        run = ports.store.run(f"bill/{month}")
        if run is not None and back and _complete(run):
            known = len(found)
            break
        found.append(month)
        if run is not None:
            known = len(found)
    return sorted(found[: max(known, 1)])


def _complete(run: Run) -> bool:
    return run.status in _ENDED and not run.counts.get(NOT_DUE)


def due_customers(ports: Ports, month: Period, day: date) -> list[Customer]:
    """Return the customers who are to be billed for a month by a day, by name."""
    contracts = counting(ports.store.contracts(), month.last_day)
    return [
        one
        for one in ports.store.customers()
        if due_on(contracts.get(one.id), month, ports.bill_day) <= day
    ]


def not_begun(ports: Ports, run_key: str, month: Period, day: date | None) -> list[Customer]:
    """Return the customers that a month's run has no unit of: those due by a day, or all.

    Who was billed for the month by a run of its own is through.
    """
    begun = {unit.key for unit in ports.store.units(run_key)}
    customers = ports.store.customers() if day is None else due_customers(ports, month, day)
    name = f"{month.start:%Y-%m}"
    keys = {
        one.id: BillUnit(run_key=run_key, customer_id=one.id, period=name).key for one in customers
    }
    missing = [one for one in customers if keys[one.id] not in begun]
    if not missing:
        return []
    bills = ports.store.runs(BILLS, kind="bill")
    alone = {run.scope for run in bills if run.scope and run.window == name}

    def through(customer_id: str) -> bool:
        found = ports.store.unit(keys[customer_id])
        return found is not None and found[0].status is UnitStatus.SETTLED

    return [one for one in missing if one.id not in alone or not through(one.id)]


def still_to_come(ports: Ports, run_key: str, month: Period) -> set[str]:
    """Return the customers that a month's run did not take in.

    Whatever day it is by now: who became due since the run was planned is taken in by the next one.
    """
    return {one.id for one in not_begun(ports, run_key, month, None)}
