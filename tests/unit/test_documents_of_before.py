"""Documents that were issued before categories, parts and parties were kept, as they were stored.

`documents_of_before.json` holds their rows as an earlier version wrote them, and what it drew.
"""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from dataverse.documents import documents_of
from dataverse.schema import Kind
from dataverse.tables import INVOICE, INVOICE_LINE
from domain.tax import TaxDecider, TaxRounding
from invoice.explain import explain_document, explain_line, fingerprint
from invoice.render import to_html, to_text

STORED = json.loads(Path(__file__).with_name("documents_of_before.json").read_text("utf-8"))


def as_read(table, row):
    """Numbers as the Web API shows them; columns that were added since are empty."""
    numbers = {column.name for column in table.columns if column.kind in (Kind.MONEY, Kind.NUMBER)}
    read = {column.name: None for column in table.columns}
    for name, value in row.items():
        read[name] = Decimal(value) if name in numbers and value is not None else value
    return read


@pytest.fixture(params=STORED, ids=lambda stored: stored["what"])
def stored(request):
    return request.param


@pytest.fixture
def document(stored):
    lines = [as_read(INVOICE_LINE, row) for row in stored["lines"]]
    (found,) = documents_of([as_read(INVOICE, stored["invoice"])], lines)
    return found


def test_its_fingerprint_is_what_it_was(document):
    assert document.fingerprint == fingerprint(document)


def test_it_is_drawn_as_it_was(stored, document):
    assert to_text(document).splitlines() == stored["text"]


def test_nothing_is_invented_for_it(document):
    assert document.tax_decided_by is TaxDecider.RULES
    assert document.tax_rounding is TaxRounding.LINE
    assert (document.seller, document.buyer, document.tax_point) == (None, None, None)
    assert {line.tax_category for line in document.lines} == {None}
    assert "tax_category" not in explain_line(document.lines[0])
    assert explain_document(document)["tax_why"] == ""
    assert "<address>" in to_html(document)  # who it is for, by name


def test_its_sums_add_up(document):
    (one,) = document.taxed
    assert (one.net, one.tax, one.parts) == (document.subtotal, document.tax, ())
