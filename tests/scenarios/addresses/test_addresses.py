"""Where customers are, case by case: the tables beside this file are the specification (README.md).

To change what is expected, look at the difference and then run with UPDATE_EXPECTED=1.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.places import World
from domain.customer import Account, Address
from rules import address, currency
from rules.checks import CHECKS
from rules.places import Gazetteer
from rules.tax_rates import shipped_taxes
from tests.builders import a_contract, a_customer, a_line, a_rate, a_tax_profile, day

HERE = Path(__file__).parent
TODAY = day("2026-11-08")
WORLD = World()
GAZETTEER = Gazetteer(atlas=WORLD, rates=shipped_taxes())


@dataclass(frozen=True)
class Row:
    path: Path
    number: int
    cells: tuple[str, ...]

    @property
    def shows(self) -> tuple[str, str]:
        name, how = self.cells[-2].split()
        return f"{'currency' if self.path.stem == 'currency' else 'address'}.{name}", how


def rows(*, currencies: bool) -> list[Row]:
    found = []
    for path in sorted(HERE.glob("*.md")):
        if path.stem == "README" or (path.stem == "currency") != currencies:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            if line.startswith("| ") and not line.startswith("| case |"):
                cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
                assert len(cells) == 7, f"{path.name}:{number + 1}"
                found.append(Row(path, number, cells))
    return found


def located(text: str, account: Address) -> Address:
    if text in {"same", "-"}:
        return account if text == "same" else Address()
    line1, postal_code, city, region, country = (part.strip() for part in text.split(";"))
    return Address(line1=line1, postal_code=postal_code, city=city, region=region, country=country)


def found_for_address(row: Row):
    _, company, billing, stated, taxed, *_ = row.cells
    own = located(stated, Address())
    country, _, region = ("" if taxed == "-" else taxed).partition(", ")
    return address.check(
        customer=a_customer(address=located(company, own), billing_address=located(billing, own)),
        account=Account(id="1", name="Fabrikam", address=own),
        tax_profile=a_tax_profile(country=country, region=region),
        gazetteer=GAZETTEER,
        today=TODAY,
    )


def found_for_currency(row: Row):
    _, sold, own, billed, rates, *_ = ("" if cell == "-" else cell for cell in row.cells)
    return currency.check(
        contract=a_contract(currency=sold),
        account=Account(id="1", name="Fabrikam", currency=own),
        cost_lines=[a_line(currency=one) for one in billed.split()],
        rates=[a_rate(base=one[:3], quote=one[4:]) for one in rates.split()],
        atlas=WORLD,
        today=TODAY,
    )


def told(findings) -> str:
    return "<br>".join(f"{f.severity} **{f.check}**: {f.sentence}" for f in findings) or "nothing"


def expected(row: Row, findings) -> str:
    """Return what the table says, once the findings are whole; UPDATE_EXPECTED writes it anew."""
    assert len({f.key for f in findings}) == len(findings)
    assert all(f.severity is CHECKS[f.check].severity for f in findings)
    assert all(f.hint and f.seen == TODAY and f.customer_id == "c1" for f in findings)
    name, how = row.shows
    if how != "missing":
        assert (name in {f.check for f in findings}) == (how == "fires"), told(findings)
    if os.environ.get("UPDATE_EXPECTED") == "1":
        lines = row.path.read_text(encoding="utf-8").split("\n")
        lines[row.number] = "| " + " | ".join((*row.cells[:-1], told(findings))) + " |"
        row.path.write_text("\n".join(lines), encoding="utf-8")
        return told(findings)
    return row.cells[-1]


def name_of(row: Row) -> str:
    return re.sub(r"\W+", "-", f"{row.path.stem} {row.cells[0]}").lower()


@pytest.mark.parametrize("row", rows(currencies=False), ids=name_of)
def test_where_a_customer_is(row):
    found = found_for_address(row)
    assert told(found) == expected(row, found)


@pytest.mark.parametrize("row", rows(currencies=True), ids=name_of)
def test_in_which_currency(row):
    found = found_for_currency(row)
    assert told(found) == expected(row, found)


def test_every_check_fires_must_not_fire_and_lacks_its_data():
    shown = defaultdict(set)
    for row in (*rows(currencies=False), *rows(currencies=True)):
        name, how = row.shows
        shown[name].add(how)
    ours = {name for name in CHECKS if name.partition(".")[0] in {"address", "currency"}}
    assert {name: shown[name] for name in ours} == {
        name: {"fires", "not", "missing"} for name in ours
    }
    assert set(shown) == ours


def test_no_case_is_written_twice():
    cases = [(row.path, row.cells[0]) for row in (*rows(currencies=False), *rows(currencies=True))]
    assert len(cases) == len(set(cases))
    assert len(cases) > 100
