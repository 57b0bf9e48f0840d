"""File columns: whole and in blocks, any name, through faults."""

import os
from dataclasses import replace

import pytest

from dataverse import files
from dataverse.files import download, upload
from dataverse.schema import external_key
from domain.period import Period
from domain.problems import InputError, NotFound, ServiceError
from invoice.document import DocumentStatus
from tests.clients.dataverse_environment import NOW, a_line, an_invoice, new_environment

COLUMN = "csp_document"
BLOCK = 4 << 20


@pytest.fixture(scope="module")
def environment():
    return new_environment()


@pytest.fixture
def row(environment):
    client = environment.client()
    client.write("csp_invoice", "files", {"csp_name": "Files"})
    (found,) = client.read_keyed("csp_invoice", ("csp_invoiceid",), ("files",))
    client.call("DELETE", f"{client.id_path('csp_invoice', found['csp_invoiceid'])}/{COLUMN}")
    environment.forget_requests()
    return client.id_path("csp_invoice", found["csp_invoiceid"])


def named(environment):
    (found,) = environment.client().read_keyed("csp_invoice", (f"{COLUMN}_name",), ("files",))
    return found[f"{COLUMN}_name"]


@pytest.mark.parametrize("name", ["INV-202610-0001.html", "Rechnung für Müller & Söhne.html"])
@pytest.mark.parametrize("size", [1, 5000])
def test_a_file_comes_back_as_it_went(environment, row, name, size):
    content = os.urandom(size)
    client = environment.client()
    upload(client, row, COLUMN, name, content)
    assert download(client, row, COLUMN) == content
    assert named(environment) == name


def test_sending_again_replaces(environment, row):
    client = environment.client()
    upload(client, row, COLUMN, "a.html", b"one")
    upload(client, row, COLUMN, "b.html", b"two")
    assert (download(client, row, COLUMN), named(environment)) == (b"two", "b.html")


def test_no_file_is_said(environment, row):
    with pytest.raises(NotFound, match="file"):
        download(environment.client(), row, COLUMN)


def test_a_large_file_goes_in_blocks_and_comes_in_ranges(environment, row):
    content = os.urandom(2 * BLOCK + 17)
    client = environment.client()
    upload(client, row, COLUMN, "large.bin", content)
    sent = [line for line in environment.requests() if line.startswith("PATCH")]
    assert len(sent) == 1 + 3
    environment.forget_requests()
    assert download(client, row, COLUMN) == content
    assert len(environment.requests()) == 3


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "stall_after", "respond"])
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_a_session_that_broke_is_begun_anew(environment, row, monkeypatch, kind, skip):
    content = os.urandom(BLOCK + 5)
    environment.fail(path=".*csp_document", method="PATCH", kind=kind, skip=skip)
    client = environment.client()
    upload(client, row, COLUMN, "again.bin", content)
    assert download(client, row, COLUMN) == content


def test_a_file_that_is_too_large_is_refused_in_words(environment, row):
    with pytest.raises(ServiceError, match="too big") as raised:
        upload(environment.client(), row, COLUMN, "x.bin", bytes(11 << 20))
    assert raised.value.code == "0x80044a02"


def test_ranges_that_stop_short_are_an_error(environment, row, monkeypatch):
    client = environment.client()
    upload(client, row, COLUMN, "short.bin", b"0123456789")
    monkeypatch.setattr(files, "RANGE", 4)
    short = {"Content-Range": "bytes 4-7/10"}
    environment.fail(path=".*value", skip=1, kind="respond", status=206, headers=short, body="")
    with pytest.raises(ServiceError, match="ends after 4 of 10"):
        download(client, row, COLUMN)


def test_documents_without_their_file_are_found_and_get_it(environment):
    store = environment.store()
    numbered = replace(
        an_invoice(), number="INV-202610-0001", status=DocumentStatus.ISSUED, issued_on=NOW.date()
    )
    store.save_document(an_invoice())
    assert store.unattached("2026-10") == []  # a draft has none
    store.settle_document(numbered)
    assert store.unattached("2026-10") == [numbered.key]
    assert store.unattached("2026-09") == []
    assert store.document_file(numbered.key) is None
    store.attach(numbered.key, "INV-202610-0001.pdf", b"%PDF-1.7")
    assert store.unattached("2026-10") == []
    assert store.document_file(numbered.key) == ("INV-202610-0001.pdf", b"%PDF-1.7")
    assert store.document_file("invoice/nobody") is None
    assert store.documents() == (numbered,)
    with pytest.raises(NotFound):
        store.attach("invoice/nobody", "x.html", b"")


def test_a_row_added_by_hand_is_no_document_that_waits_for_its_file(environment):
    client = environment.client()
    client.create(
        "csp_invoice",
        {"csp_name": "By hand", "csp_number": "H-1", "csp_periodstart": "2026-08-01"},
    )
    other = replace(an_invoice(), key="invoice/c1/2026-08/USD/1", period=Period.month("2026-08"))
    other = replace(other, lines=(a_line(1, invoice_key=other.key),))
    store = environment.store()
    store.save_document(other)
    store.settle_document(replace(other, number="INV-1", status=DocumentStatus.ISSUED))
    assert store.unattached("2026-08") == [other.key]


def test_the_numbers_of_a_month_are_known_of_documents_that_cannot_be_read_too():
    """None is given twice: the rows are read for their numbers alone."""
    environment = new_environment()
    store, client = environment.store(), environment.client()
    numbered = replace(an_invoice(), number="INV-202610-0001", status=DocumentStatus.ISSUED)
    store.save_document(an_invoice())
    assert store.numbers("2026-10") == []  # a draft has none
    store.settle_document(numbered)
    assert (store.numbers("2026-10"), store.numbers("2026-11")) == (["INV-202610-0001"], [])
    key = external_key(numbered.key)
    client.write("csp_invoice", key, {"csp_periodstart": None}, version="*")
    with pytest.raises(InputError):
        store.documents()
    assert store.numbers("2026-10") == ["INV-202610-0001"]


@pytest.mark.parametrize("status", [400, 403, 404, 413])
def test_a_refused_file_tells_its_status(environment, status):
    store = environment.store()
    document = an_invoice(a_line(1, invoice_key="invoice/file"), key="invoice/file")
    store.save_document(document)
    environment.fail(path=".*csp_document", method="PATCH", kind="respond", status=status)
    with pytest.raises(ServiceError) as raised:
        store.attach(document.key, "x.html", b"<html>")
    assert raised.value.status == status
