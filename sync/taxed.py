"""What decides a customer's tax, taken from its file; and the question to an external tax engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from domain.customer import Address
from domain.period import Period
from domain.problems import Finding
from domain.tax import (
    AskedLine,
    Party,
    TaxCategory,
    TaxDecider,
    TaxDecision,
    TaxQuestion,
)
from invoice.document import Invoice
from invoice.file import CustomerFile
from rules.tax import Known
from sync.ports import TaxEngine

NOT_DECIDED_YET = TaxDecision(
    category=TaxCategory.OUT_OF_SCOPE,
    note="Tax is not decided yet.",
    decided_by=TaxDecider.ENGINE,
    pending=True,
)
"""With it a draft is made whose lines the engine is asked about; it is never stored."""


def known_of(file: CustomerFile, taxing: Known, today: date) -> Known:
    """Return `taxing` (policy, checks, an engine's answer) with what the customer's file knows."""
    return replace(
        taxing,
        decider=file.contract.tax_decider if file.contract else TaxDecider.RULES,
        seller=file.seller,
        registrations=file.registrations,
        certificates=file.certificates,
        buyer_address=file.account.address if file.account else None,
        number_checks=file.number_checks,
        rates=file.tax_rates,
        faults=file.tax_faults,
        today=today,
    )


def ask_engine(
    engine: TaxEngine | None, file: CustomerFile, document: Invoice, period: Period
) -> TaxDecision | Finding | None:
    """Ask a tax engine about the lines of a draft; None where there is no engine to ask."""
    if engine is None or file.seller is None:
        return None
    return engine.decide(question_of(file, document, period))


def question_of(file: CustomerFile, document: Invoice, period: Period) -> TaxQuestion:
    """Return what a tax engine is asked about a document; the tax point is the period's last day."""
    profile, seller, account = file.tax_profile, file.seller, file.account
    on = period.last_day
    numbers = tuple(one.number for one in file.registrations if one.number and on in one.valid)
    place = account.address if account else Address()
    if profile is not None:
        # The profile says where the customer is taxed; the account, where its letters go.
        place = replace(
            place,
            country=profile.country,
            region=profile.region or place.region,
            city=profile.locality or place.city,
        )
    return TaxQuestion(
        customer_id=file.customer.id,
        seller=Party(
            name=seller.name if seller else "",
            address=seller.address if seller else Address(),
            tax_numbers=numbers,
            registration_number=seller.registration_number if seller else "",
        ),
        buyer=Party(
            name=document.account_name,
            address=place,
            tax_numbers=(profile.tax_number,) if profile and profile.tax_number else (),
        ),
        currency=document.currency,
        tax_point=on,
        lines=tuple(
            AskedLine(
                key=line.key,
                kind=line.charge.type.value,
                sku=line.charge.sku,
                name=line.charge.name,
                amount=line.amount.amount,
            )
            for line in document.lines
        ),
    )
