"""Each environment's deployment carried out without Azure: what would be there, under which names."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from app.settings import Settings
from infra.checks import house, language
from infra.checks.deployment import deploy, main, misfits
from infra.checks.values import UNKNOWN, Later
from sync import health
from tests.infra.conftest import INFRA, ROOT
from transport import claims
from transport.queues import KINDS

FILES = language.read_all(INFRA)
ENVIRONMENTS = ("dev", "test", "prod")
GIVEN = {
    "clientId": "22222222-2222-2222-2222-222222222222",
    "dataverseUrl": "https://contoso.crm4.dynamics.com",
}
LEGAL = {
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[\w-]{3,128}",
    "Microsoft.OperationalInsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    "Microsoft.Insights/components": r"[\w.()-]{1,254}\w",
    "Microsoft.Insights/workbooks": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.Storage/storageAccounts/queueServices/queues": r"[a-z0-9](-?[a-z0-9]){2,62}",
    "Microsoft.Storage/storageAccounts/blobServices/containers": r"[a-z0-9](-?[a-z0-9]){2,62}",
    "Microsoft.KeyVault/vaults": r"[A-Za-z](-?[A-Za-z0-9]){2,23}",
    "Microsoft.Web/serverfarms": r"[A-Za-z0-9-]{1,60}",
    "Microsoft.Web/sites": r"[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]",
    "Microsoft.Network/virtualNetworks": r"[A-Za-z0-9][\w.-]{0,62}\w",
    "Microsoft.Network/privateEndpoints": r"[A-Za-z0-9][\w.-]{0,62}\w",
    "Microsoft.Insights/actionGroups": r"[\w.-]{1,260}",
    "Microsoft.Insights/scheduledQueryRules": r"[\w.-]{1,260}",
}
"""Lengths and letters of names, as Azure's page of naming rules has them."""
STORES = ("Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in ("ALERT_EMAILS", "ADMIN_ADDRESSES"):
        monkeypatch.delenv(name, raising=False)


def made(environment, **more):
    return deploy(FILES, f"{environment}.bicepparam", {**GIVEN, **more}).made


def of(resources, kind):
    return [one for one in resources if one.type == kind]


def config(resources, name):
    configs = of(resources, "Microsoft.Web/sites/config")
    (found,) = [one for one in configs if one.name.endswith(f"/{name}")]
    return found.body["properties"]


def unknown(value, where=""):
    if value is UNKNOWN:
        yield where
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from unknown(one, f"{where}.{key}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from unknown(one, f"{where}[{index}]")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
class TestEach:
    def test_every_value_is_known_or_answered_by_azure(self, environment):
        resources = made(environment)
        assert len(resources) > 40
        assert [place for one in resources for place in unknown(dict(one.body), one.name)] == []

    def test_every_value_is_of_the_kind_and_one_of_the_values_that_microsoft_lists(
        self, environment
    ):
        emails = {"alertEmails": ["a@example.com"], "budgetAmount": 9, "budgetStart": "2026-12-01"}
        assert list(misfits(made(environment, **emails))) == []

    def test_names_are_legal_and_there_once(self, environment):
        resources = made(environment, environmentName="contoso-uat1", prefix="contoso")
        for one in resources:
            legal = LEGAL.get(one.type)
            assert legal is None or re.fullmatch(legal, one.name.rpartition("/")[2]), one.name
        assert {one.type for one in resources} & LEGAL.keys() >= LEGAL.keys() - {
            "Microsoft.Network/virtualNetworks",
            "Microsoft.Network/privateEndpoints",
        }
        twice = Counter((one.type, one.name) for one in resources)
        assert [key for key, count in twice.items() if count > 1] == []

    def test_a_second_deployment_changes_nothing(self, environment):
        assert made(environment) == made(environment)

    def test_every_queue_is_in_the_account_that_the_worker_uses(self, environment):
        resources = made(environment)
        queues = of(resources, "Microsoft.Storage/storageAccounts/queueServices/queues")
        assert {one.name.rpartition("/")[2] for one in queues} == {
            *KINDS,
            *(f"{kind}-poison" for kind in KINDS),
        }
        (account,) = {one.name.split("/")[0] for one in queues}
        address = config(resources, "appsettings")["WORKER_QUEUE__queueServiceUri"]
        assert address == f"<{account}.properties.primaryEndpoints.queue>"

    def test_rights_are_given_to_the_object_and_sign_ins_name_the_client(self, environment):
        resources = made(environment)
        (identity,) = of(resources, "Microsoft.ManagedIdentity/userAssignedIdentities")
        assignments = of(resources, "Microsoft.Authorization/roleAssignments")
        assert {one.body["properties"]["principalId"] for one in assignments} == {
            f"<{identity.name}.properties.principalId>"
        }
        assert {one.body["properties"]["principalType"] for one in assignments} == {
            "ServicePrincipal"
        }
        settings = config(resources, "appsettings")
        client = f"<{identity.name}.properties.clientId>"
        names = {name for name in settings if name.endswith(("__clientId", "AZURE_CLIENT_ID"))}
        assert len(names) == 3
        for name in {*names, "CSP_MANAGED_IDENTITY_CLIENT_ID"}:
            assert settings[name] == client, name
        credentials = [value for name, value in settings.items() if name.endswith("__credential")]
        assert credentials == ["managedidentity", "managedidentity"]
        said = settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]
        assert said == f"ClientId={client};Authorization=AAD"

    def test_the_package_is_in_a_container_that_is_there(self, environment):
        resources = made(environment)
        (site,) = of(resources, "Microsoft.Web/sites")
        storage = site.body["properties"]["functionAppConfig"]["deployment"]["storage"]
        account, container = re.fullmatch(
            r"<(\w+)\.properties\.primaryEndpoints\.blob>([\w-]+)", storage["value"]
        ).groups()
        containers = of(resources, "Microsoft.Storage/storageAccounts/blobServices/containers")
        assert f"{account}/default/{container}" in {one.name for one in containers}
        host = config(resources, "appsettings")["AzureWebJobsStorage__blobServiceUri"]
        assert host == f"<{account}.properties.primaryEndpoints.blob>"
        identity = storage["authentication"]["userAssignedIdentityResourceId"]
        assert site.body["properties"]["keyVaultReferenceIdentity"] == identity
        assert list(site.body["identity"]["userAssignedIdentities"]) == [identity]

    def test_the_archive_is_the_container_that_is_there_and_that_life_cycle_and_right_are_for(
        self, environment
    ):
        resources = made(environment)
        settings = config(resources, "appsettings")
        account = settings["CSP_STORAGE_ACCOUNT_URL_BLOB"][1:].split(".")[0]
        container = settings["CSP_ARCHIVE_CONTAINER"]
        containers = of(resources, "Microsoft.Storage/storageAccounts/blobServices/containers")
        assert f"{account}/default/{container}" in {one.name for one in containers}
        assignments = of(resources, "Microsoft.Authorization/roleAssignments")
        assert any(
            one.name.startswith(f"/{containers[0].type}/{account}/default/{container}/")
            for one in assignments
        )
        for one in rules(environment).values():
            for prefix in one["filters"]["prefixMatch"]:
                assert prefix.startswith(f"{container}/")

    def test_the_settings_are_ones_that_the_worker_starts_with(self, environment):
        settings = config(made(environment), "appsettings")
        assert [name for name, value in settings.items() if not isinstance(value, str)] == []
        answered = {
            "vaultUri": "https://kv-x.vault.azure.net/",
            "blob": "https://x.blob.core.windows.net/",
            "queue": "https://x.queue.core.windows.net/",
            "clientId": "33333333-3333-3333-3333-333333333333",
        }
        environ = {
            name: answered[value.rpartition(".")[2].rstrip(">")]
            if isinstance(value, Later) and name.startswith("CSP_")
            else value
            for name, value in settings.items()
        }
        read = Settings.from_env({**environ, "WEBSITE_SITE_NAME": "func"})
        assert (read.mode, read.federated, read.client_id) == ("cloud", True, GIVEN["clientId"])
        assert read.storage_account_url_queue == "https://x.queue.core.windows.net"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"archiveRedundancy": "Standard_XRS"}, "is Standard_XRS, not one of"),
        ({"archiveRedundancy": None}, "needs name"),
        ({"logRetentionDays": "90"}, 'is "90", not of kind int'),
        ({"maximumInstances": False}, "is false, not of kind int"),
        ({"extraSettings": {"CSP_BILL_DAY": 9}}, "CSP_BILL_DAY is 9, not of kind string"),
    ],
)
def test_a_parameter_that_azure_would_refuse_is_seen(given, told):
    assert any(told in one for one in misfits(made("prod", **given))), given


def test_public_stores_answer_identities_from_anywhere():
    resources = made("dev")
    for store in STORES:
        for one in of(resources, store):
            assert one.body["properties"]["publicNetworkAccess"] == "Enabled"
            assert one.body["properties"]["networkAcls"]["defaultAction"] == "Allow"
    assert [one.type for one in resources if one.type.startswith("Microsoft.Network/")] == []
    (site,) = of(resources, "Microsoft.Web/sites")
    assert site.body["properties"]["virtualNetworkSubnetId"] is None


def test_private_stores_are_closed_and_reached_by_the_app_alone():
    resources = made("prod")
    for store in STORES:
        for one in of(resources, store):
            assert one.body["properties"]["publicNetworkAccess"] == "Disabled"
            assert one.body["properties"]["networkAcls"]["defaultAction"] == "Deny"
    (network,) = of(resources, "Microsoft.Network/virtualNetworks")
    subnets = {one["name"]: one["properties"] for one in network.body["properties"]["subnets"]}
    assert subnets["app"]["addressPrefix"] == "10.83.0.0/26"
    assert subnets["endpoints"]["addressPrefix"] == "10.83.0.64/26"
    (site,) = of(resources, "Microsoft.Web/sites")
    assert site.body["properties"]["virtualNetworkSubnetId"].endswith(f"{network.name}/app")


def test_every_store_that_the_worker_calls_has_an_endpoint_and_each_endpoint_a_name():
    resources = made("prod")
    ends = of(resources, "Microsoft.Network/privateEndpoints")
    reached = set()
    for one in ends:
        (link,) = one.body["properties"]["privateLinkServiceConnections"]
        inside = link["properties"]
        target = inside["privateLinkServiceId"].rpartition("/")[2]
        reached |= {(target, service) for service in inside["groupIds"]}
    settings = config(resources, "appsettings")
    called = {
        tuple(re.fullmatch(r"<(\w+)\.properties\.primaryEndpoints\.(\w+)>", value).groups())
        for name, value in settings.items()
        if "primaryEndpoints" in value and name != "AzureWebJobsStorage__queueServiceUri"
    }
    (vault,) = of(resources, "Microsoft.KeyVault/vaults")
    # The host is told the address of its own queues and, without a blob trigger, never calls it.
    assert reached == called | {(vault.name, "vault")}
    zones = {
        f"/{one.type}/{one.name}" for one in of(resources, "Microsoft.Network/privateDnsZones")
    }
    groups = of(resources, "Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    assert len(groups) == len(ends)
    for group in groups:
        (entry,) = group.body["properties"]["privateDnsZoneConfigs"]
        assert entry["properties"]["privateDnsZoneId"] in zones


def test_the_network_has_the_names_and_the_delegation_that_azure_looks_for():
    resources = made("prod")
    (network,) = of(resources, "Microsoft.Network/virtualNetworks")
    subnets = {one["name"]: one["properties"] for one in network.body["properties"]["subnets"]}
    delegated = [one["properties"]["serviceName"] for one in subnets["app"]["delegations"]]
    assert delegated == ["Microsoft.App/environments"]  # that of other plans is Microsoft.Web's
    assert {one.name for one in of(resources, "Microsoft.Network/privateDnsZones")} == {
        "privatelink.blob.core.windows.net",
        "privatelink.queue.core.windows.net",
        "privatelink.table.core.windows.net",
        "privatelink.vaultcore.azure.net",
    }
    groups = {
        one.name.split("/")[0].rpartition("-")[2]: one.body["properties"]["privateDnsZoneConfigs"]
        for one in of(resources, "Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    }
    for service, (entry,) in groups.items():  # blob, queue, table or vault
        zone = entry["properties"]["privateDnsZoneId"].rpartition("/")[2]
        assert zone.startswith(f"privatelink.{service}")


def test_administrators_get_into_a_closed_store_by_their_addresses():
    for one in of(made("prod", adminAddresses=["203.0.113.7"]), STORES[0]):
        said = one.body["properties"]
        assert said["publicNetworkAccess"] == "Enabled"
        assert said["networkAcls"]["defaultAction"] == "Deny"
        assert said["networkAcls"]["ipRules"] == [{"value": "203.0.113.7", "action": "Allow"}]


def test_prod_tells_somebody_and_lets_those_in_whom_the_environment_names(monkeypatch):
    text = (INFRA / "prod.bicepparam").read_text()
    assert "readEnvironmentVariable('ALERT_EMAILS')" in text  # without a default: it must be there
    monkeypatch.setenv("ALERT_EMAILS", "a@example.com,b@example.com")
    monkeypatch.setenv("ADMIN_ADDRESSES", "203.0.113.7,198.51.100.0/24")
    resources = made("prod")
    (group,) = of(resources, "Microsoft.Insights/actionGroups")
    told = [one["emailAddress"] for one in group.body["properties"]["emailReceivers"]]
    assert told == ["a@example.com", "b@example.com"]
    for store in STORES:
        for one in of(resources, store):
            rules = one.body["properties"]["networkAcls"]["ipRules"]
            assert [rule["value"] for rule in rules] == ["203.0.113.7", "198.51.100.0/24"]
            assert one.body["properties"]["publicNetworkAccess"] == "Enabled"


@pytest.mark.parametrize("environment", ["dev", "test"])
def test_elsewhere_somebody_is_told_who_is_named_and_nobody_else(environment, monkeypatch):
    for given, emails in (("", []), ("a@example.com", ["a@example.com"])):
        monkeypatch.setenv("ALERT_EMAILS", given)
        (group,) = of(made(environment), "Microsoft.Insights/actionGroups")
        receivers = group.body["properties"]["emailReceivers"]
        assert [one["emailAddress"] for one in receivers] == emails


@pytest.mark.parametrize(
    ("door", "enabled", "others"), [("entra", True, "Return401"), ("key", False, "AllowAnonymous")]
)
def test_the_platform_asks_for_a_token_behind_the_door_entra_only(door, enabled, others):
    resources = made("prod", httpDoor=door, apiClientId="44444444-4444-4444-4444-444444444444")
    said = config(resources, "authsettingsV2")
    assert said["platform"]["enabled"] is enabled
    assert said["globalValidation"]["unauthenticatedClientAction"] == others
    entra = said["identityProviders"]["azureActiveDirectory"]
    assert entra["registration"]["openIdIssuer"] == (
        "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000001/v2.0"
    )
    settings = config(resources, "appsettings")
    assert settings["CSP_HTTP_DOOR"] == door
    assert settings["CSP_HTTP_AUDIENCE"] in entra["validation"]["allowedAudiences"]


def test_a_client_secret_is_named_only_where_somebody_asks_for_one():
    without = config(made("prod"), "appsettings")
    assert without["CSP_FEDERATED"] == "true"
    assert "CSP_CLIENT_SECRET_NAME" not in without
    named = config(made("prod", clientSecretName="partner-client-secret"), "appsettings")
    assert named["CSP_CLIENT_SECRET_NAME"] == "partner-client-secret"
    assert "CSP_FEDERATED" not in named


def test_what_an_administrator_adds_wins():
    more = {"SYNC_SCHEDULE": "0 0 3 * * *", "CSP_PROJECTION": "true"}
    settings = config(made("prod", extraSettings=more), "appsettings")
    assert more.items() <= settings.items()


@pytest.mark.parametrize(
    ("amount", "start", "count"), [(0, "2026-12-01", 0), (200, "", 0), (200, "2026-12-01", 1)]
)
def test_a_budget_is_made_only_with_an_amount_and_a_beginning(amount, start, count):
    resources = made("prod", budgetAmount=amount, budgetStart=start, alertEmails=["a@example.com"])
    budgets = of(resources, "Microsoft.Consumption/budgets")
    assert len(budgets) == count
    for one in budgets:
        assert one.body["properties"]["timePeriod"]["startDate"] == "2026-12-01T00:00:00Z"
        assert len(one.body["properties"]["notifications"]) <= 5


def test_who_is_told():
    emails = ["a@example.com", "b@example.com"]
    resources = made("prod", alertEmails=emails)
    (group,) = of(resources, "Microsoft.Insights/actionGroups")
    receivers = group.body["properties"]["emailReceivers"]
    assert [one["emailAddress"] for one in receivers] == emails
    assert len({one["name"] for one in receivers}) == 2
    assert len(group.body["properties"]["groupShortName"]) <= 12
    for rule in of(resources, "Microsoft.Insights/scheduledQueryRules"):
        assert rule.body["properties"]["actions"]["actionGroups"] == [
            f"/Microsoft.Insights/actionGroups/{group.name}"
        ]


@pytest.mark.parametrize("path", sorted((INFRA / "alerts").glob("*.kql")), ids=lambda one: one.stem)
def test_each_question_is_asked_by_a_rule_that_fires_for_each_row(path):
    """The whole of what decides when it fires: a rule that is off or compares otherwise says nothing."""
    rules = of(made("prod"), "Microsoft.Insights/scheduledQueryRules")
    (rule,) = [one for one in rules if re.fullmatch(rf"alert-\w+-prod-\w+-{path.stem}", one.name)]
    said, head = rule.body["properties"], house.header(path.read_text())
    each = [name for name in head.get("each", "").split(", ") if name]
    assert (said["enabled"], said["autoMitigate"]) == (True, True)
    assert (said["evaluationFrequency"], said["windowSize"]) == (head["every"], head["window"])
    assert str(said["severity"]) == head["severity"]
    assert said["criteria"]["allOf"] == [
        {
            "query": f"<{path.name}>",
            "timeAggregation": "Count",
            "dimensions": [{"name": name, "operator": "Include", "values": ["*"]} for name in each],
            "operator": "GreaterThan",
            "threshold": 0,
            "failingPeriods": {"numberOfEvaluationPeriods": 1, "minFailingPeriodsToAlert": 1},
        }
    ]
    (component,) = of(made("prod"), "Microsoft.Insights/components")
    assert said["scopes"] == [f"/{component.type}/{component.name}"]


def rules(environment, **more):
    (policy,) = of(
        made(environment, **more), "Microsoft.Storage/storageAccounts/managementPolicies"
    )
    found = {one["name"]: one["definition"] for one in policy.body["properties"]["policy"]["rules"]}
    for one in found.values():  # Azure refuses a rule without an action
        assert one["actions"]
        assert all(one["actions"].values())
    return found


OLD = {"delete": {"daysAfterCreationGreaterThan": 90}}


def test_of_the_archive_only_claims_are_deleted_unless_a_parameter_says_so():
    found = rules("prod")
    deleting = {
        name for name, one in found.items() if "delete" in one["actions"].get("baseBlob", {})
    }
    assert deleting == {"claims"}
    assert found["claims"]["filters"]["prefixMatch"] == [f"archive/{claims.FOLDER}/"]
    assert found["claims"]["actions"] == {
        "baseBlob": {"delete": {"daysAfterModificationGreaterThan": 30}},
        "version": {"delete": {"daysAfterCreationGreaterThan": 30}},
    }
    assert "version" not in found["raw"]["actions"]
    # Reports and what was put aside are read when they are wanted, and so are never cool.
    assert found["raw"]["filters"]["prefixMatch"] == ["archive/raw/", "archive/invoices/"]


def test_what_a_parameter_deletes_goes_for_good_and_does_not_stay_as_a_version():
    """Under versioning, deleting a blob alone makes a version of it that nothing removes."""
    found = rules("dev")
    stores = of(made("dev"), "Microsoft.Storage/storageAccounts/blobServices")
    assert any(one.body["properties"]["isVersioningEnabled"] for one in stores)
    gone = set()
    for one in found.values():
        actions = one["actions"]
        if "delete" in actions.get("baseBlob", {}):
            assert "delete" in actions["version"]
            gone |= {prefix.split("/")[1] for prefix in one["filters"]["prefixMatch"]}
    assert gone == {claims.FOLDER, health.FOLDER, "raw", "invoices", "poison"}
    for name in ("raw", "aside"):
        actions = found[name]["actions"]
        assert actions["baseBlob"]["delete"] == {"daysAfterModificationGreaterThan": 90}
        assert actions["version"] == OLD


def test_a_place_that_is_written_each_minute_keeps_its_versions_for_a_month_only():
    assert rules("prod")["looks"] == {
        "filters": {
            "blobTypes": ["blockBlob"],
            "prefixMatch": ["archive/requests/", "archive/feedback/"],
        },
        "actions": {"version": {"delete": {"daysAfterCreationGreaterThan": 30}}},
    }


def test_azd_makes_the_resource_group_and_the_same_worker_in_it():
    by_azd = deploy(FILES, "azd.bicepparam", {**GIVEN, "environmentName": "dev", "location": "x"})
    (group,) = of(by_azd.made, "Microsoft.Resources/resourceGroups")
    assert group.name == "rg-csp-billing-dev"
    assert group.body["tags"]["azd-env-name"] == "dev"
    by_hand = {(one.type, one.name) for one in made("dev")}
    assert {(one.type, one.name) for one in by_azd.made} - by_hand == {(group.type, group.name)}


def test_a_flow_that_may_put_messages_on_start_may_do_nothing_else():
    before = of(made("prod"), "Microsoft.Authorization/roleAssignments")
    after = of(made("prod", queueSenders=["p1"]), "Microsoft.Authorization/roleAssignments")
    (new,) = [one for one in after if one not in before]
    assert "/queueServices/queues/" in new.name
    assert "/default/start/" in new.name
    assert new.body["properties"]["roleDefinitionId"].endswith(
        "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a"
    )


def test_an_administrator_can_read_what_would_be_there(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["infra/prod.bicepparam"]) == 0
    assert '"type": "Microsoft.Web/sites"' in capsys.readouterr().out
    assert main(["nothing.bicepparam"]) == 2
    assert "usage" in capsys.readouterr().err
