"""Every check that the product knows, by name: what it looks at, what to do, who may overrule it.

A room is who looks: it replaces its own findings, and so closes those whose cause is gone. A test
reads the code, and fails on a check that is not listed here and on one here that nothing finds.
`docs/checks.md` is made of this list. The points of an audit of files are no findings: nobody is
billed by them (docs/audit.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from difflib import get_close_matches
from enum import StrEnum

from domain.problems import Finding, Severity
from domain.reconciliation import Cause


class Room(StrEnum):
    """Who finds it."""

    GATE = "gate"
    """Before anything is billed: the relationship, the agreement, the account and its contract."""
    TAX = "tax"
    """Before anything is billed: tax, address and currency."""
    DRAFT = "draft"
    """A customer's bill of a month: history, prices, usage, seats."""
    RECONCILE = "reconcile"
    """The end of a month's run: Microsoft's lines beside the documents."""
    READING = "reading"
    """Reading what Partner Center has: customers, access, changes, which invoices, and all of them."""
    INVOICE = "invoice"
    """Reading the lines and the usage of one of Microsoft's invoices."""
    NUMBERS = "numbers"
    """The daily look at tax numbers."""
    EVENT = "event"
    """What Partner Center tells of its own accord."""
    UNBILLED = "unbilled"
    """The daily look at usage that is not billed yet."""
    DOCUMENT = "document"
    """Documents that were issued: their files and their copies."""
    STORE = "store"
    """Writing rows."""
    ANSWER = "answer"
    """The answer of a command; nothing is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One named check."""

    name: str
    room: Room
    severity: Severity
    """By default; `CSP_SEVERITIES` may set another."""
    about: str
    """What it looks at, in a few words."""
    to_do: str
    final: str = ""
    """Why nobody can release it: there is nothing to bill with. Empty: a person may."""


_NOT_ALL = "what Microsoft billed is not known completely"


def _in(room: Room, *checks: Check) -> tuple[Check, ...]:
    return tuple(replace(check, room=room) for check in checks)


def _check(severity: Severity, name: str, about: str, to_do: str, final: str = "") -> Check:
    return Check(
        name=name, room=Room.GATE, severity=severity, about=about, to_do=to_do, final=final
    )


def _hold(name: str, about: str, to_do: str, final: str = "") -> Check:
    return _check(Severity.HOLD, name, about, to_do, final)


def _warn(name: str, about: str, to_do: str) -> Check:
    return _check(Severity.WARN, name, about, to_do)


def _block(name: str, about: str, to_do: str, final: str = _NOT_ALL) -> Check:
    return _check(Severity.BLOCK, name, about, to_do, final)


_NO_TAX = "without it the tax is not known"
_NO_PRICE = "without a price there is nothing to ask for"
_NO_HISTORY = "without it the seats and their days are not known"
_NO_PARTS = "the usage cannot be split into lines without it"

_GATE = _in(
    Room.GATE,
    _hold(
        "relationship.not_reseller",
        "whether the tenant is still our reseller customer",
        "ask the customer to accept the reseller invitation, or end the contract",
    ),
    _warn(
        "access.stale",
        "whether the customer could be read whole lately; holds after CSP_STALE_DAYS",
        "restore the access to the customer, then run sync",
    ),
    _warn(
        "access.unread",
        "whether a customer that is listed was ever read whole",
        "run sync; if it stays, look for the customer in Partner Center",
    ),
    _hold(
        "agreement.missing",
        "whether the Microsoft Customer Agreement was accepted; the older one does not count",
        "attest the acceptance in Partner Center, or ask the customer to sign with Microsoft",
    ),
    _warn(
        "agreement.undated",
        "whether the acceptance of the agreement has a date",
        "attest the agreement with its date in Partner Center",
    ),
    _warn(
        "agreement.outdated",
        "whether the newest version of the agreement was accepted",
        "ask the customer to accept the newest version, and attest it in Partner Center",
    ),
    _warn(
        "agreement.version_unknown",
        "whether Microsoft lists the version of the agreement that was accepted",
        "ask the customer to accept the newest version, and attest it in Partner Center",
    ),
    _warn(
        "reseller_agreement.missing",
        "whether the indirect reseller has signed the Microsoft Partner Agreement",
        "ask the reseller to sign it in its own Partner Center",
    ),
    _warn(
        "reseller_agreement.unknown",
        "whether Microsoft says who the indirect resellers are and what they signed",
        "ask the reseller; its id may be wrong, or not migrated at Microsoft",
    ),
    _hold(
        "gdap.missing",
        "whether a delegated admin relationship is active today",
        "send the customer a new GDAP request and have it approved",
    ),
    _hold(
        "gdap.no_assignment",
        "whether a security group has access by the relationship",
        "assign a security group to the relationship in Partner Center",
    ),
    _hold(
        "gdap.roles_missing",
        "whether groups hold the roles that CSP_REQUIRED_ROLES asks for",
        "give a security group the role in the relationship's access assignment",
    ),
    _hold(
        "gdap.roles_unknown",
        "whether the roles of the groups are known, where some are required",
        "run sync: it reads the roles of each group",
    ),
    _warn(
        "gdap.expiring",
        "whether the relationship ends soon and does not extend itself",
        "renew the relationship, or switch its automatic extension on",
    ),
    _warn(
        "gdap.not_extended",
        "whether a relationship that ends in some months extends itself",
        "switch its automatic extension on in Partner Center",
    ),
    _warn(
        "gdap.end_unknown",
        "whether Microsoft says when the relationship ends",
        "look up its end in Partner Center, and renew it in time",
    ),
    _hold(
        "mapping.no_contract",
        "whether the customer has a billing contract",
        "make a billing contract for the customer and choose its account",
        "there is no contract to bill by",
    ),
    _hold(
        "mapping.no_account",
        "whether the contract names the account that is billed",
        "choose the account on the billing contract",
        "there is nobody to send the invoice to",
    ),
    _hold(
        "mapping.contract_ended",
        "whether the contract is in force in the month",
        "renew the contract, or move the subscriptions away",
    ),
    _warn(
        "mapping.outside_contract",
        "whether the contract is in force when what Microsoft bills is served",
        "move the contract's first or last day, or bill these days in another way",
    ),
    _hold(
        "mapping.several_contracts",
        "whether one contract alone is in force on each day",
        "end the older contract on the day on which the newer one starts",
    ),
    _hold(
        "mapping.account_gone",
        "whether the account that is billed can be read",
        "choose the account that is billed on the billing contract",
        "there is nobody to send the invoice to",
    ),
    _hold(
        "mapping.account_inactive",
        "whether the account that is billed is active",
        "activate the account, or choose another one on the billing contract",
    ),
    _warn(
        "mapping.no_subscriptions",
        "whether the customer of a contract has anything to bill",
        "end the contract, or check whether it names the right customer",
    ),
    _hold(
        "qualification.missing",
        "whether what is sold at a special price has its approved qualification",
        "complete the qualification in Partner Center, or move the customer to commercial products",
    ),
    _warn(
        "qualification.unknown",
        "whether Microsoft says at which segment's price a qualified customer buys",
        "compare the product's segment in Partner Center with the qualification",
    ),
    _warn(
        "partner_of_record.differs",
        "whether Microsoft's lines name the reseller of their subscription",
        "check since when the partner of record is another, and who is paid for the month",
    ),
    _warn(
        "partner_of_record.unknown",
        "whether any partner is named where one is expected",
        "look up the partner of record in Partner Center, or clear the contract's expectation",
    ),
    _hold(
        "partner_of_record.drift",
        "whether the partner on subscriptions and on Microsoft's lines is the expected one",
        "correct the partner of record in Partner Center, or the contract's expectation",
    ),
)

_ADDRESS = _in(
    Room.TAX,
    _hold(
        "address.none",
        "whether the account that is billed has an address",
        "enter the address of the account in Dynamics (Address 1)",
    ),
    _hold(
        "address.incomplete",
        "whether the account's address has what its country's invoices and taxes need",
        "complete the address of the account in Dynamics (Address 1)",
    ),
    _hold(
        "address.unmapped",
        "whether country and, where the tax depends on it, region of account and tax profile are known",
        "write the country as its name or two letters, the state or province as its name or code",
    ),
    _hold(
        "address.region_differs",
        "whether the tax profile is for where the account is",
        "correct country and region of the tax profile, or the address of the account",
    ),
    _hold(
        "address.postal_code",
        "whether the postal code of the account lies where another tax is charged than stated",
        "correct the postal code or the state of the account in Dynamics (Address 1)",
    ),
    _warn(
        "address.postal_form",
        "whether the postal code of the account is one of its country and region",
        "correct the postal code of the account in Dynamics (Address 1)",
    ),
    _hold(
        "address.microsoft_differs",
        "whether Microsoft's profiles say a place with the account's tax",
        "find out where the customer is; correct the account, or the profile at Microsoft",
    ),
    _warn(
        "address.microsoft_region",
        "whether Microsoft's profiles say the account's country and region, where the tax is the same",
        "correct the account, or the profile at Microsoft",
    ),
    _warn(
        "address.microsoft_unmapped",
        "whether country and region of Microsoft's profiles are known, to be compared",
        "correct the profile at Microsoft",
    ),
    _hold(
        "currency.incomplete",
        "whether the contract has a currency of ISO 4217",
        "choose the currency of the invoices on the billing contract, by its code",
        "an invoice needs a currency",
    ),
    _warn(
        "currency.differs",
        "whether a rate is known where Microsoft bills in another currency than the contract",
        "enter an exchange rate, or agree prices in the contract's currency",
    ),
    _warn(
        "currency.account_differs",
        "whether the account in Dynamics has the contract's currency",
        "correct the currency of the account, or that of the billing contract",
    ),
)

_TAX = _in(
    Room.TAX,
    _hold(
        "tax.no_profile",
        "whether the contract has a tax profile",
        "give the billing contract a tax profile",
        _NO_TAX,
    ),
    _hold(
        "tax.lapsed",
        "whether an exemption or its evidence is in force on the tax point",
        "ask the customer for a new certificate, or charge the standard tax",
        _NO_TAX,
    ),
    _hold(
        "tax.no_evidence",
        "whether a treatment other than standard has its number or certificate",
        "enter the VAT number or the certificate on the tax profile",
        _NO_TAX,
    ),
    _hold(
        "tax.unmapped_country",
        "whether the countries are known to the table of tax rates",
        "correct the country, or add its rate to the table of tax rates",
        _NO_TAX,
    ),
    _hold(
        "tax.unmapped_region",
        "whether the region is known where the tax depends on it",
        "give the customer's state or province, or add its rate",
        _NO_TAX,
    ),
    _hold(
        "tax.no_rate",
        "whether a rate is known on the tax point",
        "add the rate of that day to the table of tax rates",
        _NO_TAX,
    ),
    _hold(
        "tax.own_rules",
        "whether the place has tax rules of its own",
        "ask your accountant, and add the rate to the table of tax rates",
        _NO_TAX,
    ),
    _hold(
        "tax.vat_country",
        "whether VAT number and country belong together",
        "correct the country or the number: they decide together where the supply is taxed",
        _NO_TAX,
    ),
    _hold(
        "tax.vat_invalid",
        "whether the VAT number has the form and check digits of its country",
        "ask the customer for the right number",
        _NO_TAX,
    ),
    _hold(
        "tax.no_vat_number",
        "whether a customer abroad is shown to be a business",
        "ask the customer for its VAT number",
        _NO_TAX,
    ),
    _hold(
        "tax.no_seller",
        "whether it is known which company sells",
        "enter the company under Selling companies; of several choose one on the contract",
        _NO_TAX,
    ),
    _hold(
        "tax.no_registration",
        "whether the selling company is registered where tax is due",
        "enter the registration with its number, or let another company sell",
        _NO_TAX,
    ),
    _hold(
        "tax.no_locality",
        "whether the city or county is known where it adds taxes of its own",
        "enter the city on the tax profile, or add its rate",
        _NO_TAX,
    ),
    _hold(
        "tax.not_business",
        "whether a customer abroad is said to be a business",
        "enter its tax number, or set Buys as a business on the tax profile",
        _NO_TAX,
    ),
    _hold(
        "tax.not_yet_valid",
        "whether an exemption certificate has begun on the tax point",
        "correct its first day, or wait for it",
        _NO_TAX,
    ),
    _hold(
        "tax.number_refuted",
        "whether the register says that the customer's tax number is valid",
        "ask the customer for its valid number",
        _NO_TAX,
    ),
    _hold(
        "tax.number_unchecked",
        "whether a register has answered about the number that a bill without tax rests on",
        "run sync, which asks the register",
        _NO_TAX,
    ),
    _hold(
        "tax.number_old",
        "whether the register's answer still counts (CSP_TAX_NUMBER_DAYS)",
        "run sync to ask again; if the register is down, wait for it",
        _NO_TAX,
    ),
    _hold(
        "tax.bad_rate",
        "whether the partner's own rows of tax rates can be meant",
        "correct or delete the row under Tax rates",
        _NO_TAX,
    ),
    _hold(
        "tax.bad_registration",
        "whether the selling company's registrations are for places that the tax rates know",
        "correct country and region under Tax registrations",
        _NO_TAX,
    ),
    _hold(
        "tax.unreadable_row",
        "whether the rows that decide tax can be read",
        "correct or delete the row",
        _NO_TAX,
    ),
    _hold(
        "tax.no_engine",
        "whether there is a tax engine where a contract leaves its tax to one",
        "set the engine's address, or let the contract decide by rules",
        _NO_TAX,
    ),
    _warn(
        "tax.certificate_ending",
        "whether a certificate in use ends within 30 days",
        "ask the customer for a new certificate and enter it",
    ),
    _warn(
        "tax.certificate_unverified",
        "whether somebody verified a certificate in use",
        "look at the paper, and enter who verified it and when",
    ),
    _warn(
        "tax.number_ageing",
        "whether the answer about a number in use will soon count no more",
        "run sync to ask again; if the register is down, wait for it",
    ),
    _hold(
        "tax.engine_silent",
        "whether the tax engine answers, where a contract leaves its tax to it",
        "run this again when the tax engine answers, or let the rules decide",
        _NO_TAX,
    ),
    _hold(
        "tax.engine_answer",
        "whether the tax engine's answer can be right",
        "have the engine's answer mended (docs/tax-engine.md)",
        _NO_TAX,
    ),
    _hold(
        "tax.engine_held",
        "whether the tax engine lets the customer be billed",
        "put right what the tax engine says",
        _NO_TAX,
    ),
)

_DRAFT = _in(
    Room.DRAFT,
    _hold(
        "draft.unreadable",
        "whether the rows that decide the bill can be read",
        "correct the row that the finding names",
        "what there is to bill is not known",
    ),
    _hold(
        "draft.failed",
        "whether the bill can be computed from what is stored",
        "look for figures that cannot be meant; else report the sentence",
        "there is no bill",
    ),
    _hold(
        "history.no_start",
        "whether a subscription's history begins with a purchase",
        "run sync; if it stays, compare the subscription's change history with Partner Center",
        _NO_HISTORY,
    ),
    _hold(
        "history.incomplete",
        "whether product, term and cycle of each term are known",
        "run sync; if it stays, compare the subscription's change history with Partner Center",
        _NO_HISTORY,
    ),
    _hold(
        "history.after_end",
        "whether something happened to a subscription after its end",
        "run sync; if it stays, compare the subscription's change history with Partner Center",
    ),
    _hold(
        "history.second_purchase",
        "whether a subscription was bought twice",
        "run sync; if it stays, compare the subscription's change history with Partner Center",
    ),
    _warn(
        "history.mismatch",
        "whether the known changes lead to the seats that Partner Center shows",
        "look for the missing change; the next invoice of Microsoft tells it",
    ),
    _hold(
        "history.half_conversion",
        "whether both sides of an upgrade stand on the invoice",
        "run sync again; if it stays, ask Microsoft",
    ),
    _warn(
        "window.closed",
        "whether seats were given back after the days in which Microsoft allows it",
        "have the change made at the renewal",
    ),
    _hold(
        "price.missing",
        "whether a price or a markup rule covers the product",
        "add a price for the product, or a markup rule",
        _NO_PRICE,
    ),
    _hold(
        "price.tie",
        "whether two prices or rules apply equally",
        "end one of them, or make one more specific",
        _NO_PRICE,
    ),
    _hold(
        "price.no_basis",
        "whether a rule has what it needs to make a price",
        "add a price for the product, or a rule that fits",
        _NO_PRICE,
    ),
    _hold(
        "price.rule",
        "whether a price or rule can be meant as it was entered",
        "correct the row in the table Agreed prices or Markup rules",
        _NO_PRICE,
    ),
    _hold(
        "price.ratio",
        "whether a price lies far from its cost, as a yearly one taken for a monthly does",
        "check whether price and cost are for the same time, and correct the price",
        _NO_PRICE,
    ),
    _warn(
        "price.ahead",
        "whether the price of a term that is billed ahead is known",
        "agree a price to bill it ahead; else the next due bill asks for it",
    ),
    _hold(
        "usage.missing",
        "whether the daily usage explains a metered line",
        "run sync again: Microsoft may deliver usage up to a day late",
        _NO_PARTS,
    ),
    _hold(
        "usage.not_grouped",
        "whether usage was read as finely as the contract groups it",
        "run sync, then bill again",
        _NO_PARTS,
    ),
    _hold(
        "usage.grouping",
        "whether the contract's grouping of usage can be meant",
        "name the tag on the billing contract, or choose another grouping",
        _NO_PARTS,
    ),
    _hold(
        "usage.earned_credit",
        "whether the partner earned credit that the partner keeps is known",
        "run sync again; if it stays, choose on the contract that the credit is passed on",
        "what the usage costs without the credit is not known",
    ),
    _hold(
        "subscription.unknown",
        "whether Partner Center lists each subscription that Microsoft bills",
        "run sync again; if it stays, ask Microsoft which customer owns the subscription",
    ),
    _warn(
        "subscription.overlap",
        "whether an older subscription runs beside the one that replaces it",
        "cancel one of them, unless both are meant",
    ),
    _hold(
        "bounds.same_key",
        "whether one charge is proposed twice",
        "compare the subscription's history with Partner Center",
        "a charge that is there twice cannot be put on an invoice",
    ),
    _hold(
        "bounds.overlap",
        "whether a cycle is billed that another covers already",
        "compare the subscription's history with Partner Center",
    ),
    _hold(
        "bounds.too_many",
        "whether unusually many charges start on one day",
        "compare the subscription's history with Partner Center",
    ),
    _hold(
        "seats.no_cost",
        "whether Microsoft bills the seats that are about to be billed",
        "compare the subscription's changes with Microsoft's invoice; then run sync",
    ),
    _hold(
        "seats.difference",
        "whether Microsoft bills as many seats as are about to be billed",
        "compare the subscription's changes with Microsoft's invoice; then run sync",
    ),
    _warn(
        "cost.unknown",
        "whether a line of Microsoft tells the price of a term",
        "nothing; Microsoft's next invoice tells it",
    ),
    _warn(
        "cost.price",
        "whether Microsoft bills the price that was locked for the term",
        "ask Microsoft for the difference",
    ),
    _warn(
        "cost.promotion",
        "whether a promotion is still given",
        "check whether it still applies; ask Microsoft if it should",
    ),
    _warn(
        "cost.proration",
        "whether Microsoft bills a part of a cycle by its days",
        "compare the days of the line with the charge cycle; ask Microsoft",
    ),
    _warn(
        "cost.rounding",
        "whether Microsoft's rounding explains a cent",
        "nothing; Microsoft rounds the unit before it multiplies",
    ),
)

_CAUSES = {
    Cause.PRICE: "another price than was agreed",
    Cause.QUANTITY: "other seats or quantities than were due",
    Cause.DATES: "other days than were due",
    Cause.PRORATION: "another part of a cycle than was due",
    Cause.PROMOTION: "a promotion that one side gives and the other does not",
    Cause.CURRENCY: "another currency than was agreed",
    Cause.TAX: "another tax than was due",
    Cause.ROUNDING: "cents that rounding does not explain",
    Cause.MISSING_SUBSCRIPTION: "a subscription that one side does not know",
    Cause.MISSING_INVOICE_LINE: "a line that one side lacks",
    Cause.DUPLICATE: "a line that was asked for twice",
    Cause.CREDIT_NOT_PASSED_ON: "a credit of Microsoft that the customer did not get",
    Cause.MICROSOFT_ADJUSTMENT: "an adjustment of Microsoft",
    Cause.TIMING: "a line that belongs to another month",
}
_RECONCILE = _in(
    Room.RECONCILE,
    _warn(
        "reconcile.not_billed",
        "whether a customer's line answers each line of Microsoft",
        "bill the customer if the charge is right, else claim it back from Microsoft",
    ),
    _warn(
        "reconcile.ambiguous",
        "whether it is clear to which subscription a line belongs",
        "give the subscription id on the customer's lines",
    ),
    *(
        _warn(
            f"reconcile.{cause}",
            f"whether the documents show {shown}",
            "do what the finding says: claim, bill, credit or correct",
        )
        for cause, shown in _CAUSES.items()
    ),
)

_COMPARE = "compare with Partner Center; if it shows the same there, report it to Microsoft"
_READING = _in(
    Room.READING,
    _hold(
        "customer.unreachable",
        "whether Partner Center still shows the customer",
        "check in Partner Center whether the reseller relationship still exists",
    ),
    _warn(
        "access.denied",
        "whether Partner Center lets us read a customer's data; see access.stale",
        "restore the access to the customer in Partner Center",
    ),
    _hold("wire.customer", "whether a customer can be read", _COMPARE),
    _hold("wire.qualification", "whether a customer's qualification can be read", _COMPARE),
    _hold("wire.agreement", "whether a customer's agreement can be read", _COMPARE),
    _hold("wire.subscription", "whether a subscription can be read", _COMPARE),
    _hold("wire.relationship", "whether a delegated admin relationship can be read", _COMPARE),
    _hold("wire.audit_record", "whether a change of a subscription can be read", _COMPARE),
    _block(
        "import.incomplete",
        "whether an invoice was imported to the cent, with its usage",
        "run sync again",
    ),
    _block(
        "wire.invoice",
        "whether the head of an invoice can be read",
        "compare with Partner Center, and report it to Microsoft",
    ),
)

_INVOICE = _in(
    Room.INVOICE,
    _hold("wire.cost_line", "whether a line of an invoice can be read", _COMPARE),
    _hold("wire.line", "whether a line of a downloaded file can be read", _COMPARE),
    _hold(
        "wire.usage",
        "whether lines of usage and their tags can be read",
        "run sync again; if it stays, report the line to Microsoft",
    ),
    _warn(
        "usage.no_line",
        "whether daily usage stands on a line of its invoice",
        "nothing; a later invoice of Microsoft brings it",
    ),
)

_NUMBERS = _in(
    Room.NUMBERS,
    _warn(
        "tax.number_name",
        "whether the register's name for a tax number is like the account's",
        "make sure that the number is the customer's",
    ),
    _warn(
        "tax.number_refused",
        "whether a register takes our inquiry about a tax number",
        "do what the finding says: the register does not answer before that",
    ),
)

_EVENT = _in(
    Room.EVENT,
    _warn(
        "azure.fraud_event",
        "whether Microsoft suspects fraud in an Azure subscription",
        "look at the security alerts in Partner Center now: its usage is billed to you",
    ),
)

_UNBILLED = _in(
    Room.UNBILLED,
    _warn(
        "wire.unbilled_usage",
        "whether a line of usage that is not billed yet can be read",
        "nothing is billed by it; report it to Microsoft if it stays",
    ),
    _warn(
        "usage.feed",
        "whether Microsoft still tells the daily usage",
        "look at Azure usage in Partner Center; if it is there, report it to Microsoft",
    ),
    _warn(
        "budget.unreadable",
        "whether a usage budget can be meant as it was entered",
        "correct the row in the table Usage budgets",
    ),
)

_DOCUMENT = _in(
    Room.DOCUMENT,
    _warn(
        "document.file",
        "whether a document has its page as a file",
        "let the environment take the file, or attach it by hand; then approve the month again",
    ),
    _warn(
        "projection.unavailable",
        "whether Dynamics 365 Sales takes documents",
        "install Dynamics 365 Sales, give the worker its role, or switch CSP_PROJECTION off",
    ),
    _warn(
        "projection.no_price_list",
        "whether Sales has a price list in the currency",
        "add a price list with the currency in Sales; it may be empty",
    ),
    _warn(
        "projection.no_account",
        "whether a document that is copied to Sales names an account",
        "set the account on the document's row",
    ),
    _warn(
        "projection.refused",
        "whether Sales takes a document",
        "mend what the sentence names; the next run tries again",
    ),
    _warn(
        "projection.total",
        "whether the copy in Sales comes to the same total",
        "correct the standard invoice; the next run looks again",
    ),
)

_STORE = _in(
    Room.STORE,
    _hold(
        "store.refused",
        "whether Dataverse takes a row",
        "correct the source or the table; the next run writes the row again",
    ),
)

_ANSWER = _in(
    Room.ANSWER,
    _block(
        "usage.not_reconcilable",
        "whether exported usage comes to the totals of its manifest",
        "export the usage again",
    ),
    _warn(
        "renewal.no_cycle",
        "whether it is known how often a subscription is billed",
        "run sync, which reads the subscription again",
    ),
    _hold(
        "sheet.missing",
        "whether the price sheets have the product",
        "read the sheets of this market and month again",
        _NO_PRICE,
    ),
    _hold(
        "sheet.tie",
        "whether the price sheets have the product once",
        "read the sheets of this market and month again",
        _NO_PRICE,
    ),
    _warn("wire.price", "whether a row of a price sheet can be read", _COMPARE),
    _warn(
        "wire.price_tiers",
        "whether a price sheet has prices for larger quantities",
        "nothing; quantities above the first tier are priced too high by the sheet",
    ),
    _block(
        "provision.missing",
        "whether a table that is written to is there",
        "install Dynamics 365 Sales, or switch CSP_PROJECTION off",
        "there is nothing to write to",
    ),
    _block(
        "provision.conflict",
        "whether what is there is as declared",
        "correct it in the maker portal: nothing is changed or removed by itself",
        "rows may not fit",
    ),
)

CHECKS: Mapping[str, Check] = {
    check.name: check
    for check in (
        *_GATE,
        *_ADDRESS,
        *_TAX,
        *_DRAFT,
        *_RECONCILE,
        *_READING,
        *_INVOICE,
        *_NUMBERS,
        *_EVENT,
        *_UNBILLED,
        *_DOCUMENT,
        *_STORE,
        *_ANSWER,
    )
}


def of_rooms(*rooms: Room) -> tuple[str, ...]:
    """Return the names of the checks of some rooms."""
    return tuple(name for name, check in CHECKS.items() if check.room in rooms)


def nearest(name: str) -> list[str]:
    """Return the names that a mistyped one may mean, the nearest first."""
    close = get_close_matches(name, CHECKS, n=3, cutoff=0.6)
    tail = [known for known in CHECKS if known.rpartition(".")[2] == name.rpartition(".")[2]]
    return list(dict.fromkeys([*close, *tail]))[:3]


Policy = Mapping[str, Severity]
"""Severity by check name, where it differs from the check's own."""


def judged(
    findings: Iterable[Finding], policy: Policy, known: Iterable[Finding] = ()
) -> tuple[Finding, ...]:
    """Return each finding once, with the severity of the partner's policy, released as it was.

    Of the `known` ones those count that say the same.
    """
    before = {finding.key: finding for finding in known}
    unique = {finding.key: finding for finding in findings}
    return tuple(
        _as_released(replace(f, severity=policy.get(f.check, f.severity)), before.get(key))
        for key, f in unique.items()
    )


def _as_released(finding: Finding, known: Finding | None) -> Finding:
    if known is None or not known.is_released or known.sentence != finding.sentence:
        return finding
    released = finding.with_release_of(known)
    return released if released.is_released and not why_final(finding) else finding


def in_force(finding: Finding, policy: Policy, day: date) -> Finding:
    """Return a stored finding as it counts on a day, by the policy of today.

    A release has an end, and no policy or person releases what there is nothing to bill with for.
    """
    known = replace(finding, severity=policy.get(finding.check, finding.severity)).on(day)
    final = why_final(known)
    return known.with_ended_release(known, day, final) if final else known


def why_final(finding: Finding) -> str:
    """Say why nobody can release a finding; empty: a person may."""
    if finding.severity is Severity.WARN:
        return "it is a warning and holds nobody"
    check = CHECKS.get(finding.check)
    if check is None:
        return f"this version knows no check {finding.check}"
    if finding.severity is Severity.BLOCK:
        return check.final or "the partner's policy blocks it"
    return check.final
