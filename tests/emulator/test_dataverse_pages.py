"""The pages for people: what was written, in words, and no way to write or to smuggle in."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from html import unescape

import pytest

from tests.emulator.dataverse_harness import Dataverse

NASTY = "<script>alert('x')</script> & \"quoted\""
PLACES = ["/", "/tables/nce_subscription", "/tables/nce_subscription/definition", "{row}"]


@pytest.fixture
def dv():
    made = filled().copy()
    made.row, made.account = filled().row, filled().account
    return made


@cache
def filled():
    """A subscription of an account, in euros, with 60 lines."""
    dataverse = Dataverse()
    dataverse.make_tables(
        DisplayCollectionName={"LocalizedLabels": [{"Label": NASTY, "LanguageCode": 1033}]},
        Description={"LocalizedLabels": [{"Label": NASTY, "LanguageCode": 1033}]},
    )
    euro = dataverse.values("transactioncurrencies", filter="isocurrencycode eq 'EUR'")[0]
    account = dataverse.post("accounts", {"name": "Contoso & Söhne"}).new_id
    row = dataverse.post(
        "nce_subscriptions",
        {
            "nce_name": NASTY,
            "nce_status": 727000001,
            "nce_amount": Decimal("1234.5"),
            "nce_unitprice": Decimal("18.7125"),
            "nce_start": "2026-11-22",
            "nce_AccountId@odata.bind": f"/accounts({account})",
            "transactioncurrencyid@odata.bind": f"/transactioncurrencies({euro['transactioncurrencyid']})",
        },
    ).new_id
    bind = {"nce_SubscriptionId@odata.bind": f"/nce_subscriptions({row})"}
    lines = [{"nce_name": f"Line {n:02}", "nce_number": n} | bind for n in range(60)]
    assert dataverse.bulk("CreateMultiple", lines, "nce_line").status == 200
    dataverse.row = f"/tables/nce_subscription/rows/{row}"
    dataverse.account = f"/tables/account/rows/{account}"
    return dataverse


def page(dv, path):
    answer = dv.http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def words(html):
    """The text of a page, as a person reads it."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"(?s)<style>.*?</style>|<[^>]+>", " ", html)))


def test_the_first_page_names_every_table_with_its_rows_and_what_they_are(dv):
    html = page(dv, "/")
    assert re.search(r"Custom tables.*Standard tables.*Tables of the platform", words(html))
    assert f"{NASTY} nce_subscription {NASTY} 1 definition" in words(html)
    assert "nce_line 60 definition" in words(html)
    for table in ("nce_subscription", "account", "savedquery"):
        assert f'<a href="/tables/{table}">' in html
        assert f'<a href="/tables/{table}/definition">' in html


def test_cells_hold_names_instead_of_numbers_and_money_with_its_currency(dv):
    html = page(dv, "/tables/nce_subscription")
    assert f'<a href="{dv.account}">Contoso &amp; Söhne</a>' in html
    assert "<td class=n>€1,234.5000</td>" in html
    assert "<td class=n>18.7125</td>" in html
    assert "<td class=one>2026-11-22</td>" in html
    row = page(dv, dv.row)
    assert "<dt>nce_Status</dt><dd>Active</dd>" in row
    assert "727000001" not in row


def test_a_table_shows_the_columns_and_the_order_of_its_widest_view(dv):
    names = ("nce_name", "nce_number", "createdon")
    cells = "".join(f"<cell name='{name}' width='100'/>" for name in names)
    view = {
        "name": "Lines",
        "returnedtypecode": "nce_line",
        "querytype": 0,
        "layoutxml": f"<grid><row>{cells}</row></grid>",
        "fetchxml": '<fetch><entity name="nce_line"><order attribute="nce_number" '
        'descending="true"/></entity></fetch>',
    }
    assert dv.post("savedqueries", view).status == 204
    html = page(dv, "/tables/nce_line")
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", html)
    assert heads == ["nce_Name", "nce_Number", "createdon"]
    assert re.findall(r"Line \d\d", html)[:3] == ["Line 59", "Line 58", "Line 57"]


def test_many_rows_come_in_pages(dv):
    first = page(dv, "/tables/nce_line")
    assert "1 to 50 of 60" in first
    assert '<a href="?page=2">Next →</a>' in first
    second = page(dv, "/tables/nce_line?page=2")
    assert "51 to 60 of 60" in second
    assert "Next" not in second
    seen = re.findall(r"Line \d\d", first + second)
    assert sorted(set(seen)) == [f"Line {n:02}" for n in range(60)]


@pytest.mark.parametrize("wished", ["0", "-1", "99", "two", "1" * 30, ""])
def test_a_page_that_is_not_there_is_the_nearest_one(dv, wished):
    assert " of 60" in page(dv, f"/tables/nce_line?page={wished}")


def test_a_row_shows_its_links_its_empty_columns_and_the_rows_below_it(dv):
    html = page(dv, dv.row)
    text = words(html)
    assert f'<a href="{dv.account}">Contoso &amp; Söhne</a>' in html
    assert re.search(r"Empty: [^.]*nce_Notes", text)
    assert "Lines by nce_SubscriptionId all 60" in text
    assert re.findall(r"Line \d\d", text) == [f"Line {n:02}" for n in range(25)]
    row_id = dv.row.rpartition("/")[2]
    everything = f"/tables/nce_line?nce_subscriptionid={row_id}"
    assert f'<a href="{everything}">all 60</a>' in html
    others = page(dv, everything)
    assert f"Lines of {NASTY}" in words(others)
    assert f'<a href="?nce_subscriptionid={row_id}&amp;page=2">Next →</a>' in others
    account = words(page(dv, dv.account))
    assert f"{NASTY} by nce_AccountId all 1" in account


def test_a_definition_tells_columns_keys_and_relationships(dv):
    text = words(page(dv, "/tables/nce_subscription/definition"))
    for told in (
        "nce_ExternalKey nce_externalkey String at most 100 characters",
        "nce_UnitPrice nce_unitprice Decimal 10 decimals",
        "nce_Start nce_start DateTime a day",
        "nce_Status nce_status Picklist Draft (727000000), Active (727000001)",
        "nce_Quantity nce_quantity Integer 0 to 1,000,000",
        "nce_AccountId nce_accountid Lookup account",
        "nce_Pdf nce_pdf File at most 10,240 KB",
        "nce_SubscriptionKey nce_externalkey Active",
        "rows refer to account nce_accountid RemoveLink",
        "rows are referred to by Lines nce_subscriptionid Restrict",
        "Change tracking yes",
    ):
        assert told in text


@pytest.mark.parametrize("path", PLACES)
def test_nothing_from_a_row_or_a_label_becomes_markup(dv, path):
    html = page(dv, path.format(row=dv.row))
    assert "<script" not in html.lower()
    assert NASTY in words(html)
    assert not re.search(r"\son\w+=|javascript:", html)


@pytest.mark.parametrize("path", [*PLACES, "/tables/nce_line?page=2"])
def test_the_browser_may_load_nothing_but_the_one_stylesheet(dv, path):
    answer = dv.http.get(path.format(row=dv.row))
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.text.count("<style>") == 1
    assert " style=" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", PLACES)
def test_the_pages_are_read_only(dv, method, path):
    answer = dv.http.open(path.format(row=dv.row), method=method, data=b"x=1")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/tables",
        "/tables/none",
        "/tables/_counter",
        "/tables/nce_line/rows",
        "/tables/nce_line/rows/none",
        "/tables/nce_line/rows/'; DROP TABLE nce_line; --",
        "/tables/nce_line/definition/more",
    ],
)
def test_what_is_not_there_is_404(dv, path):
    assert dv.http.get(path).status_code == 404
    assert page(dv, "/tables/nce_line")


def test_a_filter_by_something_else_than_a_link_is_ignored(dv):
    for query in ("nce_name=Line 01", 'x" OR 1=1 --=1', "nce_subscriptionid=' OR '1'='1"):
        html = page(dv, f"/tables/nce_line?{query}")
        assert "of 60" in html or "No rows" in html
