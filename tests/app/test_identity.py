"""A deployed worker signs in everywhere without a secret in its settings: mode cloud against loopback."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msal
import pytest
import requests

from app import wiring
from app.settings import Settings
from app.systems import TOKEN_SECRET
from domain.problems import NotAuthorised
from emulator import Emulator, serve
from host.declared import App, Function
from host.invocation import Invoker
from host.runner import Host
from tests.app.conftest import command, functions

ROOT = Path(__file__).resolve().parents[2]


class Cloud:
    """The emulated systems over TLS, and what Bicep would set for a worker that uses them."""

    def __init__(self, emulator, running, monkeypatch):
        self.emulator = emulator
        emulator.clock.set(datetime.now(UTC))  # Microsoft's libraries go by the machine's clock
        emulator.vault.put(TOKEN_SECRET, emulator.issue_refresh_token())
        for name, value in emulator.identity_environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.ca_bundle))
        self.ca_bundle = str(running.ca_bundle)
        self.identity = emulator.principals.identities[0]
        given, urls = emulator.credentials, emulator.base_urls
        self.secret = given["client_secret"]
        self.variables = {
            "CSP_MODE": "cloud",
            "CSP_TENANT_ID": given["tenant_id"],
            "CSP_CLIENT_ID": given["client_id"],
            "CSP_FEDERATED": "true",
            "CSP_KEY_VAULT_URL": urls["vault"],
            "CSP_MANAGED_IDENTITY_CLIENT_ID": self.identity.client_id,
            "CSP_LOGIN_URL": urls["login"],
            "CSP_PARTNER_CENTER_URL": urls["partner_center"],
            "CSP_PRICE_URL": urls["price"],
            "CSP_GRAPH_URL": urls["graph"],
            "CSP_DATAVERSE_URL": urls["dataverse"],
            "CSP_PATIENCE_SECONDS": "2",
        }

    def admit(self, identity):
        """Make an identity an application user of Dataverse, as an administrator does once."""
        with wiring.opened(self.settings(CSP_MANAGED_IDENTITY_CLIENT_ID="")) as worker:
            http = worker.dataverse.http
            unit = http.request("GET", "/api/data/v9.2/businessunits").json()["value"][0]
            role = http.request(
                "GET", "/api/data/v9.2/roles?$filter=name eq 'System Administrator'"
            ).json()["value"][0]
            made = http.request(
                "POST",
                "/api/data/v9.2/systemusers",
                json={
                    "applicationid": identity.client_id,
                    "businessunitid@odata.bind": f"/businessunits({unit['businessunitid']})",
                },
                headers={"Prefer": "return=representation"},
            ).json()
            http.request(
                "POST",
                f"/api/data/v9.2/systemusers({made['systemuserid']})"
                "/systemuserroles_association/$ref",
                json={
                    "@odata.id": f"{http.base_url}/api/data/v9.2/roles({role['roleid']})",
                },
            )
        return made["systemuserid"]

    def settings(self, **changes):
        federated = {"CSP_FEDERATED": "", "CSP_CLIENT_SECRET": self.secret}
        changes = (federated if "CSP_MANAGED_IDENTITY_CLIENT_ID" in changes else {}) | changes
        return Settings.from_env(self.variables | changes)


@pytest.fixture
def cloud(monkeypatch):
    with ExitStack() as stack:
        emulator = stack.enter_context(closing(Emulator(scenario="small")))
        running = stack.enter_context(serve(emulator, tls=True))
        yield Cloud(emulator, running, monkeypatch)


def test_no_setting_holds_a_secret_and_every_system_is_reached(cloud, tmp_path):
    user_id = cloud.admit(cloud.identity)
    asked = command("check-config", "--json", state=tmp_path, **cloud.variables)

    assert asked.code == 0, asked.err
    assert cloud.secret not in asked.out
    with wiring.opened(cloud.settings()) as worker:
        assert worker.dataverse.who_am_i()["UserId"] == user_id
        assert worker.ports.token_saved_at() is not None
        for check in worker.checks.values():
            check()
    kept = cloud.emulator.vault.versions(TOKEN_SECRET)
    assert all(one.value not in asked.out for one in kept)
    forms = [one for one in cloud.emulator.control.requests() if one["path"].endswith("/token")]
    assert {one["status"] for one in forms} == {200}


def test_a_vault_that_is_down_leaves_the_age_of_the_token_unknown(cloud, caplog):
    with wiring.opened(cloud.settings()) as worker:
        assert worker.ports.token_saved_at() is None  # nobody has signed in with it yet
        next(iter(worker.registration.events()))
        assert worker.ports.token_saved_at() is not None
        cloud.emulator.control.change(vault_permissions=[])
        assert worker.ports.token_saved_at() is None
    assert "the age of the refresh token is not known" in caplog.text


def test_an_identity_that_the_registration_does_not_trust_is_told_what_to_enter(cloud):
    cloud.emulator.principals.trusts.clear()
    with wiring.opened(cloud.settings()) as worker, pytest.raises(NotAuthorised) as refused:
        worker.checks["Microsoft Graph"]()
    assert refused.value.code == "AADSTS700211"
    assert "federated credential" in refused.value.hint


def test_an_identity_that_is_no_user_of_dataverse_is_refused_there_alone(cloud):
    with wiring.opened(cloud.settings()) as worker:
        worker.checks["Microsoft Graph"]()
        with pytest.raises(NotAuthorised):
            worker.checks["Dataverse"]()


def test_the_secret_of_the_app_is_read_from_the_vault_by_its_name(cloud):
    cloud.emulator.vault.put("app-secret", cloud.secret)
    variables = {**cloud.variables, "CSP_FEDERATED": "", "CSP_CLIENT_SECRET_NAME": "app-secret"}
    cloud.emulator.control.clear_log()
    with wiring.opened(Settings.from_env(variables)) as worker:
        assert not [one for one in cloud.emulator.control.requests() if one["system"] == "vault"]
        assert cloud.secret not in repr(worker.settings)
        worker.checks["Microsoft Graph"]()
    assert [one for one in cloud.emulator.control.requests() if one["system"] == "vault"]


def test_other_secrets_are_named_in_the_same_way(cloud):
    cloud.emulator.vault.put("hook", "function-key-0001")
    cloud.emulator.vault.put("engine", "engine-key-0001")
    settings = cloud.settings(CSP_WEBHOOK_KEY_NAME="hook", CSP_TAX_ENGINE_KEY_NAME="engine")
    with wiring.opened(settings) as worker:
        assert worker.settings.webhook_key.reveal() == "function-key-0001"
        assert worker.settings.tax_engine_key.reveal() == "engine-key-0001"
        assert "0001" not in f"{worker.settings!r}"


def test_dataverse_is_reached_by_the_identity_in_mode_emulator_too(cloud, tmp_path):
    user_id = cloud.admit(cloud.identity)
    variables = {
        "CSP_MODE": "emulator",
        "CSP_EMULATOR_URL": cloud.emulator.base_urls["control"],
        "CSP_STATE_DIR": str(tmp_path),
        "CSP_MANAGED_IDENTITY_CLIENT_ID": cloud.identity.client_id,
    }
    with wiring.opened(Settings.from_env(variables)) as worker:
        assert worker.dataverse.who_am_i()["UserId"] == user_id


@contextmanager
def our_api(worker, monkeypatch):
    """The HTTP functions on loopback, as the stand-in of the host serves them."""
    monkeypatch.setattr(wiring, "worker", lambda: worker)
    found = tuple(
        Function(
            name=name,
            trigger=one.get_trigger().get_dict_repr(),
            bindings=tuple(binding.get_dict_repr() for binding in one.get_bindings()),
            call=one.get_user_function(),
        )
        for name, one in functions().items()
    )
    invoker = Invoker(ROOT, threads=2)
    with Host(App(functions=found, settings={}), invoker, timers=False, queues=False) as host:
        yield host.url


def test_microsofts_library_signs_a_flow_in_and_our_api_knows_it_and_its_roles(cloud, monkeypatch):
    """MSAL gets the token over TLS; over HTTP it is judged by the keys that Entra publishes."""
    api = cloud.emulator.principals.register(name="billing")
    flow = cloud.emulator.principals.add(
        kind="application", name="flow", roles=["Runs.Read", "Runs.Start"]
    )
    session = requests.Session()
    session.verify = cloud.ca_bundle
    app = msal.ConfidentialClientApplication(
        flow.client_id,
        authority=f"{cloud.emulator.base_urls['login']}/{cloud.variables['CSP_TENANT_ID']}",
        client_credential=flow.client_secret,
        http_client=session,
        instance_discovery=False,
    )
    token = app.acquire_token_for_client([f"{api.names[1]}/.default"])["access_token"]
    settings = cloud.settings(CSP_HTTP_DOOR="entra", CSP_HTTP_AUDIENCE=api.names[1])
    # The table of runs need not be there for the door to let somebody in.
    with wiring.opened(settings) as worker, our_api(worker, monkeypatch) as url:
        bearer = worker.bearers().read(f"Bearer {token}")
        known = requests.post(
            f"{url}/api/runs",
            json={"kind": "sync"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        nobody = requests.post(f"{url}/api/runs", json={"kind": "sync"}, timeout=30)
        too_much = requests.post(
            f"{url}/api/approvals",
            json={"period": "2026-10"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        message = worker.ports.queue.receive("start")
    assert bearer.object_id == flow.object_id
    assert bearer.roles == {"Runs.Read", "Runs.Start"}
    assert (known.status_code, nobody.status_code, too_much.status_code) == (202, 401, 403)
    assert nobody.headers["WWW-Authenticate"] == "Bearer"
    assert f"application {flow.client_id}" in message.body
