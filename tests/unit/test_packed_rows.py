"""What is too long for its column is packed into it, and never cut."""

from datetime import date
from decimal import Decimal

import pytest

from dataverse.mapping import PACKED, from_row, to_row
from dataverse.microsoft_tables import COST_LINE
from dataverse.tables import BILLING_CONTRACT
from domain.contract import (
    BillingContract,
    EarnedCredit,
    Untagged,
    UsageGroup,
    UsageGrouping,
)
from domain.problems import InputError
from domain.subscription import CostKind
from tests.builders import a_pass_on, a_share
from usage.load import MAX_SHARES

ROOM = COST_LINE.column("csp_shares").size


def used_in(groups):
    return a_pass_on(
        CostKind.USAGE,
        "100.00",
        shares=tuple(
            a_share(
                f"{n / 7:.10f}",
                entitlement_id=f"c0ffee00-8888-4c22-8d33-{n % 9:012d}",
                resource_group=f"rg-of-team-{n}",
                tags={"costcenter": f"{n * 7919 % 100_003}"},
                quantity=Decimal(n) / 3,
                earned_percent=Decimal(15),
            )
            for n in range(groups)
        ),
    )


def shown(line):
    return to_row(COST_LINE, line).columns["csp_shares"]


def test_what_fits_stays_readable():
    text = shown(used_in(100))
    assert text.startswith("[{")
    assert '"resource_group":"rg-of-team-99"' in text


def test_as_many_parts_as_are_kept_with_a_line_fit_into_its_row():
    line = used_in(MAX_SHARES)
    row = to_row(COST_LINE, line).columns
    assert row["csp_shares"].startswith(PACKED)
    assert len(row["csp_shares"]) < ROOM
    assert from_row(COST_LINE, row).shares == line.shares


def test_packing_is_the_same_every_time():
    assert to_row(COST_LINE, used_in(6000)).digest() == to_row(COST_LINE, used_in(6000)).digest()


@pytest.mark.parametrize(
    "damaged", [f"{PACKED}e30", f"{PACKED}eJw=", f"{PACKED}%%", "[" + "x" * 9000]
)
def test_what_cannot_be_unpacked_names_its_row(damaged):
    row = {**to_row(COST_LINE, used_in(1)).columns, "csp_shares": damaged}
    with pytest.raises(InputError, match=r"csp_shares is .* which cannot be read") as refused:
        from_row(COST_LINE, row)
    assert len(str(refused.value)) < 500


def test_the_terms_of_usage_survive_their_row_and_are_told_by_choices():
    contract = BillingContract(
        key="contract/c1",
        customer_id="c1",
        account_id="",
        account_name="",
        currency="USD",
        starts=date(2026, 1, 1),
        grouping=UsageGrouping(
            by=UsageGroup.TAG, tag="CostCenter", untagged=Untagged.RESOURCE_GROUP
        ),
        earned_credit=EarnedCredit.KEPT,
        earned_credit_from=date(2026, 11, 1),
    )
    row = to_row(BILLING_CONTRACT, contract).columns
    assert (row["csp_usageby"], row["csp_usagetag"]) == (727_000_003, "CostCenter")
    assert from_row(BILLING_CONTRACT, row) == contract


def test_a_contract_of_before_is_grouped_by_service_and_passes_the_credit_on():
    contract = BillingContract(
        key="contract/c1",
        customer_id="c1",
        account_id="",
        account_name="",
        currency="USD",
        starts=date(2026, 1, 1),
    )
    row = to_row(BILLING_CONTRACT, contract).columns
    names = "usageby usagetag untagged untaggedname earnedcredit earnedcreditfrom".split()
    before = {**row, **dict.fromkeys(f"csp_{name}" for name in names)}
    read = from_row(BILLING_CONTRACT, before)
    assert (read.grouping.by, read.grouping.untagged) == (UsageGroup.SERVICE, Untagged.GROUP)
    assert not read.keeps_credit(date(2026, 10, 1))
