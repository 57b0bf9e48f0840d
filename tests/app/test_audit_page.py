"""What a foreign file holds is shown and never obeyed, and the page needs nothing but itself."""

import json
import re
from decimal import Decimal

import pytest

from app.cli import main
from domain.audit import Point, Weight
from reports.audit import AuditReport, InvoiceRow, by_worth, is_clean, page, summary, verdict
from tests.app import audit_files as files

EVIL = '=HYPERLINK("http://x","y")<script>alert(1)</script>[red]&\x1b[31m'


@pytest.fixture
def shown(tmp_path, capsys):
    rows = [
        row | {"CustomerName": EVIL, "MpnId": str(n)}
        for n, row in enumerate(files.lines(files.EUR)[:8])
    ]
    path = files.write(tmp_path / "=cmd|calc!A0<b>.json", files.json_lines(rows))
    assert main(["audit", str(path), "--out", str(tmp_path / "out")]) == 3
    return tmp_path / "out", capsys.readouterr().out


def test_names_are_escaped_on_the_page(shown):
    html = (shown[0] / "audit.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "=cmd|calc!A0&lt;b&gt;.json" in html
    assert not re.search(r'(src|href)="?http', html)


def test_names_are_text_in_the_data_and_no_formula_is_made_of_them(shown):
    data = json.loads((shown[0] / "audit.json").read_text())
    assert {p["customer"] for p in data["points"]} == {EVIL}


def test_names_cannot_colour_or_move_the_terminal(shown):
    assert "\x1b" not in shown[1]
    assert "[red]" in shown[1]


def report(*points, **invoice):
    row = InvoiceRow(
        **{
            "invoice_id": "G1",
            "currency": "EUR",
            "month": "October 2026",
            "lines": 1,
            "subtotal": Decimal("1284.50"),
            "tax": Decimal(0),
            "parts": {"seats": Decimal("1284.50")},
            "exact": Decimal("1284.50"),
            "rounded": Decimal(0),
            "drift": Decimal(0),
            "unchecked": Decimal(0),
            "off": Decimal(0),
            "head": None,
            "daily_lines": 0,
            "daily": None,
            "metered": Decimal(0),
            "daily_drift": Decimal(0),
            **invoice,
        }
    )
    return AuditReport(files=(), invoices=(row,), points=points, customers=1, unbilled={})


def point(amount="12.00", weight=Weight.ACT, **fields):
    given = {"check": "a.check", "cause": "price", "remedy": "claim", "currency": "EUR"}
    text = {"sentence": "Something is off.", "hint": "ask"}
    value = None if amount is None else Decimal(amount)
    return Point(**{**given, **text, "amount": value, "weight": weight, **fields})


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ((), "Every cent of Microsoft's 1,284.50 EUR is explained."),
        ((point(weight=Weight.NOTE),), "Every cent of Microsoft's 1,284.50 EUR is explained."),
        (
            (point(), point("-2.50")),
            "14.50 EUR in 2 places need you; the rest of Microsoft's 1,284.50 EUR is explained.",
        ),
        (
            (point(amount=None),),
            "1 place needs you; the rest of Microsoft's 1,284.50 EUR is explained.",
        ),
        (
            (point(weight=Weight.INCOMPLETE),),
            "Not reconcilable: one thing is missing or unreadable.",
        ),
        (
            (point(weight=Weight.INCOMPLETE), point(), point(currency="USD")),
            (
                "Not reconcilable: one thing is missing or unreadable; besides, 12.00 EUR and 12.00 USD "
                "in 2 places need you."
            ),
        ),
    ],
)
def test_the_verdict_is_one_sentence(points, said):
    found = report(*points)
    assert verdict(found) == said
    assert summary(found)["verdict"] == said
    assert said.replace("'", "&#39;") in page(found)
    assert is_clean(found) == said.startswith("Every cent")


def test_what_is_missing_stands_before_what_is_worth_most():
    first, second, third = point("1", Weight.INCOMPLETE), point("99"), point("500", Weight.NOTE)
    assert by_worth([third, second, first]) == [first, second, third]


def test_a_thousand_points_do_not_make_an_endless_page():
    many = [point(sentence=f"Point {n} is off.") for n in range(1000)]
    assert page(report(*many)).count("is off.") == 60
    assert "940 more: all are in audit.json" in page(report(*many))
    assert len(summary(report(*many))["points"]) == 1000


def test_a_name_that_turns_the_writing_round_turns_nothing():
    turned = point(customer="Con\u202etoso", sentence="Con\u202etoso owes \u2067 12.00.")
    html = page(report(turned))
    assert "Con\ufffdtoso owes" in html
    assert not set(html) & {"\u202e", "\u2067"}
    assert summary(report(turned))["points"][0]["customer"] == "Con\u202etoso"


def test_a_total_that_disagrees_with_its_tax_is_labelled_so():
    html = page(report(point("-3.00", cause="tax", remedy="none")))
    assert "total and tax disagree" in html
    assert "not billed by Microsoft" not in html


def test_a_very_long_name_is_cut_on_the_terminal(tmp_path, capsys):
    rows = [row | {"CustomerName": "n" * 20_000} for row in files.lines(files.EUR)[:8]]
    for number, row in enumerate(rows):
        row["MpnId"] = str(number)
    path = files.write(tmp_path / "long.json", files.json_lines(rows))
    assert main(["audit", str(path), "--out", str(tmp_path / "out")]) == 3
    assert max(map(len, capsys.readouterr().out.splitlines())) < 700
