"""The scenarios by name, and the table of what is awkward in the partner's month.

``partner-month``: 9 November 2026, October is billed on two invoices. ``small``: three customers for
fast tests. ``empty``: a partner without customers.
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.authoring import Author, Content, Place, at
from emulator.partner_month import partner_month
from emulator.stories import STORIES, Story

__all__ = ["SCENARIOS", "STORIES", "Story"]


def _empty(seed: int) -> Content:
    return Author(seed).content


def _small(seed: int) -> Content:
    author = Author(seed)
    redmond = Place(
        country="US", region="WA", city="Redmond", postal_code="98052", street="1 Sample Way"
    )
    fabrikam = author.customer("Fabrikam Toys", redmond, ("Ana", "Lopez"))
    fabrikam.seats("Office seats", "business-standard", 25, at("2026-02-15"))(
        at("2026-10-05"), quantity=30
    )
    fabrikam.seats("Analysts", "power-bi-pro", 4, at("2026-10-21"))
    northwind = author.customer("Northwind Traders", redmond, ("Noor", "Haddad"))
    northwind.seats("Head office", "e3", 12, at("2025-10-14"))
    northwind.azure(at("2026-09-01"), ("production",), deployments=3)
    alpine = author.customer(
        "Alpine Ski House GmbH",
        Place(
            country="AT",
            region="Tirol",
            city="Innsbruck",
            postal_code="6020",
            street="Beispielgasse 3",
        ),
        ("Lena", "Moser"),
        registration_number="ATU00000024",
        vat_number="ATU00000024",
    )
    alpine.seats("Saison", "business-basic", 40, at("2026-10-07"), plan="annual")
    alpine.seats("Zentrale", "business-premium", 9, at("2026-05-31"))
    for customer in (fabrikam, northwind, alpine):
        author.relationship(
            f"{customer.tenant.company} managed services",
            customer.tenant,
            created="2026-01-05",
            activated="2026-01-06",
        )
    return author.content


SCENARIOS: dict[str, Callable[[int], Content]] = {
    "empty": _empty,
    "small": _small,
    "partner-month": partner_month,
}
