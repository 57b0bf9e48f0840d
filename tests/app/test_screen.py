"""What people and Microsoft typed is shown on a terminal as it is, and obeyed by nobody."""

from __future__ import annotations

import pytest

from app import screen
from app.output_holds import shown
from domain.problems import Finding, Severity
from sync.holds import Hold


def a_hold(customer: str, reason: str = "") -> Hold:
    finding = Finding(
        check="agreement.missing",
        severity=Severity.HOLD,
        customer_id="c1",
        record="agreement",
        sentence="Not accepted.",
        hint="sign it",
        released_by="Anna" if reason else "",
        released_reason=reason,
    )
    found = (finding,)
    return Hold(
        customer_id="c1",
        customer=customer,
        holding=() if reason else found,
        released=found if reason else (),
        worth={},
    )


@pytest.mark.parametrize("name", ["Acme [/b] Ltd", "Acme [bold] Ltd", "Acme :smile: Ltd", "[/]"])
def test_a_name_that_looks_like_markup_is_shown(name, capsys):
    shown([a_hold(name)])
    assert name in capsys.readouterr().out


def test_a_reason_in_brackets_is_shown_whole(capsys):
    shown([a_hold("Acme", "see [mail of 9 Nov] from [legal]")])
    assert "See [mail of 9 Nov] from [legal]." in " ".join(capsys.readouterr().out.split())


def test_a_name_does_not_steer_the_terminal(capsys):
    shown([a_hold("\x1b]0;owned\x07\x1b[2JAcme\u202e")])
    screen.note("\x1b[2JAcme")
    both = capsys.readouterr()
    assert "Acme" in both.out
    assert "Acme" in both.err
    assert not {"\x1b", "\x07", "\u202e"} & {*both.out, *both.err}
