"""Everything that decides one customer's bill, as one value, and what a save of records did.

What the use cases read from the store and hand to the pure functions; nothing here reads or writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from domain.contract import BillingContract, ExchangeRate, MarkupRule, PriceListItem, TaxProfile
from domain.customer import Account, Agreement, Customer, DelegatedAdminRelationship
from domain.problems import Finding
from domain.subscription import CostLine, Subscription, SubscriptionEvent
from domain.tax import (
    ExemptionCertificate,
    Seller,
    TaxNumberCheck,
    TaxRate,
    TaxRegistration,
)
from invoice.document import DocumentStatus, Invoice


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerFile:
    """All that is stored about one customer and decides its bill."""

    customer: Customer
    agreements: tuple[Agreement, ...] = ()
    relationships: tuple[DelegatedAdminRelationship, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    events: tuple[SubscriptionEvent, ...] = ()
    cost_lines: tuple[CostLine, ...] = ()
    """All stored lines of Microsoft's invoices for the customer."""
    contract: BillingContract | None = None
    contracts: tuple[BillingContract, ...] = ()
    """Every billing contract that names the customer; `contract` is the one that counts."""
    account: Account | None = None
    """The row that is billed; None where none is chosen, or it was deleted."""
    mapped_account: Account | None = None
    """The row that the customer itself is mapped to; a contract may name another."""
    tax_profile: TaxProfile | None = None
    seller: Seller | None = None
    """Who sells under the contract; None where nobody entered one."""
    registrations: tuple[TaxRegistration, ...] = ()
    """Of the seller."""
    certificates: tuple[ExemptionCertificate, ...] = ()
    number_checks: tuple[TaxNumberCheck, ...] = ()
    """What is known of the tax numbers of the profile."""
    tax_rates: tuple[TaxRate, ...] = ()
    """Rates that the partner entered; they go before those that ship with the product."""
    tax_faults: tuple[Finding, ...] = ()
    """Rows of these that could not be read: they hold whoever is taxed by rules."""
    price_list: tuple[PriceListItem, ...] = ()
    """The customer's own prices and those for everybody."""
    rules: tuple[MarkupRule, ...] = ()
    """The customer's own rules and those for everybody."""
    rates: tuple[ExchangeRate, ...] = ()
    """Every exchange rate that is stored."""
    documents: tuple[Invoice, ...] = ()
    """Every document so far, drafts and void ones included, with their lines."""

    @property
    def invoiced(self) -> frozenset[str]:
        """Keys of Microsoft's lines that documents beyond a draft ask for."""
        return frozenset(
            key
            for document in self.documents
            if document.status not in {DocumentStatus.DRAFT, DocumentStatus.VOID}
            for line in document.lines
            for key in line.charge.cost_lines
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a save did: rows written anew, rows changed, rows left alone because equal."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: Saved) -> Saved:
        return Saved(
            created=self.created + other.created,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
        )
