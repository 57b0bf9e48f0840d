"""One supply whose tax is asked for: its facts, and how it is decided or held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from domain.charge import Reason
from domain.contract import TaxProfile
from domain.problems import Finding
from domain.tax import TaxCategory, TaxDecision, TaxPart
from rules.tax_evidence import Known, tax_hold
from rules.tax_places import territory_of
from rules.tax_rates import Taxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The facts of one supply, in codes that the tables know."""

    profile: TaxProfile
    customer_id: str
    on: date
    known: Known
    table: Taxes
    seller: str
    seller_region: str
    buyer: str
    region: str
    """The buyer's, as the rates name it, else as it was entered."""
    number: str = ""
    """The buyer's, as it is printed; empty: none."""
    well_formed: bool = False

    @property
    def place(self) -> str:
        """Where the buyer is, as a person reads it."""
        parts = (self.buyer, self.profile.region.strip(), self.profile.locality.strip())
        return ", ".join(part for part in parts if part)

    @property
    def at_home(self) -> bool:
        """Whether seller and buyer are in one VAT territory."""
        return territory_of(self.seller) == territory_of(self.buyer)

    def held(self, check: str, sentence: str, hint: str) -> Finding:
        """Return the finding that holds the customer; one for each check, whatever the day."""
        record = f"tax of {self.seller} to {self.place}"
        return tax_hold(self.customer_id, record, check, sentence, hint)

    def decide(
        self,
        rule: str,
        category: TaxCategory,
        *,
        note: str = "",
        parts: tuple[TaxPart, ...] = (),
        seller_tax_id: str = "",
        told: Mapping[str, str] | None = None,
    ) -> TaxDecision:
        """Return the decision with the facts that made it."""
        facts = {
            "seller": ", ".join(filter(None, (self.seller, self.seller_region))),
            "buyer": self.place,
            "on": str(self.on),
            "category": category.value,
        }
        if self.number:
            facts["buyer_tax_id"] = self.number
        return TaxDecision(
            category=category,
            parts=parts,
            note=note,
            seller_tax_id=seller_tax_id or self.known.number_in(self.seller, self.on),
            buyer_tax_id=self.number,
            reasons=(Reason(rule=rule, inputs=facts | dict(told or {})),),
        )


def not_registered(case: Case, country: str, tax: str) -> Finding:
    """Return the finding that a tax is due where the seller may not charge it."""
    return case.held(
        "tax.no_registration",
        f"The selling company has no registration with a number in {country} on {case.on}, "
        f"where {tax} is due.",
        "enter the registration with its number under Tax registrations, or choose another "
        "selling company on the contract",
    )


def no_seller(customer_id: str) -> Finding:
    """Return the finding that nobody is known who sells."""
    return tax_hold(
        customer_id,
        "selling company",
        "tax.no_seller",
        "No selling company is known for the billing contract.",
        "enter the company under Selling companies; where there are several, choose one on "
        "the contract",
    )
