"""What the finance team of the emulated partner has keyed in: accounts, contracts, prices, taxes.

Not part of the emulators, because these are rows of our own tables. Customers are named by their
domain in scenario partner-month. One customer (Umbra Unmapped) is left without a contract on
purpose. Rates and tax treatments are examples, not advice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from domain.tax import (
    ExemptionCertificate,
    Seller,
    TaxRate,
    TaxRegistration,
    TaxTreatment,
)
from domain.usage_alert import UsageBudget

BILLING_STARTS = date(2026, 10, 1)
PARTNER = "Contoso Cloud Distribution"
PARTNER_ID = "4391507"
OPEN = Period(date(2024, 1, 1), date(9999, 1, 1))


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
    """One customer as finance knows it: its VAT number, and which partner sells."""

    tax_number: str = ""
    business: bool = True
    partner_id: str = PARTNER_ID


_CUSTOMERS = {
    "fabrikamtoys": _Keyed(),
    "northwindtraders": _Keyed(),
    "adventureworkscycles": _Keyed(),
    "prosewarelegal": _Keyed(),
    "wideworldimporters": _Keyed(),
    "contosodentalgroup": _Keyed(partner_id="4847433"),
    "tailspintravel": _Keyed(),
    "fourthcoffee": _Keyed(),
    "margiesmonthendtravel": _Keyed(),
    "lamnahealthcare": _Keyed(partner_id="4847383"),
    "woodgrovebank": _Keyed(),
    "driftwoodmarine": _Keyed(),
    "treyresearch": _Keyed(),
    "humongousinsurance": _Keyed(),
    "alpineskihousegmbh": _Keyed(tax_number="ATU00000024"),
    "expiringaccessgmbh": _Keyed(tax_number="DE100000016"),
    "accesslapsedsarl": _Keyed(tax_number="FR00000000190"),
    "grachtengroepbv": _Keyed(tax_number="NL000000012B01"),
    # Mistyped, and well-formed all the same: only a register can tell.
    "vinosantiguossl": _Keyed(tax_number="ESB00000026"),
    "directharbourltd": _Keyed(tax_number="IE1000001MH"),
    "bayerischemaschinenbauag": _Keyed(tax_number="DE100000008"),
    "rheinischekunstschule": _Keyed(business=False),
    "cohowinerysas": _Keyed(tax_number="FR00000000287"),
    "thamesvalleydentalltd": _Keyed(tax_number="GB100000034"),
}

_EUROPE, _AMERICA = "seller/europe", "seller/america"
SELLERS = (
    Seller(
        key=_EUROPE,
        name=f"{PARTNER} BV",
        address=Address(line1="Voorbeeldlaan 1", postal_code="1000", city="Brussel", country="BE"),
        registration_number="0000.000.097",
        email="billing@contosocloud.example",
    ),
    Seller(
        key=_AMERICA,
        name=f"{PARTNER} Inc.",
        address=Address(
            line1="9 Sample Way", postal_code="98052", city="Redmond", region="WA", country="US"
        ),
        email="billing@contosocloud.example",
    ),
)
"""Two companies of the partner; contracts say which one sells."""


def _registration(seller: str, country: str, number: str, region: str = "") -> TaxRegistration:
    place = f"{country}-{region}" if region else country
    return TaxRegistration(
        key=f"registration/{place}",
        seller_key=seller,
        country=country,
        region=region,
        number=number,
        valid=Period(date(2024, 1, 1), date.max),
    )


REGISTRATIONS = (
    _registration(_EUROPE, "BE", "BE0000000097"),
    _registration(_EUROPE, "DE", "DE100000024"),
    _registration(_AMERICA, "US", "WA-600-000-001", "WA"),
    _registration(_AMERICA, "US", "TX-3-20000-0001", "TX"),
    _registration(_AMERICA, "US", "MA-10000001", "MA"),
)
"""Where they charge tax. There is none in Colorado: without nexus there, nothing is charged."""

TAX_RATES = (
    TaxRate(
        country="US",
        region="WA|Washington",
        locality="Redmond",
        tax="sales tax",
        starts=date(2024, 1, 1),
        percent=Decimal("3.75"),
        regional=True,
        source="example",
    ),
    TaxRate(
        country="US",
        region="MA|Massachusetts",
        tax="sales tax",
        starts=date(2024, 1, 1),
        percent=Decimal("6.25"),
        regional=True,
        source="example",
    ),
)
"""What the shipped table leaves to the partner: a city's tax, and a state that sources disagree on."""


def _label(customer: Customer) -> str:
    return customer.domain.partition(".")[0]


def _address(customer: Customer) -> Address:
    """Return where finance has the customer: where Microsoft has it, but one that has moved."""
    stated = customer.address if customer.address.country else customer.billing_address
    if _label(customer) == "driftwoodmarine":
        return replace(
            stated, line1="77 Sample Pier", city="Portland", region="OR", postal_code="97201"
        )
    return stated


def accounts(customers: list[Customer]) -> dict[str, Account]:
    """Return the account of each mapped customer, by tenant id."""
    return {
        customer.id: Account(
            number=f"CSP-{_label(customer)}"[:20].upper(),
            name=customer.name,
            address=_address(customer),
        )
        for customer in customers
        if _label(customer) in _CUSTOMERS
    }


def tax_profiles(customers: list[Customer]) -> list[TaxProfile]:
    """Return the tax profile of each mapped customer: where it is, and its number; rules decide."""
    profiles = []
    for customer in customers:
        keyed = _CUSTOMERS.get(_label(customer))
        if keyed is None:
            continue
        place = _address(customer)
        american = place.country == "US"
        profiles.append(
            TaxProfile(
                key=f"tax/{_label(customer)}",
                country=place.country,
                region=place.region if american else "",
                locality=place.city if american else "",
                treatment=TaxTreatment.BY_RULES,
                tax_number=keyed.tax_number,
                business=keyed.business,
            )
        )
    return profiles


def certificates(customers: list[Customer]) -> list[ExemptionCertificate]:
    """Return the papers by which customers are not taxed: a school in Germany."""
    return [
        ExemptionCertificate(
            key="certificate/rheinischekunstschule",
            customer_id=customer.id,
            country="DE",
            kind="education",
            number="BR-DUS-48.03-2291",
            reason="educational institution (§ 4 No. 21 UStG)",
            issued_on=date(2024, 12, 16),
            valid=Period(date(2025, 1, 1), date(2028, 1, 1)),
            verified_by="M. Brandt",
            verified_on=date(2025, 1, 7),
        )
        for customer in customers
        if _label(customer) == "rheinischekunstschule"
    ]


def contracts(customers: list[Customer], account_ids: dict[str, str]) -> list[BillingContract]:
    """Return the billing contract of each mapped customer; `account_ids` by tenant id."""
    made = []
    for customer in customers:
        keyed = _CUSTOMERS.get(_label(customer))
        if keyed is None:
            continue
        american = _address(customer).country == "US"
        made.append(
            BillingContract(
                key=f"contract/{_label(customer)}",
                customer_id=customer.id,
                account_id=account_ids[customer.id],
                account_name=customer.name,
                currency="USD" if american else "EUR",
                starts=BILLING_STARTS,
                payment_days=30 if american else 14,
                tax_profile_key=f"tax/{_label(customer)}",
                seller_key=_AMERICA if american else _EUROPE,
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
