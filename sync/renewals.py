"""Which terms end in the time ahead, over all customers, at the prices of their contracts.

What a unit costs now is told by Microsoft's lines of the running term; what it will cost by
Microsoft's price sheet of today, which is the best that is known before the day. Where the price
host refuses to answer, renewals are told all the same, without their prices.

Limit: what a sheet's price covers is not published clearly; it is taken to be the whole term
(`domain.contract.SheetPrice`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from domain.contract import BillingContract, SheetPrice
from domain.customer import Customer
from domain.problems import Finding, ServiceError, Severity
from domain.renewal import Renewal
from domain.subscription import CostKind, CostLine
from invoice.file import CustomerFile
from rules.lines import UnitPrice
from rules.pricing import PriceBook, Priced, PricePolicy
from rules.proration import PriceQuestion
from rules.qualification import segment_of
from rules.rating import full_cycle_cost
from rules.renewals import HORIZON_DAYS, forecast, sold_by
from rules.sheets import with_sheet
from sync.ledger import Outcome
from sync.messages import ReportUnit, StartRun
from sync.ports import PartnerCenter, Ports

SHEETS = ("updatedlicensebased", "software", "marketplace")
"""Microsoft's names of the sheets by which what has a term is sold."""
EXTENDED_SHEET = "licensebasedest"
"""The sheet of seats in their extended service term, which have SKUs of their own."""

RATE_DAYS = PricePolicy().rate_days


AHEAD = "renewal.ahead"
SOON_DAYS = 30
"""How long before its last day to decide a term's end is told."""
AT_ONCE = 500
"""Customers of a market that one unit looks at, before they are looked at in parts."""


def plan(ports: Ports, message: StartRun) -> list[ReportUnit]:
    """List a unit for each market; where customers are many, for each beginning of their ids.

    Limit: each unit reads its market's sheets again, and looks at its customers one by one.
    """
    day = message.day or ports.now().date()
    by_market: dict[str, list[str]] = defaultdict(list)
    for customer in ports.store.customers():
        by_market[_market(customer)].append(customer.id)
    scopes: list[str] = []
    for market, ids in sorted(by_market.items()):
        length = 0
        while len(ids) > AT_ONCE * 16**length and length < 3:
            length += 1
        scopes.extend(sorted({f"{market}-{one[:length]}".rstrip("-") for one in ids}))
    return [
        ReportUnit(run_key=message.run_key, part="renewals", scope=scope, day=day)
        for scope in scopes
    ]


def _market(customer: Customer) -> str:
    """Return a customer's market as a word of keys; where none is told, `none`."""
    market = customer.market
    return market if market.isascii() and market.isalpha() else "none"


def work(ports: Ports, unit: ReportUnit) -> Outcome:
    """Look at the ends of terms of one scope's customers: keep them all, tell what needs a decision."""
    market, _, start = unit.scope.partition("-")
    customers = [
        one
        for one in ports.store.customers()
        if _market(one) == market and one.id.startswith(start)
    ]
    found = renewals_ahead(ports, unit.day, customers=customers)
    name = f"reports/{unit.day}/renewals-{unit.scope}.json"
    content = json.dumps([as_data(one) for one in found], indent=1, ensure_ascii=False)
    ports.archive.put(name, content.encode())
    told = 0
    for customer in customers:
        own = [one for one in found if one.customer_id == customer.id]
        findings = _told(customer.id, own, unit.day)
        told += len(findings)
        ports.store.replace_findings((AHEAD,), customer.id, findings)
    return Outcome(
        counts={
            "renewals": len(found),
            "renewals_to_decide": sum(not one.is_routine for one in found),
            "renewals_unpriced": sum(bool(one.findings) for one in found),
            "findings": told,
        }
    )


def _told(customer_id: str, renewals: Sequence[Renewal], today: date) -> list[Finding]:
    """Return one warning for a customer who should decide soon; the first end is told."""
    soon = [
        one
        for one in renewals
        if not one.is_routine and (one.change_by.date() - today).days <= SOON_DAYS
    ]
    if not soon:
        return []
    more = f" And {len(soon) - 1} more." if len(soon) > 1 else ""
    return [
        Finding(
            check=AHEAD,
            severity=Severity.WARN,
            customer_id=customer_id,
            record=f"customer {customer_id}",
            sentence=f"{soon[0].sentence}{more}",
            hint=soon[0].hint,
        )
    ]


def as_data(renewal: Renewal) -> dict[str, Any]:
    """Return a renewal as plain data; money is text."""
    difference = renewal.difference
    return {
        "customer_id": renewal.customer_id,
        "subscription_id": renewal.subscription_id,
        "name": renewal.name,
        "on": str(renewal.on),
        "at_end": renewal.at_end.value,
        "routine": renewal.is_routine,
        "change_by": renewal.change_by.isoformat(),
        "return_by": renewal.return_by.isoformat() if renewal.return_by else None,
        "difference": f"{difference.amount:f}" if difference else None,
        "currency": difference.currency if difference else None,
        "months": renewal.months,
        "sentence": renewal.sentence,
        "hint": renewal.hint,
    }


def renewals_ahead(
    ports: Ports,
    today: date,
    horizon_days: int = HORIZON_DAYS,
    *,
    customers: Sequence[Customer] | None = None,
) -> list[Renewal]:
    """Return the ends of terms ahead, the first one first, of customers with a contract: all, or some."""
    sheets = _Sheets(ports.partner_center)
    found: list[Renewal] = []
    for customer in ports.store.customers() if customers is None else customers:
        file = ports.store.customer_file(customer.id)
        market = file.customer.market
        rows = [row for view in SHEETS for row in sheets.rows(market, view)]
        extended = sheets.rows(market, EXTENDED_SHEET)
        found.extend(renewals_of(file, today, horizon_days, rows=rows, extended=extended))
    return sorted(found, key=lambda one: (one.on, one.customer_id, one.name, one.subscription_id))


def renewals_of(
    file: CustomerFile,
    today: date,
    horizon_days: int = HORIZON_DAYS,
    *,
    rows: Sequence[SheetPrice] = (),
    extended: Sequence[SheetPrice] = (),
) -> list[Renewal]:
    """Return the ends of terms ahead of one customer; none without a contract. Pure.

    `rows` and `extended` are those of Microsoft's sheets for the customer's market.
    """
    contract = file.contract
    if contract is None:
        return []
    passed_on = [one for one in file.subscriptions if one.sku not in contract.excluded_skus]
    extended_skus = {row.sku for row in extended}
    prices = _Prices(
        contract=contract,
        # The day of renewal has no rate yet: the one of today is the best that is known.
        book=PriceBook(
            file.price_list, file.rules, file.rates, PricePolicy(rate_days=RATE_DAYS + horizon_days)
        ),
        lines=file.cost_lines,
        rows=[*rows, *extended],
        segments=(segment_of(file.customer), "Commercial", ""),
        kinds={one.id: one.priced_as for one in file.subscriptions},
    )
    return forecast(
        passed_on,
        price_for=prices,
        currency=contract.currency,
        today=today,
        horizon_days=horizon_days,
        sold=sold_by(rows) if rows else None,
        extended_skus=extended_skus,
    )


@dataclass(frozen=True, slots=True)
class _Sheets:
    """Each sheet is read once; one that cannot be had is empty."""

    source: PartnerCenter
    read: dict[tuple[str, str], tuple[SheetPrice, ...]] = field(default_factory=dict)

    def rows(self, market: str, view: str) -> tuple[SheetPrice, ...]:
        if market and (market, view) not in self.read:
            try:
                told = list(self.source.sheet_prices(market, view))
            except ServiceError:
                told = []
            rows = tuple(row for row in told if isinstance(row, SheetPrice))
            self.read[market, view] = rows
        return self.read.get((market, view), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prices:
    """Answers the questions of a forecast from Microsoft's lines, its sheets and the price book."""

    contract: BillingContract
    book: PriceBook
    lines: Sequence[CostLine]
    rows: Sequence[SheetPrice]
    segments: Sequence[str]
    """The customer's own price segment first: what is not sold in it has the common price."""
    kinds: Mapping[str, str]
    """By which kind a markup rule names a subscription."""

    def __call__(self, question: PriceQuestion) -> UnitPrice | Finding:
        wanted = Priced(
            customer_id=question.customer_id,
            record=f"subscription {question.subscription_id}",
            kind=self.kinds.get(question.subscription_id, CostKind.LICENCE.value),
            general_kind=CostKind.LICENCE.value,
            sku=question.sku,
            on=question.term_start,
            currency=self.contract.currency,
            service=question.on,
            term=question.term,
            billing_cycle=question.billing_cycle,
        )
        return self.book.price(self._with_cost(wanted, question))

    def _with_cost(self, wanted: Priced, question: PriceQuestion) -> Priced:
        line = self._line(question)
        if line is not None and line.charged is not None:
            cost = full_cycle_cost(line, line.charged)
            return replace(wanted, cost=cost, cost_currency=line.currency, is_free=not cost)
        row = self._row(question)
        if row is None:
            return wanted
        months = question.term.months if question.term else None
        known = with_sheet(wanted, row, covers_months=months)
        return replace(known, is_free=not row.unit_price)

    def _line(self, question: PriceQuestion) -> CostLine | None:
        """Return the newest line for a whole cycle of the running term."""
        own = [
            (line.charged.start, line.key, line)
            for line in self.lines
            if line.subscription_id == question.subscription_id
            and line.kind is CostKind.LICENCE
            and line.sku == question.sku
            and line.charge_type in {"new", "renew", "cycleCharge"}
            and not line.is_credit
            and line.billable_quantity
            and line.charged is not None
            and line.subscription_start == question.term_start
        ]
        return max(own)[2] if own else None

    def _row(self, question: PriceQuestion) -> SheetPrice | None:
        """Return the one row of the sheets; two that differ leave the price open."""
        asked = [
            row
            for row in self.rows
            if (row.sku, row.term) == (question.sku, question.term)
            and row.billing_plan == question.billing_cycle.value
            and question.term_start in row.valid
        ]
        for segment in self.segments:
            found = {
                (row.unit_price, row.erp_price, row.currency): row
                for row in asked
                if row.segment == segment
            }
            if found:
                return next(iter(found.values())) if len(found) == 1 else None
        return None
