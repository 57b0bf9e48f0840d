"""Microsoft's SDK for Python asks: OData, its query builder, SQL, FetchXML, pages, annotations."""

from __future__ import annotations

import pytest
from PowerPlatform.Dataverse.core.errors import HttpError
from PowerPlatform.Dataverse.models import col

from tests.conformance.conftest import Status

TABLE = "nce_demo"
FORMATTED = "OData.Community.Display.V1.FormattedValue"


@pytest.fixture
def rows(demo):
    """Fifty rows; every fifth is active, every tenth has no quantity; one account has ten."""
    account = demo.records.create("account", {"name": "Contoso"})
    demo.records.create(
        TABLE,
        [
            {
                "nce_name": f"Row {n:02}",
                "nce_sub": f"S{n:02}",
                "nce_quantity": None if n % 10 == 0 else n,
                "nce_status": Status.Active if n % 5 == 0 else Status.Draft,
                "nce_start": f"2026-11-{n % 28 + 1:02}T00:00:00Z",
                **({"nce_AccountId@odata.bind": f"/accounts({account})"} if n < 10 else {}),
            }
            for n in range(50)
        ],
    )
    demo.account = account
    return demo


def names(found):
    return sorted(row["nce_sub"] for row in found)


def subs(*numbers):
    return [f"S{n:02}" for n in numbers]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("nce_quantity eq 7", subs(7)),
        ("nce_quantity gt 47 and nce_quantity ne 48", subs(49)),
        ("nce_quantity le 2 or nce_quantity ge 49", subs(1, 2, 49)),
        ("nce_quantity eq null and nce_quantity lt 5", []),
        ("nce_quantity eq null", subs(0, 10, 20, 30, 40)),
        ("not (nce_quantity lt 48) and nce_quantity ne null", subs(48, 49)),
        ("contains(nce_name,'OW 3') and nce_quantity ne null", subs(*range(31, 40))),
        ("startswith(nce_sub,'s0') and nce_status eq 727000001", subs(0, 5)),
        ("endswith(nce_sub,'9')", subs(9, 19, 29, 39, 49)),
        ("nce_start ge 2026-11-28T00:00:00Z", subs(27)),
        ("nce_sub eq 's07'", subs(7)),
    ],
)
def test_conditions(rows, condition, expected):
    assert names(rows.records.list(TABLE, filter=condition)) == expected


def test_conditions_on_links(rows):
    by_id = rows.records.list(TABLE, filter=f"_nce_accountid_value eq {rows.account}")
    by_name = rows.records.list(TABLE, filter="nce_AccountId/name eq 'CONTOSO'")
    assert names(by_id) == names(by_name) == subs(*range(10))


def test_order_and_top(rows):
    first = rows.records.list(TABLE, orderby=["nce_status desc", "nce_sub"], top=3)
    assert [r["nce_sub"] for r in first] == subs(0, 5, 10)
    last = rows.records.list(TABLE, orderby=["nce_quantity desc"], top=2)
    assert [r["nce_sub"] for r in last] == subs(49, 48)


def test_pages_hold_every_row_once_in_one_order(environment, rows):
    environment.control.clear_log()
    pages = list(rows.records.list_pages(TABLE, page_size=7, orderby=["nce_status"], count=True))
    assert [len(page) for page in pages] == [7] * 7 + [1]
    flat = [row["nce_sub"] for page in pages for row in page]
    assert sorted(flat) == subs(*range(50))
    assert flat == [r["nce_sub"] for r in rows.records.list(TABLE, orderby=["nce_status"])]
    assert environment.asked()[:8] == ["GET nce_demos"] * 8


def test_a_top_is_ignored_where_a_page_size_is_asked_for(rows):
    """The service does so, and the SDK sends both."""
    assert len(rows.records.list(TABLE, top=5, page_size=20)) == 50


def test_the_count_is_of_all_rows_and_ends_at_its_cap(environment, rows):
    """The SDK asks for the count and throws it away, so the answer itself is read here."""

    def counted():
        with rows._scoped_odata() as raw:
            url = f"{raw.api}/nce_demos?$count=true&$top=1"
            return raw._request("get", url).json()["@odata.count"]

    assert counted() == 50
    environment.settings.count_cap = 20
    assert counted() == 20


def test_annotations_name_what_numbers_and_ids_mean(rows):
    found = rows.records.list(TABLE, filter="nce_sub eq 'S05'", include_annotations="*").first()
    assert found[f"nce_status@{FORMATTED}"] == "Active"
    assert found[f"_nce_accountid_value@{FORMATTED}"] == "Contoso"
    assert found["_nce_accountid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "account"
    nav = "_nce_accountid_value@Microsoft.Dynamics.CRM.associatednavigationproperty"
    assert found[nav] == "nce_AccountId"


def test_a_link_is_expanded(rows):
    found = rows.records.list(TABLE, filter="nce_quantity le 10", expand=["nce_AccountId"])
    assert {r["nce_AccountId"]["name"] for r in found} == {"Contoso"}
    other = rows.records.list(TABLE, filter="nce_quantity eq 11", expand=["nce_AccountId"])
    assert other.first()["nce_AccountId"] is None


@pytest.mark.parametrize("query", [{"select": ["nce_x"]}, {"filter": "nce_x eq 1"}])
def test_an_unknown_column_is_refused(demo, query):
    with pytest.raises(HttpError) as refused:
        demo.records.list(TABLE, **query)
    assert refused.value.status_code == 400
    assert refused.value.details["service_error_code"] == "0x80060888"
    assert "Could not find a property named 'nce_x'" in str(refused.value)


def test_the_query_builder(rows):
    found = (
        rows.query.builder(TABLE)
        .select("nce_Sub", "nce_Quantity")
        .where((col("nce_status") == int(Status.Active)) | col("nce_quantity").is_null())
        .where(col("nce_sub").between("S10", "S30"))
        .where(~(col("nce_sub") == "S20"))
        .order_by("nce_sub", descending=True)
        .page_size(2)
        .include_formatted_values()
        .execute()
    )
    assert [r["nce_sub"] for r in found] == subs(30, 25, 15, 10)
    listed = rows.query.builder(TABLE).where(col("nce_quantity").in_([3, 4])).execute()
    assert names(listed) == subs(3, 4)
    liked = rows.query.builder(TABLE).where(col("nce_sub").like("S4%")).execute()
    assert names(liked) == subs(*range(40, 50))


def test_sql(rows):
    top = rows.query.sql(
        "SELECT TOP 3 nce_sub, nce_quantity FROM nce_demo WHERE nce_quantity > 5 ORDER BY nce_sub"
    )
    assert [(r["nce_sub"], r["nce_quantity"]) for r in top] == [("S06", 6), ("S07", 7), ("S08", 8)]
    joined = rows.query.sql(
        "SELECT a.name, COUNT(d.nce_demoid) AS number FROM account a "
        "INNER JOIN nce_demo d ON a.accountid = d.nce_accountid GROUP BY a.name"
    )
    assert [dict(r.items()) for r in joined] == [{"name": "Contoso", "number": 10}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "SELECT nce_sub FROM nce_demo WHERE nce_sub LIKE 'S4%' AND nce_quantity IN (41, 43) ORDER BY nce_sub",
            subs(41, 43),
        ),
        (
            "SELECT nce_sub FROM nce_demo WHERE nce_quantity BETWEEN 1 AND 3 ORDER BY nce_sub DESC",
            subs(3, 2, 1),
        ),
        (
            "SELECT nce_sub FROM nce_demo WHERE nce_quantity IS NULL ORDER BY nce_sub",
            subs(0, 10, 20, 30, 40),
        ),
        (
            "SELECT nce_sub FROM nce_demo ORDER BY nce_sub OFFSET 10 ROWS FETCH NEXT 3 ROWS ONLY",
            subs(10, 11, 12),
        ),
    ],
)
def test_sql_conditions_and_pages(rows, text, expected):
    found = rows.query.sql(text)
    assert [row["nce_sub"] for row in found] == expected


def test_fetchxml_with_aggregates(rows):
    found = rows.query.fetchxml("""
        <fetch aggregate="true"><entity name="nce_demo">
          <attribute name="nce_quantity" alias="total" aggregate="sum"/>
          <attribute name="nce_demoid" alias="number" aggregate="count"/>
          <attribute name="nce_status" alias="status" groupby="true"/>
          <order alias="status"/>
        </entity></fetch>""").execute()
    active = [n for n in range(50) if n % 5 == 0]
    draft = [n for n in range(50) if n % 5]
    expected = [
        (Status.Draft, len(draft), sum(draft)),
        (Status.Active, len(active), sum(n for n in active if n % 10)),
    ]
    assert [(r["status"], r["number"], r["total"]) for r in found] == expected


def test_fetchxml_pages_follow_the_cookie(rows):
    query = rows.query.fetchxml("""
        <fetch count="20"><entity name="nce_demo"><attribute name="nce_sub"/>
          <order attribute="nce_sub" descending="true"/>
          <link-entity name="account" from="accountid" to="nce_accountid" alias="a"
              link-type="outer"><attribute name="name"/></link-entity>
        </entity></fetch>""")
    pages = list(query.execute_pages())
    assert [len(page) for page in pages] == [20, 20, 10]
    assert [r["nce_sub"] for page in pages for r in page] == subs(*reversed(range(50)))
    assert {r["a.name"] for r in pages[2]} == {"Contoso"}


def test_rows_become_a_data_frame(rows):
    frame = rows.query.builder(TABLE).select("nce_sub", "nce_quantity").execute().to_dataframe()
    assert frame["nce_quantity"].sum() == sum(n for n in range(50) if n % 10)
