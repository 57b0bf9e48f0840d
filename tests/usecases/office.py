"""A partner small enough to reckon by hand: two customers, one with seats, one with Azure usage.

Microsoft billed October 2026 on invoice I1: Fabrikam's 10 seats at 10.00 for the cycle from
14 October (100.00), Northwind's Azure plan (50.00, two Azure subscriptions). Rules: 20 % on
licences, 10 % on usage. Fabrikam pays 19 % tax: 120.00 + 22.80; Northwind 55.00 + 10.45.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from domain.period import Period
from domain.problems import Finding, Severity
from domain.subscription import CostInvoice, CostKind, SubscriptionKind
from sync import runs
from sync.ledger import Later
from sync.messages import StartRun
from tests.builders import (
    CUSTOMER,
    a_contract,
    a_customer,
    a_line,
    a_pass_on,
    a_relationship,
    a_rule,
    a_subscription,
    a_tax_profile,
    an_agreement,
    day,
)
from tests.fakes import Office

NORTHWIND = "c2"
OCTOBER = Period.month("2026-10")
SYNC = StartRun(kind="sync", day=day("2026-11-09"))
BILL = StartRun(kind="bill", period="2026-10")
APPROVE = StartRun(kind="approve", period="2026-10")


def an_invoice_head(total: str = "150.00", **fields: object) -> CostInvoice:
    return CostInvoice(
        **{
            "id": "I1",
            "currency": "USD",
            "total": Decimal(total),
            "issued_on": day("2026-11-08"),
            "billed": OCTOBER,
            **fields,
        }
    )


def usage_row(subscription: str, cost: str, **fields: str) -> dict[str, str]:
    return {
        "CustomerId": NORTHWIND,
        "SubscriptionId": "plan-1",
        "ProductId": "DZH318Z0BPS6",
        "SkuId": "0001",
        "EntitlementId": subscription,
        "EntitlementDescription": f"Azure {subscription}",
        "MeterCategory": "Storage",
        "UsageDate": "2026-10-05T00:00:00",
        "BillingCurrency": "USD",
        "Quantity": "1",
        "BillingPreTaxTotal": cost,
        **fields,
    }


def microsoft(office: Office) -> None:
    """Fill Microsoft's side."""
    northwind = a_customer(id=NORTHWIND, name="Northwind Traders", domain="northwind.example")
    center = office.partner_center
    center.people = [a_customer(), northwind]
    center.signed = [an_agreement(), an_agreement(customer_id=NORTHWIND)]
    center.running = [
        a_subscription(),
        a_subscription(
            id="plan-1",
            customer_id=NORTHWIND,
            product_id="DZH318Z0BPS6",
            name="Azure plan",
            kind=SubscriptionKind.USAGE,
            quantity=1,
            term=None,
            billing_cycle=None,
        ),
    ]
    center.heads = [an_invoice_head()]
    center.lines = [
        a_line("new"),
        a_pass_on(CostKind.USAGE, "50.00", customer_id=NORTHWIND),
    ]
    center.usage = {"I1": [usage_row("azure-1", "30"), usage_row("azure-2", "20")]}
    center.unbilled["USD", "current"] = [
        usage_row("azure-1", "1", UsageDate=f"2026-11-{number:02}T00:00:00Z")
        for number in range(1, 9)
    ]
    office.directory.known = [
        a_relationship(),
        a_relationship(id="gdap-2", customer_id=NORTHWIND),
    ]


def finance(office: Office) -> None:
    """Key in what finance does: contracts, taxes and rules."""
    office.store.save(
        [
            a_tax_profile(key="tax/de"),
            a_contract(tax_profile_key="tax/de"),
            a_contract(key="contract/c2", customer_id=NORTHWIND, tax_profile_key="tax/de"),
            a_rule("20", key="rule/licences", kind="licence"),
            a_rule("10", key="rule/usage", kind="usage"),
        ]
    )


def an_office(folder: Path) -> Office:
    office = Office(folder)
    microsoft(office)
    finance(office)
    return office


Deliver = Callable[[Office], tuple[str, str]]


def in_order(office: Office) -> tuple[str, str]:
    return office.queue.waiting.popleft()


def at_random(seed: int) -> Deliver:
    """Any waiting message, and each delivered twice as often as not: at least once, no order."""
    dice = random.Random(seed)  # noqa: S311 - a repeatable shuffle

    def deliver(office: Office) -> tuple[str, str]:
        waiting = office.queue.waiting
        place = dice.randrange(len(waiting))
        message = waiting[place]
        if dice.random() < 0.6:
            del waiting[place]
        return message

    return deliver


def work(office: Office, *messages: StartRun, deliver: Deliver = in_order) -> None:
    """Ask for runs, one after the other, and work all that they cause."""
    for message in messages:
        office.queue.send("start", [message.model_dump_json()])
        work_all(office, deliver)


def work_all(office: Office, deliver: Deliver = in_order) -> None:
    """Work all that waits."""
    while office.queue.waiting:
        queue, body = deliver(office)
        office.queue.leased.append(queue)
        try:
            runs.handle(office.ports, queue, body)
        except Later:  # it is sent anew, as the functions do
            if (queue, body) not in office.queue.waiting:
                office.queue.waiting.append((queue, body))
        finally:
            office.queue.leased.remove(queue)


def totals(office: Office) -> dict[str, str]:
    """What stands on the documents, by customer: number or status, then the total."""
    return {
        f"{one.customer_name} {one.number or one.status.value}": str(one.total.amount)
        for one in office.store.documents()
    }


def a_fault(check: str, customer_id: str = CUSTOMER, **fields: object) -> Finding:
    return Finding(
        **{
            "check": check,
            "severity": Severity.HOLD if customer_id else Severity.WARN,
            "customer_id": customer_id,
            "record": "subscription s9",
            "sentence": "Microsoft's subscription s9 cannot be read: quantity is not a number.",
            "hint": "Report it.",
            **fields,
        }
    )
