"""Several workers bill and approve two months of the same customers at once: each charge is issued once.

The workers take turns at every look into the store and every write, in an order that a seed decides:
each interleaving that instances of the cloud could come to can be played again.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from threading import Semaphore, Thread, current_thread

import pytest

from domain.contract import MarkupRule
from domain.period import Period, add_months
from domain.problems import InputError
from domain.run import RunStatus
from domain.subscription import CostKind
from sync import approval, bill, runs
from sync.approval import STANDS
from sync.ledger import LEASE, Busy, Later
from sync.messages import BillUnit, StartRun
from tests.builders import CUSTOMER, a_line, a_pass_on, a_rule, day
from tests.fakes import MemoryStore, Office
from tests.usecases.office import (
    APPROVE,
    BILL,
    NORTHWIND,
    SYNC,
    an_invoice_head,
    an_office,
    usage_row,
    work,
)
from tests.usecases.test_due import a_run, at, by_day

AFTER = {"2026-11": "2026-12-09", "2026-12": "2027-01-09"}
"""The day on which a month's bill is due."""


@dataclass(frozen=True)
class Story:
    """An office with two months that are not billed yet, and what is right in the end, before tax."""

    office: Office
    months: tuple[str, str]
    right: dict[str, Decimal]

    @property
    def day(self) -> str:
        return AFTER[self.months[1]]

    def asked(self, kind: str, which: int, **fields: object) -> StartRun:
        return StartRun(kind=kind, period=self.months[which], **fields)

    @property
    def bills(self) -> list[StartRun]:
        """What timers, flows and people ask for, in whatever order and as often as they like."""
        scoped = [self.asked("bill", n, customer_id=NORTHWIND) for n in (0, 1)]
        return [by_day(self.day), self.asked("bill", 0), self.asked("bill", 1), *scoped]

    @property
    def approvals(self) -> list[StartRun]:
        document = f"invoice/{NORTHWIND}/{self.months[1]}/USD/1"
        return [
            self.asked("approve", 0),
            self.asked("approve", 1),
            self.asked("approve", 0, customer_id=NORTHWIND),
            self.asked("approve", 1, document=document),
        ]


def microsoft_bills(office: Office, month: str, usage: str) -> None:
    """A month more: Fabrikam's seats, and so much usage of Northwind's."""
    period = Period.month(month)
    begins = period.start.replace(day=14)
    center, invoice = office.partner_center, f"I-{month}"
    center.lines += [
        a_line(
            "cycleCharge",
            str(begins),
            str(add_months(begins, 1)),
            key=f"cost/{invoice}/seats",
            invoice_id=invoice,
        ),
        a_pass_on(
            CostKind.USAGE,
            usage,
            customer_id=NORTHWIND,
            invoice_id=invoice,
            key=f"cost/{invoice}/usage",
            charged=period,
            ordered_on=period.start,
        ),
    ]
    center.usage[invoice] = [usage_row("azure-1", usage, UsageDate=f"{month}-05T00:00:00")]
    total = str(Decimal(usage) + 100)
    issued_on = period.end.replace(day=8)
    center.heads.append(an_invoice_head(total, id=invoice, issued_on=issued_on, billed=period))


def nothing_is_billed(folder) -> Story:
    """October and November were missed: 99.00 for Northwind (50 and 40, and 10 %), 120.00 twice."""
    office = an_office(folder)
    microsoft_bills(office, "2026-11", "40.00")
    office.store.save([a_run("2026-09")])
    return ready(
        Story(
            office,
            ("2026-10", "2026-11"),
            {CUSTOMER: Decimal("240.00"), NORTHWIND: Decimal("99.00")},
        )
    )


def october_is_corrected(folder) -> Story:
    """October is issued, and usage is 20 % since: whichever month is billed first corrects it.

    144.00 for Northwind (50, 40 and 30, and 20 %), three times 120.00 for Fabrikam.
    """
    office = an_office(folder)
    work(office, SYNC, BILL, APPROVE)
    office.store.table(MarkupRule)["rule/usage"] = a_rule("20", key="rule/usage", kind="usage")
    microsoft_bills(office, "2026-11", "40.00")
    microsoft_bills(office, "2026-12", "30.00")
    return ready(
        Story(
            office,
            ("2026-11", "2026-12"),
            {CUSTOMER: Decimal("360.00"), NORTHWIND: Decimal("144.00")},
        )
    )


def ready(story: Story) -> Story:
    at(story.office, f"{story.day}T06:00")
    work(story.office, StartRun(kind="sync", day=day(story.day)))
    return story


# --- workers that take turns -------------------------------------------------------------------------

_CALLS = [
    name
    for name, member in vars(MemoryStore).items()
    if callable(member) and not name.startswith("_") and name != "table"
]


class Workers:
    """Instances that share queue and store; one runs at a time, and a seed says which goes on."""

    def __init__(self, office, seed: int) -> None:
        self.office = office
        self.dice = random.Random(seed)  # noqa: S311 - a repeatable order
        self.refused: list[str] = []
        self._faults: Counter[tuple[str, str]] = Counter()
        self._go: dict[Thread, Semaphore] = {}
        self._back = Semaphore(0)
        self._ended: set[Thread] = set()
        for name in _CALLS:
            setattr(office.store, name, self._in_turn(getattr(office.store, name)))

    def _in_turn(self, call: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object, **named: object) -> object:
            go = self._go.get(current_thread())
            if go is not None:
                self._back.release()
                go.acquire()
            return call(*args, **named)

        return called

    def drain(self, count: int = 3) -> None:
        """Work all that waits, and all that comes of it, with so many workers."""
        waiting = self.office.queue.waiting
        while waiting or self._go:
            if waiting and len(self._go) < count and (not self._go or self.dice.random() < 0.5):
                place = self.dice.randrange(len(waiting))
                message = waiting[place]
                del waiting[place]
                worker = Thread(target=self._work, args=(message,), daemon=True)
                self._go[worker] = Semaphore(0)
                worker.start()
            worker = self.dice.choice(list(self._go))
            self._go[worker].release()
            self._back.acquire()
            if worker in self._ended:
                del self._go[worker]

    def _work(self, message: tuple[str, str]) -> None:
        """Work a message as the host does: what fails or comes too early is delivered again."""
        self._go[current_thread()].acquire()
        ports, waiting = self.office.ports, self.office.queue.waiting
        try:
            runs.handle(ports, *message)
        except Later:
            waiting.append(message)
        except InputError as fault:
            self.refused.append(str(fault))
            runs.give_up(ports, *message, str(fault))
        except Exception as fault:  # noqa: BLE001 - as the host: it is delivered again, a few times
            self._faults[message] += 1
            if self._faults[message] < 5:
                waiting.append(message)
            else:
                self.refused.append(f"{type(fault).__name__}: {fault}")
                runs.give_up(ports, *message, str(fault))
        finally:
            self._ended.add(current_thread())
            self._back.release()


def issued(office) -> dict[str, Decimal]:
    """What each customer was asked for, before tax, by documents that stand."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for document in office.store.documents():
        if document.status in STANDS:
            sums[document.customer_id] += document.subtotal.amount
    return dict(sums)


def issued_twice(office) -> list[str]:
    """Charges that more than one document asks a customer for."""
    asked = Counter(
        (document.customer_id, line.key)
        for document in office.store.documents()
        if document.status in STANDS
        for line in document.lines
    )
    return [str(key) for key, times in asked.items() if times > 1]


@pytest.mark.parametrize("begin", [nothing_is_billed, october_is_corrected])
@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_billed_and_approved_at_once_each_charge_is_issued_once(tmp_path, seed, begin):
    story = begin(tmp_path)
    office, right = story.office, story.right
    workers = Workers(office, seed)
    both = story.bills + story.approvals
    bills, approvals = story.bills[1:3], story.approvals[:2]
    for asked in (
        [*bills, *workers.dice.choices(both, k=2)],
        [*approvals, *workers.dice.choices(both, k=3)],
    ):
        office.queue.send("start", [one.model_dump_json() for one in asked])
        workers.drain()
        assert issued_twice(office) == []
        assert all(amount <= right[customer] for customer, amount in issued(office).items())
    # Nobody disturbs the next day: it bills what is left, and nothing twice.
    work(office, *bills, *approvals)
    assert issued(office) == right
    assert issued_twice(office) == []
    for month in story.months:
        run = office.store.run(f"bill/{month}")
        assert (run.status, [one.residual for one in run.totals]) == (RunStatus.DONE, [0])
    assert workers.refused == []


# --- should the lock fail all the same -----------------------------------------------------------------


def drafts_that_overlap(folder) -> Story:
    """October's charges stand on the drafts of both months, as if both had been reckoned at once."""
    story = nothing_is_billed(folder)
    store = story.office.store
    work(story.office, story.asked("bill", 1))
    (novembers,) = store.documents(customer_id=NORTHWIND)
    store.discard_draft(novembers.key)
    work(story.office, story.asked("bill", 0))
    store.save_document(novembers)
    return story


@pytest.mark.parametrize("seed", range(8))
def test_of_two_drafts_with_one_charge_only_one_is_issued(tmp_path, seed):
    story = drafts_that_overlap(tmp_path)
    office, workers = story.office, Workers(story.office, seed)
    approvals = story.approvals[:2]
    office.queue.send("start", [one.model_dump_json() for one in approvals])
    workers.drain()
    assert issued_twice(office) == []
    (why,) = workers.refused
    assert f"the draft invoice/{NORTHWIND}/" in why
    work(office, *story.bills[1:3], *approvals)
    assert issued(office) == story.right


def test_an_approval_that_was_frozen_issues_nothing_when_it_wakes(tmp_path):
    """Its lease is over, and another one has issued what it is about to issue."""
    story = drafts_that_overlap(tmp_path)
    office, (october, november) = story.office, story.approvals[:2]
    numbers = office.store.numbers

    def frozen(period):
        office.store.numbers = numbers
        taken = numbers(period)
        office.clock.advance(LEASE)
        approval.approve(office.ports, november)
        return taken

    office.store.numbers = frozen
    with pytest.raises(Busy, match="approve was taken over by another worker"):
        approval.approve(office.ports, october)
    assert issued_twice(office) == []
    assert issued(office)[NORTHWIND] == story.right[NORTHWIND]


def test_two_drafts_of_one_month_with_one_charge_are_refused(tmp_path):
    story = nothing_is_billed(tmp_path)
    office = story.office
    work(office, story.asked("bill", 0))
    (draft,) = office.store.documents(customer_id=NORTHWIND)
    office.store.save_document(replace(draft, key=draft.key.replace("/USD/1", "/USD/2")))
    with pytest.raises(InputError, match=f"/USD/2 repeats 2 charges of {draft.key}"):
        approval.approve(office.ports, story.asked("approve", 0))
    assert issued(office) == {}


def test_one_month_of_a_customer_is_worked_at_a_time(tmp_path):
    story = nothing_is_billed(tmp_path)
    office = story.office
    october, november = (
        BillUnit(run_key=f"bill/{month}", customer_id=NORTHWIND, period=month)
        for month in story.months
    )
    save, other = office.store.save_document, []

    def meanwhile(document):
        office.store.save_document = save
        with pytest.raises(Busy):
            bill.work(office.ports, november)
        other.append(office.store.unit(november.key))
        return save(document)

    office.store.save_document = meanwhile
    bill.work(office.ports, october)
    assert other == [None]  # it waits, and is no failure
    bill.work(office.ports, november)
    asked = {one.period: one.subtotal.amount for one in office.store.documents()}
    assert asked == {
        Period.month("2026-10"): Decimal("55.00"),
        Period.month("2026-11"): Decimal("44.00"),
    }
