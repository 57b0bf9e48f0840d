"""Microsoft's lines against the history: what Microsoft billed beyond what it should have.

Billed more than the history says is a claim; billed less is told and nothing is to be done. Only
seats are expected (`rules.shadow`): every other line counts as it was billed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

from domain.charge import Charge
from domain.money import minor_units, plain
from domain.period import Period
from domain.reconciliation import Cause, Comparison, Difference, Remedy
from domain.subscription import CostInvoice, CostKind, CostLine
from rules import shadow
from rules.effects import Factors, steps
from rules.linking import KINDS

_WHOLE = {"new", "cycleCharge", "renew"}
_KNOWN = set(KINDS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What Microsoft billed and should have billed by currency, and every difference."""

    billed: Mapping[str, Decimal]
    expected: Mapping[str, Decimal]
    differences: tuple[Difference, ...]


def compare(
    lines: Sequence[CostLine],
    expected: Sequence[Charge] | None,
    *,
    heads: Iterable[CostInvoice] = (),
    subscriptions: AbstractSet[str] | None = None,
) -> Claims:
    """Compare Microsoft's lines with what was to be expected, and its invoices with their lines."""
    billed: dict[str, Decimal] = defaultdict(Decimal)
    should: dict[str, Decimal] = defaultdict(Decimal)
    of_invoice: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in lines:
        billed[line.currency] += line.subtotal
        of_invoice[line.invoice_id, line.currency] += line.subtotal
        if line.kind is not CostKind.LICENCE or not line.charged:
            should[line.currency] += line.subtotal
    found: list[Difference] = []
    for head in heads:
        beyond = head.total - of_invoice[head.id, head.currency]
        billed[head.currency] += beyond
        if beyond:
            found.append(_beyond(head, beyond))
    if expected is not None:
        for charge in expected:
            should[charge.amount.currency] += charge.amount.amount
        known = subscriptions or {charge.subscription_id for charge in expected}
        found.extend(_against_history(lines, expected, known))
    return Claims(billed=billed, expected=should, differences=tuple(found))


def _beyond(head: CostInvoice, beyond: Decimal) -> Difference:
    more = beyond > 0
    return Difference(
        comparison=Comparison.MICROSOFT,
        cause=Cause.MICROSOFT_ADJUSTMENT,
        remedy=Remedy.CLAIM if more else Remedy.NONE,
        customer_id="",
        subscription_id="",
        product="",
        service=head.billed,
        currency=head.currency,
        amount=beyond,
        sentence=(
            f"Microsoft's invoice {head.id} asks for {beyond} {head.currency} "
            f"{'more' if more else 'less'} than its lines sum to"
        ).replace(f"{beyond} ", f"{abs(beyond)} "),
        hint="an adjustment of the whole invoice has no line: ask Microsoft what it is for",
        records=(head.id,),
    )


def _against_history(
    lines: Sequence[CostLine], expected: Sequence[Charge], known: AbstractSet[str]
) -> Iterator[Difference]:
    seen = Counter(_twin(line) for line in lines)
    for charge, line in shadow.pairs(expected, lines):
        if charge is None:
            if line is not None and line.subtotal:
                yield _unexpected(line, known, twin=seen[_twin(line)] > 1)
        elif line is None:
            if charge.amount:
                yield _missing(charge)
        elif line.currency != charge.amount.currency:
            told = f"{shadow.billed(line)}, expected in {charge.amount.currency}"
            yield _difference(line, Cause.CURRENCY, line.subtotal, told)
            yield _missing(charge, Cause.CURRENCY, told)
        else:
            for cause, amount in _causes(charge, line):
                yield _difference(line, cause, amount, _SAYS[cause](charge, line))


def _twin(line: CostLine) -> tuple[object, ...]:
    return line.subscription_id, line.charge_type, line.charged, line.seats, line.subtotal


def _unexpected(line: CostLine, known: AbstractSet[str], *, twin: bool) -> Difference:
    if line.subscription_id not in known:
        cause, why = Cause.MISSING_SUBSCRIPTION, "the history knows no such subscription"
    elif twin and line.charge_type in _WHOLE:
        cause, why = Cause.DUPLICATE, "the same line stands there twice"
    elif line.charge_type not in _KNOWN:
        cause, why = Cause.MICROSOFT_ADJUSTMENT, "it belongs to no change of the subscription"
    else:
        cause, why = Cause.QUANTITY, "the history knows no such change of seats"
    return _difference(line, cause, line.subtotal, f"{shadow.billed(line)}: {why}")


def _missing(
    charge: Charge, cause: Cause = Cause.MISSING_INVOICE_LINE, sentence: str = ""
) -> Difference:
    amount = -charge.amount.amount
    return Difference(
        comparison=Comparison.MICROSOFT,
        cause=cause,
        remedy=_remedy(cause, amount),
        customer_id=charge.customer_id,
        subscription_id=charge.subscription_id,
        product=charge.sku,
        service=charge.service,
        currency=charge.amount.currency,
        amount=amount,
        sentence=sentence or f"Microsoft did not bill {shadow.said(charge)}",
        hint=(
            "Microsoft owes this credit: ask for it"
            if amount > 0
            else "a later invoice of Microsoft may hold it; do not give it away"
        ),
        records=(charge.key,),
    )


def _difference(line: CostLine, cause: Cause, amount: Decimal, sentence: str) -> Difference:
    remedy = _remedy(cause, amount)
    return Difference(
        comparison=Comparison.MICROSOFT,
        cause=cause,
        remedy=remedy,
        customer_id=line.customer_id,
        subscription_id=line.subscription_id,
        product=line.sku,
        service=line.charged,
        currency=line.currency,
        amount=amount,
        sentence=sentence,
        hint=_HINTS.get(cause, _CLAIM) if remedy is Remedy.CLAIM else _NOTHING,
        records=(line.key,),
    )


def _remedy(cause: Cause, amount: Decimal) -> Remedy:
    return Remedy.CLAIM if amount > 0 and cause is not Cause.ROUNDING else Remedy.NONE


_CLAIM = "compare the line with the subscription's changes; claim the difference from Microsoft"
_NOTHING = "nothing to do: it is in your favour, or rounding"
_HINTS = {
    Cause.PRICE: "the price is locked for the term: ask Microsoft for the difference",
    Cause.PROMOTION: "the promotion should still apply: ask Microsoft for the difference",
    Cause.MISSING_SUBSCRIPTION: "run sync; if the subscription is not yours, claim the line back",
    Cause.DUPLICATE: "claim one of the two back from Microsoft",
    Cause.CURRENCY: "ask Microsoft to bill the subscription in the currency of its contract",
}


# --- the causes of one line ------------------------------------------------------------------------


def _causes(charge: Charge, line: CostLine) -> list[tuple[Cause, Decimal]]:
    """Decompose what a line asks for beyond its expectation, in the order of `rules.effects`."""
    if line.subtotal == charge.amount.amount:
        return []
    assert line.charged is not None
    inputs = next((r.inputs for r in charge.reasons if r.rule == "cost.locked"), {})
    full = charge.full.days or line.charged.days
    kept = Fraction(inputs.get("kept", "100")) / 100
    rate = Fraction(line.exchange_rate)
    listed = Fraction(line.unit_price) * rate
    right = Factors(
        quantity=charge.quantity,
        days=charge.service.days,
        price=Fraction(inputs["unit_price"]) * kept * rate if inputs else listed,
        listed=Fraction(inputs["unit_price"]) * rate if inputs else listed,
    )
    billed = Factors(
        quantity=line.seats,
        days=line.charged.days,
        price=listed * _kept(line, full, kept),
        listed=listed,
    )

    def value(quantity: Decimal, days: int, price: Fraction) -> Decimal:
        unit = price * days / full
        cut = Decimal(10) ** -minor_units(line.currency)
        return quantity * (Decimal(unit.numerator) / unit.denominator).quantize(cut, ROUND_DOWN)

    # From what Microsoft billed to what is right: what it costs us is the other way round.
    return [
        (cause, -amount)
        for cause, amount in steps(line.subtotal, charge.amount.amount, billed, right, value)
    ]


def _kept(line: CostLine, full: int, expected: Fraction) -> Fraction:
    """Return the part of the list price that a line's promotion leaves."""
    if not line.promotion_id:
        return Fraction(1)
    if expected < 1 or line.charged is None or not line.unit_price:
        return expected
    part = Fraction(line.charged.days, full)
    return Fraction(line.effective_unit_price.copy_abs()) / (Fraction(line.unit_price) * part)


def _quantity(charge: Charge, line: CostLine) -> str:
    return f"{shadow.billed(line)}: {line.seats:f} seats, expected {charge.quantity:f}"


def _dates(charge: Charge, line: CostLine) -> str:
    return f"{shadow.billed(line)}: for {line.charged}, expected for {charge.service}"


def _price(charge: Charge, line: CostLine) -> str:
    inputs = next((r.inputs for r in charge.reasons if r.rule == "cost.locked"), {})
    locked = (
        f", expected {inputs['unit_price']} as locked by line {inputs['line']}" if inputs else ""
    )
    return f"{shadow.billed(line)}: list price {plain(line.unit_price)}{locked}"


def _promotion(charge: Charge, line: CostLine) -> str:
    inputs = next((r.inputs for r in charge.reasons if r.rule == "cost.locked"), {})
    name = f"promotion {line.promotion_id}" if line.promotion_id else "no promotion"
    return (
        f"{shadow.billed(line)}: {name}, expected {inputs.get('kept', '100')} % of the list price"
    )


def _proration(charge: Charge, line: CostLine) -> str:
    days = f"{charge.service.days} of {charge.full.days} days"
    unit = plain(line.effective_unit_price.copy_abs())
    return f"{shadow.billed(line)}: unit {unit}, expected {charge.amount} for {days}"


def _rounding(charge: Charge, line: CostLine) -> str:
    return f"{shadow.billed(line)}: expected {charge.amount}, the unit is rounded another way"


_SAYS = {
    Cause.QUANTITY: _quantity,
    Cause.DATES: _dates,
    Cause.PRICE: _price,
    Cause.PROMOTION: _promotion,
    Cause.PRORATION: _proration,
    Cause.ROUNDING: _rounding,
}

__all__ = ["Claims", "Period", "compare"]
