"""The same lines in every form give the same audit, and what cannot be read is refused in a sentence."""

from decimal import Decimal

import pytest

from app.cli import main
from tests.app import audit_files as files


@pytest.fixture(scope="module")
def october():
    """Reconciliation lines, and the daily usage of every customer."""
    return files.world(files.EUR)


@pytest.fixture(scope="module")
def expected(october, tmp_path_factory):
    folder = tmp_path_factory.mktemp("expected")
    recon = files.write(folder / "recon", files.json_lines(october[0]))
    usage = files.write(folder / "usage", files.json_lines(october[1]))
    return files.answer(recon, usage)


def test_a_clean_month_is_said_to_be_so(expected, october):
    total = sum(Decimal(str(row["Subtotal"])) for row in october[0])
    assert expected["verdict"] == f"Every cent of Microsoft's {total:,} EUR is explained."
    assert expected["clean"]
    assert expected["points"] == []
    (invoice,) = expected["invoices"]
    assert invoice["subtotal"] == str(total)
    assert invoice["usage_lines"] == len(october[1])
    daily = sum(Decimal(str(row["BillingPreTaxTotal"])) for row in october[1])
    assert Decimal(invoice["usage_daily"]) == daily
    assert Decimal(invoice["usage_metered"]) - daily == Decimal(invoice["usage_drift"])


@pytest.mark.parametrize("form", files.FORMS)
def test_every_form_of_the_same_files_gives_the_same_audit(form, october, expected, tmp_path):
    write = files.FORMS[form]
    recon, usage = (write(tmp_path / name, rows) for name, rows in zip("ab", october, strict=True))
    assert files.answer(recon, usage) == expected


def test_a_folder_is_read_with_all_that_is_in_it_and_says_what_it_passed_over(
    october, expected, tmp_path
):
    files.write(tmp_path / "x" / "recon.json", files.json_lines(october[0]))
    files.write(tmp_path / "usage.csv", files.csv_text(october[1]))
    files.write(tmp_path / "notes.txt", "call Microsoft on Monday\n")
    files.write(tmp_path / "invoice.pdf", b"%PDF-1.7\n\x00\xff\xfe\x80")
    assert files.answer(tmp_path) == expected


def test_the_command_says_the_same_on_stdout_as_in_the_file(october, tmp_path, capsys):
    recon = files.write(tmp_path / "recon.json", files.json_lines(october[0]))
    out = tmp_path / "out"
    assert main(["audit", str(recon), "--out", str(out), "--json"]) == 0
    assert (out / "audit.json").read_text() == capsys.readouterr().out
    page = (out / "audit.html").read_text()
    assert "<script" not in page
    assert "http" not in page
