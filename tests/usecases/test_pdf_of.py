"""The PDF of a document: what the customer was sent, else one drawn now."""

from dataclasses import replace

import pytest

from domain.problems import InvariantBroken
from invoice.document import DocumentStatus
from invoice.explain import fingerprint
from invoice.pdf import to_pdf
from sync.documents import pdf_of
from tests.builders import issued
from tests.fakes import MemoryStore
from tests.unit.test_documents import a_document


def an_issued():
    draft = a_document()
    return replace(issued(draft), fingerprint=fingerprint(draft))


@pytest.fixture
def store():
    return MemoryStore()


def test_what_was_attached_is_what_the_customer_has(store):
    document = an_issued()
    of_then = b"%PDF-1.7 of then, a print of " + document.fingerprint.encode()
    store.files[document.key] = ("INV-202610-0001.pdf", of_then)
    assert pdf_of(store, document) == of_then


@pytest.mark.parametrize(
    "attached",
    [
        None,
        ("page.html", b"<!doctype html>"),
        ("empty.pdf", b""),
        ("INV-202610-0001.pdf", to_pdf(a_document())),  # a person's own, or of another document
    ],
)
def test_where_none_was_attached_it_is_drawn(store, attached):
    document = an_issued()
    if attached:
        store.files[document.key] = attached
    assert pdf_of(store, document) == to_pdf(document)


def test_it_is_drawn_as_it_was_attached_whatever_became_of_the_document(store):
    document = an_issued()
    attached = to_pdf(document)
    assert pdf_of(store, replace(document, status=DocumentStatus.PAID)) == attached


def test_a_draft_is_drawn_and_no_file_is_asked_for(store, monkeypatch):
    def asked(key):
        raise InvariantBroken("a draft has no file")

    monkeypatch.setattr(store, "document_file", asked)
    draft = a_document()
    assert pdf_of(store, draft) == to_pdf(draft)
