"""Dynamics 365 Sales as an accounting system: one document handed off, and what became of it there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from dataverse.client import Query
from dataverse.projection import SalesProjection
from dataverse.schema import external_key
from domain.problems import Conflict, Unavailable
from invoice.document import DocumentStatus
from invoice.reported import CopyState
from tests.clients.dataverse_environment import NOW, a_line, an_invoice, new_environment
from tests.clients.test_dataverse_projection import new_shop

PAID, PARTLY, CANCELLED, OPEN = (2, 100001), (2, 100002), (3, 100003), (0, 1)


@pytest.fixture
def shop():
    return new_shop()


@pytest.fixture
def sales(shop):
    return SalesProjection(shop.client)


@pytest.fixture
def document(shop, sales):
    """Handed off."""
    document = shop.issue(an_invoice())
    assert sales.hand_off(document, NOW) == []
    shop.store.settle_document(replace(document, status=DocumentStatus.HANDED_OFF))
    return replace(document, status=DocumentStatus.HANDED_OFF)


def close(shop, state, number="INV-202610-0001"):
    """What a person does with the standard invoice in Sales."""
    change(shop, {"statecode": state[0], "statuscode": state[1]}, number)


def change(shop, body, number="INV-202610-0001"):
    where = f"invoicenumber eq '{number}'"
    (row,) = shop.client.read(Query(table="invoice", select=("invoiceid",), where=where))
    path = shop.client.id_path("invoice", row["invoiceid"])
    shop.client.call("PATCH", path, body=body, headers={"If-Match": "*"})


def now_of(shop):
    return shop.environment.emulator.clock.now()


# --- handed off ------------------------------------------------------------------------------------------


def test_a_document_is_there_once_and_locked_with_our_totals(shop, sales, document):
    (row,) = shop.invoices()
    assert (row["totalamount"], row["ispricelocked"]) == (document.total.amount, True)
    assert shop.mark(document)[:2] == ("locked", document.total.amount)
    shop.environment.forget_requests()
    assert sales.hand_off(document, NOW) == []
    assert [one for one in shop.environment.writes() if "batch" not in one] == []
    assert len(shop.invoices()) == 1


def test_only_the_document_that_was_asked_for_is_handed_off(shop, sales):
    first = shop.issue(an_invoice())
    shop.issue(an_invoice(a_line(1, invoice_key="invoice/2"), key="invoice/2", number="INV-2"))
    assert sales.hand_off(first, NOW) == []
    assert [row["invoicenumber"] for row in shop.invoices("invoicenumber")] == [first.number]


def test_what_the_end_of_a_run_has_projected_is_confirmed_without_a_write(shop, sales):
    document = shop.issue(an_invoice())
    shop.catch_up()
    shop.environment.forget_requests()
    assert sales.hand_off(document, NOW) == []
    assert [one for one in shop.environment.writes() if "batch" not in one] == []


def test_a_copy_that_differs_is_told_and_not_confirmed(shop, sales):
    shop.organization(pricingdecimalprecision=0)
    document = shop.issue(an_invoice())
    (finding,) = sales.hand_off(document, NOW)
    assert (finding.check, finding.record) == ("projection.total", "document INV-202610-0001")


def test_a_copy_that_somebody_changed_after_it_was_locked_is_not_confirmed(shop, sales, document):
    (line, *_) = shop.lines()
    path = shop.client.id_path("invoicedetail", line["invoicedetailid"])
    shop.client.call("PATCH", path, body={"tax": Decimal("9.99")}, headers={"If-Match": "*"})
    (finding,) = sales.hand_off(document, NOW)
    assert finding.check == "projection.total"
    assert shop.mark(document)[0] == "different"


def test_what_stands_in_the_way_of_one_document_or_of_all_is_told(shop, sales):
    path = shop.client.id_path("pricelevel", shop.prices)
    shop.client.call("PATCH", path, body={"statecode": 1, "statuscode": 100002})
    (finding,) = sales.hand_off(shop.issue(an_invoice()), NOW)
    assert (finding.check, finding.customer_id) == ("projection.no_price_list", "")

    (finding,) = SalesProjection(new_environment().client()).hand_off(an_invoice(), NOW)
    assert finding.check == "projection.unavailable"


def test_an_outage_is_raised(shop, sales):
    document = shop.issue(an_invoice())
    shop.environment.fail(path="$batch", kind="respond", status=503, count=99)
    with pytest.raises(Unavailable):
        sales.hand_off(document, NOW)


# --- what became of it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "meant"),
    [
        (PAID, CopyState.PAID),
        (PARTLY, CopyState.PARTLY_PAID),
        (CANCELLED, CopyState.CANCELLED),
        ((0, 4), CopyState.OPEN),  # billed: nothing that matters here
    ],
)
def test_the_state_of_a_document_is_what_a_person_made_it(shop, sales, document, state, meant):
    close(shop, state)
    (one,) = sales.state_of([document.key])
    assert (one.document_key, one.state, one.same) == (document.key, meant, True)
    assert one.total == document.total.amount
    assert one.on == now_of(shop).date()


def test_a_total_that_somebody_changed_is_not_the_same(shop, sales, document):
    change(shop, {"freightamount": Decimal("1.00")})
    (one,) = sales.state_of([document.key])
    assert (one.total, one.same) == (document.total.amount + 1, False)


def test_a_copy_that_never_came_to_the_same_is_not_the_same_though_it_is_paid(shop, sales):
    shop.organization(pricingdecimalprecision=0)
    document = shop.issue(an_invoice())
    sales.hand_off(document, NOW)
    close(shop, PAID)
    (one,) = sales.changed_since(now_of(shop) - timedelta(minutes=10))
    there = Decimal("28.68")
    assert (one.state, one.total, one.same) == (CopyState.PAID, there, False)
    close(shop, OPEN)
    change(shop, {"freightamount": document.total.amount - there})
    close(shop, PAID)
    (one,) = sales.state_of([document.key])
    assert (one.state, one.same) == (CopyState.PAID, True)


def test_a_copy_that_nobody_compared_yet_is_the_same_by_its_total(shop, sales):
    document = shop.issue(an_invoice())
    sales.hand_off(document, NOW)
    key = external_key(document.key)
    unmarked = {"csp_projection": None, "csp_projectedtotal": None}
    shop.client.write("csp_invoice", key, unmarked, version="*")
    assert [one.same for one in sales.state_of([document.key])] == [True]
    change(shop, {"freightamount": Decimal("1.00")})
    assert [one.same for one in sales.state_of([document.key])] == [False]


def test_of_a_document_that_is_not_there_nothing_is_said(shop, sales, document):
    other = shop.issue(an_invoice(a_line(1, invoice_key="invoice/2"), key="invoice/2", number="2"))
    assert [one.document_key for one in sales.state_of([document.key, other.key])] == [document.key]
    assert sales.state_of([]) == []


def test_what_changed_is_told_and_what_is_as_we_have_it_is_not(shop, sales, document):
    before = now_of(shop) - timedelta(minutes=10)
    assert sales.changed_since(before) == []  # our own write of it
    close(shop, PAID)
    (one,) = sales.changed_since(before)
    assert (one.document_key, one.state) == (document.key, CopyState.PAID)
    paid = replace(document, status=DocumentStatus.PAID, paid_on=one.on)
    shop.store.settle_document(paid)
    assert sales.changed_since(before) == []
    assert shop.store.documents() == (paid,)
    close(shop, OPEN)
    assert [one.state for one in sales.changed_since(before)] == [CopyState.OPEN]


def test_what_changed_earlier_is_not_read_again(shop, sales, document):
    close(shop, PAID)
    assert sales.changed_since(now_of(shop) + timedelta(seconds=1)) == []


def test_standard_invoices_of_others_are_none_of_ours(shop, sales, document):
    body = {
        "name": "Somebody's",
        "customerid_account@odata.bind": f"/accounts({shop.account})",
        "pricelevelid@odata.bind": f"/pricelevels({shop.prices})",
    }
    shop.client.create("invoice", {**body, "invoicenumber": "X-1"})
    shop.client.create("invoice", {**body, "invoicenumber": "X-2", "csp_externalkey": "a-key"})
    close(shop, PAID, "X-1")
    close(shop, PAID, "X-2")
    assert sales.changed_since(now_of(shop) - timedelta(hours=1)) == []


def test_what_waits_for_its_payment_is_known_by_key(shop, document):
    shop.issue(an_invoice(a_line(1, invoice_key="invoice/2"), key="invoice/2", number="INV-2"))
    assert shop.store.document_keys(DocumentStatus.HANDED_OFF) == [document.key]
    assert shop.store.document_keys(DocumentStatus.ISSUED) == ["invoice/2"]
    assert shop.store.document_keys(DocumentStatus.PAID) == []


# --- on our side -------------------------------------------------------------------------------------------


def test_a_payment_is_kept_with_its_day_and_can_be_taken_back(shop, document):
    paid = replace(document, status=DocumentStatus.PAID, paid_on=NOW.date())
    shop.store.settle_document(paid)
    assert shop.store.documents() == (paid,)
    (row,) = shop.client.read_keyed("csp_invoice", ("csp_paidon",), [external_key(document.key)])
    assert row["csp_paidon"] == "2026-11-22"
    shop.store.settle_document(document)
    assert shop.store.documents() == (document,)
    with pytest.raises(Conflict):
        shop.store.settle_document(replace(document, status=DocumentStatus.DRAFT))
