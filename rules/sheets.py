"""Microsoft's price sheets: the one row that was asked for, and what it says for a billing cycle.

A sheet has a row for each product, term, billing plan, segment, market, currency and time; what
leaves one of these open would be guessed, so no row and two rows are both findings. What `UnitPrice`
covers for a yearly term billed monthly, the year or the month, is not documented (UNCONFIRMED): the
caller says it (`covers_months`), as a setting for each sheet that was checked against an invoice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from fractions import Fraction

from domain.charge import Reason
from domain.contract import SheetPrice
from domain.money import plain
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from rules.lines import UnitPrice
from rules.pricing import Priced

_ONCE = {"onetime", "none", ""}
"""What sheets write as the billing plan of what is bought once."""


def sheet_price(
    sheets: Iterable[SheetPrice],
    *,
    sku: str,
    term: TermDuration | None,
    billing_cycle: BillingCycle,
    segment: str,
    market: str,
    currency: str,
    on: date,
) -> SheetPrice | Finding:
    """Return the row in force on a day; none, or two, is a finding that says what was asked."""
    plans = _ONCE if billing_cycle is BillingCycle.ONE_TIME else {billing_cycle.value}
    rows = [
        row
        for row in sheets
        if row.sku == sku
        and row.term == term
        and row.billing_plan.lower() in plans
        and row.segment.lower() == segment.lower()
        and row.market.upper() == market.upper()
        and row.currency == currency
        and on in row.valid
    ]
    if len(rows) == 1:
        return rows[0]
    asked = (
        f"{sku}, {term or 'no'} term, {billing_cycle} plan, segment {segment}, "
        f"market {market}, {currency}, on {on}"
    )
    return Finding(
        check="sheet.tie" if rows else "sheet.missing",
        severity=Severity.HOLD,
        customer_id="",
        record=f"price sheet {sku} {on}",
        sentence=f"{len(rows) or 'No'} {'rows' if rows else 'row'} of the price sheets "
        f"{'fit' if rows else 'fits'} {asked}.",
        hint="read the sheets of this market and month again; look whether the product is still sold",
    )


def listed(
    sheet: SheetPrice, billing_cycle: BillingCycle, *, covers_months: int | None = None
) -> UnitPrice:
    """Return what a row says one unit costs the partner, for a billing cycle or for more.

    `covers_months` are the months that the row's price pays for; None: one billing cycle. A price of
    a year billed monthly stays whole (`covers`), so that its instalments sum to it.
    """
    value, covers = Fraction(sheet.unit_price), None
    months = billing_cycle.months
    if covers_months and months and covers_months > months:
        covers = covers_months
    elif covers_months and months:
        value *= Fraction(months, covers_months)
    inputs = {
        "product": sheet.sku,
        "term": sheet.term.value if sheet.term else "none",
        "billing_plan": sheet.billing_plan,
        "segment": sheet.segment,
        "market": sheet.market,
        "valid": str(sheet.valid),
        "unit_price": f"{plain(sheet.unit_price)} {sheet.currency}",
        "covers_months": str(covers_months or months or "none"),
    }
    return UnitPrice(
        value=value, covers=covers, reasons=(Reason(rule="price.sheet", inputs=inputs),)
    )


def with_sheet(wanted: Priced, sheet: SheetPrice, *, covers_months: int | None = None) -> Priced:
    """Return the question with the cost and the suggested retail price of a sheet's row.

    Both are taken to pay for the same `covers_months` (None: one billing cycle).
    """
    months = wanted.billing_cycle.months if wanted.billing_cycle else None
    return replace(
        wanted,
        cost=sheet.unit_price,
        erp=sheet.erp_price,
        cost_currency=sheet.currency,
        covers=covers_months if covers_months and months and covers_months != months else None,
    )
