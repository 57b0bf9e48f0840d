"""VIES, the European Union's register of VAT numbers, as a client of its REST interface.

VIES asks the register of the member state whose prefix a number has, and any of them may be down at
any hour. Its answer to that has status 200, `valid: false` and a code, so only an answer that says
VALID or INVALID and nothing else is one: the rest is an outage, or something that a person must see
to, and never an invalid number. A number that is not well-formed is not asked for.

Sources: accounting facts 6.2 (GET, the codes). UNCONFIRMED, as public clients have it: that the
inquiry with the asker's own number goes to `/check-vat-number` (a setting), names its answer
`valid`, and that errors may come as `errorWrappers`; both forms are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from domain.problems import NotAuthorised, ServiceError, Throttled, Unavailable
from domain.tax import NumberState, TaxNumberCheck, printed_number, vat_country
from registers.form import FormRegister
from transport.session import Answer, Http

SOURCE = "VIES"
MEMBER_STATES = frozenset(
    "AT BE BG CY CZ DE DK EE EL ES FI FR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK XI".split()
)
"""Prefixes that VIES answers for: EL is Greece, XI is Northern Ireland; GB is no longer there."""
ANSWER_BYTES = 64 * 1024
UNKNOWN = "UNKNOWN"
"""Our code for trouble that comes without one."""

BUSY = frozenset(
    {
        "GLOBAL_MAX_CONCURRENT_REQ",
        "GLOBAL_MAX_CONCURRENT_REQ_TIME",
        "MS_MAX_CONCURRENT_REQ",
        "MS_MAX_CONCURRENT_REQ_TIME",
    }
)
DOWN = frozenset({"SERVICE_UNAVAILABLE", "MS_UNAVAILABLE", "TIMEOUT"})
REFUSED: Mapping[str, str] = {
    "INVALID_INPUT": "look the number up at VIES by hand: it is well-formed, and VIES does not "
    "take it",
    "INVALID_REQUESTER_INFO": "set CSP_TAX_REQUESTER to the seller's own valid EU VAT number, or "
    "leave it out",
    "VAT_BLOCKED": "ask the Commission (TAXUD) why VIES is blocked for CSP_TAX_REQUESTER",
    "IP_BLOCKED": "ask the Commission (TAXUD) why VIES is blocked for this address",
}
"""Codes that do not pass by themselves, and what a person can do."""


class Vies:
    """A number register that asks VIES about the numbers of member states."""

    def __init__(
        self,
        http: Http,
        form: FormRegister,
        *,
        requester: str = "",
        requester_path: str = "/check-vat-number",
        now: Callable[[], datetime],
    ) -> None:
        """`requester`: the asker's own number; VIES then numbers the inquiry, which proves it.

        `form` answers for all other numbers, and says which are not worth asking for.
        """
        self._http = http
        self._form = form
        self._requester = printed_number(requester)
        self._requester_path = requester_path
        self._now = now
        # VIES blocks who asks too often: a few tries, far apart, and none after a time-out.
        self._patience = replace(
            http.patience,
            tries=min(http.patience.tries, 3),
            seconds=min(http.patience.seconds, 30.0),
            first_wait=2.0,
            timeouts=False,
            codes=DOWN,
        )

    def source(self, country: str, number: str) -> str:
        """Return VIES for the number of a member state, else what the form says."""
        ill_formed = self._form.check(country, number).state is NumberState.INVALID
        if _is_asked_for(country, number) and not ill_formed:
            return SOURCE
        return self._form.source(country, number)

    def check(self, country: str, number: str) -> TaxNumberCheck:
        """Ask about a number with its prefix; see `sync.ports.NumberRegister`."""
        formed = self._form.check(country, number)
        if formed.state is NumberState.INVALID or not _is_asked_for(country, number):
            return formed
        state, rest = number[:2], number[2:]
        if self._requester:
            asked = self._ask(
                "POST",
                self._requester_path,
                {
                    "countryCode": state,
                    "vatNumber": rest,
                    "requesterMemberStateCode": self._requester[:2],
                    "requesterNumber": self._requester[2:],
                },
            )
        else:
            asked = self._ask("GET", f"/ms/{state}/vat/{quote(rest, safe='')}")
        told = _verdict(asked, coded=not self._requester)
        if told is None or not _concerns(asked, state, rest):
            raise Unavailable(
                "an answer that does not say whether the number is valid",
                service=SOURCE,
                hint="it is asked again with the next sync",
            )
        return TaxNumberCheck(
            number=number,
            country=country,
            state=NumberState.VALID if told else NumberState.INVALID,
            checked_at=self._now(),
            source=SOURCE,
            reference=_text(asked, "requestIdentifier", 100),
            name=_text(asked, "name", 300),
            address=_text(asked, "address", 1000),
        )

    def reach(self) -> None:
        """Find out whether VIES answers at all; ServiceError where it does not.

        It is asked about the asker's own number, else about one that nobody has. That one member
        state is down says nothing about VIES.
        """
        number = self._requester or "EL000000000"
        try:
            self._ask("GET", f"/ms/{number[:2]}/vat/{quote(number[2:], safe='')}")
        except ServiceError as problem:
            if problem.code != "INVALID_INPUT" and not problem.code.startswith("MS_"):
                raise

    def _ask(self, method: str, path: str, body: Any = None) -> Mapping[str, Any]:
        try:
            answer = self._http.request(
                method,
                path,
                json=body,
                keyed=True,  # an inquiry changes nothing
                limit=ANSWER_BYTES,
                patience=self._patience,
                inspect=_inspect,
            )
        except ServiceError as problem:
            # The same codes may come with a status of their own.
            if problem.code in REFUSED and not isinstance(problem, NotAuthorised):
                raise _trouble(problem.code, problem.status) from problem
            raise
        return _members(answer)


def _is_asked_for(country: str, number: str) -> bool:
    """Say whether a number has a prefix that VIES answers for, and it is its country's."""
    return number[:2] in MEMBER_STATES and vat_country(number[:2]) == country


def _members(answer: Answer) -> Mapping[str, Any]:
    members = answer.json()
    if not isinstance(members, dict) or answer.status != HTTPStatus.OK:
        raise Unavailable("an answer that is none of VIES", service=SOURCE, status=answer.status)
    return members


def _inspect(answer: Answer) -> None:
    """Raise the trouble that an answer with a good status tells of."""
    code = _code(_members(answer))
    if code not in {"", "VALID", "INVALID"}:
        raise _trouble(code, answer.status)


def _trouble(code: str, status: int | None) -> ServiceError:
    """Return what a code comes to; one that is not known is an outage, too."""
    if code in BUSY:
        return Throttled("too many inquiries at once", service=SOURCE, status=status, code=code)
    if code in REFUSED:
        return NotAuthorised(
            "the inquiry was refused",
            service=SOURCE,
            status=status,
            code=code,
            hint=REFUSED[code],
        )
    return Unavailable("the register did not answer", service=SOURCE, status=status, code=code)


def _code(members: Mapping[str, Any]) -> str:
    """Return the code of an answer: VALID, INVALID, one of an error, or nothing."""
    wrapped = members.get("errorWrappers")
    if wrapped:
        first = wrapped[0] if isinstance(wrapped, list) else None
        return (_text(first, "error", 100).upper() if isinstance(first, dict) else "") or UNKNOWN
    told = members.get("userError")
    if members.get("actionSucceed", True) is not True or members.get("error") is not None:
        return _text(members, "error", 100).upper() or UNKNOWN
    if not (told is None or isinstance(told, str)):
        return UNKNOWN
    return _text(members, "userError", 100).upper()


def _verdict(members: Mapping[str, Any], *, coded: bool) -> bool | None:
    """Return what an answer says; None where it says nothing, or two things.

    `coded`: a no needs its code, too: without it the word alone stands beside most troubles.
    """
    words = {members[name] for name in ("isValid", "valid") if isinstance(members.get(name), bool)}
    code = _code(members)
    # A code is no verdict by itself: it stands beside the word, and must not contradict it.
    said = words | {code == "VALID"} if code else words
    if coded and False in words and code != "INVALID":
        return None
    return said.pop() if words and len(said) == 1 else None


def _concerns(members: Mapping[str, Any], state: str, rest: str) -> bool:
    """Say whether an answer is about the number that was asked for: it may repeat it, not another."""
    told_state = _text(members, "countryCode", 10).upper() or state
    told = [
        printed_number(value) if isinstance(value, str) else ""
        for name in ("vatNumber", "originalVatNumber")
        if (value := members.get(name)) is not None
    ]
    return told_state == state and all(one in {rest, state + rest} for one in told)


def _text(members: Mapping[str, Any], name: str, most: int) -> str:
    """Read a text; the dashes that stand for what a member state does not tell are nothing."""
    value = members.get(name)
    if not isinstance(value, str):
        return ""
    lines = [" ".join(line.split()) for line in value.splitlines()]
    told = "\n".join(line for line in lines if line)
    return "" if not told.strip("-") else told[:most]
