"""The webhook sender of Partner Center: one registration, signed events, up to ten attempts each.

Events are posted to a function in this process (`receivers`), or to a loopback address; what is
addressed elsewhere stays in the list of attempts for a test to read. Every attempt is in that list
with its headers and body. Time is the emulator's clock: what is delayed or was refused goes out
when the clock gets there. Delivery is at least once and in no promised order; `spoil_next` makes
that happen on demand, and forges signatures, so that a receiver can be seen to refuse each.
How long Microsoft waits between attempts is not published: it is a setting.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from emulator import wire
from emulator.control import Stage
from emulator.happenings import Happening
from emulator.posting import FAILURES, SECONDS, Receiver, on_this_machine, post, receiver_of

EVENTS = (
    "azure-fraud-event-detected",
    "dap-admin-relationship-approved",
    "dap-admin-relationship-terminated",
    "dap-admin-relationship-terminated-by-microsoft",
    "granular-admin-access-assignment-activated",
    "granular-admin-access-assignment-created",
    "granular-admin-access-assignment-deleted",
    "granular-admin-access-assignment-updated",
    "granular-admin-relationship-activated",
    "granular-admin-relationship-approved",
    "granular-admin-relationship-expired",
    "granular-admin-relationship-terminated",
    "indirect-reseller-relationship-accepted-by-customer",
    "invoice-ready",
    "referral-created",
    "referral-updated",
    "related-referral-created",
    "related-referral-updated",
    "reseller-relationship-accepted-by-customer",
    "subscription-updated",
    "test-created",
    "usagerecords-thresholdExceeded",
)
SPOILS = {
    "duplicate": "the same post is made twice",
    "reorder": "it is held back until the next event has gone out",
    "delay": "it goes out `seconds` later",
    "cut_before": "it never arrives, and counts as refused",
    "cut_after": "it arrives, but its answer is lost, so it counts as refused",
    "unsigned": "it carries no signature",
    "wrong_signature": "the signature is of another body",
    "tampered": "the body was changed after it was signed",
    "other_certificate": "the certificate is good, but of another key",
    "self_signed": "signed with a key of its own and a certificate that no authority signed",
    "expired": "signed with a certificate that is out of date",
    "other_issuer": "signed with a certificate of a foreign authority and organisation",
    "other_host": "the certificate lies on a host that is not Microsoft's",
    "other_algorithm": "the header names another algorithm",
}
MOST_ATTEMPTS = 10
MOST_REMEMBERED = 5_000
_SHOWN = {
    "other_certificate": "another",
    "self_signed": "self-signed",
    "expired": "expired",
    "other_issuer": "other-issuer",
}
_SIGNED_BY = {"self_signed", "expired", "other_issuer"}
_FOREIGN = "https://certificates.fabrikam.invalid"


class NotRegisteredError(Exception):
    """There is no registration to work with, or there is one already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Where events go, which ones, and in which header the signature travels."""

    url: str
    events: tuple[str, ...]
    to_ms_signature: bool
    modified: datetime


@dataclass(slots=True, kw_only=True)
class Spoil:
    """What happens to `count` posts of an event (any, when empty), after `skip` of them."""

    kind: str
    count: int = 1
    skip: int = 0
    event: str = ""
    seconds: int = 60

    def __post_init__(self) -> None:
        if self.kind not in SPOILS:
            raise ValueError(f"kind must be one of {', '.join(SPOILS)}")
        if self.count < 1 or self.skip < 0 or self.seconds < 0:
            raise ValueError("count must be at least 1, skip and seconds zero or more")
        if self.event and self.event not in EVENTS:
            raise ValueError(f"unknown event {self.event!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """One post that is to be made at an instant; `behind` waits for another to go first."""

    event: str
    body: bytes
    at: datetime
    validation: str = ""
    attempt: int = 1
    behind: bool = False


class Webhooks:
    """Queues what happens for the registered address and posts it; safe for threads."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self.receivers: dict[str, Receiver] = {}
        """By the beginning of the address: posts that stay in this process, and are made at once."""
        self.reset()

    def reset(self) -> None:
        """Forget the registration and everything that was sent or waits; receivers stay."""
        with self._lock:
            self.registration: Registration | None = None
            self._seen = self._stage.clock.now()
            self._told: set[tuple[object, ...]] = set()
            self._queue: list[_Due] = []
            self._spoils: list[Spoil] = []
            self._attempts: deque[dict[str, Any]] = deque(maxlen=MOST_REMEMBERED)
            self._validations: dict[str, tuple[datetime, str, str]] = {}
            self._number = 0

    # --- registration --------------------------------------------------------------------------

    def register(
        self, url: str, events: tuple[str, ...], *, to_ms_signature: bool, anew: bool
    ) -> Registration:
        """Register an address, or change what is registered; NotRegisteredError where it cannot.

        What happened before a registration is not told after it.
        """
        now = self._stage.clock.now()
        with self._lock:
            if (self.registration is None) is not anew:
                raise NotRegisteredError
            if anew:
                self._seen = now
                self._told = {one.key for one in self._stage.world.happenings(now, now)}
            self.registration = Registration(
                url=url, events=events, to_ms_signature=to_ms_signature, modified=now
            )
            return self.registration

    def test(self) -> str:
        """Send a test event; its correlation id. NotRegisteredError without a registration."""
        now = self._stage.clock.now()
        with self._lock:
            if self.registration is None:
                raise NotRegisteredError
            number = len(self._validations) + 1
            correlation = wire.derived_guid("validation event", self._stage.seed, number)
            self._validations[correlation] = (now, "inProgress", self.registration.url)
            self.announce(
                Happening(
                    key=("test", correlation),
                    at=now,
                    event="test-created",
                    resource="test",
                    path=f"/webhooks/v1/registration/validationEvents/{correlation}",
                ),
                validation=correlation,
            )
        return correlation

    def tests_since(self, moment: datetime) -> list[datetime]:
        """When test events were asked for after an instant."""
        with self._lock:
            return [asked for asked, _, _ in self._validations.values() if asked > moment]

    def validation(self, correlation: str) -> dict[str, Any] | None:
        """What became of a test event, in the published shape; its statuses are unconfirmed."""
        with self._lock:
            if correlation not in self._validations:
                return None
            _, status, url = self._validations[correlation]
            results = [
                {
                    "responseCode": _code_name(attempt["status"]),
                    "responseMessage": attempt["problem"] or "",
                    "systemError": attempt["status"] is None,
                    "dateTimeUtc": attempt["at"],
                }
                for attempt in self._attempts
                if attempt["validation"] == correlation
            ]
        return {
            "correlationId": correlation,
            "partnerId": self._stage.world.partner.tenant_id,
            "status": status,
            "callbackUrl": url,
            "results": results,
        }

    # --- what is to be told --------------------------------------------------------------------

    def spoil_next(self, kind: str, **details: Any) -> Spoil:
        """Let something happen to posts that come; see `SPOILS`."""
        spoil = Spoil(kind=kind, **details)
        with self._lock:
            self._spoils.append(spoil)
        return spoil

    def announce(self, happening: Happening, *, validation: str = "") -> bool:
        """Queue an event if it is registered for; whether it was."""
        with self._lock:
            registration = self.registration
            if registration is None or happening.event not in registration.events:
                return False
            self._number += 1
            delay = timedelta(seconds=self._stage.control.settings.webhook_delay_seconds)
            self._queue.append(
                _Due(
                    event=happening.event,
                    body=self._body(happening),
                    at=self._stage.clock.now() + delay,
                    validation=validation,
                )
            )
            return True

    def _body(self, happening: Happening) -> bytes:
        uri = happening.path
        if uri is not None:
            uri = (happening.host or self._stage.base_urls["partner_center"]) + uri
        audit = happening.audit
        if audit is not None:
            audit = f"{self._stage.base_urls['partner_center']}{audit}"
        # Seven digits as Microsoft writes them; they count events, so that no two look the same.
        moment = f"{happening.at:%Y-%m-%dT%H:%M:%S}.{self._number % 10_000_000:07d}+00:00"
        content: dict[str, Any] = {"EventName": happening.event, "ResourceUri": uri}
        if happening.resource is not None:
            content["ResourceName"] = happening.resource
        content |= {"AuditUri": audit, "ResourceChangeUtcDate": moment}
        return wire.encode(content).encode()

    def catch_up(self) -> None:
        """Queue what has happened by now and make the posts that are due.

        Called after every request and whenever the clock moves, never with a lock held: a receiver
        may ask back.
        """
        registration = self.registration
        if registration is None:
            return
        now = self._stage.clock.now()
        with self._stage.control.world_lock:
            found = self._stage.world.happenings(min(self._seen, now), now)
        with self._lock:
            for happening in found:
                if happening.key not in self._told:
                    self._told.add(happening.key)
                    self.announce(happening)
            self._seen = now
        receiver = receiver_of(registration.url, self.receivers)
        if receiver is not None or not on_this_machine(registration.url):
            self._work(registration, receiver)
        elif self._take() is not None:
            thread = threading.Thread(target=self._work, args=(registration, post), daemon=True)
            with self._lock:
                self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    # --- telling -------------------------------------------------------------------------------

    def _take(self, *, remove: bool = False) -> _Due | None:
        now = self._stage.clock.now()
        with self._lock:
            for due in self._queue:
                if due.at <= now:
                    if remove:
                        self._queue.remove(due)
                    return due
        return None

    def _work(self, registration: Registration, receiver: Receiver | None) -> None:
        while (due := self._take(remove=True)) is not None:
            self._deliver(registration, due, receiver)

    def _deliver(self, registration: Registration, due: _Due, receiver: Receiver | None) -> None:
        spoil = self._next_spoil(due)
        kind = spoil.kind if spoil else ""
        if spoil is not None and kind in ("delay", "reorder"):
            wait = timedelta(seconds=spoil.seconds)
            held = replace(due, at=self._stage.clock.now() + wait, behind=kind == "reorder")
            with self._lock:
                self._queue.append(held)
            return
        good = self._post(registration, due, receiver, kind)
        if kind == "duplicate":
            good = self._post(registration, due, receiver, kind)
        with self._lock:
            self._release()
            self._settle(due, good=good)

    def _post(
        self, registration: Registration, due: _Due, receiver: Receiver | None, kind: str
    ) -> bool:
        headers, body = self._sealed(registration, due.body, kind)
        status: int | None = None
        problem = None
        if kind == "cut_before":
            problem = "The connection was cut."
        elif receiver is None:
            problem = "Left for the reader: the address is not on this machine."
        else:
            try:
                status = receiver(registration.url, headers, body)
            except FAILURES as fault:
                problem = f"{type(fault).__name__}: {fault}"
            if kind == "cut_after":
                status, problem = None, "The connection was cut before the answer."
        attempt = {
            "event": due.event,
            "attempt": due.attempt,
            "at": wire.stamp(self._stage.clock.now()),
            "url": registration.url,
            "headers": dict(headers),
            "body": body.decode(),
            "status": status,
            "problem": problem,
            "spoilt": kind or None,
            "validation": due.validation,
        }
        with self._lock:
            self._attempts.append(attempt)
        if receiver is None and kind != "cut_before":
            return True
        return status is not None and 200 <= status < 300

    def _settle(self, due: _Due, *, good: bool) -> None:
        """Note the end of a post, or when the next attempt is."""
        if due.validation in self._validations:
            asked, _, url = self._validations[due.validation]
            last = due.attempt == MOST_ATTEMPTS
            status = "completed" if good else "failed" if last else "inProgress"
            self._validations[due.validation] = (asked, status, url)
        if not good and due.attempt < MOST_ATTEMPTS:
            wait = timedelta(seconds=self._stage.control.settings.webhook_retry_seconds)
            again = replace(due, attempt=due.attempt + 1, at=self._stage.clock.now() + wait)
            self._queue.append(again)

    def _release(self) -> None:
        """Let those go that waited for another one to be first."""
        now = self._stage.clock.now()
        self._queue = [
            replace(one, at=now, behind=False) if one.behind else one for one in self._queue
        ]

    def _next_spoil(self, due: _Due) -> Spoil | None:
        with self._lock:
            for spoil in self._spoils:
                if spoil.event in ("", due.event):
                    if spoil.skip:
                        spoil.skip -= 1
                        continue
                    spoil.count -= 1
                    if not spoil.count:
                        self._spoils.remove(spoil)
                    return spoil
        return None

    def _sealed(
        self, registration: Registration, body: bytes, kind: str
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of a post, signed, or spoilt in the way that is asked for."""
        from emulator.seals import ALGORITHM, seals  # noqa: PLC0415 - keys only where one signs

        shown = _SHOWN.get(kind, "notifications")
        signer = seals()[shown if kind in _SIGNED_BY else "notifications"]
        signature = signer.sign(body + b" " if kind == "wrong_signature" else body)
        if kind == "tampered":
            body = body.replace(b'"EventName":"', b'"EventName":"x-', 1)
        host = _FOREIGN if kind == "other_host" else self._stage.base_urls["certificates"]
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if kind != "unsigned":
            name = "x-ms-signature" if registration.to_ms_signature else "Authorization"
            headers[name] = f"Signature {signature}"
        headers["x-ms-certificate-url"] = f"{host}/notifications/{shown}.cer"
        headers["x-ms-signature-algorithm"] = "rsa-sha1" if kind == "other_algorithm" else ALGORITHM
        return headers, body

    # --- for the control plane -----------------------------------------------------------------

    def deliveries(self) -> list[dict[str, Any]]:
        """Every attempt so far, oldest first: headers, body and how it ended."""
        with self._lock:
            return [{k: v for k, v in one.items() if k != "validation"} for one in self._attempts]

    def drain(self) -> list[dict[str, Any]]:
        """The attempts so far, which are then forgotten."""
        with self._lock:
            found = self.deliveries()
            self._attempts.clear()
            return found

    def waiting(self) -> list[dict[str, Any]]:
        """What is queued: which event, when it is due, which attempt it will be."""
        with self._lock:
            return [
                {"event": due.event, "at": wire.stamp(due.at), "attempt": due.attempt}
                for due in self._queue
            ]

    def wait(self, seconds: float = SECONDS) -> None:
        """Wait until posts over sockets that are under way have ended."""
        for thread in list(self._threads):
            thread.join(seconds)


def _code_name(status: int | None) -> str:
    """A status as .NET names it: NotFound for 404."""
    if status is None:
        return ""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        return str(status)
    return phrase if phrase == "OK" else phrase.title().replace(" ", "").replace("-", "")
