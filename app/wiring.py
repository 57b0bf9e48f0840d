"""The one composition root: settings in, a worker out, with every port filled for its mode.

Embedded, the emulators run in this process behind the same HTTP session that the cloud would use,
and that session can reach nothing else. Heavy imports stay inside, so that `--help` is quick.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from app.health_page import health_page
from app.places import World
from app.readiness import Readiness
from app.settings import Settings
from app.systems import Systems, asks_vies, systems_of, token_store, with_vault_secrets
from app.telemetry import Telemetry
from app.vat import valid_vat
from dataverse.client import GRANTED, DataverseClient
from dataverse.projection import SalesProjection
from dataverse.provision.provisioner import Provisioner
from dataverse.provision.roles import ROLES
from dataverse.requests import RequestRows
from dataverse.standard_invoice import SALES_INVOICE, SALES_ROLE
from dataverse.store import DataverseStore
from dataverse.tables import TABLES
from domain.problems import ConfigurationError, InputError, ServiceError
from domain.run import Run
from domain.tax import TaxPolicy
from partner_center.client import PartnerCenterClient
from partner_center.exports import BillingExports
from partner_center.graph import GraphDirectory
from partner_center.prices import PriceSheets
from partner_center.registration import WebhookRegistration
from registers.engine import EngineKey, RemoteEngine
from registers.form import FormRegister
from registers.vies import Vies
from rules.facts import Demands
from sync import requests as requests_of_people
from sync import runs
from sync.ledger import Busy, Later
from sync.messages import (
    OF_A_MONTH,
    LookForRequests,
    ReportUnit,
    RunKind,
    StartRun,
    TakeRequest,
)
from sync.ports import WATCHED, NumberRegister, Ports, Queue
from sync.watch import WatchReport
from transport.auth import (
    app_tokens,
    identity_tokens,
    user_tokens,
)
from transport.blobs import BlobArchive, FolderArchive
from transport.claims import Claims
from transport.mounts import new_session
from transport.pace import Pace
from transport.queues import KINDS, MAX_BYTES, AzureQueue, MemoryQueue
from transport.redaction import Secret, cleaned
from transport.session import Http, Patience, Tokens

if TYPE_CHECKING:
    from transport.bearer import BearerTokens
    from transport.certificates import Signers

Now = Callable[[], datetime]
_log = logging.getLogger(__name__)
KEYS_SECONDS = 5.0
"""Callers wait while signing keys are read; those that are known count on where none come."""
IN_HOST_SECONDS = 1500.0
"""What one wait may take within functionTimeout of host.json."""
ANSWER_SECONDS = 15.0
"""What answers one small question is not waited for longer without a byte."""
BUSY_WAIT = timedelta(minutes=2)
"""After this a message looks again whether what another worker held is free."""


class Progress(NamedTuple):
    """One message was worked; `waiting` counts what is still on the queues."""

    queue: str
    body: str
    done: int
    waiting: int


@dataclass(slots=True)
class Worker:
    """Everything that an entry point needs: it asks for runs, works messages, reads results."""

    settings: Settings
    ports: Ports
    dataverse: DataverseClient
    store: DataverseStore
    systems: Systems
    checks: Mapping[str, Callable[[], Any]]
    """A cheap call to each foreign system, for check-config."""
    readiness: Readiness
    """The same and our own storage, asked within seconds, for probes."""
    registration: WebhookRegistration
    """Where Partner Center posts its events."""
    signers: Callable[[], Signers]
    """What checks their signatures, made when the first one comes."""
    telemetry: Telemetry
    """What tells of what this worker does."""
    bearers: Callable[[], BearerTokens]
    """What judges the tokens of callers over HTTP, made when the first one comes."""
    claims: Claims
    """Bodies of messages that were too large for a queue."""

    def today(self) -> date:
        """The day in UTC, by the clock of this mode."""
        return self.ports.now().date()

    def provisioner(self, progress: Callable[[str], None] = lambda _: None) -> Provisioner:
        """What makes the tables that these settings need."""
        more = self.settings.projection
        return Provisioner(
            self.dataverse,
            tables=(*TABLES, SALES_INVOICE) if more else TABLES,
            roles=(*ROLES, SALES_ROLE) if more else ROLES,
            sleep=self.dataverse.http.sleep,
            progress=progress,
        )

    def request(self, message: StartRun) -> str:
        """Ask for a run; returns its key."""
        with self.telemetry.asking(message.run_key):
            self.ports.queue.send("start", [message.model_dump_json()])
        return message.run_key

    def ask(self, kind: RunKind) -> str:
        """Ask for the run of now, as a timer does: of this day, hour or week; returns its key."""
        return self.request(self._of_now(StartRun(kind=kind)))

    def _of_now(self, message: StartRun) -> StartRun:
        now = self.ports.now()
        # Whom a day makes due, the partner's calendar says; all else is for days in UTC.
        today = self.ports.today() if message.kind in OF_A_MONTH else now.date()
        hour = now.hour if message.kind == "feedback" and message.hour is None else message.hour
        return message.model_copy(update={"day": message.day or today, "hour": hour})

    def look_for_requests(self) -> None:
        """Have it looked whether anybody asked for a run in Dynamics."""
        message = LookForRequests(look_for="requests")
        with self.telemetry.asking("requests"):
            self.ports.queue.send("start", [message.model_dump_json()])

    def look_around(self) -> None:
        """Have it looked whether everything is done in time."""
        day = self.today()
        unit = ReportUnit(run_key=f"watch/{day}", part="watch", day=day)
        with self.telemetry.asking(unit.run_key):
            self.ports.queue.send("report", [unit.model_dump_json()])

    def take_up(self, request_id: str) -> None:
        """Let a request that somebody made in Dynamics be taken up."""
        with self.telemetry.asking(f"request/{request_id}"):
            self.ports.queue.send("start", [TakeRequest(request_id=request_id).model_dump_json()])

    def pick_up(self) -> list[str]:
        """Let every request be taken up that was made since the last look; returns their ids."""
        return requests_of_people.pick_up(self.ports)

    def run(self, key: str) -> Run | None:
        """Read a run."""
        return self.store.run(key)

    def handle(
        self, queue: str, body: str | bytes, *, message_id: str = "", tries: int = 1
    ) -> runs.Told:
        """Work one message; returns what came of it. Which it is, and how often it came, is told."""
        body = self.claims.redeem(body)
        with self.telemetry.message(queue, body, message_id=message_id, tries=tries):
            told = runs.handle(self.ports, queue, body)
            if isinstance(told, WatchReport):
                self.telemetry.watched(told)
            return told

    def put_aside(self, queue: str, body: bytes) -> str:
        """Keep a message that nobody can read; returns its name in the archive, the same each time."""
        name = f"poison/{queue}/{sha256(body).hexdigest()}"
        self.ports.archive.put(name, body)
        self.telemetry.put_aside(queue, name)
        return name

    def postpone(self, queue: str, body: str | bytes, early: Later) -> None:
        """Send a message anew that came too early; one whose unit is held looks again soon."""
        wait = early.until - self.ports.now()
        if isinstance(early, Busy):
            wait = min(wait, BUSY_WAIT)
        text = body if isinstance(body, str) else body.decode()
        self.ports.queue.send(queue, [text], after=max(wait, timedelta(seconds=5)))

    def give_up(self, queue: str, body: str | bytes, problem: str = "") -> None:
        """Note that a message is not tried again, and why."""
        with self.telemetry.message(f"{queue}-poison", body):
            self.telemetry.gave_up(queue, body)
            message = self.claims.redeem(body)
            runs.give_up(self.ports, queue, message, problem or "its message failed too often")

    def drain(self, on_progress: Callable[[Progress], None] = lambda _: None) -> None:
        """Work messages in this process until the queues are empty.

        A fault of the plan or of the end of a run is raised at once; the next call goes on with what
        waits, with that message too unless it asks for what cannot be. A unit that fails is tried
        again and then parked, and the others go on. A unit that another worker holds waits for the
        end of its lease; Busy is raised where that is beyond our patience. What another thread of
        this process works at is left to it.
        """
        queue = self.ports.queue
        assert isinstance(queue, MemoryQueue)
        done = 0
        busy: Later | None = None
        while len(queue):
            message = next((m for kind in KINDS if (m := queue.receive(kind)) is not None), None)
            if message is None:
                if busy is None:
                    return
                self._wait_for(busy)
                continue
            try:
                self.handle(
                    message.kind,
                    message.body,
                    message_id=message.id,
                    tries=message.dequeue_count,
                )
            except Later as error:
                busy = error
                queue.release(message, after=error.until - self.ports.now())
                continue
            except Exception as error:
                queue.release(message)
                if message.kind in {"start", "close"}:
                    if isinstance(error, InputError):  # it is refused each time
                        queue.delete(message)
                    raise
                if message.dequeue_count >= 2:
                    self.give_up(message.kind, message.body, f"{type(error).__name__}: {error}")
                    queue.delete(message)
            else:
                queue.delete(message)
            done += 1
            on_progress(Progress(message.kind, message.body, done, len(queue)))

    def _wait_for(self, busy: Later) -> None:
        """Wait for the end of a lease or a pause; embedded, time passes without waiting."""
        seconds = (busy.until - self.ports.now()).total_seconds()
        if self.systems.sleep is None and seconds > self.settings.patience_seconds:
            raise busy
        (self.systems.sleep or time.sleep)(max(seconds, 0))

    def close(self) -> None:
        """Give back what this mode holds open, and send what is still to be told."""
        self.telemetry.close()
        if self.systems.emulator is not None:
            self.systems.emulator.close()


_building = Lock()


def worker() -> Worker:
    """The worker of this process, for Azure Functions: built at the first message, and once.

    Several messages come at once when an instance starts: each would have a worker of its own, that
    signs in, rotates the refresh token and keeps to the limits without knowing of the others.
    """
    with _building:
        return _built()


@cache
def _built() -> Worker:
    return build(Settings.from_env(os.environ), in_cloud_host=True)


@contextmanager
def opened(settings: Settings, telemetry: Telemetry | None = None) -> Iterator[Worker]:
    """A worker for one command; its queues are in this process in every mode."""
    made = build(settings, telemetry=telemetry)
    try:
        yield made
    finally:
        made.close()


def build(
    settings: Settings, *, in_cloud_host: bool = False, telemetry: Telemetry | None = None
) -> Worker:
    """Fill every port. `in_cloud_host`: messages go to Azure queues, archives to blobs."""
    telemetry = telemetry or _telemetry(settings, in_cloud_host=in_cloud_host)
    session = new_session()
    settings = with_vault_secrets(settings)
    systems = systems_of(settings, session)
    urls = {**systems.urls, "tax_engine": settings.tax_engine_url or ""}
    patience = Patience(seconds=settings.patience_seconds)
    clock: dict[str, Any] = {"now": systems.now}
    if systems.sleep is not None:
        clock["sleep"] = systems.sleep
    refresh_tokens = token_store(settings, systems)
    user = user_tokens(systems.registration, refresh_tokens, session, patience=patience, **clock)
    app = app_tokens(systems.registration, session, patience=patience, **clock)

    def http(  # noqa: PLR0917 - of a system, in the order of what varies
        system: str,
        service: str,
        tokens: Tokens | None,
        scope: str = "",
        pace: Pace | None = None,
        timeout: float | None = None,
    ) -> Http:
        return Http(
            urls[system],
            service=service,
            session=session,
            tokens=tokens,
            scope=scope,
            patience=patience,
            pace=pace,
            timeout=timeout,
            on_call=telemetry.call,
            **clock,
        )

    archive = _archive(settings, in_cloud_host=in_cloud_host)
    claims = Claims(archive, limit=MAX_BYTES)

    def keep(name: str, content: bytes) -> None:
        """Keep a raw payload under the day it was read, so that the day can be audited later."""
        archive.put(f"raw/{systems.now():%Y-%m-%d}/{name}", cleaned(content))

    def signers() -> Signers:
        from app import webhook

        return webhook.signers(settings, systems, session)

    def bearers() -> BearerTokens:
        from transport.bearer import entra_tokens

        registration = systems.registration
        login = Http(
            registration.login_url,
            service="Microsoft Entra",
            session=session,
            timeout=KEYS_SECONDS,
            **clock,
        )
        return entra_tokens(
            login,
            tenant_id=registration.tenant_id,
            audience=settings.http_audience or "",
            issuer=settings.http_issuer or "",
            now=systems.now,
        )

    graph = http("graph", "Microsoft Graph", app, _scope(settings, "graph"))
    blobs = http("graph", "Blob Storage", None)
    partner_center = PartnerCenterClient(
        http("partner_center", "Partner Center", None, _scope(settings, "partner_center")),
        BillingExports(
            graph,
            blobs,
            archive,
            now=systems.now,
            # The host ends a function after half an hour: what is not ready is asked for again.
            deadline_seconds=min(
                settings.export_deadline_seconds, IN_HOST_SECONDS if in_cloud_host else math.inf
            ),
            stores=tuple(f".{host}" for host in settings.export_hosts)
            if settings.mode == "cloud"
            else (systems.urls["blob"],),
        ),
        PriceSheets(
            http("price", "Price host", None, _scope(settings, "price")), user, on_payload=keep
        ),
        user=user,
        app=app,
        on_payload=keep,
    )
    identity = settings.managed_identity_client_id
    dataverse = DataverseClient(
        http(
            "dataverse",
            "Dataverse",
            identity_tokens(identity) if identity else app,
            # In this process nothing is won by writing several things at once, and order is kept.
            pace=None if settings.mode == "embedded" else Pace(GRANTED),
        )
    )
    store = DataverseStore(dataverse, systems.now, tell=telemetry.tell)
    directory = GraphDirectory(graph)
    checks: dict[str, Callable[[], Any]] = {
        "Partner Center": lambda: next(iter(partner_center.invoices()), None),
        "Microsoft Graph": lambda: next(iter(directory.relationships()), None),
        "Dataverse": dataverse.who_am_i,
    }
    register: NumberRegister = FormRegister(valid_vat, now=systems.now)
    if asks_vies(settings, systems):
        register = vies = Vies(
            http("vies", "VIES", None, timeout=ANSWER_SECONDS),
            FormRegister(valid_vat, now=systems.now),
            requester=settings.tax_requester or "",
            requester_path=settings.vies_requester_path,
            now=systems.now,
        )
        checks["VIES"] = vies.reach
    engine = None
    if settings.tax_engine_url and settings.tax_engine_key:
        engine = RemoteEngine(
            http(
                "tax_engine",
                "Tax engine",
                EngineKey(settings.tax_engine_key),
                timeout=ANSWER_SECONDS,
            ),
            archive,
            now=systems.now,
        )
        checks["Tax engine"] = engine.reach
    sales = SalesProjection(dataverse) if settings.projection else None

    def token_saved_at() -> datetime | None:
        """Ask where the token is kept; a vault that is down keeps nobody from looking at the rest."""
        try:
            return refresh_tokens.saved_at()
        except ServiceError as problem:
            _log.warning("the age of the refresh token is not known: %s", problem)
            return None

    ports = Ports(
        token_saved_at=token_saved_at,
        partner_center=partner_center,
        directory=directory,
        store=store,
        archive=archive,
        requests=RequestRows(dataverse),
        queue=_queue(settings, systems, telemetry, claims, in_cloud_host=in_cloud_host),
        now=systems.now,
        policy=settings.severities,
        tax_rounding=settings.tax_rounding,
        atlas=World(),
        demands=Demands(
            required_roles=settings.required_roles,
            expiring_days=settings.expiring_days,
            stale_days=settings.stale_days,
        ),
        projection=sales,
        accounting={sales.target: sales} if sales else {},
        number_register=register,
        check_number=valid_vat,
        tax_engine=engine,
        tax_policy=TaxPolicy(
            number_proof=settings.tax_number_proof, number_days=settings.tax_number_days
        ),
        zone=ZoneInfo(settings.time_zone),
        bill_day=settings.bill_day,
        health_page=partial(health_page, settings),
        watched=WATCHED - set(settings.unwatched),
    )
    return Worker(
        settings=settings,
        ports=ports,
        dataverse=dataverse,
        store=store,
        systems=systems,
        checks=checks,
        readiness=Readiness(
            {**checks, "Archive": lambda: archive.names("ready"), "Queues": ports.queue.lengths}
        ),
        registration=WebhookRegistration(
            http("partner_center", "Partner Center", None, _scope(settings, "partner_center")),
            user,
        ),
        signers=cache(signers),
        bearers=cache(bearers),
        claims=claims,
        telemetry=telemetry,
    )


def _scope(settings: Settings, system: str) -> str:
    """Tokens are for Microsoft's public names, whatever address an emulator answers on."""
    return {
        "partner_center": f"{settings.partner_center_url}/.default",
        "price": f"{settings.price_url}/.default",
        "graph": f"{settings.graph_url}/.default",
    }[system]


def _archive(settings: Settings, *, in_cloud_host: bool) -> FolderArchive | BlobArchive:
    if in_cloud_host and (settings.storage_account_url_blob or settings.storage_connection_string):
        return BlobArchive(
            settings.archive_container,
            Path(tempfile.gettempdir()) / "csp-billing",
            account_url=settings.storage_account_url_blob or "",
            connection_string=_reveal(settings.storage_connection_string),
            client_id=settings.managed_identity_client_id or "",
        )
    return FolderArchive(settings.state_dir / "archive")


def _telemetry(settings: Settings, *, in_cloud_host: bool) -> Telemetry:
    """Tell where the settings say; a command tells nobody unless it is said."""
    if not (in_cloud_host or settings.telemetry):
        return Telemetry()
    from app.exporters import telemetry_of

    return telemetry_of(settings.telemetry, os.environ)


def _queue(
    settings: Settings,
    systems: Systems,
    telemetry: Telemetry,
    claims: Claims,
    *,
    in_cloud_host: bool,
) -> Queue:
    if not in_cloud_host:
        return MemoryQueue(now=systems.now, stamp=telemetry.stamp, claims=claims)
    if not (settings.storage_account_url_queue or settings.storage_connection_string):
        raise ConfigurationError(
            "there is no queue to send messages to",
            hint="set CSP_STORAGE_ACCOUNT_URL_QUEUE (or CSP_STORAGE_CONNECTION_STRING locally)",
        )
    return AzureQueue(
        account_url=settings.storage_account_url_queue or "",
        connection_string=_reveal(settings.storage_connection_string),
        client_id=settings.managed_identity_client_id or "",
        stamp=telemetry.stamp,
        claims=claims,
    )


def _reveal(secret: Secret | None) -> str:
    return secret.reveal() if secret else ""
