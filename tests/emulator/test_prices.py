"""The price host: ZIP or bare CSV, users only, its own audience."""

from __future__ import annotations

import csv
import io
import zipfile

import pytest

SHEET = "/v1.0/sales/pricesheets(Market='US',PricesheetView='updatedlicensebased')/$value"
RATES = "/v1.0/sales/fxrates(Month='{month}')/$value"
ID = {"client-request-id": "c-1"}


def ask(desk, path=SHEET + "?timeline=current", **options):
    return desk.call("price", "GET", path, headers=ID, **options)


def test_a_sheet_is_a_zip_with_one_csv(desk):
    answer = ask(desk)
    assert answer.content[:2] == b"PK"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert answer.headers["client-request-id"] == "c-1"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        (name,) = archive.namelist()
        text = archive.read(name).decode()
    (row,) = csv.DictReader(io.StringIO(text))
    assert row == {
        "ProductTitle": 'Business "Standard", yearly',
        "UnitPrice": "105.00",
        "ERP Price": "131.25",
    }
    assert ask(desk).content == answer.content


@pytest.mark.parametrize(("form", "start"), [("csv", b'"Prod'), ("csv_bom", b"\xef\xbb\xbf")])
def test_a_sheet_may_come_bare(desk, form, start):
    desk.control.change(price_sheet_form=form)
    assert ask(desk).content.startswith(start)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("?timeline=history&month=202609", 200),
        ("?timeline=future", 404),
        ("?timeline=history", 400),
        ("?timeline=current&month=202609", 400),
        ("?timeline=history&month=202613", 400),
        ("?timeline=someday", 400),
    ],
)
def test_timelines(desk, query, status):
    assert ask(desk, SHEET + query).status_code == status


def test_errors_look_like_graphs(desk):
    missing = ask(desk, SHEET.replace("US", "XX"))
    assert missing.status_code == 404
    assert missing.json()["error"].keys() == {"code", "message", "target", "innerError"}
    assert desk.call("price", "GET", SHEET).status_code == 400
    assert ask(desk, "/v1.0/else").status_code == 404


def test_users_only_and_the_right_audience(desk):
    assert ask(desk, app=True).status_code == 403
    assert ask(desk, token=desk.token("partner_center")).status_code == 401
    assert ask(desk, token="").status_code == 401


def test_exchange_rates(desk):
    assert '"EUR","1.0834","202610"' in ask(desk, RATES.format(month="202610")).text
    assert ask(desk, RATES.format(month="202611")).status_code == 404
