"""What is too large for a queue waits elsewhere, and comes back as it was sent or not at all."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.problems import InvariantBroken, Unreadable
from transport.claims import LARGEST, Claims

LIMIT = 100
LARGE = json.dumps({"kind": "sync", "note": "é" * LIMIT})


class Shelf(dict):
    def put(self, name, content):
        self[name] = content

    def read(self, name):
        return self.get(name)


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def claims(shelf):
    return Claims(shelf, limit=LIMIT)


def test_a_small_message_is_sent_as_it_is(claims, shelf):
    assert claims.check_in('{"kind": "sync"}') == '{"kind": "sync"}'
    assert claims.redeem('{"kind": "sync"}') == '{"kind": "sync"}'
    assert shelf == {}


def test_a_large_message_is_kept_under_its_digest_and_its_claim_is_sent(claims, shelf):
    sent = claims.check_in(LARGE)
    digest = sha256(LARGE.encode()).hexdigest()
    assert json.loads(sent) == {
        "claim": f"claims/{digest}.json",
        "sha256": digest,
        "size": len(LARGE.encode()),
    }
    assert shelf == {f"claims/{digest}.json": LARGE.encode()}
    assert claims.redeem(sent) == claims.redeem(sent.encode()) == LARGE.encode()


@given(text=st.text(max_size=300))
def test_what_is_sent_comes_back(text):
    claims = Claims(Shelf(), limit=LIMIT)
    message = json.dumps({"text": text})
    found = claims.redeem(claims.check_in(message))
    assert (found if isinstance(found, bytes) else found.encode()) == message.encode()


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        (lambda shelf: shelf.clear(), "gone"),
        (lambda shelf: shelf.update(dict.fromkeys(shelf, b"{}")), "not what was sent"),
        (
            lambda shelf: shelf.update({name: body[:-1] + b"x" for name, body in shelf.items()}),
            "not what was sent",
        ),
    ],
    ids=["the body is gone", "another body", "one byte of it"],
)
def test_a_body_that_is_not_what_was_sent_is_refused(claims, shelf, damage, state):
    sent = claims.check_in(LARGE)
    damage(shelf)
    with pytest.raises(Unreadable, match=f"is {state}"):
        claims.redeem(sent)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        "[]",
        "{}",
        "1",
        json.dumps({"claim": "x", "sha256": "y", "size": 1}),
        json.dumps({"claim": "../secret", "sha256": "0" * 64, "size": 1}),
        json.dumps({"claim": f"claims/{'0' * 64}.json", "sha256": "0" * 64, "size": True}),
        json.dumps({"claim": f"claims/{'0' * 64}.json", "sha256": "0" * 64, "size": 1, "v": 1}),
    ],
)
def test_what_is_no_claim_is_left_for_the_reader_of_messages(claims, body):
    assert claims.redeem(body) == body


def test_a_claim_of_a_size_that_nothing_has_is_not_fetched(shelf):
    def unasked(name):
        raise AssertionError(name)

    shelf.read = unasked
    digest = "0" * 64
    claim = {"claim": f"claims/{digest}.json", "sha256": digest, "size": LARGEST + 1}
    with pytest.raises(Unreadable):
        Claims(shelf, limit=LIMIT).redeem(json.dumps(claim))


def test_what_was_never_meant_as_a_message_is_not_sent(claims):
    with pytest.raises(InvariantBroken, match="carries keys, not data"):
        claims.check_in("x" * (LARGEST + 1))
