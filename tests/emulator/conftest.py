"""The emulated hosts over the hand-written world, reached by `requests` without a socket."""

from __future__ import annotations

from contextlib import ExitStack, closing
from io import BytesIO
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from werkzeug.test import EnvironBuilder, run_wsgi_app

from emulator import machine
from tests.emulator import hand_world


class WsgiAdapter(BaseAdapter):
    """Answers a prepared request by calling a WSGI app."""

    def __init__(self, app):
        super().__init__()
        self.app = app

    def send(self, request, **_):
        parts = urlsplit(request.url)
        builder = EnvironBuilder(
            path=parts.path,
            query_string=parts.query,
            base_url=f"{parts.scheme}://{parts.netloc}",
            method=request.method,
            headers=list(request.headers.items()),
            data=request.body or b"",
        )
        try:
            chunks, status, headers = run_wsgi_app(self.app, builder.get_environ(), buffered=True)
        except TimeoutError as error:
            raise requests.ReadTimeout(error) from error
        except OSError as error:
            raise requests.ConnectionError(error) from error
        response = requests.Response()
        response.status_code = int(status.split()[0])
        response.headers = CaseInsensitiveDict(headers)
        response.raw = BytesIO(b"".join(chunks))
        response.url = request.url
        response.request = request
        response.encoding = "utf-8"
        return response

    def close(self):
        """Nothing is open."""


class Desk:
    """One emulator and a session that reaches all of its hosts by their public names."""

    def __init__(self, emulated):
        self.emulator = emulated
        self.session = requests.Session()
        for name, app in emulated.apps.items():
            self.session.mount(emulated.base_urls[name], WsgiAdapter(app))

    @property
    def control(self):
        return self.emulator.control

    @property
    def clock(self):
        return self.emulator.clock

    def token(self, system, *, app=False, mfa=True):
        """An access token for a system by way of the token endpoint."""
        granted = self.sign_in(self.emulator.base_urls[system], app=app, mfa=mfa)
        return granted.json()["access_token"]

    def sign_in(self, resource, *, app=False, mfa=True, **changes):
        known = self.emulator.credentials
        form = {
            "client_id": known["client_id"],
            "client_secret": known["client_secret"],
            "scope": f"{resource}/.default",
        }
        if app:
            form["grant_type"] = "client_credentials"
        else:
            form["grant_type"] = "refresh_token"
            form["refresh_token"] = self.emulator.issue_refresh_token(mfa=mfa)
        login = f"{self.emulator.base_urls['login']}/{known['tenant_id']}/oauth2/v2.0/token"
        return self.session.post(login, data=form | changes)

    def call(self, system, method, path, *, app=False, token=None, headers=None, **options):
        """A request with a token to a path or to an absolute address."""
        bearer = self.token(system, app=app) if token is None else token
        sent = {"Authorization": f"Bearer {bearer}", **(headers or {})}
        url = path if "://" in path else self.emulator.base_urls[system] + path
        return self.session.request(method, url, headers=sent, **options)

    def identity(self, resource, *, header=None, version="2019-08-01", **names):
        """Ask the identity endpoint as an app on Azure does."""
        given = self.emulator.identity_environment
        return self.session.get(
            given["IDENTITY_ENDPOINT"],
            params={"api-version": version, "resource": resource, **names},
            headers={"X-IDENTITY-HEADER": given["IDENTITY_HEADER"] if header is None else header},
        )

    def pc(self, path, method="GET", **options):
        return self.call("partner_center", method, path, **options)

    def graph(self, path, method="GET", **options):
        return self.call("graph", method, path, **options)


@pytest.fixture
def open_desk(monkeypatch):
    """Opens desks over the hand-written world, and closes them."""
    monkeypatch.setattr(machine, "build_world", hand_world.build)
    with ExitStack() as stack:
        yield lambda **options: Desk(stack.enter_context(closing(machine.Emulator(**options))))


@pytest.fixture
def desk(open_desk):
    return open_desk()


@pytest.fixture
def small():
    """A desk over the scenario of three customers, as its author wrote it."""
    with closing(machine.Emulator(scenario="small")) as emulated:
        yield Desk(emulated)
