"""Where tax is rounded: at each charge, or once for all lines of a rate in a document.

By line, the tax of all lines of a charge is the tax of its right amount, rounded once. By document,
the tax of a rate is that of the sum of its lines, and each line bears its own exact tax rounded up
or down (largest remainder), so that lines add up to totals either way. Each tax of a rate (GST
beside QST) is rounded for itself. What is taken back wholly is taken back with the tax that was
asked for it; by document this goes before the sum, so a document that takes lines back may differ
from rate times sum by less than a cent for each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from domain.charge import Charge
from domain.money import Money, minor_units, round_half_up, total
from domain.tax import TaxCategory, TaxDecider, TaxPart, TaxRounding
from invoice.document import (
    BY_ACCOUNTING,
    Invoice,
    InvoiceLine,
    PartTax,
    Tax,
    Treatment,
    tax_on,
)

Taxes = tuple[PartTax, ...]
Roundings = Mapping[str, TaxRounding]
"""By accounting target, in lower case; under the empty name what holds for all others."""


def rounding_of(target: str, roundings: Roundings) -> TaxRounding:
    """Return where tax is rounded for an accounting target: at each line unless it is set."""
    others = roundings.get("", TaxRounding.LINE)
    return roundings.get(target.strip().lower(), others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A charge that no document holds yet, with its tax."""

    charge: Charge
    treatment: Treatment
    taxes: Taxes | None
    """None: it is rounded with the other lines of its rate, once all of them are known."""
    buyer_tax_id: str = ""
    """By which number the buyer accounts for the tax itself; empty: by that of the decision."""


def treatments_of(
    lines: Sequence[InvoiceLine], tax: Tax, documents: Mapping[str, Invoice]
) -> list[Treatment]:
    """Return how each line of one charge was taxed.

    A line of before categories were kept is told in the words of another line of the charge or of
    today's decision, where they are of its rate. `documents` are those of the lines, by key.
    """
    known = {
        line.tax_percent: _as_told(line, documents[line.invoice_key])
        for line in lines
        if line.tax_category is not None
    }
    found: list[Treatment] = []
    for line in lines:
        document = documents[line.invoice_key]
        if line.tax_category is not None:
            found.append(_as_told(line, document))
            continue
        percent, note = line.tax_percent, document.tax_note
        today = tax.treatment
        alike = percent == today.percent and bool(
            percent or tax.right_from is not None or note == today.note
        )
        if percent in known:
            found.append(known[percent])
        elif alike:
            found.append(replace(today, note=note or today.note))
        elif percent:
            part = TaxPart(name="Tax", jurisdiction="", percent=percent)
            found.append(
                Treatment(category=TaxCategory.STANDARD, percent=percent, parts=(part,), note=note)
            )
        else:
            found.append(Treatment(category=None, percent=percent, note=note))
    return found


def _as_told(line: InvoiceLine, document: Invoice) -> Treatment:
    by_accounting = document.tax_decided_by is TaxDecider.ACCOUNTING and not line.taxes
    return Treatment(
        category=line.tax_category,
        percent=line.tax_percent,
        parts=tuple(one.part for one in line.taxes),
        note=line.tax_note,
        apart=BY_ACCOUNTING if by_accounting else "",
    )


@dataclass(slots=True)
class _Held:
    """What documents hold of a charge at one rate: its amount, and the tax of each part."""

    net: Money
    taxes: list[Money]


def taxes_of_steps(
    steps: Sequence[tuple[Money, Treatment]],
    lines: Sequence[tuple[InvoiceLine, Treatment]],
    right: Treatment,
    rounding: TaxRounding,
) -> list[Taxes | None]:
    """Return the taxes of the adjustments by which one charge becomes right.

    `steps` are their amounts, `lines` what was told of the charge so far, `right` how it is taxed
    in the end. None where the document that they will stand on decides.
    """
    currency = lines[0][0].amount.currency
    held: dict[object, _Held] = {}
    for line, treatment in lines:
        at = held.setdefault(treatment.rate, _nothing(treatment, currency))
        at.net += line.amount
        for n, tax in enumerate(_by_part(line, treatment)):
            at.taxes[n] += tax
    mine = held.setdefault(right.rate, _nothing(right, currency))
    own = [amount for amount, treatment in steps if treatment.rate == right.rate]
    after = mine.net + total(own, currency)
    by_line = rounding is TaxRounding.LINE or not after
    found: list[Taxes | None] = []
    open_steps: list[int] = []
    for n, (amount, treatment) in enumerate(steps):
        at = held[treatment.rate]
        if not open_steps and amount == -at.net:
            found.append(_taxes(treatment, [-tax for tax in at.taxes]))
            held[treatment.rate] = _nothing(treatment, currency)
            continue
        open_steps.append(n)
        found.append(treatment.on(amount) if by_line else None)
    if by_line and open_steps:
        # By subtraction: what is owed in the end, less what was asked and the steps before.
        owed = [one.tax for one in right.on(after)]
        for n, asked in enumerate(held[right.rate].taxes):
            owed[n] -= asked
        for step in open_steps[:-1]:
            for n, one in enumerate(found[step] or ()):
                owed[n] -= one.tax
        found[open_steps[-1]] = _taxes(right, owed)
    return found


def _nothing(treatment: Treatment, currency: str) -> _Held:
    return _Held(net=Money.zero(currency), taxes=[Money.zero(currency) for _ in treatment.parts])


def _by_part(line: InvoiceLine, treatment: Treatment) -> Sequence[Money]:
    """Return the tax of a line by part; before parts were kept it was one sum."""
    if line.taxes or not treatment.parts:
        return [one.tax for one in line.taxes]
    return line.tax.allocate([part.effective for part in treatment.parts])


def _taxes(treatment: Treatment, amounts: Sequence[Money]) -> Taxes:
    return tuple(
        PartTax(part=part, tax=tax) for part, tax in zip(treatment.parts, amounts, strict=True)
    )


def settled(asked: Sequence[Asked]) -> list[Taxes]:
    """Return the taxes of each line of one document, those of its own rounding included."""
    groups: dict[object, list[int]] = defaultdict(list)
    for n, one in enumerate(asked):
        groups[one.treatment.rate].append(n)
    taxes = [list(one.taxes or ()) for one in asked]
    for group in groups.values():
        parts = asked[group[0]].treatment.parts
        open_lines = [n for n in group if asked[n].taxes is None]
        for number, part in enumerate(parts if open_lines else ()):
            net = total(
                (asked[n].charge.amount for n in group), asked[group[0]].charge.amount.currency
            )
            due = tax_on(net, part.effective)
            for n in group:
                if n not in open_lines:
                    due -= taxes[n][number].tax
            amounts = [asked[n].charge.amount for n in open_lines]
            for n, tax in zip(open_lines, _shared(due, amounts, part), strict=True):
                taxes[n].append(PartTax(part=part, tax=tax))
    return [tuple(one) for one in taxes]


def _shared(due: Money, amounts: Sequence[Money], part: TaxPart) -> list[Money]:
    """Share a tax among lines: each bears its exact tax, rounded up or down."""
    places = minor_units(due.currency)
    exact = [Fraction(one.amount) * Fraction(part.effective) / 100 * 10**places for one in amounts]
    units = [tax.numerator // tax.denominator for tax in exact]
    odd = sorted(
        (n for n, tax in enumerate(exact) if tax.denominator != 1),
        key=lambda n: (units[n] - exact[n], n),
    )
    missing = int(Fraction(due.amount) * 10**places) - sum(units)
    for n in odd[: max(0, missing)]:
        units[n] += 1
    return [Money(round_half_up(Fraction(one, 10**places), places), due.currency) for one in units]
