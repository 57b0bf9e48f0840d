"""The document that leaves the house: an invoice or a credit note, and its life.

A draft may be replaced by the next run; from approval on nothing changes but the status. What was
wrong is answered by a line or a document that names what it answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from domain.charge import Charge
from domain.money import Money, total
from domain.period import Period


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """What the tax decision says for a whole document."""

    percent: Decimal
    note: str = ""
    buyer_tax_id: str = ""
    right_from: date | None = None
    """Service from this day on was taxed wrongly if at another rate; None: rates only changed since,
    and what is corrected is taxed as it was."""


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

    @property
    def amount(self) -> Money:
        """Before tax."""
        return self.charge.amount


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
    fingerprint: str = ""
    """Hash over the lines and terms, frozen at approval; a changed document shows."""

    @property
    def subtotal(self) -> Money:
        """Sum of the rounded lines, before tax."""
        return total((line.amount for line in self.lines), self.currency)

    @property
    def tax(self) -> Money:
        """Sum of the rounded taxes of the lines."""
        return total((line.tax for line in self.lines), self.currency)

    @property
    def taxed(self) -> tuple[tuple[Decimal, Money], ...]:
        """Each rate with the sum of the taxes that were rounded line by line at it."""
        rates = sorted({line.tax_percent for line in self.lines})
        return tuple(
            (rate, total((x.tax for x in self.lines if x.tax_percent == rate), self.currency))
            for rate in rates
        )

    @property
    def total(self) -> Money:
        """What is asked for; negative in a credit note."""
        return self.subtotal + self.tax
