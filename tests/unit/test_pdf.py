"""A document as a PDF: it says what the page says, to the cent, and is the same file each time."""

import hashlib
import io
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from domain.customer import Address
from domain.money import minor_units, plain
from domain.tax import Party
from invoice.document import DocumentKind, DocumentStatus
from invoice.paper import REPLACED, WHY, Style, width, wrapped
from invoice.pdf import RIGHT, to_pdf
from invoice.scripts import as_drawn, as_written, joined
from invoice.tax_words import tax_lines
from tests.builders import a_charge, drafted, issued, rated
from tests.strategies import CURRENCIES, amounts, stories
from tests.unit.test_documents import a_document

SELLER = Party(
    name="Contoso Distribution GmbH",
    address=Address(line1="Hafenstraße 1", postal_code="20095", city="Hamburg", country="DE"),
    tax_numbers=("DE136695976",),
    registration_number="HRB 123456",
    email="billing@contoso.example",
)
LONG = "ten seats for a month and a reason that goes on, "


def read(content):
    return PdfReader(io.BytesIO(content), strict=True)


def told(content):
    """All text of a file, its blanks made one, page after page."""
    return " ".join(" ".join(page.extract_text() for page in read(content).pages).split())


def assert_says(content, document):
    """Every line with its numbers, then every sum, in order and as the document has them."""
    text, at = told(content), 0
    expected = []
    for line in document.lines:
        expected += [
            plain(line.charge.quantity),
            plain(line.charge.unit_price),
            f"{line.amount.amount:,f}",
            f"{line.tax.amount:,f}",
        ]
    sums = [document.subtotal, *(amount for _, amount in tax_lines(document)), document.total]
    expected += [f"{amount.amount:,f}" for amount in sums]
    for number in expected:
        found = re.compile(rf"(?<![\d.,-]){re.escape(number)}(?![\d,]|\.\d)").search(text, at)
        assert found, (number, text[at : at + 200])
        at = found.end()


# --- what it says ----------------------------------------------------------------------------------


def test_every_amount_of_the_document_stands_on_it():
    assert_says(to_pdf(issued(a_document())), a_document())


@settings(max_examples=25)
@given(st.data(), CURRENCIES, st.sampled_from(["0", "7.7", "19"]))
def test_whatever_the_amounts_are_they_stand_on_it(data, currency, percent):
    asked = data.draw(st.lists(amounts(minor_units(currency)), min_size=1, max_size=12))
    charges = [
        a_charge(str(amount), key=f"c/{n}", currency=currency) for n, amount in enumerate(asked)
    ]
    document = drafted(charges, percent=percent, currency=currency)
    if document is not None:
        assert_says(to_pdf(issued(document)), document)


def test_it_says_who_sells_and_buys_when_it_is_due_and_why():
    buyer = replace(SELLER, name="Fabrikam Toys Ltd", tax_numbers=("GB123456789",), email="")
    document = issued(a_document(seller=SELLER, buyer=buyer, tax_point=date(2026, 10, 31)))
    text = told(to_pdf(document))
    for party in (SELLER, buyer):
        for line in party.lines:
            assert line in text
    assert "Invoice INV-202610-0001" in text
    assert "Billing period 2026-10-01 to 2026-10-31" in text
    assert "Issued 2026-11-01 Due 2026-12-01 (30 days from the day of issue)" in text
    assert "Tax point 2026-10-31" in text
    for line in document.lines:
        assert line.charge.name in text
        assert str(line.charge.service) in text
        assert line.charge.why in text


def test_a_credit_note_is_called_one_and_names_the_invoice_that_it_answers():
    invoice = issued(drafted([a_charge("120.00")], percent="19"), "INV-202609-0007")
    note = issued(drafted([a_charge("110.00")], [invoice], percent="19"), "CN-202610-0001")
    assert note.kind is DocumentKind.CREDIT_NOTE
    content = to_pdf(note)
    assert_says(content, note)
    assert "Credit note CN-202610-0001" in told(content)
    assert "(INV-202609-0007)" in told(content)
    assert "-10.00" in told(content)


@settings(max_examples=10)
@given(stories())
def test_whatever_happened_to_a_subscription_is_told_with_its_reasons(story):
    charges, _ = rated(*story.events, window=story.window())
    document = drafted(charges, percent="19") if charges else None
    if document is not None:
        content = to_pdf(issued(document))
        assert_says(content, document)
        text = told(content)
        for line in document.lines:
            for part in wrapped(line.charge.why, WHY, RIGHT - 62):
                assert part in text


def test_the_wording_that_a_treatment_demands_stands_below():
    document = issued(a_document(tax_note="Reverse charge: the buyer accounts for the tax."))
    assert "Reverse charge: the buyer accounts for the tax." in told(to_pdf(document))


def test_a_draft_is_marked_on_every_page_and_an_issued_one_is_not():
    draft = drafted([a_charge("1.00", key=f"c/{n}", why=LONG * 4) for n in range(40)])
    pages = read(to_pdf(draft)).pages
    assert len(pages) > 1
    assert all("DRAFT" in page.extract_text() for page in pages)
    text = told(to_pdf(issued(draft)))
    assert "draft" not in text.lower()


def test_what_nobody_entered_is_left_out():
    document = a_document(account_name="", seller=None, buyer=None, issued_on=None)
    text = told(to_pdf(document))
    for absent in ("None", "Issued", "Due", "Tax point", "From"):
        assert absent not in text
    assert document.customer_name in text
    empty = issued(drafted([a_charge("1.00", name="", why="")]))
    assert_says(to_pdf(empty), empty)


# --- the same file each time -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [DocumentStatus.HANDED_OFF, DocumentStatus.PAID])
def test_what_becomes_of_it_later_does_not_change_the_file(status):
    document = issued(a_document(seller=SELLER))
    assert to_pdf(replace(document, status=status)) == to_pdf(document)


def test_its_day_is_that_of_the_issue():
    about = read(to_pdf(issued(a_document()))).metadata
    assert about["/CreationDate"] == about["/ModDate"] == "D:20261101000000+00'00'"


def test_two_documents_are_two_files():
    document = issued(a_document())
    other = read(to_pdf(replace(document, number="INV-202610-0002")))
    assert other.trailer["/ID"] != read(to_pdf(document)).trailer["/ID"]


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_in_another_place_draws_the_same_bytes(seed):
    """Neither the clock's zone nor the order of hashes goes in."""
    code = (
        "import sys, hashlib; from tests.unit.test_pdf import SELLER, a_document, issued, to_pdf;"
        "print(hashlib.sha256(to_pdf(issued(a_document(seller=SELLER)))).hexdigest())"
    )
    around = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo"}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=around
    )
    here = to_pdf(issued(a_document(seller=SELLER)))
    assert answer.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_threads_that_draw_at_once_do_not_disturb_each_other():
    documents = [issued(a_document(seller=SELLER), f"INV-202610-{n:04d}") for n in range(12)]
    alone = [to_pdf(one) for one in documents]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(to_pdf, documents)) == alone


# --- for a reader program ------------------------------------------------------------------------------


def test_the_file_has_a_title_a_language_and_a_structure():
    file = read(to_pdf(issued(a_document(seller=SELLER))))
    assert file.metadata.title == "Invoice INV-202610-0001, Fabrikam Toys Ltd"
    assert file.metadata.author == "Contoso Distribution GmbH"
    root = file.root_object
    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    whole = root["/StructTreeRoot"]["/K"]
    kinds = [kid.get_object()["/S"] for kid in whole["/K"]]
    assert kinds[0] == "/H1"
    assert kinds.count("/Table") == 2
    lines = next(kid.get_object() for kid in whole["/K"] if kid.get_object()["/S"] == "/Table")
    heads = [cell.get_object() for cell in lines["/K"][0].get_object()["/K"]]
    assert [head["/S"] for head in heads] == ["/TH"] * 7
    assert heads[0]["/A"]["/Scope"] == "/Column"


def test_every_piece_of_text_is_content_of_an_element_or_decoration():
    file = read(to_pdf(issued(drafted([a_charge("1.00", key=f"c/{n}") for n in range(60)]))))
    tree = file.root_object["/StructTreeRoot"]["/ParentTree"]["/Nums"]
    for n, page in enumerate(file.pages):
        depth, numbered = 0, []
        for operands, operator in page.get_contents().operations:
            if operator in {b"BDC", b"BMC"}:
                depth += 1
                assert depth == 1
                numbered += [operands[1]["/MCID"]] if operator == b"BDC" else []
            elif operator == b"EMC":
                depth -= 1
            elif operator == b"Tj":
                assert depth == 1
        assert numbered == list(range(len(numbered)))
        assert page["/StructParents"] == tree[2 * n] == n
        assert len(tree[2 * n + 1]) == len(numbered)


# --- pages --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_document():
    charges = [
        a_charge(
            f"{n}.07",
            key=f"c/{n}",
            name="Azure Storage, Production " * (1 + n % 3) + "x" * (200 if n == 7 else 0),
            why=LONG * (250 if n == 11 else 1 + n % 3),
        )
        for n in range(1, 201)
    ]
    return issued(drafted(charges, percent="19"))


@pytest.fixture(scope="module")
def long_file(long_document):
    return to_pdf(long_document)


def test_two_hundred_lines_go_over_many_pages_and_none_is_lost(long_document, long_file):
    assert_says(long_file, long_document)
    pages = [" ".join(page.extract_text().split()) for page in read(long_file).pages]
    assert len(pages) > 10
    for n, text in enumerate(pages, 1):
        assert f"Page {n} of {len(pages)}" in text
        alone = n == len(pages) and text.startswith("Subtotal")  # only sums are left for it
        assert alone or "# Product Service period Quantity Unit price Amount Tax" in text
    reasons = " ".join(line.charge.why for line in long_document.lines)
    assert " ".join(pages).split().count("seats") == reasons.split().count("seats")


def test_nothing_is_written_below_above_or_beside_the_page(long_file):
    places = []
    for page in read(long_file).pages:
        page.extract_text(
            visitor_text=lambda text, cm, tm, font, size: places.append((text, tm[4], tm[5]))
        )
    assert all(40 < x < 555 and 30 < y < 800 for text, x, y in places if text.strip())


@settings(max_examples=40)
@given(st.text(max_size=120), st.floats(20, 300))
def test_wrapped_lines_fit_and_keep_every_word(text, room):
    style = Style(size=9)
    lines = wrapped(text, style, room)
    assert all(width(line, style) <= room or len(line) == 1 for line in lines)
    kept = "".join("".join(lines).split())
    assert as_written(kept) == as_written("".join(wrapped_whole(text).split()))


def wrapped_whole(text):
    """The same text on a line without an end."""
    (line,) = wrapped(text, Style(size=9), 1e9)
    return line


# --- scripts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Ελληνική Εταιρεία Α.Ε.",
        "ООО «Ромашка»",
        "Zażółć Gęślą Jaźń Sp. z o.o.",
        "Şişli Güneş İthalat A.Ş.",
        "Công ty Trách nhiệm Hữu hạn",
        "株式会社テスト",
        "北京测试有限公司",
        "주식회사 테스트",
    ],
)
def test_names_of_many_countries_are_printed_as_they_are(name):
    text = told(to_pdf(issued(a_document(account_name=name))))
    assert name in text
    assert REPLACED not in text


def test_a_character_without_a_font_is_replaced_and_that_is_said():
    text = told(to_pdf(issued(a_document(account_name="บริษัท Ltd"))))
    assert f"{REPLACED * 6} Ltd" in text
    assert f"{REPLACED} stands for a character that cannot be printed here." in text


def test_hebrew_is_drawn_from_right_to_left_with_its_numbers_as_they_are():
    assert as_drawn("For שלום 123, Tel Aviv") == "For 123 םולש, Tel Aviv"
    assert as_drawn("שלום (עולם) 12-34") == "12-34 (םלוע) םולש"
    assert as_drawn("Contoso (2024)") == "Contoso (2024)"


def test_arabic_letters_are_joined_to_their_neighbours():
    word = joined("نور")  # initial noon, final waw, and ra, which waw does not reach
    assert [f"{ord(letter):04X}" for letter in word] == ["FEE7", "FEEE", "FEAD"]
    assert [f"{ord(letter):04X}" for letter in joined("لا")] == ["FEFB"]  # written as one
    assert as_written(word) == "نور"
    assert joined("Contoso") == "Contoso"


def test_what_is_drawn_from_right_to_left_is_copied_as_it_was_written():
    content = read(to_pdf(issued(a_document(account_name="شركة النور (2024)"))))
    stream = content.pages[0].get_contents().get_data().decode("latin-1")
    (actual,) = re.findall(r"/ActualText <([0-9a-f]+)>", stream)
    assert bytes.fromhex(actual).decode("utf-16") == "شركة النور (2024)"


@pytest.mark.parametrize(
    "hostile", ["a\x00b\tc\nd", "(a) \\) Tj ET", "<</S /JS>>", "\u202egnp.exe"]
)
def test_text_stays_text(hostile):
    text = told(to_pdf(issued(a_document(account_name=hostile))))
    shown = " ".join(hostile.replace("\x00", " ").replace("\u202e", "").split())
    assert shown in text


def test_decimal_places_are_the_currency_s():
    document = issued(drafted([a_charge("1234", currency="JPY")], currency="JPY"))
    assert "Total JPY 1,234" in told(to_pdf(document))
    dinars = issued(drafted([a_charge("1.234", currency="KWD")], currency="KWD"))
    assert dinars.total.amount == Decimal("1.234")
    assert "Total KWD 1.234" in told(to_pdf(dinars))
