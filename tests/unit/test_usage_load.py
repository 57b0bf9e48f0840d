"""Daily usage is read to the last digit; what cannot be read is told and left out."""

import gzip
import json
from datetime import date
from decimal import Decimal

import pytest

from domain.problems import Severity
from domain.subscription import CostKind
from tests.builders import a_line, a_pass_on, a_share
from usage.load import UsageMonth, load, with_shares

LINE = {
    "CustomerId": "c1",
    "SubscriptionId": "plan-1",
    "ProductId": "DZH318Z0BPS6",
    "SkuId": "0001",
    "EntitlementId": "azure-1",
    "EntitlementDescription": "Production",
    "MeterCategory": "Storage",
    "UsageDate": "2026-10-03T00:00:00Z",
    "BillingCurrency": "USD",
    "Quantity": "1",
    "BillingPreTaxTotal": "1.00",
}


def a_text(**fields):
    """A line as JSON text; values are written raw, so that a number keeps its digits."""
    made = {**{key: json.dumps(value) for key, value in LINE.items()}, **fields}
    return "{" + ", ".join(f'"{key}": {value}' for key, value in made.items()) + "}"


@pytest.fixture
def read(tmp_path):
    def read(*files):
        paths = []
        for number, lines in enumerate(files):
            path = tmp_path / f"usage-{number}.json.gz"
            path.write_bytes(gzip.compress("\n".join(lines).encode()))
            paths.append(path)
        return load(paths, scratch=tmp_path / "scratch")

    return read


def told(month):
    return [(f.severity.value, f.sentence) for f in month.findings]


# --- digits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        ("883406386745030.3", "883406386745030.3"),
        ("0.12345678901234567", "0.12345678901234567"),
        ("0.123456789012345678", "0.123456789012345678"),
        ('"0.12345678901234567"', "0.12345678901234567"),
        ("1e-7", "0.0000001"),
        ('"1E-7"', "0.0000001"),
        ("1.5E3", "1500"),
        ("-0.30", "-0.3"),
        ("0", "0"),
        ("7", "7"),
        ("123456789012345678", "123456789012345678"),
    ],
)
def test_every_digit_of_a_number_is_kept(read, written, exact):
    month = read([a_text(Quantity=written, BillingPreTaxTotal=written)])
    (summary,) = month.summaries
    assert (summary.quantity, summary.cost) == (Decimal(exact), Decimal(exact))
    assert month.findings == ()


def test_many_small_amounts_sum_exactly(read):
    month = read([a_text(BillingPreTaxTotal="0.1", Quantity="0.000000000000000001")] * 1000)
    (summary,) = month.summaries
    assert (summary.lines, summary.cost) == (1000, Decimal(100))
    assert summary.quantity == Decimal("0.000000000000001")


# --- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (a_text(Quantity="null"), "has no Quantity that is a number"),
        (a_text(Quantity='"abc"'), "has no Quantity that is a number"),
        (a_text(Quantity='"1,5"'), "has no Quantity that is a number"),
        (a_text(Quantity='""'), "has no Quantity that is a number"),
        (a_text(Quantity="NaN"), "has no Quantity that is a number"),
        (a_text(BillingPreTaxTotal="null"), "has no BillingPreTaxTotal that is a number"),
        (a_text(BillingPreTaxTotal="[1]"), "has no BillingPreTaxTotal that is a number"),
        (a_text(BillingPreTaxTotal="123456789012345678901"), "has no BillingPreTaxTotal that"),
        (a_text(Quantity="0.1234567890123456789"), "has a number with more than 18 decimals"),
        (a_text(Quantity='"0.1234567890123456789"'), "has a number with more than 18 decimals"),
        (a_text(UsageDate='"3 October"'), "has no UsageDate that is a date"),
        (a_text(UsageDate="null"), "has no UsageDate that is a date"),
        (a_text(SubscriptionId='""'), "has no SubscriptionId"),
        (a_text(BillingCurrency="null"), "has no BillingCurrency"),
    ],
)
def test_a_line_that_cannot_be_rated_holds_its_customer_and_is_left_out(read, text, fault):
    month = read([text, a_text()])
    assert (month.lines, [s.lines for s in month.summaries]) == (2, [1])
    ((severity, sentence),) = told(month)
    assert severity == "hold"
    assert sentence.startswith(f"A usage line of usage-0.json.gz {fault}")
    assert month.findings[0].customer_id == "c1"


@pytest.mark.parametrize(
    "broken", ['{"CustomerId": "c1"', "not json", "[1]", "3", "null", '{"CustomerId": "c1"} {}']
)
def test_what_is_no_json_object_is_told_of_the_file(read, broken):
    month = read([a_text(), broken, a_text()])
    assert [s.lines for s in month.summaries] == [2]
    assert told(month) == [
        ("warn", "A usage line of usage-0.json.gz is no JSON object (seen on 1).")
    ]


def test_blank_lines_are_no_lines(read):
    month = read([a_text(), "", a_text(), ""])
    assert (month.lines, month.findings) == (2, ())


@pytest.mark.parametrize("nobody", ["{}", a_text(CustomerId='""')])
def test_a_line_of_nobody_is_told_of_the_file(read, nobody):
    ((severity, sentence),) = told(read([nobody]))
    assert (severity, "has no CustomerId (seen on 1)" in sentence) == ("warn", True)


def test_one_fault_of_one_file_and_customer_is_told_once_with_its_count(read):
    month = read([a_text(Quantity="null")] * 3, [a_text(Quantity="null")])
    assert [(f.severity, f.sentence.rpartition("(")[2]) for f in month.findings] == [
        (Severity.HOLD, "seen on 3)."),
        (Severity.HOLD, "seen on 1)."),
    ]
    assert len({f.key for f in month.findings}) == 2


# --- sums ------------------------------------------------------------------------------------------


def test_no_files_are_no_usage(tmp_path):
    assert load([], scratch=tmp_path / "scratch") == UsageMonth(
        lines=0, summaries=(), shares={}, findings=()
    )


def test_a_file_without_lines_is_no_usage_either(read):
    month = read([], [a_text()])
    assert (month.lines, month.findings) == (1, ())


def test_days_are_summed_by_subscription_and_category_over_all_files(read):
    month = read(
        [a_text(), a_text(MeterCategory='"Compute"'), a_text(UsageDate='"2026-10-04"')],
        [a_text(BillingPreTaxTotal="0.25"), a_text(EntitlementId='"azure-2"')],
    )
    assert month.lines == 5
    assert [(s.entitlement_id, s.meter_category, s.day, str(s.cost)) for s in month.summaries] == [
        ("azure-1", "Compute", date(2026, 10, 3), "1"),
        ("azure-1", "Storage", date(2026, 10, 3), "1.25"),
        ("azure-1", "Storage", date(2026, 10, 4), "1"),
        ("azure-2", "Storage", date(2026, 10, 3), "1"),
    ]


def test_the_month_is_shared_by_plan_product_and_currency(read):
    month = read(
        [
            a_text(),
            a_text(UsageDate='"2026-10-04"'),
            a_text(SkuId='"0002"'),
            a_text(BillingCurrency='"EUR"'),
        ]
    )
    place = ("c1", "plan-1", "DZH318Z0BPS6", "0001", "USD")
    assert month.shares[place] == (a_share("2", lines=2, quantity=Decimal(2)),)
    assert len(month.shares) == 3


def test_what_has_no_category_is_other_and_no_entitlement_is_empty(read):
    text = a_text(MeterCategory='""', EntitlementId="null", EntitlementDescription="null")
    (summary,) = read([text]).summaries
    assert (summary.meter_category, summary.entitlement_id, summary.entitlement_name) == (
        "Other",
        "",
        "",
    )


def test_identifiers_match_microsofts_lines_in_whatever_case_they_come(read):
    text = a_text(
        CustomerId='"C1"',
        SubscriptionId='"PLAN-1"',
        EntitlementId='"Azure-1"',
        BillingCurrency='"usd"',
    )
    month = read([text, a_text()])
    assert [(s.customer_id, s.lines) for s in month.summaries] == [("c1", 2)]
    (line,) = with_shares([a_pass_on(CostKind.USAGE, "2.00", sku_id="0001")], month.shares)
    assert [share.lines for share in line.shares] == [2]


def test_only_metered_lines_are_explained_by_usage():
    shares = {("c1", "s1", "CFQ7TTC0LH18", "0001", "USD"): (a_share("1"),)}
    seats, metered = a_line(), a_line(kind=CostKind.USAGE)
    unknown = a_line(kind=CostKind.USAGE, sku_id="other", shares=(a_share("9"),))
    explained = with_shares([seats, metered, unknown], shares)
    assert [line.shares for line in explained] == [(), (a_share("1"),), ()]
