"""`rate-usage` as a person or a program calls it: files in, one answer out, and an exit code."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from hashlib import sha256

import pytest

from app.cli import main
from bench import plain_loop

RULES = [
    {"id": "default", "customer": None, "family": None, "percent": "12.5", "from": "2026-01-01"},
    {"id": "disks", "family": "Storage", "percent": 7, "from": "2026-01-01", "to": "2027-01-01"},
]


def a_line(number, **fields):
    return {
        "CustomerId": f"c{number % 7}",
        "SubscriptionId": "plan",
        "ProductId": "P1",
        "MeterCategory": "Storage" if number % 3 else "Bandwidth",
        "MeterId": f"m{number % 5}",
        "UsageDate": f"2026-10-{number % 28 + 1:02}T00:00:00Z",
        "Quantity": f"{number}.25",
        "BillingPreTaxTotal": f"{number % 11}.005",
        "BillingCurrency": "USD" if number % 4 else "EUR",
    } | fields


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "usage"
    place.mkdir()
    for part in range(3):
        lines = [json.dumps(a_line(part * 100 + n)) for n in range(100)]
        text = "".join(f"{line}\n" for line in lines).encode()
        (place / f"part-{part}.json.gz").write_bytes(gzip.compress(text))
    return place


@pytest.fixture
def call(folder, tmp_path, capsys):
    def call(*more, rules=RULES, text=None):
        file = tmp_path / "rules.json"
        file.write_text(json.dumps(rules) if text is None else text)
        code = main(["rate-usage", str(folder), "--rules", str(file), *map(str, more)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def expected(folder):
    rules = [{"customer": None, "family": None, "to": None} | rule for rule in RULES]
    return plain_loop.rate(sorted(folder.glob("*.json.gz")), rules)


def test_the_answer_is_that_of_an_independent_calculation(call, folder, tmp_path):
    out = tmp_path / "deep" / "out.tsv"
    code, shown, _ = call("--out", out, "--json")
    answer = json.loads(shown)
    text, sums = expected(folder)
    assert (code, out.read_bytes()) == (0, text)
    assert answer["sha256"] == sha256(text).hexdigest()
    assert (answer["source_lines"], answer["held_lines"]) == (300, 0)
    assert answer["invoice_lines"] == len(sums)
    for currency, figures in answer["by_currency"].items():
        rows = [row.split("\t") for row in text.decode().splitlines() if row.startswith(currency)]
        assert Decimal(figures["cost"]) == sum(Decimal(row[10]) for row in rows)
        assert Decimal(figures["charge_exact"]) == sum(Decimal(row[11]) for row in rows)
        assert Decimal(figures["charge"]) == sum(Decimal(row[12]) for row in rows)
        drift = Decimal(figures["charge"]) - Decimal(figures["charge_exact"])
        assert Decimal(answer["control"][currency]["rounding"]) == drift


def test_without_a_result_file_the_digest_is_the_same(call, tmp_path):
    with_file = json.loads(call("--out", tmp_path / "o", "--json")[1])
    without = json.loads(call("--json")[1])
    assert with_file["sha256"] == without["sha256"]


def test_people_see_a_table_and_progress(call):
    code, shown, told = call()
    assert code == 0
    assert "Where the usage went" in shown
    assert "300 lines became" in shown
    assert "rate-usage: 3 of 3 files, 300 lines" in told


def test_lines_on_hold_end_with_three(call):
    code, shown, _ = call("--json", rules=RULES[1:])
    answer = json.loads(shown)
    assert (code, answer["held_lines"]) == (3, 100)
    assert {finding["check"] for finding in answer["findings"]} == {"price.missing"}
    assert len(answer["findings"]) == len(
        {(f["customer"], f["sentence"]) for f in answer["findings"]}
    )


MONEY = {"USD": "0", "EUR": "0"}


@pytest.mark.parametrize("shape", ["by currency", "in all", "numbers"])
def test_a_manifest_that_fits_proves_the_input(call, folder, shape):
    answer = json.loads(call("--json")[1])
    control = answer["control"]
    told = {
        name: {currency: one[field] for currency, one in control.items()}
        for name, field in (("sum_quantity", "quantity"), ("sum_billing_pretax", "cost"))
    }
    if shape == "in all":
        told = {name: str(sum(map(Decimal, one.values()))) for name, one in told.items()}
    text = json.dumps({"lines": 300, **told})
    if shape == "numbers":
        text = text.replace('"USD": "', '"USD": ').replace('"EUR": "', '"EUR": ')
        text = text.replace('", "', ', "').replace('"}', "}")
    (folder / "manifest.json").write_text(text)
    assert call("--json")[0] == 0


@pytest.mark.parametrize(
    "manifest",
    [{"lines": 301}, {"sum_quantity": {"USD": "1"}}, {"sum_billing_pretax": {"GBP": "0.01"}}],
)
def test_a_difference_to_the_manifest_is_not_reconcilable(call, folder, tmp_path, manifest):
    (folder / "manifest.json").write_text(json.dumps(manifest))
    out = tmp_path / "out.tsv"
    code, shown, _ = call("--out", out, "--json")
    answer = json.loads(shown)
    assert (code, answer["reconcilable"], answer["by_currency"]) == (3, False, {})
    assert "not reconcilable" in answer["findings"][0]["sentence"]
    assert not out.exists()


def test_an_empty_folder_and_a_cut_file_are_not_reconcilable(call, folder):
    file = folder / "part-1.json.gz"
    file.write_bytes(file.read_bytes()[:-9])
    code, shown, _ = call("--json")
    assert (code, json.loads(shown)["sha256"]) == (3, None)
    for one in folder.iterdir():
        one.unlink()
    code, shown, _ = call()
    assert code == 3
    assert "Nothing was rated." in shown


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"id": "a", "percent": "1"}], "0.from: is missing"),
        ([{"id": "a", "percent": "x", "from": "2026-01-01"}], "0.percent: must be a number"),
        ([{"id": "a", "percent": True, "from": "2026-01-01"}], "0.percent: must be a number"),
        (
            [{"id": "a", "percent": "1.00001", "from": "2026-01-01"}],
            "0.percent: Decimal input should",
        ),
        (
            [{"id": "a", "percent": "-101", "from": "2026-01-01"}],
            "0.percent: Input should be greater",
        ),
        (
            [{"id": "a", "percent": "1", "from": "2026-13-01"}],
            "0.from: Input should be a valid date",
        ),
        (
            [{"id": "a", "percent": "1", "from": "2026-01-01", "to": "2026-01-01"}],
            "is not after from",
        ),
        (
            [{"id": "a", "percent": "1", "from": "2026-01-01", "familly": "x"}],
            "familly: is not a field",
        ),
        ([{"id": "a", "percent": "1", "from": "2026-01-01"}] * 2, "the id a stands twice"),
        ({"id": "a"}, "the rules: must be a list"),
    ],
)
def test_rules_that_are_wrong_are_refused_by_name(call, rules, said):
    code, _, told = call(rules=rules)
    assert code == 2
    assert "rules.json" in told
    assert said in told


def test_a_rule_file_that_is_no_json_is_refused(call):
    code, _, told = call(text="[{")
    assert (code, "not readable as JSON" in told) == (2, True)


def test_what_is_no_folder_is_refused(tmp_path, capsys):
    (tmp_path / "r.json").write_text("[]")
    code = main(["rate-usage", str(tmp_path / "nowhere"), "--rules", str(tmp_path / "r.json")])
    assert (code, "is not a folder" in capsys.readouterr().err) == (2, True)


def test_killed_at_any_point_and_started_again_it_gives_the_same_bytes(folder, tmp_path):
    rules, out = tmp_path / "rules.json", tmp_path / "out.tsv"
    rules.write_text(json.dumps(RULES))
    scratch = tmp_path / "scratch"
    command = [
        *(sys.executable, "-m", "app", "rate-usage", str(folder), "--rules", str(rules)),
        *("--out", str(out), "--annotate", str(tmp_path / "lines"), "--scratch", str(scratch)),
    ]
    text, _ = expected(folder)
    started = time.monotonic()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    whole = time.monotonic() - started
    assert out.read_bytes() == text
    for part in range(8):
        out.unlink(missing_ok=True)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * (part + 1) / 9)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not out.exists() or out.read_bytes() == text
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert out.read_bytes() == text
    assert len(list((tmp_path / "lines").iterdir())) == 3


def test_what_a_killed_run_left_is_removed_a_day_later(call, tmp_path):
    scratch = tmp_path / "scratch"
    own = scratch / "csp-billing-rate"
    for folder, age in (
        (own / "rate-old", 2 * 86400),
        (own / "rate-running", 60),
        (scratch / "rate-cards", 9 * 86400),
    ):
        folder.mkdir(parents=True)
        then = time.time() - age
        os.utime(folder, (then, then))
    assert call("--scratch", scratch)[0] == 0
    assert [one.name for one in own.iterdir()] == ["rate-running"]
    assert (scratch / "rate-cards").is_dir()


def test_a_manifest_of_graph_says_which_parts_there_are(call, folder):
    manifest = {"id": "m", "blobCount": 3, "blobs": [{"name": "part-0.json.gz"}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert call("--json")[0] == 0
    (folder / "part-0.json.gz").rename(folder / "part-9.json.gz")
    code, shown, _ = call("--json")
    assert code == 3
    assert "part-0.json.gz" in json.loads(shown)["findings"][0]["sentence"]
    (folder / "part-1.json.gz").unlink()
    sentences = [one["sentence"] for one in json.loads(call("--json")[1])["findings"]]
    assert "Files: the manifest says 3, the files hold 2: not reconcilable." in sentences


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ('{"Lines": 5}', "says nothing that can be compared"),
        ('{"sum_quantity": "1E+99999"}', "must be a number"),
        ("[]", "manifest.json"),
        ("{", "not readable as JSON"),
    ],
)
def test_a_manifest_that_says_nothing_is_refused(call, folder, manifest, said):
    (folder / "manifest.json").write_text(manifest)
    code, _, told = call("--json")
    assert (code, said in told) == (2, True)


def test_a_manifest_that_leads_nowhere_is_refused(call, folder):
    (folder / "manifest.json").symlink_to(folder / "gone")
    assert call()[0] == 2


@pytest.mark.parametrize("target", ["rules.json", "usage", "usage/part-0.json.gz", "link", "."])
def test_what_is_read_is_never_written_over(call, folder, tmp_path, target):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    code, _, told = call("--out", tmp_path / target)
    assert (code, "--out" in told) == (2, True)
    for path, content in before.items():
        assert path.read_bytes() == content


def test_two_at_once_with_one_result_file_leave_one_whole_result(folder, tmp_path):
    out = tmp_path / "out.tsv"
    digests, running = set(), []
    for number in range(2):
        rules = tmp_path / f"rules-{number}.json"
        rules.write_text(json.dumps([RULES[0] | {"id": f"r{number}"}]))
        command = [sys.executable, "-m", "app", "rate-usage", str(folder), "--rules", str(rules)]
        running.append(
            subprocess.Popen([*command, "--out", str(out), "--json"], stdout=subprocess.PIPE)
        )
    for process in running:
        digests.add(json.loads(process.communicate()[0])["sha256"])
    assert sha256(out.read_bytes()).hexdigest() in digests
    assert not list(tmp_path.glob(".rate-*"))


@pytest.mark.parametrize("since", [1767225600, "20260101", "2026-01-01T00:00:00"])
def test_a_day_is_written_as_one(call, since):
    code, _, told = call(rules=[{"id": "a", "percent": "1", "from": since}])
    assert (code, "0.from: must be a day written as" in told) == (2, True)


@pytest.mark.parametrize("percent", [" 1_0 ", "1e400", "0x10", ""])
def test_a_percentage_is_a_number_as_people_write_it(call, percent):
    code, _, told = call(rules=[{"id": "a", "percent": percent, "from": "2026-01-01"}])
    assert (code, "0.percent: must be a number" in told) == (2, True)
