"""A look-alike of VIES, the register of VAT numbers of the European Union, by its REST interface.

GET asks about one number; POST also says who asks, and the inquiry gets an identifier that proves
it. It knows the numbers that the scenario's tenants have, as of now; they are invented. Trouble comes
with status 200 and a code: of the whole service, of one member state or for one number, on demand.

UNCONFIRMED, as several public clients have it: the path of POST, the names of the asker's fields,
that its answer says `valid` where GET says `isValid`, and that its trouble stands in `errorWrappers`.
Germany and Spain tell no names; that is general knowledge.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.tenants import Resource

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ROOT = "/taxation_customs/vies/rest-api"
MEMBER_STATES = frozenset(
    "AT BE BG CY CZ DE DK EE EL ES FI FR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK XI".split()
)
"""Prefixes: Greece is EL, Northern Ireland XI; numbers of Great Britain are no longer in VIES."""
SILENT = frozenset({"DE", "ES"})
CODES = (
    "INVALID_INPUT",
    "INVALID_REQUESTER_INFO",
    "SERVICE_UNAVAILABLE",
    "MS_UNAVAILABLE",
    "TIMEOUT",
    "GLOBAL_MAX_CONCURRENT_REQ",
    "MS_MAX_CONCURRENT_REQ",
    "VAT_BLOCKED",
    "IP_BLOCKED",
)
_UNTOLD = "---"


@dataclass(slots=True, kw_only=True)
class Trouble:
    """A code for inquiries about a member state, a number or (both empty) any; `count` 0 is for good."""

    code: str
    state: str = ""
    number: str = ""
    count: int = 0

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"code must be one of {', '.join(CODES)}")
        if self.state and self.state not in MEMBER_STATES:
            raise ValueError(f"{self.state} is not a prefix of VIES")
        if self.count < 0:
            raise ValueError("count must be zero or more")


class Vies:
    """The host that answers for member states' registers; no one has to sign in."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lock = threading.RLock()
        table: list[tuple[str, str, Callable[..., Response]]] = [
            ("GET", ROOT + "/ms/{state}/vat/{number}", self._get),
            ("POST", ROOT + "/check-vat-number", self._post),
        ]
        self._routes = wire.Routes(table)
        self.reset()

    def reset(self) -> None:
        """Forget troubles and what was registered or taken out by hand."""
        with self._lock:
            self._troubles: list[Trouble] = []
            self._changed: dict[str, tuple[str, str] | None] = {}
            self._asked = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one inquiry."""
        request = Request(environ)
        found = self._routes.find(request.method, request.path)
        if isinstance(found, frozenset):
            response = Response(status=405 if found else 404)
        else:
            handler, values = found
            response = handler(request, **values)
        return response(environ, start_response)

    # --- inquiries -------------------------------------------------------------------------------

    def _get(self, request: Request, state: str, number: str) -> Response:
        del request
        code, who = self._look(state, number)
        name, address = who or (_UNTOLD, _UNTOLD)
        return wire.json_response(
            {
                "isValid": code == "VALID",
                "requestDate": self._moment(),
                "userError": code,
                "name": name,
                "address": address,
                "requestIdentifier": "",
                "vatNumber": number,
            }
        )

    def _post(self, request: Request) -> Response:
        try:
            body = wire.read_object(request)
        except ValueError:
            return wire.json_response(_refusal("INVALID_INPUT"))
        state, number = str(body.get("countryCode", "")), str(body.get("vatNumber", ""))
        code, who = self._look(state, number)
        asker = (
            str(body.get("requesterMemberStateCode") or ""),
            str(body.get("requesterNumber") or ""),
        )
        identifier = ""
        if code in ("VALID", "INVALID") and any(asker):
            # An asker that is not registered itself gets no answer.
            if self._known("".join(asker)) is None:
                code = "INVALID_REQUESTER_INFO"
            else:
                identifier = self._identifier()
        if code not in ("VALID", "INVALID"):
            return wire.json_response(_refusal(code))
        name, address = who or (_UNTOLD, _UNTOLD)
        return wire.json_response(
            {
                "countryCode": state,
                "vatNumber": number,
                "requestDate": self._moment(),
                "valid": code == "VALID",
                "requestIdentifier": identifier,
                "name": name,
                "address": address,
            }
        )

    def _look(self, state: str, number: str) -> tuple[str, tuple[str, str] | None]:
        """The code for a number, and whose it is where that is told."""
        if state not in MEMBER_STATES or not re.fullmatch(r"[0-9A-Z+*]{2,12}", number):
            return "INVALID_INPUT", None
        trouble = self._next_trouble(state, number)
        if trouble:
            return trouble, None
        who = self._known(state + number)
        if who is None:
            return "INVALID", None
        return "VALID", (_UNTOLD, _UNTOLD) if state in SILENT else who

    def _known(self, number: str) -> tuple[str, str] | None:
        with self._lock:
            if number in self._changed:
                return self._changed[number]
        return self._stage.world.vat_register().get(number)

    def _next_trouble(self, state: str, number: str) -> str:
        with self._lock:
            for trouble in self._troubles:
                if trouble.state in ("", state) and trouble.number in ("", state + number):
                    if trouble.count == 1:
                        self._troubles.remove(trouble)
                    trouble.count = max(0, trouble.count - 1)
                    return trouble.code
        return ""

    def _identifier(self) -> str:
        with self._lock:
            self._asked += 1
            digest = sha256(f"vies/{self._stage.seed}/{self._asked}".encode()).digest()
        return "WAPI" + base64.b32encode(digest)[:12].decode()

    def _moment(self) -> str:
        return f"{self._stage.clock.now():%Y-%m-%dT%H:%M:%S}.000Z"

    # --- for the control plane ---------------------------------------------------------------------

    def fail(self, code: str, **details: Any) -> Trouble:
        """Answer with a code for a while; see `Trouble`."""
        trouble = Trouble(code=code, **details)
        with self._lock:
            self._troubles.append(trouble)
        return trouble

    def recover(self) -> None:
        """End every trouble."""
        with self._lock:
            self._troubles.clear()

    def register(self, number: str, name: str = "", address: str = "") -> Resource:
        """Have a number registered from now on, with its prefix."""
        if number[:2] not in MEMBER_STATES:
            raise ValueError(f"{number[:2]} is not a prefix of VIES")
        with self._lock:
            self._changed[number] = (name or _UNTOLD, address or _UNTOLD)
        return {"registered": number}

    def deregister(self, number: str) -> Resource:
        """Take a number out: from now on it is one that nobody has."""
        with self._lock:
            self._changed[number] = None
        return {"deregistered": number}


def _refusal(code: str) -> Resource:
    return {"actionSucceed": False, "errorWrappers": [{"error": code}]}
