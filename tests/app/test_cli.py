"""The command line: exit codes, one JSON document, one sentence for a fault, nothing heavy for help."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.settings import Settings
from app.wiring import opened
from domain.run import RunStatus
from tests.app.conftest import command
from tests.usecases.office import a_fault

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("pydantic", "requests", "duckdb", "msal", "azure", "rich", "jinja2", "werkzeug")
NO_SYSTEM = {"CSP_PATIENCE_SECONDS": "0"}
NOBODY = "0b6f8f6e-0000-0000-0000-000000000001"
NO_INVOICE = (
    "Microsoft has not issued an invoice for 2031-01 yet "
    "(bill a month from about the 8th of the next one on)"
)
EXAMPLE = {
    "currency": "USD",
    "subscriptions": [
        {
            "id": "s1",
            "sku": "CFQ7TTC0LH18:0001",
            "term": "P1Y",
            "billing_cycle": "monthly",
            "start": "2026-02-15",
            "quantity": 10,
            "unit_price": "12.00",
        }
    ],
    "bill": {"from": "2026-02-01", "to": "2026-03-01"},
}


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps(EXAMPLE))
    return path


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- help ------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    code = (
        "import sys, contextlib, io\n"
        "from app.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['--help'])\n"
        f"print(sorted(m for m in sys.modules if m.split('.')[0] in {HEAVY!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_names_every_command():
    answer = command("--help")
    assert answer.code == 0
    for name in "demo sync bill approve runs explain provision emulate check-config whatif".split():
        assert re.search(rf"^    {name}\b", answer.out, re.MULTILINE), name
        detail = command(name, "--help")
        assert (detail.code, detail.err) == (0, "")


def test_without_a_command_the_help_is_shown():
    answer = command()
    assert (answer.code, answer.out.startswith("usage: python -m app")) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("sing",), "invalid choice: 'sing'"),
        (("bill", "--period", "2026-13"), "'2026-13' is not a month written as YYYY-MM"),
        (("bill", "--period", "October"), "'October' is not a month written as YYYY-MM"),
        (("bill", "--period", "1999-10"), "'1999-10' is not a month of this century"),
        (("approve", "--customer", "my tenant"), "'my tenant' is not a tenant id as"),
        (("explain", "INV-1", "first"), "argument LINE: invalid int value: 'first'"),
        (("emulate", "--port", "70000"), "'70000' is not a port between 0 and 65000"),
        (("provision", "--plan", "--apply"), "not allowed with argument"),
    ],
)
def test_wrong_usage_is_told_with_the_usage(arguments, complaint):
    answer = command(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert complaint in answer.err


# --- every command, with and without --json ----------------------------------------------------------


def test_a_sync_of_one_customer_reads_it_again_on_the_same_day(copy):
    holds = command("holds", "--all", "--json", state=copy).data
    held = holds["holds"][0]
    customer_id = held["customer_id"]
    again = command("sync", "--customer", customer_id.upper(), "--json", state=copy)
    assert [one["customer"] for one in again.data["holds"]] == [held["customer"]]
    assert again.data["holds"][0]["since"] == held["since"]
    assert again.code == 3
    nobody = command("sync", "--customer", NOBODY, state=copy)
    assert nobody.code == 2
    assert f"there is no customer {NOBODY} (give the tenant id" in nobody.complaint


def test_sync_again_is_done(copy):
    plain, data = command("sync", state=copy), command("sync", "--json", state=copy)
    assert (plain.code, data.code) == (0, 0)
    assert plain.out.startswith("Run sync/2026-11-09: done. agreements ")
    assert (data.data["run_id"], data.data["status"]) == ("sync.2026-11-09", "done")


def test_bill_again_is_done_with_holds(copy):
    plain, data = command("bill", state=copy), command("bill", "--json", state=copy)
    assert (plain.code, data.code) == (3, 3)
    for told in ("Where Microsoft's bill went", "On hold", "Umbra Unmapped", "59,264.23"):
        assert told in plain.out
    assert data.data["counts"]["invoices"] == 20
    assert [total["residual"] for total in data.data["totals"]] == ["0.00", "0.00"]


def test_a_dry_run_shows_the_holds_and_writes_nothing(demo):
    before = (demo.state / "dataverse.sqlite").read_bytes()
    plain = command("bill", "--dry-run", state=demo.state)
    data = command("bill", "--dry-run", "--json", state=demo.state)
    assert (plain.code, data.code) == (3, 3)
    assert "Umbra Unmapped: on hold. The customer has no billing contract for 5" in plain.out
    assert len(data.data) == 25
    assert {one["customer"] for one in data.data if one["held"]} == {
        name for name in demo.names.values() if demo.held(name)
    }
    assert {json.dumps(one["document"]) for one in data.data} == {"null"}  # all is issued
    assert (demo.state / "dataverse.sqlite").read_bytes() == before


def test_a_dry_run_of_one_customer(demo):
    fabrikam = demo.of("Fabrikam Toys").customer_id
    answer = command("bill", "--dry-run", "--json", "--customer", fabrikam, state=demo.state)
    assert (answer.code, [one["customer"] for one in answer.data]) == (0, ["Fabrikam Toys"])


def test_a_dry_run_says_so_when_there_is_nothing_to_bill(demo):
    woodgrove = demo.of("Woodgrove Bank").customer_id
    answer = command("bill", "--dry-run", "--customer", woodgrove, state=demo.state)
    assert (answer.code, answer.out) == (0, "Nothing to bill: 2026-10.\n")


def test_a_dry_run_holds_whom_the_run_would_hold(demo, copy):
    fabrikam = demo.of("Fabrikam Toys").customer_id
    with opened(Settings.from_env({"CSP_STATE_DIR": str(copy)})) as worker:
        worker.store.save([a_fault("wire.subscription", fabrikam)])
    answer = command("bill", "--dry-run", "--customer", fabrikam, state=copy)
    assert answer.code == 3
    assert answer.out.startswith("Fabrikam Toys: on hold. Microsoft's subscription s9 cannot be")


def test_approve_again_issues_nothing(copy):
    plain, data = command("approve", state=copy), command("approve", "--json", state=copy)
    assert (plain.code, data.code) == (0, 0)
    assert plain.out == "No draft to issue: 2026-10.\n"
    assert data.data == []


def test_runs_are_listed_and_shown_with_their_units(demo):
    plain, data = command("runs", state=demo.state), command("runs", "--json", state=demo.state)
    assert [one["run_id"] for one in data.data] == [key.replace("/", ".") for key in demo.runs]
    for key in demo.runs:
        assert key in plain.out
    one = command("runs", "bill/2026-10", "--json", state=demo.state)
    assert (one.code, len(one.data["units"])) == (3, 25)
    shown = command("runs", "bill/2026-10", state=demo.state)
    assert (shown.code, shown.out.count("bill/") >= 25) == (3, True)


def ask_in_dynamics(state, **columns):
    """A person adds a row to the table of runs."""
    with opened(Settings.from_env({"CSP_STATE_DIR": str(state)})) as worker:
        worker.dataverse.create("csp_billingrun", columns)


def test_what_was_asked_for_in_dynamics_is_taken_up_and_answered(copy):
    ask_in_dynamics(copy, csp_kind=727000001, csp_period="2026-10")
    ask_in_dynamics(copy, csp_kind=727000001, csp_period="2026-10", csp_dryrun=True)
    answer = command("requests", "--json", state=copy)
    asked = {one["dry_run"]: one for one in answer.data}
    assert answer.code == 3  # the demo has holds
    assert asked[False]["run_id"] == "bill.2026-10"
    assert {one["status"] for one in answer.data} == {"done_with_holds"}
    assert asked[True]["counts"]["held"] == asked[False]["counts"]["held"] > 0
    assert asked[True]["asked_by"] == "# CSP Billing worker"
    again = command("requests", state=copy)
    assert (again.code, again.out) == (0, "Nobody asked for a run.\n")
    listed = command("runs", state=copy)
    assert "Asked for in Dynamics" in listed.out
    assert "dry bill 2026-10" in listed.out


def test_a_request_that_cannot_be_done_is_told_and_fails_the_command(copy):
    ask_in_dynamics(copy, csp_kind=727000002)
    answer = command("requests", state=copy)
    assert answer.code == 1
    assert "approve" in answer.out
    assert "A run of kind approve needs a month." in " ".join(answer.out.split())


def test_explain_a_document_and_a_line(demo):
    number = demo.of("Fabrikam Toys").number
    plain = command("explain", number, state=demo.state)
    assert plain.code == 0
    drawn = (demo.out / "invoices" / f"{number}-fabrikam-toys.txt").read_text("utf-8")
    assert plain.out.startswith(
        f"{drawn}\nTax. Decided by the rules and rates of the seller as of "
    )
    data = command("explain", number, "--json", state=demo.state).data
    assert (data["number"], data["total"]) == (number, str(demo.of("Fabrikam Toys").total.amount))
    line = command("explain", number, "3", state=demo.state)
    assert line.out.startswith(f"{number}, line 3: ")
    told = command("explain", number, "3", "--json", state=demo.state).data
    assert told["position"] == 3
    assert told["why"] in line.out
    assert command("explain", demo.of("Fabrikam Toys").key, state=demo.state).out == plain.out


def test_explain_tells_how_usage_is_grouped_and_whose_the_earned_credit_is(demo):
    document, line = next(
        (one, line)
        for one in demo.documents
        for line in one.lines
        if any(reason.rule == "usage.earned_credit" for reason in line.charge.reasons)
    )
    told = command("explain", document.number, str(line.position), state=demo.state).out
    (split,) = [said for said in told.splitlines() if " usage.split: " in said]
    assert "grouping service" in split
    (credit,) = [said for said in told.splitlines() if " usage.earned_credit: " in said]
    assert credit.endswith("known_from invoice line, percent 15, policy passed_on")
    assert "Microsoft: " in told


def test_explain_leads_down_to_microsofts_lines_and_their_raw_files(demo):
    document = demo.of("Fabrikam Toys")
    told = command("explain", document.number, "--json", state=demo.state).data
    assert len(told["lines"]) == len(document.lines)
    for line in told["lines"]:
        assert line["sources"]
        assert [one["key"] for s in line["sources"] for one in s["lines"]]
        for name in line["archived"]:
            assert (demo.state / "archive" / name).is_file()
    (added,) = [line for line in told["lines"] if line["service_start"] == "2026-10-05"]
    (source,) = added["sources"]
    assert source["sentence"].startswith("25 -> 30 seats, 10 of 30 days")
    assert [one["quantity"] for one in source["lines"]] == ["-25", "30"]
    text = command("explain", document.number, str(added["position"]), state=demo.state).out
    assert f"Microsoft: {source['sentence']}" in text
    assert f"  addQuantity 30 × 3.5 = 105.00 USD, invoice {source['lines'][1]['invoice']}" in text
    assert f"Kept as it was read: {added['archived'][0]}" in text


def test_the_one_line_of_microsoft_that_is_not_as_expected_is_named(demo):
    """Contoso Dental's promotion of 15 % ended within its term."""
    (finding,) = [one for one in demo.findings if one.check.startswith("cost.")]
    assert (finding.check, demo.names[finding.customer_id]) == (
        "cost.promotion",
        "Contoso Dental Group",
    )
    assert "no promotion, expected 85 % of the list price" in finding.sentence


def test_provision_plans_and_applies(tmp_path):
    settings = {"CSP_SCENARIO": "empty"}
    plan = command("provision", state=tmp_path, **settings)
    assert plan.code == 0
    planned = command("provision", "--plan", "--json", state=tmp_path, **settings).data
    assert planned["applied"] is False
    assert len(planned["operations"]) == sum(planned["counts"].values()) > 100
    assert {"tables", "views", "forms", "roles", "app"} <= set(planned["counts"])
    assert (planned["notes"], planned["refused"]) == ([], [])
    assert plan.out.splitlines()[0] == "solution:"
    done = command("provision", "--apply", "--json", state=tmp_path, **settings)
    assert (done.code, done.data["operations"]) == (0, planned["operations"])
    again = command("provision", "--apply", state=tmp_path, **settings)
    assert (again.code, again.out) == (0, "Nothing to do.\n")


def test_check_config_reaches_every_system_and_shows_no_secret(demo):
    secrets = {"CSP_CLIENT_SECRET": "hunter2", "CSP_REFRESH_TOKEN": "0.AXsecret"}
    plain = command("check-config", state=demo.state, **secrets)
    data = command("check-config", "--json", state=demo.state, **secrets)
    assert (plain.code, data.code) == (0, 0)
    assert data.data["systems"] == {
        "Partner Center": "reached",
        "Microsoft Graph": "reached",
        "Dataverse": "reached",
        "VIES": "reached",
    }
    assert data.data["settings"]["client_secret"] == "***"
    for answer in (plain, data):
        assert "hunter2" not in answer.out + answer.err
        assert "AXsecret" not in answer.out + answer.err


def test_whatif(scenario):
    plain, data = command("whatif", str(scenario)), command("whatif", str(scenario), "--json")
    assert (plain.code, data.code, data.err) == (0, 0, "")
    assert "Subtotal 120.00, tax 0.00, total 120.00" in plain.out
    assert data.data["total"] == "120.00"


# --- faults ----------------------------------------------------------------------------------------

CLOUD = {
    "CSP_MODE": "cloud",
    "CSP_TENANT_ID": "contoso.onmicrosoft.com",
    "CSP_CLIENT_ID": "0b6f8f6e-0000-0000-0000-000000000001",
    "CSP_CLIENT_SECRET": "hunter2",
    "CSP_REFRESH_TOKEN": "0.AXsecret",
    **NO_SYSTEM,
}


def cloud(port: int) -> dict[str, str]:
    """Every system at a port where nobody listens."""
    address = f"http://127.0.0.1:{port}"
    systems = ("LOGIN", "PARTNER_CENTER", "PRICE", "GRAPH", "DATAVERSE")
    return CLOUD | {f"CSP_{name}_URL": address for name in systems}


@pytest.mark.parametrize("arguments", [("sync",), ("bill",), ("approve",), ("runs",), ("demo",)])
def test_an_emulator_that_is_not_there(arguments, closed_port, tmp_path):
    url = f"http://127.0.0.1:{closed_port}"
    answer = command(
        *arguments,
        state=tmp_path / "state",
        CSP_MODE="emulator",
        CSP_EMULATOR_URL=url,
        CSP_PATIENCE_SECONDS="0",
    )
    assert (answer.code, answer.out) == (2, "")
    assert answer.complaint.startswith("csp-billing: Emulator: ")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("arguments", [("sync",), ("bill",), ("approve",), ("provision",)])
def test_a_cloud_that_is_not_there(arguments, closed_port, tmp_path):
    answer = command(*arguments, state=tmp_path / "state", **cloud(closed_port))
    assert (answer.code, answer.out) == (2, "")
    assert "hunter2" not in answer.err
    assert answer.complaint.startswith("csp-billing: ")
    assert not list(tmp_path.rglob("*.json"))


def test_check_config_names_each_system_that_is_not_reached(closed_port, tmp_path):
    answer = command("check-config", "--json", state=tmp_path, **cloud(closed_port))
    assert answer.code == 2
    assert all(told.startswith("NOT reached: ") for told in answer.data["systems"].values())
    assert "hunter2" not in answer.out + answer.err


def test_in_the_cloud_vies_is_asked_only_where_it_was_chosen(closed_port, tmp_path):
    variables = cloud(closed_port) | {"CSP_VIES_URL": f"http://127.0.0.1:{closed_port}"}
    unasked = command("check-config", "--json", state=tmp_path, **variables)
    assert "VIES" not in unasked.data["systems"]
    asked = command("check-config", "--json", state=tmp_path, **variables, CSP_TAX_REGISTER="vies")
    assert asked.data["systems"]["VIES"].startswith("NOT reached: VIES: no answer from 127.0.0.1")


def test_check_config_tells_whether_the_tax_engine_answers(closed_port, tmp_path):
    engine = {
        "CSP_TAX_ENGINE_URL": f"http://127.0.0.1:{closed_port}/decide",
        "CSP_TAX_ENGINE_KEY": "sesame-of-the-engine",
    }
    answer = command("check-config", "--json", state=tmp_path, **cloud(closed_port), **engine)
    assert answer.data["systems"]["Tax engine"].startswith("NOT reached: Tax engine: no answer")
    assert answer.data["settings"]["tax_engine_key"] == "***"
    assert "sesame" not in answer.out + answer.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("bill", "--period", "2031-01"),
            NO_INVOICE,
        ),
        (
            ("bill", "--dry-run", "--period", "2031-01"),
            NO_INVOICE,
        ),
        (
            ("bill", "--customer", NOBODY),
            f"there is no customer {NOBODY} (give the tenant id; run sync first if the customer is new)",
        ),
        (
            ("explain", "INV-203101-0001"),
            "there is no invoice INV-203101-0001 (give its number (INV-202610-0001) or its key)",
        ),
        (
            ("explain", "INV-202610-0001", "99"),
            "INV-202610-0001 has no line 99 (its lines are 1 to 9)",
        ),
        (
            ("runs", "bill/2031-01"),
            "there is no run bill/2031-01 (list them with: python -m app runs)",
        ),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_not_there_is_one_sentence_and_nothing_is_written(
    demo, arguments, complaint, as_json
):
    before = (demo.state / "dataverse.sqlite").read_bytes()
    answer = command(*arguments, *(["--json"] if as_json else []), state=demo.state)
    assert (answer.code, answer.out) == (2, "")
    assert answer.complaint == f"csp-billing: {complaint}"
    assert (demo.state / "dataverse.sqlite").read_bytes() == before


def test_a_month_that_was_not_synced_is_refused(tmp_path):
    command("provision", "--apply", state=tmp_path, CSP_SCENARIO="small")
    answer = command("bill", state=tmp_path, CSP_SCENARIO="small")
    assert answer.code == 2
    assert "imported lines" in answer.complaint
    assert answer.complaint.endswith("not reconcilable. (run sync first; then bill again)")


def test_an_environment_without_tables_says_so(tmp_path):
    answer = command("sync", state=tmp_path, CSP_SCENARIO="small")
    assert answer.code != 0
    assert "provision" in answer.complaint


def test_debug_shows_the_trace_and_keeps_the_exit_code(demo):
    answer = command("--debug", "explain", "INV-203101-0001", state=demo.state)
    assert answer.code == 2
    assert "Traceback" in answer.err
    assert "InputError: there is no invoice INV-203101-0001" in answer.err


def test_a_failed_run_has_exit_code_1(copy):
    with opened(Settings.from_env({"CSP_STATE_DIR": str(copy)})) as worker:
        run = worker.run("sync/2026-11-09")
        worker.store.save([replace(run, status=RunStatus.FAILED, problem="1 units failed")])
    answer = command("runs", "sync/2026-11-09", state=copy)
    assert answer.code == 1
    assert "Problem: 1 units failed" in answer.out


def test_a_reader_that_has_seen_enough_is_no_fault(demo):
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "runs", "--json"],
        cwd=ROOT,
        env={**os.environ, "CSP_STATE_DIR": str(demo.state)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    told = process.stderr.read().decode()
    process.stderr.close()
    assert (process.wait(), len(told.splitlines())) == (0, 1), told


def test_names_in_every_script_are_printed_whatever_the_terminal_says(demo):
    number = demo.of("Rheinische Kunstschule").number
    done = subprocess.run(
        [sys.executable, "-m", "app", "explain", number],
        cwd=ROOT,
        env={
            **os.environ,
            "CSP_STATE_DIR": str(demo.state),
            "PYTHONIOENCODING": "ascii",
            "PYTHONUTF8": "0",
        },
        capture_output=True,
        check=True,
    )
    assert "Lehrkräfte" in done.stdout.decode()


@pytest.mark.parametrize("arguments", [["check-config"], ["runs", "--json"]])
def test_whoever_reads_may_stop_reading(demo, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env={**os.environ, "CSP_STATE_DIR": str(demo.state)},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_work_goes_on_when_nobody_listens_to_its_progress(demo):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "app", "runs", "--json"],
        cwd=ROOT,
        env={**os.environ, "CSP_STATE_DIR": str(demo.state)},
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 0
    assert json.loads(done.stdout)


# --- reconcile --------------------------------------------------------------------------------------


def test_reconcile_tells_what_needs_a_person_and_what_it_is_worth(demo):
    answer = command("reconcile", "--period", "2026-10", state=demo.state)
    assert answer.code == 3
    for told in (
        "2026-10 as of 2026-11-09: 61.16 USD in 1 place needs you.",
        "Claim from Microsoft  promotion",
        "The four sides",
        "Margin by customer",
    ):
        assert told in answer.out
    data = command("reconcile", "--period", "2026-10", "--json", state=demo.state).data
    (one,) = data["differences"]
    assert (one["cause"], one["remedy"], one["amount"]) == ("promotion", "claim", "61.16")
    assert {total["currency"]: total["residual"] for total in data["totals"]} == {
        "EUR": "0.00",
        "USD": "0.00",
    }
    for side in data["sides"]:
        assert side["due"] == side["sold"]
        assert set(side["residuals"].values()) == {"0.00"}
    # Two readings of one month: the page of the demo and the command.
    page = json.loads((demo.out / "summary.json").read_text(encoding="utf-8"))
    assert (page["margins"], page["differences"]) == (data["margins"], data["differences"])


def test_reconcile_as_of_the_day_of_the_bill_says_the_same(demo):
    now, then = (
        command("reconcile", "--period", "2026-10", "--json", *when, state=demo.state).data
        for when in ((), ("--as-of", "2026-11-09"))
    )
    assert then == now


def test_reconcile_of_one_customer_without_a_difference(demo):
    fabrikam = demo.of("Fabrikam Toys").customer_id
    answer = command("reconcile", "--customer", fabrikam, state=demo.state)
    assert answer.code == 0
    assert "nothing needs you." in answer.out
    assert "Margin by product" in answer.out


def test_reconcile_refuses_what_it_cannot_do(demo):
    answer = command("reconcile", "--as-of", "2026-11-01", state=demo.state)
    assert answer.code == 2
    assert "Microsoft had not issued an invoice for 2026-10 by 2026-11-01" in answer.complaint
    assert command("reconcile", "--as-of", "1.11.2026", state=demo.state).code == 2
