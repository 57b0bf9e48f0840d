"""How tax is told: what each sum of a document is, why it is so, and how a line's tax came about.

No tax is never told without its reason. A document of before categories were kept says what it said.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from domain.money import Money, plain
from domain.tax import TaxCategory, TaxDecider, TaxPart, TaxRounding
from invoice.document import Invoice, InvoiceLine, Taxed, Treatment, tax_on

_CATEGORIES = {
    TaxCategory.STANDARD: "taxed",
    TaxCategory.ZERO: "zero rated",
    TaxCategory.EXEMPT: "exempt",
    TaxCategory.REVERSE_CHARGE: "reverse charge, the buyer accounts for it",
    TaxCategory.EXPORT: "export",
    TaxCategory.OUT_OF_SCOPE: "outside the scope of the tax",
}
_DECIDERS = {
    TaxDecider.RULES: "the rules and rates of the seller",
    TaxDecider.ENGINE: "the tax engine",
    TaxDecider.ACCOUNTING: "the accounting system",
}
SHARED = "Tax is rounded once for all lines of a rate; each line shows its share."


def category_words(category: TaxCategory | None) -> str:
    """Say in words why something bears the tax that it bears."""
    return _CATEGORIES[category] if category else "as stated"


def tax_name(treatment: Treatment) -> str:
    """Name a way of taxing: `VAT 19 %`, `0 % (exempt)`."""
    if treatment.parts:
        return " and ".join(f"{part_name(one)} {_rate(one)}" for one in treatment.parts)
    return f"{plain(treatment.percent)} % ({category_words(treatment.category)})"


def part_name(part: TaxPart) -> str:
    """Name a tax, with its place where it is not a whole country's: `QST (CA-QC)`."""
    place = part.jurisdiction
    return f"{part.name} ({place})" if len(place) > len("DE") else part.name


def _rate(part: TaxPart) -> str:
    share = part.taxable_percent
    return f"{plain(part.percent)} %" + (f" of {plain(share)} %" if share != 100 else "")


def tax_lines(document: Invoice) -> Iterator[tuple[str, Money]]:
    """Yield what is printed between subtotal and total: each tax of each rate with its sum."""
    sums = document.taxed
    for one in sums:
        if one.category is None:
            title = f"Tax, {plain(one.percent)} % of each line" if one.percent else "Tax"
            yield title, one.tax
            continue
        if not one.parts:
            at = f" ({one.net.amount:,f})" if len(sums) > 1 else ""
            yield _no_tax(one) + at, one.tax
        several = len(sums) > 1 or len({part.net for part in one.parts}) > 1
        for part in one.parts:
            of = f"{part.net.amount:,f}"
            if document.tax_rounding is TaxRounding.LINE:
                of = f"each line of {of}" if several else "each line"
            yield f"{part_name(part.part)}, {_rate(part.part)} of {of}", part.tax


def _no_tax(one: Taxed) -> str:
    if one.category is TaxCategory.STANDARD:  # what our own rules tax has a rate
        return "Tax not included"
    return f"No tax: {category_words(one.category)}"


def notes(document: Invoice) -> list[str]:
    """Return what is printed below the totals: the wording of every treatment, and of rounding."""
    if all(line.tax_category is None for line in document.lines):
        return [document.tax_note] if document.tax_note else []
    told = "\n".join((document.tax_note, *(line.tax_note for line in document.lines))).split("\n")
    shared = document.tax_rounding is TaxRounding.DOCUMENT and bool(document.tax)
    return [*filter(None, dict.fromkeys(told)), *([SHARED] if shared else [])]


def tax_of_line(line: InvoiceLine) -> str:
    """Tell how the tax of one line came about, to be checked with a pocket calculator."""
    if line.tax_category is None:
        return f"tax {plain(line.tax_percent)} % = {line.tax}"
    if not line.taxes:
        reason = f"no tax ({line.tax_category}: {category_words(line.tax_category)})"
        return f"{reason}: {line.tax_note}" if line.tax_note else reason
    told = []
    for one in line.taxes:
        at = f"{part_name(one.part)} {_rate(one.part)} of {line.amount}"
        if one.tax == tax_on(line.amount, one.part.effective):
            told.append(f"{at} = {one.tax}")
        else:
            exact = Fraction(line.amount.amount) * Fraction(one.part.effective) / 100
            told.append(
                f"{at} = {plain(exact, 6)}, which is {one.tax} together with the lines "
                "that it is rounded with"
            )
    return "; ".join(told)


def why_taxed(document: Invoice) -> str:
    """Tell in one sentence who decided the tax of new lines, and by which facts; empty: not kept."""
    if all(line.tax_category is None for line in document.lines):
        return ""
    told = f"Decided by {_DECIDERS[document.tax_decided_by]}"
    if document.tax_point:
        told += f" as of {document.tax_point}"
    reasons = [
        f"{one.rule} ({', '.join(f'{name} {value}' for name, value in one.inputs.items())})"
        for one in document.tax_reasons
    ]
    return f"{told}: {'; '.join(reasons)}." if reasons else f"{told}."
