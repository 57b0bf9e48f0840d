"""Usage is split as fine as a contract asks: by resource group, by tag, by credit, by benefit."""

import gzip
import json
from decimal import Decimal

import pytest

from domain.contract import Untagged, UsageGroup, UsageGrouping
from domain.problems import Severity
from domain.subscription import CostKind
from tests.builders import a_pass_on, a_share
from usage import load as usage

PLACE = ("c1", "plan-1", "DZH318Z0BPS6", "0001", "USD")
BY_GROUP = UsageGrouping(by=UsageGroup.RESOURCE_GROUP)
BY_TAG = UsageGrouping(by=UsageGroup.TAG, tag="CostCenter")


def a_day(**fields):
    return {
        "CustomerId": "c1",
        "SubscriptionId": "plan-1",
        "ProductId": "DZH318Z0BPS6",
        "SkuId": "0001",
        "EntitlementId": "azure-1",
        "EntitlementDescription": "Production",
        "MeterCategory": "Storage",
        "UsageDate": "2026-10-03T00:00:00Z",
        "BillingCurrency": "USD",
        "Quantity": 1,
        "BillingPreTaxTotal": 1.00,
        "ResourceGroup": "rg-app",
        "ResourceURI": "/subscriptions/azure-1/resourceGroups/rg-app/providers/x/y",
        "Tags": "",
        **fields,
    }


@pytest.fixture
def read(tmp_path):
    def read(*days, asked=None):
        path = tmp_path / "usage.json.gz"
        path.write_bytes(gzip.compress("\n".join(json.dumps(day) for day in days).encode()))
        return usage.load([path], scratch=tmp_path / "scratch", asked=asked)

    return read


def tagged(**tags):
    return {"Tags": json.dumps(tags)}


def parts(month, place=PLACE):
    return [(s.resource_group, dict(s.tags), str(s.cost), s.lines) for s in month.shares[place]]


# --- as fine as is asked -----------------------------------------------------------------------------


def test_who_asks_for_nothing_is_split_by_azure_subscription_and_meter_category_alone(read):
    month = read(a_day(**tagged(CostCenter="1")), a_day(ResourceGroup="rg-db"))
    assert parts(month) == [(None, {}, "2", 2)]
    other = read(a_day(), a_day(ResourceGroup="rg-db"), asked={"c2": [BY_GROUP]})
    assert parts(other) == [(None, {}, "2", 2)]


def test_resource_groups_have_no_case_and_keep_one_spelling(read):
    month = read(
        a_day(ResourceGroup="RG-App"),
        a_day(ResourceGroup="rg-app"),
        a_day(ResourceGroup="rg-db"),
        a_day(EntitlementId="azure-2", ResourceGroup="rg-app"),
        asked={"c1": [BY_GROUP]},
    )
    assert parts(month) == [("RG-App", {}, "2", 2), ("rg-db", {}, "1", 1), ("rg-app", {}, "1", 1)]


def test_the_path_of_the_resource_names_its_group_where_no_column_does(read):
    """The basic attribute set has no ResourceGroup."""
    path = "/subscriptions/azure-1/resourcegroups/RG-Web/providers/x/y"
    days = [a_day(ResourceURI=path), a_day(ResourceURI="/providers/x"), a_day(ResourceURI="")]
    for day in days:
        del day["ResourceGroup"]
    month = read(*days, asked={"c1": [BY_GROUP]})
    assert parts(month) == [("", {}, "2", 2), ("RG-Web", {}, "1", 1)]


def test_files_without_resource_groups_do_not_say_rather_than_say_none(read):
    day = a_day()
    del day["ResourceGroup"], day["ResourceURI"]
    assert parts(read(day, asked={"c1": [BY_GROUP]})) == [(None, {}, "1", 1)]


def test_tag_names_have_no_case_and_values_have(read):
    month = read(
        a_day(**tagged(CostCenter="4711", env="prod")),
        a_day(**tagged(costcenter="4711")),
        a_day(**tagged(COSTCENTER="sales")),
        a_day(**tagged(CostCenter="Sales")),
        asked={"c1": [BY_TAG]},
    )
    assert parts(month) == [
        (None, {"costcenter": "4711"}, "2", 2),
        (None, {"costcenter": "Sales"}, "1", 1),
        (None, {"costcenter": "sales"}, "1", 1),
    ]


@pytest.mark.parametrize(
    "text", ["", "{}", None, '{"env": "prod"}', '{"CostCenter": ""}', '{"CostCenter": null}']
)
def test_usage_without_the_tag_is_untagged_and_no_fault(read, text):
    month = read(a_day(**tagged(CostCenter="1")), a_day(Tags=text), asked={"c1": [BY_TAG]})
    assert [tags for _, tags, _, _ in parts(month)] == [{"costcenter": ""}, {"costcenter": "1"}]
    assert month.findings == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"CostCenter": 4711}', "4711"),
        ('{"CostCenter": true}', "true"),
        ('{"CostCenter": " 4711 "}', "4711"),
        ('{"CostCenter": "a/b \\"c\\" é"}', 'a/b "c" é'),
        ('"CostCenter": "4711","env": "prod"', "4711"),  # as cost exports write it
    ],
)
def test_tags_are_read_however_they_are_written(read, text, value):
    month = read(a_day(Tags=text), asked={"c1": [BY_TAG]})
    assert [tags for _, tags, _, _ in parts(month)] == [{"costcenter": value}]


@pytest.mark.parametrize(
    "text", ["{broken", "[1]", "prod", "7", '{"CostCenter": "1", "costcenter": "2"}']
)
def test_broken_tags_are_as_none_and_told_once(read, text):
    month = read(a_day(Tags=text), a_day(Tags=text), a_day(), asked={"c1": [BY_TAG]})
    assert parts(month) == [(None, {"costcenter": ""}, "3", 3)]
    (finding,) = month.findings
    assert (finding.check, finding.severity, finding.customer_id) == (
        "wire.usage",
        Severity.WARN,
        "c1",
    )
    assert finding.sentence.startswith("The tags of 2 usage lines cannot be read")


def test_broken_tags_that_nobody_asks_for_are_nobodys_business(read):
    assert read(a_day(Tags="{broken"), asked={"c1": [BY_GROUP]}).findings == ()


def test_a_month_can_be_read_for_the_grouping_of_then_and_of_now(read):
    then = UsageGrouping(by=UsageGroup.TAG, tag="env", untagged=Untagged.RESOURCE_GROUP)
    month = read(a_day(**tagged(CostCenter="1", Env="prod")), asked={"c1": [BY_TAG, then]})
    assert parts(month) == [("rg-app", {"costcenter": "1", "env": "prod"}, "1", 1)]


def test_a_customer_who_is_named_in_two_cases_is_one(read):
    month = read(a_day(**tagged(CostCenter="1")), asked={"C1": [BY_TAG], "c1": [BY_GROUP]})
    assert parts(month) == [("rg-app", {"costcenter": "1"}, "1", 1)]


def test_what_is_asked_for_moves_no_money(read):
    days = [
        a_day(ResourceGroup=f"rg-{n % 7}", BillingPreTaxTotal=n / 100, **tagged(CostCenter=n % 3))
        for n in range(60)
    ]
    sums = set()
    for asked in ({}, {"c1": [BY_GROUP]}, {"c1": [BY_TAG]}, {"c1": [BY_TAG, BY_GROUP]}):
        shares = read(*days, asked=asked).shares[PLACE]
        sums.add((sum(s.cost for s in shares), sum(s.lines for s in shares)))
    assert sums == {(Decimal("17.70"), 60)}


def test_more_parts_than_can_be_kept_are_told_and_kept_coarser(read, monkeypatch):
    monkeypatch.setattr(usage, "_MANY", usage._MANY.replace(str(usage.MAX_SHARES), "2"))
    days = [a_day(ResourceGroup=f"rg-{n}") for n in range(3)]
    month = read(*days, a_day(SkuId="0002"), asked={"c1": [BY_GROUP]})
    assert parts(month) == [(None, {}, "3", 3)]
    assert parts(month, ("c1", "plan-1", "DZH318Z0BPS6", "0002", "USD")) == [("rg-app", {}, "1", 1)]
    (finding,) = month.findings
    assert "falls into 3 parts" in finding.sentence


# --- benefits and credits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "cost", "benefit"),
    [
        ("Reservation", 0, "reservation"),
        ("SavingsPlan", 0, "savings_plan"),
        ("savings plan", 0, "savings_plan"),
        ("Charge", 0, ""),
        (None, 0, ""),
        ("Reservation", 1.5, ""),  # it cost something, so it was not paid for ahead
    ],
)
def test_what_was_paid_for_ahead_is_a_part_of_its_own(read, written, cost, benefit):
    month = read(a_day(), a_day(BenefitType=written, BillingPreTaxTotal=cost))
    found = {share.benefit: share.lines for share in month.shares[PLACE]}
    assert found == ({"": 1, benefit: 1} if benefit else {"": 2})


def metered(subtotal, key, *words):
    return a_pass_on(CostKind.USAGE, subtotal, key=key, sku_id="0001", adjustments=words)


EARNED = "15.0% Partner earned credit for services managed"


def test_a_meter_that_is_billed_with_and_without_credit_is_explained_twice(read):
    month = read(
        a_day(PartnerEarnedCreditPercentage=15),
        a_day(EntitlementId="azure-2", PartnerEarnedCreditPercentage=0),
    )
    lines = [metered("0.85", "a", EARNED), metered("1.00", "b")]
    found = usage.with_shares(lines, month.shares)
    assert [[s.entitlement_id for s in line.shares] for line in found] == [["azure-1"], ["azure-2"]]


def test_days_that_do_not_tell_the_credit_explain_both_lines(read):
    month = read(a_day(), a_day(EntitlementId="azure-2"))
    lines = [metered("0.85", "a", EARNED), metered("1.00", "b")]
    found = usage.with_shares(lines, month.shares)
    assert [len(line.shares) for line in found] == [2, 2]
    alone = usage.with_shares([metered("1.85", "a", EARNED)], month.shares)
    assert [len(line.shares) for line in alone] == [2]


# --- usage that is on no invoice ---------------------------------------------------------------------


def test_usage_on_no_line_of_the_invoice_is_told_with_its_amount(read):
    month = read(a_day(), a_day(SkuId="0002", BillingPreTaxTotal=2.5), a_day(SkuId="0003"))
    (finding,) = usage.not_on_invoice([metered("1.00", "a")], month)
    assert (finding.check, finding.severity, finding.customer_id) == (
        "usage.no_line",
        Severity.WARN,
        "c1",
    )
    assert finding.sentence == (
        "Daily usage of 3.5 USD of 2 products stands on no line of this invoice."
    )


def test_usage_that_is_billed_or_cost_nothing_is_not_missed(read):
    month = read(a_day(), a_day(SkuId="0002", BillingPreTaxTotal=0))
    assert usage.not_on_invoice([metered("1.00", "a")], month) == []
    assert usage.not_on_invoice([], read(a_day(BillingPreTaxTotal=0))) == []


def test_a_hand_made_share_counts_like_one_that_was_read(read):
    (share,) = read(a_day()).shares[PLACE]
    assert share == a_share("1", lines=1)


def test_a_credit_among_the_days_says_nothing_of_who_used_what(read):
    """90.00 in one group, 10.00 in the other; a credit for the first is a line of its own."""
    days = [
        a_day(ResourceGroup="rg-a", BillingPreTaxTotal=90, Quantity=9),
        a_day(ResourceGroup="rg-b", BillingPreTaxTotal=10, Quantity=1),
        a_day(ResourceGroup="rg-a", BillingPreTaxTotal=-90, ChargeType="customerCredit"),
        a_day(ResourceGroup="rg-b", BillingPreTaxTotal=-10, ChargeType="Customer Credit"),
    ]
    month = read(*days, asked={"c1": [BY_GROUP]})
    assert parts(month) == [("rg-a", {}, "90", 1), ("rg-b", {}, "10", 1)]
    assert (month.lines, sum(one.cost for one in month.summaries)) == (4, 0)


def test_customers_of_one_plan_keep_their_own_usage(read):
    month = read(a_day(), a_day(CustomerId="c2", BillingPreTaxTotal=99))
    lines = [
        a_pass_on(CostKind.USAGE, cost, customer_id=customer, sku_id="0001")
        for customer, cost in (("c1", "1.00"), ("c2", "99.00"))
    ]
    explained = usage.with_shares(lines, month.shares)
    assert [[str(share.cost) for share in line.shares] for line in explained] == [["1"], ["99"]]
    assert usage.not_on_invoice(lines[:1], month)[0].customer_id == "c2"
