"""The emulator's own control plane: clock, faults, settings and the log of requests.

Every emulated host is wrapped here, so a test can fail the next call to any of them, throttle it,
drop its connection before or after it has acted, move the clock, or read what was asked. The HTTP
face lives under `/_emulator/` on a host of its own; the same things are methods of `Control`.
Nothing here exists at Microsoft.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Protocol

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.clock import Clock
from emulator.faults import Fault, fault_response, torn
from emulator.world import World

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from emulator.parties import Parties
    from emulator.principals import Principals
    from emulator.vies import Vies
    from emulator.webhooks import Webhooks

PUBLIC_URLS = {
    "login": "https://login.microsoftonline.com",
    "partner_center": "https://api.partnercenter.microsoft.com",
    "price": "https://api.partner.microsoft.com",
    "graph": "https://graph.microsoft.com",
    "blob": "https://cspbillingexports.blob.core.windows.net",
    "certificates": "https://certificates.emulator.invalid",
    "dataverse": "https://cspbilling.crm.dynamics.com",
    "vies": "https://ec.europa.eu/taxation_customs/vies/rest-api",
    "vault": "https://cspbilling.vault.azure.net",
    "identity": "http://identity.emulator.invalid",
    "control": "https://control.emulator.invalid",
}
SHAPES = ("rotate", "link", "inline", "url")
SHEET_FORMS = ("zip", "csv", "csv_bom")
WEBHOOK_ANSWERS = ("camel", "pascal", "contract")
_CREDENTIALS = ("authorization", "cookie", "x-identity-header")
_CHOICES = {
    "manifest_shape": SHAPES,
    "price_sheet_form": SHEET_FORMS,
    "webhook_answers": WEBHOOK_ANSWERS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Switches of the emulated systems; durations in seconds of the emulator's clock."""

    export_polls: int = 1
    export_retry_after: int = 1
    export_lines_per_blob: int = 5000
    manifest_shape: str = "rotate"
    manifest_counts: bool = False
    sas_seconds: int = 6 * 3600
    price_sheet_form: str = "zip"
    page_size_cap: int = 500
    stale_read_seconds: int = 0
    pending_operation_seconds: int = 0
    conditional_access_mfa: bool = False
    withheld_permissions: tuple[str, ...] = ()
    granted_permissions: tuple[str, ...] = ()
    vault_permissions: tuple[str, ...] = ("get", "list", "set")
    gdap_seconds: int = 60
    vetting_seconds: int = 24 * 3600
    webhook_answers: str = "camel"
    webhook_delay_seconds: int = 0
    webhook_retry_seconds: int = 60

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}")
        for one in fields(self):
            value = getattr(self, one.name)
            if type(one.default) is int and (type(value) is not int or value < 0):
                raise ValueError(f"{one.name} must be a whole number, zero or more")
            if type(one.default) is bool and type(value) is not bool:
                raise ValueError(f"{one.name} must be true or false")


@dataclass(slots=True)
class Throttle:
    """Every nth request to a system is refused with 429; the count is the emulator's own."""

    every: int
    retry_after: int
    seen: int = 0


class Stage(Protocol):
    """What every emulated host may look at; `world` changes with a reset, so it is read each time."""

    seed: int
    scenario: str
    clock: Clock
    world: World
    control: Control
    base_urls: dict[str, str]

    @property
    def credentials(self) -> dict[str, str]:
        """What a person would type into the settings of a client."""
        ...


class Machine(Stage, Protocol):
    """What the control plane needs of the whole emulator besides."""

    @property
    def webhooks(self) -> Webhooks:
        """The sender of Partner Center's events."""
        ...

    @property
    def vies(self) -> Vies:
        """The register of VAT numbers."""
        ...

    @property
    def principals(self) -> Principals:
        """Who else there is in the tenant."""
        ...

    @property
    def identity_environment(self) -> dict[str, str]:
        """What Azure sets for an app with a managed identity."""
        ...

    @property
    def parties(self) -> Parties:
        """What customers, resellers and Microsoft do."""
        ...

    def rebuild(self, *, seed: int, scenario: str) -> None:
        """Build another world and forget what the hosts remember."""

    def stories(self) -> list[dict[str, Any]]:
        """What is awkward where in this scenario."""

    def change_dataverse(self, **switches: Any) -> None:
        """Turn switches of the Dataverse host."""

    def reissue(self, invoice_id: str, *, change: str = "", customer_id: str = "") -> int:
        """Issue an invoice anew; its new version number."""

    def issue_refresh_token(self, *, mfa: bool = True) -> str:
        """Sign the partner's user in, with or without a second factor."""

    def revoke_refresh_tokens(self) -> None:
        """End every session of the partner's user."""


class Control:
    """Clock, faults, settings and request log of one emulator; safe for threads."""

    def __init__(self, machine: Machine) -> None:
        self.settings = Settings()
        self._machine = machine
        self._faults: list[Fault] = []
        self._throttles: dict[str, Throttle] = {}
        self._log: deque[dict[str, Any]] = deque(maxlen=20_000)
        self._number = 0
        self._lock = threading.RLock()
        self.world_lock = threading.RLock()
        """Held by whoever reads or changes the emulated world."""

    def reset(self, *, seed: int | None = None, scenario: str | None = None) -> None:
        """Start over: a fresh world, no faults, default settings, an empty log.

        An unknown scenario raises ValueError and changes nothing.
        """
        with self.world_lock, self._lock:
            self._machine.rebuild(
                seed=self._machine.seed if seed is None else seed,
                scenario=self._machine.scenario if scenario is None else scenario,
            )
            self.settings = Settings()
            self._faults.clear()
            self._throttles.clear()
            self.clear_log()

    def change(self, **switches: Any) -> Settings:
        """Change some settings; an unknown name or value raises ValueError."""
        unknown = switches.keys() - {one.name for one in fields(Settings)}
        if unknown:
            raise ValueError(f"unknown setting: {', '.join(sorted(unknown))}")
        lists = {"withheld_permissions", "granted_permissions", "vault_permissions"}
        for name in switches.keys() & lists:
            switches[name] = tuple(switches[name])
        self.settings = replace(self.settings, **switches)
        return self.settings

    def fail_next(self, system: str, **details: Any) -> Fault:
        """Queue a fault (see `faults`); of those that meet a request the first queued one acts."""
        self._known(system)
        fault = Fault(system=system, **details)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Drop the faults that have not met a request yet."""
        with self._lock:
            self._faults.clear()

    def throttle(self, system: str, *, every: int, retry_after: int = 1) -> None:
        """Refuse every nth request to a system with 429; `every=0` ends it."""
        self._known(system)
        with self._lock:
            self._throttles.pop(system, None)
            if every > 0:
                self._throttles[system] = Throttle(every, retry_after)

    def requests(self) -> list[dict[str, Any]]:
        """The requests so far, oldest first, without the values of credentials."""
        with self._lock:
            return list(self._log)

    def clear_log(self) -> None:
        """Forget the requests so far and number from 1 again."""
        with self._lock:
            self._log.clear()
            self._number = 0

    def wrap(self, system: str, app: WSGIApplication, *, serial: bool = True) -> WSGIApplication:
        """An app with log, faults, and the emulator's clock in its Date header.

        `serial` lets one request at a time through: the emulated world is not made for threads.
        """

        def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            request = Request(environ)
            entry = self._record(system, request)
            fault = self._next_fault(system, request)
            if fault is None or fault.acts:
                with self.world_lock if serial else nullcontext():
                    response = Response.from_app(app, environ, buffered=True)
                entry["status"] = response.status_code
                if serial:
                    self._machine.webhooks.catch_up()
            if fault is not None:
                entry["fault"] = fault.kind
                fault.interrupt()
                if fault.kind.startswith("respond"):
                    response = fault_response(system, fault, self._machine.clock.now())
                    entry["status"] = response.status_code
            response.headers["Date"] = format_datetime(self._machine.clock.now(), usegmt=True)
            if fault is not None and fault.kind == "drop_during":
                return torn(response, environ, start_response)
            return response(environ, start_response)

        return wrapped

    def _known(self, system: str) -> None:
        if system != "*" and system not in self._machine.base_urls:
            raise ValueError(
                f"unknown system {system!r}; known: {', '.join(self._machine.base_urls)}"
            )

    def _record(self, system: str, request: Request) -> dict[str, Any]:
        headers = {
            name: "***" if name.lower() in _CREDENTIALS else value
            for name, value in request.headers
        }
        query = re.sub(r"(sig|client_secret|code)=[^&]*", r"\1=***", request.query_string.decode())
        with self._lock:
            self._number += 1
            entry = {
                "n": self._number,
                "system": system,
                "method": request.method,
                "path": request.path,
                "query": query,
                "status": None,
                "fault": None,
                "headers": headers,
                "body_size": request.content_length or 0,
            }
            self._log.append(entry)
        return entry

    def _next_fault(self, system: str, request: Request) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.meets(system, request.method, request.path):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.count -= 1
                    if fault.count == 0:
                        self._faults.remove(fault)
                    return fault
            throttle = self._throttles.get(system, self._throttles.get("*"))
            if throttle is not None:
                throttle.seen += 1
                if throttle.seen % throttle.every == 0:
                    wait = {"Retry-After": str(throttle.retry_after)}
                    return Fault(system=system, status=429, headers=wait)
        return None


class ControlPlane:
    """The HTTP face of a `Control`: everything is JSON, a refusal is 400 with one sentence."""

    def __init__(self, machine: Machine, control: Control) -> None:
        self._machine = machine
        self._control = control
        self._table: list[tuple[str, str, Callable[[dict[str, Any]], Any]]] = [
            ("GET", "/_emulator", self._overview),
            ("POST", "/_emulator/reset", self._reset),
            ("POST", "/_emulator/seed", self._reset),
            ("GET", "/_emulator/clock", self._clock),
            ("POST", "/_emulator/clock", self._clock),
            ("POST", "/_emulator/fail-next", self._fail_next),
            ("POST", "/_emulator/throttle", self._throttle),
            ("POST", "/_emulator/settings", self._settings),
            ("POST", "/_emulator/dataverse", self._dataverse),
            ("GET", "/_emulator/requests", lambda _: control.requests()),
            ("DELETE", "/_emulator/requests", self._clear_log),
            ("POST", "/_emulator/reissue", self._reissue),
            ("POST", "/_emulator/refresh-token", self._refresh_token),
            ("POST", "/_emulator/revoke", self._revoke),
            ("POST", "/_emulator/vies", lambda body: asdict(machine.vies.fail(**body))),
            ("DELETE", "/_emulator/vies", lambda _: machine.vies.recover()),
            ("POST", "/_emulator/act", lambda body: machine.parties.act(**body)),
            ("POST", "/_emulator/apis", lambda body: asdict(machine.principals.register(**body))),
            ("POST", "/_emulator/principals", lambda body: asdict(machine.principals.add(**body))),
            ("GET", "/_emulator/webhooks", self._webhooks),
            ("POST", "/_emulator/webhooks", self._spoil),
            ("GET", "/_emulator/deliveries", lambda _: machine.webhooks.deliveries()),
            ("DELETE", "/_emulator/deliveries", lambda _: machine.webhooks.drain()),
        ]
        self._routes = wire.Routes(self._table)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one control request."""
        request = Request(environ)
        found = self._routes.find(request.method, request.path)
        if isinstance(found, frozenset):
            missing = {"error": "no such control", "see": "/_emulator/"}
            response = wire.json_response(missing, 405 if found else 404)
        else:
            try:
                response = wire.json_response(found[0](wire.read_object(request)))
            except (ValueError, TypeError, KeyError) as error:
                response = wire.json_response({"error": str(error)}, 400)
        return response(environ, start_response)

    def _overview(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "seed": self._machine.seed,
            "scenario": self._machine.scenario,
            "now": wire.stamp(self._machine.clock.now()),
            "base_urls": self._machine.base_urls,
            "credentials": self._machine.credentials,
            "identity": self._machine.identity_environment,
            "settings": asdict(self._control.settings),
            "stories": self._machine.stories(),
            "acts": self._machine.parties.names,
            "controls": [f"{method} {template}" for method, template, _ in self._table],
        }

    def _reset(self, body: dict[str, Any]) -> dict[str, Any]:
        self._control.reset(**body)
        return self._overview({})

    def _clock(self, body: dict[str, Any]) -> dict[str, Any]:
        clock = self._machine.clock
        if "now" in body:
            moment = datetime.fromisoformat(body["now"])
            clock.set(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        clock.advance(timedelta(seconds=int(body.get("advance_seconds", 0))))
        return {"now": wire.stamp(clock.now())}

    def _fail_next(self, body: dict[str, Any]) -> dict[str, Any]:
        return asdict(self._control.fail_next(**body))

    def _throttle(self, body: dict[str, Any]) -> dict[str, Any]:
        self._control.throttle(**body)
        return body

    def _settings(self, body: dict[str, Any]) -> dict[str, Any]:
        return asdict(self._control.change(**body))

    def _dataverse(self, body: dict[str, Any]) -> dict[str, Any]:
        self._machine.change_dataverse(**body)
        return body

    def _clear_log(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        self._control.clear_log()
        return []

    def _reissue(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"invoice_version": self._machine.reissue(**body)}

    def _refresh_token(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"refresh_token": self._machine.issue_refresh_token(**body)}

    def _webhooks(self, _: dict[str, Any]) -> dict[str, Any]:
        from emulator.seals import trust_anchor  # noqa: PLC0415 - keys only where one signs

        registration = self._machine.webhooks.registration
        return {
            "registered": None if registration is None else registration.url,
            "waiting": self._machine.webhooks.waiting(),
            "trust_anchor": trust_anchor(),
        }

    def _spoil(self, body: dict[str, Any]) -> dict[str, Any]:
        return asdict(self._machine.webhooks.spoil_next(**body))

    def _revoke(self, _: dict[str, Any]) -> dict[str, Any]:
        self._machine.revoke_refresh_tokens()
        return {"revoked": True}
