"""The lists that finance users work with: what they see of each table, and which rows.

The first column is what a person looks for, the last what explains; widths are those of a wide
screen, narrow enough that the amounts stay in sight. A table has one main view, one quick find, and
one more for each question that somebody asks every day or every month.
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
from dataverse.provision.listing import find_view, main_view, view
from dataverse.provision.screens import View
from dataverse.provision.tax_views import TAX
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
from dataverse.usage_tables import USAGE_ALERT, USAGE_BUDGET, USAGE_SUMMARY

_DOCUMENT = (
    "number 140, customername 240, kind 100, periodstart 110, subtotal 110, tax 100, total 120, "
    "currency 80, status 110, issuedon 110, dueon 110"
)
_OPEN_DOCUMENT = (
    "number 140, customername 260, kind 110, issuedon 110, dueon 110, total 120, currency 80, "
    "status 110"
)

INVOICES = (
    main_view(INVOICE, _DOCUMENT, order="periodstart desc, customername"),
    find_view(INVOICE, "number customername accountname name buyertaxref", _DOCUMENT),
    view(
        INVOICE,
        "drafts",
        "Drafts to approve",
        "Documents that nobody has approved yet: look at the totals, then approve the month.",
        "customername 260, kind 110, periodstart 110, periodend 130, subtotal 110, tax 100, "
        "total 120, currency 80, accountname 200, modifiedon 140",
        ("status", "eq", "draft"),
        order="customername, periodstart",
    ),
    view(
        INVOICE,
        "unpaid",
        "Issued, not yet paid",
        "Invoices that were approved or sent and await their payment, the oldest due day first.",
        _OPEN_DOCUMENT,
        ("kind", "eq", "invoice"),
        ("status", "in", "approved", "issued", "handed_off"),
        order="dueon, customername",
    ),
    view(
        INVOICE,
        "overdue",
        "Overdue",
        "Invoices whose due day has passed without a payment.",
        _OPEN_DOCUMENT,
        ("kind", "eq", "invoice"),
        ("status", "in", "issued", "handed_off"),
        ("dueon", "olderthan-x-days", "1"),
        order="dueon, customername",
    ),
    view(
        INVOICE,
        "paid",
        "Paid",
        "Invoices that accounting notes as paid, the latest first.",
        "number 140, customername 260, paidon 110, dueon 110, issuedon 110, total 120, currency 80",
        ("kind", "eq", "invoice"),
        ("status", "eq", "paid"),
        order="paidon desc, customername",
    ),
    view(
        INVOICE,
        "credits",
        "Credit notes",
        "What was given back, the newest first.",
        _DOCUMENT,
        ("kind", "eq", "credit_note"),
        order="issuedon desc, customername",
    ),
    view(
        INVOICE,
        "of_customer",
        "Documents, newest first",
        "The documents of one customer or contract, as its form shows them.",
        "number 140, kind 100, periodstart 110, total 120, currency 80, status 110, issuedon 110, "
        "dueon 110",
        order="periodstart desc",
    ),
)

_LINE = (
    "position 60, name 260, chargetype 130, servicestart 110, serviceend 140, quantity 90, "
    "unitprice 110, amount 110, taxpercent 80, tax 90, currency 80, why 420"
)
LINES = (
    main_view(INVOICE_LINE, f"invoiceid 160, {_LINE}", order="servicestart desc, name"),
    find_view(
        INVOICE_LINE,
        "name sku subscriptionref chargekey",
        "name 260, invoiceid 160, servicestart 110, quantity 90, amount 110, currency 80, why 420",
    ),
    view(
        INVOICE_LINE,
        "of_invoice",
        "Lines of a document",
        "The lines in the order of the document, each with the sentence that explains it.",
        _LINE,
        order="position",
    ),
    view(
        INVOICE_LINE,
        "of_subscription",
        "What was charged",
        "The charges of one subscription, the newest first.",
        "invoiceid 160, chargetype 130, servicestart 110, serviceend 140, quantity 90, "
        "unitprice 110, amount 110, currency 80, why 420",
        order="servicestart desc",
    ),
    view(
        INVOICE_LINE,
        "credits",
        "Credits and corrections",
        "Lines that give something back, and what they answer.",
        "invoiceid 160, name 260, chargetype 130, servicestart 110, amount 110, currency 80, "
        "answers 200, why 420",
        ("amount", "lt", "0"),
        order="servicestart desc",
    ),
)

_HOLD = "customerid 200, severity 90, sentence 420, hint 420, link 200, since 110, lastseen 110"
_RELEASE = "customerid 200, releasedby 160, releasedon 110, releaseduntil 110, releasedreason 320"
FINDINGS = (
    main_view(FINDING, f"state 80, {_HOLD}, record 220", order="firstseen desc"),
    find_view(FINDING, "sentence name record tenantid", f"state 80, {_HOLD}"),
    view(
        FINDING,
        "holds",
        "On hold",
        "Why customers are not billed, and what somebody has to do about it; the oldest first.",
        f"{_HOLD}, record 220",
        ("state", "eq", "open"),
        ("severity", "in", "hold", "block"),
        order="since, customerid",
    ),
    view(
        FINDING,
        "released",
        "Released",
        "What a person lets a customer be billed in spite of: who, until when, and why.",
        f"{_RELEASE}, sentence 420, hint 320, since 110, record 220",
        ("state", "eq", "released"),
        order="releasedon desc",
    ),
    view(
        FINDING,
        "warnings",
        "Warnings",
        "What should be looked at and holds nobody up.",
        f"{_HOLD}, record 220",
        ("state", "eq", "open"),
        ("severity", "eq", "warn"),
        order="lastseen desc",
    ),
    view(
        FINDING,
        "settled",
        "Closed lately",
        "Faults that were put right in the last four weeks, and what became of a release.",
        "closedon 110, customerid 200, severity 90, sentence 420, since 110, releasenote 320, record 220",
        ("state", "eq", "closed"),
        ("closedon", "last-x-days", "28"),
        order="closedon desc",
    ),
    view(
        FINDING,
        "of_customer",
        "Open findings",
        "What holds up one customer, as the customer's form shows it.",
        "severity 90, state 80, sentence 420, hint 420, since 110",
        ("state", "ne", "closed"),
        order="severity desc, since",
    ),
)

_RUN = (
    "name 240, runkind 110, status 130, percent 80, startedat 140, finishedat 140, scope 200, "
    "window 100, requestedby 160, problem 360"
)
RUNS = (
    main_view(BILLING_RUN, _RUN, order="startedat desc"),
    find_view(BILLING_RUN, "name scope window period requestedby", _RUN),
    view(
        BILLING_RUN,
        "requests",
        "Asked for",
        "Runs that people and flows asked for, and how far each came; the newest first.",
        "kind 110, period 90, day 110, dryrun 90, customerid 200, status 130, percent 80, "
        "runkey 220, requestedby 160, createdon 140, problem 360",
        ("kind", "not-null"),
        order="createdon desc",
    ),
    view(
        BILLING_RUN,
        "attention",
        "Runs that need a look",
        "Runs that failed, or ended with customers on hold.",
        _RUN,
        ("status", "in", "failed", "done_with_holds"),
        order="startedat desc",
    ),
    main_view(
        UNIT_OF_WORK,
        "name 320, runkey 200, unitkind 120, status 100, attempt 80, startedat 140, "
        "finishedat 140, problem 360",
        order="startedat desc",
    ),
    view(
        UNIT_OF_WORK,
        "of_run",
        "Units of a run",
        "What became of each piece of a run; what failed stands first.",
        "name 320, status 100, attempt 80, startedat 140, finishedat 140, problem 360",
        order="status desc, name",
    ),
    view(
        UNIT_OF_WORK,
        "stuck",
        "Units that did not finish",
        "Pieces of work that failed, were parked, or wait for somebody.",
        "name 320, runkey 200, status 100, attempt 80, startedat 140, problem 360",
        ("status", "in", "failed", "parked", "held"),
        order="startedat desc",
    ),
)

_CUSTOMER = "name 260, domain 200, accountid 200, country 90, email 220, detailsknown 120"
CUSTOMERS = (
    main_view(CUSTOMER, _CUSTOMER, order="name"),
    find_view(CUSTOMER, "name domain tenantid email registrationnumber", _CUSTOMER),
    view(
        CUSTOMER,
        "unmapped",
        "Customers without an account",
        "Nobody said yet which account these customers are; they cannot be billed before.",
        "name 260, domain 200, country 90, city 140, email 220, createdon 140",
        ("accountid", "null"),
        order="name",
    ),
    view(
        CUSTOMER,
        "stale",
        "Customers not read whole",
        "Access was lost: they are billed by what was read before, for as many days as allowed.",
        "name 260, domain 200, accountid 200, stalesince 140, relationship 140",
        ("stalesince", "not-null"),
        order="stalesince",
    ),
    main_view(
        BILLING_CONTRACT,
        "customerid 220, accountid 200, currency 80, frequency 100, anchorday 90, timing 100, "
        "alignment 120, proration 120, paymentdays 90, taxprofileid 180, starts 110, ends 120",
        order="customerid",
    ),
    find_view(
        BILLING_CONTRACT,
        "name tenantid taxprofilekey",
        "name 260, customerid 220, accountid 200, currency 80, frequency 100, starts 110, ends 120",
    ),
    view(
        BILLING_CONTRACT,
        "of_customer",
        "Contracts of a customer",
        "How one customer is billed, as its form shows it.",
        "accountid 200, currency 80, frequency 100, anchorday 90, timing 100, paymentdays 90, "
        "starts 110, ends 120",
        order="starts desc",
    ),
    view(
        BILLING_CONTRACT,
        "ending",
        "Contracts that end",
        "Contracts with a first day that is not billed, the next one first.",
        "customerid 220, accountid 200, currency 80, ends 120, starts 110",
        ("ends", "not-null"),
        order="ends",
    ),
    main_view(
        AGREEMENT,
        "customerid 240, type 240, agreedon 110, contact 240, signeddirectly 140",
        order="customerid, type",
    ),
    view(
        AGREEMENT,
        "of_customer",
        "Agreements of a customer",
        "What one customer has agreed to, as its form shows it.",
        "type 240, agreedon 110, contact 240, signeddirectly 140",
        order="agreedon desc",
    ),
    main_view(
        GDAP_RELATIONSHIP,
        "customerid 220, name 260, status 110, activatedon 110, endson 140, autoextends 120, "
        "activeassignments 110",
        order="endson",
    ),
    view(
        GDAP_RELATIONSHIP,
        "ending",
        "Access that ends soon",
        "Relationships whose last day comes within 60 days; without them nothing is read.",
        "customerid 220, name 260, status 110, endson 140, autoextends 120",
        ("endson", "next-x-days", "60"),
        order="endson",
    ),
    view(
        GDAP_RELATIONSHIP,
        "of_customer",
        "Relationships of a customer",
        "What lets us read one customer's data, as its form shows it.",
        "name 260, status 110, activatedon 110, endson 140, autoextends 120, activeassignments 110",
        order="endson desc",
    ),
)

_SUBSCRIPTION = (
    "name 280, customerid 200, quantity 80, term 70, billingcycle 100, termend 140, autorenew 120, "
    "status 90"
)
SUBSCRIPTIONS = (
    main_view(SUBSCRIPTION, _SUBSCRIPTION, order="customerid, name"),
    find_view(SUBSCRIPTION, "name subscriptionref skuid orderref tenantid", _SUBSCRIPTION),
    view(
        SUBSCRIPTION,
        "renewals",
        "Renewals within 60 days",
        "Terms that end soon: the last days to change seats, price or product.",
        "termend 140, name 280, customerid 200, quantity 80, term 70, autorenew 120, istrial 80, "
        "nextterm 260",
        ("termend", "next-x-days", "60"),
        ("status", "eq", "active"),
        order="termend, customerid",
    ),
    view(
        SUBSCRIPTION,
        "of_customer",
        "Subscriptions of a customer",
        "What one customer has, as its form shows it.",
        "name 280, quantity 80, term 70, billingcycle 100, termend 140, autorenew 120, status 90",
        order="status, name",
    ),
    view(
        SUBSCRIPTION,
        "azure",
        "Azure plans",
        "Plans whose cost follows from usage.",
        "name 280, customerid 200, status 90, purchased 140",
        ("kind", "eq", "usage"),
        order="customerid",
    ),
    main_view(
        SUBSCRIPTION_EVENT,
        "effective 110, type 140, customerid 200, subscriptionid 260, quantity 100, sku 180, "
        "source 120, reference 200",
        order="effective desc, sequence desc",
    ),
    view(
        SUBSCRIPTION_EVENT,
        "of_subscription",
        "History",
        "What happened to one subscription, the newest first: why each charge exists.",
        "effective 110, type 140, quantity 100, sku 180, term 70, billingcycle 100, termend 150, "
        "source 120, reference 200",
        order="effective desc, sequence desc",
    ),
)

PRICES = (
    main_view(
        PRICE_LIST_ITEM,
        "sku 200, customerid 200, term 70, billingcycle 100, unitprice 110, annualprice 130, "
        "currency 80, discountpercent 110, discountuntil 140, validfrom 110, validuntil 120",
        order="sku, customerid",
    ),
    find_view(
        PRICE_LIST_ITEM,
        "sku tenantid currency",
        "sku 200, customerid 200, term 70, unitprice 110, annualprice 130, currency 80, "
        "validfrom 110, validuntil 120",
    ),
    view(
        PRICE_LIST_ITEM,
        "of_customer",
        "Prices of a customer",
        "Prices agreed with one customer alone, as its form shows them.",
        "sku 200, term 70, billingcycle 100, unitprice 110, annualprice 130, currency 80, "
        "validfrom 110, validuntil 120",
        order="sku",
    ),
    main_view(
        MARKUP_RULE,
        "name 240, customerid 200, kind 110, sku 180, metercategory 160, method 100, value 90, "
        "floor 90, cap 90, minimum 100, maximum 100, validfrom 110, validuntil 120",
        order="name",
    ),
    find_view(
        MARKUP_RULE,
        "name sku metercategory tenantid",
        "name 240, customerid 200, kind 110, sku 180, metercategory 160, method 100, value 90",
    ),
    main_view(
        EXCHANGE_RATE, "base 90, quote 90, rate 130, on 110, source 200", order="on desc, base"
    ),
    main_view(
        TAX_PROFILE,
        "name 220, country 90, region 110, treatment 130, taxnumber 150, ratepercent 100, "
        "evidence 200, validuntil 150",
        order="name",
    ),
    view(
        TAX_PROFILE,
        "expiring",
        "Evidence that runs out",
        "Certificates and VAT numbers whose last day comes within 60 days.",
        "name 220, treatment 130, evidence 200, validuntil 150",
        ("validuntil", "next-x-days", "60"),
        order="validuntil",
    ),
)

_COST = (
    "microsoftinvoice 140, customerid 200, name 280, chargetype 140, chargedfrom 110, "
    "chargeduntil 140, quantity 90, effectiveunitprice 120, subtotal 110, tax 90, currency 80"
)
# What a newer version of an invoice no longer has must not be added up with the rest.
_BILLED = ("withdrawnon", "null")
MICROSOFT = (
    main_view(COST_LINE, _COST, _BILLED, order="microsoftinvoice desc, customerid"),
    find_view(COST_LINE, "name microsoftinvoice customername subscriptionref skuid", _COST),
    view(
        COST_LINE,
        "credits",
        "What Microsoft gave back",
        "Lines of Microsoft's invoices below zero, with the reason that Microsoft gives.",
        "microsoftinvoice 140, customerid 200, name 280, chargetype 140, chargedfrom 110, "
        "subtotal 110, currency 80, creditreason 260",
        ("subtotal", "lt", "0"),
        _BILLED,
        order="microsoftinvoice desc",
    ),
    view(
        COST_LINE,
        "withdrawn",
        "What Microsoft took back",
        "Lines that a newer version of Microsoft's invoice no longer has: they explain documents of "
        "before and are billed no more.",
        f"withdrawnon 120, {_COST}",
        ("withdrawnon", "not-null"),
        order="withdrawnon desc, microsoftinvoice",
    ),
    view(
        COST_LINE,
        "of_subscription",
        "What Microsoft charged",
        "Microsoft's lines of one subscription, the newest first.",
        "microsoftinvoice 140, chargetype 140, chargedfrom 110, chargeduntil 140, quantity 90, "
        "effectiveunitprice 120, subtotal 110, currency 80",
        _BILLED,
        order="chargedfrom desc",
    ),
    main_view(
        USAGE_SUMMARY,
        "day 110, customerid 200, entitlementname 220, metercategory 180, quantity 110, cost 110, "
        "currency 80",
        order="day desc, customerid",
    ),
    view(
        USAGE_SUMMARY,
        "last_week",
        "Usage of the last seven days",
        "Where the money of the last days went.",
        "day 110, customerid 200, entitlementname 220, metercategory 180, cost 110, currency 80",
        ("day", "last-x-days", "7"),
        order="day desc, cost desc",
    ),
)

_ALERT = (
    "customerid 200, severity 80, sentence 480, hint 360, amount 110, usualamount 110, "
    "factor 90, currency 80, firstday 110, lastday 110"
)
ALERTS = (
    main_view(USAGE_ALERT, f"state 110, {_ALERT}", order="lastday desc, customerid"),
    find_view(
        USAGE_ALERT, "sentence entitlementname metercategory tenantid", f"state 110, {_ALERT}"
    ),
    view(
        USAGE_ALERT,
        "open",
        "Usage alerts to look at",
        "What goes on unusually and nobody has acknowledged, the most urgent first.",
        _ALERT,
        ("state", "eq", "open"),
        order="severity desc, lastday desc",
    ),
    view(
        USAGE_ALERT,
        "acknowledged",
        "Acknowledged usage alerts",
        "What somebody has seen, with how far it has come since.",
        _ALERT,
        ("state", "eq", "acknowledged"),
        order="lastday desc",
    ),
    view(
        USAGE_ALERT,
        "of_customer",
        "Usage alerts of a customer",
        "As the customer's form shows them, the latest first.",
        "state 110, severity 80, sentence 480, amount 110, currency 80, firstday 110, lastday 110",
        order="lastday desc",
    ),
    main_view(
        USAGE_BUDGET,
        "name 240, customerid 200, entitlementref 240, amount 110, currency 80, thresholds 110, "
        "validfrom 110, validuntil 120",
        order="customerid",
    ),
    find_view(
        USAGE_BUDGET,
        "name tenantid entitlementref",
        "name 240, customerid 200, amount 110, currency 80, thresholds 110",
    ),
    view(
        USAGE_BUDGET,
        "of_customer",
        "Budgets of a customer",
        "As the customer's form shows them.",
        "entitlementref 240, amount 110, currency 80, thresholds 110, validfrom 110, validuntil 120",
        order="validfrom desc",
    ),
)

VIEWS: tuple[View, ...] = (
    *INVOICES,
    *LINES,
    *FINDINGS,
    *RUNS,
    *CUSTOMERS,
    *SUBSCRIPTIONS,
    *PRICES,
    *TAX,
    *MICROSOFT,
    *ALERTS,
)
