"""What the finance user sees after the demo: the app's lists show the month as it is."""

from datetime import date

import pytest

from app.settings import Settings
from app.wiring import opened
from dataverse.client import Query
from dataverse.provision.finance_app import FINANCE_APP
from dataverse.schema import external_key
from dataverse.tables import TABLES
from domain.problems import Severity
from invoice.document import DocumentKind, DocumentStatus

TABLE = {table.name: table for table in TABLES}


@pytest.fixture(scope="module")
def worker(demo):
    with opened(Settings.from_env({"CSP_STATE_DIR": str(demo.state)})) as made:
        yield made


@pytest.fixture(scope="module")
def stored(worker):
    """The published views as the environment keeps them, by table and name."""
    params = {"$filter": "startswith(returnedtypecode,'csp_')"}
    rows = worker.dataverse.call("GET", "savedqueries", params=params).json()["value"]
    return {(row["returnedtypecode"], row["name"]): row for row in rows}


@pytest.fixture(scope="module")
def show(worker, stored):
    """The rows of a view, by its own query, as the grid of the app would read them."""

    def rows(table, name, typed=""):
        fetch = stored[table, name]["fetchxml"].replace("{0}", f"%{typed}%")
        path = worker.dataverse.entity_set(table)
        return worker.dataverse.call("GET", path, params={"fetchXml": fetch}).json()["value"]

    return rows


@pytest.mark.parametrize("view", FINANCE_APP.views, ids=lambda v: f"{v.table}/{v.key}")
def test_every_view_answers_in_its_order(view, show, stored):
    rows = show(view.table, view.name)
    (first, *_) = view.order
    name, _, direction = first.partition(" ")
    values = [row.get(name) for row in rows]
    if all(isinstance(value, str) for value in values) and name not in _links(view.table):
        # Text is compared without regard to case, days and moments by themselves.
        folded = [value.lower() for value in values]
        assert folded == sorted(folded, reverse=direction == "desc")


def _links(table):
    return {lookup.name for lookup in TABLE[table].lookups}


def test_main_views_show_every_row(worker, show):
    for view in FINANCE_APP.views:
        if view.kind == "main":
            path = f"{worker.dataverse.entity_set(view.table)}/$count"
            count = int(worker.dataverse.call("GET", path).content)
            assert len(show(view.table, view.name)) == min(count, 5000)


def test_holds_show_why_and_what_to_do(demo, show):
    held = [one for one in demo.findings if one.severity is not Severity.WARN]
    rows = show("csp_finding", "On hold")
    assert held
    assert {row["csp_sentence"] for row in rows} == {one.sentence for one in held}
    assert {row["csp_hint"] for row in rows} == {one.hint for one in held}
    warned = [one for one in demo.findings if one.severity is Severity.WARN]
    rows = show("csp_finding", "Warnings")
    assert len(rows) == len(warned)


def test_documents_stand_where_their_state_says(demo, show):
    of = {
        "Drafts to approve": [d for d in demo.documents if d.status is DocumentStatus.DRAFT],
        "Issued, not yet paid": [
            d
            for d in demo.documents
            if d.kind is DocumentKind.INVOICE
            and d.status
            in (DocumentStatus.APPROVED, DocumentStatus.ISSUED, DocumentStatus.HANDED_OFF)
        ],
        "Credit notes": [d for d in demo.documents if d.kind is DocumentKind.CREDIT_NOTE],
        "CSP invoices": list(demo.documents),
    }
    for name, expected in of.items():
        rows = show("csp_invoice", name)
        assert sorted(row["csp_total"] for row in rows) == sorted(
            d.total.amount for d in expected
        ), name
    assert of["Issued, not yet paid"]


def test_quick_find_finds_an_invoice_by_number_and_by_customer(demo, show):
    name = "Quick find: CSP invoices"
    some = next(d for d in demo.documents if d.number)
    (row,) = show("csp_invoice", name, some.number.lower())
    assert row["csp_number"] == some.number
    word = some.customer_name.split()[-1]
    rows = show("csp_invoice", name, word)
    assert some.number in {row["csp_number"] for row in rows}
    assert show("csp_invoice", name, "nobody of this name") == []


def test_renewals_ahead_come_within_sixty_days_and_the_next_first(worker, show):
    today = worker.today()
    rows = show("csp_subscription", "Renewals within 60 days")
    ends = [row["csp_termend"] for row in rows]
    assert ends == sorted(ends)
    assert all(0 <= (_day(end) - today).days <= 60 for end in ends)
    select = ("csp_name", "csp_termend", "csp_subscriptionid")
    where = "csp_status eq 'active' and csp_termend ne null"
    alive = worker.dataverse.read(Query(table="csp_subscription", select=select, where=where))
    # "Next" begins with this moment: what ends today has its day behind it.
    expected = [s for s in alive if 0 < (_day(s["csp_termend"]) - today).days <= 60]
    assert ids(rows) == ids(expected) != set()


def ids(rows):
    return {row["csp_subscriptionid"] for row in rows}


def _day(text):
    return date.fromisoformat(str(text)[:10])


def test_an_invoice_opens_with_its_lines_and_reasons(demo, worker, show):
    """The grid on the form: the view's rows of one document, in the order of the document."""
    some = max(demo.documents, key=lambda d: len(d.lines))
    path = worker.dataverse.row_path("csp_invoice", external_key(some.key))
    row_id = worker.dataverse.call("GET", path).json()["csp_invoiceid"]
    lines = [
        row
        for row in show("csp_invoiceline", "CSP invoice lines")
        if row["_csp_invoiceid_value"] == row_id
    ]
    assert len(lines) == len(some.lines)
    assert {row["csp_why"] for row in lines} == {line.charge.why for line in some.lines}
