"""Usage put together in every way, from Microsoft's files through Dataverse to the invoice."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from app.settings import Settings
from app.wiring import opened
from domain.contract import EarnedCredit, Untagged, UsageGroup, UsageGrouping
from domain.period import Period
from domain.subscription import CostKind
from sync import drafts
from sync.messages import StartRun

OCTOBER = Period.month("2026-10")
BY_TAG = UsageGrouping(by=UsageGroup.TAG, tag="ENV", untagged=Untagged.RESOURCE_GROUP)
CUSTOMER = "Alpine Ski House GmbH"


@pytest.fixture
def worker(copy):
    with opened(Settings.from_env({"CSP_STATE_DIR": str(copy)})) as worker:
        yield worker


def the_file(worker):
    (customer,) = [one for one in worker.store.customers() if one.name == CUSTOMER]
    return worker.store.customer_file(customer.id)


def usage_of(document):
    return [
        line.charge
        for line in document.lines
        if any(reason.rule == "usage.split" for reason in line.charge.reasons)
    ]


def drafted(worker, file, **terms):
    """October, as if nothing had been billed yet."""
    contract = replace(file.contract, **terms)
    found = drafts.draft(
        replace(file, documents=(), contract=contract), OCTOBER, worker.today(), {}
    )
    assert [finding.check for finding in found.findings if finding.check[:5] == "usage"] == []
    assert found.document is not None
    return found.document


def test_a_month_is_billed_by_tag_once_the_contract_asks_and_the_issued_one_stays(worker):
    file = the_file(worker)
    metered = [
        line for line in file.cost_lines if line.kind is CostKind.USAGE and line.falls_on in OCTOBER
    ]
    assert metered
    held = drafts.draft(
        replace(file, documents=(), contract=replace(file.contract, grouping=BY_TAG)),
        OCTOBER,
        worker.today(),
        {},
    )
    assert (held.document, {f.check for f in held.findings if f.severity == "hold"}) == (
        None,
        {"usage.not_grouped"},
    )

    worker.store.save([replace(file.contract, grouping=BY_TAG)])
    worker.request(StartRun(kind="sync", day=worker.today() + timedelta(days=1)))
    worker.drain()
    file = the_file(worker)
    assert file.contract.grouping == BY_TAG
    _, again = drafts.propose(worker.ports, file.customer.id, OCTOBER)
    assert again.document is None  # issued by service, and so it stays

    by_tag = usage_of(drafted(worker, file))
    assert {charge.reasons[0].inputs.get("tag") for charge in by_tag} == {"ENV"}
    assert any(charge.name.startswith("Azure usage, ENV ") for charge in by_tag)
    cost = sum((line.subtotal for line in metered), Decimal(0))
    for grouping in (
        BY_TAG,
        UsageGrouping(),
        UsageGrouping(by=UsageGroup.RESOURCE_GROUP),
        UsageGrouping(by=UsageGroup.SUBSCRIPTION),
        UsageGrouping(by=UsageGroup.ONE_LINE),
    ):
        charges = usage_of(drafted(worker, file, grouping=grouping))
        assert sum((charge.unit_cost for charge in charges), Decimal(0)) == cost

    ahead = drafted(worker, file, earned_credit=EarnedCredit.KEPT)
    kept = [r for c in usage_of(ahead) for r in c.reasons if r.rule == "usage.earned_credit"]
    assert {reason.inputs["policy"] for reason in kept} == {"kept"}
    assert drafted(worker, file).subtotal < ahead.subtotal
