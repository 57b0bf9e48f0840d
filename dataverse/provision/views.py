"""The lists that finance users work with: what they see of each table, and which rows.

The first column is what a person looks for, the last what explains; widths are those of a wide
screen, narrow enough that the amounts stay in sight. A table has one main view, one quick find, and
one more for each question that somebody asks every day or every month.
"""

from __future__ import annotations

from dataverse.provision.screens import View, ViewKind
from dataverse.schema import Table
from dataverse.tables import (
    AGREEMENT,
    BILLING_CONTRACT,
    BILLING_RUN,
    COST_LINE,
    CUSTOMER,
    EXCHANGE_RATE,
    FINDING,
    GDAP_RELATIONSHIP,
    INVOICE,
    INVOICE_LINE,
    MARKUP_RULE,
    PRICE_LIST_ITEM,
    SUBSCRIPTION,
    SUBSCRIPTION_EVENT,
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

Condition = tuple[str, ...]


def _columns(text: str) -> tuple[tuple[str, int], ...]:
    """Read `number 130, total 110`: names without the prefix, widths in pixels."""
    pairs = [item.split() for item in text.split(",")]
    return tuple((_full(name), int(width)) for name, width in pairs)


def _full(name: str) -> str:
    return name if name.startswith(("createdon", "modifiedon")) else f"csp_{name}"


def _view(
    table: Table,
    key: str,
    name: str,
    description: str,
    columns: str,
    *where: Condition,
    order: str = "",
    kind: ViewKind = ViewKind.MORE,
) -> View:
    return View(
        table=table.name,
        key=key,
        name=name,
        description=description,
        columns=_columns(columns),
        where=tuple((_full(column), *rest) for column, *rest in where),
        order=tuple(_full(part.strip()) for part in order.split(",")),
        kind=kind,
    )


def _main(table: Table, columns: str, *where: Condition, order: str) -> View:
    """Declare the view with which a table opens."""
    return _view(
        table,
        "main",
        table.plural,
        f"All {table.plural} that are active.",
        columns,
        *where,
        order=order,
        kind=ViewKind.MAIN,
    )


def _find(table: Table, searched: str, columns: str) -> View:
    """Declare what quick find searches, and what it shows."""
    return View(
        table=table.name,
        key="find",
        name=f"Quick find: {table.plural}",
        description=f"What the search box looks for in {table.plural}.",
        columns=_columns(columns),
        find=tuple(_full(name) for name in searched.split()),
        order=(_full(columns.split(maxsplit=1)[0]),),
        kind=ViewKind.FIND,
    )


_DOCUMENT = (
    "number 140, customername 240, kind 100, periodstart 110, subtotal 110, tax 100, total 120, "
    "currency 80, status 110, issuedon 110, dueon 110"
)
_OPEN_DOCUMENT = (
    "number 140, customername 260, kind 110, issuedon 110, dueon 110, total 120, currency 80, "
    "status 110"
)

INVOICES = (
    _main(INVOICE, _DOCUMENT, order="periodstart desc, customername"),
    _find(INVOICE, "number customername accountname name buyertaxref", _DOCUMENT),
    _view(
        INVOICE,
        "drafts",
        "Drafts to approve",
        "Documents that nobody has approved yet: look at the totals, then approve the month.",
        "customername 260, kind 110, periodstart 110, periodend 130, subtotal 110, tax 100, "
        "total 120, currency 80, accountname 200, modifiedon 140",
        ("status", "eq", "draft"),
        order="customername, periodstart",
    ),
    _view(
        INVOICE,
        "unpaid",
        "Issued, not yet paid",
        "Invoices that were approved or sent and await their payment, the oldest due day first.",
        _OPEN_DOCUMENT,
        ("kind", "eq", "invoice"),
        ("status", "in", "approved", "issued", "handed_off"),
        order="dueon, customername",
    ),
    _view(
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
    _view(
        INVOICE,
        "credits",
        "Credit notes",
        "What was given back, the newest first.",
        _DOCUMENT,
        ("kind", "eq", "credit_note"),
        order="issuedon desc, customername",
    ),
    _view(
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
    _main(INVOICE_LINE, f"invoiceid 160, {_LINE}", order="servicestart desc, name"),
    _find(
        INVOICE_LINE,
        "name sku subscriptionref chargekey",
        "name 260, invoiceid 160, servicestart 110, quantity 90, amount 110, currency 80, why 420",
    ),
    _view(
        INVOICE_LINE,
        "of_invoice",
        "Lines of a document",
        "The lines in the order of the document, each with the sentence that explains it.",
        _LINE,
        order="position",
    ),
    _view(
        INVOICE_LINE,
        "of_subscription",
        "What was charged",
        "The charges of one subscription, the newest first.",
        "invoiceid 160, chargetype 130, servicestart 110, serviceend 140, quantity 90, "
        "unitprice 110, amount 110, currency 80, why 420",
        order="servicestart desc",
    ),
    _view(
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
    _main(FINDING, f"state 80, {_HOLD}, record 220", order="firstseen desc"),
    _find(FINDING, "sentence name record tenantid", f"state 80, {_HOLD}"),
    _view(
        FINDING,
        "holds",
        "On hold",
        "Why customers are not billed, and what somebody has to do about it; the oldest first.",
        f"{_HOLD}, record 220",
        ("state", "eq", "open"),
        ("severity", "in", "hold", "block"),
        order="since, customerid",
    ),
    _view(
        FINDING,
        "released",
        "Released",
        "What a person lets a customer be billed in spite of: who, until when, and why.",
        f"{_RELEASE}, sentence 420, hint 320, since 110, record 220",
        ("state", "eq", "released"),
        order="releasedon desc",
    ),
    _view(
        FINDING,
        "warnings",
        "Warnings",
        "What should be looked at and holds nobody up.",
        f"{_HOLD}, record 220",
        ("state", "eq", "open"),
        ("severity", "eq", "warn"),
        order="lastseen desc",
    ),
    _view(
        FINDING,
        "settled",
        "Closed lately",
        "Faults that were put right in the last four weeks, and what became of a release.",
        "closedon 110, customerid 200, severity 90, sentence 420, since 110, releasenote 320, record 220",
        ("state", "eq", "closed"),
        ("closedon", "last-x-days", "28"),
        order="closedon desc",
    ),
    _view(
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
    _main(BILLING_RUN, _RUN, order="startedat desc"),
    _find(BILLING_RUN, "name scope window period requestedby", _RUN),
    _view(
        BILLING_RUN,
        "requests",
        "Asked for",
        "Runs that people and flows asked for, and how far each came; the newest first.",
        "kind 110, period 90, day 110, dryrun 90, customerid 200, status 130, percent 80, "
        "runkey 220, requestedby 160, createdon 140, problem 360",
        ("kind", "not-null"),
        order="createdon desc",
    ),
    _view(
        BILLING_RUN,
        "attention",
        "Runs that need a look",
        "Runs that failed, or ended with customers on hold.",
        _RUN,
        ("status", "in", "failed", "done_with_holds"),
        order="startedat desc",
    ),
    _main(
        UNIT_OF_WORK,
        "name 320, runkey 200, unitkind 120, status 100, attempt 80, startedat 140, "
        "finishedat 140, problem 360",
        order="startedat desc",
    ),
    _view(
        UNIT_OF_WORK,
        "of_run",
        "Units of a run",
        "What became of each piece of a run; what failed stands first.",
        "name 320, status 100, attempt 80, startedat 140, finishedat 140, problem 360",
        order="status desc, name",
    ),
    _view(
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
    _main(CUSTOMER, _CUSTOMER, order="name"),
    _find(CUSTOMER, "name domain tenantid email registrationnumber", _CUSTOMER),
    _view(
        CUSTOMER,
        "unmapped",
        "Customers without an account",
        "Nobody said yet which account these customers are; they cannot be billed before.",
        "name 260, domain 200, country 90, city 140, email 220, createdon 140",
        ("accountid", "null"),
        order="name",
    ),
    _view(
        CUSTOMER,
        "stale",
        "Customers not read whole",
        "Access was lost: they are billed by what was read before, for as many days as allowed.",
        "name 260, domain 200, accountid 200, stalesince 140, relationship 140",
        ("stalesince", "not-null"),
        order="stalesince",
    ),
    _main(
        BILLING_CONTRACT,
        "customerid 220, accountid 200, currency 80, frequency 100, anchorday 90, timing 100, "
        "alignment 120, proration 120, paymentdays 90, taxprofileid 180, starts 110, ends 120",
        order="customerid",
    ),
    _find(
        BILLING_CONTRACT,
        "name tenantid taxprofilekey",
        "name 260, customerid 220, accountid 200, currency 80, frequency 100, starts 110, ends 120",
    ),
    _view(
        BILLING_CONTRACT,
        "of_customer",
        "Contracts of a customer",
        "How one customer is billed, as its form shows it.",
        "accountid 200, currency 80, frequency 100, anchorday 90, timing 100, paymentdays 90, "
        "starts 110, ends 120",
        order="starts desc",
    ),
    _view(
        BILLING_CONTRACT,
        "ending",
        "Contracts that end",
        "Contracts with a first day that is not billed, the next one first.",
        "customerid 220, accountid 200, currency 80, ends 120, starts 110",
        ("ends", "not-null"),
        order="ends",
    ),
    _main(
        AGREEMENT,
        "customerid 240, type 240, agreedon 110, contact 240, signeddirectly 140",
        order="customerid, type",
    ),
    _view(
        AGREEMENT,
        "of_customer",
        "Agreements of a customer",
        "What one customer has agreed to, as its form shows it.",
        "type 240, agreedon 110, contact 240, signeddirectly 140",
        order="agreedon desc",
    ),
    _main(
        GDAP_RELATIONSHIP,
        "customerid 220, name 260, status 110, activatedon 110, endson 140, autoextends 120, "
        "activeassignments 110",
        order="endson",
    ),
    _view(
        GDAP_RELATIONSHIP,
        "ending",
        "Access that ends soon",
        "Relationships whose last day comes within 60 days; without them nothing is read.",
        "customerid 220, name 260, status 110, endson 140, autoextends 120",
        ("endson", "next-x-days", "60"),
        order="endson",
    ),
    _view(
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
    _main(SUBSCRIPTION, _SUBSCRIPTION, order="customerid, name"),
    _find(SUBSCRIPTION, "name subscriptionref skuid orderref tenantid", _SUBSCRIPTION),
    _view(
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
    _view(
        SUBSCRIPTION,
        "of_customer",
        "Subscriptions of a customer",
        "What one customer has, as its form shows it.",
        "name 280, quantity 80, term 70, billingcycle 100, termend 140, autorenew 120, status 90",
        order="status, name",
    ),
    _view(
        SUBSCRIPTION,
        "azure",
        "Azure plans",
        "Plans whose cost follows from usage.",
        "name 280, customerid 200, status 90, purchased 140",
        ("kind", "eq", "usage"),
        order="customerid",
    ),
    _main(
        SUBSCRIPTION_EVENT,
        "effective 110, type 140, customerid 200, subscriptionid 260, quantity 100, sku 180, "
        "source 120, reference 200",
        order="effective desc, sequence desc",
    ),
    _view(
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
    _main(
        PRICE_LIST_ITEM,
        "sku 200, customerid 200, term 70, billingcycle 100, unitprice 110, annualprice 130, "
        "currency 80, discountpercent 110, discountuntil 140, validfrom 110, validuntil 120",
        order="sku, customerid",
    ),
    _find(
        PRICE_LIST_ITEM,
        "sku tenantid currency",
        "sku 200, customerid 200, term 70, unitprice 110, annualprice 130, currency 80, "
        "validfrom 110, validuntil 120",
    ),
    _view(
        PRICE_LIST_ITEM,
        "of_customer",
        "Prices of a customer",
        "Prices agreed with one customer alone, as its form shows them.",
        "sku 200, term 70, billingcycle 100, unitprice 110, annualprice 130, currency 80, "
        "validfrom 110, validuntil 120",
        order="sku",
    ),
    _main(
        MARKUP_RULE,
        "name 240, customerid 200, kind 110, sku 180, metercategory 160, method 100, value 90, "
        "floor 90, cap 90, minimum 100, maximum 100, validfrom 110, validuntil 120",
        order="name",
    ),
    _find(
        MARKUP_RULE,
        "name sku metercategory tenantid",
        "name 240, customerid 200, kind 110, sku 180, metercategory 160, method 100, value 90",
    ),
    _main(EXCHANGE_RATE, "base 90, quote 90, rate 130, on 110, source 200", order="on desc, base"),
    _main(
        TAX_PROFILE,
        "name 220, country 90, region 110, treatment 130, taxnumber 150, ratepercent 100, "
        "evidence 200, validuntil 150",
        order="name",
    ),
    _view(
        TAX_PROFILE,
        "expiring",
        "Evidence that runs out",
        "Certificates and VAT numbers whose last day comes within 60 days.",
        "name 220, treatment 130, evidence 200, validuntil 150",
        ("validuntil", "next-x-days", "60"),
        order="validuntil",
    ),
)

_CERTIFICATE = (
    "customerid 200, country 90, region 110, kind 110, number 160, validfrom 110, validuntil 130, "
    "verifiedby 150"
)
_CHECKED = (
    "number 170, country 90, state 100, checkedat 150, registeredname 240, source 160, "
    "reference 160, failedat 150, problem 300"
)
TAX = (
    _main(SELLER, "name 240, city 150, country 90, registrationnumber 160", order="name"),
    _main(
        TAX_REGISTRATION,
        "sellerid 240, country 90, region 130, number 180, validfrom 110, validuntil 130",
        order="country, region",
    ),
    _view(
        TAX_REGISTRATION,
        "of_seller",
        "Registrations of a company",
        "As the form of the selling company shows them.",
        "country 90, region 130, number 180, validfrom 110, validuntil 130",
        order="country, region",
    ),
    _main(TAX_CERTIFICATE, _CERTIFICATE, order="customerid, validuntil"),
    _find(TAX_CERTIFICATE, "number kind reason tenantid", _CERTIFICATE),
    _view(
        TAX_CERTIFICATE,
        "ending",
        "Certificates that end",
        "Exemption certificates that are not valid any more within 60 days: ask for new ones.",
        _CERTIFICATE,
        ("validuntil", "next-x-days", "60"),
        order="validuntil",
    ),
    _view(
        TAX_CERTIFICATE,
        "of_customer",
        "Certificates of a customer",
        "As the customer's form shows them.",
        "country 90, region 110, kind 110, number 160, validfrom 110, validuntil 130",
        order="validuntil desc",
    ),
    _main(
        TAX_RATE,
        "country 90, region 150, locality 150, tax 130, validfrom 110, ratepercent 100, "
        "taxablepercent 110, source 200",
        order="country, region, locality, validfrom desc",
    ),
    _main(TAX_NUMBER_CHECK, _CHECKED, order="checkedat desc"),
    _find(TAX_NUMBER_CHECK, "number registeredname reference", _CHECKED),
    _view(
        TAX_NUMBER_CHECK,
        "open",
        "Tax numbers without a good answer",
        "Numbers that are not valid, or that no register has answered about.",
        _CHECKED,
        ("state", "ne", "valid"),
        order="checkedat",
    ),
)

_COST = (
    "microsoftinvoice 140, customerid 200, name 280, chargetype 140, chargedfrom 110, "
    "chargeduntil 140, quantity 90, effectiveunitprice 120, subtotal 110, tax 90, currency 80"
)
# What a newer version of an invoice no longer has must not be added up with the rest.
_BILLED = ("withdrawnon", "null")
MICROSOFT = (
    _main(COST_LINE, _COST, _BILLED, order="microsoftinvoice desc, customerid"),
    _find(COST_LINE, "name microsoftinvoice customername subscriptionref skuid", _COST),
    _view(
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
    _view(
        COST_LINE,
        "withdrawn",
        "What Microsoft took back",
        "Lines that a newer version of Microsoft's invoice no longer has: they explain documents of "
        "before and are billed no more.",
        f"withdrawnon 120, {_COST}",
        ("withdrawnon", "not-null"),
        order="withdrawnon desc, microsoftinvoice",
    ),
    _view(
        COST_LINE,
        "of_subscription",
        "What Microsoft charged",
        "Microsoft's lines of one subscription, the newest first.",
        "microsoftinvoice 140, chargetype 140, chargedfrom 110, chargeduntil 140, quantity 90, "
        "effectiveunitprice 120, subtotal 110, currency 80",
        _BILLED,
        order="chargedfrom desc",
    ),
    _main(
        USAGE_SUMMARY,
        "day 110, customerid 200, entitlementname 220, metercategory 180, quantity 110, cost 110, "
        "currency 80",
        order="day desc, customerid",
    ),
    _view(
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
    _main(USAGE_ALERT, f"state 110, {_ALERT}", order="lastday desc, customerid"),
    _find(USAGE_ALERT, "sentence entitlementname metercategory tenantid", f"state 110, {_ALERT}"),
    _view(
        USAGE_ALERT,
        "open",
        "Usage alerts to look at",
        "What goes on unusually and nobody has acknowledged, the most urgent first.",
        _ALERT,
        ("state", "eq", "open"),
        order="severity desc, lastday desc",
    ),
    _view(
        USAGE_ALERT,
        "acknowledged",
        "Acknowledged usage alerts",
        "What somebody has seen, with how far it has come since.",
        _ALERT,
        ("state", "eq", "acknowledged"),
        order="lastday desc",
    ),
    _view(
        USAGE_ALERT,
        "of_customer",
        "Usage alerts of a customer",
        "As the customer's form shows them, the latest first.",
        "state 110, severity 80, sentence 480, amount 110, currency 80, firstday 110, lastday 110",
        order="lastday desc",
    ),
    _main(
        USAGE_BUDGET,
        "name 240, customerid 200, entitlementref 240, amount 110, currency 80, thresholds 110, "
        "validfrom 110, validuntil 120",
        order="customerid",
    ),
    _find(
        USAGE_BUDGET,
        "name tenantid entitlementref",
        "name 240, customerid 200, amount 110, currency 80, thresholds 110",
    ),
    _view(
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
