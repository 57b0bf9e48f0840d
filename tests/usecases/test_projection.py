"""When documents are projected, and what becomes of what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from domain.problems import Finding, ServiceError, Severity, Unavailable
from domain.run import RunStatus
from invoice.document import DocumentStatus
from sync import approval
from tests.fakes import MemoryStore
from tests.usecases.office import APPROVE, BILL, SYNC, an_office, work


@dataclass
class Copies:
    """The other application: it shows what was issued when it last looked."""

    store: MemoryStore
    shown: set[str] = field(default_factory=set)
    refuses: bool = False
    down: bool = False
    checks = ("projection.refused",)

    def catch_up(self, now):
        if self.down:
            raise Unavailable("no answer", service="Dataverse", status=503)
        if self.refuses:
            return [
                Finding(
                    check="projection.refused",
                    severity=Severity.WARN,
                    customer_id="c1",
                    record="document 1",
                    sentence="Sales refused it.",
                    hint="Mend it.",
                )
            ]
        self.shown = {
            document.number
            for document in self.store.documents()
            if document.status is DocumentStatus.ISSUED
        }
        return []


@pytest.fixture
def office(tmp_path):
    office = an_office(tmp_path)
    office.projection = Copies(office.store)
    return office


def test_what_is_approved_is_projected_at_once(office):
    work(office, SYNC, BILL)
    assert office.projection.shown == set()
    work(office, APPROVE)
    assert office.projection.shown == {"INV-202610-0001", "INV-202610-0002"}


def test_an_approval_at_the_command_line_projects_too(office):
    work(office, SYNC, BILL)
    approval.approve(office.ports, APPROVE)
    assert len(office.projection.shown) == 2


def test_a_second_approval_catches_up_what_the_first_could_not(office):
    work(office, SYNC, BILL)
    office.projection.down = True
    with pytest.raises(Unavailable):
        work(office, APPROVE)
    office.queue.waiting.clear()
    assert office.store.run(APPROVE.run_key).status is RunStatus.DONE
    office.projection.down = False
    work(office, APPROVE)
    assert len(office.projection.shown) == 2


def test_the_end_of_any_run_catches_up(office):
    work(office, SYNC, BILL, APPROVE)
    office.projection.shown = set()
    work(office, SYNC.model_copy(update={"day": office.clock().date().replace(day=10)}))
    assert len(office.projection.shown) == 2


def test_what_stands_in_the_way_is_a_finding_until_it_is_gone(office):
    office.projection.refuses = True
    work(office, SYNC, BILL, APPROVE)
    assert [one.sentence for one in office.store.findings()] == ["Sales refused it."]
    assert office.store.run(APPROVE.run_key).status is RunStatus.DONE
    office.projection.refuses = False
    work(office, APPROVE)
    assert list(office.store.findings()) == []


def test_the_policy_decides_what_such_a_finding_does(office):
    office.projection.refuses = True
    office.policy = {"projection.refused": Severity.HOLD}
    work(office, SYNC, BILL, APPROVE)
    assert [one.severity for one in office.store.findings()] == [Severity.HOLD]


def test_without_the_setting_nothing_is_asked(office):
    office.projection = None
    work(office, SYNC, BILL, APPROVE)
    assert list(office.store.findings()) == []


def test_an_outage_leaves_the_findings_that_stand(office):
    office.projection.refuses = True
    work(office, SYNC, BILL, APPROVE)
    office.projection.down = True
    with pytest.raises(Unavailable):
        approval.approve(office.ports, APPROVE)
    assert [one.sentence for one in office.store.findings()] == ["Sales refused it."]


def test_a_file_that_is_refused_does_not_keep_a_document_from_being_projected(office):
    work(office, SYNC, BILL)
    blocked = ServiceError("blocked", service="Dataverse", status=400)
    office.store.file_faults = {one.key: blocked for one in office.store.documents()}
    approval.approve(office.ports, APPROVE)
    assert len(office.projection.shown) == 2


def test_files_that_cannot_be_attached_for_an_outage_do_not_keep_back_the_projection(office):
    work(office, SYNC, BILL)
    down = Unavailable("no answer", service="Dataverse")
    office.store.file_faults = {one.key: down for one in office.store.documents()}
    with pytest.raises(Unavailable):
        approval.approve(office.ports, APPROVE)
    assert len(office.projection.shown) == 2
