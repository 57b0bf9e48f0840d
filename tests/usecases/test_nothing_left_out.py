"""Whatever comes late, twice or not at all: all that Microsoft invoiced ends in the month's totals."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from domain.contract import BillingContract
from domain.problems import Unavailable, WorkerError
from domain.run import RunStatus, UnitStatus
from domain.subscription import CostKind, SubscriptionKind
from sync import due, runs
from sync.ledger import Later
from sync.messages import StartRun
from tests.builders import (
    CUSTOMER,
    a_contract,
    a_customer,
    a_pass_on,
    a_relationship,
    a_subscription,
    an_agreement,
    day,
)
from tests.fakes import Office
from tests.usecases.office import (
    APPROVE,
    BILL,
    NORTHWIND,
    SYNC,
    an_invoice_head,
    an_office,
    at_random,
    totals,
    usage_row,
    work,
)
from tests.usecases.test_due import at, bill_from, by_day

OCTOBER_BILL = "bill/2026-10"


@pytest.fixture
def office(tmp_path):
    return an_office(tmp_path)


def sync_of(on: str) -> StartRun:
    return StartRun(kind="sync", day=day(on))


def fails_once(office: Office, queue: str) -> None:
    """The queue storage does not answer the next time that something is sent there."""
    send, left = office.queue.send, [1]

    def failing(kind, messages, **how):
        if kind == queue and left:
            left.pop()
            raise Unavailable("no answer", service="Queue Storage", status=503)
        return send(kind, messages, **how)

    office.queue.send = failing


def invoice_in_two(office: Office) -> Callable[[], None]:
    """Northwind's 50.00 stand on an invoice of their own: what is returned lets it be issued."""
    center = office.partner_center
    line = center.lines.pop()
    center.heads = [an_invoice_head("100.00")]
    rows = center.usage.pop("I1")

    def issue() -> None:
        center.heads.append(an_invoice_head("50.00", id="I2", issued_on=day("2026-11-09")))
        center.lines.append(replace(line, invoice_id="I2", key="cost/I2/usage"))
        center.usage["I2"] = rows

    return issue


# --- who comes due while others fail or are worked --------------------------------------------------------


def test_a_unit_that_was_entered_and_not_sent_is_sent_by_the_next_request(office):
    bill_from(office, CUSTOMER, 20)
    work(office, SYNC, by_day("2026-11-09"), APPROVE)
    at(office, "2026-11-20T06:00")
    fails_once(office, "bill")
    with pytest.raises(Unavailable):
        work(office, by_day("2026-11-20"))
    assert office.store.unit(f"bill/{CUSTOMER}/2026-10")[0].status is UnitStatus.QUEUED
    work(office, by_day("2026-11-20"))
    assert totals(office)["Fabrikam Toys draft"] == "142.80"
    assert due.NOT_DUE not in office.store.run(OCTOBER_BILL).counts


def test_who_becomes_due_between_the_plan_and_the_close_is_billed_by_the_next_day(office):
    bill_from(office, CUSTOMER, 10)
    work(office, SYNC)
    at(office, "2026-11-09T23:50")
    asked = StartRun(kind="bill", period="2026-10", day=day("2026-11-09"))
    office.queue.send("start", [asked.model_dump_json()])
    while office.queue.waiting:
        if office.queue.waiting[0][0] == "close":
            at(office, "2026-11-10T00:05")
        runs.handle(office.ports, *office.queue.waiting.popleft())
    run = office.store.run(OCTOBER_BILL)
    assert (run.totals[0].held, run.totals[0].residual, run.counts[due.NOT_DUE]) == (100, 0, 1)
    at(office, "2026-11-10T06:00")
    work(office, by_day("2026-11-10"))
    assert totals(office)["Fabrikam Toys draft"] == "142.80"


def test_who_was_billed_by_a_run_of_its_own_is_not_waited_for(office):
    bill_from(office, CUSTOMER, 20)
    alone = StartRun(kind="bill", period="2026-10", customer_id=CUSTOMER)
    work(office, SYNC, alone, APPROVE, by_day("2026-11-09"))
    at(office, "2026-11-20T06:00")
    work(office, by_day("2026-11-20"), APPROVE)
    run = office.store.run(OCTOBER_BILL)
    assert due.NOT_DUE not in run.counts
    assert (run.totals[0].billed, run.totals[0].residual) == (150, 0)
    assert office.written(lambda: work(office, by_day("2026-11-21"), BILL)) == []


# --- what Microsoft invoices later ------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [by_day("2026-11-11"), BILL], ids=["the timer", "a person"])
def test_a_second_invoice_of_the_month_is_billed_though_its_customer_was_through(office, asked):
    issue = invoice_in_two(office)
    work(office, SYNC, by_day("2026-11-09"), APPROVE)
    assert set(totals(office)) == {"Fabrikam Toys INV-202610-0001"}
    issue()
    at(office, "2026-11-11T06:00")
    work(office, sync_of("2026-11-11"), asked)
    assert totals(office)["Northwind Traders draft"] == "65.45"
    (total,) = office.store.run(OCTOBER_BILL).totals
    assert (total.microsoft, total.billed, total.residual) == (150, 150, 0)
    work(office, APPROVE)
    assert office.written(lambda: work(office, by_day("2026-11-12"), BILL)) == []


def test_a_customer_who_was_billed_alone_gets_what_came_later(office):
    issue = invoice_in_two(office)
    work(office, SYNC, StartRun(kind="bill", period="2026-10", customer_id=NORTHWIND))
    issue()
    work(office, sync_of("2026-11-10"), BILL)
    assert totals(office)["Northwind Traders draft"] == "65.45"


def test_an_invoice_of_a_month_before_last_is_billed_when_it_comes(office):
    issue = invoice_in_two(office)
    work(office, SYNC, by_day("2026-11-09"), APPROVE)
    at(office, "2026-12-08T06:00")
    office.store.save(
        [replace(office.store.run(OCTOBER_BILL), key="bill/2026-11", window="2026-11")]
    )
    issue()
    office.partner_center.heads[-1] = replace(
        office.partner_center.heads[-1], issued_on=day("2026-12-08")
    )
    assert "2026-10" not in due.months_open(office.ports, day("2026-12-09"))
    work(office, sync_of("2026-12-08"))
    office.queue.send("start", [by_day("2026-12-09").model_dump_json()])
    runs.handle(office.ports, *office.queue.waiting.popleft())
    months = [StartRun.model_validate_json(body).period for _, body in office.queue.waiting]
    assert "2026-10" in months


def test_a_month_that_microsoft_invoices_no_further_is_left_alone(office):
    work(office, SYNC, by_day("2026-11-09"), APPROVE)
    at(office, "2026-11-11T06:00")
    work(office, sync_of("2026-11-11"))
    before = len(office.store.writes)
    office.queue.send("start", [BILL.model_dump_json()])
    runs.handle(office.ports, *office.queue.waiting.popleft())
    assert not office.queue.waiting
    assert len(office.store.writes) == before


# --- every story ends the same ----------------------------------------------------------------------------

NAMES = [CUSTOMER, NORTHWIND, "c3", "c4"]
FROM, TO = day("2026-11-08"), day("2026-11-30")


Story = tuple[dict[str, date], Callable[[str], None], dict[str, Decimal]]


def a_story(office: Office, dice: random.Random) -> Story:
    """Four customers with days of their own, five lines on one to three invoices.

    Returns the day of each invoice, what lets Microsoft issue it, and what the lines of a customer
    come to who is held (no contract) or not charged by agreement.
    """
    center = office.partner_center
    for customer_id in NAMES[2:]:
        name = f"Customer {customer_id}"
        center.people.append(a_customer(id=customer_id, name=name, domain=f"{customer_id}.example"))
        center.signed.append(an_agreement(customer_id=customer_id))
        office.directory.known.append(
            a_relationship(id=f"gdap-{customer_id}", customer_id=customer_id)
        )
        center.running.append(
            a_subscription(
                id=f"plan-{customer_id}",
                customer_id=customer_id,
                product_id="DZH318Z0BPS6",
                name="Azure plan",
                kind=SubscriptionKind.USAGE,
                quantity=1,
                term=None,
                billing_cycle=None,
            )
        )
        office.store.save(
            [
                a_contract(
                    key=f"contract/{customer_id}", customer_id=customer_id, tax_profile_key="tax/de"
                )
            ]
        )
    for key, contract in list(office.store.table(BillingContract).items()):
        bill_day = dice.choice([None, 9, 10, dice.randint(1, 28)])
        office.store.table(BillingContract)[key] = replace(contract, bill_day=bill_day)
    apart = {"held": Decimal(0), "excluded": Decimal(0)}
    contracts = office.store.table(BillingContract)
    if dice.random() < 0.3:
        del contracts["contract/c3"]
        apart["held"] = Decimal(30)
    if dice.random() < 0.3:
        free = ("DZH318Z0BPS6:0001",)
        contracts["contract/c4"] = replace(contracts["contract/c4"], excluded_skus=free)
        apart["excluded"] = Decimal(18)
    seats, azure = center.lines
    metered = [azure] + [
        a_pass_on(
            CostKind.USAGE,
            cost,
            customer_id=one,
            subscription_id=f"plan-{one}",
            key=f"cost/{one}/{cost}",
        )
        for one, cost in (("c3", "30.00"), ("c4", "7.00"), ("c4", "11.00"))
    ]
    rows = {line.key: [] for line in metered}
    rows[azure.key] = center.usage["I1"]
    for line in metered[1:]:
        rows[line.key] = [
            usage_row(
                f"azure-{line.key[5:].replace('/', '-')}",
                str(line.subtotal),
                CustomerId=line.customer_id,
                SubscriptionId=line.subscription_id,
            )
        ]
    center.heads, center.lines, center.usage = [], [], {}
    invoices: dict[str, list] = {"I1": [seats]}
    for line in metered:
        invoices.setdefault(dice.choice(["I1", "I1", "I2", "I3"]), []).append(line)
    issued = {}
    for name in invoices:
        first = name == "I1"
        issued[name] = FROM + timedelta(days=dice.randint(0, 2) if first else dice.randint(0, 16))

    def issue(name: str) -> None:
        lines = invoices[name]
        total = sum((line.subtotal for line in lines), Decimal(0))
        center.heads.append(an_invoice_head(str(total), id=name, issued_on=issued[name]))
        center.lines += [replace(one, invoice_id=name) for one in lines]
        center.usage[name] = [row for one in lines for row in rows.get(one.key, [])]

    return dict(issued), issue, apart


def unruly(office: Office, dice: random.Random, trouble: float, *messages: StartRun) -> None:
    """Work what is asked for, in any order, some twice; writes and sends fail, midnight passes.

    A message that fails comes again; at the fifth time it is given up, as the host does.
    """
    send, write = office.queue.send, office.store._write
    down = Unavailable("no answer", service="Somebody", status=503)

    def sending(kind, sent, **how):
        if dice.random() < trouble:
            raise down
        return send(kind, sent, **how)

    def writing(what):
        if dice.random() < trouble:
            raise down
        write(what)

    for message in messages:
        send("start", [message.model_dump_json()])
    office.queue.send, office.store._write = sending, writing
    tries: Counter[tuple[str, str]] = Counter()
    deliver = at_random(dice.randrange(1000))
    try:
        while office.queue.waiting:
            queue, body = deliver(office)
            if dice.random() < trouble:
                office.clock.advance(timedelta(hours=4))
            try:
                runs.handle(office.ports, queue, body)
            except Later as later:
                office.clock.moment = max(office.clock.moment, later.until)
                send(queue, [body])
            except WorkerError:
                tries[queue, body] += 1
                if tries[queue, body] < 5:
                    send(queue, [body])
                else:
                    office.queue.send, office.store._write = send, write
                    runs.give_up(office.ports, queue, body)
                    office.queue.send, office.store._write = sending, writing
    finally:
        office.queue.send, office.store._write = send, write


@pytest.mark.parametrize("seed", range(6))
def test_all_that_microsoft_invoiced_is_billed_or_told_in_the_end(office, seed):
    dice = random.Random(seed)  # noqa: S311 - a repeatable story
    coming, issue, apart = a_story(office, dice)
    on = FROM
    while on < TO:
        for name in [one for one, issued in coming.items() if issued <= on]:
            del coming[name]
            issue(name)
        at(office, f"{on}T{dice.choice(['06:00', '12:00', '23:00'])}")
        asked = [StartRun(kind="sync", day=on)]
        if dice.random() < 0.7:
            asked.append(StartRun(kind="bill", day=on))
        if dice.random() < 0.1:
            asked.append(BILL)
        if dice.random() < 0.1:
            one = dice.choice(NAMES)
            asked.append(StartRun(kind="bill", period="2026-10", customer_id=one))
        if dice.random() < 0.3:
            asked.append(APPROVE)
        unruly(office, dice, 0.03, *asked)
        on += timedelta(days=dice.choice([1, 1, 2, 4]))
    for name in coming:
        issue(name)

    # Then comes a day on which all is well.
    at(office, f"{TO}T06:00")
    work(office, sync_of(str(TO)), by_day(str(TO)), APPROVE)
    run = office.store.run(OCTOBER_BILL)
    (total,) = run.totals
    expected = RunStatus.DONE_WITH_HOLDS if apart["held"] else RunStatus.DONE
    assert (run.status, run.problem) == (expected, "")
    assert due.NOT_DUE not in run.counts
    assert total.microsoft == sum(head.total for head in office.partner_center.heads) == 198
    assert {"held": total.held, "excluded": total.excluded} == apart
    assert total.billed == 198 - apart["held"] - apart["excluded"]
    documents = office.store.documents()
    asked_for = Counter(line.charge.key for document in documents for line in document.lines)
    assert set(asked_for.values()) == {1}
    assert all(document.number for document in documents)
    written = office.written(lambda: work(office, by_day(str(TO)), BILL, APPROVE))
    again = office.store.run(OCTOBER_BILL)
    assert (again.status, again.totals, again.counts) == (run.status, run.totals, run.counts)
    assert office.store.documents() == documents
    assert apart["held"] or written == []  # a run with holds is begun and ended anew
