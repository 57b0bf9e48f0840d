"""The forms of the app: what a person sees of one row, and what hangs on it.

What the worker computes is read-only: a change there would be overwritten, or would make a document
that nobody can explain. Contracts, prices, rules, rates and what decides tax are entered by people.
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
from dataverse.provision.screens import Form, Grid, Section, Tab
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


def _names(text: str) -> tuple[str, ...]:
    return tuple(
        name if name in {"createdon", "modifiedon", "*"} else f"csp_{name}" for name in text.split()
    )


def _section(label: str, fields: str, columns: int = 2) -> Section:
    return Section(label=label, fields=_names(fields), columns=columns)


def _grid(label: str, table: Table, lookup: str, view: str, rows: int = 8) -> Grid:
    return Grid(table=table.name, lookup=f"csp_{lookup}", view=view, label=label, rows=rows)


def _tab(label: str, *parts: Section | Grid) -> Tab:
    return Tab(label=label, parts=parts)


def _form(table: Table, *tabs: Tab, header: str, edited: str = "") -> Form:
    keys = _section("Identity", "key externalkey createdon modifiedon")
    return Form(
        table=table.name,
        name=f"{table.label} (billing)",
        description=table.description,
        tabs=(*tabs, _tab("Technical", keys)),
        header=_names(header),
        edited=_names(edited),
    )


FORMS: tuple[Form, ...] = (
    _form(
        INVOICE,
        _tab(
            "Document",
            _section(
                "Who and when",
                "number kind customerid customername accountid accountname periodstart periodend "
                "issuedon dueon paidon",
            ),
            _section("Amounts", "subtotal tax total currency", 4),
            _grid("Lines and why", INVOICE_LINE, "invoiceid", "of_invoice", 15),
        ),
        _tab(
            "Tax and contract",
            _section("Who sells and who buys", "sellertext buyertext sellertaxref buyertaxref"),
            _section("Tax", "taxpoint taxdecidedby taxrounding billingcontractid"),
            _section("Wording and reasons", "taxnote taxreasons", 1),
        ),
        _tab(
            "Proof",
            _section("What was approved", "fingerprint contractkey accountref tenantid"),
            _section("Parties in parts", "seller buyer", 1),
            _section("In Dynamics 365 Sales", "projection projectedtotal"),
        ),
        header="status total currency dueon",
    ),
    _form(
        INVOICE_LINE,
        _tab(
            "Line",
            _section("Why this amount", "why", 1),
            _section(
                "Charge",
                "name chargetype servicestart serviceend fullstart fullend quantity unitprice "
                "amount currency taxpercent tax taxcategory",
            ),
            _section("Belongs to", "invoiceid subscriptionid sku answers"),
        ),
        _tab(
            "Proof",
            _section("Tax", "taxes taxnote", 1),
            _section("Reasons and sources", "reasons costlines exactamount unitcost", 1),
            _section("Keys", "chargekey invoicekey subscriptionref tenantid position"),
        ),
        header="amount tax currency chargetype",
    ),
    _form(
        FINDING,
        _tab(
            "Hold",
            _section("What is wrong", "sentence", 1),
            _section("What to do", "hint link", 1),
            _section("To bill in spite of it: state Released, and why", "state releaseduntil"),
            _section("Why", "releasedreason", 1),
            _section("What the worker says", "releasedby releasedon decidedat releasenote"),
            _section("Where", "customerid severity record check tenantid"),
            _section("Since when", "firstseen since lastseen closedon"),
        ),
        header="severity state customerid since",
        edited="state releasedreason releaseduntil",
    ),
    _form(
        BILLING_RUN,
        _tab(
            "Run",
            _section("What is asked for", "kind period day dryrun customerid requestedby"),
            _section(
                "How far it is",
                "status percent unitsdone unitsall startedat finishedat runkind scope window runkey",
            ),
            _section("What went wrong", "problem", 1),
            _grid("Units of work", UNIT_OF_WORK, "billingrunid", "of_run", 15),
        ),
        _tab(
            "Numbers",
            _section("Where every cent went", "totals counts", 1),
            _section("Answer of a dry run", "answer answerdata", 1),
        ),
        header="status percent startedat finishedat",
        edited="kind period day dryrun customerid",
    ),
    _form(
        UNIT_OF_WORK,
        _tab(
            "Unit",
            _section("State", "unitkind status attempt leaseuntil startedat finishedat"),
            _section("Result", "problem counts", 1),
            _section("Belongs to", "billingrunid runkey"),
        ),
        header="status attempt startedat finishedat",
    ),
    _form(
        CUSTOMER,
        _tab(
            "Customer",
            _section("Who", "name accountid domain email registrationnumber relationship"),
            _section("Where", "line1 line2 postalcode city region country"),
            _grid("Open findings", FINDING, "customerid", "of_customer", 5),
            _grid("Invoices and credit notes", INVOICE, "customerid", "of_customer"),
        ),
        _tab(
            "Subscriptions",
            _grid("Subscriptions", SUBSCRIPTION, "customerid", "of_customer", 12),
        ),
        _tab(
            "Terms",
            _grid("Billing contracts", BILLING_CONTRACT, "customerid", "of_customer", 4),
            _grid("Exemption certificates", TAX_CERTIFICATE, "customerid", "of_customer", 4),
            _grid("Agreed prices", PRICE_LIST_ITEM, "customerid", "of_customer"),
        ),
        _tab(
            "Azure usage",
            _grid("Usage alerts", USAGE_ALERT, "customerid", "of_customer"),
            _grid("Usage budgets", USAGE_BUDGET, "customerid", "of_customer", 4),
        ),
        _tab(
            "Agreements and access",
            _grid("Agreements", AGREEMENT, "customerid", "of_customer", 5),
            _grid("GDAP relationships", GDAP_RELATIONSHIP, "customerid", "of_customer", 5),
            _section(
                "Read from Microsoft",
                "detailsknown stalesince resellersknown resellers qualifications tenantid",
            ),
        ),
        header="accountid country domain",
        edited="accountid",
    ),
    _form(
        BILLING_CONTRACT,
        _tab(
            "Contract",
            _section("Whom it bills", "customerid accountid tenantid currency starts ends"),
            _section(
                "When and how", "frequency anchorday anchormonth timing billday alignment proration"
            ),
            _section("Payment", "paymentdays accountingtarget expectedpartnerid"),
            _section("Tax", "sellerid taxprofileid taxdecider sellerkey taxprofilekey"),
            _section("Not passed on", "excludedskus", 1),
        ),
        _tab(
            "Usage",
            _section("In one line of the invoice", "usageby usagetag untagged untaggedname"),
            _section("Partner earned credit", "earnedcredit earnedcreditfrom"),
        ),
        _tab("Documents", _grid("Documents", INVOICE, "billingcontractid", "of_customer", 12)),
        header="currency frequency starts ends",
        edited="*",
    ),
    _form(
        AGREEMENT,
        _tab(
            "Agreement",
            _section(
                "What was agreed",
                "customerid type agreedon contact contactname signeddirectly version "
                "currentversion withdrawnon",
            ),
            _section("Keys", "templateid tenantid"),
        ),
        header="type agreedon",
    ),
    _form(
        GDAP_RELATIONSHIP,
        _tab(
            "Relationship",
            _section("Access", "name customerid status activeassignments autoextends"),
            _section("Days", "activatedon endson stalesince"),
            _section("Roles", "roles assignments relationshipref tenantid"),
        ),
        header="status endson autoextends",
    ),
    _form(
        SUBSCRIPTION,
        _tab(
            "Subscription",
            _section(
                "What and how many",
                "name customerid quantity status kind publisher producttype segment istrial "
                "promotionid",
            ),
            _section("Term", "purchased term billingcycle termstart termend autorenew nextterm", 2),
            _grid("History", SUBSCRIPTION_EVENT, "subscriptionid", "of_subscription", 12),
        ),
        _tab(
            "Money",
            _grid("What was charged", INVOICE_LINE, "subscriptionid", "of_subscription", 10),
            _grid("What Microsoft charged", COST_LINE, "subscriptionid", "of_subscription", 10),
        ),
        _tab(
            "Keys",
            _section(
                "At Microsoft",
                "subscriptionref orderref productid skuid partnerofrecord migratedfrom tenantid",
            ),
        ),
        header="status quantity termend autorenew",
    ),
    _form(
        SUBSCRIPTION_EVENT,
        _tab(
            "Change",
            _section("What changed", "type effective quantity sku term billingcycle termend"),
            _section("Where it was seen", "source reference sequence anchor istrial"),
            _section("Belongs to", "customerid subscriptionid subscriptionref tenantid"),
        ),
        header="type effective quantity",
    ),
    _form(
        PRICE_LIST_ITEM,
        _tab(
            "Price",
            _section("For what", "sku term billingcycle customerid tenantid"),
            _section("Price", "unitprice annualprice currency"),
            _section("Discount", "discountpercent discountfrom discountuntil"),
            _section("Valid", "validfrom validuntil"),
        ),
        header="unitprice annualprice currency validuntil",
        edited="*",
    ),
    _form(
        MARKUP_RULE,
        _tab(
            "Rule",
            _section("For what", "name kind sku metercategory customerid tenantid"),
            _section("How", "method value currency floor cap minimum maximum"),
            _section("Steps", "tiers package", 1),
            _section("Valid", "validfrom validuntil"),
        ),
        header="method value validfrom validuntil",
        edited="*",
    ),
    _form(
        EXCHANGE_RATE,
        _tab("Rate", _section("Rate", "base quote rate on source")),
        header="base quote rate on",
        edited="*",
    ),
    _form(
        TAX_PROFILE,
        _tab(
            "Tax",
            _section("Where and who", "name country region locality taxnumber business"),
            _section("Treatment", "treatment rightfrom"),
            _section("Stated by hand", "ratepercent evidence validuntil"),
            _section("Wording", "wording", 1),
        ),
        header="treatment country taxnumber validuntil",
        edited="*",
    ),
    _form(
        SELLER,
        _tab(
            "Company",
            _section("Who sells", "name registrationnumber email"),
            _section("Where", "line1 line2 postalcode city region country"),
            _grid("Tax registrations", TAX_REGISTRATION, "sellerid", "of_seller"),
        ),
        header="country registrationnumber",
        edited="*",
    ),
    _form(
        TAX_REGISTRATION,
        _tab(
            "Registration",
            _section("Who and where", "sellerid country region number sellerkey"),
            _section("Valid", "validfrom validuntil"),
        ),
        header="country region number validuntil",
        edited="*",
    ),
    _form(
        TAX_CERTIFICATE,
        _tab(
            "Certificate",
            _section("Whose", "customerid tenantid country region"),
            _section("What", "kind number issuedon document"),
            _section("Valid", "validfrom validuntil"),
            _section("Verified", "verifiedby verifiedon"),
            _section("On the invoice", "reason", 1),
        ),
        header="kind number validuntil",
        edited="*",
    ),
    _form(
        TAX_RATE,
        _tab(
            "Rate",
            _section("Where", "country region locality"),
            _section("What", "tax validfrom ratepercent taxablepercent regional localtaxes"),
            _section("Source", "source note", 1),
        ),
        header="country region ratepercent validfrom",
        edited="*",
    ),
    _form(
        TAX_NUMBER_CHECK,
        _tab(
            "Answer",
            _section("Number", "number country state checkedat source reference"),
            _section("Whose it is", "registeredname registeredaddress", 1),
            _section("No answer", "failedat problem", 1),
        ),
        header="state checkedat source",
    ),
    _form(
        COST_LINE,
        _tab(
            "Line",
            _section(
                "What Microsoft charged",
                "name customerid chargetype kind chargedfrom chargeduntil quantity "
                "billablequantity unitprice effectiveunitprice subtotal tax currency",
            ),
            _section(
                "Why",
                "creditreason promotionid termandbillingcycle billingfrequency adjustments "
                "withdrawnon",
            ),
            _section("Currency", "pricingcurrency microsoftexchangerate"),
        ),
        _tab(
            "Source",
            _section(
                "At Microsoft",
                "microsoftinvoice publisher orderedon subscriptionid subscriptionref productid skuid meter "
                "reservationorder subscriptionstart subscriptionend partnerref resellerref "
                "reference customername tenantid",
            ),
            _section("Who used it", "shares", 1),
        ),
        header="subtotal currency chargetype microsoftinvoice",
    ),
    _form(
        USAGE_SUMMARY,
        _tab(
            "Usage",
            _section("What was used", "day customerid entitlementname metercategory"),
            _section("How much", "quantity cost currency lines"),
            _section("Keys", "subscriptionid planref entitlementref tenantid"),
        ),
        header="day cost currency",
    ),
    _form(
        USAGE_ALERT,
        _tab(
            "Alert",
            _section("What is unusual", "sentence", 1),
            _section("What to do", "hint", 1),
            _section("Seen?", "state severity"),
            _section("How much", "amount usualamount factor currency firstday lastday", 2),
            _section("Where", "customerid kind entitlementname metercategory"),
            _section("Budget", "usagebudgetid threshold"),
            _section("Keys", "entitlementref budgetkey tenantid"),
        ),
        header="severity state customerid lastday",
        edited="state",
    ),
    _form(
        USAGE_BUDGET,
        _tab(
            "Budget",
            _section("For whom", "name customerid tenantid entitlementref"),
            _section("How much", "amount currency thresholds"),
            _section("Valid", "validfrom validuntil"),
        ),
        header="amount currency thresholds",
        edited="*",
    ),
)
