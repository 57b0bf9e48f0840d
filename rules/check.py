"""What a check is: a name, who looks, what it looks at, what to do, and whether it may be overruled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from domain.problems import Severity


class Room(StrEnum):
    """Who finds it."""

    GATE = "gate"
    """Before anything is billed: the relationship, the agreement, the account and its contract."""
    TAX = "tax"
    """Before anything is billed: tax, address and currency."""
    DRAFT = "draft"
    """A customer's bill of a month: history, prices, usage, seats."""
    RECONCILE = "reconcile"
    """The end of a month's run: Microsoft's lines beside the documents."""
    READING = "reading"
    """Reading what Partner Center has: customers, access, changes, which invoices, and all of them."""
    INVOICE = "invoice"
    """Reading the lines and the usage of one of Microsoft's invoices."""
    NUMBERS = "numbers"
    """The daily look at tax numbers."""
    EVENT = "event"
    """What Partner Center tells of its own accord."""
    UNBILLED = "unbilled"
    """The daily look at usage that is not billed yet."""
    AHEAD = "ahead"
    """What lies ahead: prices that Microsoft changed, terms that end."""
    DOCUMENT = "document"
    """Documents that were issued: their files and their copies."""
    STORE = "store"
    """Writing rows."""
    ANSWER = "answer"
    """The answer of a command; nothing is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One named check."""

    name: str
    room: Room
    severity: Severity
    """By default; `CSP_SEVERITIES` may set another."""
    about: str
    """What it looks at, in a few words."""
    to_do: str
    final: str = ""
    """Why nobody can release it: there is nothing to bill with. Empty: a person may."""


NOT_ALL = "what Microsoft billed is not known completely"


def of_room(room: Room, *checks: Check) -> tuple[Check, ...]:
    """Return checks as those of a room."""
    return tuple(replace(check, room=room) for check in checks)


def _check(severity: Severity, name: str, about: str, to_do: str, final: str = "") -> Check:
    return Check(
        name=name, room=Room.GATE, severity=severity, about=about, to_do=to_do, final=final
    )


def hold(name: str, about: str, to_do: str, final: str = "") -> Check:
    """A check that holds the customer by default."""
    return _check(Severity.HOLD, name, about, to_do, final)


def warn(name: str, about: str, to_do: str) -> Check:
    """A check that only tells by default."""
    return _check(Severity.WARN, name, about, to_do)


def block(name: str, about: str, to_do: str, final: str = NOT_ALL) -> Check:
    """A check that holds the customer, and that nobody can release."""
    return _check(Severity.BLOCK, name, about, to_do, final)
