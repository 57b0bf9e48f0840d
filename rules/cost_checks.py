"""What Microsoft's own lines show: arithmetic, tax, exchange rates, partner ids, earned credit.

Each check looks at the lines alone and says what is wrong, where, and what it is worth. Microsoft's
subtotal is explained where its own price, quantity and rate lead to it by a rule that Microsoft has
published; within 0.01 for each unit it is rounding. A line without a price is not checked, and counted.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from enum import StrEnum

from domain.audit import BilledLine, Point, Weight
from domain.money import Money, minor_units, plain
from domain.subscription import CostKind, CostLine

_WIDE = Context(prec=80)
_EARNED = re.compile(r"([\d.]+)\s*% partner earned credit", re.IGNORECASE)
_SPONSORED = re.compile(r"azure credit|100(\.0+)?\s*%", re.IGNORECASE)
_PRICED_IN_BILLING_CURRENCY = date(2022, 1, 1)
"""The statement of 2021 multiplies price and quantity and names no rate."""
_SHOWN = 5
"""So many places of a point are listed; the others are counted."""


class Arithmetic(StrEnum):
    """How a line's subtotal follows from its price, quantity and rate."""

    EXACT = "exact"
    ROUNDING = "rounding"
    OFF = "off"
    UNCHECKED = "unchecked"


@dataclass(slots=True)
class Explained:
    """How much of one invoice is explained by arithmetic, and how."""

    lines: Counter[Arithmetic] = field(default_factory=Counter)
    amounts: dict[Arithmetic, Decimal] = field(
        default_factory=lambda: dict.fromkeys(Arithmetic, Decimal(0))
    )
    drift: Decimal = Decimal(0)
    """Sum of what rounding made of the lines that are not exact."""


def places(lines: Sequence[BilledLine]) -> tuple[str, ...]:
    """Name the first places of a point, and how many more there are."""
    shown = tuple(one.place for one in lines[:_SHOWN])
    return (*shown, f"and {len(lines) - _SHOWN} more") if lines[_SHOWN:] else shown


def money(amount: Decimal, currency: str) -> str:
    """Write an amount with the decimals of its currency."""
    return str(Money.rounded(amount, currency))


# --- arithmetic ------------------------------------------------------------------------------------


def expected_subtotal(line: CostLine) -> tuple[Decimal, Decimal] | None:
    """Return what the line's own figures come to, and how far rounding may lead from it.

    Rule: partner-center.md 13.3. Without sign: where Microsoft puts it differs by line type. None
    where the line has no price.
    """
    price, quantity = abs(line.effective_unit_price), abs(line.billable_quantity)
    rate = line.exchange_rate
    if not price or not quantity or rate <= 0:
        return None
    digits = minor_units(line.currency)
    cent = Decimal(1).scaleb(-digits)
    if line.kind is CostKind.USAGE:
        pricing = _cut(_WIDE.multiply(price, quantity), digits)
        # A computed price (earned credit, tiers) is written with many decimals, and its last one
        # may be off; one with few is the price itself.
        exponent = price.as_tuple().exponent
        written = exponent if isinstance(exponent, int) else 0
        last = Decimal(1).scaleb(written) if written <= -6 else Decimal(0)
        slack = _WIDE.multiply(_WIDE.multiply(last, quantity), rate) + cent * (1 + rate)
        return _cut(_WIDE.multiply(pricing, rate), digits), slack
    unit = _cut(_WIDE.multiply(price, rate), digits)
    return _WIDE.multiply(unit, quantity), _WIDE.multiply(cent, max(quantity, Decimal(1)))


def arithmetic_of(line: CostLine) -> tuple[Arithmetic, Decimal]:
    """Say whether the subtotal follows from the line's figures, and the difference that is left."""
    found = expected_subtotal(line)
    if found is None:
        return (Arithmetic.UNCHECKED if line.subtotal else Arithmetic.EXACT), Decimal(0)
    expected, slack = found
    billed = abs(line.subtotal)
    if billed in {expected, *_older(line)}:
        return Arithmetic.EXACT, Decimal(0)
    off = billed - expected
    signed = -off if line.subtotal < 0 else off
    return (Arithmetic.ROUNDING if abs(off) <= slack else Arithmetic.OFF), signed


def _older(line: CostLine) -> Iterator[Decimal]:
    """Yield what earlier statements of the rule come to: the whole is rounded, or the unit half up."""
    digits = minor_units(line.currency)
    quantity = abs(line.billable_quantity)
    unit = _WIDE.multiply(abs(line.effective_unit_price), line.exchange_rate)
    whole = _WIDE.multiply(unit, quantity)
    yield _cut(whole, digits)
    yield _cut(whole, digits, ROUND_HALF_UP)
    if line.kind is not CostKind.USAGE:
        yield _WIDE.multiply(_cut(unit, digits, ROUND_HALF_UP), quantity)
    if line.falls_on and line.falls_on < _PRICED_IN_BILLING_CURRENCY:
        price = abs(line.effective_unit_price)
        yield _cut(_WIDE.multiply(price, quantity), digits, ROUND_HALF_UP)


def _cut(value: Decimal, digits: int, rounding: str = ROUND_DOWN) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-digits), rounding=rounding, context=_WIDE)


def check_arithmetic(
    lines: Iterable[BilledLine],
) -> tuple[list[Point], dict[tuple[str, str], Explained]]:
    """Compare every subtotal with price, quantity and rate, every total with subtotal and tax."""
    points: list[Point] = []
    explained: dict[tuple[str, str], Explained] = defaultdict(Explained)
    for one in lines:
        line = one.line
        how, off = arithmetic_of(line)
        sums = explained[line.invoice_id, line.currency]
        sums.lines[how] += 1
        sums.amounts[how] += line.subtotal
        if how is Arithmetic.ROUNDING:
            sums.drift += off
        if how is Arithmetic.OFF:
            points.append(_arithmetic_point(one, off))
        if one.total is not None and one.total != line.subtotal + line.tax:
            points.append(_tax_point(one, one.total))
    return points, dict(explained)


def _arithmetic_point(one: BilledLine, off: Decimal) -> Point:
    line = one.line
    expected, _ = expected_subtotal(line) or (Decimal(0), Decimal(0))
    rate = f" × {plain(line.exchange_rate)}" if line.exchange_rate != 1 else ""
    return about(
        line,
        check="line.arithmetic",
        cause="price",
        remedy="claim" if off > 0 else "none",
        weight=Weight.ACT,
        amount=off,
        sentence=(
            f"Microsoft billed {money(line.subtotal, line.currency)} for {line.name}; "
            f"{plain(abs(line.effective_unit_price))} × {plain(abs(line.billable_quantity))}{rate} "
            f"is {money(expected, line.currency)}."
        ),
        hint="ask Microsoft which quantity or price is right"
        if off > 0
        else "Microsoft billed too little: expect a correction",
        records=(one.place,),
    )


def _tax_point(one: BilledLine, total: Decimal) -> Point:
    line = one.line
    off = total - line.subtotal - line.tax
    return about(
        line,
        check="line.total",
        cause="tax",
        remedy="claim" if off > 0 else "none",
        weight=Weight.ACT,
        amount=off,
        sentence=(
            f"The total {money(total, line.currency)} of {line.name} is not subtotal "
            f"{money(line.subtotal, line.currency)} and tax {money(line.tax, line.currency)}."
        ),
        hint="compare the line with the invoice in Partner Center; the subtotal is what is audited",
        records=(one.place,),
    )


def about(line: CostLine, **fields: object) -> Point:
    """Make a point about a line's customer, subscription, product and invoice."""
    given: dict[str, object] = {
        "customer_id": line.customer_id,
        "customer": line.customer_name,
        "subscription_id": line.subscription_id,
        "product": line.name,
        "invoice_id": line.invoice_id,
        "currency": line.currency,
        **fields,
    }
    return Point(**given)  # type: ignore[arg-type]


# --- lines beside each other -----------------------------------------------------------------------


def check_repeats(repeated: Iterable[BilledLine]) -> list[Point]:
    """Tell each line that one export holds again, alike in every field."""
    return [
        about(
            one.line,
            check="line.duplicate",
            cause="duplicate",
            remedy="claim",
            weight=Weight.ACT,
            amount=one.line.subtotal,
            sentence=(
                f"{one.line.name} ({one.line.charge_type}, {one.line.charged}) is billed once more "
                f"with the same figures: {money(one.line.subtotal, one.line.currency)}."
            ),
            hint="ask Microsoft why the charge is there twice",
            records=(one.place,),
        )
        for one in repeated
    ]


def check_exchange_rates(lines: Iterable[BilledLine]) -> list[Point]:
    """Tell invoices that convert one currency at several rates, with what the rarer ones cost."""
    groups: dict[tuple[str, str, str], list[BilledLine]] = defaultdict(list)
    for one in lines:
        pricing = one.line.pricing_currency
        if pricing and pricing != one.line.currency and one.line.exchange_rate > 0:
            groups[one.line.invoice_id, pricing, one.line.currency].append(one)
    points = []
    for (invoice, pricing, currency), group in groups.items():
        rates = Counter(one.line.exchange_rate.normalize() for one in group)
        usual = min(rates, key=lambda rate: (-rates[rate], rate))
        others = [one for one in group if one.line.exchange_rate != usual]
        if not others:
            continue
        amount = sum(
            (x.line.subtotal - x.line.subtotal * usual / x.line.exchange_rate for x in others),
            Decimal(0),
        )
        amount = Money.rounded(amount, currency).amount
        shown = ", ".join(sorted({plain(one.line.exchange_rate) for one in others})[:3])
        points.append(
            Point(
                check="invoice.exchange_rate",
                cause="currency",
                remedy="claim" if amount > 0 else "none",
                weight=Weight.ACT,
                invoice_id=invoice,
                currency=currency,
                amount=amount,
                sentence=(
                    f"{invoice} converts {pricing} to {currency} at {plain(usual)}, but "
                    f"{_count(len(others), 'line')} at {shown}."
                ),
                hint="one invoice has one rate for each currency: ask Microsoft",
                records=places(others),
            )
        )
    return points


def check_partner_ids(lines: Iterable[BilledLine]) -> list[Point]:
    """Tell customers whose lines name another partner than the invoice does, or several resellers."""
    invoices: dict[str, Counter[str]] = defaultdict(Counter)
    customers: dict[str, list[BilledLine]] = defaultdict(list)
    for one in lines:
        if one.line.partner_id:
            invoices[one.line.invoice_id][one.line.partner_id] += 1
        customers[one.line.customer_id].append(one)
    usual = {
        invoice: min(known, key=lambda one: (-known[one], one))
        for invoice, known in invoices.items()
    }
    points = []
    for group in customers.values():
        other = [x for x in group if x.line.partner_id not in ("", usual.get(x.line.invoice_id))]
        if other:
            ids = ", ".join(sorted({one.line.partner_id for one in other}))
            right = ", ".join(sorted({usual[one.line.invoice_id] for one in other}))
            points.append(
                _partner_point(other, "customer.partner_id", f"name partner {ids}, not {right}")
            )
        resellers = sorted({one.line.reseller_id for one in group})
        if len(resellers) > 1:
            named = ", ".join(one or "none" for one in resellers)
            points.append(
                _partner_point(group, "customer.reseller", f"name several resellers ({named})")
            )
    return points


def _partner_point(group: Sequence[BilledLine], check: str, what: str) -> Point:
    invoices = {one.line.invoice_id for one in group}
    return about(
        group[0].line,
        check=check,
        invoice_id=invoices.pop() if len(invoices) == 1 else "",
        cause="partner_of_record",
        remedy="correct_partner",
        weight=Weight.ACT,
        subscription_id="",
        product="",
        currency="",
        sentence=f"{_count(len(group), 'line')} of {group[0].line.customer_name} {what}.",
        hint="correct the partner of record on the subscriptions: incentives go to who is named",
        records=places(group),
    )


def check_earned_credit(lines: Iterable[BilledLine]) -> list[Point]:
    """Tell metered lines without partner earned credit of customers whose other lines have it."""
    groups: dict[tuple[str, str], list[BilledLine]] = defaultdict(list)
    for one in lines:
        if one.line.kind is CostKind.USAGE and is_microsofts(one.publisher):
            groups[one.line.invoice_id, one.line.customer_id].append(one)
    without: dict[tuple[str, str], list[BilledLine]] = defaultdict(list)
    usual: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for group in groups.values():
        rates = [earned_percent(one) for one in group]
        most = max((rate for rate in rates if rate is not None), default=Decimal(0))
        for one, rate in zip(group, rates, strict=True):
            if most and rate == 0 and one.line.subtotal > 0:
                place = one.line.customer_id, one.line.currency
                without[place].append(one)
                usual[place] = max(usual[place], most)
    return [
        lost_credit(
            customer_id=customer,
            customer=some[0].line.customer_name,
            currency=currency,
            cost=sum((one.line.subtotal for one in some), Decimal(0)),
            percent=usual[customer, currency],
            what=_count(len(some), "metered line"),
            invoices={one.line.invoice_id for one in some},
            records=places(some),
        )
        for (customer, currency), some in without.items()
    ]


def earned_percent(one: BilledLine) -> Decimal | None:
    """Return the earned credit of a metered line in percent; None where another credit paid for it."""
    if found := _EARNED.search(one.adjustments):
        return Decimal(found[1])
    if _SPONSORED.search(one.adjustments):
        return None
    line = one.line
    if not one.adjustments.strip() and line.unit_price > 0:
        # Without words, the price tells: 85 % of the list price, give or take the daily rounding.
        kept = abs(line.effective_unit_price) / line.unit_price
        return Decimal(15) if Decimal("0.84") <= kept <= Decimal("0.86") else Decimal(0)
    return Decimal(0)


def lost_credit(
    *,
    customer_id: str,
    customer: str,
    currency: str,
    cost: Decimal,
    percent: Decimal,
    what: str,
    invoices: AbstractSet[str],
    records: tuple[str, ...] = (),
) -> Point:
    """Make the point that usage of a customer earns nothing; worth what it would have earned."""
    amount = Money.rounded(cost * percent / 100, currency).amount
    over = f" on {len(invoices)} invoices" if len(invoices) > 1 else ""
    return Point(
        check="usage.earned_credit",
        cause="earned_credit_lost",
        remedy="restore_access",
        weight=Weight.ACT,
        customer_id=customer_id,
        customer=customer,
        product="Azure usage",
        invoice_id=next(iter(invoices)) if len(invoices) == 1 else "",
        currency=currency,
        amount=amount,
        sentence=(
            f"{what} of {customer or customer_id} over {money(cost, currency)}{over} earned no "
            f"partner credit, while the customer's other usage earned {plain(percent)} %: "
            f"{money(amount, currency)} not earned."
        ),
        hint="give your tenant a role on the Azure subscription again; the credit is not paid later",
        records=records,
    )


def is_microsofts(publisher: str) -> bool:
    """Say whether Microsoft is the publisher; marketplace offers earn no credit."""
    return not publisher or publisher.lower().startswith("microsoft")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
