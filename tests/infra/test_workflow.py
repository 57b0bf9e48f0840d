"""The deploy workflow and azd: who may do what, by which door, in which order."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
import yaml

from infra.checks import language
from tests.infra.conftest import INFRA, ROOT

WORKFLOWS = ROOT / ".github/workflows"
TEXT = (WORKFLOWS / "deploy.yml").read_text()
DEPLOY = yaml.safe_load(TEXT)
JOBS = DEPLOY["jobs"]
TRIGGERS = DEPLOY[True]  # YAML reads the word `on` so


def steps(job):
    return JOBS[job].get("steps", [])


def commands(job):
    return "\n".join(step.get("run", "") for step in steps(job))


def test_it_is_started_by_hand_for_an_environment_that_has_parameters():
    assert set(TRIGGERS) == {"workflow_dispatch"}
    offered = TRIGGERS["workflow_dispatch"]["inputs"]["environment"]["options"]
    assert {f"{name}.bicepparam" for name in offered} == {
        path.name for path in INFRA.glob("*.bicepparam") if path.name != "azd.bicepparam"
    }
    for name in offered:
        assert f"param environmentName = '{name}'" in (INFRA / f"{name}.bicepparam").read_text()


def test_it_tests_checks_and_previews_before_it_deploys_with_approval():
    assert JOBS["deploy"]["needs"] == "preview"
    assert set(JOBS["preview"]["needs"]) == {"test", "check"}
    assert JOBS["test"]["uses"] == "./.github/workflows/test.yml"
    assert "workflow_call" in yaml.safe_load((WORKFLOWS / "test.yml").read_text())[True]
    # GitHub asks for approval where an environment demands it: the preview has one that does not.
    assert JOBS["deploy"]["environment"] == "${{ inputs.environment }}"
    assert JOBS["preview"]["environment"] == "${{ inputs.environment }}-preview"


@pytest.mark.parametrize(("hour", "may"), [(0, True), (3, True), (4, False), (8, False), (9, True)])
def test_it_waits_while_the_daily_runs_work(tmp_path, hour, may):
    (step,) = [one for one in steps("deploy") if one.get("name") == "Not while the daily runs work"]
    assert step["if"] == "${{ !inputs.anyway }}"
    date = tmp_path / "date"
    date.write_text(f"#!/bin/sh\necho '{hour:2d}'\n")
    date.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", step["run"]], env={"PATH": path}, capture_output=True, check=False
    )
    assert (done.returncode == 0) is may


def test_the_hours_are_those_that_the_page_names():
    hours = re.search(
        r"between (\d\d:00)\s+and (\d\d:00) UTC", (ROOT / "docs/deploy.md").read_text()
    )
    (step,) = [one for one in steps("deploy") if one.get("name") == "Not while the daily runs work"]
    assert all(hour in step["run"] for hour in hours.groups())


def test_two_deployments_to_one_environment_wait_for_each_other():
    assert DEPLOY["concurrency"]["group"].endswith("${{ inputs.environment }}")
    assert DEPLOY["concurrency"]["cancel-in-progress"] is False


def test_only_who_signs_in_may_ask_for_a_token_and_nobody_may_write():
    assert DEPLOY["permissions"] == {"contents": "read"}
    for name, job in JOBS.items():
        signs_in = any("azure/login" in step.get("uses", "") for step in job.get("steps", []))
        wanted = {"contents": "read", "id-token": "write"} if signs_in else None
        assert job.get("permissions") == wanted, name


def test_no_secret_is_used_and_the_login_takes_ids_only():
    assert "secrets." not in TEXT
    assert "publish-profile" not in TEXT
    for job in ("preview", "deploy"):
        (login,) = [one for one in steps(job) if "azure/login" in one.get("uses", "")]
        assert set(login["with"]) == {"client-id", "tenant-id", "subscription-id"}


def test_every_variable_that_parameters_come_from_is_handed_on():
    offered = TRIGGERS["workflow_dispatch"]["inputs"]["environment"]["options"]
    texts = [(INFRA / f"{name}.bicepparam").read_text() for name in offered]
    read = {one for text in texts for one in re.findall(r"readEnvironmentVariable\('(\w+)'", text)}
    assert {"ALERT_EMAILS", "ADMIN_ADDRESSES"} < read
    for job in ("preview", "deploy"):
        assert {name: JOBS[job]["env"].get(name) for name in read} == {
            name: f"${{{{ vars.{name} }}}}" for name in read
        }
    needed = {one for text in texts for one in re.findall(r"Variable\('(\w+)'\)", text)}
    (compiled,) = [one for one in steps("check") if one.get("name") == "Compile the parameters"]
    assert needed <= compiled["env"].keys()


@pytest.mark.parametrize(("emails", "may"), [("", False), ("ops@example.com", True)])
def test_prod_is_not_deployed_where_nobody_would_be_told(emails, may):
    step = steps("preview")[0]
    assert step["if"] == "${{ inputs.environment == 'prod' }}"
    done = subprocess.run(
        ["sh", "-e", "-c", step["run"]],
        env={"PATH": os.environ["PATH"], "ALERT_EMAILS": emails},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is may
    assert may or "ALERT_EMAILS" in done.stdout


def test_every_action_has_a_version():
    used = [step["uses"] for job in JOBS for step in steps(job) if "uses" in step]
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+(\.\d+)*", one)] == []


def test_nothing_that_somebody_typed_is_put_into_a_script():
    """An expression inside a script is how input becomes a command."""
    scripts = [step["run"] for job in JOBS for step in steps(job) if "run" in step]
    assert [one for one in scripts if "${{" in one] == []


def test_the_compiler_the_linter_and_the_security_rules_run_on_every_template():
    said = commands("check")
    assert "az bicep build" in said
    assert "az bicep lint" in said
    assert "az bicep build-params" in said
    assert "--config-file infra/checks/checkov.yaml" in said
    assert "--require-hashes -r infra/checks/requirements-checkov.txt" in said
    tops = {
        name for name in language.read_all(INFRA) if "/" not in name and name.endswith(".bicep")
    }
    assert {f"infra/{name}" for name in tops} == set(re.findall(r"infra/\w+\.bicep\b", said))


def test_nothing_is_made_in_the_checkout_before_it_is_packed():
    before = commands("check").split("infra/scripts/package.py")[0]
    made = re.findall(r"(?:mkdir|-m venv|--outfile) (\S+)", before)
    assert len(made) == 3
    assert [one for one in made if not one.startswith('"$RUNNER_TEMP/')] == []


def test_the_package_that_was_checked_is_the_one_that_is_deployed():
    assert "infra/scripts/package.py worker.zip" in commands("check")
    assert "--src worker.zip --build-remote true" in commands("deploy")
    assert "infra/scripts/smoke.sh" in commands("deploy")


@pytest.mark.parametrize("output", re.findall(r"\.(\w+)\.value", commands("deploy")))
def test_outputs_that_are_read_exist(output):
    assert output in language.read_all(INFRA)["main.bicep"].outputs


def test_every_security_rule_that_is_left_out_has_a_reason():
    lines = (INFRA / "checks/checkov.yaml").read_text().splitlines()
    skipped = [line for line in lines if line.strip().startswith("- CKV")]
    assert len(skipped) == len(yaml.safe_load("\n".join(lines))["skip-check"])
    assert [line for line in skipped if not re.search(r"# \w+", line)] == []


def test_azd_finds_template_service_and_hook():
    azd = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert (INFRA / f"{azd['infra']['module']}.bicep").is_file()
    assert (INFRA / f"{azd['infra']['module']}.bicepparam").is_file()
    (service,) = azd["services"]
    assert f"'azd-service-name': '{service}'" in (INFRA / "modules/function-app.bicep").read_text()
    assert azd["services"][service] == {"project": ".", "language": "python", "host": "function"}
    for system in azd["hooks"]["postprovision"].values():
        assert (ROOT / system["run"].split()[-1]).is_file()
        # Before the tables are in Dataverse there is no role to give: told, and done when run again.
        assert system["continueOnError"] is True


def test_azd_hands_the_hook_what_it_needs():
    from infra.scripts import connect

    given = set(language.read_all(INFRA)["azd.bicep"].outputs)
    asked = set(
        re.findall(r"readEnvironmentVariable\('(\w+)'", (INFRA / "azd.bicepparam").read_text())
    )
    assert {variable for variable, _ in connect.NEEDED.values()} <= given | asked
