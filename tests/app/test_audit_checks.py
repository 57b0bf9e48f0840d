"""Each check of an audit: a case in which it fires, one in which it must not, one with data missing.

The lines are those of an emulated partner, whose months are clean; a test changes one thing.
"""

from copy import deepcopy
from decimal import Decimal

import pytest

from tests.app import audit_files as files
from tests.app.audit_files import checks

MONTHS = ("G000912342", "G000912344", "G000912346")
"""August to October 2026 in EUR."""


@pytest.fixture(scope="module")
def three_months():
    return {invoice: files.lines(invoice) for invoice in MONTHS}


@pytest.fixture(scope="module")
def october_usage():
    return files.world(files.EUR)[1]


@pytest.fixture
def months(three_months):
    return deepcopy(three_months)


@pytest.fixture
def october(months):
    return months[files.EUR]


@pytest.fixture
def audit(tmp_path, months):
    """Audit what the months have become, or other rows, with more files beside them."""

    def run(*rows, **more):
        for old in tmp_path.iterdir():
            old.unlink()
        paths = [
            files.write(tmp_path / f"{n}.json", files.json_lines(some))
            for n, some in enumerate(rows or months.values())
        ]
        paths += [
            files.write(tmp_path / name, files.json_lines(some)) for name, some in more.items()
        ]
        return files.answer(*paths)

    return run


def seats(rows, charge_type="cycleCharge", **fields):
    """The first seat line of several seats that fits."""
    return next(
        row
        for row in rows
        if row["ChargeType"].lower() == charge_type.lower()
        and row["BillingFrequency"] == "Monthly"
        and Decimal(row["BillableQuantity"]) > 2
        and all(row[name] == value for name, value in fields.items())
    )


def metered(rows):
    """The largest meter of Microsoft's own that earns credit."""
    return max(
        (row for row in rows if "Partner earned" in row["PriceAdjustmentDescription"]),
        key=lambda row: Decimal(str(row["Subtotal"])),
    )


def only(data):
    (point,) = data["points"]
    return point


def test_months_as_microsoft_bills_them_are_clean(audit):
    data = audit()
    assert data["clean"]
    assert data["points"] == []


# --- arithmetic ------------------------------------------------------------------------------------------


def test_a_subtotal_that_the_line_s_own_figures_do_not_lead_to_is_a_claim(audit, october):
    line = metered(october)
    line["Subtotal"] += 10
    line["Total"] = line["Subtotal"]
    point = only(audit(october))
    assert (point["check"], point["cause"], point["remedy"]) == (
        "line.arithmetic",
        "price",
        "claim",
    )
    assert point["amount"] == "10.00"
    assert point["product"] == line["SkuName"]


def test_a_cent_for_each_unit_is_rounding_and_is_named(audit, october):
    line = seats(october)
    assert line["BillableQuantity"] > 5
    line["Subtotal"] = line["Total"] = line["Subtotal"] + Decimal("0.05")
    data = audit(october)
    assert data["clean"]
    assert set(checks(data)) <= {"seats.rounding"}
    assert data["invoices"][0]["rounding"] == f"{line['Subtotal']:.2f}"
    assert data["invoices"][0]["rounding_drift"] == "0.05"


def test_a_line_without_a_price_is_not_proven(audit, october):
    line = metered(october)
    line["EffectiveUnitPrice"] = 0
    data = audit(october)
    assert checks(data, "act") == ["line.no_price"]
    assert not data["clean"]
    assert data["invoices"][0]["unchecked"] == f"{line['Subtotal']:.2f}"


def test_a_total_is_subtotal_and_tax(audit, october):
    line = metered(october)
    line["TaxTotal"] = Decimal("5.00")
    assert checks(audit(october)) == ["line.total"]
    line["Total"] = line["Subtotal"] + 5
    assert checks(audit(october)) == []
    del line["Total"]
    assert checks(audit(october)) == []


# --- the history of a subscription ---------------------------------------------------------------------------


def test_a_cycle_that_is_missing_between_two_months_is_told(audit, months):
    line = seats(months["G000912342"])
    subscription = line["SubscriptionId"]
    middle = [x for x in months["G000912344"] if x["SubscriptionId"] != subscription]
    assert len(middle) < len(months["G000912344"])
    data = audit(months["G000912342"], middle, months[files.EUR])
    (point,) = [p for p in data["points"] if p["subscription"] == subscription]
    assert point["cause"] == "missing_invoice_line"
    assert Decimal(point["amount"]) < 0
    assert "check that the file is whole" in point["hint"]


def test_a_customer_of_whom_a_month_lacks_every_line_makes_it_not_reconcilable(audit, months):
    customer = seats(months["G000912342"])["CustomerId"]
    middle = [x for x in months["G000912344"] if x["CustomerId"] != customer]
    data = audit(months["G000912342"], middle, months[files.EUR])
    assert not data["reconcilable"]
    assert {p["customer_id"] for p in data["points"]} == {customer}
    assert data["verdict"].startswith("Not reconcilable: ")


def test_a_month_between_two_others_without_a_file_is_not_reconcilable(audit, months):
    data = audit(months["G000912342"], months[files.EUR])
    assert checks(data) == ["files.month"]
    assert "EUR for September 2026" in only(data)["sentence"]
    assert not data["reconcilable"]


def test_a_price_that_changes_within_the_term_is_a_claim_of_the_difference(audit, months):
    for row in months["G000912342"]:
        later = next(
            (x for x in months[files.EUR] if x["SubscriptionId"] == row["SubscriptionId"]), None
        )
        if later and row["ChargeType"].lower() == later["ChargeType"].lower() == "cyclecharge":
            break
    quantity = int(later["BillableQuantity"])
    for name in ("UnitPrice", "EffectiveUnitPrice"):
        later[name] = Decimal(later[name]) + 1
    later["Subtotal"] = later["Total"] = later["Subtotal"] + quantity
    point = only(audit())
    assert (point["check"], point["remedy"]) == ("seats.price", "claim")
    assert Decimal(point["amount"]) > 0


def test_a_promotion_that_ends_within_the_term_is_a_claim(audit):
    """The emulated partner's story: 15 % off, and October without it."""
    data = audit(files.lines("G000912343"), files.lines(files.USD))
    (point,) = [p for p in data["points"] if p["cause"] == "promotion"]
    assert (point["remedy"], point["invoice"]) == ("claim", files.USD)
    assert Decimal(point["amount"]) > 0
    alone = audit(files.lines(files.USD))
    assert "seats.promotion" not in checks(alone)


def test_a_change_that_is_not_prorated_by_its_days_is_told(audit, october, months):
    change = next(
        x
        for x in october
        if x["ChargeType"].lower() == "addquantity"
        and x["Subtotal"] > 0
        and Decimal(x["EffectiveUnitPrice"]) != Decimal(x["UnitPrice"])
        and any(y["SubscriptionId"] == x["SubscriptionId"] for y in months["G000912344"])
    )
    quantity, rate = Decimal(change["BillableQuantity"]), Decimal(change["PCToBCExchangeRate"])
    before = change["Subtotal"]
    change["EffectiveUnitPrice"] = Decimal(change["UnitPrice"])
    unit = (change["EffectiveUnitPrice"] * rate).quantize(Decimal("0.01"), rounding="ROUND_DOWN")
    change["Subtotal"] = change["Total"] = unit * quantity
    point = only(audit())
    assert (point["cause"], point["remedy"]) == ("proration", "claim")
    assert Decimal(point["amount"]) == change["Subtotal"] - before


def test_other_seats_than_the_history_has_are_told(audit, october, months):
    line = seats(october)
    old = int(line["BillableQuantity"])
    line["Subtotal"] = line["Total"] = line["Subtotal"] / old * (old + 2)
    line["BillableQuantity"] = line["Quantity"] = old + 2
    if all(x["SubscriptionId"] != line["SubscriptionId"] for x in months["G000912344"]):
        pytest.skip("the subscription began in the month")
    point = only(audit())
    assert (point["check"], point["cause"], point["remedy"]) == (
        "seats.quantity",
        "quantity",
        "claim",
    )


def test_a_change_of_seats_whose_credit_is_missing_does_not_chain(audit, october):
    change = next(
        x for x in october if x["ChargeType"].lower() == "addquantity" and x["Subtotal"] < 0
    )
    october.remove(change)
    point = only(audit())
    assert (point["subscription"], point["cause"]) == (change["SubscriptionId"], "quantity")
    assert Decimal(point["amount"]) > 0
    assert "its other half is missing" in point["hint"]


def test_a_credit_without_its_charge_is_told(audit, october):
    """The purchase is of this month, so it should be in the file."""
    credit = dict(seats(october, "new"))
    credit |= {"ChargeType": "cancelImmediate", "SubscriptionId": "a credit of nothing"}
    credit["Subtotal"] = credit["Total"] = -credit["Subtotal"]
    credit["EffectiveUnitPrice"] = -Decimal(credit["EffectiveUnitPrice"])
    data = audit([*october, credit])
    (point,) = [p for p in data["points"] if p["weight"] != "note"]
    assert point["cause"] in ("credit_without_charge", "quantity", "missing_subscription")
    assert point["subscription"] == credit["SubscriptionId"]


# --- lines beside each other ----------------------------------------------------------------------------------


def test_a_line_that_stands_there_twice_is_a_claim(audit, october):
    line = metered(october)
    point = only(audit([*october, line]))
    assert (point["check"], point["cause"], point["remedy"]) == (
        "line.duplicate",
        "duplicate",
        "claim",
    )
    assert point["amount"] == f"{line['Subtotal']:.2f}"


def test_two_charges_of_one_subscription_for_the_same_days_are_told(audit, october):
    line = seats(october)
    again = line | {"OrderId": "another order", "AlternateId": "another order"}
    point = only(audit([*october, again]))
    assert (point["cause"], point["remedy"]) == ("duplicate", "claim")
    assert point["subscription"] == line["SubscriptionId"]


def test_one_invoice_has_one_exchange_rate(audit, october):
    line = metered(october)
    rate = Decimal(line["PCToBCExchangeRate"])
    line["PCToBCExchangeRate"] = rate * 2
    line["Subtotal"] = line["Total"] = line["Subtotal"] * 2
    data = audit(october)
    assert checks(data) == ["invoice.exchange_rate"]
    assert only(data)["amount"] == f"{line['Subtotal'] / 2:.2f}"
    for row in october:
        row.pop("PCToBCExchangeRate")
    assert "invoice.exchange_rate" not in checks(audit(october))


def test_lines_that_name_another_partner_than_the_invoice_are_told_once_a_customer(audit, october):
    customer = october[0]["CustomerId"]
    for row in october:
        if row["CustomerId"] == customer:
            row["MpnId"] = "999"
    point = only(audit(october))
    assert (point["check"], point["amount"]) == ("customer.partner_id", None)
    assert point["customer_id"] == customer
    for row in october:
        row["MpnId"] = ""
    assert checks(audit(october)) == []


def test_several_resellers_of_one_customer_are_told(audit, october):
    october[0]["Tier2MpnId"] = "7654321"
    assert checks(audit(october)) == ["customer.reseller"]


def test_usage_that_earns_no_credit_is_told_with_what_it_costs(audit, october):
    line = metered(october)
    line["PriceAdjustmentDescription"] = "[]"
    line["EffectiveUnitPrice"] = line["UnitPrice"]
    line["Subtotal"] = line["Total"] = files.full_price(line)
    point = only(audit(october))
    assert (point["check"], point["remedy"]) == ("usage.earned_credit", "restore_access")
    assert Decimal(point["amount"]) == files.cents(line["Subtotal"] * 15 / 100)


def test_a_customer_without_any_earned_credit_is_no_finding(audit, october):
    customer = metered(october)["CustomerId"]
    for line in october:
        if line["CustomerId"] == customer and line["TermAndBillingCycle"] == "Azure plan":
            line["PriceAdjustmentDescription"] = '["No credit"]'
    assert checks(audit(october)) == []


# --- daily usage ------------------------------------------------------------------------------------------------


def test_daily_usage_beside_its_invoice_is_explained_and_its_drift_is_named(
    audit, october, october_usage
):
    data = audit(october, usage=october_usage)
    assert data["points"] == []
    (invoice,) = data["invoices"]
    assert Decimal(invoice["usage_drift"]) > 0


def test_whole_days_without_usage_are_told_once_and_make_it_not_reconcilable(
    audit, october, october_usage
):
    """The metered lines say that there was some."""
    away = ("2026-10-04", "2026-10-31")
    data = audit(october, usage=[x for x in october_usage if x["UsageDate"][:10] not in away])
    point = only(data)
    assert point["check"] == "usage.days"
    assert "hold no line for 2026-10-04, 2026-10-31; " in point["sentence"]
    lost = sum(x["BillingPreTaxTotal"] for x in october_usage if x["UsageDate"][:10] in away)
    drift = Decimal(point["amount"]) - lost
    assert 0 <= drift <= len(october_usage) * Decimal("0.02")
    assert not data["reconcilable"]


def test_missing_days_of_one_meter_show_in_its_quantity(audit, october, october_usage):
    line = metered(october)
    dropped = [
        row
        for row in october_usage
        if (row["SubscriptionId"], row["SkuId"]) == (line["SubscriptionId"], line["SkuId"])
        and row["UsageDate"] < "2026-10-06"
    ]
    assert dropped
    rest = [row for row in october_usage if row not in dropped]
    point = only(audit(october, usage=rest))
    assert (point["check"], point["remedy"]) == ("usage.quantity", "download_again")
    assert point["weight"] == "incomplete"
    assert point["product"] == line["SkuName"]


def test_a_meter_without_any_usage_makes_it_not_reconcilable(audit, october, october_usage):
    line = metered(october)
    rest = [
        row
        for row in october_usage
        if (row["SubscriptionId"], row["SkuId"]) != (line["SubscriptionId"], line["SkuId"])
    ]
    data = audit(october, usage=rest)
    assert checks(data) == ["usage.missing"]
    assert not data["reconcilable"]


def test_usage_that_the_invoice_does_not_bill_is_told(audit, october, october_usage):
    line = metered(october)
    october.remove(line)
    point = only(audit(october, usage=october_usage))
    assert point["check"] == "usage.not_billed"
    assert Decimal(point["amount"]) < 0


def test_a_metered_line_beyond_what_rounding_can_make_is_told(audit, october, october_usage):
    line = metered(october)
    for name in ("EffectiveUnitPrice", "UnitPrice"):
        line[name] = line[name] * 2
    line["Subtotal"] = line["Total"] = files.full_price(line)
    point = only(audit(october, usage=october_usage))
    assert (point["check"], point["cause"], point["remedy"]) == ("usage.amount", "price", "claim")


def test_daily_lines_whose_amount_does_not_follow_from_their_price_are_told(
    audit, october, october_usage
):
    changed = [dict(row) for row in october_usage]
    row = max(changed, key=lambda x: Decimal(str(x["BillingPreTaxTotal"])))
    row["BillingPreTaxTotal"] = Decimal(str(row["BillingPreTaxTotal"])) + Decimal("0.50")
    data = audit(october, usage=changed)
    assert "usage.arithmetic" in checks(data)


def test_usage_without_its_invoice_proves_nothing(audit, october_usage):
    data = audit(october_usage)
    assert checks(data) == ["usage.alone"]
    assert data["verdict"] == "There are no lines of an invoice in these files: nothing is proven."
    assert not data["clean"]


def test_usage_of_the_running_month_is_a_forecast(audit, october, october_usage):
    running = [row | {"InvoiceNumber": ""} for row in october_usage]
    data = audit(october, usage=running)
    assert checks(data) == ["usage.unbilled"]
    assert data["clean"]


def test_an_azure_subscription_without_earned_credit_is_named(audit, october, october_usage):
    customer = metered(october)["CustomerId"]
    changed = [dict(row) for row in october_usage]
    lost = [x for x in changed if x["CustomerId"] == customer][:30]
    for row in lost:
        row["PartnerEarnedCreditPercentage"] = 0
    data = audit(october, usage=changed)
    found = [p for p in data["points"] if p["check"] == "usage.earned_credit"]
    assert found
    assert {p["customer_id"] for p in found} == {customer}
    assert all("Azure subscription" in p["sentence"] for p in found)
    without = [{n: v for n, v in x.items() if not n.startswith("PartnerEarned")} for x in changed]
    assert audit(october, usage=without)["points"] == []


# --- whether the files are whole -----------------------------------------------------------------------------------


def test_the_head_of_an_invoice_proves_that_no_line_is_missing(audit, october, tmp_path):
    heads = [row for row in files.heads() if row["id"] == files.EUR]
    data = audit(october, heads=heads)
    assert data["clean"]
    assert data["invoices"][0]["head"] == data["invoices"][0]["subtotal"]
    short = audit([x for x in october if x["BillingFrequency"] != "OneTime"][:-1], heads=heads)
    assert "invoice.total" in checks(short, "incomplete")
    assert not short["reconcilable"]


def test_a_total_row_is_a_control_total_and_no_line(audit, october, tmp_path):
    total = sum(row["Subtotal"] for row in october)
    for told, expected in ((total, []), (total + 1, ["file.total"])):
        row = dict.fromkeys(october[0], "") | {"CustomerId": "Total", "Subtotal": told}
        path = files.write(tmp_path / "sheet.csv", files.csv_text([*october, row]))
        data = files.answer(path)
        assert checks(data) == expected
        assert data["invoices"][0]["lines"] == len(october)


def test_a_total_row_under_daily_usage_is_a_control_total_too(october, october_usage, tmp_path):
    recon = files.write(tmp_path / "recon", files.json_lines(october))
    total = sum(row["BillingPreTaxTotal"] for row in october_usage)
    for told, expected in ((total, []), (total + 1, ["file.total"])):
        row = dict.fromkeys(october_usage[0], "") | {"BillingPreTaxTotal": told}
        usage = files.write(tmp_path / "usage.csv", files.csv_text([*october_usage, row]))
        data = files.answer(recon, usage)
        assert checks(data) == expected
        assert data["invoices"][0]["usage_lines"] == len(october_usage)


@pytest.mark.parametrize("form", ["csv", "json lines"])
def test_rows_that_cannot_be_read_are_told_and_the_rest_goes_on(form, october, tmp_path):
    broken = [dict(row) for row in october]
    broken[4]["Subtotal"] = "12,x"
    path = files.FORMS[form](tmp_path / "lines", broken)
    data = files.answer(path)
    point = next(p for p in data["points"] if p["check"] == "rows.unreadable")
    line = 6 if form == "csv" else 5
    assert (
        f"1 row of lines cannot be read and is left out: line {line} of lines" in point["sentence"]
    )
    assert "'12,x', which is not a number" in point["sentence"]
    assert data["invoices"][0]["lines"] == len(october) - 1
    assert not data["reconcilable"]


@pytest.mark.parametrize("form", ["csv", "json lines"])
def test_usage_rows_that_cannot_be_read_are_told(form, october, october_usage, tmp_path):
    broken = [dict(row) for row in october_usage]
    broken[4]["Quantity"] = "many"
    usage = files.FORMS[form](tmp_path / "usage", broken)
    recon = files.write(tmp_path / "recon", files.json_lines(october))
    data = files.answer(recon, usage)
    point = next(p for p in data["points"] if p["check"] == "rows.unreadable")
    assert "row 5 has no Quantity that is a number" in point["sentence"]


def test_a_row_with_too_few_fields_is_told(october, october_usage, tmp_path):
    for n, rows in enumerate((october, october_usage)):
        text = files.csv_text(rows).splitlines(keepends=True)
        text[3] = text[3].split(",", 3)[3]
        data = files.answer(files.write(tmp_path / f"{n}.csv", "".join(text)))
        assert "rows.unreadable" in checks(data, "incomplete")


def test_pages_that_are_missing_are_seen_by_the_count_that_each_carries(october, tmp_path):
    pages = [october[:60], october[60:]]
    paths = [
        files.write(
            tmp_path / f"page{n}.json",
            files.exact_json.dumps({"totalCount": len(october), "items": files.v1(rows)}),
        )
        for n, rows in enumerate(pages)
    ]
    assert files.answer(*paths)["clean"]
    assert "file.pages" in checks(files.answer(paths[0]), "incomplete")


def a_page(path, rows, count):
    content = {"totalCount": count, "items": files.v1(rows)}
    return files.write(path, files.exact_json.dumps(content))


def test_pages_are_counted_by_invoice(october, tmp_path):
    other = files.lines(files.USD)[:20]
    pages = [a_page(tmp_path / "eur", october[:10], 20), a_page(tmp_path / "usd", other, 20)]
    (point,) = [p for p in files.answer(*pages)["points"] if p["check"] == "file.pages"]
    assert "eur of 20 lines holds 10" in point["sentence"]
    assert point["invoice"] == files.EUR


def test_a_page_that_is_there_twice_is_one_page(october, october_usage, tmp_path):
    for n, rows in enumerate((october, october_usage)):
        twice = [a_page(tmp_path / f"{n}{name}", rows[:10], 20) for name in "ab"]
        assert "file.pages" in checks(files.answer(*twice), "incomplete")


def an_export(folder, rows, manifest):
    files.write(folder / "part-0.json", files.json_lines(rows))
    files.write(folder / "manifest.json", files.exact_json.dumps(manifest))
    return folder


def test_each_manifest_speaks_of_the_files_beside_it(october, october_usage, tmp_path):
    other, other_usage = files.world(files.USD)
    recon = files.write(tmp_path / "r.json", files.json_lines([*october, *other]))
    exports = {"eur": october_usage, "usd": other_usage}
    for name, rows in exports.items():
        blob = {"name": "part-0.json", "itemCount": len(rows)}
        an_export(tmp_path / "a" / name, rows, {"rootDirectory": "https://x", "blobs": [blob]})
        total = str(sum(row["BillingPreTaxTotal"] for row in rows))
        sums = {rows[0]["BillingCurrency"]: total}
        manifest = {"lines": len(rows), "sum_billing_pretax": sums}
        an_export(tmp_path / "b" / name, rows, manifest)
    for kind in "ab":
        apart = [tmp_path / kind / name for name in exports]
        assert not checks(files.answer(recon, *apart), "incomplete")
        assert not checks(files.answer(recon, tmp_path / kind), "incomplete")
    rows.pop()
    files.write(tmp_path / "b" / "usd" / "part-0.json", files.json_lines(rows))
    assert "manifest.lines" in checks(files.answer(recon, tmp_path / "b"), "incomplete")


def test_lines_alike_in_two_parts_of_one_export_are_two_lines(october, tmp_path):
    line = seats(october)
    parts = {"part-0.json": october, "part-1.json": [line, *october[:0]]}
    for name, rows in parts.items():
        files.write(tmp_path / name, files.json_lines(rows))
    blobs = [{"name": name, "itemCount": len(rows)} for name, rows in parts.items()]
    manifest = {"rootDirectory": "https://x", "blobs": blobs}
    files.write(tmp_path / "manifest.json", files.exact_json.dumps(manifest))
    data = files.answer(tmp_path)
    assert data["invoices"][0]["lines"] == len(october) + 1
    assert "claim" in {point["remedy"] for point in data["points"]}


@pytest.mark.parametrize("spelt", [lambda rows: rows, files.v1])
def test_members_that_the_first_records_lack_are_read(spelt, tmp_path):
    rows, usage = files.world(files.USD)
    recon = files.write(tmp_path / "r.json", files.json_lines(rows))
    whole = files.write(tmp_path / "u.json", files.json_lines(usage))
    plain = [row["PartnerEarnedCreditPercentage"] == 0 for row in usage]
    assert any(plain)
    first = [n for n, none in enumerate(plain) if not none][:300]
    usage = [*(usage[n] for n in first), *(x for n, x in enumerate(usage) if n not in first)]
    for row in usage[:250]:
        del row["PartnerEarnedCreditPercentage"]
    path = files.write(tmp_path / "v.json", files.json_lines(spelt(usage)))
    assert files.answer(recon, path)["points"] == files.answer(recon, whole)["points"]


@pytest.mark.parametrize("minus", ["{}-", "−{}", "- {}", "({})"])
def test_a_minus_of_usage_may_stand_where_accountants_put_it(
    minus, october, october_usage, tmp_path
):
    recon = files.write(tmp_path / "r.json", files.json_lines(october))
    charge = deepcopy(october_usage[0])
    charge |= {"Quantity": Decimal("1.5"), "EffectiveUnitPrice": Decimal(2)}
    charge |= {"BillingPreTaxTotal": Decimal("3.00"), "PCToBCExchangeRate": 1}
    given = charge | {"Quantity": Decimal("-1.5"), "BillingPreTaxTotal": Decimal("-3.00")}
    rows = [*october_usage, charge, given]

    def written(text):
        return minus.format(text[1:]) if text.startswith("-") else text

    answers = [
        files.answer(recon, files.write(tmp_path / "u.csv", files.csv_text(rows, number=number)))
        for number in (str, written)
    ]
    assert answers[0] == answers[1]
    assert "rows.unreadable" not in checks(answers[1])


def test_a_manifest_names_the_parts_that_must_be_there(october, tmp_path):
    part = files.write(tmp_path / "part-0.json", files.json_lines(october))
    blobs = [{"name": "part-0.json", "itemCount": len(october)}, {"name": "part-1.json"}]
    manifest = {"rootDirectory": "https://x", "blobCount": 2, "blobs": blobs}
    path = files.write(tmp_path / "manifest.json", files.exact_json.dumps(manifest))
    assert checks(files.answer(part, path)) == ["manifest.file"]
    blobs.pop()
    files.write(path, files.exact_json.dumps(manifest))
    assert files.answer(part, path)["clean"]
    blobs[0]["itemCount"] += 1
    files.write(path, files.exact_json.dumps(manifest))
    assert checks(files.answer(part, path)) == ["manifest.lines"]


# --- the same lines more than once -----------------------------------------------------------------------------------


def test_the_same_invoice_as_csv_and_as_json_counts_once(october, october_usage, tmp_path):
    paths = [
        files.FORMS[form](tmp_path / f"{name} {form}", rows)
        for form in ("csv, US", "json lines, gz")
        for name, rows in (("recon", october), ("usage", october_usage))
    ]
    data = files.answer(*paths)
    assert data["clean"]
    assert checks(data) == ["files.overlap", "files.overlap"]
    data["points"] = []
    assert data == files.answer(paths[0], paths[1])


def as_excel_shows_it(text):
    """Eleven characters, as a sheet in the format General saves what it was given."""
    number = Decimal(text)
    if number == number.to_integral():
        return text
    digits = max(0, 9 - len(str(int(abs(number)))))
    return f"{round(number, digits):f}".rstrip("0").rstrip(".")


def test_the_same_month_saved_again_by_a_spreadsheet_counts_once(october, october_usage, tmp_path):
    paths = []
    for n, some in enumerate((october, october_usage)):
        paths.append(files.write(tmp_path / f"{n}.json", files.json_lines(some)))
        sheet = files.csv_text(some, day=files.us_day, number=as_excel_shows_it)
        paths.append(files.write(tmp_path / f"{n}.csv", sheet))
    data = files.answer(*paths)
    assert set(checks(data)) == {"files.overlap"}
    assert data["totals"] == files.answer(paths[0], paths[2])["totals"]
    assert data["clean"]


@pytest.mark.parametrize("column", ["OrderDate", "OrderId", "AvailabilityId", "UnitPrice"])
def test_an_export_with_fewer_columns_counts_once(column, october, tmp_path):
    fewer = [{name: v for name, v in row.items() if name != column} for row in october]
    whole = files.write(tmp_path / "whole.json", files.json_lines(october))
    data = files.answer(whole, files.write(tmp_path / "fewer.csv", files.csv_text(fewer)))
    assert checks(data) == ["files.overlap"]
    assert data["invoices"][0]["lines"] == len(october)


@pytest.mark.parametrize("column", ["ResourceURI", "EntitlementId"])
def test_usage_with_fewer_columns_counts_once(column, october, october_usage, tmp_path):
    fewer = [{name: v for name, v in row.items() if name != column} for row in october_usage]
    some = {"r.json": october, "u.json": october_usage, "v.json": fewer}
    paths = [files.write(tmp_path / name, files.json_lines(rows)) for name, rows in some.items()]
    data = files.answer(*paths)
    assert checks(data) == ["files.overlap"]
    assert data["invoices"][0]["usage_lines"] == len(october_usage)


def test_two_versions_of_an_invoice_are_not_reconcilable_and_not_added(audit, october):
    again = deepcopy(october)
    line = seats(again)
    line["Subtotal"] = line["Total"] = line["Subtotal"] / 2
    data = audit(october, again)
    assert checks(data) == ["files.versions"]
    assert not data["reconcilable"]
    assert data["invoices"][0]["lines"] == len(october)


@pytest.mark.parametrize("until", [80, 48])
def test_exports_that_overlap_count_once_where_they_do_and_prove_nothing(until, october, tmp_path):
    parts = [october[:until], october[30:]]
    paths = [files.write(tmp_path / f"{n}", files.json_lines(p)) for n, p in enumerate(parts)]
    data = files.answer(*paths)
    assert checks(data) == ["files.versions"]
    assert data["invoices"][0]["lines"] == len(october)


def test_usage_exports_that_overlap_prove_nothing(october, october_usage, tmp_path):
    size = len(october_usage)
    parts = [october, october_usage[: size * 7 // 10], october_usage[size * 4 // 10 :]]
    paths = [files.write(tmp_path / f"{n}", files.json_lines(p)) for n, p in enumerate(parts)]
    data = files.answer(*paths)
    assert set(checks(data)) == {"files.versions"}
    assert data["invoices"][0]["usage_lines"] == size


def test_unbilled_lines_are_a_forecast_and_in_no_total(audit, october):
    running = [row | {"InvoiceNumber": ""} for row in october]
    data = audit(october, running=running)
    assert data["clean"]
    assert data["unbilled"] == {"EUR": data["totals"][0]["microsoft"]}


@pytest.mark.parametrize("many", [1, 30])
@pytest.mark.parametrize("form", ["csv", "json lines"])
def test_lines_without_an_invoice_number_beside_others_prove_nothing(
    form, many, october, october_usage, tmp_path
):
    whole = [files.FORMS["json lines"](tmp_path / n, r) for n, r in (("r", october),)]
    for rows in (october, october_usage):
        for row in rows[:many]:
            assert row["InvoiceNumber"]
        blank = [row | {"InvoiceNumber": " "} for row in rows[:many]]
        path = files.FORMS[form](tmp_path / "blank", [*blank, *rows[many:]])
        data = files.answer(path, *(whole if rows is october_usage else ()))
        assert "rows.invoice_number" in checks(data, "incomplete")


def test_a_total_is_not_checked_without_the_tax(audit, october):
    rows = [{name: v for name, v in row.items() if name != "TaxTotal"} for row in october]
    for row in rows:
        row["Total"] = files.cents(row["Subtotal"] * Decimal("1.19"))
    assert audit(rows)["clean"]


def test_one_fault_is_counted_once(audit, october):
    line = seats(october)
    line["Subtotal"] = line["Total"] = line["Subtotal"] + 10
    assert only(audit(october))["amount"] == "10.00"


@pytest.mark.parametrize("price", ["1000", "12.5", "0.000001"])
def test_a_figure_that_no_sum_can_hold_is_told_with_its_row(audit, october, october_usage, price):
    usage = deepcopy(october_usage)
    for row in usage[7:9]:
        row["Quantity"] = Decimal("883406386745030.3")
        row["EffectiveUnitPrice"] = Decimal(price)
    data = audit(october, usage=usage)
    assert "row 8 has a figure of more than twelve digits" in str(data["points"])
    assert not data["reconcilable"]


@pytest.mark.parametrize("tags", [r'{"path": "C:\x01dir"}', "a\x01b"])
def test_no_text_of_a_tag_is_taken_for_the_end_of_a_column(audit, october, october_usage, tags):
    october_usage = deepcopy(october_usage)
    october_usage[7]["Tags"] = tags
    assert audit(october, usage=october_usage)["clean"]
