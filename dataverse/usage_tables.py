"""The tables of metered usage: what was used, what was agreed, and what is unusual about it.

Two of them are filled by the worker; budgets are entered by people.
"""

from __future__ import annotations

from datetime import date

from dataverse.schema import Lookup, choice, day, memo, money, number, table, text, whole
from domain.subscription import UsageSummary
from domain.usage_alert import UsageAlert, UsageBudget

TENANT = text("TenantId", "Customer tenant id", "customer_id", 100)
CUSTOMER_LINK = Lookup(
    schema_name="csp_CustomerId",
    label="Customer",
    target="csp_customer",
    field="customer_id",
    prefix="customer/",
)

USAGE_SUMMARY = table(
    "UsageSummary",
    text("MicrosoftInvoice", "Microsoft invoice", "invoice_id", 100),
    TENANT,
    text("PlanRef", "Azure plan id", "plan_id", 100),
    text("EntitlementRef", "Azure subscription id", "entitlement_id", 100),
    text("EntitlementName", "Azure subscription", "entitlement_name", 400),
    text("MeterCategory", "Meter category", "meter_category"),
    day("Day", "Day", "day"),
    text("Currency", "Currency", "currency", 10),
    whole("Lines", "Usage lines", "lines"),
    number("Quantity", "Quantity", "quantity"),
    # A number, not money: the exact sum of rated lines, which is rounded only on a bill.
    number("Cost", "Rated cost", "cost"),
    lookups=(
        CUSTOMER_LINK,
        Lookup(
            schema_name="csp_SubscriptionId",
            label="Azure plan",
            target="csp_subscription",
            field="plan_id",
            prefix="subscription/",
        ),
    ),
    title="meter_category",
    label="Azure usage",
    plural="Azure usage",
    description="Rated usage of one day, one Azure subscription and one meter category, by invoice.",
    record=UsageSummary,
)

USAGE_BUDGET = table(
    "UsageBudget",
    TENANT,
    text("EntitlementRef", "Azure subscription id (empty: all)", "entitlement_id", 100),
    money("Amount", "Budget of a contract month", "amount"),
    text("Currency", "Currency", "currency", 10),
    text("Thresholds", "Alert at percent", "thresholds"),
    day("ValidFrom", "Valid from", "valid.start", open_end=date.min),
    day("ValidUntil", "First day not valid", "valid.end", open_end=date.max),
    lookups=(CUSTOMER_LINK,),
    title="key",
    label="Usage budget",
    plural="Usage budgets",
    description="What a customer may use in a contract month, in Microsoft's rated cost.",
    record=UsageBudget,
    audited=True,
)

USAGE_ALERT = table(
    "UsageAlert",
    choice("Kind", "Kind", "kind", "spike new_subscription drop budget forecast"),
    choice("Severity", "Severity", "severity", "low medium high"),
    choice("State", "State", "state", "open acknowledged closed"),
    TENANT,
    text("EntitlementRef", "Azure subscription id", "entitlement_id", 100),
    text("EntitlementName", "Azure subscription", "entitlement_name", 400),
    text("MeterCategory", "Meter category", "meter_category"),
    text("Currency", "Currency", "currency", 10),
    day("FirstDay", "First day", "first"),
    day("LastDay", "Last day so far", "last"),
    money("Amount", "Used or expected", "amount"),
    money("UsualAmount", "Usual or agreed", "usual"),
    number("Factor", "Times the usual", "factor"),
    text("BudgetKey", "Budget key", "budget_key"),
    number("Threshold", "Percent of the budget", "threshold"),
    memo("Sentence", "What is unusual", "sentence"),
    memo("Hint", "What to do", "hint"),
    lookups=(
        CUSTOMER_LINK,
        Lookup(
            schema_name="csp_UsageBudgetId",
            label="Budget",
            target="csp_usagebudget",
            field="budget_key",
        ),
    ),
    title="sentence",
    label="Usage alert",
    plural="Usage alerts",
    description="What somebody should know about a customer's usage before Microsoft bills it.",
    record=UsageAlert,
    audited=True,
)
