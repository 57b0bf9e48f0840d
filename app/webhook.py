"""Events of Partner Center at the rim: whom to trust, what a post is answered, where they are sent.

The sender learns whether its event was taken, was not believed, or should come again, and nothing
else; why stands in the log, without the body.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from domain.problems import ConfigurationError, InputError, WorkerError
from partner_center.webhooks import ORGANISATION, verified
from sync import notices
from sync.messages import TakeNotice
from transport import exact_json
from transport.certificates import (
    Signers,
    Trust,
    Untrusted,
    certificates_in,
    roots_in,
    split_trusted,
)
from transport.session import Http, Patience

if TYPE_CHECKING:
    import requests
    from cryptography.x509 import Certificate

    from app.settings import Settings
    from app.systems import Systems
    from app.wiring import Worker
    from partner_center.registration import Registered, Trial

DONE, FAILED = 0, 1
MAX_BODY = 16 * 1024
"""Bytes; an event is a few hundred."""
TIMEOUT = 10.0
PATIENCE = Patience(tries=2, seconds=2.0, first_wait=0.5)
"""For certificates: the sender waits, and sends again what we could not check."""
WAIT_SECONDS, TRIES = 5.0, 12
"""How often a test event is looked after."""

_log = logging.getLogger(__name__)

Response = tuple[int, dict[str, Any]]


def answer(worker: Worker, headers: Mapping[str, str], body: bytes) -> Response:
    """Take one post of Partner Center; returns the status and what to answer. Never raises."""
    if len(body) > MAX_BODY:
        return 413, {"error": f"the event is larger than {MAX_BODY} bytes"}
    try:
        hear(worker, headers, body)
    except Untrusted as reason:
        _log.warning("an event is not believed: %s", reason)
        return 401, {"error": "the signature of this event is not verified"}
    except InputError as error:
        _log.warning("a signed event is not taken: %s", error)
        return 400, {"error": str(error)}
    except WorkerError as error:
        _log.error("an event cannot be taken now: %s", error)
        return 503, {"error": "this event cannot be taken now; send it again"}
    return 200, {"status": "accepted"}


def hear(worker: Worker, headers: Mapping[str, str], body: bytes) -> str:
    """Leave a message for a signed event; returns its key. Untrusted when its sender is not proved."""
    notice = verified(worker.signers(), headers, body)
    try:
        message = TakeNotice(received_at=worker.ports.now(), **asdict(notice))
    except ValidationError:
        raise InputError("what the event names has no form that is known") from None
    worker.ports.queue.send("event", [message.model_dump_json()])
    _log.info("took %s", message.key)
    return message.key


# Whom to trust -------------------------------------------------------------------------------------


def signers(settings: Settings, systems: Systems, session: requests.Session) -> Signers:
    """Return what checks signatures in this mode: Microsoft's, or those of the emulators."""

    def http(origin: str) -> Http:
        clock: dict[str, Any] = {"now": systems.now}
        if systems.sleep is not None:
            clock["sleep"] = systems.sleep
        return Http(
            origin,
            service="Certificates",
            session=session,
            patience=PATIENCE,
            timeout=TIMEOUT,
            **clock,
        )

    return Signers(_trust(settings, systems, http), http, now=systems.now)


def _trust(settings: Settings, systems: Systems, http: Any) -> Trust:
    if settings.mode != "cloud":
        control = http(systems.urls["control"]).request("GET", "/_emulator/webhooks")
        pem = exact_json.loads(control.content)["trust_anchor"].encode()
        return Trust(
            origins=frozenset({systems.urls["certificates"]}),
            roots=tuple(certificates_in(pem)),
            organisation=ORGANISATION,
        )
    roots, between = split_trusted(_own(settings))
    return Trust(
        origins=frozenset(f"https://{host}" for host in settings.webhook_cert_hosts),
        issuer_hosts=frozenset(settings.webhook_issuer_hosts),
        roots=roots or _usual_roots(),
        between=between,
        organisation=ORGANISATION,
    )


def _own(settings: Settings) -> list[Certificate]:
    """Return the certificates of the file that the settings name."""
    from cryptography import x509

    if settings.webhook_ca_file is None:
        return []
    try:
        return x509.load_pem_x509_certificates(settings.webhook_ca_file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"CSP_WEBHOOK_CA_FILE: {settings.webhook_ca_file} holds no certificates: {error}",
            hint="name a PEM file of roots, or unset it for the usual ones",
        ) from None


def _usual_roots() -> tuple[Certificate, ...]:
    """Return the roots that browsers trust, as `certifi` ships them."""
    from pathlib import Path

    import certifi

    return tuple(roots_in(Path(certifi.where()).read_bytes()))


# Where events go -----------------------------------------------------------------------------------


def register(worker: Worker, url: str, *, as_json: bool) -> int:
    """Have every event that is understood and offered posted to an address."""
    from app.screen import note

    key = worker.settings.webhook_key
    if key and "?" not in url:
        url = f"{url}?code={key.reveal()}"
    now, changed = worker.registration.register(url, notices.UNDERSTOOD)
    _show(worker, now, as_json=as_json)
    note("Registered." if changed else "Nothing to change: it was registered so.")
    missing = set(notices.UNDERSTOOD) - {name.lower() for name in now.events}
    if missing:
        note(f"Not offered by Partner Center: {', '.join(sorted(missing))}.")
    return DONE


def status(worker: Worker, *, as_json: bool) -> int:
    """Show what is registered; exit code 1 when nothing is, or something that points elsewhere."""
    now = worker.registration.current()
    _show(worker, now, as_json=as_json)
    return DONE if now is not None and _here(worker.settings, now) is not False else FAILED


def test(worker: Worker, *, as_json: bool) -> int:
    """Have a test event posted and look after it until it was tried; exit code 1 when it failed."""
    from app.screen import note, print_json

    correlation = worker.registration.test()
    note(f"Partner Center sends the test event {correlation}.")
    sleep = worker.systems.sleep or time.sleep
    trial: Trial = worker.registration.result(correlation)
    for _ in range(TRIES):
        if trial.attempts:
            break
        sleep(WAIT_SECONDS)
        trial = worker.registration.result(correlation)
    taken = notices.tested(worker.ports, str(worker.today()), correlation)
    delivered = any(one.taken for one in trial.attempts)
    data = {
        "correlation": correlation,
        "status": trial.status,
        "delivered": delivered,
        "taken_by_the_worker": taken,
        "attempts": [
            {
                "code": one.code,
                "message": one.message,
                "system_error": one.system_error,
                "at": one.at.isoformat() if one.at else None,
            }
            for one in trial.attempts
        ],
    }
    if as_json:
        print_json(data)
    else:
        for one in trial.attempts:
            blame = " (Partner Center's own fault)" if one.system_error else ""
            print(f"answered {one.code} {one.message}{blame}".rstrip())
        print(f"Test event {correlation}: {trial.status or 'status not told'}.")
        print(
            "The worker has taken it."
            if taken
            else "The worker has not taken it yet; its queue may lag: look with `runs event/DAY`."
        )
    return DONE if delivered else FAILED


def told(worker: Worker) -> str:
    """Say in one line whether events come here; for check-config."""
    try:
        now = worker.registration.current()
    except WorkerError as error:
        return f"not known: {error}"
    if now is None:
        return "not registered: changes are seen by the next sync (docs/webhooks.md)"
    where = {
        True: "here",
        False: f"elsewhere, not at {worker.settings.webhook_url}",
        None: "CSP_WEBHOOK_URL is not set, so whether that is here is not known",
    }[_here(worker.settings, now)]
    return f"{len(now.events)} events go to {now.place} ({where})"


def _here(settings: Settings, now: Registered) -> bool | None:
    if settings.webhook_url is None:
        return None
    return now.place.rstrip("/").lower() == settings.webhook_url.lower()


def _show(worker: Worker, now: Registered | None, *, as_json: bool) -> None:
    from app.screen import print_json

    if as_json:
        print_json(
            {
                "registered": now is not None,
                "url": now.place if now else None,
                "points_here": _here(worker.settings, now) if now else None,
                "events": list(now.events) if now else [],
                "own_header": now.own_header if now else None,
                "modified_at": now.modified_at.isoformat() if now and now.modified_at else None,
            }
        )
        return
    print(told(worker))
    for name in sorted(now.events) if now else ():
        print(f"  {name}{'' if name.lower() in notices.UNDERSTOOD else ' (not understood)'}")
