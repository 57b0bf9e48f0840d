"""Connect what Azure's templates cannot reach: trust of the app registration, the user in Dataverse.

    python3 infra/scripts/connect.py

Standard library and the Azure CLI (`az login` first), so that azd can run it on any machine. What is
there already is left alone: run it as often as you like. Values come from the environment, as azd sets
them, or from options. Who runs it owns the app registration and is System Administrator in Dataverse.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXCHANGE = "api://AzureADTokenExchange"
"""Audience of tokens that one identity shows on behalf of an app registration."""
ROLE = "CSP Billing worker"
"""Security role that the provisioner makes for the worker (dataverse/provision/roles.py)."""
NEEDED = {
    "tenant": ("AZURE_TENANT_ID", "tenant of the partner"),
    "client": ("CSP_CLIENT_ID", "client id of the app registration for Partner Center"),
    "dataverse": ("CSP_DATAVERSE_URL", "address of the Dataverse environment"),
    "identity": ("WORKER_IDENTITY_CLIENT_ID", "client id of the worker's identity"),
    "principal": ("WORKER_IDENTITY_PRINCIPAL_ID", "object id of the worker's identity"),
}


class StepError(Exception):
    """A step cannot be done; the sentence says what to do."""


def main(arguments: list[str]) -> int:
    """Connect; returns 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(description="Connect the deployed worker; does nothing twice.")
    for name, (variable, meaning) in NEEDED.items():
        parser.add_argument(
            f"--{name}", default=os.environ.get(variable), help=f"{meaning} (${variable})"
        )
    options = parser.parse_args(arguments)
    missing = [variable for name, (variable, _) in NEEDED.items() if not getattr(options, name)]
    if missing:
        parser.exit(1, f"connect: set {', '.join(missing)} (outputs of the deployment)\n")
    try:
        trust(options.tenant, options.client, options.principal)
        user_in_dataverse(options.dataverse.rstrip("/"), options.identity)
    except StepError as problem:
        print(f"connect: {problem}", file=sys.stderr)
        return 1
    return 0


def trust(tenant: str, client: str, principal: str) -> None:
    """Let the identity sign in as the app registration, so that no client secret is needed."""
    issuer = f"https://login.microsoftonline.com/{tenant}/v2.0"
    of_app = ["ad", "app", "federated-credential"]
    known = az([*of_app, "list", "--id", client])
    if any((one["issuer"], one["subject"]) == (issuer, principal) for one in known):
        print("trust: the app registration trusts the worker's identity already")
        return
    wanted = {
        "name": f"worker-{principal}",
        "issuer": issuer,
        "subject": principal,
        "audiences": [EXCHANGE],
    }
    given("--parameters", wanted, lambda more: az([*of_app, "create", "--id", client, *more]))
    print("trust: the app registration trusts the worker's identity from now on")


def user_in_dataverse(url: str, identity: str) -> None:
    """Make the identity an application user with the worker's role."""
    root = rows(url, "businessunits", "_parentbusinessunitid_value eq null", "businessunitid")
    if not root:
        raise StepError(f"{url} shows no business unit: sign in as its System Administrator")
    unit = root[0]["businessunitid"]
    asked = ("systemusers", f"applicationid eq {identity}", "systemuserid")
    users = rows(url, *asked)
    if not users:
        body = {"applicationid": identity, "businessunitid@odata.bind": f"/businessunits({unit})"}
        place = f"{url}/api/data/v9.2/systemusers"
        given("--body", body, lambda more: rest("post", place, url, more))
        users = rows(url, *asked)
        print("dataverse: made the worker's application user")
    if not users:
        raise StepError(
            "Dataverse made no application user; add it in the Power Platform admin center"
        )
    user = users[0]["systemuserid"]
    roles = rows(url, "roles", f"name eq '{ROLE}' and _businessunitid_value eq {unit}", "roleid")
    if not roles:
        raise StepError(
            f"Dataverse has no role {ROLE} yet: import the solution or run `python -m app provision "
            "--apply`, then run this again"
        )
    held = rows(url, f"systemusers({user})/systemuserroles_association", "", "roleid,name")
    if any(one["roleid"] == roles[0]["roleid"] for one in held):
        print(f"dataverse: the worker's application user has the role {ROLE} already")
        return
    link = f"{url}/api/data/v9.2/systemusers({user})/systemuserroles_association/$ref"
    role = f"{url}/api/data/v9.2/roles({roles[0]['roleid']})"
    given("--body", {"@odata.id": role}, lambda more: rest("post", link, url, more))
    print(f"dataverse: gave the worker's application user the role {ROLE}")


def rows(url: str, table: str, where: str, columns: str) -> list[dict[str, Any]]:
    """Read rows of Dataverse as who is signed in."""
    asked = [f"$select={columns}", *([f"$filter={where}"] if where else [])]
    answer = rest("get", f"{url}/api/data/v9.2/{table}", url, ["--url-parameters", *asked])
    found: list[dict[str, Any]] = answer["value"]
    return found


def rest(method: str, address: str, resource: str, more: list[str]) -> Any:
    """Call Dataverse with the token of who is signed in to the CLI."""
    return az(["rest", "--method", method, "--url", address, "--resource", resource, *more])


def given(option: str, content: dict[str, Any], then: Callable[[list[str]], Any]) -> Any:
    """Hand JSON to the CLI in a file: on Windows its quotes would not come through."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "body.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return then([option, f"@{path}"])


def az(arguments: list[str]) -> Any:
    """Run the Azure CLI; returns its JSON."""
    program = shutil.which("az")
    if program is None:
        raise StepError("the Azure CLI (az) is not installed")
    done = subprocess.run(
        [program, *arguments, "--output", "json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        why = next(iter(done.stderr.strip().splitlines()), "no reason given")
        raise StepError(f"az {' '.join(arguments[:4])}: {why[:300]}")
    return json.loads(done.stdout) if done.stdout.strip() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
