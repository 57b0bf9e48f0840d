"""The model-driven app of the finance users: its menu, in the order in which a month is worked.

First what needs a person, then the documents, then what they are made from. Every table has an entry
of its own, so that the app holds it and links to its rows open.
"""

from __future__ import annotations

from dataverse.microsoft_tables import (
    AGREEMENT,
    COST_LINE,
    CUSTOMER,
    GDAP_RELATIONSHIP,
    SUBSCRIPTION,
    SUBSCRIPTION_EVENT,
)
from dataverse.provision.forms import FORMS
from dataverse.provision.screens import App, Group, Page
from dataverse.provision.views import VIEWS
from dataverse.schema import Table
from dataverse.tables import (
    BILLING_CONTRACT,
    BILLING_RUN,
    EXCHANGE_RATE,
    FINDING,
    INVOICE,
    INVOICE_LINE,
    MARKUP_RULE,
    PRICE_LIST_ITEM,
    TAX_PROFILE,
    UNIT_OF_WORK,
)
from dataverse.tax_tables import (
    SELLER,
    TAX_CERTIFICATE,
    TAX_NUMBER_CHECK,
    TAX_RATE,
    TAX_REGISTRATION,
)
from dataverse.usage_tables import USAGE_ALERT, USAGE_BUDGET, USAGE_SUMMARY


def _page(label: str, table: Table, view: str = "") -> Page:
    return Page(label=label, table=table.name, view=view)


FINANCE_APP = App(
    unique_name="Billing",
    name="CSP Billing",
    description="Cloud Solution Provider billing: what to do, what to approve, and why.",
    groups=(
        Group(
            label="Attention",
            pages=(
                _page("On hold", FINDING, "holds"),
                _page("Released", FINDING, "released"),
                _page("Warnings", FINDING, "warnings"),
                _page("Customers without account", CUSTOMER, "unmapped"),
                _page("Renewals ahead", SUBSCRIPTION, "renewals"),
                _page("Usage alerts", USAGE_ALERT, "open"),
                _page("Access that ends", GDAP_RELATIONSHIP, "ending"),
                _page("All findings", FINDING),
            ),
        ),
        Group(
            label="Billing",
            pages=(
                _page("Drafts to approve", INVOICE, "drafts"),
                _page("Issued, not paid", INVOICE, "unpaid"),
                _page("Overdue", INVOICE, "overdue"),
                _page("Credit notes", INVOICE, "credits"),
                _page("All documents", INVOICE),
                _page("Lines", INVOICE_LINE),
                _page("Runs asked for", BILLING_RUN, "requests"),
                _page("Runs", BILLING_RUN),
                _page("Units of work", UNIT_OF_WORK),
            ),
        ),
        Group(
            label="Customers",
            pages=(
                _page("Customers", CUSTOMER),
                _page("Billing contracts", BILLING_CONTRACT),
                _page("Subscriptions", SUBSCRIPTION),
                _page("Changes", SUBSCRIPTION_EVENT),
                _page("Agreements", AGREEMENT),
                _page("GDAP", GDAP_RELATIONSHIP),
            ),
        ),
        Group(
            label="Prices",
            pages=(
                _page("Agreed prices", PRICE_LIST_ITEM),
                _page("Markup rules", MARKUP_RULE),
                _page("Usage budgets", USAGE_BUDGET),
                _page("Exchange rates", EXCHANGE_RATE),
            ),
        ),
        Group(
            label="Tax",
            pages=(
                _page("Tax profiles", TAX_PROFILE),
                _page("Certificates that end", TAX_CERTIFICATE, "ending"),
                _page("Exemption certificates", TAX_CERTIFICATE),
                _page("Selling companies", SELLER),
                _page("Tax registrations", TAX_REGISTRATION),
                _page("Tax rates", TAX_RATE),
                _page("Tax numbers without a good answer", TAX_NUMBER_CHECK, "open"),
                _page("Tax number checks", TAX_NUMBER_CHECK),
            ),
        ),
        Group(
            label="Microsoft's side",
            pages=(
                _page("Cost lines", COST_LINE),
                _page("Azure usage", USAGE_SUMMARY),
                _page("All usage alerts", USAGE_ALERT),
            ),
        ),
    ),
    views=VIEWS,
    forms=FORMS,
)
