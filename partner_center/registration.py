"""Where Partner Center posts its events: one registration for a partner and its app, and its test.

The one thing that this product writes to Partner Center. Registering again what is registered
changes nothing. An address may carry a function key in its query, so it is shown without.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

from pydantic import PlainValidator, ValidationError

from domain.problems import Conflict, InputError, NotFound, ServiceError
from partner_center.wire import Flag, Moment, Text, Wire
from transport.session import Answer, Http, Tokens

_PLAIN = re.compile(r"[\x21-\x7e]{1,2000}")
PATH = "/webhooks/v1/registration"
_TAKEN = {"ok", "created", "accepted", "nocontent"}
TESTS = f"{PATH}/validationEvents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What Partner Center has registered: where it posts which events."""

    url: str
    events: tuple[str, ...]
    own_header: bool | None = None
    """Whether the signature comes in x-ms-signature; None: the answer does not say."""
    modified_at: datetime | None = None

    @property
    def place(self) -> str:
        """The address without its query, which may hold a key."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to deliver a test event."""

    code: str
    message: str
    system_error: bool = False
    """Whether Partner Center failed, and not the receiver."""
    at: datetime | None = None

    @property
    def taken(self) -> bool:
        """Say whether the receiver took it; the answer comes as a number or as a name."""
        return self.code.startswith("2") or self.code.lower() in _TAKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How far Partner Center has come with a test event; `status` is an open word."""

    status: str
    attempts: tuple[Attempt, ...] = ()


class _RegistrationWire(Wire):
    webhook_url: Text = ""
    webhook_events: Annotated[list[str], PlainValidator(lambda found: [str(one) for one in found])]
    signature_token_to_ms_signature_header: Flag | None = None
    last_modified_timestamp: Moment | None = None


class _AttemptWire(Wire):
    response_code: Text = ""
    response_message: Text = ""
    system_error: Flag = False
    date_time_utc: Moment | None = None


class _TrialWire(Wire):
    status: Text = ""
    results: tuple[_AttemptWire, ...] = ()


class WebhookRegistration:
    """Registers where events go. Failures of the service are ServiceErrors with its request id."""

    def __init__(self, http: Http, tokens: Tokens) -> None:
        self._http = http
        self._tokens = tokens

    def events(self) -> list[str]:
        """Read the names of the events that can be registered for, as they are written there."""
        names = self._call("GET", f"{PATH}/events").json()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._strange("the names of events")
        return names

    def current(self) -> Registered | None:
        """Read what is registered; None when nothing is."""
        try:
            answer = self._call("GET", PATH)
        except NotFound:
            return None
        found = self._read(answer)
        return found if found.url else None

    def register(self, url: str, wanted: Iterable[str]) -> tuple[Registered, bool]:
        """Register an address for the events that are both wanted and offered, in any case.

        Returns what is registered then, and whether that is new. InputError for an address that
        Partner Center cannot reach.
        """
        _check(url)
        asked = {name.lower() for name in wanted}
        names = [name for name in self.events() if name.lower() in asked]
        before = self.current()
        if before is not None and _same(before, url, names):
            return before, False
        body = {
            "WebhookUrl": url,
            "WebhookEvents": names,
            "SignatureTokenToMsSignatureHeader": True,
        }
        try:
            answer = self._call("PUT" if before else "POST", PATH, body)
        except Conflict:  # somebody registered meanwhile, or our own answer was lost
            answer = self._call("PUT", PATH, body)
        return self._read(answer), True

    def test(self) -> str:
        """Ask for a test event; returns its correlation id. At most two a minute are given."""
        found = self._call("POST", TESTS).json()
        if isinstance(found, Mapping):
            found = {str(name).lower(): value for name, value in found.items()}.get("correlationid")
        if not isinstance(found, str) or not found:
            raise self._strange("the id of a test event")
        return found.lower()

    def result(self, correlation: str) -> Trial:
        """Read how far a test event has come."""
        answer = self._call("GET", f"{TESTS}/{quote(correlation, safe='')}")
        try:
            found = _TrialWire.model_validate(answer.json())
        except ValidationError:
            raise self._strange("the result of a test event") from None
        attempts = tuple(
            Attempt(
                code=one.response_code,
                message=" ".join(one.response_message.split())[:200],
                system_error=one.system_error,
                at=one.date_time_utc,
            )
            for one in found.results
        )
        return Trial(status=found.status, attempts=attempts)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        return self._http.request(
            method,
            path,
            headers={
                # One of its own for each call: a second test event is not the answer to the first
                # again. Where `Http` repeats a call, it repeats the id.
                "MS-RequestId": str(uuid4()),
                "MS-CorrelationId": str(uuid4()),
                "MS-PartnerCenter-Application": "CSP Billing for Dataverse",
            },
            json=body,
            tokens=self._tokens,
        )

    def _read(self, answer: Answer) -> Registered:
        try:
            found = _RegistrationWire.model_validate(answer.json())
        except (ValidationError, TypeError):
            raise self._strange("a registration") from None
        return Registered(
            url=found.webhook_url,
            events=tuple(found.webhook_events),
            own_header=found.signature_token_to_ms_signature_header,
            modified_at=found.last_modified_timestamp,
        )

    def _strange(self, what: str) -> ServiceError:
        return ServiceError(
            f"{what} in a form that is not known",
            service=self._http.service,
            hint="report it, with the request id from the log",
        )


def _same(before: Registered, url: str, names: Iterable[str]) -> bool:
    have = {name.lower() for name in before.events}
    return (
        before.url == url and have == {n.lower() for n in names} and before.own_header is not False
    )


def _check(url: str) -> None:
    hint = "give the public https address of this worker's /api/partner-center-events"
    if not _PLAIN.fullmatch(url):  # reading an address drops line breaks in silence
        raise InputError("the address of the webhook is no address", hint=hint)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise InputError("the address of the webhook is no address", hint=hint) from None
    local = host in {"127.0.0.1", "localhost"}
    if not host or parts.scheme not in ({"https", "http"} if local else {"https"}):
        raise InputError("the address of the webhook must be https", hint=hint)
    with suppress(ValueError):  # a name, and no number
        if not local and not ip_address(host).is_global:
            raise InputError(f"Partner Center cannot reach {host}", hint=hint)
    if "@" in parts.netloc or parts.fragment:
        raise InputError("the address of the webhook has a user or a fragment", hint=hint)
