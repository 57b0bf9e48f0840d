"""The Web API client: quoting, pages, bulk halving, batches, and Microsoft's own samples."""

import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataverse import batch, client
from dataverse.batch import Operation
from dataverse.client import Query, literal, one_of, problem_of
from domain.problems import Conflict, NotAuthorised, NotFound, ServiceError, Throttled
from emulator.dataverse.settings import Settings
from tests.clients.dataverse_environment import new_environment
from transport import exact_json
from transport.refusals import read_error

SAMPLES = Path(__file__).resolve().parents[1] / "published/samples/dataverse"


@pytest.fixture(scope="module")
def environment():
    return new_environment()


@pytest.fixture(autouse=True)
def _calm(environment):
    environment.forget_requests()
    environment.waits.clear()
    fresh = Settings()
    for name in Settings.__slots__:
        setattr(environment.emulator.dataverse.settings, name, getattr(fresh, name))


def sample(name):
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("the published samples are not beside this checkout")
    return path.read_bytes()


# Talking to the service ----------------------------------------------------------------------------


def test_the_probe_names_the_environment(environment):
    assert {"UserId", "BusinessUnitId", "OrganizationId"} <= environment.client().who_am_i().keys()


def test_every_request_says_what_odata_asks(environment):
    environment.client().who_am_i()
    headers = environment.emulator.control.requests()[-1]["headers"]
    lower = {name.lower(): value for name, value in headers.items()}
    assert lower["odata-version"] == lower["odata-maxversion"] == "4.0"
    assert lower["accept"] == "application/json"
    assert lower["if-none-match"] == "null"
    assert len(lower["x-ms-client-request-id"]) == 36
    assert lower["user-agent"].startswith("csp-billing-dataverse/")


def test_collection_names_are_learned_in_one_request(environment):
    fresh = environment.client()
    assert fresh.entity_set("csp_usagesummary") == "csp_usagesummaries"
    assert fresh.entity_set("account") == "accounts"
    assert fresh.entity_set("csp_invoice") == "csp_invoices"
    assert len(environment.requests()) == 2
    with pytest.raises(NotFound, match="no table csp_nothing"):
        fresh.entity_set("csp_nothing")


# Quoting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("O'Brien", "'O''Brien'"),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (Decimal("1.50"), "1.50"),
        (date(2026, 10, 1), "2026-10-01"),
    ],
)
def test_a_literal_ends_only_where_it_should(value, text):
    assert literal(value) == text


odd = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(odd, odd)
def test_any_text_finds_exactly_its_own_row(environment, first, second):
    ours = environment.client()
    environment.write(
        "csp_taxprofile",
        {"q.1": {"csp_evidence": first}, "q.2": {"csp_evidence": second}},
    )
    where = f"csp_evidence eq {literal(first)}"
    rows = ours.read(Query(table="csp_taxprofile", select=("csp_externalkey",), where=where))
    assert "q.1" in {row["csp_externalkey"] for row in rows}


def test_one_of_some_values(environment):
    ours = environment.client()
    values = ["a'b", 'c"d', "e,f", "g]h"]
    environment.write(
        "csp_markuprule", {f"in.{n}": {"csp_sku": text} for n, text in enumerate(values)}
    )
    for text in values:
        query = Query(table="csp_markuprule", select=("csp_sku",), where=one_of("csp_sku", [text]))
        assert [row["csp_sku"] for row in ours.read(query)] == [text]


# Reading -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 50, 51])
def test_pages_of_any_size_yield_the_same_rows(environment, monkeypatch, size):
    ours = environment.client()
    environment.write("csp_pricelistitem", {f"page.{n}": {"csp_sku": f"{n}"} for n in range(50)})
    monkeypatch.setattr(client, "PAGE_SIZE", size)
    query = Query(table="csp_pricelistitem", select=("csp_sku",))
    ours.entity_set("csp_pricelistitem")
    environment.forget_requests()
    alone = [row["csp_sku"] for row in ours.read(query)]
    assert sorted(alone, key=int) == [str(n) for n in range(50)]
    assert len(environment.requests()) == -(-50 // size)
    together = ours.read_together([query, query])
    assert [[row["csp_sku"] for row in rows] for rows in together] == [alone, alone]


def test_top_is_not_lost_to_a_page_size(environment):
    ours = environment.client()
    environment.write("csp_agreement", {f"top.{n}": {"csp_type": f"{n}"} for n in range(9)})
    query = Query(table="csp_agreement", select=("csp_type",), order="csp_type desc", top=3)
    assert [row["csp_type"] for row in ours.read(query)] == ["8", "7", "6"]


def test_many_keys_are_read_in_several_short_requests(environment):
    ours = environment.client()
    keys = [f"{'long' * 20}.{n}" for n in range(250)]
    environment.write("csp_usagesummary", {key: {"csp_lines": 1} for key in keys[::2]})
    ours.entity_set("csp_usagesummary")
    environment.forget_requests()
    rows = ours.read_keyed("csp_usagesummary", ("csp_externalkey",), keys)
    assert {row["csp_externalkey"] for row in rows} == set(keys[::2])
    logged = environment.emulator.control.requests()
    assert [len(entry["query"]) < 32_768 for entry in logged] == [True] * 3


def test_an_unknown_column_is_an_error(environment):
    with pytest.raises(ServiceError, match="csp_nothing"):
        environment.client().read(Query(table="csp_customer", select=("csp_nothing",)))


def test_a_failed_read_in_a_batch_keeps_its_own_words(environment):
    queries = [
        Query(table="csp_customer", select=("csp_name",)),
        Query(table="csp_customer", select=("csp_nothing",)),
    ]
    with pytest.raises(ServiceError, match="csp_nothing") as raised:
        environment.client().read_together(queries)
    assert raised.value.status == 400
    assert raised.value.code == "0x80060888"


# Writing -------------------------------------------------------------------------------------------


def test_the_conditions_of_an_upsert(environment):
    ours = environment.client()
    body = {"csp_name": "first"}
    assert ours.write("csp_customer", "when", body, version=None) == {}
    with pytest.raises(Conflict):
        ours.write("csp_customer", "when", body, version=None)
    row = ours.write("csp_customer", "when", {"csp_name": "second"}, returning="csp_name")
    assert row["csp_name"] == "second"
    ours.write("csp_customer", "when", {"csp_name": "third"}, version=client.etag(row))
    with pytest.raises(Conflict):
        ours.write("csp_customer", "when", body, version=client.etag(row))
    with pytest.raises(NotFound):
        ours.write("csp_customer", "never", body, version="*")


def operations(ours, *keys, **headers):
    return [
        Operation(
            method="PATCH",
            path=client.API + ours.row_path("csp_customer", key),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            body={"csp_name": key, "csp_city": "x" * (500 if key == "bad" else 1)},
        )
        for key in keys
    ]


def test_a_change_set_stands_or_falls_together(environment):
    ours = environment.client()
    with pytest.raises(ServiceError) as raised:
        ours.change(operations(ours, "set.1", "bad", "set.2"))
    assert raised.value.code == "0x80044331"
    assert raised.value.request_id
    keys = ("set.1", "set.2", "bad")
    assert ours.read_keyed("csp_customer", ("csp_name",), keys) == []
    parts = ours.change(operations(ours, "set.1", "set.2"))
    assert [part.status for part in parts] == [204, 204]
    with pytest.raises(Conflict):
        ours.change(operations(ours, "set.3", "set.1", If_None_Match="*"))
    assert len(ours.read_keyed("csp_customer", ("csp_name",), ("set.1", "set.2", "set.3"))) == 2


def test_a_throttled_batch_waits_as_told(environment):
    environment.fail(path="$batch", status=429, headers={"Retry-After": "7"})
    ours = environment.client()
    assert ours.change(operations(ours, "set.4"))
    assert environment.waits == [7]


def test_decimals_travel_exactly(environment):
    ours = environment.client()
    environment.write(
        "csp_markuprule",
        {"exact": {"csp_value": Decimal("99999999999.1234567891"), "csp_sku": "exact"}},
    )
    query = Query(table="csp_markuprule", select=("csp_value",), where="csp_sku eq 'exact'")
    assert ours.read(query)[0]["csp_value"] == Decimal("99999999999.1234567891")


# The form of batches -------------------------------------------------------------------------------


def test_a_batch_is_composed_as_documented():
    change = Operation(
        method="PATCH",
        path="/api/data/v9.2/csp_invoices(csp_externalkey='a')",
        headers={"If-Match": 'W/"1"'},
        body={"csp_total": Decimal("1.10")},
    )
    content_type, body = batch.compose([change], atomic=True)
    assert content_type == "multipart/mixed; boundary=batch_csp"
    assert body.decode().split("\r\n") == [
        "--batch_csp",
        "Content-Type: multipart/mixed; boundary=changeset_csp",
        "",
        "--changeset_csp",
        "Content-Type: application/http",
        "Content-Transfer-Encoding: binary",
        "Content-ID: 1",
        "",
        "PATCH /api/data/v9.2/csp_invoices(csp_externalkey='a') HTTP/1.1",
        'If-Match: W/"1"',
        "Content-Type: application/json; type=entry",
        "",
        '{"csp_total": 1.10}',
        "--changeset_csp--",
        "",
        "--batch_csp--",
        "",
    ]


def test_a_batch_has_a_limit():
    one = Operation(method="GET", path="/api/data/v9.2/accounts")
    with pytest.raises(ValueError, match="at most 1000 operations, not 1001"):
        batch.compose([one] * 1001, atomic=False)


def published(name):
    """A sample's body, and the content type that its boundary line stands for."""
    body = sample(name).partition(b"\r\n\r\n")[2]
    boundary = body.lstrip().splitlines()[0].decode().removeprefix("--")
    return f"multipart/mixed; boundary={boundary}", body


def test_the_published_answer_of_a_mixed_batch_is_read():
    parts = batch.read(*published("batch-response-mixed.txt"))
    assert [part.status for part in parts] == [204, 204, 204, 200]
    assert parts[0].headers["odata-entityid"].endswith("(d31ba648-c592-ed11-aad1-000d3a993550)")
    assert [row["subject"] for row in parts[3].json()["value"]] == [
        "Task 1 in batch",
        "Task 2 in batch",
        "Task 3 in batch",
    ]


def test_the_published_answer_of_a_change_set_is_read():
    parts = batch.read(*published("batch-response-associate.txt"))
    assert [part.status for part in parts] == [204, 204, 204]
    assert parts[1].headers["location"].endswith("contacts(43cf8c02-8c75-e911-a97a-000d3a34a1bd)")


def test_the_published_request_has_the_parts_that_ours_has():
    head, body = sample("batch-request-mixed.txt").split(b"\r\n\r\n", 1)
    assert b"Content-Type: multipart/mixed; boundary=" in head
    for line in (b"Content-Type: application/http", b"Content-Transfer-Encoding: binary"):
        assert line in body
        assert line in batch.compose([Operation(method="GET", path="/x")], atomic=False)[1]


def test_a_published_row_is_read():
    created = exact_json.loads(sample("create-entity-web-api.response-201.4.json"))
    assert client.etag(created) == 'W/"36236432"'
    assert created["primarycontactid"]["fullname"] == "Yvonne McKay (sample)"


@pytest.mark.parametrize(
    "name",
    ["create-entity-web-api.request.1.json", "compose-http-requests-handle-errors.request.1.json"],
)
def test_a_published_request_makes_a_row(environment, name):
    """The bodies that Microsoft shows are taken by the environment as our client sends them."""
    body = exact_json.loads(sample(name))
    known = {"name", "revenue", "creditonhold", "description", "telephone1"}
    ours = environment.client()
    row_id = ours.create("account", {key: body[key] for key in body.keys() & known})
    query = Query(table="account", select=("name",), where=f"accountid eq {row_id}")
    assert [row["name"] for row in ours.read(query)] == [body["name"]]


def test_a_published_resource_binds_as_ours_do():
    shown = exact_json.loads(sample("create-entity-web-api.response.5.json"))
    binds = {key: value for key, value in shown.items() if key.endswith("@odata.bind")}
    assert set(binds) == {"parentaccountid@odata.bind", "transactioncurrencyid@odata.bind"}
    assert all(re.fullmatch(r"\w+\([0-9a-f-]{36}\)", path) for path in binds.values())


def test_every_published_sample_is_read_here():
    index = exact_json.loads(sample("index.json"))
    source = Path(__file__).read_text(encoding="utf-8")
    assert [entry["file"] for entry in index if entry["file"] not in source] == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFound), (412, Conflict), (429, Throttled), (400, ServiceError)],
)
def test_a_failed_part_is_a_typed_error(status, kind):
    content = b'{"error":{"code":"0x80060892","message":"Entity Key violated."}}'
    part = batch.Part(status=status, headers={"req_id": "r-1"}, content=content)
    problem = problem_of(part)
    assert type(problem) is kind
    assert str(problem) == f"Dataverse {status} code 0x80060892 request r-1: Entity Key violated."
    assert read_error(content) == ("0x80060892", "Entity Key violated.")


@pytest.mark.parametrize(
    ("content_type", "body", "sentence"),
    [
        ("application/json", b"{}", "not multipart"),
        (
            "multipart/mixed; boundary=b",
            b"--b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}",
            "closing boundary",
        ),
        ("multipart/mixed; boundary=b", b"--b\r\n\r\nnothing\r\n--b--", "no status line"),
    ],
)
def test_what_is_no_batch_answer_is_said(content_type, body, sentence):
    with pytest.raises(ServiceError, match=sentence):
        batch.read(content_type, body)


# Changes -------------------------------------------------------------------------------------------


def names(changes):
    return [row["csp_name"] for row in changes.rows]


def test_changes_are_followed_by_their_link():
    environment = new_environment()
    client, columns = environment.client(), ("csp_externalkey", "csp_name")
    first = client.changes("csp_customer", columns)
    client.write("csp_customer", "customer.a", {"csp_name": "A"})
    client.write("csp_customer", "customer.b", {"csp_name": "B"})
    second = client.changes("csp_customer", columns, first.link)
    client.call("DELETE", client.row_path("csp_customer", "customer.a"))
    third = client.changes("csp_customer", columns, second.link)
    still = client.changes("csp_customer", columns, third.link)

    assert (first.anew, names(first)) == (True, [])
    assert (second.anew, names(second), second.gone) == (False, ["A", "B"], [])
    assert (names(third), third.gone) == ([], [second.rows[0]["csp_customerid"]])
    assert (names(still), still.gone, still.anew) == ([], [], False)


def test_an_expired_link_reads_everything_anew():
    environment = new_environment()
    client = environment.client()
    link = client.changes("csp_customer", ("csp_name",)).link
    client.write("csp_customer", "customer.a", {"csp_name": "A"})
    environment.emulator.clock.advance(timedelta(days=8))
    found = environment.client().changes("csp_customer", ("csp_name",), link)
    assert (found.anew, names(found)) == (True, ["A"])


def test_a_fault_that_is_no_expiry_is_raised(environment):
    client = environment.client()
    link = client.changes("csp_customer", ("csp_name",)).link
    environment.emulator.dataverse.settings.deny = {("Read", "csp_customer")}
    with pytest.raises(NotAuthorised):
        client.changes("csp_customer", ("csp_name",), link)


def test_all_pages_of_a_first_reading_are_read(environment):
    environment.emulator.dataverse.settings.page_size_cap = 2
    client = environment.client()
    environment.write("csp_customer", {f"paged.{n}": {"csp_name": f"P{n}"} for n in range(5)})
    found = client.changes("csp_customer", ("csp_name",))
    assert {f"P{n}" for n in range(5)} <= set(names(found))


# Questions that Dataverse reckons, and FetchXML -------------------------------------------------------


@pytest.fixture
def sixty(environment):
    """Sixty price list items at 0.1 to 0.6, ten of each."""
    rows = {
        f"sixty.{n}": {"csp_sku": f"six.{n % 6 + 1}", "csp_unitprice": Decimal(n % 6 + 1) / 10}
        for n in range(60)
    }
    environment.write("csp_pricelistitem", rows)
    return environment.client()


def test_sums_are_reckoned_by_dataverse_and_stay_exact(sixty):
    apply = (
        "filter(startswith(csp_sku,'six.'))/groupby((csp_sku),"
        "aggregate(csp_unitprice with sum as total,$count as rows))"
    )
    groups = {
        row["csp_sku"]: (row["total"], row["rows"])
        for row in sixty.aggregate("csp_pricelistitem", apply)
    }
    assert groups == {f"six.{n}": (Decimal(n), 10) for n in range(1, 7)}


FETCH = """<fetch{}><entity name="csp_pricelistitem"><attribute name="csp_key"/>{}
<filter><condition attribute="csp_sku" operator="like" value="six.%"/></filter>
<order attribute="csp_externalkey"/></entity></fetch>"""


@pytest.mark.parametrize("size", [7, 60, 61])
def test_fetchxml_yields_all_pages(sixty, environment, monkeypatch, size):
    monkeypatch.setattr(client, "PAGE_SIZE", size)
    sixty.entity_set("csp_pricelistitem")
    environment.forget_requests()
    rows = sixty.fetch(FETCH.format("", '<attribute name="csp_externalkey"/>'))
    assert sorted(row["csp_externalkey"] for row in rows) == sorted(f"sixty.{n}" for n in range(60))
    assert len(environment.requests()) == -(-60 // size)


def test_fetchxml_may_be_longer_than_an_address(sixty):
    long = "".join(
        f'<condition attribute="csp_sku" operator="ne" value="{n:080}"/>' for n in range(300)
    )
    xml = FETCH.format("", '<attribute name="csp_sku"/>').replace("<filter>", f"<filter>{long}")
    assert len(quote(xml)) > 32_768
    assert len(sixty.fetch(xml)) == 60


def test_fetchxml_may_ask_for_the_first_ones_or_for_sums(sixty):
    assert len(sixty.fetch(FETCH.format(' top="3"', ""))) == 3
    xml = """<fetch aggregate="true"><entity name="csp_pricelistitem">
    <attribute name="csp_unitprice" aggregate="sum" alias="total"/>
    <filter><condition attribute="csp_sku" operator="like" value="six.%"/></filter></entity></fetch>"""
    assert [row["total"] for row in sixty.fetch(xml)] == [Decimal(21)]


@pytest.mark.parametrize("text", ["<fetch", "<fetch/>", "<entity name='x'/>"])
def test_what_is_no_fetchxml_is_said(environment, text):
    with pytest.raises(ValueError, match="XML"):
        environment.client().fetch(text)


GROUPS = """<fetch aggregate="true"><entity name="csp_pricelistitem">
<attribute name="csp_unitprice" aggregate="sum" alias="total"/>
<attribute name="csp_sku" groupby="true" alias="sku"/>
<filter><condition attribute="csp_sku" operator="like" value="six.%"/></filter></entity></fetch>"""


@pytest.mark.parametrize("size", [1, 4, 6, 7])
def test_the_groups_of_an_aggregate_come_in_pages_too(sixty, environment, monkeypatch, size):
    monkeypatch.setattr(client, "PAGE_SIZE", size)
    sixty.entity_set("csp_pricelistitem")
    environment.forget_requests()
    found = {row["sku"]: row["total"] for row in sixty.fetch(GROUPS)}
    assert found == {f"six.{n}": Decimal(n) for n in range(1, 7)}
    assert len(environment.requests()) == -(-6 // size)


def test_what_says_that_it_is_no_aggregate_has_pages(sixty, environment):
    environment.emulator.dataverse.settings.page_size_cap = 7
    rows = sixty.fetch(FETCH.format(' aggregate="false"', '<attribute name="csp_externalkey"/>'))
    assert len(rows) == 60


@pytest.mark.parametrize("cookie", [None, "", "<cookie", "<cookie/>", '<cookie pagingcookie=""/>'])
def test_a_further_page_without_a_cookie_is_an_error_and_not_the_end(sixty, monkeypatch, cookie):
    page = {"value": [{"csp_key": "a"}], "@Microsoft.Dynamics.CRM.morerecords": True}
    if cookie is not None:
        page["@Microsoft.Dynamics.CRM.fetchxmlpagingcookie"] = cookie
    content = exact_json.dumps(page).encode()
    part = batch.Part(status=200, headers={}, content=content)
    monkeypatch.setattr(sixty, "_send_batch", lambda *_, **__: [part])
    with pytest.raises(ServiceError, match="further page without a cookie") as raised:
        sixty.fetch(FETCH.format("", ""))
    assert raised.value.hint.startswith("sort the query by columns of its own table")


# What is no answer of the service ------------------------------------------------------------------


def test_the_page_of_a_proxy_is_an_error_of_the_service(environment):
    environment.fail(path="WhoAmI", kind="respond", status=200, body="<html>sign in</html>")
    with pytest.raises(ServiceError, match="not JSON") as raised:
        environment.client().who_am_i()
    assert (raised.value.service, raised.value.status) == ("Dataverse", 200)
    assert "proxy" in raised.value.hint


def test_a_part_of_a_batch_that_is_not_json_is_an_error_of_the_service():
    part = batch.Part(status=200, headers={}, content=b"<html>")
    with pytest.raises(ServiceError, match="not JSON") as raised:
        part.json()
    assert (raised.value.service, raised.value.status) == ("Dataverse", 200)
