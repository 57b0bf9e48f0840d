"""Microsoft's line, the history, the customer's line and the accounting document, side by side.

Three comparisons: Microsoft's lines with what the history says that it should bill; what each
customer should be asked for with what was asked; our documents with the accounting. Every difference
has one cause from a closed list, its direction decides the remedy, and in each currency the
differences sum to what the two sides are apart, or a residual says by how much they do not.

Where the charges that are due are not given, Microsoft's lines measure what customers should be
asked for: seats and days by the customer's own price, what was never asked for by the markup of the
same subscription, or at cost where there is none. So the worth told is then the least.

Limits: usage is compared by amount; the lines of a customer whose cycles are not Microsoft's are
compared by seats and days as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal

from domain.charge import Charge
from domain.contract import BillingContract, ExchangeRate
from domain.period import Period
from domain.problems import Finding, Severity
from domain.reconciliation import (
    BookedLine,
    Comparison,
    Difference,
    FourWay,
    Remedy,
    SideTotal,
    SoldLine,
)
from domain.subscription import CostInvoice, CostLine
from rules import asked, booking, claims
from rules.margins import margins


def four_way(
    lines: Sequence[CostLine],
    sold: Sequence[SoldLine] | None,
    *,
    expected: Sequence[Charge] | None = None,
    due: Sequence[Charge] | None = None,
    documents: Sequence[SoldLine] | None = None,
    booked: Sequence[BookedLine] | None = None,
    heads: Iterable[CostInvoice] = (),
    contracts: Mapping[str, BillingContract] | None = None,
    excluded: AbstractSet[str] = frozenset(),
    held: AbstractSet[str] = frozenset(),
    subscriptions: AbstractSet[str] | None = None,
    rates: Sequence[ExchangeRate] = (),
    period: Period | None = None,
) -> FourWay:
    """Compare the four sides; each may be absent except Microsoft's `lines`.

    `sold`: all that the customers were asked for, None where that is not known. `expected`: what
    Microsoft should have billed for seats (`shadow.predict`), None: not compared; what it says
    nothing about (usage, one-time, credits) is taken as billed. `due`: the charges that the
    customers should be asked for, naming their cost lines; None: Microsoft's lines measure it.
    `documents`: the lines as they stand on the documents, where `sold` tells several as one; None:
    `sold`. `booked`: the accounting, None: not compared. `heads`: Microsoft's invoices; what they ask for
    beyond the lines is an adjustment. `contracts` by customer; `excluded`: keys of lines that are
    not passed on besides what contracts exclude; `held`: customers that wait and are not asked yet.
    `subscriptions`: ids that the history knows; None: those of `expected`. `rates` turn cost into the
    currency of the sale for margins. `period`: the month; what was asked for outside of it is
    timing.
    """
    differences: list[Difference] = []
    claimed = claims.compare(lines, expected, heads=heads, subscriptions=subscriptions)
    differences.extend(claimed.differences)
    customers = asked.compare(
        lines,
        sold,
        due=due,
        contracts=contracts or {},
        excluded=excluded,
        held=held,
        period=period,
    )
    differences.extend(customers.differences)
    books = booking.compare(sold or () if documents is None else documents, booked)
    differences.extend(books.differences)
    named: dict[tuple[Comparison, str], Decimal] = defaultdict(Decimal)
    for one in differences:
        named[one.comparison, one.currency] += one.amount
    currencies = {
        *claimed.billed,
        *claimed.expected,
        *customers.due,
        *customers.sold,
        *books.booked,
    }
    totals = tuple(
        SideTotal(
            currency=currency,
            microsoft=claimed.billed.get(currency, Decimal(0)),
            expected=None if expected is None else claimed.expected.get(currency, Decimal(0)),
            due=None if sold is None else customers.due.get(currency, Decimal(0)),
            sold=None if sold is None else customers.sold.get(currency, Decimal(0)),
            documents=None if booked is None else books.documents.get(currency, Decimal(0)),
            booked=None if booked is None else books.booked.get(currency, Decimal(0)),
            claimed=named[Comparison.MICROSOFT, currency],
            unasked=named[Comparison.CUSTOMER, currency],
            unbooked=named[Comparison.ACCOUNTING, currency],
        )
        for currency in sorted(currencies)
    )
    return FourWay(
        matches=customers.matches,
        differences=tuple(sorted(differences, key=_by_worth)),
        margins=() if sold is None else margins(lines, sold, customers.matches, rates, period),
        totals=totals,
        findings=customers.findings,
    )


def findings_of(differences: Iterable[Difference], keys: AbstractSet[str]) -> list[Finding]:
    """Return a finding for each difference that needs a person and speaks of one of these lines."""
    return [
        Finding(
            check=f"reconcile.{one.cause}",
            severity=Severity.WARN,
            customer_id=one.customer_id,
            record=_record(one),
            sentence=f"{one.sentence}.",
            hint=one.hint,
        )
        for one in differences
        if one.remedy is not Remedy.NONE and not keys.isdisjoint(one.records)
    ]


def _record(one: Difference) -> str:
    about = f"subscription {one.subscription_id}" if one.subscription_id else one.product
    return f"{about} {one.service}" if one.service else about


def _by_worth(one: Difference) -> tuple[object, ...]:
    return (
        -abs(one.amount),
        one.currency,
        one.comparison,
        one.customer_id,
        one.subscription_id,
        one.product,
        one.cause,
        str(one.service),
        one.records,
    )
