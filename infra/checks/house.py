"""What the templates must keep beside the language: our queues, our settings, no keys, least rights.

The compiler knows none of this. `Wanted` is what the product says of itself: its kinds of messages,
the settings it reads, what the host needs. A template that says something else is at fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tree_sitter import Node

from infra.checks.bicep import (
    Fault,
    File,
    properties,
    references,
    said,
    text_of,
    walk,
)
from infra.checks.expressions import kind_of
from infra.checks.values import UNKNOWN, compute

HARDENED: Mapping[str, Mapping[str, Any]] = {
    "Microsoft.Storage/storageAccounts": {
        "properties.allowSharedKeyAccess": False,
        "properties.allowBlobPublicAccess": False,
        "properties.allowCrossTenantReplication": False,
        "properties.defaultToOAuthAuthentication": True,
        "properties.minimumTlsVersion": "TLS1_2",
        "properties.supportsHttpsTrafficOnly": True,
    },
    "Microsoft.Storage/storageAccounts/blobServices/containers": {
        "properties.publicAccess": "None"
    },
    "Microsoft.KeyVault/vaults": {
        "properties.enableRbacAuthorization": True,
        "properties.enablePurgeProtection": True,
        "properties.enableSoftDelete": True,
        "properties.softDeleteRetentionInDays": 90,
    },
    "Microsoft.Insights/components": {"properties.DisableLocalAuth": True},
    "Microsoft.Insights/actionGroups": {"properties.enabled": True},
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": {
        "properties.registrationEnabled": False
    },
    "Microsoft.Web/serverfarms": {"sku.name": "FC1", "properties.reserved": True},
    "Microsoft.Web/sites": {
        "properties.httpsOnly": True,
        "properties.publicNetworkAccess": "Enabled",
        "properties.siteConfig.ftpsState": "Disabled",
        "properties.siteConfig.minTlsVersion": "1.2",
    },
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"properties.allow": False},
}
"""What each resource of a type must say, and not leave to a default that changes with versions."""

ROLES: Mapping[str, str] = {
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Queue Data Reader": "19e7f393-937e-4f77-808e-94535e297925",
    "Storage Queue Data Message Processor": "8a0f0c08-91a1-4084-bc3d-661d67233fed",
    "Storage Queue Data Message Sender": "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
}
"""Azure's own roles by name, as published."""

GRANTS: Mapping[str, frozenset[str]] = {
    "hostAccount": frozenset({"Storage Blob Data Owner", "Storage Table Data Contributor"}),
    "workAccount": frozenset({"Storage Queue Data Contributor"}),
    "workAccount::blobs::archived": frozenset({"Storage Blob Data Contributor"}),
    "workAccount::queueService::start": frozenset({"Storage Queue Data Message Sender"}),
    "vault": frozenset({"Key Vault Secrets Officer"}),
    "component": frozenset({"Monitoring Metrics Publisher"}),
}
"""Which rights there are on what, in the names of roles.bicep: no more, and no fewer."""

STARTS_AFTER = frozenset({"roles", "endpoints"})
"""Modules that must be there when the app first starts, and of which it reads nothing."""

FORBIDDEN = frozenset(
    "FUNCTIONS_WORKER_RUNTIME FUNCTIONS_WORKER_RUNTIME_VERSION FUNCTIONS_WORKER_PROCESS_COUNT "
    "FUNCTIONS_EXTENSION_VERSION SCM_DO_BUILD_DURING_DEPLOYMENT ENABLE_ORYX_BUILD "
    "WEBSITE_CONTENTSHARE WEBSITE_CONTENTAZUREFILECONNECTIONSTRING WEBSITE_RUN_FROM_PACKAGE "
    "WEBSITE_SKIP_CONTENTSHARE_VALIDATION WEBSITE_VNET_ROUTE_ALL WEBSITE_TIME_ZONE TZ "
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY AzureWebJobsStorage WORKER_QUEUE AzureWebJobsDashboard APPINSIGHTS_INSTRUMENTATIONKEY".split()
)
"""Not for Flex Consumption, a key where an identity is meant, or a second exporter of telemetry."""

_KEYS = re.compile(
    r"\b(listKeys|listSecrets|listAccountSas|listServiceSas|listCallbackUrl|newGuid)\b"
)
_SECRETS = re.compile(
    r"AccountKey=|SharedAccess(Key|Signature)|InstrumentationKey=|[?&]sig=|-----BEGIN|client_secret"
)
_NAMED_SECRET = re.compile(
    r"(secret|password|passphrase|credential|connectionstring)$", re.IGNORECASE
)
_HEADER = re.compile(r"^// (\w+): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the product says of itself."""

    kinds: tuple[str, ...]
    """Of messages: a queue each, and one for what was given up."""
    read: frozenset[str]
    """Every setting that something reads: the product, its schedules, the host."""
    optional: frozenset[str]
    """Those of them that may be left out, with a reason in infra/settings.md."""
    threads: int
    """How many messages the host gives one instance at once."""
    alerts: Mapping[str, str]
    """Text of each question by the name of its file."""


def check(files: Mapping[str, File], wanted: Wanted) -> Iterator[Fault]:
    """Yield every rule of the house that a template breaks."""
    for file in files.values():
        yield from _hardened(file)
        yield from _no_secrets(file)
        yield from _clockless(file)
    yield from _modules_in_use(files)
    yield from _queues(files, wanted)
    yield from _settings(files, wanted)
    yield from _order(files["main.bicep"])
    yield from _roles(files["modules/roles.bicep"])
    yield from _alerts(files["modules/alerts.bicep"], wanted)


# --- hardening and secrets -------------------------------------------------------------------------


def _hardened(file: File) -> Iterator[Fault]:
    for one in file.every_resource():
        if one.existing:
            continue
        for path, value in HARDENED.get(one.type.partition("@")[0], {}).items():
            found = _at(one.body, path.split("."))
            if found is None:
                yield file.fault(one.node, f"{one.type} does not say {path}: {_said(value)}")
            elif compute(found, file.variables) != value:
                yield file.fault(found, f"{one.type}: {path} is to be {_said(value)}")


def _at(node: Node, path: list[str]) -> Node | None:
    for part in path:
        given = properties(node)
        if part not in given:
            return None
        node = given[part][1]
    return node


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _no_secrets(file: File) -> Iterator[Fault]:
    for node in walk(file.root):
        if node.type in {"identifier", "property_identifier"} and _KEYS.search(said(node)):
            yield file.fault(
                node, f"{said(node)}: no key and nothing random belongs into a template"
            )
        if node.type == "string_content" and _SECRETS.search(said(node)):
            yield file.fault(node, "this looks like a key or a signature")
    secret = set()
    for name, one in file.parameters.items():
        if "secure" in one.decorators:
            secret.add(name)
        elif _NAMED_SECRET.search(name):
            yield file.fault(one.node, f"parameter {name} sounds secret and is not @secure()")
    for name, node in file.outputs.items():
        for read, place in references(node):
            if read in secret:
                yield file.fault(place, f"output {name} shows the secret {read}")
        if "ConnectionString" in said(node):
            yield file.fault(node, f"output {name} shows a connection string")


def _clockless(file: File) -> Iterator[Fault]:
    for node in walk(file.root):
        if node.type == "call_expression" and said(node.named_children[0]) == "utcNow":
            yield file.fault(node, "utcNow makes a second deployment differ from the first")


def _modules_in_use(files: Mapping[str, File]) -> Iterator[Fault]:
    named = {module.type for file in files.values() for module in file.modules.values()}
    for name, file in files.items():
        if name.startswith("modules/") and not any(name.endswith(one) for one in named):
            yield file.fault(file.root, "no template uses this module")


# --- queues ----------------------------------------------------------------------------------------


def _queues(files: Mapping[str, File], wanted: Wanted) -> Iterator[Fault]:
    main = files["main.bicep"]
    made: set[str] = set()
    for module in main.modules.values():
        given = _at(module.body, ["params", "queues"])
        if given is not None:
            names = compute(given, main.variables)
            made.update(names if names is not UNKNOWN else ())
    needed = {*wanted.kinds, *(f"{kind}-poison" for kind in wanted.kinds)}
    for name in sorted(needed - made):
        yield main.fault(main.root, f"there is no queue {name}")
    for name in sorted(made - needed):
        yield main.fault(main.root, f"nobody uses the queue {name}")


# --- settings --------------------------------------------------------------------------------------


def settings(files: Mapping[str, File]) -> dict[str, Node]:
    """Return the app settings that the templates make, each with its value."""
    app = files["modules/function-app.bicep"]
    found: dict[str, Node] = {}
    for one in app.every_resource():
        named = _at(one.body, ["name"])
        if one.type.startswith("Microsoft.Web/sites/config@") and text_of(named) == "appsettings":
            inside = _at(one.body, ["properties"])
            found.update(_keys(inside, app) if inside is not None else {})
    main = files["main.bicep"]
    given = _at(main.modules["worker"].body, ["params", "settings"])
    return {**found, **(_keys(given, main) if given is not None else {})}


def _keys(node: Node, file: File) -> dict[str, Node]:
    """Return what an object may hold, in all branches of a condition."""
    if node.type == "object":
        return {name: value for name, (_, value) in properties(node).items()}
    if node.type == "identifier":
        return _keys(file.variables[said(node)], file) if said(node) in file.variables else {}
    if node.type == "ternary_expression":
        parts = node.named_children[1:]
    elif node.type == "call_expression" and said(node.named_children[0]) == "union":
        parts = node.named_children[1].named_children
    else:
        return {}
    return {name: value for part in parts for name, value in _keys(part, file).items()}


def _settings(files: Mapping[str, File], wanted: Wanted) -> Iterator[Fault]:
    main = files["main.bicep"]
    made = settings(files)
    for name in sorted(wanted.read - made.keys() - wanted.optional):
        yield main.fault(
            main.root, f"the setting {name} is not set, and infra/settings.md has no reason"
        )
    for name in sorted(made.keys() - wanted.read):
        yield main.fault(made[name], f"nothing reads the setting {name}")
    for name in sorted(made.keys() & FORBIDDEN):
        yield main.fault(
            made[name],
            f"the setting {name} is not for this app: Flex Consumption forbids it, or it holds a key",
        )
    for name, value in made.items():
        # Names of parameters in both files are of one kind, so either file tells it.
        kinds = {kind_of(value, files[one]) for one in ("main.bicep", "modules/function-app.bicep")}
        if kinds - {"string", ""}:
            yield main.fault(value, f"the setting {name} is no string, and Azure takes no other")
    threads = made.get("PYTHON_THREADPOOL_THREAD_COUNT")
    if threads is not None and int(text_of(threads) or 0) < wanted.threads:
        yield main.fault(
            threads, f"the host gives {wanted.threads} messages at once to fewer threads"
        )
    for file in files.values():
        for node in walk(file.root):
            if node.type == "object_property" and said(node.named_children[0]) == "linuxFxVersion":
                yield file.fault(node, "linuxFxVersion is not for Flex Consumption")


# --- order -----------------------------------------------------------------------------------------


def _order(main: File) -> Iterator[Fault]:
    worker = main.modules["worker"]
    after = _at(worker.body, ["dependsOn"])
    said_of = {said(one) for one in after.named_children} if after is not None else set()
    for name in sorted(STARTS_AFTER - said_of):
        yield main.fault(worker.node, f"the app starts before {name}: it is not let in by then")


# --- roles -----------------------------------------------------------------------------------------


def _roles(file: File) -> Iterator[Fault]:
    table = {name: value for name, (_, value) in properties(file.variables["roles"]).items()}
    for name, value in table.items():
        if ROLES.get(name) != text_of(value):
            yield file.fault(value, f"{text_of(value)} is not the role {name}")
    used = set()
    for node in walk(file.root):
        if node.type == "subscript_expression" and said(node.named_children[0]) == "roles":
            used |= _named_roles(file, node, node.named_children[1])
    for name in sorted(used - table.keys()):
        yield file.fault(file.root, f"there is no role {name} in the table")
    for name in sorted(table.keys() - used):
        yield file.fault(table[name], f"nobody is given the role {name}")
    granted: dict[str, set[str]] = {}
    for one in file.every_resource():
        if not one.type.startswith("Microsoft.Authorization/roleAssignments@"):
            continue
        named, scope = _at(one.body, ["name"]), _at(one.body, ["scope"])
        role = _at(one.body, ["properties", "roleDefinitionId"])
        if named is None or not said(named).startswith("guid("):
            yield file.fault(
                one.node, f"the assignment {one.name} is named by chance, not by guid(...)"
            )
        if scope is None or role is None:
            yield file.fault(
                one.node, f"the assignment {one.name} is for all of the resource group"
            )
            continue
        for node in walk(role):
            if node.type == "subscript_expression" and said(node.named_children[0]) == "roles":
                held = granted.setdefault(said(scope), set())
                held |= _named_roles(file, node, node.named_children[1])
    for scope_name in sorted(GRANTS.keys() | granted.keys()):
        held, wanted = granted.get(scope_name, set()), GRANTS.get(scope_name, frozenset())
        for name in sorted(wanted - held):
            yield file.fault(file.root, f"nobody is {name} on {scope_name}")
        for name in sorted(held - wanted):
            yield file.fault(file.root, f"{name} on {scope_name} is more than is needed")


def _named_roles(file: File, node: Node, index: Node) -> set[str]:
    """Return the roles that an index stands for: one by name, or a list that a loop goes through."""
    if text_of(index) is not None:
        return {str(text_of(index))}
    above: Node | None = node
    while above is not None and above.type != "for_statement":
        above = above.parent
    for name, _ in references(above) if above is not None else ():
        values = compute(file.variables[name], file.variables) if name in file.variables else None
        if isinstance(values, list):
            return set(values)
    return set()


# --- alerts ----------------------------------------------------------------------------------------


def header(text: str) -> dict[str, str]:
    """Read the head of a question: lines of the form `// severity: 1`."""
    return dict(_HEADER.findall(text))


def _alerts(file: File, wanted: Wanted) -> Iterator[Fault]:
    loaded: dict[str, Node] = {}
    for node in walk(file.root):
        if node.type == "object" and "query" in properties(node):
            words = said(properties(node)["query"][1])
            path = re.search(r"loadTextContent\('\.\./alerts/([\w.-]+)'\)", words)
            if path:
                loaded[path.group(1)] = node
    for name in sorted(wanted.alerts.keys() - loaded.keys()):
        yield file.fault(file.root, f"the question {name} is asked by no alert")
    for name in sorted(loaded.keys() & wanted.alerts.keys()):
        told, given = header(wanted.alerts[name]), properties(loaded[name])
        for key in ("title", "severity", "window", "every", "each"):
            value = compute(given[key][1], {}) if key in given else None
            value = ", ".join(value) if isinstance(value, list) else str(value)
            if value != told.get(key, ""):
                yield file.fault(
                    loaded[name], f"{name} says {key} {told.get(key)}, the alert {value}"
                )
