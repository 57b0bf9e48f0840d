"""What the finance team of the emulated partner has keyed in: accounts, contracts, prices, taxes.

Not part of the emulators, because these are rows of our own tables. Customers are named by their
domain in scenario partner-month. One customer (Umbra Unmapped) is left without a contract on
purpose. Rates and tax treatments are examples, not advice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from domain.contract import (
    BillingContract,
    MarkupMethod,
    MarkupRule,
    PriceListItem,
    TaxProfile,
)
from domain.customer import Address, Customer
from domain.period import BillingCycle, Period, TermDuration
from domain.tax import TaxTreatment
from domain.usage_alert import UsageBudget

BILLING_STARTS = date(2026, 10, 1)
PARTNER = "Contoso Cloud Distribution"
PARTNER_ID = "4391507"
OPEN = Period(date(2024, 1, 1), date(9999, 1, 1))

_REVERSE = "Reverse charge: VAT is owed by the recipient (Article 196, Directive 2006/112/EC)."
_EXEMPT = "Exempt from VAT: educational institution (§ 4 No. 21 UStG), certificate on file."


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A row of the standard account table, with the address that Microsoft has of the customer."""

    number: str
    name: str
    address: Address

    @property
    def columns(self) -> dict[str, str]:
        """The row as Dynamics has it."""
        return {"name": self.name, "accountnumber": self.number, **self.address_columns}

    @property
    def address_columns(self) -> dict[str, str]:
        """The columns of its address."""
        stated = self.address
        return {
            "address1_line1": stated.line1,
            "address1_line2": stated.line2,
            "address1_city": stated.city,
            "address1_stateorprovince": stated.region,
            "address1_postalcode": stated.postal_code,
            "address1_country": stated.country,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keyed:
    """One customer as finance knows it: where it is taxed, how, and which partner sells."""

    country: str
    rate: str = ""
    """Percent; empty: no tax is charged, for the reason in the wording."""
    evidence: str = ""
    wording: str = _REVERSE
    exempt: bool = False
    valid_until: date | None = None
    partner_id: str = PARTNER_ID
    currency: str = ""


_US_NOT_TAXED = "No sales tax: the service is not taxable in the customer's state."

_CUSTOMERS = {
    "fabrikamtoys": _Keyed(country="US", rate="10.25"),
    "northwindtraders": _Keyed(country="US", rate="6.60"),
    "adventureworkscycles": _Keyed(country="US", wording=_US_NOT_TAXED),
    "prosewarelegal": _Keyed(country="US", rate="6.25"),
    "wideworldimporters": _Keyed(country="US", rate="6.60"),
    "contosodentalgroup": _Keyed(country="US", rate="6.25", partner_id="4847433"),
    "tailspintravel": _Keyed(country="US", wording=_US_NOT_TAXED),
    "fourthcoffee": _Keyed(country="US", rate="10.25"),
    "margiesmonthendtravel": _Keyed(country="US", rate="6.60"),
    "lamnahealthcare": _Keyed(country="US", rate="6.25", partner_id="4847383"),
    "woodgrovebank": _Keyed(country="US", rate="6.25"),
    "driftwoodmarine": _Keyed(country="US", rate="10.25"),
    "treyresearch": _Keyed(country="US", wording=_US_NOT_TAXED),
    "humongousinsurance": _Keyed(country="US", rate="6.60"),
    "alpineskihousegmbh": _Keyed(country="AT", evidence="ATU00000024"),
    "expiringaccessgmbh": _Keyed(country="DE", evidence="DE100000016"),
    "accesslapsedsarl": _Keyed(country="FR", evidence="FR00000000190"),
    "grachtengroepbv": _Keyed(country="NL", evidence="NL000000012B01"),
    "vinosantiguossl": _Keyed(country="ES", evidence="ESB00000018"),
    "directharbourltd": _Keyed(country="IE", evidence="IE1000001MH"),
    "bayerischemaschinenbauag": _Keyed(country="DE", evidence="DE100000008"),
    "rheinischekunstschule": _Keyed(
        country="DE",
        evidence="BR-DUS-48.03-2291",
        wording=_EXEMPT,
        exempt=True,
        valid_until=date(2027, 12, 31),
    ),
    "cohowinerysas": _Keyed(country="FR", evidence="FR00000000287"),
    "thamesvalleydentalltd": _Keyed(
        country="GB",
        evidence="GB100000034",
        wording="Outside the scope of EU VAT: the customer accounts for UK VAT (reverse charge).",
    ),
}


def _label(customer: Customer) -> str:
    return customer.domain.partition(".")[0]


def accounts(customers: list[Customer]) -> dict[str, Account]:
    """Return the account of each mapped customer, by tenant id."""
    return {
        customer.id: Account(
            number=f"CSP-{_label(customer)}"[:20].upper(),
            name=customer.name,
            address=customer.address if customer.address.country else customer.billing_address,
        )
        for customer in customers
        if _label(customer) in _CUSTOMERS
    }


def tax_profiles(customers: list[Customer]) -> list[TaxProfile]:
    """Return the tax profile of each mapped customer."""
    profiles = []
    for customer in customers:
        keyed = _CUSTOMERS.get(_label(customer))
        if keyed is None:
            continue
        treatment = TaxTreatment.REVERSE_CHARGE
        if keyed.rate:
            treatment = TaxTreatment.STANDARD
        elif keyed.exempt:
            treatment = TaxTreatment.EXEMPT
        elif keyed.country == "US":
            treatment = TaxTreatment.OUT_OF_SCOPE
        profiles.append(
            TaxProfile(
                key=f"tax/{_label(customer)}",
                country=keyed.country,
                treatment=treatment,
                rate_percent=Decimal(keyed.rate or 0),
                evidence=keyed.evidence,
                valid_until=keyed.valid_until,
                wording="" if keyed.rate else keyed.wording,
            )
        )
    return profiles


def contracts(customers: list[Customer], account_ids: dict[str, str]) -> list[BillingContract]:
    """Return the billing contract of each mapped customer; `account_ids` by tenant id."""
    made = []
    for customer in customers:
        keyed = _CUSTOMERS.get(_label(customer))
        if keyed is None:
            continue
        made.append(
            BillingContract(
                key=f"contract/{_label(customer)}",
                customer_id=customer.id,
                account_id=account_ids[customer.id],
                account_name=customer.name,
                currency="USD" if keyed.country == "US" else "EUR",
                starts=BILLING_STARTS,
                payment_days=30 if keyed.country == "US" else 14,
                tax_profile_key=f"tax/{_label(customer)}",
                expected_partner_id=keyed.partner_id,
            )
        )
    return made


def price_list(customers: list[Customer]) -> list[PriceListItem]:
    """Return agreed prices: one for everybody, one for a single customer."""
    importers = [c for c in customers if _label(c) == "wideworldimporters"]
    return [
        PriceListItem(
            key="price/teams-phone-usd",
            customer_id="",
            sku="CFQ7TTC0EB07:0002",
            term=TermDuration.YEAR,
            billing_cycle=BillingCycle.MONTHLY,
            currency="USD",
            unit_price=Decimal("8.25"),
            valid=OPEN,
        ),
        *(
            PriceListItem(
                key="price/wideworldimporters-e3",
                customer_id=customer.id,
                sku="CFQ7TTC0EB04:000K",
                term=TermDuration.YEAR,
                billing_cycle=BillingCycle.MONTHLY,
                currency="USD",
                unit_price=Decimal("37.50"),
                valid=Period(date(2025, 1, 1), date(2028, 1, 1)),
            )
            for customer in importers
        ),
    ]


def markup_rules(customers: list[Customer]) -> list[MarkupRule]:
    """Return the rules: a default for each kind, better terms for one customer, one meter family."""

    def rule(
        name: str,
        method: MarkupMethod,
        value: str,
        *,
        kind: str = "",
        meter_category: str = "",
        customer_id: str = "",
    ) -> MarkupRule:
        return MarkupRule(
            key=f"rule/{name}",
            method=method,
            value=Decimal(value),
            valid=OPEN,
            kind=kind,
            meter_category=meter_category,
            customer_id=customer_id,
        )

    rules = [
        rule("licences", MarkupMethod.PERCENT, "15", kind="licence"),
        rule("usage", MarkupMethod.PERCENT, "12", kind="usage"),
        rule("virtual-machines", MarkupMethod.PERCENT, "18", meter_category="Virtual Machines"),
        rule("one-time", MarkupMethod.PERCENT, "8", kind="one_time"),
        rule("reservations", MarkupMethod.MARGIN, "10", kind="reservation"),
        rule("credits", MarkupMethod.PERCENT, "0", kind="credit"),
    ]
    rules.extend(
        rule(
            "fabrikamtoys-licences",
            MarkupMethod.PERCENT,
            "12.5",
            kind="licence",
            customer_id=customer.id,
        )
        for customer in customers
        if _label(customer) == "fabrikamtoys"
    )
    return rules


def budgets(customers: list[Customer]) -> list[UsageBudget]:
    """Return what one customer agreed to use in a month; the next sync holds its usage against it."""
    return [
        UsageBudget(
            key="budget/woodgrovebank",
            customer_id=customer.id,
            amount=Decimal(8000),
            currency="USD",
        )
        for customer in customers
        if _label(customer) == "woodgrovebank"
    ]
