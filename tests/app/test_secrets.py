"""Nothing that is secret is told on: a month with systems that fail and echo whatever they were sent."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import sqlite3
import traceback
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import azure.functions as func
import pytest
from werkzeug.wrappers import Request, Response

from app import demo, wiring
from app.settings import Settings
from domain.problems import ServiceError
from emulator import Emulator, serve
from registers.engine import EngineKey, RemoteEngine
from sync.messages import StartRun
from sync.renewals import SHEETS
from tests.app.conftest import command, functions
from tests.app.telling import Told
from transport.blobs import FolderArchive
from transport.mounts import WsgiAdapter, mount_wsgi, new_session
from transport.redaction import Secret, conceal, redact
from transport.session import AccessToken, Http, Patience

PERIOD = "2026-10"
PLANTED = {
    "CSP_WEBHOOK_KEY": "wk-PLANTED-webhook-key-0001==",
    "CSP_TAX_ENGINE_KEY": "PLANTED-tax-engine-key-0002",
    "CSP_REFRESH_TOKEN": "0.PLANTED-first-refresh-token-0003",
    "CSP_STORAGE_CONNECTION_STRING": "AccountName=x;AccountKey=PLANTEDaccountkey0004==;End=y",
}
FUNCTION_KEY = "PLANTED-function-key-0005"
SYSTEMS = ("login", "partner_center", "price", "graph", "blob", "dataverse")
STAGES = (
    (2, {"login"}),
    (3, {"partner_center", "graph"}),
    (1, {"blob"}),
    (7, {"partner_center", "graph", "blob"}),
    (9, {"dataverse"}),
)
"""How often which systems fail, one look at Microsoft's side after the other."""
NEVER = 1 << 30


class Echoes:
    """A host that fails now and then, and then quotes what it was sent and what it should not know."""

    def __init__(self, system, app, loot):
        self.system = system
        self.app = app
        self.loot = loot
        self.every = NEVER
        self.seen = 0
        self.told = 0

    def __call__(self, environ, start_response):
        request = Request(environ)
        content = request.get_data()
        environ["wsgi.input"] = io.BytesIO(content)
        self.loot.sent(request, content.decode("utf-8", "replace"))
        self.seen += 1
        if self.seen % self.every == 0:
            self.told += 1
            return self.failure(request)(environ, start_response)
        response = Response.from_app(self.app, environ, buffered=True)
        self.loot.answered(self.system, response)
        return response(environ, start_response)

    def failure(self, request):
        sent = request.headers.get("Authorization", "").partition(" ")[2]
        shown = " | ".join(sorted(self.loot.all | {sent}))
        first = min(self.loot.all)
        here = " | ".join(sorted({*PLANTED.values(), sent}))  # what looks good is kept as it came
        forms = [
            (500, {"error": {"code": first, "message": f"unexpected: {shown}"}}),
            (401, {"code": 900421, "description": f"token {shown} is not valid"}),
            (400, {"error": {"code": "0x80040203", "message": f"rejected {shown}"}}),
            (503, f"<Error><Code>{first}</Code><Message>no {shown}</Message></Error>"),
            (403, {"error": "access_denied", "error_description": f"AADSTS50000: {shown}"}),
            (200, '{"value": [{"id": "' + here),
            (502, f"<html><body>{shown}</body></html>"),
            (404, {"statusCode": 404, "message": f"not here {shown}"}),
            (429, {"statusCode": 429, "message": f"{shown}. Try again in 1 seconds."}),
        ]
        status, body = forms[self.told % len(forms)]
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "application/json" if status == 200 or not isinstance(body, str) else "text/html"
        return Response(text, status=status, content_type=kind, headers={"request-id": first})


class Loot:
    """Every secret that went over the wire of this partner, and those of its settings."""

    def __init__(self, *known):
        self.all = set(known)

    def sent(self, request, form):
        self.all |= {
            value
            for name, value in re.findall(r"(client_secret|refresh_token)=([^&]{12,})", form)
            if "%" not in value
        }
        self.all |= set(re.findall(r"sig=([^&]{12,})", request.query_string.decode()))

    def answered(self, system, response):
        if system == "login":
            body = response.get_data(as_text=True)
            names = "access_token|refresh_token|id_token"
            self.all |= {value for _, value in re.findall(rf'"({names})":"([^"]+)"', body)}


class Ear(logging.Handler):
    """Keeps every record as a formatter prints it, with its traceback."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append(logging.Formatter("%(name)s %(message)s").format(record))


class Month:
    """What a month left behind, by the place where somebody may read it."""

    def __init__(self, *, state, worker, told, echoes, loot, ear):
        self.state = state
        self.worker = worker
        self.told = told
        self.echoes = echoes
        self.loot = loot
        self.ear = ear
        self.raised = []
        self.rows = []
        self.places = {}

    def attempt(self, work):
        """Do something that may fail, and keep how it failed, in all forms."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            self.raised += [str(error), repr(error), "".join(traceback.format_exception(error))]
            self.raised += [str(getattr(error, "hint", "")), str(getattr(error, "code", ""))]
        # What failed lets go of its message, and tokens end.
        self.worker.systems.emulator.clock.advance(timedelta(minutes=61))

    def busy(self, every, systems=SYSTEMS):
        for name, one in self.echoes.items():
            one.every = every if name in systems else NEVER

    def work(self, message):
        def drain():
            self.worker.request(message)
            self.worker.drain()

        self.attempt(drain)
        self.busy(NEVER)
        run = self.worker.store.run(message.run_key)
        units = self.worker.store.units(message.run_key) if run else ()
        self.rows += [repr(run), *map(repr, units)]


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """A small month: provisioned, then synced and billed by systems that fail, then in peace."""
    state = tmp_path_factory.mktemp("secrets")
    told, ear = Told(), Ear()
    root = logging.getLogger()
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    variables = {"CSP_STATE_DIR": str(state), "CSP_SCENARIO": "small", **PLANTED}
    try:
        with wiring.opened(Settings.from_env(variables), told.telemetry()) as worker:
            emulator = worker.systems.emulator
            given = emulator.credentials
            loot = Loot(given["client_secret"], given["refresh_token"], *PLANTED.values())
            loot.all.add("PLANTEDaccountkey0004==")
            session = worker.dataverse.http._session
            echoes = {name: Echoes(name, emulator.apps[name], loot) for name in SYSTEMS}
            for name, app in echoes.items():
                session.mount(f"{emulator.base_urls[name]}/", WsgiAdapter(app))
            demo._provision(worker)
            found = Month(state=state, worker=worker, told=told, echoes=echoes, loot=loot, ear=ear)
            _live(found)
            _look(found)
            yield found
    finally:
        root.removeHandler(ear)
        root.setLevel(level)


def _live(month):
    worker = month.worker
    sync = StartRun(kind="sync", day=worker.today())
    for every, systems in STAGES:
        month.busy(every, systems)
        month.work(sync)
    month.busy(NEVER)
    month.work(sync)
    demo._key_in(worker, list(worker.store.customers()))
    for message in (
        StartRun(kind="bill", period=PERIOD),
        StartRun(kind="approve", period=PERIOD),
        StartRun(kind="handoff", day=worker.today()),
        StartRun(kind="health", day=worker.today()),
    ):
        for every in (5, NEVER):
            month.busy(every)
            month.work(message)
    month.busy(1, {"price"})
    for _ in range(2):
        month.attempt(lambda: list(worker.ports.partner_center.sheet_prices("US", SHEETS[0])))
    month.busy(2)
    for check in worker.checks.values():
        month.attempt(check)
    month.attempt(worker.registration.events)
    month.busy(NEVER)


def _look(month):
    """Gather every place: logs, exceptions, rows, files, answers, telemetry, commands."""
    worker = month.worker
    month.places["exceptions"] = month.raised
    month.places["telemetry"] = list(month.told.everything())
    month.places["logs"] = month.ear.lines
    month.places["runs, units and findings"] = month.rows + [
        repr(one) for one in worker.store.findings()
    ]
    month.places["rows as they are stored"] = list(_cells(month.state))
    month.places["archive"] = list(_files(month.state / "archive"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "worker", lambda: worker)
        month.places["HTTP answers"] = list(_answers())
    variables = {"CSP_SCENARIO": "small", **PLANTED}
    for line in ("check-config", "check-config --json", "runs", "holds"):
        asked = command(*line.split(), state=month.state, **variables)
        month.places[line] = [asked.out, asked.err]
    month.places["settings"] = [repr(worker.settings), str(worker.settings), repr(worker.systems)]


def _cells(state):
    for file in state.glob("*.sqlite"):
        with sqlite3.connect(file) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608
                    yield from (_unpacked(cell) for cell in row if isinstance(cell, str | bytes))


def _unpacked(cell):
    raw = cell if isinstance(cell, bytes) else cell.encode()
    with suppress(OSError, EOFError):
        raw = gzip.decompress(raw)
    return raw.decode("utf-8", "replace")


def _files(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.name
            yield _unpacked(path.read_bytes())


def _answers():
    """What every route says to a caller who sends a key along, in peace."""
    for function in functions().values():
        trigger = function.get_trigger().get_dict_repr()
        if trigger["type"] != "httpTrigger":
            continue
        for body in (b"{}", b"", b'{"kind": "sync"}', FUNCTION_KEY.encode()):
            request = func.HttpRequest(
                trigger["methods"][0].value,
                f"https://app.example/api/{trigger['route']}?code={FUNCTION_KEY}",
                headers={
                    "x-functions-key": FUNCTION_KEY,
                    "Authorization": f"Bearer {FUNCTION_KEY}",
                    "Content-Type": "application/json",
                },
                params={"code": FUNCTION_KEY} if trigger["methods"][0].value == "POST" else {},
                route_params={
                    part[1:-1]: "sync.2026-11-09"
                    for part in trigger["route"].split("/")
                    if part.startswith("{")
                },
                body=body,
            )
            answer = function.get_user_function()(request)
            yield f"{dict(answer.headers)} {answer.get_body().decode('utf-8', 'replace')}"


PLACES = (
    "exceptions",
    "telemetry",
    "logs",
    "runs, units and findings",
    "rows as they are stored",
    "archive",
    "HTTP answers",
    "check-config",
    "check-config --json",
    "runs",
    "holds",
    "settings",
)


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_told_on(month, place):
    texts = month.places[place]
    assert any(texts)
    everything = "\n".join(texts)
    secrets = month.loot.all | {FUNCTION_KEY}
    # A token is known by any long part of it: its signature alone would do harm.
    parts = {part for one in secrets for part in one.split(".") if len(part) >= 16} | secrets
    found = sorted(part[:12] for part in parts if part in everything)
    assert found == [], f"{len(found)} of {len(parts)}"


def test_the_month_was_hard_enough_to_mean_something(month):
    """Systems did echo secrets, of every kind; something of it was told, without the secrets."""
    assert {name for name, one in month.echoes.items() if one.told >= 2} == set(SYSTEMS)
    kinds = {
        "access tokens": lambda one: one.startswith("eyJ"),
        "refresh tokens": lambda one: one.startswith("1.eyJ"),
        "planted": lambda one: "PLANTED" in one,
    }
    for kind, is_one in kinds.items():
        assert sum(map(is_one, month.loot.all)) >= 3, kind
    assert any("***" in text for text in month.places["exceptions"])
    assert any("***" in text for text in month.places["runs, units and findings"])
    assert len(month.raised) >= 10
    assert month.worker.store.run(f"bill/{PERIOD}") is not None


def test_a_signature_that_storage_quotes_is_not_told_on():
    assert "DEF123" in redact("signature 'abcDEF123+/signature='")
    conceal("abcDEF123+/signature=")
    assert "DEF123" not in redact("signature 'abcDEF123+/signature=' is not the same")
    assert "DEF123" not in redact("/x?a=abcDEF123%2B%2Fsignature%3D")


def test_a_secret_is_known_by_its_value_for_as_long_as_somebody_holds_it():
    first, second = Secret("PLANTED-value-0006"), Secret("PLANTED-value-0006")
    del first
    assert redact("so PLANTED-value-0006 it is") == "so *** it is"
    short = Secret("key")
    assert redact("a key") == "a key"
    assert short
    assert second
    del second
    assert "0006" in redact("so PLANTED-value-0006 it is")


def test_a_tax_engine_that_quotes_its_key_does_not_bring_it_into_a_finding(tmp_path):
    key = Secret(PLANTED["CSP_TAX_ENGINE_KEY"])

    def app(environ, start_response):
        body = json.dumps({"error": {"code": key.reveal(), "message": f"bad key {key.reveal()}"}})
        return Response(body, status=401, content_type="application/json")(environ, start_response)

    session = new_session()
    mount_wsgi(session, {"https://tax.example": app})
    http = Http(
        "https://tax.example/decide",
        service="Tax engine",
        session=session,
        tokens=EngineKey(key),
        patience=Patience(tries=1),
    )
    engine = RemoteEngine(
        http, FolderArchive(tmp_path), now=lambda: datetime(2026, 11, 9, tzinfo=UTC)
    )
    with pytest.raises(ServiceError) as refused:
        engine.reach()
    assert "***" in str(refused.value)
    assert key.reveal() not in "".join(traceback.format_exception(refused.value))
    assert key.reveal() not in refused.value.code


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_libraries_below_log_no_signature_at_any_level(caplog):
    with closing(Emulator(scenario="small")) as emulator, serve(emulator):
        session = new_session()
        with caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
            base = emulator.base_urls["blob"]
            session.get(f"{base}/exports/a?sv=1&sig=PLANTEDsignature0007%3D&code=PLANTED0008key")
    assert "/exports/a?sv=1" in caplog.text
    assert "PLANTED" not in caplog.text


def test_an_access_token_is_never_printed_by_what_holds_it():
    token = AccessToken("PLANTED-opaque-token-0009", 1)
    assert "PLANTED" not in f"{token!r} {token}"


def test_state_files_with_tokens_are_for_their_owner_alone(month):
    kept = [path for path in Path(month.state).glob("refresh-token*") if path.is_file()]
    assert kept
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}
