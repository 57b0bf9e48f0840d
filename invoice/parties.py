"""Who sells and who buys, as a document prints them; a party that nobody entered is left out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from domain.tax import Party, TaxCategory, TaxDecision, TaxRegistration
from invoice.document import numbers_in
from invoice.file import CustomerFile


def seller_of(file: CustomerFile, decision: TaxDecision, on: date) -> Party | None:
    """Return the company that sells, with the tax numbers that the decision names.

    Where it names none: those of the places whose tax is charged, or of the seller's own country.
    """
    seller = file.seller
    if seller is None:
        return None
    places = [part.jurisdiction for part in decision.parts] or [seller.address.country]
    own = [
        one.number
        for place in places
        for one in file.registrations
        if on in one.valid and _covers(one, place)
    ]
    return Party(
        name=seller.name,
        address=seller.address,
        tax_numbers=numbers_in(decision.seller_tax_id) or _once(own),
        registration_number=seller.registration_number,
        email=seller.email,
    )


def buyer_of(file: CustomerFile, decision: TaxDecision) -> Party | None:
    """Return the billed account; its number is the one that decided, or that of the account.

    What exempts it may be a certificate, which is no number of its own.
    """
    account, contract = file.account, file.contract
    if account is None:
        return None
    proven = "" if decision.category is TaxCategory.EXEMPT else decision.buyer_tax_id
    return Party(
        name=(contract.account_name if contract else "") or account.name,
        address=account.address,
        tax_numbers=numbers_in(proven) or _once([account.tax_number]),
    )


def _covers(registration: TaxRegistration, place: str) -> bool:
    """A registration for a whole country stands beside that of a region: GST beside QST.

    A city's tax is charged by the registration of its region: `US-NY New York City`.
    """
    country, _, region = place.partition(" ")[0].partition("-")
    return registration.country == country and registration.region in {"", region}


def _once(numbers: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(number for number in numbers if number))
