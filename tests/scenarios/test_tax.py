"""Tables of tax cases: who sells, who buys, the evidence, the day; and what the bill then says.

Each file in `tax/` is a table that an accountant can open, read and extend; `tax/README.md` says
what its columns mean. The tax is that of a charge of 100.00.
"""

import csv
import doctest
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from stdnum.eu import vat as european
from stdnum.util import get_cc_module

from app.vat import valid_vat
from domain.contract import FOREVER, TaxProfile
from domain.customer import Address
from domain.money import Money, plain
from domain.period import Period
from domain.problems import Finding
from domain.tax import (
    ExemptionCertificate,
    NumberState,
    Seller,
    TaxCategory,
    TaxDecision,
    TaxNumberCheck,
    TaxRate,
    TaxRegistration,
    TaxTreatment,
    printed_number,
)
from invoice.document import tax_on
from rules.checks import CHECKS, Room
from rules.tax import Known, decide, warnings
from rules.tax_places import EU
from rules.tax_rates import read_taxes

FOLDER = Path(__file__).parent / "tax"
COLUMNS = (
    "case,seller,registrations,buyer,business,number,register,certificates,own rates,day,"
    "result,taxes,tax,says,warns"
).split(",")


# python-stdnum's own examples -------------------------------------------------------------------------


@cache
def documented(country: str) -> tuple[tuple[str, bool], ...]:
    """The numbers in the documentation of python-stdnum, each with whether it is valid there."""
    module = get_cc_module(country.lower(), "vat")
    own = {"GR": "EL"}.get(country, country)
    found = {}
    for example in doctest.DocTestParser().get_examples(module.__doc__):
        called = re.match(r"(?:validate|is_valid)\('([^']+)'\)", example.source.strip())
        if called is None:
            continue
        bare = called[1].strip()
        number = printed_number(bare)
        if country in EU and not number.startswith((own, country)):
            bare = own + bare
        refused = bool(example.exc_msg) or example.want.strip() == "False"
        found[bare] = not refused
    return tuple(found.items())


def example(country: str, *, valid: bool = True) -> str:
    return next(number for number, right in documented(country) if right is valid)


@pytest.mark.parametrize("country", sorted(EU))
def test_the_documented_numbers_of_a_country_are_told_apart(country):
    """The official test set: valid numbers make a reverse charge, invalid ones hold."""
    numbers = documented(country)
    assert any(right for _, right in numbers)
    seller = "FR" if country == "DE" else "DE"
    for number, right in numbers:
        case = Case(
            seller=seller,
            registrations=f"{seller}:{example(seller)}",
            buyer=country,
            business="yes",
            number=number,
            register="valid 0 days ago",
            day="2026-10-31",
        )
        found = case.decided()
        if right:
            assert isinstance(found, TaxDecision), (number, found)
            assert found.category is TaxCategory.REVERSE_CHARGE
            assert european.is_valid(found.buyer_tax_id)
        else:
            assert isinstance(found, Finding), number
            assert found.check in {"tax.vat_invalid", "tax.vat_country"}


# One case ----------------------------------------------------------------------------------------------


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def place(text: str) -> tuple[str, str, str]:
    """Read `US-TX Houston`: country, region, locality."""
    code, _, city = text.strip().partition(" ")
    country, _, region = code.partition("-")
    return country, region, city.strip()


def number_of(text: str) -> str:
    """Read `valid FR` and `invalid FR` as python-stdnum's examples; all else as it stands."""
    word, _, country = text.partition(" ")
    if word in {"valid", "invalid"}:
        return example(country, valid=word == "valid")
    return text


def period_of(text: str) -> Period:
    """Read `2025-01-01..2025-12-31`, both days included; an empty side is open."""
    first, _, last = text.partition("..")
    return Period(
        date.fromisoformat(first) if first else FOREVER.start,
        date.fromisoformat(last) + timedelta(days=1) if last else FOREVER.end,
    )


def taken(parts: list[str]) -> tuple[list[str], Period]:
    """Take the period from the end of words."""
    if parts and ".." in parts[-1]:
        return parts[:-1], period_of(parts[-1])
    return parts, FOREVER


@dataclass(kw_only=True)
class Case:
    case: str = ""
    seller: str = ""
    registrations: str = ""
    buyer: str = ""
    business: str = ""
    number: str = ""
    register: str = ""
    certificates: str = ""
    rates: str = ""
    day: str = ""
    result: str = ""
    taxes: str = ""
    tax: str = ""
    says: str = ""
    warns: str = ""

    @property
    def on(self) -> date:
        return date.fromisoformat(self.day)

    @property
    def profile(self) -> TaxProfile:
        country, region, city = place(self.buyer)
        return TaxProfile(
            key="tax/case",
            country=country,
            region=region,
            locality=city,
            treatment=TaxTreatment.BY_RULES,
            tax_number=number_of(self.number),
            business=self.business == "yes",
        )

    @property
    def known(self) -> Known:
        country, region, _ = place(self.seller)
        seller = Seller(
            key="seller/s", name="Contoso", address=Address(country=country, region=region)
        )
        return Known(
            seller=seller if self.seller else None,
            registrations=tuple(map(self._registration, split(self.registrations))),
            certificates=tuple(map(self._certificate, split(self.certificates))),
            number_checks=self._answers(),
            rates=tuple(self._rate(text) for text in split(self.rates)),
            check_number=valid_vat,
            today=self.on,
        )

    def _registration(self, text: str) -> TaxRegistration:
        """Read `DE:DE136695976 2020-01-01..`."""
        where, _, rest = text.partition(":")
        words, valid = taken(rest.split(" "))
        country, region, _ = place(where)
        return TaxRegistration(
            key=f"registration/{where}/{valid.start}",
            seller_key="seller/s",
            country=country,
            region=region,
            number=number_of(" ".join(words).strip()),
            valid=valid,
        )

    def _certificate(self, text: str) -> ExemptionCertificate:
        """Read `EX-1 US-TX resale 2025-01-01..2025-12-31`; `unverified` as a last word but one."""
        words, valid = taken(text.split(" "))
        verified = "unverified" not in words
        number, where, *kind = [word for word in words if word != "unverified"]
        country, region, _ = place(where)
        return ExemptionCertificate(
            key=f"certificate/{number}",
            customer_id="c1",
            country=country,
            region=region,
            number="" if number == "?" else number,
            kind=" ".join(kind),
            reason=" ".join(kind),
            valid=valid,
            verified_by="Ann" if verified else "",
        )

    def _answers(self) -> tuple[TaxNumberCheck, ...]:
        """Read `valid 3 days ago`, `invalid 1 days ago`, `no answer`, `valid 31 days ago; down`."""
        if not self.register:
            return ()
        words = self.register.replace(";", "").split()
        answered = words[0] in {"valid", "invalid"}
        now = datetime.combine(self.on, time(6), UTC)
        return (
            TaxNumberCheck(
                number=printed_number(number_of(self.number)),
                country=place(self.buyer)[0],
                state=NumberState(words[0]) if answered else NumberState.UNKNOWN,
                checked_at=now - timedelta(days=int(words[1])) if answered else None,
                source="VIES",
                reference="WAPI-1" if words[0] == "valid" else "",
                failed_at=now if words[-1] in {"down", "answer"} else None,
                problem="MS_UNAVAILABLE" if words[-1] in {"down", "answer"} else "",
            ),
        )

    def _rate(self, text: str) -> TaxRate:
        """Read `US,CO|Colorado,2026-01-01,2.9,sales tax,ours,`: a line of the table of rates."""
        country, region, starts, percent, tax, *more = text.split(",")
        return TaxRate(
            country=country,
            region=region,
            starts=date.fromisoformat(starts),
            percent=Decimal(percent) if percent else None,
            tax=tax,
            source=more[0] if more else "ours",
            locality=more[1] if len(more) > 1 else "",
            taxable_percent=Decimal(more[2]) if more[2:] and more[2] else None,
            regional=more[3:4] == ["regional"],
        )

    def decided(self) -> TaxDecision | Finding:
        return decide(self.profile, "c1", self.on, self.known)

    def outcome(self) -> dict[str, str]:
        found = self.decided()
        if isinstance(found, Finding):
            assert found.hint, "a hold says what to do"
            assert found.sentence.endswith(".")
            return {"result": found.check, "taxes": "", "tax": "", "says": found.sentence}
        told = warnings(self.profile, "c1", found, self.known)
        net = Money(Decimal("100.00"), "EUR")
        return {
            "result": found.category.value,
            "taxes": " + ".join(
                f"{part.name} {plain(part.percent)}"
                + (f" on {plain(part.taxable_percent)}" if part.taxable_percent != 100 else "")
                for part in found.parts
            ),
            "tax": str(tax_on(net, found.percent).amount),
            "says": found.note,
            "warns": "; ".join(one.check for one in told),
        }


def rows(path: Path) -> list[Case]:
    lines = path.read_text(encoding="utf-8").splitlines()
    reader = csv.DictReader(line for line in lines if line.strip() and not line.startswith("#"))
    extra = ["check", "kind"] if path.stem == "checks" else []
    assert reader.fieldnames == [*extra, *COLUMNS], f"{path.name}: columns"
    cases = []
    for row in reader:
        values = {name.replace("own rates", "rates"): text for name, text in row.items()}
        for name in extra:
            values["case"] = f"{values.pop(name)}: {values['case']}"
        cases.append(Case(**values))
    return cases


PATHS = sorted(FOLDER.glob("*.csv"))
CASES = [
    pytest.param(case, id=f"{path.stem}: {case.case or case.buyer} {case.day}")
    for path in PATHS
    for case in rows(path)
]


@pytest.mark.parametrize("case", CASES)
def test_a_case_of_the_table(case):
    expected = {
        "result": case.result,
        "taxes": case.taxes,
        "tax": case.tax,
        "says": case.says,
        "warns": case.warns,
    }
    found = case.outcome()
    found.setdefault("warns", "")
    # What a table leaves out it does not fix: the wording of most cases is the same.
    if not case.says:
        expected.pop("says"), found.pop("says")
    assert found == expected


# The tables are complete ---------------------------------------------------------------------------------


def kind_of(case: Case) -> str:
    if case.result == "S":
        return "taxed"
    return "held" if case.result.startswith("tax.") else "not taxed"


@pytest.mark.parametrize(
    "country", [*sorted(EU), "GB", "CH", "LI", "NO", "IS", "US", "CA", "AU", "NZ"]
)
def test_every_country_has_cases_taxed_not_taxed_and_with_something_missing(country):
    own = [case for path in PATHS for case in rows(path) if place(case.buyer)[0] == country]
    assert {kind_of(case) for case in own} == {"taxed", "not taxed", "held"}, country


BY_PROFILE = {"tax.no_profile", "tax.no_engine", "tax.unreadable_row"}
"""Found before the rules are asked: tests/unit/test_tax.py and tests/clients show them."""


def test_every_check_of_tax_fires_stays_quiet_and_is_tried_without_its_data():
    path = FOLDER / "checks.csv"
    seen: dict[str, set[str]] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        seen.setdefault(row["check"], set()).add(row["kind"])
        named = {row["result"], *row["warns"].split("; ")}
        assert (row["check"] in named) is (row["kind"] == "fires"), row
    wanted = {one for one, check in CHECKS.items() if check.room is Room.TAX and one[:4] == "tax."}
    of_others = {one for one in wanted if one.startswith("tax.engine")}
    assert set(seen) == wanted - of_others - BY_PROFILE
    for check, kinds in seen.items():
        assert kinds == {"fires", "does not", "data missing"}, check


def test_every_change_of_a_rate_is_tried_on_the_day_before_and_on_its_day():
    tried = {
        (place(case.buyer)[0], place(case.buyer)[1], case.on)
        for path in PATHS
        for case in rows(path)
    }
    text = (Path(__file__).parents[2] / "rules" / "tax_rates.csv").read_text(encoding="utf-8")
    starts: dict[tuple[str, str, str], list[date]] = {}
    for rate in read_taxes(text.splitlines()):
        if rate.country in EU | {"GB", "CH", "LI", "NO", "IS", "CA", "AU", "NZ"}:
            slot = (rate.country, (*rate.regions, "")[0], rate.tax)
            starts.setdefault(slot, []).append(rate.starts)
    for (country, region, _), days in starts.items():
        for day in sorted(days)[1:]:
            for near in (day - timedelta(days=1), day):
                assert (country, region, near) in tried, (country, region, near)
