"""How fine usage is read: as the contracts ask now, and as months were billed already.

The documents are the history: no one has to keep the grouping of a month that was billed. What is
stored of an invoice tells whether it was read finely enough, so that a contract that asks for more
has its usage read again: once, for what was asked is noted with what was imported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from domain.contract import UsageGrouping
from domain.period import Period, add_months
from domain.subscription import CostKind, CostLine
from invoice.document import DocumentStatus
from rules.grouping import as_billed
from sync.documents import readable
from sync.ports import Ports

Asked = Mapping[str, list[UsageGrouping]]
"""The groupings that a customer's usage must answer, by tenant id."""


def asked(ports: Ports, billed: Period, lines: Iterable[CostLine] = ()) -> Asked:
    """Return what contracts ask for, and in which groupings the months of usage were billed.

    These are the months of `billed` and of `lines`: late usage comes on a later invoice, and is
    billed like the month in which it was used.
    """
    found: dict[str, list[UsageGrouping]] = defaultdict(list)
    for contract in ports.store.contracts():
        found[contract.customer_id].append(contract.grouping)
    used = {line.falls_on.replace(day=1) for line in lines if _is_metered(line) and line.falls_on}
    month, today = min({billed.start.replace(day=1), *used}), ports.now().date()
    while month <= max(today, billed.start):
        for document in readable(ports.store, period=f"{month:%Y-%m}")[0]:
            if document.status is not DocumentStatus.VOID:
                months = as_billed(line.charge for line in document.lines)
                found[document.customer_id] += [
                    one.grouping for (_, day), one in months.items() if day in billed or day in used
                ]
        month = add_months(month, 1)
    return found


def answers(lines: Iterable[CostLine], wanted: Asked) -> bool:
    """Say whether stored lines tell all that is asked of their usage."""
    return all(
        (share.resource_group is not None or not grouping.needs_resource_group)
        and (not grouping.tag_key or grouping.tag_key in share.tags)
        for line in lines
        if _is_metered(line)
        for grouping in wanted.get(line.customer_id, ())
        for share in line.shares
    )


def needs(lines: Iterable[CostLine], wanted: Asked) -> dict[str, list[str]]:
    """Return in words what is asked of the usage on lines, by tenant id, to be noted and compared."""
    found: dict[str, list[str]] = {}
    for customer in sorted({line.customer_id for line in lines if _is_metered(line)}):
        groupings = wanted.get(customer, ())
        told = {f"tag {grouping.tag_key}" for grouping in groupings if grouping.tag_key}
        told |= {"resource group" for grouping in groupings if grouping.needs_resource_group}
        if told:
            found[customer] = sorted(told)
    return found


def _is_metered(line: CostLine) -> bool:
    return line.kind is CostKind.USAGE
