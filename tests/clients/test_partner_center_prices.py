"""Price sheets as files: forms, dates, tiers, and everything that makes them unreadable."""

import io
import zipfile
from datetime import date
from decimal import Decimal

import pytest

from domain.contract import SheetPrice
from domain.period import Period, TermDuration
from domain.problems import Finding, InputError
from partner_center import files
from partner_center.prices import sheet_prices_in

HEADER = (
    "ProductTitle,ProductId,SkuId,SkuTitle,Publisher,SkuDescription,UnitOfMeasure,TermDuration,"
    "BillingPlan,Market,Currency,UnitPrice,PricingTierRangeMin,PricingTierRangeMax,"
    "EffectiveStartDate,EffectiveEndDate,Tags,ERP Price,Segment"
)
ROW = (
    "Microsoft 365 Business Standard,CFQ7TTC0AAAA,0001,Microsoft 365 Business Standard,"
    'Microsoft Corporation,"Sample, with ""quotes""",1 License,P1Y,Monthly,US,USD,105.00,,,'
    "4/1/2026 12:00:00 AM,11/30/9999 11:59:59 PM,,131.25,Commercial"
)


@pytest.fixture
def sheet(tmp_path):
    def write(*lines, encoding="utf-8", end="\r\n"):
        path = tmp_path / "sheet.csv"
        path.write_bytes((end.join(lines) + end).encode(encoding))
        return path

    return write


def prices(path):
    return list(sheet_prices_in(path))


def zipped(path, *members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    path.write_bytes(buffer.getvalue())
    return path


def test_the_published_row(sheet):
    assert prices(sheet(HEADER, ROW)) == [
        SheetPrice(
            product_id="CFQ7TTC0AAAA",
            sku_id="0001",
            term=TermDuration.YEAR,
            billing_plan="monthly",
            market="US",
            currency="USD",
            segment="Commercial",
            unit_price=Decimal("105.00"),
            erp_price=Decimal("131.25"),
            valid=Period(date(2026, 4, 1), date.max),
            title="Microsoft 365 Business Standard",
        )
    ]


def test_mark_case_spaces_and_order_of_columns_do_not_matter(sheet):
    plain = prices(sheet(HEADER, ROW))
    assert prices(sheet(HEADER, ROW, encoding="utf-8-sig")) == plain
    assert prices(sheet(HEADER.lower().replace("erp price", "ERPPrice"), ROW)) == plain
    assert prices(sheet(HEADER, ROW, end="\n")) == plain


@pytest.mark.parametrize(
    ("written", "end"),
    [
        ("4/30/2026 11:59:59 PM", date(2026, 5, 1)),
        ("4/30/2026", date(2026, 5, 1)),
        ("5/1/2026 12:00:00 AM", date(2026, 5, 1)),
        ("2026-05-01T00:00:00Z", date(2026, 5, 1)),
        ("11/30/9999 11:59:59 PM", date.max),
        ("", date.max),
    ],
)
def test_the_end_is_the_first_day_without_the_price(sheet, written, end):
    (price,) = prices(sheet(HEADER, ROW.replace("11/30/9999 11:59:59 PM", written)))
    assert price.valid.end == end


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("105.00", "a lot", "unitPrice holds 'a lot', which is not a number"),
        ("4/1/2026 12", "4/31/2026 12", "which is not a date of the calendar"),
        ("CFQ7TTC0AAAA", "", "productId is missing"),
        ("11/30/9999", "3/1/2026", "before it starts"),
        (",Commercial", "", "it has 18 fields, the header 19"),
    ],
)
def test_a_bad_row_is_found_and_the_others_go_on(sheet, old, new, said):
    found = prices(sheet(HEADER, ROW, ROW.replace(old, new), ROW))
    assert [type(one) for one in found] == [SheetPrice, Finding, SheetPrice]
    assert said in found[1].sentence


def test_prices_of_higher_tiers_are_counted_not_used(sheet):
    first = ROW.replace("105.00,,,", "105.00,1,100,")
    second = ROW.replace("105.00,,,", "95.00,101,1000,")
    price, told = prices(sheet(HEADER, first, second))
    assert price.unit_price == Decimal("105.00")
    assert told.sentence.startswith("1 prices for larger quantities")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["ProductId,SkuId", "a,b"],
            "has no column currency, effectivestartdate, market, unitprice",
        ),
        ([HEADER, ROW.replace("Monthly", '"Monthly')], "not readable as CSV"),
        ([HEADER, '"half'], "line 2: not readable as CSV"),
    ],
)
def test_what_is_no_sheet_is_refused(sheet, lines, said):
    with pytest.raises(InputError, match=said):
        prices(sheet(*lines))


def test_an_empty_file_and_foreign_bytes_are_refused(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        prices(path)
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    with pytest.raises(InputError, match="not readable as CSV"):
        prices(path)


def test_a_zip_holds_one_sheet_of_bounded_size(tmp_path, monkeypatch):
    path = tmp_path / "sheet.zip"
    content = f"{HEADER}\r\n{ROW}\r\n"
    assert len(prices(zipped(path, ("US.csv", content)))) == 1
    with pytest.raises(InputError, match="holds 2 files"):
        prices(zipped(path, ("a.csv", content), ("b.csv", content)))
    with pytest.raises(InputError, match="holds 0 files"):
        prices(zipped(path))

    monkeypatch.setattr(files, "UNPACKED_LIMIT", 100)
    with pytest.raises(InputError, match="unpacks to more than 100 bytes"):
        prices(zipped(path, ("US.csv", content)))


def test_a_damaged_zip_is_refused(tmp_path):
    path = tmp_path / "sheet.zip"
    rows = "\r\n".join([HEADER, *[ROW] * 50])
    whole = zipped(path, ("US.csv", rows)).read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(InputError, match="damaged or incomplete"):
        prices(path)
    middle = len(whole) // 3
    path.write_bytes(whole[:middle] + b"\x00\xff\x00\xff" + whole[middle + 4 :])
    with pytest.raises(InputError, match="damaged or incomplete"):
        prices(path)
