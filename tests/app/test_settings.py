"""Settings: modes, what each needs, what is refused, and that no secret is ever printed."""

from __future__ import annotations

import pytest

from app.settings import ON_AZURE, Settings
from domain.problems import ConfigurationError, Severity
from domain.tax import TaxRounding

CLOUD = {
    "CSP_MODE": "cloud",
    "CSP_TENANT_ID": "contoso.onmicrosoft.com",
    "CSP_CLIENT_ID": "0b6f8f6e-0000-0000-0000-000000000001",
    "CSP_CLIENT_SECRET": "hunter2",
    "CSP_DATAVERSE_URL": "https://contoso.crm.dynamics.com",
}


def refused(**variables: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(variables)
    return str(caught.value)


def test_with_nothing_set_the_mode_is_embedded():
    settings = Settings.from_env({"PATH": "/usr/bin", "HOME": "/home/ana"})
    assert (settings.mode, settings.scenario, settings.seed) == ("embedded", "partner-month", 1)


def test_an_empty_variable_is_not_set():
    assert Settings.from_env({"CSP_MODE": "", "CSP_SEED": ""}) == Settings.from_env({})


def test_the_cloud_is_microsofts():
    settings = Settings.from_env(CLOUD)
    assert settings.mode == "cloud"
    assert settings.graph_url == "https://graph.microsoft.com"


@pytest.mark.parametrize("name", ["CSP_TENANT_ID", "CSP_CLIENT_ID", "CSP_DATAVERSE_URL"])
def test_the_cloud_needs_all_it_signs_in_with(name):
    variables = {key: value for key, value in CLOUD.items() if key != name}
    assert refused(**variables) == f"settings: mode cloud needs {name}"


def test_everything_that_is_missing_is_named_at_once():
    assert refused(CSP_MODE="cloud") == (
        "settings: mode cloud needs CSP_TENANT_ID, CSP_CLIENT_ID, CSP_DATAVERSE_URL, "
        "CSP_FEDERATED (or CSP_CLIENT_SECRET_NAME, or CSP_CLIENT_SECRET)"
    )
    assert refused(CSP_MODE="emulator") == "settings: mode emulator needs CSP_EMULATOR_URL"


@pytest.mark.parametrize("zone", ["Europa/Berlin", "../Berlin", "Europe", "MEZ"])
def test_a_time_zone_that_nobody_knows_is_refused_in_a_sentence(zone):
    said = refused(CSP_TIME_ZONE=zone)
    assert "CSP_TIME_ZONE" in said
    assert "must be the IANA name of a time zone, such as Europe/Berlin" in said


@pytest.mark.parametrize("name", ON_AZURE)
@pytest.mark.parametrize("mode", [None, "embedded", "emulator"])
def test_on_azure_only_an_explicit_cloud_starts(name, mode):
    variables = {name: "app-1"} | ({"CSP_MODE": mode} if mode else {})
    assert refused(**variables) == (
        f"this is Azure ({name} is set), but CSP_MODE is {mode or 'not set'}"
    )
    assert Settings.from_env(CLOUD | {name: "app-1"}).mode == "cloud"


def test_a_variable_that_is_no_setting_is_refused():
    assert refused(CSP_SEDE="2") == "CSP_SEDE: is not a setting"


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("CSP_MODE", "production", "Input should be 'embedded', 'emulator' or 'cloud'"),
        ("CSP_SEED", "one", "Input should be a valid integer"),
        ("CSP_SEED", "-1", "greater than or equal to 0"),
        ("CSP_PATIENCE_SECONDS", "forever", "Input should be a valid number"),
        ("CSP_PATIENCE_SECONDS", "nan", "Input should be"),
        ("CSP_TENANT_ID", "../../etc", "String should match pattern"),
        ("CSP_ARCHIVE_CONTAINER", "My Archive", "String should match pattern"),
        ("CSP_REQUIRED_ROLES", "Directory Readers", "must be Entra role template ids"),
        ("CSP_EXPIRING_DAYS", "0", "greater than or equal to 1"),
        ("CSP_STALE_DAYS", "-1", "greater than or equal to 0"),
        ("CSP_SEVERITIES", "{", "must be a JSON object"),
        ("CSP_SEVERITIES", "[]", "must be a JSON object"),
        ("CSP_SEVERITIES", "[" * 100_000, "must be a JSON object"),
        (
            "CSP_SEVERITIES",
            '{"gdap.missing": "ignore"}',
            "Input should be 'warn', 'hold' or 'block'",
        ),
        (
            "CSP_SEVERITIES",
            '{"gdap.mising": "warn"}',
            "gdap.mising is the name of no check; do you mean gdap.missing",
        ),
        ("CSP_SEVERITIES", '{"xyzzy": "warn"}', "do you mean one of docs/checks.md?"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(name, value, fault):
    told = refused(**{name: value})
    assert told.startswith(f"{name}")
    assert fault in told


@pytest.mark.parametrize(
    "url",
    [
        "http://contoso.crm.dynamics.com",
        "ftp://contoso.crm.dynamics.com",
        "contoso.crm.dynamics.com",
        "https://",
        "https://ana:pw@contoso.crm.dynamics.com",
        "https://:pw@contoso.crm.dynamics.com",
        "https://contoso.crm.dynamics.com/?debug=1",
        "https://contoso.crm.dynamics.com/#top",
        "https://contoso.crm.dynamics.com:port",
        "https://contoso.crm.dynamics.com:99999",
        "https://[::1",
        "http://127.0.0.1.evil.example",
    ],
)
def test_an_address_is_https_and_nothing_more(url):
    assert refused(CSP_DATAVERSE_URL=url).startswith("CSP_DATAVERSE_URL: ")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://contoso.crm.dynamics.com/", "https://contoso.crm.dynamics.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
    ],
)
def test_a_right_address_loses_its_last_slash(url, kept):
    assert Settings.from_env({"CSP_DATAVERSE_URL": url}).dataverse_url == kept


def test_severities_are_a_policy_by_check():
    settings = Settings.from_env({"CSP_SEVERITIES": '{"gdap.missing": "warn"}'})
    assert settings.severities == {"gdap.missing": Severity.WARN}


def test_what_there_is_nothing_to_bill_with_for_is_no_warning():
    said = refused(CSP_SEVERITIES='{"gdap.missing": "warn", "price.missing": "warn"}')
    assert "price.missing cannot be warn: without a price there is nothing to ask for" in said
    settings = Settings.from_env({"CSP_SEVERITIES": '{"price.missing": "block"}'})
    assert settings.severities == {"price.missing": Severity.BLOCK}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("line", {"": TaxRounding.LINE}),
        (" document ", {"": TaxRounding.DOCUMENT}),
        (
            '{"Xero": "line", "quickbooks": "document"}',
            {"xero": TaxRounding.LINE, "quickbooks": TaxRounding.DOCUMENT},
        ),
        ("{}", {}),
    ],
)
def test_tax_is_rounded_for_all_or_by_accounting_target(said, meant):
    assert Settings.from_env({"CSP_TAX_ROUNDING": said}).tax_rounding == meant


@pytest.mark.parametrize("said", ["per line", '["line"]', '{"xero": "cents"}', "{"])
def test_a_rounding_that_is_none_is_refused(said):
    assert "CSP_TAX_ROUNDING" in refused(CSP_TAX_ROUNDING=said)


def test_tax_is_rounded_at_each_line_unless_it_is_set():
    assert Settings.from_env({}).tax_rounding == {}


def test_secrets_print_stars_wherever_they_are_shown():
    settings = Settings.from_env(
        CLOUD
        | {
            "CSP_REFRESH_TOKEN": "0.AXsecret",
            "CSP_STORAGE_CONNECTION_STRING": "AccountKey=abc123==",
        }
    )
    shown = f"{settings} {settings!r} {settings.model_dump()} {dict(settings)}"
    for secret in ("hunter2", "AXsecret", "abc123"):
        assert secret not in shown
    assert settings.client_secret is not None
    assert settings.client_secret.reveal() == "hunter2"


def test_a_fault_does_not_repeat_the_value_that_may_be_a_secret():
    told = refused(CSP_CLIENT_SECRETE="hunter2", CSP_MODE="hunter2")
    assert "hunter2" not in told
    assert "CSP_CLIENT_SECRETE: is not a setting" in told


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings.from_env({}).mode = "cloud"


# --- registers and engines of tax ------------------------------------------------------------------


def test_tax_numbers_rest_on_a_registers_answer_of_thirty_days():
    settings = Settings.from_env(CLOUD)
    assert settings.tax_register is None, "nothing leaves unless it is chosen"
    assert (settings.tax_number_proof.value, settings.tax_number_days) == ("register", 30)


def test_the_register_is_chosen_with_the_partners_own_number():
    settings = Settings.from_env(
        {
            "CSP_TAX_REGISTER": "vies",
            "CSP_TAX_REQUESTER": "ATU 135.856.27",
            "CSP_TAX_NUMBER_PROOF": "form",
            "CSP_TAX_NUMBER_DAYS": "7",
            "CSP_VIES_REQUESTER_PATH": "/check-vat-number",
        }
    )
    assert (settings.tax_register, settings.tax_number_days) == ("vies", 7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CSP_TAX_REGISTER", "hmrc"),
        ("CSP_TAX_NUMBER_PROOF", "none"),
        ("CSP_TAX_NUMBER_DAYS", "0"),
        ("CSP_TAX_REQUESTER", "13585627"),
        ("CSP_VIES_URL", "http://ec.europa.eu/vies"),
        ("CSP_VIES_REQUESTER_PATH", "https://elsewhere.example"),
        ("CSP_TAX_ENGINE_URL", "http://tax.example"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(name, value):
    assert refused(**CLOUD, **{name: value}).startswith(f"{name}: ")


def test_a_tax_engine_needs_a_key_and_a_mode_that_reaches_it():
    url = {"CSP_TAX_ENGINE_URL": "https://tax.example/decide"}
    assert refused(**CLOUD, **url) == "settings: mode cloud needs CSP_TAX_ENGINE_KEY"
    key = {"CSP_TAX_ENGINE_KEY": "sesame-of-the-engine"}
    assert refused(**url, **key) == (
        "settings: CSP_TAX_ENGINE_URL cannot be reached in mode embedded: nothing leaves the process"
    )
    settings = Settings.from_env(CLOUD | url | key)
    assert "sesame" not in repr(settings)


def test_required_roles_are_listed_by_their_ids_in_either_case():
    found = Settings.from_env(
        {
            "CSP_REQUIRED_ROLES": "88D8E3E3-8F55-4A1E-953A-9B9898B8876B, "
            "4d6ac14f-3453-41d0-bef9-a3e0c569773a,",
            "CSP_STALE_DAYS": "0",
        }
    )
    assert found.required_roles == (
        "88d8e3e3-8f55-4a1e-953a-9b9898b8876b",
        "4d6ac14f-3453-41d0-bef9-a3e0c569773a",
    )
    assert (found.stale_days, found.expiring_days) == (0, 30)


# --- sign-in without a secret in the settings --------------------------------------------------------

SECRETLESS = {
    **{name: value for name, value in CLOUD.items() if name != "CSP_CLIENT_SECRET"},
    "CSP_KEY_VAULT_URL": "https://partner.vault.azure.net",
    "CSP_MANAGED_IDENTITY_CLIENT_ID": "0b7c0000-0000-4000-8000-000000000001",
}


@pytest.mark.parametrize(
    "how", [{"CSP_FEDERATED": "true"}, {"CSP_CLIENT_SECRET_NAME": "app-secret"}]
)
def test_the_cloud_needs_no_secret_in_the_settings(how):
    settings = Settings.from_env(SECRETLESS | how)
    assert settings.client_secret is None


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            SECRETLESS | {"CSP_FEDERATED": "true", "CSP_CLIENT_SECRET": "s3cret"},
            "CSP_FEDERATED needs no secret",
        ),
        (
            SECRETLESS | {"CSP_FEDERATED": "true", "CSP_CLIENT_SECRET_NAME": "app-secret"},
            "CSP_FEDERATED needs no secret",
        ),
        (
            {**SECRETLESS, "CSP_FEDERATED": "true", "CSP_MANAGED_IDENTITY_CLIENT_ID": ""},
            "CSP_FEDERATED needs CSP_MANAGED_IDENTITY_CLIENT_ID",
        ),
        (
            {**CLOUD, "CSP_CLIENT_SECRET_NAME": "app-secret"},
            "set CSP_CLIENT_SECRET or CSP_CLIENT_SECRET_NAME, not both",
        ),
        (
            {**SECRETLESS, "CSP_CLIENT_SECRET_NAME": "app-secret", "CSP_KEY_VAULT_URL": ""},
            "CSP_CLIENT_SECRET_NAME needs CSP_KEY_VAULT_URL",
        ),
        (
            SECRETLESS | {"CSP_CLIENT_SECRET_NAME": "app/secret"},
            "CSP_CLIENT_SECRET_NAME: String should match",
        ),
        (
            {
                "CSP_WEBHOOK_KEY_NAME": "hook",
                "CSP_KEY_VAULT_URL": "https://partner.vault.azure.net",
            },
            "CSP_WEBHOOK_KEY_NAME cannot be read in mode embedded",
        ),
        ({"CSP_FEDERATED": "true"}, "not mode embedded"),
        ({"CSP_HTTP_DOOR": "entra"}, "door entra needs CSP_HTTP_AUDIENCE"),
        (
            {
                "CSP_HTTP_DOOR": "entra",
                "CSP_HTTP_AUDIENCE": "api",
                "CSP_TENANT_ID": "contoso.onmicrosoft.com",
            },
            "door entra needs the tenant's own id in CSP_TENANT_ID",
        ),
        ({"CSP_HTTP_DOOR": "Entra"}, "CSP_HTTP_DOOR: Input should be 'key' or 'entra'"),
    ],
)
def test_a_sign_in_that_is_said_twice_or_not_wholly_is_refused(variables, sentence):
    told = refused(**variables)
    assert sentence in told
    assert "s3cret" not in told
