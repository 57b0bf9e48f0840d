"""The scripts around a deployment, run against a stand-in of the Azure CLI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dataverse.provision.roles import WORKER
from tests.infra.conftest import INFRA

AZ = """#!{python}
import json, pathlib, sys
state = pathlib.Path({state!r})
world = json.loads(state.read_text())
args = sys.argv[1:]
option = lambda name: args[args.index(name) + 1]
content = lambda name: json.loads(pathlib.Path(option(name)[1:]).read_text())
world["calls"].append(args)
answer = None
if args[:3] == ["ad", "app", "federated-credential"]:
    if args[3] == "list":
        answer = world["credentials"]
    else:
        world["credentials"].append(content("--parameters"))
elif args[0] == "rest":
    path = option("--url").split("/api/data/v9.2/")[1]
    if world.get("refuses"):
        sys.exit(world["refuses"])
    if option("--method") == "get":
        answer = {{"value": world["rows"].get(path, [])}}
    elif path == "systemusers":
        world["rows"]["systemusers"] = [{{"systemuserid": "u1", **content("--body")}}]
    else:
        role = content("--body")["@odata.id"]
        held = world["rows"].setdefault("systemusers(u1)/systemuserroles_association", [])
        held.append({{"roleid": role.split("(")[1].rstrip(")")}})
elif args[:3] == ["functionapp", "config", "appsettings"]:
    print(world["door"]); state.write_text(json.dumps(world)); sys.exit()
elif args[:3] == ["functionapp", "keys", "list"]:
    print("the-key"); state.write_text(json.dumps(world)); sys.exit()
state.write_text(json.dumps(world))
print(json.dumps(answer) if answer is not None else "")
"""
VALUES = {
    "AZURE_TENANT_ID": "11111111-1111-1111-1111-111111111111",
    "CSP_CLIENT_ID": "22222222-2222-2222-2222-222222222222",
    "CSP_DATAVERSE_URL": "https://contoso.crm4.dynamics.com/",
    "WORKER_IDENTITY_CLIENT_ID": "33333333-3333-3333-3333-333333333333",
    "WORKER_IDENTITY_PRINCIPAL_ID": "44444444-4444-4444-4444-444444444444",
}
ROLE = "55555555-5555-5555-5555-555555555555"


class Cli:
    """What the stand-in knows, kept in a file between its calls."""

    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "world.json"
        self.set(
            calls=[],
            credentials=[],
            door="key",
            rows={"businessunits": [{"businessunitid": "b1"}], "roles": [{"roleid": ROLE}]},
        )
        program = folder / "az"
        program.write_text(AZ.format(python=sys.executable, state=str(self.state)))
        program.chmod(0o755)

    @property
    def world(self):
        return json.loads(self.state.read_text())

    def set(self, **changes):
        known = self.world if self.state.exists() else {}
        self.state.write_text(json.dumps({**known, **changes}))

    def changes(self):
        return [one for one in self.world["calls"] if "create" in one or "post" in one]

    def run(self, *command, **environment):
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def connect(self, **environment):
        script = str(INFRA / "scripts/connect.py")
        return self.run(sys.executable, script, **{**VALUES, **environment})


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


# --- trust, and the user in Dataverse --------------------------------------------------------------


def test_connecting_makes_trust_user_and_role(cli):
    done = cli.connect()
    assert (done.returncode, done.stderr) == (0, "")
    (credential,) = cli.world["credentials"]
    assert (
        credential["issuer"]
        == f"https://login.microsoftonline.com/{VALUES['AZURE_TENANT_ID']}/v2.0"
    )
    assert credential["subject"] == VALUES["WORKER_IDENTITY_PRINCIPAL_ID"]
    assert credential["audiences"] == ["api://AzureADTokenExchange"]
    (user,) = cli.world["rows"]["systemusers"]
    assert user["applicationid"] == VALUES["WORKER_IDENTITY_CLIENT_ID"]
    assert user["businessunitid@odata.bind"] == "/businessunits(b1)"
    assert cli.world["rows"]["systemusers(u1)/systemuserroles_association"] == [{"roleid": ROLE}]


def test_rows_are_asked_for_by_what_they_are(cli):
    cli.connect()
    asked = [one[one.index("--url-parameters") + 1 :] for one in cli.world["calls"] if "get" in one]
    assert [
        "$select=roleid",
        f"$filter=name eq '{WORKER.name}' and _businessunitid_value eq b1",
    ] in [one[:2] for one in asked]
    identity = VALUES["WORKER_IDENTITY_CLIENT_ID"]
    assert f"$filter=applicationid eq {identity}" in [one[1] for one in asked]


def test_connecting_twice_changes_nothing(cli):
    cli.connect()
    before = cli.changes()
    done = cli.connect()
    assert done.returncode == 0
    assert cli.changes() == before
    assert done.stdout.count("already") == 2


def test_the_role_is_the_one_that_the_provisioner_makes():
    from infra.scripts import connect

    assert WORKER.name == connect.ROLE


def test_a_role_that_is_not_there_yet_is_told_with_what_to_do(cli):
    cli.set(rows={"businessunits": [{"businessunitid": "b1"}]})
    done = cli.connect()
    assert done.returncode == 1
    assert "has no role CSP Billing worker yet" in done.stderr
    assert "provision" in done.stderr


def test_who_may_not_is_told_what_the_cli_said(cli):
    cli.set(refuses="Forbidden: the user has not been assigned any license")
    done = cli.connect()
    assert done.returncode == 1
    assert "Forbidden: the user has not been" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_value_is_named(cli):
    done = cli.connect(WORKER_IDENTITY_CLIENT_ID="")
    assert done.returncode == 1
    assert "set WORKER_IDENTITY_CLIENT_ID" in done.stderr
    assert cli.changes() == []


def test_without_the_cli_it_says_so(cli):
    (cli.folder / "az").unlink()
    done = cli.connect(PATH=str(cli.folder))
    assert (done.returncode, done.stderr) == (1, "connect: the Azure CLI (az) is not installed\n")


# --- the smoke test --------------------------------------------------------------------------------


class App:
    """A worker that answers `alive` after some tries, and `ready` to who has the key."""

    def __init__(self, *, asleep=0, ready=200):
        self.seen = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append(
                    (
                        self.path,
                        self.headers.get("x-functions-key"),
                        self.headers.get("Authorization"),
                    )
                )
                status = ready if self.path == "/api/ready" else 200 if len(seen) > asleep else 503
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b'{"status": "told"}')

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("sh") is None, reason="needs sh and curl"
)
class TestSmoke:
    def smoke(self, cli, app, **environment):
        script = str(INFRA / "scripts/smoke.sh")
        return cli.run("sh", script, "group", "app", app.url, SMOKE_PAUSE="0", **environment)

    def test_an_app_that_starts_late_and_is_ready(self, cli):
        with App(asleep=2) as app:
            done = self.smoke(cli, app)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["alive", '{"status": "told"}', "ready"]
        assert [one[0] for one in app.seen] == ["/api/alive"] * 3 + ["/api/ready"]
        assert app.seen[-1][1] == "the-key"
        assert "the-key" not in done.stdout + done.stderr

    def test_an_app_that_never_answers(self, cli):
        with App(asleep=99) as app:
            done = self.smoke(cli, app, SMOKE_TRIES="3")
        assert done.returncode == 1
        assert "does not answer 200" in done.stderr

    def test_an_app_whose_dependency_is_gone(self, cli):
        with App(ready=503) as app:
            done = self.smoke(cli, app)
        assert done.returncode == 1
        assert "answers 503: the app runs, but a dependency does not answer" in done.stderr

    def test_behind_the_door_entra_a_token_is_shown_instead(self, cli):
        cli.set(door="entra")
        with App() as app:
            done = self.smoke(cli, app, TOKEN="a-token")
        assert done.returncode == 0
        assert app.seen[-1] == ("/api/ready", None, "Bearer a-token")

    def test_behind_the_door_entra_without_a_token_it_says_what_was_not_asked(self, cli):
        cli.set(door="entra")
        with App() as app:
            done = self.smoke(cli, app)
        assert done.returncode == 0
        assert "not asked whether it is ready" in done.stdout
        assert [one[0] for one in app.seen] == ["/api/alive"]
