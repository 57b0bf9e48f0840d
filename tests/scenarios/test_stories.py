"""Stories of partner months: Microsoft's own records in, the invoices with their reasons out.

A folder is a story: `story.md` says it in two sentences, `source/` holds what was read, and
`expected.txt` what the customer gets, month by month. `source/microsoft-YYYY-MM.json` are the lines
of Microsoft's invoice of that month, with Microsoft's names and inclusive ends; `terms.json` (and
`terms-YYYY-MM.json`, from that month on) is what was agreed with the customer.

To change what is expected, look at the difference and then run with UPDATE_EXPECTED=1.
"""

import json
import os
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from domain.contract import (
    EarnedCredit,
    MarkupMethod,
    TaxTreatment,
    Untagged,
    UsageGroup,
    UsageGrouping,
)
from domain.customer import Address
from domain.period import BillingCycle, Period, TermDuration
from domain.problems import Finding
from domain.subscription import CostLine, EventSource, EventType
from domain.tax import Seller, TaxRegistration
from invoice.document import DocumentKind, Invoice
from invoice.file import CustomerFile
from invoice.render import to_text
from partner_center.billing import cost_lines_of
from partner_center.subscriptions import SubscriptionWire
from rules.reconcile import reconcile
from sync.bill import compared
from sync.drafts import draft
from tests.builders import (
    ALWAYS,
    CUSTOMER,
    a_contract,
    a_customer,
    a_price,
    a_relationship,
    a_rule,
    a_share,
    a_tax_profile,
    an_account,
    an_agreement,
    an_event,
    day,
    issued,
)
from usage.load import with_shares

HERE = Path(__file__).parent
STORIES = sorted(path.parent for path in HERE.glob("*/story.md"))


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)


def optional(path: Path):
    return read(path) if path.exists() else []


def valid(term) -> Period:
    first, end = term.get("from"), term.get("to")
    return Period(day(first) if first else ALWAYS.start, day(end) if end else ALWAYS.end)


def price_of(n, term):
    return a_price(
        term["unit_price"],
        key=f"price/{n}",
        sku=term["sku"],
        term=TermDuration(term["term"]),
        billing_cycle=BillingCycle(term["billing_cycle"]),
        currency=term["currency"],
        valid=valid(term),
    )


def rule_of(n, term):
    return a_rule(
        term["value"],
        key=f"rule/{n}",
        method=MarkupMethod(term.get("method", "percent")),
        kind=term.get("kind", ""),
        sku=term.get("sku", ""),
        meter_category=term.get("meter_category", ""),
        valid=valid(term),
    )


ADDRESSES = {
    "DE": Address(country="DE", city="München", postal_code="80331", line1="Musterweg 12"),
    "FR": Address(country="FR", city="Paris", postal_code="75001", line1="12 rue de Rivoli"),
}
SELLER = Seller(
    key="seller/contoso",
    name="Contoso Distribution GmbH",
    address=Address(country="DE", city="Hamburg", postal_code="20095", line1="Hafenstraße 1"),
    registration_number="HRB 123456",
)
REGISTERED = TaxRegistration(
    key="registration/de", seller_key=SELLER.key, country="DE", number="DE136695976", valid=ALWAYS
)


def contract_of(terms):
    usage = terms.get("usage", {})
    return a_contract(
        starts=day(terms["contract_starts"]),
        grouping=UsageGrouping(
            by=UsageGroup(usage.get("by", "service")),
            tag=usage.get("tag", ""),
            untagged=Untagged(usage.get("untagged", "group")),
            untagged_name=usage.get("untagged_name", ""),
        ),
        earned_credit=EarnedCredit(terms.get("earned_credit", "passed_on")),
    )


def event_of(told):
    return an_event(
        told["date"],
        EventType(told["type"]),
        subscription_id=told["subscription"],
        quantity=told.get("quantity"),
        sequence=told.get("sequence", 0),
        source=EventSource.AUDIT,
    )


def lines_of(source: Path, month: str) -> list[CostLine]:
    rows = [
        {"customerId": CUSTOMER, "customerName": "Fabrikam Toys", "currency": "USD", **row}
        for row in read(source / f"microsoft-{month}.json")
    ]
    found = list(cost_lines_of(rows, f"I-{month}"))
    assert not [line for line in found if isinstance(line, Finding)]
    shares = defaultdict(tuple)
    for used in optional(source / f"usage-{month}.json"):
        place = (CUSTOMER, used["subscription"], used["product"], used["sku"], "USD")
        shares[place] += (
            a_share(
                used["cost"],
                entitlement_id=used["azure_subscription"],
                entitlement_name=used["name"],
                meter_category=used["category"],
                lines=used["lines"],
                quantity=Decimal(used.get("quantity", "1")),
                resource_group=used.get("resource_group"),
                tags=used.get("tags", {}),
                benefit=used.get("benefit", ""),
            ),
        )
    return with_shares(found, shares)


def tell(story: Path) -> str:
    source = story / "source"
    months = sorted(path.stem.removeprefix("microsoft-") for path in source.glob("microsoft-*"))
    documents: list[Invoice] = []
    lines: list[CostLine] = []
    numbers: dict[DocumentKind, int] = defaultdict(int)
    out = []
    for month in months:
        period = Period.month(month)
        today = period.end + timedelta(days=7)
        own = lines_of(source, month)
        lines += own
        file = the_file(source, month, lines, documents)
        found = draft(file, period, today, {})
        out.append(f"==== {period.start:%B %Y} ".ljust(98, "="))
        if found.document is None:
            out.append("No document.")
        else:
            document = found.document
            numbers[document.kind] += 1
            prefix = "INV" if document.kind is DocumentKind.INVOICE else "CN"
            document = issued(document, f"{prefix}-{numbers[document.kind]}")
            documents.append(document)
            out.append(to_text(document).rstrip())
        out.extend(f"{f.severity}: {f.check}: {f.sentence}" for f in found.findings)
        out.append("")
        out.extend(where_it_went(file, period, own, documents, held=found.held))
        out.append("")
    return "\n".join(line.rstrip() for line in out)


def the_file(source: Path, month: str, lines, documents) -> CustomerFile:
    versions = [source / "terms.json", *sorted(source.glob("terms-*.json"))]
    known = [path for path in versions if path.stem.removeprefix("terms").lstrip("-") <= month]
    terms = read(known[-1])
    tax = terms["tax"]
    treatment = TaxTreatment(tax["treatment"])
    country = tax["evidence"][:2] if treatment is TaxTreatment.REVERSE_CHARGE else "DE"
    snapshots = [source / "subscriptions.json", *sorted(source.glob("subscriptions-*.json"))]
    seen = [p for p in snapshots if p.stem.removeprefix("subscriptions").lstrip("-") <= month]
    return CustomerFile(
        customer=a_customer(),
        agreements=(an_agreement(),),
        relationships=(a_relationship(),),
        subscriptions=tuple(
            SubscriptionWire.model_validate(snapshot).to_domain(CUSTOMER)
            for snapshot in optional(seen[-1])
        ),
        events=tuple(event_of(told) for told in optional(source / "events.json")),
        cost_lines=tuple(lines),
        contract=contract_of(terms),
        account=an_account(address=ADDRESSES[country]),
        seller=SELLER,
        registrations=(REGISTERED,),
        tax_profile=a_tax_profile(
            country=country,
            treatment=treatment,
            rate_percent=Decimal(tax.get("percent", "0")),
            evidence=tax.get("evidence", ""),
            valid_until=date.fromisoformat(tax["valid_until"]) if "valid_until" in tax else None,
            wording=tax.get("wording", ""),
        ),
        price_list=tuple(price_of(n, t) for n, t in enumerate(terms.get("prices", []), 1)),
        rules=tuple(rule_of(n, t) for n, t in enumerate(terms.get("markups", []), 1)),
        documents=tuple(documents),
    )


def where_it_went(file, period, own, documents, *, held):
    contracts, on_hold = {CUSTOMER: file.contract}, {CUSTOMER} if held else set()
    result = reconcile(
        lines=own,
        charges=[line.charge for document in documents for line in document.lines],
        contracts=contracts,
        held=on_hold,
        sold={},
    )
    for totals in result.totals:
        assert totals.microsoft == sum(line.subtotal for line in own)
        yield (
            f"Microsoft billed {totals.microsoft} {totals.currency}: passed on {totals.billed}, "
            f"credited {totals.credited}, held {totals.held}, excluded {totals.excluded}, "
            f"not explained {totals.residual}"
        )
    for finding in [*result.findings, *compared(own, documents, contracts, on_hold, period)]:
        yield f"{finding.severity}: {finding.check}: {finding.sentence}"


def test_there_are_stories():
    assert len(STORIES) >= 6
    assert {path.name for path in HERE.iterdir() if (path / "source").is_dir()} == {
        story.name for story in STORIES
    }


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_story(story):
    expected = story / "expected.txt"
    told = tell(story)
    if os.environ.get("UPDATE_EXPECTED") == "1":
        expected.write_text(told, encoding="utf-8")
    assert told == expected.read_text(encoding="utf-8")
