"""A month reconciled four ways from what is stored: today, or as of any day since it was billed.

Everything that came after the day is left out: Microsoft's invoices and newer versions of them,
documents, changes of subscriptions. So a closed month gives the same answer as on the day on which
it was closed. A version that is no longer the last one is read from the archive.

Limits: prices, rules, contracts and what the partner demands are read as they are now, with the
days for which they are valid. Who was on hold is computed anew; of what a bill does not find itself
(a line that could not be read) those holds count that stand today and stood then, not those that
have ended since. A tax engine is not asked again. What the system of record keeps one version of
cannot be seen as it was before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal

from domain.charge import Charge
from domain.contract import BillingContract, ExchangeRate
from domain.delivery import Delivery
from domain.period import Period
from domain.problems import Finding, InputError
from domain.reconciliation import BookedLine, FourWay, SoldLine
from domain.run import ControlTotal
from domain.subscription import CostInvoice, CostKind, CostLine
from domain.tax import TaxDecider
from invoice.document import DocumentStatus, Invoice
from invoice.file import CustomerFile
from invoice.sold import sold_lines
from rules import reconcile, shadow, succession, tax
from rules.four_way import four_way
from sync import bill, deliveries, drafts, usage_grouping
from sync.findings import concerning, current, held_customers
from sync.looks import unbilled_before
from sync.ports import Ports
from sync.taxed import NOT_DECIDED_YET
from usage import load as usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A month of one customer, or of all, seen on a day."""

    period: Period
    as_of: date
    customers: Mapping[str, str]
    """Name by tenant id."""
    totals: tuple[ControlTotal, ...]
    """Where every cent of Microsoft's total went."""
    sides: FourWay


def of_month(
    ports: Ports,
    period: Period,
    *,
    as_of: date | None = None,
    customer_id: str = "",
    booked: Sequence[BookedLine] | None = None,
) -> Month:
    """Reconcile a month, writing nothing; without a day as it stands now, drafts included.

    Raises InputError where Microsoft's invoice was not there on the day, or a customer is unknown.
    """
    today = as_of or ports.today()
    heads = [
        head
        for head in bill.period_invoices(ports, period)
        if as_of is None or head.issued_on <= as_of
    ]
    if not heads:
        raise InputError(
            f"Microsoft had not issued an invoice for {period.start:%Y-%m} by {today}",
            hint="a month can be reconciled from about the 8th of the next one on",
        )
    customers = {c.id: c.name for c in ports.store.customers() if customer_id in {"", c.id}}
    if customer_id and not customers:
        raise InputError(
            f"there is no customer {customer_id}",
            hint="give the tenant id; run sync first if the customer is new",
        )
    then = _Then(ports, as_of) if as_of else None
    known = _known_by(ports, as_of) if as_of else []
    stored = list(ports.store.cost_lines([head.id for head in heads]))
    if then:
        stored = then.lines(stored, {head.id for head in heads})
        heads = [then.head(head, stored) for head in heads]
    lines = [line for line in stored if customer_id in {"", line.customer_id}]
    found = () if then else current(ports, customer_id=customer_id)
    held = held_customers(concerning(ports.store, found, period))
    sides = _Sides(period=period, today=today, lines=lines, held=held)
    for one in customers:
        file = ports.store.customer_file(one, period.last_day)
        if then is None:
            sides.add(file)
            continue
        file = then.file(file)
        sides.add(file)
        asked = {line.key for line in unbilled_before(file, period)}
        own = [finding for finding in known if finding.customer_id == one]
        own = concerning(ports.store, own, period, file.cost_lines, asked=asked)
        if _held_then(ports, file, period, today, own):
            sides.held.add(one)
    return Month(
        period=period,
        as_of=today,
        customers=customers,
        totals=sides.totals(),
        sides=four_way(
            lines,
            sides.sold,
            expected=sides.expected,
            due=sides.due,
            documents=sides.on_documents,
            booked=booked,
            heads=() if customer_id else heads,
            contracts=sides.contracts,
            held=sides.held,
            subscriptions=sides.subscriptions,
            rates=sorted(sides.rates, key=lambda rate: rate.key),
            period=period,
        ),
    )


def _held_then(
    ports: Ports, file: CustomerFile, period: Period, day: date, known: Sequence[Finding]
) -> bool:
    """Say whether a customer was on hold on a day: its bill is computed anew, by today's policy."""
    by_engine = file.contract is not None and file.contract.tax_decider is TaxDecider.ENGINE
    return drafts.draft(
        file,
        period,
        day,
        ports.policy,
        known,
        roundings=ports.tax_rounding,
        demands=ports.demands,
        atlas=ports.atlas,
        taxing=tax.Known(
            policy=ports.tax_policy,
            check_number=ports.check_number,
            answer=NOT_DECIDED_YET if by_engine else None,
        ),
    ).held


def _known_by(ports: Ports, day: date) -> list[Finding]:
    """Return the findings of today that were open on a day, released where they were by then."""
    return [
        finding
        if not finding.released_on or finding.released_on <= day
        else finding.with_ended_release(finding, day, "it came later")
        for finding in current(ports)
        if finding.since is None or finding.since <= day
    ]


class _Then:
    """What was known at the end of a day."""

    def __init__(self, ports: Ports, day: date) -> None:
        self._day = day
        moment = datetime.combine(day, time.max, tzinfo=UTC)
        heads = [head for head in ports.partner_center.invoices() if isinstance(head, CostInvoice)]
        self._unknown = {head.id for head in heads if head.issued_on > day}
        self._versions: dict[str, list[CostLine]] = {}
        """The lines of invoices that were imported anew since."""
        for head in heads:
            made = deliveries.imports(ports.archive, head.id)
            if head.id not in self._unknown and made and made[-1].at > moment:
                before = [one for one in made if one.at <= moment]
                self._versions[head.id] = _read(ports, head, before[-1]) if before else []

    def lines(self, stored: Iterable[CostLine], invoices: AbstractSet[str]) -> list[CostLine]:
        """Return the lines of invoices as they were."""
        replaced = self._unknown | self._versions.keys()
        kept = [line for line in stored if line.invoice_id not in replaced]
        for invoice_id in sorted(invoices & self._versions.keys()):
            kept.extend(self._versions[invoice_id])
        return kept

    def head(self, head: CostInvoice, lines: Iterable[CostLine]) -> CostInvoice:
        """Return an invoice's head; of a version that was replaced only the lines are kept."""
        if head.id not in self._versions:
            return head
        own = (line.subtotal for line in lines if line.invoice_id == head.id)
        return replace(head, total=sum(own, Decimal(0)))

    def file(self, file: CustomerFile) -> CustomerFile:
        """Return a customer's file without what came after the day."""
        mine = file.customer.id
        lines = self.lines(file.cost_lines, self._versions.keys())
        return replace(
            file,
            events=tuple(event for event in file.events if event.effective <= self._day),
            cost_lines=tuple(line for line in lines if line.customer_id == mine),
            documents=tuple(
                document
                for document in file.documents
                if document.issued_on is not None and document.issued_on <= self._day
            ),
        )


def _read(ports: Ports, head: CostInvoice, made: deliveries.Import) -> list[CostLine]:
    """Read an import of an invoice from the archive again, as it was imported."""
    told, used = (deliveries.delivery(ports.archive, name) for name in (made.lines, made.usage))
    if told is None:
        raise InputError(
            f"the archive no longer holds {head.id} as it was imported on {made.at:%Y-%m-%d}",
            hint="restore the archive, or reconcile as of a later day",
        )
    found = _lines(ports, told)
    if len(found) != made.counts.get("cost_lines", len(found)):
        found = _lines(ports, told, distinct=True)
    if used is None:
        return found
    scratch = ports.archive.folder(f"scratch/{head.id}")
    with ExitStack() as files:
        parts = [files.enter_context(ports.archive.local(name)) for name in used.distinct]
        asked = usage_grouping.asked(ports, head.billed, found)
        month = usage.load(parts, scratch=scratch, asked=asked)
    return list(usage.with_shares(found, month.shares))


def _lines(ports: Ports, delivery: Delivery, *, distinct: bool = False) -> list[CostLine]:
    read = ports.partner_center.cost_lines(delivery, distinct=distinct)
    return [line for line in read if isinstance(line, CostLine)]


class _Sides:
    """The sides of a month as they are read, customer by customer."""

    def __init__(
        self, *, period: Period, today: date, lines: Sequence[CostLine], held: set[str]
    ) -> None:
        self.period, self.today, self.lines, self.held = period, today, lines, held
        self.keys = {line.key for line in lines}
        self.billed = {(line.subscription_id, line.charged.start) for line in lines if line.charged}
        self.sold: list[SoldLine] = []
        self.expected: list[Charge] = []
        self.due: list[Charge] = []
        self.contracts: dict[str, BillingContract] = {}
        self.subscriptions: set[str] = set()
        self.rates: set[ExchangeRate] = set()
        self.documents: list[Invoice] = []
        self.on_documents: list[SoldLine] = []

    def add(self, file: CustomerFile) -> None:
        """Take in one customer: what is due, what was asked for, what Microsoft should bill."""
        customer_id, contract = file.customer.id, file.contract
        self.subscriptions.update(one.id for one in file.subscriptions)
        self.rates.update(file.rates)
        self.expected.extend(self._expected(file))
        standing = [d for d in file.documents if d.status is not DocumentStatus.VOID]
        self.documents.extend(standing)
        self.on_documents.extend(
            line for one in standing if one.number for line, _ in sold_lines([one])
        )
        proposed: tuple[Charge, ...] = ()
        until = reconcile.due_until(contract, self.period) if contract else None
        if contract is not None:
            self.contracts[customer_id] = contract
        if contract is not None and until is not None and contract.starts < until:
            until = min(until, contract.ends or until)
            proposed = drafts.charges_of(file, contract, self.period, until, self.today).charges
        mine = {charge.key: charge for charge in proposed}
        self.due.extend(charge for charge in proposed if self._of_the_month(charge))
        self.sold.extend(
            line
            for line, charge in sold_lines(standing)
            if self._of_the_month(mine.get(charge.answers or charge.key, charge))
        )

    def _of_the_month(self, charge: Charge) -> bool:
        """A charge belongs to the month whose invoice bills it; before it does, to its own days."""
        if charge.cost_lines:
            return not self.keys.isdisjoint(charge.cost_lines)
        return charge.service.start in self.period

    def _expected(self, file: CustomerFile) -> list[Charge]:
        """Return what Microsoft should bill with this month's invoices, and not with others."""
        own = [line for line in file.cost_lines if line.key in self.keys and line.charged]
        first = min((line.charged.start for line in own if line.charged), default=None)
        if first is None:
            return []
        elsewhere = {
            (line.subscription_id, line.charged.start)
            for line in file.cost_lines
            if line.charged and line.kind is CostKind.LICENCE and line.key not in self.keys
        }
        told = [*file.events, *succession.migrations(file.subscriptions)]
        last = max((line.charged.start for line in own if line.charged), default=first)
        window = Period(
            min(first, self.period.start),
            max(last.fromordinal(last.toordinal() + 1), self.period.end),
        )
        found = shadow.predict(file.subscriptions, told, file.cost_lines, window)
        return [
            charge
            for charge in found
            if (place := (charge.subscription_id, charge.service.start)) in self.billed
            or (charge.service.start in self.period and place not in elsewhere)
        ]

    def totals(self) -> tuple[ControlTotal, ...]:
        """Return the control totals, as the run of the month stores them."""
        sold: dict[str, Decimal] = defaultdict(Decimal)
        for document in self.documents:
            if document.period == self.period:
                sold[document.currency] += document.subtotal.amount
        return reconcile.reconcile(
            lines=self.lines,
            charges=[line.charge for document in self.documents for line in document.lines],
            contracts=self.contracts,
            held=self.held,
            sold=sold,
            period=self.period,
        ).totals
