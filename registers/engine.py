"""An external tax engine behind a small contract of ours: one question in, one decision out, JSON.

What is put behind it (Avalara, Anrok, a function of the partner's own) translates; the contract
stands in `docs/tax-engine.md` with its schema. Nothing of an answer is believed that cannot be right: it
must repeat the question's id, its category must be one of EN 16931, its parts must add up to its
percentage, and a zero must say why. Anything else, and no answer at all, holds the customer: there
is no default. Answers are kept for the day they were given on, so that the same question leads to
the same document, whichever worker asks and however often; a refusal is asked about again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Protocol

from domain.charge import Reason
from domain.money import plain
from domain.problems import (
    Finding,
    NotAuthorised,
    ServiceError,
    Severity,
    Throttled,
    Unavailable,
)
from domain.tax import (
    Party,
    TaxCategory,
    TaxDecider,
    TaxDecision,
    TaxPart,
    TaxQuestion,
    printed_number,
)
from transport import exact_json
from transport.redaction import Secret
from transport.session import AccessToken, Http

VERSION = 1
ANSWER_BYTES = 256 * 1024
MOST_PARTS = 12
MOST_WORDS = 1000
STRIKES = 3
REST = timedelta(minutes=1)
"""After so many silences in a row the engine is left alone for so long; whom it concerns is held."""
FAR_AHEAD = 1 << 40
"""A key of the partner's own has no end (seconds since the epoch)."""

_PERCENT = re.compile(r"100(\.0{1,10})?|[0-9]{1,2}(\.[0-9]{1,10})?")
_NEEDS_NOTE = {
    TaxCategory.ZERO,
    TaxCategory.EXEMPT,
    TaxCategory.REVERSE_CHARGE,
    TaxCategory.EXPORT,
    TaxCategory.OUT_OF_SCOPE,
}


class Kept(Protocol):
    """Where answers are kept (`sync.ports.Archive`)."""

    def put(self, name: str, content: bytes) -> None:
        """Keep a payload under a name."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return what is kept under a name."""
        ...


class EngineKey:
    """The key of the engine, as a token that never ends."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def get_token(self, *scopes: str, refused: str = "") -> AccessToken:  # noqa: ARG002
        """Return the key; there is no fresher one where it was refused."""
        return AccessToken(self._key.reveal(), FAR_AHEAD)


class RemoteEngine:
    """A tax engine at one address."""

    def __init__(self, http: Http, kept: Kept, *, now: Callable[[], datetime]) -> None:
        """`http`: its base URL is the whole address that questions are posted to."""
        self._http = http
        self._kept = kept
        self._now = now
        # A unit of work is leased for minutes, and a run has many: two tries, and none after a
        # time-out; an engine that stays silent is left alone for a while.
        self._patience = replace(
            http.patience,
            tries=min(http.patience.tries, 2),
            seconds=min(http.patience.seconds, 20.0),
            timeouts=False,
        )
        self._silent = 0
        self._silent_at = datetime.min.replace(tzinfo=UTC)

    def decide(self, question: TaxQuestion) -> TaxDecision | Finding:
        """Return the engine's decision; see `sync.ports.TaxEngine`."""
        name = f"tax-engine/{self._now():%Y-%m-%d}/{question.digest}.json"
        content = self._kept.read(name)
        if content is not None:
            return _read(content, question)
        if self._silent >= STRIKES and self._now() - self._silent_at < REST:
            return _silence(question, f"it was silent {self._silent} times in a row")
        try:
            answer = self._http.request(
                "POST",
                self._http.base_url,
                json=to_payload(question),
                headers={"Idempotency-Key": question.digest},
                keyed=True,
                limit=ANSWER_BYTES,
                patience=self._patience,
            )
        except ServiceError as problem:
            self._silent += 1
            self._silent_at = self._now()
            return _silence(question, str(problem))
        self._silent = 0
        decided = (
            _read(answer.content, question)
            if answer.status == HTTPStatus.OK
            else _unusable(question, f"its status is {answer.status}, not 200")
        )
        if isinstance(decided, TaxDecision):
            self._kept.put(name, answer.content)
        return decided

    def reach(self) -> None:
        """Find out whether anything answers that takes our key; ServiceError where nothing does.

        No question is asked: that the address does not know the method is an answer, too.
        """
        try:
            self._http.request("OPTIONS", self._http.base_url, limit=ANSWER_BYTES)
        except (Throttled, Unavailable, NotAuthorised):
            raise
        except ServiceError as problem:
            if problem.status is None:
                raise


def to_payload(question: TaxQuestion) -> dict[str, Any]:
    """Return a question as JSON; amounts are text, so that no reader rounds them."""
    return {
        "version": VERSION,
        "id": question.digest,
        "currency": question.currency,
        "tax_point": str(question.tax_point),
        "seller": _party(question.seller),
        "buyer": _party(question.buyer),
        "lines": [
            {
                "id": line.key,
                "kind": line.kind,
                "sku": line.sku,
                "name": line.name,
                "amount": f"{line.amount:f}",
            }
            for line in question.lines
        ],
    }


def _party(party: Party) -> dict[str, Any]:
    address = party.address
    return {
        "name": party.name,
        "country": address.country,
        "region": address.region,
        "city": address.city,
        "line1": address.line1,
        "line2": address.line2,
        "postal_code": address.postal_code,
        "tax_numbers": list(party.tax_numbers),
    }


class _Wrong(ValueError):  # noqa: N818 - control flow inside this file
    """An answer that is not one of the contract; says what is wrong with it."""


def _read(content: bytes, question: TaxQuestion) -> TaxDecision | Finding:
    try:
        members = _members(content, question)
        if members.get("hold") is not None:
            return _refused(members["hold"], question)
        return _decision(members, question)
    except _Wrong as wrong:
        return _unusable(question, str(wrong))


def _members(content: bytes, question: TaxQuestion) -> Mapping[str, Any]:
    try:
        members = exact_json.loads(content, once=True)
    except ValueError as fault:
        raise _Wrong(f"it is not JSON ({fault})") from None
    if not isinstance(members, dict):
        raise _Wrong("it is not an object")
    if members.get("id") != question.digest:
        raise _Wrong("its id is not the question's")
    asked = {
        "version": VERSION,
        "currency": question.currency,
        "tax_point": str(question.tax_point),
    }
    for name, wanted in asked.items():
        if members.get(name, wanted) != wanted:
            raise _Wrong(f"its {name} is not the question's, {wanted}")
    if members.get("error") is not None:
        raise _Wrong("it tells of an error")
    return members


def _refused(hold: Any, question: TaxQuestion) -> Finding:
    if not isinstance(hold, dict):
        raise _Wrong("hold is not an object")
    sentence = _words(hold, "sentence", needed=True)
    return _hold(
        question,
        "tax.engine_held",
        f"The tax engine holds the customer: {sentence}",
        _words(hold, "hint") or "put right what the tax engine says, then run this again",
    )


def _decision(members: Mapping[str, Any], question: TaxQuestion) -> TaxDecision:
    try:
        category = TaxCategory(_words(members, "category"))
    except ValueError:
        raise _Wrong("category is none of S, Z, E, AE, G, O") from None
    given = members.get("parts", [])
    if not isinstance(given, list) or len(given) > MOST_PARTS:
        raise _Wrong(f"parts is not a list of at most {MOST_PARTS}")
    decision = TaxDecision(
        category=category,
        parts=tuple(_part(part) for part in given),
        note=_words(members, "note"),
        seller_tax_id=_words(members, "seller_tax_id"),
        buyer_tax_id=_words(members, "buyer_tax_id"),
        decided_by=TaxDecider.ENGINE,
    )
    told = _percent(members, "percent")
    if decision.percent != told:
        raise _Wrong(f"its parts are {plain(decision.percent)} %, and percent is {plain(told)}")
    if decision.percent > 100:
        raise _Wrong(f"its parts come to {plain(decision.percent)} %")
    if (category is TaxCategory.STANDARD) != (decision.percent > 0):
        raise _Wrong(f"category {category} does not go with {plain(decision.percent)} %")
    if category in _NEEDS_NOTE and not decision.note:
        raise _Wrong(f"category {category} needs a note that the invoice can print")
    if category is TaxCategory.REVERSE_CHARGE:
        for name, number, party in (
            ("seller_tax_id", decision.seller_tax_id, question.seller),
            ("buyer_tax_id", decision.buyer_tax_id, question.buyer),
        ):
            if printed_number(number) not in map(printed_number, party.tax_numbers):
                raise _Wrong(f"category AE needs {name}, one of the numbers of the question")
    return replace(decision, reasons=(_reason(decision, members, question),))


def _reason(decision: TaxDecision, members: Mapping[str, Any], question: TaxQuestion) -> Reason:
    inputs = {
        "question": question.digest,
        "category": decision.category.value,
        "percent": plain(decision.percent),
        "on": str(question.tax_point),
    }
    reason = _words(members, "reason")
    return Reason(rule="tax.engine", inputs=inputs | ({"reason": reason} if reason else {}))


def _part(given: Any) -> TaxPart:
    if not isinstance(given, dict):
        raise _Wrong("a part is not an object")
    part = TaxPart(
        name=_words(given, "name", needed=True),
        jurisdiction=_words(given, "jurisdiction", needed=True),
        percent=_percent(given, "percent"),
        taxable_percent=_percent(given, "taxable_percent", "100"),
    )
    if not part.effective:
        raise _Wrong(f"the part {part.name} is zero")
    return part


def _percent(given: Mapping[str, Any], name: str, default: str = "") -> Decimal:
    """Read a percentage: text with up to ten decimals, from 0 to 100."""
    value = given.get(name, default)
    if not isinstance(value, str) or not _PERCENT.fullmatch(value):
        raise _Wrong(f"{name} is not a percentage from 0 to 100, as text of at most ten decimals")
    return Decimal(value)


def _words(given: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or len(value) > MOST_WORDS:
        raise _Wrong(f"{name} is not a text of at most {MOST_WORDS} characters")
    words = " ".join(value.split())
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in words):
        raise _Wrong(f"{name} holds characters that cannot be printed")
    if needed and not words:
        raise _Wrong(f"{name} is missing")
    return words


def _silence(question: TaxQuestion, problem: str) -> Finding:
    return _hold(
        question,
        "tax.engine_silent",
        f"The tax engine gave no answer: {problem}.",
        "run this again when the tax engine answers (check-config tells), or let the "
        "contract's tax be decided by rules",
    )


def _unusable(question: TaxQuestion, wrong: str) -> Finding:
    return _hold(
        question,
        "tax.engine_answer",
        f"The tax engine's answer cannot be used: {wrong}.",
        "have what stands behind CSP_TAX_ENGINE_URL mended (docs/tax-engine.md has the contract), "
        "then run this again",
    )


def _hold(question: TaxQuestion, check: str, sentence: str, hint: str) -> Finding:
    return Finding(
        check=check,
        severity=Severity.HOLD,
        customer_id=question.customer_id,
        record="tax engine",
        sentence=sentence,
        hint=hint,
    )
