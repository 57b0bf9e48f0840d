"""An external tax engine: what is asked, which answers can be right, and what all others come to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.customer import Address
from domain.problems import Finding, ServiceError
from domain.tax import (
    AskedLine,
    Party,
    TaxCategory,
    TaxDecider,
    TaxDecision,
    TaxQuestion,
)
from registers.engine import ANSWER_BYTES, EngineKey, RemoteEngine, to_payload
from transport.blobs import FolderArchive
from transport.mounts import mount_wsgi, new_session
from transport.redaction import Secret
from transport.session import Http, Patience

URL = "https://tax.example/decide"
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "tax-engine.schema.json"

QUESTION = TaxQuestion(
    customer_id="c1",
    seller=Party(
        name="Contoso Cloud GmbH",
        address=Address(country="DE", city="Berlin", postal_code="10115", line1="Hauptstr. 1"),
        tax_numbers=("DE136695976",),
    ),
    buyer=Party(
        name="Fabrikam Ltd",
        address=Address(country="US", region="TX", city="Austin", postal_code="78701"),
        email="billing@fabrikam.example",
    ),
    currency="USD",
    tax_point=datetime(2026, 10, 31, tzinfo=UTC).date(),
    lines=(
        AskedLine(key="c/1", kind="new", sku="P:1", name="Seats", amount=Decimal("100.00")),
        AskedLine(key="c/2", kind="usage", sku="P:2", name="Azure", amount=Decimal("-1E+1")),
    ),
)


@dataclass
class Engine:
    """An engine that answers what the test says, with the question's own id."""

    answer: Any
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read()
        self.headers.append({k: v for k, v in environ.items() if isinstance(v, str)})
        question = json.loads(body) if body else {}
        self.asked.append(question)
        answer = self.answer
        if isinstance(answer, Exception):
            raise answer
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        if isinstance(content, dict):
            content = {"id": question.get("id"), **content}
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        start_response(f"{status} Said", [("Content-Type", "application/json")])
        return [raw]


@dataclass
class Desk:
    engine: Engine
    folder: Path
    now: datetime = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)

    def remote(self, key: str = "the-key-of-the-engine") -> RemoteEngine:
        """The adapter as another process would have it."""
        session = new_session()
        mount_wsgi(session, {"https://tax.example": self.engine})
        http = Http(
            URL,
            service="Tax engine",
            session=session,
            tokens=EngineKey(Secret(key)),
            patience=Patience(seconds=10, tries=2),
            sleep=lambda _: None,
            jitter=lambda: 0.0,
        )
        return RemoteEngine(http, FolderArchive(self.folder), now=lambda: self.now)

    def decide(self, question: TaxQuestion = QUESTION) -> TaxDecision | Finding:
        return self.remote().decide(question)


@pytest.fixture
def desk(tmp_path):
    return lambda answer: Desk(Engine(answer), tmp_path)


def part(percent="8.25", **more):
    return {"name": "Sales tax", "jurisdiction": "US-TX", "percent": percent, **more}


def taxed(**more):
    given = {"category": "S", "percent": "6.6", "parts": [part("8.25", taxable_percent="80")]}
    return {**given, **more}


REVERSE = {
    "category": "AE",
    "percent": "0",
    "note": "Reverse charge",
    "seller_tax_id": "DE136695976",
    "buyer_tax_id": "FR53901821074",
}


# --- what is asked ---------------------------------------------------------------------------------


def test_the_question_is_the_published_contract(desk):
    room = desk(taxed())
    room.decide()
    (asked,) = room.engine.asked
    assert asked == to_payload(QUESTION)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validate(asked, {**schema, "$ref": "#/$defs/question"})
    assert [line["amount"] for line in asked["lines"]] == ["100.00", "-10"]
    (sent,) = room.engine.headers
    assert sent["HTTP_AUTHORIZATION"] == "Bearer the-key-of-the-engine"
    assert sent["HTTP_IDEMPOTENCY_KEY"] == QUESTION.digest


def test_neither_the_tenant_nor_anybodys_mail_is_told(desk):
    room = desk(taxed())
    room.decide(replace(QUESTION, customer_id="0b6f-tenant"))
    told = json.dumps(room.engine.asked)
    assert "0b6f-tenant" not in told
    assert "@" not in told


@pytest.mark.parametrize(
    "change",
    [
        {"currency": "EUR"},
        {"tax_point": QUESTION.tax_point + timedelta(days=1)},
        {"lines": QUESTION.lines[:1]},
        {"lines": (replace(QUESTION.lines[0], amount=Decimal("100.01")), QUESTION.lines[1])},
        {"buyer": replace(QUESTION.buyer, tax_numbers=("X1",))},
        {"buyer": replace(QUESTION.buyer, address=Address(country="US", region="CA"))},
        {"seller": replace(QUESTION.seller, name="Another")},
    ],
)
def test_another_question_has_another_id(change):
    assert replace(QUESTION, **change).digest != QUESTION.digest


def test_the_same_question_has_the_same_id_whomever_it_would_hold():
    assert replace(QUESTION, customer_id="c2").digest == QUESTION.digest


# --- answers ---------------------------------------------------------------------------------------


def test_a_decision_is_the_engines_with_its_reason(desk):
    decided = desk(taxed(reason="Data processing, Texas")).decide()
    assert isinstance(decided, TaxDecision)
    assert (decided.category, decided.decided_by) == (TaxCategory.STANDARD, TaxDecider.ENGINE)
    assert decided.percent == Decimal("6.6")
    assert decided.parts[0].taxable_percent == 80
    (reason,) = decided.reasons
    assert reason.rule == "tax.engine"
    assert reason.inputs["reason"] == "Data processing, Texas"
    assert reason.inputs["question"] == QUESTION.digest


def test_several_parts_add_up(desk):
    parts = [
        part("5", name="GST", jurisdiction="CA"),
        part("9.975", name="QST", jurisdiction="CA-QC"),
    ]
    decided = desk({"category": "S", "percent": "14.975", "parts": parts}).decide()
    assert [one.name for one in decided.parts] == ["GST", "QST"]
    assert decided.percent == Decimal("14.975")


FRENCH = replace(
    QUESTION,
    buyer=Party(name="Coho SAS", address=Address(country="FR"), tax_numbers=("FR 53 901 821 074",)),
)


def test_a_reverse_charge_carries_its_words_and_both_numbers(desk):
    decided = desk(REVERSE).decide(FRENCH)
    assert (decided.category, decided.percent) == (TaxCategory.REVERSE_CHARGE, 0)
    assert decided.buyer_tax_id == "FR53901821074"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("buyer_tax_id", "?"),
        ("seller_tax_id", "?"),
        ("buyer_tax_id", "DE136695976"),
        ("seller_tax_id", "FR53901821074"),
    ],
)
def test_a_reverse_charge_rests_on_the_numbers_that_were_asked_about(desk, name, number):
    found = desk(REVERSE | {name: number}).decide(FRENCH)
    assert (found.check, found.holds) == ("tax.engine_answer", True)
    assert f"category AE needs {name}" in found.sentence


def test_a_buyer_without_a_number_has_no_reverse_charge(desk):
    assert "buyer_tax_id" in desk(REVERSE).decide().sentence


ZERO = {"category": "Z", "percent": "0", "note": "Zero-rated export."}


def test_a_zero_rate_says_why(desk):
    assert desk(ZERO | {"note": " "}).decide().check == "tax.engine_answer"
    assert desk(ZERO).decide().category is TaxCategory.ZERO


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((202, taxed()), "its status is 202"),
        (taxed(version=99), "version"),
        (taxed(currency="EUR"), "currency"),
        (taxed(tax_point="2026-11-30"), "tax_point"),
        (taxed(error="customer not found"), "error"),
        (taxed(note="a\ud800b"), "cannot be printed"),
        (taxed(note="a\u0000b"), "cannot be printed"),
    ],
)
def test_an_answer_to_another_question_or_with_doubts_is_none(desk, answer, told):
    found = desk(answer).decide()
    assert (found.check, found.holds) == ("tax.engine_answer", True)
    assert told in found.sentence


def test_a_member_that_stands_twice_leaves_the_answer_open(desk):
    raw = b'{"id": "%s", "category": "S", "category": "O", "percent": "0", "note": "x"}'
    found = desk(raw % QUESTION.digest.encode()).decide()
    assert "twice" in found.sentence


def test_members_that_say_nothing_say_nothing(desk):
    decided = desk(taxed(hold=None, error=None, version=1, currency="USD")).decide()
    assert decided.percent == Decimal("6.6")


def test_an_engine_that_stays_silent_is_left_alone_for_a_minute(desk):
    room = desk((503, b""))
    engine = room.remote()
    for n in range(6):
        question = replace(QUESTION, customer_id=f"c{n}", currency=f"X{n}A")
        assert engine.decide(question).check == "tax.engine_silent"
    assert len(room.engine.asked) == 3 * 2  # each of three questions was tried twice
    room.now += timedelta(minutes=1)
    room.engine.answer = taxed()
    assert engine.decide(QUESTION).percent == Decimal("6.6")


def test_what_the_engine_refuses_holds_with_its_own_words(desk):
    hold = {"sentence": "Austin has no such postal code.", "hint": "correct the address"}
    found = desk({"hold": hold}).decide()
    assert (found.check, found.customer_id, found.holds) == ("tax.engine_held", "c1", True)
    assert "no such postal code" in found.sentence
    assert found.hint == "correct the address"


IMPOSSIBLE = {
    "not JSON": b"<html>",
    "half of it": b'{"id": ',
    "too deep": b"[" * 60_000,
    "a list": [],
    "no id": taxed(id=None),
    "another's id": taxed(id="0" * 64),
    "no category": {"percent": "0"},
    "a category of nobody's": taxed(category="VAT"),
    "a category that is no text": taxed(category=["S"]),
    "no percentage": {k: v for k, v in taxed().items() if k != "percent"},
    "a number for a percentage": taxed(percent=6.6),
    "below zero": {"category": "S", "percent": "-1", "parts": [part("-1")]},
    "above all": {"category": "S", "percent": "101", "parts": [part("101")]},
    "above all together": {"category": "S", "percent": "110", "parts": [part("55"), part("55")]},
    "not a number": taxed(percent="NaN"),
    "without end": taxed(percent="Infinity"),
    "words": taxed(percent="six"),
    "in powers of ten": {"category": "S", "percent": "1e1", "parts": [part("1e1")]},
    "with blanks": {"category": "S", "percent": " 10", "parts": [part(" 10")]},
    "too fine": {"category": "S", "percent": "0.00000000001", "parts": [part("0.00000000001")]},
    "another sum": taxed(percent="8.25"),
    "a sum without parts": {"category": "S", "percent": "19", "parts": []},
    "standard and zero": {"category": "S", "percent": "0"},
    "a zero part": taxed(parts=[part("8.25", taxable_percent="80"), part("0")]),
    "exempt and taxed": taxed(category="E", note="exempt"),
    "exempt for no reason": {"category": "E", "percent": "0"},
    "out of scope for no reason": {"category": "O", "percent": "0"},
    "exported for no reason": {"category": "G", "percent": "0"},
    "reverse charge without words": {**REVERSE, "note": ""},
    "reverse charge without the buyer": {**REVERSE, "buyer_tax_id": ""},
    "reverse charge without the seller": {**REVERSE, "seller_tax_id": ""},
    "parts that are none": taxed(parts=["19"]),
    "parts that are no list": taxed(parts={"percent": "6.6"}),
    "a part without a name": taxed(parts=[part("6.6", name=" ")]),
    "a part of nowhere": taxed(parts=[part("6.6", jurisdiction="")]),
    "too many parts": taxed(percent="13", parts=[part("1")] * 13),
    "too many words": taxed(note="x" * 1001),
    "words that are none": taxed(note=7),
    "a hold without a sentence": {"hold": {}},
    "a hold that is none": {"hold": True},
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_answer_that_cannot_be_right_holds_the_customer(desk, what):
    room = desk(IMPOSSIBLE[what])
    found = room.decide()
    assert isinstance(found, Finding)
    assert (found.check, found.customer_id, found.holds) == ("tax.engine_answer", "c1", True)
    assert found.sentence.startswith("The tax engine's answer cannot be used: ")
    assert found.sentence.endswith(".")
    assert not list(room.folder.rglob("*.json")), "a wrong answer is not kept"


@pytest.mark.parametrize(
    "answer",
    [
        TimeoutError("no answer"),
        ConnectionRefusedError(111, "Connection refused"),
        (500, b"<html>"),
        (503, {"message": "down"}),
        (401, {"error": "invalid_token"}),
        (404, b""),
        (400, {"code": "bad", "message": "no such field"}),
        (200, b'{"note": "' + b"x" * ANSWER_BYTES + b'"}'),
    ],
)
def test_no_answer_holds_the_customer_and_is_asked_for_again(desk, answer):
    room = desk(answer)
    found = room.decide()
    assert isinstance(found, Finding)
    assert (found.check, found.holds) == ("tax.engine_silent", True)
    assert "the-key-of-the-engine" not in f"{found.sentence}{found.hint}"
    room.engine.answer = taxed()
    assert isinstance(room.decide(), TaxDecision)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "category": st.sampled_from(["S", "Z", "E", "AE", "G", "O", "", None]),
            "percent": st.sampled_from(["0", "19", "6.6", "-1", "1e3", None, 19]),
            "parts": st.lists(
                st.fixed_dictionaries(
                    {"name": st.just("VAT"), "jurisdiction": st.just("DE")},
                    optional={
                        "percent": st.sampled_from(["0", "19", "8.25", "100", "x"]),
                        "taxable_percent": st.sampled_from(["80", "100", "0", "200"]),
                    },
                ),
                max_size=3,
            ),
            "note": st.sampled_from(["", "why"]),
            "seller_tax_id": st.sampled_from(["", "DE1"]),
            "buyer_tax_id": st.sampled_from(["", "FR1"]),
        },
    )
)
def test_no_decision_is_without_its_evidence(tmp_path_factory, answer):
    decided = Desk(Engine(answer), tmp_path_factory.mktemp("kept")).decide()
    if isinstance(decided, Finding):
        assert decided.holds
        return
    assert 0 <= decided.percent <= 100
    assert decided.percent == Decimal(answer["percent"])
    assert (decided.category is TaxCategory.STANDARD) == bool(decided.percent)
    assert decided.note or decided.category in {TaxCategory.STANDARD, TaxCategory.ZERO}
    if decided.category is TaxCategory.REVERSE_CHARGE:
        assert decided.seller_tax_id
        assert decided.buyer_tax_id
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    told = {"id": QUESTION.digest, **answer}
    jsonschema.validate(told, {**schema, "$ref": "#/$defs/answer"})


# --- the same question, the same answer ------------------------------------------------------------


def test_on_one_day_a_question_is_asked_once_whoever_asks(desk):
    room = desk(taxed())
    first = room.decide()
    room.engine.answer = {"category": "Z", "percent": "0"}
    assert room.decide() == first
    assert len(room.engine.asked) == 1


def test_the_next_day_it_is_asked_anew(desk):
    room = desk(taxed())
    room.decide()
    room.engine.answer = ZERO
    room.now += timedelta(days=1)
    assert room.decide().category is TaxCategory.ZERO


def test_a_refusal_is_asked_about_again(desk):
    room = desk({"hold": {"sentence": "No such city."}})
    room.decide()
    room.engine.answer = taxed()
    assert isinstance(room.decide(), TaxDecision)


# --- does it answer? -------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(200, b""), (204, b""), (405, b""), (404, b""), (400, b"")])
def test_it_is_reached_where_something_answers(desk, answer):
    room = desk(answer)
    room.remote().reach()
    assert room.engine.asked == [{}], "no question is asked"


@pytest.mark.parametrize("answer", [(401, b""), (403, b""), (503, b""), ConnectionError("refused")])
def test_it_is_not_reached_where_nothing_takes_our_key(desk, answer):
    with pytest.raises(ServiceError):
        desk(answer).remote().reach()


def test_the_key_prints_stars():
    key = EngineKey(Secret("the-key"))
    assert "the-key" not in repr(vars(key))
