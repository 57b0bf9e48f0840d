"""A metered line that thousands used goes into its row and comes back with every one of them."""

from dataclasses import replace
from decimal import Decimal

import pytest

from dataverse.client import Query
from dataverse.mapping import PACKED
from domain.subscription import CostKind
from tests.builders import a_customer, a_pass_on, a_share
from tests.clients.dataverse_environment import new_environment

GROUPS = 3000


@pytest.fixture
def environment():
    return new_environment()


def a_month():
    line = a_pass_on(
        CostKind.USAGE,
        "999.99",
        shares=tuple(
            a_share(f"{n}.01", resource_group=f"rg-{n}", tags={"costcenter": str(n % 700)})
            for n in range(GROUPS)
        ),
    )
    return [a_customer(), line, replace(line, key="few", shares=line.shares[:3])]


def test_thousands_of_groups_survive_dataverse_and_are_not_written_twice(environment):
    store = environment.store()
    store.save(a_month())
    few, many = sorted(store.cost_lines(["I1"]), key=lambda line: len(line.shares))
    assert (few.shares, many.shares) == (a_month()[2].shares, a_month()[1].shares)
    assert sum(share.cost for share in many.shares) == sum(
        (Decimal(f"{n}.01") for n in range(GROUPS)), Decimal(0)
    )
    assert store.save(a_month()).unchanged == 3


def test_what_people_can_read_is_readable(environment):
    store = environment.store()
    store.save(a_month())
    query = Query(table="csp_costline", select=("csp_shares",))
    shown = sorted(row["csp_shares"] for row in environment.client().read(query))
    assert [text.startswith(PACKED) for text in shown] == [False, True]
    assert '"resource_group":"rg-1"' in shown[0]
