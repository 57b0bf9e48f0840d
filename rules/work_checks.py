"""The checks of the work itself: drafts, reconciliation, reading, numbers, events, documents, rows."""

from __future__ import annotations

from domain.reconciliation import Cause
from rules.check import Room, block, hold, of_room, warn

_NO_PRICE = "without a price there is nothing to ask for"
_NO_HISTORY = "without it the seats and their days are not known"
_CHANGES = "run sync; if it stays, compare with Partner Center; an administrator then"
_UNDO = f"{_CHANGES} sets the wrong one to suspend under Changes, which changes nothing"
_NO_PARTS = "the usage cannot be split into lines without it"

DRAFT = of_room(
    Room.DRAFT,
    hold(
        "draft.unreadable",
        "whether the rows that decide the bill can be read",
        "correct the row that the finding names",
        "what there is to bill is not known",
    ),
    hold(
        "draft.failed",
        "whether the bill can be computed from what is stored",
        "look for figures that cannot be meant; else report the sentence",
        "there is no bill",
    ),
    warn(
        "contract.bill_day",
        "whether every month has the day from which a contract is billed",
        "set Bill from this day to 1 to 28 on the billing contract, or empty it",
    ),
    hold(
        "history.no_start",
        "whether a subscription's history begins with a purchase",
        f"{_CHANGES} enters the purchase under Changes: day, product, term, cycle and seats",
        _NO_HISTORY,
    ),
    hold(
        "history.incomplete",
        "whether product, term and cycle of each term are known",
        f"{_CHANGES} completes the row of that day under Changes: term, cycle, seats and end",
        _NO_HISTORY,
    ),
    hold(
        "history.after_end",
        "whether something happened to a subscription after its end",
        _UNDO,
        "what comes after the end is not proposed",
    ),
    hold(
        "history.second_purchase",
        "whether a subscription was bought twice",
        f"{_UNDO}; or release it: the first one is billed",
    ),
    warn(
        "history.mismatch",
        "whether the known changes lead to the seats that Partner Center shows",
        "look for the missing change; the next invoice of Microsoft tells it",
    ),
    hold(
        "history.half_conversion",
        "whether both sides of an upgrade stand on the invoice",
        "run sync again; if it stays, ask Microsoft, or release it: what is on the invoice is billed",
    ),
    warn(
        "window.closed",
        "whether seats were given back after the days in which Microsoft allows it",
        "have the change made at the renewal",
    ),
    hold(
        "price.missing",
        "whether a price or a markup rule covers the product",
        "add a price for the product, or a markup rule",
        _NO_PRICE,
    ),
    hold(
        "price.tie",
        "whether two prices or rules apply equally",
        "end one of them, or make one more specific",
        _NO_PRICE,
    ),
    hold(
        "price.no_basis",
        "whether a rule has what it needs to make a price",
        "add a price for the product, or a rule that fits",
        _NO_PRICE,
    ),
    hold(
        "price.rule",
        "whether a price or rule can be meant as it was entered",
        "correct the row in the table Agreed prices or Markup rules",
        _NO_PRICE,
    ),
    hold(
        "price.ratio",
        "whether a price lies far from its cost, as a yearly one taken for a monthly does",
        "correct the price where it and the cost are not for the same time; else release it",
    ),
    warn(
        "price.ahead",
        "whether the price of a term that is billed ahead is known",
        "agree a price to bill it ahead; else the next due bill asks for it",
    ),
    hold(
        "usage.missing",
        "whether the daily usage explains a metered line",
        "run sync again: Microsoft may deliver usage up to a day late",
        _NO_PARTS,
    ),
    hold(
        "usage.not_grouped",
        "whether usage was read as finely as the contract groups it",
        "run sync, then bill again",
        _NO_PARTS,
    ),
    hold(
        "usage.grouping",
        "whether the contract's grouping of usage can be meant",
        "name the tag on the billing contract, or choose another grouping",
        _NO_PARTS,
    ),
    hold(
        "usage.earned_credit",
        "whether the partner earned credit that the partner keeps is known",
        "run sync again; if it stays, choose on the contract that the credit is passed on",
        "what the usage costs without the credit is not known",
    ),
    hold(
        "subscription.unknown",
        "whether Partner Center lists each subscription that Microsoft bills",
        "run sync again; if it stays, ask Microsoft which customer owns the subscription",
        "of a subscription that is not known nothing is proposed",
    ),
    warn(
        "subscription.overlap",
        "whether an older subscription runs beside the one that replaces it",
        "cancel one of them, unless both are meant",
    ),
    hold(
        "bounds.same_key",
        "whether one charge is proposed twice",
        "compare the subscription's history with Partner Center",
        "a charge that is there twice cannot be put on an invoice",
    ),
    hold(
        "bounds.overlap",
        "whether a cycle is billed that another covers already",
        "compare the subscription's history with Partner Center",
    ),
    hold(
        "bounds.too_many",
        "whether unusually many charges start on one day",
        "compare the subscription's history with Partner Center",
    ),
    hold(
        "correction.other_seller",
        "whether what is corrected was sold by the company that sells now",
        "give each selling company a billing contract of its own",
        "no company corrects what another one billed",
    ),
    hold(
        "correction.other_decider",
        "whether the tax of what is corrected was decided by who decides it now",
        "let the other decide this bill, too; or enter another billing contract",
        "only who decided the tax knows what to give back",
    ),
    hold(
        "seats.no_cost",
        "whether Microsoft bills the seats that are about to be billed",
        "compare the subscription's changes with Microsoft's invoice; then run sync",
    ),
    hold(
        "seats.difference",
        "whether Microsoft bills as many seats as are about to be billed",
        "compare the subscription's changes with Microsoft's invoice; then run sync",
    ),
    warn(
        "cost.unknown",
        "whether a line of Microsoft tells the price of a term",
        "nothing; Microsoft's next invoice tells it",
    ),
    warn(
        "cost.price",
        "whether Microsoft bills the price that was locked for the term",
        "ask Microsoft for the difference",
    ),
    warn(
        "cost.promotion",
        "whether a promotion is still given",
        "check whether it still applies; ask Microsoft if it should",
    ),
    warn(
        "cost.proration",
        "whether Microsoft bills a part of a cycle by its days",
        "compare the days of the line with the charge cycle; ask Microsoft",
    ),
    warn(
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
RECONCILE = of_room(
    Room.RECONCILE,
    warn(
        "reconcile.not_billed",
        "whether a customer's line answers each line of Microsoft",
        "bill the customer if the charge is right, else claim it back from Microsoft",
    ),
    warn(
        "reconcile.ambiguous",
        "whether it is clear to which subscription a line belongs",
        "give the subscription id on the customer's lines",
    ),
    *(
        warn(
            f"reconcile.{cause}",
            f"whether the documents show {shown}",
            "do what the finding says: claim, bill, credit or correct",
        )
        for cause, shown in _CAUSES.items()
    ),
)

_COMPARE = "compare with Partner Center; if it shows the same there, report it to Microsoft"
READING = of_room(
    Room.READING,
    hold(
        "customer.unreachable",
        "whether Partner Center still shows the customer",
        "check in Partner Center whether the reseller relationship still exists",
    ),
    hold(
        "customer.unreadable",
        "whether the rows can be read that decide a customer's bill",
        "correct the row that is named",
    ),
    warn(
        "access.denied",
        "whether Partner Center lets us read a customer's data; see access.stale",
        "restore the access to the customer in Partner Center",
    ),
    hold(
        "agreement.unknown",
        "whether Microsoft tells which agreements the customer accepted",
        "look the agreement up in Partner Center; where its cloud tells none, let it warn",
    ),
    hold("wire.customer", "whether a customer can be read", _COMPARE),
    hold("wire.qualification", "whether a customer's qualification can be read", _COMPARE),
    hold("wire.agreement", "whether a customer's agreement can be read", _COMPARE),
    hold("wire.subscription", "whether a subscription can be read", _COMPARE),
    hold("wire.relationship", "whether a delegated admin relationship can be read", _COMPARE),
    hold("wire.audit_record", "whether a change of a subscription can be read", _COMPARE),
    block(
        "import.incomplete",
        "whether an invoice was imported to the cent, with its usage",
        "run sync again",
    ),
    block(
        "wire.invoice",
        "whether the head of an invoice can be read",
        "compare with Partner Center, and report it to Microsoft",
    ),
)

INVOICE = of_room(
    Room.INVOICE,
    hold("wire.cost_line", "whether a line of an invoice can be read", _COMPARE),
    hold("wire.line", "whether a line of a downloaded file can be read", _COMPARE),
    hold(
        "wire.usage",
        "whether lines of usage and their tags can be read",
        "run sync again; if it stays, report the line to Microsoft",
    ),
    warn(
        "usage.no_line",
        "whether daily usage stands on a line of its invoice",
        "nothing; a later invoice of Microsoft brings it",
    ),
)

NUMBERS = of_room(
    Room.NUMBERS,
    warn(
        "tax.number_name",
        "whether the register's name for a tax number is like the account's",
        "make sure that the number is the customer's",
    ),
    warn(
        "tax.number_refused",
        "whether a register takes our inquiry about a tax number",
        "do what the finding says: the register does not answer before that",
    ),
)

EVENT = of_room(
    Room.EVENT,
    warn(
        "azure.fraud_event",
        "whether Microsoft suspects fraud in an Azure subscription",
        "look at the security alerts in Partner Center now: its usage is billed to you",
    ),
)

UNBILLED = of_room(
    Room.UNBILLED,
    warn(
        "wire.unbilled_usage",
        "whether a line of usage that is not billed yet can be read",
        "nothing is billed by it; report it to Microsoft if it stays",
    ),
    warn(
        "usage.feed",
        "whether Microsoft still tells the daily usage",
        "look at Azure usage in Partner Center; if it is there, report it to Microsoft",
    ),
    warn(
        "budget.unreadable",
        "whether a usage budget can be meant as it was entered",
        "correct the row in the table Usage budgets",
    ),
)

AHEAD = of_room(
    Room.AHEAD,
    warn(
        "price.changed",
        "whether Microsoft changed the price of what is sold",
        "look whether agreed prices and markup rules still hold before the next renewal",
    ),
    warn(
        "renewal.ahead",
        "whether a term ends soon and somebody should decide",
        "agree with the customer what to renew; change it in Partner Center before the day",
    ),
)

DOCUMENT = of_room(
    Room.DOCUMENT,
    warn(
        "document.file",
        "whether a document has its PDF as a file",
        "let the environment take the file, or attach it by hand; then approve the month again",
    ),
    warn(
        "handoff.not_connected",
        "whether the accounting system that a contract names is connected",
        "enter its documents there by hand, or name a connected system on the billing contract",
    ),
    warn(
        "feedback.cancelled",
        "whether accounting cancelled a document that the customer still has",
        "credit it if nothing is owed; else reactivate it there",
    ),
    warn(
        "feedback.changed",
        "whether a document still comes to the same in accounting",
        "set it right there",
    ),
    warn(
        "feedback.partly_paid",
        "whether accounting closed a document with a rest open",
        "ask for the rest or credit it, then close it there as paid in full",
    ),
    warn(
        "feedback.missing",
        "whether a document that was handed off is still in accounting",
        "restore it there, or empty Standard invoice on its row: the next run writes it again",
    ),
    warn(
        "projection.unavailable",
        "whether Dynamics 365 Sales takes documents",
        "install Dynamics 365 Sales, give the worker its role, or switch CSP_PROJECTION off",
    ),
    warn(
        "projection.no_price_list",
        "whether Sales has a price list in the currency",
        "add a price list with the currency in Sales; it may be empty",
    ),
    warn(
        "projection.no_account",
        "whether a document that is copied to Sales names an account",
        "set the account on the document's row",
    ),
    warn(
        "projection.refused",
        "whether Sales takes a document",
        "mend what the sentence names; the next run tries again",
    ),
    warn(
        "projection.total",
        "whether the copy in Sales comes to the same total",
        "correct the standard invoice; the next run looks again",
    ),
)

STORE = of_room(
    Room.STORE,
    hold(
        "store.refused",
        "whether Dataverse takes a row",
        "correct the source or the table; the next run writes the row again",
    ),
    hold(
        "finding.unreadable",
        "whether the row of a finding can be read",
        "correct the row under All findings, or delete it: what is still there is found again",
        "what it says is not known",
    ),
)

ANSWER = of_room(
    Room.ANSWER,
    block(
        "usage.not_reconcilable",
        "whether exported usage comes to the totals of its manifest",
        "export the usage again",
    ),
    warn(
        "renewal.no_cycle",
        "whether it is known how often a subscription is billed",
        "run sync, which reads the subscription again",
    ),
    hold(
        "sheet.missing",
        "whether the price sheets have the product",
        "read the sheets of this market and month again",
        _NO_PRICE,
    ),
    hold(
        "sheet.tie",
        "whether the price sheets have the product once",
        "read the sheets of this market and month again",
        _NO_PRICE,
    ),
    warn("wire.price", "whether a row of a price sheet can be read", _COMPARE),
    warn(
        "wire.price_tiers",
        "whether a price sheet has prices for larger quantities",
        "nothing; quantities above the first tier are priced too high by the sheet",
    ),
    block(
        "provision.missing",
        "whether a table that is written to is there",
        "install Dynamics 365 Sales, or switch CSP_PROJECTION off",
        "there is nothing to write to",
    ),
    block(
        "provision.conflict",
        "whether what is there is as declared",
        "correct it in the maker portal: nothing is changed or removed by itself",
        "rows may not fit",
    ),
)
