"""What cannot be read as a whole is refused: one sentence with file, place and what to do; exit code 2."""

import gzip
import io
import zipfile

import pytest

from app.cli import main
from tests.app import audit_files as files


@pytest.fixture(scope="module")
def rows():
    return files.lines(files.EUR)


@pytest.fixture(scope="module")
def usage():
    return files.world(files.EUR)[1][:400]


@pytest.fixture
def refused(tmp_path, capsys):
    def run(content, *options, name="march.csv"):
        path = files.write(tmp_path / name, content)
        code = main(["audit", str(path), "--out", str(tmp_path / "out"), "--json", *options])
        said = capsys.readouterr()
        assert code == 2, said
        assert said.out == ""
        assert not (tmp_path / "out").exists()
        (sentence,) = [x for x in said.err.splitlines() if x.startswith("csp-billing: ")]
        return sentence.removeprefix("csp-billing: ")

    return run


# --- one way of writing in one file ------------------------------------------------------------------


def mixed(rows, **other):
    first, second = (
        files.csv_text(rows[:50], delimiter=";"),
        files.csv_text(rows[50:], delimiter=";", **other),
    )
    return first + second.split("\r\n", 1)[1]


def test_a_file_with_two_decimal_signs_is_refused_with_both_places(rows, refused):
    said = refused(mixed(rows, number=files.german))
    assert said.startswith("march.csv mixes two ways of writing numbers: line ")
    assert said.count("column ") == 2
    assert said.count("line ") == 2


@pytest.mark.parametrize("other", [files.us_day, files.uk_day, files.german_day])
def test_a_column_with_two_ways_of_writing_dates_is_refused(rows, refused, other):
    said = refused(mixed(rows, day=other))
    assert said.startswith("march.csv mixes two ways of writing dates: line ")
    assert "column OrderDate: 2026-10-" in said or "column OrderDate: 1" in said


def test_day_first_and_month_first_in_one_file_are_refused(rows, refused):
    part = files.csv_text(rows[:50], day=files.us_day)
    rest = files.csv_text(rows[50:], day=files.uk_day).split("\r\n", 1)[1]
    assert "mixes two ways of writing dates" in refused(part + rest)


def test_the_same_holds_for_daily_usage(usage, refused):
    part = files.csv_text(usage[:200], delimiter=";", number=files.german)
    rest = files.csv_text(usage[200:], delimiter=";").split("\r\n", 1)[1]
    assert refused(part + rest).startswith("march.csv mixes two ways of writing numbers: row ")


def early(rows):
    """Only lines whose dates have no day after the 12th."""
    dates = ("OrderDate", "ChargeStartDate", "ChargeEndDate", "SubscriptionStartDate")
    for row in rows[:3]:
        changed = dict(row) | dict.fromkeys(files.DATES & row.keys(), "")
        yield changed | dict.fromkeys(dates, "2026-10-03T00:00:00Z")


def test_days_and_months_that_nothing_tells_apart_are_asked_for(rows, refused, tmp_path):
    content = files.csv_text(list(early(rows)), day=files.us_day)
    said = refused(content)
    assert "line 2, column OrderDate: 10/3/2026: day and month cannot be told apart" in said
    assert said.endswith("(say which comes first with --dates dmy or --dates mdy)")
    path = files.write(tmp_path / "told.csv", content)
    for order, month in (("mdy", "October 2026"), ("dmy", "March 2026")):
        assert files.answer(path, order=order)["invoices"][0]["month"] == month


def test_an_option_settles_only_files_that_do_not_tell(rows, tmp_path):
    """An American sheet of Partner Center beside a German one of the partner: one option for both."""
    undecided = files.write(tmp_path / "us", files.csv_text(list(early(rows)), day=files.us_day))
    text = files.csv_text(rows[3:], delimiter=";", day=files.german_day, number=files.german)
    german = files.write(tmp_path / "german", text)
    iso = files.write(tmp_path / "iso", files.csv_text(list(early(rows))))
    with_option = files.answer(undecided, german, order="mdy", decimal=".")
    assert with_option == files.answer(iso, german)


def test_a_sign_that_may_mark_decimals_or_thousands_is_asked_for(rows, refused, tmp_path):
    numbers = {"UnitPrice": "1.234", "EffectiveUnitPrice": "1.234", "Subtotal": "1.234"}
    numbers |= dict.fromkeys(
        ("TaxTotal", "Quantity", "BillableQuantity", "PCToBCExchangeRate"), "1"
    )
    row = dict(rows[0]) | numbers | {"Total": ""}
    content = files.csv_text([row], delimiter=";", day=files.german_day)
    assert "whether the sign marks decimals or thousands (say it with --decimal" in refused(content)
    path = files.write(tmp_path / "told.csv", content)
    assert files.answer(path, decimal=",")["invoices"][0]["subtotal"] == "1234.00"
    assert files.answer(path, decimal=".")["invoices"][0]["subtotal"] == "1.234"


# --- columns ------------------------------------------------------------------------------------------


def test_missing_columns_are_named_with_what_comes_near(rows, refused):
    said = refused(files.csv_text(rows).replace("Subtotal", "Sub total EUR", 1))
    assert said.startswith(
        "march.csv looks like a reconciliation file, but has no column Subtotal "
        "(nearest: Sub total EUR)"
    )


def test_a_missing_column_of_daily_usage_is_named(usage, refused):
    without = [{n: v for n, v in row.items() if n != "Quantity"} for row in usage]
    assert "looks like a usage file, but has no column Quantity" in refused(files.csv_text(without))


def test_two_columns_of_one_meaning_are_refused(rows, refused):
    twice = files.csv_text(rows).replace("Tier2MpnId", "Tier2MpnId,ResellerMpnId", 1)
    assert "has two columns for Tier2MpnId: Tier2MpnId and ResellerMpnId" in refused(twice)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("PartnerId,CustomerId,OfferId,DurableOfferId,Subtotal,Currency", "legacy licence-based"),
        ("PartnerId,CustomerId,ConsumedQuantity,PretaxCharges,Currency", "legacy usage-based"),
    ],
)
def test_legacy_files_are_recognised_and_refused(header, kind, refused):
    said = refused(f"{header}\r\n1,2,3,4,5,6\r\n")
    assert said.startswith(f"march.csv holds {kind} lines (column ")


# --- files --------------------------------------------------------------------------------------------


def test_what_is_no_file_of_partner_center_is_refused_when_it_is_named(refused):
    said = refused("name,city\r\nAda,London\r\n")
    assert said.startswith(
        "march.csv is neither a reconciliation nor a daily usage file: its columns are name, city"
    )


@pytest.mark.parametrize("name", ["lines.csv", "lines.json"])
def test_an_empty_file_is_refused(name, refused):
    assert refused("", name=name).startswith(f"{name} is empty")


def test_a_file_that_is_not_there_is_refused(tmp_path, capsys):
    assert main(["audit", str(tmp_path / "none.csv"), "--out", str(tmp_path)]) == 2
    assert "there is no file or folder" in capsys.readouterr().err


def test_half_a_gzip_is_refused(rows, usage, refused):
    for lines in (rows, usage):
        whole = gzip.compress(files.json_lines(lines).encode())
        assert "is damaged" in refused(whole[: len(whole) // 2], name="part.json.gz")


def test_half_a_list_of_json_is_refused(rows, refused):
    text = files.exact_json.dumps(rows)
    assert "breaks off within record" in refused(text[: len(text) // 2], name="part.json")


@pytest.mark.parametrize("comma", ["", ","])
@pytest.mark.parametrize("head", ["[", '{"totalCount": 108, "items": ['])
def test_a_list_that_is_cut_between_two_records_is_refused(rows, usage, refused, head, comma):
    many = 54
    for lines in (rows, usage):
        text = head + ",".join(files.exact_json.dumps(row) for row in lines[:many]) + comma
        assert f"breaks off within record {many + 1}" in refused(text, name="part.json")


@pytest.mark.parametrize(
    "more", ["\n<html>Service unavailable</html>", "]", "[]", ', "items": []}', "}"]
)
def test_what_stands_behind_a_list_is_not_passed_over(rows, usage, refused, more):
    for lines in (rows, usage):
        text = files.exact_json.dumps(lines) + more
        assert f"goes on behind its list of {len(lines)} records" in refused(text, name="x.json")


def test_two_answers_in_one_file_are_refused(rows, refused):
    page = files.exact_json.dumps({"totalCount": 3, "items": rows[:3]})
    assert "goes on behind its list of 3 records" in refused(page + page, name="x.json")
    assert "goes on behind its list of 3 records" in refused(page[:-1], name="x.json")


def test_an_empty_list_is_refused(refused):
    assert "holds no records" in refused('{"totalCount": 0, "items": []}', name="page.json")


def test_text_in_a_country_s_old_alphabet_is_refused(rows, refused):
    content = files.csv_text(rows[:3]).replace("Alpine", "Älpine").replace("GmbH", "Süd GmbH")
    content = content.replace(rows[0]["CustomerName"], "Bäckerei")
    assert "is no text in UTF-8 or UTF-16 (save it as CSV UTF-8)" in refused(
        content.encode("cp1252")
    )


def test_an_excel_workbook_is_refused_with_what_to_do(refused):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    said = refused(target.getvalue(), name="lines.xlsx")
    assert said.startswith("lines.xlsx is an Excel workbook (save the sheet as CSV UTF-8")


def test_a_quote_that_never_ends_is_refused(rows, refused):
    text = files.csv_text(rows[:5]) + '"never'
    assert refused(text).startswith("march.csv, line 7: not readable as CSV")
