"""What decides a customer's tax, read from the rows that people keyed in and linked.

Links count before the texts beside them: a person sets the link. A row that is no record becomes a
finding: whoever's tax it might decide is held, and nobody else is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dataverse.client import Query
from dataverse.mapping import domain_key, from_row
from dataverse.microsoft_tables import CUSTOMER
from dataverse.rows import query_of
from dataverse.schema import EXTERNAL_KEY, Row, Table
from dataverse.tax_tables import SELLER, TAX_CERTIFICATE, TAX_RATE, TAX_REGISTRATION
from domain.problems import Finding, InputError, Severity
from domain.tax import ExemptionCertificate, Seller, TaxRate, TaxRegistration

SELLER_LINK = "_csp_sellerid_value"
_CUSTOMER_LINK = "_csp_customerid_value"
_ACTIVE = "statecode eq 0"
"""A row that a person deactivated stays as evidence, and decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRows:
    """Seller, registrations, certificates and rates of one customer's bill."""

    seller: Seller | None = None
    registrations: tuple[TaxRegistration, ...] = ()
    certificates: tuple[ExemptionCertificate, ...] = ()
    rates: tuple[TaxRate, ...] = ()
    faults: tuple[Finding, ...] = ()


def tax_queries(own: str) -> list[Query]:
    """Return what `tax_rows` reads; `own` is the condition of a customer's rows."""
    # A certificate that a person linked may name another customer as text, or none.
    nobodys = f"(csp_tenantid eq null and {_CUSTOMER_LINK} eq null)"
    mine = f"({own} or csp_CustomerId/{own} or {nobodys}) and {_ACTIVE}"
    return [
        query_of(SELLER, _ACTIVE, SELLER.primary_id),
        query_of(TAX_REGISTRATION, _ACTIVE, TAX_REGISTRATION.primary_id, SELLER_LINK),
        query_of(TAX_CERTIFICATE, mine, TAX_CERTIFICATE.primary_id, _CUSTOMER_LINK),
        query_of(TAX_RATE, _ACTIVE, TAX_RATE.primary_id),
    ]


def tax_rows(
    answers: Iterator[Sequence[Row]], customer: Row, customer_id: str, contract: Row | None
) -> TaxRows:
    """Read the answers of `tax_queries` for a customer and its contract.

    The seller is the one that the contract links or names, else the only one that there is.
    """
    sellers, registrations, certificates, rates = (next(answers) for _ in range(4))
    faults: list[Finding] = []

    def read(table: Table, rows: Sequence[Row], **more: str) -> list[Any]:
        found = []
        for row in rows:
            try:
                found.append(from_row(table, {**row, **more}))
            except InputError as fault:
                faults.append(_fault(customer_id, table, row, fault))
        return sorted(found, key=lambda record: domain_key(table, record))

    row, seller = _seller(sellers, contract), None
    if row is not None:
        seller = next(iter(read(SELLER, [row])), None)
    own: list[TaxRegistration] = []
    if seller is not None and row is not None:
        mine = [
            one
            for one in registrations
            if row[SELLER.primary_id] == one[SELLER_LINK]
            or (not one[SELLER_LINK] and seller.key == one["csp_sellerkey"])
        ]
        own = [replace(one, seller_key=seller.key) for one in read(TAX_REGISTRATION, mine)]
        for one in registrations:
            if not one[SELLER_LINK] and not one["csp_sellerkey"]:
                nobody = InputError("the selling company is missing")
                faults.append(_fault(customer_id, TAX_REGISTRATION, one, nobody))
    papers = [
        one
        for one in certificates
        if (
            one[_CUSTOMER_LINK] == customer[CUSTOMER.primary_id]
            if one[_CUSTOMER_LINK]
            else one["csp_tenantid"]
        )
    ]
    for one in certificates:
        if not one[_CUSTOMER_LINK] and not one["csp_tenantid"]:
            nobody = InputError("the customer is missing")
            faults.append(_fault(customer_id, TAX_CERTIFICATE, one, nobody))
    return TaxRows(
        seller=seller,
        registrations=tuple(own),
        certificates=tuple(
            read(TAX_CERTIFICATE, papers, csp_tenantid=customer_id),
        ),
        rates=tuple(read(TAX_RATE, rates)),
        faults=tuple(faults),
    )


def _seller(sellers: Sequence[Row], contract: Row | None) -> Row | None:
    link = contract[SELLER_LINK] if contract else None
    key = contract["csp_sellerkey"] if contract else None
    if link:
        return next((row for row in sellers if row[SELLER.primary_id] == link), None)
    if key:
        return next((row for row in sellers if key in {row["csp_key"], _key_of(row)}), None)
    return sellers[0] if len(sellers) == 1 else None


def _key_of(row: Row) -> str:
    """A row that a person made is known by its primary key."""
    return f"{SELLER.name}/{row[SELLER.primary_id]}"


def _fault(customer_id: str, table: Table, row: Row, fault: InputError) -> Finding:
    return Finding(
        check="tax.unreadable_row",
        severity=Severity.HOLD,
        customer_id=customer_id,
        record=f"{table.label.lower()} {row.get(EXTERNAL_KEY) or row[table.primary_id]}",
        sentence=f"A row under {table.plural} cannot be read: {fault}.",
        hint=f"correct the row under {table.plural}, or deactivate it",
    )
