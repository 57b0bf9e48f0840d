"""The tables of tax: who sells, where it is registered, which certificates and rates there are.

People key these rows in, and link them; the worker reads them for every draft, so a change counts
from the next one on. An empty first or last day is no limit. What registers answered about tax
numbers the worker writes, and people read it; auditing keeps the answers of before.
"""

from __future__ import annotations

from datetime import date

from dataverse.schema import Lookup, choice, day, flag, memo, moment, number, table, text, title
from dataverse.usage_tables import CUSTOMER_LINK, TENANT
from domain.tax import ExemptionCertificate, Seller, TaxNumberCheck, TaxRate, TaxRegistration

SELLER = table(
    "Seller",
    title("Name", "name"),
    text("Line1", "Address line 1", "address.line1", 400),
    text("Line2", "Address line 2", "address.line2", 400),
    text("PostalCode", "Postal code", "address.postal_code", 100),
    text("City", "City", "address.city"),
    text("Region", "State or region", "address.region"),
    text("Country", "Country (two letters)", "address.country", 100),
    text("RegistrationNumber", "Registration number", "registration_number", 100),
    text("Email", "E-mail", "email", 320),
    label="Selling company",
    plural="Selling companies",
    description="A company of the partner that sells; with one, contracts need not name it.",
    record=Seller,
    audited=True,
)

TAX_REGISTRATION = table(
    "TaxRegistration",
    text("SellerKey", "Selling company key", "seller_key"),
    text("Country", "Country (two letters)", "country", 100),
    text("Region", "State or region (empty: the country's tax)", "region"),
    text("Number", "Tax number", "number", 100),
    day("ValidFrom", "Valid from", "valid.start", open_end=date.min),
    day("ValidUntil", "First day not valid", "valid.end", open_end=date.max),
    lookups=(
        Lookup(
            schema_name="csp_SellerId",
            label="Selling company",
            target="csp_seller",
            field="seller_key",
        ),
    ),
    title="number country",
    label="Tax registration",
    plural="Tax registrations",
    description="Where a selling company is registered to charge tax, and since when.",
    record=TaxRegistration,
    audited=True,
)

TAX_CERTIFICATE = table(
    "TaxCertificate",
    TENANT,
    text("Country", "Country (two letters)", "country", 100),
    text("Region", "State or region (empty: all of the country)", "region"),
    text("Kind", "Kind: resale, government, nonprofit, education, ...", "kind", 100),
    text("Number", "Number", "number", 100),
    memo("Reason", "Reason on the invoice", "reason"),
    day("IssuedOn", "Issued on", "issued_on"),
    day("ValidFrom", "Valid from", "valid.start", open_end=date.min),
    day("ValidUntil", "First day not valid", "valid.end", open_end=date.max),
    text("Document", "Where the paper is", "document", 1000),
    text("VerifiedBy", "Verified by", "verified_by"),
    day("VerifiedOn", "Verified on", "verified_on"),
    lookups=(CUSTOMER_LINK,),
    title="number",
    label="Exemption certificate",
    plural="Exemption certificates",
    description="A paper by which a customer is not charged a tax that others are.",
    record=ExemptionCertificate,
    audited=True,
)

TAX_RATE = table(
    "TaxRate",
    text("Country", "Country (two letters)", "country", 100),
    text("Region", "State or region: code|name (empty: the country)", "region"),
    text("Locality", "City or county: name|name (empty: the region)", "locality"),
    text("Tax", "Tax: VAT, GST, sales tax, ...", "tax", 100),
    day("ValidFrom", "From", "starts", open_end=date.min),
    number("RatePercent", "Percent (empty: not decided here)", "percent"),
    number(
        "TaxablePercent", "Taxed part in percent (empty: as shipped, else all)", "taxable_percent"
    ),
    flag("Regional", "The region's own tax", "regional"),
    flag("LocalTaxes", "Cities or counties add theirs", "local_taxes"),
    text("Source", "Source", "source"),
    memo("Note", "Note", "note"),
    title="key",
    label="Tax rate",
    plural="Tax rates",
    description="A rate of ours; it goes before the shipped one of the same place, tax and day.",
    record=TaxRate,
    audited=True,
)

TAX_NUMBER_CHECK = table(
    "TaxNumberCheck",
    text("Number", "Tax number", "number", 100),
    text("Country", "Country (two letters)", "country", 100),
    choice("State", "Answer", "state", "valid invalid unknown"),
    moment("CheckedAt", "Answered", "checked_at"),
    text("Source", "Who answered", "source", 100),
    text("Reference", "Number of the inquiry", "reference", 100),
    text("RegisteredName", "Registered name", "name", 300),
    memo("RegisteredAddress", "Registered address", "address"),
    moment("FailedAt", "No answer since at", "failed_at"),
    memo("Problem", "Why there was none", "problem"),
    title="number",
    label="Tax number check",
    plural="Tax number checks",
    description="What a register answered about a tax number, and when; the proof of the inquiry.",
    record=TaxNumberCheck,
    audited=True,
)
