"""Who is on hold, why, since when, and what of Microsoft's bill is held by it; also what was released."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from domain.problems import Finding, InputError, NotFound
from invoice.document import DocumentStatus
from rules.reconcile import Outcome, reconcile
from sync.findings import current
from sync.ports import Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One customer with findings that hold it, or that would if nobody had released them."""

    customer_id: str
    """Empty: the partner as a whole."""
    customer: str
    holding: tuple[Finding, ...]
    """The oldest first; empty: all are released."""
    released: tuple[Finding, ...]
    worth: Mapping[str, Decimal] | None
    """What Microsoft billed and no document answers, by currency, before tax; None: not known."""

    @property
    def since(self) -> date | None:
        """The day from which on the customer is held without a break, as far as is known."""
        return min((one.since for one in self.holding if one.since), default=None)


def holds(ports: Ports, *, customer_id: str = "") -> list[Hold]:
    """Return the customers on hold and the released ones, what is worth most first.

    InputError for a customer that is not stored.
    """
    names = {one.id: one.name for one in ports.store.customers()}
    if customer_id and customer_id not in names:
        raise InputError(
            f"there is no customer {customer_id}",
            hint="give the tenant id; run sync first if the customer is new",
        )
    by_customer: dict[str, list[Finding]] = defaultdict(list)
    for finding in current(ports, customer_id=customer_id):
        if finding.holds or finding.is_released:
            by_customer[finding.customer_id].append(finding)
    found = [
        Hold(
            customer_id=one,
            customer=names.get(one, one) or "The partner as a whole",
            holding=tuple(_oldest_first(f for f in findings if f.holds)),
            released=tuple(_oldest_first(f for f in findings if not f.holds)),
            worth=_worth(ports, one) if one in names else {},
        )
        for one, findings in by_customer.items()
    ]
    return sorted(found, key=_order)


def _oldest_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: (one.since or date.max, one.key))


def _order(hold: Hold) -> tuple[bool, bool, Decimal, str, str]:
    """The partner as a whole first: it may stop everybody. Then by worth, the unknown before the known."""
    most = max((abs(amount) for amount in (hold.worth or {}).values()), default=Decimal(0))
    return (bool(hold.customer_id), hold.worth is not None, -most, hold.customer, hold.customer_id)


def _worth(ports: Ports, customer_id: str) -> Mapping[str, Decimal] | None:
    """Add up Microsoft's lines that no document of the customer answers and no agreement excludes."""
    try:
        file = ports.store.customer_file(customer_id)
    except (InputError, NotFound):
        return None
    outcomes = reconcile(
        lines=file.cost_lines,
        charges=[
            line.charge
            for document in file.documents
            if document.status not in {DocumentStatus.VOID, DocumentStatus.DRAFT}
            for line in document.lines
        ],
        contracts={customer_id: file.contract} if file.contract else {},
        held={customer_id},
        sold={},
        began={customer_id: min(one.starts for one in file.contracts)} if file.contracts else None,
    ).outcomes
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for line in file.cost_lines:
        if outcomes[line.key] is Outcome.HELD:
            sums[line.currency] += line.subtotal
    return dict(sorted(sums.items()))
