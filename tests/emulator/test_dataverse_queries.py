"""Queries: filters, order, expansion, pages, annotations, `$apply`, FetchXML, SQL, deltas."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import cache
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.dataverse_harness import ROOT, with_tables

STAR = 'odata.include-annotations="*"'


@pytest.fixture
def dv():
    return filled().copy()


@cache
def filled():
    """Five subscriptions of two accounts, and lines of the first one."""
    dataverse = with_tables().copy()
    ids = [dataverse.post("accounts", {"name": name}).new_id for name in ("Litware", "Contoso")]
    rows = [
        ("Ä 365", 10, "1.10", 727000001, "2026-01-31", ids[0], "20.00"),
        ("business premium", 25, "22.0000000001", 727000001, "2026-02-01", ids[0], "550.00"),
        ("Business Basic", 3, "9", 727000000, "2026-11-22", ids[1], "27.00"),
        ("Visio 100%", 100, "-0.5", None, "2027-01-01", None, None),
        ("O'Neil_x", None, None, None, None, None, "0.10"),
    ]
    for index, (name, quantity, price, status, start, account, total) in enumerate(rows):
        body = {
            "nce_name": name,
            "nce_quantity": quantity,
            "nce_unitprice": Decimal(price) if price else None,
            "nce_status": status,
            "nce_start": start,
            "nce_externalkey": f"k{index}",
            "nce_autorenew": index % 2 == 0,
            "nce_total": Decimal(total) if total else None,
        }
        if account:
            body["nce_AccountId@odata.bind"] = f"/accounts({account})"
        assert dataverse.post("nce_subscriptions", body).status == 204
    for number in (1, 2, 3):
        line = {
            "nce_number": number,
            "nce_SubscriptionId@odata.bind": "/nce_subscriptions(nce_externalkey='k0')",
        }
        assert dataverse.post("nce_lines", line).status == 204
    return dataverse


def keys(dv, text):
    rows = dv.values(
        "nce_subscriptions", filter=text, select="nce_externalkey", orderby="nce_externalkey"
    )
    return "".join(r["nce_externalkey"][1] for r in rows)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nce_name eq 'BUSINESS PREMIUM'", "1"),
        ("nce_name eq 'O''Neil_x'", "4"),
        ("contains(nce_name,'busi')", "12"),
        ("startswith(nce_name,'b') and endswith(nce_name,'IC')", "2"),
        ("contains(nce_name,'%')", "3"),
        ("contains(nce_name,'l_x')", "4"),
        ("not contains(nce_name,'busi')", "034"),
        ("contains(nce_name,'busi') eq false", "034"),
        ("nce_quantity gt 9", "013"),
        ("nce_quantity gt 9 and nce_quantity lt 100", "01"),
        ("10 le nce_quantity", "013"),
        ("nce_unitprice gt 9", "1"),
        ("nce_unitprice ge 9.0", "12"),
        ("nce_unitprice eq 1.1", "0"),
        ("nce_unitprice lt 0", "3"),
        ("nce_total gt 27 or nce_total lt 1", "14"),
        ("nce_status eq 727000001", "01"),
        ("nce_status ne 727000001", "234"),
        ("nce_status eq null", "34"),
        ("nce_status ne null", "012"),
        ("not (nce_status eq 727000001 or nce_quantity eq 3)", "34"),
        ("nce_start ge 2026-02-01", "123"),
        ("nce_start eq 2026-11-22", "2"),
        ("createdon ge 2026-11-22T00:00:00Z", "01234"),
        ("createdon lt 2026-11-22T10:00:00+01:00", ""),
        ("nce_autorenew eq true", "024"),
        ("nce_autorenew", "024"),
        ("nce_AccountId/name eq 'litware'", "01"),
        ("nce_AccountId/name eq 'contoso' or nce_quantity eq 100", "23"),
        ("nce_quantity lt nce_unitprice", "2"),
        ("nce_subscription_nce_line_nce_SubscriptionId/any(o:o/nce_number gt 2)", "0"),
        ("nce_subscription_nce_line_nce_SubscriptionId/any()", "0"),
        ("not nce_subscription_nce_line_nce_SubscriptionId/any()", "1234"),
        ("nce_subscription_nce_line_nce_SubscriptionId/all(o:o/nce_number le 2)", "1234"),
        (
            'Microsoft.Dynamics.CRM.In(PropertyName=\'nce_quantity\',PropertyValues=["3","10"])',
            "02",
        ),
        (
            "Microsoft.Dynamics.CRM.In(PropertyName='nce_name',PropertyValues=['visio 100%','b'])",
            "3",
        ),
        (
            'Microsoft.Dynamics.CRM.Between(PropertyName=\'nce_quantity\',PropertyValues=["3","25"])',
            "012",
        ),
        (
            "Microsoft.Dynamics.CRM.OnOrAfter(PropertyName='nce_start',PropertyValue='2026-11-22')",
            "23",
        ),
        ("Microsoft.Dynamics.CRM.Today(PropertyName='nce_start')", "2"),
        ("Microsoft.Dynamics.CRM.LastXMonths(PropertyName='nce_start',PropertyValue=10)", "012"),
        ("Microsoft.Dynamics.CRM.ThisYear(PropertyName='nce_start')", "012"),
        ("Microsoft.Dynamics.CRM.NextXDays(PropertyName='nce_start',PropertyValue=60)", "3"),
        ("Microsoft.Dynamics.CRM.EqualUserId(PropertyName='ownerid')", ""),
    ],
)
def test_filters(dv, text, found):
    if "ownerid" in text:
        assert dv.get("nce_subscriptions", filter=text).code == "0x80060888"
        text = "Microsoft.Dynamics.CRM.EqualUserId(PropertyName='_ownerid_value')"
        found = "01234"
    assert keys(dv, text) == found


@pytest.mark.parametrize(
    "listed",
    [
        """["g]h","Visio [100%]"]""",
        r"""["say \"]\"","visio [100%]"]""",
        "['O''Neil, ]','Visio [100%]']",
    ],
)
def test_brackets_commas_and_quotes_inside_a_listed_text_are_text(dv, listed):
    dv.patch("nce_subscriptions(nce_externalkey='k3')", {"nce_name": "Visio [100%]"})
    text = f"Microsoft.Dynamics.CRM.In(PropertyName='nce_name',PropertyValues={listed})"
    assert keys(dv, text) == "3"


def test_long_chains_of_conditions_work(dv):
    chain = " or ".join(f"nce_quantity eq {number}" for number in range(4, 1004))
    assert keys(dv, chain) == "013"
    assert keys(dv, " and ".join(["nce_quantity gt 9"] * 1000)) == "013"
    either = "".join(
        f"<condition attribute='nce_quantity' operator='eq' value='{number}'/>"
        for number in range(200)
    )
    fetch = f"<fetch><entity name='nce_subscription'><filter type='or'>{either}</filter></entity></fetch>"
    answer = dv.send("GET", "nce_subscriptions", query={"fetchXml": fetch})
    assert len(answer.json["value"]) == 4


@pytest.mark.parametrize(
    ("start", "end"),
    [("(", ")"), ("not ", ""), ("nce_quantity eq 3 or (", ")")],
)
def test_conditions_nest_so_far_and_no_further(dv, start, end):
    assert keys(dv, start * 18 + "nce_quantity eq 3" + end * 18) == "2"
    for depth in (30, 400):
        answer = dv.get(
            "nce_subscriptions", filter=start * depth + "nce_quantity eq 3" + end * depth
        )
        assert (answer.status, answer.code) == (400, "0x80060888")
        assert "depth" in answer.message


@pytest.mark.parametrize("depth", [400, 1000])
def test_filters_of_fetchxml_nest_so_far_and_no_further(dv, depth):
    condition = "<condition attribute='nce_quantity' operator='eq' value='3'/>"
    nested = "<filter>" * depth + condition + "</filter>" * depth
    fetch = f"<fetch><entity name='nce_subscription'>{nested}</entity></fetch>"
    answer = dv.send("GET", "nce_subscriptions", query={"fetchXml": fetch})
    assert (answer.status, answer.code) == (400, "0x80060888")


def test_what_is_written_now_is_of_the_last_days(dv):
    last = "Microsoft.Dynamics.CRM.LastXDays(PropertyName='createdon',PropertyValue=3)"
    assert len(dv.values("nce_subscriptions", filter=last)) == 5
    dv.clock.advance(timedelta(days=5))
    dv.post("nce_subscriptions", {"nce_name": "new"})
    assert [r["nce_name"] for r in dv.values("nce_subscriptions", filter=last)] == ["new"]


def test_filters_by_guid_and_by_alias(dv):
    account = dv.values("accounts", filter="name eq 'Contoso'")[0]["accountid"]
    assert keys(dv, f"_nce_accountid_value eq {account}") == "2"
    assert keys(dv, f"nce_AccountId/accountid eq {account.upper()}") == "2"
    query = {"$filter": "nce_name eq @p", "@p": "'visio 100%'"}
    assert len(dv.send("GET", "nce_subscriptions", query=query).json["value"]) == 1


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("filter", "nce_none eq 1", "Could not find a property named 'nce_none'"),
        (
            "filter",
            "nce_accountid eq 11111111-1111-4111-8111-111111111111",
            "Could not find a property",
        ),
        ("filter", "NCE_NAME eq 'a'", "Could not find a property named 'NCE_NAME'"),
        ("filter", "nce_quantity eq 'abc'", "incompatible types"),
        (
            "filter",
            "_nce_accountid_value eq '11111111-1111-4111-8111-111111111111'",
            "incompatible types",
        ),
        ("filter", "nce_name eq", "Syntax error"),
        ("filter", "nce_name eq 'a", "Syntax error"),
        ("filter", "(nce_name eq 'a'", "Syntax error"),
        ("filter", "nce_name eq @p", "alias"),
        ("filter", "length(nce_name) gt 3", "unknown function"),
        ("filter", "contains(nce_quantity,'a')", "No function signature"),
        ("select", "nce_name,nce_none", "Could not find a property named 'nce_none'"),
        ("orderby", "nce_none", "Could not find a property"),
        ("orderby", "nce_name up", "Syntax error"),
        ("expand", "nce_Nothing", "Could not find a property"),
        ("top", "x", "Invalid value"),
        ("skip", "5", "$skip is not supported"),
        ("skiptoken", "<x/>", "Malformed XML"),
    ],
)
def test_bad_queries(dv, option, text, message):
    answer = dv.get("nce_subscriptions", **{option: text})
    assert (answer.status, answer.code) == (400, "0x80060888")
    assert message in answer.message


def test_select_always_brings_key_and_etag(dv):
    row = dv.values("nce_subscriptions", select="nce_name", top="1")[0]
    assert list(row) == ["@odata.etag", "nce_name", "nce_subscriptionid"]
    money = dv.values("nce_subscriptions", select="nce_total", top="1")[0]
    assert "_transactioncurrencyid_value" in money
    everything = dv.values("nce_subscriptions", filter="nce_quantity eq 100")[0]
    assert everything["nce_total"] is None
    assert everything["_nce_accountid_value"] is None


def test_order_by_numbers_texts_and_lookups(dv):
    def order(text):
        rows = dv.values("nce_subscriptions", orderby=text, select="nce_externalkey")
        return "".join(r["nce_externalkey"][1] for r in rows)

    assert order("nce_unitprice") == "43021"
    assert order("nce_unitprice desc") == "12034"
    assert order("nce_status desc,nce_quantity asc") == "01243"
    assert order("nce_AccountId/name desc,nce_quantity desc")[:2] == "10"


def test_top_count_and_plain_count(dv):
    assert len(dv.values("nce_subscriptions", top="2")) == 2
    counted = dv.get("nce_subscriptions", count="true", filter="nce_quantity gt 9", top="1").json
    assert (counted["@odata.count"], len(counted["value"])) == (3, 1)
    assert dv.get("nce_subscriptions/$count").raw == b"5"
    assert dv.get("nce_subscriptions/$count", filter="nce_quantity gt 9").raw == b"3"
    dv.settings.count_cap = 4
    capped = dv.get("nce_subscriptions", STAR, count="true").json
    assert capped["@odata.count"] == 4
    assert capped["@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"] is True
    total = dv.get("RetrieveTotalRecordCount(EntityNames=['nce_subscription','nce_line'])").json
    assert total["EntityRecordCountCollection"]["Values"] == [5, 3]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize(
    "order",
    ["", "nce_status", "nce_status desc", "nce_unitprice desc,nce_name", "nce_AccountId/name"],
)
def test_pages_of_any_size_yield_the_same_rows(dv, size, order):
    query = {"select": "nce_externalkey", "count": "true", "filter": "nce_externalkey ne 'none'"}
    query |= {"orderby": order} if order else {}
    whole = [r["nce_externalkey"] for r in dv.values("nce_subscriptions", **query)]
    prefer = f"odata.maxpagesize={size}"
    answer = dv.get("nce_subscriptions", prefer, **query)
    seen, pages = [], 1
    while True:
        assert answer.headers["preference-applied"] == prefer
        assert answer.json["@odata.count"] == 5
        assert len(answer.json["value"]) <= size
        seen += [r["nce_externalkey"] for r in answer.json["value"]]
        if "@odata.nextLink" not in answer.json:
            break
        pages += 1
        link = answer.json["@odata.nextLink"]
        assert f'pagenumber="{pages}"' in parse_qs(urlsplit(link).query)["$skiptoken"][0]
        answer = dv.send("GET", link, headers={"Prefer": prefer})
    assert seen == whole
    assert len(seen) == 5
    assert pages == -(-5 // size)


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link.replace("nce_name", "nce_quantity"),
        lambda link: f"{link}&$filter=nce_quantity gt 1",
        lambda link: link.replace("nce_subscriptions", "nce_lines"),
        lambda link: link.replace("pagingcookie%3D%22", "pagingcookie%3D%22AAAA"),
        lambda link: link.replace("pagenumber%3D%222", "pagenumber%3D%22two"),
    ],
)
def test_the_link_to_a_page_works_as_it_stands_only(dv, change):
    prefer = {"Prefer": "odata.maxpagesize=2"}
    link = dv.get("nce_subscriptions", prefer["Prefer"], select="nce_name").json["@odata.nextLink"]
    assert change(link) != link
    assert dv.send("GET", change(link), headers=prefer).status == 400
    assert dv.send("GET", link, headers=prefer).status == 200


def test_without_the_same_preference_a_link_goes_on_with_the_greatest_page(dv):
    link = dv.get("nce_subscriptions", "odata.maxpagesize=2").json["@odata.nextLink"]
    answer = dv.send("GET", link)
    assert len(answer.json["value"]) == 3
    assert "preference-applied" not in answer.headers


def test_rows_written_while_paging_neither_repeat_nor_hide_others(dv):
    prefer = "odata.maxpagesize=2"
    answer = dv.get("nce_subscriptions", prefer, orderby="nce_name", select="nce_name")
    first = answer.json["value"]
    dv.delete(f"nce_subscriptions({first[0]['nce_subscriptionid']})")
    dv.post("nce_subscriptions", {"nce_name": "AAA"})
    rest = []
    while link := answer.json.get("@odata.nextLink"):
        answer = dv.send("GET", link, headers={"Prefer": prefer})
        rest += answer.json["value"]
    names = [r["nce_name"] for r in first + rest]
    assert len(names) == len(set(names)) == 5


def test_maxpagesize_makes_top_silent_and_the_cap_holds(dv):
    answer = dv.get("nce_subscriptions", "odata.maxpagesize=4", top="1")
    assert len(answer.json["value"]) == 4
    assert "@odata.nextLink" in answer.json
    dv.settings.page_size_cap = 2
    for prefer in ("", "odata.maxpagesize=10"):
        answer = dv.get("nce_subscriptions", prefer)
        assert len(answer.json["value"]) == 2
        assert "@odata.nextLink" in answer.json
    assert "@odata.nextLink" not in dv.get("nce_subscriptions", top="2").json


def test_both_encodings_of_a_query_string_are_read(dv):
    for text in (
        "%24select=nce_name%2Cnce_quantity&%24filter=nce_name+eq+%27visio+100%25%27",
        "$select=nce_name,nce_quantity&$filter=nce_name%20eq%20'visio%20100%25'",
    ):
        response = dv.http.get(
            "/api/data/v9.1/nce_subscriptions",
            query_string=text,
            headers={"Authorization": "Bearer t"},
        )
        assert [r["nce_quantity"] for r in response.json["value"]] == [100]


def test_expansion_of_both_kinds(dv):
    row = dv.get(
        "nce_subscriptions(nce_externalkey='k0')",
        select="nce_name",
        expand="nce_AccountId($select=name),nce_subscription_nce_line_nce_SubscriptionId"
        "($select=nce_number;$filter=nce_number gt 1;$orderby=nce_number desc;$top=1)",
    ).json
    assert row["nce_AccountId"]["name"] == "Litware"
    assert row["nce_AccountId"]["@odata.etag"].startswith("W/")
    lines = row["nce_subscription_nce_line_nce_SubscriptionId"]
    assert [line["nce_number"] for line in lines] == [3]
    rows = dv.values(
        "nce_subscriptions",
        select="nce_externalkey",
        orderby="nce_externalkey",
        expand="nce_AccountId,nce_subscription_nce_line_nce_SubscriptionId($select=nce_number)",
    )
    assert [r["nce_AccountId"] and r["nce_AccountId"]["name"] for r in rows] == [
        "Litware",
        "Litware",
        "Contoso",
        None,
        None,
    ]
    assert [len(r["nce_subscription_nce_line_nce_SubscriptionId"]) for r in rows] == [3, 0, 0, 0, 0]
    nested = dv.get(
        "nce_subscriptions(nce_externalkey='k0')",
        expand="nce_AccountId($select=name;$expand=createdby($select=fullname))",
    ).json
    assert nested["nce_AccountId"]["createdby"]["fullname"] == "# CSP Billing worker"


def test_annotations(dv):
    row = dv.get("nce_subscriptions(nce_externalkey='k1')", STAR).json
    shown = "@OData.Community.Display.V1.FormattedValue"
    assert row["nce_status" + shown] == "Active"
    assert row["nce_autorenew" + shown] == "No"
    assert row["nce_total" + shown] == "$550.00"
    assert row["nce_start" + shown] == "2/1/2026"
    assert row["createdon" + shown] == "11/22/2026 10:00 AM"
    assert row["_nce_accountid_value" + shown] == "Litware"
    assert row["_nce_accountid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "account"
    assert (
        row["_nce_accountid_value@Microsoft.Dynamics.CRM.associatednavigationproperty"]
        == "nce_AccountId"
    )
    assert "nce_name" + shown not in row
    only = dv.get(
        "nce_subscriptions(nce_externalkey='k1')",
        'odata.include-annotations="Microsoft.Dynamics.CRM.lookup*"',
        select="_nce_accountid_value",
    ).json
    assert [name for name in only if name.startswith("_nce_accountid_value@")] == [
        "_nce_accountid_value@Microsoft.Dynamics.CRM.lookuplogicalname"
    ]
    listed = dv.get("nce_subscriptions", STAR, top="1")
    assert listed.json["@Microsoft.Dynamics.CRM.totalrecordcount"] == -1
    assert listed.headers["preference-applied"] == 'odata.include-annotations="*"'


# $apply


def test_apply(dv):
    grouped = dv.values(
        "nce_subscriptions",
        apply="groupby((nce_status),aggregate(nce_total with sum as total,nce_unitprice with max as top,$count as n))",
    )
    by_status = {g["nce_status"]: g for g in grouped}
    assert by_status[727000001]["total"] == 570
    assert by_status[727000001]["top"] == Decimal("22.0000000001")
    assert by_status[None]["n"] == 2
    filtered = dv.values(
        "nce_subscriptions",
        apply="filter(nce_quantity gt 9)/groupby((nce_AccountId/name),aggregate(nce_quantity with sum as q))",
    )
    assert {(g["nce_AccountId"]["name"], g["q"]) for g in filtered} == {
        ("Litware", 35),
        (None, 100),
    }
    average = dv.values("nce_subscriptions", apply="aggregate(nce_total with average as mean)")
    assert average[0]["mean"] == Decimal("149.275")
    distinct = dv.values("nce_subscriptions", apply="groupby((statecode))")
    assert distinct == [{"statecode": 0}]


def test_apply_has_limits(dv):
    dv.settings.aggregate_limit = 4
    too_many = dv.get("nce_subscriptions", apply="aggregate($count as n)")
    assert (too_many.status, too_many.code) == (400, "0x8004e023")
    assert dv.get("nce_subscriptions", apply="groupby((createdon))").code == "0x80060888"
    assert (
        dv.get("nce_subscriptions", apply="aggregate(nce_name with sum as x)").code == "0x80060888"
    )
    assert dv.get("nce_subscriptions", apply="concat(a,b)").code == "0x80060888"


# FetchXML and SQL


def fetch(dv, text, prefer=""):
    return dv.send("GET", "nce_subscriptions", headers={"Prefer": prefer}, query={"fetchXml": text})


def test_fetchxml_with_links_filters_and_order(dv):
    text = """<fetch><entity name="nce_subscription"><attribute name="nce_externalkey"/>
      <attribute name="nce_accountid"/>
      <filter type="or"><condition attribute="nce_name" operator="like" value="busi%"/>
        <condition attribute="nce_quantity" operator="in"><value>10</value><value>11</value></condition></filter>
      <link-entity name="account" from="accountid" to="nce_accountid" alias="a">
        <attribute name="name"/><attribute name="accountid" alias="who"/></link-entity>
      <order attribute="nce_quantity" descending="true"/></entity></fetch>"""
    rows = fetch(dv, text).json["value"]
    assert [(r["nce_externalkey"], r["a.name"]) for r in rows] == [
        ("k1", "Litware"),
        ("k0", "Litware"),
        ("k2", "Contoso"),
    ]
    assert rows[0]["_nce_accountid_value"] == rows[0]["who"]
    assert rows[0]["@odata.etag"]


def test_fetchxml_outer_link_and_condition_on_the_link(dv):
    text = """<fetch><entity name="nce_subscription"><attribute name="nce_externalkey"/>
      <link-entity name="account" from="accountid" to="nce_accountid" alias="a" link-type="outer">
        <filter><condition attribute="name" operator="eq" value="contoso"/></filter></link-entity>
      <filter><condition entityname="a" attribute="accountid" operator="null"/></filter></entity></fetch>"""
    assert {r["nce_externalkey"] for r in fetch(dv, text).json["value"]} == {"k0", "k1", "k3", "k4"}


def test_fetchxml_aggregates_are_exact(dv):
    text = """<fetch aggregate="true"><entity name="nce_subscription">
      <attribute name="nce_total" aggregate="sum" alias="total"/>
      <attribute name="nce_unitprice" aggregate="avg" alias="mean"/>
      <attribute name="nce_quantity" aggregate="countcolumn" alias="n"/>
      <attribute name="nce_accountid" groupby="true" alias="account"/>
      <order alias="total" descending="true"/></entity></fetch>"""
    answer = fetch(dv, text)
    rows = answer.json["value"]
    assert [(r["total"], r["n"]) for r in rows] == [(570, 2), (27, 1), (Decimal("0.1"), 1)]
    assert '"total":570.0000' in answer.raw.decode()
    assert rows[0]["mean"] == Decimal("11.5500000001")
    by_year = """<fetch aggregate="true"><entity name="nce_subscription">
      <attribute name="nce_start" groupby="true" dategrouping="year" alias="y"/>
      <attribute name="nce_subscriptionid" aggregate="count" alias="n"/></entity></fetch>"""
    assert [(r["y"], r["n"]) for r in fetch(dv, by_year).json["value"]] == [
        (None, 1),
        (2026, 3),
        (2027, 1),
    ]


def test_fetchxml_pages_and_distinct(dv):
    prefer = (
        'odata.include-annotations="Microsoft.Dynamics.CRM.fetchxmlpagingcookie,'
        'Microsoft.Dynamics.CRM.morerecords"'
    )
    seen = []
    for page in (1, 2, 3):
        text = (
            f'<fetch page="{page}" count="2"><entity name="nce_subscription"><attribute name="nce_externalkey"/>'
            '<order attribute="nce_externalkey"/></entity></fetch>'
        )
        answer = fetch(dv, text, prefer).json
        seen += [r["nce_externalkey"] for r in answer["value"]]
        assert answer["@Microsoft.Dynamics.CRM.morerecords"] is (page < 3)
        cookie = answer.get("@Microsoft.Dynamics.CRM.fetchxmlpagingcookie", "")
        assert cookie.startswith(f'<cookie pagenumber="{page + 1}"') is (page < 3)
    assert seen == ["k0", "k1", "k2", "k3", "k4"]
    distinct = '<fetch distinct="true"><entity name="nce_subscription"><attribute name="nce_status"/></entity></fetch>'
    assert len(fetch(dv, distinct).json["value"]) == 3
    top = '<fetch top="2"><entity name="nce_subscription"><all-attributes/></entity></fetch>'
    assert len(fetch(dv, top).json["value"]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "<fetch",
        '<fetch><entity name="account"/></fetch>',
        '<fetch><entity name="nce_subscription"><attribute name="none"/></entity></fetch>',
        '<fetch><entity name="nce_subscription"><filter><condition attribute="nce_name" operator="sounds" value="x"/></filter></entity></fetch>',
        '<fetch><entity name="nce_subscription"><filter><condition attribute="nce_quantity" operator="eq" value="x"/></filter></entity></fetch>',
    ],
)
def test_bad_fetchxml(dv, text):
    assert fetch(dv, text).status == 400


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "SELECT nce_externalkey FROM nce_subscription WHERE nce_quantity >= 10 ORDER BY nce_quantity DESC",
            "k3 k1 k0",
        ),
        ("SELECT TOP 2 nce_externalkey FROM nce_subscription ORDER BY nce_externalkey", "k0 k1"),
        (
            "SELECT s.nce_externalkey FROM nce_subscription s JOIN account a ON s.nce_accountid = a.accountid WHERE a.name = 'Litware' ORDER BY s.nce_externalkey",
            "k0 k1",
        ),
        (
            "SELECT s.nce_externalkey FROM nce_subscription AS s LEFT JOIN account a ON a.accountid = s.nce_accountid WHERE a.accountid IS NULL ORDER BY s.nce_externalkey",
            "k3 k4",
        ),
        (
            "SELECT nce_externalkey FROM nce_subscription WHERE (nce_name LIKE 'busi%' OR nce_name = 'O''Neil_x') AND nce_quantity IS NOT NULL ORDER BY nce_externalkey",
            "k1 k2",
        ),
        (
            "SELECT nce_externalkey FROM nce_subscription WHERE nce_quantity IN (3, 10) AND nce_quantity NOT BETWEEN 5 AND 20",
            "k2",
        ),
        (
            "SELECT nce_externalkey FROM nce_subscription ORDER BY nce_externalkey DESC OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY",
            "k3 k2",
        ),
        (
            "SELECT nce_externalkey FROM nce_subscription ORDER BY nce_externalkey OFFSET 3 ROWS",
            "k3 k4",
        ),
    ],
)
def test_sql(dv, text, found):
    rows = dv.send("GET", "nce_subscriptions", query={"sql": text}).json["value"]
    assert " ".join(r["nce_externalkey"] for r in rows) == found


def test_sql_aggregates_and_refusals(dv):
    text = "SELECT nce_status, SUM(nce_total) AS total, COUNT(*) AS n FROM nce_subscription WHERE nce_status IS NOT NULL GROUP BY nce_status"
    rows = dv.send("GET", "nce_subscriptions", query={"sql": text}).json["value"]
    assert [(r["nce_status"], r["total"], r["n"]) for r in rows] == [
        (727000000, 27, 1),
        (727000001, 570, 2),
    ]
    for bad in (
        "SELECT * FROM nce_subscription",
        "DELETE FROM nce_subscription",
        "SELECT nce_name FROM account",
        "SELECT nce_name FROM nce_subscription UNION SELECT name FROM account",
        "SELECT nce_name FROM nce_subscription WHERE nce_name = (SELECT name FROM account)",
        "SELECT nce_name FROM nce_subscription OFFSET 1 ROWS",
        "SELECT nce_name FROM nce_subscription ORDER BY nce_name OFFSET 1.5 ROWS",
        "SELECT TOP 1.5 nce_name FROM nce_subscription",
    ):
        assert dv.send("GET", "nce_subscriptions", query={"sql": bad}).status == 400


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(
        ["$filter", "$orderby", "$select", "$expand", "$apply", "$top", "sql", "$skiptoken"]
    ),
    st.lists(
        st.sampled_from(
            "nce_name nce_quantity nce_AccountId/name nce_AccountId createdon eq gt and not ( ) 'a' 5 1.5 null "
            "2026-13-45 contains( , any(o:o/nce_number Microsoft.Dynamics.CRM.In( PropertyName='nce_name' = [1] @p "
            "99999999999999999999999 ' % groupby( aggregate( with sum as x / ; SELECT FROM nce_subscription WHERE "
            "JOIN account ON ORDER BY OFFSET ROWS TOP *".split()
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_no_query_breaks_the_server(dv, option, words):
    answer = dv.send("GET", "nce_subscriptions", query={option: " ".join(words)})
    assert answer.status == 200 or answer.json["error"]["message"]


def test_long_urls_belong_into_a_batch(dv):
    text = " or ".join(["nce_name eq 'a'"] * 2000)
    assert dv.get("nce_subscriptions", filter=text).status == 414


def test_the_length_of_an_url_is_that_of_its_sent_form(dv):
    text = "+or+".join(["nce_quantity+eq+3"] * 1500)
    assert len(dv.send("GET", f"nce_subscriptions?$filter={text}").json["value"]) == 1


# Change tracking


def delta(dv, link):
    return dv.send("GET", link)


def test_deltas_tell_changes_then_deletions(dv):
    prefer = "odata.track-changes"
    start = dv.get("nce_subscriptions", prefer, select="nce_externalkey")
    assert start.headers["preference-applied"] == prefer
    assert len(start.json["value"]) == 5
    link = start.json["@odata.deltaLink"]
    assert delta(dv, link).json["value"] == []
    dv.patch("nce_subscriptions(nce_externalkey='k3')", {"nce_quantity": 101})
    new = dv.post("nce_subscriptions", {"nce_externalkey": "k5"}).new_id
    gone = dv.get("nce_subscriptions(nce_externalkey='k4')").json["nce_subscriptionid"]
    dv.delete(f"nce_subscriptions({gone})")
    brief = dv.post("nce_subscriptions", {"nce_externalkey": "k6"}).new_id
    dv.delete(f"nce_subscriptions({brief})")
    answer = delta(dv, link).json
    assert answer["@odata.context"] == f"{ROOT}$metadata#nce_subscriptions/$delta"
    changed, deleted = answer["value"][:2], answer["value"][2:]
    assert [r["nce_externalkey"] for r in changed] == ["k3", "k5"]
    assert changed[1]["nce_subscriptionid"] == new
    context = f"{ROOT}$metadata#nce_subscriptions/$deletedEntity"
    assert deleted == [
        {"@odata.context": context, "id": gone, "reason": "deleted"},
        {"@odata.context": context, "id": brief, "reason": "deleted"},
    ]
    assert delta(dv, answer["@odata.deltaLink"]).json["value"] == []
    token = parse_qs(urlsplit(link).query)["$deltatoken"][0]
    counted = dv.send("GET", "nce_subscriptions/$count", query={"$deltatoken": token})
    assert counted.raw == b"4"


def test_the_first_delta_run_pages_and_misses_nothing_written_meanwhile(dv):
    prefer = "odata.track-changes,odata.maxpagesize=2"
    answer = dv.get("nce_subscriptions", prefer, select="nce_externalkey")
    seen = [r["nce_externalkey"] for r in answer.json["value"]]
    dv.patch(f"nce_subscriptions(nce_externalkey='{seen[0]}')", {"nce_quantity": 7})
    while link := answer.json.get("@odata.nextLink"):
        answer = dv.send("GET", link, headers={"Prefer": prefer})
        seen += [r["nce_externalkey"] for r in answer.json["value"]]
    assert sorted(seen) == ["k0", "k1", "k2", "k3", "k4"]
    again = delta(dv, answer.json["@odata.deltaLink"]).json["value"]
    assert [r["nce_externalkey"] for r in again] == seen[:1]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_deltas_come_in_pages_with_the_deleted_at_the_end(dv, size):
    prefer = f"odata.maxpagesize={size}"
    link = dv.get("nce_subscriptions", "odata.track-changes", select="nce_externalkey")
    link = link.json["@odata.deltaLink"]
    for key in ("k3", "k1", "k0", "k2"):
        dv.patch(f"nce_subscriptions(nce_externalkey='{key}')", {"nce_quantity": 101})
    gone = dv.get("nce_subscriptions(nce_externalkey='k4')").json["nce_subscriptionid"]
    dv.delete(f"nce_subscriptions({gone})")
    answer, seen, pages = dv.send("GET", link, headers={"Prefer": prefer}), [], 1
    while following := answer.json.get("@odata.nextLink"):
        assert "@odata.deltaLink" not in answer.json
        assert answer.headers["preference-applied"] == prefer
        assert len(answer.json["value"]) == size
        seen += answer.json["value"]
        if pages == 1:  # what changes meanwhile comes again, now or with the next link
            dv.patch("nce_subscriptions(nce_externalkey='k3')", {"nce_quantity": 102})
        answer, pages = dv.send("GET", following, headers={"Prefer": prefer}), pages + 1
    seen += answer.json["value"]
    assert [row["id"] for row in seen if "id" in row] == [gone]
    assert seen[-1]["reason"] == "deleted"
    changed = [row["nce_externalkey"] for row in seen[:-1]]
    assert changed == (["k3", "k1", "k0", "k2", "k3"] if pages > 1 else ["k3", "k1", "k0", "k2"])
    later = dv.send("GET", answer.json["@odata.deltaLink"]).json["value"]
    assert [row["nce_externalkey"] for row in later] == (["k3"] if pages > 1 else [])


def test_a_deleted_row_that_comes_back_is_a_change(dv):
    link = dv.get("nce_subscriptions", "odata.track-changes").json["@odata.deltaLink"]
    row = dv.get("nce_subscriptions(nce_externalkey='k0')").json["nce_subscriptionid"]
    line_ids = [line["nce_lineid"] for line in dv.values("nce_lines")]
    for line in line_ids:
        dv.delete(f"nce_lines({line})")
    dv.delete(f"nce_subscriptions({row})")
    dv.post("nce_subscriptions", {"nce_subscriptionid": row, "nce_name": "back"})
    found = delta(dv, link).json["value"]
    assert [(r["nce_subscriptionid"], r["nce_name"]) for r in found] == [(row, "back")]


@pytest.mark.parametrize("option", ["filter", "orderby", "expand", "top"])
def test_deltas_refuse_other_options(dv, option):
    answer = dv.get("nce_subscriptions", "odata.track-changes", **{option: "1"})
    assert answer.status == 400
    expected = (
        f'The "${{{option}}}" query parameter isn\'t supported when Change Tracking is enabled.'
    )
    assert answer.message == expected


def test_delta_tokens_age_and_tables_must_be_tracked(dv):
    link = dv.get("nce_subscriptions", "odata.track-changes").json["@odata.deltaLink"]
    dv.clock.advance(timedelta(days=7))
    assert delta(dv, link).status == 200
    dv.clock.advance(timedelta(minutes=1))
    assert delta(dv, link).status == 400
    assert dv.get("nce_lines", "odata.track-changes").status == 400
    assert dv.send("GET", "nce_subscriptions", query={"$deltatoken": "nonsense"}).status == 400
