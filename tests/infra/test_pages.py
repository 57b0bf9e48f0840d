"""The pages about deploying say what is so: files, parameters, outputs, names that the product uses."""

from __future__ import annotations

import re

import pytest

from app import systems
from app.callers import ROLES
from app.settings import Settings
from infra.checks import house, language
from infra.checks.bicep import properties, walk
from infra.checks.values import compute
from tests.infra.conftest import INFRA, ROOT, schedules

PAGE = (ROOT / "docs/deploy.md").read_text()
FILES = language.read_all(INFRA)
MAIN = FILES["main.bicep"]


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"[ (@`/]((?:infra|docs)/[\w./-]+\w)", PAGE)))
)
def test_every_file_that_the_page_names_exists(path):
    assert (ROOT / path).exists()


def test_every_parameter_that_the_page_explains_exists_and_the_choices_are_those_allowed():
    told = set(re.findall(r"`(\w+)`", PAGE.split("## Choices")[1].split("###")[0]))
    names = {name for name in told if name[0].islower()} - {"dev", "test", "prod"}
    doors = {"key", "entra", "public", "private"}
    assert names - doors <= set(MAIN.parameters)
    allowed = {
        value
        for name in ("httpDoor", "network")
        for value in compute(MAIN.parameters[name].decorators["allowed"], {})
    }
    assert allowed == doors


def test_every_output_that_the_page_names_exists():
    for name in re.findall(r"output `(\w+)`", PAGE):
        assert name in MAIN.outputs


def test_every_app_role_is_on_the_page():
    assert all(f"`{role}`" in PAGE for role in ROLES)


def test_every_provider_of_what_is_deployed_is_registered():
    types = {one.type for file in FILES.values() for one in file.every_resource()}
    told = set(
        re.findall(r"Microsoft\.\w+", PAGE.split("az provider register")[1].split("\n- ")[0])
    )
    always = {"Microsoft.Authorization", "Microsoft.Resources"}
    # Flex Consumption joins a network as the container apps that it runs on.
    assert told == {one.partition("/")[0] for one in types} - always | {"Microsoft.App"}


def test_every_variable_that_parameters_come_from_is_on_the_page():
    for path in INFRA.glob("*.bicepparam"):
        for name in re.findall(r"readEnvironmentVariable\('(\w+)'", path.read_text()):
            assert name in PAGE or name.startswith("AZURE_"), name  # those azd sets by itself


def test_the_registration_of_the_page_gives_tokens_that_the_platform_takes():
    """Its issuer is that of version 2; a registration that says nothing gives tokens of version 1."""
    assert "${tenantId}/v2.0'" in (INFRA / "modules/auth.bicep").read_text()
    door = PAGE.split("### The door `entra`")[1]
    (update,) = [line for line in door.splitlines() if line.startswith("az ad app update")]
    assert "--set api.requestedAccessTokenVersion=2" in update


def test_the_right_that_the_page_on_identity_names_is_the_one_that_is_given():
    page = (ROOT / "docs/identity.md").read_text()
    for scope, names in house.GRANTS.items():
        for name in names if scope == "vault" else ():
            assert f"Role: *{name}* on the vault," in page


def test_the_runbook_names_parameters_that_are_there():
    page = (ROOT / "docs/operations.md").read_text()
    named = re.findall(r"the parameter `(\w+)` of infra", page)
    assert named
    assert set(named) <= set(MAIN.parameters)
    assert "maximumInstanceCount" not in page  # the property of Azure, not what one can set


def test_the_secret_that_an_administrator_puts_in_is_the_one_that_the_worker_reads():
    assert f"--name {systems.TOKEN_SECRET} " in PAGE
    assert f"`{systems.TOKEN_SECRET}`" in (INFRA / "settings.md").read_text()


def test_the_hours_that_the_page_keeps_free_are_those_of_the_daily_runs():
    hours = set()
    for node in walk(MAIN.variables["schedules"]):
        if node.type == "object":
            for name, (_, value) in properties(node).items():
                assert name in schedules()
                hour = compute(value, {}).split()[2]
                hours |= {int(hour)} if hour.isdigit() else set()
    first, last = re.search(r"between (\d\d):00\s+and (\d\d):00 UTC", PAGE).groups()
    assert int(first) == min(hours)
    assert int(last) == max(hours) + 1


def test_the_container_of_the_archive_is_the_one_that_the_worker_uses_by_default():
    assert compute(MAIN.variables["archive"], {}) == Settings().archive_container
