"""The Bicep templates: sound as far as it can be known without a compiler, and ours."""

from __future__ import annotations

import re
import tomllib

import pytest
from croniter import croniter

from app.settings import PREFIX, Settings
from infra.checks import house, language
from infra.checks.bicep import read, text_of
from tests.infra.conftest import INFRA, OF_THE_HOST, ROOT, left_out, schedules

FILES = language.read_all(INFRA)


def faults(wanted, instead=None):
    changed = {name: read(INFRA / name, text) for name, text in (instead or {}).items()}
    files = {**FILES, **changed}
    return [str(one) for one in (*language.check(files), *house.check(files, wanted))]


def test_the_templates_have_no_fault(wanted):
    assert faults(wanted) == []


def test_every_file_is_read():
    names = set(FILES)
    assert {"main.bicep", "azd.bicep", "modules/storage.bicep", "prod.bicepparam"} <= names
    assert names == {
        path.relative_to(INFRA).as_posix()
        for path in INFRA.rglob("*")
        if path.suffix in {".bicep", ".bicepparam"}
    }


# --- a planted error of each kind is found ---------------------------------------------------------

MAIN, APP, STORAGE = "main.bicep", "modules/function-app.bicep", "modules/storage.bicep"
ROLES, VAULT, ARCHIVE = "modules/roles.bicep", "modules/key-vault.bicep", "modules/archive.bicep"
MONITORING, ALERTS = "modules/monitoring.bicep", "modules/alerts.bicep"
PLANTED = [
    # the language
    (STORAGE, "accessTier: 'Hot'", "accessTier: 'Hot", "is no Bicep near"),
    (STORAGE, "value: address", "value: adress", "adress is not declared"),
    (STORAGE, "param sku string", "param sku string\nparam zone string", "parameter zone is not used"),
    (MAIN, "var archive =", "var spare = 1\nvar archive =", "variable spare is not used"),
    (MAIN, "uniqueString(", "uniqString(", "uniqString is no known function"),
    (MAIN, "param tags object", "param archive object\nparam tags object", "archive is declared twice"),
    # modules
    (MAIN, "closed: closed", "shut: closed", "storage.bicep has no parameter shut"),
    (MAIN, "    sku: 'Standard_LRS'\n", "", "needs the parameter sku"),
    (MAIN, "retentionDays: logRetentionDays", "retentionDays: '90'", "is an int, not a string"),
    (MAIN, "versions: true", "versions: 'yes'", "versions is a bool, not a string"),
    (MAIN, "modules/identity.bicep", "br/public:identity:1.0.0", "there is no module br/public"),
    (MAIN, "identity.outputs.clientId", "identity.outputs.clientID", "has no output clientID"),
    ("prod.bicepparam", "'private'", "'hidden'", "network is one of public, private"),
    ("dev.bicepparam", "param undeleteDays", "param undeletedDays", "no parameter undeletedDays"),
    # kinds, loops, and what is known at the start
    (MAIN, "principalId: identity.outputs.principalId", "principalId: 1", "is a string, not an int"),
    (MAIN, "closed: closed", "closed: network", "closed is a bool, not a string"),
    (MAIN, "componentId: monitoring.outputs.componentId", "componentId: [monitoring.outputs.componentId]", "is a string, not an array"),
    (MAIN, "network == 'private'", "empty(network) ? 'yes' : 'no'", "closed is a bool, not a string"),
    (MAIN, "identityId: identity.outputs.id", "identityId: labels", "identityId is a string, not an object"),
    (APP, "output name string = app.name", "output name object = app", "appName is a string, not an object"),
    (STORAGE, "virtualNetworkRules: []", "virtualNetworkRules: closed ? [for one in queues: { id: one }] : []", "not part of one"),
    (ALERTS, "useCommonAlertSchema: true", "useCommonAlertSchema: [for one in emails: one]", "cannot be in another one"),
    (APP, "name: planName", "name: component.properties.Name", "is not known when the deployment starts"),
    (MAIN, "CSP_BILL_DAY: string(billDay)", "CSP_BILL_DAY: billDay", "the setting CSP_BILL_DAY is no string"),
    # types, versions and properties
    (STORAGE, "2025-01-01' = {\n  name: name", "2031-01-01' = {\n  name: name", "API version 2031-01-01"),
    (VAULT, "Microsoft.KeyVault/vaults@", "Microsoft.KeyVault/vault@", "is not in types.json"),
    (STORAGE, "minimumTlsVersion", "minimumTLSVersion", "is minimumTlsVersion meant?"),
    (STORAGE, "kind: 'StorageV2'", "kind: 'storagev2'", "kind is one of Storage, StorageV2"),
    (STORAGE, "  kind: 'StorageV2'\n", "", "needs kind"),
    (VAULT, "enableSoftDelete: true", "enableSoftDelete: 'true'", "is a bool, not a string"),
    (VAULT, "tenantId: tenant().tenantId", "hsmPoolResourceId: 'x'", "is set by Azure"),
    (MONITORING, "dailyQuotaGb:", "dailyQuotaGB:", "is dailyQuotaGb meant?"),
    (ARCHIVE, "tierToCool", "tierToCold2", "has no property tierToCold2"),
    (ARCHIVE, "{ baseBlob: gone, version:", "{ baseBlob: gone, versions:", "is version meant?"),
    (APP, "instanceMemoryMB", "instanceMemoryMb", "is instanceMemoryMB meant?"),
    (APP, "app.properties.defaultHostName", "app.properties.hostName", "has no hostName to read"),
    (ROLES, "workAccount::blobs::archived\n", "workAccount::blobs::archive\n", "has no nested resource"),
    # the house: hardening, secrets, chance
    (STORAGE, "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "is to be false"),
    (STORAGE, "    allowBlobPublicAccess: false\n", "", "does not say properties.allowBlobPublicAccess"),
    (STORAGE, "publicAccess: 'None'", "publicAccess: 'Blob'", "is to be None"),
    (VAULT, "enablePurgeProtection: true", "enablePurgeProtection: false", "is to be true"),
    (ALERTS, "groupShortName: 'CSP billing'\n    enabled: true", "groupShortName: 'CSP billing'\n    enabled: false", "properties.enabled is to be true"),
    (APP, "publicNetworkAccess: 'Enabled'", "publicNetworkAccess: 'Disabled'", "publicNetworkAccess is to be Enabled"),
    ("modules/private-endpoints.bicep", "registrationEnabled: false", "registrationEnabled: true", "registrationEnabled is to be false"),
    (VAULT, "softDeleteRetentionInDays: 90", "softDeleteRetentionInDays: 5", "is to be 90"),
    (MAIN, "  dependsOn: [roles, endpoints]\n", "", "the app starts before roles"),
    (MAIN, "dependsOn: [roles, endpoints]", "dependsOn: [roles]", "the app starts before endpoints"),
    (VAULT, "enableRbacAuthorization: true", "enableRbacAuthorization: false", "is to be true"),
    (APP, "properties: { allow: false }", "properties: { allow: true }", "is to be false"),
    (MONITORING, "DisableLocalAuth: true", "DisableLocalAuth: false", "is to be true"),
    (STORAGE, "output id string = account.id", "output id string = account.listKeys().keys[0].value", "listKeys"),
    (MAIN, "var archive = 'archive'", "var archive = 'archive;AccountKey=YQ=='", "looks like a key"),
    (MAIN, "param tags object", "param clientSecret string\nparam tags object", "is not @secure()"),
    (MAIN, "output workerUrl string = worker.outputs.url", "output workerUrl object = extraSettings", "shows the secret"),
    (ALERTS, "    severity: 1\n    window: 'PT30M'", "    severity: 2\n    window: 'PT30M'", "says severity 1"),
    (ALERTS, "each: ['run', 'currency']", "each: ['run']", "residual.kql says each run, currency"),
    (ALERTS, "    each: []\n", "", "silent.kql says each None"),
    (ALERTS, "loadTextContent('../alerts/token.kql')", "'x'", "token.kql is asked by no alert"),
    (ALERTS, "alerts/token.kql", "alerts/tokens.kql", "there is no file ../alerts/tokens.kql"),
    (ALERTS, "evaluationFrequency", "evalFrequency", "is evaluationFrequency meant?"),
    (MONITORING, "'../workbook.json'", "'../workbok.json'", "there is no file ../workbok.json"),
    (ALERTS, "'${budgetStart}T00:00:00Z'", "utcNow()", "utcNow makes a second deployment differ"),
    # the house: queues and settings
    (MAIN, "'event',", "'evnt',", "there is no queue event-poison"),
    (MAIN, "map(kinds, kind => '${kind}-poison')", "[]", "there is no queue start-poison"),
    (MAIN, "'event',", "'event', 'spare',", "nobody uses the queue spare"),
    (MAIN, "  CSP_DATAVERSE_URL: dataverseUrl\n", "", "the setting CSP_DATAVERSE_URL is not set"),
    (MAIN, "  SYNC_SCHEDULE:", "  SYNC_SCHEDUL:", "the setting SYNC_SCHEDULE is not set"),
    (MAIN, "CSP_MODE: 'cloud'", "CSP_MODE: 'cloud'\n  CSP_COLOUR: 'red'", "nothing reads the setting CSP_COLOUR"),
    (APP, "AZURE_CLIENT_ID: id", "FUNCTIONS_WORKER_RUNTIME: 'python'\n        AZURE_CLIENT_ID: id", "is not for this app"),
    (APP, "ftpsState: 'Disabled'", "ftpsState: 'Disabled'\n      linuxFxVersion: 'PYTHON|3.13'", "linuxFxVersion"),
    (APP, "THREAD_COUNT: '16'", "THREAD_COUNT: '2'", "to fewer threads"),
    # the house: roles
    (ROLES, "b7e6dc6d-", "b7e6dc6e-", "is not the role Storage Blob Data Owner"),
    (ROLES, "var onHost = ['Storage Blob Data Owner', ", "var onHost = [", "nobody is given the role"),
    (ROLES, "['Storage Blob Data Owner', 'Storage", "['Owner', 'Storage", "there is no role Owner"),
    (ROLES, "  scope: component\n", "  scope: vault\n", "Monitoring Metrics Publisher on vault is more"),
    (ROLES, "roles['Storage Queue Data Contributor']", "roles['Storage Queue Data Message Sender']", "nobody is Storage Queue Data Contributor on workAccount"),
    (ROLES, "  scope: vault\n", "", "is for all of the resource group"),
    (ROLES, "guid(vault.id, principalId, roles['Key Vault Secrets Officer'])", "'5d1c8a4e'", "named by chance"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "before", "after", "told"), PLANTED, ids=[p[3] for p in PLANTED])
def test_a_planted_error_is_found(wanted, name, before, after, told):
    text = (INFRA / name).read_text()
    assert before in text, "the template has changed: plant the error elsewhere"
    found = faults(wanted, {name: text.replace(before, after)})
    assert any(told in one for one in found), found


def test_a_module_that_nobody_uses_is_found(wanted):
    text = (INFRA / MAIN).read_text().replace("modules/alerts.bicep", "modules/archive.bicep")
    assert any("no template uses this module" in one for one in faults(wanted, {MAIN: text}))


# --- what the templates say of the product ---------------------------------------------------------


def test_what_is_left_out_is_a_setting_of_the_product_and_not_set_all_the_same():
    known = {PREFIX + name.upper() for name in Settings.model_fields} | OF_THE_HOST | schedules()
    assert left_out() <= known
    made = house.settings(FILES)
    assert left_out() & made.keys() == set()


def test_no_secret_setting_is_made_by_a_template():
    secret = {
        PREFIX + name.upper()
        for name, field in Settings.model_fields.items()
        if "Secret" in str(field.annotation)
    }
    assert len(secret) >= 5
    assert secret & house.settings(FILES).keys() == set()
    assert secret <= left_out()


def test_every_schedule_has_six_fields_that_the_host_understands():
    made = house.settings(FILES)
    assert schedules() <= made.keys()
    for name in schedules():
        expression = text_of(made[name])
        assert len(expression.split()) == 6
        assert croniter.is_valid(expression, second_at_beginning=True), name


def test_the_python_of_the_app_is_one_that_the_product_supports():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = re.search(r"name: 'python'\s+version: '3\.(\d+)'", (INFRA / APP).read_text())
    least, below = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()
    assert int(least) <= int(said.group(1)) < int(below)


def test_every_type_is_read_from_a_library_of_microsoft_and_says_when_it_is_not_of_that_version():
    resources = language.table()["resources"]
    assert all(one["from"].startswith("azure-mgmt-") for one in resources.values())
    page = (INFRA / "README.md").read_text()
    for name in (name for name, one in resources.items() if not one["exact"]):
        assert name.partition("@")[0] in page, name
