"""The audit beside the partner's own invoices: what was not billed, wrongly billed, and what it is worth."""

from decimal import Decimal

import pytest

from app.cli import main
from tests.app import audit_files as files
from tests.app.audit_files import checks


@pytest.fixture(scope="module")
def october():
    return files.lines(files.EUR)


def invoiced(rows):
    """Every line of Microsoft passed on at a fifth more, as a partner's program might write it."""
    for number, row in enumerate(rows):
        credit = row["Subtotal"] < 0
        quantity = abs(Decimal(row["BillableQuantity"]))
        yield {
            "Invoice No": f"INV-{number // 9}",
            "Customer Name": row["CustomerName"].upper(),
            "Subscription ID": row["SubscriptionId"],
            "Product": row["SkuName"],
            "Service start": row["ChargeStartDate"][:10],
            "Service end": row["ChargeEndDate"][:10],
            "Qty": -quantity if credit else quantity,
            "Net": files.cents(row["Subtotal"] * Decimal("1.2")),
            "Currency": "EUR",
            "VAT": "0",
        }


@pytest.fixture
def own(october):
    return list(invoiced(october))


@pytest.fixture
def audit(october, tmp_path):
    recon = files.write(tmp_path / "recon.json", files.json_lines(october))

    def run(lines, **form):
        path = files.write(tmp_path / "own.csv", files.csv_text(lines, **form))
        return files.answer(recon, invoices=path)

    return run


def seats(own, october):
    return next(
        line
        for line, row in zip(own, october, strict=True)
        if row["ChargeType"].lower() == "cyclecharge" and line["Qty"] > 2
    )


def test_invoices_that_pass_everything_on_are_clean(own, audit):
    data = audit(own)
    assert data["clean"]
    assert Decimal(data["sold"]["EUR"]) == sum(line["Net"] for line in own)


def test_a_customer_who_was_never_billed_is_one_point_worth_its_cost(own, audit, october):
    customer = october[0]["CustomerName"]
    data = audit([line for line in own if line["Customer Name"] != customer.upper()])
    (point,) = data["points"]
    assert (point["check"], point["remedy"]) == ("sold.never_billed", "bill_customer")
    assert point["customer"] == customer
    cost = sum(row["Subtotal"] for row in october if row["CustomerName"] == customer)
    assert Decimal(point["amount"]) == cost


def test_fewer_seats_than_microsoft_billed_are_to_be_billed_at_the_customer_s_price(
    own, audit, october
):
    line = seats(own, october)
    missing = files.cents(line["Net"] / line["Qty"])
    line["Net"] -= missing
    line["Qty"] -= 1
    (point,) = audit(own)["points"]
    assert (point["cause"], point["remedy"]) == ("quantity", "bill_customer")
    assert abs(Decimal(point["amount"]) - missing) <= Decimal("0.05")


def test_a_line_that_was_billed_twice_is_to_be_credited(own, audit, october):
    line = seats(own, october)
    (point,) = audit([*own, line | {"Invoice No": "INV-X"}])["points"]
    assert (point["cause"], point["remedy"]) == ("duplicate", "credit_customer")
    assert Decimal(point["amount"]) == -line["Net"]


def test_a_price_below_cost_is_told(own, audit, october):
    line = seats(own, october)
    line["Net"] = files.cents(line["Net"] / 3)
    assert "sold.below_cost" in checks(audit(own))


def test_another_currency_is_told_and_never_added(own, audit, october):
    line = seats(own, october)
    line["Currency"] = "USD"
    data = audit(own)
    assert "sold.currency" in checks(data)
    assert set(data["sold"]) == {"EUR", "USD"}


def test_a_credit_of_microsoft_that_was_not_passed_on_is_the_customer_s(tmp_path):
    rows = files.lines("G000912343")
    credit = min(rows, key=lambda row: row["Subtotal"])
    credit = next((r for r in rows if r["ChargeType"] == "customerCredit"), credit)
    own = [line for line, row in zip(invoiced(rows), rows, strict=True) if row is not credit]
    own = [line | {"Currency": "USD"} for line in own]
    recon = files.write(tmp_path / "recon.json", files.json_lines(rows))
    path = files.write(tmp_path / "own.csv", files.csv_text(own))
    data = files.answer(recon, invoices=path)
    owed = [p for p in data["points"] if p["remedy"] == "credit_customer"]
    assert credit["CustomerId"] in {p["customer_id"] for p in owed}
    assert all(Decimal(p["amount"]) < 0 for p in owed)


def test_points_are_sorted_by_worth(own, audit, october):
    line = seats(own, october)
    line["Net"] -= 1
    data = audit([*own[1:], own[5]])
    amounts = [abs(Decimal(p["amount"] or 0)) for p in data["points"] if p["weight"] == "act"]
    assert len(amounts) > 1
    assert amounts == sorted(amounts, reverse=True)


def without_days(own, **more):
    return [{n: v for n, v in x.items() if not n.startswith("Service")} | more for x in own]


@pytest.mark.parametrize("more", [{}, {"Month": "2026-10"}])
def test_without_service_dates_sums_are_compared(own, audit, more):
    assert audit(without_days(own, **more))["clean"]


def test_rows_without_days_for_several_months_are_compared_in_sum(own, october, tmp_path):
    before = files.lines("G000912344")
    rows = without_days([*own, *invoiced(before)])
    paths = [
        files.write(tmp_path / f"{n}.json", files.json_lines(some))
        for n, some in enumerate((october, before))
    ]
    path = files.write(tmp_path / "own.csv", files.csv_text(rows))
    assert files.answer(*paths, invoices=path)["clean"]
    line = max(rows, key=lambda row: row["Net"])
    line["Net"] /= 10
    path = files.write(tmp_path / "own.csv", files.csv_text(rows))
    assert "bill_customer" in {p["remedy"] for p in files.answer(*paths, invoices=path)["points"]}


def test_a_credit_is_one_with_either_sign_of_its_quantity(own, audit):
    assert any(line["Qty"] < 0 for line in own)
    assert audit([line | {"Qty": abs(line["Qty"])} for line in own])["clean"]


@pytest.mark.parametrize("more", [{"Month": "2026-10"}, None])
def test_a_month_of_microsoft_without_own_invoices_proves_nothing(own, october, tmp_path, more):
    rows = own if more is None else without_days(own, **more)
    months = (october, files.lines("G000912344"))
    paths = [
        files.write(tmp_path / f"{n}.json", files.json_lines(some)) for n, some in enumerate(months)
    ]
    path = files.write(tmp_path / "own.csv", files.csv_text(rows))
    (point,) = files.answer(*paths, invoices=path)["points"]
    assert (point["check"], point["weight"]) == ("sold.month", "incomplete")
    assert "September 2026, for which Microsoft billed 26,737.27 EUR" in point["sentence"]


def test_own_invoices_of_a_month_without_microsoft_s_file_are_no_credits(own, audit):
    later = [
        line | {"Service start": "2026-12-01", "Service end": "2026-12-31", "Invoice No": "D"}
        for line in own[:4]
    ]
    (point,) = audit([*own, *later])["points"]
    assert (point["check"], point["weight"]) == ("sold.alone", "incomplete")
    assert "4 of your lines" in point["sentence"]


def test_invoices_in_another_currency_say_what_was_not_compared(own, audit):
    data = audit([line | {"Currency": "CHF", "Net": "0.01"} for line in own if line["Net"] > 0])
    assert "sold.currency_apart" in checks(data, "incomplete")
    assert not data["reconcilable"]


def test_own_services_and_discounts_are_told_and_nobody_s_to_credit(own, audit):
    first = own[0] | {"Subscription ID": "", "Qty": 1}
    services = [
        first | {"Product": "Managed service desk", "Net": 500},
        first | {"Product": "Loyalty discount", "Net": -100},
    ]
    data = audit([*own, *services])
    assert data["clean"]
    assert checks(data) == ["sold.own", "sold.own"]
    foreign = first | {"Product": "Microsoft 365 F3", "Net": 500}
    assert audit([*own, foreign])["points"][0]["remedy"] == "credit_customer"


def test_a_tenant_that_microsoft_does_not_name_is_told_where_names_are_missing_too(
    own, october, tmp_path
):
    bare = [{n: v for n, v in row.items() if n != "CustomerName"} for row in october]
    recon = files.write(tmp_path / "recon.json", files.json_lines(bare))
    rows = [line | {"Customer Name": "", "Tenant": f"{1:036}"} for line in own]
    path = files.write(tmp_path / "own.csv", files.csv_text(rows))
    assert "sold.unknown_customer" in checks(files.answer(recon, invoices=path))


def test_a_domain_names_a_customer_and_azure_its_plan(own, audit, october):
    rows = [
        line | {"Customer Name": "", "Domain": row["CustomerDomainName"]}
        for line, row in zip(own, october, strict=True)
    ]
    assert audit(rows)["clean"]
    plans = {row["SubscriptionId"] for row in october if row["ProductId"].startswith("DZH")}
    assert audit(
        [x | {"Subscription ID": "Azure"} if x["Subscription ID"] in plans else x for x in own]
    )["clean"]


def test_a_german_program_s_file_says_the_same(own, audit):
    german = [
        {
            **line,
            "Net": files.german(f"{line['Net']:f}"),
            "Qty": files.german(f"{line['Qty']:f}"),
            "Service start": files.german_day(line["Service start"]),
            "Service end": files.german_day(line["Service end"]),
        }
        for line in own
    ]
    assert audit(german, delimiter=";") == audit(own)


def test_names_that_microsoft_does_not_know_and_rows_that_cannot_be_read_are_told(own, audit):
    own[0]["Customer Name"] = "Nobody Ltd"
    own[1]["Net"] = "a lot"
    found = checks(audit(own))
    assert "sold.unknown_customer" in found
    assert "sold.unreadable" in found


def test_missing_columns_are_named(own, tmp_path, october, capsys):
    recon = files.write(tmp_path / "recon.json", files.json_lines(october))
    path = files.write(tmp_path / "own.csv", files.csv_text(own).replace("Currency", "Curency", 1))
    assert main(["audit", str(recon), "--invoices", str(path), "--out", str(tmp_path / "o")]) == 2
    assert "own.csv has no column currency (nearest: Curency)" in capsys.readouterr().err
