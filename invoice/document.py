"""The document that leaves the house: an invoice or a credit note, and its life.

A draft may be replaced by the next run; from approval on nothing changes but the status. What was
wrong is answered by a line or a document that names what it answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from domain.charge import Charge, Reason
from domain.money import Money, total
from domain.period import Period
from domain.tax import Party, TaxCategory, TaxDecider, TaxDecision, TaxPart, TaxRounding


class DocumentKind(StrEnum):
    """Whether money is asked for or given back."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class DocumentStatus(StrEnum):
    """The life of a document, in order."""

    DRAFT = "draft"
    APPROVED = "approved"
    ISSUED = "issued"
    HANDED_OFF = "handed_off"
    PAID = "paid"
    VOID = "void"
    CREDITED = "credited"


def tax_on(amount: Money, percent: Decimal) -> Money:
    """Return the tax on one amount, rounded half up once."""
    return Money.rounded(Fraction(amount.amount) * Fraction(percent) / 100, amount.currency)


def numbers_in(tax_ids: str) -> tuple[str, ...]:
    """Return the tax numbers that one text names; several are parted by commas: GST's and QST's."""
    return tuple(dict.fromkeys(filter(None, (one.strip() for one in tax_ids.split(",")))))


BY_ACCOUNTING = "accounting"
"""Such lines bear no tax here, whatever the accounting system adds to them."""
ADDED_BY_ACCOUNTING = "Amounts before tax; tax is added by the accounting system."


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTax:
    """What one of the taxes on a line comes to."""

    part: TaxPart
    tax: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """How a line is taxed."""

    category: TaxCategory | None
    """None: no tax on a document of before categories were kept."""
    percent: Decimal
    """All parts together."""
    parts: tuple[TaxPart, ...] = ()
    note: str = ""
    """Wording that it demands."""
    apart: str = ""
    """What tells it from others of its rate: that accounting adds the tax, or none is decided yet."""

    @property
    def rate(self) -> tuple[object, ...]:
        """What lines have in common that are taxed alike, whatever the words for it."""
        parts = ((one.jurisdiction, one.percent, one.taxable_percent) for one in self.parts)
        return self.category, self.percent, self.apart, *parts

    def on(self, amount: Money) -> tuple[PartTax, ...]:
        """Return the taxes on one amount, each rounded half up once: each is a tax of its own."""
        return tuple(PartTax(part=p, tax=tax_on(amount, p.effective)) for p in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """What is decided of the tax of a whole document, and how it is rounded."""

    decision: TaxDecision
    rounding: TaxRounding = TaxRounding.LINE
    point: date | None = None
    """The day whose rates and evidence count."""
    right_from: date | None = None
    """Service from this day on was taxed wrongly if in another way; None: rates only changed since,
    and what is corrected is taxed as it was."""
    decide: Callable[[date], TaxDecision] | None = None
    """The decision of another tax point; None: all is decided as `decision` says."""

    @property
    def treatment(self) -> Treatment:
        """How new lines of the document's own tax point are taxed."""
        return self.treatment_at(self.point)

    def decided_at(self, on: date | None) -> TaxDecision:
        """Return what is decided of what belongs to a tax point: law and evidence of that day."""
        if self.decide is None or on is None or on == self.point:
            return self.decision
        return self.decide(on)

    def treatment_at(self, on: date | None) -> Treatment:
        """How lines of a tax point are taxed."""
        decided = self.decided_at(on)
        if decided.decided_by is TaxDecider.ACCOUNTING:
            note = "\n".join(filter(None, (decided.note, ADDED_BY_ACCOUNTING)))
            return Treatment(
                category=decided.category, percent=Decimal(0), note=note, apart=BY_ACCOUNTING
            )
        return Treatment(
            category=decided.category,
            percent=decided.percent,
            parts=decided.parts,
            note=decided.note,
            apart="pending" if decided.pending else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """One charge on a document, with its tax."""

    key: str
    """The charge's key: what was billed once is never billed again under it."""
    invoice_key: str
    position: int
    charge: Charge
    tax_percent: Decimal
    tax: Money
    """All parts together."""
    tax_category: TaxCategory | None = None
    """None: of a document of before categories were kept."""
    taxes: tuple[PartTax, ...] = ()
    """Each tax for itself; they add up. Empty: no tax, or a document of before."""
    tax_note: str = ""

    @property
    def amount(self) -> Money:
        """Before tax."""
        return self.charge.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSum:
    """One of the taxes of a rate: what it is on, and what it comes to."""

    part: TaxPart
    net: Money
    """All that its lines ask for before tax, whatever share of it is taxed."""
    tax: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxed:
    """All lines of a document that are of one category and rate."""

    category: TaxCategory | None
    percent: Decimal
    lines: int
    net: Money
    tax: Money
    parts: tuple[PartSum, ...]
    """Each tax for itself; empty where there is none, or where it was not kept apart."""
    notes: tuple[str, ...]
    """The wording of its lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """A document for one customer, one billing period and one currency.

    A credit note is the same shape with a negative total. `number` is empty until approval.
    """

    key: str
    """`invoice/<customer>/2026-10/USD/1`; the last part counts documents of that period."""
    kind: DocumentKind
    number: str
    status: DocumentStatus
    customer_id: str
    customer_name: str
    contract_key: str
    account_name: str
    account_id: str
    period: Period
    currency: str
    lines: tuple[InvoiceLine, ...]
    issued_on: date | None = None
    due_on: date | None = None
    tax_note: str = ""
    """Wording that the tax treatment demands (reverse charge, exemption reason)."""
    buyer_tax_id: str = ""
    seller_tax_id: str = ""
    seller: Party | None = None
    """None: nobody entered it, or a document of before."""
    buyer: Party | None = None
    tax_point: date | None = None
    """The day whose rates and evidence count."""
    tax_decided_by: TaxDecider = TaxDecider.RULES
    tax_rounding: TaxRounding = TaxRounding.LINE
    tax_reasons: tuple[Reason, ...] = ()
    """Why new lines are taxed as they are."""
    fingerprint: str = ""
    """Hash over the lines and terms, frozen at approval; a changed document shows."""
    paid_on: date | None = None
    """The day on which the accounting system noted that it is paid."""

    @property
    def subtotal(self) -> Money:
        """Sum of the rounded lines, before tax."""
        return total((line.amount for line in self.lines), self.currency)

    @property
    def tax(self) -> Money:
        """Sum of the taxes of the lines."""
        return total((line.tax for line in self.lines), self.currency)

    @property
    def taxed(self) -> tuple[Taxed, ...]:
        """The sums of each category and rate, lowest rate first; their taxes add up to `tax`."""
        groups: dict[tuple[Decimal, str], list[InvoiceLine]] = defaultdict(list)
        for line in self.lines:
            groups[line.tax_percent, line.tax_category or ""].append(line)
        return tuple(self._sums(groups[rate]) for rate in sorted(groups))

    def _sums(self, lines: Sequence[InvoiceLine]) -> Taxed:
        nothing = Money.zero(self.currency)
        parts: dict[TaxPart, PartSum] = {}
        for line in lines:
            for one in line.taxes:
                was = parts.get(one.part, PartSum(part=one.part, net=nothing, tax=nothing))
                parts[one.part] = replace(was, net=was.net + line.amount, tax=was.tax + one.tax)
        return Taxed(
            category=lines[0].tax_category,
            percent=lines[0].tax_percent,
            lines=len(lines),
            net=total((line.amount for line in lines), self.currency),
            tax=total((line.tax for line in lines), self.currency),
            parts=tuple(parts.values()),
            notes=tuple(dict.fromkeys(line.tax_note for line in lines if line.tax_note)),
        )

    @property
    def total(self) -> Money:
        """What is asked for; negative in a credit note."""
        return self.subtotal + self.tax
