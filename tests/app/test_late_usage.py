"""Microsoft issues October anew after our customers have paid it: November's bill says the rest.

The same partner is worked twice: once the new version comes after October was issued, once before.
What a customer is asked for in the end is the same to the cent.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from app import demo as demo_command
from app.settings import Settings
from app.trace import trace
from app.wiring import Worker, opened
from domain.charge import Charge, ChargeType
from domain.problems import Finding
from domain.subscription import invoice_of
from invoice.document import DocumentStatus, Invoice
from invoice.explain import fingerprint
from sync import deliveries
from sync.messages import StartRun

INVOICE = "G000912345"
CHANGES = {"Humongous Insurance": "gone", "Northwind Traders": "less", "Trey Research": "more"}
DECEMBER = datetime(2026, 12, 9, 6, tzinfo=UTC)
LATER = DECEMBER.replace(hour=12)


def work(worker: Worker, **message: object) -> None:
    worker.request(StartRun(**message))
    worker.drain()


def begin(worker: Worker) -> None:
    worker.provisioner().apply()
    work(worker, kind="sync", day=worker.today())
    with contextlib.redirect_stderr(io.StringIO()):
        demo_command._key_in(worker, list(worker.store.customers()))


def reissue(worker: Worker) -> None:
    names = {customer.name: customer.id for customer in worker.store.customers()}
    for name, change in CHANGES.items():
        worker.systems.emulator.reissue(INVOICE, change=change, customer_id=names[name])


def usage_of(documents: Iterator[Invoice]) -> dict[tuple[str, str], Decimal]:
    """What customers are asked for metered usage, by the key of the charge, answers added."""
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for document in documents:
        for line in document.lines:
            key = line.charge.answers or line.charge.key
            if "/usage/2026-10-" in key:
                found[document.customer_name, key] += line.amount.amount
    return {key: amount for key, amount in found.items() if amount}


@dataclass
class Late:
    worker: Worker
    october: list[Invoice] = field(default_factory=list)
    november: list[Invoice] = field(default_factory=list)
    early: dict[tuple[str, str], Decimal] = field(default_factory=dict)

    def answers(self, customer: str) -> list[Charge]:
        return [
            line.charge
            for document in self.november
            if document.customer_name == customer
            for line in document.lines
            if line.charge.answers
        ]


@pytest.fixture(scope="module")
def late(tmp_path_factory) -> Iterator[Late]:
    folder: Path = tmp_path_factory.mktemp("late")
    with opened(Settings.from_env({"CSP_STATE_DIR": str(folder / "early")})) as worker:
        begin(worker)
    shutil.copytree(folder / "early", folder / "late")
    with opened(Settings.from_env({"CSP_STATE_DIR": str(folder / "early")})) as worker:
        reissue(worker)
        work(worker, kind="sync", day=worker.today().replace(day=10))
        work(worker, kind="bill", period="2026-10")
        early = usage_of(worker.store.documents(period="2026-10"))
    with opened(Settings.from_env({"CSP_STATE_DIR": str(folder / "late")})) as worker:
        work(worker, kind="bill", period="2026-10")
        work(worker, kind="approve", period="2026-10")
        reissue(worker)
        worker.systems.emulator.clock.set(DECEMBER)
        work(worker, kind="sync", day=worker.today())
        october = list(worker.store.documents(period="2026-10"))
        work(worker, kind="bill", period="2026-11")
        november = list(worker.store.documents(period="2026-11"))
        yield Late(worker, october, november, early)


def test_what_is_billed_in_the_end_is_what_would_have_been_billed_at_first(late):
    assert usage_of([*late.october, *late.november]) == late.early
    assert usage_of(late.october) != late.early


@pytest.mark.parametrize(
    ("customer", "sign"), [(c, {"more": 1}.get(CHANGES[c], -1)) for c in CHANGES]
)
def test_each_difference_is_a_line_that_names_the_issued_document(late, customer, sign):
    (issued,) = [one for one in late.october if one.customer_name == customer]
    assert issued.status is DocumentStatus.ISSUED
    own = {line.charge.key for line in issued.lines}
    answers = late.answers(customer)
    assert answers
    for charge in answers:
        assert charge.type is ChargeType.ADJUSTMENT
        assert charge.answers in own
        assert issued.number in charge.why
        assert charge.amount.amount * sign > 0


def test_a_charge_whose_usage_is_gone_altogether_is_withdrawn(late):
    assert any("withdrawn" in one.why for one in late.answers("Humongous Insurance"))
    assert all("Usage changed" in one.why for one in late.answers("Northwind Traders"))


def test_nobody_else_is_asked_for_anything_of_october_again(late):
    others = {one.customer_name for one in late.november} - set(CHANGES)
    assert len(others) > 10
    assert [one for name in others for one in late.answers(name)] == []


def test_the_totals_of_november_close_without_a_residual(late):
    for total in late.worker.run("bill/2026-11").totals:
        assert total.residual == 0


def test_documents_that_were_issued_stay_as_they_were(late):
    work(late.worker, kind="bill", period="2026-10")  # a closed month, asked for again
    again = late.worker.store.documents(period="2026-10")
    assert [(one.number, fingerprint(one)) for one in again] == [
        (one.number, one.fingerprint) for one in late.october
    ]


def test_the_next_day_changes_nothing_and_fetches_no_part(late):
    emulator = late.worker.systems.emulator
    emulator.control.clear_log()
    emulator.clock.set(DECEMBER.replace(day=10))
    work(late.worker, kind="sync", day=late.worker.today())
    work(late.worker, kind="bill", period="2026-11")

    units = late.worker.store.units("sync/2026-12-10")
    costs = [one for one in units if one.key.startswith("pull/costs/")]
    assert len(costs) == 4
    assert {one.counts["written"] for one in costs} == {0}
    asked = [one["path"] for one in emulator.control.requests() if one["system"] == "blob"]
    assert [path for path in asked if "/InvoiceId=" in path] == []
    again = late.worker.store.documents(period="2026-11")
    assert [fingerprint(one) for one in again] == [fingerprint(one) for one in late.november]


def test_the_lines_that_are_gone_are_billed_no_more_and_still_explain_the_old_document(late):
    store = late.worker.store
    withdrawn = {line.key: line for line in store.cost_lines([INVOICE], withdrawn=True)}
    assert {line.withdrawn_on for line in withdrawn.values()} == {DECEMBER.date()}
    assert not withdrawn.keys() & {line.key for line in store.cost_lines([INVOICE])}

    (issued,) = [one for one in late.october if one.customer_name == "Humongous Insurance"]
    chosen = [line for line in issued.lines if withdrawn.keys() & set(line.charge.cost_lines)]
    assert chosen
    for one in (found for line in chosen for found in trace(late.worker, issued, line.position)):
        told = {line.key for source in one.sources for line in source.lines}
        assert told >= set(one.line.charge.cost_lines)
        assert {invoice_of(key) for key in told} == {INVOICE}
    assert not withdrawn.keys() & {
        line.key for line in store.customer_file(issued.customer_id).cost_lines
    }


def test_october_can_be_read_as_it_was_and_as_it_is(late):
    archive, partner_center = late.worker.ports.archive, late.worker.ports.partner_center

    def total(moment: datetime) -> Decimal:
        lines, _ = deliveries.as_of(archive, INVOICE, moment)
        read = list(partner_center.cost_lines(lines))
        assert not [one for one in read if isinstance(one, Finding)]
        return sum((line.subtotal for line in read), Decimal(0))

    heads = {one.id: one for one in partner_center.invoices() if not isinstance(one, Finding)}
    now = sum((one.subtotal for one in late.worker.store.cost_lines([INVOICE])), Decimal(0))
    assert total(LATER) == now == heads[INVOICE].total
    before = total(datetime(2026, 11, 20, tzinfo=UTC))
    assert before != now
    assert deliveries.as_of(archive, INVOICE, datetime(2026, 11, 1, tzinfo=UTC)) == (None, None)
    for report in ("reconciliation", "usage"):
        found = deliveries.versions(archive, INVOICE, report)
        assert [one.version for one in found] == ["1", "4"]
    (first, _), (second, _) = (
        deliveries.as_of(archive, INVOICE, moment)
        for moment in (datetime(2026, 11, 20, tzinfo=UTC), LATER)
    )
    sums = [
        sum((part.sums["USD"].amount for part in one.parts), Decimal(0)) for one in (first, second)
    ]
    assert sums == [before, now]
