"""Write types.json: which properties each resource of the templates may have, by Microsoft's own SDKs.

The management libraries for Python say, for one API version, what every property is called on the
wire, of what kind it is, whether it is required or read-only, and which values are known. Run it in an
environment that has the libraries of requirements-types.txt (they are large and needed here alone):

    python infra/checks/make_types.py

Limits. Where no library speaks the version that the templates use, the nearest one is read and
`exact` is false. What a library leaves out the service may still take. Expressions are not typed.
"""

from __future__ import annotations

import importlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("types.json")

# Library (with its sub-package), the version it speaks where the name does not say it, the model; after
# a plus the model of what is read, where that is another one.
SOURCES = {
    "Microsoft.Authorization/roleAssignments@2022-04-01": "authorization.v2022_04_01 RoleAssignmentCreateParameters",
    "Microsoft.Consumption/budgets@2023-11-01": "consumption 2021-10-01 Budget",
    "Microsoft.Insights/actionGroups@2023-01-01": "monitor.v2023_01_01 ActionGroupResource",
    "Microsoft.Insights/components@2020-02-02": "applicationinsights.v2020_02_02 ApplicationInsightsComponent",
    "Microsoft.Insights/diagnosticSettings@2021-05-01-preview": "monitor.v2021_05_01_preview DiagnosticSettingsResource",
    "Microsoft.Insights/scheduledQueryRules@2023-12-01": "monitor.v2022_08_01_preview ScheduledQueryRuleResource",
    "Microsoft.Insights/workbooks@2023-06-01": "applicationinsights.v2023_06_01 Workbook",
    "Microsoft.KeyVault/vaults@2024-11-01": "keyvault 2024-11-01 VaultCreateOrUpdateParameters+Vault",
    "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30": "msi.v2024_11_30 Identity",
    "Microsoft.Network/privateDnsZones@2024-06-01": "privatedns 2024-06-01 PrivateZone",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01": "privatedns 2024-06-01 VirtualNetworkLink",
    "Microsoft.Network/privateEndpoints@2024-07-01": "network 2024-07-01 PrivateEndpoint",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01": "network 2024-07-01 PrivateDnsZoneGroup",
    "Microsoft.Network/virtualNetworks@2024-07-01": "network 2024-07-01 VirtualNetwork",
    "Microsoft.Network/virtualNetworks/subnets@2024-07-01": "network 2024-07-01 Subnet",
    "Microsoft.OperationalInsights/workspaces@2025-02-01": "loganalytics 2025-07-01 Workspace",
    "Microsoft.Resources/resourceGroups@2024-11-01": "resource.resources.v2024_11_01 ResourceGroup",
    "Microsoft.Storage/storageAccounts@2025-01-01": "storage 2025-01-01 StorageAccountCreateParameters+StorageAccount",
    "Microsoft.Storage/storageAccounts/blobServices@2025-01-01": "storage 2025-01-01 BlobServiceProperties",
    "Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01": "storage 2025-01-01 BlobContainer",
    "Microsoft.Storage/storageAccounts/managementPolicies@2025-01-01": "storage 2025-01-01 ManagementPolicy",
    "Microsoft.Storage/storageAccounts/queueServices@2025-01-01": "storage 2025-01-01 QueueServiceProperties",
    "Microsoft.Storage/storageAccounts/queueServices/queues@2025-01-01": "storage 2025-01-01 StorageQueue",
    "Microsoft.Web/serverfarms@2024-11-01": "web 2024-11-01 AppServicePlan",
    "Microsoft.Web/sites@2024-11-01": "web 2024-11-01 Site",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01": "web 2024-11-01 CsmPublishingCredentialsPoliciesEntity",
    "Microsoft.Web/sites/config@2024-11-01/appsettings": "web 2024-11-01 StringDictionary",
    "Microsoft.Web/sites/config@2024-11-01/authsettingsV2": "web 2024-11-01 SiteAuthSettingsV2",
}

DEEP = 4
"""Of Microsoft.Network's types: deeper ones lead to all of its resources."""
PLAIN = {"str": "string", "int": "int", "bool": "bool", "float": "number", "iso-8601": "string"}


def main() -> None:
    """Read the libraries and write the table."""
    resources: dict[str, Any] = {}
    types: dict[str, Any] = {}
    for name, source in SOURCES.items():
        where, model = source.split()[0], source.split()[-1]
        package = where.split(".")[0]
        spoken = source.split()[1] if source.count(" ") == 2 else where.split(".")[-1][1:]
        spoken = spoken.replace("_", "-")
        models = importlib.import_module(f"azure.mgmt.{where}.models")
        limit = DEEP if package == "network" else 12
        written, _, read = model.partition("+")
        body = shape(getattr(models, written), models, package, types, limit)
        if read:
            add_readable(body, shape(getattr(models, read), models, package, types, limit))
        body.pop("name", None)
        resources[name] = {
            "from": f"azure-mgmt-{package} {version(f'azure-mgmt-{package}')}: {model}",
            "exact": spoken == name.partition("@")[2].split("/")[0],
            "properties": body,
        }
    parts = [f' "made_by": "infra/checks/{Path(__file__).name}"']
    for title, content in (("resources", resources), ("types", types)):
        lines = [f"  {json.dumps(name)}: {json.dumps(content[name])}" for name in sorted(content)]
        parts.append(f' "{title}": {{\n' + ",\n".join(lines) + "\n }")
    TABLE.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    print(f"{len(resources)} resources, {len(types)} types, {TABLE.stat().st_size} bytes")


def shape(
    model: Any, models: Any, package: str, types: dict[str, Any], depth: int
) -> dict[str, Any]:
    """Return the properties of a model by their names on the wire; dotted names become objects."""
    found: dict[str, Any] = {}
    known = documented(model)
    for attribute, wire in model._attribute_map.items():  # noqa: SLF001 - where it is
        rule = model._validation.get(attribute, {})  # noqa: SLF001 - where it is
        path = [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", wire["key"])]
        here = found
        for part in path[:-1]:
            here = here.setdefault(part, {"type": "object", "properties": {}})["properties"]
        spec = kind(wire["type"], models, package, types, depth)
        if spec["type"] == "string" and known.get(attribute):
            spec["values"] = known[attribute]
        if rule.get("required"):
            spec["required"] = True
        if rule.get("readonly"):
            spec["readonly"] = True
        here[path[-1]] = spec
    return found


def add_readable(body: dict[str, Any], more: dict[str, Any]) -> None:
    """Add what can be read of a resource and not be written."""
    for name, spec in more.items():
        if name not in body:
            body[name] = {**spec, "readonly": True}
        elif "properties" in body[name] and "properties" in spec:
            add_readable(body[name]["properties"], spec["properties"])


def kind(wire: str, models: Any, package: str, types: dict[str, Any], depth: int) -> dict[str, Any]:
    """Return how a type of the library is written in the table."""
    if wire in PLAIN:
        return {"type": PLAIN[wire]}
    if wire.startswith("["):
        return {"type": "array", "of": kind(wire[1:-1], models, package, types, depth)}
    if wire.startswith("{"):
        return {"type": "map", "of": kind(wire[1:-1], models, package, types, depth)}
    model = getattr(models, wire, None)
    if model is None or not hasattr(model, "_attribute_map") or depth == 0:
        return {"type": "any"}
    name = f"{package}.{wire}"
    if name not in types:
        types[name] = {}  # first, because some types hold themselves
        types[name].update(shape(model, models, package, types, depth - 1))
    return {"type": "ref", "ref": name}


def documented(model: Any) -> dict[str, list[str]]:
    """Return the known values of properties, from what the library says of each."""
    found = {}
    for part in re.split(r"\n\s*:ivar ", model.__doc__ or "")[1:]:
        name, _, text = part.partition(":")
        words = " ".join(text.split(":vartype")[0].split())
        _, told, values = words.partition("Known values are:")
        if told:
            found[name.strip()] = re.findall(r'"([^"]*)"', values.split(". ")[0])
    return found


if __name__ == "__main__":
    main()
