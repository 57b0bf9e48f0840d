"""Our documents against the accounting: what stands there must be what the customer was asked for.

Documents meet by our number, in any case and without blanks around it; lines by position, else by
amount, else by name. Amounts include tax.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from domain.money import minor_units, round_half_up
from domain.reconciliation import BookedLine, Cause, Comparison, Difference, Remedy, SoldLine

_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Both sides by currency, with tax, and every difference."""

    documents: Mapping[str, Decimal]
    booked: Mapping[str, Decimal]
    differences: tuple[Difference, ...]


def compare(sold: Sequence[SoldLine], booked: Sequence[BookedLine] | None) -> Books:
    """Compare document by document; lines without a document number are not in the accounting."""
    documents: dict[str, Decimal] = defaultdict(Decimal)
    books: dict[str, Decimal] = defaultdict(Decimal)
    if booked is None:
        return Books(documents=documents, booked=books, differences=())
    ours: dict[str, list[SoldLine]] = defaultdict(list)
    theirs: dict[str, list[BookedLine]] = defaultdict(list)
    # Where our side does not tell the tax of a line, the document is compared before tax.
    untaxed = {_number(line) for line in sold if line.tax is None}
    shown: dict[str, str] = {}
    for line in sorted(sold, key=lambda line: line.key):
        number = _number(line)
        own = replace(line, tax=Decimal(0)) if number in untaxed else line
        ours[number].append(own)
        shown.setdefault(number, line.document.strip())
        documents[own.currency] += own.amount + (own.tax or 0)
    for told in sorted(booked, key=lambda entry: entry.key):
        number = _number(told)
        entry = replace(told, tax=Decimal(0)) if number in untaxed else told
        theirs[number].append(entry)
        shown.setdefault(number, told.document.strip())
        books[entry.currency] += entry.amount + entry.tax
    contents = {
        _content(lines): shown[number] for number, lines in sorted(theirs.items()) if number in ours
    }
    found: list[Difference] = []
    for number in sorted({*ours, *theirs}):
        if number not in theirs:
            found.extend(_not_booked(shown[number], ours[number]))
        elif number not in ours:
            twin = contents.get(_content(theirs[number]))
            found.extend(_not_ours(shown[number], theirs[number], twin))
        else:
            found.extend(_document(shown[number], ours[number], theirs[number]))
    return Books(documents=documents, booked=books, differences=tuple(found))


def _number(line: SoldLine | BookedLine) -> str:
    return line.document.strip().casefold()


def _content(lines: Sequence[BookedLine]) -> tuple[object, ...]:
    return tuple(sorted((x.customer_id, x.currency, x.amount, x.tax, x.name) for x in lines))


def _not_booked(number: str, lines: Sequence[SoldLine]) -> Iterator[Difference]:
    for currency in sorted({line.currency for line in lines}):
        own = [line for line in lines if line.currency == currency]
        amount = sum((line.amount + (line.tax or 0) for line in own), Decimal(0))
        if amount:
            told = f"Document {number} ({amount} {currency} with tax) is not in the accounting"
            yield _difference(
                Cause.MISSING_INVOICE_LINE, amount, told, own[0], None, currency=currency
            )


def _not_ours(number: str, lines: Sequence[BookedLine], twin: str | None) -> Iterator[Difference]:
    cause = Cause.DUPLICATE if twin else Cause.MISSING_INVOICE_LINE
    why = f"it repeats {twin}" if twin else "no document of ours has this number"
    for currency in sorted({line.currency for line in lines}):
        own = [line for line in lines if line.currency == currency]
        amount = sum((line.amount + line.tax for line in own), Decimal(0))
        if amount:
            told = f"The accounting holds {number} ({amount} {currency} with tax): {why}"
            yield _difference(cause, -amount, told, None, own[0], currency=currency)


def _document(
    number: str, ours: Sequence[SoldLine], theirs: Sequence[BookedLine]
) -> Iterator[Difference]:
    wrong = {line.currency for line in theirs} - {line.currency for line in ours}
    for currency in sorted(wrong):
        own = [line for line in theirs if line.currency == currency]
        amount = sum((line.amount + line.tax for line in own), Decimal(0))
        right = ours[0].currency
        told = f"Document {number} stands in the accounting in {currency}, we asked for {right}"
        yield _difference(Cause.CURRENCY, -amount, told, None, own[0], currency=currency)
        if len(wrong) == 1 and len(own) == len(theirs):
            amount = sum((line.amount + (line.tax or 0) for line in ours), Decimal(0))
            yield _difference(Cause.CURRENCY, amount, told, ours[0], None, currency=right)
            return
    rest = [line for line in theirs if line.currency not in wrong]
    if len(rest) == 1 and len(ours) > 1 and rest[0].line is None:
        yield from _as_a_whole(number, ours, rest[0])
        return
    for line, entry in _pairs(ours, rest):
        if line is None:
            assert entry is not None
            twin = any(x is not entry and _same(x, entry) for x in rest)
            cause = Cause.DUPLICATE if twin else Cause.MISSING_INVOICE_LINE
            amount = entry.amount + entry.tax
            why = "stands there twice" if twin else "is not on our document"
            told = (
                f"Document {number}: {entry.name or 'a line'} over {amount} {entry.currency} {why}"
            )
            yield _difference(cause, -amount, told, None, entry, currency=entry.currency)
        elif entry is None:
            amount = line.amount + (line.tax or 0)
            told = f"Document {number}: {line.name or line.sku} is missing in the accounting"
            yield _difference(
                Cause.MISSING_INVOICE_LINE, amount, told, line, None, currency=line.currency
            )
        else:
            yield from _line(number, line, entry)


def _same(one: BookedLine, other: BookedLine) -> bool:
    return (one.name, one.amount, one.tax) == (other.name, other.amount, other.tax)


def _pairs(
    ours: Sequence[SoldLine], theirs: Sequence[BookedLine]
) -> Iterator[tuple[SoldLine | None, BookedLine | None]]:
    left, free = list(ours), list(theirs)
    for of_ours, of_theirs in (
        (lambda x: x.line, lambda x: x.line),
        (lambda x: (x.name, x.amount, x.tax), lambda x: (x.name, x.amount, x.tax)),
        (lambda x: (x.amount, x.tax), lambda x: (x.amount, x.tax)),
        (lambda x: x.name, lambda x: x.name),
        (lambda _: 0, lambda _: 0),
    ):
        index: dict[object, list[BookedLine]] = defaultdict(list)
        for entry in reversed(free):
            if (key := of_theirs(entry)) is not None:
                index[key].append(entry)
        rest: list[SoldLine] = []
        taken: set[int] = set()
        for line in left:
            near = index.get(of_ours(line))
            # A last pair by elimination: with more left on a side, which one it is would be a guess.
            if near and (of_ours(line) != 0 or len(left) == len(free) == 1):
                entry = near.pop()
                taken.add(id(entry))
                yield line, entry
            else:
                rest.append(line)
        left, free = rest, [entry for entry in free if id(entry) not in taken]
    yield from ((line, None) for line in left)
    yield from ((None, entry) for entry in free)


def _as_a_whole(number: str, ours: Sequence[SoldLine], entry: BookedLine) -> Iterator[Difference]:
    """An accounting that keeps one amount for the document is compared with its sums.

    Our lines are rounded already, so there is no more than a cent for a document, however long.
    """
    net = sum((line.amount for line in ours), Decimal(0)) - entry.amount
    taxes = [line.tax for line in ours if line.tax is not None]
    tax = sum(taxes, Decimal(0)) - entry.tax
    for off, cause, what in ((net, Cause.PRICE, "net"), (tax, Cause.TAX, "tax")):
        if off:
            told = f"Document {number}: the {what} in the accounting is {off} {entry.currency} less"
            small = abs(off) <= _CENT
            yield _difference(
                Cause.ROUNDING if small else cause,
                off,
                told,
                ours[0],
                entry,
                currency=entry.currency,
            )


def _line(number: str, line: SoldLine, entry: BookedLine) -> Iterator[Difference]:
    name = f"Document {number}: {line.name or line.sku or 'line'}"
    for cause, off in _net_causes(line, entry):
        told = f"{name} is booked with {entry.amount} {entry.currency}, we asked for {line.amount}"
        yield _difference(cause, off, told, line, entry, currency=line.currency)
    tax = (line.tax or Decimal(0)) - entry.tax
    if tax:
        told = f"{name} is booked with {entry.tax} {entry.currency} of tax, we asked for {line.tax or 0}"
        cause = Cause.ROUNDING if abs(tax) <= _CENT else Cause.TAX
        yield _difference(cause, tax, told, line, entry, currency=line.currency)


def _net_causes(line: SoldLine, entry: BookedLine) -> list[tuple[Cause, Decimal]]:
    """Lead from the booked amount to ours: the quantity first, what is left is the price."""
    off = line.amount - entry.amount
    if not off:
        return []
    if abs(off) <= _CENT:
        return [(Cause.ROUNDING, off)]
    if line.quantity is None or not entry.quantity or line.quantity == entry.quantity:
        return [(Cause.PRICE, off)]
    share = Fraction(line.quantity) / Fraction(entry.quantity)
    there = round_half_up(Fraction(entry.amount) * share, minor_units(line.currency))
    steps = [(Cause.QUANTITY, there - entry.amount), (Cause.PRICE, line.amount - there)]
    return [
        (Cause.ROUNDING if cause is Cause.PRICE and abs(step) <= _CENT else cause, step)
        for cause, step in steps
        if step
    ]


def _difference(
    cause: Cause,
    amount: Decimal,
    sentence: str,
    line: SoldLine | None,
    entry: BookedLine | None,
    *,
    currency: str,
) -> Difference:
    small = cause is Cause.ROUNDING
    return Difference(
        comparison=Comparison.ACCOUNTING,
        cause=cause,
        remedy=Remedy.NONE if small else Remedy.CORRECT_ACCOUNTING,
        customer_id=(line.customer_id if line else "") or (entry.customer_id if entry else ""),
        subscription_id=line.subscription_id if line else "",
        product=(line.sku or line.name) if line else (entry.name if entry else ""),
        service=line.service if line else None,
        currency=currency,
        amount=amount,
        sentence=sentence,
        hint=_HINTS.get(cause, "correct the document in the accounting, not the customer's"),
        records=tuple(one.key for one in (line, entry) if one is not None),
    )


_HINTS = {
    Cause.ROUNDING: "nothing to do: a cent of rounding; note it if the accounting must agree",
    Cause.MISSING_INVOICE_LINE: "hand it off again, or take out of the accounting what is not ours",
    Cause.DUPLICATE: "void the second one in the accounting",
    Cause.TAX: "correct the tax code of the line in the accounting",
    Cause.CURRENCY: "void it in the accounting and book it in the currency of our document",
}
