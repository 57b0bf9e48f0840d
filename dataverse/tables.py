"""The tables of the product, readable as their documentation.

Status columns of our own words are choices; Microsoft's words stay text, because Microsoft adds to
them. Every table has one alternate key, `csp_externalkey`. Every row that belongs to a customer
carries the tenant id as text (the truth, and what queries filter by) and a link to the customer's
row (for people). An end of a period is the first day after it, and its label says so.
"""

from __future__ import annotations

from datetime import date

from dataverse.microsoft_tables import (
    AGREEMENT,
    COST_LINE,
    CUSTOMER,
    GDAP_RELATIONSHIP,
    SUBSCRIPTION,
    SUBSCRIPTION_EVENT,
    account_link,
)
from dataverse.schema import (
    Lookup,
    Table,
    as_json,
    choice,
    day,
    file,
    flag,
    memo,
    moment,
    money,
    number,
    table,
    text,
    title,
    whole,
)
from dataverse.tax_tables import (
    SELLER,
    TAX_CERTIFICATE,
    TAX_NUMBER_CHECK,
    TAX_RATE,
    TAX_REGISTRATION,
)
from dataverse.usage_tables import (
    CUSTOMER_LINK,
    TENANT,
    USAGE_ALERT,
    USAGE_BUDGET,
    USAGE_SUMMARY,
)
from domain.contract import BillingContract, ExchangeRate, MarkupRule, PriceListItem, TaxProfile
from domain.problems import Finding
from domain.run import Run, UnitOfWork
from invoice.document import Invoice, InvoiceLine

PUBLISHER = "cspbilling"
PUBLISHER_LABEL = "CSP Billing"
OPTION_PREFIX = 72700
SOLUTION = "CspBilling"
SOLUTION_LABEL = "CSP Billing for Dataverse"
SCHEMA_VERSION = "1.5.0.0"
"""Raise it with every change of tables, screens or roles; the provisioner records it on the solution."""

OPEN, CLOSED, RELEASED = "open", "closed", "released"


TAX_PROFILE = table(
    "TaxProfile",
    text("Country", "Country", "country", 100),
    text("Region", "State or region", "region"),
    text("Locality", "City or county", "locality"),
    choice(
        "Treatment",
        "Treatment",
        "treatment",
        "standard reverse_charge exempt out_of_scope by_rules",
        default="by_rules",
    ),
    text("TaxNumber", "VAT or GST number", "tax_number", 100),
    flag("Business", "Buys as a business", "business"),
    number("RatePercent", "Rate in percent", "rate_percent"),
    text("Evidence", "VAT or certificate number of a stated treatment", "evidence"),
    day("ValidUntil", "Last day of the evidence", "valid_until"),
    memo("Wording", "Wording on the invoice", "wording"),
    day("RightFrom", "Correct what was taxed otherwise from", "right_from"),
    title="key",
    label="Tax profile",
    plural="Tax profiles",
    description="How the charges of a customer are taxed, with the evidence.",
    record=TaxProfile,
    audited=True,
)

BILLING_CONTRACT = table(
    "BillingContract",
    TENANT,
    text("Currency", "Currency", "currency", 10),
    day("Starts", "Billed from", "starts"),
    day("Ends", "First day not billed", "ends"),
    choice("Frequency", "Billed every", "frequency", "P1W P1M P2M P3M P6M P1Y P3Y"),
    whole("AnchorDay", "Billing day of the month (of the week: 1 is Monday)", "anchor_day"),
    whole("AnchorMonth", "First month of a longer billing period", "anchor_month"),
    choice("Timing", "Due", "timing", "advance arrears"),
    choice("Alignment", "Lines follow", "alignment", "charge_cycle contract"),
    choice("Proration", "Part of a cycle costs by", "proration", "days fixed_30 months"),
    whole("PaymentDays", "Days to pay", "payment_days"),
    whole("BillDay", "Bill from this day of the next month on (1 to 28)", "bill_day"),
    text("TaxProfileKey", "Tax profile key", "tax_profile_key"),
    choice("TaxDecider", "Tax is decided by", "tax_decider", "rules engine accounting"),
    text("SellerKey", "Selling company key", "seller_key"),
    text("AccountingTarget", "Accounting system", "accounting_target", 100),
    text("ExpectedPartnerId", "Expected partner of record", "expected_partner_id", 100),
    as_json("ExcludedSkus", "Products not passed on", "excluded_skus"),
    choice(
        "UsageBy",
        "Usage in one line by",
        "grouping.by",
        "service azure_subscription resource_group tag one_line",
    ),
    text("UsageTag", "Tag", "grouping.tag"),
    choice("Untagged", "Untagged usage into", "grouping.untagged", "group resource_group"),
    text("UntaggedName", "Name of untagged usage", "grouping.untagged_name"),
    choice("EarnedCredit", "Partner earned credit is", "earned_credit", "passed_on kept"),
    day("EarnedCreditFrom", "Earned credit so from", "earned_credit_from"),
    lookups=(
        CUSTOMER_LINK,
        account_link(field="account_id", name_field="account_name"),
        Lookup(
            schema_name="csp_TaxProfileId",
            label="Tax profile",
            target="csp_taxprofile",
            field="tax_profile_key",
        ),
        Lookup(
            schema_name="csp_SellerId",
            label="Selling company",
            target="csp_seller",
            field="seller_key",
        ),
    ),
    title="key",
    label="Billing contract",
    plural="Billing contracts",
    description="How the charges of one customer are billed to one account.",
    record=BillingContract,
    audited=True,
)

PRICE_LIST_ITEM = table(
    "PriceListItem",
    TENANT,
    text("Sku", "Product and SKU", "sku"),
    text("Term", "Term", "term", 20),
    text("BillingCycle", "Billing cycle", "billing_cycle", 20),
    text("Currency", "Currency", "currency", 10),
    number("UnitPrice", "Unit price", "unit_price"),
    number("AnnualPrice", "Price for twelve months", "annual_price"),
    number("DiscountPercent", "Discount in percent", "discount_percent"),
    day("DiscountFrom", "Discount from", "discount_valid.start", open_end=date.min),
    day("DiscountUntil", "First day without discount", "discount_valid.end", open_end=date.max),
    day("ValidFrom", "Valid from", "valid.start", open_end=date.min),
    day("ValidUntil", "First day not valid", "valid.end", open_end=date.max),
    lookups=(CUSTOMER_LINK,),
    title="sku",
    label="Agreed price",
    plural="Agreed prices",
    description="The price of a product for one customer, or for all: of a cycle, or of a year.",
    record=PriceListItem,
    audited=True,
)

MARKUP_RULE = table(
    "MarkupRule",
    choice("Method", "Method", "method", "percent margin fixed uplift erp_minus tiers package"),
    number("Value", "Value", "value"),
    TENANT,
    text("Kind", "Kind of charge", "kind", 40),
    text("Sku", "Product and SKU", "sku"),
    text("MeterCategory", "Meter category", "meter_category"),
    text("Currency", "Currency of its money", "currency", 10),
    as_json("Tiers", "Tiers", "tiers"),
    as_json("Package", "Package", "package"),
    number("Floor", "Least unit price", "floor"),
    number("Cap", "Greatest unit price", "cap"),
    number("Minimum", "Least amount of a month", "minimum"),
    number("Maximum", "Greatest amount of a month", "maximum"),
    day("ValidFrom", "Valid from", "valid.start", open_end=date.min),
    day("ValidUntil", "First day not valid", "valid.end", open_end=date.max),
    lookups=(CUSTOMER_LINK,),
    title="key",
    label="Markup rule",
    plural="Markup rules",
    description="How a price is made from a cost; an empty field matches everything.",
    record=MarkupRule,
    audited=True,
)

EXCHANGE_RATE = table(
    "ExchangeRate",
    text("Source", "Published by", "source"),
    text("Base", "One unit of", "base", 10),
    text("Quote", "Is worth in", "quote", 10),
    number("Rate", "Rate", "rate"),
    day("On", "From", "on"),
    title="key",
    label="CSP exchange rate",
    plural="CSP exchange rates",
    description="What one unit of a currency is worth in another from a day on.",
    record=ExchangeRate,
    audited=True,
)


INVOICE = table(
    "Invoice",
    choice("Kind", "Kind", "kind", "invoice credit_note"),
    text("Number", "Number", "number", 100),
    choice("Status", "Status", "status", "draft approved issued handed_off paid void credited"),
    TENANT,
    text("CustomerName", "Customer name", "customer_name", 400),
    text("ContractKey", "Billing contract key", "contract_key"),
    text("AccountName", "Account name", "account_name", 400),
    text("AccountRef", "Account row id", "account_id", 100),
    day("PeriodStart", "Period from", "period.start"),
    day("PeriodEnd", "First day after the period", "period.end"),
    text("Currency", "Currency", "currency", 10),
    day("IssuedOn", "Issued on", "issued_on"),
    day("DueOn", "Due on", "due_on"),
    day("PaidOn", "Paid on", "paid_on"),
    memo("TaxNote", "Tax note", "tax_note"),
    text("BuyerTaxRef", "Buyer's tax id", "buyer_tax_id", 100),
    text("SellerTaxRef", "Seller's tax id", "seller_tax_id", 100),
    memo("SellerText", "Seller", "seller.text", derived=True),
    memo("BuyerText", "Buyer", "buyer.text", derived=True),
    as_json("Seller", "Seller in parts", "seller"),
    as_json("Buyer", "Buyer in parts", "buyer"),
    day("TaxPoint", "Tax point", "tax_point"),
    choice("TaxDecidedBy", "Tax decided by", "tax_decided_by", "rules engine accounting"),
    choice("TaxRounding", "Tax rounded by", "tax_rounding", "line document"),
    as_json("TaxReasons", "Why it is taxed so", "tax_reasons"),
    text("Fingerprint", "Fingerprint", "fingerprint"),
    money("Subtotal", "Subtotal", "subtotal.amount", derived=True),
    money("Tax", "Tax", "tax.amount", derived=True),
    money("Total", "Total", "total.amount", derived=True),
    # Written by the projection to Dynamics 365 Sales, and by nobody else.
    choice("Projection", "Standard invoice", "", "different locked cancelled"),
    moment("ProjectedOn", "Projected on", ""),
    money("ProjectedTotal", "Total of the standard invoice", ""),
    lookups=(
        CUSTOMER_LINK,
        # The text beside it keeps what was billed, even when the account row is deleted.
        account_link(field="account_id"),
        Lookup(
            schema_name="csp_BillingContractId",
            label="Billing contract",
            target="csp_billingcontract",
            field="contract_key",
        ),
    ),
    title="number key",
    label="CSP invoice",
    plural="CSP invoices",
    description="An invoice or a credit note to one customer for one period and one currency.",
    record=Invoice,
    audited=True,
    files=(file("Document", "Document", 10_240),),
)

INVOICE_LINE = table(
    "InvoiceLine",
    title("Product", "charge.name"),
    text("ChargeKey", "Charge key", "key charge.key", 400),
    text("InvoiceKey", "Invoice key", "invoice_key", 200),
    whole("Position", "Position", "position"),
    text("TenantId", "Customer tenant id", "charge.customer_id", 100),
    text("SubscriptionRef", "Subscription id", "charge.subscription_id", 100),
    text("ChargeType", "Charge type", "charge.type", 40),
    text("Sku", "Product and SKU", "charge.sku"),
    day("ServiceStart", "Service from", "charge.service.start"),
    day("ServiceEnd", "First day after the service", "charge.service.end"),
    day("FullStart", "Full period from", "charge.full.start"),
    day("FullEnd", "First day after the full period", "charge.full.end"),
    number("Quantity", "Quantity", "charge.quantity"),
    number("UnitPrice", "Unit price", "charge.unit_price"),
    number("UnitCost", "Unit cost", "charge.unit_cost"),
    text("ExactAmount", "Exact amount as a fraction", "charge.exact", 1000),
    money("Amount", "Amount", "charge.amount.amount"),
    number("TaxPercent", "Tax in percent", "tax_percent"),
    money("Tax", "Tax", "tax.amount"),
    text("TaxCategory", "Tax category (EN 16931)", "tax_category", 10),
    as_json("Taxes", "Each tax", "taxes"),
    memo("TaxNote", "Tax note", "tax_note"),
    text("Currency", "Currency", "charge.amount.currency tax.currency", 10),
    memo("Why", "Why", "charge.why"),
    as_json("Reasons", "Reasons", "charge.reasons"),
    text("Answers", "Answers the charge", "charge.answers", 400),
    as_json("CostLines", "Made from Microsoft's lines", "charge.cost_lines"),
    lookups=(
        # A document and its lines are one thing: a draft that goes takes its lines along. Issued
        # documents are kept by the security role, which gives nobody Delete on invoices.
        Lookup(
            schema_name="csp_InvoiceId",
            label="Invoice",
            target="csp_invoice",
            field="invoice_key",
            on_delete="Cascade",
            required=True,
        ),
        Lookup(
            schema_name="csp_SubscriptionId",
            label="Subscription",
            target="csp_subscription",
            field="charge.subscription_id",
            prefix="subscription/",
        ),
    ),
    # Not the charge's key alone: a void document keeps its lines, and the charge is billed anew.
    identity=("invoice_key", "key"),
    label="CSP invoice line",
    plural="CSP invoice lines",
    description="One charge on an invoice, with its reasons.",
    record=InvoiceLine,
    audited=True,
)

FINDING = table(
    "Finding",
    text("Check", "Check", "check"),
    choice("Severity", "Severity", "severity", "warn hold block"),
    choice("State", "State", "state", f"{OPEN} {CLOSED} {RELEASED}", derived=True),
    TENANT,
    text("Record", "Seen on", "record", 1000),
    memo("Sentence", "What is wrong", "sentence"),
    memo("Hint", "What to do", "hint"),
    text("Link", "Where to do it", "link", 1000, is_link=True),
    as_json("LostPerDay", "Lost each day", "lost_per_day"),
    day("FirstSeen", "First seen", "seen", derived=True, hashed=False, once=True),
    # The day on which it was opened, changed or opened again, not of each run that still sees it:
    # that would write every open finding every day, and wake every flow that listens.
    day("LastSeen", "Last opened or changed", "seen", hashed=False),
    day("Since", "Open since", "since", hashed=False),
    day("ClosedOn", "Closed on", "closed_on", hashed=False),
    # A person enters state, reason and last day; the worker says who and when, and accepts it.
    memo("ReleasedReason", "Reason of the release", "released_reason"),
    day("ReleasedUntil", "Released until (last day)", "released_until"),
    text("ReleasedBy", "Released by", "released_by"),
    day("ReleasedOn", "Released on", "released_on"),
    memo("ReleaseNote", "About the last release", "release_note"),
    moment("DecidedAt", "Last decided", "decided_at", hashed=False),
    lookups=(CUSTOMER_LINK,),
    title="check",
    label="Billing finding",
    plural="Billing findings",
    description="A fault of the data, what it holds up, and what to do about it.",
    record=Finding,
    audited=True,
)

BILLING_RUN = table(
    "BillingRun",
    # What a person or a flow asks for. The columns after these are the worker's.
    choice(
        "Kind",
        "What to do",
        "",
        "sync bill approve usage prices access renewals handoff feedback health",
    ),
    text("Period", "Month (YYYY-MM)", "", 100),  # room for what is no month, which is answered
    day("Day", "Day (of a sync)", ""),
    flag("DryRun", "Dry run", ""),
    text("RequestedBy", "Asked for by", "asked_by"),
    text("RunKey", "Led to run", ""),
    whole("UnitsDone", "Units done", ""),
    whole("UnitsAll", "Units in all", ""),
    whole("Percent", "Done in percent", ""),
    memo("Answer", "Answer of a dry run", ""),
    as_json("AnswerData", "Answer of a dry run as data", ""),
    text("RunKind", "What it does", "kind", 100),
    text("Scope", "Scope", "scope"),
    text("Window", "Window", "window"),
    choice(
        "Status",
        "Status",
        "status",
        "running done done_with_holds failed requested cancelled",
        default="requested",
    ),
    moment("StartedAt", "Started", "started_at"),
    moment("FinishedAt", "Finished", "finished_at"),
    as_json("Counts", "Counts", "counts"),
    as_json("Totals", "Control totals", "totals"),
    memo("Problem", "Problem", "problem"),
    lookups=(
        # Whom a request is for; a run of the worker's own has the tenant id as its scope.
        Lookup(schema_name="csp_CustomerId", label="Customer", target="csp_customer"),
    ),
    title="key",
    label="Billing run",
    plural="Billing runs",
    description="One run of the worker, or a request for one: how far it came, and its totals.",
    record=Run,
)

UNIT_OF_WORK = table(
    "UnitOfWork",
    text("UnitKind", "What it does", "kind", 100),
    text("RunKey", "Run key", "run_key"),
    choice("Status", "Status", "status", "queued running settled held failed parked"),
    whole("Attempt", "Attempt", "attempt"),
    moment("LeaseUntil", "Claimed until", "lease_until"),
    moment("StartedAt", "Started", "started_at"),
    moment("FinishedAt", "Finished", "finished_at"),
    as_json("Counts", "Counts", "counts"),
    memo("Problem", "Problem", "problem"),
    lookups=(
        Lookup(
            schema_name="csp_BillingRunId",
            label="Run",
            target="csp_billingrun",
            field="run_key",
        ),
    ),
    title="key",
    label="Unit of work",
    plural="Units of work",
    description="One claimable piece of a run: one kind of work for one customer and window.",
    record=UnitOfWork,
)

TABLES: tuple[Table, ...] = (
    CUSTOMER,
    SELLER,
    TAX_REGISTRATION,
    TAX_RATE,
    TAX_PROFILE,
    TAX_CERTIFICATE,
    TAX_NUMBER_CHECK,
    BILLING_CONTRACT,
    AGREEMENT,
    GDAP_RELATIONSHIP,
    SUBSCRIPTION,
    SUBSCRIPTION_EVENT,
    PRICE_LIST_ITEM,
    MARKUP_RULE,
    EXCHANGE_RATE,
    COST_LINE,
    USAGE_SUMMARY,
    USAGE_BUDGET,
    USAGE_ALERT,
    BILLING_RUN,
    UNIT_OF_WORK,
    FINDING,
    INVOICE,
    INVOICE_LINE,
)
"""Targets of links come first: the order of provisioning and of every save."""

TABLE_OF = {table.record: table for table in TABLES}
